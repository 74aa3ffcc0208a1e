"""What the stand-in for VBoxManage keeps, and its errors in the words of the real one."""

import contextlib
import fcntl
import json
import os
import time

WARNING = """WARNING: The character device /dev/vboxdrv does not exist.
\t Please install the virtualbox-dkms package and the appropriate
\t headers, most likely linux-headers-VERSION.

\t You will not be able to start VMs until this problem is fixed.
"""
BANNER = """Oracle VirtualBox Command Line Management Interface Version %s
Copyright (C) 2005-2026 Oracle and/or its affiliates

"""
PROGRESS = "".join("%d%%..." % percent for percent in range(0, 100, 10)) + "100%\n"
# Commands and lists that real VirtualBox has and the stand-in has not.
NOT_PLAYED = set("""cloudnets cloudprofiles cloudproviders cpu-profiles floppies groups hddbackends hostcpuids
    hostdrives hostdvds hostfloppies intnets ossubtypes screenshotformats usbfilters usbhost webcams import export
    clonevm registervm showmediuminfo mediumio debugvm bandwidthctl usbfilter extpack unattended guestcontrol metrics
    encryptmedium mediumproperty internalcommands""".split())
CODES = {
    "NS_ERROR_INVALID_ARG": "0x80070057", "NS_ERROR_FAILURE": "0x80004005", "E_ACCESSDENIED": "0x80070005",
    "VBOX_E_OBJECT_NOT_FOUND": "0x80bb0001", "VBOX_E_INVALID_VM_STATE": "0x80bb0002",
    "VBOX_E_FILE_ERROR": "0x80bb0004", "VBOX_E_IPRT_ERROR": "0x80bb0005", "VBOX_E_INVALID_OBJECT_STATE": "0x80bb0007",
    "VBOX_E_OBJECT_IN_USE": "0x80bb000c",
}
STATES = {"poweroff": "powered off", "running": "running", "saved": "saved", "paused": "paused",
          "aborted": "aborted", "gurumeditation": "guru meditation", "starting": "starting", "stopping": "stopping",
          "aborted-saved": "aborted-saved", "livesnapshotting": "live snapshotting"}
ALIVE = ("running", "paused", "starting", "stopping", "gurumeditation", "livesnapshotting")
UNLESS_SET = {
    "version": "7.2.22_Debianr175245",
    "platform": "linux",  # or "darwin", "windows"
    "vboxdrv": True,  # whether /dev/vboxdrv is there; if not, the wrapper of Debian warns on stdout
    "hw_virtualization": True,
    "allowed": ["192.168.56.0/21"],  # what networks.conf lets host-only interfaces have; 6.1.28 brought it
    "rules": [],  # see rule_for
    "unknown": [],  # calls that real VirtualBox has and this has not
    # After how many questions a guest has its addresses, whether Guest Additions and DHCP leases tell them, and which
    # it has if not one of the DHCP server's: an address, or {name of the VM: address}.
    "guest": {"ip_after": 0, "additions": True, "lease": True, "address": None},
    "shutdown": {"after": 1},  # how many state queries, or "seconds": how long, a guest needs to power off
    "machine_folder": None,
    "vms": [], "media": [], "sizes": {}, "hostonlyifs": [], "hostonlynets": [], "natnetworks": [], "extradata": {},
    "leases": {},
    "dhcpservers": [{"network": "HostInterfaceNetworking-vboxnet0", "ip": "192.168.56.100",
                     "lower": "192.168.56.101", "upper": "192.168.56.254", "netmask": "255.255.255.0",
                     "enabled": True}],
}


class Failure(Exception):
    """The end of a command, with what it says on stderr."""

    def __init__(self, words, rc=1):
        super().__init__(words)
        self.words, self.rc = words, rc


def error(*lines, rc=1):
    return Failure("".join("VBoxManage: error: %s\n" % line for line in lines), rc)


def com_error(text, code, component, callee, context, place):
    """An error of VBoxSVC as VBoxManage shows it; `component` is as "Machine", `place` as "105 VBoxManageMisc"."""
    names = (component, "IMachine") if component == "SessionMachine" else (component + "Wrap", "I" + component)
    details = "Details: code %s (%s), component %s, interface %s" % ((code, CODES[code]) + names)
    lines = [text, details + (", callee nsISupports" if callee else "")]
    return error(*(lines + ([_context(context, place)] if context else [])))


def bare_error(code, meaning, context, place):
    return error("Code %s (%s) - %s (extended info not available)" % (code, CODES[code], meaning),
                 _context(context, place))


def _context(context, place):
    line, _, file = place.partition(" ")
    return 'Context: "%s" at line %s of file %s.cpp' % (context, line, file)


class UsageError(Failure):
    """Words that VBoxManage does not understand."""

    def __init__(self, words, rc=2):
        super().__init__("VBoxManage: error: %s\n" % words, rc)


def in_windows_words(text):
    """The same output as VBoxManage.exe has it."""
    for unix, windows in (("VBoxManage: ", "VBoxManage.exe: "), ("NS_ERROR_FAILURE", "E_FAIL"),
                          ("NS_ERROR_INVALID_ARG", "E_INVALIDARG"), ("nsISupports", "IUnknown"), ("\n", "\r\n")):
        text = text.replace(unix, windows)
    return text


def limited(context, place):
    """What a VM with unreadable settings is good for."""
    return com_error("The object functionality is limited", "E_ACCESSDENIED", "Machine", True, context, place)


def locked(vm, context='LockMachine(a->session, LockType_Write)', place="640 VBoxManageModifyVM"):
    return com_error("The machine '%s' is already locked for a session (or being unlocked)" % vm["name"],
                     "VBOX_E_INVALID_OBJECT_STATE", "Machine", True, context, place)


def new_uuid():
    digits = bytearray(os.urandom(16))
    digits[6], digits[8] = digits[6] & 15 | 64, digits[8] & 63 | 128
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".%03d000000" % (time.time() % 1 * 1000)


def number(address):
    total = 0
    for part in address.split("."):
        total = total * 256 + int(part)
    return total


def dotted(value):
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


class Box:
    """VirtualBox as one call sees it: its state, the words of the call, and what the call says."""

    def __init__(self, state, folder):
        self.state, self.folder = state, folder
        self.out, self.err = [], []  # type: list, list

    def say(self, text):
        self.out.append(text)

    def tell(self, text):
        self.err.append(text)

    def __getitem__(self, key):
        return self.state[key]

    @property
    def version(self):
        return tuple(int(part) for part in self["version"].split("_")[0].split("r")[0].split(".")[:3])

    @property
    def has_hostonlynet(self):
        return self["platform"] == "darwin" and self.version >= (7, 0)

    def vm(self, name, context="FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())",
           place="893 VBoxManageModifyVM"):
        for vm in self["vms"]:
            known_by = [vm["uuid"], "{%s}" % vm["uuid"]]
            if vm["state"] != "inaccessible":  # then it has no name for VirtualBox either
                known_by += [vm["name"], vm["settings"]]
            if name in known_by:
                return vm
        raise com_error("Could not find a registered machine named '%s'" % name, "VBOX_E_OBJECT_NOT_FOUND",
                        "VirtualBox", True, context, place)

    def look_for_settings(self):
        for vm in self["vms"]:
            if vm["state"] not in ALIVE and not os.path.exists(vm["settings"]):
                vm["state"] = "inaccessible"

    def accessible(self, *names_and_places, context="LockMachine(a->session, LockType_Shared)", lock):
        """A VM whose settings can be read; `lock` is where VBoxManage finds out that they cannot."""
        vm = self.vm(*names_and_places)
        if vm["state"] == "inaccessible":
            raise limited(context, lock)
        return vm

    def unlocked(self, name):
        """A VM that no process holds: what modifyvm and its like need."""
        vm = self.accessible(name, context="LockMachine(a->session, LockType_Write)", lock="901 VBoxManageModifyVM")
        if vm["state"] in ALIVE:
            raise locked(vm)
        return vm

    def medium(self, name):
        return next((item for item in self["media"] if name in (item["uuid"], item["path"])), None)

    def find(self, kind, key, value):
        return next((item for item in self[kind] if item[key] == value), None)


def network_name(adapter):
    return "HostInterfaceNetworking-" + adapter


@contextlib.contextmanager
def state_of(folder):
    """The state, locked and kept."""
    path = os.path.join(folder, "state.json")
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads(json.dumps(UNLESS_SET))
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            state.update(json.load(file))
        yield state
        with open(path + ".new", "w") as file:
            file.write(json.dumps(state))  # dump() and indent= take ten times as long
        os.rename(path + ".new", path)


def options(given, takes=(), flags=()):
    """({option: value}, other words), by the first name of each option in `takes` and `flags` ("network netname")."""
    first = {}
    for names in list(takes) + list(flags):
        for name in names.split():
            first["--" + name] = names.split()[0]
    found, rest, words = {}, [], list(given)  # type: dict, list, list
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            rest.append(word)
        elif name not in first:
            raise UsageError("Unknown option: %s" % name)
        elif any(first[name] == names.split()[0] for names in flags):
            found[first[name]] = True
        else:
            found[first[name]] = value if equals else needed(words, name)
    return found, rest


def needed(words, name):
    if not words:
        raise UsageError("%s: RTGetOpt: Command line option needs argument." % name, 1)
    return words.pop(0)
