"""The guests of tests/slcloud.py: test hosts with a real cloud-init, which take the keys and user data of the order.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from slcloud import KEY, USER, SoftLayer

from .instances import Instances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program


@pytest.fixture
def instances(bed: Testbed) -> Iterator[Instances[int]]:
    """The hosts of `softlayer`."""
    hosts: Instances[int] = Instances(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def softlayer(instances: Instances[int], program: Program) -> Iterator[SoftLayer]:
    """The SoftLayer that `program` asks, with real hosts."""
    server = SoftLayer()
    server.guests = instances
    for name in [name for name in program.environ if name.startswith(("SOFTLAYER_", "SL_", "IAAS_"))]:
        del program.environ[name]
    program.environ.update(SOFTLAYER_API_URL=server.url, no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    program.environ.update(SOFTLAYER_USER=USER, SOFTLAYER_API_KEY=KEY, SOFTLAYER_DOMAIN="example.com")
    yield server
    server.close()
    assert server.wrong == []
