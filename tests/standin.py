"""What the stand-ins of providers share: their HTTP server, and what a test lets go wrong.

Server     answers on this computer by a function respond(method, target, headers, data) of the stand-in
StandIn    an API whose requests have names: what was asked, and fail, lose, look and shake

A stand-in answers with (status, headers, body): body is bytes. None closes the connection without an answer.
"""

import collections
import contextlib
import json
import random
import re
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any  # noqa: F401  # of the comments

IN_A_ROW = 4  # requests of a name that shake() lets fail: a Rest without an answer gives up after six


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """A server at 127.0.0.1 that runs until close(); by HTTPS with an ssl.SSLContext for servers."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    skew = 0  # seconds by which its clock is ahead

    def __init__(self, respond, port=0, tls=None):
        super().__init__(("127.0.0.1", port), Handler)
        self.respond = respond
        self.port = self.server_address[1]
        self.url = "http%s://127.0.0.1:%d" % ("s" if tls else "", self.port)
        if tls:  # the handshake comes with the first byte, in the request's own thread
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that are killed are part of the tests."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection, which is kept open."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1  # an answer leaves in one piece
    disable_nagle_algorithm = True

    def answer(self):
        server = self.server  # type: Any
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = server.respond(self.command, self.path, self.headers, data)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:  # which has no body
            self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(OSError):
            self.end_headers()
            self.wfile.write(body if status != 204 else b"")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def date_time_string(self, timestamp=None):
        server = self.server  # type: Any
        return super().date_time_string((timestamp or time.time()) + server.skew)

    def log_message(self, *words):
        pass


def as_json(status, value, headers=()):
    """The answer with a value."""
    return status, dict(headers, **{"Content-Type": "application/json"}), json.dumps(value).encode()


def reply(status, value=None, headers=()):
    """The answer with a value, if it is not None."""
    return (status, dict(headers), b"") if value is None else as_json(status, value, headers)


def serving(certificate, key=None):
    """The context of a Server with these files; the key may be in the certificate's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificate), key)
    return context


class Mishap:
    """What happens to the next `left` requests whose name matches, and whose body fits: "fail" with what the stand-in
    makes of `error`, "drop" (no answer, not carried out), "lose" (carried out, no answer), or what only one API has.
    """

    def __init__(self, kind, name, left, *error, fits=None):
        self.kind, self.name, self.left, self.error, self.fits = kind, name, left, error, fits

    def takes(self, name, body):
        return self.left and re.fullmatch(self.name, name) and (not self.fits or self.fits(body))


class StandIn:
    """An API. Its `guests` are the hosts that its machines are, if they are any (tests/integration/)."""

    guests = None  # type: Any
    shaken = []  # type: list  # what shake() chooses from: (kind, *error) of a Mishap

    def __init__(self, tls=None):
        self.lock = threading.RLock()
        self.clear()
        self.server = Server(self.handle, tls=tls)
        self.port, self.url = self.server.port, self.server.url

    def clear(self):
        """An account in which nothing was ever done, and nothing goes wrong."""
        self.calls = []  # type: list  # (name, body)
        self.wrong = []  # type: list  # what a request or an answer has that the API does not know
        self.mishaps, self.looks = [], []  # type: list, list
        self.shaking = 0, 0  # share, seed
        self.failed = collections.Counter()  # type: Any  # by shaking, in a row, by name

    def close(self):
        self.server.close()

    def handle(self, method, target, headers, data):
        raise NotImplementedError

    # --- what a test sets

    def lose(self, name, times=1):
        """Lose the answer after the act."""
        self.mishaps.append(Mishap("lose", name, times))

    def look(self, name, function):
        """function(what the request is about) is called before such a request is carried out."""
        self.looks.append((name, function))

    def shake(self, share, seed=0):
        """Let this share of all requests fail: throttled, with 503, without an answer, before or after the act."""
        self.shaking = share, seed

    # --- what a test sees

    def names(self):
        """The names of all requests, in their order."""
        return [name for name, _ in self.calls]

    # --- what a stand-in asks

    def take(self, name, body):
        """Note a request: its Mishap or None, and the functions that look at it."""
        self.calls.append((name, body))
        return self._mishap(name, body), [function for wanted, function in self.looks if wanted == name]

    def _mishap(self, name, body):
        for mishap in self.mishaps:
            if mishap.takes(name, body):
                mishap.left -= 1
                return mishap
        share, seed = self.shaking
        # By the request's own number, since some are sent at once.
        number = sum(called == name for called, _ in self.calls)
        source = random.Random("%s %s %d" % (seed, name, number))
        if source.random() >= share or self.failed[name] == IN_A_ROW:
            self.failed[name] = 0
            return None
        self.failed[name] += 1
        kind = source.choice(self.shaken)
        return Mishap(kind[0], name, 0, *kind[1:])
