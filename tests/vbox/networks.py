"""The commands about host-only networks, DHCP servers and NAT networks."""

import os
import time

from vbox.failures import FAILURES
from vbox.power import is_up
from vbox.state import (
    PROGRESS,
    Failure,
    UsageError,
    bare_error,
    com_error,
    error,
    network_name,
    new_uuid,
    number,
    options,
)


def hostonlyif(box, words):
    commands = {"create": create_interface, "ipconfig": configure_interface, "remove": remove_interface}
    if words[0] not in commands:
        raise UsageError("Unknown sub-command '%s'" % words[0])
    commands[words[0]](box, words[1:])


def create_interface(box, words):
    if box.has_hostonlynet or not box["vboxdrv"]:
        raise Failure(FAILURES["no-vboxnetctl"])
    taken = {item["name"] for item in box["hostonlyifs"]}
    index, name = next((index, name) for index, name in enumerate(interface_names(box)) if name not in taken)
    tail = os.urandom(6).hex()
    box["hostonlyifs"].append({
        "name": name, "ip": "192.168.%d.1" % (56 + index), "netmask": "255.255.255.0", "up": False,
        "guid": "f00001ee-dae8-4abf-8000-" + tail, "mac": ":".join(tail[at:at + 2] for at in range(0, 12, 2))})
    box.tell(PROGRESS)
    box.say("Interface '%s' was successfully created\n" % name)


def interface_names(box):
    if box["platform"] != "windows":
        return ["vboxnet%d" % index for index in range(128)]
    first = "VirtualBox Host-Only Ethernet Adapter"
    return [first] + ["%s #%d" % (first, index) for index in range(2, 128)]


def interface(box, name, place):
    found = box.find("hostonlyifs", "name", name)
    if not found:
        raise com_error("The host network interface named '%s' could not be found" % name, "NS_ERROR_INVALID_ARG",
                        "Host", True, "FindHostNetworkInterfaceByName(Bstr(pszName).raw(), hif.asOutParam())",
                        place + " VBoxManageHostonly")
    return found


def configure_interface(box, words):
    given, (name,) = options(words, ["ip", "netmask", "ipv6", "netmasklengthv6"], ["dhcp"])
    found = interface(box, name, "242")
    if not set(given) & {"ip", "dhcp", "ipv6"}:
        raise UsageError("Neither -dhcp nor -ip nor -ipv6 was specfified")
    if "ip" in given and not is_allowed(box, given["ip"]):
        raise bare_error("E_ACCESSDENIED", "Access denied",
                         "EnableStaticIPConfig(Bstr(pszIp).raw(), Bstr(pszNetmask).raw())", "252 VBoxManageHostonly")
    if "ip" in given:
        found.update(ip=given["ip"], netmask=given.get("netmask", "255.255.255.0"), up=True)


def is_allowed(box, address):
    if box.version < (6, 1, 28) or box["platform"] == "windows":
        return True
    for network in box["allowed"]:
        base, _, length = network.partition("/")
        shift = 32 - int(length)
        if number(base) >> shift == number(address) >> shift:
            return True
    return False


def remove_interface(box, words):
    box["hostonlyifs"].remove(interface(box, words[0], "150"))
    box.tell(PROGRESS)


def hostonlynet(box, words):
    if not box.has_hostonlynet:
        raise UsageError("Invalid command 'hostonlynet'")
    action, words = words[0], words[1:]
    given, _ = options(words, ["name", "id", "netmask", "lower-ip lowerip", "upper-ip upperip"],
                       ["enable", "disable"])
    for option in ("name", "netmask", "lower-ip", "upper-ip") if action == "add" else ():
        if option not in given:
            raise UsageError("The --%s parameter must be specified" % option)
    net = box.find("hostonlynets", "name", given["name"]) if "name" in given else box.find(
        "hostonlynets", "guid", given["id"])
    if action == "add" and not net:
        net = {"name": given["name"], "guid": new_uuid(), "enabled": True, "netmask": "", "lower": "", "upper": ""}
        box["hostonlynets"].append(net)
    if not net:
        raise com_error("Could not find host-only network '%s'" % given.get("name"), "VBOX_E_OBJECT_NOT_FOUND",
                        "VirtualBox", True, "FindHostOnlyNetworkByName(Bstr(strNetworkName).raw(),"
                        " hostOnlyNetwork.asOutParam())", "250 VBoxManageHostonly")
    if action == "remove":
        box["hostonlynets"].remove(net)
    change(net, given, {"netmask": "netmask", "lower-ip": "lower", "upper-ip": "upper"})


def change(kept, given, names):
    kept.update({names[name]: value for name, value in given.items() if name in names})
    if given.get("enable") or given.get("disable"):
        kept["enabled"] = bool(given.get("enable"))


SERVER_KEYS = {"server-ip": "ip", "lower-ip": "lower", "upper-ip": "upper", "netmask": "netmask"}


def dhcpserver(box, words):
    given, _ = options(words[1:], [
        "network netname", "interface ifname", "server-ip ip", "netmask", "lower-ip lowerip", "upper-ip upperip",
        "mac-address"], ["enable", "disable", "global"])
    if not set(given) & {"network", "interface"}:
        raise UsageError("You need to specify either --network or --interface to identify the DHCP server")
    if "interface" in given and not box.find("hostonlyifs", "name", given["interface"]):
        raise no_interface(given["interface"], words[0])
    name = given.get("network") or network_name(given["interface"])
    server = box.find("dhcpservers", "network", name)
    if words[0] == "add":
        add_server(box, name, server, given)
    elif not server and words[0] == "modify":
        raise error("DHCP server does not exist", rc=2)
    elif not server:
        raise error("Failed to find DHCP server for network '%s'" % name)
    elif words[0] == "modify":
        change(server, given, SERVER_KEYS)
    elif words[0] == "remove":
        box["dhcpservers"].remove(server)
    elif words[0] == "findlease":
        find_lease(box, given["mac-address"], name)
    elif words[0] not in ("start", "stop", "restart"):
        raise UsageError("Invalid parameter '%s'" % words[0])


def add_server(box, name, server, given):
    for option, old in (("server-ip", "ip"), ("netmask",) * 2, ("lower-ip", "lowerip"), ("upper-ip", "upperip")):
        if option not in given:
            raise UsageError("Missing required option: --%s" % old)
    if server:
        raise error("DHCP server already exists", rc=2)
    server = {"network": name, "enabled": False}
    change(server, given, SERVER_KEYS)
    box["dhcpservers"].append(server)


def no_interface(name, action):
    asked = ("Bstr(pCtx->pszInterface).mutableRaw(), hif" if action in ("add", "modify")
             else "bstrInterface.raw(), ptrIHostIf")
    last = "Could not find interface" if action in ("add", "modify") else "Failed to locate host-only interface"
    failure = com_error("The host network interface named '%s' could not be found" % name, "NS_ERROR_INVALID_ARG",
                        "Host", True, "FindHostNetworkInterfaceByName(%s.asOutParam())" % asked,
                        "187 VBoxManageDHCPServer")
    return Failure(failure.words + "VBoxManage: error: %s '%s'\n" % (last, name),
                   2 if action in ("add", "modify") else 1)


def find_lease(box, mac, network):
    plain = mac.replace(":", "").lower()
    shown = ":".join(plain[at:at + 2] for at in range(0, 12, 2))
    address, issued = lease_of(box, plain.upper(), shown, network)
    state = "acked" if time.time() < issued + LEASE else "expired"
    box.say("IP Address:  %s\nMAC Address: %s\nState:       %s\n" % (address, shown, state))
    for label, moment in (("Issued", issued), ("Expire", issued + LEASE)):
        box.say("%s:      %s (%d)\n" % (label, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)), moment))
    box.say("TTL:         %d sec, currently %d sec left\n" % (LEASE, max(0, issued + LEASE - time.time())))


def lease_of(box, mac, shown, network):
    file = os.path.join(box.folder, network + "-Dhcpd.leases")
    failure = "Could not find a lease for " + shown, "VBOX_E_OBJECT_NOT_FOUND"
    known = [lease for lease in box["leases"].values() if lease[2] == network]
    if not known:
        failure = ("Reading '%s' failed: VERR_FILE_NOT_FOUND - Runtime error opening '%s' for reading "
                   "VERR_FILE_NOT_FOUND (File not found.)" % (file, file), "VBOX_E_FILE_ERROR")
    running = [vm for vm in box["vms"] for nic in vm["nics"].values() if nic["mac"] == mac]
    lease = box["leases"].get(mac)
    if not lease or lease not in known or (running and running[0]["state"] == "running" and not is_up(
            box, running[0])):
        raise com_error(failure[0], failure[1], "DHCPServer", True,
                        "FindLeaseByMAC(Bstr(szMac).raw(), 0 , bstrAddress.asOutParam(), "
                        "bstrState.asOutParam(), &secIssued, &secExpire)", "1252 VBoxManageDHCPServer")
    return lease[:2]


LEASE = 600  # seconds


def natnetwork(box, words):
    given, _ = options(words[1:], ["netname", "network", "dhcp", "ipv6"], ["enable", "disable"])
    if words[0] == "add":
        box["natnetworks"].append({"name": given["netname"], "network": given["network"],
                                   "dhcp": given.get("dhcp", "off") == "on"})
    elif words[0] == "remove":
        box["natnetworks"].remove(box.find("natnetworks", "name", given["netname"]))
    else:
        raise NotImplementedError
