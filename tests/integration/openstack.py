"""The real Keystone, Glance, Placement, Nova and Neutron of Debian 12, whose servers are test hosts.

They run in a root of their own, which is kept in the tests' cache, on a loopback address of their own, and end with
the process that started them. Nova's hypervisor is its fake one; who watches Nova starts, stops and reboots a host in
its place, which has the floating IP of the server and its user data.

Test modules that use the fixtures name this file and fixtures.py in `pytest_plugins`.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.cached import cached
from tests.testbed import SLIM, File, idle, machine_id, number_of

from .instances import Addresses, Instances, _second_address
from .openstack_faults import Faults
from .program import Program, until

if TYPE_CHECKING:
    from tests.testbed import Testbed

SCRIPT = Path(__file__).with_name("openstack-mini.sh")
PACKAGES = """keystone nova-api nova-conductor nova-scheduler nova-compute glance-api neutron-server neutron-plugin-ml2
    placement-api rabbitmq-server mariadb-server uwsgi-core uwsgi-plugin-python3 python3-openstacksdk curl""".split()
STARTS_NOTHING = r"""printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d" """
# Of 17,000 Python files, the services import a fourth; the first start compiles these.
COMPILES_NOTHING = idle("usr/bin/py3compile", "usr/bin/py3clean")
# In a mount and a process namespace, so that everything ends with the first process.
INSIDE = """
set -eu
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount --bind "$1" "$0/osm"
for each in run tmp var/log; do mount -t tmpfs tmpfs "$0/$each"; done
mkdir -p "$0/run/mysqld" "$0/var/log/rabbitmq"
chroot "$0" /bin/bash /osm/mini.sh "$2"
echo ready >"$1/ready"
[ "$2" = seed ] || exec sleep infinity
"""
STARTED = 600.0
"""Seconds that the services may take on a busy machine."""


SEED_IP = "127.77.255.254"
"""The services' address in the databases that are kept."""
METADATA = "2018-08-27"
"""A version of the tree that a config drive and the metadata service have, which cloud-init knows."""


def install(folder: Path) -> None:
    """Make the root with all packages, of which nothing is started, and databases that are filled."""
    root = folder / "root"
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--aptopt=APT::Install-Recommends \"false\"",
               "--dpkgopt=force-unsafe-io", SLIM, COMPILES_NOTHING, "--essential-hook=" + STARTS_NOTHING,
               "--include=" + ",".join(PACKAGES), "bookworm", str(root)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    (root / "osm").mkdir()
    seed = folder / "seed"
    process = inside(root, seed, "seed", OSM_IP=SEED_IP)
    try:
        failed = process.wait(STARTED)
    finally:
        end(process)
    if failed:
        raise RuntimeError(f"OpenStack's databases are not made: {told(seed)}")
    for each in ("run", "log", "mq"):
        shutil.rmtree(seed / each, ignore_errors=True)


def inside(root: Path, state: Path, verb: str, **more: str) -> subprocess.Popen[bytes]:
    """A process that runs the script in the root, with the state; its output is in a file there."""
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "OSM": "/osm", **more}
    state.mkdir(exist_ok=True)
    shutil.copy(SCRIPT, state / "mini.sh")
    with (state / "output").open("wb") as output:
        return subprocess.Popen(
            ["unshare", "-m", "-p", "-f", "--kill-child", "bash", "-c", INSIDE, str(root), str(state), verb],
            env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def told(state: Path) -> str:
    return (state / "output").read_text(errors="replace")[-3000:]


class OpenStack:
    """The services while they run. `url` is Keystone's."""

    def __init__(self, bed: Testbed, state: Path) -> None:
        scripts = SLIM, STARTS_NOTHING, COMPILES_NOTHING, INSIDE, SCRIPT.read_text()
        kept = cached("openstack", install, *PACKAGES, *scripts)
        number = number_of("openstack")
        self.ip = f"127.77.{number // 250 % 250}.{number % 250 + 1}"
        self.url, self.nova, self.token = f"http://{self.ip}:5000/v3", f"http://{self.ip}:8774/v2.1", ""
        pool = " ".join(bed.address() for _ in range(6))
        subprocess.run(["cp", "-a", str(kept / "seed"), str(state)], check=True)
        (state / "ready").unlink()
        self.process = inside(
            kept / "root", state, "up", OSM_IP=self.ip, OSM_SEED_IP=SEED_IP, OSM_FIXED="127.30.0.0/24",
            OSM_FLOAT_POOL=pool, OSM_FLOAT=str(bed.network()))
        if not until(lambda: (state / "ready").exists() or self.process.poll() is not None, STARTED) or (
                self.process.poll() is not None):
            self.close()
            raise RuntimeError(f"OpenStack does not start: {told(state)}")

    def close(self) -> None:
        end(self.process)

    def ask(self, url: str, body: object = None, method: str | None = None, **more: str) -> Any:
        """The JSON of an answer, for the administrator; log_in() first. `more` are headers."""
        headers = {"Content-Type": "application/json", "X-Auth-Token": self.token,
                   "OpenStack-API-Version": "compute 2.3", **{name.replace("_", "-"): more[name] for name in more}}
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, headers, method=method)
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            self.token = answer.headers.get("X-Subject-Token") or self.token
            return json.loads(answer.read() or b"{}")

    def metadata(self, row: dict[str, Any], name: str) -> bytes:
        """A file that Nova's metadata service gives a server, asked as Neutron's agent asks on its behalf."""
        signature = hmac.new(b"secret", row["id"].encode(), "sha256").hexdigest()
        request = Request(f"http://{self.ip}:8775/openstack/{METADATA}/{name}", headers={
            "X-Instance-ID": row["id"], "X-Tenant-ID": row["tenant_id"], "X-Instance-ID-Signature": signature})
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            data: bytes = answer.read()
            return data

    def log_in(self) -> None:
        domain = {"id": "default"}
        who = {"methods": ["password"], "password": {"user": {"name": "admin", "domain": domain, "password": "secret"}}}
        scope = {"project": {"name": "admin", "domain": domain}}
        self.ask(f"{self.url}/auth/tokens", {"auth": {"identity": who, "scope": scope}})

    def servers(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask(f"{self.nova}/servers/detail?all_tenants=1")["servers"]
        return rows

    def actions(self, id: str) -> list[str]:
        """What was done with a server, the first first; nothing if it was deleted meanwhile."""
        try:
            rows = self.ask(f"{self.nova}/servers/{id}/os-instance-actions")["instanceActions"]
        except HTTPError as error:
            if error.code != 404:
                raise
            rows = []
        return [row["action"] for row in sorted(rows, key=lambda row: row["start_time"])]


class NovaHosts(Instances[str]):
    """Hosts by the id of the server, which do what Nova was asked to do with it. They have a config drive, with what
    Nova's metadata service tells of the server."""

    def __init__(self, bed: Testbed, cloud: OpenStack) -> None:
        super().__init__(bed)
        self.cloud, self.trouble = cloud, ""
        self.addresses: dict[str, str] = {}
        self.done: dict[str, int] = {}
        self.ended = threading.Event()
        cloud.log_in()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.ended.wait(0.3):
            try:
                self._follow()
            except Exception:
                self.trouble = traceback.format_exc()

    def _follow(self) -> None:
        rows = {row["id"]: row for row in self.cloud.servers()}
        for id in set(self.hosts) - set(rows):
            self.destroy(id)
        for id, row in rows.items():
            floating = [one["addr"] for network in row["addresses"].values() for one in network
                        if one["OS-EXT-IPS:type"] == "floating"]
            if id not in self.hosts and floating:
                self.addresses[id] = floating[0]
                self._start(id, self.image, self._config_drive(row))
                self.done[id] = len(self.cloud.actions(id))
            elif id in self.hosts:
                self._act(id)

    def _config_drive(self, row: dict[str, Any]) -> list[File]:
        folder = f"/var/lib/cloud/seed/config_drive/openstack/{METADATA}"
        return [File("/etc/cloud/cloud.cfg.d/96_nova.cfg", b"datasource_list: [ConfigDrive, None]\n"),
                *(File(f"{folder}/{name}", self.cloud.metadata(row, name), 0o600)
                  for name in ("meta_data.json", "user_data"))]

    def _act(self, id: str) -> None:
        actions = self.cloud.actions(id)
        for action in actions[self.done[id]:]:
            {"stop": self.stop, "start": self.start, "reboot": self.reboot}.get(action, len)(id)
            self.done[id] += 1

    def settled(self, id: str) -> bool:
        """Whether the host has done all that Nova was asked for; Nova's fake hypervisor takes no time."""
        return self.done.get(id) == len(self.cloud.actions(id))

    def _start(self, id: str, image: str, files: Sequence[File]) -> Addresses:
        address = self.addresses[id]
        host = self.bed.launch(image, f"server-{id[:8]}", [machine_id(), _second_address(address), *files])
        self.hosts[id] = host
        return Addresses(address, host.ip)

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        super().close()


@pytest.fixture(scope="module")
def openstack(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStack]:
    """The services, for all tests of a module."""
    cloud = OpenStack(bed, tmp_path_factory.mktemp("openstack") / "state")
    yield cloud
    cloud.close()


@pytest.fixture
def faults(openstack: OpenStack) -> Iterator[Faults]:
    proxy = Faults(openstack.ip)
    yield proxy
    proxy.close()


@pytest.fixture
def servers(openstack: OpenStack, faults: Faults, bed: Testbed, program: Program) -> Iterator[NovaHosts]:
    """The hosts of the cloud that `program` asks through `faults`, as the user demo."""
    for name in [name for name in program.environ if name.startswith("OS_")]:
        del program.environ[name]
    program.environ.update(
        OS_AUTH_URL=faults.url, OS_USERNAME="demo", OS_PASSWORD="secret", OS_PROJECT_NAME="demo",
        OS_USER_DOMAIN_NAME="Default", OS_PROJECT_DOMAIN_ID="default", OS_REGION_NAME="RegionOne",
        OS_INTERFACE="public", OS_FLAVOR_NAME="m1.small", OS_IMAGE_NAME="debian-12", OS_NETWORK_NAME="private",
        OS_FLOATINGIP_POOL="public")
    hosts = NovaHosts(bed, openstack)
    yield hosts
    hosts.close()
