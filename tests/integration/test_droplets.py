"""Droplets are what DigitalOcean makes of an order: cloud-init has read the user data, and root's password is expired
where no key was named."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from digitalocean import DigitalOcean
from digitalocean_catalogue import CUSTOM
from test_digitalocean_api import ORDER, Client

from .program import until

if TYPE_CHECKING:
    from tests.testbed import Host, Testbed

    from .droplets import Droplets

pytest_plugins = (f"{__package__}.droplets",)

CARE = {"chpasswd": {"expire": False}, "runcmd": [["chage", "-d", "-1", "root"]]}
Create = Callable[..., "tuple[int, Host]"]


@pytest.fixture
def api(droplets: Droplets) -> Iterator[DigitalOcean]:
    with DigitalOcean(droplets) as server:
        yield server
    assert (server.unknown, server.mistakes) == ([], [])


@pytest.fixture
def create(api: DigitalOcean, droplets: Droplets) -> Create:
    """create(user_data, image=...): the id and the host of a droplet that has booted."""

    def make(config: object, **change: Any) -> tuple[int, Host]:
        order = {**ORDER, "user_data": "#cloud-config\n" + json.dumps(config), **change}
        number = Client(api.url)("POST", "/v2/droplets", order)[1]["droplet"]["id"]
        assert until(lambda: api.droplets[number]["status"] == "active")
        droplets.hosts[number].wait()
        return number, droplets.hosts[number]

    return make


def public_key(bed: Testbed) -> str:
    return bed.key.with_suffix(".pub").read_text(encoding="ascii").strip()


def login(api: DigitalOcean, number: int, host: Host) -> subprocess.CompletedProcess[str]:
    """Log in as root at the droplet's public address."""
    public = [net["ip_address"] for net in api.droplets[number]["networks"]["v4"] if net["type"] == "public"]
    words = [*host.ssh_command()[:-1], f"root@{public[0]}", "hostname"]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_the_user_data_of_the_order_is_read_at_the_first_boot(api: DigitalOcean, create: Create, bed: Testbed) -> None:
    config = {"disable_root": False, "ssh_authorized_keys": [public_key(bed)], **CARE}
    number, host = create({**config, "write_files": [{"path": "/root/it", "content": "was here"}]}, name="ship")
    assert login(api, number, host).stdout == "ship\n"
    assert host.run("cat /root/it; ls /etc/ssh/ssh_host_*_key | wc -l").startswith("was here")


@pytest.mark.parametrize("expiry", ["config", "script", "disk"])
def test_root_s_password_is_expired_where_no_key_was_named(
    api: DigitalOcean, droplets: Droplets, create: Create, bed: Testbed, expiry: str
) -> None:
    droplets.expiry = expiry
    config = {"disable_root": False, "ssh_authorized_keys": [public_key(bed)]}
    refused = login(api, *create(config))
    assert refused.returncode == 1 and "password has expired" in refused.stderr
    assert login(api, *create({**config, **CARE})).returncode == 0


def test_a_named_key_is_let_in(api: DigitalOcean, create: Create, bed: Testbed) -> None:
    key = api.add_key(public_key(bed))["id"]
    assert login(api, *create({}, ssh_keys=[key])).returncode == 0


def test_an_image_without_cloud_init_has_the_named_keys_only(api: DigitalOcean, create: Create, bed: Testbed) -> None:
    key = api.add_key(public_key(bed))["id"]
    number, host = create({"write_files": [{"path": "/root/it"}]}, ssh_keys=[key], image=CUSTOM)
    assert login(api, number, host).returncode == 0 and host.run("ls /root") == ""


def test_a_droplet_keeps_its_address_and_goes(api: DigitalOcean, create: Create, bed: Testbed) -> None:
    number, host = create({}, ssh_keys=[api.add_key(public_key(bed))["id"]])
    for kind, status in [("shutdown", "off"), ("power_on", "active"), ("reboot", "active"), ("power_off", "off")]:
        ask = Client(api.url)
        assert ask("POST", f"/v2/droplets/{number}/actions", {"type": kind})[0] == 201
        assert until(lambda: api.droplets[number]["locked"] is False and not api.pending(number))
        assert api.droplets[number]["status"] == status
        if status == "active":
            host.wait()
            assert login(api, number, host).returncode == 0
    assert ask("DELETE", f"/v2/droplets/{number}")[0] == 204
    assert host.name not in dict(bed.hosts())
