"""Draw docs/picture/run.svg, a terminal that shows docs/picture/run.txt.

    python3 docs/draw.py            write it
    python3 docs/draw.py --check    exit 1 if it is not current

The text is a recording of a real run: lines that begin with "$ " or "> " were typed, all others are
what the programs answered. tests/integration/test_readme.py types the same lines again, and holds the
recording to the answers.
"""

import os
import sys
from xml.sax.saxutils import escape

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "picture")
COLUMNS = 104
CHARACTER, LINE, MARGIN, BAR = 8, 18, 16, 28  # in pixels; BAR is the height of the title bar
COLORS = {"window": "#1e2127", "bar": "#2c313a", "typed": "#ffffff", "mark": "#7ec699", "answer": "#b9c0cb"}
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
TITLE = "A host that answers SSH becomes a Docker host: docker-machine create, ls, and docker ps"


def rows(text):
    """[(whether it was typed, line)] as a terminal of COLUMNS shows them: long lines go on below."""
    shown = []
    for line in text.splitlines():
        line = line.rstrip()
        typed = line.startswith(("$ ", "> "))
        for start in range(0, len(line) or 1, COLUMNS):
            shown.append((typed, line[start:start + COLUMNS]))
    return shown


def text_element(y, typed, line):
    """One line as an SVG element. textLength keeps the columns, whatever font there is."""
    words = escape(line)
    if typed:
        words = '<tspan fill="%s">%s</tspan>%s' % (COLORS["mark"], escape(line[0]), escape(line[1:]))
    return '<text x="%d" y="%d" fill="%s" textLength="%d" xml:space="preserve">%s</text>' % (
        MARGIN, y, COLORS["typed" if typed else "answer"], len(line) * CHARACTER, words)


def draw(text):
    """The SVG of a recording."""
    lines = rows(text)
    width = COLUMNS * CHARACTER + 2 * MARGIN
    height = BAR + len(lines) * LINE + MARGIN
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">' % (
            width, height, width, height),
        "<title>%s</title>" % escape(TITLE),
        '<rect width="%d" height="%d" rx="8" fill="%s"/>' % (width, height, COLORS["window"]),
        '<path d="M0 %d V8 a8 8 0 0 1 8 -8 H%d a8 8 0 0 1 8 8 V%d Z" fill="%s"/>' % (
            BAR, width - 8, BAR, COLORS["bar"]),
        '<g font-family="%s" font-size="13">' % FONT,
    ]
    for number, (typed, line) in enumerate(lines, 1):
        if line:
            parts.append(text_element(BAR + number * LINE, typed, line))
    return "\n".join(parts + ["</g>", "</svg>"]) + "\n"


def main():
    with open(os.path.join(FOLDER, "run.txt"), encoding="utf-8") as file:
        picture = draw(file.read())
    path = os.path.join(FOLDER, "run.svg")
    if "--check" not in sys.argv[1:]:
        with open(path, "w", encoding="utf-8") as file:
            file.write(picture)
        return 0
    with open(path, encoding="utf-8") as file:
        if file.read() == picture:
            return 0
    print("%s is not current; run: python3 docs/draw.py" % path)
    return 1


if __name__ == "__main__":
    sys.exit(main())
