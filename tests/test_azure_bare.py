"""The driver "azure" where azure-identity is not installed: what works all the same, on every Python."""

import sys

import pytest

import docker_machine as core

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def bare(dm, store, tmp_path):
    """docker_machine.py on a Python that has no azure-identity."""
    (tmp_path / "azure.py").write_text("raise ImportError(\"No module named 'azure.identity'\")\n", encoding="ascii")
    dm.env.update(PYTHONPATH="%s:%s" % (tmp_path, dm.env["PYTHONPATH"]), AZURE_SUBSCRIPTION_ID=SUBSCRIPTION)
    return dm


def test_help_needs_no_azure_identity(bare):
    ended = bare("create", "-d", "azure", "--help")
    assert (ended.code, ended.err) == (0, "") and "--azure-size" in ended.out


def test_create_says_the_line_that_installs_it_and_leaves_nothing(bare, store):
    ended = bare("create", "-d", "azure", "web")
    assert ended.code == 3 and "The azure driver needs the Python package azure-identity" in ended.err, ended
    assert "Install it: %s -m pip install azure-identity\n" % sys.executable in ended.err and store.names() == []


def test_ls_lists_its_machines_with_the_reason_and_what_is_stored_is_told(bare, store):
    for name in ("a", "b"):
        machine = store.new(name, core.load_driver("azure"))
        machine.driver["InstanceID"], machine.driver["SubscriptionID"] = "docker-machine/" + name, SUBSCRIPTION
        machine.driver["IPAddress"] = "127.0.0.1"
        store.add(machine)
        machine.mark("")
    ended = bare("ls", "-t", "20")
    rows = [line.split()[:4] for line in ended.out.splitlines()[1:]]
    assert ended.code == 0 and rows == [[name, "-", "azure", "Error"] for name in ("a", "b")]
    assert ended.out.count("needs the Python package azure-identity") == 2
    assert bare("ip", "a").out == "127.0.0.1\n" and bare("inspect", "a").code == 0
    ended = bare("status", "a")
    assert ended.code == 1 and "needs the Python package azure-identity" in ended.err


def test_doctor_tells_that_it_is_not_here(bare):
    line = next(line for line in bare("doctor").out.splitlines() if "azure" in line)
    assert line == "ok    azure: no azure-identity here, which only its machines need"


@pytest.mark.parametrize("words", ["User", "test1", "support_388945a0", "a", "SQL"])
def test_users_that_azure_reserves_are_refused(words):
    flag = next(flag for flag in core.load_driver("azure").flags if flag.name == "azure-ssh-user")
    with pytest.raises(core.UsageError):
        flag.check(words)
