"""The instances of tests/awsproxy.py: test hosts with a real cloud-init, which take the user data that moto keeps.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from awsproxy import AWS, FLATCAR, KEY, SECRET, Moto

from tests.testbed import File, Testbed, take_address

from .instances import Addresses, Instances

if TYPE_CHECKING:
    from .program import Program

WITHOUT_CLOUD_INIT = {FLATCAR}


class Ec2Hosts(Instances[str]):
    """Hosts by instance id. A start gives a public address that is another one than before."""

    def __init__(self, bed: Testbed, image: str = "cloud") -> None:
        super().__init__(bed, image)
        self.known: dict[str, list[Addresses]] = {}

    def launched(self, id: str, image: str, name: str, user_data: bytes, public_keys: list[str]) -> None:
        if image in WITHOUT_CLOUD_INIT:
            self.known[id] = [self.launch_plain(id, public_keys)]
            return
        later = self.bed.address()
        setting = f"[Service]\nExecStartPre={take_address(later)}\n"
        files = [File("/etc/systemd/system/ssh.service.d/later.conf", setting.encode())]
        first = self.launch(id, name, user_data, public_keys, user="ubuntu", files=files)
        self.known[id] = [first, Addresses(later, first.private)]

    def start(self, id: str) -> None:
        super().start(id)
        self.known[id].reverse()

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
