"""The vSphere that `program` asks: the real govc and the real vcsim, whose VMs are test hosts with a real cloud-init.

vcsim runs a program "docker" for a VM with the extra configuration RUN.container. Here it is one of ours, which starts
a host that reads the seed.iso in the VM's folder. What vcsim lacks, the reboot of a guest, is added by a "govc" that
hands all else to the real one. Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.door import Call, Door
from tests.test_seed import CD
from tests.vcenter import VCenter, flags, programs

from .conftest import cannot_run
from .instances import Instances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program

FIRST = """\
if [ "$name" = govc ] && [ "$1 $2" != "vm.power -r" ]; then exec "%s" "$@"; fi
if [ "$1 $2" = "run --rm" ]; then /bin/cat >/dev/null; exit; fi
"""


class Hosts(Instances[str]):
    """Hosts by the name of the container that vcsim asks for."""

    center: VCenter

    def __init__(self, bed: Testbed, folder: Path) -> None:
        super().__init__(bed)
        self.addresses: dict[str, str] = {}
        programs_of_one = [folder / name for name in ("vcsim/docker", "person/govc")]  # each for one of them alone
        for path in programs_of_one:
            path.parent.mkdir(parents=True)
        self.door = Door(self.respond, *programs_of_one, first=FIRST % str(programs() / "govc"))

    def respond(self, call: Call) -> tuple[int, str, str]:
        return 0, self.answer(call.words), ""

    def answer(self, words: list[str]) -> str:
        """What a program prints for its words."""
        verb, name = words[0], words[-1]
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
        self.door.close()
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
