"""Contexts and ssh's settings that we write, in the hands of the real docker, ssh and scp."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Host

from .program import Program, block_of

pytest_plugins = (f"{__package__}.fixtures",)


@pytest.fixture(scope="module")
def made(shared_host: Host, shared_program: Program) -> Iterator[Program]:
    """A machine that was created with a context."""
    shared_program.create(shared_host, "--context")
    yield shared_program


@pytest.fixture
def docker_folder(made: Program) -> Path:
    return Path(made.environ["HOME"]) / ".docker"


def meta_of(folder: Path, name: str) -> Path:
    """The meta.json of a context, found as docker's list would find it."""
    (path,) = [
        path
        for path in folder.glob("contexts/meta/*/meta.json")
        if json.loads(path.read_text())["Name"] == name
    ]
    return path


def engine_of(program: Program, *words: str, name: str = "web") -> str:
    return program.outside("docker", "--context", name, *words, "info", "-f", "{{.Name}}").stdout


def test_docker_goes_where_the_context_points(made: Program) -> None:
    assert engine_of(made) == "web\n"
    listed = made.outside("docker", "context", "ls", "--format", "{{.Name}} {{.DockerEndpoint}}").stdout
    assert f"web tcp://{made('ip', 'web').stdout.strip()}:2376\n" in listed


def test_the_file_is_docker_s_own_to_the_byte(made: Program, docker_folder: Path) -> None:
    ours = meta_of(docker_folder, "web").read_text()
    # docker rewrites what it updates, and keeps our mark
    made.outside("docker", "context", "update", "--description", "Machine web", "web")
    assert meta_of(docker_folder, "web").read_text() == ours

    folder = made.folder()
    files = f"ca={folder}/ca.pem,cert={folder}/cert.pem,key={folder}/key.pem"
    endpoint = f"host={made('url', 'web').stdout.strip()},{files}"
    made.outside("docker", "context", "create", "cli", "--description", "Machine web", "--docker", endpoint)
    theirs = json.loads(meta_of(docker_folder, "cli").read_text())
    mine = json.loads(ours)
    assert mine["Metadata"].pop("docker-machine") == str(folder)
    assert dict(theirs, Name="web") == mine
    made.outside("docker", "context", "rm", "cli")


def test_use_and_what_counts_before_it(made: Program, docker_folder: Path) -> None:
    made("context", "--use", "web")
    assert made.outside("docker", "info", "-f", "{{.Name}}").stdout == "web\n"
    assert made.outside("docker", "context", "show").stdout == "web\n"
    made.environ["DOCKER_HOST"] = "tcp://192.0.2.1:2376"
    assert "DOCKER_HOST is set in this shell" in made("context", "--use", "web").stderr
    del made.environ["DOCKER_HOST"]
    made.outside("docker", "context", "use", "default")


def test_docker_exports_removes_and_takes_back(made: Program, docker_folder: Path, tmp_path: Path) -> None:
    before = meta_of(docker_folder, "web").read_bytes()
    archive = tmp_path / "web.dockercontext"
    made.outside("docker", "context", "export", "web", str(archive))
    made.outside("docker", "context", "rm", "web")
    made("context", "web")
    assert meta_of(docker_folder, "web").read_bytes() == before and engine_of(made) == "web\n"
    made.outside("docker", "context", "rm", "web")
    made.outside("docker", "context", "import", "web", str(archive))
    assert engine_of(made) == "web\n"
    made("context", "web")


def test_renewed_certificates_arrive(made: Program, docker_folder: Path) -> None:
    before = (made.folder() / "cert.pem").read_bytes()
    made("regenerate-certs", "--force", "--client-certs", "web")
    assert (made.folder() / "cert.pem").read_bytes() != before
    assert engine_of(made) == "web\n"


def test_ssh_and_scp_know_the_machine_by_its_name(made: Program, tmp_path: Path) -> None:
    made("ssh-config", "--install")
    # ssh takes the user's folder from the system, not from HOME
    config = ["-F", str(Path(made.environ["HOME"]) / ".ssh" / "config")]
    folder = Path(made.environ["HOME"]) / ".ssh"
    (config_line,) = (folder / "config").read_text().splitlines()
    ours = folder / config_line.split()[1]
    (folder / "config").write_text(f"Include {ours}\n")
    assert made.outside("ssh", *config, "web", "uname", "-n").stdout == "web\n"
    (tmp_path / "file").write_text("hello\n")
    made.outside("scp", *config, str(tmp_path / "file"), "web:/root/file")
    assert made("ssh", "web", "cat", "/root/file").stdout == "hello\n"


def test_the_page_works_as_it_is_written(made: Program) -> None:
    made.outside("bash", "-ec", block_of("docs/contexts.md", "context"))
    first = block_of("docs/contexts.md", "ssh-config").splitlines()[0]
    assert "Host web\n" in made.outside("bash", "-ec", first).stdout


def test_rm_takes_both_back(made: Program, docker_folder: Path) -> None:
    made("context", "--use", "web")
    made("rm", "-f", "web")
    assert made.outside("docker", "context", "show").stdout == "default\n"
    assert list(docker_folder.glob("contexts/*/*")) == []
    (ours,) = (Path(made.environ["HOME"]) / ".ssh").glob("docker-machine-*.conf")
    assert ours.read_text() == ""
