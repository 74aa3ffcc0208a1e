"""docker-machine adopt: hosts whose engines run, with the real docker client, and nothing changed there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import docker_machine as core
from tests.testbed import Host, Testbed

from .program import Program, all_files, block_of, said

pytest_plugins = (f"{__package__}.fixtures",)

LEFT_OVER = {"DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": "tcp://192.0.2.9:2376", "DOCKER_CERT_PATH": "/gone"}
"""What the variables of another machine, which is gone, are."""
FINGERPRINT = r"""
find /etc /lib/systemd /usr/lib/systemd /run/systemd/system -type f -exec sha256sum {} + | sort | sha256sum
cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/1/stat; pgrep -x dockerd
docker inspect --format '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}' $(docker ps -q --no-trunc)
getent passwd; getent group; iptables-save -t filter | grep -v '^[#:]'; ss -lntp | sort
"""


def fingerprint(host: Host) -> str:
    """All that adopting must leave as it is; what it should change in files is told by name."""
    return all_files(host) + host.run(FINGERPRINT)


@pytest.fixture(scope="module")
def engine(bed: Testbed) -> Iterator[Host]:
    """A host where a container runs. Its Docker 26 gives up a request whose client has ended its side."""
    host = bed.host("trixie-engine")
    host.run_container("kept")
    yield host
    host.remove()


@pytest.fixture
def docker(program: Program, tmp_path: Path) -> Program:
    """The program, whose docker finds an ssh that reads this home's settings: the system's takes the home folder from
    the list of users."""
    folder = Path(program.environ["HOME"]) / ".ssh"
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nfor file in "{folder}"/docker-machine-*.conf; do\n'
                   '[ ! -e "$file" ] || set -- -F "$file" "$@"\ndone\nexec /usr/bin/ssh "$@"\n')
    ssh.chmod(0o755)
    program.environ["PATH"] = f"{ssh.parent}:{program.environ['PATH']}"
    return program


def install_block(program: Program) -> None:
    program("ssh-config", "--install")


def adopt(program: Program, host: Host, *words: str, user: str = "root", code: int = 0) -> core.typing.Any:
    login = ("--generic-ssh-key", str(host.key), "--generic-ssh-user", user)
    return program("adopt", "--generic-ip-address", host.ip, *login, *words, "web", code=code)


def test_what_the_page_says_works_and_nothing_on_the_host_is_changed(
    engine: Host, docker: Program, tmp_path: Path
) -> None:
    before = fingerprint(engine)
    adopting, rest = block_of("docs/adopting.md", "adopting").split("\n", 1)
    adopting = adopting.replace("192.0.2.7", engine.ip).replace("~/.ssh/id_ed25519", str(engine.key))
    leftovers = "".join(f"export {name}={value}\n" for name, value in LEFT_OVER.items())

    done = docker.outside("bash", "-ec", adopting)
    assert "answers through SSH" in done.stdout and done.stderr == "", said(done)
    assert "ssh-config --install" in docker("env", "web").stderr
    install_block(docker)
    done = docker.outside("bash", "-ec", leftovers + rest + "\ndocker inspect -f '{{.State.Running}}' kept")

    assert " kept\n" in done.stdout and done.stdout.endswith("true\n"), said(done)
    for words in (["status"], ["ip"], ["url"], ["version"], ["inspect"], ["config"], ["ssh", "web", "true"]):
        assert docker(words[0], *(words[1:] or ["web"])), words
    docker("scp", "web:/etc/hostname", str(tmp_path / "hostname"))
    assert (tmp_path / "hostname").read_text().strip() == engine.run("hostname")
    assert " web: " in docker("doctor", code=None).stdout
    for words in (["provision"], ["upgrade"], ["regenerate-certs", "-f", "--client-certs"]):
        assert "--take-over" in docker(*words, "web", code=1).stderr
    docker("rm", "-y", "web")
    assert fingerprint(engine) == before


def test_a_host_that_is_down_is_told_within_one_deadline(engine: Host, docker: Program) -> None:
    adopt(docker, engine)
    docker.edit(lambda config: config["Driver"].update(IPAddress="192.0.2.1"))  # of documentation: silent

    assert docker.ls("--format", "{{.State}}").stdout == "Stopped\n"
    assert "Host is not running" in docker("env", "web", code=1).stderr


def test_each_state_of_a_host_is_told_and_met(bed: Testbed, docker: Program) -> None:
    host = bed.host("engine")
    try:
        host.write("/etc/default/docker", 'DOCKER_OPTS="-H tcp://127.0.0.1:2375 -H unix:///run/other/docker.sock"\n')
        host.run("mkdir -p /run/other && systemctl restart docker && docker swarm init --advertise-addr lo")
        before = all_files(host)  # the network of a new Swarm is still under way

        assert "may not use the engine" in adopt(docker, host, user="nosudo", code=1).stderr
        told = adopt(docker, host, user="ops").stderr
        assert all(words in told for words in ("only by sudo", "a manager of a Swarm", "plain TCP")), told
        assert "v20." in docker.ls().stdout
        assert "only by sudo" in docker("env", "web", code=1).stderr
        assert all_files(host) == before

        host.run("usermod -aG docker ops")  # as the owner was asked for
        install_block(docker)
        assert docker.docker("info", "--format", "{{.Swarm.LocalNodeState}}").stdout == "active\n"
        docker("rm", "-y", "web")
        adopt(docker, host, "--engine-socket", "/run/other/docker.sock")
        assert docker("url", "web").stdout == "ssh://web/run/other/docker.sock\n"
        done = docker("provision", "--take-over", "web", code=3)
        assert "--host=tcp://127.0.0.1:2375" in done.stderr, said(done)
        assert docker.config()["DriverName"] == "adopted" and docker("version", "web").stdout.startswith("20.")
    finally:
        host.remove()


def test_a_host_is_taken_over_and_another_store_adopts_it_by_its_tls(
    engine: Host, docker: Program, tmp_path: Path
) -> None:
    adopt(docker, engine)

    done = docker.outside("bash", "-ec", block_of("docs/adopting.md", "taking-over"))

    assert "Docker is up and running!" in done.stdout, said(done)
    assert docker.config()["DriverName"] == "generic"
    assert docker.docker("ps", "-a", "--format", "{{.Names}}").stdout == "kept\n"
    assert docker.info()["Name"] == "web"
    assert "Everything is in place" in docker("provision", "web").stdout

    before = fingerprint(engine)
    other = Program(tmp_path / "other")
    lines = f"cd {docker.folder()}\n{block_of('docs/adopting.md', 'adopting-tls')}".replace("192.0.2.7", engine.ip)
    assert "Server Version: 26" in other.outside("bash", "-ec", lines).stdout
    assert other.info("lab")["Name"] == "web"
    assert "--take-over" in other("regenerate-certs", "-f", "--client-certs", "lab", code=1).stderr
    assert fingerprint(engine) == before
