"""A host whose engine runs becomes a machine, and nothing on it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.testbed import Host

from .conftest import HostFactory
from .program import Program

pytest_plugins = (f"{__package__}.fixtures",)

STATE = r"""
{ find /etc /usr/lib/systemd /lib/systemd /root/.ssh /home -xdev -type f -exec sha256sum {} + 2>/dev/null | sort
  find /etc -xdev -printf '%p %m %u %l\n' | sort
  dpkg-query -W; hostname; cat /proc/sys/kernel/random/boot_id
  systemctl show -p MainPID -p ActiveEnterTimestamp docker
  docker ps -a --format '{{.ID}} {{.CreatedAt}}'; getent passwd; getent group
} | sha256sum"""


def adopt_words(host: Host, *words: str, name: str = "nas", user: str = "root") -> list[str]:
    login = ["--generic-ip-address", host.ip, "--generic-ssh-user", user]
    return ["adopt", *login, "--generic-ssh-key", str(host.key), *words, name]


def ssh_config(program: Program) -> None:
    """Let docker's ssh, which takes the home folder from the system, read this home's settings."""
    program("ssh-config", "--install")
    folder = Path(program.environ["HOME"]) / ".ssh"
    (line,) = (folder / "config").read_text().splitlines()
    wrapper = program.file.parent / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{folder / line.split()[1]}" "$@"\n')
    wrapper.chmod(0o755)


@pytest.fixture(scope="module")
def adopted(shared_host: Host, shared_program: Program) -> Program:
    shared_host.run("systemctl start docker")
    before = shared_host.run(STATE)
    done = shared_program(*adopt_words(shared_host))
    assert "The engine is Docker " in done.stdout and done.stderr == ""
    assert shared_host.run(STATE) == before
    return shared_program


def test_every_query_serves_it_and_changes_nothing(adopted: Program, shared_host: Host) -> None:
    before = shared_host.run(STATE)
    assert adopted("status", "nas").stdout == "Running\n"
    assert adopted("ip", "nas").stdout == f"{shared_host.ip}\n"
    assert adopted("url", "nas").stdout == f"ssh://root@{shared_host.ip}\n"
    assert adopted("config", "nas").stdout == f"-H=ssh://root@{shared_host.ip}\n"
    assert adopted("ssh", "nas", "id", "-un").stdout == "root\n"
    (row,) = json.loads(adopted("ls", "--format", "json").stdout)
    assert (row["State"], row["URL"], row["Error"]) == ("Running", f"ssh://root@{shared_host.ip}", "")
    assert row["DockerVersion"] == "v" + adopted("version", "nas").stdout.strip()
    adopted("inspect", "nas")
    adopted("certs", "nas")
    assert "nas" not in [line for line in adopted("doctor", code=None).stdout.splitlines() if line.startswith("bad")]
    assert shared_host.run(STATE) == before


@pytest.mark.parametrize(
    "words", [["provision"], ["upgrade"], ["regenerate-certs", "-f"], ["set", "--engine-label", "a=b"]]
)
def test_what_would_change_the_host_is_refused(adopted: Program, shared_host: Host, words: list[str]) -> None:
    before = shared_host.run(STATE)
    done = adopted(*words, "nas", code=1)
    assert "nothing on its host is changed" in done.stderr
    assert "provision --take-over nas" in done.stderr
    assert shared_host.run(STATE) == before


def test_docker_goes_there_whatever_is_left_of_another_machine(adopted: Program) -> None:
    ssh_config(adopted)
    assert adopted("url", "nas").stdout == "ssh://nas\n"
    left = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/gone", "DOCKER_HOST": "tcp://192.0.2.1:2376"}
    adopted.environ.update(left)
    script = f'eval "$({" ".join(adopted.argv("env", "--shell", "sh", "nas"))})" && docker info -f "{{{{.Name}}}}"'
    name = adopted("ssh", "nas", "uname", "-n").stdout
    assert adopted.outside("sh", "-c", script).stdout == name
    for key in left:
        del adopted.environ[key]
    adopted("context", "nas")
    assert adopted.outside("docker", "--context", "nas", "info", "-f", "{{.Name}}").stdout == name


def test_adopting_twice_and_forgetting(adopted: Program, shared_host: Host) -> None:
    before = shared_host.run(STATE)
    assert "already exists" in adopted(*adopt_words(shared_host), code=1).stderr
    adopted(*adopt_words(shared_host, name="again"))
    done = adopted("rm", "-f", "again")
    assert "only the local reference" in done.stdout
    assert adopted.names() == ["nas"] and shared_host.run(STATE) == before


def test_a_login_that_may_not_use_the_socket_is_a_sentence(adopted: Program, host: HostFactory) -> None:
    there = host("engine")
    there.run("useradd -m -s /bin/sh ops && mkdir -p ~ops/.ssh && cp ~/.ssh/authorized_keys ~ops/.ssh/ && "
              "chown -R ops ~ops/.ssh && gpasswd -d ops docker 2>/dev/null; systemctl start docker; true")
    before = there.run(STATE)
    done = adopted(*adopt_words(there, name="ops", user="ops"), code=1)
    assert "may not use the engine's socket /var/run/docker.sock" in done.stderr
    assert "usermod -aG docker ops" in done.stderr
    assert adopted.names() == ["nas"] and there.run(STATE) == before

    there.run("mv /usr/bin/docker /usr/bin/docker.away")
    done = adopted(*adopt_words(there, name="nas2"), code=1)
    assert "There is no docker program" in done.stderr and "PATH" in done.stderr
    there.run("mv /usr/bin/docker.away /usr/bin/docker; systemctl stop docker.socket docker; rm -f /run/docker.sock")
    done = adopted(*adopt_words(there, name="nas2"), code=1)
    assert "No Docker Engine runs on the host" in done.stderr and "create --driver generic" in done.stderr
    assert adopted.names() == ["nas"]


def test_an_engine_with_its_own_tls(adopted: Program, shared_host: Host, tmp_path: Path) -> None:
    """Set up by another store; who adopts it needs only the three files."""
    (tmp_path / "owner").mkdir()
    owner = Program(tmp_path / "owner")
    owner.create(shared_host, name="theirs")
    files = [str(owner.folder("theirs") / name) for name in ("ca.pem", "cert.pem", "key.pem")]
    flags = ("--tls-ca-cert", files[0], "--tls-client-cert", files[1], "--tls-client-key", files[2])
    before = shared_host.run(STATE)
    adopted(*adopt_words(shared_host, *flags, name="tls"))
    assert adopted.info("tls")["Name"] == "theirs"
    assert oct(os.stat(adopted.folder("tls") / "key.pem").st_mode)[-3:] == "600"
    assert adopted("ls", "--filter", "name=tls", "--format", "{{.State}} {{.URL}}").stdout == (
        f"Running tcp://{shared_host.ip}:2376\n")
    assert "needs all of" in adopted(*adopt_words(shared_host, *flags[:2], name="x"), code=2).stderr
    assert shared_host.run(STATE) == before
    adopted("rm", "-f", "tls")


def test_a_host_that_is_down_takes_one_deadline(adopted: Program, host: HostFactory) -> None:
    there = host("engine")
    adopted(*adopt_words(there, name="down"))
    there.remove()
    (row,) = json.loads(adopted("ls", "--filter", "name=down", "--timeout", "5", "--format", "json").stdout)
    assert row["State"] in ("Stopped", "Timeout") and row["URL"] == ""
    adopted("rm", "-f", "down")


def test_taken_over_it_is_a_machine_like_any_other(adopted: Program, shared_host: Host) -> None:
    adopted.environ["MACHINE_ENGINE_TAKE_OVER"] = "true"
    adopted("provision", "--take-over", "nas")
    assert adopted.config("nas")["DriverName"] == "generic"
    assert adopted("url", "nas").stdout == f"tcp://{shared_host.ip}:2376\n"
    assert "kind=adopted" not in adopted.info("nas")["Labels"]
    adopted("provision", "nas")
