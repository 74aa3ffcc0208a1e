"""How long `create` takes on a host that has an engine, beside a shell script that does the minimum.

Promise: at most 1.3 times as long, by the best of each, which a busy machine spoils least. Both run on fresh
hosts, in turn; --check ends as soon as two rounds or more hold it. Needs root, docker and mmdebstrap:

    sudo python3 tests/bench/bench_create.py [--rounds 5] [--check]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.testbed import Testbed  # noqa: E402

PROMISE = 1.3


def seconds_of(argv: list) -> float:
    start = time.perf_counter()
    subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit 1 if the promise is broken")
    options = parser.parse_args()
    times: dict = {"minimal.sh": [], "create": []}
    with tempfile.TemporaryDirectory() as name, Testbed(Path(name) / "bed") as bed:
        folder = Path(name)
        for number in range(options.rounds):
            for what, seconds in times.items():
                host = bed.host("engine")
                if what == "create":
                    argv = [sys.executable, ROOT / "docker_machine.py",
                            "--storage-path", folder / ("store%d" % number), "create",
                            "--driver", "generic", "--generic-ip-address", host.ip,
                            "--generic-ssh-key", host.key, "web"]
                else:
                    argv = ["sh", ROOT / "tests/bench/minimal.sh", host.ip, host.key,
                            folder / ("minimal%d" % number)]
                seconds.append(seconds_of(argv))
                host.remove()
            least, ours = (min(times[what]) for what in ("minimal.sh", "create"))
            if options.check and number and ours / least <= PROMISE:
                break  # more rounds make the best of each better still
    print("minimal.sh %.2f s, create %.2f s (best of %d): ratio %.2f, promised %.1f"
          % (least, ours, number + 1, ours / least, PROMISE))
    return int(options.check and ours / least > PROMISE)


if __name__ == "__main__":
    sys.exit(main())
