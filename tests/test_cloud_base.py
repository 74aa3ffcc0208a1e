"""CloudDriver, by the driver of docs/write-a-driver.md and a server that plays its provider.

What is proved here holds for every driver of a provider: what is stored when, what a kill or a lost answer leaves,
keys and user data, addresses, states of many machines, and the words for what a provider refuses.
"""

import email
import json
import os
import re
import stat
from pathlib import Path

import pytest
from conftest import ROOT
from contract import CHECKS, Subject
from examplecloud import TOKEN, Account, ExampleCloud
from machines import Kill, ProviderMachines, ours, parts_of

import docker_machine as core

EXAMPLE = re.findall(r"<!-- examplecloud\.py -->\n```python\n(.*?)```", (ROOT / "docs" / "write-a-driver.md").read_text(
    encoding="utf-8"), re.S)
IGNITION = json.dumps({"ignition": {"version": "3.3.0"}})
OTHER = "another-token-0815"


@pytest.fixture
def cloud(dm, tmp_path, monkeypatch):
    """The provider that the example's machines are at, and MACHINE_DRIVER_PATH, which names the example's folder."""
    (text,) = EXAMPLE
    folder = tmp_path / "drivers"
    folder.mkdir()
    (folder / "examplecloud.py").write_text(text, encoding="utf-8")
    with ExampleCloud() as made:
        dm.env.update(MACHINE_DRIVER_PATH=str(folder), EXAMPLECLOUD_API_URL=made.url, EXAMPLECLOUD_TOKEN=TOKEN)
        for name in ("MACHINE_DRIVER_PATH", "EXAMPLECLOUD_API_URL"):
            monkeypatch.setenv(name, dm.env[name])
        yield made
    assert made.mistakes == []


@pytest.fixture
def driver_class(cloud, drivers):
    """The example's class, as the program loads it."""
    return core.load_driver("examplecloud")


class ExampleMachines(ProviderMachines):
    """Machines of the example, and the account at its provider."""

    def __init__(self, cloud, store, driver_class, folder):
        super().__init__(store, driver_class, folder, token=TOKEN)
        self.cloud = cloud

    @property
    def account(self):
        return self.cloud.accounts[TOKEN]

    def server(self):
        """The only server."""
        (row,) = self.account.servers.values()
        return row

    def order(self):
        """The body that asked for the only server."""
        (order,) = self.account.orders
        return order

    def clean(self):
        """Whether the account holds nothing that was made here."""
        return not self.account.servers and not self.account.keys


@pytest.fixture
def here(cloud, store, driver_class, tmp_path, pauses, monkeypatch):
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(os, "fsync", lambda file: None)
    return ExampleMachines(cloud, store, driver_class, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "examplecloud"]


def public_half(path):
    return Path(str(path) + ".pub").read_text().split()[:2]


# --- the example

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__[len("check_"):])
def test_the_example_keeps_the_promises_of_all_drivers(driver_class, request, check):
    check(Subject("examplecloud", request.getfixturevalue))


def test_the_example_is_short():
    code = [line for line in EXAMPLE[0].splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) < 75


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["--examplecloud-size=medium", "web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err
    assert "(web) Creating SSH keys...\n(web) Creating the machine...\n" in ended.out
    assert "Created server ID %s, IP address 127.0.0.1" % here.server()["id"] in ended.out
    assert (here.order()["name"], here.order()["size"], here.order()["keys"]) == ("web", "medium", [])
    assert call("status", "web").out == "Running\n" and call("ip", "web").out == "127.0.0.1\n"
    row = call("ls", "-t", "60").out.splitlines()[1]
    assert row.split()[:4] == ["web", "-", "examplecloud", "Running"]
    for verb, status in (("stop", "off"), ("kill", "off")):
        here.server()["status"] = "on"
        assert call(verb, "web").code == 0 and here.server()["status"] == status
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "60").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.clean() and here.store.names() == []


def test_the_token_is_shown_nowhere_and_stored_in_config_json_alone(here, call, soon):
    ended = [call("--debug", *(soon + ["web"]))]
    ended += [call("--debug", *words) for words in (["inspect", "web"], ["ls"], ["status", "web"])]
    holders = [path for path in here.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert [path.name for path in holders] == ["config.json"] and stat.S_IMODE(holders[0].stat().st_mode) == 0o600
    assert "POST " in ended[0].err and TOKEN not in "".join(one.out + one.err for one in ended)


# --- what is stored when

def test_the_tag_is_stored_before_the_order_and_the_id_before_it_is_awaited(here):
    seen = []

    def look(request):
        seen.append((request.method, here.stored()["CreateTag"], here.stored()["InstanceID"]))

    machine = here.add()
    assert here.stored()["CreateTag"] == ""
    here.cloud.look("POST", "/servers$", look)
    here.cloud.look("GET", "/servers/", look)
    machine.driver.create()
    (tag,) = here.order()["tags"]
    assert re.match("docker-machine-[0-9a-f]{16}$", tag)
    assert seen[:2] == [("POST", tag, ""), ("GET", tag, here.server()["id"])]


def test_each_creation_has_a_tag_and_keys_of_its_own(here):
    for name in ("a", "b"):
        here.create(name)
    first, second = here.account.orders
    assert first["tags"] != second["tags"]
    assert ours(first["user_data"])["ssh_keys"] != ours(second["user_data"])["ssh_keys"]


# --- kills

@pytest.fixture
def killed(here, call, monkeypatch):
    """killed(method, pattern, when, words...): that command was killed at that request."""
    def run(method, pattern, when, *words):
        kill = Kill(here, monkeypatch, "ask", when, lambda asked, path, *rest, **more: (
            asked == method and re.search(pattern, path)))
        ended = call(*words)
        kill.bury()
        assert ended.code == 130
    return run


STAGES = [("POST", "/servers$"), ("GET", "/servers/s-"), ("POST", "/keys$"), ("DELETE", "/keys/")]


@pytest.mark.parametrize("method, pattern", STAGES)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["provision", "rm"])
def test_a_creation_that_was_killed_is_resumed_or_removed(here, call, soon, killed, method, pattern, when, then):
    """With Ignition, for which a key is uploaded too."""
    ignition = "--examplecloud-user-data=%s" % here.file(IGNITION)
    killed(method, pattern, when, *(soon + [ignition, "web"]))
    assert here.store.names() == ["web"]
    if then == "provision":
        ended = call("provision", "web")
        assert ended.code == 1 and "SSH did not answer" in ended.err, ended
        assert here.stored()["InstanceID"] == here.server()["id"] and here.stored()["IPAddress"] == "127.0.0.1"
        assert len(here.account.orders) == 1 and here.account.keys == {} and here.stored()["KeyID"] == ""
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.clean() and here.store.names() == []
    assert len(here.account.orders) <= 1


@pytest.mark.parametrize("pattern", ["/servers/", "/keys/"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_removal_that_was_killed_is_made_again(here, call, killed, pattern, when):
    machine = here.create()
    machine.driver["KeyID"] = here.cloud.add_key("ours", " ".join(public_half(machine.driver.path("id_rsa"))))["id"]
    machine.save()
    killed("DELETE", pattern, when, "rm", "-y", "web")
    assert here.store.names() == ["web"]
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.clean() and here.store.names() == []


def test_the_keys_of_a_creation_that_was_killed_stay_those_of_the_machine(here, killed, call, soon):
    """The order that was sent named them."""
    killed("POST", "/servers$", "after", *(soon + ["web"]))
    before = public_half(here.load().driver.path("id_rsa")), here.load().driver.path("known_hosts")
    pinned = Path(before[1]).read_text()
    call("provision", "web")
    assert public_half(here.load().driver.path("id_rsa")) == before[0] and Path(before[1]).read_text() == pinned
    assert before[0][1] in here.order()["user_data"]


HALF_MADE = {"nothing": (), "only the tag": ("tag",), "only the id": ("id",), "both": ("tag", "id"),
             "a key": ("tag", "id", "key"), "a key whose id is not known": ("tag", "id", "unknown key")}


@pytest.mark.parametrize("case", sorted(HALF_MADE))
def test_whatever_was_stored_is_enough_to_remove_it(here, call, case):
    machine, known = here.create(), HALF_MADE[case]
    tag, public = machine.driver["CreateTag"], " ".join(public_half(machine.driver.path("id_rsa")))
    if "key" in known:
        machine.driver["KeyID"] = here.cloud.add_key(tag, public)["id"]
    if "unknown key" in known:
        machine.driver["KeyID"] = "-1"
        here.cloud.add_key(tag, public)
    for part, field in (("tag", "CreateTag"), ("id", "InstanceID")):
        if part not in known:
            machine.driver[field] = ""
    if not {"tag", "id"} & set(known):
        here.account.servers.clear()
    machine.save()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.clean() and here.store.names() == []


def test_nobody_is_asked_where_nothing_can_have_been_made(here):
    here.machine().driver.remove()
    assert here.cloud.requests == []


def test_what_is_gone_counts_as_removed_and_removing_twice_is_no_error(here, call):
    machine = here.create()
    here.account.servers.clear()
    for _ in range(2):
        machine.driver.remove()
    assert (machine.driver["InstanceID"], machine.driver["CreateTag"], machine.driver["IPAddress"]) == ("", "", "")
    assert call("rm", "-y", "web").code == 0


def test_another_machine_is_never_removed(here):
    for name in ("a", "b"):
        here.create(name)
    here.load("a").driver.remove()
    assert here.server()["name"] == "b"


def test_what_a_login_may_not_forget_is_told_and_does_not_keep_the_machine(here, call):
    machine = here.create()
    machine.driver["KeyID"] = here.cloud.add_key("ours", "ssh-ed25519 AAAA")["id"]
    machine.save()
    here.account.rights = {"servers:read", "servers:write"}
    ended = call("rm", "-y", "web")
    assert ended.code == 0 and here.account.servers == {} and "keys:write" in ended.err


# --- answers that are lost

@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("how", ["lost", 500])
def test_a_server_whose_answer_is_lost_is_looked_up_and_not_ordered_twice(here, how, times):
    if how == "lost":
        here.cloud.lose("POST", "/servers$", times)
    else:  # which may have acted, and did not
        here.cloud.fail(how, "POST", "/servers$", times)
    machine = here.create()
    assert len(here.account.orders) == 1 and machine.driver["InstanceID"] == here.server()["id"]


def test_it_is_found_although_lists_show_it_late(here):
    here.cloud.hidden = 2
    here.cloud.lose("POST", "/servers$")
    machine = here.create()
    assert len(here.account.orders) == 1 and machine.driver["InstanceID"] == here.server()["id"]


def test_where_the_look_for_it_fails_the_entry_stays(here, call, soon):
    """The server may be there, so a refusal of the look is not one of the order."""
    here.cloud.lose("POST", "/servers$")
    here.cloud.fail(403, "GET", r"/servers\?", 1000)
    ended = call(*(soon + ["web"]))
    assert (ended.code, here.store.names()) == (1, ["web"]) and "docker-machine rm web" in ended.err
    here.cloud.mishaps.clear()
    assert call("rm", "-y", "web").code == 0 and here.clean() and len(here.account.orders) == 1


def test_an_order_that_is_refused_after_one_whose_answer_was_lost_keeps_the_entry(here, call, soon):
    """The first one may have been carried out, and lists may not show its server yet."""
    here.cloud.fail(500, "POST", "/servers$")
    here.cloud.fail(422, "POST", "/servers$", words="That cannot be ordered")
    ended = call(*(soon + ["web"]))
    assert (ended.code, here.store.names()) == (1, ["web"]) and "That cannot be ordered" in ended.err


def test_a_provider_that_never_says_what_became_of_an_order_is_asked_for_a_while(here, pauses):
    here.cloud.fail(500, "POST", "/servers$", 1000)
    machine = here.add()
    with pytest.raises(core.RestError, match="500 to POST") as failure:
        machine.driver.create()
    assert not failure.value.refused and 200 < sum(pauses) < 500 and here.clean()
    assert here.cloud.lines().count("POST /v1/servers") < 30


@pytest.mark.parametrize("tags, tag", [
    ((), ""), (["mine", "docker-machine-web"], ""), (["docker-machine-0123456789abcdef0"], ""),
    (["mine", "docker-machine-0123456789abcdef"], "docker-machine-0123456789abcdef")])
def test_the_tag_of_a_creation_is_known_among_others(tags, tag):
    assert core.Instance(7, core.RUNNING, (), tags).tag == tag


def test_a_list_that_knows_no_tags_gives_nobody_elses_server_away(here):
    machine = here.create()
    here.cloud.add_server("precious", tag="precious")
    machine.driver["InstanceID"], machine.driver["CreateTag"] = "", "docker-machine-0123456789abcdef"
    machine.driver.remove()
    assert len(here.account.servers) == 2


# --- keys

def test_a_key_is_made_and_comes_by_user_data(here):
    machine = here.create()
    config = ours(here.order()["user_data"])
    public = public_half(machine.driver.get_ssh_key_path())
    assert [key.split()[:2] for key in config["users"][0]["ssh_authorized_keys"]] == [public]
    pinned = Path(machine.driver.path("known_hosts")).read_text().split()
    assert pinned == ["docker-machine.web"] + config["ssh_keys"]["ed25519_public"].split()[:2]
    assert here.order()["keys"] == [] and "keys" not in "".join(here.cloud.lines())
    assert stat.S_IMODE(os.stat(machine.driver.get_ssh_key_path()).st_mode) == 0o600


@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_a_key_file_of_the_users_is_copied(here, passphrase):
    path = here.key(passphrase=passphrase)
    machine = here.create(ssh_key=path)
    assert Path(machine.driver.get_ssh_key_path()).read_bytes() == path.read_bytes()
    assert os.path.dirname(machine.driver.get_ssh_key_path()) == machine.folder
    assert public_half(path)[1] in here.order()["user_data"] and here.order()["keys"] == []
    machine.driver.remove()
    assert path.exists()


@pytest.mark.parametrize("kind, words", [("locked", "has a passphrase"), ("public", "public half"),
                                         ("garbage", "not a private key"), ("missing", "does not exist")])
def test_a_key_file_that_cannot_be_used_is_refused(here, call, soon, kind, words):
    path = here.folder / "missing"
    if kind == "locked":
        path = here.key(passphrase="secret")
        (here.folder / "mine.pub").unlink()
    elif kind == "public":
        path = Path(str(here.key()) + ".pub")
        path.chmod(0o600)
    elif kind == "garbage":
        path = here.file("this is not a key\n", "garbage")
        path.chmod(0o600)
    ended = call(*(soon + ["--examplecloud-ssh-key=%s" % path, "web"]))
    assert ended.code in (2, 3) and str(path) in ended.err
    assert ended.code == 2 or words in ended.err
    assert here.cloud.changes() == [] and here.store.names() == []


@pytest.mark.parametrize("with_file", [False, True])
def test_a_key_of_the_account_is_named_and_never_deleted(here, with_file):
    path = here.key()
    key = here.cloud.add_key("desk", " ".join(public_half(path)) + " me@desk")
    machine = here.create(key="desk", **({"ssh_key": path} if with_file else {}))
    assert here.order()["keys"] == [key["id"]] and public_half(path)[1] in here.order()["user_data"]
    used = machine.driver.get_ssh_key_path()
    if with_file:
        assert Path(used).read_bytes() == path.read_bytes() and os.path.dirname(used) == machine.folder
    else:  # ssh finds it in the agent or at its usual place
        assert used == "" and not os.path.exists(os.path.join(machine.folder, "id_rsa"))
    assert here.load().driver.get_ssh_key_path() == used
    here.load().driver.remove()
    assert list(here.account.keys.values()) == [key] and here.account.servers == {}


def test_the_accounts_keys_are_asked_for_once(here):
    path = here.key()
    here.cloud.add_key("desk", " ".join(public_half(path)))
    here.create(key="desk", ssh_key=path)
    assert here.cloud.lines().count("GET /v1/keys") == 1


def test_a_key_that_the_account_does_not_have_is_refused_with_those_near_it(here, call, soon):
    here.cloud.add_key("desk", "ssh-ed25519 AAAA")
    ended = call(*(soon + ["--examplecloud-key=dask", "web"]))
    assert ended.code == 3 and 'has no key \\"dask\\"' in ended.err and "Near it: desk. " in ended.err
    assert here.cloud.changes() == [] and here.store.names() == []


def test_a_key_file_that_is_not_the_named_key_is_refused(here, call, soon):
    here.cloud.add_key("desk", " ".join(public_half(here.key("other"))))
    ended = call(*(soon + ["--examplecloud-key=desk", "--examplecloud-ssh-key=%s" % here.key(), "web"]))
    assert ended.code == 3 and "is not the private half of the account's key desk" in ended.err
    assert here.cloud.changes() == [] and here.store.names() == []


@pytest.mark.parametrize("how", ["", "lost", "late"])
def test_what_does_not_read_cloud_init_gets_a_key_that_is_uploaded_and_forgotten(here, how):
    stored = []
    here.cloud.look("POST", "/keys$", lambda request: stored.append(here.stored()["KeyID"]))
    here.cloud.look("POST", "/servers$", lambda request: stored.append(here.stored()["KeyID"]))
    if how:
        (here.cloud.lose if how == "lost" else lambda *words: here.cloud.fail(503, *words))("POST", "/keys$", 2)
    machine = here.create(user_data=here.file(IGNITION))
    assert here.order()["user_data"] == IGNITION
    assert len(here.order()["keys"]) == 1 and stored[-1] == here.order()["keys"][0]
    assert stored[0] == "-1" and here.stored()["KeyID"] == "" and here.account.keys == {}
    (uploaded,) = [line for line in here.cloud.changes() if line.startswith("DELETE /v1/keys/")]
    assert uploaded.endswith(stored[-1])
    pinned = Path(machine.driver.path("known_hosts"))
    assert not pinned.exists()  # the host makes its own


def test_a_key_that_the_account_has_already_is_used_and_stays(here):
    path = here.key()
    key = here.cloud.add_key("desk", " ".join(public_half(path)))
    here.create(user_data=here.file(IGNITION), ssh_key=path).driver.remove()
    assert here.order()["keys"] == [key["id"]] and list(here.account.keys.values()) == [key]


def test_a_key_that_was_uploaded_for_an_order_that_is_refused_is_forgotten(here, call, soon):
    here.cloud.fail(422, "POST", "/servers$", words="That cannot be ordered")
    ended = call(*(soon + ["--examplecloud-user-data=%s" % here.file(IGNITION), "web"]))
    assert ended.code == 3 and "That cannot be ordered" in ended.err and here.clean() and here.store.names() == []
    assert [line for line in here.cloud.changes() if "keys" in line][0] == "POST /v1/keys"


def test_a_provider_without_keys_leaves_ignition_to_its_writer(here, monkeypatch):
    monkeypatch.setattr(here.driver_class, "key_id_field", "")
    machine = here.create(user_data=here.file(IGNITION))
    assert here.order()["user_data"] == IGNITION and here.order()["keys"] == [] and "" not in machine.driver.config
    machine.driver.remove()
    assert here.clean()


def test_an_image_that_does_not_know_cloud_init_gets_a_key_of_the_account(here, monkeypatch):
    monkeypatch.setattr(here.driver_class, "has_cloud_init", lambda self: False)
    here.create()
    assert here.order()["user_data"] == "" and len(here.order()["keys"]) == 1 and here.account.keys == {}


def test_an_id_of_a_key_that_is_a_number_stays_one(here, monkeypatch):
    """As those of DigitalOcean and Hetzner."""
    monkeypatch.setattr(here.driver_class, "fields", (("KeyID", 0),))
    add, delete = here.driver_class.add_key, here.driver_class.delete_key
    monkeypatch.setattr(here.driver_class, "add_key", lambda self, *words: int(add(self, *words)[2:]))
    monkeypatch.setattr(here.driver_class, "delete_key", lambda self, number: delete(self, "k-%d" % number))
    stored, there = [], core.Instance(here.cloud.add_server()["id"], core.RUNNING)

    def order(self, keys):
        stored.append(self["KeyID"])
        return there

    monkeypatch.setattr(here.driver_class, "order", order)
    here.cloud.look("POST", "/keys$", lambda request: stored.append(here.stored()["KeyID"]))
    here.create(user_data=here.file(IGNITION))
    assert stored[0] == -1 and type(stored[1]) is int and stored[1] > 0
    assert here.stored()["KeyID"] == 0 and here.account.keys == {}


# --- user data

PARTS = ["#cloud-config\nruncmd: [touch /x]\n", "#!/bin/sh\necho K\u00f6ln\n", "#include\nhttps://example.com/x\n",
         "#cloud-boothook\necho x\n", "## template: jinja\n#cloud-config\n{}\n"]


@pytest.mark.parametrize("text", PARTS, ids=lambda text: text.split("\n")[0].strip("# "))
def test_user_data_of_the_users_is_joined_with_ours(here, text):
    here.create(user_data=here.file(text))
    theirs, _ = parts_of(here.order()["user_data"])
    assert theirs.rstrip() == text.rstrip()
    assert "append" in ours(here.order()["user_data"])["merge_how"]  # so that the lists of the user's part stay


@pytest.mark.parametrize("text, warned", [(IGNITION, False), ("key = value\n", True), ("#!/bin/sh\n", False)])
def test_user_data_that_nobody_will_read_is_warned_of(here, capsys, text, warned):
    here.machine(user_data=here.file(text)).driver.pre_create_check()
    assert ("none of the marks by which cloud-init knows user data" in capsys.readouterr().err) == warned


def test_user_data_in_parts_keeps_them(here):
    text = ("Content-Type: multipart/mixed; boundary=XX\nMIME-Version: 1.0\n\n--XX\nContent-Type: text/cloud-config\n\n"
            "#cloud-config\na: 1\n\n--XX\nContent-Type: text/x-shellscript\n\n#!/bin/sh\ntrue\n\n--XX--\n")
    here.create(user_data=here.file(text))
    message = email.message_from_string(here.order()["user_data"])
    kinds = [part.get_content_type() for part in message.walk() if not part.is_multipart()]
    assert kinds[:2] == ["text/cloud-config", "text/x-shellscript"] and len(kinds) == 3
    assert ours(here.order()["user_data"])["ssh_keys"]


@pytest.mark.parametrize("data, words", [
    (b"#!/bin/sh\n#" + b"x" * 12000, "too large: Example Cloud takes 16 KiB"), (b"\xff\xfe\x00", "cannot be read")])
def test_user_data_that_cannot_be_sent_is_refused_first(here, call, soon, data, words):
    ended = call(*(soon + ["--examplecloud-user-data=%s" % here.file(data), "web"]))
    assert ended.code == 3 and words in ended.err and str(here.folder) in ended.err
    assert here.cloud.changes() == [] and here.store.names() == []


@pytest.mark.parametrize("text", ["x", "\u20ac"])
def test_user_data_that_passes_the_check_fits_together_with_ours(here, text):
    """The server that plays the provider holds the limit to what is sent; with a key as long as RSA's of 4096 bits."""
    path = here.key()
    Path(str(path) + ".pub").write_text("ssh-rsa %s me@desk\n" % ("A" * 716))
    data = ("#!/bin/sh\n" + ("#%s\n" % (text * 60)) * 1000).encode()
    machine = here.machine(user_data=here.file(""), ssh_key=path)
    for size in range(16000, 0, -100):
        here.file(data[:size].decode(errors="ignore"))
        try:
            machine.driver.user_file()
            break
        except core.MachineError as error:
            assert "too large" in error.message
    machine.driver.pre_create_check()
    here.store.add(machine)
    machine.driver.create()
    assert len(here.order()["user_data"].encode()) > 13000


def test_a_driver_without_flags_for_keys_and_user_data_works_too(here, monkeypatch):
    flags = [flag for flag in here.driver_class.flags if flag.field not in ("SSHKey", "UserDataFile")]
    monkeypatch.setattr(here.driver_class, "flags", tuple(flags))
    machine = here.create()
    assert ours(here.order()["user_data"])["users"] and "SSHKey" not in machine.driver.config
    here.load().driver.remove()
    assert here.clean()


# --- the address

V4, V6, INNER = (True, "203.0.113.7"), (True, "2001:db8::7"), (False, "10.0.0.7")


@pytest.mark.parametrize("looks, address", [
    ([[V4]], "203.0.113.7"), ([[INNER, V4]], "203.0.113.7"), ([[V4, V6]], "203.0.113.7"), ([[V6]], "2001:db8::7"),
    ([[INNER, V6]], "2001:db8::7"), ([[INNER]], "10.0.0.7"), ([[], [], [V4]], "203.0.113.7"),
    ([[INNER], [INNER], [INNER, V4]], "203.0.113.7"), ([[], [INNER]], "10.0.0.7")], ids=str)
def test_the_address_is_a_public_one_also_if_it_comes_late_else_a_private_one(here, looks, address):
    here.cloud.addresses = looks
    driver = here.create().driver
    assert driver.get_ip() == here.stored()["IPAddress"] == address
    assert driver.get_url() == "tcp://%s:2376" % ("[%s]" % address if ":" in address else address)


def test_an_address_that_changed_while_it_was_off_is_the_address_of_now(here):
    driver = here.create().driver
    driver.act("kill")
    here.cloud.addresses = [[INNER], [INNER, V4]]
    driver.start()
    assert (driver.get_state(), driver.get_ip()) == (core.RUNNING, "203.0.113.7")


def test_a_start_of_a_machine_without_a_public_address_is_not_held_up(here, pauses):
    here.cloud.addresses = [[INNER]]
    driver = here.create().driver
    driver.act("kill")
    del pauses[:]
    driver.start()
    assert driver.get_ip() == "10.0.0.7" and pauses == []


# --- while it is awaited

def test_a_server_that_is_not_there_at_once_is_waited_for(here):
    here.cloud.fail(404, "GET", "/servers/s-", 3)
    here.create()
    assert len(here.account.orders) == 1


@pytest.mark.parametrize("page, hint", [("https://status.cloud.example", "See https://status.cloud.example"), ("", "")])
def test_a_server_that_vanishes_is_no_endless_wait(here, pauses, monkeypatch, page, hint):
    monkeypatch.setattr(here.driver_class, "status_page", page)
    machine = here.add()
    here.cloud.fail(404, "GET", "/servers/s-", 1000)
    with pytest.raises(core.MachineError, match="vanished while it was awaited") as failure:
        machine.driver.create()
    assert failure.value.hint == hint and sum(pauses) < 60


def test_a_server_that_never_comes_up_is_given_up_and_can_be_removed(here, pauses):
    here.cloud.polls = 10 ** 6
    machine = here.add()
    with pytest.raises(core.MachineError, match="did not become active within 900 s"):
        machine.driver.create()
    assert 800 < sum(pauses) < 1000
    here.load().driver.remove()
    assert here.clean()


def test_a_creation_that_failed_at_the_provider_is_told_soon(here, call, soon, pauses):
    here.cloud.look("GET", "/servers/s-", lambda request: here.server().update(status="failed"))
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "The server %s failed" % here.server()["id"] in ended.err
    assert "docker-machine rm web" in ended.err and sum(pauses) < 60
    assert call("rm", "-y", "web").code == 0 and here.clean()


def test_a_state_of_failure_that_passes_is_none(here):
    looks = []

    def look(request):
        looks.append(request)
        here.server()["status"] = "failed" if len(looks) < 3 else "on"

    here.cloud.look("GET", "/servers/s-", look)
    here.create()
    assert len(looks) == 3


# --- states

def many(here, number, token=TOKEN, status="on"):
    """Machines whose servers are there, made without a request."""
    for count in range(number):
        name = "m%d-%s" % (count, token[:2])
        machine = here.machine(name, token=token)
        row = here.cloud.add_server(name, status, token=token)
        machine.driver["InstanceID"], machine.driver["IPAddress"] = row["id"], "127.0.0.1"
        here.store.add(machine)
        machine.mark("")


def states(call):
    ended = call("ls", "-t", "10", "--format", "{{.Name}} {{.State}} {{.Error}}")
    assert ended.code == 0
    return dict(line.split(" ", 1) for line in ended.out.splitlines())


@pytest.mark.parametrize("page, lines", [(50, ["GET /v1/servers"]),
                                         (20, ["GET /v1/servers", "GET /v1/servers?from=20"])])
def test_thirty_machines_of_one_account_are_one_list(here, call, page, lines):
    many(here, 30)
    here.cloud.page = page
    found = states(call)
    assert len(found) == 30 and all(state.startswith("Running") for state in found.values())
    assert here.cloud.lines() == lines


def test_two_accounts_are_two_lists_and_one_machine_is_asked_by_its_own(here, call):
    here.cloud.accounts[OTHER] = Account()
    many(here, 3)
    many(here, 3, OTHER, "off")
    found = states(call)
    assert {name[-2:]: state.split()[0] for name, state in found.items()} == {"ex": "Running", "an": "Stopped"}
    assert here.cloud.lines() == ["GET /v1/servers", "GET /v1/servers"]
    assert {request.token for request in here.cloud.requests} == {TOKEN, OTHER}
    for name in list(here.store.names())[1:]:
        here.store.delete(name)
    del here.cloud.requests[:]
    assert len(states(call)) == 1
    assert re.match(r"GET /v1/servers/s-\d+$", "\n".join(here.cloud.lines()))


def test_what_is_told_of_one_machine_does_not_hide_the_others(here, call):
    here.cloud.accounts[OTHER] = Account()
    many(here, 3)
    many(here, 2, OTHER)
    del here.cloud.accounts[OTHER], here.account.servers[here.load("m1-ex").driver["InstanceID"]]
    found = states(call)
    assert [found["m%d-ex" % number].split()[0] for number in range(3)] == ["Running", "Error", "Running"]
    assert "Example Cloud has no server s-" in found["m1-ex"]
    for number in range(2):
        assert found["m%d-an" % number].startswith("Error Example Cloud refuses the API token")


def test_a_provider_that_is_down_does_not_hold_up_ls(here, call):
    many(here, 3)
    here.cloud.fail(503, "GET", "/servers", 1000)
    found = states(call)
    assert len(found) == 3 and all(not state.startswith("Running") for state in found.values())


@pytest.mark.parametrize("words", [["start"], ["stop"], ["kill"], ["restart"], ["status"], ["url"]])
def test_a_machine_that_is_gone_is_told_with_the_way_to_forget_it(here, call, words):
    number = here.create().driver["InstanceID"]
    here.account.servers.clear()
    before = len(here.cloud.changes())
    ended = call(*(words + ["web"]))
    assert ended.code == 1 and "Example Cloud has no server %s." % number in ended.err
    assert "docker-machine rm web" in ended.err and len(here.cloud.changes()) == before


@pytest.mark.parametrize("words", [["status"], ["stop"], ["ls"], ["url"]])
def test_a_machine_that_was_never_made_is_not_asked_for(here, call, words):
    here.add()
    del here.cloud.requests[:]
    ended = call(*(words + ([] if words == ["ls"] else ["web"])))
    said = ended.out + ended.err
    assert "was not made yet" in said and "server ." not in said
    assert words == ["ls"] or ended.code == 1 and "docker-machine provision web" in said
    assert here.cloud.requests == []


@pytest.mark.parametrize("status, state", [("on", core.RUNNING), ("off", core.STOPPED), ("building", core.STARTING),
                                           ("failed", core.ERROR), ("pondering", core.ERROR)])
def test_states_are_those_of_the_driver(here, call, status, state):
    here.create()
    here.cloud.polls = 10 ** 6
    here.server()["status"] = status
    assert call("status", "web").out == state + "\n"


# --- what it says

def test_what_the_provider_does_not_have_comes_with_what_is_near_it(here, call, soon):
    ended = call(*(soon + ["--examplecloud-size=medum", "web"]))
    assert ended.code == 3 and 'Example Cloud has no size \\"medum\\".' in ended.err
    assert "Near it: medium. List all: https://cloud.example/sizes" in ended.err
    assert here.cloud.changes() == [] and here.store.names() == []


def test_where_nothing_is_near_it_the_first_ones_are_named(here):
    error = here.machine().driver.unknown("size", "zzz", "them", ["a", "b", "c", "d"])
    assert (error.message, error.hint) == ('Example Cloud has no size "zzz".', "Near it: a, b, c. List all: them")
    assert here.machine().driver.unknown("size", "zzz", "them").hint == "List all: them"


def test_what_is_in_other_regions_only_is_told_with_them(here):
    error = here.machine().driver.unknown("size", "big", "them", (), ["east", "west"], "north")
    assert error.message == 'Example Cloud has no size "big" in the region "north".'
    assert error.hint == "It is in: east, west. List all: them"


def refused(here, ended, words, hint):
    """Nothing is there, in the store or the account, but one sentence and a hint."""
    lines = ended.err.replace('\\"', '"').splitlines()
    assert ended.code == 3 and words in lines[0] and hint in "\n".join(lines[1:]), ended
    assert here.clean() and here.store.names() == [] and "Traceback" not in ended.err


REFUSALS = {
    "a login that is not known": ("login", "Example Cloud refuses the API token", "https://cloud.example/tokens"),
    "a right that is lacking for the check": (
        {"images:read"}, "The API token may not GET /sizes", "Give it the right sizes:read: https://cloud.example"),
    "a right that is lacking for the order": (
        {"sizes:read", "images:read"}, "The API token may not POST /servers", "Give it the right servers:write"),
    "a quota": ("quota", "The quota of 0 servers is used up", "Remove a server, or ask for more"),
    "anything else": (422, "That cannot be ordered", ""),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_a_refusal_is_one_sentence_with_a_hint_and_leaves_no_entry(here, call, soon, case):
    what, words, hint = REFUSALS[case]
    if what == "login":
        here.cloud.accounts.clear()
        here.cloud.accounts["other"] = Account()
    elif what == "quota":
        here.account.quota = 0
    elif what == 422:
        here.cloud.fail(422, "POST", "/servers$", words="That cannot be ordered")
    else:
        here.account.rights = what
    ended = call(*(soon + ["web"]))
    here.cloud.accounts.setdefault(TOKEN, Account())
    refused(here, ended, words, hint)


def test_a_login_that_ended_later_is_told_with_its_place_in_the_entry(here, call):
    here.create()
    here.cloud.accounts[OTHER] = here.cloud.accounts.pop(TOKEN)
    for words in (["status", "web"], ["rm", "-y", "web"]):
        ended = call(*words)
        assert ended.code == 1 and "Example Cloud refuses the API token" in ended.err
        assert 'Then put it into "Token" of %s' % here.load().driver.path("config.json") in ended.err
    assert here.store.names() == ["web"] and "rm -f web" in ended.err


@pytest.mark.parametrize("hint", ["", "Ask who owns the account.", "100% of them lack %s."])
def test_the_hint_for_a_right_may_be_any_text(here, call, soon, monkeypatch, hint):
    monkeypatch.setattr(here.driver_class, "scope_hint", hint)
    here.account.rights = set()
    refused(here, call(*(soon + ["web"])), "The API token may not GET /sizes", hint.replace("%s", "sizes:read"))


# --- on and off

def test_verbs_are_actions(here, monkeypatch):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")  # no host is there to tell
    actions = []
    here.cloud.look("POST", "/power$", lambda request: actions.append(request.body["action"]))
    for verb, status in (("stop", "off"), ("start", "on"), ("restart", "on"), ("kill", "off")):
        getattr(driver, verb)()
        assert here.server()["status"] == status
    assert actions == ["stop", "start", "restart", "kill"]


def test_a_guest_that_does_not_hear_is_asked_again_and_then_told_to_be_killed(here, call, pauses):
    here.create()
    here.cloud.deaf = True
    ended = call("stop", "web")
    assert ended.code == 1 and "docker-machine kill web" in ended.err and 150 < sum(pauses) < 250
    assert 10 < here.cloud.changes().count("POST /v1/servers/%s/power" % here.server()["id"]) < 25


def test_a_restart_waits_for_another_boot(here, monkeypatch):
    driver = here.create().driver
    boots = ["first", "first", "", "", "second"]
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: boots.pop(0))
    driver.restart()
    assert boots == []


@pytest.mark.parametrize("verb", ["start", "kill", "restart"])
def test_the_lost_answer_of_an_action_is_no_failure(here, monkeypatch, verb):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")
    here.server()["status"] = "off" if verb == "start" else "on"
    here.cloud.lose("POST", "/power$", 2)
    getattr(driver, verb)()
    assert here.server()["status"] == ("off" if verb == "kill" else "on")


def test_a_kill_and_a_start_end_where_the_state_is_there(here):
    driver = here.create().driver
    for verb, late, state in (("kill", "on", core.STOPPED), ("start", "off", core.RUNNING)):
        looks = [late] * 3 + ["on" if verb == "start" else "off"] * 9
        here.cloud.look("GET", "/servers/s-", lambda request, looks=looks: here.server().update(status=looks.pop(0)))
        getattr(driver, verb)()
        assert len(looks) == 8
        here.cloud.looks.clear()
        assert driver.get_state() == state


@pytest.mark.parametrize("verb", ["start", "kill", "restart"])
def test_an_action_that_is_refused_is_a_failure_unless_it_is_so_already(here, monkeypatch, verb):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")
    for status in ("on", "off"):
        here.server()["status"] = status
        here.cloud.fail(409, "POST", "/power$", words="It cannot be done now")
        if (verb, status) in (("start", "on"), ("kill", "off")):
            getattr(driver, verb)()
        else:
            with pytest.raises(core.MachineError, match="It cannot be done now"):
                getattr(driver, verb)()


@pytest.mark.parametrize("verb", ["start", "kill", "restart"])
def test_a_driver_can_tell_that_an_action_has_failed(here, monkeypatch, verb):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")
    status, asked = "on" if verb == "kill" else "off", []
    here.cloud.look("GET", "/servers/s-", lambda request: here.server().update(status=status))

    def progress(self, which, instance):
        asked.append((which, instance.state))
        if len(asked) < 3:
            return False
        raise core.MachineError("There is no room for it.")

    monkeypatch.setattr(here.driver_class, "progress", progress)
    with pytest.raises(core.MachineError, match="no room"):
        getattr(driver, verb)()
    assert asked == [(verb, core.RUNNING if verb == "kill" else core.STOPPED)] * 3


def test_a_restart_is_over_when_the_provider_says_so(here, monkeypatch):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")
    answers = [False, False, True]
    monkeypatch.setattr(here.driver_class, "progress", lambda self, verb, instance: answers.pop(0))
    driver.restart()
    assert answers == []


def test_what_is_on_or_off_already_needs_no_action(here, call):
    here.create()
    before = here.cloud.changes()
    assert "already running" in call("start", "web").err
    here.server()["status"] = "off"
    for verb in ("stop", "kill"):
        assert "already stopped" in call(verb, "web").err
    assert here.cloud.changes() == before


# --- ports

def test_the_ports_to_open_are_those_of_ssh_and_the_engine(here):
    driver = here.machine().driver
    assert driver.ports() == [22, 2376]
    driver["SSHPort"] = 2222
    assert driver.ports() == [2222, 2376]


@pytest.mark.parametrize("host, port", [("tcp://0.0.0.0:3376", 3376), ("tcp://0.0.0.0:4000", 4000)])
def test_the_manager_of_a_swarm_has_a_port_too(here, host, port):
    machine = here.machine()
    machine.swarm.update(Master=True, Host=host)
    assert machine.driver.ports() == [22, 2376, port]
    machine.swarm.update(Master=False)
    assert machine.driver.ports() == [22, 2376]


def test_a_swarm_that_an_older_release_wrote_without_a_host_has_the_usual_port(here):
    machine = here.machine()
    machine.swarm.clear()
    machine.swarm["Master"] = True
    assert machine.driver.ports() == [22, 2376, 3376]
