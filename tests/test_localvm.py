"""LocalVM, by a driver whose machines are sleeping processes (tests/drivers/sleeper.py): sizes, ports, the seed, what
is told of a machine that went off."""

import contextlib
import json
import os
import re
import socket
import stat
from pathlib import Path

import pytest
from conftest import ROOT
from contract import CHECKS, Subject
from machines import Machines
from test_seed import CD

import docker_machine as core

IMAGE = "The kernel says hello.\n"


@pytest.fixture
def sleeper(dm, drivers, monkeypatch):
    """The class of the driver, as the program loads it."""
    dm.env["MACHINE_DRIVER_PATH"] = str(ROOT / "tests" / "drivers")
    monkeypatch.setenv("MACHINE_DRIVER_PATH", dm.env["MACHINE_DRIVER_PATH"])
    return core.load_driver("sleeper")


class SleeperMachines(Machines):
    """Machines whose disks are copies of the file `image`."""

    def __init__(self, store, driver_class, folder):
        self.image = folder / "image"
        self.image.write_text(IMAGE)
        super().__init__(store, driver_class, folder, image=self.image)

    def ports(self, name="web"):
        return [self.stored(name)[key] for key in ("SSHPort", "EnginePort")]


@pytest.fixture
def here(store, sleeper, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    made = SleeperMachines(store, sleeper, tmp_path)
    yield made
    for name in store.names():
        with contextlib.suppress(core.MachineError):  # of an entry that cannot be read
            machine = store.machine(name)
            if machine.driver_name == "sleeper":
                machine.driver.kill()


@pytest.fixture
def soon(here, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    return ["create", "-d", "sleeper", "--sleeper-image=%s" % here.image]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__[len("check_"):])
def test_it_keeps_the_promises_of_all_drivers(here, request, check):
    check(Subject("sleeper", request.getfixturevalue))


def test_a_machine_by_the_commands(here, call, soon):
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err
    assert call("status", "web").out == "Running\n" and call("ip", "web").out == "127.0.0.1\n"
    assert call("url", "web").out == "tcp://127.0.0.1:%d\n" % here.ports()[1]
    assert call("stop", "web").code == 0 and call("status", "web").out == "Stopped\n"
    ended = call("provision", "web")  # which starts it
    assert ended.code == 1 and "SSH did not answer" in ended.err and call("status", "web").out == "Running\n"
    assert call("kill", "web").code == 0 and call("status", "web").out == "Stopped\n"
    row = call("ls", "-t", "5").out.splitlines()[1]
    assert row.split()[:4] == ["web", "-", "sleeper", "Stopped"]
    assert call("rm", "-y", "web").code == 0 and here.store.names() == []


# --- CPUs, memory and disk

def test_minus_one_is_as_many_cpus_as_this_computer_has(here, monkeypatch):
    assert here.machine(cpu_count=-1).driver.cpus() == min(os.cpu_count() or 1, 64)
    assert here.machine(cpu_count=-1).driver["CPU"] == -1  # another computer may have more
    monkeypatch.setattr(here.driver_class, "most_cpus", 1)
    assert here.machine(cpu_count=-1).driver.cpus() == 1


def test_a_number_of_cpus_is_what_the_machine_gets(here):
    assert here.machine(cpu_count=3).driver.cpus() == 3


@pytest.mark.skipif(not core.total_memory(), reason="this system does not tell how much memory it has")
def test_more_memory_than_this_computer_has_is_refused(here, call, soon):
    there = core.total_memory()
    assert (here.machine(memory=there).driver.pre_create_check(), there > 16) == (None, True)
    ended = call(*(soon + ["--sleeper-memory=%d" % (there + 1), "web"]))
    assert ended.code == 3 and "--sleeper-memory %d is more than the %d MB" % (there + 1, there) in ended.err
    (less,) = re.findall(r"Give less: --sleeper-memory (\d+)$", ended.err.strip(), re.M)
    assert 16 <= int(less) < there and here.store.names() == []


def test_a_disk_that_is_smaller_than_its_image_is_refused_with_the_size_that_would_do(here, call, soon):
    driver = here.machine(disk_size=1).driver
    driver.check_disk(1 << 20)
    for size, least in (((1 << 20) + 1, 2), (5 << 20, 5), ((5 << 20) + 1, 6)):
        with pytest.raises(core.UsageError) as failure:
            driver.check_disk(size)
        assert failure.value.hint == "Give at least %d." % least
    here.image.write_bytes(b"x" * ((1 << 20) + 1))
    ended = call(*(soon + ["--sleeper-disk-size=1", "web"]))
    assert ended.code == 3 and "--sleeper-disk-size 1 is less than the image's own size." in ended.err
    assert here.store.names() == []


# --- ports

def test_ports_are_chosen_free_and_stay_the_machines(here):
    driver = here.create().driver
    chosen = here.ports()
    assert len(set(chosen)) == 2 and set(chosen) <= set(core.PORTS)
    assert all(core.port_trouble(port) for port in chosen)  # the machine listens at them
    for _ in range(2):
        driver.stop()
        assert not any(core.port_trouble(port) for port in chosen)
        driver.start()
        assert here.ports() == chosen and all(core.port_trouble(port) for port in chosen)
    assert driver.get_url() == "tcp://127.0.0.1:%d" % chosen[1] and driver.get_ssh_port() == chosen[0]


def test_a_creation_that_is_taken_up_again_keeps_its_ports(here):
    here.create()
    chosen = here.ports()
    here.load().driver.kill()
    here.load().driver.create()
    assert here.ports() == chosen


@pytest.mark.parametrize("key, what", [("SSHPort", "SSH"), ("EnginePort", "Docker Engine")])
def test_a_port_that_a_program_took_while_the_machine_was_off_is_exchanged(here, capsys, key, what):
    driver = here.create().driver
    driver.stop()
    before, chosen = driver[key], dict(zip(("SSHPort", "EnginePort"), here.ports()))
    with socket.socket() as program:
        program.bind(("127.0.0.1", before))
        program.listen(1)
        capsys.readouterr()
        driver.start()
        said = capsys.readouterr().err
    after = here.stored()[key]
    assert after != before and core.port_trouble(after)
    assert {other: here.stored()[other] for other in chosen if other != key} == {
        other: port for other, port in chosen.items() if other != key}
    assert said == "Warning: Port %d is taken by another program; %s of web is at port %d now%s.\n" % (
        before, what, after, " (run docker-machine env again)" if key == "EnginePort" else "")


def test_machines_that_are_off_keep_their_ports_from_others(here, monkeypatch):
    """...whatever their driver is; what cannot be read counts for nothing."""
    first = core.free_port([])
    while any(core.port_trouble(port) for port in range(first, first + 6)):
        first = core.free_port([])
    monkeypatch.setattr(core, "PORTS", range(first, first + 6))
    other = here.store.new("other", core.GenericDriver)
    other.driver["SSHPort"], other.driver["EnginePort"] = first, first + 5
    here.store.add(other)
    (Path(here.store.machines) / "broken").mkdir()
    (Path(here.store.machines) / "broken" / "config.json").write_text('{"Driver": 7}')
    for name in ("a", "b"):
        here.create(name).driver.stop()
    assert sorted(here.ports("a") + here.ports("b")) == list(range(first + 1, first + 5))
    with pytest.raises(core.MachineError, match="There is no free port on 127.0.0.1"):
        here.create("c")


# --- the seed

def seed(here, name="web"):
    """{name: text} of what the machine's CD holds."""
    cd = CD(Path(here.store.folder(name), "seed.iso").read_bytes())
    assert cd.label == "cidata"
    return {name.lower(): data.decode() for name, data in cd.files().items()}


def test_the_seed_has_the_keys_the_name_and_what_the_driver_adds(here):
    driver = here.create("my-web").driver
    files = seed(here, "my-web")
    assert set(files) == {"user-data", "meta-data", "network-config"}
    first, _, text = files["user-data"].partition("\n")
    data = json.loads(text)
    assert first == "#cloud-config" and data["hostname"] == "my-web" and data["runcmd"] == [["true"]]
    (user,) = data["users"]
    assert user["name"] == driver.get_ssh_username() == "docker"
    assert user["ssh_authorized_keys"] == [Path(driver.path("id_rsa.pub")).read_text().strip()]
    pinned = Path(driver.path("known_hosts")).read_text().split()
    assert pinned[1:3] == data["ssh_keys"]["ed25519_public"].split()[:2]
    assert json.loads(files["meta-data"]) == {"instance-id": driver["UUID"], "local-hostname": "my-web"}
    assert json.loads(files["network-config"]) == {"ethernets": {}, "version": 2}
    private = Path(driver.path("id_rsa")).read_text().splitlines()[2]
    assert private not in "".join(files.values())


def test_the_seed_is_private_since_it_holds_the_hosts_key(here):
    here.create()
    assert stat.S_IMODE(os.stat(here.load().driver.path("seed.iso")).st_mode) == 0o600


def test_without_a_network_configuration_the_image_has_its_own(here):
    driver = here.create().driver
    driver.write_seed("seed.iso")
    assert set(seed(here)) == {"user-data", "meta-data"} and "runcmd" not in seed(here)["user-data"]


def test_a_seed_is_made_again_as_it_was(here):
    """...so that cloud-init does not take the machine for a new one when a creation is taken up again."""
    driver = here.create().driver
    before = Path(driver.path("seed.iso")).read_bytes()
    driver.kill()
    here.load().driver.create()
    assert Path(driver.path("seed.iso")).read_bytes() == before


# --- on and off

def test_a_restart_is_another_boot(here):
    driver = here.create().driver
    first = Path(driver.path("pid")).read_text()
    driver.restart()
    assert driver.get_state() == core.RUNNING and Path(driver.path("pid")).read_text() != first
    assert Path(driver.path("console.log")).read_text() == 2 * IMAGE


def test_a_machine_that_goes_off_while_it_boots_is_told_at_once_with_its_last_words(here, call, soon, monkeypatch):
    monkeypatch.setattr(here.driver_class, "boot_seconds", 600)  # which are not waited for
    here.image.write_text("Unpacking...\n\x1b[31mCannot find root.\x1b[0m\npanic\n")
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "\x1b" not in ended.err
    assert "The machine went off while it booted. Its console said last: Unpacking... " in ended.err
    assert "panic\nTake another image.\n" in ended.err and "docker-machine rm web" in ended.err
    assert call("status", "web").out == "Stopped\n"
    assert call("rm", "-y", "web").code == 0


def said_last(here, text):
    """What went_off() tells of a console that said so."""
    machine = here.machine()
    os.makedirs(machine.folder, exist_ok=True)
    path = Path(machine.driver.path("console.log"))
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = machine.driver.went_off().message
    if text is not None:
        path.unlink()
    os.rmdir(machine.folder)
    return message.partition("said last: ")[2]


@pytest.mark.parametrize("lines", [1, 10, 100, 1000, 10000])
def test_the_last_words_are_the_last_however_much_was_said(here, lines):
    text = "".join("[%5d] line %d of the log\n" % (number, number) for number in range(lines))
    said = said_last(here, text + "Kernel panic - not syncing\n")
    assert said.endswith("Kernel panic - not syncing") and len(said) <= 500
    assert said.startswith("[ 0] line 0 of the log") == (lines <= 10)


@pytest.mark.parametrize("text, said", [(None, "nothing"), ("", "nothing"), (" \n\n", "nothing"),
                                        (b"\xff\x00ok", "\ufffd ok"), ("\u00e9" * 3000, "\u00e9" * 500)])
def test_odd_consoles_are_told_too(here, text, said):
    assert said_last(here, text) == said
