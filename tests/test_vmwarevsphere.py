"""The driver "vmwarevsphere" against a govc that keeps virtual machines (govc.py), in both forms of its JSON.

tests/integration/test_vmwarevsphere.py has VMware's own govc and vcsim, and a VM that is a real host.
"""

import json
import os
import shutil
import tarfile

import pytest
from conftest import HANG
from govc import CHANGING, PASSWORD, PORT, USER, Failure, VSphere
from machines import Kill, ProviderMachines, ours, take_environment
from test_seed import CD

import docker_machine as core

ROOT = os.path.dirname(os.path.abspath(__file__))
VARIABLES = {"VSPHERE_VCENTER": "127.0.0.1", "VSPHERE_VCENTER_PORT": str(PORT), "VSPHERE_USERNAME": USER,
             "VSPHERE_PASSWORD": PASSWORD}
# config.json of Docker Machine 0.16.2 and of Rancher's fork: drivers/vmwarevsphere, in the order of their structs.
OLD = {"IPAddress": "127.10.9.9", "MachineName": "old", "SSHUser": "docker", "SSHPort": 22, "SSHKeyPath": "",
       "SwarmMaster": False, "SwarmHost": "", "SwarmDiscovery": "", "Memory": 2048, "DiskSize": 20480, "CPU": 2,
       "ISO": "/home/x/.docker/machine/machines/old/boot2docker.iso", "Boot2DockerURL": "", "CPUS": 2,
       "IP": "127.0.0.1", "Port": PORT, "Username": USER, "Password": PASSWORD, "Network": "VM Network",
       "Networks": ["VM Network"], "Datastore": "disks", "Datacenter": "/DC0", "Folder": "team", "Pool": "",
       "HostSystem": "", "CfgParams": None, "CloudInit": "", "SSHPassword": "tcuser"}
RANCHER = dict(OLD, MachineName="fork", MachineId="", Tags=["urn:x"], CustomAttributes=None, DatastoreCluster="",
               CloudConfig="", VAppIpProtocol="", VAppIpAllocationPolicy="", VAppTransport="", VAppProperties=None,
               CreationType="template", ContentLibrary="", CloneFrom="/DC0/vm/debian", SSHUserGroup="staff", OS="linux",
               GracefulShutdownTimeout=0)


class Here(ProviderMachines):
    environ = VARIABLES

    def __init__(self, vsphere, store, folder):
        image = folder / "disk.vmdk"
        image.write_bytes(vmdk(3 << 20))
        super().__init__(store, core.load_driver("vmwarevsphere"), folder, image=image.as_uri())
        self.vsphere = vsphere

    def old(self, fields, **more):
        """An entry of another program, as it wrote it."""
        machine = self.store.new(fields["MachineName"], self.driver_class)
        machine.config["Driver"] = dict(fields, StorePath=self.store.path, **more)
        self.store.add(machine)
        machine.mark("")
        return machine


def vmdk(size):
    """What begins as a streamOptimized VMDK of a disk of so many bytes."""
    head = bytearray(1024)
    head[:8], head[12:20], head[77:79] = b"KDMV\3\0\0\0", (size // 512).to_bytes(8, "little"), b"\1\0"
    return bytes(head)


@pytest.fixture
def vsphere(dm, tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    folder.mkdir()
    server = VSphere(folder)
    path = "%s:%s" % (folder, os.environ["PATH"])
    take_environment(monkeypatch, {"PATH": path}, "VSPHERE_", "GOVC_")
    dm.env["PATH"] = path
    yield server
    server.close()
    assert server.wrong == []


@pytest.fixture
def here(vsphere, store, tmp_path, pauses, monkeypatch):
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(core.os, "fsync", lambda file: None)
    return Here(vsphere, store, tmp_path)


def state_of(vsphere):
    return sorted(vsphere.vms), sorted(vsphere.files)


def names(vm, kind):
    return [device for device in vm["devices"] if device["name"].startswith(kind)]


# --- a creation

@pytest.mark.parametrize("camel", [False, True])
def test_what_is_made_by_default(here, vsphere, camel):
    vsphere.camel = camel
    machine = here.create()
    vm = vsphere.vm()
    assert (vm["cpu"], vm["memory"], vm["row"]["runtime"]["powerState"]) == ("2", "2048", "poweredOn")
    assert [card["network"] for card in names(vm, "ethernet")] == ["/DC0/network/VM Network"]
    assert names(vm, "disk")[0]["capacityInKB"] == 20480 << 10
    stored = here.stored()
    assert (stored["IPAddress"], stored["MachineId"]) == (vsphere.address, vm["row"]["config"]["uuid"])
    assert vm["row"]["config"]["annotation"] == stored["CreateTag"] != ""
    files = CD(vsphere.files["[disks] web/seed.iso"]).files()
    said = ours(files["USER-DATA"].decode())
    assert said["users"][0]["name"] == "docker" and said["ssh_keys"]["ed25519_public"].startswith("ssh-ed25519 ")
    (card,) = json.loads(files["NETWORK-CONFIG"].decode())["ethernets"].values()
    assert card["match"] == {"macaddress": names(vm, "ethernet")[0]["macAddress"].lower()}
    assert len(vsphere.calls) == 24, "the driver's page has the figure"
    assert not os.path.exists(machine.driver.path("disk.ova")) and machine.driver.get_state() == core.RUNNING


def test_an_ova_holds_the_disk_and_the_hardware(here, tmp_path):
    driver = here.machine(cpu_count=3).driver
    os.makedirs(driver.folder)
    image = tmp_path / "disk.vmdk"
    with tarfile.open(driver._packed(str(image))) as archive:
        ovf, disk = archive.extractfile("machine.ovf"), archive.extractfile("disk.vmdk")
        assert ovf and disk and disk.read() == image.read_bytes()
        text = ovf.read().decode()
    assert 'ovf:capacity="%d"' % (3 << 20) in text and "<rasd:VirtualQuantity>3</rasd:VirtualQuantity>" in text


@pytest.mark.parametrize("camel", [False, True])
def test_a_clone_gets_the_networks_disk_tags_and_attributes_that_were_asked_for(here, vsphere, camel):
    vsphere.camel = camel
    vsphere.add("/DC0/vm/debian", "poweredOff")
    here.create(clone_from="debian", network=["back end"], tag="green", custom_attribute="team=a=b", folder="team",
                cfgparam=["x.y=1=2", "z"], cloud_config=str(here.file("#cloud-config\npackages: [jq]\n")))
    vm = vsphere.vm("/DC0/vm/team/web")
    assert [card["network"] for card in names(vm, "ethernet")] == ["/DC0/network/back end"]
    assert (vm["tags"], vm["fields"]) == (["green"], {"team": "a=b"})
    assert vm["extra"] == {"x.y": "1=2", "z": ""} and len(names(vm, "cdrom")) == 1
    assert b"packages: [jq]" in vsphere.files["[disks] web/seed.iso"] or here.stored()["CloudConfig"]


def test_an_item_of_a_library_keeps_its_larger_disk(here, vsphere):
    here.create(clone_from="debian", content_library="lib")
    assert names(vsphere.vm(), "disk")[0]["capacityInKB"] == 90 << 20


def test_guestinfo_goes_by_files_and_never_by_the_command_line(here, vsphere):
    vsphere.camel = True
    here.create(seed="guestinfo")
    extra = vsphere.vm()["extra"]
    assert extra["guestinfo.userdata.encoding"] == extra["guestinfo.metadata.encoding"] == "base64"
    from base64 import b64decode
    metadata = json.loads(b64decode(extra["guestinfo.metadata"]).decode())
    assert metadata["redact"] == ["userdata"] and len(metadata["network"]["ethernets"]) == 1
    assert ours(b64decode(extra["guestinfo.userdata"]).decode())["users"]
    assert not names(vsphere.vm(), "cdrom")
    given = [word for words in vsphere.calls for word in words if "guestinfo." in word]
    assert given and all(word.partition("=")[2].startswith("/") for word in given)


def test_guestinfo_takes_a_govc_that_reads_files(here):
    with pytest.raises(core.MachineError, match="cannot take guestinfo from a file") as failure:
        here.add(seed="guestinfo")
    assert "newer govc" in failure.value.hint


def test_ignition_goes_untouched(here, vsphere):
    vsphere.camel = True
    here.create(cloudinit=str(here.file('{"ignition": {"version": "3.4.0"}}')), ssh_user="core")
    assert "guestinfo.ignition.config.data" in vsphere.vm()["extra"] and not names(vsphere.vm(), "cdrom")


def test_boot2docker_gets_its_key_by_the_tools(here, vsphere, tmp_path):
    iso = tmp_path / "boot2docker.iso"
    iso.write_bytes(core.seed_iso({"x": b"y"}))
    here.create(boot2docker_url=iso.as_uri())
    vm = vsphere.vm()
    assert vm["guest"][:2] == ["userdata.tar", "/home/docker/userdata.tar"]
    assert vm["guest"][2].startswith("/usr/bin/sudo /bin/sh -c 'tar xf") and names(vm, "disk")
    assert vsphere.files["[disks] web/boot2docker.iso"] == iso.read_bytes()
    assert not any("tcuser" in word for words in vsphere.calls for word in words)


# --- what is refused

@pytest.mark.parametrize("flag, value, words", [
    ("folder", "tem", 'no folder "tem"'), ("folder", "deep", '2 of the folder "deep"'),
    ("network", "VM Netwrk", 'no network "VM Netwrk"'), ("pool", "smal", 'no pool "smal"'),
    ("hostsystem", "h3", 'no host "h3"'), ("datastore", "disk", 'no datastore "disk"'),
    ("datacenter", "DC1", 'no datacenter "DC1"'), ("clone-from", "debia", 'no VM or template "debia"'),
    ("hostsystem", "h?", '2 of the host "h?"'), ("datastore-cluster", "pods", 'no datastore cluster "pods"')])
def test_what_is_missing_or_there_twice_is_named_with_the_nearest(here, vsphere, flag, value, words):
    vsphere.add("/DC0/vm/debian", "poweredOff")
    before = state_of(vsphere)
    with pytest.raises(core.MachineError) as failure:
        here.add(**{flag.replace("-", "_"): value})
    assert words in failure.value.message and "govc find" in failure.value.hint
    near = {"folder": "team", "network": "VM Network", "pool": "small", "host": "h1", "datastore": "disks",
            "datacenter": "DC0", "VM or template": "debian"}
    if "no " in words and "cluster" not in words:
        assert near[words[3:].partition(' "')[0]] in failure.value.hint
    assert state_of(vsphere) == before and not vsphere.changes()


@pytest.mark.parametrize("path, kind, flag", [
    ("/DC0/host/C1/Resources", "p", "pool"), ("/DC0/datastore/more", "s", "datastore"),
    ("/DC1", "d", "datacenter"), ("/DC0/network/other/VM Network", "n", "network")])
def test_a_default_that_is_not_the_only_one_is_asked_for_by_its_flag(here, vsphere, path, kind, flag):
    vsphere.places.append((path, kind))
    with pytest.raises(core.MachineError) as failure:
        here.add()
    assert path in failure.value.message and "--vmwarevsphere-%s PATH" % flag in failure.value.hint


def test_the_hosts_own_pool_is_the_default(here, vsphere):
    vsphere.places += [("/DC0/host/C1/Resources", "p"), ("/DC0/host/C1/h9", "h")]
    here.create(hostsystem="h9")
    (words,) = [words for words in vsphere.calls if words[0] == "import.ova"]
    assert words[words.index("-pool") + 1] == "/DC0/host/C1/Resources"


def test_of_a_cluster_the_datastore_with_most_room_is_taken(here, vsphere):
    vsphere.places += [("/DC0/datastore/pods", "StoragePod"), ("/DC0/datastore/pods/a", "s"),
                       ("/DC0/datastore/pods/large", "s"), ("/DC0/datastore/pods-of-others", "s")]
    here.create(datastore_cluster="pods")
    (words,) = [words for words in vsphere.calls if words[0] == "import.ova"]
    assert words[words.index("-ds") + 1] == "/DC0/datastore/pods/large"


def test_a_name_that_is_taken_is_refused_before_anything_is_made(here, vsphere):
    vsphere.add()
    with pytest.raises(core.MachineError, match="has a VM /DC0/vm/web already"):
        here.add()
    assert not vsphere.changes()


def test_a_single_esxi_is_told_from_a_vcenter(here, vsphere):
    vsphere.lone = True
    for flag, value in (("clone_from", "x"), ("tag", "green"), ("folder", "team"), ("custom_attribute", "a=b")):
        with pytest.raises(core.MachineError, match="takes a vCenter"):
            here.add(**{flag: value})
    here.create()


@pytest.mark.parametrize("flags", [
    {"os": "windows"}, {"creation_type": "vm"}, {"content_library": "lib"},
    {"datastore": "a", "datastore_cluster": "b"}, {"creation_type": "library", "clone_from": "x"},
    {"vapp_property": "a=ip:net"}, {"custom_attribute": "a"}])
def test_flags_that_contradict_each_other(here, flags):
    with pytest.raises(core.UsageError):
        here.machine(**flags)


@pytest.mark.parametrize("words, hint", [
    ("x509: certificate signed by unknown authority", "--vmwarevsphere-ca-cert"),
    ("ServerFaultCode: Login failure", "--vmwarevsphere-username"),
    ("ServerFaultCode: NoPermission", "privileges"), ("*types.NoDiskSpace", "Make room"),
    ("ServerFaultCode: Current license or ESXi version prohibits execution", "free ESXi")])
def test_what_vsphere_says_leads_to_the_next_step(here, vsphere, words, hint):
    vsphere.fail = [("about", words)]
    with pytest.raises(core.MachineError) as failure:
        here.add()
    assert hint in failure.value.hint


def test_a_passing_fault_is_waited_out(here, vsphere):
    vsphere.fail = [("about", "Post https://x/sdk: dial tcp 127.0.0.1:1: connect: connection refused")] * 2
    here.create()


def test_a_card_that_is_refused_is_a_failure_and_not_a_vm_without_one(here, vsphere):
    vsphere.fail = [("vm.network.add", "ServerFaultCode: Invalid configuration for device '0'.")]
    machine = here.add(network=["VM Network", "back end"])
    with pytest.raises(core.MachineError, match="Invalid configuration"):
        machine.driver.create()
    assert vsphere.vm()["row"]["runtime"]["powerState"] == "poweredOff"
    machine.driver.create()
    assert len(names(vsphere.vm(), "ethernet")) == 2


def test_a_creation_that_is_refused_leaves_nothing(here, vsphere, dm):
    before = state_of(vsphere)
    vsphere.fail = [("import.ova", "ServerFaultCode: InsufficientResourcesFault")]
    done = dm("create", "-d", "vmwarevsphere", "--vmwarevsphere-image=" + here.given["image"], "web", **VARIABLES)
    assert done.code == 3 and state_of(vsphere) == before and dm("ls", "-q").out == ""


# --- however it ends

RICH = {"network": ["VM Network", "back end"], "tag": "green", "custom_attribute": "team=a"}


@pytest.mark.once
@pytest.mark.parametrize("way, when", [("image", "after"), ("library", "before")])
def test_a_kill_at_each_changing_call(here, vsphere, monkeypatch, way, when):
    """`rm` leaves all as it was then; `provision` goes on. The integration tests have clones and ISOs, too."""
    vsphere.camel = True
    vsphere.add("/DC0/vm/debian", "poweredOff")
    flags = dict(RICH, **{"library": {"clone_from": "debian", "content_library": "lib"}}.get(way, {}))
    before = state_of(vsphere)
    for number in range(40):
        for goes_on in (False, True):
            machine = here.add("vm%d%s" % (number, goes_on), **flags)
            was_killed = killed(here, monkeypatch, machine, when, number)
            again = here.load(machine.name).driver
            if goes_on and was_killed:
                again.create()
                assert names(vsphere.vm("/DC0/vm/" + machine.name), "disk") and len(vsphere.vms) == 2
                assert len(names(vsphere.vm("/DC0/vm/" + machine.name), "ethernet")) == 2
                assert again.get_state() == core.RUNNING
            again.remove()
            assert state_of(vsphere) == before
            shutil.rmtree(here.store.folder(machine.name))
        if not was_killed:
            break
    assert 8 < number < 40


def killed(here, monkeypatch, machine, when, number):
    """Whether a creation had a changing call of that number, at which it was killed."""
    seen = []  # type: list

    def is_meant(verb, *words, **more):
        seen.extend([verb] if verb in CHANGING and words != ("-h",) else [])
        return verb in CHANGING and len(seen) == number + 1

    with monkeypatch.context() as patch:
        kill = Kill(here, patch, "govc", when, is_meant)
        try:
            machine.driver.create()
        except KeyboardInterrupt:
            kill.bury()
        else:
            here.finish(machine)
        return kill.died


def test_four_at_once_in_one_folder(here, vsphere, dm):
    machines = [here.add("web%d" % number, folder="team") for number in range(4)]
    assert core.each(lambda machine: machine.driver.create(), machines) == [None] * 4
    assert sorted(vsphere.vms) == ["/DC0/vm/team/web%d" % number for number in range(4)]
    assert len({here.finish(machine).driver["MachineId"] for machine in machines}) == 4


def test_an_answer_that_is_lost_makes_no_second_vm(here, vsphere, monkeypatch):
    vsphere.add("/DC0/vm/debian", "poweredOff")
    clone = vsphere.vm_clone

    def lost(given, rest, lists):
        clone(given, rest, lists)
        raise Failure("Post https://x/sdk: EOF")

    monkeypatch.setattr(vsphere, "vm_clone", lost)
    here.create(clone_from="/DC0/vm/debian")
    assert sorted(vsphere.vms) == ["/DC0/vm/debian", "/DC0/vm/web"]


def test_a_vm_without_tools_says_so(here, vsphere, monkeypatch):
    vsphere.tools = False
    machine = here.add()
    wait = core.wait_for
    monkeypatch.setattr(core, "wait_for", lambda check, seconds, *more: wait(check, seconds / 9000, *more))
    with pytest.raises(core.MachineError) as failure:
        machine.driver.create()
    assert "open-vm-tools" in failure.value.hint


# --- on, off, and away

def test_power(here, vsphere):
    driver = here.create().driver
    driver.stop()
    assert driver.get_state() == core.STOPPED
    vsphere.address = "127.10.8.9"
    driver.start()
    assert driver["IPAddress"] == "127.10.8.9"
    driver.kill()
    assert driver.get_state() == core.STOPPED
    vsphere.vm()["row"]["runtime"]["powerState"] = "suspended"
    assert driver.get_state() == core.SAVED
    driver.start()
    vsphere.tools = False
    driver.act("restart")
    assert vsphere.calls[-1][1] == "-reset"


def test_rm_shuts_down_first_where_that_is_asked_for(here, vsphere):
    before = state_of(vsphere)
    here.create(graceful_shutdown_timeout=5).driver.remove()
    assert [words[1] for words in vsphere.calls if words[0] == "vm.power"] == ["-on", "-s"]
    assert state_of(vsphere) == before


def test_rm_of_a_vm_whose_iso_or_self_is_gone(here, vsphere):
    here.create("a"), here.create("b")
    del vsphere.files["[disks] a/seed.iso"], vsphere.vms["/DC0/vm/b"]
    vsphere.fail = [("datastore.rm", "*types.FileNotFound")]
    for name in ("a", "b"):
        here.load(name).driver.remove()
    assert vsphere.vms == {}


def test_a_vm_that_was_moved_is_found_and_a_clone_of_it_is_left_alone(here, vsphere):
    driver = here.create().driver
    vsphere.vms["/DC0/vm/team/new"] = vsphere.vms.pop("/DC0/vm/web")
    vsphere.add("/DC0/vm/web")["row"]["config"]["uuid"] = driver["MachineId"]
    assert driver.get_state() == core.RUNNING
    vsphere.vms["/DC0/vm/web"]["row"]["config"]["uuid"] = "other"
    driver.remove()
    assert sorted(vsphere.vms) == ["/DC0/vm/web"]


@pytest.mark.parametrize("camel", [False, True])
def test_entries_of_docker_machine_and_of_ranchers_fork(here, vsphere, camel):
    vsphere.camel = camel
    old, fork = vsphere.add("/DC0/vm/team/old"), vsphere.add("/DC0/vm/team/fork", "poweredOff")
    here.old(OLD), here.old(RANCHER, MachineId=fork["row"]["config"]["uuid"])
    drivers = [here.load(name).driver for name in ("old", "fork")]
    assert here.driver_class.states(drivers, HANG) == [core.RUNNING, core.STOPPED]
    assert sum(words[0] == "vm.info" for words in vsphere.calls) <= 2
    drivers[0].stop(), drivers[1].start()
    assert [vm["row"]["runtime"]["powerState"] for vm in (old, fork)] == ["poweredOff", "poweredOn"]
    vsphere.files["[disks] old/boot2docker.iso"] = b""
    old["devices"].append({"name": "cdrom-3000", "backing": {"fileName": "[disks] old/boot2docker.iso"}})
    for driver in drivers:
        driver.remove()
    assert state_of(vsphere) == ([], [])
    with pytest.raises(core.MachineError, match="has no VM /DC0/vm/team/old"):
        here.load("old").driver.get_state()


def test_a_foreign_vm_of_the_name_is_never_touched(here, vsphere):
    machine = here.add()
    vsphere.add()
    machine.driver["CreateTag"] = "docker-machine-0123456789abcdef"
    machine.driver.remove()
    assert sorted(vsphere.vms) == ["/DC0/vm/web"] and not vsphere.changes()


# --- secrets

def test_the_password_is_in_config_json_and_nowhere_else(here, vsphere, dm):
    vsphere.fail = [("vm.power", "ServerFaultCode: it will not")]
    done = dm("--debug", "create", "-d", "vmwarevsphere", "--vmwarevsphere-image=" + here.given["image"], "web",
              GOVC_DATASTORE="foreign", GOVC_DEBUG="true", GOVC_NETWORK="x", **VARIABLES)
    assert done.code != 0 and "it will not" in done.err
    assert PASSWORD not in done.out + done.err + dm("inspect", "web").out
    assert not any(PASSWORD in word for words in vsphere.calls for word in words)
    holders = {name for folder, _, files in os.walk(here.store.path) for name in files
               if PASSWORD.encode() in core.read_bytes(os.path.join(folder, name))}
    assert holders and holders <= {"config.json", "config.json.bak"}
