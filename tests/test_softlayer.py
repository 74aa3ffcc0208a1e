"""The driver "softlayer" against a server that keeps the state of an account (see slcloud.py); its requests are those
that IBM's own client sends for the same wish.

Whether a machine boots is not seen here: tests/integration/test_softlayer.py has that.
"""

import json
import shutil
import stat
from pathlib import Path

import pytest
from machines import Kill, ProviderMachines, ours, parts_of, take_environment
from slcloud import KEY, USER, SoftLayer

import docker_machine as core

pytestmark = pytest.mark.once  # IBM's own client needs a Python of today

PAGE = Path(__file__).resolve().parent.parent / "docs" / "drivers" / "softlayer.md"
MOST_CALLS = 9
GUID = "0f1e2d3c-0000-4000-8000-123456789abc"
BUSY = "There is currently an active transaction for this guest."


@pytest.fixture(scope="module")
def account():
    server = SoftLayer()
    yield server
    server.close()


@pytest.fixture
def cloud(account):
    """An account in which nothing was done."""
    account.clear()
    yield account
    assert account.wrong == []


class Here(ProviderMachines):
    """The account, and a store as this very process finds it."""

    def __init__(self, cloud, store, folder):
        super().__init__(store, core.load_driver("softlayer"), folder, user=USER, api_key=KEY, domain="example.com")
        self.cloud = cloud

    def order(self):
        """What the only order asks for."""
        (spec,) = self.cloud.orders
        return spec

    def old(self, name="old", **fields):
        """An entry as Docker Machine wrote it, with its guest and key."""
        key = self.cloud._Security_Ssh_Key_createObject(0, {}, {"key": "ssh-rsa AAAA" + name, "label": name})["id"]
        row = self.cloud.add_guest(name, keys=[key])
        machine = self.store.new(name, self.driver_class)
        machine.config["Driver"] = dict(OLD, MachineName=name, StorePath=self.store.path, Id=row["id"], SSHKeyID=key,
                                        Client=dict(OLD["Client"]), **fields)
        self.store.add(machine)
        machine.mark("")
        return row


# config.json of Docker Machine 0.16.2: drivers/softlayer, in the order of its struct.
OLD = {"IPAddress": "127.10.9.9", "SSHUser": "root", "SSHPort": 22, "SSHKeyPath": "", "SwarmMaster": False,
       "SwarmHost": "", "SwarmDiscovery": "", "Id": 0,
       "Client": {"User": USER, "ApiKey": KEY, "Endpoint": "https://api.softlayer.com/rest/v3"},
       "SSHKeyID": 0}  # type: dict


@pytest.fixture
def here(cloud, dm, store, tmp_path, pauses, monkeypatch):
    env = {"SOFTLAYER_API_URL": cloud.url, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)}
    take_environment(monkeypatch, env, "SOFTLAYER_", "SL_", "IAAS_")
    dm.env.update(env, SOFTLAYER_USER=USER, SOFTLAYER_API_KEY=KEY, SOFTLAYER_DOMAIN="example.com")
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(core.os, "fsync", lambda file: None)
    yield Here(cloud, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "softlayer"]


# --- a creation

def test_what_is_ordered_by_default(here):
    driver = here.create().driver
    order = dict(here.order())
    (key,), (data,) = order.pop("sshKeys"), order.pop("userData")
    assert order == {
        "hostname": "web", "domain": "example.com", "datacenter": {"name": "dal10"}, "startCpus": 1, "maxMemory": 1024,
        "hourlyBillingFlag": True, "localDiskFlag": False, "networkComponents": [{"maxSpeed": 100}],
        "operatingSystemReferenceCode": "UBUNTU_24_64"}
    row = here.cloud.row()
    assert (driver["Id"], driver["IPAddress"]) == (row["id"], row["public"])
    config = ours(data["value"])
    assert config["users"][0]["name"] == "root" and Path(here.store.folder("web"), "known_hosts").exists()
    assert row["tags"] == ["docker-machine", driver["CreateTag"]] and here.cloud.keys == {} and key["id"]
    assert driver["SSHKeyID"] == 0 and driver.get_state() == core.RUNNING


def test_a_creation_takes_few_calls(here):
    here.create()
    names = here.cloud.names()
    assert len(names) <= MOST_CALLS, names
    told = "A creation is %d requests" % len(names)
    assert told in PAGE.read_text(encoding="utf-8").replace("\n", " "), names


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err
    assert "(web) Ordering the guest...\n" in ended.out and "(web) SoftLayer is at: Service Setup...\n" in ended.out
    assert "Created guest ID %d" % here.cloud.row()["id"] in ended.out
    assert call("status", "web").out == "Running\n"
    for verb, power in (("stop", "HALTED"), ("start", "RUNNING"), ("kill", "HALTED")):
        call(verb, "web")
        assert here.cloud.row()["power"] == power
    assert here.cloud.hard == ["powerOff"], "only kill cuts the power"
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "9").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.cloud.is_empty() and here.store.names() == []


@pytest.mark.parametrize("flags, added, lacking", [
    ({"flavor": "B1_2X4X25", "disk_size": 100}, {"supplementalCreateObjectOptions": {"flavorKeyName": "B1_2X4X25"}},
     {"startCpus", "maxMemory", "localDiskFlag", "blockDevices"}),
    ({"image": GUID}, {"blockDeviceTemplateGroup": {"globalIdentifier": GUID}},
     {"operatingSystemReferenceCode", "userData"}),
    ({"image": "CENTOS_7_64"}, {"operatingSystemReferenceCode": "CENTOS_7_64"}, {"userData"}),
    ({"image": "UBUNTU_LATEST"}, {"operatingSystemReferenceCode": "UBUNTU_LATEST_64"}, set()),
    ({"hourly_billing": "false", "local_disk": "true", "disk_size": 100},
     {"hourlyBillingFlag": False, "localDiskFlag": True, "blockDevices": [
         {"device": "0", "diskImage": {"capacity": 100}}]}, set()),
    ({"public_vlan_id": 7, "private_vlan_id": 8}, {"primaryNetworkComponent": {"networkVlan": {"id": 7}},
                                                  "primaryBackendNetworkComponent": {"networkVlan": {"id": 8}}}, set()),
    ({"hostname": "ship", "region": "fra02", "cpu": 4, "memory": 8192, "network_max_speed": 1000},
     {"hostname": "ship", "datacenter": {"name": "fra02"}, "startCpus": 4, "maxMemory": 8192,
      "networkComponents": [{"maxSpeed": 1000}]}, set()),
])
def test_what_flags_change_in_the_order(here, flags, added, lacking):
    here.create(**flags)
    order = here.order()
    assert {name: order.get(name) for name in added} == added and not lacking & set(order)


def test_user_data_of_the_users_is_joined(here):
    here.create(userdata=here.file("#!/bin/sh\necho hello\n"))
    (data,) = here.order()["userData"]
    assert parts_of(data["value"])[0] == "#!/bin/sh\necho hello\n" and ours(data["value"])["ssh_keys"]


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_private_address_is_taken_where_it_is_wanted(here, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("SOFTLAYER_DOCKER_ON_PRIVATE_IP", "true")
    driver = here.create(**({"private_net_only": "true"} if how == "flag" else {})).driver
    monkeypatch.delenv("SOFTLAYER_DOCKER_ON_PRIVATE_IP", raising=False)
    assert driver["IPAddress"] == here.cloud.row()["private"]
    assert ("privateNetworkOnlyFlag" in here.order()) == (how == "flag")
    driver.stop()
    driver.start()
    assert here.load().driver["IPAddress"] == here.cloud.row()["private"]


def test_a_machine_with_dots_has_a_host_name_of_dashes(here):
    here.create("web.example.com")
    assert here.order()["hostname"] == "web-example-com"


# --- as IBM's own client

@pytest.fixture
def sdk(here):
    """IBM's own client for the account."""
    client = pytest.importorskip("SoftLayer")
    auth = client.BasicHTTPAuthentication(USER, KEY)
    return client, client.BaseClient(auth=auth, transport=client.RestTransport(endpoint_url=here.cloud.url))


def trimmed(value):
    """Without nulls and empty objects, which IBM's client sends for what was not asked."""
    if isinstance(value, dict):
        return {key: trimmed(one) for key, one in value.items() if one is not None and trimmed(one) != {}}
    return value


WISHES = [
    ({}, {"cpus": 1, "memory": 1024, "local_disk": False, "os_code": "UBUNTU_24_64", "nic_speed": 100}),
    ({"flavor": "B1_1X2X25", "image": GUID},
     {"flavor": "B1_1X2X25", "image_id": GUID, "local_disk": None, "nic_speed": 100}),
    ({"cpu": 2, "disk_size": 25, "hourly_billing": "false", "private_net_only": "true", "private_vlan_id": 8},
     {"cpus": 2, "memory": 1024, "local_disk": False, "disks": [25], "hourly": False, "private": True,
      "private_vlan": 8, "os_code": "UBUNTU_24_64", "nic_speed": 100}),
    ({"public_vlan_id": 7, "private_vlan_id": 8, "local_disk": "true"},
     {"cpus": 1, "memory": 1024, "local_disk": True, "public_vlan": 7, "private_vlan": 8, "os_code": "UBUNTU_24_64",
      "nic_speed": 100}),
]  # type: list


@pytest.mark.parametrize("flags, wish", WISHES, ids=[str(number) for number in range(len(WISHES))])
def test_an_order_is_the_one_of_ibms_own_client(here, sdk, monkeypatch, flags, wish):
    client, session = sdk
    machine = here.add(**flags)
    monkeypatch.setattr(here.driver_class, "user_data", lambda self: "the user data")
    driver = machine.driver
    number = here.cloud._Security_Ssh_Key_createObject(0, {}, {"key": "ssh-rsa AAAA", "label": "x"})["id"]
    del here.cloud.calls[:], here.cloud.asked[:]
    driver.ask("POST", "/SoftLayer_Virtual_Guest/createObject.json", {"parameters": [driver.guest([number])]})
    ours_asked, ours_calls = list(here.cloud.asked), list(here.cloud.calls)
    del here.cloud.calls[:], here.cloud.asked[:]
    monkeypatch.setattr(here.cloud, "wrong", [])  # it sends nulls
    wish = dict(wish, hostname="web", domain="example.com", datacenter="dal10", ssh_keys=[number])
    client.VSManager(session).create_instance(userdata="the user data", **wish)
    assert (ours_asked, [(name, trimmed(body["parameters"][0])) for name, body in ours_calls]) == (
        here.cloud.asked, [(name, trimmed(body["parameters"][0])) for name, body in here.cloud.calls])


def test_all_other_requests_are_those_of_ibms_own_client(here, sdk):
    client, session = sdk
    machine = here.create()
    driver, number = machine.driver, machine.driver["Id"]
    guests, keys, manager = session["Virtual_Guest"], session["Security_Ssh_Key"], client.VSManager(session)
    mask = "mask[id]"
    pairs = [
        (lambda: driver.act("restart"), lambda: guests.rebootSoft(id=number)),
        (lambda: driver.act("kill"), lambda: guests.powerOff(id=number)),
        (lambda: driver.act("start"), lambda: guests.powerOn(id=number)),
        (driver.describe, lambda: guests.getObject(id=number, mask=mask)),
        (driver.instances, lambda: session["Account"].getVirtualGuests(mask=mask)),
        (driver.keys, lambda: client.SshKeyManager(session).list_keys()),
        (driver.finish, lambda: manager.set_tags("docker-machine, " + driver["CreateTag"], number)),
        (lambda: driver.add_key("x", "ssh-rsa AAAA"), lambda: keys.createObject({"key": "ssh-rsa BBBB", "label": "x"})),
        (lambda: driver.delete_key(min(here.cloud.keys)), lambda: keys.deleteObject(id=max(here.cloud.keys))),
        (lambda: here.machine("two").driver.look_up("options"), lambda: manager.guest.getCreateObjectOptions()),
    ]
    for mine, theirs in pairs:
        seen = []
        for ask in (mine, theirs):
            del here.cloud.asked[:]
            here.cloud.row()["power"] = "HALTED" if ask in (pairs[2]) else "RUNNING"
            ask()
            seen.append([(method, "".join(letter for letter in path if not letter.isdigit()))
                         for method, path in here.cloud.asked])
        assert seen[0] == seen[1]
    del here.cloud.asked[:]
    here.cloud.lasting = 0
    driver.delete()
    assert ("GET", "/rest/v3.1/SoftLayer_Virtual_Guest/%d/deleteObject.json" % number) in here.cloud.asked


def test_what_is_on_sale_is_read_as_ibms_own_client_has_it_in_its_fixtures(here, sdk):
    fixtures = pytest.importorskip("SoftLayer.fixtures.SoftLayer_Virtual_Guest")
    here.cloud.options = json.loads(json.dumps(fixtures.getCreateObjectOptions))
    wish = {"region": "dal05", "image": "CENTOS_6_64", "cpu": 3, "memory": 3072, "local_disk": "true", "disk_size": 25}
    here.create(**wish)
    for name, value in (("region", "dal06"), ("image", "CENTOS_5_64"), ("cpu", 56), ("memory", 1025),
                        ("disk_size", 33)):
        with pytest.raises(core.MachineError, match="SoftLayer has no"):
            here.machine("two", **dict(wish, **{name: value})).driver.pre_create_check()


# --- what is refused before anything is made

def test_a_private_network_alone_has_no_public_vlan(here, call, soon):
    ended = call(*(soon + ["--softlayer-private-net-only", "--softlayer-public-vlan-id=7", "web"]))
    assert ended.code == 2 and ("Can not specify both --softlayer-private-net-only and --softlayer-public-vlan-id"
                                in ended.err)


REFUSALS = [
    ({"region": "dal01"}, 'no data center "dal01"', "Near it: dal1"),
    ({"image": "UBUNTU_16_64"}, 'no system "UBUNTU_16_64"', "Near it: UBUNTU_"),
    ({"flavor": "B1_8X16"}, 'no flavor "B1_8X16"', "Near it: B1_"),
    ({"cpu": 3}, "no number of CPUs 3", "Near it: 1, 2, 4"),
    ({"memory": 1000}, "no memory size 1000", "Near it: 1024, 2048, 4096"),
    ({"disk_size": 30}, "no disk size 30", "Near it: 25, 100"),
    ({"network_max_speed": 50}, "no network speed 50", "Near it: 10, 100, 1000"),
    ({"domain": "invalid"}, "Invalid value provided for 'domain'", ""),
]  # type: list


@pytest.mark.parametrize("flags, words, hint", REFUSALS, ids=lambda value: str(value)[:30])
def test_what_is_not_on_sale_is_refused_with_the_nearest_and_nothing_is_ordered(here, call, soon, flags, words, hint):
    flags = ["--softlayer-%s=%s" % (name.replace("_", "-"), value) for name, value in flags.items()]
    ended = call(*(soon + flags + ["web"]))
    assert ended.code == 3 and words in ended.err.replace('\\"', '"') and hint in ended.err, ended
    assert here.cloud.changes() == [] and here.store.names() == []


# --- logins

def test_a_login_that_does_not_fit_is_told(here, call, soon):
    here.cloud.key = "another"
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "SoftLayer refuses the user and API key: Invalid API token" in ended.err
    assert "the user is the word apikey" in ended.err and here.store.names() == []


def test_a_key_of_ibm_cloud_goes_with_the_user_apikey(here):
    here.cloud.user = "apikey"
    assert here.create(user="apikey").driver.client()["User"] == "apikey"


@pytest.mark.parametrize("where", ["SL", "IAAS", "file"])
def test_a_login_of_ibms_own_programs_is_found_and_not_stored(here, call, soon, where):
    env = {"SOFTLAYER_USER": None, "SOFTLAYER_API_KEY": None}
    if where == "SL":
        env.update(SL_USERNAME=USER, SL_API_KEY=KEY)
    elif where == "IAAS":
        env.update(IAAS_CLASSIC_USERNAME=USER, IAAS_CLASSIC_API_KEY=KEY)
    else:
        here.file("[softlayer]\nusername = %s\napi_key = %s\n" % (USER, KEY), ".softlayer")
    ended = call("--debug", *(soon + ["web"]), **env)
    assert "Created guest" in ended.out and KEY not in ended.out + ended.err, ended
    assert KEY not in Path(here.store.folder("web"), "config.json").read_text()
    assert call("rm", "-y", "web", **env).code == 0 and here.cloud.is_empty()


def test_a_key_that_is_given_is_stored_and_nobody_sees_it(here, call, soon):
    ended = call("--debug", *(soon + ["web"]))
    assert "Created guest" in ended.out and here.stored()["ApiKey"] == KEY
    assert KEY not in ended.out + ended.err + call("inspect", "web").out
    path = Path(here.store.folder("web"), "config.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- killed, lost, failed

def test_an_answer_that_is_lost_makes_nothing_twice(here):
    for name in ("Security_Ssh_Key/createObject", "Virtual_Guest/createObject", "Virtual_Guest/setTags",
                 "Virtual_Guest/powerOffSoft", "Virtual_Guest/powerOn", "Virtual_Guest/deleteObject",
                 "Security_Ssh_Key/deleteObject"):
        here.cloud.lose(name, 2)
    machine = here.create()
    machine.driver.stop()
    machine.driver.start()
    machine.driver.remove()
    assert len(here.cloud.orders) == 1 and here.cloud.is_empty()


def test_a_namesake_is_not_taken_for_what_was_ordered(here):
    here.cloud.add_guest("web")
    here.cloud.fail("Virtual_Guest/createObject", 503, "")
    machine = here.create()
    assert machine.driver["Id"] == max(here.cloud.rows) and len(here.cloud.orders) == 1
    machine.driver.remove()
    assert len(here.cloud.rows) == 1


def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_guests(here):
    here.cloud.shake(0.3, seed=11)
    for number in range(20):
        name = "web%d" % number
        here.create(name).driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.cloud.shake(0)
    assert len(here.cloud.orders) == 20 and here.cloud.is_empty()
    assert len(here.cloud.calls) > 20 * MOST_CALLS * 1.2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["create", "remove"])
def test_a_creation_that_was_killed_at_any_request_is_resumed_or_removed(here, monkeypatch, when, then):
    counted = here.add("counted").driver
    before = len(here.cloud.calls)
    counted.create()
    count = len(here.cloud.calls) - before
    counted.remove()
    assert count > 5
    for number in range(count):
        left = [number]

        def is_meant(*words, left=left, **more):
            left[0] -= 1
            return left[0] == -1

        machine = here.add("web%d" % number)
        with monkeypatch.context() as patch:
            kill = Kill(here, patch, "ask", when, is_meant)
            with pytest.raises(KeyboardInterrupt):
                machine.driver.create()
            kill.bury()
        again = here.load(machine.name).driver
        if then == "create":
            again.create()
            assert again["Id"] == here.cloud.row()["id"] and here.cloud.keys == {}
        again.remove()
        assert here.cloud.is_empty(), number
    assert len(here.cloud.orders) <= count + 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["provision", "rm"])
def test_a_command_that_was_killed_at_the_order_is_finished_or_undone(here, call, soon, monkeypatch, when, then):
    with monkeypatch.context() as patch:
        kill = Kill(here, patch, "ask", when, lambda method, path, *rest, **more: (
            path == "/SoftLayer_Virtual_Guest/createObject.json"))
        ended = call(*(soon + ["web"]))
        kill.bury()
    assert ended.code == 130 and here.store.names() == ["web"]
    if then == "provision":
        ended = call("provision", "web")
        assert ended.code == 1 and "SSH did not answer" in ended.err, ended
        assert here.stored()["Id"] == here.cloud.row()["id"] and here.cloud.keys == {}
    ended = call("rm", "-y", "web")
    assert ended.code == 0 and len(here.cloud.orders) <= 1 and here.cloud.is_empty(), ended


TROUBLES = [
    ("SoftLayer_Exception_Virtual_Host_Pool_InsufficientCapacity", "Insufficient capacity to complete the request",
     "The data center dal10 has no room"),
    ("SoftLayer_Exception_Public", "VLAN 1234 does not exist.", "take ids"),
    ("SoftLayer_Exception_Order_Item", "Could not locate item for price/location", "slcli vs create-options"),
    ("SoftLayer_Exception_Public", "Account limit reached.", ""),
]


@pytest.mark.parametrize("code, words, hint", TROUBLES, ids=[row[1][:12] for row in TROUBLES])
def test_an_order_that_is_refused_is_asked_once_and_leaves_nothing(here, call, soon, code, words, hint):
    here.cloud.fail("Virtual_Guest/createObject", 500, code, words, 100)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and words.rstrip(".") in ended.err and hint in ended.err, ended
    assert here.cloud.names().count("Virtual_Guest/createObject") == 1
    assert here.cloud.is_empty() and here.store.names() == []


@pytest.mark.parametrize("status, code", [
    (429, ""), (503, ""), (500, "SoftLayer_Exception_WebService_RateLimitExceeded")])
def test_what_passes_is_waited_for(here, status, code):
    here.cloud.fail("Virtual_Guest/createObject", status, code, "Rate limit exceeded", 3)
    here.create()
    assert len(here.cloud.orders) == 1


# --- states

def test_a_provisioning_that_takes_long_is_waited_for_with_its_steps(here, pauses, capsys):
    here.cloud.slow = 100
    here.create()
    told = capsys.readouterr().out
    assert here.cloud.row()["steps"] == 0 and 900 < sum(pauses) < 2700
    assert told.count("SoftLayer is at: Assign Host...") == 1 and "SoftLayer is at: Service Setup..." in told


def test_a_provisioning_that_never_ends_does(here, pauses):
    here.cloud.slow = 10 ** 6
    machine = here.add()
    with pytest.raises(core.MachineError, match="did not provision the guest .* within 2700 s"):
        machine.driver.create()
    assert 2600 < sum(pauses) < 3000
    here.cloud.row()["steps"] = 0
    here.load().driver.remove()
    assert here.cloud.is_empty()


POWERS = [({"power": "RUNNING"}, "Running"), ({"power": "HALTED"}, "Stopped"), ({"power": "PAUSED"}, "Paused"),
          ({"power": "HALTED", "provisionDate": ""}, "Starting"),
          ({"power": "RUNNING", "provisionDate": ""}, "Starting"),
          ({"power": "RUNNING", "status": "DISCONNECTED"}, "Error")]


@pytest.mark.parametrize("fields, word", POWERS, ids=lambda value: str(value)[:40])
def test_states_have_their_words(here, call, fields, word):
    here.create()
    here.cloud.row().update(fields)
    assert call("status", "web").out == word + "\n"


def test_a_guest_that_does_not_hear_that_it_is_to_shut_down_loses_its_power(here, capsys):
    driver = here.create().driver
    here.cloud.deaf = True
    driver.stop()
    assert here.cloud.row()["power"] == "HALTED" and here.cloud.hard == ["powerOff"]
    assert "Its power is cut." in capsys.readouterr().err


def test_a_reboot_that_is_refused_is_a_hard_one(here, monkeypatch):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")
    here.cloud.deaf = True
    driver.restart()
    assert here.cloud.hard == ["rebootHard"]


def test_a_reboot_whose_answer_is_lost_is_not_asked_for_again(here, monkeypatch):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "boot_id", lambda self: "")
    here.cloud.lose("Virtual_Guest/rebootSoft")
    driver.restart()
    assert here.cloud.names().count("Virtual_Guest/rebootSoft") == 1


# --- the removal

def test_a_removal_waits_for_a_transaction_and_until_the_guest_is_gone(here):
    driver = here.create().driver
    here.cloud.fail("Virtual_Guest/deleteObject", 500, "SoftLayer_Exception_Public", BUSY, 3)
    here.cloud.lasting = 10
    driver.remove()
    assert here.cloud.is_empty() and here.cloud.names().count("Virtual_Guest/deleteObject") == 4


def test_a_guest_that_stays_after_its_cancellation_is_told(here, call):
    here.create(hourly_billing="false")
    here.cloud.lasting = 10 ** 6
    ended = call("rm", "-y", "web")
    assert ended.code == 0 and "took the cancellation" in ended.err and "billed by the month" in ended.err


def test_what_is_gone_counts_as_removed_and_removing_twice_is_no_error(here, call):
    machine = here.create()
    here.cloud.rows.clear()
    for _ in range(2):
        machine.driver.remove()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "")


def test_where_nothing_was_ordered_only_the_key_goes(here, call):
    row = here.old()
    del here.cloud.rows[row["id"]]
    machine = here.load("old")
    machine.driver["Id"] = 0
    machine.save()
    assert call("rm", "-y", "old").code == 0 and here.cloud.is_empty()
    assert "Virtual_Guest/deleteObject" not in here.cloud.names()


def test_ls_asks_once_for_all_machines_of_an_account(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for number in range(10):
        here.old("old%d" % number)
    here.cloud.rows.popitem()
    listed = call("ls", "-t", "60").out
    assert here.cloud.names() == ["Account/getVirtualGuests"], listed
    assert listed.count("Running") == 9 and listed.count("SoftLayer has no guest") == 1


# --- entries of Docker Machine and of its fork

def test_entries_of_docker_machine_and_its_fork_work_and_keep_their_fields(here, call, soon):
    here.old()
    before = here.stored("old")
    assert call("status", "old").out == "Running\n"
    assert "Running" in call("ls", "-t", "9").out
    shown = call("inspect", "old").out
    assert KEY not in shown and json.loads(shown)["Driver"]["Client"]["User"] == USER
    call("stop", "old")
    assert call("status", "old").out == "Stopped\n"
    call("start", "old")
    assert here.cloud.row()["power"] == "RUNNING"
    stored = here.stored("old")
    moved = dict(before["Client"], ApiKey="")
    assert {name: stored[name] for name in before} == dict(before, Client=moved) and stored["ApiKey"] == KEY
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.cloud.is_empty()


def test_where_an_old_entry_is_asked_for(here, monkeypatch):
    here.old()
    monkeypatch.delenv("SOFTLAYER_API_URL")
    assert here.load("old").driver.endpoint() == "https://api.softlayer.com/rest/v3"
