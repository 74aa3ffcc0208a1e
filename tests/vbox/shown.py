"""The commands list and showvminfo."""

import os

from vbox.disks import MAX_PORTS
from vbox.machines import machine_folder
from vbox.power import settle
from vbox.state import ALIVE, NOT_PLAYED, STATES, UsageError, dotted, error, network_name, now, number, options


def list_(box, words):
    long = any(word in ("--long", "-l") for word in words)
    kinds = [word for word in words if not word.startswith("-")]
    if kinds and kinds[0] in NOT_PLAYED:
        raise NotImplementedError
    if not kinds or kinds[0] not in LISTS or (
            kinds[0] == "hostonlynets" and not box.has_hostonlynet):
        raise UsageError('Unknown subcommand "%s".' % "".join(kinds[:1]))
    LISTS[kinds[0]](box, long)


def list_vms(box, long, states=None):
    for vm in box["vms"]:
        settle(box, vm, query=True)
        if states and vm["state"] not in states:
            continue
        if not long:
            box.say('"%s" {%s}\n' % (shown_name(vm), vm["uuid"]))
        else:
            (show_inaccessible if vm["state"] == "inaccessible" else show_long)(box, vm)


def list_running(box, long):
    list_vms(box, long, ALIVE)


def shown_name(vm):
    return "<inaccessible>" if vm["state"] == "inaccessible" else vm["name"]


def list_interfaces(box, long):
    for item in box["hostonlyifs"]:
        box.say(INTERFACE % dict(item, status="Up" if item["up"] else "Down", network=network_name(item["name"]),
                                 ipv6="", bits=0))


INTERFACE = """Name:            %(name)s
GUID:            %(guid)s
DHCP:            Disabled
IPAddress:       %(ip)s
NetworkMask:     %(netmask)s
IPV6Address:     %(ipv6)s
IPV6NetworkMaskPrefixLength: %(bits)d
HardwareAddress: %(mac)s
MediumType:      Ethernet
Wireless:        No
Status:          %(status)s
VBoxNetworkName: %(network)s

"""


def list_bridged(box, long):
    box.say(INTERFACE % {
        "name": "eth0", "guid": "effffff9-7b97-44b7-8000-02fc00000001", "ip": "192.0.2.2", "netmask": "255.255.255.0",
        "ipv6": "fd00::2", "bits": 64, "mac": "02:fc:00:00:00:01", "status": "Up", "network": network_name("eth0")})


def list_hostonlynets(box, long):
    for net in box["hostonlynets"]:
        box.say("Name:            %s\nGUID:            %s\n\n" % (net["name"], net["guid"]))
        box.say("State:           %s\n" % ("Enabled" if net["enabled"] else "Disabled"))
        box.say("NetworkMask:     %(netmask)s\nLowerIP:         %(lower)s\nUpperIP:         %(upper)s\n" % net)
        box.say("VBoxNetworkName: hostonly-%s\n\n" % net["name"])


def list_servers(box, long):
    if box.version < (6, 1):
        for server in box["dhcpservers"]:
            box.say(OLD_SERVER % dict(server, yes="Yes" if server["enabled"] else "No"))
        return
    for index, server in enumerate(box["dhcpservers"]):
        box.say("\n" if index else "")
        box.say(SERVER % dict(server, yes="Yes" if server["enabled"] else "No"))


SERVER = """NetworkName:    %(network)s
Dhcpd IP:       %(ip)s
LowerIPAddress: %(lower)s
UpperIPAddress: %(upper)s
NetworkMask:    %(netmask)s
Enabled:        %(yes)s
Global Configuration:
    minLeaseTime:     default
    defaultLeaseTime: default
    maxLeaseTime:     default
    Forced options:   None
    Suppressed opts.: None
        1/legacy: %(netmask)s
Groups:               None
Individual Configs:   None
"""


OLD_SERVER = """NetworkName:    %(network)s
IP:             %(ip)s
NetworkMask:    %(netmask)s
lowerIPAddress: %(lower)s
upperIPAddress: %(upper)s
Enabled:        %(yes)s

"""


def list_natnetworks(box, long):
    for net in box["natnetworks"]:
        box.say(NATNETWORK % dict(net, yes="Yes" if net["dhcp"] else "No",
                                  gateway=dotted(number(net["network"].partition("/")[0]) + 1)))


NATNETWORK = """Name:         %(name)s
Network:      %(network)s
Gateway:      %(gateway)s
DHCP Server:  %(yes)s
IPv6:         No
IPv6 Prefix:  fd17:625c:f037:2::/64
IPv6 Default: No

"""


def list_disks(box, long):
    list_media(box, "hdd")


def list_dvds(box, long):
    list_media(box, "dvd")


def list_media(box, kind):
    for item in box["media"]:
        if item["kind"] == kind:
            box.say("UUID:           %s\n" % item["uuid"])
            box.say("Parent UUID:    base\n" if kind == "hdd" else "")
            box.say("State:          created\n")
            box.say("Type:           %s\n" % ("normal (base)" if kind == "hdd" else "readonly"))
            box.say("Location:       %s\nStorage format: %s\n" % (item["path"], item["format"]))
            box.say("Capacity:       %d MBytes\nEncryption:     disabled\n\n" % item["size"])


def list_properties(box, long):
    box.say("API version:                     %d_%d\n" % box.version[:2])
    box.say("Default machine folder:          %s\n" % machine_folder(box))
    box.say("Exclusive HW virtualization use: on\nDefault hard disk format:        VDI\n")


def list_hostinfo(box, long):
    yes, count = ("yes", 2) if box["hw_virtualization"] else ("no", 0)
    box.say("Host Information:\n\nHost time: %sZ\n" % now())
    box.say("Processor online count: %d\nProcessor count: %d\n" % (count, count))
    box.say("Processor supports HW virtualization: %s\n" % yes)
    box.say("Processor supports long mode: yes\nProcessor supports nested paging: %s\n" % yes)
    box.say("Memory size: 16000 MByte\nMemory available: 12000 MByte\nOperating system: %s\n" % {
        "linux": "Linux", "darwin": "Darwin", "windows": "Windows 10"}[box["platform"]])


def list_ostypes(box, long):
    box.say("Supported guest OS types:\n\n")
    for name, words, family in (("Linux26_64", "Linux 2.6 / 3.x / 4.x / 5.x (64-bit)", "Linux (Linux)"),
                                ("Debian_64", "Debian (64-bit)", "Linux (Linux)"),
                                ("Other_64", "Other/Unknown (64-bit)", "Other (Other)")):
        box.say("ID / Description: %s -- %s\nFamily:           %s\nArchitecture:     x86 (64-bit)\n\n" % (
            name, words, family))


def list_nothing(box, long):
    pass


LISTS = {"vms": list_vms, "runningvms": list_running, "hostonlyifs": list_interfaces, "bridgedifs": list_bridged,
         "hostonlynets": list_hostonlynets, "dhcpservers": list_servers, "hdds": list_disks, "dvds": list_dvds,
         "systemproperties": list_properties, "hostinfo": list_hostinfo, "ostypes": list_ostypes,
         "natnetworks": list_natnetworks, "natnets": list_nothing, "extpacks": list_nothing}


def showvminfo(box, words):
    _, names = options(words, ["log", "password", "password-id"], ["machinereadable", "details"])
    vm = box.accessible(names[0], "FindMachine(Bstr(VMNameOrUuid).raw(), machine.asOutParam())",
                        "3248 VBoxManageInfo", lock="3328 VBoxManageInfo")
    settle(box, vm, query=True)
    if "--machinereadable" in words:
        show_machine_readable(box, vm)
    else:
        show_long(box, vm)


OSTYPES = {"Linux26_64": "Linux 2.6 / 3.x / 4.x / 5.x (64-bit)", "Linux_64": "Linux 2.6 / 3.x / 4.x / 5.x (64-bit)",
           "Debian_64": "Debian (64-bit)", "Other": "Other/Unknown", "Other_64": "Other/Unknown (64-bit)"}
# What of modifyvm's options shows: (option, key for people, what it is before); the machine-readable key is the option.
SHOWN = [("memory", "Memory size", "1024"), ("vram", "VRAM size", "8"), ("chipset", "Chipset", "piix3"),
         ("firmware", "Firmware", "BIOS"), ("cpus", "Number of CPUs", "1"), ("hpet", "HPET", "off"),
         ("pae", "PAE", "on"), ("longmode", "Long Mode", "on"), ("hwvirtex", "Hardware Virtualization", "on"),
         ("nestedpaging", "Nested Paging", "on"), ("largepages", "Large Pages", "off"), ("vtxvpid", "VT-x VPID", "on"),
         ("boot1", "Boot Device 1", "floppy"), ("boot2", "Boot Device 2", "dvd"), ("boot3", "Boot Device 3", "disk"),
         ("boot4", "Boot Device 4", "none"), ("acpi", "ACPI", "on"), ("ioapic", "IOAPIC", "on")]
BARE = ("memory", "vram", "cpus")  # numbers have no quotes
BOOT = {"floppy": "Floppy", "dvd": "DVD", "disk": "HardDisk", "none": "Not Assigned", "net": "Network"}


def option_shown(vm, name, usual):
    value = vm["options"].get(name, usual)
    return value.upper() if name == "firmware" else value


def in_words(option, value):
    if option in ("memory", "vram"):
        return value + "MB"
    if option.startswith("boot"):
        return BOOT[value]
    return {"on": "enabled", "off": "disabled"}.get(value, value)


def show_machine_readable(box, vm):
    folder = os.path.dirname(vm["settings"])
    rows = [("name", vm["name"])] + [("encryption", "disabled")] * (box.version >= (7, 0)) + [("groups", "/")]
    rows += [("platformArchitecture", "x86")] * (box.version >= (7, 1))
    rows += [("ostype", OSTYPES.get(vm["ostype"], vm["ostype"])), ("UUID", vm["uuid"]), ("CfgFile", vm["settings"]),
             ("SnapFldr", folder + "/Snapshots"), ("LogFldr", folder + "/Logs"), ("hardwareuuid", vm["uuid"])]
    rows += [(option, option_shown(vm, option, usual)) for option, _, usual in SHOWN]
    rows += [("VMState", vm["state"]), ("VMStateChangeTime", vm["since"])]
    if "saved" in vm["state"]:
        rows.append(("VMStateFile", folder + "/Snapshots/2026-01-01T00-00-00-000000000Z.sav"))
    box.say("".join("%s=%s\n" % (key, value if key in BARE else quoted(value)) for key, value in rows))
    readable_devices(box, vm)


def quoted(value):
    return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')


def readable_devices(box, vm):
    readable_controllers(box, vm)
    for index in range(1, 9):
        readable_nic(box, vm, index, vm["nics"].get(str(index), {"kind": "none"}))
    for index, (name, path, _) in enumerate(vm["folders"], 1):
        box.say('SharedFolderNameMachineMapping%d="%s"\n' % (index, name))
        box.say('SharedFolderPathMachineMapping%d="%s"\n' % (index, path))
    if vm["state"] in ALIVE:
        box.say('SessionName="%s"\n' % vm.get("session", "headless"))
    box.say("GuestMemoryBalloon=0\n")


CONTROLLER_TYPES = {"sata": "IntelAhci", "ide": "PIIX4", "scsi": "LsiLogic", "sas": "LSILogicSAS", "pcie": "NVMe"}


def readable_controllers(box, vm):
    for index, controller in enumerate(vm["controllers"]):
        count = controller["count"]
        kind, most = CONTROLLER_TYPES.get(controller["bus"], ""), MAX_PORTS.get(controller["bus"], 1)
        for key, value in (("name", controller["name"]), ("type", kind), ("instance", "0"), ("maxportcount", most),
                           ("portcount", count), ("bootable", "on")):
            box.say('storagecontroller%s%d="%s"\n' % (key, index, value))
    for controller in vm["controllers"]:
        devices = 2 if controller["bus"] == "ide" else 1
        for place in ["%d-%d" % (port, device) for port in range(controller["count"]) for device in range(devices)]:
            readable_port(box, controller, place)


def readable_port(box, controller, place):
    port, name = controller["ports"].get(place), controller["name"]
    path = port["path"] if port else "none"
    box.say('"%s-%s"=%s\n' % (name, place, quoted(path) if box.version >= (7, 0) else '"%s"' % path))
    medium = box.medium(path)
    if medium:
        box.say('"%s-ImageUUID-%s"="%s"\n' % (name, place, medium["uuid"]))
    end = "-" + place if box.version >= (7, 0) else ""
    if medium and port["kind"] == "dvd":
        box.say('"%s-tempeject%s"="off"\n' % (name, end))
    if port and port["kind"] == "dvd":
        box.say('"%s-IsEjected%s"="off"\n' % (name, end))
    for key in ("hot-pluggable", "nonrotational", "discard") if medium and box.version >= (7, 0) else ():
        box.say('"%s-%s-%s"="off"\n' % (name, key, place))


NIC_NAME = {"hostonly": "hostonlyadapter", "hostonlynet": "hostonly-network", "bridged": "bridgeadapter",
            "intnet": "intnet", "natnetwork": "nat-network"}


def readable_nic(box, vm, index, nic):
    if nic["kind"] == "none":
        box.say('nic%d="none"\n' % index)
        return
    if nic["kind"] == "nat":
        box.say('natnet%d="nat"\n' % index)
    else:
        box.say('%s%d="%s"\n' % (NIC_NAME.get(nic["kind"], nic["kind"]), index, nic["adapter"]))
    kind = "hostonlynetwork" if nic["kind"] == "hostonlynet" else nic["kind"]
    box.say('macaddress%d="%s"\ncableconnected%d="%s"\nnic%d="%s"\nnictype%d="%s"\nnicspeed%d="0"\n' % (
        index, nic["mac"], index, nic["cable"], index, kind, index, nic["type"], index))
    if nic["kind"] == "nat":
        box.say('mtu="0"\nsockSnd="64"\nsockRcv="64"\ntcpWndSnd="64"\ntcpWndRcv="64"\n')
        box.say('localhostReachable="0"\nforwardBroadcast="0"\nenableTFTP="0"\n' if box.version >= (7, 0) else "")
        for at, rule in enumerate(vm["rules"]):
            box.say('Forwarding(%d)="%s"\n' % (at, rule))


def line(box, key, value):
    box.say("%-28s %s\n" % (key + ":", value))


def show_inaccessible(box, vm):
    box.say("Name:            <inaccessible!>\nUUID:            %(uuid)s\nConfig file:     %(settings)s\n" % vm)
    box.say("Encryption:     disabled\n" if box.version >= (7, 0) else "")
    box.say("Access error details:\n\n")
    box.tell(error(
        "Runtime error opening '%s' for reading VERR_FILE_NOT_FOUND (File not found.)." % vm["settings"],
        "SOURCE/src/VBox/Main/src-server/MachineImpl.cpp[999] (nsresult Machine::i_registeredInit())",
        "Details: code NS_ERROR_FAILURE (0x80004005), component MachineWrap, interface IMachine").words)


def show_long(box, vm):
    folder = os.path.dirname(vm["settings"])
    rows = [("Name", vm["name"])] + [("Encryption", "disabled")] * (box.version >= (7, 0)) + [("Groups", "/")]
    rows += [("Platform Architecture", "x86")] * (box.version >= (7, 1))
    rows += [("Guest OS", OSTYPES.get(vm["ostype"], vm["ostype"])), ("UUID", vm["uuid"]),
             ("Config file", vm["settings"]), ("Snapshot folder", folder + "/Snapshots"),
             ("Log folder", folder + "/Logs"), ("Hardware UUID", vm["uuid"])]
    for key, value in rows:
        line(box, key, value)
    for option, key, usual in SHOWN:
        line(box, key, in_words(option, option_shown(vm, option, usual)))
    line(box, "State", "%s (since %s)" % (STATES.get(vm["state"], vm["state"]), vm["since"]))
    long_controllers(box, vm)
    for index in range(1, 9):
        long_nic(box, vm, index, vm["nics"].get(str(index), {"kind": "none"}))
    long_folders(box, vm)
    box.say("* Guest:\n")
    line(box, "Configured memory balloon", "0MB")
    box.say("\n")


def long_controllers(box, vm):
    if box.version < (7, 0):
        return old_long_controllers(box, vm)
    line(box, "Storage Controllers", "<none>") if not vm["controllers"] else box.say("Storage Controllers:\n")
    for index, controller in enumerate(vm["controllers"]):
        box.say("#%d: '%s', Type: %s, Instance: 0, Ports: %d (max %d), Bootable\n" % (
            index, controller["name"], CONTROLLER_TYPES.get(controller["bus"], ""), controller["count"],
            MAX_PORTS.get(controller["bus"], 1)))
        for place, port in sorted(controller["ports"].items()):
            medium = box.medium(port["path"])
            box.say("  Port %s, Unit %s: " % tuple(place.split("-")))
            box.say("UUID: %(uuid)s\n    Location: \"%(path)s\"\n" % medium if medium else "Empty\n")
    return None


def old_long_controllers(box, vm):
    for index, controller in enumerate(vm["controllers"]):
        box.say("Storage Controller Name (%d):            %s\n" % (index, controller["name"]))
        box.say("Storage Controller Type (%d):            %s\n" % (
            index, CONTROLLER_TYPES.get(controller["bus"], "")))
    for controller in vm["controllers"]:
        for place, port in sorted(controller["ports"].items()):
            medium = box.medium(port["path"])
            box.say("%s (%s): %s\n" % (controller["name"], place.replace("-", ", "),
                                       "%(path)s (UUID: %(uuid)s)" % medium if medium else "Empty"))


ATTACHMENTS = {"nat": "NAT", "hostonly": "Host-only Interface '%s'", "bridged": "Bridged Interface '%s'",
               "hostonlynet": "Host Only Network '%s'", "natnetwork": "NAT Network '%s'",
               "intnet": "Internal Network '%s'"}


def long_nic(box, vm, index, nic):
    if nic["kind"] == "none":
        line(box, "NIC %d" % index, "disabled")
        return
    attached = ATTACHMENTS.get(nic["kind"], nic["kind"])
    line(box, "NIC %d" % index, (
        "MAC: %s, Attachment: %s, Cable connected: %s, Trace: off (file: none), Type: %s, Reported speed: 0 Mbps, "
        "Boot priority: 0, Promisc Policy: %s, Bandwidth group: none") % (
            nic["mac"], attached % nic["adapter"] if "%s" in attached else attached, nic["cable"], nic["type"],
            nic["promisc"]))
    if nic["kind"] == "nat":
        box.say("NIC %d Settings:\n\tMTU: 0, Socket (send: 64, receive: 64), TCP Window (send:64, receive: 64),\n"
                "\tLocalhostReachable: 0, ForwardBroadcast: 0, EnableTFTP: 0\n" % index)
        for at, rule in enumerate(vm["rules"]):
            box.say("NIC %d Rule(%d):   name = %s, protocol = %s, host ip = %s, host port = %s, guest ip = %s, "
                    "guest port = %s\n" % ((index, at) + tuple(rule.split(","))))


def long_folders(box, vm):
    line(box, "Shared folders", "" if vm["folders"] else "<none>")
    box.say("\n" if vm["folders"] else "")
    for name, path, automount in vm["folders"]:
        box.say("Name: '%s', Host path: '%s' (machine mapping), writable%s\n" % (
            name, path, ", auto-mount" if automount else ""))
    box.say("\n" if vm["folders"] else "")
