"""Fixtures of the tests that run docker_machine.py; test modules name it in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Host, Testbed

from .guests import Guests
from .program import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program on an empty store."""
    return Program(tmp_path)


@pytest.fixture(scope="module")
def shared_program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A program for all tests of a module."""
    return Program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def shared_host(bed: Testbed) -> Iterator[Host]:
    """A host with an engine, for all tests of a module."""
    host = bed.host("engine")
    yield host
    host.remove()


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Guests]:
    """The program on an empty store, whose virtual machines end with the test."""
    made = Guests(tmp_path)
    yield made
    made.end()
