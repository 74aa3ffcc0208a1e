"""docker-machine adopt. The host is a stand-in for ssh that runs what is sent to it, with a PATH of its own and a
program docker that answers like an engine; tests/integration/test_adopt.py has real ones."""

import json
import re
import stat
import sys

import pytest
from conftest import ROOT, listening
from contract import (
    Subject,
    check_it_imports_little_and_only_what_the_core_offers,
    check_it_reads_like_the_rest,
    check_it_says_what_it_is,
)

import docker_machine as core

SSH = r"""
case "$*" in *"-O exit"*|"-G "*) exit 0;; esac
[ ! -e "{host}/hangs" ] || exec sleep 600
[ ! -e "{host}/down" ] || {{ cat "{host}/down" >&2; exit 255; }}
case "$*" in *UserKnownHostsFile*) ;; *)
    [ -e "{host}/trusted" ] || {{ echo "Host key verification failed." >&2; exit 255; }};; esac
while :; do case $1 in -o|-l|-p) shift 2;; -*) shift;; *) break;; esac; done
shift
unset XDG_RUNTIME_DIR
PATH={host}/bin HOME={host} exec /bin/sh -c "$*"
"""
DOCKER = r"""#!%s
import json, os, select, sys
here = %r
words = sys.argv[1:]
with open(here + "/asked", "a") as log:
    log.write(" ".join(words) + "\n")
socket = ""
if words[0] == "--host":
    socket, words = words[1][len("unix://"):], words[2:]
assert words == ["system", "dial-stdio"], words
state = json.load(open(here + "/state"))
if socket != state["socket"] or "error" in state and not os.environ.get("AS_ROOT"):
    sys.exit(state.get("error", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."))
asked = b""
while b"\r\n\r\n" not in asked:
    asked += os.read(0, 4096)
path = asked.split()[1].decode()
if select.select([0], [], [], .05)[0]:  # Docker 26 gives up when its client has ended its side
    path = "/gave up"
texts = {"/_ping": "OK", "/version": json.dumps(state["version"]), "/info": json.dumps(state["info"])}
sys.stderr.write('level=error msg="error while CloseRead"\n')
status = 200 if path in texts else 500
print("HTTP/1.0 %%d X\r\nServer: %%s\r\n\r\n%%s" %% (status, state["server"], texts.get(path, "{}")))
"""
TOOLS = "sh id uname cat sleep sed grep awk date hostname head tail cut tr env timeout readlink ls".split()
VERSION = {"Version": "28.2.2", "Components": [{"Name": "Engine"}]}
INFO = {"SecurityOptions": ["name=seccomp"], "DockerRootDir": "/var/lib/docker", "Warnings": None,
        "OperatingSystem": "Debian", "Swarm": {"LocalNodeState": "inactive"}}
DENIED = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
LONG = "--timeout", "100"  # enough on the busiest computer
LEFT_OVER = {"DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": "tcp://192.0.2.9:2376", "DOCKER_CERT_PATH": "/gone"}


class Host:
    """A host behind the stand-in for ssh."""

    def __init__(self, dm, folder, tools, port):
        self.dm, self.folder, self.port = dm, folder, port
        tools.rename(folder / "bin")
        self.program("docker", DOCKER % (sys.executable, str(folder)))
        self.be()

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def be(self, version=None, info=None, socket="", server="Docker/28.2.2 (linux)", **more):
        state = dict(version=version or VERSION, info=dict(INFO, **info or {}), socket=socket, server=server, **more)
        (self.folder / "state").write_text(json.dumps(state))

    def sudo(self):
        self.program("sudo", '#!/bin/sh\n[ "$1" = -n ] && shift\nAS_ROOT=1 exec "$@"\n')

    def hang(self):
        (self.folder / "hangs").touch()

    def asked(self):
        return (self.folder / "asked").read_text().splitlines()

    def adopt(self, *flags, name="web", **env):
        return self.dm("adopt", "--generic-ip-address", "127.0.0.1", "--generic-ssh-port", str(self.port),
                       "--generic-ssh-user", "al", *(list(flags) + [name]), **env)

    def config(self, name="web"):
        return json.loads((self.dm.store / "machines" / name / "config.json").read_text())


@pytest.fixture
def host(dm, tmp_path, bin_folder):
    folder = tmp_path / "host"
    folder.mkdir()
    dm.env["PATH"] = "%s:%s" % (bin_folder(ssh=SSH.format(host=folder)), dm.env["PATH"])
    with listening(lambda connection: connection.recv(1)) as port:
        # The user of these tests may be root, who needs no sudo.
        yield Host(dm, folder, bin_folder(*[tool for tool in TOOLS if tool != "id"],
                                          id='[ "$1" = -u ] && echo 1000 || echo al'), port)


def fails(ended, code=1):
    assert ended.code == code, ended
    return ended.err


# --- the states of a host

def test_an_engine_is_adopted_and_asked_without_certificates(host, dm):
    ended = host.adopt()

    assert ended.code == 0 and "Engine 28.2.2 answers through SSH.\n" in ended.out and ended.err == ""
    assert dm.files() == ["locks", "locks/web", "machines", "machines/web", "machines/web/config.json"]
    assert host.asked() == ["system dial-stdio"] * 2
    assert dm("version", "web").out == "28.2.2\n"
    assert dm("status", "web").out == "Running\n"
    assert dm("ip", "web").out == "127.0.0.1\n"
    assert dm("ls", *LONG, "--format", "{{.DriverName}} {{.State}} {{.URL}} {{.DockerVersion}}{{.Error}}").out == (
        "adopted Running ssh://web v28.2.2\n")


def test_env_and_config_name_the_engine_and_free_the_shell_of_another_machine(host, dm):
    host.adopt()
    ended = dm("env", "--shell", "bash", "web", **LEFT_OVER)

    assert ended.out.splitlines()[:4] == ["unset DOCKER_TLS_VERIFY", 'export DOCKER_HOST="ssh://web"',
                                          "unset DOCKER_CERT_PATH", 'export DOCKER_MACHINE_NAME="web"']
    assert "ssh-config --install" in ended.err
    assert dm("config", "web", **LEFT_OVER).out == "-H=ssh://web\n"
    assert dm("url", "web").out == "ssh://web\n"
    assert dm("active", *LONG, DOCKER_HOST="ssh://web").out == "web\n"


def test_where_the_defaults_of_ssh_reach_the_engine_its_address_is_named(host, dm):
    (host.folder / "trusted").touch()
    assert host.adopt().code == 0

    ended = dm("env", "--shell", "bash", "web")

    assert 'DOCKER_HOST="ssh://al@127.0.0.1:%d"' % host.port in ended.out and ended.err == ""
    assert dm("ssh-config", "--install").code == 0
    assert dm("config", "web").out == "-H=ssh://web\n"


def test_with_the_host_block_installed_nothing_is_hinted(host, dm):
    host.adopt()
    assert dm("ssh-config", "--install").code == 0
    ended = dm("env", "web")
    assert "ssh://web" in ended.out and ended.err == ""


def test_an_engine_that_only_sudo_reaches_is_shown_and_not_given_to_docker(host, dm):
    host.sudo()
    host.be(error=DENIED)
    ended = host.adopt()

    assert ended.code == 0 and "only by sudo" in ended.err and "usermod -aG docker al" in ended.err
    assert dm("ls", *LONG, "--format", "{{.DockerVersion}}").out == "v28.2.2\n"
    assert "only by sudo" in fails(dm("env", "web")) and "only by sudo" in fails(dm("config", "web"))
    host.be()  # the owner has put the user into the group
    assert "ssh://web" in dm("env", "web").out


def test_a_user_without_any_right_is_told_what_to_ask_for(host, dm):
    host.be(error=DENIED)
    words = fails(host.adopt())
    assert "may not use the engine of 127.0.0.1" in words and "sudo usermod -aG docker al" in words
    assert not (dm.store / "machines" / "web").exists()


def test_a_host_without_an_engine_is_told_as_that(host):
    (host.folder / "bin" / "docker").unlink()
    words = fails(host.adopt())
    assert "User al finds no Docker Engine on 127.0.0.1" in words and "--engine-socket" in words


def test_an_engine_that_is_off_is_told_in_dockers_words(host):
    host.be(error="Cannot connect to the Docker daemon. Is the docker daemon running?\x1b[31m")
    words = fails(host.adopt())
    assert "Is the docker daemon running?" in words and "systemctl status docker" in words and "\x1b" not in words


def test_where_only_curl_reaches_the_socket_the_hosts_docker_is_missed(host, dm):
    (host.folder / "bin" / "docker").rename(host.folder / "bin" / "engine")
    path = host.folder / "engine.sock"
    path.touch()  # which the user may write to
    host.program("curl", '#!/bin/sh\nfor last; do :; done\n[ "$6" = %s ] || exit 7\n'
                 '{ printf "GET /${last##*/} HTTP/1.0\\r\\n\\r\\n"; exec sleep 1; } | '
                 'engine system dial-stdio' % path)
    ended = host.adopt("--engine-socket", str(path))
    assert ended.code == 0 and "docker needs the program docker, 18.09 or newer" in ended.err
    assert dm("version", "web").out == "28.2.2\n"
    assert "docker needs the program docker" in fails(dm("env", "web"))


@pytest.mark.parametrize("version, info, server, words", [
    ({}, {"SecurityOptions": ["name=seccomp", "name=rootless"]}, "", "It is rootless"),
    ({"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]}, {}, "Libpod/4.3.1 (linux)", "It is Podman"),
    ({}, {"DockerRootDir": "/var/snap/docker/common/var-lib-docker"}, "", "It is a snap"),
    ({}, {"OperatingSystem": "Docker Desktop"}, "", "It is Docker Desktop"),
])
def test_what_cannot_be_provisioned_is_adopted_and_never_taken_over(host, dm, version, info, server, words):
    host.be(dict(VERSION, **version), info, server=server or "Docker/28.2.2 (linux)")
    ended = host.adopt()
    assert ended.code == 0 and words in ended.err
    assert dm("version", "web").out == dict(VERSION, **version)["Version"] + "\n"
    before = host.config()
    assert "which cannot be set up" in fails(dm("provision", "--take-over", "web"))
    assert host.config() == before and not (dm.store / "machines" / "web" / "incomplete").exists()


@pytest.mark.parametrize("info, words", [
    ({"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}, "a manager of a Swarm"),
    ({"Swarm": {"LocalNodeState": "active", "ControlAvailable": False}}, "a worker of a Swarm"),
    ({"Swarm": None, "Warnings": ["WARNING: API is accessible on http://0.0.0.0:2375 without encryption."]},
     "also listens on plain TCP"),
    ({"SecurityOptions": ["name=rootless"]}, "loginctl enable-linger"),
])
def test_what_one_should_know_of_an_engine_is_said(host, info, words):
    host.be(info=info)
    ended = host.adopt()
    assert ended.code == 0 and words in ended.err


def test_a_socket_of_the_logins_own_is_found_and_kept(host, dm):
    import socket
    (host.folder / ".docker" / "run").mkdir(parents=True)
    path = host.folder / ".docker" / "run" / "docker.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        short = "/proc/self/fd/%d" % core.os.open(str(path.parent), core.os.O_RDONLY)
        bound.bind(short + "/docker.sock")  # the path itself may be too long for one
        host.be(socket=str(path))
        assert host.adopt().code == 0
    assert dm("config", "web").out == "-H=ssh://web%s\n" % path
    assert host.asked()[-1] == "--host unix://%s system dial-stdio" % path


def test_a_socket_can_be_named(host, dm):
    host.be(socket="/srv/engine.sock")
    assert host.adopt("--engine-socket", "/srv/engine.sock").code == 0
    assert dm("config", "web").out == "-H=ssh://web/srv/engine.sock\n"
    assert "--engine-socket" in fails(host.adopt("--engine-socket", "/a b", name="b"), 2)


def test_what_an_engine_says_of_itself_reaches_no_terminal_unchecked(host):
    host.be(dict(VERSION, Version="1\x1b[31m\n2" + "x" * 500))
    ended = host.adopt()
    assert ended.code == 0 and "\x1b" not in ended.out and len(ended.out) < 400


@pytest.mark.parametrize("said", ["ssh: connect to host 127.0.0.1 port 22: Connection timed out",
                                  "al@127.0.0.1: Permission denied (publickey)."])
def test_a_host_that_lets_nobody_in_is_told_and_leaves_nothing(host, dm, said):
    (host.folder / "down").write_text(said + "\n")
    assert "SSH failed" in fails(host.adopt())
    assert not (dm.store / "machines").exists()


def test_an_adopted_host_that_is_down_is_shown_as_that(host, dm, closed_port):
    host.adopt()
    (host.folder / "down").write_text("ssh: connect to host 127.0.0.1 port 22: Connection refused\n")
    assert "Connection refused" in dm("ls", *LONG).out, "its port answers: it runs, and cannot be asked"
    config = host.config()
    config["Driver"]["SSHPort"] = closed_port
    (dm.store / "machines" / "web" / "config.json").write_text(json.dumps(config))
    assert dm("ls", *LONG, "--format", "{{.State}} {{.Error}}").out == "Stopped \n"
    assert "Host is not running" in fails(dm("env", "web"))


def test_ls_waits_no_longer_for_ssh_than_it_was_told(host, dm, closed_port):
    host.adopt()
    config = host.config()
    config["Driver"]["SSHPort"] = closed_port
    (dm.store / "machines" / "web" / "config.json").write_text(json.dumps(config))
    host.hang()
    assert dm("ls", "--timeout", "40", "--format", "{{.State}} {{.Error}}").out == "Stopped \n"


def test_a_question_to_the_engine_ends_no_connection_but_its_own(host, monkeypatch):
    """`ls` asks for the state as soon as an answer is late, while the late question still cleans up."""
    host.adopt()
    monkeypatch.setenv("PATH", host.dm.env["PATH"])
    with core.Store(str(host.dm.store)).machine("web") as machine:
        driver = machine.driver
        engine, scratch = driver.engine(), driver.ssh().folder()
        host.hang()
        with pytest.raises(core.Silent):
            engine.version(.2)
        assert core.isdir(scratch) and driver.ssh().folder() == scratch


def test_an_engine_that_went_off_is_told_with_what_to_look_at(host, dm):
    host.adopt()
    host.be(error="Cannot connect to the Docker daemon.")
    assert "systemctl status docker" in fails(dm("env", "web"))
    ended = dm("doctor", "--format", "{{.Subject}}|{{.Words}}|{{.Fix}}", http_proxy="http://192.0.2.3:3128")
    (line,) = [line for line in ended.out.splitlines() if line.startswith("web|")]
    assert line.endswith("docker-machine version web")
    assert "NO_PROXY" not in ended.out, "no proxy gets to see what goes through ssh"


def test_rm_and_a_reader_of_the_entry_keep_the_host(host, dm):
    host.adopt()
    asked = host.asked()
    assert dm("inspect", "--format", "{{.DriverName}} {{.Driver.ByAlias}}", "web").out == "adopted true\n"
    ended = dm("rm", "-y", "web")
    assert "delete only the local reference of web" in ended.out and host.asked() == asked
    assert dm("ls", "-q").out == ""


# --- what is refused

def test_nothing_changes_the_host_or_the_stores_certificates(host, dm, store):
    host.adopt()
    before = {path: path.read_bytes() for path in (dm.store / "certs").iterdir()}
    for words in (["provision", "web"], ["upgrade", "web"], ["regenerate-certs", "-f", "web"],
                  ["regenerate-certs", "-f", "--client-certs", "web"]):
        assert "provision --take-over web" in fails(dm(*words)), words
    assert {path: path.read_bytes() for path in (dm.store / "certs").iterdir()} == before


def test_adopting_twice_is_refused_by_name_and_noted_by_address(host):
    host.adopt()
    assert 'Docker machine "web" already exists' in fails(host.adopt())
    ended = host.adopt(name="again")
    assert ended.code == 0 and "Machine web has the same address." in ended.err


def test_a_half_made_entry_is_removed_and_adopted_again(host, dm):
    host.adopt()
    (dm.store / "machines" / "web" / "incomplete").write_text("create")
    assert "docker-machine rm -y web" in fails(dm("provision", "--take-over", "web"))
    ended = dm("rm", "-y", "web")
    assert ended.code == 0 and "the host itself stays as it is" in ended.out
    assert host.adopt().code == 0


def test_a_key_that_cannot_be_copied_leaves_no_entry(host, dm, tmp_path):
    key = tmp_path / "id_test"
    core.new_ssh_key(str(key))
    (tmp_path / "id_test.pub").unlink()
    (tmp_path / "id_test.pub").mkdir()
    fails(host.adopt("--generic-ssh-key", str(key)))
    assert not (dm.store / "machines" / "web").exists()


@pytest.mark.parametrize("flags, words", [
    (["--tls-ca", "{ca}"], "--tls-cert is missing"),
    (["--tls-ca", "{ca}", "--tls-cert", "{ca}", "--tls-key", "{ca}", "--engine-socket", "/run/x"], "for TLS"),
    (["--tls-ca", "/no/such/file", "--tls-cert", "{ca}", "--tls-key", "{ca}"], "is not a file"),
])
def test_files_of_tls_come_all_together(host, certs, flags, words):
    assert words in fails(host.adopt(*[flag.format(ca=certs / "ca.pem") for flag in flags]), 2)


def test_create_does_not_adopt(dm):
    assert "docker-machine adopt --help" in fails(
        dm("create", "-d", "adopted", "--generic-ip-address", "192.0.2.1", "web"), 2)
    assert "adopted" not in core.driver_names()


# --- an engine with its own TLS

def by_tls(dm, folder, port, name="web", **files):
    paths = dict({"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}, **files)
    flags = [word for kind in sorted(paths) for word in ("--tls-" + kind, str(folder / paths[kind]))]
    return dm("adopt", "--generic-ip-address", "127.0.0.1", "--generic-engine-port", str(port), *(flags + [name]))


def test_an_engine_with_tls_needs_no_ssh_and_keeps_copies_of_its_files(dm, certs, engine_port, bin_folder):
    assert by_tls(dm, certs, engine_port).code == 0
    folder = dm.store / "machines" / "web"
    dm.env["PATH"] = str(bin_folder("openssl"))

    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        ["ca.pem", "cert.pem", "key.pem", "config.json"], 0o600)
    assert not (dm.store / "certs").exists()
    assert dm("version", "web").out == "26.1.5\n" and dm("status", "web").out == "Running\n"
    ended = dm("env", "--shell", "bash", "web")
    assert 'export DOCKER_HOST="tcp://127.0.0.1:%d"' % engine_port in ended.out
    assert 'export DOCKER_CERT_PATH="%s"' % folder in ended.out and ended.err == ""
    before = (folder / "ca.pem").read_bytes()
    assert "--take-over" in fails(dm("regenerate-certs", "-f", "--client-certs", "web"))
    assert (folder / "ca.pem").read_bytes() == before


def test_files_of_another_ca_are_refused_with_the_flags_that_name_them(dm, certs, engine_port, tmp_path):
    (tmp_path / "other").mkdir()
    core.issue_ca(core.Pair(str(tmp_path / "other" / "ca.pem"), str(tmp_path / "other" / "ca-key.pem")))
    for file in ("cert.pem", "key.pem"):
        (tmp_path / "other" / file).write_bytes((certs / file).read_bytes())
    words = fails(by_tls(dm, tmp_path / "other", engine_port))
    assert "another CA" in words and "--tls-ca, --tls-cert and --tls-key" in words and "regenerate" not in words


# --- the file itself

@pytest.fixture
def driver(store, drivers):
    """driver(key=value): the driver of a machine "web" with these settings."""
    def make(**settings):
        machine = store.new("web", core.load_driver("adopted"))
        machine.driver.config.update(settings)
        return machine.driver
    return make


@pytest.mark.parametrize("settings, url", [
    (dict(IPAddress="192.0.2.7", SSHUser="root"), "ssh://root@192.0.2.7"),
    (dict(IPAddress="192.0.2.7", SSHUser="ops", SSHPort=22), "ssh://ops@192.0.2.7"),
    (dict(IPAddress="box.lan", SSHUser="ops", SSHPort=2222), "ssh://ops@box.lan:2222"),
    (dict(IPAddress="2001:db8::7", SSHUser="ops", SSHPort=2222), "ssh://ops@[2001:db8::7]:2222"),
    (dict(IPAddress="192.0.2.7", SSHUser="al@corp:x", Socket="/run/user/7/docker.sock"),
     "ssh://al%40corp%3Ax@192.0.2.7/run/user/7/docker.sock"),
    (dict(IPAddress="192.0.2.7", SSHUser="ops", SSHPort=2222, ByAlias=True), "ssh://web"),
    (dict(IPAddress="192.0.2.7", ByAlias=True, Socket="/run/x.sock"), "ssh://web/run/x.sock"),
])
def test_the_address_is_one_that_docker_takes(driver, settings, url):
    assert driver(**settings).engine_url() == url == driver(**settings).engine().url


def test_it_keeps_to_what_every_extra_keeps_to(request, drivers):
    subject = Subject("adopted", request.getfixturevalue)
    check_it_says_what_it_is(subject)
    check_it_imports_little_and_only_what_the_core_offers(subject)
    check_it_reads_like_the_rest(subject)
    assert len(subject.source.splitlines()) <= 350


def test_its_flags_hide_no_global_ones():
    names = {flag.name for flag in core.GLOBAL_FLAGS}
    command = core.COMMANDS["adopt"].loaded()
    assert not names & {flag.name for flag in command.flags}
    assert (command.usage, command.summary) == (core.COMMANDS["adopt"].usage, core.COMMANDS["adopt"].summary)


def test_the_script_is_of_a_plain_shell():
    text = (ROOT / "extras" / "adopted.py").read_text(encoding="utf-8")
    (script,) = re.findall('ASK_SH = r"""\n(.*?)"""', text, re.S)
    assert not re.search(r"\[\[|\blocal\b|\$'|<\(|\bfunction\b", script)
