# SPDX-License-Identifier: Apache-2.0
"""Driver `adopted` and the command `adopt`: a host whose engine runs becomes a machine, and nothing
on the host changes.

The engine is asked through ssh, by `docker system dial-stdio` there, as docker itself does for
ssh:// URLs; or over its own TLS, with files that its owner gives."""

from docker_machine import (
    CLIENT_FILES,
    Command,
    Engine,
    Flag,
    GenericDriver,
    MachineError,
    SSHError,
    Unreachable,
    UsageError,
    check_key_file,
    check_new_name,
    copy_file,
    out,
    parse_json,
    plain_alias,
    plain_words,
    quote,
    read_text,
    refuse_existing,
)

LOOK_SH = r"""
command -v docker >/dev/null 2>&1 && echo "docker yes"
echo "user $(id -un)"
for socket in "${DOCKER_HOST#unix://}" /var/run/docker.sock "/run/user/$(id -u)/docker.sock" \
    /run/podman/podman.sock; do
    [ -S "$socket" ] || continue
    if [ -r "$socket" ] && [ -w "$socket" ]; then echo "open $socket"; else echo "shut $socket"; fi
done
grep -qs ':0947 [0-9A-F:]* 0A ' /proc/net/tcp /proc/net/tcp6 && echo "plain yes"
exit 0
"""  # 0947 is port 2375, 0A means that something listens
USUAL_SOCKET = "/var/run/docker.sock"
ASK_SECONDS = 20


class SSHEngine(Engine):
    """An engine that is asked through ssh."""

    def __init__(self, url, ssh, socket, name):
        self.url, self.ssh, self.socket, self.name = url, ssh, socket, name
        self.host = self.port = self.tls = None
        self.files = ()  # type: ignore[assignment]

    def context(self):
        return None

    def get(self, path, seconds):
        """As Engine.get(). Raises Unreachable, or MachineError with what docker there says."""
        command = "docker system dial-stdio"
        if self.socket != USUAL_SOCKET:
            command = "docker --host %s system dial-stdio" % quote("unix://" + self.socket)
        request = "GET %s HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n" % path
        try:
            result = self.ssh.run(command, request, seconds)
        except SSHError as error:
            raise Unreachable(error.message, error.hint)
        status, _, _ = result.stdout.partition("\r\n")
        words = status.split()
        if status[:5] != "HTTP/" or len(words) < 2 or not words[1].isdigit():
            raise MachineError("The engine does not answer on the host: %s" % (
                plain_words(result.last_words(2)) or "docker there said nothing"),
                "Look at it: docker-machine ssh %s docker version" % quote(self.name))
        return int(words[1]), result.stdout[:1000000]


class AdoptedDriver(GenericDriver):
    """A host that somebody else has set up, and whose engine runs."""

    name = "adopted"
    provisions = False
    by_hand = "Do it on the host itself; docker-machine changes nothing on a host that was adopted."
    fields = (("Socket", ""), ("OverTLS", False))  # the engine's socket there; its own TLS instead

    def pre_create_check(self):
        if self["SSHKey"]:
            check_key_file(self["SSHKey"])
        if not self["OverTLS"]:
            self.find_engine()

    def find_engine(self):
        """Find the socket by which this login may ask the engine. Raises MachineError."""
        found = {}  # type: dict
        for line in self.ssh().run("sh -s", LOOK_SH, 30).stdout.splitlines():
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
        if not found.get("open"):
            raise self.no_engine(found)
        if not found.get("docker"):
            raise MachineError(
                "There is no docker program on the host in the PATH of a login without a terminal, "
                "and docker's ssh:// needs it there.",
                "Put it into that PATH on the host (~/.ssh/environment, /etc/environment), or "
                "install the distribution's docker-cli there.")
        self["Socket"] = found["open"][0]
        if found.get("plain"):
            out.warn("Something listens on TCP port 2375 of the host. If that is the engine, "
                        "whoever reaches the port is root there.")

    def no_engine(self, found):
        """The MachineError for a host without a socket that this login may use."""
        user = (found.get("user") or [self.get_ssh_username()])[0]
        if not found.get("shut"):
            return MachineError(
                "No Docker Engine runs on the host, or none with a socket that %s can see." % user,
                "Start it there; or let docker-machine set one up: docker-machine create --driver "
                "generic --generic-ip-address %s %s" % (
                    self["IPAddress"], quote(self["MachineName"])))
        return MachineError(
            "The login %s may not use the engine's socket %s; docker's ssh:// cannot use sudo." % (
                user, found["shut"][0]),
            "If you may: docker-machine adopt with --generic-ssh-user root, or on the host: sudo "
            "usermod -aG docker %s (who may use the socket is root there)" % quote(user))

    def engine(self):
        if self["OverTLS"]:
            return None
        return SSHEngine(self.engine_url(), self.ssh(), self["Socket"] or USUAL_SOCKET,
                         self["MachineName"])

    def engine_url(self):
        """ssh://NAME[/SOCKET] where ssh knows the machine by its name, else with user and address.
        """
        if self["OverTLS"]:
            return super().engine_url()
        socket = "" if self["Socket"] in ("", USUAL_SOCKET) else self["Socket"]
        name = plain_alias(self["MachineName"])
        if knows(self.machine.store, name):
            return "ssh://%s%s" % (name, socket)
        host, port = self.get_ssh_hostname(), self.get_ssh_port()
        return "ssh://%s@%s%s%s" % (self.get_ssh_username(), "[%s]" % host if ":" in host else host,
                                    "" if port == 22 else ":%d" % port, socket)

    def check_provision(self):
        machine = self.machine
        if machine.unfinished():  # by `create --driver adopted`, which is adopt by another name
            return
        if not machine.take_over:
            raise MachineError(
                'Machine "%s" was adopted: nothing on its host is changed.' % machine.name,
                "If it may be set up like any other: docker-machine provision --take-over "
                + quote(machine.name))
        machine.config["HostOptions"]["AuthOptions"].update(
            machine.store.auth_options(machine.name))
        machine.change_driver("generic")
        machine.bootstrap_certificates()


def knows(store, name):
    """Whether ssh has the store's machines in a file that it reads, and this one in it."""
    try:
        return "Host %s\n" % name in read_text(store.ssh_config)
    except OSError:
        return False


def command_adopt(context, options, words):
    if len(words) != 1:
        raise UsageError("Error: Expected one machine name as an argument",
                            "See: docker-machine adopt --help")
    (name,), store = words, context.store
    check_new_name(name)
    refuse_existing(store, name)
    with store.new(name, AdoptedDriver) as machine:
        driver = machine.driver
        driver.set_config_from_flags(options)
        files = tls_files(options)
        driver["OverTLS"] = bool(files)
        out.say("Looking at the host, where nothing is changed...")
        driver.pre_create_check()
        with store.lock(name):
            refuse_existing(store, name)
            keep(machine, files)
        tell(machine)


def tls_files(options):
    """The CA, certificate and key that were given, or none. Raises UsageError."""
    files = [options[flag.name] for flag in TLS_FLAGS]
    if any(files) and not all(files):
        raise UsageError("An engine with its own TLS needs all of %s." % ", ".join(
            "--" + flag.name for flag in TLS_FLAGS))
    return [path for path in files if path]


def keep(machine, files):
    """Save the machine with copies of its files, if its engine answers; else it leaves nothing."""
    store, name = machine.store, machine.name
    store.add(machine)
    try:
        machine.driver.create()
        auth = machine.config["HostOptions"]["AuthOptions"]
        keys = ("CaCertPath", "ClientCertPath", "ClientKeyPath")
        for key, path, (copy, mode) in zip(keys, files, CLIENT_FILES.items()):
            auth[key] = machine.driver.path(copy)
            copy_file(path, auth[key], mode)
        out.say("The engine is Docker %s." % machine.engine_version(ASK_SECONDS))
        machine.save()
        machine.mark("")
    except BaseException:
        store.delete(name)
        raise
    store.tell_others(name)


def tell(machine):
    """What else should be known of the engine, and how to use it."""
    info = engine_info(machine)
    state = (info.get("Swarm") or {}).get("LocalNodeState", "")
    if state not in ("", "inactive"):
        out.say("It is a member of a swarm (%s): a restart moves its tasks." % state)
    if any("rootless" in str(option) for option in info.get("SecurityOptions") or ()):
        out.say("It is rootless, and runs for its user as long as lingering is on.")
    name = quote(machine.name)
    if not machine.driver["OverTLS"] and not knows(machine.store, plain_alias(machine.name)):
        out.say("docker uses its own ssh, which finds key and host key once this was run: "
                   "docker-machine ssh-config --install")
    out.say("To connect your Docker Client to it, run: docker-machine env " + name)


def engine_info(machine):
    """What /info of the engine says; {} if that cannot be read."""
    try:
        _, answer = machine.docker().get("/info", ASK_SECONDS)
        found = parse_json(answer[answer.index("{"):answer.rindex("}") + 1])
    except (MachineError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


TLS_FLAGS = (
    Flag("tls-ca-cert", "", "CA of an engine with its own TLS", file=True),
    Flag("tls-client-cert", "", "Client certificate for it", file=True),
    Flag("tls-client-key", "", "Key of that certificate", file=True),
)
COMMANDS = {"adopt": Command(
    "adopt", command_adopt, "NAME", "Make a machine of a host whose engine runs, and change "
    "nothing there", *AdoptedDriver.flags, *TLS_FLAGS)}
