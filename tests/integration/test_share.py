"""A machine goes to another user, and access to it to CI and to a colleague."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Host

from .program import Program, block_of

pytest_plugins = (f"{__package__}.fixtures",)


@pytest.fixture(scope="module")
def owner(shared_host: Host, shared_program: Program) -> Iterator[Program]:
    shared_program.create(shared_host)
    yield shared_program


@pytest.fixture
def colleague(tmp_path: Path) -> Iterator[Program]:
    """Another user: another home, blanks in the store's path, files open to all unless said otherwise."""
    (tmp_path / "an other's home").mkdir()
    before = os.umask(0)
    yield Program(tmp_path / "an other's home", store="st ore")
    os.umask(before)


def test_a_whole_machine_works_elsewhere(owner: Program, colleague: Program, tmp_path: Path) -> None:
    owner.environ["MACHINE_PASSPHRASE"] = colleague.environ["MACHINE_PASSPHRASE"] = "correct horse"
    file = tmp_path / "web.machine"
    owner("export", "--encrypt", "-o", str(file), "web")
    colleague("import", str(file))
    assert colleague.info()["Name"] == "web"
    assert colleague("ssh", "web", "uname", "-n").stdout == "web\n"
    assert {oct(path.stat().st_mode)[-3:] for path in colleague.folder().iterdir()} == {"600"}
    # its CA came with it, so that certificates can be renewed from there
    colleague("regenerate-certs", "-f", "web")
    assert colleague.info()["Name"] == "web"
    assert owner.info()["Name"] == "web"


def test_the_page_works_as_it_is_written(owner: Program, colleague: Program, tmp_path: Path) -> None:
    """Each line by whom it is for, in one folder, as if the files had been sent."""
    owner.environ["MACHINE_PASSPHRASE"] = colleague.environ["MACHINE_PASSPHRASE"] = "correct horse"
    for marker, turns in (("export", "oc"), ("ci", "occ"), ("colleague", "coc")):
        lines = block_of("docs/sharing.md", marker).splitlines()
        for who, line in zip(turns, lines):
            program = owner if who == "o" else colleague
            program.outside("bash", "-ec", f"cd '{tmp_path}' && {line}")
        if marker != "ci":
            assert colleague.info()["Name"] == "web"
            colleague("rm", "-f", "web")


def test_ci_gets_a_context_that_docker_imports(owner: Program, colleague: Program, tmp_path: Path) -> None:
    file = tmp_path / "web.dockercontext"
    owner("export", "--for", "ci", "-o", str(file), "web")
    colleague.outside("docker", "context", "import", "web", str(file))
    assert colleague.outside("docker", "--context", "web", "info", "-f", "{{.Name}}").stdout == "web\n"
    colleague("import", str(file))
    assert colleague.info()["Name"] == "web"


def test_what_docker_exports_is_imported(owner: Program, colleague: Program, tmp_path: Path) -> None:
    owner("context", "web")
    file = tmp_path / "theirs"
    owner.outside("docker", "context", "export", "web", str(file))
    colleague("import", str(file), "--name", "theirs")
    assert colleague.info("theirs")["Name"] == "web"


def test_a_colleague_s_request_opens_the_engine(owner: Program, colleague: Program, tmp_path: Path) -> None:
    request, answer = tmp_path / "request.pem", tmp_path / "web.access"
    colleague("csr", "-o", str(request))
    owner("export", "--for-csr", str(request), "-o", str(answer), "web")
    assert b"PRIVATE KEY" not in answer.read_bytes()
    colleague("import", str(answer))
    assert colleague.info()["Name"] == "web"
    assert "DOCKER_TLS_VERIFY" in colleague("env", "--shell", "sh", "web").stdout
