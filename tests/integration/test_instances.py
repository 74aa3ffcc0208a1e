"""The machines of clouds' stand-ins get their keys and user data as a provider's do."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .instances import Instances

if TYPE_CHECKING:
    from tests.testbed import Host, Testbed


@pytest.fixture
def instances(bed: Testbed) -> Iterator[Instances[str]]:
    made: Instances[str] = Instances(bed)
    yield made
    made.close()


def login(host: Host, user: str, address: str, line: str) -> subprocess.CompletedProcess[str]:
    words = [*host.ssh_command(user)[:-1], f"{user}@{address}", line]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_an_ordinary_user_comes_in_by_the_key_and_finds_what_the_user_data_wrote(
    instances: Instances[str], bed: Testbed
) -> None:
    key = bed.key.with_suffix(".pub").read_text(encoding="ascii").strip()
    data = "#cloud-config\n" + json.dumps({"write_files": [{"path": "/root/it", "content": "was here"}]})

    where = instances.launch("i-07", "ship", gzip.compress(data.encode()), [key], user="ubuntu")
    host = instances.hosts["i-07"]
    host.wait()

    for address in where:
        assert login(host, "ubuntu", address, "hostname; sudo cat /root/it").stdout == "ship\nwas here"
    refused = login(host, "root", where.public, "true")
    assert 'Please login as the user "ubuntu"' in refused.stdout
    instances.stop("i-07", graceful=False)
    instances.start("i-07")
    host.wait()
    assert login(host, "ubuntu", where.public, "id -un").stdout == "ubuntu\n"
    instances.destroy("i-07")
    assert host.name not in dict(bed.hosts())
