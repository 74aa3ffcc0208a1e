# SPDX-License-Identifier: Apache-2.0
"""Virtual machines of Hyper-V on this Windows computer, by PowerShell.

Each verb is one PowerShell. What it is to run is always the same text; names, paths and numbers
come to it as JSON in base64, so that none of them is ever code.
"""

import os

from docker_machine import (
    ERROR,
    PAUSED,
    RUNNING,
    SAVED,
    STARTING,
    STOPPED,
    STOPPING,
    WINDOWS,
    Finding,
    Flag,
    LocalVM,
    MachineError,
    UsageError,
    cached_image,
    each,
    format_me,
    image_kind,
    json_text,
    need,
    need_space,
    out,
    parse_json,
    quote,
    run,
    wait_for,
)

IMAGE = ("https://cloud.debian.org/images/cloud/bookworm/latest/"
         "debian-12-genericcloud-amd64.tar.xz")
DEFAULT_SWITCH = "c08cb7b8-9b3c-408e-8e30-5e16a3aeb444"  # Windows translates its name
STATES = {"Running": RUNNING, "Off": STOPPED, "Starting": STARTING, "Resuming": STARTING,
          "Reset": STARTING, "Saved": SAVED, "FastSaved": SAVED, "Paused": PAUSED,
          "Stopping": STOPPING, "Saving": STOPPING, "Pausing": STOPPING, "FastSaving": STOPPING}
ENABLE = ("As administrator: Enable-WindowsOptionalFeature -Online -FeatureName Microsoft-Hyper-V "
          "-All\nthen start Windows anew.")
JOIN = ("As administrator: Add-LocalGroupMember -SID S-1-5-32-578 -Member $env:USERNAME\n"
        "then log out and in.")

BEGIN = """\
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
[Console]::OutputEncoding = New-Object Text.UTF8Encoding $false
$ask = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('%s')) | ConvertFrom-Json
"""
CHECK = """\
$answer = @{ Switches = @(); Names = @() }
$who = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
$group = New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-578'
$answer.Right = $who.IsInRole($group) -or $who.IsInRole(544)
$answer.Edition = (Get-CimInstance -ClassName Win32_OperatingSystem).Caption
$answer.Memory = (Get-CimInstance -ClassName Win32_ComputerSystem).TotalPhysicalMemory
$answer.Module = [bool](Get-Module -ListAvailable -Name Hyper-V)
$answer.Service = "$((Get-Service -Name vmms -ErrorAction SilentlyContinue).Status)"
if ($answer.Right -and $answer.Module -and $answer.Service -eq 'Running') {
$answer.Switches = @(Hyper-V\\Get-VMSwitch | ForEach-Object { @{ Id = "$($_.Id)"; Name = $_.Name; \
Type = "$($_.SwitchType)" } })
$answer.Names = @(Hyper-V\\Get-VM | ForEach-Object { $_.Name })
}
ConvertTo-Json -Compress -Depth 4 -InputObject $answer
"""
LIST = """\
$rows = @(Hyper-V\\Get-VM | ForEach-Object { @{ Id = "$($_.Id)"; Name = $_.Name; Path = $_.Path; \
State = "$($_.State)" } })
ConvertTo-Json -Compress -Depth 4 -InputObject $rows
"""
CREATE = """\
if ($ask.Source) {
Hyper-V\\Convert-VHD -Path $ask.Source -DestinationPath $ask.Disk -VHDType Dynamic -DeleteSource
}
$vm = Hyper-V\\New-VM -Name $ask.Name -Generation $ask.Generation -Path $ask.Folder \
-MemoryStartupBytes $ask.Memory -VHDPath $ask.Disk -SwitchName $ask.Switch
Hyper-V\\Set-VM -VM $vm -AutomaticStartAction Nothing -AutomaticStopAction ShutDown
$known = (Get-Command -Name Set-VM -Module Hyper-V).Parameters
if ($known.ContainsKey('AutomaticCheckpointsEnabled')) {
Hyper-V\\Set-VM -VM $vm -AutomaticCheckpointsEnabled $false
}
if ($ask.Dynamic) {
Hyper-V\\Set-VMMemory -VM $vm -DynamicMemoryEnabled $true -MinimumBytes $ask.Memory
} else {
Hyper-V\\Set-VMMemory -VM $vm -DynamicMemoryEnabled $false
}
Hyper-V\\Set-VMProcessor -VM $vm -Count $ask.CPU
Hyper-V\\Set-VMNetworkAdapter -VM $vm -StaticMacAddress $ask.Mac
if ($ask.Vlan -gt 0) {
Hyper-V\\Set-VMNetworkAdapterVlan -VM $vm -Access -VlanId $ask.Vlan
}
if ($ask.Generation -eq 2) {
Hyper-V\\Set-VMFirmware -VM $vm -EnableSecureBoot Off
Hyper-V\\Add-VMDvdDrive -VM $vm -Path $ask.Disc
} else {
Hyper-V\\Set-VMDvdDrive -VMName $vm.Name -Path $ask.Disc
}
ConvertTo-Json -Compress -InputObject @{ Id = "$($vm.Id)" }
"""
FIND = "$vm = Hyper-V\\Get-VM -Id $ask.Id\n"
DONE = "ConvertTo-Json -Compress -InputObject $true\n"
VERBS = {
    "start": """\
if ("$($vm.State)" -eq 'Paused') {
Hyper-V\\Resume-VM -VM $vm
} else {
Hyper-V\\Start-VM -VM $vm
}
""",
    "stop": """\
if ("$($vm.State)" -eq 'Paused') {
Hyper-V\\Resume-VM -VM $vm
}
Hyper-V\\Stop-VM -VM $vm -Force -Confirm:$false
""",
    "kill": """\
if ("$($vm.State)" -eq 'Saved') {
Hyper-V\\Remove-VMSavedState -VM $vm
} else {
Hyper-V\\Stop-VM -VM $vm -TurnOff -Force -Confirm:$false
}
""",
    "pause": "Hyper-V\\Suspend-VM -VM $vm\n",
    "remove": "Hyper-V\\Remove-VM -VM $vm -Force -Confirm:$false\n"}
ADDRESS = FIND + """\
$adapter = @(Hyper-V\\Get-VMNetworkAdapter -VM $vm)[0]
$mac = $adapter.MacAddress -replace '(..)(?!$)', '$1-'
$near = @(Get-NetNeighbor -LinkLayerAddress $mac -ErrorAction SilentlyContinue | ForEach-Object { \
$_.IPAddress })
ConvertTo-Json -Compress -InputObject @{ Own = @($adapter.IPAddresses); Near = $near }
"""
SCRIPTS = dict({verb: FIND + text + DONE for verb, text in VERBS.items()},
               check=CHECK, list=LIST, create=CREATE, address=ADDRESS)


def flag(name, default, help, field, **more):
    """A flag whose variable has its name in capitals."""
    env = "HYPERV_" + name.upper().replace("-", "_")
    return Flag("hyperv-" + name, default, help, env, field=field, **more)


class HyperVDriver(LocalVM):
    """A virtual machine of Hyper-V on this computer."""

    name = "hyperv"
    patience = 30  # PowerShell takes its time
    flags = (
        flag("boot2docker-url", "", "URL of an ISO of boot2docker, instead of a cloud image",
             "Boot2DockerURL"),
        flag("image", IMAGE, "URL of a cloud-init image: raw, or in a .tar.xz", "Image"),
        flag("virtual-switch", "", "Virtual switch (default: Default Switch, else the first "
             "external one)", "VSwitch"),
        flag("disk-size", 20000, "Size of the disk in MB; it takes only what is used", "DiskSize",
             least=3000),
        flag("memory", 1024, "Memory in MB", "MemSize", least=512),
        flag("cpu-count", 1, "CPUs", "CPU", least=1, most=64),
        flag("static-macaddress", "", "MAC address (default: one is made)", "MacAddr",
             form="([0-9a-fA-F]{2}[:-]?){5}[0-9a-fA-F]{2}"),
        flag("vlan-id", 0, "VLAN of the network card", "VLanID", least=0, most=4094),
        flag("disable-dynamic-memory", False, "Give it all its memory at once, for good",
             "DisableDynamicMemory"),
        flag("ssh-user", "docker", "SSH user, who is made at the first boot", "SSHUser",
             form=r"[A-Za-z_][\w.-]*"),
    )
    fields = (("VMId", ""), ("UUID", ""))
    next_look = 0.0  # when check_boot() asks again

    def checks(self):
        if not (WINDOWS or find_powershell()):
            return []
        try:
            self._check_computer()
        except MachineError as error:
            return [Finding("note", "hyperv", error.message, error.hint.replace("\n", " "))]
        return [Finding("ok", "hyperv", "Hyper-V is on, and you may use it")]

    # --- before the machine is made

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        self["IPAddress"] = ""  # it has one of its own
        self["MacAddr"] = self["MacAddr"].replace("-", "").replace(":", "").upper()
        if self["MemSize"] % 2:
            raise UsageError("--hyperv-memory %d is odd; Hyper-V takes even numbers." %
                             self["MemSize"])
        if self["Boot2DockerURL"]:
            self["SSHUser"] = "docker"

    def pre_create_check(self):
        need("ssh-keygen")
        facts = self._check_computer()
        if self["MemSize"] << 20 > facts["Memory"]:
            raise MachineError("--hyperv-memory %d is more than the %d MB of this computer." % (
                self["MemSize"], facts["Memory"] >> 20), "Give less.")
        if self.machine.name.lower() in [name.lower() for name in facts["Names"]]:
            raise MachineError("Hyper-V has a VM %s already." % self.machine.name,
                               "Take another name.")
        self["VSwitch"] = self._switch(facts["Switches"])
        self._image()

    def _check_computer(self):
        """What Hyper-V here is like. Raises MachineError with the fix."""
        facts = self.ask("check")
        if "Home" in facts["Edition"].split():
            raise MachineError("%s has no Hyper-V." % facts["Edition"],
                               "It takes Windows Pro or Enterprise; or use --driver virtualbox.")
        if not facts["Module"]:
            raise MachineError("Hyper-V is not installed here, or not its PowerShell module.",
                               ENABLE)
        if facts["Service"] != "Running":
            raise MachineError("Hyper-V's service vmms does not run.",
                               "As administrator: Start-Service vmms\n" + ENABLE)
        if not facts["Right"]:
            raise MachineError("You are neither an administrator nor one of Hyper-V's.", JOIN)
        return facts

    def _switch(self, rows):
        """The name of the switch to use. Raises MachineError."""
        names, wanted = [row["Name"] for row in rows], self["VSwitch"]
        if wanted and wanted not in names:
            raise MachineError('Hyper-V has no virtual switch "%s".' % wanted,
                               "It has: %s. List all: Get-VMSwitch" % (", ".join(names) or "none"))
        fit = [row["Name"] for row in rows if row["Id"].lower() == DEFAULT_SWITCH]
        fit += [row["Name"] for row in rows if row["Type"] == "External"]
        if not (wanted or fit):
            raise MachineError("Hyper-V has neither its Default Switch nor an external one.",
                               "Make one: New-VMSwitch -Name external -NetAdapterName Ethernet")
        return wanted or fit[0]

    def _image(self):
        """The path of the image in the cache."""
        iso = self["Boot2DockerURL"]
        return cached_image(self, iso or self["Image"], "", check_iso if iso else check_image)

    # --- the machine

    def create(self):
        row = self.row() if self.get("UUID") else None
        if row and not self["VMId"]:  # of a creation that was cut off
            self.remove()
            row = None
        if row is None:
            image = self._image()
            self.identify()
            self.log("Creating SSH keys...")
            self.make_ssh_keys()
            self["MacAddr"] = self["MacAddr"] or "00155D" + self["UUID"][:6].upper()
            self.machine.save()
            self.log("Creating the disk...")
            self._make_disk(image)
            self.log("Creating the VM...")
            self["VMId"] = self.ask("create", 3600, **self._wishes())["Id"]
            self.machine.save()
        self.start()

    def _is_iso(self):
        return bool(self["Boot2DockerURL"])

    def _wishes(self):
        """What the script "create" is told."""
        disk = "disk.vhd" if self._is_iso() else "disk.vhdx"
        return {"Name": self.machine.name, "Folder": self.folder, "Switch": self["VSwitch"],
                "Memory": self["MemSize"] << 20, "CPU": self["CPU"], "Mac": self["MacAddr"],
                "Vlan": self["VLanID"], "Dynamic": not self["DisableDynamicMemory"],
                "Generation": 1 if self._is_iso() else 2, "Disk": self.path(disk),
                "Source": self.path("fixed.vhd"),
                "Disc": self.path("boot2docker.iso" if self._is_iso() else "seed.iso")}

    def _make_disk(self, image):
        """Write fixed.vhd, which the script "create" makes a dynamic disk of, and the CD."""
        import shutil
        for name in ("fixed.vhd", "disk.vhd", "disk.vhdx"):  # of a creation that was cut off
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        size = self["DiskSize"] << 20
        need_space(self.folder, self["DiskSize"])
        path = self.path("fixed.vhd")
        if self._is_iso():
            shutil.copyfile(image, self.path("boot2docker.iso"))
            with open(path, "wb") as file:
                file.write(format_me(self.public_key()))
        else:
            mac = ":".join(self["MacAddr"][at:at + 2] for at in range(0, 12, 2)).lower()
            self.write_seed("seed.iso", {"ethernets": {"lan": {
                "match": {"macaddress": mac}, "dhcp4": True, "dhcp-identifier": "mac"}}})
            with open_disk(image) as source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                self.check_disk(file.tell())
        with open(path, "r+b") as file:
            file.truncate(size)
            file.seek(size)
            file.write(vhd_footer(size))

    def start(self):
        self.act("start")
        self["IPAddress"] = ""
        self.log("Waiting for an address...")
        self["IPAddress"] = wait_for(self._address, 300, (
            "The VM %s got no address within 300 s: does the switch %s have DHCP, and is its "
            "network card connected?" % (self.machine.name, self["VSwitch"])), 3)

    def _address(self):
        """The guest's IPv4 address as it tells it, or as this computer saw it; "" without one."""
        found = self.ask("address", Id=self.vm())
        addresses = [text for text in (found["Own"] or []) + (found["Near"] or []) if text]
        fit = [text for text in addresses if "." in text and not text.startswith("169.254.")]
        return fit[0] if fit else ""

    def stop(self):
        self.shut_down(lambda: self.act("stop", 400))  # Windows itself waits for 300 s

    def kill(self):
        self.act("kill")
        wait_for(lambda: self.get_state() == STOPPED, 60, "The VM does not go off.")

    def pause(self):
        self.act("pause")

    def check_boot(self):
        """Looks four times a minute, since each look is a PowerShell."""
        from time import monotonic
        if monotonic() < self.next_look:
            return
        self.next_look = monotonic() + 15
        if self.get_state() == STOPPED:
            raise MachineError("The VM %s went off while it booted." % self.machine.name,
                               "See what it shows: vmconnect localhost " + quote(self.machine.name))

    def remove(self):
        if not (find_powershell() or self["VMId"] or self["UUID"] or self["IPAddress"]):
            return  # it was never made
        row = self.row()
        if row is None:
            return
        self["VMId"] = row["Id"]
        if row["State"] != "Off":
            self.kill()
        self.act("remove")
        self["VMId"] = ""

    # --- what it is

    def act(self, verb, seconds=300):
        self.ask(verb, seconds, Id=self.vm())

    def vm(self):
        """The id of the VM. Raises MachineError if it is not there."""
        row = None if self["VMId"] else self.row()
        if row is None and not self["VMId"]:
            raise self._missing()
        return row["Id"] if row else self["VMId"]

    def _missing(self):
        return MachineError("Hyper-V has no VM %s." % self.machine.name,
                            "Forget it: docker-machine rm " + quote(self.machine.name))

    def row(self):
        """What Hyper-V tells of the VM, or None."""
        return self._own(self.ask("list"))

    def _own(self, rows):
        """Ours of the rows: by id, or by where it lies, for one of Docker Machine's and what was
        cut off; a VM of the same name elsewhere is not ours."""
        def place(path):
            return os.path.normcase(os.path.realpath(path)) + os.sep

        for row in rows:
            beneath = place(row["Path"]).startswith(place(self.folder))
            if row["Id"] == self["VMId"] or not self["VMId"] and beneath and (
                    row["Name"] == self["MachineName"]):
                return row
        return None

    def get_state(self):
        return self._state(self.ask("list", self.patience))

    @classmethod
    def states(cls, drivers, seconds):
        drivers[0].patience = seconds
        try:
            rows = drivers[0].ask("list", seconds)
        except MachineError as error:
            return [error] * len(drivers)
        return each(lambda driver: driver._state(rows), drivers)

    def _state(self, rows):
        row = self._own(rows)
        if row is None:
            raise self._missing()
        return STATES.get(row["State"], ERROR)

    # --- PowerShell

    def ask(self, script, seconds=300, **facts):
        """What one of SCRIPTS answers to facts. Raises MachineError with Hyper-V's words."""
        from base64 import b64encode
        program = find_powershell()
        if not program:
            raise MachineError("The hyperv driver needs powershell.exe, which Windows has.",
                               "Elsewhere use --driver qemu or virtualbox.")
        given = b64encode(json_text(facts).encode()).decode()
        text = BEGIN % given + SCRIPTS[script]
        out.debug("PowerShell: %s of %s" % (script, json_text(facts)))
        result = run([program, "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass",
                      "-OutputFormat", "Text", "-EncodedCommand",
                      b64encode(text.encode("utf-16-le")).decode()], seconds=seconds)
        if result.ok:
            try:
                return parse_json(result.stdout.strip().rpartition("\n")[2])
            except ValueError:
                pass
        raise MachineError("Hyper-V cannot do it (%s): %s" % (script, result.last_words()),
                           "More: docker-machine --debug")


# --- small helpers

def find_powershell():
    """The path of Windows PowerShell, or None; a 32-bit Python sees another System32."""
    import shutil
    native = os.path.join(os.environ.get("SystemRoot", ""), "Sysnative", "WindowsPowerShell",
                          "v1.0", "powershell.exe")
    return native if os.path.isfile(native) else shutil.which("powershell.exe")


def check_iso(path):
    if image_kind(path)[0] != "iso":
        raise MachineError("%s is not an ISO." % path)


def check_image(path):
    """Refuse what is not a raw image, or one in a .tar.xz. Raises MachineError."""
    with open(path, "rb") as file:
        packed = file.read(6) == b"\xfd7zXZ\0"
    if not packed and image_kind(path)[0] != "raw":
        raise MachineError("%s is not a raw image." % path,
                           "Make it one: qemu-img convert -O raw IMAGE NEW")


def open_disk(path):
    """The raw disk in an image, to be read."""
    import tarfile
    if not path.endswith(".tar.xz"):
        return open(path, "rb")
    archive = tarfile.open(path, "r:xz")
    for entry in archive:
        if entry.isfile() and entry.name.endswith(".raw"):
            return archive.extractfile(entry)
    raise MachineError("%s holds no raw image." % path)


def vhd_footer(size):
    """The last 512 bytes of a fixed VHD of so many bytes (Virtual Hard Disk Image Format
    Specification, Hard Disk Footer Format)."""
    from struct import pack
    from uuid import uuid4
    sectors = min(size // 512, 65535 * 16 * 255)
    heads, track = 16, 255 if sectors >= 65535 * 16 * 63 else 63
    cylinders = min(sectors // (heads * track), 65535)
    # Of the creator "win ", readers take the size from here, not from the geometry.
    footer = pack(">8sIIQI4sI4sQQHBBII16s", b"conectix", 2, 0x10000, (1 << 64) - 1, 0, b"win ",
                  0x60001, b"Wi2k", size, size, cylinders, heads, track, 2, 0, uuid4().bytes)
    checksum = ~sum(footer) & 0xffffffff
    return (footer[:64] + pack(">I", checksum) + footer[68:]).ljust(512, b"\0")
