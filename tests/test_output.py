"""What is printed and where, how values look in tables, templates and shells, and what the doors do.

Certificates and the store have files of their own.
"""

import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import HANG, listening

import docker_machine as core
from docker_machine import MachineError, PreCreateError, UsageError

# --- errors

def test_each_kind_of_error_has_its_exit_code():
    assert [kind("x").code for kind in (MachineError, UsageError, PreCreateError, core.Unreachable)] == [1, 2, 3, 1]


def test_a_stage_names_the_step_and_keeps_hint_and_code():
    with pytest.raises(PreCreateError) as caught, core.stage("Error creating machine: "), core.stage("Copying: "):
        raise PreCreateError("it is full", "Make room.")
    assert str(caught.value) == "Error creating machine: Copying: it is full"
    assert (caught.value.hint, caught.value.code) == ("Make room.", 3)


def test_a_stage_leaves_other_exceptions_alone():
    with pytest.raises(KeyError, match="^'x'$"), core.stage("Error creating machine: "):
        raise KeyError("x")


# --- streams

@pytest.mark.parametrize("name, out, err", [
    ("answer", "a b\n", ""), ("say", "a b\n", ""), ("warn", "", "Warning: a b\n"), ("error", "", "a b\n"),
    ("debug", "", ""),
])
def test_each_kind_of_output_has_its_stream(capsys, name, out, err):
    getattr(core.Output(), name)("a b")
    assert capsys.readouterr() == (out, err)


def test_progress_of_a_query_goes_to_stderr_so_that_stdout_is_the_answer(capsys):
    output = core.Output()
    output.progress_to_stderr = True
    output.say("step")
    output.answer("result")
    assert capsys.readouterr() == ("result\n", "step\n")


def test_debug_lines_go_to_stderr_and_secrets_are_masked_in_all_but_answers(capsys):
    output = core.Output()
    output.debugging = True
    output.secrets.add("hunter2hunter2")
    for write in (output.say, output.warn, output.error, output.debug):
        write("the word is hunter2hunter2.")
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err
    assert (said.out + said.err).count("the word is ********.") == 4


def test_lines_of_many_threads_stay_whole(tmp_path):
    script = ("import docker_machine as d\n"
              "d.each(lambda n: [d.out.say('%d' % n * 200) for _ in range(50)], range(8))")
    text = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True,
                          env={"PYTHONPATH": os.path.dirname(core.__file__)}).stdout.decode()
    assert sorted(text.splitlines()) == sorted("%d" % n * 200 for n in range(8) for _ in range(50))


def test_a_later_command_of_one_process_does_not_inherit_where_progress_goes(capsys, monkeypatch, tmp_path):
    """`main` is public: GitLab-like callers may import it and run several command lines."""
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(tmp_path / "store"))
    assert core.main(["docker-machine", "config", "web"]) == 1
    capsys.readouterr()
    assert core.main(["docker-machine", "create", "-d", "none", "--url", "tcp://h:1", "web"]) == 0
    assert capsys.readouterr().out.startswith("Running pre-create checks...\n")


# --- tables, templates, JSON

def test_a_table_pads_all_cells_but_the_last():
    assert core.table([["NAME", "A", "ERRORS"], ["a-long-name", "", ""], ["b", "*", "x"]]) == [
        "NAME          A    ERRORS", "a-long-name        ", "b             *    x"]


def test_names_sort_as_people_count():
    names = ["n10", "N2", "n1", "n", "10", "9", "a-1", "a.1"]
    assert sorted(names, key=core.natural_key) == ["9", "10", "a-1", "a.1", "n", "n1", "N2", "n10"]


@pytest.mark.parametrize("value, text", [
    ("<a & b>", r'"\u003ca \u0026 b\u003e"'), ("\u2028\u2029", r'"\u2028\u2029"'), ("Köln 🐳", '"Köln 🐳"'),
    ('"\\\n\t', r'"\"\\\n\t"'), ("\x01", r'"\u0001"'), (2 ** 53 + 1, "9007199254740993"), (None, "null"),
    ([], "[]"), ({}, "{}"), ([1], "[\n    1\n]"), ({"b": 1, "a": True}, '{\n    "b": 1,\n    "a": true\n}'),
])
def test_json_is_written_as_go_writes_it(value, text):
    assert core.go_json(value) == text


# --- shells

HARD = """a  b "c" 'd' $HOME `id` $(id) \\ \\n ! * é ~ ; # % & | < >"""


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "ksh", "busybox"])
def test_quote_makes_one_literal_word_for_every_posix_shell(shell):
    if not any(os.access(os.path.join(folder, shell), os.X_OK) for folder in os.environ["PATH"].split(os.pathsep)):
        pytest.skip(shell + " is not installed")
    words = [HARD, "", "-n", "a\nb", "'", "plain-1.2:3/4"]
    argv = [shell] + (["sh"] if shell == "busybox" else []) + [
        "-c", "printf '%s\\0' " + " ".join(core.quote(word) for word in words)]
    assert subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("name, line, unset, comment", [
    ("bash", 'export K="a \\"b\\" \\$c \\`d\\` \\\\"', "unset K", "#"),
    ("/usr/local/bin/bash", 'export K="a \\"b\\" \\$c \\`d\\` \\\\"', "unset K", "#"),
    ("fish", 'set -gx K "a \\"b\\" \\$c `d` \\\\";', "set -e K;", "#"),
    ("powershell", '$Env:K = "a `"b`" `$c ``d`` \\"', "Remove-Item Env:\\\\K", "#"),
    ("pwsh.exe", '$Env:K = "a `"b`" `$c ``d`` \\"', "Remove-Item Env:\\\\K", "#"),
    ("cmd", 'SET K=a "b" $c `d` \\', "SET K=", "REM"),
    ("emacs", '(setenv "K" "a \\"b\\" $c `d` \\\\")', '(setenv "K" nil)', ";;"),
])
def test_each_shell_has_its_own_words_for_a_variable(name, line, unset, comment):
    shell = core.find_shell(name, {})
    assert shell.line("K", 'a "b" $c `d` \\') == line
    assert shell.line("K", None) == unset
    assert [text.partition(" ")[0] for text in shell.hint("dm env web")] == [comment, comment]


# --- doors

def test_run_gives_code_output_and_lines_as_they_come():
    lines = []  # type: list
    script = "echo a; printf 'b\\r\\n'; cat; echo oops >&2; exit 7"
    result = core.run(["sh", "-c", script], "from stdin", 20, lines.append)
    assert (result.code, result.ok) == (7, False)
    assert (result.stdout, result.stderr, lines) == ("a\nb\nfrom stdin", "oops\n", ["a", "b", "from stdin"])
    assert result.last_words() == "oops"


def test_run_feeds_and_reads_more_than_a_pipe_holds():
    text = "0123456789abcdef\n" * 20000
    assert core.run(["cat"], text, 20).stdout == text
    assert core.run(["true"], text, 20).ok  # and does not mind a program that does not listen


def test_run_names_a_program_that_is_missing_and_its_package(tmp_path, monkeypatch):
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match='^The program "ssh" was not found on this computer.$') as caught:
        core.run(["ssh"])
    assert caught.value.hint == "Install it: sudo apt-get install openssh-client"


def test_run_ends_when_its_time_is_over_whatever_the_program_left_behind():
    start = time.monotonic()
    with pytest.raises(MachineError, match="^sh did not end within "):
        core.run(["sh", "-c", "sleep 30 & wait"], seconds=0.1)
    assert time.monotonic() - start < 15


def test_each_gives_results_and_errors_in_the_order_of_the_items():
    def work(number):
        time.sleep(0.02 * (3 - number))
        if number == 1:
            raise MachineError("no")
        return number * 10
    results = core.each(work, range(3))
    assert results[0] == 0 and results[2] == 20 and str(results[1]) == "no"
    assert core.each(work, []) == []


def test_each_works_in_parallel_but_bounded():
    busy, most, lock, together = [0], [0], threading.Lock(), threading.Barrier(4)

    def work(_):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        together.wait(HANG)  # until four are in here
        with lock:
            busy[0] -= 1

    assert core.each(work, range(20), workers=4) == [None] * 20
    assert most == [4]


def test_wait_for_gives_the_first_true_answer_and_else_its_sentence():
    answers = iter([None, "", 0, "ready"])
    assert core.wait_for(lambda: next(answers), 5, "too late") == "ready"
    start = time.monotonic()
    with pytest.raises(MachineError, match="^too late$"):
        core.wait_for(lambda: None, 0.1, "too late")
    assert time.monotonic() - start < HANG


def test_dial_says_why_there_is_no_connection(closed_port):
    with pytest.raises(core.Unreachable, match="127.0.0.1 port %d: Connection refused" % closed_port):
        core.dial("127.0.0.1", closed_port, 5)
    for bad in ("no such host", "a..b", ""):
        with pytest.raises(core.Unreachable):
            core.dial(bad, 1, 5)
    with pytest.raises(core.Unreachable):
        core.dial("127.0.0.1", 99999, 5)
    with listening(lambda connection: None) as port:
        core.dial("127.0.0.1", port, 5).close()


@pytest.mark.parametrize("url, expected", [
    ("tcp://192.0.2.1:2376", ("192.0.2.1", 2376)), ("tcp://h", ("h", 2376)), ("h:1", ("h", 1)),
    ("tcp://[2001:db8::1]:99", ("2001:db8::1", 99)), ("tcp://[::1]", ("::1", 2376)), ("https://h:8/x", ("h", 8)),
])
def test_a_url_is_split_and_joined(url, expected):
    assert core.split_url(url) == expected
    assert core.split_url(core.join_url(*expected)) == expected
