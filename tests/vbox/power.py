"""The commands that start and stop a virtual machine, and what its guest tells."""

import time

from vbox.failures import FAILURES
from vbox.machines import add_rule, delete_rule
from vbox.state import (
    ALIVE,
    PROGRESS,
    STATES,
    Failure,
    UsageError,
    com_error,
    dotted,
    error,
    network_name,
    now,
    number,
    options,
)


def startvm(box, words):
    given, names = options(words, ["type", "putenv E", "password", "password-id"])
    find, place = "FindMachine(Bstr(pszVM).raw(), machine.asOutParam())", "907 VBoxManageMisc"
    for name in names:
        vm = box.accessible(name, find, place, context=LAUNCH, lock="920 VBoxManageMisc")
        if given.get("type") == "emergencystop":
            set_state(vm, "aborted" if vm["state"] in ALIVE else vm["state"])
            continue
        kind = given.get("type", "gui")
        if kind not in ("gui", "headless", "sdl", "separate"):
            raise launch_error("Invalid frontend name: '%s'" % kind, "NS_ERROR_INVALID_ARG")
        if vm["state"] in ALIVE:
            raise launch_error("The machine '%s' is already locked by a session (or being locked or unlocked)"
                               % vm["name"], "VBOX_E_INVALID_OBJECT_STATE")
        box.say('Waiting for VM "%s" to power on...\n' % name)
        refuse(box, vm)
        start(box, vm, kind)
        box.say('VM "%s" has been successfully started.\n' % name)


LAUNCH = "LaunchVMProcess(a->session, sessionType.raw(), ComSafeArrayAsInParam(aBstrEnv), progress.asOutParam())"


def launch_error(words, code):
    return com_error(words, code, "Machine", True, LAUNCH, "920 VBoxManageMisc")


def refuse(box, vm):
    """What keeps a VM from starting."""
    if not box["vboxdrv"]:
        raise Failure(FAILURES["no-driver"] % vm)
    for nic in vm["nics"].values():
        if nic["kind"] == "hostonly" and box.has_hostonlynet:
            raise Failure(FAILURES["no-adapters"] % nic)
        if nic["kind"] == "hostonly" and not box.find("hostonlyifs", "name", nic["adapter"]):
            raise Failure(FAILURES["no-interface"] % nic)


def start(box, vm, kind):
    set_state(vm, "running")
    vm.update(session=kind, queries=0)
    vm.pop("stopping", None)
    for _, nic in sorted(vm["nics"].items()):
        nic["address"] = guest_address(box, vm, nic)
        if nic["kind"] == "hostonly" and nic["address"] and box["guest"]["lease"]:
            box["leases"][nic["mac"]] = [nic["address"], int(time.time()), network_name(nic["adapter"])]


def guest_address(box, vm, nic):
    if nic["kind"] not in ("hostonly", "hostonlynet"):
        return "10.0.2.15" if nic["kind"] == "nat" else None
    address = box["guest"]["address"]
    if address:
        return address.get(vm["name"]) if isinstance(address, dict) else address
    lower, upper = address_range(box, nic)
    if nic["mac"] in box["leases"]:
        return box["leases"][nic["mac"]][0]
    taken = {lease[0] for lease in box["leases"].values()}
    return next((dotted(value) for value in range(lower, upper + 1) if dotted(value) not in taken), None)


def address_range(box, nic):
    """The first and last address that DHCP gives in the network of a NIC; none without a DHCP server."""
    net = box.find("hostonlynets", "name", nic["adapter"]) if nic["kind"] == "hostonlynet" else None
    server = net or box.find("dhcpservers", "network", network_name(nic["adapter"]))
    if not server or not server["enabled"]:
        return 1, 0
    return number(server["lower"]) + (server is net), number(server["upper"])  # the host itself has the first


# What VirtualBox said to others, for VirtualBox.fail() in virtualbox.py; with the VM or NIC as values.
def set_state(vm, state):
    if vm["state"] != state:
        vm.update(state=state, since=now())


def controlvm(box, words):
    vm = box.accessible(words[0], "FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())",
                        "363 VBoxManageControlVM", lock="369 VBoxManageControlVM")
    settle(box, vm)
    if vm["state"] not in ALIVE:
        raise error("Machine '%s' is not currently running." % words[0])
    action = words[1].rstrip("0123456789")
    if action not in CONTROLS:
        raise UsageError("Invalid parameter '%s'" % words[1])
    CONTROLS[action](box, vm, words[2:])


def machine_state(vm):
    """The state as errors have it."""
    return {"poweroff": "PoweredOff", "aborted-saved": "Aborted-Saved"}.get(
        vm["state"], STATES.get(vm["state"], vm["state"]).title().replace(" ", ""))


def in_state(vm, states, context, place):
    if vm["state"] not in states:
        raise com_error("Invalid machine state: %s" % machine_state(vm),
                        "VBOX_E_INVALID_VM_STATE", "Console", True, context, place)


def press_power_button(box, vm, words):
    in_state(vm, ("running",), "PowerButton()", "716 VBoxManageControlVM")
    wait = box["shutdown"]
    if "after" in wait and wait["after"] is not None:
        vm["stopping"] = {"queries": wait["after"]}
    elif wait.get("seconds") is not None:
        vm["stopping"] = {"until": time.time() + wait["seconds"]}


def settle(box, vm, query=False):
    """Let a guest that was asked to power off do so, when its time has come."""
    stopping = vm.get("stopping")
    if not stopping:
        return
    if stopping.get("until", time.time() + 1) <= time.time() or stopping.get("queries", 1) <= 0:
        vm.pop("stopping")
        stop(vm)
    elif query and "queries" in stopping:
        stopping["queries"] -= 1


def stop(vm, state="poweroff"):
    set_state(vm, state)
    vm["properties"] = {key: value for key, value in vm["properties"].items() if "/GuestInfo/" not in key}


def power_off(box, vm, words):
    stop(vm)
    box.tell(PROGRESS)


def save_state(box, vm, words):
    in_state(vm, ("running", "paused"), "SaveState(progress.asOutParam())", "620 VBoxManageControlVM")
    stop(vm, "saved")
    box.tell(PROGRESS)


def pause(box, vm, words):
    in_state(vm, ("running",), "Pause()", "520 VBoxManageControlVM")
    set_state(vm, "paused")


def resume(box, vm, words):
    in_state(vm, ("paused",), "Resume()", "535 VBoxManageControlVM")
    set_state(vm, "running")


def reset(box, vm, words):
    in_state(vm, ("running", "paused"), "Reset()", "525 VBoxManageControlVM")


def forward(box, vm, words):
    if words[0] == "delete":
        delete_rule(vm, words[1], "RemoveRedirect(Bstr(a->argv[3]).raw())", "1085 VBoxManageControlVM")
    else:
        add_rule(vm, words[0], "1078 VBoxManageControlVM")


CONTROLS = {"acpipowerbutton": press_power_button, "poweroff": power_off, "savestate": save_state, "pause": pause,
            "resume": resume, "reset": reset, "natpf": forward}


def discardstate(box, words):
    vm = box.vm(words[0], place="1280 VBoxManageMisc")
    if vm["state"] not in ("saved", "aborted-saved"):
        raise Failure(com_error(
            "Cannot discard the saved state as the machine is not in the Saved or Aborted-Saved state (machine state: "
            "%s)" % machine_state(vm), "VBOX_E_INVALID_VM_STATE", "SessionMachine", True,
            "DiscardSavedState(true )", "1292 VBoxManageMisc").words, 0)  # rc 0, as the real one
    stop(vm)


def guestproperty(box, words):
    vm = box.accessible(words[1], "FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())",
                        "77 VBoxManageGuestProp", lock="82 VBoxManageGuestProp")
    settle(box, vm)
    show_guest(box, vm)
    if words[0] == "get":
        value = vm["properties"].get(words[2])
        box.say("No value set!\n" if value is None else "Value: %s\n" % value)
    elif words[0] in ("set", "unset", "delete"):
        vm["properties"].pop(words[2], None)
        vm["properties"].update({words[2]: words[3]} if len(words) > 3 else {})
    elif words[0] in ("enumerate", "enum"):
        box.say(property_lines(box, sorted(vm["properties"].items())) or "No properties found.\n")
    elif words[0] == "wait":
        raise NotImplementedError
    else:
        raise UsageError("Unknown subcommand: %s" % words[0])


def property_lines(box, properties):
    if box.version < (7, 0):
        return "".join("Name: %s, value: %s, timestamp: %d, flags: \n" % (key, value, time.time() * 1e9)
                       for key, value in properties)
    names = max([1] + [len(key) for key, _ in properties])
    values = max([1] + [len(value) for _, value in properties])
    return "".join("%s @ %sZ\n" % (("%s = '%s'" % (key.ljust(names), value)).ljust(names + values + 5), now()[:23])
                   for key, value in properties)


def is_up(box, vm):
    """Whether the guest has its addresses, once it has been asked for them often enough."""
    if vm["state"] != "running":
        return False
    vm["queries"] += 1
    return vm["queries"] > box["guest"]["ip_after"]


def show_guest(box, vm):
    """What Guest Additions tell."""
    if not box["guest"]["additions"] or not is_up(box, vm):
        return
    for position, (_, nic) in enumerate(sorted(vm["nics"].items())):
        if nic.get("address"):
            prefix = "/VirtualBox/GuestInfo/Net/%d/" % position
            vm["properties"].update({prefix + "V4/IP": nic["address"], prefix + "MAC": nic["mac"]})
