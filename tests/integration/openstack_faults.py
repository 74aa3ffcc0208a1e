"""A proxy in front of the services of openstack.py, for what does not happen to them when a test wants it.

    faults = Faults("127.77.0.1")
    faults.answer("POST .*/servers$", 413, {"overLimit": {"message": "..."}}, {"Retry-After": "1"})
    faults.expire("POST .*/servers$")
    faults.lose("POST .*/floatingips$")

Each fault is for one request, in this order, and the next one of that kind goes through. Paths begin with the port of
the service. The catalog that Keystone gives leads through the proxy too.
"""

from __future__ import annotations

import json
import re
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Fault(NamedTuple):
    pattern: str  # of method and path
    kind: str  # "answer", "expire" or "lose"
    status: int = 0
    value: object = None
    headers: dict[str, str] = {}


class Faults:
    """The proxy, the faults to come, and what was answered: `seen` has (method and path, status)."""

    def __init__(self, ip: str) -> None:
        self.ip, self.lock = ip, threading.Lock()
        self.coming: list[Fault] = []
        self.seen: list[tuple[str, int]] = []
        handler = type("OneHandler", (Handler,), {"faults": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.address}/5000/v3"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, pattern: str, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        """Answer in the place of the service."""
        self.coming.append(Fault(pattern, "answer", status, value, headers or {}))

    def expire(self, pattern: str) -> None:
        """Let the service see a token that it does not take."""
        self.coming.append(Fault(pattern, "expire"))

    def lose(self, pattern: str) -> None:
        """Let the service act, and nobody hear of it."""
        self.coming.append(Fault(pattern, "lose"))

    def take(self, line: str) -> Fault | None:
        with self.lock:
            for fault in self.coming:
                if re.search(fault.pattern, line):
                    self.coming.remove(fault)
                    return fault
        return None

    def statuses(self, pattern: str) -> list[int]:
        return [status for line, status in self.seen if re.search(pattern, line)]


class Handler(BaseHTTPRequestHandler):
    """One connection, for one request."""

    faults: Faults

    def _forward(self) -> None:
        port, _, rest = self.path[1:].partition("/")
        line = f"{self.command} {self.path.partition('?')[0]}"
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.faults.take(line)
        if fault and fault.kind == "answer":
            self._reply(line, fault.status, fault.headers, json.dumps(fault.value).encode())
            return
        headers = {name: text for name, text in self.headers.items() if name.lower() not in ("host", "connection")}
        if fault and fault.kind == "expire":
            headers["X-Auth-Token"] = "expired"
        connection = HTTPConnection(self.faults.ip, int(port), timeout=120)
        connection.request(self.command, f"/{rest}", data or None, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if fault and fault.kind == "lose":
            self.faults.seen.append((line, 0))
            return
        body = re.sub(rb"http://%s:(\d+)" % re.escape(self.faults.ip.encode()),
                      rb"%s/\1" % self.faults.address.encode(), body)
        kept = {name: text for name, text in answer.getheaders() if name in ("X-Subject-Token", "Retry-After")}
        self._reply(line, answer.status, kept, body)

    def _reply(self, line: str, status: int, headers: dict[str, str], body: bytes) -> None:
        self.faults.seen.append((line, status))
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _forward

    def log_message(self, *words: Any) -> None:
        pass
