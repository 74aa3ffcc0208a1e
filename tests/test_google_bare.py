"""The driver "google" where google-auth is not installed: what works all the same, on every Python."""

import sys

import pytest

import docker_machine as core


@pytest.fixture
def bare(dm, store, tmp_path):
    """docker_machine.py on a Python that has no google-auth."""
    (tmp_path / "google.py").write_text("raise ImportError(\"No module named 'google.auth'\")\n", encoding="ascii")
    dm.env["PYTHONPATH"] = "%s:%s" % (tmp_path, dm.env["PYTHONPATH"])
    return dm


def test_help_needs_no_google_auth(bare):
    ended = bare("create", "-d", "google", "--help")
    assert (ended.code, ended.err) == (0, "") and "--google-machine-type" in ended.out


def test_create_says_the_line_that_installs_it_and_leaves_nothing(bare, store):
    ended = bare("create", "-d", "google", "web")
    assert ended.code == 3 and "The google driver needs the Python package google-auth requests" in ended.err
    assert "Install it: %s -m pip install google-auth requests\n" % sys.executable in ended.err and store.names() == []


def test_ls_lists_its_machines_with_the_reason_and_what_is_stored_is_told(bare, store):
    for name in ("a", "b"):
        machine = store.new(name, core.load_driver("google"))
        machine.driver["InstanceName"], machine.driver["Project"] = name, "demo-1"
        machine.driver["IPAddress"] = "127.0.0.1"
        store.add(machine)
        machine.mark("")
    ended = bare("ls", "-t", "20")
    rows = [line.split()[:4] for line in ended.out.splitlines()[1:]]
    assert ended.code == 0 and rows == [[name, "-", "google", "Error"] for name in ("a", "b")]
    assert ended.out.count("needs the Python package google-auth") == 2
    assert bare("ip", "a").out == "127.0.0.1\n" and bare("inspect", "a").code == 0
    ended = bare("status", "a")
    assert ended.code == 1 and "needs the Python package google-auth requests" in ended.err


def test_doctor_tells_that_it_is_not_here(bare):
    line = next(line for line in bare("doctor").out.splitlines() if "google" in line)
    assert line == "ok    google: no google-auth here, which only its machines need"
