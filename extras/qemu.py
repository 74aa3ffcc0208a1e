# SPDX-License-Identifier: Apache-2.0
"""Driver "qemu": a virtual machine by QEMU alone, without root, libvirt or a daemon.

The machine's folder holds its disk (an overlay of an image in the store's cache), the seed from
which its first boot takes keys and certificates, QEMU's console log, pid file and control socket.
The guest is reached through ports of 127.0.0.1 that QEMU forwards.

Contents: Flags and driver; QEMU's command line; Control; Seeds; Images; Image builder.
"""

import os
import sys

from docker_machine import (
    ERROR,
    HOST_KEY,
    LOOPBACK,
    PACKAGE_NAMES,
    PAUSED,
    RUNNING,
    STARTING,
    STOPPED,
    WINDOWS,
    CacheLock,
    Finding,
    Flag,
    LocalVM,
    MachineError,
    Scratch,
    UsageError,
    cached_image,
    find_qemu,
    free_port,
    host_arch,
    host_name,
    image_kind,
    install_line,
    ip_address,
    is_word,
    json_text,
    missing_program,
    need_space,
    out,
    parse_json,
    port_trouble,
    quote,
    read_text,
    run,
    wait_for,
    write_atomic,
)

# --- Flags and driver

PACKAGE_NAMES.update({
    "qemu-system-x86_64": {
        "": "qemu-system-x86", "dnf": "qemu-kvm", "yum": "qemu-kvm", "zypper": "qemu-x86",
        "apk": "qemu-system-x86_64", "pacman": "qemu-system-x86", "brew": "qemu"},
    "qemu-system-aarch64": {
        "": "qemu-system-aarch64", "apt-get": "qemu-system-arm qemu-efi-aarch64",
        "dnf": "qemu-kvm", "yum": "qemu-kvm", "zypper": "qemu-arm", "brew": "qemu"},
    "qemu-img": {"": "qemu-img", "apt-get": "qemu-utils", "zypper": "qemu-tools", "brew": "qemu"},
    "mke2fs": {"": "e2fsprogs"},
    "newuidmap": {"": "shadow-utils", "apt-get": "uidmap", "zypper": "shadow"},
    "mmdebstrap": {"": "mmdebstrap", "apt-get": "mmdebstrap uidmap"},
})
DEFAULT_IMAGE = "debian:bookworm"
CLOUD_IMAGE = ("https://cloud.debian.org/images/cloud/bookworm/latest/"
               "debian-12-genericcloud-%s.qcow2")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # QEMU's word -> Debian's
LEAST_MEMORY, LEAST_DISK = 512, 3000  # MB: what Docker Engine on Debian starts with
BUILD_SPACE = 3000  # MB on the disk while an image is built
QMP_STATES = {  # QMP's RunState (qapi/run-state.json) -> ours; all others run
    "paused": PAUSED, "prelaunch": STARTING, "inmigrate": STARTING,
    "io-error": PAUSED,  # the disk here was full: "cont" writes again
    "internal-error": ERROR, "guest-panicked": ERROR,
}


class QemuDriver(LocalVM):
    """A VM of QEMU's own on this computer."""

    name = "qemu"
    most_cpus = 255
    ports = (("SSHPort", "SSH"), ("EnginePort", "Docker Engine"))
    by_hand = "Do it by hand: docker-machine ssh NAME"
    flags = (
        Flag("qemu-memory", 2048, "Memory of the machine, in MB", "QEMU_MEMORY", field="Memory",
             least=LEAST_MEMORY),
        Flag("qemu-cpu-count", 2, "Number of CPUs (-1 for as many as this computer has)",
             "QEMU_CPU_COUNT", field="CPU", least=-1, most=255),
        Flag("qemu-disk-size", 20000, "Size of the disk, in MB; it takes only what is used",
             "QEMU_DISK_SIZE", field="DiskSize", least=LEAST_DISK),
        Flag("qemu-image", "", "DISTRIBUTION:RELEASE to build from its packages, or the URL of a "
             "cloud-init image (default: debian:bookworm where mmdebstrap (or, for root, "
             "debootstrap) is, else Debian's cloud "
             "image)", "QEMU_IMAGE", field="Image"),
        Flag("qemu-image-checksum", "", "sha256:HEX or sha512:HEX of the image (default: from the "
             "list beside its URL)", "QEMU_IMAGE_CHECKSUM", field="Checksum",
             form="(?i)sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}",
             hint="Write it as sha256:HEX or sha512:HEX, with 64 or 128 digits."),
        Flag("qemu-mirror", "", "Package mirror to build the image from", "QEMU_MIRROR",
             field="Mirror"),
        Flag("qemu-ssh-user", "", "Login that a cloud-init image is given; docker or root in a "
             "built one (default: docker)",
             "QEMU_SSH_USER", field="SSHUser"),
        Flag("qemu-accel", "", "Accelerator: kvm, hvf, whpx, or tcg for none (default: the one "
             "that works)", "QEMU_ACCEL", field="Accel", choices=("kvm", "hvf", "whpx", "tcg")),
        Flag("qemu-arch", "", "Processor, x86_64 or aarch64 (default: this computer's)",
             "QEMU_ARCH", field="Arch", choices=tuple(ARCHITECTURES)),
        Flag("qemu-cpu-type", "", "QEMU's CPU model (default: host, or max under emulation)",
             "QEMU_CPU_TYPE", field="CPUType"),
        Flag("qemu-display", "none", "QEMU's display: none, gtk, cocoa, vnc=:1...", "QEMU_DISPLAY",
             field="Display"),
        Flag("qemu-forward", [], "Forward a port to the machine: [ADDRESS:]PORT:PORT[/udp]",
             "QEMU_FORWARD", field="Forward"),
        Flag("qemu-network", "", "A second network card: bridge:NAME or tap:NAME", "QEMU_NETWORK",
             field="Network"),
        Flag("qemu-share-folder", "", "Folder to share, FOLDER[:PATH IN THE MACHINE]",
             "QEMU_SHARE_FOLDER", field="ShareFolder"),
        Flag("qemu-extra-args", [], "More arguments for QEMU, split as a shell would",
             "QEMU_EXTRA_ARGS", field="ExtraArgs"),
    )
    fields = (("EnginePort", 0), ("Base", ""), ("UUID", ""))
    _image = None  # type: object

    def checks(self):
        try:
            version = run([self.program(), "--version"]).stdout.splitlines()[0]
            self.qemu_img()
        except MachineError as error:
            return [Finding("note", "qemu", error.message, error.hint)]
        accel, reason = find_accelerator(self)
        fit = Finding("ok", "qemu, virtualization", accel) if accel != "tcg" else Finding(
            "note", "qemu, virtualization", "QEMU emulates in software, since " + reason,
            "See that virtualization is enabled in the firmware (in a VM: nested, in its "
            "hypervisor), and its module loaded: modprobe kvm_intel, or kvm_amd")
        return [Finding("ok", "qemu", version), fit]

    # --- before the machine is made

    def set_config_from_flags(self, options):
        share = options["qemu-share-folder"]
        if share and ":/" not in share:
            share += ":" + os.path.abspath(os.path.expanduser(share))
        super().set_config_from_flags(dict(options, **{"qemu-share-folder": share}))
        if set(share.rpartition(":")[2]) & set(" \t\n"):
            raise UsageError("--qemu-share-folder: the path in the machine holds blanks.",
                             "Name another one: --qemu-share-folder FOLDER:/PATH")
        self["SSHKeyPath"] = self.path("id_ed25519")
        kind, _, device = self["Network"].partition(":")
        if self["Network"] and not (kind in ("bridge", "tap") and is_name(device)):
            raise UsageError('--qemu-network "%s" is not bridge:NAME or tap:NAME.'
                             % self["Network"])
        if not is_name(self["SSHUser"]):
            raise UsageError('--qemu-ssh-user "%s" is not a user name.' % self["SSHUser"])
        places = [(forward[1], forward[3]) for forward in map(parse_forward, self["Forward"])]
        if len(places) != len(set(places)):
            raise UsageError("--qemu-forward names a port twice.")
        self.extra_arguments()
        self["Image"] = self["Image"] or self.default_image()
        if "://" not in self["Image"]:
            parse_recipe(self["Image"])
            if self["SSHUser"] not in ("docker", "root"):
                raise UsageError('--qemu-ssh-user "%s" is none of: docker, root.' % self["SSHUser"])
        else:
            check_file_name(self["Image"])

    def default_image(self):
        import shutil
        builder = shutil.which("mmdebstrap") or uses_debootstrap()
        if builder and sys.platform.startswith("linux"):
            return DEFAULT_IMAGE
        return CLOUD_IMAGE % ARCHITECTURES.get(self.arch(), "amd64")

    def pre_create_check(self):
        """Check this computer, and get the image: that is not part of the machine, and a missing
        one must leave nothing behind."""
        super().pre_create_check()
        self.qemu_img()
        choose_accelerator(self)
        self._check_forwards()
        self.image()

    def image(self):
        """Get the base image into the cache: its Image."""
        if self._image is None:
            self._image = (CloudImage if "://" in self["Image"] else BuiltImage)(self)
        return self._image

    # --- the machine

    def create(self):
        if self._pid():
            self.kill()  # what an interrupted creation left
        self.identify()
        image = self.image()
        self["Base"] = os.path.relpath(image.file, os.path.join(self.cache(), "qemu"))
        self.log("Creating SSH keys...")
        self.make_ssh_keys()
        self.settle_ports()
        self.log("Creating the disk...")
        self._make_disk(image)
        image.write_seed()
        self.start()

    def _make_disk(self, image):
        disk = self.path("disk.qcow2")
        if os.path.exists(disk):
            os.unlink(disk)
        # Relative to the disk, so that the store can be moved.
        base = os.path.relpath(image.file, os.path.realpath(self.folder))
        result = run([self.qemu_img(), "create", "-q", "-f", "qcow2", "-F", image.format,
                      "-b", base.replace(os.sep, "/"), disk, "%dM" % self["DiskSize"]])
        if not result.ok:
            raise MachineError("The disk cannot be made: " + result.last_words())

    def taken_ports(self):
        yield from super().taken_ports()
        for settings in self.machine.store.drivers():
            try:
                yield from (parse_forward(text)[1] for text in settings.get("Forward") or [])
            except (TypeError, AttributeError, MachineError):
                continue

    def start(self):
        state = self.get_state()
        if state == PAUSED:
            self.qmp("cont")
            return
        if state == RUNNING:
            return
        if self._pid():
            raise MachineError("QEMU is in the state %s." % state,
                               "End it first: docker-machine kill " + self["MachineName"])
        if not os.path.exists(self.path("disk.qcow2")):
            raise MachineError("The machine has no disk: its creation did not finish.",
                               "Finish it: docker-machine provision " + self["MachineName"])
        self.settle_ports()
        self._check_forwards()
        accel = self._accelerator()
        self.log("Starting QEMU (%s)..." % accel)
        for file in ("qmp.sock", "agent.sock", "qemu.pid"):
            if os.path.exists(self.path(file)):
                os.unlink(self.path(file))
        self._launch(Arguments(self, accel).all())

    def check_boot(self):
        if not self._pid():
            raise self.went_off()
        if self.get_state() == ERROR:
            raise MachineError("QEMU gave up on the machine while it booted.",
                               "Try it without acceleration: --qemu-accel tcg")
        super().check_boot()

    def _check_forwards(self):
        for address, port, _, kind in map(parse_forward, self.get("Forward", [])):
            trouble = port_trouble(port, address, kind)
            if trouble:
                raise MachineError("Port %d of %s cannot be forwarded: %s." % (
                    port, address, trouble), "Forward another one, or end what is in the way.")

    def _accelerator(self):
        accel, reason = choose_accelerator(self)
        if accel == "tcg":
            self.log("Without hardware acceleration (%s) the machine is emulated in software: "
                     "expect a tenth of the speed." % reason)
        return accel

    def stop(self):
        if self.get_state() == PAUSED:
            self.qmp("cont")
        self.log("Waiting for the machine to shut down...")
        self.shut_down(self._ask_to_power_off)

    def _ask_to_power_off(self):
        try:
            self.agent("guest-shutdown")
        except MachineError:
            try:
                self.qmp("system_powerdown")
            except MachineError:
                pass  # it has ended in between, or the next try tells

    def kill(self):
        pid = self._pid()
        if not pid:
            return
        try:
            self.qmp("quit")
        except MachineError:
            pass
        if not wait_for(lambda: not self._pid(), 5, ""):
            import signal
            try:
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                pass
            wait_for(lambda: not self._pid(), 10, "QEMU (process %d) does not end." % pid)

    def pause(self):
        self.qmp("stop")

    def remove(self):
        self.kill()

    def get_state(self):
        if not self._pid():
            return STOPPED
        try:
            return QMP_STATES.get(self.qmp("query-status")["status"], RUNNING)
        except MachineError:
            return RUNNING if self._pid() else STOPPED  # another command is talking to QEMU

    def _pid(self):
        """The process of this machine's QEMU, or 0. QEMU holds a lock on its pid file as long as it
        lives (util/oslib-posix.c), so another process that got the same number is not mistaken."""
        try:
            with open(self.path("qemu.pid"), "r+") as file:
                pid = int(file.read().strip() or 0)
                if WINDOWS:
                    return pid if self._qmp_answers() else 0
                import fcntl
                try:
                    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others may ask too
                except OSError:
                    return pid
        except (FileNotFoundError, ValueError):
            pass
        except OSError as error:
            raise MachineError("%s cannot be read: %s." % (error.filename, error.strerror),
                               "Was it started by another user, or by sudo?")
        return 0

    # --- where it is

    def engine_port(self):
        return self.get("EnginePort", 0)

    def listen_port(self):
        return super().engine_port()

    def arch(self):
        return self.get("Arch") or host_arch()

    def program(self):
        """The path of QEMU. Raises MachineError naming its package."""
        import shutil
        name = "qemu-system-" + self.arch()
        found = find_qemu() if self.arch() == host_arch() else shutil.which(name)
        if not found:
            raise missing_program(name)
        return found

    def qemu_img(self):
        import shutil
        found = shutil.which("qemu-img") or shutil.which(
            "qemu-img", path=os.path.dirname(os.path.realpath(self.program())))
        if not found:
            raise missing_program("qemu-img")
        return found

    def extra_arguments(self):
        import shlex
        try:
            return [word for text in self.get("ExtraArgs", []) for word in shlex.split(text)]
        except ValueError as error:
            raise UsageError("--qemu-extra-args cannot be split: %s." % error)

    # --- Control

    def _launch(self, argv):
        """Start QEMU in the background. Raises MachineError with its words if it does not start."""
        if WINDOWS:
            return self._launch_on_windows(argv)
        result = run(argv + ["-daemonize"], seconds=120, cwd=self.folder)
        if not result.ok:
            raise MachineError("QEMU does not start: " + result.last_words(),
                               "Its command line is shown by --debug.")

    def _launch_on_windows(self, argv):
        import subprocess
        out.debug("run: " + " ".join(argv))
        with open(self.path("qemu.log"), "w") as log:
            process = subprocess.Popen(
                argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                creationflags=0x208)  # DETACHED_PROCESS, CREATE_NEW_PROCESS_GROUP
        wait_for(lambda: process.poll() is not None or self._qmp_answers(), 60,
                 "QEMU does not answer on its control port.")
        if process.poll() is not None:
            raise MachineError("QEMU does not start: " + read_text(self.path("qemu.log")).strip())

    def qmp(self, command, **arguments):
        """Ask QEMU (docs/interop/qmp-spec): the "return" of the answer. Raises MachineError."""
        with talk_to(self.path("qmp.sock"), 3) as (connection, lines):
            lines.readline()  # the greeting
            exchange(connection, lines, "qmp_capabilities")
            return exchange(connection, lines, command, arguments)

    def agent(self, command):
        """Ask the guest agent, if one answers a ping; for a command that has no answer."""
        with talk_to(self.path("agent.sock"), 1) as (connection, lines):
            exchange(connection, lines, "guest-ping")
            send(connection, command)
            lines.readline()  # until it closes, or a second later

    def _qmp_answers(self):
        try:
            return bool(self.qmp("query-status"))
        except MachineError:
            return False


class talk_to:
    """`with talk_to(socket, seconds) as (connection, lines)`; what fails is a MachineError."""

    def __init__(self, path, seconds):
        self.path, self.seconds = path, seconds

    def __enter__(self):
        try:
            self.connection = connect_to(self.path, self.seconds)
        except (OSError, ValueError) as error:
            raise MachineError("QEMU does not answer: %s" % error)
        return self.connection, self.connection.makefile("rb")

    def __exit__(self, kind, error, trace):
        self.connection.close()
        if isinstance(error, (OSError, ValueError)):
            raise MachineError("QEMU does not answer: %s" % error)


def send(connection, command, arguments=None):
    words = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
    connection.sendall(json_text(words).encode() + b"\n")


def exchange(connection, lines, command, arguments=None):
    """The answer to a command; events that come in between are passed over."""
    send(connection, command, arguments)
    answer = {"event": ""}  # type: dict
    while "event" in answer:
        answer = parse_json(lines.readline().decode() or '{"error": {"desc": "it has gone"}}')
    if "return" not in answer:
        raise MachineError("QEMU refuses %s: %s" % (command, answer["error"].get("desc", "")))
    return answer["return"]


def connect_to(path, seconds):
    """A connection to a unix socket, by a link where the path is longer than the 104 bytes or so
    that an address can hold."""
    import socket
    if WINDOWS:
        return socket.create_connection((LOOPBACK, int(read_text(path))), seconds)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    try:
        if len(os.fsencode(path)) < 100:
            connection.connect(path)
        else:
            with Scratch() as folder:
                link = os.path.join(folder, "m")
                os.symlink(os.path.dirname(path), link)
                connection.connect(os.path.join(link, os.path.basename(path)))
    except BaseException:
        connection.close()
        raise
    return connection


# --- Checks

def is_name(text):
    return is_word(text, "_.-") and text[0] not in "-."


def check_file_name(url):
    """Raises UsageError for a URL whose last part, without a query, is not the name of an image."""
    name = url.partition("?")[0].rpartition("/")[2]
    if not is_name(name):
        raise UsageError('--qemu-image "%s" names no file.' % url)
    if name.endswith((".xz", ".gz", ".zst", ".zip", ".tar")):
        raise UsageError("%s is compressed." % name, "Unpack it, and give it as file:///PATH")


def parse_forward(text):
    """(address, port here, port there, "tcp" or "udp") of a --qemu-forward. Raises UsageError."""
    ports, _, kind = text.partition("/")
    words = ports.split(":")
    address = words[0] if len(words) == 3 else LOOPBACK
    numbers = [int(word) if word.isdecimal() else 0 for word in words[-2:]]
    valid = len(words) in (2, 3) and all(0 < number < 65536 for number in numbers)
    if not valid or kind not in ("", "tcp", "udp") or not ip_address(address):
        raise UsageError('--qemu-forward "%s" is not [ADDRESS:]PORT:PORT[/udp].' % text,
                         "For example: --qemu-forward 8080:80")
    return address, numbers[0], numbers[1], kind or "tcp"


# --- QEMU's command line

def choose_accelerator(driver):
    """(accelerator, why not another): each is tried by starting QEMU with it for a moment."""
    if driver.get("Accel") == "tcg":
        return "tcg", "--qemu-accel tcg"
    accel, reason = find_accelerator(driver)
    if driver.get("Accel") not in ("", accel):
        raise MachineError("--qemu-accel %s does not work here: %s." % (
            driver["Accel"], reason or accel + " does"), "Leave it out, or --qemu-accel tcg")
    return accel, reason


def find_accelerator(driver):
    """The same, whatever the flag says."""
    if driver.arch() != host_arch():
        return "tcg", "this computer is %s" % host_arch()
    accel = {"darwin": "hvf", "win32": "whpx"}.get(sys.platform, "kvm")
    if accel == "kvm" and not os.path.exists("/dev/kvm"):
        return "tcg", "there is no /dev/kvm"
    if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg", "/dev/kvm is not open to you; to change that: sudo usermod -aG kvm $USER"
    argv = [driver.program()] + Arguments(driver, accel).processor() + [
        "-m", "64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
    try:
        result = run(argv, '{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n', 20)
    except MachineError as error:
        return "tcg", error.message
    if result.ok:
        return accel, ""
    words = (result.stderr.strip().splitlines() or ["exit code %d" % result.code])[0]
    return "tcg", "%s does not work: %s" % (accel, words.rpartition("qemu-system-")[2].partition(
        ": ")[2].replace("error: ", "") or words)


class Arguments:
    """The command line of one machine's QEMU."""

    def __init__(self, driver, accel):
        self.driver, self.accel = driver, accel

    def all(self):
        driver = self.driver
        with_seed = os.path.exists(driver.path("seed.img"))
        return ([driver.program(), "-name", "docker-machine " + driver["MachineName"]]
                + self.processor()
                + ["-smp", str(driver.cpus()), "-m", str(driver["Memory"]), "-nodefaults",
                   "-no-user-config"]
                + self.display() + self.control() + self.drive("disk", "disk.qcow2", "qcow2")
                + (self.drive("seed", "seed.img", "raw") if with_seed else [])
                + self.networks() + ["-device", "virtio-rng-pci"] + self.share() + self.boot()
                + driver.extra_arguments())

    def processor(self):
        cpu = self.driver.get("CPUType") or ("host" if self.accel in ("kvm", "hvf") else "max")
        machine = "virt,gic-version=max" if self.driver.arch() == "aarch64" else "pc"
        accel = "tcg,thread=multi" if self.accel == "tcg" else self.accel
        return ["-M", machine, "-accel", accel, "-cpu", cpu]

    def display(self):
        if self.driver["Display"] == "none":
            return ["-display", "none"]
        device = "virtio-gpu-pci" if self.driver.arch() == "aarch64" else "VGA"
        return ["-display", self.driver["Display"], "-device", device, "-device", "qemu-xhci",
                "-device", "usb-kbd", "-device", "usb-tablet"]

    def control(self):
        """Sockets are named relative to the folder that QEMU starts in: a full path may be too
        long for them."""
        if WINDOWS:
            port = free_port(())
            write_atomic(self.driver.path("qmp.sock"), str(port))
            sockets = ["-qmp", "tcp:%s:%d,server=on,wait=off" % (LOOPBACK, port)]
        else:
            sockets = ["-qmp", "unix:qmp.sock,server=on,wait=off",
                       "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off",
                       "-device", "virtio-serial-pci", "-device",
                       "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        return ["-pidfile", self.driver.path("qemu.pid"), "-serial", "file:console.log"] + sockets

    def drive(self, name, file, kind):
        read_only = ",readonly=on" if name == "seed" else ",discard=unmap"
        return ["-drive", "file=%s,id=%s,if=none,format=%s%s" % (file, name, kind, read_only),
                "-device", "virtio-blk-pci,drive=%s,serial=machine-%s" % (name, name)]

    def networks(self):
        driver = self.driver
        forwards = [(LOOPBACK, driver["SSHPort"], 22, "tcp"),
                    (LOOPBACK, driver["EnginePort"], driver.listen_port(), "tcp")]
        forwards += map(parse_forward, driver.get("Forward", []))
        user = "user,id=net0" + "".join(
            ",hostfwd=%s:%s:%d-:%d" % (kind, address, here, there)
            for address, here, there, kind in forwards)
        words = ["-netdev", user, "-device", "virtio-net-pci,netdev=net0,romfile="]
        kind, _, device = driver.get("Network").partition(":")
        if kind:
            words += ["-netdev", "bridge,id=net1,br=" + device if kind == "bridge" else
                      "tap,id=net1,ifname=%s,script=no,downscript=no" % device, "-device",
                      "virtio-net-pci,netdev=net1,romfile=,mac=" + self.mac()]
        return words

    def mac(self):
        """An address of QEMU's own range that other machines do not have."""
        import hashlib
        digest = hashlib.sha256(self.driver.identify().encode()).hexdigest()
        return "52:54:00:" + ":".join(digest[place:place + 2] for place in (0, 2, 4))

    def share(self):
        folder = self.driver.get("ShareFolder").rpartition(":")[0]
        if not folder:
            return []
        return ["-virtfs", "local,path=%s,mount_tag=share,security_model=none"
                % folder.replace(",", ",,")]

    def boot(self):
        """A built image comes with its kernel; others have a boot loader, for which arm64 needs
        firmware. What the CPU's mitigations are for does not happen under emulation, and a kernel
        that checks its timer panics where a busy computer is late ("IO-APIC + timer doesn't work").
        QEMU before 8 translates a library for each address that a process has it at: without random
        ones, a boot takes a fifth less.
        """
        folder = os.path.dirname(os.path.join(self.driver.cache(), "qemu", self.driver["Base"]))
        if os.path.exists(os.path.join(folder, "image.json")):
            facts = parse_json(read_text(os.path.join(folder, "image.json")))
            return ["-kernel", os.path.join(folder, "vmlinuz"),
                    "-initrd", os.path.join(folder, "initrd.img"), "-append", facts["append"]
                    + (" mitigations=off no_timer_check norandmaps" if self.accel == "tcg" else "")]
        if self.driver.arch() == "aarch64":
            return ["-bios", arm_firmware(self.driver.program())]
        return []


def arm_firmware(program):
    """The UEFI firmware for arm64. Raises MachineError naming its package."""
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(program)))
    for path in (prefix + "/share/qemu/edk2-aarch64-code.fd",
                 "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
                 "/usr/share/edk2/aarch64/QEMU_EFI.fd", "/usr/share/AAVMF/AAVMF_CODE.fd"):
        if os.path.exists(path):
            return path
    raise MachineError("There is no UEFI firmware for arm64 on this computer.",
                       "Install it: " + (install_line("qemu-system-aarch64") or "edk2"))


# --- Images and their seeds

class CloudImage:
    """A disk image with cloud-init and a boot loader, as distributions publish them."""

    def __init__(self, driver):
        self.driver = driver
        self.file = cached_image(driver, driver["Image"], driver["Checksum"], self._check)
        self.format = self._check(self.file)

    def _check(self, path):
        """The image's format. Raises MachineError for what is not a disk that fits."""
        kind, size, _ = image_kind(path)
        if kind == "iso":
            raise MachineError("%s is an ISO, not a disk image." % self.driver["Image"])
        self.driver.check_disk(size)
        return kind

    def write_seed(self):
        target = self.driver.get("ShareFolder").rpartition(":")[2]
        self.driver.write_seed("seed.img", mounts=[
            ["share", target, "9p", SHARE_OPTIONS + ",nofail", "0", "0"]] if target else [])


class BuiltImage:
    """A root file system with kernel and initrd, built here from a distribution's packages."""

    format = "raw"

    def __init__(self, driver):
        self.driver = driver
        distribution, suite = parse_recipe(driver["Image"])
        arch, general = ARCHITECTURES[driver.arch()], bool(driver["ShareFolder"])
        folder = os.path.join(driver.cache(), "qemu", "-".join(
            [distribution, suite, arch] + ["general"] * general + [recipe_mark()]))
        with CacheLock(folder):
            if not os.path.exists(folder):
                need_space(folder, BUILD_SPACE)
                driver.log("Building the image %s, once for all machines..." % driver["Image"])
                build_image(distribution, suite, arch, general, driver["Mirror"], folder,
                            driver.log)
        self.file = os.path.join(folder, "disk.raw")
        self.engine = parse_json(read_text(os.path.join(folder, "image.json")))["docker"]

    def write_seed(self):
        """The seed is a tar that the first boot unpacks: keys, name, certificates and options are
        in place before anything is started."""
        driver = self.driver
        name, user = host_name(driver["MachineName"]), driver.get_ssh_username()
        home, owner = ("root", 0) if user == "root" else ("home/" + user, 1000)
        host_key = driver.path(HOST_KEY)
        tar = Tar()
        tar.add("etc/hostname", name)
        tar.add("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + name)
        tar.add(home + "/.ssh/", "", 0o700, owner)
        tar.add(home + "/.ssh/authorized_keys", read_text(driver.get_ssh_key_path() + ".pub"),
                0o600, owner)
        tar.add("etc/ssh/ssh_host_ed25519_key", read_text(host_key), 0o600)
        tar.add("etc/ssh/ssh_host_ed25519_key.pub", read_text(host_key + ".pub"))
        listen = "fd://" if self.engine["socket"] else "unix:///var/run/docker.sock"
        files = driver.machine.engine_files(
            self.engine["path"], listen, self.engine["containerd"])
        for path, (mode, text) in files.items():
            tar.add(path.lstrip("/"), text, mode)
        if driver["ShareFolder"]:
            add_share(tar, driver["ShareFolder"].rpartition(":")[2])
        write_atomic(driver.path("seed.img"), tar.bytes())


SHARE_OPTIONS = "trans=virtio,version=9p2000.L,msize=262144"


def add_share(tar, target):
    """A mount unit for the shared folder (systemd.mount(5))."""
    unit = "-".join("".join(
        char if char.isalnum() or char in ":_." else "\\x%02x" % byte
        for char, byte in ((chr(byte), byte) for byte in os.fsencode(part)))
        for part in target.split("/") if part) + ".mount"
    tar.add("etc/systemd/system/" + unit, "[Mount]\nWhat=share\nWhere=%s\nType=9p\nOptions=%s\n" % (
        target, SHARE_OPTIONS))
    tar.add("etc/systemd/system/multi-user.target.wants/" + unit, link="../" + unit)


class Tar:
    """A tar archive of small texts, padded to whole sectors of a disk."""

    def __init__(self):
        import io
        import tarfile
        self._buffer = io.BytesIO()
        self._file = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.GNU_FORMAT)

    def add(self, path, text="", mode=0o644, owner=0, link=""):
        import io
        import tarfile
        import time
        entry = tarfile.TarInfo(path.rstrip("/"))
        data = (text.rstrip("\n") + "\n").encode()
        entry.mode, entry.uid, entry.mtime = mode, owner, int(time.time())
        if link:
            entry.type, entry.linkname = tarfile.SYMTYPE, link
        elif path.endswith("/"):
            entry.type = tarfile.DIRTYPE
        else:
            entry.size = len(data)
        self._file.addfile(entry, io.BytesIO(data) if entry.size else None)

    def bytes(self):
        self._file.close()
        return self._buffer.getvalue()


def parse_recipe(text):
    """(distribution, suite) of an image to build. Raises UsageError."""
    distribution, _, suite = text.partition(":")
    if distribution not in DISTRIBUTIONS or not is_name(suite):
        raise UsageError('--qemu-image "%s" is neither a URL nor DISTRIBUTION:RELEASE.' % text,
                         "For example: --qemu-image debian:bookworm, or --qemu-image file:///PATH")
    return distribution, suite


# --- Image builder

# No recommended packages are installed. The pattern is for apt: docker-cli where it is a package.
PACKAGES = (
    "systemd-sysv udev dbus openssh-server docker.io ?exact-name(docker-cli) iptables apparmor "
    "iproute2 sudo ca-certificates kmod e2fsprogs busybox-static cpio netbase tzdata "
    "systemd-timesyncd procps")
DISTRIBUTIONS = {
    "debian": {
        "mirrors": (("http://deb.debian.org/debian", "{}"),
                    ("http://deb.debian.org/debian", "{}-updates"),
                    ("http://deb.debian.org/debian-security", "{}-security")),
        "origin": "Debian", "components": "main", "rolling": ("sid", "unstable", "testing"),
        "kernel": "linux-image-cloud-", "general": "linux-image-",
        "keyring": "debian-archive-keyring", "package": "debian-archive-keyring",
    },
    "ubuntu": {
        "mirrors": (("http://archive.ubuntu.com/ubuntu", "{}"),
                    ("http://archive.ubuntu.com/ubuntu", "{}-updates"),
                    ("http://security.ubuntu.com/ubuntu", "{}-security")),
        "origin": "Ubuntu", "components": "main universe", "rolling": (),
        "kernel": "linux-image-virtual", "general": "linux-image-virtual",
        "keyring": "ubuntu-archive-keyring", "package": "ubuntu-keyring",
    },
}  # type: dict
MODULES = "virtio_pci virtio_mmio virtio_blk crc32c_generic ext4"
# Nothing of this computer's mke2fs.conf: an older guest's own tools must know each feature.
MKE2FS_CONF = "[fs_types]\next4 = {\ninode_size = 256\n}\n"
EXT4_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum")
COMMAND_LINE = "root=LABEL=machine-root rw console=%s quiet net.ifnames=0"
OUTPUT = {"disk.raw": "", "vmlinuz": "", "initrd.img": "", "manifest": "",
          "mke2fs.conf": MKE2FS_CONF}

# The first process: finds the root disk, reads the seed at the first boot, hands over to systemd.
INIT_SH = r"""#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
while read -r module; do $bb insmod "/modules/$module"; done </modules/order
root=
read -r line </proc/cmdline
for word in $line; do
    case $word in root=*) root=${word#root=} ;; esac
done
tries=0
while :; do
    case $root in LABEL=*|UUID=*) disk=$($bb findfs "$root" 2>/dev/null) ;; *) disk=$root ;; esac
    [ ! -b "$disk" ] || break
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "no root disk $root" >/dev/console; exec $bb sh; }
    $bb sleep 0.1
done
# s_state of the superblock: the kernel has met errors in this file system
case $($bb dd if="$disk" bs=1 skip=1082 count=1 2>/dev/null | $bb hexdump -e '1/1 "%d"') in
    2|3|6|7)
        echo "checking $disk" >/dev/console
        $bb mount -t ext4 -o ro,noload "$disk" /root && while read -r file; do
            $bb mkdir -p "${file%/*}"
            $bb cp -L "/root$file" "$file"
        done </fsck
        $bb umount /root
        /sbin/e2fsck -y "$disk" >/dev/console 2>&1
        ;;
esac
# a new disk reads as zeros: no need to write the inode tables of the part that it grows by
$bb mount -t ext4 -o noatime,noinit_itable "$disk" /root || exec $bb sh
$bb mount -o move /dev /root/dev
if [ ! -e /root/var/lib/machine-seed ]; then
    seed=
    for serial in /sys/block/vd*/serial; do
        [ "$($bb cat "$serial" 2>/dev/null)" != machine-seed ] || seed=${serial%/serial}
    done
    seeded=yes
    if [ -n "$seed" ]; then
        $bb chroot /root tar -x -p -C / --numeric-owner --no-overwrite-dir \
            <"/root/dev/${seed##*/}" >/root/dev/console 2>&1 || seeded=
    fi
    set -- /root/etc/ssh/ssh_host_*_key
    [ -e "$1" ] || $bb chroot /root ssh-keygen -q -t ed25519 -N '' \
        -f /etc/ssh/ssh_host_ed25519_key </root/dev/null >/root/dev/console 2>&1
    if [ -n "$seeded" ]; then : >/root/var/lib/machine-seed
    else echo "the seed disk could not be read" >/root/dev/console; fi
fi
$bb umount /proc
$bb umount /sys
exec $bb switch_root -c /dev/console /root /sbin/init
"""

# Runs beside the new system ($1), as root or as the root of a user's namespace.
CUSTOMIZE_SH = r"""set -eu
root=$1
PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset LD_PRELOAD || :
inside() { chroot "$root" "$@"; }
put() { mkdir -p "${root}${1%/*}"; cat >"$root$1"; }

echo 'STEP configure' >&2
inside useradd -m -u 1000 -s /bin/bash -g docker -G sudo -p '*' docker
put /etc/sudoers.d/machine <<'END'
docker ALL=(ALL) NOPASSWD: ALL
END
chmod 440 "$root/etc/sudoers.d/machine"
inside passwd -l root >/dev/null
put /etc/ssh/sshd_config.d/machine.conf <<'END'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
END
# / is not listed: it is mounted, checked and grown without fstab's units
echo '# what else to mount' >"$root/etc/fstab"
echo machine >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 machine\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
put /etc/systemd/network/10-machine.network <<'END'
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
END
put /etc/systemd/network/80-others.network <<'END'
[Match]
Name=eth* en*
[Network]
DHCP=yes
END
# What no first `docker` command needs waits until the engine is up
put /etc/systemd/system/machine-late.service <<'END'
[Unit]
Description=Grow the root file system, keep the clock, load AppArmor profiles
After=docker.service ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/bin/sh -c 'exec resize2fs "$(findmnt -n -o SOURCE /)"'
ExecStart=-/bin/systemctl start --no-block systemd-timesyncd.service apparmor.service
[Install]
WantedBy=multi-user.target
END
inside systemctl --quiet enable systemd-networkd.service ssh.service docker.service \
    machine-late.service
inside systemctl --quiet disable systemd-timesyncd.service apparmor.service
inside systemctl --quiet mask @MASKED@
mkdir -p "$root/etc/systemd/system-generators"
for generator in @GENERATORS@; do
    ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done
touch "$root/etc/.updated" "$root/var/.updated"

# a kernel that the guest upgrades to would never be started: it comes from the host
inside apt-mark -qq hold @KERNEL@ $(cd "$root/var/lib/dpkg/info" && ls linux-image-[0-9]*.list |
    sed 's/\.list$//; s/:.*//') >/dev/null

kernel=$(ls "$root"/lib/modules | sort -V | tail -n 1)
ram=$root/tmp/initrd
mkdir -p "$ram"/bin "$ram"/modules "$ram"/dev "$ram"/proc "$ram"/sys "$ram"/root
{ echo /sbin/e2fsck; inside ldd /sbin/e2fsck | grep -o '/[^ ]*'; } >"$ram/fsck"
: >"$ram/modules/order"
cp "$root/bin/busybox" "$ram/bin/busybox"
cat >"$ram/init" <<'END'
@INIT@END
chmod 755 "$ram/init"
for module in @MODULES@; do
    inside modprobe -S "$kernel" --show-depends "$module" 2>/dev/null || :
done | while read -r verb file rest; do
    [ "$verb" = insmod ] || continue
    name=${file##*/}
    name=${name%%.ko*}.ko
    [ ! -e "$ram/modules/$name" ] || continue
    case $file in
        *.xz) inside busybox xz -dc "$file" ;;
        *.zst) inside zstd -qdc "$file" ;;
        *.gz) inside gzip -dc "$file" ;;
        *) inside cat "$file" ;;
    esac >"$ram/modules/$name"
    echo "$name" >>"$ram/modules/order"
done
inside sh -c 'cd /tmp/initrd && find . | cpio --quiet -o -H newc -R 0:0' >/proc/self/fd/9/initrd.img
cat "$root/boot/vmlinuz-$kernel" >/proc/self/fd/9/vmlinuz
{
    echo "kernel_release $kernel"
    inside dpkg-query -W -f 'package ${Package} ${Version}\n' '@KERNEL@' docker.io containerd runc \
        openssh-server systemd 2>/dev/null || :
    for unit in docker.service docker.socket; do
        for folder in etc lib usr/lib; do
            [ -f "$root/$folder/systemd/system/$unit" ] || continue
            echo "unit $unit"
            sed -n 's/^ExecStart=/exec /p' "$root/$folder/systemd/system/$unit"
            break
        done
    done
} >/proc/self/fd/9/manifest

rm -rf "$root"/boot/* "$root"/initrd.img* "$root"/vmlinuz* "$root"/tmp/initrd
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
    "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/var/lib/dbus/machine-id \
    "$root"/var/lib/systemd/random-seed
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*
find "$root/var/log" -type f -delete
rm -rf "$root"/var/log/journal "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
mkdir -p "$root"/var/lib/apt/lists/partial "$root"/var/cache/apt/archives/partial
: >"$root/etc/machine-id"

echo 'STEP disk' >&2
# a second view of the tree, without what is mounted below it
mount --bind "$root" "$root/mnt"
status=0
MKE2FS_CONFIG=/proc/self/fd/9/mke2fs.conf mke2fs -q -F -t ext4 -O @FEATURES@ \
    -I 256 -m 1 -e remount-ro -L machine-root \
    -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 -d "$root/mnt" \
    /proc/self/fd/9/disk.raw 2800M >&2 || status=$?
umount "$root/mnt"
exit $status
"""
MASKED = (  # what finds nothing to do in this guest, or nobody to do it for
    "systemd-networkd-wait-online.service systemd-network-generator.service "
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer "
    "e2scrub_all.timer e2scrub_reap.service systemd-pstore.service "
    "modprobe@drm.service modprobe@configfs.service modprobe@fuse.service modprobe@dm_mod.service "
    "modprobe@loop.service sys-kernel-config.mount systemd-update-utmp.service "
    "systemd-update-utmp-runlevel.service"
)
# Each is a program that would be started before anything else, and finds nothing in this guest.
GENERATORS = (
    "bless-boot cryptsetup getty gpt-auto hibernate-resume integritysetup rc-local system-update "
    "veritysetup tpm2 ssh"
)
# debootstrap, for root where mmdebstrap is not to be had: $0 is our script, and $1 the lines of
# sources.list; it takes packages from one source alone, so updates come from the others afterwards.
DEBOOTSTRAP_SH = r"""set -eu
script=$0 sources=$1 suite=$2 uri=$3
shift 3
root=$TMPDIR/root
echo 'STEP download'
debootstrap "$@" "$suite" "$root" "$uri"
PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset TMPDIR # which is not there inside
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
printf '%s\n' "$sources" >"$root/etc/apt/sources.list"
export DEBIAN_FRONTEND=noninteractive
echo 'STEP update'
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y upgrade
chroot "$root" apt-get -q -y install --no-install-recommends @PACKAGES@
rm "$root/usr/sbin/policy-rc.d"
exec sh -c "$script" sh "$root"
"""
STEPS = (  # what mmdebstrap, debootstrap or our own script says -> what the user sees
    ("I: running apt-get update", "Reading package lists..."),
    ("I: downloading packages", "Downloading packages..."),
    ("STEP download", "Downloading the base system..."),
    ("I: Installing core packages", "Installing the base system..."),
    ("STEP update", "Installing kernel, systemd, ssh and Docker Engine..."),
    ("I: installing essential", "Installing the base system..."),
    ("I: installing remaining", "Installing kernel, systemd, ssh and Docker Engine..."),
    ("STEP configure", "Configuring the system..."),
    ("STEP disk", "Making the disk image..."),
)
MIRROR_HINT = "Check the network and the proxy, or name another mirror: --qemu-mirror URL"
FAILURES = (  # what mmdebstrap and its tools say, the surest first -> what is wrong, what to do
    (("No space left on device",), "the disk is full",
     "Make room: 2 GB in {scratch}, and as much in the store."),
    (("does not have a Release file", "has no Release file", "404  Not Found"),
     "the mirror has no release {suite}",
     "Name one that it has, or another mirror: --qemu-mirror URL"),
    (("is not valid yet",), "this computer's clock is wrong", "Set the clock."),
    (("is expired",), "the mirror is out of date, or this computer's clock is wrong", MIRROR_HINT),
    (("NO_PUBKEY", "BADSIG", "is not signed", "signatures were invalid"),
     "the packages' signature cannot be verified",
     "Update the package {package}, or name another mirror: --qemu-mirror URL"),
    (("Could not resolve", "Temporary failure resolving", "onnect to", "Connection",
      "Failed to fetch"), "the package mirror cannot be reached", MIRROR_HINT),
    (("subuid", "newuidmap"), "this user may not make user namespaces",
     "Give yourself a range of ids: sudo usermod --add-subuids 100000-165535 "
     "--add-subgids 100000-165535 $USER"),
    (("unshare: unshare failed",), "this root may not mount file systems", "Run it where root may, "
     "or give the URL of a cloud image: --qemu-image URL"),
    (("unshare",), "this user may not make user namespaces", "See whether sysctl "
     "kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns forbids it, "
     "or build the image as root."),
    (("Unable to locate package",), "the mirror lacks a package", MIRROR_HINT),
)


def recipe_mark():
    """A few digits that change with what is built, so that an old image is not taken for a new."""
    import hashlib
    return hashlib.sha256("".join(map(str, (
        PACKAGES, sorted(DISTRIBUTIONS.items()), MODULES, EXT4_FEATURES, COMMAND_LINE, INIT_SH,
        CUSTOMIZE_SH, MASKED, GENERATORS))).encode()).hexdigest()[:8]


def build_image(distribution, suite, arch, general, mirror, folder, say):
    """Make `folder` with disk.raw, vmlinuz, initrd.img and image.json, or nothing. Raises
    MachineError with the tools' own words."""
    import tempfile
    facts = DISTRIBUTIONS[distribution]
    keyring = "/usr/share/keyrings/%s.gpg" % facts["keyring"]
    _check_tools(arch, keyring, facts["package"])
    work = folder + ".part"
    _remove_build(work)  # of a builder that was killed
    # The system grows outside the store: a namespace's root must reach it, and /tmp may be memory.
    parent = os.environ.get("TMPDIR") or "/var/tmp"
    need_space(parent, BUILD_SPACE)
    scratch = tempfile.mkdtemp(prefix="docker-machine-", dir=parent)
    try:
        os.chmod(scratch, 0o711 if os.geteuid() else 0o700)  # root's has setuid programs
        os.makedirs(os.path.join(work, "out"))
        os.symlink(scratch, os.path.join(work, "scratch"))
        builder = _debootstrap if uses_debootstrap() else _mmdebstrap
        kernel = facts["general" if general else "kernel"]
        if kernel.endswith("-"):
            kernel += arch
        command = builder(facts, suite, arch, kernel, keyring, _sources(facts, suite, mirror))
        _run_builder(command, work, scratch, say, dict(facts, suite=suite, scratch=scratch))
        manifest = _manifest(read_text(os.path.join(work, "out", "manifest")), arch)
        write_atomic(os.path.join(work, "out", "image.json"), json_text(manifest))
        for name in ("manifest", "mke2fs.conf"):
            os.unlink(os.path.join(work, "out", name))
        os.chmod(os.path.join(work, "out"), 0o700)
        os.rename(os.path.join(work, "out"), folder)
    finally:
        _remove_build(work)


def _remove_build(work):
    import shutil
    scratch = os.path.join(work, "scratch")
    if os.path.islink(scratch):
        place = os.readlink(scratch)
        if not os.geteuid():
            run(["umount", "--lazy", place])  # what a chroot may have left
        shutil.rmtree(place, ignore_errors=True)
        if os.path.isdir(place) and os.geteuid():  # files of the namespace's users
            run(["mmdebstrap", "--unshare-helper", "rm", "-rf", "--"] + [
                os.path.join(place, name) for name in os.listdir(place)], cwd="/")
            shutil.rmtree(place, ignore_errors=True)
        if os.path.exists(place):
            return  # the next build tries again
    shutil.rmtree(work, ignore_errors=True)


def _check_tools(arch, keyring, package):
    tools = ("mmdebstrap", "apt-get") + (("newuidmap",) if os.geteuid() else ())
    for tool in ("mke2fs",) + (() if uses_debootstrap() else tools):
        if not _which(tool):
            raise missing_program(tool)
    if not os.path.exists(keyring):
        raise MachineError("The keys that sign the packages are missing: " + keyring,
                           "Install the package %s." % package)
    if ARCHITECTURES.get(host_arch()) != arch and not (
            _which("arch-test") and run(["arch-test", arch]).ok):
        raise MachineError("An image for %s cannot be built on this computer (%s)." % (
            arch, host_arch()), "Install qemu-user-static and arch-test, or give the URL of a "
            "cloud image: --qemu-image URL")


def uses_debootstrap():
    """Whether it takes mmdebstrap's place: it needs root, but no apt."""
    return not WINDOWS and not os.geteuid() and not _which("mmdebstrap") and bool(
        _which("debootstrap"))


def _which(tool):
    import shutil
    return shutil.which(tool, path=_tool_path())


def _tool_path():
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def _customize(kernel):
    script = CUSTOMIZE_SH
    for name, value in (("MASKED", MASKED), ("GENERATORS", GENERATORS), ("KERNEL", kernel),
                        ("MODULES", MODULES), ("FEATURES", EXT4_FEATURES), ("INIT", INIT_SH)):
        script = script.replace("@%s@" % name, value)
    return script


def _debootstrap(facts, suite, arch, kernel, keyring, sources):
    packages = " ".join(map(quote, PACKAGES.split() + [kernel]))
    lines = ["deb %s %s %s" % source for source in sources]
    return _own_mounts() + ["sh", "-c", DEBOOTSTRAP_SH.replace("@PACKAGES@", packages),
            _customize(kernel), "\n".join(lines), suite, sources[0][0], "--variant=minbase",
            "--arch=" + arch, "--keyring=" + keyring, "--include=ca-certificates",
            "--components=" + facts["components"].replace(" ", ",")]


def _mmdebstrap(facts, suite, arch, kernel, keyring, sources):
    return ([] if os.geteuid() else _own_mounts()) + [
        "mmdebstrap", "--variant=minbase", "--format=null", "--architectures=" + arch,
        "--mode=" + ("unshare" if os.geteuid() else "root"), '--aptopt=APT::Sandbox::User "root"',
        "--include=" + ",".join(PACKAGES.split() + [kernel]),
        "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/info/*",
        "--customize-hook=" + _customize(kernel), suite, "-",
    ] + ["deb [arch=%s signed-by=%s] %s %s %s" % (arch, keyring, uri, name, components)
         for uri, name, components in sources]


def _own_mounts():
    """Words in front of root's builder. Its mounts must end with it, also by a kill: what is left
    is removed as a tree. In a chroot, whose root is not a mount point, all mounts cannot be made
    private at once; those below the scratch folder are then."""
    if run(["unshare", "--mount", "true"]).ok:
        return ["unshare", "--mount"]
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c",
            'mount --bind "$TMPDIR" "$TMPDIR" && mount --make-private "$TMPDIR" && exec "$@"', "sh"]


def _sources(facts, suite, mirror):
    """What apt is to read, [(URI, suite, components)]: the named mirror, else this computer's own
    for that release, else the distribution's."""
    if mirror:
        return [(mirror, suite, facts["components"])]
    found = {}  # type: dict
    for line in _apt("apt-get", "indextargets", "--format",
                     "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)", "Created-By: Packages"):
        origin, uri, name, component = (line.split("|") + [""] * 4)[:4]
        if origin == facts["origin"] and uri.startswith("http") \
                and component in facts["components"].split() \
                and name in (suite, suite + "-updates", suite + "-security"):
            found.setdefault((len(name), uri, name), set()).add(component)
    if any(name == suite for _, _, name in found):
        return [(key[1], key[2], " ".join(sorted(found[key]))) for key in sorted(found)]
    mirrors = facts["mirrors"][:1] if suite in facts["rolling"] else facts["mirrors"]
    return [(uri, name.format(suite), facts["components"]) for uri, name in mirrors]


def _apt(*argv):
    """The lines that apt-get or apt-config answers; none if it fails."""
    if not _which(argv[0]):
        return []
    result = run(list(argv))
    return result.stdout.splitlines() if result.ok else []


def _builder_environment(scratch):
    """Words for env(1). mmdebstrap's apt does not read this computer's apt.conf, where a proxy may
    be named; INITRD keeps the kernel package from making an initrd, ours is smaller and faster."""
    variables = {"LC_ALL": "C.UTF-8", "PATH": _tool_path(), "INITRD": "No", "TMPDIR": scratch}
    for scheme in ("http", "https"):
        for line in _apt("apt-config", "shell", "v", "Acquire::%s::Proxy" % scheme):
            value = line.partition("=")[2].strip("'")
            if value not in ("", "DIRECT"):  # not in argv: it may hold a password
                os.environ.setdefault(scheme + "_proxy", value)
    return ["%s=%s" % pair for pair in variables.items()]


def _run_builder(command, work, scratch, say, words):
    """Run mmdebstrap. What it makes comes out through descriptor 9, a folder: the root of a user's
    namespace cannot reach into a private home by its path."""
    folder = os.path.join(work, "out")
    os.chmod(folder, 0o711)
    for name, text in OUTPUT.items():
        write_atomic(os.path.join(folder, name), text, 0o666)
        os.chmod(os.path.join(folder, name), 0o666)
    said = []  # type: list

    def on_line(line):
        for start, text in STEPS:
            if line.startswith(start):
                say(text)
        out.hear(line)
        if line and not line.startswith(("I: ", "STEP ")):
            said.append(line)

    result = run(["env"] + _builder_environment(scratch) + [
        "sh", "-c", 'exec 9<"$0" && cd / && exec "$@" 2>&1', folder] + command, seconds=3600,
        on_line=on_line)
    if not result.ok:
        raise _failure(said, words)
    for name in OUTPUT:
        os.chmod(os.path.join(folder, name), 0o600)


def _failure(said, words):
    """The MachineError for what mmdebstrap and its tools said."""
    for marks, sentence, hint in FAILURES:
        found = [line for mark in marks for line in said
                 if mark in line and "oAPT::Status-Fd" not in line]
        if found:
            return MachineError("The image cannot be built: %s (%s)." % (
                sentence.format(**words), found[0].strip().rstrip(".")), hint.format(**words))
    return MachineError("The image cannot be built. Its builder says:\n" + "\n".join(said[-12:]))


def _manifest(text, arch):
    """image.json: what the builder's script told of the system."""
    console = "ttyAMA0" if arch == "arm64" else "ttyS0"
    facts = {"packages": {}, "append": COMMAND_LINE % console}  # type: dict
    command, units = [], []  # type: list, list
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "package" and len(rest.split()) == 2:
            facts["packages"].update([rest.split()])
        elif word == "unit":
            units.append(rest)
        elif word == "exec" and units[-1] == "docker.service":
            command = rest.split()
    containerd = [item.partition("=")[2] for item in command if item.startswith("--containerd=")]
    facts["docker"] = {"path": command[0], "containerd": "".join(containerd[:1]),
                       "socket": "docker.socket" in units}
    return facts
