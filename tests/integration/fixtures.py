"""Fixtures of the tests that run docker_machine.py; test modules name it in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .program import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program on an empty store."""
    return Program(tmp_path)


@pytest.fixture(scope="module")
def shared_program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A program for all tests of a module."""
    return Program(tmp_path_factory.mktemp("program"))
