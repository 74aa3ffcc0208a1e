"""Virtual machines by the driver "qemu", with real guests.

This takes a quarter of an hour: hosts for tests rarely have hardware acceleration, so that every
guest is emulated in software and boots in 40 seconds, and an image is built in a minute.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import ipaddress
import os
import pty
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import cloud_image
from tests.testbed import free_port, number_of

from .conftest import HostFactory
from .guests import Guests, Timed, sentence_and_hint
from .program import HANG, ROOT, SOON, Done, said, serial, until


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Guests]:
    """The program on an empty store."""
    made = Guests(tmp_path)
    yield made
    made.end()


# --- bad input


def refused(guests: Guests, *words: str, code: int = 3) -> str:
    """What a refused `create` says; nothing is left of it in the store or among the processes."""
    before = guests.tree()

    done = guests.make(*words, code=code)

    assert guests.tree() == before, said(done)
    assert guests.processes() == {}
    return sentence_and_hint(done)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--qemu-forward", "80"), '--qemu-forward "80" is not [ADDRESS:]PORT:PORT[/udp]'),
        (("--qemu-forward", "0:80"), "is not [ADDRESS:]PORT:PORT"),
        (("--qemu-forward", "8080:80/icmp"), "is not [ADDRESS:]PORT:PORT"),
        (("--qemu-forward", "here:8080:80"), "is not [ADDRESS:]PORT:PORT"),
        (("--qemu-network", "br0"), '--qemu-network "br0" is not bridge:NAME or tap:NAME'),
        (("--qemu-network", "tap:a,b"), "is not bridge:NAME or tap:NAME"),
        (("--qemu-arch", "mips"), '--qemu-arch "mips" is none of: x86_64, aarch64'),
        (("--qemu-accel", "xen"), '--qemu-accel "xen" is none of: kvm, hvf, whpx, tcg'),
        (("--qemu-memory", "64"), "--qemu-memory 64 is too little: at least 512 MB"),
        (("--qemu-disk-size", "100"), "--qemu-disk-size 100 is too little: at least 3000 MB"),
        (("--qemu-cpu-count", "0"), "--qemu-cpu-count 0 is no number of CPUs"),
        (("--qemu-image", "nonsense:suite"), "is neither a URL nor DISTRIBUTION:RELEASE"),
        (("--qemu-image", "debian"), "is neither a URL nor DISTRIBUTION:RELEASE"),
        (("--qemu-ssh-user", "-x"), '--qemu-ssh-user "-x" is not a user name'),
        (("--qemu-share-folder", "/no/such/folder"), "there is no folder /no/such/folder"),
        (("--qemu-share-folder", "/tmp:/in the middle"), "holds blanks"),
        (("--qemu-extra-args", "-name 'dev"), "--qemu-extra-args cannot be split"),
    ],
)
def test_a_wrong_word_is_a_mistake_of_the_command_line(
    guests: Guests, words: tuple[str, ...], said: str
) -> None:
    assert said in refused(guests, *words, code=2)


def test_without_qemu_its_package_is_named(guests: Guests, tmp_path: Path) -> None:
    guests.without(tmp_path / "bin", "qemu-")

    words = refused(guests)

    assert 'The program "qemu-system-' in words and "was not found" in words
    assert "apt-get install" in words and "qemu-system-" in words.partition("Install it:")[2]


def test_without_qemu_img_its_package_is_named(guests: Guests, tmp_path: Path) -> None:
    guests.without(tmp_path / "bin", "qemu-img")

    words = refused(guests)

    assert 'The program "qemu-img" was not found' in words
    assert "qemu-utils" in words.partition("Install it:")[2]


def test_more_memory_than_there_is(guests: Guests) -> None:
    words = refused(guests, "--qemu-memory", "10000000")

    assert "--qemu-memory 10000000 is more than the" in words
    assert "Give less: --qemu-memory" in words


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_forwarded_port_that_is_taken(guests: Guests, kind: str) -> None:
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    with socket.socket(socket.AF_INET, kinds[kind]) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "tcp":
            taken.listen()
        port = taken.getsockname()[1]

        words = refused(guests, "--qemu-forward", f"{port}:80/{kind}")

    assert f"Port {port} of 127.0.0.1 cannot be forwarded" in words
    assert "taken by another program" in words


# --- images that cannot be had


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The address of a server of the files in a folder."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_release_that_the_mirror_does_not_have(guests: Guests, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    with web_server(tmp_path / "mirror") as url:
        words = refused(guests, "--qemu-image", "debian:sarge", "--qemu-mirror", url)

    assert "the mirror has no release sarge" in words
    assert "--qemu-mirror" in words


def test_a_mirror_that_cannot_be_reached(guests: Guests) -> None:
    with socket.socket() as bound:  # nothing listens there, and nothing else can
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        words = refused(guests, "--qemu-mirror", url)

    assert "the package mirror cannot be reached" in words
    assert "--qemu-mirror" in words


class Image:
    """A file that passes for a disk image, with the list of checksums beside it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.file = folder / "image.qcow2"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", str(self.file), "4G"], check=True
        )
        self.digest = hashlib.sha512(self.file.read_bytes()).hexdigest()
        (folder / "SHA512SUMS").write_text(f"{self.digest}  image.qcow2\n")
        self.url = f"file://{self.file}"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path / "published")


def test_an_image_that_does_not_exist(guests: Guests) -> None:
    assert "No such file" in refused(guests, "--qemu-image", "file:///no/such/image.qcow2")


def test_an_image_that_is_none(guests: Guests, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2").write_text("<html>Not found</html>\n" * 99)

    words = refused(guests, "--qemu-image", f"file://{tmp_path}/image.qcow2")

    assert "holds no disk image in the format qcow2 or raw" in words


def test_a_compressed_image(guests: Guests) -> None:
    words = refused(guests, "--qemu-image", "https://127.0.0.1:1/disk.raw.xz", code=2)

    assert "disk.raw.xz is compressed" in words and "file://" in words


def test_an_image_that_the_list_of_checksums_does_not_fit(guests: Guests, image: Image) -> None:
    with image.file.open("r+b") as file:
        file.truncate(image.file.stat().st_size // 2)

    words = refused(guests, "--qemu-image", image.url)

    assert f"instead of {image.digest}; it was not kept" in words


def test_an_image_that_the_flag_does_not_fit(guests: Guests, image: Image) -> None:
    with web_server(image.file.parent) as url:
        words = refused(
            guests,
            *("--qemu-image", f"{url}/image.qcow2", "--qemu-image-checksum", "sha256:" + "0" * 64),
        )

    assert f"instead of {'0' * 64}; it was not kept" in words


def test_a_kind_of_checksum_that_there_is_not(guests: Guests, image: Image) -> None:
    checksum = ("--qemu-image-checksum", "crc:12")

    words = refused(guests, "--qemu-image", image.url, *checksum, code=2)

    assert '"crc:12" is no checksum' in words and "sha256:HEX" in words


def test_a_disk_that_is_smaller_than_its_image(guests: Guests, image: Image) -> None:
    done = guests.make("--qemu-image", image.url, "--qemu-disk-size", "3000", code=3)

    words = sentence_and_hint(done)
    assert "--qemu-disk-size 3000 is less than the image's own size" in words
    assert "4096" in words
    assert guests.names() == []  # but the image stays, for whoever gives more


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """small_disk(size): a folder with a disk of its own; again for another size of it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def sized(size: str) -> Path:
        option = f"{'remount,' if os.path.ismount(folder) else ''}size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", option, "none", str(folder)], check=True)
        return folder

    yield sized
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_no_room_for_an_image(small_disk: Callable[[str], Path]) -> None:
    guests = Guests(small_disk("100m"))

    words = refused(guests)

    assert "MB left on its disk; the image needs" in words and "--storage-path" in words


def test_a_disk_that_gets_full_while_an_image_is_built(small_disk: Callable[[str], Path]) -> None:
    guests = Guests(small_disk("3500m"))
    try:
        before = guests.tree()
        running = guests.start(*guests.words())
        assert running.line("Building the image"), running

        small_disk("200m")

        assert running.wait() == 3, running
        assert "the disk is full" in str(running) and "Make room" in str(running)
        assert guests.tree() == before
        assert list(guests.temporary.iterdir()) == []
    finally:
        guests.end()


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


def test_rm_leaves_nothing(pair: Pair) -> None:
    guests = pair.guests

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
        *("run", "--detach", "--restart=always", "--name", "web", "--volume", "data:/data"),
        *("--publish", "80:80", "box", "/bin/busybox", "sh", "-c", serve),
        name="dev",
    )

    assert until(lambda: page(pair.port)) == "kept\n"


def test_a_stopped_machine_starts_as_it_was(dev: Guests, pair: Pair) -> None:
    before, boot = Life(dev), boot_id(dev)

    dev("stop", "dev")
    assert dev.qemus("dev") == []
    assert (dev.status(), dev.ls()) == ("Stopped", "Stopped")
    done = dev("start", "dev")

    assert Life(dev).__dict__ == before.__dict__
    assert "run docker-machine env" not in done.stdout + done.stderr
    assert boot_id(dev) != boot
    assert dev.info("dev")["Name"] == "dev"
    # the container is up again, and its volume has what it wrote before
    assert until(lambda: page(pair.port), HANG) == "kept\nkept\n"


def test_a_paused_machine_goes_on_without_a_boot(dev: Guests) -> None:
    boot, pids = boot_id(dev), dev.qemus("dev")

    dev("pause", "dev")
    assert (dev.status(), dev.ls()) == ("Paused", "Paused")
    dev("start", "dev")

    assert dev.status() == "Running"
    assert (boot_id(dev), dev.qemus("dev")) == (boot, pids)
    assert dev.info("dev")["Name"] == "dev"


def test_a_port_that_another_program_has_taken_meanwhile(dev: Guests, pair: Pair) -> None:
    before = Life(dev)
    dev("kill", "dev")
    assert dev.qemus("dev") == []
    assert dev.status() == "Stopped"

    with socket.create_server(("127.0.0.1", pair.port)):  # the one that --qemu-forward names
        done = dev("start", "dev", code=1)
    assert f"Port {pair.port} of 127.0.0.1" in done.stderr, said(done)
    assert dev.qemus("dev") == []

    with socket.create_server(("127.0.0.1", before.ports[1])):
        done = dev("start", "dev")

    (warning,) = done.stderr.splitlines()
    assert f"Port {before.ports[1]} is taken by another program" in warning
    assert "run docker-machine env again" in warning
    after = Life(dev)
    assert after.ports[0] == before.ports[0] and after.ports[1] != before.ports[1]
    assert f":{after.ports[1]}\n" in dev("url", "dev").stdout
    assert dev.info("dev")["Name"] == "dev"


def test_restart_boots_it_anew(dev: Guests) -> None:
    before, boot = Life(dev), boot_id(dev)

    dev("restart", "dev")

    assert Life(dev).__dict__ == before.__dict__
    assert boot_id(dev) != boot
    assert dev.info("dev")["Name"] == "dev"


def test_a_machine_whose_qemu_was_killed_is_stopped_and_starts(dev: Guests) -> None:
    (pid,) = dev.qemus("dev")
    file = dev.folder("dev") / "qemu.pid"

    os.kill(pid, signal.SIGKILL)

    assert until(lambda: dev.status() == "Stopped")
    assert dev.ls() == "Stopped"
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        file.write_text(f"{stranger.pid}\n")  # as after a reboot, when numbers are given anew
        assert (dev.status(), dev.ls()) == ("Stopped", "Stopped")
        assert "already stopped" in dev("kill", "dev", code=1).stderr
        dev("start", "dev")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert dev.info("dev")["Name"] == "dev"


def test_certificates_are_renewed(dev: Guests) -> None:
    server = dev.folder("dev") / "server.pem"
    before = serial(server)

    dev("regenerate-certs", "-f", "dev")

    assert serial(server) != before
    assert dev.info("dev")["Name"] == "dev"
    assert "Everything is in place" in dev("provision", "dev").stdout


def test_the_cached_image_starts_as_fast_as_by_hand(guests: Guests, cache: Path) -> None:
    words = ["--rounds", "1", "--cache", str(cache), "--check"]
    argv = [sys.executable, str(ROOT / "tests" / "bench" / "bench_qemu.py"), *words]
    for _ in range(3):  # machines are noisy
        done = guests.outside(*argv, code=None)
        print(done.stdout, done.stderr)
        if done.returncode == 0:
            return
    pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)


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
    (ours,) = [pid for pid, line in cached.processes().items() if line.startswith(python)]

    os.kill(ours, signal.SIGKILL)
    terminal.hang_up()
    cached("provision", "dev")

    assert cached.qemus() == [qemu]  # it lives on without its terminal
    assert cached.info("dev")["Name"] == "dev"


# --- a folder and a network that are shared with the guest


class Shared:
    """A machine with a shared folder and a second network card; what --debug told of it."""

    def __init__(self, guests: Guests, folder: Path, tap: str, address: ipaddress.IPv4Address) -> None:
        self.guests, self.folder, self.address = guests, folder, address
        share = ("--qemu-share-folder", f"{folder}:/srv/share")
        words = guests.words(*share, "--qemu-network", f"tap:{tap}")
        self.done = guests("--debug", *words)


@pytest.fixture(scope="module")
def shared(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """This one has an image of its own: Debian's kernel for clouds knows no shared folders."""
    guests = Guests(tmp_path_factory.mktemp("shared"), cache=cache)
    folder = tmp_path_factory.mktemp("a, folder")
    folder.chmod(0o755)  # who may read it there is as here: by the users' numbers
    tap = f"tap{secrets.token_hex(4)}"
    address = ipaddress.IPv4Address("198.18.0.1") + 4 * (number_of("taps") % 32000)  # the guest has the next one
    subprocess.run(["ip", "tuntap", "add", "dev", tap, "mode", "tap"], check=True)
    try:
        subprocess.run(["ip", "address", "add", f"{address}/30", "dev", tap], check=True)
        subprocess.run(["ip", "link", "set", tap, "up"], check=True)
        yield Shared(guests, folder, tap, address + 1)
    finally:
        guests.end()
        subprocess.run(["ip", "link", "delete", tap], check=True)


def test_a_shared_folder_has_the_same_files_on_both_sides(shared: Shared) -> None:
    guests = shared.guests
    (shared.folder / "ours").write_text("from here\n")

    assert guests.inside("cat /srv/share/ours") == "from here"
    guests.inside("echo from there | sudo tee /srv/share/theirs")
    assert (shared.folder / "theirs").read_text() == "from there\n"


def test_a_second_card_answers_on_a_tap(shared: Shared) -> None:
    line = f"sudo ip address add {shared.address}/30 dev eth1 && sudo ip link set eth1 up"
    shared.guests.inside(line)

    def banner() -> bytes:
        with contextlib.suppress(OSError):
            with socket.create_connection((str(shared.address), 22), timeout=5) as connection:
                return connection.recv(20)
        return b""

    assert str(until(banner)).startswith("b'SSH-2.0")


def test_a_shared_folder_is_there_after_a_start(shared: Shared) -> None:
    guests = shared.guests
    (shared.folder / "late").write_text("still here\n")

    guests("stop", "dev")
    guests("start", "dev")

    assert guests.inside("cat /srv/share/late") == "still here"
    guests.inside("echo back | sudo tee /srv/share/late")
    assert (shared.folder / "late").read_text() == "back\n"


def test_no_secret_is_printed_with_debug(shared: Shared) -> None:
    guests, printed = shared.guests, shared.done.stdout + shared.done.stderr
    keys = [path for path in guests.store.rglob("*") if path.is_file() and private(path)]

    assert {path.name for path in keys} >= {"ca-key.pem", "key.pem", "server-key.pem", "id_ed25519"}
    lines = {line for key in keys for line in key.read_text().splitlines() if len(line) > 20}
    hidden = {line for line in lines if not line.startswith("-----")} | {"PRIVATE KEY"}
    assert "qemu-system-" in shared.done.stderr and "run: " in shared.done.stderr
    assert [secret for secret in hidden if secret in printed] == []
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert guests.folder("dev").joinpath("seed.img").stat().st_mode & 0o777 == 0o600


def private(path: Path) -> bool:
    with path.open("rb") as file:
        return b"PRIVATE KEY-----\n" in file.read(99)


# --- images of others


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guests, Done[str]]]:
    """A machine from a cloud image, and what its creation said."""
    missing = cloud_image.missing()
    assert not missing, f"missing packages: {missing}"
    image = cloud_image.cached()
    guests = Guests(tmp_path_factory.mktemp("cloud"))
    words = guests.words("--qemu-image", f"file://{image}", "--qemu-ssh-user", "ops")
    done = guests(*words, code=None)
    yield guests, done
    guests.end()
    shutil.rmtree(guests.store / "cache")


def test_a_cloud_image_becomes_a_machine(cloud: tuple[Guests, Done[str]]) -> None:
    guests, done = cloud

    assert done.returncode == 0, said(done)
    assert done.stderr == ""  # its list of checksums was found
    assert guests.info("dev")["Name"] == "dev"
    assert guests.inside("id -un; hostname; sudo -n id -un").split() == ["ops", "dev", "root"]


def test_the_first_connection_to_it_is_verified(cloud: tuple[Guests, Done[str]]) -> None:
    guests = cloud[0]
    known, seed = (guests.folder("dev") / name for name in ("known_hosts", "seed.img"))

    (line,) = known.read_text().splitlines()
    keys = guests.inside("sudo sh -c 'cat /etc/ssh/ssh_host_*.pub'").splitlines()

    assert line.split()[1:] in [key.split()[:2] for key in keys]
    assert known.stat().st_mtime <= seed.stat().st_mtime


# --- from nothing


def test_the_readme_s_first_command_ends_in_an_answer_of_the_engine(host: HostFactory) -> None:
    """On a fresh system, as an ordinary user who may use sudo."""
    machine = host("bare")
    for folder in ("", "/extras"):
        machine.run(f"mkdir -p /home/ops/src{folder}")
    for name in ("docker_machine.py", "extras/qemu.py"):
        machine.write(f"/home/ops/src/{name}", (ROOT / name).read_text(encoding="utf-8"))
    machine.run("chown -R ops: /home/ops && chmod 700 /home/ops")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"<!-- main-command -->\n```sh\n(.*)\n```", readme)
    machine.write("/home/ops/line", f"cd ~/src && {line}\n")

    login = ("su", "--login", "ops", "--command", "bash /home/ops/line")
    made = Timed(["docker", "exec", machine.name, *login], dict(os.environ))

    assert made.wait() == 0, str(made)
    made.check_progress()
    assert "emulated in software" in str(made)  # there is no /dev/kvm in that container
    answer = str(made).rpartition("Docker is up and running!")[2]
    assert '"ServerVersion":' in answer and '"Name":"dev"' in answer, str(made)
