"""The VMs of tests/fusion.py: test hosts with a real cloud-init, which take the user data of the CD that the .vmx
names.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fusion import Fusion
from test_seed import CD

from .instances import MovingInstances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program


class Hosts(MovingInstances):
    """Hosts by the name of the .vmx, without its ending."""

    def turn_on(self, vmx: Path, rows: dict[str, str]) -> str:
        """Boot it; its address."""
        if vmx.stem in self.hosts:
            self.start(vmx.stem)
        else:
            files = CD((vmx.parent / rows["sata0:1.fileName"]).read_bytes()).files()
            assert rows["ethernet0.address"].encode() in files["NETWORK-CONFIG"]
            self.launch_moving(vmx.stem, rows["displayName"], files["USER-DATA"], [])
        return self.known[vmx.stem][0].public

    def turn_off(self, vmx: Path, graceful: bool) -> None:
        self.stop(vmx.stem, graceful)

    def is_on(self, vmx: Path) -> bool:
        """A guest may have gone off by itself."""
        return self.hosts[vmx.stem].inspect()["State"]["Running"]


@pytest.fixture
def instances(bed: Testbed) -> Iterator[Hosts]:
    """The hosts of `fusion`."""
    hosts = Hosts(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def fusion(instances: Hosts, program: Program, tmp_path: Path) -> Iterator[Fusion]:
    """The computer that `program` runs on, with real hosts."""
    folder = tmp_path / "vmware"
    folder.mkdir()
    computer = Fusion(folder)
    computer.guests = instances
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(510) + b"\x55\xaa" + bytes(2 << 20))
    for name in [name for name in program.environ if name.startswith("FUSION_")]:
        del program.environ[name]
    program.environ.update(
        PATH=f"{folder}:{program.environ['PATH']}", ALLUSERSPROFILE=str(folder), FUSION_NO_SHARE="true",
        FUSION_BOOT2DOCKER_URL=image.as_uri(), FUSION_DISK_SIZE="3000", FUSION_SSH_PASSWORD="Geheim-7!pass")
    yield computer
    computer.close()
    assert computer.wrong == []
