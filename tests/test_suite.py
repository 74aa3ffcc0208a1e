"""What the tests themselves rest on: tables of cases in one test, and what runs on which Python."""

import signal
import subprocess
import sys
import threading

import pytest
from conftest import between, cases, listening


class Counter:
    count = 0

    def fresh(self):
        self.count = 0


def test_a_table_goes_through_all_cases_and_tells_those_that_failed():
    seen = []

    @cases("one, other", [(1, 1), (1, 2), (2, 2), (0, 1)], ids="%s and %s".__mod__)
    def check(one, other):
        seen.append(one)
        assert one == other, "they differ"

    with pytest.raises(pytest.fail.Exception) as failure:
        check()
    assert seen == [1, 1, 2, 0]
    said = str(failure.value)
    assert said.startswith("2 of 4 cases failed:\n1 and 2\n    line ") and "\n0 and 1\n" in said
    assert "AssertionError: they differ" in said and "1 and 1" not in said


def test_fixtures_are_made_fresh_before_each_case():
    @cases("number", [1, 2, 3])
    def check(counter, number):
        counter.count += 1
        assert counter.count == 1

    check(counter=Counter())


def test_the_oldest_and_the_newest_python_run_everything(monkeypatch):
    def here(*minors):
        monkeypatch.setattr("conftest.starts", lambda program: program in ["python3.%d" % minor for minor in minors])

    here(6, 8, 13)
    assert [minor for minor in (6, 8, 13) if between(minor)] == [8]
    here(6, 11)
    assert not between(6) and not between(11) and not between(13) and between(10)
    here()
    assert not between(11)
    here(1, 99)  # none of ours
    assert not between(11)


def test_sigint_reaches_what_the_tests_start_however_they_were_started():
    """A shell has what runs in its background ignore it."""
    script = "import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert subprocess.call([sys.executable, "-c", script]) == 0


def test_no_thread_outlives_its_server():
    before = set(threading.enumerate())
    with listening(lambda connection: None):
        assert set(threading.enumerate()) - before
    assert not set(threading.enumerate()) - before
