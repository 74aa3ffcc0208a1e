"""Machines by the driver "virtualbox": VBoxManage is VirtualBox's own, and the guests are real (see vbox.py).

Some ten minutes, most of them guests that boot under software emulation.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import boot2docker_iso

from .program import HANG, Done, Program, said
from .vbox import VirtualBox

pytest_plugins = ["tests.integration.vbox"]
LABELS = ["provider=virtualbox", "stage=test"]
STAGES = """
import os, signal, subprocess, sys
folder, program, words = sys.argv[1], sys.argv[2], sys.argv[3:]
if words[0] not in ("showvminfo", "list", "getextradata", "--version"):
    with open(folder + "/calls", "a") as file:
        file.write(words[0] + "\\n")
    number = len(open(folder + "/calls").readlines())
    wanted, when = open(folder + "/kill").read().split()
    if number == int(wanted) and when == "before":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    code = subprocess.call([program] + words)
    if number == int(wanted):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    sys.exit(code)
os.execv(program, [program] + words)
"""


class Machines(Program):
    """The program on one store, with a VirtualBox of the tests' first on its PATH."""

    def __init__(self, folder: Path, vbox: VirtualBox) -> None:
        super().__init__(folder)
        self.vbox = vbox
        self.first_on_path(vbox.bin)

    def outside(self, *argv: str, **options: Any) -> Done[str]:
        """As Program does; a failure tells what is left of the network."""
        try:
            return super().outside(*argv, **options)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- network\n{self.vbox.network()}") from None

    def first_on_path(self, folder: Path) -> None:
        self.environ["PATH"] = f"{folder}{os.pathsep}{self.environ['PATH']}"

    def words(self, image: Path | str, *words: str, name: str = "dev") -> list[str]:
        url = ("--virtualbox-boot2docker-url", str(image))
        return ["create", "--driver", "virtualbox", *url, "--virtualbox-no-share", *words, name]

    def make(self, image: Path | str, *words: str, name: str = "dev", code: int | None = 0) -> Done[str]:
        return self(*self.words(image, *words, name=name), code=code)


@pytest.fixture
def machines(virtualbox: VirtualBox, tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path, virtualbox)
    # VirtualBox has this server from the beginning; it would go with the first interface of ours.
    virtualbox("dhcpserver", "remove", "--network", "HostInterfaceNetworking-vboxnet0", code=None)
    yield made
    for name in made.names():
        made("rm", "-f", name, code=None)


def test_the_whole_life_of_a_machine_from_a_boot2docker_iso(
    machines: Machines, live_iso: Path, tmp_path: Path
) -> None:
    vbox, iso = machines.vbox, tmp_path / "boot2docker.iso"
    shutil.copyfile(live_iso, iso)
    before = vbox.listed()

    done = machines.make(f"file://{iso}", "--engine-label", "stage=test", "--virtualbox-memory", "1200")
    assert "boot2docker ended in 2020" in done.stderr, said(done)
    assert sorted(machines.info("dev")["Labels"]) == LABELS
    assert vbox.info("dev")["memory"] == "1200"
    address = machines("ip", "dev").stdout.strip()
    assert address.startswith("192.168.56.") and machines("url", "dev").stdout == f"tcp://{address}:2376\n"
    assert machines("ssh", "dev", "hostname").stdout == "dev\n"
    assert machines("provision", "dev").stdout.count("was not restarted") == 1

    machines("pause", "dev")
    assert machines("status", "dev").stdout == "Paused\n"
    machines("start", "dev")
    assert machines.info("dev")["Name"] == "dev"

    machines("stop", "dev")
    assert (machines("status", "dev").stdout, vbox.state("dev")) == ("Stopped\n", "poweroff")
    with iso.open("r+b") as file:  # another release, as its label says
        content = file.read(40000)
        file.seek(content.index(b"Boot2Docker-v99.1.0"))
        file.write(b"Boot2Docker-v99.1.1")
    port = machines.config("dev")["Driver"]["SSHPort"]
    with socket.create_server(("127.0.0.1", port)):  # another program has its port now
        done = machines("upgrade", "dev")
    assert "Starting machine so machine can be upgraded..." in done.stdout, said(done)
    assert "Upgrading the ISO..." in done.stdout and "is up to date" in done.stdout, said(done)
    assert machines.config("dev")["Driver"]["SSHPort"] != port
    assert sorted(machines.info("dev")["Labels"]) == LABELS
    done = machines("upgrade", "dev")
    assert "Its ISO is the newest one." in done.stdout, said(done)

    assert re.search(r"^dev +- +virtualbox +Running +tcp://192.168.56.\d+:2376 ", machines.ls().stdout, re.M)

    machines("kill", "dev")
    assert machines("status", "dev").stdout == "Stopped\n"
    machines("rm", "-y", "dev")
    assert vbox.listed() == before
    assert not machines.folder("dev").exists()


# --- however it ends


@pytest.fixture
def staged(machines: Machines, tmp_path: Path) -> Callable[[int, str], None]:
    """staged(3, "before"): let all be killed by SIGKILL at the third call that changes something."""
    folder = tmp_path / "stages"
    folder.mkdir()
    script, program = folder / "stages.py", folder / "VBoxManage"
    script.write_text(STAGES)
    real = machines.vbox.bin / "VBoxManage"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{script}" "{folder}" "{real}" "$@"\n')
    program.chmod(0o755)
    machines.first_on_path(folder)

    def stage(number: int, when: str) -> None:
        (folder / "calls").write_text("")
        (folder / "kill").write_text(f"{number} {when}")

    stage(0, "never")
    return stage


def killed_create(machines: Machines, image: Path, cidr: str, *words: str) -> bool:
    """Whether `create` was killed before it came to startvm."""
    argv = machines.argv(*machines.words(image, "--virtualbox-hostonly-cidr", cidr, *words))
    process = subprocess.Popen(
        argv, env=machines.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True, text=True)
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == -signal.SIGKILL, stderr
    calls = (machines.store.parent / "stages" / "calls").read_text().split()
    return "startvm" not in calls


def test_killed_at_each_stage_a_creation_leaves_nothing_that_rm_does_not_remove(
    machines: Machines, tmp_path: Path, staged: Callable[[int, str], None]
) -> None:
    before, iso = machines.vbox.listed(), tmp_path / "boot2docker.iso"
    boot2docker_iso.write_empty_cd(iso)  # none of these comes to a boot
    number = 0
    while True:
        number += 1
        staged(number, "before" if number % 2 else "after")
        early = killed_create(machines, iso, "192.168.60.1/24")
        staged(0, "never")
        for name in machines.names():
            machines("rm", "-y", name)
        assert machines.vbox.listed() == before, f"killed at call {number}"
        if not early:
            break
    assert number > 10, "each call that changes something was a stage"


def test_provision_finishes_a_machine_from_a_cloud_image_whose_creation_was_killed(
    machines: Machines, cloud_disk: Path, tmp_path: Path, staged: Callable[[int, str], None]
) -> None:
    vbox, before = machines.vbox, machines.vbox.listed()
    image = tmp_path / cloud_disk.name
    shutil.copyfile(cloud_disk, image)

    staged(7, "after")
    assert killed_create(machines, image, "192.168.58.1/24", "--virtualbox-disk-size", "8000")
    staged(0, "never")
    machines("provision", "dev")

    assert filecmp.cmp(image, cloud_disk, shallow=False), "VirtualBox must not write to the user's file"
    assert machines("ip", "dev").stdout.startswith("192.168.58.")
    assert machines.info("dev")["Name"] == "dev"
    known = (machines.folder("dev") / "known_hosts").read_text()
    key = (machines.folder("dev") / "ssh_host_ed25519_key.pub").read_text().split()[1]
    assert known.count("\n") == 1 and key in known, "the host key was ours from the first connection on"
    blocks = machines("ssh", "dev", "lsblk", "--bytes", "--json", "--output", "TYPE,SIZE").stdout
    assert 8000 << 20 in [int(row["size"]) for row in json.loads(blocks)["blockdevices"]]
    machines("rm", "-y", "dev")
    assert vbox.listed() == before


# --- refusals and speed, asked of the real VBoxManage


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--virtualbox-hostonly-cidr", "192.168.99.1/24"), "does not allow the host-only network 192.168.99.0/24"),
        (("--virtualbox-boot2docker-url", "/no/such.iso"), "There is no file /no/such.iso."),
        (("--virtualbox-import-boot2docker-vm", "nobody"), "VirtualBox has no VM of the name nobody,"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    machines: Machines, live_iso: Path, words: tuple[str, ...], sentence: str
) -> None:
    before = machines.vbox.listed()
    done = machines.make(live_iso, *words, code=3)
    assert sentence in done.stderr, said(done)
    assert machines.names() == [] and machines.vbox.listed() == before


def test_the_warning_of_a_missing_kernel_module_is_believed(machines: Machines, live_iso: Path) -> None:
    machines.vbox.warn()
    try:
        done = machines.make(live_iso, code=3)
        assert "VirtualBox's kernel module is not loaded." in done.stderr, said(done)
    finally:
        (machines.vbox.folder / "warning").unlink()


def test_stopped_machines_are_listed_by_one_call(machines: Machines, tmp_path: Path) -> None:
    vbox, calls, counting = machines.vbox, tmp_path / "calls", tmp_path / "counting"
    for number in range(5):
        name = f"m{number}"
        machines("create", "--driver", "none", "--url", "tcp://127.0.0.1:9", name)
        machines.edit(lambda config: config.update(DriverName="virtualbox"), name)
        vbox("createvm", "--basefolder", str(machines.folder(name)), "--name", name, "--register")
    counting.mkdir()
    script = counting / "VBoxManage"
    script.write_text(f'#!/bin/sh\necho "$*" >>"{calls}"\nexec "{vbox.bin}/VBoxManage" "$@"\n')
    script.chmod(0o755)
    machines.first_on_path(counting)
    listed = machines.ls().stdout
    assert len(re.findall(r"^m\d +- +virtualbox +Stopped ", listed, re.M)) == 5, listed
    assert calls.read_text() == "list --long vms\n"
    machines("rm", "-y", *[f"m{number}" for number in range(5)])
    assert vbox("list", "vms").stdout == ""
