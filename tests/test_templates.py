"""Templates of --format: held to what Go's text/template makes of them (data/templates), and to any text at all."""

import contextlib
import json
import os
import pathlib
import random
import re
import time

import pytest
from conftest import ROOT, cases

import docker_machine as core

TABLE = json.loads((ROOT / "tests" / "data" / "templates" / "cases.json").read_text(encoding="utf-8"))
DATA, CASES = TABLE["data"], TABLE["cases"]
FILLED = [case for case in CASES if "output" in case]
REFUSED = [case for case in CASES if "error" in case]


def name(case):
    """A readable id: the group, the template's start and its data set."""
    words = "%s: %s" % (case["group"], ascii(case["template"])[1:-1][:60])
    return words if case["data"] in ("values", "machine") else "%s of %s" % (words, case["data"])


# What is ours: numbers are numbers, whole or not, fractions have 15 digits, and an error is in our words.
OURS = {
    "{{urlquery .Nope}}": "%3Cnil%3E",
    '{{printf "%f" .Int}}': "42.000000", '{{printf "%g %g %g" 100000.0 1000000.0 1e20}}': "100000 1000000 1e+20",
    '{{printf "%+q" .Uni}}': '"Grüße, 世界 🌍"', '{{printf "%#q %#q" .Str .Quoted}}': '"hello" "say \\"hi\\" \\\\ `x`"',
    "{{json .Floats}}": "[0.1,1e+21,1e+20,1e-07,1e-06,100000.0,2.0,-0.5,0.3]",
    "{{json .Int}} {{json .Long}} {{json .Float}} {{json .Whole}} {{json .Huge}}": "42 9007199254740993 2.5 2.0 1e+21",
    '{{json "\\u2028\\u2029\\u0001\\u007f"}}': '"\\u2028\\u2029\\u0001\\u007f"',
    '{{printf "%.0d|" 0}}': "0|",
}
WIDER = {  # what Go refuses
    "{{ /* blank before */}}": "", "{{lt . 1}}": "true", "{{1e400}}": "inf",
    "{{print (1)2}}": "1 2", "{{print(1)}}": "1", '{{print"x"}}': "x",
    "{{eq 1 1.0}}": "true", "{{eq .True 1}}": "true", "{{eq .List .List}}": "true",
    "{{lt true false}}": "false", "{{le .True .True}}": "true", "{{lt .List .List}}": "false",
    "{{nil}}": "<no value>", "{{nil.X}}": "<no value>", "{{(nil)}}": "<no value>", "{{nil | print}}": "<nil>",
    "{{if nil}}{{end}}": "", "{{range nil}}{{end}}": "", "{{$x := nil}}": "",
    "{{$x, $y := 1}}": "", "{{with $x, $y := .Map}}{{end}}": "",
    "{{index .List -1}}": "c", "{{index . -1}}": "map[Name:a Up:false]", "{{index .List true}}": "b",
    "{{eq .Whole 2}}": "true", "{{lt 1 2.0}}": "true", "{{ge .Int 42.0}}": "true",
}


def rendered(case):
    """The text of a case; None if it is refused."""
    try:
        return core.Template(case["template"]).render(DATA[case["data"]])
    except core.MachineError as error:
        assert error.message.startswith("template: ") and "\n" not in error.message
        return None


@cases("case", FILLED, ids=name)
def test_a_template_gives_the_text_that_go_gives(case):
    wanted = OURS.get(case["template"], case["output"])
    text = rendered(case)
    assert text == wanted or text is None and "%!" in wanted  # an error that Go writes into the text


@cases("case", REFUSED, ids=name)
def test_what_go_refuses_is_refused(case):
    assert rendered(case) == WIDER.get(case["template"])


@pytest.mark.parametrize("template", [
    "{{html .Str}}", "{{js .Str}}", "{{slice .Str 1}}", "{{'a'}}", '{{printf "%c" 65}}', '{{printf "%*d" 5 42}}',
    '{{printf "%[2]d" 1 2}}', '{{printf "%U" 1}}', '{{printf "%x" 10}}', '{{printf "%e" 1.5}}', '{{printf "%T" 1}}',
    "{{0x1F}}", '{{"\\x41"}}', "{{index .Str 0}}", "{{range .List}}{{break}}{{end}}",
    "{{range .List}}{{continue}}{{end}}"])
def test_what_is_left_out_of_go_is_refused_in_a_sentence(template):
    with pytest.raises(core.MachineError, match="^template: (.* is not defined|unexpected sign: .*|.* cannot use .*)$"):
        core.Template(template).render(DATA["values"])


@pytest.mark.parametrize("template, text", [
    ('{{printf "%.0f" .Driver.SSHPort}}', "22"), ("{{eq .Driver.SSHPort 22.0}}", "true"),
    ("{{if gt .Driver.EnginePort 2375.5}}x{{end}}", "x"), ('{{printf "%g" .Driver.SSHPort}}', "22"),
    ("{{eq .Driver.SSHPort 22}} {{ne .Driver.SSHPort 23.0}}", "true true"), ('{{printf "%d" .Driver.SSHPort}}', "22"),
])
def test_numbers_take_the_forms_that_scripts_had_to_write(template, text):
    assert core.Template(template).render(DATA["machine"]) == text


@pytest.mark.parametrize("verb", ["", '| printf "%v"', '| printf "%g"'])
def test_a_fraction_has_fifteen_digits(verb):
    template = "{{0.30000000000000004 VERB}} {{123456789.5 VERB}} {{1e15 VERB}}".replace("VERB", verb)
    assert core.Template(template).render(None) == "0.3 123456789.5 1e+15"


@pytest.mark.parametrize("template, text", [
    ("{{range $i, $e := .List}}{{range $i, $e := $.Numbers}}{{$i}}{{end}}{{$i}}{{$e}}{{end}}", "0120a0121b0122c"),
    ("{{$x := 1}}{{if .False}}{{$x := 2}}{{$x}}{{else}}{{$x}}{{end}}{{$x}}", "11"),
    ("{{with .Str}}{{with .}}{{.}}{{end}}{{.}}{{else}}{{.}}{{end}}{{.Int}}", "hellohello42"),
    ("{{with .Nil}}a{{else if .True}}{{.Int}}{{else}}b{{end}}{{.Zero}}", "420"),
    ("{{range .None}}a{{else}}{{range .Numbers}}{{.}}{{end}}{{.Int}}{{end}}", "31242"),
])
def test_a_block_leaves_the_variables_and_the_dot_around_it_alone(template, text):
    parsed = core.Template(template)
    assert [parsed.render(DATA["values"]) for _ in range(2)] == [text] * 2


def test_the_table_has_enough_cases_and_each_function():
    assert len(CASES) >= 220 and len(REFUSED) >= 60
    used = {word for case in FILLED for word in case["template"].replace("(", " ").replace("{{", " ").split()}
    assert set(core.TEMPLATE_FUNCTIONS) <= used


def test_rendering_leaves_the_data_as_it_was():
    before = json.dumps(DATA)
    for case in CASES:
        with contextlib.suppress(core.MachineError):
            core.Template(case["template"]).render(DATA[case["data"]])
    assert json.dumps(DATA) == before


@pytest.mark.parametrize("action", ['define "x"', 'template "x"', 'block "x" .', "call .Str"])
def test_what_is_not_supported_is_refused_in_a_sentence(action):
    with pytest.raises(core.MachineError, match="^template: .*not defined$"):
        core.Template("{{%s}}{{end}}" % action).render(DATA["values"])


# --- any text: an answer or a MachineError, and soon

TOKENS = (
    "{{ }} {{- -}} {{/* */}} if else end range with break continue else~if define template block . $ $x $i $e , := = | "
    "( ) .Str .Int .List .Map .Nil .Nope .Nested.A.B .Mixed .People .Float .Uni .Empty $.Str $x.Y .X.Y "
    "(index~.List~0).X eq ne lt le gt ge and or not len index slice print printf println html js urlquery json "
    "prettyjson upper lower split join title nope nil true false 0 1 -1 2 42 1.5 1e3 1e400 1e-400 0x1F 0b1 0o7 017 08 "
    "1_0 1__0 99999999999999999999 'a' '\\n' 'ab' '' '\\ud800' '\\xff' \"\" \"a\" \"%d\" \"%s|%v\" \"%q\" "
    "\"\\z\" \"\\xff\" \"\\ud800\" \"open `raw` ` ' \" \\ # @ ; : ? ! & * + - / < > [ ] ^ \x00 \x7f \x85 \u2028 "
    "\udc80 é 世界 🌍 text % %d \n \t \r"
).replace("~", "\xa0").split(" ") + [" ", " ", " ", " ", "\n", ""]
OPERANDS = (
    ". $ .Str .Int .List .Map .Nil .Nope .Mixed 0 1 -2 2.5 \"a\" \"%d~%s\" `%v` 'x' true nil $.Nested .Name .Floats $x"
).replace("~", " ").split(" ")
FUNCTIONS = sorted(core.TEMPLATE_FUNCTIONS)
WHERE = sorted(DATA)
SLOW = 1.0  # seconds of processor time; 1000 times what any of them should need


def soup(rng):
    words = [rng.choice(TOKENS).replace("\xa0", " ") for _ in range(rng.randint(1, 14))]
    text = rng.choice(("", " ", " ")).join(words)
    return "{{" + text + "}}" if rng.random() < 0.6 else text


def mutated(rng):
    text = rng.choice(CASES)["template"]
    for _ in range(rng.randint(1, 3)):
        first, second = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        text = rng.choice((
            text[:first] + text[second:],
            text[:second] + text[first:],
            text[:first] + rng.choice(TOKENS) + text[first:],
            text[:first] + rng.choice(TOKENS) + text[first + 1:],
            text[:first] + rng.choice(CASES)["template"] + text[second:],
        ))
    return text


def formats(rng):
    """printf with a random layout and random operands."""
    parts = (("", "+", "-", "#", "0", " "), ("", "", "", "[1]", "[2]", "[9]", "[", "[0]", "[x]"),
             ("", "", "5", "*", "99999999999"), ("", "", ".", ".2", ".*", ".99999999999", ".-1"),
             "vTtbcdoOqxXUeEfFgGsp%!z世")
    verbs = ["%" + "".join(rng.choice(part) for part in parts) for _ in range(rng.randint(1, 4))]
    operands = [rng.choice(OPERANDS[:-1]) for _ in range(rng.randint(0, 4))]
    return "{{printf `%s` %s}}" % (rng.choice(("", " ", "é")).join(verbs), " ".join(operands))


def nested(rng, depth=0):
    if depth > 4 or rng.random() < 0.2:
        text = rng.choice(("x", "{{PIPELINE}}", " {{- PIPELINE -}} "))
        return text.replace("PIPELINE", pipeline(rng))
    return rng.choice((
        "{{if %s}}%s{{else}}%s{{end}}", "{{with %s}}%s{{else}}%s{{end}}", "{{range %s}}%s{{else}}%s{{end}}",
        "{{range $i, $e := %s}}%s{{$e}}{{end}}%s", "{{range $x := %s}}%s{{end}}%s",
        "{{if %s}}%s{{else if .Str}}%s{{end}}", "{{$x := %s}}%s%s", "{{with $x := %s}}%s{{end}}%s",
    )) % (pipeline(rng), nested(rng, depth + 1), nested(rng, depth + 1))


def pipeline(rng, depth=0):
    commands = []  # type: list
    for _ in range(rng.randint(1, 3)):
        called = commands or rng.random() < 0.6
        words = [rng.choice(FUNCTIONS)] if called else []
        for _ in range(rng.randint(0, 3) if called else 1):
            inner = depth < 3 and rng.random() < 0.2
            words.append("(%s)" % pipeline(rng, depth + 1) if inner else rng.choice(OPERANDS))
        commands.append(" ".join(words))
    return " | ".join(commands)


def wrong_with(template, data):
    """What is wrong unless render gives a text or a MachineError, and soon."""
    started = time.process_time()
    try:
        answer = core.Template(template).render(data)
    except core.MachineError as error:
        answer = error.message
        if not answer.startswith("template: "):
            return "is refused with %.300r" % answer
    except Exception as error:  # RecursionError and MemoryError too
        return "raises %.300r" % error
    try:
        answer.encode("utf-8", "surrogateescape")  # as stdout does
    except UnicodeError:
        return "gives what cannot be written: %.300r" % answer
    return "takes too long" if time.process_time() - started > SLOW else ""


def check(template, data):
    wrong = wrong_with(template, data)
    if wrong:
        pytest.fail("%.300r %s" % (template, wrong), pytrace=False)


def test_any_template_gives_a_text_or_a_machine_error():
    """FUZZ_ROUNDS=N makes N rounds of 1000 templates each, from seeds of their own."""
    rounds = int(os.environ.get("FUZZ_ROUNDS", "3"))
    for seed in range(rounds):
        rng = random.Random(seed)
        for _ in range(1000):
            template = rng.choice((soup, mutated, nested, formats))(rng)
            check(template, DATA[rng.choice(["values"] * 3 + WHERE)])


@cases("start, unit, count, end", [
    ("", "{{", 4000, ""), ("", "}}", 4000, ""), ("", "{{/*", 4000, ""), ("", "{{- ", 4000, ""), ("{{", "(", 4000, ""),
    ("{{", "(", 3000, "1" + ")" * 3000 + "}}"), ("", "{{if .Str}}", 4000, ""), ("", "{{range .List}}", 3000, ""),
    ("", "{{if .Str}}", 3000, "{{end}}" * 3000), ("{{if .Nope}}", "{{else if .Nope}}", 3000, "{{end}}"),
    ("", "{{with .Str}}", 3000, "{{end}}" * 3000), ("{{", "1 ", 4000, "}}"), ("{{print ", "1 ", 4000, "}}"),
    ("{{", '"', 4001, ""), ("{{", "`", 4001, ""), ("{{", "'", 4001, ""), ("{{", '"\\', 4000, ""),
    ("{{", '"a" ', 4000, ""),
    ("{{", "| ", 4000, "}}"), ("{{.Str", " | print", 4000, "}}"), ("{{", ".a", 4000, "}}"), ("{{$", ".a", 4000, "}}"),
    ("", "{{$x := 1}}", 4000, ""), ("", "{{.Str}}", 4000, ""), ("", " \n", 4000, "{{- 1}}"),
    ("{{1 -}}", " \n", 4000, ""), ("{{ ", " \n", 4000, ""), ("{{", " -", 4000, ""), ("{{", "-", 4000, "}}"),
    ("{{", "9", 4301, "}}"), ("{{1e", "9", 4301, "}}"), ("{{0x", "f", 4301, "}}"), ("{{.", "9", 4301, "}}"),
    ('{{"', "\\x41", 4000, '"}}'), ('{{printf "', "%d", 4000, '"}}'), ('{{printf "', "%[1]d", 4000, '" 1}}'),
    ('{{printf "%', "0", 4000, '" 1}}'), ('{{printf "%', "9", 4301, 'd" 1}}'), ('{{printf "%', "[", 4000, '" 1}}'),
    ('{{printf "%*d" ', "9", 12, " 1}}"),
    ('{{printf "%.*f" ', "9", 12, " 1.5}}"), ('{{printf "%-', "9", 12, 's" .Str}}'),
    ('{{printf "%.', "9", 12, 'd" 1}}'), ('{{printf "%.', "9", 12, 'e" 1.5}}'), ("", "x", 1000000, ""),
], ids=lambda row: "%s%.12s * %s%.12s" % row)
def test_a_template_of_any_size_gives_a_text_or_a_machine_error(start, unit, count, end):
    check(start + unit * count + end, DATA["values"])


# --- on the command line

URL = "tcp://192.0.2.1:2376"
NO_FIELD = 'template: there is no field "Nope"'
UNCLOSED = 'template: unexpected end in an action: ""'


@pytest.mark.parametrize("template, text", [
    ("{{.Name}}", "web"), ("{{.Driver.URL}}", URL), ("{{json .Driver.URL}}", '"%s"' % URL), ("{{.ConfigVersion}}", "3"),
    ("{{.Driver.Nope.Deeper}}", "<no value>"), ("plain", "plain"), ("{{.Name}}\\t{{.Name}}", "web\\tweb"),
    ('{{range $i, $part := split .Name "e"}}{{$i}}{{$part}} {{end}}', "0w 1b "),
    ('{{if eq .DriverName "none"}}{{printf "%-6s|" .Name | upper}}{{else}}other{{end}}', "WEB   |"),
    ("{{with .Driver}}{{$.Name}} {{.URL}}{{end}}", "web " + URL),
])
def test_inspect_fills_in_a_template(call, add, template, text):
    add("web", URL)
    assert call("inspect", "-f", template, "web") == (0, text + "\n", "")


@pytest.mark.parametrize("template, message", [
    ("{{.Name", "template parsing error: " + UNCLOSED),
    ("{{nope .Name}}", 'template parsing error: template: the function "nope" is not defined'),
    ("{{if .Name}}", 'template parsing error: template: unexpected end of text: ""'),
    ("{{$x}}", "template parsing error: template: $x is not defined"),
    ("\n{{.Name}} {{end}}", 'template parsing error: template: unexpected end: "end"'),
    ("{{.Name}} {{.Name.First}}", 'template: there is no field "First"'),
    ("{{.Name}}{{index .Name 9}}", 'template: index cannot use ["web",9]'),
    ("{{len .ConfigVersion}}", "template: len cannot use [3]"),
    ("{{if eq .Name 3}}{{end}}", 'template: eq cannot use ["web",3]'),
    ("{{split .Name}}", 'template: split cannot use ["web"]'),
    ('{{printf "%c" 1}}', 'template: printf cannot use ["%c",1]'),
])
def test_inspect_tells_a_template_error_in_one_line_and_answers_nothing(call, add, template, message):
    add("web", URL)
    assert call("inspect", "-f", template, "web") == (1, "", message + "\n")


@pytest.mark.parametrize("template, lines", [
    ("{{.Name}}", ["a", "web"]), ("  {{.Name}}  ", ["a", "web"]),
    ("{{.NAME}} {{.drivername}} {{.uRL}}", ["a none URL", "web none URL"]),
    ("{{.Name}}\\t{{.State}}", ["a\tRunning", "web\tRunning"]), ("{{.Name}}\\n", ["a", "", "web", ""]),
    ('{{.Name | upper | printf "%5s|"}}', ["    A|", "  WEB|"]), ("{{json .Name}}{{len .Name}}", ['"a"1', '"web"3']),
    ('{{if eq .Name "web"}}{{.State}}{{else}}-{{end}}', ["-", "Running"]),
    ("{{.ActiveHost}} {{.ActiveSwarm}}", ["false false", "false false"]), ("table {{.Name}}", ["NAME", "a", "web"]),
    ("table {{.Name}}\\t{{.DriverName}}", ["NAME   DRIVER", "a      none", "web    none"]),
    ("table {{.name}}\\t{{.State | lower}}", ["NAME   state", "a      running", "web    running"]),
    ("{{.State}} {{printf \"%d %v\" .State .State}}", ["Running 1 Running"] * 2),
    ('{{eq .State "Running"}} {{printf "%q" .State}}', ['true "Running"'] * 2),
    ("{{.Name -}}", ["aweb"]), ("{{.Name}} {{- /* no line for each */ -}}", ["aweb"]), ("x {{- `` -}}", ["xx"]),
])
def test_ls_fills_in_a_template_for_each_machine(call, add, engine_port, template, lines):
    url = "tcp://127.0.0.1:%d" % engine_port
    for machine in ("web", "a"):
        add(machine, url)
    assert call("ls", "-f", template) == (0, "".join(line.replace("URL", url) + "\n" for line in lines), "")


def test_the_response_time_is_a_duration_as_in_go(call, add, engine_port):
    """A client of node's asks for nanoseconds: printf "%d"."""
    add("web", "tcp://127.0.0.1:%d" % engine_port)
    ended = call("ls", "-f", '{{.ResponseTime}} {{.ResponseTime | printf "%d"}} {{json .ResponseTime}}')
    text, whole, encoded = ended.out.split()
    assert re.fullmatch(r"\d+ms|[\d.]+s", text) and 0 < int(whole) == int(encoded) < 90e9


@pytest.mark.parametrize("seconds, text", [
    (0, "0ms"), (.016, "16ms"), (3.053, "3.053s"), (62.5, "1m2.5s"), (10, "10s")])
def test_a_duration_prints_as_go_prints_it(seconds, text):
    duration = core.Duration(seconds)
    assert (str(duration), core.go_text(duration), core.go_text([duration])) == (text, text, "[%s]" % text)
    assert core.go_text(duration, "", "d") == str(int(seconds * 1e9))


def test_json_of_a_whole_row_is_an_object_with_all_fields_of_ls(call, add, engine_port):
    url = "tcp://127.0.0.1:%d" % engine_port
    add("web", url)
    ended = call("ls", "-f", "{{json .}}")
    row = json.loads(ended.out)
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    assert set(row) == {
        "Name", "Active", "ActiveHost", "ActiveSwarm", "DriverName", "State", "URL", "SwarmOptions", "Swarm",
        "EngineOptions", "Error", "DockerVersion", "ResponseTime", "SwarmMode"}
    assert [row[key] for key in ("Name", "State", "URL", "ActiveHost")] == ["web", "Running", url, False]


@pytest.mark.parametrize("template, message", [
    ("{{.Name", UNCLOSED), ("{{if .Name}}", r'template: unexpected end of text: "\n"'),
    ("table {{.Name}}\\t{{.Name", UNCLOSED),
    ("{{nope}}", 'template: the function "nope" is not defined'), ("{{.Nope}}", NO_FIELD),
    ("table {{.Nope}}", NO_FIELD),
    ('{{if eq .Name "web"}}{{index .Name 9}}{{end}}', 'template: index cannot use ["web",9]'),
    ("{{.State.Nope}}", NO_FIELD),
])
def test_ls_tells_a_template_error_in_one_line_and_answers_nothing(call, add, closed_port, template, message):
    for machine in ("a", "web"):
        add(machine, "tcp://127.0.0.1:%d" % closed_port)
    assert call("ls", "-f", template) == (1, "", message + "\n")


def test_a_text_that_no_terminal_can_show_is_written_without_a_traceback(dm, add):
    path = pathlib.Path(add("web", URL).folder) / "config.json"
    config = json.loads(path.read_text())
    config["Driver"]["Odd"] = "\ud800|\u4e16"
    path.write_text(json.dumps(config))
    for letters in ("C.UTF-8", "C", "POSIX"):
        ended = dm("inspect", "-f", '{{.Driver.Odd}} {{"\\u00e9"}}', "web", LC_ALL=letters)
        assert (ended.code, ended.err) == (0, "") and ended.out.startswith("\ufffd|\u4e16 \u00e9")


def test_a_tab_within_a_text_is_one_as_it_is():
    assert core.Template('{{printf "%s\t%s" "a" .B}}{{"\t"}}').render({"B": "b"}) == "a\tb\t"
