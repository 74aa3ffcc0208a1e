"""Machines by the driver "amazonec2": AWS is played by moto's server behind tests/awsproxy.py, and its instances are
real hosts with a real cloud-init (see ec2.py)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from awsproxy import AWS, FLATCAR

from .program import Program, said, until

if TYPE_CHECKING:
    from .ec2 import Ec2Hosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "ec2")]

CREATE = ("create", "--driver", "amazonec2")
MOST_CALLS = 12
BOOT = "cut -d ' ' -f 22 /proc/1/stat"


def assert_gone(aws: AWS, instances: Ec2Hosts) -> None:
    """Nothing is left in the account, and no host."""
    assert aws.clean() and until(lambda: not instances.hosts)


def test_the_whole_life_of_an_instance(program: Program, aws: AWS, instances: Ec2Hosts) -> None:
    done = program(*CREATE, "--amazonec2-tags", "team,ci", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=amazonec2"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    polls = aws.names().count("DescribeInstances")
    assert len(aws.names()) - polls + 1 <= MOST_CALLS, aws.names()
    ((number, _),) = aws.launches
    public = instances.known[number][0].public
    assert program("url", "web").stdout == f"tcp://{public}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\nubuntu\n"
    asked = len(aws.calls)
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running amazonec2\n"
    assert len(aws.calls) == asked, "engines that answer need nobody else"

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
    assert_gone(aws, instances)


def test_user_data_that_has_to_be_packed_is_read_too(
    program: Program, aws: AWS, instances: Ec2Hosts, tmp_path: Path
) -> None:
    noise = "".join(f"#{random.Random(number).getrandbits(256):064x}\n" for number in range(280))
    (tmp_path / "script").write_text(f"#!/bin/sh\n{noise}touch /srv/script\n", encoding="ascii")
    program(*CREATE, "--amazonec2-userdata", str(tmp_path / "script"), "--amazonec2-ssh-user", "ops", "web")
    assert program("ssh", "web", "whoami").stdout == "ops\n" and program.info()["Name"] == "web"
    ((number, _),) = aws.launches
    assert aws.user_data(number)[:2] == b"\x1f\x8b"
    assert until(lambda: program("ssh", "web", "ls /srv/script", code=None).returncode == 0)
    program("rm", "-y", "web")
    assert_gone(aws, instances)


def test_an_image_without_cloud_init_gets_the_key_by_a_key_pair(
    program: Program, aws: AWS, instances: Ec2Hosts
) -> None:
    program(*CREATE, "--amazonec2-ami", FLATCAR, "--amazonec2-ssh-user", "root", "web")
    assert aws.names().count("ImportKeyPair") == aws.names().count("DeleteKeyPair") == 1
    assert program.info()["Name"] and not (program.folder() / "ssh_host_ed25519_key").exists()
    program("rm", "-y", "web")
    assert_gone(aws, instances)


def test_provision_finishes_what_was_killed_before_the_answer_to_the_launch(
    program: Program, aws: AWS, instances: Ec2Hosts
) -> None:
    aws.lose("RunInstances", 1000)
    running = program.start(*CREATE, "web")
    assert until(lambda: instances.hosts)
    running.kill()
    aws.mishaps.clear()
    program("provision", "web")
    assert len(aws.instances()) == 1 and program.info()["Name"] == "web"
    program("rm", "-y", "web")
    assert_gone(aws, instances)
