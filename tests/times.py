"""Where the time of a run of tox went, as a table: steps, environments, modules, shared fixtures, slowest tests.

    python3 tests/times.py [STEPS]

STEPS is a file of what came beside the environments, a line each: seconds when it began, seconds when it ended, and
its name, with tabs between. What is in an environment comes from its junit.xml and from the files "began" and "ended"
that tox.ini makes. Seconds of modules, fixtures and tests are those of processes that run side by side.
"""

import os
import sys
import xml.etree.ElementTree as tree
from pathlib import Path

TOX = Path(__file__).resolve().parents[1] / ".tox"
SLOWEST = 10
SHORT = 1.0  # what takes less is not worth a line


def table(title, rows):
    """Print (seconds, words) in their order."""
    print("\n%s" % title)
    for seconds, words in rows:
        print("%8.1f s  %s" % (seconds, words))


def steps(path):
    """[(began, ended, name)] of a file of steps."""
    rows = [line.split("\t") for line in Path(path).read_text().splitlines()] if path else []
    return [(float(began), float(ended), name) for began, ended, name in rows]


class Environment:
    """One of tox's. `cases` are those of its junit.xml: [(seconds, module, test)], `fixtures` [(seconds, words)]."""

    def __init__(self, folder):
        self.name = folder.name
        self.began = (folder / "began").stat().st_mtime
        ended = folder / "ended"
        self.ended = ended.stat().st_mtime if ended.exists() else self.began
        self.cases, self.fixtures = [], []
        report = folder / "junit.xml"
        for case in tree.parse(str(report)).iter("testcase") if report.exists() else ():
            module = case.attrib["classname"]
            self.cases.append((float(case.attrib["time"]), module, case.attrib["name"]))
            for each in case.iter("property"):
                kind, _, name = each.attrib["name"].partition(" ")
                if kind == "fixture":
                    self.fixtures.append((float(each.attrib["value"]), "%s of %s" % (name, module)))

    def row(self, before):
        """`before` is when whatever came before it ended: it was made since then."""
        tests = ", %d tests" % len(self.cases) if self.cases else ""
        return self.ended - self.began, "%s (made in %.1f s%s)" % (self.name, self.began - before, tests)

    def by_module(self):
        modules = sorted({module for _, module, _ in self.cases})
        return [(sum(spent for spent, each, _ in self.cases if each == module), module) for module in modules]

    def slowest(self):
        return [(spent, "%s: %s.%s" % (self.name, module, test)) for spent, module, test in self.cases]


def longest(rows):
    return sorted((row for row in rows if row[0] >= SHORT), reverse=True)


def main(path=""):
    done = steps(path)
    made = [Environment(began.parent) for began in TOX.glob("*/began")]
    made.sort(key=lambda environment: environment.began)
    table("steps", [(ended - began, name) for began, ended, name in done])
    before = [began for began, _, name in done if os.path.basename(name.split()[0]) == "tox"][-1:]
    rows = []
    for environment in made:
        before = before or [environment.began]
        rows.append(environment.row(before[0]))
        before = [environment.ended]
    table("environments of tox", rows)
    for environment in made:
        if environment.name == "integration":
            table("integration by module", longest(environment.by_module()))
            table("integration by fixture", longest(environment.fixtures))
    table("slowest tests", longest(row for environment in made for row in environment.slowest())[:SLOWEST])
    if done:
        began, ended = min(row[0] for row in done), max(row[1] for row in done)
        table("in all", [(ended - began, "from the first step to the end of the last")])


if __name__ == "__main__":
    main(*sys.argv[1:])
