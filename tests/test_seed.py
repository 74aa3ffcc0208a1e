"""What a machine finds at its first boot: keys, cloud-init's user-data, a CD that carries them, and the very files that
provisioning would put there, so that it has nothing left to do."""

import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys

import pytest
from guest import CERTIFICATES, DROP_IN, LAYOUTS, SHELLS, Guest, engine_options, os_release

import docker_machine as core

HOST_KEYS = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not here")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# --- keys

def public_half(path):
    """What ssh-keygen makes of a private key, without the comment."""
    return subprocess.check_output(["ssh-keygen", "-y", "-P", "", "-f", str(path)]).decode().split()[:2]


@HOST_KEYS
def test_a_key_pair_is_private_without_a_passphrase_and_fits(tmp_path):
    path = tmp_path / "id ed25519"
    before = os.umask(0)
    try:
        line = core.new_ssh_key(str(path), "web one")
    finally:
        os.umask(before)
    assert line.split(None, 2)[::2] == ["ssh-ed25519", "web one"] and "\n" not in line
    assert public_half(path) == line.split()[:2]
    assert mode(path) == 0o600 and sorted(os.listdir(str(tmp_path))) == [path.name, path.name + ".pub"]


@HOST_KEYS
def test_a_key_pair_that_is_there_stays(tmp_path):
    path = str(tmp_path / "key")
    assert core.new_ssh_key(path) == core.new_ssh_key(path, "other")


@HOST_KEYS
def test_half_a_key_pair_is_made_anew(tmp_path):
    """ssh-keygen was killed between the two files."""
    path = tmp_path / "key"
    first = core.new_ssh_key(str(path))
    (tmp_path / "key.pub").unlink()
    second = core.new_ssh_key(str(path))
    assert second.split()[1] != first.split()[1] and public_half(path) == second.split()[:2]


@HOST_KEYS
def test_a_public_key_without_its_private_one_is_no_pair(tmp_path):
    path = tmp_path / "key"
    core.new_ssh_key(str(path))
    path.unlink()
    line = core.new_ssh_key(str(path))
    assert path.exists() and public_half(path) == line.split()[:2]


def test_a_key_that_cannot_be_made_is_told(tmp_path):
    with pytest.raises(core.MachineError) as failure:
        core.new_ssh_key(str(tmp_path / "missing" / "key"))
    assert str(tmp_path / "missing" / "key") in failure.value.message


def test_without_ssh_keygen_its_package_is_named(tmp_path, bin_folder, monkeypatch):
    monkeypatch.setenv("PATH", str(bin_folder(apt_get="exit 9")))
    with pytest.raises(core.MachineError) as failure:
        core.new_ssh_key(str(tmp_path / "key"))
    assert "ssh-keygen" in failure.value.message
    assert failure.value.hint == "Install it: sudo apt-get install openssh-client"


class SeededDriver(core.Driver):
    """One that makes its machine's keys."""

    name = "seeded"
    default_user = "docker"


@pytest.fixture
def driver(tmp_path):
    (tmp_path / "machines" / "web").mkdir(parents=True)
    made = core.Store(str(tmp_path)).new("web", SeededDriver).driver
    made.make_ssh_keys()
    return made


@HOST_KEYS
def test_the_host_key_is_pinned_before_the_first_connection(driver, tmp_path):
    folder = tmp_path / "machines" / "web"
    names = {"id_rsa", "id_rsa.pub", core.HOST_KEY, core.HOST_KEY + ".pub", "known_hosts"}
    assert set(os.listdir(str(folder))) == names
    found = subprocess.check_output(["ssh-keygen", "-F", "docker-machine.web", "-f", str(folder / "known_hosts")])
    (line,) = [line for line in found.decode().splitlines() if not line.startswith("#")]
    assert line.split() == ["docker-machine.web"] + public_half(folder / core.HOST_KEY)
    assert public_half(folder / core.HOST_KEY) != public_half(folder / "id_rsa")
    driver["IPAddress"] = "192.0.2.7"
    assert "HostKeyAlias=docker-machine.web" in driver.ssh().options()  # the name that ssh looks for
    assert mode(folder / core.HOST_KEY) == mode(folder / "id_rsa") == 0o600


@HOST_KEYS
def test_keys_that_are_there_stay_when_creation_is_taken_up_again(driver, tmp_path):
    folder = tmp_path / "machines" / "web"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "known_hosts").unlink()
    driver.make_ssh_keys()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- user-data

def parsed(text):
    head, _, body = text.partition("\n")
    assert head == "#cloud-config" and text.endswith("}\n")
    return json.loads(body)


@HOST_KEYS
def test_user_data_gives_the_login_its_key_and_the_host_its_own(driver, tmp_path):
    folder = tmp_path / "machines" / "web"
    data = parsed(core.cloud_config(driver))
    (user,) = data["users"]
    assert user["name"] == "docker" and user["lock_passwd"] is True and user["sudo"] == "ALL=(ALL) NOPASSWD:ALL"
    assert [key.split()[:2] for key in user["ssh_authorized_keys"]] == [public_half(folder / "id_rsa")]
    assert data["ssh_keys"]["ed25519_private"] == (folder / core.HOST_KEY).read_text()
    assert data["ssh_keys"]["ed25519_public"].split()[:2] == public_half(folder / core.HOST_KEY)
    assert data["hostname"] == "web" and data["ssh_pwauth"] is False and data["ssh_deletekeys"] is True


@HOST_KEYS
def test_user_data_holds_no_private_key_of_the_login(driver, tmp_path):
    secret = (tmp_path / "machines" / "web" / "id_rsa").read_text().splitlines()[2]
    assert secret not in core.cloud_config(driver)


@HOST_KEYS
def test_root_may_log_in_only_where_it_is_the_login(driver):
    assert parsed(core.cloud_config(driver))["disable_root"] is True
    driver["SSHUser"] = "root"
    data = parsed(core.cloud_config(driver))
    assert data["disable_root"] is False and data["users"][0]["name"] == "root"


@HOST_KEYS
def test_a_driver_adds_keys_of_its_own(driver):
    data = parsed(core.cloud_config(driver, mounts=[["a", "/ü\u2028"]], hostname="other"))
    assert data["mounts"] == [["a", "/ü\u2028"]] and data["hostname"] == "other"
    assert data["users"]


@HOST_KEYS
def test_user_data_is_one_line_of_json_which_every_yaml_reads(driver):
    """cloud-init looks for the first line, and YAML 1.1 forbids tabs and control characters."""
    text = core.cloud_config(driver, write_files=[{"path": "/x", "content": "a\tb\nc: 'd'\n"}])
    assert text.count("\n") == 2 and not set(text) & set(map(chr, range(9)))
    if importlib.util.find_spec("yaml"):
        assert importlib.import_module("yaml").safe_load(text) == parsed(text)


def test_a_name_too_long_for_a_host_is_cut_at_its_first_dot():
    assert core.host_name("web") == "web" and core.host_name("a.b") == "a.b"
    assert core.host_name("a" * 60 + ".example.com") == "a" * 60


# --- the CD, read back by ECMA-119 alone

def number(data, size):
    """A number in both byte orders, which must agree."""
    assert data[:size] == data[size:2 * size][::-1], data
    return int.from_bytes(data[:size], "little")


class CD:
    """What the descriptor of an image says: its label, and {name: bytes} of the root."""

    def __init__(self, image):
        self.image = image
        assert len(image) % 2048 == 0 and image[:16 * 2048].strip(b"\0") == b""
        assert self.sector(17)[:7] == b"\xffCD001\1"
        head = self.head = self.sector(16)
        assert head[:8] == b"\1CD001\1\0" and head[881] == 1
        self.label = head[40:72].decode("ascii").rstrip()
        assert head[88:120].strip(b"\0") == b""
        assert number(head[80:88], 4) == len(image) // 2048  # all of it, and no more
        assert (number(head[120:124], 2), number(head[124:128], 2), number(head[128:132], 2)) == (1, 1, 2048)
        self.root = self.record(head[156:190])
        self.check_path_tables()

    def sector(self, place):
        return self.image[place * 2048:(place + 1) * 2048]

    def record(self, data):
        size, flags = number(data[10:18], 4), data[25]
        place, name = number(data[2:10], 4), data[33:33 + data[32]]
        assert data[0] == len(data) and data[0] % 2 == 0 and data[1] == 0
        assert number(data[28:32], 2) == 1
        assert 1 <= data[19] <= 12 and 1 <= data[20] <= 31  # a month and a day
        assert (place * 2048 + size) <= len(self.image)
        return name, flags, place, size

    def check_path_tables(self):
        for at, order in ((140, "little"), (148, "big")):
            place = int.from_bytes(self.head[at:at + 4], order)  # type: ignore[arg-type]
            table = self.sector(place)[:number(self.head[132:140], 4)]
            assert table[:2] == b"\1\0" and len(table) == 10
            assert int.from_bytes(table[2:6], order) == self.root[2]  # type: ignore[arg-type]
            assert int.from_bytes(table[6:8], order) == 1  # type: ignore[arg-type]

    def records(self):
        _, flags, place, size = self.root
        assert flags == 2 and size % 2048 == 0
        for start in range(place, place + size // 2048):
            data = self.sector(start)
            while data and data[0]:
                yield self.record(data[:data[0]])
                data = data[data[0]:]

    def files(self):
        found, names, used = {}, [], set()  # type: dict, list, set
        for name, flags, place, size in self.records():
            if flags == 2:
                assert name in (b"\0", b"\1") and place == self.root[2] and size == self.root[3]
                continue
            text, _, version = name.decode("ascii").partition(";")
            assert flags == 0 and version == "1"
            names.append(text)
            found[text] = self.image[place * 2048:place * 2048 + size]
            mine = set(range(place, place + (size + 2047) // 2048))
            assert not mine & used and self.root[2] not in mine
            used |= mine
        assert names == sorted(names) and len(names) == len(found)  # the order of a directory
        return found


FILES = {"user-data": b"#cloud-config\n" + b"x" * 5000, "meta-data": b"instance-id: web\n", "network-config": b"",
         "one-sector": b"1" * 2048, "one-byte-more": b"2" * 2049, "bytes": bytes(range(256))}


@pytest.mark.parametrize("files", [FILES, {}, {"a": b""}, {"user-data": b"1", "meta-data": b"2"}],
                         ids=["many", "none", "empty", "two"])
def test_a_cd_holds_its_files_by_their_names_in_upper_case(files):
    cd = CD(core.seed_iso(files))
    assert cd.files() == {name.upper(): data for name, data in files.items()}
    assert cd.label == "cidata"


def test_the_same_files_make_the_same_cd():
    assert core.seed_iso(FILES) == core.seed_iso(dict(reversed(list(FILES.items()))))


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("isoinfo"), reason="isoinfo is not here (package genisoimage)")
def test_isoinfo_reads_the_cd(tmp_path):
    path = tmp_path / "seed.iso"
    path.write_bytes(core.seed_iso(FILES))
    for file, data in FILES.items():
        words = ["isoinfo", "-i", str(path), "-x", "/%s;1" % file.upper()]
        assert subprocess.check_output(words) == data, words
    told = subprocess.check_output(["isoinfo", "-d", "-i", str(path)]).decode()
    assert "Volume id: cidata\n" in told
    assert "Volume size is: %d\n" % (path.stat().st_size // 2048) in told


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("xorriso"), reason="xorriso is not here")
def test_xorriso_reads_the_cd(tmp_path):
    path, out = tmp_path / "seed.iso", tmp_path / "out"
    path.write_bytes(core.seed_iso(FILES))
    subprocess.check_output(["xorriso", "-no_rc", "-read_fs", "norock", "-osirrox", "on", "-indev", str(path),
                             "-extract", "/", str(out)], stderr=subprocess.STDOUT)
    assert {file.name.lower(): file.read_bytes() for file in out.iterdir()} == FILES


# --- the engine's files

LISTEN = {True: "fd://", False: "unix:///var/run/docker.sock"}
CONTAINERD = "/run/containerd/containerd.sock"
OPTIONS = {
    "plain": {},
    "labels": {"Labels": ["a=b c", "provider=mine"], "InsecureRegistry": ["r:5000"], "RegistryMirror": ["https://m"]},
    "environment": {"Env": ["A=b c", "https_proxy=http://u:p@h:1", "Q='\"$%\\"]},
    "storage": {"StorageDriver": "vfs"},
    "nasty": {"Labels": ["k=" + text for text in ("$HOME", "`id`", "%n", "a'b", 'a"b', "\\", "two\nlines", "ü", "*")]},
    "flags": {"ArbitraryFlags": ["debug", "log-opt=max-size=1m"]},
    "containerd": {"ArbitraryFlags": ["containerd=/run/other.sock"]},
    "not installed": {"InstallURL": "none"},
    "another source": {"InstallURL": "https://mirror.example/install.sh", "Version": "26.1"},
}  # type: dict
CASES = [(options, "docker.io") for options in sorted(OPTIONS)] + [
    (options, layout) for options in ("plain", "containerd") for layout in ("docker-ce", "suse")]


def first_files(url="tcp://192.0.2.7:2376", layout="docker.io", certificates=CERTIFICATES, name="web", **options):
    dockerd, arguments, socket = LAYOUTS[layout]
    plan = core.Plan(core.Facts(init="systemd"), engine_options(**options), name, "qemu", url)
    return plan.first_files(certificates, dockerd, LISTEN[socket],
                            CONTAINERD if "--containerd" in arguments else "")


def seed(guest, files):
    for name, (file_mode, text) in files.items():
        guest.path(name).parent.mkdir(parents=True, exist_ok=True)
        guest.path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        guest.path(name).chmod(file_mode)


def put_by_script(guest, files):
    return {name: guest.files()[name] for name in files}


POSIX = pytest.mark.skipif(not sys.platform.startswith("linux") or not SHELLS, reason="needs a POSIX shell and Linux")


def make_guest(folder, layout="docker.io", active=True):
    guest = Guest(folder, sorted(SHELLS)[-1])
    guest.write("/etc/os-release", os_release("debian-12"))
    guest.install(layout, active)
    return guest


@pytest.mark.once
@POSIX
@pytest.mark.parametrize("options, layout", CASES)
def test_what_the_seed_puts_is_byte_for_byte_what_provisioning_would_put(tmp_path, options, layout):
    files = first_files(layout=layout, **OPTIONS[options])
    guest = make_guest(tmp_path / "bare", layout)
    assert guest.provision(driver="qemu", **OPTIONS[options]).done == "yes"
    wanted = {name: (oct(file_mode), text.encode()) for name, (file_mode, text) in files.items()}
    assert put_by_script(guest, files) == wanted
    new = set(guest.files()) - set(make_guest(tmp_path / "untouched", layout).files())
    assert {name for name in new if name.startswith("/etc/docker") or "docker.service.d" in name} == set(files)


@pytest.mark.once
@POSIX
@pytest.mark.parametrize("certificates", [CERTIFICATES, {key: "\n%s\n\n" % text for key, text in CERTIFICATES.items()}])
@pytest.mark.parametrize("url", ["tcp://192.0.2.7:2376", "tcp://[2001:db8::7]:2377"])
def test_provisioning_of_a_seeded_machine_finds_nothing_to_do(tmp_path, url, certificates):
    guest = make_guest(tmp_path / "seeded", active=False)
    guest.note(uname="web")
    seed(guest, first_files(url, certificates=certificates, Labels=["a=b"], Env=["A=b c"]))
    guest.systemctl("daemon-reload")
    guest.systemctl("start", "docker.service")
    guest.systemctl("enable", "docker.service")
    guest.write("/run/docker-machine.lock", "")  # what a run leaves in any case
    before = guest.files()
    run = guest.provision(driver="qemu", url=url, certificates=certificates, Labels=["a=b"], Env=["A=b c"])
    assert (run.code, run.done, run.steps, run.called("systemctl restart")) == (0, "no", [], [])
    assert guest.files() == before


def test_the_key_of_the_seed_is_private_and_the_rest_is_not():
    modes = {name: file_mode for name, (file_mode, _) in first_files().items()}
    assert modes == {DROP_IN: 0o644, "/etc/docker/ca.pem": 0o644, "/etc/docker/server.pem": 0o644,
                     "/etc/docker/server-key.pem": 0o600}


def test_a_driver_gets_the_engines_files_of_its_own_machine(store):
    machine = store.new("web", core.GenericDriver)
    machine.driver["IPAddress"] = "192.0.2.7"
    machine.driver["EnginePort"] = 2400
    machine.engine["Labels"] = ["a=b"]
    store.add(machine)
    files = machine.engine_files("/usr/sbin/dockerd", "fd://", CONTAINERD)
    drop_in = files[DROP_IN][1]
    assert "ExecStart=\nExecStart=/usr/sbin/dockerd -H tcp://0.0.0.0:2400 -H fd:// --containerd=" in drop_in
    assert "--label=a=b --label=provider=generic" in drop_in
    server = machine.server_pair
    assert core.server_pair_fits(server, machine.ca.cert, ["192.0.2.7", "localhost", "web"], False)
    assert files["/etc/docker/server-key.pem"][1] == store_file(server.key)
    assert files["/etc/docker/ca.pem"][1] == store_file(machine.ca.cert)


def store_file(path):
    with open(path) as file:
        return file.read().strip() + "\n"


# --- provisioning while the engine starts

SYSTEMCTL = """\
state=%(state)s
[ ! -e "$state" ] || case " $* " in
*" is-active -q "*) exit 3;;
*" show -p ActiveState -p Job "*)
    echo "systemctl $*" >>"$LOG"
    printf 'ActiveState=%%s\nJob=%%s\n' "$(cat "$state")" "$(cat "$state.job")"
    exit;;
*" start "*|*" restart "*) rm "$state";;
esac
exec %(real)s "$@"
"""


def starting(guest, state, job=""):
    """Let systemd say that the engine is in this state, with this job queued, until the next start."""
    folder = guest.folder / "real"
    folder.mkdir()
    (guest.folder / "bin" / "systemctl").rename(folder / "systemctl")
    (guest.folder / "is-active").write_text(state + "\n")
    (guest.folder / "is-active.job").write_text(job + "\n")
    wrapper = guest.folder / "bin" / "systemctl"
    wrapper.write_text("#!/bin/sh\n" + SYSTEMCTL % {"state": core.quote(str(guest.folder / "is-active")),
                                                    "real": core.quote(str(folder / "systemctl"))})
    wrapper.chmod(0o755)


def seeded(folder, state, job=""):
    guest = make_guest(folder, active=False)
    guest.note(uname="web")
    seed(guest, first_files())
    guest.systemctl("daemon-reload")
    guest.systemctl("enable", "docker.service")
    starting(guest, state, job)
    return guest


@pytest.mark.once
@POSIX
@pytest.mark.parametrize("state, job", [("activating", ""), ("activating", "99"), ("inactive", "99"), ("active", "")])
def test_a_start_that_is_under_way_queued_or_just_over_is_waited_for_and_is_no_change(tmp_path, state, job):
    guest = seeded(tmp_path / "guest", state, job)
    run = guest.provision(driver="qemu")
    assert (run.code, run.done) == (0, "no")
    assert len(run.called("systemctl start docker.service")) == 1 and run.called("systemctl restart") == []
    assert guest.running()


@pytest.mark.once
@POSIX
@pytest.mark.parametrize("state", ["inactive", "failed", "deactivating"])
def test_an_engine_that_was_down_is_started_and_that_is_a_change(tmp_path, state):
    guest = seeded(tmp_path / "guest", state)
    run = guest.provision(driver="qemu")
    assert (run.code, run.done) == (0, "yes")
    assert len(run.called("systemctl start docker.service")) == 1 and run.called("systemctl restart") == []


@pytest.mark.once
@POSIX
def test_a_change_restarts_an_engine_that_starts_with_the_old_settings(tmp_path):
    guest = seeded(tmp_path / "guest", "activating")
    run = guest.provision(driver="qemu", Labels=["new=1"])
    assert (run.code, run.done) == (0, "yes")
    assert len(run.called("systemctl restart docker.service")) == 1 and run.called("systemctl start") == []
    assert "--label=new=1" in guest.running()


@pytest.mark.once
@POSIX
def test_an_engine_that_does_not_come_up_is_told_and_the_wait_is_bounded(tmp_path):
    guest = seeded(tmp_path / "guest", "activating")
    guest.note(fail_systemctl_start="Job for docker.service failed")
    run = guest.provision(driver="qemu")
    assert run.code == 1 and "does not start" in run.failure
    assert "failed to start daemon: driver not supported" in run.log
