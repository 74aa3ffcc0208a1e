"""Exoscale for the tests: a server with the state of one organization in each of its zones.

Every request and every answer is held to Exoscale's own description of the API, the openapi.json of its PyPI package,
every signature to that package's own client, and every request takes an operation that docs/drivers/exoscale.md
lists. It fails on command: throttled, quotas, answers that get lost after the act, operations that end with an error.
"""

import base64
import copy
import functools
import importlib.util
import itertools
import json
import os
import re
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Any  # noqa: F401

from standin import Mishap, StandIn, as_json

PAGE = Path(__file__).resolve().parent.parent / "docs" / "drivers" / "exoscale.md"
KEY, SECRET = "EXOtestkey", "a-secret-of-nobody"
ZONES = ["ch-gva-2", "ch-dk-2", "de-fra-1"]
GIB = 2 ** 30


def identity(number):
    return str(uuid.UUID(int=number))


SIZES = ["micro", "tiny", "small", "medium", "large", "huge"]
TYPES = [{"id": identity(100 + number), "family": "standard", "size": size, "cpus": 2, "memory": 2 * GIB,
          "authorized": size != "huge", "zones": ZONES} for number, size in enumerate(SIZES)]
TYPES += [{"id": identity(120), "family": "cpu", "size": "large", "cpus": 4, "memory": 4 * GIB, "authorized": True,
           "zones": ZONES},
          {"id": identity(121), "family": "gpu3", "size": "small", "cpus": 12, "gpus": 1, "memory": 56 * GIB,
           "authorized": True, "zones": ["de-fra-1"]}]
TEMPLATES = [  # name, user, GB, created, visibility, ssh keys
    ("Linux Ubuntu 24.04 LTS 64-bit", "ubuntu", 10, "2026-01-05", "public", True),
    ("Linux Ubuntu 24.04 LTS 64-bit", "ubuntu", 10, "2026-10-05", "public", True),
    ("Linux Ubuntu 22.04 LTS 64-bit", "ubuntu", 10, "2026-10-01", "public", True),
    ("Linux Debian 12 (Bookworm) 64-bit", "debian", 10, "2026-09-01", "public", True),
    ("Linux Flatcar 64-bit", "core", 10, "2026-09-01", "public", True),
    ("Windows Server 2022", "Administrator", 50, "2026-09-01", "public", False),
    ("Golden 7", "", 80, "2026-09-01", "private", True),
]
NEWEST = identity(201)  # the Ubuntu 24.04 of now
RATE = 429, "Too many requests"
RULE_FIELDS = ("flow-direction", "protocol", "network", "security-group", "start-port", "end-port", "icmp")


def permissions():
    """The operations that the policy on the driver's page allows."""
    (text,) = re.findall(r"<!-- permissions -->\n```json\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.S)
    (rule,) = json.loads(text)["services"]["compute"]["rules"]
    assert rule["action"] == "allow"
    return set(re.findall(r"'([a-z-]+)'", rule["expression"]))


@functools.lru_cache(None)
def document():
    """Exoscale's description of the API."""
    (folder,) = importlib.util.find_spec("exoscale").submodule_search_locations  # type: ignore
    with open(os.path.join(folder, "openapi.json"), encoding="utf-8") as file:
        return json.load(file)


def operation_of(method, path):
    """(operation of the document, {parameter: value}) of a request."""
    for pattern, methods in document()["paths"].items():
        if method.lower() in methods:
            pattern = re.sub(r"\{([a-z-]+)\}", lambda one: "(?P<%s>[^/:]+)" % one.group(1).replace("-", "_"), pattern)
            found = re.match(pattern + "$", path)
            if found:
                return methods[method.lower()], found.groupdict()
    raise AssertionError("Exoscale has no operation for %s %s" % (method, path))


def resolved(schema):
    while "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def mistakes(schema, value, at="body", answer=False):
    """How a value breaks a schema of the document. An answer may have what only answers have."""
    schema = resolved(schema)
    kind = schema.get("type")
    if value is None and schema.get("nullable"):
        return []
    if kind == "object":
        return list(of_object(schema, value, at, answer))
    if kind == "array":
        if not isinstance(value, list):
            return ["%s: no list" % at]
        twice = schema.get("uniqueItems") and len({json.dumps(row, sort_keys=True) for row in value}) < len(value)
        found = ["%s: something is there twice" % at] if twice else []
        return found + [each for row in value for each in mistakes(schema["items"], row, at + "[]", answer)]
    if kind == "string":
        return list(of_string(schema, value, at))
    if kind == "integer":
        return list(of_integer(schema, value, at))
    return [] if kind == "boolean" and isinstance(value, bool) else ["%s: no %s" % (at, kind)]


def of_object(schema, value, at, answer):
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    if not isinstance(value, dict):
        yield "%s: no object" % at
        return
    for name in schema.get("required", ()):
        if name not in value:
            yield "%s.%s: lacking" % (at, name)
    for key, one in value.items():
        place = "%s.%s" % (at, key)
        if key not in known and not others:
            yield place + ": unknown"
            continue
        rule = known.get(key) or others
        if rule.get("deprecated") or not answer and rule.get("readOnly") and key != "id":
            yield place + ": only for answers, or of old"
        yield from mistakes(rule, one, place, answer)


def of_string(schema, value, at):
    if not isinstance(value, str):
        yield "%s: no text" % at
    elif "enum" in schema and value not in schema["enum"]:
        yield "%s: %r is none of the enum" % (at, value)
    elif not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 30):
        yield "%s: too short or too long" % at
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        yield "%s: %r does not fit %s" % (at, value, schema["pattern"])
    elif schema.get("format") == "uuid" and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        yield "%s: %r is no UUID" % (at, value)


def of_integer(schema, value, at):
    if not isinstance(value, int) or isinstance(value, bool):
        yield "%s: no number" % at
    elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield "%s: %d is too small or too large" % (at, value)


def problems(operation, where, query, body):
    """How a request breaks the document."""
    known = {row["name"].replace("-", "_"): row for row in operation["parameters"]}
    found = []  # type: list
    for name, value in dict(where, **query).items():
        rule = known.get(name.replace("-", "_"))
        found += mistakes(rule["schema"], value, name) if rule else ["%s: unknown" % name]
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return found + (["no body"] if body is None else mistakes(schema, body))
    return found + (["a body, where none is wanted"] if body is not None else [])


def vendors_signature(pair, method, url, data, expires):
    """The header Authorization as Exoscale's own client makes it."""
    auth = importlib.import_module("exoscale_auth").ExoscaleV2Auth(*pair)

    class Asked:
        pass

    asked = Asked()  # type: Any
    asked.method, asked.url, asked.body, asked.headers = method, url, data, {}
    auth._sign_request(asked, expires)
    return asked.headers["Authorization"]


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status, self.body = status, {"message": words}


class Exoscale(StandIn):
    """An organization; `permissions` are the operations that its key may use, if not all. Requests have the names of
    their operations: create-instance.
    """

    shaken = [("fail", *RATE), ("fail", 503, "Service unavailable"), ("drop",), ("lose",)]

    def __init__(self, permissions=None):
        self.permissions, self.numbers = permissions, itertools.count(1000)
        super().__init__()
        self.url += "/v2"

    def clear(self):
        """An organization in which nothing was ever done, but that it has the group "default"."""
        super().clear()
        self.orders = []  # type: list
        self.instances, self.keys, self.operations = {}, {}, {}
        self.groups, self.affinity, self.used = {}, {}, set()
        self.slow, self.ahead, self.quota, self.early = 1, 0, 20, True
        self.secrets = {KEY: SECRET}
        self.add_group("default", "Default Security Group")

    # --- what a test sets

    def fail(self, name, status=400, words="It failed as told", times=1):
        self.mishaps.append(Mishap("fail", name, times, status, words))

    def end_badly(self, name, reason, words="It failed as told", times=1):
        """Let the operation of a request end with an error, and without effect."""
        self.mishaps.append(Mishap("operation", name, times, reason, words))

    def add_group(self, name, description="mine", rules=()):
        row = {"id": identity(next(self.numbers)), "name": name, "description": description, "rules": list(rules)}
        self.groups[row["id"]] = row
        return row

    def add_instance(self, name="web", state="running", address="127.10.9.9", **more):
        """An instance that we did not make."""
        row = dict({"id": identity(next(self.numbers)), "name": name, "state": state, "public-ip": address,
                    "labels": {}, "security-groups": []}, **more)
        self.instances[row["id"]] = row
        return row

    # --- what a test sees

    def changes(self):
        return [name for name in self.names() if not name.startswith(("get-", "list-"))]

    def instance(self):
        """The only one."""
        (row,) = self.instances.values()
        return row

    def group(self, name="docker-machine"):
        found = [row for row in self.groups.values() if row["name"] == name]
        assert len(found) < 2, "a group was made twice"
        return found[0] if found else None

    def is_empty(self):
        return not (self.instances or self.keys or self.affinity) and [
            row["name"] for row in self.groups.values()] == ["default"]

    # --- requests

    def handle(self, method, target, headers, data):
        parts = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        try:
            if not parts.path.startswith("/v2/"):
                raise Refusal(403, "This API is deprecated")
            operation, where = operation_of(method, parts.path[len("/v2"):])
            body = json.loads(data.decode()) if data else None
            return self._answer(operation, where, query, body, method, target, headers, data)
        except Refusal as refusal:
            return as_json(refusal.status, refusal.body)

    def _answer(self, operation, where, query, body, method, target, headers, data):
        name = operation["operationId"]
        with self.lock:
            mishap, looks = self.take(name, body)
            self.wrong += ["%s: %s" % (name, one) for one in problems(operation, where, query, body)]
        for function in looks:
            function(where)
        self._check_signature(method, target, headers, data)
        if mishap and mishap.kind == "fail":
            raise Refusal(*mishap.error)
        if mishap and mishap.kind == "drop":
            return None
        with self.lock:
            self._check_rights(name)
            self._go_on()
            answer = self._carry_out(name, where, query, body, mishap)
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            self.wrong += ["answer of %s: %s" % (name, one) for one in mistakes(schema, answer, "answer", True)]
            answer = copy.deepcopy(answer)
        return None if mishap and mishap.kind == "lose" else as_json(200, answer)

    def _check_signature(self, method, target, headers, data):
        given = headers.get("Authorization") or ""
        expires = int((re.findall(r",expires=(\d+),", given) or [0])[0])
        if not expires > time.time() + self.ahead:
            raise Refusal(403, "Signature expired")
        (pair,) = self.secrets.items()
        if given != vendors_signature(pair, method, "http://127.0.0.1" + target, data, expires):
            raise Refusal(403, "Invalid request signature")

    def _check_rights(self, name):
        self.used.add(name)
        if self.permissions is not None and name not in self.permissions:
            raise Refusal(403, "Forbidden by role policy for compute")

    def _carry_out(self, name, where, query, body, mishap):
        if mishap and mishap.kind == "operation":
            return self._operation(None, "", error=mishap)
        return getattr(self, "_" + name.replace("-", "_"))(where, query, body)

    # --- operations

    def _operation(self, act, reference, error=None):
        """The operation of a change; act() is called when it is done."""
        number = identity(next(self.numbers))
        row = {"id": number, "state": "pending"}  # type: dict
        if reference and self.early:
            row["reference"] = {"id": reference, "link": "/v2/x/" + reference, "command": "get-x"}
        self.operations[number] = {"row": row, "left": self.slow, "act": act, "error": error, "reference": reference}
        return row

    def _go_on(self):
        """Each request brings what is under way nearer to its end."""
        for operation in list(self.operations.values()):
            row, error = operation["row"], operation["error"]
            if row["state"] != "pending":
                continue
            operation["left"] -= 1
            if operation["left"] > 0:
                continue
            row["state"] = "failure" if error else "success"
            if error:
                row.update(zip(("reason", "message"), error.error))
            elif operation["act"]:
                operation["act"]()
            if operation["reference"]:
                row["reference"] = {"id": operation["reference"]}

    def _get_operation(self, where, query, body):
        return self._of({number: one["row"] for number, one in self.operations.items()}, where["id"])

    @staticmethod
    def _of(rows, number):
        if number not in rows:
            raise Refusal(404, "Not Found")
        return rows[number]

    # --- what is there to be looked up

    def _list_zones(self, where, query, body):
        return {"zones": [{"name": name, "api-endpoint": "https://api-%s.exoscale.com/v2" % name} for name in ZONES]}

    def _list_instance_types(self, where, query, body):
        return {"instance-types": TYPES}

    def _list_templates(self, where, query, body):
        rows = []
        for number, (name, user, size, created, visibility, keys) in enumerate(TEMPLATES):
            row = {"id": identity(200 + number), "name": name, "size": size * GIB, "created-at": created + "T08:00:00Z",
                   "visibility": visibility, "ssh-key-enabled": keys, "password-enabled": True}
            rows.append(dict(row, **{"default-user": user}) if user else row)
        return {"templates": [row for row in rows if row["visibility"] == query.get("visibility", "public")]}

    def _list_quotas(self, where, query, body):
        return {"quotas": [{"resource": "instance", "usage": len(self.instances), "limit": self.quota},
                           {"resource": "snapshot", "usage": 0, "limit": -1}]}

    # --- groups

    def _list_security_groups(self, where, query, body):
        return {"security-groups": [{key: row[key] for key in row if key != "rules"} for row in self.groups.values()]}

    def _get_security_group(self, where, query, body):
        return self._of(self.groups, where["id"])

    def _create_security_group(self, where, query, body):
        if self.group(body["name"]):
            raise Refusal(409, "A security group of this name exists")
        return self._operation(None, self.add_group(body["name"], body.get("description", ""))["id"])

    def _add_rule_to_security_group(self, where, query, body):
        group = self._of(self.groups, where["id"])
        words = [{key: rule.get(key) for key in RULE_FIELDS} for rule in group["rules"]]
        if {key: body.get(key) for key in RULE_FIELDS} in words:
            raise Refusal(409, "The rule exists")
        group["rules"].append(dict(body, id=identity(next(self.numbers))))
        return self._operation(None, group["id"])

    def _delete_security_group(self, where, query, body):
        group = self._of(self.groups, where["id"])
        if [row for row in self.instances.values() if {"id": group["id"]} in row["security-groups"]]:
            raise Refusal(409, "The security group is in use")
        del self.groups[group["id"]]
        return self._operation(None, group["id"])

    def _list_anti_affinity_groups(self, where, query, body):
        return {"anti-affinity-groups": list(self.affinity.values())}

    def _get_anti_affinity_group(self, where, query, body):
        row = self._of(self.affinity, where["id"])
        members = [{"id": one["id"]} for one in self.instances.values()
                   if {"id": row["id"]} in one.get("anti-affinity-groups", ())]
        return dict(row, instances=members) if members else row

    def _create_anti_affinity_group(self, where, query, body):
        if body["name"] in [row["name"] for row in self.affinity.values()]:
            raise Refusal(409, "An anti-affinity group of this name exists")
        row = dict(body, id=identity(next(self.numbers)))
        self.affinity[row["id"]] = row
        return self._operation(None, row["id"])

    def _delete_anti_affinity_group(self, where, query, body):
        del self.affinity[self._of(self.affinity, where["id"])["id"]]
        return self._operation(None, where["id"])

    # --- keys

    def _list_ssh_keys(self, where, query, body):
        return {"ssh-keys": [{"name": name, "fingerprint": "00:11"} for name in self.keys]}

    def _register_ssh_key(self, where, query, body):
        if body["name"] in self.keys:
            raise Refusal(409, "A key of this name exists")
        self.keys[body["name"]] = body["public-key"]
        return self._operation(None, "")

    def _delete_ssh_key(self, where, query, body):
        self._of(self.keys, where["name"])
        del self.keys[where["name"]]
        return self._operation(None, "")

    # --- instances

    def _list_instances(self, where, query, body):
        shown = ("id", "name", "state", "public-ip", "ipv6-address", "labels", "security-groups")
        return {"instances": [{key: row[key] for key in shown if key in row} for row in self.instances.values()]}

    def _get_instance(self, where, query, body):
        row = self._of(self.instances, where["id"])
        return {key: value for key, value in row.items() if key != "protected"}

    def _create_instance(self, where, query, body):
        for row in body.get("security-groups", ()):
            self._of(self.groups, row["id"])
        for row in body.get("anti-affinity-groups", ()):
            self._of(self.affinity, row["id"])
        self._of({row["id"]: row for row in TYPES}, body["instance-type"]["id"])
        if len(self.instances) >= self.quota:
            raise Refusal(400, "Quota exceeded for the resource instance")
        base64.b64decode(body["user-data"], validate=True)
        self.orders.append(body)
        row = dict(body, id=identity(next(self.numbers)), state="starting")
        row.setdefault("security-groups", [{"id": self.group("default")["id"]}])
        del row["public-ip-assignment"]
        self.instances[row["id"]] = row
        if self.guests:
            self.guests.launched(row)
        return self._operation(functools.partial(self._is_on, row, body), row["id"])

    def _is_on(self, row, order=None):
        if order:
            row["public-ip"] = "127.10.%d.%d" % divmod(next(self.numbers), 250)
            if self.guests:
                row["public-ip"] = self.guests.known[row["id"]][0].public
            if order.get("public-ip-assignment") == "dual":
                row["ipv6-address"] = "2001:db8::%x" % next(self.numbers)
        elif self.guests:
            row["public-ip"] = self.guests.known[row["id"]][0].public
        row["state"] = "running"

    def _power(self, where, wanted, before, after, act):
        row = self._of(self.instances, where["id"])
        if row["state"] != before:
            raise Refusal(409, "The instance is %s" % row["state"])
        row["state"] = wanted
        if self.guests and act:
            getattr(self.guests, act)(row["id"])
        return self._operation(functools.partial(after, row), row["id"])

    def _start_instance(self, where, query, body):
        return self._power(where, "starting", "stopped", self._is_on, "start")

    def _stop_instance(self, where, query, body):
        return self._power(where, "stopping", "running", lambda row: row.update(state="stopped"), "stop")

    def _reboot_instance(self, where, query, body):
        return self._power(where, "running", "running", lambda row: None, "reboot")

    def _delete_instance(self, where, query, body):
        row = self._of(self.instances, where["id"])
        if row.get("protected"):
            raise Refusal(409, "Instance protection is on")
        if row["state"] in ("starting", "stopping"):
            raise Refusal(409, "The instance is %s" % row["state"])
        row["state"] = "destroying"
        if self.guests:
            self.guests.destroy(row["id"])
        return self._operation(lambda: self.instances.pop(row["id"], None), row["id"])
