"""The documentation says what the program does."""

import os
import re

import docker_machine

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def fenced_after(marker):
    return only(r"<!-- %s -->\n```sh\n(.*?)\n```" % marker)


def only(pattern):
    (found,) = re.findall(pattern, read("README.md"), re.S)
    return found


def test_readme_has_one_line_for_the_main_job_and_one_for_the_tests():
    for marker in ("main-command", "host-command", "test-command"):
        assert "\n" not in fenced_after(marker)
    assert read("README.md").count("-command -->") == 3


def test_every_command_of_the_tour_exists():
    tour = read("README.md").split("## The tour")[1].split("```")[1]
    used = set(re.findall(r"docker-machine (\w[\w-]*)", tour))
    assert used and used <= set(docker_machine.COMMANDS)


def test_changes_and_readme_name_every_command():
    words = set(re.findall(r"[\w-]+", read("CHANGES.md")))
    assert set(docker_machine.COMMANDS) <= words


def test_readme_does_not_promise_missing_commands():
    missing = only(r"Not there yet: `([^`]*)`").split()
    assert not set(missing) & set(docker_machine.COMMANDS)


def test_every_flag_that_readme_names_exists():
    known = {flag.name for flag in docker_machine.GLOBAL_FLAGS + docker_machine.CREATE_FLAGS}
    for name in docker_machine.driver_names():
        known |= {flag.name for flag in docker_machine.load_driver(name).flags}
    for command in docker_machine.COMMANDS.values():
        known |= {flag.name for flag in command.flags}
    named = set(re.findall(r"`[^`\n]*?--([a-z][a-z0-9-]+[a-z])[^`\n]*`", read("README.md")))
    assert named - known <= {"storage-driver"}  # dockerd's own


def test_every_listed_driver_is_documented():
    for name in docker_machine.driver_names():
        assert "`%s`" % name in read("README.md")
