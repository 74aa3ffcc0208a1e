"""Machines by the driver "vmwarevsphere": the real govc against the real vcsim, whose VMs are real hosts
(vcenter.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vcenter import PASSWORD, VCenter

from .program import Program, said, until

if TYPE_CHECKING:
    from .vcenter import Hosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "vcenter")]


def test_the_whole_life_of_a_vm(program: Program, vcenter: VCenter, hosts: Hosts) -> None:
    before = vcenter.inventory()
    done = program("--debug", "create", "--driver", "vmwarevsphere", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=vmwarevsphere"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    assert PASSWORD not in done.stdout + done.stderr
    (address,) = hosts.addresses.values()
    assert program("ip", "web").stdout.strip() == address
    program("stop", "web")
    assert program("status", "web").stdout.strip() == "Stopped"
    program("start", "web")
    assert program.info()["Name"] == "web"
    program("restart", "web")
    assert until(lambda: program.docker("info", code=None).returncode == 0)
    program("kill", "web")
    assert program("status", "web").stdout.strip() == "Stopped"
    holders = [path.name for path in program.store.rglob("*")
               if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert set(holders) <= {"config.json", "config.json.bak"}
    program("rm", "-y", "web")
    assert vcenter.inventory() == before and program.names() == [] and not hosts.hosts
