"""Machines of a plugin of Docker Machine's, tests/go_plugin: containers of this computer's Docker."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import go_plugins
from tests.testbed import Testbed

from .program import Program, processes_with, until
from .test_write_a_driver import OPTIONS

pytest_plugins = (f"{__package__}.fixtures",)

LABEL = "docker-machine-testbed-plugin"


@pytest.fixture
def plugged(bed: Testbed, program: Program) -> Iterator[tuple[Program, list[str], Callable[[], list[str]]]]:
    """The program with the plugin on its PATH, the words of `create` without the name, and the containers there are."""
    program.environ["PATH"] = f"{go_plugins.built('ci-test')}:{program.environ['PATH']}"
    label = f"{LABEL}={secrets.token_hex(4)}"
    options = [f"--test-option={option}" for option in [*OPTIONS, f"--label={label}"]]
    words = ["create", "-d", "ci-test", "--test-image", bed.image("engine"), *options]

    def containers() -> list[str]:
        return bed.docker("ps", "-a", "--filter", f"label={label}", "--format", "{{.Names}}").split()

    yield program, words, containers
    for name in containers():
        bed.docker("rm", "-fv", name)


def plugins(store: Path) -> list[str]:
    """The command lines of the plugins of a store."""
    lines = processes_with("MACHINE_STORAGE_PATH", store).values()
    return [line for line in lines if go_plugins.PREFIX in line]


def test_the_whole_life_of_a_machine(
    plugged: tuple[Program, list[str], Callable[[], list[str]]],
) -> None:
    program, words, containers = plugged
    done = program(*words, "--engine-label", "a=b", "web")
    assert "(web) Creating the container web-" in done.stdout and not plugins(program.store)
    info = program.info()
    assert info["Name"] == "web" and sorted(info["Labels"]) == ["a=b", "provider=ci-test"]
    address = program("ip", "web").stdout.strip()
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert program("ssh", "web", "hostname").stdout == "web\n" and not plugins(program.store)
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running ci-test\n"
    assert "Everything is in place" in program("provision", "web").stdout

    program("stop", "web")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    assert "Host is not running" in program("url", "web", code=1).stderr
    program("start", "web")
    assert program.info()["Name"] == "web"
    program("restart", "web")
    assert program.info()["Name"] == "web"
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert containers() == [] and not plugins(program.store)


def test_a_machine_of_a_killed_create_is_finished_or_removed(
    plugged: tuple[Program, list[str], Callable[[], list[str]]],
) -> None:
    program, words, containers = plugged
    stages = {"web": "Waiting for SSH", "cut": "Creating the container cut-", "made": "Creating the container made-"}
    for name, line in stages.items():
        program.environ["PLUGIN_FAULT"] = "hang:CreateEnd" if name == "made" else ""
        running = program.start(*words, name)
        assert running.line(line), running
        if name == "made":
            assert until(lambda: any(one.startswith("made-") for one in containers()))
        running.kill()
    del program.environ["PLUGIN_FAULT"]
    assert until(lambda: not plugins(program.store))

    running = program.start("provision", "web")
    assert running.line("Provisioning with"), running
    running.kill()
    program("provision", "web")
    assert program.info()["Name"] == "web"
    # The plugin told nobody of this container: it makes one of that name once more, or says why not.
    program("provision", "made", code=None)
    program("rm", "-y", "web", "cut", "made")
    assert containers() == [] and program.names() == []
