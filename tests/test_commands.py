"""The commands, each as a process: what a script reads from stdout, what a person reads from stderr, exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import HANG, ROOT, VERSION, listening, ssh_key

import docker_machine as core

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "ksh", "busybox", "fish", "tcsh") if shutil.which(shell)]
REMOVING = ("About to remove web\nWARNING: This action will delete only the local reference of web; the host itself "
            "stays as it is.\n")


def one_sentence(err):
    """Whether an error is a sentence and, mostly, a hint: no dump, no repeated words."""
    return 1 <= len(err.splitlines()) <= 4 and "Error with pre-create check: Error" not in err


# --- driver none, from create to rm

def test_the_life_of_a_machine_that_is_just_a_url(dm, call, engine_port, store):
    url = "tcp://127.0.0.1:%d" % engine_port
    ended = dm("create", "-d", "none", "--url", url, "web")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[:2] == ["Running pre-create checks...", "Creating machine..."]
    assert re.match("To see how to connect your Docker Client to the Docker Engine running on this virtual machine, "
                    "run: docker-machine env web$", ended.out.splitlines()[-1])

    again = dm("create", "-d", "none", "--url", url, "web")
    assert (again.code, again.out) == (1, "") and again.err.startswith('Docker machine "web" already exists\n')

    folder = str(dm.store / "machines" / "web")
    for words, answer in {
            ("ls", "-q"): "web", ("url", "web"): url, ("ip", "web"): url[6:], ("status", "web"): "Running",
            ("inspect", "-f", "{{.Driver.URL}}", "web"): url, ("inspect", "web", "-f", "{{.Name}}"): "web",
            ("inspect", "web"): (dm.store / "machines" / "web" / "config.json").read_text(),
            ("config", "web"): '--tlsverify\n--tlscacert="{0}/ca.pem"\n--tlscert="{0}/cert.pem"\n'
                               '--tlskey="{0}/key.pem"\n-H={1}'.format(folder, url),
            ("version", "web"): VERSION,
            ("ls", "-f", "{{.Name}} {{.Active}} {{.DriverName}} {{.State}} {{.URL}} {{.DockerVersion}} {{.Error}}"):
                "web - none Running %s v%s " % (url, VERSION)}.items():
        assert call(*words) == (0, answer + "\n", ""), words
    assert call("active", DOCKER_HOST=url) == (0, "web\n", "")
    assert call("ls", "-f", "{{.Active}}", DOCKER_HOST=url).out == "*\n"

    assert dm("rm", "-y", "web") == (0, REMOVING + "Successfully removed web\n", "")
    assert dm("ls") == (0, "NAME   ACTIVE   DRIVER   STATE   URL   SWARM   DOCKER   ERRORS\n", "")
    assert dm("status", "web").code == 1


def test_the_bare_file_does_the_same_as_the_module(dm, add):
    add("web", "tcp://192.0.2.1:2376")
    dm.argv = [sys.executable, str(ROOT / "docker_machine.py")]
    del dm.env["PYTHONPATH"]
    assert dm("url", "web") == (0, "tcp://192.0.2.1:2376\n", "")
    dm.argv[1:] = [str(dm.home / "dm")]  # copied under another name
    shutil.copy(str(ROOT / "docker_machine.py"), dm.argv[1])
    assert dm("ls", "-q") == (0, "web\n", "")
    assert dm("bogus").err.startswith("dm: 'bogus' is not a dm command. See '")
    assert re.match(r"docker-machine version \S+, build [0-9a-f]{8}\n$", dm("version").out)


def test_the_table_of_ls_has_docker_machines_columns(call, add, engine_port):
    url = "tcp://127.0.0.1:%d" % engine_port
    for name in ("n10", "n9"):
        add(name, url)
    head, first, second = call("ls").out.splitlines()
    assert head.split() == ["NAME", "ACTIVE", "DRIVER", "STATE", "URL", "SWARM", "DOCKER", "ERRORS"]
    assert first.split() == ["n9", "-", "none", "Running", url, "v" + VERSION]
    assert second.index(url) == first.index(url) == head.index("URL") and second.startswith("n10    - ")
    assert first.index("v" + VERSION) == head.index("DOCKER")


def test_ls_prints_the_options_as_go_prints_a_struct(call, add, closed_port):
    """As Docker Machine: fields in their order, and lists that are null are empty ones."""
    machine = add("web", "tcp://127.0.0.1:%d" % closed_port)
    machine.engine.update(ArbitraryFlags=["log-level=info"], Env=["FOO=bar"], Labels=["a=b"])
    machine.swarm.update(IsSwarm=True, Discovery="token://abc")
    machine.save()
    assert call("ls", "-f", "{{.EngineOptions}}\\n{{.SwarmOptions}}").out.splitlines() == [
        "{[log-level=info] []  [FOO=bar] false [] [a=b]   false true [] https://get.docker.com}",
        "{true  token://abc false false tcp://0.0.0.0:3376 swarm:latest spread 0 0 [] [] [] false}"]


@pytest.mark.parametrize("filters, names", [
    ([], "a b"), (["name=^a$"], "a"), (["driver=NONE"], "a b"), (["driver=generic"], ""), (["label=x=1"], "b"),
    (["state=running"], "a b"), (["state=Stopped"], ""), (["name=a", "name=b"], "a b"), (["name=a", "label=x=1"], ""),
])
def test_filters_of_ls_of_one_key_are_alternatives_and_of_several_conditions(call, add, closed_port, filters, names):
    add("a", "tcp://127.0.0.1:%d" % closed_port)
    labelled = add("b", "tcp://127.0.0.1:%d" % closed_port)
    labelled.engine["Labels"] = ["x=1"]
    labelled.save()
    words = [word for text in filters for word in ("--filter", text)]
    assert call("ls", "-q", *words) == (0, "".join(name + "\n" for name in names.split()), "")


@pytest.mark.parametrize("words, err", [
    (["--filter", "x"], "Unsupported filter syntax"), (["--filter", "foo=x"], "Unsupported filter key 'foo'"),
    (["--filter", "name=("], "The filter name=( is no"),
    (["-f", "{{.Name"], "template: unexpected end in an action"),
    (["-f", "{{range .}}"], "template: unexpected end of text"),
])
def test_a_wrong_filter_or_format_is_refused_without_an_answer(call, add, closed_port, words, err):
    add("web", "tcp://127.0.0.1:%d" % closed_port)
    ended = call("ls", *words)
    assert ended.code in (1, 2) and ended.out == "" and ended.err.startswith(err) and one_sentence(ended.err)


def test_several_machines_are_answered_in_the_order_asked(call, add):
    for number in (1, 2, 3):
        add("m%d" % number, "tcp://192.0.2.%d:1" % number)
    assert call("ip", "m3", "m1", "m2") == (0, "192.0.2.3:1\n192.0.2.1:1\n192.0.2.2:1\n", "")
    ended = call("ip", "m3", "gone", "m1")
    assert (ended.code, ended.out) == (1, "192.0.2.3:1\n192.0.2.1:1\n")
    assert 'Docker machine "gone" does not exist' in ended.err


def test_without_a_name_the_machine_default_is_meant(call, add):
    ended = call("url")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith('Error: No machine name(s) specified and no "default" machine exists\n')
    add("default", "tcp://192.0.2.7:1")
    answers = [call(command).out for command in ("url", "ip", "status")]
    assert answers == ["tcp://192.0.2.7:1\n", "192.0.2.7:1\n", "Running\n"]


@pytest.mark.parametrize("words, code, err", [
    (["status", "gone"], 1, 'Docker machine "gone" does not exist. Use "docker-machine ls" to list machines. '
                            'Use "docker-machine create" to add a new one.\n'),
    (["status", "wbe"], 1, None), (["url", "a", "b"], 2, "Error: Expected one machine name as an argument\n"),
    (["inspect", "a", "b"], 2, "Error: Expected one machine name as an argument\n"),
    (["env", "a", "b"], 2, "Error: Expected one machine name as an argument\n"),
    (["env", "-u", "web"], 2, "Error: Expected no machine name when the -u flag is present\n"),
    (["active", "web"], 2, "Error: Too many arguments given\nSee: docker-machine active --help\n"),
    (["active"], 1, None),
    (["scp", "a"], 2, None), (["scp", "gone:x", "y"], 1, None), (["ssh", "web"], 1, None), (["ssh", "gone"], 1, None),
    (["create", "-d", "none", "--url", "tcp://h:1", "a", "b", "c"], 2,
     "Each machine of --driver none needs a command of its own, with its own address.\n"),
    (["create", "-d", "none", "--url", "tcp://h:1"], 2, None), (["create", "-d", "none", "new"], 2, None),
    (["create", "-d", "none", "--url", "tcp://h:1", "--engine-label", "x", "new"], 2, None),
    (["create", "-d", "none", "--url", "tcp://h:1", "--tls-san", "a b", "new"], 2, None),
    (["create", "-d", "none", "--url", "", "new"], 2, None),
    (["create", "-d", "bogus", "new"], 1, None), (["bogus"], 2, None), (["lss"], 2, None), (["help", "bogus"], 2, None),
    (["inspect", "-f", "{{.X", "web"], 1, None), (["env", "--shell", "", "web"], 1, None),
    (["version", "gone"], 1, None),
])
def test_an_error_is_a_sentence_on_stderr_and_nothing_on_stdout(dm, call, add, closed_port, words, code, err):
    add("web", "tcp://127.0.0.1:%d" % closed_port)
    before = dm.files()
    ended = call(*words, SHELL=None)
    assert (ended.code, ended.out) == (code, "") and one_sentence(ended.err)
    assert err is None or ended.err == err
    assert dm.files() == before


@pytest.mark.parametrize("word, hint", [
    ("lss", "ls"), ("statsu", "status"), ("creat", "create"), ("regenerate-cert", "regenerate-certs")])
def test_a_mistyped_command_gets_the_nearest_as_a_hint(call, word, hint):
    ended = call(word)
    assert ended.err.startswith("docker-machine: '%s' is not a docker-machine command. See '" % word)
    assert " %s?" % hint in ended.err.splitlines()[1]


def test_a_mistyped_machine_gets_the_nearest_as_a_hint(call, add):
    add("webserver")
    assert call("status", "webserevr").err.splitlines()[1] == "Did you mean webserver?"


def test_version_and_help(call):
    assert re.match(r"docker-machine version \S+, build [0-9a-f]{8}\n$", call("version").out)
    ended = call("help")
    assert ended.code == 0 and ended.err == ""
    assert ended.out.startswith("Usage: docker-machine [OPTIONS] COMMAND [arg...]\n")
    for name, command in core.COMMANDS.items():
        assert re.search(r"^   %s\s+%s$" % (name, re.escape(command.summary)), ended.out, re.M), name
    assert call("help", "ls").out == call("ls", "--help").out
    assert call("help", "create").out == call("create", "--help").out
    assert "--generic-ip-address" in call("create", "-d", "generic", "--help").out


# --- rm and its question

@pytest.mark.parametrize("stdin, removed", [
    ("y\n", True), ("Y\n", True), ("yes\n", True), ("  y\n", True), ("y", True),
    ("n\n", False), ("\n", False), ("", False), ("no y\n", False), ("ja\n", False),
])
def test_rm_asks_and_only_a_yes_removes(dm, call, add, stdin, removed):
    add("web")
    ended = call("rm", "web", stdin=stdin)
    said = "Successfully removed web\n" if removed else "Nothing was removed.\n"
    nobody = (1, REMOVING + "Are you sure? (y/n): ", "No answer; nothing was removed.\nUse -y to skip the question.\n")
    assert ended == ((0, REMOVING + "Are you sure? (y/n): " + said, "") if stdin else nobody)
    assert (dm.store / "machines" / "web").exists() is not removed


@pytest.mark.parametrize("answer, left", [
    ("y", ""), ("Yes", ""), ("yes but not web", "web\n"), ("n", "web\n"), ("", "web\n"), ("oh yes", "web\n")])
def test_rm_removes_only_upon_a_plain_yes(call, add, answer, left):
    add("web")
    call("rm", "web", stdin=answer + "\n")
    assert call("ls", "-q").out == left


def test_rm_goes_on_with_the_others_after_a_failure(call, add):
    for name in ("a", "b"):
        add(name)
    ended = call("rm", "-y", "a", "gone", "b", "a")
    assert ended.code == 1 and sorted(ended.out.splitlines()[-2:]) == ["Successfully removed " + name for name in "ab"]
    assert ended.err.startswith('Error removing host "gone": Docker machine "gone" does not exist.')
    assert call("ls", "-q").out == ""


def test_a_prompt_that_is_interrupted_ends_with_130_and_removes_nothing(dm, add, background):
    add("web")
    process = background(dm.start("rm", "web", stdin=subprocess.PIPE))
    said = b""
    while not said.endswith(b"(y/n): "):
        said += os.read(process.stdout.fileno(), 100)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG)
    assert (process.returncode, err) == (130, b"Interrupted.\nTo go on, run the same command again.\n")
    assert (dm.store / "machines" / "web").exists()


@pytest.mark.parametrize("stdin, code", [("n\n", 0), ("", 1)])
def test_regenerate_certs_without_a_yes_changes_nothing(dm, call, add, stdin, code):
    add("web")
    before = {path: path.stat().st_mtime_ns for path in dm.store.rglob("*")}
    ended = call("regenerate-certs", "web", stdin=stdin)
    assert ended.code == code
    assert ended.out == "Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): " + (
        "Nothing was changed.\n" if stdin else "")
    assert {path: path.stat().st_mtime_ns for path in dm.store.rglob("*")} == before


def test_provision_refreshes_the_copies_of_the_client_certificates(dm, call, add):
    machine = add("web")
    for name in ("ca.pem", "cert.pem", "key.pem"):
        os.unlink(os.path.join(machine.folder, name))
    assert call("provision", "web").code == 0
    for name in ("ca.pem", "cert.pem", "key.pem"):
        assert (dm.store / "machines" / "web" / name).read_bytes() == (dm.store / "certs" / name).read_bytes()


# --- env

DIALECTS = {  # shell -> how one runs a script in it, and what the hint says to do with the output of `env`
    "fish": (["fish"], "eval (cat %s)"), "tcsh": (["tcsh", "-f"], "eval `cat %s`"),
    "busybox": (["busybox", "sh"], "eval $(cat %s)"),
}
SHOW_VARIABLES = ("sh -c 'printf \"%s\\0\" \"$DOCKER_TLS_VERIFY\" \"$DOCKER_HOST\" \"$DOCKER_CERT_PATH\" "
                  "\"$DOCKER_MACHINE_NAME\"'")


def variables(folder, shell, texts, quoted=False, **env):
    """The DOCKER_ variables, as a child sees them, after a real shell's eval of each of the texts in turn."""
    argv, line = DIALECTS.get(shell, ([shell], 'eval "$(cat %s)"' if quoted else "eval $(cat %s)"))
    script = folder / "script"
    with script.open("w") as file:
        for number, text in enumerate(texts):
            (folder / str(number)).write_text(text, encoding="utf-8")
            file.write("%s\n%s\n" % (line % (folder / str(number)), SHOW_VARIABLES))
    ended = subprocess.run(argv + [str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True,
                           env=dict(env, PATH=os.environ["PATH"], HOME=str(folder), LC_ALL="C.UTF-8"))
    assert ended.stderr == b""
    values = ended.stdout.decode().split("\0")[:-1]
    return [tuple(values[start:start + 4]) for start in range(0, len(values), 4)]


def test_env_sets_the_variables_in_real_shells_whatever_is_in_the_paths(certs, engine_port, tmp_path, call):
    url = "tcp://127.0.0.1:%d" % engine_port
    paths = ["plain", "with blank", "quote'", 'quote"', "$HOME", "`id`", "$(id)", "back\\slash", "a!b", "Köln", "a;b&c",
             "*#", "two  blanks", "new\nline"]  # the last two need an eval "$(...)"
    expected = []
    for path in paths:
        shutil.copytree(str(certs), str(tmp_path / path / "certs"))
        store = core.Store(str(tmp_path / path))
        machine = store.new("web", core.NoneDriver)
        machine.driver.set_config_from_flags({"url": url})
        store.add(machine)
        machine.copy_client_certificates()
        expected.append(("1", url, machine.folder, "web"))

    def texts(shell):
        return [call("-s", str(tmp_path / path), "env", "--shell", shell, "web").out for path in paths]

    posix = texts("sh")
    for shell in SHELLS:
        own = posix if shell not in ("fish", "tcsh") else texts(shell)
        assert variables(tmp_path, shell, own[:-2]) == expected[:-2], shell
        if shell not in DIALECTS:
            assert variables(tmp_path, shell, own, quoted=True) == expected, shell


def test_env_prints_docker_machines_lines_in_its_order(dm, add, engine_port):
    url = "tcp://127.0.0.1:%d" % engine_port
    add("web", url)
    ended = dm("env", "web", SHELL="/bin/bash")
    program = "docker-machine"
    assert ended == (0, 'export DOCKER_TLS_VERIFY="1"\nexport DOCKER_HOST="%s"\nexport DOCKER_CERT_PATH="%s"\n'
                        'export DOCKER_MACHINE_NAME="web"\n# Run this command to configure your shell: \n'
                        "# eval $(%s env web)\n" % (url, dm.store / "machines" / "web", program), "")


@pytest.mark.parametrize("shell", SHELLS)
def test_env_unset_clears_the_variables_in_a_real_shell(call, tmp_path, shell):
    ended = call("env", "-u", "--shell", shell)
    assert ended.code == 0
    assert variables(tmp_path, shell, [ended.out], DOCKER_HOST="x", DOCKER_CERT_PATH="y") == [("", "", "", "")]


def test_env_unset_needs_no_store_and_no_machine(dm, call):
    ended = call("env", "-u", "--no-proxy", "--shell", "bash", NO_PROXY="a")
    assert ended.out.splitlines()[:5] == ["unset DOCKER_TLS_VERIFY", "unset DOCKER_HOST", "unset DOCKER_CERT_PATH",
                                          "unset DOCKER_MACHINE_NAME", "unset NO_PROXY"]
    assert not dm.store.exists()


@pytest.mark.parametrize("environ, line", [
    ({}, 'export NO_PROXY="{0}"'), ({"NO_PROXY": "a,b"}, 'export NO_PROXY="a,b,{0}"'),
    ({"no_proxy": "a", "NO_PROXY": "b"}, 'export no_proxy="a,{0}"'), ({"NO_PROXY": "a,{0}"}, 'export NO_PROXY="a,{0}"'),
    ({"NO_PROXY": "{0}0"}, 'export NO_PROXY="{0}0,{0}"'),
])
def test_env_adds_the_address_to_the_list_that_needs_no_proxy(call, add, engine_port, environ, line):
    address = "127.0.0.1:%d" % engine_port
    add("web", "tcp://" + address)
    environ = {key: text.format(address) for key, text in environ.items()}
    ended = call("env", "--no-proxy", "--shell", "sh", "web", **environ)
    assert line.format(address) in ended.out.splitlines()


@pytest.mark.parametrize("command", ["env", "config", "version"])
def test_no_answer_of_an_engine_means_no_answer_of_ours(call, add, closed_port, command):
    add("web", "tcp://127.0.0.1:%d" % closed_port)
    ended = call(command, "web", SHELL="/bin/sh")
    assert (ended.code, ended.out) == (1, "")
    assert "127.0.0.1 port %d: Connection refused" % closed_port in ended.err


def test_env_warns_of_certificates_in_docker_machines_words(call, add, closed_port, tmp_path):
    def plain(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with listening(plain) as port:
        add("web", "tcp://127.0.0.1:%d" % port)
        ended = call("env", "web", SHELL="/bin/sh")
    assert (ended.code, ended.out) == (1, "") and ended.err.startswith("Error checking TLS connection: ")


def test_env_without_a_shell_is_for_sh(call, add, engine_port):
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    ended = call("env", "web", SHELL=None)
    assert (ended.code, ended.out) == (0, call("env", "web", SHELL="/bin/sh").out)


# --- streams that end

def closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("words", [["ls"], ["inspect", "web"], ["rm", "-y", "web"]])
def test_a_reader_that_has_seen_enough_ends_the_program_quietly(dm, add, closed_port, words):
    """As in `docker-machine ls | head -1`."""
    add("web", "tcp://127.0.0.1:%d" % closed_port)
    pipe = closed_pipe()
    try:
        ended = dm(*words, stdout=pipe)
    finally:
        os.close(pipe)
    assert ended.err == "" and ended.code in (0, 141)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_an_answer_that_cannot_be_written_is_an_error(dm):
    with open("/dev/full", "w") as full:
        ended = dm("version", stdout=full)
    assert ended.code == 1 and "No space left on device" in ended.err and one_sentence(ended.err)


def test_a_closed_stdout_is_no_crash(dm):
    assert dm("version", preexec=lambda: os.close(1)).code in (0, 1)


@pytest.mark.parametrize("env", [
    {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}])
def test_answers_are_utf8_whatever_the_locale(dm, add, env):
    machine = add("web")
    machine.engine["Labels"] = ["ort=Köln"]
    machine.save()
    assert json.loads(dm("inspect", "web", **env).out)["HostOptions"]["EngineOptions"]["Labels"] == ["ort=Köln"]


# --- generic: a host that is there already, of which only the port is real here

SHOW = 'for word; do printf "[%%s]\\n" "$word"; done; exit %d'  # a stand-in that shows how it was called


@pytest.fixture
def add_generic(store):
    def make(name, port=22, user="root", key="", address="127.0.0.1"):
        machine = store.new(name, core.GenericDriver)
        machine.driver.set_config_from_flags({
            "generic-ip-address": address, "generic-ssh-port": port, "generic-ssh-user": user, "generic-ssh-key": key,
            "generic-engine-port": 2376})
        machine.driver["SSHKeyPath"] = key
        store.add(machine)
        machine.mark("")
        return machine
    return make


def words_of(ended):
    return [line[1:-1] for line in ended.out.splitlines()]


def test_a_host_runs_while_its_ssh_port_answers(call, add_generic, closed_port):
    with listening(lambda connection: None) as port:
        add_generic("up", port)
        assert [call(command, "up").out for command in ("status", "url", "ip")] == [
            "Running\n", "tcp://127.0.0.1:2376\n", "127.0.0.1\n"]
    add_generic("down", closed_port)
    assert [call(command, "down").out for command in ("status", "ip")] == ["Stopped\n", "127.0.0.1\n"]
    assert call("url", "down") == (1, "", "Host is not running\n")
    ended = call("env", "down", SHELL="/bin/sh")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error checking TLS connection: Host is not running\n")
    assert call("ssh", "down", "true") == (
        1, "", 'Error: Cannot run SSH command: Host "down" is not running\nStart it, or see: docker-machine ls\n')


def test_ssh_hands_over_all_words_and_gives_back_the_remote_exit_code(dm, add_generic, bin_folder):
    path = bin_folder(ssh=SHOW % 7)
    with listening(lambda connection: None) as port:
        machine = add_generic("web", port, "me", "/keys/id 1%")
        ended = dm("ssh", "web", "-L", "80:x:80", "-t", "ls", "-l", "a  b", "--help", "--", "$HOME", PATH=path)
    words = words_of(ended)
    assert (ended.code, ended.err) == (7, "")
    place = words.index("127.0.0.1")
    assert words[place + 1:] == ["-L", "80:x:80", "-t", "ls", "-l", "a  b", "--help", "--", "$HOME"]
    options = dict(word.partition("=")[::2] for flag, word in zip(words[:place], words[1:place]) if flag == "-o")
    assert {"StrictHostKeyChecking": "accept-new", "PasswordAuthentication": "no", "IdentitiesOnly": "yes",
            "IdentityFile": '"/keys/id 1%%"', "UserKnownHostsFile": os.path.join(machine.folder, "known_hosts")
            }.items() <= options.items()
    assert "me" in words[:place] and options["Port"] == str(port) and "-F" not in words


def test_ssh_passes_stdin_and_without_words_means_default(dm, add_generic, bin_folder):
    path = bin_folder("cat", ssh="cat")
    with listening(lambda connection: None) as port:
        add_generic("default", port)
        assert dm("ssh", stdin="to the host\n", PATH=path) == (0, "to the host\n", "")


@pytest.mark.parametrize("words, tail", [
    (["a b", "web:/x y"], ["--", "a b", "root@127.0.0.1:/x y"]),
    (["web:x", "y"], ["--", "root@127.0.0.1:x", "y"]),
    (["me@web:x", "-r", "y"], ["-r", "--", "me@127.0.0.1:x", "y"]),
    (["-q", "-r", "x", "web:"], ["-r", "-q", "--", "x", "root@127.0.0.1:"]),
    (["localhost:a:b", "web:x"], ["--", "./a:b", "root@127.0.0.1:x"]),
    (["localhost:/a:b", "c"], ["--", "/a:b", "c"]),
    (["six:x", "y"], ["--", "root@[2001:db8::1]:x", "y"]),
])
def test_scp_keeps_source_and_destination_and_gives_back_the_exit_code(dm, add_generic, bin_folder, words, tail):
    add_generic("web", 2222)
    add_generic("six", address="2001:db8::1")
    ended = dm("scp", *words, PATH=bin_folder(scp=SHOW % 5))
    assert (ended.code, ended.err, words_of(ended)[-len(tail):]) == (5, "", tail)
    assert ("web" not in str(words)) or ("2222" in ended.out)


def test_scp_between_two_machines_goes_by_way_of_this_computer_with_each_ones_own_port(dm, add_generic, bin_folder):
    add_generic("a", 2222, "one")
    add_generic("b", 3333, "two")
    path = bin_folder("cat", scp='cat "$2"; shift 2; ' + SHOW % 0)
    ended = dm("scp", "-r", "a:x", "b:y", PATH=path)
    assert ended.code == 0 and ended.out.endswith("[-3]\n[-r]\n[--]\n[one@a:x]\n[two@b:y]\n")
    first, second = ended.out.split("Host b\n")
    assert "Port 2222" in first and "Port 3333" in second and "Host a\n" in first and "HostName 127.0.0.1" in second


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
def test_scp_delta_calls_rsync_with_an_ssh_that_rsync_understands(dm, add_generic, bin_folder):
    add_generic("web", 2222, key="/keys/it's 1")
    path = bin_folder("rsync", ssh="{ %s; } >&2" % (SHOW % 9))
    ended = dm("scp", "-d", "-q", "web:x", "y", PATH=path)
    said = [line[1:-1] for line in ended.err.splitlines()]
    assert ended.code != 0 and {"Port=2222", "root", 'IdentityFile="/keys/it\'s 1"'} <= set(said)


@pytest.mark.parametrize("words, missing", [(["scp", "a", "b"], "scp"), (["scp", "-d", "a", "b"], "rsync"),
                                            (["ssh", "web", "true"], "ssh")])
def test_a_missing_copy_program_is_told(dm, add_generic, bin_folder, words, missing):
    with listening(lambda connection: None) as port:
        add_generic("web", port)
        ended = dm(*words, PATH=bin_folder(apt_get=""))
    assert (ended.code, ended.out) == (1, "")
    said, hint = ended.err.splitlines()
    assert said in ("You must have a copy of the scp binary locally to use the scp feature",
                    "You must have a copy of the rsync binary locally to use the --delta option",
                    'The program "ssh" was not found on this computer.')
    assert missing in said and hint.startswith("Install it: sudo apt")


# --- what create refuses without a host

@pytest.fixture
def key(tmp_path):
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    return ssh_key(tmp_path / "id_test")


def create(dm, program, port, key, *words, **env):
    """`create --driver generic`, which must fail in the pre-create check and leave nothing anywhere."""
    before = dm.files() if dm.store.exists() else None
    ended = program("create", "-d", "generic", "--generic-ip-address", "127.0.0.1", "--generic-ssh-port", str(port),
               "--generic-ssh-key", str(key), *words, "web", **env)
    assert (dm.files() if dm.store.exists() else None) == before
    assert list(dm.tmp.iterdir()) == []
    assert one_sentence(ended.err) and len(ended.err.splitlines()) >= 2, "no hint: " + ended.err
    return ended._replace(err=ended.err.replace('\\"', '"'))  # the cause is quoted, as Docker Machine quotes it


@pytest.mark.parametrize("case, sentence, hint", [
    ("missing", "SSH key does not exist: {key}", "Check the path"), ("folder", "Cannot read the SSH key {key}", ""),
    ("0644", "permissions 0644 for '{key}' are too open", "chmod 600 {key}"),
    ("0640", "permissions 0640 for '{key}' are too open", "chmod 600 {key}"),
    ("public", "{key} is the public half of a key", "Give the private one"),
    ("putty", "{key} is a PuTTY key", "puttygen"),
])
def test_a_key_that_ssh_would_not_take_is_refused_with_the_mend(
        dm, call, store, key, closed_port, case, sentence, hint):
    key.chmod(int(case, 8) if case.isdigit() else 0o600)
    texts = {"public": key.with_name("id_test.pub").read_text(), "putty": "PuTTY-User-Key-File-3: ssh-ed25519"}
    if case in texts:
        key.write_text(texts[case])
    elif case in ("missing", "folder"):
        key.unlink()
        if case == "folder":
            key.mkdir(mode=0o700)
    ended = create(dm, call, closed_port, key)
    assert ended.code == 3 and sentence.format(key=key) in ended.err and hint.format(key=key) in ended.err
    assert "pre-create check" in ended.err


def test_a_refused_port_is_told(dm, key, closed_port):
    ended = create(dm, dm, closed_port, key)
    assert ended.code == 3 and "127.0.0.1 refused the connection on port %d" % closed_port in ended.err


@pytest.mark.parametrize("handle", [
    lambda connection: None,
    lambda connection: connection.recv(100),
    lambda connection: connection.recv(100) and connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    lambda connection: connection.sendall(b"220 mail.example.test ESMTP\r\n"),
    lambda connection: connection.sendall(b"\x00\xff" * 3000),
], ids=["hangs up at once", "hangs up", "HTTP", "SMTP", "noise"])
def test_a_port_that_answers_something_else_than_ssh_is_told(dm, call, store, key, handle):
    with listening(handle) as port:
        ended = create(dm, call, port, key)
    assert ended.code == 3 and "127.0.0.1" in ended.err and str(port) in ended.err
    assert re.search("does not answer like an SSH server|closed the connection", ended.err), ended.err


@pytest.mark.parametrize("said, sentence, hint", [
    ("ssh: Could not resolve hostname h: Name or service not known", 'the address "127.0.0.1" cannot be resolved',
     "spelling"),
    ("ssh: connect to host h port 2222: Connection timed out", "127.0.0.1 does not answer on port 2222", "firewall"),
    ("ssh: connect to host h port 2222: No route to host", "there is no route to 127.0.0.1", "network"),
    ("root@h: Permission denied (publickey).", "127.0.0.1 refused the login of user root with the key {key}",
     "ssh -i {key} -p 2222 root@127.0.0.1"),
    ("Received disconnect from h port 22:2: Too many authentication failures", "127.0.0.1 refused the login",
     "the right key"),
    ('Load key "k": error in libcrypto\nroot@h: Permission denied (publickey).', "127.0.0.1 refused the login", ""),
    ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "shows another host key",
     "reinstalled"),
    ("No user exists for uid 1000660000", "ssh wants this user to be in /etc/passwd", ">>/etc/passwd"),
    ("Something new", "SSH to 127.0.0.1 failed: Something new", ""),
])
def test_what_ssh_says_becomes_a_sentence_and_a_hint(dm, call, store, key, bin_folder, said, sentence, hint):
    """The ssh here is a stand-in that fails as the real one was seen to fail."""
    script = 'case "$*" in *"-O exit"*|*"-G "*) exit 0;; esac\ncat >&2 <<END\n%s\nEND\nexit 255' % said
    path = bin_folder("openssl", "cat", ssh=script)
    ended = create(dm, call, 2222, key, PATH=path)
    assert ended.code == 3 and sentence.format(key=key) in ended.err and hint.format(key=key) in ended.err


@pytest.mark.parametrize("words, sentence", [
    (["--generic-ip-address", "-oProxyCommand=id"], "cannot be used"),
    (["--generic-ip-address", "a b"], "cannot be used"), (["--generic-ip-address", "root@h"], "cannot be used"),
    (["--generic-ip-address", "fe80::1%eth0"], "without a zone"),
    (["--generic-ip-address", ""], "requires the --generic-ip-address"),
    (["--generic-ssh-user", "-l"], "cannot be used"), (["--generic-ssh-port", "0"], "is too small"),
    (["--generic-engine-port", "65536"], "is too large"), (["--engine-env", "1=x"], "--engine-env"),
    (["--engine-registry-mirror", "m"], "--engine-registry-mirror"), (["--engine-opt", "--debug"], "--engine-opt"),
    (["--engine-install-url", "ftp://x"], "--engine-install-url"),
    (["--swarm", "--swarm-discovery", "token://x"], "in 2019"),
    (["--engine-install-url", "file:///not/there"], "there is no file /not/there"),
])
def test_an_option_that_cannot_work_is_refused_before_anything_is_touched(dm, call, closed_port, words, sentence):
    ended = call("create", "-d", "generic", "--generic-ip-address", "127.0.0.1", "--generic-ssh-port", str(closed_port),
               *words, "web")
    assert (ended.code, ended.out) == (2, "") and sentence in ended.err and one_sentence(ended.err)
    assert not dm.store.exists() and list(dm.tmp.iterdir()) == []


@pytest.mark.parametrize("missing, package", [("ssh", "openssh-client"), ("openssl", "openssl")])
def test_a_missing_program_is_told_with_its_package(dm, call, key, closed_port, bin_folder, missing, package):
    path = bin_folder(*[name for name in ("ssh", "openssl") if name != missing], apt_get="")
    ended = create(dm, call, closed_port, key, PATH=path)
    assert ended.code == 3
    assert 'The program "%s" was not found on this computer.' % missing in ended.err
    assert ended.err.endswith("Install it: sudo apt-get install %s\n" % package)


def test_driver_none_and_all_queries_need_neither_ssh_nor_a_network(call, add, bin_folder):
    add("web", "tcp://192.0.2.1:1")
    path = bin_folder("openssl")
    assert call("create", "-d", "none", "--url", "tcp://h:1", "new", PATH=path).code == 0
    assert call("url", "web", PATH="") == (0, "tcp://192.0.2.1:1\n", "")
    assert call("ls", "-q", PATH="").out == "new\nweb\n"
    assert call("rm", "-y", "web", PATH="").code == 0


@pytest.mark.parametrize("words, err", [
    (["--drivr", "generic", "web"], "flag provided but not defined: -drivr\nDid you mean --driver?\n"),
    (["--generic-ip-address", "192.0.2.7", "web"], "flag provided but not defined: -generic-ip-address\n")])
def test_without_a_driver_a_flag_that_is_wrong_comes_before_the_advice_to_install_one(call, bin_folder, words, err):
    ended = call("create", *words, PATH=bin_folder())
    assert (ended.code, ended.out, ended.err) == (2, "", err)
