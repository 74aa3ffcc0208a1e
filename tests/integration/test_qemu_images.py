"""Virtual machines by the driver "qemu": what is refused, images of all kinds, and what a guest shares with its host.

Hosts for tests rarely have hardware acceleration, so that every guest is emulated in software and boots in 30
seconds, and an image is built in a minute.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import cloud_image
from tests.testbed import free_port, number_of

from .conftest import HostFactory
from .guests import Guests, Timed, sentence_and_hint
from .program import ROOT, Done, block_of, said, until

pytest_plugins = (f"{__package__}.fixtures",)


# --- bad input


def refused(guests: Guests, *words: str, code: int = 3) -> str:
    """What a refused `create` says; nothing is left of it in the store or among the processes."""
    before = guests.tree()

    done = guests.make(*words, code=code)

    assert guests.tree() == before, said(done)
    left = guests.processes()
    assert all(" genrsa " in line for line in left.values()), left  # openssl may still end its key, for nobody
    assert until(lambda: not guests.processes()), guests.processes()
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
        (("--qemu-memory", "64"), "--qemu-memory 64 is too small: at least 512"),
        (("--qemu-disk-size", "100"), "--qemu-disk-size 100 is too small: at least 3000"),
        (("--qemu-cpu-count", "0"), "--qemu-cpu-count 0 is not a number of CPUs"),
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

    assert "not a disk image in the format qcow2 or raw" in words


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

    assert '--qemu-image-checksum "crc:12" cannot be used' in words and "sha256:HEX" in words


def test_a_disk_that_is_smaller_than_its_image(guests: Guests, image: Image) -> None:
    done = guests.make("--qemu-image", image.url, "--qemu-disk-size", "3000", code=3)

    words = sentence_and_hint(done)
    assert "--qemu-disk-size 3000 is less than the image's own size" in words
    assert "4096" in words
    assert guests.names() == []  # but the image stays, for whoever gives more


class SmallDisk:
    """A folder with a disk of its own."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)], check=True)

    def shrink(self, megabytes: int) -> bool:
        """Leave room for so much more; not if meanwhile somebody has used it."""
        disk = os.statvfs(self.folder)
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        words = ["mount", "-o", f"remount,size={used + (megabytes << 20)}", str(self.folder)]
        return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """small_disk(megabytes): one that goes with the test."""
    yield lambda megabytes: SmallDisk(tmp_path / "disk", megabytes)
    subprocess.run(["umount", "--lazy", str(tmp_path / "disk")], check=True)


def test_no_room_for_an_image(small_disk: Callable[[int], SmallDisk]) -> None:
    guests = Guests(small_disk(100).folder)

    words = refused(guests)

    assert "MB left on its disk; the image needs" in words and "--storage-path" in words


def test_a_disk_that_gets_full_while_an_image_is_built(small_disk: Callable[[int], SmallDisk]) -> None:
    disk = small_disk(3500)
    guests = Guests(disk.folder)
    try:
        before = guests.tree()
        running = guests.start(*guests.words())
        assert running.line("Downloading packages"), running  # its look for room is over

        assert until(lambda: disk.shrink(50))

        assert running.wait() == 3, running
        assert "the disk is full" in str(running) and "Make room" in str(running)
        assert guests.tree() == before
        assert list(guests.temporary.iterdir()) == []
    finally:
        guests.end()


# --- a folder and a network that are shared with the guest, which is made where root is no mount point

PLAIN_CHROOT = r"""set -eu
root=$1
shift
for folder in usr bin lib lib32 lib64 sbin etc opt root var sys dev; do
    if [ -L "/$folder" ]; then
        ln -sfn "$(readlink "/$folder")" "$root/$folder"
    elif [ -d "/$folder" ]; then
        mkdir -p "$root/$folder"
        mount --rbind "/$folder" "$root/$folder"
    fi
done
mkdir -p "$root/proc" "$root/tmp" "$root/run"
mount -t proc proc "$root/proc"
chmod 1777 "$root/tmp"
for folder in "$REPOSITORY" "$STORES"; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
done
exec chroot "$root" "$@"
"""


class Shared:
    """A machine with a shared folder, a second network card and a forwarded port; what --debug told of it. It is made
    in a plain chroot: its root is a folder, no mount point, and all mounts cannot be made private at once there."""

    def __init__(self, guests: Guests, tmp: Path, folder: Path, tap: str, address: ipaddress.IPv4Address) -> None:
        self.guests, self.tmp, self.folder, self.address = guests, tmp, folder, address
        self.root, self.port = tmp / "root", free_port()
        self.root.mkdir()
        share = ("--qemu-share-folder", f"{folder}:/srv/share", "--qemu-forward", f"{self.port}:80")
        words = guests.words(*share, "--qemu-network", f"tap:{tap}")
        self.done = self.in_chroot(*guests.argv("--debug", *words))

    def in_chroot(self, *words: str, code: int = 0) -> Done[str]:
        options = ("--mount", "--propagation", "private")
        environ = (f"REPOSITORY={ROOT}", f"STORES={self.tmp}", "TMPDIR=/tmp")
        chroot = ("env", *environ, "unshare", *options, "sh", "-c", PLAIN_CHROOT, "sh", str(self.root))
        return self.guests.outside(*chroot, *words, code=code)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """This one has an image of its own: Debian's kernel for clouds knows no shared folders."""
    tmp = tmp_path_factory.mktemp("shared")
    guests, folder = Guests(tmp), tmp / "a, folder"
    folder.mkdir(mode=0o755)  # who may read it there is as here: by the users' numbers
    tap = f"tap{secrets.token_hex(4)}"
    address = ipaddress.IPv4Address("198.18.0.1") + 4 * (number_of("taps") % 32000)  # the guest has the next one
    subprocess.run(["ip", "tuntap", "add", "dev", tap, "mode", "tap"], check=True)
    try:
        subprocess.run(["ip", "address", "add", f"{address}/30", "dev", tap], check=True)
        subprocess.run(["ip", "link", "set", tap, "up"], check=True)
        yield Shared(guests, tmp, folder, tap, address + 1)
    finally:
        guests.end()
        shutil.rmtree(guests.store / "cache", ignore_errors=True)
        subprocess.run(["ip", "link", "delete", tap], check=True)


def test_a_machine_is_made_in_a_plain_chroot(shared: Shared) -> None:
    refused = shared.in_chroot("unshare", "--mount", "true", code=1)
    assert "cannot change root filesystem propagation" in refused.stderr

    assert "Docker is up and running!" in shared.done.stdout, said(shared.done)
    assert shared.in_chroot(*shared.guests.argv("status", "dev")).stdout == "Running\n"
    assert not [path.name for path in (shared.root / "tmp").iterdir() if path.name.startswith("docker-machine")]
    assert str(shared.root) not in Path("/proc/self/mounts").read_text()


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


def test_a_machine_whose_qemu_was_killed_starts_though_others_took_its_number_and_its_port(shared: Shared) -> None:
    guests, file = shared.guests, shared.guests.folder("dev") / "qemu.pid"
    (shared.folder / "late").write_text("still here\n")
    before = guests.config("dev")["Driver"]
    (pid,) = guests.qemus("dev")

    os.kill(pid, signal.SIGKILL)

    assert until(lambda: guests.status() == "Stopped")
    assert guests.listed() == "Stopped"
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        file.write_text(f"{stranger.pid}\n")  # as after a reboot, when numbers are given anew
        assert (guests.status(), guests.listed()) == ("Stopped", "Stopped")
        assert "already stopped" in guests("kill", "dev", code=1).stderr

        with socket.create_server(("127.0.0.1", shared.port)):  # the one that --qemu-forward names
            done = guests("start", "dev", code=1)
        assert f"Port {shared.port} of 127.0.0.1" in done.stderr, said(done)
        assert guests.qemus("dev") == []

        with socket.create_server(("127.0.0.1", before["EnginePort"])):
            done = guests("start", "dev")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()

    (warning,) = done.stderr.splitlines()
    assert f"Port {before['EnginePort']} is taken by another program" in warning
    assert "run docker-machine env again" in warning
    after = guests.config("dev")["Driver"]
    assert after["SSHPort"] == before["SSHPort"] and after["EnginePort"] != before["EnginePort"]
    assert f":{after['EnginePort']}\n" in guests("url", "dev").stdout
    assert guests.info("dev")["Name"] == "dev"
    # the shared folder is there again
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
    lines = block_of("README.md", "main-command")
    machine.write("/home/ops/line", f"cd ~/src && {lines}\n")

    login = ("su", "--login", "ops", "--command", "bash /home/ops/line")
    made = Timed(["docker", "exec", machine.name, *login], dict(os.environ))

    assert made.wait() == 0, str(made)
    made.check_progress()
    assert "emulated in software" in str(made)  # there is no /dev/kvm in that container
    answer = str(made).rpartition("Docker is up and running!")[2]
    assert '"ServerVersion":' in answer and '"Name":"dev"' in answer, str(made)
