"""A kill, a rival, a dead engine or a busy host does no harm, and is told in words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.testbed import Host, Testbed

from .conftest import HostFactory
from .program import HANG, SOON, Program, engine_process, until

pytest_plugins = (f"{__package__}.fixtures",)

RESET = """
if [ -e /run/cloud-init/enabled ]; then
    touch /run/cloud-init/result.json
    flock /run/docker-machine.lock true
fi
while iptables -D INPUT -p tcp --dport 2376 -j DROP; do :; done
while umount /etc/docker; do :; done
rm -rf /etc/systemd/system/docker.service.d /etc/docker/* /run/cloud-init /usr/local/bin/date
systemctl unmask docker.service
systemctl daemon-reload
systemctl reset-failed
systemctl restart docker
"""


@pytest.fixture
def machine(shared_host: Host) -> Host:
    """A host whose engine has the configuration it was installed with."""
    shared_host.run(RESET)
    return shared_host


# --- kill -9


class Kill(NamedTuple):
    """When `create` is killed: so many seconds after its start, or after a line of its output.
    `all`: with every program that it started, as by a power cut; else they live on."""

    image: str
    line: str
    seconds: float
    all: bool = False

    def __str__(self) -> str:
        return f"{self.line or 'start'}+{self.seconds}{' all' * self.all}".replace("...", "")


KILLS = [
    *(Kill("engine", "", seconds) for seconds in (0.1, 0.3, 0.6, 1.0)),
    Kill("engine", "Creating CA", 0),
    Kill("engine", "Creating machine...", 0),
    Kill("engine", "Copying certs to the local machine directory...", 0),
    Kill("engine", "Copying certs to the remote machine...", 0),
    Kill("engine", "Copying certs to the remote machine...", 0, True),
    Kill("engine", "Setting Docker configuration on the remote daemon...", 0),
    Kill("engine", "Setting Docker configuration on the remote daemon...", 0.3, True),
    Kill("engine", "Checking connection to Docker...", 0),
    Kill("bare", "Installing Docker...", 1),
    Kill("bare", "Installing Docker...", 5, True),
]


def run_and_kill(kill: Kill, bed: Testbed, folder: Path) -> None:
    """Kill a `create` on a host of its own, and see that it does no harm."""
    words = ("--engine-install-url", "package")
    host, program = bed.host(kill.image), Program(folder)
    try:
        create = program.start(*program.create_words(host, *words))
        assert not kill.line or create.line(kill.line), create
        time.sleep(kill.seconds)
        create.kill()
        if kill.all:
            kill_children(program)
        if program.folder().exists():
            copy = program.copy(folder / "copy")
            copy("rm", "-y", "web")
            assert copy.names() == []
            program("provision", "web")
        else:
            program.create(host, *words)
        assert program.names() == ["web"]
        assert program.info()["Name"] == "web"
        assert "Everything is in place" in program("provision", "web").stdout
    finally:
        host.remove()


def kill_children(program: Program) -> None:
    """Kill what a killed program started; its folder for temporary files tells which."""
    mark = f"TMPDIR={program.temporary}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path("/proc", pid, "environ").read_bytes().split(b"\0"):
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(scope="module")
def killed(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kill, Future]]:
    with ThreadPoolExecutor(3) as pool:
        yield {
            kill: pool.submit(run_and_kill, kill, bed, tmp_path_factory.mktemp("kill"))
            for kill in KILLS
        }


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_killed_create_can_be_removed_and_completed(
    killed: dict[Kill, Future], kill: Kill
) -> None:
    killed[kill].result()


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9])
def test_killed_renewals_are_completed(machine: Host, program: Program, seconds: float) -> None:
    program.create(machine)
    program.edit(lambda config: config["HostOptions"]["EngineOptions"].update(Labels=["a=1"]))
    renewal = program.start("regenerate-certs", "--force", "--client-certs", "web")
    time.sleep(seconds)
    renewal.kill()
    kill_children(program)

    program("provision", "web")

    assert "a=1" in program.info()["Labels"]
    assert "Everything is in place" in program("provision", "web").stdout


# --- several at once


def test_creates_at_once_on_an_empty_store_share_one_ca(
    host: HostFactory, program: Program
) -> None:
    hosts = {f"host{number}": host("engine") for number in range(3)}
    lines = [program.create_words(machine, name=name) for name, machine in hosts.items()]
    names = [f"none{number}" for number in range(10)]
    url = ("--driver", "none", "--url", "tcp://10.0.0.1:2376")
    lines += [["create", *url, name] for name in names]

    running = [program.start(*line) for line in lines]

    codes = [process.wait() for process in running]
    assert codes == [0] * len(running), [str(process) for process in running]
    assert program.names() == sorted([*hosts, *names])
    for file in ("ca.pem", "cert.pem", "key.pem"):
        copies = program.store.glob(f"*/*/{file}")
        originals = [path.read_bytes() for path in (*copies, program.store / "certs" / file)]
        assert len(originals) == 14 and len(set(originals)) == 1
    for command in (["provision"], ["regenerate-certs", "--force"]):
        program(*command, *hosts)
        assert [program.info(name)["Name"] for name in hosts] == list(hosts)


def test_two_creates_of_one_name_make_one_machine(machine: Host, program: Program) -> None:
    one, two = (program.start(*program.create_words(machine)) for _ in range(2))

    assert sorted((one.wait(), two.wait())) == [0, 1], (str(one), str(two))
    assert program.info()["Name"] == "web"
    assert "already exists" in str(one) + str(two)


def test_provision_beside_create_says_who_is_busy(machine: Host, program: Program) -> None:
    machine.write("/run/cloud-init/enabled", "")
    create = program.start(*program.create_words(machine))
    assert create.line("Waiting for cloud-init to finish..."), create

    done = program("provision", "web", code=1)

    assert 'Machine "web" is in use by another docker-machine' in done.stderr
    assert str(create.process.pid) in done.stderr
    machine.write("/run/cloud-init/result.json", "{}")
    assert create.wait() == 0, create


def test_provision_beside_create_waits_a_little(machine: Host, program: Program) -> None:
    create = program.start(*program.create_words(machine))
    assert create.line("Provisioning with"), create

    done = program("provision", "web")

    assert "Everything is in place" in done.stdout
    assert create.wait() == 0


def test_a_changed_host_key_is_refused(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    program.create(machine)
    known = program.folder() / "known_hosts"
    machine.run("rm /etc/ssh/ssh_host_* && ssh-keygen -A && systemctl restart ssh")

    done = program("provision", "web", code=1)
    assert f"{machine.ip} shows another host key than before" in done.stderr
    assert f"delete {known}" in done.stderr
    assert program("ssh", "web", "true", code=255).stdout == ""

    known.unlink()
    program("provision", "web")
    assert known.exists()


# --- dead engines


def test_an_unknown_storage_driver_is_told_and_taken_back(machine: Host, program: Program) -> None:
    started = time.monotonic()

    done = program.create(machine, "--engine-storage-driver", "nonsense", code=1)

    assert time.monotonic() - started < SOON
    assert "docker.service - Docker Application Container Engine" in done.stderr
    assert "error initializing graphdriver" in done.stderr
    assert "provision web" in done.stderr
    assert until(lambda: machine.run("docker info --format '{{.Driver}}'", check=False))
    assert "nonsense" not in " ".join(engine_process(machine, "cmdline"))
    assert machine.run("ls /etc/systemd/system/docker.service.d || true") == ""
    program.edit(lambda config: config["HostOptions"]["EngineOptions"].update(StorageDriver=""))
    program("provision", "web")
    assert program.info()["Name"] == "web"


def test_an_option_that_kills_the_engine_is_taken_back(machine: Host, program: Program) -> None:
    program.create(machine, "--engine-label", "good=1")
    program.edit(lambda conf: conf["HostOptions"]["EngineOptions"].update(ArbitraryFlags=["x=y"]))

    done = program("provision", "web", code=1)

    assert "unknown flag: --x" in done.stderr
    assert until(lambda: "good=1" in program.info()["Labels"])


DROP_INS = {
    "ExecStartPre=/bin/false": "status=1/FAILURE",
    "User=nobody-at-all": "status=217/USER",
}


@pytest.mark.parametrize("line", DROP_INS)
def test_a_drop_in_that_breaks_the_engine_is_told(
    machine: Host, program: Program, line: str
) -> None:
    drop_in = "/etc/systemd/system/docker.service.d/99-site.conf"
    machine.write(drop_in, f"[Service]\n{line}\n")
    started = time.monotonic()

    done = program.create(machine, code=1)

    assert time.monotonic() - started < SOON
    assert DROP_INS[line] in done.stderr
    machine.run(f"rm {drop_in} && systemctl daemon-reload")
    program("provision", "web")
    assert program.info()["Name"] == "web"


def test_a_masked_engine_is_told(machine: Host, program: Program) -> None:
    machine.run("systemctl mask --quiet docker.service")

    done = program.create(machine, code=1)

    assert "systemctl unmask docker.service" in done.stderr
    machine.run("systemctl unmask --quiet docker.service")
    program("provision", "web")
    assert program.info()["Name"] == "web"


def test_a_closed_port_is_told_from_a_dead_engine(machine: Host, program: Program) -> None:
    rule = "INPUT -p tcp --dport 2376 -j DROP"
    machine.run(f"iptables -I {rule}")
    started = time.monotonic()

    done = program.create(machine, code=1)

    assert time.monotonic() - started < SOON
    assert "Open TCP port 2376 in the firewall" in done.stderr
    machine.run(f"iptables -D {rule}")
    program("provision", "web")
    assert program.info()["Name"] == "web"


# --- busy hosts

HOLD = """
use Fcntl;
open F, '>>', $ARGV[0];
my $all = pack 's s x4 q q i x4', F_WRLCK;
fcntl F, F_SETLKW, $all or die;
select undef, undef, undef, 0.1 while -e $ARGV[1];
"""


def hold(host: Host, path: str, flag: str) -> threading.Thread:
    """Lock a file on a host as apt and dpkg do it, as long as the file `flag` is there."""
    host.write("/root/hold", HOLD)
    host.write(flag, "")
    thread = threading.Thread(target=host.run, args=(f"perl /root/hold {path} {flag}",))
    thread.start()
    assert until(lambda: host.run(f"grep \"POSIX.*:$(stat -c %i {path}) \" /proc/locks || true"))
    return thread


def test_create_waits_for_other_users_of_the_package_database(
    host: HostFactory, program: Program
) -> None:
    machine = host("bare")
    # What dpkg leaves behind when it is killed: a record that is not merged yet.
    record = "sed -n '/^Package: sudo$/,/^$/p' /var/lib/dpkg/status"
    machine.run(f"{record} > /var/lib/dpkg/updates/0000")
    holders = [
        hold(machine, "/var/lib/apt/lists/lock", "/root/lists"),
        hold(machine, "/var/lib/dpkg/lock-frontend", "/root/dpkg"),
        hold(machine, "/var/lib/dpkg/lock", "/root/dpkg"),
    ]

    tries = "pgrep -fx 'sleep 2'"  # what the script does between two

    def waits() -> object:
        return until(lambda: machine.run(f"{tries} || true"), HANG)

    with ThreadPoolExecutor() as pool:
        creation = pool.submit(program.create, machine, "--engine-install-url", "package")
        for flag in ("/root/lists", "/root/dpkg"):
            assert waits()
            machine.run(f"rm {flag}; while {tries}; do sleep 0.1; done >/dev/null")
        done = creation.result()

    assert "Waiting for another package manager to finish..." in done.stdout
    assert "Completing an interrupted installation of packages..." in done.stdout
    assert program.info()["Name"] == "web"
    for thread in holders:
        thread.join()


def test_create_waits_for_cloud_init(machine: Host, program: Program) -> None:
    machine.write("/run/cloud-init/enabled", "")
    create = program.start(*program.create_words(machine))
    assert create.line("Waiting for cloud-init to finish..."), create
    time.sleep(3)
    assert create.process.poll() is None

    machine.write("/run/cloud-init/result.json", "{}")

    assert create.wait() == 0, create
    assert program.info()["Name"] == "web"


@pytest.mark.parametrize("shift", ["2 days", "-2 days"])
def test_a_wrong_clock_is_told(machine: Host, program: Program, shift: str) -> None:
    machine.write("/usr/local/bin/date", f'#!/bin/sh\nexec /bin/date -d "{shift}" "$@"\n', "755")
    try:
        done = program.create(machine)
    finally:
        machine.run("rm /usr/local/bin/date")

    which = "behind" if "-" in shift else "ahead of"
    assert f"the clock of {machine.ip} is " in done.stderr
    assert f"{which} this computer's" in done.stderr
    assert program.info()["Name"] == "web"


def test_a_host_without_room_is_told(machine: Host, program: Program) -> None:
    machine.run("mount -t tmpfs -o size=4k none /etc/docker && head -c 9999 /dev/zero >"
                " /etc/docker/full || true")
    try:
        done = program.create(machine, code=1)
    finally:
        machine.run("umount /etc/docker")

    assert "No space left on device" in done.stderr
    program("provision", "web")
    assert program.info()["Name"] == "web"


def test_a_lost_connection_is_told_and_can_be_resumed(machine: Host, program: Program) -> None:
    machine.write("/run/cloud-init/enabled", "")
    create = program.start(*program.create_words(machine))
    assert create.line("Waiting for cloud-init to finish..."), create

    machine.run("pkill --full '[s]shd: root'")

    assert create.wait() == 1, create
    assert f'The connection to {machine.ip} was lost at "Waiting for cloud-init to finish..."' in str(create)
    assert "provision web" in str(create)
    machine.write("/run/cloud-init/result.json", "{}")
    program("provision", "web")
    assert program.info()["Name"] == "web"


@pytest.fixture
def hangups() -> Iterator[None]:
    """What is started under nohup, as these tests may be, ignores hangups."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_says_how_to_go_on(
    machine: Host, program: Program, number: signal.Signals, code: int
) -> None:
    machine.write("/run/cloud-init/enabled", "")
    create = program.start(*program.create_words(machine))
    assert create.line("Waiting for cloud-init to finish..."), create

    create.process.send_signal(number)

    assert create.wait() == code, create
    assert "provision web" in str(create)
    assert "Traceback" not in str(create)
    assert list(program.temporary.iterdir()) == []
    machine.write("/run/cloud-init/result.json", "{}")
    program("provision", "web")
    assert program.info()["Name"] == "web"


# --- a disk here that fills up


def test_a_full_disk_here_damages_nothing(machine: Host, program: Program) -> None:
    program.store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(program.store)]
    subprocess.run(mount, check=True)
    try:
        program.create(machine)
        before = (program.folder() / "config.json").read_text()
        with contextlib.suppress(OSError), (program.store / "junk").open("wb") as junk:
            while True:
                junk.write(b"\0" * 4096)
                junk.flush()

        done = program("provision", "web", code=1)

        assert "No space left on device" in done.stderr
        assert (program.folder() / "config.json").read_text() == before
        (program.store / "junk").unlink()
        program("provision", "web")
        assert program.info()["Name"] == "web"
    finally:
        subprocess.run(["umount", str(program.store)], check=True)
