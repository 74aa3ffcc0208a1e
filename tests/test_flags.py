"""The command line is read as Docker Machine reads it (cli.md 1.1 and 1.2), with exit code 2 for what is wrong."""

import os

import pytest

from docker_machine import Flag, UsageError, parse_flags, store_flags

FLAGS = (
    Flag("quiet", False, "", short="q", env="T_QUIET"),
    Flag("timeout", 10, "", short="t", env="T_TIMEOUT"),
    Flag("format", "", "", short="f", env="T_FORMAT"),
    Flag("storage-driver", "aufs", ""),
    Flag("label", [], "", env="T_LABEL"),
)
DEFAULTS = {"quiet": False, "timeout": 10, "format": "", "storage-driver": "aufs", "label": []}


def parse(line, **environ):
    return parse_flags(FLAGS, line.split("|") if line else [], environ)


@pytest.mark.parametrize("line, given, rest", [
    ("", {}, []),
    ("-quiet", {"quiet": True}, []),
    ("--quiet", {"quiet": True}, []),
    ("-q", {"quiet": True}, []),
    ("--q", {"quiet": True}, []),
    ("--quiet=false", {"quiet": False}, []),
    ("-q=F", {"quiet": False}, []),
    ("--quiet=1", {"quiet": True}, []),
    ("--quiet|false", {"quiet": True}, ["false"]),
    ("-q|-q=0", {"quiet": False}, []),
    ("--timeout|7", {"timeout": 7}, []),
    ("-t=7", {"timeout": 7}, []),
    ("-t|0x1F", {"timeout": 31}, []),
    ("-t|-3", {"timeout": -3}, []),
    ("-t|+3", {"timeout": 3}, []),
    ("-t|1|-t|2", {"timeout": 2}, []),
    ("--format|{{.Name}}", {"format": "{{.Name}}"}, []),
    ("--format=a=b", {"format": "a=b"}, []),
    ("--format=", {"format": ""}, []),
    ("--storage-driver=", {"storage-driver": ""}, []),
    ("--format|--quiet", {"format": "--quiet"}, []),
    ("--format|--", {"format": "--"}, []),
    ("--label|a=b,c|--label=d", {"label": ["a=b,c", "d"]}, []),
    ("--label|--|--label=--|--label|-q|--label=| x", {"label": ["--", "--", "-q", ""]}, [" x"]),
    ("a|b", {}, ["a", "b"]),
    ("-", {}, ["-"]),
    ("a||b", {}, ["a", "", "b"]),
    ("a|-q|b|-t|3", {"quiet": True, "timeout": 3}, ["a", "b"]),
    ("--|-q", {}, ["-q"]),
    ("a|--|-q|--|b", {}, ["a", "-q", "--", "b"]),
])
def test_words_become_flags_and_the_rest_keeps_its_order(line, given, rest):
    assert parse(line) == (dict(DEFAULTS, **given), rest)


@pytest.mark.parametrize("line, words", [
    ("--colour", "flag provided but not defined: -colour"),
    ("-colour=red", "flag provided but not defined: -colour"),
    ("-qf|x", "flag provided but not defined: -qf"),
    ("-t5", "flag provided but not defined: -t5"),
    ("--Quiet", "flag provided but not defined: -Quiet"),
    ("---quiet", "bad flag syntax: ---quiet"),
    ("--=x", "bad flag syntax: --=x"),
    ("-=x", "bad flag syntax: -=x"),
    ("-filter", "flag provided but not defined: -filter"),
    ("--format", "flag needs an argument: -format"),
    ("a|-f", "flag needs an argument: -f"),
    ("-t|abc", 'invalid value "abc" for flag -t: parse error'),
    ("--timeout=1.5", 'invalid value "1.5" for flag -timeout: parse error'),
    ("-t=", 'invalid value "" for flag -t: parse error'),
    ("-t|0x", 'invalid value "0x" for flag -t: parse error'),
    ("-q=x", 'invalid boolean value "x" for -q: parse error'),
    ("--quiet=", 'invalid boolean value "" for -quiet: parse error'),
    ("--quiet=yes", 'invalid boolean value "yes" for -quiet: parse error'),
    ("-q|-quiet", "Cannot use two forms of the same flag: q quiet"),
    ("-f|x|--format|y", "Cannot use two forms of the same flag: f format"),
])
def test_a_wrong_word_is_refused_in_the_words_of_docker_machine(line, words):
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert (caught.value.message, caught.value.code) == (words, 2)


@pytest.mark.parametrize("line, hint", [
    ("--quite", "Did you mean --quiet?"), ("--time-out|5", "Did you mean --timeout?"),
    ("-storagedriver=x", "Did you mean --storage-driver?"), ("-x", ""), ("--wholly-other", ""),
])
def test_a_mistyped_flag_gets_the_nearest_one_as_a_hint(line, hint):
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert caught.value.hint == hint


@pytest.mark.parametrize("environ, line, given", [
    ({"T_QUIET": "true"}, "", {"quiet": True}),
    ({"T_QUIET": "true"}, "-q=false", {"quiet": False}),
    ({"T_TIMEOUT": "0x10"}, "", {"timeout": 16}),
    ({"T_TIMEOUT": "16"}, "-t|3", {"timeout": 3}),
    ({"T_FORMAT": ""}, "", {}),
    ({"T_FORMAT": "a b"}, "", {"format": "a b"}),
    ({"T_FORMAT": "a b"}, "--format=", {"format": ""}),
    ({"T_LABEL": "a=1, b=2 ,c"}, "", {"label": ["a=1", "b=2", "c"]}),
    ({"T_LABEL": "a=1,b=2"}, "--label|c,d", {"label": ["a=1", "b=2", "c,d"]}),
    ({"T_LABEL": ""}, "", {}),
    ({"STORAGE_DRIVER": "x"}, "", {}),
])
def test_the_environment_comes_before_the_default_and_after_the_command_line(environ, line, given, capsys):
    assert parse(line, **environ) == (dict(DEFAULTS, **given), [])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name, value", [("T_TIMEOUT", "soon"), ("T_TIMEOUT", "1.5"), ("T_QUIET", "yes")])
def test_a_variable_that_is_no_value_is_ignored_with_a_warning(name, value, capsys):
    assert parse("", **{name: value}) == (DEFAULTS, [])
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("Warning: ")
    assert name in said.err and value in said.err and said.err.count("\n") == 1


def test_a_bad_variable_is_not_mentioned_where_the_command_line_decides(capsys):
    assert parse("-t|3", T_TIMEOUT="soon")[0]["timeout"] == 3
    assert capsys.readouterr().err == ""


def test_parsing_twice_does_not_mix_the_lists():
    parse("--label|a")
    assert parse("--label|b")[0]["label"] == ["b"]
    assert parse("")[0]["label"] == FLAGS[-1].default == []
    assert parse("")[0]["label"] is not FLAGS[-1].default


def test_without_interleaving_the_first_word_ends_the_flags():
    assert parse_flags(FLAGS, ["-q", "ls", "-f", "x"], {}, interleaved=False) == (
        dict(DEFAULTS, quiet=True), ["ls", "-f", "x"])
    assert parse_flags(FLAGS, ["--", "ls", "-q"], {}, interleaved=False) == (DEFAULTS, ["ls", "-q"])


# --- what is stored

ROWS = (
    Flag("port", 22, "", field="Port", port=True), Flag("speed", "slow", "", field="Speed", choices=("slow", "fast")),
    Flag("count", 1, "", field="Count", least=1, most=9), Flag("names", [], "", field="Names", form="[a-z]+"),
    Flag("key", "", "", field="Key", file=True), Flag("later", "", "", field="Later", file="any"),
    Flag("pin", "", "", field="Pin", secret=True, form="[0-9]+", hint="Digits."), Flag("loud", False, ""),
)


def stored(*words):
    settings = {"Other": 1}
    store_flags(ROWS, parse_flags(ROWS, words, {})[0], settings)
    return settings


def test_what_is_given_is_stored_under_the_field_and_a_default_leaves_what_is_there():
    assert stored() == stored("--port=22", "--speed=slow", "--loud") == {"Other": 1}
    assert stored("--port", "1", "--speed", "fast", "--names=b", "--names=a") == {
        "Other": 1, "Port": 1, "Speed": "fast", "Names": ["b", "a"]}


def test_the_path_of_a_file_is_stored_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "id").touch()
    path = os.path.abspath("id")
    for word in ("id", "./id", "~/id", path):
        assert stored("--key", word) == {"Other": 1, "Key": path}
        assert stored("--later", word + "x") == {"Other": 1, "Later": path + "x"}


@pytest.mark.parametrize("word, message, hint", [
    ("--port=0", "--port 0 is too small: at least 1.", ""),
    ("--port=65536", "--port 65536 is too large: at most 65535.", ""),
    ("--speed=warp", '--speed "warp" is none of: slow, fast.', ""),
    ("--speed=", '--speed "" is none of: slow, fast.', ""),
    ("--count=0", "--count 0 is too small: at least 1.", ""), ("--count=10", "--count 10 is too large: at most 9.", ""),
    ("--names=A", '--names "A" cannot be used.', ""), ("--names=", '--names "" cannot be used.', ""),
    ("--key=/no/such", '--key "/no/such" is not a file.', ""), ("--key=/", '--key "/" is not a file.', ""),
    ("--pin=abc", "--pin cannot be used.", "Digits."),
])
def test_a_value_that_a_row_does_not_take_is_refused_by_name(word, message, hint):
    with pytest.raises(UsageError) as caught:
        stored("--names=fine", word)
    assert (caught.value.message, caught.value.hint) == (message, hint)


# --- whole command lines

@pytest.mark.parametrize("line, err", [
    ("ls --quite", "flag provided but not defined: -quite\nDid you mean --quiet?\n"),
    ("ls -qf x", "flag provided but not defined: -qf\n"),
    ("ls --filter", "flag needs an argument: -filter\n"),
    ("ls -t abc", 'invalid value "abc" for flag -t: parse error\n'),
    ("--storage-pth x ls", "flag provided but not defined: -storage-pth\nDid you mean --storage-path?\n"),
    ("ls -s x", "flag provided but not defined: -s\n"),
    ("-storage-pth=x ls", "flag provided but not defined: -storage-pth\nDid you mean --storage-path?\n"),
    ("-sx ls", "flag provided but not defined: -sx\n"),
    ("-d ls", "flag provided but not defined: -d\n"),
    ("--debu ls", "flag provided but not defined: -debu\nDid you mean --debug?\n"),
    ("create -d none --ulr x web", "flag provided but not defined: -ulr\nDid you mean --url?\n"),
    ("create --url x -d", "flag needs an argument: -d\n"),
    ("create --driver", "flag needs an argument: -driver\n"),
    ("rm", "Error: Expected to get one or more machine names as arguments\nSee: docker-machine rm --help\n"),
])
def test_a_wrong_command_line_ends_with_code_2_and_words_on_stderr_alone(dm, call, line, err):
    assert call(*line.split()) == (2, "", err)
    assert not dm.store.exists()


@pytest.mark.parametrize("line, env", [
    ("-d none", {}), ("-d=none", {}), ("--d none", {}), ("--driver none", {}), ("--driver=none", {}),
    ("-driver none", {}), ("-driver=none", {}), ("", {"MACHINE_DRIVER": "none"}),
    ("-d none", {"MACHINE_DRIVER": "generic"}),
])
def test_create_knows_its_driver_before_the_drivers_flags(call, line, env):
    ended = call("create", "--swarm-discovery", "x", "--url", "tcp://h:1", *line.split(), "web", **env)
    assert ended.code == 2 and "Swarm Discovery URL was in the wrong format: x" in ended.err  # it got past --url


def test_create_takes_the_flags_of_its_driver_only(call):
    ended = call("create", "-d", "none", "--generic-ip-address", "192.0.2.1", "web")
    assert ended == (2, "", "flag provided but not defined: -generic-ip-address\n")


@pytest.mark.parametrize("line, words", [
    ("--engine-label -d -d none --url tcp://h:1 web", '--engine-label "-d" cannot be used.'),
    ("--engine-label --help -d none --url tcp://h:1 web", '--engine-label "--help" cannot be used.'),
    ("--generic-ssh-user -d -d generic --generic-ip-address h web", '--generic-ssh-user "-d" cannot be used.'),
    ("--url --driver=generic -d none --engine-label=x web", '--engine-label "x" cannot be used.'),
    ("-d none --unheard-of -d web", "flag provided but not defined: -unheard-of"),
    ("--unheard-of -h web -d none", "flag provided but not defined: -unheard-of"),
])
def test_a_value_that_looks_like_driver_or_help_is_neither(dm, call, line, words):
    ended = call("create", *line.split())
    assert (ended.code, ended.out) == (2, "") and words in ended.err
    assert not dm.store.exists()


def test_help_of_create_is_that_of_the_driver_wherever_it_is_named(call):
    for line in ("--help -d none", "--engine-label -d -d none --help", "-h --driver=none web"):
        ended = call("create", *line.split())
        assert ended.code == 0 and "--url" in ended.out and "--generic-" not in ended.out


def test_an_unknown_driver_is_one_sentence_with_the_nearest_as_a_hint(dm, call):
    ended = call("create", "-d", "genric", "web")
    assert ended.code == 1 and ended.out == ""
    assert ended.err == 'Driver "genric" not found.\nDid you mean --driver generic?\n'
    assert not dm.store.exists()


@pytest.mark.parametrize("line, out", [
    ("-s {0} ls -q", "web\n"), ("--storage-path={0} ls -q", "web\n"), ("-storage-path {0} ls -q", "web\n"),
    ("-s {0} -- ls -q", "web\n"), ("ls -q", ""),
])
def test_global_flags_stand_before_the_command_and_win_over_the_environment(dm, call, add, tmp_path, line, out):
    add("web")
    ended = call(*line.format(dm.store).split(), MACHINE_STORAGE_PATH=tmp_path / "elsewhere")
    assert ended.code == 0
    assert ended.out == out if out is not None else ended.out.startswith("NAME ")


def test_the_store_is_in_the_home_folder_unless_told_otherwise(dm):
    path = dm.home / ".docker" / "machine" / "machines" / "web"
    path.mkdir(parents=True)
    assert dm("ls", "-q", MACHINE_STORAGE_PATH=None).out == ""  # broken: never in a list of names
    assert "web" in dm("ls", MACHINE_STORAGE_PATH=None).out


def test_an_empty_storage_path_is_refused_rather_than_taken_for_the_default(call):
    """`-s "$UNSET" rm -f web` must not reach into another store."""
    assert call("-s", "", "ls").code == 2


def test_version_and_help_win_over_the_command(call):
    assert call("-v", "ls").out == call("--version").out == call("version").out
    assert call("--help", "ls").out == call("help").out == call().out


@pytest.mark.parametrize("name", ["url", "ls", "rm", "create", "ssh", "scp", "env"])
@pytest.mark.parametrize("flag", ["-h", "--help", "-help"])
def test_every_form_of_help_gives_the_commands_help_and_does_nothing(capsys, monkeypatch, tmp_path, name, flag):
    from docker_machine import main
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(tmp_path / "store"))
    assert main(["docker-machine", name, flag]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Usage: docker-machine %s " % name) and said.err == ""
    assert not (tmp_path / "store").exists()


def test_debugging_is_told_on_stderr_and_never_shows_a_secret(dm):
    ended = dm("--debug", "--bugsnag-api-token=s3cr3t-t0k3n", "--github-api-token", "gh-s3cr3t-t0k3n", "s3cr3t-t0k3n")
    assert ended.code == 2 and "s3cr3t" not in ended.out + ended.err
