"""The life of virtual machines by the driver "qemu", from nothing; see test_qemu_images.py for the rest."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import free_port

from .guests import Guests
from .program import HANG, ROOT, SOON, said, serial, until

pytest_plugins = (f"{__package__}.fixtures",)


# --- two machines, from nothing


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """The store of most machines, with a path that shells, ssh and QEMU must not stumble over."""
    made = Guests(tmp_path_factory.mktemp("life"), "my st,ore's %h")
    yield made
    made.end()
    shutil.rmtree(made.store / "cache", ignore_errors=True)  # a gigabyte or two


def test_a_killed_build_does_not_go_on(life: Guests) -> None:
    running = life.start(*life.words())
    assert running.line("Installing the base system"), running

    running.kill()

    assert until(lambda: not life.processes(), HANG), life.processes()
    assert life.names() == []


class Pair:
    """Two machines that were made at the same time, when there was no image yet."""

    def __init__(self, guests: Guests) -> None:
        self.guests, self.port = guests, free_port()
        words = ("--engine-label", "kind=guest", "--qemu-forward", f"{self.port}:80")
        self.dev = guests.begin(*words)
        self.other = guests.begin("--qemu-memory", "1024", name="other")
        self.codes = (self.dev.wait(), self.other.wait())


@pytest.fixture(scope="module")
def pair(life: Guests) -> Pair:
    made = Pair(life)
    assert made.codes == (0, 0), f"{made.dev}\n{made.other}"
    return made


@pytest.fixture(scope="module")
def cache(pair: Pair) -> Path:
    """A cache with an image in it."""
    return pair.guests.store / "cache"


@pytest.fixture
def dev(pair: Pair) -> Guests:
    """The store of the machine "dev", which runs."""
    if pair.guests.status() != "Running":
        pair.guests("start", "dev")
    return pair.guests


def test_two_creations_at_once_share_one_build(pair: Pair) -> None:
    built = [made for made in (pair.dev, pair.other) if "Building the image" in str(made)]

    assert len(built) == 1
    assert pair.guests.info("dev")["Name"] == "dev"
    assert pair.guests.info("other")["Name"] == "other"
    assert len(pair.guests.qemus()) == 2
    # nor is anything left of the build that was killed before
    assert list((pair.guests.store / "cache").rglob("*.part*")) == []
    assert list(pair.guests.temporary.iterdir()) == []


def test_create_tells_what_it_does_while_it_does_it(pair: Pair) -> None:
    (made,) = [made for made in (pair.dev, pair.other) if "Building the image" in str(made)]

    made.check_progress()
    assert made.stderr == ""


def test_an_engine_is_set_up_before_it_starts_for_the_first_time(pair: Pair) -> None:
    assert "Everything is in place" in str(pair.dev)
    assert "kind=guest" in pair.guests.info("dev")["Labels"]
    journal = pair.guests.inside("sudo journalctl --unit docker --output cat")
    assert journal.count("Starting docker.service") == 1


def test_the_engine_is_for_the_store_s_client_only(dev: Guests) -> None:
    port = dev.config("dev")["Driver"]["EnginePort"]

    assert '"ApiVersion"' in dev.curl(f"https://127.0.0.1:{port}/version", name="dev").stdout
    bare = ("curl", "--silent", "--insecure", "--max-time", "20", "--noproxy", "*")
    refused = dev.outside(*bare, f"https://127.0.0.1:{port}/version", code=None)
    assert refused.returncode != 0 and refused.stdout == ""


def test_the_host_key_is_known_before_the_first_connection(dev: Guests) -> None:
    known = dev.folder("dev") / "known_hosts"
    (line,) = known.read_text().splitlines()
    assert line.split()[2] in dev.inside("cat /etc/ssh/ssh_host_*.pub")

    other = (dev.folder("other") / "known_hosts").read_text().split()[2]
    known.write_text(line.replace(line.split()[2], other) + "\n")
    try:
        done = dev("ssh", "dev", "true", code=None)
    finally:
        known.write_text(line + "\n")

    assert done.returncode != 0 and "key" in done.stderr.lower(), said(done)


def test_kill_ends_the_process_and_rm_leaves_nothing(pair: Pair) -> None:
    guests = pair.guests
    guests("kill", "other")
    assert guests.qemus("other") == []
    assert (guests.status("other"), guests.listed("other")) == ("Stopped", "Stopped")

    guests("rm", "-y", "other")

    assert guests.names() == ["dev"]
    assert guests.qemus("other") == [] and len(guests.qemus("dev")) == 1
    assert [path for path in guests.tree() if "other" in path] == []
    assert list((guests.store / "cache").rglob("disk.raw"))
    assert guests.info("dev")["Name"] == "dev"


# --- the life of a machine


def page(port: int) -> str:
    """What a container serves at a forwarded port, or ""."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return ""


class Life:
    """What must stay as it is, whatever happens to the machine."""

    def __init__(self, guests: Guests) -> None:
        driver = guests.config("dev")["Driver"]
        self.ports = driver["SSHPort"], driver["EnginePort"]
        self.known_hosts = (guests.folder("dev") / "known_hosts").read_text()
        self.url = guests("url", "dev").stdout


def boot_id(guests: Guests) -> str:
    return guests.inside("cat /proc/sys/kernel/random/boot_id")


def test_a_forwarded_port_reaches_a_container(dev: Guests, pair: Pair) -> None:
    dev.inside("tar -C / -c bin/busybox | sudo docker import - box")
    serve = "echo kept >>/data/index.html; exec /bin/busybox httpd -f -h /data"
    dev.docker(
        *("run", "--detach", "--restart=always", "--name", "web", "--volume", "data:/data", "--stop-signal=KILL"),
        *("--publish", "80:80", "box", "/bin/busybox", "sh", "-c", serve),
        name="dev",
    )

    assert until(lambda: page(pair.port)) == "kept\n"


def test_a_paused_machine_goes_on_without_a_boot(dev: Guests) -> None:
    boot, pids = boot_id(dev), dev.qemus("dev")

    dev("pause", "dev")
    assert (dev.status(), dev.listed()) == ("Paused", "Paused")
    dev("start", "dev")

    assert dev.status() == "Running"
    assert (boot_id(dev), dev.qemus("dev")) == (boot, pids)
    assert dev.info("dev")["Name"] == "dev"


def test_a_restarted_machine_is_as_it_was(dev: Guests, pair: Pair) -> None:
    before, boot, served = Life(dev), boot_id(dev), until(lambda: page(pair.port), HANG)
    assert served

    done = dev("restart", "dev")

    assert Life(dev).__dict__ == before.__dict__
    assert "run docker-machine env" not in done.stdout + done.stderr
    assert boot_id(dev) != boot
    assert dev.info("dev")["Name"] == "dev"
    # the container is up again, and its volume has what it wrote before
    assert until(lambda: page(pair.port), HANG) == f"{served}kept\n"


def test_certificates_are_renewed(dev: Guests) -> None:
    server = dev.folder("dev") / "server.pem"
    before = serial(server)

    dev("regenerate-certs", "-f", "dev")

    assert serial(server) != before
    assert dev.info("dev")["Name"] == "dev"
    assert "Everything is in place" in dev("provision", "dev").stdout


def test_a_stopped_machine_has_no_process(dev: Guests) -> None:
    dev("stop", "dev")

    assert dev.qemus("dev") == []
    assert (dev.status(), dev.listed()) == ("Stopped", "Stopped")


def test_the_cached_image_starts_as_fast_as_by_hand(guests: Guests, cache: Path) -> None:
    words = ["--rounds", "5", "--cache", str(cache), "--check"]
    guests.outside(sys.executable, str(ROOT / "tests" / "bench" / "bench_qemu.py"), *words)


# --- creations that are killed


@pytest.fixture
def cached(tmp_path: Path, cache: Path) -> Iterator[Guests]:
    """The program on a store with no machine, but an image in its cache; its path is longer than
    that of a socket may be."""
    made = Guests(tmp_path, "/".join(["a folder of a very long name that is only one of many"] * 4), cache)
    assert len(str(made.store)) > 150
    yield made
    made.end()


def test_arguments_that_qemu_refuses(cached: Guests) -> None:
    done = cached.make("--qemu-extra-args", "-device nonsense", code=1)

    assert "QEMU does not start" in done.stderr and "nonsense" in done.stderr, said(done)
    assert "Resume: docker-machine provision dev" in done.stderr
    assert "docker-machine rm dev" in done.stderr
    assert (cached.names(), cached.processes()) == (["dev"], {})
    assert "QEMU does not start" in cached("provision", "dev", code=1).stderr
    cached("rm", "-y", "dev")
    assert (cached.names(), cached.processes()) == ([], {})


def test_rm_after_a_kill_while_the_disk_is_made(cached: Guests) -> None:
    before = cached.tree()
    running = cached.start(*cached.words())
    assert running.line("Creating the disk"), running
    running.kill()

    cached("rm", "-y", "dev")

    assert until(lambda: not cached.processes()), cached.processes()
    added = set(cached.tree()) - set(before)
    assert [path for path in added if path.startswith(("cache/", "machines/", "locks/"))] == []
    assert list(cached.temporary.iterdir()) == []


def test_rm_after_a_kill_right_after_qemu_started(cached: Guests) -> None:
    kill_right_after_qemu_started(cached)

    cached("rm", "-y", "dev")

    assert until(lambda: not cached.processes()), cached.processes()
    assert not cached.folder("dev").exists()


def kill_right_after_qemu_started(guests: Guests) -> None:
    running = guests.start(*guests.words())
    assert running.line("Starting QEMU"), running
    deadline = time.monotonic() + SOON
    while not guests.qemus():
        assert time.monotonic() < deadline, running
    running.kill()  # it had no time yet to note that QEMU started
    assert until(guests.qemus), running


class Terminal:
    """A shell that runs a command line in a terminal of its own, which can hang up."""

    def __init__(self, guests: Guests, *words: str) -> None:
        self.pid, self.end = pty.fork()
        if not self.pid:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
            line = shlex.join(guests.argv(*words)) + "; sleep 600"
            os.execve("/bin/sh", ["sh", "-c", line], guests.environ)
        self.text = ""

    def line(self, text: str, seconds: float = HANG) -> bool:
        """Read until there is `text`; whether it came."""
        limit = threading.Timer(seconds, os.kill, (self.pid, signal.SIGKILL))
        limit.start()
        with contextlib.suppress(OSError):
            while text not in self.text:
                self.text += os.read(self.end, 4096).decode(errors="replace")
        limit.cancel()
        return text in self.text

    def hang_up(self) -> None:
        os.close(self.end)
        os.waitpid(self.pid, 0)


def test_provision_finishes_what_was_killed(cached: Guests) -> None:
    kill_right_after_qemu_started(cached)
    terminal = Terminal(cached, "provision", "dev")
    assert terminal.line("Provisioning with"), terminal.text
    (qemu,) = cached.qemus()
    python = f"{sys.executable} "
    # the oldest: what it starts is a copy of it for a moment
    ours = min(pid for pid, line in cached.processes().items() if line.startswith(python))

    os.kill(ours, signal.SIGKILL)
    terminal.hang_up()
    cached("provision", "dev")

    assert cached.qemus() == [qemu]  # it lives on without its terminal
    assert cached.info("dev")["Name"] == "dev"


