"""DigitalOcean's own description of its API, held against every request and every answer.

Between the driver and tests/digitalocean.py stands Prism, a proxy of Stoplight's that knows an OpenAPI description and
refuses what it does not allow. Prism lets unknown fields and parameters pass, so a Gate in front of it refuses these,
and keeps all that was refused. Through the gate the server's mishaps come as they are, but for those that break the
description on purpose ("html", "json", "empty"): these count as violations.

DIGITALOCEAN_OPENAPI names the description, which is no part of this repository. Test modules name this file in
`pytest_plugins`.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.cached import cached
from tests.testbed import free_port

from .conftest import cannot_run

VERSION = "5.14.2"
START_TIMEOUT = 300.0
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}

Schema = dict[str, Any]


class Description:
    """An OpenAPI document: which parameters and fields an operation knows."""

    def __init__(self, path: Path) -> None:
        self.document = json.loads(path.read_text(encoding="utf-8"))

    def unknown(self, method: str, target: str, body: bytes) -> list[str]:
        """The query parameters and the body's fields that the operation does not know."""
        split = urlsplit(target)
        item = self._item(split.path)
        operation = item.get(method.lower())
        if operation is None:
            return [f"no operation {method} {split.path}"]
        rows = map(self._resolved, [*item.get("parameters", []), *operation.get("parameters", [])])
        parameters = {row["name"] for row in rows if row["in"] == "query"}
        asked = {name for name, _ in parse_qsl(split.query, keep_blank_values=True)}
        found = [f"parameter {name}" for name in sorted(asked - parameters)]
        return found + [f"field {name}" for name in self._unknown_fields(operation, body)]

    def _item(self, path: str) -> Schema:
        """What is said of a path; one without variables comes first."""
        paths = self.document["paths"]
        for template in sorted(paths, key=lambda one: one.count("{")):
            if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path):
                return paths[template]
        return {}

    def _unknown_fields(self, operation: Schema, body: bytes) -> Iterator[str]:
        content = self._resolved(operation.get("requestBody", {})).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if not schema:
            yield from ["(a body)"] if body else []
            return
        with contextlib.suppress(ValueError):  # Prism refuses what is no JSON
            yield from self._extra(json.loads(body or b"null"), schema, "")

    def _extra(self, value: Any, schema: Schema, where: str) -> Iterator[str]:
        """The fields in a value that no alternative of its schema has."""
        parts = list(self._parts(schema))
        if isinstance(value, dict):
            known: dict[str, Schema] = {}
            for part in parts:
                known.update(part.get("properties", {}))
            for name, inner in value.items():
                if name not in known or self._resolved(known[name]).get("readOnly"):
                    yield where + name
                else:
                    yield from self._extra(inner, known[name], f"{where}{name}.")
        elif isinstance(value, list):
            for inner in value:
                for part in parts:
                    if "items" in part:
                        yield from self._extra(inner, part["items"], where)

    def _parts(self, schema: Schema) -> Iterator[Schema]:
        """The schema and all that it is combined of."""
        schema = self._resolved(schema)
        yield schema
        for word in ("allOf", "oneOf", "anyOf"):
            for part in schema.get(word, []):
                yield from self._parts(part)

    def _resolved(self, node: Schema) -> Schema:
        while "$ref" in node:
            found: Any = self.document
            for word in node["$ref"].lstrip("#/").split("/"):
                found = found[word.replace("~1", "/").replace("~0", "~")]
            node = found
        return node


class Prism:
    """Prism, with its log in `folder`, in front of port `upstream`, where each test starts its own DigitalOcean;
    `url` is the gate's, for the driver."""

    def __init__(self, folder: Path, description: Path) -> None:
        self.description = Description(description)
        self.log = folder / "prism.log"
        self.upstream, self.port = free_port(), free_port()
        self._found: list[str] = []
        program = str(cached("prism", _install, VERSION) / "node_modules" / ".bin" / "prism")
        addresses = ("--host", "127.0.0.1", "--port", str(self.port))
        upstream = f"http://127.0.0.1:{self.upstream}"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, "proxy", "--errors", *addresses, str(description), upstream],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # it leaves children behind
            )
        self._wait()
        handler = type("OneGate", (Gate,), {"prism": self})
        self._gate = GateServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._gate.server_address[1]}"
        threading.Thread(target=self._gate.serve_forever, args=(0.05,), daemon=True).start()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while "Prism is listening" not in self.log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                pytest.fail(f"prism did not start:\n{self.log.read_text(errors='replace')[-4000:]}", pytrace=False)
            time.sleep(0.1)

    def close(self) -> None:
        self._gate.shutdown()
        self._gate.server_close()
        self._end()

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def note(self, violation: str) -> None:
        self._found.append(violation)

    def violations(self) -> list[str]:
        """All that was refused since this was asked last, each with its place: "POST /v2/droplets: ..."."""
        found, self._found = self._found, []
        return found


class GateServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are part of the tests."""


class Gate(http.server.BaseHTTPRequestHandler):
    """Hands on to Prism what the description knows, and hands back what comes."""

    prism: Prism
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 60

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        unknown = self.prism.description.unknown(self.command, self.path, body)
        if unknown:
            self._note("; ".join(unknown))
            self._send(422, [], json.dumps({"id": "unknown", "message": "; ".join(unknown)}).encode())
            return
        try:
            status, headers, data = self._ask(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        if ("content-type", "application/problem+json") in headers:
            problem = json.loads(data)
            if "socket hang up" in problem["title"] or "ECONNRESET" in problem["title"]:
                self.close_connection = True  # as the server did
                return
            self._note(_words(problem))
        self._send(status, headers, data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.prism.port, timeout=120)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            data = answer.read()
            kept = [(name.lower(), value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            return answer.status, kept, data

    def _send(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _note(self, words: str) -> None:
        self.prism.note(f"{self.command} {self.path}: {words}")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _words(problem: dict[str, Any]) -> str:
    """What Prism has against a request or an answer."""
    places = [f"{'.'.join(map(str, row['location']))}: {row['message']}" for row in problem.get("validation", [])]
    return "; ".join(places) or f"{problem['title']} {problem.get('detail', '')}".strip()


def _install(folder: Path) -> None:
    words = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--fetch-retries=2"]
    done = subprocess.run(
        ["npm", "install", "--prefix", str(folder), *words, f"@stoplight/prism-cli@{VERSION}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"npm could not install prism:\n{done.stdout}{done.stderr}", pytrace=False)


def missing() -> str:
    """Why the check has to be left out, or ""."""
    path = os.environ.get("DIGITALOCEAN_OPENAPI")
    if not path:
        return "DIGITALOCEAN_OPENAPI does not name DigitalOcean's OpenAPI description"
    if not Path(path).is_file():
        return f"DIGITALOCEAN_OPENAPI names {path}, which is no file"
    return "" if shutil.which("npm") else "no npm (Debian package npm, or nodejs where that has it)"


@pytest.fixture(scope="session")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    """Prism, and the gate before it; the test that uses it asks for its `violations()`, see `checked`."""
    if missing():
        cannot_run(f"left out the check against DigitalOcean's own description: {missing()}")
    running = Prism(tmp_path_factory.mktemp("prism"), Path(os.environ["DIGITALOCEAN_OPENAPI"]).resolve())
    yield running
    running.close()


@pytest.fixture
def checked(prism: Prism) -> Iterator[Prism]:
    """`prism`, with the promise that the test violates nothing."""
    prism.violations()
    yield prism
    assert prism.violations() == []
