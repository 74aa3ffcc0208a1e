"""A kill, a rival, a dead engine or a busy host does no harm, and is told in words."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.testbed import Host, Testbed

from .conftest import HostFactory
from .program import Program, Running, engine_process, said, until

pytest_plugins = (f"{__package__}.fixtures",)

# --- kill -9

MOMENTS: list[float | str] = [
    *(0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0),
    "Running pre-create checks...",
    "Creating CA",
    "Creating client certificate",
    "Creating machine...",
    "Importing SSH key...",
    "Waiting for SSH to be available...",
    "Copying certs to the local machine directory...",
    "Copying certs to the remote machine...",
    "Setting Docker configuration on the remote daemon...",
    "Checking connection to Docker...",
]


def kill_at(moment: float | str, program: Program, host: Host, *words: str) -> None:
    create = program.start(*program.create_words(host, *words))
    if isinstance(moment, str):
        assert create.line(moment), create
    else:
        time.sleep(moment)
    create.kill()


def recover(program: Program, folder: Path) -> None:
    """See that the machine of a killed `create` can be removed and, elsewhere, completed."""
    other = program.copy(folder)
    if (program.folder()).exists():
        done = other("rm", "-y", "web")
        assert "Successfully removed web" in done.stdout
        done = program("provision", "web")
    else:
        done = program("create", *CREATE_AGAIN[program])
    assert other.names() == [], said(done)
    assert program.names() == ["web"]
    assert program.info()["Name"] == "web", said(done)
    assert not [path for path in program.store.rglob("*") if ".tmp" in path.name]


CREATE_AGAIN: dict[Program, list[str]] = {}


class Kill:
    """One `create` that is killed at a moment, on a host of its own, and what follows."""

    def __init__(self, bed: Testbed, folder: Path, image: str, moment: float | str) -> None:
        host = bed.host(image)
        try:
            program = Program(folder)
            words = ("--engine-install-url", "package")
            kill_at(moment, program, host, *words)
            if program.folder().exists():
                other = program.copy(folder / "copy")
                other("rm", "-y", "web")
                assert other.names() == []
                program("provision", "web")
            else:
                program.create(host, *words)
            assert program.names() == ["web"]
            assert program.info()["Name"] == "web"
            assert "Everything is in place" in program("provision", "web").stdout
            program("rm", "-y", "web")
            assert list(program.store.glob("machines/*")) == []
        finally:
            host.remove()
