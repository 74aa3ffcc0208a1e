"""Google Compute Engine for the tests: a server with the state of two projects.

Every request and every answer is held to Google's own description of the API, the discovery document that comes with
google-api-python-client, and every request needs the permissions that docs/drivers/google.md lists. It fails on
command: throttled, no room, quotas, answers that get lost after the act, operations that end with an error.

The same server gives tokens to keys of service accounts, and plays the metadata server.
"""

import copy
import functools
import importlib
import itertools
import json
import os
import re
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any  # noqa: F401

from standin import Mishap, StandIn, as_json

PAGE = Path(__file__).resolve().parent.parent / "docs" / "drivers" / "google.md"
PROJECT, HOST, ZONE, TOKEN = "demo-1", "shared-host", "us-central1-a", "a-token-of-nobody"
ZONES = [ZONE, "us-central1-b", "europe-west1-b"]
TYPES = {"e2-small": "X86_64", "e2-medium": "X86_64", "n1-standard-1": "X86_64", "t2a-standard-1": "ARM64",
         "c4-standard-2": "X86_64"}
CUSTOM = re.compile(r"(\w+-)?custom-\d+-\d+$")
UBUNTU, UBUNTU_ARM, DEBIAN = ["ubuntu-2404-noble-amd64-v20261101", "ubuntu-2404-noble-arm64-v20261101",
                              "debian-13-trixie-v20261101"]
IMAGES = [  # project, name, family, architecture, GB, licence
    ("ubuntu-os-cloud", UBUNTU, "ubuntu-2404-lts-amd64", "X86_64", 10, "ubuntu-2404-lts"),
    ("ubuntu-os-cloud", UBUNTU_ARM, "ubuntu-2404-lts-arm64", "ARM64", 10, "ubuntu-2404-lts"),
    ("debian-cloud", DEBIAN, "debian-13", "X86_64", 10, "debian-13"),
    (PROJECT, "golden-7", "golden", "X86_64", 40, "ubuntu-2404-lts"),
]
API = "https://www.googleapis.com/compute/v1/"  # as Google's answers name it
BUSY = 503
RATE = 403, "rateLimitExceeded", "Rate Limit Exceeded"
LATER = ("STOPPING", "RUNNING", "STAGING", "SUSPENDING")

# What each method takes, by Google's reference of the API.
MAKES = ["compute.instances.create", "compute.disks.create", "compute.disks.setLabels", "compute.subnetworks.use",
         "compute.instances.setMetadata", "compute.instances.setTags", "compute.instances.setLabels"]
RULES = ["compute.networks.updatePolicy"]
PERMISSIONS = {
    "compute.firewalls.insert": ["compute.firewalls.create"] + RULES,
    "compute.firewalls.patch": ["compute.firewalls.update", "compute.firewalls.get"] + RULES,
    "compute.firewalls.delete": ["compute.firewalls.delete"] + RULES,
    "compute.instances.insert": MAKES,
    "compute.regionInstances.bulkInsert": MAKES,
    "compute.regionOperations.wait": ["compute.regionOperations.get"],
    "compute.instances.aggregatedList": ["compute.instances.list"],
    "compute.zoneOperations.wait": ["compute.zoneOperations.get"],
    "compute.globalOperations.wait": ["compute.globalOperations.get"],
}


def permissions():
    """Those that the page on the driver lists."""
    (text,) = re.findall(r"<!-- permissions -->\n```yaml\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.S)
    return set(re.findall(r"^- (\S+)$", text, re.M))


def write_key(folder, port):
    """The path of a new key of a service account, whose tokens the server at a port gives."""
    pem, path = folder / "key.pem", folder / "key.json"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", str(pem)], check=True, stderr=subprocess.DEVNULL)
    about = {"type": "service_account", "project_id": PROJECT, "private_key": pem.read_text(), "client_id": "1",
             "private_key_id": "1", "client_email": "ci@demo-1.example.com",
             "token_uri": "http://127.0.0.1:%d/token" % port}
    path.write_text(json.dumps(about))
    return path


@functools.lru_cache(None)
def document():
    """(discovery document, [its methods])."""
    (folder,) = importlib.import_module("googleapiclient").__path__
    path = os.path.join(folder, "discovery_cache", "documents", "compute.v1.json")
    with open(path, encoding="utf-8") as file:
        whole = json.load(file)
    methods = []

    def collect(resource):
        methods.extend(resource.get("methods", {}).values())
        for part in resource.get("resources", {}).values():
            collect(part)

    collect(whole)
    return whole, methods


def method_of(verb, path):
    """(method of the document, {parameter of the path: value}) of a request."""
    for method in document()[1]:
        if method["httpMethod"] == verb:
            pattern = re.sub(r"\\?\{(\w+)\\?\}", r"(?P<\1>[^/]+)", re.escape(method["path"]))
            found = re.match(pattern + "$", path)
            if found:
                return method, found.groupdict()
    raise AssertionError("Google has no method for %s %s" % (verb, path))


def mistakes(schema, value, at="body", answer=False):
    """How a value breaks a schema of the document. An answer may have what only answers have."""
    if "$ref" in schema:
        schema = document()[0]["schemas"][schema["$ref"]]
    kind = schema.get("type")
    if kind == "object":
        return list(of_object(schema, value, at, answer))
    if kind == "array":
        if not isinstance(value, list):
            return ["%s: no list" % at]
        return [each for row in value for each in mistakes(schema["items"], row, at + "[]", answer)]
    if kind == "string":
        return list(of_string(schema, value, at))
    wanted = {"integer": int, "boolean": bool, "number": float}.get(kind, object)  # type: Any
    wrong = not isinstance(value, wanted) or kind == "integer" and isinstance(value, bool)
    return ["%s: no %s" % (at, kind)] if wrong else []


def of_object(schema, value, at, answer):
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    if not isinstance(value, dict):
        yield "%s: no object" % at
        return
    for key, one in value.items():
        place = "%s.%s" % (at, key)
        if key not in known and not others:
            yield place + ": unknown"
            continue
        rule = known.get(key) or others
        if not answer and (rule.get("readOnly") or "[Output Only]" in rule.get("description", "")):
            yield place + ": only for answers"
        yield from mistakes(rule, one, place, answer)


def of_string(schema, value, at):
    if schema.get("format") in ("int64", "uint64"):
        if not re.fullmatch(r"-?\d+", str(value)):
            yield "%s: no number" % at
    elif not isinstance(value, str):
        yield "%s: no text" % at
    elif "enum" in schema and value not in schema["enum"]:
        yield "%s: %r is none of the enum" % (at, value)
    elif "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        yield "%s: %r does not fit %s" % (at, value, schema["pattern"])


def problems(method, path, query, body):
    """How a request breaks the document."""
    found = []
    for name, value in path.items():
        pattern = method["parameters"][name].get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            found.append("%s %r does not fit %s" % (name, value, pattern))
    known = set(method["parameters"]) | set(document()[0]["parameters"])
    found += ["query %s: unknown" % name for name in query if name not in known]
    if "request" in method:
        return found + mistakes(method["request"], body or {})
    return found + (["a body, where none is wanted"] if body else [])


class Refusal(Exception):
    """An answer that is an error, as Google words it."""

    def __init__(self, status, reason, words, **more):
        super().__init__(words)
        self.status = status
        error = {"code": status, "message": words,
                 "errors": [{"message": words, "domain": "global", "reason": reason}]}
        self.body = {"error": dict(error, **more)}


class Compute(StandIn):
    """Projects; `permissions` are those of the caller, if not all. Requests have the names of their methods:
    instances.insert.
    """

    shaken = [("fail", *RATE), ("fail", 503, "backendError", "Backend Error"), ("drop",), ("lose",)]

    def __init__(self, permissions=None):
        self.permissions, self.numbers = permissions, itertools.count(10)
        super().__init__()
        self.url += "/compute/v1"

    def clear(self):
        """Projects in which nothing was ever done."""
        super().clear()
        self.tokens = 0
        self.instances, self.disks, self.rules, self.operations, self.requests = {}, {}, {}, {}, {}
        self.addresses, self.slow, self.login, self.orders = [], 1, None, []
        self.host_keys = [("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIGlz")]  # that the guest's agent publishes
        self.networks = {"projects/%s/global/networks/%s" % (PROJECT, name) for name in ("default", "web")}
        self.networks.add("projects/%s/global/networks/corp" % HOST)
        self.subnetworks = {"projects/%s/regions/us-central1/subnetworks/%s" % (project, name): network
                            for project, name, network in ((PROJECT, "web-1", "web"), (HOST, "corp-1", "corp"))}

    # --- what a test sets

    def fail(self, method, reason, times=1, status=400, words="It failed as told"):
        self.mishaps.append(Mishap("fail", method, times, status, reason, words))

    def end_badly(self, method, code, words="It failed as told", times=1, status=403):
        """Let the operation of a request end with an error, and without effect."""
        self.mishaps.append(Mishap("operation", method, times, status, code, words))

    def reserve(self, name, address, status="RESERVED", kind="EXTERNAL", users=()):
        row = {"name": name, "address": address, "status": status, "addressType": kind, "users": list(users)}
        self.addresses.append({key: value for key, value in row.items() if value})

    # --- what a test sees

    def changes(self):
        return [name for name in self.names() if not name.endswith((".get", "ist", ".wait", ".getFromFamily"))]

    def rule(self, name="docker-machines", project=PROJECT):
        return self.rules.get((project, name))

    def instance(self, name="web", zone=ZONE):
        return self.instances.get((PROJECT, zone, name))

    def is_empty(self):
        return not (self.instances or self.disks or self.rules)

    # --- requests

    def handle(self, verb, url, headers, data):
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        try:
            if parts.path == "/token":
                return as_answer(200, self._token())
            if not parts.path.startswith("/compute/v1/"):
                return as_answer(200, self._metadata_server(parts.path))
            path = urllib.parse.unquote(parts.path[len("/compute/v1/"):])
            body = json.loads(data.decode()) if data else None
            return self._answer(verb, path, query, headers, body)
        except Refusal as refusal:
            return as_answer(refusal.status, refusal.body)

    def _token(self):
        self.tokens += 1
        if self.login:
            raise self.login
        return {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}

    def _metadata_server(self, path):
        about = "/computeMetadata/v1/instance/service-accounts/default/"
        answers = {"/": "", "/computeMetadata/v1/": "", "/computeMetadata/v1/project/project-id": PROJECT,
                   "/computeMetadata/v1/universe/universe-domain": "googleapis.com",
                   about: {"email": "vm@example.com", "scopes": [], "aliases": ["default"]}}
        if path == about + "token":
            return self._token()
        if path not in answers:
            raise Refusal(404, "notFound", "There is no " + path)
        return answers[path]

    def _answer(self, verb, path, query, headers, body):
        method, where = method_of(verb, path)
        name = method["id"][len("compute."):]
        with self.lock:
            mishap, looks = self.take(name, body)
            self.wrong += ["%s: %s" % (name, one) for one in problems(method, where, query, body)]
        for function in looks:
            function(where)
        if headers.get("Authorization") != "Bearer " + TOKEN:
            raise Refusal(401, "authError", "Invalid Credentials")
        if mishap and mishap.kind == "fail":
            raise Refusal(*mishap.error)
        if mishap and mishap.kind == "drop":
            return None
        with self.lock:
            self.check_rights(method["id"], where, body)
            self._go_on()
            answer = self._once(name, where, query, body, mishap)
            self.wrong += ["answer of %s: %s" % (name, one)
                           for one in mistakes(method["response"], answer, "answer", True)]
        return None if mishap and mishap.kind == "lose" else as_answer(200, answer)

    def check_rights(self, method, where, body):
        """The permissions that a request takes. Raises Refusal."""
        needed = list(PERMISSIONS.get(method, [method]))
        if method in ("compute.instances.insert", "compute.regionInstances.bulkInsert"):
            body = body.get("instanceProperties", body)
            interface = body["networkInterfaces"][0]
            needed += ["compute.subnetworks.useExternalIp"] * ("accessConfigs" in interface)
            needed += ["compute.addresses.use"] * ("natIP" in str(interface))
            needed += ["compute.addresses.useInternal"] * ("networkIP" in interface)
            needed += ["iam.serviceAccounts.actAs"] * ("serviceAccounts" in body)
            source = body["disks"][0].get("initializeParams", {}).get("sourceImage", "")
            needed += ["compute.images.useReadOnly"] * source.startswith("projects/%s/" % PROJECT)
            needed += ["compute.disks.use"] * ("source" in body["disks"][0])
        for permission in needed:
            if self.permissions is not None and permission not in self.permissions:
                raise Refusal(403, "forbidden", "Required '%s' permission for 'projects/%s'" % (
                    permission, where["project"]))
        return needed

    def _once(self, name, where, query, body, mishap):
        """The same requestId gives the same operation; with other words it is refused."""
        number = query.get("requestId")
        words = name, where, body
        if number in self.requests:
            there, operation = self.requests[number]
            if there != words:
                raise Refusal(400, "invalid", "The requestId was used for something else")
            return self.operations[operation]["row"]
        answer = self._carry_out(name, where, query, body, mishap)
        if number:
            self.requests[number] = words, answer["name"]
            answer["clientOperationId"] = number
        return answer

    def _carry_out(self, name, where, query, body, mishap):
        resource, _, verb = name.partition(".")
        if mishap and mishap.kind == "operation":
            return self._operation(name, where, None, error=mishap)
        special = getattr(self, "_%s_%s" % (resource, verb), None)
        if special:
            return special(where, query, body)
        assert resource == "instances", name
        return self._power(verb, where)

    # --- operations

    def _operation(self, name, where, act, error=None):
        """The operation of a change; act() is called when it is done."""
        number = "operation-%d" % next(self.numbers)
        place = "global"
        for kind in ("zone", "region"):
            if kind in where:
                place = "%ss/%s" % (kind, where[kind])
        row = {"name": number, "status": "RUNNING", "operationType": name.rpartition(".")[2],
               "selfLink": "%sprojects/%s/%s/operations/%s" % (API, where["project"], place, number)}
        self.operations[number] = {"row": row, "left": self.slow, "act": act, "error": error}
        return row

    def _go_on(self):
        """Each request brings what is under way nearer to its end."""
        for operation in list(self.operations.values()):
            if operation["row"]["status"] == "DONE":
                continue
            operation["left"] -= 1
            if operation["left"] > 0:
                continue
            operation["row"]["status"] = "DONE"
            error = operation["error"]
            if error:
                status, code, words = error.error
                operation["row"]["error"] = {"errors": [{"code": code, "message": words}]}
                operation["row"].update(httpErrorStatusCode=status, httpErrorMessage="FORBIDDEN")
            elif operation["act"]:
                operation["act"]()

    def _zoneOperations_wait(self, where, query, body):
        return self.operations[where["operation"]]["row"]

    _globalOperations_wait = _regionOperations_wait = _zoneOperations_wait

    def _zoneOperations_list(self, where, query, body):
        (number,) = re.findall('^clientOperationId="(.*)"$', query["filter"])
        return {"items": [self.operations[name]["row"] for key, (_, name) in self.requests.items() if key == number]}

    _regionOperations_list = _zoneOperations_list

    # --- what is there to be looked up

    def _missing(self, path):
        return Refusal(404, "notFound", "The resource '%s' was not found" % path)

    def _type_row(self, name):
        return {"name": name, "architecture": TYPES.get(name, "X86_64"), "guestCpus": 2}

    def _machineTypes_get(self, where, query, body):
        name = where["machineType"]
        if where["zone"] not in ZONES or name not in TYPES and not CUSTOM.match(name):
            raise self._missing("projects/%s/zones/%s/machineTypes/%s" % (where["project"], where["zone"], name))
        return self._type_row(name)

    def _machineTypes_list(self, where, query, body):
        return {"items": [self._type_row(name) for name in sorted(TYPES)]}

    def _acceleratorTypes_get(self, where, query, body):
        if where["acceleratorType"] != "nvidia-tesla-t4":
            raise self._missing("acceleratorTypes/" + where["acceleratorType"])
        return {"name": "nvidia-tesla-t4", "maximumCardsPerInstance": 4}

    def _acceleratorTypes_list(self, where, query, body):
        return {"items": [{"name": "nvidia-tesla-t4"}]}

    def _regions_get(self, where, query, body):
        zones = [API + "projects/%s/zones/%s" % (PROJECT, zone) for zone in ZONES
                 if zone.startswith(where["region"] + "-")]
        if not zones:
            raise self._missing("regions/" + where["region"])
        return {"name": where["region"], "zones": zones}

    def _regions_list(self, where, query, body):
        return {"items": [{"name": name} for name in sorted({zone[:-2] for zone in ZONES})]}

    def _zones_list(self, where, query, body):
        return {"items": [{"name": name} for name in ZONES]}

    def _images(self, project):
        for owner, name, family, architecture, size, licence in IMAGES:
            if owner == project:
                yield {"name": name, "family": family, "architecture": architecture, "diskSizeGb": str(size),
                       "status": "READY", "licenses": [API + "projects/x/global/licenses/" + licence],
                       "selfLink": "%sprojects/%s/global/images/%s" % (API, project, name)}

    def _image(self, where, key, name):
        for row in self._images(where["project"]):
            if row[key] == name:
                return row
        raise self._missing("projects/%s/global/images/%s" % (where["project"], name))

    def _images_get(self, where, query, body):
        return self._image(where, "name", where["image"])

    def _images_getFromFamily(self, where, query, body):
        return self._image(where, "family", where["family"])

    def _images_list(self, where, query, body):
        return {"items": list(self._images(where["project"]))}

    def _subnetworks_get(self, where, query, body):
        path = "projects/%(project)s/regions/%(region)s/subnetworks/%(subnetwork)s" % where
        if path not in self.subnetworks:
            raise self._missing(path)
        network = "%sprojects/%s/global/networks/%s" % (API, where["project"], self.subnetworks[path])
        return {"name": where["subnetwork"], "selfLink": API + path, "network": network}

    def _subnetworks_list(self, where, query, body):
        return {"items": [{"name": path.rpartition("/")[2]} for path in sorted(self.subnetworks)
                          if path.startswith("projects/%s/" % where["project"])]}

    def _addresses_list(self, where, query, body):
        return {"items": self.addresses}

    # --- instances and disks

    def _key(self, where, kind="instance"):
        return where["project"], where["zone"], where[kind]

    def _row(self, where):
        try:
            return self.instances[self._key(where)]
        except KeyError:
            raise self._missing("projects/%s/zones/%s/instances/%s" % self._key(where))

    def _instances_get(self, where, query, body):
        return self._row(where)

    def _instances_list(self, where, query, body):
        return self._page([row for (project, zone, _), row in sorted(self.instances.items())
                           if (project, zone) == (where["project"], where["zone"])], query)

    def _page(self, rows, query):
        """As Google turns pages: maxResults rows, and the token of the next ones."""
        start, count = int(query.get("pageToken", 0)), min(int(query.get("maxResults", 500)), 500)
        page = {"items": rows[start:start + count]}  # type: dict
        if rows[start + count:]:
            page["nextPageToken"] = str(start + count)
        return page

    def _instances_aggregatedList(self, where, query, body):
        items = {"zones/" + zone: {} for zone in ZONES}  # type: dict
        for (project, zone, _), row in sorted(self.instances.items()):
            if project == where["project"]:
                items["zones/" + zone].setdefault("instances", []).append(row)
        return {"items": items}

    def _instances_insert(self, where, query, body):
        key = where["project"], where["zone"], body["name"]
        if key in self.instances:
            raise Refusal(409, "alreadyExists", "The resource 'projects/%s/zones/%s/instances/%s' already exists" % key)
        interface, disk = body["networkInterfaces"][0], body["disks"][0]
        if interface["network"] not in self.networks:
            raise self._missing(interface["network"])
        if "source" in disk:
            return self._insert_from_disk(where, query, body, disk["source"])
        start = disk["initializeParams"]
        size = int(start["diskSizeGb"])
        if size < next(row[4] for row in IMAGES if start["sourceImage"].endswith("/" + row[1])):
            raise Refusal(400, "invalid", "Requested disk size cannot be smaller than the image size")
        self.orders.append((query["requestId"], body))
        row = self._launch(key, body, start, size, where)
        return self._operation("instances.insert", where, functools.partial(self._is_on, row))

    def _insert_from_disk(self, where, query, body, source):
        key = where["project"], where["zone"], body["name"]
        disk = self._disks_get(dict(where, disk=source.rpartition("/")[2]), {}, None)
        if disk.get("users"):
            raise Refusal(400, "resourceInUseByAnotherResource", "The disk resource is already being used")
        row = self._launch(key, body, {"diskName": disk["name"], "labels": disk.get("labels", {})}, 20, where)
        return self._operation("instances.insert", where, functools.partial(self._is_on, row))

    def _regionInstances_bulkInsert(self, where, query, body):
        (name,), policy = body["perInstanceProperties"], body["locationPolicy"]
        assert (body["count"], policy["targetShape"]) == ("1", "ANY")
        properties = dict(body["instanceProperties"], name=name)
        assert "/" not in properties["machineType"] + properties["disks"][0]["initializeParams"]["diskType"]
        self.orders.append((query["requestId"], body))
        wishes = {path.rpartition("/")[2]: row["preference"] for path, row in policy.get("locations", {}).items()}
        zones = [zone for zone in ZONES if zone.startswith(where["region"] + "-") and wishes.get(zone) != "DENY" and (
            "ALLOW" not in wishes.values() or zone in wishes)]
        zone = zones[-1]

        def begin():
            key = where["project"], zone, name
            properties["machineType"] = API + "projects/%s/zones/%s/machineTypes/%s" % (
                key[:2] + (properties["machineType"],))
            self._is_on(self._launch(key, properties, properties["disks"][0]["initializeParams"], 20,
                                     dict(where, zone=zone)))

        return self._operation("regionInstances.bulkInsert", where, begin)

    def _instances_getGuestAttributes(self, where, query, body):
        items = {item["key"]: item["value"] for item in self._row(where)["metadata"]["items"]}
        assert (query["queryPath"], items.get("enable-guest-attributes")) == ("hostkeys/", "TRUE")
        if self.host_keys is None:
            raise self._missing("guest attributes")
        return {"queryPath": "hostkeys/", "queryValue": {"items": [
            {"namespace": "hostkeys", "key": kind, "value": value} for kind, value in self.host_keys]}}

    def _launch(self, key, body, start, size, where):
        """The row of an instance that begins to be, with its disk."""
        body = copy.deepcopy(body)
        name = start.get("diskName", body["name"])
        self.disks[key[:2] + (name,)] = {"name": name, "labels": start["labels"], "sizeGb": str(size),
                                         "users": [API + "instances/" + body["name"]]}
        row = dict(body, status="STAGING", id=str(next(self.numbers)), disks=[{"boot": True, "autoDelete": True}],
                   zone=API + "zones/" + where["zone"], selfLink=API + "projects/%s/zones/%s/instances/%s" % key)
        row["networkInterfaces"][0]["network"] = API + row["networkInterfaces"][0]["network"]
        row["tags"] = dict(body["tags"], fingerprint="dA==")
        row["metadata"] = dict(body["metadata"], fingerprint="bQ==")
        self.instances[key] = row
        if self.guests:
            self.guests.launched(row)
        return row

    def _is_on(self, row):
        number = next(self.numbers)
        interface = row["networkInterfaces"][0]
        public, private = "127.10.%d.%d" % divmod(number, 250), "127.11.%d.%d" % divmod(number, 250)
        if self.guests:
            public, private = self.guests.known[row["name"]][0]
        interface["networkIP"] = private
        for access in interface.get("accessConfigs", ()):
            if access.get("natIP", "127.10.").startswith("127.10.") or self.guests:
                access["natIP"] = public
        row["status"] = "RUNNING"

    def _is_off(self, row):
        for access in row["networkInterfaces"][0].get("accessConfigs", ()):
            if access.get("natIP", "").startswith("127.10.") or self.guests:
                del access["natIP"]
        row["status"] = "TERMINATED"

    def _instances_delete(self, where, query, body):
        row = self._row(where)
        row["status"] = "STOPPING"
        if self.guests:
            self.guests.destroy(row["name"])
        return self._operation("instances.delete", where, functools.partial(self._is_gone, self._key(where)))

    def _is_gone(self, key):
        self.instances.pop(key, None)
        self.disks.pop(key[:2] + (key[2] + "-disk",), None)

    def _power(self, verb, where):
        row = self._row(where)
        if verb in ("start", "reset") and row["status"] == "SUSPENDED":
            raise Refusal(400, "invalidResourceUsage", "Instance is in SUSPENDED state")
        before = row["status"]
        after = {"stop": self._is_off, "start": self._is_on, "resume": self._is_on, "reset": bool}[verb]
        if (verb, before) in (("stop", "TERMINATED"), ("start", "RUNNING")):
            after = bool
        elif verb != "reset":
            row["status"] = "STOPPING" if verb == "stop" else "STAGING"
        if self.guests and after is not bool:
            getattr(self.guests, "start" if verb == "resume" else verb)(row["name"])
        elif self.guests and verb == "reset":
            self.guests.reboot(row["name"])
        return self._operation("instances." + verb, where, functools.partial(after, row))

    def _replace(self, where, body, key):
        row = self._row(where)
        if body.get("fingerprint") != row[key]["fingerprint"]:
            raise Refusal(412, "conditionNotMet", "Supplied fingerprint does not match current metadata fingerprint.")
        row[key] = dict(body, fingerprint="Zg%d=" % next(self.numbers))
        return self._operation("instances.set", where, None)

    def _instances_setMetadata(self, where, query, body):
        return self._replace(where, body, "metadata")

    def _instances_setTags(self, where, query, body):
        return self._replace(where, body, "tags")

    def _disks_get(self, where, query, body):
        try:
            return self.disks[self._key(where, "disk")]
        except KeyError:
            raise self._missing("disks/" + where["disk"])

    def _disks_delete(self, where, query, body):
        self._disks_get(where, query, body)
        return self._operation("disks.delete", where, lambda: self.disks.pop(self._key(where, "disk"), None))

    # --- firewall rules

    def _firewalls_get(self, where, query, body):
        try:
            return self.rules[where["project"], where["firewall"]]
        except KeyError:
            raise self._missing("projects/%s/global/firewalls/%s" % (where["project"], where["firewall"]))

    def _firewalls_insert(self, where, query, body):
        key = where["project"], body["name"]
        if key in self.rules:
            raise Refusal(409, "alreadyExists", "The resource 'projects/%s/global/firewalls/%s' already exists" % key)
        if body["network"] not in self.networks:
            raise self._missing(body["network"])
        self.rules[key] = dict(body, network=API + body["network"], id=str(next(self.numbers)))
        return self._operation("firewalls.insert", where, None)

    def _firewalls_patch(self, where, query, body):
        self._firewalls_get(where, query, body).update(body)
        return self._operation("firewalls.patch", where, None)

    def _firewalls_delete(self, where, query, body):
        self._firewalls_get(where, query, body)
        del self.rules[where["project"], where["firewall"]]
        return self._operation("firewalls.delete", where, None)


def as_answer(status, value):
    """JSON of a value, or a text of the metadata server as it is."""
    if isinstance(value, str):
        return status, {"Content-Type": "text/plain", "Metadata-Flavor": "Google"}, value.encode()
    return as_json(status, value, {"Metadata-Flavor": "Google"})
