"""Write docs/reference.md, docs/docker-machine.1 and the flags of docs/drivers/*.md from the program's own tables.

    python3 docs/generate.py            write them all
    python3 docs/generate.py --check    exit 1 if one of them is not current
"""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import docker_machine as core  # noqa: E402

EXTRAS = sorted(set(core.drivers_in(core.own_extras())) - set(core.NO_DRIVERS))
DRIVER_NAMES = list(core.DRIVERS) + EXTRAS
INTRODUCTION = """\
# Reference

Every command and flag, generated from the program's tables by `docs/generate.py`. Flags may stand
before or after names, with one dash or two, as `--flag value` or `--flag=value`. Where a variable
is named, it gives the flag's value if the flag is not used; a list is separated by commas there.
"""
FLAGS_BEGIN, FLAGS_END = "<!-- flags, by docs/generate.py -->", "<!-- end of flags -->"
EXIT_CODES = (
    ("0", "success"), ("1", "an error, told on stderr"), ("2", "a wrong command line; nothing was done"),
    ("3", "a create that was refused by its pre-create check"), ("130", "interrupted"),
)
VARIABLES = (
    ("MACHINE_DEBUG", "true or false; beats --debug"),
    ("DOCKER_HOST", "tells which machine is active"),
    ("SHELL", "the shell for env, where the program's parent is none"),
)


def flag_groups(command):
    """[(heading, flags)] of a command; create has those of each driver too."""
    if command.name != "create":
        return [("", command.flags)] if command.flags else []
    groups = [("Flags of every driver", core.CREATE_FLAGS)]
    return groups + [("Flags of the driver `%s`" % name, core.load_driver(name).flags) for name in DRIVER_NAMES]


def names_of(flag):
    kind = {bool: "", int: " N", str: " TEXT", list: " TEXT"}[type(flag.default)]
    dashes = "--" if flag.name[1:] else "-"
    return "%s%s%s%s" % (dashes, flag.name, kind, ", -%s%s" % (flag.short, kind) if flag.short else "")


def notes_of(flag):
    """What there is to know of a flag beside its help text."""
    notes = []
    if flag.default and not isinstance(flag.default, list):
        notes.append("default %s" % flag.default)
    if isinstance(flag.default, list):
        notes.append("repeatable")
    if flag.required:
        notes.append("required")
    if flag.env:
        notes.append("variable %s" % flag.env)
    return notes


# --- Markdown

def table(flags):
    lines = ["| flag | | default, variable |", "| --- | --- | --- |"]
    for flag in sorted(flags, key=lambda flag: flag.name):
        lines.append("| `%s` | %s | %s |" % (
            names_of(flag), flag.help.replace("|", "\\|"), "; ".join(notes_of(flag))))
    return "\n".join(lines)


def markdown():
    parts = [INTRODUCTION, "## Global flags\n\nBefore the command.\n\n" + table(core.GLOBAL_FLAGS)]
    for command in (row.loaded() for row in core.COMMANDS.values()):
        parts.append("## %s\n\n`docker-machine %s`\n\n%s" % (
            command.name, " ".join(filter(None, [command.name, "[OPTIONS]" if command.flags or command.name == "create"
                                                 else "", command.usage])), command.summary))
        for heading, flags in flag_groups(command):
            if flags:
                parts.append(("### %s\n\n" % heading if heading else "") + table(flags))
    rows = "\n".join("| `%s` | %s |" % row for row in VARIABLES)
    parts.append("## Other variables\n\n| variable | |\n| --- | --- |\n" + rows)
    rows = "\n".join("| %s | %s |" % row for row in EXIT_CODES)
    parts.append("## Exit codes\n\n`ssh` and `scp` exit with the code of what they ran.\n\n| code | |\n| --- | --- |\n"
                 + rows)
    return "\n\n".join(part.strip() for part in parts) + "\n"


# --- a driver's page

def driver_page(name):
    """(path, text) of the page of a driver, whose flags are made anew; all else is written by hand."""
    path = os.path.join(HERE, "drivers", name + ".md")
    if not os.path.exists(path):
        sys.exit("The driver %s has no page %s; begin one with a heading and the two lines\n%s\n%s" % (
            name, path, FLAGS_BEGIN, FLAGS_END))
    with open(path, encoding="utf-8") as file:
        before, begin, rest = file.read().partition(FLAGS_BEGIN)
    old, end, after = rest.partition(FLAGS_END)
    if not end:
        sys.exit("%s lacks the lines\n%s\n%s" % (path, FLAGS_BEGIN, FLAGS_END))
    flags = table(core.load_driver(name).flags)
    return path, "".join([before, begin, "\n\n", flags, "\n\n", end, after])


# --- man page (man(7))

def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    text = re.sub(r",(?=\w)", r",\\:", text)  # a long list of values may be broken there
    return "\\&" + text if text.startswith((".", "'")) else text


def items(flags):
    lines = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        notes = notes_of(flag)
        lines += [".TP", ".B " + roff(names_of(flag)), roff(flag.help + (" (%s)" % "; ".join(notes) if notes else ""))]
    return lines


def man_page():
    lines = ['.TH DOCKER\\-MACHINE 1 "" "docker_machine.py %s"' % core.__version__, ".ad l", ".SH NAME",
             "docker\\-machine \\- " + roff(core.__doc__.splitlines()[0].rstrip(".")), ".SH SYNOPSIS",
             ".B docker\\-machine", "[OPTIONS] COMMAND [arg...]", ".SH OPTIONS"] + items(core.GLOBAL_FLAGS)
    lines.append(".SH COMMANDS")
    for command in (row.loaded() for row in core.COMMANDS.values()):
        lines += [".SS " + roff("%s %s" % (command.name, command.usage)).rstrip(), roff(command.summary)]
        for heading, flags in flag_groups(command):
            lines += [".PP", roff(heading) + ":"] if heading and flags else []
            lines += items(flags)
    for heading, rows in (("ENVIRONMENT", VARIABLES), ("EXIT STATUS", EXIT_CODES)):
        lines.append(".SH " + heading)
        for name, words in rows:
            lines += [".TP", ".B " + roff(name), roff(words)]
    lines += [".SH FILES", ".TP", ".I ~/.docker/machine",
              "certificates, machines and crash reports; a file no\\-error\\-report in it forbids these"]
    return "\n".join(lines) + "\n"


def pages():
    """[(path, text)] of all that is generated."""
    return [(os.path.join(HERE, "reference.md"), markdown()), (os.path.join(HERE, "docker-machine.1"), man_page()),
            *map(driver_page, DRIVER_NAMES)]


def is_current(path, text):
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as file:
        return file.read() == text


def main():
    stale = [(path, text) for path, text in pages() if not is_current(path, text)]
    for path, text in stale:
        if "--check" in sys.argv[1:]:
            print("%s is not current; run: python3 docs/generate.py" % path)
            continue
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return int(bool(stale) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
