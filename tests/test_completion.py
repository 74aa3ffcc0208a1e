"""Completion scripts, driven in the real shells, and the pages that are made from the same tables."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

import docker_machine as core

pytestmark = pytest.mark.once

SCRIPTED = "bash", "zsh", "fish", "powershell"
DOCS = ROOT / "docs"
ODD = ["$(touch ran)", "`touch ran`", "x;touch ran", "a b", "it's", 'say"so', "-rf", "*", "ä", "[", "\\", "#", "%s",
       "!!"]


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=program + " is not installed")


def run(argv, text="", **options):
    ended = subprocess.run([str(word) for word in argv], input=text.encode(), stdout=subprocess.PIPE, timeout=60,
                           stderr=subprocess.PIPE, **options)
    assert (ended.returncode, ended.stderr.decode()) == (0, ""), argv
    return ended.stdout.decode()


class Shells:
    """Shells in a user's home that have docker-machine on the PATH and its completion loaded."""

    def __init__(self, dm):
        self.folder, self.dm = dm.home, dm
        bin_folder = dm.home / "bin"
        bin_folder.mkdir()
        program = bin_folder / "docker-machine"
        program.write_text("#!%s\nimport docker_machine\ndocker_machine.end(docker_machine.main())\n" % sys.executable)
        program.chmod(0o755)
        self.env = dict(dm.env, PATH="%s:%s" % (bin_folder, os.environ["PATH"]), TERM="dumb")

    def script(self, shell):
        path = self.folder / ("completion." + shell)
        if not path.exists():
            ended = self.dm("completion", shell)
            assert (ended.code, ended.err) == (0, "")
            path.write_text(ended.out, encoding="utf-8")
        return path

    def run(self, argv, text=""):
        return run(argv, text, env=self.env, cwd=str(self.folder))

    def bash(self, *words):
        """What bash offers for the last of these words."""
        (self.folder / "words").write_text("".join(word + "\0" for word in words))
        text = r"""
            source %s
            registered=$(complete -p docker-machine) || exit 9
            [[ $registered =~ \ -F\ ([^ ]+) ]] || exit 8
            COMP_WORDS=()
            while IFS= read -r -d '' word; do COMP_WORDS+=("$word"); done < words
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE} COMP_TYPE=9
            COMP_KEY=9 COMPREPLY=()
            "${BASH_REMATCH[1]}" docker-machine "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || true
            ((${#COMPREPLY[@]})) && printf '%%s\0' "${COMPREPLY[@]}"
            exit 0
        """ % self.script("bash")
        return [word.rstrip(" ") for word in self.run(["bash", "--norc", "--noprofile", "-s"], text).split("\0")[:-1]]

    def fish(self, *words):
        line = " ".join(words).replace("\\", "\\\\").replace("'", "\\'")
        text = self.run(["fish", "-c", "source %s; complete -C '%s'" % (self.script("fish"), line)])
        return [line.partition("\t")[0] for line in text.splitlines()]

    def zsh(self, *words):
        """What zsh adds for these words when Tab is pressed at their end, in an interactive shell on a terminal."""
        (self.folder / "setup").write_text(r"""
            PS1= PS2= RPS1=
            unsetopt beep
            autoload -Uz compinit && compinit -u -d %(folder)s/dump
            source %(script)s
            compadd() {
                local -a noted
                if [[ " ${@%%%%-*} $* " != *" -"[OAD]" "* ]]; then
                    builtin compadd -O noted "$@"
                    (( $#noted )) && print -rNC1 -- "${noted[@]}" >> %(folder)s/noted
                fi
                builtin compadd "$@"
            }
            finish() { : > %(folder)s/finished; }
            zle -N finish
            bindkey '^X^F' finish '^I' complete-word
            cd %(folder)s
            : > %(folder)s/ready
        """ % {"folder": self.folder, "script": self.script("zsh")})
        for name in ("noted", "ready", "finished"):
            if (self.folder / name).exists():
                (self.folder / name).unlink()
        (self.folder / "line").write_text(" ".join(words))
        self.run(["zsh", "-f"], r"""
            zmodload zsh/zpty zsh/zselect
            zpty -b inner zsh -f -i
            wait_for() {
                local -i tries=0
                until [[ -e $1 ]]; do
                    while zpty -r -t inner; do done > /dev/null
                    zselect -t 2
                    (( ++tries < 1000 )) || { print -u2 "no $1"; exit 1; }
                done
            }
            zpty -w inner 'source ./setup'
            wait_for ready
            zpty -w -n inner "$(<line)"$'\t\C-X\C-F'
            wait_for finished
            zpty -d inner
        """)
        noted = self.folder / "noted"
        return [word.rstrip(" ") for word in noted.read_text().split("\0")[:-1]] if noted.exists() else []


@pytest.fixture
def shells(dm):
    return Shells(dm)


# --- the scripts

@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in ("bash", "zsh", "fish")])
def test_the_shell_finds_no_fault_with_its_script(shells, shell):
    assert shells.run([shell, "-n", shells.script(shell)]) == ""


@pytest.mark.parametrize("shell", SCRIPTED)
def test_a_script_is_plain_text_that_any_machine_can_keep(call, shell):
    text = call("completion", shell).out
    assert "docker-machine" in text and text.endswith("\n")
    assert not re.search(r"[^\n\t -~]", text) and str(ROOT) not in text


def test_powershells_script_completes_the_native_command(call):
    text = call("completion", "powershell").out
    assert re.search(r"Register-ArgumentCompleter\b(?=.*-Native)(?=.*-CommandName\b.*docker-machine)", text)
    bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"`]|`.)*\"|#[^\n]*", "", text)
    assert [bare.count(opening) for opening in "([{"] == [bare.count(closing) for closing in ")]}"]


def test_a_script_needs_no_store_and_makes_none(dm, call):
    assert call("completion", "bash").code == 0
    assert not dm.store.exists()


@pytest.mark.parametrize("words", [["tcsh"], ["bash2"], ["$(id)"], []])
def test_a_shell_without_a_script_is_a_usage_error(call, words):
    ended = call("completion", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: ") and len(ended.err.splitlines()) <= 3
    assert all(shell in ended.err for shell in SCRIPTED)


# --- what is offered

CASES = [  # typed words, some that must be offered, some that must not
    (["st"], "start status stop", "ls ssh create"),
    ([""], "active config create env inspect ip kill ls mount provision regenerate-certs restart rm scp ssh start "
           "status stop upgrade url version help completion", "none web"),
    (["ls", "--f"], "--filter --format", "--quiet --force"),
    (["rm", "-"], "--force", "--filter"),
    (["create", "-d", ""], "none generic", "web start"),
    (["create", "--driver", "ge"], "generic", "none"),
    (["create", "-d", "generic", "--generic-"], "--generic-ip-address --generic-ssh-key", "--url --driver"),
    (["create", "-d", "none", "--"], "--url --engine-label", "--generic-ip-address"),
    (["create", "--driver", "none", "--u"], "--url", "--generic-ip-address"),
    (["create", "--engine-l"], "--engine-label", "--url"),
    (["status", ""], "web db-1", "start"),
    (["status", "d"], "db-1", "web"),
    (["rm", "-f", "web", ""], "db-1", "start"),
    (["ssh", "w"], "web", "db-1"),
    (["env", "--shell", ""], "bash zsh fish tcsh powershell xonsh", "web"),
    (["completion", ""], "bash zsh fish powershell", "tcsh web"),
    (["--st"], "--storage-path", "--shell"),
    (["--debug", "sta"], "start status", "stop"),
    (["help", "st"], "start status stop", "ls web"),
    (["ls", "--filter", ""], "driver label name state swarm", "Running"),
]


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in ("bash", "fish", "zsh")])
def test_what_is_typed_is_completed(shells, add, shell):
    add("web")
    add("db-1")
    for typed, wanted, other in CASES:
        offered = {word.rstrip("=:") for word in getattr(shells, shell)("docker-machine", *typed)}
        assert set(wanted.split()) <= offered, typed
        assert not offered & set(other.split()), typed


PARTS = [  # typed words, the last of which holds a sign that bash takes for the end of a word; what is offered
    (["create", "--driver=ge"], "--driver=", "generic"), (["ls", "--filter", "state=Ru"], "state=", "Running"),
    (["ls", "--filter=dri"], "--filter=", "driver="), (["inspect", "--format=js"], "--format=", "json"),
    (["scp", "web:/etc/host"], "web:", "/etc/hosts"), (["scp", "x", "me@web:/et"], "me@web:", "/etc/"),
]


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in ("bash", "fish", "zsh")])
def test_values_and_the_paths_on_machines_are_completed(shells, store, bin_folder, shell):
    """The machine's ssh runs what it is told on this computer."""
    machine = store.new("web", core.GenericDriver)
    machine.driver["IPAddress"] = "192.0.2.7"
    store.add(machine)
    ssh = shells.folder / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    for typed, lead, rest in PARTS:
        offered = getattr(shells, shell)("docker-machine", *typed)
        assert (rest if shell == "bash" else lead + rest) in offered, typed


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in ("bash", "fish", "zsh")])
def test_a_name_in_the_store_runs_nothing(shells, add, shell):
    folder = add("web").folder
    for name in ODD:
        shutil.copytree(folder, os.path.join(os.path.dirname(folder), name))
    for typed in ([""], ["w"], ["x"], ["$"], ["`"], ["-"]):
        offered = getattr(shells, shell)("docker-machine", "status", *typed)
        assert typed != ["w"] or offered == ["web"]
        if shell == "bash":  # which puts an offer on the line as it is
            assert not [word for word in offered if set(word) & set("$`*;[#! \"'\\")]
    assert not (shells.folder / "ran").exists()


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in ("bash", "fish", "zsh")])
def test_an_unreadable_store_offers_nothing_and_says_nothing(shells, shell):
    shells.env["MACHINE_STORAGE_PATH"] = str(shells.folder / "bin" / "docker-machine" / "store")
    offered = getattr(shells, shell)("docker-machine", "status", "zz")
    assert offered == []


def test_nothing_is_offered_after_a_command_that_does_not_exist(call):
    assert call("completion", "bash", "lss", "-") == (0, "", "")


@needs("bash")
def test_bash_offers_machines_of_the_store_that_is_named(shells, add, tmp_path):
    add("web")
    elsewhere = tmp_path / "elsewhere"
    shells.dm.store.rename(elsewhere)
    assert shells.bash("docker-machine", "-s", str(elsewhere), "status", "") == ["web"]


@needs("bash")
def test_bash_completes_the_path_of_a_program_too(shells, add):
    add("web")
    assert shells.bash("./bin/docker-machine", "stat") == ["status"]


# --- reference and man page

def generate(folder, *words):
    return subprocess.run([sys.executable, str(folder / "generate.py")] + list(words), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)


def test_the_generated_pages_are_current():
    ended = generate(DOCS, "--check")
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("page, changed", [("reference.md", "status"), ("docker-machine.1", "status"),
                                           ("drivers/generic.md", "GENERIC_SSH_PORT")])
def test_a_stale_page_is_noticed_and_made_anew(tmp_path, page, changed):
    shutil.copytree(str(DOCS), str(tmp_path / "docs"))
    shutil.copy(core.__file__, str(tmp_path / "docker_machine.py"))
    shutil.copytree(os.path.join(os.path.dirname(str(DOCS)), "extras"), str(tmp_path / "extras"))
    path = tmp_path / "docs" / page
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(changed, "state"), encoding="utf-8")
    assert generate(tmp_path / "docs", "--check").returncode == 1
    assert path.read_text(encoding="utf-8") != text  # --check only looks
    assert generate(tmp_path / "docs").returncode == 0
    assert path.read_text(encoding="utf-8") == text
    path.unlink()
    assert generate(tmp_path / "docs", "--check").returncode == 1


@pytest.mark.parametrize("page", ["reference.md", "docker-machine.1"])
def test_the_pages_name_every_command_flag_and_variable(page):
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\-", "-").replace("\\_", "_")
    flags = list(core.GLOBAL_FLAGS + core.CREATE_FLAGS)
    for table in list(core.DRIVERS.values()) + [command.loaded() for command in core.COMMANDS.values()]:
        flags += table.flags
    for name in list(core.COMMANDS) + ["-" + flag.name for flag in flags] + [flag.env for flag in flags]:
        assert name in text, name


def test_the_pages_do_not_hold_the_paths_of_whoever_made_them():
    for page in ("reference.md", "docker-machine.1"):
        text = (DOCS / page).read_text(encoding="utf-8")
        assert os.path.expanduser("~") + "/" not in text and str(ROOT) not in text


def test_the_man_page_has_no_error():
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    ended = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", "-P-c", str(DOCS / "docker-machine.1")],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
