"""Machines by the driver "softlayer": tests/slcloud.py plays SoftLayer, and its guests are real hosts with a real
cloud-init (see tests/integration/slcloud.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slcloud import SoftLayer

from .program import Program, said, until

if TYPE_CHECKING:
    from .instances import Instances

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "slcloud")]

BOOT = "cut -d ' ' -f 22 /proc/1/stat"


def test_the_whole_life_of_a_guest(program: Program, softlayer: SoftLayer, instances: Instances[int]) -> None:
    done = program("create", "--driver", "softlayer", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=softlayer"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    public = softlayer.row()["public"]
    assert program("url", "web").stdout == f"tcp://{public}:2376\n" and softlayer.keys == {}
    assert program("ssh", "web", "hostname; whoami").stdout == "web\nroot\n"
    asked = len(softlayer.calls)
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running softlayer\n"
    assert len(softlayer.calls) == asked, "engines that answer need nobody else"

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
    assert softlayer.is_empty() and until(lambda: not instances.hosts)
