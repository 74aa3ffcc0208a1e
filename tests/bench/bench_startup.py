"""How much processor time `docker_machine.py version` takes, beside a Python that does nothing.

Promise: at most 8 times as much as a copied file, which Python compiles anew each time, at most 1.5
times installed by pip. A command line with a flag imports argparse, and costs that much more. What
compiling costs is printed with the size of the file, also for other files that are named (of an
earlier release, say). Each round has a ratio of its own, to Pythons that start right before and after
the program: what else a computer does, or another one on the same processor, changes the cost of a
start by a third within a second. The promise is held against the lower quartile of the rounds, the
part that was disturbed least. Run with the Python to be measured, best the system's own:

    /usr/bin/python3 tests/bench/bench_startup.py [--rounds 40] [--check] [FILE...]
"""

import argparse
import ast
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISES = {"copied": 8.0, "installed": 1.5}
BARE = 4  # starts of a Python that does nothing, before a program and after it


def cpu_seconds(argv: list, environ: dict) -> float:
    """Seconds of a processor: on an idle computer it takes as long, on a busy one it is the same."""
    process = subprocess.Popen([str(word) for word in argv], stdout=subprocess.DEVNULL, env=environ)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit("%s failed" % argv)
    return usage.ru_utime + usage.ru_stime


def beside(bare: list, argv: list, environ: dict) -> tuple:
    """Seconds of a processor of a program, and of a start of `bare` at the same time."""
    others = [cpu_seconds(bare, environ) for _ in range(BARE)]
    seconds = cpu_seconds(argv, environ)
    others += [cpu_seconds(bare, environ) for _ in range(BARE)]
    return seconds, statistics.mean(others)


def lower_quartile(ratios: list) -> float:
    return sorted(ratios)[len(ratios) // 4]


def install(folder: Path) -> Path:
    """A virtual environment with the project installed by pip; the path of its command."""
    environment = folder / "venv"
    source = folder / "source"  # pip leaves a build folder behind
    source.mkdir()
    for name in ("docker_machine.py", "docker-machine", "setup.py", "setup.cfg", "pyproject.toml",
                 "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("docs", "extras"):
        shutil.copytree(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([environment / "bin" / "pip", "install", "--quiet", source], check=True)
    return environment / "bin" / "docker-machine"


def size_of(path: Path) -> str:
    """Lines, AST nodes, and the seconds of a processor that compiling takes at least."""
    source = path.read_text(encoding="utf-8")
    seconds = []
    for _ in range(5):
        start = time.process_time()
        compile(source, str(path), "exec")
        seconds.append(time.process_time() - start)
    nodes = sum(1 for _ in ast.walk(ast.parse(source)))
    return "%d lines, %d nodes, compiled in %.0f ms" % (source.count("\n"), nodes, 1000 * min(seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--check", action="store_true", help="exit 1 if a promise is broken")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="another docker_machine.py to compare with")
    options = parser.parse_args()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as name:
        command = install(Path(name))
        copied = shutil.copy(ROOT / "docker_machine.py", name)
        bare = [sys.executable, "-c", "pass"]
        # The environment's own Python does nothing, too: it reads pyvenv.cfg and more paths.
        bare_in_venv = [command.parent / "python", "-c", "pass"]
        commands: dict = {
            "copied": (bare, [sys.executable, copied, "version"]),
            "installed": (bare_in_venv, [command, "version"]),
            "installed, with a flag": (bare_in_venv, [command, "--version"]),
        }
        commands.update({"copied " + str(path): (bare, [sys.executable, path, "version"]) for path in options.files})
        rounds = [{what: beside(base, argv, environ) for what, (base, argv) in commands.items()}
                  for _ in range(options.rounds + 1)]
    broken = False
    for what in commands:
        pairs = [each[what] for each in rounds[1:]]  # the first only fills caches
        ratio, promise = lower_quartile([ours / other for ours, other in pairs]), PROMISES.get(what, 0.0)
        broken = broken or 0 < promise < ratio
        ours, other = (1000 * statistics.median(column) for column in zip(*pairs))
        print("%s %.1f ms, bare Python %.1f ms (medians of %d): lower quartile of ratios %.2f, %s" % (
            what, ours, other, options.rounds, ratio, "promised %.1f" % promise if promise else "nothing promised"))
    for path in (ROOT / "docker_machine.py", *options.files):
        print("%s: %s" % (path, size_of(path)))
    return int(options.check and broken)


if __name__ == "__main__":
    sys.exit(main())
