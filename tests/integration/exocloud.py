"""The instances of tests/exocloud.py: test hosts with a real cloud-init, which take the user data of the order.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from exocloud import KEY, SECRET, Exoscale, permissions

from .instances import MovingInstances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program


class ExoscaleHosts(MovingInstances):
    """Hosts by the id of the instance."""

    def launched(self, row: dict[str, Any]) -> None:
        self.launch_moving(row["id"], row["name"], base64.b64decode(row["user-data"]), [])


@pytest.fixture
def instances(bed: Testbed) -> Iterator[ExoscaleHosts]:
    """The hosts of `exo`."""
    hosts = ExoscaleHosts(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def exo(instances: ExoscaleHosts, program: Program) -> Iterator[Exoscale]:
    """The Exoscale that `program` asks, with real hosts."""
    server = Exoscale(permissions())
    server.guests = instances
    for name in [name for name in program.environ if name.startswith("EXOSCALE_")]:
        del program.environ[name]
    program.environ.update(EXOSCALE_API_URL=server.url, no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    program.environ.update(EXOSCALE_API_KEY=KEY, EXOSCALE_API_SECRET=SECRET)
    yield server
    server.close()
    assert server.wrong == []
