"""docker_machine.py as a person runs it: as a program, on a store of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.testbed import Host

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker_machine.py"
COMMAND = ROOT / "docker-machine"

HANG = 900.0
"""Seconds that nothing takes on the busiest computer, unless it waits for what never comes."""
SOON = 90.0
"""The same for what is told at once; an engine that cannot start may take twice as long to give up."""

Done = subprocess.CompletedProcess
"""What a program printed and how it ended; with text."""


def block_of(page: str, marker: str, language: str = "sh") -> str:
    """The lines of the fenced block after <!-- MARKER --> of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (lines,) = re.findall(rf"<!-- {re.escape(marker)} -->\n```{language}\n(.*?)\n```", text, re.S)
    return lines


class Program:
    """The program on one store. Its temporary files have a folder of their own, so that what a
    killed one leaves behind can be found.

    `called` is what the command `docker-machine` is: that of a checkout, which keeps its bytecode,
    or FILE alone, which is compiled at each start.
    """

    def __init__(self, folder: Path, store: str = "store", called: Path = COMMAND) -> None:
        self.store = folder / store
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.file = folder / "called" / "docker-machine"
        self.file.parent.mkdir(exist_ok=True)
        if not self.file.exists():
            self.file.symlink_to(called)
        home = folder / "home"
        home.mkdir(exist_ok=True)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DOCKER_", "MACHINE_", "GENERIC_", "ENGINE_"))
        }
        self.environ = {
            **kept,
            "HOME": str(home),
            "USER": "tester",
            "TMPDIR": str(self.temporary),
            "MACHINE_STORAGE_PATH": str(self.store),
            "PATH": f"{self.file.parent}:{os.environ['PATH']}",
        }

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, str(self.file), *words]

    def __call__(
        self, *words: str, code: int | None = 0, stdin: str = "", seconds: float = HANG
    ) -> Done[str]:
        """Run a command line to its end, and see that its exit code is `code` unless None."""
        return self.outside(*self.argv(*words), code=code, stdin=stdin, seconds=seconds)

    def outside(
        self, *argv: str, code: int | None = 0, stdin: str = "", seconds: float = HANG
    ) -> Done[str]:
        """Run another program in the same environment."""
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            env=self.environ,
            timeout=seconds,
            text=True,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"exit code {done.returncode}\n{said(done)}"
        return done

    def start(self, *words: str) -> Running:
        return Running(self.argv(*words), self.environ)

    def create(
        self, host: Host, *words: str, name: str = "web", user: str = "root", code: int | None = 0
    ) -> Done[str]:
        return self(*self.create_words(host, *words, name=name, user=user), code=code)

    @staticmethod
    def create_words(host: Host, *words: str, name: str = "web", user: str = "root") -> list[str]:
        driver = ("--driver", "generic", "--generic-ip-address", host.address)
        login = ("--generic-ssh-key", str(host.key), "--generic-ssh-user", user)
        return ["create", *driver, *login, *words, name]

    def docker(self, *words: str, name: str = "web", code: int | None = 0) -> Done[str]:
        """The docker client with the flags that `config` prints."""
        flags = self("config", name).stdout.replace('"', "").splitlines()
        return self.outside("docker", *flags, *words, code=code)

    def info(self, name: str = "web") -> dict[str, Any]:
        """What the engine says of itself to the docker client."""
        return json.loads(self.docker("info", "--format", "{{json .}}", name=name).stdout)

    def curl(self, url: str, *words: str, name: str = "web") -> Done[str]:
        """curl with the certificates of a machine."""
        folder = self.folder(name)
        pair = ("--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem"))
        curl = ("curl", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*")
        return self.outside(*curl, "--cacert", str(folder / "ca.pem"), *pair, *words, url)

    def folder(self, name: str = "web") -> Path:
        return self.store / "machines" / name

    def config(self, name: str = "web") -> dict[str, Any]:
        return json.loads((self.folder(name) / "config.json").read_text(encoding="utf-8"))

    def edit(self, change: Callable[[dict[str, Any]], object], name: str = "web") -> None:
        """Change a config.json as a text editor would."""
        config = self.config(name)
        change(config)
        path = self.folder(name) / "config.json"
        path.write_text(json.dumps(config, indent=4), encoding="utf-8")

    def names(self) -> list[str]:
        return self("ls", "--quiet").stdout.split()

    def ls(self, *words: str) -> Done[str]:
        """`ls`, which waits longer for answers than a person would: the computer may be busy."""
        return self("ls", "--timeout", f"{SOON:.0f}", *words)

    def copy(self, folder: Path) -> Program:
        """The program on a copy of the store."""
        other = Program(folder)
        if self.store.exists():
            shutil.copytree(self.store, other.store)
        return other


class Running:
    """A command line that runs while the test does something else, until HANG at most."""

    def __init__(self, argv: list[str], environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            text=True,
        )
        self.lines: list[str] = []
        self._limit = threading.Timer(HANG, self.process.kill)
        self._limit.daemon = True
        self._limit.start()

    def line(self, text: str) -> bool:
        """Read until a line that holds `text`; whether it came before the end."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return True
        return False

    def wait(self) -> int:
        self.line("\0")
        self._limit.cancel()
        return self.process.wait()

    def kill(self) -> None:
        """kill -9, of the program alone: its children go on."""
        self._limit.cancel()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def __str__(self) -> str:
        return "".join(self.lines)


def said(done: Done[str]) -> str:
    return f"{done.args}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"


def processes_with(variable: str, value: Path) -> dict[int, str]:
    """{process id: command line} of all that have this in their environment."""
    mark = f"\0{variable}={value}\0".encode()
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in b"\0" + Path("/proc", pid, "environ").read_bytes():
                words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
                line = " ".join(word.decode(errors="replace") for word in words)
                if line:  # a zombie has none
                    found[int(pid)] = line
    return found


def end_all(processes: Callable[[], dict[int, str]]) -> None:
    """Kill them, and what they start meanwhile."""

    def killed() -> bool:
        for pid in processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return not processes()

    assert until(killed), processes()


def until(check: Callable[[], object], seconds: float = SOON) -> object:
    """Ask again and again until the answer is true; the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


def all_files(host: Host) -> str:
    """A listing of what provisioning could change on a host."""
    find = "find /etc /usr /opt /root /home /var/tmp /tmp -mount ! -type d"
    packages = "dpkg-query -W -f '${Package} ${Version} ${Status}\\n'"
    return host.run(f"{find} -printf '%p %m %u %s %T@\\n' | sort; hostname; {packages}")


def engine_process(host: Host, what: str) -> list[str]:
    """`cmdline` or `environ` of the host's dockerd, as the kernel holds it."""
    return host.run(f"tr '\\0' '\\1' < /proc/{host.engine_pid()}/{what}").split("\1")


def serial(path: Path) -> str:
    """The serial number of a certificate."""
    words = ["openssl", "x509", "-in", str(path), "-noout", "-serial"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
