"""Where the time of a run of tox went, as a table: steps, environments, modules, shared fixtures, slowest tests.

    python3 tests/times.py [STEPS]

STEPS is a file of what came beside the environments, a line each: seconds when it began, seconds when it ended, and
its name, with tabs between. What is in an environment comes from its junit.xml and from the files "began" and "ended"
that tox.ini makes. Seconds of modules, fixtures and tests are those of processes that run side by side.
"""

import collections
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
    """One of tox's, with the cases of its junit.xml."""

    def __init__(self, folder):
        self.name = folder.name
        self.began = (folder / "began").stat().st_mtime
        ended = folder / "ended"
        self.ended = ended.stat().st_mtime if ended.exists() else self.began
        report = folder / "junit.xml"
        self.cases = list(tree.parse(str(report)).iter("testcase")) if report.exists() else []

    def row(self, before):
        """`before` is when whatever came before it ended: it was made since then."""
        tests = ", %d tests" % len(self.cases) if self.cases else ""
        return self.ended - self.began, "%s (made in %.1f s%s)" % (self.name, self.began - before, tests)

    def by_module(self):
        seconds = collections.Counter()  # type: collections.Counter
        for case in self.cases:
            seconds[case.get("classname")] += float(case.get("time"))
        return [(spent, name) for name, spent in seconds.most_common() if spent >= SHORT]

    def fixtures(self):
        found = [(float(each.get("value")), "%s of %s" % (each.get("name")[len("fixture "):], case.get("classname")))
                 for case in self.cases for each in case.iter("property") if each.get("name").startswith("fixture ")]
        return sorted((row for row in found if row[0] >= SHORT), reverse=True)

    def slowest(self):
        return sorted(((float(case.get("time")), "%s: %s.%s" % (self.name, case.get("classname"), case.get("name")))
                       for case in self.cases), reverse=True)[:SLOWEST]


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
            table("integration by module", environment.by_module())
            table("integration by fixture", environment.fixtures())
    slow = sorted((row for environment in made for row in environment.slowest()), reverse=True)
    table("slowest tests", slow[:SLOWEST])
    if done:
        table("in all", [(max(ended for _, ended, _ in done) - min(began for began, _, _ in done), "from the first step")])


if __name__ == "__main__":
    main(*sys.argv[1:])
