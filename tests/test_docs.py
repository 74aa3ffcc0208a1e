"""The documentation says what the program does."""

import ast
import glob
import os
import re
import shlex
import subprocess
import sys

import docker_machine

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = ["README.md", *sorted(os.path.relpath(path, ROOT).replace(os.sep, "/") for pattern in ("*.md", "drivers/*.md")
                              for path in glob.glob(os.path.join(ROOT, "docs", pattern)))]
MAP, DIFFERENCES = "docs/README.md", "docs/coming-from-docker-machine.md"


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def block_after(marker, page="README.md", language="sh"):
    """The one fenced block after a marker of a page."""
    (found,) = re.findall(r"<!-- %s -->\n```%s\n(.*?)\n```" % (re.escape(marker), language), read(page), re.S)
    return found


def prose(page):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.S | re.M)


# --- README

def test_readme_is_short():
    assert len(read("README.md").splitlines()) <= 150


def test_its_commands_fit_a_screen():
    for marker in ("main-command", "host-command", "test-command"):
        lines = block_after(marker).splitlines()
        assert len(lines) <= 24 and max(map(len, lines)) <= 100, marker
    assert read("README.md").count("-command -->") == 3


def test_its_contents_list_names_every_section():
    contents = read("README.md").split("**Contents:**")[1].split("\n\n")[0]
    listed = [slug(" ".join(words.split())) for words in re.findall(r"\[([^\]]+)\]", contents)]
    assert listed == [slug(words) for words in re.findall(r"^## (.*)$", read("README.md"), re.M)]


def test_its_ten_differences_are_those_of_the_page():
    def rows(page):
        table = re.sub(r"\(docs/|\(", "(", read(page))
        return [row for row in re.findall(r"^\| .*$", table, re.M) if not row.startswith(("| docker-m", "| ---"))]

    assert len(rows("README.md")) == 10
    assert set(rows("README.md")) <= set(rows(DIFFERENCES))


def test_the_picture_is_drawn_from_its_recording():
    argv = [sys.executable, os.path.join(ROOT, "docs", "draw.py"), "--check"]
    ended = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    picture = read("docs/picture/run.svg")
    for words in ("docker-machine create", "Docker is up and running!", "docker-machine ls", "docker ps"):
        assert words in read("docs/picture/run.txt") and words.partition(" ")[2] in picture
    assert "docs/picture/run.svg" in read("README.md")


# --- all pages

def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page):
    """[(path from the root, anchor)] of a page's links within the repository."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            found.append((path.replace(os.sep, "/"), anchor))
    return found


def test_every_link_leads_somewhere():
    for page in PAGES:
        for path, anchor in links(page):
            assert os.path.exists(os.path.join(ROOT, path)), (page, path)
            if anchor:
                headings = re.findall(r"^#+ (.*)$", prose(path), re.M)
                assert anchor in map(slug, headings), (page, path, anchor)


def test_every_page_can_be_reached_from_the_map_and_from_readme():
    for start in (MAP, "README.md"):
        seen, left = set(), [start]
        while left:
            page = left.pop()
            if page.endswith(".md") and page not in seen:
                seen.add(page)
                left += [path for path, _ in links(page)]
        assert set(PAGES) <= seen, start


def command_lines(page):
    """The words of every docker-machine command line in a page's shell blocks."""
    for block in re.findall(r"^```sh\n(.*?)^```$", read(page), re.S | re.M):
        text = re.sub(r"(^|\s)#.*", "", block.replace("\\\n", " "), flags=re.M)
        for words in re.findall(r"(?:(?<![\w/.-])docker-machine|python3 docker_machine\.py)((?: [^|;&()\n]*)?)", text):
            yield shlex.split(words.rstrip("$\"" if words.count('"') % 2 else "$"))


def check_command_line(words):
    """Let the program read a command line as it would, and check the values of flags."""
    _, words = docker_machine.parse_flags(docker_machine.GLOBAL_FLAGS, words, interleaved=False)
    command = docker_machine.COMMANDS[words[0]].loaded()
    if command.raw:
        return
    flags = [*docker_machine.flags_of(words), *docker_machine.COMMON_FLAGS]
    options, _ = docker_machine.parse_flags(flags, words[1:])
    for flag in flags:
        if not flag.file and options[flag.name] != flag.default:
            flag.check(options[flag.name])


def test_every_command_line_on_the_pages_is_one_that_the_program_takes(monkeypatch):
    monkeypatch.setenv("MACHINE_DRIVER", "qemu")  # what a line without --driver means on another computer
    seen = set()
    for page in PAGES:
        if page == "docs/write-a-driver.md":  # its drivers are those of its own tests
            continue
        for words in command_lines(page):
            try:
                check_command_line(words)
            except (docker_machine.MachineError, KeyError) as error:
                raise AssertionError("%s: docker-machine %s: %s" % (page, " ".join(words), error))
            seen.update(words)
    assert {"create", "env", "doctor", "rm", "--qemu-forward", "--digitalocean-tags", "--engine-install-url"} <= seen


def test_every_flag_that_the_pages_name_exists():
    known = {flag.name for flag in docker_machine.GLOBAL_FLAGS + docker_machine.CREATE_FLAGS}
    for name in docker_machine.driver_names():
        known |= {flag.name for flag in docker_machine.load_driver(name).flags}
    for command in docker_machine.COMMANDS.values():
        known |= {flag.name for flag in command.loaded().flags}
    for page in PAGES:
        if page in ("docs/write-a-driver.md", "docs/architecture.md", "docs/development.md", "docs/reference.md"):
            continue
        named = set(re.findall(r"`[^`\n]*?--([a-z][a-z0-9-]+[a-z0-9])[^`\n]*`", prose(page)))
        # dockerd's own
        assert named - known <= {"storage-driver", "help"}, page


def test_every_listed_driver_has_a_page_on_the_map():
    for name in docker_machine.driver_names():
        assert "(drivers/%s.md)" % name in read(MAP)
        assert read("docs/drivers/%s.md" % name).startswith("# %s: " % name)


def test_the_page_on_installing_names_the_package():
    (name,) = re.findall(r"^name = (.*)$", read("setup.cfg"), re.M)
    assert "`pipx uninstall %s`" % name in read("docs/install.md")


def test_changes_name_every_command():
    words = set(re.findall(r"[\w-]+", read("CHANGES.md")))
    assert set(docker_machine.COMMANDS) <= words


def test_the_tour_shows_every_kind_of_command():
    tour = {words[0] for words in command_lines("docs/tour.md")}
    assert tour >= {"create", "ls", "env", "config", "ssh", "scp", "mount", "provision", "upgrade", "doctor", "rm"}


def test_the_page_on_security_has_the_life_of_certificates():
    assert "valid for %d days" % docker_machine.CERTIFICATE_DAYS in read("docs/security.md")


# --- docs/troubleshooting.md

def sentences():
    """Every text in the code of the program and its extras, with "..." for what is filled in."""
    texts = []
    for path in [docker_machine.__file__, *glob.glob(os.path.join(ROOT, "extras", "*.py"))]:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        values = [getattr(node, "value" if sys.version_info >= (3, 8) else "s", None) for node in ast.walk(tree)]
        texts += [value for value in values if isinstance(value, str)]
    return [re.sub(r"%0?\d*[sdgro]|\{[\w.]*(\[\d\])?\}|\$\w+", "...", text) for text in texts]


def test_every_error_of_the_troubleshooting_page_is_one_of_the_code():
    headings = re.findall(r"^### (.*)$", read("docs/troubleshooting.md"), re.M)
    texts = sentences()
    unknown = []
    for heading in headings:
        (error,) = re.findall("^`(.*)`$", heading)
        wanted = error[:-3] if error.endswith("...") else error
        if not any(wanted in text for text in texts):
            unknown.append(error)
    assert len(headings) > 50 and unknown == []


def test_a_sentence_that_the_code_does_not_have_would_be_noticed():
    texts = sentences()
    assert any("... driver does not support " in text for text in texts)
    assert not any("... driver cannot do " in text for text in texts)


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
