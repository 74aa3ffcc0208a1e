"""The driver "hyperv" against a powershell.exe that runs its lines and keeps virtual machines (see hypervisor.py).

Whether a machine boots is not seen here: tests/integration/test_hyperv.py has that.
"""

import io
import os
import random
import shutil
import sys
import tarfile
import time
from pathlib import Path

import pytest
from hypervisor import DEFAULT_SWITCH, EXTERNAL, Hypervisor
from machines import Machines, take_environment
from test_seed import CD

import docker_machine as core

pytestmark = pytest.mark.once
SIZE = 3000
NASTY = ["Jo O'Neil", "a`b", "$(Stop-VM *)", '"; calc; "', "\u2018x\u2019 \u201ay\u201b \u201cz\u201d", "a;b&c|d",
         "{0} @{x}", "b\u00fcro \u6771\u4eac", "# <# #>", "--%", "%PATH%", "-WhatIf", "a\tb", "'", "''", "@'"]


def driver_module():
    return sys.modules[core.load_driver("hyperv").__module__]


class Here(Machines):
    """The computer, and a store as this very process finds it."""

    def __init__(self, hypervisor, store, folder):
        image = folder / "disk.tar.xz"
        with tarfile.open(str(image), "w:xz") as archive:
            entry = tarfile.TarInfo("disk.raw")
            entry.size = 2 << 20
            archive.addfile(entry, io.BytesIO(b"raw".ljust(510) + b"\x55\xaa" + bytes((2 << 20) - 512)))
        super().__init__(store, core.load_driver("hyperv"), folder, image=image.as_uri(), disk_size=SIZE)
        self.hypervisor = hypervisor

    def add(self, name="web", **flags):
        """A machine that passed the check and is in the store; nothing is made yet."""
        machine = self.machine(name, **flags)
        machine.driver.pre_create_check()
        self.store.add(machine)
        return machine

    def old(self, **fields):
        """An entry as Docker Machine wrote it, with its VM."""
        machine = self.store.new("old", self.driver_class)
        machine.config["Driver"] = dict(OLD, StorePath=self.store.path, **fields)
        self.store.add(machine)
        machine.mark("")
        return self.hypervisor.add("old", path=os.path.join(machine.folder, "old"), Generation=1)


# config.json of Docker Machine 0.16.2: drivers/hyperv, in the order of its struct.
OLD = {"IPAddress": "127.10.9.9", "MachineName": "old", "SSHUser": "docker", "SSHPort": 22, "SSHKeyPath": "",
       "SwarmMaster": False, "SwarmHost": "", "SwarmDiscovery": "", "Boot2DockerURL": "", "VSwitch": "",
       "DiskSize": 20000, "MemSize": 1024, "CPU": 1, "MacAddr": "", "VLanID": 0, "DisableDynamicMemory": False}


@pytest.fixture
def hypervisor(dm, tmp_path, monkeypatch):
    folder = tmp_path / "powershell"
    folder.mkdir()
    computer = Hypervisor(folder)
    path = "%s:%s" % (folder, os.environ["PATH"])
    take_environment(monkeypatch, {"PATH": path}, "HYPERV_")
    dm.env["PATH"] = path
    yield computer
    computer.close()
    assert computer.wrong == []


@pytest.fixture
def here(hypervisor, store, tmp_path, pauses, monkeypatch):
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(core.os, "fsync", lambda file: None)
    return Here(hypervisor, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "hyperv", "--hyperv-image=" + here.given["image"], "--hyperv-disk-size=%d" % SIZE]


# --- the PowerShell

def mistakes(text):
    """What tree-sitter's grammar of PowerShell does not take."""
    language = pytest.importorskip("tree_sitter_powershell")
    sitter = pytest.importorskip("tree_sitter")
    tree = sitter.Parser(sitter.Language(language.language())).parse(text.encode())

    def below(node):
        if node.type == "ERROR" or node.is_missing:
            yield node.text.decode()
        for child in node.children:
            yield from below(child)

    return list(below(tree.root_node))


def test_every_script_is_powershell_to_its_grammar():
    module = driver_module()
    for name, text in module.SCRIPTS.items():
        assert mistakes(module.BEGIN % "e30=" + text) == [], name
    assert mistakes("Get-VM 'it's'") != [], "the grammar finds what is wrong"


def test_what_is_sent_holds_no_word_of_the_users(here):
    here.add("web", virtual_switch=EXTERNAL["Name"]).driver.create()
    module = driver_module()
    for text in here.hypervisor.scripts:
        head, _, rest = text.partition("FromBase64String('")
        sent, _, rest = rest.partition("'")
        assert set(sent) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
        assert head + "FromBase64String('%s'" + rest in [module.BEGIN + script for script in module.SCRIPTS.values()]


def test_names_and_paths_of_all_kinds_arrive_as_they_were_given(here):
    source = random.Random(7)
    driver = here.machine().driver
    here.hypervisor.add("web", Id="x")
    words = NASTY + ["".join(chr(source.choice([source.randrange(32, 127), source.randrange(0x2010, 0x2030),
                                                source.randrange(1, 0xd800)])) for _ in range(30)) for _ in range(60)]
    for word in words:
        driver.ask("start" if here.hypervisor.vm()["State"] == "Off" else "kill", Id="x", Name=word)
        assert here.hypervisor.asked[-1]["Name"] == word


# --- a creation

def test_what_is_made_by_default(here):
    driver = here.create().driver
    vm = here.hypervisor.vm()
    folder = Path(here.store.folder("web"))
    assert {key: vm[key] for key in ("Name", "State", "Generation", "Memory", "CPU", "Switch", "Dynamic", "Least")} == {
        "Name": "web", "State": "Running", "Generation": 2, "Memory": 1 << 30, "CPU": 1, "Switch": "Standardswitch",
        "Dynamic": True, "Least": 1 << 30}
    assert (vm["AutomaticCheckpointsEnabled"], vm["AutomaticStartAction"]) == (False, "Nothing")
    assert vm["Disk"] == str(folder / "disk.vhdx") and vm["Disc"] == str(folder / "seed.iso")
    assert (folder / "disk.vhdx").read_bytes().startswith(b"raw") and not (folder / "fixed.vhd").exists()
    assert (driver["VMId"], driver["IPAddress"]) == (vm["Id"], "127.10.8.8")
    files = CD((folder / "seed.iso").read_bytes()).files()
    assert b'"docker"' in files["USER-DATA"] and vm["Mac"].startswith("00155D")
    assert ":".join(vm["Mac"][at:at + 2] for at in range(0, 12, 2)).lower().encode() in files["NETWORK-CONFIG"]


def test_a_creation_takes_few_powershells(here):
    here.create()
    assert len(here.hypervisor.scripts) == 4, here.hypervisor.asked


def test_a_machine_by_the_commands(here, call, soon):
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err, ended
    assert call("status", "web").out == "Running\n"
    for verb, state in (("stop", "Off"), ("start", "Running"), ("pause", "Paused"), ("start", "Running"),
                        ("kill", "Off")):
        call(verb, "web")
        assert here.hypervisor.vm()["State"] == state
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "20").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.hypervisor.vms == {} and here.store.names() == []


@pytest.mark.parametrize("flags, wanted", [
    ({"cpu_count": 4, "memory": 4096, "disable_dynamic_memory": "true"},
     {"CPU": 4, "Memory": 4 << 30, "Dynamic": False}),
    ({"vlan_id": 7, "virtual_switch": EXTERNAL["Name"]}, {"Vlan": 7, "Switch": EXTERNAL["Name"]}),
    ({"static_macaddress": "00-15-5d-aa-bb-cc"}, {"Mac": "00155DAABBCC"}),
])
def test_what_flags_change(here, flags, wanted):
    here.create(**flags)
    assert {key: here.hypervisor.vm()[key] for key in wanted} == wanted


def test_an_old_windows_knows_no_automatic_checkpoints(here):
    here.hypervisor.old = True
    here.create()
    assert "AutomaticCheckpointsEnabled" not in here.hypervisor.vm()


def test_an_iso_of_boot2docker_gets_its_disk(here):
    iso = here.folder / "boot2docker.iso"
    iso.write_bytes(bytes(32768) + b"\1CD001\1\0".ljust(80) + b"\1\0\0\0" + bytes(4096))
    driver = here.create(boot2docker_url=iso.as_uri()).driver
    vm = here.hypervisor.vm()
    assert (vm["Generation"], driver["SSHUser"]) == (1, "docker") and vm["Disc"].endswith("boot2docker.iso")
    assert Path(vm["Disk"]).read_bytes().startswith(b"boot2docker, please format-me")


def test_a_guest_that_tells_nothing_is_found_by_its_neighbours(here):
    here.hypervisor.quiet = True
    assert here.create().driver["IPAddress"] == "127.10.8.8"


def test_a_guest_without_an_address_is_told(here):
    machine = here.add()
    add = here.hypervisor.add
    here.hypervisor.add = lambda *words, **more: add(*words, **dict(more, Own=["fe80::1", "169.254.3.4"]))
    with pytest.raises(core.MachineError, match="got no address within 300 s: does the switch Standardswitch"):
        machine.driver.create()


# --- what is refused

REFUSALS = [
    ({"module": False}, "not installed here", "Enable-WindowsOptionalFeature"),
    ({"service": "Stopped"}, "vmms does not run", "Start-Service vmms"),
    ({"right": False}, "neither an administrator", "S-1-5-32-578"),
    ({"edition": "Microsoft Windows 11 Home"}, "has no Hyper-V", "Pro or Enterprise"),
    ({"switches": []}, "neither its Default Switch nor an external one", "New-VMSwitch"),
    ({"memory": 1 << 29}, "more than the 512 MB", "Give less"),
]  # type: list


@pytest.mark.parametrize("facts, words, hint", REFUSALS, ids=[row[1][:20] for row in REFUSALS])
def test_what_is_lacking_is_told_with_the_fix_and_nothing_is_made(here, call, soon, facts, words, hint):
    vars(here.hypervisor).update(facts)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and words in ended.err and hint in ended.err, ended
    assert here.hypervisor.vms == {} and here.store.names() == []
    assert call("doctor").out.count("hyperv") >= 1


def test_a_switch_that_is_not_there_is_told_with_those_that_are(here, call, soon):
    ended = call(*(soon + ["--hyperv-virtual-switch=external", "web"]))
    assert ended.code == 3 and "It has: Standardswitch, B\u00fcro & Labor" in ended.err


@pytest.mark.parametrize("switches, name", [([EXTERNAL, DEFAULT_SWITCH], "Standardswitch"), (
    [dict(EXTERNAL, Type="Private", Name="p"), EXTERNAL], EXTERNAL["Name"])])
def test_the_default_switch_is_known_by_its_id_and_else_an_external_one_is_taken(here, switches, name):
    here.hypervisor.switches = switches
    here.create()
    assert here.hypervisor.vm()["Switch"] == name


def test_a_name_that_is_taken_is_refused(here, call, soon):
    here.hypervisor.add("WEB")
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "has a VM web already" in ended.err and len(here.hypervisor.vms) == 1


# --- failed, cut off, gone

@pytest.mark.parametrize("cmdlet", ["Convert-VHD", "New-VM", "Set-VMProcessor", "Add-VMDvdDrive", "Start-VM"])
@pytest.mark.parametrize("then", ["provision", "rm"])
def test_a_creation_that_failed_is_removed_or_finished(here, call, soon, cmdlet, then):
    here.hypervisor.fail(cmdlet)
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "It failed as told" in ended.err and here.store.names() == ["web"], ended
    if then == "provision":
        call("provision", "web")
        vm = here.hypervisor.vm()
        assert (vm["State"], vm["CPU"]) == ("Running", 1) and vm["Disc"].endswith("seed.iso")
    assert call("rm", "-y", "web").code == 0 and here.hypervisor.vms == {}


def test_a_namesake_elsewhere_is_not_ours(here, call):
    machine = here.add()
    here.hypervisor.add("web")
    machine.driver.remove()
    assert len(here.hypervisor.vms) == 1
    assert "Hyper-V has no VM web" in call("status", "web").err


def test_what_is_gone_counts_as_removed(here, call):
    here.create()
    here.hypervisor.vms.clear()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "")


def test_a_guest_that_boots_is_asked_again(here):
    driver = here.create().driver
    here.hypervisor.deaf = 2
    driver.stop()
    assert here.hypervisor.vm()["State"] == "Off"


def test_a_vm_that_goes_off_while_it_boots_is_told_and_is_asked_about_only_now_and_then(here):
    driver = here.create().driver
    del here.hypervisor.scripts[:]
    for _ in range(5):
        driver.check_boot()
    assert len(here.hypervisor.scripts) == 1
    here.hypervisor.vm()["State"] = "Off"
    time.sleep(16)
    with pytest.raises(core.MachineError, match="went off while it booted"):
        driver.check_boot()


STATES = [("Running", "Running"), ("Off", "Stopped"), ("Starting", "Starting"), ("Saved", "Saved"),
          ("Paused", "Paused"), ("Stopping", "Stopping"), ("RunningCritical", "Error")]


@pytest.mark.parametrize("state, word", STATES)
def test_states_have_their_words_and_all_are_removed(here, call, state, word):
    here.create()
    here.hypervisor.vm()["State"] = state
    assert call("status", "web").out == word + "\n"
    if state in ("Running", "Off", "Saved", "Paused"):
        assert call("rm", "-y", "web").code == 0 and here.hypervisor.vms == {}


def test_ls_is_one_powershell_for_all_machines(here, call, closed_port, monkeypatch):
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for number in range(5):
        machine = here.machine("web%d" % number)
        machine.driver["VMId"], machine.driver["IPAddress"] = here.hypervisor.add(machine.name)["Id"], "127.0.0.1"
        here.store.add(machine)
        machine.mark("")
    here.hypervisor.vms.popitem()
    listed = call("ls", "-t", "60").out
    assert len(here.hypervisor.scripts) == 1 and listed.count("Running") == 4 and listed.count("has no VM") == 1


def test_entries_of_docker_machine_work_and_keep_their_fields(here, call, soon):
    here.old()
    before = here.stored("old")
    assert call("status", "old").out == "Running\n"
    call("stop", "old")
    assert here.hypervisor.vm()["State"] == "Off"
    call("start", "old")
    stored = here.stored("old")
    assert here.hypervisor.vm()["State"] == "Running" and {name: stored[name] for name in before} == before
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.hypervisor.vms == {}


@pytest.mark.parametrize("word", [word for word in NASTY if not set(word) & set("\t")])
def test_a_life_in_a_folder_and_at_a_switch_of_such_a_name(here, tmp_path, word):
    folder = tmp_path / word
    shutil.copytree(here.store.path, str(folder))
    here.store = core.Store(str(folder))
    here.hypervisor.switches = [dict(DEFAULT_SWITCH, Name=word)]
    driver = here.create().driver
    vm = here.hypervisor.vm()
    assert (vm["Switch"], vm["Disk"]) == (word, str(folder / "machines" / "web" / "disk.vhdx"))
    driver.stop()
    driver.start()
    driver.remove()
    assert here.hypervisor.vms == {}
