"""The example of docs/write-a-driver.md makes real machines."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import CAPABILITIES, REPOSITORY, Testbed

from .program import ROOT, Program, until

pytest_plugins = (f"{__package__}.fixtures",)

PAGE = (ROOT / "docs" / "write-a-driver.md").read_text(encoding="utf-8")
OPTIONS = [  # what a container needs that runs systemd and an engine, short of all privileges
    *(f"--cap-add={name}" for name in CAPABILITIES),
    *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"),
    *("--security-opt=systempaths=unconfined", "--device-cgroup-rule=a *:* rwm"),
    *("--cgroupns=private", "--tmpfs=/run:exec,mode=755", "--tmpfs=/tmp:exec"),
    *("--volume=/var/lib/docker", "--env=container=docker", "--stop-signal=SIGRTMIN+3"),
    f"--label={REPOSITORY}=engine",  # so that the test bed knows of it
]
RUN = f"{REPOSITORY}-run={secrets.token_hex(4)}"  # another run may have machines of the same names


def containers(bed: Testbed, name: str = "web") -> list[str]:
    filters = ("--filter", f"name=^/{name}-", "--filter", f"label={RUN}")
    return bed.docker("ps", "-a", *filters, "--format", "{{.Names}}").split()


@pytest.fixture(scope="module")
def page(
    bed: Testbed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Program, list[str]]]:
    """A program that finds the example, and the words of `create` without the name."""
    program = Program(tmp_path_factory.mktemp("page"))
    folder = tmp_path_factory.mktemp("drivers")
    (text,) = re.findall(r"<!-- container\.py -->\n```python\n(.*?)```", PAGE, re.S)
    (folder / "container.py").write_text(text, encoding="utf-8")
    program.environ["MACHINE_DRIVER_PATH"] = str(folder)
    options = [f"--container-option={option}" for option in [*OPTIONS, f"--label={RUN}"]]
    words = ["create", "-d", "container", "--container-image", bed.image("engine"), *options]
    yield program, words
    for name in program.names():
        bed.docker("rm", "-fv", program.config(name)["Driver"]["Container"])


@pytest.fixture(scope="module")
def web(page: tuple[Program, list[str]]) -> Program:
    """The program after the page's `create`."""
    program, words = page
    done = program(*words, "web")
    assert "(web) Creating the container web-" in done.stdout
    return program


def test_the_ordinary_client_works_with_its_machine(web: Program) -> None:
    assert web.info()["Name"] == "web"


def test_even_its_first_connection_is_verified(web: Program) -> None:
    key = (web.folder() / "ssh_host_ed25519_key.pub").read_text(encoding="utf-8").split()[:2]
    pinned = (web.folder() / "known_hosts").read_text(encoding="utf-8")

    assert pinned.split() == ["docker-machine.web", *key]
    assert web("ssh", "web", "hostname").stdout == "web\n"


def test_a_second_provision_of_it_does_nothing(web: Program) -> None:
    assert "Everything is in place" in web("provision", "web").stdout


def test_it_stops_starts_pauses_and_restarts(web: Program) -> None:
    for verb, state in (
        ("stop", "Stopped"),
        ("start", "Running"),
        ("pause", "Paused"),
        ("start", "Running"),
        ("kill", "Stopped"),
        ("restart", "Running"),
        ("restart", "Running"),
    ):
        web(verb, "web")
        assert web("status", "web").stdout == f"{state}\n"
        if state == "Running":
            assert web.info()["Name"] == "web"
            assert web("ip", "web").stdout.strip() in web("url", "web").stdout
        else:
            assert "Host is not running" in web("url", "web", code=1).stderr
    assert "container" in web.ls().stdout


def test_an_engine_in_the_environment_does_not_lead_it_astray(web: Program, tmp_path: Path) -> None:
    lines = web("env", "--shell", "sh", "web").stdout
    line = f"{lines}\nexec {' '.join(web.argv('status', 'web'))}"

    assert web.outside("sh", "-c", line).stdout == "Running\n"


def test_create_goes_on_where_it_was_killed(
    bed: Testbed, page: tuple[Program, list[str]]
) -> None:
    program, words = page
    creating = program.start(*words, "cut")
    assert until(lambda: containers(bed, "cut"))
    creating.kill()

    program("provision", "cut")

    assert len(containers(bed, "cut")) == 1
    assert program.info("cut")["Name"] == "cut"
    program("rm", "-y", "cut")
    assert containers(bed, "cut") == []


def test_a_name_that_no_image_has_is_refused_before_anything_is_made(
    bed: Testbed, page: tuple[Program, list[str]]
) -> None:
    program, _ = page
    image = ("--container-image", "no-such-image:at-all")

    done = program("create", "-d", "container", *image, "none", code=3)

    assert "Get it: docker pull no-such-image:at-all" in done.stderr
    assert not program.folder("none").exists()
    assert containers(bed, "none") == []


def test_rm_removes_it_also_if_it_is_gone_already(
    bed: Testbed, web: Program, page: tuple[Program, list[str]], tmp_path: Path
) -> None:
    (name,) = containers(bed)
    copy = web.copy(tmp_path)
    copy.environ["MACHINE_DRIVER_PATH"] = web.environ["MACHINE_DRIVER_PATH"]

    web("rm", "-y", "web")

    assert containers(bed) == [] and not web.folder().exists()
    assert f"The container {name} is gone" in copy.ls().stdout
    copy("rm", "-y", "web")
    assert "web" not in copy.names()
