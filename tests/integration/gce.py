"""The instances of tests/gce.py: test hosts with a real cloud-init, which take the user data of the order's metadata.

The metadata "ssh-keys" lets nobody in here, since there is no guest agent of Google's.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gce import Compute, permissions, write_key

from .instances import MovingInstances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program


class GceHosts(MovingInstances):
    """Hosts by the name of the instance."""

    def launched(self, row: dict[str, Any]) -> None:
        metadata = {item["key"]: item["value"] for item in row["metadata"]["items"]}
        self.launch_moving(row["name"], row["name"], metadata["user-data"], [])


@pytest.fixture
def instances(bed: Testbed) -> Iterator[GceHosts]:
    """The hosts of `gce`."""
    hosts = GceHosts(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def gce(instances: GceHosts, program: Program, tmp_path: Path) -> Iterator[Compute]:
    """The Google that `program` asks, with real hosts."""
    server = Compute(permissions())
    server.guests = instances
    for name in [name for name in program.environ if name.startswith(("GOOGLE_", "GCLOUD_", "CLOUDSDK_"))]:
        del program.environ[name]
    program.environ.update(GOOGLE_API_URL=server.url, no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    program.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(write_key(tmp_path, server.port))
    yield server
    server.close()
    assert server.wrong == []
