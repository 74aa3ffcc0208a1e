"""How long `ls` takes with many machines, and what the queries of scripts cost beside a bare Python.

Promises: `ls` of 100 machines of a live engine takes at most twice as long as of one; black holes among
them cost one deadline in all; 450 machines stay under 150 MB; `env`, `ip`, `url` and `inspect` take at most
3 times the processor time of a Python that does nothing, and that of importing argparse, since these lines have
flags. The engine is a real dockerd where tests/testbed.py can run, else (or with --stand-in) a TLS server of
Python that asks for a client certificate as well. Linux only; run with the Python to be measured, best the
system's own:

    sudo /usr/bin/python3 tests/bench/bench_ls.py [--rounds 20] [--stand-in] [--check]
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import docker_machine as core  # noqa: E402
from tests.bench.bench_startup import cpu_seconds, install, lower_quartile  # noqa: E402

DEADLINE = 2  # seconds, what -t says
PROMISED_LS, PROMISED_QUERY, PROMISED_MB = 2.0, 3.0, 150
HOLES = 10
MANY = 450
QUERIES = (("env", "--shell", "bash", "web"), ("ip", "web"), ("url", "web"), ("inspect", "web"))
# Its own memory counts too (what a child has before it becomes another program), so it is a small one.
PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


class Bench:
    """The installed command, the stores it is run on, and what was measured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = install(folder)
        self.python = self.command.parent / "python"
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "USER": "tester", "LC_ALL": "C.UTF-8"}
        self.broken = False

    def argv(self, store: Path, *words: str) -> list:
        return [str(self.command), "--storage-path", str(store), *words]

    def run(self, argv: list) -> str:
        return subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.PIPE, env=self.environ,
                              universal_newlines=True).stdout

    def wall_seconds(self, argv: list) -> float:
        start = time.perf_counter()
        self.run(argv)
        return time.perf_counter() - start

    def least(self, commands: dict, rounds: int, seconds_of: "Callable[[list], float] | None" = None) -> dict:
        """The least seconds of each command: what is more is the computer's other work. They take turns, so that noise
        hits all of them; the first turn only fills caches."""
        times: dict = {what: [] for what in commands}
        for _ in range(rounds + 1):
            for what, argv in commands.items():
                times[what].append((seconds_of or self.wall_seconds)(argv))
        return {what: min(seconds[1:]) for what, seconds in times.items()}

    def promise(self, held: bool, text: str, *values: object) -> None:
        self.broken = self.broken or not held
        print(("ok      " if held else "BROKEN  ") + text % values, flush=True)

    def store(self, name: str, urls: list) -> Path:
        """A store with the certificates of the first, and a machine of driver none for each URL: "web" or "web-1",
        "web-2" ..."""
        store, template = self.folder / name, self.folder / "template"
        if not template.exists():
            shutil.copytree(self.folder / "first" / "certs", template / "certs")
            self.run(self.argv(template, "create", "--driver", "none", "--url", "tcp://127.0.0.1:1", "web"))
        shutil.copytree(template / "certs", store / "certs")
        for number, url in enumerate(urls, 1):
            machine = "web-%d" % number if len(urls) > 1 else "web"
            folder = store / "machines" / machine
            shutil.copytree(template / "machines" / "web", folder)
            text = (folder / "config.json").read_text().replace(str(template), str(store))
            config = json.loads(text.replace("/machines/web", "/machines/" + machine))
            config["Name"] = config["Driver"]["MachineName"] = machine
            config["Driver"].update(URL=url, IPAddress=url.partition("://")[2])
            (folder / "config.json").write_text(json.dumps(config, indent=4))
        return store


# --- engines, live and dead

@contextlib.contextmanager
def real_engine(bench: Bench):
    """dockerd on a test host, which answers on 100 more ports; gives its URLs, the usual one first."""
    from tests.testbed import Testbed
    with Testbed(bench.folder / "bed") as bed:
        host = bed.host("engine")
        bench.run(bench.argv(bench.folder / "first", "create", "--driver", "generic", "--generic-ip-address", host.ip,
                             "--generic-ssh-key", str(host.key), "engine"))
        host.run("iptables -t nat -A PREROUTING -p tcp --dport 20001:20100 -j REDIRECT --to-ports 2376")
        yield ["tcp://%s:%d" % (host.ip, port) for port in (2376, *range(20001, 20101))]


@contextlib.contextmanager
def stand_in_engine(bench: Bench):
    """A TLS server in a process of its own, at 127.0.0.1 and 100 more addresses."""
    certs = bench.folder / "first" / "certs"
    bench.run(bench.argv(bench.folder / "first", "create", "--driver", "none", "--url", "tcp://127.0.0.1:1", "web"))
    hosts = ["127.0.0.%d" % number for number in range(1, 102)]
    server = core.Pair(str(bench.folder / "server.pem"), str(bench.folder / "server-key.pem"))
    core.issue_server(server, core.Pair(str(certs / "ca.pem"), str(certs / "ca-key.pem")), "web", hosts)
    listener = socket.socket()
    listener.bind(("0.0.0.0", 0))
    listener.listen(1024)
    process = multiprocessing.Process(target=serve, args=(listener, server, certs), daemon=True)
    process.start()
    try:
        yield ["tcp://%s:%d" % (host, listener.getsockname()[1]) for host in hosts]
    finally:
        process.terminate()
        process.join()


def serve(listener: socket.socket, server: core.Pair, certs: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.load_verify_locations(str(certs / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as dockerd
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(b'HTTP/1.0 200 OK\r\nServer: Docker/26.1.5 (linux)\r\n\r\n{"Version": "26.1.5"}')
            tls.unwrap()

    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


@contextlib.contextmanager
def black_holes():
    """URLs without end that never answer: in turn one whose host swallows every packet (here: a server whose queue
    is full) and one that takes connections and stays silent."""
    with contextlib.ExitStack() as open_sockets:
        full, silent = (open_sockets.enter_context(socket.socket()) for _ in range(2))
        for server, backlog in ((full, 0), (silent, 4096)):
            server.bind(("0.0.0.0", 0))
            server.listen(backlog)
        for _ in range(10):
            client = open_sockets.enter_context(socket.socket())
            client.settimeout(0.3)
            try:
                client.connect(("127.0.0.1", full.getsockname()[1]))
            except socket.timeout:
                break
        else:
            raise RuntimeError("this system takes connections beyond a server's queue")
        yield ("tcp://127.1.%d.%d:%d" % (number // 200, number % 200 + 1, (full, silent)[number % 2].getsockname()[1])
               for number in itertools.count())


# --- measuring

def measure_queries(bench: Bench, one: Path, rounds: int) -> None:
    """Each round has ratios of its own, to Pythons that start in between; see bench_startup.py."""
    plain = {"MACHINE_STORAGE_PATH": str(one), "SHELL": "/bin/bash", **bench.environ}
    commands: dict = {query: bench.argv(one, *query) for query in QUERIES}
    commands.update({"without flags " + query[0]: [bench.command, query[0], "web"] for query in QUERIES})
    commands["argparse"] = [bench.python, "-c", "import argparse"]
    measured = []
    for _ in range(rounds + 1):
        seconds, bare = {}, []
        for what, argv in commands.items():
            bare.append(cpu_seconds([bench.python, "-c", "pass"], plain))
            seconds[what] = cpu_seconds(argv, plain)
        measured.append((seconds, statistics.mean(bare)))
    del measured[0]  # which only fills caches
    ratios = {what: lower_quartile([ours[what] / bare for ours, bare in measured]) for what in commands}
    for query in QUERIES:
        ratio, without = ratios[query] - (ratios["argparse"] - 1), ratios["without flags " + query[0]]
        bench.promise(ratio <= PROMISED_QUERY, "%s %.1f ms, bare Python %.1f ms (medians): lower quartile of ratios "
                      "%.2f without argparse, promised %.1f (%.2f without flags)", query[0],
                      1000 * statistics.median(ours[query] for ours, _ in measured),
                      1000 * statistics.median(bare for _, bare in measured), ratio, PROMISED_QUERY, without)


def measure_live(bench: Bench, stores: dict, rounds: int) -> dict:
    least = bench.least({what: bench.argv(store, "ls") for what, store in stores.items()}, rounds)
    one = least["one"]
    ratio = least["hundred"] / one
    bench.promise(ratio <= PROMISED_LS, "ls of 100 machines %.0f ms, of one %.0f ms: ratio %.2f, promised %.1f",
                  1000 * least["hundred"], 1000 * one, ratio, PROMISED_LS)
    print("        ls of 100 different engines %.0f ms: ratio %.1f, nothing promised"
          % (1000 * least["spread"], least["spread"] / one), flush=True)
    return least


def measure_dead(bench: Bench, holes: Path, dead: Path, least: dict, rounds: int) -> None:
    """A round more only where the best so far breaks the promise: they are waits, not work."""
    for store, what, alive in ((holes, "100 machines, %d of them black holes" % HOLES, "hundred"),
                               (dead, "%d black holes" % MANY, "many")):
        seconds, limit = float("inf"), DEADLINE + least[alive]
        for _ in range(rounds):
            if seconds > limit:
                seconds = min(seconds, bench.wall_seconds(bench.argv(store, "ls", "-t", str(DEADLINE))))
        bench.promise(seconds <= limit, "ls -t %d of %s %.2f s, promised %.2f", DEADLINE, what, seconds, limit)


def measure_memory(bench: Bench, stores: dict) -> None:
    for what, store in stores.items():
        argv = [bench.python, "-c", PEAK, *bench.argv(store, "ls", "-t", str(DEADLINE))]
        megabytes = int(bench.run(argv)) / 1024
        bench.promise(megabytes < PROMISED_MB, "ls of %s: %.0f MB at its peak, promised %d", what, megabytes,
                      PROMISED_MB)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--stand-in", action="store_true", help="take the TLS server even if dockerd could run")
    parser.add_argument("--check", action="store_true", help="exit 1 if a promise is broken")
    options = parser.parse_args()
    stand_in = options.stand_in
    if not stand_in:
        from tests.testbed import missing_requirements
        stand_in = bool(missing_requirements())
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        with (stand_in_engine if stand_in else real_engine)(bench) as (url, *others), black_holes() as holes:
            print("The engine is %s. Of %d rounds, seconds of the clock are the least:"
                  % ("a stand-in" if stand_in else "dockerd", options.rounds), flush=True)
            stores = {
                "one": bench.store("one", [url]),
                "hundred": bench.store("hundred", [url] * 100),
                "spread": bench.store("spread", others),
                "many": bench.store("many", [url] * MANY),
            }
            mixed = bench.store("mixed", [url] * (100 - HOLES) + list(itertools.islice(holes, HOLES)))
            dead = bench.store("dead", list(itertools.islice(holes, MANY)))
            measure_queries(bench, stores["one"], 2 * options.rounds)
            least = measure_live(bench, stores, options.rounds)
            measure_dead(bench, mixed, dead, least, 3)
            measure_memory(bench, {"%d machines" % MANY: stores["many"], "%d black holes" % MANY: dead})
    return int(options.check and bench.broken)


if __name__ == "__main__":
    sys.exit(main())
