"""The main job: a host with sshd becomes a machine that the ordinary docker client works with."""

from __future__ import annotations

import os
import re
import shlex
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.testbed import Host, Testbed

from .conftest import HostFactory
from .program import FILE, Done, Program, said

pytest_plugins = (f"{__package__}.fixtures",)

HOSTS = {  # image -> user
    "bare": "root",
    "bullseye": "root",
    "trixie": "ops",
    "engine": "ops",
    "quiet": "root",
    "tty": "ops",
    "bullseye-engine": "root",
    "trixie-engine": "root",
}


class Made:
    """A machine that was just created; its host and its program, on a store of its own."""

    def __init__(self, bed: Testbed, folder: Path, image: str, user: str) -> None:
        self.program, self.host = Program(folder, called=FILE), bed.host(image)
        self.program.create(self.host, user=user)


@pytest.fixture(scope="module")
def made(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """All machines, made side by side, since most of the time goes into waiting for packages."""
    with ThreadPoolExecutor(3) as pool:
        futures = {
            image: pool.submit(Made, bed, tmp_path_factory.mktemp(image), image, user)
            for image, user in HOSTS.items()
        }
    yield futures
    for future in futures.values():
        if not future.exception():
            future.result().host.remove()


@pytest.mark.parametrize("image", HOSTS)
def test_a_host_becomes_a_machine(made: dict[str, Future], image: str) -> None:
    program, machine = made[image].result().program, made[image].result().host

    assert program.info()["Name"] == "web"
    refused = program.outside("docker", "-H", f"tcp://{machine.ip}:2376", "info", code=None)
    assert refused.returncode != 0 and "Server Version" not in refused.stdout
    assert machine.run("stat -c '%a %U' /etc/docker/server-key.pem") == "600 root"
    assert machine.run("systemctl is-enabled docker.service") == "enabled"


@pytest.mark.parametrize("image", HOSTS)
def test_a_second_provision_of_it_does_nothing(made: dict[str, Future], image: str) -> None:
    program, machine = made[image].result().program, made[image].result().host
    pid = machine.engine_pid()

    assert "Everything is in place" in program("provision", "web").stdout
    assert machine.engine_pid() == pid


class Watch:
    """Collects the command line and environment of every process that can be seen here: the
    program, its children, and by way of the containers' shared kernel all that runs on hosts."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for what in ("cmdline", "environ"):
                    try:
                        self.seen.add(Path("/proc", pid, what).read_bytes())
                    except OSError:
                        pass


class Created:
    """A machine on a host with docker.socket active, and what was to be seen while it was made."""

    def __init__(self, program: Program, host: Host) -> None:
        self.program, self.host = program, host
        before = host.ssh_connections()
        with Watch() as watch:
            self.done = program("--debug", *program.create_words(host))
        self.processes = watch.seen
        self.connections = host.ssh_connections() - before

    @property
    def address(self) -> str:
        return f"{self.host.ip}:2376"


@pytest.fixture(scope="module")
def web(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Created]:
    host = bed.host("engine")
    # A path that shells, ssh and docker must not stumble over.
    program = Program(tmp_path_factory.mktemp("web"), store="my $store's %h")
    yield Created(program, host)
    host.remove()


def test_create_needs_two_ssh_connections_at_most(web: Created) -> None:
    assert 1 <= web.connections <= 2


def test_docker_answers_to_the_flags_of_config(made: dict[str, Future]) -> None:
    program = made["engine"].result().program

    config = shlex.join(program.argv("config", "web"))
    done = program.outside("sh", "-c", f"docker $({config}) info --format '{{{{.Name}}}}'")

    assert done.stdout == "web\n"


def test_docker_answers_from_a_copy_of_the_store(web: Created, tmp_path: Path) -> None:
    copy = web.program.copy(tmp_path)

    assert str(copy.store) in copy("config", "web").stdout
    assert copy.info()["Name"] == "web"
    assert "Everything is in place" in copy("provision", "web").stdout


def test_docker_answers_after_eval_of_env(web: Created) -> None:
    env = shlex.join(web.program.argv("env", "web"))

    done = web.program.outside("sh", "-c", f'SHELL=/bin/sh; eval "$({env})" && docker info')

    assert "\n Name: web\n" in done.stdout


def test_a_client_without_certificate_is_refused(web: Created) -> None:
    ca = str(web.program.folder() / "ca.pem")
    tls = ("--tlsverify", "--tlscacert", ca, "-H", f"tcp://{web.address}", "info")

    done = web.program.outside("docker", *tls, code=None)

    assert done.returncode != 0
    assert "Server Version" not in done.stdout
    assert re.search("certificate", done.stdout + done.stderr), said(done)


def test_a_client_of_another_ca_is_refused(web: Created, program: Program) -> None:
    program("create", "--driver", "none", "--url", "tcp://10.0.0.1:2376", "other")
    other = program.store / "certs"
    tls = ("--cert", f"{other}/cert.pem", "--key", f"{other}/key.pem")

    done = curl(web, "--insecure", *tls, f"https://{web.address}/version")

    assert (done.returncode, done.stdout) == (56, "")


def test_curl_gets_nothing_without_certificates(web: Created) -> None:
    done = curl(web, "--insecure", f"https://{web.address}/version")

    assert done.returncode != 0
    assert done.stdout == ""


def test_curl_gets_an_answer_with_the_certificates(web: Created) -> None:
    assert '"ApiVersion"' in web.program.curl(f"https://{web.address}/version").stdout


def curl(web: Created, *words: str) -> Done[str]:
    quiet = ("curl", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*")
    return web.program.outside(*quiet, *words, code=None)


def secrets(web: Created) -> set[str]:
    """The private keys, and every line of each, as nobody may see them."""
    folder = web.program.store
    keys = [*folder.glob("certs/*key.pem"), *folder.glob("machines/web/*key.pem"), web.host.key]
    assert len(keys) == 5
    lines = {line for key in keys for line in key.read_text().splitlines() if len(line) > 20}
    return {line for line in lines if not line.startswith("-----")} | {"PRIVATE KEY"}


def test_no_private_key_is_seen_in_a_process_list(web: Created) -> None:
    seen = [text.decode(errors="replace") for text in web.processes]

    # It saw what ran here and on the host, or it proves nothing.
    assert any(text.startswith("ssh\0") for text in seen)
    assert any(text.startswith("sh\0-s\0") for text in seen)
    hidden = secrets(web)
    assert [text for text in seen if any(secret in text for secret in hidden)] == []


def test_no_private_key_is_printed_with_debug(web: Created) -> None:
    printed = web.done.stdout + web.done.stderr

    assert "run: ssh" in printed
    assert [secret for secret in secrets(web) if secret in printed] == []


def test_no_private_key_gets_into_the_logs_of_the_host(web: Created) -> None:
    logs = web.host.run("journalctl --no-pager; cat /var/log/*.log /var/log/apt/*")

    assert "Accepted publickey" in logs
    assert [secret for secret in secrets(web) if secret in logs] == []


def test_private_keys_are_readable_by_their_owner_only(web: Created) -> None:
    readable = web.host.run("find / -mount -name 'server-key*' ! -perm 600")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in web.program.store.rglob("*")
        if "PRIVATE KEY" in (path.read_text() if path.is_file() else "")
    }

    assert readable == ""
    assert set(modes) == {"ca-key.pem", "key.pem", "server-key.pem", "id_ed25519"}
    assert set(modes.values()) == {0o600}


def test_the_store_is_private(web: Created) -> None:
    folders = [web.program.store, *filter(Path.is_dir, web.program.store.rglob("*"))]

    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_no_temporary_file_stays_behind(web: Created) -> None:
    assert list(web.program.temporary.iterdir()) == []
    ours = "! -name '.*-unix' ! -path '*/systemd-*'"
    assert web.host.run(f"find /tmp /var/tmp -mindepth 1 {ours}") == ""


def test_no_ssh_connection_stays_behind(web: Created) -> None:
    assert web.host.run("pgrep --full '[s]shd: root' || true") == ""


def test_the_engine_still_answers_on_its_socket(web: Created) -> None:
    assert web.host.run("docker info --format '{{.Name}}'") == "web"


def test_the_host_gets_the_name_of_the_machine(web: Created) -> None:
    assert web.host.run("hostname; cat /etc/hostname; getent hosts web").split()[:2] == ["web"] * 2
    assert web.host.run("getent hosts web").split()[1:] == ["web"]


def test_the_machine_survives_a_reboot(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    program.create(machine)

    machine.reboot()

    if machine.ip == program("ip", "web").stdout.strip():
        assert program.info()["Name"] == "web"
    assert machine.run("systemctl is-active docker") == "active"
    assert "0.0.0.0:2376" in machine.run("ss -lnt") or "*:2376" in machine.run("ss -lnt")
