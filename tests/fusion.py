"""VMware Fusion for the tests: a `vmrun` that reads our .vmx files and keeps which VMs run."""

import json
import sys

PROGRAM = """#!%s
import json, os, re, signal, sys
folder = os.path.dirname(os.path.abspath(__file__))
path = os.path.join(folder, "state.json")
with open(path) as file:
    state = json.load(file)

def keep():
    with open(path, "w") as file:
        json.dump(state, file)

def fail(words):
    print("Error: " + words)
    sys.exit(255)

def settings(vmx):
    with open(vmx, encoding="utf-8") as file:
        rows = [re.fullmatch('([^ =]+) = "([^"]*)"', line) for line in file.read().splitlines()]
    return {row.group(1).lower(): row.group(2) for row in rows}

def check(vmx):
    rows = settings(vmx)
    home = os.path.dirname(vmx)
    disks = [value for key, value in rows.items() if re.match("(scsi|nvme|sata).*filename", key)]
    for name in disks:
        if not os.path.exists(os.path.join(home, name)):
            fail("Cannot open the disk " + name)

words = sys.argv[1:]
state["calls"].append(words)
kind, verb, rest = words[1], words[2], words[3:]
if words[0] != "-T" or kind not in ("ws", "fusion"):
    fail("Unrecognized product")
order = state["orders"].pop(verb, "")
keep()
if order == "kill before":
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)
if order and order != "kill after":
    fail(order)
if verb == "list":
    print("Total running VMs: %%d" %% len(state["running"]))
    print("\\n".join(state["running"]))
elif not os.path.exists(rest[0]):
    fail("Cannot open VM: " + rest[0])
elif verb == "start":
    if rest[1:] != ["nogui"] or rest[0] in state["running"]:
        fail("The file is already in use")
    check(rest[0])
    state["running"].append(rest[0])
elif verb == "stop":
    if rest[0] not in state["running"]:
        fail("The virtual machine is not powered on: " + rest[0])
    if rest[1:] == ["soft"] and not state["tools"]:
        fail("The VMware Tools are not running in the virtual machine: " + rest[0])
    if rest[1:] not in (["soft"], ["hard"]):
        fail("Invalid argument")
    state["running"].remove(rest[0])
elif verb == "getGuestIPAddress":
    if not state["tools"]:
        fail("The VMware Tools are not running in the virtual machine: " + rest[0])
    print(state["address"])
elif verb == "deleteVM":
    if rest[0] in state["running"]:
        fail("The virtual machine should not be powered on.")
    os.unlink(rest[0])
else:
    fail("Unrecognized command: " + verb)
keep()
if order == "kill after":
    os.kill(os.getppid(), signal.SIGKILL)
"""


class Fusion:
    """The computer's vmrun, in `folder`."""

    def __init__(self, folder):
        self.path = folder / "state.json"
        self.write({"running": [], "calls": [], "orders": {}, "tools": True, "address": "127.10.8.8"})
        program = folder / "vmrun"
        program.write_text(PROGRAM % sys.executable)
        program.chmod(0o755)

    def read(self):
        return json.loads(self.path.read_text())

    def write(self, state):
        self.path.write_text(json.dumps(state))

    def set(self, **facts):
        self.write(dict(self.read(), **facts))

    def order(self, verb, words):
        """Let the next call of a verb fail with these words, or "kill before" or "kill after" it our program."""
        self.set(orders={verb: words})

    @property
    def running(self):
        return self.read()["running"]

    def verbs(self):
        return [words[2] for words in self.read()["calls"]]
