"""VBoxManage with machines that run: all is VirtualBox's own, but what takes its kernel module.

    vbox_qemu.py FOLDER ROOT WORD...     FOLDER: for all that is kept; ROOT: made by `build_root`

Each call goes to the real VBoxManage, except for startvm, controlvm and the state of machines that
were started; SCRIPT of vbox.py calls this for those alone. A machine that runs is QEMU with its
disks, CDs and network adapters, as the real showvminfo tells them, and a session of the real
VirtualBox that holds its lock, so that the real one refuses what it refuses of a running machine.
Its disks and CDs are virtio, in the order of their ports; its host-only adapters are on the bridge
of that name, where a DHCP server does as the real VirtualBox was told, and keeps the real one's
list of leases.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import xml.etree.ElementTree as tree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

LIVE = ("starting", "running", "paused")
HUMAN = {"poweroff": "powered off"}
PROGRESS = "0%...10%...20%...30%...40%...50%...60%...70%...80%...90%...100%\n"
LEASE = 600  # seconds, as in VirtualBox
INSIDE = 'mount --bind "$0" /usr && exec "$@"'
SESSION = """
import sys
sys.path.insert(0, "/usr/lib/virtualbox/sdk/bindings/xpcom/python")
import vboxapi
manager = vboxapi.VirtualBoxManager(None, None)
box = manager.getVirtualBox()
session = manager.getSessionObject(box)
box.findMachine(sys.argv[1]).lockMachine(session, manager.constants.LockType_Write)
print("locked", flush=True)
for line in sys.stdin:  # rules of port forwarding
    name, kind, *rest = line.strip().split(",")
    engine = session.machine.getNetworkAdapter(0).NATEngine
    if rest:
        engine.addRedirect(name, int(kind == "tcp"), rest[0], int(rest[1]), rest[2], int(rest[3]))
    else:
        engine.removeRedirect(name)
    session.machine.saveSettings()
session.unlockMachine()
"""


def inside(root: Path, *words: str) -> list[str]:
    """The command line of a program of `root`: its /usr is in the place of this system's, and all
    other files are this system's."""
    namespace = ("unshare", "--mount", "--propagation", "slave")
    return [*namespace, "sh", "-c", INSIDE, str(root / "usr"), *words]


def real(root: Path, *words: str) -> list[str]:
    return inside(root, "/usr/lib/virtualbox/VBoxManage", *words)


@contextlib.contextmanager
def turn(kind: int) -> Iterator[None]:
    """Where showvminfo meets the end of a session, VBoxSVC 7.2 crashed or hung once in some fifty times."""
    with (FOLDER / "turn.lock").open("w") as lock:
        fcntl.flock(lock, kind)
        yield


def real_output(*words: str) -> str:
    """What the real one prints; if it fails, so does this."""
    with turn(fcntl.LOCK_SH):
        done = subprocess.run(real(ROOT, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.stdout.buffer.write(done.stdout)
        sys.exit(done.returncode)
    return done.stdout.decode()


def hand_over(*words: str) -> NoReturn:
    argv = real(ROOT, *words)
    os.execvp(argv[0], argv)


def refuse(*lines: str) -> NoReturn:
    sys.exit("\n".join(f"VBoxManage: error: {line}" for line in lines))  # exit code 1


# --- the state of machines


class Machine:
    """What is kept of a machine that was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uuid = folder.name

    @property
    def state(self) -> str:
        """As VMState names it; "" if it was never started."""
        try:
            state, pid = (self.folder / "state").read_text().split()
        except FileNotFoundError:
            return ""
        return "aborted" if state in (*LIVE, "saved") and not os.path.exists(f"/proc/{pid}") else state

    def write(self, state: str, pid: int) -> None:
        new = self.folder / f"state.{os.getpid()}"
        new.write_text(f"{state} {pid}")
        new.replace(self.folder / "state")

    def change(self, state: str) -> None:
        self.write(state, int((self.folder / "state").read_text().split()[1]))

    def since(self) -> str:
        when = time.gmtime((self.folder / "state").stat().st_mtime)
        return time.strftime("%Y-%m-%dT%H:%M:%S.000000000", when)

    def until(self, *states: str, seconds: float = 90) -> bool:
        limit = time.monotonic() + seconds
        while self.state not in states:
            if time.monotonic() > limit:
                return False
            time.sleep(0.05)
        return True

    def qmp(self, command: str, **arguments: object) -> Any:
        """Tell QEMU something."""
        os.chdir(self.folder)  # a socket's path must be short
        with socket.socket(socket.AF_UNIX) as link:
            link.connect("qmp")
            with link.makefile("rw") as file:
                file.readline()
                for each in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    file.write(json.dumps(each))
                    file.flush()
                    answer: dict[str, Any] = {}
                    while "return" not in answer and "error" not in answer:
                        line = file.readline()
                        if not line:
                            return None  # it has ended
                        answer = json.loads(line)
        if "error" in answer:
            refuse(answer["error"]["desc"])
        return answer["return"]

    def monitor(self, line: str) -> None:
        self.qmp("human-monitor-command", **{"command-line": line})


def machines() -> dict[str, Machine]:
    return {path.name: Machine(path) for path in (FOLDER / "machines").iterdir()}


def with_states(text: str) -> str:
    """The output of showvminfo or `list --long vms`, with the states of what was started."""
    lines, machine = [], None
    for line in text.splitlines():
        found = re.match(r'UUID(?:="|: +)([0-9a-f-]+)', line)
        if found:
            machine = machines().get(found[1])
        if machine and machine.state:
            word, since = HUMAN.get(machine.state, machine.state), machine.since()
            line = re.sub("^State:( +).*", rf"State:\g<1>{word} (since {since})", line)
            line = re.sub('^VMState=.*', f'VMState="{machine.state}"', line)
            line = re.sub('^VMStateChangeTime=.*', f'VMStateChangeTime="{since}"', line)
        lines.append(line)
    return "".join(line + "\n" for line in lines)


def running(text: str, long: bool) -> str:
    """What is left of `list vms` in `list runningvms`."""
    pieces = re.split(r"(?m)^(?=Name: )", text) if long else text.splitlines(keepends=True)
    live = [uuid for uuid, machine in machines().items() if machine.state in LIVE]
    return "".join(piece for piece in pieces if any(uuid in piece for uuid in live))


def find(name: str) -> tuple[Machine, dict[str, str]]:
    """A machine and what the real showvminfo says of it."""
    info = {}
    for line in real_output("showvminfo", name, "--machinereadable").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            info[key.strip('"')] = value[1:-1] if value.startswith('"') else value
    return Machine(FOLDER / "machines" / info["UUID"]), info


# --- the machine as QEMU


def rules(info: dict[str, str]) -> list[str]:
    """Of port forwarding, as VirtualBox writes them."""
    return [rule for key, rule in info.items() if key.startswith("Forwarding(")]


def host_side(rule: str) -> str:
    _, kind, address, port, _, _ = rule.split(",")
    return f"{kind}:{address}:{port}"


def both_sides(rule: str) -> str:
    return f"{host_side(rule)}-{rule.split(',')[4]}:{rule.split(',')[5]}"


def add(rule: str) -> str:
    return f"hostfwd_add net1 {both_sides(rule)}"


def remove(rule: str) -> str:
    return f"hostfwd_remove net1 {host_side(rule)}"


def is_free(rule: str) -> bool:
    """Whether its port is; VirtualBox starts without the rules that it cannot have."""
    kind, address, port = host_side(rule).split(":")
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            one.bind((address, int(port)))
            return True
    return False


def interface(name: str) -> bool:
    """Whether there is such a network interface; /sys may be that of another network."""
    return name in [each for _, each in socket.if_nameindex()]


def adapters(machine: Machine, info: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """QEMU's words for the network, and {tap: bridge}."""
    words, taps = [], {}
    forwards = [f"hostfwd={both_sides(rule)}" for rule in rules(info) if is_free(rule)]
    for slot in range(1, 9):
        kind = info.get(f"nic{slot}", "none")
        if kind == "nat":
            back = ",".join(["user", f"id=net{slot}", *(forwards if slot == 1 else ())])
        elif kind == "hostonly":
            bridge, tap = info[f"hostonlyadapter{slot}"], f"vb{machine.uuid[:8]}{slot}"
            if not interface(bridge):
                raise RuntimeError(f"Nonexistent host networking interface, name '{bridge}' (VERR_INTERNAL_ERROR)")
            back, taps[tap] = f"tap,id=net{slot},ifname={tap},script=no,downscript=no", bridge
        elif kind == "none":
            continue
        else:
            back = f"user,id=net{slot},restrict=on"
        digits = info[f"macaddress{slot}"]
        mac = ":".join(digits[at:at + 2] for at in range(0, 12, 2))
        words += ["-netdev", back, "-device", f"virtio-net-pci,netdev=net{slot},mac={mac},romfile="]
    return words, taps


def drives(info: dict[str, str]) -> list[str]:
    """QEMU's words for the disks and CDs, which boot in the order of boot1 to boot4."""
    order = [info.get(f"boot{place}") for place in range(1, 5)]
    words = ["-device", "virtio-scsi-pci"]
    slots = [re.fullmatch(r"(.+)-(\d+)-(\d+)", key) for key in info]
    found = [slot for slot in slots if slot and os.path.isabs(info[slot[0]])]
    for number, slot in enumerate(sorted(found, key=lambda slot: (slot[1], int(slot[2]), int(slot[3])))):
        compact = "{}-IsEjected-{}-{}".format(*slot.groups()) in info
        file, kind = info[slot[0]].replace(",", ",,"), "dvd" if compact else "disk"
        options = ",format=raw,media=cdrom" if compact else ",cache=unsafe"
        device = f"{'scsi-cd' if compact else 'virtio-blk-pci'},drive=drive{number}"
        if kind in order:
            device += f",bootindex={order.index(kind) * 100 + number}"
        words += ["-drive", f"file={file},if=none,id=drive{number}{options}", "-device", device]
    return words


def hardware(info: dict[str, str]) -> list[str]:
    words = ["-accel", "tcg,thread=multi", "-cpu", "qemu64,+rdrand", "-smp", info["cpus"], "-m", info["memory"]]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "file:serial.log", "-rtc", "base=utc"]
    words += ["-qmp", "unix:qmp,server=on,wait=off", "-device", "virtio-rng-pci", *drives(info)]
    return ["qemu-system-x86_64", *words]


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run(machine: Machine, info: dict[str, str]) -> None:
    """Be the process of a machine from its start to its end."""
    machine.folder.mkdir(exist_ok=True)
    os.chdir(machine.folder)
    machine.write("starting", os.getpid())
    qemu = None
    while True:
        with session(machine.uuid):
            if qemu:
                machine.qmp("cont")
            else:
                qemu = launch(machine, info)
            machine.change("running")
            while qemu.poll() is None and machine.state != "saved":
                time.sleep(0.05)
            if machine.state != "saved":
                machine.change("aborted" if qemu.returncode else "poweroff")
                time.sleep(0.5)  # as with VirtualBox, the lock is held for a moment longer
                return
        while machine.state == "saved" and qemu.poll() is None:
            time.sleep(0.05)
        if machine.state != "starting":
            return


def launch(machine: Machine, info: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start QEMU, and what is to be there for its network."""
    words, taps = adapters(machine, info)
    words = [*hardware(info), *words]
    with contextlib.suppress(FileNotFoundError):
        os.remove("qmp")
    with open("qemu.log", "wb") as log:
        qemu = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
    while not os.path.exists("qmp") or not all(map(interface, taps)):
        if qemu.poll() is not None:
            raise RuntimeError("QEMU does not start: " + Path("qemu.log").read_text())
        time.sleep(0.02)
    for tap, bridge in taps.items():
        subprocess.run(["ip", "link", "set", tap, "master", bridge, "up"], check=True)
        Dhcp(bridge).start()
    return qemu


@contextlib.contextmanager
def session(uuid: str) -> Any:
    """Hold the lock of a machine in the real VirtualBox."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo("rules")
    write = os.open("rules", os.O_RDWR)
    read = os.open("rules", os.O_RDONLY)
    argv = inside(ROOT, "/usr/bin/python3", "-c", SESSION, uuid)
    with open("session.log", "wb") as log:
        process = subprocess.Popen(argv, stdin=read, stdout=subprocess.PIPE, stderr=log)
    os.close(read)
    assert process.stdout
    try:
        if process.stdout.readline() != b"locked\n":
            raise RuntimeError(Path("session.log").read_text())
    except RuntimeError:  # without a turn: the session that has the lock ends when nobody writes "rules" any more
        os.close(write)
        process.wait()
        raise
    try:
        yield
    finally:
        with turn(fcntl.LOCK_EX):
            os.close(write)
            process.wait()


def start(name: str, words: tuple[str, ...]) -> None:
    machine, info = find(name)
    if machine.state in LIVE:
        hand_over("startvm", name, *words)
    print(f'Waiting for VM "{name}" to power on...', flush=True)
    failure = FOLDER / f"failure-{os.getpid()}"
    if machine.state == "saved":
        for rule in rules(info):
            machine.monitor(add(rule))
        machine.change("starting")
    elif os.fork() == 0:
        become_daemon()
        try:
            run(machine, info)
        except Exception as error:
            machine.write("poweroff", os.getpid())
            failure.write_text(str(error))
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)
    wait_for_start(machine, failure)
    print(f'VM "{name}" has been successfully started.')


def become_daemon() -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(FOLDER / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, file in enumerate((null, log, log)):
        os.dup2(file, number)


def wait_for_start(machine: Machine, failure: Path) -> None:
    limit = time.monotonic() + 170
    while machine.state != "running":
        if failure.exists() or time.monotonic() > limit:
            text = failure.read_text() if failure.exists() else "no start after 170 s"
            code = "NS_ERROR_FAILURE (0x80004005)"
            refuse(text.strip(), f"Details: code {code}, component ConsoleWrap, interface IConsole")
        time.sleep(0.02)


# --- controlvm


def control(name: str, words: tuple[str, ...]) -> None:
    machine, info = find(name)
    if machine.state not in LIVE or not words:
        with turn(fcntl.LOCK_SH):  # like showvminfo it takes a part in the session
            sys.exit(subprocess.call(real(ROOT, "controlvm", name, *words)))
    plain = {"acpipowerbutton": "system_powerdown", "reset": "system_reset"}
    if words[0] in plain:
        machine.qmp(plain[words[0]])
    elif words[0] == "pause":
        machine.qmp("stop")
        machine.change("paused")
    elif words[0] == "resume":
        machine.qmp("cont")
        machine.change("running")
    elif words[0] == "poweroff":
        machine.qmp("quit")
        machine.until("poweroff", "aborted")
        sys.stderr.write(PROGRESS)
    elif words[0] == "savestate":
        save(machine, info)
        sys.stderr.write(PROGRESS)
    elif words[0] == "natpf1":
        forward(machine, info, *words[1:])
    else:
        sys.exit(f"{sys.argv[0]}: there is no controlvm {words[0]}")


def save(machine: Machine, info: dict[str, str]) -> None:
    """QEMU cannot save a machine with disks of these kinds: it is kept, and its ports are closed."""
    machine.qmp("stop")
    for rule in rules(info):
        machine.monitor(remove(rule))
    machine.change("saved")


def discard(name: str) -> None:
    machine, _ = find(name)
    if machine.state != "saved":
        hand_over("discardstate", name)
    machine.change("poweroff")
    machine.qmp("quit")


def forward(machine: Machine, info: dict[str, str], *words: str) -> None:
    """Change a rule of the running machine, and in its settings."""
    name, line = words[-1].partition(",")[0], words[-1]
    if words[0] == "delete":
        line = f"{name},"
        machine.monitor(remove(next(rule for rule in rules(info) if rule.startswith(line))))
    else:
        machine.monitor(add(line))
    (machine.folder / "rules").write_text(f"{line}\n")
    limit = time.monotonic() + 90
    while rules(find(machine.uuid)[1]) == rules(info) and time.monotonic() < limit:
        time.sleep(0.05)


# --- the DHCP server of a host-only network


class Dhcp(threading.Thread):
    """It serves for as long as a machine runs that has an adapter there."""

    def __init__(self, bridge: str) -> None:
        super().__init__(daemon=True)
        self.bridge = bridge
        self.network = f"HostInterfaceNetworking-{bridge}"
        self.leases = FOLDER / "home" / f"{self.network}-Dhcpd.leases"

    def run(self) -> None:
        with (FOLDER / f"{self.bridge}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one server, in the process of one of the machines
            with socket.socket(type=socket.SOCK_DGRAM) as link:
                for option in (socket.SO_REUSEADDR, socket.SO_BROADCAST):
                    link.setsockopt(socket.SOL_SOCKET, option, 1)
                link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.bridge.encode())
                link.bind(("", 67))
                while True:
                    try:
                        reply = self.reply(link.recv(2048))
                        if reply:
                            link.sendto(reply, ("255.255.255.255", 68))
                    except Exception:
                        traceback.print_exc()  # to the log; it goes on

    def settings(self) -> dict[str, str]:
        """As the real VirtualBox has saved them."""
        for each in tree.parse(FOLDER / "home" / "VirtualBox.xml").iter():
            if each.tag.endswith("}DHCPServer") and each.get("networkName") == self.network:
                return each.attrib
        return {}

    def reply(self, packet: bytes) -> bytes | None:
        options = self.options(packet[240:])
        kind, settings = options.get(53, b"\0")[0], self.settings()
        mac = packet[28:34].hex(":")
        if settings.get("enabled") != "1" or kind not in (1, 3):  # discover, request
            return None
        server = ipaddress.IPv4Address(settings["IPAddress"]).packed
        if options.get(54, server) != server:
            return None
        address = self.lease(mac, options.get(61, b"").hex(), settings, "offered" if kind == 1 else "acked")
        wanted = options.get(50, packet[12:16])
        said = 2 if kind == 1 else 5 if wanted == address else 6  # offer, ack, nak
        head = b"\2" + packet[1:4] + packet[4:8] + bytes(4) + bytes(4) + (address if said != 6 else bytes(4))
        head += bytes(8) + packet[28:44] + bytes(192) + b"\x63\x82\x53\x63"
        mask = ipaddress.IPv4Address(settings["networkMask"]).packed
        items = ((53, bytes([said])), (54, server), (51, struct.pack("!I", LEASE)), (1, mask))
        return head + b"".join(bytes([code, len(data)]) + data for code, data in items) + b"\xff"

    @staticmethod
    def options(data: bytes) -> dict[int, bytes]:
        found, at = {}, 0
        while at < len(data) and data[at] != 255:
            if data[at]:
                found[data[at]] = data[at + 2:at + 2 + data[at + 1]]
                at += 1 + data[at + 1]
            at += 1
        return found

    def lease(self, mac: str, client: str, settings: dict[str, str], state: str) -> bytes:
        """The address for a client, noted in the file of leases."""
        root = tree.Element("Leases", version="1.0")
        if self.leases.exists():
            root = tree.parse(self.leases).getroot()
        taken = {each.find("Address").get("value"): each for each in root}  # type: ignore[union-attr]
        first, last = (int(ipaddress.IPv4Address(settings[key])) for key in ("lowerIP", "upperIP"))
        pool = [str(ipaddress.IPv4Address(number)) for number in range(first, last + 1)]
        own = [address for address in pool if address in taken and taken[address].get("mac") == mac]
        address = (own or [address for address in pool if address not in taken])[0]
        if address in taken:
            root.remove(taken[address])
        lease = tree.SubElement(root, "Lease", mac=mac, id=client, network="0.0.0.0", state=state)
        tree.SubElement(lease, "Address", value=address)
        tree.SubElement(lease, "Time", issued=str(int(time.time())), expiration=str(LEASE))
        new = self.leases.with_suffix(".new")
        tree.ElementTree(root).write(new)
        new.replace(self.leases)
        return ipaddress.IPv4Address(address).packed


def main(*words: str) -> None:
    if words[:1] == ("startvm",) and len(words) > 1:
        start(words[1], words[2:])
    elif words[:1] == ("controlvm",) and len(words) > 1:
        control(words[1], words[2:])
    elif words[:1] == ("discardstate",) and len(words) > 1:
        discard(words[1])
    elif words[:1] == ("showvminfo",) or words[:1] == ("list",) and words[-1] == "vms":
        print(with_states(real_output(*words)), end="")
    elif words[:1] == ("list",) and words[-1] == "runningvms":
        text = real_output(*words[:-1], "vms")
        print(running(with_states(text), "-l" in words or "--long" in words), end="")
    else:
        hand_over(*words)


if __name__ == "__main__":
    FOLDER, ROOT = Path(sys.argv[1]), Path(sys.argv[2])
    main(*sys.argv[3:])
