# SPDX-License-Identifier: Apache-2.0
"""Virtual machines of VMware vSphere (vCenter or a single ESXi), by VMware's own program govc.

govc gets its login by its environment alone. The keys of its JSON have changed their case twice,
and its newer releases leave out what is empty: keys are compared in lower case, and may be missing.
"""

import os

from docker_machine import (
    ERROR,
    RUNNING,
    SAVED,
    STOPPED,
    CloudDriver,
    Finding,
    Flag,
    Instance,
    MachineError,
    RestError,
    Scratch,
    UsageError,
    cached_image,
    format_me,
    host_name,
    image_kind,
    json_text,
    need,
    need_space,
    out,
    parse_json,
    plain_words,
    read_text,
    run,
    seed_iso,
    wait_for,
    write_atomic,
)

IMAGE = ("https://cloud-images.ubuntu.com/releases/24.04/release/"
         "ubuntu-24.04-server-cloudimg-amd64.vmdk")
STATES = {"poweredoff": STOPPED, "poweredon": RUNNING, "suspended": SAVED}
POWER = {"start": ("-on",), "stop": ("-s",), "kill": ("-off", "-force"), "restart": ("-r",)}
# What a name can stand for: its flag, its field, and its type in `govc find`.
PLACES = {"datacenter": ("datacenter", "Datacenter", "d"), "folder": ("folder", "Folder", "f"),
          "datastore": ("datastore", "Datastore", "s"), "host": ("hostsystem", "HostSystem", "h"),
          "datastore cluster": ("datastore-cluster", "DatastoreCluster", "StoragePod"),
          "pool": ("pool", "Pool", "p"), "network": ("network", "Networks", "n"),
          "VM or template": ("clone-from", "CloneFrom", "m")}
ONLY_VCENTER = ("clone-from", "content-library", "datastore-cluster", "tag", "custom-attribute",
                "folder")
UNSURE = (r"dial tcp|connection re|broken pipe|\bEOF\b|[Tt]imeout|deadline exceeded|no route|"
          r"no such host|50[234] |did not end within")
NO_TOOLS = "ToolsUnavailable|Tools is not running|does not implement"
OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
 xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
 xmlns:vmw="http://www.vmware.com/schema/ovf">
<References><File ovf:href="disk.vmdk" ovf:id="file1" ovf:size="%(size)d"/></References>
<DiskSection><Info>Disks</Info><Disk ovf:capacity="%(capacity)d" ovf:diskId="disk1"
 ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html\
#streamOptimized"/></DiskSection>
<NetworkSection><Info>Networks</Info><Network ovf:name="lan"><Description>lan</Description>\
</Network></NetworkSection>
<VirtualSystem ovf:id="machine"><Info>A Docker host</Info><Name>machine</Name>
<OperatingSystemSection ovf:id="101" vmw:osType="otherLinux64Guest"><Info>Linux</Info>\
</OperatingSystemSection>
<VirtualHardwareSection><Info>Hardware</Info>
<System><vssd:ElementName>Hardware</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>\
<vssd:VirtualSystemType>vmx-11</vssd:VirtualSystemType></System>
%(items)s</VirtualHardwareSection></VirtualSystem></Envelope>
"""
ITEMS = (  # in the order of the schema's elements, which is that of the alphabet
    {"ElementName": "CPUs", "InstanceID": "1", "ResourceType": "3", "VirtualQuantity": "%(cpu)d"},
    {"AllocationUnits": "byte * 2^20", "ElementName": "Memory", "InstanceID": "2",
     "ResourceType": "4", "VirtualQuantity": "%(memory)d"},
    {"Address": "0", "ElementName": "SCSI", "InstanceID": "3", "ResourceSubType": "VirtualSCSI",
     "ResourceType": "6"},
    {"Address": "0", "ElementName": "IDE", "InstanceID": "4", "ResourceType": "5"},
    {"AddressOnParent": "0", "ElementName": "Disk", "HostResource": "ovf:/disk/disk1",
     "InstanceID": "5", "Parent": "3", "ResourceType": "17"},
    {"AddressOnParent": "7", "AutomaticAllocation": "true", "Connection": "lan",
     "ElementName": "Card", "InstanceID": "6", "ResourceSubType": "VmxNet3", "ResourceType": "10"})


def flag(name, default, help, field, env=True, **more):
    """A flag whose variable, if it has one, has its name in capitals."""
    variable = "VSPHERE_" + name.upper().replace("-", "_") if env else ""
    return Flag("vmwarevsphere-" + name, default, help, variable, field=field, **more)


class VSphereDriver(CloudDriver):
    """A virtual machine of VMware vSphere."""

    name, provider, thing = "vmwarevsphere", "vSphere", "VM"
    creating = "Creating the VM..."
    id_field, user_data_field = "MachineId", "CloudInit"
    login, login_field = "user and password", "Username"
    new_login = "See that --vmwarevsphere-username and --vmwarevsphere-password are right."
    scope_hint = "Its role needs more privileges: docs/drivers/vmwarevsphere.md lists them."
    cures = (
        ("x509", "Give the CA's certificate: --vmwarevsphere-ca-cert FILE"),
        ("license", "A free ESXi is read-only by its API; it takes a paid license or a trial."),
        ("NoDiskSpace", "Make room, or name another --vmwarevsphere-datastore."),
        ("InsufficientStorage", "Make room, or name another --vmwarevsphere-datastore."),
        ("InsufficientResources", "Name another --vmwarevsphere-pool or --vmwarevsphere-hostsystem,"
         " or take less memory."),
        ("no such host", "Check --vmwarevsphere-vcenter."),
        ("connection refused", "Check --vmwarevsphere-vcenter and --vmwarevsphere-vcenter-port."))
    flags = (
        flag("vcenter", "", "Address of the vCenter or ESXi", "IP", required=True),
        flag("vcenter-port", 443, "Its port", "Port", port=True),
        flag("username", "", "User", "Username", required=True),
        flag("password", "", "Password", "Password", secret=True, required=True),
        flag("ca-cert", "", "CA that signed its certificate (default: it is not verified)",
             "CACert", file=True),
        flag("datacenter", "", "Datacenter (default: the only one)", "Datacenter"),
        flag("folder", "", "Folder of VMs, which has to be there", "Folder"),
        flag("pool", "", "Resource pool (default: the host's, or the only one)", "Pool"),
        flag("hostsystem", "", "ESXi host", "HostSystem"),
        flag("compute-ip", "", "Old name of --vmwarevsphere-hostsystem", ""),
        flag("datastore", "", "Datastore (default: the only one)", "Datastore"),
        flag("datastore-cluster", "", "Datastore cluster, instead of a datastore",
             "DatastoreCluster"),
        flag("network", [], "Network, one for each card (default: VM Network)", "Networks"),
        flag("cpu-count", 2, "CPUs", "CPU", least=1),
        flag("memory-size", 2048, "Memory in MB", "Memory", least=512),
        flag("disk-size", 20480, "Size of the first disk in MB", "DiskSize", least=1024),
        flag("creation-type", "", "What it is made from: vm, template, library or legacy, which is "
             "an ISO (default: what the other flags name)", "CreationType",
             choices=("vm", "template", "library", "legacy")),
        flag("clone-from", "", "VM, template or library item to start from", "CloneFrom"),
        flag("content-library", "", "Content library that has the item", "ContentLibrary"),
        flag("image", IMAGE, "URL of a cloud image: vmdk, ova, qcow2 or raw", "Image"),
        flag("boot2docker-url", "", "URL of an ISO of boot2docker, instead of a cloud image",
             "Boot2DockerURL"),
        flag("seed", "cdrom", "How cloud-init gets its data: by a CD, or by guestinfo, where "
             "everyone who sees the VM can read it", "Seed", choices=("cdrom", "guestinfo")),
        flag("cloudinit", "", "File or URL of user data for the first boot", "CloudInit"),
        flag("cloud-config", "", "File of user data, kept with the machine", "", file=True),
        flag("cfgparam", [], "Extra configuration, KEY=VALUE", "CfgParams"),
        flag("tag", [], "Tag, by name or id", "Tags", env=False),
        flag("custom-attribute", [], "Custom attribute, by name or number: KEY=VALUE",
             "CustomAttributes", env=False, form="[^=]+=(?s:.*)"),
        flag("vapp-transport", "", "How vApp properties get into the guest: iso or "
             "com.vmware.guestInfo", "VAppTransport", choices=("iso", "com.vmware.guestInfo")),
        flag("vapp-property", [], "vApp property, KEY=VALUE", "VAppProperties",
             form="[^=]+=(?s:.*)"),
        flag("vapp-ipprotocol", "", "IPv4 or IPv6; of no effect: there is no pool of addresses",
             "VAppIpProtocol", choices=("IPv4", "IPv6")),
        flag("vapp-ipallocationpolicy", "", "Of no effect, as above", "VAppIpAllocationPolicy",
             choices=("dhcp", "fixed", "transient", "fixedAllocated")),
        flag("ssh-user", "docker", "SSH user, whom cloud-init makes", "SSHUser",
             form=r"[A-Za-z_][\w.-]*"),
        flag("ssh-password", "", "Password of the ISO's user (default: tcuser)", "SSHPassword",
             secret=True),
        flag("ssh-port", 22, "SSH port", "SSHPort", port=True),
        flag("ssh-user-group", "staff", "Group of the ISO's user", "SSHUserGroup",
             form=r"[A-Za-z_][\w.-]*"),
        flag("os", "linux", "The guest's system; it has to be linux", "OS", env=False,
             choices=("linux", "windows")),
        flag("graceful-shutdown-timeout", 0, "Seconds that rm gives the guest to shut down",
             "GracefulShutdownTimeout", least=0),
    )
    fields = (("InstanceUUID", ""), ("Network", ""), ("CloudConfig", ""), ("CPUS", 2), ("ISO", ""))
    found_at = ""  # the inventory path where the VM was found

    def checks(self):
        try:
            version = run(["govc", "version"]).stdout.strip()
            return [Finding("ok", "vmwarevsphere", plain_words(version)[:60])]
        except MachineError as error:
            return [Finding("ok", "vmwarevsphere", "no govc here, which only its machines need",
                            error.hint)]

    # --- the flags

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        self["HostSystem"] = self["HostSystem"] or options["vmwarevsphere-compute-ip"]
        self["Folder"] = self["Folder"].strip("/")
        if self["OS"] == "windows":
            raise UsageError("--vmwarevsphere-os windows: a Docker host of ours runs Linux.")
        if self["Datastore"] and self["DatastoreCluster"]:
            raise UsageError("--vmwarevsphere-datastore and --vmwarevsphere-datastore-cluster "
                             "contradict each other.")
        path = options["vmwarevsphere-cloud-config"]
        if path:
            self["CloudConfig"] = read_text(path)
        if self["CloudInit"] and "://" not in self["CloudInit"]:
            self["CloudInit"] = os.path.abspath(os.path.expanduser(self["CloudInit"]))
        if self["CloudInit"] and self["CloudConfig"]:
            raise UsageError("--vmwarevsphere-cloudinit and --vmwarevsphere-cloud-config are two "
                             "names of one thing.")
        self._check_way()

    def _check_way(self):
        kind, source = self["CreationType"], self["CloneFrom"]
        if kind in ("vm", "template", "library") and not source:
            raise UsageError("--vmwarevsphere-creation-type %s needs --vmwarevsphere-clone-from."
                             % kind)
        if self["ContentLibrary"] and not source:
            raise UsageError("--vmwarevsphere-content-library needs --vmwarevsphere-clone-from, "
                             "the name of the item.")
        if kind == "library" and not self["ContentLibrary"]:
            raise UsageError("--vmwarevsphere-creation-type library needs "
                             "--vmwarevsphere-content-library.")
        for text in self["VAppProperties"]:
            if text.partition("=")[2].startswith(("ip:", "${")):
                raise UsageError("--vmwarevsphere-vapp-property %s: addresses of a network's pool "
                                 "cannot be had by govc." % text, "Give the value itself.")
        if self.way() == "iso":
            self["SSHUser"] = "docker"

    def way(self):
        """What the VM is made from: "clone", "library", "iso" or "image"."""
        kind = self["CreationType"]
        if self["CloneFrom"] and kind != "legacy":
            return "library" if self["ContentLibrary"] and kind in ("", "library") else "clone"
        return "iso" if self["Boot2DockerURL"] else "image"

    # --- before the machine is made

    @property
    def kinds(self):  # type: ignore[override]
        place = "datastore cluster" if self["DatastoreCluster"] else "datastore"
        more = {"clone": ("VM or template",), "library": ("item",)}.get(self.way(), ())
        return ("folder", "host", place, "pool", "networks") + more

    def pre_create_check(self):
        need("govc")
        if not self["CACert"]:
            out.warn("The certificate of %s is not verified; --vmwarevsphere-ca-cert FILE does it."
                     % self["IP"])
        about = self.ask_govc("about").get("about") or {}
        if about.get("apitype") == "HostAgent":
            self._check_lone_host()
        self["Datacenter"] = self.find("datacenter", self["Datacenter"])
        super().pre_create_check()
        self._check_guestinfo()
        self["Folder"] = self.look_up("folder")[len(self["Datacenter"] + "/vm"):].strip("/")
        self["Networks"] = self["Networks"] or [self.look_up("networks")[0].rpartition("/")[2]]
        self["Network"] = self["Networks"][0]
        if self.rows(self.usual_path()):
            raise MachineError("vSphere has a VM %s already." % self.usual_path(),
                               "Take another name.")
        if self.way() in ("iso", "image"):
            image = self._image()
            if self.way() == "image" and not image.endswith(".ova") and (
                    vmdk_capacity(image) is None):
                need("qemu-img")

    def _check_lone_host(self):
        """Refuse what takes a vCenter. Raises MachineError."""
        for one in self.flags:
            name = one.name.partition("-")[2]
            if name in ONLY_VCENTER and self[one.field]:
                raise MachineError("--%s takes a vCenter, and %s is a single ESXi." % (
                    one.name, self["IP"]), "Leave it out, or name the vCenter.")

    def look_up(self, kind):
        """The inventory path of a place, or what a flag names otherwise. Raises MachineError."""
        if kind == "networks":
            return [self.find("network", name) for name in self["Networks"] or [""]]
        if kind == "item":
            return self._item()
        if kind == "folder" and not self["Folder"]:
            return self["Datacenter"] + "/vm"
        if kind == "host" and not self["HostSystem"]:
            return ""
        if kind == "pool" and not self["Pool"] and self["HostSystem"]:
            return os.path.dirname(self.look_up("host")) + "/Resources"
        return self.find(kind, self[PLACES[kind][1]])

    def datastores(self):
        return self.govc("find", self["Datacenter"] or "/", "-type", "s").splitlines()

    def home(self, row):
        """(datastore's path, datastore's name, folder in it) of a VM."""
        file = ((row.get("config") or {}).get("files") or {}).get("vmpathname") or ""
        store, _, path = file.lstrip("[").partition("] ")
        paths = [one for one in self.datastores() if one.endswith("/" + store)]
        return (paths or [store])[0], store, path.rpartition("/")[0]

    def _item(self):
        """The path of the library's item. Raises MachineError."""
        library, name = self["ContentLibrary"].strip("/"), self["CloneFrom"]
        libraries = [path.strip("/") for path in self.govc("library.ls").splitlines()]
        if library not in libraries:
            raise self.unknown("content library", library, "govc library.ls", libraries)
        items = [path.rpartition("/")[2] for path in
                 self.govc("library.ls", "/%s/" % library).splitlines()]
        if name not in items:
            raise self.unknown("item", name, "govc library.ls /%s/" % library, items)
        return "/%s/%s" % (library, name)

    def find(self, kind, name):
        """The inventory path of what a flag names, or of the only one or the default if it names
        none. Raises MachineError."""
        option, _, code = PLACES[kind]
        root = {"datacenter": "/", "folder": self["Datacenter"] + "/vm"}.get(
            kind, self["Datacenter"])
        # A datacenter that is not there would be in the way of the list.
        environ = {"GOVC_DATACENTER": ""} if kind == "datacenter" else {}
        paths = sorted(set(self.govc("find", root, "-type", code, environ=environ).splitlines()))
        fit = matches(name, root, paths) if name else self._defaults(kind, paths)
        if len(fit) == 1:
            return fit[0]
        listing = "govc find %s -type %s" % (root, code)
        if name and not fit:
            raise self.unknown(kind, name, listing, [path.rpartition("/")[2] for path in paths])
        if not fit:
            raise MachineError("vSphere has no %s there." % kind, "List all: " + listing)
        words = 'vSphere has %d of the %s "%s": ' if name else "vSphere has %d of the kind %s%s: "
        raise MachineError(words % (len(fit), kind, name) + plain_words(", ".join(fit[:5])) + ".",
                           "Name one: --vmwarevsphere-%s PATH. List all: %s" % (option, listing))

    @staticmethod
    def _defaults(kind, paths):
        if kind == "pool":
            return [path for path in paths if path.endswith("/Resources")]
        usual = [path for path in paths if path.endswith("/VM Network")]
        return usual if kind == "network" and usual else paths

    def _image(self):
        """The path of the image or ISO in the cache."""
        if self.way() == "iso":
            return cached_image(self, self["Boot2DockerURL"], "", check_iso)
        return cached_image(self, self["Image"], "", check_image)

    # --- the order

    def order(self, keys):
        words = ["-folder", self.look_up("folder"), "-pool", self.look_up("pool")]
        if self.look_up("host"):
            words += ["-host", self.look_up("host")]
        try:
            getattr(self, "_order_" + self.way())(words)
        except RestError as error:
            if error.refused:
                self._discard()
            raise
        row = self.row()
        if row is None:
            raise RestError("vSphere tells nothing of the VM that it made.", unsure=True)
        return instance_of(row)

    def _discard(self):
        """Destroy what a creation that failed has left."""
        row = self.row()
        if row:
            self.govc("vm.destroy", self.found_at)

    def _shape(self):
        return ["-c", str(self["CPU"]), "-m", str(self["Memory"]), "-on=false",
                "-annotation", self["CreateTag"]]

    def _place(self, drs=True):
        """Where the disk is to be: words for govc, which takes a cluster only where `drs`."""
        if not self["DatastoreCluster"]:
            return ["-ds", self.look_up("datastore")]
        cluster = self.look_up("datastore cluster")
        if drs:
            return ["-datastore-cluster", cluster]
        paths = [path for path in self.datastores() if path.startswith(cluster + "/")]
        if not paths:
            raise MachineError("The datastore cluster %s has no datastore." % cluster)
        rows = self.ask_govc("datastore.info", *paths).get("datastores") or ()
        room = {row["name"]: (row.get("summary") or {}).get("freespace") or 0 for row in rows}
        return ["-ds", max(paths, key=lambda path: room.get(path.rpartition("/")[2], 0))]

    def _order_clone(self, words):
        self.govc("vm.clone", "-vm", self.look_up("VM or template"), *(
            words + self._place() + self._shape() + [self.machine.name]), seconds=3600)

    def _order_iso(self, words):
        self.govc("vm.create", "-g", "otherLinux64Guest", "-disk.controller", "pvscsi", "-net",
                  self.look_up("networks")[0], "-net.adapter", "vmxnet3", *(
                      words + self._place() + self._shape() + [self.machine.name]), seconds=600)

    def _order_library(self, words):
        with Scratch() as folder:
            options = self._options(folder, {"DiskProvisioning": "thin"})
            self.govc("library.deploy", "-options", options, *(
                words + self._place(drs=False) + [self.look_up("item"), self.machine.name]),
                seconds=3600)

    def _order_image(self, words):
        package = self._image()
        if not package.endswith(".ova"):
            self.log("Packing the image...")
            package = self._packed(package)
        network = self.look_up("networks")[0]
        spec = lower(parse_json(self.govc("import.spec", package)))
        options = {"DiskProvisioning": "thin", "NetworkMapping": [
            {"Name": row["name"], "Network": network} for row in spec.get("networkmapping") or ()]}
        self.log("Uploading the image...")
        try:
            with Scratch() as folder:
                self.govc("import.ova", "-options", self._options(folder, options), "-name",
                          self.machine.name, *(words + self._place(drs=False) + [package]),
                          seconds=7200)
        finally:
            if os.path.exists(self.path("disk.ova")):
                os.unlink(self.path("disk.ova"))

    def _options(self, folder, options):
        """The path of a file of options for a deployment that is marked and stays off."""
        path = os.path.join(folder, "options.json")
        write_atomic(path, json_text(dict(
            options, Annotation=self["CreateTag"], PowerOn=False, WaitForIP=False,
            MarkAsTemplate=False, Name=self.machine.name)))
        return path

    def _packed(self, image):
        """The path of an OVA: our OVF and the image as a streamOptimized VMDK."""
        import io
        import tarfile
        need_space(self.folder, 2 * os.path.getsize(image) >> 20)
        disk, package = image, self.path("disk.ova")
        if vmdk_capacity(image) is None:
            disk = self.path("disk.vmdk")
            done = run(["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized",
                        image, disk], seconds=3600)
            if not done.ok:
                raise MachineError("qemu-img failed: " + done.last_words())
        facts = {"size": os.path.getsize(disk), "capacity": vmdk_capacity(disk),
                 "cpu": self["CPU"], "memory": self["Memory"]}
        facts["items"] = "".join(item_xml(item) % facts for item in ITEMS)
        with tarfile.open(package, "w", format=tarfile.USTAR_FORMAT) as archive:
            ovf = (OVF % facts).encode()
            entry = tarfile.TarInfo("machine.ovf")
            entry.size = len(ovf)
            archive.addfile(entry, io.BytesIO(ovf))
            archive.add(disk, "disk.vmdk")
        if disk != image:
            os.unlink(disk)
        return package

    # --- the creation

    def find_again(self):
        found = super().find_again()
        if found is None and "CreateTag" not in self.config:
            row = self.row()
            return row and instance_of(row)
        if found and not self["MachineId"] and self.way() == "image":
            self._discard()  # an import that was cut off, whose disk is not whole
            return None
        return found

    def _await(self, verb, goal):
        if verb == "create":
            row = self.row()
            if row and instance_of(row).state == STOPPED:
                self._equip(row)
                self.act("start")
            self["IPAddress"] = ""
        try:
            super()._await(verb, goal)
        except RestError:
            raise
        except MachineError as error:
            error.hint = error.hint or self._silence()
            raise

    def _silence(self):
        """Why a VM that runs has no address."""
        row = self.row() or {}
        guest = row.get("guest") or {}
        if instance_of(row).state != RUNNING:
            return ""
        if guest.get("toolsrunningstatus") != "guestToolsRunning":
            return ("VMware Tools do not run in it, which tell its address: the image needs "
                    "open-vm-tools. See what it shows: govc vm.console " + self.found_at)
        return ("VMware Tools run, and know no address: is the network %s right, and does it have "
                "DHCP?" % self["Network"])

    def _equip(self, row):
        """Bring a VM that is off to what was asked for, however far it came."""
        path = self.found_at
        self["InstanceUUID"] = (row.get("config") or {}).get("instanceuuid") or ""
        self.machine.save()
        self.log("Setting up the VM...")
        home = self.home(row)
        self._set_disk(path, home)
        self._set_networks(path)
        self._set_cd(path, home)
        self._configure(path)
        for tag in self["Tags"]:
            self.govc("tags.attach", tag, path)
        for text in self["CustomAttributes"]:
            key, _, value = text.partition("=")
            self.govc("fields.set", key, value, path)

    def devices(self, path, kind):
        """The devices whose names begin with a kind, in the order of the hardware."""
        rows = self.ask_govc("device.info", "-vm", path).get("devices") or ()
        return [row for row in rows if row.get("name", "").startswith(kind + "-")]

    def _set_disk(self, path, home):
        disks = self.devices(path, "disk")
        size = "%dMB" % self["DiskSize"]
        if not disks:
            self.govc("vm.disk.create", "-vm", path, "-ds", home[0], "-name", "%s/%s" % (
                home[2], self.machine.name), "-size", size)
            return
        has = disks[0].get("capacityinkb") or 0
        if has < self["DiskSize"] << 10:
            self.govc("vm.disk.change", "-vm", path, "-disk.name", disks[0]["name"], "-size", size)
        elif has > self["DiskSize"] << 10:
            self.log("The disk has %d MB already, and stays as it is." % (has >> 10))

    def _set_networks(self, path):
        """One card for each network, and no other. Raises MachineError."""
        wanted, cards = self.look_up("networks"), self.devices(path, "ethernet")
        for network, card in zip(wanted, cards):
            if self.way() in ("clone", "library"):
                self.govc("vm.network.change", "-vm", path, "-net", network, card["name"])
        for network in wanted[len(cards):]:
            self.govc("vm.network.add", "-vm", path, "-net", network, "-net.adapter", "vmxnet3")
        for card in cards[len(wanted):]:
            self.govc("device.remove", "-vm", path, card["name"])
        there = len(self.devices(path, "ethernet"))
        if there != len(wanted):
            raise MachineError("The VM has %d network cards instead of %d." % (there, len(wanted)),
                               "See vSphere's events of the VM %s." % path)

    def _set_cd(self, path, home):
        local = self._disc(path)
        if not local:
            return
        place, store, folder = home
        target = "%s/%s" % (folder, os.path.basename(local))
        self["ISO"] = "[%s] %s" % (store, target)
        self.machine.save()
        self.govc("datastore.upload", "-ds", place, local, target, seconds=1800)
        drives = [drive["name"] for drive in self.devices(path, "cdrom")]
        name = drives[0] if drives else self.govc("device.cdrom.add", "-vm", path).strip()
        self.govc("device.cdrom.insert", "-vm", path, "-ds", place, "-device", name, target)

    def _disc(self, path):
        """The file that is to lie in the CD drive, or ""."""
        if self.way() == "iso":
            return self._image()
        files = {}
        if self["Seed"] == "cdrom" and self.reads_user_data():
            files = {"user-data": self.user_data().encode(),
                     "meta-data": json_text(self._metadata()).encode(),
                     "network-config": json_text(self._network(path)).encode()}
        if self["VAppProperties"] and not self._vapp_by_guestinfo():
            files["ovf-env.xml"] = ovf_environment(self["VAppProperties"]).encode()
        if not files:
            return ""
        write_atomic(self.path("seed.iso"), seed_iso(files))
        return self.path("seed.iso")

    # --- what the guest is told

    def has_cloud_init(self):
        return self.way() != "iso"

    def user_file(self):
        if self["CloudConfig"]:
            return self["CloudConfig"].lstrip()
        if "://" in self["CloudInit"]:
            return "#include\n%s\n" % self["CloudInit"]
        return super().user_file()

    def _metadata(self):
        return {"instance-id": self["CreateTag"], "local-hostname": host_name(self.machine.name)}

    def _network(self, path):
        """cloud-init's network configuration: DHCP on each card, by its address."""
        cards = {}
        for number, card in enumerate(self.devices(path, "ethernet")):
            cards["lan%d" % number] = {"match": {"macaddress": card["macaddress"].lower()},
                                       "dhcp4": True, "dhcp-identifier": "mac"}
        return {"version": 2, "ethernets": cards}

    def _guestinfo(self, path):
        """{key: text} of extra configuration that no command line may show."""
        from base64 import b64encode
        pairs, text = {}, self.user_file()

        def add(key, value):
            pairs["guestinfo." + key] = b64encode(value.encode()).decode()
            pairs["guestinfo.%s.encoding" % key] = "base64"

        if self.way() == "iso":
            return self._for_iso(text)
        if not self.reads_user_data():
            add("ignition.config.data" if '"ignition"' in text else "userdata", text)
        elif self["Seed"] == "guestinfo":
            add("userdata", self.user_data())
            add("metadata", json_text(dict(self._metadata(), network=self._network(path),
                                           redact=["userdata"])))
        if self["VAppProperties"] and self._vapp_by_guestinfo():
            pairs["guestinfo.ovfEnv"] = ovf_environment(self["VAppProperties"])
        return pairs

    def _for_iso(self, text):
        """The same as RancherOS reads it."""
        from base64 import b64encode
        if "://" in self["CloudInit"]:
            return {"guestinfo.cloud-init.config.url": self["CloudInit"]}
        if not text:
            return {}
        return {"guestinfo.cloud-init.config.data": b64encode(text.encode()).decode(),
                "guestinfo.cloud-init.data.encoding": "base64"}

    def _vapp_by_guestinfo(self):
        return self["VAppTransport"] == "com.vmware.guestInfo"

    def _configure(self, path):
        """Set CPUs, memory and the extra configuration; what may be secret goes by files."""
        words = ["-c", str(self["CPU"]), "-m", str(self["Memory"])]
        for text in self["CfgParams"]:
            key, _, value = text.partition("=")
            words += ["-e", "%s=%s" % (key, value)]
        with Scratch() as folder:
            for number, (key, text) in enumerate(sorted(self._guestinfo(path).items())):
                file = os.path.join(folder, str(number))
                write_atomic(file, text)
                words += ["-f", "%s=%s" % (key, file)]
            self.govc("vm.change", "-vm", path, *words)

    def _check_guestinfo(self):
        """Refuse a govc that takes guestinfo from its command line alone. Raises MachineError."""
        if self.way() == "iso":
            needed = bool(self.user_file())
        else:
            needed = (self["Seed"] == "guestinfo" or not self.reads_user_data()
                      or self["VAppProperties"] and self._vapp_by_guestinfo())
        if not needed:
            return
        shown = run(["govc", "vm.change", "-h"])
        if "  -f=" not in shown.stdout + shown.stderr:
            raise MachineError("This govc cannot take guestinfo from a file, and on its command "
                               "line everyone could read it.",
                               "Take a newer govc: https://github.com/vmware/govmomi/releases")

    def finish(self):
        if self.way() == "iso":
            self._bring_key()

    def _bring_key(self):
        """Put the key into boot2docker's home and onto its disk, by VMware Tools."""
        self.log("Bringing the SSH key to the guest...")
        home, owner = "/home/docker/userdata.tar", "docker:" + self["SSHUserGroup"]
        login = {"GOVC_GUEST_LOGIN": "%s:%s" % (
            self["SSHUser"], self["SSHPassword"] or "tcuser")}
        write_atomic(self.path("userdata.tar"), format_me(self.public_key()))
        self.govc("guest.upload", "-f", "-vm", self.found_at, self.path("userdata.tar"), home,
                  environ=login)
        script = ("tar xf %s -C /home/docker && chown -R %s /home/docker && "
                  "mv %s /var/lib/boot2docker/userdata.tar" % (home, owner, home))
        self.govc("guest.run", "-vm", self.found_at, "/usr/bin/sudo", "/bin/sh", "-c",
                  "'%s'" % script, environ=login)

    # --- on, off, and away

    def act(self, verb):
        path = self.place()
        try:
            self.govc("vm.power", *(POWER[verb] + (path,)))
        except RestError as error:
            from re import search
            if verb == "restart" and search(NO_TOOLS, error.words):
                self.govc("vm.power", "-reset", path)
            elif verb == "start" and self.get_state() == RUNNING:
                return
            elif verb != "stop" or not search(NO_TOOLS, error.words):  # asked again: it may boot
                raise

    def delete(self):
        row = self.row()
        if row is None:
            return
        path, state = self.found_at, instance_of(row).state
        if state == RUNNING and self["GracefulShutdownTimeout"]:
            self.log("Shutting the guest down...")
            self.act("stop")
            wait_for(lambda: self.get_state() == STOPPED, self["GracefulShutdownTimeout"], "", 2)
            state = self.get_state()
        if state != STOPPED:
            self.govc("vm.power", "-off", "-force", path)
        self._delete_discs(path, row)
        try:
            self.govc("vm.destroy", path, seconds=900)
        except RestError:
            if self.row():
                raise
        self["InstanceUUID"] = ""

    def _delete_discs(self, path, row):
        """Delete the ISOs in the VM's own folder, which vSphere leaves there. What cannot be
        deleted is told, and does not keep the VM alive."""
        try:
            place, store, folder = self.home(row)
            own = "[%s] %s/" % (store, folder)
            drives = self.devices(path, "cdrom")
            files = {(drive.get("backing") or {}).get("filename") or "" for drive in drives}
            for file in sorted(files | {self["ISO"]}):
                if file.startswith(own) and file.endswith(".iso"):
                    self.govc("datastore.rm", "-f", "-ds", place, file.partition("] ")[2])
        except RestError as error:
            out.warn("%s %s" % (error.message, error.hint))

    # --- what it is

    def account(self):
        return self["IP"], self["Port"], self["Username"], self["Datacenter"]

    def describe(self):
        row = self.row()
        return row and instance_of(row)

    def instances(self, tag=""):
        paths = {self.usual_path()}
        if not tag:
            paths.update(usual_path(settings) for settings in self.machine.store.drivers()
                         if settings.get("IP") == self["IP"] and settings.get("MachineName"))
        return [instance_of(row) for row in self.rows(*sorted(paths))]

    def _state(self, found):
        if isinstance(found, Exception) or found.get(self["MachineId"]):
            return super()._state(found)
        row = self.row() if self["MachineId"] or "CreateTag" not in self.config else None
        if row:
            return instance_of(row).state
        if "CreateTag" not in self.config:
            raise MachineError("vSphere has no VM %s." % self.usual_path(),
                               "Forget it: docker-machine rm " + self.machine.name)
        return super()._state(found)

    def usual_path(self):
        return usual_path(self.config)

    def rows(self, *words):
        return self.ask_govc("vm.info", *words).get("virtualmachines") or []

    def row(self):
        """What vSphere tells of our VM, where it was made or wherever it was moved, or None."""
        for row in self.rows(self.usual_path()):
            if self._is_ours(row, True):
                self.found_at = self.usual_path()
                return row
        if not self["MachineId"]:
            return None
        try:
            rows = self.rows("-vm.uuid", self["MachineId"])
        except RestError as error:
            if "no such VM" in error.words:
                return None
            raise
        for row in rows:
            if self._is_ours(row, False):
                me = row.get("self") or {}
                self.found_at = self.govc("ls", "-L", "%s:%s" % (
                    me.get("type"), me.get("value"))).strip()
                return row
        return None

    def _is_ours(self, row, in_place):
        """By vSphere's id, or the BIOS's, which clones may have too, or by our mark in the notes;
        Docker Machine itself knew the place alone."""
        config = row.get("config") or {}
        if self["InstanceUUID"]:
            return config.get("instanceuuid") == self["InstanceUUID"]
        if self["MachineId"]:
            there = in_place or row.get("name") == self["MachineName"]
            return there and instance_of(row).id == self["MachineId"]
        if self.config.get("CreateTag"):
            return self["CreateTag"] in (config.get("annotation") or "")
        return in_place and "CreateTag" not in self.config

    def place(self):
        """The inventory path of the VM. Raises MachineError if it is not there."""
        if self.row() is None:
            raise MachineError("vSphere has no VM %s." % self.usual_path(),
                               "Forget it: docker-machine rm " + self.machine.name)
        return self.found_at

    # --- govc

    def ask_govc(self, verb, *words):
        """The JSON of a question, with keys in lower case. A passing fault is waited out."""
        faults = []

        def attempt():
            try:
                return [self.govc(verb, "-json", *words, seconds=min(self.patience, 60))]
            except RestError as error:
                faults.append(error)
                if not error.unsure:
                    raise
                return None

        answer = wait_for(attempt, min(self.patience, 20), "", 5, 1)
        if not answer:
            raise faults[-1]
        try:
            return lower(parse_json(answer[0]))
        except (ValueError, AttributeError):
            raise RestError("govc %s did not answer with JSON: %s" % (
                verb, plain_words(answer[0][:200])))

    def govc(self, verb, *words, seconds=300, environ=None):
        """What govc prints. Raises RestError with its words."""
        login = {name: "" for name in os.environ if name.startswith("GOVC_")}
        host = "[%s]" % self["IP"] if self["IP"].count(":") > 1 else self["IP"]
        login.update(
            GOVC_URL="https://%s:%d/sdk" % (host, self["Port"]), GOVC_USERNAME=self["Username"],
            GOVC_PASSWORD=self["Password"], GOVC_DATACENTER=self["Datacenter"],
            GOVC_PERSIST_SESSION="false", GOVC_INSECURE="" if self["CACert"] else "true",
            GOVC_TLS_CA_CERTS=self["CACert"])
        login.update(environ or {})
        result = run(["govc", verb] + list(words), seconds=seconds, environ=login, late=lambda
                     sentence: RestError(sentence, words=sentence, unsure=True))
        if not result.ok:
            raise self._error(verb, result.stderr)
        return result.stdout

    def _error(self, verb, text):
        """The RestError for what govc said."""
        from re import search
        text = text.rpartition("govc: ")[2] if not text.startswith("Usage") else text
        words = plain_words(text.strip()[-600:]) or "it said nothing"
        unsure = bool(search(UNSURE, words))
        status = 401 if search("[Ll]ogin failure|[Cc]annot complete login", words) else 0
        if search("NoPermission|[Pp]ermission to perform|NotAuthenticated", words):
            status = 403
        error = RestError("govc %s failed: %s" % (verb, words), words=words, status=status,
                          unsure=unsure, refused=not unsure)
        self.explain(error, "do that (govc %s)" % verb)
        return error


# --- small helpers

def lower(value):
    """A JSON value with its keys in lower case, and without the null of older releases."""
    if isinstance(value, list):
        return [lower(one) for one in value]
    if isinstance(value, dict):
        return {key.lower(): lower(one) for key, one in value.items() if one is not None}
    return value


def matches(name, root, paths):
    """The paths that a name stands for: the very path, its end, or a glob of its end."""
    from fnmatch import fnmatchcase
    name = name.strip("/")
    return ([path for path in paths if path in ("/" + name, root + "/" + name)]
            or [path for path in paths if path.endswith("/" + name)]
            or [path for path in paths if fnmatchcase(path, "*/" + name)])


def usual_path(settings):
    """The inventory path where a "Driver" object has its VM; one of Docker Machine's without a
    datacenter is relative to that of govc."""
    folder = (settings.get("Folder") or "").strip("/")
    center = settings.get("Datacenter") or ""
    end = "/".join(part for part in (folder, settings["MachineName"]) if part)
    if center and ("/%s/" % folder).startswith("/%s/vm/" % center.strip("/")):
        return "/" + end
    return "%s/vm/%s" % (center, end) if center.startswith("/") else end


def instance_of(row):
    """The Instance of a row of vm.info: addresses of its cards, without those of bridges in it."""
    config, guest = row.get("config") or {}, row.get("guest") or {}
    uuid = config.get("uuid") or ((row.get("summary") or {}).get("config") or {}).get("uuid") or ""
    cards = [card for card in guest.get("net") or () if card.get("deviceconfigid", 0) > 0]
    found = [ip for card in cards for ip in card.get("ipaddress") or ()]
    found += [guest["ipaddress"]] if guest.get("ipaddress") and not found else []
    fit = [ip for ip in found if ip != "172.17.0.1"  # Docker's own bridge
           and not ip.lower().startswith(("169.254.", "fe80:"))]
    fit.sort(key=lambda ip: ":" in ip)
    power = ((row.get("runtime") or {}).get("powerstate") or "").lower()
    state = STATES.get(power, ERROR)
    addresses = [(True, ip) for ip in fit] if state == RUNNING else []
    return Instance(uuid, state, addresses, [config.get("annotation") or ""])


def ovf_environment(properties):
    """The OVF environment of texts KEY=VALUE."""
    from xml.sax.saxutils import quoteattr
    rows = ["<Property oe:key=%s oe:value=%s/>" % (quoteattr(key), quoteattr(value))
            for key, _, value in (text.partition("=") for text in properties)]
    space = "http://schemas.dmtf.org/ovf/environment/1"
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<Environment xmlns="%s" xmlns:oe="%s">'
            "<PropertySection>%s</PropertySection></Environment>\n" % (space, space, "".join(rows)))


def item_xml(item):
    """One piece of hardware of an OVF."""
    body = "".join("<rasd:%s>%s</rasd:%s>" % (key, item[key], key) for key in sorted(item))
    return "<Item>%s</Item>\n" % body


def vmdk_capacity(path):
    """The bytes of the disk in a streamOptimized VMDK; None for what is none (VMware's "Virtual
    Disk Format 5.0": SparseExtentHeader)."""
    from struct import unpack_from
    with open(path, "rb") as file:
        head = file.read(512).ljust(512, b"\0")
    magic, sectors, compressed = (*unpack_from("<4s8xQ", head), *unpack_from("<H", head, 77))
    return sectors * 512 if magic == b"KDMV" and compressed == 1 else None


def check_iso(path):
    if image_kind(path)[0] != "iso":
        raise MachineError("%s is not an ISO." % path)


def check_image(path):
    """Refuse what no OVA can be made of. Raises MachineError."""
    import tarfile
    if path.endswith(".ova"):
        if not tarfile.is_tarfile(path):
            raise MachineError("%s is not an OVA." % path)
    elif vmdk_capacity(path) is None and image_kind(path)[0] not in ("qcow2", "raw"):
        raise MachineError("%s is not a disk image." % path)
