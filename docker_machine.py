#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn a VM, a cloud account or any box that answers SSH into a TLS-secured Docker host.

    python3 docker_machine.py create --driver generic --generic-ip-address ADDRESS web
    eval "$(python3 docker_machine.py env web)"
    docker info

A drop-in for Docker Machine's command line and its store, in one file that needs nothing
but Python 3.6 and the system's ssh and openssl. README.md is the manual.

Contents, in the order data flows; a section uses only what stands above it:

    1. Header
    2. Errors and results
    3. Output
    4. Doors
    5. Flags
    6. Certificates
    7. SSH
    8. Driver
    9. Engine
    10. Provisioning
    11. Built-in drivers
    12. Store and Machine
    13. Shells and formats
    14. Commands
    15. Main
"""

# === 1. Header ====================================================================================
# Only what Python has loaded already, or is built into it, is imported here, since a prompt or a
# script pays for start-up time on every call.

import os
import sys
import time
from _thread import RLock, _local, allocate_lock, start_new_thread
from os.path import abspath, basename, dirname, exists, expanduser, isdir, isfile, join, realpath


class Later:
    """A module that is imported when something of it is first used."""

    def __init__(self, name):
        self.name = name

    def __getattr__(self, attribute):
        module = globals()[self.name] = __import__(self.name)
        return getattr(module, attribute)


globals().update((name, Later(name)) for name in (
    "argparse binascii copy datetime difflib email filecmp fnmatch functools gc glob hashlib html "
    "io ipaddress json pkgutil platform random re select shlex shutil signal socket ssl stat "
    "string struct subprocess tarfile tempfile textwrap threading traceback uuid").split())
if False:  # the same for type checkers, and what type comments need
    import argparse, binascii, copy, datetime, difflib, email, filecmp  # noqa: E401, I001
    import fnmatch, functools, gc, glob, hashlib, html, io, ipaddress, json  # noqa: E401
    import pkgutil, platform, random, re, select, shlex, shutil, signal  # noqa: E401
    import socket, ssl, stat, string, struct, subprocess, tarfile  # noqa: E401
    import tempfile, textwrap, threading, traceback, typing, uuid  # noqa: E401, F401

THIS_FILE = globals().get("__file__") or ""  # none where it comes from a pipe

__version__ = "1.0.0.dev0"
__all__ = [
    "CacheLock", "CloudDriver", "Command", "Driver", "ERROR", "Engine", "Finding", "Flag",
    "GenericDriver", "HOST_KEY", "Instance", "LOOPBACK", "LocalVM", "Lock", "MachineError",
    "PACKAGE_NAMES", "PAUSED", "PreCreateError", "RUNNING", "Rest", "RestError", "Result", "SAVED",
    "SSH", "SSHError", "STARTING", "STATES", "STOPPED", "STOPPING", "Scratch", "Silent", "TIMEOUT",
    "Unreachable", "UsageError", "WINDOWS", "cached_image", "check_new_name", "cloud_config",
    "copy_file", "dial", "download", "each", "find_qemu", "format_me", "free_port", "host_arch",
    "host_name", "image_kind", "install_line", "ip_address", "is_word", "json_text", "load_extra",
    "main", "missing_program", "need", "need_space", "out", "parse_checksum", "parse_json",
    "plain_words", "port_trouble", "published_checksum", "quote", "read_text", "refuse_existing",
    "run", "seed_iso", "wait_for", "write_atomic",
]

WINDOWS, MACOS = os.name == "nt", sys.platform == "darwin"


# === 2. Errors and results ========================================================================

class MachineError(Exception):
    """A failure worded for the person at the keyboard: `message` is a sentence, `hint` the next
    command to type; `code` becomes the exit code."""

    code = 1

    def __init__(self, message, hint=""):
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self):
        return self.message

    def advise(self, words):
        """Add to the hint."""
        self.hint = (self.hint + "\n" + words).lstrip()


class UsageError(MachineError):
    """The command line is wrong; nothing was done."""
    code = 2


class PreCreateError(MachineError):
    """The driver's check before creation failed; callers rely on exit code 3."""
    code = 3


class Unreachable(MachineError):
    """Nothing answered at the other end (refused, no route, timeout)."""


class Silent(Unreachable):
    """The other end did not answer in time."""


class stage:
    """Name the step in which a MachineError happened: `with stage("Error creating machine: "):`."""

    def __init__(self, words):
        self.words = words

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, MachineError):
            again = copy.copy(error)  # several machines may share one cause
            again.message = self.words + error.message
            raise again.with_traceback(trace) from None
        if error is not None:  # for the crash report
            error.stage = self.words + getattr(error, "stage", "")


def reason(error):
    """What an exception of the system, of TLS or of a request says, without numbers and places."""
    inner = getattr(error, "reason", None) or error
    return getattr(inner, "strerror", "") or inner


class Result:
    """How a program ended: exit code, stdout and stderr as text."""

    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr, self.ok = code, stdout, stderr, code == 0

    def last_words(self, count=5):
        """The last lines it printed (stderr before stdout), for an error message."""
        lines = filter(str.strip, (self.stderr or self.stdout).splitlines())
        return "\n".join(list(lines)[-count:])


# === 3. Output ====================================================================================

# Characters that a terminal acts on instead of showing them, or that end a line: a name, a path or
# an address for ssh has none of them. What is shown may have tabs and several lines, but marks that
# change the direction of text, and bytes that are not UTF-8, are escaped too.
CONTROLS = {*range(32), *range(127, 160), 0x2028, 0x2029}
ESCAPES = {code: ("\\x%02x" if code < 256 else "\\u%04x") % code for code in (
    *CONTROLS - {9, 10}, 0x200e, 0x200f, *range(0x202a, 0x202f), *range(0x2066, 0x206a),
    *range(0xdc80, 0xdca0))}


def is_line(text):
    """Whether a text has neither a control character nor what ends a line."""
    return CONTROLS.isdisjoint(map(ord, text))


def printable(text):
    """A text with blanks in place of what is not printable."""
    return "".join(char if char.isprintable() else " " for char in text)


def plain_words(text):
    """A text from elsewhere as one line of at most 2000 characters that is safe to show."""
    return " ".join(printable(str(text)[:2000]).split())


def shown(text):
    """A text from anywhere as it may be shown: with control characters escaped, and cut in the
    middle where it is long."""
    text = text.replace("\r\n", "\n").translate(ESCAPES)
    return text if len(text) <= 8000 else text[:4000] + "\n[...]\n" + text[-4000:]


class OwnThread(_local):
    """What belongs to the work of one thread: the `machine`, if one of several."""

    machine = ""


class Output:
    """Everything that is printed. An answer goes to stdout alone; progress goes to stdout as
    Docker Machine does, or to stderr while a query runs; warnings and errors go to stderr. Only an
    answer fails where nobody reads it: an action goes on without its words."""

    def __init__(self):
        self.debugging, self.start = False, time.monotonic()
        self.program = "docker-machine"  # as it was called
        self.progress_to_stderr = False
        self.secrets = set()
        # Its `machine` is named in progress and warnings, of the threads that it starts too.
        self.thread = OwnThread()
        self.steps = {}  # machine -> when something was last said of it, what, what was heard since
        self.moving, self.asking = "", 0  # see move(); how many ask something at the terminal
        self.lock = allocate_lock()

    def mask(self, text):
        """`text` with every registered secret replaced."""
        for secret in self.secrets:
            text = text.replace(secret, "********").replace(repr(secret)[1:-1], "********")
        return text

    def _write(self, stream, text):
        with self.lock:
            self._move("")
            self._put(stream, text + "\n")

    def _put(self, stream, text):
        if not hasattr(stream, "buffer"):
            if stream:  # else closed, as by >&-
                stream.write(text)
            return
        # UTF-8 whatever the locale says, in one write: lines of parallel machines stay whole.
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half a character, which Go prints like this
            data = re.sub("[\ud800-\udfff]", "\ufffd", text).encode("utf-8")
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()

    def answer(self, text):
        self._write(sys.stdout, text)

    def _named(self, text):
        name = self.thread.machine
        mark = "(%s) " % name
        if not name or '"%s"' % name in text or text.startswith(mark):
            return text
        return mark + text

    def as_called(self, text):
        """A text with its commands under the name by which this program was called."""
        if "docker-machine " not in text:
            return text
        return re.sub(r"(?<![\w/.-])docker-machine (?=(?:%s)\b|--)" % "|".join(COMMANDS),
                      lambda found: self.program + " ", text)

    def _tell(self, stream, text):
        try:
            self._write(stream, shown(self.as_called(self.mask(text))))
        except OSError:
            abandon(stream)

    def say(self, text):
        text = self._named(text)
        self.steps[self.thread.machine] = [time.perf_counter(), text, ""]
        self.progress(text)

    def progress(self, text):
        self._tell(sys.stderr if self.progress_to_stderr else sys.stdout, text)

    def hear(self, text):
        """Note how far the step has come that was said last; Life shows it if it takes long."""
        self.steps.setdefault(self.thread.machine, [time.perf_counter(), "", ""])[2] = text

    def _move(self, text):
        """Put another line in place of the one on the terminal that does not stay. A ^C may have
        made that one longer."""
        if text != self.moving:
            try:
                self._put(sys.stderr, "\r%s\r%s" % (" " * (len(self.moving) + 2), text))
            except OSError:  # the terminal is gone
                abandon(sys.stderr)
            self.moving = text

    def move(self, text):
        """The same, unless something else writes to the terminal."""
        text = self.mask(text).encode("ascii", "replace").decode()
        with self.lock:
            if not self.asking and in_front():
                self._move(text)

    def hold(self, count):
        with self.lock:
            self.asking += count
            self._move("")

    def warn(self, text):
        self._tell(sys.stderr, "Warning: " + self._named(text))

    def error(self, text):
        self._tell(sys.stderr, text)

    def debug(self, text):
        if self.debugging:
            self._tell(sys.stderr, "%7.3f %s" % (time.monotonic() - self.start, text))


def columns(stream):
    """How wide the terminal is that a stream leads to; 0 if it is none, or cannot tell, as NUL of
    Windows. A program that imports this one may have put anything in its place."""
    try:
        if stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        pass
    return 0


def in_front():
    """Whether the terminal is ours, not that of a shell which has us in the background."""
    try:
        return WINDOWS or os.tcgetpgrp(2) == os.getpgrp()
    except OSError:  # it is not the controlling terminal
        return True


def abandon(stream):
    """Keep Python from complaining at its exit about a stream that cannot be written to."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


out = Output()
LINE_SECONDS = 30


class Asking:
    """While something else writes to the terminal, nothing of ours moves there."""

    def __init__(self, asks=True):
        self.count = bool(asks)

    def __enter__(self):
        out.hold(self.count)

    def __exit__(self, *unused):
        out.hold(-self.count)


class Life:
    """Shows that a command is at work where nothing was said for a second: on a terminal by one
    line that moves, with the seconds and what was heard last; elsewhere, if it may say `lines`, by
    one of them every 30 s."""

    def __init__(self, lines):
        self.lines, self.works = lines, allocate_lock()

    def __enter__(self):
        self.works.acquire()
        out.asking = 0
        out.steps.clear()
        out.hear("Waiting...")
        terminal = columns(sys.stderr) and os.environ.get("TERM") != "dumb"
        if terminal or self.lines:
            start_new_thread(self._run, (terminal,))

    def __exit__(self, *unused):
        self.works.release()
        out.hold(1)

    def _run(self, terminal):
        told = 0
        while not self.works.acquire(timeout=.2):
            now = time.perf_counter()
            # Of several machines that of which nothing was said for longest.
            since, said, heard = min([*out.steps.copy().values()] or [[now, "", ""]])
            seconds, heard = int(now - since), plain_words(heard)
            text = ("%s %d s  %s" % (said or heard, seconds, said and heard)).rstrip()
            if terminal:
                out.move(text[:columns(sys.stderr) - 3] if seconds else "")
            elif seconds // LINE_SECONDS > told and not out.asking:
                out.progress(text)
            told = seconds // LINE_SECONDS


# === 4. Doors =====================================================================================
# The only places that leave the process.

INSTALLERS = {  # package manager on PATH -> how one installs by hand
    "apt-get": "sudo apt-get install", "dnf": "sudo dnf install", "yum": "sudo yum install",
    "zypper": "sudo zypper install", "apk": "apk add", "pacman": "sudo pacman -S",
    "brew": "brew install",
}
OPENSSH = {"": "openssh-clients", "apt-get": "openssh-client", "apk": "openssh-client",
           "pacman": "openssh", "brew": "openssh"}
PACKAGE_NAMES = {  # program -> package, by package manager where the name differs
    "openssl": {"": "openssl"},
    "ssh": OPENSSH, "scp": OPENSSH, "ssh-keygen": OPENSSH,
    "rsync": {"": "rsync"},
    "sshfs": {"": "sshfs", "dnf": "fuse-sshfs", "yum": "fuse-sshfs"},
    "docker": {"": "docker-cli", "brew": "docker",
               "apt-get": "docker-cli || sudo apt-get install docker.io"},  # Debian's until 12
    "fusermount": {"": "fuse3"},
}


def install_line(*names):
    """The command that installs programs with this system's package manager; "" if not known."""
    packages = [PACKAGE_NAMES.get(name, {}) for name in names]
    for manager, command in INSTALLERS.items():
        if all(packages) and shutil.which(manager):
            wanted = [package.get(manager, package[""]) for package in packages]
            return " ".join([command, *dict.fromkeys(wanted)])
    return ""


def missing_program(name, use=""):
    """The error for a program that is not on PATH, naming the package that has it."""
    words = 'The program "%s" was not found on this computer.' % name
    if use:
        words = "You must have a copy of the %s binary locally to use the %s" % (name, use)
    install = install_line(name)
    hint = "Install it: " + install if install else "Install it and see that it is on the PATH."
    if WINDOWS and name in ("ssh", "scp"):
        hint = "Add it: Settings > Apps > Optional features > OpenSSH Client."
    return MachineError(words, hint)


def need(name, use=""):
    """Refuse early if a program is not on PATH. Raises MachineError naming its package."""
    if not shutil.which(name):
        raise missing_program(name, use)


def host_arch():
    """The processor of this computer as QEMU calls it."""
    name = os.environ.get("PROCESSOR_ARCHITECTURE", "").lower() if WINDOWS else os.uname().machine
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def find_qemu():
    """The path of the QEMU that emulates this computer's own processor, or None."""
    name, windows = "qemu-system-" + host_arch(), os.environ.get("ProgramFiles", "") + "\\qemu"
    return (shutil.which(name) or shutil.which(name, path=windows)
            or shutil.which("qemu-kvm", path="/usr/libexec"))  # RHEL and its kin


def is_word(text, marks):
    """Whether a text consists of ASCII letters, digits and `marks`, and is not empty."""
    return bool(text) and not set(text).difference(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", marks)


def quote(word):
    """`word` as one word of a POSIX shell."""
    if is_word(word, "_@%+=:,./-"):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


MOST_OUTPUT = 1 << 24  # bytes; a program that prints more is ended


def run(argv, stdin=None, seconds=60, on_line=None, cwd=None, environ=None, late=MachineError):
    """Run a program to its end within `seconds`; give its Result, with the last part of stderr.
    `stdin` is text, bytes or None, `on_line` is called with each line of stdout as it comes,
    `environ` is added to our own environment. Raises MachineError if the program is missing or
    prints without end, `late` if it does not end in time."""
    out.debug("run: " + " ".join(map(quote, argv)))
    # stderr is a file: an ssh master that stays behind would keep a pipe open for ever.
    with tempfile.TemporaryFile(dir=temporary_folder()) as errors:
        process = _start(argv, errors, cwd, environ)
        lines, end = [], time.monotonic() + seconds  # type: list, float
        trouble = []  # type: list  # what on_line raised
        _in_thread(_feed, process.stdin, stdin)
        reader = _in_thread(_read_lines, process, on_line, lines, trouble)
        try:
            while (reader.is_alive() and time.monotonic() < end
                    and os.fstat(errors.fileno()).st_size < MOST_OUTPUT):
                reader.join(min(seconds, .5))
            hangs = reader.is_alive()
        finally:
            process.kill()
        reader.join(1)  # not longer: its children may hold stdout
        code = process.wait(10)
        size = errors.seek(0, 2)
        errors.seek(max(size - (1 << 16), 0))
        stderr = _decoded(errors.read(1 << 16))
    stdout = _decoded(b"".join(lines))
    if trouble:
        raise trouble[0]
    if max(size, sum(map(len, lines))) >= MOST_OUTPUT:
        raise MachineError("%s prints without end: %s" % (
            argv[0], plain_words((stderr or stdout)[-200:])))
    if hangs:
        raise late("%s did not end within %g s." % (argv[0], seconds))
    out.debug("exit %d: %s" % (code, stderr.strip()))
    return Result(code, stdout, stderr)


def _decoded(data):
    return data.decode(errors="replace").replace("\r\n", "\n")


def _encoded(text):
    """The bytes of a text; None and bytes as they are."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _start(argv, errors, cwd, environ):
    try:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                cwd=cwd, env=dict(os.environ, **environ or {}))
    except FileNotFoundError:
        raise missing_program(argv[0])
    except OSError as error:
        raise MachineError('The program "%s" cannot be run: %s.' % (argv[0], error.strerror))


def _in_thread(function, *arguments):
    machine = out.thread.machine

    def work():
        out.thread.machine = machine
        function(*arguments)

    thread = threading.Thread(target=work, daemon=True)  # ^C must not wait for it
    thread.start()
    return thread


def _feed(pipe, data):
    try:
        with pipe:
            pipe.write(_encoded(data) or b"")
    except OSError:
        pass  # it ended without reading all; its exit code tells


def _read_lines(process, on_line, lines, trouble):
    """Collect the lines of a program's stdout until it has ended, or has printed too much, or
    until on_line() fails."""
    left = MOST_OUTPUT
    with process.stdout as pipe:
        for line in iter(lambda: pipe.readline(MOST_OUTPUT), b""):
            lines.append(line)
            left -= len(line)
            if left <= 0:
                return
            try:
                if on_line:
                    on_line(_decoded(line).rstrip("\n"))
            except Exception as error:
                trouble.append(error)
                return
    process.wait()  # one that has closed its stdout may live on


def hand_over(argv):
    """Give the terminal to a program until it ends; its exit code is the answer."""
    out.debug("run: " + " ".join(map(quote, argv)))
    sys.stdout.flush()
    try:
        with Asking():
            if WINDOWS:
                return subprocess.call(argv)
            return os.execvp(argv[0], argv)
    except FileNotFoundError:
        raise missing_program(argv[0])


def dial(host, port, seconds):
    """A connected TCP socket. Raises Unreachable with the reason."""
    try:
        return socket.create_connection((_plain(host), port), seconds)
    except (socket.gaierror, UnicodeError):
        raise Unreachable('The address "%s" cannot be resolved.' % host)
    except (OSError, OverflowError) as error:
        raise no_answer(host, port, seconds, error)


def no_answer(host, port, seconds, error):
    """The Silent or Unreachable for what a socket raised."""
    if type(error).__name__ in ("timeout", "TimeoutError"):  # one class since Python 3.10
        return Silent("%s gave no answer on port %s within %g s." % (host, port, round(seconds, 1)))
    return Unreachable("%s port %s: %s" % (host, port, reason(error)))


def _plain(host):
    """A host name as bytes where it is ASCII: a str makes Python load its IDNA tables, 1 ms."""
    try:
        return host.encode("ascii") if sys.version_info >= (3, 7) else host
    except UnicodeError:
        return host


def load_pair(cert, key):
    """A TLS client with this pair, which trusts nobody yet. Raises OSError."""
    # Not create_default_context: its strict mode (Python 3.13) refuses CAs without key
    # identifiers, which older Docker Machines made.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(cert, key, lambda: "")
    return context


def tls_context(ca, cert, key):
    """A TLS client with this pair, which trusts nothing but `ca`. Raises MachineError naming the
    file that is missing or damaged."""
    for path in (ca, cert, key):
        if not isfile(path):
            raise MachineError("%s is missing." % path)
    path = cert
    try:
        context = load_pair(cert, key)
        path = ca
        context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise MachineError("%s cannot be used: %s." % (path, reason(error)))
    return context


def resolves(host):
    """Whether this computer knows the address of a host."""
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def dial_tls(host, port, context, seconds):
    """A TLS connection to a server that has a certificate for `host`. Raises Unreachable,
    ssl.SSLError or ssl.CertificateError."""
    raw = dial(host, port, min(seconds, 10))
    raw.settimeout(seconds)
    try:
        return context.wrap_socket(raw, server_hostname=_plain(host))
    except BaseException as error:
        raw.close()
        if isinstance(error, ConnectionError) or "EOF" in str(error) \
                or "unexpected eof" in str(error):  # in capitals, since it may name a host
            raise Unreachable("%s port %s closed the connection." % (host, port))
        raise


def trusting_context(ca="", insecure=False):
    """TLS that takes servers with a certificate of the system's CAs, of those of SSL_CERT_FILE and
    SSL_CERT_DIR (which OpenSSL reads), of REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, or of the file
    `ca`; any server if `insecure`. Raises MachineError naming a bundle that cannot be read."""
    context = ssl.create_default_context()
    # Python 3.13 refuses CAs without key identifiers, which proxies of companies still have.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    paths = dict(os.environ, **{"an option": ca})
    for source in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "an option"):
        path = paths.get(source, "")
        try:
            if isdir(path):
                context.load_verify_locations(capath=path)
            elif path:
                context.load_verify_locations(path)
        except OSError as error:  # ssl.SSLError is one
            raise MachineError("%s, which %s names, cannot be read: %s." % (
                path, source, reason(error)))
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def origin(url):
    """(scheme, host, port unless it is the usual one) of an http or https URL; None of others, and
    of one that holds a password."""
    found = re.match(r"(https?)://([^@:/?#\s\[\]]+|\[[\da-f:.]+\])(?::443|:80|(:\d+))?(?=[/?#]|\Z)",
                     url.lower())
    return found and found.groups()


AGENT = {"User-Agent": "docker_machine.py/" + __version__}


class RestError(MachineError):
    """What came instead of the answer to a request. `status`: HTTP's code, 0 if nothing came;
    `words`: what the server said; `reason`: its code for that, such as "quotaExceeded", or "";
    `value`: the JSON of the body (see error_value); `unsent`: the request never left; `unsure`: it
    may have been carried out all the same; `refused`: neither this try nor an earlier one can have
    been; `later`: it may be done later; `tries`: how often it was made; `pause`: seconds that the
    server wants us to wait."""

    status, words, reason, tries, pause = 0, "", "", 1, None
    value = {}  # type: typing.Any
    unsent = unsure = refused = later = False

    def __init__(self, message, hint="", **facts):
        super().__init__(message, hint)
        vars(self).update(facts)


class Rest:
    """A provider's API over HTTP, with time limits, repeated tries, proxies (https_proxy,
    no_proxy), verified certificates and kept connections. Threads may share one.

    `name` is the provider's in messages. `headers` carry the credentials: a dict, or a function of
    method, URL and body (bytes) that gives the dict of each try; renew() replaces them after a 401,
    once for each request. One try may take `seconds`, all tries of a request `patience` seconds.
    wait(error) sees each error first: true means that nothing was done and that it is to be asked
    again. It may set `refused` and clear `unsure`, for refusals with a status of 500. `ca` is a
    file of CAs to trust too, `insecure` trusts every server, and `plain` allows http, which goes
    through no proxy, to other computers.
    """

    def __init__(self, name, url, headers=None, seconds=30, patience=300, ca="", insecure=False,
                 plain=False, renew=None, wait=None):
        self.origin = origin(url)
        safe = r"https:|http://(localhost|127(\.\d+){3}|\[::1\])([:/]|\Z)"
        if not self.origin or not plain and not re.match(safe, url.lower()):
            raise MachineError("The address of %s's API is not an https URL." % name,
                               "Credentials are not sent in the clear.")
        self.name, self.url, self.headers = name, url.rstrip("/"), headers or {}
        self.seconds, self.patience, self.renew, self.wait = seconds, patience, renew, wait
        self.idle = []  # type: list  # kept connections
        self.context = trusting_context(ca, insecure) if self.origin[0] == "https" else None
        if insecure and self.context:
            out.warn("The certificate of %s is not verified." % url)

    def call(self, method, path, body=None, query=None, key="", kind="application/json",
             repeat=None, made=None, wait=None):
        """The JSON of an answer, or the object or list that it holds under `key`; {} if it may be
        empty and is; if `key` is None the answer itself, with `status`, `headers` and `body` (in
        bytes). Raises RestError.

        `path` is below our URL, or a whole URL of the same server. A dict or list is sent as JSON,
        text and bytes as they are, with the content type `kind`. 429 is always tried again, when
        the server says; what may have been carried out already, only if `repeat` (by default for
        GET, PUT and DELETE). made() is asked first then: what a lost answer was about, if that is
        there now, or None. `wait` replaces the one of __init__.
        """
        deadline, tries, doubt, renew = time.monotonic() + self.patience, 0, False, self.renew
        wait = wait or self.wait
        if repeat is None:
            repeat = made or method in ("GET", "PUT", "DELETE")
        try:
            while True:
                try:
                    request = self._request(method, path, body, query, kind)
                    return self._try(request, not repeat, key)
                except RestError as error:
                    tries += 1
                    error.tries = tries
                    if wait and wait(error):
                        error.later, error.unsure = True, False
                    doubt = doubt or error.unsure
                    if error.status == 401 and renew:
                        renew()
                        renew, error.later = None, True
                    there = made() if made and error.unsure else None
                    if there is not None:
                        return there
                    pause = self._pause(error)
                    again = error.later or error.unsure and repeat
                    if not again or time.monotonic() + pause > deadline:
                        raise
                    if pause > 5:
                        out.warn("%s. Trying again in %d s..." % (error.message, pause + 1))
                time.sleep(pause)
        except RestError as error:  # also of renew() and made()
            error.refused = error.refused and not doubt
            raise

    def _request(self, method, path, body, query, kind):
        """The request as it is to be sent. Raises MachineError for the URL of another server."""
        from urllib.parse import quote as escaped
        from urllib.parse import urlencode
        from urllib.request import Request
        url = escaped(path, "%/:?#[]@!$&'()*+,;=")
        if not path or path.startswith("/"):
            url = self.url + escaped(path, "/:")
        elif origin(path) != self.origin:
            raise MachineError("%s is not an address of %s." % (path, self.url),
                               "Credentials are not sent elsewhere.")
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query)
        if isinstance(body, (dict, list)):
            body = json_text(body)
        body, more = _encoded(body), self.headers
        if callable(more):
            more = more(method, url, body or b"")
        headers = {**AGENT, **more}
        if body is not None:
            headers.setdefault("Content-Type", kind)
        return Request(url, body, headers, method=method)

    def _pause(self, error):
        """Seconds until the next try, with jitter, so that many machines do not come back
        together; endless where there is to be none."""
        if error.status < 400 and error.tries > (3 if error.unsent else 5):
            return float("inf")
        usual = random.uniform(.25, .5) * 2 ** min(error.tries, 5)
        return usual if error.pause is None else max(error.pause, 0) + usual / 4

    def _try(self, request, fresh, key):
        """What comes of one try. Raises RestError."""
        start = time.monotonic()
        # In a thread: a time limit of the socket holds for each packet alone. What we may give up
        # waiting for in a moment is not sent any more.
        latest = start + self.seconds * .95
        (answer,) = each(lambda request: self._exchange(request, fresh, latest), [request],
                         seconds=self.seconds)
        status = getattr(answer, "status", 0)
        out.debug("%s %s: %s after %.2f s" % (request.method, request.full_url, status or answer,
                                              time.monotonic() - start))
        if 200 <= status < 300:
            try:
                if key is None:
                    return answer
                may_be_empty = request.method != "GET" or status == 204
                value = {} if may_be_empty and not answer.body else parse_json(answer.body.decode())
                if not key:
                    return value
                if isinstance(value[key], (dict, list)):
                    return value[key]
            except (ValueError, LookupError, TypeError, RecursionError):
                pass
        raise self._error(request, answer, status)

    def _exchange(self, request, fresh, deadline):
        """The answer to a request, which is not sent after `deadline`. An exception from before
        that has the attribute `unsent`."""
        try:
            connection = self._connection(fresh)
            if time.monotonic() > deadline:
                raise OSError("it is too late to send it")
        except Exception as error:
            error.unsent = True  # type: ignore
            raise
        in_order = False
        try:
            connection.request(request.method, request.selector, request.data, request.headers)
            with connection.getresponse() as answer:
                blocks = iter(lambda: answer.read(1 << 16), b"")  # one of 16 MB would be zeroed
                body = answer.body = b"".join(block for _, block in zip(range(256), blocks))
                if answer.length or answer.length is None and not (body or answer.chunked):
                    raise OSError("the answer broke off after %d bytes" % len(body))
                in_order = answer.isclosed() and not answer.will_close
            return answer
        finally:
            if in_order:
                self.idle.append(connection)
            else:
                connection.close()

    def _connection(self, fresh):
        """A kept connection that is still open, or a new one."""
        from http.client import HTTPConnection, HTTPSConnection
        from urllib.request import ProxyHandler, Request
        try:
            while not fresh:
                connection = self.idle.pop()
                if not select.select([connection.sock], [], [], 0)[0]:
                    return connection
                connection.close()
        except IndexError:
            pass  # there is none
        way, limit = Request(self.url), self.seconds / 2  # it may have two addresses
        host = way.host
        if self.context:
            # Where there is a proxy, this makes way.host its address and way.headers its login.
            getattr(ProxyHandler(), "https_open", bool)(way)
            connection = HTTPSConnection(way.host, timeout=limit, context=self.context)
        else:
            connection = HTTPConnection(host, timeout=limit)
        if way.host != host:
            connection.set_tunnel(host, headers=way.headers)
        connection.connect()
        return connection

    def _error(self, request, answer, status):
        """The RestError for an answer that cannot be used, or for the exception in its place."""
        value, pause, hint = {}, None, "Check the network and the proxy variables."
        untrusted = "certificate" in repr(answer).lower()
        if status:
            value, pause, hint = error_value(answer.body), asked_pause(status, answer.headers), ""
            words = error_text(value, "error_description", "message", "error", "detail")
            place = error_text(value, "location")
            words += " (%s)" % place if place else ""
        elif isinstance(answer, socket.timeout):
            words = "There was no answer within %g s" % (self.seconds / 2)
        else:
            words = plain_words(getattr(answer, "strerror", "") or answer).rstrip(".")
        if 0 < status < 300:
            words = "the answer is not the JSON that was expected"
        if untrusted:
            words = "its certificate is not valid: " + words
            hint = ("If a proxy of your network signs in its place, name that one's CA: export "
                    "SSL_CERT_FILE=/path/to/ca.pem\nWith python.org's Python on macOS, run its "
                    "Install Certificates.command once.")
        elif pause and pause > 0:
            hint = "It takes requests again in %d s." % pause
        unsent = getattr(answer, "unsent", False)
        return RestError("%s: %s (%s%s %s)" % (
            self.name, words or "no word of explanation", "%d to " % status if status else "",
            request.method, request.selector.partition("?")[0]), hint, status=status, words=words,
            reason=error_text(value, "code", "reason", "minorErrorCode", "type", "id", "error"),
            value=value, pause=pause, unsent=unsent,
            later=status == 429 or unsent and not untrusted,
            refused=400 <= status < 500 and status != 408,
            unsure=not unsent and not 300 <= status < 500)

    def pages(self, path, key, query, following):
        """All items of a list in pages, at most 100. `key` is where an answer holds them, or a
        function that takes them out. following(answer) is the URL of the next page, of which only
        the query is taken, or a dict to add to the query; false at the end. Raises RestError."""
        from urllib.parse import parse_qsl
        items = []  # type: list
        for _ in range(100):
            answer = self.call("GET", path, query=query)
            if callable(key):
                rows = key(answer)
            else:
                rows = isinstance(answer, dict) and (answer.get(key) or [])
            if not isinstance(rows, list):
                raise RestError("%s: the answer holds no list (GET %s)" % (self.name, path))
            items += rows
            more = following(answer)
            if isinstance(more, str):
                more = dict(parse_qsl(more.partition("?")[2]))
            if not more:
                break
            query = dict(query or {}, **more)
        return items


def error_value(body):
    """What the body of an error holds: the value of its JSON; else a dict, of the attributes of
    XML (vCloud), or with a text as "message"; {} for HTML."""
    text = body.decode(errors="replace").strip()
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        if not text.startswith("<"):
            return {"message": text[:300]}
    pairs = re.findall(r'\s(message|minorErrorCode)="([^"]*)"', text)
    return {name: html.unescape(text) for name, text in pairs}


def error_text(value, *keys):
    """The first text under one of the keys in a JSON value, the outermost first, or ""."""
    levels = [value]
    for level in levels:  # which grows on the way
        if isinstance(level, list):
            levels += level
        if isinstance(level, dict):
            for key in keys:
                if isinstance(level.get(key), str):
                    return plain_words(level[key]).rstrip(".")
            levels += level.values()
    return ""


def asked_pause(status, headers):
    """The seconds that an answer asks for: retry-after (RFC 9110: seconds or a date), or until
    ratelimit-reset (DigitalOcean: seconds since 1970) of 429; None without either."""
    from email.utils import parsedate_to_datetime
    after = headers.get("retry-after", "")
    try:
        if ":" in after:
            return parsedate_to_datetime(after).timestamp() - time.time()
        if after or status != 429:
            return int(after)
        return int(headers["ratelimit-reset"]) - time.time()
    except (TypeError, ValueError):
        return None


def read_url(url, file, deadline):
    """Yield the blocks that an http, https or file URL has beyond what `file` holds, which the
    caller writes to it; all, into the emptied file, if the server knows no ranges. Raises
    RestError, or MachineError if https would become http on the way."""
    from http.client import HTTPException, HTTPSConnection
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

    class Secure(HTTPSHandler):  # an http address may lead to an https one
        def https_open(self, req):
            return self.do_open(HTTPSConnection, req, context=trusting_context())

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req, *answer):
            if req.full_url.startswith("https:") and not answer[-1].startswith("https:"):
                raise MachineError("%s leads to %s, which is not protected." % (url, answer[-1]))
            return super().redirect_request(req, *answer)

    if not url.startswith(("http://", "https://", "file://")):
        raise MachineError("%s is not an address of the kind http, https or file." % url)
    request = Request(url, None, AGENT)
    if file.tell():
        request.add_header("Range", "bytes=%d-" % file.tell())
    try:
        secure = Secure(context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # or it reads all CAs
        with build_opener(Redirects, secure).open(request, timeout=30) as answer:
            if answer.code != 206:
                file.truncate(file.seek(0))
            end = file.tell() + int(answer.headers.get("Content-Length") or 0)
            for block in iter(lambda: answer.read(1 << 18), b""):
                yield block
                if time.monotonic() > deadline:
                    raise OSError("it took too long")
                bar = "=" * (20 * file.tell() // max(end, file.tell()))
                out.hear("[%-20s] %d of %s MB" % (bar, file.tell() >> 20, end >> 20 or "?"))
            if file.tell() < end:
                raise OSError("the connection broke off after %d of %d bytes" % (file.tell(), end))
    except (OSError, ValueError, HTTPException) as error:
        raise RestError("%s cannot be fetched: %s" % (url, reason(error)),
                        "Check the address, the network and the proxy variables.",
                        status=getattr(error, "code", 0 if url.startswith("http") else 404))


def fetch(url, file, seconds, tries=3):
    """Write what a URL holds to an empty file. A connection that is cut is taken up again where it
    broke, until `tries` in a row have brought nothing. Raises MachineError."""
    deadline, failures = time.monotonic() + seconds, 0
    while True:
        start = file.tell()
        try:
            for block in read_url(url, file, deadline):
                file.write(block)
            return
        except RestError as error:
            failures = 0 if file.tell() > start else failures + 1
            if 400 <= error.status < 500 or failures >= tries or time.monotonic() > deadline:
                raise
        time.sleep(failures)


def file_of_url(url):
    """The path that a file:// URL, or a plain path, names."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname
    return abspath(url2pathname(urlsplit(url).path) if "://" in url else expanduser(url))


def download(url, path, checksum="", seconds=7200):
    """Fetch a URL to `path`, with progress; a cut connection is taken up again where it broke.
    `checksum` is ALGORITHM:HEX. Raises MachineError, and leaves nothing then."""
    algorithm, wanted = parse_checksum(checksum) if checksum else ("", "")
    part = path + ".part"
    make_folder(dirname(path))
    try:
        with open(part, "wb") as file:
            fetch(url, file, seconds)
        found = algorithm and file_digest(part, algorithm)
        if found != wanted:
            raise MachineError(
                "%s has the checksum %s instead of %s; it was not kept." % (url, found, wanted),
                "Try again; if it stays so, the file or the list of checksums is bad.")
        os.replace(part, path)
    except OSError as error:
        raise cannot("write", part, error)
    finally:
        if isfile(part):
            os.unlink(part)


def published_checksum(url):
    """The checksum of a URL's file in its publisher's list beside it, as ALGORITHM:HEX; "" if
    there is no list. In the format of coreutils, as Debian's and Ubuntu's clouds have it."""
    folder, _, name = url.rpartition("/")
    for list_name in ("SHA512SUMS", "SHA256SUMS", name + ".sha512", name + ".sha256"):
        file = io.BytesIO()
        try:
            fetch(folder + "/" + list_name, file, 60, tries=1)
        except RestError as error:
            if error.status in (403, 404, 410):
                continue
            raise
        line = r"^([0-9a-fA-F]{64}|[0-9a-fA-F]{128})[ \t]+\*?%s\s*$" % re.escape(name)
        found = re.search(line, file.getvalue().decode(errors="replace"), re.M)
        if found:
            return "sha%d:%s" % (4 * len(found.group(1)), found.group(1).lower())
    return ""


def parse_checksum(text):
    """(algorithm, hex digits) of sha256:HEX or sha512:HEX. Raises UsageError."""
    if not re.match(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z", text.lower()):
        raise UsageError('"%s" is not a checksum.' % text, "Write it as sha256:HEX or sha512:HEX, "
                         "with 64 or 128 digits.")
    return tuple(text.lower().split(":"))


def file_digest(path, algorithm):
    """The hex digest of a file."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


FOREVER = 1e6  # seconds


def each(function, items, workers=64, seconds=FOREVER):
    """function(item) for all items, in parallel and bounded; the results in the items' order.
    An exception is a result too; that of what has not ended after `seconds` is a Silent."""
    items = list(items)
    if len(items) == 1 and seconds == FOREVER:
        return [_outcome(function, items[0])]
    late = Silent("There was no answer within %g s." % round(seconds, 1))
    results = [late] * len(items)  # type: list
    todo = iter(list(enumerate(items)))  # of a list, so that each item goes to one thread

    def work():
        for number, item in todo:
            results[number] = _outcome(function, item)

    deadline = time.monotonic() + seconds
    threads = []  # type: list
    try:
        for _ in items[:workers]:
            threads.append(_in_thread(work))
    except RuntimeError:  # a container that may have no more of them
        if not threads:
            raise
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    return list(results)  # which those that are late still write to


def _outcome(function, item):
    try:
        return function(item)
    except Exception as error:
        return error


def wait_for(check, seconds, sentence, longest_pause=1.0, pause=0.05):
    """Call check() until it gives something true, with pauses that grow from `pause` on; give that
    back. Raises MachineError(`sentence`) after `seconds`, if there is a sentence."""
    deadline = time.monotonic() + seconds
    answer = check()
    while not answer and time.monotonic() + pause <= deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, longest_pause)
        answer = check()
    if sentence and not answer:
        raise MachineError(sentence)
    return answer


def write_atomic(path, data, mode=0o600):
    """Put `data` (text or bytes) at `path`: a reader, or a kill, sees the old file or the new one.
    Raises MachineError if the disk is full, read-only or not ours."""
    write_all([(path, data, mode)])


def write_all(files):
    """The same for several files, (path, data, mode), which come into place together as far as a
    file system lets them."""
    made = {}  # type: dict
    path = ""
    try:
        for path, data, mode in files:
            temporary = "%s.tmp-docker-machine-%s" % (path, os.urandom(4).hex())
            with open(temporary, "xb", opener=functools.partial(os.open, mode=mode)) as file:
                made[temporary] = path
                file.write(_encoded(data))
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in made.items():
            os.replace(temporary, path)
    except OSError as error:
        raise cannot("write", path, error)
    finally:
        for temporary in filter(exists, made):
            os.unlink(temporary)


def cannot(verb, path, error):
    """The MachineError for an OSError on a file of ours."""
    hint = "Check the disk and the rights on %s, or choose another store with --storage-path." % (
        dirname(path) or ".")
    return MachineError("Cannot %s %s: %s." % (verb, path, reason(error)), hint)


def write_through(path, text):
    """write_atomic() for a file of the user's: a link is followed, and its mode stays."""
    path = realpath(path)
    mode = stat.S_IMODE(os.stat(path).st_mode) if exists(path) else 0o600
    write_atomic(path, text, mode)
    os.chmod(path, mode)


def make_folder(path):
    """The folder `path` and what is missing above it, private (0700). Raises MachineError."""
    parent = dirname(path)
    if isdir(path or "."):
        return
    if parent != path:
        make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        if not isdir(path):  # unless another process was faster
            raise cannot("create", path, error)


def read_bytes(path):
    """What a file of up to 64 MB holds. Raises OSError, also for what is not a file: opening a FIFO
    would wait for ever."""
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > 1 << 26:
        raise OSError(22, "it is not a file, or too large", path)
    with open(path, "rb") as file:
        return file.read()


def read_text(path):
    """A file as text without a byte order mark; bytes that are not UTF-8 survive until
    write_atomic. Raises OSError."""
    return read_bytes(path).decode("utf-8-sig", "surrogateescape")


def parse_json(text):
    """The value of a JSON text. Raises ValueError."""
    return json.loads(text)


def json_text(value, indent=None, sort=False):
    """`value` as JSON, in one line without `indent`; a text comes out as Go's %q prints it."""
    return json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=sort,
                      separators=None if indent else (",", ":"))


def go_json(value, indent=4, sort=False):
    """JSON as Go's encoder writes it, with <, > and & escaped, and with what a terminal acts on."""
    return json_text(value, indent, sort).translate(
        {code: "\\u%04x" % code for code in CONTROLS.union(b"<>&") if code > 31})


def copy_file(source, target, mode=0o600):
    """Copy one file, private from its first moment. Raises MachineError if it cannot be read."""
    try:
        data = read_bytes(source)
    except OSError as error:
        raise MachineError("Cannot read %s: %s." % (source, error.strerror))
    write_atomic(target, data, mode)


def temporary_folder():
    """Where temporary files go: where the system has them, else in the store."""
    try:
        return tempfile.gettempdir()
    except OSError:  # a read-only system
        make_folder(Scratch.spare)
        return Scratch.spare


class Scratch:
    """A private temporary folder: `with Scratch() as path:`. What is left when the program ends by
    a signal, with threads still at work, is removed by end(); what a kill has left, by the next
    one."""

    left = set()  # type: set
    spare = ""  # the folder in the store

    def __enter__(self):
        parent = temporary_folder()
        if len(parent) > 45 and not WINDOWS and os.access("/tmp", os.W_OK):
            parent = "/tmp"  # the path of a socket must be short
        clear_leftovers(parent, "docker-machine-scratch.")
        self.path = tempfile.mkdtemp("", "docker-machine-scratch.", parent)
        self.handle = -1 if WINDOWS else _hold(self.path)
        self.left.add(self.path)
        return self.path

    def __exit__(self, *unused):
        shutil.rmtree(self.path, ignore_errors=True)
        self.left.discard(self.path)
        if self.handle >= 0:
            os.close(self.handle)


def clear_leftovers(folder, mark):
    """Remove what killed programs have left in a folder: names with this `mark` that are ours, have
    not changed for a moment, and that no program holds."""
    for name in os.listdir(folder):
        path = join(folder, name)
        try:
            if mark not in name or WINDOWS:
                continue
            facts = os.lstat(path)
            if facts.st_uid == os.geteuid() and facts.st_mtime < time.time() - 2:
                os.close(_hold(path))
                (os.unlink if isfile(path) else shutil.rmtree)(path)
        except OSError:  # in use, or gone
            pass


def _hold(path):
    """The handle of a file or folder, which is locked. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _lock_file(handle)
    except OSError:
        os.close(handle)
        raise
    return handle


class Lock:
    """One process at a time; a kill frees it. The file says who holds it. `with Lock(path,
    'Machine "web"', seconds)` raises MachineError if it does not become free within `seconds`."""

    def __init__(self, path, what, seconds=10):
        self.path, self.what, self.seconds = path, what, seconds

    def __enter__(self):
        if not wait_for(self._take, self.seconds, "", 0.1):
            try:
                holder = " (process %d)" % int(read_text(self.path))
            except (OSError, ValueError):
                holder = ""
            raise MachineError("%s is in use by another docker-machine%s." % (self.what, holder),
                               "Wait until it ends, or end it.")
        try:
            os.ftruncate(self.handle, 0)
            os.write(self.handle, b"%d\n" % os.getpid())
        except OSError:
            pass  # a full disk, or a folder: nobody learns who holds it
        return self

    def __exit__(self, *unused):
        os.close(self.handle)

    def remove(self):
        """Delete the file while it is held (the next taker notices)."""
        if not WINDOWS and exists(self.path):
            os.unlink(self.path)

    def _take(self):
        """Whether the file is locked now; not if another process holds it."""
        from errno import EDQUOT, EINVAL, ENOLCK, ENOSPC, ENOSYS, ENOTSUP
        path, folder = self.path, dirname(self.path)
        make_folder(folder)
        try:
            self.handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if WINDOWS or error.errno not in (ENOSPC, EDQUOT):
                raise cannot("write", path, error)
            path = folder  # rm must work on a full disk
            self.handle = os.open(path, os.O_RDONLY)
        try:
            _lock_file(self.handle)
            if os.fstat(self.handle).st_ino == os.stat(path).st_ino:
                return True
        except OSError as error:  # mostly: another process holds it, or has removed it
            if error.errno in (ENOLCK, ENOTSUP, ENOSYS, EINVAL):
                out.warn("%s cannot be locked (%s); do not run two commands at once." % (
                    self.what, error.strerror))
                return True
        os.close(self.handle)
        return False


def _lock_file(handle):
    if WINDOWS:
        from msvcrt import LK_NBLCK, locking  # type: ignore[attr-defined]
        os.lseek(handle, 0, 0)
        locking(handle, LK_NBLCK, 1)
    else:
        from fcntl import LOCK_EX, LOCK_NB, flock
        flock(handle, LOCK_EX | LOCK_NB)


LOOPBACK = "127.0.0.1"
PORTS = range(20000, 30000)  # below Kubernetes' ports and those of outgoing connections


def port_trouble(port, address=LOOPBACK, kind="tcp"):
    """Why a port cannot be listened on; "" if it can."""
    from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
    from socket import AF_INET, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket
    tcp = kind == "tcp"
    with socket(AF_INET, SOCK_STREAM if tcp else SOCK_DGRAM) as one:
        if tcp and not WINDOWS:
            one.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            one.bind((address, port))
        except OSError as error:
            return {EADDRINUSE: "it is taken by another program",
                    EACCES: "this user may not open ports below 1024",
                    EADDRNOTAVAIL: "this computer does not have that address",
                    }.get(error.errno or 0, str(error))
    return ""


def free_port(taken):
    first = random.SystemRandom().randrange(len(PORTS))
    for port in [*PORTS[first:], *PORTS[:first]]:
        if port not in taken and not port_trouble(port):
            return port
    raise MachineError("There is no free port on %s." % LOOPBACK)


class CacheLock(Lock):
    """One maker of an image at a time; the others wait. Nothing stays of one that was not made."""

    def __init__(self, folder):
        super().__init__(folder + ".lock", "The image " + basename(folder), 1)
        self.folder = folder

    def __enter__(self):
        try:
            return super().__enter__()
        except MachineError:
            out.say("Waiting for another docker-machine to make this image...")
            self.seconds = 3600
            return super().__enter__()

    def __exit__(self, *unused):
        self.remove()
        super().__exit__()
        folder = self.folder
        for _ in range(4):  # up to the store itself
            try:
                os.rmdir(folder)
            except OSError:
                pass  # it is used
            folder = dirname(folder)


def need_space(folder, least):
    """Raises MachineError if the disk has fewer than `least` MB left."""
    while not exists(folder):
        folder = dirname(folder)
    free = shutil.disk_usage(folder).free >> 20
    if free < least:
        raise MachineError("%s has %d MB left on its disk; the image needs %d." % (
            folder, free, least), "Make room, or name another place for all: --storage-path FOLDER")


# === 5. Flags =====================================================================================

BOOLEANS = {"1": True, "t": True, "T": True, "true": True, "TRUE": True, "True": True,
            "0": False, "f": False, "F": False, "false": False, "FALSE": False, "False": False}


class Flag:
    """One flag, declared once for parser, help, environment, stored config and reference.

    The type of `default` (False, 0, "" or []) tells the kind. `field` is the key in config.json,
    under "Driver" for a driver's flag. A `secret` value never reaches the screen. A value other
    than the default is one of `choices`, a number from `least` to `most`, a `port`, of a `form` (a
    regular expression of ASCII), or the path of a `file`, stored in full: True for one that must be
    there, "any" for one that need not. `hint` helps whoever gave another one.
    """

    def __init__(self, name, default, help, env="", short="", field="", secret=False,
                 required=False, choices=(), least=None, most=None, form="", hint="", port=False,
                 file=False):
        self.name, self.default, self.help, self.env = name, default, help, env
        self.short, self.field, self.secret, self.required = short, field, secret, required
        self.choices, self.form, self.hint, self.file = choices, form, hint, file
        self.least = 1 if port else least
        self.most = 65535 if port else most

    def check(self, value):
        """Refuse a value that the flag does not take. Raises UsageError."""
        words = ""
        if isinstance(value, list):
            for one in value:
                self.check(one)
        elif self.choices and value not in self.choices:
            words = "is none of: %s." % ", ".join(self.choices)
        elif self.least is not None and value < self.least:
            words = "is too small: at least %d." % self.least
        elif self.most is not None and value > self.most:
            words = "is too large: at most %d." % self.most
        elif self.form and not re.fullmatch(self.form, value, re.A):
            words = "cannot be used."
        elif self.file is True and not isfile(value):
            words = "is not a file."
        if words and value != self.default:
            shown = "" if self.secret else " " + json_text(value)
            raise UsageError("--%s%s %s" % (self.name, shown, words), self.hint)

    def convert(self, typed):
        """The value of NAME=TEXT. Raises UsageError, which calls the flag NAME."""
        name, _, text = typed.partition("=")
        words = 'invalid value "%s" for flag -%s: parse error'
        try:
            if isinstance(self.default, bool):
                words = 'invalid boolean value "%s" for -%s: parse error'
                return BOOLEANS[text]
            if isinstance(self.default, int):
                return int(text, 0)
            return text
        except (KeyError, ValueError):
            raise UsageError(words % (text, name))

    def settle(self, typed, environ):
        """The value in force: the last one `typed`, else that of the variable, else the default.
        A list has the values of the variable and those typed."""
        text = environ.get(self.env, "")
        if isinstance(self.default, list):
            there = [part.strip() for part in text.split(",") if part]
            return there + typed or list(self.default)
        if typed or not text:
            return typed[-1] if typed else self.default
        try:
            return self.convert("=" + text)
        except UsageError:
            out.warn('%s="%s" is not a value for --%s; ignored.' % (self.env, text, self.name))
            return self.default

    def entry(self):
        """The left and right half of its line in a help text."""
        names = ("--" if self.name[1:] else "-") + self.name
        if self.short:
            names += ", -" + self.short
        if isinstance(self.default, list):
            names += " [--{0} option --{0} option]".format(self.name)
        elif self.name == "storage-path":
            names += ' "%s"' % dirname(Scratch.spare)  # the one in force
        elif not isinstance(self.default, bool):
            names += ' "%s"' % self.default if self.default != "" else " "
        return names, self.help + (" [$%s]" % self.env if self.env else "")


def store_flags(flags, options, settings):
    """Check the values that `options` has for `flags`, and keep each under its field in `settings`,
    where the defaults stand already. Raises UsageError."""
    for flag in flags:
        value = options[flag.name]
        if flag.file and value:
            value = abspath(expanduser(value))
        flag.check(value)
        if flag.field and value != flag.default:
            settings[flag.field] = value


def wants_debug(flag):
    """MACHINE_DEBUG beats --debug, both ways. Raises MachineError."""
    text = os.environ.get("MACHINE_DEBUG", "")
    if text and text not in BOOLEANS:
        raise MachineError('Error parsing boolean value from MACHINE_DEBUG: "%s"' % text,
                           "Set it to true or false.")
    return BOOLEANS.get(text, flag)


def nearest(word, known, lead="Did you mean %s?"):
    """A hint with the known word closest to a mistyped one, or ""."""
    found = difflib.get_close_matches(word, known)
    return lead % found[0] if found else ""


def parse_flags(flags, words, environ=os.environ, interleaved=True):
    """Split a command line into ({flag name: value}, [other words]). With `interleaved` flags may
    stand after other words; else parsing stops at the first of those. Raises UsageError."""
    typed, rest = split_words(flags, words, interleaved)
    given = _parse(flags, typed) if typed else {}
    return {flag.name: flag.settle(given.get(flag.name, []), environ) for flag in flags}, rest


def split_words(flags, words, interleaved=True):
    """A command line by the rules of Go's flag package: ([(flag, name as typed, text)], [other
    words]). One or two dashes, `--flag value` or `--flag=value`, no bundling, `--` ends the flags.
    What is not among `flags` is taken for a flag without a value. Raises UsageError."""
    by_name = {name: flag for flag in flags for name in (flag.name, flag.short)}
    typed, rest, spelled = [], [], {}  # type: list, list, dict
    words = iter(words)
    for word in words:
        if word == "--":
            break
        if word == "-" or not word.startswith("-"):
            rest.append(word)
            if interleaved:
                continue
            break
        name, equals, text = word.lstrip("-").partition("=")
        if not name or word.startswith("---"):
            raise UsageError("bad flag syntax: " + word)
        flag = by_name.get(name) or Flag(name, False, "")
        if spelled.setdefault(flag, name) != name:
            raise UsageError("Cannot use two forms of the same flag: %s %s" % (
                flag.short, flag.name))
        if not equals:
            text = "true" if isinstance(flag.default, bool) else next(words, None)
        if text is None:
            raise UsageError("flag needs an argument: -" + name)
        typed.append((flag, name, text))
    return typed, rest + list(words)


def _parse(flags, typed):
    """{name: [values]} of what split_words() found. Raises UsageError."""
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, conflict_handler="resolve",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80))  # asks no terminal
    for flag in flags:
        parser.add_argument("--" + flag.name, dest=flag.name, action="append", default=[],
                            type=flag.convert)
    # The name as typed is for the messages, and keeps a value from being "--", which would be lost.
    found, unknown = parser.parse_known_args(["--%s=%s=%s" % (flag.name, name, text)
                                              for flag, name, text in typed])
    given = vars(found)
    if unknown:
        name = unknown[0].split("=")[1]
        raise UsageError("flag provided but not defined: -" + name,
                         nearest(name, given, "Did you mean --%s?"))
    return given


def flag_help(flags):
    """The lines of an "Options:" list."""
    return two_columns([flag.entry() for flag in flags])


def two_columns(entries):
    """Lines of two aligned columns, the second one as wide as the terminal leaves it."""
    width = min(max(len(left) for left, _ in entries) + 3, 60)
    lines, whole = [], columns(sys.stdout)  # type: list, int
    if not whole:
        return ["   %s\t%s" % (left.ljust(width), right) for left, right in entries]
    whole = max(whole, 40)
    width = min(width, whole // 3)
    for left, right in entries:
        left = "   %s  " % left.partition(" [--")[0].ljust(width - 2)
        lines += textwrap.wrap(right, whole - 1, initial_indent=left,
                               subsequent_indent=" " * (width + 3))
    return lines


# === 6. Certificates ==============================================================================
# By the system's openssl: any release from 1.0.2 on, and LibreSSL. `openssl ca` is the one command
# that takes a not-before date in all of them.

CERTIFICATE_DAYS = 1080
RENEW_DAYS = 30  # a server certificate closer to its end is replaced when a machine is provisioned
OPENSSL_CONFIG = """\
[req]
prompt = no
utf8 = yes
string_mask = utf8only
distinguished_name = dn
[dn]
O = %s
[ca]
default_ca = own
[own]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
x509_extensions = extensions
[any]
organizationName = optional
[extensions]
%s
"""


class Pair:
    """Where a certificate and its key lie."""

    def __init__(self, cert, key):
        self.cert, self.key = abspath(cert), abspath(key)

    def complete(self):
        return exists(self.cert) and exists(self.key)

    def take(self, made, keep_key=False):
        """Put the files of another pair in place, both at once; the key stays if `keep_key`."""
        files = [(self.key, read_bytes(made.key), 0o600), (self.cert, read_bytes(made.cert), 0o644)]
        write_all(files[1:] if keep_key else files)


def openssl(*words, cwd=None, task=""):
    """Run openssl; its Result. With `task` it must not fail. Raises MachineError."""
    result = run(["openssl", *words], cwd=cwd)
    if task and not result.ok:
        raise MachineError("%s failed: openssl %s: %s" % (task, words[0], result.last_words(3)))
    return result


def new_key(path, curve=False):
    """Write a private key: RSA 2048 in PKCS#1 form, which Java clients can read, or P-256."""
    task = "Making a key"
    if curve:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path, task=task)
    # OpenSSL 3 writes PKCS#8 unless told otherwise; older ones do not know -traditional.
    elif not openssl("genrsa", "-traditional", "-out", path, "2048").ok:
        openssl("genrsa", "-out", path, "2048", task=task)


def issue(pair, suffix, extensions, ca=None, curve=False, keep_key=False):
    """Make a key and the certificate of `pair`, for the user's name and `suffix`, signed by `ca`, a
    Pair, or by itself, for 1080 days from yesterday (clocks differ). With `keep_key` a key that is
    there stays. Both files are made before they replace old ones. Raises MachineError."""
    request = ["req", "-new", "-config", "config", "-key", "key.pem"]
    signer = ["-cert", ca.cert, "-keyfile", ca.key] if ca else ["-selfsign", "-keyfile", "key.pem"]
    keep_key = keep_key and exists(pair.key)
    start, end = (time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))
                  for days in (-1, CERTIFICATE_DAYS - 1))
    with Scratch() as folder:
        made = Pair(join(folder, "cert.pem"), join(folder, "key.pem"))
        if keep_key:
            copy_file(pair.key, made.key)
        else:
            new_key(made.key, curve)
        if keep_key and exists(pair.cert):  # the issuer's name must stay, byte for byte
            request = ["x509", "-x509toreq", "-in", pair.cert, "-signkey", "key.pem"]
        _write_openssl_files(folder, certificate_owner() + suffix, extensions)
        # A passphrase is never asked for: -passin gives an empty one.
        openssl(*request, "-passin", "pass:", "-out", "request.pem", cwd=folder,
                task="Making a certificate")
        openssl("ca", "-batch", "-notext", "-preserveDN", "-config", "config", "-startdate", start,
                "-enddate", end, "-passin", "pass:", "-in", "request.pem", "-out", "cert.pem",
                *signer, cwd=folder, task="Signing a certificate")
        pair.take(made, keep_key)


def _write_openssl_files(folder, organization, extensions):
    # 64 characters is X.509's upper bound for an organization (RFC 5280, ub-organization-name).
    safe = re.sub("([\\\\$#\"'])", r"\\\1", organization[:64])
    for name, text in (("config", OPENSSL_CONFIG % (safe, extensions)), ("index.txt", ""),
                       ("serial", os.urandom(15).hex())):
        with open(join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def certificate_owner():
    """The user's name as Docker Machine puts it into certificates."""
    return " ".join(os.environ.get("USERNAME" if WINDOWS else "USER", "").split()) or "unknown"


def issue_ca(pair, keep_key=True):
    issue(pair, "", "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n"
          "keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement,keyCertSign",
          keep_key=keep_key)


def issue_client(pair, ca, keep_key=False):
    issue(pair, ".<bootstrap>", "basicConstraints=critical,CA:FALSE\nauthorityKeyIdentifier=keyid\n"
          "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth", ca,
          keep_key=keep_key)


def issue_server(pair, ca, machine, names, also_client=False):
    """The certificate that an engine shows: an ECDSA key, valid for `names` (hosts, addresses).
    `also_client`: a Swarm manager talks to other engines with it."""
    usage = "serverAuth,clientAuth" if also_client else "serverAuth"
    names = ",".join(("IP:" if ip_address(name) else "DNS:") + name for name in names)
    issue(pair, "." + machine, "basicConstraints=critical,CA:FALSE\nauthorityKeyIdentifier=keyid\n"
          "keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement\n"
          "extendedKeyUsage=%s\nsubjectAltName=%s" % (usage, names), ca, curve=True)


def ip_address(text):
    """An IPv4 or IPv6 address as it is usually written; "" for a host name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            pass
    return ""


def pair_problem(pair, ca_cert):
    """Why a certificate cannot be used under the CA ("" if it can): openssl's words."""
    try:
        load_pair(pair.cert, pair.key)
    except OSError as error:
        return "its certificate and key do not belong together (%s)" % reason(error)
    return certificate_problem(pair.cert, ca_cert)


def read_certificate(path):
    """The first certificate of a PEM file, as DER. Raises OSError, or ValueError for none."""
    body, end, _ = read_text(path).partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")
    if not end:
        raise ValueError("there is no certificate in it")
    return binascii.a2b_base64(body)


def validity(der):
    """When a certificate begins and ends to be valid, in seconds since 1970. Raises ValueError.
    The two times follow each other and are text: RFC 5280, 4.1.2.5."""
    found = re.search(rb"[\x17\x18][\r\x0f](\d{12,14})Z" * 2, der)
    if not found:
        raise ValueError("there is no certificate in it")
    return tuple(_seconds(text.decode()) for text in found.groups())


def _seconds(text):
    """A time of a certificate, [YY]YYMMDDhhmmss, in seconds since 1970, without slow datetime."""
    if len(text) == 12:
        text = ("19" if text >= "50" else "20") + text
    hour, minute, second = (int(text[start:start + 2]) for start in (8, 10, 12))
    year, month = divmod(12 * int(text[:4]) + int(text[4:6]) - 3, 12)  # years that begin in March
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5
    return ((days + int(text[6:8]) - 719469) * 24 + hour) * 3600.0 + minute * 60 + second


def days_left(path):
    """Days until a certificate expires. Raises OSError or ValueError."""
    return (validity(read_certificate(path))[1] - time.time()) / 86400


def certificate_problem(cert, ca_cert):
    """Why a CA does not vouch for a certificate ("" if it does): openssl's words."""
    result = openssl("verify", "-CAfile", ca_cert, cert)
    # openssl 1.0.2 exits 0 for some failures; "error N at" is in the words of all.
    found = re.search("^error .*lookup: ?(.*)", result.stderr + result.stdout, re.M)
    if found:
        return found.group(1)
    return "" if result.ok else result.last_words(1) or "not valid"


def server_pair_fits(pair, ca_cert, names, also_client):
    """Whether the server certificate that is there can stay: of this CA, for all names, and not
    near its end."""
    if not pair.complete() or pair_problem(pair, ca_cert):
        return False
    result = openssl("x509", "-in", pair.cert, "-noout", "-text",
                     "-checkend", str(RENEW_DAYS * 86400))
    found = re.findall(r"(?:DNS|IP Address):([^\s,]+)", result.stdout)
    there, wanted = ({ip_address(name) or name for name in some} for some in (found, names))
    is_client = "TLS Web Client Authentication" in result.stdout
    return result.ok and is_client == bool(also_client) and there == wanted


class Draft(Scratch):
    """Certificates for a new machine, made in a scratch folder while its host is looked at. What
    is taken from there enters the store; anything that lacks is made when it is needed."""

    def __init__(self, ca, client, server, names, machine):
        """`ca`, `client`, `server`: the Pairs that are wanted; `names` may not be known yet."""
        folder = self.__enter__()
        self.made = {pair.cert: Pair(join(folder, name + ".pem"), join(folder, name + "-key.pem"))
                     for pair, name in ((ca, "ca"), (client, "client"), (server, "server"))}
        self.names = names
        self.thread = _in_thread(self._make, ca, client, server, machine)

    def close(self):
        self.thread.join(5)
        self.__exit__()

    def _make(self, ca, client, server, machine):
        try:
            if not exists(ca.cert):
                ca = self.made[ca.cert]
                issue_ca(ca)
            if not client.complete():
                issue_client(self.made[client.cert], ca)
            if self.names:
                issue_server(self.made[server.cert], ca, machine, self.names)
        except (MachineError, OSError) as error:
            out.debug("draft: %s" % error)

    def take(self, pair, ca):
        """Put a pair into its place if it is here and of that CA; whether it is."""
        self.thread.join()
        made = self.made[pair.cert]
        if not made.complete() or exists(ca.cert) and pair_problem(made, ca.cert):
            return False
        pair.take(made)
        return True


def bootstrap_certificates(folder, ca, client, renew=False, draft=None):
    """Make sure that the store has a CA and a client pair that fit each other; with `renew` both
    get new certificates. The CA keeps its key, so that what it signed stays valid.

    One process at a time, so that machines created at once on an empty store share one CA.
    Files outside `folder` are the user's own: they are checked, never replaced.
    Raises MachineError.
    """
    need("openssl")
    with Lock(join(folder, ".lock"), "The certificate folder", 60), \
            stage("Error generating certificates: "):
        clear_leftovers(folder, ".tmp-docker-machine-")
        own = dirname(ca.cert) == folder
        renew = _bootstrap_ca(ca, own, renew, draft) or renew
        _bootstrap_client(client, ca, own and dirname(client.cert) == folder, renew, draft)


def _bootstrap_ca(ca, own, renew, draft):
    """Make the CA if there is none or if it has expired; tell whether its certificate is new."""
    problem = ""
    if exists(ca.cert):
        if not exists(ca.key):
            raise MachineError("there is %s but no key %s." % (ca.cert, ca.key), "Bring the key "
                               "back, or move ca.pem away to start a new CA for all machines.")
        problem = pair_problem(ca, ca.cert)
        if problem and not (own and "expired" in problem):
            raise MachineError("the CA certificate %s cannot be used: %s." % (ca.cert, problem))
        if not problem and not (own and renew):
            return False
    if problem:
        out.say("CA certificate is outdated and needs to be regenerated")
        out.warn('machines made with the old CA need "docker-machine regenerate-certs NAME".')
    out.say("Creating CA: " + ca.cert)
    if exists(ca.key) or not (draft and draft.take(ca, ca)):  # a key that is there stays
        issue_ca(ca, keep_key=not problem)
    return True


def _bootstrap_client(client, ca, own, renew, draft):
    if client.complete():
        problem = "it is to be renewed" if renew else pair_problem(client, ca.cert)
        if not problem:
            return
        if not own:
            raise MachineError(
                "the client certificate %s cannot be used: %s." % (client.cert, problem),
                "Give a pair of this CA with --tls-client-cert and --tls-client-key.")
        if not renew:
            out.say("Client certificate is outdated and needs to be regenerated")
    out.say("Creating client certificate: " + client.cert)
    keep_key = exists(client.key) and not exists(client.cert)
    if keep_key or not (draft and draft.take(client, ca)):
        issue_client(client, ca, keep_key)


# === 7. SSH =======================================================================================
# The system's ssh, so that the user's own ssh_config, agent and jump hosts work. What we rely on is
# pinned by explicit options, which win over any file.

SSH_BY_HAND = "ssh{key_words} -p {port} {user}@{host}"
SSH_FAILURES = (  # words of OpenSSH on stderr -> what is wrong, what to do
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "{host} shows another host key than before",
     "If the host was reinstalled, delete {known_hosts} and try again; else somebody may listen."),
    ("Host key verification failed", "the host key of {host} could not be verified",
     "Look into {known_hosts}."),
    ("Could not resolve hostname", 'the address "{host}" cannot be resolved',
     "Check the spelling, or give an IP address."),
    ("Connection refused", "{host} refused the connection on port {port}",
     "Check that sshd runs there and the port is right; if the host is still booting, try again."),
    ("Permission denied", "{host} refused the login of user {user}{with_key}",
     "Check the user, and that it is the right key: " + SSH_BY_HAND),
    ("Too many authentication failures", "{host} refused the login of user {user}{with_key}",
     "Name the right key; the agent offered too many."),
    ("Load key", "the SSH key {key} cannot be used",
     "Check that it is a private key in OpenSSH or PEM format."),
    ("banner exchange|kex_exchange_identification",
     "{host} port {port} does not answer like an SSH server",
     "Check the address and the port; if the host is still booting, try again."),
    ("timed out", "{host} does not answer on port {port}",
     "Check the address, and whether a firewall is in the way: ssh -p {port} {user}@{host}"),
    ("No route to host|Network is unreachable", "there is no route to {host}",
     "Check the address and the network."),
    ("No user exists for uid", "ssh wants this user to be in /etc/passwd",
     'Add a line: echo "me:x:$(id -u):$(id -g)::$HOME:/bin/sh" >>/etc/passwd'),
    ("Connection closed|Connection reset", "{host} closed the connection on port {port}",
     "Check that this is an SSH port; if the host is still booting, try again."),
)
SSH_OPTIONS = (  # for all machines
    "GlobalKnownHostsFile=" + os.devnull, "StrictHostKeyChecking=accept-new", "CheckHostIP=no",
    "UpdateHostKeys=no", "HashKnownHosts=no", "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no", "ConnectTimeout=10", "ServerAliveInterval=15",
    "ServerAliveCountMax=4", "LogLevel=ERROR", "RemoteCommand=none",
)


class SSHError(MachineError):
    """ssh itself failed (its exit code 255): no connection, no login."""


class SSH:
    """The system's ssh to one machine. All its commands share one connection where the platform
    has multiplexing; `close()` ends it."""

    facts = None  # type: typing.Any  # the Facts of the provisioning probe, which asks only once
    known_hosts = ""
    _scratch = None  # type: typing.Any

    def __init__(self, name):
        self.name = name

    def aim(self, host, port, user, key="", known_hosts=""):
        """Set the target. Host keys are pinned in `known_hosts`; as long as its folder is not
        there they wait in a temporary file."""
        for word in (host, user):
            if not re.match(r"[^\s-]\S*\Z", word):
                raise MachineError("%s cannot be used for SSH." % json_text(word))
        self.host, self.port, self.user, self.key = host, port, user, key
        before, self.known_hosts = self.known_hosts, known_hosts
        if not isdir(dirname(known_hosts)):
            self.known_hosts = join(self.folder(), "known_hosts")
        elif exists(before) and not exists(known_hosts):
            copy_file(before, known_hosts)
        return self

    def folder(self):
        """A private folder for the control socket."""
        if self._scratch is None:
            self._scratch = Scratch()
            self._scratch.__enter__()
        return self._scratch.path

    def options(self):
        """What we pin, as KEYWORD=VALUE of ssh_config."""
        own = ["UserKnownHostsFile=" + _config_path(self.known_hosts),
               "HostKeyAlias=docker-machine." + self.name]
        if self.key:
            own += ["IdentitiesOnly=yes", "IdentityFile=" + _config_path(self.key)]
        if self.port != 22:  # which is left to ssh, since the user's ssh_config may know better
            own.append("Port=%d" % self.port)
        return [*own, *SSH_OPTIONS]

    def words(self, options=()):
        """The options as command line words of ssh and scp."""
        return [word for option in (*self.options(), *options) for word in ("-o", option)]

    def command(self, *remote, options=()):
        return ["ssh", *self.words(options), "-l", self.user, self.host, *remote]

    def config_block(self, alias):
        """The same as a Host block of an ssh_config file."""
        options = ["Host=" + plain_alias(alias), "HostName=" + self.host, "User=" + self.user,
                   *self.options()]
        return "".join(option.replace("=", " ", 1) + "\n" for option in options)

    def run(self, command, stdin="", seconds=60, on_line=None):
        """Run `command` in the login shell there, without a terminal. Raises SSHError."""
        terminal = sys.stdin and sys.stdin.isatty()
        control = join(self.folder(), "s")
        options = ["ClearAllForwardings=yes", "RequestTTY=no", "PermitLocalCommand=no",
                   "ForwardX11=no", "NumberOfPasswordPrompts=1",
                   "BatchMode=" + ("no" if terminal else "yes")]
        if not WINDOWS and len(self.folder()) < 90:  # a longer path cannot be a socket's
            options += ["ControlMaster=auto", "ControlPersist=15",
                        "ControlPath=" + _config_path(control)]
        # It may ask for the passphrase of a key, once.
        with Asking(terminal and not exists(control) and (
                not self.key or key_complaint(self.key))):
            result = run(self.command(command, options=options), stdin, seconds, on_line,
                         late=SSHError)
        if result.code == 255:
            raise self.failure(result)
        return result

    def failure(self, result):
        """The SSHError for what ssh printed."""
        said = result.stderr.strip() or "the connection ended without a word"
        words = dict(vars(self), with_key="", key_words="", said=said,
                     last=said.splitlines()[-1].strip(".").replace("ssh: ", "", 1))
        if self.key:
            words.update(with_key=" with the key " + self.key, key_words=" -i " + quote(self.key))
        sentence, hint = "SSH to {host} failed: {said}", "Try it by hand: " + SSH_BY_HAND
        for marks, what, advice in SSH_FAILURES:
            if re.search(marks, said):
                sentence, hint = "SSH failed: %s (ssh: {last})." % what, advice
                break
        if self.key and "refused the login" in sentence and "passphrase" in key_complaint(self.key):
            hint = "The key has a passphrase: give it to the agent first: ssh-add {key}"
        return SSHError(sentence.format(**words), hint.format(**words))

    def settings(self):
        """What the user's ssh_config makes of this host, {keyword in lower case: value}."""
        said = run(["ssh", "-G", *self.command()[1:]], seconds=10).stdout
        return dict(line.partition(" ")[::2] for line in said.splitlines())

    def uses_proxy(self):
        """Whether the user's ssh_config reaches this host by way of another."""
        settings = self.settings()
        return any(settings.get(key, "none") != "none" for key in ("proxyjump", "proxycommand"))

    def close(self):
        """End the shared connection and forget temporary files."""
        scratch = vars(self).pop("_scratch", None)  # by one thread: its handle is closed once
        if scratch is None:
            return
        control = join(scratch.path, "s")
        if exists(control):
            run(["ssh", "-O", "exit", "-o", "ControlPath=" + _config_path(control), self.host],
                seconds=10)
        scratch.__exit__()


def _config_path(path):
    """A path as an ssh_config value: blanks and quotes need quotes, % starts a token. Raises
    MachineError for one that would be two lines."""
    if not is_line(path):
        raise MachineError("ssh cannot use the path %s." % json_text(path))
    path = path.replace("%", "%%").replace('"', '\\"')
    if WINDOWS:  # ssh takes two backslashes for one
        path = path.replace("\\", "/")
    return '"%s"' % path if set(path) & set(" \t\"'#") else path


def plain_alias(name):
    """A machine's name as a Host of ssh_config, where it must not be a pattern, or two names."""
    return re.sub(r"[^\w.-]", "_", name)


def key_complaint(path):
    """What ssh-keygen says of a private key that it cannot read with an empty passphrase; else "",
    as where there is no ssh-keygen."""
    try:
        result = read_key(path)
    except MachineError:
        return ""
    return "" if result.ok else plain_words(result.last_words(1))


def read_key(path):
    """The Result of ssh-keygen, which prints the public half of a private key."""
    return run(["ssh-keygen", "-y", "-P", "", "-f", path], seconds=10)


KEY_FAILURES = (  # what a file that is not a key for ssh begins with -> what it is, what to do
    (b"ssh-|ecdsa-|sk-", "{0} is the public half of a key.",
     "Give the private one, whose name has no .pub."),
    (b"PuTTY", "{0} is a PuTTY key, which ssh cannot read.",
     "Convert it: puttygen KEY.ppk -O private-openssh -o KEY"),
    (b"(?s).*\r\n", "{0} has the line ends of Windows, with which ssh cannot read it.",
     "Make a copy without them: tr -d '\\r' <{0} >KEY; chmod 600 KEY"),
)


def check_key_file(path):
    """Refuse an SSH key that ssh would refuse, with what helps. Raises MachineError."""
    try:
        mode = os.stat(path).st_mode & 0o7777
        data = read_bytes(path)
    except FileNotFoundError:
        raise MachineError("SSH key does not exist: " + path, "Check the path of the key.")
    except OSError as error:
        raise MachineError("Cannot read the SSH key %s: %s." % (path, error.strerror),
                           "Check the path of the key.")
    for marks, sentence, hint in KEY_FAILURES:
        if re.match(marks, data):
            raise MachineError(sentence.format(path), hint.format(quote(path)))
    if mode & 0o077 and not WINDOWS:
        raise MachineError("permissions %04o for '%s' are too open" % (mode, path),
                           "Make it private: chmod 600 " + quote(path))
    said = key_complaint(path)
    if said and "passphrase" not in said:
        raise MachineError("%s is damaged, or not a private key: %s" % (path, said),
                           "Bring it back, or make a new one: ssh-keygen")


def new_ssh_key(path, comment=""):
    """Make an ed25519 key pair without a passphrase, `path` and `path`.pub, unless it is there;
    the public line."""
    if not (exists(path) and exists(path + ".pub")):
        result = run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path],
                     "y\n")  # to whether half a pair is to be replaced
        if not result.ok:
            raise MachineError("The SSH key %s cannot be made: %s" % (path, result.last_words()))
    return public_half(path)


def public_half(path):
    """The public line of a private key, from the file beside it or the key itself; "" if it has a
    passphrase and no such file."""
    if exists(path + ".pub"):
        return read_text(path + ".pub").strip()
    return read_key(path).stdout.strip()


# === 8. Driver ====================================================================================

STATES = ("", "Running", "Paused", "Saved", "Stopped", "Stopping", "Starting", "Error", "Timeout")
RUNNING, PAUSED, SAVED, STOPPED, STOPPING, STARTING, ERROR, TIMEOUT = STATES[1:]
ENGINE_PORT = 2376
HOST_KEY = "ssh_host_ed25519_key"
MACHINE_FILES = (  # what else lies in the folder of a machine
    "config.json", "config.json.bak", "ca.pem", "cert.pem", "key.pem", "server.pem",
    "server-key.pem", "known_hosts", "incomplete", HOST_KEY, HOST_KEY + ".pub",
)
BASE_FIELDS = (
    ("IPAddress", ""), ("MachineName", ""), ("SSHUser", ""), ("SSHPort", 0), ("SSHKeyPath", ""),
    ("StorePath", ""), ("SwarmMaster", False), ("SwarmHost", ""), ("SwarmDiscovery", ""),
)


class Finding:
    """What `doctor` found: "ok", "note" (may be meant so) or "bad"; of what, and how to fix it."""

    def __init__(self, level, subject, words, fix=""):
        self.level, self.subject, self.words, self.fix = level, subject, words, fix


class Driver:
    """Base of all drivers: one kind of place where machines live.

    A subclass names itself, declares `flags` (what `create` asks) and `fields` (stored state that
    is not a flag), and overrides verbs. `driver["Key"]` is the "Driver" object of config.json; keys
    that a driver does not know are kept. A driver logs; it never prints, prompts or exits.
    """

    name = ""
    flags = ()  # type: tuple
    fields = ()  # type: tuple
    default_user = "root"
    provisions = True  # whether an engine is to be set up on the machine
    boot_seconds = 180  # how long ssh may take to answer after the machine runs
    patience = 5  # seconds that a question about the machine's state may take
    poll_seconds = 0.5  # the longest pause between such questions while a state is awaited
    by_hand = "Do it on the host itself."  # what to do instead of a verb that it does not offer
    all_flags = classmethod(lambda cls: cls.flags)  # for create; a plugin has to be asked
    stored_url = ""  # where `ls` looks for the engine, if engine_url() has to ask somebody

    def __init__(self, machine):
        """`machine` has `name`, `folder` (STORE/machines/NAME, wherever the store lies now),
        `store`, `save()` and `engine_files()`."""
        self.machine, self.folder = machine, machine.folder
        self.config = machine.config["Driver"]
        self._ssh = SSH(self.get("MachineName"))

    @classmethod
    def defaults(cls):
        """The "Driver" object of a machine that is yet to be described."""
        rows = [(flag.field, flag.default) for flag in cls.flags if flag.field]
        # Lists and objects are each machine's own.
        return {key: value.copy() if isinstance(value, (list, dict)) else value
                for key, value in [*BASE_FIELDS, *rows, *cls.fields]}

    def __getitem__(self, key):
        """A stored value; the declared default where it is missing or null, as in entries of older
        releases and of Docker Machine."""
        value = self.config.get(key)
        return self.defaults()[key] if value is None else value

    def __setitem__(self, key, value):
        self.config[key] = value

    def get(self, key, default=""):
        """A stored value; `default` where it is missing, null or empty."""
        return self.config.get(key) or default

    def path(self, name):
        """A file in the machine's folder."""
        return join(self.folder, name)

    def cache(self):
        """The store's folder for what several machines start from."""
        return join(realpath(self.machine.store.path), "cache")

    def log(self, text):
        out.say("(%s) %s" % (self.machine.name, text))

    def set_config_from_flags(self, options):
        """Take the values of the flags. Raises MachineError for a missing or bad one."""
        for flag in self.flags:
            if flag.required and not options[flag.name]:
                raise UsageError("%s driver requires the --%s option" % (self.name, flag.name),
                                 "See: docker-machine create --driver %s --help" % self.name)
        store_flags(self.flags, options, self.config)

    def pre_create_check(self):
        """Find out whether create() can work, before anything is made. Raises MachineError."""

    def checks(self):
        """What `doctor` tells of this computer's fitness for the driver: rows as Finding."""
        return ()

    def create(self):
        raise NotImplementedError

    def remove(self):
        """Delete the machine there; one that is gone already counts as removed."""

    def _refusal(self, verb):
        """The error for a verb that the driver does not have."""
        hint = self.by_hand
        if verb in ("stop", "kill") and hint == Driver.by_hand:
            hint = "Do it on the host itself, for example: docker-machine ssh NAME sudo poweroff"
        return MachineError("%s driver does not support %s" % (self.name, verb),
                            hint.replace("NAME", quote(self["MachineName"])))

    def start(self):
        raise self._refusal("start")

    def check_provision(self):
        """Raise MachineError if the host must not be changed, now that it is asked for."""

    def check_boot(self):
        """Raise MachineError if a machine that is awaited will never answer."""

    def stop(self):
        raise self._refusal("stop")

    def shut_down(self, ask):
        """For stop(): call ask() until the machine is off, again and again, since a booting guest
        does not hear it. Raises MachineError after 180 s."""
        def is_off():
            return self.get_state() == STOPPED

        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            if not is_off():
                ask()
            if wait_for(is_off, 12, "", self.poll_seconds, self.poll_seconds / 10):
                return
        raise MachineError("%s did not shut down within 180 s." % self["MachineName"],
                           "End it at once: docker-machine kill " + self["MachineName"])

    def kill(self):
        raise self._refusal("kill")

    def restart(self):
        raise self._refusal("restart")

    def pause(self):
        raise self._refusal("pause")

    def upgrade(self):
        """Renew what the engine is part of, if that is not a package of the guest but, say, an ISO;
        whether it is."""
        return False

    def get_state(self):
        """One of STATES. Raises MachineError if it cannot be known."""
        raise NotImplementedError

    @classmethod
    def states(cls, drivers, seconds):
        """What get_state() gives for several machines of this driver, or the exception that it
        raises, in their order, within `seconds`: by one question where there is one for all."""
        for driver in drivers:
            driver.patience = seconds
        return each(lambda driver: driver.get_state(), drivers, seconds=seconds)

    def get_ip(self):
        if not self.get("IPAddress"):
            raise MachineError("IP address is not set")
        return self["IPAddress"]

    def get_url(self):
        """The engine's address, tcp://HOST:PORT. Raises MachineError if the machine is off."""
        if self.get_state() != RUNNING:
            raise MachineError("Host is not running")
        return self.engine_url()

    def engine_url(self):
        """The same, without a look at the machine's state."""
        return join_url(self.get_ip(), self.engine_port())

    def engine(self):
        """The Engine of a machine that is not asked over TLS; None where it is."""

    def engine_port(self):
        return ENGINE_PORT

    def listen_port(self):
        """The engine's port in the machine itself; another one where ports are forwarded."""
        return self.engine_port()

    def get_ssh_hostname(self):
        return self.get_ip()

    def get_ssh_port(self):
        return self.get("SSHPort", 22)

    def get_ssh_username(self):
        return self.get("SSHUser", self.default_user)

    def get_ssh_key_path(self):
        return self.get("SSHKeyPath") or join(self.folder, "id_rsa")

    def ssh(self):
        """The SSH of this machine, aimed at where it is now."""
        return self._ssh.aim(self.get_ssh_hostname(), self.get_ssh_port(), self.get_ssh_username(),
                             self.get_ssh_key_path(), join(self.folder, "known_hosts"))

    def public_key(self):
        """The line of the key that is to log in."""
        return public_half(self.get_ssh_key_path())

    def make_ssh_keys(self):
        """Make the login's key pair and the host's own, for what the guest starts from."""
        new_ssh_key(self.get_ssh_key_path(), self.get("MachineName"))
        self.make_host_key()

    def make_host_key(self):
        """Make the host's own key pair, which is pinned in advance so that already the first
        connection is verified."""
        host_key = new_ssh_key(join(self.folder, HOST_KEY))
        write_atomic(join(self.folder, "known_hosts"), "docker-machine.%s %s\n" % (
            self.get("MachineName"), " ".join(host_key.split()[:2])))

    def boot_id(self):
        """What differs from boot to boot of the host, in a container too; "" while it is down."""
        try:
            return self.ssh().run(
                "echo boot-of-this-host; cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 "
                "/proc/1/stat", seconds=20).stdout.partition("boot-of-this-host")[2]
        except MachineError:
            return ""

    def await_reboot(self, before):
        """Wait until ssh answers from another boot than the one of boot_id() `before`."""
        seconds = max(300, self.boot_seconds)
        self.close()
        wait_for(lambda: self.boot_id() not in ("", before), seconds, "%s did not come back within "
                 "%d s of its reboot." % (self.get_ssh_hostname(), seconds))

    def known_facts(self):
        """The Facts of the host if it was probed already, or None."""
        return self._ssh.facts

    def close(self):
        self._ssh.close()

    def need(self, module, package=""):
        """Import what only this driver needs. Raises MachineError with the line that installs
        `package` (by default the module's name)."""
        import importlib
        try:
            return importlib.import_module(module)
        except ImportError as error:
            package = package or module
            raise MachineError(
                "The %s driver needs the Python package %s (%s)." % (self.name, package, error),
                "Install it: %s -m pip install %s" % (
                    quote(sys.executable or "python3"), package))


def join_url(host, port):
    """tcp://HOST:PORT, with the brackets that IPv6 needs."""
    return "tcp://%s:%d" % ("[%s]" % host if ":" in host else host, port)


def split_url(url, default_port=ENGINE_PORT):
    """(host, port) of an engine's URL; port 0 for one that is not a number."""
    found = re.findall(r"^(?:[^/]*://)?(\[[^]/]*\]|[^:/]*):?(\d*)([^/]*)", url)
    host, port, rest = found[0]
    return host.strip("[]"), 0 if rest else int(port or default_port)


# === 9. Engine ====================================================================================

REGENERATE = ("You can attempt to regenerate them using 'docker-machine regenerate-certs %s'.\n"
              "Be advised that this will trigger a Docker daemon restart which might stop running "
              "containers.")
TLS_FAILURES = (  # OpenSSL's X509_V_ERR_* (0: Python 3.6 has none), and words -> what is wrong
    ("^10 |certificate has expired", "the engine's certificate, or the CA, has expired"),
    ("^9 |not yet valid", "the engine's certificate is not yet valid; check the clocks of this "
     "computer and of the host"),
    ("^6[24] |doesn't match", "the engine's certificate was not made for {host}"),
    ("^(18|19|20|21) ", "the engine's certificate was signed by another CA than this store's"),
    ("WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|HTTP_REQUEST|RECORD_LAYER_FAILURE",
     "what answers there does not speak TLS"),
    ("^0 .*certificate verify failed", "the engine's certificate has expired, or it was signed by "
     "another CA than this store's"),
    ("alert", "the engine refused this store's client certificate ({reason})"),
)


class Engine:
    """A Docker Engine, to be asked over TLS with the client pair of `auth` ("AuthOptions" in
    config.json); hints say the `name` of its machine. No API version is named in a question, so
    that every release of the engine answers."""

    heard = ""  # the answer that had its version

    def __init__(self, url, auth, name):
        self.url, self.name = url, name
        self.host, self.port = split_url(url)
        self.files = auth["CaCertPath"], auth["ClientCertPath"], auth["ClientKeyPath"]
        self.tls = None  # type: typing.Any

    def context(self):
        """Its TLS context, made once: that costs as much as a question. Raises MachineError."""
        try:
            self.tls = self.tls or tls_context(*self.files)
        except MachineError as error:
            error.hint = "Run: docker-machine regenerate-certs " + self.name
            raise
        return self.tls

    def get(self, path, seconds):
        """The answer to GET, as ask() gives it."""
        return self.ask(("GET %s HTTP/1.0\r\nHost: docker\r\n\r\n" % path).encode(), seconds)

    def call(self, method, path, body=None, seconds=60, kind=dict):
        """The JSON of an answer, {} for none; the last line of several. Raises as ask() does, also
        for JSON of another `kind`, and RestError with `status` and `words` of a refusal."""
        sent = b"" if body is None else json_text(body).encode()
        head = "%s %s HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n" \
            "Content-Length: %d\r\n\r\n" % (method, path, len(sent))
        status, answer = self.ask(head.encode() + sent, seconds, 64 << 20)
        text = answer.partition("\r\n\r\n")[2].encode("latin-1").decode("utf-8", "replace")
        try:
            value = parse_json(text.strip().rpartition("\n")[2] or "{}")
        except ValueError:
            raise self._stranger()
        told = isinstance(value, dict) and value.get("message" if status >= 400 else "error")
        if status >= 400 or told:
            words = plain_words(str(told or ""))[:500] or "status %d" % status
            raise RestError("the engine at %s answered: %s" % (self.url, words), status=status,
                            words=words)
        if not isinstance(value, kind):
            raise self._stranger()
        return value

    def ask(self, request, seconds, most=1000000):
        """The answer to a request: (status, all of it as text). Raises Unreachable, or MachineError
        that says what is wrong with the certificates."""
        if not self.host:
            raise MachineError('The URL "%s" names no host to ask.' % self.url)
        try:
            with dial_tls(self.host, self.port, self.context(), seconds) as connection:
                answer = _exchange(connection, request, seconds, most).decode("latin-1")
        except (ssl.SSLError, ssl.CertificateError, ConnectionError) as error:
            raise self._refused(error)
        except ValueError:
            raise self._stranger()
        except OSError as error:
            raise no_answer(self.host, self.port, seconds, error)
        found = re.match(r"HTTP/\S+ (\d+)", answer)
        if not found:
            raise self._stranger()
        return int(found.group(1)), answer

    def version(self, seconds=20):
        """The version of the engine, for example 26.1.5. Raises as get() does. Every answer of
        dockerd has it in a header, and /_ping costs it 0.5 ms, /version 10 ms."""
        deadline = time.monotonic() + seconds
        status, answer = self.get("/_ping", seconds)
        found = re.search(r"^Server: Docker/(\S+)", answer, re.M | re.I)
        self.heard = answer
        if status != 200 or not found:
            status, answer = self.get("/version", max(deadline - time.monotonic(), 0.1))
            found = re.search(r'"Version": ?"([^"]+)"', answer)
        if status != 200:
            raise MachineError("The engine at %s answered %d." % (self.url, status))
        if not found:
            raise self._stranger()
        return plain_words(found.group(1))[:64]

    def _stranger(self):
        return MachineError("What answers at %s is not a Docker Engine." % self.url)

    def _refused(self, error):
        """The MachineError for a failed handshake, in Docker Machine's words plus the cause, or for
        a closed connection. The engine does not tell that our own certificate has expired."""
        try:
            expired = openssl("x509", "-noout", "-checkend", "0", "-in", self.files[1]).code == 1
        except MachineError:
            expired = False
        if expired:
            return MachineError("The client certificate %s has expired." % self.files[1], "Renew "
                                "it: docker-machine regenerate-certs --client-certs " + self.name)
        hint = REGENERATE % quote(self.name)
        if isinstance(error, ConnectionError):
            return MachineError("The engine at %s closed the connection; it may refuse this "
                                "store's client certificate." % self.url, hint)
        words = str(error)
        for marks, sentence in TLS_FAILURES:
            if re.search(marks, "%d %s" % (getattr(error, "verify_code", 0), error)):
                words = sentence.format(host=self.host, reason=getattr(error, "reason", words))
                break
        if "speak TLS" in words:
            hint = "Check the port."
        return MachineError('There was an error validating certificates for host "%s": %s' % (
            join_url(self.host, self.port)[len("tcp://"):], words), hint)


def _exchange(connection, request, seconds, most):
    """All that the server answers within `seconds`, so many bytes at most."""
    deadline = time.monotonic() + seconds
    try:
        connection.sendall(request)
    except OSError:
        pass  # refused: the reason can still be read
    answer = b""
    while len(answer) < most:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(65536)
        if not chunk:
            break
        answer += chunk
    if not answer:
        raise ConnectionResetError
    return answer


# --- a standalone Swarm's containers

def swarm_containers(swarm, env, folder, address, port, discovery):
    """What makes a host with the certificates in `folder` and an engine at a port a part of a
    standalone Swarm, as Docker Machine makes it: {name: body of POST /containers/create}."""
    lead = ["--experimental"] if swarm.get("IsExperimental") else []
    listen = swarm.get("Host") or "tcp://0.0.0.0:3376"
    own, containers = split_url(listen, 3376)[1], {}  # type: int, dict

    def advertised(port):
        host, given = split_url(swarm.get("Address") or "", port)
        return join_url(host or address, given)[len("tcp://"):]

    def container(name, words, options, more, **settings):
        containers[name] = dict(
            settings, Image=swarm.get("Image") or "swarm:latest", Env=list(env),
            Cmd=[*lead, *words, *("--" + option for option in options or ()), discovery],
            HostConfig=dict(more, RestartPolicy={"Name": "always"}))

    if swarm.get("Master"):
        files = ["--tls%s=%s/%s.pem" % (option, folder, name) for option, name in (
            ("cacert", "ca"), ("cert", "server"), ("key", "server-key"))]
        container(
            "swarm-agent-master", ["manage", "--tlsverify", *files, "-H", listen, "--strategy",
                                   swarm.get("Strategy") or "spread", "--advertise",
                                   advertised(own)], swarm.get("ArbitraryFlags"),
            {"Binds": ["%s:%s" % (folder, folder)], "PortBindings": {
                "%d/tcp" % own: [{"HostIp": "0.0.0.0", "HostPort": str(own)}]}},
            ExposedPorts={"2375/tcp": {}, "%d/tcp" % own: {}})
    told = not discovery.startswith(("nodes:", "file:"))
    if swarm.get("Agent") and told:
        container("swarm-agent", ["join", "--advertise", advertised(port)],
                  swarm.get("ArbitraryJoinFlags"), {})
    return containers


def settle_container(engine, name, wanted, restart):
    """Make a container and start it. One that differs is replaced; one that does not is only
    started again if `restart`. Raises MachineError."""
    path = "/containers/" + name
    try:
        there = engine.call("GET", path + "/json")
    except RestError as error:
        if error.status != 404:
            raise
        there = {}
    if there and not is_like(there, wanted):
        engine.call("DELETE", path + "?force=1")
        there = {}
    if not there:
        engine.call("POST", "/containers/create?name=" + name, wanted)
    engine.call("POST", path + ("/restart?t=5" if there and restart else "/start"))


def is_like(there, wanted):
    """Whether a container, as the engine describes it, has all that is wanted of it. Its Env has
    the image's as well."""
    config, host = there.get("Config") or {}, there.get("HostConfig") or {}
    more = wanted["HostConfig"]
    return (config.get("Image") == wanted["Image"] and config.get("Cmd") == wanted["Cmd"]
            and set(wanted["Env"]) <= set(config.get("Env") or ())
            and (host.get("Binds") or []) == more.get("Binds", [])
            and (host.get("PortBindings") or {}) == more.get("PortBindings", {}))


def pull_image(engine, image):
    """See that an engine has an image. Raises MachineError."""
    from urllib.parse import quote as escaped
    try:
        engine.call("GET", "/images/%s/json" % escaped(image))
    except RestError as error:
        if error.status != 404:
            raise
        out.hear("Pulling the image %s..." % image)
        tag = "" if set(":@").intersection(image.rpartition("/")[2]) else "&tag=latest"
        with stage("Unable to pull image: "):
            engine.call("POST", "/images/create?fromImage=%s%s" % (escaped(image, ""), tag),
                        seconds=1800)


def check_swarm_api(engine, image):
    """Refuse an engine that the program of Swarm cannot talk to. Raises MachineError."""
    least = str(engine.call("GET", "/version").get("MinAPIVersion") or "1.12")
    number = tuple(int(part) for part in re.findall(r"\d+", least)[:2])
    if number > (1, 40) and re.search(r"(^|/)swarm(:|@|$)", image):
        raise MachineError(
            "the engine of %s speaks API %s or newer, and the last Swarm speaks 1.40." % (
                engine.name, plain_words(least)[:20]), "Allow that: docker-machine set "
            "--engine-env DOCKER_MIN_API_VERSION=1.40 %s\nOr use the engine's own Swarm: "
            "docker-machine create --swarm-mode manager" % quote(engine.name))


# === 10. Provisioning =============================================================================
# Two trips over one connection: PROBE_SH asks, PROVISION_SH does. Both get ROOT, a prefix for all
# paths that is empty except in tests.

PROVISION_SECONDS = 1800
DEFAULT_INSTALL_URL = "https://get.docker.com"
CENTOS_REPO = "https://download.docker.com/linux/centos/docker-ce.repo"
SCRIPT, REPO = "script:" + DEFAULT_INSTALL_URL, "repo:" + CENTOS_REPO
# How operating systems are recognised, and how they get an engine: the name; what it is recognised
# by (an ID of os-release, "like " and a word of its ID_LIKE, or "init " and the init); the package
# manager; the package of an engine in the distribution itself ("" if it has none); and what
# --engine-install-url's default stands for: Docker's script, Docker's repository, or "package".
PROVISIONERS = (
    ("boot2docker", ("boot2docker",), "", "", "package"),
    ("ubuntu(systemd)", ("ubuntu", "like ubuntu"), "apt", "docker.io", SCRIPT),
    ("debian", ("debian", "like debian"), "apt", "docker.io", SCRIPT),
    ("fedora", ("fedora",), "dnf", "moby-engine", SCRIPT),
    ("amazon", ("amzn",), "dnf", "docker", "package"),
    ("redhat", ("rhel",), "dnf", "", SCRIPT),
    ("centos", ("centos",), "dnf", "", SCRIPT),
    ("rocky", ("rocky",), "dnf", "", SCRIPT),
    ("ol", ("ol",), "dnf", "", REPO),
    ("redhat", ("almalinux", "like rhel", "like centos"), "dnf", "", REPO),
    ("fedora", ("like fedora",), "dnf", "moby-engine", "package"),
    ("SUSE", ("sles", "opensuse-leap", "opensuse-tumbleweed", "like suse", "like opensuse",
              "like sles"), "zypper", "docker", "package"),
    ("arch", ("arch", "like arch"), "pacman", "docker", "package"),
    # Any other system with systemd: an engine that is there is set up, none is installed.
    ("systemd", ("init systemd",), "", "", "none"),
)

DROPIN_PATH = "/etc/systemd/system/docker.service.d/10-machine.conf"
PROBE_SH = r"""
say() { printf '%s%s:%s\n' "$MARK" "$1" "$2"; } # a login shell may print anything, but not MARK
with_tty() { # COMMAND: its stdin never ends, since the terminal would echo that end
    pipe=$(mktemp -u) && mkfifo -m 600 "$pipe" || return 1
    script -qec "$1" /dev/null 3<>"$pipe" <&3
    code=$?
    rm -f "$pipe"
    return "$code"
}
as_root() { # LINE without single quotes
    case $elevate in
        yes) sudo -n sh -c "$1" ;;
        tty) with_tty "sudo -n sh -c '$1'" | tr -d '\r' ;;
        *) sh -c "$1" ;;
    esac
}
lines() { # NAME: stdin as a fact of several lines
    sed "s/^/$MARK$1:/"
    echo # the last line may have no end
}
show() { # FILE NAME: its lines, if it is there, as a fact
    # A restart that was killed has left the true file under another name.
    as_root "f=\"$1\"; [ ! -e \"\$f.spared\" ] || { f=\$f.spared; [ -s \"\$f\" ] || exit 0; }
        [ ! -e \"\$f\" ] || { echo; cat \"\$f\"; }" 2>/dev/null | lines "$2"
}
unit_files() { # what systemd reads for docker.service, now or after its next daemon-reload
    { echo docker.service; printf '%s\n' "$ROOT"/*/systemd/system/docker.service.d/*.conf \
        "$ROOT"/usr/*/systemd/system/docker.service.d/*.conf | sed 's,.*/,docker.service.d/,' |
        sort -u; } | while read -r name; do # drop-ins by name, and of two of one name the first
        for folder in /etc /run /usr/local/lib /usr/lib /lib; do
            file=$folder/systemd/system/$name
            [ ! -e "$ROOT$file" ] || { echo; echo "# $file"; cat "$ROOT$file"; break; }
        done
    done
}
show_engine() { # how docker.service starts it: the words, or else what they are made of
    pid=$(systemctl show -p MainPID docker.service)
    tr '\0' '\n' <"$ROOT/proc/${pid#*=}/cmdline" | lines argv
    unit_files | lines unit
    unit_files | sed -n 's/^EnvironmentFile=-*//p' |
        while read -r file; do { echo "# $file"; cat "$ROOT$file"; } | lines variables; done
    [ ! -e "$ROOT@DROPIN_PATH@" ] || show "$ROOT/etc/docker/ca.pem" ca
}
find_elevation() {
    if [ "$(id -u)" = 0 ]; then elevate=root; return; fi
    if ! command -v sudo >/dev/null; then elevate=missing; return; fi
    if words=$(sudo -n true 2>&1); then elevate=yes; return; fi
    elevate=no
    case $words in
        *tty*) ! with_tty 'sudo -n true' >/dev/null 2>&1 || elevate="tty" ;;
    esac
    printf '%s\n' "${words:-it is not allowed}" | lines sudo_words
}
main() {
    export LC_ALL=C "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin"
    say clock "$(date +%s)"
    say kernel "$(uname -s)"
    say user "$(id -un)"
    if [ -d "$ROOT/run/systemd/system" ]; then say init systemd
    else say init "$(cat /proc/1/comm || echo something unknown)"; fi 2>/dev/null
    { cat "$ROOT/etc/os-release" || cat "$ROOT/usr/lib/os-release"; } 2>/dev/null | lines os
    find_elevation
    say elevate "$elevate"
    for folder in /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin /opt/bin; do
        [ -x "$ROOT$folder/dockerd" ] || continue
        say engine "$("$ROOT$folder/dockerd" --version 2>/dev/null | sed 's/.*version //; s/,.*//')"
        break
    done
    [ ! -e "$ROOT/snap/bin/docker" ] || say snap yes
    [ ! -d "$ROOT/run/systemd/system" ] || show_engine 2>/dev/null
    show "$ROOT/etc/docker/daemon.json" json
    show "$ROOT/etc/docker/daemon.json.before-docker-machine" before
}
main </dev/null
""".replace("@DROPIN_PATH@", DROPIN_PATH)

DROPIN = """[Service]
ExecStart=
ExecStart=$dockerd -H $TCP -H $listen$containerd $ARGUMENTS$ENVIRONMENT"""

PROVISION_SH = r"""
tell() { printf '%s::%s %s\n' "$MARK" "$1" "$2"; }
step() { [ "$*" = "$last_step" ] || tell step "$*"; last_step=$*; }
warn() { tell warn "$*"; }
note() { sed "s/^/$MARK::log /"; }
fail() { tell fail "$*"; exit 1; }
give_up() { tail -n 15 "$TROUBLE" | note; fail "$@"; }

put() { # FILE MODE TEXT STEP: install a file if it differs; the engine must restart then
    if [ -f "$1" ] && [ "$(cat "$1")" = "$3" ] && [ "$(stat -c %a "$1")" = "$2" ]; then return; fi
    step "$4"
    changed=yes
    [ "$4" = "$COPYING" ] || reconfigured=yes
    trouble=$(touch "$PENDING" 2>&1 && mkdir -p "${1%/*}" 2>&1 &&
        { printf '%s\n' "$3" | (umask 077 && cat >"$1.new") 2>&1; } &&
        chmod "$2" "$1.new" 2>&1 && mv -f "$1.new" "$1" 2>&1) && return
    rm -f "$1.new"
    fail "$1 cannot be written: $trouble"
}

report() { # the newest line of what runs, once a second
    while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        line=$(tail -n 1 "$TROUBLE" 2>/dev/null)
        [ "$line" = "${reported-}" ] || tell heard "$line"
        reported=$line
    done
}

clean_up() {
    [ -z "${reporter-}" ] || kill "$reporter" 2>/dev/null
    rm -rf "$SCRATCH" "$bundle"
}

quietly() { # COMMAND...: output goes into $TROUBLE; what it leaves running must not hold the lock
    "$@" >"$TROUBLE" 2>&1 9>&-
}

wait_for_turn() { # a killed docker-machine leaves its script running here
    lock=$ROOT/run/docker-machine.lock
    command -v flock >/dev/null && touch "$lock" 2>/dev/null || return 0
    exec 9>"$lock"
    flock -n 9 && return
    step "Waiting for another run on this host, or an interrupted one, to finish..."
    flock -w 900 9 || fail "Another docker-machine is provisioning this host."
}

wait_for_cloud_init() {
    ready=$ROOT/run/cloud-init/result.json waited=0
    [ -e "$ROOT/run/cloud-init/enabled" ] || return 0
    while [ ! -e "$ready" ] && ! systemctl is-failed -q cloud-final.service; do
        step "Waiting for cloud-init to finish..."
        [ "$waited" -lt 600 ] || { warn "cloud-init is still running after 10 minutes"; return 0; }
        sleep 1
        waited=$((waited + 1))
    done
}

set_hostname() {
    [ -n "$NAME" ] && [ "$(uname -n)" != "$NAME" ] || return 0
    if [ "$STYLE" = boot2docker ]; then
        mkdir -p "$ROOT$FOLDER/etc" && printf '%s\n' "$NAME" >"$ROOT$FOLDER/etc/hostname"
        sethostname "$NAME" || warn "The host name could not be set."
        return
    fi
    printf '%s\n' "$NAME" >"$ROOT/etc/hostname"
    hostname "$NAME" 2>"$TROUBLE" || hostnamectl set-hostname "$NAME" 2>"$TROUBLE" ||
        warn "The host name could not be set: $(cat "$TROUBLE")"
    hosts=$ROOT/etc/hosts
    pattern=$(printf %s "$NAME" | sed 's/[.]/[.]/g')
    ! grep -Eqs "^[^#]*[[:space:]]$pattern([[:space:]]|\$)" "$hosts" || return 0
    # Written in place: in a container the file is a mount.
    lines=$(grep -sv '^127\.0\.1\.1[[:space:]]' "$hosts")
    printf '%s\n127.0.1.1 %s\n' "$lines" "$NAME" >"$hosts"
}

dockerd_path() {
    for folder in /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin /opt/bin; do
        [ ! -x "$ROOT$folder/dockerd" ] || { printf %s "$folder/dockerd"; return; }
    done
}

patiently() { # COMMAND...: waits for other users of the package database
    deadline=$(($(date +%s) + 300)) completed=''
    until quietly "$@"; do
        if [ -z "$completed" ] && grep -q 'dpkg --configure -a' "$TROUBLE"; then
            step "Completing an interrupted installation of packages..."
            quietly dpkg --configure -a
            completed=yes
        elif grep -qE 'Could not get lock|Unable to (lock|acquire)' "$TROUBLE" &&
            [ "$(date +%s)" -lt "$deadline" ]; then
            step "Waiting for another package manager to finish..."
            sleep 2
        else
            return 1
        fi
    done
}

apt() { # a file that was changed by hand stays, without a question
    patiently apt-get -q -y -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@"
}

refresh() { [ -n "${updated-}" ] || { apt update && updated=yes; }; }


add_packages() { # NAME...
    case $PACKAGER in
        apt) refresh && apt install --no-install-recommends "$@" ;;
        dnf) quietly "$dnf" -y install "$@" ;;
        zypper) quietly zypper --non-interactive install "$@" ;;
        pacman) quietly pacman -Sy --noconfirm --noprogressbar --needed "$@" ;;
        *) echo "This system's package manager is not known." >"$TROUBLE"; return 1 ;;
    esac
}

fetch() { # URL FILE
    quietly command -v curl || quietly command -v wget ||
        add_packages curl ca-certificates || return
    if quietly command -v curl; then
        quietly curl -fsSL --connect-timeout 15 --max-time 300 -o "$2" "$1"
    else
        quietly wget -q -T 15 -O "$2" "$1" && return
        [ -s "$TROUBLE" ] || echo "wget could not get $1" >"$TROUBLE"
        return 1
    fi
}

install_engine() {
    step "Installing Docker..."
    case $INSTALL in
        package) install_package ;;
        bundle:*) install_bundle "${INSTALL#*:}" ;;
        repo:*) install_from_repo "${INSTALL#*:}" || fall_back "${INSTALL#*:}" ;;
        script:*) install_by_script "${INSTALL#*:}" || fall_back "${INSTALL#*:}" ;;
    esac
}

fall_back() { # URL
    [ -n "${FALLBACK:+$PACKAGE}" ] || give_up "The Docker Engine could not be installed from $1."
    why=$(grep -v '^ *$' "$TROUBLE" | tail -n 1)
    warn "$1 cannot be used ($why); taking the distribution's package $PACKAGE."
    install_package
}

install_by_script() { # URL
    fetch "$1" "$SCRATCH/install.sh" || return 1
    [ "$PACKAGER" != apt ] || apt check || return 1
    printf 'DPkg::Lock::Timeout "300";\n' >"$SCRATCH/apt.conf"
    patiently env APT_CONFIG="$SCRATCH/apt.conf" \
        sh "$SCRATCH/install.sh" ${VERSION:+--version "$VERSION"}
}

install_from_repo() { # URL
    fetch "$1" "$ROOT/etc/yum.repos.d/docker-ce.repo" &&
        add_packages "docker-ce${VERSION:+-$VERSION*}" "docker-ce-cli" containerd.io
}

install_package() {
    engine=$PACKAGE
    if [ "$PACKAGER" = apt ]; then
        pin_apt
        # Without AppArmor's parser containers do not start.
        ! grep -qs Y "$ROOT/sys/module/apparmor/parameters/enabled" || engine="$engine apparmor"
        [ -z "$(apt-cache madison docker-cli)" ] || engine="$engine docker-cli"
    elif [ -n "$VERSION" ]; then
        engine="$PACKAGE-$VERSION*"
    fi
    # shellcheck disable=SC2086 # words
    add_packages $engine || give_up "The package $PACKAGE could not be installed."
}

pin_apt() { # the newest package "engine" of the version that is asked for, by fresh lists
    refresh || give_up "apt-get update failed."
    [ -n "$VERSION" ] || return 0
    exact=$(apt-cache madison "$engine" | awk -v v="$VERSION" '
        { plain = $3; sub(/^[0-9]+:/, "", plain); rest = substr(plain, length(v) + 1) }
        index(plain, v) == 1 && rest ~ /^($|[.+~-])/ { print $3; exit }')
    [ -n "$exact" ] || fail "There is no package $engine of version $VERSION."
    engine=$engine=$exact
}

upgrade_engine() { # by the package that dockerd came from
    file=$(readlink -f "$ROOT$dockerd")
    case $PACKAGER in
        apt) engine=$(dpkg -S "$file" 2>/dev/null | sed 's/[:,].*//;q') ;;
        pacman) engine=$(pacman -Qqo "$file" 2>/dev/null) ;;
        *) engine=$(rpm -qf --qf '%{NAME}' "$file" 2>/dev/null) || engine='' ;;
    esac
    [ -n "$engine" ] || fail "$dockerd on the host belongs to no package; upgrade it by hand."
    step "Upgrading docker..."
    before=$(package_versions) owner=$engine companions=''
    case $engine in docker-ce) companions="docker-ce-cli containerd.io" ;; esac
    case $PACKAGER-$VERSION in
        apt-*) pin_apt ;;
        zypper-?* | pacman-?*) fail "$PACKAGER cannot keep the engine at a version ($VERSION)." ;;
        *-?*) engine="$engine-$VERSION*" ;;
    esac
    [ -e "$PENDING" ] || touch "$PENDING" # a kill must not leave the old engine running
    # shellcheck disable=SC2086 # words
    case $PACKAGER in
        apt | pacman) add_packages $engine $companions ;;
        zypper) quietly zypper --non-interactive update $engine ;;
        *) quietly "$dnf" -y upgrade --refresh $engine $companions ||
            quietly "$dnf" -y upgrade $engine $companions ;;
    esac || failed=yes
    dockerd=$(dockerd_path)
    [ -n "$changed" ] || [ "$(package_versions)" != "$before" ] || rm -f "$PENDING"
    [ -z "${failed-}" ] || give_up "The package $owner could not be upgraded."
    [ "$(package_versions)" != "$before" ] || return 0
    step "Restarting docker..."
    changed=yes reconfigured=yes
}

package_versions() {
    case $PACKAGER in
        apt) dpkg-query -W -f '${Package} ${Version}\n' ;;
        pacman) pacman -Q ;;
        *) rpm -qa ;;
    esac 2>/dev/null | grep -e docker -e containerd -e runc -e moby | sort
}

install_bundle() { # FILE: a script, a package, or an archive of packages or static binaries
    case $(head -c 7 "$1" | tr -d '\0') in
        '#!'*) quietly sh "$1" ;;
        '!<arch>') quietly dpkg -i "$1" ;;
        "$(printf '\355\253\356\333')"*) quietly rpm -U "$1" ;;
        *) unpack_bundle "$1" ;;
    esac || give_up "The bundle could not be installed."
}

unpack_bundle() { # FILE
    mkdir -p "$SCRATCH/bundle"
    quietly tar -xf "$1" -C "$SCRATCH/bundle" || return 1
    static=$(find "$SCRATCH/bundle" -name dockerd -type f | head -n 1)
    kinds=$(find "$SCRATCH/bundle" -name '*.deb' -o -name '*.rpm' | sed 's/.*[.]/./' | sort -u)
    case $kinds-$static in
        .deb*) quietly find "$SCRATCH/bundle" -name '*.deb' -exec dpkg -i {} + ;;
        .rpm*) quietly find "$SCRATCH/bundle" -name '*.rpm' -exec rpm -U {} + ;;
        */dockerd) mkdir -p "$ROOT/usr/local/bin" &&
            quietly cp "${static%/*}"/* "$ROOT/usr/local/bin/" &&
            quietly chmod 755 "$ROOT/usr/local/bin/dockerd" && groupadd -f docker ;;
        *) echo "It holds neither packages nor a dockerd." >"$TROUBLE"; return 1 ;;
    esac
}

trust() { # HOST PEM: the CA of a registry, or none; the engine looks at each pull
    authority=$ROOT/etc/docker/certs.d/$1/docker-machine.crt
    [ -n "$2" ] || { rm -f "$authority"; return; }
    before=$changed,$reconfigured
    put "$authority" 644 "$2" "$CONFIGURING"
    changed=${before%,*} reconfigured=${before#*,}
    [ -n "$changed" ] || rm -f "$PENDING"
}

put_json() { # the merged daemon.json; the first one is kept
    [ -n "$JSON" ] || return 0
    before=$changed
    old_json=$(cat "$json")
    [ -e "$json.before-docker-machine" ] || cp -p "$json" "$json.before-docker-machine"
    put "$json" "$(stat -c %a "$json")" "$JSON" "$CONFIGURING"
    [ "$STYLE-$RELOADS-$before" != systemd-yes- ] || ! is_active || verb=reload
}

# --- systemd

write_unit() { # for an engine that came without a unit, as static binaries do
    put "$ROOT/etc/systemd/system/docker.service" 644 "[Unit]
Description=Docker Engine
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart=$dockerd
ExecReload=/bin/kill -s HUP \$MAINPID
Restart=on-failure
RestartSec=2
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
TimeoutStartSec=0

[Install]
WantedBy=multi-user.target" "$CONFIGURING"
    systemctl daemon-reload
}

configure_systemd() {
    unit=$(systemctl show -p LoadState -p FragmentPath -p Requires -p Wants docker.service)
    case $unit in *LoadState=not-found*) write_unit ;; esac
    # With socket activation the engine gets /var/run/docker.sock from systemd.
    case "$unit and $(systemctl show -p LoadState docker.socket)" in
        *docker.socket*and*=loaded) listen=fd:// ;;
        *) listen=unix:///var/run/docker.sock ;;
    esac
    fragment=$ROOT$(printf '%s\n' "$unit" | sed -n 's/^FragmentPath=//p')
    containerd=$(sed -n 's/^ExecStart=.*\( --containerd=[^ ;]*\).*/\1/p' "$fragment" 2>/dev/null |
        head -n 1)
    case $ARGUMENTS in *--containerd*) containerd='' ;; esac
    old_dropin=$(cat "$DROPIN" 2>/dev/null)
    put "$DROPIN" 644 "@DROPIN@" "$CONFIGURING"
    put_json
    [ -z "$changed" ] || systemctl daemon-reload
    systemctl is-enabled -q docker.service || quietly systemctl enable docker.service ||
        warn "The engine is not enabled at boot: $(tail -n 1 "$TROUBLE")"
}

roll_back() { # the configuration as it was
    unspare
    rm -f "$DROPIN"
    [ -z "${old_dropin-}" ] || printf '%s\n' "$old_dropin" >"$DROPIN"
    [ -z "${old_json-}" ] || printf '%s\n' "$old_json" >"$json"
    systemctl daemon-reload
}

is_active() { systemctl is-active -q docker.service; }

spare_containers() { # if only certificates changed, containers outlive the restart
    [ -z "$reconfigured" ] && is_active || return 0
    case $ARGUMENTS$(cat "$json" 2>/dev/null) in *live-restore*) return ;; esac
    # Live-restore does not work in a swarm.
    swarm=$(timeout 10 docker info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null)
    [ "$swarm" = inactive ] || return 0
    if [ -e "$json" ]; then cp -p "$json" "$spared"; else : >"$spared"; fi
    trap 'unspare; clean_up' EXIT
    live_restore true || unspare
}

live_restore() { # true or false: let the engine read that, and wait until it has
    cp -p "$json" "$json.new" 2>/dev/null
    rest=$(cat "$spared")
    case $rest in *'"'*) rest=,${rest#*\{} ;; *) rest='}' ;; esac
    printf '{"live-restore": %s%s\n' "$1" "$rest" >"$json.new" &&
        mv -f "$json.new" "$json" || return
    systemctl kill -s HUP --kill-who=main docker.service 2>/dev/null || return
    deadline=$(($(date +%s) + 10))
    until [ "$(timeout 10 docker info --format '{{.LiveRestoreEnabled}}' 2>/dev/null)" = "$1" ]; do
        [ "$(date +%s)" -lt "$deadline" ] || return
        sleep 0.1
    done
}

unspare() { # what the file does not say stays as it is, so the engine is told "false" first
    [ ! -e "$spared" ] || live_restore false
    put_back_json
}

put_back_json() { # also after a script that was killed in between
    [ -e "$spared" ] || return 0
    if [ -s "$spared" ]; then mv -f "$spared" "$json"
    else rm -f "$json" "$spared"; fi
}

restart_systemd() { # or start, or wait for a start that is under way, if nothing changed
    [ "${verb-}" != reload ] || ! quietly systemctl reload docker.service || return 0
    verb=restart
    [ -n "$changed" ] || verb=start
    spare_containers
    since=$(date +%s)
    was=$(systemctl show -p ActiveState -p Job docker.service) # at one moment
    systemctl reset-failed docker.service 2>/dev/null
    if quietly timeout 180 systemctl "$verb" docker.service && is_active; then
        case $was in *Job=[1-9]* | *State=activ*) ;; *) changed=yes ;; esac
        unspare
        return
    fi
    systemctl status --no-pager --full -n 0 docker.service 2>&1 | head -n 14 | note
    journalctl -u docker.service --no-pager -o cat --since "@$since" 2>&1 | tail -n 15 | note
    roll_back
    systemctl reset-failed docker.service 2>/dev/null
    case $was in *State=active*) quietly timeout 10 systemctl restart docker.service ;; esac
    rm -f "$PENDING"
    fail "The Docker Engine does not start with this configuration; the one before was put back."
}

# --- boot2docker

configure_boot2docker() { # its init script sets what is about storage and TLS
    storage=$(printf '%s\n' "$ARGUMENTS" | sed -n 's/^--storage-driver=//p' | tail -n 1)
    put "$ROOT$FOLDER/profile" 644 "EXTRA_ARGS='
$(printf '%s\n' "$ARGUMENTS" | grep -v -e '^--storage-driver=' -e '^--tls')
'
CACERT=$FOLDER/ca.pem
DOCKER_HOST='-H $TCP'
DOCKER_STORAGE=${storage:-overlay2}
DOCKER_TLS=auto
SERVERKEY=$FOLDER/server-key.pem
SERVERCERT=$FOLDER/server.pem$ENVIRONMENT" "$CONFIGURING"
    put_json
}

restart_boot2docker() {
    quietly "$ROOT/etc/init.d/docker" restart && return
    { cat "$TROUBLE"; tail -n 15 "$ROOT/var/lib/boot2docker/log/docker.log"; } 2>&1 | note
    fail "The Docker Engine does not start with this configuration."
}

main() {
    export LC_ALL=C DEBIAN_FRONTEND=noninteractive
    export "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin"
    umask 022
    COPYING="Copying certs to the remote machine..."
    CONFIGURING="Setting Docker configuration on the remote daemon..."
    DROPIN=$ROOT@DROPIN_PATH@
    case $STYLE in systemd) FOLDER=/etc/docker ;; *) FOLDER=/var/lib/boot2docker ;; esac
    PENDING=$ROOT/run/docker-machine.restart # an earlier run was killed before its restart
    SCRATCH=$(mktemp -d) || fail "There is no space for temporary files on the host."
    case $INSTALL in bundle:*) bundle=${INSTALL#*:} ;; *) bundle=$SCRATCH ;; esac
    trap clean_up EXIT
    trap 'exit 141' HUP INT PIPE TERM # so that the line above is run
    mkdir -p "$ROOT/run"
    TROUBLE=$SCRATCH/trouble changed='' reconfigured='' last_step=''
    [ -z "${REPORTS-}" ] || { report & reporter=$!; }
    dnf=$(command -v dnf || command -v yum)
    json=$(readlink -f "$ROOT/etc/docker/daemon.json") spared=$ROOT/etc/docker/daemon.json.spared
    wait_for_turn
    put_back_json
    [ ! -e "$PENDING" ] || changed=yes
    wait_for_cloud_init
    case $STYLE-$(systemctl show -p LoadState docker.service 2>/dev/null) in
        systemd*masked*)
            fail "docker.service is masked; unmask it: systemctl unmask docker.service" ;;
    esac
    [ -n "$(dockerd_path)" ] || install_engine
    dockerd=$(dockerd_path)
    [ -n "$dockerd" ] || fail "There is still no dockerd on the host after the installation."
    [ -z "$UPGRADE" ] || upgrade_engine
    set_hostname
    put "$ROOT$FOLDER/ca.pem" 644 "$CA" "$COPYING"
    put "$ROOT$FOLDER/server.pem" 644 "$CERT" "$COPYING"
    put "$ROOT$FOLDER/server-key.pem" 600 "$KEY" "$COPYING"
    trust_registries
    "configure_$STYLE"
    if [ -n "$changed" ] || { [ "$STYLE" = systemd ] && ! is_active; }; then
        "restart_$STYLE"
        rm -f "$PENDING"
    fi
    tell "done" "${changed:-no}"
}
main </dev/null
""".replace("@DROPIN@", DROPIN).replace("@DROPIN_PATH@", DROPIN_PATH)

OWN_OPTIONS = ("tls", "tlsverify", "tlscacert", "tlscert", "tlskey")
TLS_OPTIONS = ("tlsverify", "tlscacert=/etc/docker/ca.pem", "tlscert=/etc/docker/server.pem",
               "tlskey=/etc/docker/server-key.pem")


class Facts:
    """What PROBE_SH found on a host; "" for what it did not find.

    kernel, user: what uname -s and id -un print. init: "systemd", or the name of process 1. os: the
    file os-release. elevate: how a script is run as root: "root" (it is root), "yes" (by sudo),
    "tty" (by sudo on a terminal), "no" (sudo_words say why) or "missing" (no sudo). engine: the
    version of dockerd. snap: "yes" if Docker is a snap. argv: the words of the running engine, one
    a line. unit: docker.service and its drop-ins; variables: the EnvironmentFiles that
    it names; in both each file follows a line "# PATH". json: daemon.json; before: that file before
    docker-machine changed it. ca: the CA of an engine that docker-machine has set up. skew: how
    many seconds its clock is ahead. checked: whether check_host() has passed.
    """

    host = kernel = user = init = os = elevate = sudo_words = engine = snap = ""
    argv = unit = variables = before = ca = clock = ""
    json, skew, checked = "{}", 0, False

    def __init__(self, **found):
        vars(self).update(found)

    def provisioner(self):
        """The row of PROVISIONERS: by ID, then by ID_LIKE in its order, then anything with systemd.
        Raises MachineError where neither the system is known nor systemd runs."""
        release = {name: value.strip("\"' ")  # os-release(5)
                   for name, value in re.findall(r"(?m)^[ \t]*(\w+)=(.*)", self.os)}
        like = ["like " + word for word in release.get("ID_LIKE", "").split()]
        for word in [release.get("ID", ""), *like, "init " + self.init]:
            for row in PROVISIONERS:
                if word.lower() in row[1]:
                    return row
        name = release.get("PRETTY_NAME") or release.get("ID") or "no /etc/os-release"
        raise MachineError("OS type not recognized: %s on %s" % (name, self.kernel),
                           "docker-machine needs a Linux distribution with systemd.")

    def engine_words(self):
        """The command line of the host's engine: as it runs, else as systemd would start it.
        Raises MachineError."""
        if self.argv:
            return self.argv.split("\n")
        variables = {"ExecStart": ""}  # type: typing.Any

        def value_of(name):
            return variables.get(name.group(1), "")

        text = "".join(text for _, text in self.unit_files())
        try:
            for key, value in re.findall(r"(?m)^[ \t]*(\w+)=(.*)", text):
                if key == "Environment":
                    variables.update(word.partition("=")[::2] for word in shlex.split(value))
                variables[key] = value if key == "ExecStart" else value.strip("\"' ")
            # $NAME as a word stands for several words, ${NAME} for a part of one.
            command = re.sub(r"""(?<!\S)["']?\$(\w+)["']?(?!\S)""", value_of,
                             variables["ExecStart"].lstrip("-@:+!"))
            return [re.sub(r"\$\{(\w+)\}", value_of, word) for word in shlex.split(command)]
        except ValueError as error:  # a quote without an end
            raise MachineError("docker.service on the host cannot be understood: %s." % error,
                               "Look at it on the host: systemctl cat docker.service")

    def unit_files(self):
        """[(path, text)] of docker.service, its drop-ins and the files of its variables, in the
        order in which systemd applies them, without comments, continued lines joined."""
        text = re.sub(r"(?m)\\\n|^#(?! /).*", " ", self.unit + "\n" + self.variables)
        return re.findall(r"(?m)^# (.*)((?:\n(?!# /).*)*)", text)

    def daemon_json(self):
        """The settings in daemon.json. Raises MachineError for a file that is not valid."""
        try:
            file = parse_json(self.json.strip() or "{}")
            if not isinstance(file, dict) or not isinstance(file.get("proxies") or {}, dict):
                raise ValueError("not an object")
            json_text(file).encode()
            return file
        except (ValueError, RecursionError) as error:
            raise MachineError("/etc/docker/daemon.json on the host is not valid: %s" % error,
                               "Fix that file, then try again.")


def probe(ssh, seconds=0, before_try=lambda: None):
    """The Facts of a host, asked once for each SSH, for `seconds` again and again while it boots.
    Raises SSHError, what `before_try` raises, or MachineError for a host without a POSIX shell."""
    failures = []

    def attempt():
        before_try()
        try:
            return _probe_once(ssh)
        except SSHError as error:
            failures.append(error)

    ssh.facts = ssh.facts or wait_for(attempt, seconds, "")
    if ssh.facts:
        return ssh.facts
    error = failures[-1]
    if seconds:
        error.message = "SSH did not answer within %d s. The last try: %s" % (
            seconds, error.message)
    raise error


def _probe_once(ssh):
    mark = os.urandom(8).hex() + " "
    result = ssh.run("sh -s", "ROOT=''\nMARK='%s'\n%s" % (mark, PROBE_SH))
    said = [(name, text) for name, text in re.findall(mark + "(.+?):(.*)", result.stdout)
            if name != "host" and isinstance(getattr(Facts, name, None), str)]
    found = {key: "\n".join(line for name, line in said if name == key).strip("\n")
             for key in {name for name, _ in said}}
    if "kernel" in found:
        facts = Facts(host=ssh.host, **found)
        if re.fullmatch("[0-9]{1,12}", facts.clock):
            facts.skew = int(facts.clock) - int(time.time())
        return facts
    if re.search("assword (has expired|change required)|change your password", result.stderr):
        raise SSHError("%s wants the password of user %s to be changed: %s" % (
            ssh.host, ssh.user, result.last_words(1)), "Log in there and change it, or let it be "
            "valid for ever: chage -d -1 -M -1 " + ssh.user)
    raise MachineError("%s logs in, but has no POSIX shell: %s" % (
        ssh.host, result.last_words() or "exit code %d" % result.code))


RELOADED = ("insecure-registries", "labels", "registry-mirrors")  # by dockerd while it runs


class Plan:
    """What is to be done on a host: all that PROVISION_SH is told. `engine` is "EngineOptions" of
    config.json, `url` the address that the engine is to have. An option of the engine is a text as
    in --engine-opt: "name" or "name=value"."""

    dropped = ()  # type: tuple  # options that a list in daemon.json may still have

    def __init__(self, facts, engine, name="", driver_name="", url="", upgrade=False):
        self.facts, self.engine, self.name, self.driver_name = facts, engine, name, driver_name
        self.url, self.upgrade = url, upgrade
        self.system, _, self.packager, self.package, self.install = facts.provisioner()

    def given(self, key):
        """One of "EngineOptions"; "", which is empty as a list too, where there is none."""
        return self.engine.get(key) or ""

    def source(self):
        """Where an engine comes from, as PROVISION_SH's INSTALL."""
        url = self.given("InstallURL")
        if url in ("", DEFAULT_INSTALL_URL):
            return self.install
        return url if url in ("package", "none") else "script:" + url

    def options(self):
        """The engine's options, without its -H."""
        storage = self.given("StorageDriver")
        options = ["storage-driver=" + storage] if storage else []
        options += TLS_OPTIONS
        options += ["label=" + label for label in self.given("Labels")]
        if "label=provider" not in map(subject, options):
            options.append("label=provider=" + self.driver_name)
        options += ["insecure-registry=" + name for name in self.given("InsecureRegistry")]
        options += ["registry-mirror=" + url for url in self.given("RegistryMirror")]
        return options + list(self.given("ArbitraryFlags"))

    def daemon(self):
        """Bring our options and the host's daemon.json together, since dockerd refuses to start if
        an option is in both: (options left to pass, new file or ""). An equal setting in the file
        replaces ours, lists are merged into the file. Raises MachineError for anything else."""
        file = self.facts.daemon_json()
        for name, _, value in (option.partition("=") for option in self.dropped):
            there = file.get(name + "s", file.get(name[:-1] + "ies"))
            if isinstance(there, list) and value in there:
                there.remove(value)
        settings = dict(file.get("proxies") or {}, **file)
        left, conflicts = [], {}
        if "hosts" in file:
            conflicts["hosts"] = json_text(file["hosts"]), "a TCP address and the socket"
        for option in self.options():
            name, _, value = option.partition("=")
            keys = {name, name + "s", name[:-1] + "ies"}.intersection(settings)
            if not keys:
                left.append(option)
            for key in keys:
                other = self._contradiction(settings[key], option)
                if other:
                    conflicts[key] = other, value or "true"
                elif key == "tlsverify" and not file.keys() >= set(OWN_OPTIONS[2:]):
                    if "tls" in file:
                        conflicts["tls"] = json_text(file["tls"]), "true"
                    left.append("tls")  # without either flag dockerd ignores paths that are flags
        if conflicts:
            raise MachineError(" ".join(
                '"%s" is set in /etc/docker/daemon.json on the host (%s), and docker-machine sets '
                "it too (%s)." % (key, *values) for key, values in conflicts.items()),
                "Remove that from the file, or leave the options out.")
        there = self.facts.daemon_json()
        self.reloads = file.keys() == there.keys() and all(
            file[key] == there[key] or key in RELOADED for key in file)
        unchanged = self.facts.json.strip() and file == there
        return left, "" if unchanged else json_text(file, 4)

    def _contradiction(self, there, option):
        """What contradicts an option in a setting of daemon.json, as JSON, or "". A list gets the
        option's value, and loses a label of the same key that docker-machine has added earlier,
        since the engine refuses two values for a label."""
        value, text = option.partition("=")[2], json_text(there)
        if not isinstance(there, list) or not all(isinstance(item, str) for item in there):
            return "" if text.strip('"') == (value or "true") else text
        for label in list(there):
            if label != value and subject("label=" + label) == subject(option):
                if not self.facts.before or json_text(label) in self.facts.before:
                    return json_text(label)
                there.remove(label)
        if value not in there:
            there.append(value)
        return ""


    def variables(self, certificates, bundle=""):
        """PROVISION_SH's variables. `certificates` are the PEM texts CA, CERT and KEY; `bundle` is
        the path of an uploaded --engine-install-url."""
        options, json_file = self.daemon()
        words, env = ["--" + option for option in options], self.given("Env")
        if self.system == "boot2docker":
            style, arguments = "boot2docker", boot2docker_words(words)
            environment = "".join("\nexport " + quote(text) for text in env)
        else:
            style, arguments = "systemd", systemd_words(words)
            environment = "\nEnvironment=" + systemd_words(env, expands=False) if env else ""
        host, port = split_url(self.url)
        install = "bundle:" + bundle if bundle else self.source()
        variables = {
            "ROOT": "", "NAME": host_name(self.name), "STYLE": style,
            "TCP": join_url("::" if ":" in host else "0.0.0.0", port),
            "INSTALL": install, "FALLBACK": "yes" if install == self.install else "",
            "PACKAGER": self.packager, "PACKAGE": self.package, "VERSION": self.given("Version"),
            "ARGUMENTS": arguments, "ENVIRONMENT": environment, "JSON": json_file,
            "RELOADS": "yes" if self.reloads else "",
            "UPGRADE": "yes" if self.upgrade else "",
        }
        return dict(variables, **{key: text.strip() for key, text in certificates.items()})

    def script(self, certificates, bundle=""):
        """PROVISION_SH with its variables in front."""
        variables = self.variables(certificates, bundle)
        # A variable that the environment exports there would carry the key on to every child.
        lines = ["unset " + " ".join(variables)]
        lines += ["%s=%s" % (key, quote(text)) for key, text in variables.items()]
        lines += ["export " + quote(text) for text in self.given("Env")
                  if text.partition("=")[0].lower().endswith("_proxy")]  # for the installation
        trusted = dict(self.given("RegistryCA") or {})
        lines += ["trust_registries() {", *("trust %s %s" % (quote(host), quote(pem.strip()))
                                            for host, pem in trusted.items()), ":", "}"]
        return "\n".join(lines + [PROVISION_SH])

    def first_files(self, certificates, dockerd, listen, containerd=""):
        """What PROVISION_SH would put on a host with systemd where the engine has not started yet,
        {path: (mode, text)}; see Machine.engine_files()."""
        words = self.variables(certificates)
        if containerd and "--containerd" not in words["ARGUMENTS"]:
            listen += " --containerd=" + containerd
        words.update(dockerd=dockerd, listen=listen, containerd="")
        trusted = dict(self.given("RegistryCA") or {})
        return {
            **{"/etc/docker/certs.d/%s/docker-machine.crt" % host: (0o644, pem.strip() + "\n")
               for host, pem in trusted.items() if pem},
            DROPIN_PATH: (0o644, string.Template(DROPIN).substitute(words) + "\n"),
            "/etc/docker/ca.pem": (0o644, words["CA"] + "\n"),
            "/etc/docker/server.pem": (0o644, words["CERT"] + "\n"),
            "/etc/docker/server-key.pem": (0o600, words["KEY"] + "\n"),
        }


def subject(option):
    """What only one option of the engine may be about: a label, a registry, else just its name."""
    return re.findall(r"(?s)label=[^=]*|(?:insecure-registry|registry-mirror)=.*|[^=]*", option)[0]


def systemd_words(words, expands=True):
    """Words as literal ones of a unit file (systemd.service(5), "Command lines"). `expands`:
    whether $ would start a variable, as in ExecStart but not in Environment."""
    escapes = {"\\": r"\\", '"': r'\"', "%": "%%", "\n": r"\n", "\t": r"\t"}
    if expands:
        escapes["$"] = "$$"
    return " ".join(word if re.fullmatch(r"[A-Za-z0-9_@+=:,./[\]-]+", word)
                    else '"%s"' % word.translate(str.maketrans(escapes)) for word in words)


def boot2docker_words(words):
    """Words for a variable that boot2docker's init script splits, one a line. Raises UsageError for
    one that it would break."""
    for word in words:
        if set(word) & set(" \t\n'\"$`\\*?["):
            raise UsageError("boot2docker takes no blanks or quotes in an engine option: " + word)
    return "\n".join(words)


def host_name(machine_name):
    """What the host is to be called; Linux takes 64 characters."""
    return machine_name if len(machine_name) <= 64 else machine_name.partition(".")[0]


def check_host(plan, new=True):
    """Refuse a host that cannot be provisioned, while nothing has been changed there; take over
    options of its engine. A wrong clock is only warned of, as is an engine of another version than
    asked for unless the machine is `new`. Raises MachineError."""
    for words, hint in _troubles(plan, new):
        if hint:
            raise MachineError(words, hint)
        out.warn(words)
    if plan.system != "boot2docker":
        adopt_options(plan, new)
    plan.daemon()


def _troubles(plan, new):
    """[(what is wrong with a host, what to do or "" if it can be provisioned all the same)]"""
    facts = plan.facts
    source = "engine" if facts.engine else plan.source()
    wanted = plan.given("Version")
    ours = basename(DROPIN_PATH)  # systemd applies drop-ins in the order of their names
    rivals = [path for path, text in facts.unit_files()
              if "\nExecStart=" in text and path.endswith(".conf") and basename(path) > ours]
    skew = abs(facts.skew)
    rows = (
        (facts.init != "systemd" and plan.system != "boot2docker",
         "{facts.host} does not run systemd but {facts.init} as its init.",
         "docker-machine needs systemd on the host."),
        (facts.elevate == "missing",
         "There is no sudo on {facts.host}, and {facts.user} is not root.",
         "Log in as root, or install sudo on the host."),
        (facts.elevate == "no",
         "sudo on {facts.host} does not let {facts.user} work without a password ({sudo}).",
         "Run this as root on the host: echo '{facts.user} ALL=(ALL) NOPASSWD: ALL' > "
         "/etc/sudoers.d/docker-machine"),
        (facts.snap and not facts.engine,
         "Docker on {facts.host} is a snap, whose engine cannot be set up.",
         "Remove it on the host: sudo snap remove docker"),
        (source == "none" or source == "package" and not plan.package,
         "There is no Docker Engine on {facts.host}, and no source to install one from.",
         "Install one on the host, or name a source: --engine-install-url URL"),
        (source == "package" and wanted and plan.packager in ("zypper", "pacman"),
         "{plan.packager} cannot install Docker Engine {wanted} on {facts.host}, only the newest.",
         "Leave --engine-version out."),
        (facts.engine and wanted and not re.match(re.escape(wanted) + "([.+~-]|$)", facts.engine),
         "{facts.host} has Docker Engine {facts.engine} already, not {wanted}.",
         "Leave --engine-version out, or remove the engine from the host first." if new else ""),
        (rivals, "Another drop-in overrides the engine's command line: {rivals[0]}",
         "Rename it on the host so that it sorts before {ours}, or take its ExecStart out."),
        (skew > 300, "the clock of {facts.host} is {time} ({skew} s) {side} this computer's; "
         "certificates may be refused. Set it on the host: timedatectl set-ntp true", ""),
    )
    values = dict(facts=facts, plan=plan, wanted=wanted, ours=ours, rivals=rivals, skew=skew,
                  sudo=plain_words(facts.sudo_words), time=datetime.timedelta(seconds=skew),
                  side="ahead of" if facts.skew > 0 else "behind")
    return [(words.format(**values), hint.format(**values))
            for wrong, words, hint in rows if wrong]


SHORT_OPTIONS = {"b": "bridge", "D": "debug", "g": "data-root", "G": "group", "H": "host",
                 "l": "log-level", "p": "pidfile", "s": "storage-driver"}
USUAL_OPTIONS = ("host=fd://", "host=unix://", "host=unix:///var/run/docker.sock",
                 "host=unix:///run/docker.sock", "containerd=/run/containerd/containerd.sock",
                 "tlsverify")
LASTING = ("data-root", "graph", "exec-root", "storage-driver", "storage-opt", "bridge", "bip",
           "fixed-cidr", "mtu")  # what an engine's images, volumes and networks depend on


def options_of(words):
    """The options of a command line of dockerd, which takes nothing else."""
    options = []  # type: list
    for word in words:
        if options and "=" not in options[-1] and word[:1] != "-":
            options[-1] += "=" + word
        elif word[1:2] in SHORT_OPTIONS:  # -Hfd://, -H=fd://, -H fd://
            value = word[2:].lstrip("=")
            options.append(SHORT_OPTIONS[word[1]] + ("=" + value if value else ""))
        else:
            options.append(word.lstrip("-"))
    return options


def adopt_options(plan, new):
    """Take what the host's engine is started with into "EngineOptions", but for what is given
    there or set by docker-machine itself. From an engine that docker-machine has set up, a `new`
    machine takes only what images and networks depend on. Raises MachineError naming what cannot
    stay, and where it stands."""
    facts = plan.facts
    words = facts.engine_words()
    managed = DROPIN_PATH in facts.unit
    if managed and not new:
        return
    kept, foreign = [], [word for word in words[:1] if basename(word) != "dockerd"]
    given = [*map(subject, plan.options())]
    for option in options_of(words[1:]):
        name = subject(option)
        if option in USUAL_OPTIONS or managed and name not in LASTING:
            continue
        if name in OWN_OPTIONS or option.startswith("host=tcp:"):
            foreign.append("--" + option)
        elif name not in given:
            kept.append(option)
    if foreign:
        mark = foreign[0].partition("=")[2] or foreign[0]
        places = [path for path, text in facts.unit_files() if mark in text] or ["docker.service"]
        raise MachineError(
            "The engine of %s is started with %s, which docker-machine cannot keep. It stands in "
            "%s." % (facts.host, foreign[0], places[-1]),
            "Remove it on the host, then: systemctl daemon-reload && systemctl restart docker")
    if kept:
        plan.engine["ArbitraryFlags"] = [*plan.given("ArbitraryFlags"), *kept]
        out.say("The engine of %s keeps its options: --%s" % (facts.host, " --".join(kept)))


def check_engine_options(engine):
    """Refuse what no flag can tell from its own value. Raises UsageError."""
    for key, value in engine.items():
        text = "".join(value) if isinstance(value, list) else str(value)
        if re.search(r"[\0-\x08\x0b-\x1f\x7f\ud800-\udfff]", text):
            raise UsageError("The engine option %s has a control character in it, or bytes that "
                             "are not text: %r" % (key, value))
    labels = {}  # type: dict
    for label in engine["Labels"] or ():
        first = labels.setdefault(label.partition("=")[0], label)
        if first != label:
            raise UsageError('--engine-label "%s" and "%s": the engine takes one value for a key.'
                             % (first, label))
    if engine["InstallURL"].startswith("file:"):
        if engine.get("Version"):
            raise UsageError("--engine-version cannot be used with a file:// bundle.")
        path = file_of_url(engine["InstallURL"])
        if not isfile(path):
            raise UsageError("--engine-install-url %s: there is no file %s" % (
                engine["InstallURL"], path))


def trust_registries(engine, rows):
    """Keep the CAs of --engine-registry-ca, rows of HOST[:PORT]=FILE, in "EngineOptions", so that
    the files may go. Raises UsageError."""
    for row in rows:
        host, _, path = row.partition("=")
        try:
            days_left(expanduser(path))
            pem = read_text(expanduser(path))
        except (OSError, ValueError) as error:
            raise UsageError("--engine-registry-ca %s: the file cannot be used as a CA: %s" % (
                row, reason(error)), "It has certificates as PEM.")
        engine["RegistryCA"] = dict(engine.get("RegistryCA") or {}, **{host: pem})


SUDO_WITH_TTY = (  # the fifo is a stdin without end, as in PROBE_SH
    "sh -c 'umask 077; d=$(mktemp -d) || exit 1; cat >\"$d/s\"; mkfifo \"$d/p\"; "
    "script -qec \"sudo -n sh $d/s\" /dev/null 3<>\"$d/p\" <&3; r=$?; rm -rf \"$d\"; exit $r'")


def run_as_root(ssh, facts, script, seconds):
    """Run a script there as root; whether it changed anything. What PROVISION_SH says while it runs
    comes after a mark that nothing else prints. Raises MachineError with the host's own words."""
    command = {"root": "sh -s", "tty": SUDO_WITH_TTY}.get(facts.elevate, "sudo -n sh -s")
    mark = os.urandom(8).hex() + " "
    said = {"step": [], "done": [], "fail": [], "log": []}  # type: dict

    def hear(line):
        kind, _, words = line.partition(mark + "::")[2].partition(" ")
        said.setdefault(kind, []).append(words)
        if kind == "step":
            out.say(words)
        elif kind == "warn":
            out.warn(words)
        elif kind == "heard":
            out.hear(words)
        elif line and not kind:
            out.debug("remote: " + line)

    try:
        result = ssh.run(command, "MARK='%s' REPORTS=yes\n%s" % (mark, script), seconds, hear)
    except SSHError as error:
        if said["step"]:  # it had begun
            error.message = 'The connection to %s was lost at "%s" (%s)' % (
                ssh.host, said["step"][-1], error.message)
            error.hint = "Go on: docker-machine provision " + ssh.name
        raise
    if said["done"]:
        return said["done"] == ["yes"]
    words = said["fail"] or ["The script on the host ended with exit code %d." % result.code,
                             result.last_words()]
    raise MachineError("\n".join(words + cause_first(said["log"])).rstrip())


def cause_first(log):
    """The lines of a log of the engine, with the last one that names a cause alone before them."""
    causes = [line for line in log if re.search(
        "failed to start|unable to configure|unknown flag|invalid argument|level=fatal", line)]
    return ["    " + causes[-1], "", "The log of the engine:", *log] if causes else log


def upload_bundle(ssh, path):
    """Bring a file:// bundle to the host; its path there. Raises MachineError."""
    out.say("Copying %s to the host..." % basename(path))
    mark = os.urandom(8).hex()
    with open(path, "rb") as file:
        result = ssh.run("sh -c 'umask 077; f=$(mktemp /var/tmp/docker-machine.XXXXXX) && "
                         "cat >\"$f\" && echo \"%s$f\"'" % mark, file.read(), PROVISION_SECONDS)
    if not result.ok:
        raise MachineError("The bundle cannot be copied to the host: " + result.last_words())
    place = result.stdout.partition(mark)[2].split()
    if not place:
        raise MachineError("The host does not tell where the bundle is: " + result.last_words())
    return place[0]


ENGINE_REPORT_SH = r"""
main() { systemctl status --no-pager --full -n 0 docker.service 2>&1 | head -n 14
journalctl -u docker.service --no-pager -o cat -n 15 2>&1; }
main </dev/null
"""


# === 11. Built-in drivers =========================================================================

def cloud_config(driver, **more):
    """cloud-init's user-data for a machine whose keys were made: the login and the host's key.
    `more` are further top-level keys (cloud-init's module reference). JSON is YAML too."""
    user, key = driver.get_ssh_username(), driver.public_key()
    host_key = join(driver.folder, HOST_KEY)
    return "#cloud-config\n%s\n" % json_text({
        "hostname": host_name(driver.get("MachineName")), "manage_etc_hosts": True,
        "ssh_pwauth": False, "disable_root": user != "root", "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": read_text(host_key),
                     "ed25519_public": read_text(host_key + ".pub").strip()},
        # useradd fails where there is a group of the user's name that it is not told of.
        "groups": [user] if user != "root" else [],
        "users": [{"name": user, "primary_group": user, "ssh_authorized_keys": [key],
                   "lock_passwd": True, "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash"}],
        **more})


def seed_iso(files):
    """The bytes of the CD that cloud-init's NoCloud source looks for, with a few {name: bytes} in
    its root: ISO 9660 (ECMA-119), whose names Linux shows in lower case and without a version."""
    def both(number):  # in both byte orders
        return number.to_bytes(4, "little") + number.to_bytes(4, "big")

    def sectors(data):
        return data + bytes(-len(data) % 2048)

    def record(name, place, size, kind=b"\0"):
        length = 34 + len(name) // 2 * 2
        return b"".join([
            bytes([length, 0]), both(place), both(size), b"\x7e\1\1\0\0\0\0", kind,
            b"\0\0\1\0\0\1", bytes([len(name)]), name]).ljust(length, b"\0")

    # Sectors 16 and 17 are descriptors, 18 and 19 path tables, 20 the root; then come the files.
    contents = b""
    root = record(b"\0", 20, 2048, b"\2")
    names = root + root[:-1] + b"\1"  # "." and ".."
    for name, data in sorted(files.items()):
        names += record(name.upper().encode() + b";1", 21 + len(contents) // 2048, len(data))
        contents += sectors(data)
    descriptor = b"".join([
        b"\1CD001\1\0".ljust(40), b"cidata".ljust(32), bytes(8),
        both(21 + len(contents) // 2048), bytes(32),
        b"\1\0\0\1\1\0\0\1\0\x08\x08\0",  # one CD, the first, 2048 bytes in a sector
        both(10), b"\x12\0\0\0\0\0\0\0\0\0\0\x13\0\0\0\0",  # size and places of path tables
        root, b" " * 623, (b"0" * 16 + b"\0") * 4, b"\1"])
    return b"".join(map(sectors, [
        bytes(16 * 2048), descriptor, b"\xffCD001\1", b"\1\0\x14\0\0\0\1\0\0\0",
        b"\1\0\0\0\0\x14\0\1\0\0", names, contents]))


def cached_image(driver, url, checksum, check, renew=False):
    """The path of a URL's image in the store's cache, fetched once; check(path) raises
    MachineError for what is not to stay there."""
    plain = url.partition("?")[0]
    name = plain.rpartition("/")[2] or "image"
    key = hashlib.sha256((url + checksum).encode()).hexdigest()[:8]
    folder = join(driver.cache(), driver.name, key + "-" + name)
    path = join(folder, name)
    with CacheLock(folder):
        if exists(path) and not renew:
            return path
        checksum = checksum or published_checksum(plain)
        if not checksum:
            if plain.startswith("https://cloud.debian.org/"):
                raise MachineError("The list of checksums beside %s is missing." % url)
            out.warn("%s has no list of checksums beside it; it is taken as it is." % url)
        need_space(folder, 1000)
        driver.log("Downloading %s..." % url)
        download(url, path, checksum)
        try:
            check(path)
        except MachineError:
            os.unlink(path)
            raise
    return path


class NoneDriver(Driver):
    """No machine of ours: just the URL of an engine that somebody else runs."""

    name = "none"
    by_hand = "Nothing is known of it but its URL."
    provisions = False
    flags = (Flag("url", "", "URL of host when no driver is selected", field="URL"),)

    def set_config_from_flags(self, options):
        url = options["url"]
        if not url:
            raise UsageError("--url option is required when no driver is selected")
        super().set_config_from_flags(options)
        self["IPAddress"] = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        if not re.match(r"tcp://(\[[^/\]]+\]|[^/:]+)(:0*[1-9]\d{0,4})?(/|\Z)", url):
            out.warn('--url "%s" is kept as it is; env and config need one like '
                     "tcp://192.0.2.7:2376." % url)

    def create(self):
        pass

    def _refusal(self, verb):
        return MachineError("hosts without a driver cannot be " + {
            "stop": "stopped", "pause": "paused"}.get(verb, verb + "ed"), self.by_hand)

    def get_state(self):
        return RUNNING

    def engine_url(self):
        return self.get("URL")

    def ssh(self):
        raise MachineError("hosts without a driver cannot be reached by SSH")


class GenericDriver(Driver):
    """A Linux host that is there already and answers SSH."""

    name = "generic"
    boot_seconds = 0
    flags = (
        Flag("generic-engine-port", ENGINE_PORT, "Docker engine port", "GENERIC_ENGINE_PORT",
             field="EnginePort", port=True),
        Flag("generic-ip-address", "", "IP address or name of the host", "GENERIC_IP_ADDRESS",
             field="IPAddress", required=True, form=r"\[?[^-\s/@,;'\"\\%][^\s/@,;'\"\\%]*",
             hint="It is an address without a zone, which docker could not use, or a name."),
        Flag("generic-ssh-user", "root", "SSH user, root or one with sudo", "GENERIC_SSH_USER",
             field="SSHUser", form=r"[^-\s]\S*"),
        Flag("generic-ssh-key", "", "SSH private key; without one ssh's agent and defaults are "
             "used", "GENERIC_SSH_KEY", field="SSHKey", file="any"),
        Flag("generic-ssh-port", 22, "SSH port", "GENERIC_SSH_PORT", field="SSHPort", port=True),
    )

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        self["IPAddress"] = self["IPAddress"].strip("[]")

    def pre_create_check(self):
        if self["SSHKey"]:
            check_key_file(self["SSHKey"])
        probe(self.ssh())
        if not resolves(self["IPAddress"]):
            raise MachineError(
                '"%s" is a name of your ssh_config; docker cannot resolve it.' % self["IPAddress"],
                "Give the address behind it, and what else it stands for: --generic-ip-address "
                + self.ssh().settings().get("hostname", ""))

    def create(self):
        key = self["SSHKey"]
        if not key:
            self.log("No SSH key specified. Assuming an existing key at the default location.")
            return
        self.log("Importing SSH key...")
        name = basename(key)
        self["SSHKeyPath"] = self.path("ssh-" + name if name in MACHINE_FILES else name)
        copy_file(key, self["SSHKeyPath"])
        if exists(key + ".pub"):
            copy_file(key + ".pub", self["SSHKeyPath"] + ".pub")

    def get_state(self):
        try:
            dial(self.get_ip(), self.get_ssh_port(), self.patience).close()
            return RUNNING
        except Unreachable:
            return RUNNING if self._answers_by_proxy() else STOPPED

    def _answers_by_proxy(self):
        """A host behind a jump host of the user's ssh_config cannot be dialled directly."""
        try:
            return self.ssh().uses_proxy() and self.ssh().run("true", seconds=20).ok
        except MachineError:
            return False
        finally:
            self.close()

    def restart(self):
        """Reboot the host; comes back when ssh answers from a later boot than before."""
        facts, before = probe(self.ssh()), self.boot_id()
        if not before:
            raise MachineError("The host does not tell when it was booted.")
        # It answers first, since the reboot may end ssh before shutdown has come back.
        run_as_root(self.ssh(), facts, "nohup sh -c 'sleep 1; shutdown -r now' </dev/null "
                    ">/dev/null 2>&1 &\nprintf '%s::done yes\\n' \"$MARK\"\n", 60)
        self.await_reboot(before)

    def engine_port(self):
        return self.get("EnginePort", ENGINE_PORT)

    def get_ssh_key_path(self):
        return self.get("SSHKeyPath") or self.get("SSHKey")


# --- virtual machines of this computer

class LocalVM(Driver):
    """Base of drivers that run virtual machines on this computer: ports of 127.0.0.1 that stay
    theirs, a seed for cloud-init, the checks of memory and disk, the console's last words. Their
    flags are --NAME-memory and --NAME-disk-size (MB, stored as Memory and DiskSize),
    --NAME-cpu-count (stored as CPU) and maybe --NAME-share-folder FOLDER:WHERE (ShareFolder)."""

    default_user = "docker"
    boot_seconds = 600  # without hardware virtualization
    most_cpus = 64
    ports = (("SSHPort", "SSH"),)  # type: tuple  # stored fields, and what is behind the ports

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        if not self["CPU"]:
            raise UsageError("--%s-cpu-count 0 is not a number of CPUs." % self.name)
        folder, colon, where = self.get("ShareFolder").rpartition(":")
        if colon:
            folder = abspath(expanduser(folder))
            self["ShareFolder"] = folder + ":" + where
            if not isdir(folder):
                raise UsageError("--%s-share-folder: there is no folder %s." % (self.name, folder))
        self["IPAddress"] = LOOPBACK
        self["SSHUser"] = self["SSHUser"] or self.default_user

    def identify(self):
        """The machine's UUID, which is stored before anything carries it."""
        if not self.get("UUID"):
            self["UUID"] = str(uuid.uuid4())
            self.machine.save()
        return self["UUID"]

    def cpus(self):
        """How many the machine gets: -1 stands for as many as this computer has."""
        return min(os.cpu_count() or 1, self.most_cpus) if self["CPU"] == -1 else self["CPU"]

    def resize(self):
        """Give the stored Memory and CPU to a machine that is off; here they count at its start."""

    def pre_create_check(self):
        need("ssh-keygen")
        self.check_memory()

    def check_memory(self):
        """Refuse more memory than this computer has. Raises MachineError."""
        memory = total_memory()
        if memory and self["Memory"] > memory:
            raise MachineError("--%s-memory %d is more than the %d MB of this computer." % (
                self.name, self["Memory"], memory),
                "Give less: --%s-memory %d" % (self.name, min(2048, memory // 2)))

    def check_disk(self, size):
        """Raises UsageError for an image of more bytes than the disk is to have."""
        if size > self["DiskSize"] << 20:
            raise UsageError("--%s-disk-size %d is less than the image's own size." % (
                self.name, self["DiskSize"]), "Give at least %d." % (size + (1 << 20) - 1 >> 20))

    def taken_ports(self):
        """The ports of all machines in the store: those that are off need theirs again."""
        for settings in self.machine.store.drivers():
            yield from (settings.get("SSHPort"), settings.get("EnginePort"))

    def settle_ports(self):
        """Choose the machine's ports; others than before where a program has taken them while it
        was off."""
        for key, what in self.ports:
            port = self.get(key, 0)
            if port and not port_trouble(port):
                continue
            self[key] = free_port(set(self.taken_ports()))
            self.machine.save()
            if port:
                out.warn("Port %d is taken by another program; %s of %s is at port %d now%s." % (
                    port, what, self.machine.name, self[key],
                    " (run docker-machine env again)" if key == "EnginePort" else ""))

    def write_seed(self, name, network=None, **more):
        """Write the CD of cloud-init's NoCloud source, with `more` keys of the user data, and
        `network` as its network configuration of version 2."""
        files = {"user-data": cloud_config(self, **more).encode(), "meta-data": json_text({
            "instance-id": self.identify(),
            "local-hostname": host_name(self.machine.name)}).encode()}
        if network:
            files["network-config"] = json_text(dict(network, version=2)).encode()
        write_atomic(self.path(name), seed_iso(files))

    def went_off(self, hint=""):
        """The error for a machine that is off although it is to boot."""
        return MachineError("The machine went off while it booted. Its console said last: %s" % (
            plain_words(self.console())[-500:] or "nothing"), hint)

    def console(self):
        """The last 2000 characters that the machine wrote to its console."""
        try:
            return read_bytes(self.path("console.log"))[-2000:].decode(errors="replace")
        except OSError:
            return ""

    def check_boot(self):
        """What it says last is heard by whoever waits."""
        out.hear(self.console().strip().rpartition("\n")[2])

    def restart(self):
        self.stop()
        self.start()


def total_memory():
    """MB of memory in this computer; 0 where that cannot be told."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (AttributeError, OSError, ValueError):
        return 0


# --- virtualbox

VBOX_CIDR = "192.168.56.1/24"
VBOX_ALLOWED = "* 192.168.56.0/21"  # in place of networks.conf (its manual, Host-Only Networking)
NETWORKS_CONF, ROUTES = "/etc/vbox/networks.conf", "/proc/net/route"
VBOX_IMAGE = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-%s.qcow2"
VBOX_CARDS = ("82540EM", "82543GC", "82545EM", "Am79C970A", "Am79C973", "virtio")
BOOT2DOCKER = "https://github.com/boot2docker/boot2docker/releases"
VBOX_NETWORK = "HostInterfaceNetworking-"  # and the name of an interface
VBOX_NOTE = "docker-machine/hostonly"  # VirtualBox's global extra data: the networks that we made
VBOX_MEDIA = {  # of a machine's folder; image.qcow2 is there only while it is converted
    "boot2docker.iso": "dvd", "seed.iso": "dvd", "disk.vmdk": "disk", "disk.vdi": "disk",
    "image.qcow2": "disk"}
VBOX_PLACES = {"dvd": "--port 0 --type dvddrive", "disk": "--port 1 --type hdd"}
VBOX_HARDWARE = (  # of each VM
    "--memory %(Memory)d --bioslogofadein off --bioslogofadeout off --bioslogodisplaytime 0 "
    "--biosbootmenu disabled --acpi on --ioapic on --rtcuseutc on --boot2 none --nic1 nat "
    "--nictype1 %(NatNicType)s --cableconnected1 on --nictype2 %(HostOnlyNicType)s "
    "--nicpromisc2 %(HostOnlyPromiscMode)s --cableconnected2 on")
VBOX_X86 = ("--ostype Linux26_64 --firmware bios --pae on --hpet on --hwvirtex on "
            "--nestedpaging on --largepages on --vtxvpid on")
VBOX_STATES = {  # of `list --long`
    "running": RUNNING, "live snapshotting": RUNNING, "paused": PAUSED, "saved": SAVED,
    "aborted-saved": SAVED, "powered off": STOPPED, "aborted": STOPPED, "starting": STARTING,
    "restoring": STARTING, "stopping": STOPPING, "saving": STOPPING,
}
# Patterns of what a failed VBoxManage says: what passes by itself, what is not there.
VBOX_BUSY = ("The object is not ready|is already locked |while it is locked|"
             "already has a lock request pending|was unlocked unexpectedly|by another task|"
             "VirtualBox COM server is not running")  # its start took too long on a busy computer
VBOX_GONE = ("VBOX_E_OBJECT_NOT_FOUND|VBOX_E_FILE_ERROR|Could not find file for the medium|Failed "
             "to find DHCP server|network interface named .* could not be found|RemoveRedirect")
VBOX_MODULES = {
    "win32": "Repair the installation of VirtualBox, and reboot.",
    "darwin": "Allow Oracle's kernel extension: System Settings > Privacy & Security.",
}.get(sys.platform, "See that VirtualBox's kernel modules are loaded: sudo /sbin/vboxconfig "
      "(Debian and Ubuntu: sudo apt-get install virtualbox-dkms)")
VBOX_KVM = ("Another hypervisor uses the processor. If it is KVM: sudo modprobe -r %s (since Linux "
            "6.12 boot with kvm.enable_virt_at_load=0)")
VBOX_CURES = (  # pattern of what is said of a failure -> what helps
    ("VERR_VMX_IN_VMX_ROOT_MODE", VBOX_KVM % "kvm_intel"),
    ("VERR_SVM_IN_USE", VBOX_KVM % "kvm_amd"),
    ("VERR_NEM_|HYPER_V", "Hyper-V owns the processor's virtualization. To switch it off, as "
     "administrator: bcdedit /set hypervisorlaunchtype off; then reboot."),
    ("VERR_VMX_", "Enable VT-x in the computer's firmware (BIOS)."),
    ("VERR_SVM_", "Enable AMD-V in the computer's firmware (BIOS)."),
    ("VERR_VM_DRIVER_|terminated unexpectedly during startup|VERR_INTNET_|Nonexistent host "
     "networking interface", VBOX_MODULES),
    ("^VBoxManage startvm", "See the end of machines/NAME/NAME/Logs/VBox.log in the store."),
)


def find_vboxmanage():
    """The path of VBoxManage, or None. Windows' installer does not put it on the PATH."""
    places = map(os.environ.get, ("PATH", "VBOX_INSTALL_PATH", "VBOX_MSI_INSTALL_PATH"))
    usual = join(os.environ.get("ProgramFiles", os.sep), "Oracle", "VirtualBox")
    return shutil.which("VBoxManage", path=os.pathsep.join([*filter(None, places), usual]))


def vbox(command, *words, seconds=60, stdin=None, absent_ok=False):
    """What VBoxManage prints for a command and more words; asked again while VirtualBox is busy.
    Raises MachineError with its own words; "" if what is named is not there and need not be
    (`absent_ok`)."""
    program = find_vboxmanage()
    if not program:
        raise MachineError("VBoxManage was not found on this computer.", "Install VirtualBox: "
                           "https://www.virtualbox.org/wiki/Downloads")
    for pause in (0.1, 0.2, 0.5, 1, 2, 3, 0):
        # It translates what it prints, and in the locale C it prints no letter beyond ASCII.
        result = run([program, *command.split(), *map(str, words)], stdin, seconds, environ={
            "LC_ALL": "en_US.UTF-8" if MACOS else "C.UTF-8", "LANGUAGE": ""})
        if result.ok:
            return result.stdout
        if not re.search(VBOX_BUSY, result.stderr):
            break
        time.sleep(pause)
    if absent_ok and re.search(VBOX_GONE, result.stderr):
        return ""
    said = re.findall(r"^VBoxManage.*?: error: (?!Context:)(.*)", result.stderr, re.M)
    failure = "VBoxManage %s failed: %s" % (
        command.split()[0], " ".join(said) or result.last_words())
    raise MachineError(failure, next((
        cure for pattern, cure in VBOX_CURES if re.search(pattern, failure)), ""))


def vbox_version():
    """VirtualBox's version as three numbers. Its wrapper on Debian may print a warning before."""
    said = vbox("--version")
    found = re.search(r"^(\d+)\.(\d+)\.(\d+)", said, re.M)
    if not found or "vboxdrv" in said:
        raise MachineError("VirtualBox's kernel module is not loaded.", VBOX_MODULES)
    return tuple(map(int, found.groups()))


def vbox_list(what, seconds=60):
    """The objects of a `VBoxManage list`, [(name, {key in lower case: value})]."""
    found = [("", {})]  # type: list
    for key, value in re.findall(
            r"^(\S[^:\n]*): *(.*)", vbox("list " + what, seconds=seconds), re.M):
        if key in ("Name", "NetworkName"):
            found.append((value, {}))
        found[-1][1].setdefault(key.lower(), value)
    return found[1:]


def vm_states(patience=60):
    """{UUID, and path of the settings: state} of all VMs, in VirtualBox's words."""
    found = {}
    for _, row in vbox_list("--long vms", patience):
        if "uuid" in row:  # not the name of a shared folder further down
            state = row.get("state", "inaccessible").partition("(since")[0].strip()
            settings = os.path.normcase(realpath(row.get("config file", "")))
            found[row["uuid"]] = found[settings] = state
    return found


class HostOnly(Lock):
    """VirtualBox's host-only networks, for one process at a time: `with HostOnly() as networks:`.
    What we made is noted in VirtualBox's own global extra data, and removed when no VM is on it
    any more. VirtualBox 7 on macOS has networks in place of interfaces."""

    def __init__(self):
        folder = os.environ.get("VBOX_USER_HOME") or expanduser("~/.docker/machine")
        super().__init__(join(folder, "docker-machine-hostonly.lock"),
                         "VirtualBox's host-only networks", 120)
        self.nets = MACOS and vbox_version() >= (7, 0)

    def rows(self):
        """The interfaces, or networks, that are there, as vbox_list() gives them."""
        return vbox_list("hostonlynets" if self.nets else "hostonlyifs")

    def plan(self, wanted, flexible=False):
        """(Our address with its network, the name of what has it already or ""). For the default
        CIDR, or if `flexible`, another one where that cannot be. Changes nothing. Raises
        MachineError."""
        cidrs = [wanted]
        if flexible or wanted == VBOX_CIDR:
            cidrs += ["192.168.%d.1/24" % third for third in range(56, 64)]
        owns = [ipaddress.ip_interface(cidr) for cidr in cidrs]
        rows = self.rows()
        for own in owns:
            for name, row in rows:
                there = own_address(row)
                if there == own or self.nets and there.network == own.network:
                    return own, name
        taken = networks_here(rows)
        for own in owns:
            if not self._why_not(own, taken):
                return own, ""
        raise self._why_not(owns[0], taken)

    def _why_not(self, own, taken):
        """The MachineError that says why a new network cannot have that address; or None."""
        for name, network in taken.items():
            if network.prefixlen and network.overlaps(own.network):
                return MachineError(
                    "The host-only network %s clashes with %s (%s) of this computer." % (
                        own, name, network),
                    "Choose another one, such as --virtualbox-hostonly-cidr 192.168.62.1/24")
        if self.nets or WINDOWS or vbox_version() < (6, 1, 28):  # which brought that file
            return None
        conf = read_text(NETWORKS_CONF) if os.access(NETWORKS_CONF, os.R_OK) else VBOX_ALLOWED
        allowed = " ".join(re.findall(r"^\s*\*\s(.*)", conf, re.M)).split()
        for word in allowed:
            try:
                if own.ip in ipaddress.ip_network(word, strict=False):
                    return None
            except ValueError:  # not a network
                pass
        return MachineError(
            "VirtualBox does not allow the host-only network %s, only: %s." % (
                own.network, ", ".join(allowed) or "none"),
            "Choose another --virtualbox-hostonly-cidr, or allow it: sudo mkdir -p /etc/vbox; echo "
            "'%s %s' | sudo tee -a %s" % (VBOX_ALLOWED, own.network, NETWORKS_CONF))

    def use(self, driver):
        """See that the driver's network is there; the words that put a VM's second card on it."""
        ours = self.drop()  # also what a creation left that failed or was killed
        wanted = driver["HostOnlyCIDR"]
        # Docker Machine's default network is refused today; its machines get another one.
        own, name = self.plan(wanted, not driver.get("UUID"))
        if str(own) != wanted:
            driver.log("%s cannot be used on this computer; using %s." % (wanted, own))
            driver["HostOnlyCIDR"] = str(own)
        name = name or self._make(own, ours)
        if self.nets:
            return ["--nic2", "hostonlynet", "--host-only-net2", name]
        row = dict(self.rows())[name]
        if row["status"] != "Up" or own_address(row) != own:
            vbox("hostonlyif ipconfig", name, "--ip", own.ip, "--netmask", own.netmask)
        if not driver["HostOnlyNoDHCP"]:
            serve_addresses(VBOX_NETWORK + name, own)
        return ["--nic2", "hostonly", "--hostonlyadapter2", name]

    def _make(self, own, ours):
        """Make a network, or an interface without an address; its name."""
        out.say("Creating a new host-only network...")
        note_ours(ours, list(dict(self.rows())))
        if self.nets:
            name = "docker-machine-%s" % own.network[0]
            vbox("hostonlynet add --enable --name", name, "--netmask", own.netmask,
                 "--lower-ip", own.ip, "--upper-ip", own.network[-2])
        else:
            name = vbox("hostonlyif create", seconds=120).partition("'")[2].rpartition("'")[0]
        note_ours(ours + [name])
        return name

    def drop(self):
        """Remove the networks that we made and that no VM is on; the names of ours that stay."""
        note = vbox("getextradata global", VBOX_NOTE).partition("Value: ")[2]
        if not note:
            return []
        ours, before = map(parse_json(note).get, ("ours", "before"))
        if before is not None:  # a command was killed: what it made is new, and not set up
            ours += [name for name, row in self.rows()
                     if name not in before and row.get("status") != "Up"]
        used = vbox("list --long vms")
        kept = [name for name in ours if "'%s'" % name in used]
        for name in set(ours).difference(kept):
            if self.nets:
                vbox("hostonlynet remove --name", name, absent_ok=True)
            else:
                vbox("dhcpserver remove --netname", VBOX_NETWORK + name, absent_ok=True)
                vbox("hostonlyif remove", name, absent_ok=True, seconds=120)
        note_ours(kept)
        return kept


def note_ours(ours, before=None):
    """Note the names of what we made; while one is being made, also what was there `before`."""
    # Without a value the note is removed.
    note = [json_text({"ours": ours, "before": before})] if ours or before is not None else []
    vbox("setextradata global", VBOX_NOTE, *note)


def own_address(row):
    """This computer's address with its network, by a row of vbox_list(); 0.0.0.0/0 for none."""
    address = row.get("ipaddress") or row["lowerip"]
    return ipaddress.ip_interface(address + "/" + row["networkmask"])


def serve_addresses(network, own):
    """See that a DHCP server is on for an interface's network; one that fits is kept."""
    whole, row = own.network, dict(vbox_list("dhcpservers")).get(network)
    if row and row["enabled"] == "Yes":
        server, low, high = (ipaddress.ip_address(row[key]) for key in (
            "dhcpd ip", "loweripaddress", "upperipaddress"))
        if own.ip != server and not low <= own.ip <= high and all(
                address in whole for address in (server, low, high)):
            return
    first, last = whole[whole.num_addresses * 101 // 256], whole[-2]  # of a /24: .101 to .254
    if own.ip >= first - 1:
        first, last = whole[2], own.ip - 1
    vbox("dhcpserver", "modify" if row else "add", "--netname", network, "--ip", first - 1,
         "--netmask", own.netmask, "--lowerip", first, "--upperip", last, "--enable")


def networks_here(rows):
    """This computer's IPv4 networks, {interface: network}, those of VirtualBox's `rows` too."""
    found = {name: own_address(row).network for name, row in rows + vbox_list("bridgedifs")}
    routes = read_text(ROUTES) if exists(ROUTES) else ""
    # Also what is not bridged, such as a VPN, but for single hosts and default routes (a VPN may
    # have two, each for half of all addresses). The lines (proc(5)) hold name, target, five other
    # fields and mask, little-endian.
    for name, target, mask in re.findall(
            r"(?m)^(\S+)\t(\w{8})(?:\t\S+){5}\t(?!F{8})(\w{6}FF)", routes):
        network = "%d.%d.%d.%d/%d.%d.%d.%d" % tuple(bytes.fromhex(mask + target)[::-1])
        found.setdefault(name, ipaddress.ip_network(network))
    return found


def release_iso(url):
    """The newest ISO of a page of releases on GitHub, by the address that GitHub keeps for it."""
    return re.sub(r"^(https?://[^/]+/[^/]+/[^/]+/releases)(/latest)?/*$",
                  r"\1/latest/download/boot2docker.iso", url)


def image_kind(path):
    """("iso", "qcow2" or "raw", bytes of the disk, an ISO's label). Raises MachineError for what is
    none of these, or is not whole."""
    if not isfile(path):
        raise MachineError("There is no file %s." % path)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(36864).ljust(80)
    if head.startswith(b"CD001", 32769):  # ECMA-119, the primary volume descriptor
        label, blocks = struct.unpack_from("<32s8xI", head, 32808)
        if size < blocks * 2048:
            raise MachineError("%s is truncated: %d of %d bytes." % (path, size, blocks * 2048),
                               "Fetch it again.")
        return "iso", size, label.decode(errors="replace").strip()
    if head.startswith(b"QFI\xfb"):  # QEMU's docs/interop/qcow2.rst
        version, backing, size, features = struct.unpack_from(">4xIQ8xQ40xQ", head)
        if backing or version > 2 and features & 4:  # its data lie in another file
            raise MachineError("%s is an image that refers to another file." % path,
                               "Make it one: qemu-img convert -O qcow2 IMAGE NEW")
        return "qcow2", size, ""
    if size > 1 << 20 and head.startswith(b"\x55\xaa", 510):
        return "raw", size, ""
    raise MachineError("%s is not an ISO, and not a disk image in the format qcow2 or raw." % path,
                       "Check the address of the image.")


def format_me(public_key):
    """How boot2docker's data disk begins: an archive that tells it to format the disk, and that
    holds the login's key."""
    buffer, order, key = io.BytesIO(), "boot2docker, please format-me", public_key + "\n"
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in ((order, order + "\n"), (".ssh", ""), (".ssh/authorized_keys", key),
                           (".ssh/authorized_keys2", key)):
            entry, data = tarfile.TarInfo(name), text.encode()
            entry.size = len(data)
            if not text:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


class VirtualBoxDriver(LocalVM):
    """A VM of VirtualBox on this computer."""

    name = "virtualbox"
    flags = (
        Flag("virtualbox-memory", 1024, "Memory of the machine, in MB", "VIRTUALBOX_MEMORY_SIZE",
             field="Memory", least=512),
        Flag("virtualbox-cpu-count", 1, "Number of CPUs (-1 for as many as this computer has)",
             "VIRTUALBOX_CPU_COUNT", field="CPU", least=-1, most=64),
        Flag("virtualbox-disk-size", 20000, "Size of the disk, in MB; it takes only what is used",
             "VIRTUALBOX_DISK_SIZE", field="DiskSize", least=1000),
        Flag("virtualbox-boot2docker-url", "", "URL or path of the system: a boot2docker ISO, or a "
             "cloud image as qcow2 or raw (default: Debian's cloud image)",
             "VIRTUALBOX_BOOT2DOCKER_URL", field="Boot2DockerURL"),
        Flag("virtualbox-import-boot2docker-vm", "", "Name of a boot2docker VM whose disk is "
             "cloned", "VIRTUALBOX_BOOT2DOCKER_IMPORT_VM", field="Boot2DockerImportVM"),
        Flag("virtualbox-host-dns-resolver", False, "Use the host's DNS resolver",
             "VIRTUALBOX_HOST_DNS_RESOLVER", field="HostDNSResolver"),
        Flag("virtualbox-nat-nictype", "82540EM", "Network card on the NAT side",
             "VIRTUALBOX_NAT_NICTYPE", field="NatNicType", choices=VBOX_CARDS),
        Flag("virtualbox-hostonly-cidr", VBOX_CIDR, "This computer's address and mask on the "
             "host-only network", "VIRTUALBOX_HOSTONLY_CIDR", field="HostOnlyCIDR"),
        Flag("virtualbox-hostonly-nictype", "82540EM", "Network card on the host-only side",
             "VIRTUALBOX_HOSTONLY_NIC_TYPE", field="HostOnlyNicType", choices=VBOX_CARDS),
        Flag("virtualbox-hostonly-nicpromisc", "deny", "What the host-only card sees of other "
             "VMs: deny, allow-vms or allow-all", "VIRTUALBOX_HOSTONLY_NIC_PROMISC",
             field="HostOnlyPromiscMode", choices=("deny", "allow-vms", "allow-all")),
        Flag("virtualbox-ui-type", "headless", "How it is shown: headless, gui, sdl or separate",
             "VIRTUALBOX_UI_TYPE", field="UIType", choices=("headless", "gui", "sdl", "separate")),
        Flag("virtualbox-hostonly-no-dhcp", False, "Set up no DHCP server on the host-only network",
             "VIRTUALBOX_HOSTONLY_NO_DHCP", field="HostOnlyNoDHCP"),
        Flag("virtualbox-no-share", False, "Do not share the home folders of this computer",
             "VIRTUALBOX_NO_SHARE", field="NoShare"),
        Flag("virtualbox-dns-proxy", False, "Proxy DNS requests to this computer (the default)",
             "VIRTUALBOX_DNS_PROXY"),
        Flag("virtualbox-no-dns-proxy", False, "Do not proxy DNS requests to this computer",
             "VIRTUALBOX_NO_DNS_PROXY"),
        Flag("virtualbox-no-vtx-check", False, "Do not look for hardware virtualization",
             "VIRTUALBOX_NO_VTX_CHECK", field="NoVTXCheck"),
        Flag("virtualbox-share-folder", "", "Folder to share instead of the home folders, "
             "FOLDER:NAME", "VIRTUALBOX_SHARE_FOLDER", field="ShareFolder", form=".+:[^:/]+",
             hint="It is FOLDER:NAME, for example /srv/data:data."),
    )
    fields = (("VBoxManager", {}), ("HostInterfaces", {}), ("DNSProxy", True))  # type: tuple

    def checks(self):
        try:
            return [Finding("ok", "virtualbox", "%d.%d.%d" % vbox_version())]
        except MachineError as error:
            return [Finding("bad" if find_vboxmanage() else "note", "virtualbox", error.message,
                            error.hint)]

    # --- before the machine is made

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        self["DNSProxy"] = not options["virtualbox-no-dns-proxy"]
        url = self["Boot2DockerURL"]
        if url and "://" not in url:
            self["Boot2DockerURL"] = file_of_url(url)
        try:
            own = ipaddress.IPv4Interface(self["HostOnlyCIDR"])
            if own.network.prefixlen > 28 or own.ip in (own.network[0], own.network[-1]):
                raise ValueError
        except ValueError:
            raise UsageError(
                '--virtualbox-hostonly-cidr "%s" is not an address with the length of its network.'
                % self["HostOnlyCIDR"], "For example: --virtualbox-hostonly-cidr " + VBOX_CIDR)
        self["HostOnlyCIDR"], self["IPAddress"] = str(own), ""
        self["SSHKeyPath"] = self.path("id_rsa")  # where Docker Machine's users look for it

    def pre_create_check(self):
        """Check VirtualBox, and get the image: a missing one must leave nothing behind."""
        super().pre_create_check()
        version = vbox_version()
        if version < (6, 1):
            raise MachineError("VirtualBox %d.%d.%d is too old; 6.1 is the least." % version,
                               "Get a newer one: https://www.virtualbox.org/wiki/Downloads")
        if not self["NoVTXCheck"] and "supports HW virtualization: no" in vbox("list hostinfo"):
            out.warn("VirtualBox finds no hardware virtualization on this computer. See that it is "
                     "enabled in the firmware (BIOS), and, on Windows, that Hyper-V is off.")
        if '"%s" {' % self["MachineName"] in vbox("list vms"):
            raise MachineError("VirtualBox has a VM of the name %s already." % self["MachineName"],
                               "Choose another name, or see: VBoxManage list vms")
        HostOnly().plan(self["HostOnlyCIDR"])
        imported = self["Boot2DockerImportVM"] and self._disk_to_import()
        _, kind, size, label = self.image()
        if kind != "iso":
            if imported:
                raise MachineError("--virtualbox-import-boot2docker-vm needs an ISO to boot from.")
            self.check_disk(size)
        if label.startswith("Boot2Docker-v"):
            out.warn("boot2docker ended in 2020, with Docker Engine 19.03; this is %s. Leave "
                     "--virtualbox-boot2docker-url out for a maintained system." % label)
        need_space(self.folder, 1000 if kind == "iso" else 3000)

    def _disk_to_import(self):
        """The disk of the VM that is imported. Raises MachineError."""
        name = self["Boot2DockerImportVM"]
        said = vbox("showvminfo", name, "--machinereadable", absent_ok=True)
        disks = re.findall(r'(?im)^"[^-]+-\d+-\d+"="(.+\.(?:vmdk|vdi|vhd))"$', said)
        if not disks:
            raise MachineError("VirtualBox has no VM of the name %s, or it has no disk." % name,
                               "See: VBoxManage list vms")
        return disks[0]

    def image(self, renew=False):
        """(path, kind, bytes of the disk, label) of what the machine boots from, fetched once, or
        again if `renew`: an ISO that speaks boot2docker's protocol (it formats the data disk and
        takes our key from it), or a cloud image with cloud-init."""
        old = self["Boot2DockerImportVM"] or renew
        url = release_iso(self["Boot2DockerURL"] or (
            BOOT2DOCKER if old else VBOX_IMAGE % {"aarch64": "arm64"}.get(host_arch(), "amd64")))
        try:
            if "://" in url and not url.startswith("file://"):
                path = cached_image(self, url, "", image_kind, renew)
            else:
                path = file_of_url(url)
            return (path,) + image_kind(path)
        except MachineError as error:
            error.advise("An image of your own: --virtualbox-boot2docker-url file:///PATH")
            raise

    # --- the machine

    def create(self):
        self.remove()  # what an interrupted creation left
        path, kind, size, _ = self.image()
        self.log("Creating VirtualBox VM...")
        vbox("createvm", "--basefolder", self.folder, "--name", self["MachineName"], "--uuid",
             self.identify(), "--register", *(["--platform-architecture", "arm"]
                                           if host_arch() == "aarch64" else []))
        self.vm("modifyvm VM", *self._hardware(kind))
        self.vm("storagectl VM --name SATA --add sata --hostiocache on --portcount 2")
        if kind == "iso":
            self._make_data_disk(path)
        else:
            self._make_system_disk(path, kind)
        for name, medium in VBOX_MEDIA.items():
            if exists(self.path(name)):
                self.vm("storageattach VM --storagectl SATA --device 0 %s --medium"
                        % VBOX_PLACES[medium], self.path(name))
        if kind != "iso" and self["DiskSize"] << 20 > size:
            vbox("modifymedium disk", self.path("disk.vdi"), "--resize", self["DiskSize"],
                 seconds=300)
        for name, folder in self.shares():
            self.vm("sharedfolder add VM --automount --name", name, "--hostpath", folder)
            self.vm("setextradata VM", "VBoxInternal2/SharedFoldersEnableSymlinksCreate/" + name, 1)
        self.start()

    def _hardware(self, kind):
        return [
            *("--ostype Linux_arm64" if host_arch() == "aarch64" else VBOX_X86).split(),
            *(VBOX_HARDWARE % self).split(),
            "--cpus", self.cpus(), "--boot1", "dvd" if kind == "iso" else "disk",
            "--natdnshostresolver1", "on" if self["HostDNSResolver"] else "off",
            "--natdnsproxy1", "on" if self["DNSProxy"] else "off",
            # Cloud images log to the first serial port, and hang where there is none.
            "--uart1", "0x3F8", "4", "--uartmode1", "file", self.path("console.log"),
            "--macaddress1", self.mac(1), "--macaddress2", self.mac(2)]

    def mac(self, card):
        """The address of a network card, in VirtualBox's own range: 080027D14C66."""
        return "080027%06X" % (int(self["UUID"][-6:], 16) ^ card)

    def _make_data_disk(self, iso):
        shutil.copyfile(iso, self.path("boot2docker.iso"))
        public_key = new_ssh_key(self.get_ssh_key_path(), self["MachineName"])
        self.log("Creating disk image...")
        disk = self.path("disk.vmdk")
        if not self["Boot2DockerImportVM"]:
            vbox("convertfromraw stdin", disk, self["DiskSize"] << 20, "--format", "VMDK",
                 stdin=format_me(public_key), seconds=300)
            return
        vbox("clonemedium disk", self._disk_to_import(), disk, "--format", "VMDK", seconds=1800)
        for suffix in ("", ".pub"):
            key = expanduser("~/.ssh/id_boot2docker" + suffix)  # which that disk knows
            if exists(key):
                copy_file(key, self.get_ssh_key_path() + suffix)

    def _make_system_disk(self, image, kind):
        self.log("Creating the disk from %s..." % basename(image))
        disk, source = self.path("disk.vdi"), self.path("image.qcow2")
        if kind == "raw":
            vbox("convertfromraw", image, disk, "--format", "VDI", seconds=1800)
        else:  # from a copy: VirtualBox opens it for writing, and keeps it in its list
            shutil.copyfile(image, source)
            vbox("clonemedium disk", source, disk, "--format", "VDI", seconds=1800)
            vbox("closemedium disk", source, "--delete")
        self.make_ssh_keys()
        # Both cards take their addresses by DHCP, and are known by their MACs.
        cards = {"card%d" % card: {
            "match": {"macaddress": ":".join(textwrap.wrap(self.mac(card).lower(), 2))},
            "dhcp4": True, "dhcp-identifier": "mac", "optional": card > 1} for card in (1, 2)}
        self.write_seed("seed.iso", {"ethernets": cards}, mounts=[
            [name, "/" + name, "vboxsf", "uid=1000,gid=1000,nofail", "0", "0"]
            for name, _ in self.shares()])

    def shares(self):
        """[(name, folder of this computer)] as Docker Machine shares them."""
        if self["ShareFolder"]:
            folder, _, name = self["ShareFolder"].rpartition(":")
            return [(name, folder)]
        usual = {"darwin": ("Users", "/Users"), "win32": ("c/Users", "\\\\?\\c:\\Users")}.get(
            sys.platform, ("hosthome", "/home"))
        return [] if self["NoShare"] or not isdir(usual[1]) else [usual]

    # --- on and off

    def resize(self):
        self.vm("modifyvm VM", "--memory", self["Memory"], "--cpus", self.cpus())

    def start(self):
        state = self.get_state()
        if state == PAUSED:
            self.vm("controlvm VM resume")
        if state in (PAUSED, RUNNING):
            return
        if state == SAVED and port_trouble(self["SSHPort"]):
            raise MachineError("Port %d, which is SSH's of this saved machine, is taken by another "
                               "program." % self["SSHPort"], "End that, or throw the saved state "
                               "away: docker-machine kill " + self["MachineName"])
        if state == STOPPED:
            self.settle_ports()
            # This waits for the end of a session.
            self.vm("modifyvm VM --natpf1 delete ssh", absent_ok=True)
            # The removal of another machine must not take the network away in between.
            with HostOnly() as networks:
                self.vm("modifyvm VM", *networks.use(self), "--natpf1",
                        "ssh,tcp,%s,%d,,22" % (LOOPBACK, self["SSHPort"]))
        self["IPAddress"] = ""
        self.log("Starting the VM...")
        self.vm("startvm VM --type", self.get("UIType", "headless"), seconds=180)
        self.log("Waiting for an IP...")
        self["IPAddress"] = wait_for(
            self._find_address, self.boot_seconds, "The machine got no address on its host-only "
            "network within %d s." % self.boot_seconds)

    def _find_address(self):
        """The address on the host-only network, by VirtualBox or ssh; "" until there is one."""
        self.check_boot()
        try:
            return self._within(self.vm("guestproperty enumerate VM")) or self._within(
                self.ssh().run("ip -4 -o addr show || /sbin/ifconfig", seconds=20).stdout)
        except MachineError:
            return ""

    def _within(self, text):
        """The first address of the host-only network in a text, or ""."""
        own = ipaddress.ip_interface(self["HostOnlyCIDR"])
        for word in filter(ip_address, re.findall(r"(?<![\d.])\d+(?:\.\d+){3}(?![\d.])", text)):
            address = ipaddress.ip_address(word)
            if address in own.network and address not in (own.ip, own.network[-1]):
                return word
        return ""

    def check_boot(self):
        if self.get_state() in (STOPPED, ERROR):
            raise self.went_off("See console.log and %s/Logs/VBox.log in %s." % (
                self["MachineName"], self.folder))
        super().check_boot()

    def stop(self):
        state = self.get_state()
        if state == SAVED:
            raise MachineError("The machine's state is saved, not running.",
                               "Start it, or throw that state away: docker-machine kill "
                               + self["MachineName"])
        if state == PAUSED:
            self.vm("controlvm VM resume")
        self.shut_down(lambda: self._control("acpipowerbutton"))

    def _control(self, verb):
        """For what may have gone off in between."""
        try:
            self.vm("controlvm VM " + verb)
        except MachineError:
            if self.get_state() != STOPPED:
                raise

    def kill(self):
        state = self.get_state()
        if state == SAVED:
            self.vm("discardstate VM")
        elif state != STOPPED:
            self._control("poweroff")

    def pause(self):
        self.vm("controlvm VM pause")

    def upgrade(self):
        """Replace boot2docker's ISO by the newest one of its source, which takes a restart."""
        iso = self.path("boot2docker.iso")
        if not exists(iso):
            return False
        newest, kind = self.image(renew=True)[:2]
        if kind != "iso":
            raise MachineError("%s is not an ISO." % newest)
        if filecmp.cmp(newest, iso, shallow=False):
            self.log("Its ISO is the newest one.")
        else:
            self.log("Upgrading the ISO...")
            self.stop()
            shutil.copyfile(newest, iso + ".new")
            os.replace(iso + ".new", iso)
            self.start()
        return True

    def remove(self):
        folder = self.path(self["MachineName"])
        if not find_vboxmanage() and not isdir(folder):
            return  # it was never made
        state = self._word(vm_states())
        if state == "inaccessible":  # --delete would fail, since it finds no files
            self.vm("unregistervm VM", absent_ok=True)
        elif state:
            wait_for(self._is_off, 60, "The VM does not go off.")
            self.vm("unregistervm VM --delete", absent_ok=True, seconds=300)
        for name, kind in VBOX_MEDIA.items():
            path = self.path(name)
            if exists(path):
                vbox("closemedium " + kind, path, absent_ok=True)
                os.unlink(path)
        # What a killed createvm leaves would be in its way.
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with HostOnly() as networks:
                networks.drop()
        except MachineError as error:  # the next removal tries again
            out.warn(error.message)

    def _is_off(self):
        try:
            self.kill()
        except MachineError as error:  # what a killed command began may still be under way
            out.debug(error.message)
        return self.get_state() == STOPPED

    # --- what and where it is

    def vm(self, command, *words, **more):
        """What vbox() gives for a command; VM is ours, without a UUID if Docker Machine made it."""
        verb, _, options = command.partition(" VM")
        return vbox(verb, self.get("UUID") or self["MachineName"], *options.split(), *words, **more)

    def _word(self, states):
        """What vm_states() tells of the VM, or None. One of Docker Machine's is known by where it
        lies: a VM of the same name elsewhere is not ours."""
        name = self["MachineName"]
        return states.get(self.get("UUID") or os.path.normcase(
            join(realpath(self.folder), name, name + ".vbox")))

    def get_state(self):
        return self._state(vm_states())

    @classmethod
    def states(cls, drivers, seconds):
        there = vm_states(seconds)
        return [_outcome(driver._state, there) for driver in drivers]

    def _state(self, states):
        word = self._word(states)
        if not word:
            raise MachineError("VirtualBox has no VM %s." % self["MachineName"],
                               "Forget it: docker-machine rm " + quote(self["MachineName"]))
        return VBOX_STATES.get(word, ERROR)

    def get_ip(self):
        if not self.get("IPAddress"):
            if self.get_state() != RUNNING:
                raise Unreachable("Host is not running")
            self["IPAddress"] = self._find_address()
        return super().get_ip()

    def get_ssh_hostname(self):
        return LOOPBACK


# --- clouds

CLOUD_INIT_MARKS = (  # how user data of cloud-init begins: cloudinit/handlers/__init__.py
    "#cloud-config", "#cloud-boothook", "#include", "#part-handler", "#!", "## template:")


class Instance:
    """What a provider tells of one machine: its id there, its state (one of STATES), a list of its
    addresses as (whether it is public, address), the best first, and its tags; `tag` is ours."""

    def __init__(self, id, state, addresses=(), tags=()):
        self.id, self.state, self.addresses = id, state, addresses
        ours = re.search(r"(?<!\S)docker-machine-[0-9a-f]{16}(?!\S)", " ".join(tags))
        self.tag = ours.group() if ours else ""


class CloudDriver(Driver):
    """Base of drivers whose machines are a provider's: made once and found again by a tag, resumed
    or removed however far they came, with keys by user data.

    A subclass names what it has to do with, in the attributes below, and asks its API in order(),
    describe(), instances(), act() and delete(). What the API refuses is a RestError. The base class
    stores ids before anything else happens.
    """

    provider = ""  # its name in messages
    api = ""  # the URL of its API
    thing = "machine"  # what it calls a machine
    creating = "Creating the machine..."
    status_page = ""
    id_field, key_id_field = "InstanceID", ""
    key_file_field, key_name_field, user_data_field = "SSHKey", "", "UserDataFile"
    key_list = ""  # the command or page that lists the account's keys
    kinds = ()  # type: tuple  # what look_up() is asked for at once before anything is made
    most_user_data = 65536  # bytes
    login, new_login, login_field = "login", "", ""  # what it is, how to get one, its field
    scope_hint = ""  # what to do about a permission that is lacking, with a %s for its name
    cures = ()  # type: tuple  # (words of a refusal, what to do)
    user_data_keys = {}  # type: dict  # what else belongs into our part of the user data
    boot_seconds = patience = 300
    poll_seconds = 5

    def __init__(self, machine):
        super().__init__(machine)
        for name in ("rest", "look_up", "account_key"):  # whose answers are kept
            setattr(self, name, functools.lru_cache(None)(getattr(self, name)))

    @classmethod
    def defaults(cls):
        names = filter(None, (cls.id_field, cls.key_id_field, "CreateTag"))
        declared = super().defaults()
        return dict(declared, **{name: declared.get(name, "") for name in names})

    # --- what a subclass does

    def order(self, keys):
        """Order a machine with our tag, user_data() and these keys of the account; its Instance."""

    def describe(self):
        """The Instance of the stored id; None if it is gone."""

    def instances(self, tag=""):
        """All Instances of account(), or at least those that carry a tag."""

    def act(self, verb):
        """Begin to "start", "stop", "kill" or "restart" the machine."""

    def delete(self):
        """Delete the machine of the stored id, which may be gone."""

    # --- what it may do

    def look_up(self, kind):
        """What the provider has under the name that a flag gave, of an "image", say; asked once."""

    def account(self):
        """What two machines have in common that instances() tells of at once."""
        return self.get(self.login_field)

    def headers(self):
        """The headers of requests, as Rest takes them."""
        return {"Authorization": "Bearer " + self[self.login_field]}

    def following(self, answer):
        """Where the next page of a list is, as Rest.pages() takes it."""

    def progress(self, verb, instance):
        """Tell of a "create", "start", "kill" or "restart" that takes long; whether it is over.
        Raises MachineError if it failed."""
        return True

    def finish(self):
        """Do what can only be done with a machine that is there and has an address."""

    def delete_tagged(self):
        """Delete what else carries the tag, and the tag itself."""

    def keys(self):
        """All keys of the account, as (id, name, public line)."""
        return ()

    def add_key(self, name, public):
        """Upload a key; its id. Raises RestError, also if the account has it already."""

    def delete_key(self, key_id):
        """Delete a key of the account, which may be gone."""

    def account_key(self):
        """The one of keys() that the user has named; asked once. Raises MachineError."""
        key = self._find_key(self.named_key())
        if key is None:
            raise self.unknown("key", self.named_key(), self.key_list,
                               [name for _, name, _ in self.keys()])
        return key

    def has_cloud_init(self):
        """Whether the image reads cloud-init's user data."""
        return True

    def needs_key(self):
        """Whether the machine only lets a key of the account log in."""
        return not self.reads_user_data()

    # --- the API

    def rest(self):
        """The Rest that asks the API, at another URL if NAME_API_URL says so. Made once."""
        variable = self.name.upper() + "_API_URL"
        with stage(variable + ": "):
            return Rest(self.provider, os.environ.get(variable) or self.api, self.headers(),
                        min(self.patience, 30), self.patience)

    def ask(self, method, path, body=None, query=None, rows="", scope="", none=None, **more):
        """What Rest.call() gives, or Rest.pages() for the key `rows`, without the empty values of
        the query. `scope`: what the login must be allowed; `none`: the status that stands for None.
        """
        query = {name: value for name, value in (query or {}).items() if value}
        try:
            if rows:
                return self.rest().pages(path, rows, query, self.following)
            return self.rest().call(method, path, body, query, **more)
        except RestError as error:
            if error.status == none:
                return None
            self.explain(error, "%s %s" % (method, path), scope)
            raise

    def explain(self, error, request="", scope=""):
        """Say what a RestError means for the user; cures first, since a quota may be a 403 too."""
        for words, cure in self.cures:
            if words in error.words:
                error.hint = error.hint or cure
        if error.hint:
            return
        if error.status == 401:
            error.message = "%s refuses the %s: %s" % (self.provider, self.login, error.words)
            error.hint = self.new_login
            if self[self.id_field] and self.login_field:
                error.advise('Then put it into "%s" of %s' % (
                    self.login_field, self.path("config.json")))
        elif error.status == 403:
            error.message = "The %s may not %s: %s" % (self.login, request, error.words)
            error.hint = self.scope_hint.replace("%s", scope)

    def unknown(self, kind, name, command, known=(), places=(), region=""):
        """The error for what is not there, or only in other `places` than the region."""
        words = '%s has no %s "%s"' % (self.provider, kind, name)
        hint = ""
        if places:
            words += ' in the region "%s"' % region
            hint = "It is in: %s. " % ", ".join(places)
        if known:
            near = difflib.get_close_matches(name, known, 3, 0.5) or known[:3]
            hint += "Near it: %s. " % ", ".join(near)
        return MachineError(words + ".", hint + "List all: " + command)

    # --- the machine

    def pre_create_check(self):
        need("ssh-keygen")
        self._check_key()
        text = self.user_file()
        if not is_for_cloud_init(text) and '"ignition"' not in text:
            out.warn("%s begins with none of the marks by which cloud-init knows user data, such "
                     "as #cloud-config or #!; it will not read it." % self[self.user_data_field])
        for answer in each(self.look_up, self.kinds):
            if isinstance(answer, Exception):
                raise answer

    def create(self):
        """Make the machine, or go on with the one that an interrupted creation made."""
        instance = self.find_again()
        if instance is None:
            self._make_keys()
            self.log(self.creating)
            instance = self._ordered()
        self[self.id_field] = instance.id
        self.machine.save()
        self.log("Waiting for the %s to become active..." % self.thing)
        self._await("create", RUNNING)
        self.log("Created %s ID %s, IP address %s" % (
            self.thing, self[self.id_field], self["IPAddress"]))
        self.finish()
        self._if_allowed(self._forget_key)

    def find_again(self):
        """Our Instance, by its id, or by its tag, which may take a moment to be in the list."""
        instance = self.describe() if self[self.id_field] else None
        tag = self["CreateTag"]
        if instance or not tag:
            return instance
        same = wait_for(lambda: [one for one in self.instances(tag) if one.tag == tag], 3, "", 1, 1)
        return same[0] if same else None

    def _ordered(self):
        try:
            keys = self._account_keys()
            return self._made_once(lambda: self.order(keys), self.find_again)
        except RestError as error:
            if not error.refused:
                raise
            self._if_allowed(self._forget_key)
            raise PreCreateError(error.message, error.hint)

    def _made_once(self, make, find, there=()):
        """What make() gives. If its answer is lost, or has one of the statuses that tell that it is
        `there` already, find() looks for it. A RestError is `refused` if nothing was made."""
        doubts = []  # type: list

        def attempt():
            try:
                return (doubts and find()) or make()
            except RestError as error:
                error.refused = error.refused and not doubts
                found = find() if error.status in there else None
                if not (found or error.unsure):
                    raise
                doubts.append(error)
                return found

        made = wait_for(attempt, self.patience, "", 30, 1)
        if not made:
            raise doubts[-1]
        return made

    def _await(self, verb, goal):
        """Wait until what was begun has led to the state `goal`; a running machine needs an address
        too, which may be another one than before. Raises MachineError."""
        looks = []  # type: list
        name = "The %s %s" % (self.thing, self[self.id_field])

        def there():
            instance = self.describe() or Instance("", "")  # not yet, or gone
            looks.append(instance.state)
            if looks[-8:] in ([""] * 8, [ERROR] * 8):
                words = " vanished while it was awaited."
                if instance.state:
                    words = " failed at %s." % self.provider
                raise MachineError(name + words, self.status_page and "See " + self.status_page)
            arrived = instance.state == goal
            if verb == "restart" or not arrived and len(looks) % 4 == 0:
                arrived = self.progress(verb, instance) and arrived
            if goal != RUNNING:
                return arrived
            best = dict(reversed(instance.addresses))  # the first public one and the first private
            if self["IPAddress"] not in best.values():  # the public one may come later
                late = looks.count(RUNNING) > 4
                self["IPAddress"] = best.get(True) or late and best.get(False) or ""
            return arrived and self["IPAddress"]

        wanted = "active" if goal == RUNNING else "stopped"
        wait_for(there, 900, "%s did not become %s within 900 s." % (name, wanted),
                 self.poll_seconds, 0.5)

    def remove(self):
        field = self.id_field
        if not (self[field] and self["CreateTag"]):
            instance = self.find_again()
            if instance:  # Docker Machine may have rewritten the entry
                self[field] = instance.id
                self["CreateTag"] = self["CreateTag"] or instance.tag
        if self[field]:
            self.delete()
        if self["CreateTag"]:
            self._if_allowed(self.delete_tagged)
        self._if_allowed(self._forget_key)
        self[field] = self.defaults()[field]
        self["CreateTag"] = self["IPAddress"] = ""

    def _if_allowed(self, action):
        """Do what the login may not allow; that is told, and no failure: rm tries again."""
        try:
            action()
        except RestError as error:
            if error.status != 403:
                raise
            out.warn("%s. %s" % (error.message, error.hint))

    # --- user data

    def user_file(self):
        """The text of the user's own user data. Raises MachineError."""
        path = self.get(self.user_data_field)
        if not path:
            return ""
        try:
            text = read_bytes(path).decode("utf-8-sig").lstrip()
            size = len(mime_part(text).as_string())
        except (OSError, UnicodeError) as error:
            raise MachineError("%s cannot be read as text: %s" % (path, error))
        if size > self.most_user_data - 4536:  # ours, with what joins them
            raise MachineError("%s is too large: %s takes %d KiB of user data, ours included." % (
                path, self.provider, self.most_user_data >> 10))
        return text

    def reads_user_data(self):
        """Whether the guest reads our part of the user data: not if the user's is for another
        program than cloud-init, such as Ignition."""
        return self.has_cloud_init() and is_for_cloud_init(self.user_file())

    def user_data(self):
        """Our part after the user's, and it wins where both say something that cannot be joined."""
        text = self.user_file()
        if not self.reads_user_data():
            return text
        ours = cloud_config(self, merge_how="list(append)+dict(no_replace,recurse_list)+str()",
                            **self.user_data_keys)
        if not text:
            return ours
        from email.mime.multipart import MIMEMultipart
        return MIMEMultipart(_subparts=[mime_part(text), mime_part(ours)]).as_string()

    # --- keys

    def named_key(self):
        """Which key of the account the user has named, or ""."""
        return self.get(self.key_name_field)

    def public_key(self):
        return self.account_key()[2].strip() if self.named_key() else super().public_key()

    def get_ssh_key_path(self):
        """"" leaves it to ssh, as for a named key without a file."""
        return self["SSHKeyPath"] if self.named_key() else super().get_ssh_key_path()

    def _check_key(self):
        """Refuse a key file that cannot be used, or is not the named key. Raises MachineError."""
        path = self.get(self.key_file_field)
        named = self.named_key()
        theirs = self.public_key() if named else ""
        if not path:
            return
        check_key_file(path)
        ours = public_half(path)
        if not (ours or named):
            raise MachineError("The key %s has a passphrase." % path,
                               "Put its public half beside it, as %s.pub." % path)
        if ours and named and ours.split()[:2] != theirs.split()[:2]:
            raise MachineError("%s is not the private half of the account's key %s." % (
                path, named), "Its fingerprint: ssh-keygen -l -E md5 -f " + quote(path))

    def _make_keys(self):
        self["CreateTag"] = self["CreateTag"] or "docker-machine-" + os.urandom(8).hex()
        source = self.get(self.key_file_field)
        named = self.named_key()
        key = self.path("id_rsa")
        if source:
            copy_file(source, key)
            if not named:
                write_atomic(key + ".pub", public_half(source) + "\n", 0o644)
        elif named:
            self.log("The account's SSH key is taken to be in the agent or ssh's usual place.")
        else:
            self.log("Creating SSH keys...")
            new_ssh_key(key, self.machine.name)
        self["SSHKeyPath"] = key if source or not named else ""
        if self.reads_user_data():
            self.make_host_key()
        self.machine.save()

    def _account_keys(self):
        """The ids of the keys that the order names: the user's, or that of ours, uploaded for the
        time of the creation. The stored id is -1, or "-1", until the answer."""
        field, name = self.key_id_field, self["CreateTag"]
        if self.named_key():
            return [self.account_key()[0]]
        if not field or not self.needs_key():
            return []
        self.log("Uploading the SSH key for the time of the creation...")
        public, nothing = self.public_key(), self.defaults()[field]
        self[field] = type(nothing)(-1)
        self.machine.save()
        key = self._made_once(lambda: (self.add_key(name, public), name),
                              lambda: self._find_key(name, public), (400, 409, 422))
        self[field] = key[0] if key[1] == name else nothing  # the user's own one stays
        self.machine.save()
        return [key[0]]

    def _find_key(self, name, public="none"):
        """The one of keys() with that name or public line, or None."""
        for key in self.keys():
            if key[1] == name or key[2].split()[:2] == public.split()[:2]:
                return key
        return None

    def _forget_key(self):
        """Delete the key that was uploaded for this machine, by us or by Docker Machine."""
        field = self.key_id_field
        if self.named_key() or not field or not self[field]:
            return
        key = [self[field]]
        if str(self[field]) == "-1":
            key = self._find_key(self["CreateTag"])
        if key:
            self.delete_key(key[0])
        self[field] = self.defaults()[field]

    # --- on and off

    def start(self):
        self._turn("start", RUNNING)

    def stop(self):
        self.shut_down(lambda: self.act("stop"))

    def kill(self):
        self._turn("kill", STOPPED)

    def restart(self):
        before = self.boot_id()
        self._turn("restart", RUNNING)
        if before:
            self.await_reboot(before)

    def _turn(self, verb, goal):
        """Do it to the end. A refusal is none where the state that it leads to is there."""
        try:
            self.act(verb)
        except RestError:
            if verb == "restart" or self.get_state() != goal:
                raise
        self._await(verb, goal)

    # --- what it is

    def get_state(self):
        return self._state(self._look())

    def _look(self, many=False):
        """{id: Instance}, of this machine or of many: all of its account."""
        if many:
            return {instance.id: instance for instance in self.instances()}
        number = self[self.id_field]
        return {number: self.describe()} if number else {}

    def _state(self, found):
        """The state by what _look() gave, or raised."""
        if isinstance(found, Exception):
            raise found
        number = self[self.id_field]
        name = quote(self.machine.name)
        if found.get(number):
            return found[number].state
        if number:
            raise MachineError("%s has no %s %s." % (self.provider, self.thing, number),
                               "Forget it: docker-machine rm " + name)
        raise MachineError("The %s was not made yet." % self.thing,
                           "Finish it: docker-machine provision " + name)

    @classmethod
    def states(cls, drivers, seconds):
        """By one question for each account that has more than one of the machines."""
        accounts = {}  # type: dict
        for driver in drivers:
            driver.patience = seconds
            accounts.setdefault(driver.account(), []).append(driver)
        found = each(lambda group: group[0]._look(len(group) > 1), accounts.values(),
                     seconds=seconds)
        by_account = dict(zip(accounts, found))
        return [_outcome(driver._state, by_account[driver.account()]) for driver in drivers]

    def ports(self):
        """The TCP ports that a firewall is to let in: ssh, the engine's, those of a Swarm."""
        ports = [self.get_ssh_port(), self.listen_port()]
        swarm = self.machine.swarm
        if swarm.get("Master"):
            ports.append(split_url(swarm.get("Host") or "", 3376)[1])
        return ports + [2377, 7946] * bool(swarm.get("Mode"))

    def udp_ports(self):
        """The UDP ports that it is to let in: those of Swarm mode."""
        return [4789, 7946] * bool(self.machine.swarm.get("Mode"))


def is_mime(user_data):
    """As cloud-init finds it out (cloudinit/user_data.py)."""
    return "mime-version:" in user_data[:4096].lower()


def is_for_cloud_init(user_data):
    """Whether cloud-init reads it; nothing is as good."""
    return not user_data or user_data.startswith(CLOUD_INIT_MARKS) or is_mime(user_data)


def mime_part(user_data):
    """Some user data as a part of a larger one; cloud-init tells its kind by how it begins."""
    from email.mime.text import MIMEText
    return email.message_from_string(user_data) if is_mime(user_data) else MIMEText(user_data)


# --- digitalocean

DIGITALOCEAN_TOKENS = "https://cloud.digitalocean.com/account/api/tokens"
UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
DROPLET_STATES = {"new": STARTING, "active": RUNNING, "off": STOPPED, "archive": STOPPED}
DROPLET_ACTIONS = {"create": "create", "start": "power_on", "stop": "shutdown",
                   "kill": "power_off", "restart": "reboot"}
DIGITALOCEAN_NAMES = {  # of what a flag names: the field, the path, and the command that lists all
    "image": ("Image", "/v2/images/", "compute image list-distribution --public"),
    "project": ("ProjectID", "/v2/projects/", "projects list"),
    "ssh_key": ("SSHKeyFingerprint", "/v2/account/keys/", "compute ssh-key list"),
}


class DigitalOceanDriver(CloudDriver):
    """A droplet of DigitalOcean, by its API v2."""

    name, provider, api = "digitalocean", "DigitalOcean", "https://api.digitalocean.com"
    thing, creating = "droplet", "Creating Digital Ocean droplet..."
    status_page = "https://status.digitalocean.com"
    id_field, key_id_field, key_name_field = "DropletID", "SSHKeyID", "SSHKeyFingerprint"
    kinds = ("size", "image", "project")
    login, login_field = "access token", "AccessToken"
    new_login = "Make a new one: " + DIGITALOCEAN_TOKENS
    scope_hint = "See that it has the scope %s: " + DIGITALOCEAN_TOKENS
    cures = (("droplet limit", "Remove a droplet, or ask DigitalOcean for a higher limit."),
             ("VPC", "List all: doctl vpcs list"))
    flags = (
        Flag("digitalocean-access-token", "", "Token of the API, which may be a scoped one",
             "DIGITALOCEAN_ACCESS_TOKEN", field="AccessToken", secret=True, required=True,
             form=r"\s*[!-~]+\s*", hint="It has blanks or letters that no token has."),
        Flag("digitalocean-ssh-user", "root", "SSH user; any other than root is made at the first "
             "boot", "DIGITALOCEAN_SSH_USER", field="SSHUser", form=r"[A-Za-z_][\w.-]*"),
        Flag("digitalocean-ssh-key-fingerprint", "", "MD5 fingerprint, or id, of a key of the "
             "account to log in with", "DIGITALOCEAN_SSH_KEY_FINGERPRINT",
             field="SSHKeyFingerprint", form="(MD5:)?([0-9a-fA-F]{2}:){15}[0-9a-fA-F]{2}|[0-9]*",
             hint="DigitalOcean knows MD5 fingerprints: ssh-keygen -l -E md5 -f KEY.pub"),
        Flag("digitalocean-ssh-key-path", "", "SSH private key; without one a key is made, or the "
             "agent's used for a fingerprint", "DIGITALOCEAN_SSH_KEY_PATH", field="SSHKey",
             file=True),
        Flag("digitalocean-ssh-port", 22, "SSH port that the image listens on",
             "DIGITALOCEAN_SSH_PORT", field="SSHPort", port=True),
        Flag("digitalocean-image", "ubuntu-24-04-x64", "Slug or id of the image",
             "DIGITALOCEAN_IMAGE", field="Image", form=r"[\w.-]+"),
        Flag("digitalocean-region", "nyc3", "Slug of the region", "DIGITALOCEAN_REGION",
             field="Region", form="[a-z0-9-]*"),
        Flag("digitalocean-size", "s-1vcpu-1gb", "Slug of the size", "DIGITALOCEAN_SIZE",
             field="Size", form=r"[\w.-]+"),
        Flag("digitalocean-ipv6", False, "Add a public IPv6 address", "DIGITALOCEAN_IPV6",
             field="IPv6"),
        Flag("digitalocean-private-networking", False, "Accepted; every droplet is in a private "
             "network today", "DIGITALOCEAN_PRIVATE_NETWORKING", field="PrivateNetworking"),
        Flag("digitalocean-vpc-uuid", "", "UUID of the private network (default: the region's)",
             "DIGITALOCEAN_VPC_UUID", field="VPCUUID", form=UUID,
             hint="List all: doctl vpcs list"),
        Flag("digitalocean-project-id", "", "UUID of the project (default: the account's)",
             "DIGITALOCEAN_PROJECT_ID", field="ProjectID", form=UUID,
             hint="List all: doctl projects list"),
        Flag("digitalocean-backups", False, "Turn on backups", "DIGITALOCEAN_BACKUPS",
             field="Backups"),
        Flag("digitalocean-userdata", "", "File of user data for the first boot, in any form that "
             "cloud-init knows", "DIGITALOCEAN_USERDATA", field="UserDataFile", file=True),
        Flag("digitalocean-monitoring", False, "Install the monitoring agent",
             "DIGITALOCEAN_MONITORING", field="Monitoring"),
        Flag("digitalocean-tags", "", "Tags, with commas between", "DIGITALOCEAN_TAGS",
             field="Tags", form=r"[ ,]*([\w:-]{1,255} *(,[ ,]*|$))*",
             hint="Tags are of letters, digits, colons, dashes and underscores."),
    )
    fields = (("DropletID", 0), ("DropletName", ""), ("SSHKeyID", 0))
    # A droplet without a key of the account gets a root password that has expired, with which PAM
    # refuses every login; the vendor's part may do that early or late.
    fresh = ["sh", "-c", "chage -d -1 -E -1 -I -1 -M -1 root || true"]
    user_data_keys = {"chpasswd": {"expire": False}, "bootcmd": [fresh], "runcmd": [fresh]}

    # --- before the machine is made

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        self["AccessToken"] = self["AccessToken"].strip()
        self["SSHKeyFingerprint"] = self["SSHKeyFingerprint"].replace("MD5:", "").lower()
        self["DropletName"] = host_name(self["MachineName"])

    def pre_create_check(self):
        super().pre_create_check()
        size, image = self.look_up("size"), self.look_up("image")
        regions = [self["Region"]] if self["Region"] else size["regions"]
        if image.get("regions") and not set(regions) & set(image["regions"]):
            raise self.unknown("image", self["Image"], "doctl compute image list", (),
                               image["regions"], self["Region"])
        if (image.get("min_disk_size") or 0) > size["disk"]:
            raise MachineError('The image "%s" needs a disk of %d GB; the size "%s" has %d GB.' % (
                self["Image"], image["min_disk_size"], size["slug"], size["disk"]),
                "Take a larger --digitalocean-size.")

    def look_up(self, kind):
        if kind == "size":
            return self._size()
        if kind == "project" and (not self["ProjectID"] or self.named_key()):
            return None  # a creation takes six requests at most, with a key
        field, path, command = DIGITALOCEAN_NAMES[kind]
        found = self.ask("GET", path + self[field], scope=kind + ":read", key=kind, none=404)
        if found is None:
            known = []
            if kind == "image":
                images = self._rows("/v2/images", "images", "image:read", type="distribution")
                known = sorted([image.get("slug") or "" for image in images])[::-1]
            raise self.unknown(kind.replace("ssh_", "SSH "), self[field], "doctl " + command, known)
        return found

    def _size(self):
        region = self["Region"]
        name = self["Size"]
        rows = self._rows("/v2/sizes", "sizes", "sizes:read, and regions:read")
        sizes = {size["slug"]: size for size in rows if size["available"]}
        regions = sorted({place for size in sizes.values() for place in size["regions"]})
        if region not in [""] + regions:
            raise self.unknown("region", region, "doctl compute region list", regions)
        near = [slug for slug in sizes if region in [""] + sizes[slug]["regions"]]
        if name not in near:
            places = sizes[name]["regions"] if name in sizes else ()
            raise self.unknown("size", name, "doctl compute size list", near, places, region)
        return sizes[name]

    # --- the machine

    def order(self, keys):
        image = self["Image"]
        body = {"name": self["DropletName"], "region": self["Region"], "size": self["Size"],
                "image": int(image) if image.isdigit() else image, "ipv6": self["IPv6"],
                "backups": self["Backups"], "monitoring": self["Monitoring"],
                "vpc_uuid": self["VPCUUID"], "user_data": self.user_data(), "ssh_keys": keys,
                "tags": self["Tags"].replace(",", " ").split() + [self["CreateTag"]]}
        scope = ("droplet:create, image:read and tag:create (for a VPC vpc:read, for a key "
                 "ssh_key:read)")
        given = {key: value for key, value in body.items() if value}
        return self._instance(self.ask("POST", "/v2/droplets", given, key="droplet", scope=scope))

    def describe(self):
        row = self.ask("GET", self._path(), key="droplet", scope="droplet:read", none=404)
        return row and self._instance(row)

    def instances(self, tag=""):
        rows = self._rows("/v2/droplets", "droplets", "droplet:read", tag_name=tag)
        return [self._instance(row) for row in rows]

    @staticmethod
    def _instance(row):
        addresses = [(network["type"] == "public", network["ip_address"])
                     for version in ("v4", "v6") for network in row["networks"].get(version) or ()]
        return Instance(row["id"], DROPLET_STATES.get(row["status"], ERROR), addresses, row["tags"])

    def act(self, verb):
        # To a shutdown, 422 says that it is asked already, or the droplet is off.
        more = {"none": 422} if verb == "stop" else {"wait": is_pending}
        self.ask("POST", self._path() + "/actions", {"type": DROPLET_ACTIONS[verb]}, key="action",
                 scope="droplet:update", repeat=True, **more)

    def progress(self, verb, instance):
        actions = self.ask("GET", self._path() + "/actions", rows="actions", scope="droplet:read",
                           query={"per_page": 200}, none=404) or ()
        newest = {action["type"]: action["status"]
                  for action in sorted(actions, key=lambda action: action["id"])}
        kind = DROPLET_ACTIONS[verb]
        status = newest.get(kind, "unknown")
        if verb == "create":
            self.log("The droplet's creation is %s..." % status)
        if status == "errored" and verb == "create":
            self.remove()
            raise MachineError(
                "DigitalOcean could not create the droplet; it was removed.",
                "Try again, or another --digitalocean-region; see also " + self.status_page)
        if status == "errored":
            raise MachineError("DigitalOcean failed to do %s with the droplet %d." % (
                kind, self["DropletID"]), "Try again; see also " + self.status_page)
        return status != "in-progress"

    def finish(self):
        project = self["ProjectID"]
        if not project:
            return
        body = {"resources": ["do:droplet:%d" % self["DropletID"]]}
        for resource in self.ask("POST", "/v2/projects/%s/resources" % project, body, repeat=True,
                                 key="resources", scope="project:assign_resource"):
            if resource["status"] not in ("ok", "assigned", "already_assigned"):
                raise MachineError("The droplet could not be assigned to the project %s: %s." % (
                    project, resource["status"].replace("_", " ")))

    def delete(self):
        self._delete("droplet:delete", self._path())

    def delete_tagged(self):
        self._delete("droplet:delete, and tag:read", "/v2/droplets", tag_name=self["CreateTag"])
        self._delete("tag:delete", "/v2/tags/" + self["CreateTag"])

    # --- user data and keys

    def has_cloud_init(self):
        return self.look_up("image").get("distribution") not in (
            "Unknown", "Unknown OS", "CoreOS", "FreeBSD", "RancherOS")

    def needs_key(self):
        return super().needs_key() or self.look_up("image").get("type") == "custom"

    def account_key(self):
        key = self.look_up("ssh_key")
        return key["id"], key["name"], key["public_key"]

    def keys(self):
        keys = self._rows("/v2/account/keys", "ssh_keys", "ssh_key:read")
        return [(key["id"], key["name"], key["public_key"]) for key in keys]

    def add_key(self, name, public):
        return self.ask("POST", "/v2/account/keys", {"name": name, "public_key": public},
                        key="ssh_key", scope="ssh_key:create")["id"]

    def delete_key(self, key_id):
        self._delete("ssh_key:delete", "/v2/account/keys/%d" % key_id)

    # --- the API

    def _path(self):
        return "/v2/droplets/%d" % self["DropletID"]

    def following(self, answer):
        return ((answer.get("links") or {}).get("pages") or {}).get("next")

    def _rows(self, path, key, scope, **query):
        return self.ask("GET", path, query=dict(query, per_page=200), rows=key, scope=scope)

    def _delete(self, scope, path, **query):
        """Delete what may be gone already, and may be busy for a while."""
        self.ask("DELETE", path, query=query, scope=scope, none=404, wait=is_pending)


def is_pending(error):
    """Whether DigitalOcean refuses something until it has done something else."""
    return "pending" in error.words


# --- drivers by name

DRIVERS = {driver.name: driver for driver in (
    NoneDriver, GenericDriver, VirtualBoxDriver, DigitalOceanDriver)}  # type: dict
NO_DRIVERS = {"adopted", "certs", "change", "go_plugin", "share", "swarm"}  # in extras/
LOADING = RLock()  # one module for all threads; a driver may build on another one's file


def own_extras():
    return join(dirname(realpath(THIS_FILE)), "extras")


def driver_folders():
    """Where drivers lie that are not built in, in the order of search."""
    named = os.environ.get("MACHINE_DRIVER_PATH", "").split(os.pathsep)
    installed = [join(folder, "docker_machine_extras") for folder in sys.path]
    return [expanduser(folder) for folder in named if folder] + [own_extras()] + installed


def drivers_in(folder):
    """The names of the drivers in a folder, which may be one in a zip archive."""
    if isfile(dirname(folder)):
        return [module[1] for module in pkgutil.iter_modules([folder])]
    files = os.listdir(folder) if isdir(folder) else ()
    return [file[:-3] for file in files if file.endswith(".py") and isfile(join(folder, file))
            and file[0] not in "_-" and file[:-3].replace("-", "_").isidentifier()]


def driver_names():
    """All drivers that can be named here, sorted."""
    return sorted(set(DRIVERS).union(plugins(), *map(drivers_in, driver_folders())) - NO_DRIVERS)


def plugins():
    """{name: class} of Docker Machine's plugins on the PATH; none without extras/go_plugin.py."""
    return getattr(load_extra("go_plugin"), "plugins", dict)()


def load_driver(name):
    """The class of a driver: a built-in one, one in NAME.py of `driver_folders()`, or a plugin.
    Raises MachineError for one that is not there or does not load."""
    if name in DRIVERS:
        return DRIVERS[name]
    module = load_extra(name)
    for value in reversed(list((vars(module) if module else plugins()).values())):
        if isinstance(value, type) and issubclass(value, Driver) and value.name == name:
            return DRIVERS.setdefault(name, value)
    if module:
        raise unloadable(name, module.__file__, "there is no Driver of that name in it")
    hint = nearest(name, driver_names(), "Did you mean --driver %s?")
    raise MachineError('Driver "%s" not found.' % name, hint or (
        "Drivers here: %s. Another one is NAME.py in %s or in a folder of MACHINE_DRIVER_PATH, or "
        "docker-machine-driver-NAME on the PATH." % (", ".join(driver_names()), own_extras())))


def load_extra(name):
    """The module in NAME.py of `driver_folders()`, loaded once; None where there is none.
    Raises MachineError for one that does not load."""
    with LOADING:
        for folder in driver_folders():
            if name in drivers_in(folder):
                return sys.modules.get("docker_machine_driver_" + name) or _load(folder, name)


def need_extra(name, what):
    """The module in a file of extras/ that something needs. Raises MachineError."""
    module = load_extra(name)
    if not module:
        raise MachineError("%s needs the file extras/%s.py of docker-machine." % (what, name),
                           "Put it into %s, or into a folder of MACHINE_DRIVER_PATH."
                           % own_extras())
    return module


def _load(folder, name):
    """The module of a file, which may import this very module as docker_machine, whatever its name
    is here."""
    from importlib.machinery import PathFinder
    spec = PathFinder.find_spec(name, [folder])  # type: typing.Any
    module = type(sys)("docker_machine_driver_" + name)
    module.__file__ = spec.origin
    before = sys.modules.get("docker_machine")
    sys.modules["docker_machine"] = sys.modules[__name__]
    try:
        exec(spec.loader.get_code(name), vars(module))
        sys.modules[module.__name__] = module
        return module
    except (Exception, SystemExit) as error:
        raise unloadable(name, spec.origin, "%s: %s" % (type(error).__name__, error)) from error
    finally:
        sys.modules["docker_machine"] = before or sys.modules[__name__]


def unloadable(name, path, words):
    return MachineError(
        'The driver "%s" in %s cannot be loaded: %s' % (name, path, plain_words(words).rstrip(":")),
        "Take a newer one, of the same release as docker_machine.py, or fix that file.")


# === 12. Store and Machine ========================================================================

CONFIG_VERSION = 3
CLIENT_FILES = {  # what docker looks for in DOCKER_CERT_PATH, and the modes of the files
    "ca.pem": 0o644, "cert.pem": 0o644, "key.pem": 0o600}
ENGINE_OPTIONS = {
    "ArbitraryFlags": [], "Dns": None, "GraphDir": "", "Env": [], "Ipv6": False,
    "InsecureRegistry": [], "Labels": [], "LogLevel": "", "StorageDriver": "",
    "SelinuxEnabled": False, "TlsVerify": True, "RegistryMirror": [],
    "InstallURL": DEFAULT_INSTALL_URL,
}  # type: dict
OWN_SWARM = "nodes://"  # the discovery by the machines that a store knows
SWARM_OPTIONS = {
    "IsSwarm": False, "Address": "", "Discovery": "", "Agent": False, "Master": False,
    "Host": "tcp://0.0.0.0:3376", "Image": "swarm:latest", "Strategy": "spread",
    "Heartbeat": 0, "Overcommit": 0, "ArbitraryFlags": [], "ArbitraryJoinFlags": [],
    "Env": None, "IsExperimental": False,
}  # type: dict
KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a plain text",
         list: "a list of texts", dict: "an object"}  # type: dict


def check_settings(values, defaults, folder):
    """Refuse settings of a machine's config.json whose types are not those of their defaults. An
    object that is missing becomes its default. Raises MachineError."""
    for key, default in defaults.items():
        value = values.get(key)
        if isinstance(default, dict) and not value:
            values[key] = value = default
        if value is None or default is None:
            continue
        kind, texts = KINDS[type(default)], value if isinstance(value, list) else ()
        fits = KINDS[type(value)] == kind and all(isinstance(text, str) for text in texts)
        if fits and key in ("IPAddress", "MachineName", "SSHUser", "SSHKeyPath"):
            # None may start an option of ssh, or a line of its files.
            fits = is_line(value) and not value.startswith("-")
        if not fits:
            raise MachineError('config.json cannot be used: "%s" is %s, which is not %s.' % (
                key, json_text(value), kind), "Fix %s." % join(folder, "config.json"))
        if isinstance(default, dict):
            check_settings(value, default, folder)


def is_plain_name(name):
    """Whether `name` can be a folder directly under machines/ (and nothing else)."""
    return name[:1] not in ("", ".", "-") and not set(name) & set("/\\") and is_line(name)


def check_new_name(name):
    """Refuse a machine name that Docker Machine or DNS would not take. Raises MachineError."""
    form = r"[0-9A-Za-z][0-9A-Za-z-]{0,62}(\.[0-9A-Za-z-]{1,63})*"
    if len(name) > 253 or not re.fullmatch(form, name):
        hint = "Choose another name than %r, with 1 to 63 characters in each part between dots."
        if ".." in name:  # as tcsh does it
            hint = "If your shell made %r of braces, quote them: 'web-{1..5}'"
        raise MachineError("Error creating machine: Invalid hostname specified. Allowed hostname "
                           "chars are: 0-9a-zA-Z . -", hint % name)


def hide_secrets(flags, values, key="name"):
    """Let the values of secret flags, which stand under this `key` of each flag, never be printed;
    short ones would hide too much."""
    secret = [(values.get(getattr(flag, key)) or "").strip() for flag in flags if flag.secret]
    out.secrets.update(value for value in secret if len(value) > 5)


def stored_pair(cert, key):
    """A property of Machine: the Pair whose paths "AuthOptions" has under these keys."""
    return property(lambda machine: Pair(machine.auth[cert], machine.auth[key]))


# --- what other programs are told of machines: contexts of docker, Hosts of ssh

CONTEXT_MARK = "docker-machine"  # in a context's "Metadata": the folder of its machine


class DockerContext:
    """The docker context of a machine, in the files of docker's own command line, which need not be
    there: https://docs.docker.com/engine/manage-resources/contexts/"""

    def __init__(self, folder, name):
        self.mark = folder
        self.name = name if len(name) > 1 and name != "default" else "docker-machine-" + name
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        self.docker = os.environ.get("DOCKER_CONFIG") or join(expanduser("~"), ".docker")
        self.meta = join(self.docker, "contexts", "meta", digest)
        self.tls = join(self.docker, "contexts", "tls", digest)
        self.config = join(self.docker, "config.json")
        self.lock = Lock(join(self.docker, "docker-machine.lock"), "docker's folder " + self.docker)

    def owner(self):
        """The folder of the machine that it is of; "" if it is not of any; None if it is not there.
        """
        try:
            found = parse_json(read_text(join(self.meta, "meta.json")))["Metadata"]
            return str(found.get(CONTEXT_MARK) or "")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return ""

    def is_ours(self):
        return self.owner() == self.mark

    def check_owner(self):
        """Refuse to touch a context of somebody else's. Raises MachineError."""
        if self.owner() not in (None, self.mark):
            raise MachineError('The docker context "%s" exists, and is not of this machine.' %
                               self.name, "Remove it: docker context rm " + quote(self.name))

    def write(self, url, files):
        """Make it, or make it anew. `files`: those of TLS, as tls_files() has them. Certificates
        come first and meta.json last, since docker fails over what is half there."""
        folder = join(self.tls, "docker")
        meta = {"Name": self.name, "Metadata": {"Description": "Machine " + basename(self.mark),
                                                CONTEXT_MARK: self.mark},
                "Endpoints": {"docker": {"Host": url, "SkipTLSVerify": False}}}
        with self.lock:
            self.check_owner()
            if files:
                make_folder(folder)
                write_all([(join(folder, name), read_bytes(file), 0o600)
                           for file, name in zip(files, CLIENT_FILES)])
            else:
                shutil.rmtree(self.tls, ignore_errors=True)
            os.makedirs(self.meta, exist_ok=True)
            write_atomic(join(self.meta, "meta.json"), go_json(meta, None), 0o644)

    def remove(self):
        """Remove it if it is ours; whether it was. Where it was in use, "default" is then."""
        if not self.is_ours():
            return False
        with self.lock:
            if self.settings().get("currentContext") == self.name:
                self.choose("")
            for folder in (self.meta, self.tls):
                shutil.rmtree(folder, ignore_errors=True)
        return True

    def use(self):
        """Let docker commands without another word go to it; tell what counts before it."""
        with self.lock:
            self.choose(self.name)
        for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
            if os.environ.get(name, "") not in ("", self.name):
                out.warn("%s is set in this shell and counts before it; type: unset %s" % (
                    name, name))

    def settings(self):
        """docker's config.json. Raises MachineError for one that docker could not read either."""
        try:
            return {**parse_json(read_text(self.config))}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise MachineError("%s cannot be used: %s" % (self.config, error), "Fix it.")

    def choose(self, name):
        """Put a context's name into config.json, where others keep settings as well."""
        settings = self.settings()
        settings["currentContext"] = name
        if not name:
            del settings["currentContext"]
        write_through(self.config, go_json(settings, "\t"))


def ssh_blocks(store, names):
    """The Host block of each machine, or the exception of one that ssh cannot reach."""
    return [_outcome(lambda one: store.machine(one).driver.ssh().config_block(one), name)
            for name in names]


def write_ssh_config(store):
    """Put all machines that ssh can reach into the store's file. Raises MachineError."""
    blocks = ssh_blocks(store, store.names())
    write_atomic(store.ssh_config, "\n".join(one for one in blocks if isinstance(one, str)))


def edit_user_ssh_config(line, there):
    """Make `line` the first one of ~/.ssh/config, since one below a Host would count for that host
    alone, or take it out."""
    path = join(expanduser("~"), ".ssh", "config")
    before = read_text(path) if exists(path) else ""
    lines = [one for one in before.splitlines(True) if one.strip() != line]
    text = "".join([line + "\n"] * there + lines)
    if text != before:
        make_folder(dirname(path))
        write_through(path, text)


# --- a machine

TURNS = {  # verb -> what is said before and after it, and the state that it leads to
    "start": ("Starting", "started", RUNNING), "stop": ("Stopping", "stopped", STOPPED),
    "kill": ("Killing", "killed", STOPPED), "pause": ("Pausing", "paused", PAUSED),
}


class Machine:
    """One machine: its config.json, its driver, and what is done with both."""

    ca = stored_pair("CaCertPath", "CaPrivateKeyPath")
    client = stored_pair("ClientCertPath", "ClientKeyPath")
    server_pair = stored_pair("ServerCertPath", "ServerKeyPath")
    take_over = False  # whether it may have an engine that other clients use
    has_context = False  # whether it is to get a docker context when it is made
    draft, dropped = None, ()  # type: typing.Any, tuple

    def __init__(self, store, name, config, driver_class=None):
        self.store, self.name, self.config = store, name, config
        self.folder = store.folder(name)
        self.driver_name = config.get("DriverName") or ""
        options = config["HostOptions"]
        self.engine, self.swarm = options["EngineOptions"], options["SwarmOptions"]
        self._driver = driver_class and driver_class(self)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for part in (self._driver, self.draft):
            if part:
                part.close()

    @property
    def driver(self):
        """The Driver, loaded on first use. Raises MachineError if there is none of that name."""
        if self._driver is None:
            driver_class, settings = load_driver(self.driver_name), self.config["Driver"]
            check_settings(settings, {flag.field: flag.default for flag in driver_class.flags},
                           self.folder)
            self._driver = driver_class(self)
            hide_secrets(driver_class.flags, settings, "field")
        return self._driver

    @property
    def auth(self):
        """"AuthOptions"; what is empty there gives way to the store's own files."""
        stored = self.config["HostOptions"]["AuthOptions"]
        return dict(self.store.auth_options(self.name),
                    **{key: value for key, value in stored.items() if value})

    def tls_files(self):
        """The CA, and the client's certificate and key, that its engine is asked with."""
        return self.ca.cert, self.client.cert, self.client.key

    def docker(self, url=""):
        """Its Engine, or what is at another URL of the machine. Raises MachineError."""
        return url == "" and self.driver.engine() or Engine(
            url or self.driver.engine_url(), self.auth, self.name)

    def engine_version(self, seconds=20):
        """The version of the running engine, asked over TLS. Raises MachineError: "Host is not
        running", or what is wrong with the connection."""
        try:
            engine = self.docker()
            out.hear("Waiting for the engine at %s..." % engine.url)
            return engine.version(seconds)
        except Unreachable as error:
            self.driver.get_url()  # says so if the machine is off
            error.hint = error.hint or "Start the engine there, or look into its log."
            if self.driver.provisions:
                error.hint = "Fix it, or see why: docker-machine provision " + quote(self.name)
            raise

    def save(self):
        write_atomic(join(self.folder, "config.json"), go_json(self.config))

    def context(self):
        return DockerContext(self.folder, self.name)

    def write_context(self):
        """Make its docker context, or make it anew. Raises MachineError."""
        url = self.driver.engine_url()
        by_tls = url.startswith("tcp://") and not self.driver.engine()
        self.context().write(url, self.client_files() if by_tls else [])

    def mark(self, step):
        """Note in the machine's folder which step is under way ("" when all is done)."""
        path = join(self.folder, "incomplete")
        if step:
            write_atomic(path, step)
        elif exists(path):
            os.unlink(path)

    def unfinished(self):
        """The step that an earlier command did not finish, or ""."""
        return self.store.unfinished(self.name)

    def pre_create_check(self):
        """The driver's check, and ours where the host can be asked already. Changes nothing."""
        with stage("Error with pre-create check: "):
            try:
                self.store.check_writable()
                need("openssl")
                if self.driver.provisions:
                    need("ssh")
                    # Certificates are made while the driver looks at the host.
                    names = self.server_names() if self.driver.get("IPAddress") else []
                    self.draft = Draft(self.ca, self.client, self.server_pair, names, self.name)
                self.driver.pre_create_check()
                facts = self.driver.known_facts()
                if facts:
                    self._check_owner(facts)
                    self._check_host(facts)
            except MachineError as error:
                raise PreCreateError(json_text(error.message), error.hint)

    def _check_owner(self, facts):
        """Refuse a host whose engine trusts another CA. Raises MachineError."""
        if not facts.ca or self.take_over:
            return
        with Scratch() as folder:
            theirs = join(folder, "ca.pem")
            write_atomic(theirs, facts.ca + "\n")
            if exists(self.ca.cert) and not certificate_problem(theirs, self.ca.cert):
                return
        raise MachineError(
            "The engine of %s is another store's: it trusts a CA that this store does not have, "
            "and those who use it would be locked out." % self.driver.get_ip(),
            "If it may be taken from them: --engine-take-over")

    def _check_host(self, facts):
        if not facts.checked:
            check_host(self._plan(facts), self.unfinished() or not exists(self.folder))
            facts.checked = True

    def bootstrap_certificates(self, renew=False):
        there = self.client.complete() and isfile(self.ca.cert)
        if self.driver.provisions or renew or not there:
            bootstrap_certificates(self.store.certs, self.ca, self.client, renew, self.draft)

    def create(self):
        """Make and provision the machine. Its entry is saved before and after the driver works, so
        that a kill at any moment leaves what `rm` removes and `provision` completes."""
        self.bootstrap_certificates()
        out.say("Creating machine...")
        with stage("Error saving host to store before attempting creation: "):
            self.store.add(self)
        try:
            self.provision(bootstrapped=True)
        except PreCreateError:  # the provider refused before anything was made
            self.store.delete(self.name)
            raise

    def provision(self, renew_server=False, upgrade=False, bootstrapped=False):
        """Bring the host to the stored options, from the driver's work on if that is not done yet;
        do nothing there if it is so already."""
        self.driver.check_provision()
        step, provisions = self.unfinished(), self.driver.provisions
        if not bootstrapped:
            self.bootstrap_certificates()
        with stage("Error creating machine: " if step == "create" else ""):
            if step == "create":
                self._create_by_driver()
            elif provisions and type(self.driver).start is not Driver.start:
                self._wake(step)
            if provisions:
                self._provision(renew_server, upgrade)
        self.copy_client_certificates()
        self.save()
        self.mark("")
        self.store.tell_others(self.name)
        if step and provisions:
            out.say("Docker is up and running!")
        if step:
            out.say("To see how to connect your Docker Client to the Docker Engine running on this "
                    "virtual machine, run: docker-machine env " + self.name)

    def _create_by_driver(self):
        try:
            with stage("Error in driver during machine creation: "):
                self.driver.create()
        finally:
            with stage("Error saving host to store after attempting creation: "):
                self.save()
        self.mark("provision")

    def _wake(self, unfinished):
        """Start a machine that went off half-made; any other must be running."""
        state = self.driver.get_state()
        if state == RUNNING:
            return
        if not unfinished:
            raise MachineError('Machine "%s" is not running, but %s.' % (self.name, state),
                               "Start it: docker-machine start " + self.name)
        self.driver.start()
        self._reach(RUNNING)

    def _provision(self, renew_server, upgrade):
        facts, row = self._detect(self.driver.boot_seconds)
        with stage("Error running provisioning: "):
            self._check_host(facts)
            self.save()  # it may have taken over options
            out.say("Provisioning with %s..." % row[0])
            out.say("Copying certs to the local machine directory...")
            self.copy_client_certificates()
            certificates = self._server_certificates(renew_server)
            ssh, url, bundle = self.driver.ssh(), self.engine.get("InstallURL") or "", ""
            if url.startswith("file://") and not facts.engine:
                bundle = upload_bundle(ssh, file_of_url(url))
            script = self._plan(facts, upgrade).script(certificates, bundle)
            changed = run_as_root(ssh, facts, script, PROVISION_SECONDS)
            if not changed:
                self.driver.log("Everything is in place; the engine was not restarted.")
        with stage("Error checking the host: "):
            self._check_connection()
        if self.swarm.get("Master") or self.swarm.get("Agent"):
            out.say("Configuring swarm...")
            with stage("Error configuring swarm: "):
                check_swarm_api(self.docker(), self.swarm.get("Image") or "")
                self.settle_swarm(changed)
            self.store.tell_masters(self.name)
        if self.swarm.get("Mode"):
            need_extra("swarm", "Swarm mode").enter(self)

    def _detect(self, seconds):
        """Wait until ssh answers and find out what the host is: (facts, row of PROVISIONERS)."""
        with stage("Error detecting OS: "):
            out.say("Waiting for SSH to be available...")
            try:
                facts = probe(self.driver.ssh(), seconds, self.driver.check_boot)
            except SSHError as error:
                if seconds:
                    error.hint = "Its state is %s. %s\nGo on when it has booted: docker-machine " \
                        "provision %s" % (self.driver.get_state(), error.hint, self.name)
                raise
            out.say("Detecting the provisioner...")
            return facts, facts.provisioner()

    def turn(self, verb):
        """start, stop, kill or pause it. Raises MachineError, also if it is so already."""
        doing, done, goal = TURNS[verb]
        out.say('%s "%s"...' % (doing, self.name))
        if verb == "start" and self.unfinished() == "create":
            raise MachineError('Machine "%s" was not finished.' % self.name,
                               "Finish it: docker-machine provision " + self.name)
        state = self.driver.get_state()
        if state == goal:
            raise MachineError('Machine "%s" is already %s.' % (self.name, state.lower()))
        if goal == PAUSED and state != RUNNING:
            raise MachineError('Machine "%s" is not running, but %s.' % (self.name, state))
        getattr(self.driver, verb)()
        self._reach(goal)
        out.say('Machine "%s" was %s.' % (self.name, done))
        if goal == RUNNING:
            self._after_boot()

    def restart(self):
        out.say('Restarting "%s"...' % self.name)
        state = self.driver.get_state()
        if state in (STOPPED, PAUSED, SAVED):
            return self.turn("start")
        if state == RUNNING:
            self.driver.restart()
        self._reach(RUNNING)
        self._after_boot()

    def upgrade(self):
        """Bring the engine to the newest release that its package source and the pinned
        --engine-version allow."""
        self.driver.check_provision()
        if not self.driver.provisions:
            raise MachineError("hosts without a driver cannot be upgraded")
        if self.driver.get_state() != RUNNING:
            out.say("Starting machine so machine can be upgraded...")
            self.turn("start")
        try:
            before = self.engine_version()
        except Unreachable:
            before = ""  # an upgrade may fix it
        if self.driver.upgrade():
            self.save()
            self._after_boot()
        else:
            self.provision(upgrade=True)
        after = self.engine_version()
        self.driver.log("Docker Engine %s is up to date." % after if before in ("", after)
                        else "Docker Engine %s was upgraded to %s." % (before, after))

    def _reach(self, state):
        """Wait for a state; what the driver stored on the way is saved."""
        wait_for(lambda: self.driver.get_state() == state, 180,
                 'Machine "%s" did not come to the state %s within 180 s.' % (self.name, state),
                 self.driver.poll_seconds, self.driver.poll_seconds / 10)
        self.save()

    def _after_boot(self):
        """Wait for ssh and the engine; the certificate follows an address that changed."""
        if not self.driver.provisions:
            return
        seconds = max(self.driver.boot_seconds, 90)
        self._detect(seconds)
        self.store.tell_others(self.name)
        if self._server_fits():
            self._check_connection(seconds)
            return self.swarm.get("Node") and need_extra("swarm", "Swarm mode").after_boot(self)
        self.driver.log("Its certificate does not fit any more (another address, or near its end).")
        self.provision()

    def _stale_copies(self):
        """(source, copy, mode) of the client's files whose copies are missing or differ."""
        for source, (name, mode) in zip(self.tls_files(), CLIENT_FILES.items()):
            target = join(self.folder, name)
            if not isfile(target) or read_text(target) != read_text(source):
                yield source, target, mode

    def copy_client_certificates(self):
        """Refresh what `env` points the docker client to."""
        for source, target, mode in self._stale_copies():
            copy_file(source, target, mode)

    def client_files(self):
        """What docker is to use: the machine's copies, or, where those are not the same, the files
        that "AuthOptions" name."""
        if any(self._stale_copies()):
            return list(self.tls_files())
        return [join(self.folder, name) for name in CLIENT_FILES]

    def server_names(self):
        """What the server certificate must be valid for, without repeats."""
        return list(dict.fromkeys(
            [*self.auth["ServerCertSANs"], self.driver.get_ip(), "localhost", self.name]))

    def _server_fits(self):
        return server_pair_fits(self.server_pair, self.ca.cert, self.server_names(),
                                self.swarm.get("Master"))

    def _server_certificates(self, renew):
        """The PEM texts for the host; a server certificate that fits is kept unless `renew`."""
        ca, server, names = self.ca, self.server_pair, self.server_names()
        if renew or not self._server_fits():
            drafted = self.draft and self.draft.names == names and not self.swarm.get("Master")
            if not (drafted and self.draft.take(server, ca)):
                issue_server(server, ca, self.name, names, self.swarm.get("Master"))
        return {"CA": read_text(ca.cert), "CERT": read_text(server.cert),
                "KEY": read_text(server.key)}

    def _plan(self, facts, upgrade=False):
        url = join_url(self.driver.get_ip(), self.driver.listen_port())
        plan = Plan(facts, self.engine, self.name, self.driver_name, url, upgrade)
        plan.dropped = self.dropped
        return plan

    def engine_files(self, dockerd, listen, containerd=""):
        """What sets the engine up before its first start, {path: (mode, text)}, for a driver that
        writes the disk itself. `dockerd`, `listen` (fd:// or a socket) and `containerd` are as in
        the unit on that disk."""
        return self._plan(Facts(init="systemd")).first_files(
            self._server_certificates(False), dockerd, listen, containerd)

    def _check_connection(self, seconds=10):
        """See that the engine answers over TLS from here; else tell a firewall from a crash."""
        out.say("Checking connection to Docker...")
        engine, failures = self.docker(), []

        def answers():
            try:
                return engine.version()
            except Unreachable as error:
                failures.append(error)

        if wait_for(answers, max(seconds, self.driver.boot_seconds / 6), ""):
            return
        try:
            state = "\n" + self.driver.ssh().run("sh -s", ENGINE_REPORT_SH, 15).stdout.rstrip()
        except MachineError:
            state = ""
        hint = "Look into the engine's log: docker-machine ssh %s sudo journalctl -u docker" % (
            self.name)
        if "Active: active" in state:
            state, hint = "", "It runs on the host. Open TCP port %d in the firewall or security " \
                "group, then: docker-machine provision %s" % (engine.port, self.name)
        raise MachineError("the engine at %s does not answer: %s%s" % (
            engine.url, failures[-1].message, state), hint)

    def swarm_url(self):
        """Where the manager of a standalone Swarm listens on this machine. Raises MachineError."""
        if not self.swarm.get("Master"):
            raise MachineError('"%s" is not a swarm master. The --swarm flag is intended for use '
                               "with swarm masters" % self.name)
        return join_url(split_url(self.driver.engine_url())[0],
                        split_url(self.swarm.get("Host") or "", 3376)[1])


    def settle_swarm(self, restart=False):
        """Bring its containers of a standalone Swarm to what is stored. Raises MachineError."""
        engine = self.docker()
        system = str(engine.call("GET", "/info").get("OperatingSystem"))
        folder = "/var/lib/boot2docker" if system.startswith("Boot2Docker") else "/etc/docker"

        def containers():
            discovery = self.swarm.get("Discovery") or ""
            if discovery == OWN_SWARM:
                discovery += ",".join(agent.driver.engine_url()[len("tcp://"):]
                                      for agent in self.store.own_swarm("Agent"))
            return swarm_containers(self.swarm, self.engine.get("Env") or (), folder,
                                    engine.host, engine.port, discovery).items()

        for _, wanted in containers():
            pull_image(engine, wanted["Image"])
        with Lock(join(self.store.path, "locks", ".swarm"), "The Swarm", 600):
            for name, wanted in containers():
                settle_container(engine, name, wanted, restart)


class Store:
    """The folder that holds everything: certs/, machines/NAME/, locks/."""

    def __init__(self, path):
        self.path = abspath(path)
        self.certs = join(self.path, "certs")
        self.machines = join(self.path, "machines")

    @property
    def ssh_config(self):
        """The file of ours in ~/.ssh, where a name without a folder is enough to include it."""
        return join(expanduser("~"), ".ssh", "docker-machine-%08x.conf" % (
            binascii.crc32(os.fsencode(self.path)) & 0xffffffff))

    def folder(self, name):
        return join(self.machines, name)

    def names(self):
        """All machines, in byte order, broken ones too."""
        try:
            names = sorted(filter(is_plain_name, os.listdir(self.machines)))
        except FileNotFoundError:
            return []
        # Also a link in a loop, or into a closed folder: whoever loads it is told.
        return [name for name in names if not isfile(self.folder(name))]

    def drivers(self):
        """The "Driver" objects of all machines that can be read."""
        machines = [_outcome(self.machine, name) for name in self.names()]
        return [machine.config["Driver"] for machine in machines if isinstance(machine, Machine)]

    def check_writable(self):
        """Refuse a store that nothing can be written to, while nothing is there yet: a few blocks
        are written where it is to be, and are gone at once. Raises MachineError."""
        folder = self.path
        while not os.path.lexists(folder):
            folder = dirname(folder)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(65536))
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot("write" if isdir(folder) else "create", self.path, error)

    def exists(self, name):
        return is_plain_name(name) and os.path.lexists(self.folder(name))

    def unfinished(self, name):
        try:
            return read_text(join(self.folder(name), "incomplete")).strip()
        except OSError:
            return ""

    def lock(self, name):
        return Lock(join(self.path, "locks", name), 'Machine "%s"' % name)

    def auth_options(self, name):
        """"AuthOptions" of a machine with the store's own certificates."""
        folder, certs = self.folder(name), self.certs
        return {
            "CertDir": certs, "CaCertPath": join(certs, "ca.pem"),
            "CaPrivateKeyPath": join(certs, "ca-key.pem"), "CaCertRemotePath": "",
            "ServerCertPath": join(folder, "server.pem"),
            "ServerKeyPath": join(folder, "server-key.pem"),
            "ClientKeyPath": join(certs, "key.pem"), "ServerCertRemotePath": "",
            "ServerKeyRemotePath": "", "ClientCertPath": join(certs, "cert.pem"),
            "ServerCertSANs": [], "StorePath": folder,
        }

    def fresh_config(self, name, driver_class=Driver):
        """The config.json of a machine that is yet to be described."""
        return {
            "ConfigVersion": CONFIG_VERSION,
            "Driver": dict(driver_class.defaults(), MachineName=name, StorePath=self.path),
            "DriverName": driver_class.name,
            "HostOptions": {"Driver": "", "Memory": 0, "Disk": 0,
                            "EngineOptions": dict(ENGINE_OPTIONS),
                            "SwarmOptions": dict(SWARM_OPTIONS),
                            "AuthOptions": self.auth_options(name)},
            "Name": name}

    def new(self, name, driver_class):
        """A Machine that is not saved yet."""
        return Machine(self, name, self.fresh_config(name, driver_class), driver_class)

    def no_such(self, name):
        return MachineError(
            'Docker machine "%s" does not exist. Use "docker-machine ls" to list machines. '
            'Use "docker-machine create" to add a new one.' % name, nearest(name, self.names()))

    def machine(self, name):
        """The Machine of that name, `with store.machine(name) as machine:`; an old config.json is
        migrated and saved. Raises MachineError."""
        if not self.exists(name):
            raise self.no_such(name)
        path = join(self.folder(name), "config.json")
        hint = "The entry is broken; remove it: docker-machine rm -f " + quote(name)
        try:
            text = read_text(path)
            config = parse_json(text)
            if not isinstance(config, dict):
                raise ValueError("not an object")
        except FileNotFoundError:
            raise MachineError("open %s: no such file or directory" % path, hint)
        except OSError as error:
            raise cannot("read", path, error)
        except (ValueError, RecursionError) as error:
            if '"Driver' in text:
                hint = "Fix %s; which machine it is about is under \"Driver\"." % path
            raise MachineError("Error getting migrated host: %s" % error, hint)
        with stage("Error getting migrated host: "):
            current = self._current(config, name)
        machine = Machine(self, name, current)
        if config.get("ConfigVersion") != CONFIG_VERSION:
            write_atomic(path + ".bak", text)  # the very bytes: read_text keeps them all
            machine.save()
        return machine

    def _current(self, config, name):
        """A config.json of this or another store, checked, in the shape of version 3."""
        fresh = self.fresh_config(name)
        check_settings(config, fresh, self.folder(name))
        version = config.get("ConfigVersion") or 0
        if version > CONFIG_VERSION:
            raise MachineError("config version is from the future -- you should upgrade your "
                               "Docker Machine client")
        config = self._relocated(config, name)
        if version < CONFIG_VERSION:
            config = migrate(config, self.fresh_config(name))
            check_settings(config, fresh, self.folder(name))
        settings = config["Driver"]
        settings["MachineName"] = settings.get("MachineName") or name
        config["Name"] = name
        return config

    def _relocated(self, config, name):
        """A config.json whose paths point into this store, wherever it was before."""
        old = str(config.get("StorePath") or config["Driver"].get("StorePath") or "")
        tail = join(os.sep, "machines", name)
        if old.endswith(tail) and old != self.path:  # as versions 0 to 2 have it
            old = old[:-len(tail)]
        if not os.path.isabs(old) or abspath(old) in (self.path, os.sep):
            return config
        start = r"(?<!\\)" + re.escape(json_text(old.rstrip(os.sep))[:-1])
        new = json_text(self.path)[:-1]
        return parse_json(re.sub(start + r'(?=["/\\])', lambda found: new, json_text(config)))

    def add(self, machine):
        """Save a new machine: its folder appears at once with its config.json in it."""
        make_folder(self.machines)
        clear_leftovers(self.machines, ".new-")
        temporary = join(self.machines, ".new-" + machine.name)
        try:
            make_folder(temporary)
            write_atomic(join(temporary, "config.json"), go_json(machine.config))
            write_atomic(join(temporary, "incomplete"), "create")
            os.rename(temporary, machine.folder)
        except OSError as error:
            raise cannot("create", machine.folder, error)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def delete(self, name):
        """Delete the entry of a machine. Raises MachineError."""
        path = self.folder(name)
        try:
            (shutil.rmtree if isdir(path) and not os.path.islink(path) else os.unlink)(path)
        except OSError as error:
            raise cannot("delete", path, error)


    def own_swarm(self, role):
        """The machines that are "Agent" or "Master" in the Swarm of those that this store knows."""
        def fits(name):
            machine = self.machine(name)
            return (machine.swarm.get(role) and machine.swarm.get("Discovery") == OWN_SWARM
                    and machine.driver.get("IPAddress") and machine)

        found = [_outcome(fits, name) for name in self.names()]
        return [machine for machine in found if isinstance(machine, Machine)]

    def tell_masters(self, name):
        """Tell the masters of that Swarm that a machine came or went. Trouble is only told."""
        for master in self.own_swarm("Master"):
            if master.name != name and not master.unfinished():
                try:
                    master.settle_swarm()
                except (MachineError, OSError) as error:
                    out.warn("%s, a master of the Swarm, was not told of %s: %s\nTell it: "
                             "docker-machine provision %s" % (
                                 master.name, name, error, quote(master.name)))

    def tell_others(self, name):
        """Bring what other programs know of a machine up to date where that was asked for once: its
        docker context, and the store's file for ssh. Trouble is only told, since what was done to
        the machine is done."""
        context = DockerContext(self.folder(name), name)
        try:
            if not self.exists(name):
                context.remove()
            elif context.is_ours():
                self.machine(name).write_context()
            if exists(self.ssh_config):
                write_ssh_config(self)
        except (MachineError, OSError) as error:
            out.warn("docker's context of it, or ssh's settings, may be old: %s" % error)


def migrate(config, fresh):
    """A config.json of version 0, 1 or 2 in the shape of version 3, which `fresh` has."""
    old, options = dict(config["HostOptions"]), fresh["HostOptions"]
    if not config.get("ConfigVersion"):
        old["AuthOptions"] = config
        old["SwarmOptions"] = {key: config.get("Swarm" + key)
                               for key in ("Discovery", "Host", "Master")}
    auth = old["AuthOptions"]
    auth["CaPrivateKeyPath"] = auth.get("PrivateKeyPath") or auth.get("CaPrivateKeyPath")
    if not old["SwarmOptions"].get("Host"):
        old["SwarmOptions"].pop("Host", None)
    for part in ("EngineOptions", "SwarmOptions"):
        options[part].update((key, value) for key, value in old[part].items() if value is not None)
    options["AuthOptions"].update(
        (key, value) for key, value in auth.items()
        if value and key in options["AuthOptions"] and key not in ("CertDir", "StorePath"))
    settings = dict(config["Driver"], StorePath=fresh["Driver"]["StorePath"])
    return dict(fresh, Driver=settings, DriverName=config.get("DriverName") or "")


# === 13. Shells and formats =======================================================================

class Shell:
    """How a shell sets and unsets a variable, and how it runs what `env` prints.

    `escape` are pairs to replace in a value, in this order, `hint_escape` those in the command of
    the hint; `frames` are the lines before and after those that set, and those that unset;
    `word_quote` is a quotation mark for words of commands, and what stands for it within.
    """

    escape = hint_escape = ()  # type: tuple
    frames, word_quote = ([], [], [], []), ("'", "'\\''")  # type: tuple, tuple

    def __init__(self, set_line, unset_line, comment, usage, **others):
        self.set_line, self.unset_line, self.comment = set_line, unset_line, comment
        self.usage = self.unset_usage = usage
        vars(self).update(others)

    def lines(self, values):
        """The lines that set {name: value}, and unset those whose value is None."""
        before, after = self.frames[:2]
        if set(values.values()) == {None}:
            before, after = self.frames[2:]
        elif before:  # data cannot unset
            values = {name: value or "" for name, value in values.items()}
        return before + [self.line(*item) for item in values.items()] + after

    def line(self, name, value):
        if value is None:
            return self.unset_line.replace("%s", name)
        return self.set_line % (name, replaced(value, self.escape))

    def hint(self, words, unset=False):
        """The comment that says how to run the command line `words`."""
        mark, escaped = self.word_quote
        words = [word if quote(word) == word else mark + word.replace(mark, escaped) + mark
                 for word in words]
        # It stays one comment line, whatever an editor or a shell takes for the end of one.
        command = printable(" ".join(words))
        usage = self.unset_usage if unset else self.usage
        return [self.comment + " Run this command to configure your shell: ",
                self.comment + " " + usage % replaced(command, self.hint_escape)]


def replaced(text, pairs):
    for old, new in pairs:
        text = text.replace(old, new)
    return text


BACKSLASH = ("\\", "\\\\"), ('"', '\\"')
POSIX_SHELL = Shell('export %s="%s"', "unset %s", "#", "eval $(%s)", escape=BACKSLASH + (
    ("$", "\\$"), ("`", "\\`"),
    # What an eval without quotes would expand or join stands outside the quotes, or between two.
    ("  ", ' "" '), ("  ", ' "" '), ("*", '"*"'), ("?", '"?"'), ("[", '"["')))
SHELLS = {
    "fish": Shell('set -gx %s "%s";', "set -e %s;", "#", "eval (%s)",
                  escape=BACKSLASH + (("$", "\\$"),)),
    "powershell": Shell('$Env:%s = "%s"', "Remove-Item Env:\\\\%s", "#", "& %s | Invoke-Expression",
                        escape=(("`", "``"), ('"', '`"'), ("$", "`$"), ("\u201c", "`\u201c"),
                                ("\u201d", "`\u201d"), ("\u201e", "`\u201e")),
                        word_quote=("'", "''")),
    "cmd": Shell("SET %s=%s", "SET %s=", "REM", "\t@FOR /f \"tokens=*\" %%i IN ('%s') DO @%%i",
                 word_quote=('"', '""')),
    "tcsh": Shell('setenv %s "%s";', "unsetenv %s;", ":", "eval `%s`",
                  escape=(('"', '"\\""'), ("$", '"\\$"'), ("`", '"\\`"'), ("!", "\\!"),
                          ("  ", ' "" '), ("  ", ' "" ')),
                  hint_escape=(("!", "\\!"),)),  # it expands ! in comments and quotes too
    "emacs": Shell('(setenv "%s" "%s")', '(setenv "%s" nil)', ";;", "(with-temp-buffer "
                   '(shell-command "%s" (current-buffer)) (eval-buffer))',
                   escape=BACKSLASH, hint_escape=BACKSLASH),
    # xonsh expands $ in the variables that it takes for paths, unless they are declared as text.
    "xonsh": Shell('${...}.register("DOCKER_CERT_PATH", type="str"); $%s = "%s"',
                   'if "%s" in ${...}: del $%s', "#", "execx($(%s))",
                   escape=BACKSLASH, word_quote=("'", "'\"'\"'")),
    # nushell evaluates no text, but loads data.
    "nu": Shell('  "%s": "%s"', '  "%s"', "#", "%s | from nuon | load-env", escape=BACKSLASH,
                unset_usage="hide-env -i ...(%s | from nuon)", frames=(["{"], ["}"], ["["], ["]"])),
}
SHELLS.update(pwsh=SHELLS["powershell"], csh=SHELLS["tcsh"], nushell=SHELLS["nu"])
POSIX_SHELLS = ("sh", "bash", "zsh", "dash", "ksh", "ash", "busybox", "mksh", "ksh93", "yash")


def find_shell(name, environ):
    """The Shell for --shell, for the program that runs this one, or for $SHELL. Containers and
    services have no $SHELL, but have sh."""
    name = plain_shell_name(name)
    if name not in ("", *SHELLS, *POSIX_SHELLS):
        raise UsageError('"%s" is not a shell that is known here.' % name, "Known are: %s." % (
            ", ".join(sorted([*SHELLS, *POSIX_SHELLS]))))
    name = name or parent_shell() or plain_shell_name(environ.get("SHELL", ""))
    if not name and WINDOWS:
        name = "powershell" if environ.get("PSModulePath", "").count(";") > 1 else "cmd"
    return SHELLS.get(name, POSIX_SHELL)


def plain_shell_name(path):
    """The name of a shell from its path: -bash, /bin/bash and bash.exe are all bash."""
    return basename(path.replace("\\", "/")).lower().lstrip("-").partition(".exe")[0]


def parent_shell():
    """The shell that started this program, by /proc or ps(1); "" if something else did."""
    process = os.getppid()
    try:
        if exists("/proc/self/cmdline"):
            words = read_text("/proc/%d/cmdline" % process).split("\0")
        else:
            words = run(["ps", "-o", "args=", "-p", str(process)], seconds=5).stdout.split() + [""]
    except (MachineError, OSError):
        return ""
    name = plain_shell_name(words[0].split(" ")[0])  # xonsh makes one word of its command line
    if name.startswith("python"):
        name = plain_shell_name(words[1])
    return name if name in SHELLS or name in POSIX_SHELLS else ""


def table(rows):
    """Rows of cells as aligned lines, in Docker Machine's layout: the last cell is not padded."""
    widths = [max(5, max(map(len, column)) + 3) for column in zip(*rows)][:-1]
    return ["".join([cell.ljust(width) for cell, width in zip(row, widths)] + row[len(widths):])
            for row in rows]


def natural_key(name):
    """A sort key by which n2 comes before n10: texts and numbers in turn."""
    return [int(part) if "0" <= part[:1] <= "9" else part
            for part in re.split("([0-9]+)", name.lower())]


# --- templates: Go's text/template for --format, after pkg.go.dev/text/template and pkg.go.dev/fmt

# Each group is a kind of token. The end of an action is one with the text up to the next {{, and
# names of fields belong to what stands before them.
TOKEN = r"""(?xs)
    (?: [ \t\r\n]+-\}\}[ \t\r\n]* | [ \t\r\n]*\}\} ) (?:
        (?P<end_of_action> .*? ) (?: [ \t\r\n]*\{\{-[ \t\r\n]+ | \{\{[ \t\r\n]* )
        | (?P<end_of_text> .* ) )
    | (?: /\* .*? \*/ (?P<comment>) (?= \}\} | [ \t\r\n]+-\}\} ) | ` (?P<raw> [^`]* ) ` (?!\.)
        | (?P<literal> (?: true\b | false\b
            | "(?: [^"\\\x00-\x08\n-\x1f] | \\["\\bfnrt] | \\u(?![dD][89a-fA-F])[0-9a-fA-F]{4} )*"
            | -?(?:0|[1-9][0-9]{0,18}) (?:\.[0-9]+)? (?:[eE][+-]?[0-9]+)? (?!\w) ) (?!\.) )
        | (?P<branch> (?:if|with|range)\b ) | (?P<else> else\b ) | (?P<end> end\b )
        | (?P<assignment> \$\w* (?:\s*,\s*\$\w*)? \s* :?=(?!=) )
        | (?P<variable> (?: \$\w* | nil\b )? (?:\.[^\W\d]\w*)+ | \$\w* | nil\b | \. )
        | (?P<function> [^\W\d]\w* ) | (?P<pipe> \| ) | (?P<parenthesis> \( )
        | (?P<closing_parenthesis> \) (?:\.[^\W\d]\w*)* )
        | (?P<end_in_an_action> \Z ) | (?P<sign> .+ )
    ) (?: [ \t\r\n]+ (?!-\}\}) )?"""
OPERANDS = ("literal", "raw", "comment", "variable", "parenthesis")


class Struct(dict):
    """Template data with fixed fields, found in any case; another field is an error, as in Go."""

    def get(self, name, default=None):
        return {key.lower(): value for key, value in self.items()}[name.lower()]


class GoState(str):
    """The name of a machine's state; by %d its number, as in Docker Machine."""

    def __int__(self):
        return STATES.index(self)


class Duration(int):
    """Nanoseconds, which print as Go prints them, in whole milliseconds: 16ms, 3.053s, 1m2.5s."""

    def __new__(cls, seconds):
        return super().__new__(cls, seconds * 1e9)

    def __str__(self):
        if self < 1e9:
            return "%dms" % (self // 1000000)
        minutes, seconds = divmod(round(self / 1e9, 3), 60)
        return "%dm%gs" % (minutes, seconds) if minutes else "%gs" % seconds


class Template:
    """A template. Raises MachineError if it cannot be read.

    It is read anew for each text that it makes, and once before that without data, to find
    mistakes. What is not `active` is read past, without values. `scopes` are variables as {name:
    value}, the innermost last; the dot is the variable ""."""

    def __init__(self, source):
        found = re.finditer(TOKEN, "}}" + source)  # type: typing.Any
        self.tokens = [(one.lastgroup, one.group(one.lastgroup)) for one in found]
        self._read(None, False)

    def render(self, data):
        """The template filled in with data as JSON has it. Raises MachineError."""
        return self._read(data, True)

    def _read(self, data, active):
        self.position, self.scopes = 0, [{"$": data, "": data, "nil": None}]
        try:
            return self._block(active) + self._take("end_of_text")
        except RecursionError:
            _refuse("it is nested too deeply")

    def _peek(self):
        """The kind of the next token."""
        return self.tokens[self.position][0]

    def _accept(self, kind):
        """The text of the next token if it is of this kind, and goes on; else ""."""
        return self._take(kind) if self._peek() == kind else ""

    def _take(self, *kinds):
        """The text of the next token, which must be of one of these kinds."""
        kind, text = self.tokens[self.position]
        if kind not in kinds:
            _refuse("unexpected %s: %.20s" % (kind.replace("_", " "), json_text(text)))
        self.position += 1
        return text

    def _block(self, active):
        """What is written before {{else}}, {{end}} or the last text."""
        text = ""
        while self._peek() != "end_of_text":
            text += self._take("end_of_action")
            if self._peek() in ("else", "end"):
                break
            if self._peek() == "branch":
                text += self._branch(active)
                self._take("end")
                continue
            value, names = self._pipeline(active)
            if not names:
                text += "<no value>" if value is None else go_text(value)
        return text if active else ""

    def _branch(self, active):
        """What an {{if}}, {{with}} or {{range}} writes; its {{end}} remains to be taken."""
        keyword = self._take("branch")
        self.scopes.append({})
        value, names = self._pipeline(active)
        start, text = self.position, ""
        pairs = pairs_of(value, keyword) if active else []
        for pair in pairs or [("", None)]:  # once at least, to find its end
            self.position = start
            self.scopes.append({} if keyword == "if" else {"": pair[1]})
            self.scopes[-1].update(zip(reversed(names), reversed(pair)))
            text += self._block(bool(pairs))
            self.scopes.pop()
        if self._accept("else"):
            active = active and not pairs
            text += self._branch(active) if self._peek() == "branch" else self._block(active)
        self.scopes.pop()
        return text

    def _pipeline(self, active):
        """The value of a pipeline, and the names of the variables that are set to it."""
        setting = self._accept("assignment")
        names = re.findall(r"\$\w*", setting)
        value = self._command(active)
        while self._accept("pipe"):
            value = self._command(active, value)
        for name in names:
            scope = self.scopes[-1] if ":" in setting else self._scope(name)
            scope[name] = value if active else scope.get(name)
        return value, names

    def _scope(self, name):
        """The innermost scope that has a variable."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope
        _refuse("%s is not defined" % name)

    def _command(self, active, *piped):
        """The value of a command; `piped` is that of the one before it. "and" and "or" look at no
        more operands than they need."""
        if self._peek() != "function" and not piped:
            return self._operand(active)
        name, values, needed = self._take("function"), [], active
        if name not in TEMPLATE_FUNCTIONS:
            _refuse('the function "%s" is not defined' % name)
        while self._peek() in OPERANDS:
            value = self._operand(needed)
            if needed:
                values.append(value)
                needed = name != ("or" if value else "and")
        values += piped if needed else ()
        try:
            return TEMPLATE_FUNCTIONS[name](*values) if active else None
        except Exception:  # whatever Python says of values that are not for it
            _refuse("%s cannot use %.80s" % (name, json_text(values)))

    def _operand(self, active):
        kind, text = self._peek(), self._take(*OPERANDS)
        if kind == "literal":
            return parse_json(text.replace("\t", "\\t"))  # which JSON does not take as it is
        if kind in ("raw", "comment"):
            return text
        if kind == "parenthesis":
            value, _ = self._pipeline(active)
            path = self._take("closing_parenthesis").split(".")
        else:
            path = text.rstrip(".").split(".")
            scope = self._scope(path[0])
            value = scope[path[0]] if active else None
        for name in path[1:]:
            try:
                value = None if value is None else value.get(name)
            except (AttributeError, LookupError):
                _refuse('there is no field "%s"' % name)
        return value


def _refuse(words):
    raise MachineError("template: " + words)


def pairs_of(value, keyword):
    """What a branch runs through: pairs of index and item. Raises MachineError."""
    if keyword != "range":
        return [("", value)] if value else []
    if isinstance(value, dict):
        return sorted(value.items())
    if not isinstance(value, list) and value is not None:
        _refuse("range cannot run through " + go_text(value))
    return list(enumerate(value or ()))


def _index(item, *keys):
    for key in keys:
        item = item.get(key + "") if isinstance(item, dict) else list.__getitem__(item, key)
    return item  # other items and keys were a TypeError


def _equal(first, other):
    if None in (first, other):
        return first is other
    return not (first < other or first > other)  # a TypeError if they cannot be compared


def _print(*values):
    """Go's Sprint: blanks between operands of which neither is a string."""
    text = ""
    for before, value in zip(("",) + values, values):
        text += ("" if str in (type(before), type(value)) else " ") + go_text(value)
    return text


def _urlquery(*values):
    from urllib.parse import quote_plus
    return quote_plus(_print(*values), safe="~")


VERBS = {bool: "t", int: "dfg", float: "gf", str: "sq", GoState: "sqd", Duration: "sdf"}


def go_text(value, spec="", verb="v"):
    """A value as Go's printf writes it by one of %v %s %d %q %t %f %g, which take whole numbers for
    fractions too; `spec` is flags, width and precision. Raises ValueError for another verb."""
    def inner(item):
        return go_text(item, spec, verb)

    if isinstance(value, Struct):
        return "{%s}" % " ".join(inner([] if item is None else item) for item in value.values())
    if isinstance(value, dict):
        return "map[%s]" % " ".join(inner(key) + ":" + inner(item)
                                    for key, item in sorted(value.items()))
    if isinstance(value, list):
        return "[%s]" % " ".join(map(inner, value))
    value = "<nil>" if value is None else value
    verbs = VERBS[type(value)]  # the first is what %v means
    if verb == "v":
        spec, verb = spec.lstrip("+#"), verbs[0]
    if verb not in verbs:
        raise ValueError
    if verb in "tq":
        value, verb = json_text(value), "s"
    if verb == "g" and "." not in spec:
        spec += ".15"
    return ("%" + spec + verb) % value


def go_format(layout, *values):
    """Go's Sprintf with the verbs of go_text."""
    rest = list(values)

    def one(found):
        spec, verb = found.groups()
        return "%" if verb == "%" else go_text(rest.pop(0), spec, verb)

    text = re.sub(r"(?s)%([-+# 0]*\d{0,6}(?:\.\d{0,6})?)(.)", one, layout)
    if rest:
        raise ValueError
    return text


TEMPLATE_FUNCTIONS = {
    "and": lambda *values: values[-1], "or": lambda *values: values[-1],  # the last looked at
    "len": lambda item: len(item.encode() if isinstance(item, str) else item),
    "index": _index, "not": lambda value: not value, "upper": str.upper, "lower": str.lower,
    "ne": lambda first, other: not _equal(first, other),
    "eq": lambda first, other, *others: any(_equal(first, one) for one in (other,) + others),
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "println": lambda *values: " ".join(map(go_text, values)) + "\n",
    "print": _print, "printf": go_format, "urlquery": _urlquery,
    "json": lambda value: go_json(value, None, True),
    "prettyjson": lambda value: go_json(value, 4, True),
    "title": lambda text: re.sub(r"\b\w", lambda found: found.group().upper(), text),
    "split": lambda text, mark: text.split(mark) if mark else list(text),
    "join": lambda items, mark: mark.join(map(go_text, items)),
}  # type: dict


# === 14. Commands =================================================================================

HELP_FLAG = Flag("help", False, "show help", short="h")
GLOBAL_FLAGS = (
    Flag("debug", False, "Enable debug mode", short="D"),
    Flag("storage-path", join("~", ".docker", "machine"), "Configures storage path",
         "MACHINE_STORAGE_PATH", "s"),
    Flag("tls-ca-cert", "", "CA to verify remotes against", "MACHINE_TLS_CA_CERT",
         field="CaCertPath", file="any"),
    Flag("tls-ca-key", "", "Private key to generate certificates", "MACHINE_TLS_CA_KEY",
         field="CaPrivateKeyPath", file="any"),
    Flag("tls-client-cert", "", "Client cert to use for TLS", "MACHINE_TLS_CLIENT_CERT",
         field="ClientCertPath", file="any"),
    Flag("tls-client-key", "", "Private key used in client TLS auth", "MACHINE_TLS_CLIENT_KEY",
         field="ClientKeyPath", file="any"),
    Flag("github-api-token", "", "Accepted for compatibility; no token is needed",
         "MACHINE_GITHUB_API_TOKEN", secret=True),
    Flag("native-ssh", False, "Accepted for compatibility; the system's ssh is always used",
         "MACHINE_NATIVE_SSH"),
    Flag("bugsnag-api-token", "", "Accepted for compatibility; nothing is sent",
         "MACHINE_BUGSNAG_API_TOKEN", secret=True),
    HELP_FLAG,
    Flag("version", False, "print the version", short="v"),
)
ENGINE_FLAGS = (
    Flag("driver", "", "Driver to create machine with (default: virtualbox where it is installed, "
         "else qemu)", "MACHINE_DRIVER", "d"),
    Flag("engine-env", [], "Specify environment variables to set in the engine", field="Env",
         form=r"(?s)[A-Za-z_]\w*=.*", hint="Write it as NAME=value."),
    Flag("engine-insecure-registry", [],
         "Specify insecure registries to allow with the created engine", field="InsecureRegistry"),
    Flag("engine-install-url", DEFAULT_INSTALL_URL, "Install script, file:// bundle, "
         '"package" (the distribution\'s) or "none"', "MACHINE_DOCKER_INSTALL_URL",
         field="InstallURL", form="(?s)package|none|(https?|file)://.+",
         hint='It is an http, https or file URL, "package" or "none".'),
    Flag("engine-label", [], "Specify labels for the created engine", field="Labels",
         form="(?s)[^=]+=.*", hint="Write it as key=value."),
    Flag("engine-opt", [], "Specify arbitrary flags to include with the created engine in the "
         "form flag=value", field="ArbitraryFlags",
         form=r"(?s)(?!-|tls(verify|cacert|cert|key)?(=|\Z))[^\s=]+(=.*)?",
         hint="Write it as name=value without its dashes; docker-machine sets the tls options."),
    Flag("engine-registry-ca", [], "Let the engine trust a registry by a CA of its own: "
         "HOST[:PORT]=FILE", form=r"[\w.-]+(:\d{1,5})?=.+", hint="Write HOST[:PORT]=FILE."),
    Flag("engine-registry-mirror", [], "Specify registry mirrors to use",
         "ENGINE_REGISTRY_MIRROR", field="RegistryMirror", form="(?s)https?://.*",
         hint="It is an http or https URL."),
    Flag("engine-storage-driver", "", "Specify a storage driver to use with the engine",
         field="StorageDriver"),
    Flag("engine-take-over", False, "Set up a host for this store although clients of another "
         "store use its engine", "MACHINE_ENGINE_TAKE_OVER"),
    Flag("engine-version", "", "Engine version to install, for example 26.1", field="Version"),
)
ADDRESS_FORM = r"[\w.-]+(:\d{1,5})?|\[[\dA-Fa-f:.]+\](:\d{1,5})?"
SWARM_FLAGS = (
    Flag("swarm", False, "Configure Machine to join a Swarm cluster", field="Agent"),
    Flag("swarm-advertise-addr", "", "Where other nodes of Swarm mode find it (default: its IP)",
         field="AdvertiseAddr", form=ADDRESS_FORM),
    Flag("swarm-addr", "", "addr to advertise for Swarm (default: detect and use the machine IP)",
         field="Address", form=ADDRESS_FORM),
    Flag("swarm-discovery", "", "Discovery service to use with Swarm (default: the machines that "
         "this store knows)", field="Discovery"),
    Flag("swarm-experimental", False, "Enable Swarm experimental features", field="IsExperimental"),
    Flag("swarm-host", "tcp://0.0.0.0:3376", "ip/socket to listen on for Swarm master",
         field="Host", form=r"tcp://([\w.-]+|\[[\dA-Fa-f:.]+\]):\d{1,5}",
         hint="Write tcp://0.0.0.0:3376."),
    Flag("swarm-image", "swarm:latest", "Specify Docker image to use for Swarm",
         "MACHINE_SWARM_IMAGE", field="Image"),
    Flag("swarm-join", "", "Machine whose cluster it joins, with --swarm-mode", field="Join"),
    Flag("swarm-join-opt", [], "Define arbitrary flags for Swarm join",
         field="ArbitraryJoinFlags"),
    Flag("swarm-label", [], "Label of the node, with --swarm-mode: key=value", field="NodeLabels",
         form=r"(?s)[^=\s]+=.*", hint="Write key=value."),
    Flag("swarm-master", False, "Configure Machine to be a Swarm master", field="Master"),
    Flag("swarm-mode", "", "Make it a manager or a worker of Swarm mode", field="Mode",
         choices=("manager", "worker")),
    Flag("swarm-opt", [], "Define arbitrary flags for Swarm master", field="ArbitraryFlags"),
    Flag("swarm-strategy", "spread", "Define a default scheduling strategy for Swarm",
         field="Strategy", choices=("spread", "binpack", "random")),
)
TLS_FLAGS = (
    Flag("tls-san", [], "Support extra SANs for TLS certs", field="ServerCertSANs",
         form=r"[\w.*-]{1,253}|([\dA-Fa-f]{0,4}:){2,7}[\dA-Fa-f.]*",
         hint="It is a host name or an address."),
)
PARALLEL_FLAG = Flag("parallel", 10, "How many machines to make at the same time", least=1)
CREATE_FLAGS = ENGINE_FLAGS + SWARM_FLAGS + TLS_FLAGS + (
    Flag("context", False, "Make a docker context for it too, as the command context does"),
    PARALLEL_FLAG,
)
COMMON_FLAGS = (HELP_FLAG, GLOBAL_FLAGS[0])  # what every command takes, --debug too
def typed_program(path):
    """The words that call this program again: its bare name if the PATH holds it, else its path."""
    if not isfile(path):
        return [path]
    name = basename(path)
    places = [join(folder, name) for folder in os.environ.get("PATH", "").split(os.pathsep)
              if folder]
    found = next(filter(exists, places), "")
    if found and os.path.samefile(found, path):
        return [name]
    return [path] if os.sep in path and os.access(path, os.X_OK) else ["python3", path]


class Context:
    """What a command gets: the store, the global flags, and how the program was called."""

    def __init__(self, argv, options):
        self.options, self.program = options, basename(argv[0])
        words = typed_program(argv[0])
        self.typed = words + argv[1:]
        out.program = " ".join(words)
        if not options["storage-path"]:
            raise UsageError("--storage-path is empty.")
        path = expanduser(options["storage-path"])
        if path.startswith("~"):
            raise UsageError("This user has no home folder for the store %s." % path,
                             "Name another place: --storage-path FOLDER, or MACHINE_STORAGE_PATH")
        self.store = Store(path)
        Scratch.spare = join(self.store.path, "tmp")

    def names(self, names):
        """The machines that a command is for: those named, else "default". Raises MachineError."""
        if names:
            return list(dict.fromkeys(names))
        if self.store.exists("default"):
            return ["default"]
        raise MachineError('Error: No machine name(s) specified and no "default" machine exists',
                           "See: docker-machine ls")

    def machine(self, names):
        """The one machine that a command is for."""
        if len(names) > 1:
            raise UsageError("Error: Expected one machine name as an argument")
        return self.store.machine(self.names(names)[0])


class Command:
    """A command: its function(context, options, words), help texts and flags. A `raw` one gets all
    words as they are: function(context, words). Of one in a `file` of extras/ function and flags
    are there, in COMMANDS, {name: Command}."""

    def __init__(self, name, function, usage, summary, *flags, raw=False, file=""):
        self.name, self.function, self.usage, self.summary = name, function, usage, summary
        self.flags, self.raw, self.file = flags, raw, file

    def loaded(self):
        """Itself, with function and flags. Raises MachineError."""
        if not self.file:
            return self
        return need_extra(self.file, 'The command "%s"' % self.name).COMMANDS[self.name]


def on_each(context, names, action):
    """action(machine) for several machines at once; the exit code."""
    def work(name):
        if not context.store.exists(name):
            raise context.store.no_such(name)
        if len(names) > 1:
            out.thread.machine = name
        out.hear("Waiting for another docker-machine...")
        try:
            with context.store.lock(name), context.store.machine(name) as machine:
                return action(machine)
        finally:
            out.steps.pop(out.thread.machine, None)

    out.steps.clear()
    return report_each(names, each(work, names))


def report_each(names, results):
    """Tell the errors among the results of several machines, in their order; the exit code. The
    error of a single one is raised, and so is a defect after all have been told."""
    code, defects = 0, []
    for name, error in zip(names, results):
        if isinstance(error, Exception):
            if len(names) == 1:
                raise error
            told = explained(error)
            lead = "" if '"%s"' % name in told.message else name + ": "
            show_error(told, lead)
            code = max(code, told.code)
            defects += [error] if told is not error else []
    if defects:
        raise defects[0]
    return code


def explained(error):
    """Any exception as the MachineError that tells the person of it."""
    if isinstance(error, MachineError):
        return error
    if isinstance(error, UnicodeEncodeError):
        return MachineError("This locale has no letters for %r." % error.object, "Choose one of "
                            "UTF-8: export LC_ALL=C.UTF-8, or, since Python 3.7, PYTHONUTF8=1")
    if isinstance(error, OSError):
        where = "%s: " % error.filename if error.filename else ""
        return MachineError(where + (error.strerror or str(error)))
    return MachineError("Unexpected error (%s: %s); this is a defect of docker-machine." % (
        type(error).__name__, error), "Run the command with --debug for the details, and report "
        "them.")


def show_error(error, lead=""):
    """An error as the person sees it: what failed, and below it what to type."""
    out.error(lead + error.message)
    if error.hint:
        out.error(error.hint)


# --- create

def create_driver(words):
    """The class of the driver of a `create` line, before all flags are known: those of drivers not
    loaded yet are taken for flags without a value. Raises MachineError, but not with --help."""
    flags = [flag for driver in DRIVERS.values() for flag in driver.flags]
    typed, _ = split_words([*flags, *CREATE_FLAGS, *COMMON_FLAGS], words)
    given = {flag.name: text for flag, _, text in reversed(typed)}
    named = given.get("driver", os.environ.get("MACHINE_DRIVER") or None)
    try:
        return load_driver(default_driver() if named is None else named)
    except MachineError as error:
        if "help" not in given:
            if named is None:
                parse_flags([*CREATE_FLAGS, *COMMON_FLAGS], words)  # is one mistyped?
            raise
        if named:
            out.warn("%s These are the flags of all drivers." % error)
        return Driver


def default_driver():
    """The driver of a `create` line that names none. Raises MachineError if nothing runs a VM."""
    if find_vboxmanage():
        return "virtualbox"
    if find_qemu():
        return "qemu"
    _outcome(load_driver, "qemu")  # which knows its packages
    install = install_line("qemu-system-" + host_arch(), "qemu-img")
    raise MachineError(
        "No --driver is named, and neither QEMU nor VirtualBox was found on this computer.",
        (install and "Install QEMU: %s\n" % install) + "Or set up a host that answers SSH: "
        "docker-machine create --driver generic --generic-ip-address ADDRESS NAME")


def create_flags(driver_class):
    return sorted(CREATE_FLAGS + tuple(driver_class.all_flags()), key=lambda flag: flag.name)


def command_create(context, options, words):
    names = [name for word in words for name in braced_names(word)]
    if not names:
        raise UsageError("Error: No machine name specified", "See: docker-machine create --help")
    again = [name for name in names if names.count(name) > 1]
    if again:
        raise UsageError('The name "%s" is there twice.' % again[0])
    PARALLEL_FLAG.check(options["parallel"])
    machines = [described_machine(context, options, name) for name in names]
    if len(machines) > 1:
        return create_several(machines, options["parallel"])
    with machines[0] as machine:
        create_machine(machine)


def braced_names(word):
    """The names that a shell would make of web-{1..5}, {01..12} or {a,b}, where it left that to us.
    Raises UsageError."""
    found = re.fullmatch(r"([^{}]*)\{(?:(\d{1,6})\.\.(\d{1,6})|([^{}]*,[^{}]*))\}(.*)", word)
    if not found:
        return [word]
    before, first, last, words, after = found.groups()
    parts = (words or "").split(",")
    if first:
        step = -1 if int(last) < int(first) else 1
        width = len(first) if first[0] == "0" else 0
        parts = [str(number).zfill(width) for number in
                 range(int(first), int(last) + step, step)[:101]]
    if len(parts) > 100:
        raise UsageError("%s are more than 100 machines." % word, "Name fewer at a time.")
    return [name for part in parts for name in braced_names(before + part + after)]


def create_several(machines, at_once):
    """Make machines that were described, so many at the same time; the exit code: 3 if all were
    refused before anything was made. What they share is checked, and made, with the first."""
    if type(machines[0].driver).remove is Driver.remove:
        raise UsageError("Each machine of --driver %s needs a command of its own, with its own "
                         "address." % machines[0].driver.name)
    out.say("Running pre-create checks...")
    machines[0].pre_create_check()
    machines[0].bootstrap_certificates()

    for machine in machines[1:]:  # one begins the cluster of several managers
        if machine.swarm.get("Mode"):
            machine.swarm.setdefault("Join", machines[0].name)

    def create(machine):
        out.thread.machine = machine.name
        with machine:
            create_machine(machine, machine is machines[0])

    try:
        results = each(create, machines, at_once)
    except KeyboardInterrupt as error:
        error.hint = "Those begun are kept: docker-machine ls"  # type: ignore[attr-defined]
        raise
    code = report_each([machine.name for machine in machines], results)
    refused = all(isinstance(result, PreCreateError) for result in results)
    return min(code, PreCreateError.code if refused else 1)


def described_machine(context, options, name):
    """The Machine that a `create` line describes, checked and not made. Raises MachineError."""
    check_new_name(name)
    in_swarm = options["swarm"] or options["swarm-master"]
    check_discovery(options["swarm-discovery"], in_swarm)
    refuse_existing(context.store, name)
    driver_class = load_driver(options["driver"] or default_driver())
    if not {flag.name for flag in driver_class.flags} <= set(options):
        raise UsageError("More than one --driver is named.")
    if any(options["swarm-" + name] for name in ("mode", "join", "label", "advertise-addr")):
        need_extra("swarm", "Swarm mode").check(context.store, options, driver_class)
    machine = context.store.new(name, driver_class)
    machine.take_over = options["engine-take-over"]
    machine.has_context = options["context"]
    if machine.has_context:
        machine.context().check_owner()
    auth = machine.config["HostOptions"]["AuthOptions"]
    with stage("Error setting machine configuration from flags provided: "):
        store_flags(ENGINE_FLAGS, options, machine.engine)
        store_flags(SWARM_FLAGS, options, machine.swarm)
        if in_swarm:
            machine.swarm.update(IsSwarm=True, Discovery=options["swarm-discovery"] or OWN_SWARM)
        store_flags(TLS_FLAGS, options, auth)
        store_flags(GLOBAL_FLAGS, context.options, auth)
        trust_registries(machine.engine, options["engine-registry-ca"])
        check_engine_options(machine.engine)
        machine.driver.set_config_from_flags(options)
    return machine


def create_machine(machine, checked=False):
    """Check, then make a machine that was described. Raises MachineError with how to go on."""
    try:
        if not checked:
            out.say("Running pre-create checks...")
            machine.pre_create_check()
        with machine.store.lock(machine.name):
            refuse_existing(machine.store, machine.name)
            machine.create()
            if machine.has_context:
                machine.write_context()
    except BaseException as error:
        if machine.unfinished():
            advice = "The machine is kept. " + resume_hint(machine.name)
            if isinstance(error, MachineError):
                error.advise(advice)
            elif isinstance(error, KeyboardInterrupt):
                error.hint = advice  # type: ignore[attr-defined]
            else:
                out.error(advice)
        raise


def refuse_existing(store, name):
    hint = "Choose another name, or remove it first: docker-machine rm " + name
    if store.unfinished(name):
        hint = "Its creation did not finish. " + resume_hint(name)
    if store.exists(name):
        raise MachineError('Docker machine "%s" already exists' % name, hint)


def resume_hint(name):
    return ("Resume: docker-machine provision %s; or remove it: docker-machine rm %s"
            % (quote(name), quote(name)))


def check_discovery(url, in_swarm):
    """Refuse how a standalone Swarm is to find its members if it cannot. Raises UsageError."""
    kind, mark, place = url.partition("://")
    hint = "Leave --swarm-discovery out: the Swarm is then of the machines that this store knows."
    if url and not mark:
        raise UsageError("Error parsing swarm discovery: Swarm Discovery URL was in the wrong "
                         "format: " + url, hint)
    if not in_swarm:
        return
    if kind == "token" and "/" not in place:
        raise UsageError("token:// needs Docker Hub's discovery service, which ended in 2019.", hint
                         + "\nOr use the engine's own Swarm: --swarm-mode manager")
    if kind == "file" and not re.match("/(etc/docker|var/lib/boot2docker)/.", place):
        raise UsageError("The Swarm's container cannot read %s." % url,
                         "It sees the host's /etc/docker: file:///etc/docker/nodes")
    if kind not in ("", "token", "file", "nodes", "consul", "etcd", "zk"):
        raise UsageError('Swarm knows no discovery "%s".' % kind, "It knows consul, etcd, zk, file "
                         "and nodes.\n" + hint)


# --- queries

FORMAT_FLAG = Flag("format", "", 'Answer as "json", or in the given Go template (in ls also with '
                   '"table" in front)', short="f")


def answer(options, data, text):
    """Print the answer to a query: `text`, or `data` by --format."""
    layout = options["format"]
    if layout:
        text = go_json(data, None) if layout == "json" else Template(layout).render(data)
    out.answer(text)


def answer_each(options, rows, field):
    """Print several answers: a list in JSON, or the `field` of each, or what --format wants."""
    if options["format"] == "json":
        return answer(options, rows, "")
    for row in rows:
        answer(options, row, row.get(field))


def show_lines(lines):
    for line in lines:
        out.answer(line)


def query(field, ask, doing=""):
    """The command that answers ask(machine) as `field`; `doing` names the step in an error."""
    def command(context, options, words):
        with context.machine(words) as machine, stage(doing.replace("NAME", machine.name)):
            value = ask(machine)
        return answer(options, {"Name": machine.name, field: value}, value)

    return command


engine_version = query("DockerVersion", Machine.engine_version, "Unable to query docker version: ")


def command_active(context, options, words):
    there = os.environ.get("DOCKER_HOST") or None
    rows = [row for row in read_rows(context.store)
            if row.aim() and there in (row.cells["URL"], row.swarm_url)]
    ask_rows(rows, options["timeout"])
    first = {row.cells["State"]: row.name for row in reversed(rows)}
    if RUNNING in first:
        return answer(options, {"Name": first[RUNNING]}, first[RUNNING])
    if TIMEOUT in first:
        raise MachineError("Error getting active host: timeout", "Give it longer: --timeout 30")
    raise MachineError("No active host found", 'Choose one: eval "$(docker-machine env NAME)"')


def command_config(context, options, words):
    out.progress_to_stderr = True
    with context.machine(words[:1]) as machine, stage("Error running connection boilerplate: "):
        url = checked_url(machine, options["swarm"])
    if url.startswith("ssh://"):
        return out.answer("-H=" + url)
    out.answer("--tlsverify\n--tlscacert=%s\n--tlscert=%s\n--tlskey=%s\n-H=%s" % (
        *map(json_text, machine.client_files()), url))


def checked_url(machine, swarm):
    """The URL of a machine's engine (or Swarm manager), which has just answered over TLS."""
    if not swarm:
        machine.engine_version()
        return machine.driver.engine_url()
    url = machine.swarm_url()
    try:
        machine.docker(url).get("/_ping", 20)
    except Unreachable:
        machine.engine_version()
        raise MachineError("Connection to Swarm cannot be checked but the certs are valid. "
                           "Maybe swarm is not started")
    return url


def command_env(context, options, words):
    out.progress_to_stderr = True
    if options["unset"] and words:
        raise UsageError("Error: Expected no machine name when the -u flag is present")
    names = DOCKER_VARIABLES + ((no_proxy_variable(),) if options["no-proxy"] else ())
    values = dict.fromkeys(names) if options["unset"] else variables(context, options, words)
    shell = find_shell(options["shell"], os.environ)
    return answer(options, values, "\n".join(
        shell.lines(values) + shell.hint(context.typed, options["unset"])))


DOCKER_VARIABLES = ("DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME")


def variables(context, options, words):
    """What `env` sets, {name: value}, after a look at the engine. Raises MachineError."""
    with context.machine(words) as machine, stage("Error checking TLS connection: "):
        url = checked_url(machine, options["swarm"])
    if url.startswith("ssh://"):
        # docker opens the files of left-over variables for every URL
        return dict(zip(DOCKER_VARIABLES, (None, url, None, machine.name)))
    warn_of_expiry([machine])
    files = machine.client_files()
    folder = dirname(files[0])
    if files != [join(folder, name) for name in CLIENT_FILES]:
        raise MachineError("docker wants ca.pem, cert.pem and key.pem in one folder, and those of "
                           "%s are not." % machine.folder,
                           "Renew the copies: docker-machine provision " + quote(machine.name))
    values = dict(zip(DOCKER_VARIABLES, ("1", url, folder, machine.name)))
    if WINDOWS:
        values["COMPOSE_CONVERT_WINDOWS_PATHS"] = "true"
    if options["no-proxy"]:
        with stage("Error getting host IP: "):
            address = machine.driver.get_ip()
        name = no_proxy_variable()
        values[name] = there = os.environ.get(name, "")
        if address not in [part.strip() for part in there.split(",")]:
            values[name] = (there + "," + address).lstrip(",")
    return values


def no_proxy_variable():
    return "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"


def command_inspect(context, options, words):
    config = without_secrets(context.machine(words))
    if options["format"] not in ("", "json"):
        with stage("template parsing error: "):
            Template(options["format"])
    return answer(options, config, go_json(config))


def without_secrets(machine):
    """The stored settings, with stars for what the driver declares secret."""
    settings = dict(machine.config["Driver"])
    try:
        for flag in machine.driver.flags:
            if flag.secret and settings.get(flag.field):
                settings[flag.field] = "********"
    except MachineError:
        pass  # a driver that is not here declares nothing
    return dict(machine.config, Driver=settings)


def command_ip(context, options, words):
    names = context.names(words)

    def address(name):
        with context.store.machine(name) as machine, stage("Error getting IP address: "):
            return {"Name": name, "IPAddress": machine.driver.get_ip()}

    results = each(address, names)
    answer_each(options, [result for result in results if isinstance(result, dict)], "IPAddress")
    return report_each(names, results)


def command_version(context, options, words):
    if words:
        return engine_version(context, options, words)
    line = version_line()
    return answer(options, {"Version": __version__, "Build": line.rpartition(" ")[2]}, line)


def version_line():
    """As Docker Machine prints it, since programs parse it; the build is this file's checksum."""
    loader = globals().get("__loader__")  # type: typing.Any  # of a folder, or of a zip archive
    try:
        build = "%08x" % (binascii.crc32(loader.get_data(THIS_FILE)) & 0xffffffff)
    except (AttributeError, OSError):
        build = "unknown"
    return "docker-machine version %s, build %s" % (__version__, build)


# --- ls

LS_HEADERS = {"Name": "NAME", "Active": "ACTIVE", "DriverName": "DRIVER", "State": "STATE",
              "URL": "URL", "Swarm": "SWARM", "DockerVersion": "DOCKER", "Error": "ERRORS",
              "ActiveHost": "ACTIVE_HOST", "ActiveSwarm": "ACTIVE_SWARM",
              "SwarmOptions": "SWARM_OPTIONS", "EngineOptions": "ENGINE_OPTIONS",
              "ResponseTime": "RESPONSE", "SwarmMode": "SWARM_MODE"}
FILTERS = {  # key -> whether a row has that value
    "driver": lambda row, value: row.cells["DriverName"].lower() == value.lower(),
    "label": lambda row, value: any(label_fits(label, value) for label in row.labels),
    "name": lambda row, pattern: pattern.search(row.name),
    "state": lambda row, value: row.cells["State"].lower() in ("", value.lower()),
    "swarm": lambda row, value: row.cells["Swarm"].partition(" ")[0].lower() == value.lower(),
}  # type: dict


def warn_of_expiry(machines):
    """Tell which machines have certificates that end within 30 days, or have ended."""
    days, ends = {}, {}  # type: dict, dict
    for machine in machines:
        for path in (machine.ca.cert, machine.client.cert, machine.server_pair.cert):
            if path not in days:
                days[path] = _outcome(days_left, path)
            if isinstance(days[path], float) and days[path] < 30:
                ends[machine.name] = min(ends.get(machine.name, 30), days[path])
    if ends:
        out.warn("Certificates end soon: %s, the first in %d days. Renew them: docker-machine "
                 "regenerate-certs --client-certs %s" % (
                     ", ".join(ends), max(min(ends.values()), 0), " ".join(map(quote, ends))))


def command_ls(context, options, words):
    filters, quiet, layout = parse_filters(options["filter"]), options["quiet"], options["format"]
    rows = [row for row in read_rows(context.store) if row.fits(filters)]
    if "state" in filters or not quiet:
        ask_rows(list(filter(Row.aim, rows)), options["timeout"])
        tell_roles(rows, options["timeout"])
        rows = [row for row in rows if row.fits(filters)]
    if quiet:  # what cannot be loaded is never in a list of names
        return show_lines(sorted(row.name for row in rows if row.machine))
    warn_of_expiry([row.machine for row in rows if row.engine])
    cells = [row.cells for row in rows]
    if layout == "json":
        return answer(options, cells, "")
    if layout:
        return show_formatted(cells, layout)
    fields = list(LS_HEADERS)[:8]
    if any(row["SwarmMode"] for row in cells):
        fields.insert(6, "SwarmMode")
    return show_lines(table([[shown(str(row[field]).replace("\n", " "))
                              for field in fields] for row in [LS_HEADERS, *cells]]))


def tell_roles(rows, seconds):
    """Fill in what machines are in Swarm mode: new engines tell it, of nodes of ours we ask."""
    for row in rows:
        heard = row.engine.heard if row.engine else ""
        found = re.search(r"^Swarm: (?:active/|(?!inactive))(\w+)", heard, re.M)  # since API 1.42
        row.cells["SwarmMode"] = found.group(1) if found else ""
    nodes = [row for row in rows if row.swarm.get("Node")]
    roles = nodes and _outcome(
        lambda each: need_extra("swarm", "Swarm mode").roles(each, min(2, seconds / 4)),
        nodes)  # type: typing.Any
    for row in nodes if isinstance(roles, dict) else ():
        row.cells["SwarmMode"] = roles.get(row.name, "")


def show_formatted(rows, template):
    """Rows by a --format template; with "table " in front, columns are aligned under headers."""
    template = template.strip().replace("\\t", "\t").replace("\\n", "\n")
    in_table = template.startswith("table")
    if in_table:
        rows, template = [LS_HEADERS] + rows, template[len("table"):].strip()
    parsed = Template(template + "\n")
    lines = "".join(parsed.render(Struct(row, State=GoState(row["State"])))
                    for row in rows).splitlines()
    return show_lines(table([line.split("\t") for line in lines]) if in_table else lines)


def parse_filters(texts):
    """--filter values as {key: [values]}. Raises UsageError."""
    filters = {}  # type: dict
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().lower()
        if not equals:
            raise UsageError("Unsupported filter syntax", "Write --filter key=value.")
        if key not in FILTERS:
            raise UsageError("Unsupported filter key '%s'" % key,
                             "Keys are driver, label, name, state and swarm.")
        filters.setdefault(key, []).append(name_pattern(value) if key == "name" else value)
    return filters


def name_pattern(text):
    r"""A regular expression as Go takes it: flags anywhere, \z is the end. Raises UsageError."""
    flags = re.findall(r"\(\?[a-zA-Z]+\)", text)
    rest = re.sub(r"\(\?[a-zA-Z]+\)", "", text)
    try:
        return re.compile("".join(flags) + rest.replace("\\z", "\\Z"), re.A)
    except re.error as error:
        raise UsageError("The filter name=%s is not a regular expression: %s" % (text, error))


def label_fits(label, wanted):
    """Whether a label is the wanted one: by its key, and its value in any case if it is given."""
    name, _, text = label.partition("=")
    key, equals, value = wanted.partition("=")
    return name == key and (not equals or text.lower() == value.lower())


class Row:
    """A machine in a list: its `cells`, its Machine if that can be loaded, its Engine, what that
    `answer`s (its version or an exception), and the `state` that the driver tells (or an
    exception), which is asked only where the engine is silent."""

    swarm, labels, swarm_url, state = {}, (), "", RUNNING  # type: dict, tuple, str, typing.Any
    machine = engine = answer = None  # type: typing.Any

    def __init__(self, store, name):
        self.name = name
        self.cells = dict(dict.fromkeys(LS_HEADERS, ""), Name=name, DriverName="not found",
                          ActiveHost=False, ActiveSwarm=False, SwarmOptions=None,
                          EngineOptions=None)
        try:
            self.machine = machine = store.machine(name)
        except Exception as error:
            self.fail(error)
            return
        self.swarm, self.labels = machine.swarm, machine.engine.get("Labels") or ()
        self.tell(DriverName=machine.driver_name, Active="-", DockerVersion="Unknown",
                  SwarmOptions=Struct(self.swarm), EngineOptions=Struct(machine.engine))

    def tell(self, error="", **cells):
        self.cells.update(cells, Error=out.mask(plain_words(error)))

    def fail(self, error):
        """What is wrong with it, a value of a wrong type too, must not hide the other machines."""
        lead = "" if isinstance(error, MachineError) else "config.json cannot be used: "
        self.tell(lead + str(error), State=ERROR)

    def fits(self, filters):
        """Whether it passes all filters, as far as its cells are known."""
        return all(any(FILTERS[key](self, value) for value in values)
                   for key, values in filters.items())

    def aim(self):
        """Find out which engine is to be asked; whether there is something to ask."""
        machine = self.machine
        if not machine:
            return False
        try:
            if machine.driver.provisions and not machine.driver.get("IPAddress"):
                self.answer = Unreachable("its address is not stored; docker-machine provision %s "
                                          "finds it" % self.name)
                return True
            if self.swarm.get("Master"):
                self.swarm_url = machine.swarm_url()
            self.engine = machine.docker(machine.driver.stored_url)
            self.tell(URL=self.engine.url)
        except Exception as error:
            self.fail(error)
        return self.engine

    def finish(self):
        """Fill in what follows from all answers: only what runs has a URL and can be active."""
        cells, answer, state = self.cells, self.answer, self.state
        last, unknown = answer if state == RUNNING else state, "Unable to query docker version: %s"
        if isinstance(last, Silent):
            self.tell(unknown % last, State=TIMEOUT, Active="", DockerVersion="")
        elif isinstance(state, Exception):
            self.tell(state, State=ERROR)
        elif isinstance(answer, str):
            self.tell(State=RUNNING, DockerVersion="v" + answer)
        else:
            self.tell(unknown % answer if state == RUNNING else "", State=state)
        if cells["State"] != RUNNING:
            cells["URL"] = self.swarm_url = ""
        there = os.environ.get("DOCKER_HOST") or None
        if cells["URL"] == there:
            cells.update(Active="*", ActiveHost=True)
        if self.swarm_url == there:
            cells.update(Active="* (swarm)", ActiveSwarm=True)


def read_rows(store):
    """A Row for each machine, in natural order, with its Swarm's master, by the discovery URL."""
    rows = [Row(store, name) for name in sorted(store.names(), key=natural_key)]
    masters = {row.swarm.get("Discovery"): row.name for row in rows if row.swarm.get("Master")}
    for row in rows:
        discovery = row.swarm.get("Discovery")
        master = discovery and masters.get(discovery)
        if master:
            row.cells["Swarm"] = master + (" (master)" if row.swarm.get("Master") else "")
    return rows


def ask_rows(rows, seconds):
    """Fill in what engines and drivers say of rows with an aim(), within `seconds`: all engines are
    asked at the same time, then the drivers of those that are silent, and those that run but were
    too slow once more."""
    deadline = time.monotonic() + seconds
    ask_engines([row for row in rows if row.engine], min(2, seconds / 4))
    silent = [row for row in rows if isinstance(row.answer, Unreachable)]
    ask_drivers(silent, max((deadline - time.monotonic()) / 2, 0.1))
    ask_engines([row for row in silent if row.state == RUNNING and isinstance(row.answer, Silent)],
                max(round(deadline - time.monotonic()), 1))
    for row in rows:
        row.finish()


def ask_groups(rows, kind, ask, seconds):
    """Each row with the answer, or exception, of ask(rows) for all rows of the same kind(row)."""
    groups = {}  # type: dict
    for row in rows:
        groups.setdefault(kind(row), []).append(row)
    awaited = [row.name for row in rows]

    def tell():
        if awaited:
            out.hear("Waiting for %s..." % ", ".join(awaited))

    def ask_one(group):
        answer = ask(group)
        for row in group:
            awaited.remove(row.name)
        tell()
        return answer

    tell()
    for group, answer in zip(groups.values(), each(ask_one, groups.values(), 500, seconds)):
        for row in group:
            yield row, answer


def ask_engines(rows, seconds):
    """Take what engines answer into rows. An engine is asked once; files share a TLS context."""
    engines = {row.engine.files: row.engine for row in rows}
    contexts = {files: _outcome(type(one).context, one) for files, one in engines.items()}

    def ask(group):
        start, engine = time.monotonic(), group[0].engine
        engine.tls = contexts[engine.files]
        if isinstance(engine.tls, Exception):  # of our files, which tells nothing of the machine
            return Unreachable(str(engine.tls)), 0
        return _outcome(engine.version, seconds), time.monotonic() - start

    for row, found in ask_groups(rows, lambda row: (row.engine.url, row.engine.files), ask,
                                 seconds):
        row.answer, duration = (found, seconds) if isinstance(found, Exception) else found
        row.cells["ResponseTime"] = Duration(duration)


def ask_drivers(rows, seconds):
    """Take the states of machines whose engines are silent into their rows."""
    def ask(group):
        drivers = [row.machine.driver for row in group]
        return dict(zip(group, type(drivers[0]).states(drivers, seconds)))

    for row, found in ask_groups(rows, lambda row: type(row.machine.driver), ask, seconds):
        row.state = found if isinstance(found, Exception) else found[row]


# --- actions

def for_each(action, *more, done=""):
    """The command that does action(machine, *more) for several machines; `done` they may have
    other addresses after it."""
    def command(context, options, words):
        code = on_each(context, context.names(words), lambda machine: action(machine, *more))
        if done and not code:
            out.say(done + " machines may have new IP addresses. You may need to re-run the "
                    "`docker-machine env` command.")
        return code

    return command


def command_provision(context, options, words):
    def provision(machine):
        machine.take_over = options["take-over"]
        machine.provision()

    return on_each(context, context.names(words), provision)


def command_regenerate_certs(context, options, words):
    question = "Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): "
    if not (options["force"] or agrees("changed", "--force", question)):
        return 0
    names, failed = context.names(words), {}
    out.say("Regenerating TLS certificates")
    if options["client-certs"]:
        out.say("Regenerating local certificates")
        failed = renew_shared(context.store, names)
    return max(report_each(names, list(map(failed.get, names))),
               on_each(context, [name for name in names if name not in failed],
                       lambda machine: machine.provision(renew_server=True)))


def renew_shared(store, names):
    """Renew each CA and client pair of these machines once; {name: error} where that failed."""
    done = {}  # type: dict

    def renew(name):
        machine = store.machine(name)
        machine.driver.check_provision()
        files = machine.tls_files()
        if files not in done:
            done[files] = _outcome(lambda one: one.bootstrap_certificates(renew=True), machine)
        return done[files]

    outcomes = {name: _outcome(renew, name) for name in names}
    return {name: error for name, error in outcomes.items() if error}


def agrees(done, flag, question="Are you sure? (y/n): "):
    """Whether the answer is one word that begins with y. Raises MachineError without an answer."""
    with Asking():
        try:
            print(question, end="", flush=True)
        except OSError:
            pass  # nobody reads it
        line = sys.stdin.readline() if sys.stdin else ""
    if not line:
        raise MachineError("No answer; nothing was %s." % done,
                           "Use %s to skip the question." % flag)
    agreed = re.fullmatch(r"\s*[yY]\S*\s*", line)
    if not agreed:
        out.say("Nothing was %s." % done)
    return agreed


def command_rm(context, options, words):
    if not words:
        raise UsageError("Error: Expected to get one or more machine names as arguments",
                         "See: docker-machine rm --help")
    store, force = context.store, options["force"]
    names = list(dict.fromkeys(name for word in words for name in matching(store, word)))
    there = list(filter(store.exists, names))
    if there:
        last = announce_removal(store, there)
        flag = "-f" if last else "-y"
        if not (force or options["y"] and not last or agrees("removed", flag)):
            return 0

    def remove(name):
        with stage('Error removing host "%s": ' % name):
            remove_machine(store, name, force)

    return report_each(names, each(remove, names))


def announce_removal(store, names):
    """Tell what will be gone; the machines with which a cluster of others ends."""
    def is_kept(name):  # what it runs on stays
        return type(store.machine(name).driver).remove is Driver.remove

    kept = [name for name in names if _outcome(is_kept, name) is True]
    out.say("About to remove " + ", ".join(names))
    if len(kept) < len(names):
        out.progress("WARNING: This action will delete both local reference and remote instance.")
    if kept:
        out.progress("WARNING: This action will delete only the local reference of %s; the host "
                     "itself stays as it is." % ", ".join(kept))
    last = _outcome(lambda names: load_extra("swarm").last_ones(store, names), names)
    if not isinstance(last, list) or not last:
        return []
    out.progress("WARNING: %s is the last manager of a cluster: all of its services end." %
                 ", ".join(last))
    return last


def matching(store, word):
    """The machines that a word of `rm` names: itself, or those that a glob pattern matches.
    Raises MachineError for a pattern of nothing but wildcards, and for one without a match."""
    if set("*?[").isdisjoint(word):
        if not is_plain_name(word):
            raise UsageError('"%s" is not the name of a machine.' % word, "See: docker-machine ls")
        return [word]
    if not re.search("[^\\W_]", re.sub(r"\[!?\]?[^]]*\]", "", word)):  # a class as fnmatch reads it
        raise UsageError('The pattern "%s" would remove every machine.' % word, "Name them, or: "
                         "docker-machine rm $(docker-machine ls -q)")
    found = fnmatch.filter(store.names(), word)
    if not found:
        raise MachineError('No machine matches "%s".' % word, "See: docker-machine ls")
    return found


def remove_machine(store, name, force):
    """Remove a machine at its driver's and here. Raises MachineError and keeps the entry if the
    driver fails; with `force` that is only told."""
    if not store.exists(name):
        missing = store.no_such(name)
        if force:
            return out.warn(missing.message)
        raise missing
    with store.lock(name) as lock:
        if not store.exists(name):  # another one was faster
            raise store.no_such(name)
        swarm = {}  # type: dict
        try:
            if exists(join(store.folder(name), "config.json")):
                with store.machine(name) as machine:
                    swarm = machine.swarm
                    trouble = swarm.get("Node") and _outcome(
                        lambda node: need_extra("swarm", "Swarm mode").leave(node, True), machine)
                    if trouble and not force:
                        raise trouble
                    if trouble:
                        out.warn("%s did not leave its cluster: %s" % (name, explained(trouble)))
                    machine.driver.remove()
        except Exception as error:
            if force:
                out.error('Error removing host "%s": %s' % (name, error))
            else:
                if isinstance(error, MachineError) and "rm -f" not in error.hint:
                    error.advise("To remove only the local entry: docker-machine rm -f "
                                 + quote(name))
                raise
        store.delete(name)
        store.tell_others(name)
        if swarm.get("Agent"):
            store.tell_masters(name)
        lock.remove()
    out.say("Successfully removed " + name)


# --- what other programs are told

def command_context(context, options, words):
    store, use = context.store, options["use"]
    names = context.names(words) if use else list(dict.fromkeys(words)) or store.names()
    if use and (options["rm"] or len(names) > 1):
        raise UsageError("--use is for one machine.", "See: docker-machine context --help")
    contexts = [DockerContext(store.folder(name), name) for name in names]
    if options["rm"]:
        for one in contexts:
            if one.remove():
                out.say('The docker context "%s" is removed.' % one.name)
        return 0

    def write(machine):
        if machine.unfinished():
            raise MachineError('Machine "%s" was not finished.' % machine.name,
                               resume_hint(machine.name))
        machine.write_context()
        out.say('The docker context "%s" is up to date.' % machine.context().name)

    code = on_each(context, names, write)
    if use and not code:
        contexts[0].use()
        out.say('docker commands go to "%s" now.' % names[0])
    return code


def command_ssh_config(context, options, words):
    store, there = context.store, options["install"]
    if not (there or options["uninstall"]):
        names = list(dict.fromkeys(words)) or store.names()
        blocks = ssh_blocks(store, names)
        out.answer("\n".join(one for one in blocks if isinstance(one, str)).rstrip())
        return report_each(words, blocks) if words else 0
    if words:
        raise UsageError("All machines of the store are in the file that ssh reads.",
                         "Name none with --install and --uninstall.")
    with Lock(join(expanduser("~"), ".ssh", "docker-machine.lock"), "~/.ssh/config"):
        edit_user_ssh_config("Include " + basename(store.ssh_config), there)
        if there:
            write_ssh_config(store)
            out.say("ssh, scp, rsync and the like know all machines by their names now.")
        elif exists(store.ssh_config):
            os.unlink(store.ssh_config)


# --- ssh and scp

def command_ssh(context, words):
    machine = context.machine(words[:1])
    if machine.driver.get_state() != RUNNING:
        raise MachineError('Error: Cannot run SSH command: Host "%s" is not running' % machine.name,
                           "Start it, or see: docker-machine ls")
    argv = machine.driver.ssh().command(*words[1:])
    if not words[1:]:  # a login may be what the user's ssh_config makes of it
        place = argv.index("RemoteCommand=none")
        del argv[place - 1:place + 1]
    return hand_over(argv)


def command_scp(context, options, words):
    if len(words) != 2:
        raise UsageError("Improper number of arguments", "See: docker-machine scp --help")
    delta = options["delta"]
    need(*("rsync", "--delta option") if delta else ("scp", "scp feature"))
    places = [Place(context.store, word) for word in words]
    machines = [place.machine for place in places if place.machine]
    flags = [flag for name, flag in (("recursive", "-r"), ("quiet", "-q")) if options[name]]
    if len(machines) == 2:  # by way of this computer
        if delta:
            raise UsageError("--delta (rsync) cannot copy between two machines.",
                             "Leave --delta out, or copy by way of this computer.")
        return run_with_config("scp", machines, ["-3", *flags, "--", *(
            place.text(by_name=True) for place in places)])
    ssh = [word for machine in machines for word in machine.driver.ssh().words()]
    program = ["scp", *ssh]
    if delta:
        # rsync splits this at blanks, and a doubled quote stands for one inside quotes.
        shell = " ".join("'%s'" % word.replace("'", "''") for word in ["ssh", *ssh])
        program = ["rsync", "-e", shell, *([] if options["quiet"] else ["--progress"])]
    return hand_over([*program, *flags, "--", *(place.text() for place in places)])


def run_with_config(program, machines, words):
    """A program of OpenSSH's family, with the machines' settings in a file of ssh_config form:
    one command line can hold only one port. Its exit code."""
    with Scratch() as folder:
        path = join(folder, "config")
        blocks = [machine.driver.ssh().config_block(machine.name) for machine in machines]
        users = "Host *\nInclude ~/.ssh/config\nInclude /etc/ssh/ssh_config\n"
        write_atomic(path, "\n".join([*blocks, users]))
        with Asking():
            return subprocess.call([program, "-F", path, *words])


def command_mount(context, options, words):
    if not 1 <= len(words) <= 2:
        raise UsageError("Improper number of arguments", "See: docker-machine mount --help")
    unmount = ["fusermount3" if shutil.which("fusermount3") else "fusermount", "-u"]
    if MACOS:
        unmount = ["umount"]
    word = words[0] if ":" in words[0] else "%s:%s" % (context.names([])[0], words[0])
    place = Place(context.store, word)
    need(*(unmount[0], "unmount option") if options["unmount"] else ("sshfs", "mount feature"))
    point = words[1] if len(words) > 1 else place.path
    if options["unmount"]:
        return hand_over([*unmount, point])
    if not place.machine:
        raise UsageError('"%s" is not on a machine.' % words[0], "Write NAME:PATH.")
    if len(words) == 1 and isdir(point) and os.listdir(point):
        raise UsageError("%s is a folder of this computer that is in use." % point,
                         "Name an empty one: docker-machine mount %s FOLDER" % quote(words[0]))
    return run_with_config("sshfs", [place.machine], [place.text(by_name=True), point])


class Place:
    """One side of `scp`: PATH, localhost:PATH or [USER@]MACHINE:PATH."""

    machine = None  # type: typing.Any

    def __init__(self, store, word):
        host, colon, self.path = word.partition(":")
        self.user, _, name = host.rpartition("@")
        if not colon or "/" in host or WINDOWS and len(host) == 1:  # a file, as scp reads it
            self.path = word
        elif host != "localhost":
            with stage("Error loading host: "):
                self.machine = store.machine(name)
        if not self.machine and re.match("[^/]*:", self.path):
            self.path = join(".", self.path)  # scp would take it for a host

    def text(self, by_name=False):
        """As scp and rsync write it; `by_name` where a file tells ssh what the machine is."""
        if not self.machine:
            return self.path
        ssh = self.machine.driver.ssh()
        host = plain_alias(self.machine.name) if by_name else ssh.host
        return "%s@%s:%s" % (self.user or ssh.user, "[%s]" % host if ":" in host else host,
                             self.path)


# --- doctor

def command_doctor(context, options, words):
    checks = {"programs": check_programs, "clock": check_clock, "store": check_files,
              "certificates": check_certificates, "proxies": check_proxies,
              "machines": check_machines}  # type: dict
    for name in driver_names():
        checks["driver " + name] = lambda store, name=name: store.new(
            "doctor", load_driver(name)).driver.checks() or ()

    findings = []  # type: list
    results = each(lambda subject: list(checks[subject](context.store)), checks)
    for subject, found in zip(checks, results):
        if isinstance(found, Exception):  # which must not hide what the others found
            found = [Finding("bad", subject, str(found), getattr(found, "hint", ""))]
        findings += found
    findings.sort(key=lambda finding: ("bad", "note", "ok").index(finding.level))
    if options["format"]:
        answer_each(options, [{key.title(): out.mask(text) for key, text in vars(finding).items()}
                              for finding in findings], "")
    else:
        for finding in findings:
            line = "%-5s %s: %s" % (finding.level, finding.subject, finding.words)
            text = "\n      ".join([line, *finding.fix.splitlines()])
            out.answer(shown(out.as_called(out.mask(text))))
        if findings[0].level == "bad":
            out.answer(shown(out.as_called(out.mask("Begin with this: " + (
                findings[0].fix.partition(": ")[2] or findings[0].fix)))))
    return int(findings[0].level == "bad")


def check_programs(store):
    for name, question, level, use in (
            ("ssh", "-V", "bad", "needed for every machine"),
            ("openssl", "version", "bad", "makes the certificates"),
            ("docker", "--version", "note", "the client that talks to the machines' engines")):
        try:
            result = run([name, question], seconds=20)
            said = result.stdout.strip() or result.stderr.strip()
            yield Finding("ok", name, said.rpartition("\n")[2]) if result.ok else Finding(
                "bad", name, "does not work: " + result.last_words(1))
        except MachineError as error:
            yield Finding(level, name, "%s (%s)" % (error.message, use), error.hint)


def check_clock(store):
    """Without a network, the only other clocks are the dates of files."""
    for path in (join(store.certs, "ca.pem"), realpath(THIS_FILE)):
        if exists(path) and os.path.getmtime(path) > time.time() + 300:
            return [Finding("bad", "clock", "is before the date of %s: certificates are not valid "
                            "yet" % path, "Set it: sudo timedatectl set-ntp true")]
    return [Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))]


def check_files(store):
    """The store's folder, and files in it that others own or may read."""
    store.check_writable()
    yield Finding("ok", "store", store.path)
    if WINDOWS:
        return
    for path in [path for pattern in ("certs/*", "machines/*", "machines/*/*")
                 for path in glob.glob(join(glob.escape(store.path), pattern))]:
        try:
            facts = os.lstat(path)
        except FileNotFoundError:  # written and renamed meanwhile
            continue
        secret = re.match(r"(?s)(?!.*\.pub\Z)(.*key|config\.json|id_)", basename(path))
        if os.geteuid() not in (0, facts.st_uid):
            yield Finding("bad", "store", "%s belongs to another user" % path,
                          "Take it: sudo chown -R $(id -u) " + quote(store.path))
        elif secret and isfile(path) and facts.st_mode & 0o077:
            yield Finding("bad", "store", "%s is open to other users" % path,
                          "Close it: chmod 600 " + quote(path))


def check_certificates(store):
    renew, names = "Renew it: docker-machine regenerate-certs ", store.names()
    shared = "The next create renews it."
    if names:  # each of them renews what all share
        shared = renew + "--client-certs " + quote(names[0])
    cures = {join(store.certs, name): shared for name in ("ca.pem", "cert.pem")}
    cures.update((join(store.folder(name), "server.pem"), renew + quote(name)) for name in names)
    paths = [path for path in cures if exists(path)]
    for path, days in zip(paths, each(days_left, paths, 8)):
        if isinstance(days, Exception):
            level, words = "bad", "cannot be read: %s" % reason(days)
        elif days < 0:
            level, words = "bad", "has expired"
        elif days < 30:
            level, words = "note", "expires in %d days" % days
        else:
            continue
        yield Finding(level, "certificates", "%s %s" % (path, words), cures[path])
    if paths:
        yield Finding("ok", "certificates", "%d looked at" % len(paths))


def check_proxies(store):
    """docker sends what is for an engine to a proxy, unless NO_PROXY names the engine's address."""
    named = [name for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
             if os.environ.get(name)]
    if not named:
        return
    for name in named:
        if "://" not in os.environ[name]:
            yield Finding("note", "proxy", "%s has no scheme" % name, "Begin it with http://")
    exempt = os.environ.get(no_proxy_variable(), "").split(",")
    for row in read_rows(store):
        host = row.aim() and row.engine and row.engine.host  # none behind ssh, past all proxies
        if host and not any(is_exempt(host, part.strip()) for part in exempt):
            yield Finding("note", "proxy", "%s is set, and NO_PROXY does not hold %s, where %s is"
                          % (named[0], host, row.name),
                          'Set it: eval "$(docker-machine env --no-proxy %s)"' % row.name)
    yield Finding("ok", "proxy", ", ".join(named) + " set")


def is_exempt(host, part):
    """Whether an entry of NO_PROXY covers a host (Go's httpproxy); the loopback always is."""
    part = re.sub(r"\A([^:]*):[^:]*\Z", r"\1", part)  # it may have a port
    if part == "*" or host in ("localhost", "::1") or host.startswith("127."):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(part, False)
    except ValueError:  # one of them is a name
        return not host[-1:].isdigit() and ("." + host).endswith("." + part.lstrip("."))


def check_machines(store):
    """Folders without a machine, machines left half-made, and those whose engine is silent."""
    rows = read_rows(store)
    ask_rows(list(filter(Row.aim, rows)), 10)
    for row in rows:
        name, error, step = row.name, row.cells["Error"], store.unfinished(row.name)
        if not exists(join(store.folder(name), "config.json")):
            yield Finding("bad", "store", "%s has no config.json" % store.folder(name),
                          "Remove it: docker-machine rm -f " + quote(name))
        elif step:
            yield Finding("bad", name, "was not finished (%s)" % step, resume_hint(name))
        elif error:
            verb = "version" if row.engine and not row.engine.host else "provision"
            yield Finding("bad", name, error, "Look closer: docker-machine %s %s" % (
                verb, quote(name)))
        else:
            yield Finding("ok", name, row.cells["State"])


# --- crash reports

def report_crash(store, command, error):
    """Leave a report of an unexpected exception, unless the store forbids it. Raises nothing."""
    if exists(join(store.path, "no-error-report")):
        return
    report = {
        "Version": __version__, "Python": platform.python_version(), "OS": platform.platform(),
        "Shell": os.environ.get("SHELL", ""), "Command": command,
        "Stage": getattr(error, "stage", "").strip(": "),
        "Error": "%s: %s" % (type(error).__name__, error),
        "Traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    }
    report = {key: out.mask(text) for key, text in report.items()}
    path = join(store.path, "crash-reports", "%s-%d.json" % (
        time.strftime("%Y%m%d-%H%M%S"), os.getpid()))
    try:
        make_folder(dirname(path))
        write_atomic(path, go_json(report))
        out.error("A report is in " + path)
    except Exception as failure:  # it must not hide the error that it is about
        out.warn("the crash report could not be saved: %s" % failure)


# --- install

LAUNCHER = """#!/usr/bin/env python3
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from docker_machine import end, main

end(main())
"""
COMMAND_FILE = '@py -3 "%~dp0..\\lib\\docker-machine-portable\\docker-machine" %*\r\n'


def command_install(context, options, words):
    """Let a link in a folder of the PATH start what is put into lib beside it."""
    usual = "~/.local/bin" if WINDOWS or os.geteuid() else "/usr/local/bin"
    folder = abspath(expanduser(options["to"] or usual))
    library = join(dirname(folder), "lib", "docker-machine-portable")
    start, program = join(library, "docker-machine"), join(folder, "docker-machine")
    if WINDOWS:
        start = program = program + ".cmd"
    marks = {library: isfile(join(library, "docker_machine.py")),
             program: realpath(program) == realpath(start)}
    for path, is_ours in marks.items():
        if os.path.lexists(path) and not is_ours:
            raise UsageError("%s is there, and not of this program." % path,
                             "Move it away, or name another folder: --to DIR")
    try:
        if options["uninstall"]:
            os.unlink(program)
            shutil.rmtree(library)
            out.say("%s and %s are removed; machines stay." % (program, library))
            return 0
        put_library(library)
        os.makedirs(folder, exist_ok=True)
        if WINDOWS:
            write_atomic(program, COMMAND_FILE)
        elif not exists(program):
            os.symlink(start, program)
    except OSError as error:
        raise MachineError(explained(error).message, "Name another folder: --to DIR")
    return tell_how_to_call(folder, program)


def put_library(library):
    """This file and the drivers that came with it, compiled, in place of older ones."""
    import py_compile
    fresh, files = library + ".new", {"docker_machine.py": THIS_FILE}
    for folder in (own_extras(), join(dirname(THIS_FILE), "docker_machine_extras")):
        files.update((join("extras", name + ".py"), join(folder, name + ".py"))
                     for name in drivers_in(folder))
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(join(fresh, "extras"))
    for name, path in files.items():
        shutil.copyfile(path, join(fresh, name))
        py_compile.compile(join(fresh, name), dfile=join(library, name))
    with open(join(fresh, "docker-machine"), "w") as file:
        file.write(LAUNCHER)
    os.chmod(file.name, 0o755)
    shutil.rmtree(library, ignore_errors=True)
    os.rename(fresh, library)


def tell_how_to_call(folder, program):
    """What is left to do until the shell finds the program, and completes its words."""
    out.program, first = "docker-machine", shutil.which("docker-machine") or ""
    out.say("docker-machine %s is installed: %s" % (__version__, program))
    if realpath(first) != realpath(program):
        out.say("Type this now, and put it into the start-up file of your shell: "
                'export PATH=%s:"$PATH"' % quote(folder))
    out.say("For completion put this into the start-up file of your shell, with its name: "
            'eval "$(docker-machine completion bash)"')
    return 0


# --- completion

COMPLETION_SCRIPTS = {  # each asks `completion SHELL WORDS...` what the last word can become
    "bash": r"""_docker_machine() {
    local line words last lead
    line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$line"
    [[ $line != *[[:space:]] ]] || words+=('')
    last=${words[${#words[@]}-1]}
    lead=${last%"${last##*[=:]}"} # bash takes what follows these signs for a word of its own
    COMPREPLY=()
    while IFS= read -r line; do COMPREPLY+=("${line#"$lead"}"); done < <(
        docker-machine completion bash "${words[@]:1}" 2>/dev/null)
    [[ ${COMPREPLY-} != *[=:/] ]] || compopt -o nospace 2>/dev/null
}
complete -o default -F _docker_machine docker-machine""",
    "zsh": r"""#compdef docker-machine
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_docker_machine() {
    local -a found
    found=(${(f)"$(docker-machine completion zsh "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    (( $#found )) || { _files; return; }
    compadd -- ${found:#*[=:\/]}
    compadd -S '' -- ${(M)found:#*[=:\/]}
}
compdef _docker_machine docker-machine""",
    "fish": r"""function __docker_machine
    set -l words (commandline -opc) (commandline -ct)
    set -l found (docker-machine completion fish $words[2..-1] 2>/dev/null)
    and test (count $found) -gt 0
    and printf '%s\n' $found
    or __fish_complete_path (commandline -ct)
end
complete -c docker-machine -f -a '(__docker_machine)'""",
    # PowerShell drops an empty argument, hence the sign before the last word.
    "powershell": r"""Register-ArgumentCompleter -Native -CommandName docker-machine -ScriptBlock {
    param($word, $ast, $position)
    $words = @($ast.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" })
    if ($word) { $words = @($words | Select-Object -SkipLast 1) }
    docker-machine completion powershell @words "+$word" | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_)
    }
}""",
}


def command_completion(context, words):
    shell, *typed = words or [""]
    if shell not in COMPLETION_SCRIPTS:
        raise UsageError("Error: Expected one of the shells " + ", ".join(COMPLETION_SCRIPTS),
                         'For example: eval "$(docker-machine completion bash)"')
    if not typed:
        return show_lines([COMPLETION_SCRIPTS[shell]])
    start = typed.pop()
    if shell == "powershell":
        start = start[1:]
    return show_lines(sorted(word for word in completions(typed, start) if word.startswith(start)))


def completions(before, start):
    """What can stand after the words `before`; shells show only what begins with `start`."""
    options, words = parse_flags(GLOBAL_FLAGS, before, interleaved=False)
    name, flags = "help", GLOBAL_FLAGS
    if words:
        name = words.pop(0)
        if name not in COMMANDS:
            return []
        own = _outcome(flags_of, [name, *words, ""])  # of a driver that does not load, too
        flags = (own if isinstance(own, tuple) else CREATE_FLAGS) + COMMON_FLAGS
    store = Store(expanduser(options["storage-path"]))
    given, others = split_words(flags, [*words, ""])
    flag, equals, text = start.partition("=")
    if others[-1:] != [""]:  # what is typed is the value of a flag
        return flag_values(store, given[-1][0].name, start)
    if start.startswith("-") and equals:
        return [flag + "=" + value for value in flag_values(store, flag.lstrip("-"), text)]
    if start.startswith("-"):
        return ["--" + one.name for one in flags]
    if name in ("help", "completion"):
        return COMMANDS if name == "help" else COMPLETION_SCRIPTS
    usage = COMMANDS[name].usage
    if "NAME" not in usage or name == "create" or name == "ssh" and words:
        return []
    if "PATH" in usage and ":" in start:
        return remote_paths(store, start)
    # A name that needs quotes could be a command to the shell.
    return [machine + (":" if "PATH" in usage else "") for machine in store.names()
            if quote(machine) == machine]


def flag_values(store, name, start):
    """What a flag may be given."""
    if name == "filter":
        key = start.partition("=")[0]
        values = {"driver": driver_names(), "name": store.names(), "state": STATES[1:]}
        return [key + "=" + value for value in values.get(key, ())] or [
            key + "=" for key in FILTERS]
    return {"driver": driver_names(), "shell": [*SHELLS, *POSIX_SHELLS[:5]],
            "format": ["json", *("{{.%s}}" % field for field in LS_HEADERS)]}.get(name, [])


def remote_paths(store, start):
    """[USER@]NAME:PATH for the files on a machine whose paths begin so; none if it is silent."""
    place, _, path = start.partition(":")
    sys.stdin = None  # ssh is not to ask
    try:
        with store.machine(place.rpartition("@")[2]) as machine:
            found = machine.driver.ssh().run("ls -1dp -- %s*" % quote(path), seconds=5).stdout
    except MachineError:
        found = ""
    return [place + ":" + line for line in found.splitlines() if quote(line) == line]


def flags_of(words):
    """The flags of the command at the front; of `create` also its driver's. Raises MachineError."""
    if words[0] != "create":
        return COMMANDS[words[0]].loaded().flags
    return tuple(create_flags(create_driver(words[1:])))


# --- help

def command_help(context, options, words):
    if not words:
        return show_help(context)
    command = find_command(context, words[0])
    return show_command_help(command, flags_of([command.name, "--help"] + words[1:]))


def find_command(context, name):
    """The Command of that name. Raises UsageError."""
    if name in COMMANDS:
        return COMMANDS[name].loaded()
    raise UsageError("%s: '%s' is not a %s command. See 'docker-machine --help'." % (
        context.program, name, context.program),
        nearest(name, COMMANDS, "Did you mean: docker-machine %s?"))


def show_help(context):
    return show_lines([
        "Usage: %s [OPTIONS] COMMAND [arg...]" % context.program, "",
        "Create and manage machines running Docker.", "",
        "Version: " + version_line().partition(" version ")[2], "",
        "Options:", *flag_help(GLOBAL_FLAGS), "",
        "Commands:", *two_columns([(command.name, command.summary)
                                   for command in COMMANDS.values()]), "",
        "Run '%s COMMAND --help' for more information on a command." % context.program])


def show_command_help(command, flags=()):
    usage = "Usage: docker-machine %s %s" % (command.name, "[OPTIONS] " if flags else "")
    lines = [(usage + command.usage).rstrip(), "", command.summary]
    if flags:
        lines += ["", "Options:", ""] + flag_help(flags)
    if command.name == "create":
        lines += ["", "Drivers: " + ", ".join(driver_names()),
                  "Run 'docker-machine create --driver name --help' to include the create flags "
                  "for that driver in the help text."]
    return show_lines(lines)


SWARM_FLAG = Flag("swarm", False, "Use the address of the Swarm manager instead of the engine's")
TIMEOUT_FLAG = Flag("timeout", 10, "Timeout in seconds", short="t", least=1)
ONE, SOME = "[NAME]", "[NAME...]"
COMMANDS = {command.name: command for command in (
    Command("active", command_active, "", "Print which machine is active", TIMEOUT_FLAG,
            FORMAT_FLAG),
    Command("adopt", None, "NAME", "Make a machine of a host whose engine runs, and change nothing "
            "there", file="adopted"),
    Command("certs", None, SOME, "Show certificates: whose, until when, and whether they fit; "
            "renew them", file="certs"),
    Command("config", command_config, ONE, "Print the connection config for machine", SWARM_FLAG),
    Command("context", command_context, SOME, "Make a docker context of each machine, so that "
            "docker finds it without env",
            Flag("use", False, "Let docker commands go to the machine from now on"),
            Flag("rm", False, "Remove the contexts of machines instead; machines stay")),
    Command("create", command_create, "NAME...", "Create a machine, or several at once"),
    Command("csr", None, "", "Ask for access to somebody else's machine", file="share"),
    Command("export", None, "NAME", "Write a machine, or the access to it, into a file",
            file="share"),
    Command("import", None, "FILE", "Add a machine from a file of export", file="share"),
    Command("doctor", command_doctor, "", "Check this computer, the store and the machines, and "
            "tell how to fix what is wrong", FORMAT_FLAG),
    Command("env", command_env, ONE,
            "Display the commands to set up the environment for the Docker client",
            SWARM_FLAG, FORMAT_FLAG,
            Flag("shell", "", "Force environment to be configured for a specified shell: [%s], "
                 "default is auto-detect" % ", ".join([*POSIX_SHELLS[:5], *sorted(SHELLS)])),
            Flag("unset", False, "Unset variables instead of setting them", short="u"),
            Flag("no-proxy", False, "Add machine IP to NO_PROXY environment variable")),
    Command("inspect", command_inspect, ONE, "Inspect information about a machine", FORMAT_FLAG),
    Command("ip", command_ip, SOME, "Get the IP address of a machine", FORMAT_FLAG),
    Command("kill", for_each(Machine.turn, "kill"), SOME, "Kill a machine"),
    Command("ls", command_ls, "", "List machines",
            Flag("quiet", False, "Enable quiet mode", short="q"),
            Flag("filter", [], "Filter output by driver, label, name, state or swarm: key=value"),
            TIMEOUT_FLAG, FORMAT_FLAG),
    Command("pause", for_each(Machine.turn, "pause"), SOME, "Pause a machine; start resumes it"),
    Command("provision", command_provision, SOME, "Re-provision existing machines",
            Flag("take-over", False, "Let an adopted machine be changed like any other")),
    Command("regenerate-certs", command_regenerate_certs, SOME,
            "Regenerate TLS Certificates for a machine",
            Flag("force", False, "Force rebuild and do not prompt", short="f"),
            Flag("client-certs", False, "Also regenerate client certificates and CA.")),
    Command("restart", for_each(Machine.restart, done="Restarted"), SOME, "Restart a machine"),
    Command("rm", command_rm, "NAME...", "Remove a machine",
            Flag("force", False, "Remove local configuration even if machine cannot be removed, "
                 "also implies an automatic yes", short="f"),
            Flag("y", False, "Assumes automatic yes to proceed with remove, without prompting "
                 "further user confirmation")),
    Command("ssh", command_ssh, "[NAME [ARG...]]",
            "Log into or run a command on a machine with SSH.", raw=True),
    Command("set", None, "NAME...", "Change a machine: its engine's options, its certificate's "
            "names, its size", file="change"),
    Command("ssh-config", command_ssh_config, SOME, "Print settings by which ssh, rsync, VS Code "
            "and others reach machines by name",
            Flag("install", False, "Keep them in a file that ~/.ssh/config includes"),
            Flag("uninstall", False, "Take them out of ~/.ssh/config again")),
    Command("scp", command_scp, "[[USER@]NAME:]PATH [[USER@]NAME:]PATH",
            "Copy files between machines",
            Flag("recursive", False, "Copy files recursively (required to copy directories)",
                 short="r"),
            Flag("delta", False, "Reduce amount of data sent over network by sending only the "
                 "differences (uses rsync)", short="d"),
            Flag("quiet", False, "Disables the progress meter as well as warning and diagnostic "
                 "messages from ssh", short="q")),
    Command("mount", command_mount, "[[USER@]NAME:]PATH [MOUNTPOINT]",
            "Mount or unmount a directory from a machine with SSHFS.",
            Flag("unmount", False, "Unmount instead of mount", short="u")),
    Command("start", for_each(Machine.turn, "start", done="Started"), SOME, "Start a machine"),
    Command("status", query("State", lambda machine: machine.driver.get_state(),
                            "error getting state for host NAME: "), ONE,
            "Get the status of a machine", FORMAT_FLAG),
    Command("stop", for_each(Machine.turn, "stop"), SOME, "Stop a machine"),
    Command("swarm", None, "VERB NAME...", "Swarm mode: init, join, leave, status, promote, "
            "demote, unlock", file="swarm"),
    Command("upgrade", for_each(Machine.upgrade), SOME,
            "Upgrade a machine to the latest version of Docker"),
    Command("url", query("URL", lambda machine: machine.driver.get_url()), ONE,
            "Get the URL of a machine", FORMAT_FLAG),
    Command("version", command_version, ONE,
            "Show the Docker Machine version or a machine docker version", FORMAT_FLAG),
    Command("install", command_install, "", "Put docker-machine on the PATH of this computer",
            Flag("to", "", "Folder of the program (default ~/.local/bin, for root /usr/local/bin)"),
            Flag("uninstall", False, "Remove it again; machines stay")),
    Command("completion", command_completion, "SHELL",
            "Print a completion script for bash, zsh, fish or powershell", raw=True),
    Command("help", command_help, "[COMMAND]", "Shows a list of commands or help for one command"),
)}


# === 15. Main =====================================================================================

def main(argv=None):
    """Run a command line; the exit code. Without one, that of this very program, which ends then
    if it failed: who calls this as an entry point may not look at what it gives."""
    if argv is None:
        gc.set_threshold(50000)  # a twentieth of a query's time
    # Python 3.6 in the C locale does not take the words for UTF-8.
    words = [os.fsencode(word).decode("utf-8", "surrogateescape") for word in argv or sys.argv]
    try:
        code = dispatch(words) or 0
    except KeyboardInterrupt as error:
        blank = "\n" if columns(sys.stderr) else ""  # the prompt's line has a ^C
        show_error(MachineError(blank + "Interrupted.", getattr(error, "hint", "")))
        code = error.args[0] if error.args else 130
    except BrokenPipeError:
        abandon(sys.stdout)  # whoever read the answer has seen enough
        code = 0
    except Exception as error:
        if out.debugging:
            out.error(traceback.format_exc())
        told = explained(error)
        show_error(told)
        if isinstance(error, OSError):
            abandon(sys.stdout)
        code = told.code
    if argv is None and code:
        sys.exit(code)
    return code


def dispatch(argv):
    """Find the command of a command line and run it; its exit code. Raises MachineError."""
    options, words = parse_flags(GLOBAL_FLAGS, argv[1:], interleaved=False)
    out.debugging, out.progress_to_stderr = wants_debug(options["debug"]), False
    hide_secrets(GLOBAL_FLAGS, options)
    context = Context(argv, options)
    if options["version"]:
        return show_lines([version_line()])
    if options["help"] or not words:
        return show_help(context)
    command = find_command(context, "help" if words[0] == "h" else words[0])
    signals = Signals(command)
    try:
        with signals, Life(bool(signals.names)):
            return run_command(context, command, words[1:])
    except (MachineError, OSError, UnicodeEncodeError):
        raise
    except KeyboardInterrupt as error:
        if signals.names and not hasattr(error, "hint"):
            error.hint = "To go on, run the same command again."  # type: ignore[attr-defined]
        raise
    except Exception as error:
        if command.name in ("create", "upgrade"):  # as in Docker Machine, the long ones
            report_crash(context.store, command.name, error)
        raise


class Signals:
    """While an action runs, SIGTERM and SIGHUP end it as ^C does, so that it says how to go on."""

    def __init__(self, command):
        query = FORMAT_FLAG in command.flags or command.name in ("config", "ssh", "completion")
        self.names = () if query else ("SIGTERM", "SIGHUP")

    def __enter__(self):
        self.replace(0, self.end)
        return self

    def __exit__(self, *unused):
        self.replace(self.end, 0)

    def replace(self, old, new):
        """Set the handler `new` where it was `old`; 0 is what the system does by itself."""
        for name in self.names:
            try:
                number = getattr(signal, name)
                if signal.getsignal(number) == old:
                    signal.signal(number, new)
            except (AttributeError, ValueError):
                pass  # Windows has no SIGHUP, and only the main thread may set them

    @staticmethod
    def end(number, frame):
        raise KeyboardInterrupt(128 + number)


def run_command(context, command, words):
    if command.raw:
        if words[:1] in (["-h"], ["-help"], ["--help"]):
            return show_command_help(command)
        return command.function(context, words)
    flags = flags_of([command.name] + words)
    options, words = parse_flags(flags + COMMON_FLAGS, words)
    hide_secrets(flags, options)
    out.debugging = wants_debug(out.debugging or options["debug"])
    if options["help"]:
        return show_command_help(command, flags)
    out.debug("store: " + context.store.path)
    if words and not command.usage:
        raise UsageError("Error: Too many arguments given",
                         "See: docker-machine %s --help" % command.name)
    for flag in flags if flags is command.flags else ():  # else create does it
        flag.check(options[flag.name])
    return command.function(context, options, words)


def end(code):
    """Leave at once: in good order Python takes 3 ms, and waits for what hangs in a thread."""
    for path in list(Scratch.left):
        shutil.rmtree(path, ignore_errors=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError):
            pass  # closed, or full: main has said so
    os._exit(code)


if __name__ == "__main__":
    end(main())
