"""How long `create` takes from a cached image, beside the same QEMU started by hand.

Promise: at most 1.3 times as long, the best ratio of some rounds. By hand is the command line that
`create` used, with a disk of the same kind and the same seed, until its engine answers a GET /_ping
over TLS. It starts when the QEMU of `create` does, so that all else that this computer does slows
both; --check ends as soon as the promise is held. Without --cache (the folder "cache" of a store),
the image is built first:

    python3 tests/bench/bench_qemu.py [--rounds 3] [--accel tcg] [--cache FOLDER] [--check]
"""

import argparse
import http.client
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "docker_machine.py"
PROMISE = 1.3
LIMIT = 600


class Bench:
    """A store, the machine "dev" in it, and its twin."""

    def __init__(self, folder: Path, cache: str, accel: str) -> None:
        self.store, self.accel = folder / "store", accel
        self.machine, self.by_hand = self.store / "machines" / "dev", folder / "by-hand"
        self.pid_file = self.by_hand / "qemu.pid"
        if cache:
            self.store.mkdir(mode=0o700)
            (self.store / "cache").symlink_to(os.path.abspath(cache))
        else:
            self.run("create", "--driver", "qemu", *self.flags(), "dev")
            self.remove()

    def flags(self) -> "list[str]":
        one = ["--qemu-cpu-count", "1"]  # two that are emulated on a busy computer wait for one another
        return [*one, "--qemu-accel", self.accel] if self.accel else one

    def start(self, *words: str) -> "subprocess.Popen[str]":
        argv = [sys.executable, str(PROGRAM), "--storage-path", str(self.store), *words]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *words: str) -> None:
        ended = self.start(*words)
        said, _ = ended.communicate()
        if ended.returncode:
            sys.exit(said)

    def round(self) -> "tuple[float, float]":
        """Seconds that `create` takes to its end, and that its twin takes to answer."""
        start, said, twins = time.perf_counter(), [], []
        create = self.start("--debug", "create", "--driver", "qemu", *self.flags(), "dev")
        assert create.stdout
        for line in create.stdout:
            said.append(line)
            found = re.search(r"run: (\S*qemu-system-\S* .*-daemonize)$", line.rstrip("\n"))
            if found:
                twins.append(Twin(self, found[1]))
                twins[-1].start()
        seconds = time.perf_counter() - start
        if create.wait() or len(twins) != 1:
            sys.exit("".join(said))
        twins[0].join()
        if not twins[0].seconds:
            sys.exit("The engine of the guest by hand does not answer.")
        return seconds, twins[0].seconds

    def remove(self) -> None:
        """End both guests."""
        if self.pid_file.exists():
            os.kill(int(self.pid_file.read_text()), 9)
        shutil.rmtree(str(self.by_hand), ignore_errors=True)
        if self.machine.exists():
            self.run("rm", "-y", "dev")


class Twin(threading.Thread):
    """The same virtual machine, started by hand on ports of its own."""

    def __init__(self, bench: Bench, line: str) -> None:
        super().__init__(daemon=True)
        self.machine, self.by_hand, self.line, self.seconds = bench.machine, bench.by_hand, line, 0.0
        self.certs = bench.store / "certs"

    def run(self) -> None:
        self.by_hand.mkdir()
        shutil.copy(str(self.machine / "seed.img"), str(self.by_hand))
        image = subprocess.check_output(
            ["qemu-img", "info", "-U", "--output=json", str(self.machine / "disk.qcow2")], text=True)
        (base,) = re.findall(r'"full-backing-filename": "(.*)"', image)
        (size,) = set(re.findall(r'"virtual-size": (\d+)', image))
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base,
                        str(self.by_hand / "disk.qcow2"), size], check=True)
        line = re.sub(r"(hostfwd=tcp:127\.0\.0\.1:)\d+", lambda found: found[1] + str(free_port()), self.line)
        argv = [word.replace(str(self.machine), str(self.by_hand)) for word in shlex.split(line)]
        start = time.perf_counter()
        subprocess.run(argv, cwd=str(self.by_hand), check=True)
        (port,) = re.findall(r"hostfwd=tcp:127.0.0.1:(\d+)-:2376", line)
        if self.answers(int(port), start + LIMIT):
            self.seconds = time.perf_counter() - start

    def answers(self, port: int, deadline: float) -> bool:
        """Wait until its engine does."""
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        context.load_cert_chain(str(self.certs / "cert.pem"), str(self.certs / "key.pem"))
        while time.perf_counter() < deadline:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
            try:
                connection.request("GET", "/_ping")
                if connection.getresponse().read() == b"OK":
                    return True
            except (OSError, http.client.HTTPException, socket.timeout):
                time.sleep(0.1)
            finally:
                connection.close()
        return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="at most (default: 3)")
    parser.add_argument("--accel", default="tcg", help="what --qemu-accel takes (default: tcg)")
    parser.add_argument("--cache", default="", help="a store's folder of built images")
    parser.add_argument("--check", action="store_true", help="exit 1 if the promise is broken")
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.cache, options.accel)
        for _ in range(options.rounds):
            try:
                rounds.append(bench.round())
            finally:
                bench.remove()
            create, hand = min(rounds, key=lambda pair: pair[0] / pair[1])
            ratio = create / hand
            if options.check and ratio <= PROMISE:
                break
    print("by hand %.1f s, create %.1f s (best of %d): ratio %.2f, promised %.1f"
          % (hand, create, len(rounds), ratio, PROMISE))
    return int(options.check and ratio > PROMISE)


if __name__ == "__main__":
    sys.exit(main())
