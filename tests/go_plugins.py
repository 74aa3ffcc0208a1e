"""The plugin of the tests, tests/go_plugin, built once with Debian's Go; its name is up to who uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cached import cached

SOURCE = Path(__file__).resolve().parent / "go_plugin" / "main.go"
PREFIX = "docker-machine-driver-"


def built(*names: str) -> Path:
    """A folder for the PATH with the plugin under these names."""
    if not shutil.which("go"):
        words = "no go (Debian package golang-go)"
        if os.environ.get("DOCKER_MACHINE_REQUIRE_INTEGRATION"):
            pytest.fail(words)
        pytest.skip(words)

    def build(folder: Path) -> None:
        environ = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(folder / "go"), "CGO_ENABLED": "0"}
        first, *others = (folder / (PREFIX + name) for name in names)
        subprocess.run(["go", "build", "-o", str(first), str(SOURCE)], env=environ, check=True)
        shutil.rmtree(folder / "go")
        for other in others:
            other.symlink_to(first.name)

    return cached("go-plugin", build, SOURCE.read_text(encoding="utf-8"), *names)
