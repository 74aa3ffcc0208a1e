"""Machines by the driver "openstack" in the real Keystone, Glance, Nova and Neutron of Debian 12 (see openstack.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .program import Program, said, until

if TYPE_CHECKING:
    from .openstack import NovaHosts, OpenStack

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "openstack")]

CREATE = ("create", "--driver", "openstack")
BOOT = "cut -d ' ' -f 22 /proc/1/stat"


def test_the_whole_life_of_a_server(program: Program, openstack: OpenStack, servers: NovaHosts) -> None:
    wrong = program(*CREATE, "--openstack-password", "not-this", "no", code=3)
    assert "refuses the login of demo" in wrong.stderr and "not-this" not in wrong.stderr
    wrong = program(*CREATE, "--openstack-flavor-name", "m1.smal", "no", code=3)
    assert "Near it: m1.small" in wrong.stderr

    done = program(*CREATE, "--openstack-metadata", "team,ci", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=openstack"]
    assert sorted(program.info()["Labels"]) == labels, said(done)
    (row,) = openstack.servers()
    address = servers.addresses[row["id"]]
    assert row["metadata"]["team"] == "ci" and row["key_name"] is None
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\nroot\n"
    assert program("ls", "-t", "60", "-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running openstack\n"

    boot = program("ssh", "web", BOOT).stdout
    program("restart", "web")
    assert program("ssh", "web", BOOT).stdout != boot
    program("stop", "web")
    assert until(lambda: servers.settled(row["id"])), servers.trouble
    assert program("ls", "-t", "60", "-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert openstack.servers() == [] and until(lambda: not servers.hosts), servers.trouble
    neutron = f"http://{openstack.ip}:9696/v2.0"
    assert openstack.ask(f"{neutron}/floatingips")["floatingips"] == []
    groups = openstack.ask(f"{neutron}/security-groups")["security_groups"]
    assert {group["name"] for group in groups} == {"default"}
    assert servers.trouble == ""
