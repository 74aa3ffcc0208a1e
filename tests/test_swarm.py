"""What of Swarm, the standalone one and Swarm mode, needs no real engine."""

import contextlib
import json

import pytest
from conftest import listening, pair

import docker_machine as core

GENERIC = ["create", "-d", "generic", "--generic-ip-address", "192.0.2.1"]


@pytest.mark.parametrize("words, code, said", [
    ("--swarm --swarm-discovery token://abc", 2, "ended in 2019"),
    ("--swarm --swarm-discovery token://abc", 2, "--swarm-mode manager"),
    ("--swarm --swarm-discovery token://abc", 2, "Leave --swarm-discovery out"),
    ("--swarm --swarm-discovery abc", 2, "was in the wrong format: abc"),
    ("--swarm --swarm-discovery file:///tmp/nodes", 2, "cannot read file:///tmp/nodes"),
    ("--swarm --swarm-discovery mdns://x", 2, 'knows no discovery "mdns"'),
    ("--swarm-master --swarm-strategy best", 2, "spread, binpack, random"),
    ("--swarm-master --swarm-host 0.0.0.0", 2, "tcp://0.0.0.0:3376"),
    ("--swarm --swarm-addr a/b", 2, "--swarm-addr"), ("--swarm-mode leader", 2, "manager, worker"),
    ("--swarm-mode worker", 2, "--swarm-join NAME"), ("--swarm-join x", 2, "Say --swarm-mode"),
    ("--swarm-label a=b", 2, "Say --swarm-mode"), ("--swarm-label a --swarm-mode manager", 2, "key=value"),
    ("--swarm-mode manager --swarm", 2, "Leave one of them out"),
    ("--swarm-mode worker --swarm-join gone", 1, '"gone"'),
    ("--swarm-mode manager --engine-opt live-restore", 2, "live-restore"),
    ("--swarm-mode worker --swarm-join off", 1, "127.0.0.1")])
def test_what_cannot_work_is_refused_before_anything_is_made(call, store, add, closed_port, words, code, said):
    add("off", "tcp://127.0.0.1:%d" % closed_port)
    ended = call(*(GENERIC + words.split() + ["web"]))
    assert (ended.code, ended.out) == (code, "") and said in ended.err
    assert store.names() == ["off"]


@pytest.mark.parametrize("words, code, said", [
    ("", 2, "No verb specified"), ("joun web", 2, "Did you mean join?"), ("init", 2, "one or more machine names"),
    ("join web", 2, "--to NAME"), ("init web other", 2, "A cluster begins with one machine."),
    ("join --to web web", 2, "cannot join itself"), ("init --label a web", 2, "key=value"),
    ("init --advertise-addr a/b web", 2, "advertise-addr"), ("promote gone", 1, '"gone" does not exist')])
def test_bad_words_of_the_command_are_a_sentence(call, add, words, code, said):
    add()
    ended = call("swarm", *words.split())
    assert ended.code == code and said in ended.err


def test_a_driver_that_sets_no_engine_up_makes_no_node(call, store):
    ended = call("create", "-d", "none", "--url", "tcp://192.0.2.1:2376", "--swarm-mode", "manager", "web")
    assert ended.code == 2 and "docker-machine swarm init NAME" in ended.err and store.names() == []


# --- against an engine that answers what the test says

class Talker:
    """What an engine answers by path, {path: (status, value)}, and what it was asked."""

    def __init__(self, server, ca):
        self.answers, self.asked, self.url = {}, [], ""  # type: dict, list, str
        self.server, self.ca = server, ca

    def __call__(self, connection):
        import ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.cert, self.server.key)
        context.load_verify_locations(self.ca.cert)
        context.verify_mode = ssl.CERT_REQUIRED
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            data = b""
            while b"\r\n\r\n" not in data:
                data += tls.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            words = head.decode().split()
            length = int(dict(line.split(": ") for line in head.decode().split("\r\n")[1:]).get("Content-Length", 0))
            while len(body) < length:
                body += tls.recv(65536)
            self.asked.append((words[0], words[1], json.loads(body.decode() or "null")))
            status, value = self.answers.get(words[1], (404, {"message": "no such thing"}))
            text = value if isinstance(value, str) else json.dumps(value)
            more = "Swarm: active/manager\r\n" if words[1] == "/_ping" else ""
            tls.sendall(("HTTP/1.0 %d X\r\nServer: Docker/29.0 (linux)\r\n%s\r\n%s" % (status, more, text)).encode())
            tls.unwrap()


@pytest.fixture
def talker(certs, server):
    there = Talker(server, pair(certs, "ca"))
    with listening(there) as port:
        there.url = "tcp://127.0.0.1:%d" % port
        yield there


def test_ls_has_a_column_for_what_a_new_engine_says_of_itself(call, add, talker):
    add("web", "tcp://127.0.0.1:1")
    assert "SWARM_MODE" not in call("ls").out
    talker.answers["/_ping"] = (200, "OK")
    add("node", talker.url)
    lines = call("ls").out.splitlines()
    place = lines[0].index("SWARM_MODE")
    assert [line[place:place + 8].strip() for line in lines[1:]] == ["manager", ""]
    assert call("ls", "-f", "{{.SwarmMode}}").out == "manager\n\n"


@pytest.mark.parametrize("least, image, refused", [
    ("1.44", "swarm:latest", True), ("1.44", "registry.example/swarm@sha256:0", True), ("1.40", "swarm:1.2.9", False),
    ("1.24", "swarm", False), ("1.44", "ours/manager:2", False), ("", "swarm", False)])
def test_an_engine_that_is_too_new_for_the_last_swarm_is_refused_with_the_fix(add, talker, least, image, refused):
    talker.answers["/version"] = (200, {"MinAPIVersion": least})
    engine = add("web", talker.url).docker()
    if not refused:
        return core.check_swarm_api(engine, image)
    with pytest.raises(core.MachineError, match="the last Swarm speaks 1.40") as caught:
        core.check_swarm_api(engine, image)
    assert "docker-machine set --engine-env DOCKER_MIN_API_VERSION=1.40 web" in caught.value.hint


@pytest.mark.parametrize("status, value, words", [
    (404, {"message": "no\x1b image"}, "no image"), (200, '{"status": "Pulling"}\r\n{"error": "denied"}', "denied"),
    (500, "", "status 500"), (200, "<html>", "not a Docker Engine"), (409, ["x"], "status 409")])
def test_what_an_engine_refuses_is_told_in_its_words(add, talker, status, value, words):
    talker.answers["/x"] = (status, value)
    with pytest.raises(core.MachineError) as caught:
        add("web", talker.url).docker().call("POST", "/x", {"a": 1})
    assert words in caught.value.message and talker.asked == [("POST", "/x", {"a": 1})]


def test_an_image_that_is_there_is_not_pulled_and_another_one_is_with_its_tag(add, talker):
    engine = add("web", talker.url).docker()
    talker.answers["/images/swarm%3A1.2.9/json"] = (200, {})
    core.pull_image(engine, "swarm:1.2.9")
    talker.answers["/images/create?fromImage=r.example%3A5000%2Fswarm&tag=latest"] = (200, '{"status": "Done"}\r\n')
    core.pull_image(engine, "r.example:5000/swarm")
    assert [path for _, path, _ in talker.asked] == [
        "/images/swarm%3A1.2.9/json", "/images/r.example%3A5000/swarm/json",
        "/images/create?fromImage=r.example%3A5000%2Fswarm&tag=latest"]


@pytest.mark.parametrize("path, value", [
    ("/info", []), ("/info", {"Swarm": 7}), ("/info", {"Swarm": {"LocalNodeState": "active", "RemoteManagers": [7]}}),
    ("/nodes", {}), ("/nodes", [7, {"ID": "n"}, {"ID": [], "Spec": {}}]), ("/nodes", [{"ID": "n", "Spec": {}}])])
def test_answers_that_make_no_sense_are_a_sentence(call, add, talker, path, value):
    node = {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": "n"}
    talker.answers.update({"/info": (200, {"Swarm": node}), "/nodes": (200, []), "/_ping": (200, "OK")})
    talker.answers[path] = (200, value)
    machine = add("web", talker.url)
    machine.swarm.update(Node="n", Cluster="c", Mode="manager")
    machine.save()
    for words in ("swarm status", "swarm leave web", "swarm promote web", "swarm init web"):
        assert call(*words.split()).code in (0, 1)
    assert "Traceback" not in call("ls").err


def test_a_spec_is_read_again_when_another_one_was_faster(add, talker):
    swarm = core.load_extra("swarm")
    engine = add("web", talker.url).docker()
    versions = iter((7, 8, 8))

    class Growing(dict):
        """The node's version rises between the first question and the second one."""

        def get(self, path, default=None):
            if path == "/nodes/n":
                return 200, {"ID": "n", "Version": {"Index": next(versions)}, "Spec": {"Role": "worker", "Name": "x"}}
            return dict.get(self, path, default)

    talker.answers = Growing({"/nodes/n/update?version=7": (500, {"message": "rpc error: update out of sequence"}),
                              "/nodes/n/update?version=8": (200, "")})
    swarm.update(engine, "n", lambda spec: spec.update(Role="manager"))
    assert talker.asked[-1] == ("POST", "/nodes/n/update?version=8", {"Role": "manager", "Name": "x"})
    swarm.update(engine, "n", lambda spec: spec.update(Role="worker"))
    assert talker.asked[-1][0] == "GET", "what is so already is not sent"


# --- ports

def test_clouds_let_in_what_a_swarm_needs(store):
    class Cloud(core.CloudDriver):
        name = "toy-cloud"

    machine = store.new("web", Cloud)
    assert machine.driver.ports()[1:] == [2376] and machine.driver.udp_ports() == []
    machine.swarm["Master"] = True
    assert machine.driver.ports()[1:] == [2376, 3376]
    machine.swarm.update(Master=False, Mode="worker")
    assert machine.driver.ports()[1:] == [2376, 2377, 7946] and machine.driver.udp_ports() == [4789, 7946]
