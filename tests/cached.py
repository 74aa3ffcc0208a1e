"""What tests build and a machine may keep: images of guests, a VirtualBox, programs from npm.

It is in ~/.cache/docker-machine-tests, or where DOCKER_MACHINE_TEST_CACHE says, under a key of its recipe. Runs that
want the same at the same time wait for one of them to make it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

KEPT = 3 * 86400.0
"""Seconds for which a folder is kept that nobody has used and whose recipe may be an old one."""


def key(*recipe: object) -> str:
    """A name for what a recipe makes, another one each month: packages have been updated by then."""
    sha = hashlib.sha256()
    for part in (time.strftime("%Y-%m"), *recipe):
        sha.update(f"{len(str(part))} {part}".encode())
    return sha.hexdigest()[:12]


def root() -> Path:
    return Path(os.environ.get("DOCKER_MACHINE_TEST_CACHE") or Path.home() / ".cache" / "docker-machine-tests")


def cached(name: str, build: Callable[[Path], object], *recipe: object) -> Path:
    """The folder in which build(folder) has made what it makes; `recipe` is all that this depends on."""
    made = root() / f"{name}-{key(*recipe)}"
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _forget(name)
            scratch = Path(tempfile.mkdtemp(prefix=f"partial-{name}-", dir=root()))
            try:
                build(scratch)
                scratch.rename(made)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
        os.utime(made)
    return made


def _forget(name: str) -> None:
    """Remove what was made of other recipes, and what was never finished."""
    for pattern in (f"{name}-*", f"partial-{name}-*"):
        for path in root().glob(pattern):
            if path.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(path, ignore_errors=True)
