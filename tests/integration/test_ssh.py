"""`ssh` and `scp` are the real ones, aimed at a machine, with the user's own settings of ssh."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Host, Testbed

from .conftest import HostFactory
from .program import Program

pytest_plugins = (f"{__package__}.fixtures",)

NAME = "it's a \"file\" $HOME.txt"


class Pair:
    """Two machines of one store, which need not be provisioned for this."""

    def __init__(self, bed: Testbed, program: Program) -> None:
        self.program = program
        self.hosts = {"one": bed.host("engine"), "two": bed.host("engine")}
        program.create(self.hosts["one"], name="one")
        program.create(self.hosts["two"], name="two", user="ops")

    @property
    def one(self) -> Host:
        return self.hosts["one"]

    @property
    def two(self) -> Host:
        return self.hosts["two"]


@pytest.fixture(scope="module")
def pair(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(bed, Program(tmp_path_factory.mktemp("pair"), store="a store"))
    yield pair
    for host in pair.hosts.values():
        host.remove()


@pytest.fixture
def program(pair: Pair) -> Program:
    return pair.program


@pytest.mark.parametrize("code", [0, 7, 255])
def test_ssh_ends_with_the_code_of_the_remote_command(program: Program, code: int) -> None:
    program("ssh", "one", f"exit {code}", code=code)


def test_ssh_passes_stdin_and_both_outputs(program: Program) -> None:
    text = "a\nb\0c"

    done = program("ssh", "one", "cat; echo words >&2", stdin=text)

    assert (done.stdout, done.stderr) == (text, "words\n")


def test_ssh_joins_words_as_ssh_does(program: Program) -> None:
    assert program("ssh", "one", "echo", "a  b", "&&", "echo", "-n", "c").stdout == "a b\nc"
    assert program("ssh", "one", "--", "hostname").stdout == "one\n"


def test_ssh_logs_in_as_the_user_of_the_machine(program: Program) -> None:
    assert program("ssh", "one", "whoami").stdout == "root\n"
    assert program("ssh", "two", "whoami").stdout == "ops\n"


def test_ssh_takes_options_of_ssh(program: Program) -> None:
    assert program("ssh", "one", "-t", "-t", "tty").stdout.startswith("/dev/pts/")


def test_ssh_to_a_host_that_is_off_says_so(pair: Pair, program: Program) -> None:
    pair.two.run("systemctl stop ssh.service ssh.socket")
    try:
        done = program("ssh", "two", "true", code=1)
    finally:
        pair.two.run("systemctl start ssh.service")

    assert 'Host "two" is not running' in done.stderr


def test_scp_copies_there_and_back(program: Program, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "up").write_bytes(data)

    program("scp", str(tmp_path / "up"), "one:/root/there")
    program("scp", "one:/root/there", str(tmp_path / "down"))

    assert (tmp_path / "down").read_bytes() == data


def test_scp_between_two_machines(pair: Pair, program: Program) -> None:
    pair.one.write("/root/from one", "text\n")

    program("scp", "one:/root/from one", "two:/home/ops/to two")

    assert pair.two.run("cat '/home/ops/to two'; stat -c %U '/home/ops/to two'") == "text\nops"


def test_scp_takes_any_file_name(pair: Pair, program: Program, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("text")

    program("scp", str(tmp_path / NAME), "one:/root/")
    program("scp", f"one:/root/{NAME}", f"two:/home/ops/{NAME}")
    program("scp", f"two:/home/ops/{NAME}", str(tmp_path / "back"))

    assert (tmp_path / "back").read_text() == "text"


def test_scp_copies_folders(pair: Pair, program: Program, tmp_path: Path) -> None:
    (tmp_path / "some files" / "below").mkdir(parents=True)
    (tmp_path / "some files" / "below" / "x y").write_text("text")

    assert program("scp", str(tmp_path / "some files"), "one:/root/", code=None).returncode != 0
    program("scp", "-r", str(tmp_path / "some files"), "one:/root/")
    program("scp", "-r", "one:/root/some files", "two:/home/ops")
    program("scp", "--recursive", "--quiet", "two:/home/ops/some files", f"{tmp_path}/back")

    assert (tmp_path / "back" / "below" / "x y").read_text() == "text"


def test_scp_takes_another_user_and_paths_below_home(pair: Pair, program: Program) -> None:
    pair.two.write("/home/ops/mine", "text")

    program("scp", "two:mine", "ops@one:yours")

    assert pair.one.run("cat /home/ops/yours") == "text"


def test_scp_reaches_localhost_and_files_with_colons(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").write_text("text")

    program("scp", "localhost:a:b", "one:/root/ab")
    program("scp", "one:/root/ab", "localhost:c")

    assert (tmp_path / "c").read_text() == "text"


def test_scp_fails_with_the_words_of_scp(program: Program, tmp_path: Path) -> None:
    done = program("scp", "one:/root/nothing", str(tmp_path), code=1)

    assert "/root/nothing: No such file or directory" in done.stderr


def test_scp_refuses_an_unknown_machine(program: Program, tmp_path: Path) -> None:
    done = program("scp", "tow:/root/x", str(tmp_path), code=1)

    assert 'Docker machine "tow" does not exist' in done.stderr and "two" in done.stderr


# --- the user's own settings


def test_without_a_key_the_agent_is_asked(host: HostFactory, tmp_path: Path) -> None:
    machine, program = host("engine"), Program(tmp_path)
    line = f"ssh-add -q {machine.key} && exec \"$@\""
    where = ("create", "--driver", "generic", "--generic-ip-address", machine.ip, "web")

    program.outside("ssh-agent", "sh", "-ec", line, "sh", *program.argv(*where))
    program.outside("ssh-agent", "sh", "-ec", line, "sh", *program.argv("provision", "web"))

    assert program.info()["Name"] == "web"
    assert "PRIVATE KEY" not in "".join(
        path.read_text() for path in program.folder().iterdir() if "key" not in path.name
    )


def test_a_host_behind_a_jump_host(host: HostFactory, tmp_path: Path) -> None:
    machine, jump, program = host("engine"), host("bare"), Program(tmp_path)
    gateway = machine.run("ip route show default").split()[2]
    machine.run(f"iptables -A INPUT -p tcp --dport 22 -s {gateway} -j REJECT")
    # ssh looks for its settings in the home folder that the system knows, whatever HOME says.
    (tmp_path / "config").write_text(
        f"Host {machine.ip}\nProxyJump root@{jump.ip}\n"
        f"Host {jump.ip}\nIdentityFile {jump.key}\nIdentitiesOnly yes\n"
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n"
    )
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    ssh.chmod(0o755)
    program.environ["PATH"] = f"{ssh.parent}:{program.environ['PATH']}"

    program.create(machine)

    assert program.info()["Name"] == "web"
    assert program("status", "web").stdout == "Running\n"
    assert program("ssh", "web", "hostname").stdout == "web\n"
    assert jump.ssh_connections() >= 2


def test_a_host_that_is_gone_is_told_and_can_be_removed(host: HostFactory, tmp_path: Path) -> None:
    machine, program = host("engine"), Program(tmp_path)
    program.create(machine)
    machine.run("iptables -I INPUT -j REJECT --reject-with icmp-host-unreachable")

    assert program("status", "web").stdout == "Stopped\n"
    assert "Stopped" in program.ls().stdout
    done = program("provision", "web", code=1)
    program("rm", "-y", "web")

    assert f"there is no route to {machine.ip}" in done.stderr
    assert program.names() == []
