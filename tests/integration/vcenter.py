"""The vSphere that `program` asks: the real govc and the real vcsim, whose VMs are test hosts with a real cloud-init.

vcsim runs a program "docker" for a VM with the extra configuration RUN.container. Here it is one of ours, which starts
a host that reads the seed.iso in the VM's folder. What vcsim lacks, the reboot of a guest, is added by a "govc" that
hands all else to the real one. Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

import json
import re
import shutil
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_seed import CD
from tests.vcenter import VCenter, flags, programs

from .conftest import cannot_run
from .instances import Instances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program

PROGRAM = """#!%s
import json, os, socket, sys
words = [os.path.basename(sys.argv[0])] + sys.argv[1:]
if words[0] == "govc" and words[1:3] != ["vm.power", "-r"]:
    os.execv(%r, words)
if words[1:3] == ["run", "--rm"]:
    sys.stdin.buffer.read()
    sys.exit()
with socket.create_connection(("127.0.0.1", %d)) as door:
    door.sendall(json.dumps(words).encode() + b"\\n")
    sys.stdout.write(door.makefile().read())
"""


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Hosts(Instances[str]):
    """Hosts by the name of the container that vcsim asks for."""

    center: VCenter

    def __init__(self, bed: Testbed, folder: Path) -> None:
        super().__init__(bed)
        hosts = self
        self.addresses: dict[str, str] = {}

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                answer = hosts.respond(json.loads(self.rfile.readline()))
                self.wfile.write(answer.encode())

        self.server = Server(("127.0.0.1", 0), Handler)
        text = PROGRAM % (sys.executable, str(programs() / "govc"), self.server.server_address[1])
        for name in ("vcsim/docker", "person/govc"):  # each for one of them alone
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def respond(self, words: list[str]) -> str:
        """What a program prints for its words."""
        verb, name = words[1], words[-1]
        if verb == "run":
            name = words[words.index("--name") + 1]
            (vm,) = re.findall(r"vcsim-(.*)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", name)
            files = CD(self.center.file(f"{vm}/seed.iso").read_bytes()).files()
            self.addresses[name] = self.launch(name, vm, files["USER-DATA"], user="ubuntu").public
            return name + "\n"
        if verb == "inspect":
            return json.dumps([{"NetworkSettings": {"IPAddress": self.addresses[name]}}])
        if verb == "vm.power":
            (name,) = self.hosts
            self.reboot(name)
        elif verb == "start":
            self.start(name)
        elif verb == "stop":
            self.stop(name)
        elif verb == "rm":
            self.destroy(name)
        return ""

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        super().close()


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder that has govc and vcsim."""
    if not (shutil.which("go") and shutil.which("apt-get")):
        cannot_run("govc and vcsim cannot be built here: they take Debian and its golang-go")
    return programs()


@pytest.fixture
def hosts(bed: Testbed, built: Path, tmp_path: Path) -> Iterator[Hosts]:
    """The hosts of `vcenter`."""
    made = Hosts(bed, tmp_path / "programs")
    yield made
    made.close()


@pytest.fixture
def vcenter(hosts: Hosts, program: Program, tmp_path: Path) -> Iterator[VCenter]:
    """The vCenter that `program` asks, with real hosts."""
    folder = tmp_path / "programs"
    center = hosts.center = VCenter(tmp_path / "vcsim", path=f"{folder}/vcsim:")
    for name in [name for name in program.environ if name.startswith(("GOVC_", "VSPHERE_"))]:
        del program.environ[name]
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(510) + b"\x55\xaa" + bytes(2 << 20))
    program.environ.update(flags(center), VSPHERE_IMAGE=image.as_uri(), VSPHERE_POOL="DC0_C0/Resources")
    program.environ["VSPHERE_CFGPARAM"] = "RUN.container=host"
    program.environ["PATH"] = f"{folder}/person:{program.environ['PATH']}"
    yield center
    center.close()
