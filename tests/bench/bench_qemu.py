"""How long `create` takes from a cached image, beside the same QEMU started by hand.

Promise: at most 1.3 times as long, the best of each compared, since other work only adds. By hand
is the command line that `create` used, with a disk of the same kind and the same seed, until its
engine answers a GET /_ping over TLS. Both take turns; --check ends as soon as the promise is held.
Without --cache (the folder "cache" of a store), the image is built first:

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
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "docker_machine.py"
PROMISE = 1.3
LIMIT = 600


class Bench:
    """A store, and the machine "dev" in it."""

    def __init__(self, folder: Path, cache: str, accel: str) -> None:
        self.store, self.accel = folder / "store", accel
        self.machine, self.by_hand = self.store / "machines" / "dev", folder / "by-hand"
        self.pid_file = self.by_hand / "qemu.pid"
        if cache:
            self.store.mkdir(mode=0o700)
            (self.store / "cache").symlink_to(os.path.abspath(cache))
        else:
            self.create()
            self.remove()

    def run(self, *words: str) -> str:
        argv = [sys.executable, str(PROGRAM), "--storage-path", str(self.store), *words]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return done.stdout + done.stderr

    def create(self) -> float:
        """Seconds until `create` is at its end."""
        start = time.perf_counter()
        accel = ["--qemu-accel", self.accel] if self.accel else []
        said = self.run("--debug", "create", "--driver", "qemu", *accel, "dev")
        seconds = time.perf_counter() - start
        (self.line,) = re.findall(r"run: (\S*qemu-system-\S* .*-daemonize)$", said, re.M)
        return seconds

    def start_by_hand(self) -> float:
        """Seconds until the engine of the same machine, started by hand, answers."""
        self.run("kill", "dev")
        self.by_hand.mkdir()
        shutil.copy(str(self.machine / "seed.img"), str(self.by_hand))
        # a disk that the machine has not written to
        image = subprocess.check_output(
            ["qemu-img", "info", "--output=json", str(self.machine / "disk.qcow2")], text=True)
        (base,) = re.findall(r'"full-backing-filename": "(.*)"', image)
        (size,) = set(re.findall(r'"virtual-size": (\d+)', image))
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base,
                        str(self.by_hand / "disk.qcow2"), size], check=True)
        argv = [word.replace(str(self.machine), str(self.by_hand))
                for word in shlex.split(self.line)]
        start = time.perf_counter()
        subprocess.run(argv, cwd=str(self.by_hand), check=True)
        self.wait(start + LIMIT)
        return time.perf_counter() - start

    def wait(self, deadline: float) -> None:
        (port,) = re.findall(r"hostfwd=tcp:127.0.0.1:(\d+)-:2376", self.line)
        context = ssl.create_default_context(cafile=str(self.machine / "ca.pem"))
        context.load_cert_chain(str(self.machine / "cert.pem"), str(self.machine / "key.pem"))
        while True:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", int(port), timeout=5, context=context)
            try:
                connection.request("GET", "/_ping")
                if connection.getresponse().read() == b"OK":
                    return
            except (OSError, http.client.HTTPException, socket.timeout):
                time.sleep(0.1)
            finally:
                connection.close()
            if time.perf_counter() > deadline:
                sys.exit("The engine of the guest by hand does not answer.")

    def remove(self) -> None:
        """End both guests."""
        if self.pid_file.exists():
            os.kill(int(self.pid_file.read_text()), 9)
        shutil.rmtree(str(self.by_hand), ignore_errors=True)
        if self.machine.exists():
            self.run("rm", "-y", "dev")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="at most (default: 3)")
    parser.add_argument("--accel", default="tcg", help="what --qemu-accel takes (default: tcg)")
    parser.add_argument("--cache", default="", help="a store's folder of built images")
    parser.add_argument("--check", action="store_true", help="exit 1 if the promise is broken")
    options = parser.parse_args()
    hand, ours = [], []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.cache, options.accel)
        for _ in range(options.rounds):
            try:
                ours.append(bench.create())
                hand.append(bench.start_by_hand())
            finally:
                bench.remove()
            ratio = min(ours) / min(hand)
            if options.check and ratio <= PROMISE:
                break
    print("by hand %.1f s, create %.1f s (best of %d): ratio %.2f, promised %.1f"
          % (min(hand), min(ours), len(ours), ratio, PROMISE))
    return int(options.check and ratio > PROMISE)


if __name__ == "__main__":
    sys.exit(main())
