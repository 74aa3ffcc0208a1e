"""What `create` writes into config.json, for every driver, byte for byte as releases before this one wrote it.

tests/data/entries.json has command lines and what they led to before the drivers got their base classes; STORE
stands for the store's path.
"""

import json
import os

import pytest
from conftest import ROOT

import docker_machine as core

ROWS = json.loads((ROOT / "tests" / "data" / "entries.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("MACHINE_", "ENGINE_", "GENERIC_", "VIRTUALBOX_", "DIGITALOCEAN_", "QEMU_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_new_entry_is_what_it_was(row, store):
    context = core.Context(["docker-machine"], core.parse_flags(core.GLOBAL_FLAGS, ["-s", store.path], {})[0])
    flags = core.create_flags(core.create_driver(row["words"]))
    options, (name,) = core.parse_flags(flags, row["words"], {})
    machine = core.described_machine(context, options, name)
    store.add(machine)
    written = (core.read_text(os.path.join(machine.folder, "config.json"))).replace(store.path, "STORE")
    assert written == row["config"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_an_entry_that_is_read_is_written_as_it_was(row, store):
    text, name = row["config"].replace("STORE", store.path), json.loads(row["config"])["Name"]
    os.makedirs(store.folder(name))
    path = os.path.join(store.folder(name), "config.json")
    core.write_atomic(path, text)
    with store.machine(name) as machine:
        assert machine.driver.name == machine.driver_name  # which reads all values
        machine.save()
    assert core.read_text(path) == text


def test_the_drivers_of_before_have_their_entries():
    named = {json.loads(row["config"])["DriverName"] for row in ROWS}
    assert {"none", "generic", "virtualbox", "digitalocean", "qemu"} == named
