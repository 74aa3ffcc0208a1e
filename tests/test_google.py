"""The driver "google" against a server that holds all requests to Google's own description (see gce.py).

Whether a machine boots is not seen here: tests/integration/test_google.py has that.
"""

import base64
import email
import json
import os
import shutil
import stat
import threading
import time
from pathlib import Path

import pytest
from conftest import HANG
from gce import (
    DEBIAN,
    HOST,
    PAGE,
    PROJECT,
    TOKEN,
    UBUNTU,
    UBUNTU_ARM,
    ZONE,
    Compute,
    Refusal,
    permissions,
    write_key,
)
from machines import listed_by_engines

import docker_machine as core

pytestmark = pytest.mark.once  # google-auth of today needs a Python of today

MOST_CALLS = 8
BASIC = [{"IPProtocol": "tcp", "ports": ["22", "2376"]}]
IGNITION = json.dumps({"ignition": {"version": "3.3.0"}})


@pytest.fixture(scope="module")
def compute():
    for module in ("googleapiclient", "google.auth", "requests"):
        pytest.importorskip(module)
    server = Compute(permissions())
    yield server
    server.close()


@pytest.fixture
def gce(compute):
    """Projects in which nothing was done; each request must have been as Google describes it."""
    compute.clear()
    yield compute
    assert compute.wrong == []


@pytest.fixture(scope="module")
def key(compute, tmp_path_factory):
    """The key of a service account whose tokens our server gives."""
    return write_key(tmp_path_factory.mktemp("key"), compute.port)


class Here:
    """A project, and a store as this very process finds it."""

    def __init__(self, gce, store, folder):
        self.gce, self.store, self.folder, self.driver_class = gce, store, folder, core.load_driver("google")

    def machine(self, name="web", **flags):
        """A machine of these flags (machine_type="e2-medium") that is not in the store yet."""
        machine = self.store.new(name, self.driver_class)
        words = []
        for flag, value in flags.items():
            values = value if isinstance(value, list) else [value]
            words += ["--google-%s=%s" % (flag.replace("_", "-"), one) for one in values]
        options = core.parse_flags(core.create_flags(self.driver_class), words)[0]
        machine.driver.set_config_from_flags(options)
        return machine

    def add(self, name="web", **flags):
        """A machine that passed the check and is in the store; nothing is ordered yet."""
        machine = self.machine(name, **flags)
        machine.driver.pre_create_check()
        self.store.add(machine)
        return machine

    def create(self, name="web", **flags):
        """A machine whose instance runs and that was never provisioned."""
        machine = self.add(name, **flags)
        machine.driver.create()
        machine.save()
        machine.mark("")
        return machine

    def old(self, name="old", zone=ZONE, **fields):
        """An entry as Docker Machine wrote it, with its instance and rule; `fields` of a fork."""
        self.foreign(name, zone)
        machine = self.store.new(name, self.driver_class)
        machine.config["Driver"] = dict(OLD, MachineName=name, Project=PROJECT, Zone=zone, StorePath=self.store.path,
                                        SSHKeyPath=os.path.join(machine.folder, "id_rsa"), **fields)
        self.store.add(machine)
        machine.mark("")
        return self.store.machine(name)

    def foreign(self, name="old", zone=ZONE, **more):
        """An instance that we did not make, with its disk."""
        where = {"network": "https://www.googleapis.com/compute/v1/projects/demo-1/global/networks/default",
                 "networkIP": "10.0.0.9", "accessConfigs": [{"natIP": "127.10.9.9", "name": "External NAT"}]}
        row = {"name": name, "status": "RUNNING", "networkInterfaces": [where], "zone": "zones/" + zone,
               "tags": {"items": ["docker-machine"], "fingerprint": "dDE="},
               "metadata": {"fingerprint": "bTE=", "items": [{"key": "sshKeys", "value": "x"}]}}
        self.gce.instances[PROJECT, zone, name] = dict(row, **more)
        self.gce.disks[PROJECT, zone, name + "-disk"] = {"name": name + "-disk"}

    def store_files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def stored(self, name="web"):
        return json.loads((Path(self.store.folder(name)) / "config.json").read_text(encoding="utf-8"))["Driver"]

    def load(self, name="web"):
        return self.store.machine(name)

    def order(self):
        """The body of the only request that made an instance."""
        ((_, body),) = self.gce.orders
        return body

    def metadata(self):
        return {item["key"]: item["value"] for item in self.order()["metadata"]["items"]}

    def file(self, text, name="user-data"):
        path = self.folder / name
        path.write_text(text)
        return path


# config.json of Docker Machine 0.16.2: drivers/google, in the order of its struct.
OLD = {"IPAddress": "", "SSHUser": "docker-user", "SSHPort": 22, "SwarmMaster": False, "SwarmHost": "",
       "SwarmDiscovery": "", "MachineType": "n1-standard-1",
       "MachineImage": "ubuntu-os-cloud/global/images/ubuntu-1604-xenial-v20170721", "DiskType": "pd-standard",
       "Address": "", "Network": "default", "Subnetwork": "", "Preemptible": False, "UseInternalIP": False,
       "UseInternalIPOnly": False, "ServiceAccount": "default", "Scopes": "https://www.googleapis.com/auth/logging.write",
       "DiskSize": 10, "Tags": "", "UseExisting": False, "OpenPorts": None}
FORKS = {
    "Docker Machine": {},
    "rancher/machine": {"OS": "linux", "Auth": "", "Labels": "team,web", "ExternalFirewallRulePrefix": "",
                        "InternalFirewallRulePrefix": "", "Userdata": "#cloud-config\n{}\n"},
    "GitLab": {"MinCPUPlatform": "", "ProvisionedIops": 0, "ProvisionedThroughput": 0, "Labels": ["team:web"],
               "Metadata": {"a": "b"}, "MetadataFromFile": {}, "Accelerator": "", "MaintenancePolicy": "",
               "SkipFirewall": False, "BulkInsert": False, "Region": "us-central1", "FlexSelections": None,
               "FlexStockoutCooldown": 0, "LocationZones": None, "ResolvedZone": "", "ResolvedMachineType": "",
               "OperationBackoffFactory": {"InitialInterval": 1000000000, "MaxInterval": 30000000000,
                                           "MaxElapsedTime": 300000000000, "RandomizationFactor": 0.5,
                                           "Multiplier": 2}},
}  # type: dict


@pytest.fixture
def here(gce, key, dm, store, tmp_path, pauses, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("GOOGLE_", "GCLOUD_", "CLOUDSDK_", "GCE_")):
            monkeypatch.delenv(name)
    env = {"GOOGLE_API_URL": gce.url, "GOOGLE_APPLICATION_CREDENTIALS": str(key), "NO_GCE_CHECK": "true",
           "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"), "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    dm.env.update(env)
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(os, "fsync", lambda file: None)
    yield Here(gce, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "google"]


# --- a creation

def test_nothing_but_a_login_is_needed_and_the_project_is_the_logins(here):
    driver = here.create().driver
    row, order = here.gce.instance(), here.order()
    assert (row["status"], driver["Project"]) == ("RUNNING", PROJECT)
    assert order["machineType"] == "zones/us-central1-a/machineTypes/e2-small"
    start = order["disks"][0]["initializeParams"]
    assert start["sourceImage"] == "projects/ubuntu-os-cloud/global/images/" + UBUNTU
    assert (start["diskSizeGb"], start["diskType"]) == ("20", "zones/us-central1-a/diskTypes/pd-balanced")
    assert driver["IPAddress"] == row["networkInterfaces"][0]["accessConfigs"][0]["natIP"]
    assert order["labels"] == start["labels"] == {"docker-machine": driver["CreateTag"]}
    assert here.gce.rule()["allowed"] == BASIC and here.gce.rule()["targetTags"] == ["docker-machine"]
    assert driver.get_state() == core.RUNNING


def test_a_creation_takes_few_calls_and_one_token(here):
    here.create()
    names = here.gce.names()
    assert len(names) <= MOST_CALLS and here.gce.tokens == 1, names
    del here.gce.calls[:]
    here.create("second")
    told = "A creation is %d requests, or %d if the firewall rule is there" % (len(names), len(here.gce.names()))
    assert told in PAGE.read_text(encoding="utf-8").replace("\n", " "), here.gce.names()


def test_keys_user_data_and_the_switch_of_os_login_are_in_the_order(here):
    noise = "#" * 200000
    here.create(userdata=here.file("#!/bin/sh\n%s\necho hello\n" % noise))
    metadata = here.metadata()
    key = Path(here.store.folder("web"), "id_rsa.pub").read_text().strip()
    assert metadata["ssh-keys"] == "docker-user:" + key and metadata["enable-oslogin"] == "FALSE"
    assert "sshKeys" not in metadata
    script, config = [bytes(part.get_payload(decode=True)).decode() for part
                      in email.message_from_string(metadata["user-data"]).walk() if not part.is_multipart()]
    assert script.endswith("echo hello\n") and "set_host_keys = false" in config
    ours = json.loads(config.partition("\n")[2])
    assert ours["ssh_keys"]["ed25519_private"] == Path(here.store.folder("web"), "ssh_host_ed25519_key").read_text()
    assert Path(here.store.folder("web"), "known_hosts").exists()


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err
    assert "(web) Creating the instance...\n" in ended.out and "Created instance ID web" in ended.out
    assert call("status", "web").out == "Running\n"
    for verb, state in (("stop", "TERMINATED"), ("start", "RUNNING"), ("kill", "TERMINATED")):
        call(verb, "web")
        assert here.gce.instance()["status"] == state
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "60").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.gce.is_empty() and here.store.names() == []


def test_an_address_that_changed_while_it_was_off_is_the_address_of_now(here):
    driver = here.create().driver
    before = driver["IPAddress"]
    driver.stop()
    assert driver.get_state() == core.STOPPED
    driver.start()
    assert driver["IPAddress"] == here.gce.instance()["networkInterfaces"][0]["accessConfigs"][0]["natIP"] != before


def test_what_was_suspended_is_resumed_and_what_was_preempted_is_started(here):
    driver = here.create().driver
    here.gce.instance()["status"] = "SUSPENDED"
    assert driver.get_state() == core.SAVED
    driver.start()
    assert here.gce.names().count("instances.resume") == 1 and driver.get_state() == core.RUNNING
    here.gce.instance()["status"] = "TERMINATED"
    assert driver.get_state() == core.STOPPED
    driver.start()
    assert driver.get_state() == core.RUNNING


def test_a_guest_that_does_not_answer_is_reset(here, closed_port, monkeypatch):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    driver.restart()
    assert here.gce.names().count("instances.reset") == 1 and here.gce.instance()["status"] == "RUNNING"


# --- images and types

@pytest.mark.parametrize("kind, image", [("e2-medium", UBUNTU), ("t2a-standard-1", UBUNTU_ARM),
                                         ("e2-custom-2-4096", UBUNTU), ("custom-2-4096", UBUNTU)])
def test_the_image_is_the_newest_ubuntu_for_the_type(here, kind, image):
    here.create(machine_type=kind)
    assert here.order()["disks"][0]["initializeParams"]["sourceImage"].endswith("/" + image)


def test_types_that_take_no_other_disk_get_a_hyperdisk(here):
    here.create(machine_type="c4-standard-2", provisioned_iops=5000)
    start = here.order()["disks"][0]["initializeParams"]
    assert start["diskType"].endswith("/hyperdisk-balanced") and start["provisionedIops"] == "5000"


@pytest.mark.parametrize("text", [
    "ubuntu-os-cloud/ubuntu-2404-lts-amd64", "ubuntu-os-cloud/global/images/" + UBUNTU,
    "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64",
    "https://www.googleapis.com/compute/v1/projects/ubuntu-os-cloud/global/images/" + UBUNTU,
    "https://compute.googleapis.com/compute/v1/projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"])
def test_an_image_may_be_named_in_every_form_that_people_paste(here, text):
    here.create(machine_image=text)
    assert here.order()["disks"][0]["initializeParams"]["sourceImage"].endswith("/" + UBUNTU)


@pytest.mark.parametrize("text", ["golden-7", "golden", "global/images/golden-7", "family/golden"])
def test_an_image_of_the_own_project_is_found_by_its_name_or_family(here, text):
    here.create(machine_image=text, disk_size=40)
    assert here.order()["disks"][0]["initializeParams"]["sourceImage"] == "projects/demo-1/global/images/golden-7"


def test_an_image_without_cloud_init_gets_the_key_alone(here):
    here.create(machine_image="debian-cloud/debian-13")
    assert here.order()["disks"][0]["initializeParams"]["sourceImage"].endswith(DEBIAN)
    assert "user-data" not in here.metadata() and here.metadata()["ssh-keys"].startswith("docker-user:ssh-")
    assert here.metadata()["enable-guest-attributes"] == "TRUE"
    assert Path(here.store.folder("web"), "known_hosts").read_text() == (
        "docker-machine.web ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGlz\n"), "as Google's agent published it"


@pytest.mark.parametrize("keys", [None, [], [("ssh-rsa", "x\nevil ssh-rsa AAAA")], [("x", "AAAA")], [(7, None)]])
def test_without_a_published_host_key_the_first_one_is_taken_and_that_is_told(here, capsys, keys):
    here.gce.host_keys = keys
    here.create(machine_image="debian-cloud/debian-13")
    assert not Path(here.store.folder("web"), "known_hosts").exists()
    assert "does not tell the host key" in capsys.readouterr().err
    here.gce.wrong.clear()  # one of these answers is not as Google describes it


def test_user_data_of_another_program_is_sent_as_it_is(here):
    here.create(userdata=here.file(IGNITION))
    assert here.metadata()["user-data"] == IGNITION


# --- what is refused before anything is made

REFUSALS = [
    ({"machine_type": "e2-smal"}, 'no machine type "e2-smal"', "Near it: e2-small"),
    ({"zone": "us-central1-x"}, 'no zone "us-central1-x"', "Near it: us-central1-"),
    ({"machine_image": "ubuntu-os-cloud/ubuntu-2404-lts"}, "no image", "Near it: ubuntu-2404-lts-a"),
    ({"machine_image": "ubuntu-os-cloud/" + "global/images/" + UBUNTU, "machine_type": "t2a-standard-1"},
     "is for X86_64, the machine type for ARM64", "one that fits is found"),
    ({"machine_image": "golden-7"}, "needs a disk of 40 GB", "--google-disk-size 40"),
    ({"subnetwork": "web-2"}, 'no subnetwork "web-2"', "Near it: web-1"),
    ({"subnetwork": "web-1", "network": "other"}, "is not one of the network other", "its network is projects/demo-1/"),
    ({"address": "fix"}, 'no address "fix"', "Near it: fixed"),
    ({"address": "fixed"}, "The address fixed is in use by db", "addresses list"),
    ({"address": "free", "use_internal_ip_only": "true"}, "is an external one", "--google-use-internal-ip-only"),
    ({"accelerator": "count=1,type=nvidia-t4"}, 'no accelerator type "nvidia-t4"', "Near it: nvidia-tesla-t4"),
    ({"bulk_insert": "true", "region": "us-central9"}, 'no region "us-central9"', "Near it: us-central1"),
    ({"bulk_insert": "true", "region": "us-central1", "location_zone": "us-central1-x:DENY"},
     'no zone "us-central1-x"', "Near it: us-central1-"),
    ({"bulk_insert": "true", "region": "us-central1", "machine_type": "e2-smal"}, 'no machine type "e2-smal"',
     "machine-types list"),
    ({"use_existing": "true"}, "unable to find instance web in zone us-central1-a", "instances list"),
]  # type: list


@pytest.mark.parametrize("flags, words, hint", REFUSALS, ids=lambda value: str(value)[:40])
def test_what_is_unknown_or_does_not_fit_is_refused_with_the_nearest_names(here, call, soon, flags, words, hint):
    here.gce.reserve("fixed", "203.0.113.7", "IN_USE", users=["projects/demo-1/zones/x/instances/db"])
    here.gce.reserve("free", "203.0.113.8")
    flags = ["--google-%s=%s" % (name.replace("_", "-"), value) for name, value in flags.items()]
    ended = call(*(soon + flags + ["web"]))
    assert ended.code == 3 and words in ended.err.replace('\\"', '"') and hint in ended.err, ended
    assert here.gce.changes() == [] and here.store.names() == []


def test_a_rule_for_something_else_is_not_changed(here, call, soon):
    network = "https://www.googleapis.com/compute/v1/projects/demo-1/global/networks/web"
    here.gce.rules[PROJECT, "docker-machines-web"] = {"name": "docker-machines-web", "network": network,
                                                      "targetTags": ["db"]}
    ended = call(*(soon + ["--google-network=web", "web"]))
    assert ended.code == 3 and "The firewall rule docker-machines-web is not one for our instances" in ended.err
    assert "--google-skip-firewall-create" in ended.err and here.gce.changes() == []


@pytest.mark.parametrize("name", ["Foo_1", "foo.bar", "1st", "a" * 64])
def test_a_name_that_google_does_not_take_is_refused_before_anything_is_asked(here, call, soon, name):
    ended = call(*(soon + [name]))
    assert ended.code in (1, 2) and "name" in ended.err and here.gce.calls == [] and here.store.names() == []


def test_a_name_that_is_taken_is_refused_and_nothing_is_left(here, call, soon):
    here.foreign("web", tags={"items": []})
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "instance web already exists in zone us-central1-a" in ended.err, ended
    assert "--google-use-existing" in ended.err and here.store.names() == []
    assert here.gce.instance()["status"] == "RUNNING" and not here.gce.rules


# --- networks and firewall rules

def test_a_node_of_swarm_mode_gets_its_ports_opened(here):
    machine = here.machine()
    machine.swarm["Mode"] = "manager"
    machine.driver.pre_create_check()
    here.store.add(machine)
    machine.driver.create()
    assert here.gce.rule()["allowed"] == [
        {"IPProtocol": "tcp", "ports": ["22", "2376", "2377", "7946"]},
        {"IPProtocol": "udp", "ports": ["4789", "7946"]}]


def test_two_creations_at_once_make_one_rule_with_all_ports(here):
    machines = [here.add("web%d" % number) for number in range(2)]  # neither has seen a rule
    threads = [threading.Thread(target=machine.driver.create) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert list(here.gce.rules) == [(PROJECT, "docker-machines")] and here.gce.rule()["allowed"] == BASIC
    assert len(here.gce.instances) == 2
    machines[0].driver.remove()
    assert here.gce.rule()
    machines[1].driver.remove()
    assert here.gce.is_empty()


def test_each_network_has_a_rule_of_its_own(here):
    here.create()
    here.create("two", network="web", subnetwork="web-1")
    assert {name: row["network"].rpartition("/")[2] for (_, name), row in here.gce.rules.items()} == {
        "docker-machines": "default", "docker-machines-web": "web"}
    here.load("two").driver.remove()
    assert list(here.gce.rules) == [(PROJECT, "docker-machines")]


def test_a_rule_of_docker_machines_gets_the_ports_that_it_lacks_and_stays(here):
    rule = {"name": "docker-machines", "network": "https://www.googleapis.com/compute/v1/projects/demo-1/global/networks/"
            "default", "targetTags": ["docker-machine"], "allowed": [{"IPProtocol": "tcp", "ports": ["2000-3000"]}]}
    here.gce.rules[PROJECT, "docker-machines"] = rule
    machine = here.create()
    assert here.gce.rule()["allowed"] == [{"IPProtocol": "tcp", "ports": ["2000-3000"]},
                                          {"IPProtocol": "tcp", "ports": ["22"]}]
    machine.driver.remove()
    assert here.gce.rule() and not here.gce.instances


def test_a_rule_of_that_name_in_another_network_is_left_alone(here):
    network = "https://www.googleapis.com/compute/v1/projects/demo-1/global/networks/web"
    here.gce.rules[PROJECT, "docker-machines"] = {"name": "docker-machines", "network": network,
                                                  "targetTags": ["docker-machine"]}
    here.create()
    assert here.gce.rule("docker-machines-default")["allowed"] == BASIC and "allowed" not in here.gce.rule()


def test_a_rule_that_went_with_somebodys_last_machine_is_made_again(here):
    here.gce.look("zoneOperations.wait", lambda where: here.gce.rules.clear())
    here.create()
    assert here.gce.rule()["allowed"] == BASIC


def test_open_ports_are_for_this_machine_alone(here):
    driver = here.create(open_port=["80", "53/udp", "8000-8010"]).driver
    tag = driver["CreateTag"]
    assert here.gce.rule(tag)["allowed"] == [{"IPProtocol": "tcp", "ports": ["80", "8000-8010"]},
                                             {"IPProtocol": "udp", "ports": ["53"]}]
    assert here.gce.rule(tag)["targetTags"] == [tag] and tag in here.order()["tags"]["items"]
    assert here.gce.rule()["allowed"] == BASIC
    driver.remove()
    assert here.gce.is_empty()


def test_no_rule_is_made_or_read_where_none_is_wanted(here):
    here.create(skip_firewall_create="true").driver.remove()
    assert not [name for name in here.gce.names() if name.startswith("firewalls.")]


def test_a_shared_vpc_whose_firewall_is_closed_to_us_is_told_and_the_machine_is_made(here, capsys):
    here.gce.fail("firewalls.get", "forbidden", 9, 403, "Required 'compute.firewalls.get' permission for 'x'")
    url = "https://www.googleapis.com/compute/v1/projects/%s/global/networks/corp" % HOST
    driver = here.create(network=url, subnetwork="corp-1").driver
    interface = here.order()["networkInterfaces"][0]
    assert interface["network"] == "projects/%s/global/networks/corp" % HOST
    assert interface["subnetwork"] == "projects/%s/regions/us-central1/subnetworks/corp-1" % HOST
    told = capsys.readouterr().err
    assert told.count("ports 22 and 2376 for the network tag docker-machine") == 1
    driver.remove()
    assert here.gce.is_empty()


def test_the_rule_for_a_shared_vpc_is_made_in_its_project_and_stays(here):
    driver = here.create(subnetwork="projects/%s/regions/us-central1/subnetworks/corp-1" % HOST).driver
    assert here.gce.rule("docker-machines-corp", HOST)["allowed"] == BASIC
    driver.remove()
    assert list(here.gce.rules) == [(HOST, "docker-machines-corp")]


@pytest.mark.parametrize("text", ["fixed", "203.0.113.7"])
def test_a_reserved_address_goes_by_name_or_number(here, text):
    here.gce.reserve("fixed", "203.0.113.7")
    assert here.create(address=text).driver["IPAddress"] == "203.0.113.7"


def test_a_reserved_internal_address_is_the_internal_one(here):
    here.gce.reserve("inner", "10.1.2.3", kind="INTERNAL")
    here.create(address="inner")
    assert here.order()["networkInterfaces"][0]["networkIP"] == "10.1.2.3"


@pytest.mark.parametrize("only", [False, True])
def test_an_internal_address_alone_or_beside_an_external_one(here, only):
    flag = "use_internal_ip_only" if only else "use_internal_ip"
    driver = here.create(**{flag: "true"}).driver
    interface = here.gce.instance()["networkInterfaces"][0]
    assert driver["IPAddress"] == interface["networkIP"] and ("accessConfigs" not in interface) == only


def test_both_kinds_of_ip(here):
    here.create(stack_type="IPV4_IPV6")
    interface = here.order()["networkInterfaces"][0]
    assert interface["stackType"] == "IPV4_IPV6"
    assert interface["ipv6AccessConfigs"] == [{"type": "DIRECT_IPV6", "networkTier": "PREMIUM"}]


# --- other flags

def test_spot_accelerator_platform_and_accounts_are_in_the_order(here):
    here.create(spot="true", accelerator="count=2,type=nvidia-tesla-t4", min_cpu_platform="Intel Haswell",
                service_account="", tags="a,b-c")
    order = here.order()
    assert order["scheduling"] == {"provisioningModel": "SPOT", "instanceTerminationAction": "STOP",
                                   "automaticRestart": False, "onHostMaintenance": "TERMINATE"}
    assert order["guestAccelerators"] == [
        {"acceleratorCount": 2, "acceleratorType": "zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4"}]
    assert order["minCpuPlatform"] == "Intel Haswell" and "serviceAccounts" not in order
    assert order["tags"]["items"] == ["docker-machine", "a", "b-c"]


@pytest.mark.parametrize("flags, policy", [({"accelerator": "count=1,type=nvidia-tesla-t4"}, "TERMINATE"),
                                           ({"maintenance_policy": "MIGRATE"}, "MIGRATE"), ({}, None)])
def test_what_happens_when_the_host_is_serviced(here, flags, policy):
    here.create(**flags)
    assert here.order().get("scheduling", {}).get("onHostMaintenance") == policy


def test_scopes_may_be_written_as_gcloud_does(here):
    here.create(service_account="ci@x.example.com", scopes="cloud-platform,storage-ro,https://example.com/auth/x")
    assert here.order()["serviceAccounts"] == [{"email": "ci@x.example.com", "scopes": [
        "https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage.read_only",
        "https://example.com/auth/x"]}]


def test_labels_of_both_forks_are_on_instance_and_disk(here):
    driver = here.create(label=["team:web"], vm_labels="cost,42").driver
    wanted = {"team": "web", "cost": "42", "docker-machine": driver["CreateTag"]}
    assert here.order()["labels"] == here.order()["disks"][0]["initializeParams"]["labels"] == wanted


def test_metadata_comes_from_flags_and_files_and_joins_ours(here):
    config = here.file("#!/bin/sh\necho hello\n")
    here.create(metadata=["a=b=c", "ssh-keys=me:ssh-rsa AAAA", "enable-oslogin=TRUE"],
                metadata_from_file=["user-data=%s" % config], cos_docker_network_readiness_gate="true")
    metadata = here.metadata()
    assert metadata["a"] == "b=c" and metadata["ssh-keys"].startswith("me:ssh-rsa AAAA\ndocker-user:ssh-")
    assert metadata["enable-oslogin"] == "TRUE" and metadata["gitlab-docker-network-readiness-gate"] == "true"
    assert "echo hello" in metadata["user-data"] and "set_host_keys" in metadata["user-data"]
    assert here.stored()["Metadata"]["a"] == "b=c" and here.stored()["MetadataFromFile"] == {"user-data": str(config)}


# --- killed, lost, failed

def test_what_was_killed_after_the_order_is_gone_on_with(here, monkeypatch):
    machine = here.add()
    with monkeypatch.context() as patch:
        patch.setattr(here.driver_class, "settle", lambda self, place, operation: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            machine.driver.create()
    again = here.load().driver
    again.create()
    assert len(here.gce.orders) == 1 and again["IPAddress"] and here.gce.rule()
    again.remove()
    assert here.gce.is_empty()


def test_what_was_killed_after_the_order_is_removed_whole(here, monkeypatch):
    machine = here.add()
    here.gce.slow = 3
    with monkeypatch.context() as patch:
        patch.setattr(here.driver_class, "settle", lambda self, place, operation: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            machine.driver.create()
    here.load().driver.remove()
    assert here.gce.is_empty()


def test_a_namesake_that_is_not_ours_is_never_touched(here):
    machine = here.create()
    here.gce.instances.clear()
    here.foreign("web")
    assert machine.driver.describe() is None
    with pytest.raises(core.MachineError, match="Google has no instance web"):
        machine.driver.get_state()
    machine.driver.remove()
    assert here.gce.instance()["status"] == "RUNNING" and (PROJECT, ZONE, "web-disk") in here.gce.disks


def test_an_answer_that_is_lost_makes_nothing_twice(here):
    for method in ("instances.insert", "firewalls.insert", "zoneOperations.wait", "instances.stop", "instances.delete"):
        here.gce.lose(method, 2)
    machine = here.create()
    machine.driver.stop()
    machine.driver.remove()
    assert len(here.gce.orders) == 1 and here.gce.is_empty()


def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_instances(here):
    here.gce.shake(0.3, seed=11)
    for number in range(20):
        name = "web%d" % number
        here.create(name, open_port=["80"]).driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.gce.shake(0)
    assert len(here.gce.orders) == 20 and here.gce.is_empty()
    assert len(here.gce.calls) > 20 * MOST_CALLS * 1.2


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_each_request_leaves_what_can_be_finished_and_removed(here, monkeypatch, after):
    """The process ends at the nth request, before or after Google carries it out."""
    class Killed(BaseException):
        pass

    ask, left = core.Rest.call, [0]

    def call(self, *words, **more):
        left[0] -= 1
        if left[0] == 0 and not after:
            raise Killed
        answer = ask(self, *words, **more)
        if left[0] == 0:
            raise Killed
        return answer

    for number in range(4, MOST_CALLS + 1):  # the first three are looks, all at once
        for finish in (True, False):
            left[0], name = number, "web%d-%d" % (number, finish)
            with monkeypatch.context() as patch:
                patch.setattr(core.Rest, "call", call)
                machine = here.machine(name)
                try:
                    machine.driver.pre_create_check()
                    here.store.add(machine)
                    machine.driver.create()
                except Killed:
                    pass
            if name not in here.store.names():
                continue
            again = here.load(name).driver
            if finish:
                again.create()
                assert here.gce.instance(name)["status"] == "RUNNING"
            again.remove()
            assert here.gce.is_empty(), (number, finish)


ENDS = [
    ("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded. Limit: 24.0 in region us-central1.", "A quota of the project demo-1 is",
     "console.cloud.google.com/iam-admin/quotas"),
    ("ZONE_RESOURCE_POOL_EXHAUSTED", "The zone does not have enough resources available", "has no e2-small just now",
     "--google-zone"),
    ("CONDITION_NOT_MET", "Constraint constraints/compute.vmExternalIpAccess violated for project 1.",
     "The organization forbids public addresses", "--google-use-internal-ip-only"),
]


@pytest.mark.parametrize("code, told, words, hint", ENDS)
def test_an_operation_that_ends_badly_leaves_nothing(here, call, soon, code, told, words, hint):
    here.gce.end_badly("instances.insert", code, told)
    ended = call(*(soon + ["web"]))
    assert ended.code in (1, 3) and words in ended.err and told[:40] in ended.err and hint in ended.err, ended
    assert here.gce.is_empty() and here.store.names() == []


TROUBLES = {
    "API off": ((403, "accessNotConfigured", "Compute Engine API has not been used in project 1 before."),
                "The Compute Engine API is off", "gcloud services enable compute.googleapis.com --project demo-1"),
    "permission": ((403, "forbidden", "Required 'compute.machineTypes.get' permission for 'projects/demo-1'"),
                   "may not", "the permission compute.machineTypes.get"),
    "scope": ((403, "insufficientPermissions", "Request had insufficient authentication scopes."),
              "lacks the scope https://www.googleapis.com/auth/compute", "--scopes cloud-platform"),
    "account": ((400, "SERVICE_ACCOUNT_ACCESS_DENIED", "The user does not have access to service account 'x'."),
                'may not use the service account "default"', "roles/iam.serviceAccountUser"),
    "OS Login": ((412, "conditionNotMet", "Constraint constraints/compute.requireOsLogin violated"),
                 "requires OS Login", "exception"),
    "policy": ((412, "conditionNotMet", "Constraint constraints/compute.trustedImageProjects violated"),
               "A policy of the organization forbids this", "policies of the project"),
    "zone": ((400, "invalid", "Invalid value for field 'zone': 'us-central1-a'. Unknown zone."),
             "Google has no zone us-central1-a", "gcloud compute zones list"),
    "billing": ((403, "forbidden", "This API method requires billing to be enabled."), "has no billing", "Link"),
    "no room": ((503, "insufficientCapacity", "There is no capacity"), "has no e2-small just now", "--google-zone"),
    "quota": ((403, "quotaExceeded", "Quota exceeded"), "A quota of the project", "ask for more"),
}  # type: dict
AT_INSERT = ("account", "OS Login", "policy", "no room", "quota")


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_each_trouble_has_its_sentence_and_the_next_command(here, call, soon, trouble):
    (status, reason, told), words, hint = TROUBLES[trouble]
    method = "instances.insert" if trouble in AT_INSERT else "machineTypes.get"
    here.gce.fail(method, reason, 100, status, told)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and words in ended.err and hint in ended.err, ended
    assert here.gce.names().count(method) == 1, "it is of no use to ask again"
    assert here.store.names() == [] and here.gce.is_empty()


@pytest.mark.parametrize("status, reason", [
    (503, "backendError"), (403, "rateLimitExceeded"), (429, "rateLimitExceeded"), (400, "resourceNotReady")])
def test_what_passes_is_waited_for(here, status, reason):
    here.gce.fail("instances.insert", reason, 3, status)
    here.create()
    assert len(here.gce.orders) == 1


def test_a_failed_rule_takes_the_instance_along(here, call, soon):
    here.gce.fail("firewalls.insert", "quotaExceeded", 9, 403, "Quota 'FIREWALLS' exceeded")
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "A quota of the project" in ended.err and here.gce.is_empty()


def test_an_operation_that_takes_long_is_waited_for_with_pauses(here, pauses):
    here.gce.slow = 12
    here.create()
    assert here.gce.names().count("zoneOperations.wait") < 14 and sum(pauses) > 15


# --- logins

def test_a_login_that_is_gone_is_told(here, call, soon, gce):
    gce.login = Refusal(400, "x", "x")
    gce.login.body = {"error": "invalid_grant", "error_description": "Account has been deleted"}
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "has expired or was revoked" in ended.err and "application-default login" in ended.err
    gce.login.body["error_description"] = "Invalid JWT: Check your iat and exp values"
    assert "Set the clock" in call(*(soon + ["web"])).err and here.gce.calls == []


def test_no_login_is_told_with_the_places_where_it_was_looked_for(here, call, soon):
    ended = call(*(soon + ["web"]), GOOGLE_APPLICATION_CREDENTIALS=None)
    assert ended.code == 3 and "No Google credentials were found" in ended.err, ended
    assert "gcloud auth application-default login" in ended.err and here.gce.calls == []


def test_a_login_server_that_is_not_there_is_told(here, call, soon, key, closed_port):
    about = dict(json.loads(key.read_text()), token_uri="http://127.0.0.1:%d/token" % closed_port)
    ended = call(*(soon + ["web"]), GOOGLE_APPLICATION_CREDENTIALS=here.file(json.dumps(about)))
    assert ended.code == 3 and "login server cannot be reached" in ended.err, ended


def test_the_metadata_server_gives_login_and_project(here, dm):
    where = "127.0.0.1:%d" % here.gce.port
    env = {"GOOGLE_APPLICATION_CREDENTIALS": None, "NO_GCE_CHECK": None, "GCE_METADATA_HOST": where,
           "GCE_METADATA_IP": where}
    ended = dm("create", "-d", "google", "--google-zone=us-central1-x", "web", **env)
    assert ended.code == 3 and "(web) The project is demo-1." in ended.out, ended
    assert "has no zone" in ended.err and here.gce.tokens == 1


@pytest.mark.parametrize("name", ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GOOGLE_PROJECT"])
def test_the_project_is_that_of_the_usual_variables(here, monkeypatch, name):
    monkeypatch.setenv(name, "another-1")
    assert here.machine().driver["Project"] == "another-1"
    assert here.machine(project="example.com:third").driver["Project"] == "example.com:third"


def test_a_token_that_is_refused_is_renewed_once(here):
    driver = here.create().driver
    here.gce.fail("instances.get", "authError", 1, 401, "Invalid Credentials")
    before = here.gce.tokens
    assert driver.get_state() == core.RUNNING and here.gce.tokens == before + 1


def test_a_key_that_was_typed_is_stored_and_one_of_the_variable_is_not(here, call, soon, key):
    text = base64.b64encode(key.read_bytes()).decode()
    bare = {"GOOGLE_APPLICATION_CREDENTIALS": None}
    ended = call(*(soon + ["web"]), GOOGLE_AUTH_ENCODED_JSON=text, **bare)
    assert "Created instance" in ended.out and here.stored()["Auth"] == ""
    ended = call("--debug", *(soon + ["--google-auth-encoded-json=" + text, "two"]), **bare)
    assert "Created instance" in ended.out and here.stored("two")["Auth"] == text
    secrets = (text, TOKEN, "BEGIN PRIVATE KEY")
    assert not [secret for secret in secrets if secret in ended.out + ended.err]
    holders = [path for path in here.store_files() if text.encode() in path.read_bytes()]
    assert {path.name for path in holders} == {"config.json"} and stat.S_IMODE(holders[0].stat().st_mode) == 0o600
    assert call("status", "two", **bare).out == "Running\n"
    assert call("rm", "-y", "two", **bare).code == 0


# --- an instance of the user's

def test_an_instance_of_the_users_keeps_all_that_it_has_and_comes_back_as_it_was(here, call):
    meta = [{"key": "startup-script", "value": "x"}, {"key": "ssh-keys", "value": "me:ssh-rsa AAAA me"}]
    here.foreign("web", tags={"items": ["http"], "fingerprint": "dDE="},
                 metadata={"fingerprint": "bTE=", "items": meta}, labels={"team": "web"})
    here.gce.fail("instances.setMetadata", "conditionNotMet", 1, 412)
    machine = here.create(use_existing="true", use_internal_ip="true")
    row = here.gce.instance()
    items = {item["key"]: item["value"] for item in row["metadata"]["items"]}
    assert items["startup-script"] == "x" and items["ssh-keys"].startswith("me:ssh-rsa AAAA me\ndocker-user:ssh-")
    assert row["tags"]["items"] == ["http", "docker-machine"] and here.gce.rule()["allowed"] == BASIC
    assert machine.driver["IPAddress"] == "10.0.0.9" and here.gce.orders == []
    ended = call("rm", "-y", "web")
    row = here.gce.instance()
    assert (ended.code, ended.err) == (0, "") and row["status"] == "RUNNING" and row["labels"] == {"team": "web"}
    assert sorted(row["metadata"]["items"], key=str) == sorted(meta, key=str) and row["tags"]["items"] == ["http"]
    assert not here.gce.rules and here.gce.disks


def test_an_instance_of_the_users_that_is_gone_counts_as_removed(here, call):
    here.foreign("web")
    here.create(use_existing="true")
    here.gce.instances.clear()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and not here.gce.rules and here.store.names() == []


# --- entries of Docker Machine and of its forks

@pytest.mark.parametrize("fork", sorted(FORKS))
def test_entries_of_docker_machine_and_its_forks_work_and_keep_their_fields(here, call, soon, fork):
    here.old(**FORKS[fork])
    before = here.stored("old")
    assert call("status", "old").out == "Running\n"
    assert "Running" in call("ls", "-t", "60").out
    call("stop", "old")
    assert call("status", "old").out == "Stopped\n"
    call("start", "old")
    stored = here.stored("old")
    assert stored["IPAddress"] == here.gce.instance("old")["networkInterfaces"][0]["accessConfigs"][0]["natIP"]
    del before["IPAddress"]
    assert {name: stored[name] for name in before} == before
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.gce.is_empty()


def test_a_machine_of_gitlabs_regional_insert_is_found_in_its_zone(here, call):
    fields = dict(FORKS["GitLab"], BulkInsert=True, Region="us-central1", ResolvedZone="")
    machine = here.old(zone="us-central1-b", **fields)
    machine.config["Driver"]["Zone"] = ""
    machine.save()
    assert call("status", "old").out == "Running\n"
    assert call("rm", "-y", "old").code == 0 and here.gce.is_empty()


BULK = {"bulk_insert": "true", "region": "us-central1"}


def test_a_regional_insert_lets_google_choose_the_zone(here):
    selection = "machine-type=e2-medium,disk-type=pd-ssd,disk-iops=9"
    machine = here.create(accelerator="count=1,type=nvidia-tesla-t4", location_zone=["us-central1-a:DENY"],
                          flex_selection=selection, **BULK)
    ((_, body),) = here.gce.orders
    assert body["locationPolicy"] == {
        "targetShape": "ANY", "locations": {"zones/us-central1-a": {"preference": "DENY"}}}
    properties, disk = body["instanceProperties"], body["instanceProperties"]["disks"][0]["initializeParams"]
    assert (properties["machineType"], disk["diskType"], disk["provisionedIops"]) == ("e2-medium", "pd-ssd", "9")
    assert properties["guestAccelerators"][0]["acceleratorType"] == "nvidia-tesla-t4"
    stored = here.stored()
    assert (stored["ResolvedZone"], stored["ResolvedMachineType"]) == ("us-central1-b", "e2-medium")
    assert machine.driver["IPAddress"] and here.gce.instance(zone="us-central1-b")["status"] == "RUNNING"
    here.load().driver.stop()
    here.load().driver.start()
    here.load().driver.remove()
    assert here.gce.is_empty()


def test_where_there_is_no_room_the_next_selection_is_tried(here, capsys):
    here.gce.end_badly("regionInstances.bulkInsert", "ZONE_RESOURCE_POOL_EXHAUSTED", "no room", 1)
    kinds = ["e2-small", "e2-medium", "c4-standard-2"]
    here.create(flex_selection=["machine-type=" + kind for kind in kinds], **BULK)
    assert "There is no room for e2-small in us-central1; trying e2-medium..." in capsys.readouterr().out
    assert here.stored()["ResolvedMachineType"] == "e2-medium"
    here.load().driver.remove()
    assert here.gce.is_empty()


@pytest.mark.parametrize("code, words", [("VM_MIN_COUNT_NOT_REACHED", "has no e2-small just now"),
                                         ("QUOTA_EXCEEDED", "A quota of the project")])
def test_a_regional_insert_that_fails_leaves_nothing(here, call, soon, code, words):
    here.gce.end_badly("regionInstances.bulkInsert", code, "told", 9)
    flags = ["--google-flex-selection=machine-type=e2-medium", "--google-flex-selection=machine-type=e2-small"]
    ended = call(*(soon + ["--google-bulk-insert", "--google-region=us-central1"] + flags + ["web"]))
    assert ended.code == 3 and words in ended.err
    assert here.store.names() == [] and here.gce.is_empty()
    assert len([name for name, _ in here.gce.calls if name == "regionInstances.bulkInsert"]) == (
        2 if code.startswith("VM") else 1)


@pytest.mark.parametrize("finish", [True, False])
def test_a_regional_insert_that_was_killed_is_found_again(here, monkeypatch, finish):
    machine = here.add(**BULK)
    here.gce.slow = 3
    with monkeypatch.context() as patch:
        patch.setattr(here.driver_class, "settle", lambda self, place, operation: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            machine.driver.create()
    again = here.load().driver
    if finish:
        again.create()
        assert again["ResolvedZone"] == "us-central1-b"
    again.remove()
    assert len(here.gce.orders) == 1 and here.gce.is_empty()


def test_a_lost_answer_makes_no_second_regional_insert(here):
    for method in ("regionInstances.bulkInsert", "regionOperations.wait", "instances.aggregatedList"):
        here.gce.lose(method, 2)
    here.create(**BULK).driver.remove()
    assert len(here.gce.orders) == 1 and here.gce.is_empty()


@pytest.mark.parametrize("flags, words", [
    ("--google-bulk-insert", "needs a --google-region"),
    ("--google-region us-central1", "belong to --google-bulk-insert"),
    ("--google-flex-selection machine-type=x", "belong to"), ("--google-location-zone us-central1-a", "belong to"),
    ("--google-bulk-insert --google-region us-central1 --google-zone us-east1-b", "-zone does not go with"),
    ("--google-bulk-insert --google-region us-central1 --google-address x", "-address does not go with"),
    ("--google-bulk-insert --google-region us-west1 --google-use-existing", "-use-existing does not go with"),
    ("--google-bulk-insert --google-region us", "cannot be used"),
    ("--google-flex-selection e2-small", "cannot be used"),
])
def test_flags_of_a_regional_insert_that_do_not_fit(here, call, soon, flags, words):
    ended = call(*(soon + flags.split() + ["web"]))
    assert ended.code == 2 and words in ended.err and here.gce.calls == []


# --- an instance that is gone, and its disk is not

def test_from_its_disk_an_instance_is_made_anew(here, call, soon):
    here.create(open_port=["80"], label=["team:web"])
    row, disk = here.gce.instances.pop((PROJECT, ZONE, "web")), here.gce.disks[PROJECT, ZONE, "web-disk"]
    assert row and disk.pop("users")
    assert call("status", "web").out == "Stopped\n"
    here.load().driver.start()
    body = here.gce.calls[-1][1] or next(body for name, body in reversed(here.gce.calls) if name == "instances.insert")
    assert body["disks"] == [{"boot": True, "autoDelete": True,
                              "source": "projects/demo-1/zones/%s/disks/web-disk" % ZONE}]
    metadata = {item["key"] for item in body["metadata"]["items"]}
    assert "ssh-keys" in metadata and "user-data" not in metadata and body["labels"]["team"] == "web"
    assert here.gce.instance()["status"] == "RUNNING" and call("status", "web").out == "Running\n"
    assert call("rm", "-y", "web").code == 0 and here.gce.is_empty()


def test_a_disk_alone_is_removed_and_somebody_elses_is_not(here, call):
    here.create()
    del here.gce.instances[PROJECT, ZONE, "web"]
    here.gce.disks[PROJECT, ZONE, "web-disk"]["users"] = []
    here.gce.disks[PROJECT, ZONE, "web2-disk"] = {"name": "web2-disk", "labels": {"docker-machine": "other"}}
    assert call("rm", "-y", "web").code == 0
    assert list(here.gce.disks) == [(PROJECT, ZONE, "web2-disk")]
    here.gce.disks.clear()


def test_a_regional_entry_that_cannot_be_looked_for_hides_no_other(here, call):
    fields = dict(FORKS["GitLab"], BulkInsert=True, Region="us-central1", ResolvedZone="")
    here.old("lost", zone="us-central1-b", **fields)
    here.old("web")
    here.gce.fail("instances.aggregatedList", "forbidden", 99, 403)
    ended = call("ls", "-t", "60", "--format", "{{.Name}} {{.State}}")
    assert (ended.code, ended.out.splitlines()) == (0, ["lost Error", "web Running"])


def test_ls_asks_once_for_all_machines_of_a_zone(here, call, closed_port, monkeypatch):
    """30 machines in two zones: two calls; one that is gone has no say in those of the others, and one question more:
    whether its disk is left."""
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for zone in (ZONE, "europe-west1-b"):
        for number in range(15):
            here.old("%s-%d" % (zone, number), zone)
        del here.gce.instances[PROJECT, zone, zone + "-7"], here.gce.disks[PROJECT, zone, zone + "-7-disk"]
    listed = call("ls", "-t", "60").out
    assert sorted(here.gce.names()) == ["disks.get"] * 2 + ["instances.list"] * 2, listed
    assert listed.count("Running") == 28 and listed.count("Google has no instance") == 2


def test_ls_of_engines_that_answer_loads_no_google_auth_and_asks_nothing(here, dm, engine_port):
    assert listed_by_engines(here, dm, engine_port, "InstanceName", "google.auth").count("Running") == 3
    assert here.gce.calls == []


def test_a_boot_that_ends_is_found_out_and_is_asked_about_only_now_and_then(here, capsys):
    driver = here.create().driver
    del here.gce.calls[:]
    for _ in range(20):
        driver.check_boot()
    assert here.gce.names() == []
    for _ in range(5):
        time.sleep(31)
        driver.check_boot()
    assert capsys.readouterr().err.count("SSH does not answer yet") == 1
    here.gce.instance()["status"] = "TERMINATED"
    time.sleep(31)
    with pytest.raises(core.MachineError, match="is off again"):
        driver.check_boot()
    assert here.gce.names() == ["instances.get"] * 6


# --- the page on the driver

def test_the_permissions_on_the_drivers_page_are_those_that_the_calls_take(here, gce, call, soon, monkeypatch):
    """A call that takes another one is refused by the server in all these tests; here, each of them is needed."""
    used, check = set(), gce.check_rights
    monkeypatch.setattr(gce, "check_rights", lambda *words: used.update(check(*words)))
    gce.reserve("fixed", "203.0.113.7")
    gce.reserve("inner", "10.1.2.3", kind="INTERNAL")
    call(*(soon + ["--google-address=fixed", "--google-accelerator=count=1,type=nvidia-tesla-t4",
                   "--google-machine-image=golden-7", "--google-disk-size=40", "web"]))
    for verb in ("stop", "start", "restart"):
        call(verb, "web")
    gce.instance()["status"] = "SUSPENDED"
    call("start", "web")
    here.create("two", address="inner", subnetwork="web-1")
    gce.rule("docker-machines-web")["allowed"] = []
    here.create("three", subnetwork="web-1")
    call("ls", "-t", "60")
    for flag in ("machine-type=e", "machine-image=e", "subnetwork=e", "accelerator=count=1,type=e"):
        call(*(soon + ["--google-" + flag, "four"]))
    here.create("six", **dict(BULK, machine_image="debian-cloud/debian-13")).driver.remove()
    call(*(soon + ["--google-bulk-insert", "--google-region=us-central9", "seven"]))
    machine = here.add("seven", **BULK)
    machine.driver["CreateTag"], machine.driver["RequestId"] = "docker-machine-0123456789abcdef", "x"
    machine.driver.remove()
    here.create("eight")
    del gce.instances[PROJECT, ZONE, "eight"]
    gce.disks[PROJECT, ZONE, "eight-disk"]["users"] = []
    here.load("eight").driver.start()
    here.load("eight").driver.remove()
    machine = here.add("five")
    machine.driver["CreateTag"], machine.driver["RequestId"] = "docker-machine-0123456789abcdef", "x"
    gce.disks[PROJECT, ZONE, "five-disk"] = {
        "name": "five-disk", "labels": {"docker-machine": "docker-machine-0123456789abcdef"}}
    machine.driver.remove()
    call("rm", "-y", "web", "two", "three")
    assert gce.is_empty() and used == permissions()
