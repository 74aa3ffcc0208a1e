"""Docker Machine's plugins: the protocol, by recorded connections and damaged ones; see test_go_plugin_run.py."""

import io
import os
import shutil
import subprocess
import sys

import gobs
import pytest
from conftest import ROOT, cases

import docker_machine as core

plugin = core.load_extra("go_plugin")
SIDES = [(name, side) for name in gobs.NAMES for side in ("c2s", "s2c")]


def decoded(data):
    """All values of a stream, to its end."""
    decoder, found = plugin.Decoder(io.BytesIO(data).read), []
    try:
        while True:
            found.append(decoder.value())
    except EOFError:
        return found


# --- what was recorded

@cases("name, side", SIDES)
def test_recorded_connections_are_read_to_their_last_byte(name, side):
    assert decoded(gobs.recorded(name, side)) == [value for _, value in gobs.values(name, side)]


@cases("name", gobs.NAMES)
def test_requests_are_those_that_were_recorded_byte_for_byte(name):
    """But for the definitions of types, which are sent once before them, and for the order of flags in a map."""
    rows = iter(gobs.values(name, "c2s"))
    for data, head in rows:
        more, argument = next(rows)
        ours = (head["ServiceMethod"], head.get("Seq", 0))
        if isinstance(argument, tuple):
            flags = {flag: value for flag, (_, value) in argument[1]["Values"].items()}
            assert decoded(plugin.DEFINITIONS + plugin.request(*ours, flags)) == [head, argument]
        else:
            sent = plugin.request(*ours, argument or None)
            assert messages(sent) == messages(data)[-1:] + messages(more)[-1:]


def messages(data):
    """The messages that a stream consists of, each with its length."""
    stream, found = io.BytesIO(data), []
    for first in iter(lambda: stream.read(1), b""):
        more = stream.read(256 - first[0]) if first[0] > 127 else b""
        found.append(first + more + stream.read(int.from_bytes(more or first, "big")))
    return found


def test_the_definitions_are_those_that_go_wrote():
    ours = messages(plugin.DEFINITIONS)
    assert len(ours) == 5
    recorded = [gobs.recorded(name, "c2s") for name in gobs.NAMES]
    assert all(stream.startswith(ours[0]) and ours[1] in stream for stream in recorded)
    stream = plugin.Decoder(io.BytesIO(plugin.DEFINITIONS + plugin.request("S.M", 0)).read)
    assert stream.value() == {"ServiceMethod": "S.M"} and stream.value() == {}
    assert {number: stream.types[number] for number in range(67, 70)} == {
        67: ["struct", [("Values", 68)]], 68: ["map", 6, 8], 69: ["slice", 6]}


def test_any_flags_can_be_sent():
    values = {"text": "é\udcff", "number": -(1 << 40), "yes": True, "no": False, "list": ["a" * 300, ""], "none": []}
    data = plugin.DEFINITIONS + plugin.request("S.SetConfigFromFlags", 7, values)
    _, (kind, sent) = decoded(data)
    assert kind == "*rpcdriver.RPCFlags"
    assert sent["Values"] == {
        "text": ("string", "é\ufffd"), "number": ("int", -(1 << 40)), "yes": ("bool", 1), "no": ("bool", 0),
        "list": ("[]string", ["a" * 300, ""]), "none": ("[]string", [])}


# --- what no plugin says

def stream(*parts):
    return b"".join(map(plugin.gob_bytes, parts))


ITSELF = b"\xff\x81\x02\x01\x02\xff\x82\x00\x01\xff\x82\x00\x00"  # type 65 is a list of type 65
HOSTILE = {
    "a message of 2^63 bytes": b"\xf8" + b"\x7f" * 8,
    "a length of more than 8 bytes": b"\x80" + b"\x01" * 200,
    "a text longer than its message": stream(b"\x0c\0\xfc\x7f\xff\xff\xff"),
    "a list of 2^31 interfaces": stream(
        b"\xff\x81\x02\x01\x02\xff\x82\x00\x01\x10\x00\x00", b"\xff\x82\0\xfc\x7f\xff\xff\xff" + b"\0" * 200000),
    "a type that contains itself, deep": stream(ITSELF, b"\xff\x82\0" + b"\1" * 3000),
    "a type without a definition": stream(b"\xfe\x01\x00\0\0"),
    "a type that is defined twice": stream(ITSELF, ITSELF),
    "a definition of nothing": stream(b"\xff\x81\0"),
    "types without end": stream(*(plugin.gob_int(-number) + b"\x02\x01\x02" + plugin.gob_int(number) + b"\0\x01\x0c\0\0"
                                  for number in range(65, 2000))),
    "types with too many fields": stream(b"\xff\x81\x03\x01\x02\xff\x82\0\x01\xfe\x02\x00"
                                         + b"\x01\x01a\x01\x0c\0" * 512 + b"\0\0"),
    "a message longer than its value": stream(b"\x04\0\x02\x02") * 2,
    "an empty message": b"\0\0",
    "a number of 9 bytes": stream(b"\x04\0\xf7" + b"\1" * 9),
    "a field that the struct has not": messages(plugin.DEFINITIONS)[1] + stream(b"\xff\x84\x05\x01\0"),
}


@cases("data", sorted(HOSTILE), ids=str)
def test_what_cannot_be_true_is_refused(data):
    with pytest.raises((plugin.BadMessage, EOFError)):
        decoder = plugin.Decoder(io.BytesIO(HOSTILE[data]).read)
        while True:
            decoder.value()


FUZZ = """
import io, random, resource, sys
sys.path[:0] = %r
import gobs, docker_machine as core
plugin = core.load_extra("go_plugin")
rows = [data for name in gobs.NAMES for side in ("s2c", "c2s") for data, value in gobs.values(name, side)]
heads = sorted(set(data for data in rows if len(data) < 1500))
before, ends = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, set()
for seed in range(%d):
    chance = random.Random(seed)
    data = bytearray(chance.choice(heads))
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        how = chance.randrange(4)
        if how == 0:
            data[place] = chance.choice((0, 1, 127, 128, 247, 248, 252, 255, chance.randrange(256)))
        elif how == 1:
            data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 9)))
        elif how == 2:
            del data[place:place + chance.randint(1, 9)]
        else:
            data[0:0] = chance.choice(heads)
        data = data or bytearray(1)
    decoder = plugin.Decoder(io.BytesIO(bytes(data)).read)
    try:
        while True:
            decoder.value()
    except (plugin.BadMessage, EOFError) as error:
        ends.add(type(error).__name__)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
assert grown < 64, grown
print(sorted(ends))
"""


@pytest.mark.parametrize("count", [1500, pytest.param(100000, marks=pytest.mark.once)])
def test_damaged_messages_end_in_one_of_two_errors_and_in_little_memory(count):
    paths = [str(ROOT), os.path.dirname(os.path.abspath(__file__))]
    ended = subprocess.run([sys.executable, "-c", FUZZ % (paths, count)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (0, b""), ended.stderr.decode()
    assert ended.stdout == b"['BadMessage', 'EOFError']\n"


def test_a_message_of_the_greatest_size_takes_little_memory():
    """A value may be 4 MB; of lists and maps only what so many bytes can be is made."""
    data = stream(b"\xff\x81\x02\x01\x02\xff\x82\x00\x01\x04\x00\x00",
                  b"\xff\x82\0" + plugin.gob_uint(1 << 21) + b"\0" * (1 << 21))
    with pytest.raises(plugin.BadMessage):
        decoded(data)
    text = stream(b"\x0c\0" + plugin.gob_bytes("x" * (3 << 20)))
    assert decoded(text) == ["x" * (3 << 20)]


# --- names

@cases("name, secret", [
    ("hetzner-api-token", True), ("AccessKey", True), ("SSHPassword", True), ("APISecret", True), ("Passphrase", True),
    ("SSHKeyPath", False), ("ssh-key-id", False), ("hetzner-existing-key-path", False), ("KeyPairName", False),
    ("PublicKey", False), ("MachineName", False), ("IPAddress", False), ("token-file", False)])
def test_which_names_are_taken_for_secrets(name, secret):
    assert plugin.is_secret(name) is secret


def test_flags_become_ours_and_what_cannot_be_one_is_left_out():
    flags = plugin.flags_from([
        ("*mcnflag.StringFlag", {"Name": "a-token", "Usage": "A\nb\x1b", "EnvVar": "A_TOKEN", "Value": "x"}),
        ("*mcnflag.IntFlag", {"Name": "a-size"}), ("*mcnflag.BoolFlag", {"Name": "a-fast", "EnvVar": "A B"}),
        ("*mcnflag.StringSliceFlag", {"Name": "a-list", "Value": ["x"]}),
        ("*other.Flag", {"Name": "b"}), ("*mcnflag.IntFlag", {"Name": "-c"}), ("*mcnflag.IntFlag", {"Name": "d e"}),
        ("*mcnflag.IntFlag", {}), None, ("*mcnflag.IntFlag", 5)])
    assert [(flag.name, flag.default, flag.env, flag.secret) for flag in flags] == [
        ("a-token", "x", "A_TOKEN", True), ("a-size", 0, "", False), ("a-fast", False, "", False),
        ("a-list", ["x"], "", False)]
    assert flags[0].help == "A b"


# --- programs on the PATH

@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    """A folder of the PATH with programs that leave a mark when they are started."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker-machine-driver-cloud", "docker-machine-driver-my-kvm", "docker-machine-driver-none",
                 "docker-machine-driver-a b", "docker-machine-driver-", "docker-machine-driver-google"):
        path = folder / name
        path.write_text("#!/bin/sh\ntouch %s/started\necho $$\nexit 1\n" % tmp_path)
        path.chmod(0o755)
    (folder / "docker-machine-driver-text").write_text("")
    (folder / "docker-machine-driver-folder").mkdir()
    return folder


def test_plugins_are_listed_and_none_is_started(call, drivers, bin_folder, tmp_path):
    path = "%s:%s" % (bin_folder, os.environ["PATH"])
    before = set(core.driver_names())
    listed = call("completion", "bash", "create", "-d", "", PATH=path).out.split()
    assert set(listed) - before == {"cloud", "my-kvm"} and "go_plugin" not in listed
    assert "cloud" in call("create", "--help", PATH=path).out
    assert call("ls", PATH=path).code == 0
    assert not (tmp_path / "started").exists()


def test_a_driver_of_ours_comes_before_a_plugin_of_its_name(call, drivers, bin_folder, tmp_path):
    path = "%s:%s" % (bin_folder, os.environ["PATH"])
    assert "--google-project" in call("create", "-d", "google", "--help", PATH=path).out
    assert "--url" in call("create", "-d", "none", "--help", PATH=path).out
    assert not (tmp_path / "started").exists()


@cases("name", ["../x", "cloud/../../x", "a b", "", "."])
def test_only_a_program_that_is_listed_is_started(call, drivers, bin_folder, name):
    ended = call("create", "-d", name, "web", PATH=str(bin_folder))
    assert ended.code == 1 and 'Driver "%s" not found.' % name in ended.err


def test_what_runs_plugins_is_not_a_driver_itself(call, drivers):
    ended = call("create", "-d", "go_plugin", "web")
    assert ended.code == 1 and "there is no Driver of that name in it" in ended.err


STRANGER = """#!%s
import socket, time
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(1)
print("127.0.0.1:%%d" %% server.getsockname()[1], flush=True)
peer, _ = server.accept()
hello, rest, heard = %r, %r, peer.recv(100)
peer.sendall(hello)
while rest and b"GetVersion" not in heard:
    heard += peer.recv(1000)
peer.sendall(rest)
peer.shutdown(socket.SHUT_WR)
time.sleep(600)
"""
HELLO = b"HTTP/1.0 200 Connected to Go RPC\n\n"
HEAD = stream(b"\xff\x81\x03\x01\x02\xff\x82\0\x01\x01\x01\x03Seq\x01\x06\0\0\0", b"\xff\x82\0")


@cases("hello, rest, words", [
    (b"HTTP/1.0 404 Not Found\n\n", b"", "does not speak Go's RPC: HTTP/1.0 404 Not Found"),
    (b"", b"", "does not speak Go's RPC: "),
    (HELLO, b"\x80" * 200, "sent what cannot be read: a number is too large during GetVersion"),
    (HELLO, b"\xfb\x40\0\0\0\0", "sent what cannot be read: a message is too long during GetVersion"),
    (HELLO, HEAD, "ended the connection during GetVersion"),
    (HELLO, HEAD + stream(b"\x0c\0\x03one"), "answered GetVersion with something else"),
    (HELLO, HEAD + stream(b"\x04\0\x04"), "uses an incompatible API version (2)")])
def test_a_stranger_is_told_and_killed(call, drivers, bin_folder, hello, rest, words):
    path = bin_folder / "docker-machine-driver-cloud"
    path.write_text(STRANGER % (sys.executable, hello, rest))
    drivers.pop("cloud", None)
    ended = call("create", "-d", "cloud", "web", PATH=str(bin_folder))
    assert ended.code == 1 and "docker-machine-driver-cloud %s" % words in ended.err


@pytest.mark.parametrize("way", ["one file and one extra", "vendored", "installed"])
def test_it_works_wherever_the_two_files_are(dm, bin_folder, tmp_path, way):
    place = tmp_path / "place"
    place.mkdir()
    shutil.copy(str(ROOT / "docker_machine.py"), str(place))
    dm.argv, dm.env["PYTHONPATH"] = [sys.executable, str(place / "docker_machine.py")], ""
    dm.env["PATH"] = "%s:%s" % (bin_folder, dm.env["PATH"])
    folder = place / "extras"
    if way == "installed":
        folder = place / "docker_machine_extras"
    elif way == "vendored":
        (place / "app.py").write_text("from docker_machine import main\nraise SystemExit(main(['dm'] + __import__("
                                      "'sys').argv[1:]))\n")
        dm.argv[1] = str(place / "app.py")
    folder.mkdir()
    shutil.copy(str(ROOT / "extras" / "go_plugin.py"), str(folder))
    ended = dm("create", "-d", "cloud", "web")
    assert ended.code == 1 and "docker-machine-driver-cloud began with" in ended.err


def test_the_file_is_as_long_as_it_was_allowed_to_be():
    assert len((ROOT / "extras" / "go_plugin.py").read_text(encoding="utf-8").splitlines()) <= 700
