"""What the fast tests share: the program as a process, stores, certificates, servers on 127.0.0.1."""

import collections
import contextlib
import functools
import gc
import inspect
import io
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pytest
from digitalocean import TOKEN, DigitalOcean
from virtualbox import VirtualBox

import docker_machine as core

if sys.version_info < (3, 9):
    collect_ignore = ["test_go_plugin_run.py"]  # builds programs, as the integration tests do

ROOT = Path(core.__file__).resolve().parent
VERSION = "26.1.5"  # what the engine of these tests says it is
HEAD = b"HTTP/1.0 200 OK\r\nServer: Docker/%s (linux)\r\n\r\n" % VERSION.encode()
ANSWER = HEAD, b'{"Version": "%s"}' % VERSION.encode()
Ended = collections.namedtuple("Ended", "code out err")
SHM = "/dev/shm"
HANG = 60  # seconds that nothing takes on the busiest computer, unless it waits for what never comes

# Modules with asserts whose names do not begin with test_; before anything imports them.
pytest.register_assert_rewrite("contract", "machines")

# A shell starts what runs in its background with SIGINT ignored, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A tenth of the time: pytest has many objects, and a collection looks at all of them.
gc.set_threshold(10000, *gc.get_threshold()[1:])


# What can differ by Python; test_drivers.py holds all drivers to tests/contract.py.
SMOKE = "flags store certificates rest download output drivers shape".split()


def pytest_addoption(parser):
    parser.addoption("--smoke-between", action="store_true", help="unless this is the oldest or the newest Python here "
                     "of those in tox.ini, run each test of these modules with its first case alone: " +
                     ", ".join(SMOKE))
    parser.addoption("--in-memory", action="store_true", help="have the tests' folders in /dev/shm, if it has room for "
                     "them, and remove them at the end")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.smoke = getattr(config, "workerinput", {}).get("smoke")  # what xdist starts is told
    if config.smoke is None:
        config.smoke = config.option.smoke_between and between(sys.version_info[1])
    config.pluginmanager.register(Clock())
    if config.option.in_memory and not config.option.basetemp and memory_has_room():  # what xdist starts has one
        config.option.basetemp = tempfile.mkdtemp(prefix="docker-machine-tests-", dir=SHM)
        config.add_cleanup(functools.partial(shutil.rmtree, config.option.basetemp, ignore_errors=True))


def memory_has_room():
    """Whether a gigabyte fits into /dev/shm and programs may run there. On a disk, a store waits at each write."""
    if not os.access(SHM, os.W_OK):
        return False
    about = os.statvfs(SHM)
    return about.f_bavail * about.f_frsize >= 1 << 30 and not about.f_flag & os.ST_NOEXEC


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["smoke"] = node.config.smoke


def between(minor):
    """Whether Pythons 3.x older than this and newer ones are here, of those that tox.ini names."""
    listed, = re.findall(r"py\{([\d,]+)\}", (ROOT / "tox.ini").read_text(encoding="utf-8"))
    minors = [int(each[1:]) for each in listed.split(",")]  # any() ends at the first that starts
    return (any(starts("python3.%d" % each) for each in minors if each < minor)
            and any(starts("python3.%d" % each) for each in reversed(minors) if each > minor))


def starts(program):
    return bool(shutil.which(program)) and subprocess.call(
        [program, "-c", ""], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """More processes than cores, since half of the time is waiting."""
    return 2 * (os.cpu_count() or 1)


def pytest_ignore_collect(collection_path, config):
    """Whether a module is passed over, without a look into it."""
    if config.smoke and collection_path.name.startswith("test_"):
        return collection_path.stem[5:] not in SMOKE
    return None


def pytest_collection_modifyitems(items, config):
    if config.smoke:
        first = {}  # type: dict
        for item in items:
            first.setdefault((item.parent, getattr(item, "originalname", item.name)), item)
        kept = set(first.values())
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = first.values()


class Clock:
    """Notes in junit.xml, with the test that came first, how long a fixture took that more tests than one share.

    A plugin of its own: the hooks of a conftest.py do not see the fixtures of the session.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        self.item = item

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        began = time.perf_counter()  # tests play with the other clocks
        yield
        if fixturedef.scope != "function":
            seconds = "%.2f" % (time.perf_counter() - began)
            self.item.user_properties.append(("fixture " + fixturedef.argname, seconds))


def cases(names, rows, ids=str):
    """As pytest.mark.parametrize, but one test for all rows, for tables of hundreds. It goes through all of them and
    its failure tells each row that failed, by its id, and why. Fixtures that have a method `fresh` are made so before
    each row."""
    names = [name.strip() for name in names.split(",")]

    def decorate(function):
        @functools.wraps(function)
        def test(**fixtures):
            failed = []
            for row in rows:
                for fixture in fixtures.values():
                    getattr(fixture, "fresh", bool)()
                try:
                    function(**dict(zip(names, row if len(names) > 1 else [row])), **fixtures)
                except (Exception, pytest.fail.Exception) as error:
                    line = traceback.extract_tb(error.__traceback__)[-1].lineno
                    failed.append("%s\n    line %s: %s: %s" % (ids(row), line, type(error).__name__, error))
            if failed:
                pytest.fail("%d of %d cases failed:\n%s" % (len(failed), len(rows), "\n".join(failed)), pytrace=False)

        known = inspect.signature(function).parameters
        wanted = inspect.Signature([known[name] for name in known if name not in names])
        setattr(test, "__signature__", wanted)  # noqa: B010 (mypy knows no such attribute)
        return test

    return decorate


class Program:
    """docker_machine.py as a process of its own, in an environment that holds nothing of ours.

    `dm("ls", "-q", NAME="value")` runs it to its end; keywords are environment variables.
    """

    def __init__(self, folder):
        self.store, self.home, self.tmp = folder / "store", folder / "home", folder / "tmp"
        self.home.mkdir()
        self.tmp.mkdir()
        # Imported, since the bytecode is kept then; test_commands runs the bare file too.
        self.argv = [sys.executable, "-c", "import docker_machine as core, sys; "
                     "core.end(core.main(['docker-machine'] + sys.argv[1:]))"]
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.tmp), "USER": "tester",
                    "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), "MACHINE_STORAGE_PATH": str(self.store)}

    def start(self, *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec=None, **env):
        kept = {key: str(value) for key, value in dict(self.env, **env).items() if value is not None}
        return subprocess.Popen(self.argv + list(words), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                                cwd=str(self.home), preexec_fn=preexec, env=kept)

    def __call__(self, *words, stdin="", stdout=subprocess.PIPE, preexec=None, **env):
        process = self.start(*words, stdin=subprocess.PIPE, stdout=stdout, preexec=preexec, **env)
        out, err = process.communicate(stdin.encode(), timeout=2 * HANG)
        ended = Ended(process.returncode, (out or b"").decode(errors="backslashreplace"),
                      err.decode(errors="backslashreplace"))
        for mark in ("Traceback", "Unexpected error", "Exception ignored"):
            assert mark not in ended.err or "--debug" in words, "%s ended like this:\n%s" % (words, ended.err)
        return ended

    def files(self):
        """All that is in the store, as sorted relative paths."""
        return sorted(str(path.relative_to(self.store)) for path in self.store.rglob("*"))


@pytest.fixture
def dm(tmp_path):
    return Program(tmp_path)


@pytest.fixture
def call(dm, capsys, monkeypatch):
    """As `dm`, but by main() in this very process: 20 times as fast, for the tables of many command lines."""
    def run(*words, stdin="", **env):
        with monkeypatch.context() as patch:
            patch.chdir(str(dm.home))
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in dict(dm.env, **env).items():
                if value is not None:
                    patch.setenv(name, str(value))
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            patch.setattr(tempfile, "tempdir", str(dm.tmp))
            for setting in ("debugging", "progress_to_stderr"):  # which main() leaves behind
                patch.setattr(core.out, setting, False)
            capsys.readouterr()
            code = core.main(["docker-machine"] + list(words))
        ended = Ended(code, *capsys.readouterr())
        assert "Unexpected error (" not in ended.err, "%s ended like this:\n%s" % (words, ended.err)
        return ended
    return run


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    """A folder of certificates as a store has it; not to be changed."""
    folder = tmp_path_factory.mktemp("authority") / "certs"
    before = os.umask(0)  # the modes must come right under any
    try:
        bootstrap(folder)
    finally:
        os.umask(before)
    return folder


@pytest.fixture
def store(dm, certs):
    """The Store that `dm` uses, with certificates in it."""
    shutil.copytree(str(certs), str(dm.store / "certs"))
    dm.store.chmod(0o700)
    return core.Store(str(dm.store))


@pytest.fixture
def add(store):
    """add(name, url): a finished machine of the driver "none", made by the program's own functions."""
    def make(name="web", url="tcp://127.0.0.1:2376"):
        machine = store.new(name, core.NoneDriver)
        machine.driver.set_config_from_flags({"url": url})
        store.add(machine)
        machine.copy_client_certificates()
        machine.mark("")
        return machine
    return make


@pytest.fixture
def drivers():
    """The table of drivers, which is as it was afterwards: a driver that was loaded is forgotten."""
    before, modules = dict(core.DRIVERS), set(sys.modules)
    yield core.DRIVERS
    core.DRIVERS.clear()
    core.DRIVERS.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("docker_machine_driver_"):
            del sys.modules[name]


@pytest.fixture
def uncollected():
    """No collection of garbage. Before 3.9, Python itself ends ("Cannot recover from stack overflow") where one comes
    deep inside the JSON parser and a __del__ reaches the limit of recursion too."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def pauses(monkeypatch):
    """The seconds of each sleep() that is more than a blink; it passes at once, and the clock goes
    on as if it had not."""
    slept, real, sleep = [], time.monotonic, time.sleep

    def pause(seconds):
        if seconds < .05:
            sleep(seconds)
        else:
            slept.append(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(time, "monotonic", lambda: real() + sum(slept))
    return slept


@pytest.fixture
def bin_folder(tmp_path):
    """bin_folder(names, apt_get=script): a PATH with nothing but these programs of this system and these scripts."""
    def make(*programs, **scripts):
        folder = Path(tempfile.mkdtemp(prefix="bin", dir=str(tmp_path)))
        for name in programs:
            (folder / name).symlink_to(shutil.which(name))
        for name, text in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text("#!/bin/sh\n" + text + "\n")
            path.chmod(0o755)
        return folder
    return make


@pytest.fixture
def vbox(dm, tmp_path):
    """The VirtualBox that `dm` finds on its PATH: a stand-in whose state and mishaps the test sets."""
    box = VirtualBox(tmp_path / "vbox")
    dm.env["PATH"] = box.path(dm.env["PATH"])
    yield box
    box.release()
    assert box.unknown() == []


@pytest.fixture
def digitalocean(dm):
    """The DigitalOcean that `dm` asks: a server whose account and mishaps the test sets."""
    with DigitalOcean() as ocean:
        dm.env.update(DIGITALOCEAN_API_URL=ocean.url, DIGITALOCEAN_ACCESS_TOKEN=TOKEN)
        yield ocean
    assert (ocean.unknown, ocean.mistakes) == ([], [])


# --- certificates and keys

def pair(folder, name=""):
    """The Pair of the CA ("ca"), the client ("") or somebody else in a folder of certificates."""
    names = {"": ("cert.pem", "key.pem"), "server": ("server.pem", "server-key.pem")}
    cert, key = names.get(name, (name + ".pem", name + "-key.pem"))
    return core.Pair(str(folder / cert), str(folder / key))


def bootstrap(folder, **options):
    core.bootstrap_certificates(str(folder), pair(folder, "ca"), pair(folder), **options)


def auth(folder):
    """"AuthOptions" with the CA and client of a folder."""
    return {"CaCertPath": str(folder / "ca.pem"), "ClientCertPath": str(folder / "cert.pem"),
            "ClientKeyPath": str(folder / "key.pem")}


def openssl(*words):
    return subprocess.run(["openssl"] + [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=True).stdout.decode()


def ssh_key(path, passphrase=""):
    """Make a key pair whose private half is at `path`; returns that path."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)],
                   check=True, stdin=subprocess.DEVNULL)
    return path


def redate(who, days, ca=None, names=()):
    """Make a certificate anew, with its key and subject, so that it ends in so many days (-1: yesterday)."""
    if ca is None:
        openssl("x509", "-in", who.cert, "-out", who.cert, "-days", days, "-signkey", who.key)
        return
    request, extensions = who.cert + ".request", who.cert + ".extensions"
    openssl("x509", "-x509toreq", "-in", who.cert, "-signkey", who.key, "-out", request)
    with open(extensions, "w") as file:
        file.write("extendedKeyUsage=%sAuth\n" % ("server" if names else "client"))
        if names:
            file.write("subjectAltName=%s\n" % ",".join(
                ("IP:" if core.ip_address(name) else "DNS:") + name for name in names))
    openssl("x509", "-req", "-in", request, "-CA", ca.cert, "-CAkey", ca.key, "-set_serial", 7, "-days", days,
            "-extfile", extensions, "-out", who.cert)


# --- servers

@contextlib.contextmanager
def listening(handle, host="127.0.0.1"):
    """A server that calls handle(connection) for each client; gives its port."""
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    server.bind((host, 0))
    server.listen(16)

    def serve_one(connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # answers in pieces at once
            handle(connection)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve_one, args=(server.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        # When a child of this process ends, Linux may begin a blocked accept() again, by the number of its descriptor:
        # a thread that outlives its socket takes a client of the next one that gets this number.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
        server.close()


def engine(server, ca, answer=ANSWER, patient=True):
    """A handler for `listening`: a TLS server that wants a client certificate of `ca`, as dockerd does.

    `answer` is what it sends for GET /_ping and GET /version, in pieces.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.load_verify_locations(ca.cert)
    context.verify_mode = ssl.CERT_REQUIRED

    def handle(connection):
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
            except OSError:
                if patient:  # read the client's last words, lest a reset overtake the alert that tells it why
                    tls.shutdown(socket.SHUT_WR)
                    while socket.socket.recv(tls, 4096):
                        pass
                return
            asked = tls.recv(4096)
            known = asked.startswith((b"GET /_ping ", b"GET /version "))
            for piece in answer if known else [b"HTTP/1.0 404 Not Found\r\n\r\n{}"]:
                tls.sendall(piece)
            tls.unwrap()  # says that it ends, as dockerd does
    return handle


@pytest.fixture(scope="session")
def server(certs, tmp_path_factory):
    """The server pair of 127.0.0.1, signed by the CA of `certs`."""
    made = pair(tmp_path_factory.mktemp("server"), "server")
    core.issue_server(made, pair(certs, "ca"), "web", ["127.0.0.1", "localhost"])
    return made


@pytest.fixture(scope="session")
def engine_port(certs, server):
    """The port of an engine that answers clients of the store `store`."""
    with listening(engine(server, pair(certs, "ca"))) as port:
        yield port


@pytest.fixture
def closed_port():
    """A port where nothing listens, and nothing else can while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# --- processes

@pytest.fixture
def background():
    """background(process): one that is killed at the end of the test, if it still runs."""
    processes = []

    def note(process):
        processes.append(process)
        return process

    yield note
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            pipe.close()
