"""What a command on a machine of a plugin takes beyond the plugin's own start.

Promise: `status` takes at most 60 ms longer than the plugin needs until it says its address, on a computer whose
Python starts in 12 ms, and on another in proportion: five times as long as a Python that does nothing. All take turns,
and of each the least counts: what is more is the computer's other work. Needs Go; run with the Python to be measured:

    python3 tests/bench/bench_plugin.py [--rounds 40] [--check]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import docker_machine as core  # noqa: E402
from tests import go_plugins  # noqa: E402
from tests.bench.bench_ls import Bench  # noqa: E402

PROMISED = 5.0


def machine_of_plugin(store: Path) -> None:
    """A machine that was made, and never provisioned: the plugin keeps its state in a file."""
    there = core.Store(str(store))
    driver_class = core.load_driver("ci-test")
    with there.new("web", driver_class) as machine:
        machine.driver.set_config_from_flags(core.parse_flags(core.create_flags(driver_class), [], {})[0])
        there.add(machine)
        machine.driver.create()
        machine.mark("")


def plugin_seconds(argv: list) -> float:
    """How long a plugin takes to say its address."""
    environ = {**os.environ, "MACHINE_PLUGIN_TOKEN": "42", "MACHINE_PLUGIN_DRIVER_NAME": "ci-test"}
    start = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout and process.stdout.readline().startswith(b"127.0.0.1:")
        seconds = time.perf_counter() - start
        process.kill()
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--check", action="store_true", help="exit 1 if the promise is broken")
    options = parser.parse_args()
    plugins = go_plugins.built("ci-test")
    os.environ["PATH"] = f"{plugins}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        bench.environ["PATH"] = os.environ["PATH"]
        machine_of_plugin(bench.folder / "store")
        plugin = [str(plugins / "docker-machine-driver-ci-test")]
        commands: dict = {
            "status": bench.argv(bench.folder / "store", "status", "web"),
            "plugin": plugin,
            "bare": [bench.python, "-c", "pass"],
        }

        def seconds_of(argv: list) -> float:
            return plugin_seconds(argv) if argv is plugin else bench.wall_seconds(argv)

        least = {what: 1000 * seconds for what, seconds in bench.least(
            commands, options.rounds, seconds_of).items()}
        over = least["status"] - least["plugin"]
        ratio = over / least["bare"]
        bench.promise(ratio <= PROMISED, "status %.1f ms, the plugin's start %.1f: %.1f ms over it, Python's %.1f: "
                      "ratio %.2f, promised %.1f", least["status"], least["plugin"], over, least["bare"], ratio,
                      PROMISED)
    return int(options.check and bench.broken)


if __name__ == "__main__":
    sys.exit(main())
