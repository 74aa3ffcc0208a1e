"""The driver "openstack" against a server with state (see openstack_cloud.py).

Whether a machine boots is not seen here: tests/integration/test_openstack.py has that, with the real services.
"""

import base64
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from machines import Kill, ProviderMachines, listed_by_engines, ours, take_environment
from openstack_cloud import PROJECT, OpenStackCloud

import docker_machine as core

MOST_CALLS = 18
BASICS = {"flavor_name": "m1.small", "image_name": "debian-13"}
LOGIN = {"OS_USERNAME": "demo", "OS_PASSWORD": "secret", "OS_USER_DOMAIN_NAME": "Default",
         "OS_PROJECT_NAME": "demo", "OS_PROJECT_DOMAIN_NAME": "Default"}


@pytest.fixture(scope="module")
def services():
    cloud = OpenStackCloud()
    yield cloud
    cloud.close()


@pytest.fixture
def cloud(services):
    """A cloud in which nothing was done; each request must have been one that it takes."""
    services.clear()
    yield services
    services.look = None
    assert services.wrong == []


class Here(ProviderMachines):
    """A project, and a store as this very process finds it."""

    cloud = None  # type: OpenStackCloud

    def old(self, name="old", status="ACTIVE", **fields):
        """An entry as Docker Machine wrote it, with its server; `fields` of a fork."""
        row = self.cloud.add_server(name, status)
        machine = self.store.new(name, self.driver_class)
        machine.config["Driver"] = dict(
            OLD, MachineName=name, StorePath=self.store.path, MachineId=row["id"], AuthUrl=self.cloud.url + "/v3",
            KeyPairName=name + "-4711", **fields)
        self.cloud.pairs[name + "-4711"] = {"name": name + "-4711", "public_key": "ssh-rsa AAAA"}
        self.store.add(machine)
        machine.mark("")
        return self.store.machine(name)

    def server(self):
        """The body of the only order."""
        ((body, _),) = self.cloud.orders
        return body["server"]

    def user_data(self):
        return base64.b64decode(self.server()["user_data"]).decode()


# config.json of Docker Machine 0.16.2: drivers/openstack, in the order of its struct.
OLD = {"IPAddress": "127.20.0.9", "SSHUser": "root", "SSHPort": 22, "SSHKeyPath": "", "SwarmMaster": False,
       "SwarmHost": "", "SwarmDiscovery": "", "ActiveTimeout": 200, "Insecure": False, "CaCert": "",
       "DomainID": "default", "DomainName": "", "Username": "demo", "Password": "secret", "TenantName": "demo",
       "TenantId": PROJECT, "Region": "RegionOne", "AvailabilityZone": "", "EndpointType": "", "FlavorName": "gone",
       "FlavorId": "77", "ImageName": "gone", "ImageId": "gone", "NetworkName": "gone", "NetworkId": "",
       "UserData": "", "PrivateKeyFile": "", "SecurityGroups": None, "FloatingIpPool": "",
       "ComputeNetwork": False, "FloatingIpPoolId": "", "IpVersion": 4, "ConfigDrive": False, "ExistingKey": False}
FORKS = {
    "Docker Machine": {},
    "rancher/machine": {"DomainId": "default", "DomainID": "", "UserId": "", "TenantDomainName": "",
                        "TenantDomainId": "", "UserDomainName": "", "UserDomainId": "", "ServerGroupName": "gone",
                        "ApplicationCredentialId": "", "VolumeName": "rancher-machine-volume", "VolumeSize": 0,
                        "BootFromVolume": False, "VolumeDevicePath": "", "Unheard": "of"},
}  # type: dict


@pytest.fixture
def here(cloud, dm, store, tmp_path, pauses, monkeypatch):
    env = dict(LOGIN, OS_AUTH_URL=cloud.url + "/v3", HOME=str(tmp_path))
    take_environment(monkeypatch, env, "OS_", "OPENSTACK_")
    dm.env.update(env)
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(core.out, "secrets", set())
    found = Here(store, core.load_driver("openstack"), tmp_path, **BASICS)
    found.environ, found.cloud = dict(env), cloud
    return found


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "openstack"] + ["--openstack-%s=%s" % (name.replace("_", "-"), value)
                                            for name, value in BASICS.items()]


# --- a creation

def test_a_login_a_flavor_and_an_image_are_all_that_is_needed(here):
    driver = here.create().driver
    server = here.server()
    assert (server["name"], server["flavorRef"], server["imageRef"]) == ("web", "1", "i-2"), "the newest of the name"
    assert server["metadata"] == {"docker-machine": driver["CreateTag"]}
    assert "key_name" not in server and here.cloud.pairs == {}
    (row,) = here.cloud.servers.values()
    assert driver["IPAddress"] == row["accessIPv4"] and driver.get_state() == core.RUNNING
    config = ours(here.user_data())
    assert config["ssh_keys"]["ed25519_private"] == Path(
        here.store.folder("web"), "ssh_host_ed25519_key").read_text(encoding="ascii")
    driver.remove()
    assert here.cloud.is_empty()


def test_a_creation_takes_few_calls_and_one_login(here):
    here.create(floatingip_pool="public")
    assert len(here.cloud.logins) == 1
    lines = here.cloud.lines()
    assert len(lines) <= MOST_CALLS, lines
    del here.cloud.calls[:]
    here.create("second")
    page = Path(__file__).parents[1] / "docs" / "drivers" / "openstack.md"
    told = "A creation is %d requests, or %d" % (len(here.cloud.lines()), len(lines))
    assert told in " ".join(page.read_text(encoding="utf-8").split()), (len(here.cloud.lines()), len(lines))


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "(web) Creating machine...\n" in ended.out
    assert call("status", "web").out == "Running\n"
    for verb, state in (("stop", "SHUTOFF"), ("start", "ACTIVE"), ("kill", "SHUTOFF")):
        call(verb, "web")
        assert [row["status"] for row in here.cloud.servers.values()] == [state]
    assert call("status", "web").out == "Stopped\n"
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.cloud.is_empty() and here.store.names() == []


def test_the_flags_of_an_order_are_in_it(here):
    here.create(net_name="backend, private", metadata="team,web", config_drive=True, availability_zone="az1:host",
                server_group_name="apart", ssh_user="core", user_data_file=here.file("#!/bin/sh\necho hello\n"))
    server = here.server()
    assert server["networks"] == [{"uuid": "n-2"}, {"uuid": "n-1"}] and server["config_drive"] is True
    assert server["metadata"]["team"] == "web" and server["availability_zone"] == "az1:host"
    assert here.cloud.orders[0][0]["os:scheduler_hints"] == {"group": "sg-1"}
    assert "echo hello" in base64.b64decode(server["user_data"]).decode() or "echo" in here.user_data()
    assert here.load().driver["IPAddress"].startswith("127.20.")


def test_the_address_may_be_one_of_ipv6(here):
    assert here.create(ip_version=6).driver["IPAddress"].startswith("fd00::")


def test_an_image_without_cloud_init_gets_a_key_pair_for_the_time_of_the_creation(here):
    driver = here.create(image_name="cirros-0.6").driver
    assert here.server()["key_name"] == driver["CreateTag"] and here.cloud.pairs == {}
    assert driver["KeyPairName"] == ""


def test_a_key_pair_of_the_users_is_used_and_stays(here):
    key = here.key()
    public = Path(str(key) + ".pub").read_text(encoding="ascii").strip()
    here.cloud.pairs["mine"] = {"name": "mine", "public_key": public}
    driver = here.create(keypair_name="mine", private_key_file=key).driver
    assert here.server()["key_name"] == "mine" and driver["ExistingKey"]
    driver.remove()
    assert list(here.cloud.pairs) == ["mine"]


# --- the login

@pytest.mark.parametrize("end", ["/v3", "", "/", "/v3/", "/identity", "/identity/v3"])
def test_the_url_of_the_login_may_be_written_in_every_way(here, end):
    here.environ["OS_AUTH_URL"] = here.cloud.url + end
    assert here.create().driver["IPAddress"]


@pytest.mark.parametrize("project", [{"OS_PROJECT_NAME": "demo"}, {"OS_TENANT_NAME": "demo"},
                                     {"OS_PROJECT_ID": PROJECT}, {"OS_TENANT_ID": PROJECT}, {}])
@pytest.mark.parametrize("default", [PROJECT, ""])
def test_the_project_goes_by_name_by_id_and_by_neither(here, monkeypatch, project, default):
    here.cloud.default_project = default
    for name in ("OS_PROJECT_NAME", "OS_PROJECT_DOMAIN_NAME"):
        monkeypatch.delenv(name)
        del here.environ[name]
    for name, value in project.items():
        here.environ[name] = value
        monkeypatch.setenv(name, value)
    assert here.create().driver["IPAddress"]


def test_of_several_projects_one_is_to_be_named(here, monkeypatch):
    here.cloud.default_project, here.cloud.projects["p-2"] = "", "other"
    monkeypatch.delenv("OS_PROJECT_NAME")
    with pytest.raises(core.MachineError) as failure:
        here.create()
    assert "Tenant id or name must be provided" in failure.value.message
    assert failure.value.hint == "Projects of this user: demo, other"


@pytest.mark.parametrize("env", [
    {"OS_APPLICATION_CREDENTIAL_ID": "ac-1", "OS_APPLICATION_CREDENTIAL_SECRET": "acs"},
    {"OS_TOKEN": "users-token"}, {"OS_USER_ID": "u-1", "OS_PASSWORD": "secret"},
    {"OS_USERNAME": "demo", "OS_PASSWORD": "secret", "OS_DOMAIN_NAME": "Default"},
    {"OS_USERNAME": "demo", "OS_PASSWORD": "secret", "OS_DOMAIN_ID": "default"},
    {"OS_USERNAME": "demo", "OS_PASSWORD": "secret"}])
def test_each_kind_of_login(here, env):
    for name in LOGIN:
        here.environ.pop(name)
    here.environ.update(env)
    assert here.create().driver["IPAddress"]


def test_a_cloud_that_has_only_the_old_identity_service(here):
    here.cloud.versions = ["v2.0"]
    assert here.create().driver["IPAddress"] and "passwordCredentials" in here.cloud.logins[-1]


def clouds(here, name="clouds.yaml", **more):
    one = {"auth": {"auth_url": here.cloud.url, "username": "demo", "project_name": "demo"}, "region_name": "North"}
    one.update(more)
    (here.folder / name).write_text(json.dumps({"clouds": {"mine": one}}), encoding="utf-8")


def test_a_cloud_of_clouds_yaml_beats_variables_and_is_not_copied(here, monkeypatch, capsys):
    here.cloud.regions = ["North", "South"]
    clouds(here)
    (here.folder / "secure.json").write_text('{"clouds": {"mine": {"auth": {"password": "secret"}}}}', encoding="utf-8")
    here.environ.update(OS_CLOUD="mine", OS_AUTH_URL="http://127.0.0.1:9")
    monkeypatch.setenv("OS_AUTH_URL", "http://127.0.0.1:9")
    driver = here.create().driver
    assert "these variables are not used: OS_AUTH_URL" in capsys.readouterr().err
    assert driver["Password"] == driver["AuthUrl"] == "" and driver["Cloud"] == "mine"
    assert "secret" in core.out.secrets, "it is hidden in what is printed"


def test_clouds_yaml_takes_pyyaml_and_says_so(here, monkeypatch):
    (here.folder / "clouds.yaml").write_text("clouds:\n  mine: {}\n", encoding="ascii")
    monkeypatch.setitem(sys.modules, "yaml", None)
    here.environ["OS_CLOUD"] = "mine"
    with pytest.raises(core.MachineError) as failure:
        here.create()
    assert "needs the Python package PyYAML" in failure.value.message and "pip install PyYAML" in failure.value.hint


@pytest.mark.once
def test_clouds_yaml_is_yaml(here, monkeypatch):
    pytest.importorskip("yaml")
    (here.folder / "clouds.yaml").write_text(
        "clouds:\n  mine:\n    auth: &login\n      auth_url: '%s'\n      username: demo\n      password: secret\n"
        "      project_name: demo\n    regions: [RegionOne]\n    verify: true\n" % here.cloud.url, encoding="ascii")
    for name in LOGIN:
        monkeypatch.delenv(name)
    here.environ = {"OS_CLOUD": "mine"}
    driver = here.create().driver
    assert driver["IPAddress"] and driver["Username"] == ""


@pytest.fixture
def private(here, tmp_path):
    """A cloud whose certificate no CA of the system's has signed, and that certificate."""
    both = tmp_path / "cloud.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(both), "-out", str(tmp_path / "ca.pem")],
                   check=True, stderr=subprocess.DEVNULL)
    with both.open("a", encoding="ascii") as file:
        file.write((tmp_path / "ca.pem").read_text(encoding="ascii"))
    here.cloud = OpenStackCloud(both)
    here.environ["OS_AUTH_URL"] = here.cloud.url
    yield tmp_path / "ca.pem"
    here.cloud.close()


def test_a_private_ca_is_trusted_where_it_is_named(here, private):
    assert here.create(cacert=private).driver["IPAddress"]


def test_an_insecure_cloud_is_trusted_with_a_warning(here, private, capsys):
    assert here.create(insecure=True).driver["IPAddress"]
    assert "is not verified" in capsys.readouterr().err


def test_a_certificate_that_nobody_knows_is_refused(here, private):
    with pytest.raises(core.MachineError) as failure:
        here.create()
    assert "certificate is not valid" in failure.value.message and here.cloud.calls == []


def test_plain_http_to_another_computer_is_told_once(here, capsys):
    driver = here.machine().driver
    for path in ("/v3", "/compute"):
        driver._warn_of_http("http://controller:5000" + path)
        driver._warn_of_http("https://cloud.example.com" + path)
        driver._warn_of_http(here.cloud.url + path)
    assert capsys.readouterr().err.count("in the clear") == 1


def test_what_takes_longer_than_the_timeout_is_told_with_the_next_command(here):
    here.cloud.polls = 10 ** 6
    with pytest.raises(core.MachineError) as failure:
        here.create(active_timeout=30)
    assert "did not become active within 30 s" in failure.value.message
    assert "docker-machine provision web" in failure.value.hint
    here.load().driver.remove()
    assert here.cloud.is_empty()


def test_a_token_that_expires_in_the_middle_is_renewed(here):
    def look(line):
        if line == "POST /compute/servers" and not here.cloud.count("^POST /compute/servers"):
            here.cloud.tokens.clear()

    here.cloud.look = look
    assert here.create().driver["IPAddress"] and len(here.cloud.logins) == 2 and len(here.cloud.orders) == 1


def test_one_of_several_regions_is_to_be_named_by_its_name(here):
    here.cloud.regions = ["North", "South"]
    with pytest.raises(core.MachineError) as failure:
        here.create()
    assert "North, South" in failure.value.hint
    with pytest.raises(core.MachineError) as failure:
        here.create(region="East")
    assert "No suitable endpoint" in failure.value.message and "Regions: North, South" in failure.value.hint
    assert here.create(region="South").driver["IPAddress"]


# --- what is refused before anything is made

REFUSALS = [
    ({"flavor_name": "m1.smal"}, "Unable to find flavor named m1.smal", "Near it: m1.small"),
    ({"image_name": "debian-1"}, "Unable to find image named debian-1", "openstack image list"),
    ({"image_name": "large"}, "needs 0 MB of memory and a disk of 80 GB", "larger flavor"),
    ({"net_name": "privat"}, "Unable to find network named privat", "Near it: private"),
    ({"floatingip_pool": "private"}, "Unable to find network named private", "Near it: public"),
    ({"sec_groups": "defaul"}, "Unable to find security group named defaul", "Near it: default"),
    ({"server_group_name": "x"}, "Unable to find server group named x", "server group list"),
    ({"password": "wrong"}, "refuses the login of demo in the project demo, domain Default", "Check user"),
    ({"keypair_name": "mine"}, "OpenStack has no key", "openstack keypair list"),
]  # type: list


@pytest.mark.parametrize("flags, words, hint", REFUSALS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_unknown_or_does_not_fit_is_refused_and_nothing_is_made(here, call, soon, flags, words, hint):
    more = ["--openstack-%s=%s" % (name.replace("_", "-"), value) for name, value in flags.items()]
    ended = call(*(soon + more + ["web"]))
    assert ended.code == 3 and words in ended.err and hint in ended.err, ended
    assert here.cloud.is_empty() and here.store.names() == [] and here.cloud.orders == []
    assert "wrong" not in ended.out + ended.err


def test_a_full_quota_is_told_before_anything_is_made(here, call, soon):
    here.cloud.limits = {"maxTotalInstances": 3, "totalInstancesUsed": 3}
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "The project may have 3 servers" in ended.err and here.cloud.is_empty()


TROUBLES = [
    (403, {"forbidden": {"code": 403, "message": "Quota exceeded for cores: Requested 2"}}, "openstack limits show"),
    (403, {"forbidden": {"code": 403, "message": "Only volume-backed servers are allowed for flavors with zero disk."}},
     "--openstack-boot-from-volume"),
    (403, {"forbidden": {"code": 403, "message": "It is not allowed to create an interface on external network x"}},
     "--openstack-floatingip-pool"),
    (409, {"conflictingRequest": {"code": 409, "message": "Multiple possible networks found"}}, "--openstack-net-name"),
    (403, {"forbidden": {"code": 403, "message": "Policy doesn't allow it"}}, "role member"),
]


@pytest.mark.parametrize("status, value, hint", TROUBLES)
def test_a_refused_order_leaves_nothing_and_has_its_hint(here, call, soon, status, value, hint):
    here.cloud.fail(status, "POST /compute/servers", value)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and hint in ended.err and here.store.names() == [], ended
    here.cloud.groups = {name: row for name, row in here.cloud.groups.items() if row["name"] == "default"}
    assert here.cloud.is_empty()


def test_a_server_that_ends_in_error_is_removed_with_its_fault(here, call, soon):
    here.cloud.fault = "No valid host was found."
    ended = call(*(soon + ["web"]))
    assert "No valid host was found." in ended.err and "no room" in ended.err and here.cloud.is_empty(), ended
    assert here.store.names() == []


@pytest.mark.parametrize("status, value, headers", [
    (413, {"overLimit": {"code": 413, "message": "This request was rate-limited."}}, {"Retry-After": "2"}),
    (429, {"overLimit": {"code": 429, "message": "This request was rate-limited."}}, {"Retry-After": "2"})])
def test_what_passes_is_waited_for(here, status, value, headers):
    here.cloud.fail(status, "POST /compute/servers$", value, 2, headers)
    assert here.create().driver["IPAddress"] and len(here.cloud.orders) == 1


# --- floating IPs

def test_a_floating_ip_of_our_own_is_made_and_released(here):
    free = here.cloud.add_floating()
    driver = here.create(floatingip_pool="public").driver
    (made,) = [row for row in here.cloud.floating.values() if row is not free]
    assert driver["IPAddress"] == made["floating_ip_address"] and driver["FloatingIpMade"] and not free["port_id"]
    driver.stop()
    driver.start()
    assert driver["IPAddress"] == made["floating_ip_address"]
    driver.remove()
    assert list(here.cloud.floating.values()) == [free]


def test_where_no_more_can_be_made_a_free_one_is_taken_and_kept(here):
    free = here.cloud.add_floating()
    here.cloud.floating_quota = 1
    driver = here.create(floatingip_pool="public").driver
    assert driver["IPAddress"] == free["floating_ip_address"] and not driver["FloatingIpMade"]
    driver.remove()
    assert list(here.cloud.floating.values()) == [free] and free["port_id"] is None


def test_two_creations_at_once_never_take_the_same_free_one(here):
    for _ in range(4):
        here.cloud.add_floating()
    here.cloud.floating_quota = 4
    machines = [here.add("web%d" % number, floatingip_pool="public") for number in range(4)]
    threads = [threading.Thread(target=machine.driver.create) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({machine.driver["IPAddress"] for machine in machines}) == 4
    assert len({row["port_id"] for row in here.cloud.floating.values()}) == 4


def test_a_free_one_whose_taking_had_no_answer_is_the_only_one_taken(here):
    for _ in range(2):
        here.cloud.add_floating()
    here.cloud.floating_quota = 2
    here.cloud.lose("PUT /network/v2.0/floatingips")
    driver = here.create(floatingip_pool="public").driver
    (taken,) = [row for row in here.cloud.floating.values() if row["port_id"]]
    assert driver["IPAddress"] == taken["floating_ip_address"]


def test_one_of_another_project_is_not_taken(here):
    """An administrator's list has them too."""
    here.cloud.add_floating(project_id="another")
    here.cloud.floating_quota = 0
    with pytest.raises(core.MachineError):
        here.create(floatingip_pool="public")
    assert [row["port_id"] for row in here.cloud.floating.values()] == [None]


def test_a_port_that_comes_late_is_waited_for(here):
    here.cloud.slow_ports = 3
    assert here.create(floatingip_pool="public").driver["IPAddress"].startswith("127.21.")


def test_a_pool_that_has_none_takes_the_server_along(here, call, soon):
    here.cloud.floating_quota = 0
    ended = call(*(soon + ["--openstack-floatingip-pool=public", "web"]))
    assert "['floatingip']" in ended.err and here.cloud.is_empty() and here.store.names() == [], ended


def test_the_port_is_that_of_the_first_network(here):
    driver = here.create(floatingip_pool="public", net_name="backend,private").driver
    (row,) = here.cloud.floating.values()
    assert here.cloud.ports[row["port_id"]]["network_id"] == "n-2" and driver["IPAddress"]


# --- security groups

def test_our_group_is_made_where_the_default_is_closed_and_goes_with_the_last_machine(here):
    first, second = here.create("a").driver, here.create("b").driver
    (group,) = [row for row in here.cloud.groups.values() if row["name"] == "docker-machines"]
    rules = {(rule["port_range_min"], rule["ethertype"]) for rule in group["security_group_rules"]}
    assert rules == {(port, family) for port in (22, 2376) for family in ("IPv4", "IPv6")}
    first.remove()
    assert group["id"] in here.cloud.groups
    second.remove()
    assert here.cloud.is_empty()


def test_a_node_of_swarm_mode_gets_its_ports_opened(here):
    here.add_node().driver.create()
    (group,) = [row for row in here.cloud.groups.values() if row["name"] == "docker-machines"]
    rules = {(rule["protocol"], rule["port_range_min"]) for rule in group["security_group_rules"]}
    assert rules == {("tcp", 22), ("tcp", 2376), ("tcp", 2377), ("tcp", 7946), ("udp", 4789), ("udp", 7946)}


def test_a_group_that_another_removal_takes_before_the_order_is_made_anew(here):
    def look(line):
        if line == "POST /compute/servers" and not here.cloud.count("^POST /compute/servers"):
            del here.cloud.groups[next(name for name in here.cloud.groups if name != "g-0")]

    here.cloud.look = look
    driver = here.create().driver
    (group,) = [row for row in here.cloud.groups.values() if row["name"] == "docker-machines"]
    assert {"name": group["id"]} in here.server()["security_groups"]
    driver.remove()
    assert here.cloud.is_empty()


def test_a_group_that_another_removal_deleted_first_is_gone(here):
    driver = here.create().driver
    here.cloud.fail(404, "DELETE /network/v2.0/security-groups/", {"NeutronError": {"message": "does not exist"}})
    driver.remove()
    assert here.cloud.servers == {} and driver["MachineId"] == ""


def test_a_default_that_is_open_is_enough(here):
    here.cloud.groups["g-0"]["security_group_rules"].append({"direction": "ingress", "protocol": None})
    here.create()
    assert "security_groups" not in here.server() and len(here.cloud.groups) == 1


def test_groups_of_the_users_are_left_as_they_are_and_what_they_close_is_told(here, capsys):
    here.cloud.groups["g-7"] = {"id": "g-7", "name": "mine", "security_group_rules": []}
    driver = here.create(sec_groups=" mine ,default").driver
    assert [one["name"] for one in here.server()["security_groups"]] == ["g-7", "g-0"]
    assert "lets port 22 or 2376 in" in capsys.readouterr().err
    driver.remove()
    assert set(here.cloud.groups) == {"g-0", "g-7"}


# --- volumes

def test_a_root_volume_of_ours_goes_with_the_server(here):
    here.create(boot_from_volume=True, volume_size=20, volume_type="ssd")
    (volume,) = here.server()["block_device_mapping_v2"]
    assert volume == {"boot_index": "0", "uuid": "i-2", "source_type": "image", "destination_type": "volume",
                      "volume_size": 20, "volume_type": "ssd", "delete_on_termination": True}
    assert here.server()["imageRef"] == "" and here.server()["networks"] == "auto"


def test_a_volume_of_the_users_is_booted_from_and_stays(here):
    here.cloud.volumes["v-1"] = {"id": "v-1", "name": "root", "status": "available"}
    here.given = {"flavor_name": "m1.small"}
    driver = here.create(boot_from_volume=True, volume_name="root").driver
    (volume,) = here.server()["block_device_mapping_v2"]
    assert volume["uuid"] == "v-1" and volume["delete_on_termination"] is False
    driver.remove()
    assert list(here.cloud.volumes) == ["v-1"]


def test_a_data_volume_of_ours_is_attached_and_removed_and_the_users_stays(here):
    driver = here.create(volume_size=5).driver
    (volume,) = here.cloud.volumes.values()
    assert volume["size"] == 5 and volume["server"] == driver["MachineId"]
    driver.remove()
    assert here.cloud.is_empty()
    here.cloud.volumes["v-1"] = {"id": "v-1", "name": "mine", "status": "available"}
    driver = here.create("second", volume_id="v-1").driver
    assert here.cloud.volumes["v-1"]["server"] == driver["MachineId"]
    driver.remove()
    assert list(here.cloud.volumes) == ["v-1"]


# --- states

@pytest.mark.parametrize("status, state", [
    ("ACTIVE", core.RUNNING), ("BUILD", core.STARTING), ("PAUSED", core.PAUSED), ("SUSPENDED", core.SAVED),
    ("SHUTOFF", core.STOPPED), ("SHELVED_OFFLOADED", core.SAVED), ("ERROR", core.ERROR), ("RESCUE", core.RUNNING)])
def test_each_status_has_its_state_and_leads_to_a_running_machine(here, status, state):
    driver = here.create().driver
    (row,) = here.cloud.servers.values()
    row.update(status=status, polls=2)
    assert driver.get_state() == state
    if state in (core.PAUSED, core.SAVED, core.STOPPED):
        driver.start()
        assert driver.get_state() == core.RUNNING
    if state in (core.PAUSED, core.SAVED, core.STOPPED, core.ERROR):
        row["status"] = status
        if status != "SHELVED_OFFLOADED":
            driver.restart()
            assert driver.get_state() == core.RUNNING


def test_a_server_that_is_gone_is_told_and_removed(here, call):
    here.old()
    here.cloud.servers.clear()
    here.cloud.ports.clear()
    assert "OpenStack has no server" in call("status", "old").err
    assert call("rm", "-y", "old").code == 0 and here.cloud.is_empty()


# --- killed, lost, failed

def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_servers(here):
    here.cloud.shake(0.3, seed=11)
    for number in range(20):
        name = "web%d" % number
        here.create(name, floatingip_pool="public", volume_size=5, image_name="cirros-0.6").driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.cloud.shake(0)
    assert here.cloud.is_empty() and here.cloud.count("") > 20 * MOST_CALLS
    for made in ("compute/servers", "compute/os-keypairs", "network/v2.0/floatingips", "volume/volumes",
                 "network/v2.0/security-groups", "compute/servers/ID/os-volume_attachments"):
        assert here.cloud.acted["POST /" + made] == 20, made


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("finish", [True, False])
def test_a_kill_at_each_request_leaves_what_can_be_finished_and_removed(here, monkeypatch, when, finish):
    flags = {"floatingip_pool": "public", "volume_size": 5, "image_name": "cirros-0.6"}
    for number in range(1, 100):
        machine, asked = here.add("web", **flags), [0]

        def is_meant(*words, **more):
            asked[0] += 1  # noqa: B023
            return asked[0] == number  # noqa: B023

        kill = Kill(here, monkeypatch, "ask", when, is_meant)
        try:
            machine.driver.create()
        except KeyboardInterrupt:
            kill.bury()
        monkeypatch.setattr(here.driver_class, "ask", kill.ask)
        again = here.load("web").driver
        if finish:
            again.create()
            assert len(here.cloud.servers) == 1 and len(here.cloud.floating) == 1, number
        again.remove()
        assert here.cloud.is_empty(), number
        shutil.rmtree(here.store.folder("web"))
        if not kill.died:
            break
    assert number > 15


def test_an_answer_that_is_lost_makes_nothing_twice(here):
    for pattern in ("POST /compute/servers$", "POST /network/v2.0/floatingips", "POST /volume/volumes",
                    "POST /network/v2.0/security-groups", "volume_attachments"):
        here.cloud.lose(pattern)
    driver = here.create(floatingip_pool="public", volume_size=5).driver
    assert (len(here.cloud.servers), len(here.cloud.floating), len(here.cloud.volumes)) == (1, 1, 1)
    driver.remove()
    assert here.cloud.is_empty()


# --- entries of others

@pytest.mark.parametrize("fork", sorted(FORKS))
def test_entries_of_docker_machine_and_its_fork_work_and_keep_their_fields(here, call, soon, fork):
    here.old(**FORKS[fork])
    here.cloud.add_floating(port_id=next(iter(here.cloud.ports)))
    assert call("status", "old").out == "Running\n"
    assert call("ls", "-t", "60", "-f", "{{.Name}} {{.State}}").out == "old Running\n"
    assert call("stop", "old").code == 0 and call("status", "old").out == "Stopped\n"
    call("start", "old")
    assert call("status", "old").out == "Running\n"
    for name, value in FORKS[fork].items():
        assert here.stored("old")[name] == value
    assert call("rm", "-y", "old").code == 0 and here.store.names() == []
    assert (here.cloud.servers, here.cloud.pairs) == ({}, {}) and len(here.cloud.floating) == 1


def test_an_entry_of_docker_machine_goes_on_with_its_floating_ip(here):
    driver = here.old(status="SHUTOFF", FloatingIpPool="public").driver
    row = here.cloud.add_floating(port_id=next(iter(here.cloud.ports)))
    driver["IPAddress"] = ""
    driver.start()
    assert driver["IPAddress"] == row["floating_ip_address"]


def test_ls_asks_once_for_all_machines_of_a_project(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    here.cloud.page = 10
    for number in range(15):
        here.old("web%d" % number)
    listed = call("ls", "-t", "60").out
    assert listed.count("Running") == 15 and here.cloud.count("servers/detail") == 2 and len(here.cloud.logins) == 1


def test_ls_of_engines_that_answer_asks_nothing(here, dm, engine_port):
    assert listed_by_engines(here, dm, engine_port, "MachineId", "yaml").count("Running") == 3
    assert here.cloud.calls == []
