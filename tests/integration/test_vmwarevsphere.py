"""Machines by the driver "vmwarevsphere": the real govc against the real vcsim, whose VMs are real hosts
(vcenter.py)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import docker_machine as core
from tests.govc import PORT, VSphere
from tests.machines import Kill, ProviderMachines, take_environment
from tests.test_vmwarevsphere import vmdk
from tests.vcenter import PASSWORD, VCenter, flags

from .program import Program, said, until

if TYPE_CHECKING:
    from .vcenter import Hosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "vcenter")]

DOCKER = """#!/bin/sh
case "$1" in
    inspect) echo '[{"NetworkSettings": {"IPAddress": "127.10.9.9"}}]' ;;
    *) [ "$2" = --rm ] && cat >/dev/null; echo made ;;
esac
"""
"""What vcsim runs for a VM that is none, and has an address."""


def test_the_whole_life_of_a_vm(program: Program, vcenter: VCenter, hosts: Hosts) -> None:
    before = vcenter.inventory()
    done = program("--debug", "create", "--driver", "vmwarevsphere", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=vmwarevsphere"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    assert PASSWORD not in done.stdout + done.stderr
    (address,) = hosts.addresses.values()
    assert program("ip", "web").stdout.strip() == address
    program("stop", "web")
    assert program("status", "web").stdout.strip() == "Stopped"
    program("start", "web")
    assert program.info()["Name"] == "web"
    program("restart", "web")
    assert until(lambda: program.docker("info", code=None).returncode == 0)
    program("kill", "web")
    assert program("status", "web").stdout.strip() == "Stopped"
    holders = [path.name for path in program.store.rglob("*")
               if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert set(holders) <= {"config.json", "config.json.bak"}
    program("rm", "-y", "web")
    assert vcenter.inventory() == before and program.names() == [] and not hosts.hosts


class Real(ProviderMachines):
    """Machines of this very process at a vcsim, whose VMs have an address and are nothing else."""

    def __init__(self, center: VCenter, store: Any, folder: Path, **given: Any) -> None:
        image = folder / "disk.vmdk"
        image.write_bytes(vmdk(3 << 20))
        kind = core.load_driver("vmwarevsphere")
        super().__init__(store, kind, folder, image=image.as_uri(), cfgparam="RUN.container=x", **given)
        self.center, self.environ = center, flags(center)


@pytest.fixture
def real(
    request: Any, built: Path, tmp_path: Path, store: Any, pauses: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Real]:
    """At a vCenter, or at what vcsim makes of the words of a parameter."""
    words = getattr(request, "param", ())
    docker = tmp_path / "inner" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    center = VCenter(tmp_path / "vcsim", *words, path=f"{docker.parent}:")
    take_environment(monkeypatch, {"PATH": f"{built}:{os.environ['PATH']}"}, "VSPHERE_", "GOVC_")
    monkeypatch.setattr(core.os, "fsync", lambda file: None)
    monkeypatch.setattr(core.out, "secrets", set())
    yield Real(center, store, tmp_path, **({} if words else {"pool": "DC0_C0/Resources"}))
    center.close()


CHANGING = ("vm.create vm.clone import.ova datastore.upload device.cdrom.add device.cdrom.insert device.remove "
            "vm.change vm.disk.create vm.disk.change vm.network.add vm.network.change fields.set vm.power").split()


@pytest.mark.parametrize("way, when", [("image", "before"), ("image", "after"), ("clone", "after"), ("iso", "before")])
def test_a_kill_at_each_changing_call(real: Real, monkeypatch: pytest.MonkeyPatch, way: str, when: str) -> None:
    """After every other kill `rm` leaves all as it was; after the rest `provision` goes on, and `rm` does then."""
    iso = real.folder / "boot2docker.iso"
    iso.write_bytes(core.seed_iso({"x": b"y"}))
    real.center.govc("vm.create", "-on=false", "-pool", "/DC0/host/DC0_C0/Resources", "-net", "VM Network",
                     "-disk", "1GB", "debian")
    real.center.govc("fields.add", "team")
    more = {"clone": {"clone_from": "debian"}, "iso": {"boot2docker_url": iso.as_uri()}}.get(way, {})
    monkeypatch.setattr(real.driver_class, "finish", lambda self: None)  # vcsim has no guest operations
    before = real.center.inventory()
    for number in range(40):
        machine = real.add(f"vm{number}", network=["VM Network", "DC0_DVPG0"], custom_attribute="team=a", **more)
        seen: list[str] = []

        def is_meant(verb: str, *words: str, seen: list[str] = seen, number: int = number, **more: Any) -> bool:
            seen.extend([verb] if verb in CHANGING else [])
            return verb in CHANGING and len(seen) == number + 1

        with monkeypatch.context() as patch:
            kill = Kill(real, patch, "govc", when, is_meant)
            try:
                machine.driver.create()
            except KeyboardInterrupt:
                kill.bury()
        again = real.load(machine.name).driver if kill.died else real.finish(machine).driver
        if number % 2 or not kill.died:
            again.create()
            assert len(again.devices(again.place(), "ethernet")) == 2
            assert again.devices(again.place(), "disk") and again.get_state() == core.RUNNING
        again.remove()
        assert real.center.inventory() == before, seen
        shutil.rmtree(real.store.folder(machine.name))
        if not kill.died:
            break
    assert 8 < number < 40


def test_four_at_once_in_one_folder(real: Real) -> None:
    real.center.govc("folder.create", "/DC0/vm/our team")
    before = real.center.inventory()
    machines = [real.add(f"web{number}", folder="our team") for number in range(4)]
    assert core.each(lambda machine: machine.driver.create(), machines) == [None] * 4
    assert len({real.finish(machine).driver["MachineId"] for machine in machines}) == 4
    drivers = [machine.driver for machine in machines]
    assert real.driver_class.states(drivers, 60) == [core.RUNNING] * 4
    assert core.each(lambda machine: machine.driver.remove(), machines) == [None] * 4
    assert real.center.inventory() == before


@pytest.mark.parametrize("real", [("-esx", "-vm", "0")], indirect=True)
def test_a_single_esxi(real: Real) -> None:
    before = real.center.inventory()
    with pytest.raises(core.MachineError, match="takes a vCenter"):
        real.add(tag="x")
    driver = real.create().driver
    driver.kill()
    driver.start()
    driver.remove()
    assert real.center.inventory() == before


def test_a_tag_is_attached(real: Real) -> None:
    real.center.govc("tags.category.create", "colour")
    real.center.govc("tags.create", "-c", "colour", "green")
    driver = real.create("web", tag="green").driver
    assert "VirtualMachine" in real.center.govc("tags.attached.ls", "green")
    driver.remove()


def test_a_vm_whose_iso_is_gone_and_one_that_was_moved_are_destroyed(real: Real) -> None:
    before = real.center.inventory()
    first, second = real.create("first").driver, real.create("second").driver
    real.center.file("first/seed.iso").unlink()
    real.center.govc("folder.create", "/DC0/vm/elsewhere")
    real.center.govc("object.mv", "/DC0/vm/second", "/DC0/vm/elsewhere")
    assert second.get_state() == core.RUNNING
    first.remove()
    second.remove()
    real.center.govc("object.destroy", "/DC0/vm/elsewhere")
    assert real.center.inventory() == before


@pytest.mark.parametrize("flag, value, words", [
    ("folder", "tem", 'no folder "tem"'), ("network", "VM Netwrk", 'no network "VM Netwrk"'),
    ("hostsystem", "DC0_C0_H9", 'no host "DC0_C0_H9"'), ("pool", "Resources", '2 of the pool "Resources"'),
    ("clone_from", "debia", 'no VM or template "debia"'), ("datacenter", "DC1", 'no datacenter "DC1"'),
    ("datastore", "LocalDS", 'no datastore "LocalDS"'), ("hostsystem", "*_H0", '2 of the host "*_H0"')])
def test_what_is_missing_or_there_twice(real: Real, flag: str, value: str, words: str) -> None:
    real.center.govc("folder.create", "/DC0/vm/team")
    before = real.center.inventory()
    with pytest.raises(core.MachineError) as failure:
        real.add(**{flag: value})
    assert words in failure.value.message and "govc find" in failure.value.hint
    assert real.center.inventory() == before


def shape(value: Any) -> Any:
    """The keys of a JSON value, and the kinds of what is not empty."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else None
    return type(value).__name__ if value not in (None, "", 0) else None


def holds(real: Any, played: Any) -> bool:
    """Whether the real answer has all that the stand-in's has, of the same kinds."""
    if isinstance(played, dict):
        return isinstance(real, dict) and all(key in real and holds(real[key], played[key]) for key in played)
    if isinstance(played, list):
        return isinstance(real, list) and holds(real[0], played[0])
    return played is None or real is None or real == played


def test_the_stand_in_of_the_fast_tests_answers_as_govc_does(real: Real, tmp_path: Path) -> None:
    folder = tmp_path / "played"
    folder.mkdir()
    played = VSphere(folder)
    try:
        login = {"GOVC_URL": f"https://127.0.0.1:{PORT}/sdk", "GOVC_USERNAME": "administrator",
                 "GOVC_PASSWORD": "secret-Pass7", "GOVC_PERSIST_SESSION": "false", "GOVC_INSECURE": "true"}
        driver = real.create().driver
        played.add("/DC0/vm/web", "poweredOn", "x", [
            {"name": "ethernet-0", "macAddress": "00:50"}, {"name": "disk-1000-0", "capacityInKB": 1},
            {"name": "cdrom-3000", "backing": {"fileName": "[disks] web/seed.iso"}}])
        for words in (["about", "-json"], ["vm.info", "-json", driver.place()], ["vm.info", "-json", "/DC0/vm/none"]):
            code, text, _ = played.respond(words, login)
            assert code == 0
            assert holds(shape(json.loads(real.center.govc(*words))), shape(json.loads(text))), words
        devices = json.loads(real.center.govc("device.info", "-json", "-vm", driver.place()))["Devices"]
        _, text, _ = played.respond(["device.info", "-json", "-vm", "/DC0/vm/web"], login)
        for device in json.loads(text)["Devices"]:
            kind = device["Name"].partition("-")[0]
            like = [one for one in devices if one["Name"].startswith(kind)]
            assert like and any(holds(shape(one), shape(device)) for one in like), kind
        real.center.govc("vm.power", "-off", driver.place())
        nobody = "00000000-0000-0000-0000-000000000000"
        for words in (["vm.destroy", "none"], ["vm.info", "-vm.uuid", nobody], ["vm.power", "-on", "none"],
                      ["device.remove", "-vm", driver.place(), "cdrom-1"],
                      ["fields.set", "nothing", "x", driver.place()]):
            code, _, text = played.respond(words, login)
            assert code == 1 and text[len("govc: "):] in real.center.govc(*words, fails=True), words
        assert played.wrong == []
    finally:
        played.close()
