"""docker_machine.py with the driver "qemu": a store whose virtual machines end with the test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

from .program import HANG, Done, Program, end_all, processes_with, said

STEPS = (
    "Building the image",
    "Downloading packages",
    "Installing the base system",
    "Installing kernel",
    "Making the disk image",
    "Creating the disk",
    "Starting QEMU",
    "Waiting for SSH",
    "Docker is up and running!",
)


class Guests(Program):
    """The program on one store. What it starts, and what that starts, has the store's path in its
    environment; `end` ends it all, whoever its parent is by then."""

    def __init__(self, folder: Path, store: str = "store", cache: Path | None = None) -> None:
        super().__init__(folder, store)
        self.environ["no_proxy"] = "127.0.0.1,localhost"
        if cache:  # images that were built before
            self.store.mkdir(parents=True, mode=0o700)
            (self.store / "cache").symlink_to(cache)

    def words(self, *words: str, name: str = "dev") -> list[str]:
        """`create` of a machine with one CPU: two that are emulated on a busy computer wait for one another. A model
        without AVX and XSAVE boots in a sixth less of processor time than QEMU's "max". Linux takes PCLMUL for granted
        where there is AES: its thread dies without, and no shutdown comes to its end before systemd's 90 s are over."""
        cpu = ("--qemu-accel", "tcg", "--qemu-cpu-count", "1", "--qemu-cpu-type", "Westmere,+rdrand")
        return ["create", "--driver", "qemu", *cpu, *words, name]

    def make(
        self, *words: str, name: str = "dev", code: int | None = 0, seconds: float = HANG
    ) -> Done[str]:
        return self(*self.words(*words, name=name), code=code, seconds=seconds)

    def begin(self, *words: str, name: str = "dev") -> Timed:
        return Timed(self.argv(*self.words(*words, name=name)), self.environ)

    def processes(self) -> dict[int, str]:
        """{process id: command line} of all that works on this store."""
        return processes_with("MACHINE_STORAGE_PATH", self.store)

    def qemus(self, name: str = "") -> list[int]:
        """The processes of the store's virtual machines, or of one."""
        folder = f"{self.folder(name)}/" if name else str(self.store)
        return [
            pid
            for pid, line in self.processes().items()
            if "qemu-system-" in line.split(" ")[0] and folder in line
        ]

    def end(self) -> None:
        end_all(self.processes)
        for line in Path("/proc/mounts").read_text().splitlines():
            if f" {self.temporary}/" in line:  # a killed builder's; /proc and the like
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)

    def tree(self) -> list[str]:
        """All that is in the store; what is in a cache by its first two levels."""
        found = []
        for folder, folders, files in os.walk(self.store, followlinks=True):
            depth = len(Path(folder).relative_to(self.store).parts)
            found += [os.path.join(folder, name) for name in folders + files]
            if "cache" in Path(folder).parts and depth > 2:
                folders.clear()
        return sorted(os.path.relpath(path, self.store) for path in found)

    def listed(self, name: str = "dev") -> str:
        """What `ls` says of the state of a machine."""
        (row,) = re.findall(rf"^{name} (\S+)$", self.ls("-f", "{{.Name}} {{.State}}").stdout, re.M)
        return row

    def status(self, name: str = "dev") -> str:
        return self("status", name).stdout.strip()

    def inside(self, line: str, name: str = "dev", code: int | None = 0) -> str:
        """Run a shell line in the machine; what it prints."""
        return self("ssh", name, line, code=code).stdout.rstrip("\n")

    def without(self, folder: Path, *prefixes: str) -> None:
        """Let the program's PATH lack the programs whose names start so. QEMU is copied: what lies
        beside it is found behind a symlink."""
        folder.mkdir()
        for place in os.get_exec_path():
            for path in Path(place).iterdir() if os.path.isdir(place) else ():
                new = folder / path.name
                if path.name.startswith(prefixes) or new.is_symlink() or new.exists():
                    continue
                if path.name.startswith(f"qemu-system-{os.uname().machine}"):
                    shutil.copy(path, new)
                else:
                    new.symlink_to(path)
        self.environ["PATH"] = str(folder)


def sentence_and_hint(done: Done[str]) -> str:
    """What was printed to stderr: a sentence and a hint, and never a traceback. Where the command
    line is wrong, the sentence may be the hint."""
    assert "Traceback" not in done.stderr and "defect" not in done.stderr, said(done)
    assert (done.returncode != 2) + 1 <= len(done.stderr.splitlines()) <= 4, said(done)
    return done.stderr.replace('\\"', '"')


class Timed:
    """A command line that runs while the test does something else, and when it printed what."""

    def __init__(self, argv: list[str], environ: dict[str, str]) -> None:
        self.lines: list[tuple[float, str]] = []
        self.stderr = ""
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            text=True,
        )
        self._limit = threading.Timer(HANG, self.process.kill)
        self._readers = [threading.Thread(target=work) for work in (self._out, self._err)]
        for thread in (self._limit, *self._readers):
            thread.daemon = True
            thread.start()

    def _out(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line))

    def _err(self) -> None:
        assert self.process.stderr
        self.stderr = self.process.stderr.read()

    def wait(self) -> int:
        for thread in self._readers:
            thread.join()
        self._limit.cancel()
        return self.process.wait()

    def time_of(self, text: str) -> float:
        """When a line with `text` came."""
        times = [when for when, line in self.lines if text in line]
        assert times, f'no line says "{text}":\n{self}'
        return times[0]

    def check_progress(self) -> None:
        """See that it told of each step of a creation from nothing when the step began."""
        times = [self.time_of(step) for step in STEPS]
        gaps = [after - before for before, after in zip(times, times[1:])]
        assert min(gaps) >= 0, str(self)
        assert max(gaps) < 0.8 * (times[-1] - times[0]), str(self)
        build = self.time_of("Starting QEMU") - self.time_of("Building the image")
        boot = times[-1] - self.time_of("Waiting for SSH")
        assert build > 5 and boot > 5, str(self)

    def __str__(self) -> str:
        start = self.lines[0][0] if self.lines else 0
        return "".join(f"{when - start:6.1f} {line}" for when, line in self.lines) + self.stderr
