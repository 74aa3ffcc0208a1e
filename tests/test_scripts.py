"""PROBE_SH and PROVISION_SH, run for real by every POSIX shell that is here, on make-believe hosts.

What each distribution gets is held by golden files, data/provision/NAME.golden beside the
NAME.os-release that it comes from. After a wanted change write them anew, and read the diff:

    UPDATE_GOLDEN=1 python3 -m pytest tests/test_scripts.py -k golden

A test runs in one of the shells, since a minute is long; ALL_SHELLS=1 runs each in all of them.
"""

import concurrent.futures
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zlib

import pytest
from guest import CERTIFICATES, DATA, DOCKERD, DROP_IN, SHELLS, Guest, engine_options, os_release

import docker_machine as dm

pytestmark = [pytest.mark.once, pytest.mark.skipif(not sys.platform.startswith("linux") or not SHELLS,
                                                     reason="the scripts are for Linux and need a POSIX shell")]

DISTRIBUTIONS = {  # NAME.os-release -> (row, its package manager there, its own engine)
    "debian-11": ("debian", "apt", "docker.io"),
    "debian-12": ("debian", "apt", "docker.io"),
    "debian-13": ("debian", "apt", "docker.io"),
    "ubuntu-20.04": ("ubuntu(systemd)", "apt", "docker.io"),
    "ubuntu-22.04": ("ubuntu(systemd)", "apt", "docker.io"),
    "ubuntu-24.04": ("ubuntu(systemd)", "apt", "docker.io"),
    "mint-22": ("ubuntu(systemd)", "apt", "docker.io"),
    "raspbian-12": ("debian", "apt", "docker.io"),
    "rhel-9": ("redhat", "dnf", "docker-ce"),
    "centos-stream-9": ("centos", "dnf", "docker-ce"),
    "rocky-9": ("rocky", "dnf", "docker-ce"),
    "alma-9": ("redhat", "dnf", "docker-ce"),
    "oracle-9": ("ol", "dnf", "docker-ce"),
    "fedora-42": ("fedora", "dnf", "fedora"),
    "ultramarine-41": ("fedora", "dnf", "fedora"),
    "amazon-2": ("amazon", "yum", "amazon"),
    "amazon-2023": ("amazon", "dnf", "amazon"),
    "opensuse-leap-15.6": ("SUSE", "zypper", "suse"),
    "opensuse-tumbleweed": ("SUSE", "zypper", "suse"),
    "sles-15": ("SUSE", "zypper", "suse"),
    "sled-15": ("SUSE", "zypper", "suse"),
    "arch": ("arch", "pacman", "docker-ce"),
    "manjaro": ("arch", "pacman", "docker-ce"),
    "boot2docker": ("boot2docker", "tce", "static"),
    "photon-5": ("systemd", "", "docker-ce"),  # stands for all that nobody has heard of
}
INSTALLER = "#!/bin/sh\nengine docker-ce \"$@\"\n"  # what https://get.docker.com is here
MYSELF = "https://mirror.example/install.sh"
SYSTEMD = ["systemctl", "journalctl", "hostnamectl"]
INIT_D = '#!/bin/sh\n%s >>"$LOG"\n'
LOCK_STEP = "Waiting for another package manager to finish..."
CONFIGURING = "Setting Docker configuration on the remote daemon..."

RIVAL = "/etc/systemd/system/docker.service.d/%s.conf"
KEEP = "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "


@pytest.fixture(params=sorted(SHELLS) if os.environ.get("ALL_SHELLS") else [""])
def shell(request):
    """One of the shells, always the same for a test; with ALL_SHELLS=1 each test runs in each."""
    name = request.node.name
    if "golden" in name and "busybox" in SHELLS:
        return request.param or "busybox"  # needs the fewest processes
    return request.param or sorted(SHELLS)[zlib.crc32(name.encode()) % len(SHELLS)]


@pytest.fixture
def make(shell, tmp_path):
    """make(distribution, engine there or "", options of Guest) -> a host."""
    def make_guest(name="debian-12", engine="", folder=".", **options):
        packager, own = DISTRIBUTIONS[name][1:]
        guest = Guest(tmp_path / folder, shell, **dict(
            {"packager": packager, "docker": own, "without": SYSTEMD * (packager == "tce")},
            **options))
        guest.write("/etc/os-release", os_release(name))
        if engine:
            guest.install(engine, active=packager != "tce")
        if packager == "tce":
            shutil.rmtree(str(guest.path("/run/systemd")))
            guest.write("/etc/init.d/docker", INIT_D % 'echo "init.d/docker $*"', 0o755)
        return guest
    return make_guest


# --- the scripts as such

@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not here")
@pytest.mark.parametrize("name", ["debian-12", "probe", "report"])
def test_shellcheck_has_nothing_to_say(name):
    texts = {"probe": "ROOT=''\n" + dm.PROBE_SH, "report": dm.ENGINE_REPORT_SH}
    if name in DISTRIBUTIONS:
        facts = dm.Facts(os=os_release(name), init="systemd")
        engine = engine_options(Env=["https_proxy=http://p:3128"])
        texts[name] = dm.Plan(facts, engine, "web", "generic", "tcp://192.0.2.7:2376").script(CERTIFICATES)
    check = subprocess.Popen(["shellcheck", "-s", "sh", "-"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    assert check.communicate(texts[name].encode())[0].decode() == ""


# --- golden files

def transcript(run):
    lines = ["exit code %d" % run.code] + run.stdout.splitlines()
    lines += ["stderr: " + line for line in run.stderr.splitlines()]
    return lines + ["", "calls:"] + ["    " + call for call in run.calls]


def changed_files(before, after):
    lines = ["", "files:"]
    for path, (mode, data) in sorted(after.items()):
        if before.get(path) != (mode, data) and not path.startswith(("/usr/", "/run/")):
            lines += ["    %s %s" % (mode[2:], path)]
            lines += ["        " + line for line in data.decode().splitlines()
                      if not path.endswith(".pem")]
    return lines + ["    gone: " + path for path in sorted(set(before) - set(after))]


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_golden(name, make):
    row, _, own = DISTRIBUTIONS[name]

    def set_up(title, engine):
        guest = make(name, engine, folder=title)
        guest.offer(dm.DEFAULT_INSTALL_URL, INSTALLER)
        guest.offer(dm.CENTOS_REPO, "[docker-ce-stable]\n")
        before = guest.files()
        lines = ["", "===== " + title, "row: " + guest.facts().provisioner()[0]]
        return lines + transcript(guest.provision()) + changed_files(before, guest.files())

    with concurrent.futures.ThreadPoolExecutor() as pool:
        parts = list(pool.map(set_up, ["without an engine", "with " + own], ["", own]))
    golden, lines = DATA / (name + ".golden"), parts[0] + parts[1]
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text("\n".join(lines[1:]) + "\n")
    assert lines[1:] == golden.read_text().splitlines()
    assert lines[2] == "row: " + row


def test_every_row_has_a_distribution_in_the_golden_files():
    rows = [dm.Facts(os=os_release(name), init="systemd").provisioner()
            for name in DISTRIBUTIONS]
    assert [row[0] for row in dm.PROVISIONERS if row not in rows] == []


@pytest.mark.parametrize("each", sorted(SHELLS))
def test_every_shell_sets_a_host_up_and_then_leaves_it_alone(tmp_path, each):
    guest = Guest(tmp_path, each)
    guest.write("/etc/os-release", os_release("debian-12"))
    guest.offer(dm.DEFAULT_INSTALL_URL, INSTALLER)
    assert [guest.provision(Labels=["a=b c"]).done for _ in range(2)] == ["yes", "no"]
    assert guest.running().endswith(' --label=provider=generic') and '"--label=a=b c"' in (
        guest.running())


# --- PROBE_SH

PASSWORD = "sudo: a password is required"
TERMINAL = ("sudo: a terminal is required to read the password; either use the -S option to read "
            "from standard input or configure an askpass helper\n" + PASSWORD)
LECTURE = "We trust you have received the usual lecture.\nuser: mallory\n\n" + PASSWORD


@pytest.mark.parametrize("uid, sudo, without, elevate, words", [
    ("0", PASSWORD, (), "root", None),
    ("0", "", ["sudo"], "root", None),
    ("1000", "free", (), "yes", None),
    ("1000", "", ["sudo"], "missing", None),
    ("1000", PASSWORD, (), "no", PASSWORD),
    ("1000", TERMINAL, (), "no", TERMINAL),
    ("1000", LECTURE, (), "no", LECTURE),
    ("1000", "tty", (), "tty", None),
    ("1000", "tty", ["script"], "no", "sudo: sorry, you must have a tty to run sudo"),
], ids=["root", "root-no-sudo", "sudo", "none", "password", "terminal", "lecture", "requiretty",
        "requiretty-no-script"])
def test_probe_tells_how_root_is_had(make, uid, sudo, without, elevate, words):
    guest = make(without=without)
    guest.note(uid=uid, user="eve", sudo=sudo, clock=int(time.time()))
    facts = guest.probe()
    assert (facts.elevate, facts.user) == (elevate, "eve")
    if words:
        assert facts.sudo_words == words
    if elevate in ("root", "yes", "tty"):
        dm.check_host(dm.Plan(facts, engine_options()))
        return
    with pytest.raises(dm.MachineError) as refusal:
        dm.check_host(dm.Plan(facts, engine_options()))
    assert "sudo" in refusal.value.message and guest.host in refusal.value.message
    assert ("eve ALL=(ALL) NOPASSWD: ALL" in refusal.value.hint) == (elevate == "no")


JSON = '{\n  "labels": ["a: b"],\n\n  "debug": true\n}'


@pytest.mark.parametrize("uid, sudo, folder", [
    ("0", "", "/usr/bin"), ("0", "", "/usr/sbin"), ("0", "", "/usr/local/bin"),
    ("1000", "free", "/usr/bin"), ("1000", "tty", "/usr/bin")])
def test_probe_sees_the_engine_and_its_configuration(make, uid, sudo, folder):
    guest = make()
    guest.note(uid=uid, sudo=sudo)
    guest.write(folder + "/dockerd", DOCKERD, 0o755)
    guest.write("/etc/docker/daemon.json", JSON)
    facts = guest.probe()
    assert (facts.engine, facts.init, facts.kernel) == (
        "20.10.24+dfsg1", "systemd", "Linux")
    assert facts.json == JSON


@pytest.mark.parametrize("etc, usr_lib, identity", [
    ("# a comment with ID=arch\nID='debian'\nPRETTY_NAME='It'\"'\"'s = one'\n", None, "debian"),
    ('ID="debian"\nURL="https://example.org/?a=b&c=d"\nBROKEN="\n=\n\n', None, "debian"),
    ("  ID=debian  \n", None, "debian"),
    ("ID=arch\nID=debian\n", None, "debian"),
    ("ID=DEBIAN", None, "debian"),
    ("ID=zorin\nID_LIKE='unheard ubuntu debian'\n", None, "ubuntu(systemd)"),
    (None, "ID=debian\n", "debian"),
    ("ID=debian\n", "ID=arch\n", "debian"),
    ("", None, "systemd"),
    (None, None, "systemd"),
])
def test_odd_os_release_files_are_understood(make, etc, usr_lib, identity):
    guest = make()
    guest.path("/etc/os-release").unlink()
    for path, text in (("/etc/os-release", etc), ("/usr/lib/os-release", usr_lib)):
        if text is not None:
            guest.write(path, text)
    assert guest.probe().provisioner()[0] == identity


def test_an_unknown_system_without_systemd_is_refused(make):
    guest = make()
    guest.write("/etc/os-release", 'ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n')
    shutil.rmtree(str(guest.root / "run/systemd"))
    with pytest.raises(dm.MachineError, match="OS type not recognized: Alpine Linux v3.20"):
        guest.probe().provisioner()


# --- an engine that is there keeps its options

FD_WORDS = ["/usr/sbin/dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock"]


def adopted(guest, new=True, **options):
    """What check_host() takes over into the engine's options."""
    engine = engine_options(**options)
    dm.check_host(dm.Plan(guest.probe(), engine), new)
    return engine["ArbitraryFlags"]


@pytest.mark.parametrize("layout, path, variable", [
    ("docker.io", "/etc/default/docker", "DOCKER_OPTS"), ("fedora", "/etc/sysconfig/docker", "OPTIONS"),
    ("amazon", "/etc/sysconfig/docker", "OPTIONS"), ("suse", "/etc/default/docker", "DOCKER_OPTS")])
def test_options_of_a_variable_file_are_kept(make, layout, path, variable):
    guest = make(engine=layout)
    guest.write(path, '# %s="--nothing"\n'
                '%s="--data-root=/srv/d --bip 10.9.0.1/24 -s vfs --debug"\n' % (variable, variable))
    own = {"fedora": ["exec-opt=native.cgroupdriver=systemd"], "suse": ["add-runtime=oci=/usr/sbin/runc"]}
    kept = own.get(layout, []) + ["data-root=/srv/d", "bip=10.9.0.1/24", "storage-driver=vfs", "debug"]
    assert adopted(guest) == kept
    assert adopted(guest, ArbitraryFlags=["bip=10.8.0.1/24"], StorageDriver="overlay2") == ["bip=10.8.0.1/24"] + [
        option for option in kept if not option.startswith(("bip", "storage-driver"))]
    guest.write(path, '%s="--label=a=1 --label b=2 --insecure-registry x:1 --insecure-registry y:1"\n' % variable)
    assert adopted(guest, Labels=["a=3"], InsecureRegistry=["y:1"]) == own.get(layout, []) + [
        "label=b=2", "insecure-registry=x:1"]
    guest.write(path, '%s="--label provider=other --label a=1"\n' % variable)
    assert adopted(guest, Labels=["b=3"]) == own.get(layout, []) + ["label=a=1"]
    assert guest.provision(ArbitraryFlags=kept).done == "yes"
    assert guest.running().endswith(" --data-root=/srv/d --bip=10.9.0.1/24 --storage-driver=vfs --debug")
    assert adopted(guest, new=False) == []  # a machine of ours knows its options


@pytest.mark.parametrize("path", ["/etc/systemd/system/docker.service", RIVAL % "00-mine", RIVAL % "10-a"])
def test_options_of_a_unit_of_the_users_are_kept(make, path):
    guest = make(engine="docker.io")
    guest.write(path, "[Service]\nEnvironment=A=--mtu=1400 \"B=-g /srv/d\"\nExecStart=\n"
                "ExecStart=-/usr/sbin/dockerd -H fd:// \\\n    --data-root='/srv/a b' --icc=${C}false $A \n")
    guest.systemctl("daemon-reload")
    assert adopted(guest) == ["data-root=/srv/a b", "icc=false", "mtu=1400"]


def test_drop_ins_count_in_the_order_of_their_names_and_the_first_of_a_name(make):
    guest = make(engine="docker.io")
    guest.write("/usr/lib/systemd/system/docker.service.d/30-b.conf", "[Service]\nEnvironment=A=--mtu=1 B=--mtu=2\n")
    guest.write("/run/systemd/system/docker.service.d/30-b.conf", "[Service]\nEnvironment=A=--mtu=3\n")
    guest.write(RIVAL % "20-a", "[Service]\nEnvironment=A=--mtu=4 B=--bip=10.9.0.1/24\nExecStart=\n"
                "ExecStart=/usr/sbin/dockerd $A $B\n")
    guest.write(RIVAL % "two words", "[Service]\nEnvironment=C=5\n")
    facts = guest.probe()
    assert [os.path.basename(path) for path, _ in facts.unit_files()] == [
        "docker.service", "20-a.conf", "30-b.conf", "two words.conf", "docker"]
    assert facts.engine_words() == ["/usr/sbin/dockerd", "--mtu=3", "--bip=10.9.0.1/24"]


def test_what_runs_counts_rather_than_what_is_written(make):
    guest = make(engine="docker.io")
    guest.note(main_pid=4242)
    guest.write("/proc/4242/cmdline", "\0".join(
        FD_WORDS + ["-Hunix:///run/other.sock", "--data-root", "/srv/a b", "-D", ""]))
    guest.write("/etc/default/docker", 'DOCKER_OPTS="--mtu=1"\n')
    assert adopted(guest) == ["host=unix:///run/other.sock", "data-root=/srv/a b", "debug"]


def test_another_machine_on_a_host_of_ours_keeps_where_its_images_are(make):
    guest = make(engine="docker.io")
    assert guest.provision(ArbitraryFlags=["data-root=/srv/d", "log-level=debug"], Labels=["a=b"]).done == "yes"
    assert adopted(guest) == ["data-root=/srv/d"]
    assert adopted(guest, ArbitraryFlags=["data-root=/srv/e"]) == ["data-root=/srv/e"]
    assert adopted(guest, new=False) == []


@pytest.mark.parametrize("options, word", [
    ("-H tcp://0.0.0.0:2375", "--host=tcp://0.0.0.0:2375"),
    ("--tlscacert=/etc/pki/ca.pem", "--tlscacert=/etc/pki/ca.pem"),
    ("--tlsverify --tlskey /k.pem", "--tlskey=/k.pem")])
def test_an_option_that_cannot_stay_is_refused_with_its_place(make, options, word):
    guest = make(engine="docker.io")
    guest.write("/etc/default/docker", 'DOCKER_OPTS="%s"\n' % options)
    with pytest.raises(dm.MachineError) as refusal:
        adopted(guest)
    assert "is started with %s, which docker-machine cannot keep. It stands in /etc/default/docker." % word in (
        refusal.value.message)


def test_a_unit_that_starts_something_else_is_refused_with_its_place(make):
    guest = make(engine="docker.io")
    guest.write(RIVAL % "00-mine", "[Service]\nExecStart=\nExecStart=/opt/start-docker.sh --fast\n")
    guest.systemctl("daemon-reload")
    with pytest.raises(dm.MachineError, match="started with /opt/start-docker.sh, .* in %s" % (RIVAL % "00-mine")):
        adopted(guest)
    guest.write(RIVAL % "00-mine", "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd '--label=a\n")
    with pytest.raises(dm.MachineError, match="cannot be understood"):
        adopted(guest)


def test_boot2docker_has_its_options_from_the_profile_that_we_write(make):
    guest = make("boot2docker", engine="static")
    guest.write("/run/systemd/system/x", "")
    guest.write("/etc/systemd/system/docker.service", "[Service]\nExecStart=/usr/local/bin/dockerd -H tcp://0.0.0.0:2376\n")
    assert adopted(guest) == []


# --- what a login shell prints

@pytest.mark.parametrize("noise", ["printf Welcome", "echo 'clock: 12:30'", "echo 'init: x'; echo 'kernel:none'",
                                   "echo '::fail no'; echo '::done yes'", "printf '::step '"])
def test_what_a_login_shell_prints_is_not_taken_for_the_scripts_words(make, noise):
    guest = make(engine="docker.io")
    plain = {key: text for key, text in vars(guest.probe()).items() if key not in ("clock", "skew")}
    ssh = guest.as_ssh()
    quiet = ssh.run
    ssh.run = lambda command, stdin="", *more: quiet(command, noise + "\n" + stdin, *more)
    facts = dm.probe(ssh)
    assert {key: text for key, text in vars(facts).items() if key not in ("clock", "skew")} == plain
    assert dm.run_as_root(ssh, facts, guest.script(), 60)  # raises if it takes a failure for the script's


# --- PROVISION_SH: when the engine restarts

@pytest.mark.parametrize("name", ["debian-12", "opensuse-leap-15.6"])
def test_a_second_run_changes_nothing(make, name):
    guest = make(name, DISTRIBUTIONS[name][2])
    guest.write("/etc/docker/daemon.json", '{"labels": ["a=1"], "storage-driver": "vfs"}')
    options = dict(Labels=["b=2"], StorageDriver="vfs", Env=["A=b c"],
                   ArbitraryFlags=["containerd=/run/other.sock"])
    assert guest.provision(**options).done == "yes"
    before = guest.files()
    second = guest.provision(**options)
    assert (second.done, second.steps, second.stderr) == ("no", [], "")
    assert guest.files() == before
    changes = [call for call in second.calls if not call.startswith("systemctl show ") and
               not call.startswith("systemctl is-")]
    assert changes == []


@pytest.mark.parametrize("moment", ["hostname web", "systemctl daemon-reload",
                                    "systemctl reset-failed docker.service"])
def test_a_run_that_was_killed_is_completed(make, moment):
    guest = make(engine="docker.io")
    guest.note(kill_at=moment)
    assert guest.provision().code == -signal.SIGKILL
    guest.note(kill_at=None)
    again = guest.provision()
    assert (again.done, again.code) == ("yes", 0)
    assert len(again.called("systemctl restart docker.service")) == 1
    assert "-H tcp://0.0.0.0:2376" in guest.running()


def test_a_kill_between_the_files_and_the_restart_is_remembered(make):
    guest = make(engine="docker.io")
    guest.provision()
    guest.write("/run/docker-machine.restart", "")
    again = guest.provision()
    assert (again.done, len(again.called("systemctl restart docker.service"))) == ("yes", 1)
    assert not guest.path("/run/docker-machine.restart").exists()


def test_each_change_restarts_the_engine_once(make):
    guest = make(engine="docker.io")
    guest.provision()
    options = {}  # type: dict
    for change in ({"Labels": ["a=b"]}, {"Env": ["A=b"]}, {"url": "tcp://192.0.2.7:2377"},
                   {"certificates": dict(CERTIFICATES, CERT="new")},
                   {"certificates": dict(CERTIFICATES, KEY="new")}):
        options.update(change)
        run = guest.provision(**options)
        assert (run.done, len(run.called("systemctl restart docker.service"))) == ("yes", 1), change


DOCKER = """\
[ "$1" = info ] || exit 1
case $3 in *Swarm*) echo inactive; exit;; esac
cat "$FAKE_ROOT/etc/docker/daemon.json" >>"$STATE/seen"
sed -n 's/.*"live-restore": \\([a-z]*\\).*/\\1/p' "$FAKE_ROOT/etc/docker/daemon.json"
"""


@pytest.mark.parametrize("kept", [None, "{}\n", "{ \n}", '{"debug": true}', '{\n  "labels": ["{x}", "a=1"],\n'
                                  '  "log-opts": {}\n}\n'])
def test_containers_outlive_a_restart_for_new_certificates(make, kept):
    """The engine is told live-restore for as long as it restarts."""
    guest = make(engine="docker.io")
    if kept is not None:
        guest.write("/etc/docker/daemon.json", kept, 0o640)
    guest.provision()
    before = guest.files()
    guest.docker(DOCKER)
    run = guest.provision(certificates=dict(CERTIFICATES, CERT="new"))
    assert (run.done, run.stderr, len(run.called("systemctl restart docker.service"))) == ("yes", "", 1)
    seen = (guest.state / "seen").read_text()
    file = json.loads(before.get("/etc/docker/daemon.json", ("", b"{}"))[1].decode())
    told = []  # type: list
    while seen:
        value, end = json.JSONDecoder().raw_decode(seen)
        told, seen = told + [value], seen[end:].lstrip()
    assert told == [dict(file, **{"live-restore": value}) for value in (True, False)]
    changed = {name for name, data in guest.files().items() if before.get(name) != data}
    assert changed == {"/etc/docker/server.pem"}


@pytest.mark.parametrize("options, kept", [({"ArbitraryFlags": ["live-restore=false"]}, "{}"),
                                           ({}, '{"live-restore": false}')])
def test_live_restore_stays_as_it_was_chosen(make, options, kept):
    guest = make(engine="docker.io")
    guest.write("/etc/docker/daemon.json", kept)
    guest.provision(**options)
    guest.docker(DOCKER)
    assert guest.provision(certificates=dict(CERTIFICATES, CERT="new"), **options).done == "yes"
    assert not (guest.state / "seen").exists()


def test_an_engine_that_stopped_is_started(make):
    guest = make(engine="docker.io")
    guest.provision()
    guest.systemctl("stop", "docker.service")
    assert guest.provision().done == "yes"
    assert guest.running()


def test_two_provisionings_of_one_host_take_turns(make):
    import fcntl
    guest = make(engine="docker.io")
    if not (guest.tools / "flock").exists():
        pytest.skip("flock is not here, and the script does without")
    with open(str(guest.path("/run/docker-machine.lock")), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        inode = ":%d " % os.fstat(lock.fileno()).st_ino

        def release():  # when the script waits: proc(5), "->" marks who is blocked
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not any(
                    "->" in line and inode in line for line in open("/proc/locks").readlines()):
                time.sleep(.01)
            fcntl.flock(lock, fcntl.LOCK_UN)

        releasing = threading.Thread(target=release)
        releasing.start()
        run = guest.provision()
        releasing.join()
    assert run.steps[0] == "Waiting for another run on this host, or an interrupted one, to finish..."
    assert run.done == "yes"


def test_a_host_without_a_run_folder_is_set_up_or_said_why_not(make):
    guest = make(engine="docker.io")
    script = guest.script()
    shutil.rmtree(str(guest.path("/run")))
    run = guest.set_up_by(script)
    assert run.done == "yes" or run.failure, run


# --- PROVISION_SH: files

def test_the_key_is_readable_by_root_alone_and_never_on_a_command_line(make):
    guest = make(engine="docker.io")
    guest.write("/etc/docker/server-key.pem", "-----SECRET-----\n", 0o644)
    run = guest.provision()
    modes = {name: guest.mode("/etc/docker/" + name) for name in
             ("ca.pem", "server.pem", "server-key.pem")}
    assert modes == {"ca.pem": "0o644", "server.pem": "0o644", "server-key.pem": "0o600"}
    assert guest.read("/etc/docker/server-key.pem") == "-----SECRET-----\n"
    assert "SECRET" not in repr(run)


@pytest.mark.parametrize("umask", ["077", "000"])
def test_modes_do_not_depend_on_the_umask_there(make, umask):
    guest = make(engine="docker.io")
    run = guest.set_up_by("umask %s\n%s" % (umask, guest.script()))
    assert run.done == "yes"
    assert [guest.mode(name) for name in (DROP_IN, "/etc/docker", "/etc/docker/server-key.pem")
            ] == ["0o644", "0o755", "0o600"]


@pytest.mark.parametrize("link", [False, True])
def test_daemon_json_is_merged_and_its_original_kept(make, link):
    guest = make(engine="docker.io")
    real = "/srv/daemon.json" if link else "/etc/docker/daemon.json"
    original = '{"labels": ["a=1"], "debug": true}'
    guest.write(real, original, 0o600)
    if link:
        guest.link("/etc/docker/daemon.json", "../../srv/daemon.json")
    assert guest.provision(Labels=["b=2"]).done == "yes"
    assert guest.path("/etc/docker/daemon.json").is_symlink() == link
    assert '"b=2"' in guest.read(real) and '"debug": true' in guest.read(real)
    assert guest.read(real + ".before-docker-machine") == original
    assert guest.mode(real) == "0o600", "others may now read what they could not"
    assert "--label" not in guest.running()
    assert guest.provision(Labels=["b=2", "c=3"]).done == "yes"
    assert guest.read(real + ".before-docker-machine") == original


@pytest.mark.parametrize("blocked", ["/etc/docker/server.pem", DROP_IN])
def test_a_file_that_cannot_be_written_is_named_with_the_reason(make, blocked):
    guest = make(engine="docker.io")
    guest.write(blocked + ".new/in-the-way", "")
    run = guest.provision()
    assert run.code == 1 and blocked in run.failure, run
    assert "directory" in "\n".join(run.log + [run.failure]).lower()
    assert "-H tcp" not in guest.running()


GUARD = 'chmod() { [ ! -L "$2" ] || return 1; "%s" "$@"; }\n'  # never that of /dev/full itself


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not here")
def test_a_full_disk_is_said_to_be_full(make):
    guest = make(engine="docker.io")
    guest.link(DROP_IN + ".new", "/dev/full")
    run = guest.set_up_by(GUARD % (guest.tools / "chmod") + guest.script())
    assert run.code == 1 and DROP_IN in run.failure
    assert "No space left on device" in "\n".join(run.log + [run.failure])


# --- PROVISION_SH: the unit

@pytest.mark.parametrize("layout, listen", [
    ("docker.io", "-H fd:// --containerd=/run/containerd/containerd.sock "),
    ("fedora", "-H fd:// "), ("suse", "-H unix:///var/run/docker.sock "),
])
def test_socket_activation_and_containerd_are_kept(make, layout, listen):
    guest = make(engine=layout)
    guest.provision()
    assert "-H tcp://0.0.0.0:2376 %s--tlsverify " % listen in guest.running()


def test_a_masked_socket_is_not_asked_for(make):
    guest = make(engine="docker.io")
    guest.link("/etc/systemd/system/docker.socket", "/dev/null")
    guest.systemctl("daemon-reload")
    guest.provision()
    assert "-H unix:///var/run/docker.sock" in guest.running()


def test_a_masked_service_is_refused_with_the_command_that_helps(make):
    guest = make(engine="docker.io")
    guest.link("/etc/systemd/system/docker.service", "/dev/null")
    guest.systemctl("daemon-reload")
    run = guest.provision()
    assert (run.code, run.done) == (1, "")
    assert "systemctl unmask docker.service" in run.failure
    assert run.called("systemctl restart") == []
    guest.path("/etc/systemd/system/docker.service").unlink()
    guest.systemctl("daemon-reload")
    assert guest.provision().done == "yes"


def test_a_rival_drop_in_is_named_before_anything_is_changed(make):
    guest = make(engine="docker.io")
    assert guest.provision().done == "yes"
    guest.write(RIVAL % "override", "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H fd://\n")
    for new in (True, False):
        with pytest.raises(dm.MachineError) as refusal:
            dm.check_host(dm.Plan(guest.probe(), engine_options()), new)
        assert RIVAL % "override" in refusal.value.message and "sorts before" in refusal.value.hint
    guest.path(RIVAL % "override").rename(guest.path(RIVAL % "00-mine"))
    dm.check_host(dm.Plan(guest.probe(), engine_options()), False)


@pytest.mark.parametrize("name, text", [
    ("05-early", "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd\n"),
    ("http-proxy", "[Service]\nEnvironment=HTTP_PROXY=http://p:3128\n"),
])
def test_a_drop_in_that_does_no_harm_is_left_alone(make, name, text):
    guest = make(engine="docker.io")
    guest.write(RIVAL % name, text)
    assert guest.provision().done == "yes"
    assert guest.read(RIVAL % name) == text


def test_an_engine_that_does_not_start_is_reported_and_rolled_back(make):
    guest = make(engine="docker.io")
    guest.write("/etc/docker/daemon.json", '{"labels": ["a=1"]}\n')
    guest.provision(Labels=["b=2"])
    files, running = guest.files(), guest.running()
    guest.note(refuses="storage-driver=nosuch")
    bad = dict(Labels=["b=2", "c=3"], StorageDriver="nosuch")
    run = guest.provision(**bad)
    assert (run.code, run.done) == (1, "")
    assert "does not start" in run.failure
    assert any("Active: failed" in line for line in run.log)
    assert "failed to start daemon: driver not supported" in run.log
    assert (guest.files(), guest.running()) == (files, running)
    assert guest.provision(Labels=["b=2", "c=3"]).done == "yes"
    with pytest.raises(dm.MachineError) as error:
        dm.run_as_root(guest.as_ssh(), dm.Facts(elevate="root"), guest.script(**bad), 60)
    assert "driver not supported" in error.value.message


def test_a_first_configuration_that_fails_leaves_none(make):
    guest = make(engine="docker.io")
    running = guest.running()
    guest.note(refuses="nosuch")
    assert guest.provision(StorageDriver="nosuch").code == 1
    assert not guest.path(DROP_IN).exists()
    assert guest.running() == running


def test_an_engine_that_cannot_be_enabled_is_only_warned_of(make):
    guest = make()
    guest.note(fail_systemctl_enable="Failed to enable unit: Read-only file system")
    run = guest.provision()
    assert run.done == "yes"
    assert "Read-only file system" in run.warnings[-1]


# --- PROVISION_SH: the host's name

@pytest.mark.parametrize("name, hosts, expected", [
    ("web", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n127.0.1.1 web\n"),
    ("web", "127.0.1.1 old\n::1 x\n", "::1 x\n127.0.1.1 web\n"),
    ("web", "10.0.0.1 a web b\n", "10.0.0.1 a web b\n"),
    ("web", "10.0.0.1 a # web\n10.0.0.2 web2\n",
     "10.0.0.1 a # web\n10.0.0.2 web2\n127.0.1.1 web\n"),
    ("a.b", "10.0.0.1 axb\n", "10.0.0.1 axb\n127.0.1.1 a.b\n"),
])
def test_the_name_is_set_and_resolves(make, name, hosts, expected):
    guest = make(engine="docker.io")
    guest.write("/etc/hosts", hosts)
    inode = guest.path("/etc/hosts").stat().st_ino
    run = guest.provision(name=name)
    assert run.called("hostname") == ["hostname " + name]
    assert guest.read("/etc/hostname") == name + "\n"
    assert guest.read("/etc/hosts") == expected
    assert guest.path("/etc/hosts").stat().st_ino == inode, "in a container it is a mount"


def test_a_host_that_has_its_name_keeps_it(make):
    guest = make(engine="docker.io")
    run = guest.provision(name="bare")
    assert run.called("hostname") + run.called("hostnamectl") == []
    assert guest.read("/etc/hosts") == "127.0.0.1 localhost\n"


def test_a_name_that_cannot_be_set_is_only_warned_of(make):
    guest = make(engine="docker.io")
    refused = "you must be root to change the host name"
    guest.note(fail_hostname=refused)
    run = guest.provision()
    assert (run.done, run.warnings) == ("yes", [])
    assert run.called("hostnamectl") == ["hostnamectl set-hostname web"]
    guest.note(fail_hostnamectl="Failed to connect to bus")
    run = guest.provision(name="other")
    assert (run.code, len(run.warnings)) == (0, 1)
    assert "Failed to connect to bus" in run.warnings[0]


# --- PROVISION_SH: waiting for others

@pytest.mark.parametrize("url", ["package", dm.DEFAULT_INSTALL_URL])
def test_another_user_of_the_package_database_is_waited_for(make, url):
    guest = make()
    guest.offer(dm.DEFAULT_INSTALL_URL, INSTALLER)
    guest.note(apt_locked=2)
    run = guest.provision(InstallURL=url)
    assert (run.done, run.warnings) == ("yes", [])
    assert run.steps.count(LOCK_STEP) == 1
    assert len(run.called("sleep")) == 2


def test_a_lock_that_is_taken_while_the_script_runs_is_waited_for(make):
    guest = make()
    guest.offer(dm.DEFAULT_INSTALL_URL, (
        '[ -e "$STATE/again" ] || { : >"$STATE/again"; echo 1 >"$STATE/apt-locked"; }\n'
        "apt-get -q update && engine docker-ce\n"))
    run = guest.provision()
    assert (run.done, run.warnings) == ("yes", [])
    assert guest.path("/usr/bin/dockerd").exists(), "it is the distribution's engine"


def test_a_lock_that_is_never_freed_ends_the_wait_with_its_words(make):
    guest = make()
    guest.note(apt_locked=99, on_sleep='echo $((content + 100)) >"$STATE/clock"')
    run = guest.provision(InstallURL="package")
    assert run.code == 1 and run.failure
    assert any("held by process 123 (unattended-upgr)" in line for line in run.log)
    assert 3 <= len(run.called("sleep")) <= 5


def test_an_interrupted_dpkg_is_completed(make):
    guest = make()
    guest.note(dpkg_interrupted="yes")
    run = guest.provision(InstallURL="package")
    assert run.done == "yes"
    assert run.called("dpkg") == ["dpkg --configure -a"]


@pytest.mark.parametrize("end", ['[ "$content" -lt 1700000003 ] || mkdir -p "$FAKE_ROOT/run/cloud-'
                                 'init" && : >"$FAKE_ROOT/run/cloud-init/result.json"',
                                 ': >"$STATE/failed-cloud-final.service"'])
def test_cloud_init_is_waited_for_until_it_ends_or_fails(make, end):
    guest = make(engine="docker.io")
    guest.write("/run/cloud-init/enabled", "")
    guest.note(on_sleep=end)
    run = guest.provision()
    assert (run.done, run.steps[0]) == ("yes", "Waiting for cloud-init to finish...")
    assert run.calls.index("sleep 1") < run.calls.index("systemctl restart docker.service")


@pytest.mark.parametrize("files", [[], ["enabled", "result.json"]])
def test_cloud_init_that_is_done_or_absent_costs_nothing(make, files):
    guest = make(engine="docker.io")
    for name in files:
        guest.write("/run/cloud-init/" + name, "")
    run = guest.provision()
    assert run.called("sleep") == [] and "cloud-init" not in run.steps[0]


# --- PROVISION_SH: the engine's installation

def test_a_script_out_of_reach_falls_back_to_the_package_with_a_warning(make):
    guest = make()
    run = guest.provision()
    assert run.done == "yes"
    assert run.warnings == ["https://get.docker.com cannot be used (curl: (6) Could not resolve "
                            "host: get.docker.com); taking the distribution's package docker.io."]
    assert guest.path("/usr/sbin/dockerd").exists()


def test_a_script_that_fails_falls_back_too(make):
    guest = make("fedora-42")
    guest.offer(dm.DEFAULT_INSTALL_URL, "echo 'ERROR: Unsupported distribution' >&2\nexit 1\n")
    run = guest.provision()
    assert run.done == "yes"
    assert "(ERROR: Unsupported distribution)" in run.warnings[0]
    assert run.called("dnf") == ["dnf -y install moby-engine"]


@pytest.mark.parametrize("name, options, words", [
    ("debian-12", {"InstallURL": MYSELF}, "Could not resolve host: mirror.example"),
    ("rhel-9", {}, "Could not resolve host: get.docker.com"),
    ("alma-9", {}, "Could not resolve host: download.docker.com"),
    ("debian-12", {"InstallURL": "package", "Version": "9.9"}, "docker.io of version 9.9"),
])
def test_where_nothing_can_be_installed_the_reason_is_said(make, name, options, words):
    guest = make(name)
    run = guest.provision(**options)
    assert (run.code, run.done, run.warnings) == (1, "", [])
    assert words in "\n".join(run.log + [run.failure])
    assert not guest.path(DROP_IN).exists() and guest.read("/etc/hosts") == "127.0.0.1 localhost\n"


def test_a_script_that_installs_nothing_is_told(make):
    guest = make()
    guest.offer(MYSELF, "exit 0\n")
    assert "still no dockerd" in guest.provision(InstallURL=MYSELF).failure


@pytest.mark.parametrize("name, call", [
    ("debian-12", "apt-get -q -y %sinstall --no-install-recommends docker.io" % KEEP),
    ("fedora-42", "dnf -y install moby-engine"),
])
def test_package_takes_the_distributions_own(make, name, call):
    guest = make(name)
    run = guest.provision(InstallURL="package")
    assert (run.done, run.warnings, run.called("curl")) == ("yes", [], [])
    assert call in run.calls


@pytest.mark.parametrize("tool", ["wget", "none"])
def test_a_download_works_without_curl(make, tool):
    guest = make("debian-11", without=["curl"])
    if tool == "none" and guest.shell == "busybox":
        pytest.skip("busybox has a wget of its own")
    if tool == "wget":
        (guest.folder / "bin/wget").symlink_to(DATA / "stand-in.sh")
    guest.offer(MYSELF, INSTALLER)
    run = guest.provision(InstallURL=MYSELF)
    if tool == "wget":
        assert (run.done, len(run.called("wget"))) == ("yes", 1)
    else:
        assert "apt-get -q -y %sinstall --no-install-recommends curl ca-certificates" % KEEP in run.calls


MADISON = " docker.io | %s | http://mirror.example/debian bookworm/main amd64 Packages"


@pytest.mark.parametrize("wanted, exact", [
    ("20.10", "20.10.24+dfsg1-1+deb12u1"), ("20.10.5", "20.10.5+dfsg1-1"),
    ("20.10.5+dfsg1-1", "20.10.5+dfsg1-1"), ("20.1", ""), ("0.10", ""),
])
def test_apt_takes_the_package_of_the_wanted_version(make, wanted, exact):
    guest = make()
    guest.note(madison_docker_io="")
    (guest.state / "madison-docker.io").write_text("\n".join(
        MADISON % version for version in ("20.10.24+dfsg1-1+deb12u1", "20.10.5+dfsg1-1")) + "\n")
    run = guest.provision(InstallURL="package", Version=wanted)
    installs = run.called("apt-get -q -y %sinstall" % KEEP)
    if exact:
        assert run.done == "yes"
        assert installs[-1].split("docker.io")[1].split()[0] == "=" + exact
    else:
        assert installs == [] and wanted in run.failure


@pytest.mark.parametrize("name, call", [
    ("debian-12", "installer: docker-ce --version 27.1"),
    ("alma-9", "dnf -y install docker-ce-27.1* docker-ce-cli containerd.io"),
    ("amazon-2023", "dnf -y install docker-27.1*"),
])
def test_a_wanted_version_reaches_the_installer(make, name, call):
    guest = make(name)
    guest.offer(dm.DEFAULT_INSTALL_URL, INSTALLER)
    guest.offer(dm.CENTOS_REPO, "[docker-ce-stable]\n")
    run = guest.provision(Version="27.1")
    assert run.done == "yes" and call in run.calls, run


def test_the_installer_sees_the_proxies_and_nothing_secret(make):
    guest = make()
    guest.offer(MYSELF, 'env >"$STATE/seen"\nengine docker-ce\n')
    env = ["https_proxy=http://p:3128/a'b", "NO_PROXY=localhost,10.0.0.0/8", "TOKEN=tell-nobody"]
    script = "export KEY=x ARGUMENTS=x\n" + guest.script(InstallURL=MYSELF, Env=env)
    assert guest.set_up_by(script).done == "yes"
    seen = (guest.state / "seen").read_text().splitlines()
    assert env[0] in seen and env[1] in seen and "DEBIAN_FRONTEND=noninteractive" in seen
    assert not [line for line in seen if "SECRET" in line or "tell-nobody" in line]
    assert env[2] in guest.read(DROP_IN)


# --- PROVISION_SH: bundles

def tar_of(files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


BUNDLES = {
    "script": INSTALLER.encode(),
    "deb": b"!<arch>\ndebian-binary   ",
    "rpm": b"\xed\xab\xee\xdb\x03\x00\x00\x00\x00docker-ce",
    "static": tar_of({"docker/dockerd": DOCKERD, "docker/runc": "", "docker/containerd": ""}),
    "debs": tar_of({"b/docker-ce_27.1_amd64.deb": "", "b/containerd.io_1_amd64.deb": ""}),
    "rpms": tar_of({"docker-ce-27.1.rpm": "", "containerd.io-1.rpm": ""}),
    "empty": tar_of({"README": "nothing"}),
    "rubbish": b"<html>404 Not Found</html>",
    "failing": b"#!/bin/sh\necho 'no licence' >&2\nexit 3\n",
}


@pytest.mark.parametrize("kind", sorted(BUNDLES))
def test_a_bundle_is_installed_by_its_kind_and_removed(make, kind):
    guest = make("debian-12", without=() if kind != "static" else ["curl"], packager="dnf"
                 if kind in ("rpm", "rpms") else "apt")
    bundle = guest.folder / ("docker-ce_" + kind)
    bundle.write_bytes(BUNDLES[kind])
    run = guest.provision(bundle=str(bundle), InstallURL="file:///x")
    assert run.called("curl") + run.called("apt-get") == []
    assert not bundle.exists(), "the bundle stays on the host"
    if kind in ("empty", "rubbish", "failing"):
        assert run.code == 1 and "bundle" in run.failure and run.log
        return
    assert run.done == "yes", run
    path = "/usr/local/bin" if kind == "static" else "/usr/bin"
    assert guest.running().startswith(path + "/dockerd -H tcp://0.0.0.0:2376 -H ")
    expected = {"deb": "dpkg -i", "debs": "dpkg -i", "rpm": "rpm -U", "rpms": "rpm -U",
                "static": "groupadd", "script": "installer: docker-ce"}[kind]
    assert len(run.called(expected)) == 1
    if kind == "static":
        assert sorted(path.name for path in guest.path("/usr/local/bin").iterdir()) == [
            "containerd", "dockerd", "runc"]
        assert run.called("systemctl enable")
        assert guest.provision(InstallURL="file:///x").done == "no"


# --- PROVISION_SH: boot2docker

def test_boot2docker_restarts_by_its_init_script_and_only_on_change(make):
    guest = make("boot2docker", "static")
    run = guest.provision(Env=["HTTP_PROXY=http://p/ a'b"], Labels=["a=b"])
    assert (run.done, run.stderr) == ("yes", "")
    assert run.calls == ["sethostname web", "init.d/docker restart"]
    assert guest.read("/var/lib/boot2docker/profile").splitlines()[:4] == [
        "EXTRA_ARGS='", "--label=a=b", "--label=provider=generic", "'"]
    assert guest.mode("/var/lib/boot2docker/server-key.pem") == "0o600"
    again = guest.provision(Env=["HTTP_PROXY=http://p/ a'b"], Labels=["a=b"])
    assert (again.done, again.called("init.d/docker")) == ("no", [])


def test_boot2dockers_engine_does_not_inherit_the_lock(make):
    guest = make("boot2docker", "static")
    guest.write("/etc/init.d/docker", INIT_D % "ls -l /proc/self/fd", 0o755)
    assert "docker-machine.lock" not in "\n".join(guest.provision().calls)


def test_a_boot2docker_engine_that_does_not_start_shows_its_log(make):
    guest = make("boot2docker", "static")
    guest.write("/etc/init.d/docker", "#!/bin/sh\nexit 1\n", 0o755)
    guest.write("/var/lib/boot2docker/log/docker.log", "failed to start daemon\n")
    run = guest.provision()
    assert run.code == 1 and "failed to start daemon" in run.log


def test_boot2dockers_daemon_json_is_merged_or_refused(make):
    guest = make("boot2docker", "static")
    guest.write("/etc/docker/daemon.json", '{"labels": ["a=1"]}\n')
    try:
        run = guest.provision(Labels=["b=2"])
    except dm.MachineError as refusal:
        assert '"labels"' in refusal.message
        return
    assert run.done == "yes" and "b=2" in guest.read("/etc/docker/daemon.json")
    assert "--label" not in guest.read("/var/lib/boot2docker/profile"), "dockerd takes it once"


# --- what is heard while it works

PARTS = "\n".join(re.findall(r"(?ms)^(?:tell|report|clean_up)\(\) \{(?: [^\n]*\}|.*?^\})$", dm.PROVISION_SH))
AT_WORK = PARTS + """
MARK=m TROUBLE=$PWD/trouble SCRATCH=$PWD/scratch bundle=$SCRATCH
mkdir -p "$SCRATCH"
report & reporter=$!
trap clean_up EXIT
printf 'Reading\\nUnpacking a\\n' >"$TROUBLE"
sleep 3
"""


def at_work(folder, shell):
    process = subprocess.Popen(SHELLS[shell or sorted(SHELLS)[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               cwd=str(folder))
    assert process.stdin
    process.stdin.write((AT_WORK + "exit 3\n").encode())
    process.stdin.close()
    return process


@pytest.mark.parametrize("name", sorted(SHELLS))
def test_what_a_step_says_last_is_reported_once_and_the_reporter_ends_with_the_script(tmp_path, name):
    process = at_work(tmp_path, name)
    assert process.stdout
    said = process.stdout.read().decode()  # to its end: nobody holds the pipe
    assert process.wait(10) == 3 and said.splitlines()[-1] == "m::heard Unpacking a"
    assert said.count("Unpacking") == 1 and not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("name", sorted(SHELLS))
def test_the_reporter_of_a_script_that_was_killed_ends_too(tmp_path, name):
    process = at_work(tmp_path, name)
    assert process.stdout and process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.read()  # ends when the reporter has
