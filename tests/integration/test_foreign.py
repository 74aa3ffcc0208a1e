"""Hosts that others have set up before: their engine's options stay, and their store is not locked out unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testbed import BUSYBOX_IMAGE, Host

from .conftest import HostFactory
from .program import Program, all_files, engine_process, said

pytest_plugins = (f"{__package__}.fixtures",)

DEFAULTS = "/etc/default/docker"
UNIT = "/etc/systemd/system/docker.service"
DROP_IN = "/etc/systemd/system/docker.service.d/{}.conf"


def restarted(host: Host) -> Host:
    """The host with an engine that has an image, after its configuration was changed."""
    host.run("mkdir -p /srv/d && systemctl daemon-reload && systemctl restart docker")
    host.load_image()
    return host


def keeps_its_images(program: Program, host: Host, *options: str) -> None:
    done = program.create(host)

    assert BUSYBOX_IMAGE in program.docker("images").stdout, said(done)
    assert program.config()["HostOptions"]["EngineOptions"]["ArbitraryFlags"] == list(options)
    assert f"keeps its options: --{' --'.join(options)}" in done.stdout
    assert {f"--{option}" for option in options} <= set(engine_process(host, "cmdline"))


def test_options_of_debians_variable_file_stay(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    options = "--data-root=/srv/d --bip 10.98.7.1/24 --mtu=1400 -s vfs"
    machine.write(DEFAULTS, f'#DOCKER_OPTS="--dns 192.0.2.1"\nDOCKER_OPTS="{options}"\n')
    restarted(machine)

    keeps_its_images(program, machine, "data-root=/srv/d", "bip=10.98.7.1/24", "mtu=1400", "storage-driver=vfs")

    info = program.info()
    assert (info["DockerRootDir"], info["Driver"]) == ("/srv/d", "vfs")
    assert "10.98.7.1/24" in machine.run("ip -4 address show docker0")
    pid = machine.engine_pid()
    assert "Everything is in place" in program("provision", "web").stdout
    assert machine.engine_pid() == pid


@pytest.mark.parametrize("active", [True, False], ids=("running", "stopped"))
def test_options_of_a_whole_unit_of_the_users_stay(host: HostFactory, program: Program, active: bool) -> None:
    machine = host("engine")
    machine.run(f"sed 's#^ExecStart=.*#ExecStart=/usr/sbin/dockerd --data-root \"/srv/d\" $MORE -H fd://#' "
                f"/lib/systemd/system/docker.service > {UNIT}")
    machine.write(DROP_IN.format("00-more"), "[Service]\nEnvironment=MORE=--icc=false\n")
    restarted(machine)
    if not active:
        machine.run("systemctl stop docker.socket docker.service")

    keeps_its_images(program, machine, "data-root=/srv/d", "icc=false")


def test_a_drop_in_that_sorts_before_ours_stays(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    machine.write(DROP_IN.format("00-root"),
                  "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -g /srv/d --live-restore\n")
    machine.run("sed -i 's/ -g / --data-root /' " + DROP_IN.format("00-root"))
    restarted(machine)

    keeps_its_images(program, machine, "data-root=/srv/d", "live-restore")


@pytest.mark.parametrize(("path", "text", "words"), [
    (DEFAULTS, 'DOCKER_OPTS="-H tcp://127.0.0.1:2375"\n', "--host=tcp://127.0.0.1:2375"),
    (DROP_IN.format("zz-last"), "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd://\n", "overrides"),
])
def test_what_cannot_stay_is_refused_with_its_place(
    host: HostFactory, program: Program, path: str, text: str, words: str
) -> None:
    machine = host("engine")
    machine.write(path, text)
    if words.startswith("--"):
        restarted(machine)  # else systemd has not even read it
    before = all_files(machine)

    done = program.create(machine, code=3)

    assert words in done.stderr and path in done.stderr, said(done)
    assert all_files(machine) == before and not program.store.exists()


def test_another_stores_machine_is_not_taken_over_unasked(
    host: HostFactory, program: Program, tmp_path: Path
) -> None:
    machine = host("engine")
    program.create(machine, "--engine-opt", "data-root=/srv/d")
    machine.load_image()
    before = all_files(machine)
    second = Program(tmp_path / "second")

    done = second.create(machine, name="mine", code=3)

    assert "is another store's" in done.stderr and "--engine-take-over" in done.stderr, said(done)
    assert all_files(machine) == before and program.info()["Name"] == "web"
    assert "another store" not in program.create(machine, name="again").stderr  # its own store may
    second.create(machine, "--engine-take-over", name="mine")
    assert second.info("mine")["DockerRootDir"] == "/srv/d"
    assert "was signed by another CA" in program("version", "web", code=1).stderr


def test_a_daemon_json_of_blanks_does_not_take_the_engine_down(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    machine.write("/etc/docker/daemon.json", " \n\n")

    program.create(machine)

    assert program.info()["Name"] == "web"
    assert machine.run("cat /etc/docker/daemon.json").strip() == "{}"


@pytest.mark.parametrize("text", ["[" * 3000 + "]" * 3000, '{"labels": ["\\ud800"]}', '{"a": '])
def test_a_damaged_daemon_json_is_refused_before_anything_is_changed(
    host: HostFactory, program: Program, text: str
) -> None:
    machine = host("engine")
    machine.write("/etc/docker/daemon.json", text)
    before = all_files(machine)

    done = program.create(machine, code=3)

    assert "daemon.json on the host is not valid" in done.stderr, said(done)
    assert all_files(machine) == before


def test_all_refusals_of_daemon_json_come_at_once(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    machine.write("/etc/docker/daemon.json", '{"hosts": ["fd://"], "tlscacert": "/x", "storage-driver": "vfs"}')

    done = program.create(machine, "--engine-storage-driver", "overlay2", code=3)

    assert all(key in done.stderr for key in ("hosts", "tlscacert", "storage-driver")), said(done)


@pytest.mark.parametrize("noise", ["printf Welcome", "echo 'clock: 12:30'", "echo 'init: x'", "date +%s.%N"])
def test_what_a_login_shell_prints_harms_nothing(host: HostFactory, program: Program, noise: str) -> None:
    machine = host("engine")
    machine.write("/root/.bashrc", noise + "\n")

    program.create(machine)

    assert program.info()["Name"] == "web"
    assert "Everything is in place" in program("provision", "web").stdout


def test_a_login_that_prints_for_ever_is_ended_soon(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    machine.write("/root/.bashrc", "exec yes Welcome\n")

    done = program.create(machine, code=3)

    assert "prints without end" in done.stderr, said(done)


def test_a_name_of_ssh_config_alone_is_refused_with_its_address(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    with ssh_config(f"Host office\n  HostName {machine.ip}\n  RemoteCommand date\n"):
        done = program("create", "-d", "generic", "--generic-ip-address", "office", "--generic-ssh-key",
                       str(machine.key), "web", code=3)
        assert '"office\\" is a name of your ssh_config' in done.stderr.replace('\\"office', '"office'), said(done)
        assert f"--generic-ip-address {machine.ip}" in done.stderr and not program.store.exists()


def test_a_remote_command_of_ssh_config_does_not_get_into_the_way(host: HostFactory, program: Program) -> None:
    machine = host("engine")
    with ssh_config(f"Host {machine.ip}\n  RemoteCommand date\n"):
        program.create(machine)
        assert program("ssh", "web", "echo there").stdout == "there\n"
        program("scp", "web:/etc/hostname", str(program.temporary / "got"))


class ssh_config:
    """The user's own ~/.ssh/config for a while; ssh finds it by the passwd entry, not by HOME."""

    def __init__(self, text: str) -> None:
        self.path, self.text = Path.home() / ".ssh" / "config", text

    def __enter__(self) -> None:
        self.before = self.path.read_text() if self.path.exists() else None
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self.path.write_text(self.text)

    def __exit__(self, *unused: object) -> None:
        if self.before is None:
            self.path.unlink()
        else:
            self.path.write_text(self.before)
