"""The guests of tests/digitalocean.py: droplets that are test hosts with a real cloud-init.

A droplet gets at its first boot what DigitalOcean gives it: the user data of the order, the account's keys that the
order names, and data of the provider's own. If the order names no key, these give root a password that has to be
changed at the first login, which also keeps out whoever comes with a key, unless the user data cares for that.

Test modules that use the fixtures name this file, fixtures.py and prism.py in `pytest_plugins`.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from digitalocean import TOKEN, DigitalOcean
from digitalocean_catalogue import CUSTOM

from tests.testbed import File, Testbed

from .instances import SEED, Instances
from .prism import missing

if TYPE_CHECKING:
    from .prism import Prism
    from .program import Program

WITHOUT_CLOUD_INIT = {CUSTOM}
EXPIRIES = ("config", "script", "disk")


class Droplets(Instances[int]):
    """Hosts by droplet id.

    expiry: who lets root's password expire, for want of a key: "config" is cloud-init's own `chpasswd`, "script" runs
    at the end of the first boot, "disk" was done before it.
    """

    expiry = "config"

    def create(self, droplet: dict[str, Any], user_data: str, public_keys: list[str]) -> dict[str, str]:
        """Start the host; it boots while the droplet is active, as a droplet does."""
        assert self.expiry in EXPIRIES
        if droplet["image"]["id"] in WITHOUT_CLOUD_INIT:
            return self.launch_plain(droplet["id"], public_keys)._asdict()
        vendor = _vendor_data("" if public_keys else self.expiry)
        files = _expired_on_disk() if self.expiry == "disk" and not public_keys else []
        words = (droplet["id"], droplet["name"], user_data, public_keys)
        return self.launch(*words, vendor_data=vendor, files=files)._asdict()


def _expired_on_disk() -> list[File]:
    """Let the first boot begin with an expired password, as if it lay on the disk."""
    script = f"""#!/bin/sh -e
[ ! -e {SEED}/expired ] || exit 0
echo 'root:{secrets.token_hex(12)}' | chpasswd
chage -d 0 root
touch {SEED}/expired
"""
    setting = f"[Service]\nExecStartPre={SEED}/expire\n"
    return [
        File(f"{SEED}/expire", script.encode(), 0o700),
        File("/etc/systemd/system/cloud-init-local.service.d/expire.conf", setting.encode()),
    ]


def _vendor_data(expiry: str) -> str:
    """The provider's part of cloud-init's data, in MIME as droplets get it."""
    config = ["#cloud-config", "disable_root: false", "manage_etc_hosts: true"]
    script = ["#!/bin/sh", "# as the provider's own scripts, this has nothing to do with the key"]
    if expiry == "config":
        config += ["chpasswd:", "  expire: true", f"  list: ['root:{secrets.token_hex(12)}']"]
    elif expiry == "script":
        script += [f"echo 'root:{secrets.token_hex(12)}' | chpasswd", "chage -d 0 root"]
    head = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="==vendor=="\n'
    parts = [("cloud-config", config), ("x-shellscript", script)]
    bodies = ("\n".join([f"Content-Type: text/{kind}", "", *lines]) for kind, lines in parts)
    return head + "".join(f"\n--==vendor==\n{body}\n" for body in bodies) + "--==vendor==--\n"


@pytest.fixture
def droplets(bed: Testbed) -> Iterator[Droplets]:
    """The hosts of `ocean`; a test may set `image` and `expiry` before it creates one."""
    guests = Droplets(bed)
    yield guests
    guests.close()


@pytest.fixture
def ocean(droplets: Droplets, request: pytest.FixtureRequest, program: Program) -> Iterator[DigitalOcean]:
    """The DigitalOcean that `program` asks, with real hosts: by way of Prism, if that can run."""
    checked: Prism | None = None
    if missing() and os.environ.get("DOCKER_MACHINE_REQUIRE_INTEGRATION") != "1":
        warnings.warn(f"left out the check against DigitalOcean's own description: {missing()}", stacklevel=1)
    else:
        checked = request.getfixturevalue("checked")
    with DigitalOcean(droplets, port=checked.upstream if checked else 0) as server:
        server.links_url = checked.url if checked else ""
        server.images[CUSTOM]["distribution"] = "Unknown"  # the description's word for "Unknown OS"
        url = checked.url if checked else server.url
        program.environ.update(DIGITALOCEAN_API_URL=url, DIGITALOCEAN_ACCESS_TOKEN=TOKEN)
        program.environ.update(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
        yield server
    assert (server.unknown, server.mistakes) == ([], [])
