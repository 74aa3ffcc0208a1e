"""Docker Machine's plugins as processes: the one of tests/go_plugin, in good order and misbehaving."""

import json
import os
import re
import signal
import time

import pytest
from conftest import HANG, cases

import docker_machine as core
from tests import go_plugins
from tests.integration.program import processes_with, until

pytestmark = pytest.mark.once

plugin = core.load_extra("go_plugin")
PLUGIN = go_plugins.PREFIX + "ci-test"


class Here:
    """The program and a store, with the plugin on the PATH."""

    def __init__(self, dm, store, monkeypatch, drivers):
        folder = go_plugins.built("ci-test", "other")
        dm.env["PATH"] = "%s:%s" % (folder, dm.env["PATH"])
        monkeypatch.setenv("PATH", dm.env["PATH"])
        monkeypatch.setenv("MACHINE_STORAGE_PATH", str(dm.store))  # the mark of the processes
        monkeypatch.delenv("PLUGIN_FAULT", raising=False)
        self.dm, self.store = dm, store

    def make(self, name="web", **settings):
        """A machine that runs, and was never provisioned."""
        machine = self.store.new(name, core.load_driver("ci-test"))
        with machine:
            flags = core.create_flags(core.load_driver("ci-test"))
            machine.driver.set_config_from_flags(core.parse_flags(flags, ["--test-token=a-secret-token"], {})[0])
            self.store.add(machine)
            machine.driver.create()
            machine.config["Driver"].update(settings)
            machine.save()
            machine.mark("")
        return machine

    def stored(self, name="web"):
        with open(os.path.join(self.store.folder(name), "config.json"), encoding="utf-8") as file:
            return json.load(file)["Driver"]

    def text(self, name="web"):
        """The bytes of "Driver" in config.json, without the blanks between words, as Go compares them."""
        with open(os.path.join(self.store.folder(name), "config.json"), encoding="utf-8") as file:
            whole = file.read()
        start = whole.index('"Driver": ') + len('"Driver": ')
        _, end = json.JSONDecoder().raw_decode(whole, start)
        return re.sub(r'("(?:\\.|[^"\\])*")|\s+', lambda found: found.group(1) or "", whole[start:end])

    def plugins(self):
        return {pid: line for pid, line in processes_with("MACHINE_STORAGE_PATH", self.dm.store).items()
                if PLUGIN in line}

    def none_left(self):
        return self.plugins() == {}


@pytest.fixture
def here(dm, store, monkeypatch, drivers):
    return Here(dm, store, monkeypatch, drivers)


# --- create

def test_help_and_completion_have_its_flags(here):
    ended = here.dm("create", "-d", "ci-test", "--help")
    assert ended.code == 0 and ended.err == ""
    assert re.search(r'--test-ports "-300" +\tA number \[\$TEST_PORTS\]', ended.out)
    assert re.search(r'--test-user "root"', ended.out) and "Drivers: " in ended.out
    assert '--test-password "********"' in ended.out and "the-usual-password" not in ended.out
    offered = here.dm("completion", "bash", "create", "-d", "ci-test", "--test-").out.split()
    assert {"--test-token", "--test-fast", "--test-option"} <= set(offered)
    assert here.none_left()


def test_flags_reach_it_with_their_types_and_its_settings_are_stored(here):
    here.dm.env.update(TEST_PORTS="7")
    ended = here.dm("create", "-d", "ci-test", "--test-token", "a-secret-token", "--test-option", "a", "--test-option",
                    "b", "--test-fast", "web", PLUGIN_FAULT="error:Create")
    assert ended.code == 1 and "Resume: " in ended.err and "a-secret-token" not in ended.out + ended.err
    assert ('Error creating machine: Error in driver during machine creation: The plugin "ci-test" could not create '
            "the machine: the cloud says no to Create [31m\n") in ended.err
    stored = here.stored()
    assert (stored["Ports"], stored["Options"], stored["TestToken"]) == (7, ["a", "b"], "a-secret-token")
    assert stored["SwarmHost"] == "tcp://0.0.0.0:3376" and stored["Ratio"] == 1e-7
    assert stored["Log"] == ["Create failed"], "also what a failure left is stored"
    assert stored["TestPassword"] == "the-usual-password"
    assert here.none_left()


@cases("method, code, words", [
    ("GetCreateFlags", 1, "the cloud says no to GetCreateFlags"),
    ("SetConfigFromFlags", 2, "the cloud says no to SetConfigFromFlags"),
    ("PreCreateCheck", 3, 'Error with pre-create check: "the cloud says no to PreCreateCheck [31m"')])
def test_a_create_that_is_refused_leaves_nothing(here, method, code, words):
    ended = here.dm("create", "-d", "ci-test", "web", PLUGIN_FAULT="error:" + method)
    assert (ended.code, here.store.names()) == (code, []) and words in ended.err
    assert here.none_left()


# --- a bad start

@cases("fault, words", [
    ("ends", "ended with code 1 at its start: no licence"),
    ("wrong", 'began with "hello, 192.0.2.1:80" instead of its address'),
    ("silent", "printed no address within 1 s"),
    ("nobody", "does not answer: 127.0.0.1 port 1: Connection refused"),
    ("version", "uses an incompatible API version (2)")])
def test_a_bad_start_is_told(here, call, monkeypatch, fault, words):
    call_in = {"PATH": here.dm.env["PATH"], "PLUGIN_FAULT": fault}
    if fault == "silent":
        monkeypatch.setattr(plugin, "START_SECONDS", 1)
    monkeypatch.delitem(core.DRIVERS, "ci-test", raising=False)
    ended = call("create", "-d", "ci-test", "web", **call_in)
    assert ended.code == 1 and words in ended.err, ended
    assert here.none_left() and here.store.names() == []


def test_one_that_takes_ten_seconds_to_start_is_waited_for(here):
    assert here.dm("create", "-d", "ci-test", "--help", PLUGIN_FAULT="slow").code == 0


def test_doctor_asks_each(here):
    ended = here.dm("doctor", PLUGIN_FAULT="")
    assert re.search(r"ok    ci-test: plugin \S+/%s, API version 1, 7 flags\n" % PLUGIN, ended.out)
    ended = here.dm("doctor", PLUGIN_FAULT="ends")
    assert ended.code == 1 and re.search("bad   driver ci-test: The plugin .* ended with code 1", ended.out)
    assert here.none_left()


# --- a machine

def test_what_is_asked_of_it(here):
    here.make()
    assert here.dm("status", "web").out == "Running\n"
    assert here.dm("ip", "web").out == "127.0.0.1\n"
    shown = here.dm("inspect", "web").out
    assert "a-secret-token" not in shown and json.loads(shown)["Driver"]["TestToken"] == "********"
    assert here.stored()["TestToken"] == "a-secret-token"
    assert here.none_left()


def test_the_old_service_name_is_tried_too(here):
    here.make()
    assert here.dm("status", "web", PLUGIN_FAULT="old").out == "Running\n"


def test_what_it_drops_from_the_settings_is_gone_and_the_rest_is_its_own(here):
    here.make(Unknown="x", SSHPort=None)
    assert here.stored()["Unknown"] == "x"
    assert here.dm("stop", "web").code == 0
    stored = here.stored()
    assert list(stored)[:3] == ["IPAddress", "MachineName", "SSHUser"] and "Unknown" not in stored
    assert stored["Log"] == ["", "Stop"] and stored["Options"] is None


def test_its_settings_are_stored_byte_for_byte_also_after_a_failure(here, tmp_path):
    here.make()
    told = tmp_path / "told"
    for words, fault in (("stop", ""), ("start", "error:Start"), ("status", "")):
        here.dm(words, "web", PLUGIN_FAULT=fault, PLUGIN_TOLD=str(told))
        text = told.read_text(encoding="utf-8")
        assert r'"\u003c\u0026\u003e":"\u2028é\"\\"' in text and '"Big":4611686018427387905' in text
        assert here.text() == text.replace('"Ratio":1e-7', '"Ratio":1e-07'), "Python's word for the same number"
        assert "without its flags" not in text and list(json.loads(text)) == list(here.stored())


def test_an_entry_of_docker_machine_works_at_once_with_the_old_service_name_too(here):
    """Its config.json has no file of ours beside it, and the plugin's settings in its own order."""
    here.make()
    path = os.path.join(here.store.folder("web"), "config.json")
    with open(path, encoding="utf-8") as file:
        before = file.read()
    for fault in ("", "old"):
        assert here.dm("status", "web", PLUGIN_FAULT=fault).out == "Running\n"
        assert here.dm("url", "web", PLUGIN_FAULT=fault).out == "tcp://127.0.0.1:2376\n"
        assert here.dm("ls", "-f", "{{.Name}} {{.State}}", PLUGIN_FAULT=fault).out == "web Running\n"
    with open(path, encoding="utf-8") as file:
        assert file.read() == before, "a question stores nothing"
    assert here.dm("stop", "web", PLUGIN_FAULT="old").code == 0 and here.stored()["Log"][-1] == "Stop"
    assert here.none_left()


def test_no_pause_and_states_that_we_do_not_know(here):
    here.make()
    ended = here.dm("pause", "web")
    assert ended.code == 1 and "ci-test driver does not support pause\n" in ended.err
    here.dm("stop", "web")
    (path,) = [os.path.join(here.store.folder("web"), "state")]
    with open(path, "w", encoding="utf-8") as file:
        file.write("paused")
    assert here.dm("status", "web").out == "Paused\n"


@cases("words", ["stop", "kill", "restart", "rm -y"])
def test_the_error_of_a_verb_has_its_words_and_its_settings_are_kept(here, words):
    verb = {"rm -y": "Remove"}.get(words, words.title())
    here.make()
    ended = here.dm(*(words.split() + ["web"]), PLUGIN_FAULT="error:" + verb)
    assert ended.code == 1 and 'The plugin "ci-test" could not %s the machine: the cloud says no to %s [31m\n' % (
        verb.lower(), verb) in ended.err
    if verb != "Remove":
        assert here.stored()["Log"][-1] == verb + " failed"
    assert here.none_left()
    assert here.dm("rm", "-y", "web").code == 0 and here.store.names() == []


@cases("fault, words", [
    ("exit:Stop", "ended with code 3 during Stop: out of luck"),
    ("panic:Stop", "could not stop the machine: Panic in the driver: index out of range\n"),
    ("error:GetState", "the cloud says no to GetState [31m\n")])
def test_failures_of_stop(here, fault, words):
    if not here.store.names():
        here.make()
    ended = here.dm("stop", "web", PLUGIN_FAULT=fault)
    assert ended.code == 1 and words in ended.err and "goroutine" not in ended.err
    assert here.none_left()


def test_a_machine_that_is_off_has_no_url(here):
    here.make()
    here.dm("stop", "web")
    ended = here.dm("url", "web")
    assert (ended.code, ended.out, ended.err) == (1, "", "Host is not running\n")


def test_megabytes_of_log_and_a_line_of_one_are_read(here, monkeypatch, capfd):
    monkeypatch.setenv("PLUGIN_FAULT", "log")
    here.make()
    printed = capfd.readouterr().out
    assert "(web) Creating the container web-" in printed and "(web) and so on\n" in printed
    assert "(web) %s\n" % ("x" * 2000) in printed and "tell" not in printed


# --- at its end

def began(here, fault, *words):
    """A command, and the one plugin that it waits for."""
    running = here.dm.start(*words, PLUGIN_FAULT=fault)
    assert until(lambda: len(here.plugins()) == 1 and _is_busy(running), HANG)
    (pid, line), = here.plugins().items()
    assert line.strip().endswith(PLUGIN), "no word of ours is in ps"
    return running, pid


def _is_busy(running):
    time.sleep(1)  # it has been asked by then, on most computers; a slower one tests something else
    return running.poll() is None


def test_it_does_not_outlive_a_killed_program_by_much(here):
    here.make()
    running, _ = began(here, "hang:Stop", "stop", "web")
    running.kill()
    running.communicate()
    assert until(here.none_left, HANG)
    assert here.dm("status", "web").out == "Running\n"
    assert here.dm("rm", "-y", "web").code == 0


def test_after_an_interrupt_it_is_closed_and_its_settings_are_stored(here):
    running, _ = began(here, "hang:Create", "create", "-d", "ci-test", "web")
    assert until(lambda: here.store.names() == ["web"], HANG)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=HANG)
    assert running.returncode == 130 and b"Resume: " in err and here.none_left()
    assert here.stored()["Container"].startswith("web-")
    assert here.dm("rm", "-y", "web").code == 0 and here.store.names() == []


def test_one_that_is_killed_in_the_middle_is_told(here):
    here.make()
    running, pid = began(here, "hang:Stop", "stop", "web")
    os.kill(pid, signal.SIGKILL)
    _, err = running.communicate(timeout=HANG)
    assert running.returncode == 1 and b"was killed by signal 9 during Stop" in err
    assert here.dm("rm", "-y", "web").code == 0

    words = "create", "-d", "ci-test", "--test-token", "a-secret-token", "cut"
    running, pid = began(here, "hang:Create", *words)
    assert until(lambda: here.store.names() == ["cut"], HANG)
    os.kill(pid, signal.SIGKILL)
    _, err = running.communicate(timeout=HANG)
    assert running.returncode == 1 and b"was killed by signal 9 during Create" in err
    assert b"Resume: " in err and b"a-secret-token" not in err and here.stored("cut")["Container"].startswith("cut-")
    assert here.dm("rm", "-y", "cut").code == 0 and here.store.names() == []


def test_before_anything_is_stored_a_kill_leaves_nothing(here):
    running, _ = began(here, "hang:PreCreateCheck", "create", "-d", "ci-test", "web")
    running.kill()
    running.communicate()
    assert here.store.names() == [] and until(here.none_left, HANG)


def test_heartbeats_keep_it_alive_and_late_answers_to_them_do_no_harm(here):
    here.make()
    ended = here.dm("stop", "web", PLUGIN_FAULT="late")  # it takes 13 s, and the answers 12 s each
    assert ended.code == 0, ended
    assert here.none_left()


def test_one_that_does_not_end_is_killed(here):
    here.make()
    assert here.dm("status", "web", PLUGIN_FAULT="stays").out == "Running\n"
    assert here.none_left()


# --- many

def test_ls_of_thirty_machines_leaves_no_process(here):
    for number in range(30):
        here.make("web%d" % number)
    ended = here.dm("ls", "-t", str(HANG), "-f", "{{.Name}} {{.State}} {{.URL}}")
    assert ended.out.splitlines() == ["web%d Running tcp://127.0.0.1:2376" % number for number in range(30)]
    assert here.none_left()
    running, most = here.dm.start("ls", "-t", "8", "-f", "{{.State}}", PLUGIN_FAULT="hang:GetState"), 0
    while running.poll() is None:
        most = max(most, len(here.plugins()))
    assert running.communicate()[0].split() == [b"Timeout"] * 30
    assert 0 < most <= plugin.WORKERS
    assert until(here.none_left, 5)  # they are killed; by themselves they would end after 10 s
