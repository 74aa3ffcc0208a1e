"""`env` in the real shells: what its output sets and unsets, how the shell is found, and hints that work as typed."""

import collections
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once

ODD = "it's \"a\" $HOME `id` $(id) back\\slash !# #& ;äöü (z) <| %s ^ !$ !id :  * ? [a-z]"
NAMES = "DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME"
RUN_THIS = "Run this command to configure your shell: "


SETTING = {
    "sh": 'export %s="%s"', "fish": 'set -gx %s "%s";', "powershell": '$Env:%s = "%s"', "cmd": "SET %s=%s",
    "tcsh": 'setenv %s "%s";', "emacs": '(setenv "%s" "%s")', "xonsh": '$%s = "%s"',
}
UNSETTING = {
    "sh": "unset %s", "fish": "set -e %s;", "powershell": "Remove-Item Env:\\\\%s", "cmd": "SET %s=",
    "tcsh": "unsetenv %s;", "emacs": '(setenv "%s" nil)', "xonsh": "del $%s",
}


class Kind:
    """How a script of a shell is run, and how such a script evals what a command prints."""

    def __init__(self, argv, line, misleading="/usr/bin/fish"):
        self.argv, self.line, self.misleading = argv.split(), line, misleading


POSIX = 'eval "$(%s)"'
SHELLS = {
    "sh": Kind("sh", POSIX), "bash": Kind("bash", POSIX), "dash": Kind("dash", POSIX), "ksh": Kind("ksh", POSIX),
    "zsh": Kind("zsh -f", POSIX), "busybox": Kind("busybox sh", POSIX), "fish": Kind("fish", "%s | source", "/bin/sh"),
    "tcsh": Kind("tcsh -f", "eval `%s`"), "xonsh": Kind("xonsh --no-rc", "execx($(%s))"),
}
OWN_NAMES = {"busybox": "sh"}  # what --shell is told


def every(*names):
    return pytest.mark.parametrize("shell", [pytest.param(
        name, marks=pytest.mark.skipif(not shutil.which(name), reason=name + " is not installed")) for name in names])


class Home:
    """A user's home with docker-machine on the PATH, and shells that run there."""

    def __init__(self, dm):
        self.folder, self.store, self.calls = dm.home, dm.store, dm.home / "calls"
        self.bin = dm.home / "bin"
        self.bin.mkdir()
        self.env = dict(dm.env, PATH="%s:%s" % (self.bin, os.environ["PATH"]), NO_PROXY=".local,10.0.0.0/8")
        # The store is named here, since xonsh changes variables that end in PATH before it hands them on.
        self.program("docker-machine", 'open(%r, "a").write("called\\n")\n' % str(self.calls) +
                     'os.environ["MACHINE_STORAGE_PATH"] = %r\n' % str(dm.store) +
                     "import docker_machine\ndocker_machine.end(docker_machine.main())\n")
        self.program("show", "import json\nprint(json.dumps(dict(os.environ)), flush=True)\n")
        self.program("through", "import subprocess\nsys.exit(subprocess.call(sys.argv[1:]))\n")

    def program(self, name, text):
        path = self.bin / name
        path.write_text("#!%s\nimport os, sys\n%s" % (sys.executable, text), encoding="utf-8")
        path.chmod(0o755)

    def run(self, argv, lines, executable=None, **env):
        """Run a script of these lines to its end; its stdout. It must complain of nothing."""
        script = self.folder / "script"
        script.write_bytes("\n".join(lines + [""]).encode())
        ended = subprocess.run(argv + [str(script)], executable=executable, cwd=str(self.folder), timeout=60,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={key: value for key, value in dict(self.env, **env).items() if value is not None})
        assert (ended.returncode, ended.stderr.decode()) == (0, ""), lines
        return ended.stdout.decode()

    def variables(self, shell, lines, **env):
        """The variables of interest as a child of the shell sees them, at each line "show"."""
        return shown(self.run(SHELLS[shell].argv, lines, **env))

    def count(self):
        """How often docker-machine was run."""
        return len(self.calls.read_text().splitlines())


def shown(text):
    return [{key: value for key, value in json.loads(line).items() if key in NAMES + ("NO_PROXY", "no_proxy")}
            for line in text.splitlines() if line.startswith("{")]


@pytest.fixture
def dm(dm):
    """The program with a store whose path has all that means something to some shell."""
    dm.store = dm.store.parent / ODD
    dm.env["MACHINE_STORAGE_PATH"] = str(dm.store)
    return dm


@pytest.fixture
def home(dm):
    return Home(dm)


@pytest.fixture
def web(add, engine_port):
    """The variables of a machine "web" with an engine that answers."""
    url = "tcp://127.0.0.1:%d" % engine_port
    return dict(zip(NAMES, ("1", url, add("web", url).folder, "web")))


# --- the real shells

def plan(web, before):
    """What a shell has after each step of `steps`, if it had only `before`."""
    longer = dict(before, NO_PROXY=before["NO_PROXY"] + "," + web["DOCKER_HOST"][6:])
    return [dict(before, **web), before, dict(longer, **web), {}]


def steps(line, option=""):
    commands = ["env%s web", "env%s -u", "env%s --no-proxy web", "env%s -u --no-proxy"]
    return [text for command in commands for text in (line % ("docker-machine " + command % option), "show")]


@every(*SHELLS)
@pytest.mark.parametrize("misled", [True, False], ids=["SHELL of another", "no SHELL"])
def test_a_shell_gets_its_own_lines_and_with_them_exactly_the_values(home, web, shell, misled):
    kind = SHELLS[shell]
    ended = home.variables(shell, steps(kind.line), SHELL=kind.misleading if misled else None)
    assert ended == plan(web, {"NO_PROXY": home.env["NO_PROXY"]})
    assert home.count() == 4  # evaluating the hint starts nothing


@every(*SHELLS)
def test_the_option_shell_counts_where_the_shell_is_neither_parent_nor_in_SHELL(home, web, shell):
    kind = SHELLS[shell]
    lines = [line.replace("docker-machine", "through docker-machine")
             for line in steps(kind.line, " --shell " + OWN_NAMES.get(shell, shell))]
    assert home.variables(shell, lines, SHELL=kind.misleading) == plan(web, {"NO_PROXY": home.env["NO_PROXY"]})


@every("bash", "zsh", "ksh", "busybox", "dash", "fish", "tcsh", "xonsh")
def test_variables_of_another_machine_are_replaced(home, web, shell):
    before = dict.fromkeys(NAMES, "/old$HOME")
    assert home.variables(shell, [SHELLS[shell].line % "docker-machine env web", "show"], NO_PROXY=None,
                          **before) == [web]


@every("bash", "fish", "tcsh", "xonsh")
def test_the_lower_case_list_that_needs_no_proxy_is_the_one_changed(home, web, shell):
    line = SHELLS[shell].line
    ended = home.variables(shell, [line % "docker-machine env --no-proxy web", "show",
                                   line % "docker-machine env -u --no-proxy", "show"], no_proxy="a")
    longer = "a," + web["DOCKER_HOST"][6:]
    assert ended == [dict(web, no_proxy=longer, NO_PROXY=home.env["NO_PROXY"]), {"NO_PROXY": home.env["NO_PROXY"]}]


@every(*SHELLS)
def test_unset_needs_no_variable_to_be_there(home, shell):
    strict = ["set -eu"] if SHELLS[shell].line == POSIX else []
    lines = strict + [SHELLS[shell].line % "docker-machine env -u", "show"]
    assert home.variables(shell, lines, DOCKER_HOST="tcp://192.0.2.1:2376", NO_PROXY=None) == [{}]


@pytest.mark.parametrize("program, name", [
    ("bash", "-bash"), ("zsh", "-zsh"), ("busybox", "ash"), ("busybox", "-ash"), ("dash", "-sh"), ("tcsh", "csh"),
    ("fish", "-fish"),
])
def test_login_shells_and_shells_of_two_names_are_found(home, tmp_path, program, name):
    if not shutil.which(program):
        pytest.skip(program + " is not installed")
    link = tmp_path / name.lstrip("-")
    link.symlink_to(shutil.which(program))
    text = home.run([name], ["%s/docker-machine env -u" % home.bin], executable=str(link),
                    SHELL=SHELLS[program].misleading)  # the path, since a login sets PATH anew
    assert UNSETTING[program if program in UNSETTING else "sh"] % NAMES[0] in text.splitlines()


@pytest.mark.parametrize("path, line", {
    "/usr/bin/fish": "set -e DOCKER_TLS_VERIFY;", "/usr/local/bin/tcsh": "unsetenv DOCKER_TLS_VERIFY;",
    "/bin/csh": "unsetenv DOCKER_TLS_VERIFY;", "/bin/zsh": "unset DOCKER_TLS_VERIFY",
    "/opt/microsoft/powershell/7/pwsh": "Remove-Item Env:\\\\DOCKER_TLS_VERIFY", "": "unset DOCKER_TLS_VERIFY",
    "/usr/sbin/nologin": "unset DOCKER_TLS_VERIFY",
}.items())
def test_SHELL_counts_where_the_parent_is_no_shell(dm, path, line):
    assert dm("env", "-u", SHELL=path).out.splitlines()[0] == line


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_a_parent_that_is_told_the_name_of_a_shell_is_none(home):
    (home.folder / "Makefile").write_text("fish:\n\t@docker-machine env -u\n")
    ended = subprocess.run(["make", "fish"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=str(home.folder),
                           env=dict(home.env, SHELL="/bin/bash"), timeout=60)
    assert ended.stdout.decode().splitlines()[0] == "unset DOCKER_TLS_VERIFY"


# --- hints

def hint(home, shell, command):
    """The command of the hint that this shell is shown."""
    answer = home.folder / "answer"
    home.run(SHELLS[shell].argv, ["%s > %s" % (command, answer)])
    lead, last = answer.read_text(encoding="utf-8").splitlines()[-2:]
    comment = ":" if shell == "tcsh" else "#"
    assert (lead, last[:2]) == (comment + " " + RUN_THIS, comment + " ")
    return last[2:]


HINTED = "bash", "zsh", "fish", "tcsh", "xonsh", "ksh", "dash", "busybox"


@every(*HINTED)
def test_the_hint_does_what_it_says_when_it_is_typed(home, web, shell):
    before = {"NO_PROXY": home.env["NO_PROXY"]}
    lines = [text for command in ("env web", "env -u", "env --no-proxy web", "env -u --no-proxy")
             for text in (hint(home, shell, "docker-machine " + command), "show")]
    assert home.variables(shell, lines) == plan(web, before)


@every("bash", "zsh")
def test_the_hint_works_in_an_interactive_shell(home, web, shell):
    lines = [hint(home, shell, "docker-machine env web"), "show", hint(home, shell, "docker-machine env -u"), "show"]
    argv = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
    ended = subprocess.run(argv, input="\n".join(lines + ["exit", ""]).encode(), stdout=subprocess.PIPE, timeout=60,
                           stderr=subprocess.PIPE, env=home.env, cwd=str(home.folder), start_new_session=True)
    before = {"NO_PROXY": home.env["NO_PROXY"]}
    assert shown(ended.stdout.decode()) == [dict(before, **web), before], ended.stderr.decode()


@every(*HINTED)
def test_the_hint_works_with_a_store_named_on_the_command_line(home, web, shell):
    plain = home.folder.parent / "a store"
    plain.symlink_to(home.store)
    words = 'docker-machine -s "%s" env web' % plain
    ended = home.variables(shell, [hint(home, shell, words), "show"], NO_PROXY=None)
    assert ended == [dict(web, DOCKER_CERT_PATH="%s/machines/web" % plain)]


@every(*HINTED)
def test_a_hint_never_runs_what_a_word_of_the_command_line_holds(home, web, shell):
    quotes = "" if shell in ("tcsh", "xonsh") else "`touch ran`'"  # which these two do not quote within their $()
    odd = home.folder / ("$(touch ran);touch ran;%sx" % quotes)
    odd.symlink_to(home.store)
    home.program("asked", 'os.execvp("docker-machine", ["docker-machine", "-s", %r, "env"] + sys.argv[1:])' % str(odd))
    ended = home.variables(shell, [hint(home, shell, "asked web"), "show"], NO_PROXY=None)
    assert not (home.folder / "ran").exists()
    assert ended == [dict(web, DOCKER_CERT_PATH="%s/machines/web" % odd)]


@pytest.mark.parametrize("shell, last", {
    "sh": "# eval $(docker-machine env web)", "fish": "# eval (docker-machine env web)",
    "powershell": "# & docker-machine env web | Invoke-Expression",
    "cmd": "REM \t@FOR /f \"tokens=*\" %i IN ('docker-machine env web') DO @%i",
    "tcsh": ": eval `docker-machine env web`",
    "emacs": ';; (with-temp-buffer (shell-command "docker-machine env web" (current-buffer)) (eval-buffer))',
    "xonsh": "# execx($(docker-machine env web))",
}.items())
def test_the_hint_of_each_shell_is_docker_machines(home, web, shell, last):
    lead, ended = home.run(["sh"], ["docker-machine env --shell %s web" % shell]).splitlines()[-2:]
    typed = last.replace("env web", "env --shell %s web" % shell)
    if shell == "tcsh":  # whose backquotes would run in the comment as well
        assert "docker-machine env --shell tcsh web" in ended and ended.startswith(":")
    else:
        assert ended == typed
    assert lead == last.split(" ")[0] + " " + RUN_THIS


# --- the formats, as text

@pytest.fixture
def plain(dm, tmp_path):
    """The same store under a path that needs no quoting, as the words that name it."""
    (tmp_path / "store").symlink_to(dm.store)
    return ["-s", str(tmp_path / "store")]


@pytest.mark.parametrize("shell", SETTING)
def test_each_shell_gets_one_line_a_variable_in_docker_machines_order(call, web, plain, shell):
    values = dict(web, DOCKER_CERT_PATH=plain[1] + "/machines/web")
    lines = [call(*plain, "env", "--shell", shell, "web").out.splitlines()[:-2],
             call("env", "-u", "--shell", shell).out.splitlines()[:-2]]
    if shell == "xonsh":  # which needs to be told some more in front
        lines = [[re.sub(r"^.*?((del )?\$DOCKER)", r"\1", line) for line in part] for part in lines]
    assert lines == [[SETTING[shell] % (name, values[name]) for name in NAMES],
                     [UNSETTING[shell] % name for name in NAMES]]


@pytest.mark.parametrize("shell, names", {
    "sh": "bash zsh dash ksh ash", "tcsh": "csh", "powershell": "pwsh", "nushell": "nu",
}.items())
def test_shells_of_several_names_get_the_same_lines(call, shell, names):
    lines = call("env", "-u", "--shell", shell).out.splitlines()[:4]
    for name in names.split():
        assert call("env", "-u", "--shell", name).out.splitlines()[:4] == lines, name


def test_a_shell_that_is_not_known_is_refused_with_those_that_are(call):
    ended = call("env", "-u", "--shell", "nosuch")
    assert (ended.code, ended.out) == (2, "") and ended.err.startswith('"nosuch" is not a shell that is known here.\n')
    assert " fish, " in ended.err


@pytest.mark.parametrize("shell, escaped", {
    "powershell": ODD.replace("`", "``").replace('"', '`"').replace("$", "`$"),
    "emacs": ODD.replace("\\", "\\\\").replace('"', '\\"'),
}.items())
def test_quotes_and_signs_are_escaped_as_the_shell_wants(call, web, tmp_path, shell, escaped):
    line = call("env", "--shell", shell, "web").out.splitlines()[2]
    assert line == SETTING[shell] % (NAMES[2], "%s/%s/machines/web" % (tmp_path, escaped))


def test_powershell_takes_no_typographic_quote_for_the_end_of_a_value(call, web, tmp_path):
    (tmp_path / "“x”„y").symlink_to(tmp_path / ODD)
    line = call("-s", str(tmp_path / "“x”„y"), "env", "--shell", "powershell", "web").out.splitlines()[2]
    assert re.findall("(.)[“”„]", line) == ["`"] * 3


def test_cmd_gets_values_as_they_are_since_FOR_does_not_parse_them_again(call, web, tmp_path):
    (tmp_path / "a & %x% ^b").symlink_to(tmp_path / ODD)
    line = call("-s", str(tmp_path / "a & %x% ^b"), "env", "--shell", "cmd", "web").out.splitlines()[2]
    assert line == "SET DOCKER_CERT_PATH=%s/a & %%x%% ^b/machines/web" % tmp_path


def nuon(text):
    """The value of a text in Nushell's object notation: records, lists and strings, with comments."""
    tokens = re.findall(r'#[^\n]*|"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,\s"#]+', text)
    tokens = [token for token in tokens if token[0] not in "#,"]

    def take():
        token = tokens.pop(0)
        if token == "{":
            record = {}
            while tokens[0] != "}":
                key = take()
                assert tokens.pop(0) == ":"
                record[key] = take()
            tokens.pop(0)
            return record
        if token == "[":
            found = []
            while tokens[0] != "]":
                found.append(take())
            tokens.pop(0)
            return found
        if token == "null":
            return None
        return json.loads(token) if token[0] == '"' else token

    value = take()
    assert tokens == []
    return value


@pytest.mark.parametrize("name", ["nu", "nushell"])
def test_nushell_gets_a_record_to_load_and_a_list_to_hide(call, web, name):
    assert nuon(call("env", "--shell", name, "web").out) == web
    assert nuon(call("env", "--shell", name, "-u").out) == list(NAMES)


def test_nushells_hint_loads_the_record_and_hides_the_list(home, web):
    for words, ended in (("env --shell nu web", "%s | from nuon | load-env"),
                         ("env --shell nu -u", "hide-env -i ...(%s | from nuon)")):
        answer = home.run(["sh"], ["docker-machine " + words])
        assert ended % ("docker-machine " + words) in answer


# --- --format

def test_format_json_is_an_object_of_the_variables(call, web):
    for option in ("--format", "-f"):
        ended = call("env", option, "json", "web")
        assert (ended.code, ended.err, json.loads(ended.out)) == (0, "", web)
        assert json.loads(call("env", "-u", option, "json").out) == dict.fromkeys(NAMES)


def test_format_json_is_one_compact_line_in_any_shell(call, web, plain):
    for shell in ("", "/bin/bash", "/usr/bin/fish"):
        ended = call(*plain, "env", "--format", "json", "web", SHELL=shell)
        values = json.loads(ended.out, object_pairs_hook=collections.OrderedDict)
        assert values == dict(web, DOCKER_CERT_PATH=plain[1] + "/machines/web")
        assert ended.out == json.dumps(values, separators=(",", ":")) + "\n"


def test_format_json_holds_the_list_that_needs_no_proxy(call, web):
    ended = call("env", "--no-proxy", "--format", "json", "web", NO_PROXY="a")
    assert json.loads(ended.out) == dict(web, NO_PROXY="a," + web["DOCKER_HOST"][6:])
    assert json.loads(call("env", "-u", "--no-proxy", "--format", "json").out) == dict.fromkeys(NAMES + ("NO_PROXY",))


def test_a_format_is_a_template_over_the_variables(call, web):
    ended = call("env", "--format", "{{.DOCKER_HOST}} {{json .DOCKER_MACHINE_NAME}}", "web")
    assert ended == (0, '%s "web"\n' % web["DOCKER_HOST"], "")
