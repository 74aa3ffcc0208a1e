"""`pause`, what resumes, and the wait for a boot, with a driver that keeps its machine's state in a file."""

import sys
import textwrap
import time

import pytest
from conftest import HANG

import docker_machine as core

DRIVER = """
    import os
    from docker_machine import STATES, Driver, MachineError

    class FileDriver(Driver):
        \"\"\"Its machine is the file "state" in its folder; "log" is what was asked of it.\"\"\"

        name = "file"
        provisions = False

        def path(self, name):
            return os.path.join(self.folder, name)

        def note(self, verb, state):
            with open(self.path("log"), "a") as file:
                file.write(verb + "\\n")
            if os.path.exists(self.path("fails")):
                raise MachineError("the host is out of order", "Mend the host.")
            with open(self.path("state"), "w") as file:
                file.write(state)

        def create(self):
            self.note("create", "Running")

        def get_state(self):
            with open(self.path("state")) as file:
                states = file.read().split()
            with open(self.path("state"), "w") as file:  # one step further at each look
                file.write(" ".join(states[1:] or states))
            assert states[0] in STATES
            return states[0]

        def engine_url(self):
            return "tcp://127.0.0.1:9"

        def start(self):
            self.note("start", "Starting Running")

        def stop(self):
            self.note("stop", "Stopped")

        def kill(self):
            self.note("kill", "Stopped")

        def restart(self):
            self.note("restart", "Running")
"""
PAUSE = """
        def pause(self):
            self.note("pause", "Running Paused")
"""


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "drivers"
    made.mkdir()
    (made / "file.py").write_text(textwrap.dedent(DRIVER + PAUSE))
    return made


@pytest.fixture
def power(call, drivers, folder, store, dm):
    """power(words...): a command while a machine "web" of the driver is there, running."""
    def run(*words):
        return call(*words, MACHINE_DRIVER_PATH=folder)
    assert run("create", "-d", "file", "web").code == 0
    return run


def state(dm, text=None, name="web"):
    path = dm.store / "machines" / name / "state"
    if text:
        path.write_text(text)
    return path.read_text()


def log(dm, name="web"):
    return (dm.store / "machines" / name / "log").read_text().split()


def test_pause_holds_a_machine_and_waits_until_it_is_held(power, dm):
    ended = power("pause", "web")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == 'Pausing "web"...\nMachine "web" was paused.\n'
    assert (log(dm), state(dm)) == (["create", "pause"], "Paused")
    assert power("status", "web").out == "Paused\n"


@pytest.mark.parametrize("now", ["Stopped", "Paused", "Saved", "Starting", "Error"])
def test_pause_is_for_machines_that_run(power, dm, now):
    state(dm, now)
    ended = power("pause", "web")
    assert (ended.code, log(dm)) == (1, ["create"])
    words = "already paused" if now == "Paused" else "not running, but " + now
    assert ended.err.startswith('Machine "web" is %s.' % words)


def test_a_driver_that_cannot_pause_says_so_and_what_is_possible(power, folder, drivers, dm):
    core.DRIVERS.pop("file")
    sys.modules.pop("docker_machine_driver_file")
    (folder / "file.py").write_text(textwrap.dedent(DRIVER))
    ended = power("pause", "web")
    assert ended.code == 1 and state(dm) == "Running"
    assert ended.err.startswith("file driver does not support pause\n") and len(ended.err.splitlines()) == 2


@pytest.mark.parametrize("name", ["none", "generic"])
def test_built_in_drivers_cannot_pause(store, name):
    sentence = "^(generic driver does not support pause|hosts without a driver cannot be paused)$"
    with pytest.raises(core.MachineError, match=sentence) as failure:
        store.new("web", core.DRIVERS[name]).driver.pause()
    assert failure.value.hint


def test_what_the_driver_says_of_a_failed_pause_is_told(power, dm):
    (dm.store / "machines" / "web" / "fails").write_text("")
    ended = power("pause", "web")
    assert (ended.code, state(dm)) == (1, "Running")
    assert ended.err == "the host is out of order\nMend the host.\n"


def test_pause_takes_several_machines_and_one_that_fails_stops_no_other(power, dm):
    for name in ("a", "b"):
        assert power("create", "-d", "file", name).code == 0
    state(dm, "Stopped", "a")
    ended = power("pause", "a", "web", "b")
    assert ended.code == 1 and 'Machine "a" is not running, but Stopped.' in ended.err
    assert [state(dm, name=name) for name in ("a", "web", "b")] == ["Stopped", "Paused", "Paused"]


def test_pause_without_a_name_is_for_default(power, dm):
    ended = power("pause")
    assert ended.code == 1 and 'no "default" machine' in ended.err
    assert power("create", "-d", "file", "default").code == 0
    assert power("pause").code == 0
    assert (state(dm, name="default"), state(dm)) == ("Paused", "Running")


@pytest.mark.parametrize("verb", ["start", "restart"])
@pytest.mark.parametrize("now", ["Paused", "Saved", "Stopped"])
def test_start_and_restart_resume_what_does_not_run(power, dm, verb, now):
    state(dm, now)
    ended = power(verb, "web")
    assert (ended.code, ended.err) == (0, "")
    assert (log(dm), state(dm)) == (["create", "start"], "Running")
    assert 'Machine "web" was started.\n' in ended.out


def test_restart_of_a_machine_that_runs_is_the_drivers_own(power, dm):
    assert power("restart", "web").code == 0
    assert log(dm) == ["create", "restart"]


def test_restart_of_a_machine_that_starts_only_waits(power, dm):
    state(dm, "Starting Starting Running")
    assert power("restart", "web").code == 0
    assert (log(dm), state(dm)) == (["create"], "Running")


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_paused_machine_can_be_stopped(power, dm, verb):
    assert power("pause", "web").code == 0
    assert power(verb, "web").code == 0
    assert log(dm)[-1] == verb and state(dm) == "Stopped"


def test_ls_shows_a_paused_machine_without_an_address_and_no_error(power, dm):
    power("pause", "web")
    assert power("ls", "--format", "{{.State}}|{{.URL}}|{{.Error}}").out == "Paused||\n"
    assert power("ls", "-q", "--filter", "state=Paused").out == "web\n"
    assert power("url", "web").code == 1


# --- the wait for a boot

SSH = """\
echo "$*" >> {log}
[ "$(wc -l < {log})" -gt {failures} ] || {{
    echo "ssh: connect to host 192.0.2.7 port 22: Connection refused" >&2
    exit 255
}}
{then}"""


@pytest.fixture
def ssh(bin_folder, tmp_path, monkeypatch):
    """ssh(failures): an SSH whose program refuses so many times, and runs its input in a shell afterwards."""
    path = tmp_path / "ssh.log"

    def make(failures, then="exec sh -s"):
        path.write_text("")
        words = ("sh", "cat", "sed", "id", "date", "uname", "wc", "tr", "rm", "mkfifo", "mktemp",
                 "openssl", "sleep")
        log = core.quote(str(path))
        script = SSH.format(log=log, failures=failures, then=then.format(log=log))
        monkeypatch.setenv("PATH", str(bin_folder(*words, ssh=script)))
        known = tmp_path / "machine"
        known.mkdir()
        return core.SSH("web").aim("192.0.2.7", 22, "root", known_hosts=str(known / "known_hosts"))

    make.tries = lambda: len(path.read_text().splitlines())  # type: ignore[attr-defined]
    return make


def test_a_connection_that_two_threads_close_is_closed_once(bin_folder, monkeypatch):
    """The second must not close the descriptor of the folder, which may be another's by then."""
    client = core.SSH("web")
    core.write_atomic(core.join(client.folder(), "s"), "")
    client.host = "192.0.2.7"
    monkeypatch.setenv("PATH", str(bin_folder("sleep", ssh="sleep .3")))
    assert core.each(lambda number: client.close(), range(2)) == [None, None]


def test_a_probe_tries_until_the_host_answers_and_looks_at_the_machine_before_each_try(ssh):
    looks = []
    facts = core.probe(ssh(3), 20, lambda: looks.append(1))
    assert facts.kernel and len(looks) == ssh.tries() == 4


def test_a_probe_tries_again_after_an_answer_that_took_too_long(ssh, monkeypatch):
    """An emulated machine on a busy computer takes minutes for its first login."""
    client = ssh(0, '[ "$(wc -l < {log})" -gt 1 ] || exec sleep 30; exec sh -s')
    run = client.run
    monkeypatch.setattr(client, "run", lambda command, stdin: run(command, stdin, 2))
    assert core.probe(client, HANG).kernel and ssh.tries() >= 2


def test_a_probe_that_always_takes_too_long_says_so_in_the_end(ssh, monkeypatch):
    client = ssh(0, "exec sleep 30")
    run = client.run
    monkeypatch.setattr(client, "run", lambda command, stdin: run(command, stdin, 0.2))
    with pytest.raises(core.SSHError, match="^SSH did not answer within 1 s. The last try: ssh did not end within"):
        core.probe(client, 1)
    assert ssh.tries() > 1


def test_a_probe_ends_at_once_when_the_machine_will_never_answer(ssh):
    """...with the driver's own words: QEMU has ended, say."""
    looks = []

    def look():
        looks.append(1)
        if len(looks) == 2:
            raise core.MachineError("QEMU has ended.", "See its log.")

    start = time.monotonic()
    with pytest.raises(core.MachineError, match="^QEMU has ended.$"):
        core.probe(ssh(99), 2 * HANG, look)
    assert time.monotonic() - start < HANG and ssh.tries() == 1


def test_a_probe_that_may_not_wait_tries_once(ssh):
    with pytest.raises(core.SSHError, match="[Rr]efused"):
        core.probe(ssh(99))
    assert ssh.tries() == 1


def test_a_probe_gives_up_at_its_time(ssh):
    with pytest.raises(core.MachineError, match="^SSH did not answer within 1 s. The last try: SSH failed: "):
        core.probe(ssh(99), 1)
    assert ssh.tries() > 1


def test_what_a_probe_has_found_is_not_asked_again(ssh):
    there, looks = ssh(0), []
    first = core.probe(there, 20)
    assert core.probe(there, 20, lambda: looks.append(1)) is first
    assert (ssh.tries(), looks) == (1, [])


def test_a_host_without_a_shell_is_told_at_once_although_there_is_time(ssh):
    with pytest.raises(core.MachineError, match="has no POSIX shell: This account is a router"):
        core.probe(ssh(0, "echo 'This account is a router'; exit 1"), 60)
    assert ssh.tries() == 1


def test_the_driver_is_asked_about_the_boot_while_a_machine_is_awaited(store, ssh):
    """The wiring: Machine._detect gives the driver's check_boot to the probe."""
    class DyingDriver(core.GenericDriver):
        boot_seconds = 60

        def check_boot(self):
            raise core.MachineError("It died.")

    machine = store.new("web", DyingDriver)
    machine.driver["IPAddress"] = "192.0.2.7"
    machine.driver._ssh = ssh(99)
    store.add(machine)
    with pytest.raises(core.MachineError, match="It died.$"):
        machine.provision()
    assert ssh.tries() == 0
