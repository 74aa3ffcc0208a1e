"""Hyper-V for the tests: what plays powershell.exe, and the state of its virtual machines.

The driver's PowerShell is run line by line: each line is one of those here, or a cmdlet of Hyper-V's with parameters
that it has. What it makes of a disk's footer or a CD is what the file says.
"""

import base64
import json
import os
import re
import struct
import threading
import uuid
from typing import Any  # noqa: F401

from door import Door

WORDS = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-OutputFormat", "Text", "-EncodedCommand"]
DEFAULT_SWITCH = {"Id": "C08CB7B8-9B3C-408E-8E30-5E16A3AEB444", "Name": "Standardswitch", "Type": "Internal"}
EXTERNAL = {"Id": "1b2c3d4e-0000-4000-8000-000000000000", "Name": "Büro & Labor", "Type": "External"}
PARAMETERS = {  # as Microsoft's reference has them
    "Convert-VHD": "Path DestinationPath VHDType DeleteSource!",
    "New-VM": "Name Generation Path MemoryStartupBytes VHDPath SwitchName",
    "Set-VM": "VM AutomaticStartAction AutomaticStopAction AutomaticCheckpointsEnabled",
    "Set-VMMemory": "VM DynamicMemoryEnabled MinimumBytes", "Set-VMProcessor": "VM Count",
    "Set-VMNetworkAdapter": "VM StaticMacAddress", "Set-VMNetworkAdapterVlan": "VM Access! VlanId",
    "Set-VMFirmware": "VM EnableSecureBoot", "Add-VMDvdDrive": "VM Path", "Set-VMDvdDrive": "VMName Path",
    "Get-VM": "Id", "Start-VM": "VM", "Stop-VM": "VM Force! TurnOff! Confirm", "Suspend-VM": "VM", "Resume-VM": "VM",
    "Remove-VM": "VM Force! Confirm", "Remove-VMSavedState": "VM"}


class Failure(Exception):
    """What a cmdlet says when it fails."""


class Hypervisor:
    """The computer. `guests` are the hosts that its VMs are, if they are any (tests/integration/hypervisor.py)."""

    guests = None  # type: Any

    def __init__(self, folder):
        """`folder` gets the program powershell.exe."""
        self.vms, self.scripts, self.asked, self.wrong, self.failures = {}, [], [], [], []
        self.module, self.right, self.service, self.edition = True, True, "Running", "Microsoft Windows 11 Pro"
        self.memory, self.switches = 64 << 30, [DEFAULT_SWITCH, EXTERNAL]
        self.old, self.deaf, self.quiet = False, 0, False
        self.lock = threading.RLock()
        self.door = Door(self.respond, folder / "powershell.exe")

    def close(self):
        self.door.close()

    def fail(self, cmdlet, words="It failed as told"):
        """Let the next call of a cmdlet fail."""
        self.failures.append((cmdlet, words))

    def vm(self):
        """The only one."""
        (row,) = self.vms.values()
        return row

    def add(self, name="web", state="Running", path="C:\\elsewhere", **more):
        row = dict({"Id": str(uuid.uuid4()), "Name": name, "State": state, "Path": path,
                    "Own": ["fe80::1", "127.10.9.9"], "Mac": "00155D000001"}, **more)
        self.vms[row["Id"]] = row
        return row

    # --- one PowerShell

    def respond(self, call):
        words = call.words
        if words[:-1] != WORDS:
            self.wrong.append("words %s" % words[:-1])
        text = base64.b64decode(words[-1]).decode("utf-16-le")
        with self.lock:
            self.scripts.append(text)
            try:
                return 0, Run(self, text).answer + "\r\n", ""
            except Failure as failure:
                return 1, "", "%s\r\n" % failure
            except Exception as error:
                self.wrong.append("%s: %r" % (text, error))
                return 1, "", "The stand-in does not know that."


def matched(pattern, text):
    """The groups of a text that has to fit."""
    found = re.fullmatch(pattern, text)
    assert found, text
    return found.groups()


class Run:
    """One script: `answer` is what it printed."""

    def __init__(self, computer, text):
        self.computer, self.answer = computer, ""
        self.names = {"true": True, "false": False}  # type: Any
        run = [True]  # whether the blocks that we are in are run
        for line in text.splitlines():
            if line == "}":
                run.pop()
            elif line == "} else {":
                run[-1] = not run[-1]
            elif line.startswith("if (") and line.endswith(") {"):
                run.append(all(run) and self.holds(line[4:-3]))
            elif all(run):
                self.do(line)
        assert run == [True]

    def holds(self, condition):
        if condition == "$known.ContainsKey('AutomaticCheckpointsEnabled')":
            return "AutomaticCheckpointsEnabled" in self.names["known"]
        if condition.startswith("$answer"):
            assert condition == "$answer.Right -and $answer.Module -and $answer.Service -eq 'Running'"
            answer = self.names["answer"]
            return answer["Right"] and answer["Module"] and answer["Service"] == "Running"
        state = re.fullmatch(r'"\$\(\$vm\.State\)" -eq \'(\w+)\'', condition)
        if state:
            return self.names["vm"]["State"] == state.group(1)
        value, word, other = matched(r"(\$ask\.\w+)(?: -(gt|eq) (\d+))?", condition)
        left = self.value(value)
        return {None: bool(left), "gt": left and word and left > int(other), "eq": other and left == int(other)}[word]

    def value(self, text):
        name, _, key = text[1:].partition(".")
        if not text.startswith("$"):
            return int(text) if text.isdigit() else text
        return self.names[name][key] if key else self.names[name]

    def do(self, line):
        name, expression = matched(r"(?:\$(\w+(?:\.\w+)?) = |\[Console\]::OutputEncoding = )?(.*)", line)
        value = self.evaluate(expression)
        if line.startswith("ConvertTo-Json"):
            self.answer = json.dumps(value)
        elif name and "." in name:
            self.names[name.partition(".")[0]][name.partition(".")[2]] = value
        elif name:
            self.names[name] = value

    def evaluate(self, text):
        computer, vms = self.computer, list(self.computer.vms.values())
        sent = re.fullmatch(r"\[Text\.Encoding\]::UTF8\.GetString\(\[Convert\]::FromBase64String\('([\w+/=]*)'\)\) "
                            r"\| ConvertFrom-Json", text)
        if sent:
            facts = json.loads(base64.b64decode(sent.group(1)).decode())
            computer.asked.append(facts)
            return facts
        cmdlet = re.fullmatch(r"Hyper-V\\([A-Z]\w+-\w+)([ \w$.:-]*)", text)
        if cmdlet:
            return self.call(*cmdlet.groups())
        known = {
            "'Stop'": "Stop", "'SilentlyContinue'": "SilentlyContinue", "New-Object Text.UTF8Encoding $false": None,
            "@{ Switches = @(); Names = @() }": {"Switches": [], "Names": []},
            "[Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()": "me",
            "New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-578'": "S-1-5-32-578",
            "$who.IsInRole($group) -or $who.IsInRole(544)": computer.right,
            "(Get-CimInstance -ClassName Win32_OperatingSystem).Caption": computer.edition,
            "(Get-CimInstance -ClassName Win32_ComputerSystem).TotalPhysicalMemory": computer.memory,
            "(Get-Command -Name Set-VM -Module Hyper-V).Parameters": [
                name for name in PARAMETERS["Set-VM"].split() if not (computer.old and "Checkpoints" in name)],
            "[bool](Get-Module -ListAvailable -Name Hyper-V)": computer.module,
            '"$((Get-Service -Name vmms -ErrorAction SilentlyContinue).Status)"': computer.service,
            '@(Hyper-V\\Get-VMSwitch | ForEach-Object { @{ Id = "$($_.Id)"; Name = $_.Name; '
            'Type = "$($_.SwitchType)" } })': computer.switches,
            "@(Hyper-V\\Get-VM | ForEach-Object { $_.Name })": [row["Name"] for row in vms],
            '@(Hyper-V\\Get-VM | ForEach-Object { @{ Id = "$($_.Id)"; Name = $_.Name; Path = $_.Path; '
            'State = "$($_.State)" } })': [{key: row[key] for key in ("Id", "Name", "Path", "State")} for row in vms],
            "@(Hyper-V\\Get-VMNetworkAdapter -VM $vm)[0]": self.names.get("vm"),
            "$adapter.MacAddress -replace '(..)(?!$)', '$1-'": "the mac",
            "@(Get-NetNeighbor -LinkLayerAddress $mac -ErrorAction SilentlyContinue | ForEach-Object { "
            "$_.IPAddress })": self._near(),
            "ConvertTo-Json -Compress -Depth 4 -InputObject $answer": self.names.get("answer"),
            "ConvertTo-Json -Compress -Depth 4 -InputObject $rows": self.names.get("rows"),
            "ConvertTo-Json -Compress -InputObject $true": True}
        if text in known:
            return known[text]
        if text == 'ConvertTo-Json -Compress -InputObject @{ Id = "$($vm.Id)" }':
            return {"Id": self.names["vm"]["Id"]}
        assert text == "ConvertTo-Json -Compress -InputObject @{ Own = @($adapter.IPAddresses); Near = $near }", text
        adapter = self.names["adapter"]
        told = adapter["State"] == "Running" and not computer.quiet
        return {"Own": adapter["Own"] if told else [], "Near": self.names["near"]}

    def _near(self):
        return self.names["adapter"]["Own"][1:] if self.computer.quiet and "adapter" in self.names else []

    # --- cmdlets

    def call(self, cmdlet, words):
        given = {}
        for part in re.split(r"\s+-", words)[1:]:
            name, _, word = part.replace(":", " ").partition(" ")
            assert name in PARAMETERS[cmdlet].replace("!", "").split(), (cmdlet, name)
            assert bool(word) != (name + "!" in PARAMETERS[cmdlet].split()), (cmdlet, name)
            given[name] = self.value(word) if word else True
        for at, (wanted, words) in enumerate(self.computer.failures):
            if wanted == cmdlet:
                del self.computer.failures[at]
                raise Failure("%s : %s" % (cmdlet, words))
        return getattr(self, cmdlet.replace("-", "_"))(**given)

    def Convert_VHD(self, Path, DestinationPath, VHDType, DeleteSource):
        with open(Path, "rb") as file:
            head = file.read(1 << 16)
            file.seek(-512, 2)
            size, footer = file.tell(), file.read()
        fields = struct.unpack(">8sIIQI4sI4sQQ4sII", footer[:68])
        cookie, maker, first, now, kind, checksum = [fields[at] for at in (0, 5, 8, 9, 11, 12)]
        assert (cookie, maker, first, now, kind, VHDType) == (b"conectix", b"win ", size, size, 2, "Dynamic")
        assert checksum == ~(sum(footer) - sum(footer[64:68])) & 0xffffffff
        assert not os.path.exists(DestinationPath)
        with open(DestinationPath, "wb") as file:
            file.write(head)
        os.unlink(Path)

    def New_VM(self, Name, Generation, Path, MemoryStartupBytes, VHDPath, SwitchName):
        assert SwitchName in [row["Name"] for row in self.computer.switches] and MemoryStartupBytes % (2 << 20) == 0
        assert os.path.exists(VHDPath) and VHDPath.endswith({1: ".vhd", 2: ".vhdx"}[Generation])
        return self.computer.add(Name, "Off", os.path.join(Path, Name), Generation=Generation, Disk=VHDPath,
                                 Memory=MemoryStartupBytes, Switch=SwitchName, Own=["fe80::1", "127.10.8.8"])

    def Set_VM(self, VM, **settings):
        VM.update(settings)

    def Set_VMMemory(self, VM, DynamicMemoryEnabled, MinimumBytes=0):
        VM.update(Dynamic=DynamicMemoryEnabled, Least=MinimumBytes)

    def Set_VMProcessor(self, VM, Count):
        VM["CPU"] = Count

    def Set_VMNetworkAdapter(self, VM, StaticMacAddress):
        assert re.fullmatch("[0-9A-F]{12}", StaticMacAddress)
        VM["Mac"] = StaticMacAddress

    def Set_VMNetworkAdapterVlan(self, VM, Access, VlanId):
        VM["Vlan"] = VlanId

    def Set_VMFirmware(self, VM, EnableSecureBoot):
        assert VM["Generation"] == 2 and EnableSecureBoot == "Off"

    def Add_VMDvdDrive(self, VM, Path):
        assert VM["Generation"] == 2 and os.path.exists(Path)
        VM["Disc"] = Path

    def Set_VMDvdDrive(self, VMName, Path):
        (row,) = [row for row in self.computer.vms.values() if row["Name"] == VMName]
        assert row["Generation"] == 1 and os.path.exists(Path)
        row["Disc"] = Path

    def Get_VM(self, Id):
        if Id not in self.computer.vms:
            raise Failure("Hyper-V was unable to find a virtual machine with id %s." % Id)
        return self.computer.vms[Id]

    def _turn(self, vm, before, after, act=""):
        if vm["State"] not in before:
            raise Failure("The operation cannot be performed while the object is in its current state.")
        vm["State"] = after
        if self.computer.guests and act:
            getattr(self.computer.guests, act)(vm)

    def Start_VM(self, VM):
        if VM["State"] != "Running":  # else there is only a warning
            self._turn(VM, ("Off", "Saved"), "Running", "start")

    def Stop_VM(self, VM, Force, Confirm, TurnOff=False):
        if not TurnOff and self.computer.deaf:
            self.computer.deaf -= 1
            return
        self._turn(VM, ("Running", "Paused") if TurnOff else ("Running",), "Off", "stop")

    def Suspend_VM(self, VM):
        self._turn(VM, ("Running",), "Paused")

    def Resume_VM(self, VM):
        self._turn(VM, ("Paused",), "Running")

    def Remove_VMSavedState(self, VM):
        self._turn(VM, ("Saved",), "Off")

    def Remove_VM(self, VM, Force, Confirm):
        if VM["State"] != "Off":
            raise Failure("The operation cannot be performed while the object is in its current state.")
        del self.computer.vms[VM["Id"]]
        if self.computer.guests:
            self.computer.guests.destroy(VM["Id"])
