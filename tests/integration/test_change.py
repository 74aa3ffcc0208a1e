"""`set` and the CA of a registry, on a host whose engine runs a container."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import listening

from tests.testbed import Host

from .program import Program, block_of

pytest_plugins = (f"{__package__}.fixtures",)


@pytest.fixture(scope="module")
def made(shared_host: Host, shared_program: Program) -> Iterator[Program]:
    shared_program.environ["MACHINE_ENGINE_TAKE_OVER"] = "true"
    shared_program.create(shared_host, "--engine-label", "tier=a")
    yield shared_program


def engine_pid(host: Host) -> str:
    return host.run("systemctl show -p MainPID docker")


def labels(program: Program) -> list[str]:
    return sorted(program.info()["Labels"])


def test_labels_and_options_arrive_and_what_is_so_already_does_not_restart(
    made: Program, shared_host: Host
) -> None:
    made("set", "--engine-label", "gpu=1", "--engine-label", "tier=b", "--engine-env", "T=1", "web")
    assert labels(made) == ["gpu=1", "provider=generic", "tier=b"]
    before = engine_pid(shared_host)
    done = made("set", "--engine-label", "tier=b", "--engine-env", "T=1", "web")
    assert 'Machine "web" is like that already.' in done.stdout and engine_pid(shared_host) == before
    made("set", "--unset", "--engine-label", "gpu", "--engine-env", "T", "web")
    assert labels(made) == ["provider=generic", "tier=b"]
    assert made.config()["HostOptions"]["EngineOptions"]["Env"] == []


def test_what_the_engine_refuses_is_put_back_here_and_there(made: Program, shared_host: Host) -> None:
    before = made.config()
    done = made("set", "--engine-opt", "no-such-option=1", "web", code=1)
    assert "does not start with this configuration" in done.stderr and "no-such-option" in done.stderr
    assert made.config() == before and labels(made) == ["provider=generic", "tier=b"]


def test_lists_in_daemon_json_are_reloaded_without_a_restart(made: Program, shared_host: Host) -> None:
    shared_host.run("echo '{\"labels\": [], \"registry-mirrors\": []}' >/etc/docker/daemon.json")
    made("provision", "web")
    assert json.loads(shared_host.run("cat /etc/docker/daemon.json"))["labels"]
    before = engine_pid(shared_host)
    made("set", "--engine-label", "reloaded=1", "--engine-registry-mirror", "https://m.example", "web")
    assert "reloaded=1" in labels(made)
    assert made.info()["RegistryConfig"]["Mirrors"] == ["https://m.example/"]
    assert engine_pid(shared_host) == before
    made("set", "--unset", "--engine-label", "reloaded", "web")
    made("set", "--tls-san", "other.example", "web")
    assert engine_pid(shared_host) != before
    text = made.outside("openssl", "x509", "-noout", "-text", "-in", str(made.folder() / "server.pem")).stdout
    assert "DNS:other.example" in text


def test_an_unset_label_is_gone_from_daemon_json_too(made: Program) -> None:
    assert "reloaded=1" not in labels(made)


def test_the_page_works_as_it_is_written(made: Program, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes((made.store / "certs" / "ca.pem").read_bytes())
    for marker in ("set", "certs"):
        made.outside("bash", "-ec", f"cd '{tmp_path}'\n" + block_of("docs/change.md", marker))
    assert "tier=b" in labels(made)
    made("set", "--unset", "--engine-registry-ca", "registry.example:5000", "web")


@pytest.fixture
def registry(made: Program, tmp_path: Path, shared_host: Host) -> Iterator[str]:
    """HOST:PORT of a registry that has no image, with a certificate of a CA of its own."""
    gateway = shared_host.run("ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'").strip()
    assert gateway
    made.outside("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=registry",
                 "-addext", f"subjectAltName=IP:{gateway}", "-keyout", str(tmp_path / "key.pem"),
                 "-out", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")

    def handle(raw: socket.socket) -> None:
        with context.wrap_socket(raw, server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listening(handle, gateway) as port:
        yield f"{gateway}:{port}"


def test_a_registry_with_its_own_ca_is_trusted_without_a_restart(
    made: Program, shared_host: Host, registry: str, tmp_path: Path
) -> None:
    pull = ("pull", f"{registry}/none:1")
    assert re.search("unknown authority|x509", made.docker(*pull, code=1).stderr)
    before = engine_pid(shared_host)
    made("set", "--engine-registry-ca", f"{registry}={tmp_path / 'ca.pem'}", "web")
    refused = made.docker(*pull, code=1).stderr
    assert "x509" not in refused and "authority" not in refused
    assert engine_pid(shared_host) == before
    (tmp_path / "ca.pem").unlink()
    made("provision", "web")
    made("set", "--unset", "--engine-registry-ca", registry, "web")
    assert "x509" in made.docker(*pull, code=1).stderr
    assert engine_pid(shared_host) == before
    assert "RegistryCA" not in made.config()["HostOptions"]["EngineOptions"]
