"""What hostile hosts and engines, kills, odd computers and other programs do to us, and what must come of it."""

import errno
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipapp
from pathlib import Path

import pytest
from conftest import HANG, engine, listening, pair, ssh_key

import docker_machine as core
from docker_machine import MachineError

ESCAPES = "\x1b[2J\x1b]0;owned\x07 \x7f \x9b31m \u202e \u2028"
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")


# --- a closed stdout

class Closed:
    """A stdout that nobody reads any more."""

    def __enter__(self):
        reader, self.writer = os.pipe()
        os.close(reader)
        return self.writer

    def __exit__(self, *unused):
        os.close(self.writer)


def test_an_action_goes_on_without_its_words(dm, add):
    """(docker-machine create ...) | true"""
    with Closed() as nobody:
        ended = dm("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "db", stdout=nobody)
    assert (ended.code, ended.err) == (0, "") and dm("ls", "-q").out == "db\n"
    add("web")
    for words in (["rm", "-f", "web"], ["rm", "-y", "db"]):
        with Closed() as nobody:
            assert dm(*words, stdout=nobody)[::2] == (0, "")
    assert dm("ls", "-q").out == ""


def test_an_action_goes_on_where_its_words_do_not_fit_on_the_disk(dm):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        ended = dm("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "db", stdout=full)
    assert ended[::2] == (0, "") and dm("ls", "-q").out == "db\n"


def test_a_query_may_end_early(dm, add):
    add("web")
    with Closed() as nobody:
        assert dm("inspect", "web", stdout=nobody)[::2] == (0, "")


# --- what reaches the terminal

@pytest.mark.parametrize("tell", ["say", "warn", "error", "debug"])
def test_nothing_that_a_terminal_acts_on_is_told(capsys, tell):
    output = core.Output()
    output.debugging = True
    getattr(output, tell)("one\ttwo\nthree" + ESCAPES)
    said = "".join(capsys.readouterr()).rstrip("\n")
    assert not DANGEROUS.search(said) and "one\ttwo\nthree\\x1b[2J\\x1b]0;owned\\x07 \\x7f \\x9b31m" in said


def test_what_is_told_is_cut_in_the_middle(capsys):
    core.Output().error("a" * 5000 + "b" * 300000 + "c" * 5000)
    said = capsys.readouterr().err
    assert len(said) < 9000 and said.startswith("aaa") and said.endswith("ccc\n")


@pytest.mark.parametrize("answer, version", [
    ([b"HTTP/1.0 200 OK\r\nServer: Docker/1\x1b[2J\x9b31m\x7f (linux)\r\n\r\n"], "1[2J31m"),
    ([b'HTTP/1.0 200 OK\r\n\r\n{"Version": "1\\u001b[2J\\u009b31m\\n2"}'], "1\\u001b[2J\\u009b31m\\n2"),
    ([b"HTTP/1.0 200 OK\r\nServer: Docker/" + b"9" * 200000 + b" (linux)\r\n\r\n"], "9" * 64),
])
def test_an_engines_version_is_cleaned_and_cut(call, add, certs, server, answer, version):
    with listening(engine(server, pair(certs, "ca"), answer)) as port:
        add("web", "tcp://127.0.0.1:%d" % port)
        told = call("version", "web").out
        assert told.split() == version.split() or told.strip().replace(" ", "") == version
        for words in (["ls"], ["ls", "-f", "{{.DockerVersion}}"], ["ls", "--format", "json"], ["version", "web"]):
            ended = call(*words)
            assert not DANGEROUS.search(ended.out + ended.err) and max(map(len, ended.out.splitlines())) < 2000


def test_json_escapes_what_a_terminal_acts_on():
    assert core.go_json({"a": "\x7f\x9b31m\u2028é"}, None) == '{"a":"\\u007f\\u009b31m\\u2028é"}'


# --- what a program prints without end

@pytest.mark.parametrize("script", [
    "while :; do echo Welcome Welcome Welcome Welcome Welcome Welcome Welcome Welcome Welcome; done",
    "exec tr '\\0' x </dev/zero", "exec tr '\\0' x </dev/zero >&2"])
def test_a_program_that_prints_without_end_is_ended_soon(script):
    with pytest.raises(MachineError, match="^sh prints without end: .*(Welcome|xxx)"):
        core.run(["sh", "-c", script], seconds=10 * HANG)


def test_the_last_part_of_much_stderr_is_kept():
    result = core.run(["sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' y >&2; echo the end >&2; exit 3"])
    assert result.code == 3 and len(result.stderr) <= 65536 and result.stderr.endswith("the end\n")


def test_a_program_that_closes_its_stdout_and_lives_on_is_late():
    with pytest.raises(MachineError, match="^sh did not end within 0.5 s.$"):
        core.run(["sh", "-c", "exec >&- 2>&-; sleep 99"], seconds=.5)


# --- one cause, several machines

def test_a_stage_does_not_change_an_error_that_others_hold():
    shared = core.RestError("no network", "Plug it in.")
    shared.status = 0
    told = []
    for _ in range(3):
        with pytest.raises(core.RestError) as caught, core.stage("Error removing host: "):
            raise shared
        told.append((caught.value.message, caught.value.hint))
    assert told == [("Error removing host: no network", "Plug it in.")] * 3


# --- stored values

@pytest.mark.parametrize("key, value", [
    ("IPAddress", "127.0.0.1\n  ProxyCommand touch {0}"), ("IPAddress", "-oProxyCommand=touch {0}"),
    ("SSHUser", "root\nProxyCommand touch {0}"), ("SSHUser", "-oProxyCommand=touch {0}"),
    ("SSHKeyPath", "/k\n  ProxyCommand touch {0}"), ("MachineName", "web\n  ProxyCommand touch {0}"),
    ("IPAddress", "127.0.0.1\x1b[2J"), ("IPAddress", "127.0.0.1\u2028"),
])
def test_no_stored_value_starts_an_option_or_a_line_of_ssh(dm, store, tmp_path, key, value):
    proof = tmp_path / "proof"
    for name in ("web", "db"):
        machine = store.new(name, core.GenericDriver)
        machine.driver.config.update({"IPAddress": "127.0.0.1", "SSHPort": 1, key: value.format(proof)})
        store.add(machine)
    for words in (["scp", "web:/a", "db:/b"], ["scp", "web:/a", "/b"], ["ssh", "web", "true"], ["provision", "web"],
                  ["ip", "web"], ["mount", "web:/a", "/mnt"], ["env", "web"], ["ls"]):
        ended = dm(*words)
        assert not proof.exists(), words
        assert not DANGEROUS.search(ended.out + ended.err)
        assert words == ["ls"] or (ended.code == 1 and '"%s" is ' % key in ended.err and "Fix " in ended.err) \
            or words[0] == "mount" and "sshfs" in ended.err


@pytest.mark.parametrize("name", ["a\nProxyCommand x", "-oProxyCommand=x", "a\x1b[2J", "a\u2028b"])
def test_a_folder_of_a_name_that_would_be_an_option_or_a_line_is_not_a_machine(call, store, name):
    os.makedirs(store.folder(name))
    assert call("scp", "--", name + ":/a", "/b").code == 1 and call("status", "--", name).code == 1
    assert not DANGEROUS.search("".join(call("ls")[1:]))


def test_what_a_driver_tells_is_no_option_of_ssh_either(tmp_path):
    for host, user in (("-oProxyCommand=x", "root"), ("h", "-l"), ("h\nProxyCommand x", "root"), ("h", "a b")):
        with pytest.raises(MachineError, match="cannot be used for SSH"):
            core.SSH("web").aim(host, 22, user)
    with pytest.raises(MachineError, match="ssh cannot use the path"):
        core.SSH("web").aim("h", 22, "root", "/k\nProxyCommand x", str(tmp_path / "k")).config_block("web")


# --- env's hint

@pytest.mark.parametrize("mark", list("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\n"))
def test_envs_hint_stays_one_comment_line(mark):
    for name in ("sh", "fish", "powershell", "cmd", "tcsh", "emacs", "xonsh", "nu"):
        shell = core.find_shell(name, {})
        lines = shell.hint(["docker-machine", "-s", "/tmp/a%stouch /tmp/p #" % mark, "env", "web"])
        assert len(lines) == 2 and all(line.startswith(shell.comment) for line in lines)
        assert not re.search("[\r\v\f\x1c-\x1e\x85\u2028\u2029\n]", "".join(lines))


# --- signals and kills

@pytest.fixture
def short(dm):
    """The folder of temporary files, under a name that is short enough for the path of a socket."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    dm.env["TMPDIR"] = str(folder)
    yield folder
    shutil.rmtree(str(folder))


SLOW = ("import docker_machine as core, os, sys, time\n"
        "issue = core._write_openssl_files\n"
        "def slowly(*words):\n"
        "    issue(*words)\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "core._write_openssl_files = slowly\n"
        "core.end(core.main(['docker-machine'] + sys.argv[1:]))")


@pytest.fixture
def hangups():
    """What is started under nohup, as these tests may be, ignores hangups."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_private_key_and_says_how_to_go_on(dm, short, background, number, code):
    dm.argv = [sys.executable, "-c", SLOW]
    process = background(dm.start("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "web"))
    while b"ready" not in process.stdout.readline():
        assert process.poll() is None
    assert list(short.glob("docker-machine-scratch.*/key.pem"))
    process.send_signal(number)
    out, err = process.communicate(timeout=HANG)
    assert (process.returncode, err.splitlines()[0]) == (code, b"Interrupted.") and list(short.iterdir()) == []
    assert err.splitlines()[1:] == [b"To go on, run the same command again."]


def test_what_a_kill_leaves_is_cleared_by_the_next_command(dm, short, background):
    dm.argv = [sys.executable, "-c", SLOW]
    process = background(dm.start("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "web"))
    while b"ready" not in process.stdout.readline():
        assert process.poll() is None
    process.kill()
    process.wait()
    old = time.time() - 60
    for name in ("certs/ca.pem.tmp-docker-machine-0a1b2c3d", "machines/.new-db/config.json"):
        (dm.store / name).parent.mkdir(parents=True, exist_ok=True)
        (dm.store / name).write_text("half")
        os.utime(str(dm.store / name), (old, old))
    os.utime(str(dm.store / "machines/.new-db"), (old, old))
    left = list(short.glob("docker-machine-scratch.*"))
    assert left
    for path in left:
        os.utime(str(path), (old, old))
    dm.argv = [sys.executable, "-m", "docker_machine"]
    assert dm("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "web").code == 0
    assert list(short.iterdir()) == []
    assert not [name for name in dm.files() if "tmp" in name or ".new" in name or ".docker-machine" in name]


def test_a_scratch_folder_in_use_is_not_a_leftover(monkeypatch, tmp_path):
    monkeypatch.setattr(core, "temporary_folder", lambda: str(tmp_path))
    with core.Scratch() as first:
        os.utime(first, (0, 0))
        with core.Scratch() as second:
            assert os.path.isdir(first) and os.path.isdir(second)
    assert list(tmp_path.iterdir()) == []


def test_the_clients_certificate_is_there_while_it_is_renewed(store, monkeypatch):
    """...and the old pair is, if that ends half-way."""
    ca, client = pair(Path(store.certs), "ca"), pair(Path(store.certs))
    before = Path(client.cert).read_bytes(), Path(client.key).read_bytes()
    seen = []

    def openssl(*words, **more):
        seen.append((Path(client.cert).read_bytes(), Path(client.key).read_bytes()))
        return real(*words, **more)

    real = core.openssl
    monkeypatch.setattr(core, "openssl", openssl)
    core.bootstrap_certificates(store.certs, ca, client, renew=True)
    assert len(seen) > 4 and {key for _, key in seen} == {before[1]}
    assert Path(client.key).read_bytes() != before[1] and core.pair_problem(client, ca.cert) == ""

    def fails(*words, **more):
        if words[0] == "ca" and "-keyfile" in words:
            raise MachineError("killed")
        return real(*words, **more)

    between = Path(client.cert).read_bytes(), Path(client.key).read_bytes()
    monkeypatch.setattr(core, "openssl", fails)
    with pytest.raises(MachineError):
        core.bootstrap_certificates(store.certs, ca, client, renew=True)
    assert (Path(client.cert).read_bytes(), Path(client.key).read_bytes()) == between


# --- odd stores

def test_a_byte_order_mark_is_read(call, add):
    path = Path(add("web").folder) / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert call("url", "web") == (0, "tcp://127.0.0.1:2376\n", "")


@pytest.mark.parametrize("damage, advice", [
    (lambda text: text[:-40], "Fix "), (lambda text: text.replace('"ConfigVersion": 3', '"ConfigVersion": x'), "Fix "),
    (lambda text: "", "rm -f web"), (lambda text: " \n", "rm -f web"), (lambda text: "\0" * 99, "rm -f web")])
def test_what_may_be_a_paid_machine_is_not_advised_to_be_forgotten(call, add, damage, advice):
    path = Path(add("web").folder) / "config.json"
    path.write_text(damage(path.read_text()))
    ended = call("status", "web")
    assert ended.code == 1 and advice in ended.err and ("rm -f" in ended.err) == (advice == "rm -f web")


@pytest.mark.parametrize("name", ["config.json", "incomplete", "../../certs/ca.pem", "ca.pem"])
def test_a_fifo_hangs_nothing(dm, add, name):
    path = Path(add("web").folder) / name
    if path.exists():
        path.unlink()
    os.mkfifo(str(path))
    for words in (["ls"], ["status", "web"], ["env", "web"], ["inspect", "web"], ["doctor"], ["rm", "-f", "web"]):
        dm(*words)  # within its time
    assert not os.path.exists(str(dm.store / "machines" / "web"))


def test_a_link_in_a_loop_or_into_a_closed_folder_hides_no_machine(call, add, store):
    add("web")
    os.symlink("loop", store.folder("loop"))
    closed = Path(store.path) / "closed"
    (closed / "in").mkdir(parents=True)
    os.symlink(str(closed / "in"), store.folder("shut"))
    closed.chmod(0)
    try:
        ended = call("ls", "-f", "{{.Name}} {{.State}}")
        assert ended.code == 0 and {"loop Error", "web Running"} <= set(ended.out.splitlines())
    finally:
        closed.chmod(0o700)


# --- ls and status

@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_ls_and_status_agree_where_a_certificate_of_ours_is_missing_or_damaged(call, store, closed_port, damage):
    machine = store.new("web", core.GenericDriver)
    machine.driver.config.update(IPAddress="127.0.0.1", SSHPort=closed_port, EnginePort=closed_port)
    store.add(machine)
    path = Path(store.certs) / "cert.pem"
    path.unlink()
    if damage == "damaged":
        path.write_text("-----BEGIN CERTIFICATE-----\nx\n")
    assert call("ls", "-f", "{{.State}}").out == call("status", "web").out == "Stopped\n"


# --- config and env

def test_config_and_env_name_what_authoptions_name(call, add, store, tmp_path, certs):
    with listening(engine(pair(certs, "ca"), pair(certs, "ca"))):
        pass
    machine = add("web")
    elsewhere = tmp_path / "pki"
    shutil.copytree(str(certs), str(elsewhere))
    core.issue_client(pair(elsewhere), pair(elsewhere, "ca"))
    machine.config["HostOptions"]["AuthOptions"].update(
        ClientCertPath=str(elsewhere / "cert.pem"), ClientKeyPath=str(elsewhere / "key.pem"),
        CaCertPath=str(elsewhere / "ca.pem"))
    assert machine.client_files() == [str(elsewhere / name) for name in ("ca.pem", "cert.pem", "key.pem")]
    machine.copy_client_certificates()
    assert machine.client_files() == [os.path.join(machine.folder, name) for name in ("ca.pem", "cert.pem", "key.pem")]


def test_a_ca_without_its_key_is_enough_for_a_machine_that_signs_nothing(call, certs, tmp_path):
    pki = tmp_path / "pki"
    shutil.copytree(str(certs), str(pki))
    (pki / "ca-key.pem").unlink()
    ended = call("--tls-ca-cert", str(pki / "ca.pem"), "--tls-client-cert", str(pki / "cert.pem"), "--tls-client-key",
                 str(pki / "key.pem"), "create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "web")
    assert (ended.code, ended.err) == (0, "")


# --- locks

def test_the_second_of_two_rm_is_told_that_the_machine_is_gone(call, add, store):
    add("web")
    lock = store.lock("web").__enter__()
    found = []
    second = threading.Thread(target=lambda: found.append(core._outcome(
        lambda name: core.remove_machine(store, name, False), "web")))
    second.start()
    store.delete("web")
    lock.remove()
    lock.__exit__()
    second.join(HANG)
    assert str(found[0]).startswith('Docker machine "web" does not exist.')


def test_a_file_system_without_locks_gets_a_warning(call, add, monkeypatch, capsys):
    import fcntl
    add("web")

    def flock(*unused):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    ended = call("rm", "-y", "web")
    assert ended.code == 0 and "cannot be locked (No locks available)" in ended.err


def test_without_a_home_folder_the_store_must_be_named(dm):
    for words in (["ls"], ["create", "-d", "none", "--url", "tcp://h:1", "web"]):
        ended = dm("-s", "~nobody-here/x", *words)
        assert (ended.code, ended.out) == (2, "")
        assert "has no home folder" in ended.err and "--storage-path" in ended.err
    assert list(dm.home.iterdir()) == []


# --- temporary files

def test_where_only_the_store_can_be_written_temporary_files_go_there(dm, monkeypatch):
    """A read-only root: no usable temporary directory."""
    dm.argv = [sys.executable, "-c", "import docker_machine as core, sys, tempfile\n"
               "def nowhere(): raise FileNotFoundError(2, 'No usable temporary directory found')\n"
               "real, tempfile.gettempdir = tempfile.gettempdir, nowhere\n"
               "core.end(core.main(['docker-machine'] + sys.argv[1:]))"]
    ended = dm("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "web")
    assert (ended.code, ended.err) == (0, "") and list((dm.store / "tmp").iterdir()) == []


# --- keys

@pytest.mark.parametrize("change, words", [
    (lambda data: data.replace(b"\n", b"\r\n"), "line ends of Windows"), (lambda data: b"", "damaged"),
    (lambda data: data[:len(data) // 2], "damaged"), (lambda data: b"hello\n", "damaged")])
def test_a_damaged_key_is_not_a_refused_login(tmp_path, change, words):
    path = ssh_key(tmp_path / "key")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(MachineError, match=words) as caught:
        core.check_key_file(str(path))
    assert caught.value.hint


def test_a_public_key_that_others_may_read_is_told_to_be_public(tmp_path):
    path = ssh_key(tmp_path / "key", "secret")
    core.check_key_file(str(path))  # a passphrase is no damage
    os.chmod(str(path) + ".pub", 0o644)
    with pytest.raises(MachineError, match="is the public half") as caught:
        core.check_key_file(str(path) + ".pub")
    assert "chmod" not in caught.value.hint


# --- as the original

@pytest.mark.parametrize("url, ip", [
    ("none", ""), ("h:2375", ""), ("npipe:////./pipe/docker_engine", ""), ("unix:///var/run/docker.sock", ""),
    ("fd://", ""), ("ssh://u@h", "h"), ("ssh://u@h:22", "h:22"), ("tcp://u:p@h:1", "h:1")])
def test_none_keeps_any_url_with_a_warning(call, store, url, ip):
    ended = call("create", "-d", "none", "--url", url, "web")
    assert ended.code == 0 and ended.err.startswith('Warning: --url "%s" is kept as it is' % url)
    assert call("url", "web").out == url + "\n"
    assert ip == "" or call("ip", "web").out == ip + "\n"


@pytest.mark.parametrize("pattern, names", [
    ("[a-z]+[0-9]$", "web1"), (r"b\z", "a.b web"), (r"a\.b", "a.b"), ("^(?i)WEB$", "web"), ("^w.b$", "web"),
    ("[[", None), ("(?y)web", None), (r"\Qa.b\E", None), ("(", None)])
def test_a_filter_by_name_is_a_regular_expression_as_go_writes_it(dm, add, pattern, names):
    for name in ("web", "web1", "a.b"):
        add(name)
    ended = dm("ls", "-q", "--filter", "name=" + pattern)
    if names is None:
        assert ended.code == 2 and "is not a regular expression" in ended.err
    else:
        assert (ended.code, ended.out.split(), ended.err) == (0, names.split(), "")


@pytest.mark.parametrize("program", ["docker-machine", "dm", "machine.py"])
def test_the_version_line_is_what_clients_parse_under_any_name(dm, tmp_path, program):
    path = tmp_path / program
    shutil.copy(core.__file__, str(path))
    dm.argv = [sys.executable, str(path)]
    for words in (["version"], ["--version"], ["-v"]):
        assert re.fullmatch(r"docker-machine version \d+\.\d+\.\d+\S*, build [0-9a-f]{8}\n", dm(*words).out)


def test_commands_in_hints_are_under_the_name_that_was_typed(dm, add):
    add("web")
    dm.argv = [sys.executable, core.__file__]
    ended = dm("rm", "gone", "-y")
    assert 'Use "%s ls" to list machines.' % core.__file__ in ended.err and "docker-machine ls" not in ended.err
    assert "docker-machine.sock" == core.out.as_called("docker-machine.sock")


def test_a_hint_fits_the_verb_and_names_the_machine(store):
    machine = store.new("web", core.GenericDriver)
    with pytest.raises(MachineError) as caught:
        machine.driver.start()
    assert "poweroff" not in caught.value.hint
    with pytest.raises(MachineError) as caught:
        machine.driver.stop()
    assert caught.value.hint.endswith("docker-machine ssh web sudo poweroff")


def test_help_shows_the_store_in_force(call, tmp_path):
    for words in (["-s", str(tmp_path / "x"), "--help"], ["-s", str(tmp_path / "x")]):
        assert '"%s"' % (tmp_path / "x") in call(*words).out


# --- words that look like others

def test_a_value_that_looks_like_a_flag_is_a_value(call):
    ended = call("create", "--engine-label", "-d", "-d", "none", "--url", "tcp://h:1", "web")
    assert ended.code == 2 and '--engine-label "-d" cannot be used' in ended.err
    ended = call("create", "--engine-opt", "--help", "-d", "none", "--url", "tcp://h:1", "web")
    assert ended.code == 2 and "--help" in ended.err and ended.out == ""
    assert call("create", "-d", "none", "--help").out.startswith("Usage: ")


def test_scp_takes_a_path_with_a_colon_for_a_file(store):
    for word in ("./10:30.log", "/tmp/a:b", "../x:y"):
        assert core.Place(store, word).machine is None and core.Place(store, word).text() == word


def test_mount_does_not_cover_a_folder_that_is_in_use(dm, store, bin_folder):
    store.add(store.new("m", core.GenericDriver))
    path = bin_folder(sshfs="exit 9")
    ended = dm("mount", "m:/etc", PATH=path)
    assert ended.code == 2 and "/etc is a folder of this computer that is in use" in ended.err


# --- where it runs

def test_a_locale_without_the_letters_of_a_path_is_told(dm):
    if sys.version_info < (3, 7):
        env = {"LC_ALL": "C"}
    else:
        env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = dm("-s", str(dm.home / "caf\u00e9"), "create", "-d", "none", "--url", "tcp://h:1", "web", **env)
    assert ended.code == 0 or (ended.code == 1 and "LC_ALL=C.UTF-8" in ended.err and "defect" not in ended.err)


def test_a_zip_archive_runs_with_the_drivers_in_it(dm, tmp_path):
    source = tmp_path / "app"
    (source / "extras").mkdir(parents=True)
    shutil.copy(core.__file__, str(source))
    (source / "extras" / "probe.py").write_text(
        "from docker_machine import Driver\n\n\nclass Probe(Driver):\n    name = 'probe'\n    provisions = False\n\n"
        "    def create(self):\n        self.log('made')\n")
    archive = str(tmp_path / "app.pyz")
    zipapp.create_archive(str(source), archive, main="docker_machine:main")
    dm.argv, dm.env["PYTHONPATH"] = [sys.executable, archive], ""
    assert re.fullmatch(r"docker-machine version \S+, build [0-9a-f]{8}\n", dm("--version").out)
    assert "(web) made" in dm("create", "-d", "probe", "web").out.splitlines()
    assert "probe" in dm("create", "-d", "zzzzz", "x").err
    assert dm("status", "gone").code == 1 and dm("--nope").code == 2


def test_from_a_pipe(dm):
    dm.argv = [sys.executable, "-"]
    source = Path(core.__file__).read_text(encoding="utf-8")
    assert dm("--version", stdin=source).out == "docker-machine version %s, build unknown\n" % core.__version__
    assert dm("ls", "-q", stdin=source) == (0, "", "")


def test_rm_asks_about_machines_that_exist_and_says_what_is_deleted(call, add):
    add("web")
    ended = call("rm", "web", "gone", stdin="y\n")
    assert ended.code == 1 and ended.out.startswith("About to remove web\n")
    assert "remote instance" not in ended.out
    assert call("rm", "gone", stdin="").out == ""


def test_root_is_not_advised_to_be_root(monkeypatch):
    driver = core.load_driver("qemu")
    module = sys.modules[driver.__module__] if driver.__module__ in sys.modules else None
    failure = vars(module)["_failure"](["unshare: unshare failed: Operation not permitted"], {})
    assert "may not mount" in failure.message and "as root" not in failure.hint and "--qemu-image" in failure.hint


# --- a boot that takes its time

def test_at_the_end_of_the_time_for_a_boot_the_state_and_the_next_command_are_told(store, monkeypatch):
    machine = store.new("web", core.GenericDriver)
    machine.driver["IPAddress"] = "192.0.2.7"
    store.add(machine)
    monkeypatch.setattr(type(machine.driver), "boot_seconds", 7)
    monkeypatch.setattr(machine.driver, "get_state", lambda: core.RUNNING)
    limits = []

    def probe(ssh, seconds, before_try):
        limits.append(seconds)
        raise core.SSHError("SSH did not answer within 7 s.", "Try it by hand.")

    monkeypatch.setattr(core, "probe", probe)
    with pytest.raises(core.SSHError) as caught:
        machine._detect(machine.driver.boot_seconds)
    assert limits == [7] and "Its state is Running." in caught.value.hint
    assert caught.value.hint.endswith("docker-machine provision web")


# --- what callers rely on

@pytest.mark.parametrize("words, out", [
    (["inspect", "web", "-f", "{{.HostOptions.AuthOptions.StorePath}}"], "STORE/machines/web\n"),
    (["inspect", "-f", "{{.Driver.MachineName | printf \"%s\"}}", "web"], "web\n"),
    (["ls", "-q", "--filter", "state=Error", "--format", "{{.NAME}}"], ""),
    (["ls", "--format", "{{.NAME}}\\t{{.DriverName}}"], "web\tnone\n"),
    (["ls", "--format", "table {{.Name}}\\t{{.drivername}}"], "NAME   DRIVER\nweb    none\n"),
    (["ls", "-f", "{{json .Name}} {{upper .Name}} {{lower \"A\"}} {{title .Name}} {{join (split .Name \"e\") \"-\"}} "
      "{{urlquery \"a b\"}} {{printf \"%-5s|\" .Name}}"], '"web" WEB a Web w-b a+b web  |\n'),
    (["inspect", "-f", "{{prettyjson .Driver.URL}}", "web"], '"tcp://127.0.0.1:2376"\n'),
])
def test_every_format_that_published_clients_use(call, add, words, out):
    store = add("web").store.path
    assert call(*words) == (0, out.replace("STORE", store), "")


def test_a_file_that_is_too_large_is_refused_rather_than_cut(tmp_path):
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate((1 << 26) + 1)
    for function in (core.read_bytes, core.read_text):
        with pytest.raises(OSError, match="too large"):
            function(str(path))
