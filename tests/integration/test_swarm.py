"""A standalone Swarm on real engines; its program is the one of the tests."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests import swarm_image
from tests.testbed import Host, Testbed

from .conftest import cannot_run
from .program import Program, block_of

pytest_plugins = (f"{__package__}.fixtures",)

FILES = ("--tlsverify --tlscacert=/etc/docker/ca.pem --tlscert=/etc/docker/server.pem "
         "--tlskey=/etc/docker/server-key.pem")


@pytest.fixture(scope="module")
def hosts(bed: Testbed) -> Iterator[list[Host]]:
    if not shutil.which("go"):
        cannot_run("no go (Debian package golang-go)")
    started = [bed.host("engine") for _ in range(2)]
    for host in started:
        host.add_address()
        swarm_image.load(host)
    yield started
    for host in started:
        host.remove()


@pytest.fixture(scope="module")
def swarm(hosts: list[Host], shared_program: Program) -> Program:
    """A master that is a member too, and another member, of a Swarm that nobody described."""
    shared_program.environ["MACHINE_ENGINE_TAKE_OVER"] = "true"
    done = shared_program.create(hosts[0], "--swarm", "--swarm-master", "--swarm-opt", "heartbeat=10s", name="master")
    assert "Configuring swarm..." in done.stdout
    shared_program.create(hosts[1], "--swarm", name="node")
    return shared_program


def container(host: Host, name: str) -> dict[str, Any]:
    return json.loads(host.run(f"docker inspect {name}"))[0]


def healthy(program: Program) -> list[str]:
    """Where the members are that the manager reaches, as a docker client hears it."""
    lines = program("config", "--swarm", "master").stdout.replace('"', "").splitlines()
    text = program.outside("curl", "-sS", *curl_words(lines), "https://" + lines[-1].split("//")[1] + "/info").stdout
    return sorted(node for node, words in json.loads(text)["SystemStatus"] if words.startswith("Healthy"))


def curl_words(lines: list[str]) -> list[str]:
    files = dict(line.lstrip("-").split("=") for line in lines[1:4])
    return ["--cacert", files["tlscacert"], "--cert", files["tlscert"], "--key", files["tlskey"]]


def test_the_manager_is_as_docker_machine_makes_it_and_knows_all_members(
    swarm: Program, hosts: list[Host]
) -> None:
    there = container(hosts[0], "swarm-agent-master")
    members = sorted(f"{host.address}:2376" for host in hosts)
    words, _, discovery = " ".join(there["Args"]).rpartition(" ")
    assert words == (f"manage {FILES} -H tcp://0.0.0.0:3376 --strategy spread --advertise "
                     f"{hosts[0].address}:3376 --heartbeat=10s")
    assert discovery.startswith("nodes://") and sorted(discovery[len("nodes://"):].split(",")) == members
    assert there["HostConfig"]["Binds"] == ["/etc/docker:/etc/docker"]
    assert there["HostConfig"]["PortBindings"] == {"3376/tcp": [{"HostIp": "0.0.0.0", "HostPort": "3376"}]}
    assert set(there["Config"]["ExposedPorts"]) == {"2375/tcp", "3376/tcp"}
    assert there["HostConfig"]["RestartPolicy"]["Name"] == "always" and there["Config"]["Image"] == "swarm:latest"
    assert healthy(swarm) == members
    text = swarm.outside("openssl", "x509", "-noout", "-text", "-in", str(swarm.folder("master") / "server.pem")).stdout
    assert "TLS Web Client Authentication" in text
    assert hosts[1].run("docker ps -aq") == ""  # an agent would have nobody to tell


def test_docker_talks_to_the_manager_and_ls_names_the_master(swarm: Program, hosts: list[Host]) -> None:
    said = swarm("env", "--swarm", "--shell", "sh", "master").stdout
    assert f'DOCKER_HOST="tcp://{hosts[0].address}:3376"' in said
    flags = swarm("config", "--swarm", "master").stdout.replace('"', "").splitlines()
    swarm.environ["DOCKER_API_VERSION"] = "1.40"
    version = swarm.outside("docker", *flags, "version", "--format", "{{.Server.Version}}").stdout
    del swarm.environ["DOCKER_API_VERSION"]
    assert version.strip() == "swarm/1.2.9"
    assert swarm.ls("--format", "{{.Name}}:{{.Swarm}}").stdout == "master:master (master)\nnode:master\n"
    assert swarm.ls("-q", "--filter", "swarm=master").stdout == "master\nnode\n"
    done = swarm("env", "--swarm", "node", code=1)
    assert '"node" is not a swarm master' in done.stderr


def test_provision_again_changes_nothing_and_what_is_gone_or_differs_is_made_anew(
    swarm: Program, hosts: list[Host]
) -> None:
    first = container(hosts[0], "swarm-agent-master")["Id"]
    swarm("provision", "master")
    assert container(hosts[0], "swarm-agent-master")["Id"] == first
    hosts[0].run("docker rm -f swarm-agent-master && docker run -d --name swarm-agent-master swarm:latest other")
    swarm("provision", "master")
    there = container(hosts[0], "swarm-agent-master")
    assert there["Args"][0] == "manage" and there["State"]["Running"]
    started = there["State"]["StartedAt"]
    swarm("regenerate-certs", "-f", "master")  # it reads its certificate when it starts
    there = container(hosts[0], "swarm-agent-master")
    assert there["State"]["StartedAt"] != started
    assert len(healthy(swarm)) == 2


def test_a_member_that_is_removed_is_forgotten_and_known_again(swarm: Program, hosts: list[Host]) -> None:
    swarm("rm", "-y", "node")
    assert container(hosts[0], "swarm-agent-master")["Args"][-1] == f"nodes://{hosts[0].address}:2376"
    swarm.create(hosts[1], "--swarm", name="node")
    assert len(healthy(swarm)) == 2


def test_with_a_store_of_keys_each_member_has_an_agent_as_docker_machine_makes_it(
    swarm: Program, hosts: list[Host]
) -> None:
    swarm("rm", "-y", "node")
    address = hosts[1].address
    swarm.create(
        hosts[1], "--swarm", "--swarm-master", "--swarm-experimental", "--swarm-discovery", "consul://192.0.2.7:8500/a",
        "--swarm-join-opt", "ttl=60s", "--swarm-host", "tcp://0.0.0.0:3399", "--swarm-strategy", "binpack",
        "--swarm-addr", "203.0.113.9", "--engine-env", "T=1", name="node",
    )
    agent, manager = (container(hosts[1], name) for name in ("swarm-agent", "swarm-agent-master"))
    assert " ".join(agent["Args"]) == (
        "--experimental join --advertise 203.0.113.9:2376 --ttl=60s consul://192.0.2.7:8500/a")
    assert " ".join(manager["Args"]) == (
        f"--experimental manage {FILES} -H tcp://0.0.0.0:3399 --strategy binpack --advertise 203.0.113.9:3399 "
        "consul://192.0.2.7:8500/a")
    assert "T=1" in agent["Config"]["Env"] and agent["HostConfig"]["Binds"] is None
    assert manager["HostConfig"]["PortBindings"] == {"3399/tcp": [{"HostIp": "0.0.0.0", "HostPort": "3399"}]}
    assert re.search(r"\nnode .* node \(master\) ", swarm.ls().stdout)
    assert f"tcp://{address}:3399" in swarm("env", "--swarm", "--shell", "sh", "node").stdout
    options = swarm.config("node")["HostOptions"]["SwarmOptions"]
    assert options["IsSwarm"] and options["Agent"] and options["Master"] and options["Strategy"] == "binpack"


def test_a_manager_is_there_again_after_its_host_was_restarted(swarm: Program, hosts: list[Host]) -> None:
    hosts[1].reboot()
    swarm("provision", "node")
    assert container(hosts[1], "swarm-agent-master")["State"]["Running"]
    assert "3399" in swarm("env", "--swarm", "--shell", "sh", "node").stdout


def test_machines_move_to_swarm_mode(swarm: Program, hosts: list[Host]) -> None:
    swarm.outside("bash", "-ec", block_of("docs/swarm.md", "move"))
    assert swarm.ls("--format", "{{.Name}}:{{.SwarmMode}}:{{.Swarm}}").stdout == "master:leader:\nnode:worker:\n"
    swarm("provision", "master", "node")
    assert [host.run("docker ps -aq") for host in hosts] == ["", ""]


def test_an_image_that_cannot_be_had_is_one_sentence_and_the_machine_goes_on(
    swarm: Program, hosts: list[Host]
) -> None:
    swarm("rm", "-y", "node")
    done = swarm.create(hosts[1], "--swarm-master", "--swarm-image", "127.0.0.1:1/none:1", name="node", code=1)
    assert "Error configuring swarm: Unable to pull image:" in done.stderr and "Traceback" not in done.stderr
    assert "docker-machine provision node" in done.stderr
    swarm_image.load(hosts[1], "127.0.0.1:1/none:1")
    swarm("provision", "node")
    assert container(hosts[1], "swarm-agent-master")["State"]["Running"]
