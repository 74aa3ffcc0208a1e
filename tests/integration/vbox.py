"""Fixtures for VirtualBox; test modules name it in `pytest_plugins`.

VBoxManage is VirtualBox's own, from Debian sid in a root of its own. What needs VirtualBox's kernel
module is played: see vbox_qemu.py for machines that run, and ADAPTER for host-only interfaces.
By hand, from the root of the repository, as root: python3 -m tests.integration.vbox FOLDER
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import boot2docker_iso, cloud_image
from tests.cached import cached
from tests.cloud_image import run
from tests.testbed import SLIM, _apt_options

from . import vbox_qemu
from .conftest import cannot_run
from .program import HANG, Done, end_all, processes_with

NEEDS = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "ip": "iproute2", "qemu-system-x86_64": "qemu-system-x86"}
ADAPTER = """#!/bin/sh
# In the place of VBoxNetAdpCtl, which asks the kernel module: a host-only interface is a bridge.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ "$2" != speed ]; then
    exec 2>>"$VBOX_USER_HOME/adapter.log"
    date >&2
    set -x
fi
if [ "$1" = add ]; then
    number=0
    while ip link show "vboxnet$number" >/dev/null 2>&1; do number=$((number + 1)); done
    set -- "vboxnet$number" add
fi
if [ "$2" = add ]; then  # each VBoxSVC that starts adds what its settings know, and tells nobody what it could not
    ip link add "$1" type bridge && echo "$1"
elif [ "$2" = remove ]; then
    ip link delete "$1"
elif [ "$2" != speed ]; then
    name=$1 address=$2 mask=24
    [ "$3" != netmask ] || mask=$4
    ip -4 address flush dev "$name"
    case " $* " in *" remove "*) exit;; esac
    ip address add "$address/$mask" dev "$name" && ip link set "$name" up
fi
"""
PACKAGES = "virtualbox,iproute2"
# Most calls are the real one's alone: a Python for each would take longer than they do. `last` is the last word.
SCRIPT = """#!/bin/sh
export VBOX_USER_HOME={folder}/home VBOX_IPC_SOCKETID={name}
[ ! -e {folder}/warning ] || cat {folder}/warning
for last; do :; done
case $1:$last in
    startvm:* | controlvm:* | discardstate:* | showvminfo:* | list:vms | list:runningvms) exec {played} "$@" ;;
esac
exec {real} "$@"
"""
WARNING = """WARNING: The character device /dev/vboxdrv does not exist.
\t Please install the virtualbox-dkms package and the appropriate
\t headers, most likely linux-headers-amd64.

\t You will not be able to start VMs until this problem is fixed.
"""


def missing() -> list[str]:
    """The Debian packages that the fixtures want and this machine lacks."""
    found = {NEEDS[name] for name in NEEDS if not shutil.which(name)}
    return sorted(found | set(boot2docker_iso.missing()))


def build_root(folder: Path) -> Path:
    """Make FOLDER/root with VirtualBox in it."""
    root = folder / "root"
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--quiet", "--variant=apt", "--components=main,contrib", f"--include={PACKAGES}"]
    words += [f"--aptopt={option}" for option in (*_apt_options(), 'APT::Install-Recommends "false";')]
    run("mmdebstrap", *words, SLIM, "--dpkgopt=force-unsafe-io", "sid", str(root))
    adapter = root / "usr/lib/virtualbox/VBoxNetAdpCtl"
    adapter.write_text(ADAPTER)
    adapter.chmod(0o755)
    return root


class VirtualBox:
    """A VirtualBox of its own: `bin` belongs first on PATH. `end` ends what it started."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder / f"vbox-{secrets.token_hex(4)}"
        self.home = self.folder / "home"
        self.bin = self.folder / "bin"
        for each in (self.home, self.bin, self.folder / "machines"):
            each.mkdir(parents=True)
        script = self.bin / "VBoxManage"
        played = [sys.executable, "-I", "-S", vbox_qemu.__file__, str(self.folder), str(root)]
        script.write_text(SCRIPT.format(
            folder=shlex.quote(str(self.folder)), name=self.folder.name, played=shlex.join(played),
            real=shlex.join(vbox_qemu.real(root))))
        script.chmod(0o755)

    def __call__(self, *words: str, code: int | None = 0, stdin: bytes = b"") -> Done[str]:
        """Run VBoxManage, and see that its exit code is `code` unless None."""
        argv = [str(self.bin / "VBoxManage"), *words]
        for pause in (1, 3, 10, 0):
            ran = subprocess.run(argv, input=stdin, capture_output=True, timeout=HANG, check=False)
            done = Done(argv, ran.returncode, ran.stdout.decode(), ran.stderr.decode())
            if "VirtualBox COM server is not running" not in done.stderr:
                break
            time.sleep(pause)  # its start took too long on a busy computer
        assert code in (None, done.returncode), f"{done}"
        return done

    def warn(self, text: str = WARNING) -> None:
        """Let each call begin with the warning of Debian's script, on standard output; or not."""
        (self.folder / "warning").write_text(text)

    def info(self, name: str) -> dict[str, str]:
        lines = self("showvminfo", name, "--machinereadable").stdout.splitlines()
        return {key.strip('"'): value.strip('"') for key, _, value in (line.partition("=") for line in lines)}

    def state(self, name: str) -> str:
        return self.info(name)["VMState"]

    def serial(self, name: str) -> str:
        """What the machine has written to its console since its last start."""
        path = self.folder / "machines" / self.info(name)["UUID"] / "serial.log"
        return path.read_text(errors="replace")

    def qemu(self, name: str) -> int:
        """The process id of the machine."""
        mark = f"virtio-net-pci,netdev=net1,mac={':'.join(re.findall('..', self.info(name)['macaddress1']))}"
        (pid,) = [pid for pid, line in self.processes().items() if mark in line and line.startswith("qemu")]
        return pid

    def listed(self) -> dict[str, str]:
        """All that VirtualBox knows and a test could leave behind."""
        return {what: self("list", what).stdout for what in ("vms", "hdds", "dvds", "hostonlyifs", "dhcpservers")}

    def network(self) -> str:
        """What became of the host-only interfaces: what ADAPTER did, and what there is now."""
        log = self.home / "adapter.log"
        words = [["ip", "-brief", "link"], ["ip", "-brief", "address"], ["ip", "route"]]
        now = [subprocess.run(argv, capture_output=True, text=True, check=False).stdout for argv in words]
        return "".join([log.read_text() if log.exists() else "", *now])

    def processes(self) -> dict[int, str]:
        """{process id: command line} of all that VBoxManage has left running."""
        return processes_with("VBOX_USER_HOME", self.home)

    def end(self) -> None:
        end_all(self.processes)
        shutil.rmtree(f"/tmp/.vbox-{self.folder.name}-ipc", ignore_errors=True)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Let this thread and what it starts have a network of their own, for the host-only interfaces."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before:
        if libc.unshare(0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "no network namespace")
        try:
            run("ip", "link", "set", "lo", "up")
            yield
        finally:
            if libc.setns(before.fileno(), 0):
                raise OSError(ctypes.get_errno(), "no way back to the network")


# --- fixtures


@pytest.fixture(scope="session")
def _vbox_requirements(_integration_requirements: None) -> None:
    lacks = missing()
    if lacks:
        cannot_run("the tests of VirtualBox cannot run here; install " + " ".join(lacks))


@pytest.fixture(scope="session")
def vbox_root(_vbox_requirements: None) -> Path:
    """A Debian root with VirtualBox."""
    return cached("vbox", build_root, PACKAGES, ADAPTER) / "root"


@pytest.fixture(scope="session")
def live_iso(_vbox_requirements: None) -> Path:
    """A CD that keeps to what boot2docker promises."""
    return boot2docker_iso.cached()


@pytest.fixture(scope="session")
def cloud_disk(_vbox_requirements: None) -> Path:
    """A cloud image, as qcow2, with an engine that waits for provisioning."""
    return cloud_image.cached()


@pytest.fixture(scope="module")
def virtualbox(
    vbox_root: Path, live_iso: Path, cloud_disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualBox]:
    """A VirtualBox that knows no machine yet. While it lasts, the tests are in a network of their
    own, where nothing is but their machines: do not start a `host` there, nor build what comes from
    the network, which is why this names all that is built."""
    box = VirtualBox(tmp_path_factory.mktemp("vbox"), vbox_root)
    with own_network():
        try:
            yield box
        finally:
            box.end()



if __name__ == "__main__":
    place = Path(sys.argv[1])
    print(build_root(place / "vbox"), boot2docker_iso.build(place / "iso"), cloud_image.build(place / "cloud"))
