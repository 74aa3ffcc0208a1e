"""Docker Machine's command line as a table: words, exit code, stdout, first line of stderr.

The machines are config.json files as Docker Machine writes them, of the driver "none", in front of a TLS engine on
127.0.0.1; what is broken, too new, of a missing driver or part of a Swarm stands among them. Rows that differ from
Docker Machine are those of docs/coming-from-docker-machine.md.
"""

import collections
import itertools
import json
import re
import shlex
import shutil
import time

import pytest
from conftest import HANG, VERSION, cases, engine, listening, pair

import docker_machine as core

Row = collections.namedtuple("Row", "line code out err stdin env")
ANY = re.compile("(?s).*")
NO_DEFAULT = 'Error: No machine name(s) specified and no "default" machine exists'
NO_SUCH = ('Docker machine "%s" does not exist. Use "docker-machine ls" to list machines. '
           'Use "docker-machine create" to add a new one.')
ONE_NAME = "Error: Expected one machine name as an argument"
TLS, BOILERPLATE = "Error checking TLS connection: ", "Error running connection boilerplate: "
NO_MASTER = '"web" is not a swarm master. The --swarm flag is intended for use with swarm masters'
NO_SWARM = "Connection to Swarm cannot be checked but the certs are valid. Maybe swarm is not started"
READY = ("To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: "
         "docker-machine env new\n")
REMOVING = "About to remove %s\nWARNING: This action will delete both local reference and remote instance.\n"


FORGETTING = "WARNING: This action will delete only the local reference of %s; the host itself stays as it is.\n"
SURE = "Are you sure? (y/n): "
GONE = "Successfully removed %s\n"


def forgetting(names):
    """What `rm` says of machines of the drivers "none" and "generic"."""
    return "About to remove %s\n" % names + FORGETTING % names


def row(line, code=0, out="", err="", stdin="", **env):
    """A command line and what comes of it.

    `out` is all of stdout and `err` the first line of stderr (none, if empty), or a regular expression for either.
    DEAD5 and the like stand for ports, STORE for the path of the store.
    """
    return Row(line, code, out, err, stdin, env)


def table(*rows):
    return cases("each", rows, ids=lambda each: "".join("%s=%s " % pair for pair in sorted(each.env.items()))
                 + each.line + (" < %r" % each.stdin if each.stdin else ""))


# --- machines

def none(url="tcp://127.0.0.1:PORT5", labels=(), **swarm):
    """config.json of the driver "none", less what depends on the store."""
    return {
        "ConfigVersion": 3, "Driver": {
            "IPAddress": url.partition("://")[2], "MachineName": "", "SSHUser": "", "SSHPort": 0, "SSHKeyPath": "",
            "StorePath": "", "SwarmMaster": False, "SwarmHost": "", "SwarmDiscovery": "", "URL": url},
        "DriverName": "none", "HostOptions": {
            "Driver": "", "Memory": 0, "Disk": 0, "EngineOptions": {
                "ArbitraryFlags": [], "Dns": None, "GraphDir": "", "Env": [], "Ipv6": False, "InsecureRegistry": [],
                "Labels": list(labels), "LogLevel": "", "StorageDriver": "", "SelinuxEnabled": False,
                "TlsVerify": True, "RegistryMirror": [], "InstallURL": "https://get.docker.com"},
            "SwarmOptions": dict({
                "IsSwarm": bool(swarm), "Address": "", "Discovery": "", "Agent": False, "Master": False,
                "Host": "tcp://0.0.0.0:3376", "Image": "swarm:latest", "Strategy": "spread", "Heartbeat": 0,
                "Overcommit": 0, "ArbitraryFlags": [], "ArbitraryJoinFlags": [], "Env": None,
                "IsExperimental": False}, **swarm),
            "AuthOptions": {}},
        "Name": ""}


MACHINES = {
    "web": none(labels=["rack=7", "Zone=A b"]),
    "Web": none(),
    "n2": none(labels=["rack=8"]), "n10": none(labels=["rack"]), "default": none(), "web-1": none(), "web-2": none(),
    "dead": none("tcp://127.0.0.1:DEAD5"), "hole": none("tcp://127.0.0.1:HOLE5"),
    "big": none("tcp://127.0.0.1:PORT5", Heartbeat=123456789012),
    "master": none(Discovery="token://abc", Master=True, Agent=True, Host="tcp://0.0.0.0:SWRM5"),
    "agent": none(Discovery="token://abc", Agent=True),
    "queen": none(Discovery="token://abc", Master=True, Host="tcp://0.0.0.0:SWRM5"),
    "stray": none(Discovery="token://other", Agent=True),
    "lonely": none(Discovery="token://lonely", Master=True, Host="tcp://0.0.0.0:DEAD5"),
    "mute": none("tcp://127.0.0.1:DEAD5", Discovery="token://mute", Master=True, Host="tcp://0.0.0.0:DEAD5"),
    "noplug": dict(none(), DriverName="missing"),
    "future": {"ConfigVersion": 99, "DriverName": "none", "Driver": {}},
    "nulls": dict(none(), HostOptions=None),
    "bad": '{"ConfigVersion": 3, "Driver"',
    "bare": None,  # a folder without config.json
}


@pytest.fixture(scope="module")
def ports(certs, server, engine_port):
    def hang(connection):
        time.sleep(HANG)

    with listening(engine(server, pair(certs, "ca"))) as swarm, listening(hang) as hole:
        yield {"PORT5": str(engine_port), "SWRM5": str(swarm), "HOLE5": str(hole)}


class World:
    """Machines in the store of `call`."""

    def __init__(self, dm, call, marks, certs):
        self.dm, self.call, self.marks, self.certs = dm, call, dict(marks, STORE=str(dm.store)), certs

    def fresh(self):
        """Have no machine, as at the beginning."""
        shutil.rmtree(str(self.dm.store))
        shutil.copytree(str(self.certs), str(self.dm.store / "certs"))
        self.dm.store.chmod(0o700)

    def real(self, text):
        for mark, value in self.marks.items():
            text = text.replace(mark, value)
        return text

    def add(self, *names):
        for name in names:
            folder = self.dm.store / "machines" / name
            folder.mkdir(parents=True)
            config = MACHINES[name]
            if isinstance(config, dict):
                config = json.loads(self.real(json.dumps(config)))
                config["Name"] = name
                config["Driver"].update(MachineName=name, StorePath=str(self.dm.store))
                if config.get("HostOptions"):
                    config["HostOptions"]["AuthOptions"] = core.Store(str(self.dm.store)).auth_options(name)
                for file in ("ca.pem", "cert.pem", "key.pem"):
                    if (self.dm.store / "certs" / file).exists():
                        shutil.copy(str(self.dm.store / "certs" / file), str(folder / file))
            if config is not None:
                (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config, indent=4))
        return self

    def run(self, line, stdin="", **env):
        env = {key: value if value is None else self.real(value) for key, value in env.items()}
        return self.call(*[self.real(word) for word in shlex.split(line)], stdin=stdin, **env)

    def check(self, each):
        ended = self.run(each.line, each.stdin, **each.env)
        assert ended.code == each.code, ended
        for expected, came in ((each.out, ended.out), (each.err, ended.err.partition("\n")[0])):
            if isinstance(expected, str):
                assert came == self.real(expected), ended
            else:
                assert re.fullmatch(self.real(expected.pattern), came), ended

    def bytes(self):
        return {path: path.read_bytes() if path.is_file() else None for path in sorted(self.dm.store.rglob("*"))}


@pytest.fixture
def world(dm, call, store, ports, closed_port, certs):
    return World(dm, call, dict(ports, DEAD5=str(closed_port)), certs)


# --- the program and its flags (cli.md 1)

APPLICATION = re.compile(r"(?s)Usage: docker-machine \[OPTIONS\] COMMAND \[arg\.\.\.\]\n.*\nOptions:\n.*\nCommands:\n"
                         r".*\nRun 'docker-machine COMMAND --help' for more information on a command\.\n")
VERSION_LINE = re.compile(r"docker-machine version \S+, build [0-9a-f]+\n")


@table(
    row("", out=APPLICATION), row("help", out=APPLICATION), row("h", out=APPLICATION), row("-h", out=APPLICATION),
    row("--help", out=APPLICATION), row("-help", out=APPLICATION), row("--help bogus", out=APPLICATION),
    row("version", out=VERSION_LINE), row("-v", out=VERSION_LINE), row("--version", out=VERSION_LINE),
    row("-version", out=VERSION_LINE), row("-v bogus", out=VERSION_LINE),
    row("bogus", 2, err="docker-machine: 'bogus' is not a docker-machine command. See 'docker-machine --help'."),
    row("-D=false bogus", 2,
        err="docker-machine: 'bogus' is not a docker-machine command. See 'docker-machine --help'."),
    row("help bogus", 2, err="docker-machine: 'bogus' is not a docker-machine command. See 'docker-machine --help'."),
    row("Ls", 2, err="docker-machine: 'Ls' is not a docker-machine command. See 'docker-machine --help'."),
    row("--storage-path STORE url web", out="tcp://127.0.0.1:PORT5\n", MACHINE_STORAGE_PATH=None),
    row("-s STORE url web", out="tcp://127.0.0.1:PORT5\n", MACHINE_STORAGE_PATH="/nowhere"),
    row("-s=STORE url web", out="tcp://127.0.0.1:PORT5\n", MACHINE_STORAGE_PATH=""),
    row("url web", out="tcp://127.0.0.1:PORT5\n"),
    row("url web -s STORE", 2, err="flag provided but not defined: -s"),
    row("url --storage-path STORE web", 2, err="flag provided but not defined: -storage-path"),
    row("--native-ssh --github-api-token t --bugsnag-api-token=no-report --tls-ca-cert=/x --tls-ca-key /x "
        "--tls-client-cert=/x --tls-client-key=/x url web", out="tcp://127.0.0.1:PORT5\n"),
    row("url web", out="tcp://127.0.0.1:PORT5\n", MACHINE_NATIVE_SSH="1", MACHINE_BUGSNAG_API_TOKEN="no-report",
        MACHINE_GITHUB_API_TOKEN="t", MACHINE_TLS_CA_CERT="/x"),
    row("-native-ssh=maybe url web", 2, err='invalid boolean value "maybe" for -native-ssh: parse error'),
    row("-s", 2, err="flag needs an argument: -s"),
    row("-s STORE --storage-path STORE ls", 2, err="Cannot use two forms of the same flag: s storage-path"),
    row("-- url web", out="tcp://127.0.0.1:PORT5\n"),
    row("url -- web", out="tcp://127.0.0.1:PORT5\n"),
    row("url -- -q", 1, err=NO_SUCH % "-q"),
    row("url --url web", 2, err="flag provided but not defined: -url"),
    row("url web extra", 2, err=ONE_NAME),
    row("help url web", out=re.compile("(?s)Usage: docker-machine url .*")),
)
def test_the_program_and_its_global_flags(world, each):
    world.add("web").check(each)


@table(
    row("-D url web", err=ANY), row("--debug url web", err=ANY), row("-debug url web", err=ANY),
    row("url web", err=ANY, MACHINE_DEBUG="1"), row("url web", err=ANY, MACHINE_DEBUG="TRUE"),
    row("url web", MACHINE_DEBUG="0"), row("url web", MACHINE_DEBUG="f"), row("url web", MACHINE_DEBUG=""),
    row("-D url web", MACHINE_DEBUG="false"),
)
def test_debugging_leaves_the_answer_alone(world, each):
    world.add("web").check(each._replace(out="tcp://127.0.0.1:PORT5\n"))


@table(row("ls"), row("-D url web"), row("version"))
def test_a_machine_debug_that_is_no_truth_value_is_an_error(world, each):
    world.add("web").check(each._replace(
        code=1, err=re.compile("Error parsing boolean value from MACHINE_DEBUG: .*"), env={"MACHINE_DEBUG": "loud"}))


@cases("line, shown", [
    ("-D ls", True), ("ls", False), ("-D=0 ls", False), ("--debug=t ls", True)])
def test_debugging_shows_more_on_stderr_alone(world, line, shown):
    world.add("bad")
    ended, quiet = world.run(line), world.run("ls")
    assert ended.out == quiet.out and quiet.err == ""
    assert shown or ended.err == ""


@table(
    row("ls -q", out="web\nweb-1\n"), row("ls --quiet", out="web\nweb-1\n"), row("ls -quiet", out="web\nweb-1\n"),
    row("ls --q", out="web\nweb-1\n"), row("ls -q=true", out="web\nweb-1\n"), row("ls -quiet=T", out="web\nweb-1\n"),
    row("ls -q=0 -f {{.Name}}", out="web\nweb-1\n"), row("ls -q --filter name=1", out="web-1\n"),
    row("ls -filter=name=1 -q", out="web-1\n"), row("ls --filter name=1 --filter=name=b$ -q", out="web\nweb-1\n"),
    row("ls -q false", 2, err="Error: Too many arguments given"),
    row("ls some words -q", 2, err="Error: Too many arguments given"),
    row("ls -t 0x5 -q", out="web\nweb-1\n"), row("ls -q -- -q", 2, err="Error: Too many arguments given"),
    row("ls --timeout -1", 2, err="--timeout -1 is too small: at least 1."),
    row("ls -q -quiet", 2, err="Cannot use two forms of the same flag: q quiet"),
    row("ls -q=ja", 2, err='invalid boolean value "ja" for -q: parse error'),
    row("ls -t ten", 2, err='invalid value "ten" for flag -t: parse error'),
    row("ls --timeout=", 2, err='invalid value "" for flag -timeout: parse error'),
    row("ls --fliter x=y", 2, err="flag provided but not defined: -fliter"),
    row("ls ---q", 2, err="bad flag syntax: ---q"),
    row("inspect -f {{.Name}} web", out="web\n"), row("inspect web -f {{.Name}}", out="web\n"),
    row("inspect web --format={{.Name}}", out="web\n"), row("inspect web -format={{.Name}}", out="web\n"),
    row("inspect -format {{.Name}} web", out="web\n"),
    row("inspect -f x --format y web", 2, err="Cannot use two forms of the same flag: f format"),
    row("inspect web -f", 2, err="flag needs an argument: -f"),
    row("inspect --frmat x web", 2, err="flag provided but not defined: -frmat"),
    row("env web --shell", 2, err="flag needs an argument: -shell"),
    row("active -t 1.5", 2, err='invalid value "1.5" for flag -t: parse error'),
    row("rm --forced web", 2, err="flag provided but not defined: -forced"),
    row("rm web -y web-1",
        out=re.compile(re.escape(forgetting("web, web-1")) + "(Successfully removed web(-1)?\n){2}")),
    row("rm web-1 -f=1 web", out=re.compile(re.escape(forgetting("web-1, web")) + "(Successfully removed web.*\n){2}")),
    row("rm -y=false web", 1, forgetting("web") + SURE, "No answer; nothing was removed."),
    row("rm -yf web", 2, err="flag provided but not defined: -yf"),
    row("scp -x a b", 2, err="flag provided but not defined: -x"),
    row("start --now web", 2, err="flag provided but not defined: -now"),
    row("mount --unmont web:/x", 2, err="flag provided but not defined: -unmont"),
    row("status -q web", 2, err="flag provided but not defined: -q"),
    row("provision -f web", 2, err="flag provided but not defined: -f"),
    row("regenerate-certs --client-cert web", 2, err="flag provided but not defined: -client-cert"),
    row("ssh -x", 1, err=NO_SUCH % "-x"),
    row("ssh -- web", 1, err=NO_SUCH % "--"),
)
def test_flags_stand_before_or_after_the_names_in_every_form(world, each):
    world.add("web", "web-1").check(each)


@cases("line, hint", [
    ("ls --fliter x=y", "Did you mean --filter?"), ("inspect --frmat x web", "Did you mean --format?"),
    ("rm --forced web", "Did you mean --force?"),
    ("regenerate-certs --client-cert web", "Did you mean --client-certs?"),
    ("mount --unmont web:/x", "Did you mean --unmount?"), ("env --shel sh web", "Did you mean --shell?"),
    ("create -d none --urll tcp://h:1 new", "Did you mean --url?"),
    ("create -d none --engine-lable a=b new", "Did you mean --engine-label?"),
    ("create -d nome new", "Did you mean --driver none?"),
    ("create --driver=genric new", "Did you mean --driver generic?"),
    ("stat", "Did you mean: docker-machine start?"), ("sttop", "Did you mean: docker-machine stop?"),
    ("unpgrade", "Did you mean: docker-machine upgrade?"), ("help regenerate", "Did you mean: docker-machine "
                                                                                "regenerate-certs?"),
    ("url wbe", "Did you mean web?"), ("ssh weeb true", "Did you mean web?"), ("rm -y wbe", "Did you mean web?"),
    ("start wbe", "Did you mean web?"), ("scp wbe:x y", "Did you mean web?"), ("mount wbe:/x /y", "Did you mean web?"),
    ("env wbe", "Did you mean web?"), ("config wbe", "Did you mean web?"), ("upgrade wbe", "Did you mean web?"),
])
def test_a_mistyped_word_gets_the_nearest_that_exists(world, line, hint):
    ended = world.add("web").run(line, SHELL="/bin/sh")
    assert ended.code in (1, 2) and "Successfully" not in ended.out
    assert hint in ended.err.splitlines()[1:], ended.err


# --- help (1.3, 20)

HELP = {  # command -> its flags as Docker Machine shows them, up to the tab
    "active": ['--timeout, -t "10"'], "config": ["--swarm"], "create": ['--driver, -d '],
    "env": ["--swarm", "--shell ", "--unset, -u", "--no-proxy"], "inspect": ["--format, -f "], "ip": [], "kill": [],
    "ls": ["--quiet, -q", "--filter [--filter option --filter option]", '--timeout, -t "10"', "--format, -f "],
    "provision": [], "regenerate-certs": ["--force, -f", "--client-certs"], "restart": [],
    "rm": ["--force, -f", "-y"], "ssh": [], "scp": ["--recursive, -r", "--delta, -d", "--quiet, -q"],
    "mount": ["--unmount, -u"], "start": [], "status": [], "stop": [], "upgrade": [], "url": [], "version": [],
    "help": [], "completion": [],
}
ENTRY = re.compile(r'   (--?[a-z0-9-]+(?:, -[a-zA-Z])?(?: \[--\S+ option --\S+ option\]| ".+"| )?) *\t( *)(\S.*)$')


def entries(text):
    """The flags of a help text: {left half: words}."""
    options = text.partition("Options:\n")[2].partition("\nCommands:")[0]
    found = [ENTRY.match(line) for line in options.splitlines() if line.startswith("   -")]
    assert None not in found, options
    return {match.group(1).rstrip(): match.group(3) for match in found if match}


@cases("command", sorted(HELP))
def test_help_of_a_command_names_its_flags_in_docker_machines_layout(call, command):
    ended = call("help", command)
    assert (ended.code, ended.err) == (0, "")
    assert re.match(r"Usage: docker-machine %s( \[OPTIONS\])? ?.*\n\n\S.*\n" % command, ended.out), ended.out
    for form in ("-h", "--help", "-help"):
        assert call(command, form) == ended, form
    assert call("h", command) == ended
    shown = entries(ended.out)
    expected = [left.rstrip() for left in HELP[command]]
    assert [left for left in expected if left not in shown and left.replace("-y", "--y") not in shown] == []
    assert ("Options:" in ended.out) >= bool(expected)


def test_the_list_of_commands_has_docker_machines_order(call):
    listed = re.findall(r"^   ([a-z-]+) *\t", call("help").out.partition("Commands:\n")[2], re.M)
    peers = ("active config create env inspect ip kill ls provision regenerate-certs restart rm ssh scp mount start "
             "status stop upgrade url version").split()
    assert [name for name in listed if name in peers] == peers
    assert "help" in listed


def test_the_list_of_global_flags_shows_the_store_that_counts(world):
    shown = entries(world.run("help").out)
    assert '--storage-path, -s "%s"' % (world.dm.home / ".docker" / "machine") in entries(
        world.run("help", MACHINE_STORAGE_PATH=None).out)
    assert [left for left in shown if left.startswith('--storage-path, -s "')]
    for left, variable in {
            "--debug, -D": "", "--tls-ca-cert": "MACHINE_TLS_CA_CERT", "--tls-ca-key": "MACHINE_TLS_CA_KEY",
            "--tls-client-cert": "MACHINE_TLS_CLIENT_CERT", "--tls-client-key": "MACHINE_TLS_CLIENT_KEY",
            "--github-api-token": "MACHINE_GITHUB_API_TOKEN", "--native-ssh": "MACHINE_NATIVE_SSH",
            "--bugsnag-api-token": "MACHINE_BUGSNAG_API_TOKEN", "--help, -h": "", "--version, -v": ""}.items():
        assert left in shown and (not variable or shown[left].endswith(" [$%s]" % variable)), left


NO_VM = {"PATH": "/nonexistent"}  # neither QEMU nor VirtualBox, so there is no default driver
CREATE_HELP = {  # left half -> variable
    '--driver, -d': "MACHINE_DRIVER", '--engine-install-url "https://get.docker.com"':
    "MACHINE_DOCKER_INSTALL_URL", "--engine-opt [--engine-opt option --engine-opt option]": "",
    "--engine-insecure-registry [--engine-insecure-registry option --engine-insecure-registry option]": "",
    "--engine-registry-mirror [--engine-registry-mirror option --engine-registry-mirror option]":
    "ENGINE_REGISTRY_MIRROR", "--engine-label [--engine-label option --engine-label option]": "",
    "--engine-storage-driver": "", "--engine-env [--engine-env option --engine-env option]": "", "--swarm": "",
    '--swarm-image "swarm:latest"': "MACHINE_SWARM_IMAGE", "--swarm-master": "", "--swarm-discovery": "",
    '--swarm-strategy "spread"': "", "--swarm-opt [--swarm-opt option --swarm-opt option]": "",
    "--swarm-join-opt [--swarm-join-opt option --swarm-join-opt option]": "",
    '--swarm-host "tcp://0.0.0.0:3376"': "", "--swarm-addr": "", "--swarm-experimental": "",
    "--tls-san [--tls-san option --tls-san option]": "",
}
GENERIC_HELP = {
    '--generic-engine-port "2376"': "GENERIC_ENGINE_PORT", "--generic-ip-address": "GENERIC_IP_ADDRESS",
    '--generic-ssh-user "root"': "GENERIC_SSH_USER", "--generic-ssh-key": "GENERIC_SSH_KEY",
    '--generic-ssh-port "22"': "GENERIC_SSH_PORT",
}


@cases("line, env, own", [
    ("create --help", NO_VM, {}), ("help create", NO_VM, {}), ("create -h", NO_VM, {}),
    ("create -d none --help", {}, {"--url": ""}), ("create --help --driver=none", {}, {"--url": ""}),
    ("create --help", {"MACHINE_DRIVER": "none"}, {"--url": ""}), ("create -d generic --help", {}, GENERIC_HELP),
    ("create -d generic -h some words", {}, GENERIC_HELP), ("create -driver=generic -help", {}, GENERIC_HELP),
    ("create --help", {"MACHINE_DRIVER": "generic"}, GENERIC_HELP),
])
def test_help_of_create_has_the_common_flags_and_those_of_the_driver(world, line, env, own):
    ended = world.run(line, **env)
    assert (ended.code, ended.err) == (0, "") and ended.out.startswith("Usage: docker-machine create [OPTIONS] ")
    shown = entries(ended.out)
    for left, variable in dict(CREATE_HELP, **own).items():
        assert left in shown and (not variable or shown[left].endswith(" [$%s]" % variable)), left
    others = set(dict(GENERIC_HELP, **{"--url": ""})) - set(own)
    assert not others & set(shown)
    names = [left.split()[0] for left in shown if not left.startswith("--help")]
    assert names == sorted(names)


# --- which machine is meant (1.6, 1.7)

WITH_DEFAULT = ("config env inspect ip kill provision regenerate-certs restart ssh start status stop upgrade "
                "url").split()


@cases("command", WITH_DEFAULT + ["mount"])
def test_without_a_name_and_a_default_machine_there_is_nothing_to_do(world, bin_folder, command):
    line = {"regenerate-certs": "regenerate-certs -f", "mount": "mount /x"}.get(command, command)
    path = bin_folder("openssl", sshfs="", fusermount="")
    ended = world.add("web").run(line, SHELL="/bin/sh", PATH=str(path))
    assert (ended.code, ended.err.splitlines()[0]) == (1, NO_DEFAULT)
    assert "web" not in ended.out


@table(
    row("config", out=re.compile("(?s)--tlsverify\n.*-H=tcp://127.0.0.1:PORT5\n")),
    row("env --shell sh", out=re.compile('(?s)export DOCKER_TLS_VERIFY="1"\n.*DOCKER_MACHINE_NAME="default"\n.*')),
    row("inspect -f {{.Name}}", out="default\n"), row("ip", out="127.0.0.1:PORT5\n"), row("status", out="Running\n"),
    row("url", out="tcp://127.0.0.1:PORT5\n"), row("provision", out=ANY), row("regenerate-certs -f", out=ANY),
    row("kill", 1, 'Killing "default"...\n', "hosts without a driver cannot be killed"),
    row("stop", 1, 'Stopping "default"...\n', "hosts without a driver cannot be stopped"),
    row("restart", 1, 'Restarting "default"...\n', "hosts without a driver cannot be restarted"),
    row("start", 1, re.compile('(Starting "default"...\n)?'), 'Machine "default" is already running.'),
    row("ssh", 1, err="hosts without a driver cannot be reached by SSH"),
    row("upgrade", 1, ANY, ANY), row("rm", 2, err="Error: Expected to get one or more machine names as arguments"),
    row("version", out=VERSION_LINE), row("scp", 2, err="Improper number of arguments"),
    row("create", 1, err=ANY, **NO_VM), row("create -d none", 2, err="Error: No machine name specified"),
)
def test_without_a_name_the_machine_called_default_is_meant_where_docker_machine_means_it(world, each):
    world.add("default", "web").check(each)


@table(
    *[row(line, 1, err=NO_SUCH % "gone") for line in (
        "config gone", "config --swarm gone", "env gone", "inspect gone", "ip gone", "kill gone", "provision gone",
        "restart gone", "ssh gone", "ssh gone uptime", "start gone", "status gone", "stop gone", "upgrade gone",
        "url gone", "inspect -f {{.Name}} gone")],
    row("regenerate-certs -f gone", 1, ANY, NO_SUCH % "gone"),
    row("version gone", 1, err=re.compile("(Unable to query docker version: )?" + re.escape(NO_SUCH % "gone"))),
    row("scp gone:x y", 1, err=re.compile("(Error loading host: )+" + re.escape(NO_SUCH % "gone"))),
    row("scp x me@gone:y", 1, err=re.compile("(Error loading host: )+" + re.escape(NO_SUCH % "gone"))),
    row("scp x :y", 1, err=re.compile("(Error loading host: )+" + re.escape(NO_SUCH % ""))),
    row("status ''", 1, err=NO_SUCH % ""), row("status ../certs", 1, err=NO_SUCH % "../certs"),
    row("status ./web", 1, err=NO_SUCH % "./web"), row("status WEB", 1, err=NO_SUCH % "WEB"),
    *[row(line, 2, err=ONE_NAME) for line in (
        "env web web-1", "inspect web web-1", "status web web-1", "url web web-1", "version web web-1",
        "inspect -f x web gone", "url web web")],
    row("config web gone -- more", out=re.compile("(?s)--tlsverify\n.*")),
    row("active web", 2, err="Error: Too many arguments given"),
    row("active -- -t", 2, err="Error: Too many arguments given"),
    row("scp a", 2, err="Improper number of arguments"), row("scp a b c", 2, err="Improper number of arguments"),
    row("mount", 2, err="Improper number of arguments"), row("mount a b c", 2, err="Improper number of arguments"),
    row("env -u web", 2, err="Error: Expected no machine name when the -u flag is present"),
    row("create -d none --url tcp://h:1 a b c", 2,
        err="Each machine of --driver none needs a command of its own, with its own address."),
)
def test_names_that_are_missing_or_too_many_are_told_in_docker_machines_words(world, bin_folder, each):
    path = bin_folder("openssl", sshfs="", fusermount="", scp="", ssh="")
    world.add("web", "web-1").check(each._replace(env={"SHELL": "/bin/sh", "PATH": str(path)}))


BROKEN = {
    "bad": re.compile("Error getting migrated host: .*"),
    "future": re.compile("Error getting migrated host: config version is from the future.*"),
    "bare": re.compile("open STORE/machines/bare/config.json: no such file or directory"),
    "noplug": re.compile(r'Driver "missing" not found\.$'),
}


@cases("command, name", [
    (command, name) for name in sorted(BROKEN) for command in (
        "config env inspect ip kill provision restart ssh start status stop upgrade url version".split())
    if (command, name) != ("inspect", "noplug")])  # the stored settings can be shown without the driver
def test_a_machine_that_cannot_be_loaded_is_a_sentence_in_every_command(world, command, name):
    ended = world.add(name, "web").run("%s %s" % (command, name), SHELL="/bin/sh")
    first = ended.err.partition("\n")[0]
    assert ended.code == 1 and re.search(world.real(BROKEN[name].pattern), first), ended


@cases("text", [
    "", " ", "{", '{"ConfigVersion": 3, "Dri', '{"a": 1,}', "{'a': 1}", '{"a": "\n"}', '{"a": "\\x"}', '{"a": 01}',
    "[1", "nul", '{"a": 1} 2', '"a', "{1: 2}", '{"ConfigVersion": NaN}'])
def test_a_config_that_is_no_json_is_a_sentence_in_a_program_that_never_saw_json(dm, world, text):
    """As processes, since what pytest has imported already can hide a defect."""
    path = world.add("web", "bare").dm.store / "machines" / "bare" / "config.json"
    path.write_text(text)
    ended = dm("ls", "-f", "{{.Name}}")
    assert ended == (0, "bare\nweb\n", "")
    ended = dm("status", "bare")
    assert (ended.code, ended.out) == (1, "") and "defect" not in ended.err
    ended = dm("rm", "-f", "bare")
    assert ended.code == 0 and ended.out.endswith("Successfully removed bare\n") and not path.parent.exists()


# --- several machines (1.8)

@table(
    row("ip web-2 web web-1", out="127.0.0.1:PORT5\n" * 3),
    row("ip web web", out="127.0.0.1:PORT5\n"),
    row("ip dead web", out="127.0.0.1:DEAD5\n127.0.0.1:PORT5\n"),
    row("ip web gone dead", 1, "127.0.0.1:PORT5\n127.0.0.1:DEAD5\n",
        re.compile(r"(gone: )?(Error getting IP address: )?" + re.escape(NO_SUCH % "gone"))),
    row("ip bad web", 1, "127.0.0.1:PORT5\n", re.compile("bad: .*Error getting migrated host: .*")),
    row("provision web gone web-1", 1, ANY, re.compile("(gone: )?" + re.escape(NO_SUCH % "gone"))),
    row("stop web", 1, 'Stopping "web"...\n', "hosts without a driver cannot be stopped"),
    row("stop web web-1", 1, re.compile('Stopping "web(-1)?"...\nStopping "web(-1)?"...\n'),
        "web: hosts without a driver cannot be stopped"),
    row("restart web-1 web", 1, re.compile('Restarting "web(-1)?"...\nRestarting "web(-1)?"...\n'),
        "web-1: hosts without a driver cannot be restarted"),
    row("start web web-1", 1, re.compile('(Starting "web(-1)?"...\nStarting "web(-1)?"...\n)?'),
        re.compile('(web: )?Machine "web" is already running.')),
    row("kill gone web", 1, 'Killing "web"...\n', re.compile("(gone: )?" + re.escape(NO_SUCH % "gone"))),
)
def test_several_machines_are_done_side_by_side_and_answered_in_the_order_asked(world, each):
    world.add("web", "web-1", "web-2", "dead", "bad").check(each)


@cases("command, words", [
    ("stop", "hosts without a driver cannot be stopped"), ("kill", "hosts without a driver cannot be killed"),
    ("restart", "hosts without a driver cannot be restarted"), ("start", "is already running.")])
def test_each_failed_machine_has_one_line_with_its_name_in_the_order_asked(world, command, words):
    ended = world.add("web", "web-1", "web-2").run(command + " web-2 gone web web-1")
    lines = [line for line in ended.err.splitlines() if words in line or "does not exist" in line]
    assert ended.code == 1
    assert [re.findall("web-2|gone|web-1|web", line)[0] for line in lines] == ["web-2", "gone", "web", "web-1"]


# --- active (2)

@table(
    row("active", 1, err="No active host found"),
    row("active", 1, err="No active host found", DOCKER_HOST="tcp://127.0.0.1:2376"),
    row("active", 1, err="No active host found", DOCKER_HOST="127.0.0.1:PORT5"),
    row("active", 1, err="No active host found", DOCKER_HOST="tcp://127.0.0.1:PORT5/"),
    row("active", out="n2\n", DOCKER_HOST="tcp://127.0.0.1:PORT5"),
    row("active -t 3", out="n2\n", DOCKER_HOST="tcp://127.0.0.1:PORT5"),
    row("active --timeout=3", out="dead\n", DOCKER_HOST="tcp://127.0.0.1:DEAD5"),
    row("active", out="queen\n", DOCKER_HOST="tcp://127.0.0.1:SWRM5"),
)
def test_active_is_the_first_machine_that_docker_host_means_as_host_or_swarm(world, each):
    world.add("n10", "n2", "dead", "queen", "bad", "noplug").check(each)


@table(
    row("active -t 1", 1, err="No active host found"),
    row("active -t 1", 1, err="Error getting active host: timeout", DOCKER_HOST="tcp://127.0.0.1:HOLE5"),
    row("active -t 3", out="web\n", DOCKER_HOST="tcp://127.0.0.1:PORT5"),
    row("ls -t 3 -f '{{.Name}} {{.State}}|{{.Active}}|{{.URL}}|{{.DockerVersion}}|{{.Error}}'", out=re.compile(
        r"hole Timeout\|\|\|\|Unable to query docker version: .*\nweb Running\|-\|tcp://127.0.0.1:PORT5\|v26.1.5\|\n")),
    row("ls -t 1 -q --filter state=timeout", out="hole\n"),
    row("ls -t 3 -q --filter state=Running", out="web\n"),
    row("ls -t 1 -f '{{.Name}} {{.ResponseTime}}' --filter name=hole",
        out=re.compile(r"hole (\d{3}ms|\d(\.\d{3})?s)\n")),
)
def test_a_machine_that_gives_no_answer_is_a_timeout(world, each):
    world.add("hole", "web").check(each)


# --- config and env (3, 6)

CONFIG = ('--tlsverify\n--tlscacert="STORE/machines/NAME/ca.pem"\n--tlscert="STORE/machines/NAME/cert.pem"\n'
          '--tlskey="STORE/machines/NAME/key.pem"\n-H=tcp://127.0.0.1:PORT\n')


@table(
    row("config web", out=CONFIG.replace("NAME", "web").replace("PORT", "PORT5")),
    row("config master", out=CONFIG.replace("NAME", "master").replace("PORT", "PORT5")),
    row("config --swarm master", out=CONFIG.replace("NAME", "master").replace("PORT", "SWRM5")),
    row("config master -swarm", out=CONFIG.replace("NAME", "master").replace("PORT", "SWRM5")),
    row("config --swarm web", 1, err=BOILERPLATE + NO_MASTER),
    row("config --swarm agent", 1, err=BOILERPLATE + NO_MASTER.replace("web", "agent")),
    row("config --swarm lonely", 1, err=BOILERPLATE + NO_SWARM),
    row("config --swarm mute", 1, err=re.compile(BOILERPLATE + ".*127.0.0.1.*")),
    row("config dead", 1, err=re.compile(BOILERPLATE + ".*127.0.0.1.*")),
    row("env --swarm --shell sh web", 1, err=TLS + NO_MASTER),
    row("env --swarm --shell sh lonely", 1, err=TLS + NO_SWARM),
    row("env --shell sh dead", 1, err=re.compile(TLS + ".*127.0.0.1.*")),
    row("env --shell sh bad", 1, err=re.compile(".*Error getting migrated host: .*")),
)
def test_config_and_env_answer_only_for_what_answers_over_tls(world, each):
    world.add("web", "dead", "master", "agent", "lonely", "mute", "bad").check(each)


ENVIRONMENT = [("DOCKER_TLS_VERIFY", "1"), ("DOCKER_HOST", "tcp://127.0.0.1:PORT5"),
               ("DOCKER_CERT_PATH", "STORE/machines/web"), ("DOCKER_MACHINE_NAME", "web")]
DIALECTS = {  # shell -> set line, unset line, start of a comment, how the shell runs the answer
    "bash": ('export %s="%s"', "unset %s", "#", "eval $(%s)"),
    "zsh": ('export %s="%s"', "unset %s", "#", "eval $(%s)"),
    "/bin/sh": ('export %s="%s"', "unset %s", "#", "eval $(%s)"),
    "fish": ('set -gx %s "%s";', "set -e %s;", "#", "eval (%s)"),
    "powershell": ('$Env:%s = "%s"', "Remove-Item Env:\\\\%s", "#", "& %s | Invoke-Expression"),
    "cmd": ("SET %s=%s", "SET %s=", "REM", "\t@FOR /f \"tokens=*\" %%i IN ('%s') DO @%%i"),
    "tcsh": ('setenv %s "%s";', "unsetenv %s;", ":", "eval `%s`"),
    "emacs": ('(setenv "%s" "%s")', '(setenv "%s" nil)', ";;",
              '(with-temp-buffer (shell-command "%s" (current-buffer)) (eval-buffer))'),
}


def answer_of_env(shell, words, pairs, unset=False):
    line, unset_line, comment, usage = DIALECTS[shell]
    lines = [unset_line % name if unset else line % (name, value) for name, value in pairs]
    return "\n".join(lines + [comment + " Run this command to configure your shell: ",
                              comment + " " + usage % ("docker-machine " + words), ""])


@cases("shell", sorted(DIALECTS))
def test_env_has_docker_machines_lines_for_every_shell(world, shell):
    world.add("web", "master")
    rows = [("env --shell %s web" % shell, ENVIRONMENT), ("env web --shell=%s" % shell, ENVIRONMENT),
            ("env --no-proxy --shell %s web" % shell, ENVIRONMENT + [("NO_PROXY", "127.0.0.1:PORT5")]),
            ("env --swarm --shell %s master" % shell,
             [(name, value.replace("web", "master").replace("PORT5", "SWRM5")) for name, value in ENVIRONMENT])]
    for line, pairs in rows:
        world.check(row(line, out=answer_of_env(shell, line, pairs)))
    for line, more in (("env -u --shell %s" % shell, []), ("env --shell %s --unset --no-proxy" % shell, ["NO_PROXY"])):
        pairs = ENVIRONMENT + [(name, "") for name in more]
        world.check(row(line, out=answer_of_env(shell, line, pairs, unset=True), NO_PROXY="a,b"))


@cases("there, value", [
    ({}, ("NO_PROXY", "{0}")), ({"NO_PROXY": ""}, ("NO_PROXY", "{0}")), ({"no_proxy": "a"}, ("no_proxy", "a,{0}")),
    ({"NO_PROXY": "a"}, ("NO_PROXY", "a,{0}")), ({"NO_PROXY": "1{0}"}, ("NO_PROXY", "1{0},{0}")),
    ({"NO_PROXY": "{0}0,b"}, ("NO_PROXY", "{0}0,b,{0}")), ({"NO_PROXY": "{0},b"}, ("NO_PROXY", "{0},b")),
    ({"NO_PROXY": "a, {0}"}, ("NO_PROXY", "a, {0}")),
])
def test_env_no_proxy_looks_for_whole_addresses(world, there, value):
    address = world.real("127.0.0.1:PORT5")
    ended = world.add("web").run("env --no-proxy --format json web", **{
        key: text.format(address) for key, text in there.items()})
    assert json.loads(ended.out)[value[0]] == value[1].format(address)


# --- ls (4)

TABLE = """\
NAME     ACTIVE   DRIVER      STATE     URL                     SWARM   DOCKER    ERRORS
bad               not found   Error                                               Error getting migrated host:...
bare              not found   Error                                               open STORE/machines/bare/...
dead     -        none        Running   tcp://127.0.0.1:DEAD5           Unknown   Unable to query docker version:...
future            not found   Error                                               Error getting migrated host: config...
n2       -        none        Running   tcp://127.0.0.1:PORT5           v26.1.5   |
n10      -        none        Running   tcp://127.0.0.1:PORT5           v26.1.5   |
noplug   -        missing     Error                                     Unknown   Driver "missing" not found...
"""


def test_the_table_of_ls_is_docker_machines_to_the_blank(world):
    ended = world.add("bad", "bare", "dead", "future", "n10", "n2", "noplug").run("ls")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.rstrip("|") for line in world.real(TABLE).splitlines()]
    came = [line[:len(expected) - 3] + "..." if expected.endswith("...") else line
            for line, expected in zip(ended.out.splitlines(), lines)]
    assert "\n".join(came) == "\n".join(lines) and ended.out.count("\n") == len(lines)


def test_ls_marks_the_active_machine_and_those_of_a_swarm(world):
    world.add("master", "agent", "stray", "web")
    head = "NAME     ACTIVE%s   DRIVER   STATE     URL                     SWARM             DOCKER    ERRORS\n"
    line = "%s%s   none     Running   tcp://127.0.0.1:PORT5   %s   v26.1.5   \n"
    cells = [("agent    ", "master         "), ("master   ", "master (master)"), ("stray    ", " " * 15),
             ("web      ", " " * 15)]
    for url, active in (("", "----"), ("tcp://127.0.0.1:PORT5", "****"), ("tcp://127.0.0.1:SWRM5", "-s--")):
        width = 9 if "s" in active else 6
        marks = [{"s": "* (swarm)"}.get(mark, mark).ljust(width) for mark in active]
        world.check(row("ls", out=head % (" " * (width - 6)) + "".join(
            line % (name, mark, swarm) for (name, swarm), mark in zip(cells, marks)), DOCKER_HOST=url))


ALL = "agent\nmaster\nn10\nn2\nnoplug\nweb\n"


@table(
    row("ls --filter swarm=master -q", out="agent\nmaster\n"),
    row("ls --filter SWARM=MASTER -q", out="agent\nmaster\n"),
    row("ls --filter swarm=other -q"), row("ls -q --filter label=rack=7", out="web\n"),
    row("ls -q --filter LABEL=rack=7 --filter label=rack=8", out="n2\nweb\n"),
    row("ls -q --filter label=rack", out="n10\nn2\nweb\n"), row("ls -q --filter label=zone=a", out=""),
    row("ls -q --filter 'label=Zone=a B'", out="web\n"), row("ls -q --filter label=rack=", out="n10\n"),
    row("ls -q --filter Driver=None --filter name=^n", out="n10\nn2\n"),
    row("ls -q --filter driver=missing", out="noplug\n"), row("ls -q --filter driver=generic"),
    row("ls -q --filter driver=generic --filter driver=none --filter name=^w", out="web\n"),
    row("ls -q --filter STATE=RUNNING --filter name=^n[0-9]", out="n10\nn2\n"),
    row("ls -q --filter state=stopped"), row("ls -q --filter state=Stopped --filter state=running --filter name=b$",
                                             out="web\n"),
    row("ls -q --filter name=e", out="agent\nmaster\nweb\n"), row("ls -q --filter name=^e"),
    row("ls -q --filter 'name=^(web|n\\d+)$'", out="n10\nn2\nweb\n"), row("ls -q --filter name=", out=ALL),
    row("ls -f {{.Name}} --filter name=^n", out="n2\nn10\nnoplug\n"),
    row("ls --format {{.Name}} -filter label=rack=8", out="n2\n"),
    row("ls -f {{.Name}} --filter driver=generic", out=""),
    row("ls -q -f {{.NOPE}}", out=ALL), row("ls -q", out=ALL),
    row("ls -q --filter name=web --filter swarm=master"), row("ls -q --filter name=master --filter swarm=master",
                                                              out="master\n"),
    row("ls --filter web", 2, err="Unsupported filter syntax"),
    row("ls --filter color=red", 2, err="Unsupported filter key 'color'"),
    row("ls --filter =x", 2, err="Unsupported filter key ''"),
    row("ls -q --filter 'name=*'", 2, err=re.compile(".*name=\\*.*")),
)
def test_filters_of_ls(world, each):
    world.add("web", "n2", "n10", "master", "agent", "noplug", "bad").check(each)


def test_ls_of_nothing_is_the_header_alone(world):
    world.check(row("ls", out="NAME   ACTIVE   DRIVER   STATE   URL   SWARM   DOCKER   ERRORS\n"))
    world.check(row("ls -q"))
    world.check(row("ls -f {{.Name}}"))
    world.check(row("ls --format json", out="[]\n"))


def test_names_that_differ_in_case_alone_have_each_its_row(world):
    try:
        world.add("web", "Web")
    except FileExistsError:
        pytest.skip("this file system does not tell them apart")
    assert sorted(world.run("ls -f {{.Name}}").out.split()) == ["Web", "web"]
    world.check(row("ls -q", out="Web\nweb\n"))


def test_a_machine_without_options_is_listed_and_filtered(world):
    world.add("nulls", "web")
    world.check(row("ls -f '{{.Name}} {{.State}}'", out="nulls Running\nweb Running\n"))
    world.check(row("ls -q --filter label=rack=7", out="web\n"))
    world.check(row("ls -q --filter swarm=x"))


@table(
    row("ls -f '{{.Name}} {{.Active}} {{.ActiveHost}} {{.ActiveSwarm}}'",
        out="agent - false false\nmaster * (swarm) false true\nweb - false false\n", DOCKER_HOST="tcp://127.0.0.1:SWRM5"),
    row("ls -f '{{.Name}} {{.Active}} {{.ActiveHost}} {{.ActiveSwarm}}' --filter name=b",
        out="web * true false\n", DOCKER_HOST="tcp://127.0.0.1:PORT5"),
    row("ls -f '{{.DriverName}}|{{.State}}|{{.URL}}|{{.DockerVersion}}|{{.Error}}|' --filter name=web",
        out="none|Running|tcp://127.0.0.1:PORT5|v26.1.5||\n"),
    row("ls -f '{{.NAME}} {{.state}} {{.Url}}' --filter name=web", out="web Running tcp://127.0.0.1:PORT5\n"),
    row("ls -f {{.ResponseTime}} --filter name=web", out=re.compile(r"\d+(\.\d+)?m?s\n")),
    row("ls -f {{.Swarm}}", out="master\nmaster (master)\n\n"),
    row("ls -f {{.SwarmOptions.Master}}", out="false\ntrue\nfalse\n"),
    row("ls -f '{{.EngineOptions.Labels}}' --filter name=web", out="[rack=7 Zone=A b]\n"),
    row("ls -f '  {{.Name}}  '", out="agent\nmaster\nweb\n"),
    row("ls -f '{{.Name}}\\t{{.State}}\\n' --filter name=web", out="web\tRunning\n\n"),
    row("ls -f '{{.Name}}' -t 5", out="agent\nmaster\nweb\n"),
    row("ls --format 'table {{.Name}}\\t{{.State}}'", out=re.compile(
        "NAME     STATE\nagent    Running\nmaster   Running\nweb      Running\n")),
    row("ls --format 'table {{.ActiveHost}}\\t{{.ResponseTime}}\\t{{.DriverName}}' --filter name=web",
        out=re.compile(r"ACTIVE_HOST   RESPONSE   DRIVER\nfalse +\d+m?s +none\n")),
    row("ls -f 'table {{.Name}}: {{.DockerVersion}}\\t{{.Error}}' --filter name=web",
        out="NAME: DOCKER   ERRORS\nweb: v26.1.5   \n"),
    row("ls -f 'table {{.Name}}' --filter name=web", out="NAME\nweb\n"),
    row("ls -f '{{upper .Name}} {{json .State}} {{printf \"%-5s|\" .DriverName}}' --filter name=web",
        out='WEB "Running" none |\n'),
    row("ls -f '{{if .ActiveSwarm}}{{.Name}}{{end}}' --filter name=master", out="master\n",
        DOCKER_HOST="tcp://127.0.0.1:SWRM5"),
    row("ls -f '{{.Name'", 1, err=re.compile(r".*template: .*unexpected end in an action.*")),
    row("ls -f {{.Nope}}", 1,
        err='template: there is no field "Nope"'),
    row("ls -f '{{nope .Name}}'", 1, err=re.compile(r'.*template: .*function "nope" is not defined')),
)
def test_formats_of_ls(world, each):
    world.add("web", "master", "agent").check(each)


# --- create (5)

NEW = "create -d none --url tcp://h:1 "


@table(
    row(NEW + "new", out="Running pre-create checks...\nCreating machine...\n" + READY),
    row("create new -d none --url=tcp://h:1", out="Running pre-create checks...\nCreating machine...\n" + READY),
    row("create --url tcp://h:1 new", out="Running pre-create checks...\nCreating machine...\n" + READY,
        MACHINE_DRIVER="none"),
    row(NEW + "-- new", out="Running pre-create checks...\nCreating machine...\n" + READY),
    row(NEW + "web", 1, err='Docker machine "web" already exists'),
    row(NEW + "bad", 1, err='Docker machine "bad" already exists'),
    row(NEW + "-- x y x", 2, err='The name "x" is there twice.'),
    row(NEW + "-- x _y z", 1, err=re.compile(r"Error creating machine: Invalid hostname specified\. .*")),
    row(NEW, 2, err="Error: No machine name specified"),
    row(NEW + "x_y --swarm-discovery foo", 1, err=re.compile(r"Error creating machine: Invalid hostname specified\. "
                                                             r"Allowed hostname chars are: 0-9a-zA-Z \. -")),
    row(NEW + "web --swarm-discovery foo", 2,
        err="Error parsing swarm discovery: Swarm Discovery URL was in the wrong format: foo"),
    row("create -d none web", 1, err='Docker machine "web" already exists'),
    row("create -d none new", 2, err="Error setting machine configuration from flags provided: "
                                     "--url option is required when no driver is selected"),
    row(NEW + "--engine-label new", 2, err="Error: No machine name specified"),
    row("create -d none new --url", 2, err="flag needs an argument: -url"),
    row("create -d none -driver none --url tcp://h:1 new", 2,
        err="Cannot use two forms of the same flag: d driver"),
    row("create -d bogus --url tcp://h:1 new", 1, err='Driver "bogus" not found.'),
    row("create new", 1, err=re.compile('Driver "bogus" not found.*'), MACHINE_DRIVER="bogus"),
    row(NEW + "--swarm --swarm-discovery token://x new", 2, err=re.compile(".*(2019|Swarm).*")),
    row(NEW + "--swarm-master --swarm-discovery x://y new", 2, err=re.compile(".*(2019|Swarm).*")),
)
def test_create_checks_in_docker_machines_order(world, each):
    world.add("web", "bad")
    before = world.bytes()
    world.check(each)
    assert each.code == 0 or world.bytes() == before


def test_the_first_create_makes_the_certificates_and_says_so(dm, call):
    ended = call(*shlex.split(NEW + "new"))
    certs = dm.store / "certs"
    assert ended == (0, "Running pre-create checks...\nCreating CA: %s\nCreating client certificate: %s\n"
                        "Creating machine...\n%s" % (certs / "ca.pem", certs / "cert.pem", READY), "")


def test_swarm_flags_of_create_are_stored_and_shown(world):
    world.check(row(NEW + "--swarm-discovery token://x --swarm-strategy binpack --swarm-opt a=b --swarm-opt c "
                    "--swarm-join-opt d --swarm-addr 192.0.2.1:2376 --swarm-host tcp://0.0.0.0:4000 "
                    "--swarm-experimental new", out=ANY, MACHINE_SWARM_IMAGE="swarm:1.2.9"))
    options = json.loads(world.run("inspect -f '{{json .HostOptions.SwarmOptions}}' new").out)
    assert options == {
        "IsSwarm": False, "Address": "192.0.2.1:2376", "Discovery": "token://x", "Agent": False, "Master": False,
        "Host": "tcp://0.0.0.0:4000", "Image": "swarm:1.2.9", "Strategy": "binpack", "Heartbeat": 0, "Overcommit": 0,
        "ArbitraryFlags": ["a=b", "c"], "ArbitraryJoinFlags": ["d"], "Env": None, "IsExperimental": True}


# --- inspect, ip, url, status, version (7 to 10, 19)

@table(
    row("inspect -f {{.Driver.IPAddress}} web", out="127.0.0.1:PORT5\n"),
    row("inspect -f {{.HostOptions.AuthOptions.StorePath}} web", out="STORE/machines/web\n"),
    row("inspect -f '{{json .Driver.URL}}' web", out='"tcp://127.0.0.1:PORT5"\n'),
    row("inspect -f {{.Driver.Nope.Deeper}} web", out="<no value>\n"),
    row("inspect -f {{.Nope}} web", out="<no value>\n"),
    row("inspect -f '{{.Driver.SSHPort}} {{.ConfigVersion}}' web", out="0 3\n"),
    row("inspect -f {{.HostOptions.SwarmOptions.Heartbeat}} big", out="123456789012\n"),
    row("inspect -f '{{json .HostOptions.EngineOptions.Labels}}' web", out='["rack=7","Zone=A b"]\n'),
    row("inspect -f {{.HostOptions.EngineOptions.Labels}} web", out="[rack=7 Zone=A b]\n"),
    row("inspect -f '{{prettyjson .HostOptions.EngineOptions.Labels}}' web",
        out='[\n    "rack=7",\n    "Zone=A b"\n]\n'),
    row("inspect -f plain web", out="plain\n"),
    row("inspect -f {{.Name web", 1, err='template parsing error: template: unexpected end in an action: ""'),
    row("ip web", out="127.0.0.1:PORT5\n"), row("ip dead", out="127.0.0.1:DEAD5\n"),
    row("url dead", out="tcp://127.0.0.1:DEAD5\n"), row("status dead", out="Running\n"),
    row("version web", out=VERSION + "\n"),
    row("version dead", 1, err=re.compile("Unable to query docker version: .*127.0.0.1.*")),
)
def test_queries_of_one_machine(world, each):
    world.add("web", "dead", "big").check(each)


@cases("line", [
    "ls", "ls -q", "active", "config web", "env --shell sh web", "env -u --shell sh", "inspect web", "ip web",
    "ip web dead", "url web", "status web", "version web", "version", "help", "stop web", "start web", "kill web",
    "ssh web true", "scp gone:x y", "rm gone", "rm -f gone", "completion bash"])
def test_queries_and_refusals_write_nothing(world, line):
    world.add("web", "dead", "bad")
    before = world.bytes()
    world.run(line, SHELL="/bin/sh")
    assert {path: data for path, data in world.bytes().items() if "locks" not in str(path)} == before


# --- --format json

VARIABLES = dict(ENVIRONMENT)


@cases("line, expected", [
    ("status --format json web", {"Name": "web", "State": "Running"}),
    ("status web -f json", {"Name": "web", "State": "Running"}),
    ("url -f json web", {"Name": "web", "URL": "tcp://127.0.0.1:PORT5"}),
    ("version --format=json web", {"Name": "web", "DockerVersion": VERSION}),
    ("active -f json", {"Name": "master"}),
    ("env -f json web", VARIABLES), ("env web --format json --shell fish", VARIABLES),
    ("env --no-proxy -f json web", dict(VARIABLES, NO_PROXY="127.0.0.1:PORT5")),
    ("env -u -f json", dict.fromkeys(VARIABLES)),
    ("env -u --no-proxy -f json", dict.fromkeys(list(VARIABLES) + ["NO_PROXY"])),
    ("env --swarm -f json master", {"DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": "tcp://127.0.0.1:SWRM5",
                                    "DOCKER_CERT_PATH": "STORE/machines/master", "DOCKER_MACHINE_NAME": "master"}),
    ("ip -f json web", [{"Name": "web", "IPAddress": "127.0.0.1:PORT5"}]),
    ("ip --format json web master", [{"Name": "web", "IPAddress": "127.0.0.1:PORT5"},
                                     {"Name": "master", "IPAddress": "127.0.0.1:PORT5"}]),
])
def test_format_json_is_one_line_of_plain_json(world, line, expected):
    ended = world.add("web", "master").run(line, DOCKER_HOST="tcp://127.0.0.1:PORT5")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    assert json.loads(ended.out) == json.loads(world.real(json.dumps(expected)))
    assert ended.out == json.dumps(json.loads(ended.out), separators=(",", ":"), ensure_ascii=False) + "\n"


def test_format_json_of_inspect_and_version_and_ls(world):
    world.add("web", "master", "bad")
    stored = json.loads((world.dm.store / "machines" / "web" / "config.json").read_text())
    inspected = world.run("inspect --format json web")
    assert json.loads(inspected.out) == stored and inspected.out.count("\n") == 1
    version = json.loads(world.run("version -f json").out)
    assert sorted(version) == ["Build", "Version"]
    assert world.run("version").out == "docker-machine version {Version}, build {Build}\n".format(**version)
    ended = world.run("ls -f json", DOCKER_HOST="tcp://127.0.0.1:SWRM5")
    rows = {each["Name"]: each for each in json.loads(ended.out)}
    assert [each["Name"] for each in json.loads(ended.out)] == ["bad", "master", "web"] and ended.err == ""
    assert set(rows["web"]) == {
        "Name", "Active", "ActiveHost", "ActiveSwarm", "DriverName", "State", "URL", "SwarmOptions", "Swarm",
        "EngineOptions", "Error", "DockerVersion", "ResponseTime", "SwarmMode"}
    assert rows["web"]["EngineOptions"] == stored["HostOptions"]["EngineOptions"]
    assert (rows["master"]["Active"], rows["master"]["ActiveSwarm"], rows["web"]["ActiveSwarm"]) == (
        "* (swarm)", True, False)
    assert (rows["web"]["State"], rows["web"]["DockerVersion"], rows["web"]["Error"]) == ("Running", "v" + VERSION, "")
    assert rows["bad"]["State"] == "Error" and rows["bad"]["Error"].startswith("Error getting migrated host: ")
    assert (rows["bad"]["SwarmOptions"], rows["bad"]["EngineOptions"]) == (None, None)


@table(
    row("status -f '{{.Name}}={{.State}}' web", out="web=Running\n"), row("url -f {{.Name}} web", out="web\n"),
    row("version -f {{.DockerVersion}} web", out=VERSION + "\n"), row("active -f x{{.Name}}", out="xweb\n",
                                                                      DOCKER_HOST="tcp://127.0.0.1:PORT5"),
    row("ip -f '{{.Name}} {{.IPAddress}}' web-1 web", out="web-1 127.0.0.1:PORT5\nweb 127.0.0.1:PORT5\n"),
    row("env -f {{.DOCKER_HOST}} web", out="tcp://127.0.0.1:PORT5\n"),
    row("status -f {{.Name web", 1, err='template: unexpected end in an action: ""'),
)
def test_another_format_is_a_template_over_the_same_fields(world, each):
    world.add("web", "web-1").check(each)


@table(row("status -f json gone", 1, err=NO_SUCH % "gone"), row("inspect -f json gone", 1, err=NO_SUCH % "gone"),
       row("active -f json", 1, err="No active host found"),
       row("ip -f json gone web", 1, re.compile(r'\[\{"Name":"web",.*\}\]\n'), ANY),
       row("env -f json dead", 1, err=re.compile(TLS + ".*")))
def test_a_failure_leaves_stdout_to_what_is_json(world, each):
    world.add("web", "dead").check(each)


# --- rm (12)

@table(
    row("rm web", out=forgetting("web") + SURE + GONE % "web", stdin="y\n"),
    row("rm web gone", 1, forgetting("web") + SURE + GONE % "web",
        'Error removing host "gone": ' + NO_SUCH % "gone", stdin="YES\n"),
    row("rm -y bad", 1, REMOVING % "bad", re.compile('Error removing host "bad": Error getting migrated host: .*')),
    row("rm -y noplug", 1, REMOVING % "noplug",
        re.compile('Error removing host "noplug": Driver "missing" not found.*')),
    row("rm -y bad web", 1, REMOVING % "bad, web" + FORGETTING % "web" + GONE % "web",
        re.compile('Error removing host "bad": .*')),
    row("rm -f bad", 0, REMOVING % "bad" + GONE % "bad", re.compile('Error removing host "bad": .*')),
    row("rm -f noplug", 0, REMOVING % "noplug" + GONE % "noplug", re.compile('Error removing host "noplug": .*')),
    row("rm -f future bare", 0, REMOVING % "future, bare" + GONE % "future" + GONE % "bare",
        re.compile('Error removing host "future": .*')),
    row("rm -f gone web", 0, forgetting("web") + GONE % "web", re.compile('.*"gone".*')),
    row("rm -f -y web", out=forgetting("web") + GONE % "web"),
    row("rm 'web-*'", out=forgetting("web-1, web-2") + SURE + GONE % "web-1" + GONE % "web-2", stdin="y\n"),
    row("rm 'web-*'", out=forgetting("web-1, web-2") + SURE + "Nothing was removed.\n", stdin="n\n"),
    row("rm -y 'web*'", out=forgetting("web, web-1, web-2") + GONE % "web" + GONE % "web-1" + GONE % "web-2"),
    row("rm -y 'web-[2-9]' 'w?b'", out=forgetting("web-2, web") + GONE % "web-2" + GONE % "web"),
    row("rm -y web-1 'web-*'", out=forgetting("web-1, web-2") + GONE % "web-1" + GONE % "web-2"),
    row("rm -f 'ba*'", 0, REMOVING % "bad, bare" + GONE % "bad" + GONE % "bare", ANY),
)
def test_rm(world, each):
    """...of several machines at once: whose turn is over first says so first."""
    names = ("web", "web-1", "web-2", "bad", "bare", "noplug", "future")
    gone = re.findall("Successfully removed (.*)\n", each.out)
    out = "%s(%s){%d}" % (re.escape(each.out.partition("Successfully")[0]),
                          "|".join("Successfully removed %s\n" % name for name in gone), len(gone))
    world.add(*names).check(each._replace(out=re.compile(out)))
    left = sorted(path.name for path in (world.dm.store / "machines").iterdir())
    assert left == sorted(set(names) - set(gone))


@cases("flag, words", list(itertools.product(["-f", "-y", "--force", ""], [
    "''", ".", "..", "../certs", "/", "a/../b", "'*'", "'?*'", "'**'", "'[!x]*'", "../machines/web", "web/..", "./web",
    "'../*'", "'*/config.json'", "'/*'", "'db-*'", "STORE/certs", "STORE/machines/web"])))
def test_rm_of_no_plain_name_is_refused_and_all_is_still_there(world, flag, words):
    before = world.add("web", "web-1").bytes()
    ended = world.run("rm %s -- %s" % (flag, words), stdin="y\n")
    assert ended.code != 0 and ended.err != "" and "Successfully" not in ended.out
    assert {path: data for path, data in world.bytes().items() if "locks" not in str(path)} == before


# --- ssh, scp, mount (13 to 15)

SHOW = 'if [ "$1" = -F ]; then cat "$2"; fi; printf "[%%s]\\n" %s "$@"; exit %d'


class Generic:
    """generic(name, port, key): add a host that is there already."""

    def __init__(self, world):
        self.world, self.fresh = world, world.fresh

    def __call__(self, name, port=22, key="", user="root"):
        self.world.add("web")
        folder = self.world.dm.store / "machines" / "web"
        config = json.loads((folder / "config.json").read_text())
        config["DriverName"] = "generic"
        config["Driver"].update(MachineName=name, IPAddress="127.0.0.1", SSHUser=user, SSHPort=port, SSHKeyPath=key,
                                EnginePort=2376, SSHKey=key)
        (folder / "config.json").write_text(json.dumps(config))
        folder.rename(folder.parent / name)
        return self.world


@pytest.fixture
def generic(world):
    return Generic(world)


def shown(ended):
    return [line[1:-1] for line in ended.out.splitlines() if line.startswith("[")]


@cases("words, program, tail", [
    (["mount", "m:/srv", "/mnt"], "sshfs", ["root@m:/srv", "/mnt"]),
    (["mount", "m:/srv"], "sshfs", ["root@m:/srv", "/srv"]),
    (["mount", "me@m:a b", "/mnt/c d"], "sshfs", ["me@m:a b", "/mnt/c d"]),
    (["mount", "m:a:b", "/mnt"], "sshfs", ["root@m:a:b", "/mnt"]),
    (["mount", "-u", "m:/srv", "/mnt"], "fusermount", ["-u", "/mnt"]),
    (["mount", "--unmount", "m:/srv"], "fusermount", ["-u", "/srv"]),
    (["mount", "m:/srv", "/mnt", "-u"], "fusermount", ["-u", "/mnt"]),
])
def test_mount_calls_sshfs_with_the_machines_settings_and_fusermount(dm, generic, bin_folder, words, program, tail):
    generic("m", 2222, "/keys/id")
    unmount = SHOW % ("fusermount", 0)
    path = bin_folder("cat", sshfs=SHOW % ("sshfs", 0), fusermount=unmount, fusermount3=unmount)
    ended = dm(*words, PATH=path)
    said = shown(ended)
    assert (ended.code, ended.err, said[0]) == (0, "", program)
    assert [word for word in said if word in tail][-len(tail):] == tail
    assert program != "sshfs" or {"HostName 127.0.0.1", "Port 2222"} <= set(map(str.strip, ended.out.splitlines()))
    assert program != "sshfs" or "IdentityFile /keys/id" in ended.out.replace('"', "")


@cases("words, err", [
    (["mount", "/srv"], NO_DEFAULT), (["mount", "/srv", "/mnt"], NO_DEFAULT),
    (["mount", "gone:/srv", "/mnt"], NO_SUCH % "gone"), (["mount", "-u", "gone:/srv", "/mnt"], NO_SUCH % "gone"),
])
def test_mount_refuses_a_machine_that_is_not_there(dm, generic, bin_folder, words, err):
    generic("m")
    ended = dm(*words, PATH=bin_folder(sshfs="exit 9", fusermount="exit 9"))
    assert ended.code == 1 and ended.err.splitlines()[0].endswith(err) and ended.out == ""


def test_mount_without_a_machine_means_default(dm, generic, bin_folder):
    generic("default", 2222)
    ended = dm("mount", "/srv", "/mnt", PATH=bin_folder("cat", sshfs=SHOW % ("sshfs", 0)))
    assert {"root@default:/srv", "/mnt"} <= set(shown(ended))


@cases("words, missing", [(["mount", "m:/x"], "sshfs"), (["mount", "-u", "m:/x"], "fusermount")])
def test_mount_names_the_program_that_is_missing_and_its_package(dm, generic, bin_folder, words, missing):
    generic("m")
    ended = dm(*words, PATH=bin_folder(apt_get=""))
    assert (ended.code, ended.out) == (1, "") and missing in ended.err.splitlines()[0]
    assert re.search("apt-get install (sshfs|fuse3)", ended.err)


def test_the_exit_code_of_sshfs_is_that_of_mount(dm, generic, bin_folder):
    generic("m")
    assert dm("mount", "m:/x", "/y", PATH=bin_folder(sshfs="echo no >&2; exit 7")) == (7, "", "no\n")


def test_neither_ssh_nor_scp_passes_plugin_variables_on(dm, generic, bin_folder):
    with listening(lambda connection: None) as port:
        generic("m", port)
        path = bin_folder("env", ssh="env", scp="env")
        for words in (["ssh", "m", "true"], ["scp", "m:x", "y"]):
            ended = dm(*words, PATH=path)
            assert ended.code == 0 and "MACHINE_PLUGIN" not in ended.out


@table(
    row("ssh web", 1, err="hosts without a driver cannot be reached by SSH"),
    row("ssh web ls -l", 1, err="hosts without a driver cannot be reached by SSH"),
    row("ssh me@web", 1, err=NO_SUCH % "me@web"),
    row("ssh --help", out=re.compile("(?s)Usage: docker-machine ssh .*")),
    row("scp web:x y", 1, err=re.compile(".*hosts without a driver cannot be reached by SSH")),
    row("mount web:x y", 1, err=re.compile(".*hosts without a driver cannot be reached by SSH")),
)
def test_a_machine_that_is_only_a_url_has_no_ssh(world, bin_folder, each):
    path = bin_folder("openssl", sshfs="", fusermount="", scp="", ssh="")
    world.add("web").check(each._replace(env={"PATH": str(path)}))


# --- start, stop, kill, restart of a host that nobody can switch on or off (11)

@cases("command, up, code, out, err", [
    ("start", True, 1, re.compile('(Starting "m"...\n)?'), 'Machine "m" is already running.'),
    ("start", False, 1, 'Starting "m"...\n', "generic driver does not support start"),
    ("stop", True, 1, 'Stopping "m"...\n', "generic driver does not support stop"),
    ("stop", False, 1, re.compile('(Stopping "m"...\n)?'), 'Machine "m" is already stopped.'),
    ("kill", True, 1, 'Killing "m"...\n', "generic driver does not support kill"),
    ("kill", False, 1, re.compile('(Killing "m"...\n)?'), 'Machine "m" is already stopped.'),
])
def test_a_generic_host_is_not_switched_on_or_off(generic, closed_port, command, up, code, out, err):
    with listening(lambda connection: None) as port:
        generic("m", port if up else closed_port).check(row(command + " m", code, out, err))


# --- regenerate-certs (16)

REGENERATING = "Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): "


@table(
    row("regenerate-certs web", out=REGENERATING + "Nothing was changed.\n", stdin="n\n"),
    row("regenerate-certs gone", out=REGENERATING + "Nothing was changed.\n", stdin="n\n"),
    row("regenerate-certs gone", 1, re.compile(r"Regenerate TLS machine certs\?  .*\(y/n\): (Regenerating TLS "
                                               r"certificates\n)?"), NO_SUCH % "gone", stdin="y\n"),
    row("regenerate-certs web", out=re.compile(r"(?s)Regenerate TLS machine certs\?  Warning: this is irreversible\. "
                                               r"\(y/n\): Regenerating TLS certificates\n.*"), stdin="Y\n"),
    row("regenerate-certs --force web", out=re.compile("(?s)Regenerating TLS certificates\n.*")),
    row("regenerate-certs -f --client-certs web", out=re.compile(
        "(?s)Regenerating TLS certificates\nRegenerating local certificates\n.*")),
)
def test_regenerate_certs_asks_first(world, each):
    world.add("web").check(each)


# --- completion

@table(row("completion", 2, err=re.compile(".*bash.*zsh.*fish.*powershell.*")),
       row("completion nosuch", 2, err=re.compile(".*bash.*zsh.*fish.*powershell.*")),
       *[row("completion " + shell, out=re.compile("(?s).*docker-machine.*"))
         for shell in ("bash", "zsh", "fish", "powershell")])
def test_completion_prints_a_script_for_each_shell_that_it_knows(world, each):
    world.check(each)
