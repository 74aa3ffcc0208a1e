"""The image that stands for Swarm's last one, which no registry of a test has: tests/swarm_stub, built by Go."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

from tests.cached import cached
from tests.testbed import Host

SOURCE = Path(__file__).resolve().parent / "swarm_stub" / "main.go"


def build(folder: Path) -> None:
    """The program; it needs nothing else in its image."""
    environ = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(folder / "go"), "CGO_ENABLED": "0"}
    words = ["go", "build", "-ldflags", "-s -w", "-o", str(folder / "swarm"), str(SOURCE)]
    subprocess.run(words, env=environ, check=True)
    shutil.rmtree(folder / "go")


def load(host: Host, tag: str = "swarm:latest") -> None:
    """Put the image into the engine of a host."""
    program = cached("swarm-stub", build, SOURCE.read_text(encoding="utf-8")) / "swarm"
    archive = subprocess.run(["tar", "-c", "-C", str(program.parent), program.name], check=True, capture_output=True)
    words = f"base64 -d | docker import --change 'ENTRYPOINT [\"/swarm\"]' - {tag}"
    host.run(words, data=base64.b64encode(archive.stdout).decode())
