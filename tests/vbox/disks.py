"""The commands about controllers and media. A disk is a file with the raw bytes that it was made of."""

import os
import sys

from vbox.state import ALIVE, PROGRESS, Failure, com_error, error, locked, new_uuid, options

MAX_PORTS = {"sata": 30, "ide": 2, "scsi": 16, "sas": 255, "pcie": 255}


def storagectl(box, words):
    takes = ["name", "add", "controller", "portcount sataportcount", "hostiocache", "bootable", "rename"]
    vm = box.unlocked(words[0])
    given, _ = options(words[1:], takes, ["remove"])
    if given.get("remove"):
        remove_controller(vm, given["name"])
    elif "add" in given and controller_of(vm, given["name"]):
        raise com_error("Storage controller named '%s' already exists" % given["name"], "VBOX_E_OBJECT_IN_USE",
                        "SessionMachine", True,
                        "AddStorageController(Bstr(pszCtl).raw(), StorageBus_%s, ctl.asOutParam())"
                        % given["add"].upper(), "1088 VBoxManageStorageController")
    elif "add" in given:
        count = MAX_PORTS.get(given["add"].lower(), 1)
        vm["controllers"].append({"name": given["name"], "bus": given["add"].lower(), "ports": {},
                                  "count": int(given.get("portcount", count))})


def controller_of(vm, name):
    """A controller of a VM, or None."""
    return next((item for item in vm["controllers"] if item["name"] == name), None)


def remove_controller(vm, name):
    found = controller_of(vm, name)
    if not found:
        raise com_error("Could not find a storage controller named '%s'" % name, "VBOX_E_OBJECT_NOT_FOUND",
                        "SessionMachine", True, "RemoveStorageController(Bstr(pszCtl).raw())",
                        "1072 VBoxManageStorageController")
    vm["controllers"].remove(found)


def storageattach(box, words):
    takes = ["storagectl", "port", "device", "type", "medium", "mtype", "hotpluggable", "nonrotational", "discard",
             "comment", "setuuid", "tempeject", "forceunmount"]
    vm = box.vm(words[0])
    given, _ = options(words[1:], takes)
    controller = controller_of(vm, given["storagectl"])
    if not controller:
        raise error("Could not find a controller named '%s'" % given["storagectl"])
    if vm["state"] in ALIVE and given.get("type") != "dvddrive":
        raise locked(vm, "LockMachine(a->session, LockType_Shared)", "180 VBoxManageStorageController")
    place = given.get("port", "0"), given.get("device", "0")
    if given["medium"] == "none":
        detach(controller, *place)
    else:
        controller["ports"]["%s-%s" % place] = attached(box, given["medium"], given.get("type"))


def detach(controller, port, device):
    if not controller["ports"].pop("%s-%s" % (port, device), None):
        raise com_error("No storage device attached to device slot %s on port %s of controller '%s'" % (
            device, port, controller["name"]), "VBOX_E_OBJECT_NOT_FOUND", "SessionMachine", True,
            "DetachDevice(Bstr(pszCtl).raw(), port, device)", "413 VBoxManageStorageController")


def attached(box, medium, kind):
    kind = "dvd" if kind == "dvddrive" else "hdd"
    try:
        return {"path": medium if medium == "emptydrive" else opened(box, medium, kind)["path"], "kind": kind}
    except Failure as failure:
        raise Failure(failure.words + error('Invalid UUID or filename "%s"' % medium).words)


def opened(box, path, kind):
    """A medium that VirtualBox knows from now on."""
    known = box.medium(path)
    if known:
        return known
    if not os.path.exists(path):
        raise open_error("Could not find file for the medium '%s' (VERR_FILE_NOT_FOUND)" % path, "VBOX_E_FILE_ERROR")
    if not os.path.getsize(path):
        raise open_error("Could not get the storage format of the medium '%s' (VERR_NOT_SUPPORTED)" % path,
                         "VBOX_E_IPRT_ERROR")
    form = "RAW" if kind == "dvd" else file_format(path)
    return register(box, path, kind, form, max(1, virtual_size(box, path) >> 20))


def open_error(words, code):
    return com_error(words, code, "Medium", True, "OpenMedium(Bstr(pszFilenameOrUuid).raw(), enmDevType, "
                     "enmAccessMode, fForceNewUuidOnOpen, pMedium.asOutParam())", "197 VBoxManageDisk")


def file_format(path):
    return {"vdi": "VDI", "vhd": "VHD", "qcow2": "QCOW"}.get(path.rpartition(".")[2].lower(), "VMDK")


def virtual_size(box, path):
    return max(os.path.getsize(path), box["sizes"].get(path, 0))


def register(box, path, kind, form, megabytes):
    box["media"].append({"uuid": new_uuid(), "path": path, "kind": kind, "format": form, "size": megabytes})
    return box["media"][-1]


def createmedium(box, words):
    words = words[1:] if words[0] in ("disk", "dvd", "floppy") else words
    takes = ["filename", "size", "sizebyte", "format", "variant", "diffparent", "property"]
    given, _ = options(words, takes)
    path, form = given["filename"], given.get("format", "VDI").upper()
    if os.path.exists(path):
        raise file_there(box, path, form, "create medium", "medium storage unit", "Create", "630")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"# Disk image, empty\n")
    medium = register(box, path, "hdd", form, int(given["size"]))
    box.tell(PROGRESS)
    box.say("Medium created. UUID: %s\n" % medium["uuid"])


def file_there(box, path, form, action, what, function, line_number):
    """That a disk cannot be made, since its file is there."""
    box.tell("0%...VBOX_E_FILE_ERROR\n")
    doing = {"VMDK": "could not create new file"}.get(form, "cannot create image")
    return error("Failed to %s" % action, "Could not create the %s '%s'." % (what, path),
                 "%s: %s '%s' (VERR_ALREADY_EXISTS)" % (form, doing, path),
                 "Details: code VBOX_E_FILE_ERROR (0x80bb0004), component MediumWrap, interface IMedium",
                 'Context: "RTEXITCODE handle%sMedium(HandlerArg*)" at line %s of file VBoxManageDisk.cpp' % (
                     function, line_number))


def convertfromraw(box, words):
    given, (source, path, *size) = options(words, ["format", "variant", "uuid"])
    raw = sys.stdin.buffer.read() if source == "stdin" else contents(box, source, path)
    length = int(size[0]) if size else len(raw)
    create_disk(box, source, path, length)
    with open(path, "wb") as file:
        file.write(raw)
    box["sizes"][path] = length


def contents(box, source, path):
    try:
        with open(source, "rb") as file:
            return file.read()
    except FileNotFoundError:
        box.tell('Converting from raw image file="%s" to file="%s"...\n' % (source, path))
        raise error('Cannot open file "%s": VERR_FILE_NOT_FOUND' % source)


def create_disk(box, source, path, length):
    box.tell('Converting from raw image file="%s" to file="%s"...\n' % (source, path))
    box.tell("Creating dynamic image with size %d bytes (%dMB)...\n" % (length, (length + (1 << 20) - 1) >> 20))
    why = "VERR_ALREADY_EXISTS" if os.path.exists(path) else "" if length else "VERR_INVALID_PARAMETER"
    if why:
        raise error('Cannot create the disk image "%s": %s' % (path, why))


def users(box, medium):
    return [vm for vm in box["vms"] for controller in vm["controllers"] for port in controller["ports"].values()
            if port["path"] == medium["path"]]


def clonemedium(box, words):
    given, (source, path) = options(words[1:] if words[0] in ("disk", "dvd") else words,
                                    ["format", "variant"], ["existing"])
    old = opened(box, source, "hdd")
    form = given.get("format", old["format"]).upper()
    if os.path.exists(path):
        raise file_there(box, path, form, "clone medium", "clone medium", "Clone", "1208")
    with open(old["path"], "rb") as file, open(path, "wb") as copy:
        copy.write(file.read())
    new = register(box, path, "hdd", form, old["size"])
    box.tell(PROGRESS)
    box.say("Clone medium created in format '%s'. UUID: %s\n" % (form, new["uuid"]))


def modifymedium(box, words):
    given, names = options(words, ["resize", "resizebyte", "move", "type", "setlocation"], ["compact"])
    medium = opened(box, names[-1], "hdd")
    if int(given.get("resize", medium["size"])) < medium["size"]:
        box.tell("0%...VBOX_E_NOT_SUPPORTED\n")
        raise error("Failed to resize medium", "Shrinking is not yet supported for medium '%s'" % medium["path"],
                    "Details: code VBOX_E_NOT_SUPPORTED (0x80bb0009), component MediumWrap, interface IMedium",
                    'Context: "RTEXITCODE handleModifyMedium(HandlerArg*)" at line 937 of file VBoxManageDisk.cpp')
    if "resize" in given:
        medium["size"] = int(given["resize"])
        box.tell(PROGRESS)


def closemedium(box, words):
    given, names = options(words, [], ["delete"])
    medium = opened(box, names[-1], names[0] if names[0] == "dvd" else "hdd")
    used = users(box, medium)
    if used and given:
        raise Failure(in_use(
            "Cannot delete storage: medium '%s' is still attached to the following %d virtual machine(s): %s" % (
                medium["path"], len(used), ", ".join(vm["uuid"] for vm in used)),
            "DeleteStorage(pProgress.asOutParam())", "1868").words
            + "VBoxManage: error: Failed to delete medium. Error code VBOX_E_OBJECT_IN_USE\n"
            + still_attached(medium, used).words)
    if used:
        raise still_attached(medium, used)
    box["media"].remove(medium)
    if given:
        os.unlink(medium["path"])
        box.tell(PROGRESS)


def still_attached(medium, used):
    return in_use("Medium '%s' cannot be closed because it is still attached to %d virtual machines" % (
        medium["path"], len(used)), "Close()", "1877")


def in_use(words, context, line_number):
    return com_error(words, "VBOX_E_OBJECT_IN_USE", "Medium", True, context, line_number + " VBoxManageDisk")
