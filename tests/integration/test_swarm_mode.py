"""Swarm mode on real engines: three managers and two workers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.testbed import BUSYBOX_IMAGE, Host, Testbed

from .program import HANG, Program, block_of, until

pytest_plugins = (f"{__package__}.fixtures",)

NAMES = ("one", "two", "three", "four", "five")


@pytest.fixture(scope="module")
def hosts(bed: Testbed) -> Iterator[dict[str, Host]]:
    started = {name: bed.host("engine") for name in NAMES}
    for host in started.values():
        host.add_address()
        host.load_image()
    yield started
    for host in started.values():
        host.remove()


@pytest.fixture(scope="module")
def cluster(hosts: dict[str, Host], shared_program: Program) -> Program:
    shared_program.environ["MACHINE_ENGINE_TAKE_OVER"] = "true"
    make = shared_program.create
    done = make(hosts["one"], "--swarm-mode", "manager", "--swarm-label", "disk=ssd", name="one")
    assert "Beginning a cluster..." in done.stdout
    make(hosts["two"], "--swarm-mode", "manager", "--swarm-join", "one", name="two")
    make(hosts["four"], "--swarm-mode", "worker", "--swarm-join", "two", name="four")
    make(hosts["five"], "--swarm-mode", "worker", "--swarm-join", "four", name="five")
    make(hosts["three"], name="three")
    shared_program("swarm", "join", "--to", "five", "--manager", "--label", "disk=hdd", "three")
    return shared_program


def nodes(program: Program, name: str = "one") -> dict[str, dict[str, Any]]:
    rows = json.loads(program("swarm", "status", "--format", "json", name).stdout)
    return {row["Machine"]: row for row in rows}


def roles(program: Program) -> dict[str, str]:
    text = program.ls("--format", "{{.Name}}:{{.SwarmMode}}").stdout
    return dict(line.split(":") for line in text.split())


def test_three_managers_and_two_workers_are_a_cluster(cluster: Program) -> None:
    assert roles(cluster) == {"one": "leader", "two": "manager", "three": "manager", "four": "worker", "five": "worker"}
    assert {row["Status"] for row in nodes(cluster, "four").values()} == {"ready"}
    assert re.search(r"NAME .* SWARM +SWARM_MODE +DOCKER ", cluster.ls().stdout)
    labels = cluster.docker("node", "inspect", "--format", "{{.Spec.Labels}}", "self", name="one").stdout
    assert labels.strip() == "map[disk:ssd]"
    labels = cluster.docker("node", "inspect", "--format", "{{.Spec.Labels}}", "self", name="three").stdout
    assert labels.strip() == "map[disk:hdd]"


def test_provision_again_changes_nothing(cluster: Program) -> None:
    before = nodes(cluster)
    cluster("provision", "one", "four")
    assert nodes(cluster) == before


def test_bad_requests_are_a_sentence_each(cluster: Program, hosts: dict[str, Host]) -> None:
    done = cluster("swarm", "init", "one", code=1)
    assert "one is in a cluster already." in done.stderr
    done = cluster("swarm", "ini", "one", code=2)
    assert "Did you mean init?" in done.stderr
    done = cluster("swarm", "join", "five", code=2)
    assert "--to NAME" in done.stderr


def test_a_service_heals_when_a_worker_and_a_manager_are_removed(
    cluster: Program, hosts: dict[str, Host]
) -> None:
    cluster.docker("service", "create", "--detach", "--name", "web", "--replicas", "5", "--restart-delay", "1s",
                   "--stop-grace-period", "1s", "--no-resolve-image", BUSYBOX_IMAGE, name="one")

    def running() -> list[str]:
        lines = cluster.docker("service", "ps", "--filter", "desired-state=running", "--format",
                               "{{.Node}} {{.CurrentState}}", "web", name="one").stdout.splitlines()
        return [line.split()[0] for line in lines if " Running" in line]

    until(lambda: len(running()) == 5, HANG)
    cluster("rm", "-y", "five")
    until(lambda: len(running()) == 5, HANG)
    assert set(nodes(cluster)) == {"one", "two", "three", "four"}
    cluster("rm", "-y", "three")
    until(lambda: len(running()) == 5, HANG)
    assert set(nodes(cluster)) == {"one", "two", "four"}
    assert cluster("ls", "-q").stdout.split() == ["four", "one", "two"]


def test_a_manager_that_is_dead_is_removed_by_the_rest(cluster: Program, hosts: dict[str, Host]) -> None:
    cluster.create(hosts["three"], "--swarm-mode", "manager", "--swarm-join", "one", name="three")
    hosts["three"].stop()
    until(lambda: roles(cluster)["three"] == "down", HANG)
    cluster("rm", "-y", "three")
    assert set(nodes(cluster)) == {"one", "two", "four"}


def test_what_is_left_of_a_cluster_without_a_majority_begins_anew(
    cluster: Program, hosts: dict[str, Host]
) -> None:
    hosts["two"].run("systemctl stop docker docker.socket")
    until(lambda: cluster("swarm", "status", "one", code=None).returncode, HANG)
    cluster("swarm", "init", "--force-new-cluster", "one")
    cluster("rm", "-f", "two")
    until(lambda: set(nodes(cluster)) == {"one", "four"}, HANG)
    hosts["two"].run("systemctl start docker && docker swarm leave --force")
    cluster.create(hosts["two"], "--swarm-mode", "manager", "--swarm-join", "one", name="two")
    assert roles(cluster) == {"one": "leader", "two": "manager", "four": "worker"}


def test_promote_and_demote(cluster: Program) -> None:
    cluster("swarm", "promote", "four")
    assert nodes(cluster)["four"]["Role"] == "manager"
    cluster("swarm", "demote", "two")
    assert roles(cluster)["two"] == "worker"
    cluster("swarm", "demote", "four")
    assert roles(cluster) == {"one": "leader", "two": "worker", "four": "worker"}


def test_the_last_manager_is_asked_for(cluster: Program) -> None:
    done = cluster("rm", "-y", "one", code=1)
    assert "WARNING: one is the last manager of a cluster" in done.stdout and "Use -f" in done.stderr
    assert "leader" in roles(cluster).values()
    done = cluster("swarm", "leave", "one", code=1)
    assert "one is the last manager of its cluster" in done.stderr


def test_leaving_and_coming_back(cluster: Program) -> None:
    cluster("swarm", "leave", "two", "four")
    assert set(nodes(cluster)) == {"one"} and roles(cluster)["two"] == ""
    cluster("swarm", "join", "--to", "one", "two")
    assert roles(cluster)["two"] == "worker"
    cluster("swarm", "leave", "two")
    cluster("swarm", "leave", "one")


def test_the_page_works_as_it_is_written(cluster: Program) -> None:
    lines = block_of("docs/swarm.md", "swarm-mode").replace("three", "four")
    text = cluster.outside("bash", "-ec", lines).stdout
    assert re.search(r"\none +\S+ +ready +active +leader ", text) and text.count(" worker ") == 4
    cluster("swarm", "leave", "two", "four", "one")


def test_a_locked_manager_is_shown_and_unlocked(cluster: Program, hosts: dict[str, Host]) -> None:
    done = cluster("swarm", "init", "--autolock", "two")
    key = re.findall(r"SWMKEY-1-\S+", done.stdout)[0]
    file = cluster.folder("two") / "swarm-unlock-key"
    assert file.read_text().strip() == key and file.stat().st_mode & 0o777 == 0o600
    done = cluster("restart", "two")
    assert "The cluster of two is locked. Unlock it: docker-machine swarm unlock two" in done.stderr
    assert roles(cluster)["two"] == "locked"
    done = cluster("swarm", "join", "--to", "two", "four", code=1)
    assert "The cluster of two is locked." in done.stderr and "docker-machine swarm unlock two" in done.stderr
    cluster("swarm", "unlock", "two")
    until(lambda: roles(cluster)["two"] == "leader", HANG)
    cluster("rm", "-y", "two")


def test_live_restore_and_another_cluster_are_refused(cluster: Program, hosts: dict[str, Host]) -> None:
    cluster("swarm", "init", "--advertise-addr", hosts["one"].add_address(), "one")
    hosts["four"].run(f"docker swarm init --advertise-addr {hosts['four'].address}")
    done = cluster("swarm", "join", "--to", "one", "four", code=1)
    assert "four is in another cluster than one." in done.stderr
    cluster("swarm", "leave", "--force", "four")
    hosts["four"].run("echo '{\"live-restore\": true}' >/etc/docker/daemon.json; systemctl restart docker")
    done = cluster("swarm", "join", "--to", "one", "four", code=1)
    assert "live-restore" in done.stderr
    hosts["four"].run("rm /etc/docker/daemon.json; systemctl restart docker")


def test_what_no_peer_reaches_is_a_sentence_and_the_machine_is_kept(
    cluster: Program, hosts: dict[str, Host]
) -> None:
    hosts["one"].run("iptables -I INPUT -p tcp --dport 2377 -j REJECT")
    done = cluster.create(hosts["two"], "--swarm-mode", "worker", "--swarm-join", "one", name="two", code=1)
    assert "two cannot join the cluster of one" in done.stderr and "provision two" in done.stderr
    hosts["one"].run("iptables -D INPUT -p tcp --dport 2377 -j REJECT")
    cluster("provision", "two")
    assert roles(cluster)["two"] == "worker"
    assert set(nodes(cluster, "two")) == {"one", "two"}, "its manager is known by its number, not by its address"


def test_a_node_that_was_taken_out_by_hand_does_not_come_back_by_itself(
    cluster: Program, hosts: dict[str, Host]
) -> None:
    hosts["two"].run("docker swarm leave")
    done = cluster("provision", "two", code=1)
    assert "two is not in its cluster any more." in done.stderr and "docker-machine swarm leave two" in done.stderr
    cluster("swarm", "leave", "two")
    cluster("swarm", "join", "--to", "one", "two")
    done = cluster("swarm", "join", "--to", "one", "--manager", "two", code=1)
    assert "docker-machine swarm promote two" in done.stderr


def test_the_last_manager_goes_where_that_was_agreed_to(cluster: Program) -> None:
    done = cluster("rm", "one", stdin="y\n")
    assert "WARNING: one is the last manager" in done.stdout and "Successfully removed one" in done.stdout
    cluster("rm", "-y", "two")
