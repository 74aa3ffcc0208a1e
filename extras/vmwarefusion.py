# SPDX-License-Identifier: Apache-2.0
"""Virtual machines of VMware Fusion or Workstation on this computer, by vmrun."""

import os
import sys

from docker_machine import (
    ERROR,
    RUNNING,
    SAVED,
    STOPPED,
    WINDOWS,
    Finding,
    Flag,
    LocalVM,
    MachineError,
    UsageError,
    cached_image,
    each,
    format_me,
    host_arch,
    image_kind,
    ip_address,
    need,
    need_space,
    out,
    plain_words,
    quote,
    run,
    wait_for,
    write_atomic,
)

# The kernel of "genericcloud" has no AHCI and would not see the CD with the seed.
IMAGE = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-%s.tar.xz"
APPLE_LEASES = "/var/db/dhcpd_leases"
LIMITS = {"start": 300, "stop": 100, "deleteVM": 300, "getGuestIPAddress": 30}  # s; others 60
CURES = (  # pattern of what vmrun says -> what helps
    ("(?i)in use|locked|insufficient perm", "Close its window in VMware, and do it again."),
    ("(?i)vmmon|vmnet|permission|not allowed|hypervisor|hyper-v|VT-x|AMD-V|virtualiz",
     "Open VMware once and let it have what it asks for; another hypervisor may be in the way."),
    ("(?i)hardware version|newer version|not compatible|not supported",
     "Update VMware: Fusion 12.2 or Workstation 16.2 at least."),
)
USUAL = [
    (".encoding", "UTF-8"), ("config.version", "8"), ("virtualHW.version", "19"),
    ("pciBridge0.present", "TRUE"),
    ("pciBridge4.present", "TRUE"), ("pciBridge4.virtualDev", "pcieRootPort"),
    ("pciBridge4.functions", "8"),
    ("vmci0.present", "TRUE"), ("floppy0.present", "FALSE"), ("usb.present", "TRUE"),
    ("usb_xhci.present", "TRUE"), ("tools.syncTime", "TRUE"), ("msg.autoanswer", "TRUE"),
    ("uuid.action", "keep"), ("powerType.powerOff", "soft"), ("powerType.reset", "soft"),
    ("serial0.present", "TRUE"), ("serial0.fileType", "file"),
    ("ethernet0.present", "TRUE"), ("ethernet0.virtualDev", "vmxnet3"),
    ("ethernet0.addressType", "static"),
    ("sata0.present", "TRUE"), ("sata0:1.present", "TRUE"), ("sata0:1.deviceType", "cdrom-image"),
]
INTEL = [
    ("firmware", "bios"), ("hpet0.present", "TRUE"), ("scsi0.present", "TRUE"),
    ("scsi0.virtualDev", "pvscsi"), ("scsi0:0.present", "TRUE"), ("scsi0:0.fileName", "disk.vmdk"),
]
ARM = [
    ("firmware", "efi"), ("nvme0.present", "TRUE"), ("nvme0:0.present", "TRUE"),
    ("nvme0:0.fileName", "disk.vmdk"),
]
DESCRIPTOR = """\
# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicFlat"
# Extent description
RW %d FLAT "disk-flat.vmdk" 0
# The Disk Data Base
ddb.virtualHWVersion = "19"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
"""


def flag(name, default, help, field, **more):
    """A flag whose variable has its name in capitals."""
    env = "FUSION_" + name.upper().replace("-", "_")
    return Flag("vmwarefusion-" + name, default, help, env, field=field, **more)


class FusionDriver(LocalVM):
    """A virtual machine of VMware Fusion or Workstation."""

    name = "vmwarefusion"
    flags = (
        flag("boot2docker-url", "", "URL of the system: a boot2docker ISO, or a cloud image, raw "
             "or in a .tar.xz (default: Debian's cloud image)", "Boot2DockerURL"),
        flag("configdrive-url", "", "Has no effect: the seed of cloud-init is made here",
             "ConfigDriveURL"),
        flag("cpu-count", 1, "CPUs (0 or -1 for as many as this computer has)", "CPU", least=-1,
             most=64),
        flag("memory-size", 1024, "Memory in MB, a multiple of 4", "Memory", least=512),
        flag("disk-size", 20000, "Size of the disk in MB; it takes only what is used", "DiskSize",
             least=3000),
        flag("ssh-user", "docker", "SSH user, who is made at the first boot", "SSHUser",
             form=r"[A-Za-z_][\w.-]*"),
        flag("ssh-password", "", "Has no effect: the login is by key", "SSHPassword",
             secret=True),
        flag("no-share", False, "Do not share the home folders of this computer", "NoShare"),
        flag("network-type", "nat", "Network: nat, bridged or hostonly", "NetworkType",
             choices=("nat", "bridged", "hostonly")),
        flag("wait-ip", 300000, "How long to wait for an address, in ms", "WaitIP", least=1000),
    )
    fields = (("UUID", ""), ("MacAddr", ""))

    def checks(self):
        program = find_vmrun()
        if not program:
            return []
        return [Finding("ok", "vmwarefusion", program + " (open VMware once by hand, for what it "
                        "asks to be allowed)")]

    # --- before the machine is made

    def set_config_from_flags(self, options):
        options = dict(options)
        if options["vmwarefusion-cpu-count"] == 0:
            options["vmwarefusion-cpu-count"] = -1
        super().set_config_from_flags(options)
        self["IPAddress"] = ""  # it has one of its own
        if self["Memory"] % 4:
            raise UsageError("--vmwarefusion-memory-size %d is not a multiple of 4." %
                             self["Memory"])

    def pre_create_check(self):
        need("ssh-keygen")
        self.vmrun("list")
        self.check_memory()
        if self["ConfigDriveURL"]:
            out.warn("--vmwarefusion-configdrive-url has no effect: the machine gets a seed that "
                     "is made here.")
        iso = image_of(self._image()) == "iso"
        if iso and host_arch() == "aarch64":
            raise MachineError("boot2docker's ISOs are for Intel; this computer runs arm64 guests.",
                               "Leave --vmwarefusion-boot2docker-url out.")
        if iso:
            self["SSHUser"] = "docker"

    def check_memory(self):
        try:
            super().check_memory()
        except MachineError as error:  # it knows the flag by its usual name
            message = error.message.replace("-memory ", "-memory-size ")
            raise MachineError(message, error.hint.replace("-memory ", "-memory-size "))

    def _image(self):
        """The path of the image in the cache."""
        usual = IMAGE % {"aarch64": "arm64"}.get(host_arch(), "amd64")
        return cached_image(self, self["Boot2DockerURL"] or usual, "", image_of)

    # --- the machine

    def create(self):
        self.remove()  # what an interrupted creation left
        image = self._image()
        iso = image_of(image) == "iso"
        self.identify()
        number = int(self["UUID"][:6], 16) & 0x3fffff  # VMware's range for static addresses
        self["MacAddr"] = "00:50:56:%02x:%02x:%02x" % (
            number >> 16, number >> 8 & 255, number & 255)
        self.machine.save()
        self.log("Creating SSH keys...")
        self.make_ssh_keys()
        self.log("Creating the disk...")
        self._make_disk(image, iso)
        write_atomic(self.vmx(), vmx_text(self._settings(iso)))
        self.start()

    def _make_disk(self, image, iso):
        """Write the flat disk with its descriptor, and the CD."""
        import shutil
        need_space(self.folder, 3000)
        with open(self.path("disk-flat.vmdk"), "wb") as file:
            if iso:
                shutil.copyfile(image, self.path("boot2docker.iso"))
                file.write(format_me(self.public_key()))
            else:
                self._write_seed()
                with open_disk(image) as source:
                    copy_blocks(source, file)
                self.check_disk(file.tell())
            file.truncate(self["DiskSize"] << 20)
        write_atomic(self.path("disk.vmdk"), descriptor(self["DiskSize"] << 20))

    def _write_seed(self):
        more = {}
        if self.shares():
            more = {"packages": ["open-vm-tools"], "runcmd": [["mount", "-a"]], "mounts": [
                [".host:/" + name, "/" + name, "fuse.vmhgfs-fuse", "defaults,allow_other,nofail",
                 "0", "0"] for name, _ in self.shares()]}
        self.write_seed("seed.iso", {"ethernets": {"lan": {
            "match": {"macaddress": self["MacAddr"]}, "dhcp4": True, "dhcp-identifier": "mac"}}},
            **more)

    def _settings(self, iso):
        """[(key, value)] of the .vmx."""
        arm = host_arch() == "aarch64"
        rows = USUAL + (ARM if arm else INTEL) + [
            ("displayName", self["MachineName"]),
            ("guestOS", self._guest(arm, iso)),
            ("numvcpus", str(self.cpus())), ("memsize", str(self["Memory"])),
            ("ethernet0.connectionType", self["NetworkType"]),
            ("ethernet0.address", self["MacAddr"]),
            ("serial0.fileName", "console.log"),
            ("sata0:1.fileName", "boot2docker.iso" if iso else "seed.iso"),
        ]
        shares = self.shares()
        if shares:
            rows += [("sharedFolder.maxNum", str(len(shares))),
                     ("isolation.tools.hgfs.disable", "FALSE")]
        for at, (name, folder) in enumerate(shares):
            start = "sharedFolder%d." % at
            rows += [(start + key, value) for key, value in (
                ("present", "TRUE"), ("enabled", "TRUE"), ("readAccess", "TRUE"),
                ("writeAccess", "TRUE"), ("hostPath", folder), ("guestName", name),
                ("expiration", "never"))]
        return rows

    @staticmethod
    def _guest(arm, iso):
        if iso:
            return "other3xlinux-64"
        return "arm-debian12-64" if arm else "debian12-64"

    def shares(self):
        """[(name, folder of this computer)] as Docker Machine and its successor share them."""
        usual = ("hosthome", "/home")
        if sys.platform == "darwin":
            usual = ("Users", "/Users")
        elif WINDOWS:
            usual = ("Public", os.environ.get("PUBLIC", ""))
        if self["NoShare"] or not os.path.isdir(usual[1]):
            return []
        return [usual]

    def resize(self):
        self._rewrite(dict(self.settings(), memsize=str(self["Memory"]), numvcpus=str(self.cpus())))

    def _rewrite(self, rows):
        rows = dict(rows, **{".encoding": "UTF-8"})
        write_atomic(self.vmx(), vmx_text(rows.items()))

    def start(self):
        if self.get_state() != RUNNING:
            self.vmrun("start", self.vmx(), "nogui")
        self["IPAddress"] = ""
        self.log("Waiting for an address...")
        seconds = (self.get("WaitIP") or 300000) // 1000
        address = wait_for(self._address, seconds, "", 3)
        if not address:
            raise MachineError("The VM %s got no address within %d s. Its console said last: %s" % (
                self["MachineName"], seconds, plain_words(self.console())[-300:] or "nothing"),
                "A bridged one is found by its open-vm-tools alone. See also vmware.log in " +
                self.folder)
        self["IPAddress"] = address

    def _address(self):
        """The guest's IPv4 address, "" without one. Raises MachineError if it went off."""
        self.check_boot()
        return self._find_address()

    def _find_address(self):
        """The same, as the guest tells it, or as a lease has it."""
        try:
            said = self.vmrun("getGuestIPAddress", self.vmx()).strip()
        except MachineError as error:  # without Tools in the guest
            out.debug(error.message)
            said = ""
        address = ip_address(said)
        usable = address and ":" not in address and not address.startswith("169.254.")
        if usable and address != "172.17.0.1":  # that of Docker in the guest
            return address
        return leased(self.mac())

    def mac(self):
        """The address of its network card; VMware made that of one of Docker Machine's."""
        rows = self.settings()
        return (rows.get("ethernet0.generatedaddress") or rows.get("ethernet0.address")
                or self["MacAddr"]).lower()

    def check_boot(self):
        if self.get_state() == STOPPED:
            raise self.went_off("See vmware.log in " + self.folder)
        super().check_boot()
        address = self["IPAddress"] and self._find_address()
        if address and address != self["IPAddress"]:  # that was of a lease of its last boot
            self["IPAddress"] = address
            self.machine.save()
            self.ssh()  # which goes there now

    def stop(self):
        if self.get_state() == SAVED:
            raise MachineError("The machine's state is saved, not running.", "Start it, or throw "
                               "that away: docker-machine kill " + quote(self["MachineName"]))
        self.shut_down(self._ask_to_stop)

    def _ask_to_stop(self):
        try:
            self.vmrun("stop", self.vmx(), "soft")
        except MachineError as error:  # without Tools in the guest
            out.debug(error.message)
            try:
                self.ssh().run("sudo poweroff", seconds=20)
            except MachineError as failed:  # also where the guest went off before it answered
                out.debug(failed.message)

    def kill(self):
        state = self.get_state()
        if state == SAVED:
            rows = self.settings()
            saved = self.path(os.path.basename(rows.pop("checkpoint.vmstate")))
            self._rewrite(rows)
            if os.path.exists(saved):
                os.unlink(saved)
        elif state == RUNNING:
            self.vmrun("stop", self.vmx(), "hard")
            wait_for(lambda: self.get_state() == STOPPED, 60, "The VM does not go off.")

    def remove(self):
        if os.path.exists(self.vmx()):
            if self.get_state() == RUNNING:
                self.kill()
            try:
                self.vmrun("deleteVM", self.vmx())
            except MachineError as error:  # it is registered nowhere: without its files it is gone
                if os.path.exists(self.vmx()) and self.get_state() == RUNNING:
                    raise
                out.debug(error.message)
        for name in ("disk.vmdk", "disk-flat.vmdk", "seed.iso", "boot2docker.iso", "console.log",
                     os.path.basename(self.vmx())):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))

    # --- what it is

    def vmx(self):
        return self.path(self["MachineName"] + ".vmx")

    def settings(self):
        """{key in lower case: value} of the .vmx, which VMware rewrites."""
        try:
            with open(self.vmx(), "rb") as file:
                return read_vmx(decoded(file.read()))
        except FileNotFoundError:
            raise MachineError("There is no VM %s." % self.vmx(), "Forget it: docker-machine rm "
                               + quote(self["MachineName"]))

    def get_state(self):
        return self._state(self.vmrun("list"))

    @classmethod
    def states(cls, drivers, seconds):
        try:
            said = drivers[0].vmrun("list", seconds=seconds)
        except MachineError as error:
            return [error] * len(drivers)
        return each(lambda driver: driver._state(said), drivers)

    def _state(self, said):
        """What `vmrun list` and the .vmx tell."""
        rows = self.settings()
        if place(self.vmx()) in [place(line) for line in said.splitlines()[1:]]:
            return RUNNING
        if rows.get("checkpoint.vmstate"):
            return SAVED
        return STOPPED if rows else ERROR

    def vmrun(self, verb, *words, seconds=0):
        """What vmrun prints. Raises MachineError with its own words, which it says on stdout."""
        from re import findall, search
        program = find_vmrun()
        if not program:
            raise MachineError("vmrun was not found on this computer.", "Install VMware Fusion or "
                               "Workstation, or put the folder of vmrun on the PATH.")
        kind = "fusion" if sys.platform == "darwin" else "ws"
        seconds = seconds or LIMITS.get(verb, 60)

        def late(words):
            return MachineError("vmrun %s did not end within %g s." % (verb, seconds),
                                "Open VMware: it may ask something there. Then do it again.")

        result = run([program, "-T", kind, verb, *words], seconds=seconds, late=late)
        if result.ok and not result.stdout.startswith("Error:"):
            return result.stdout
        said = plain_words(" ".join(findall("(?m)^Error: *(.*)", result.stdout)))[:500]
        said = said or result.last_words()
        fit = [cure for pattern, cure in CURES if search(pattern, said)]
        raise MachineError("vmrun %s failed: %s" % (verb, said),
                           (fit + ["See vmware.log in " + self.folder])[0])


# --- small helpers

def find_vmrun():
    """The path of vmrun, or None."""
    import shutil
    return shutil.which("vmrun") or shutil.which("vmrun", path=os.pathsep.join(places()))


def places():
    """The folders of vmrun, beside the PATH."""
    found = []
    for home in (os.sep, os.path.expanduser("~")):
        contents = os.path.join(home, "Applications", "VMware Fusion.app", "Contents")
        found += [os.path.join(contents, "Library"), os.path.join(contents, "Public")]
    for name in ("ProgramFiles(x86)", "ProgramFiles"):
        found.append(os.path.join(of_windows(name), "VMware", "VMware Workstation"))
    return found


def leases():
    """The files of leases of VMware's DHCP servers."""
    from glob import glob
    patterns = ["/var/db/vmware/vmnet-dhcpd-vmnet*.leases", "/etc/vmware/vmnet*/dhcpd/dhcpd.leases",
                "/etc/vmware/vmnet*/dhcp/dhcp.leases"]
    usual = os.path.join(of_windows("ALLUSERSPROFILE"), "VMware", "vmnetdhcp.leases")
    return [path for pattern in patterns for path in glob(pattern)] + [usual]


def of_windows(name):
    """A folder that Windows names in a variable; elsewhere it is the root, and nothing is there."""
    return os.environ.get(name) or os.sep


def place(path):
    return os.path.normcase(os.path.realpath(path.strip()))


def vmx_text(rows):
    """A .vmx of (key, value); quotes and line ends in a value are escaped as |hex."""
    from re import sub

    def escaped(value):
        return sub('[|"\r\n]', lambda found: "|%02X" % ord(found.group()), value)

    return "".join('%s = "%s"\n' % (key, escaped(value)) for key, value in rows)


def decoded(data):
    """The text of a .vmx, in the encoding that it names."""
    from re import search
    named = search(br'(?m)^\.encoding\s*=\s*"([\w.-]+)"', data)
    try:
        return data.decode(named.group(1).decode() if named else "utf-8", "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def read_vmx(text):
    """{key in lower case: value}."""
    from re import findall, sub
    rows = findall(r'(?m)^\s*([^\s=#]+)\s*=\s*"([^"\n]*)"', text)
    return {key.lower(): sub(r"\|([0-9A-Fa-f]{2})", lambda found: chr(int(found.group(1), 16)),
                             value) for key, value in rows}


def leased(mac):
    """The address that a DHCP server of this computer gave last to a network card, or ""."""
    found = []
    for path in leases():
        found += vmware_leases(read(path), mac)
    if found:
        return max(found)[1]
    return apple_lease(read(APPLE_LEASES), mac)


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 22)
    except OSError:
        return ""


def vmware_leases(text, mac):
    """[(end, address)] of a card's leases in a file of ISC's format; "never" sorts last."""
    from re import findall, search
    found = []
    for address, body in findall(r"(?s)lease\s+([\d.]+)\s*\{(.*?)\}", text):
        end = search(r"\bends\s+(?:\d+\s+)?([^;]+);", body)
        if end and "hardware ethernet %s;" % mac in body.lower():
            found.append((end.group(1), address))
    return found


def apple_lease(text, mac):
    """A card's address in Apple's file, which has no leading zeros in MAC addresses; or ""."""
    from re import findall
    short = ":".join("%x" % int(part, 16) for part in mac.split(":") if part)
    address = ""
    for body in findall(r"(?s)\{(.*?)\}", text):
        row = dict(findall(r"(\w+)=(\S+)", body))
        if row.get("hw_address", "").partition(",")[2] == short:
            address = row.get("ip_address", "")
    return address


def image_of(path):
    """The kind of an image: "iso", "raw", or "packed" for one in a .tar.xz. Raises MachineError."""
    with open(path, "rb") as file:
        if file.read(6) == b"\xfd7zXZ\0":
            return "packed"
    kind = image_kind(path)[0]
    if kind == "qcow2":
        raise MachineError("%s is in the format qcow2, which VMware does not read." % path,
                           "Make it a raw one: qemu-img convert -O raw IMAGE NEW; then name that.")
    return kind


def open_disk(path):
    """The raw disk in an image, to be read."""
    import tarfile
    if image_of(path) == "raw":
        return open(path, "rb")
    archive = tarfile.open(path, "r:xz")
    for entry in archive:
        if entry.isfile() and entry.name.endswith(".raw"):
            return archive.extractfile(entry)
    raise MachineError("%s holds no raw image." % path)


def copy_blocks(source, target):
    """Copy to a new file, with holes where there are only zeros."""
    while True:
        block = source.read(1 << 20)
        if not block:
            return
        if block.strip(b"\0"):
            target.write(block)
        else:
            target.seek(len(block), 1)


def descriptor(size):
    """The text of disk.vmdk for a flat disk of so many bytes (VMware's Virtual Disk Format). A
    blank line before the extent would make qemu-img count it twice."""
    sectors = size // 512
    return DESCRIPTOR % (sectors, min(sectors // (255 * 63), 65535))
