"""Machines by the driver "azure": Azure is played by tests/arm.py, which holds each request to Microsoft's own
description, and its VMs are real hosts with a real cloud-init (see tests/integration/arm.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arm import Arm

from .program import Program, said, until

if TYPE_CHECKING:
    from .arm import AzureHosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "arm")]

CREATE = ("create", "--driver", "azure")
MOST_CALLS = 14
BOOT = "cut -d ' ' -f 22 /proc/1/stat"


def assert_gone(arm: Arm, instances: AzureHosts) -> None:
    """Nothing is left in the subscription, and no host."""
    assert arm.is_empty() and until(lambda: not instances.hosts)


def test_the_whole_life_of_a_vm(program: Program, arm: Arm, instances: AzureHosts) -> None:
    done = program(*CREATE, "--azure-tags", "team,ci", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=azure"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    looks = ("GET virtualMachines", "GET publicIPAddresses")
    asked = [name for name in arm.names() if name not in looks]
    assert len(asked) + len(looks) <= MOST_CALLS, arm.names()
    public = arm.thing("publicIPAddresses", "web-ip")["properties"]["ipAddress"]
    assert program("url", "web").stdout == f"tcp://{public}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\ndocker-user\n"
    calls = len(arm.calls)
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running azure\n"
    assert len(arm.calls) == calls, "engines that answer need nobody else"

    boot = program("ssh", "web", BOOT).stdout
    program("restart", "web")
    assert program("ssh", "web", BOOT).stdout != boot
    program("stop", "web")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    assert program("url", "web").stdout == f"tcp://{public}:2376\n"
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert_gone(arm, instances)


def test_provision_finishes_what_was_killed_before_the_answer_to_the_order(
    program: Program, arm: Arm, instances: AzureHosts
) -> None:
    arm.lose("PUT virtualMachines", 1000)
    running = program.start(*CREATE, "web")
    assert until(lambda: instances.hosts)
    running.kill()
    arm.mishaps.clear()
    program("provision", "web")
    assert arm.made.count(("virtualMachines", "web")) == 1 and program.info()["Name"] == "web"
    program("rm", "-y", "web")
    assert_gone(arm, instances)
