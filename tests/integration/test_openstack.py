"""Machines by the driver "openstack" in the real Keystone, Glance, Nova and Neutron of Debian 12 (see openstack.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest

from .program import Program, said, until

if TYPE_CHECKING:
    from .openstack import NovaHosts, OpenStack
    from .openstack_faults import Faults

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "openstack")]

CREATE = ("create", "--driver", "openstack")
BOOT = "cut -d ' ' -f 22 /proc/1/stat"


QUOTA = {"forbidden": {"code": 403, "message": "Quota exceeded for cores: Requested 1, but already used 20 of 20"}}
BUSY = {"overLimit": {"code": 413, "message": "This request was rate-limited."}}


def test_what_is_refused_leaves_nothing(program: Program, openstack: OpenStack, faults: Faults,
                                        servers: NovaHosts) -> None:
    wrong = program(*CREATE, "--openstack-password", "not-this", "no", code=3)
    assert "refuses the login of demo" in wrong.stderr and "not-this" not in wrong.stderr
    wrong = program(*CREATE, "--openstack-flavor-name", "m1.smal", "no", code=3)
    assert "Near it: m1.small" in wrong.stderr
    faults.answer("POST .*/servers$", 403, QUOTA)
    wrong = program(*CREATE, "no", code=3)
    assert "Quota exceeded for cores" in wrong.stderr and "openstack limits show" in wrong.stderr
    wrong = program(*CREATE, "--openstack-flavor-name", "m1.huge", "no", code=3)
    assert "No valid host was found" in wrong.stderr and "no room for this flavor" in wrong.stderr
    assert openstack.servers() == [] and program("ls", "-q").stdout == "" and servers.trouble == ""


def test_the_whole_life_of_a_server(program: Program, openstack: OpenStack, faults: Faults,
                                    servers: NovaHosts) -> None:
    faults.expire("POST .*/servers$")
    faults.answer("POST .*/servers$", 413, BUSY, {"Retry-After": "1"})
    faults.lose("POST .*/security-group-rules$")
    faults.lose("POST .*/floatingips$")
    for _ in range(2):
        faults.answer("GET .*/ports$", 200, {"ports": []})
    done = program(*CREATE, "--openstack-metadata", "team,ci", "--engine-label", "a=b", "web")
    assert faults.coming == [] and faults.statuses("POST .*/servers$") == [401, 413, 202]
    assert faults.statuses("POST .*/security-group-rules$").count(409) == 1, "Neutron has that rule"
    labels = ["a=b", "provider=openstack"]
    assert sorted(program.info()["Labels"]) == labels, said(done)
    (row,) = openstack.servers()
    neutron = f"http://{openstack.ip}:9696/v2.0"
    assert len(openstack.ask(f"{neutron}/floatingips")["floatingips"]) == 1
    address = servers.addresses[row["id"]]
    assert row["metadata"]["team"] == "ci" and row["key_name"] is None
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\nroot\n"
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running openstack\n"

    boot = program("ssh", "web", BOOT).stdout
    program("restart", "web")
    assert program("ssh", "web", BOOT).stdout != boot
    program("stop", "web")
    assert until(lambda: servers.settled(row["id"])), servers.trouble
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert openstack.servers() == [] and until(lambda: not servers.hosts), servers.trouble
    assert openstack.ask(f"{neutron}/floatingips")["floatingips"] == []
    groups = openstack.ask(f"{neutron}/security-groups")["security_groups"]
    assert {group["name"] for group in groups} == {"default"}
    assert servers.trouble == ""


def test_neutron_moves_a_floating_ip_only_at_the_revision_that_was_seen(openstack: OpenStack) -> None:
    """By this two creations do not take the same free one."""
    openstack.log_in()
    neutron = f"http://{openstack.ip}:9696/v2.0"
    networks = {row["name"]: row["id"] for row in openstack.ask(f"{neutron}/networks")["networks"]}
    ports = [openstack.ask(f"{neutron}/ports", {"port": {"network_id": networks["private"]}})["port"]["id"]
             for _ in range(2)]
    body = {"floatingip": {"floating_network_id": networks["public"]}}
    row = openstack.ask(f"{neutron}/floatingips", body)["floatingip"]
    url, seen = f"{neutron}/floatingips/{row['id']}", f"revision_number={row['revision_number']}"
    openstack.ask(url, {"floatingip": {"port_id": ports[0]}}, "PUT", If_Match=seen)
    with pytest.raises(HTTPError) as refused:
        openstack.ask(url, {"floatingip": {"port_id": ports[1]}}, "PUT", If_Match=seen)
    assert refused.value.code == 412
    assert openstack.ask(url)["floatingip"]["port_id"] == ports[0]
    for each in (url, *(f"{neutron}/ports/{port}" for port in ports)):
        openstack.ask(each, method="DELETE")
