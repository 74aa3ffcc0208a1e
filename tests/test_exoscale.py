"""The driver "exoscale" against a server that holds all requests to Exoscale's own description and every signature to
Exoscale's own client (see exocloud.py).

Whether a machine boots is not seen here: tests/integration/test_exoscale.py has that.
"""

import base64
import json
import shutil
import stat
import sys
import threading
from pathlib import Path

import pytest
from conftest import HANG
from exocloud import KEY, NEWEST, PAGE, SECRET, TYPES, Exoscale, identity, permissions
from machines import Kill, ProviderMachines, ours, parts_of, take_environment

import docker_machine as core

pytestmark = pytest.mark.once  # the package with the description needs a Python of today

MOST_CALLS = 8
IGNITION = json.dumps({"ignition": {"version": "3.3.0"}})
MADE = "made by docker-machine, and removed with its last machine"
ANYWHERE = "0.0.0.0/0"
RULES = [("SSH", "tcp", 22, 22, ANYWHERE), ("Ping", "icmp", None, None, ANYWHERE),
         ("Docker", "tcp", 2376, 2377, ANYWHERE),
         ("Legacy Standalone Swarm", "tcp", 3376, 3377, ANYWHERE),
         ("Communication among nodes", "tcp", 7946, 7946, None), ("Communication among nodes", "udp", 7946, 7946, None),
         ("Overlay network traffic", "udp", 4789, 4789, None)]
OPEN = [{"id": identity(1), "flow-direction": "ingress", "protocol": "tcp", "network": ANYWHERE, "start-port": 1,
         "end-port": 65535}]


@pytest.fixture(scope="module")
def organization():
    for module in ("exoscale", "exoscale_auth"):
        pytest.importorskip(module)
    server = Exoscale(permissions())
    yield server
    server.close()


@pytest.fixture
def exo(organization):
    """An organization in which nothing was done; each request must have been as Exoscale describes it."""
    organization.clear()
    yield organization
    assert organization.wrong == []


class Here(ProviderMachines):
    """The organization, and a store as this very process finds it."""

    def __init__(self, exo, store, folder):
        super().__init__(store, core.load_driver("exoscale"), folder, api_key=KEY, api_secret_key=SECRET)
        self.exo = exo

    def order(self):
        """The body of the only request that made an instance."""
        (body,) = self.exo.orders
        return body

    def user_data(self):
        return base64.b64decode(self.order()["user-data"]).decode()

    def old(self, **fields):
        """An entry as Docker Machine wrote it, with its instance; `fields` of Rancher's fork."""
        row = self.exo.add_instance("old")
        machine = self.store.new("old", self.driver_class)
        machine.config["Driver"] = dict(OLD, MachineName="old", StorePath=self.store.path, Id=row["id"], **fields)
        self.store.add(machine)
        machine.mark("")
        return row


# config.json of Docker Machine 0.16.2: drivers/exoscale, in the order of its struct.
OLD = {"IPAddress": "127.10.9.9", "SSHUser": "ubuntu", "SSHPort": 22, "SSHKeyPath": "", "SwarmMaster": False,
       "SwarmHost": "", "SwarmDiscovery": "", "URL": "https://api.exoscale.ch/compute", "ApiKey": KEY,
       "ApiSecretKey": SECRET, "InstanceProfile": "Small", "DiskSize": 50, "Image": "Linux Ubuntu 16.04 LTS 64-bit",
       "SecurityGroups": ["docker-machine"], "AffinityGroups": None, "AvailabilityZone": "CH-DK-2", "SSHKey": "",
       "KeyPair": "", "Password": "hunter2", "PublicKey": "", "UserDataFile": "", "UserData": "I2Nsb3VkLWNvbmZpZw=="}
FORKS = {
    "Docker Machine": {},
    "Docker Machine, killed": {"KeyPair": "docker-machine-old"},
    "rancher/machine": {"URL": "https://api-ch-gva-2.exoscale.com/v2", "Image": "Linux Ubuntu 24.04 LTS 64-bit",
                        "SecurityGroups": ["rancher-machine"], "AffinityGroups": [], "KeyPair": "rancher-machine-old",
                        "Password": ""},
}  # type: dict


@pytest.fixture
def here(exo, dm, store, tmp_path, pauses, monkeypatch):
    env = {"EXOSCALE_API_URL": exo.url, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    take_environment(monkeypatch, env, "EXOSCALE_")
    dm.env.update(env, EXOSCALE_API_KEY=KEY, EXOSCALE_API_SECRET=SECRET)
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(core.os, "fsync", lambda file: None)
    yield Here(exo, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "exoscale"]


@pytest.fixture
def group(here):
    """The group docker-machine is there, made by somebody, with all ports open."""
    return here.exo.add_group("docker-machine", rules=OPEN)


# --- a creation

def test_nothing_but_a_key_is_needed(here, group):
    driver = here.create().driver
    row, order = here.exo.instance(), here.order()
    tag = driver["CreateTag"]
    assert dict(order, **{"user-data": ""}) == {
        "name": "web", "disk-size": 50, "instance-type": {"id": TYPES[2]["id"]}, "template": {"id": NEWEST},
        "security-groups": [{"id": group["id"]}], "labels": {"docker-machine": tag}, "user-data": "",
        "public-ip-assignment": "inet4"}
    assert (driver["Id"], driver["IPAddress"], driver["SSHUser"]) == (row["id"], row["public-ip"], "ubuntu")
    assert driver["AvailabilityZone"] == "ch-dk-2" and driver.get_state() == core.RUNNING


def test_the_user_data_brings_both_keys_and_joins_the_users(here):
    here.create(userdata=here.file("#!/bin/sh\necho hello\n"))
    script, _ = parts_of(here.user_data())
    config = ours(here.user_data())
    assert script == "#!/bin/sh\necho hello\n" and config["users"][0]["name"] == "ubuntu"
    assert config["users"][0]["ssh_authorized_keys"][0].split()[:2] == Path(
        here.store.folder("web"), "id_rsa.pub").read_text().split()[:2]
    assert Path(here.store.folder("web"), "known_hosts").exists() and "register-ssh-key" not in here.exo.names()


def test_a_creation_takes_few_calls(here):
    here.create()
    first = len(here.exo.names())
    del here.exo.calls[:]
    here.create("second")
    names = here.exo.names()
    assert len(names) <= MOST_CALLS, names
    told = "A creation is %d requests, or %d if the security group has to be made" % (len(names), first)
    assert told in PAGE.read_text(encoding="utf-8").replace("\n", " "), (names, first)


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err
    assert "(web) Creating the instance...\n" in ended.out
    assert "Created instance ID %s" % here.exo.instance()["id"] in ended.out
    assert call("status", "web").out == "Running\n"
    for verb, state in (("stop", "stopped"), ("start", "running"), ("kill", "stopped")):
        call(verb, "web")
        assert here.exo.instance()["state"] == state
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "60").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.exo.is_empty() and here.store.names() == []


def test_what_is_sent_to_start_stop_and_reboot(here):
    driver = here.create().driver
    del here.exo.calls[:]
    for verb in (driver.restart, driver.stop, driver.start):
        verb()
    assert [(name, body) for name, body in here.exo.calls if name in here.exo.changes()] == [
        ("reboot-instance", None), ("stop-instance", None), ("start-instance", {})]


def test_an_address_that_changed_while_it_was_off_is_the_address_of_now(here):
    driver = here.create().driver
    driver.stop()
    here.exo.instance()["public-ip"] = "127.10.200.1"
    driver.start()
    assert driver["IPAddress"] == "127.10.200.1"


@pytest.mark.parametrize("name", ["my_web.example.com", "web-"])
def test_a_name_that_exoscale_does_not_take_is_one_of_dashes(here, name):
    here.create(name)
    assert here.order()["name"] == name.replace("_", "-").replace(".", "-").strip("-")


# --- types, templates, zones

@pytest.mark.parametrize("text, number", [("Small", 2), ("small", 2), ("standard.medium", 3), ("cpu.large", 6),
                                          (TYPES[3]["id"], 3)])
def test_types_go_by_size_or_family_and_size(here, group, text, number):
    here.create(instance_profile=text)
    assert here.order()["instance-type"] == {"id": TYPES[number]["id"]}


@pytest.mark.parametrize("text, number", [
    ("linux ubuntu 24.04 lts 64-bit", 201), ("ubuntu-24.04", 201), ("ubuntu-22.04", 202), ("debian-12", 203),
    (identity(200), 200)])
def test_templates_go_by_name_id_or_in_short_and_the_newest_is_taken(here, group, text, number):
    here.create(image=text)
    assert here.order()["template"] == {"id": identity(number)}


def test_a_template_of_the_organization_is_found_too(here, group):
    driver = here.create(image="golden 7", disk_size=100, ssh_user="ops").driver
    assert here.order()["template"] == {"id": identity(206)} and driver["SSHUser"] == "ops"


@pytest.mark.parametrize("template, user", [("Linux CentOS 7", "centos"), ("Fedora CoreOS 40", "fedora"),
                                            ("Linux RedHat 9", "cloud-user"), ("Linux CoreOS", "core"),
                                            ("Golden 7", "root")])
def test_who_logs_in_is_guessed_where_a_template_does_not_tell(here, template, user):
    assert sys.modules[here.driver_class.__module__].guess_user(template) == user


REFUSALS = [
    ({"availability_zone": "CH-DK-9"}, 'no availability zone "ch-dk-9"', "Near it: ch-dk-2"),
    ({"instance_profile": "smal"}, 'no instance type "smal"', "Near it: small"),
    ({"instance_profile": "gpu3.small"}, 'no instance type "gpu3.small" in the region "ch-dk-2"', "It is in: de-fra-1"),
    ({"instance_profile": "Huge"}, 'may not use the type "huge"', "support"),
    ({"security_group": identity(7)}, "no security group " + identity(7), "exo compute security-group list"),
    ({"affinity_group": identity(7)}, "no anti affinity group " + identity(7), "anti-affinity-group list"),
    ({"image": "ubuntu-16.04"}, 'no template "ubuntu-16.04"', "Near it: "),
    ({"image": "golden 7"}, 'The template "Golden 7" needs a disk of 80 GB', "--exoscale-disk-size 80"),
    ({"image": "windows server 2022", "disk_size": 60}, "takes no SSH keys", "--exoscale-image"),
]  # type: list


@pytest.mark.parametrize("flags, words, hint", REFUSALS, ids=lambda value: str(value)[:40])
def test_what_is_unknown_or_does_not_fit_is_refused_with_the_nearest_names(here, call, soon, flags, words, hint):
    flags = ["--exoscale-%s=%s" % (name.replace("_", "-"), value) for name, value in flags.items()]
    ended = call(*(soon + flags + ["web"]))
    assert ended.code == 3 and words in ended.err.replace('\\"', '"') and hint in ended.err, ended
    assert here.exo.changes() == [] and here.store.names() == []


def test_a_limit_that_is_reached_is_told_before_anything_is_made(here, call, soon):
    here.exo.quota = 0
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "limit of 0 instances is reached" in ended.err and here.exo.changes() == []


def test_user_data_that_is_too_large_is_refused_before_the_order(here, call, soon):
    ended = call(*(soon + ["--exoscale-userdata=%s" % here.file("#!/bin/sh\n" + "#" * 24000), "web"]))
    assert ended.code == 3 and "Exoscale takes 24 KiB of user data" in ended.err and here.exo.changes() == []


def test_the_largest_user_data_is_taken(here):
    here.create(userdata=here.file("#!/bin/sh\n" + "#" * 19800))
    assert 27000 < len(here.order()["user-data"]) <= 32768


# --- groups

def rules_of(group):
    return [tuple(rule.get(key) for key in ("description", "protocol", "start-port", "end-port", "network"))
            for rule in group["rules"]]


def test_a_group_that_is_not_there_is_made_with_docker_machines_rules(here):
    driver = here.create().driver
    group = here.exo.group()
    assert (rules_of(group), group["description"]) == (RULES, MADE)
    assert {rule["security-group"]["id"] for rule in group["rules"] if "security-group" in rule} == {group["id"]}
    driver.remove()
    assert here.exo.is_empty()


def test_a_group_goes_with_its_last_machine(here):
    first, second = here.create("a").driver, here.create("b").driver
    first.remove()
    assert here.exo.group()
    second.remove()
    assert here.exo.is_empty()


def test_a_group_that_is_there_is_not_changed_and_stays(here, capsys):
    here.exo.add_group("docker-machine", rules=[dict(OPEN[0], **{"start-port": 22, "end-port": 22})])
    driver = here.create().driver
    assert len(here.exo.group()["rules"]) == 1
    assert "The security groups (docker-machine) let in nothing to port 2376." in capsys.readouterr().err
    driver.remove()
    assert here.exo.group() and not here.exo.instances


def test_without_a_group_the_organizations_own_one_is_taken(here, capsys):
    here.create(security_group="")
    assert "security-groups" not in here.order()
    assert "(default) let in nothing to port 22 and 2376." in capsys.readouterr().err


def test_several_groups_are_made_once_and_used_again(here):
    flags = {"security_group": ["a", "b"], "affinity_group": ["c", "d"]}
    drivers = [here.create(name, **flags).driver for name in ("one", "two")]
    assert here.exo.orders[0]["security-groups"] == here.exo.orders[1]["security-groups"]
    assert here.exo.orders[0]["anti-affinity-groups"] == [{"id": number} for number in here.exo.affinity]
    assert len(here.exo.affinity) == 2
    for driver in drivers:
        driver.remove()
    assert here.exo.is_empty()


def test_a_group_may_be_named_by_its_id(here):
    group = here.exo.add_group("mine", rules=OPEN)
    here.create(security_group=group["id"])
    assert here.order()["security-groups"] == [{"id": group["id"]}]


def test_two_creations_at_once_make_one_group(here):
    machines = [here.add("web%d" % number, affinity_group=["apart"]) for number in range(2)]  # neither has seen one
    threads = [threading.Thread(target=machine.driver.create) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert rules_of(here.exo.group()) == RULES and len(here.exo.instances) == 2
    for machine in machines:
        machine.driver.remove()
    assert here.exo.is_empty()


def test_a_group_that_went_with_somebodys_last_machine_is_made_again(here):
    first = here.create("a").driver
    machine = here.add("b")
    first.remove()
    machine.driver.create()
    assert rules_of(here.exo.group()) == RULES


def test_ipv6_is_let_in_as_well(here):
    here.create(ipv6="true")
    assert here.order()["public-ip-assignment"] == "dual"
    assert [rule[:4] for rule in rules_of(here.exo.group()) if rule[4] == "::/0"] == [
        rule[:4] for rule in RULES if rule[1] == "tcp" and rule[4]]


# --- keys

def test_ignition_needs_a_key_of_the_account_for_the_time_of_the_creation(here):
    driver = here.create(image="linux flatcar 64-bit", userdata=here.file(IGNITION)).driver
    assert here.user_data() == IGNITION and here.order()["ssh-keys"] == [{"name": driver["CreateTag"]}]
    assert here.exo.keys == {} and driver["KeyPair"] == ""


def test_a_key_of_the_users_is_taken(here):
    path = here.key()
    here.create(ssh_key=path)
    assert ours(here.user_data())["users"][0]["ssh_authorized_keys"][0].split()[:2] == Path(
        str(path) + ".pub").read_text().split()[:2]


# --- killed, lost, failed

def test_an_answer_that_is_lost_makes_nothing_twice(here, pauses):
    for name in ("create-instance", "create-security-group", "add-rule-to-security-group", "create-anti-affinity-group",
                 "stop-instance", "start-instance", "delete-instance", "delete-security-group", "register-ssh-key",
                 "delete-ssh-key"):
        here.exo.lose(name, 2)
    machine = here.create(affinity_group=["apart"], image="linux flatcar 64-bit", userdata=here.file(IGNITION))
    assert rules_of(here.exo.group()) == RULES
    machine.driver.stop()
    before = sum(pauses)
    machine.driver.start()
    assert sum(pauses) - before < 60
    machine.driver.remove()
    assert len(here.exo.orders) == 1 and here.exo.is_empty()


def test_a_start_waits_until_a_stop_is_over(here):
    driver = here.create().driver
    here.exo.slow = 5
    driver.act("stop")
    driver.start()
    assert here.exo.instance()["state"] == "running" and here.exo.names().count("start-instance") > 1


def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_instances(here):
    here.exo.shake(0.3, seed=11)
    for number in range(20):
        name = "web%d" % number
        here.create(name, affinity_group=["apart"]).driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.exo.shake(0)
    assert len(here.exo.orders) == 20 and here.exo.is_empty()
    assert len(here.exo.calls) > 20 * MOST_CALLS * 1.2


def places(here, **flags):
    """The numbers of a creation's requests after its check; of the rules of a group only the first and the last."""
    machine = here.add("counted", **flags)
    before = len(here.exo.calls)
    machine.driver.create()
    names = here.exo.names()[before:]
    machine.driver.remove()
    rules = [number for number, name in enumerate(names) if name == "add-rule-to-security-group"]
    return [number for number in range(len(names)) if not rules[0] + 1 < number < rules[-1]]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["create", "remove"])
def test_a_creation_that_was_killed_at_any_request_is_resumed_or_removed(here, monkeypatch, when, then):
    """With Ignition, for which a key is uploaded too."""
    flags = {"userdata": here.file(IGNITION), "affinity_group": ["apart"], "image": "linux flatcar 64-bit"}
    numbers = places(here, **flags)
    assert len(numbers) > 12
    for number in numbers:
        left = [number]

        def is_meant(*words, left=left, **more):
            left[0] -= 1
            return left[0] == -1

        machine = here.add("web%d" % number, **flags)
        with monkeypatch.context() as patch:
            kill = Kill(here, patch, "ask", when, is_meant)
            with pytest.raises(KeyboardInterrupt):
                machine.driver.create()
            kill.bury()
        again = here.load(machine.name).driver
        if then == "create":
            again.create()
            assert again["Id"] == here.exo.instance()["id"] and here.exo.keys == {}
            assert rules_of(here.exo.group()) == RULES
        again.remove()
        assert here.exo.is_empty(), number
    assert len(here.exo.orders) <= len(numbers) + 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["provision", "rm"])
def test_a_command_that_was_killed_at_the_order_is_finished_or_undone(here, call, soon, monkeypatch, when, then):
    with monkeypatch.context() as patch:
        kill = Kill(here, patch, "ask", when, lambda method, path, *rest, **more: (
            (method, path) == ("POST", "/instance")))
        ended = call(*(soon + ["web"]))
        kill.bury()
    assert ended.code == 130 and here.store.names() == ["web"]
    if then == "provision":
        ended = call("provision", "web")
        assert ended.code == 1 and "SSH did not answer" in ended.err, ended
        assert here.stored()["Id"] == here.exo.instance()["id"]
    ended = call("rm", "-y", "web")
    assert ended.code == 0 and len(here.exo.orders) <= 1 and here.exo.is_empty(), ended


def test_an_operation_that_ends_badly_leaves_nothing(here, call, soon):
    here.exo.end_badly("create-instance", "unavailable", "No hypervisor has room")
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "No hypervisor has room (unavailable)" in ended.err, ended
    assert "The zone ch-dk-2 has no room" in ended.err and here.exo.is_empty() and here.store.names() == []


def test_an_instance_whose_operation_fails_late_is_removed_again(here, call, soon):
    """Its id is known from the first answer on."""
    here.exo.slow = 6
    here.exo.look("get-instance", lambda where: [
        one["row"].update(state="failure", reason="fault", message="The disk broke") for one in
        here.exo.operations.values() if one["row"].get("reference", {}).get("id") == where["id"]
        and here.exo.instance()["state"] == "starting"] and here.exo.instance().update(state="error"))
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "The disk broke (fault)" in ended.err, ended
    assert here.exo.is_empty() and here.store.names() == []


def test_the_id_may_come_only_with_the_end_of_the_operation(here):
    here.exo.early, here.exo.slow = False, 3
    assert here.create().driver["Id"] == here.exo.instance()["id"]


def test_a_failed_start_is_told(here):
    driver = here.create().driver
    driver.stop()
    here.exo.end_badly("start-instance", "unavailable", "No room")
    with pytest.raises(core.MachineError, match="No room"):
        driver.start()


TROUBLES = {
    "key": ((403, "Invalid request signature"), "The API key may not GET /", "key or secret are wrong"),
    "role": ((403, "Forbidden by role policy for compute"), "may not", "allow the operation list-instance-types"),
    "old API": ((403, "This API is deprecated"), "This API is deprecated", 'take "URL" out of'),
    "quota": ((400, "Quota exceeded for the resource"), "Quota exceeded", "portal.exoscale.com"),
    "field": ((400, "Invalid value at disk-size"), "Invalid value at disk-size", ""),
}  # type: dict


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_each_trouble_has_its_sentence_and_the_next_command(here, call, soon, trouble):
    (status, told), words, hint = TROUBLES[trouble]
    name = "create-instance" if trouble in ("quota", "field") else "list-instance-types"
    here.exo.fail(name, status, told, 100)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and words in ended.err and told in ended.err and hint in ended.err, ended
    assert here.exo.names().count(name) == 1, "it is of no use to ask again"
    assert here.store.names() == [] and here.exo.is_empty()


def test_a_clock_that_is_wrong_is_told(here, call, soon):
    here.exo.ahead = 900
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "Signature expired" in ended.err and "timedatectl" in ended.err


@pytest.mark.parametrize("status", [429, 503])
def test_what_passes_is_waited_for(here, status):
    here.exo.fail("create-instance", status, "later", 3)
    here.create()
    assert len(here.exo.orders) == 1


def test_what_is_busy_is_removed_when_it_is_not(here):
    driver = here.create().driver
    here.exo.fail("delete-instance", 409, "The instance is starting", 3)
    driver.remove()
    assert here.exo.is_empty()


def test_what_is_protected_is_told_at_once(here, call):
    here.create()
    here.exo.instance()["protected"] = True
    ended = call("rm", "-y", "web")
    assert ended.code == 1 and "Instance protection is on" in ended.err and "--protection=false" in ended.err
    assert here.exo.names().count("delete-instance") == 1 and here.store.names() == ["web"]


def test_what_is_gone_counts_as_removed_and_removing_twice_is_no_error(here, call):
    machine = here.create()
    here.exo.instances.clear()
    for _ in range(2):
        machine.driver.remove()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.exo.is_empty()


# --- states

STATES = [("starting", "Starting"), ("running", "Running"), ("stopping", "Stopping"), ("stopped", "Stopped"),
          ("migrating", "Running"), ("error", "Error")]


@pytest.mark.parametrize("state, word", STATES)
def test_states_have_their_words(here, call, state, word):
    here.create()
    here.exo.instance()["state"] = state
    assert call("status", "web").out == word + "\n"


@pytest.mark.parametrize("state", ["destroying", "destroyed", "expunging"])
def test_what_is_on_its_way_out_is_gone(here, call, state):
    here.create()
    here.exo.instance()["state"] = state
    ended = call("status", "web")
    assert ended.code == 1 and "Exoscale has no instance" in ended.err and "API v1" not in ended.err
    assert call("rm", "-y", "web").code == 0


def test_ls_asks_once_for_all_machines_of_a_zone(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for number in range(10):
        machine = here.machine("web%d" % number)
        machine.driver["Id"], machine.driver["IPAddress"] = here.exo.add_instance(machine.name)["id"], "127.0.0.1"
        here.store.add(machine)
        machine.mark("")
    here.exo.instances.popitem()
    listed = call("ls", "-t", "60").out
    assert here.exo.names() == ["list-instances"], listed
    assert listed.count("Running") == 9 and listed.count("Exoscale has no instance") == 1


# --- entries of Docker Machine and of its fork

@pytest.mark.parametrize("fork", sorted(FORKS))
def test_entries_of_docker_machine_and_its_fork_work_and_keep_their_fields(here, call, soon, fork):
    here.old(**FORKS[fork])
    pair = FORKS[fork].get("KeyPair")
    here.exo.keys.update({pair: "ssh-rsa AAAA"} if pair else {})
    before = here.stored("old")
    assert call("status", "old").out == "Running\n"
    assert "Running" in call("ls", "-t", "60").out
    call("stop", "old")
    assert call("status", "old").out == "Stopped\n"
    call("start", "old")
    assert here.exo.instance()["state"] == "running"
    stored = here.stored("old")
    assert {name: stored[name] for name in before} == before
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.exo.is_empty()
    assert "The Anti-Affinity group and Security group were not removed" in ended.out


@pytest.mark.parametrize("fork", sorted(FORKS))
def test_where_an_old_entry_is_asked_for(here, monkeypatch, fork):
    """In its own zone, whatever URL is stored."""
    here.old(**FORKS[fork])
    monkeypatch.delenv("EXOSCALE_API_URL")
    assert here.load("old").driver.endpoint() == "https://api-ch-dk-2.exoscale.com/v2"


def test_an_old_machine_with_a_new_id_is_known_by_name_and_address(here, call):
    row = here.old()
    del here.exo.instances[row["id"]]
    here.exo.add_instance("old", address="127.10.9.8")
    assert "of Exoscale's API v1, which ended in May 2024" in call("status", "old").err
    now = here.exo.add_instance("old")
    assert call("status", "old").out == "Running\n"
    call("stop", "old")
    assert now["state"] == "stopped"
    assert call("rm", "-y", "old").code == 0 and now["id"] not in here.exo.instances
    assert len(here.exo.instances) == 1


def test_an_old_url_is_not_used_and_another_one_is(here, capsys, monkeypatch):
    machine = here.machine(url="https://api.exoscale.ch/compute")
    assert machine.driver["URL"] == "" and "ended in May 2024" in capsys.readouterr().err
    monkeypatch.delenv("EXOSCALE_API_URL")
    assert here.machine(url="https://exo.example.com/v2").driver.endpoint() == "https://exo.example.com/v2"


@pytest.mark.parametrize("name", ["EXOSCALE_API_SECRET", "EXOSCALE_API_SECRET_KEY"])
def test_the_secret_is_that_of_either_variable_and_nobody_sees_it(here, call, soon, name):
    ended = call("--debug", *(soon + ["web"]), **{"EXOSCALE_API_SECRET": None, name: SECRET})
    assert "Created instance" in ended.out and here.stored()["ApiSecretKey"] == SECRET
    assert SECRET not in ended.out + ended.err and KEY not in ended.out + ended.err
    files = [path for path in here.folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert {path.name for path in files} == {"config.json"} and stat.S_IMODE(files[0].stat().st_mode) == 0o600


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
@pytest.mark.parametrize("account", ["", "second"])
def test_a_key_of_the_program_exo_is_found_and_not_stored(here, call, soon, account):
    rows = [("first", KEY, SECRET), ("second", "EXOsecond", "another-secret")]
    here.exo.secrets = dict([rows[bool(account)][1:]])
    text = 'defaultaccount = "first"\n' + "".join(
        '[[accounts]]\nname = "%s"\nkey = "%s"\nsecret = "%s"\n' % row for row in rows)
    env = {"EXOSCALE_API_KEY": None, "EXOSCALE_API_SECRET": None, "EXOSCALE_ACCOUNT": account,
           "EXOSCALE_CONFIG": here.file(text, "exoscale.toml")}
    ended = call("--debug", *(soon + ["web"]), **env)
    (secret,) = here.exo.secrets.values()
    assert "Created instance" in ended.out and secret not in ended.out + ended.err, ended
    assert secret not in Path(here.store.folder("web"), "config.json").read_text()
    assert call("rm", "-y", "web", **env).code == 0 and here.exo.is_empty()


# --- the page on the driver

def test_the_operations_on_the_drivers_page_are_those_that_are_called(here, call, soon):
    """Another one is refused by the server in all these tests; here, each of them is needed."""
    call(*(soon + ["--exoscale-userdata=%s" % here.file(IGNITION), "--exoscale-affinity-group=apart",
                   "--exoscale-image=linux flatcar 64-bit", "web"]))
    for verb in ("restart", "stop", "start"):
        call(verb, "web")
    here.exo.lose("register-ssh-key")
    call(*(soon + ["--exoscale-userdata=%s" % here.file(IGNITION), "--exoscale-image=linux flatcar 64-bit", "two"]))
    call("ls", "-t", "60")
    call("rm", "-y", "web", "two")
    assert here.exo.is_empty() and here.exo.used == permissions()
