"""`install`: the program on the PATH, started from compiled code."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

import docker_machine as core

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it starts the program by its first line")


@pytest.fixture
def place(dm):
    """The folder of the program, which is on the PATH of place.run()."""
    class Place:
        folder = dm.home / "bin"
        program = folder / "docker-machine"
        library = dm.home / "lib" / "docker-machine-portable"
        env = dict(dm.env, PYTHONPATH="", PATH=os.pathsep.join([str(folder), os.path.dirname(sys.executable),
                                                                os.environ["PATH"]]))

        def run(self, *words):
            return subprocess.run(["docker-machine", *words], env=self.env, cwd=str(dm.tmp), stdout=subprocess.PIPE,
                                  check=True).stdout.decode()

    return Place()


def install(dm, place, *words, **env):
    return dm("install", "--to", str(place.folder), *words, **env)


def test_it_starts_from_compiled_code_with_the_drivers_that_lie_beside_it(dm, place):
    ended = install(dm, place)
    assert ended.code == 0 and ended.err == ""
    assert place.run("version").split()[2] == core.__version__ + ","
    assert [path.name.split(".")[0] for path in place.library.glob("__pycache__/*")] == ["docker_machine"]
    assert "--qemu-memory" in place.run("create", "--driver", "qemu", "--help")
    assert {path.name for path in place.library.glob("extras/*.py")} == {
        path.name for path in (ROOT / "extras").glob("*.py")}


def test_it_says_what_is_left_to_do(dm, place):
    ended = install(dm, place, PATH="/usr/bin:/bin", SHELL="/usr/bin/fish")
    assert 'export PATH=%s:"$PATH"' % place.folder in ended.out
    assert "docker-machine completion " in ended.out
    ended = install(dm, place, PATH=place.env["PATH"])
    assert "PATH=" not in ended.out and ended.err == ""


def test_where_another_program_is_found_first_it_says_how_to_be_before_it(dm, place, bin_folder):
    other = bin_folder(**{"docker-machine": "exit 0"})
    ended = install(dm, place, PATH="%s:%s" % (other, place.env["PATH"]))
    assert ended.code == 0 and 'export PATH=%s:"$PATH"' % place.folder in ended.out


def test_a_new_version_takes_the_place_of_the_old_one(dm, place):
    install(dm, place)
    (place.library / "extras" / "gone.py").write_text("")
    (place.library / "docker_machine.py").write_text("raise SystemExit('old')")
    assert install(dm, place).code == 0
    assert place.run("version").startswith("docker-machine version")
    assert not (place.library / "extras" / "gone.py").exists()
    # ...also from the one that is installed
    place.run("install", "--to", str(place.folder))
    assert place.run("version").startswith("docker-machine version")


def test_a_program_of_somebody_else_stays(dm, place):
    place.folder.mkdir()
    place.program.write_bytes(b"\x7fELF")
    for words in ((), ("--uninstall",)):
        ended = install(dm, place, *words)
        assert ended.code == 2 and "not of this program" in ended.err and "--to DIR" in ended.err
    assert place.program.read_bytes() == b"\x7fELF" and not place.library.exists()


@pytest.mark.parametrize("words", [(), ("--uninstall",)])
def test_a_folder_of_somebody_else_stays(dm, place, words):
    place.library.mkdir(parents=True)
    (place.library / "mine").write_text("")
    ended = install(dm, place, *words)
    assert ended.code == 2 and str(place.library) in ended.err and (place.library / "mine").exists()


def test_uninstall_leaves_nothing_but_the_machines(dm, place, add):
    add("web")
    install(dm, place)
    ended = install(dm, place, "--uninstall")
    assert ended.code == 0 and "machines stay" in ended.out
    assert not place.program.exists() and not place.library.exists()
    assert dm("ls", "-q").out == "web\n"
    ended = install(dm, place, "--uninstall")
    assert ended.code == 1 and str(place.program) in ended.err


def test_a_folder_that_may_not_be_written_is_named_with_what_helps(dm):
    ended = dm("install", "--to", "/proc/none")
    assert ended.code == 1 and "/proc/" in ended.err and "--to DIR" in ended.err
