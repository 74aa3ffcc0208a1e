"""A make-believe host for the scripts of provisioning: a folder as its root, and stand-ins for all
programs that could touch the real machine (data/provision/stand-in.sh).

Nothing here needs root, and nothing harms the machine if it runs as root: the scripts get the
folder as ROOT, and a PATH of nothing but the stand-ins and a list of plain tools.
"""

import atexit
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import docker_machine as dm

DATA = Path(__file__).resolve().parent / "data" / "provision"
SHELLS = {name: [shutil.which(name) or ""] + words for name, words in (
    ("dash", ["-s"]), ("bash", ["--posix", "-s"]), ("busybox", ["sh", "-s"])) if shutil.which(name)}
TOOLS = ("awk cat chmod cp env find flock grep gzip head ln ls mkdir mkfifo mktemp mv readlink rm "
         "sed sh sort stat tail tar tee timeout touch tr true").split()
USUAL = ("curl date dpkg engine groupadd hostname hostnamectl id journalctl script sleep "
         "systemctl uname").split()
OTHERS = "apt-cache apt-get dnf pacman rpm sethostname sudo wget yum zypper".split()
PROGRAMS = {  # what is on PATH beside the usual, by package manager
    "apt": ["apt-cache", "apt-get", "sudo"], "dnf": ["dnf", "yum", "rpm", "sudo"],
    "yum": ["yum", "rpm", "sudo"], "zypper": ["zypper", "rpm", "sudo"],
    "pacman": ["pacman"], "tce": ["sethostname", "sudo"], "": [],
}
CERTIFICATES = {"CA": "-----CA-----", "CERT": "-----CERT-----", "KEY": "-----SECRET-----"}
CLOCK = 1700000000

FD = "-H fd:// --containerd=/run/containerd/containerd.sock"
LAYOUTS = {  # an engine as packages bring it: dockerd, its arguments in the unit, whether a socket
    "docker-ce": ("/usr/bin/dockerd", FD, True),
    "docker.io": ("/usr/sbin/dockerd", FD + " $DOCKER_OPTS", True),
    "fedora": ("/usr/bin/dockerd", "--host=fd:// --exec-opt native.cgroupdriver=systemd $OPTIONS",
               True),
    "amazon": ("/usr/bin/dockerd",
               FD + " $OPTIONS $DOCKER_STORAGE_OPTIONS $DOCKER_ADD_RUNTIMES", True),
    "suse": ("/usr/bin/dockerd",
             "--add-runtime oci=/usr/sbin/runc $DOCKER_NETWORK_OPTIONS $DOCKER_OPTS", False),
    "static": ("/usr/local/bin/dockerd", "", False),
}
DOCKERD = "#!/bin/sh\necho 'Docker version 20.10.24+dfsg1, build 5d6db84'\n"
DROP_IN = "/etc/systemd/system/docker.service.d/10-machine.conf"


def engine_options(**changes):
    """"EngineOptions" of config.json as `create` without flags leaves them."""
    lists = ("ArbitraryFlags", "Env", "Labels", "InsecureRegistry", "RegistryMirror")
    options = dict.fromkeys(lists, [])  # type: dict
    options.update(StorageDriver="", InstallURL=dm.DEFAULT_INSTALL_URL, Version="")
    return dict(options, **changes)


class Run:
    """What one run of PROVISION_SH said and did."""

    def __init__(self, code, stdout, stderr, calls):
        self.code, self.stdout, self.stderr, self.calls = code, stdout, stderr, calls
        said = {"step": [], "warn": [], "log": [], "fail": [], "done": []}  # type: dict
        for line in stdout.splitlines():
            mark, _, text = line.partition(" ")
            assert mark[:2] == "::" and mark[2:] in said, "a stray line: %r" % line
            said[mark[2:]].append(text)
        self.steps, self.warnings, self.log = said["step"], said["warn"], said["log"]
        self.failure, self.done = "\n".join(said["fail"]), "".join(said["done"])

    def __repr__(self):
        return "exit code %d\n%s\n%s\n%s" % (self.code, self.stdout, self.stderr,
                                             "\n".join(self.calls))

    def called(self, start):
        """The calls that begin with the words `start`."""
        return [call for call in self.calls if (call + " ").startswith(start + " ")]


class Guest:
    """One make-believe host, whose scripts run in `shell`, a key of SHELLS."""

    def __init__(self, folder, shell, packager="apt", without=(), docker="amazon"):
        self.folder, self.shell = folder, shell
        self._facts = None, None  # type: tuple
        self.root, self.state, self.log = folder / "root", folder / "state", folder / "calls"
        for name in ("root/etc", "root/run/systemd/system", "state/web", "bin", "tmp"):
            (folder / name).mkdir(parents=True)
        for name in set(USUAL + PROGRAMS[packager]) - set(without):
            (folder / "bin" / name).symlink_to(DATA / "stand-in.sh")
        self.tools, self.packages = shared(docker)
        self.note(clock=CLOCK, journal="failed to start daemon: driver not supported")
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        if packager in ("dnf", "yum"):
            self.path("/etc/yum.repos.d").mkdir()

    # --- its files and state

    def path(self, name):
        return self.root / name.lstrip("/")

    def write(self, name, text, mode=0o644):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)
        self.path(name).chmod(mode)

    def link(self, name, target):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).symlink_to(target)

    def read(self, name):
        return self.path(name).read_bytes().decode()

    def mode(self, name):
        return oct(self.path(name).stat().st_mode & 0o7777)

    def note(self, **state):
        """Files of the stand-ins' state; a name's _ stands for -, None deletes."""
        for name, text in state.items():
            path = self.state / name.replace("_", "-")
            if text is not None:
                path.write_text("%s\n" % text)
            elif path.exists():
                path.unlink()

    def offer(self, url, text):
        """Put a file on the web."""
        (self.state / "web" / url.partition("://")[2].replace("/", "_")).write_text(text)

    def running(self):
        """The command line with which the engine was last started; "" if it does not run."""
        path = self.state / "active"
        return path.read_text().strip() if path.exists() else ""

    def files(self):
        """{path: (mode, bytes)} of all files."""
        return {"/" + str(path.relative_to(self.root)):
                (oct(path.stat().st_mode & 0o7777), path.read_bytes())
                for path in sorted(self.root.rglob("*")) if path.is_file()}

    def install(self, layout, active=True):
        """Have an engine there already, running as its package starts it."""
        lay_out(self.root, layout)
        if active:
            self.systemctl("daemon-reload")
            self.systemctl("restart", "docker.service")
            self.systemctl("enable", "docker.service")

    def docker(self, script):
        """Have this as the program docker."""
        path = self.folder / "bin" / "docker"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)

    def systemctl(self, *words):
        subprocess.check_call([str(self.folder / "bin/systemctl")] + list(words), env=self.env())

    # --- its scripts

    def env(self):
        folder = self.folder
        return {"PATH": "%s:%s" % (folder / "bin", self.tools), "TMPDIR": str(folder / "tmp"),
                "STATE": str(self.state), "LOG": str(self.log), "FAKE_ROOT": str(self.root),
                "PACKAGES": str(self.packages)}

    def run(self, script):
        """Run a script as the host would, but below the folder: (exit code, stdout, stderr, calls).
        """
        script, rooted = re.subn(r"(?m)^ROOT=''$", "ROOT=" + dm.quote(str(self.root)), script)
        script, pathed = re.subn(r"PATH=\$PATH:[\w/:]+", "PATH=$PATH", script)
        assert (rooted, pathed) == (1, 1), "the script would leave its folder"
        self.log.write_text("")
        process = subprocess.Popen(
            SHELLS[self.shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.env(), cwd=str(self.folder))
        stdout, stderr = process.communicate((self._prologue() + script).encode(), timeout=60)
        return process.returncode, stdout.decode(), stderr.decode(), self._calls()

    def _prologue(self):
        """Debian's busybox prefers its own applets to PATH, and those are the real thing. Its find
        would run more of them; its tar knows no gzip, which no host with systemd suffers from."""
        if self.shell != "busybox":
            return ""
        programs = [self.folder / "bin" / name for name in USUAL + OTHERS
                    if name in busybox_applets()]
        return "".join("%s() { %s \"$@\"; }\n" % (path.name, dm.quote(str(path)))
                       for path in programs + [self.tools / "find", self.tools / "tar"])

    def _calls(self):
        text = self.log.read_text().replace(str(self.root), "")
        scratch = re.escape(str(self.folder / "tmp")) + r"/[\w.]+"
        return re.sub(scratch, "SCRATCH", text).splitlines()

    host = "192.0.2.7"

    def as_ssh(self):
        """What `docker_machine.SSH` is to probe() and run_as_root()."""
        guest = self

        class SSH:
            host, facts = guest.host, None

            def run(self, command, stdin="", seconds=60, on_line=None):
                code, stdout, stderr, _ = guest.run(stdin)
                for line in stdout.splitlines() if on_line else ():
                    on_line(line)
                return dm.Result(code, stdout, stderr)

        return SSH()

    def probe(self):
        """What probe() makes of this host."""
        return dm.probe(self.as_ssh())

    def facts(self):
        """The same, but asked anew only if what it depends on has changed."""
        key = [(path, path.exists() and path.stat().st_mtime_ns) for path in
               list(self.root.glob("etc/docker/daemon*")) + list(self.root.glob("usr/*/dockerd")) +
               list(self.root.glob("usr/local/*/dockerd"))]
        if self._facts[0] != key:
            self._facts = key, self.probe()
        return self._facts[1]

    def script(self, name="web", url="tcp://192.0.2.7:2376", driver="generic", bundle="",
               certificates=CERTIFICATES, **options):
        """The script that would provision this host."""
        plan = dm.Plan(self.facts(), engine_options(**options), name, driver, url)
        return plan.script(certificates, bundle)

    def provision(self, **changes):
        """Run it; keywords are those of `script`, engine options among them."""
        return self.set_up_by(self.script(**changes))

    def set_up_by(self, script):
        return Run(*self.run(script))


@functools.lru_cache(None)
def shared(docker):
    """What all hosts have in common, made once: links to plain tools, and the packages."""
    folder = Path(tempfile.mkdtemp(prefix="guest-"))
    atexit.register(shutil.rmtree, str(folder), True)
    (folder / "tools").mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (folder / "tools" / name).symlink_to(found)
    for package, layout in (("docker-ce", "docker-ce"), ("docker.io", "docker.io"),
                            ("moby-engine", "fedora"), ("docker", docker)):
        lay_out(folder / "packages" / package, layout)
    return folder / "tools", folder / "packages"


@functools.lru_cache(None)
def busybox_applets():
    return subprocess.check_output([SHELLS["busybox"][0], "--list"]).decode().split()


def lay_out(folder, layout):
    """Write the files of an engine below `folder`."""
    dockerd, arguments, socket = LAYOUTS[layout]
    units = folder / "usr/lib/systemd/system"
    path = folder / dockerd[1:]
    for parent in (units, path.parent):
        parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DOCKERD)
    path.chmod(0o755)
    if arguments:
        (units / "docker.service").write_text(
            "[Unit]\nWants=network-online.target\n%s\n[Service]\nEnvironmentFile=-%s\nExecStart=%s %s\n" % (
                "Requires=docker.socket\n" if socket else "", "/etc/default/docker" if "DOCKER_OPTS" in arguments
                else "/etc/sysconfig/docker", dockerd, arguments))
    if socket:
        (units / "docker.socket").write_text("[Socket]\nListenStream=/run/docker.sock\n")


def os_release(name):
    """The text of a distribution's os-release file."""
    return (DATA / (name + ".os-release")).read_text()
