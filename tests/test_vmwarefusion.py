"""The driver "vmwarefusion" against a `vmrun` that reads our .vmx files (see fusion.py); qemu-img reads its disks.

Whether a machine boots is not seen here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fusion import Fusion
from killed import Killed
from machines import Machines, take_environment
from test_seed import CD

import docker_machine as core

pytestmark = pytest.mark.once
SIZE = 3000
# config.json of Docker Machine 0.16.2: drivers/vmwarefusion, in the order of its struct.
OLD = {"IPAddress": "127.10.9.9", "MachineName": "old", "SSHUser": "docker", "SSHPort": 22, "SSHKeyPath": "",
       "SwarmMaster": False, "SwarmHost": "", "SwarmDiscovery": "", "Memory": 1024, "DiskSize": 20000, "CPU": 1,
       "ISO": "/old/boot2docker.iso", "Boot2DockerURL": "", "SSHPassword": "tcuser",
       "ConfigDriveISO": "/old/configdrive.iso", "ConfigDriveURL": "", "NoShare": False}


def driver_module():
    return sys.modules[core.load_driver("vmwarefusion").__module__]


class Here(Machines):
    """The computer, and a store as this very process finds it."""

    def __init__(self, fusion, store, folder):
        image = folder / "disk.raw"
        image.write_bytes(b"raw".ljust(510) + b"\x55\xaa" + bytes((2 << 20) - 512) + b"end")
        super().__init__(store, core.load_driver("vmwarefusion"), folder, boot2docker_url=image.as_uri(),
                         disk_size=SIZE, no_share="true")
        self.fusion = fusion

    def add(self, name="web", **flags):
        """A machine that passed the check and is in the store; nothing is made yet."""
        machine = self.machine(name, **flags)
        machine.driver.pre_create_check()
        self.store.add(machine)
        return machine

    def old(self, **fields):
        """An entry as Docker Machine wrote it, with its VM, which runs."""
        machine = self.store.new("old", self.driver_class)
        machine.config["Driver"] = dict(OLD, StorePath=self.store.path, **fields)
        self.store.add(machine)
        machine.mark("")
        vmx = Path(machine.folder) / "old.vmx"
        vmx.write_text('displayName = "old"\nethernet0.generatedAddress = "00:0C:29:11:22:33"\n')
        self.fusion.running.append(str(vmx))
        return machine


@pytest.fixture
def fusion(dm, tmp_path, monkeypatch):
    folder = tmp_path / "vmware"
    folder.mkdir()
    computer = Fusion(folder)
    environ = {"PATH": "%s:%s" % (folder, os.environ["PATH"]), "ALLUSERSPROFILE": str(folder)}
    take_environment(monkeypatch, environ, "FUSION_")
    dm.env.update(environ)
    yield computer
    computer.close()
    assert computer.wrong == []


@pytest.fixture
def here(fusion, store, tmp_path, pauses, monkeypatch):
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(core.os, "fsync", lambda file: None)
    return Here(fusion, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return create_words(here)


def create_words(here):
    return ["create", "-d", "vmwarefusion"] + ["--vmwarefusion-%s=%s" % (key.replace("_", "-"), value)
                                               for key, value in here.given.items()]


def file_of(here, name):
    return Path(here.store.folder("web")) / name


def write_iso(here):
    iso = here.folder / "boot2docker.iso"
    iso.write_bytes(bytes(32768) + b"\1CD001\1\0".ljust(80) + b"\1\0\0\0" + bytes(4096))
    return iso


def vmx(here):
    return driver_module().read_vmx(file_of(here, "web.vmx").read_text(encoding="utf-8"))


# --- a creation

@pytest.mark.parametrize("arch, disk, guest", [("x86_64", "scsi0:0", "debian12-64"),
                                               ("aarch64", "nvme0:0", "arm-debian12-64")])
def test_what_is_made_by_default(here, monkeypatch, arch, disk, guest):
    monkeypatch.setattr(driver_module(), "host_arch", lambda: arch)
    driver = here.create().driver
    rows = vmx(here)
    assert rows[disk + ".filename"] == "disk.vmdk" and rows["guestos"] == guest
    assert (rows["memsize"], rows["numvcpus"], rows["sata0:1.filename"]) == ("1024", "1", "seed.iso")
    assert ("scsi0.present" in rows, "hpet0.present" in rows) == (arch == "x86_64",) * 2
    assert here.fusion.running == [str(file_of(here, "web.vmx"))] and driver["IPAddress"] == "127.10.8.8"
    mac = driver["MacAddr"]
    assert rows["ethernet0.address"] == mac and mac.startswith("00:50:56:") and int(mac[9:11], 16) < 0x40
    files = CD(file_of(here, "seed.iso").read_bytes()).files()
    assert mac.encode() in files["NETWORK-CONFIG"] and b'"docker"' in files["USER-DATA"]


def test_a_creation_takes_few_calls(here):
    here.create()
    assert here.fusion.verbs() == ["list", "list", "start", "list", "getGuestIPAddress"]


HEAD = """\
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "19"
pciBridge0.present = "TRUE"
pciBridge4.present = "TRUE"
pciBridge4.virtualDev = "pcieRootPort"
pciBridge4.functions = "8"
vmci0.present = "TRUE"
floppy0.present = "FALSE"
usb.present = "TRUE"
usb_xhci.present = "TRUE"
tools.syncTime = "TRUE"
msg.autoanswer = "TRUE"
uuid.action = "keep"
powerType.powerOff = "soft"
powerType.reset = "soft"
serial0.present = "TRUE"
serial0.fileType = "file"
ethernet0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
ethernet0.addressType = "static"
sata0.present = "TRUE"
sata0:1.present = "TRUE"
sata0:1.deviceType = "cdrom-image"
"""
INTEL = """\
firmware = "bios"
hpet0.present = "TRUE"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "disk.vmdk"
"""
ARM = """\
firmware = "efi"
nvme0.present = "TRUE"
nvme0:0.present = "TRUE"
nvme0:0.fileName = "disk.vmdk"
"""
TAIL = """\
displayName = "web"
guestOS = "%s"
numvcpus = "1"
memsize = "1024"
ethernet0.connectionType = "nat"
ethernet0.address = "%s"
serial0.fileName = "console.log"
sata0:1.fileName = "%s"
"""


@pytest.mark.parametrize("kind", ["intel", "apple", "iso"])
def test_the_vmx_byte_for_byte_and_the_disk_to_qemu_img(here, monkeypatch, kind):
    monkeypatch.setattr(driver_module(), "host_arch", lambda: "aarch64" if kind == "apple" else "x86_64")
    more = {"boot2docker_url": write_iso(here).as_uri()} if kind == "iso" else {}
    mac = here.create(**more).driver["MacAddr"]
    guest, cd = {"intel": ("debian12-64", "seed.iso"), "apple": ("arm-debian12-64", "seed.iso"),
                 "iso": ("other3xlinux-64", "boot2docker.iso")}[kind]
    expected = HEAD + (ARM if kind == "apple" else INTEL) + TAIL % (guest, mac, cd)
    path = str(file_of(here, "web.vmx"))
    assert here.fusion.seen[path] == expected and os.stat(path).st_size > len(expected), "VMware wrote more"
    if shutil.which("qemu-img"):
        disk = str(file_of(here, "disk.vmdk"))
        told = json.loads(subprocess.check_output(["qemu-img", "info", "-U", "--output=json", disk]).decode())
        assert (told["format"], told["virtual-size"]) == ("vmdk", SIZE << 20)
        assert b"No errors" in subprocess.check_output(["qemu-img", "check", "-U", disk])


def test_the_disk_holds_the_image_and_takes_only_what_is_used(here):
    if not shutil.which("qemu-img"):
        pytest.skip("there is no qemu-img")
    here.create()
    raw = here.folder / "back.raw"
    path = str(file_of(here, "disk.vmdk"))
    subprocess.check_call(["qemu-img", "convert", "-O", "raw", path, str(raw)])
    image = (here.folder / "disk.raw").read_bytes()
    with open(str(raw), "rb") as file:
        assert file.read(len(image)) == image and raw.stat().st_size == SIZE << 20
    flat = file_of(here, "disk-flat.vmdk").stat()
    assert flat.st_blocks * 512 < flat.st_size / 10, "it takes only what is used"


def test_what_flags_change(here):
    machine = here.machine(cpu_count=0, network_type="bridged", memory_size=2048)
    assert machine.driver["CPU"] == -1 and machine.driver.cpus() == min(os.cpu_count() or 1, 64)
    rows = dict(machine.driver._settings(False))
    assert (rows["ethernet0.connectionType"], rows["memsize"]) == ("bridged", "2048")
    with pytest.raises(core.MachineError, match="--vmwarefusion-memory-size 400000000 is more than") as refused:
        here.machine(memory_size=400000000).driver.pre_create_check()
    assert "--vmwarefusion-memory-size " in refused.value.hint


def test_an_iso_of_boot2docker_gets_its_disk(here):
    iso = write_iso(here)
    here.create(boot2docker_url=iso.as_uri())
    assert vmx(here)["sata0:1.filename"] == "boot2docker.iso"
    with open(str(file_of(here, "disk-flat.vmdk")), "rb") as file:
        assert file.read(40).startswith(b"boot2docker, please format-me")


def test_an_iso_on_apple_silicon_and_a_qcow2_are_refused(here, monkeypatch):
    iso = write_iso(here)
    monkeypatch.setattr(driver_module(), "host_arch", lambda: "aarch64")
    with pytest.raises(core.MachineError, match="runs arm64 guests"):
        here.machine(boot2docker_url=iso.as_uri()).driver.pre_create_check()
    qcow = here.folder / "disk.qcow2"
    qcow.write_bytes(b"QFI\xfb\0\0\0\2" + bytes(72))
    with pytest.raises(core.MachineError, match="qcow2, which VMware does not read") as refused:
        here.machine(boot2docker_url=qcow.as_uri()).driver.pre_create_check()
    assert "qemu-img convert -O raw" in refused.value.hint


def test_shares_are_in_the_vmx_and_mounted_by_cloud_init(here, monkeypatch, tmp_path):
    monkeypatch.setattr(here.driver_class, "shares", lambda self: [("Users", str(tmp_path))])
    here.create()
    rows = vmx(here)
    assert (rows["sharedfolder0.hostpath"], rows["sharedfolder0.guestname"]) == (str(tmp_path), "Users")
    data = CD(file_of(here, "seed.iso").read_bytes()).files()["USER-DATA"]
    assert b".host:/Users" in data and b"open-vm-tools" in data


def test_values_survive_in_a_vmx():
    module = driver_module()
    rows = [("displayName", 'a "b" | \u00fc\n'), ("x", "")]
    text = module.vmx_text(rows)
    assert text.startswith('displayName = "a |22b|22 |7C \u00fc|0A"\n')
    assert module.read_vmx(text) == {"displayname": rows[0][1], "x": ""}


@pytest.mark.parametrize("when", ["kill before", "kill after"])
def test_a_creation_that_is_killed_at_the_start_is_removed_or_finished(here, dm, call, when):
    # The start is the only call of vmrun's that changes anything.
    for then in ("rm", "provision"):
        here.fusion.order("start", when)
        assert dm(*(create_words(here) + ["web"])).code != 0
        assert len(here.fusion.running) == (when == "kill after") and here.store.names() == ["web"]
        if then == "provision":
            here.load().driver.create()
            assert len(here.fusion.running) == 1
        ended = call("rm", "-y", "web")
        assert (ended.code, ended.err) == (0, "") and here.fusion.running == []
        assert not os.path.exists(here.store.folder("web"))


def test_what_vmrun_says_on_stdout_is_told_at_once(here):
    machine = here.add()
    here.fusion.order("start", "Could not open /dev/vmmon")
    with pytest.raises(core.MachineError, match="vmrun start failed: Could not open /dev/vmmon"):
        machine.driver.create()


def test_without_vmrun_the_next_step_is_told(here, monkeypatch):
    monkeypatch.setattr(driver_module(), "find_vmrun", lambda: None)
    with pytest.raises(core.MachineError, match="vmrun was not found"):
        here.machine().driver.pre_create_check()
    assert here.machine().driver.checks() == []


def test_vmrun_is_found_where_the_products_put_it(here, tmp_path, monkeypatch):
    module = driver_module()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(str(tmp_path))
    assert module.find_vmrun() is None
    for variable, place in (("HOME", "Applications/VMware Fusion.app/Contents/Public"),
                            ("HOME", "Applications/VMware Fusion.app/Contents/Library"),
                            ("ProgramFiles(x86)", "VMware/VMware Workstation"),
                            ("ProgramFiles", "VMware/VMware Workstation")):
        with monkeypatch.context() as patch:
            base = tmp_path / "base"
            (base / place).mkdir(parents=True)
            shutil.copy(str(tmp_path / "vmware" / "vmrun"), str(base / place))
            assert module.find_vmrun() is None
            patch.setenv(variable, str(base))
            assert module.find_vmrun() == str(base / place / "vmrun")
            assert here.machine().driver.checks()[0].words.startswith(str(base / place / "vmrun"))
            shutil.rmtree(str(base))


@pytest.mark.parametrize("words, hint", [
    ("The file is already in use", "Close its window"), ("Could not open /dev/vmmon: No such file", "Open VMware once"),
    ("VMware Workstation and Device/Credential Guard are not compatible", "Update VMware|Open VMware"),
    ("This virtual machine requires hardware version 19", "Update VMware"), ("Unknown error", "See vmware.log in")])
def test_what_vmrun_says_has_its_hint(here, words, hint):
    machine = here.add()
    here.fusion.order("start", words)
    with pytest.raises(core.MachineError) as failure:
        machine.driver.create()
    assert words in failure.value.message and re.match(hint, failure.value.hint)


# --- hanging, killed, at once

@pytest.mark.parametrize("verb", ["list", "start"])
def test_a_vmrun_that_hangs_is_told_with_the_next_step(here, call, soon, monkeypatch, verb):
    monkeypatch.setitem(driver_module().LIMITS, verb, 1)
    here.fusion.order(verb, "hang")
    ended = call(*(soon + ["web"]))
    assert "vmrun %s did not end within 1 s." % verb in ended.err and "Open VMware" in ended.err, ended
    assert here.store.names() == (["web"] if verb == "start" else [])
    if verb == "start":
        monkeypatch.setitem(driver_module().LIMITS, verb, 60)
        here.load().driver.create()
        assert len(here.fusion.running) == 1 and call("rm", "-y", "web").code == 0


def test_a_stop_and_an_address_that_hang_have_another_way(here, monkeypatch):
    here.fusion.leases = True
    monkeypatch.setitem(driver_module().LIMITS, "getGuestIPAddress", 1)
    here.fusion.order("getGuestIPAddress", "hang")
    driver = here.create().driver
    assert driver["IPAddress"] == "127.10.8.8"
    monkeypatch.setitem(driver_module().LIMITS, "stop", 1)
    here.fusion.order("stop", "hang")
    driver.stop()
    assert here.fusion.running == []


def test_ls_does_not_wait_for_a_vmrun_that_hangs(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    here.create()
    here.fusion.order("list", "hang")
    assert call("ls", "-t", "2", "-f", "{{.State}}").out in ("Timeout\n", "Error\n")


def test_a_creation_that_is_killed_at_any_act_is_removed_or_finished(here, dm, call):
    killed = Killed(here.store.path, "vmwarefusion", dm.env)
    number, ended = 0, "killed"
    while ended == "killed":
        here.add()
        ended = killed.create("web", number)
        if number % 2:
            calls = len(here.fusion.calls)
            here.load().driver.create()
            assert here.fusion.running == [str(file_of(here, "web.vmx"))] and vmx(here)["memsize"] == "1024"
            assert "start" in here.fusion.verbs()[calls:], "on a new disk"
        gone = call("rm", "-y", "web")
        assert (gone.code, gone.err) == (0, "") and here.fusion.running == [], number
        assert os.listdir(here.store.machines) == []
        number += 1
    killed.close()
    assert ended == "done" and number > 20


def test_four_at_once_in_one_store(here, dm, closed_port):
    here.fusion.tools, here.fusion.leases = False, True
    dm.argv[2] = ("import docker_machine as core, sys; kind = core.load_driver('vmwarefusion'); kind.boot_seconds = 1; "
                  "kind.get_ssh_port = lambda self: %d; core.end(core.main(['docker-machine'] + sys.argv[1:]))"
                  % closed_port)
    names = ["web%d" % number for number in range(4)]
    for number, name in enumerate(names):
        path = os.path.join(here.store.folder(name), name + ".vmx")
        here.fusion.addresses[os.path.realpath(path)] = "127.10.6.%d" % number
    running = [dm.start(*(create_words(here) + [name])) for name in names]
    said = [process.communicate()[1].decode() for process in running]
    assert all("SSH did not answer" in text for text in said), said
    drivers = [here.load(name).driver for name in names]
    assert [driver["IPAddress"] for driver in drivers] == ["127.10.6.%d" % number for number in range(4)]
    assert len({driver["MacAddr"] for driver in drivers}) == 4 and len(here.fusion.running) == 4
    assert here.driver_class.states(drivers, 60) == [core.RUNNING] * 4
    assert core.each(lambda driver: driver.remove(), drivers) == [None] * 4
    assert here.fusion.running == [] and not list(Path(here.store.path).rglob("*.vmdk"))


@pytest.mark.parametrize("word", ["two words", 'a "b" c', "Jo O'Neil", "b\u00fcro \u6771\u4eac", "a|b", "50%s",
                                  "$(x)`y`"])
def test_a_life_in_a_folder_of_such_a_name(here, tmp_path, monkeypatch, word):
    folder = tmp_path / word
    shutil.copytree(here.store.path, str(folder))
    here.store = core.Store(str(folder))
    monkeypatch.setattr(here.driver_class, "shares", lambda self: [("Users", str(folder))])
    driver = here.create().driver
    assert driver.get_state() == core.RUNNING and vmx(here)["sharedfolder0.hostpath"] == str(folder)
    driver.stop()
    driver.start()
    driver.remove()
    assert here.fusion.running == []


def test_a_store_behind_a_symbolic_link(here, tmp_path):
    (tmp_path / "link").symlink_to(here.store.path)
    here.store = core.Store(str(tmp_path / "link"))
    driver = here.create().driver
    assert here.fusion.running != [driver.vmx()] and driver.get_state() == core.RUNNING


# --- addresses

def test_a_guest_without_tools_is_found_by_its_newest_lease(here):
    here.fusion.tools, here.fusion.leases = False, True
    assert here.create().driver["IPAddress"] == "127.10.8.8"


def test_a_lease_that_never_ends_is_the_newest():
    text = "lease 10.0.0.1 {\n ends never;\n hardware ethernet 00:50:56:01:02:03;\n}\n" \
           "lease 10.0.0.2 {\n ends 5 2026/11/27 10:30:00;\n hardware ethernet 00:50:56:01:02:03;\n}\n"
    assert max(driver_module().vmware_leases(text, "00:50:56:01:02:03"))[1] == "10.0.0.1"


def test_apples_leases_have_no_leading_zeros():
    text = "{\n\tname=web\n\tip_address=192.168.64.7\n\thw_address=1,0:50:56:1:2:3\n\tidentifier=1,0\n}\n"
    assert driver_module().apple_lease(text, "00:50:56:01:02:03") == "192.168.64.7"
    assert driver_module().apple_lease(text, "00:50:56:01:02:04") == ""


def test_a_guest_without_an_address_is_told(here):
    machine = here.add(wait_ip=9000)
    here.fusion.address = "172.17.0.1"
    (Path(machine.folder) / "console.log").write_text("of another creation")
    with pytest.raises(core.MachineError, match="got no address within 9 s. Its console said last: nothing"):
        machine.driver.create()
    file_of(here, "console.log").write_text("no DHCP\aoffers")
    machine.driver["WaitIP"] = 5000
    with pytest.raises(core.MachineError, match="within 5 s. Its console said last: no DHCP offers"):
        machine.driver.start()


def test_a_lease_of_the_last_boot_is_left_for_the_one_of_this(here):
    here.fusion.tools, here.fusion.leases = False, True
    driver = here.create().driver
    driver.kill()
    here.fusion.leases = False  # it comes late
    driver.start()
    ssh = driver.ssh()
    assert ssh.host == driver["IPAddress"] == "127.10.8.8"
    driver.check_boot()
    here.fusion.address = "127.10.8.9"
    here.fusion.lease(file_of(here, "web.vmx"), "29")
    driver.check_boot()
    assert ssh.host == here.stored()["IPAddress"] == "127.10.8.9"


def test_an_address_in_dockers_usual_network_is_one(here):
    here.fusion.address = "172.17.0.9"
    assert here.create().driver["IPAddress"] == "172.17.0.9"


# --- on, off, gone

def test_power(here, call):
    here.create()
    assert call("status", "web").out == "Running\n"
    here.load().driver.stop()
    assert call("status", "web").out == "Stopped\n"
    here.load().driver.start()
    call("kill", "web")
    stops = [words[4:] for words in here.fusion.calls if words[2] == "stop"]
    assert here.fusion.running == [] and stops == [["soft"], ["hard"]]


def test_a_guest_that_hears_neither_tools_nor_ssh_is_told_with_the_next_step(here, closed_port, monkeypatch):
    driver = here.create().driver
    monkeypatch.setattr(here.driver_class, "poll_seconds", 12)
    monkeypatch.setattr(driver, "get_ssh_hostname", lambda: "127.0.0.1")
    monkeypatch.setattr(driver, "get_ssh_port", lambda: closed_port)
    here.fusion.tools = False
    with pytest.raises(core.MachineError, match="did not shut down within 180 s") as failed:
        driver.stop()
    assert "docker-machine kill web" in failed.value.hint and len(here.fusion.running) == 1


def suspend(here):
    del here.fusion.running[:]
    with open(str(file_of(here, "web.vmx")), "a") as file:
        file.write('checkpoint.vmState = "web-1.vmss"\n')
    file_of(here, "web-1.vmss").write_text("")


def test_a_suspended_vm_is_saved_and_started_or_thrown_away(here, call):
    here.create()
    suspend(here)
    assert call("status", "web").out == "Saved\n"
    refused = call("stop", "web")
    assert "state is saved, not running" in refused.err and "docker-machine kill web" in refused.err
    here.load().driver.start()
    assert call("status", "web").out == "Running\n" and not file_of(here, "web-1.vmss").exists()
    here.load().driver.kill()
    suspend(here)
    assert call("kill", "web").code == 0 and call("status", "web").out == "Stopped\n"
    assert not file_of(here, "web-1.vmss").exists() and vmx(here)["displayname"] == "web"


def test_a_vm_that_cannot_be_deleted_while_it_is_open_is_removed_with_its_files(here, call):
    here.create()
    here.fusion.order("deleteVM", "Insufficient permissions")
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and not file_of(here, "disk.vmdk").exists()


def test_what_is_gone_counts_as_removed(here, call):
    here.create()
    del here.fusion.running[:]
    file_of(here, "web.vmx").unlink()
    assert "There is no VM" in call("status", "web").err
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "")


def test_memory_and_cpus_are_changed(here):
    driver = here.create().driver
    driver.kill()
    driver["Memory"], driver["CPU"] = 2048, 2
    driver.resize()
    driver.start()
    assert (vmx(here)["memsize"], vmx(here)["numvcpus"], vmx(here)["scsi0:0.filename"]) == ("2048", "2", "disk.vmdk")


def test_a_vmx_in_another_encoding_keeps_its_names(here, monkeypatch, tmp_path):
    folder = tmp_path / "B\u00fcro"
    folder.mkdir()
    monkeypatch.setattr(here.driver_class, "shares", lambda self: [("Users", str(folder))])
    driver = here.create().driver
    driver.kill()
    path = file_of(here, "web.vmx")
    text = path.read_text(encoding="utf-8").replace('"UTF-8"', '"windows-1252"')
    path.write_bytes(text.encode("windows-1252"))
    driver["Memory"] = 2048
    driver.resize()
    driver.start()
    rows = vmx(here)
    assert (rows["sharedfolder0.hostpath"], rows["memsize"], rows[".encoding"]) == (str(folder), "2048", "UTF-8")


def test_ls_is_one_vmrun_for_all_machines(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for number in range(3):
        here.create("web%d" % number)
    before = len(here.fusion.verbs())
    listed = call("ls", "-t", "60").out
    assert here.fusion.verbs()[before:] == ["list"] and listed.count("Running") == 3


# --- entries of Docker Machine, and secrets

def test_entries_of_docker_machine_work_and_keep_their_fields(here, call, soon, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    here.old()
    before = here.stored("old")
    assert call("status", "old").out == "Running\n" and call("ip", "old").out == "127.10.9.9\n"
    listed = call("ls", "-t", "60").out.splitlines()[1].split()
    assert [listed[0], listed[2], listed[3]] == ["old", "vmwarefusion", "Running"], listed
    assert here.load("old").driver.mac() == "00:0c:29:11:22:33"
    assert call("stop", "old").code == 0 and here.fusion.running == []
    here.fusion.tools, here.fusion.leases = False, True
    call("start", "old")
    stored = here.stored("old")
    changed = {name: stored[name] for name in before if stored[name] != before[name]}
    assert len(here.fusion.running) == 1 and changed == {"IPAddress": "127.10.8.8"}
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.fusion.running == []
    assert not os.path.exists(here.store.folder("old"))


def test_an_old_guest_without_tools_and_ssh_is_told_with_the_next_step(here, call, soon, monkeypatch):
    monkeypatch.setattr(here.driver_class, "poll_seconds", 12)
    here.old()
    here.fusion.tools = False
    ended = call("stop", "old")
    assert ended.code == 1 and "docker-machine kill old" in ended.err
    assert call("kill", "old").code == 0 and here.fusion.running == []


def test_the_password_is_in_no_argument_list_and_no_file_but_config_json(here, call, soon):
    secret, said = "S3cret-word", []
    for words in (soon + ["web"], ["status", "web"], ["inspect", "web"], ["stop", "web"], ["start", "web"],
                  ["ls", "-t", "60"], ["kill", "web"], ["provision", "web"]):
        ended = call("--debug", *words, FUSION_SSH_PASSWORD=secret)
        said.append(ended.out + ended.err)
    assert here.stored()["SSHPassword"] == secret and secret not in "".join(said)
    assert secret not in json.dumps(here.fusion.calls) and "-gp" not in json.dumps(here.fusion.calls)
    holders = {path.name for path in here.folder.rglob("*")
               if path.is_file() and path.stat().st_size < 1 << 25 and secret.encode() in path.read_bytes()}
    assert holders <= {"config.json", "config.json.bak"} and "config.json" in holders
