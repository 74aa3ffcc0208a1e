"""`doctor`: each thing that people stumble over, made here for it; and that its fixes fix it."""

import collections
import json
import os
import re
import shlex
import shutil
import subprocess
import textwrap
import time

import pytest
from conftest import openssl, pair, redate

import docker_machine as core

Row = collections.namedtuple("Row", "level subject words fix")
MANAGERS = {"apt-get": ("sudo apt-get install openssh-client", "sudo apt-get install openssl"),
            "dnf": ("sudo dnf install openssh-clients", "sudo dnf install openssl"),
            "yum": ("sudo yum install openssh-clients", "sudo yum install openssl"),
            "zypper": ("sudo zypper install openssh-clients", "sudo zypper install openssl"),
            "apk": ("apk add openssh-client", "apk add openssl"),
            "pacman": ("sudo pacman -S openssh", "sudo pacman -S openssl"),
            "brew": ("brew install openssh", "brew install openssl")}
DOCKER = "echo 'Docker version 99.1'"
pytestmark = pytest.mark.usefixtures("drivers")  # doctor loads all


def rows(text):
    found = []  # type: list
    for line in text.splitlines():
        if line.startswith("Begin with this: "):
            assert found[0].level == "bad" and line[17:] in found[0].fix
            break
        elif line.startswith("      "):
            found[-1] = found[-1]._replace(fix=(found[-1].fix + "\n" + line[6:]).strip())
        else:
            level, subject, words = re.match("(ok|note|bad) +(.*?): (.*)$", line).groups()  # type: ignore[union-attr]
            found.append(Row(level, subject, words, ""))
    return found


@pytest.fixture
def programs(bin_folder):
    """A PATH of ssh and openssl, with a stand-in for docker; nothing else that doctor looks at is found."""
    return bin_folder("ssh", "openssl", docker=DOCKER)


@pytest.fixture
def doctor(call, request):
    """doctor(NAME=value): the rows that it prints, with the exit code that fits them."""
    def run(**env):
        if "PATH" not in env:
            env["PATH"] = request.getfixturevalue("programs")
        ended = call("doctor", **env)
        found = rows(ended.out)
        assert ended.err == "", "answers are on stdout alone"
        assert ended.code == int("bad" in [row.level for row in found])
        return found
    return run


def of(found, subject):
    return [row for row in found if row.subject == subject]


def wrong(found):
    """Those that a healthy computer has not; what is said of its VMs depends on the computer."""
    return [row for row in found if row.level != "ok" and row.subject not in ("virtualbox", "virtualization", "qemu")]


def only(found):
    (row,) = wrong(found)
    return row


# --- as such

def test_where_all_is_well_it_says_so(doctor, add, engine_port):
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    found = doctor()
    assert wrong(found) == []
    for subject, words in (("ssh", "OpenSSH"), ("openssl", "SSL"), ("docker", "Docker version 99.1"),
                           ("clock", time.strftime("%Y-")), ("store", "store"), ("certificates", "2 looked at"),
                           ("web", "Running")):
        (row,) = of(found, subject)
        assert row.level == "ok" and words in row.words and row.fix == "", row


def test_without_a_store_nothing_is_wrong_and_none_is_made(doctor, dm):
    assert wrong(doctor()) == []
    assert not dm.store.exists()


def test_it_changes_nothing(doctor, dm, add, closed_port):
    add("web", "tcp://127.0.0.1:%d" % closed_port).mark("provision")

    def state():
        return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns if path.is_file() else 0)
                for path in dm.store.rglob("*")}

    before = state()
    doctor()
    assert state() == before


def test_it_takes_no_arguments(call):
    ended = call("doctor", "web")
    assert (ended.code, ended.out) == (2, "") and ended.err.startswith("Error: Too many arguments given\n")


def test_as_a_process_it_ends_with_0_or_1_and_prints_to_stdout_alone(dm, store, programs):
    ended = dm("doctor", PATH=programs)
    assert (ended.code, ended.err) == (0, "")
    (dm.store / "certs" / "key.pem").chmod(0o644)
    ended = dm("doctor", PATH=programs)
    assert (ended.code, ended.err) == (1, "") and wrong(rows(ended.out))


def test_as_json_it_tells_the_same_and_ends_with_the_same_code(call, doctor, dm, store, programs):
    for mode in (0o600, 0o644):
        (dm.store / "certs" / "key.pem").chmod(mode)
        found = doctor()
        ended = call("doctor", "--format", "json", PATH=programs)
        answers = [Row(*(row[key] for key in ("Level", "Subject", "Words", "Fix"))) for row in json.loads(ended.out)]
        assert [row for row in answers if row.subject != "clock"] == [row for row in found if row.subject != "clock"]
        assert (ended.code, ended.err) == (int(mode == 0o644), "")


def test_a_template_prints_one_line_a_finding(call, doctor, store, programs):
    ended = call("doctor", "--format", "{{.Level}} {{.Subject}}", PATH=programs)
    assert ended.code == 0 and ended.out.splitlines() == ["%s %s" % (row.level, row.subject) for row in doctor()]


def test_a_template_that_is_wrong_is_told(call, store, programs):
    ended = call("doctor", "--format", "{{.Level", PATH=programs)
    assert ended.code in (1, 2) and ended.out == "" and ended.err


# --- programs

def test_missing_programs_are_bad_and_their_packages_are_named(doctor, bin_folder):
    found = wrong(doctor(PATH=bin_folder(apt_get="exit 9", docker=DOCKER)))
    assert [row[:2] for row in found] == [("bad", "ssh"), ("bad", "openssl")]
    assert all("was not found" in row.words for row in found)
    assert [row.fix for row in found] == ["Install it: " + line for line in MANAGERS["apt-get"]]


@pytest.mark.parametrize("manager", sorted(MANAGERS))
def test_each_package_manager_has_its_own_names(bin_folder, monkeypatch, manager):
    monkeypatch.setenv("PATH", str(bin_folder(**{manager.replace("-", "_"): "exit 9"})))
    for name, line in zip(("ssh", "openssl"), MANAGERS[manager]):
        assert core.missing_program(name).hint == "Install it: " + line


def test_where_no_package_manager_is_known_it_says_what_is_to_be_done(doctor, bin_folder):
    row = only(doctor(PATH=bin_folder("ssh", docker=DOCKER)))
    assert row.subject == "openssl" and row.fix == "Install it and see that it is on the PATH."


def test_docker_and_virtualbox_may_be_missing(doctor, bin_folder):
    found = doctor(PATH=bin_folder("ssh", "openssl", apt_get="exit 9"))
    assert [row.fix for row in of(found, "docker")] == [
        "Install it: sudo apt-get install docker-cli || sudo apt-get install docker.io"]
    assert [row.level for row in of(found, "virtualbox")] == ["note"]
    assert [row.fix.split(":")[0] for row in of(found, "virtualbox")] == ["Install VirtualBox"]
    assert [row.level for row in of(found, "docker")] == ["note"]


WARNING = """\
echo 'WARNING: The character device /dev/vboxdrv does not exist.'
echo '         Please install the virtualbox-dkms package and the appropriate'
echo '         headers, most likely linux-headers-amd64.'
"""


@pytest.mark.parametrize("text", [WARNING, "echo 'WARNING: The vboxdrv kernel module is not loaded.'\n"])
def test_virtualbox_without_its_kernel_module_is_bad_although_it_exits_with_0(doctor, bin_folder, text):
    folder = bin_folder("ssh", "openssl", docker=DOCKER, VBoxManage=text + "echo 7.0.20r163906")
    (row,) = of(doctor(PATH=folder), "virtualbox")
    assert row.level == "bad" and "kernel module" in row.words and "vboxconfig" in row.fix


def test_virtualbox_that_works_tells_its_version(doctor, bin_folder):
    folder = bin_folder("ssh", "openssl", docker=DOCKER, VBoxManage="echo 7.0.20r163906")
    (row,) = of(doctor(PATH=folder), "virtualbox")
    assert row == Row("ok", "virtualbox", "7.0.20", "")


def test_what_a_program_warns_of_is_not_its_version(doctor, bin_folder):
    """docker does that where its config.json cannot be read."""
    folder = bin_folder("ssh", "openssl", docker=DOCKER + "; echo 'WARNING: Error parsing config file' >&2")
    (row,) = of(doctor(PATH=folder), "docker")
    assert row.level == "ok" and "Docker version 99.1" in row.words


def test_a_program_that_fails_is_told_in_its_own_words(doctor, bin_folder):
    folder = bin_folder("ssh", openssl="echo 'libssl.so.3: cannot open' >&2; exit 127", docker=DOCKER)
    (row,) = of(doctor(PATH=folder), "openssl")
    assert row.level == "bad" and "libssl.so.3: cannot open" in row.words


@pytest.mark.parametrize("data, mode", [(b"#!/bin/sh\n", 0o755), (b"#!/bin/sh\nexit 3\n", 0o755), (b"\0\1", 0o755),
                                        (b"#!/bin/sh\n", 0o644), (b"#!/no/such/shell\n", 0o755)],
                         ids=["silent", "fails silently", "no program", "not executable", "no interpreter"])
def test_one_odd_program_does_not_hide_the_others(doctor, programs, data, mode):
    path = programs / "VBoxManage"
    path.write_bytes(data)
    path.chmod(mode)
    found = doctor()
    assert [row.level for name in ("ssh", "openssl", "docker") for row in of(found, name)] == ["ok"] * 3
    assert len(of(found, "virtualbox")) == 1


def test_a_line_of_installation_names_each_package_once(bin_folder, monkeypatch):
    monkeypatch.setenv("PATH", str(bin_folder(apt_get="exit 9", brew="exit 9")))
    assert core.install_line("ssh", "scp", "openssl") == "sudo apt-get install openssh-client openssl"
    assert core.install_line("ssh", "no-such-program") == ""
    assert core.missing_program("sshfs", "mount command").message == \
        "You must have a copy of the sshfs binary locally to use the mount command"


# --- drivers

def put(tmp_path, name, checks, more=""):
    folder = tmp_path / "drivers"
    folder.mkdir(exist_ok=True)
    (folder / (name + ".py")).write_text(textwrap.dedent("""\
        from docker_machine import STOPPED, Driver, Finding, Flag, MachineError
        class OneDriver(Driver):
            name = "%s"
            provisions = False
            flags = (Flag("one-token", "", "Token", field="Token", secret=True),)
            def create(self):
                pass
            def engine_url(self):
                return "tcp://127.0.0.1:" + self.get("Port", "9")
            def get_state(self):
                return STOPPED
            @classmethod
            def checks(cls):
                %s
        """) % (name, checks) + textwrap.indent(textwrap.dedent(more), "    "))
    return folder


def test_a_driver_tells_of_its_own(doctor, tmp_path):
    folder = put(tmp_path, "one", "return [Finding('bad', 'one', 'lacks all', 'Get it.'), Finding('ok', 'one', 'x')]")
    found = doctor(MACHINE_DRIVER_PATH=folder)
    assert of(found, "one") == [Row("bad", "one", "lacks all", "Get it."), Row("ok", "one", "x", "")]


def test_a_driver_that_does_not_load_is_bad_and_hides_no_other(doctor, tmp_path):
    put(tmp_path, "zzz", "return [Finding('ok', 'zzz', 'is here')]")
    folder = put(tmp_path, "one", "return []")
    (folder / "one.py").write_text("import no_such_module\n")
    found = doctor(MACHINE_DRIVER_PATH=folder)
    row = only(found)
    assert row[:2] == ("bad", "driver one") and "no_such_module" in row.words and row.fix
    assert of(found, "zzz")


@pytest.mark.parametrize("checks", ["return 1 / 0", "yield 1 / 0", "return 7",
                                    "raise MachineError('is not well', 'Cure it.')"])
def test_a_driver_whose_check_breaks_is_bad_and_hides_no_other(doctor, tmp_path, checks):
    put(tmp_path, "zzz", "return [Finding('ok', 'zzz', 'is here')]")
    put(tmp_path, "aaa", "return [Finding('ok', 'aaa', 'is here')]")
    folder = put(tmp_path, "one", checks)
    found = doctor(MACHINE_DRIVER_PATH=folder)
    assert [row.level for row in found if "one" in row.subject.split()] == ["bad"]
    assert of(found, "aaa") and of(found, "zzz")


def test_a_driver_that_tells_nothing_is_no_trouble(doctor, tmp_path):
    assert wrong(doctor(MACHINE_DRIVER_PATH=put(tmp_path, "one", "return None"))) == []


# --- the store

SECRETS = ("certs/key.pem", "certs/ca-key.pem", "machines/web/config.json", "machines/web/config.json.bak",
           "machines/web/key.pem", "machines/web/server-key.pem", "machines/web/id_rsa", "machines/web/id_ed25519",
           "machines/web/" + core.HOST_KEY)


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o601])
def test_secrets_that_are_open_to_others_are_bad_and_the_mends_close_them(doctor, dm, add, engine_port, mode):
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    for name in SECRETS:
        path = dm.store / name
        if not path.exists():
            path.write_text("x")
        path.chmod(mode)
    found = wrong(doctor())
    assert {row[:3] for row in found} == {("bad", "store", "%s is open to other users" % (dm.store / name))
                                          for name in SECRETS} and len(found) == len(SECRETS)
    for row in found:
        assert row.fix.startswith("Close it: chmod 600 ")
        subprocess.check_call(shlex.split(row.fix.partition(": ")[2]))
    assert wrong(doctor()) == []


def test_what_everybody_may_read_is_no_secret(doctor, dm, add, engine_port):
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    for name in ("id_rsa.pub", core.HOST_KEY + ".pub", "known_hosts", "ca.pem", "cert.pem", "console.log"):
        path = dm.store / "machines" / "web" / name
        if not path.exists():
            path.write_text("x")
        path.chmod(0o644)
    assert wrong(doctor()) == []


def test_a_folder_without_config_json_is_bad_and_its_mend_removes_it(doctor, dm, store):
    (dm.store / "machines" / "a b").mkdir(parents=True)
    row = only(doctor())
    assert row[:2] == ("bad", "store") and row.words == "%s has no config.json" % (dm.store / "machines" / "a b")
    words = shlex.split(row.fix.partition(": docker-machine ")[2])
    assert dm(*words).code == 0
    assert wrong(doctor()) == []


@pytest.mark.parametrize("name", [".", "certs", "machines"])
def test_a_file_where_a_folder_belongs_is_told_without_a_crash(doctor, dm, name):
    dm.store.mkdir()
    path = dm.store / name
    if name == ".":
        path.rmdir()
    path.write_text("not a folder")
    found = doctor()
    assert [row for row in found if row.level == "bad"] or name == "certs"
    assert of(found, "ssh") and of(found, "clock")


def test_a_config_json_that_cannot_be_used_is_one_bad_machine(doctor, dm, add, engine_port):
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    texts = ("", "{", "[]", "null", '{"DriverName": 7}', '{"Driver": []}',
             '{"ConfigVersion": 3, "DriverName": "no-such", "Driver": {}}')
    for number, text in enumerate(texts):
        add("bad%d" % number)
        (dm.store / "machines" / ("bad%d" % number) / "config.json").write_text(text)
    found = doctor()
    assert [row[:2] for row in wrong(found)] == [("bad", "bad%d" % number) for number in range(len(texts))]
    assert all(row.words and row.fix for row in wrong(found))
    assert [row.level for row in of(found, "web")] == ["ok"]


# --- certificates

@pytest.mark.parametrize("days, level", [(-1, "bad"), (10, "note"), (31, None)])
def test_a_client_certificate_near_its_end(doctor, dm, store, add, days, level):
    folder = dm.store / "certs"
    redate(pair(folder), days, pair(folder, "ca"))
    found = wrong(doctor())
    assert [row.level for row in found] == ([level] if level else [])
    for row in found:
        assert row.subject == "certificates" and str(folder / "cert.pem") in row.words
        assert ("has expired" if days < 0 else "expires in %d days" % (days - 1)) in row.words
        assert row.fix == "The next create renews it."
    add("web", "tcp://127.0.0.1:1")
    for row in of(wrong(doctor()), "certificates"):
        assert row.fix == "Renew it: docker-machine regenerate-certs --client-certs web"


def test_a_ca_near_its_end(doctor, dm, store):
    folder = dm.store / "certs"
    redate(pair(folder, "ca"), 10)
    row = only(doctor())
    assert (row.level, row.subject) == ("note", "certificates") and str(folder / "ca.pem") in row.words


def test_the_certificate_of_a_machine_that_has_expired_is_renewed_by_name(doctor, dm, add, engine_port):
    machine = add("web", "tcp://127.0.0.1:%d" % engine_port)
    core.issue_server(machine.server_pair, machine.ca, "web", ["127.0.0.1"])
    assert wrong(doctor()) == []
    redate(machine.server_pair, -1, machine.ca, ["127.0.0.1"])
    row = only(doctor())
    assert row.level == "bad" and machine.server_pair.cert + " has expired" == row.words
    assert row.fix == "Renew it: docker-machine regenerate-certs web"


@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_certificate_that_cannot_be_read_is_bad(doctor, dm, store, text):
    (dm.store / "certs" / "cert.pem").write_text(text)
    row = only(doctor())
    assert row[:2] == ("bad", "certificates") and "cannot be read" in row.words and row.fix


def test_days_are_counted_to_the_end_of_a_certificate(certs, tmp_path):
    for name in ("ca.pem", "ca-key.pem"):
        shutil.copy(str(certs / name), str(tmp_path / name))
    for days in (3, 400, -1):
        redate(pair(tmp_path, "ca"), days)
        assert abs(core.days_left(str(tmp_path / "ca.pem")) - days) < 0.01
    assert "notAfter" in openssl("x509", "-noout", "-enddate", "-in", tmp_path / "ca.pem")


def test_a_missing_certificate_has_no_days(tmp_path):
    with pytest.raises(OSError):
        core.days_left(str(tmp_path / "missing.pem"))
    (tmp_path / "other.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError):
        core.days_left(str(tmp_path / "other.pem"))


def test_without_openssl_the_certificates_are_no_crash(doctor, bin_folder, store):
    found = doctor(PATH=bin_folder("ssh", docker=DOCKER))
    assert {row.subject for row in wrong(found)} >= {"openssl"} and of(found, "clock")


# --- the clock

def test_a_clock_before_the_date_of_the_ca_is_wrong(doctor, dm, store):
    path = dm.store / "certs" / "ca.pem"
    later = time.time() + 3600
    os.utime(str(path), (later, later))
    row = only(doctor())
    assert row[:2] == ("bad", "clock") and str(path) in row.words and "timedatectl" in row.fix
    later = time.time() + 100  # another computer's clock, on a shared home
    os.utime(str(path), (later, later))
    assert wrong(doctor()) == []


# --- proxies

@pytest.fixture
def elsewhere(add, closed_port):
    """A machine whose address is not one of loopback, although it leads here."""
    return add("web", "tcp://0.0.0.0:%d" % closed_port)


def test_proxies_without_a_scheme(doctor):
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    found = wrong(doctor(**dict.fromkeys(names, "user:secret@proxy.example:3128")))
    assert found == [Row("note", "proxy", name + " has no scheme", "Begin it with http://") for name in names]


@pytest.mark.parametrize("exempt", [{}, {"NO_PROXY": "other, 10.0.0.1,"}, {"no_proxy": "example.com"}])
def test_a_proxy_that_stands_before_a_machine(doctor, elsewhere, exempt):
    found = doctor(HTTPS_PROXY="http://proxy.example:3128", **exempt)
    note, ok = [row for row in found if row.subject == "proxy"]
    assert note[:3] == ("note", "proxy", "HTTPS_PROXY is set, and NO_PROXY does not hold 0.0.0.0, where web is")
    assert note.fix == 'Set it: eval "$(docker-machine env --no-proxy web)"'
    assert ok == Row("ok", "proxy", "HTTPS_PROXY set", "")


@pytest.mark.parametrize("name, exempt", [("NO_PROXY", "a, 0.0.0.0 ,b"), ("no_proxy", "0.0.0.0"), ("NO_PROXY", "*"),
                                          ("NO_PROXY", "0.0.0.0/8")])
def test_a_machine_that_needs_no_proxy(doctor, elsewhere, name, exempt):
    """Addresses, all, and blocks: the forms that docker takes (golang.org/x/net/http/httpproxy)."""
    found = of(doctor(HTTPS_PROXY="http://proxy.example:3128", **{name: exempt}), "proxy")
    assert found == [Row("ok", "proxy", "HTTPS_PROXY set", "")]


def test_docker_asks_no_proxy_for_this_very_computer(doctor, add, closed_port):
    for number, host in enumerate(("127.0.0.1", "127.9.9.9", "localhost", "[::1]")):
        add("m%d" % number, "tcp://%s:%d" % (host, closed_port))
    found = doctor(HTTPS_PROXY="http://proxy.example:3128")
    assert of(found, "proxy") == [Row("ok", "proxy", "HTTPS_PROXY set", "")]


@pytest.mark.parametrize("part, hosts, others", [
    ("example.com", ["example.com", "a.example.com"], ["notexample.com", "example.org", "com"]),
    (".example.com", ["a.example.com"], ["aexample.com"]),
    ("192.0.2.7", ["192.0.2.7"], ["192.0.2.17", "192.0.2.70", "2001:db8::7"]),
    ("192.0.2.0/28", ["192.0.2.7"], ["192.0.2.16"]),
    ("192.0.2.7/28", ["192.0.2.1"], ["192.0.2.16"]),
    ("2001:db8::/32", ["2001:db8::7"], ["2001:db9::7", "192.0.2.7"]),
    ("*", ["192.0.2.7", "example.com", "2001:db8::7"], []),
    ("", ["127.0.0.1", "::1"], ["192.0.2.7", "example.com", "localhost.example.com"]),
])
def test_an_entry_of_no_proxy_covers_what_docker_says(part, hosts, others):
    """golang.org/x/net/http/httpproxy, Config.NoProxy"""
    assert [host for host in hosts + others if core.is_exempt(host, part)] == hosts


def test_without_a_proxy_nothing_is_said_of_it(doctor, elsewhere):
    assert of(doctor(NO_PROXY="x"), "proxy") == []


# --- machines

def test_an_engine_that_does_not_answer_is_bad(doctor, add, closed_port):
    add("web", "tcp://127.0.0.1:%d" % closed_port)
    row = only(doctor())
    assert row[:2] == ("bad", "web") and "refused" in row.words and "web" in row.fix


def test_an_engine_with_another_ca_is_bad(doctor, dm, add, engine_port):
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    folder = dm.store / "certs"
    shutil.rmtree(str(folder))
    core.bootstrap_certificates(str(folder), pair(folder, "ca"), pair(folder))
    row = only(doctor())
    assert row[:2] == ("bad", "web") and "certificate" in row.words


def test_a_machine_that_was_left_half_made_is_bad_and_both_ways_out_are_named(doctor, add, engine_port):
    for step in ("create", "provision"):
        add("web-" + step, "tcp://127.0.0.1:%d" % engine_port).mark(step)
    found = wrong(doctor())
    assert len(found) == 2
    for row, step in zip(found, ("create", "provision")):
        assert row[:3] == ("bad", "web-" + step, "was not finished (%s)" % step)
        assert "docker-machine provision web-" + step in row.fix and "docker-machine rm web-" + step in row.fix


def test_a_machine_that_is_off_is_all_right(doctor, call, store, tmp_path, closed_port, programs):
    folder = put(tmp_path, "one", "return []")
    assert call("create", "-d", "one", "web", PATH=programs, MACHINE_DRIVER_PATH=folder).code == 0
    found = doctor(MACHINE_DRIVER_PATH=folder)
    assert of(found, "web") == [Row("ok", "web", "Stopped", "")] and wrong(found) == []


# --- what is never shown

def test_the_password_of_a_proxy_is_not_shown(call, elsewhere, programs):
    env = {"http_proxy": "http://user:hunter22@proxy.example:3128", "HTTPS_PROXY": "user:hunter23@proxy.example:3128"}
    for words in ([], ["--format", "json"]):
        ended = call("doctor", *words, PATH=programs, **env)
        assert "proxy" in ended.out and "hunter2" not in ended.out + ended.err


@pytest.mark.parametrize("error", ["MachineError", "RuntimeError"])
def test_the_secret_of_a_driver_is_not_shown_in_what_it_says(call, store, tmp_path, closed_port, programs, error):
    folder = put(tmp_path, "one", "return []", """\
        def get_state(self):
            raise %s("the token " + self["Token"] + " was refused")
        """ % error)
    env = {"PATH": programs, "MACHINE_DRIVER_PATH": folder}
    assert call("create", "-d", "one", "--one-token", "hunter22", "web", **env).code == 0
    for words in ([], ["--format", "json"]):
        ended = call("doctor", *words, **env)
        assert "was refused" in ended.out and "hunter22" not in ended.out + ended.err


def test_no_key_and_no_certificate_is_shown(call, dm, add, engine_port, programs):
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    secrets = [path.read_text().splitlines()[3] for path in dm.store.rglob("*key.pem")]
    ended = call("--debug", "doctor", PATH=programs)
    assert len(secrets) >= 3 and not [text for text in secrets if text in ended.out + ended.err]
