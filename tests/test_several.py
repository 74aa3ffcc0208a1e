"""Several machines in one `create`."""

import threading
import time

import pytest

import docker_machine as core

DRIVER = '''
import docker_machine as dm


class ToyDriver(dm.Driver):
    """Machines that are only names; what is to fail is said by flags."""

    name = "toy"
    provisions = False
    flags = (dm.Flag("toy-refuse", [], "names that are refused", field="Refuse"),
             dm.Flag("toy-break", [], "names whose creation fails", field="Break"))

    def pre_create_check(self):
        dm.out.say("toy: checked")
        if self["MachineName"] in self["Refuse"]:
            raise dm.MachineError("the name is taken.", "Choose another one.")

    def create(self):
        if self["MachineName"] in self["Break"]:
            raise dm.MachineError("there was no room.", "Wait.")
        self["IPAddress"] = "192.0.2.7"

    def remove(self):
        pass

    def get_state(self):
        return dm.RUNNING
'''


@pytest.fixture
def toy(dm, drivers, tmp_path):
    """Words for a `create` of the driver above."""
    folder = tmp_path / "more drivers"
    folder.mkdir()
    (folder / "toy.py").write_text(DRIVER)
    dm.env["MACHINE_DRIVER_PATH"] = str(folder)
    return ["create", "-d", "toy"]


def made(store):
    """The names of machines that are finished, and of those that are not."""
    names = store.names()
    return ([name for name in names if not store.unfinished(name)], [name for name in names if store.unfinished(name)])


@pytest.mark.parametrize("word, names", [
    ("web", "web"), ("web-{1..5}", "web-1 web-2 web-3 web-4 web-5"), ("{01..03}", "01 02 03"),
    ("w{3..1}x", "w3x w2x w1x"),
    ("{a,b}-{1..2}", "a-1 a-2 b-1 b-2"), ("{9..11}", "9 10 11"), ("n{007..009}", "n007 n008 n009"), ("{a}", "{a}"),
    ("{1..}", "{1..}"), ("x{,y}", "x xy"), ("{1..1}", "1")])
def test_patterns_are_what_bash_makes_of_them(word, names):
    assert core.braced_names(word) == names.split(" ")


@pytest.mark.once
@pytest.mark.parametrize("word", ["web-{1..5}", "{01..12}", "w{3..1}x", "{a,b}-{1..2}", "x{,y}", "n{7..10}z"])
def test_bash_itself_agrees(word):
    core.need("bash")
    assert core.braced_names(word) == core.run(["bash", "-c", "printf '%s\\n' " + word]).stdout.split("\n")[:-1]


def test_several_by_words_and_patterns(toy, call, store):
    ended = call(*(toy + ["a", "web-{1..3}", "zed"]))
    assert (ended.code, ended.err) == (0, "")
    assert made(store) == (["a", "web-1", "web-2", "web-3", "zed"], [])
    assert ended.out.splitlines()[0] == "Running pre-create checks..."
    for name in made(store)[0]:
        assert "(%s) Creating machine..." % name in ended.out.splitlines()
    assert ended.out.count("toy: checked") == 5, "the first is checked once"


def test_of_five_the_third_fails(toy, call, store):
    ended = call(*(toy + ["--toy-break=m3", "m{1..5}"]))
    assert ended.code == 1
    assert made(store) == (["m1", "m2", "m4", "m5"], ["m3"])
    assert ended.err.count("there was no room.") == 1 and ended.err.startswith("m3: ")
    assert "docker-machine provision m3" in ended.err
    assert call("rm", "-y", "m3").code == 0


def test_all_refused_in_the_check_is_3_and_one_refused_is_1(toy, call, store):
    assert call(*(toy + ["--toy-refuse=m1", "m{1..3}"])).code == 3
    assert made(store) == ([], []), "what they share is checked with the first"
    assert call(*(toy + ["--toy-refuse=m2", "m{1..3}"])).code == 1
    assert made(store) == (["m1", "m3"], [])


@pytest.mark.parametrize("words, code, said", [
    ("a b a", 2, 'The name "a" is there twice.'), ("a{1..2} a2", 2, 'The name "a2" is there twice.'),
    ("a _b c", 1, "Invalid hostname"), ("web-1..5", 1, "quote them: 'web-{1..5}'"), ("n{1..200}", 2, "more than 100"),
    ("a there b", 1, 'Docker machine "there" already exists'), ("a b --parallel 0", 2, "--parallel 0 is too small"),
    ("a b --engine-label x", 2, '--engine-label "x" cannot be used'), ("", 2, "No machine name specified")])
def test_all_words_are_checked_before_anything_is_made(toy, call, store, add, words, code, said):
    add("there")
    ended = call(*(toy + words.split()))
    assert ended.code == code and said in ended.err
    assert store.names() == ["there"] and "pre-create" not in ended.out


@pytest.mark.parametrize("driver", [
    ["none", "--url", "tcp://192.0.2.7:2376"], ["generic", "--generic-ip-address", "h"]])
def test_a_host_is_not_set_up_as_two_machines(call, store, driver):
    ended = call("create", "-d", *(driver + ["a", "b"]))
    assert ended.code == 2 and "needs a command of its own" in ended.err and store.names() == []


def test_ten_at_once_on_an_empty_store_share_one_ca(toy, dm):
    threads, codes = [], []  # type: list, list
    for number in range(2):
        words = toy + ["--parallel=10", "m%d-{1..10}" % number]
        threads.append(threading.Thread(target=lambda words=words: codes.append(dm(*words).code)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    store = core.Store(str(dm.store))
    assert len(made(store)[0]) == 20
    texts = {core.read_text(store.folder(name) + "/ca.pem") for name in store.names()}
    assert texts == {core.read_text(store.certs + "/ca.pem")}


def test_no_more_at_a_time_than_was_asked_for(toy, call, monkeypatch):
    now, most = [], []  # type: list, list
    create = core.Machine.create

    def counted(machine):
        now.append(machine.name)
        most.append(len(now))
        time.sleep(0.02)
        now.remove(machine.name)
        create(machine)

    monkeypatch.setattr(core.Machine, "create", counted)
    assert call(*(toy + ["--parallel=2", "m{1..8}"])).code == 0
    assert max(most) == 2
