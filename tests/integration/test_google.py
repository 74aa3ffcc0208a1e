"""Machines by the driver "google": Google is played by tests/gce.py, which holds each request to Google's own
description, and its instances are real hosts with a real cloud-init (see tests/integration/gce.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gce import Compute

from .program import Program, said, until

if TYPE_CHECKING:
    from .gce import GceHosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "gce")]

CREATE = ("create", "--driver", "google")
MOST_CALLS = 8
BOOT = "cut -d ' ' -f 22 /proc/1/stat"


def assert_gone(gce: Compute, instances: GceHosts) -> None:
    """Nothing is left in the project, and no host."""
    assert gce.is_empty() and until(lambda: not instances.hosts)


def test_the_whole_life_of_an_instance(program: Program, gce: Compute, instances: GceHosts) -> None:
    done = program(*CREATE, "--google-label", "team:ci", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=google"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    polls = gce.names().count("instances.get") - 1 + gce.names().count("zoneOperations.wait") - 1
    assert len(gce.names()) - polls <= MOST_CALLS, gce.names()
    public = instances.known["web"][0].public
    assert program("url", "web").stdout == f"tcp://{public}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\ndocker-user\n"
    agent = program("ssh", "web", "cat /etc/default/instance_configs.cfg").stdout
    assert agent.endswith("[InstanceSetup]\nset_host_keys = false\n")
    asked = len(gce.calls)
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running google\n"
    assert len(gce.calls) == asked, "engines that answer need nobody else"

    boot = program("ssh", "web", BOOT).stdout
    program("restart", "web")
    assert program("ssh", "web", BOOT).stdout != boot
    assert program("url", "web").stdout == f"tcp://{public}:2376\n"
    program("stop", "web")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    after = instances.known["web"][0].public
    assert program("url", "web").stdout == f"tcp://{after}:2376\n" and after != public
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert_gone(gce, instances)


def test_provision_finishes_what_was_killed_before_the_answer_to_the_order(
    program: Program, gce: Compute, instances: GceHosts
) -> None:
    gce.lose("instances.insert", 1000)
    running = program.start(*CREATE, "web")
    assert until(lambda: instances.hosts)
    running.kill()
    gce.mishaps.clear()
    program("provision", "web")
    assert len(gce.orders) == 1 and program.info()["Name"] == "web"
    program("rm", "-y", "web")
    assert_gone(gce, instances)
