"""Tests of the test bed itself: what the other integration tests take for granted."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed import PASSWORD, Testbed, TestbedError

from .conftest import HostFactory

ROOT = Path(__file__).resolve().parents[2]
ENGINES = {
    "engine": "20.10.24",
    "quiet": "20.10.24",
    "tty": "20.10.24",
    "bullseye-engine": "20.10.5",
    "trixie-engine": "26.1.5",
}


@pytest.mark.parametrize("image", ["bare", "bullseye", "trixie"])
def test_bare_host(host: HostFactory, image: str) -> None:
    machine = host(image)

    assert machine.ssh("cat /proc/1/comm") == "systemd"
    assert machine.run("systemctl is-system-running") == "running"
    assert machine.ssh("hostname && cat /etc/hostname") == f"{machine.name}\n{machine.name}"
    assert machine.run("command -v dockerd docker", check=False) == ""
    assert machine.engine_pid() is None


def test_install_a_package(host: HostFactory) -> None:
    machine = host("bare")

    machine.ssh("sudo apt-get update -qq && sudo apt-get install -y -qq tree", user="ops")

    assert machine.run("tree --version").startswith("tree v")


@pytest.mark.parametrize("image", ENGINES)
def test_engine_host(host: HostFactory, image: str) -> None:
    machine = host(image)

    version = machine.ssh("docker version --format '{{.Server.Version}}'")
    assert version.partition("+")[0] == ENGINES[image]
    assert machine.run("docker info --format '{{.Driver}}'") == "overlay2"
    assert machine.run("systemctl is-system-running") == "running"
    socket = machine.run("systemctl is-active docker.socket", check=False)
    dockerd = machine.ssh("command -v dockerd", user="nosudo", check=False)
    if image == "quiet":
        assert (socket, dockerd) == ("inactive", "/usr/bin/dockerd")
    else:
        assert (socket, dockerd) == ("active", "")

    pid = machine.engine_pid()
    machine.run_container("steady", "--publish", "8080:80")
    assert machine.run("docker inspect --format '{{.State.Running}}' steady") == "true"
    assert machine.run("docker exec steady /bin/busybox hostname")
    assert machine.boot_pid_of("busybox") is not None
    assert machine.engine_pid() == pid
    machine.run("systemctl restart docker")
    assert machine.engine_pid() not in (None, pid)


def test_ssh_connections(host: HostFactory) -> None:
    machine = host()
    assert machine.ssh_connections() == 0

    for number, user in enumerate(("root", "ops", "pwsudo", "nosudo"), start=1):
        assert machine.ssh("whoami", user=user) == user
        assert machine.ssh_connections() == number
    machine.run("whoami")
    machine.ssh("true", user="stranger", check=False)
    machine.wait()  # asks for the banner, and does not log in

    assert machine.ssh_connections() == 4


def test_who_may_sudo(host: HostFactory) -> None:
    machine = host()

    assert machine.ssh("sudo -n whoami", user="ops") == "root"
    for user in ("pwsudo", "nosudo"):
        with pytest.raises(TestbedError, match="password is required"):
            machine.ssh("sudo -n whoami", user=user)
    with_password = f"echo {PASSWORD} | sudo -S whoami"
    assert machine.ssh(with_password, user="pwsudo") == "root"
    with pytest.raises(TestbedError, match="not in the sudoers file"):
        machine.ssh(with_password, user="nosudo")


def test_sudo_that_requires_a_tty(host: HostFactory) -> None:
    machine = host("tty")

    with pytest.raises(TestbedError, match="you must have a tty"):
        machine.ssh("sudo -n whoami", user="ops")
    with_tty = [*machine.ssh_command("ops")[:1], "-tt", *machine.ssh_command("ops")[1:]]
    done = subprocess.run([*with_tty, "sudo -n whoami"], stdout=subprocess.PIPE, check=True)
    assert done.stdout.strip() == b"root"


def test_files(host: HostFactory) -> None:
    machine = host()

    machine.write("/opt/new/dir/it's here", 'a "line"\n$HOME\n', mode="750")

    assert machine.run('cat "/opt/new/dir/it\'s here"') == 'a "line"\n$HOME'
    assert machine.run("stat -c '%a %U' /opt/new/dir/*") == "750 root"
    # Docker's mounts are gone: these can be replaced, as on any machine.
    machine.run("sed -i '1s/.*/127.0.0.1 localhost other/' /etc/hosts")
    machine.run("hostnamectl set-hostname other")
    assert machine.run("head -n 1 /etc/hosts") == "127.0.0.1 localhost other"
    assert machine.run("cat /etc/hostname") == "other"


def test_failures_tell_what_happened(host: HostFactory) -> None:
    machine = host()

    with pytest.raises(TestbedError, match=r"status 3\n(?s:.*)out\n(?s:.*)err\n"):
        machine.run("echo out; echo err >&2; exit 3")
    assert machine.run("echo out; exit 3", check=False) == "out"
    with pytest.raises(TestbedError, match="no image 'bear'"):
        host("bear")


def test_reboot(host: HostFactory) -> None:
    machine = host("engine")
    machine.run_container("once")
    machine.run_container("always", "--restart", "always")
    boot = machine.run("systemctl show --value --property UserspaceTimestamp")
    machine.ssh("hostnamectl set-hostname other")

    machine.reboot()

    assert machine.run("systemctl show --value --property UserspaceTimestamp") != boot
    assert machine.ssh("hostname") == "other"
    assert machine.ssh_connections() == 2
    assert machine.run("docker ps --format '{{.Names}}'") == "always"
    assert machine.run("systemctl is-system-running") == "running"


def test_an_added_address_survives_a_reboot(host: HostFactory) -> None:
    machine = host()
    addresses = [machine.add_address(), machine.add_address()]

    machine.reboot()

    for address in addresses:
        with socket.create_connection((address, 22), timeout=10) as connection:
            assert connection.recv(4) == b"SSH-"


def test_power_off_and_on(host: HostFactory, bed: Testbed) -> None:
    machine = host()

    machine.run("systemctl poweroff", check=False)
    assert bed.docker("wait", machine.name, timeout=90) == "0"
    with pytest.raises(TestbedError):
        machine.run("true")
    machine.start()
    machine.stop()
    machine.start()

    assert machine.ssh("whoami") == "root"


def test_hosts_are_individuals(host: HostFactory, bed: Testbed) -> None:
    one, two = host(), host()

    identity = "cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub"
    lines = one.run(identity).splitlines() + two.run(identity).splitlines()
    assert len(lines) == len(set(lines)) == 6
    again = host("bare", one.name)  # replaces the host of that name
    assert again.run(identity).splitlines()[0] not in lines
    two.run("systemctl stop ssh")
    assert again.ssh("systemctl is-active ssh") == "active"

    two.remove()
    two.remove()
    assert two.name not in dict(bed.hosts())


def test_command_line(bed: Testbed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_MACHINE_TESTBED", str(tmp_path))
    name = f"testbed-command-line-{tmp_path.parent.name}-{tmp_path.name}"

    def testbed(*args: str) -> str:
        command = [sys.executable, "-m", "tests.testbed", *args]
        return subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()

    try:
        ip = testbed("up", "bare", name)
        assert testbed("ip", name) == ip == bed.attach(name).ip
        assert testbed("run", name, "whoami") == testbed("ssh", name, "whoami") == "root"
        assert f"{name} bare {ip}" in testbed("ls")
        assert Path(testbed("key")).parent == tmp_path
    finally:
        testbed("rm", name)
    assert name not in testbed("ls")
