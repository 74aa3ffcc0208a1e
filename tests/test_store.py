"""The store is Docker Machine's (storage.md 2 to 4): layout, bytes, modes, migration, locks; and nothing is lost."""

import ctypes
import errno
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HANG, ROOT

import docker_machine as core
from docker_machine import MachineError

SAMPLES = Path(__file__).parent / "data" / "stores"
SAMPLE_NAMES = sorted(path.parent.name for path in SAMPLES.rglob("config.json"))
LINUX = sys.platform.startswith("linux")


def sample(name, store):
    """The text of a sample's config.json for a store at that path."""
    path = SAMPLES / name.partition("-")[0] / "machines" / name / "config.json"
    return path.read_text(encoding="utf-8").replace("@STORE@", str(store))


def put(store, name, text):
    """A machine's config.json as some program left it."""
    folder = store / "machines" / name
    folder.mkdir(parents=True)
    path = folder / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def put_sample(store, name):
    return put(store, name, sample(name, store))


def modes(folder):
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def load(store, name):
    return core.Store(str(store)).machine(name)


# --- what create leaves

def test_create_writes_the_bytes_that_docker_machine_writes(dm, store):
    assert dm("create", "-d", "none", "--url", "tcp://192.0.2.41:2376", "v3-none").code == 0
    written = (dm.store / "machines" / "v3-none" / "config.json").read_bytes()
    assert written == sample("v3-none", dm.store).encode()


def test_the_options_of_create_end_up_in_their_fields(dm, call, store):
    ended = call("create", "-d", "none", "--url", "tcp://h:1", "--engine-opt", "log-level=warn",
                 "--engine-env", "A=<b & c>", "--engine-label", "ort=Köln", "--engine-label", "b=2",
                 "--engine-storage-driver", "overlay2", "--engine-insecure-registry", "r:5000",
                 "--engine-registry-mirror", "http://m", "--engine-install-url", "none",
                 "--tls-san", "a.test", "--tls-san", "192.0.2.9", "web")
    assert ended.code == 0
    text = (dm.store / "machines" / "web" / "config.json").read_text(encoding="utf-8")
    assert r'"A=\u003cb \u0026 c\u003e"' in text and '"ort=Köln"' in text
    options = json.loads(text)["HostOptions"]
    engine = options["EngineOptions"]
    assert {key: engine[key] for key in ("ArbitraryFlags", "Env", "Labels", "StorageDriver", "InsecureRegistry",
                                         "RegistryMirror", "InstallURL")} == {
        "ArbitraryFlags": ["log-level=warn"], "Env": ["A=<b & c>"], "Labels": ["ort=Köln", "b=2"],
        "StorageDriver": "overlay2", "InsecureRegistry": ["r:5000"], "RegistryMirror": ["http://m"],
        "InstallURL": "none"}
    assert options["AuthOptions"]["ServerCertSANs"] == ["a.test", "192.0.2.9"]


@pytest.mark.parametrize("umask", [0o077, 0])
def test_every_file_has_its_mode_whatever_the_umask(dm, store, umask):
    assert dm("create", "-d", "none", "--url", "tcp://h:1", "web", preexec=lambda: os.umask(umask)).code == 0
    found = modes(dm.store)
    public = 0o644 & ~umask
    assert {path: mode for path, mode in found.items() if path.startswith("machines")} == {
        "machines": 0o700, "machines/web": 0o700, "machines/web/config.json": 0o600, "machines/web/ca.pem": public,
        "machines/web/cert.pem": public, "machines/web/key.pem": 0o600}
    assert not [path for path, mode in found.items() if mode & 0o022]  # the lock files are there too


def test_folders_above_the_store_are_made_private_too(tmp_path):
    before = os.umask(0)
    try:
        core.make_folder(str(tmp_path / "a" / "b" / "c"))
    finally:
        os.umask(before)
    assert modes(tmp_path) == {"a": 0o700, "a/b": 0o700, "a/b/c": 0o700}


def test_a_relative_storage_path_is_stored_absolute_so_that_it_works_from_anywhere(dm, certs):
    shutil.copytree(str(certs), str(dm.home / "rel" / "certs"))
    assert dm("-s", "rel", "create", "-d", "none", "--url", "tcp://h:1", "web").code == 0
    config = json.loads((dm.home / "rel" / "machines" / "web" / "config.json").read_text())
    assert config["Driver"]["StorePath"] == str(dm.home / "rel")


def test_queries_do_not_create_a_store(dm, call):
    for words in (["ls"], ["active"], ["status", "web"], ["ip", "web"], ["rm", "-f", "web"], ["provision", "web"],
                  ["regenerate-certs", "-f", "web"], ["ssh", "web"], ["env", "web"]):
        call(*words)
        assert not dm.store.exists(), words


def test_a_name_that_is_no_machine_leaves_nothing_anywhere(dm, call, add):
    """Locks are made only for machines that exist."""
    add("web")
    before = dm.files()
    for command in ("provision", "rm", "status"):
        for name in ("gone", "../up", "../../out", "a/b"):
            ended = call(command, name, stdin="y\n")
            assert ended.code in (1, 2) and '"%s"' % name in ended.err
    assert dm.files() == before and not (dm.store.parent / "out").exists()


@pytest.mark.parametrize("path, value", [
    ("Driver/IPAddress", 5), ("Driver/SSHPort", "x"), ("Driver/URL", ["x"]),
    ("HostOptions/AuthOptions/CaCertPath", ["x"]), ("HostOptions/AuthOptions/ServerCertSANs", [5]),
    ("HostOptions/EngineOptions/Labels", [5]), ("HostOptions/EngineOptions/Env", "x=y"),
    ("HostOptions/SwarmOptions/Discovery", {"a": 1})])
def test_a_setting_of_a_wrong_type_is_named_and_hides_no_other_machine(call, add, closed_port, path, value):
    add("web", "tcp://127.0.0.1:%d" % closed_port)
    bad = add("bad", "tcp://127.0.0.1:%d" % closed_port)
    *parts, key = path.split("/")
    settings = bad.config
    for part in parts:
        settings = settings[part]
    settings[key] = value
    bad.save()
    for command in ("status", "url", "version", "provision"):
        ended = call(command, "bad")
        assert ended.code == 1 and '"%s" is ' % key in ended.err
        assert "Fix %s/config.json" % bad.folder in ended.err
    rows = call("ls", "-f", "{{.Name}} {{.State}}", "--filter", "label=a=b", "--filter", "name=.").out
    assert rows == "" and call("ls", "-f", "{{.Name}} {{.State}}").out == "bad Error\nweb Running\n"
    assert call("rm", "-f", "bad").code == 0 and call("ls", "-q").out == "web\n"


# --- reading what other programs and other versions wrote

@pytest.mark.parametrize("name", [name for name in SAMPLE_NAMES if name.startswith("v3-") and name != "v3-unknown"])
def test_a_canonical_file_is_written_back_byte_for_byte(tmp_path, name):
    path = put_sample(tmp_path, name)
    before = path.read_bytes()
    machine = load(tmp_path, name)
    if machine.driver_name in core.DRIVERS:
        assert machine.driver and machine.engine and machine.swarm and machine.auth  # a look changes nothing
    machine.save()
    assert path.read_bytes() == before


def test_fields_that_nobody_knows_are_kept_where_they_were(tmp_path):
    path = put_sample(tmp_path, "v3-unknown")
    load(tmp_path, "v3-unknown").save()
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(sample("v3-unknown", tmp_path))
    assert re.findall(r'"(\w+)":', path.read_text()) == re.findall(r'"(\w+)":', sample("v3-unknown", tmp_path))


def test_all_samples_are_listed_and_can_be_inspected(dm, call):
    for name in SAMPLE_NAMES:
        put_sample(dm.store, name)
    listed = call("ls", "-t", "1", "-f", "{{.Name}} {{.DriverName}}")
    assert listed.code == 0
    assert dict(line.split() for line in listed.out.splitlines()) == {
        name: json.loads(sample(name, dm.store))["DriverName"] for name in SAMPLE_NAMES}
    for name in SAMPLE_NAMES:
        machine = load(dm.store, name)
        assert machine.config["ConfigVersion"] == 3 and machine.config["Name"] == name


@pytest.mark.parametrize("name", [name for name in SAMPLE_NAMES if not name.startswith("v3-")])
def test_an_old_file_is_migrated_and_kept_as_bak(tmp_path, name):
    path = put_sample(tmp_path, name)
    before, old = path.read_bytes(), json.loads(sample(name, tmp_path))
    load(tmp_path, name)
    new = json.loads(path.read_text(encoding="utf-8"))
    assert path.with_name("config.json.bak").read_bytes() == before
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert list(new) == ["ConfigVersion", "Driver", "DriverName", "HostOptions", "Name"]
    assert (new["ConfigVersion"], new["DriverName"], new["Name"]) == (3, old["DriverName"], name)
    assert new["Driver"] == dict(old["Driver"], StorePath=str(tmp_path))
    fresh = core.Store(str(tmp_path)).new(name, core.NoneDriver).config["HostOptions"]
    assert list(new["HostOptions"]) == list(fresh)
    for key in ("EngineOptions", "SwarmOptions", "AuthOptions"):
        assert list(new["HostOptions"][key]) == list(fresh[key])
    assert new["HostOptions"]["EngineOptions"]["Labels"] == (
        (old.get("HostOptions") or {}).get("EngineOptions") or {}).get("Labels", [])
    auth = new["HostOptions"]["AuthOptions"]
    assert auth == dict(fresh["AuthOptions"], ServerCertSANs=auth["ServerCertSANs"])
    assert load(tmp_path, name).config == new  # and is not migrated twice
    assert path.with_name("config.json.bak").read_bytes() == before


def test_the_bak_file_holds_the_very_bytes_of_the_old_one(tmp_path):
    old = b'{"DriverName": "none",\r\n "Driver": {"URL": "tcp://h:1", "Note": "\xff"}}\r\n\r\n'
    path = put(tmp_path, "web", old)
    load(tmp_path, "web")
    assert path.with_name("config.json.bak").read_bytes() == old


def test_numbers_beyond_2_to_the_53_stay_exact(dm, call):
    put_sample(dm.store, "v3-digitalocean")
    assert call("inspect", "-f", "{{.Driver.DropletID}} {{json .Driver.DropletID}}", "v3-digitalocean").out == (
        "9007199254740993 9007199254740993\n")


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_a_store_that_was_moved_points_to_where_it_is_now(tmp_path, name):
    old, new = tmp_path / "old", tmp_path / "new"
    put_sample(old, name)
    old.rename(new)
    moved = load(new, name)
    moved.save()
    assert str(old) not in json.dumps([moved.config["Driver"], moved.config["HostOptions"], moved.auth])
    if name.startswith("v3-") and name != "v3-unknown":
        assert (new / "machines" / name / "config.json").read_text(encoding="utf-8") == sample(name, new)


def test_only_whole_path_parts_are_moved(tmp_path):
    text = sample("v3-generic", tmp_path / "old").replace("/home/example", str(tmp_path / "older"))
    put(tmp_path / "new", "v3-generic", text)
    config = load(tmp_path / "new", "v3-generic").config
    assert config["Driver"]["SSHKey"] == str(tmp_path / "older" / ".ssh/id_ed25519")


def test_null_options_count_as_empty(dm, call):
    put(dm.store, "nulls", '{"ConfigVersion": 3, "DriverName": "none", "Driver": {"URL": "tcp://h:1"}, '
                           '"HostOptions": null}')
    put(dm.store, "nulls2", sample("v3-none", dm.store).replace("[]", "null"))
    put_sample(dm.store, "v3-nulls")
    assert call("ls", "-f", "{{.Name}}", "-t", "1").out == "nulls\nnulls2\nv3-nulls\n"
    assert call("url", "nulls").out == "tcp://h:1\n"


# --- what is broken concerns nobody else

BROKEN = {
    "empty": "", "garbage": "{", "truncated": '{"ConfigVersion": 3, "Driver": {"IPAd', "a-list": "[]",
    "a-string": '"x"', "null": "null", "binary": b"\xff\xfe\x00\x01", "bom": b"\xef\xbb\xbf{}", "deep": "[" * 100000,
    "future": '{"ConfigVersion": 4, "DriverName": "none", "Driver": {}}',
    "word-version": '{"ConfigVersion": "x"}', "list-version": '{"ConfigVersion": [3]}',
    "driver-list": '{"ConfigVersion": 3, "DriverName": "none", "Driver": [1]}',
    "driver-string": '{"ConfigVersion": 3, "DriverName": "none", "Driver": "x"}',
    "options-list": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {}, "HostOptions": [1]}',
    "name-number": '{"ConfigVersion": 3, "DriverName": 5, "Driver": {}}',
    "name-list": '{"ConfigVersion": 3, "DriverName": ["none"], "Driver": {}}',
    "url-number": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {"URL": 5}}',
    "url-port": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {"URL": "tcp://127.0.0.1:99999"}}',
    "url-host": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {"URL": "tcp://a..b:1"}}',
    "ip-number": '{"ConfigVersion": 3, "DriverName": "generic", "Driver": {"IPAddress": 5}}',
    "port-word": '{"ConfigVersion": 3, "DriverName": "generic", "Driver": {"IPAddress": "127.0.0.1", "SSHPort": "x"}}',
    "path-number": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {"StorePath": 5}}',
    "engine-string": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {}, "HostOptions": {"EngineOptions": "x"}}',
    "swarm-list": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {}, "HostOptions": {"SwarmOptions": [1]}}',
    "auth-list": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {"URL": "tcp://127.0.0.1:1"}, '
                 '"HostOptions": {"AuthOptions": [1]}}',
    "labels-number": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {}, '
                     '"HostOptions": {"EngineOptions": {"Labels": [1]}}}',
    "ca-number": '{"ConfigVersion": 3, "DriverName": "none", "Driver": {"URL": "tcp://127.0.0.1:1"}, '
                 '"HostOptions": {"AuthOptions": {"CaCertPath": 5}}}',
    "old-list": '{"Driver": [1], "DriverName": "none"}', "old-none": "{}",
}


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_entry_has_its_row_and_the_others_theirs(dm, call, kind):
    """...with exit code 0, and `rm -f` removes it."""
    put(dm.store, "broken", BROKEN[kind])
    put(dm.store, "fine", sample("v3-none", dm.store).replace("192.0.2.41:2376", "127.0.0.1:1"))
    for words in (["ls", "-t", "1"], ["ls", "-t", "1", "-f", "table {{.Name}} {{.Error}}"]):
        ended = call(*words)
        assert (ended.code, ended.err) == (0, "")
        assert [line.split()[0] for line in ended.out.splitlines()[1:]] == ["broken", "fine"]
    ended = call("ls", "-q", "--filter", "name=fine", "--filter", "driver=none")
    assert ended == (0, "fine\n", "")
    assert call("ls", "-q", "--filter", "label=a=b", "--filter", "swarm=x").code == 0
    ended = call("rm", "-f", "broken")
    assert ended.code == 0 and ended.out.endswith("Successfully removed broken\n")
    assert os.listdir(str(dm.store / "machines")) == ["fine"]


@pytest.mark.parametrize("kind, words", [
    ("empty", "Error getting migrated host: "), ("garbage", "Error getting migrated host: "),
    ("truncated", "Error getting migrated host: "), ("a-list", "Error getting migrated host: "),
    ("future", "Error getting migrated host: config version is from the future -- you should upgrade"),
])
def test_the_row_of_a_broken_entry_says_what_is_wrong(dm, call, kind, words):
    put(dm.store, "broken", BROKEN[kind])
    row = call("ls").out.splitlines()[1]
    assert row.split()[:4] == ["broken", "not", "found", "Error"] and words in row
    ended = call("status", "broken")
    assert (ended.code, ended.out) == (1, "") and words in ended.err


def test_a_machine_of_a_driver_that_is_not_here_keeps_its_row_and_its_file(dm, call):
    path = put_sample(dm.store, "v3-virtualbox")
    path.write_text(path.read_text().replace('"DriverName": "virtualbox"', '"DriverName": "warp"'))
    before = path.read_bytes()
    row = call("ls").out.splitlines()[1]
    assert row.split()[0] == "v3-virtualbox" and 'Driver "warp" not found.' in row
    for command in ("status", "ip", "url"):
        ended = call(command, "v3-virtualbox")
        assert (ended.code, ended.out) == (1, "") and 'Driver "warp" not found.' in ended.err
    assert path.read_bytes() == before


def test_a_folder_without_config_json_is_listed_and_can_be_removed(dm, call):
    for name in ("empty", "leftover"):
        (dm.store / "machines" / name).mkdir(parents=True)
    (dm.store / "machines" / "leftover" / "id_rsa").write_text("x")
    (dm.store / "machines" / ".new-half").mkdir()
    (dm.store / "machines" / "a-file").write_text("x")
    out = call("ls").out.splitlines()
    assert [line.split()[0] for line in out[1:]] == ["empty", "leftover"]
    assert "open %s: no such file or directory" % (dm.store / "machines" / "empty" / "config.json") in out[1]
    assert call("ls", "-q").out == ""
    assert call("rm", "-y", "empty", "leftover").code == 0
    assert call("ls").out == out[0] + "\n" or call("ls").out.startswith("NAME ")
    assert not (dm.store / "machines" / "empty").exists()


# --- names

@pytest.mark.parametrize("name", [
    "", " ", "a b", "a/b", "/", "..", ".", "../x", "a..b", ".a", "-a", "a.", "a_b", "a*", "ä", "a\nb", "$(id)", "a;b",
    "x" * 64, "a." + "x" * 64, ".".join(["x" * 60] * 5),
])
def test_a_name_that_no_host_can_have_is_refused_before_anything_is_made(dm, call, name):
    ended = call("create", "-d", "none", "--url", "tcp://h:1", "--", name)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error creating machine: Invalid hostname specified")
    assert not dm.store.exists()


@pytest.mark.parametrize("name", ["a", "A1", "web-1", "a-", "1", "a.b.c", "x" * 63, "x" * 63 + "." + "y" * 63])
def test_a_name_that_a_host_can_have_is_taken(name):
    core.check_new_name(name)


@pytest.mark.parametrize("name", [
    "", ".", "..", "../certs", "/", "a/../web", "*", "[!x]*", "[!]z]*", "[]a-z]*",
    "./web", "web/", "../machines/web", "//web"])
def test_rm_of_what_is_no_machines_name_removes_nothing(dm, call, add, name):
    add("web")
    before = dm.files()
    ended = call("rm", "-f", "--", name)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(('"%s" is not the name of a machine.\n' % name, 'The pattern "%s" would remove' % name))
    assert dm.files() == before


def test_rm_of_a_link_removes_the_link_alone(dm, call, add, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    add("web")
    (dm.store / "machines" / "link").symlink_to(tmp_path / "precious")
    assert call("rm", "-f", "link").code == 0
    assert not (dm.store / "machines" / "link").is_symlink() and (tmp_path / "precious" / "file").exists()


# --- locks

HOLDER = ("import sys, time, docker_machine as d\n"
          "with d.Lock(sys.argv[1], 'The thing', 5):\n    print('held', flush=True); time.sleep(60)")


@pytest.fixture
def hold(background):
    def start(path):
        process = background(subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE,
                                              env=dict(os.environ, PYTHONPATH=str(ROOT))))
        assert process.stdout.readline() == b"held\n"
        return process
    return start


def test_a_held_lock_is_reported_with_its_holder_and_a_killed_one_is_free(tmp_path, hold):
    path = tmp_path / "locks" / "web"
    holder = hold(path)
    with pytest.raises(MachineError) as caught, core.Lock(str(path), 'Machine "web"', 0.1):
        pass
    assert str(caught.value) == 'Machine "web" is in use by another docker-machine (process %d).' % holder.pid
    assert caught.value.hint
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with core.Lock(str(path), 'Machine "web"', 1):
        assert path.read_text() == "%d\n" % os.getpid()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_locks_are_each_machines_own(tmp_path, hold):
    store = core.Store(str(tmp_path))
    hold(store.lock("a").path)
    with store.lock("b"):
        pass
    put_sample(tmp_path, "v3-none")
    assert store.machine("v3-none")  # and reading needs none


def test_two_never_hold_a_lock_that_is_removed_each_time_it_is_held(tmp_path):
    """Who opened the file before it was removed would lock what nobody else sees."""
    path, inside, most = str(tmp_path / "web"), [], []  # type: str, list, list

    def work(number):
        while len(most) < 400:
            with core.Lock(path, "The thing", HANG) as lock:
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.remove(number)
                lock.remove()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert core.each(work, range(16)) == [None] * 16
    finally:
        sys.setswitchinterval(interval)
    assert set(most) == {1}


def test_rm_leaves_neither_entry_nor_lock(dm, call, add):
    add("web")
    assert call("rm", "-y", "web").code == 0
    assert not [path for path in dm.files() if "web" in path]


def test_what_a_killed_create_left_half_made_does_not_hinder_the_next(dm, call, store):
    half = dm.store / "machines" / ".new-web"
    half.mkdir(parents=True)
    (half / "config.json.tmp123").write_text("{")
    assert call("ls", "-q").out == ""
    assert call("create", "-d", "none", "--url", "tcp://h:1", "web").code == 0
    assert call("ls", "-q").out == "web\n" and not half.exists()


# --- disks that do not take it

def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # as a full disk: the write fails half-way


def powerless():
    """Without the right to write anywhere, so that root meets a read-only folder too."""
    if LINUX:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    script = "import sys, docker_machine as d; d.write_atomic(sys.argv[1], 'x' * 500)"
    ended = subprocess.run([sys.executable, "-c", script, str(path)], stderr=subprocess.PIPE, preexec_fn=limited,
                           env=dict(os.environ, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1"))
    assert b"MachineError: Cannot write %s: File too large." % str(path).encode() in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["file"] and path.read_text() == "old"


def test_create_on_a_full_disk_is_one_sentence_and_leaves_no_machine(dm, store):
    before = dm.files()
    ended = dm("create", "-d", "none", "--url", "tcp://h:1", "web", preexec=limited, PYTHONDONTWRITEBYTECODE="1")
    assert ended.code == 3 and "Cannot write " in ended.err and "File too large" in ended.err
    assert "choose another store with --storage-path" in ended.err
    assert dm("ls", "-q").out == ""
    assert set(dm.files()) - set(before) <= {"locks", "locks/web", "certs/.lock", "machines"}


def test_a_read_only_folder_is_one_sentence_and_nothing_is_lost(dm, add):
    add("web")
    folder = dm.store / "machines" / "web"
    path = folder / "config.json"
    path.write_text(path.read_text().replace("Version\": 3", "Version\": 2"))  # so that a query wants to write
    before = path.read_bytes()
    folder.chmod(0o500)
    try:
        ended = dm("url", "web", preexec=powerless)
        if ended.code == 0 and os.geteuid() == 0:
            pytest.skip("root's rights cannot be dropped here")
    finally:
        folder.chmod(0o700)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Cannot write %s" % folder) and "Permission denied" in ended.err
    assert path.read_bytes() == before and not [name for name in os.listdir(str(folder)) if ".tmp" in name]


@pytest.mark.parametrize("place", ["file/store", "file"])
def test_a_store_where_none_can_be_is_one_sentence_before_anything_is_done(call, tmp_path, place):
    (tmp_path / "file").write_text("x")
    ended = call("-s", str(tmp_path / place), "create", "-d", "none", "--url", "tcp://h:1", "web")
    assert ended.code in (1, 3) and "Cannot create %s" % (tmp_path / "file") in ended.err


def test_write_atomic_takes_bytes_and_text_and_replaces_in_one_step(tmp_path):
    path = tmp_path / "file"
    for data, mode, expected in (("Köln\n", 0o600, "Köln\n".encode()), (b"\x00\r\n", 0o644, b"\x00\r\n")):
        core.write_atomic(str(path), data, mode)
        assert path.read_bytes() == expected and stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(MachineError, match="^Cannot write "):
        core.write_atomic(str(tmp_path / "no" / "file"), "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MachineError, match="^Cannot write "):
        core.write_atomic(str(tmp_path / "folder"), "x")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


def test_texts_that_are_not_utf8_are_refused_or_kept_but_never_a_crash(dm, store):
    label = os.fsdecode(b"note=\xff")
    ended = dm("create", "-d", "none", "--url", "tcp://h:1", "--engine-label", label, "web")
    if ended.code == 0:
        assert load(dm.store, "web").engine["Labels"] == [label]
    else:
        assert ended.code in (1, 2) and "option Labels" in ended.err and dm("ls", "-q").out == ""


def test_non_ascii_options_are_stored_right_under_a_locale_that_is_not(dm, store):
    """A cron job or a systemd unit has LC_ALL=C; Python 3.6 then takes everything for ASCII."""
    assert dm("create", "-d", "none", "--url", "tcp://h:1", "--engine-label", "ort=Köln", "web", LC_ALL="C").code == 0
    assert load(dm.store, "web").engine["Labels"] == ["ort=Köln"]


# --- certificates made ahead

class Looking(core.GenericDriver):
    """A host whose look takes until all certificates are made, and that is never there."""

    name = "generic"
    fails = False

    def pre_create_check(self):
        self.machine.draft.thread.join()
        self.machine.made_ahead = {role: pair.complete() and core.read_bytes(pair.cert) for role, pair in zip(
            ("ca", "client", "server"), self.machine.draft.made.values())}
        assert os.listdir(self.machine.store.path) == []
        if self.fails:
            raise core.MachineError("It is not there.")

    def create(self):
        raise core.MachineError("It went away.")


@pytest.fixture
def empty_store(tmp_path):
    return core.Store(str(tmp_path / "empty"))


def looked_at(store, **config):
    os.makedirs(store.path)
    machine = store.new("web", Looking)
    machine.driver.config.update(config)
    return machine


def test_certificates_are_made_while_the_host_is_looked_at(empty_store):
    with looked_at(empty_store, IPAddress="192.0.2.7") as machine:
        machine.pre_create_check()
        with pytest.raises(core.MachineError, match="It went away"):
            machine.create()
        machine._server_certificates(False)
        assert machine.made_ahead == {"ca": core.read_bytes(machine.ca.cert), "client": core.read_bytes(
            machine.client.cert), "server": core.read_bytes(machine.server_pair.cert)}
        assert core.pair_problem(machine.client, machine.ca.cert) == ""
        assert core.pair_problem(machine.server_pair, machine.ca.cert) == ""


def test_nothing_that_was_made_ahead_stays_of_a_check_that_failed(empty_store, monkeypatch):
    monkeypatch.setattr(Looking, "fails", True)
    before = set(core.Scratch.left)
    with looked_at(empty_store, IPAddress="192.0.2.7") as machine:
        with pytest.raises(core.PreCreateError, match="It is not there"):
            machine.pre_create_check()
        assert all(machine.made_ahead.values()) and core.Scratch.left > before
    assert os.listdir(empty_store.path) == [] and core.Scratch.left == before


@pytest.mark.parametrize("name", ["ca-key.pem", "key.pem"])
def test_a_key_that_is_there_stays_whatever_was_made_ahead(empty_store, name):
    """The user's own key may be named with a certificate that is mistyped."""
    with looked_at(empty_store, IPAddress="192.0.2.7") as machine:
        machine.pre_create_check()
        os.makedirs(empty_store.certs)
        core.new_key(os.path.join(empty_store.certs, name))
        before = core.read_bytes(os.path.join(empty_store.certs, name))
        machine.bootstrap_certificates()
        assert core.read_bytes(os.path.join(empty_store.certs, name)) == before
        assert core.pair_problem(machine.client, machine.ca.cert) == ""


def test_a_server_whose_address_came_later_gets_its_own_certificate(empty_store):
    with looked_at(empty_store) as machine:
        machine.pre_create_check()
        machine.driver["IPAddress"] = "192.0.2.8"
        machine.bootstrap_certificates()
        os.makedirs(machine.folder)
        machine._server_certificates(False)
        assert machine.made_ahead["ca"] and not machine.made_ahead["server"]
        assert machine._server_fits()


def test_a_ca_that_another_process_made_meanwhile_is_the_one_that_signs(empty_store):
    with looked_at(empty_store, IPAddress="192.0.2.7") as machine:
        machine.pre_create_check()
        other = empty_store.new("other", core.GenericDriver)
        other.bootstrap_certificates()
        there = core.read_bytes(machine.ca.cert)
        machine.bootstrap_certificates()
        os.makedirs(machine.folder)
        machine._server_certificates(False)
        assert core.read_bytes(machine.ca.cert) == there != machine.made_ahead["ca"]
        assert core.pair_problem(machine.client, machine.ca.cert) == "" and machine._server_fits()


def test_a_full_disk_takes_no_new_lock_file_but_still_locks(tmp_path, monkeypatch):
    real, path = os.open, tmp_path / "locks" / "web"
    path.parent.mkdir()

    def full(*words, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    monkeypatch.setattr(os, "open", lambda name, flags, *more: (full if flags & os.O_CREAT else real)(
        name, flags, *more))
    with core.Lock(str(path), 'Machine "web"', 0):
        with pytest.raises(MachineError, match='^Machine "web" is in use by another docker-machine.$'):
            core.Lock(str(path), 'Machine "web"', 0).__enter__()
    with core.Lock(str(path), 'Machine "web"', 0):
        assert not path.exists()


# --- odd entries

def test_an_entry_of_version_0_with_a_wrong_type_has_a_row_of_its_own(dm, add, call):
    add("web")
    folder = dm.store / "machines" / "old"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"DriverName": "none", "Driver": {}, "SwarmDiscovery": ["x"]}))
    listed = call("ls", "-t", "1")
    assert listed.code == 0 and [line.split()[0] for line in listed.out.splitlines()[1:]] == ["old", "web"]
    assert "cannot be used" in listed.out


def test_an_entry_without_the_name_in_its_driver_gets_its_own(store):
    machine = store.new("web", core.NoneDriver)
    machine.driver["MachineName"] = ""
    store.add(machine)
    with store.machine("web") as read:
        assert read.driver["MachineName"] == "web"


def test_a_creation_is_resumed_with_certificates_of_now(dm, add, call):
    add("web")
    (dm.store / "machines" / "web" / "incomplete").write_text("create")
    for path in (dm.store / "certs").glob("*.pem"):
        path.unlink()
    resumed = call("provision", "web")
    assert (resumed.code, resumed.err) == (0, "")
    assert (dm.store / "machines" / "web" / "ca.pem").read_text() == (dm.store / "certs" / "ca.pem").read_text()
