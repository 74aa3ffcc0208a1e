"""What cannot work is refused in words, before anything is created here or on the host."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HANG, listening

from tests.testbed import Host, Testbed

from .conftest import HostFactory
from .program import Done, Program, all_files, said

pytest_plugins = (f"{__package__}.fixtures",)


@pytest.fixture(scope="module")
def engine(bed: Testbed) -> Iterator[Host]:
    host = bed.host("engine")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def bare(bed: Testbed) -> Iterator[Host]:
    host = bed.host("bare")
    yield host
    host.remove()


def refused(
    program: Program, host: Host, *words: str, user: str = "root", code: int = 3
) -> str:
    """What a refused `create` says; nothing was made by it here, or changed on the host."""
    before = all_files(host)

    done = program(*program.create_words(host, *words, user=user), code=code)

    assert not program.store.exists(), said(done)
    assert all_files(host) == before
    return words_of(done)


def words_of(done: Done[str]) -> str:
    """What was printed to stderr: a sentence and a hint, and never a traceback."""
    assert "Traceback" not in done.stderr and "defect" not in done.stderr, said(done)
    assert 1 <= len(done.stderr.splitlines()) <= 4, said(done)
    return done.stderr.replace('\\"', '"')


# --- logins


def test_a_wrong_key(engine: Host, program: Program, tmp_path: Path) -> None:
    key = tmp_path / "other key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", str(key)], check=True)

    words = refused(program, engine, "--generic-ssh-key", str(key))

    assert f"{engine.ip} refused the login of user root with the key {key}" in words


def test_a_key_with_a_passphrase_that_nobody_is_there_to_type(
    engine: Host, program: Program, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    shutil.copy(engine.key, key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(key)], check=True)

    words = refused(program, engine, "--generic-ssh-key", str(key))

    assert "passphrase" in words and "ssh-add" in words


def test_a_wrong_user(engine: Host, program: Program) -> None:
    assert "refused the login of user stranger" in refused(program, engine, user="stranger")


def test_a_user_who_may_not_sudo(engine: Host, program: Program) -> None:
    words = refused(program, engine, user="nosudo")

    assert "does not let nosudo work without a password" in words


def test_sudo_with_a_password_names_the_line_that_mends_it(
    host: HostFactory, program: Program
) -> None:
    machine = host("engine")

    words = refused(program, machine, user="pwsudo")

    assert "sudo: a password is required" in words
    mend = words.partition("Run this as root on the host: ")[2].splitlines()[0]
    assert "pwsudo ALL=(ALL) NOPASSWD: ALL" in mend and "/etc/sudoers.d/" in mend
    machine.run(mend)
    program.create(machine, user="pwsudo")
    assert program.info()["Name"] == "web"


def test_no_sudo_at_all(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    machine.run("rm $(command -v sudo)")

    words = refused(program, machine, user="ops")

    assert "There is no sudo" in words and "ops is not root" in words


def test_a_shell_that_greets_does_no_harm(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    machine.write("/root/.bashrc", "echo 'Welcome: kernel:none elevate:no'\n")

    program.create(machine)

    assert program.info()["Name"] == "web"


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_a_login_without_a_shell(host: HostFactory, program: Program, shell: str) -> None:
    machine = host("engine")
    machine.run(f"usermod --shell {shell} ops")

    assert "has no POSIX shell" in refused(program, machine, user="ops")


# --- addresses


def refused_address(program: Program, engine: Host, *words: str) -> str:
    done = program(*program.create_words(engine, *words), code=3)

    assert not program.store.exists()
    return words_of(done)


def test_a_refused_port(engine: Host, program: Program) -> None:
    words = refused_address(program, engine, "--generic-ssh-port", "2222")

    assert f"{engine.ip} refused the connection on port 2222" in words


def test_an_address_where_nobody_is(engine: Host, program: Program) -> None:
    nobody = engine.bed.address()

    words = refused_address(program, engine, "--generic-ip-address", nobody)

    assert f"there is no route to {nobody}" in words or f"{nobody} does not answer" in words


def test_an_address_that_cannot_be_resolved(engine: Host, program: Program) -> None:
    words = refused_address(program, engine, "--generic-ip-address", "nowhere.invalid")

    assert 'the address "nowhere.invalid" cannot be resolved' in words


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=("http", ""))
def test_a_port_that_is_no_ssh_server(engine: Host, program: Program, answer: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.settimeout(HANG)
        while connection.recv(999) and not answer:  # nothing is said until the client has enough
            pass
        connection.sendall(answer)

    with listening(handle) as port:
        where = ("--generic-ip-address", "127.0.0.1", "--generic-ssh-port", str(port))
        words = refused_address(program, engine, *where)

    assert f"127.0.0.1 port {port} does not answer like an SSH server" in words


# --- names


def test_an_existing_name(engine: Host, program: Program) -> None:
    program("create", "--driver", "none", "--url", "tcp://10.0.0.1:2376", "web")
    before, there = program.config(), all_files(engine)

    words = words_of(program.create(engine, code=1))

    assert 'Docker machine "web" already exists' in words
    assert "docker-machine rm web" in words and "provision" not in words
    assert (program.config(), all_files(engine)) == (before, there)


def test_a_half_created_name_says_how_to_resume(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    machine.run("systemctl mask --quiet docker.service")
    assert "Resume: docker-machine provision web" in program.create(machine, code=1).stderr

    words = words_of(program.create(machine, code=1))

    assert "already exists" in words
    assert "Resume: docker-machine provision web" in words
    machine.run("systemctl unmask docker.service")
    program("provision", "web")
    assert "Resume" not in program.create(machine, code=1).stderr


# --- engines


def test_another_engine_version_than_the_one_there(engine: Host, program: Program) -> None:
    words = refused(program, engine, "--engine-version", "26.1")

    assert "has Docker Engine 20.10.24" in words and "not 26.1" in words


def test_the_engine_version_that_is_there(host: HostFactory, program: Program) -> None:
    program.create(host("engine"), "--engine-version", "20.10")

    assert program("version", "web").stdout.startswith("20.10.24")


def test_no_engine_where_none_is_to_be_installed(bare: Host, program: Program) -> None:
    words = refused(program, bare, "--engine-install-url", "none")

    assert "no Docker Engine" in words


def test_a_bundle_that_is_not_there(bare: Host, program: Program) -> None:
    words = refused(program, bare, "--engine-install-url", "file:///nowhere/x.tgz", code=2)

    assert "/nowhere/x.tgz" in words


def test_an_engine_that_is_a_snap(bare: Host, program: Program) -> None:
    bare.write("/snap/bin/docker", "")
    try:
        words = refused(program, bare)
    finally:
        bare.run("rm -r /snap")

    assert "is a snap" in words and "snap remove docker" in words


# --- this computer


@pytest.mark.parametrize(("gone", "package"), [("openssl", "openssl"), ("ssh", "openssh-client")])
def test_a_missing_program_names_its_package(
    engine: Host, program: Program, tmp_path: Path, gone: str, package: str
) -> None:
    """A PATH with all that is needed, and apt-get, but for one program."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in {"ssh", "openssl", "apt-get", "sh"} - {gone}:
        (folder / name).symlink_to(shutil.which(name) or "/bin/true")

    program.environ["PATH"] = str(folder)

    words = refused(program, engine)

    assert f'The program "{gone}" was not found' in words
    assert f"apt-get install {package}" in words


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[None]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_read_only_store(engine: Host, program: Program) -> None:
    before = all_files(engine)
    with mounted(program.store, "ro"):
        words = words_of(program.create(engine, code=3))

        assert list(program.store.iterdir()) == []
    assert "Read-only file system" in words and "--storage-path" in words
    assert all_files(engine) == before


@pytest.mark.parametrize("options", ["size=16k", "size=1m,nr_inodes=1"])
def test_a_full_store(engine: Host, program: Program, options: str) -> None:
    before = all_files(engine)
    with mounted(program.store, options):
        words = words_of(program.create(engine, code=3))

        assert list(program.store.iterdir()) == []
    assert "No space left on device" in words and "--storage-path" in words
    assert all_files(engine) == before


def test_a_store_that_fills_up_on_the_way(host: HostFactory, tmp_path: Path) -> None:
    machine = host("engine")
    for files in (3, 8, 13, 18):
        program = Program(tmp_path / str(files))
        program.environ["MACHINE_ENGINE_TAKE_OVER"] = "true"  # a store each, one host
        with mounted(program.store, f"size=1m,nr_inodes={files}"):
            done = program.create(machine, code=1)
            assert "No space left on device" in words_of(done)
            assert not [path for path in program.store.rglob("*") if ".tmp" in path.name]

            subprocess.run(["mount", "-o", "remount,nr_inodes=99", program.store], check=True)
            if program.folder().exists():
                assert "provision web" in done.stderr
                program("provision", "web")
            else:
                program.create(machine)
            assert program.info()["Name"] == "web"


def test_rm_works_on_a_full_disk(program: Program) -> None:
    with mounted(program.store, "size=1m"):
        program("create", "--driver", "none", "--url", "tcp://192.0.2.7:2376", "web")
        shutil.rmtree(program.store / "locks")
        with contextlib.suppress(OSError), open(program.store / "full", "wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        for number in range(9999):
            try:
                (program.store / f"{number}").write_text("")
            except OSError:
                break

        program("rm", "-y", "web")

        assert program.names() == []
