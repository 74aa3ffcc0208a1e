"""The driver "vmwarefusion" against a `vmrun` that reads our .vmx files (see fusion.py); qemu-img reads its disks.

Whether a machine boots is not seen here.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fusion import Fusion
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
        self.fusion.set(running=[str(vmx)])
        return machine


@pytest.fixture
def fusion(dm, tmp_path, monkeypatch):
    folder = tmp_path / "vmware"
    folder.mkdir()
    path = "%s:%s" % (folder, os.environ["PATH"])
    take_environment(monkeypatch, {"PATH": path}, "FUSION_")
    dm.env["PATH"] = path
    return Fusion(folder)


@pytest.fixture
def here(fusion, store, tmp_path, pauses, monkeypatch):
    monkeypatch.setattr(core.out, "secrets", set())
    module = driver_module()
    monkeypatch.setattr(module, "LEASES", [str(tmp_path / "*.leases")])
    monkeypatch.setattr(module, "APPLE_LEASES", str(tmp_path / "dhcpd_leases"))
    return Here(fusion, store, tmp_path)


def file_of(here, name):
    return Path(here.store.folder("web")) / name


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


def test_the_disk_is_one_to_qemu_img_and_holds_the_image(here):
    if not shutil.which("qemu-img"):
        pytest.skip("there is no qemu-img")
    here.create()
    raw = here.folder / "back.raw"
    path = str(file_of(here, "disk.vmdk"))
    told = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", path]).decode())
    assert (told["format"], told["virtual-size"]) == ("vmdk", SIZE << 20)
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
    iso = here.folder / "boot2docker.iso"
    iso.write_bytes(bytes(32768) + b"\1CD001\1\0".ljust(80) + b"\1\0\0\0" + bytes(4096))
    here.create(boot2docker_url=iso.as_uri())
    assert vmx(here)["sata0:1.filename"] == "boot2docker.iso"
    with open(str(file_of(here, "disk-flat.vmdk")), "rb") as file:
        assert file.read(40).startswith(b"boot2docker, please format-me")


def test_an_iso_on_apple_silicon_and_a_qcow2_are_refused(here, monkeypatch):
    iso = here.folder / "boot2docker.iso"
    iso.write_bytes(bytes(32768) + b"\1CD001\1\0".ljust(80) + b"\1\0\0\0" + bytes(4096))
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
    words = ["--vmwarefusion-%s=%s" % (key.replace("_", "-"), value) for key, value in here.given.items()]
    for then in ("rm", "provision"):
        here.fusion.order("start", when)
        assert dm("create", "-d", "vmwarefusion", *(words + ["web"])).code != 0
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


# --- addresses

def test_a_guest_without_tools_is_found_by_its_newest_lease(here, tmp_path):
    machine = here.add()
    machine.driver.identify()
    mac = "00:50:56:" + ":".join(machine.driver["UUID"][at:at + 2] for at in (0, 2, 4))
    mac = mac[:9] + "%02x" % (int(mac[9:11], 16) & 0x3f) + mac[11:]
    block = "lease 127.10.7.%d {\r\n  starts 4 2026/11/26 10:00:00;\r\n  ends %s;\r\n  hardware ethernet %s;\r\n}\r\n"
    (tmp_path / "vmnet8.leases").write_text("".join([
        block % (1, "4 2026/11/26 10:30:00", mac), block % (2, "5 2026/11/27 10:30:00", mac.upper()),
        block % (3, "4 2026/11/26 11:30:00", mac), block % (4, "never", "00:50:56:00:00:00")]))
    here.fusion.set(tools=False)
    machine.driver.create()
    assert (machine.driver["MacAddr"], machine.driver["IPAddress"]) == (mac, "127.10.7.2")


def test_a_lease_that_never_ends_is_the_newest():
    text = "lease 10.0.0.1 {\n ends never;\n hardware ethernet 00:50:56:01:02:03;\n}\n" \
           "lease 10.0.0.2 {\n ends 5 2026/11/27 10:30:00;\n hardware ethernet 00:50:56:01:02:03;\n}\n"
    assert max(driver_module().vmware_leases(text, "00:50:56:01:02:03"))[1] == "10.0.0.1"


def test_apples_leases_have_no_leading_zeros():
    text = "{\n\tname=web\n\tip_address=192.168.64.7\n\thw_address=1,0:50:56:1:2:3\n\tidentifier=1,0\n}\n"
    assert driver_module().apple_lease(text, "00:50:56:01:02:03") == "192.168.64.7"
    assert driver_module().apple_lease(text, "00:50:56:01:02:04") == ""


def test_a_guest_without_an_address_is_told(here):
    machine = here.add()
    here.fusion.set(address="172.17.0.1")
    with pytest.raises(core.MachineError, match="got no address within 300 s. Its console said last: nothing"):
        machine.driver.create()


# --- on, off, gone

def test_power(here, call):
    here.create()
    assert call("status", "web").out == "Running\n"
    here.load().driver.stop()
    assert call("status", "web").out == "Stopped\n"
    here.load().driver.start()
    call("kill", "web")
    stops = [words[4:] for words in here.fusion.read()["calls"] if words[2] == "stop"]
    assert here.fusion.running == [] and stops == [["soft"], ["hard"]]


def test_a_guest_that_hears_neither_tools_nor_ssh_is_told_with_the_next_step(here, closed_port, monkeypatch):
    driver = here.create().driver
    monkeypatch.setattr(driver, "get_ssh_hostname", lambda: "127.0.0.1")
    monkeypatch.setattr(driver, "get_ssh_port", lambda: closed_port)
    here.fusion.set(tools=False)
    with pytest.raises(core.MachineError, match="did not shut down within 180 s") as failed:
        driver.stop()
    assert "docker-machine kill web" in failed.value.hint and len(here.fusion.running) == 1


def test_a_suspended_vm_is_saved_and_started_or_thrown_away(here, call):
    here.create()
    here.fusion.set(running=[])
    path = file_of(here, "web.vmx")
    with open(str(path), "a") as file:
        file.write('checkpoint.vmState = "web-1.vmss"\n')
    file_of(here, "web-1.vmss").write_text("")
    assert call("status", "web").out == "Saved\n"
    assert call("kill", "web").code == 0 and call("status", "web").out == "Stopped\n"
    assert not file_of(here, "web-1.vmss").exists() and vmx(here)["displayname"] == "web"


def test_a_vm_that_cannot_be_deleted_while_it_is_open_is_removed_with_its_files(here, call):
    here.create()
    here.fusion.order("deleteVM", "Insufficient permissions")
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and not file_of(here, "disk.vmdk").exists()


def test_what_is_gone_counts_as_removed(here, call):
    here.create()
    here.fusion.set(running=[])
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


def test_ls_is_one_vmrun_for_all_machines(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for number in range(3):
        here.create("web%d" % number)
    before = len(here.fusion.verbs())
    listed = call("ls", "-t", "60").out
    assert here.fusion.verbs()[before:] == ["list"] and listed.count("Running") == 3


def test_entries_of_docker_machine_work_and_keep_their_fields(here, call):
    here.old()
    before = here.stored("old")
    assert call("status", "old").out == "Running\n" and call("ip", "old").out == "127.10.9.9\n"
    assert here.load("old").driver.mac() == "00:0c:29:11:22:33"
    assert call("kill", "old").code == 0 and here.fusion.running == []
    here.load("old").driver.start()
    stored = here.stored("old")
    assert len(here.fusion.running) == 1 and {name: stored[name] for name in before} == before
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.fusion.running == []


def test_the_password_is_in_no_argument_list_and_no_file_but_config_json(here, call):
    here.create(ssh_password="S3cret-word")
    call("--debug", "status", "web")
    assert "S3cret-word" not in json.dumps(here.fusion.read())
    holders = [str(path.name) for path in Path(here.store.path).rglob("*")
               if path.is_file() and path.stat().st_size < 1 << 20 and b"S3cret-word" in path.read_bytes()]
    assert holders == ["config.json"]
