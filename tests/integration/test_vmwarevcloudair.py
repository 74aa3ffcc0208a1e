"""Machines by the driver "vmwarevcloudair": tests/vcloud.py plays VMware Cloud Director, and its VMs are real hosts
with a real cloud-init (see tests/integration/vcloud.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcloud import VCloud

import docker_machine as core

from .program import Program, said, until

if TYPE_CHECKING:
    from .instances import Instances

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "vcloud")]

CREATE = ("create", "--driver", "vmwarevcloudair", "--vmwarevcloudair-ip-allocation", "dhcp")
BOOT = "cut -d ' ' -f 22 /proc/1/stat"
LOOK = "sudo -u jane sudo id -un; sudo cat ~jane/.ssh/authorized_keys; sudo stat -c '%U %a' ~jane/.ssh/authorized_keys"


def test_the_whole_life_of_a_vapp(program: Program, cloud: VCloud, instances: Instances[str]) -> None:
    done = program(*CREATE, "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=vmwarevcloudair"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    address = cloud.row()["address"]
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\nroot\n"
    asked = len(cloud.calls)
    assert program("ls", "-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running vmwarevcloudair\n"
    assert len(cloud.calls) == asked, "engines that answer need nobody else"
    check_script(program)

    boot = program("ssh", "web", BOOT).stdout
    program("restart", "web")
    assert program("ssh", "web", BOOT).stdout != boot
    program("stop", "web")
    assert program("ls", "-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert cloud.is_empty() and until(lambda: not instances.hosts)


def check_script(program: Program) -> None:
    """The script of the guest customization, on a real host."""
    extra = core.load_extra("vmwarevcloudair")
    assert extra
    script = extra.CUSTOMIZATION % {"user": "jane", "key": "ssh-ed25519 AAAA"}
    for when in ("precustomization", "postcustomization", "postcustomization"):
        program("ssh", "web", f"cat >/tmp/script <<'END'\n{script}END\nsh /tmp/script {when}")
    assert program("ssh", "web", LOOK).stdout == "root\nssh-ed25519 AAAA\njane 600\n"
