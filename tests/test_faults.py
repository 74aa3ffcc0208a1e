"""What hostile hosts and engines, kills, odd computers and other programs do to us, and what must come of it."""

import os
import re

import pytest
from conftest import HANG, engine, listening, pair

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
    ([b'HTTP/1.0 200 OK\r\n\r\n{"Version": "1\\u001b[2J\\u009b31m\\n2"}'], "1 [2J 31m 2"),
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
