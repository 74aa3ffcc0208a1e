"""Machines by the driver "digitalocean": the API is played by tests/digitalocean.py, checked by DigitalOcean's own
description, and its droplets are real hosts with a real cloud-init (see droplets.py)."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from digitalocean import TOKEN, DigitalOcean
from digitalocean_account import PROJECT
from digitalocean_catalogue import CUSTOM

from .program import Done, Program, processes_with, said, until

if TYPE_CHECKING:
    from .droplets import Droplets

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "prism", "droplets")]

CREATE = ("create", "--driver", "digitalocean")
LABELS = ["a=b", "provider=digitalocean"]
POLLED = r"/v2/droplets/\d+$"


def create(program: Program, *words: str, name: str = "web", code: int | None = 0) -> Done[str]:
    return program(*CREATE, *words, name, code=code)


def asked_once(ocean: DigitalOcean) -> list[str]:
    """The requests so far, without repeats."""
    return list(dict.fromkeys(ocean.lines()))


def assert_gone(ocean: DigitalOcean, droplets: Droplets) -> None:
    """Nothing is left in the account, and no host."""
    assert ocean.empty() and not ocean.keys
    assert until(lambda: not droplets.hosts)


@pytest.mark.parametrize("expiry", ["config", "script", "disk"])
def test_a_droplet_becomes_a_machine_however_its_password_expires(
    program: Program, ocean: DigitalOcean, droplets: Droplets, expiry: str
) -> None:
    droplets.expiry = expiry
    create(program)
    assert program.info()["Name"] == "web"
    assert len(asked_once(ocean)) <= 6, ocean.lines()
    program("rm", "-y", "web")
    assert_gone(ocean, droplets)


def test_the_whole_life_of_a_droplet(program: Program, ocean: DigitalOcean, droplets: Droplets) -> None:
    words = ("--digitalocean-tags", "ci, team:web", "--digitalocean-project-id", PROJECT, "--engine-label", "a=b")
    done = create(program, *words)
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == LABELS, said(done)
    assert len(asked_once(ocean)) <= 6, ocean.lines()
    ((number, droplet),) = ocean.droplets.items()
    assert droplet["tags"][:2] == ["ci", "team:web"] and ocean.projects[PROJECT] == [f"do:droplet:{number}"]
    address = droplet["networks"]["v4"][0]["ip_address"]
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert program("ssh", "web", "hostname; cat /proc/1/comm").stdout == "web\nsystemd\n"
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running digitalocean\n"
    assert "was not restarted" in program("provision", "web").stdout

    boot = program("ssh", "web", "cut -d ' ' -f 22 /proc/1/stat").stdout
    program("restart", "web")
    assert program("ssh", "web", "cut -d ' ' -f 22 /proc/1/stat").stdout != boot
    program("stop", "web")
    assert (program("status", "web").stdout, droplet["status"]) == ("Stopped\n", "off")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    assert sorted(program.info()["Labels"]) == LABELS
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("start", "web")

    program("rm", "-y", "web")
    assert ocean.tags == {"ci", "team:web"}  # the user's own
    ocean.tags.clear()
    assert_gone(ocean, droplets)


def test_the_users_own_user_data_and_login_are_there_as_well(
    program: Program, ocean: DigitalOcean, droplets: Droplets, tmp_path: Path
) -> None:
    own = {
        "users": ["default", {"name": "guest", "shell": "/bin/sh"}],
        "runcmd": [["touch", "/srv/ran"]],
        "write_files": [{"path": "/srv/written", "content": "ä"}],
    }
    (tmp_path / "own.yaml").write_text("#cloud-config\n" + json.dumps(own, ensure_ascii=False), encoding="utf-8")
    create(program, "--digitalocean-userdata", str(tmp_path / "own.yaml"), "--digitalocean-ssh-user", "ops")
    assert program("ssh", "web", "whoami; cat /srv/written; id -un guest").stdout == "ops\näguest\n"
    assert until(lambda: program("ssh", "web", "ls /srv/ran", code=None).returncode == 0)

    (tmp_path / "script").write_text("#!/bin/sh\ntouch /srv/script\n", encoding="ascii")
    create(program, "--digitalocean-userdata", str(tmp_path / "script"), name="second")
    assert until(lambda: program("ssh", "second", "ls /srv/script", code=None).returncode == 0)
    assert program.info("second")["Name"] == "second"
    program("rm", "-y", "web", "second")
    assert_gone(ocean, droplets)


def test_a_key_of_the_account_lets_in(
    program: Program, ocean: DigitalOcean, droplets: Droplets, tmp_path: Path
) -> None:
    key = tmp_path / "own key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    listed = ocean.add_key(key.with_suffix(".pub").read_text(encoding="ascii").strip())
    words = ("--digitalocean-ssh-key-fingerprint", listed["fingerprint"], "--digitalocean-ssh-key-path", str(key))
    create(program, *words)
    assert len(asked_once(ocean)) <= 6 and program.info()["Name"] == "web"
    key.unlink()  # the machine has its copy
    assert program("ssh", "web", "whoami").stdout == "root\n"
    program("rm", "-y", "web")
    assert list(ocean.keys) == [listed["id"]] and ocean.empty()


def test_an_image_without_cloud_init_gets_the_key_by_the_account(
    program: Program, ocean: DigitalOcean, droplets: Droplets
) -> None:
    create(program, "--digitalocean-image", str(CUSTOM))
    assert not ocean.keys and program.info()["Driver"]
    assert not (program.folder() / "ssh_host_ed25519_key").exists()
    program("rm", "-y", "web")
    assert_gone(ocean, droplets)


STAGES = [("before", "POST", "/v2/droplets$"), ("after", "POST", "/v2/droplets$"), ("after", "GET", POLLED)]
LINES = ["Waiting for SSH", "Detecting the provisioner", "Checking connection"]


@pytest.mark.parametrize("when, method, path", STAGES)
def test_provision_finishes_what_was_killed_at_the_api(
    program: Program, ocean: DigitalOcean, droplets: Droplets, when: str, method: str, path: str
) -> None:
    with ocean.hold(method, path, when) as hold:
        running = program.start(*CREATE, "web")
        hold.wait()
        running.kill()
    program("provision", "web")
    assert len(ocean.droplets) == 1 and program.info()["Name"] == "web"
    program("rm", "-y", "web")
    assert_gone(ocean, droplets)


def test_what_was_killed_later_is_finished_or_removed(
    program: Program, ocean: DigitalOcean, droplets: Droplets
) -> None:
    for number, line in enumerate(LINES):
        running = program.start(*CREATE, f"web{number}")
        assert running.line(line), running
        running.kill()
    program("provision", "web0", "web1", "web2")
    assert len(ocean.droplets) == 3
    for number in range(3):
        assert program.info(f"web{number}")["Name"] == f"web{number}"
    running = program.start(*CREATE, "half")
    assert running.line("Waiting for SSH"), running
    running.kill()
    program("rm", "-y", "web*", "half")
    assert_gone(ocean, droplets)


def test_creations_in_a_row_succeed_where_a_third_of_all_requests_fails(
    program: Program, ocean: DigitalOcean, droplets: Droplets
) -> None:
    """The fast suite makes twenty of them, whose droplets are no hosts."""
    ocean.retry_after = 0
    ocean.shake(0.3, seed=7)
    for number in range(3):
        name = f"web{number}"
        create(program, name=name)
        assert program.info(name)["Name"] == name and len(ocean.droplets) == 1
        program("rm", "-y", name)
        assert_gone(ocean, droplets)
    failed = [record for record in ocean.requests if record.status in (0, 429, 500, 503)]
    assert len(failed) > 5
    assert len(ocean.orders) == 3  # what was ever created


def test_several_in_one_command_of_which_one_fails(
    program: Program, ocean: DigitalOcean, droplets: Droplets
) -> None:
    """The third is refused by the account's limit, which the API tells only when asked for it."""
    ocean.droplet_limit = 2
    done = program(*CREATE, "web-{1..3}", code=1)
    ready = [name for name in program.names() if not (program.folder(name) / "incomplete").exists()]
    assert len(ready) == 2 and len(ocean.droplets) == 2
    assert {program.info(name)["Name"] for name in ready} == set(ready)
    assert done.stderr.count("limit") >= 1
    for name in ready:
        assert f"({name}) Docker is up and running!" in done.stdout
    program("rm", "-y", "web-*")
    assert_gone(ocean, droplets)


def test_several_managers_in_one_command_are_one_cluster(
    program: Program, ocean: DigitalOcean, droplets: Droplets
) -> None:
    program(*CREATE, "--swarm-mode", "manager", "m{1..3}")
    roles = program.ls("--format", "{{.SwarmMode}}").stdout.split()
    assert sorted(roles) == ["leader", "manager", "manager"]
    rows = json.loads(program("swarm", "status", "--format", "json", "m3").stdout)
    assert [row["Machine"] for row in rows] == ["m1", "m2", "m3"]
    done = program("rm", "-y", "m*")
    assert "WARNING: m" not in done.stdout
    assert_gone(ocean, droplets)


def test_the_token_is_in_config_json_alone(program: Program, ocean: DigitalOcean, droplets: Droplets) -> None:
    seen = []
    running = program.start("--debug", *CREATE, "web")
    while running.line(""):
        seen += [text for text in processes_with("MACHINE_STORAGE_PATH", program.store).values() if TOKEN in text]
        if len(running.lines) > 400 or running.process.poll() is not None:
            break
    assert running.wait() == 0, running
    outputs = [str(running)]
    for words in (["inspect", "web"], ["ls"], ["env", "web"], ["status", "web"], ["doctor"], ["rm", "-y", "nobody"]):
        done = program("--debug", *words, code=None)
        outputs.append(done.stdout + done.stderr)
    ocean.tokens = {}
    refused = program("--debug", "status", "web", code=1)
    assert "refuses the access token" in refused.stderr and "config.json" in refused.stderr, said(refused)
    ocean.tokens = {TOKEN: None}
    assert [text for text in [*outputs, said(refused)] if TOKEN in text] == [] and seen == []
    files = [path for path in program.store.parent.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert {path.name for path in files} == {"config.json"} and stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert TOKEN not in program("ssh", "web", "cat /var/lib/cloud/instance/user-data.txt; env").stdout
    program("rm", "-y", "web")
