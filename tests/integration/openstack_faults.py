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
from email.message import Message
from http.client import HTTPConnection
from typing import NamedTuple

from standin import Server

Reply = tuple[int, dict[str, str], bytes]


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
        self._server = Server(self._handle)
        self.address = self._server.url
        self.url = f"{self.address}/5000/v3"

    def close(self) -> None:
        self._server.close()

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

    def _handle(self, method: str, target: str, headers: Message, data: bytes) -> Reply | None:
        line = f"{method} {target.partition('?')[0]}"
        fault = self.take(line)
        if fault and fault.kind == "answer":
            self.seen.append((line, fault.status))
            return fault.status, fault.headers, json.dumps(fault.value).encode()
        status, kept, body = self._forward(method, target, headers, data, fault)
        if fault and fault.kind == "lose":
            self.seen.append((line, 0))
            return None
        self.seen.append((line, status))
        return status, kept, body

    def _forward(self, method: str, target: str, headers: Message, data: bytes, fault: Fault | None) -> Reply:
        port, _, rest = target[1:].partition("/")
        kept = {name: text for name, text in headers.items() if name.lower() not in ("host", "connection")}
        if fault and fault.kind == "expire":
            kept["X-Auth-Token"] = "expired"
        connection = HTTPConnection(self.ip, int(port), timeout=120)
        connection.request(method, f"/{rest}", data or None, kept)
        answer = connection.getresponse()
        body = re.sub(rb"http://%s:(\d+)" % re.escape(self.ip.encode()),
                      rb"%s/\1" % self.address.encode(), answer.read())
        connection.close()
        shown = {name: text for name, text in answer.getheaders() if name in ("X-Subject-Token", "Retry-After")}
        return answer.status, shown, body
