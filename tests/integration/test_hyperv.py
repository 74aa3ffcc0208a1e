"""Machines by the driver "hyperv": tests/hypervisor.py plays PowerShell, and its VMs are real hosts with a real
cloud-init (see tests/integration/hypervisor.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypervisor import Hypervisor

from .program import Program, said, until

if TYPE_CHECKING:
    from .hypervisor import Hosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "hypervisor")]


def test_the_whole_life_of_a_vm(program: Program, hypervisor: Hypervisor, instances: Hosts) -> None:
    done = program("create", "--driver", "hyperv", "--hyperv-disk-size", "3000", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=hyperv"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    number = hypervisor.vm()["Id"]
    public = instances.known[number][0].public
    assert program("url", "web").stdout == f"tcp://{public}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\ndocker\n"
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running hyperv\n"

    program("stop", "web")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    after = instances.known[number][0].public
    assert program("url", "web").stdout == f"tcp://{after}:2376\n" and after != public
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert hypervisor.vms == {} and until(lambda: not instances.hosts)
