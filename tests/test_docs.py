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


# --- docs/architecture.md

def test_the_page_on_the_architecture_is_short_and_linked():
    assert len(read("docs/architecture.md").splitlines()) <= 120
    for page in ("README.md", "docs/write-a-driver.md", "extras/README.md"):
        assert "`docs/architecture.md`" in read(page), page


def test_its_rooms_are_the_sections_and_classes_of_the_file():
    rows = re.findall(r"^\| (\d+)\. (.*?) \| (.*?) \|", read("docs/architecture.md"), re.M)
    titles = dict(re.findall(r"^    (\d+)\. (.*)$", docker_machine.__doc__, re.M))
    assert [int(number) for number, _, _ in rows] == list(range(2, len(titles) + 1))
    assert [(number, title) for number, title, _ in rows if not titles[number].startswith(title)] == []
    for number, _, classes in rows:
        for name in re.findall(r"`(\w+)`", classes):
            assert isinstance(getattr(docker_machine, name), type), name
            assert section_of(name) == number, name


def section_of(name):
    """The number of the section that defines a class."""
    above = re.split(r"\nclass %s\b" % name, read("docker_machine.py"))[0]
    return re.findall(r"^# === (\d+)\. ", above, re.M)[-1]


def test_what_it_calls_is_there():
    source = read("docker_machine.py")
    called = set(re.findall(r"`(?:(\w+)\.)?(\w+)\(\)`", read("docs/architecture.md")))
    assert len(called) > 15
    for owner, name in called:
        assert not owner or hasattr(getattr(docker_machine, owner), name), (owner, name)
        assert "def %s(" % name in source, name
    for table in ("PROVISIONERS", "COMMANDS"):
        assert "`%s`" % table in read("docs/architecture.md") and hasattr(docker_machine, table)
