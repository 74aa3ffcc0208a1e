"""Machines by the driver "exoscale": tests/exocloud.py plays Exoscale and holds each request to Exoscale's own
description, and its instances are real hosts with a real cloud-init (see tests/integration/exocloud.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exocloud import Exoscale

from .program import Program, said, until

if TYPE_CHECKING:
    from .exocloud import ExoscaleHosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "exocloud")]

CREATE = ("create", "--driver", "exoscale")
BOOT = "cut -d ' ' -f 22 /proc/1/stat"


def test_the_whole_life_of_an_instance(program: Program, exo: Exoscale, instances: ExoscaleHosts) -> None:
    done = program(*CREATE, "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=exoscale"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    number = exo.instance()["id"]
    public = instances.known[number][0].public
    assert program("url", "web").stdout == f"tcp://{public}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\nubuntu\n"
    asked = len(exo.calls)
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running exoscale\n"
    assert len(exo.calls) == asked, "engines that answer need nobody else"

    boot = program("ssh", "web", BOOT).stdout
    program("restart", "web")
    assert program("ssh", "web", BOOT).stdout != boot
    program("stop", "web")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    after = instances.known[number][0].public
    assert program("url", "web").stdout == f"tcp://{after}:2376\n" and after != public
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert exo.is_empty() and until(lambda: not instances.hosts)
