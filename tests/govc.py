"""A govc that keeps virtual machines, as the driver "vmwarevsphere" uses it.

Its words, JSON and sentences are those of govc 0.24, which tests/integration/test_vmwarevsphere.py compares; with
`camel` they are as newer releases write the same: keys begin with a small letter, and what is empty is left out.
"""

import fnmatch
import json
import os
import re
import tarfile
import threading
import uuid

from door import Door

USER, PASSWORD, PORT = "administrator", "secret-Pass7", 8989
PLACES = [("/DC0", "d"), ("/DC0/vm", "f"), ("/DC0/vm/team", "f"), ("/DC0/vm/a", "f"), ("/DC0/vm/a/deep", "f"),
          ("/DC0/vm/b", "f"), ("/DC0/vm/b/deep", "f"), ("/DC0/host/C0/h1", "h"), ("/DC0/host/C0/h2", "h"),
          ("/DC0/host/C0/Resources", "p"), ("/DC0/host/C0/Resources/small", "p"), ("/DC0/datastore/disks", "s"),
          ("/DC0/network/VM Network", "n"), ("/DC0/network/back end", "n"), ("/DC0/network/port", "n")]
CHANGING = ("vm.create vm.clone import.ova library.deploy datastore.upload datastore.rm device.cdrom.add "
            "device.cdrom.insert device.remove vm.change vm.disk.create vm.disk.change vm.network.add "
            "vm.network.change tags.attach fields.set vm.power vm.destroy guest.upload guest.run").split()
SWITCHES = ("json", "on", "off", "s", "r", "reset", "force", "L", "f", "h")


class Failure(Exception):
    """What govc says when it fails."""


def pascal(value):
    """As 0.24 writes keys."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: pascal(one) for key, one in value.items()}
    return [pascal(one) for one in value] if isinstance(value, list) else value


def without_empty(value):
    """As newer releases leave out what is empty."""
    if isinstance(value, dict):
        return {key: without_empty(one) for key, one in value.items() if one not in (None, "", [], 0)}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


class VSphere:
    """The vCenter and its govc. `fail` has pairs of a verb and what it says once; `wrong` what was not to be."""

    def __init__(self, folder):
        """`folder` gets the program govc."""
        self.vms, self.files, self.calls, self.wrong, self.fail = {}, {}, [], [], []
        self.places, self.camel, self.lone, self.tools, self.address = list(PLACES), False, False, True, "127.10.8.8"
        self.tags, self.attributes, self.items = {"green"}, {"team"}, ["/lib/debian"]
        self.lock, self.number = threading.RLock(), 100
        self.door = Door(self._called, folder / "govc")

    def close(self):
        self.door.close()

    def vm(self, path="/DC0/vm/web"):
        return self.vms[path]

    def add(self, path="/DC0/vm/web", state="poweredOn", annotation="", devices=()):
        """A VM, in the form of the newest vm.info."""
        name, self.number = path.rpartition("/")[2], self.number + 1
        taken = any(file.startswith("[disks] %s/" % name) for file in self.files)
        home = "[disks] %s%s" % (name, "_1" if taken else "")
        row = {"self": {"type": "VirtualMachine", "value": "vm-%d" % self.number}, "name": name,
               "config": {"uuid": str(uuid.uuid4()), "instanceUuid": str(uuid.uuid4()), "annotation": annotation,
                          "files": {"vmPathName": "%s/%s.vmx" % (home, name)}},
               "runtime": {"powerState": state}, "guest": {"net": None, "ipAddress": "", "toolsRunningStatus": ""}}
        vm = {"row": row, "devices": list(devices), "home": home, "extra": {}, "tags": [], "fields": {}}
        self.vms[path] = vm
        self.files["%s/%s.vmx" % (home, name)] = b""
        return vm

    def changes(self):
        """The changing calls in their order."""
        return [words for words in self.calls if words[0] in CHANGING]

    # --- one call

    def _called(self, call):
        mine = {name: value for name, value in call.environ.items() if name.startswith("GOVC_")}
        return self.respond(call.words, mine)

    def respond(self, words, environ):
        with self.lock:
            self.calls.append(words)
            try:
                return [0, self.answer(words, environ), ""]
            except Failure as failure:
                return [1, "Doing it... ", "govc: %s\n" % failure]
            except Exception as error:
                self.wrong.append("%s: %r" % (words, error))
                return [1, "", "govc: The stand-in does not know that.\n"]

    def answer(self, words, environ):
        verb, rest = words[0], list(words[1:])
        given = {}  # type: dict
        while rest and rest[0].startswith("-"):
            name, equals, value = rest.pop(0)[1:].partition("=")
            switch = name in SWITCHES and not (name == "f" and verb == "vm.change")
            value = value if equals else True if switch else rest.pop(0)
            given.setdefault(name, []).append(value)
        if verb not in ("vm.change", "version") or "h" not in given:
            self._login(environ)
        for at, (wanted, sentence) in enumerate(self.fail):
            if wanted == verb:
                del self.fail[at]
                raise Failure(sentence)
        return getattr(self, verb.replace(".", "_"))({name: value[-1] for name, value in given.items()}, rest,
                                                     given) or ""

    def _login(self, environ):
        kept = {name for name, value in environ.items() if value}
        wanted = {"GOVC_URL", "GOVC_USERNAME", "GOVC_PASSWORD", "GOVC_PERSIST_SESSION", "GOVC_INSECURE"}
        assert wanted <= kept <= wanted | {"GOVC_DATACENTER", "GOVC_GUEST_LOGIN"}, kept
        assert environ["GOVC_PERSIST_SESSION"] == "false"
        if (environ["GOVC_USERNAME"], environ["GOVC_PASSWORD"]) != (USER, PASSWORD):
            raise Failure("ServerFaultCode: Cannot complete login due to an incorrect user name or password.")

    def _json(self, value):
        return json.dumps(without_empty(value) if self.camel else pascal(value))

    def _found(self, path):
        if path not in self.vms:
            raise Failure("vm '%s' not found" % path)
        return self.vms[path]

    def _place(self, path, kind):
        assert (path, kind) in self.places, (path, kind)

    def about(self, given, rest, lists):
        return self._json({"about": {"apiType": "HostAgent" if self.lone else "VirtualCenter"}})

    def find(self, given, rest, lists):
        root, option, wanted = rest[0].rstrip("/"), rest[1], rest[2]  # the root comes first
        assert option == "-type"
        known = self.places + [(path, "m") for path in self.vms]
        return "".join("%s\n" % path for path, kind in known
                       if kind == wanted and (path + "/").startswith(root + "/"))

    def ls(self, given, rest, lists):
        return "".join("%s\n" % path for path, vm in self.vms.items()
                       if rest == ["VirtualMachine:" + vm["row"]["self"]["value"]])

    def vm_info(self, given, rest, lists):
        rows = [vm["row"] for path, vm in self.vms.items() if any(fnmatch.fnmatch(path, one) for one in rest)]
        if "vm.uuid" in given:
            rows = [vm["row"] for vm in self.vms.values() if vm["row"]["config"]["uuid"] == given["vm.uuid"]]
            if not rows:
                raise Failure("no such VM")
        return self._json({"virtualMachines": rows or None})

    def device_info(self, given, rest, lists):
        return self._json({"devices": self._found(given["vm"])["devices"]})

    def datastore_info(self, given, rest, lists):
        return self._json({"datastores": [{"name": path.rpartition("/")[2], "summary": {"freeSpace": len(path)}}
                                          for path in rest]})

    # --- what makes one

    def _make(self, given, name, annotation, devices=()):
        path = "%s/%s" % (given["folder"], name)
        self._place(given["folder"], "f")
        self._place(given["pool"], "p")
        self._place(given["ds"], "s")
        if path in self.vms:
            raise Failure("The name '%s' already exists." % name)
        return self.add(path, "poweredOff", annotation, devices)

    def card(self, network):
        self._place(network, "n")
        self.number += 1
        return {"name": "ethernet-%d" % self.number, "macAddress": "00:50:56:00:00:%02X" % (self.number % 256),
                "network": network}

    def vm_create(self, given, rest, lists):
        assert (given["on"], given["disk.controller"], given["net.adapter"]) == ("false", "pvscsi", "vmxnet3")
        self._make(given, rest[0], given["annotation"], [self.card(given["net"])])

    def vm_clone(self, given, rest, lists):
        self._found(given["vm"])
        old = [self.card("/DC0/network/port"), self.card("/DC0/network/port"), {"name": "cdrom-3000"},
               {"name": "disk-1000-0", "capacityInKB": 2 << 20}]
        self._make(given, rest[0], given["annotation"], old)

    def library_ls(self, given, rest, lists):
        return "".join("%s\n" % item for item in (self.items if rest else ["/lib"]))

    def library_deploy(self, given, rest, lists):
        with open(given["options"]) as file:
            options = json.load(file)
        assert rest[0] in self.items
        self._make(given, rest[1], options["Annotation"], [self.card("/DC0/network/port"),
                                                            {"name": "disk-1000-0", "capacityInKB": 90 << 20}])

    def import_spec(self, given, rest, lists):
        with tarfile.open(rest[0]) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            assert member
            text = member.read().decode()
        names = re.findall('<Network ovf:name="([^"]*)"', text)
        return json.dumps({"DiskProvisioning": "flat", "NetworkMapping": [{"Name": name, "Network": ""}
                                                                         for name in names]})

    def import_ova(self, given, rest, lists):
        with open(given["options"]) as file:
            options = json.load(file)
        assert options["DiskProvisioning"] == "thin" and options["PowerOn"] is False
        vm = self._make(given, given["name"], options["Annotation"],
                        [self.card(row["Network"]) for row in options["NetworkMapping"]])
        with tarfile.open(rest[0]) as archive:
            assert archive.getnames() == ["machine.ovf", "disk.vmdk"]
        vm["devices"].append({"name": "disk-1000-0", "capacityInKB": 3 << 10})

    # --- what changes one

    def vm_disk_create(self, given, rest, lists):
        disk = {"name": "disk-1000-0", "capacityInKB": int(given["size"][:-2]) << 10}
        self._found(given["vm"])["devices"].append(disk)

    def vm_disk_change(self, given, rest, lists):
        disk = self._device(given["vm"], given["disk.name"])
        disk["capacityInKB"] = int(given["size"][:-2]) << 10

    def _device(self, path, name):
        found = [one for one in self._found(path)["devices"] if one["name"] == name]
        if not found:
            raise Failure("device '%s' not found" % name)
        return found[0]

    def vm_network_add(self, given, rest, lists):
        assert given["net.adapter"] == "vmxnet3"
        self._found(given["vm"])["devices"].append(self.card(given["net"]))

    def vm_network_change(self, given, rest, lists):
        self._place(given["net"], "n")
        self._device(given["vm"], rest[0])["network"] = given["net"]

    def device_remove(self, given, rest, lists):
        self._found(given["vm"])["devices"].remove(self._device(given["vm"], rest[0]))

    def device_cdrom_add(self, given, rest, lists):
        self._found(given["vm"])["devices"].append({"name": "cdrom-3001"})
        return "cdrom-3001\n"

    def device_cdrom_insert(self, given, rest, lists):
        file = self._file(given["ds"], rest[0])
        assert file in self.files
        self._device(given["vm"], given["device"])["backing"] = {"fileName": file}

    def datastore_upload(self, given, rest, lists):
        with open(rest[0], "rb") as file:
            self.files[self._file(given["ds"], rest[1])] = file.read()

    def datastore_rm(self, given, rest, lists):
        self.files.pop(self._file(given["ds"], rest[0]), None)

    def _file(self, place, path):
        self._place(place, "s")
        return "[%s] %s" % (place.rpartition("/")[2], path)

    def vm_change(self, given, rest, lists):
        if "h" in given:
            return "  -e=[]   ExtraConfig. <key>=<value>\n" + "  -f=[]   ExtraConfig. <key>=<file>\n" * self.camel
        vm = self._found(given["vm"])
        for pair in lists.get("e", ()):
            vm["extra"][pair.partition("=")[0]] = pair.partition("=")[2]
        for pair in lists.get("f", ()):
            with open(pair.partition("=")[2]) as file:
                vm["extra"][pair.partition("=")[0]] = file.read()
        vm.update(cpu=given["c"], memory=given["m"])

    def tags_attach(self, given, rest, lists):
        if rest[0] not in self.tags:
            raise Failure("GET https://127.0.0.1/rest/com/vmware/cis/tagging/tag/id:%s: 404 Not Found" % rest[0])
        self._found(rest[1])["tags"].append(rest[0])

    def fields_set(self, given, rest, lists):
        if rest[0] not in self.attributes:
            raise Failure("key name not found")
        self._found(rest[2])["fields"][rest[0]] = rest[1]

    def vm_power(self, given, rest, lists):
        row = self._found(rest[0])["row"]
        state = row["runtime"]["powerState"]
        wrong = state == "poweredOn" if "on" in given else state != "poweredOn"
        if wrong and "force" not in given:
            raise Failure("*types.InvalidPowerState")
        if ("s" in given or "r" in given) and not self.tools:
            raise Failure("ServerFaultCode: Cannot complete operation because VMware Tools is not running in this "
                          "virtual machine. ToolsUnavailable")
        if "off" in given or "s" in given:
            row["runtime"]["powerState"] = "poweredOff"
        else:
            row["runtime"]["powerState"] = "poweredOn"
        on = row["runtime"]["powerState"] == "poweredOn" and self.tools
        row["guest"] = {"net": [{"ipAddress": ["172.17.0.1"], "deviceConfigId": -1},
                                {"ipAddress": ["fe80::1", self.address], "deviceConfigId": 4000}] if on else None,
                        "ipAddress": self.address if on else "",
                        "toolsRunningStatus": "guestToolsRunning" if on else "guestToolsNotRunning"}

    def vm_destroy(self, given, rest, lists):
        home = self._found(rest[0])["home"] + "/"
        del self.vms[rest[0]]
        for file in [file for file in self.files if file.startswith(home) and not file.endswith(".iso")]:
            del self.files[file]  # an ISO stays

    def guest_upload(self, given, rest, lists):
        self._found(given["vm"])["guest"] = [os.path.basename(rest[0]), rest[1]]

    def guest_run(self, given, rest, lists):
        self._found(given["vm"])["guest"].append(" ".join(rest))
