"""The door `rest`: what goes out, what is tried again and when, and that credentials go nowhere else.

The servers are real ones on 127.0.0.1; only sleep() is played, so that pauses can be measured and cost nothing.
"""

import email.utils
import hashlib
import json
import os
import re
import select
import socket
import ssl
import threading
import time

import pytest
from conftest import HANG, listening, openssl, pair

import docker_machine as core

TOKEN = "dop_v1_0123456789abcdef"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BUNDLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
pytestmark = pytest.mark.usefixtures("pauses")  # of all tests, lest a retry be waited for


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)


# --- a server that answers as it is told

class Asked:
    """One request as it came."""

    def __init__(self, data):
        head, _, self.data = data.partition(b"\r\n\r\n")
        line, *rows = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.protocol = line.split(" ")
        self.headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}

    @property
    def body(self):
        return json.loads(self.data.decode())


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            return None
        data += block
    wanted = re.search(br"content-length: (\d+)", data, re.I)
    while wanted and len(data.partition(b"\r\n\r\n")[2]) < int(wanted.group(1)):
        block = connection.recv(65536)
        if not block:
            return None
        data += block
    return Asked(data)


class Server:
    """Gives each request the next of `answers`, and the last one to all that follow: bytes, or a function that gets
    the connection. `asked` is what came, `counts` how many requests came over each connection: one, unless it
    `keeps` them open."""

    def __init__(self, *answers, keeps=False):
        self.answers, self.asked, self.counts = list(answers), [], []  # type: list, list, list
        self.port, self.keeps = 0, keeps

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def lines(self):
        return ["%s %s" % (one.method, one.target) for one in self.asked]

    def __call__(self, connection):
        number, more = len(self.counts), True
        self.counts.append(0)
        while more:
            asked = read_request(connection)
            if asked is None:
                return
            self.counts[number] += 1
            self.asked.append(asked)
            answer, more = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], self.keeps
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(answer.replace(b"Connection: close\r\n", b"") if more else answer)


def answer(status, body="", reason="Reason", **headers):
    """An answer; keywords are headers, with _ for -."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    rows = ["%s: %s" % (name.replace("_", "-"), value) for name, value in headers.items()]
    if "content_length" not in headers:
        rows.append("Content-Length: %d" % len(data))
    return ("\r\n".join(["HTTP/1.1 %d %s" % (status, reason), "Connection: close"] + rows) + "\r\n\r\n").encode() + data


FINE = answer(200, {"fine": True})


def cut(connection):
    """Close without a word."""


def label(trouble):
    """A readable id, which is the same in every process."""
    return getattr(trouble, "__name__", str(trouble))


def silent(connection):
    connection.recv(1)  # until the client has had enough


@pytest.fixture
def serve():
    """serve(*answers): a Server that runs until the test ends."""
    running = []

    def start(*answers, wrap=None, keeps=False):
        server = Server(*answers, keeps=keeps)
        context = listening((lambda connection: wrap(connection, server)) if wrap else server)
        server.port = context.__enter__()
        running.append(context)
        return server

    yield start
    for context in running:
        context.__exit__(None, None, None)


def rest(url, headers=None, **options):
    return core.Rest("Example", getattr(url, "url", url), headers or {"Authorization": "Bearer " + TOKEN}, **options)


def fails(api, *arguments, **options):
    with pytest.raises(core.RestError) as failure:
        api.call(*arguments, **options)
    error = failure.value
    assert "\n" not in error.message and TOKEN not in error.message + error.hint
    return error


# --- what goes out

def test_a_request_says_who_asks_and_carries_the_credentials(serve):
    server = serve(FINE)
    assert rest(server).call("GET", "/v2/sizes") == {"fine": True}
    asked = server.asked[0]
    assert (asked.method, asked.target, asked.data) == ("GET", "/v2/sizes", b"")
    assert asked.headers["user-agent"] == "docker_machine.py/" + core.__version__
    assert asked.headers["authorization"] == "Bearer " + TOKEN
    assert "content-type" not in asked.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_goes_out_as_json(serve, method):
    server, body = serve(FINE), {"name": "Köln", "tags": ["a"], "backups": False, "size": None}
    rest(server).call(method, "/v2/droplets", body)
    assert (server.asked[0].method, server.asked[0].body) == (method, body)
    assert server.asked[0].headers["content-type"].startswith("application/json")


def test_an_empty_object_is_a_body(serve):
    server = serve(FINE)
    rest(server).call("POST", "/x", {})
    assert server.asked[0].data == b"{}"


def test_a_delete_and_a_get_have_none(serve):
    server = serve(answer(204))
    for method in ("DELETE", "GET"):
        assert rest(server).call(method, "/x") == {}
    assert [(one.data, "content-type" in one.headers) for one in server.asked] == [(b"", False)] * 2


@pytest.mark.parametrize("base", ["", "/", "/api/v2", "/api/v2/"])
def test_the_url_may_have_a_path_of_its_own(serve, base):
    server = serve(FINE)
    rest(server.url + base).call("GET", "/x")
    assert server.lines() == ["GET %s/x" % base.rstrip("/")]


def test_paths_and_queries_are_quoted(serve):
    server = serve(FINE)
    rest(server).call("GET", "/v2/account/keys/aa:bb", query={"name": "a&b=c d", "page": 2})
    rest(server).call("GET", "/v2/images/a b?c#d")
    assert server.lines() == ["GET /v2/account/keys/aa:bb?name=a%26b%3Dc+d&page=2", "GET /v2/images/a%20b%3Fc%23d"]


@pytest.mark.parametrize("body", ["grant_type=refresh_token&refresh_token=a%26b", b"\x00\xff", "<Vm name='Köln'/>"])
def test_text_and_bytes_go_out_as_they_are(serve, body):
    server = serve(FINE)
    rest(server).call("POST", "/token", body, kind="application/x-www-form-urlencoded")
    assert server.asked[0].data == (body if isinstance(body, bytes) else body.encode())
    assert server.asked[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert server.asked[0].headers["content-length"] == str(len(server.asked[0].data))


def test_json_may_have_a_content_type_of_its_own(serve):
    server = serve(FINE)
    rest(server).call("PATCH", "/x", [{"op": "add"}], kind="application/json-patch+json")
    assert server.asked[0].body == [{"op": "add"}]
    assert server.asked[0].headers["content-type"] == "application/json-patch+json"


def test_headers_may_be_made_for_each_try_from_the_very_bytes_that_go_out(serve):
    def sign(method, url, body):
        signed.append((method, url, body))
        return {"X-Signature": "%d %s" % (len(signed), hashlib.sha256(body).hexdigest())}

    server, signed = serve(answer(503), FINE), []  # type: Server, list
    rest(server, sign).call("PUT", "/v2/a b:start", {"name": "Köln"}, {"labels": "a b&c"})
    url = server.url + "/v2/a%20b:start?labels=a+b%26c"
    assert signed == [("PUT", url, asked.data) for asked in server.asked] and len(signed) == 2
    assert [asked.headers["x-signature"] for asked in server.asked] == [
        "%d %s" % (number, hashlib.sha256(server.asked[0].data).hexdigest()) for number in (1, 2)]
    assert url.endswith(server.asked[0].target)
    rest(server, sign).call("GET", "/x")
    assert signed[-1] == ("GET", server.url + "/x", b"")


def test_headers_that_cannot_be_made_are_an_error_and_nothing_is_sent(serve):
    def sign(method, url, body):
        raise core.MachineError("No login.", "Log in.")

    server = serve(FINE)
    with pytest.raises(core.MachineError, match="No login") as failure:
        rest(server, sign).call("GET", "/x")
    assert failure.value.hint == "Log in." and server.asked == []


@pytest.mark.parametrize("base", ["", "/compute/v2.1"])
def test_a_link_of_the_server_itself_may_be_followed(serve, base):
    server = serve(FINE)
    api = rest(server.url + base)
    api.call("GET", server.url + "/operations/7?api-version=1&t=a%2Fb", query={"wait": 1})
    api.call("GET", server.url.replace("http", "HTTP") + "/a b")
    assert server.lines() == ["GET /operations/7?api-version=1&t=a%2Fb&wait=1", "GET /a%20b"]
    assert server.asked[0].headers["authorization"] == "Bearer " + TOKEN


def test_the_usual_port_may_be_left_out_of_a_link(monkeypatch):
    asked = []

    def connect(address, *rest, **options):
        asked.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    for base, link in (("https://api.example.com", "https://API.example.com:443/x"),
                       ("https://api.example.com:443", "https://api.example.com/x")):
        fails(rest(base, patience=0), "GET", link)
    assert asked == [("api.example.com", 443)] * 2


@pytest.mark.parametrize("link", [
    "http://127.0.0.1:1/x", "https://127.0.0.1:PORT/x", "http://localhost:PORT/x", "http://127.0.0.1/x",
    "http://127.0.0.1:PORT@example.com/x", "http://me:secret@127.0.0.1:PORT/x", "http://127.0.0.1:PORT.example.com/x",
    "http://127.0.0.1:PORT0/x", "ftp://127.0.0.1:PORT/x", "http:/x", "x", "http://127.0.0.1:PORT\\@example.com/x",
])
def test_a_link_of_another_server_is_refused_before_anything_is_sent(serve, monkeypatch, link):
    server, connected = serve(FINE), []  # type: Server, list
    monkeypatch.setattr(socket, "create_connection", lambda *arguments, **options: connected.append(arguments))
    with pytest.raises(core.MachineError, match="is not an address of"):
        rest(server).call("GET", link.replace("PORT", str(server.port)))
    assert connected == []


# --- what comes back

@pytest.mark.parametrize("status, body, value", [
    (200, '{"a": 1}', {"a": 1}), (201, "[1, 2]", [1, 2]), (202, ' {"a": "\\u00e9"}\r\n', {"a": "é"}),
    (200, '{"a": "é"}', {"a": "é"}), (204, "", {}), (202, "", {}),
])
def test_an_answer_is_what_its_json_says(serve, status, body, value):
    assert rest(serve(answer(status, body))).call("POST", "/x", {}) == value


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("value", [True, False, None, 0, -1.5, "10.0.0.5", "", [], {}])
def test_any_json_is_an_answer(serve, method, value):
    server = serve(answer(200, json.dumps(value)))
    given = rest(server).call(method, "/x")
    assert (given, type(given)) == (value, type(value)) and len(server.asked) == 1


def test_an_answer_may_be_taken_whole(serve):
    server = serve(answer(201, b"<Session/>", x_subject_token="abc"), answer(200, "[1]"), answer(204))
    given = rest(server).call("POST", "/tokens", {}, key=None)
    assert (given.status, given.body) == (201, b"<Session/>")
    assert given.headers.get("X-Subject-Token") == given.headers.get("x-subject-token") == "abc"
    assert given.headers.get("x-other") is None
    assert core.parse_json(rest(server).call("GET", "/x", key=None).body.decode()) == [1]
    assert rest(server).call("DELETE", "/x", key=None).body == b""


def test_what_is_under_a_key_must_be_there_and_hold_something(serve):
    assert rest(serve(answer(200, {"a": {"b": 1}}))).call("GET", "/x", key="a") == {"b": 1}
    assert rest(serve(answer(200, {"a": []}))).call("GET", "/x", key="a") == []
    bodies = [{"b": 1}, [], "a", "5", "true", "null", '"a"', {"a": None}, {"a": 5}, {"a": "a"}]  # type: list
    for body in bodies:
        error = fails(rest(serve(answer(200, body)), patience=1), "GET", "/x", key="a")
        assert error.status == 200 and "JSON" in error.message


def test_an_answer_in_pieces_is_one(serve):
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (b'{"fi', b'ne": ', b"true}", b""))
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces)
    assert rest(server).call("GET", "/x") == {"fine": True}


def test_a_large_answer_comes_whole(serve):
    rows = {"rows": ["x" * 1000] * 2000}
    assert rest(serve(answer(200, rows))).call("GET", "/x") == rows


BROKEN = {
    "half": answer(200, '{"a": '),
    "html": answer(200, "<html><body>Welcome to our hotel</body></html>", content_type="text/html"),
    "bytes": answer(200, b"\xff\xfe{}"),
    "deep": answer(200, "[" * 200000),
    "short": answer(200, b'{"a": 1}', content_length=100),
    "nothing": answer(200, b"", content_length=100),
    "no body": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"a\": 1}\r\n5\r\nxx",
    "no HTTP": b"220 mail.example.com ESMTP\r\n",
    "head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_what_is_no_whole_json_is_asked_for_again_and_then_an_error(serve, kind):
    server = serve(BROKEN[kind], FINE)
    assert rest(server).call("GET", "/x") == {"fine": True} and len(server.asked) == 2
    server = serve(BROKEN[kind])
    error = fails(rest(server, patience=60), "GET", "/x")
    assert error.message.startswith("Example: ") and "GET /x" in error.message
    assert error.unsure and not error.unsent and 2 <= len(server.asked) < 30


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_what_a_broken_answer_says_of_a_post_is_nothing_so_it_is_not_made_again(serve, kind):
    server = serve(BROKEN[kind])
    error = fails(rest(server), "POST", "/x", {})
    assert error.unsure and len(server.asked) == 1
    found = {"made": "before"}
    assert rest(server).call("POST", "/x", {}, made=lambda: found) is found and len(server.asked) == 2


def test_an_answer_without_end_is_not_read_to_it(serve):
    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with pytest.raises(OSError):
            for _ in range(10000):
                connection.sendall(b" " * 65536)
        flooded.set()

    flooded = threading.Event()
    assert fails(rest(serve(flood), seconds=20), "POST", "/x").status == 200
    assert flooded.wait(10)


# --- errors as sentences

@pytest.mark.parametrize("body, words", [
    ({"id": "not_found", "message": "The resource you were accessing could not be found.", "request_id": "1"},
     "The resource you were accessing could not be found"),
    ({"error": {"code": 403, "message": "Quota 'CPUS' exceeded.", "errors": [{"message": "other"}]}},
     "Quota 'CPUS' exceeded"),
    ({"error": {"code": "SkuNotAvailable", "message": "The requested size is not available."}},
     "The requested size is not available"),
    ({"badRequest": {"message": "Invalid flavorRef provided.", "code": 400}}, "Invalid flavorRef provided"),
    ({"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['port'].", "detail": ""}},
     "Quota exceeded for resources: ['port']"),
    ({"error": {"code": 401, "title": "Unauthorized", "message": "The request requires authentication."}},
     "The request requires authentication"),
    ({"error": "Error validating resource tag: it contains invalid characters", "messages": None, "root_causes": []},
     "Error validating resource tag: it contains invalid characters"),
    ({"detail": "Not found."}, "Not found"),
    ({"message": "two\nlines\r\n  of it"}, "two lines of it"),
    ("upstream connect error or disconnect/reset before headers",
     "upstream connect error or disconnect/reset before headers"),
    ("too\n  many   blanks", "too many blanks"),
    ("Schlüssel fehlt", "Schlüssel fehlt"),
])
def test_an_error_is_told_in_the_servers_words(serve, body, words):
    error = fails(rest(serve(answer(422, body))), "POST", "/v2/droplets", {})
    assert (error.status, error.words) == (422, words)
    assert error.message == "Example: %s (422 to POST /v2/droplets)" % words
    assert not error.unsent and not error.unsure and error.tries == 1


@pytest.mark.parametrize("body, words, reason", [
    ({"error": {"code": "AuthorizationFailed", "message": "The client does not have authorization."}},
     "The client does not have authorization", "AuthorizationFailed"),
    ({"error": {"code": 403, "message": "Quota 'CPUS' exceeded.", "status": "PERMISSION_DENIED", "errors": [
        {"message": "Quota 'CPUS' exceeded.", "domain": "usageLimits", "reason": "quotaExceeded"}]}},
     "Quota 'CPUS' exceeded", "quotaExceeded"),
    ({"error": "Unable to find object with id of '7'.", "code": "SoftLayer_Exception_ObjectNotFound"},
     "Unable to find object with id of '7'", "SoftLayer_Exception_ObjectNotFound"),
    ({"title": "Bad Request", "detail": "Invalid value.", "errors": [{"location": "disk-size", "detail": "too small"}]},
     "Invalid value (disk-size)", ""),
    ({"itemNotFound": {"message": "Instance 7 could not be found.", "code": 404}}, "Instance 7 could not be found", ""),
    ({"NeutronError": {"type": "OverQuota", "message": "Quota exceeded.", "detail": ""}},
     "Quota exceeded", "OverQuota"),
    ({"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
     "Token has been expired or revoked", "invalid_grant"),
    ({"id": "not_found", "message": "Gone."}, "Gone", "not_found"),
    ('<?xml version="1.0" encoding="UTF-8"?>\n<Error xmlns="http://www.vmware.com/vcloud/v1.5" majorErrorCode="400"\n'
     '  message="The entity &quot;web&quot; is busy &amp; &lt;locked&gt;." minorErrorCode="BUSY_ENTITY"></Error>',
     'The entity "web" is busy & <locked>', "BUSY_ENTITY"),
    ('<html><body class="message"><p>message</p></body></html>', "", ""), ("Not here", "Not here", ""),
], ids=lambda value: str(value)[:20])
def test_an_error_has_the_providers_words_and_its_code(serve, body, words, reason):
    error = fails(rest(serve(answer(400, body))), "POST", "/x", {})
    assert (error.words, error.reason) == (words, reason)
    if isinstance(body, dict):
        assert error.value == body


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("body", [
    "", "<html><body><h1>403 Forbidden</h1></body></html>", "<!DOCTYPE html>\n<p>no", [], ["a"], 5, None, {},
    {"message": None}, {"message": ["a"]}, {"error": {"message": 5}}, '{"message": ', "[" * 200000,
    b"\xff\xfe\x00\x01", b"\x00" * 5000, "x" * 100000,
], ids=lambda body: str(body)[:12])
def test_an_error_without_a_word_is_a_sentence_all_the_same(serve, body):
    error = fails(rest(serve(answer(403, json.dumps(body) if body is None or isinstance(body, (int, list, dict))
                                    else body))), "GET", "/x")
    assert error.status == 403 and "403" in error.message and "GET /x" in error.message
    assert len(error.message) < 500 and "<" not in error.message


def test_no_error_moves_the_cursor_of_the_terminal(serve):
    """Bytes of a server, or of whoever stands between, are no commands."""
    for body in ({"message": "\x1b[2Jgone\x07\x00"}, "\x1b]0;title\x07gone"):
        error = fails(rest(serve(answer(400, body))), "GET", "/x")
        assert "gone" in error.message and error.message.isprintable()


# --- what is tried again

@pytest.mark.parametrize("trouble", [500, 502, 503, 504, cut, "html"], ids=label)
@pytest.mark.parametrize("method, again", [("GET", True), ("PUT", True), ("DELETE", True), ("POST", False),
                                           ("PATCH", False)])
def test_what_may_have_been_carried_out_is_tried_again_only_where_that_does_no_harm(serve, trouble, method, again):
    bad = answer(trouble, {"message": "Server Error"}) if isinstance(trouble, int) else \
        answer(503, "<html>") if trouble == "html" else trouble
    server = serve(bad, bad, FINE)
    if again:
        assert rest(server).call(method, "/x") == {"fine": True} and len(server.asked) == 3
    else:
        error = fails(rest(server), method, "/x", {})
        assert error.unsure and error.tries == len(server.asked) == 1


def test_a_post_that_does_no_harm_twice_can_say_so(serve, pauses):
    server = serve(answer(500), cut, FINE)
    assert rest(server).call("POST", "/x", {}, repeat=True) == {"fine": True} and len(server.asked) == 3
    server = serve(answer(500), FINE)
    assert fails(rest(server), "GET", "/x", repeat=False).tries == 1


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
def test_too_many_requests_is_tried_again_whatever_was_asked(serve, method):
    server = serve(answer(429), answer(429), FINE)
    assert rest(server).call(method, "/x", {}) == {"fine": True} and len(server.asked) == 3


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 304, 400, 401, 403, 404, 409, 410, 412, 422])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_refusal_is_final(serve, pauses, method, status):
    server = serve(answer(status, {"message": "No."} if status != 304 else ""), FINE)
    error = fails(rest(server), method, "/x", made=lambda: {"never": "asked for"})
    assert (error.status, error.tries, error.unsent, error.unsure, pauses) == (status, 1, False, False, [])


def busy(error):
    """As a driver judges: wait where something else goes on."""
    return error.reason == "Busy" or error.status == 413 and (error.pause or 0) > 0


BUSY = answer(409, {"code": "Busy", "message": "Another operation goes on."})


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("each_call", [True, False])
def test_a_driver_says_which_refusals_pass(serve, method, each_call):
    server = serve(BUSY, answer(500, {"code": "Busy"}), FINE)
    given, options = {"wait": busy}, {"made": lambda: pytest.fail("nothing was made")}  # type: dict, dict
    if each_call:
        options.update(given)
    assert rest(server, **({} if each_call else given)).call(method, "/x", **options) == {"fine": True}
    assert len(server.asked) == 3


def test_a_refusal_that_is_waited_for_has_its_pause_and_its_end(serve, pauses):
    assert rest(serve(answer(413, "", retry_after=20), FINE), wait=busy).call("POST", "/x") == {"fine": True}
    assert len(pauses) == 1 and 20 <= pauses[0] < 22
    error = fails(rest(serve(BUSY), wait=busy, patience=60), "POST", "/x")
    assert error.refused and error.status == 409 and len(pauses) > 3


@pytest.mark.parametrize("refusal", [answer(409, {"code": "Conflict"}), answer(413, "", retry_after="0"), answer(422)])
def test_other_refusals_stay_final(serve, pauses, refusal):
    assert fails(rest(serve(refusal, FINE), wait=busy), "POST", "/x").tries == 1 and pauses == []


def test_what_a_driver_has_no_word_for_goes_by_its_status(serve):
    server = serve(answer(500, {"code": "Lost"}), cut, FINE)
    assert rest(server, wait=busy).call("GET", "/x") == {"fine": True}
    error = fails(rest(serve(answer(500), FINE), wait=busy), "POST", "/x")
    assert error.unsure and not error.refused


def test_a_driver_may_know_that_a_500_is_a_refusal(serve):
    def judge(error):
        if error.reason.startswith("SoftLayer_Exception_"):
            error.refused, error.unsure = True, False

    server = serve(answer(500, {"error": "Invalid hostname.", "code": "SoftLayer_Exception_InvalidValue"}), FINE)
    error = fails(rest(server, wait=judge), "POST", "/x", {}, made=lambda: pytest.fail("nothing was made"))
    assert error.refused and error.tries == 1 and error.words == "Invalid hostname"
    server = serve(cut, answer(500, {"code": "SoftLayer_Exception_InvalidValue"}))
    error = fails(rest(server, wait=judge), "POST", "/x", {}, made=lambda: None)
    assert error.status == 500 and not error.refused  # what the first try asked for may be there


# --- logging in anew

class Login:
    """Headers with a token that renew() replaces."""

    def __init__(self, **failure):
        self.renewed, self.failure = 0, failure

    def headers(self, method, url, body):
        return {"X-Auth-Token": "token%d" % self.renewed}

    def renew(self):
        self.renewed += 1
        if self.failure:
            error = core.RestError("Login: wrong password")
            vars(error).update(self.failure)
            raise error


EXPIRED = answer(401, {"message": "The token has expired."})


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_token_that_has_expired_is_renewed_and_the_request_repeated(serve, method):
    server, login = serve(EXPIRED, FINE), Login()
    api = rest(server, login.headers, renew=login.renew)
    assert api.call(method, "/x", {}) == {"fine": True} and login.renewed == 1
    assert [asked.headers["x-auth-token"] for asked in server.asked] == ["token0", "token1"]
    api.call(method, "/x")
    assert server.asked[-1].headers["x-auth-token"] == "token1" and login.renewed == 1


def test_a_token_is_renewed_once_for_each_request(serve):
    server, login = serve(EXPIRED), Login()
    api = rest(server, login.headers, renew=login.renew)
    for number in (1, 2):
        error = fails(api, "POST", "/x", {})
        assert (error.status, error.tries, error.refused) == (401, 2, True)
        assert (login.renewed, len(server.asked)) == (number, 2 * number)


def test_headers_that_are_a_dict_may_be_renewed_in_place(serve):
    server, headers = serve(EXPIRED, FINE), {"X-Auth-Token": "old"}
    rest(server, headers, renew=lambda: headers.update({"X-Auth-Token": "new"})).call("GET", "/x")
    assert [asked.headers["x-auth-token"] for asked in server.asked] == ["old", "new"]


@pytest.mark.parametrize("before, refused", [((), True), ((cut,), False)], ids=["at once", "after a lost answer"])
def test_a_login_that_is_refused_is_told(serve, before, refused):
    server, login = serve(*before, EXPIRED, FINE), Login(status=401, refused=True)
    with pytest.raises(core.RestError, match="wrong password") as failure:
        rest(server, login.headers, renew=login.renew).call("POST", "/x", {}, repeat=True)
    assert failure.value.refused == refused and len(server.asked) == len(before) + 1


def test_no_other_refusal_renews(serve):
    login = Login()
    for status in (400, 403, 404, 500):
        fails(rest(serve(answer(status)), login.headers, renew=login.renew), "POST", "/x")
    assert login.renewed == 0


def test_the_lost_answer_of_a_post_is_asked_for_before_it_is_made_again(serve):
    server, answers = serve(cut, answer(500), FINE), [None, None]
    asked_before = []

    def made():
        asked_before.append(len(server.asked))
        return answers.pop(0)

    assert rest(server).call("POST", "/x", {}, made=made) == {"fine": True}
    assert asked_before == [1, 2] and len(server.asked) == 3


@pytest.mark.parametrize("trouble", [cut, answer(500), answer(502), answer(200, "{"), answer(504, "<html>")], ids=label)
def test_what_was_made_is_not_made_again(serve, trouble):
    server, found = serve(trouble, FINE), {"droplet": {"id": 1}}
    assert rest(server).call("POST", "/x", {}, made=lambda: found) is found
    assert len(server.asked) == 1


def test_nothing_can_have_been_made_by_what_was_refused_as_too_much(serve):
    server = serve(answer(429), FINE)
    assert rest(server).call("POST", "/x", {}, made=lambda: pytest.fail("asked")) == {"fine": True}


def test_made_may_fail_itself(serve):
    def made():
        raise core.MachineError("No list.")

    server = serve(cut, FINE)
    with pytest.raises(core.MachineError, match="No list"):
        rest(server).call("POST", "/x", {}, made=made)
    assert len(server.asked) == 1  # since nobody knows what there is


# --- when

def test_pauses_grow_and_no_two_are_alike(serve, pauses):
    for _ in range(8):
        server = serve(answer(503), answer(503), answer(503), answer(503), answer(503), FINE)
        rest(server).call("GET", "/x")
    rows = [pauses[start:start + 5] for start in range(0, 40, 5)]
    assert all(.2 < row[0] < 2 and sum(row) > 5 * row[0] / 2 for row in rows)
    assert max(max(row) for row in rows) < 60
    averages = [sum(row[number] for row in rows) for number in range(5)]
    assert averages == sorted(averages)
    assert len({row[0] for row in rows}) > 4  # many machines do not come back together


def test_patience_ends(serve, pauses):
    server = serve(answer(503, {"message": "Down for maintenance"}))
    error = fails(rest(server, patience=60), "GET", "/x")
    assert error.words == "Down for maintenance" and error.tries == len(server.asked) == len(pauses) + 1 > 4
    assert 20 < sum(pauses) <= 60


@pytest.mark.parametrize("headers, least, most", [
    ({"retry_after": "7"}, 7, 9), ({"retry_after": " 7 "}, 7, 9), ({"retry_after": "0"}, 0, 2),
    ({"ratelimit_reset": 11}, 10, 13), ({"ratelimit_reset": -3600}, 0, 2),
    ({"retry_after": "3", "ratelimit_reset": 3600}, 3, 5), ({"retry_after_date": 20}, 19, 22),
    ({"retry_after_date": -20}, 0, 2), ({}, .2, 2), ({"retry_after": "soon"}, .2, 2),
    ({"retry_after": "-5"}, 0, 2), ({"retry_after": ""}, 0, 2), ({"ratelimit_reset_text": "never"}, .2, 2),
    ({"retry_after": "\u00b2"}, .2, 2),
])
def test_the_server_says_when_to_come_back(serve, pauses, headers, least, most):
    headers = dict(headers)
    if "ratelimit_reset" in headers:
        headers["ratelimit_reset"] = int(time.time()) + headers["ratelimit_reset"]
    if "ratelimit_reset_text" in headers:
        headers["ratelimit_reset"] = headers.pop("ratelimit_reset_text")
    if "retry_after_date" in headers:
        headers["retry_after"] = email.utils.formatdate(time.time() + headers.pop("retry_after_date"), usegmt=True)
    server = serve(answer(429, {"message": "API Rate limit exceeded."}, **headers), FINE)
    assert rest(server).call("POST", "/x", {}) == {"fine": True}
    assert len(pauses) == 1 and least <= pauses[0] <= most


def test_a_server_that_is_down_may_say_when_it_will_be_back(serve, pauses):
    server = serve(answer(503, retry_after="17"), FINE)
    rest(server).call("GET", "/x")
    assert len(pauses) == 1 and 17 <= pauses[0] <= 25


@pytest.mark.parametrize("header", ["retry_after", "ratelimit_reset"])
def test_a_pause_that_is_longer_than_patience_is_told_at_once(serve, pauses, header):
    wanted = 3000 if header == "retry_after" else int(time.time()) + 3000
    server = serve(answer(429, {"message": "API Rate limit exceeded."}, **{header: wanted}), FINE)
    error = fails(rest(server), "GET", "/x")
    assert error.status == 429 and "Rate limit exceeded" in error.message and pauses == []
    assert re.search(r"\b(30\d\d|29\d\d) s|\b(50|49) min|\d\d:\d\d", error.message + error.hint)  # until when


def test_a_server_without_mercy_is_left_alone_in_the_end(serve, pauses):
    server = serve(answer(429, {"message": "API Rate limit exceeded."}, retry_after="0"))
    fails(rest(server, patience=30), "POST", "/x")
    assert sum(pauses) <= 30 and len(server.asked) < 60


def test_a_long_pause_is_told(serve, capsys):
    rest(serve(answer(429, {"message": "API Rate limit exceeded."}, retry_after="30"), FINE)).call("GET", "/x")
    said = capsys.readouterr()
    assert re.search(r"Rate limit exceeded.* 3[01] s", said.out + said.err)


def test_short_ones_are_not(serve, capsys):
    rest(serve(answer(503), cut, FINE)).call("GET", "/x")
    assert capsys.readouterr() == ("", "")


# --- what does not answer

def test_a_closed_port_is_told_soon(closed_port, pauses):
    for method in ("GET", "POST"):
        error = fails(rest("http://127.0.0.1:%d" % closed_port), method, "/x")
        assert "refused" in error.message and error.hint and error.status == 0
        assert error.unsent and not error.unsure and 2 <= error.tries <= 4
    assert sum(pauses) < 20


def test_a_name_that_nobody_knows_is_told_soon(monkeypatch, pauses):
    def getaddrinfo(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = fails(rest("https://api.example.invalid"), "POST", "/x", made=lambda: pytest.fail("nothing was made"))
    assert "Name or service not known" in error.message and "network" in error.hint
    assert error.unsent and 2 <= error.tries <= 4 and sum(pauses) < 20


def test_a_closed_port_that_opens_is_enough(serve, closed_port, monkeypatch):
    """POST too, since nothing was sent."""
    server, connect, tries = serve(FINE), socket.create_connection, []

    def second_try(address, *rest, **options):
        tries.append(address)
        return connect(("127.0.0.1", closed_port) if len(tries) == 1 else address, *rest, **options)

    monkeypatch.setattr(socket, "create_connection", second_try)
    assert rest(server).call("POST", "/x", {}) == {"fine": True} and len(tries) == 2 and len(server.asked) == 1


def dripping(start):
    """An answer whose start comes at once and whose rest comes byte by byte, so that no recv() waits for long."""
    def drip(connection):
        connection.sendall(start)
        for _ in range(40 * HANG):
            dripped.wait(.05)
            connection.sendall(b" ")

    dripped = threading.Event()
    return drip


SLOW = {
    "silent": silent,
    "body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
    "endless body": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    "head": dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "status": dripping(b"HTTP/1.1 200 "),
    "chunk": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5"),
}


@pytest.mark.parametrize("kind", sorted(SLOW))
def test_a_request_has_an_end_however_slow_the_server(serve, kind):
    start = time.time()
    # Long enough for the request to leave a busy computer.
    error = fails(rest(serve(SLOW[kind]), seconds=1.5, patience=4), "POST", "/x", {})
    assert time.time() - start < HANG
    assert error.unsure and not error.unsent and error.tries == 1
    # A drop may come late where the computer is busy, and so it is taken for silence.
    assert "0.75 s" in error.message or kind != "silent" and "1.5 s" in error.message


def test_a_request_that_was_given_up_is_not_sent_later(serve, monkeypatch):
    """The first address of two is silent, and takes all the time that there is."""
    server, real, exchange = serve(FINE), socket.create_connection, core.Rest._exchange
    before, given_up = set(threading.enumerate()), threading.Event()

    def connect(address, timeout=None, *more):
        given_up.wait(60)
        return real(address, timeout, *more)

    def begin_late(*arguments):  # as a thread on a busy computer
        time.sleep(.04)
        return exchange(*arguments)

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(core.Rest, "_exchange", begin_late)
    error = fails(rest(server, seconds=.2, patience=.2), "POST", "/x", {"a": 1})
    late = set(threading.enumerate()) - before
    given_up.set()
    assert late and error.unsure
    for thread in late:
        thread.join(10)
    assert [asked.body for asked in server.asked if asked.body] == []


def test_a_slow_server_is_asked_again_if_that_does_no_harm(serve):
    server = serve(silent, FINE)
    assert rest(server, seconds=2).call("GET", "/x") == {"fine": True} and len(server.asked) == 2


# --- credentials go nowhere else

@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_redirect_is_followed(serve, status, method):
    other = serve(FINE)
    server = serve(answer(status, location=other.url + "/stolen"), FINE)
    error = fails(rest(server), method, "/x")
    assert error.status == status and other.asked == [] and len(server.asked) == 1


@pytest.mark.parametrize("url", [
    "http://api.example.com", "http://127.0.0.1.example.com", "http://127.0.0.1@example.com/", "http://localhost.test",
    "http://192.0.2.1:8080", "http://10.0.0.1", "HTTP://api.example.com", "http:", "http://", "ftp://example.com",
    "file:///etc/passwd", "api.example.com", "//api.example.com", "", "/v2", "unix:///run/api.sock", "https:",
    "https://", "https:///v2", "https://[::1", "https://example.com:port", "https://user:secret@example.com",
    "http://127.0.0", "http://127.0.0.1.2", "http://127.x.0.1", "http://localhost@example.com", "https://me@example.com",
    "http://[::2]:80", "http://[::1].example.com", "https://a b.example.com", "https://example.com\n.example.org",
])
def test_what_is_no_https_url_is_refused_before_anything_is_sent(monkeypatch, url):
    connected = []
    monkeypatch.setattr(socket, "create_connection", lambda *arguments, **options: connected.append(arguments))
    with pytest.raises(core.MachineError) as failure:
        rest(url).call("GET", "/x")
    assert connected == []
    assert "secret" not in failure.value.message and "\n" not in failure.value.message


def test_this_computer_may_be_asked_in_the_clear(serve):
    server = serve(FINE)
    for host in ("127.0.0.1", "localhost"):
        rest("http://%s:%d" % (host, server.port)).call("GET", "/x")
    assert len(server.asked) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1"])
def test_all_of_this_computers_addresses_count(host):
    server = Server(FINE)
    try:
        with listening(server, host) as port:
            url = ("http://[%s]:%d" if ":" in host else "http://%s:%d") % (host, port)
            assert rest(url + "/v2").call("GET", "/x") == {"fine": True}
    except OSError as error:
        pytest.skip("%s: %s" % (host, error))
    assert server.asked[0].headers["host"] in url


def test_another_computer_is_asked_in_the_clear_only_if_the_driver_says_so(serve, proxy, monkeypatch):
    server, connect, addresses = serve(FINE), socket.create_connection, []

    def to_the_server(address, *rest, **options):
        addresses.append(address)
        return connect(("127.0.0.1", server.port), *rest, **options)

    monkeypatch.setattr(socket, "create_connection", to_the_server)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:%d" % proxy.port)
    with pytest.raises(core.MachineError, match="not an https URL"):
        rest("http://controller:5000/v3")
    assert rest("http://controller:5000/v3", plain=True).call("GET", "/x") == {"fine": True}
    assert addresses == [("controller", 5000)] and server.asked[0].headers["host"] == "controller:5000"
    for url in ("http://", "ftp://controller", "controller:5000", "http://me:secret@controller:5000"):
        with pytest.raises(core.MachineError):
            rest(url, plain=True)


def test_nothing_of_the_credentials_is_told(serve, capsys, monkeypatch):
    monkeypatch.setattr(core.out, "debugging", True)
    monkeypatch.setattr(core.out, "secrets", set())
    for server in (serve(FINE), serve(answer(403, {"message": "No."})), serve(cut), serve(answer(200, "{"))):
        api = rest(server, patience=0)
        try:
            api.call("POST", "/v2/droplets", {"user_data": "private key"}, {"page": 1})
        except core.RestError as error:
            core.show_error(error)
    said = capsys.readouterr()
    assert said.err.count("POST " + "http://127.0.0.1") >= 4 and said.out == ""
    for secret in (TOKEN, "Bearer", "private key"):
        assert secret not in said.err


def test_debug_tells_each_request_with_its_status_and_time(serve, capsys, monkeypatch):
    monkeypatch.setattr(core.out, "debugging", True)
    server = serve(answer(503), FINE)
    rest(server).call("GET", "/x", query={"page": 2})
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^ *\d+\.\d{3} |[\d.]+(?= s$)", "", line) for line in lines] == [
        "GET %s/x?page=2: %d after  s" % (server.url, status) for status in (503, 200)]


# --- pages

def pages_of(server, count, path="/x", **query):
    return rest(server).pages(path, "rows", dict(query, per_page=2), lambda given: given.get("next"))[:count]


def test_pages_are_followed_to_the_last(serve):
    server = serve(answer(200, {"rows": [1, 2], "next": "/x?page=2&per_page=2&type=a%26b"}),
                   answer(200, {"rows": [3, 4], "next": "https://api.example.com/x?page=3&per_page=2"}),
                   answer(200, {"rows": [5]}))
    assert pages_of(server, 9, type="a&b") == [1, 2, 3, 4, 5]
    assert [target.split("?")[0] for target in server.lines()] == ["GET /x"] * 3
    assert ["type=a%26b" in line for line in server.lines()] == [True, True, True]  # also where a link lacks it
    assert ["page=%d" % page in server.lines()[page - 1] for page in (2, 3)] == [True, True]


def test_pages_are_found_by_a_token(serve):
    """As Google's aggregated lists, whose rows lie below each zone."""
    server = serve(
        answer(200, {"items": {"a": {"instances": [1]}, "b": {"warning": {}}}, "nextPageToken": "t&2"}),
        answer(200, {"items": {"c": {"instances": [2, 3]}}}))
    rows = rest(server).pages(
        "/x", lambda given: [row for zone in given["items"].values() for row in zone.get("instances", ())],
        {"filter": "a=b"}, lambda given: "nextPageToken" in given and {"pageToken": given["nextPageToken"]})
    assert rows == [1, 2, 3]
    assert server.lines() == ["GET /x?filter=a%3Db", "GET /x?filter=a%3Db&pageToken=t%262"]


def test_pages_are_found_by_an_offset(serve):
    """As SoftLayer's, whose answers are bare lists."""
    server, sizes = serve(answer(200, [1, 2]), answer(200, [3, 4]), answer(200, [5])), []  # type: Server, list

    def following(given):
        sizes.append(len(given))
        return {"resultLimit": "%d,2" % sum(sizes)} if len(given) == 2 else None

    assert rest(server).pages("/x", lambda given: given, {"resultLimit": "0,2"}, following) == [1, 2, 3, 4, 5]
    assert server.lines() == ["GET /x?resultLimit=%d%%2C2" % offset for offset in (0, 2, 4)]


def test_pages_are_found_by_the_last_item(serve):
    """As OpenStack's."""
    server = serve(answer(200, {"servers": [{"id": "a"}, {"id": "b"}]}), answer(200, {"servers": []}))
    rows = rest(server).pages("/x", "servers", None, lambda given: given["servers"] and {
        "marker": given["servers"][-1]["id"]})
    assert rows == [{"id": "a"}, {"id": "b"}] and server.lines() == ["GET /x", "GET /x?marker=b"]


@pytest.mark.parametrize("body", ["5", "true", "null", '"rows"', "[1]", '{"rows": "text"}', '{"rows": {"a": 1}}'])
def test_a_list_that_is_none_is_refused(serve, body):
    with pytest.raises(core.RestError, match="list"):
        pages_of(serve(answer(200, body)), 9)


def test_a_list_does_not_pass_for_empty_because_its_answer_is(serve):
    with pytest.raises(core.RestError):
        rest(serve(answer(200, "")), patience=1).pages("/x", "rows", {}, lambda given: None)


def test_a_link_to_a_strange_host_gets_no_request(serve):
    strange = serve(FINE)
    server = serve(answer(200, {"rows": [1], "next": strange.url + "/elsewhere?page=2"}), answer(200, {"rows": [2]}))
    assert pages_of(server, 9) == [1, 2]
    assert strange.asked == [] and server.lines()[1] == "GET /x?per_page=2&page=2"


def test_pages_without_end_have_one(serve):
    server = serve(answer(200, {"rows": [1], "next": "/x?page=1"}))
    pages_of(server, 9)
    assert len(server.asked) <= 100


def test_a_page_that_fails_is_asked_for_again_by_itself(serve):
    server = serve(answer(200, {"rows": [1], "next": "?page=2"}), answer(500), cut, answer(200, {"rows": [2]}))
    assert pages_of(server, 9) == [1, 2]
    assert [line[-6:] for line in server.lines()[1:]] == ["page=2"] * 3


@pytest.mark.parametrize("body", [{}, {"rows": None}, {"rows": []}])
def test_a_list_may_be_empty(serve, body):
    assert pages_of(serve(answer(200, body)), 9) == []


# --- kept connections

@pytest.fixture
def still(monkeypatch, pauses):
    """The clock stands still but for sleep(), so that no connection ages on a busy computer."""
    monkeypatch.setattr(time, "monotonic", lambda: float(sum(pauses)))


def test_a_run_of_requests_takes_one_connection(serve, still):
    server = serve(FINE, answer(404), answer(204), FINE, keeps=True)
    api = rest(server)
    assert api.call("GET", "/x") == {"fine": True}
    assert fails(api, "DELETE", "/x").status == 404
    assert api.call("DELETE", "/x") == {}
    for number in range(20):
        api.call("PUT", "/%d" % number, {"number": number})
    assert server.counts == [23]


def test_what_must_not_be_made_twice_gets_a_connection_of_its_own(serve, still):
    server = serve(FINE, keeps=True)
    api = rest(server)
    for method, options in (("GET", {}), ("POST", {}), ("GET", {}), ("PATCH", {}), ("PUT", {"repeat": False}),
                            ("POST", {"repeat": True}), ("POST", {"made": lambda: None})):
        api.call(method, "/x", **options)
    assert sum(server.counts) == 7 and len(server.counts) == 4
    # That of the POST is the latest, and so it is taken by the GET that follows.
    assert server.lines() == ["%s /x" % method for method in ("GET", "POST", "GET", "PATCH", "PUT", "POST", "POST")]


def test_one_that_the_server_has_closed_costs_no_try(serve, still, pauses):
    """Though it did not say that it would."""
    server = serve(FINE.replace(b"Connection: close\r\n", b""))
    api = rest(server)
    for _ in range(5):
        assert api.call("POST", "/x", made=lambda: pytest.fail("nothing was lost")) == {"fine": True}
        await_end(api)
    assert server.counts == [1] * 5 and pauses == []


def await_end(api):
    """Until it is known here that the server has closed what was kept."""
    for connection in api.idle:
        assert select.select([connection.sock], [], [], HANG)[0]


@pytest.mark.parametrize("last", [
    FINE, answer(200, b'{"a": 1}', content_length=100), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}", cut,
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\n{}",
], ids=["closed", "short", "long", "cut", "HTTP/1.0", "without a length"])
def test_one_that_is_not_in_order_is_not_used_again(serve, still, last):
    """What is left in it would be the answer to another request."""
    server = serve(last, FINE)
    api = rest(server, patience=0)
    try:
        api.call("GET", "/x")
    except core.RestError:
        pass
    await_end(api)
    assert api.call("GET", "/y") == {"fine": True} and server.counts == [1, 1]


def test_pieces_end_where_they_say(serve, still):
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (b'{"fine": ', b"true}", b""))
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces, keeps=True)
    api = rest(server)
    assert [api.call("GET", "/x") for _ in range(3)] == [{"fine": True}] * 3 and server.counts == [3]


def test_each_thread_has_a_connection_of_its_own(serve, still):
    def slow(connection):
        time.sleep(.04)
        connection.sendall(FINE.replace(b"Connection: close\r\n", b""))

    server = serve(slow, keeps=True)
    api = rest(server)
    for _ in range(3):
        assert core.each(lambda number: api.call("GET", "/%d" % number), range(4)) == [{"fine": True}] * 4
    assert sum(server.counts) == 12 and 1 <= len(server.counts) <= 4


# --- https

@pytest.fixture
def https(serve, server):
    """https(*answers, pair): a server that speaks TLS with a certificate of the tests' CA."""
    def start(*answers, identity=server, keeps=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.cert, identity.key)

        def wrap(connection, inner):
            with context.wrap_socket(connection, server_side=True) as tls:
                inner(tls)
        return serve(*answers, wrap=wrap, keeps=keeps)
    return start


def secure(server, host="127.0.0.1"):
    return "https://%s:%d" % (host, server.port)


@pytest.fixture
def ca(certs):
    return str(certs / "ca.pem")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_ca_of_ones_own_is_named_by_a_variable(https, ca, monkeypatch, variable):
    monkeypatch.setenv(variable, ca)
    server = https(FINE)
    assert rest(secure(server)).call("GET", "/x") == {"fine": True}
    assert server.asked[0].headers["authorization"] == "Bearer " + TOKEN


@pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_folder_of_cas_is_one_too(https, ca, tmp_path, monkeypatch, variable):
    hashed = openssl("x509", "-noout", "-hash", "-in", ca).strip()
    (tmp_path / (hashed + ".0")).symlink_to(ca)
    monkeypatch.setenv(variable, str(tmp_path))
    assert rest(secure(https(FINE))).call("GET", "/x") == {"fine": True}


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("kind", ["missing", "garbage", "empty"])
def test_a_bundle_that_cannot_be_read_is_named(https, tmp_path, monkeypatch, variable, kind):
    path = tmp_path / "bundle.pem"
    if kind != "missing":
        path.write_text("no certificate" if kind == "garbage" else "")
    monkeypatch.setenv(variable, str(path))
    server = https(FINE)
    with pytest.raises(core.MachineError) as failure:
        rest(secure(server)).call("GET", "/x")
    assert str(path) in failure.value.message and variable in failure.value.message and server.asked == []


def refused_certificate(server, pauses, host="127.0.0.1", **options):
    error = fails(rest(secure(server, host), **options), "POST", "/x", {})
    assert server.asked == [] and pauses == [] and error.tries == 1 and error.unsent
    assert "certificate" in error.message.lower() and "JSON" not in error.message
    return error


def test_a_server_that_is_not_trusted_is_refused_at_once(https, pauses):
    error = refused_certificate(https(FINE), pauses)
    assert "SSL_CERT_FILE" in error.hint


def test_a_certificate_for_another_name_is_refused_at_once(https, certs, ca, tmp_path, monkeypatch, pauses):
    other = pair(tmp_path, "server")
    core.issue_server(other, pair(certs, "ca"), "web", ["api.example.com"])
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    refused_certificate(https(FINE, identity=other), pauses)
    refused_certificate(https(FINE, identity=other), pauses, "localhost")


def test_a_driver_may_name_a_ca(https, ca, pauses):
    assert rest(secure(https(FINE)), ca=ca).call("GET", "/x") == {"fine": True}
    refused_certificate(https(FINE), pauses)  # which is not for all


def test_the_ca_of_a_driver_does_not_make_another_name_right(https, certs, ca, tmp_path, pauses):
    other = pair(tmp_path, "server")
    core.issue_server(other, pair(certs, "ca"), "web", ["api.example.com"])
    refused_certificate(https(FINE, identity=other), pauses, ca=ca)


@pytest.mark.parametrize("text", [None, "no certificate", ""])
def test_a_ca_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "cloud.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(core.MachineError, match="cloud.pem"):
        rest("https://127.0.0.1:1", ca=str(path))


def test_a_driver_may_do_without_verification_which_is_told_once(https, capsys, pauses):
    server = https(FINE)
    for host in ("127.0.0.1", "localhost"):
        api = rest(secure(server, host), insecure=True)
        assert api.call("GET", "/x") == api.call("GET", "/x") == {"fine": True}
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == said.err.count("not verified") == 1 and host in said.err
    refused_certificate(https(FINE), pauses)  # which is not for all


def test_a_run_of_requests_takes_one_handshake(https, still, proxy, ca, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    for number, through in enumerate((False, True)):
        if through:
            monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:%d" % proxy.port)
        server = https(FINE, keeps=True)
        api = rest(secure(server))
        for _ in range(5):
            api.call("GET", "/x")
        assert server.counts == [5] and len(proxy.asked) == number


def test_verification_cannot_be_turned_off(https, pauses, monkeypatch):
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    refused_certificate(https(FINE), pauses)


def test_a_server_without_tls_is_told():
    def plain(connection):
        connection.recv(4096)
        connection.sendall(answer(400, "The plain HTTP request was sent to HTTPS port"))

    with listening(plain) as port:
        error = fails(rest("https://127.0.0.1:%d" % port, patience=5), "POST", "/x")
    assert error.status == 0 and "JSON" not in error.message and TOKEN not in error.message


def test_an_https_url_may_be_written_large(https, ca, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    assert rest(secure(https(FINE)).replace("https", "HTTPS")).call("GET", "/x") == {"fine": True}


# --- proxies

class Proxy:
    """A proxy that lets CONNECT through, or answers with `refusal`; `asked` is what came."""

    def __init__(self, refusal=b""):
        self.refusal, self.asked, self.port = refusal, [], 0  # type: bytes, list, int

    def __call__(self, connection):
        asked = read_request(connection)
        self.asked.append(asked)
        if self.refusal or asked.method != "CONNECT":
            return connection.sendall(self.refusal or answer(502, "no CONNECT"))
        host, _, port = asked.target.rpartition(":")
        with socket.create_connection(("127.0.0.1", int(port)), 10) as far:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self.copy, args=(far, connection), daemon=True)
            back.start()
            self.copy(connection, far)
            back.join(10)

    @staticmethod
    def copy(source, target):
        try:
            for block in iter(lambda: source.recv(65536), b""):
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has gone


@pytest.fixture
def proxy(request):
    made = Proxy(getattr(request, "param", b""))
    with listening(made) as made.port:
        yield made


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
def test_a_proxy_is_gone_through(https, proxy, ca, monkeypatch, variable):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv(variable, "http://127.0.0.1:%d" % proxy.port)
    server = https(FINE)
    assert rest(secure(server)).call("POST", "/x", {"a": 1}) == {"fine": True}
    assert [(one.method, one.target) for one in proxy.asked] == [("CONNECT", "127.0.0.1:%d" % server.port)]
    assert server.lines() == ["POST /x"] and server.asked[0].body == {"a": 1}
    assert "authorization" not in proxy.asked[0].headers  # which is the API's alone


def test_the_name_is_resolved_by_the_proxy(https, proxy, certs, ca, tmp_path, monkeypatch):
    named = pair(tmp_path, "server")
    core.issue_server(named, pair(certs, "ca"), "web", ["api.example.invalid"])
    server = https(FINE, identity=named)
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:%d" % proxy.port)
    assert rest(secure(server, "api.example.invalid")).call("GET", "/x") == {"fine": True}
    assert proxy.asked[0].target == "api.example.invalid:%d" % server.port


def test_a_proxy_may_want_a_password_which_is_told_to_nobody_else(https, proxy, ca, monkeypatch, capsys):
    monkeypatch.setattr(core.out, "debugging", True)
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:%d" % proxy.port)
    server = https(FINE)
    rest(secure(server)).call("GET", "/x")
    assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6aHVudGVyMg=="
    assert "proxy-authorization" not in server.asked[0].headers
    assert "hunter2" not in str(capsys.readouterr())


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("value", ["127.0.0.1", "example.com,127.0.0.1", "*"])
def test_no_proxy_is_heeded(https, proxy, ca, monkeypatch, variable, value):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:%d" % proxy.port)
    monkeypatch.setenv(variable, value)
    assert rest(secure(https(FINE))).call("GET", "/x") == {"fine": True}
    assert proxy.asked == []


def test_a_proxy_for_http_is_not_one_for_https(https, proxy, ca, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:%d" % proxy.port)
    assert rest(secure(https(FINE))).call("GET", "/x") == {"fine": True}
    assert proxy.asked == []


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_credentials_for_this_computer_do_not_leave_it_in_the_clear(serve, proxy, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:%d" % proxy.port)
    server = serve(FINE)
    assert rest(server).call("GET", "/x") == {"fine": True}
    assert proxy.asked == []


@pytest.mark.parametrize("proxy", [answer(407, "who are you"), answer(403, "<html>"), answer(502)], indirect=True)
def test_a_proxy_that_refuses_is_told_soon(https, proxy, ca, monkeypatch, pauses):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:%d" % proxy.port)
    server = https(FINE)
    error = fails(rest(secure(server)), "POST", "/x", {})
    assert "Tunnel connection failed: %s" % proxy.refusal.split()[1].decode() in error.message
    assert "proxy" in error.hint and "hunter2" not in error.message + error.hint
    assert error.unsent and 1 <= error.tries <= 4 and sum(pauses) < 20 and server.asked == []


def test_a_proxy_that_is_down_is_told_soon(https, ca, closed_port, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:%d" % closed_port)
    error = fails(rest(secure(https(FINE))), "GET", "/x")
    assert "refused" in error.message and "proxy" in error.hint and error.tries <= 4


def test_a_proxy_that_signs_in_the_servers_place_is_trusted_only_if_it_is_named(https, proxy, monkeypatch, pauses):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:%d" % proxy.port)
    error = refused_certificate(https(FINE), pauses)
    assert "proxy" in error.hint


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "ftp://127.0.0.1:9", "http://127.0.0.1:port", "http://["])
def test_a_proxy_that_cannot_be_used_is_an_error_and_no_crash(https, ca, monkeypatch, value):
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(core.MachineError):
        rest(secure(https(FINE)), seconds=2, patience=5).call("GET", "/x")


# --- several at once

def test_threads_may_share_one(serve):
    server = serve(FINE)
    api = rest(server)
    answers = core.each(lambda number: api.call("GET", "/%d" % number), range(20))
    assert answers == [{"fine": True}] * 20 and sorted(server.lines()) == sorted("GET /%d" % n for n in range(20))


def test_the_environment_counts_when_a_request_is_made(serve, proxy, monkeypatch):
    """Drivers live longer than what a test, or a program that imports the file, has in its environment."""
    server = serve(FINE)
    api = rest(server)
    monkeypatch.setitem(os.environ, "NO_PROXY", "127.0.0.1")
    assert api.call("GET", "/x") == {"fine": True}
