"""The commands on machines that are real hosts: what scripts read, and what becomes of the host and its containers."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Host, Testbed

from .program import HANG, Done, Program, said, serial, until

pytest_plugins = (f"{__package__}.fixtures",)

PORTS = "Port 22\nPort 2222\n"


class Machines:
    """Two machines of one store: `web` of root on port 22, `two` of a user with sudo on port 2222. They have addresses
    that reboots do not change."""

    def __init__(self, bed: Testbed, program: Program) -> None:
        self.bed, self.program = bed, program
        self.web, self.two = bed.host("engine"), bed.host("engine")
        self.two.write("/etc/ssh/sshd_config.d/ports.conf", PORTS)
        self.two.run("systemctl restart ssh")
        self.address = {"web": self.web.add_address(), "two": self.two.add_address()}
        self.create("web", "--engine-label", "rack=7")
        self.create("two", "--generic-ssh-port", "2222", "--generic-ssh-user", "ops")

    def create(self, name: str, *words: str) -> None:
        where = ("--generic-ip-address", self.address[name], "--generic-ssh-key", str(self.bed.key))
        self.program("create", "--driver", "generic", *where, *words, name)

    def container(self, name: str) -> str:
        """What changes if a container of `web` is started again: its id, its process and the time."""
        template = "{{.Id}} {{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}"
        return self.web.run(f"docker inspect --format '{template}' {name}", check=False)

    def works(self, name: str = "web") -> bool:
        return self.program.info(name)["Name"] == name


@pytest.fixture(scope="module")
def machines(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(bed, Program(tmp_path_factory.mktemp("commands"), store="a store"))
    yield made
    made.web.remove()
    made.two.remove()


@pytest.fixture
def program(machines: Machines) -> Program:
    return machines.program


@pytest.fixture
def steady(machines: Machines) -> Iterator[str]:
    """What `container` says of one that runs on the engine of `web`."""
    machines.web.run_container("steady")
    yield machines.container("steady")
    machines.web.run("docker rm -f steady")


# --- queries


def test_ls_shows_real_machines_in_docker_machines_columns(machines: Machines, program: Program) -> None:
    url = f"tcp://{machines.address['web']}:2376"
    program.environ["DOCKER_HOST"] = url
    try:
        done, active = program.ls(), program("active")
    finally:
        del program.environ["DOCKER_HOST"]

    head, two, web = done.stdout.splitlines()
    version = machines.web.run("docker version --format '{{.Server.Version}}'")
    assert head.split() == "NAME ACTIVE DRIVER STATE URL SWARM DOCKER ERRORS".split()
    assert web.split() == ["web", "*", "generic", "Running", url, f"v{version}"]
    assert two.split()[:4] == ["two", "-", "generic", "Running"]
    assert (active.stdout, done.stderr) == ("web\n", "")
    assert program("version", "web").stdout == version + "\n"


def test_json_of_every_query_is_one_line_of_json(machines: Machines, program: Program) -> None:
    ip, folder = machines.address["web"], str(program.folder())
    version = program("version", "web").stdout.strip()
    answers = {
        ("status", "web"): {"Name": "web", "State": "Running"},
        ("url", "web"): {"Name": "web", "URL": f"tcp://{ip}:2376"},
        ("ip", "two", "web"): [
            {"Name": "two", "IPAddress": machines.address["two"]}, {"Name": "web", "IPAddress": ip}],
        ("version", "web"): {"Name": "web", "DockerVersion": version},
        ("env", "web"): {
            "DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": f"tcp://{ip}:2376",
            "DOCKER_CERT_PATH": folder, "DOCKER_MACHINE_NAME": "web"},
        ("inspect", "web"): program.config(),
    }
    for words, expected in answers.items():
        done = program(*words, "--format", "json")
        assert (json.loads(done.stdout), done.stdout.count("\n"), done.stderr) == (expected, 1, ""), words
    rows = json.loads(program.ls("--format", "json").stdout)
    assert [(row["Name"], row["State"], row["DockerVersion"]) for row in rows] == [
        ("two", "Running", f"v{version}"), ("web", "Running", f"v{version}")]
    assert rows[1]["EngineOptions"]["Labels"] == ["rack=7"]


@contextlib.contextmanager
def silent(host: Host) -> Iterator[None]:
    """A host that refuses all connections of this machine."""
    gateway = host.run("ip route show default").split()[2]
    rule = f"INPUT -s {gateway} -p tcp -j REJECT --reject-with tcp-reset"
    host.run(f"iptables -I {rule}")
    try:
        yield
    finally:
        host.run(f"iptables -D {rule}")


def test_a_host_that_is_off_is_stopped_and_no_error(machines: Machines, program: Program) -> None:
    with silent(machines.two):
        row = program.ls("--format", "{{.State}}|{{.URL}}|{{.DockerVersion}}|{{.Error}}", "--filter", "name=two")
        stopped = program.ls("-q", "--filter", "state=stopped").stdout
        url = program("url", "two", code=1)
        started = program("start", "two", code=1)
        killed = program("kill", "two", code=1)

    assert row.stdout in ("Stopped||Unknown|\n", "Stopped|||\n")
    assert stopped == "two\n"
    assert (url.stdout, url.stderr.splitlines()[0]) == ("", "Host is not running")
    assert (started.stdout, started.stderr.splitlines()[0]) == (
        'Starting "two"...\n', "generic driver does not support start")
    assert killed.stderr.splitlines()[0] == 'Machine "two" is already stopped.'


# --- start, stop, kill, restart


@pytest.mark.parametrize("command, error", [
    ("start", 'Machine "web" is already running.'),
    ("stop", "generic driver does not support stop"),
    ("kill", "generic driver does not support kill"),
])
def test_a_generic_host_is_not_switched_on_or_off(
    machines: Machines, program: Program, command: str, error: str
) -> None:
    before = machines.web.started_at(), machines.web.engine_pid(), program.config()

    done = program(command, "web", code=1)

    assert done.stderr.splitlines()[0] == error
    assert (machines.web.started_at(), machines.web.engine_pid(), program.config()) == before


def test_several_that_cannot_be_stopped_have_a_line_each(program: Program) -> None:
    done = program("stop", "web", "gone", "two", code=1)

    lines = [line for line in done.stderr.splitlines() if "docker-machine" not in line or "gone" in line]
    assert lines[0] == "web: generic driver does not support stop", said(done)
    assert '"gone" does not exist' in lines[1]
    assert lines[-1] == "two: generic driver does not support stop"


def test_restart_reboots_the_host_and_comes_back_with_its_engine(machines: Machines, program: Program) -> None:
    machines.web.run_container("always", "--restart", "always")
    machines.web.run_container("once")
    booted = machines.web.started_at()

    done = program("restart", "web")

    connected = program("config", "web", code=None)  # at once, as a script would
    assert connected.returncode == 0, said(connected)
    assert machines.web.started_at() > booted
    lines = done.stdout.splitlines()
    assert lines[0] == 'Restarting "web"...'
    assert "Waiting for SSH to be available..." in lines
    assert lines[-1] == ("Restarted machines may have new IP addresses. You may need to re-run the "
                         "`docker-machine env` command.")
    assert done.stderr == ""
    assert until(lambda: machines.container("always").endswith(" true"))
    assert machines.container("once").endswith(" false")
    machines.web.run("docker rm -f always once")


def test_restart_of_several_at_once(machines: Machines, program: Program) -> None:
    booted = {host.name: host.started_at() for host in (machines.web, machines.two)}

    done = program("restart", "web", "gone", "two", code=1)

    assert all(host.started_at() > booted[host.name] for host in (machines.web, machines.two)), said(done)
    assert '"gone" does not exist' in done.stderr
    assert machines.works("web") and machines.works("two")
    for name in ("web", "two"):
        assert f'Restarting "{name}"...' in done.stdout
        assert any(line.startswith(f"({name}) ") for line in done.stdout.splitlines()), said(done)


@pytest.mark.parametrize("command", ["provision", "restart"])
def test_the_server_certificate_follows_an_address_that_changed(
    machines: Machines, program: Program, command: str
) -> None:
    other = machines.web.add_address()
    program.edit(lambda config: config["Driver"].update(IPAddress=other))
    try:
        refused = program("config", "web", code=1)
        done = program(command, "web")
        connected = program("config", "web", code=None)
    finally:
        program.edit(lambda config: config["Driver"].update(IPAddress=machines.address["web"]))
        program("provision", "web")

    assert "was not made for" in refused.stderr
    assert connected.stdout.endswith(f"\n-H=tcp://{other}:2376\n"), said(done) + said(connected)


# --- upgrade


def package(host: Host) -> str:
    return host.run("dpkg-query -W -f '${Version}' docker.io")


def seem_old(host: Host) -> None:
    """Let the package of the engine seem to be of an earlier release."""
    host.run(r"sed -i '/^Package: docker\.io$/,/^$/s/^Version: .*/Version: 20.10.5+dfsg1-1/' /var/lib/dpkg/status")
    assert package(host) == "20.10.5+dfsg1-1"


def test_upgrade_of_the_newest_engines_restarts_nothing(machines: Machines, program: Program, steady: str) -> None:
    def state() -> list[object]:
        return [(host.engine_pid(), package(host)) for host in (machines.web, machines.two)]

    before = state()

    done = program("upgrade", "web", "two")

    assert (state(), machines.container("steady")) == (before, steady)
    lines = done.stdout.splitlines()
    assert {"(web) Upgrading docker...", "(two) Upgrading docker..."} <= set(lines), said(done)
    assert "Restarting docker..." not in done.stdout
    version = program("version", "web").stdout.strip()
    assert len([line for line in lines if version in line]) == 2, said(done)


def test_upgrade_brings_the_newest_package_and_waits_for_the_engine(machines: Machines, program: Program) -> None:
    newest, pid = package(machines.web), machines.web.engine_pid()
    seem_old(machines.web)

    done = program("upgrade", "web")

    connected = program("config", "web", code=None)  # at once
    assert connected.returncode == 0, said(connected)
    assert package(machines.web) == newest
    assert machines.web.engine_pid() != pid
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in ("Upgrading docker...", "Restarting docker...")] == [
        "Upgrading docker...", "Restarting docker..."]


def test_upgrade_to_a_pinned_version_that_nobody_has_changes_nothing(machines: Machines, program: Program) -> None:
    def pin(version: str) -> None:
        program.edit(lambda config: config["HostOptions"]["EngineOptions"].update(Version=version))

    before = machines.web.engine_pid(), package(machines.web)
    pin("99.9")

    done = program("upgrade", "web", code=1)

    pin("")
    assert "99.9" in done.stderr
    assert (machines.web.engine_pid(), package(machines.web)) == before
    assert machines.works()


# --- certificates


@pytest.mark.parametrize("flags", [(), ("--client-certs",)], ids=["server", "all"])
def test_regenerate_certs_leaves_containers_running(
    machines: Machines, program: Program, steady: str, flags: tuple[str, ...]
) -> None:
    settings = "cat /etc/docker/daemon.json; docker info --format '{{.LiveRestoreEnabled}}'"
    engine = machines.web.run(settings, check=False)
    files = {"ca": program.store / "certs" / "ca.pem", "client": program.store / "certs" / "cert.pem",
             "server": program.folder() / "server.pem"}
    serials = {name: serial(path) for name, path in files.items()}
    key = (program.store / "certs" / "ca-key.pem").read_bytes()

    done = program("regenerate-certs", "--force", *flags, "web")

    assert done.stdout.splitlines()[0] == "Regenerating TLS certificates"
    assert {name for name, path in files.items() if serial(path) != serials[name]} == (
        {"ca", "client", "server"} if flags else {"server"})
    assert (program.store / "certs" / "ca-key.pem").read_bytes() == key
    assert until(lambda: machines.container("steady") == steady), (machines.container("steady"), steady)
    assert machines.web.run(settings, check=False) == engine
    assert machines.works()
    assert machines.works("two")  # its server certificate is of the same authority still
    for copy, original in (("ca.pem", "ca"), ("cert.pem", "client")):
        assert (program.folder() / copy).read_bytes() == files[original].read_bytes()


def test_regenerate_certs_renews_the_certificate_of_a_swarm_manager(machines: Machines, program: Program) -> None:
    """The engine of a swarm does not start with live-restore, which spares containers elsewhere."""
    machines.web.run("docker swarm init --advertise-addr 127.0.0.1")
    before = serial(program.folder() / "server.pem")
    try:
        program("regenerate-certs", "--force", "web")

        assert serial(program.folder() / "server.pem") != before
        assert machines.works()
        assert "active" in machines.web.run("docker info --format '{{.Swarm.LocalNodeState}}'")
    finally:
        machines.web.run("docker swarm leave --force")


@pytest.mark.parametrize("kept", ['{"debug": true}', ""], ids=["a file", "none"])
def test_a_restart_that_was_killed_leaves_no_live_restore_behind(
    machines: Machines, program: Program, kept: str
) -> None:
    folder = "/etc/docker"
    machines.web.write(f"{folder}/daemon.json", '{"live-restore": true}')
    machines.web.write(f"{folder}/daemon.json.spared", kept)

    program("provision", "web")

    left = machines.web.run(f"ls {folder}; cat {folder}/daemon.json", check=False)
    assert "spared" not in left and "live-restore" not in left and kept in left
    machines.web.run(f"rm -f {folder}/daemon.json*")


def openssl(*words: object, stdin: str = "") -> str:
    done = subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, text=True, check=True)
    return done.stdout


def sign(cert: Path, key: Path, authority: Path, days: int, purpose: str, names: str = "") -> None:
    """Replace a certificate by another one for the same key, which ends in so many days."""
    request = openssl("req", "-new", "-key", key, "-subj", "/O=tester")
    extensions = cert.with_suffix(".extensions")
    extensions.write_text(f"extendedKeyUsage={purpose}\n" + (f"subjectAltName={names}\n" if names else ""))
    ca = ("-CA", authority / "ca.pem", "-CAkey", authority / "ca-key.pem", "-set_serial", 4711)
    cert.write_text(openssl("x509", "-req", *ca, "-days", days, "-extfile", extensions, stdin=request))
    extensions.unlink()


def give(machines: Machines) -> None:
    """Let the engine of `web` serve the certificate that is here."""
    machines.web.write("/etc/docker/server.pem", (machines.program.folder() / "server.pem").read_text())
    machines.web.run("systemctl restart docker")


def server_expired(machines: Machines, other: Path) -> None:
    folder = machines.program.folder()
    sign(folder / "server.pem", folder / "server-key.pem", machines.program.store / "certs", -1, "serverAuth",
         f"IP:{machines.address['web']},DNS:localhost")
    give(machines)


def server_of_another_address(machines: Machines, other: Path) -> None:
    folder = machines.program.folder()
    sign(folder / "server.pem", folder / "server-key.pem", machines.program.store / "certs", 90, "serverAuth",
         "IP:192.0.2.1,DNS:localhost")
    give(machines)


def server_of_another_authority(machines: Machines, other: Path) -> None:
    folder = machines.program.folder()
    sign(folder / "server.pem", folder / "server-key.pem", other, 90, "serverAuth",
         f"IP:{machines.address['web']},DNS:localhost")
    give(machines)


def client_expired(machines: Machines, other: Path) -> None:
    certs = machines.program.store / "certs"
    sign(certs / "cert.pem", certs / "key.pem", certs, -1, "clientAuth")
    shutil.copy(certs / "cert.pem", machines.program.folder() / "cert.pem")


def client_of_another_authority(machines: Machines, other: Path) -> None:
    certs = machines.program.store / "certs"
    sign(certs / "cert.pem", certs / "key.pem", other, 90, "clientAuth")
    shutil.copy(certs / "cert.pem", machines.program.folder() / "cert.pem")


def authority_expired(machines: Machines, other: Path) -> None:
    certs = machines.program.store / "certs"
    cert, key = certs / "ca.pem", certs / "ca-key.pem"
    cert.write_text(openssl("x509", "-in", cert, "-days", -1, "-signkey", key))
    shutil.copy(cert, machines.program.folder() / "ca.pem")


@pytest.mark.parametrize("damage, words", [
    (server_expired, "expired"), (server_of_another_address, "was not made for"),
    (server_of_another_authority, "another CA"), (client_expired, "expired"),
    (client_of_another_authority, "client certificate"), (authority_expired, "expired"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_the_command_that_an_error_names_mends_the_certificate(
    machines: Machines, program: Program, tmp_path_factory: pytest.TempPathFactory, damage, words: str
) -> None:
    other = Program(tmp_path_factory.mktemp("other"))
    other("create", "--driver", "none", "--url", "tcp://192.0.2.1:2376", "other")
    damage(machines, other.store / "certs")

    config, env = program("config", "web", code=None), program("env", "--shell", "sh", "web", code=None)
    commands = re.findall(r"docker-machine ((?:regenerate-certs|provision)\b[\w -]*web)", config.stderr)
    for line in commands[:1]:
        program(*line.split(), stdin="y\n")
    mended = program("config", "web", code=None)
    program("regenerate-certs", "--force", "--client-certs", "web", "two")  # for the next test in any case

    assert (config.returncode, config.stdout) == (1, "") and config.stderr.startswith("Error running connection boil")
    assert (env.returncode, env.stdout) == (1, "") and env.stderr.startswith("Error checking TLS connection: ")
    assert words in config.stderr and words in env.stderr, said(config)
    assert commands, said(config)
    assert mended.returncode == 0, said(mended)


# --- ssh


def test_ssh_hands_the_terminal_over(program: Program) -> None:
    here, there = pty.openpty()
    with subprocess.Popen(program.argv("ssh", "web"), stdin=there, stdout=there, stderr=there, env=program.environ,
                          start_new_session=True) as process:
        os.close(there)
        os.write(here, b"test -t 0 && echo with''out doubt; stty size; exit 37\n")
        output = b""
        with contextlib.suppress(OSError):
            while not output.endswith(b"logout\r\n"):
                output += os.read(here, 4096)
        code = process.wait(60)
    os.close(here)

    assert b"without doubt" in output
    assert code == 37


def test_ssh_forwards_ports_as_the_real_one_does(machines: Machines, program: Program) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    argv = program.argv("ssh", "web", "-N", "-L", f"127.0.0.1:{port}:/var/run/docker.sock")

    def answer() -> Done[str] | None:
        done = program.outside("curl", "-s", "--noproxy", "*", f"http://127.0.0.1:{port}/version", code=None)
        return done if done.returncode == 0 else None

    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=program.environ) as process:
        done = until(answer)
        process.terminate()

    assert isinstance(done, subprocess.CompletedProcess) and "ApiVersion" in done.stdout


@pytest.mark.parametrize("words, stdout, code", [
    (("-o", "LogLevel=QUIET", "true"), "", 0), (("-T", "echo", "$0", "a"), None, 0),
    (("-o", "SetEnv=LC_TEST=here", "echo", "$LC_TEST"), "here\n", 0), (("-q", "exit", "255"), "", 255),
    (("false",), "", 1), (("kill", "-9", "$$"), "", 255), (("no-such-program",), "", 127),
])
def test_ssh_takes_flags_of_ssh_and_gives_back_the_exit_code(
    program: Program, words: tuple[str, ...], stdout: str | None, code: int
) -> None:
    done = program("ssh", "web", *words, code=code)

    assert stdout is None or done.stdout == stdout


def test_ssh_goes_to_the_port_of_the_machine(machines: Machines, program: Program) -> None:
    done = program("ssh", "two", "echo", "$SSH_CONNECTION", "$(id", "-un)")

    assert done.stdout.split()[2:] == [machines.address["two"], "2222", "ops"]


def test_ssh_passes_bytes_through(program: Program) -> None:
    data = bytes(range(256)) * 4096

    done = subprocess.run(program.argv("ssh", "web", "cat"), input=data, capture_output=True, env=program.environ,
                          timeout=HANG, check=True)

    assert done.stdout == data


# --- scp


def test_scp_between_machines_on_different_ports(machines: Machines, program: Program) -> None:
    machines.web.run("mkdir -p /root/tree/below && echo text > '/root/tree/below/a b' && chmod 750 /root/tree/below")

    program("scp", "-r", "-q", "web:/root/tree", "two:copied tree")
    program("scp", "two:copied tree/below/a b", "root@web:/root/back")

    assert machines.two.run("cat '/home/ops/copied tree/below/a b'; stat -c %U '/home/ops/copied tree'") == "text\nops"
    assert machines.web.run("cat /root/back") == "text"


def test_scp_keeps_the_order_of_source_and_destination(machines: Machines, program: Program, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("from here")

    program("scp", str(tmp_path / "new"), "-r", "two:/home/ops/")

    assert machines.two.run("cat /home/ops/new/file") == "from here"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["file"]


@pytest.fixture(scope="module")
def with_rsync(machines: Machines) -> Machines:
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed here")
    machines.two.run("apt-get update -qq && apt-get install -y -qq --no-install-recommends rsync")
    return machines


def test_scp_delta_sends_the_difference_alone(with_rsync: Machines, program: Program, tmp_path: Path) -> None:
    data = bytearray(os.urandom(2_000_000))
    (tmp_path / "it's big").write_bytes(data)
    program("scp", "-d", str(tmp_path / "it's big"), "two:big")
    data[1_000_000:1_000_010] = b"0123456789"
    (tmp_path / "it's big").write_bytes(data)
    os.utime(tmp_path / "it's big", (1, 1))  # or the change may be of the same second as the copy

    done = program("scp", "--delta", str(tmp_path / "it's big"), "two:big")
    quiet = program("scp", "-d", "-q", "two:big", str(tmp_path / "back"))

    assert (tmp_path / "back").read_bytes() == data
    assert "it's big" in done.stdout and "100%" in done.stdout
    assert quiet.stdout == ""
    speedup = re.search(r"speedup is ([\d.,]+)", done.stdout)
    assert speedup is None or float(speedup.group(1).replace(",", "")) > 5


def test_scp_delta_copies_folders_with_recursive(with_rsync: Machines, program: Program, tmp_path: Path) -> None:
    (tmp_path / "tree" / "a b").mkdir(parents=True)
    (tmp_path / "tree" / "a b" / "file").write_text("text")

    program("scp", "-r", "-d", "-q", str(tmp_path / "tree"), "ops@two:/home/ops/mirror")
    program("scp", "-d", "-r", "-q", "two:/home/ops/mirror/tree/", f"{tmp_path}/back")

    assert (tmp_path / "back" / "a b" / "file").read_text() == "text"


def test_scp_delta_fails_with_rsyncs_own_code(with_rsync: Machines, program: Program, tmp_path: Path) -> None:
    done = program("scp", "-d", "two:/no/such/file", str(tmp_path), code=23)

    assert "No such file" in done.stderr


def test_scp_delta_between_two_machines_is_refused(program: Program) -> None:
    done = program("scp", "-d", "web:/etc/hostname", "two:x", code=2)

    assert "rsync" in done.stderr


# --- mount


@pytest.fixture
def fuse() -> None:
    for name in ("sshfs", "fusermount"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"file systems in user space cannot be mounted here: {error}")


@pytest.mark.usefixtures("fuse")
def test_mount_shows_a_folder_of_the_machine_until_it_is_unmounted(
    machines: Machines, program: Program, tmp_path: Path
) -> None:
    machines.two.run("mkdir -p '/home/ops/my share'; echo there > '/home/ops/my share/file'; chown -R ops /home/ops")
    point = tmp_path / "a point"
    point.mkdir()

    program("mount", "two:/home/ops/my share", str(point))
    try:
        read = (point / "file").read_text()
        (point / "new").write_text("from here")
        mounted = os.path.ismount(point)
    finally:
        program("mount", "-u", "two:/home/ops/my share", str(point))

    assert (read, mounted) == ("there\n", True)
    assert machines.two.run("cat '/home/ops/my share/new'; stat -c %U '/home/ops/my share/new'") == "from hereops"
    assert not os.path.ismount(point) and list(point.iterdir()) == []


@pytest.mark.usefixtures("fuse")
def test_mount_takes_the_path_there_for_the_path_here(machines: Machines, program: Program, tmp_path: Path) -> None:
    machines.web.run(f"mkdir -p '{tmp_path}' && echo text > '{tmp_path}/file'")

    program("mount", f"root@web:{tmp_path}")
    try:
        read = (tmp_path / "file").read_text()
    finally:
        program("mount", "--unmount", f"web:{tmp_path}")

    assert read == "text\n"


@pytest.mark.usefixtures("fuse")
def test_a_folder_that_is_not_there_cannot_be_mounted(program: Program, tmp_path: Path) -> None:
    done = program("mount", "web:/no/such/folder", str(tmp_path), code=None)

    assert done.returncode != 0 and "/no/such/folder" in done.stderr, said(done)
    assert not os.path.ismount(tmp_path)


# --- the end


def test_rm_forgets_the_machine_and_leaves_the_host_alone(
    machines: Machines, program: Program, tmp_path: Path
) -> None:
    copy = program.copy(tmp_path)
    running = machines.web.engine_pid(), machines.two.engine_pid()

    asked = copy("rm", "w*", stdin="n\n")
    done = copy("rm", "-y", "t?o", "web")

    assert asked.stdout.startswith("About to remove web\n") and "Successfully" not in asked.stdout
    assert done.stdout.splitlines()[0] == "About to remove two, web"
    assert sorted(done.stdout.splitlines()[-2:]) == ["Successfully removed two", "Successfully removed web"]
    assert copy.names() == [] and not (copy.store / "machines" / "web").exists()
    assert (machines.web.engine_pid(), machines.two.engine_pid()) == running
    assert stat.S_IMODE(copy.store.stat().st_mode) == 0o700
