"""Keystone, Nova, Glance, Neutron and Cinder as one server with state on 127.0.0.1, and Rackspace's identity service.

    cloud = OpenStackCloud()
    cloud.fail(403, "POST /compute/servers", {"forbidden": {"code": 403, "message": "Quota exceeded"}})
    ...
    assert cloud.lines() == ["POST /v3/auth/tokens", ...]

Bodies are as the sources of Nova 34, Neutron 29 and Keystone 30 have them. What no service takes is answered with 400
and noted in `wrong`.
"""

import base64
import collections
import itertools
import json
import random
import re
import threading
import traceback
from typing import Any  # noqa: F401  # of the comments
from urllib.parse import parse_qsl, unquote, urlsplit

from standin import Server, reply, serving

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SERVER_KEYS = {"name", "flavorRef", "imageRef", "key_name", "user_data", "networks", "security_groups",
               "availability_zone", "config_drive", "metadata", "block_device_mapping_v2"}
GENERATIONS = ("v3", "v2.0")


class Refused(Exception):
    """An answer that is an error: status and value."""


def nova(status, kind, words):
    return Refused(status, {kind: {"code": status, "message": words}})


def neutron(status, kind, words):
    return Refused(status, {"NeutronError": {"type": kind, "message": words, "detail": ""}})


class OpenStackCloud:
    """The server, what it holds, what was asked of it, and what is to go wrong."""

    def __init__(self, certificate=None):
        """`certificate` is the path of one with its key, for https."""
        self.lock = threading.RLock()
        self.clear()
        self._server = Server(self.handle, tls=serving(certificate) if certificate else None)
        self.url = self._server.url

    def clear(self):
        self.numbers = itertools.count(1)
        self.calls, self.wrong, self.mishaps, self.orders, self.logins = [], [], [], [], []
        self.tokens = set()
        self.acted = collections.Counter()  # type: Any  # what made something, without ids
        self.users = {"demo": "secret", "rax": "key-4711"}
        self.projects = {PROJECT: "demo"}
        self.default_project = PROJECT
        self.versions, self.regions = ["v3"], ["RegionOne"]
        self.flavors = [{"id": "1", "name": "m1.small", "ram": 2048, "vcpus": 1, "disk": 20},
                        {"id": "general1-1", "name": "1 GB General Purpose v1", "ram": 1024, "vcpus": 1, "disk": 20}]
        self.images = [
            {"id": "i-2", "name": "debian-13", "min_disk": 2, "min_ram": 0, "status": "active", "created": "2026-02"},
            {"id": "i-1", "name": "debian-13", "min_disk": 2, "min_ram": 0, "status": "active", "created": "2026-01"},
            {"id": "i-3", "name": "cirros-0.6", "min_disk": 1, "min_ram": 0, "status": "active", "created": "2026-01"},
            {"id": "i-4", "name": "large", "min_disk": 80, "min_ram": 0, "status": "active", "created": "2026-01"},
            {"id": "i-5", "name": "Ubuntu 22.04 LTS (Jammy Jellyfish) (PVHVM)", "minDisk": 20, "minRam": 512,
             "status": "active", "created": "2026-03"},
            {"id": "i-6", "name": "Ubuntu 24.04 LTS (Noble Numbat) (PVHVM)", "minDisk": 20, "minRam": 512,
             "status": "active", "created": "2026-01"}]
        self.networks = [{"id": "n-1", "name": "private", "router:external": False},
                         {"id": "n-2", "name": "backend", "router:external": False},
                         {"id": "n-9", "name": "public", "router:external": True}]
        self.groups = {}  # type: dict
        self.groups["g-0"] = {"id": "g-0", "name": "default", "description": "", "security_group_rules": []}
        self.servers, self.floating, self.volumes, self.pairs, self.ports = {}, {}, {}, {}, {}
        self.limits = {"maxTotalInstances": 20, "totalInstancesUsed": 0, "maxTotalCores": -1}
        self.server_groups = [{"id": "sg-1", "name": "apart"}]
        self.floating_quota, self.polls, self.page, self.fault, self.slow_ports = 50, 0, 100, "", 0
        self.stops = True  # whether os-stop and os-start are there
        self.odds, self.dice = 0, random.Random(7)
        self.failed = collections.Counter()  # type: Any  # in a row, by method and path
        self.look = None  # look(line) is called before each request

    def close(self):
        self._server.close()

    # --- what tests ask and set

    def lines(self, since=0):
        return self.calls[since:]

    def count(self, pattern):
        return len([line for line in self.calls if re.search(pattern, line)])

    def fail(self, status, pattern, value, times=1, headers=None):
        """Answer so, without acting."""
        self.mishaps.append([pattern, times, status, value, headers or {}])

    def lose(self, pattern, times=1):
        """Act, and close the connection without an answer."""
        self.mishaps.append([pattern, times, 0, None, {}])

    def shake(self, odds, seed=7):
        """Let that share of all requests fail, in one of several ways, and none five times in a row: a door gives
        up where a connection is closed that often."""
        self.odds, self.dice = odds, random.Random(seed)

    def is_empty(self):
        mine = [row for row in self.groups.values() if row["name"] == "docker-machines"]
        return not (self.servers or self.floating or self.volumes or self.pairs or self.ports or mine)

    def new_id(self, kind):
        return "%s-%d" % (kind, 1000 + next(self.numbers))

    def add_server(self, name="old", status="ACTIVE", **more):
        row = {"id": self.new_id("s"), "name": name, "status": status, "metadata": {}, "polls": 0,
               "addresses": {"private": [{"addr": "127.20.0.9", "version": 4, "OS-EXT-IPS:type": "fixed"}]}}
        row.update(more)
        self.servers[row["id"]] = row
        self._port(row, "n-1", "127.20.0.9")
        return row

    def add_floating(self, **more):
        row = {"id": self.new_id("f"), "floating_network_id": "n-9", "port_id": None, "description": "",
               "project_id": PROJECT,
               "revision_number": 1, "floating_ip_address": "127.21.0.%d" % (next(self.numbers) % 250)}
        row.update(more)
        self.floating[row["id"]] = row
        return row

    # --- how it answers

    def handle(self, method, target, headers, data):
        answer = self.respond(method, target, headers, data)
        if answer is None or answer[0] == 0:
            return None
        status, more, value = answer
        return reply(status, value, more)

    def respond(self, method, target, headers, data):
        """(status, headers, value); None to close the connection."""
        split = urlsplit(target)
        line = "%s %s" % (method, split.path)
        if self.look:
            self.look(line)
        with self.lock:
            self.calls.append(line)
            mishap = self._mishap(line)
            if mishap and mishap[0]:
                return mishap
            try:
                body = json.loads(data.decode()) if data else None
                answer = self._act(method, unquote(split.path), dict(parse_qsl(split.query)), headers, body)
            except Refused as refused:
                answer = refused.args[0], {}, refused.args[1]
            except Exception:
                self.wrong.append("%s %s\n%s" % (line, data, traceback.format_exc()))
                answer = 400, {}, {"badRequest": {"code": 400, "message": "a mistake of the test"}}
            if method == "POST" and answer[0] < 300:
                self.acted[re.sub(r"[a-z]-\d+", "ID", line)] += 1
            return None if mishap else answer

    def _mishap(self, line):
        for one in self.mishaps:
            if one[1] > 0 and re.search(one[0], line):
                one[1] -= 1
                return one[2], one[4], one[3]
        if self.odds and self.failed[line] < 4 and self.dice.random() < self.odds:
            self.failed[line] += 1
            return self.dice.choice([(503, {}, {}), (500, {}, {}), (429, {"Retry-After": "0"}, {}), (0, {}, {})])
        self.failed[line] = 0
        return None

    def _act(self, method, path, query, headers, body):
        first, _, rest = path.lstrip("/").partition("/")
        first, rest = (rest.partition("/")[0], rest.partition("/")[2]) if first == "identity" else (first, rest)
        if first in GENERATIONS:
            if first not in self.versions:
                raise Refused(404, {"error": {"code": 404, "message": "Not Found", "title": "Not Found"}})
            return self._identity(first, rest, headers, body)
        if headers.get("X-Auth-Token") not in self.tokens:
            raise Refused(401, {"error": {"code": 401, "message": "The request requires authentication."}})
        parts = rest.split("/")
        if first in ("network", "image"):
            assert parts.pop(0) == {"network": "v2.0", "image": "v2"}[first], path
        verb = "_%s_%s" % (first, parts[0].replace("-", "_"))
        return getattr(self, verb)(method, parts[1:], query, headers, body)

    # --- identity

    def _identity(self, version, rest, headers, body):
        if rest == "auth/projects":
            return 200, {}, {"projects": [{"id": number, "name": name} for number, name in self.projects.items()]}
        self.logins.append(body["auth"])
        project = self._v2(body["auth"]) if version == "v2.0" else self._v3(body["auth"])
        token = "token-%d" % next(self.numbers)
        self.tokens.add(token)
        if version == "v2.0":
            return 200, {}, {"access": {"token": {"id": token, "tenant": {"id": project}},
                                        "serviceCatalog": self._catalog_v2()}}
        value = {"methods": ["password"], "user": {"id": "u-1"}}
        if project:
            value.update(project={"id": project}, catalog=self._catalog())
        return 201, {"X-Subject-Token": token}, {"token": value}

    def _v3(self, auth):
        who = auth["identity"]
        method = who["methods"][0]
        no = Refused(401, {"error": {"code": 401, "title": "Unauthorized",
                                     "message": "The request you have made requires authentication."}})
        if method == "application_credential":
            if who[method].get("id") != "ac-1" or who[method]["secret"] != "acs":
                raise no
            assert "scope" not in auth, "Application credentials cannot request a scope."
            return PROJECT
        if method == "token":
            if who["token"]["id"] != "users-token":
                raise no
        else:
            user = who["password"]["user"]
            name = {"u-1": "demo"}.get(user.get("id"), user.get("name"))
            right = "id" in user or user["domain"] in ({"id": "default"}, {"name": "Default"})
            if self.users.get(name) != user["password"] or not right:
                raise no
        scope = (auth.get("scope") or {}).get("project")
        if scope is None:
            return self.default_project
        for number, name in self.projects.items():
            if scope.get("id") == number or scope.get("name") == name and scope["domain"] in (
                    {"id": "default"}, {"name": "Default"}):
                return number
        raise no

    def _v2(self, auth):
        rackspace = auth.get("RAX-KSKEY:apiKeyCredentials")
        user, secret = (rackspace["username"], rackspace["apiKey"]) if rackspace else (
            auth["passwordCredentials"]["username"], auth["passwordCredentials"]["password"])
        if self.users.get(user) != secret:
            raise Refused(401, {"unauthorized": {
                "code": 401, "message": "Unable to authenticate user with credentials provided."}})
        return PROJECT

    def _catalog(self):
        return [{"type": kind, "name": kind, "endpoints": [
            {"interface": interface, "region_id": region, "region": region, "url": "%s/%s" % (self.url, path)}
            for region in self.regions for interface in ("public", "internal", "admin")]}
            for kind, path in (("compute", "compute"), ("network", "network"), ("image", "image"),
                               ("volumev3", "volume"))]

    def _catalog_v2(self):
        first = {"type": "compute", "name": "cloudServers", "endpoints": [{"publicURL": self.url + "/old"}]}
        return [first] + [
            {"type": kind, "name": name, "endpoints": [{"region": region, "publicURL": "%s/%s" % (self.url, path)}
                                                       for region in self.regions]}
            for kind, name, path in (("compute", "cloudServersOpenStack", "compute"), ("network", "neutron", "network"),
                                     ("image", "glance", "image"))]

    # --- compute

    def _compute_limits(self, method, rest, query, headers, body):
        return 200, {}, {"limits": {"rate": [], "absolute": self.limits}}

    def _compute_flavors(self, method, rest, query, headers, body):
        if rest == ["detail"]:
            return 200, {}, self._paged("flavors", self.flavors, query)
        return 200, {}, {"flavor": self._one(self.flavors, rest[0])}

    def _compute_images(self, method, rest, query, headers, body):
        if rest == ["detail"]:
            return 200, {}, {"images": self.images}
        return 200, {}, {"image": self._one(self.images, rest[0])}

    def _compute_os_server_groups(self, method, rest, query, headers, body):
        return 200, {}, {"server_groups": self.server_groups}

    def _paged(self, key, rows, query):
        start = int(query.get("marker", 0))
        answer = {key: rows[start:start + self.page]}
        if start + self.page < len(rows):
            answer[key + "_links"] = [{"rel": "next", "href": "%s/x?marker=%d" % (self.url, start + self.page)}]
        return answer

    def _one(self, rows, number):
        for row in rows:
            if row["id"] == number:
                return row
        raise nova(404, "itemNotFound", "It could not be found.")

    def _compute_os_keypairs(self, method, rest, query, headers, body):
        if method == "POST":
            pair = body["keypair"]
            assert re.match(r"[\w -]{1,255}$", pair["name"])
            if pair["name"] in self.pairs:
                raise nova(409, "conflictingRequest", "Key pair '%s' already exists." % pair["name"])
            self.pairs[pair["name"]] = dict(pair)
            return 200, {}, {"keypair": pair}
        if method == "DELETE":
            if self.pairs.pop(rest[0], None) is None:
                raise Refused(404, "404 Not Found")
            return 202, {}, None
        return 200, {}, {"keypairs": [{"keypair": pair} for pair in self.pairs.values()]}

    def _compute_servers(self, method, rest, query, headers, body):
        if not rest:
            return self._new_server(body, headers)
        if rest == ["detail"]:
            rows = [row for row in self.servers.values() if re.search(query.get("name", ""), row["name"])]
            return 200, {}, self._paged("servers", [self._seen(row) for row in rows], query)
        row = self.servers.get(rest[0])
        if row is None:
            raise nova(404, "itemNotFound", "Instance %s could not be found." % rest[0])
        if rest[1:] == ["os-volume_attachments"]:
            return self._attachments(method, row, body)
        if rest[1:] == ["action"]:
            return self._action(row, body)
        if method == "DELETE":
            self._forget(row)
            return 204, {}, None
        return 200, {}, {"server": self._seen(row, look=True)}

    def _new_server(self, body, headers):
        server = body["server"]
        assert set(body) <= {"server", "os:scheduler_hints"} and set(server) <= SERVER_KEYS, sorted(server)
        version = headers.get("OpenStack-API-Version", "")
        mapped = server.get("block_device_mapping_v2") or []
        assert version == ("compute 2.67" if any("volume_type" in one for one in mapped) else ""), version
        assert version == "" or "networks" in server, "'networks' is a required property"
        assert all(isinstance(value, str) and len(value) < 256 for value in server["metadata"].values())
        base64.b64decode(server.get("user_data", ""))
        if server.get("key_name") and server["key_name"] not in self.pairs:
            raise nova(400, "badRequest", "Invalid key_name provided.")
        for group in server.get("security_groups") or ():
            if group["name"] not in self.groups:
                raise nova(400, "badRequest", "Security group %s not found for project." % group["name"])
        if len(self.servers) >= self.limits["maxTotalInstances"]:
            raise nova(403, "forbidden", "Quota exceeded for instances: Requested 1, but already used 20 of 20")
        networks = server.get("networks") or [{"uuid": "n-1"}]
        networks = [{"uuid": "n-1"}] if networks == "auto" else networks
        row = self.add_server(server["name"], "BUILD", metadata=dict(server["metadata"]), polls=self.polls,
                              addresses={}, groups=[one["name"] for one in server.get("security_groups") or ()])
        self._drop_ports(row)
        for one in networks:
            name = next((net["name"] for net in self.networks if net["id"] == one["uuid"]), one["uuid"])
            address = "127.20.%d.%d" % (len(self.ports), next(self.numbers) % 250)
            row["addresses"][name] = [{"addr": address, "version": 4, "OS-EXT-IPS:type": "fixed"},
                                      {"addr": "fd00::%d" % next(self.numbers), "version": 6,
                                       "OS-EXT-IPS:type": "fixed"}]
            self._port(row, one["uuid"], address)
        row["accessIPv4"] = next(iter(row["addresses"].values()))[0]["addr"]
        self.orders.append((body, row["id"]))
        return 202, {}, {"server": {"id": row["id"], "links": [], "adminPass": "x9s8d7"}}

    def _port(self, row, network, address):
        number = self.new_id("p")
        self.ports[number] = {"id": number, "device_id": row["id"], "network_id": network,
                              "fixed_ips": [{"ip_address": address}]}

    def _drop_ports(self, row):
        for number in [number for number, port in self.ports.items() if port["device_id"] == row["id"]]:
            del self.ports[number]
            for one in self.floating.values():
                if one["port_id"] == number:
                    one["port_id"] = None

    def _forget(self, row):
        self._drop_ports(row)
        del self.servers[row["id"]]
        for volume in self.volumes.values():
            if volume.get("server") == row["id"]:
                volume["server"], volume["status"] = "", "available"

    def _seen(self, row, look=False):
        """The row as it is told of, which goes on a step with each look."""
        if look and row["status"] == "BUILD":
            row["polls"] -= 1
            if row["polls"] < 0:
                row["status"] = "ERROR" if self.fault else "ACTIVE"
                row["fault"] = {"message": self.fault, "code": 500}
        shown = {key: value for key, value in row.items() if key not in ("polls", "groups")}
        shown["addresses"] = {name: list(rows) for name, rows in row["addresses"].items()}
        for one in self.floating.values():
            port = self.ports.get(one["port_id"])
            if port and port["device_id"] == row["id"]:
                next(iter(shown["addresses"].values())).append(
                    {"addr": one["floating_ip_address"], "version": 4, "OS-EXT-IPS:type": "floating"})
        return shown

    def _action(self, row, body):
        ((verb, value),) = body.items()
        if verb in ("os-stop", "os-start") and not self.stops:
            raise nova(400, "badRequest", "There is no such action currently supported.")
        needs = {"os-stop": ("ACTIVE", "ERROR"), "os-start": ("SHUTOFF",), "unpause": ("PAUSED",),
                 "resume": ("SUSPENDED",), "unshelve": ("SHELVED", "SHELVED_OFFLOADED")}.get(verb, ())
        if verb == "reboot":
            needs = ("ACTIVE",) if value["type"] == "SOFT" else ("ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED", "ERROR")
        if row["status"] not in needs:
            raise nova(409, "conflictingRequest", "Cannot '%s' instance %s while it is in vm_state %s" % (
                verb, row["id"], row["status"].lower()))
        row["status"] = "SHUTOFF" if verb == "os-stop" else "ACTIVE"
        return 202, {}, None

    def _attachments(self, method, row, body):
        if method == "POST":
            volume = self.volumes[body["volumeAttachment"]["volumeId"]]
            if volume["status"] != "available":
                raise nova(400, "badRequest", "Invalid volume: it is in-use.")
            volume["status"], volume["server"] = "in-use", row["id"]
            return 200, {}, {"volumeAttachment": {"volumeId": volume["id"], "device": "/dev/vdb"}}
        return 200, {}, {"volumeAttachments": [{"volumeId": one["id"]} for one in self.volumes.values()
                                               if one.get("server") == row["id"]]}

    # --- image, network, volume

    def _image_images(self, method, rest, query, headers, body):
        if rest:
            for row in self.images:
                if row["id"] == rest[0]:
                    return 200, {}, row
            raise Refused(404, None)
        return 200, {}, {"images": [row for row in self.images if query.get("name") in (None, row["name"])]}

    def _network_networks(self, method, rest, query, headers, body):
        outer = query.get("router:external")
        return 200, {}, {"networks": [row for row in self.networks if not outer or row["router:external"]]}

    def _network_ports(self, method, rest, query, headers, body):
        if self.slow_ports:
            self.slow_ports -= 1
            return 200, {}, {"ports": []}
        return 200, {}, {"ports": [row for row in self.ports.values() if row["device_id"] == query["device_id"]]}

    def _network_security_groups(self, method, rest, query, headers, body):
        if method == "POST":
            row = {"id": self.new_id("g"), "security_group_rules": [],
                   "created_at": "2026-01-01T00:00:%02d" % len(self.groups)}  # type: dict
            row.update(body["security_group"])
            self.groups[row["id"]] = row
            return 201, {}, {"security_group": row}
        if method == "DELETE":
            if any(rest[0] in row.get("groups", ()) for row in self.servers.values()):
                raise neutron(409, "SecurityGroupInUse", "Security Group %s in use." % rest[0])
            if self.groups.pop(rest[0], None) is None:
                raise neutron(404, "SecurityGroupNotFound", "Security group %s does not exist" % rest[0])
            return 204, {}, None
        return 200, {}, {"security_groups": [dict(row) for row in self.groups.values()]}

    def _network_security_group_rules(self, method, rest, query, headers, body):
        rule = body["security_group_rule"]
        rules = self.groups[rule["security_group_id"]]["security_group_rules"]
        if rule in rules:
            raise neutron(409, "SecurityGroupRuleExists", "Security group rule already exists.")
        rules.append(rule)
        return 201, {}, {"security_group_rule": rule}

    def _network_floatingips(self, method, rest, query, headers, body):
        if method == "GET":
            return 200, {}, {"floatingips": [row for row in self.floating.values() if all(
                row.get(key) == value for key, value in query.items())]}
        if method == "DELETE":
            if self.floating.pop(rest[0], None) is None:
                raise neutron(404, "FloatingIPNotFound", "Floating IP %s could not be found" % rest[0])
            return 204, {}, None
        values = body["floatingip"]
        if values["port_id"] not in self.ports:
            raise neutron(404, "PortNotFound", "Port %s could not be found." % values["port_id"])
        if method == "PUT":
            row = self.floating[rest[0]]
            if headers.get("If-Match") != "revision_number=%d" % row["revision_number"]:
                raise neutron(412, "RevisionNumberConstraintFailed", "Constrained to another revision")
            row.update(values, revision_number=row["revision_number"] + 1)
            return 200, {}, {"floatingip": row}
        if any(row["port_id"] == values["port_id"] for row in self.floating.values()):
            raise neutron(409, "FloatingIPPortAlreadyAssociated", "Cannot associate floating IP with port")
        if len(self.floating) >= self.floating_quota:
            raise neutron(409, "OverQuota", "Quota exceeded for resources: ['floatingip'].")
        return 201, {}, {"floatingip": self.add_floating(**values)}

    def _volume_volumes(self, method, rest, query, headers, body):
        if method == "POST":
            number = self.new_id("v")
            self.volumes[number] = dict(body["volume"], id=number, status="available")
            return 202, {}, {"volume": self.volumes[number]}
        if rest == ["detail"]:
            return 200, {}, {"volumes": list(self.volumes.values())}
        row = self.volumes.get(rest[0])
        if row is None:
            raise Refused(404, {"itemNotFound": {"code": 404, "message": "Volume could not be found."}})
        if method == "DELETE":
            del self.volumes[rest[0]]
            return 202, {}, None
        return 200, {}, {"volume": row}
