"""Engine options on their way from the command line to dockerd: what is refused, how they get along
with a daemon.json, and that every value arrives literally through shell and systemd."""

import json
import os
import re
import shutil
import subprocess

import pytest
from guest import CERTIFICATES, DROP_IN, SHELLS, Guest, engine_options, os_release

import docker_machine as dm

NASTY = (
    "plain", "", " ", " lead", "trail ", "two  blanks", "a'b", 'a"b', "'", '"', '"q" \'s\'', "\\",
    "trail\\", "a\\nb", "\\x41\\t", "%", "%n %% %h", "100%", "$", "$$", "$HOME", "${HOME}", "$(id)",
    "`id`", ";", "a;b", "; rm", "#", "&", "|", "<>", "!", "!!", "*", "?", "[a]", "{a,b}", "~", "-n",
    "--", "=", "a=b=c", "a,b", "@", "^", "new\nline", "\n", "trail\n\n", "tab\there", "\t",
    "grüße", "日本", "\U0001f433", "\u00a0", "\u2028", "'\\''", '\\"', "$'x'", "\\$",
    "%%$$\\\\",
)


# --- an independent reading of unit files: systemd.syntax(7), systemd.service(5)

ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " ",
           "\\": "\\", '"': '"', "'": "'"}


def unit_words(line):
    """The words of a line, unquoted and with C escapes resolved."""
    words, word, begun, quote, i = [], "", False, "", 0  # type: list, str, bool, str, int
    while i < len(line):
        char, i = line[i], i + 1
        if char in " \t\n" and not quote:
            words, word, begun = words + [word] * begun, "", False
            continue
        begun = True
        if char == "\\" and line[i] == "x":
            word, i = word + chr(int(line[i + 1:i + 3], 16)), i + 3
        elif char == "\\":
            word, i = word + ESCAPES[line[i]], i + 1
        elif char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote = char
        else:
            word += char
    assert not quote, "an open quote in " + line
    return words + [word] * begun


def specifiers_resolved(word):
    return re.sub("%(.)", lambda match: {"%": "%"}[match.group(1)], word)


def exec_start(line):
    """What is executed; a variable that is not there would show as <NAME>."""
    words = [specifiers_resolved(word) for word in unit_words(line)]
    return [re.sub(r"\$(\$|\{\w+\})", lambda match: "$" if match.group(1) == "$" else
                   "<%s>" % match.group(1)[1:-1], word)
            if not re.match(r"\$\w+$", word) else "<%s>" % word[1:] for word in words]


def environment(line):
    return [specifiers_resolved(word) for word in unit_words(line)]


@pytest.mark.parametrize("line, words", [  # the examples of systemd.service(5), systemd.exec(5)
    ("echo $ONE $TWO ${TWO}", ["echo", "<ONE>", "<TWO>", "<TWO>"]),
    ('"one two" $$five "$$"', ["one two", "$five", "$"]),
    ("a\\x20b 'c d'  \"e'f\"", ["a b", "c d", "e'f"]),
    ('"--a=%%n" "\\n\\t\\\\\\""', ["--a=%n", '\n\t\\"']),
    ("x=${Y}z", ["x=<Y>z"]),
])
def test_this_reading_knows_the_examples_of_the_manual(line, words):
    assert exec_start(line) == words


def test_this_reading_knows_the_example_of_environment():
    line = 'Environment="VAR1=word1 word2" VAR2=word3 "VAR3=$word 5 6"'.partition("=")[2]
    assert environment(line) == ["VAR1=word1 word2", "VAR2=word3", "VAR3=$word 5 6"]


# --- quoting for systemd

@pytest.mark.parametrize("word, quoted", [
    ("--label=a=b", "--label=a=b"), ("tcp://[::]:2376", "tcp://[::]:2376"), ("", '""'),
    ("a b", '"a b"'), ('a"b', '"a\\"b"'), ("a'b", '"a\'b"'), ("a\\b", '"a\\\\b"'),
    ("50%", '"50%%"'), ("$HOME", '"$$HOME"'), ("a\nb\tc", '"a\\nb\\tc"'), (";", '";"'),
    ("é", '"é"'),
])
def test_a_word_of_exec_start_is_quoted_by_the_manual(word, quoted):
    assert dm.systemd_words([word]) == quoted


@pytest.mark.parametrize("value", list(NASTY) + [chr(code) * 2 for code in range(32, 127)])
def test_every_value_survives_the_unit_file(value):
    words = ["--label=k=" + value, "--debug", "--%s=%s" % (value or "x", value)]
    line = dm.systemd_words(words)
    assert "\n" not in line and exec_start(line) == words
    variables = ["A=" + value, "B=" + value]
    line = dm.systemd_words(variables, expands=False)
    assert "\n" not in line and environment(line) == variables


def test_no_variables_make_no_line_since_an_empty_one_would_reset():
    for variables in ([], None):  # type: ignore[var-annotated]
        assert "\nENVIRONMENT=''\n" in script_of(Env=variables)


def dump_of_systemd(path):
    """(what it read, what it complained of)"""
    env = dict(os.environ, SYSTEMD_LOG_LEVEL="debug", SYSTEMD_COLORS="0", LC_ALL="C.UTF-8")
    process = subprocess.Popen(["systemd-analyze", "verify", "--man=no", str(path)], env=env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    return [text.decode(errors="replace") for text in process.communicate(timeout=60)]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_the_real_systemd_reads_the_same_values(tmp_path):
    values = [value for value in NASTY if value != "\u2028"]
    arguments = dm.systemd_words("--a%d=%s" % pair for pair in enumerate(values))
    variables = ["V%d=%s" % pair for pair in enumerate(values) if "\n" not in pair[1]]
    unit = tmp_path / "engine.service"
    unit.write_bytes(("[Service]\nExecStart=\nExecStart=/bin/true %s\nEnvironment=%s\n" % (
        arguments, dm.systemd_words(variables, expands=False))).encode())
    said, complaints = dump_of_systemd(unit)
    assert [line for line in complaints.splitlines() if str(unit) + ":" in line] == []
    if "Command Line:" not in said:
        pytest.skip("this systemd-analyze does not tell what it read")
    line = re.findall(r"Command Line: (.*)", said)[0]
    # It prints them quoted for a shell: that undone, $$ is left, which is resolved at the start.
    words = [word.replace("$$", "$") for word in unit_words(re.sub(r"\\([$`])", r"\1", line))]
    if words[1:3] == ["--a0=plain", "--a1="]:  # since systemd 247; it was unquoted before
        assert words[1:] == ["--a%d=%s" % pair for pair in enumerate(values)]
    read = re.findall(r"(?m)^\s*Environment: (.*)", said)
    assert [text for text in read if text.startswith("V")] == variables


# --- the whole way: Plan.script() through a shell into the drop-in

@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_nasty_values_arrive_through_every_shell(tmp_path, shell):
    guest = Guest(tmp_path, shell)
    guest.write("/etc/os-release", os_release("debian-12"))
    guest.install("docker.io")
    labels = ["k%d=%s" % pair for pair in enumerate(NASTY)]
    variables = ["V%d=%s" % pair for pair in enumerate(NASTY)]
    options = ["opt%d=%s" % pair for pair in enumerate(NASTY)]
    everything = dict(
        Labels=labels, Env=variables, ArbitraryFlags=options + ["debug"],
        InsecureRegistry=list(NASTY), RegistryMirror=["https://m/" + value for value in NASTY])
    dm.check_engine_options(engine_options(**everything))
    run = guest.provision(**everything)
    assert (run.done, run.stderr) == ("yes", "")
    lines = guest.read(DROP_IN).split("\n")
    assert lines[:2] == ["[Service]", "ExecStart="] and len(lines) == 5 and lines[4] == ""
    assert lines[2].startswith("ExecStart=") and lines[3].startswith("Environment=")
    words = exec_start(lines[2].partition("=")[2])
    assert words[:7] == ["/usr/sbin/dockerd", "-H", "tcp://0.0.0.0:2376", "-H", "fd://",
                         "--containerd=/run/containerd/containerd.sock", "--tlsverify"]
    assert words[10:] == (
        ["--label=" + label for label in labels + ["provider=generic"]] +
        ["--insecure-registry=" + value for value in NASTY] +
        ["--registry-mirror=https://m/" + value for value in NASTY] +
        ["--" + option for option in options] + ["--debug"])
    assert environment(lines[3].partition("=")[2]) == variables
    assert guest.provision(**everything).done == "no"


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_nasty_variables_survive_boot2dockers_profile(tmp_path, shell):
    guest = Guest(tmp_path, shell, "tce", without=["systemctl", "journalctl", "hostnamectl"])
    guest.write("/etc/os-release", os_release("boot2docker"))
    guest.install("static", active=False)
    guest.write("/etc/init.d/docker", "#!/bin/sh\n", 0o755)
    shutil.rmtree(str(guest.path("/run/systemd")))
    values = [value for value in NASTY if not value.endswith("\n")]
    run = guest.provision(Env=["V%d=%s" % pair for pair in enumerate(values)], StorageDriver="vfs",
                          ArbitraryFlags=["log-level=debug", "tls=false"])
    assert (run.done, run.stderr) == ("yes", "")
    script = '. "$0"\nprintf "%s\\0" "$EXTRA_ARGS" "$DOCKER_STORAGE" ' + " ".join(
        '"$V%d"' % i for i in range(len(values)))
    argv = SHELLS[shell][:-1] + ["-c", script, str(guest.path("/var/lib/boot2docker/profile"))]
    words = subprocess.check_output(argv).decode().split("\0")
    assert words[0].split() == ["--label=provider=generic", "--log-level=debug"]
    assert (words[1], words[2:-1]) == ("vfs", values)


@pytest.mark.parametrize("value", [" ", "a b", "'", '"', "$", "`", "\\", "*", "?", "[", "\n", "\t"])
def test_what_boot2docker_would_split_is_refused(value):
    with pytest.raises(dm.UsageError):
        script_of(release="boot2docker", Labels=["a=" + value])


# --- the script's head

def script_of(url="tcp://192.0.2.7:2376", name="web", release="debian-12", **options):
    facts = dm.Facts(os=os_release(release), init="systemd")
    return dm.Plan(facts, engine_options(**options), name, "generic", url).script(CERTIFICATES)


@pytest.mark.parametrize("url, tcp", [
    ("tcp://192.0.2.7:2376", "tcp://0.0.0.0:2376"), ("tcp://host.example:2400",
                                                    "tcp://0.0.0.0:2400"),
    ("tcp://[2001:db8::7]:2376", "tcp://[::]:2376"),
])
def test_the_engine_listens_on_every_address_of_the_machines_family(url, tcp):
    assert "\nTCP=%s\n" % dm.quote(tcp) in script_of(url)


@pytest.mark.parametrize("url, release, install, fallback", [
    (dm.DEFAULT_INSTALL_URL, "debian-12", "script:https://get.docker.com", "yes"),
    ("", "debian-12", "script:https://get.docker.com", "yes"),
    (dm.DEFAULT_INSTALL_URL, "alma-9", "repo:" + dm.CENTOS_REPO, "yes"),
    (dm.DEFAULT_INSTALL_URL, "amazon-2023", "package", "yes"),
    (dm.DEFAULT_INSTALL_URL, "photon-5", "none", "yes"),
    ("https://mirror/x", "amazon-2023", "script:https://mirror/x", "''"),
    ("none", "debian-12", "none", "''"), ("package", "rhel-9", "package", "''"),
])
def test_the_install_url_decides_where_an_engine_comes_from(url, release, install, fallback):
    script = script_of(release=release, InstallURL=url)
    assert "\nINSTALL=%s\nFALLBACK=%s\n" % (install, fallback) in script


def test_only_proxies_are_exported_to_the_installation():
    script = script_of(Env=["HTTPS_PROXY=http://u:p@p", "no_proxy=a b", "TOKEN=x", "PROXY_X=y"])
    assert re.findall("(?m)^export (.*=.*)", script) == ["HTTPS_PROXY=http://u:p@p",
                                                         "'no_proxy=a b'"]


@pytest.mark.parametrize("name, host", [
    ("web", "web"), ("web-1.example.com", "web-1.example.com"), ("a" * 63 + ".example", "a" * 63),
])
def test_a_name_too_long_for_linux_is_cut_at_its_first_dot(name, host):
    assert "\nNAME=%s\n" % host in script_of(name=name)


# --- what is refused before anything is touched

@pytest.mark.parametrize("options, words", [
    ({"Labels": ["novalue"]}, "novalue"), ({"Labels": ["=x"]}, "key=value"),
    ({"Labels": ["a=1", "a=2"]}, "a=2"),
    ({"Env": ["novalue"]}, "NAME=value"), ({"Env": ["=x"]}, "NAME=value"),
    ({"Env": ["1A=x"]}, "NAME=value"), ({"Env": ["A B=x"]}, "NAME=value"),
    ({"Env": ["A-B=x"]}, "NAME=value"), ({"Env": ["Ä=x"]}, "NAME=value"),
    ({"Env": ["A\n=x"]}, "NAME=value"), ({"Env": ["A=\0"]}, "control character"),
    ({"Labels": ["a=\r"]}, "control character"), ({"StorageDriver": "\x1b"}, "control character"),
    ({"Labels": ["a=\udcff"]}, "Labels"), ({"Env": ["A=\udc80"]}, "Env"),
    ({"RegistryMirror": ["mirror:5000"]}, "mirror:5000"),
    ({"RegistryMirror": ["ftp://mirror"]}, "http"),
    ({"ArbitraryFlags": ["--debug"]}, "without its dashes"), ({"ArbitraryFlags": ["-D"]}, "-D"),
    ({"ArbitraryFlags": [""]}, "--engine-opt"), ({"ArbitraryFlags": ["=x"]}, "--engine-opt"),
    ({"ArbitraryFlags": [" =x"]}, "--engine-opt"), ({"ArbitraryFlags": ["a b=c"]}, "name=value"),
    ({"ArbitraryFlags": ["log-level debug"]}, "name=value"),
    ({"ArbitraryFlags": ["tlskey=/x"]}, "tlskey"), ({"ArbitraryFlags": ["tlsverify"]}, "tlsverify"),
    ({"InstallURL": "ftp://x"}, "ftp://x"), ({"InstallURL": "get.docker.com"}, "get.docker.com"),
    ({"InstallURL": "file:///nonexistent/engine.tgz"}, "/nonexistent/engine.tgz"),
    ({"InstallURL": "file://" + __file__, "Version": "27"}, "--engine-version"),
])
def test_bad_options_are_refused_in_words(options, words):
    with pytest.raises(dm.UsageError) as refusal:
        check(options)
    assert words in refusal.value.message + refusal.value.hint


def check(options):
    """As `create` does: each flag's own check, and that of all together."""
    for flag in dm.ENGINE_FLAGS:
        flag.check(options.get(flag.field, flag.default) or flag.default)
    dm.check_engine_options(engine_options(**options))


@pytest.mark.parametrize("options", [
    {}, {"Labels": ["a=", "b=x=y", "c.d/e=f g"]}, {"Env": ["A=", "_a1=x=y", "A=b\nc\td"]},
    {"RegistryMirror": ["http://m:5000", "https://m/"]}, {"InstallURL": "file://" + __file__},
    {"InstallURL": "none"}, {"InstallURL": "package", "Version": "27.1"},
    {"ArbitraryFlags": ["debug", "log-level=debug", "mtu=1450", "log-opt=max-size=10m", "x="]},
    {"InsecureRegistry": ["10.0.0.0/8", "reg:5000"]}, {"Labels": None, "Env": None},
])
def test_good_options_pass(options):
    check(options)


def test_a_path_in_a_file_url_is_decoded(tmp_path):
    bundle = tmp_path / "an engine.tgz"
    assert "%20" in bundle.as_uri()
    with pytest.raises(dm.UsageError, match="there is no file %s$" % re.escape(str(bundle))):
        check({"InstallURL": bundle.as_uri()})
    bundle.write_bytes(b"")
    check({"InstallURL": bundle.as_uri()})
    check({"InstallURL": "file://%s" % bundle})


def test_a_bundle_whose_path_has_a_blank_is_sent(store, tmp_path, bin_folder, monkeypatch):
    bundle, sent = tmp_path / "an engine.tgz", tmp_path / "sent"
    bundle.write_bytes(b"\0the engine\xff")
    ssh = "cat >%s; exit 9" % dm.quote(str(sent))
    monkeypatch.setenv("PATH", str(bin_folder("cat", ssh=ssh)))
    machine = store.new("web", dm.GenericDriver)
    machine.driver["IPAddress"] = "192.0.2.7"
    machine.engine["InstallURL"] = bundle.as_uri()
    with pytest.raises(dm.MachineError, match="^The bundle cannot be copied to the host"):
        dm.upload_bundle(machine.driver.ssh(), dm.file_of_url(machine.engine["InstallURL"]))
    assert sent.read_bytes() == bundle.read_bytes()


@pytest.mark.parametrize("there, wanted, refused", [
    ("20.10.24+dfsg1", "20.10", False), ("20.10.24+dfsg1", "20.10.24", False),
    ("27.1.1", "27.1.1", False), ("27.1.1", "", False), ("", "27.1", False),
    ("20.10.24+dfsg1", "20.1", True), ("27.1.1", "28", True), ("27.1.1", "7.1", True),
])
def test_an_engine_of_another_version_is_refused(there, wanted, refused):
    facts = dm.Facts(os="ID=debian", init="systemd", elevate="root",
                     engine=there)
    if refused:
        with pytest.raises(dm.MachineError, match=re.escape(there)):
            dm.check_host(dm.Plan(facts, engine_options(Version=wanted)))
    else:
        dm.check_host(dm.Plan(facts, engine_options(Version=wanted)))


@pytest.mark.parametrize("facts, words", [
    ({"init": "runit"}, "does not run systemd but runit"), ({"snap": "yes"}, "snap"),
    ({"json": "{"}, "daemon.json"), ({"json": "[]"}, "daemon.json"),
    ({"json": '{"hosts": []}'}, '"hosts"'), ({"json": '{"proxies": "x"}'}, "daemon.json"),
    ({"elevate": "no", "sudo_words": "not {0}\n{facts}"}, "without a password (not {0} {facts})"),
])
def test_a_host_that_cannot_work_is_refused_while_nothing_is_changed(facts, words):
    sound = {"os": "ID=debian", "init": "systemd", "elevate": "root"}
    with pytest.raises(dm.MachineError) as refusal:
        dm.check_host(dm.Plan(dm.Facts(**dict(sound, **facts)), engine_options()))
    assert words in refusal.value.message


@pytest.mark.parametrize("release, options, words", [
    ("debian-12", {"InstallURL": "none"}, "no Docker Engine on the host, and no source"),
    ("photon-5", {}, "no Docker Engine on the host, and no source"),
    ("rhel-9", {"InstallURL": "package"}, "no Docker Engine on the host, and no source"),
    ("arch", {"Version": "27.1"}, "pacman cannot install Docker Engine 27.1"),
])
def test_a_host_for_which_there_is_no_engine_is_refused(release, options, words):
    facts = dm.Facts(host="the host", os=os_release(release), init="systemd", elevate="root")
    with pytest.raises(dm.MachineError) as refusal:
        dm.check_host(dm.Plan(facts, engine_options(**options)))
    assert words in refusal.value.message and refusal.value.hint


@pytest.mark.parametrize("skew, words", [
    (400, "the clock of 192.0.2.7 is 0:06:40 (400 s) ahead of this computer's"),
    (-90000, "(90000 s) behind this computer's"), (-300, ""),
])
def test_a_wrong_clock_is_warned_of(skew, words, capsys):
    facts = dm.Facts(host="192.0.2.7", os="ID=debian", init="systemd", elevate="root", skew=skew)
    dm.check_host(dm.Plan(facts, engine_options()))
    said = capsys.readouterr().err
    assert words in said if words else said == ""


# --- together with a daemon.json

NAMED = {  # dockerd flag -> its name in daemon.json: moby's daemon/command/config*.go
    "label": "labels", "insecure-registry": "insecure-registries", "host": "hosts",
    "registry-mirror": "registry-mirrors", "dns-opt": "dns-opts", "storage-opt": "storage-opts",
    "exec-opt": "exec-opts", "log-opt": "log-opts", "default-ulimit": "default-ulimits",
    "authorization-plugin": "authorization-plugins", "cdi-spec-dir": "cdi-spec-dirs",
    "default-address-pool": "default-address-pools", "default-network-opt": "default-network-opts",
    "node-generic-resource": "node-generic-resources", "feature": "features",
    "host-gateway-ip": "host-gateway-ips",
}
TLS = ["tlsverify", "tlscacert", "tlscert", "tlskey"]


def plan(file, **options):
    """(options left to pass, the file as it will be) for a host with this daemon.json."""
    text = file if isinstance(file, str) else json.dumps(file)
    left, new = plan_of(options, json=text).daemon()
    return left, json.loads(new or text.strip() or "{}")


def plan_of(options, **facts):
    return dm.Plan(dm.Facts(init="systemd", **facts), engine_options(**options), driver_name="generic")


def name_of(option):
    return option.partition("=")[0]


def fatal(options, file):
    """dockerd's own rule: what is both an option and in the file keeps it from starting."""
    keys = set(file) | set(file.get("proxies", {})) - {"runtimes"}
    return sorted(name for name in map(name_of, options) if NAMED.get(name, name) in keys)


@pytest.mark.parametrize("file, options, gone, merged", [
    ("", {"Labels": ["a=1"]}, [], {}), (" \n", {}, [], {}),
    ({}, {}, [], {}), ({"debug": True}, {"ArbitraryFlags": ["debug"]}, ["debug"], {}),
    ({"debug": True}, {"ArbitraryFlags": ["debug=true"]}, ["debug"], {}),
    ({"live-restore": False}, {"ArbitraryFlags": ["live-restore=false"]}, ["live-restore"], {}),
    ({"mtu": 1450}, {"ArbitraryFlags": ["mtu=1450"]}, ["mtu"], {}),
    ({"storage-driver": "vfs"}, {"StorageDriver": "vfs"}, ["storage-driver"], {}),
    ({"storage-driver": "vfs"}, {}, [], {}),
    ({"labels": ["a=1"]}, {"Labels": ["b=2"]}, ["label"],
     {"labels": ["a=1", "b=2", "provider=generic"]}),
    ({"labels": ["a=1", "provider=generic"]}, {"Labels": ["a=1"]}, ["label"], {}),
    ({"insecure-registries": ["x"]}, {"InsecureRegistry": ["x", "y"]}, ["insecure-registry"],
     {"insecure-registries": ["x", "y"]}),
    ({"registry-mirrors": []}, {"RegistryMirror": ["https://m"]}, ["registry-mirror"],
     {"registry-mirrors": ["https://m"]}),
    ({"dns": ["1.1.1.1"]}, {"ArbitraryFlags": ["dns=9.9.9.9"]}, ["dns"],
     {"dns": ["1.1.1.1", "9.9.9.9"]}),
    ({"tlscacert": "/etc/docker/ca.pem"}, {}, ["tlscacert"], {}),
    ({"log-opts": {"max-size": "1m"}, "unknown": {"x": [1]}}, {}, [], {}),
])
def test_equal_settings_are_left_to_the_file_and_lists_are_merged(file, options, gone, merged):
    left, result = plan(file, **options)
    assert left == [option for option in plan_of(options).options() if name_of(option) not in gone]
    original = json.loads(file) if isinstance(file, str) and file.strip() else file or {}
    assert result == (dict(original, **merged) if isinstance(file, dict) else {})
    assert fatal(left, result) == []


@pytest.mark.parametrize("file, options, key", [
    ({"hosts": ["fd://"]}, {}, "hosts"),
    ({"storage-driver": "vfs"}, {"StorageDriver": "overlay2"}, "storage-driver"),
    ({"tlsverify": False}, {}, "tlsverify"), ({"tlskey": "/x"}, {}, "tlskey"),
    ({"debug": False}, {"ArbitraryFlags": ["debug"]}, "debug"),
    ({"mtu": 1400}, {"ArbitraryFlags": ["mtu=1450"]}, "mtu"),
    ({"labels": "a=1"}, {}, "labels"), ({"labels": None}, {}, "labels"),
    ({"labels": ["provider=aws"]}, {}, "labels"), ({"labels": ["a=1"]}, {"Labels": ["a=2"]},
                                                   "labels"),
    ({"log-opts": {"max-size": "1m"}}, {"ArbitraryFlags": ["log-opt=max-size=2m"]}, "log-opts"),
])
def test_contradictions_are_refused_by_the_name_of_the_key(file, options, key):
    with pytest.raises(dm.MachineError) as refusal:
        plan(file, **options)
    assert '"%s"' % key in refusal.value.message and refusal.value.hint


PROXIES = {"http-proxy": "http://a", "https-proxy": "http://a", "no-proxy": "a"}
LISTED = sorted(set(NAMED) - {"log-opt", "default-ulimit", "default-network-opt", "feature"})


@pytest.mark.parametrize("name, value, file", [(name, "v=1", {NAMED[name]: ["w=1"]})
                                               for name in LISTED] + [
    ("log-opt", "a=1", {"log-opts": {"a": "2"}}), ("feature", "x=true", {"features": {"x": False}}),
    ("default-ulimit", "nofile=1:1", {"default-ulimits": {"nofile": {"Name": "nofile"}}}),
    ("default-network-opt", "bridge=a=b", {"default-network-opts": {"bridge": {"a": "c"}}}),
    ("dns-search", "a", {"dns-search": ["b"]}), ("bip", "10.0.0.1/8", {"bip": "10.1.0.1/8"}),
    ("allow-nondistributable-artifacts", "a", {"allow-nondistributable-artifacts": ["b"]}),
] + [(name, value, {"proxies": {name: "other"}}) for name, value in sorted(PROXIES.items())])
def test_no_plan_ever_lets_dockerd_find_an_option_twice(name, value, file):
    try:
        left, result = plan(file, ArbitraryFlags=[name + "=" + value])
    except dm.MachineError as refusal:
        key = name if "proxies" in file else NAMED.get(name, name)
        assert '"%s"' % key in refusal.message
    else:
        assert fatal(left, result) == []


def test_the_check_of_a_host_knows_the_label_of_the_machines_driver():
    facts = dm.Facts(os="ID=debian", init="systemd", elevate="root", json='{"labels": ["provider=generic"]}')
    dm.check_host(dm.Plan(facts, engine_options(), driver_name="generic"))
    with pytest.raises(dm.MachineError, match="provider=qemu"):
        dm.check_host(dm.Plan(facts, engine_options(), driver_name="qemu"))


def test_a_merge_is_stable():
    file, options = {"labels": ["a=1"], "dns": ["1.1.1.1"]}, dict(
        Labels=["b=2"], ArbitraryFlags=["dns=9.9.9.9", "mtu=1450"])
    first = plan(file, **options)
    assert plan(first[1], **options) == first
    assert plan_of(options, json=json.dumps(first[1])).daemon() == (first[0], "")


def test_our_own_tls_files_are_always_named():
    assert [name_of(option) for option in plan({"labels": []})[0]] == TLS
