"""Machines of one driver in a store, for the tests of that driver, and what they give cloud-init."""

import email
import json
import os
import shutil
from pathlib import Path

from conftest import HANG, ssh_key

import docker_machine as core


class Machines:
    """The store, and machines of one driver in it, as this very process finds them."""

    environ = None  # type: object  # the variables that flags are read from

    def __init__(self, store, driver_class, folder, **given):
        """`folder` is for files of the test; `given` are the flags of each machine, see machine()."""
        self.store, self.driver_class, self.folder, self.given = store, driver_class, folder, given

    def machine(self, name="web", **flags):
        """A machine of these flags (disk_size=1 for --DRIVER-disk-size=1) that
        is not in the store yet."""
        words = ["--%s-%s=%s" % (self.driver_class.name, flag.replace("_", "-"), one)
                 for flag, value in dict(self.given, **flags).items()
                 for one in (value if isinstance(value, list) else [value])]
        machine = self.store.new(name, self.driver_class)
        known = core.create_flags(self.driver_class)
        machine.driver.set_config_from_flags(core.parse_flags(known, words, self.environ or {})[0])
        return machine

    def add(self, name="web", **flags):
        """A machine that is in the store; nothing is made for it yet."""
        machine = self.machine(name, **flags)
        self.store.add(machine)
        return machine

    def create(self, name="web", **flags):
        """A machine that runs and was never provisioned."""
        machine = self.add(name, **flags)
        machine.driver.create()
        return self.finish(machine)

    @staticmethod
    def finish(machine):
        machine.save()
        machine.mark("")
        return machine

    def load(self, name="web"):
        return self.store.machine(name)

    def stored(self, name="web"):
        """What the driver keeps of a machine."""
        path = Path(self.store.folder(name)) / "config.json"
        return json.loads(path.read_text(encoding="utf-8"))["Driver"]


class ProviderMachines(Machines):
    """Machines that are at a provider, which is asked before one is in the store."""

    def add(self, name="web", **flags):
        """A machine that passed the check and is in the store; nothing is ordered yet."""
        machine = self.machine(name, **flags)
        machine.driver.pre_create_check()
        self.store.add(machine)
        return machine

    def add_node(self, name="web", **flags):
        """As add(), a machine of --swarm-mode."""
        machine = self.machine(name, **flags)
        machine.swarm["Mode"] = "manager"
        machine.driver.pre_create_check()
        self.store.add(machine)
        return machine

    def key(self, name="mine", passphrase=""):
        """The path of a new private key."""
        return ssh_key(self.folder / name, passphrase)

    def file(self, text, name="user-data"):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def listed_by_engines(here, dm, engine_port, id_field, module):
    """What `ls` prints of three machines whose engines answer, by a process that has not loaded a module."""
    for number in range(3):
        machine = here.machine("web%d" % number)
        machine.driver[id_field], machine.driver["IPAddress"] = "web%d" % number, "127.0.0.1"
        here.store.add(machine)
        machine.mark("")
        machine.copy_client_certificates()
    dm.argv[2] = ("import docker_machine as core, sys; ask = core.Driver.engine_port; "
                  "core.Driver.engine_port = lambda self: %d; code = core.main(['docker-machine'] + sys.argv[1:]); "
                  "print(%r in sys.modules); core.end(code)" % (engine_port, module))
    listed, _, loaded = dm("ls", "-t", "%d" % HANG).out.rstrip().rpartition("\n")
    assert loaded == "False"
    return listed


def take_environment(monkeypatch, environment, *prefixes):
    """Let this very process have these variables, and of its own none that begins with a prefix,
    none of the program and no proxy."""
    for name in list(os.environ):
        if name.startswith(prefixes + ("MACHINE_",)) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


# --- user data

def parts_of(user_data):
    """The parts of user data, as cloud-init takes it apart: [text]."""
    if user_data.startswith("#cloud-config"):
        return [user_data]
    message = email.message_from_string(user_data)
    assert message.is_multipart()
    return [bytes(part.get_payload(decode=True)).decode(part.get_content_charset() or "utf-8")
            for part in message.walk() if not part.is_multipart()]


def ours(user_data):
    """What our part says; it is the last one."""
    first, _, rest = parts_of(user_data)[-1].partition("\n")
    assert first == "#cloud-config"
    return json.loads(rest)


class Kill:
    """Ends the next command at a request, `before` or `after` it, as kill -9 would: what is on the disk then is what
    is there afterwards. `verb` is the driver's method that asks, is_meant(its arguments) knows the request."""

    def __init__(self, here, monkeypatch, verb, when, is_meant):
        self.ask, self.died, self.when, self.is_meant = getattr(here.driver_class, verb), False, when, is_meant
        self.machines, self.kept = Path(here.store.machines), here.folder / "as-killed"
        monkeypatch.setattr(here.driver_class, verb, lambda *words, **more: self._ask(*words, **more))

    def _ask(self, driver, *words, **more):
        at = not self.died and self.is_meant(*words, **more)
        if at and self.when == "before":
            self._die()
        answer = self.ask(driver, *words, **more)
        if at:
            self._die()
        return answer

    def _die(self):
        self.died = True
        shutil.copytree(str(self.machines), str(self.kept))
        raise KeyboardInterrupt

    def bury(self):
        assert self.died, "that was not asked"
        shutil.rmtree(str(self.machines))
        self.kept.rename(self.machines)
