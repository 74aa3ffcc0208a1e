"""Where an engine comes from if the host has none."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Host, Testbed

from .conftest import HostFactory
from .program import ROOT, Program, block_of

pytest_plugins = (f"{__package__}.fixtures",)

PROGRAMS = "dockerd docker docker-init docker-proxy containerd containerd-shim* ctr runc"
BUNDLES = "find /var/tmp -name 'docker-machine*'"


def fetch(bed: Testbed, host: Host, path: str, target: Path) -> Path:
    bed.docker("cp", f"{host.name}:{path}", str(target))
    return target


def offline(host: Host) -> Host:
    """A host that has no way to its package mirror."""
    host.run("rm -r /etc/apt/sources.list* && mkdir /etc/apt/sources.list.d")
    return host


@pytest.fixture(scope="module")
def static(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive in the shape of Docker's own with static binaries, made from Debian's (which
    find their libraries on a bare host)."""
    host = bed.host("engine")
    copy = f"for name in {PROGRAMS}; do cp -L /usr/bin/$name /usr/sbin/$name /root/docker; done"
    host.run(f"mkdir /root/docker; {copy}; cd /root; tar -c docker | gzip -1 > docker.tgz")
    yield fetch(bed, host, "/root/docker.tgz", tmp_path_factory.mktemp("static") / "docker 1.tgz")
    host.remove()


@pytest.fixture(scope="module")
def packages(bed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive of the distribution's packages, made by the commands of docs/air-gap.md."""
    host = bed.host("bare")
    host.run("cd /root; set -e\n" + block_of("docs/air-gap.md", "bundle"))
    yield fetch(bed, host, "/root/engine.tar", tmp_path_factory.mktemp("debs") / "engine.tar")
    host.remove()


def test_a_bundle_of_static_binaries(host: HostFactory, program: Program, static: Path) -> None:
    machine = offline(host("bare"))
    packages = machine.run("dpkg-query --list")

    words = ("--engine-install-url", f"file://{static}", "--engine-opt", "iptables=false")
    done = program.create(machine, *words, user="ops")

    assert f"Copying {static.name} to the host..." in done.stdout
    assert program.info()["Name"] == "web"
    assert machine.run("dpkg-query --list") == packages
    assert machine.run(BUNDLES) == ""
    assert machine.run("systemctl is-enabled docker.service") == "enabled"
    machine.run_container("steady", "--network", "none")
    assert machine.run("docker inspect --format '{{.State.Running}}' steady") == "true"
    pid = machine.engine_pid()
    assert "Everything is in place" in program("provision", "web").stdout
    assert machine.engine_pid() == pid
    machine.reboot()
    assert machine.run("docker info --format '{{.Name}}'") == "web"


def test_a_bundle_of_packages_from_a_stick(
    host: HostFactory, program: Program, packages: Path, tmp_path: Path
) -> None:
    """The commands of docs/air-gap.md, in a folder that a shell might stumble over."""
    machine, stick = offline(host("bare")), tmp_path / "my stick"
    stick.mkdir()
    for path in (packages, ROOT / "docker_machine.py"):
        shutil.copy(path, stick)
    lines = block_of("docs/air-gap.md", "air-gap").replace("/media/stick", f"'{stick}'")
    lines = lines.replace("ADDRESS", machine.ip).replace("KEY", str(machine.key))

    done = program.outside("bash", "-ec", lines)

    assert "Server Version: " in done.stdout
    assert program.info()["Name"] == "web"
    assert "docker.io" in machine.run("dpkg-query --show docker.io")
    assert machine.run(BUNDLES) == ""


def test_a_bundle_that_is_a_script(host: HostFactory, program: Program, tmp_path: Path) -> None:
    script = tmp_path / "install.sh"
    script.write_text("#!/bin/sh\necho no luck today >&2\nexit 3\n")
    machine = offline(host("bare"))

    done = program.create(machine, "--engine-install-url", f"file://{script}", code=1)

    assert "The bundle could not be installed." in done.stderr
    assert "no luck today" in done.stderr
    assert "provision web" in done.stderr
    assert machine.run(BUNDLES) == ""


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00broken"])
def test_a_bundle_that_is_none(
    bare: Host, program: Program, tmp_path: Path, content: bytes
) -> None:
    bundle = tmp_path / "docker.tgz"
    bundle.write_bytes(content)

    done = program.create(bare, "--engine-install-url", f"file://{bundle}", code=1)

    assert "The bundle could not be installed." in done.stderr
    assert bare.run(BUNDLES) == ""


@pytest.fixture(scope="module")
def bare(bed: Testbed) -> Iterator[Host]:
    """A bare host on which no installation succeeds."""
    host = bed.host("bare")
    yield offline(host)
    host.remove()


def test_an_unreachable_mirror_is_told(bare: Host, program: Program) -> None:
    done = program.create(bare, "--engine-install-url", "package", code=1)

    assert "docker.io" in done.stderr and "Unable to locate package" in done.stderr
    assert "provision web" in done.stderr


@pytest.fixture
def web(bed: Testbed, tmp_path: Path) -> Iterator[str]:
    """A web server that the hosts reach; what it serves is in tmp_path."""
    # The first. Docker 20.10 names none when it has just made the bridge.
    address = str(next(bed.network().hosts()))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{address}:{server.server_port}"
        server.shutdown()


def test_a_script_of_ones_own(
    host: HostFactory, program: Program, web: str, static: Path, tmp_path: Path
) -> None:
    machine = host("bare")
    subprocess.run(["cp", str(static), str(tmp_path / "docker.tgz")], check=True)
    (tmp_path / "install.sh").write_text(
        f"set -e; curl -fsS {web}/docker.tgz | tar -xz --strip-components=1 -C /usr/local/bin\n"
        'groupadd -f docker; printf %s "$https_proxy $SECRET" > /root/environment\n'
    )

    program.create(
        machine,
        *("--engine-install-url", f"{web}/install.sh", "--engine-opt", "iptables=false"),
        *("--engine-env", "https_proxy=http://proxy.example:3128", "--engine-env", "SECRET=no"),
    )

    assert program.info()["Name"] == "web"
    assert machine.run("cat /root/environment") == "http://proxy.example:3128 "


def test_a_script_that_fails_is_told(host: HostFactory, program: Program, web: str) -> None:
    machine = host("bare")

    done = program.create(machine, "--engine-install-url", f"{web}/nothing.sh", code=1)

    assert f"could not be installed from {web}/nothing.sh" in done.stderr
    assert "404" in done.stderr
    assert "provision web" in done.stderr
