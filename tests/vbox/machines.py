"""The commands that make, change and remove a virtual machine."""

import contextlib
import json
import os

from vbox.disks import users
from vbox.state import (
    ALIVE,
    PROGRESS,
    Failure,
    UsageError,
    bare_error,
    com_error,
    error,
    limited,
    needed,
    new_uuid,
    now,
    options,
)


def createvm(box, words):
    takes = ["name", "uuid", "basefolder", "ostype", "groups", "cipher", "password-id", "password"]
    given, _ = options(words, takes + ["platform-architecture"] * (box.version >= (7, 1)), ["register", "default"])
    name = given.get("name")
    if not name:
        raise UsageError("Parameter --name is required")
    folder = os.path.join(given.get("basefolder") or machine_folder(box), file_name(name))
    settings = os.path.join(folder, file_name(name) + ".vbox")
    if os.path.exists(settings):
        raise already_there(settings)
    known = box.find("vms", "uuid", given.get("uuid"))
    if known:
        raise com_error("Registered machine with UUID {%(uuid)s} ('%(settings)s') already exists" % known,
                        "NS_ERROR_INVALID_ARG", "VirtualBox", True, "RegisterMachine(machine)", "450 VBoxManageMisc")
    os.makedirs(folder, exist_ok=True)
    with open(settings, "w") as file:
        file.write('<?xml version="1.0"?>\n<VirtualBox/>\n')
    vm = {"name": name, "uuid": given.get("uuid") or new_uuid(), "settings": settings, "state": "poweroff",
          "since": now(), "ostype": given.get("ostype", "Other"), "options": {}, "nics": {},
          "controllers": [], "folders": [], "properties": {}, "extradata": {}, "snapshots": [], "rules": []}
    if "register" in given:
        box["vms"].append(vm)
    box.say("Virtual machine '%s' is created%s.\nUUID: %s\nSettings file: '%s'\n" % (
        name, " and registered" if "register" in given else "", vm["uuid"], settings))


def file_name(name):
    """A name as files have it."""
    for odd in '/\\:*?"<>|':
        name = name.replace(odd, "_")
    return name


def machine_folder(box):
    return box["machine_folder"] or os.path.join(os.environ.get("HOME", "/"), "VirtualBox VMs")


def already_there(settings):
    context = ("CreateMachine(bstrSettingsFile.raw(), bstrName.raw(), platformArch, ComSafeArrayAsInParam(groups), "
               "bstrOsTypeId.raw(), createFlags.raw(), bstrCipher.raw(), bstrPasswordId.raw(), "
               "Bstr(strPassword).raw(), machine.asOutParam())")
    return com_error("Machine settings file '%s' already exists" % settings, "VBOX_E_FILE_ERROR", "Machine", True,
                     context, "429 VBoxManageMisc")


def new_nic(kind):
    return {"kind": kind, "mac": "080027" + os.urandom(3).hex().upper(), "type": "82540EM", "cable": "on",
            "adapter": "", "promisc": "deny"}


def unregistervm(box, words):
    given, names = options(words, [], ["delete", "delete-all"])
    vm = box.vm(names[0], "FindMachine(Bstr(VMName).raw(), machine.asOutParam())", "228 VBoxManageMisc")
    if vm["state"] == "inaccessible":
        box["vms"].remove(vm)
        if given:
            raise com_error("The object is not ready", "E_ACCESSDENIED", "Machine", True,
                            "DeleteConfig(ComSafeArrayAsInParam(aMedia), pProgress.asOutParam())",
                            "239 VBoxManageMisc")
        return
    if vm["state"] in ALIVE:
        raise com_error("Cannot unregister the machine '%s' while it is locked" % vm["name"],
                        "VBOX_E_INVALID_OBJECT_STATE", "Machine", True,
                        "Unregister(fDelete ? CleanupMode_DetachAllReturnHardDisksOnly"
                        " : CleanupMode_DetachAllReturnHardDisksAndVMRemovable,"
                        " ComSafeArrayAsOutParam(aMedia))", "215 VBoxManageMisc")
    box["vms"].remove(vm)
    paths = [port["path"] for controller in vm["controllers"] for port in controller["ports"].values()]
    disks = [item for item in box["media"]
             if item["kind"] == "hdd" and item["path"] in paths and not users(box, item)]
    for item in disks:  # an ISO stays known
        box["media"].remove(item)
    if given:
        delete_files(vm, [item["path"] for item in disks])
        box.tell(PROGRESS)


def delete_files(vm, disks):
    folder = os.path.dirname(vm["settings"])
    for path in [vm["settings"], vm["settings"] + "-prev"] + disks:
        with contextlib.suppress(OSError):
            os.unlink(path)
    for path in (os.path.join(folder, "Snapshots"), os.path.join(folder, "Logs"), folder):
        with contextlib.suppress(OSError):
            os.rmdir(path)


# The options of modifyvm that 6.1 has, numbers taken off. 7.0 takes each of them with more dashes too.
MODIFY = set("""name groups description ostype iconfile memory pagefusion vram firmware acpi ioapic pae longmode
    cpuid-portability-level triplefaultreset apic x2apic paravirtprovider paravirtdebug hwvirtex nestedpaging
    largepages vtxvpid vtxux ibpb-on-vm-exit ibpb-on-vm-entry spec-ctrl l1d-flush-on-sched l1d-flush-on-vm-entry
    mds-clear-on-sched mds-clear-on-vm-entry nested-hw-virt cpuid-set cpuid-remove cpuidset cpuidremove
    cpuidremoveall cpus cpuhotplug cpu-profile plugcpu unplugcpu cpuexecutioncap rtcuseutc graphicscontroller
    monitorcount accelerate3d accelerate2dvideo bioslogofadein bioslogofadeout bioslogodisplaytime
    bioslogoimagepath biosbootmenu biossystemtimeoffset biosapic biospxedebug boot nictracefile nictrace
    nicproperty nictype nicspeed nicbootprio nicpromisc nicbandwidthgroup nic cableconnected bridgeadapter
    hostonlyadapter intnet nicgenericdrv nat-network natnetwork natnet natbindip natsettings natpf nataliasmode
    nattftpprefix nattftpfile nattftpserver natdnspassdomain natdnsproxy natdnshostresolver macaddress mouse
    keyboard uartmode uarttype uart lptmode lpt guestmemoryballoon audiocontroller audiocodec audio audioin
    audioout clipboard-mode clipboard clipboard-file-transfers draganddrop vrdeproperty vrdeport vrdeaddress
    vrdeauthtype vrdeauthlibrary vrdemulticon vrdereusecon vrdevideochannel vrdevideochannelquality vrdeextpack
    vrde usbrename usbxhci usbehci usbohci usb snapshotfolder teleporter teleporterport teleporteraddress
    tracing-enabled tracing-config tracing-allow-vm-access hardwareuuid hpet chipset recording
    autostart-enabled autostart-delay autostop-type pciattach pcidetach usbcardreader defaultfrontend
    vm-process-priority""".split())
SINCE_7_0 = MODIFY | {"natlocalhostreachable", "audiodriver", "audioenabled", "iommu", "tpm-type"}
SINCE_7_1 = SINCE_7_0 | {"firmwarebootmenu", "firmwarelogofadein", "firmwarelogofadeout", "firmwarelogodisplaytime"}


def modifyvm(box, words):
    if box.vm(words[0])["state"] == "inaccessible":
        box.tell(limited("COMGETTER(Platform)(pPlatform.asOutParam())", "49 VBoxManageUtils").words)
    changed, words = box.unlocked(words[0]), words[1:]
    vm = json.loads(json.dumps(changed))  # an error undoes all of it
    while words:
        word, equals, value = words.pop(0).partition("=")
        name, index = known_option(box, word)
        value = value if equals else needed(words, word)
        if name == "natpf" and value == "delete":
            delete_rule(vm, needed(words, word), "RemoveRedirect(Bstr(ValueUnion.psz).raw())",
                        "2264 VBoxManageModifyVM")
        elif name == "uart" and value != "off" or name == "uartmode" and value == "file":
            modify(box, vm, name, index, value + "," + needed(words, word))  # an address and its interrupt, or a path
        else:
            modify(box, vm, name, index, value)
    changed.update(vm)


def known_option(box, word):
    """("natpf", "1") of --natpf1, or of --nat-pf1 where 7.0 takes that too."""
    name = word[2:].rstrip("0123456789")
    index = word[2 + len(name):]
    if word == "--accelerate3d":
        name, index = "accelerate3d", ""
    known = SINCE_7_1 if box.version >= (7, 1) else SINCE_7_0 if box.version >= (7, 0) else MODIFY
    known = known | {"hostonlynet"} if box.has_hostonlynet else known
    names = [name]
    if box.version >= (7, 0):
        names += [name.replace("-", ""), name.replace("x86-", "").replace("-", "")]
    for plain in names:
        if word.startswith("--") and plain in known:
            return plain, index
    raise UsageError("Unknown option: %s" % word, 1)


def modify(box, vm, name, index, value):
    if name == "natpf":
        add_rule(vm, value, "2251 VBoxManageModifyVM")
    elif name in RANGES:
        vm["options"][name] = in_range(name, value)
    elif name in NIC_OPTIONS:
        modify_nic(box, vm["nics"].setdefault(index, new_nic("none")), name, value, index)
    elif name in ("name", "ostype"):
        vm[name] = value
    else:
        vm["options"][name + index] = value


def modify_nic(box, nic, name, value, index):
    if name == "nic" and value not in NIC_KINDS + ["hostonlynet"] * box.has_hostonlynet:
        raise error("Invalid type '%s' specfied for NIC %s" % (value, index))
    if name == "nictype" and value not in NIC_TYPES:
        raise error("Invalid NIC type '%s' specified for NIC %s" % (value, index))
    nic[NIC_OPTIONS[name]] = new_nic("")["mac"] if (name, value) == ("macaddress", "auto") else value
    if name == "hostonlyadapter" and not box.find("hostonlyifs", "name", value):
        box.tell('VBoxManage: warning: Interface "%s" doesn\'t seem to exist\n' % value)


def in_range(name, value):
    words, unit, least, most, setter, line = RANGES[name]
    if not least <= int(value) <= most:
        raise com_error("Invalid %s: %s%s (must be in range [%d, %d]%s)" % (words, value, unit, least, most, unit),
                        "NS_ERROR_INVALID_ARG", "SessionMachine", True, "COMSETTER(%s)(ValueUnion.u32)" % setter,
                        line + " VBoxManageModifyVM")
    return value


RANGES = {"memory": ("RAM size", " MB", 4, 2097152, "MemorySize", "988"),
          "cpus": ("virtual CPU count", "", 1, 64, "CPUCount", "1083")}
NIC_KINDS = ["none", "null", "nat", "bridged", "intnet", "hostonly", "generic", "natnetwork", "cloud"]
NIC_TYPES = ("Am79C970A", "Am79C973", "Am79C960", "82540EM", "82543GC", "82545EM", "virtio", "usbnet")
NIC_OPTIONS = {"nic": "kind", "nictype": "type", "nicpromisc": "promisc", "cableconnected": "cable",
               "macaddress": "mac", "hostonlyadapter": "adapter", "bridgeadapter": "adapter",
               "hostonlynet": "adapter", "natnetwork": "adapter", "intnet": "adapter"}


def add_rule(vm, rule, place):
    name, protocol, host, port = (rule.split(",") + [""] * 4)[:4]
    if protocol not in ("tcp", "udp"):
        raise error("Invalid proto '%s' specfied for NIC 1" % rule)
    if rule.count(",") != 5:
        raise UsageError("Missing or invalid argument to '--natpf'")
    for known in [known.split(",") for known in vm["rules"]]:
        if known[0] == name:
            raise rule_error("A NAT rule of this name already exists", place)
        if known[1:4] == [protocol, host, port]:
            raise rule_error("A NAT rule for this host port and this host IP already exists", place)
    vm["rules"].append(rule)


def rule_error(words, place):
    context = ("AddRedirect(Bstr(strName).raw(), proto, Bstr(strHostIp).raw(), RTStrToUInt16(strHostPort), "
               "Bstr(strGuestIp).raw(), RTStrToUInt16(strGuestPort))")
    return com_error(words, "NS_ERROR_INVALID_ARG", "NATEngine", True, context, place)


def delete_rule(vm, name, context, place):
    for rule in vm["rules"]:
        if rule.split(",")[0] == name:
            vm["rules"].remove(rule)
            return
    raise bare_error("NS_ERROR_INVALID_ARG", "Invalid argument value", context, place)


def sharedfolder(box, words):
    given, _ = options(words[2:], ["name", "hostpath", "auto-mount-point"], ["automount", "transient", "readonly"])
    vm = box.vm(words[1]) if "transient" in given else box.unlocked(words[1])
    if words[0] == "remove":
        vm["folders"] = [folder for folder in vm["folders"] if folder[0] != given["name"]]
        return
    context = ("CreateSharedFolder(Bstr(pszName).raw(), Bstr(szAbsHostPath).raw(), fWritable, fAutoMount, "
               "Bstr(pszAutoMountPoint).raw())")
    if given["name"] in [folder[0] for folder in vm["folders"]]:
        raise com_error("Shared folder named '%s' already exists" % given["name"], "VBOX_E_OBJECT_IN_USE",
                        "SessionMachine", True, context, "1732 VBoxManageMisc")
    if not os.path.exists(given["hostpath"]):
        raise com_error("RTPathQueryInfo failed on shared folder path '%s': VERR_FILE_NOT_FOUND" % given["hostpath"],
                        "NS_ERROR_INVALID_ARG", "SharedFolder", True, context, "1732 VBoxManageMisc")
    vm["folders"].append([given["name"], given["hostpath"], bool(given.get("automount"))])


def setextradata(box, words):
    kept = box["extradata"] if words[0] == "global" else box.vm(words[0])["extradata"]
    if len(words) > 2:
        kept[words[1]] = words[2]
    else:
        kept.pop(words[1], None)


def getextradata(box, words):
    kept = box["extradata"] if words[0] == "global" else box.vm(words[0])["extradata"]
    if words[1] == "enumerate":
        box.say("".join("Key: %s, Value: %s\n" % pair for pair in sorted(kept.items())))
    else:
        box.say("Value: %s\n" % kept[words[1]] if words[1] in kept else "No value set!\n")


def snapshot(box, words):
    vm = box.vm(words[0])
    if words[1] == "take":
        vm["snapshots"].append([words[2], new_uuid()])
        box.tell(PROGRESS)
        box.say("Snapshot taken. UUID: %s\n" % vm["snapshots"][-1][1])
    elif words[1] == "list" and vm["snapshots"]:
        for depth, (name, uuid) in enumerate(vm["snapshots"]):
            current = " *" if depth == len(vm["snapshots"]) - 1 else ""
            box.say("%sName: %s (UUID: %s)%s\n" % ("   " * (depth + 1), name, uuid, current))
    elif words[1] == "list":
        box.say("This machine does not have any snapshots\n")
        raise Failure("")
    else:
        raise NotImplementedError
