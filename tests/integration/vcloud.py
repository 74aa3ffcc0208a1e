"""The VMs of tests/vcloud.py: test hosts with a real cloud-init, which take the user data of the OVF properties.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vcloud import ORG, PASSWORD, USER, VCloud

from tests.cached import cached
from tests.vcenter import clear, fetch, go_environment, run

from .instances import Instances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program


SOURCE = Path(__file__).resolve().parent.parent / "vcloud_client" / "main.go"


@pytest.fixture
def client() -> Path:
    """The program of tests/vcloud_client, built with the client library that Debian has."""

    def build(folder: Path) -> None:
        work = folder / "work"
        fetch(work, "hmrc-vmware-govcd")
        run(folder, "go", "build", "-o", str(folder / "client"), str(SOURCE), **go_environment(work))
        clear(work)

    return cached("vcloud-client", build, SOURCE.read_text(encoding="utf-8")) / "client"


@pytest.fixture
def instances(bed: Testbed) -> Iterator[Instances[str]]:
    """The hosts of `cloud`."""
    hosts: Instances[str] = Instances(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def cloud(instances: Instances[str], program: Program) -> Iterator[VCloud]:
    """The Cloud Director that `program` asks, with real hosts."""
    server = VCloud()
    server.guests = instances
    for name in [name for name in program.environ if name.startswith(("VCLOUDAIR_", "VMWAREVCLOUDAIR_"))]:
        del program.environ[name]
    program.environ.update(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1", VCLOUDAIR_ENDPOINT=server.url)
    program.environ.update(VCLOUDAIR_USERNAME=USER, VCLOUDAIR_PASSWORD=PASSWORD, VCLOUDAIR_ORG=ORG)
    program.environ.update(VCLOUDAIR_VDCID="east", VCLOUDAIR_CATALOGITEM="Ubuntu 24.04")
    yield server
    server.close()
    assert server.wrong == []
