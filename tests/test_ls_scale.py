"""`ls` and the queries with many machines: one deadline in all, one question per engine, little memory."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time

import pytest
from conftest import ANSWER, HANG, VERSION, bootstrap, engine, listening, pair

# Its own memory counts too (what a child has before it becomes another program), so it is a small one.
PEAK = """import resource, subprocess, sys
subprocess.check_call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


@pytest.fixture
def add_many(add, store):
    """add_many(urls): finished machines web-1, web-2 ..., copied from the first, which is fast."""
    def make(urls):
        first = add("web-1", urls[0])
        for number, url in enumerate(urls[1:], 2):
            folder = store.folder("web-%d" % number)
            shutil.copytree(first.folder, folder)
            config = json.loads(json.dumps(first.config).replace(first.folder, folder))
            config["Name"] = config["Driver"]["MachineName"] = "web-%d" % number
            config["Driver"]["URL"] = url
            with open(folder + "/config.json", "w") as file:
                json.dump(config, file)
    return make


@pytest.fixture
def engines(certs, server):
    """engines(3): the ports of as many engines, and a list that gets a port for each connection."""
    with contextlib.ExitStack() as stack:
        def start(count):
            asked = []
            answer, lock = engine(server, pair(certs, "ca")), threading.Lock()

            def handle(connection):
                with lock:
                    asked.append(connection.getsockname()[1])
                answer(connection)

            return [stack.enter_context(listening(handle)) for _ in range(count)], asked
        yield start


@pytest.fixture
def silent():
    """silent(20): the ports of servers that take connections and never say a word."""
    with contextlib.ExitStack() as stack:
        over = threading.Event()
        stack.callback(over.set)

        def start(count):
            return [stack.enter_context(listening(lambda connection: over.wait(30))) for _ in range(count)]
        yield start


def url(port, host="127.0.0.1"):
    return "tcp://%s:%d" % (host, port)


def rows(ended):
    """{name: the rest of its line} of a table."""
    assert ended.code == 0, ended.err
    return dict(line.split(None, 1) for line in ended.out.splitlines()[1:])


def seconds_of(function, *words):
    start = time.monotonic()
    return function(*words), time.monotonic() - start


# --- deadlines

def test_dead_machines_cost_one_deadline_in_all(dm, add_many, silent):
    add_many([url(port) for port in silent(20)])
    ended, seconds = seconds_of(dm, "ls", "-t", "1")
    assert len(rows(ended)) == 20
    assert seconds < 20 / 2  # of what they take one after the other


@pytest.mark.skipif(sys.platform != "linux", reason="needs more loopback addresses than one")
def test_450_dead_machines_cost_one_deadline_too(dm, add_many, silent):
    port, = silent(1)
    add_many([url(port, "127.0.%d.%d" % (number // 200, number % 200 + 1)) for number in range(450)])
    ended, seconds = seconds_of(dm, "ls", "-t", "2")
    assert len(rows(ended)) == 450
    assert seconds < HANG


def test_an_engine_that_answers_drop_by_drop_costs_no_more_than_the_deadline(dm, add_many, certs, server):
    over = threading.Event()

    def drops():
        yield b"HTTP/1.0 200 OK\r\n\r\n"
        while not over.wait(0.1):
            yield b" "

    # Each connection gets an endless answer of its own.
    with listening(lambda connection: engine(server, pair(certs, "ca"), drops())(connection)) as port:
        add_many([url(port)])
        ended, seconds = seconds_of(dm, "ls", "-t", "1")
        over.set()
    assert VERSION not in ended.out
    assert seconds < HANG


def test_an_engine_that_is_slow_at_each_step_costs_no_more_than_the_deadline(dm, add_many, certs, server):
    """There is an answer, but later than the deadline, although no step takes so long."""
    over = threading.Event()

    def late():
        over.wait(2.5)
        yield from ANSWER

    def handle(connection):
        if not over.wait(1.2):  # before the handshake
            engine(server, pair(certs, "ca"), late())(connection)

    with listening(handle) as port:
        add_many([url(port)])
        ended = dm("ls", "-t", "3")
        over.set()
    assert "Timeout" in ended.out and VERSION not in ended.out


def test_machines_that_live_are_shown_beside_dead_ones(dm, add_many, engines, silent):
    (live,), _ = engines(1)
    dead = silent(3)
    add_many([url(dead[0]), url(live), url(dead[1]), url(live), url(dead[2])])
    shown = rows(dm("ls", "-t", "1"))
    assert [name for name, rest in shown.items() if VERSION in rest] == ["web-2", "web-4"]


# --- order

def test_answers_come_in_natural_order_whoever_was_fast(dm, add_many, engines, silent):
    ports, _ = engines(3)
    slow = silent(4)
    add_many([url((slow + ports)[number % 7]) for number in range(12)])
    assert list(rows(dm("ls", "-t", "1"))) == ["web-%d" % number for number in range(1, 13)]


# --- one question per engine

def test_100_machines_of_one_engine_ask_it_once(dm, add_many, engines):
    (port,), asked = engines(1)
    add_many([url(port)] * 100)
    shown = rows(dm("ls"))
    assert sum("v" + VERSION in rest for rest in shown.values()) == 100
    assert asked == [port]


def test_each_of_several_engines_is_asked_once(dm, add_many, engines):
    ports, asked = engines(8)
    add_many([url(port) for port in ports * 3])
    shown = rows(dm("ls"))
    assert sum("v" + VERSION in rest for rest in shown.values()) == 24
    assert sorted(asked) == sorted(ports)


def test_what_is_wrong_with_an_engine_is_told_for_each_of_its_machines(dm, add_many, closed_port):
    add_many([url(closed_port)] * 5)
    shown = rows(dm("ls"))
    assert sum("Unable to query docker version" in rest for rest in shown.values()) == 5


def test_machines_of_other_certificates_do_not_share_an_answer(dm, add_many, add, engines, store, tmp_path):
    (port,), _ = engines(1)
    add_many([url(port)] * 3)
    strange = tmp_path / "strange"
    bootstrap(strange)
    other = add("other", url(port))
    for key, name in (("CaCertPath", "ca.pem"), ("ClientCertPath", "cert.pem"), ("ClientKeyPath", "key.pem")):
        other.config["HostOptions"]["AuthOptions"][key] = str(strange / name)
    other.save()
    shown = rows(dm("ls"))
    assert [name for name, rest in shown.items() if "v" + VERSION in rest] == ["web-1", "web-2", "web-3"]
    assert "certificate" in shown["other"]


@pytest.mark.parametrize("command", ["ls -q", "ls -q --filter name=web", "ip web-1", "url web-1", "inspect web-1",
                                     "status web-1"])
def test_what_the_store_can_answer_asks_no_engine(dm, add_many, engines, command):
    (port,), asked = engines(1)
    add_many([url(port)] * 2)
    assert dm(*command.split()).code == 0
    assert asked == []


@pytest.mark.parametrize("command", ["env", "config"])
def test_a_checked_answer_asks_the_engine_once(dm, add_many, engines, command):
    (port,), asked = engines(1)
    add_many([url(port)])
    assert dm(command, "web-1").code == 0
    assert asked == [port]


def test_active_asks_the_engine_of_docker_host_alone(dm, add_many, engines):
    ports, asked = engines(5)
    add_many([url(port) for port in ports])
    assert dm("active", DOCKER_HOST=url(ports[3])).out == "web-4\n"
    assert set(asked) <= {ports[3]}


# --- memory

@pytest.mark.skipif(sys.platform == "win32", reason="no module resource")
def test_450_machines_take_less_than_150_mb(dm, add_many, engines):
    (port,), _ = engines(1)
    add_many([url(port)] * 450)
    kilobytes = int(subprocess.check_output([sys.executable, "-c", PEAK] + dm.argv + ["ls"], env=dm.env,
                                            cwd=str(dm.home)))
    kilobytes //= 1024 if sys.platform == "darwin" else 1  # bytes there
    assert kilobytes < 150 * 1024
