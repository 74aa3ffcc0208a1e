"""The driver "azure" against a server that holds all requests to Microsoft's own description (see arm.py).

Whether a machine boots is not seen here: tests/integration/test_azure.py has that.
"""

import base64
import json
import os
import shutil
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
from arm import (
    ARM64,
    B2S,
    D2S,
    PAGE,
    SECRET,
    SPOTLESS,
    SUBSCRIPTION,
    TENANT,
    TOKEN,
    V1_ONLY,
    Arm,
    permissions,
)
from conftest import HANG
from machines import ProviderMachines, listed_by_engines, ours, parts_of, take_environment

import docker_machine as core

pytestmark = pytest.mark.once  # azure-identity of today needs a Python of today

MOST_CALLS = 14
BASE = "/subscriptions/%s/resourceGroups/" % SUBSCRIPTION
HERE = BASE + "docker-machine/providers/"
NETS = HERE + "Microsoft.Network/"
VNET = NETS + "virtualNetworks/docker-machine-vnet"


@pytest.fixture(scope="module")
def resource_manager(tmp_path_factory):
    for module in ("azure.identity", "azure.mgmt.compute", "azure.mgmt.network", "azure.mgmt.resource"):
        pytest.importorskip(module)
    server = Arm(tmp_path_factory.mktemp("tls"), permissions())
    yield server
    server.close()


@pytest.fixture
def arm(resource_manager):
    """A subscription in which nothing was done; each request must have been as Microsoft describes it."""
    resource_manager.clear()
    yield resource_manager
    assert resource_manager.wrong == []


class Here(ProviderMachines):
    """A subscription, and a store as this very process finds it."""

    def __init__(self, arm, store, folder):
        super().__init__(store, core.load_driver("azure"), folder)
        self.arm, self.environ = arm, arm.environ()

    def create(self, name="web", **flags):
        """A machine whose VM runs and that was never provisioned."""
        machine = self.add(name, **flags)
        machine.driver.create()
        return self.finish(machine)

    def body(self, kind="virtualMachines", name=""):
        return self.arm.body(kind, name)["properties"]

    def user_data(self):
        return base64.b64decode(self.body()["osProfile"]["customData"]).decode()

    def old(self, name="old", **fields):
        """An entry as Docker Machine wrote it, with all that it made; `fields` of a fork."""
        self.foreign(name)
        machine = self.store.new(name, self.driver_class)
        machine.config["Driver"] = dict(OLD, MachineName=name, SubscriptionID=SUBSCRIPTION, StorePath=self.store.path,
                                        SSHKeyPath=os.path.join(machine.folder, "id_rsa"), **fields)
        self.store.add(machine)
        machine.mark("")
        return self.store.machine(name)

    def foreign(self, name="old", blob=True, sku="Basic"):
        """A VM as Docker Machine made it: Basic address, unmanaged disk, all in an availability set."""
        if not self.arm.things.get(VNET.lower()):
            self.arm.put(VNET, properties={"subnets": [{"name": "docker-machine", "properties": {}}]})
            self.arm.put(HERE + "Microsoft.Compute/availabilitySets/docker-machine", sku={"name": "Classic"})
        ids = {end: NETS + kind + "/" + name + end for end, kind in (
            ("-firewall", "networkSecurityGroups"), ("-ip", "publicIPAddresses"), ("-nic", "networkInterfaces"))}
        self.arm.put(ids["-firewall"])
        self.arm.put(ids["-ip"], sku={"name": sku}, properties={"ipAddress": "127.9.9.9"})
        ip = {"publicIPAddress": {"id": ids["-ip"]}, "subnet": {"id": VNET + "/subnets/docker-machine"},
              "privateIPAddress": "192.168.0.4"}
        self.arm.put(ids["-nic"], properties={"ipConfigurations": [{"name": "ip", "properties": ip}],
                                              "networkSecurityGroup": {"id": ids["-firewall"]}})
        disk = {"name": name + "-os-disk", "createOption": "FromImage"}
        if blob:
            disk["vhd"] = {"uri": "https://vhds1.blob.core.windows.net/vhd-%s/%s-os-disk.vhd" % (name, name)}
        else:
            self.arm.put(HERE + "Microsoft.Compute/disks/%s-os-disk" % name)
        self.arm.put(HERE + "Microsoft.Compute/virtualMachines/" + name, _power="running", properties={
            "storageProfile": {"osDisk": disk}, "networkProfile": {"networkInterfaces": [{"id": ids["-nic"]}]},
            "availabilitySet": {"id": HERE + "Microsoft.Compute/availabilitySets/docker-machine"}},
            _disk="" if blob else (HERE + "Microsoft.Compute/disks/%s-os-disk" % name).lower())


# config.json of Docker Machine 0.16.2: drivers/azure, in the order of its struct.
OLD = {"IPAddress": "", "SSHUser": "docker-user", "SSHPort": 22, "SwarmMaster": False, "SwarmHost": "",
       "SwarmDiscovery": "", "ClientID": "", "ClientSecret": "", "Environment": "AzurePublicCloud",
       "ResourceGroup": "docker-machine", "DockerPort": 2376, "Location": "westus", "Size": "Standard_A2",
       "Image": "canonical:UbuntuServer:16.04.0-LTS:latest", "VirtualNetwork": "docker-machine-vnet",
       "SubnetName": "docker-machine", "SubnetPrefix": "192.168.0.0/16", "AvailabilitySet": "docker-machine",
       "StorageType": "Standard_LRS", "OpenPorts": None, "PrivateIPAddr": "", "UsePrivateIP": False,
       "NoPublicIP": False, "DNSLabel": "", "StaticPublicIP": False, "CustomDataFile": ""}
FORKS = {
    "Docker Machine": {},
    "rancher/machine": {"TenantID": "", "NSG": "", "Plan": "", "ManagedDisks": True, "FaultCount": 3, "UpdateCount": 5,
                        "DiskSize": 30, "Tags": {"team": "web"}, "AcceleratedNetworking": False,
                        "AvailabilityZone": "1", "EnablePublicIPStandardSKU": True},
}  # type: dict


@pytest.fixture
def here(arm, dm, store, tmp_path, pauses, monkeypatch):
    take_environment(monkeypatch, arm.environ(), "AZURE_", "ARM_", "MSI_", "IDENTITY_")
    dm.env.update(arm.environ())
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(os, "fsync", lambda file: None)
    yield Here(arm, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "azure"]


# --- a creation

def test_a_machine_is_reachable_by_default(here):
    driver = here.create().driver
    vm, address = here.body(), here.arm.body("publicIPAddresses")
    assert vm["hardwareProfile"] == {"vmSize": B2S} and "availabilitySet" not in vm
    assert vm["storageProfile"]["imageReference"] == {
        "publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
    disk = vm["storageProfile"]["osDisk"]
    assert (disk["name"], disk["deleteOption"], disk["diskSizeGB"]) == ("web-os-disk", "Delete", 30)
    assert disk["managedDisk"] == {"storageAccountType": "Standard_LRS"}
    assert address["sku"] == {"name": "Standard"}
    assert address["properties"]["publicIPAllocationMethod"] == "Static"
    nic = here.body("networkInterfaces")
    assert nic["networkSecurityGroup"]["id"] == NETS + "networkSecurityGroups/web-firewall"
    assert nic["ipConfigurations"][0]["properties"]["publicIPAddress"]["properties"] == {"deleteOption": "Delete"}
    rules = {rule["name"]: rule["properties"] for rule in here.body("networkSecurityGroups")["securityRules"]}
    assert [(name, rule["priority"], rule["destinationPortRange"]) for name, rule in rules.items()] == [
        ("SSHAllowAny", 100, "22"), ("DockerAllowAny", 300, "2376")]
    assert driver["IPAddress"] == here.arm.thing("publicIPAddresses", "web-ip")["properties"]["ipAddress"]
    for kind in ("virtualMachines", "networkInterfaces", "publicIPAddresses", "networkSecurityGroups"):
        assert here.arm.body(kind)["tags"] == {"docker-machine": driver["CreateTag"]}
    assert here.arm.groups["docker-machine"]["tags"] == {"docker-machine": "shared"}
    assert driver.get_state() == core.RUNNING
    driver.remove()
    assert here.arm.is_empty()


def test_a_creation_takes_few_calls_and_one_token(here):
    here.create()
    names = here.arm.names()
    assert len(names) <= MOST_CALLS and here.arm.tokens == 1, names
    del here.arm.calls[:]
    here.create("second")
    told = "A creation is %d requests, or %d if group and network are there" % (len(names), len(here.arm.names()))
    assert told in PAGE.read_text(encoding="utf-8").replace("\n", " "), (names, here.arm.names())


def test_keys_and_user_data_are_in_the_order(here):
    here.create(custom_data=here.file("#!/bin/sh\n%s\necho hello\n" % ("#" * 45000)))
    profile = here.body()["osProfile"]
    public = Path(here.store.folder("web"), "id_rsa.pub").read_text().strip()
    (key,) = profile["linuxConfiguration"]["ssh"]["publicKeys"]
    assert key["path"] == "/home/docker-user/.ssh/authorized_keys" and key["keyData"].split()[:2] == public.split()[:2]
    assert parts_of(here.user_data())[0].endswith("echo hello\n")
    assert ours(here.user_data())["ssh_keys"]["ed25519_private"] == Path(
        here.store.folder("web"), "ssh_host_ed25519_key").read_text()
    assert Path(here.store.folder("web"), "known_hosts").exists()


def test_custom_data_that_is_too_large_is_refused_before_anything_is_made(here, call, soon):
    ended = call(*(soon + ["--azure-custom-data=%s" % here.file("#!/bin/sh\n" + "#" * 70000), "web"]))
    assert ended.code == 3 and "is too large" in ended.err and here.arm.changes() == []


def test_a_key_of_the_users_is_sent_and_copied(here):
    path = here.key()
    here.create(ssh_keypath=path)
    (key,) = here.body()["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]
    assert key["keyData"].split()[:2] == Path(str(path) + ".pub").read_text().split()[:2]


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err
    assert "(web) Creating the virtual machine...\n" in ended.out
    assert call("status", "web").out == "Running\n"
    address = here.stored()["IPAddress"]
    ended = call("stop", "web")
    assert here.arm.vm()["_power"] == "stopped" and "still billed" in ended.out and "az vm deallocate" in ended.out
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "60").out
    call("start", "web")
    assert here.arm.vm()["_power"] == "running" and here.stored()["IPAddress"] == address
    call("kill", "web")
    assert call("status", "web").out == "Stopped\n"
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.arm.is_empty() and here.store.names() == []


def test_stop_deallocates_on_wish_and_start_finds_the_same_address(here, capsys):
    driver = here.create(deallocate="true").driver
    address = driver["IPAddress"]
    driver.stop()
    assert here.arm.vm()["_power"] == "deallocated" and driver.get_state() == core.STOPPED
    assert "billed" not in capsys.readouterr().out
    driver.start()
    assert driver["IPAddress"] == address and driver.get_state() == core.RUNNING


def test_what_somebody_else_deallocated_is_stopped_and_starts(here):
    driver = here.create().driver
    here.arm.vm()["_power"] = "deallocated"
    assert driver.get_state() == core.STOPPED
    driver.start()
    assert driver.get_state() == core.RUNNING


def test_a_restart_is_one_of_the_vm(here):
    driver = here.create().driver
    driver.restart()
    assert here.arm.names().count("POST virtualMachines/restart") == 1 and driver.get_state() == core.RUNNING


@pytest.mark.parametrize("status, state", [("creating", core.STARTING), ("failed", core.ERROR),
                                           ("deleting", core.STOPPING)])
def test_the_state_of_a_vm_without_power_is_that_of_its_making(here, status, state):
    driver = here.create().driver
    here.arm.vm().update(_power="")
    here.arm.vm()["properties"]["provisioningState"] = status.title()
    assert driver.get_state() == state


# --- sizes and images

@pytest.mark.parametrize("size, sku", [(D2S, "server"), (ARM64, "server-arm64"), (V1_ONLY, "server-gen1")])
def test_the_image_follows_the_architecture_and_the_generation_of_the_size(here, size, sku):
    driver = here.create(size=size).driver
    assert here.body()["storageProfile"]["imageReference"]["sku"] == sku
    assert driver["Image"] == "Canonical:ubuntu-24_04-lts:%s:latest" % sku and driver["Size"] == size


def test_a_size_that_the_subscription_may_not_use_gives_way_to_the_next_if_none_was_typed(here, capsys):
    here.arm.restrict(B2S)
    here.create()
    assert here.body()["hardwareProfile"]["vmSize"] == D2S
    assert "(web) Standard_B2s cannot be had here; Standard_D2s_v5 is taken." in capsys.readouterr().out


def test_a_size_with_nvme_alone_says_so(here):
    here.create(size="Standard_D2s_v6")
    assert here.body()["storageProfile"]["diskControllerType"] == "NVMe"


def test_where_sizes_may_not_be_read_azure_itself_refuses_what_does_not_fit(here):
    here.arm.fail("GET skus", "AuthorizationFailed", 99, 403, "does not have authorization to perform action 'x'")
    here.create(size="Standard_D2ps_v5")
    assert here.body()["storageProfile"]["imageReference"]["sku"] == "server-arm64"


GALLERY = BASE + "images/providers/Microsoft.Compute/galleries/g/images/golden"


def test_an_image_of_a_gallery_goes_by_id(here):
    here.arm.put(GALLERY, properties={"architecture": "x64", "hyperVGeneration": "V2", "purchasePlan": {
        "publisher": "p", "product": "o", "name": "n"}})
    here.create(image=GALLERY + "/versions/1.0.0")
    assert here.body()["storageProfile"]["imageReference"] == {"id": GALLERY + "/versions/1.0.0"}
    assert here.arm.body("virtualMachines")["plan"] == {"publisher": "p", "product": "o", "name": "n"}


def test_an_image_of_a_community_gallery_goes_by_its_id(here):
    name = "/CommunityGalleries/pub-1/Images/golden/Versions/latest"
    here.create(image=name)
    assert here.body()["storageProfile"]["imageReference"] == {"communityGalleryImageId": name}


@pytest.mark.parametrize("flags", [{}, {"plan": "acme:appliance:big"}])
def test_a_marketplace_image_brings_its_plan(here, flags):
    here.create(image="acme:appliance:big:latest", disk_size=64, **flags)
    assert here.arm.body("virtualMachines")["plan"] == {"publisher": "acme", "product": "appliance", "name": "big"}


# --- what is refused before anything is made

REFUSALS = [
    ({"size": "Standard_B2z"}, 'no size "Standard_B2z"', "Near it: Standard_B2s"),
    ({"size": V1_ONLY, "availability_zone": "3"}, "is not in the zone 3 of westus, only in: 1", "Allowed: "),
    ({"size": SPOTLESS, "spot": "true"}, "Standard_B1s has no spot VMs", "Allowed: Standard_D2_v2, Standard_D2s_v5"),
    ({"size": V1_ONLY, "storage_type": "Premium_LRS"}, "has no premium disks", "Allowed: "),
    ({"size": V1_ONLY, "trusted_launch": "true"}, "has no trusted launch", "Allowed: "),
    ({"location": "westusa"}, 'no region "westusa"', "Near it: westus"),
    ({"image": "Canonical:ubuntu-24_04-lts:serve:latest"}, "no image", "Near it: server"),
    ({"image": "Canonical:ubuntu-24_04-lts:server:latest", "size": ARM64}, "is for x64, the size for Arm64",
     "one that fits is taken"),
    ({"image": "Canonical:ubuntu-24_04-lts:server:1.2.3", "size": V1_ONLY}, "is of generation V2, the size takes V1",
     "one that fits is taken"),
    ({"image": "acme:appliance:windows:latest"}, "is not a Linux", "--azure-image"),
    ({"image": "acme:appliance:big:latest"}, "needs a disk of 64 GB", "--azure-disk-size 64"),
    ({"image": GALLERY}, "no image", "az sig image-definition list"),
    ({"vnet": "corp:vnet1"}, 'no virtual network "corp:vnet1"', "az network vnet list"),
    ({"vnet": "far:vnet2"}, "provided name vnet2 exists in region eastus, expected westus", "--azure-location eastus"),
    ({"vnet": "near:vnet3", "subnet": "apps", "ipv6": "true"}, "The subnet apps has no IPv6", "--azure-vnet"),
    ({"vnet": "near:vnet3"}, 'no subnet "docker-machine"', "Near it: apps"),
    ({"nsg": BASE + "corp/providers/Microsoft.Network/networkSecurityGroups/x"}, "no network security group",
     "az network nsg list"),
]  # type: list


def put_networks(arm):
    arm.put(BASE + "far/providers/Microsoft.Network/virtualNetworks/vnet2", location="eastus",
            properties={"subnets": []})
    arm.put(BASE + "near/providers/Microsoft.Network/virtualNetworks/vnet3",
            properties={"subnets": [{"name": "apps", "properties": {}}]})


@pytest.mark.parametrize("flags, words, hint", REFUSALS, ids=lambda value: str(value)[:40])
def test_what_is_unknown_or_does_not_fit_is_refused_with_what_does(here, call, soon, flags, words, hint):
    put_networks(here.arm)
    flags = ["--azure-%s=%s" % (name.replace("_", "-"), value) for name, value in flags.items()]
    ended = call(*(soon + flags + ["web"]))
    assert ended.code == 3 and words in ended.err.replace('\\"', '"') and hint in ended.err, ended
    assert here.arm.changes() == [] and here.store.names() == []


@pytest.mark.parametrize("kind", ["Location", "Zone"])
def test_a_size_that_is_typed_and_restricted_is_refused_with_those_that_are_allowed(here, call, soon, kind):
    here.arm.restrict(D2S, kind, zones=["1", "2"])
    ended = call(*(soon + ["--azure-size=" + D2S, "--azure-availability-zone=1", "web"]))
    assert ended.code == 3 and "Standard_D2s_v5 cannot be had by this subscription in the region westus" in ended.err
    assert "Allowed: " in ended.err and "Standard_D2s_v6" in ended.err and here.arm.changes() == []


@pytest.mark.parametrize("kind, name, words", [
    ("Microsoft.Compute/virtualMachines", "web", 'Virtual Machine with name web already exists in resource group "doc'),
    ("Microsoft.Compute/disks", "web-os-disk", "has a Microsoft.Compute/disks/web-os-disk already"),
    ("Microsoft.Network/networkSecurityGroups", "web-firewall", "web-firewall already"),
    ("Microsoft.Network/publicIPAddresses", "WEB-IP", "WEB-IP already")])
def test_a_name_that_is_taken_is_refused_and_what_has_it_is_left_alone(here, call, soon, kind, name, words):
    row = here.arm.put(HERE + kind + "/" + name)
    before = dict(row)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and words in ended.err.replace('\\"', '"'), ended
    assert row == before and here.arm.changes() == [] and here.store.names() == []


# --- networks, groups, sets

def test_a_network_of_another_group_is_read_and_never_changed(here):
    put_networks(here.arm)
    path = BASE + "near/providers/Microsoft.Network/virtualNetworks/vnet3"
    before = json.dumps(here.arm.things[path.lower()])
    for vnet in ("near:vnet3", path):
        driver = here.create("web%d" % len(vnet), vnet=vnet, subnet="apps").driver
        ip = here.body("networkInterfaces")["ipConfigurations"][0]["properties"]
        assert ip["subnet"]["id"] == path + "/subnets/apps"
        driver.remove()
        shutil.rmtree(driver.folder)
        assert json.dumps(here.arm.things[path.lower()]) == before and "docker-machine" not in here.arm.groups
    assert [name for name in here.arm.changes() if "virtualNetworks" in name] == []


def test_a_network_of_the_users_keeps_all_and_only_lends_a_subnet(here):
    subnets = [{"name": "apps", "properties": {"addressPrefix": "10.0.0.0/24"}}]
    here.arm.put(VNET, properties={"subnets": subnets})
    driver = here.create(subnet_prefix="10.0.1.0/24").driver
    assert [one["name"] for one in here.arm.things[VNET.lower()]["properties"]["subnets"]] == ["apps", "docker-machine"]
    driver.remove()
    assert [one["name"] for one in here.arm.things[VNET.lower()]["properties"]["subnets"]] == ["apps"]
    assert list(here.arm.things) == [VNET.lower()] and "docker-machine" in here.arm.groups


def test_a_group_that_was_there_is_kept_with_all_that_is_not_ours(here):
    here.arm.put(HERE + "Microsoft.Storage/storageAccounts/mine")
    here.create().driver.remove()
    assert list(here.arm.things) == [(HERE + "Microsoft.Storage/storageAccounts/mine").lower()]
    assert "docker-machine" in here.arm.groups


def test_a_group_of_ours_in_which_somebody_put_something_stays(here):
    driver = here.create().driver
    here.arm.put(HERE + "Microsoft.Storage/storageAccounts/theirs")
    driver.remove()
    assert len(here.arm.things) == 1 and "docker-machine" in here.arm.groups


def test_two_creations_at_once_in_a_new_group_share_one_network_and_the_last_takes_all_along(here):
    machines = [here.add("web%d" % number) for number in range(2)]  # neither has seen the other
    threads = [threading.Thread(target=machine.driver.create) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    made = [kind for kind, _ in here.arm.made]
    assert made.count("virtualNetworks") == 1 and made.count("virtualMachines") == 2
    here.load("web0").driver.remove()
    assert here.arm.things[VNET.lower()] and here.arm.vm("web1")
    shutil.rmtree(here.store.folder("web0"))
    here.load("web1").driver.remove()
    assert here.arm.is_empty()


def test_machines_of_other_stores_keep_what_is_shared(here):
    driver = here.create().driver
    here.create("other")
    shutil.rmtree(here.store.folder("other"))  # as if it were in another computer's
    driver.remove()
    assert here.arm.vm("other") and here.arm.things[VNET.lower()] and "docker-machine" in here.arm.groups


def test_a_security_group_of_the_users_is_used_and_never_changed(here):
    path = NETS + "networkSecurityGroups/shared"
    here.arm.put(path, properties={"securityRules": []})
    for name in ("shared", path):
        here.create("web%d" % len(name), nsg=name).driver.remove()
    assert here.arm.things[path.lower()]["properties"]["securityRules"] == []
    assert [name for name in here.arm.changes() if name.endswith("networkSecurityGroups")] == []


def test_a_security_group_that_was_named_and_made_goes_with_its_last_machine(here):
    for name in ("web", "two"):
        here.create(name, nsg="shared")
    assert here.arm.made.count(("networkSecurityGroups", "shared")) == 1
    here.load("two").driver.remove()
    shutil.rmtree(here.store.folder("two"))
    assert here.arm.thing("networkSecurityGroups", "shared")
    here.load("web").driver.remove()
    assert here.arm.is_empty()


def test_ports_are_opened_under_docker_machines_names(here):
    here.create(open_port=["80", "53/udp", "8000-8010/tcp", "90/*"], docker_port=2380)
    rules = {rule["name"]: rule["properties"] for rule in here.body("networkSecurityGroups")["securityRules"]}
    told = [(name, one["priority"], one["protocol"], one["destinationPortRange"]) for name, one in rules.items()]
    assert told[1:] == [
        ("DockerAllowAny", 300, "Tcp", "2380"), ("Port80-TcpAllowAny", 1000, "Tcp", "80"),
        ("Port53-UdpAllowAny", 1001, "Udp", "53"), ("Port8000-8010-TcpAllowAny", 1002, "Tcp", "8000-8010"),
        ("Port90-AsteriskAllowAny", 1003, "*", "90")]
    assert here.load().driver.engine_url().endswith(":2380")


def test_a_node_of_swarm_mode_gets_its_ports_opened(here):
    here.add_node().driver.create()
    rules = [rule["properties"] for rule in here.body("networkSecurityGroups")["securityRules"]]
    assert [(rule["protocol"], rule["destinationPortRange"]) for rule in rules] == [
        ("Tcp", "22"), ("Tcp", "2376"), ("Tcp", "2377"), ("Tcp", "7946"), ("Udp", "4789"), ("Udp", "7946")]
    assert len({rule["priority"] for rule in rules}) == 6


def test_an_availability_set_is_made_on_wish_with_the_domains_that_the_region_has(here):
    driver = here.create(availability_set="ha").driver
    path = HERE + "Microsoft.Compute/availabilitySets/ha"
    assert here.body()["availabilitySet"] == {"id": path}
    row = here.arm.body("availabilitySets")
    assert row["sku"] == {"name": "Aligned"} and row["properties"]["platformFaultDomainCount"] == 2
    driver.remove()
    assert here.arm.is_empty()


def test_an_availability_set_of_old_is_refused_and_nothing_is_left(here, call, soon):
    here.arm.put(HERE + "Microsoft.Compute/availabilitySets/ha", sku={"name": "Classic"})
    ended = call(*(soon + ["--azure-availability-set=ha", "web"]))
    assert ended.code == 3 and "cannot convert non-managed availability set ha" in ended.err, ended
    assert here.arm.changes() == [] and here.store.names() == []
    assert list(here.arm.things) == [(HERE + "Microsoft.Compute/availabilitySets/ha").lower()]


@pytest.mark.parametrize("flag", ["no_public_ip", "use_private_ip"])
def test_a_private_address_alone_or_beside_a_public_one(here, flag):
    driver = here.create(**{flag: "true", "private_ip_address": "192.168.0.9"}).driver
    ip = here.body("networkInterfaces")["ipConfigurations"][0]["properties"]
    assert driver["IPAddress"] == ip["privateIPAddress"] == "192.168.0.9"
    assert ip["privateIPAllocationMethod"] == "Static"
    assert (here.arm.thing("publicIPAddresses", "web-ip") is None) == (flag == "no_public_ip")
    driver.remove()
    assert here.arm.is_empty()


def test_with_a_dns_label_the_machine_is_reached_by_its_name(here):
    driver = here.create(dns="my-web").driver
    assert driver.get_ip() == "my-web.westus.cloudapp.azure.com"
    assert driver.get_url() == "tcp://my-web.westus.cloudapp.azure.com:2376"


def test_an_ipv6_address_comes_beside_the_other_one(here):
    driver = here.create(ipv6="true").driver
    first, second = [one["properties"] for one in here.body("networkInterfaces")["ipConfigurations"]]
    assert first["primary"] and second["privateIPAddressVersion"] == "IPv6"
    assert second["publicIPAddress"]["id"] == NETS + "publicIPAddresses/web-ip6"
    assert here.body("publicIPAddresses", "web-ip6")["publicIPAddressVersion"] == "IPv6"
    network = here.body("virtualNetworks")
    assert network["addressSpace"]["addressPrefixes"] == ["192.168.0.0/16", "fd64:6f63:6b65::/48"]
    assert network["subnets"][0]["properties"]["addressPrefixes"] == ["192.168.0.0/16", "fd64:6f63:6b65::/64"]
    assert driver["IPAddress"] == here.arm.thing("publicIPAddresses", "web-ip")["properties"]["ipAddress"]
    driver.remove()
    assert here.arm.is_empty()


# --- other flags

def test_spot_zone_trusted_launch_and_encryption_are_in_the_order(here):
    here.create(spot="true", spot_max_price="0.05", availability_zone="2", trusted_launch="true",
                encryption_at_host="true", accelerated_networking="true", storage_type="Premium_LRS",
                disk_encryption_set=HERE + "Microsoft.Compute/diskEncryptionSets/keys")
    order = here.body()
    assert here.arm.body("virtualMachines")["zones"] == ["2"]
    assert (order["priority"], order["evictionPolicy"], order["billingProfile"]) == (
        "Spot", "Deallocate", {"maxPrice": 0.05})
    assert order["securityProfile"] == {"securityType": "TrustedLaunch", "encryptionAtHost": True,
                                        "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True}}
    assert order["storageProfile"]["osDisk"]["managedDisk"] == {
        "storageAccountType": "Premium_LRS",
        "diskEncryptionSet": {"id": HERE + "Microsoft.Compute/diskEncryptionSets/keys"}}
    assert here.body("networkInterfaces")["enableAcceleratedNetworking"] is True


def test_a_spot_vm_without_a_price_is_never_evicted_for_it(here):
    here.create(spot="true", spot_eviction_policy="Delete")
    assert here.body()["billingProfile"] == {"maxPrice": -1.0} and here.body()["evictionPolicy"] == "Delete"


@pytest.mark.parametrize("at_once", [False, True])
def test_a_spot_vm_for_which_there_is_no_room_is_made_as_a_regular_one(here, capsys, at_once):
    if at_once:
        here.arm.fail("PUT virtualMachines", "SkuNotAvailable", 1, 409, "The requested size is not available")
    else:
        here.arm.end_badly("PUT virtualMachines", "AllocationFailed", "Allocation failed")
    driver = here.create(spot="true").driver
    assert "priority" not in here.body() and driver.get_state() == core.RUNNING
    assert "A regular one is made" in capsys.readouterr().err
    driver.remove()
    assert here.arm.is_empty()


def test_an_evicted_spot_vm_is_told_by_ls_and_starts(here, call, capsys):
    here.create(spot="true")
    here.arm.vm()["_power"] = "deallocated"
    ended = call("ls", "-t", "30")
    assert "Stopped" in ended.out and "The spot VM web was evicted by Azure" in ended.err
    here.load().driver.start()
    assert here.arm.vm()["_power"] == "running" and "evicted" not in call("ls", "-t", "30").err


def test_flags_whose_time_is_over_are_taken_and_explained(here, capsys):
    machine = here.machine(static_public_ip="true", managed_disks="true", enable_public_ip_standard_sku="true")
    told = capsys.readouterr().err
    assert "--azure-static-public-ip does nothing: every address is static." in told and told.count("nothing") == 3
    assert machine.driver["ManagedDisks"] is True


def test_tags_are_on_all_that_is_made(here):
    driver = here.create(tags="team,web,cost,42", availability_set="ha").driver
    for kind in ("virtualMachines", "networkInterfaces", "publicIPAddresses", "networkSecurityGroups",
                 "virtualNetworks", "availabilitySets"):
        tags = here.arm.body(kind)["tags"]
        assert (tags["team"], tags["cost"]) == ("web", "42") and tags["docker-machine"]
    assert here.stored()["Tags"] == {"team": "web", "cost": "42"} == driver["Tags"]


# --- killed, lost, failed

def test_answers_that_are_lost_make_nothing_twice(here):
    for name in ("PUT virtualMachines", "PUT networkInterfaces", "PUT resourceGroups", "POST virtualMachines/powerOff",
                 "DELETE virtualMachines"):
        here.arm.lose(name, 2)
    machine = here.create()
    machine.driver.stop()
    machine.driver.remove()
    assert len(here.arm.made) == len(set(here.arm.made)) and here.arm.is_empty()


def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_vms(here):
    here.arm.shake(0.3, seed=7)
    for number in range(20):
        name = "web%d" % number
        here.create(name, availability_set="ha").driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.arm.shake(0)
    for kind in ("virtualMachines", "networkInterfaces", "publicIPAddresses", "networkSecurityGroups"):
        assert len([name for made, name in here.arm.made if made == kind]) == 20
    assert here.arm.is_empty() and len(here.arm.calls) > 20 * 20


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_each_request_leaves_what_can_be_finished_and_removed(here, monkeypatch, after):
    """The process ends at the nth request, before or after ARM carries it out."""
    class Killed(BaseException):
        pass

    ask, left, dead = core.Rest.call, [0], [False]

    def call(self, *words, **more):
        left[0] -= 1
        dead[0] = dead[0] or left[0] == 0
        if dead[0] and not (after and left[0] == 0):
            raise Killed
        answer = ask(self, *words, **more)
        if dead[0]:
            raise Killed
        return answer

    for number in range(4, MOST_CALLS + 3):  # the first three are looks, all at once
        for finish in (True, False):
            left[0], dead[0], name = number, False, "web%d-%d" % (number, finish)
            with monkeypatch.context() as patch:
                patch.setattr(core.Rest, "call", call)
                machine = here.machine(name)
                try:
                    machine.driver.pre_create_check()
                    here.store.add(machine)
                    machine.driver.create()
                except (Killed, core.MachineError):  # of a thread that was killed nothing is heard
                    assert dead[0]
            if name not in here.store.names():
                continue
            again = here.load(name).driver
            if finish:
                again.create()
                assert here.arm.vm(name)["_power"] == "running"
            again.remove()
            assert here.arm.is_empty(), (number, finish, list(here.arm.things))
            shutil.rmtree(here.store.folder(name))
            assert here.arm.made.count(("virtualMachines", name)) <= 1


def test_rm_waits_for_an_interface_that_is_reserved(here, pauses):
    driver = here.create().driver
    here.arm.reserved = 5
    driver.remove()
    assert here.arm.is_empty() and sum(pauses) > 5


@pytest.mark.parametrize("kind", ["virtualMachines", "networkInterfaces", "networkSecurityGroups", "virtualNetworks"])
def test_what_is_gone_already_counts_as_removed(here, kind):
    driver = here.create().driver
    gone = [key for key in here.arm.things if kind.lower() in key]
    for key in gone:
        del here.arm.things[key]
    driver.remove()
    assert here.arm.is_empty()


def test_a_group_that_is_gone_takes_all_along(here, call):
    here.create()
    here.arm.things.clear()
    here.arm.groups.clear()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.store.names() == []


def test_two_removals_at_once_do_not_disturb_each_other(here):
    here.create()
    drivers = [here.load().driver for _ in range(2)]
    errors = core.each(lambda driver: driver.remove(), drivers)
    assert errors == [None, None] and here.arm.is_empty()


def test_a_namesake_that_is_not_ours_is_never_touched(here):
    driver = here.create().driver
    here.arm.things.clear()
    here.foreign("web", blob=False)
    before = sorted(here.arm.things)
    with pytest.raises(core.MachineError, match="Azure has no VM docker-machine/web"):
        driver.get_state()
    driver.remove()
    assert sorted(here.arm.things) == before


def test_what_takes_long_is_waited_for_with_the_pauses_that_azure_asks_for(here, pauses):
    here.arm.slow, here.arm.slow_network = 12, 4  # 12 polls, and 4 for each of four things, however they interleave
    here.create()
    polls = [name for name, _ in here.arm.calls if name.endswith("/operations")]
    assert len(polls) < 30 and sum(pauses) > 20


def test_a_provider_that_is_not_registered_is(here, capsys):
    here.arm.registered.clear()
    here.create()
    assert here.arm.registered == {"Microsoft.Compute", "Microsoft.Network"}
    assert "Registering Microsoft.Network with the subscription" in capsys.readouterr().out


ENDS = [
    ("OperationNotAllowed", "Operation could not be completed as it results in exceeding approved standardBSFamily "
     "Cores quota. Current Limit: 4", "A quota of the subscription is used up", "QuotaMenuBlade"),
    ("AllocationFailed", "Allocation failed.", "Azure has no room for a Standard_B2s in westus", "--azure-size"),
    ("OSProvisioningTimedOut", "OS Provisioning did not finish in time", "OS Provisioning did not finish", ""),
]


@pytest.mark.parametrize("code, told, words, hint", ENDS)
def test_an_operation_that_ends_badly_leaves_nothing(here, call, soon, code, told, words, hint):
    here.arm.end_badly("PUT virtualMachines", code, told)
    ended = call(*(soon + ["web"]))
    assert ended.code in (1, 3) and words in ended.err and told[:40] in ended.err and hint in ended.err, ended
    assert here.arm.is_empty() and here.store.names() == []


TROUBLES = {
    "quota": ("PUT virtualMachines", 409, "QuotaExceeded", "exceeding approved standardBSFamily Cores quota",
              "A quota of the subscription is used up: exceeding approved standardBSFamily", "ask for more"),
    "addresses": ("PUT publicIPAddresses", 400, "PublicIPCountLimitReached", "Cannot create more than 10",
                  "A quota of the subscription is used up", "ask for more"),
    "size": ("PUT virtualMachines", 409, "SkuNotAvailable", "The requested size for resource is not available",
             "Standard_B2s cannot be had in westus", "az vm list-skus --location westus"),
    "policy": ("PUT publicIPAddresses", 403, "RequestDisallowedByPolicy", "Resource 'web-ip' was disallowed by policy "
               "'No public addresses'", "A policy forbids this: Resource 'web-ip'", "--azure-no-public-ip"),
    "role": ("PUT networkInterfaces", 403, "AuthorizationFailed", "The client 'x' does not have authorization to "
             "perform action 'Microsoft.Network/networkInterfaces/write' over scope '/subscriptions/s/x' or",
             "The Azure login may not do Microsoft.Network/networkInterfaces/write", "--scope /subscriptions/s/x"),
    "tenant": ("GET resourceGroups", 401, "InvalidAuthenticationTokenTenant", "The access token is from the wrong "
               "issuer", "The login is of another tenant", "--azure-tenant-id"),
    "subscription": ("GET resourceGroups", 404, "SubscriptionNotFound", "could not be found",
                     "The login sees no subscription " + SUBSCRIPTION, "az account list"),
    "register": ("PUT networkSecurityGroups", 409, "MissingSubscriptionRegistration", "The subscription is not "
                 "registered to use namespace 'Microsoft.Network'", "does not have Microsoft.Network yet",
                 "az provider register --wait --namespace Microsoft.Network"),
    "terms": ("PUT virtualMachines", 400, "ResourcePurchaseValidationFailed", "User failed validation to purchase",
              "The terms of the image have not been accepted", "az vm image terms accept --urn Canonical:"),
    "label": ("PUT publicIPAddresses", 400, "DnsRecordInUse", "DNS record is in use", "The DNS label is taken",
              "--azure-dns"),
    "lock": ("PUT networkInterfaces", 409, "ScopeLocked", "The scope is locked", "A lock forbids this", "az lock list"),
}  # type: dict


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_each_trouble_has_its_sentence_and_the_next_command_and_leaves_nothing(here, call, soon, trouble):
    name, status, code, told, words, hint = TROUBLES[trouble]
    if trouble == "register":
        here.arm.fail("POST register", "AuthorizationFailed", 9, 403, "perform action 'x'")
    here.arm.fail(name, code, 100, status, told)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and words in ended.err and hint in ended.err, ended
    tries = [one for one in here.arm.names() if one == name]
    assert len(tries) <= 2, "it is of no use to ask again and again"
    assert here.store.names() == [] and not here.arm.things, list(here.arm.things)


@pytest.mark.parametrize("status, code", [(429, "TooManyRequests"), (409, "AnotherOperationInProgress"),
                                          (429, "RetryableError"), (409, "ResourceGroupBeingDeleted"),
                                          (503, "ServiceUnavailable")])
def test_what_passes_is_waited_for(here, status, code):
    here.arm.fail("PUT networkInterfaces", code, 3, status)
    here.create()
    assert here.arm.made.count(("networkInterfaces", "web-nic")) == 1


# --- logins

NO_CLIENT = {"AZURE_CLIENT_ID": None, "AZURE_CLIENT_SECRET": None, "AZURE_TENANT_ID": None}
AZ = """#!%s
import json, sys
assert "get-access-token" in sys.argv, sys.argv
print(json.dumps({"accessToken": %r, "expires_on": 9999999999, "expiresOn": "2099-01-01 00:00:00.000000"}))
""" % (sys.executable, TOKEN)


def put_az(here, script):
    """A PATH on which `az` is a script."""
    folder = here.folder / "az"
    folder.mkdir()
    (folder / "az").write_text(script)
    (folder / "az").chmod(0o755)
    return "%s:%s" % (folder, os.environ["PATH"])


def put_profile(here, **more):
    folder = here.folder / "dot-azure"
    folder.mkdir()
    row = dict({"id": SUBSCRIPTION, "tenantId": TENANT, "isDefault": True, "environmentName": "AzureCloud"}, **more)
    text = "\ufeff" + json.dumps({"subscriptions": [dict(row, id="other", isDefault=False), row]})
    (folder / "azureProfile.json").write_text(text, encoding="utf-8")
    return str(folder)


def test_az_gives_login_subscription_and_cloud(here, dm):
    env = dict(NO_CLIENT, PATH=put_az(here, AZ), AZURE_TOKEN_CREDENTIALS="dev",
               AZURE_CONFIG_DIR=put_profile(here), AZURE_SUBSCRIPTION_ID=None)
    ended = dm("create", "-d", "azure", "--azure-location=westusa", "web", **env)
    assert ended.code == 3 and 'no region' in ended.err and here.arm.tokens == 0, ended
    assert "PUT" not in str(here.arm.names())


def test_the_cloud_is_that_of_az_or_of_the_flag(here, monkeypatch):
    monkeypatch.setenv("AZURE_CONFIG_DIR", put_profile(here, environmentName="AzureChinaCloud"))
    here.environ.pop("AZURE_SUBSCRIPTION_ID")
    driver = here.machine().driver
    assert (driver["Environment"], driver["SubscriptionID"]) == ("AzureChinaCloud", SUBSCRIPTION)
    assert driver._cloud()[1] == "https://management.chinacloudapi.cn"
    monkeypatch.setenv("ARM_SUBSCRIPTION_ID", "another")
    driver = here.machine(environment="AzureUSGovernmentCloud").driver
    assert (driver._cloud()[0], driver["SubscriptionID"]) == ("login.microsoftonline.us", "another")


def test_a_managed_identity_gives_the_login(here, dm, monkeypatch):
    """As App Service has it, which is the only kind that may be elsewhere than at 169.254.169.254."""
    class Metadata(Arm):
        def handle(self, verb, url, headers, data):
            assert headers["X-IDENTITY-HEADER"] == "h" and "client_id=an-identity" in url
            return super().handle("POST", "/x/oauth2/v2.0/token", headers, b"")

    (here.folder / "tls").mkdir()
    server = Metadata(here.folder / "tls")
    monkeypatch.setattr(server, "_authority", lambda path, data: {
        "access_token": TOKEN, "expires_on": "9999999999", "resource": "x", "token_type": "Bearer"})
    env = dict(NO_CLIENT, AZURE_CLIENT_ID="an-identity", IDENTITY_ENDPOINT=server.url, IDENTITY_HEADER="h")
    ended = dm("create", "-d", "azure", "--azure-location=westusa", "web", **env)
    server.close()
    assert ended.code == 3 and "no region" in ended.err, ended


def test_a_device_code_is_asked_for_by_the_tenants_authority(here, monkeypatch):
    for name in NO_CLIENT:
        monkeypatch.delenv(name)
        here.environ.pop(name)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setattr(os, "isatty", lambda number: True)
    driver = here.machine(tenant_id=TENANT).driver
    said = []  # type: list
    monkeypatch.setattr(driver, "log", said.append)
    assert driver._signed("GET", "", b"") == {"Authorization": "Bearer " + TOKEN}
    assert said == ["To log in, open https://microsoft.com/devicelogin and enter the code ABCD-1234"]


def test_no_login_is_one_sentence_and_no_prompt_also_in_ls(here, call, soon, closed_port):
    env = dict(NO_CLIENT, PATH=str(here.folder / "bin"), AZURE_TOKEN_CREDENTIALS="AzureCliCredential")
    (here.folder / "bin").mkdir()
    for name in ("ssh", "ssh-keygen", "openssl"):
        (here.folder / "bin" / name).symlink_to(shutil.which(name))
    ended = call(*(soon + ["web"]), **env)
    assert ended.code == 3 and ended.err.count("No Azure login was found") == 1, ended
    assert "Log in: az login" in ended.err and here.arm.calls == []
    for name in ("a", "b"):
        here.old(name)
    listed = call("ls", "-t", "30", **env)
    assert listed.code == 0 and "No Azure login was found" in listed.out + listed.err, listed


LOGINS = [
    ("AADSTS7000222: The provided client secret keys for app 'x' are expired.", "The client secret has expired",
     "az ad app credential"),
    ("AADSTS7000215: Invalid client secret provided.", "The client secret is wrong", "not its id"),
    ("AADSTS700016: Application with identifier 'x' was not found", "no application of that client", "--azure-tenant"),
    ("AADSTS90002: Tenant 'x' not found.", "There is no such tenant", "az account show"),
    ("AADSTS700082: The refresh token has expired due to inactivity.", "The Azure login has expired", "az login"),
]


@pytest.mark.parametrize("told, words, hint", LOGINS)
def test_each_word_of_entra_has_its_sentence(here, call, soon, told, words, hint):
    here.arm.login = told
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and words in ended.err and told[:20] in ended.err and hint in ended.err, ended
    assert here.arm.calls == [] and SECRET not in ended.err + ended.out


def test_a_login_server_that_is_not_there_is_told(here, call, soon, closed_port):
    ended = call(*(soon + ["web"]), AZURE_AUTHORITY_HOST="https://127.0.0.1:%d" % closed_port)
    assert ended.code == 3 and "login server cannot be reached" in ended.err, ended


@pytest.mark.parametrize("known", [True, False])
def test_the_tenant_is_the_subscriptions(here, dm, known):
    env = {"AZURE_TENANT_ID": None}
    if known:
        env["AZURE_CONFIG_DIR"] = put_profile(here)
    ended = dm("create", "-d", "azure", "--azure-location=westusa", "web", **env)
    assert ended.code == 3 and "no region" in ended.err, ended
    assert (here.arm.names()[0] == "GET subscriptions") == (not known)


def test_the_only_subscription_is_taken_and_of_several_one_is_to_be_named(here, call, soon):
    bare = {"AZURE_SUBSCRIPTION_ID": None}
    ended = call(*(soon + ["web"]), **bare)
    assert "(web) The subscription is %s (Pay)." % SUBSCRIPTION in ended.out and here.arm.vm()
    here.arm.subscriptions.append("another")
    ended = call(*(soon + ["two"]), **bare)
    assert ended.code == 3 and "has 2 subscriptions" in ended.err and "another (Pay)" in ended.err


def test_a_token_that_is_refused_is_renewed_once(here):
    driver = here.create().driver
    here.arm.fail("GET virtualMachines", "ExpiredAuthenticationToken", 1, 401, "The token is expired")
    before = here.arm.tokens
    assert driver.get_state() == core.RUNNING and here.arm.tokens <= before + 1


def test_a_secret_that_was_typed_is_stored_and_one_of_the_variable_is_not(here, call, soon):
    ended = call(*(soon + ["web"]))
    assert here.stored()["ClientSecret"] == "" == here.stored()["ClientID"]
    bare = {"AZURE_CLIENT_ID": None, "AZURE_CLIENT_SECRET": None}
    ended = call("--debug", *(soon + ["--azure-client-id=me", "--azure-client-secret=" + SECRET, "two"]), **bare)
    assert here.stored("two")["ClientSecret"] == SECRET
    assert not [secret for secret in (SECRET, TOKEN) if secret in ended.out + ended.err]
    holders = [path for path in here.folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert {path.name for path in holders} == {"config.json"} and stat.S_IMODE(holders[0].stat().st_mode) == 0o600
    assert call("status", "two", **bare).out == "Running\n"


# --- entries of Docker Machine and of its fork

@pytest.mark.parametrize("blob", [False, True])
@pytest.mark.parametrize("fork", sorted(FORKS))
def test_entries_of_docker_machine_and_its_fork_work_and_keep_their_fields(here, call, soon, fork, blob):
    here.old(**FORKS[fork])
    if not blob:
        here.arm.clear()
        here.foreign("old", blob=False, sku="Standard")
    before = here.stored("old")
    assert call("status", "old").out == "Running\n"
    assert "Running" in call("ls", "-t", "30").out
    call("stop", "old")
    assert call("status", "old").out == "Stopped\n"
    call("start", "old")
    stored = here.stored("old")
    assert stored["IPAddress"] == "127.9.9.9"
    del before["IPAddress"]
    assert {name: stored[name] for name in before} == before
    ended = call("rm", "-y", "old")
    assert ended.code == 0 and here.store.names() == [], ended
    assert ("--blob-url https://vhds1.blob.core.windows.net/vhd-old/old-os-disk.vhd" in ended.err) == blob
    assert here.arm.things == {} and "docker-machine" in here.arm.groups, list(here.arm.things)


def test_a_shared_security_group_of_ranchers_goes_with_its_last_machine(here, call):
    path = NETS + "networkSecurityGroups/team"
    here.arm.put(path, tags={"rancher-managed": "true"})
    for name in ("a", "b"):
        here.old(name, NSG="team", ManagedDisks=True)
        del here.arm.things[(NETS + "networkSecurityGroups/%s-firewall" % name).lower()]
        nic = here.arm.thing("networkInterfaces", name + "-nic")
        nic["properties"]["networkSecurityGroup"]["id"] = path
    assert call("rm", "-y", "a").code == 0 and here.arm.thing("networkSecurityGroups", "team")
    assert call("rm", "-y", "b").code == 0 and not here.arm.things


def test_a_machine_of_before_resource_manager_is_told(here, call):
    here.old(**{})
    machine = here.load("old")
    machine.config["Driver"]["ResourceGroup"] = ""
    machine.save()
    assert "new azure driver cannot manage old VMs, downgrade to v0.6.0" in call("status", "old").err


def test_ls_asks_once_for_all_machines_of_a_subscription(here, call, closed_port, monkeypatch):
    """30 machines in two groups: one call; one that is gone has no say in those of the others."""
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for number in range(30):
        here.old("web-%d" % number)
    del here.arm.things[(HERE + "Microsoft.Compute/virtualMachines/web-7").lower()]
    listed = call("ls", "-t", "60").out
    assert here.arm.names() == ["GET virtualMachines"], listed
    assert listed.count("Running") == 29 and listed.count("Azure has no VM") == 1


def test_ls_of_engines_that_answer_loads_no_azure_identity_and_asks_nothing(here, dm, engine_port):
    here.given["docker_port"] = engine_port
    assert listed_by_engines(here, dm, engine_port, "InstanceID", "azure.identity").count("Running") == 3
    assert here.arm.calls == []


def test_a_boot_that_ends_is_found_out_and_is_asked_about_only_now_and_then(here, capsys):
    driver = here.create().driver
    del here.arm.calls[:]
    for _ in range(20):
        driver.check_boot()
    assert here.arm.names() == []
    for _ in range(5):
        time.sleep(31)
        driver.check_boot()
    assert capsys.readouterr().err.count("SSH does not answer yet") == 1
    here.arm.vm()["_power"] = "stopped"
    time.sleep(31)
    with pytest.raises(core.MachineError, match="is off again"):
        driver.check_boot()
    assert here.arm.names().count("GET virtualMachines") == 6


# --- the page on the driver

def test_the_actions_on_the_drivers_page_are_those_that_the_calls_take(here, arm, call, soon, monkeypatch):
    """A call that takes another one is refused by the server in all these tests; here, each of them is needed."""
    used, check = set(), arm.check_rights
    monkeypatch.setattr(arm, "check_rights", lambda *words: used.update(check(*words)))
    arm.registered.clear()
    arm.slow_network = 3
    call(*(soon + ["--azure-availability-set=ha", "web"]), AZURE_SUBSCRIPTION_ID=None)
    for verb in ("stop", "start", "restart"):
        call(verb, "web")
    arm.put(GALLERY, properties={})
    keys = HERE + "Microsoft.Compute/diskEncryptionSets/keys"
    here.create("two", image=GALLERY, deallocate="true", disk_encryption_set=keys).driver.stop()
    here.create("three", image="/CommunityGalleries/p/Images/golden")
    call("ls", "-t", "30")
    for flag in ("location=e", "image=Canonical:ubuntu-24_04-lts:e:latest"):
        call(*(soon + ["--azure-" + flag, "four"]))
    call("rm", "-y", "web")
    arm.reserved = 1  # lest the interface go with the VM
    call("rm", "-y", "two")
    arm.put(HERE + "Microsoft.Compute/disks/three-os-disk")
    arm.vm("three")["properties"]["storageProfile"]["osDisk"]["deleteOption"] = "Detach"
    arm.vm("three")["_disk"] = "gone"
    call("rm", "-y", "three")
    del arm.things[GALLERY.lower()], arm.groups["images"]
    assert arm.is_empty()
    arm.put(VNET, properties={"subnets": []})
    here.create("five").driver.remove()
    assert used == permissions()
