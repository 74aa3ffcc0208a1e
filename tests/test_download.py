"""Downloads: what comes is whole or not kept, a cut connection is taken up again, and checksums are believed."""

import hashlib
import http.server
import random
import ssl
import threading
import time
from urllib.parse import unquote

import pytest
from conftest import HANG, listening

import docker_machine as core

DATA = random.Random(7).getrandbits(2400000).to_bytes(300000, "big")  # the same in every process
SHA256 = "sha256:" + hashlib.sha256(DATA).hexdigest()
SHA512 = "sha512:" + hashlib.sha512(DATA).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.delenv(variable, raising=False)


class Handler(http.server.BaseHTTPRequestHandler):
    """One answer of a Web."""

    web: "Web"

    def do_GET(self):
        web, path = self.web, unquote(self.path)
        web.asked.append((path, self.headers.get("Range")))
        trouble = web.troubles.pop(0) if web.troubles else None
        if path not in web.files:
            return self.send_error(404)
        if trouble == "garbage":
            return self.wfile.write(b"This is no HTTP\r\n\r\n")
        if isinstance(trouble, str) and trouble.isdigit():
            return self.send_error(int(trouble))
        if isinstance(trouble, str):
            self.send_response(302)
            self.send_header("Location", trouble)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self.send(web.files[path], trouble)

    def send(self, data, cut):
        start, length = 0, len(data)
        if self.headers.get("Range") and self.web.ranges:
            start = int(self.headers["Range"][len("bytes="):-1])
            if start >= length:
                self.send_response(416)
                self.send_header("Content-Range", "bytes */%d" % length)
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, length - 1, length))
        if self.web.lengths:
            self.send_header("Content-Length", str(length - start))
        self.end_headers()
        self.wfile.write(data[start:] if cut is None else data[start:start + cut])

    def log_message(self, *words):
        pass


class Web:
    """A web server with `files`; each request meets the next of `troubles`: a status as text, "garbage", an address to
    go to, how many bytes come before the connection is cut, or None for none. `asked` is what was asked of it:
    (path, Range)."""

    def __init__(self):
        self.files, self.troubles, self.asked = {}, [], []  # type: dict, list, list
        self.ranges = self.lengths = True
        handler = type("OneHandler", (Handler,), {"web": self})
        self.server = http.server.HTTPServer(("127.0.0.1", 0), handler)
        self.url = "http://127.0.0.1:%d/" % self.server.server_port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web():
    with Web() as server:
        server.files["/image"] = DATA
        yield server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "image"


def left(target):
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def fails(*arguments, **options):
    with pytest.raises(core.MachineError) as failure:
        core.download(*arguments, **options)
    return failure.value


# --- what comes

@pytest.mark.parametrize("checksum", ["", SHA256, SHA512, SHA256.upper()])
def test_the_file_comes_whole_and_nothing_else_stays(web, target, checksum):
    core.download(web.url + "image", str(target), checksum)
    assert target.read_bytes() == DATA
    assert left(target) == ["image"] and web.asked == [("/image", None)]


def test_the_folder_is_made_and_is_private(web, target):
    core.download(web.url + "image", str(target))
    assert target.parent.stat().st_mode & 0o777 == 0o700


def test_a_path_without_a_folder_is_in_the_current_one(web, tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    core.download(web.url + "image", "image")
    assert (tmp_path / "image").read_bytes() == DATA


def test_an_older_file_is_replaced_at_the_end_alone(web, target):
    target.parent.mkdir()
    target.write_bytes(b"old")
    web.troubles = ["404"]
    fails(web.url + "image", str(target))
    assert target.read_bytes() == b"old"
    core.download(web.url + "image", str(target))
    assert target.read_bytes() == DATA


def test_a_file_url_is_copied_from_its_beginning_whatever_was_left(target, tmp_path):
    source = tmp_path / "an image"
    source.write_bytes(DATA)
    target.parent.mkdir()
    (target.parent / "image.part").write_bytes(b"left over")
    core.download(source.as_uri(), str(target), SHA256)
    assert target.read_bytes() == DATA and source.read_bytes() == DATA
    assert left(target) == ["image"]


def test_an_empty_file_is_a_file(web, target):
    web.files["/image"] = b""
    core.download(web.url + "image", str(target))
    assert target.read_bytes() == b""


# --- connections that break off

def test_a_cut_connection_is_taken_up_again_where_it_broke(web, target):
    web.troubles = [100000, 1, 150000]
    core.download(web.url + "image", str(target), SHA512)
    assert target.read_bytes() == DATA
    assert [start for _, start in web.asked] == [None, "bytes=100000-", "bytes=100001-", "bytes=250001-"]


def test_a_server_that_ignores_ranges_begins_anew_and_nothing_is_doubled(web, target):
    web.ranges, web.troubles = False, [100000]
    core.download(web.url + "image", str(target))  # no checksum would tell
    assert target.read_bytes() == DATA and len(web.asked) == 2


@pytest.mark.parametrize("left_over", [DATA[:200000], DATA, DATA + b"more", b"x" * 1000],
                         ids=["a part", "all", "more", "another file"])
@pytest.mark.parametrize("troubles", [[], ["500"], [0], ["garbage"]], ids=str)
def test_what_a_killed_run_left_is_never_part_of_the_file(web, target, monkeypatch, left_over, troubles):
    """The publisher may have put another one there meanwhile, and nothing would tell without a checksum."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    target.parent.mkdir()
    (target.parent / "image.part").write_bytes(left_over)
    web.troubles = list(troubles)
    core.download(web.url + "image", str(target))
    assert target.read_bytes() == DATA and left(target) == ["image"]
    assert [start for _, start in web.asked] == [None] * (len(troubles) + 1)


def test_nothing_is_left_of_a_download_that_fails(web, target):
    web.troubles = [1000, "404"]
    fails(web.url + "image", str(target))
    assert len(web.asked) == 2 and left(target) == []


def test_an_answer_500_is_asked_again(web, target):
    web.troubles = ["500"]
    core.download(web.url + "image", str(target), SHA256)
    assert target.read_bytes() == DATA and len(web.asked) == 2


def test_an_answer_404_is_the_answer(web, target):
    error = fails(web.url + "missing", str(target))
    assert error.message == web.url + "missing cannot be fetched: Not Found" and error.hint
    assert len(web.asked) == 1 and left(target) == []


def test_garbage_is_no_crash(web, target):
    web.troubles = ["garbage"] * 9
    error = fails(web.url + "image", str(target), seconds=0)
    assert error.message.startswith(web.url + "image cannot be fetched: ") and left(target) == []


def test_a_server_that_never_sends_a_byte_is_given_up(web, target, monkeypatch):
    pauses = []  # type: list
    monkeypatch.setattr(time, "sleep", pauses.append)  # no function of ours: 3 s of waiting
    web.troubles = [0] * 99
    error = fails(web.url + "image", str(target))
    assert "broke off after 0 of 300000 bytes" in error.message
    assert len(web.asked) == 3 and pauses == [1, 2]


def test_a_part_that_comes_again_and_again_is_no_progress(web, target, monkeypatch):
    """A server that ignores ranges and breaks off at the same byte each time."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    web.ranges, web.troubles = False, [1000] * 99
    fails(web.url + "image", str(target))
    assert len(web.asked) < 9


def test_it_ends_at_its_deadline_even_while_bytes_come(web, target):
    def trickle(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(20 * HANG):
            connection.sendall(b"x" * 30000)
            time.sleep(0.1)

    start = time.monotonic()
    with listening(trickle) as port:
        error = fails("http://127.0.0.1:%d/image" % port, str(target), seconds=0.2)
    assert error.message.endswith("cannot be fetched: it took too long")
    assert time.monotonic() - start < HANG


def test_a_closed_port_is_told_with_its_reason(closed_port, target):
    error = fails("http://127.0.0.1:%d/image" % closed_port, str(target), seconds=0)
    assert error.message.endswith("/image cannot be fetched: Connection refused")
    assert "proxy" in error.hint


@pytest.fixture
def pauses(monkeypatch):
    """The seconds of each sleep()."""
    slept = []  # type: list
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_a_missing_file_of_a_file_url_is_told_at_once(target, tmp_path, pauses):
    error = fails((tmp_path / "missing").as_uri(), str(target))
    assert "No such file or directory" in error.message and pauses == []


def test_an_address_of_no_known_kind_is_told_at_once(target, pauses):
    error = fails("zzz://x/image", str(target))
    assert "zzz" in error.message and pauses == []


def test_a_folder_that_cannot_be_written_is_told_at_once(web, target, pauses):
    target.parent.mkdir()
    (target.parent / "image.part").mkdir()
    error = fails(web.url + "image", str(target))
    assert "Is a directory" in error.message and pauses == []


def test_a_chunked_answer_that_breaks_off_is_not_taken_for_the_whole(target):
    def broken(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n8\r\nwor")

    with listening(broken) as port:
        fails("http://127.0.0.1:%d/image" % port, str(target), seconds=0)
    assert not target.exists()


# --- checksums

@pytest.mark.parametrize("kind, digits", [("sha256", 64), ("sha512", 128)])
def test_what_has_a_wrong_checksum_is_not_kept(web, target, kind, digits):
    wanted = kind + ":" + "0" * digits
    target.parent.mkdir()
    target.write_bytes(b"old")
    error = fails(web.url + "image", str(target), wanted)
    found = hashlib.new(kind, DATA).hexdigest()
    assert error.message == "%simage has the checksum %s instead of %s; it was not kept." % (
        web.url, found, "0" * digits)
    assert left(target) == ["image"] and target.read_bytes() == b"old"


@pytest.mark.parametrize("text", ["sha256:", "sha256:" + "0" * 63, "sha256:" + "g" * 64, "md5:" + "0" * 32, "0" * 64,
                                  "sha256:" + "0" * 128, "", "sha512:" + "0" * 64, " " + SHA256])
def test_what_is_no_checksum_is_refused(text):
    with pytest.raises(core.UsageError) as failure:
        core.parse_checksum(text)
    assert '"%s" is not a checksum.' % text == failure.value.message and "sha256:HEX" in failure.value.hint


def test_a_bad_checksum_is_refused_before_anything_is_fetched(web, target):
    with pytest.raises(core.UsageError):
        core.download(web.url + "image", str(target), "md5:x")
    assert web.asked == [] and left(target) == []


def test_a_checksum_is_read_whatever_its_case():
    assert core.parse_checksum(SHA256.upper()) == ("sha256", SHA256[7:])


def test_the_digest_of_a_file_is_that_of_all_its_bytes(tmp_path):
    path = tmp_path / "file"
    for size in (0, 1, 1 << 20, (1 << 20) + 1):
        path.write_bytes(b"\n" * size)
        assert core.file_digest(str(path), "sha256") == hashlib.sha256(b"\n" * size).hexdigest()


# --- the publisher's list

OTHER = "%s  other\n" % ("1" * 128)


@pytest.mark.parametrize("line", ["%s  image\n", "%s *image\n", "%s  image", "%s  image\r\n"])
@pytest.mark.parametrize("name, checksum", [("SHA512SUMS", SHA512), ("image.sha512", SHA512), ("SHA256SUMS", SHA256),
                                            ("image.sha256", SHA256)])
def test_the_list_beside_a_file_tells_its_checksum(web, line, name, checksum):
    web.files["/" + name] = (OTHER + line % checksum[7:]).encode()
    assert core.published_checksum(web.url + "image") == checksum


def test_digits_in_capitals_are_the_same_checksum(web):
    web.files["/SHA256SUMS"] = ("%s  image\n" % SHA256[7:].upper()).encode()
    assert core.published_checksum(web.url + "image") == SHA256


def test_the_longer_checksum_is_taken_where_there_are_two(web):
    web.files.update({"/SHA256SUMS": ("%s  image\n" % SHA256[7:]).encode(),
                      "/SHA512SUMS": ("%s  image\n" % SHA512[7:]).encode()})
    assert core.published_checksum(web.url + "image") == SHA512


@pytest.mark.parametrize("text", ["", OTHER, "%s  my-image\n" % SHA512[7:], "%s  image.xz\n" % SHA512[7:], "\0\xff",
                                  "<html>image</html>\n", "%s\n" % SHA512[7:], "image image\n", "0123  image\n"])
def test_a_list_without_the_file_gives_none(web, text):
    web.files["/SHA512SUMS"] = text.encode("latin-1")
    assert core.published_checksum(web.url + "image") == ""


def test_without_a_list_there_is_none(web):
    assert core.published_checksum(web.url + "image") == ""
    assert [path for path, _ in web.asked] == ["/SHA512SUMS", "/SHA256SUMS", "/image.sha512", "/image.sha256"]


def test_the_list_of_a_file_url_lies_beside_it(tmp_path):
    (tmp_path / "image").write_bytes(DATA)
    assert core.published_checksum((tmp_path / "image").as_uri()) == ""
    (tmp_path / "SHA256SUMS").write_text("%s  image\n" % SHA256[7:])
    assert core.published_checksum((tmp_path / "image").as_uri()) == SHA256


@pytest.mark.parametrize("status, code", [("403", 0), ("404", 0), ("410", 0), ("401", 1), ("429", 1), ("500", 1),
                                          ("503", 1)])
def test_only_a_list_that_is_not_there_is_none(web, status, code):
    """Else the file would come unverified because of a moment's trouble."""
    web.files["/SHA512SUMS"], web.troubles = b"", [status]
    if code:
        with pytest.raises(core.MachineError, match="/SHA512SUMS cannot be fetched: ") as failure:
            core.published_checksum(web.url + "image")
        assert failure.value.hint
    else:
        assert core.published_checksum(web.url + "image") == ""


@pytest.mark.parametrize("answer", [b"This is no HTTP\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
                                    b"\r\n\r\n5\r\nhello\r\n8\r\nwor"], ids=["garbage", "nothing", "broken off"])
def test_a_list_that_cannot_be_read_is_not_taken_for_none(answer):
    def handle(connection):
        connection.recv(4096)
        connection.sendall(answer)

    with listening(handle) as port, pytest.raises(core.MachineError, match="/SHA512SUMS cannot be fetched: "):
        core.published_checksum("http://127.0.0.1:%d/image" % port)


# --- https

@pytest.fixture
def https(certs, server, monkeypatch):
    """A web server that speaks TLS, with a certificate that this computer trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certs / "ca.pem"))
    with Web() as secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.cert, server.key)
        secure.server.socket = context.wrap_socket(secure.server.socket, server_side=True)
        secure.url = secure.url.replace("http:", "https:")
        secure.files["/image"] = DATA
        yield secure


def test_a_file_comes_by_https_from_a_server_that_is_trusted(https, target):
    core.download(https.url + "image", str(target), SHA256)
    assert target.read_bytes() == DATA


def test_https_never_leads_to_http(https, web, target):
    for troubles in ([web.url + "image"], [https.url + "image", web.url + "image"]):
        https.troubles = troubles
        error = fails(https.url + "image", str(target))
        assert error.message == "%simage leads to %simage, which is not protected." % (https.url, web.url)
        assert left(target) == []
    web.files["/SHA512SUMS"] = ("%s  image\n" % ("0" * 128)).encode()
    https.files["/SHA512SUMS"], https.troubles = b"", [web.url + "SHA512SUMS"]
    with pytest.raises(core.MachineError, match="not protected"):
        core.published_checksum(https.url + "image")


def test_http_may_lead_to_https_and_https_to_https(https, web, target):
    web.troubles, https.troubles = [https.url + "image"], [https.url + "image"]
    core.download(web.url + "image", str(target))
    assert target.read_bytes() == DATA


def test_only_https_needs_the_certificates_of_the_system(https, web, target, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(target.parent / "missing.pem"))
    core.download(web.url + "image", str(target))
    assert target.read_bytes() == DATA
    error = fails(https.url + "image", str(target))
    assert "missing.pem, which SSL_CERT_FILE names, cannot be read" in error.message and https.asked == []


def test_a_server_that_is_not_trusted_is_refused(https, target, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    error = fails(https.url + "image", str(target), seconds=0)
    assert "certificate" in error.message.lower() and left(target) == [] and https.asked == []
