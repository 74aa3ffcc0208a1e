"""The driver "amazonec2" where boto3 is not installed: what works all the same, on every Python."""

import sys

import pytest

import docker_machine as core


@pytest.fixture
def bare(dm, store, tmp_path):
    """docker_machine.py on a Python that has no boto3."""
    (tmp_path / "boto3.py").write_text("raise ImportError(\"No module named 'boto3'\")\n", encoding="ascii")
    dm.env["PYTHONPATH"] = "%s:%s" % (tmp_path, dm.env["PYTHONPATH"])
    return dm


def test_help_needs_no_boto3(bare):
    ended = bare("create", "-d", "amazonec2", "--help")
    assert (ended.code, ended.err) == (0, "") and "--amazonec2-instance-type" in ended.out


def test_create_says_the_line_that_installs_it_and_leaves_nothing(bare, store):
    ended = bare("create", "-d", "amazonec2", "web")
    assert ended.code == 3 and "The amazonec2 driver needs the Python package boto3" in ended.err
    assert "Install it: %s -m pip install boto3\n" % sys.executable in ended.err and store.names() == []


def test_ls_lists_its_machines_with_the_reason_and_what_is_stored_is_told(bare, store):
    for name in ("a", "b"):
        machine = store.new(name, core.load_driver("amazonec2"))
        machine.driver["InstanceId"], machine.driver["IPAddress"] = "i-1", "127.0.0.1"
        store.add(machine)
        machine.mark("")
    ended = bare("ls", "-t", "20")
    rows = [line.split()[:4] for line in ended.out.splitlines()[1:]]
    assert ended.code == 0 and rows == [[name, "-", "amazonec2", "Error"] for name in ("a", "b")]
    assert ended.out.count("needs the Python package boto3") == 2
    assert bare("ip", "a").out == "127.0.0.1\n" and bare("inspect", "a").code == 0
    ended = bare("status", "a")
    assert ended.code == 1 and "needs the Python package boto3" in ended.err


def test_doctor_tells_that_it_is_not_here(bare):
    line = next(line for line in bare("doctor").out.splitlines() if "amazonec2" in line)
    assert line == "ok    amazonec2: no boto3 here, which only its machines need"
