"""VMware for the tests: a vmrun that reads .vmx files, boots what they name and keeps which VMs run.

As VMware does, it writes a .vmx anew when it starts a VM, holds the disk by a folder *.lck while that runs, tells paths
with their symbolic links resolved, and says what failed on stdout, with exit code 255.
"""

import os
import re
import shutil
import signal
import threading
from pathlib import Path
from typing import Any  # noqa: F401

from door import Door

NETWORKS = ("nat", "bridged", "hostonly")
KINDS = {"scsi0": "pvscsi", "nvme0": None, "sata0": None}
"""Controllers of disks and CDs, and the virtualDev that each is to have."""


class Failure(Exception):
    """What vmrun says when it fails."""


def settings(text):
    """{key: value} of a .vmx. Each line is one, and no key is there twice."""
    rows = [re.fullmatch(r'([.\w:]+) = "([^"]*)"', line) for line in text.splitlines()]
    assert all(rows), text
    found = [(row.group(1), row.group(2)) for row in rows if row]
    assert len({key.lower() for key, _ in found}) == len(found), text
    return {key: re.sub(r"\|(..)", lambda at: chr(int(at.group(1), 16)), value) for key, value in found}


def written(rows):
    """A .vmx as VMware writes it: in an order of its own, and with more in it."""
    more = dict(rows, **{"cleanShutdown": "FALSE", "softPowerOff": "FALSE", "uuid.bios": "56 4d 00"})
    escape = '["|]'
    return "".join('%s = "%s"\n' % (key, re.sub(escape, lambda at: "|%02X" % ord(at.group()), more[key]))
                   for key in sorted(more, key=str.lower))


class Fusion:
    """The computer. `guests` are the hosts that its VMs are, if they are any (tests/integration/fusion.py).

    `running` are paths of .vmx files; `seen` has each as it was at its last start. `tools` says whether guests have
    VMware's Tools, `leases` whether each gets one in `lease_file`, at `address` or at one of `addresses`, by VM.
    """

    guests = None  # type: Any

    def __init__(self, folder):
        """`folder` gets the program vmrun, and what Windows has in ALLUSERSPROFILE."""
        self.running, self.calls, self.wrong, self.seen, self.orders = [], [], [], {}, {}
        self.tools, self.leases, self.address, self.addresses = True, False, "127.10.8.8", {}
        self.lock, self.end = threading.RLock(), threading.Event()
        self.lease_file = folder / "VMware" / "vmnetdhcp.leases"
        self.lease_file.parent.mkdir()
        self.door = Door(self.respond, folder / "vmrun")

    def close(self):
        self.end.set()
        self.door.close()

    def order(self, verb, words):
        """Let the next call of a verb fail with these words, or "hang", or "kill before" or "kill after" it the
        program that calls."""
        self.orders[verb] = words

    def verbs(self):
        return [words[2] for words in self.calls]

    # --- one call

    def respond(self, call):
        order = self.orders.pop(call.words[2], "")
        self.calls.append(call.words)
        if order == "kill before":
            os.kill(call.parent, signal.SIGKILL)
            return 1, "", ""
        if order == "hang":
            self.end.wait()
            return 1, "", ""
        with self.lock:
            answer = self._answer(call.words, order)
        if order == "kill after":
            os.kill(call.parent, signal.SIGKILL)
        return answer

    def _answer(self, words, order):
        try:
            assert words[0] == "-T" and words[1] in ("ws", "fusion"), words  # a login is not among them
            if order and order != "kill after":
                raise Failure(order)
            return 0, getattr(self, words[2])(*words[3:]) or "", ""
        except Failure as failure:
            return 255, "Error: %s\n" % failure, ""
        except Exception as error:
            self.wrong.append("%s: %r" % (words, error))
            return 255, "Error: The stand-in does not know that\n", ""

    def list(self):
        if self.guests:
            self.running[:] = [vmx for vmx in self.running if self.guests.is_on(Path(vmx))]
        return "".join("%s\n" % line for line in ["Total running VMs: %d" % len(self.running)] + self.running)

    def start(self, vmx, how):
        assert how == "nogui"
        path = self._found(vmx)
        if str(path) in self.running:
            raise Failure("The file is already in use")
        text = path.read_text(encoding="utf-8")
        rows = self._checked(path, text)
        saved = rows.pop("checkpoint.vmState", "")
        if saved:
            (path.parent / saved).unlink()
        self.seen[str(path)] = text
        path.write_text(written(rows), encoding="utf-8")
        if self.guests:
            self.addresses[str(path)] = self.guests.turn_on(path, rows)
        if self.leases:
            self.lease(path)
        lock = path.parent / "disk.vmdk.lck"
        lock.mkdir(exist_ok=True)
        self.running.append(str(path))

    def stop(self, vmx, how):
        path = self._running(vmx)
        assert how in ("soft", "hard")
        if how == "soft" and not self.tools:
            raise Failure("The VMware Tools are not running in the virtual machine: " + vmx)
        if self.guests:
            self.guests.turn_off(path, how == "soft")
        self.running.remove(str(path))
        shutil.rmtree(str(path.parent / "disk.vmdk.lck"), ignore_errors=True)

    def getGuestIPAddress(self, vmx):
        path = self._running(vmx)
        if not self.tools:
            raise Failure("The VMware Tools are not running in the virtual machine: " + vmx)
        return self.addresses.get(str(path), self.address) + "\n"

    def deleteVM(self, vmx):
        path = self._found(vmx)
        if str(path) in self.running:
            raise Failure("The virtual machine should not be powered on. It is already running.")
        if self.guests:
            self.guests.destroy(path.stem)
        shutil.rmtree(str(path.parent / "disk.vmdk.lck"), ignore_errors=True)
        for name in (path.name, "disk.vmdk", "disk-flat.vmdk"):
            if (path.parent / name).exists():
                (path.parent / name).unlink()

    def _found(self, vmx):
        path = Path(os.path.realpath(vmx))
        if not path.exists():
            raise Failure("Cannot open VM: " + vmx)
        return path

    def _running(self, vmx):
        path = self._found(vmx)
        if str(path) not in self.running:
            raise Failure("The virtual machine is not powered on: " + vmx)
        return path

    # --- what a .vmx names

    def _checked(self, path, text):
        """Its settings, once all is there that they name."""
        rows = settings(text)
        known = {key.lower(): value for key, value in rows.items()}
        if "config.version" not in known:  # an entry of Docker Machine's, of a few lines
            return rows
        assert (known["config.version"], known[".encoding"], known["msg.autoanswer"]) == ("8", "UTF-8", "TRUE")
        assert int(known["memsize"]) % 4 == 0 and int(known["numvcpus"]) > 0
        assert known["ethernet0.connectiontype"] in NETWORKS
        assert re.fullmatch("00:50:56:[0-3][0-9a-f](:[0-9a-f]{2}){2}", known["ethernet0.address"])
        for key, value in known.items():
            place = re.fullmatch(r"(\w+0):\d\.filename", key)
            if place:
                assert known[place.group(1) + ".present"] == known[key.replace("filename", "present")] == "TRUE"
                assert known.get(place.group(1) + ".virtualdev") == KINDS[place.group(1)]
                self._open(path.parent / value)
        for at in range(int(known.get("sharedfolder.maxnum", "0"))):
            assert os.path.isdir(known["sharedfolder%d.hostpath" % at]) and known["sharedfolder%d.guestname" % at]
        return rows

    def _open(self, path):
        if not path.exists():
            raise Failure("Cannot open the disk '%s' or one of the snapshot disks it depends on" % path)
        if path.suffix == ".vmdk":
            (sectors, name), = re.findall('^RW (\\d+) FLAT "(.*)" 0$', path.read_text(), re.M)
            assert (path.parent / name).stat().st_size == int(sectors) * 512

    def lease(self, path, day="27"):
        """Give a VM a lease that ends on this day, after an older one of its own and one of another's."""
        block = ("lease %s {\r\n\tstarts 4 2026/11/26 10:00:00;\r\n\tends 4 2026/11/%s 10:30:00;\r\n"
                 "\thardware ethernet %s;\r\n}\r\n")
        rows = settings(path.read_text(encoding="utf-8"))
        mac = rows.get("ethernet0.generatedAddress") or rows["ethernet0.address"]
        now = self.addresses.get(str(path), self.address)
        with open(str(self.lease_file), "a", newline="") as file:
            for address, end, card in (("127.10.7.1", "20", mac), (now, day, mac),
                                       ("127.10.7.3", "28", "00:50:56:00:00:00")):
                file.write(block % (address, end, card))
