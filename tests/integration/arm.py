"""The VMs of tests/arm.py: test hosts with a real cloud-init, which take the custom data of the order.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from arm import Arm, permissions

from .instances import Instances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program


class AzureHosts(Instances[str]):
    """Hosts by the name of the VM, at addresses that stay, as Azure's Standard ones do."""

    def launched(self, arm: Arm, row: dict[str, Any]) -> None:
        name, profile = row["name"], row["_body"]["properties"]["osProfile"]
        addresses = self.launch(name, name, base64.b64decode(profile["customData"]), [], user="ubuntu")
        arm.thing("publicIPAddresses", f"{name}-ip")["properties"]["ipAddress"] = addresses.public

    def power(self, row: dict[str, Any], verb: str, graceful: bool) -> None:
        name = row["name"]
        if verb == "start":
            self.start(name)
        elif verb == "restart":
            self.reboot(name)
        else:
            self.stop(name, graceful)


@pytest.fixture
def instances(bed: Testbed) -> Iterator[AzureHosts]:
    """The hosts of `arm`."""
    hosts = AzureHosts(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def arm(instances: AzureHosts, program: Program, tmp_path: Path) -> Iterator[Arm]:
    """The Azure that `program` asks, with real hosts."""
    folder = tmp_path / "tls"
    folder.mkdir()
    server = Arm(folder, permissions())
    server.guests = instances
    for name in [name for name in program.environ if name.startswith(("AZURE_", "ARM_", "MSI_", "IDENTITY_"))]:
        del program.environ[name]
    program.environ.update(server.environ())
    yield server
    server.close()
    assert server.wrong == []
