"""Drivers: where they are found, what they import, what a broken one does to others, and what all of them promise."""

import ast
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from conftest import ROOT
from contract import CHECKS, Subject

import docker_machine as core

PROBE = '''
from docker_machine import Driver, Flag, MachineError


class ProbeDriver(Driver):
    """A driver for these tests: its flag tells where it came from."""

    name = "%s"
    provisions = False
    flags = (Flag("probe-origin", %r, "Where this came from", "PROBE_ORIGIN", field="Origin"),
             Flag("probe-fail", False, "Fail", field="Fail"))

    def pre_create_check(self):
        if self["Fail"]:
            raise MachineError(self["Origin"] + " fails as told.", "Do not tell it.")

    def create(self):
        self.log("from " + self["Origin"])

    def get_state(self):
        return "Running"

    def engine_url(self):
        return "tcp://127.0.0.1:9"
'''


def put_probe(folder, origin, name="probe"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (name + ".py")).write_text(PROBE % (name, origin))
    return folder


def put(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name + ".py")
    path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return path


def origin(program, name="probe", **env):
    """Where the driver came from that `create` would use."""
    ended = program("create", "-d", name, "--help", **env)
    assert (ended.code, ended.err) == (0, "")
    (found,) = re.findall(r'--probe-origin "(.*?)"', ended.out)
    return found


# --- which file it is

def test_built_in_drivers_come_before_files_of_their_names(dm, tmp_path):
    put_probe(tmp_path / "d", "a file", "none")
    ended = dm("create", "-d", "none", "--help", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert "--url" in ended.out and "probe" not in ended.out


def test_the_folders_of_machine_driver_path_are_searched_in_their_order(dm, tmp_path):
    one, two = put_probe(tmp_path / "one", "one"), put_probe(tmp_path / "two", "two")
    put_probe(dm.home, "the current folder")  # which an empty entry does not mean
    none = tmp_path / "missing"
    for folders, found in (((one, two), "one"), ((two, one), "two"), ((none, two), "two"), (("", two), "two")):
        assert origin(dm, MACHINE_DRIVER_PATH=os.pathsep.join(map(str, folders))) == found


def test_machine_driver_path_may_begin_with_a_tilde(dm):
    put_probe(dm.home / "drivers", "home")
    assert origin(dm, MACHINE_DRIVER_PATH="~/drivers") == "home"


def test_the_order_is_machine_driver_path_then_extras_then_the_installed_package(dm, tmp_path):
    shutil.copy(str(ROOT / "docker_machine.py"), str(tmp_path / "docker_machine.py"))
    dm.argv = [sys.executable, str(tmp_path / "docker_machine.py")]
    installed = put_probe(tmp_path / "site" / "docker_machine_extras", "installed")
    env = {"PYTHONPATH": tmp_path / "site"}
    assert origin(dm, **env) == "installed"
    put_probe(tmp_path / "extras", "extras")
    assert origin(dm, **env) == "extras"
    put_probe(tmp_path / "d", "named")
    assert origin(dm, MACHINE_DRIVER_PATH=tmp_path / "d", **env) == "named"
    shutil.rmtree(str(installed))
    assert origin(dm, **env) == "extras"


def test_several_packages_may_put_drivers_into_docker_machine_extras(dm, tmp_path):
    for name in ("one", "two"):
        put_probe(tmp_path / name / "docker_machine_extras", name, name)
    paths = os.pathsep.join([str(ROOT), str(tmp_path / "one"), str(tmp_path / "two")])
    assert [origin(dm, name, PYTHONPATH=paths) for name in ("one", "two")] == ["one", "two"]


def test_extras_are_not_on_pythons_path(dm, tmp_path):
    """google.py and azure.py would hide the packages that they need."""
    put(tmp_path / "d", "json", PROBE % ("json", "a file") + "\nimport os, sys\n"
        "assert os.path.dirname(__file__) not in sys.path\n")
    assert origin(dm, "json", MACHINE_DRIVER_PATH=tmp_path / "d") == "a file"
    ended = dm("ls", "--format", "json", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert (ended.code, ended.out, ended.err) == (0, "[]\n", "")


@pytest.mark.parametrize("name", ["../x", "d/x", "a.b", "", ".", "..", "/x", "x\\y", "x y", "__init__", "_x", "-x"])
def test_a_name_that_is_no_plain_word_loads_no_file(dm, call, drivers, tmp_path, name):
    mark = tmp_path / "ran"
    text = "open(%r, 'w').close()\n" % str(mark)
    folder = tmp_path / "d"
    for path in ("d/x", "x", "a.b", "a", "d/d/x", "d/a.b", "d/", "d/x\\y", "d/x y", "d/__init__", "d/_x", "d/-x", "b"):
        put((tmp_path / path).parent, os.path.basename(path), text)
    ended = call("create", "--driver=" + name, "web", MACHINE_DRIVER_PATH=folder)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith('Driver "%s" not found.' % name)
    assert not mark.exists() and not dm.store.exists()


def test_a_name_in_a_config_json_loads_no_file_elsewhere(call, drivers, add, tmp_path):
    mark = tmp_path / "ran"
    put(tmp_path, "x", "open(%r, 'w').close()\n" % str(mark))
    machine = add("web")
    machine.config["DriverName"] = "../x"
    machine.save()
    ended = call("ls", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert ended.code == 0 and 'Driver "../x" not found.' in ended.out
    assert not mark.exists()


def test_a_driver_that_is_not_there_names_the_nearest_and_where_one_goes(call, drivers, tmp_path):
    put_probe(tmp_path / "d", "d")
    ended = call("create", "-d", "prob", "web", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert (ended.code, ended.out) == (1, "") and "Did you mean --driver probe?" in ended.err
    ended = call("create", "-d", "zzz", "web", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert ended.code == 1 and "generic, none, probe" in re.sub(r"(?<=, )(?!generic|none|probe)[\w-]+, ", "", ended.err)
    assert "MACHINE_DRIVER_PATH" in ended.err


def test_what_is_no_driver_is_not_listed(call, drivers, tmp_path):
    folder = put_probe(tmp_path / "d", "d")
    for name in ("_private.py", ".hidden.py", "README.md", "module.pyc", "two words.py", "a.b.py"):
        (folder / name).write_text("")
    (folder / "folder.py").mkdir()
    found = call("completion", "bash", "create", "-d", "", MACHINE_DRIVER_PATH=folder).out.split("\n")
    assert "probe" in found
    assert set(found) & {"_private", ".hidden", "README", "module", "two words", "a.b", "folder"} == set()


# --- which docker_machine it imports

def copied(folder, name="docker_machine.py"):
    """The core and its extras as somebody copied them."""
    put_probe(folder / "extras", "extras")
    shutil.copy(str(ROOT / "docker_machine.py"), str(folder / name))
    return str(folder / name)


def app(folder, before=""):
    """A program that carries docker_machine.py within a package of its own."""
    (folder / "vendor").mkdir()
    (folder / "vendor" / "__init__.py").write_text("")
    copied(folder / "vendor")
    path = folder / "app.py"
    path.write_text("import sys\n%simport vendor.docker_machine as core\ncode = core.main()\n"
                    "assert all(issubclass(driver, core.Driver) for driver in core.DRIVERS.values())\n"
                    "print('importable:', sys.modules['docker_machine'].__file__)\nsys.exit(code)\n" % before)
    return path


def linked(folder):
    (folder / "real").mkdir()
    target = copied(folder / "real")
    (folder / "bin").mkdir()
    (folder / "bin" / "docker-machine").symlink_to(target)
    (folder / "bin" / "extras").mkdir()
    return [sys.executable, str(folder / "bin" / "docker-machine")]


WAYS = {
    "script": lambda folder: [sys.executable, copied(folder)],
    "executable": lambda folder: [copied(folder)],
    "renamed": lambda folder: [sys.executable, copied(folder, "dm")],
    "renamed module": lambda folder: [sys.executable, copied(folder, "machines.py")],
    "symlink": linked,
    "-m": lambda folder: copied(folder) and [sys.executable, "-m", "docker_machine"],
    "-m renamed": lambda folder: copied(folder, "machines.py") and [sys.executable, "-m", "machines"],
    "vendored": lambda folder: [sys.executable, str(app(folder))],
    "beside another": lambda folder: [sys.executable, str(app(folder, before="import docker_machine\n"))],
}


@pytest.fixture(params=sorted(WAYS))
def way(request, dm, tmp_path):
    """The program, run in each way; in all of them extras/probe.py lies beside the file."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    dm.argv = WAYS[request.param](folder)
    dm.env["PATH"] = os.path.dirname(sys.executable) + os.pathsep + dm.env["PATH"]
    dm.env["PYTHONPATH"] = str(folder) if request.param.startswith("-m") else ""
    if request.param == "beside another":
        dm.env["PYTHONPATH"] = str(ROOT)
    return dm


def test_an_extra_gets_the_running_core_however_that_runs(way):
    """Else its class would be none of ours, and its errors would be crashes."""
    ended = way("create", "-d", "probe", "--probe-fail", "web")
    assert ended.code == 3
    assert ended.err == 'Error with pre-create check: "extras fails as told."\nDo not tell it.\n'


def test_an_extra_makes_machines_however_the_core_runs(way, store):
    ended = way("create", "-d", "probe", "web")
    assert (ended.code, ended.err) == (0, "")
    assert "(web) from extras\n" in ended.out


def test_another_docker_machine_stays_what_it_was(dm, tmp_path):
    folder = tmp_path / "host"
    folder.mkdir()
    dm.argv = WAYS["beside another"](folder)
    ended = dm("create", "-d", "probe", "--help")
    assert "importable: %s\n" % (ROOT / "docker_machine.py") in ended.out
    dm.argv = [sys.executable, str(folder / "app.py")]
    (folder / "app.py").write_text((folder / "app.py").read_text().replace("import docker_machine\n", ""))
    ended = dm("create", "-d", "probe", "--help", PYTHONPATH=None)
    assert "importable: %s\n" % (folder / "vendor" / "docker_machine.py") in ended.out


def test_all_machines_of_an_extra_share_one_class(dm, store, tmp_path):
    """...although they are worked on at the same time."""
    env = {"MACHINE_DRIVER_PATH": put_probe(tmp_path / "d", "d")}
    for name in ("a", "b"):
        assert dm("create", "-d", "probe", name, **env).code == 0
    put(tmp_path / "d", "probe", PROBE % ("probe", "d") + "\nimport time\ntime.sleep(0.3)\nprint('loaded')\n")
    ended = dm("provision", "a", "b", **env)
    assert ended.code == 0
    assert ended.out.count("loaded\n") == 1


def test_another_docker_machine_does_not_come_between_drivers_that_load_at_the_same_time(dm, store, tmp_path):
    for name in ("one", "two"):
        put(tmp_path / "d", name, PROBE % (name, name))
        assert dm("create", "-d", name, name, MACHINE_DRIVER_PATH=tmp_path / "d").code == 0
    for name, pause in (("one", 0.3), ("two", 0.6)):
        put(tmp_path / "d", name, "import time\ntime.sleep(%s)\n" % pause + PROBE % (name, name))
    folder = tmp_path / "host"
    folder.mkdir()
    dm.argv = WAYS["beside another"](folder)
    ended = dm("provision", "one", "two", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert (ended.code, ended.err) == (0, "")
    assert "importable: %s\n" % (ROOT / "docker_machine.py") in ended.out


def test_two_drivers_may_be_used_by_one_command(dm, store, tmp_path):
    for name in ("one", "two"):
        put_probe(tmp_path / "d", name, name)
        assert dm("create", "-d", name, name, MACHINE_DRIVER_PATH=tmp_path / "d").code == 0
    ended = dm("provision", "one", "two", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert (ended.code, ended.err) == (0, "")


def test_a_driver_is_loaded_only_where_it_is_needed(dm, add, tmp_path):
    put(tmp_path / "d", "probe", "print('It is loaded!')\n" + PROBE % ("probe", "d"))
    add("web")
    for words in (["ls"], ["ls", "-q"], ["url", "web"], ["help"], ["create", "-d", "none", "--help"], ["--version"]):
        assert "It is loaded!" not in dm(*words, MACHINE_DRIVER_PATH=tmp_path / "d").out, words


@pytest.mark.once
def test_pip_installs_the_drivers_of_extras_too(dm, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in ("docker_machine.py", "docker-machine", "setup.py", "setup.cfg", "pyproject.toml", "README.md",
                 "LICENSE"):
        shutil.copy(str(ROOT / name), str(source / name))
    for name in ("extras", "docs"):
        shutil.copytree(str(ROOT / name), str(source / name), ignore=shutil.ignore_patterns("__pycache__"))
    put_probe(source / "extras", "installed")
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    if importlib.util.find_spec("setuptools") and importlib.util.find_spec("wheel"):
        argv += ["--no-index", "--no-build-isolation"]  # else pip fetches both, as tox does
    ended = subprocess.run(argv + ["--target", str(target), str(source)], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    assert ended.returncode == 0, ended.stdout.decode()
    dm.argv = [sys.executable, "-m", "docker_machine"]
    assert origin(dm, PYTHONPATH=target) == "installed"
    dm.argv = [sys.executable, str(target / "bin" / "docker-machine")]
    assert origin(dm, PYTHONPATH=target) == "installed"
    missing = {path.name for path in (ROOT / "extras").glob("*.py")} - {
        path.name for path in (target / "docker_machine_extras").iterdir()}
    assert missing == set()
    found = dm("completion", "bash", "create", "-d", "", PYTHONPATH=target).out.split()
    assert {"generic", "none", "probe"} <= set(found)


# --- drivers that do not load

BROKEN = {
    "syntax": ("class (:\n", "SyntaxError"),
    "bytes": (b"x = '\xff'\n", "SyntaxError"),
    "zero": (b"\0", ""),
    "import": ("import no_such_module\n", "no_such_module"),
    "name": ("from docker_machine import NoSuchName\n", "NoSuchName"),
    "raises": ("raise RuntimeError('out of luck')\n", "out of luck"),
    "many_lines": ("raise RuntimeError('out of\\n\\nluck')\n", "out of"),
    "wordless": ("assert False\n", "AssertionError"),
    "exits": ("import sys\nsys.exit(7)\n", "SystemExit"),
    "recursion": ("def again(): again()\nagain()\n", "RecursionError"),
    "empty": ("", "no Driver"),
    "other": (PROBE % ("another", "d"), "no Driver"),
    "foreign": ("class Other:\n    name = 'foreign'\n", "no Driver"),
}


@pytest.fixture
def broken_path(dm, tmp_path):
    folder = tmp_path / "d"
    for name, (text, _) in BROKEN.items():
        put(folder, name, text)
    dm.env["MACHINE_DRIVER_PATH"] = str(folder)
    return folder


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_driver_that_does_not_load_is_told_in_a_sentence_and_a_hint(dm, call, drivers, broken_path, name):
    ended = call("create", "-d", name, "web")
    assert (ended.code, ended.out) == (1, "")
    sentence, hint = ended.err.splitlines()
    assert str(broken_path / (name + ".py")) in sentence and BROKEN[name][1] in sentence
    assert hint
    assert not dm.store.exists()


def test_with_debug_the_traceback_tells_the_line_of_a_driver(dm, broken_path):
    ended = dm("--debug", "create", "-d", "raises", "web")
    assert ended.code == 1
    assert 'raises.py", line 1' in ended.err and "RuntimeError: out of luck" in ended.err


def test_a_driver_that_does_not_load_leaves_help_and_completion_their_common_flags(call, drivers, broken_path):
    ended = call("create", "-d", "syntax", "--help")
    assert ended.code == 0 and "--engine-opt" in ended.out and ended.err.startswith("Warning: ")
    ended = call("completion", "bash", "create", "-d", "syntax", "--engine-o")
    assert (ended.code, ended.out, ended.err) == (0, "--engine-opt\n", "")


@pytest.fixture
def left_alone(dm, add, broken_path):
    """Machines whose drivers do not load, or are not there any more, and one that is well."""
    names = dict(BROKEN, gone=("", 'Driver "gone" not found.'))
    for driver, (_, reason) in names.items():
        machine = add("of-" + driver.replace("_", "-"), "tcp://127.0.0.1:9")
        machine.config["DriverName"] = driver
        machine.save()
        names[driver] = (machine.name, reason)
    add("well", "tcp://127.0.0.1:9")
    return names


def test_machines_of_a_broken_driver_keep_their_rows_with_the_reason(call, drivers, left_alone):
    ended = call("ls")
    assert (ended.code, ended.err) == (0, "")
    rows = {line.split()[0]: line for line in ended.out.splitlines()[1:]}
    assert set(rows) == {name for name, _ in left_alone.values()} | {"well"}
    for driver, (name, reason) in left_alone.items():
        assert driver in rows[name].split() and "Error" in rows[name].split() and reason in rows[name]
    assert "none" in rows["well"].split()


def test_machines_of_a_broken_driver_are_among_the_names(call, drivers, left_alone):
    ended = call("ls", "-q")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.split() == sorted([name for name, _ in left_alone.values()] + ["well"])


def test_machines_of_a_broken_driver_can_be_forgotten(call, drivers, left_alone):
    names = [name for name, _ in left_alone.values()]
    ended = call("rm", "-y", *names)
    assert ended.code == 1 and ended.err.count("docker-machine rm -f") == len(names)
    assert len(call("ls", "-q").out.split()) == len(names) + 1
    assert call("rm", "-f", *names).code == 0
    assert call("ls", "-q").out == "well\n"


@pytest.mark.parametrize("words", [["status"], ["ip"], ["env"], ["start"], ["inspect"], ["provision"], ["ssh"]])
def test_other_commands_on_such_a_machine_end_in_the_same_sentence(call, drivers, left_alone, words):
    for driver in ("gone", "raises"):
        name, reason = left_alone[driver]
        ended = call(*(words + [name]))
        if words == ["inspect"] and ended.code == 0:
            continue  # what is stored can be shown
        assert ended.code == 1 and reason in ended.err


def test_a_driver_that_fails_later_names_itself_in_no_traceback(dm, store, tmp_path):
    put(tmp_path / "d", "probe", PROBE % ("probe", "d") + "\n    def start(self):\n        raise KeyError('x')\n")
    env = {"MACHINE_DRIVER_PATH": tmp_path / "d"}
    assert dm("create", "-d", "probe", "--probe-origin", "here", "web", **env).code == 0
    put(tmp_path / "d", "probe", (PROBE % ("probe", "d")).replace('return "Running"', "return self['Absent']"))
    ended = dm("ls", **env)
    assert ended.code == 0 and "Absent" in ended.out


# --- what a driver needs

NEEDY = PROBE.replace('if self["Fail"]:', 'self.need("boto3_missing", "boto3")\n        if self["Fail"]:')


def test_a_missing_package_is_told_with_the_line_that_installs_it(dm, call, drivers, tmp_path):
    put(tmp_path / "d", "needy", NEEDY % ("needy", "d"))
    ended = call("create", "-d", "needy", "web", MACHINE_DRIVER_PATH=tmp_path / "d")
    assert ended.code == 3
    sentence, hint = ended.err.splitlines()
    assert "The needy driver needs the Python package boto3 (No module named 'boto3_missing')" in sentence
    assert hint == "Install it: %s -m pip install boto3" % sys.executable
    assert not dm.store.exists() or call("ls", "-q").out == ""


def test_the_package_is_called_like_the_module_unless_it_is_named(drivers, store):
    class Needy(core.NoneDriver):
        name = "needy"

    driver = store.new("web", Needy).driver
    assert driver.need("json").dumps([1]) == "[1]"
    with pytest.raises(core.MachineError) as failure:
        driver.need("no_such_module")
    assert failure.value.hint.endswith(" -m pip install no_such_module")


def test_a_package_that_is_there_but_broken_says_why(drivers, store, tmp_path, monkeypatch):
    put(tmp_path, "broken_package", "import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(core.MachineError) as failure:
        store.new("web", core.NoneDriver).driver.need("broken_package")
    assert "no_such_dependency" in failure.value.message


def test_lists_in_flags_and_fields_are_each_machines_own(drivers, store):
    class Listing(core.NoneDriver):
        name = "listing"
        flags = (core.Flag("listing-tag", [], "Tags", field="Tags"),)
        fields = (("Ids", []), ("Map", {}))  # type: tuple

    one = store.new("one", Listing).driver
    one["Tags"].append("x")
    one["Ids"].append("x")
    one["Map"]["x"] = "y"
    two = store.new("two", Listing).driver
    assert (two["Tags"], two["Ids"], two["Map"]) == ([], [], {})


# --- create without --driver

MANAGERS = {"apt-get": "sudo apt-get install", "dnf": "sudo dnf install", "yum": "sudo yum install",
            "zypper": "sudo zypper install", "apk": "apk add", "pacman": "sudo pacman -S", "brew": "brew install"}
QEMU = "qemu-system-" + core.host_arch()
BARE_LIBEXEC = pytest.mark.skipif(os.path.exists("/usr/libexec/qemu-kvm"), reason="QEMU is in /usr/libexec")


@pytest.fixture
def only(tmp_path, monkeypatch):
    """only(names...): a PATH with nothing but programs of these names."""
    def make(*names):
        folder = tmp_path / "only"
        shutil.rmtree(str(folder), ignore_errors=True)
        folder.mkdir()
        for name in names:
            path = folder / name
            path.write_text("#!/bin/sh\nexit 9\n")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.delenv("VBOX_MSI_INSTALL_PATH", raising=False)
        return folder
    return make


def test_without_driver_virtualbox_counts_where_it_is_installed_else_qemu(only):
    only("VBoxManage", QEMU)
    assert core.default_driver() == "virtualbox"
    only(QEMU)
    assert core.default_driver() == "qemu"


@BARE_LIBEXEC
def test_a_qemu_for_another_processor_is_no_default(only):
    only("qemu-system-s390x", "qemu-img")
    with pytest.raises(core.MachineError):
        core.default_driver()


def test_a_file_that_cannot_be_run_is_no_virtualbox(only):
    (only(QEMU, "VBoxManage") / "VBoxManage").chmod(0o644)
    assert core.default_driver() == "qemu"


def test_virtualbox_on_windows_is_told_by_its_own_variable(only, monkeypatch):
    folder = only("VBoxManage")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("VBOX_MSI_INSTALL_PATH", str(folder) + os.sep)
    assert core.default_driver() == "virtualbox"


@BARE_LIBEXEC
@pytest.mark.parametrize("manager", sorted(MANAGERS))
def test_where_nothing_runs_vms_create_says_how_to_install_qemu(dm, call, drivers, only, manager):
    ended = call("create", "web", PATH=only(manager))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("No --driver is named, and neither QEMU nor VirtualBox was found on this computer.\n")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("Install QEMU: ")]
    assert line.startswith("Install QEMU: %s " % MANAGERS[manager]) and "qemu" in line.partition(MANAGERS[manager])[2]
    assert "--driver generic --generic-ip-address" in ended.err
    assert not dm.store.exists()


@BARE_LIBEXEC
def test_without_a_package_manager_the_other_way_is_named(call, drivers, only):
    ended = call("create", "web", PATH=only())
    assert ended.code == 1 and "Install QEMU" not in ended.err and "--driver generic" in ended.err


def test_machine_driver_names_the_default_and_the_flag_beats_it(call, drivers, only, tmp_path):
    env = {"PATH": only("VBoxManage", QEMU), "MACHINE_DRIVER_PATH": put_probe(tmp_path / "d", "d")}
    assert "--probe-origin" in call("create", "--help", MACHINE_DRIVER="probe", **env).out
    shown = call("create", "--driver", "generic", "--help", MACHINE_DRIVER="probe", **env).out
    assert "--generic-ip-address" in shown and "--probe-origin" not in shown
    empty, unset = [call("create", "--help", MACHINE_DRIVER=value, **env).out for value in ("", None)]
    assert empty == unset


@BARE_LIBEXEC
def test_help_on_create_needs_no_driver(call, drivers, only):
    ended = call("create", "--help", PATH=only())
    assert ended.code == 0 and "--engine-opt" in ended.out and ended.err == ""


# --- flags of extras in help and completion

def test_help_shows_the_flags_of_an_extra_with_default_and_variable(call, drivers, tmp_path):
    ended = call("create", "--help", "-d", "probe", MACHINE_DRIVER_PATH=put_probe(tmp_path / "d", "here"))
    assert re.search(r'--probe-origin "here" +\tWhere this came from \[\$PROBE_ORIGIN\]', ended.out)
    assert "--engine-opt" in ended.out


def test_completion_offers_extras_and_their_flags(dm, call, drivers, tmp_path):
    dm.env["MACHINE_DRIVER_PATH"] = str(put_probe(tmp_path / "d", "d"))
    assert call("completion", "bash", "create", "--driver", "pro").out == "probe\n"
    assert call("completion", "bash", "create", "--driver", "probe", "--probe-").out == "--probe-fail\n--probe-origin\n"
    assert call("completion", "bash", "create", "--driver", "none", "--probe-").out == ""
    assert call("completion", "bash", "create", "--probe-", MACHINE_DRIVER="probe").out.count("\n") == 2


# --- the contract

# Named here, since a driver outside the repository can be put to the test too.
NAMES = sorted(name for name in core.driver_names())


@pytest.fixture
def subject(request, drivers):
    return Subject(request.param, request.getfixturevalue)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__[len("check_"):])
@pytest.mark.parametrize("subject", NAMES, indirect=True)
def test_of_every_driver(subject, check):
    check(subject)


def test_every_file_in_extras_is_put_to_the_test():
    files = {path.name[:-3] for path in (ROOT / "extras").glob("*.py") if not path.name.startswith("_")}
    assert files - set(core.NO_DRIVERS) | set(core.DRIVERS) <= set(NAMES) | set(core.NO_DRIVERS)


# --- the example of docs/write-a-driver.md

EXAMPLE = re.findall(r"<!-- container\.py -->\n```python\n(.*?)```", (ROOT / "docs" / "write-a-driver.md").read_text(
    encoding="utf-8"), re.S)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The folder with the example, as its reader saves it; MACHINE_DRIVER_PATH names it."""
    (text,) = EXAMPLE
    folder = tmp_path / "drivers"
    put(folder, "container", text)
    monkeypatch.setenv("MACHINE_DRIVER_PATH", str(folder))
    return folder


DOCKER = r"""
# A stand-in for docker: one file a container, which holds its state.
echo "$*" >> "$HOME/log"
[ "$1 $2" = "-H unix:///var/run/docker.sock" ] || exit 9
[ -z "$DOCKER_TLS_VERIFY" ] || exit 8
shift 2
for last; do :; done
case $1 in
image) [ "$last" = there ] || { echo "Error: No such image: $last" >&2; exit 1; }; echo '[]'; exit;;
create) [ "$last" = there ] && echo created > "$HOME/$3"; exit;;
cp) last=${last%%:*};;
exec) last=$3 ; cat > "$HOME/authorized_keys";;
esac
[ -e "$HOME/$last" ] || { echo "Error: No such container: $last" >&2; exit 1; }
[ ! -e "$HOME/fail-$1" ] || { echo "something is wrong" >&2; exit 1; }
case $1 in
start) echo running > "$HOME/$last"; echo x >> "$HOME/starts";;
unpause) echo running > "$HOME/$last";;
pause) echo paused > "$HOME/$last";;
stop|kill) echo exited > "$HOME/$last";;
rm) rm "$HOME/$last";;
container) echo '[]';;
inspect) case $3 in *State*) cat "$HOME/$last";; *) echo "192.0.2.$(wc -l < "$HOME/starts" | tr -d ' ')";; esac;;
esac
"""


@pytest.fixture
def docker(example, tmp_path, monkeypatch):
    """A stand-in for docker, first on PATH; `log` in its folder is what it was asked."""
    folder, home = tmp_path / "docker", tmp_path / "containers"
    folder.mkdir()
    home.mkdir()
    (folder / "docker").write_text("#!/bin/sh" + DOCKER)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__[len("check_"):])
def test_the_example_keeps_the_promises_too(docker, drivers, request, check):
    check(Subject("container", request.getfixturevalue))


def test_the_example_is_short():
    code = [line for line in EXAMPLE[0].splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) < 95


@pytest.fixture
def container(docker, drivers, store):
    """A machine of the example's, in the store, whose docker is a stand-in."""
    driver_class = core.load_driver("container")
    machine = store.new("web", driver_class)
    words = ["--container-image", "there", "--container-option=--privileged"]
    machine.driver.set_config_from_flags(core.parse_flags(driver_class.flags, words, {})[0])
    store.add(machine)
    return machine


def asked(tmp_path, verb):
    lines = (tmp_path / "containers" / "log").read_text().splitlines()
    return [line.split() for line in lines if line.split()[2] == verb]


def test_the_verbs_of_the_example_do_what_the_page_says(container, tmp_path):
    driver = container.driver
    driver.pre_create_check()
    driver.create()
    assert asked(tmp_path, "create")[0][3:] == ["--name", driver["Container"], "--hostname", "web", "--privileged",
                                                "there"]
    assert (tmp_path / "containers" / "authorized_keys").read_text().startswith("ssh-ed25519 ")
    assert (driver.get_state(), driver.get_url()) == ("Running", "tcp://192.0.2.1:2376")
    driver.stop()
    assert driver.get_state() == "Stopped"
    with pytest.raises(core.MachineError):
        driver.get_url()
    driver.start()
    assert (driver.get_state(), driver.get_ip()) == ("Running", "192.0.2.2")  # the address of now
    driver.restart()
    assert (driver.get_state(), driver.get_ip()) == ("Running", "192.0.2.3")
    driver.pause()
    assert driver.get_state() == "Paused"
    driver.start()
    assert driver.get_state() == "Running"
    driver.kill()
    assert driver.get_state() == "Stopped"
    for _ in range(2):
        driver.remove()
        with pytest.raises(core.MachineError, match="is gone"):
            driver.get_state()


def test_the_example_resumes_where_it_was_interrupted(container, store, tmp_path):
    mark = tmp_path / "containers" / "fail-start"
    mark.write_text("")
    with pytest.raises(core.MachineError, match="something is wrong"):
        container.driver.create()
    mark.unlink()
    again = store.machine("web").driver  # by what was stored before anything was made
    again.create()
    assert len(asked(tmp_path, "create")) == 1 and again.get_state() == "Running"
    store.machine("web").driver.remove()
    assert asked(tmp_path, "rm")[-1][-1] == again["Container"]


def test_the_example_refuses_an_image_that_is_not_there(container):
    container.driver["Image"] = "absent"
    with pytest.raises(core.MachineError) as failure:
        container.driver.pre_create_check()
    assert failure.value.hint == "Get it: docker pull absent"


PAGE = (ROOT / "docs" / "write-a-driver.md").read_text(encoding="utf-8")
CHAPTERS = {  # where a base class is described: what comes before the first chapter of another one is about Driver
    core.Driver: PAGE.split("\n## A driver for a cloud")[0] + PAGE[PAGE.index("\n## However it ends"):],
    core.CloudDriver: PAGE[PAGE.index("\n## A driver for a cloud"):PAGE.index("\n## A driver for virtual")],
    core.LocalVM: PAGE[PAGE.index("\n## A driver for virtual"):PAGE.index("\n## However it ends")],
}
INTERNAL = {"defaults", "get", "close", "ssh", "known_facts", "engine_url", "get_url", "all_flags",
            "stored_url"}  # of Driver


@pytest.mark.parametrize("base", CHAPTERS, ids=lambda base: base.__name__)
def test_the_page_names_every_verb_and_attribute_of_a_base_class(base):
    text = re.sub(r"```.*?```", "", CHAPTERS[base], flags=re.S)
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
    ours = {name for name in vars(base) if not name.startswith("_")}
    assert ours - named - (INTERNAL if base is core.Driver else set()) == set()
    assert base is not core.Driver or {"need", "self", "folder"} <= named


@pytest.mark.parametrize("base", CHAPTERS, ids=lambda base: base.__name__)
def test_the_tables_of_the_page_name_nothing_that_a_base_class_does_not_have(base):
    """...and its arguments as they are."""
    rows = re.findall(r"^\| (`.+?`) \|", CHAPTERS[base], re.M)
    named = [found for row in rows for found in re.findall(r"(\w+)(\([^)]*\))?", row.replace("`", ""))]
    assert len(named) >= 10
    for name, arguments in named:
        assert hasattr(base, name), name
        if len(arguments) > 2:
            known = list(inspect.signature(getattr(base, name)).parameters.values())
            words = [str(one).partition("=")[0] for one in known if one.name != "self"]
            assert "(%s)" % ", ".join(words) == arguments, name


def test_what_the_page_says_of_an_instance_is_how_it_is_made():
    (arguments,) = re.findall(r"`Instance\((.*?)\)`", PAGE)
    assert arguments.split(", ") == list(inspect.signature(core.Instance).parameters)


def test_the_page_names_nothing_that_is_not_there():
    for flag in re.findall(r"--([a-z][a-z-]+)", PAGE.split("```sh\n")[1].split("```")[0]):
        assert flag in ("container-image", "container-option", "privileged", "help")
    imported = [alias.name for node in ast.walk(ast.parse(EXAMPLE[0])) if isinstance(node, ast.ImportFrom)
                for alias in node.names]
    assert set(imported) <= set(core.__all__)
