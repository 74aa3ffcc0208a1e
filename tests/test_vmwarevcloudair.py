"""The driver "vmwarevcloudair" against a server that keeps the state of an organization (see vcloud.py).

Whether a machine boots is not seen here: tests/integration/test_vmwarevcloudair.py has that.
"""

import base64
import json
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from machines import Kill, ProviderMachines, ours, parts_of, take_environment
from vcloud import API_TOKEN, NO_TOOLS, ORG, PASSWORD, USER, VCloud

import docker_machine as core

PAGE = Path(__file__).resolve().parent.parent / "docs" / "drivers" / "vmwarevcloudair.md"
MOST_CALLS = 20


@pytest.fixture(scope="module")
def organization():
    server = VCloud()
    yield server
    server.close()


@pytest.fixture
def cloud(organization):
    """An organization in which nothing was done."""
    organization.clear()
    yield organization
    assert organization.wrong == []


class Here(ProviderMachines):
    """The organization, and a store as this very process finds it."""

    def __init__(self, cloud, store, folder):
        super().__init__(store, core.load_driver("vmwarevcloudair"), folder, endpoint=cloud.url, org=ORG, username=USER,
                         password=PASSWORD, vdcid="east", catalogitem="Ubuntu 24.04")
        self.cloud = cloud

    def old(self, name="old", **fields):
        """An entry as Docker Machine wrote it, with its vApp."""
        row = self.cloud.add_vapp(name)
        self.entry(name, dict(OLD, VAppID="urn:vcloud:vapp:" + row["id"], **fields))
        return row

    def entry(self, name, fields):
        machine = self.store.new(name, self.driver_class)
        machine.config["Driver"] = dict(fields, MachineName=name, StorePath=self.store.path)
        self.store.add(machine)
        machine.mark("")

    def properties(self):
        """What cloud-init finds in the OVF environment of the only VM."""
        found = dict(self.cloud.row()["properties"])
        return dict(found, **{name: base64.b64decode(found[name]).decode()
                              for name in ("user-data", "network-config") if name in found})


# config.json of Docker Machine 0.16.2: drivers/vmwarevcloudair, in the order of its struct.
OLD = {"IPAddress": "203.0.113.7", "SSHUser": "root", "SSHPort": 22, "SSHKeyPath": "", "SwarmMaster": False,
       "SwarmHost": "", "SwarmDiscovery": "", "UserName": USER + "@" + ORG, "UserPassword": PASSWORD,
       "ComputeID": "M1-east", "VDCID": "east", "OrgVDCNet": "east-default-routed", "EdgeGateway": "east",
       "PublicIP": "203.0.113.7", "Catalog": "Public Catalog",
       "CatalogItem": "Ubuntu Server 12.04 LTS (amd64 20150127)", "DockerPort": 2376, "CPUCount": 1,
       "MemorySize": 2048, "VAppID": ""}  # type: dict
# That of juanfont's docker-machine-driver-vcd, with Go's URL as an object.
FORK = {"IPAddress": "127.20.0.9", "SSHUser": "root", "SSHPort": 22, "SSHKeyPath": "", "SwarmMaster": False,
        "SwarmHost": "", "SwarmDiscovery": "", "VcdURL": {
            "Scheme": "https", "Opaque": "", "User": None, "Host": "vcd.example.com", "Path": "/api", "RawPath": "",
            "ForceQuery": False, "RawQuery": "", "Fragment": ""},
        "VcdOrg": ORG, "VcdVdc": "east", "VcdOrgVDCNetwork": "inner", "VcdInsecure": False, "VcdUser": USER,
        "VcdPassword": PASSWORD, "Catalog": "Public", "Template": "Ubuntu_Server_20.04", "DockerPort": 2376,
        "NumCpus": 2, "CoresPerSocket": 1, "MemorySizeMb": 4096, "VAppHREF": "", "VMHREF": "", "Description": "",
        "StorageProfile": "", "DeleteWhenFailed": False}  # type: dict


@pytest.fixture
def environment(dm, tmp_path, pauses, monkeypatch):
    env = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)}
    take_environment(monkeypatch, env, "VCLOUDAIR_", "VMWAREVCLOUDAIR_")
    dm.env.update(env)
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(core.os, "fsync", lambda file: None)


@pytest.fixture
def here(cloud, dm, store, tmp_path, environment):
    dm.env.update(VCLOUDAIR_ENDPOINT=cloud.url, VCLOUDAIR_USERNAME=USER, VCLOUDAIR_PASSWORD=PASSWORD,
                  VCLOUDAIR_ORG=ORG, VCLOUDAIR_VDCID="east", VCLOUDAIR_CATALOGITEM="Ubuntu 24.04")
    yield Here(cloud, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "vmwarevcloudair"]


def plain(element):
    """An element without namespaces, as (name, attributes, text, children)."""
    return (element.tag.rpartition("}")[2], {name.rpartition("}")[2]: value for name, value in element.items()},
            (element.text or "").strip(), [plain(child) for child in element])


# --- a creation

def test_what_is_made_by_default(here):
    driver = here.create().driver
    row = here.cloud.row()
    assert (row["name"], row["cpus"], row["memory"], row["status"]) == ("web", 1, 2048, "4")
    assert (driver["VAppID"], driver["IPAddress"]) == ("urn:vcloud:vapp:" + row["id"], row["address"])
    assert (driver["VAppName"], driver["OrgVDCNet"]) == ("web", "east-default-routed")
    assert driver["VAppHREF"].endswith("/api/vApp/vapp-" + row["id"]) and driver["Guest"] == "cloud-init"
    assert row["description"] == driver["CreateTag"] and row["computer"] == "web" and not row["customized"]
    found = here.properties()
    config = ours(found["user-data"])
    assert config["users"][0]["name"] == "root" and Path(here.store.folder("web"), "known_hosts").exists()
    assert found["hostname"] == "web" and found["instance-id"] == driver["CreateTag"]
    assert json.loads(found["network-config"])["network"]["ethernets"]["nic0"] == {
        "match": {"macaddress": "00:50:56:01:02:03"}, "addresses": [row["address"] + "/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "127.20.0.1"}], "nameservers": {"addresses": ["127.20.0.2"]}}
    assert driver.get_state() == core.RUNNING and here.cloud.rules == {}


def test_the_body_of_composition(here):
    here.create()
    (root,) = here.cloud.composed
    tag, net = here.load().driver["CreateTag"], "east-default-routed"
    network, item = here.cloud.networks[0], here.cloud.items[0]
    base = "https://cloud.example.com/api/"
    assert plain(root) == ("ComposeVAppParams", {"name": "web", "deploy": "false", "powerOn": "false"}, "", [
        ("Description", {}, tag, []),
        ("InstantiationParams", {}, "", [("NetworkConfigSection", {}, "", [
            ("Info", {}, "Network of the machine", []),
            ("NetworkConfig", {"networkName": net}, "", [("Configuration", {}, "", [
                ("ParentNetwork", {"href": base + "admin/network/" + network["id"], "name": net}, "", []),
                ("FenceMode", {}, "bridged", [])])])])]),
        ("SourcedItem", {}, "", [
            ("Source", {"href": base + "vAppTemplate/vm-" + item["id"], "name": "vm-of-it"}, "", []),
            ("InstantiationParams", {}, "", [("NetworkConnectionSection", {}, "", [
                ("Info", {}, "Network of the machine", []), ("PrimaryNetworkConnectionIndex", {}, "0", []),
                ("NetworkConnection", {"network": net}, "", [
                    ("NetworkConnectionIndex", {}, "0", []), ("IsConnected", {}, "true", []),
                    ("IpAddressAllocationMode", {}, "POOL", [])])])]),
            ("NetworkAssignment", {"innerNetwork": net, "containerNetwork": net}, "", [])]),
        ("AllEULAsAccepted", {}, "true", [])])


def test_a_creation_takes_few_calls(here):
    here.create()
    names = here.cloud.names()
    assert len(names) <= MOST_CALLS, names
    told = "A creation is %d requests" % len([name for name in names if name != "GET task"])
    assert told in PAGE.read_text(encoding="utf-8").replace("\n", " "), names


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err, ended
    assert "(web) Creating the vApp...\n" in ended.out and "Created vApp ID urn:vcloud:vapp:" in ended.out
    assert call("status", "web").out == "Running\n"
    for verb, status in (("stop", "8"), ("start", "4"), ("kill", "8")):
        call(verb, "web")
        assert here.cloud.row()["status"] == status
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "9").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.cloud.is_empty() and here.store.names() == []


def test_sizes_network_and_user_of_the_flags(here):
    driver = here.create(cpu_count=4, memory_size=8192, orgvdcnetwork="inner", ssh_user="docker", docker_port=2999,
                         ip_allocation="dhcp", catalog="own").driver
    row = here.cloud.row()
    assert (row["cpus"], row["memory"], row["mode"]) == (4, 8192, "DHCP")
    assert ours(here.properties()["user-data"])["users"][0]["name"] == "docker"
    assert driver.engine_url() == "tcp://%s:2999" % row["address"] and "network-config" not in row["properties"]
    source = here.cloud.composed[0].find("SourcedItem/Source").get("href")
    assert source.endswith(here.cloud.items[3]["id"])


def test_user_data_of_the_users_is_joined(here):
    here.create(userdata=here.file("#!/bin/sh\necho hello\n"))
    data = here.properties()["user-data"]
    assert parts_of(data)[0] == "#!/bin/sh\necho hello\n" and ours(data)["ssh_keys"]


# --- guest customization

@pytest.mark.parametrize("flags", [{"catalogitem": "Plain 9"}, {"guest": "script"}])
def test_a_template_without_cloud_init_gets_the_key_by_a_script(here, flags):
    driver = here.create(ssh_user="docker", **flags).driver
    row = here.cloud.row()
    key = " ".join(driver.public_key().split()[:2])
    assert row["customized"] and key in row["script"] and row["properties"] == {} and len(row["script"]) < 1500
    assert not Path(here.store.folder("web"), "known_hosts").exists(), "everybody could read the host's key there"
    checked = subprocess.run(["sh", "-n"], input=row["script"].encode(), check=False)
    assert checked.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="takes the paths of Linux")
def test_the_script_lets_the_key_in_once_though_it_runs_twice(here, tmp_path):
    driver = here.create(guest="script").driver
    home, tools = tmp_path / "home-of-root", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    for name, line in (("getent", "echo root:x:0:0::%s:/bin/sh" % home), ("chown", "true"), ("id", "true")):
        (tools / name).write_text("#!/bin/sh\n%s\n" % line)
        (tools / name).chmod(0o755)
    script = tmp_path / "script"
    script.write_text(here.cloud.row()["script"])
    for when in ("precustomization", "postcustomization", "postcustomization"):
        subprocess.run(["sh", str(script), when], check=True, env={"PATH": "%s:/usr/bin:/bin" % tools})
        assert (home / ".ssh").exists() == (when != "precustomization")
    keys = home / ".ssh" / "authorized_keys"
    assert keys.read_text().splitlines() == [" ".join(driver.public_key().split()[:2])]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_user_data_where_a_script_brings_the_key_is_refused(here):
    with pytest.raises(core.MachineError, match="brings no user data"):
        here.add(guest="script", userdata=here.file("#!/bin/sh\n"))
    assert here.cloud.changes() == []


# --- the service that ended

@pytest.mark.parametrize("endpoint", [None, "https://vchs.vmware.com/api", "https://vchs.vmware.com"])
def test_without_an_endpoint_one_sentence_says_so_and_nothing_is_made(here, call, soon, endpoint):
    ended = call(*(soon + ["web"]), VCLOUDAIR_ENDPOINT=endpoint)
    assert ended.code == 2 and "VMware's service vCloud Air ended." in ended.err
    assert "--vmwarevcloudair-endpoint" in ended.err and len(ended.err.splitlines()) == 2
    assert here.store.names() == [] and here.cloud.calls == []


@pytest.fixture
def no_network(environment, monkeypatch):
    """Nobody may be asked."""
    def refuse(*words, **more):
        raise AssertionError("a connection")

    monkeypatch.setattr(core.Rest, "_exchange", refuse)


def test_an_entry_of_vcloud_air_is_listed_and_removed_without_a_network(here, call, no_network, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:1")
    here.old()
    before = here.stored("old")
    listed = call("ls", "-t", "9", VCLOUDAIR_ENDPOINT=None)
    assert listed.code == 0 and "old" in listed.out and "vCloud Air ended" in listed.out
    asked = call("status", "old", VCLOUDAIR_ENDPOINT=None)
    assert asked.code == 1 and "vCloud Air ended" in asked.err and "docker-machine rm old" in asked.err
    for verb in ("start", "stop", "kill", "restart"):
        assert "vCloud Air ended" in call(verb, "old", VCLOUDAIR_ENDPOINT=None).err
    stored = here.stored("old")
    assert {name: stored[name] for name in before} == before
    ended = call("rm", "-y", "old", VCLOUDAIR_ENDPOINT=None)
    assert (ended.code, ended.err) == (0, "") and here.store.names() == []


def test_an_entry_of_docker_machine_works_where_a_cloud_director_is_named(here, call, soon):
    here.old()
    before = here.stored("old")
    assert call("status", "old").out == "Running\n"
    shown = call("inspect", "old").out
    assert PASSWORD not in shown and json.loads(shown)["Driver"]["VDCID"] == "east"
    for verb, status in (("stop", "8"), ("start", "4")):
        call(verb, "old")
        assert here.cloud.row()["status"] == status
    stored = here.stored("old")
    assert {name: stored[name] for name in before} == before
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.cloud.is_empty()
    assert "rules for 203.0.113.7 on the gateway stay" in ended.out


def test_an_entry_of_the_fork_is_read(here, call, monkeypatch):
    row = here.cloud.add_vapp("vcd")
    href = "https://vcd.example.com/api/vApp/vapp-" + row["id"]
    here.entry("vcd", dict(FORK, VAppHREF=href))
    driver = here.load("vcd").driver
    assert driver.endpoint() == "https://vcd.example.com" and driver.user_and_org() == (USER, ORG)
    assert (driver["VAppID"], driver["VDCID"], driver["CPUCount"]) == ("urn:vcloud:vapp:" + row["id"], "east", 2)
    monkeypatch.setenv("VMWAREVCLOUDAIR_API_URL", here.cloud.url)
    env = {"VMWAREVCLOUDAIR_API_URL": here.cloud.url}
    assert call("status", "vcd", **env).out == "Running\n"
    shown = call("inspect", "vcd", **env).out
    assert PASSWORD not in shown
    call("stop", "vcd", **env)
    stored = here.stored("vcd")
    assert {name: stored[name] for name in FORK} == dict(FORK, VAppHREF=href)
    assert stored["UserPassword"] == PASSWORD
    ended = call("rm", "-y", "vcd", **env)
    assert (ended.code, ended.err) == (0, "") and here.cloud.is_empty()


# --- what is refused before anything is made

def test_what_is_missing_is_told_in_one_message(here, call, soon):
    env = dict.fromkeys(("VCLOUDAIR_USERNAME", "VCLOUDAIR_PASSWORD", "VCLOUDAIR_ORG", "VCLOUDAIR_VDCID"))
    ended = call(*(soon + ["web"]), **env)
    assert ended.code == 2 and ("Please specify vcloudair mandatory params using options: --vmwarevcloudair-vdcid, "
                                "--vmwarevcloudair-org, --vmwarevcloudair-username, --vmwarevcloudair-password"
                                in ended.err)
    assert here.cloud.calls == [] and here.store.names() == []


REFUSALS = [
    ({"vdcid": "eats"}, 'no virtual data center "eats"', "Near it: east"),
    ({"orgvdcnetwork": "iner"}, 'no network "iner"', "Near it: inner"),
    ({"orgvdcnetwork": "west-lan"}, 'no network "west-lan"', "Near it: "),
    ({"vdcid": "west", "orgvdcnetwork": "inner"}, 'no network "inner"', "Near it: west-lan"),
    ({"catalog": "Public"}, 'no catalog with templates "Public"', "Near it: Public Catalog"),
    ({"catalogitem": "Ubuntu 20.04"}, 'no template "Ubuntu 20.04"', "Near it: Ubuntu 2"),
    ({"catalogitem": ""}, 'no template ""', "Near it: Plain 9, Ubuntu 22.04, Ubuntu 24.04"),
    ({"publicip": "203.0.113.7", "edgegateway": "edge-3"}, 'no edge gateway "edge-3"', "Near it: edge-2"),
]  # type: list


@pytest.mark.parametrize("flags, words, hint", REFUSALS, ids=lambda value: str(value)[:30])
def test_what_is_not_there_is_refused_with_the_nearest_and_nothing_is_made(here, call, soon, flags, words, hint):
    flags = ["--vmwarevcloudair-%s=%s" % item for item in flags.items()]
    ended = call(*(soon + flags + ["web"]))
    assert ended.code == 3 and words in ended.err.replace('\\"', '"') and hint in ended.err, ended
    assert here.cloud.changes() == [] and here.store.names() == []


@pytest.mark.parametrize("kind, field", [("vdcs", "vdcid"), ("networks", "orgvdcnetwork"), ("items", "catalogitem"),
                                         ("gateways", "edgegateway")])
def test_what_is_there_twice_is_named_by_its_id(here, kind, field):
    first = getattr(here.cloud, kind)[0]
    number = here.cloud.new_id()
    twin = dict(first, id="urn:vcloud:gateway:" + number if kind == "gateways" else number, template=number)
    getattr(here.cloud, kind).append(twin)
    flags = {"publicip": "203.0.113.7", "edgegateway": "east", field: first["name"]}
    with pytest.raises(core.MachineError) as failure:
        here.add(**flags)
    assert "has 2 of the" in failure.value.message and number in failure.value.hint
    assert here.cloud.changes() == []
    here.add(**dict(flags, **{field: first["id"][-36:]}))


def test_the_only_network_is_taken(here):
    here.create(vdcid="west")
    assert here.load().driver["OrgVDCNet"] == "west-lan"


@pytest.mark.parametrize("most", [2, 128, 1000])
def test_lists_in_pages_are_read_to_their_end(here, most):
    """However many the server puts on a page."""
    here.cloud.page = most
    for number in range(147):
        here.cloud.gateways.append({"name": "g%d" % number, "id": "urn:vcloud:gateway:" + here.cloud.new_id()})
        here.cloud.networks.append(dict(here.cloud.networks[1], name="n%d" % number, id=here.cloud.new_id()))
    driver = here.machine().driver
    assert len(driver.query("orgVdcNetwork")) == 150
    assert len(driver.listed("/cloudapi/1.0.0/edgeGateways")) == 149


def test_a_template_that_is_not_ready_is_refused(here):
    here.cloud.items[0]["status"] = "0"
    with pytest.raises(core.MachineError, match="is not ready"):
        here.add()


# --- versions, logins, certificates

@pytest.mark.parametrize("there, taken", [(["36.3", "37.0"], "37.0"), (["37.0", "38.1", "39.1", "40.0"], "39.1"),
                                          (["37.3", "38.0.0-alpha", "38.0"], "38.0"), (["37.10", "37.9"], "37.10")])
def test_the_newest_version_that_both_know_is_taken(here, there, taken):
    here.cloud.versions = there
    driver = here.create().driver
    assert driver.version == taken


def test_a_cloud_director_of_other_versions_is_told(here, call, soon):
    here.cloud.versions = ["36.3", "40.0"]
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "speaks the API's versions 36.3, 40.0; the driver needs one of 37.0 to 39.x" in ended.err
    assert here.store.names() == []


def test_the_organization_may_stand_in_the_user(here, call, soon):
    ended = call(*(soon + ["web"]), VCLOUDAIR_ORG=None, VCLOUDAIR_USERNAME=USER + "@" + ORG)
    assert "Created vApp" in ended.out


def test_a_password_that_is_wrong_is_tried_once(here, call, soon):
    here.cloud.password = "another"
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "Cloud Director refuses the login: Invalid user credentials" in ended.err, ended
    assert here.cloud.count()["POST sessions"] == 1, "accounts get locked"
    assert here.store.names() == []


def test_an_api_token_is_a_login(here, call, soon):
    words = ["--vmwarevcloudair-api-token", API_TOKEN, "web"]
    env = {"VCLOUDAIR_USERNAME": None, "VCLOUDAIR_PASSWORD": None}
    ended = call("--debug", *(soon + words), **env)
    assert "Created vApp" in ended.out and here.stored()["ApiToken"] == API_TOKEN, ended
    assert API_TOKEN not in ended.out + ended.err + call("inspect", "web").out
    assert "POST sessions" not in here.cloud.names()
    assert call("rm", "-y", "web", **env).code == 0 and here.cloud.is_empty()


def test_an_api_token_that_was_revoked_is_told(here, call, soon):
    here.cloud.api_token = "another"
    ended = call(*(soon + ["--vmwarevcloudair-api-token", API_TOKEN, "web"]))
    assert ended.code == 3 and "Invalid refresh token" in ended.err and API_TOKEN not in ended.err
    assert "Make a new API token" in ended.err


@pytest.mark.parametrize("flags", [{}, {"api_token": API_TOKEN}])
def test_a_token_that_expires_is_renewed(here, flags):
    machine = here.add(**flags)
    for number in range(3):
        here.cloud.tokens.clear()
        assert machine.driver.query("vApp") == [] and here.cloud.logins == number + 2
    machine.driver.create()
    here.cloud.password = here.cloud.api_token = "changed"
    here.cloud.tokens.clear()
    before = here.cloud.logins
    with pytest.raises(core.RestError):
        machine.driver.get_state()
    assert here.cloud.logins == before


def test_a_provider_logs_in_elsewhere(here):
    driver = here.machine(org="System").driver
    driver.rest()
    assert "POST sessions/provider" in here.cloud.names()


@pytest.fixture
def secure(tmp_path):
    """A server with a certificate of its own."""
    path = tmp_path / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "key"),
                    "-out", str(tmp_path / "ca.pem"), "-days", "2", "-subj", "/CN=127.0.0.1", "-extensions", "own",
                    "-config", str(openssl_config(tmp_path))], check=True, stderr=subprocess.DEVNULL)
    path.write_text((tmp_path / "key").read_text() + (tmp_path / "ca.pem").read_text())
    server = VCloud(str(path))
    yield server
    server.close()


def openssl_config(folder):
    path = folder / "openssl.conf"
    path.write_text("[req]\ndistinguished_name = dn\n[dn]\n[own]\nsubjectAltName = IP:127.0.0.1\n"
                    "basicConstraints = critical,CA:TRUE\n")
    return path


def test_a_certificate_of_the_providers_own(here, secure, tmp_path, capsys):
    with pytest.raises(core.RestError, match="its certificate is not valid"):
        here.machine(endpoint=secure.url).driver.rest()
    here.machine(endpoint=secure.url, ca_cert=tmp_path / "ca.pem").driver.rest()
    assert capsys.readouterr().err == ""
    driver = here.machine(endpoint=secure.url, insecure="true").driver
    assert driver.query("vApp") == []
    assert capsys.readouterr().err.count("is not verified") == 1


def test_the_password_is_in_config_json_alone(here, call, soon, monkeypatch):
    started = []
    run = core.subprocess.Popen

    def watched(words, *rest, **more):
        started.append(str(words))
        return run(words, *rest, **more)

    monkeypatch.setattr(core.subprocess, "Popen", watched)
    ended = call("--debug", *(soon + ["web"]))
    told = ended.out + ended.err + call("inspect", "web").out + "".join(started)
    assert "Created vApp" in ended.out and PASSWORD not in told and started
    assert not [token for token in here.cloud.tokens if token in told]
    folder = Path(here.store.path)
    with_it = [path.name for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert with_it == ["config.json"]
    path = Path(here.store.folder("web"), "config.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and here.stored()["UserPassword"] == PASSWORD


# --- answers that make no sense

@pytest.mark.parametrize("text", [
    "", "<html>", '{"a": 1}', '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
    '<?xml version="1.0"?><!doctype x SYSTEM "file:///etc/passwd"><x/>', "<x>&undefined;</x>", "\x00",
    "<a><b></a></b>"])
def test_xml_that_is_none_or_has_a_document_type_is_refused(here, monkeypatch, text):
    driver = here.machine().driver
    driver.rest()
    monkeypatch.setattr(here.cloud, "_records", lambda query: text)
    with pytest.raises(core.RestError, match="not the XML that was expected"):
        driver.query("vApp")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"values": 7}', '{"values": [{}]}', '{"values": ["a"]}'])
def test_lists_that_make_no_sense_are_told(here, monkeypatch, text):
    driver = here.machine().driver
    monkeypatch.setattr(here.cloud, "_page", lambda rows, path, query: (200, {}, text))
    with pytest.raises(core.RestError, match="not the list that was expected"):
        driver.listed("/cloudapi/1.0.0/edgeGateways")


def test_an_order_whose_answer_makes_no_sense_is_found_again_by_the_removal(here, monkeypatch):
    machine = here.add()
    with monkeypatch.context() as patch:
        patch.setattr(here.cloud, "_vapp_text", lambda row: "<VApp/>")
        with pytest.raises(core.RestError, match="no address where one was expected"):
            machine.driver.create()
    assert len(here.cloud.vapps) == 1
    here.load().driver.remove()
    assert here.cloud.is_empty()


def test_addresses_elsewhere_are_never_asked(here):
    """Those of answers have another server's name throughout: only their paths are taken."""
    driver = here.create().driver
    assert "cloud.example.com" in driver["VAppHREF"]
    assert driver.get_state() == core.RUNNING


# --- killed, lost, failed

def test_the_id_is_stored_before_the_vapp_is_made(here, monkeypatch):
    machine = here.add()
    monkeypatch.setattr(here.driver_class, "settle", lambda self, path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        machine.driver.create()
    row = here.cloud.row()
    stored = here.stored()
    assert row["status"] == "0" and stored["VAppID"] == "urn:vcloud:vapp:" + row["id"]
    assert stored["VAppName"] == "web" and stored["VAppHREF"].endswith(row["id"])
    monkeypatch.undo()
    here.load().driver.remove()
    assert here.cloud.is_empty()


CHANGES = ["POST vdc/composeVApp", "POST vApp/vm/reconfigureVm", "PUT vApp/vm/productSections",
           "PUT vApp/vm/guestCustomizationSection", "POST vApp/vapp/powerOn"]
NAT = {"publicip": "203.0.113.7"}


def test_the_requests_that_change_something(here):
    here.create(**NAT).driver.remove()
    assert here.cloud.changes() == CHANGES + ["POST edgeGateways/nat/rules"] * 2 + [
        "POST vApp/vapp/undeploy", "DELETE vApp/vapp"] + ["DELETE edgeGateways/nat/rules"] * 2


@pytest.mark.parametrize("name", CHANGES + [
    "POST edgeGateways/nat/rules", "POST vApp/vapp/shutdown", "POST vApp/vapp/powerOff", "POST vApp/vapp/undeploy",
    "DELETE vApp/vapp", "DELETE edgeGateways/nat/rules"])
def test_an_answer_that_is_lost_makes_nothing_twice(here, name):
    here.cloud.lose(name, 2)
    machine = here.create(**NAT)
    assert len(here.cloud.composed) == len(here.cloud.vapps) == 1 and len(here.cloud.rules) == 2
    machine.driver.stop()
    machine.driver.start()
    machine.driver.kill()
    machine.driver.start()
    machine.driver.remove()
    assert len(here.cloud.composed) == 1 and here.cloud.is_empty()


def test_a_namesake_is_not_taken_for_what_was_ordered(here):
    twin = here.cloud.add_vapp("web", description="somebody's, not docker-machine's")
    here.cloud.fail("POST vdc/composeVApp", 503, "")
    machine = here.create()
    assert twin["id"] not in machine.driver["VAppID"] and len(here.cloud.composed) == 1
    machine.driver.remove()
    assert list(here.cloud.vapps) == [twin["id"]]


def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_vapps(here):
    here.cloud.shake(0.3, seed=7)
    for number in range(20):
        name = "web%d" % number
        machine = here.create(name, **NAT)
        assert len(here.cloud.vapps) == 1 and len(here.cloud.rules) == 2
        machine.driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.cloud.shake(0)
    assert len(here.cloud.composed) == 20 and here.cloud.is_empty()


def test_four_creations_at_once(here):
    machines = [here.add("web%d" % number) for number in range(4)]
    failures = []

    def make(machine):
        try:
            machine.driver.create()
        except core.MachineError as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(here.cloud.vapps) == len(here.cloud.composed) == 4
    assert len({machine.driver["IPAddress"] for machine in machines}) == 4
    for machine in machines:
        machine.driver.remove()
    assert here.cloud.is_empty()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["create", "remove"])
def test_a_creation_that_was_killed_at_any_change_is_resumed_or_removed(here, monkeypatch, when, then):
    here.cloud.slow = 1
    changes = CHANGES + ["POST edgeGateways/nat/rules"] * 2
    for number in range(len(changes)):
        left = [number]

        def is_meant(method, *words, left=left, **more):
            left[0] -= method != "GET"
            return method != "GET" and left[0] == -1

        machine = here.add("web%d" % number, **NAT)
        with monkeypatch.context() as patch:
            kill = Kill(here, patch, "ask", when, is_meant)
            with pytest.raises(KeyboardInterrupt):
                machine.driver.create()
            kill.bury()
        again = here.load(machine.name).driver
        if then == "create":
            again.create()
            assert again["VAppID"].endswith(here.cloud.row()["id"]) and here.cloud.row()["status"] == "4"
            assert here.cloud.row()["properties"]["user-data"] and len(here.cloud.rules) == 2
        again.remove()
        assert here.cloud.is_empty(), changes[number]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["provision", "rm"])
def test_a_command_that_was_killed_at_the_order_is_finished_or_undone(here, call, soon, monkeypatch, when, then):
    with monkeypatch.context() as patch:
        kill = Kill(here, patch, "ask", when, lambda method, path, *rest, **more: path.endswith("/composeVApp"))
        ended = call(*(soon + ["web"]))
        kill.bury()
    assert ended.code == 130 and here.store.names() == ["web"]
    if then == "provision":
        ended = call("provision", "web")
        assert ended.code == 1 and "SSH did not answer" in ended.err, ended
        assert here.stored()["VAppID"].endswith(here.cloud.row()["id"])
    ended = call("rm", "-y", "web")
    assert ended.code == 0 and len(here.cloud.composed) <= 1 and here.cloud.is_empty(), ended


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("how", ["fail", "end"])
def test_what_is_refused_or_fails_is_told_in_the_apis_words_and_leaves_nothing(here, call, soon, name, how):
    words = "The requested operation exceeds the memory quota of the virtual data center"
    if how == "fail":
        here.cloud.fail(name, 400, "QUOTA", words, 100)
    else:
        here.cloud.end(name, "QUOTA", words, 100)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "Cloud Director: " + words in ended.err and "ask the provider for more" in ended.err
    assert here.cloud.count()[name] == 1 and here.cloud.is_empty() and here.store.names() == [], ended


def test_a_busy_vapp_is_waited_for_and_not_for_ever(here, pauses):
    here.cloud.fail("POST vApp/vapp/powerOn", 400, "BUSY_ENTITY", "The entity is busy", 4)
    machine = here.create()
    assert here.cloud.count()["POST vApp/vapp/powerOn"] == 5
    here.cloud.fail("POST vApp/vapp/powerOff", 400, "BUSY_ENTITY", "The entity is busy", 10 ** 6)
    del pauses[:]
    with pytest.raises(core.RestError, match="The entity is busy"):
        machine.driver.kill()
    assert sum(pauses) < 600


def test_a_task_that_never_ends_does(here, monkeypatch):
    here.cloud.slow = 10 ** 6
    machine = here.add()
    monkeypatch.setattr(here.driver_class, "task_seconds", 60)
    with pytest.raises(core.MachineError, match="did not finish the task .* within 60 s"):
        machine.driver.create()
    here.cloud.row()["tasks"][0].left = here.cloud.slow = 0
    here.load().driver.remove()
    assert here.cloud.is_empty()


# --- states and power

STATUSES = [("4", "Running"), ("8", "Stopped"), ("1", "Stopped"), ("3", "Saved"), ("0", "Starting"), ("-1", "Error"),
            ("9", "Error"), ("5", "Running")]


@pytest.mark.parametrize("status, word", STATUSES)
def test_states_have_their_words(here, call, status, word):
    here.create()
    here.cloud.row()["status"] = status
    assert call("status", "web").out == word + "\n"


@pytest.mark.parametrize("status", ["10", "20", "21"])
def test_of_a_vapp_with_more_vms_ours_counts(here, call, status):
    here.create()
    here.cloud.row().update(status=status, vm_status="8")
    assert call("status", "web").out == "Stopped\n"


@pytest.mark.parametrize("verb, status", [("start", "4"), ("kill", "8")])
def test_a_suspended_machine_is_resumed_or_its_state_thrown_away(here, call, soon, verb, status):
    here.create()
    here.cloud.row()["status"] = "3"
    call(verb, "web")
    assert here.cloud.row()["status"] == status


def test_a_stop_without_vmware_tools_is_a_sentence(here, call):
    here.create()
    here.cloud.tools = False
    ended = call("stop", "web")
    assert ended.code == 1 and "VMware Tools do not run in web" in ended.err and "docker-machine kill web" in ended.err
    assert NO_TOOLS not in ended.err and here.cloud.row()["status"] == "4"
    assert here.cloud.count()["POST vApp/vapp/shutdown"] == 1


def test_a_restart_without_vmware_tools_is_a_reset(here, monkeypatch, capsys):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")
    driver.restart()
    assert "POST vApp/vapp/reset" not in here.cloud.names()
    here.cloud.tools = False
    driver.restart()
    assert here.cloud.count()["POST vApp/vapp/reset"] == 1 and "it is reset" in capsys.readouterr().err


def test_ls_asks_once_for_all_machines_of_an_organization(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for number in range(10):
        here.old("old%d" % number)
    here.cloud.vapps.popitem()
    listed = call("ls", "-t", "60").out
    assert here.cloud.names() == ["GET versions", "POST sessions", "GET query/vApp"], listed
    assert listed.count("Running") == 9 and listed.count("Cloud Director has no vApp") == 1


# --- the removal

def test_what_is_gone_counts_as_removed_and_removing_twice_is_no_error(here, call):
    machine = here.create(**NAT)
    here.cloud.vapps.clear()
    for _ in range(2):
        machine.driver.remove()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.cloud.is_empty()


def test_a_vapp_that_the_login_may_not_read_is_not_taken_for_gone(here, call):
    here.create()
    here.cloud.forbidden.add(here.cloud.row()["id"])
    ended = call("rm", "-y", "web")
    assert ended.code == 1 and "may not GET" in ended.err and here.store.names() == ["web"]


def test_a_task_that_is_under_way_is_waited_for_by_the_removal(here):
    machine = here.create()
    row = here.cloud.row()
    here.cloud.slow = 7
    here.cloud._turn(row, "vappReset", "4", ())
    machine.driver.remove()
    assert here.cloud.is_empty()


# --- the public address

def test_a_public_address_is_forwarded_by_rules_of_our_own(here):
    theirs = {"name": "theirs", "type": "DNAT", "externalAddresses": "203.0.113.8", "internalAddresses": "127.20.9.9"}
    here.cloud.rules["theirs"] = theirs
    driver = here.create(**NAT).driver
    row = here.cloud.row()
    rules = [rule for number, rule in here.cloud.rules.items() if number in driver["NATRules"]]
    assert [(rule["name"], rule["type"], rule["externalAddresses"], rule["internalAddresses"]) for rule in rules] == [
        ("%s-%s" % (driver["CreateTag"], kind.lower()), kind, "203.0.113.7", row["address"])
        for kind in ("DNAT", "SNAT")]
    assert here.stored()["NATRules"] == driver["NATRules"] and len(here.cloud.rules) == 3
    assert driver["IPAddress"] == "203.0.113.7" and driver["EdgeGateway"] == "east"
    driver.remove()
    assert here.cloud.rules == {"theirs": theirs}
    assert not [name for name in here.cloud.changes() if name.startswith("PUT edge")], "the whole list"


def test_rules_follow_the_address_of_the_machine(here):
    driver = here.create(**NAT).driver
    driver.stop()
    here.cloud.row()["address"] = "127.20.200.1"
    driver.start()
    assert {rule["internalAddresses"] for rule in here.cloud.rules.values()} == {"127.20.200.1"}
    assert sorted(here.cloud.rules) == sorted(here.load().driver["NATRules"])


def test_an_address_that_is_forwarded_already_is_refused(here):
    here.cloud.rules["x"] = {"name": "theirs", "type": "DNAT", "externalAddresses": "203.0.113.7"}
    with pytest.raises(core.MachineError, match='The rule "theirs" forwards 203.0.113.7 already'):
        here.add(**NAT)
    assert here.cloud.changes() == []


def test_rights_that_are_lacking_are_told_before_anything_is_made(here, call, soon):
    here.cloud.forbidden.add("nat")
    ended = call(*(soon + ["--vmwarevcloudair-publicip", "203.0.113.7", "web"]))
    assert ended.code == 3 and "may not GET /cloudapi" in ended.err and here.cloud.changes() == []


def test_an_address_that_the_gateway_does_not_have_leaves_nothing(here, call, soon):
    here.cloud.end("POST edgeGateways/nat/rules", "BAD_REQUEST", "203.0.113.7 is not an address of the gateway")
    ended = call(*(soon + ["--vmwarevcloudair-publicip", "203.0.113.7", "web"]))
    assert ended.code == 3 and "is not an address of the gateway" in ended.err
    assert here.cloud.is_empty() and here.store.names() == []


def test_the_firewall_is_told_and_left_alone(here, capsys):
    here.create(**NAT)
    assert ("The firewall of the gateway east has to let in TCP to port 22 and 2376 of the machine."
            in capsys.readouterr().out)
    assert not [name for name in here.cloud.names() if "firewall" in name]


def test_no_password_is_in_what_fails(here, call, soon):
    here.cloud.fail("POST sessions", 400, "BAD", "no: %s" % PASSWORD, 9)
    ended = call("--debug", *(soon + ["web"]))
    assert ended.code == 3 and not re.search(PASSWORD, ended.out + ended.err)
