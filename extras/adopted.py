# SPDX-License-Identifier: Apache-2.0
"""Hosts whose engine runs already and which nothing is changed on: `docker-machine adopt`.

The engine is reached by its socket through SSH, as docker does it for ssh:// addresses, or by its
own TLS with the client's files that its owner gave out.
"""

import os

from docker_machine import (
    RUNNING,
    Command,
    Engine,
    Flag,
    GenericDriver,
    MachineError,
    Silent,
    SSHError,
    Unreachable,
    UsageError,
    check_new_name,
    copy_file,
    dial,
    is_word,
    out,
    parse_json,
    plain_words,
    quote,
    read_text,
    refuse_existing,
    run,
)

# Asks an engine by the means that the login has, first as itself, then by sudo. Before each answer
# is a mark, who asked, and the socket (- is the one that docker takes by itself); the last counts.
# The request stays open until it is answered, since an engine that sees its end gives up.
ASK_SH = r"""
request='echo $$; printf "GET %s HTTP/1.0\r\nHost: docker\r\n\r\n" "$0"; exec sleep 30'
try() {  # PROGRAM...: end if it reaches an engine
    printf '\n%s%s %s\n' "$MARK" "$who" "$socket"
    words=$(sh -c "$request" "$TARGET" 2>/dev/null | {
        read -r pid; "$@"; code=$?; kill "$pid"; exit "$code"; } 2>&1 >&3) && exit 0
    said="$said $words"
}
reach() {  # WHO [SUDO...]
    who=$1 path=${socket#-}; shift
    if command -v docker >/dev/null; then
        try "$@" docker ${path:+--host "unix://$path"} system dial-stdio
    fi
    path=${path:-/var/run/docker.sock} who=$who-without
    [ "$#" != 0 ] || [ -w "$path" ] || return 0
    if command -v curl >/dev/null; then
        try "$@" curl -s -S -i -0 --unix-socket "$path" "http://docker$TARGET"
    fi
}
main() {
    said= run=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
    : "${SOCKETS:=- $run/docker.sock $HOME/.docker/run/docker.sock $run/podman/podman.sock}"
    for socket in $SOCKETS; do
        case $socket in -|"$SOCKETS") ;; *) [ -S "$socket" ] || continue ;; esac
        reach login
    done
    socket=${SOCKETS%% *}
    if command -v sudo >/dev/null && [ "$(id -u)" != 0 ]; then reach sudo sudo -n; fi
    printf '\n%snobody -\n%s' "$MARK" "$said"
}
main 3>&1 </dev/null
"""
TLS_FILES = (  # flag, field, key of "AuthOptions", name of the copy in the machine's folder, help
    ("tls-ca", "TLSCA", "CaCertPath", "ca.pem", "CA of an engine that is to be reached by its own "
     "TLS, not by SSH"),
    ("tls-cert", "TLSCert", "ClientCertPath", "cert.pem", "Client certificate for it"),
    ("tls-key", "TLSKey", "ClientKeyPath", "key.pem", "Key of the client certificate"))


class EngineBySsh(Engine):
    """An engine that is asked through SSH. `who` reached it last: "login" or "sudo", "-without"
    behind it if not by the host's docker; `socket` is the path of that, "-" for docker's own."""

    who = socket = host = ""

    def __init__(self, driver, sockets):
        self.driver, self.sockets, self.name = driver, sockets, driver["MachineName"]
        self.url, self.files, self.tls = driver.address(), (), "none"  # type: ignore[assignment]

    def get(self, path, seconds):
        mark = os.urandom(8).hex() + " "
        script = "MARK='%s' TARGET='%s' SOCKETS='%s'\n%s" % (mark, path, self.sockets, ASK_SH)
        try:
            result = self.driver.ssh().run("sh -s", script, seconds)
        except SSHError as error:
            late = "did not end" in error.message or "timed out" in error.message
            raise (Silent if late else Unreachable)(error.message, error.hint)
        head, _, answer = result.stdout.rpartition(mark)[2].partition("\n")
        self.who, _, self.socket = head.partition(" ")
        if not (answer.startswith("HTTP/1.") and answer[9:12].isdigit()):
            raise self._failure(answer.strip() if self.who else result.last_words())
        return int(answer[9:12]), answer

    def version(self, seconds=20):
        driver = self.driver = type(self.driver)(self.driver.machine)  # with its own connection
        try:
            return super().version(seconds)
        finally:
            driver.close()

    def describe(self):
        """What it answers to /version and to /info. Raises as get() does."""
        found = []
        for path in ("/version", "/info"):
            status, answer = self.get(path, 60)
            try:
                found.append(dict(parse_json(answer.partition("\n\n")[2])))
            except (TypeError, ValueError):
                raise MachineError("The engine of %s does not say what it is, but answers %d." % (
                    self.driver.get_ip(), status))
        return found

    def _failure(self, said):
        """The error for what all means together said that did not reach the engine."""
        host, user = self.driver.get_ip(), self.driver.get_ssh_username()
        if not said:
            return MachineError(
                "User %s finds no Docker Engine on %s: neither the program docker nor a socket." % (
                    user, host), "Install one: docker-machine create --driver generic "
                "--generic-ip-address %s NAME; or name its socket: --engine-socket PATH" % host)
        if "permission denied" in said.lower():
            return MachineError("User %s may not use the engine of %s, and has no sudo without a "
                                "password." % (user, host), self.driver.ask_for_group())
        return Unreachable("The engine of %s does not answer: %s" % (host, plain_words(said)[:300]),
                           "Look at it on the host: systemctl status docker")


class EngineOfOthers(Engine):
    """An engine with certificates that are not this store's."""

    def get(self, path, seconds):
        try:
            return super().get(path, seconds)
        except MachineError as error:
            if "regenerate-certs" in error.hint:
                error.hint = ("Ask the owner of the engine for files that fit, then adopt it anew "
                              "with --tls-ca, --tls-cert and --tls-key.")
            raise


class AdoptedDriver(GenericDriver):
    """A host whose engine runs already, and which nothing is changed on."""

    name = "adopted"
    provisions = False
    flags = GenericDriver.flags + (  # type: ignore[assignment]
        Flag("engine-socket", "", "Path of the engine's socket on the host; without it the usual "
             "ones are tried", field="Socket", form=r"/[\w./-]+"),
        *(Flag(name, "", text, field=field, file=True) for name, field, _, _, text in TLS_FILES))
    fields = (("ByAlias", False),)  # whether docker's ssh needs the Host block of the machine
    asked = None  # type: EngineBySsh  # type: ignore[assignment]

    def set_config_from_flags(self, options):
        if "engine-label" in options:
            raise UsageError("create does not adopt.", "See: docker-machine adopt --help")
        super().set_config_from_flags(options)
        lacking = [row[0] for row in TLS_FILES if not self[row[1]]]
        if 0 < len(lacking) < len(TLS_FILES):
            raise UsageError("--%s is missing: TLS takes all three files." % lacking[0])
        if self["TLSCA"] and self["Socket"]:
            raise UsageError("--engine-socket is for SSH, the --tls-* files are for TLS.")

    def address(self):
        """tcp://..., or ssh://... as docker takes it: the machine's name where its Host block is
        installed or needed, else what ssh's own defaults reach."""
        if self["TLSCA"]:
            return super().engine_url()
        if self["ByAlias"] or self.has_alias():
            return "ssh://" + self.machine.name + self["Socket"]
        from urllib.parse import quote as escaped
        host, port = self.get_ip(), self.get_ssh_port()
        return "ssh://%s@%s%s%s" % (
            escaped(self.get_ssh_username(), safe=""), "[%s]" % host if ":" in host else host,
            ":%d" % port if port != 22 else "", self["Socket"])

    def has_alias(self):
        """Whether `ssh-config --install` has put the machine's Host block where ssh looks."""
        path, line = self.machine.store.ssh_config, "Host " + self.machine.name
        return os.path.exists(path) and line in read_text(path).splitlines()

    def engine(self):
        if self["TLSCA"]:
            files = {key: self[field] for _, field, key, _, _ in TLS_FILES}
            return EngineOfOthers(self.address(), files, self.machine.name)
        self.asked = EngineBySsh(self, self["Socket"] or "-")
        return self.asked

    def engine_url(self):
        """The address for docker. Raises MachineError if docker cannot use it, as far as the
        engine was asked; says so if it lacks the Host block."""
        if self.obstacle():
            raise MachineError(*self.obstacle())
        if self["ByAlias"] and not self.has_alias():
            out.warn("docker reaches %s only by its name, which ssh does not know yet: "
                     "docker-machine ssh-config --install" % self.machine.name)
        return self.address()

    def obstacle(self):
        """(why docker cannot use the engine as it was reached last, what to do), or None."""
        who, host = self.asked.who if self.asked else "", self.get_ip()
        if who.endswith("-without"):
            return ("docker needs the program docker, 18.09 or newer, on %s, on the PATH of a "
                    "login without a terminal." % host, "Put it there, or use the engine on the "
                    "host itself: docker-machine ssh " + quote(self.machine.name))
        if who == "sudo":
            return ("User %s of %s reaches the engine only by sudo, which docker cannot use." % (
                self.get_ssh_username(), host), self.ask_for_group())

    def ask_for_group(self):
        return ("Ask the owner of the host for this, which makes the user as good as root there: "
                "sudo usermod -aG docker " + quote(self.get_ssh_username()))

    def get_state(self):
        if self["TLSCA"]:  # SSH may be closed
            try:
                dial(self.get_ip(), self.engine_port(), self.patience).close()
                return RUNNING
            except Unreachable:
                pass
        return super().get_state()

    def pre_create_check(self):
        """Ask the engine what it is, and say what that means. Changes nothing."""
        if self["TLSCA"]:
            return self.log("Engine %s answers over TLS." % self.engine().version())
        super().pre_create_check()
        self.asked = EngineBySsh(self, self["Socket"])
        about, info = self.asked.describe()
        if is_word(self.asked.socket, "/._-") and self.asked.socket != "-":
            self["Socket"] = self.asked.socket
        self["ByAlias"] = not self._reached_by_defaults()
        self.log("Engine %s answers through SSH." % plain_words(str(about.get("Version")))[:64])
        tell(about, info)
        if self.obstacle():
            out.warn(" ".join(self.obstacle()))

    def _reached_by_defaults(self):
        """Whether the ssh of docker, which is told neither key nor host key, gets to the engine."""
        path, port = self["Socket"], self.get_ssh_port()
        argv = ["ssh", "-oBatchMode=yes", "-oConnectTimeout=10", "-T",
                "-l", self.get_ssh_username(), *(["-p", str(port)] if port != 22 else []), "--",
                self.get_ip(), "docker", *(["--host", "unix://" + path] if path else []),
                "system", "dial-stdio"]
        try:
            return "HTTP/1." in run(argv, "GET /_ping HTTP/1.0\r\n\r\n", 30).stdout
        except MachineError:
            return False

    def create(self):
        """Pin the host key, and copy what the owner gave out into the machine's folder."""
        super().create()
        if not self["TLSCA"]:
            self.ssh()
            return
        auth = self.machine.config["HostOptions"]["AuthOptions"]
        for _, field, key, name, _ in TLS_FILES:
            copy_file(self[field], self.path(name))
            self[field] = auth[key] = self.path(name)

    def check_provision(self):
        machine = self.machine
        if machine.unfinished() == "create":
            raise MachineError('The adoption of "%s" did not finish.' % machine.name, "Forget it, "
                               "and adopt it again: docker-machine rm -y " + quote(machine.name))
        if not machine.take_over:
            raise MachineError('"%s" is adopted: nothing is changed on its host.' % machine.name,
                               "To set its engine up for this store, with a restart of it: "
                               "docker-machine provision --take-over " + quote(machine.name))
        if not self["TLSCA"]:
            about, info = self.engine().describe()
            if kind_of(about, info):
                raise MachineError("The engine of %s is %s, which cannot be set up." % (
                    self.get_ip(), kind_of(about, info)), "It stays adopted, and can be used.")
            tell(about, info)
        # Now it is one of the driver generic that is yet to be provisioned, if its host can be.
        auth = machine.config["HostOptions"]["AuthOptions"]
        auth.update(machine.store.auth_options(machine.name), ServerCertSANs=auth["ServerCertSANs"])
        machine.driver_name = machine.config["DriverName"] = GenericDriver.name
        machine._driver = None  # the next one is loaded by its name
        self.close()
        machine.mark("provision")
        try:
            machine.pre_create_check()
        except BaseException:
            machine.mark("")
            raise
        machine.save()


def kind_of(about, info):
    """What an engine is, by /version and /info, if it cannot be provisioned; else ""."""
    rows = (("Podman Engine" in str(about.get("Components")), "Podman"),
            ("name=rootless" in str(info.get("SecurityOptions")), "rootless"),
            ("/snap/" in str(info.get("DockerRootDir")), "a snap"),
            ("Docker Desktop" in str(info.get("OperatingSystem")), "Docker Desktop"))
    return next((kind for fits, kind in rows if fits), "")


def tell(about, info):
    """Warn of what the person should know of an engine."""
    kind, swarm = kind_of(about, info), info.get("Swarm") or {}
    rows = (
        (kind, "It is %s, which can be used, and never provisioned." % kind),
        (kind == "rootless", "It ends with the last logout, unless you: loginctl enable-linger"),
        (swarm.get("LocalNodeState") in ("active", "locked"), "It is a %s of a Swarm: tasks move "
         "when it is restarted." % ("manager" if swarm.get("ControlAvailable") else "worker")),
        ("without encryption" in str(info.get("Warnings")), "It also listens on plain TCP, where "
         "whoever reaches it is as good as root. docker-machine does not use that."))
    for fits, words in rows:
        if fits:
            out.warn(words)


def command_adopt(context, options, words):
    if len(words) != 1:
        raise UsageError("Error: Expected one machine name as an argument",
                         "See: docker-machine adopt --help")
    name, store = words[0], context.store
    check_new_name(name)
    refuse_existing(store, name)
    with store.new(name, AdoptedDriver) as machine:
        machine.driver.set_config_from_flags(options)
        store.check_writable()
        for other in store.drivers():
            if other.get("IPAddress") == machine.driver.get_ip():
                out.warn("Machine %s has the same address." % other["MachineName"])
        out.say("Asking the engine of %s; nothing is changed there..." % machine.driver.get_ip())
        machine.driver.pre_create_check()
        with store.lock(name):
            refuse_existing(store, name)
            store.add(machine)
            try:
                machine.driver.create()
                machine.save()
                machine.mark("")
            except BaseException:
                store.delete(name)
                raise
    out.say("To see how to connect your Docker Client to it, run: docker-machine env " + name)


COMMANDS = {"adopt": Command(
    "adopt", command_adopt, "NAME", "Make a machine of a host whose engine runs, and change "
    "nothing there", *AdoptedDriver.flags)}
