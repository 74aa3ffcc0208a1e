"""What `create` was asked for is what the engine gets, to the letter; a daemon.json stays valid."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.testbed import Host

from .conftest import HostFactory
from .program import Program, all_files, engine_process

pytest_plugins = (f"{__package__}.fixtures",)

NASTY = [
    "two words",
    "  blanks  around  ",
    "'single' \"double\" `back`",
    "50%% of 100% is %h %n",
    "$HOME ${HOME} $(id) $$",
    "back\\slash \\n \\t \\\\ end\\",
    "; & | < > ( ) # ! * ? [a] {b,c} ~",
    "tab\there",
    "two\nlines",
    "naïve ☃",
    "-- --tls=false",
    "@:=,",
]
DAEMON_JSON = "/etc/docker/daemon.json"


@pytest.fixture
def program(program: Program) -> Program:
    """Each test has a store of its own, and takes the host over from the one before."""
    program.environ["MACHINE_ENGINE_TAKE_OVER"] = "true"
    return program


@pytest.fixture
def machine(shared_host: Host) -> Host:
    """A host with an engine that other tests may have configured."""
    shared_host.run(f"rm -f {DAEMON_JSON}*")
    return shared_host


@pytest.fixture
def asis(machine: Host) -> Host:
    """One whose engine has the configuration it was installed with."""
    machine.run("rm -rf /etc/systemd/system/docker.service.d /etc/docker/*.pem")
    machine.run("systemctl daemon-reload && systemctl restart docker")
    return machine


def test_environment_labels_and_options_arrive_to_the_letter(
    machine: Host, program: Program
) -> None:
    texts = {f"T{number}": text for number, text in enumerate(NASTY)}
    words: list[str] = []
    for key, text in texts.items():
        words += ["--engine-env", f"{key}={text}", "--engine-label", f"{key}={text}"]
        words += ["--engine-opt", f"log-opt={key.lower()}={text}"]

    # The engine checks these options for a logging driver that it knows, but not for this one.
    program.create(machine, *words, "--engine-opt", "log-driver=none")

    environment = dict(text.partition("=")[::2] for text in engine_process(machine, "environ"))
    assert {key: environment.get(key) for key in texts} == texts
    labels = dict(text.partition("=")[::2] for text in program.info()["Labels"])
    assert labels == {**texts, "provider": "generic"}
    arguments = engine_process(machine, "cmdline")
    assert [word for word in arguments if word.startswith("--log-opt")] == [
        f"--log-opt={key.lower()}={text}" for key, text in texts.items()
    ]


def test_options_of_the_engine_take_effect(machine: Host, program: Program) -> None:
    program.create(
        machine,
        *("--engine-registry-mirror", "https://mirror.example:5000"),
        *("--engine-insecure-registry", "10.1.0.0/16"),
        *("--engine-insecure-registry", "registry.example:5000"),
        *("--engine-storage-driver", "vfs", "--engine-opt", "default-ulimit=nofile=512:1024"),
        *("--engine-opt", "debug", "--engine-opt", "log-driver=journald"),
    )

    info = program.info()
    registries = info["RegistryConfig"]
    assert registries["Mirrors"] == ["https://mirror.example:5000/"]
    assert "10.1.0.0/16" in registries["InsecureRegistryCIDRs"]
    assert registries["IndexConfigs"]["registry.example:5000"]["Secure"] is False
    assert (info["Driver"], info["Debug"], info["LoggingDriver"]) == ("vfs", True, "journald")
    assert "--default-ulimit=nofile=512:1024" in engine_process(machine, "cmdline")


def test_a_storage_driver_is_passed_only_when_asked_for(asis: Host, program: Program) -> None:
    program.create(asis)
    assert "storage-driver" not in " ".join(engine_process(asis, "cmdline"))

    program.create(asis, "--engine-storage-driver", "overlay2", name="other")
    assert "--storage-driver=overlay2" in engine_process(asis, "cmdline")
    assert program.info("other")["Driver"] == "overlay2"


def test_another_engine_port(machine: Host, program: Program) -> None:
    program.create(machine, "--generic-engine-port", "12376")

    assert program("url", "web").stdout == f"tcp://{machine.ip}:12376\n"
    assert program.info()["Name"] == "web"


def test_tls_sans_can_be_connected_to(machine: Host, program: Program) -> None:
    program.create(machine, "--tls-san", "docker.example", "--tls-san", "10.9.8.7")

    for name in ("docker.example", "10.9.8.7", "web", "localhost"):
        resolve = ("--connect-to", f"{name}:2376:{machine.ip}:2376")
        assert "ApiVersion" in program.curl(f"https://{name}:2376/version", *resolve).stdout


# --- certificates of one's own


class Authority(NamedTuple):
    """A CA that somebody made by hand, and a client pair of it."""

    ca: Path
    key: Path
    client: Path
    client_key: Path

    def flags(self) -> list[str]:
        names = ("ca-cert", "ca-key", "client-cert", "client-key")
        return [word for name, path in zip(names, self) for word in (f"--tls-{name}", str(path))]


def authority(folder: Path) -> Authority:
    folder.mkdir()
    new = "openssl req -newkey rsa:2048 -nodes"
    script = f"""
        {new} -x509 -days 9 -subj /CN=Own -keyout ca-key.pem -out authority.pem
        {new} -subj /CN=me -keyout me-key.pem -out me.csr
        echo extendedKeyUsage=clientAuth > ext
        openssl x509 -req -in me.csr -CA authority.pem -CAkey ca-key.pem -CAcreateserial \
            -days 9 -extfile ext -out me.pem
    """
    subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, check=True)
    names = ("authority.pem", "ca-key.pem", "me.pem", "me-key.pem")
    return Authority(*(folder / name for name in names))


def test_an_own_ca_signs_the_server_and_stays_as_it_is(
    machine: Host, program: Program, tmp_path: Path
) -> None:
    own = authority(tmp_path / "own")
    before = [path.read_bytes() for path in own]

    program(*own.flags(), *program.create_words(machine))

    assert program.info()["Name"] == "web"
    assert (program.folder() / "ca.pem").read_bytes() == own.ca.read_bytes()
    assert (program.folder() / "cert.pem").read_bytes() == own.client.read_bytes()
    assert [path.read_bytes() for path in own] == before
    assert list(program.store.glob("certs/*.pem")) == []
    assert "Everything is in place" in program("provision", "web").stdout


def test_an_own_ca_signs_a_client_certificate_too(
    machine: Host, program: Program, tmp_path: Path
) -> None:
    own = authority(tmp_path / "own")

    program(*own.flags()[:4], *program.create_words(machine))

    assert program.info()["Name"] == "web"
    assert {path.name for path in program.store.glob("certs/*.pem")} == {"cert.pem", "key.pem"}


def test_a_client_certificate_of_another_ca_is_refused(
    asis: Host, program: Program, tmp_path: Path
) -> None:
    one, two = authority(tmp_path / "one"), authority(tmp_path / "two")
    host_before = all_files(asis)
    before = [path.read_bytes() for path in (*one, *two)]

    done = program(*one.flags()[:4], *two.flags()[4:], *program.create_words(asis), code=None)

    assert done.returncode in (1, 3)
    assert str(two.client) in done.stderr
    assert [path.read_bytes() for path in (*one, *two)] == before
    assert (program.names(), all_files(asis)) == ([], host_before)


def test_an_own_ca_without_its_key_is_refused(
    asis: Host, program: Program, tmp_path: Path
) -> None:
    own = authority(tmp_path / "own")

    done = program(*own.flags()[:2], *program.create_words(asis), code=None)

    assert done.returncode in (1, 3)
    assert str(own.ca) in done.stderr
    assert program.names() == []


# --- daemon.json


def test_labels_are_merged_into_a_daemon_json(asis: Host, program: Program) -> None:
    there = '{"labels": ["site=north"], "debug": true,\n "insecure-registries": ["a.example"]}\n'
    asis.write(DAEMON_JSON, there)

    program.create(asis, "--engine-label", "rack=7", "--engine-insecure-registry", "b.example")

    info = program.info()
    assert sorted(info["Labels"]) == ["provider=generic", "rack=7", "site=north"]
    assert info["Debug"] is True
    assert {"a.example", "b.example"} <= set(info["RegistryConfig"]["IndexConfigs"])
    assert asis.run(f"cat {DAEMON_JSON}.before-docker-machine") + "\n" == there
    assert "Everything is in place" in program("provision", "web").stdout


def test_a_label_merged_into_a_daemon_json_can_be_changed(asis: Host, program: Program) -> None:
    asis.write(DAEMON_JSON, '{"labels": ["site=north"]}')
    program.create(asis, "--engine-label", "rack=7")
    program.edit(lambda config: config["HostOptions"]["EngineOptions"].update(Labels=["rack=8"]))

    program("provision", "web")

    assert sorted(program.info()["Labels"]) == ["provider=generic", "rack=8", "site=north"]


def test_a_daemon_json_without_our_keys_stays_as_it_is(asis: Host, program: Program) -> None:
    asis.write(DAEMON_JSON, '{"debug":true}')

    program.create(asis, "--engine-label", "rack=7")

    assert sorted(program.info()["Labels"]) == ["provider=generic", "rack=7"]
    assert asis.run(f"cat {DAEMON_JSON}") == '{"debug":true}'


def test_a_daemon_json_that_is_a_link_stays_one(asis: Host, program: Program) -> None:
    asis.write("/opt/site/daemon.json", '{"labels": ["site=north"]}')
    asis.run(f"ln -s /opt/site/daemon.json {DAEMON_JSON}")

    program.create(asis)

    assert asis.run(f"readlink {DAEMON_JSON}") == "/opt/site/daemon.json"
    assert sorted(program.info()["Labels"]) == ["provider=generic", "site=north"]


def test_an_equal_setting_in_daemon_json_is_accepted(asis: Host, program: Program) -> None:
    asis.write(DAEMON_JSON, '{"storage-driver": "overlay2", "log-level": "warn"}')

    options = ("--engine-storage-driver", "overlay2", "--engine-opt", "log-level=warn")
    program.create(asis, *options)

    assert program.info()["Driver"] == "overlay2"
    arguments = " ".join(engine_process(asis, "cmdline"))
    assert "storage-driver" not in arguments and "log-level" not in arguments


def test_tlsverify_in_a_daemon_json_is_accepted(asis: Host, program: Program) -> None:
    asis.write(DAEMON_JSON, '{"tlsverify": true}')

    program.create(asis)

    assert program.info()["Name"] == "web"


REFUSED = {  # daemon.json -> what the error names
    '{"storage-driver": "vfs"}': '"storage-driver" is set in /etc/docker/daemon.json',
    '{"tlscacert": "/root/ca.pem"}': '"tlscacert" is set in /etc/docker/daemon.json',
    '{"hosts": ["fd://"]}': '"hosts" is set in /etc/docker/daemon.json',
    '{"debug": true,}': "/etc/docker/daemon.json on the host is not valid",
    '["debug"]': "/etc/docker/daemon.json on the host is not valid",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_daemon_json_in_conflict_is_refused(asis: Host, program: Program, text: str) -> None:
    asis.write(DAEMON_JSON, text)
    before = all_files(asis), asis.engine_pid()

    done = program.create(asis, "--engine-storage-driver", "overlay2", code=3)

    assert REFUSED[text] in done.stderr.replace("\\", "")
    assert (program.names(), (all_files(asis), asis.engine_pid())) == ([], before)


def test_a_daemon_json_in_conflict_is_found_by_a_sudo_user(
    host: HostFactory, program: Program
) -> None:
    machine = host("tty")
    machine.write(DAEMON_JSON, '{"hosts": ["fd://"]}', mode="600")

    done = program.create(machine, user="ops", code=3)

    assert REFUSED['{"hosts": ["fd://"]}'] in done.stderr.replace("\\", "")
    assert program.names() == []
