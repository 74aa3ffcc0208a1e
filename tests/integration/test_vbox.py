"""The test bed of the tests of VirtualBox, without docker_machine.py."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import free_port

from .program import HANG, until
from .vbox import VirtualBox

pytest_plugins = ["tests.integration.vbox"]
MAGIC = "boot2docker, please format-me"
MASK = ("--netmask", "255.255.255.0")


def head_of_the_disk(public: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in ((MAGIC, MAGIC.encode()), (".ssh", None), (".ssh/authorized_keys", public)):
            info = tarfile.TarInfo(name)
            info.type = tarfile.REGTYPE if data else tarfile.DIRTYPE
            info.size, info.mode = len(data or b""), 0o600 if data else 0o700
            archive.addfile(info, io.BytesIO(data) if data else None)
    return buffer.getvalue()


class Guest:
    """A virtual machine of the live CD, "dev", made with VBoxManage alone."""

    def __init__(self, vbox: VirtualBox, folder: Path, iso: Path) -> None:
        self.vbox, self.folder, self.port, self.iso = vbox, folder, free_port(), iso
        self.key, self.disk = folder / "key", folder / "disk.vmdk"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.before = vbox.listed()
        self.connect()
        vbox("createvm", "--basefolder", str(folder), "--name", "dev", "--register")
        vbox("modifyvm", "dev", "--ostype", "Linux26_64", "--memory", "1024", "--cpus", "2", "--boot1", "dvd")
        vbox("modifyvm", "dev", "--nic1", "nat", "--natpf1", f"ssh,tcp,127.0.0.1,{self.port},,22")
        vbox("modifyvm", "dev", "--nic2", "hostonly", "--hostonlyadapter2", "vboxnet0")
        vbox("storagectl", "dev", "--name", "SATA", "--add", "sata")
        self.attach("0", "dvddrive", iso)
        head = head_of_the_disk(self.key.with_suffix(".pub").read_bytes())
        vbox("convertfromraw", "stdin", str(self.disk), str(4 << 30), "--format", "VMDK", stdin=head)
        self.attach("1", "hdd", self.disk)

    def connect(self) -> None:
        self.vbox("hostonlyif", "create")
        self.vbox("hostonlyif", "ipconfig", "vboxnet0", "--ip", "192.168.99.1", *MASK)
        self.serve("192.168.99.6", "192.168.99.100", "192.168.99.254")

    def serve(self, server: str, lower: str, upper: str) -> None:
        network = ("--network", "HostInterfaceNetworking-vboxnet0", "--server-ip", server, *MASK, "--enable")
        self.vbox("dhcpserver", "modify", *network, "--lower-ip", lower, "--upper-ip", upper)

    def attach(self, port: str, kind: str, path: Path) -> None:
        where = ("--storagectl", "SATA", "--port", port, "--device", "0", "--type", kind)
        self.vbox("storageattach", "dev", *where, "--medium", str(path))

    def ssh(self, line: str, host: str = "127.0.0.1", port: int = 0) -> str:
        options = ["BatchMode=yes", "ConnectTimeout=5", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        words = [word for option in options for word in ("-o", option)]
        words += ["-i", str(self.key), "-p", str(port or self.port), f"docker@{host}", line]
        argv = ["timeout", "20", "ssh", "-F", "none", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()

    def name(self, host: str = "127.0.0.1", port: int = 0) -> object:
        """Its own name, as soon as it answers."""
        return until(lambda: self.ssh("hostname", host, port), HANG) or self.vbox.serial("dev")

    def lease(self) -> str:
        mac = self.vbox.info("dev")["macaddress2"]
        return self.vbox("dhcpserver", "findlease", "--interface", "vboxnet0", "--mac-address", mac).stdout

    def remove(self) -> None:
        gone = ("unregistervm", "--delete", "dev")
        assert until(lambda: self.vbox(*gone, code=None).returncode == 0)  # it is locked for a moment
        self.vbox("closemedium", "dvd", str(self.iso))
        self.vbox("hostonlyif", "remove", "vboxnet0")
        self.serve("192.168.56.100", "192.168.56.101", "192.168.56.254")


@pytest.fixture(scope="module")
def guest(
    virtualbox: VirtualBox, live_iso: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """These tests need one another, in their order."""
    guest = Guest(virtualbox, tmp_path_factory.mktemp("guest"), live_iso)
    assert (virtualbox.state("dev"), virtualbox("list", "runningvms").stdout) == ("poweroff", "")
    virtualbox("startvm", "dev", "--type", "headless")
    yield guest


def test_it_answers_on_the_forwarded_port(guest: Guest) -> None:
    assert guest.name() == "boot2docker"


def test_it_answers_on_its_host_only_address(guest: Guest) -> None:
    assert until(lambda: "State:       acked" in guest.lease()), guest.lease()

    address = guest.lease().split()[2]

    assert address == "192.168.99.100"
    assert guest.name(address, 22) == "boot2docker"


def test_it_runs_to_whoever_asks(guest: Guest) -> None:
    vbox = guest.vbox

    assert vbox.state("dev") == "running"
    assert vbox("list", "runningvms").stdout == vbox("list", "vms").stdout
    assert "State:                       running (since 20" in vbox("list", "--long", "vms").stdout
    assert vbox("list", "--long", "runningvms").stdout.startswith("Name:                        dev\n")


def test_it_is_locked_while_it_runs(guest: Guest) -> None:
    vbox = guest.vbox

    assert "already locked for a session" in vbox("modifyvm", "dev", "--memory", "512", code=1).stderr
    assert "while it is locked" in vbox("unregistervm", "--delete", "dev", code=1).stderr
    assert "already locked by a session" in vbox("startvm", "dev", code=1).stderr


def test_a_port_is_forwarded_while_it_runs(guest: Guest) -> None:
    port = free_port()

    guest.vbox("controlvm", "dev", "natpf1", f"more,tcp,127.0.0.1,{port},,22")

    assert f"more,tcp,127.0.0.1,{port},,22" in guest.vbox.info("dev").values()
    assert guest.name(port=port) == "boot2docker"
    guest.vbox("controlvm", "dev", "natpf1", "delete", "more")
    assert "more" not in str(guest.vbox.info("dev").values())
    assert guest.ssh("hostname", port=port) == ""


def test_a_saved_machine_goes_on(guest: Guest) -> None:
    guest.ssh("touch /tmp/before")

    guest.vbox("controlvm", "dev", "savestate")

    assert (guest.vbox.state("dev"), guest.ssh("hostname")) == ("saved", "")
    assert until(lambda: guest.vbox("startvm", "dev", "--type", "headless", code=None).returncode == 0)
    assert guest.vbox.state("dev") == "running"
    assert guest.name() and guest.ssh("ls /tmp/before") == "/tmp/before"


def test_it_is_off_after_the_power_button(guest: Guest) -> None:
    guest.vbox("controlvm", "dev", "acpipowerbutton")

    assert until(lambda: guest.vbox.state("dev") == "poweroff", HANG), guest.vbox.serial("dev")
    assert "is not currently running" in guest.vbox("controlvm", "dev", "poweroff", code=1).stderr


def test_a_killed_machine_is_aborted(guest: Guest) -> None:
    assert until(lambda: guest.vbox("startvm", "dev", code=None).returncode == 0)

    os.kill(guest.vbox.qemu("dev"), signal.SIGKILL)

    assert until(lambda: guest.vbox.state("dev") == "aborted")


def test_its_network_outlives_the_service(guest: Guest) -> None:
    """VBoxSVC ends some seconds after the last of who asks it, and the next one adds every interface that it knows."""
    guest.vbox.end()

    assert "IPAddress:       192.168.99.1\n" in guest.vbox("list", "hostonlyifs").stdout
    assert "192.168.99.1/24" in guest.vbox.network()


def test_nothing_is_left_of_it(guest: Guest) -> None:
    guest.remove()

    assert not guest.disk.exists() and guest.iso.exists()
    assert guest.vbox.listed() == guest.before
