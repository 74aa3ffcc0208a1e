"""Real Linux hosts for the integration tests: containers with systemd as PID 1 and sshd.

A host looks like a freshly installed Debian machine that is reachable by SSH, and it can run a
Docker Engine of its own. Needed on the machine that runs it: Linux, root, and the Debian packages
docker.io, mmdebstrap and openssh-client.

From Python::

    with Testbed(workdir) as bed:
        host = bed.host("engine")
        host.ssh("docker version", user="root")

By hand, from the root of the repository::

    python3 -m tests.testbed up IMAGE NAME     start (or replace) a host, print its address
    python3 -m tests.testbed ip NAME           print its address
    python3 -m tests.testbed run NAME LINE     run a shell line in it as root (no SSH involved)
    python3 -m tests.testbed ssh NAME [LINE]   log in by SSH as root
    python3 -m tests.testbed rm NAME...        remove hosts
    python3 -m tests.testbed ls                list hosts and images
    python3 -m tests.testbed key               print the path of the private key
    python3 -m tests.testbed build [IMAGE...]  build images ahead of use (default: all)
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import http.client
import io
import ipaddress
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.cached import key

PASSWORD = "testbed"
"""Password of the user `pwsudo`, who may sudo but has to type it."""

BUSYBOX_IMAGE = "testbed/busybox"
"""Image that `Host.load_image` makes inside a host: a static busybox as entry point."""

SOCKET = "/var/run/docker.sock"
REPOSITORY = "docker-machine-testbed"  # also the label of every container
STATE = Path("/run/docker-machine-testbed")  # locks, and the work directory of the command line
IMAGE_LABEL = f"{REPOSITORY}-image"
PID_FILE = STATE / "dockerd.pid"  # of the one that a bed has started
INIT = "/usr/lib/testbed/init"
SSHD_LOG = "/var/log/testbed-sshd.log"
START_TIMEOUT = 300.0
ENVIRONMENT = {  # of a command in a host
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "container": "docker"}

# `--privileged` fails on a machine that lacks CAP_SYS_RESOURCE itself, so name what is needed
# beyond Docker's default set. Nothing here lets a host set the clock or load kernel modules.
CAPABILITIES = (
    "AUDIT_CONTROL DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE LINUX_IMMUTABLE NET_ADMIN "
    "NET_BROADCAST SYSLOG SYS_ADMIN SYS_BOOT SYS_NICE SYS_PACCT SYS_PTRACE SYS_TTY_CONFIG"
).split()

# systemd refuses cgroup v1 from version 256 on unless told so on the "kernel command line", which
# is PID 1's own command line in a container. Both words are without effect on cgroup v2 and for
# older versions.
SYSTEMD = "/lib/systemd/systemd"
SYSTEMD_LEGACY = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0"

INIT_SCRIPT = rf"""#!/bin/sh
# PID 1 until systemd takes over.
# Docker mounts the container's own part of the cgroup tree read-only: systemd has to write to it.
for dir in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -L "$dir" ] || mount -o remount,rw,bind "$dir" 2>/dev/null
done
# Docker mounts these files over the host's own: make them plain files that can be replaced.
for file in /etc/hostname /etc/hosts /etc/resolv.conf; do
    [ -e /usr/lib/testbed/booted ] || cp "$file" "/run/${{file##*/}}"
    umount "$file"
    [ -e /usr/lib/testbed/booted ] || cp "/run/${{file##*/}}" "$file"
done
# dockerd runs iptables some forty times at each start. Where the kernel has the older one, that takes a third of it.
if [ ! -e /usr/lib/testbed/booted ] && iptables-legacy --wait -t nat -L -n >/dev/null 2>&1; then
    update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
fi
touch /usr/lib/testbed/booted
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then exec {SYSTEMD}; fi
exec {SYSTEMD} {SYSTEMD_LEGACY}
"""

BARE = rf"""
rm -f /etc/ssh/ssh_host_*
for user in ops pwsudo nosudo; do
    useradd --create-home --shell /bin/bash "$user"
    echo "$user:{PASSWORD}" | chpasswd
done
usermod --append --groups sudo pwsudo
echo 'ops ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/ops
chmod 440 /etc/sudoers.d/ops

# A log of its own, as sshd writes it before it lets the client in: tests count its lines.
echo 'SSHD_OPTS="-E {SSHD_LOG}"' > /etc/default/ssh
printf 'UseDNS no\nKexAlgorithms curve25519-sha256\n' > /etc/ssh/sshd_config.d/testbed.conf
. /etc/os-release
if [ "$VERSION_ID" -ge 13 ]; then
    echo 'PerSourcePenalties no' >> /etc/ssh/sshd_config.d/testbed.conf
fi

# These reach beyond the container, or cannot work in one.
systemctl mask --quiet systemd-sysctl.service proc-sys-fs-binfmt_misc.automount \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    systemd-udevd.service systemd-modules-load.service console-getty.service
# They run at each boot and at each daemon-reload, and find nothing in a container.
mkdir -p /etc/systemd/system-generators
for generator in /lib/systemd/system-generators/systemd-*; do
    ln -s /dev/null "/etc/systemd/system-generators/${{generator##*/}}"
done
# Power-off ends the container with status 0, so that Docker restarts it after a reboot only.
mkdir -p /etc/systemd/system/systemd-poweroff.service.d
printf '[Service]\nExecStart=\nExecStart=/bin/systemctl --force exit 0\n' \
    > /etc/systemd/system/systemd-poweroff.service.d/testbed.conf
update-ca-certificates >/dev/null
"""

ENGINE = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
packages=docker.io
if apt-cache show docker-cli >/dev/null 2>&1; then packages="docker.io docker-cli"; fi
apt-get install -y -qq --no-install-recommends iptables $packages >/dev/null
apt-get clean
rm -rf /var/lib/apt/lists/*
systemctl is-enabled docker.socket docker.service
"""

QUIET = r"""
systemctl mask docker.socket
ln -s ../sbin/dockerd /usr/bin/dockerd
sed -e 's/docker\.socket//' -e '/^Requires= *$/d' \
    -e 's#/usr/sbin/dockerd#/usr/bin/dockerd#' -e 's#-H fd://#-H unix://#' \
    /lib/systemd/system/docker.service > /etc/systemd/system/docker.service
grep -q 'ExecStart=/usr/bin/dockerd -H unix://' /etc/systemd/system/docker.service
! grep -E 'docker\.socket|^Requires|fd://' /etc/systemd/system/docker.service
systemctl enable docker.service
"""

# cloud-init takes its data from the seed that is written before the first boot. It leaves alone what
# belongs to this machine: the network, the package mirror, the disk.
CLOUD = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends cloud-init >/dev/null
apt-get clean
rm -rf /var/lib/apt/lists/*
echo 'policy: enabled' > /etc/cloud/ds-identify.cfg
cat > /etc/cloud/cloud.cfg.d/95_testbed.cfg <<'END'
datasource_list: [NoCloud, None]
network: {config: disabled}
apt: {preserve_sources_list: true}
growpart: {mode: "off"}
resize_rootfs: false
locale: false
ssh_genkeytypes: [ed25519, ecdsa]
END
"""

TTY = "echo 'Defaults:ops requiretty' > /etc/sudoers.d/tty && chmod 440 /etc/sudoers.d/tty\n"


class TestbedError(Exception):
    """Something in the test bed, not in the program under test, went wrong."""

    __test__ = False


class Recipe(NamedTuple):
    """How to make an image: a shell script run on top of another image or of a Debian suite."""

    parent: str
    script: str


SUITES = ("bullseye", "bookworm", "trixie")
RECIPES = {
    "bare": Recipe("debian:bookworm", BARE),
    "engine": Recipe("bare", ENGINE),
    "quiet": Recipe("engine", QUIET),
    "tty": Recipe("engine", TTY),
    "cloud": Recipe("engine", CLOUD),
    "cloud-bare": Recipe("bare", CLOUD),
    "bullseye": Recipe("debian:bullseye", BARE),
    "bullseye-engine": Recipe("bullseye", ENGINE),
    "trixie": Recipe("debian:trixie", BARE),
    "trixie-engine": Recipe("trixie", ENGINE),
}
PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,ca-certificates,procps,busybox-static"
)


class File(NamedTuple):
    """A file, or a directory if `data` is None, to put into a container."""

    path: str
    data: bytes | None
    mode: int = 0o644
    owner: int = 0


def machine_id() -> File:
    """A new machine id."""
    return File("/etc/machine-id", f"{uuid.uuid4().hex}\n".encode(), 0o444)


def _tar(files: Sequence[File]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            info = tarfile.TarInfo(file.path.lstrip("/"))
            info.mode, info.uid, info.gid = file.mode, file.owner, file.owner
            info.mtime = int(time.time())
            if file.data is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(file.data)
                archive.addfile(info, io.BytesIO(file.data))
    return buffer.getvalue()


def _run(
    command: Sequence[str],
    *,
    data: bytes | None = None,
    timeout: float | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command with its output captured; what it reads is `data`, or nothing."""
    try:
        done = subprocess.run(
            command, input=data or b"", capture_output=True, timeout=timeout, check=False, env=env
        )
    except subprocess.TimeoutExpired as error:
        raise TestbedError(f"{shlex.join(command)}: no end after {timeout:g} s") from error
    return subprocess.CompletedProcess(
        command,
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def _checked(done: subprocess.CompletedProcess[str]) -> str:
    """Standard output without its last newline; an error that tells all if the command failed."""
    if done.returncode != 0:
        raise TestbedError(
            f"{shlex.join(done.args)}: status {done.returncode}\n"
            f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout.rstrip("\n")


def _filters(**filters: str) -> str:
    """The part of a query that lists by these."""
    return urllib.parse.urlencode({"filters": json.dumps({name: [value] for name, value in filters.items()})})


def _log_to_stderr(line: str) -> None:
    print(f"testbed: {line}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    """Hold a lock that all test beds on this machine share."""
    with _lock_file(name) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_file(name: str) -> IO[str]:
    STATE.mkdir(mode=0o700, exist_ok=True)
    return (STATE / f"{name}.lock").open("w", encoding="ascii")


def take_address(address: str) -> str:
    """A command line for a unit of a host. It tells the neighbours, who may know the address of the time before a
    start, when the host's own address and with it that of its network card was another one."""
    ip = f"/sbin/ip address replace {address}/32 dev eth0"
    return f"/bin/sh -c '{ip}; /bin/busybox arping -q -U -c 1 -w 1 -s {address} {address} || true'"


def number_of(what: str) -> int:
    """The next of the numbers that all test runs on this machine share, so that no two get the same address or port."""
    with _lock(f"number of {what}"):
        path = STATE / what
        number = int(path.read_text()) if path.exists() else 0
        path.write_text(str(number + 1))
    return number


def free_port() -> int:
    """A port that nothing listens on and no other test gets; it is not of those that systems choose by themselves."""
    while True:
        port = 20000 + number_of("ports") % 12000
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


def missing_requirements() -> list[str]:
    """What keeps this machine from running test hosts, in words; an empty list if nothing does."""
    if sys.platform != "linux":
        return [f"the platform is {sys.platform}, not linux"]
    missing = []
    if os.geteuid() != 0:
        missing.append("not root")
    for program, package in (
        ("docker", "docker.io"),
        ("dockerd", "docker.io"),
        ("mmdebstrap", "mmdebstrap"),
        ("ssh", "openssh-client"),
        ("ssh-keygen", "openssh-client"),
    ):
        if shutil.which(program) is None:
            missing.append(f"no {program} (Debian package {package})")
    return missing


@functools.cache
def _machine_files() -> tuple[File, ...]:
    """What the hosts need of this machine's configuration to reach the package mirror, if any."""
    files = [
        File(f"/usr/local/share/ca-certificates/{path.name}", path.read_bytes())
        for path in sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))
    ]
    proxies = {
        name: os.environ[name]
        for scheme in ("http", "https", "no")
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())
        if os.environ.get(name)
    }
    if proxies:
        lines = "".join(f'{name}="{value}"\n' for name, value in proxies.items())
        files.append(File("/etc/environment", lines.encode()))
    return tuple(files)


SLIM = r"""--extract-hook=set -e; cd "$1"
printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/locale/*' '/usr/share/man/*' >etc/dpkg/dpkg.cfg.d/tests
rm -rf usr/share/doc/* usr/share/locale/* usr/share/man/*"""
"""For mmdebstrap, which itself takes long for what --dpkgopt excludes."""


def idle(*programs: str) -> str:
    """For mmdebstrap, after SLIM: these programs, "usr/bin/NAME", do nothing, whatever package brings them."""
    return r"""--extract-hook=set -e; cd "$1"
for each in PROGRAMS; do
    echo "path-exclude=/$each" >>etc/dpkg/dpkg.cfg.d/tests
    ln -s /bin/true "$each"
done""".replace("PROGRAMS", " ".join(programs))


@functools.cache
def _apt_options() -> tuple[str, ...]:
    """Options for apt that make the mirror reachable: this machine's own ones, and its proxy."""
    wanted = re.compile(
        r"Acquire::(https?::(?!User-Agent)|Retries|ForceIPv[46]|Check-Date|Check-Valid-Until)"
    )
    options = ['Acquire::Check-Valid-Until "false";', 'Acquire::Languages "none";']
    if shutil.which("apt-config"):
        dump = _checked(_run(["apt-config", "dump"]))
        options += [line for line in dump.splitlines() if wanted.match(line)]
    for scheme in ("http", "https"):
        proxy = os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme}_proxy".upper())
        if proxy:
            options.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return tuple(dict.fromkeys(options))


def _digest(image: str) -> str:
    """A hash of all that goes into an image."""
    if image in RECIPES:
        recipe = RECIPES[image]
        return key(_digest(recipe.parent), recipe.script)
    files = [f"{file.path} {file.data!r}" for file in _machine_files()]
    return key(image, PACKAGES, INIT_SCRIPT, *_debootstrap(image), *files)


def _debootstrap(image: str) -> list[str]:
    """The command that writes the root file system of a Debian suite to its standard output."""
    suite = image.partition(":")[2]
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={PACKAGES}",
        "--dpkgopt=force-unsafe-io",
        *(f"--aptopt={option}" for option in _apt_options()),
        SLIM,
        suite,  # and no mirror: Debian's own, with the updates and security fixes
        "-",
    ]


class Testbed:
    """Starts hosts, and everything that they need: dockerd, an SSH key, the images."""

    __test__ = False  # for pytest: not a test class, in spite of its name

    def __init__(
        self, workdir: str | os.PathLike[str], log: Callable[[str], None] = _log_to_stderr
    ) -> None:
        missing = missing_requirements()
        if missing:
            raise TestbedError("cannot run test hosts: " + ", ".join(missing))
        self.workdir = Path(workdir).resolve()
        self.workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = log
        self.key = self.workdir / "id_ed25519"
        self._docker = [str(shutil.which("docker")), "-H", f"unix://{SOCKET}"]
        self._hosts: dict[str, Host] = {}
        self._in_use = _lock_file("in-use")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)
        with _lock("start"):
            if not self.key.exists():
                self._make_key(self.key)
            if not self._answers():
                self._start_dockerd()

    def __enter__(self) -> Testbed:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove every host that this bed started, and stop the dockerd of the beds if this is the last of them."""
        for host in list(self._hosts.values()):
            host.remove()
        with contextlib.suppress(BlockingIOError):  # another bed is open
            fcntl.flock(self._in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if PID_FILE.exists() and not self.hosts():  # some may have been started by hand
                self._stop_dockerd()
        self._in_use.close()

    def host(self, image: str = "bare", name: str | None = None) -> Host:
        """Start a host, and return it when it has booted and its sshd answers."""
        host = self.launch(image, name or f"testbed-{image}-{secrets.token_hex(3)}", self._identity())
        try:
            host.wait()
        except BaseException:
            host.remove()
            raise
        return host

    def launch(self, image: str, name: str, files: Sequence[File]) -> Host:
        """Start a host that holds these files besides its image's, and do not wait for it."""
        tag = self.image(image)
        host = Host(self, name)
        host.remove()
        settings = {
            "Image": tag,
            "Hostname": name,
            "Labels": {REPOSITORY: image},
            "Env": ["container=docker"],
            "StopSignal": "SIGRTMIN+3",
            "Volumes": {"/var/lib/docker": {}},
            "HostConfig": {
                "CapAdd": CAPABILITIES,
                "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
                "MaskedPaths": [],
                "ReadonlyPaths": [],
                "DeviceCgroupRules": ["a *:* rwm"],
                "CgroupnsMode": "private",
                "Tmpfs": {"/run": "exec,mode=755", "/tmp": "exec"},
                "RestartPolicy": {"Name": "on-failure"},
            },
        }
        self.call("POST", f"/containers/create?name={name}", settings)
        self._hosts[name] = host
        try:
            self.call("PUT", f"/containers/{name}/archive?path=/", _tar(files))
            self.call("POST", f"/containers/{name}/start")
        except BaseException:
            host.remove()
            raise
        return host

    def attach(self, name: str) -> Host:
        """A host that another process started, which `close` will leave alone."""
        return Host(self, name)

    def hosts(self) -> list[tuple[str, str]]:
        """Name and image of every host on this machine, whoever started it."""
        listed = self.call("GET", f"/containers/json?all=1&{_filters(label=REPOSITORY)}")
        return sorted((row["Names"][0][1:], row["Labels"][REPOSITORY]) for row in listed)

    def image(self, image: str) -> str:
        """Build an image unless Docker has it already, and return its tag."""
        if image not in RECIPES and image not in {f"debian:{suite}" for suite in SUITES}:
            raise TestbedError(f"no image {image!r}; there are {', '.join(RECIPES)}")
        tag = f"{REPOSITORY}:{image.replace(':', '-')}-{_digest(image)}"
        with _lock(tag):
            if self.call("GET", f"/images/json?{_filters(reference=tag)}"):
                return tag
            parent = self.image(RECIPES[image].parent) if image in RECIPES else ""
            self.log(f"building the image {image} ...")
            started = time.monotonic()
            old = ("--filter", f"label={IMAGE_LABEL}", "--filter", "until=800h")  # keys are others each month
            self.docker("image", "prune", "--all", "--force", *old)
            if image in RECIPES:
                self._build(tag, parent, RECIPES[image].script)
            else:
                self._bootstrap(tag, image)
            self.log(f"built the image {image} in {time.monotonic() - started:.0f} s")
        return tag

    def address(self) -> str:
        """An address of the hosts' network that no host has: of its upper half, while Docker gives out the lower."""
        network = self.network()
        return str(network.broadcast_address - 1 - number_of("addresses") % (network.num_addresses // 2 - 2))

    def network(self) -> ipaddress.IPv4Network:
        """The network of the hosts."""
        subnets = [row["Subnet"] for row in self.call("GET", "/networks/bridge")["IPAM"]["Config"]]
        return next(ipaddress.IPv4Network(subnet) for subnet in subnets if ":" not in subnet)

    def call(self, method: str, path: str, body: Any = None, timeout: float = 600) -> Any:
        """What this machine's engine answers by its API; `body` is bytes, or becomes JSON. The docker client takes 20
        ms of a processor each time."""
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with contextlib.closing(http.client.HTTPConnection("docker")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(timeout)
            try:
                connection.sock.connect(SOCKET)
                connection.request(method, path, content, {"Content-Type": kind})
                answer = connection.getresponse()
                text = answer.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                raise TestbedError(f"{method} {path}: {error}") from error
        if answer.status >= 400:
            raise TestbedError(f"{method} {path}: {answer.status} {text}")
        return json.loads(text) if text else None

    def docker(self, *args: str, data: bytes | None = None, timeout: float = 600) -> str:
        """Run the docker client against this machine's engine and return what it prints."""
        return _checked(_run([*self._docker, *args], data=data, timeout=timeout))

    def _answers(self) -> bool:
        with contextlib.suppress(TestbedError):
            return bool(self.call("GET", "/version"))
        return False

    def _start_dockerd(self) -> None:
        path = self.workdir / "dockerd.log"
        self.log(f"no Docker Engine answers: starting dockerd, log in {path}")
        with path.open("ab") as log:
            # In a session of its own, it outlives both this process and an interrupt from the
            # keyboard, which must not end the engine before the hosts are removed.
            dockerd = subprocess.Popen(
                ["dockerd", "--host", f"unix://{SOCKET}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if dockerd.poll() is not None or time.monotonic() > deadline:
                dockerd.terminate()
                tail = path.read_text(errors="replace")[-4000:]
                raise TestbedError(f"dockerd did not start:\n{tail}")
            time.sleep(0.2)
        PID_FILE.write_text(str(dockerd.pid))
        for name, _ in self.hosts():  # of runs that were killed; they would boot again
            self.attach(name).remove()

    @staticmethod
    def _stop_dockerd() -> None:
        """End the dockerd that a bed has started."""
        process = Path("/proc", PID_FILE.read_text())
        PID_FILE.unlink()
        with contextlib.suppress(FileNotFoundError):
            if (process / "comm").read_text() != "dockerd\n":
                return
            os.kill(int(process.name), signal.SIGTERM)
            deadline = time.monotonic() + START_TIMEOUT
            while "State:\tZ" not in (process / "status").read_text() and time.monotonic() < deadline:
                time.sleep(0.1)

    @staticmethod
    def _make_key(path: Path, kind: str = "ed25519") -> None:
        comment = ("-C", "testbed")
        _checked(
            _run(["ssh-keygen", "-q", "-t", kind, "-N", "", *comment, "-f", str(path)], data=b"n\n")
        )

    def host_keys(self) -> list[File]:
        """New SSH host keys."""
        files = []
        with tempfile.TemporaryDirectory() as scratch:
            for kind in ("ed25519", "ecdsa"):
                path = Path(scratch, f"ssh_host_{kind}_key")
                self._make_key(path, kind)
                public = path.with_suffix(".pub")
                files.append(File(f"/etc/ssh/{path.name}", path.read_bytes(), 0o600))
                files.append(File(f"/etc/ssh/{public.name}", public.read_bytes()))
        return files

    def _identity(self) -> list[File]:
        """What makes a host an individual: machine id, host keys, and who may log in."""
        files = [machine_id(), *self.host_keys()]
        accepted = self.key.with_suffix(".pub").read_bytes()
        homes = {"/root": 0, "/home/ops": 1000, "/home/pwsudo": 1001, "/home/nosudo": 1002}
        for home, owner in homes.items():
            files.append(File(f"{home}/.ssh", None, 0o700, owner))
            files.append(File(f"{home}/.ssh/authorized_keys", accepted, 0o600, owner))
        return files

    def _bootstrap(self, tag: str, image: str) -> None:
        """Make an image of a Debian suite's minimal system."""
        command = _debootstrap(image)
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(tempfile.TemporaryFile())
            mmdebstrap = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
            )
            loaded = subprocess.run(
                [*self._docker, "import", "--change", f'CMD ["{INIT}"]', "-", f"{tag}-partial"],
                stdin=mmdebstrap.stdout,
                capture_output=True,
                check=False,
            )
            if mmdebstrap.wait() != 0 or loaded.returncode != 0:
                errors.seek(0)
                said = (errors.read() + loaded.stderr).decode(errors="replace")
                raise TestbedError(f"{shlex.join(command)} failed:\n{said[-4000:]}")
        init = File(INIT, INIT_SCRIPT.encode(), 0o755)
        self._build(tag, f"{tag}-partial", "", (*_machine_files(), init))
        self.docker("rmi", f"{tag}-partial")

    def _build(self, tag: str, parent: str, script: str, files: Sequence[File] = ()) -> None:
        """Run a shell script as root in a container of the parent image, and keep the result."""
        name = f"testbed-build-{secrets.token_hex(6)}"
        self.docker("create", "--name", name, parent, "sh", "-e", "/testbed-build")
        try:
            script = f"rm /testbed-build\n{script}"
            files = (*files, File("/testbed-build", script.encode()))
            self.docker("cp", "-", f"{name}:/", data=_tar(files))
            self.docker("start", "--attach", name, timeout=1800)
            changes = (f'CMD ["{INIT}"]', f"LABEL {IMAGE_LABEL}=1")
            self.docker("commit", *(word for change in changes for word in ("--change", change)), name, tag)
        finally:
            self.docker("rm", "-fv", name)


class Host:
    """A test host. `key` is the private key that root and the users accept."""

    def __init__(self, bed: Testbed, name: str) -> None:
        self.bed = bed
        self.name = name
        self.key = bed.key
        self.kept = ""

    @property
    def address(self) -> str:
        """Where to reach the host; for good if it was given an address of its own."""
        return self.kept or self.ip

    @property
    def ip(self) -> str:
        """The address that Docker gave the host; the next start may give another one, and this one to another host."""
        (network,) = self.inspect()["NetworkSettings"]["Networks"].values()
        return network["IPAddress"]

    def run(
        self,
        line: str,
        check: bool = True,
        *,
        data: str = "",
        timeout: float = 600,
    ) -> str:
        """Run a shell line as root without SSH; return its standard output less the last newline.

        A line that fails raises TestbedError, with all output, unless `check` is false.
        """
        done = self._exec(["sh", "-c", line], data=data.encode(), timeout=timeout)
        return _checked(done) if check else done.stdout.rstrip("\n")

    def ssh(self, line: str, user: str = "root", check: bool = True) -> str:
        """Like `run`, but by SSH."""
        done = _run([*self.ssh_command(user), line], timeout=600)
        return _checked(done) if check else done.stdout.rstrip("\n")

    def ssh_command(self, user: str = "root") -> list[str]:
        """An ssh command that logs in whatever this machine's SSH configuration says."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [word for pair in options.items() for word in ("-o", "=".join(pair))]
        return ["ssh", "-F", "none", *words, "-i", str(self.key), f"{user}@{self.ip}"]

    def ssh_connections(self) -> int:
        """How many SSH connections the host has let in so far, over all reboots."""
        return int(self.run(f"grep -c 'Accepted publickey for' {SSHD_LOG} || true") or 0)

    def boot_pid_of(self, program: str) -> int | None:
        """The process id, in the host, of the oldest process of that name, or None."""
        pids = self.run(f"pgrep --oldest --exact {shlex.quote(program)} || true")
        return int(pids) if pids else None

    def engine_pid(self) -> int | None:
        """The process id of the host's dockerd, or None if there is none."""
        return self.boot_pid_of("dockerd")

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file, and the directories above it, as root."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        _checked(self._exec(["sh", "-c", script, "sh", path, mode], data=text.encode()))

    def load_image(self, *docker_args: str, tag: str = BUSYBOX_IMAGE) -> str:
        """Make a small image (busybox) in the host's engine and return its tag.

        `docker_args` go between `docker` and its subcommand, say "-H", "tcp://...".
        """
        command = shlex.join(
            [
                *("docker", *docker_args, "import", "--change", 'ENTRYPOINT ["/bin/busybox"]'),
                *("--change", 'CMD ["sleep", "1000000"]', "-", tag),
            ]
        )
        self.run(f"tar -C / -c bin/busybox | {command}")
        return tag

    def run_container(self, name: str, *run_args: str, docker_args: Sequence[str] = ()) -> str:
        """Start a container that runs on and on in the host's engine, and return its id."""
        docker = shlex.join(["docker", *docker_args])
        if not self.run(f"{docker} images --quiet {BUSYBOX_IMAGE}"):
            self.load_image(*docker_args)
        words = ["--name", name, "--stop-signal", "KILL", *run_args, BUSYBOX_IMAGE]
        return self.run(f"{docker} run --detach {shlex.join(words)}")

    def add_address(self) -> str:
        """Give the host one more address, which survives reboots, and return it."""
        address = self.bed.address()
        unit = f"address-{address}.service"
        self.write(
            f"/etc/systemd/system/{unit}",
            "[Unit]\nBefore=ssh.service docker.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
            f"ExecStart={take_address(address)}\nExecStop=/sbin/ip address del {address}/32 dev eth0\n"
            "[Install]\nWantedBy=multi-user.target\n",
        )
        self.run(f"systemctl enable --quiet --now {unit}")
        self.kept = self.kept or address
        return address

    def stop(self) -> None:
        """Shut the host down."""
        self.bed.call("POST", f"/containers/{self.name}/stop?t=60")

    def start(self) -> None:
        """Start the host after a shutdown; its address may change."""
        self.bed.call("POST", f"/containers/{self.name}/start")
        self.wait()

    def reboot(self) -> None:
        """Reboot the host from within and wait for it; its address may change."""
        started = self.started_at()
        self.run("systemctl reboot", check=False)
        deadline = time.monotonic() + START_TIMEOUT
        while self.started_at() == started:
            if time.monotonic() > deadline:
                raise TestbedError(f"{self.name} did not reboot\n{self._diagnosis()}")
            time.sleep(0.1)
        self.wait()

    def wait(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until sshd sends its banner and the boot is over."""
        deadline = time.monotonic() + timeout
        while True:
            state = "no sshd"
            if self._banner():
                booted = self._exec(["systemctl", "is-system-running", "--wait"], timeout=timeout)
                state = booted.stdout.strip()
            if state in ("running", "degraded"):
                return
            if time.monotonic() > deadline:
                raise TestbedError(f"{self.name} did not boot: {state}\n{self._diagnosis()}")
            time.sleep(0.1)

    def remove(self) -> None:
        """Remove the host with all that it holds, if it exists."""
        if any(name == self.name for name, _ in self.bed.hosts()):
            self.bed.call("DELETE", f"/containers/{self.name}?force=1&v=1")
        self.bed._hosts.pop(self.name, None)

    def _exec(
        self, command: Sequence[str], data: bytes = b"", timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as `docker exec` would, which takes 90 ms of a processor where this takes 5."""
        state = self.inspect()["State"]
        if not state["Running"]:
            raise TestbedError(f"{self.name} does not run")
        words = ["nsenter", "--target", str(state["Pid"]), "--all", "--root", "--wd", *command]
        return _run(words, data=data, timeout=timeout, env=ENVIRONMENT)

    def _banner(self) -> bool:
        try:
            with socket.create_connection((self.ip, 22), timeout=2) as connection:
                return connection.recv(256).startswith(b"SSH-")
        except OSError:
            return False

    def started_at(self) -> str:
        """When the host booted last, as Docker writes a time."""
        return self.inspect()["State"]["StartedAt"]

    def inspect(self) -> dict[str, Any]:
        """What Docker knows of the host."""
        return self.bed.call("GET", f"/containers/{self.name}/json")

    def _diagnosis(self) -> str:
        said = _run([*self.bed._docker, "logs", "--tail", "30", self.name])
        units = self._exec(["systemctl", "--failed", "--no-pager"])
        return "\n".join((said.stdout, said.stderr, units.stdout, units.stderr))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line described at the head of this file."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.testbed", description="Start test hosts by hand."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start (or replace) a host and print its address")
    up.add_argument("image", choices=RECIPES)
    up.add_argument("name")
    commands.add_parser("ip", help="print a host's address").add_argument("name")
    run = commands.add_parser("run", help="run a shell line as root, without SSH")
    run.add_argument("name")
    run.add_argument("line")
    ssh = commands.add_parser("ssh", help="log in by SSH as root")
    ssh.add_argument("name")
    ssh.add_argument("line", nargs="*")
    commands.add_parser("rm", help="remove hosts").add_argument("names", nargs="+")
    commands.add_parser("ls", help="list hosts")
    commands.add_parser("key", help="print the path of the private key")
    commands.add_parser("build", help="build images").add_argument("images", nargs="*")
    args = parser.parse_args(argv)

    try:
        # Never closed, as the hosts shall stay.
        bed = Testbed(os.environ.get("DOCKER_MACHINE_TESTBED", STATE / "by-hand"))
        if args.command == "up":
            print(bed.host(args.image, args.name).ip)
        elif args.command == "ip":
            print(bed.attach(args.name).ip)
        elif args.command == "run":
            print(bed.attach(args.name).run(args.line))
        elif args.command == "ssh":
            command = [*bed.attach(args.name).ssh_command(), *args.line]
            return subprocess.run(command, check=False).returncode
        elif args.command == "rm":
            for name in args.names:
                bed.attach(name).remove()
        elif args.command == "ls":
            for name, image in bed.hosts():
                with contextlib.suppress(TestbedError):  # another program may have removed it
                    print(name, image, bed.attach(name).ip)
        elif args.command == "key":
            print(bed.key)
        elif args.command == "build":
            for image in args.images or RECIPES:
                bed.image(image)
    except TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
