"""The command lines of GitLab Runner's docker+machine executor, as it types them, and what it reads of the answers;
docs/gitlab-runner.md shows them to users."""

from __future__ import annotations

import ast
import json
import re
import secrets
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.testbed import Host, Testbed

from .conftest import HostFactory
from .program import HANG, Done, Program, block_of, said, until

if TYPE_CHECKING:
    from digitalocean import DigitalOcean

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "prism", "droplets")]

MINUTE = 60.0


class Runner:
    """Docker Machine as Runner sees it: every line starts with the same flag."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, *words: str, code: int | None = 0, seconds: float = HANG) -> Done[str]:
        return self.program("--bugsnag-api-token=no-report", *words, code=code, seconds=seconds)

    def create_words(self, host: Host, name: str) -> list[str]:
        """MachineOptions of config.toml are `key=value`, and come verbatim behind two dashes."""
        options = [
            f"generic-ip-address={host.ip}",
            "generic-ssh-user=root",
            f"generic-ssh-key={host.key}",
            "engine-label=ci=yes",
        ]
        return create_words("generic", options, name)

    def names(self) -> list[str]:
        """Runner lists machines by their folders, without a command."""
        folder = self.program.store / "machines"
        listed = folder.iterdir() if folder.exists() else ()
        return sorted(path.name for path in listed if path.is_dir() and path.name[0] != ".")

    def exists(self, name: str) -> bool:
        config = self.program.folder(name) / "config.json"
        return config.exists() and self("inspect", name, code=None).returncode == 0

    def can_connect(self, name: str) -> bool:
        return self("config", name, code=None).returncode == 0

    def credentials(self, name: str) -> tuple[str, Path]:
        url = self("url", name).stdout.strip()
        path = self("inspect", name, "-f", "{{.HostOptions.AuthOptions.StorePath}}").stdout.strip()
        return url, Path(path)


def create_words(driver: str, options: list[str], name: str) -> list[str]:
    given = [f"--{option}" for option in options]
    return ["--bugsnag-api-token=no-report", "create", "--driver", driver, *given, name]


def new_name(form: str = "auto-%s") -> str:
    """Runner's own part, and MachineName of config.toml with a time and digits in it."""
    return "runner-t0k3nab-" + form % f"{int(time.time())}-{secrets.token_hex(4)}"


class Job:
    def __init__(self, runner: Runner, host: Host, name: str, created: Done[str]) -> None:
        self.runner, self.host, self.name, self.created = runner, host, name, created


@pytest.fixture
def runner(program: Program) -> Runner:
    return Runner(program)


@pytest.fixture(scope="module")
def job(bed: Testbed, shared_program: Program) -> Iterator[Job]:
    runner, host, name = Runner(shared_program), bed.host("engine"), new_name()
    shared_program.environ["MACHINE_BUGSNAG_API_TOKEN"] = "no-report"
    created = shared_program(*runner.create_words(host, name))
    yield Job(runner, host, name, created)
    host.remove()


# --- one machine from create to rm


def test_create_logs_its_steps_on_stdout_and_no_line_of_error(job: Job) -> None:
    lines = job.created.stdout.splitlines()

    assert lines[0] == "Running pre-create checks..."
    assert "Docker is up and running!" in lines
    assert job.created.stderr == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", job.created.stdout)


def test_the_machine_is_found_as_a_folder_and_by_inspect(job: Job) -> None:
    assert job.runner.names() == [job.name]
    assert job.runner.exists(job.name)
    assert not job.runner.exists("runner-gone")


def test_the_metrics_find_the_driver_in_config_json(job: Job) -> None:
    config = job.runner.program.config(job.name)

    assert config["DriverName"] == "generic"
    assert isinstance(config["Driver"], dict)


def test_config_tells_by_its_exit_code_whether_the_engine_answers(job: Job) -> None:
    assert job.runner.can_connect(job.name)
    job.host.run("systemctl stop docker.service docker.socket")
    try:
        done = job.runner("config", job.name, code=1, seconds=MINUTE)
    finally:
        job.host.run("systemctl start docker")

    assert done.stdout == ""
    assert until(lambda: job.runner.can_connect(job.name))


def test_the_docker_client_of_runner_gets_what_it_needs(job: Job) -> None:
    url, folder = job.runner.credentials(job.name)
    tls = [f"--{flag}={folder}/{file}.pem"
           for flag, file in (("tlscacert", "ca"), ("tlscert", "cert"), ("tlskey", "key"))]

    done = job.runner.program.outside("docker", "--tlsverify", *tls, "-H", url, "info", "--format", "{{json .Labels}}")

    assert url == f"tcp://{job.host.ip}:2376"
    assert sorted(json.loads(done.stdout)) == ["ci=yes", "provider=generic"]


@pytest.mark.parametrize("command, answer", [("ip", "{ip}"), ("status", "Running"), ("url", "tcp://{ip}:2376")])
def test_answers_are_one_line_and_nothing_else(job: Job, command: str, answer: str) -> None:
    done = job.runner(command, job.name)

    assert (done.stdout, done.stderr) == (answer.format(ip=job.host.ip) + "\n", "")


def test_provision_again_is_no_error_and_leaves_jobs_alone(job: Job) -> None:
    pid = job.host.engine_pid()

    done = job.runner("provision", job.name)

    assert (done.stderr, job.host.engine_pid()) == ("", pid)


def test_create_of_the_same_name_fails_and_the_machine_goes_on(job: Job) -> None:
    done = job.runner.program(*job.runner.create_words(job.host, job.name), code=1)

    assert f'Docker machine "{job.name}" already exists' in done.stderr
    assert job.runner.can_connect(job.name)


def test_stop_ends_within_its_minute_whatever_the_driver_can(job: Job) -> None:
    done = job.runner("stop", job.name, code=1, seconds=MINUTE)

    assert "generic driver does not support stop" in done.stderr
    assert job.runner.can_connect(job.name)


def test_the_lines_that_runners_manual_prints(job: Job) -> None:
    """They are typed into a shell there; a graphics card's program stands for any command."""
    job.host.write("/usr/bin/nvidia-smi", "#!/bin/sh\nid -un\n", "755")
    machine = shlex.join(job.runner.program.argv())

    def shell(line: str) -> str:
        return job.runner.program.outside("sh", "-c", line.replace("docker-machine", machine)).stdout

    assert shell('docker-machine ls -q --filter state=Error --format "{{.NAME}}"') == ""
    assert shell("docker-machine ls -q") == job.name + "\n"
    assert shell(f"docker-machine ssh {job.name} sudo nvidia-smi") == "root\n"


def test_rm_deletes_the_folder_and_says_so_by_its_exit_code(job: Job, tmp_path: Path) -> None:
    other = Runner(job.runner.program.copy(tmp_path))  # a copy, since the machine is needed by other tests

    other("rm", "-y", job.name, seconds=MINUTE)

    assert other.names() == []
    assert not other.exists(job.name)
    other("rm", "-y", job.name, code=1)
    other("rm", "-f", job.name)


def test_rm_of_all_that_ls_names(job: Job, tmp_path: Path) -> None:
    other = job.runner.program.copy(tmp_path)
    other("create", "--driver", "none", "--url", "tcp://192.0.2.1:2376", "another")
    machine = shlex.join(other.argv())

    done = other.outside("sh", "-c", f"{machine} rm $({machine} ls -q)", stdin="y\n")

    assert Runner(other).names() == [], said(done)


# --- the page for users


def test_the_config_toml_of_the_page_makes_machines(program: Program, runner: Runner, ocean: DigitalOcean) -> None:
    machine = block_of("docs/gitlab-runner.md", "config.toml", "toml").split("[runners.machine]")[1]
    # Strings and lists of them are written as in Python.
    settings = {key: ast.literal_eval(value) for key, value in
                re.findall(r"(?ms)^ +(\w+) = (\[.*?\]|.*?)$", machine)}
    name = new_name(settings["MachineName"])

    done = program(*create_words(settings["MachineDriver"], settings["MachineOptions"], name))

    assert done.stderr == "" and runner.can_connect(name)
    (droplet,) = ocean.droplets.values()
    assert (droplet["region"]["slug"], droplet["size_slug"]) == ("fra1", "s-2vcpu-4gb")
    assert "ci" in droplet["tags"]
    info = program.info(name)
    assert "ci=yes" in info["Labels"]
    assert info["RegistryConfig"]["Mirrors"] == ["http://mirror.example.com:5000/"]
    runner("stop", name, seconds=MINUTE)
    runner("rm", "-y", name, seconds=MINUTE)
    assert not ocean.droplets and runner.names() == []


# --- when something went wrong


def test_a_failed_create_leaves_config_json_for_the_metrics_and_for_rm(host: HostFactory, runner: Runner) -> None:
    machine, name = host("engine"), new_name()
    machine.run("systemctl disable --now docker.service docker.socket; systemctl mask docker.service")

    done = runner.program(*runner.create_words(machine, name), code=None)

    assert done.returncode not in (0, 3), said(done)
    assert done.stderr
    assert runner.program.config(name)["DriverName"] == "generic"
    assert runner.names() == [name]
    runner("rm", "-y", name, seconds=MINUTE)
    assert runner.names() == []


@pytest.mark.parametrize("line", ["Creating machine...", "Provisioning with", "Setting Docker configuration"])
def test_a_create_that_was_killed_can_be_removed(host: HostFactory, runner: Runner, line: str) -> None:
    """Runner gives a creation an hour and then kills it."""
    machine, name = host("engine"), new_name()
    create = runner.program.start(*runner.create_words(machine, name))
    assert create.line(line), create
    assert until(lambda: (runner.program.folder(name) / "config.json").exists())

    create.kill()

    assert runner.program.config(name)["DriverName"] == "generic"
    assert runner.exists(name)
    runner("rm", "-y", name, seconds=MINUTE)
    assert runner.names() == []


@pytest.mark.parametrize("text", ["", '{"ConfigVersion": 3, "Dri', None])
def test_a_machine_whose_config_is_broken_goes_with_the_last_resort(runner: Runner, text: str | None) -> None:
    """`rm -y` may fail, 30 times; `rm -f` must not."""
    folder = runner.program.folder("runner-broken")
    folder.mkdir(parents=True)
    (folder / "key.pem").write_text("secret")
    if text is not None:
        (folder / "config.json").write_text(text)

    assert not runner.exists("runner-broken")
    assert not runner.can_connect("runner-broken")
    first = runner("rm", "-y", "runner-broken", code=None)
    assert (first.returncode == 0) == (not folder.exists()), said(first)
    runner("rm", "-f", "runner-broken", seconds=MINUTE)
    assert runner.names() == []


def test_a_host_that_is_gone_does_not_hold_up_its_removal(host: HostFactory, runner: Runner) -> None:
    machine, name = host("engine"), new_name()
    runner.program(*runner.create_words(machine, name))
    machine.remove()

    assert not runner.can_connect(name)
    runner("rm", "-y", name, seconds=MINUTE)
    assert runner.names() == []


def test_creates_of_one_moment_on_an_empty_store_all_connect(host: HostFactory, runner: Runner) -> None:
    machines = {new_name(): host("engine") for _ in range(2)}

    running = [runner.program.start(*runner.create_words(machine, name)) for name, machine in machines.items()]

    assert [each.wait() for each in running] == [0, 0], [str(each) for each in running]
    assert [runner.can_connect(name) for name in machines] == [True, True]
