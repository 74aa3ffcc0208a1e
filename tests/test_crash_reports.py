"""Reports of unexpected exceptions in `create` and `upgrade`: what is written, what is hidden, when it is sent."""

import contextlib
import json
import platform
import re
import ssl
import stat
import sys
import time

import pytest
from conftest import HANG, Ended, listening, pair

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
                            BUGSNAG_NOTIFY_ENDPOINT="https://127.0.0.1:1/", **PASSWORDS)
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
    assert crashing(*words, MACHINE_BUGSNAG_API_TOKEN=TOKEN, BUGSNAG_NOTIFY_ENDPOINT="https://127.0.0.1:1/",
                    **env).code != 0
    assert not crashing.folder.exists()


def test_a_report_that_cannot_be_written_hides_nothing_of_the_error(crashing):
    crashing.folder.write_text("not a folder")
    ended = crashing.create()
    assert ended.code == 1 and "ZeroDivisionError" in ended.err and "Traceback" not in ended.err


# --- sending

class Service:
    """What a server got: connections, and requests as (first line, {header: value}, body)."""

    def __init__(self, certificate, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"):
        self.connections, self.requests, self.answer = 0, [], answer
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate.cert, certificate.key)

    def __call__(self, connection):
        self.connections += 1
        with self.context.wrap_socket(connection, server_side=True) if self.context else connection as stream:
            data = receive(stream)
            while b"\r\n\r\n" not in data:
                data += receive(stream)
            head, _, body = data.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            while len(body) < int(headers.get("content-length", 0)):
                body += receive(stream)
            self.requests.append((first, headers, body))
            if callable(self.answer):
                self.answer(stream)
            else:
                stream.sendall(self.answer)


def receive(stream):
    data = stream.recv(65536)
    if not data:
        raise ConnectionError("gone")
    return data


@pytest.fixture
def service(server):
    return Service(server)


def sending(port, certs, **env):
    return dict({"BUGSNAG_NOTIFY_ENDPOINT": "https://127.0.0.1:%d/" % port, "SSL_CERT_FILE": str(certs / "ca.pem")},
                **env)


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_with_a_token_the_report_is_posted_once_over_tls(crashing, service, certs, by):
    with listening(service) as port:
        ended = crashing.create(before=["--bugsnag-api-token", TOKEN] if by == "flag" else [],
                                MACHINE_BUGSNAG_API_TOKEN=None if by == "flag" else TOKEN, **sending(port, certs))
    assert ended.code == 1 and len(crashing.reports()) == 1
    ((first, headers, body),) = service.requests
    assert first.startswith("POST / HTTP/1.") and headers["content-type"].startswith("application/json")
    assert json.loads(body.decode())["apiKey"] == TOKEN
    assert headers.get("bugsnag-api-key", TOKEN) == TOKEN


def test_what_is_sent_has_the_form_of_bugsnags_notifiers(crashing, service, certs):
    with listening(service) as port:
        crashing.create(MACHINE_BUGSNAG_API_TOKEN=TOKEN,
                        **sending(port, certs, **dict(PASSWORDS, https_proxy=None)))
    payload = json.loads(service.requests[0][2].decode())
    assert all(payload["notifier"][key] for key in ("name", "version", "url"))
    (event,) = payload["events"]
    assert (event.get("payloadVersion") or payload.get("payloadVersion")) in ("2", "4", "5")
    assert (event["severity"], event["app"]["version"].split()[0]) == ("error", core.__version__)
    exception = event["exceptions"][0]
    assert exception["errorClass"] and isinstance(exception["message"], str)
    assert "ZeroDivisionError" in json.dumps(exception)
    assert [type(exception["stacktrace"][0][key]) for key in ("file", "lineNumber", "method")] == [str, int, str]
    methods = [frame["method"] for frame in exception["stacktrace"]]
    assert methods[:2] == ["crash", "create"]  # the innermost comes first
    assert platform.system().lower() in json.dumps(event).lower() and platform.python_version() in json.dumps(event)
    del payload["apiKey"]
    assert_hidden(payload)


def test_without_a_token_nothing_is_sent(crashing, service, certs):
    with listening(service) as port:
        crashing.create(**sending(port, certs))
    assert (service.connections, len(crashing.reports())) == (0, 1)


def test_the_token_no_report_keeps_the_report_here(crashing, service, certs):
    with listening(service) as port:
        crashing.create("a", before=["--bugsnag-api-token", "no-report"], **sending(port, certs))
        crashing.create("b", MACHINE_BUGSNAG_API_TOKEN="no-report", **sending(port, certs))
    assert (service.connections, len(crashing.reports())) == (0, 2)


def test_the_file_no_error_report_stops_writing_and_sending(crashing, service, certs):
    (crashing.dm.store / "no-error-report").write_text("")
    with listening(service) as port:
        ended = crashing.create(MACHINE_BUGSNAG_API_TOKEN=TOKEN, **sending(port, certs))
    assert ended.code == 1 and "ZeroDivisionError" in ended.err and "crash-reports" not in ended.err
    assert service.connections == 0 and not crashing.folder.exists()


def test_a_failure_with_its_own_sentence_is_not_sent(crashing, service, certs):
    with listening(service) as port:
        ended = crashing.create(CRASH="create:sentence", MACHINE_BUGSNAG_API_TOKEN=TOKEN, **sending(port, certs))
    assert "the cloud is full" in ended.err and service.connections == 0


def test_reports_go_to_bugsnags_own_service_unless_told_otherwise(crashing):
    ended = crashing.create(MACHINE_BUGSNAG_API_TOKEN=TOKEN, NO_NAMES="1")
    assert [line for line in ended.err.splitlines() if line.startswith("resolved ")] == [
        "resolved notify.bugsnag.com 443"]


def test_a_report_never_travels_in_the_clear(crashing):
    service = Service(None)
    with listening(service) as port:
        ended = crashing.create(MACHINE_BUGSNAG_API_TOKEN=TOKEN,
                                BUGSNAG_NOTIFY_ENDPOINT="http://127.0.0.1:%d/" % port)
    assert (ended.code, service.connections) == (1, 0)


def drip(stream):
    stream.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        stream.sendall(b"X-Slow: yes\r\n")
        time.sleep(0.5)


def silent(stream):
    stream.recv(1)


def test_a_service_that_fails_costs_one_warning_and_little_time(crashing, certs, server, closed_port, tmp_path):
    quiet = crashing.create("quiet")
    stranger = pair(tmp_path, "server")
    core.issue_server(stranger, pair(certs, "ca"), "web", ["192.0.2.1"])
    trusted_by_none, misnamed = Service(server), Service(stranger)
    answers = {
        "500": Service(server, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        "401": Service(server, b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
        "endless": Service(server, b"HTTP/1.1 302 Go\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
        "garbage": Service(server, b"\0\xff" * 9000), "nothing": Service(server, b""),
        "plain": Service(None), "silent": Service(server, silent), "drip": Service(server, drip),
        "unknown-ca": trusted_by_none, "name": misnamed, "mute": silent,
    }
    endpoints = {"refused": "https://127.0.0.1:%d/" % closed_port, "nonsense": "nonsense", "empty-host": "https:///",
                 "file": "file:///dev/null", "port": "https://127.0.0.1:99999/"}
    with contextlib.ExitStack() as servers:
        for name, answer in answers.items():
            endpoints[name] = "https://127.0.0.1:%d/" % servers.enter_context(listening(answer))
        started = time.monotonic()
        processes = {name: crashing.start(
            *crashing.words(name), MACHINE_BUGSNAG_API_TOKEN=TOKEN, BUGSNAG_NOTIFY_ENDPOINT=endpoint,
            SSL_CERT_FILE=None if name == "unknown-ca" else str(certs / "ca.pem"))
            for name, endpoint in endpoints.items()}
        ended = {name: end(process) for name, process in processes.items()}
        assert time.monotonic() - started < HANG
    assert {name: each.code for name, each in ended.items() if each.code != quiet.code} == {}
    more = {name: each.err.count("\n") - quiet.err.count("\n") for name, each in ended.items()}
    assert {name: ended[name].err for name, count in more.items() if count not in (0, 1)} == {}
    assert not [name for name, each in ended.items() if "Traceback" in each.err or TOKEN in each.err]
    assert len(crashing.reports()) == 1 + len(endpoints)
    assert trusted_by_none.requests == misnamed.requests == []
