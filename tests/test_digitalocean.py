"""The driver `digitalocean` against the server that plays the API, whose droplets are mere rows.

What is asked for, what is refused, what a lost answer or a kill leaves, and where the token goes.

test_digitalocean_api.py tests that server; the whole life of a machine is in tests/integration.
"""

import copy
import email
import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import digitalocean_account as account
import digitalocean_catalogue as catalogue
import pytest
from conftest import HANG
from digitalocean import TOKEN
from machines import ProviderMachines, ours, parts_of, take_environment

import docker_machine as core

# Docker Machine's, but for today's image: variable, default, field.
FLAGS = {
    "access-token": ("DIGITALOCEAN_ACCESS_TOKEN", "", "AccessToken"),
    "ssh-user": ("DIGITALOCEAN_SSH_USER", "root", "SSHUser"),
    "ssh-key-fingerprint": ("DIGITALOCEAN_SSH_KEY_FINGERPRINT", "", "SSHKeyFingerprint"),
    "ssh-key-path": ("DIGITALOCEAN_SSH_KEY_PATH", "", "SSHKey"),
    "ssh-port": ("DIGITALOCEAN_SSH_PORT", 22, "SSHPort"),
    "image": ("DIGITALOCEAN_IMAGE", "ubuntu-24-04-x64", "Image"),
    "region": ("DIGITALOCEAN_REGION", "nyc3", "Region"),
    "size": ("DIGITALOCEAN_SIZE", "s-1vcpu-1gb", "Size"),
    "ipv6": ("DIGITALOCEAN_IPV6", False, "IPv6"),
    "private-networking": ("DIGITALOCEAN_PRIVATE_NETWORKING", False, "PrivateNetworking"),
    "backups": ("DIGITALOCEAN_BACKUPS", False, "Backups"),
    "userdata": ("DIGITALOCEAN_USERDATA", "", "UserDataFile"),
    "monitoring": ("DIGITALOCEAN_MONITORING", False, "Monitoring"),
    "tags": ("DIGITALOCEAN_TAGS", "", "Tags"),
}
MORE_FLAGS = {"vpc-uuid": ("DIGITALOCEAN_VPC_UUID", ""), "project-id": ("DIGITALOCEAN_PROJECT_ID", "")}
STORED = dict({field: default for _, default, field in FLAGS.values()}, DropletID=0, SSHKeyID=0)
DEFAULT_LIFE = ["GET /v2/images/ubuntu-24-04-x64", "GET /v2/sizes?per_page=200", "POST /v2/droplets",
                "GET /v2/droplets/ID"]


# --- one account and one store

class DropletMachines(ProviderMachines):
    """Machines that are droplets, and their account; `ocean` is the account's server."""

    def __init__(self, ocean, store, folder):
        driver_class = core.load_driver("digitalocean")
        super().__init__(store, driver_class, folder, access_token=TOKEN)
        self.ocean = ocean

    def droplet(self):
        """The only droplet."""
        row, = self.ocean.droplets.values()
        return row

    def order(self):
        """The body that asked for the only droplet."""
        order, = self.ocean.orders.values()
        return order

    def lines(self, since=0):
        """What was asked, with ID, TAG and KEY for what is different every time."""
        text = "\n".join(self.ocean.lines()[since:])
        for pattern, word in ((r"docker-machine-[0-9a-f]{16}", "TAG"), (r"\b\d{7,}\b", "ID"),
                              (r"(\w\w:){15}\w\w", "KEY"), (account.PROJECT, "PROJECT")):
            text = re.sub(pattern, word, text)
        return text.split("\n") if text else []

    def begin(self, kind):
        """Begin an action of the only droplet; what the API says of it."""
        path = "/v2/droplets/%d/actions" % self.droplet()["id"]
        return core.Rest("DigitalOcean", self.ocean.url, {"Authorization": "Bearer " + TOKEN}).call(
            "POST", path, {"type": kind})["action"]

    def changes(self):
        """The requests that are no mere questions."""
        return [line for line in self.lines() if not line.startswith("GET ")]

    def clean(self):
        """Whether the account holds nothing that was made here."""
        return self.ocean.empty() and not self.ocean.keys

    def account_key(self, path):
        """Put a key into the account; its fingerprint."""
        return self.ocean.add_key((path.parent / (path.name + ".pub")).read_text().strip())["fingerprint"]


@pytest.fixture
def ocean(digitalocean):
    digitalocean.polls = digitalocean.retry_after = 0
    return digitalocean


@pytest.fixture
def on_loopback(ocean):
    """Droplets are at 127.0.0.1, where nothing listens to what commands ask of an engine."""
    ocean.public_ip = "127.0.0.1"


@pytest.fixture(scope="session")
def key_pairs(tmp_path_factory):
    """key_pairs(number): a (private, public) pair of texts, made when it is asked for the first time."""
    folder = tmp_path_factory.mktemp("keys")
    pairs = []  # type: list

    def pair(number):
        while len(pairs) <= number:
            path = folder / str(len(pairs))
            public = make_key(str(path))
            pairs.append((path.read_text(), public))
        return pairs[number]

    make_key = core.new_ssh_key
    return pair


@pytest.fixture
def ready_keys(key_pairs, monkeypatch):
    """Let machines take keys that are there already: to make one takes longer than most tests."""
    used = []  # type: list

    def new_ssh_key(path, comment=""):
        if not (os.path.exists(path) and os.path.exists(path + ".pub")):
            private, public = key_pairs(len(used))
            used.append(path)
            core.write_atomic(path, private)
            core.write_atomic(path + ".pub", "%s %s\n" % (" ".join(public.split()[:2]), comment), 0o644)
        return core.read_text(path + ".pub").strip()

    monkeypatch.setattr(core, "new_ssh_key", new_ssh_key)


@pytest.fixture
def here(dm, ocean, store, tmp_path, monkeypatch, pauses, ready_keys):
    take_environment(monkeypatch, dm.env, "DIGITALOCEAN_")
    monkeypatch.delenv("DIGITALOCEAN_ACCESS_TOKEN")  # what a store holds must do
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(os, "fsync", lambda file: None)
    return DropletMachines(ocean, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Flags for whole commands: the host is never there, and that is soon known."""
    monkeypatch.setattr(core.DigitalOceanDriver, "boot_seconds", 0.1)
    here.ocean.public_ip = "127.0.0.1"
    return ["create", "-d", "digitalocean", "--digitalocean-ssh-port=%d" % closed_port]


def keys_of(config):
    return list(config.get("ssh_authorized_keys") or []) + [
        key for user in config.get("users") or [] if isinstance(user, dict)
        for key in user.get("ssh_authorized_keys") or []]


# --- flags

def test_the_flags_are_docker_machines_and_two_that_forks_added():
    flags = {flag.name[len("digitalocean-"):]: (flag.env, flag.default, flag.field)
             for flag in core.load_driver("digitalocean").flags}
    more = {name: flags.pop(name)[:2] for name in MORE_FLAGS}
    assert flags == FLAGS and more == MORE_FLAGS
    assert [flag.name for flag in core.load_driver("digitalocean").flags if flag.required or flag.secret] == [
        "digitalocean-access-token"]


def test_a_machine_stores_docker_machines_fields_with_their_types(here):
    machine = here.machine()
    here.store.add(machine)
    stored = here.stored()
    assert {key: stored.get(key) for key in STORED} == dict(STORED, AccessToken=TOKEN)
    assert {key: type(stored[key]) for key in STORED} == {key: type(STORED[key]) for key in STORED}
    assert isinstance(stored["DropletName"], str)


@pytest.mark.parametrize("name", sorted(set(FLAGS) | set(MORE_FLAGS)))
def test_a_flag_and_its_environment_variable_end_up_in_the_field(here, name):
    variable, default = dict(FLAGS, **MORE_FLAGS)[name][:2]
    given = {"ssh-key-path": str(here.file("", "key")), "userdata": str(here.file("")), "vpc-uuid": account.VPC,
             "project-id": account.PROJECT, "ssh-key-fingerprint": ":".join(["3b"] * 16), "tags": "a,b"}.get(
        name, {int: 2345, bool: True, str: "example"}[type(default)])
    driver_class = core.load_driver("digitalocean")
    field, = [flag.field for flag in driver_class.flags if flag.name == "digitalocean-" + name]
    token = {} if name == "access-token" else {"DIGITALOCEAN_ACCESS_TOKEN": "token"}
    for words, environ in ((["--digitalocean-%s=%s" % (name, given)], {}), ([], {variable: str(given)})):
        machine = here.store.new("web", driver_class)
        options = core.parse_flags(core.create_flags(driver_class), words, dict(environ, **token))[0]
        machine.driver.set_config_from_flags(options)
        assert machine.driver[field] == given != default


BAD = [
    ("access-token", ""), ("access-token", "  "), ("access-token", "a b"), ("access-token", "t\u00f6ken"),
    ("access-token", "a\nX-Injected: b"), ("ssh-user", "a b"), ("ssh-user", "-x"), ("ssh-user", "root;id"),
    ("ssh-user", "\u00e9"), ("ssh-port", 0), ("ssh-port", -1), ("ssh-port", 65536),
    ("ssh-key-fingerprint", "SHA256:ZTl2bk5rTW5kN3Y5ZzVtZkJ5YjRhTW9lcz0"), ("ssh-key-fingerprint", "zz:zz"),
    ("ssh-key-fingerprint", "../../droplets"), ("ssh-key-path", "/no/such/key"), ("userdata", "/no/such/file"),
    ("ssh-key-path", "/"), ("userdata", "/"), ("image", "a/b"), ("image", "../x"), ("image", "Ubuntu 24.04"),
    ("region", "NYC 3"), ("region", "nyc3/x"), ("size", "a/b"), ("size", "1 GB"), ("size", ""), ("image", ""),
    ("tags", "a b"), ("tags", "web!"), ("tags", "x" * 256), ("tags", "a,b/c"), ("vpc-uuid", "vpc"),
    ("vpc-uuid", account.VPC + "0"), ("project-id", "x"), ("project-id", "../account"), ("ssh-user", "root\n"),
    ("region", "nyc3\n"), ("size", "c-2\n"), ("image", "debian-13-x64\n"), ("project-id", account.PROJECT + "\n"),
]


@pytest.mark.parametrize("name, value", BAD)
def test_a_bad_value_is_refused_by_name_and_nobody_is_asked(here, call, name, value):
    ended = call("create", "-d", "digitalocean", "--digitalocean-%s=%s" % (name, value), "web",
                 DIGITALOCEAN_ACCESS_TOKEN=None if name == "access-token" else TOKEN)
    assert ended.code == 2 and "--digitalocean-" + name in ended.err
    assert ended.out == "" and here.store.names() == [] and here.ocean.requests == []
    assert name != "access-token" or not value.strip() or value not in ended.err


@pytest.mark.parametrize("tags, sent", [
    ("", []), ("web", ["web"]), ("a,b", ["a", "b"]), (" a , b,,", ["a", "b"]), (",", []), ("a:b_c-D", ["a:b_c-D"])])
def test_tags_are_docker_machines_comma_list(here, tags, sent):
    here.create(tags=tags)
    assert here.order()["tags"][:-1] == sent and here.stored()["Tags"] == tags


@pytest.mark.parametrize("token", [" %s", "%s\n", "%s\r\n"])
def test_a_token_from_a_file_may_have_a_line_end(here, token):
    assert here.machine(access_token=token % TOKEN).driver["AccessToken"] == TOKEN


# --- the check before anything is made

def test_the_check_takes_two_questions(here):
    here.machine().driver.pre_create_check()
    assert sorted(here.lines()) == DEFAULT_LIFE[:2]


def limit(ocean):
    ocean.droplet_limit = 0


def unknown_token(ocean):
    ocean.tokens.clear()


def scopes(*lacking):
    def take(ocean):
        ocean.tokens[TOKEN] = EVERY_SCOPE - set(lacking)
    return take


EVERY_SCOPE = set("sizes:read regions:read image:read account:read ssh_key:read ssh_key:create ssh_key:delete "
                  "droplet:create droplet:read droplet:update droplet:delete tag:create tag:read tag:delete vpc:read "
                  "project:read project:assign_resource".split())
MINE = ":".join(["3b"] * 16)
REFUSED = {  # what is done to the account, flags, what the sentence has, what the hint has
    "a token that is not known": (unknown_token, {}, "refuses the access token", "cloud.digitalocean.com"),
    "a token without sizes:read": (scopes("sizes:read"), {}, "access token may not", "sizes:read"),
    "a token without regions:read": (scopes("regions:read"), {}, "access token may not", "regions:read"),
    "a token without image:read": (scopes("image:read"), {}, "access token may not", "image:read"),
    "a token without ssh_key:read": (scopes("ssh_key:read"), {"ssh-key-fingerprint": MINE}, "access token may not",
                                     "ssh_key:read"),
    "a token without droplet:create": (scopes("droplet:create"), {}, "access token may not", "droplet:create"),
    "a token without tag:create": (scopes("tag:create"), {}, "access token may not", "tag:create"),
    "a token without vpc:read": (scopes("vpc:read"), {"vpc-uuid": account.VPC}, "access token may not", "vpc:read"),
    "a token without ssh_key:create": (scopes("ssh_key:create"), {"image": catalogue.CUSTOM}, "access token may not",
                                       "ssh_key:create"),
    "a full account": (limit, {}, "will exceed your droplet limit", "Remove a droplet"),
    "a full account and a custom image": (limit, {"image": catalogue.CUSTOM}, "will exceed your droplet limit",
                                          "Remove a droplet"),
    "an unknown region": (None, {"region": "nyc9"}, 'no region "nyc9"', "nyc3"),
    "a region written large": (None, {"region": "nyc33"}, 'no region "nyc33"', "nyc3"),
    "a closed region": (None, {"region": "nyc2"}, '"nyc2"', "nyc3"),
    "an unknown size": (None, {"size": "s-1vcpu-1tb"}, 'no size "s-1vcpu-1tb"', "s-1vcpu-1gb"),
    "a size of old": (None, {"size": "512mb"}, 'no size "512mb"', "s-1vcpu-512mb-10gb"),
    "a size that is not in the region": (None, {"size": "gpu-h100x1-80gb"}, '"gpu-h100x1-80gb"', "tor1"),
    "a size that is nowhere": (None, {"size": "s-12vcpu-48gb"}, '"s-12vcpu-48gb"', "Near it: s-"),
    "an image that is gone": (None, {"image": "ubuntu-16-04-x64"}, 'no image "ubuntu-16-04-x64"', "ubuntu-24-04-x64"),
    "a misspelt image": (None, {"image": "debian-13-x46"}, 'no image "debian-13-x46"', "debian-13-x64"),
    "an image's id that is not there": (None, {"image": "99"}, 'no image "99"', "image list"),
    "an image that is not in the region": (None, {"image": catalogue.FEW_REGIONS, "region": "ams3"},
                                           catalogue.FEW_REGIONS, "fra1"),
    "an image that is too large": (None, {"image": catalogue.IMAGE_60GB}, "60 GB", "digitalocean-size"),
    "an unknown fingerprint": (None, {"ssh-key-fingerprint": MINE}, MINE, "ssh-key list"),
    "an unknown key id": (None, {"ssh-key-fingerprint": "4711"}, "4711", "ssh-key list"),
    "an unknown project": (None, {"project-id": account.PROJECT[:-1] + "0"}, account.PROJECT[:-1] + "0", "projects"),
    "an unknown network": (None, {"vpc-uuid": account.VPC[:-1] + "0"}, "VPC", "vpcs"),
    "a network of another region": (None, {"vpc-uuid": account.VPC, "region": "ams3"}, "VPC", "vpcs"),
}


def is_refused(here, ended, words, hint, code=3):
    """Nothing is there, here or in the account, but one sentence and a hint; the sentence."""
    lines = [line for line in ended.err.replace('\\"', '"').splitlines() if not line.startswith("Warning: ")]
    assert ended.code == code, ended
    assert words in lines[0] and hint in "\n".join(lines[1:]), ended.err
    assert TOKEN not in ended.out + ended.err and all(line.strip() for line in lines) and len(lines) <= 4
    assert here.clean() and here.ocean.orders == {} and here.store.names() == []
    return lines[0]


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_work_is_refused_in_a_sentence_with_a_hint(here, call, soon, case):
    change, flags, words, hint = REFUSED[case]
    if change:
        change(here.ocean)
    ended = call(*(soon + ["--digitalocean-%s=%s" % pair for pair in flags.items()] + ["web"]))
    is_refused(here, ended, words, hint)
    if change is limit or case.startswith("a token without") or "network" in case:
        assert not [request for request in here.ocean.requests if request.begins() and request.status < 400]
    else:
        assert here.changes() == []
    assert 1 <= len(here.ocean.requests) <= 6


@pytest.mark.parametrize("how", [429, "429 reset"])
@pytest.mark.parametrize("case", ["a full account", "a full account and a custom image",
                                  "a token without droplet:create", "an unknown network"])
def test_a_refusal_is_one_too_if_it_was_put_off_before(here, call, soon, how, case):
    """What was too much for the server was not carried out."""
    change, flags, words, hint = REFUSED[case]
    if change:
        change(here.ocean)
    here.ocean.fail(how, "POST", "/v2/droplets$")
    ended = call(*(soon + ["--digitalocean-%s=%s" % pair for pair in flags.items()] + ["web"]))
    is_refused(here, ended, words, hint)


@pytest.mark.parametrize("trouble", ["403", "429"])
def test_a_refusal_of_the_look_for_a_lost_answer_is_none_of_the_creation(here, call, soon, trouble):
    """The droplet is there: its entry must not go."""
    here.ocean.fail("500 after", "POST", "/v2/droplets$")
    if trouble == "403":
        here.ocean.tokens = {TOKEN: EVERY_SCOPE - {"droplet:read"}}
    else:
        here.ocean.fail("429 reset", "GET", r"/v2/droplets\?tag_name")
    ended = call(*(soon + ["web"]))
    assert (ended.code, here.store.names()) == (1, ["web"]) and "docker-machine rm web" in ended.err
    assert "POST" not in ended.err and len(here.ocean.droplets) == 1
    here.ocean.tokens = {TOKEN: None}
    assert call("rm", "-y", "web").code == 0 and here.ocean.empty()


def test_a_withdrawn_image_comes_with_the_nearest_and_the_way_to_list_all(here):
    with pytest.raises(core.MachineError) as failure:
        here.machine(image="ubuntu-16-04-x64").driver.pre_create_check()
    hint = failure.value.hint
    assert hint.index("ubuntu-24-04-x64") < hint.index("List all: ") and "fedora" not in hint
    command = hint.partition("List all: ")[2]
    assert command == "doctl compute image list-distribution --public"


def test_the_lists_are_read_to_their_last_page(here, monkeypatch):
    for number in range(450):
        row = copy.deepcopy(here.ocean.sizes["s-1vcpu-1gb"])
        row["slug"] = "s-%dvcpu-%dgb" % (number + 50, number)
        here.ocean.sizes[row["slug"]] = row
    here.ocean.links_url = "http://192.0.2.1:9"  # a host that must not be asked
    here.machine(size=row["slug"]).driver.pre_create_check()
    assert [line for line in here.lines() if "sizes" in line][1:] == [
        "GET /v2/sizes?per_page=200&page=%d" % page for page in (2, 3)]


@pytest.mark.parametrize("words", [[], ["--digitalocean-image=ubuntu-22-04-x64"]])
def test_the_address_of_the_api_is_a_variable(here, call, closed_port, words):
    ended = call("create", "-d", "digitalocean", *(words + ["web"]),
                 DIGITALOCEAN_API_URL="http://127.0.0.1:%d" % closed_port)
    is_refused(here, ended, "refused", "network")
    ended = call("create", "-d", "digitalocean", *(words + ["web"]), DIGITALOCEAN_API_URL="http://api.example.com")
    assert ended.code == 3 and here.ocean.requests == []
    assert "https" in ended.err and "DIGITALOCEAN_API_URL" in ended.err


@pytest.mark.parametrize("how", [500, 503, "html", "cut", "json", "empty", 429])
@pytest.mark.parametrize("path", ["sizes", "images"])
def test_a_question_that_is_never_answered_ends_in_a_sentence(here, call, how, path):
    here.ocean.fail(how, "GET", path, times=1000)
    ended = call("create", "-d", "digitalocean", "web")
    lines = [line for line in ended.err.splitlines() if not line.startswith("Warning: ")]
    assert ended.code == 3 and 1 <= len(lines) <= 3 and "DigitalOcean" in lines[0], ended.err
    assert here.clean() and here.store.names() == [] and here.changes() == []
    assert len(here.ocean.requests) < 150


@pytest.mark.parametrize("how", [500, 503, "html", "cut", "json", "empty", 429, "429 reset"])
def test_a_question_that_is_answered_late_is_enough(here, how):
    here.ocean.fail(how, "GET", "sizes|images", times=3)
    here.create()
    assert len(here.ocean.droplets) == 1


# --- keys

def test_a_key_of_the_account_is_named_and_its_file_copied(here):
    path = here.key()
    printed = here.account_key(path)
    machine = here.create(ssh_key_fingerprint=printed, ssh_key_path=path)
    stored = machine.driver.get_ssh_key_path()
    assert here.order()["ssh_keys"] == [max(here.ocean.keys)]
    assert os.path.dirname(stored) == machine.folder and Path(stored).read_bytes() == path.read_bytes()
    assert stat.S_IMODE(os.stat(stored).st_mode) == 0o600
    assert len(here.ocean.keys) == 1 and "POST /v2/account/keys" not in here.lines()
    assert here.stored()["SSHKeyFingerprint"] == printed and here.stored()["SSHKey"] == str(path)


@pytest.mark.parametrize("form", [str, str.upper, "MD5:{}".format])
def test_a_fingerprint_may_be_written_as_ssh_keygen_does(here, form):
    printed = here.account_key(here.key())
    here.create(ssh_key_fingerprint=form(printed))
    assert here.order()["ssh_keys"] == [max(here.ocean.keys)]


def test_a_key_may_be_named_by_its_id(here):
    here.account_key(here.key())
    here.create(ssh_key_fingerprint=max(here.ocean.keys))
    assert here.order()["ssh_keys"] == [max(here.ocean.keys)]


def test_a_named_key_without_a_file_is_left_to_ssh(here):
    machine = here.create(ssh_key_fingerprint=here.account_key(here.key()))
    assert machine.driver.get_ssh_key_path() == "" and not os.path.exists(os.path.join(machine.folder, "id_rsa"))
    assert here.load().driver.get_ssh_key_path() == ""


def test_a_named_key_is_never_removed(here):
    printed = here.account_key(here.key())
    here.create(ssh_key_fingerprint=printed).driver.remove()
    assert here.ocean.empty() and len(here.ocean.keys) == 1


def test_a_named_key_is_in_the_user_data_too_for_users_that_are_made(here):
    path = here.key()
    here.create(ssh_key_fingerprint=here.account_key(path), ssh_user="me")
    blob = (path.parent / "mine.pub").read_text().split()[1]
    assert blob in str(keys_of(ours(here.order()["user_data"])))


def test_a_key_file_that_is_not_the_named_key_is_refused(here, call):
    path, other = here.key(), here.key("other")
    printed = here.account_key(path)
    ended = call("create", "-d", "digitalocean", "--digitalocean-ssh-key-path=%s" % other,
                 "--digitalocean-ssh-key-fingerprint=" + printed, "web")
    assert ended.code == 3 and str(other) in ended.err and printed in ended.err and "ssh-keygen" in ended.err
    assert here.changes() == [] and here.store.names() == []


@pytest.mark.parametrize("kind", ["passphrase", "public", "open", "garbage"])
def test_a_key_file_that_cannot_be_used_is_refused(here, call, kind):
    path = here.key(passphrase="secret" if kind == "passphrase" else "")
    if kind == "passphrase":
        (here.folder / "mine.pub").unlink()
    elif kind == "public":
        path = here.folder / "mine.pub"
        path.chmod(0o600)
    elif kind == "open":
        path.chmod(0o644)
    elif kind == "garbage":
        path = here.file("this is no key\n", "garbage")
        path.chmod(0o600)
    ended = call("create", "-d", "digitalocean", "--digitalocean-ssh-key-path=%s" % path, "web")
    assert ended.code == 3 and str(path) in ended.err and len(ended.err.splitlines()) >= 2
    assert here.changes() == [] and here.store.names() == []


def test_ones_own_key_needs_no_place_in_the_account(here):
    path = here.key()
    machine = here.create(ssh_key_path=path)
    assert here.order().get("ssh_keys", []) == [] and here.ocean.keys == {}
    assert Path(machine.driver.get_ssh_key_path()).read_bytes() == path.read_bytes()
    assert (path.parent / "mine.pub").read_text().split()[1] in str(keys_of(ours(here.order()["user_data"])))


def test_a_key_with_a_passphrase_will_do_if_its_public_half_is_there(here):
    here.create(ssh_key_path=here.key(passphrase="secret"))
    assert (here.folder / "mine.pub").read_text().split()[1] in str(keys_of(ours(here.order()["user_data"])))


def test_a_key_is_made_and_comes_by_user_data_so_that_none_piles_up(here):
    machine = here.create()
    public = Path(machine.folder, "id_rsa.pub").read_text().split()
    found = [key.split()[1] for key in keys_of(ours(here.order()["user_data"]))]
    assert set(found) == {public[1]}
    assert here.order().get("ssh_keys", []) == [] and here.ocean.keys == {} and here.stored()["SSHKeyID"] == 0
    assert stat.S_IMODE(os.stat(machine.driver.get_ssh_key_path()).st_mode) == 0o600


def test_the_hosts_own_key_is_sent_along_and_pinned_before_the_first_connection(here):
    machine = here.create()
    sent = ours(here.order()["user_data"])["ssh_keys"]
    pinned = Path(machine.folder, "known_hosts").read_text().split()
    assert pinned[1:3] == sent["ed25519_public"].split()[:2]
    private = here.file(sent["ed25519_private"], "host-key")
    private.chmod(0o600)
    half = subprocess.run(["ssh-keygen", "-y", "-f", str(private)], stdout=subprocess.PIPE, check=True).stdout
    assert half.decode().split()[1] == pinned[2]


def test_no_two_machines_share_a_key_or_a_tag(here):
    for name in ("a", "b"):
        here.create(name)
    first, second = here.ocean.orders.values()
    assert first["tags"] != second["tags"]
    for part in ("ssh_keys", "users"):
        assert ours(first["user_data"])[part] != ours(second["user_data"])[part]


IGNITION = json.dumps({"ignition": {"version": "3.3.0"}})
UPLOADS = {
    "a custom image": ({"image": catalogue.CUSTOM}, None),
    "Ignition": ({"image": catalogue.CUSTOM}, IGNITION),
    "Ignition for an image of DigitalOcean": ({}, IGNITION),
    "a program of one's own": ({}, "key = value\n"),
}


@pytest.mark.parametrize("case", sorted(UPLOADS))
def test_where_cloud_init_is_not_a_key_is_uploaded_and_removed_again(here, case):
    flags, text = UPLOADS[case]
    machine = here.create(**dict(flags, **({"userdata": here.file(text)} if text else {})))
    assert len(here.order()["ssh_keys"]) == 1 and here.ocean.keys == {} and here.stored()["SSHKeyID"] == 0
    uploaded, = here.ocean.asked("POST", "/v2/account/keys$")
    assert uploaded.body["public_key"].split()[1] == Path(machine.folder, "id_rsa.pub").read_text().split()[1]
    assert re.match(r"[\w.-]+$", uploaded.body["name"]) and len(uploaded.body["name"]) > 8
    order = here.order().get("user_data", "")
    assert order == (text or "")
    assert here.lines().index("POST /v2/account/keys") < here.lines().index("POST /v2/droplets")
    assert here.lines()[-1] == "DELETE /v2/account/keys/ID"


def test_the_distribution_may_also_be_called_unknown(here):
    """As the API's description has it."""
    here.ocean.images[catalogue.CUSTOM]["distribution"] = "Unknown"
    here.create(image=catalogue.CUSTOM)
    assert len(here.order()["ssh_keys"]) == 1 and here.ocean.keys == {}


@pytest.mark.parametrize("distribution", ["Fedora CoreOS", "CoreOS", "RancherOS", "FreeBSD", "Fedora Atomic"])
def test_images_known_to_have_no_cloud_init_get_a_key_too(here, distribution):
    here.ocean.images[catalogue.CUSTOM].update(distribution=distribution, name="image")
    here.create(image=catalogue.CUSTOM)
    assert len(here.order()["ssh_keys"]) == 1 and here.ocean.keys == {}


def test_a_custom_image_with_cloud_init_gets_both(here):
    here.ocean.images[catalogue.CUSTOM]["distribution"] = "Ubuntu"
    here.create(image=catalogue.CUSTOM)
    assert len(here.order()["ssh_keys"]) == 1 and ours(here.order()["user_data"])["ssh_keys"] and here.ocean.keys == {}


def test_without_cloud_init_no_host_key_is_pinned_that_the_host_does_not_have(here):
    machine = here.create(image=catalogue.CUSTOM)
    path = Path(machine.folder, "known_hosts")
    assert not path.exists() or path.read_text() == ""


# --- user data

def test_our_user_data_is_one_part_of_cloud_config(here):
    here.create("my-web")
    text = here.order()["user_data"]
    assert text.startswith("#cloud-config\n") and len(text.encode()) < 16384
    assert ours(text)["hostname"] == "my-web" and ours(text)["disable_root"] is False
    assert ours(text)["ssh_pwauth"] is False


def test_another_user_than_root_is_made_with_the_key_and_sudo(here):
    here.create(ssh_user="me")
    user, = [user for user in ours(here.order()["user_data"])["users"] if user != "default"]
    assert user["name"] == "me" and "NOPASSWD:ALL" in str(user["sudo"]) and len(user["ssh_authorized_keys"]) == 1
    assert here.load().driver.get_ssh_username() == "me"


USER_PARTS = [
    "#cloud-config\nruncmd: [touch /x]\nusers: [default, {name: bob}]\n", "#!/bin/sh\necho K\u00f6ln\n",
    "#include\nhttps://example.com/x\n", "## template: jinja\n#cloud-config\n{}\n", "#cloud-boothook\necho x\n",
    "#cloud-config\r\nruncmd: []\r\n", "#!/bin/sh\nFrom here to there\n.\n" + "x" * 2000 + "\n",
    "#cloud-config-archive\n- {type: text/cloud-config, content: x}\n", "#part-handler\ndef list_types(): pass\n",
]


@pytest.mark.parametrize("text", USER_PARTS, ids=lambda text: text.split("\n")[0].strip())
def test_user_data_of_ones_own_is_joined_with_ours(here, text):
    machine = here.create(userdata=here.file(text))
    parts = parts_of(here.order()["user_data"])
    assert len(parts) == 2 and parts[0].replace("\r\n", "\n").rstrip() == text.replace("\r\n", "\n").rstrip()
    config = ours(here.order()["user_data"])
    assert Path(machine.folder, "id_rsa.pub").read_text().split()[1] in str(keys_of(config))
    assert "append" in str(config["merge_how"])  # so that the lists of the user's part stay


@pytest.mark.parametrize("text", ["\n\n#cloud-config\npackages: [htop]\n", "\ufeff#cloud-config\npackages: [htop]\n",
                                  " \n#!/bin/sh\ntrue\n"], ids=["blank lines", "a byte order mark", "a blank"])
def test_what_stands_before_the_mark_of_user_data_does_no_harm(here, text):
    here.create(userdata=here.file(text))
    order = here.order()
    assert "ssh_keys" not in order and ours(order["user_data"])["users"]
    assert parts_of(order["user_data"])[0].startswith(("#cloud-config\n", "#!/bin/sh\n"))


def test_user_data_without_any_mark_is_sent_with_a_warning(here, capsys):
    here.create(userdata=here.file("key = value\n"))
    assert "begins with none of the marks by which cloud-init knows user data" in capsys.readouterr().err


def test_the_tag_of_a_machine_that_docker_machine_has_rewritten_is_removed_too(here, call):
    machine = here.create()
    assert here.ocean.tags
    settings = machine.config["Driver"]
    del settings["CreateTag"]  # which the original does not know
    machine.save()
    assert call("rm", "-y", "web").code == 0
    assert (here.ocean.tags, here.ocean.droplets) == (set(), {})


def test_user_data_in_parts_keeps_them(here):
    message = email.message_from_string("Content-Type: multipart/mixed; boundary=XX\nMIME-Version: 1.0\n\n--XX\n"
                                        "Content-Type: text/cloud-config\n\n#cloud-config\na: 1\n\n--XX\n"
                                        "Content-Type: text/x-shellscript-per-boot\n\n#!/bin/sh\necho b\n\n--XX--\n")
    here.create(userdata=here.file(message.as_string()))
    whole = email.message_from_string(here.order()["user_data"])
    kinds = [part.get_content_type() for part in whole.walk() if not part.is_multipart()]
    assert kinds[:2] == ["text/cloud-config", "text/x-shellscript-per-boot"] and len(kinds) == 3
    assert ours(here.order()["user_data"])["ssh_keys"]


def test_the_root_password_that_has_expired_is_seen_to(here):
    """DigitalOcean lets it expire where no key of the account is named, and PAM then refuses every login."""
    here.create()
    config = ours(here.order()["user_data"])
    assert config["chpasswd"]["expire"] is False and "chage" in str(config["runcmd"])


@pytest.mark.parametrize("data, words", [(b"x" * 70000, "too large"), (b"\xff\xfe\x00", "cannot be read")])
def test_user_data_that_cannot_be_sent_is_refused_first(here, call, data, words):
    ended = call("create", "-d", "digitalocean", "--digitalocean-userdata=%s" % here.file(data), "web")
    assert ended.code == 3 and words in ended.err and str(here.folder) in ended.err
    assert here.changes() == [] and here.store.names() == []


@pytest.mark.parametrize("text", ["x", "\u00e4\u00f6", "\u20ac"])
def test_user_data_that_just_fits_fits_together_with_ours(here, text):
    """64 KiB are the limit for both; whatever passes the check is not refused later."""
    for size in (65000, 60000, 55000, 50000, 40000):
        data = "#!/bin/sh\n" + ("#%s\n" % (text * 60)) * 1000
        path = here.file(data.encode()[:size].decode(errors="ignore"))
        machine = here.machine("web%d" % size, userdata=path)
        try:
            machine.driver.pre_create_check()
        except core.MachineError as error:
            assert "too large" in error.message
            continue
        here.store.add(machine)
        machine.driver.create()
        break
    assert here.ocean.orders


# --- what is asked for

@pytest.mark.parametrize("flags, fields", [
    ({}, {"region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"}),
    ({"region": "fra1", "size": "c-2", "image": "debian-13-x64"},
     {"region": "fra1", "size": "c-2", "image": "debian-13-x64"}),
    ({"image": "195932983"}, {"image": 195932983}), ({"image": catalogue.SNAPSHOT}, {"image": catalogue.SNAPSHOT}),
    ({"ipv6": "true"}, {"ipv6": True}), ({"backups": "true"}, {"backups": True}),
    ({"monitoring": "true"}, {"monitoring": True}), ({"vpc_uuid": account.VPC}, {"vpc_uuid": account.VPC}),
    ({"private_networking": "true"}, {"region": "nyc3"}),
], ids=str)
def test_each_flag_reaches_the_request(here, flags, fields):
    here.create("my.web-1", **flags)
    order = here.order()
    assert {key: order[key] for key in fields} == fields
    on = {key for key in ("ipv6", "backups", "monitoring") if order.get(key)}
    assert on == {key for key in fields if fields[key] is True} and ("vpc_uuid" in order) == ("vpc_uuid" in fields)
    assert re.match("[a-zA-Z0-9.-]+$", order["name"]) and order["name"].startswith("my")


def test_a_project_gets_the_droplet(here):
    here.create(project_id=account.PROJECT)
    assert here.ocean.projects[account.PROJECT] == ["do:droplet:%d" % here.droplet()["id"]]


def test_a_project_that_does_not_take_it_is_told(here, monkeypatch):
    machine = here.add(project_id=account.PROJECT)
    monkeypatch.setattr(here.ocean, "_assign", lambda project, urn: {"urn": urn, "status": "not_found"})
    with pytest.raises(core.MachineError, match="not found"):
        machine.driver.create()
    here.load().driver.remove()
    assert here.clean()


REQUESTS = [
    ({}, DEFAULT_LIFE),
    ({"project_id": account.PROJECT}, DEFAULT_LIFE + ["GET /v2/projects/PROJECT",
                                                      "POST /v2/projects/PROJECT/resources"]),
    ({"tags": "a,b", "ipv6": "true", "backups": "true", "monitoring": "true", "vpc_uuid": account.VPC}, DEFAULT_LIFE),
    ({"image": catalogue.CUSTOM}, ["GET /v2/images/ID", "POST /v2/account/keys", "DELETE /v2/account/keys/ID"]
     + DEFAULT_LIFE[1:]),
]


@pytest.mark.parametrize("flags, lines", REQUESTS, ids=str)
def test_a_creation_takes_six_requests_at_most_with_polling_counted_once(here, flags, lines):
    here.ocean.polls = 6
    here.create(**flags)
    polls = {"GET /v2/droplets/ID", "GET /v2/droplets/ID/actions?per_page=200", "GET /v2/droplets/ID/actions/ID"}
    once = [line for line in here.lines() if line not in polls] + ["GET /v2/droplets/ID"]
    assert sorted(once) == sorted(lines) and len(once) <= 6


def test_with_a_named_key_and_all_flags_too(here):
    path = here.key()
    here.create(ssh_key_fingerprint=here.account_key(path), ssh_key_path=path, project_id=account.PROJECT,
                vpc_uuid=account.VPC, tags="a", userdata=here.file("#!/bin/sh\n"))
    assert len(here.lines()) <= 6, here.lines()


def test_every_request_is_signed_and_says_who_asks(here):
    here.create(image=catalogue.CUSTOM, project_id=account.PROJECT).driver.remove()
    for request in here.ocean.requests:
        assert request.headers["authorization"] == "Bearer " + TOKEN
        assert request.headers["user-agent"] == "docker_machine.py/" + core.__version__


# --- what is stored when

def test_the_tag_is_stored_before_the_droplet_is_asked_for_and_the_id_before_it_is_waited_for(here, monkeypatch):
    seen, act = [], here.ocean._act

    def look(request):
        if request.begins() or re.search(r"droplets/\d+$", request.path):
            seen.append((str(request.method), here.stored()["CreateTag"], here.stored()["DropletID"]))
        return act(request)

    machine = here.add()
    monkeypatch.setattr(here.ocean, "_act", look)
    machine.driver.create()
    tag = here.order()["tags"][-1]
    assert re.match("docker-machine-[0-9a-f]{16}$", tag)
    assert seen[0] == ("POST", tag, 0) and seen[1] == ("GET", tag, here.droplet()["id"])


def test_a_key_is_known_to_be_uploaded_before_it_is(here, monkeypatch):
    seen, act = [], here.ocean._act

    def look(request):
        if "keys" in request.path:
            seen.append(here.stored()["SSHKeyID"])
        return act(request)

    machine = here.add(image=catalogue.CUSTOM)
    monkeypatch.setattr(here.ocean, "_act", look)
    machine.driver.create()
    assert 0 not in seen


# --- addresses

@pytest.mark.parametrize("switches, flags, pattern", [
    ({}, {}, r"203\.0\.113\.\d+$"), ({}, {"private_networking": "true"}, r"203\.0\.113\.\d+$"),
    ({}, {"ipv6": "true"}, r"203\.0\.113\.\d+$"), ({"ipv4": False}, {"ipv6": "true"}, r"2001:db8::[0-9a-f]+$"),
    ({"public": False}, {}, r"10\.132\.0\.\d+$"),
])
def test_the_address_is_the_public_one_else_ipv6_else_the_private_one(here, switches, flags, pattern):
    for name, value in switches.items():
        setattr(here.ocean, name, value)
    driver = here.create(**flags).driver
    assert re.match(pattern, driver.get_ip()) and here.stored()["IPAddress"] == driver.get_ip()
    assert driver.get_url() == core.join_url(driver.get_ip(), 2376)
    assert ("[" in driver.get_url()) == ("ipv4" in switches)


def test_an_address_that_comes_later_than_the_state_is_waited_for(here, monkeypatch):
    addresses, networks = [], here.ocean._networks

    def late(given):
        addresses.append(networks(given))
        return {"v4": [], "v6": []}

    monkeypatch.setattr(here.ocean, "_networks", late)
    machine, show = here.add(), here.ocean.show_droplet
    asked = []

    def show_droplet(request, which):
        asked.append(which)
        if len(asked) == 3:
            here.droplet()["networks"] = addresses[0]
        return show(request, which)

    monkeypatch.setattr(here.ocean, "show_droplet", show_droplet)
    machine.driver.create()
    assert len(asked) == 3 and machine.driver["IPAddress"].startswith("203.")


def test_a_public_address_that_comes_after_the_private_one_is_waited_for(here, monkeypatch):
    """DigitalOcean may list the private one first."""
    machine, show, asked = here.add(), here.ocean.show_droplet, []

    def show_droplet(request, which):
        asked.append(which)
        status, body = show(request, which)
        body = copy.deepcopy(body)
        if len(asked) < 3:
            body["droplet"]["status"] = "new"
            body["droplet"]["networks"]["v4"] = [net for net in body["droplet"]["networks"]["v4"]
                                                 if net["type"] == "private"]
        return status, body

    monkeypatch.setattr(here.ocean, "show_droplet", show_droplet)
    machine.driver.create()
    assert machine.driver["IPAddress"].startswith("203.")


# --- creations that fail

def test_a_creation_that_fails_at_digitalocean_leaves_nothing_there(here, call, soon):
    here.ocean.polls = 3
    here.ocean.fail("errored", "POST", "/v2/droplets$")
    ended = call(*(soon + ["--digitalocean-image=%d" % catalogue.CUSTOM, "web"]))
    assert ended.code != 0 and "could not create the droplet" in ended.err and here.clean()
    assert call("rm", "-y", "web").code == 0 or here.store.names() == []
    assert here.clean() and here.store.names() == []


def test_it_can_be_tried_again(here, call, soon):
    here.ocean.polls = 3
    here.ocean.fail("errored", "POST", "/v2/droplets$")
    assert call(*(soon + ["web"])).code != 0
    call("provision", "web")
    assert len(here.ocean.droplets) == 1 and here.stored()["DropletID"] == here.droplet()["id"]
    assert here.droplet()["tags"] == [here.stored()["CreateTag"]] and here.ocean.tags == set(here.droplet()["tags"])


def test_a_droplet_that_vanishes_while_it_is_waited_for_is_no_endless_wait(here, pauses, monkeypatch):
    machine = here.add()
    monkeypatch.setattr(here.ocean, "show_droplet", lambda *unused: (_ for _ in ()).throw(account.not_found()))
    with pytest.raises(core.MachineError, match="no droplet|vanished") as failure:
        machine.driver.create()
    assert failure.value.hint and sum(pauses) < 300


def test_a_droplet_that_is_not_there_at_once_is_waited_for(here, monkeypatch):
    machine, show, asked = here.add(), here.ocean.show_droplet, []

    def show_droplet(request, which):
        asked.append(which)
        if len(asked) < 4:
            raise account.not_found()
        return show(request, which)

    monkeypatch.setattr(here.ocean, "show_droplet", show_droplet)
    machine.driver.create()
    assert len(here.ocean.orders) == 1


def test_a_droplet_that_never_becomes_active_is_given_up_and_can_be_removed(here, pauses):
    here.ocean.polls = 10 ** 6
    machine = here.add()
    with pytest.raises(core.MachineError, match="did not become active"):
        machine.driver.create()
    assert 300 < sum(pauses) < 2000
    here.load().driver.remove()
    assert here.clean()


def test_progress_is_told_while_it_lasts(here, capsys):
    here.ocean.polls = 40
    here.create()
    said = capsys.readouterr().out
    assert "in-progress" in said and str(here.droplet()["id"]) in said and here.stored()["IPAddress"] in said


def test_a_project_that_refuses_the_droplet_leaves_a_machine_that_rm_removes(here, call, soon):
    here.ocean.tokens[TOKEN] = EVERY_SCOPE - {"project:assign_resource"}
    ended = call(*(soon + ["--digitalocean-project-id=" + account.PROJECT, "web"]))
    assert ended.code != 0 and "project:assign_resource" in ended.err
    assert call("rm", "-y", "web").code == 0 if here.store.names() else True
    assert here.clean() and here.store.names() == []


# --- answers that are lost

LOST = ["500 after", "cut after", 500, 503, "cut", "json", "empty", "html", 429, "429 reset"]


SHAPES = ["null", "[]", "5", '"text"', "{}", '{"%s": null}', '{"%s": 5}', '{"%s": "text"}']


@pytest.mark.parametrize("method, path, key", [
    ("GET", "/v2/sizes", "sizes"), ("GET", "/v2/images/", "image"), ("GET", "/v2/account/keys/", "ssh_key"),
    ("POST", "/v2/droplets$", "droplet"), ("GET", r"/v2/droplets/\d+$", "droplet"), ("GET", "/v2/projects/", "project"),
    ("POST", "/v2/account/keys", "ssh_key"), ("POST", "/v2/projects/", "resources")])
@pytest.mark.parametrize("shape", SHAPES)
def test_json_of_an_unexpected_shape_is_an_error_and_no_crash(here, call, soon, monkeypatch, method, path, key, shape):
    act = here.ocean._act

    def misshapen(request):
        status, headers, body = act(request)
        if request.method == method and re.search(path, request.target) and status < 300:
            body = (shape.replace("%s", key) if "%s" in shape else shape).encode()
        return status, headers, body

    words = ["--digitalocean-project-id=" + account.PROJECT]
    if "keys/" in path:
        words = ["--digitalocean-ssh-key-fingerprint=" + here.account_key(here.key())]
    elif method == "POST" and key == "ssh_key":
        words = ["--digitalocean-image=%d" % catalogue.CUSTOM]
    monkeypatch.setattr(here.ocean, "_act", misshapen)
    ended = call(*(soon + words + ["web"]))
    assert ended.code in (1, 3) and ended.err
    monkeypatch.setattr(here.ocean, "_act", act)
    if here.store.names():
        assert call("rm", "-y", "web").code == 0
    assert here.ocean.empty() and here.store.names() == [] and len(here.ocean.orders) <= 1


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("times", [1, 2])
def test_a_droplet_whose_answer_is_lost_is_found_again_by_its_tag(here, how, times):
    here.ocean.fail(how, "POST", "/v2/droplets$", times=times)
    machine = here.create(tags="mine")
    assert len(here.ocean.orders) == 1 and machine.driver["DropletID"] == here.droplet()["id"]
    assert here.stored()["DropletID"] == here.droplet()["id"]


@pytest.mark.parametrize("how", ["500 after", "cut after"])
def test_it_is_found_although_lists_show_it_late(here, how, monkeypatch):
    act = here.ocean._act
    begun = []  # type: list

    def late(request):  # both mishaps at once
        answer = act(request)
        if request.begins() and not begun:
            begun.append(request)
            here.ocean._listed_from[max(here.ocean.droplets)] = time.monotonic() + 2
        return answer

    monkeypatch.setattr(here.ocean, "_act", late)
    here.ocean.fail(how, "POST", "/v2/droplets$")
    machine = here.create()
    assert len(here.ocean.orders) == 1 and machine.driver["DropletID"] == here.droplet()["id"]


@pytest.mark.parametrize("how", LOST)
def test_an_uploaded_key_whose_answer_is_lost_is_found_again(here, how):
    here.ocean.fail(how, "POST", "/v2/account/keys$", times=2)
    here.create(image=catalogue.CUSTOM)
    assert len(here.ocean.orders) == 1 and here.ocean.keys == {}


@pytest.mark.parametrize("how", ["500 after", "cut after"])
def test_an_uploaded_key_is_ours_although_lists_show_it_late(here, how, monkeypatch):
    lists, show = [], here.ocean.list_keys

    def late(request):
        lists.append(request)
        return show(request) if len(lists) > 1 else (200, account.Page("ssh_keys", []))

    monkeypatch.setattr(here.ocean, "list_keys", late)
    here.ocean.fail(how, "POST", "/v2/account/keys$")
    here.create(image=catalogue.CUSTOM).driver.remove()
    assert here.clean()


def test_a_key_that_the_account_has_already_is_used_and_stays(here):
    path = here.key()
    here.account_key(path)
    here.create(image=catalogue.CUSTOM, ssh_key_path=path).driver.remove()
    assert [order["ssh_keys"] for order in here.ocean.orders.values()] == [list(here.ocean.keys)]
    assert here.ocean.empty() and len(here.ocean.keys) == 1


@pytest.mark.parametrize("path, how", [
    (path, how) for path in (r"/v2/droplets/\d+$", "/v2/projects/.*/resources", "/v2/account/keys/") for how in LOST
    if how != "empty" or "keys" not in path])  # since nothing is all that a DELETE answers
def test_every_other_request_is_made_again(here, how, path):
    here.ocean.fail(how, "", path, times=2)
    here.create(image=catalogue.CUSTOM, project_id=account.PROJECT)
    assert len(here.ocean.orders) == 1 and here.ocean.keys == {}
    assert here.ocean.projects[account.PROJECT] == ["do:droplet:%d" % here.droplet()["id"]]


@pytest.mark.parametrize("path", [r"/v2/droplets/\d+$", r"/v2/droplets\?tag", "/v2/tags/", "/v2/account/keys"])
@pytest.mark.parametrize("how", [how for how in LOST if how != "empty"])
def test_a_removal_goes_on_through_them_too(here, how, path):
    machine = here.create(image=catalogue.CUSTOM)
    key = here.ocean.add_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBl3OvBlDBtrjm8hbSsX9Pb5ekHbY0z6/6Q0Q2o5JbUu")
    machine.driver["SSHKeyID"] = key["id"]
    here.ocean.fail(how, "", path, times=2)
    machine.driver.remove()
    assert here.clean()


def test_twenty_creations_succeed_while_every_third_request_fails_and_nothing_is_made_twice(here):
    here.ocean.droplet_limit = 100
    here.ocean.shake(0.3, seed=6)
    for number in range(20):
        here.create("web%d" % number, **({"image": catalogue.CUSTOM} if number % 4 == 0 else {}))
    here.ocean.shake(0)
    assert len(here.ocean.droplets) == 20 and here.ocean.keys == {}
    assert {here.stored("web%d" % number)["DropletID"] for number in range(20)} == set(here.ocean.droplets)
    assert any(request.status != 200 for request in here.ocean.requests)


@pytest.mark.parametrize("seed", range(20))
def test_a_whole_life_in_a_storm(here, seed):
    here.ocean.polls = 1
    here.ocean.shake(0.4, seed=seed)
    machine = here.create(project_id=account.PROJECT, **({"image": catalogue.CUSTOM} if seed % 2 else {}))
    assert list(here.ocean.orders) == [machine.driver["DropletID"]] and here.ocean.keys == {}
    driver = here.load().driver
    driver.kill()
    assert driver.get_state() == core.STOPPED
    driver.start()
    assert driver.get_state() == core.RUNNING
    driver.stop()
    assert driver.get_state() == core.STOPPED
    driver.remove()
    assert here.clean() and len(here.ocean.orders) == 1


# --- kill -9

STAGES = [("GET", "/v2/sizes"), ("GET", "/v2/images"), ("POST", "/v2/account/keys$"), ("POST", "/v2/droplets$"),
          ("GET", r"/v2/droplets/\d+$"), ("POST", "/v2/projects/"), ("DELETE", "/v2/account/keys/")]


@pytest.fixture
def killed(dm, here, soon, background):
    """killed(method, path, when): the program was killed while that request waited."""
    def run(method, path, when, *words):
        with here.ocean.hold(method, path, when) as hold:
            process = background(dm.start(*words))
            hold.wait()
            process.kill()
            process.wait()
    return run


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method, path", STAGES)
@pytest.mark.parametrize("then", ["rm", "provision"])
def test_whenever_create_is_killed_rm_leaves_nothing_and_provision_goes_on(
        here, call, soon, killed, method, path, when, then):
    killed(method, path, when, *(soon + ["--digitalocean-image=%d" % catalogue.CUSTOM,
                                         "--digitalocean-project-id=" + account.PROJECT, "web"]))
    if method == "GET" and "droplets" not in path:  # the check: nothing is made yet
        assert here.clean() and here.store.names() == []
        return
    assert here.store.names() == ["web"]
    if then == "provision":
        ended = call("provision", "web")
        assert ended.code == 1 and "SSH did not answer" in ended.err, ended
        assert len(here.ocean.orders) == 1 and here.stored()["DropletID"] == here.droplet()["id"]
        assert here.ocean.projects[account.PROJECT] == ["do:droplet:%d" % here.droplet()["id"]]
        assert here.ocean.keys == {}
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.store.names() == []
    assert here.clean() and len(here.ocean.orders) <= 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("path", [r"/v2/account/keys/", r"/v2/droplets/\d+$", r"/v2/droplets\?tag", "/v2/tags/"])
def test_a_removal_that_is_killed_can_be_made_again(here, call, killed, path, when):
    machine = here.create(image=catalogue.CUSTOM)
    machine.driver["SSHKeyID"] = here.ocean.add_key(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBl3OvBlDBtrjm8hbSsX9Pb5ekHbY0z6/6Q0Q2o5JbUu")["id"]
    machine.save()
    killed("DELETE", path, when, "rm", "-y", "web")
    assert here.store.names() == ["web"]
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.clean() and here.store.names() == []


def test_what_lists_show_late_is_removed_all_the_same(here, call, soon, killed):
    """Killed after the droplet was made, and before it is in the list by which the tag finds it."""
    here.ocean.fail("late", "POST", "/v2/droplets$", seconds=2.5)
    killed("POST", "/v2/droplets$", "after", *(soon + ["web"]))
    assert call("rm", "-y", "web").code == 0 and here.clean()


def test_an_interrupted_creation_ends_at_once_and_says_how_to_go_on(here, dm, call, soon, background):
    with here.ocean.hold("GET", r"/v2/droplets/\d+$") as hold:
        process = background(dm.start(*(soon + ["web"])))
        hold.wait()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=HANG)[1].decode()
    assert process.returncode == 130 and "docker-machine rm web" in said and "Traceback" not in said
    assert here.store.names() == ["web"] and call("rm", "-y", "web").code == 0 and here.clean()


# --- states and power

@pytest.mark.parametrize("status, state", [
    ("new", core.STARTING), ("active", core.RUNNING), ("off", core.STOPPED), ("archive", core.STOPPED),
    ("exploded", core.ERROR)])
def test_states(here, call, status, state):
    here.create()
    here.droplet()["status"] = status
    assert here.load().driver.get_state() == state
    assert call("status", "web").out == state + "\n"


@pytest.fixture
def web(here, on_loopback):
    here.create()
    here.ocean.polls = 2
    del here.ocean.requests[:]
    return here.load()


@pytest.mark.parametrize("verb, before, kind, after", [
    ("start", "off", "power_on", "active"), ("stop", "active", "shutdown", "off"),
    ("kill", "active", "power_off", "off"), ("restart", "active", "reboot", "active"),
])
def test_a_verb_is_an_action_that_is_waited_for(here, web, monkeypatch, verb, before, kind, after):
    monkeypatch.setattr(core.DigitalOceanDriver, "boot_id", lambda self: "")
    here.droplet()["status"] = before
    getattr(web.driver, verb)()
    assert [request.body for request in here.ocean.asked("POST")] == [{"type": kind}]
    assert here.droplet()["status"] == after
    assert {action["status"] for action in here.ocean.actions.values()} == {"completed"}


def test_a_restart_waits_for_another_boot(here, web, monkeypatch):
    boots = ["first", "first", "", "", "second"]
    monkeypatch.setattr(core.DigitalOceanDriver, "boot_id", lambda self: boots.pop(0))
    web.driver.restart()
    assert boots == [] and [request.body for request in here.ocean.asked("POST")] == [{"type": "reboot"}]


@pytest.mark.parametrize("verb", ["start", "stop", "kill", "restart"])
def test_a_verb_waits_for_an_action_that_is_pending(here, web, monkeypatch, verb):
    monkeypatch.setattr(core.DigitalOceanDriver, "boot_id", lambda self: "")
    here.ocean.polls = 5
    other = here.begin("power_off" if verb == "start" else "reboot")
    getattr(web.driver, verb)()
    assert here.ocean.actions[other["id"]]["status"] == "completed"
    assert here.droplet()["status"] == ("active" if verb in ("start", "restart") else "off")


@pytest.mark.parametrize("verb", ["start", "kill", "restart"])
def test_an_action_that_fails_is_told(here, web, monkeypatch, verb):
    monkeypatch.setattr(core.DigitalOceanDriver, "boot_id", lambda self: "")
    here.droplet()["status"] = "off" if verb == "start" else "active"
    here.ocean.fail("errored", "POST", "actions$")
    with pytest.raises(core.MachineError) as failure:
        getattr(web.driver, verb)()
    assert str(here.droplet()["id"]) in failure.value.message and failure.value.hint


def test_an_action_without_end_has_one(here, web, pauses):
    here.ocean.polls = 10 ** 6
    with pytest.raises(core.MachineError):
        web.driver.kill()
    assert sum(pauses) < 1000


def test_a_host_that_does_not_hear_is_told_to_be_killed(here, web, call):
    here.ocean.shutdown_works = False
    ended = call("stop", "web")
    assert ended.code == 1 and "docker-machine kill web" in ended.err and here.droplet()["status"] == "active"


def test_what_is_on_already_or_off_already_needs_no_request(here, web, call):
    ended = call("start", "web")
    assert ended.code == 1 and "already running" in ended.err
    here.droplet()["status"] = "off"
    for verb in ("stop", "kill"):
        ended = call(verb, "web")
        assert ended.code == 1 and "already stopped" in ended.err
    assert here.changes() == []


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("verb", ["start", "stop", "kill"])
def test_the_lost_answer_of_an_action_leads_to_the_same_state(here, web, how, verb):
    here.droplet()["status"] = "off" if verb == "start" else "active"
    here.ocean.fail(how, "POST", "actions$", times=2)
    getattr(web.driver, verb)()
    assert here.droplet()["status"] == ("active" if verb == "start" else "off")


def test_restarts_do_not_double_when_an_answer_is_lost(here, web, monkeypatch):
    monkeypatch.setattr(core.DigitalOceanDriver, "boot_id", lambda self: "")
    here.ocean.fail("500 after", "POST", "actions$")
    web.driver.restart()
    reboots = [action for action in here.ocean.actions.values() if action["type"] == "reboot"]
    assert 1 <= len(reboots) <= 2 and {action["status"] for action in reboots} == {"completed"}


@pytest.mark.parametrize("words", [["start"], ["stop"], ["kill"], ["restart"], ["status"], ["url"], ["env"]])
def test_a_droplet_that_is_gone_is_told_with_the_way_to_forget_it(here, web, call, words):
    number = here.droplet()["id"]
    here.ocean.droplets.clear()
    ended = call(*(words + ["web"]))
    assert ended.code == 1 and "no droplet %d" % number in ended.err and "docker-machine rm web" in ended.err
    assert here.changes() == []


# --- removal

def test_a_removal_takes_the_droplet_and_the_tag(here, call):
    here.create(tags="mine")
    here.ocean.tags.discard("mine")  # the user's own tag is none of ours
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.clean()
    assert here.changes()[1:] == ["DELETE /v2/droplets/ID", "DELETE /v2/droplets?tag_name=TAG", "DELETE /v2/tags/TAG"]


def test_tags_of_the_users_own_stay(here):
    here.create(tags="mine").driver.remove()
    assert here.ocean.tags == {"mine"} and not here.ocean.droplets


def test_no_other_droplet_is_touched(here):
    for name in ("a", "b"):
        here.create(name, tags="mine")
    here.load("a").driver.remove()
    assert [row["name"] for row in here.ocean.droplets.values()] == ["b"]


def test_what_is_gone_already_counts_as_removed(here, call):
    here.create()
    here.ocean.droplets.clear()
    here.ocean.tags.clear()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.store.names() == []


def test_to_remove_twice_is_no_error(here):
    machine = here.create(image=catalogue.CUSTOM)
    for _ in range(2):
        machine.driver.remove()
    assert here.clean()


HALF_MADE = {"nothing": (), "only the tag": ("tag",), "only the id": ("id",), "both": ("tag", "id"),
             "a key": ("key",), "a key that is not known": ("tag", "unknown key"), "all": ("tag", "id", "key")}


@pytest.mark.parametrize("case", sorted(HALF_MADE))
def test_whatever_was_stored_of_a_machine_that_is_half_made_is_enough_to_remove_it(here, call, case):
    machine, known = here.create(), HALF_MADE[case]
    tag, public = machine.driver["CreateTag"], Path(machine.folder, "id_rsa.pub").read_text().strip()
    if "key" in known or "unknown key" in known:
        machine.driver["SSHKeyID"] = here.ocean.add_key(public, tag)["id"] if "key" in known else -1
        if "unknown key" in known:
            here.ocean.add_key(public, tag)
    for part, field, empty in (("tag", "CreateTag", ""), ("id", "DropletID", 0)):
        if part not in known:
            machine.driver[field] = empty
    if not {"tag", "id"} & set(known):
        here.ocean.droplets.clear()
    if "tag" not in known:
        here.ocean.tags.clear()
    machine.save()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.clean() and here.store.names() == []


def test_nobody_is_asked_where_nothing_can_have_been_made(here):
    here.machine().driver.remove()
    assert here.ocean.requests == []


def test_a_busy_droplet_is_removed_as_soon_as_it_is_free(here):
    machine = here.create()
    here.ocean.busy_droplets_stay, here.ocean.polls = True, 3
    here.begin("reboot")
    machine.driver.remove()
    assert here.clean()


@pytest.mark.parametrize("scope", ["droplet:delete", "tag:delete"])
def test_a_token_that_may_not_remove_is_told_by_its_scope(here, call, scope):
    here.create()
    here.ocean.tokens[TOKEN] = EVERY_SCOPE - {scope}
    ended = call("rm", "-y", "web")
    assert scope in ended.err
    assert (ended.code == 1 and here.store.names() == ["web"]) or not here.ocean.droplets


def test_a_key_that_may_not_be_removed_does_not_keep_the_droplet(here, call):
    here.create(image=catalogue.CUSTOM)
    here.account_key(here.key())
    machine = here.load()
    machine.driver["SSHKeyID"] = next(iter(here.ocean.keys))
    machine.save()
    here.ocean.tokens[TOKEN] = EVERY_SCOPE - {"ssh_key:delete"}
    ended = call("rm", "-y", "web")
    assert (ended.code, here.store.names()) == (0, []) and "ssh_key:delete" in ended.err and here.ocean.empty()


def test_an_answer_that_is_lost_where_an_older_droplet_was_before_makes_no_second_one(here):
    machine = here.create()
    here.ocean.droplets.clear()  # by hand, at the provider
    here.ocean.fail("500 after", "POST", "/v2/droplets$")
    machine.driver.create()
    assert len(here.ocean.asked("POST", "/v2/droplets$")) == 2 and len(here.ocean.droplets) == 1
    assert here.droplet()["id"] == machine.driver["DropletID"]


def test_a_list_that_knows_no_tags_gives_nobody_elses_droplet_away(here):
    machine = here.create()
    here.ocean.droplets[1] = dict(here.droplet(), id=1, tags=["precious"])
    machine.driver["DropletID"] = 0
    machine.driver["CreateTag"] = "precious-not"
    here.ocean.list_droplets = lambda request: (200, account.Page("droplets", here.ocean.droplets.values()))
    machine.driver.remove()
    assert 1 in here.ocean.droplets


def test_a_token_that_was_withdrawn_keeps_the_entry_and_says_how_to_go_on(here, call):
    here.create()
    here.ocean.tokens.clear()
    ended = call("rm", "-y", "web")
    assert ended.code == 1 and "config.json" in ended.err and "rm -f web" in ended.err
    assert here.store.names() == ["web"] and TOKEN not in ended.out + ended.err
    assert call("rm", "-f", "web").code == 0 and here.store.names() == []


# --- entries that Docker Machine wrote

DOCKER_MACHINES = {
    "IPAddress": "203.0.113.9", "MachineName": "old", "SSHUser": "root", "SSHPort": 22, "SSHKeyPath": "",
    "StorePath": "", "SwarmMaster": False, "SwarmHost": "tcp://0.0.0.0:3376", "SwarmDiscovery": "",
    "AccessToken": TOKEN, "DropletID": 0, "DropletName": "", "Image": "ubuntu-16-04-x64", "Region": "nyc3",
    "SSHKeyID": 0, "SSHKeyFingerprint": "", "SSHKey": "", "Size": "s-1vcpu-1gb", "IPv6": False, "Backups": False,
    "PrivateNetworking": False, "UserDataFile": "", "Monitoring": False, "Tags": "a,b",
}


@pytest.fixture
def old(here):
    """old(**fields): the path of the config.json of a machine that Docker Machine made, and whose droplet runs."""
    def make(**fields):
        driver = here.create("helper").driver
        number, droplet = driver["DropletID"], here.droplet()
        droplet.update(name="old", tags=[])
        here.ocean.tags.clear()
        here.store.delete("helper")
        del here.ocean.requests[:]
        machine = here.store.new("old", core.load_driver("digitalocean"))
        machine.config["Driver"] = dict(DOCKER_MACHINES, StorePath=here.store.path, DropletID=number,
                                        SSHKeyPath=os.path.join(machine.folder, "id_rsa"), **fields)
        here.store.add(machine)
        machine.mark("")
        return Path(machine.folder, "config.json")
    return make


def test_docker_machines_entries_are_read_and_written_back_byte_by_byte(here, old, call):
    path = old()
    before = path.read_bytes()
    here.load("old").save()
    assert path.read_bytes() == before
    assert call("status", "old").out == "Running\n" and call("ip", "old").out == "203.0.113.9\n"
    assert call("url", "old").out == "tcp://203.0.113.9:2376\n"
    shown = call("inspect", "old")
    assert shown.code == 0 and json.loads(shown.out)["Driver"]["DropletID"] == here.droplet()["id"]
    assert call("stop", "old").code == 0 and here.droplet()["status"] == "off"
    assert path.read_bytes() == before


def test_fields_of_forks_are_kept(here, old):
    path = old(PrivateIPAddress="10.1.2.3", IPv6Address="2001:db8::1")
    before = path.read_bytes()
    here.load("old").save()
    assert path.read_bytes() == before and b"10.1.2.3" in before


def test_docker_machines_key_files_are_found(here, old):
    old()
    assert here.load("old").driver.get_ssh_key_path() == os.path.join(here.store.folder("old"), "id_rsa")
    here.store.delete("old")


@pytest.mark.parametrize("fields, left_to_ssh", [({"SSHKeyFingerprint": MINE}, True), ({}, False)])
def test_a_key_that_docker_machine_left_to_ssh_still_is(here, old, fields, left_to_ssh):
    path = old(**fields)
    config = json.loads(path.read_text())
    config["Driver"]["SSHKeyPath"] = ""
    path.write_text(core.go_json(config))
    assert (here.load("old").driver.get_ssh_key_path() == "") == left_to_ssh


def test_docker_machines_key_in_the_account_is_removed_with_the_machine(here, old, call):
    key = here.ocean.add_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBl3OvBlDBtrjm8hbSsX9Pb5ekHbY0z6/6Q0Q2o5JbUu")
    old(SSHKeyID=key["id"])
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.clean() and here.store.names() == []


def test_but_not_one_that_the_user_named(here, old, call):
    key = here.ocean.add_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBl3OvBlDBtrjm8hbSsX9Pb5ekHbY0z6/6Q0Q2o5JbUu")
    old(SSHKeyID=key["id"], SSHKeyFingerprint=key["fingerprint"])
    assert call("rm", "-y", "old").code == 0 and list(here.ocean.keys) == [key["id"]] and here.ocean.empty()


def test_an_entry_of_a_creation_that_docker_machine_did_not_finish_can_be_removed(here, old, call):
    path = old()
    config = json.loads(path.read_text())
    config["Driver"]["DropletID"] = 0
    path.write_text(core.go_json(config))
    assert call("rm", "-y", "old").code == 0 and here.store.names() == [] and here.ocean.droplets


# --- where the token goes

def holders(folder):
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")
            if path.is_file() and TOKEN.encode() in path.read_bytes()}


def test_the_token_is_in_no_output_no_argument_and_no_file_but_config_json(here, call, soon, monkeypatch):
    start, started = subprocess.Popen, []

    class Popen(start):  # type: ignore
        def __init__(self, argv, *rest, **options):
            started.append([os.fsdecode(word) for word in argv])
            super().__init__(argv, *rest, **options)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    ended = [call("--debug", *(soon + ["--digitalocean-image=%d" % catalogue.CUSTOM, "web"]))]
    assert started and ended[0].code == 1 and "SSH did not answer" in ended[0].err
    for words in (["inspect", "web"], ["inspect", "-f", "{{.Driver.AccessToken}}", "web"], ["ls"], ["status", "web"],
                  ["provision", "web"], ["stop", "web"], ["start", "web"], ["kill", "web"], ["doctor"],
                  ["ssh", "web", "true"], ["env", "web"], ["config", "web"]):
        ended.append(call("--debug", *words))
    assert holders(here.folder) == {"store/machines/web/config.json": 0o600}
    ended.append(call("--debug", "rm", "-y", "web"))
    assert holders(here.folder) == {} and here.clean()
    said = "".join(one.out + one.err for one in ended)
    assert "POST " in said and TOKEN not in said and "Bearer" not in said
    assert TOKEN not in str(started)


def test_a_token_on_the_command_line_is_kept_from_everybody_too(here, call, soon):
    words = soon + ["--digitalocean-access-token", TOKEN, "web"]
    ended = call("--debug", *words, DIGITALOCEAN_ACCESS_TOKEN=None)
    assert ended.code == 1 and TOKEN not in ended.out + ended.err
    assert holders(here.folder) == {"store/machines/web/config.json": 0o600}


@pytest.mark.parametrize("verb", ["pre_create_check", "create"])
def test_a_defect_tells_the_token_to_nobody(here, call, soon, monkeypatch, verb):
    def crash(self):
        raise RuntimeError("no %s" % self["AccessToken"])

    monkeypatch.setattr(core.DigitalOceanDriver, verb, crash)
    with pytest.raises(AssertionError, match="defect of docker-machine") as failure:
        call("--debug", *(soon + ["--digitalocean-access-token=" + TOKEN, "web"]))
    said = str(failure.value).split("ended like this:")[1]
    assert "RuntimeError" in said and TOKEN not in said
    assert set(holders(here.folder)) <= {"store/machines/web/config.json"}


@pytest.mark.parametrize("message", ["The token %s is not known", "%s"])
def test_a_server_that_repeats_the_token_is_not_repeated(here, call, monkeypatch, message):
    def refuse(*unused):
        raise account.Refused(401, "unauthorized", message % TOKEN)

    monkeypatch.setattr(here.ocean, "_authenticate", refuse)
    ended = call("--debug", "create", "-d", "digitalocean", "web")
    assert ended.code == 3 and TOKEN not in ended.out + ended.err and "********" in ended.err


def test_the_process_shows_the_token_to_nobody_who_lists_processes(here, dm, soon, background):
    with here.ocean.hold("POST", "/v2/droplets$") as hold:
        process = background(dm.start(*(soon + ["web"])))
        hold.wait()
        lists = [path for path in Path("/proc").glob("[0-9]*/cmdline")]
        shown = b"".join(path.read_bytes() for path in lists if path.exists())
        process.kill()
    assert not lists or b"docker_machine" in shown
    assert TOKEN.encode() not in shown


def test_no_token_is_told_at_once_with_the_ways_to_give_one(here, call):
    ended = call("create", "-d", "digitalocean", "web", DIGITALOCEAN_ACCESS_TOKEN=None)
    assert ended.code == 2 and "--digitalocean-access-token" in ended.err and here.ocean.requests == []
    assert len(ended.err.splitlines()) == 2


def test_a_token_in_the_environment_does_not_replace_the_one_that_is_stored(here, web, call):
    assert call("status", "web", DIGITALOCEAN_ACCESS_TOKEN="dop_v1_other").out == "Running\n"


@pytest.mark.parametrize("token", ["abcdefgh\r\nX-Injected: yes", "abcdef\u20ac", "", "abc def", None])
def test_a_stored_token_that_cannot_be_one_is_an_error_and_no_header(here, web, call, token):
    web.driver["AccessToken"] = token
    web.save()
    ended = call("--debug", "status", "web")
    assert ended.code == 1 and "DigitalOcean" in ended.err and not (token and token in ended.err)
    assert not [request for request in here.ocean.requests if "x-injected" in request.headers]


# --- lists and queries

def test_ls_asks_once_for_each_account_and_tells_what_failed(here, on_loopback, call):
    for name in ("active", "off", "gone", "refused"):
        here.create(name)
    named = {row["name"]: row for row in here.ocean.droplets.values()}
    named["off"]["status"] = "off"
    del here.ocean.droplets[named["gone"]["id"]]
    refused = here.load("refused")
    refused.driver["AccessToken"] = "dop_v1_other"
    refused.save()
    del here.ocean.requests[:]
    ended = call("ls", "-t", "60")
    rows = {line.split()[0]: line for line in ended.out.splitlines()[1:]}
    assert ended.code == 0 and len(rows) == 4
    assert "Running" in rows["active"] and "Stopped" in rows["off"]
    assert "no droplet" in rows["gone"] and "access token" in rows["refused"]
    assert TOKEN not in ended.out + ended.err
    assert sorted(here.lines()) == ["GET /v2/droplets/ID", "GET /v2/droplets?per_page=200"]


def test_ls_is_not_held_up_by_an_api_that_is_down(here, web, call, monkeypatch):
    monkeypatch.undo()  # time passes as it does
    here.ocean.fail("slow", "GET", "droplets", times=50, seconds=2 * HANG)
    start = time.time()
    ended = call("ls", "-t", "1")
    assert time.time() - start < HANG and ended.code == 0 and "web" in ended.out


@pytest.mark.parametrize("how", [503, "cut", 429])
@pytest.mark.parametrize("words, out", [(["status"], "Running\n"), (["url"], "tcp://127.0.0.1:2376\n"), (["env"], "")])
def test_an_answer_on_stdout_stays_clean_while_the_api_is_shaky(here, web, call, how, words, out):
    here.ocean.retry_after = 20
    here.ocean.fail(how, "GET", "droplets", times=4)
    assert call(*(words + ["web"])).out == out


def test_a_machine_of_which_nothing_was_made_yet_has_its_row(here, call):
    here.add()
    ended = call("ls")
    row, = ended.out.splitlines()[1:]
    assert ended.code == 0 and row.split()[0] == "web" and "Error" in row


def test_queries_of_a_droplet_that_is_off(here, web, call):
    here.droplet()["status"] = "off"
    assert call("status", "web").out == "Stopped\n"
    for words in (["url", "web"], ["env", "web"]):
        ended = call(*words)
        assert ended.code == 1 and "not running" in ended.err
    assert call("ip", "web").out == "%s\n" % web.driver["IPAddress"]


def test_ip_and_inspect_ask_nobody(here, web, call):
    assert call("ip", "web").code == call("inspect", "web").code == 0
    assert here.ocean.requests == []


def test_doctor_has_nothing_to_complain_of(here, web, call):
    ended = call("doctor")
    assert "digitalocean" not in ended.err.lower() and TOKEN not in ended.out + ended.err
