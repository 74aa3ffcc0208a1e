"""The commands for a host do what README and its pages say, and the picture shows what they print."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.testbed import Host

from .conftest import HostFactory
from .program import ROOT, Program, block_of

pytest_plugins = (f"{__package__}.fixtures",)


def test_the_command_for_a_host_ends_with_docker_info(
    host: HostFactory, program: Program, tmp_path: Path
) -> None:
    machine = host("bare")
    lines = block_of("README.md", "host-command")
    lines = lines.replace("ADDRESS", machine.ip).replace("KEY", str(machine.key))
    shutil.copy(ROOT / "docker_machine.py", tmp_path)
    sudo = tmp_path / "bin" / "sudo"  # the test is root already; a minimal machine has no sudo
    sudo.parent.mkdir()
    sudo.write_text('#!/bin/sh\nexec env DEBIAN_FRONTEND=noninteractive "$@"\n')
    sudo.chmod(0o755)

    done = program.outside(
        "bash", "-c", f"cd {tmp_path} && PATH={sudo.parent}:$PATH\n{lines}"
    )

    assert "Docker is up and running!" in done.stdout
    assert "Server Version: " in done.stdout.rpartition("Docker is up and running!")[2]
    check_a_host_that_is_cleaned(machine)


def check_a_host_that_is_cleaned(machine: Host) -> None:
    """What docs/install.md says of a host that shall do without docker-machine."""
    machine.run(block_of("docs/install.md", "clean-host"))

    assert "Server Version: " in machine.run("docker info")
    assert ":2376" not in machine.run("ss -lnt")
    assert "machine" not in machine.run("ls /etc/docker /etc/systemd/system/docker.service.d")


# --- the picture


def shape(text: str) -> list[str]:
    """The lines of a terminal without what differs from run to run: numbers, paths, widths of columns."""
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "ID", text)
    text = re.sub(r"/\S+/(?=certs/)", "STORE/", text)
    text = re.sub(r"(About )?(an?|\d+) (second|minute)s?( ago)?", "TIME", text)
    text = re.sub(r"Less than TIME", "TIME", text)
    text = re.sub(r"[\d.]+(\+dfsg\d+)?", "N", text)
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_picture_shows_what_the_commands_print(host: HostFactory, program: Program) -> None:
    machine = host("bare")
    recording = (ROOT / "docs" / "picture" / "run.txt").read_text(encoding="utf-8")
    (address,) = re.findall(r"--generic-ip-address (\S+)", recording)
    typed = "".join(f"{line[2:]}\n" for line in recording.splitlines() if line[:2] in ("$ ", "> "))
    typed = typed.replace(address, machine.ip).replace("~/.ssh/id_ed25519", str(machine.key))
    create, _, rest = typed.partition("web\n")
    answers = re.sub(r"^[$>] .*\n", "", recording, flags=re.M)

    made = program.outside("bash", "-c", f"{create}web")
    machine.load_image(tag="busybox")  # instead of the registry's
    done = program.outside("bash", "-c", rest)

    assert shape(made.stdout + done.stdout) == shape(answers), made.stdout + done.stdout
    assert made.stderr + done.stderr == ""
