"""The command `certs`."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from conftest import bootstrap, pair

import docker_machine as core


@pytest.fixture
def machine(store, add, closed_port):
    """An entry with a server certificate for 127.0.0.1, whose engine does not answer."""
    made = add("web", "tcp://127.0.0.1:%d" % closed_port)
    core.issue_server(made.server_pair, made.ca, "web", ["127.0.0.1", "localhost", "web"])
    return made


def rows(call, *words, code=0, **env):
    ended = call("certs", "--format", "json", *words, **env)
    assert (ended.code, ended.err) == (code, ""), ended
    return {(row["Machine"], row["Certificate"]): row for row in json.loads(ended.out)}


def test_rows_of_a_sound_machine(call, machine):
    found = rows(call)
    assert list(found) == [("web", "ca"), ("web", "client"), ("web", "server")]
    for row in found.values():
        assert row["Note"] == "" and isinstance(row["Left"], int) and row["Left"] > 1000
        assert time.strptime(row["Expires"], "%Y-%m-%d %H:%M")
    assert len({row["Authority"] for row in found.values()}) == 1 and len(found["web", "ca"]["Authority"]) == 8


def test_what_machines_share_is_one_row(call, machine, add, closed_port):
    for name in ("db", "c3", "d4"):
        add(name, "tcp://127.0.0.1:%d" % closed_port)
    lines = call("certs", "--local").out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["MACHINE", "CERTIFICATE"], ["(all)", "ca"], ["(all)", "client"], ["web", "server"]]
    assert rows(call, "web", "db")[("web, db", "ca")]["Note"] == ""


def replace(path, text):
    def act(machine):
        Path(path(machine)).write_text(text)
    return act


def other_ca(machine):
    """A server certificate of another store's CA."""
    folder = Path(machine.folder) / "other"
    bootstrap(folder)
    core.issue_server(machine.server_pair, pair(folder, "ca"), "web", ["127.0.0.1"])
    shutil.rmtree(str(folder))


def other_key(machine):
    os.replace(shutil.copy(machine.client.key, machine.server_pair.key + ".new"), machine.server_pair.key)


def other_address(machine):
    core.issue_server(machine.server_pair, machine.ca, "web", ["192.0.2.1", "localhost"])


DEFECTS = [
    ("server", lambda machine: os.unlink(machine.server_pair.cert), None),  # a URL alone has none
    ("server", replace(lambda machine: machine.server_pair.cert, "garbage"), "cannot be read"),
    ("server", other_ca, "is not of this CA"), ("server", other_key, "the key is another one's"),
    ("server", other_address, "is not for the address 127.0.0.1"),
    ("server", lambda machine: os.unlink(machine.server_pair.key), "its key is missing"),
    ("client", lambda machine: os.unlink(machine.client.cert), "missing"),
    ("client", lambda machine: os.unlink(machine.client.key), "its key is missing"),
    ("client", replace(lambda machine: os.path.join(machine.folder, "cert.pem"), "old"), "copies differ, of web"),
    ("ca", replace(lambda machine: machine.ca.cert, ""), "cannot be read"),
]


@pytest.mark.parametrize("kind, act, note", DEFECTS, ids=lambda value: value if isinstance(value, str) else "")
def test_each_defect_is_a_note_and_fails_a_check(call, machine, kind, act, note):
    assert rows(call, "--check", "30d") == {}
    act(machine)
    row = rows(call, "--local").get(("web", kind))
    if note is None:
        assert row is None
        return
    assert note in row["Note"]
    assert ("web", kind) in rows(call, "--check", "30d", code=1)


@pytest.mark.parametrize("offset, note", [(-20 * 365, "is not valid yet"), (20 * 365, "has expired")])
def test_the_clock_decides(call, machine, monkeypatch, offset, note):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + offset * 86400)
    for row in rows(call, "--local").values():
        assert note in row["Note"]


def test_check_tells_what_ends_within_the_days(call, machine):
    assert call("certs", "--local", "--check", "30d").out == ""
    days = rows(call, "--local")["web", "server"]["Left"]
    assert ("web", "server") in rows(call, "--local", "--check", str(days + 1), code=1)
    assert ("web", "server") not in rows(call, "--local", "--check", "%dd" % (days - 1), code=0)
    ended = call("certs", "--check", "soon")
    assert ended.code == 2 and "is not a number of days" in ended.err


def test_a_machine_that_cannot_be_loaded_does_not_hide_the_others(call, machine, add, store):
    add("bad")
    Path(store.folder("bad"), "config.json").write_text("{")
    ended = call("certs", "--local")
    assert ended.code == 1 and "bad: " in ended.err and "web" in ended.out


def test_what_the_engine_presents(call, machine, server, engine_port):
    """Another certificate of the same CA on the host than in the store."""
    machine.driver["URL"] = "tcp://127.0.0.1:%d" % engine_port
    machine.save()
    found = rows(call)
    assert "presents another certificate than server.pem" in found["web", "engine"]["Note"]
    shutil.copy(str(server.cert), machine.server_pair.cert)
    assert ("web", "engine") not in rows(call)


def test_450_machines_in_one_openssl(call, machine, store, monkeypatch):
    config = Path(machine.folder, "config.json").read_text()
    for number in range(449):
        folder = Path(store.folder("m%d" % number))
        shutil.copytree(machine.folder, str(folder))
        (folder / "config.json").write_text(config.replace("/machines/web", "/machines/" + folder.name).replace(
            '"Name": "web"', '"Name": "%s"' % folder.name).replace('"web"', '"%s"' % folder.name))
    programs = []  # type: list
    run = core.run

    def counted(argv, *more, **named):
        programs.append(argv[0])
        return run(argv, *more, **named)

    monkeypatch.setattr(core, "run", counted)
    found = rows(call, "--local")
    assert len([key for key in found if key[1] == "server"]) == 450
    assert {row["Note"] for row in found.values()} == {""}
    assert len(programs) < 6


def test_renewal_goes_one_by_one_and_stops_at_the_first_failure(call, machine, add, store, monkeypatch):
    for name in ("a1", "zed"):
        add(name)
    done = []  # type: list
    provision = core.Machine.provision

    def note(one, **more):
        done.append((one.name, more))
        if one.name == "b2":
            raise core.MachineError("no route to it.", "Wait.")
        provision(one, **more)

    monkeypatch.setattr(core.Machine, "provision", note)
    add("b2")
    before = Path(machine.client.cert).read_text()
    ended = call("certs", "--renew")
    assert ended.code == 1 and [name for name, _ in done] == ["a1", "b2"]
    assert "no route to it." in ended.err and "Not renewed any more: web, zed" in ended.err
    assert Path(machine.client.cert).read_text() != before
    assert all(more == {"renew_server": True} for _, more in done)


def test_ls_and_env_tell_of_certificates_that_end_soon(call, machine, monkeypatch):
    now = time.time
    assert call("ls", "-t", "1").err == ""
    days = rows(call, "--local")["web", "client"]["Left"]
    monkeypatch.setattr(time, "time", lambda: now() + (days - 11) * 86400)
    ended = call("ls", "-t", "1")
    assert ended.err == ("Warning: Certificates end soon: web, the first in 11 days. Renew them: docker-machine "
                         "regenerate-certs --client-certs web\n")
    assert call("ls", "-q").err == ""

