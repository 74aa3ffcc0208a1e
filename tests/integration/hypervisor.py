"""The VMs of tests/hypervisor.py: test hosts with a real cloud-init, which take the user data of their seed.iso.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypervisor import Hypervisor
from test_seed import CD

from .instances import MovingInstances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program


class Hosts(MovingInstances):
    """Hosts by the id of the VM."""

    def start(self, vm: Any) -> None:
        if vm["Id"] in self.hosts:
            super().start(vm["Id"])
        else:
            files = CD(Path(vm["Disc"]).read_bytes()).files()
            self.launch_moving(vm["Id"], vm["Name"], files["USER-DATA"], [])
        vm["Own"] = ["fe80::1", self.known[vm["Id"]][0].public]

    def stop(self, vm: Any, graceful: bool = True) -> None:
        super().stop(vm["Id"], graceful)


def write_image(folder: Path) -> Path:
    """A .tar.xz with what begins as a disk does; nothing boots from it."""
    path = folder / "disk.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        entry = tarfile.TarInfo("disk.raw")
        entry.size = 2 << 20
        archive.addfile(entry, io.BytesIO(bytes(510) + b"\x55\xaa" + bytes((2 << 20) - 512)))
    return path


@pytest.fixture
def instances(bed: Testbed) -> Iterator[Hosts]:
    """The hosts of `hypervisor`."""
    hosts = Hosts(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def hypervisor(instances: Hosts, program: Program, tmp_path: Path) -> Iterator[Hypervisor]:
    """The Windows computer that `program` runs on, with real hosts."""
    folder = tmp_path / "powershell"
    folder.mkdir()
    computer = Hypervisor(folder)
    computer.guests = instances
    program.environ["PATH"] = f"{folder}:{program.environ['PATH']}"
    program.environ["HYPERV_IMAGE"] = write_image(tmp_path).as_uri()
    yield computer
    computer.close()
    assert computer.wrong == []
