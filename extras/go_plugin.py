# SPDX-License-Identifier: Apache-2.0
"""Docker Machine's own plugins: programs docker-machine-driver-NAME, written in Go, as drivers.

A plugin serves one machine on a port of 127.0.0.1, by Go's net/rpc over gob, and keeps the settings
of the machine in a form of its own. It ends when it is told so, or 10 s after its last heartbeat.
"""

import os

import docker_machine as dm
from docker_machine import MachineError, out, plain_words

# --- Gob, read
# A stream is messages: a length, then a type's definition under a negative id, or the id of a type
# and a value. See the documentation of Go's package encoding/gob.

MOST_BYTES, MOST_ITEMS, MOST_DEPTH = 4 << 20, 100000, 40  # of a value; Go's own bound is 1 GB
MOST_TYPES = 500  # of a stream, with their fields
BOOL, INT, UINT, BYTES, TEXT, INTERFACE = 1, 2, 3, 5, 6, 8
TYPES = {  # those that all streams know; a definition is a gob value itself
    BOOL: ("uint",), INT: ("int",), UINT: ("uint",), BYTES: ("bytes",), TEXT: ("text",),
    INTERFACE: ("interface",),
    "definition": ("struct", [("slice", "slice"), ("slice", "slice"), ("struct", "struct"),
                              ("map", "map")] + [("bytes", "other")] * 3),
    "common": ("struct", [("name", TEXT), ("id", INT)]),
    "slice": ("struct", [("common", "common"), ("elem", INT), ("length", INT)]),
    "struct": ("struct", [("common", "common"), ("fields", "fields")]),
    "fields": ("slice", "common"),
    "map": ("struct", [("common", "common"), ("key", INT), ("elem", INT)]),
    "other": ("struct", [("common", "common")]),
}  # type: dict


class BadMessage(Exception):
    """What came is not gob, or more than any plugin says."""


class Decoder:
    """Reads the values of one stream. `read(count)` gives that many bytes, fewer at its end.

    A struct becomes {field: value} without its zero values, an interface (type's name, value) or
    None. Raises BadMessage, and EOFError at the end of the stream.
    """

    def __init__(self, read):
        self.read, self.types, self.room = read, TYPES.copy(), MOST_TYPES
        self.data, self.at, self.bytes, self.items, self.depth = b"", 0, 0, 0, 0

    def value(self):
        """The next value of the stream."""
        self.bytes, self.items, self.depth = MOST_BYTES, MOST_ITEMS, 0
        if self.at < len(self.data):
            raise BadMessage("a message is longer than its value")
        return self._top(self._type_id())

    def _read(self, count):
        data = self.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _next_message(self):
        first = self._read(1)
        self.at, self.data = 0, first + self._read(256 - first[0] if first[0] > 127 else 0)
        size = self._uint()
        self.bytes -= size
        if self.bytes < 0:
            raise BadMessage("a message is too long")
        self.at, self.data = 0, self._read(size)

    def _take(self, count):
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise BadMessage("a message is too short")
        return self.data[start:self.at]

    def _type_id(self, inside=False):
        """The id of the value that follows. Definitions come first; within an interface the value
        may go on in a message of its own after them."""
        while True:
            if self.at == len(self.data):
                self._next_message()
            number = self._int()
            if number >= 0:
                return number
            self._define(-number)
            if inside and self.at < len(self.data):
                self._uint()  # the length of the next part

    def _define(self, number):
        definition = self._value("definition")
        (form, about), = definition.items() if len(definition) == 1 else [("nothing", {})]
        fields = [(field.get("name", ""), field.get("id", 0)) for field in about.get("fields", ())]
        self.room -= 1 + len(fields)
        if number in self.types or self.room < 0 or form == "nothing":
            raise BadMessage("a type cannot be defined")
        shapes = {"struct": [fields], "slice": [about.get("elem", 0)], "bytes": [],
                  "map": [about.get("key", 0), about.get("elem", 0)]}  # type: dict
        self.types[number] = [form, *shapes[form]]

    def _top(self, number):
        """A value in a message, or in an interface: what is no struct follows a zero."""
        if self.types.get(number, "?")[0] != "struct" and self._uint():
            raise BadMessage("a value does not begin with a zero")
        return self._value(number)

    def _value(self, number):
        self.items -= 1
        self.depth += 1
        if number not in self.types or self.items < 0 or self.depth > MOST_DEPTH:
            raise BadMessage("a value is too large, or of no known type")
        form, *parts = self.types[number]
        value = getattr(self, "_" + form)(*parts)
        self.depth -= 1
        return value

    def _uint(self):
        first = self._take(1)[0]
        if first < 128:
            return first
        if first < 248:
            raise BadMessage("a number is too large")
        return int.from_bytes(self._take(256 - first), "big")

    def _int(self):
        bits = self._uint()
        return ~(bits >> 1) if bits & 1 else bits >> 1

    def _bytes(self):
        return self._take(self._uint())

    def _text(self):
        return self._bytes().decode(errors="replace")

    def _slice(self, number):
        return [self._value(number) for _ in range(self._uint())]

    def _struct(self, fields):
        value, place = {}, -1  # type: dict, int
        for step in iter(self._uint, 0):
            place += step
            if place >= len(fields):
                raise BadMessage("a struct has no such field")
            name, number = fields[place]
            value[name] = self._value(number)
        return value

    def _map(self, key, number):
        if key not in (INT, UINT, BYTES, TEXT):
            raise BadMessage("a map has no plain keys")
        return dict((self._value(key), self._value(number)) for _ in range(self._uint()))

    def _interface(self):
        name = self._text()
        if not name:
            return None
        number = self._type_id(inside=True)
        self._uint()  # the length, for who does not know the type
        return name, self._top(number)


# --- Gob, written

REQUEST, NOTHING, FLAGS, VALUES, TEXTS = range(65, 70)
DEFINITIONS = (  # as Go's own encoder writes them; they are sent once, before the first call
    b"/\xff\x81\3\1\1\7Request\1\xff\x82\0\1\2\1\rServiceMethod\1\x0c\0\1\3Seq\1\6\0\0\0"
    b"\n\xff\x83\3\1\2\xff\x84\0\0\0"  # struct{}
    b"\"\xff\x85\3\1\1\x08RPCFlags\1\xff\x86\0\1\1\1\6Values\1\xff\x88\0\0\0"
    b"'\xff\x87\4\1\1\x17map[string]interface {}\1\xff\x88\0\1\x0c\1\x10\0\0"
    b"\x0c\xff\x89\2\1\2\xff\x8a\0\1\x0c\0\0")  # []string


def gob_uint(number):
    if number < 128:
        return bytes([number])
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([256 - len(data)]) + data


def gob_int(number):
    return gob_uint(~number << 1 | 1 if number < 0 else number << 1)


def gob_bytes(data):
    """Bytes, a text, or a message, with the length before it."""
    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return gob_uint(len(data)) + data


def gob_list(rows):
    """A list, or a map, of what is written already."""
    return gob_uint(len(rows)) + b"".join(rows)


def interface(value):
    """The value of a flag: the name and number of its type, and the value after a zero."""
    name, number, write = {
        bool: ("bool", BOOL, gob_uint), int: ("int", INT, gob_int),
        list: ("[]string", TEXTS, lambda texts: gob_list([gob_bytes(text) for text in texts])),
        str: ("string", TEXT, gob_bytes)}[type(value)]
    return gob_bytes(name) + gob_int(number) + gob_bytes(b"\0" + write(value))


def request(method, number, argument=None):
    """The bytes of a call. `argument` is None, bytes, or the values of flags, {name: value}."""
    head = gob_int(REQUEST) + b"\1" + gob_bytes(method)
    data = gob_bytes(head + (b"\1" + gob_uint(number) if number else b"") + b"\0")
    if argument is None:
        return data + gob_bytes(gob_int(NOTHING) + b"\0")
    if isinstance(argument, bytes):
        return data + gob_bytes(gob_int(BYTES) + b"\0" + gob_bytes(argument))
    values = gob_list([gob_bytes(name) + interface(value) for name, value in argument.items()])
    flags = gob_bytes("*rpcdriver.RPCFlags") + gob_int(FLAGS) + gob_bytes(b"\1" + values + b"\0")
    return data + gob_bytes(gob_int(INTERFACE) + b"\0" + flags)


# --- The running plugin

START_SECONDS = 30  # until it says its address; Docker Machine gives it 10
HEARTBEAT_SECONDS = 5  # a plugin ends 10 s after the last one
MOST_LATE = 12  # heartbeats without an answer: it hangs
QUESTION_SECONDS, VERB_SECONDS, CLOSE_SECONDS = 120, 3600, 5  # Create may wait for much
LINE_BYTES = 1 << 16  # of a line of its log; the rest is passed over
WRONG = "Is it a plugin of Docker Machine? Get a newer release of it, or take it off the PATH."
SEE = "See what it does: docker-machine --debug ..."


class PluginError(MachineError):
    """What the plugin itself answered."""


class Plugin:
    """A plugin that runs, and the connection to it.

    `log(text)` gets what it prints once it `acts`; before that, as all of its stderr, these lines
    are for --debug. It is in a session of its own, so that ^C lets us ask it what it has made.
    """

    def __init__(self, program, name, log):
        import threading
        self.program, self.name, self.log, self.acts = program, name, log, False
        self.service, self.trouble = "RPCServerDriver", ""
        self.calls, self.number = {}, 0  # type: dict, int
        self.address, self.last_words = b"", []  # type: bytes, list
        self.starting, self.sending = threading.Lock(), threading.Lock()
        self.spoke, self.ended = threading.Event(), threading.Event()
        self.process = self.socket = None  # type: dm.typing.Any

    def begin(self):
        """Start it and connect to it. Raises MachineError. kill() may come at any moment."""
        with self.starting:
            if self.ended.is_set():
                raise MachineError("The time is over.")
            self.process = self._start()
        try:
            in_background(self._read_stdout, out.thread.machine)
            self.errors = in_background(self._read_stderr)
            self.answers = in_background(self._read_answers, self._connect())
            self._check_version()
            in_background(self._beat)
        except BaseException:
            self.kill()
            raise

    def _start(self):
        import subprocess
        out.debug("run: " + dm.quote(self.program))
        environ = dict(os.environ, MACHINE_PLUGIN_TOKEN="42", MACHINE_PLUGIN_DRIVER_NAME=self.name)
        try:
            return subprocess.Popen(
                [self.program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=environ, start_new_session=not dm.WINDOWS,
                creationflags=0x200 if dm.WINDOWS else 0)
        except OSError as error:
            raise self.fault("cannot be started: %s." % error.strerror,
                             "Get it for this computer's system and processor.")

    def _read_stdout(self, machine):
        out.thread.machine = machine  # of several, so that its progress is not another one's
        self.address = self.process.stdout.readline(LINE_BYTES)
        self.spoke.set()
        for line in lines_of(self.process.stdout):
            (self.log if self.acts else out.debug)(line)

    def _read_stderr(self):
        for line in lines_of(self.process.stderr):
            self.last_words = self.last_words[-2:] + [line]
            out.debug("(%s) %s" % (self.name, line))

    def fault(self, words, hint=WRONG):
        return MachineError("The plugin %s %s" % (self.program, words), hint)

    def _connect(self):
        """The stream of its answers."""
        import socket
        if not self.spoke.wait(START_SECONDS):
            raise self.fault("printed no address within %d s." % START_SECONDS)
        text = plain_words(self.address.decode(errors="replace"))
        host, _, port = text.rpartition(":")
        if not text:
            raise self.fault(self._death("at its start"))
        # A plugin serves this computer alone; all else would get the secrets of its machine.
        if host not in ("127.0.0.1", "localhost") or not dm.is_word(port, "") or not port.isdigit():
            raise self.fault("began with %s instead of its address." % dm.json_text(text[:200]))
        try:
            self.socket = dm.dial(host, int(port), START_SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(b"CONNECT /_goRPC_ HTTP/1.0\n\n")
            stream = self.socket.makefile("rb")
            status, blank = stream.readline(1000), stream.readline(1000)
            self.socket.sendall(DEFINITIONS)
            self.socket.settimeout(None)
        except (OSError, MachineError) as error:
            raise self.fault("does not answer: %s" % error)
        if b" 200 " not in status or blank.strip():
            raise self.fault("does not speak Go's RPC: " + plain_words(status.decode("latin-1")))
        return stream

    def _check_version(self):
        try:
            version = self.ask("GetVersion", int)
        except PluginError:
            self.service = "RpcServerDriver"  # of releases before 0.6
            version = self.ask("GetVersion", int)
        if version != 1:
            raise self.fault("uses an incompatible API version (%d)." % version)

    def _read_answers(self, stream):
        decoder, words = Decoder(stream.read), "ended the connection"
        try:
            while True:
                head, value = decoder.value(), decoder.value()
                if not isinstance(head, dict):
                    raise BadMessage("an answer has no head")
                call = self.calls.pop(head.get("Seq", 0), None)
                if call:
                    call.put((str(head.get("Error", "")), value))
        except BadMessage as error:
            words = "sent what cannot be read: %s" % error
        except (EOFError, OSError, ValueError, TypeError):  # closed, here too; no number of a call
            pass
        self._lose(words)

    def _lose(self, words):
        """End all calls that wait for an answer."""
        with self.sending:
            self.trouble = self.trouble or words
            lost, self.calls = self.calls, {}
        self.ended.set()
        for call in lost.values():
            call.put(None)

    def _beat(self):
        late = []  # type: list
        while not self.ended.wait(HEARTBEAT_SECONDS):
            late = [beat for beat in late if beat.empty()] + [self.send("Heartbeat")]
            if len(late) > MOST_LATE:
                self._lose("answered no heartbeat for %d s" % (HEARTBEAT_SECONDS * MOST_LATE))

    def send(self, method, argument=None):
        """Begin a call: a Queue that gets (the plugin's error, value), or None if it was lost."""
        from queue import Queue
        call = Queue()  # type: dm.typing.Any
        with self.sending:
            if self.trouble:
                call.put(None)
                return call
            self.calls[self.number] = call
            data = request(self.service + "." + method, self.number, argument)
            self.number += 1
            try:
                self.socket.sendall(data)
            except OSError:
                pass  # the reader tells
        return call

    def ask(self, method, kind=None, argument=None, seconds=QUESTION_SECONDS):
        """The answer to a call, of the type `kind`. Raises PluginError with the plugin's words, and
        MachineError if it gives none."""
        from queue import Empty
        try:
            answer = self.send(method, argument).get(timeout=seconds)
        except Empty:
            raise self.fault("gave no answer to %s within %d s." % (method, seconds), SEE)
        if answer is None:
            raise self.fault(self._death("during " + method), SEE)
        error, value = answer
        if error:
            out.debug("(%s) %s: %s" % (self.name, method, error))
            raise PluginError(plain_words(error.partition("\ngoroutine ")[0]))  # without a stack
        if kind and not isinstance(value, kind):
            raise self.fault("answered %s with something else." % method)
        return value

    def _death(self, when):
        """Why it does not answer any more, as far as it is known."""
        ended = self.trouble or "said nothing"
        if dm.wait_for(lambda: self.process.poll() is not None, 1, ""):
            code = self.process.returncode
            ended = "was killed by signal %d" % -code if code < 0 else "ended with code %d" % code
        self.errors.join(1)  # its last words may still be on the way
        words = plain_words(" ".join(self.last_words))
        return "%s %s%s" % (ended, when, words and ": " + words)

    def close(self):
        """Let it end; kill it if it does not. It answers only at times."""
        if self.socket and not self.ended.is_set():
            self.ended.set()
            self.send("Close")
            self.answers.join(CLOSE_SECONDS)
        self.kill()

    def kill(self):
        with self.starting:
            self.ended.set()
        if self.process:
            self.process.kill()
            self.process.wait()


def in_background(function, *arguments):
    """The thread that runs it, for which nobody waits at the end."""
    from threading import Thread
    thread = Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def lines_of(stream):
    """The lines of a log as they come, of each its first LINE_BYTES."""
    whole = True
    for part in iter(lambda: stream.readline(LINE_BYTES), b""):
        if whole:
            yield plain_words(part.decode(errors="replace"))
        whole = part.endswith(b"\n")


# --- Flags and secrets

SECRET_WORDS = ("token", "key", "password", "passwd", "passphrase", "secret", "credential")
PLAIN_ENDS = ("path", "file", "id", "name", "user", "url", "port", "type", "size", "pair", "pairs",
              "fingerprint", "ids", "names", "files", "paths")


def is_secret(name):
    """Whether what has this name, of a flag or a stored value, is not to be shown."""
    name = name.lower().replace("-", "").replace("_", "")
    return (any(word in name for word in SECRET_WORDS) and "public" not in name
            and not name.endswith(PLAIN_ENDS))


class PluginFlag(dm.Flag):
    """A flag of a plugin, which may have a secret for its default."""

    def entry(self):
        names, words = super().entry()
        return names.replace('"%s"' % self.default, '"********"') if self.secret else names, words


def flags_from(rows):
    """The flags of what GetCreateFlags answered: [(type's name, {field: value})]."""
    defaults = {"StringFlag": "", "IntFlag": 0, "BoolFlag": False, "StringSliceFlag": []}
    flags = {}  # type: dict
    for row in rows:
        kind, about = row if row and isinstance(row[1], dict) else ("", {})
        name, env = str(about.get("Name", "")), str(about.get("EnvVar", ""))
        default = defaults.get(kind.rpartition(".")[2])  # type: dm.typing.Any
        if default is None or not dm.is_word(name, "-_.") or name.startswith("-"):
            out.debug("a flag of the plugin cannot be used: %s" % plain_words(row))
            continue
        value = about.get("Value", default)
        flags[name] = PluginFlag(
            name, value if type(value) is type(default) else default,
            plain_words(about.get("Usage", "")), env if dm.is_word(env, "_") else "",
            secret=is_secret(name))
    return tuple(flags.values())


# --- The driver

WORKERS = 16  # how many plugins run at once for `ls`


def verb(method):
    """A method of the driver for one of the plugin."""
    return lambda self: self._act(method)


def told(method, fallback, kind=str):
    """A method of the driver that gives what the plugin answers, else what the core has."""
    return lambda self: self._word(method, kind) or fallback(self)


class GoPluginDriver(dm.Driver):
    """A machine of a plugin of Docker Machine's."""

    program = ""  # of the plugin
    boot_seconds, poll_seconds = 300, 2

    @classmethod
    def all_flags(cls):
        """Its flags, for which the plugin is asked once. Raises MachineError."""
        if "flags" not in vars(cls):
            plugin = Plugin(cls.program, cls.name, out.debug)
            try:
                plugin.begin()
                settings = dict(cls.defaults(), MachineName="flag-lookup")
                plugin.ask("SetConfigRaw", argument=dm.json_text(settings).encode())
                cls.flags = flags_from(plugin.ask("GetCreateFlags", list))
            finally:
                plugin.close()
        return cls.flags

    def __init__(self, machine):
        super().__init__(machine)
        self._plugin = None  # type: dm.typing.Any
        self._known, self._given_up = {}, False  # type: dict, bool
        self.stored_url = self._told_url() or dm.join_url(self.get("IPAddress"), dm.ENGINE_PORT)
        self._hide_secrets()

    def _hide_secrets(self):
        """Keep stored secrets from the screen; a plugin does not tell which they are."""
        found = {key: value if isinstance(value, list) else [value]
                 for key, value in self.config.items() if value and is_secret(key)}
        self.flags = tuple(dm.Flag(key, "", "", field=key, secret=True) for key in found)
        out.secrets.update(text.strip() for texts in found.values() for text in texts if isinstance(
            text, str) and len(text.strip()) > 5 and not os.path.isfile(text))

    def _peer(self):
        """The plugin, which is started when it is first asked for something."""
        if not self._plugin:
            plugin = self._plugin = Plugin(self.program, self.name, self.log)
            try:
                if self._given_up:
                    plugin.kill()
                plugin.begin()
                data = dm.json_text(self.config).encode("utf-8", "replace")
                plugin.ask("SetConfigRaw", argument=data)
            except MachineError:
                self._end()
                raise
        return self._plugin

    def _end(self):
        plugin, self._plugin = self._plugin, None
        if plugin:
            plugin.close()

    def close(self):
        self._end()
        super().close()

    def _act(self, method):
        """Let the plugin do something, and store what it knows then, also on failure."""
        self._known, plugin = {}, self._peer()
        plugin.acts = True
        try:
            plugin.ask(method, seconds=VERB_SECONDS)
        except PluginError as error:
            raise MachineError('The plugin "%s" could not %s the machine: %s' % (
                self.name, method.lower(), error)) from None
        finally:
            if not plugin.trouble:  # else it is gone
                self._take_config()

    start, stop, kill, restart, remove = map(verb, ("Start", "Stop", "Kill", "Restart", "Remove"))

    def _take_config(self):
        """Store what the plugin knows of the machine, which replaces what was stored."""
        data = self._peer().ask("GetConfigRaw", bytes, seconds=20)
        try:
            settings = {**dm.parse_json(data.decode("utf-8", "replace"))}
        except (ValueError, TypeError, RecursionError):
            raise self._peer().fault("gave settings that are not an object of JSON.")
        self.config.clear()
        self.config.update(settings)
        self._hide_secrets()
        if os.path.isfile(self.path("config.json")):
            self.machine.save()

    def set_config_from_flags(self, options):
        values = {name: value for name, value in options.items() if value != []}
        values.update({flag.name: options[flag.name] for flag in self.all_flags()},
                      driver=self.name)
        plugin = self._peer()
        try:
            plugin.ask("SetConfigFromFlags", argument=values)
            self._take_config()
            plugin.acts = True
        except PluginError as error:
            raise dm.UsageError(str(error), "See: docker-machine create --driver %s --help" %
                                self.name) from None
        finally:
            if not plugin.acts:
                self._end()  # nobody closes a machine that could not be described

    def pre_create_check(self):
        self._peer().ask("PreCreateCheck", seconds=VERB_SECONDS)

    def checks(self):
        words = "plugin %s, API version 1, %d flags" % (self.program, len(self.all_flags()))
        return [dm.Finding("ok", self.name, words)]

    def create(self):
        try:  # an earlier `create` may have been killed after the machine was made
            there = (not self._peer().acts and self.get_state() in (dm.RUNNING, dm.STARTING)
                     and self.get_ssh_hostname())
        except PluginError:
            there = False
        return self.log("It is there; going on with it.") if there else self._act("Create")

    def get_state(self):
        number = self._peer().ask("GetState", int)
        if not 0 <= number < len(dm.STATES):
            raise self._peer().fault("knows a state %d that we do not." % number)
        return dm.STATES[number]

    @classmethod
    def states(cls, drivers, seconds):
        """Each plugin is a process of its own: a few at a time, and none is left."""
        def ask(driver):
            try:
                state = driver.get_state()
                if state == dm.RUNNING:
                    driver.get_url()
                return state
            finally:
                driver._end()

        # Within them, since who asks may end the program right after.
        answers = dm.each(ask, drivers, WORKERS, seconds - min(1, seconds / 4))
        for driver in drivers:  # the time is over: none is started any more, then none is left
            driver._given_up = True
        for plugin in filter(None, [driver._plugin for driver in drivers]):
            plugin.kill()
        return answers

    def _rest(self):
        """End a plugin that only answers questions: ssh may take the place of this very process."""
        if self._plugin and not self._plugin.acts:
            self._end()

    def ssh(self):
        ssh = super().ssh()
        self._rest()
        return ssh

    def _word(self, method, kind=str):
        """An answer that becomes a word of a command line or a file; kept until the next verb."""
        if method not in self._known:
            self._known[method] = self._peer().ask(method, kind)
        text = self._known[method]
        if isinstance(text, str) and (text != plain_words(text) or text.startswith("-")):
            raise self._peer().fault("answered %s with %s." % (method, dm.json_text(text[:200])))
        return text

    get_ip = told("GetIP", dm.Driver.get_ip)
    get_ssh_hostname = told("GetSSHHostname", dm.Driver.get_ssh_hostname)
    get_ssh_port = told("GetSSHPort", dm.Driver.get_ssh_port, int)
    get_ssh_username = told("GetSSHUsername", dm.Driver.get_ssh_username)
    get_ssh_key_path = told("GetSSHKeyPath", dm.Driver.get_ssh_key_path)

    def get_url(self):
        url = self._word("GetURL")
        if not url.startswith("tcp://") or " " in url:
            raise self._peer().fault("gave the URL %s." % dm.json_text(url))
        if url != self._told_url() and os.path.isdir(self.folder):
            dm.write_atomic(self.path("plugin-url"), "%s\n%s\n" % (url, super().get("IPAddress")))
        self._rest()
        return url

    engine_url = get_url

    def _told_url(self):
        """The URL that the plugin told last, while the stored address is that of then; or ""."""
        try:
            url, address = dm.read_text(self.path("plugin-url")).split("\n")[:2]
        except (OSError, ValueError):
            return ""
        return url if address == super().get("IPAddress") else ""

    def get(self, key, default=""):
        value = super().get(key, default)
        if key == "IPAddress" and not value:  # some plugins store none
            return dm.split_url(self._told_url())[0] or default
        return value


def plugins():
    """{name: class} of the plugins on the PATH, the first one of each name. None is started."""
    import glob
    found, start = {}, "docker-machine-driver-"  # type: dict, str
    for folder in filter(os.path.isabs, os.get_exec_path()):
        for path in glob.glob(os.path.join(glob.escape(folder), start + "*")):
            name = os.path.basename(path)[len(start):]
            name = name[:-4] if dm.WINDOWS and name.endswith(".exe") else name
            if dm.is_word(name, "-_") and os.path.isfile(path) and os.access(path, os.X_OK):
                about = {"name": name, "program": path, "__doc__": "A machine of %s." % path}
                found.setdefault(name, type("Plugin", (GoPluginDriver,), about))
    return found
