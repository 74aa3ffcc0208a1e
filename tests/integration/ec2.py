"""The instances of tests/awsproxy.py: test hosts with a real cloud-init, which take the user data that moto keeps.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from awsproxy import AWS, FLATCAR, KEY, SECRET, Moto

from .instances import MovingInstances

if TYPE_CHECKING:
    from tests.testbed import Testbed

    from .program import Program

WITHOUT_CLOUD_INIT = {FLATCAR}


class Ec2Hosts(MovingInstances):
    """Hosts by instance id."""

    def launched(self, id: str, image: str, name: str, user_data: bytes, public_keys: list[str]) -> None:
        if image in WITHOUT_CLOUD_INIT:
            self.known[id] = [self.launch_plain(id, public_keys)]
        else:
            self.launch_moving(id, name, user_data, public_keys)

    def addresses(self, id: str) -> dict[str, str]:
        """As AWS's answers call them."""
        if id not in self.known:
            return {}
        public, private = self.known[id][0]
        return {"ipAddress": public, "privateIpAddress": private}


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    server = Moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def instances(bed: Testbed) -> Iterator[Ec2Hosts]:
    """The hosts of `aws`."""
    hosts = Ec2Hosts(bed)
    yield hosts
    hosts.close()


@pytest.fixture
def aws(moto: Moto, instances: Ec2Hosts, program: Program) -> Iterator[AWS]:
    """The AWS that `program` asks, with real hosts."""
    moto.reset()
    server = AWS(moto)
    server.guests = instances
    server.tell_ubuntu()
    for name in [name for name in program.environ if name.startswith("AWS_")]:
        del program.environ[name]
    program.environ.update(AWS_ENDPOINT=server.url, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
    program.environ.update(AWS_EC2_METADATA_DISABLED="true", no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    yield server
    server.close()
