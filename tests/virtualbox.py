"""VirtualBox as the fast tests see it: vboxmanage.py installed as VBoxManage, its state, and what shall go wrong."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import vboxmanage
from vbox.failures import FAILURES
from vbox.state import UNLESS_SET, state_of

PROGRAM = """#!%s -IS
import os, sys
sys.path.insert(0, %r)
import vboxmanage
sys.exit(vboxmanage.main(sys.argv[1:], os.environ.get("VBOX_STANDIN") or %r))
"""


class VirtualBox:
    """A VBoxManage in `folder`/bin; the tests put that first on PATH."""

    def __init__(self, folder):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        program = self.bin / "VBoxManage"
        program.write_text(PROGRAM % (sys.executable, str(Path(__file__).resolve().parent), str(folder)))
        program.chmod(0o755)
        self.program = str(program)
        self.set(machine_folder=str(folder / "VirtualBox VMs"))

    def path(self, rest):
        return "%s%s%s" % (self.bin, os.pathsep, rest)

    @contextlib.contextmanager
    def changing(self):
        """The state, to be changed."""
        with state_of(str(self.folder)) as state:
            yield state

    def state(self):
        with self.changing() as state:
            return state

    def set(self, **values):
        """set(version="7.0.20r163906", platform="darwin", allowed=["0.0.0.0/0"], vboxdrv=False, ...)"""
        with self.changing() as state:
            unknown = set(values) - set(UNLESS_SET)
            assert not unknown, "no such switch: %s" % sorted(unknown)
            for key, value in values.items():
                both = isinstance(value, dict) and key == "guest"
                state[key] = dict(state[key], **value) if both else value

    def calls(self, prefix=""):
        """The words of all calls so far, or of those that begin so ("controlvm * poweroff")."""
        try:
            lines = (self.folder / "calls.log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [words for words in map(json.loads, lines) if vboxmanage.matches(prefix, words)]

    def forget_calls(self):
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "calls.log").unlink()

    # --- what it has

    def vms(self):
        """{name: state}"""
        return {vm["name"]: vm["state"] for vm in self.state()["vms"]}

    def vm(self, name):
        return next(vm for vm in self.state()["vms"] if vm["name"] == name)

    def put(self, name, state):
        """Put a VM into a state, such as "aborted", "saved", "paused", "gurumeditation" or "inaccessible"."""
        with self.changing() as box:
            for vm in box["vms"]:
                if vm["name"] == name:
                    vm["state"] = state

    # --- what shall happen

    def rule(self, call, **rule):
        with self.changing() as state:
            state["rules"].insert(0, dict(rule, call=call))

    def fail(self, call, err, rc=1, times=None, skip=0, out=""):
        """Let calls that begin so fail; `err` is what they say, or a name in vbox/failures.py."""
        err = FAILURES.get(err, err)
        err = err % {"name": "web", "adapter": "vboxnet0"} if "%(" in err else err
        self.rule(call, err=err, rc=rc, times=times, skip=skip, out=out)

    def delay(self, call, seconds, times=None):
        self.rule(call, seconds=seconds, times=times)

    def block(self, call, when="after", skip=0):
        """Let the next such call hang, before or after its effect, until release()."""
        self.rule(call, block=when, times=1, skip=skip)

    def blocked(self):
        """The call that hangs now, or ""."""
        try:
            return (self.folder / "blocked").read_text()
        except FileNotFoundError:
            return ""

    def wait_blocked(self):
        until = time.monotonic() + 60
        while not self.blocked() and time.monotonic() < until:
            time.sleep(0.01)
        assert self.blocked(), "no call came to where it shall hang"

    def release(self):
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "blocked").unlink()

    def unknown(self):
        """The calls that the stand-in does not play, though VirtualBox has them."""
        return self.state()["unknown"]

    def mend(self):
        self.set(rules=[])
