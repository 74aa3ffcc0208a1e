"""What is shown while something takes long: a line that moves on a terminal, a line now and then elsewhere."""

import os
import pty
import re
import select
import socket
import subprocess
import sys
import time

import pytest
from conftest import ROOT, engine, listening, pair

import docker_machine as core

pytestmark = [pytest.mark.once, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="drives a terminal")]

FAST = "core.LINE_SECONDS = 1; "


@pytest.fixture
def silent(add):
    """A machine whose engine takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        url = "tcp://127.0.0.1:%d" % server.getsockname()[1]
        add("web", url)
        yield url


def on_terminal(dm, *words, until="", **env):
    """All that a command writes to a terminal; ^C is typed once `until` was seen."""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(dm.argv + list(words), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
                               cwd=str(ROOT), preexec_fn=_own_terminal, env={**dm.env, "TERM": "xterm", **env})
    os.close(theirs)
    said = ""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        if until and re.search(until, said):
            os.write(mine, b"\x03")
            until = ""
        try:
            if select.select([mine], [], [], 1)[0]:
                said += os.read(mine, 4096).decode()
        except OSError:
            break
    os.close(mine)
    return process.wait(30), said


def _own_terminal():
    import fcntl
    import termios
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def screen(said):
    """What stays on the screen, line by line."""
    lines = []
    for line in said.replace("\r\n", "\n").split("\n"):
        cells = []  # type: list[str]
        for part in line.split("\r"):
            cells[:len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


def test_a_query_says_on_a_terminal_whom_it_waits_for_and_leaves_nothing(dm, silent):
    code, said = on_terminal(dm, "env", "web", until="[2-9] s")
    assert code == 130
    assert re.search("\rWaiting for the engine at %s... \\d s" % silent, said)
    assert [line for line in screen(said) if line] == ["Interrupted."]
    assert screen(said)[-1] == ""  # the prompt comes on a line of its own


def test_what_comes_at_once_is_all_that_a_terminal_gets(dm, add):
    add("web")
    code, said = on_terminal(dm, "ls", "-q")
    assert (code, said) == (0, "web\r\n")


def test_a_question_is_not_written_over(dm, add):
    add("web")
    mine = "\r" + " "  # what wipes a line
    code, said = on_terminal(dm, "rm", "web", until=r"Are you sure\? \(y/n\): ")
    assert code == 130 and mine not in said.partition("Are you sure")[2].partition("Interrupted")[0]


def test_without_a_terminal_an_action_says_a_line_now_and_then(dm, bin_folder):
    tools = bin_folder(ssh="sleep 4; exit 255", **{"ssh-keygen": "exit 0", "openssl": 'exec /usr/bin/openssl "$@"'})
    dm.argv[2] = dm.argv[2].replace("core.end", FAST + "core.end")
    ended = dm("create", "-d", "generic", "--generic-ip-address", "192.0.2.1", "web",
               PATH="%s:%s" % (tools, dm.env["PATH"]))
    found = re.findall(r"^Running pre-create checks\.\.\. (\d+) s", ended.out, re.M)
    assert found and [int(one) for one in found] == sorted({int(one) for one in found})


def test_without_a_terminal_a_query_prints_its_answer_alone(dm, silent):
    dm.argv[2] = dm.argv[2].replace("core.end", FAST + "core.end")
    ended = dm("ls", "--timeout", "4")
    assert ended.err == "" and len(ended.out.splitlines()) == 2


def test_a_dumb_terminal_gets_no_line_that_moves(dm, silent):
    code, said = on_terminal(dm, "ls", "--timeout", "3", TERM="dumb")
    assert code == 0 and "\r " not in said and "Waiting" not in said


def test_a_terminal_that_goes_away_ends_nothing(dm, silent):
    mine, theirs = pty.openpty()
    process = subprocess.Popen(dm.argv + ["ls", "--timeout", "4"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=theirs, env={**dm.env, "TERM": "xterm"}, cwd=str(ROOT))
    os.close(theirs)
    os.read(mine, 4096)  # a first line moves
    os.close(mine)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "Timeout" in out.decode()


def test_a_program_that_puts_something_else_in_place_of_stderr_gets_its_answer(dm, add):
    add("web")
    dm.argv[2] = dm.argv[2].replace("core.end", "sys.stderr = type('Sink', (), {'write': print})(); core.end")
    assert dm("ls", "-q").out == "web\n"


def test_who_starts_a_job_in_the_background_has_the_terminal_for_himself(dm, silent):
    """...in a process group of its own, as a shell starts it."""
    dm.argv = [sys.executable, "-c", "import os, subprocess, sys, time\n"
               "job = subprocess.Popen(%r + sys.argv[1:], preexec_fn=os.setpgrp)\nsys.exit(job.wait())" % dm.argv]
    code, said = on_terminal(dm, "ls", "--timeout", "3")
    assert code == 0 and "Waiting" not in said and "Timeout" in said


def test_a_host_that_is_off_has_its_row_long_before_the_timeout(dm, store, silent, closed_port):
    machine = store.new("off", core.GenericDriver)
    machine.driver.config.update(IPAddress="127.0.0.1", SSHPort=closed_port, EnginePort=int(silent.rpartition(":")[2]))
    store.add(machine)
    began = time.monotonic()
    ended = dm("ls", "--timeout", "100", "--filter", "name=off")
    assert "Stopped" in ended.out and time.monotonic() - began < 40  # half of it was the engine's before


def test_an_engine_that_is_slow_is_asked_once_more(dm, add, certs, server):
    """...where its driver says that the machine runs; this one gives no answer to the first question."""
    answers = engine(server, pair(certs, "ca"))
    asked = []

    def handle(connection):
        asked.append(connection)
        if len(asked) > 1:
            answers(connection)
        else:
            connection.recv(1 << 16)
            connection.recv(1 << 16)  # to its end

    with listening(handle) as port:
        add("web", "tcp://127.0.0.1:%d" % port)
        ended = dm("ls", "--timeout", "60")
    assert len(asked) == 2 and "Running" in ended.out and "Unable" not in ended.out
