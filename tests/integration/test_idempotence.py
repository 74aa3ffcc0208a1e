"""`provision` does what is to be done, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Host, Testbed

from .program import Program, all_files, serial, until

pytest_plugins = (f"{__package__}.fixtures",)


class Machine:
    """A machine named web, and its host."""

    def __init__(self, program: Program, host: Host) -> None:
        self.program, self.host = program, host
        self.server = program.folder() / "server.pem"
        self.program.create(host)

    def provision(self) -> str:
        return self.program("provision", "web").stdout

    def works(self) -> bool:
        """Whether docker connects with it, and the host has the certificate that is here."""
        there = self.host.run("cat /etc/docker/server.pem") + "\n"
        return self.program.info()["Name"] == "web" and there == self.server.read_text()


@pytest.fixture(scope="module")
def _machine(bed: Testbed, shared_program: Program) -> Iterator[Machine]:
    host = bed.host("engine")
    yield Machine(shared_program, host)
    host.remove()


@pytest.fixture
def web(_machine: Machine) -> Iterator[Machine]:
    """A machine that is in order, before and after the test."""
    yield _machine
    _machine.provision()


def test_provision_again_changes_nothing(web: Machine) -> None:
    web.host.run_container("steady")
    container = "docker inspect --format '{{.State.Pid}} {{.State.StartedAt}}' steady"

    def state() -> tuple[object, ...]:
        files = [path for path in web.server.parent.iterdir() if path.name != "config.json"]
        here = {path: path.stat().st_mtime_ns for path in files}
        return here, all_files(web.host), web.host.engine_pid(), web.host.run(container)

    web.provision()
    before = state()

    assert "Everything is in place; the engine was not restarted" in web.provision()
    assert state() == before


def test_a_changed_label_is_applied(web: Machine) -> None:
    def change(label: str) -> None:
        web.program.edit(lambda conf: conf["HostOptions"]["EngineOptions"].update(Labels=[label]))
        web.provision()

    change("a=1")
    assert sorted(web.program.info()["Labels"]) == ["a=1", "provider=generic"]
    change("a=2")
    assert sorted(web.program.info()["Labels"]) == ["a=2", "provider=generic"]


def test_a_stopped_engine_is_started(web: Machine) -> None:
    web.host.run("systemctl stop docker.service docker.socket")

    web.provision()

    assert web.works()


def test_a_disabled_engine_is_enabled(web: Machine) -> None:
    web.host.run("systemctl disable --quiet docker.service")

    web.provision()

    assert web.host.run("systemctl is-enabled docker.service") == "enabled"


def test_files_that_were_lost_on_the_host_are_restored(web: Machine) -> None:
    web.host.run("rm -r /etc/docker /etc/systemd/system/docker.service.d")
    web.host.run("systemctl daemon-reload && systemctl restart docker")

    web.provision()

    assert web.works()


def test_a_key_that_became_readable_on_the_host_is_private_again(web: Machine) -> None:
    web.host.run("chmod 644 /etc/docker/server-key.pem")

    web.provision()

    assert web.host.run("stat -c %a /etc/docker/server-key.pem") == "600"


@pytest.mark.parametrize("lost", ["server.pem", "server-key.pem"])
def test_a_server_certificate_that_was_lost_here_is_made_anew(web: Machine, lost: str) -> None:
    before = serial(web.server)
    (web.program.folder() / lost).unlink()

    web.provision()

    assert web.works()
    assert serial(web.server) != before


def test_a_client_copy_that_was_lost_here_is_restored(web: Machine) -> None:
    (web.program.folder() / "key.pem").unlink()

    web.provision()

    assert web.works()


def sign(web: Machine, days: str, authority: Path) -> None:
    """Replace the server's certificate by one for the same key and names, and see that it came to
    the host."""
    folder = web.program.folder()
    script = f"""
        openssl req -new -key server-key.pem -subj /O=tester.web -out /tmp/$$.csr
        printf 'subjectAltName=IP:{web.host.ip},DNS:localhost,DNS:web\\n' > /tmp/$$.ext
        printf 'extendedKeyUsage=serverAuth\\n' >> /tmp/$$.ext
        mkdir /tmp/$$.ca; touch /tmp/$$.ca/index.txt; cd /tmp/$$.ca
        printf '[ca]\\ndefault_ca=own\\n[own]\\ndatabase=index.txt\\nrand_serial=yes\\n' > config
        printf 'new_certs_dir=.\\ndefault_md=sha256\\npolicy=any\\n[any]\\n' >> config
        printf 'organizationName=supplied\\n' >> config
        openssl ca -batch -notext -config config -in /tmp/$$.csr -extfile /tmp/$$.ext \
            -startdate 200101000000Z -enddate "$(date -u -d '{days} days' +%y%m%d%H%M%SZ)" \
            -cert {authority}/ca.pem -keyfile {authority}/ca-key.pem -out {folder}/server.pem
        rm -r /tmp/$$.*
    """
    subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, check=True)


@pytest.mark.parametrize("days", ["-1", "+10"])
def test_a_server_certificate_at_its_end_is_renewed(web: Machine, days: str) -> None:
    sign(web, days, web.program.store / "certs")
    before = serial(web.server)

    web.provision()

    assert web.works()
    assert serial(web.server) != before


def test_a_server_certificate_that_is_good_for_long_is_kept(web: Machine) -> None:
    sign(web, "+90", web.program.store / "certs")
    before = serial(web.server)

    web.provision()

    assert web.works()
    assert serial(web.server) == before


def test_a_server_certificate_of_another_ca_is_replaced(web: Machine, program: Program) -> None:
    program("create", "--driver", "none", "--url", "tcp://10.0.0.1:2376", "other")
    sign(web, "+90", program.store / "certs")
    before = serial(web.server)

    web.provision()

    assert web.works()
    assert serial(web.server) != before


def test_an_engine_with_an_expired_certificate_is_told_and_mended(web: Machine) -> None:
    sign(web, "-1", web.program.store / "certs")
    web.host.write("/etc/docker/server.pem", web.server.read_text())
    web.host.run("systemctl restart docker")

    done = web.program("config", "web", code=1)
    assert "expired" in done.stderr and "regenerate-certs web" in done.stderr

    web.provision()
    assert web.works()


def test_a_new_address_gets_into_the_certificate(web: Machine) -> None:
    old = web.host.ip
    new = web.host.add_address()
    web.program.edit(lambda config: config["Driver"].update(IPAddress=new))
    assert "was not made for" in web.program("config", "web", code=1).stderr

    web.provision()

    assert web.program("url", "web").stdout == f"tcp://{new}:2376\n"
    assert web.works()
    web.program.edit(lambda config: config["Driver"].update(IPAddress=old))


def test_a_new_name_gets_into_the_certificate(web: Machine) -> None:
    auth = ("HostOptions", "AuthOptions", "ServerCertSANs")

    def change(names: list[str]) -> None:
        web.program.edit(lambda config: config[auth[0]][auth[1]].update({auth[2]: names}))

    change(["docker.example"])
    web.provision()

    url, there = "https://docker.example:2376/version", f"docker.example:2376:{web.host.ip}:2376"
    assert "ApiVersion" in web.program.curl(url, "--connect-to", there).stdout
    change([])


def test_regenerate_certs_makes_a_new_server_certificate(web: Machine) -> None:
    before = serial(web.server), serial(web.program.store / "certs" / "cert.pem")

    web.program("regenerate-certs", "--force", "web")

    assert web.works()
    after = serial(web.server), serial(web.program.store / "certs" / "cert.pem")
    assert after[0] != before[0] and after[1] == before[1]


def test_regenerate_certs_makes_new_client_certificates_too(web: Machine) -> None:
    before = serial(web.program.folder() / "cert.pem")

    web.program("regenerate-certs", "--force", "--client-certs", "web")

    assert web.works()
    assert serial(web.program.folder() / "cert.pem") != before


def test_a_live_restored_container_survives_a_change(bed: Testbed, program: Program) -> None:
    host = bed.host("engine")
    program.create(host, "--engine-opt", "live-restore")
    host.run_container("steady")
    running = "docker inspect --format '{{.State.Pid}} {{.State.StartedAt}}' steady"
    before = host.run(running)
    program.edit(lambda config: config["HostOptions"]["EngineOptions"].update(Labels=["a=1"]))

    program("provision", "web")

    assert "a=1" in program.info()["Labels"]
    assert until(lambda: host.run(running, check=False) == before)
    host.remove()
