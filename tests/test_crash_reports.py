"""Reports of unexpected exceptions in `create` and `upgrade`: what is written and what is hidden."""

import json
import platform
import re
import stat
import sys

import pytest
from conftest import HANG, Ended

import docker_machine as core

TOKEN = "0123456789abcdef0123456789abcdef"
SECRET = 'tök"en\\ of the <driver> & its user\'s'
PASSWORDS = {"AWS_SECRET_ACCESS_KEY": "aws-key-of-the-user", "DB_PASSWORD": "password-of-the-user",
             "https_proxy": "http://name:proxy-password@127.0.0.1:9/", "HARMLESS": "harmless-but-nobodys-business"}
PROGRAM = """
import os, socket, sys
import docker_machine as core

where, kind = (os.environ.get("CRASH", "") + ":").split(":")[:2]

class Crashing(core.NoneDriver):
    name = "crashing"
    provisions = bool(os.environ.get("PROVISIONS"))
    flags = core.NoneDriver.flags + (
        core.Flag("crashing-token", "", "its secret", "CRASHING_TOKEN", field="Token", secret=True),)

    def crash(self, place):
        if place != where:
            return
        try:
            if kind == "sentence":
                raise core.MachineError("the cloud is full")
            if kind == "interrupt":
                raise KeyboardInterrupt
            if kind == "key":
                raise KeyError(self["Token"])
            if kind == "chain":
                raise ValueError("first " + self["Token"])
            raise ZeroDivisionError("no parts of " + self["Token"])
        except ValueError as error:
            raise ZeroDivisionError("then") from error

    def pre_create_check(self):
        self.crash("check")

    def create(self):
        self.crash("create")

    def get_state(self):
        self.crash("state")
        return core.RUNNING

def resolve(host, port, *rest, **options):
    print("resolved %s %s" % (host, port), file=sys.stderr)
    raise socket.gaierror(-2, "Name or service not known")

if os.environ.get("NO_NAMES"):
    socket.getaddrinfo = resolve
core.DRIVERS["crashing"] = Crashing
core.end(core.main(["docker-machine"] + sys.argv[1:]))
"""


class Crashing:
    """The program with a driver "crashing", whose defects show where the variable CRASH says."""

    def __init__(self, dm):
        script = dm.home / "crashing.py"
        script.write_text(PROGRAM, encoding="utf-8")
        dm.argv = [sys.executable, str(script)]
        self.dm, self.folder = dm, dm.store / "crash-reports"

    def start(self, *words, **env):
        env = dict({"CRASH": "create", "SHELL": "/bin/bash"}, **env)
        return self.dm.start(*words, **env)

    def __call__(self, *words, **env):
        return end(self.start(*words, **env))

    def create(self, name="web", before=(), **env):
        return self(*self.words(name, before), **env)

    def words(self, name="web", before=()):
        return list(before) + ["create", "-d", "crashing", "--url", "tcp://127.0.0.1:1", "--crashing-token", SECRET,
                               name]

    def reports(self):
        """The reports in the store, oldest first."""
        paths = sorted(self.folder.glob("*"), key=lambda path: path.stat().st_mtime) if self.folder.exists() else []
        assert all(path.name.endswith(".json") for path in paths)
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def end(process, timeout=2 * HANG):
    out, err = process.communicate(timeout=timeout)
    return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def crashing(dm, store):
    return Crashing(dm)


def texts(value):
    """All strings in a JSON value, keys included."""
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def spellings(secret):
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}


def assert_hidden(*values):
    for value in values:
        for text in texts(value):
            for secret in spellings(SECRET) | set(PASSWORDS.values()) | {"proxy-password", TOKEN}:
                assert secret not in text


# --- the file

def test_a_defect_in_create_leaves_a_report_and_says_where(crashing):
    ended = crashing.create()
    assert ended.code == 1 and "Traceback" not in ended.err
    (path,) = crashing.folder.iterdir()
    assert str(path) in ended.err and "ZeroDivisionError" in ended.err
    assert "docker-machine provision web" in ended.err or "docker-machine rm web" in ended.err  # what is left


def test_a_report_has_the_facts_that_a_defect_needs(crashing):
    crashing.create()
    (report,) = crashing.reports()
    assert {"Version", "Python", "OS", "Shell", "Command", "Stage", "Error", "Traceback"} <= set(report)
    assert (report["Version"].split()[0], report["Python"].split()[0]) == (core.__version__, platform.python_version())
    assert platform.system() in report["OS"] or "Debian" in report["OS"] or "linux" in report["OS"].lower()
    assert "bash" in report["Shell"] and "create" in report["Command"] and report["Stage"]
    assert "ZeroDivisionError" in report["Error"]
    assert re.search(r"crashing\.py.* line \d+, in create\b.*in crash\b.*ZeroDivisionError", str(report["Traceback"]),
                     re.S)


def test_a_report_is_for_its_owners_eyes(crashing):
    crashing.create()
    (path,) = crashing.folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(crashing.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["", "key", "chain"])
def test_neither_report_nor_screen_shows_a_secret(crashing, kind):
    ended = crashing.create(CRASH="create:" + kind, before=["--bugsnag-api-token", TOKEN, "--debug"],
                            **PASSWORDS)
    (report,) = crashing.reports()
    assert_hidden(report, ended.out, ended.err)


def test_a_secret_from_the_environment_is_hidden_too(crashing):
    ended = crashing("create", "-d", "crashing", "--url", "tcp://127.0.0.1:1", "web", CRASHING_TOKEN=SECRET)
    (report,) = crashing.reports()
    assert_hidden(report, ended.out, ended.err)


def test_the_stage_tells_the_check_before_from_the_creation(crashing):
    crashing.create("first", CRASH="check")
    crashing.create("second")
    first, second = crashing.reports()
    assert first["Stage"] != second["Stage"]


def test_a_second_report_does_not_replace_the_first(crashing):
    for name in ("a", "b", "c"):
        crashing.create(name)
    assert len(crashing.reports()) == 3


def test_a_defect_in_upgrade_leaves_a_report_without_the_stored_secret(crashing):
    assert crashing.create(CRASH="").code == 0
    ended = crashing("upgrade", "web", CRASH="state", PROVISIONS="1")
    assert ended.code == 1
    (report,) = crashing.reports()
    assert "upgrade" in report["Command"] and "ZeroDivisionError" in report["Error"]
    (path,) = crashing.folder.iterdir()
    assert str(path) in ended.err
    assert_hidden(report, ended.out, ended.err)


@pytest.mark.parametrize("words", [["status", "web"], ["url", "web"], ["env", "web"]])
def test_a_defect_in_another_command_leaves_no_report(crashing, words):
    assert crashing.create(CRASH="").code == 0
    assert crashing(*words, CRASH="state", MACHINE_BUGSNAG_API_TOKEN=TOKEN).code == 1
    assert not crashing.folder.exists()


@pytest.mark.parametrize("words, env", [
    (["create", "-d", "crashing", "--url", "tcp://127.0.0.1:1", "web"], {"CRASH": "create:sentence"}),
    (["create", "-d", "crashing", "--url", "tcp://127.0.0.1:1", "web"], {"CRASH": "check:sentence"}),
    (["create", "-d", "crashing", "--url", "tcp://127.0.0.1:1", "web"], {"CRASH": "create:interrupt"}),
    (["create", "-d", "crashing", "web"], {}), (["create", "-d", "crashing", "--bogus", "web"], {}),
    (["create", "-d", "bogus", "web"], {}), (["upgrade", "gone"], {}), (["status", "gone"], {}),
], ids=["sentence", "check", "interrupt", "flag missing", "flag unknown", "driver unknown", "upgrade", "status"])
def test_a_failure_that_has_its_own_sentence_leaves_no_report(crashing, words, env):
    assert crashing(*words, MACHINE_BUGSNAG_API_TOKEN=TOKEN, **env).code != 0
    assert not crashing.folder.exists()


def test_a_report_that_cannot_be_written_hides_nothing_of_the_error(crashing):
    crashing.folder.write_text("not a folder")
    ended = crashing.create()
    assert ended.code == 1 and "ZeroDivisionError" in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("env", [{}, {"BUGSNAG_NOTIFY_ENDPOINT": "https://reports.example.com/"}])
def test_nothing_is_sent_whatever_token_is_given(crashing, env):
    ended = crashing.create("a", before=["--bugsnag-api-token", TOKEN], NO_NAMES="1", **env)
    other = crashing.create("b", MACHINE_BUGSNAG_API_TOKEN=TOKEN, NO_NAMES="1", **env)
    assert (ended.code, other.code, len(crashing.reports())) == (1, 1, 2)
    assert "resolved" not in ended.err + other.err and "A report is in " in ended.err
    assert_hidden(crashing.reports(), ended.err, other.err)


def test_the_file_no_error_report_stops_the_writing(crashing):
    (crashing.dm.store / "no-error-report").write_text("")
    ended = crashing.create()
    assert ended.code == 1 and "ZeroDivisionError" in ended.err and "crash-reports" not in ended.err
    assert not crashing.folder.exists()
