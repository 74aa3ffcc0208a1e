"""The README's first command does on a real host what the README says."""

import re
import shutil
from pathlib import Path

from .conftest import HostFactory
from .program import ROOT, Program

pytest_plugins = (f"{__package__}.fixtures",)


def test_the_command_for_a_host_ends_with_docker_info(
    host: HostFactory, program: Program, tmp_path: Path
) -> None:
    machine = host("bare")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"<!-- host-command -->\n```sh\n(.*)\n```", readme)
    line = line.replace("ADDRESS", machine.ip).replace("KEY", str(machine.key))
    shutil.copy(ROOT / "docker_machine.py", tmp_path)
    sudo = tmp_path / "bin" / "sudo"  # the test is root already; a minimal machine has no sudo
    sudo.parent.mkdir()
    sudo.write_text('#!/bin/sh\nexec env DEBIAN_FRONTEND=noninteractive "$@"\n')
    sudo.chmod(0o755)

    done = program.outside(
        "bash", "-c", f"cd {tmp_path} && PATH={sudo.parent}:$PATH\n{line}"
    )

    assert "Docker is up and running!" in done.stdout
    assert "Server Version: " in done.stdout.rpartition("Docker is up and running!")[2]
