"""Azure for the tests: the Azure Resource Manager with the state of one subscription, and the authority that gives
tokens (TLS, since azure-identity takes no other).

Every path, query and body is held to Microsoft's own packages, azure-mgmt-compute, -network and -resource: to what
builds their requests, and to their models. Every request needs the actions of the role that docs/drivers/azure.md
lists. It fails on command: throttled, refused, answers that are lost after the act, operations that end with an error.
"""

import base64
import copy
import enum
import functools
import importlib
import inspect
import itertools
import json
import re
import subprocess
import sys
import typing
import urllib.parse
from pathlib import Path
from typing import Any  # noqa: F401

from standin import Mishap, Server, StandIn, reply, serving

PAGE = Path(__file__).resolve().parent.parent / "docs" / "drivers" / "azure.md"
SUBSCRIPTION, TENANT = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
TOKEN, SECRET = "a-token-of-nobody", "a-secret-of-nobody"
REGIONS = ["westus", "westeurope", "eastus"]
COMPUTE, NETWORK = "Microsoft.Compute/", "Microsoft.Network/"
GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
IMAGE = COMPUTE + "locations/publishers/artifacttypes/offers/"
OTHER_PARAMETERS = {"status_only": "statusOnly", "skip_shutdown": "skipShutdown", "force_deletion": "forceDeletion"}

# What builds a request (package, name), the action that it takes, and the model of its body.
REQUESTS = [
    ("resource.resources", "resource_groups_get", GROUPS + "/read", None),
    ("resource.resources", "resource_groups_create_or_update", GROUPS + "/write", "ResourceGroup"),
    ("resource.resources", "resource_groups_delete", GROUPS + "/delete", None),
    ("resource.resources", "resources_list_by_resource_group", GROUPS + "/resources/read", None),
    ("resource.resources", "providers_get", "Microsoft.Resources/subscriptions/providers/read", None),
    ("resource.resources", "providers_register", "*/register/action", None),
    ("compute", "resource_skus_list", COMPUTE + "skus/read", None),
    ("compute", "virtual_machine_images_list", IMAGE + "skus/versions/read", None),
    ("compute", "virtual_machine_images_get", IMAGE + "skus/versions/read", None),
    ("compute", "virtual_machine_images_list_skus", IMAGE + "skus/read", None),
    ("compute", "gallery_images_get", COMPUTE + "galleries/images/read", None),
    ("compute", "community_gallery_images_get", COMPUTE + "locations/communityGalleries/images/read", None),
    ("compute", "virtual_machines_list_all", COMPUTE + "virtualMachines/read", None),
    ("compute", "disks_get", COMPUTE + "disks/read", None),
    ("compute", "disks_delete", COMPUTE + "disks/delete", None),
] + [
    (package, "%s_%s" % (name, verb), "%s%s/%s" % (space, kind, action), model if action == "write" else None)
    for package, space, name, kind, model in (
        ("compute", COMPUTE, "virtual_machines", "virtualMachines", "VirtualMachine"),
        ("compute", COMPUTE, "availability_sets", "availabilitySets", "AvailabilitySet"),
        ("network", NETWORK, "network_security_groups", "networkSecurityGroups", "NetworkSecurityGroup"),
        ("network", NETWORK, "virtual_networks", "virtualNetworks", "VirtualNetwork"),
        ("network", NETWORK, "subnets", "virtualNetworks/subnets", "Subnet"),
        ("network", NETWORK, "public_ip_addresses", "publicIPAddresses", "PublicIPAddress"),
        ("network", NETWORK, "network_interfaces", "networkInterfaces", "NetworkInterface"))
    for verb, action in (("get", "read"), ("create_or_update", "write"), ("delete", "delete"))
] + [("compute", "virtual_machines_" + verb, COMPUTE + "virtualMachines/%s/action" % action, None)
     for verb, action in (("start", "start"), ("power_off", "powerOff"), ("deallocate", "deallocate"),
                          ("restart", "restart"))]
# Paths that the packages do not build: subscriptions have a package of their own, operations are named by answers.
OTHERS = [
    ("GET", "/subscriptions", "Microsoft.Resources/subscriptions/read"),
    ("GET", "/subscriptions/([^/]+)", "Microsoft.Resources/subscriptions/read"),
    ("GET", "/subscriptions/([^/]+)/locations", "Microsoft.Resources/subscriptions/locations/read"),
    ("GET", "/subscriptions/([^/]+)/providers/Microsoft.Compute/locations/[^/]+/operations/[^/]+",
     COMPUTE + "locations/operations/read"),
    ("GET", "/subscriptions/([^/]+)/providers/Microsoft.Network/locations/[^/]+/operations/[^/]+",
     NETWORK + "locations/operations/read"),
]
B2S, D2S, V1_ONLY, ARM64, SPOTLESS = ("Standard_B2s", "Standard_D2s_v5", "Standard_D2_v2", "Standard_B2pts_v2",
                                      "Standard_B1s")


def sku(name, architecture="x64", generations="V1,V2", zones=("1", "2", "3"), cpus=2, **more):
    can = {"CpuArchitectureType": architecture, "HyperVGenerations": generations, "vCPUs": str(cpus), "MemoryGB": "4",
           "PremiumIO": "True", "LowPriorityCapable": "True", "AcceleratedNetworkingEnabled": "True",
           "EncryptionAtHostSupported": "True", "DiskControllerTypes": "SCSI", **more}
    return {"name": name, "resourceType": "virtualMachines", "restrictions": [],
            "locationInfo": [{"zones": list(zones)}],
            "capabilities": [{"name": key, "value": value} for key, value in can.items()]}


SKUS = [sku(B2S, LowPriorityCapable="False", AcceleratedNetworkingEnabled="False"), sku(D2S),
        sku(V1_ONLY, generations="V1", zones=["1"], PremiumIO="False"), sku(ARM64, "Arm64", "V2"),
        sku(SPOTLESS, cpus=1, LowPriorityCapable="False"), sku("Standard_D2s_v6", generations="V2",
                                                               DiskControllerTypes="NVMe"),
        {"name": "Aligned", "resourceType": "availabilitySets", "locationInfo": [], "capabilities": [
            {"name": "MaximumPlatformFaultDomainCount", "value": "2"}]}]
IMAGES = {  # publisher:offer:sku: properties
    "Canonical:ubuntu-24_04-lts:server": {"architecture": "x64", "hyperVGeneration": "V2"},
    "Canonical:ubuntu-24_04-lts:server-arm64": {"architecture": "Arm64", "hyperVGeneration": "V2"},
    "Canonical:ubuntu-24_04-lts:server-gen1": {"architecture": "x64", "hyperVGeneration": "V1"},
    "acme:appliance:big": {"architecture": "x64", "hyperVGeneration": "V2", "osDiskImage": {"sizeInGb": 64},
                           "plan": {"publisher": "acme", "product": "appliance", "name": "big"}},
    "acme:appliance:windows": {"architecture": "x64", "osDiskImage": {"operatingSystem": "Windows"}},
}


def permissions():
    """The actions of the role on the driver's page."""
    (text,) = re.findall(r"<!-- permissions -->\n```json\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.S)
    return set(json.loads(text)["Actions"])


# --- Microsoft's description

class Request(typing.NamedTuple):
    """A request that Microsoft's packages build."""
    verb: str
    path: typing.Any
    version: str
    query: set
    action: str
    model: typing.Any


@functools.lru_cache(None)
def requests():
    """[Request]"""
    found = []
    for package, name, action, model in REQUESTS:
        module = importlib.import_module("azure.mgmt.%s.operations._operations" % package)
        builder = getattr(module, "build_%s_request" % name)
        words = inspect.signature(builder).parameters.values()
        places = [word.name for word in words if word.kind == word.POSITIONAL_OR_KEYWORD]
        built = builder(*("zz%szz" % place.replace("_", "") for place in places))
        path, _, query = built.url.replace("/resourcegroups/", "/resourceGroups/").partition("?")
        names = {OTHER_PARAMETERS.get(word.name, "$" + word.name) for word in words if word.kind == word.KEYWORD_ONLY}
        version = dict(urllib.parse.parse_qsl(query))["api-version"]
        models = importlib.import_module("azure.mgmt.%s.models" % package)
        found.append(Request(built.method, re.compile(re.sub("zz[a-z]+zz", "([^/]+)", re.escape(path)) + "$"), version,
                             names | {"api-version"}, action, getattr(models, model) if model else None))
    for verb, path, action in OTHERS:
        found.append(Request(verb, re.compile(path + "$"), "9999", {"api-version", "t"}, action, None))
    return found


def request_of(verb, path):
    for request in requests():
        if request.verb == verb and request.path.match(path):
            return request
    raise AssertionError("Azure has no %s %s" % (verb, path))


def fields(model):
    """({wire name: (field, type hint)}, module) of a model."""
    hints = {}  # type: dict
    for base in reversed(model.__mro__):
        hints.update(getattr(base, "__annotations__", {}))
    try:
        model.__new__(model)  # which fills _attr_to_rest_field
    except TypeError:
        pass
    known = {field._rest_name: (field, hints.get(name)) for name, field in model._attr_to_rest_field.items()}
    return known, sys.modules[model.__module__]


def resolved(hint, module):
    space = {**vars(module), "_models": importlib.import_module(module.__package__)}
    if isinstance(hint, str):
        hint = eval(hint, space)
    if isinstance(hint, typing.ForwardRef):
        hint = eval(hint.__forward_arg__, space)
    return hint


def mistakes(hint, value, at, module):
    """How a value breaks a type of the models: unknown, read-only, missing and ill-typed fields."""
    hint = resolved(hint, module)
    origin = getattr(hint, "__origin__", None)
    inner = getattr(hint, "__args__", ())  # type: Any
    if origin is typing.Union:
        yield from of_union(inner, value, at, module)
    elif origin in (list, typing.List):
        if not isinstance(value, list):
            yield at + ": no list"
            return
        for number, row in enumerate(value):
            yield from mistakes(inner[0], row, "%s[%d]" % (at, number), module)
    elif origin in (dict, typing.Dict):
        for key, row in value.items():
            yield from mistakes(inner[1], row, "%s.%s" % (at, key), module)
    elif hasattr(hint, "_is_model"):
        yield from of_model(hint, value, at)
    elif hint in (bool, int, str) and type(value) is not hint:
        yield "%s: no %s" % (at, hint.__name__)


def of_union(kinds, value, at, module):
    kinds = [resolved(kind, module) for kind in kinds if kind is not type(None)]
    enums = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, enum.Enum)]
    if value is None:
        yield at + ": null"
    elif not enums:
        yield from mistakes(kinds[0], value, at, module)
    elif value not in [one.value for one in enums[0]] and not at.endswith(".vmSize"):  # whose enum is of old
        yield "%s: %r is none of %s" % (at, value, enums[0].__name__)


def of_model(model, value, at):
    if not isinstance(value, dict):
        yield at + ": no object"
        return
    known, module = fields(model)
    for key, row in value.items():
        place = "%s.%s" % (at, key)
        if key not in known:
            yield place + ": unknown"
        elif known[key][0]._visibility == ["read"]:
            yield place + ": only for answers"
        else:
            yield from mistakes(known[key][1], row, place, module)
    for key, (field, hint) in known.items():
        may_lack = type(None) in getattr(resolved(hint, module), "__args__", ())
        if key not in value and not may_lack and field._visibility != ["read"]:
            yield "%s.%s: missing" % (at, key)


def problems(request, query, body):
    """How a request breaks the description."""
    found = ["query %s: unknown" % name for name in query if name not in request.query]
    if not re.match(r"20\d\d-\d\d-\d\d$", query.get("api-version", "")) or query["api-version"] > request.version:
        found.append("api-version %s" % query.get("api-version"))
    if request.model:
        return found + list(mistakes(request.model, body, "body", inspect.getmodule(request.model)))
    return found + (["a body, where none is wanted"] if body else [])


# --- the server

class Refusal(Exception):
    """An answer that is an error, as ARM words it."""

    def __init__(self, status, code, words, **more):
        super().__init__(words)
        self.status, self.body = status, {"error": dict(code=code, message=words, **more)}


def certificate(folder):
    """(certificate, key): files for 127.0.0.1."""
    files = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", files[1], "-out", files[0]],
                   check=True, stderr=subprocess.DEVNULL)
    return files


class Arm(StandIn):
    """A subscription, and the authority that gives tokens; `rights` are the actions of the caller, if not all. Requests
    have the names of method and kind: PUT virtualMachines.
    """

    shaken = [("fail", 429, "TooManyRequests", "Too many requests"), ("fail", 503, "ServiceUnavailable", "Busy"),
              ("drop",), ("lose",)]

    def __init__(self, folder, rights=None):
        self.rights, self.numbers = rights, itertools.count(10)
        super().__init__()
        self.ca, key = certificate(folder)
        self.authority = Server(self.handle, tls=serving(self.ca, key))
        self.login_url = self.authority.url

    def environ(self):
        """The variables with which a command asks it, by a service principal."""
        return {"AZURE_API_URL": self.url, "AZURE_AUTHORITY_HOST": self.login_url, "REQUESTS_CA_BUNDLE": self.ca,
                "AZURE_CLIENT_ID": "a-client", "AZURE_CLIENT_SECRET": SECRET, "AZURE_TENANT_ID": TENANT,
                "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION, "AZURE_CONFIG_DIR": "/nonexistent",
                "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}

    def clear(self):
        """A subscription in which nothing was ever done."""
        super().clear()
        self.tokens = 0
        self.groups, self.things, self.operations, self.made, self.bodies = {}, {}, {}, [], {}
        self.registered = {"Microsoft.Compute", "Microsoft.Network"}
        self.skus, self.slow, self.login = copy.deepcopy(SKUS), 1, None
        self.reserved, self.subscriptions, self.slow_network = 0, [SUBSCRIPTION], 0

    def close(self):
        super().close()
        self.authority.close()

    # --- what a test sets

    def fail(self, name, code, times=1, status=400, words="It failed as told"):
        self.mishaps.append(Mishap("fail", name, times, status, code, words))

    def end_badly(self, name, code, words="It failed as told", times=1):
        """Let the operation of a request end with an error; a VM is there then, and failed."""
        self.mishaps.append(Mishap("operation", name, times, code, words))

    def restrict(self, name, kind="Location", **info):
        row = next(row for row in self.skus if row["name"] == name)
        row["restrictions"] = [{"type": kind, "reasonCode": "NotAvailableForSubscription", "restrictionInfo": info}]

    def put(self, path, **row):
        """Something that we did not make."""
        parts = path.strip("/").split("/")
        self.groups.setdefault(parts[3].lower(), {"name": parts[3], "location": "westus"})
        properties = dict({"provisioningState": "Succeeded"}, **row.pop("properties", {}))
        self.things[path.lower()] = dict({"id": path, "name": parts[-1], "location": "westus", "properties": properties,
                                          "type": "/".join(parts[5:7])}, **row)
        return self.things[path.lower()]

    # --- what a test sees

    def names(self):
        """All requests but polls, in their order: "PUT virtualMachines"."""
        return [name for name, _ in self.calls if not name.endswith("/operations")]

    def changes(self):
        return [name for name in self.names() if not name.startswith("GET")]

    def thing(self, kind, name, group="docker-machine"):
        space = COMPUTE if kind in ("virtualMachines", "disks", "availabilitySets") else NETWORK
        path = "/subscriptions/%s/resourceGroups/%s/providers/%s%s/%s" % (SUBSCRIPTION, group, space, kind, name)
        return self.things.get(path.lower())

    def vm(self, name="web"):
        return self.thing("virtualMachines", name)

    def body(self, kind, name=""):
        """The last body of a PUT."""
        return next(body for path, body in reversed(list(self.bodies.items()))
                    if ("/" + kind + "/").lower() in path and path.endswith(name))

    def is_empty(self):
        return not self.things and not self.groups

    # --- requests

    def handle(self, verb, url, headers, data):
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        path = urllib.parse.unquote(parts.path)
        try:
            if "/oauth2/" in path or "/.well-known/" in path:
                return reply(200, self._authority(path, data.decode()))
            return self._answer(verb, path, query, headers, json.loads(data.decode()) if data else None)
        except Refusal as refusal:
            more = {}
            if refusal.status == 401:
                more["WWW-Authenticate"] = 'Bearer authorization_uri="https://login.microsoftonline.com/%s"' % TENANT
            return reply(refusal.status, refusal.body, more)

    def _authority(self, path, data):
        base = "%s/%s" % (self.login_url, path.split("/")[1])
        if path.endswith("openid-configuration"):
            return {"token_endpoint": base + "/oauth2/v2.0/token", "issuer": base + "/v2.0",
                    "authorization_endpoint": base + "/oauth2/v2.0/authorize",
                    "device_authorization_endpoint": base + "/oauth2/v2.0/devicecode"}
        if path.endswith("/devicecode"):
            return {"user_code": "ABCD-1234", "device_code": "x", "verification_uri": "https://microsoft.com/devicelogin",
                    "expires_in": 900, "interval": 1, "message": "Open it"}
        self.tokens += 1
        if self.login:
            refusal = Refusal(401, "x", "x")
            about = {"error": "invalid_client", "error_description": self.login, "error_codes": [1]}  # type: Any
            refusal.body = about
            raise refusal
        answer = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}  # type: dict
        if "device_code" in data:
            about = {"aud": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "iss": base + "/v2.0", "sub": "s", "oid": "o",
                     "exp": 9999999999, "iat": 1, "tid": TENANT, "preferred_username": "me@example.com"}
            words = [{"alg": "none"}, about]  # type: list
            parts = [base64.urlsafe_b64encode(json.dumps(word).encode()).decode().rstrip("=") for word in words]
            client = json.dumps({"uid": "o", "utid": TENANT}).encode()
            answer.update(id_token=".".join(parts + [""]), refresh_token="r",
                          client_info=base64.urlsafe_b64encode(client).decode())
        return answer

    def _answer(self, verb, path, query, headers, body):
        request = request_of(verb, path)
        name = "%s %s" % (verb, short_type(path))
        with self.lock:
            mishap, looks = self.take(name, body)
            if headers.get("Authorization"):  # else somebody asks for the tenant
                self.wrong += ["%s: %s" % (name, one) for one in problems(request, query, body)]
        for function in looks:
            function()
        if headers.get("Authorization") != "Bearer " + TOKEN:
            raise Refusal(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if mishap and mishap.kind == "fail":
            raise Refusal(*mishap.error)
        if mishap and mishap.kind == "drop":
            return None
        with self.lock:
            self.check_rights(request, path, body)
            self._go_on()
            answer = self._carry_out(verb, path, query, body, mishap)
        return None if mishap and mishap.kind == "lose" else answer

    def check_rights(self, request, path, body):
        """The actions that a request takes. Raises Refusal."""
        needed = [request.action.replace("*", path.split("/")[4]) if "*" in request.action else request.action]
        text = json.dumps(body or {})
        if request.verb == "PUT" and "/networkInterfaces/" in path:
            needed += [NETWORK + "%s/join/action" % kind for kind, mark in (
                ("virtualNetworks/subnets", "/subnets/"), ("networkSecurityGroups", "/networkSecurityGroups/"),
                ("publicIPAddresses", "/publicIPAddresses/")) if mark in text]
        if request.verb == "PUT" and "/virtualMachines/" in path:
            needed += [NETWORK + "networkInterfaces/join/action", COMPUTE + "disks/write"]
            needed += [COMPUTE + "diskEncryptionSets/read"] * ("/diskEncryptionSets/" in text)
            needed += [COMPUTE + "galleries/images/versions/read"] * ("/galleries/" in text)
        for action in needed:
            if self.rights is not None and action not in self.rights:
                raise Refusal(403, "AuthorizationFailed", "The client 'x' with object id 'y' does not have "
                              "authorization to perform action '%s' over scope '%s' or the scope is invalid."
                              % (action, path))
        return needed

    def _carry_out(self, verb, path, query, body, mishap):
        words = path.strip("/").split("/")
        if words[1:2] and words[1] not in self.subscriptions:
            raise Refusal(404, "SubscriptionNotFound", "The subscription '%s' could not be found." % words[1])
        if words[2:3] != ["resourceGroups"]:
            return reply(200, self._of_subscription(verb, words, query))
        if len(words) == 4:
            return self._group(verb, path, words[3], body)
        group = words[3].lower()
        if group not in self.groups:
            raise Refusal(404, "ResourceGroupNotFound", "Resource group '%s' could not be found." % words[3])
        if len(words) == 5:
            rows = [{key: row.get(key) for key in ("id", "name", "type", "tags", "location")}
                    for key, row in sorted(self.things.items()) if key.split("/")[4] == group]
            return reply(200, {"value": rows[:int(query.get("$top", 1000))]})
        return self._thing(verb, path, words, query, body, mishap)

    # --- what is there to be looked up

    def _of_subscription(self, verb, words, query):
        if words == ["subscriptions"]:
            return {"value": [{"subscriptionId": one, "displayName": "Pay"} for one in self.subscriptions]}
        if words[2] == "locations":
            return {"value": [{"name": name} for name in REGIONS]}
        if "operations" in words:
            return self._operation_status(words[-1])
        if words[-1] == "register":
            self.registered.add(words[3])
        if len(words) < 6 and words[-1] != "skus" and words[-1] != "virtualMachines":
            return {"namespace": words[3],
                    "registrationState": "Registered" if words[3] in self.registered else "NotRegistered"}
        return self._of_compute(words, query)

    def _of_compute(self, words, query):
        if words[4] == "skus":
            (region,) = re.findall("^location eq '(.*)'$", query["$filter"])
            return {"value": self.skus if region in REGIONS else []}
        if words[4] == "virtualMachines":
            assert query["statusOnly"] == "true"
            rows = [row for row in self.things.values() if row["type"] == COMPUTE + "virtualMachines"]
            return {"value": [{"id": row["id"].upper(), "name": row["name"], "location": row["location"],
                               "properties": {"instanceView": self._view(row)}} for row in rows]}
        if words[6] == "communityGalleries":
            return {"properties": {"architecture": "x64", "hyperVGeneration": "V2", "osType": "Linux"}}
        name = ":".join((words[7], words[11], words[13])) if len(words) > 13 else ""
        if words[-1] == "skus":
            return [{"name": key.split(":")[2]} for key in IMAGES if key.startswith("%s:%s:" % (words[7], words[11]))]
        if name not in IMAGES:
            raise Refusal(404, "NotFound", "Artifact: VMImage was not found.")
        if words[-1] == "versions":
            return [{"name": "24.04.2"}]
        return {"name": words[-1], "properties": IMAGES[name]}

    # --- operations

    def _operation(self, path, act=None, error=None, location=False, slow=None):
        """The headers that name an operation; act() is called when it is done."""
        number = "%d" % next(self.numbers)
        space = "Microsoft.Network" if "/Microsoft.Network/" in path else "Microsoft.Compute"
        left = self.slow if slow is None else slow
        self.operations[number] = {"left": left, "act": act, "error": error, "done": False, "location": location}
        url = "%s/subscriptions/%s/providers/%s/locations/westus/operations/%s?t=x&api-version=2022-08-01" % (
            self.url, SUBSCRIPTION, space, number)
        return {"Location" if location else "Azure-AsyncOperation": url}

    def _go_on(self):
        """Each request brings what is under way nearer to its end."""
        for operation in list(self.operations.values()):
            operation["left"] -= 1
            if operation["left"] <= 0 and not operation["done"]:
                operation["done"] = True
                if operation["act"]:
                    operation["act"]()

    def _operation_status(self, number):
        operation = self.operations[number]
        if not operation["done"]:
            return {"status": "InProgress"}
        error = operation["error"]
        if error:
            return {"status": "Failed", "error": dict(zip(("code", "message"), error.error))}
        return {"status": "Succeeded"}

    # --- groups and what is in them

    def _group(self, verb, path, name, body):
        if verb == "PUT" and name.lower() not in self.groups:
            self.groups[name.lower()] = dict(body, name=name, id=path, properties={"provisioningState": "Succeeded"})
            self.made.append(("group", name))
        if name.lower() not in self.groups:
            raise Refusal(404, "ResourceGroupNotFound", "Resource group '%s' could not be found." % name)
        if verb == "DELETE":
            del self.groups[name.lower()]
            for key in [key for key in self.things if key.split("/")[4] == name.lower()]:
                del self.things[key]
            return reply(202, None, self._operation(path, location=True))
        return reply(200, self.groups[name.lower()])

    def _thing(self, verb, path, words, query, body, mishap):
        kind, key = words[6], path.lower()
        if words[5] not in self.registered:
            raise Refusal(409, "MissingSubscriptionRegistration", "The subscription is not registered to use "
                          "namespace '%s'. See https://aka.ms/rps-not-found" % words[5])
        if verb == "POST":
            return self._power(words[8], key.rpartition("/")[0], query, path)
        if kind == "virtualNetworks" and len(words) > 8:
            return self._subnet(verb, key, words, body)
        if verb == "PUT":
            return self._put(kind, path, key, body, mishap)
        row = self.things.get(key)
        if row is None:
            if verb == "DELETE":
                return reply(204, None)
            raise Refusal(404, "ResourceNotFound", "The Resource '%s' was not found." % path)
        if verb == "DELETE":
            return self._delete(kind, key, row, path, mishap)
        shown = self._shown(row)
        if query.get("$expand") == "instanceView":
            shown["properties"]["instanceView"] = self._view(row)
        return reply(200, shown)

    def _shown(self, row):
        """A row as GET tells it, with what uses it."""
        shown = copy.deepcopy({key: value for key, value in row.items() if key[0] != "_"})
        about, kind = shown["properties"], row["type"].rpartition("/")[2]
        if kind == "virtualNetworks":
            for subnet in about["subnets"]:
                users = self._users("%s/subnets/%s" % (row["id"], subnet["name"]))
                subnet["properties"]["ipConfigurations"] = [{"id": one} for one in users]
        users = [{"id": one} for one in self._users(row["id"])]
        if kind == "networkSecurityGroups" and users:
            about["networkInterfaces"] = users
        if kind == "availabilitySets":
            about["virtualMachines"] = users
        if kind == "disks" and users:
            shown["managedBy"] = users[0]["id"]
        return shown

    def _users(self, path):
        """The ids of what names a path in its properties."""
        if "/disks/" in path:
            return [row["id"] for row in self.things.values() if row.get("_disk") == path.lower()]
        return [row["id"] for row in self.things.values() if row["id"].lower() != path.lower()
                and json.dumps(path.lower()) in json.dumps(row["properties"]).lower()]

    def _must_be(self, path):
        base, _, subnet = path.partition("/subnets/")
        row = self.things.get(base.lower())
        if row is None or subnet and subnet not in [one["name"] for one in row["properties"]["subnets"]]:
            raise Refusal(400, "InvalidResourceReference", "Resource %s referenced by resource was not found." % path)

    def _put(self, kind, path, key, body, mishap):
        for place in re.findall(r'"id": "([^"]+)"', json.dumps(body)):
            if "/diskEncryptionSets/" not in place and "/images/" not in place:
                self._must_be(place)
        there, number = self.things.get(key), next(self.numbers)
        if kind == "virtualNetworks" and there:
            names = [one["name"] for one in body["properties"]["subnets"]]
            lost = [one["name"] for one in there["properties"]["subnets"] if one["name"] not in names]
            if lost:
                raise Refusal(400, "InUseSubnetCannotBeDeleted", "Subnet %s is in use" % lost)
        row = dict(copy.deepcopy(body), id=path, name=path.rpartition("/")[2], type="/".join(path.split("/")[6:8]))
        row["properties"]["provisioningState"] = "Succeeded"
        if kind == "virtualMachines":
            return self._put_vm(path, key, row, body, mishap)
        if kind == "publicIPAddresses":
            self._address(row, body, number, there)
        if kind == "networkInterfaces":
            about = row["properties"]["ipConfigurations"][0]["properties"]
            about.setdefault("privateIPAddress", "127.11.%d.%d" % divmod(number, 250))
        self.things[key] = row
        self.bodies[key] = body
        if not there:
            self.made.append((kind, row["name"]))
        if self.slow_network:
            shown = self._shown(row)
            shown["properties"]["provisioningState"] = "Updating"
            return reply(201, shown, dict(self._operation(path, slow=self.slow_network), **{"Retry-After": "3"}))
        return reply(200 if there else 201, self._shown(row))

    @staticmethod
    def _address(row, body, number, there):
        assert body["sku"]["name"] == "Standard" and body["properties"]["publicIPAllocationMethod"] == "Static"
        about = row["properties"]
        about["ipAddress"] = there["properties"]["ipAddress"] if there else "127.10.%d.%d" % divmod(number, 250)
        label = about.get("dnsSettings", {}).get("domainNameLabel")
        if label:
            about["dnsSettings"]["fqdn"] = "%s.%s.cloudapp.azure.com" % (label, row["location"])

    def _put_vm(self, path, key, row, body, mishap):
        about, there = row["properties"], self.things.get(key)
        if there:
            if there["_body"] != body:
                raise Refusal(409, "PropertyChangeNotAllowed", "Changing property 'customData' is not allowed.")
            return reply(200, self._shown(there))
        disk = path.replace("/virtualMachines/", "/disks/") + "-os-disk"
        assert disk.endswith("/" + about["storageProfile"]["osDisk"]["name"])
        if disk.lower() in self.things:
            raise Refusal(409, "ConflictingUserInput", "Disk %s already exists" % disk)
        del about["osProfile"]["customData"]
        failed = mishap if mishap and mishap.kind == "operation" else None
        row.update(_body=body, _power="starting", _disk=disk.lower())
        self.things[key] = row
        self.bodies[key] = body
        self.made.append(("virtualMachines", row["name"]))
        self.put(disk)
        if self.guests:
            self.guests.launched(self, row)
        about["provisioningState"] = "Creating"
        done = functools.partial(self._is_made, row, failed)
        return reply(201, self._shown(row), self._operation(path, done, failed))

    @staticmethod
    def _is_made(row, failed):
        row["properties"]["provisioningState"] = "Failed" if failed else "Succeeded"
        row["_power"] = "" if failed else "running"

    def _view(self, row):
        made = row["properties"].get("provisioningState", "Succeeded").lower()
        codes = ["ProvisioningState/" + made] + ["PowerState/" + row["_power"]] * bool(row.get("_power"))
        return {"statuses": [{"code": code, "level": "Info"} for code in codes]}

    def _delete(self, kind, key, row, path, mishap):
        users = self._users(row["id"])
        if kind == "virtualNetworks":
            users = [one for subnet in self._shown(row)["properties"]["subnets"]
                     for one in subnet["properties"]["ipConfigurations"]]
        if kind == "networkInterfaces" and not users and self.reserved:
            self.reserved -= 1
            raise Refusal(400, "NicReservedForAnotherVm", "Nic(s) in request is reserved for another VM for 180 s.")
        if users:
            code = {"networkInterfaces": "NicInUse", "publicIPAddresses": "PublicIPAddressCannotBeDeleted",
                    "networkSecurityGroups": "InUseNetworkSecurityGroupCannotBeDeleted",
                    "virtualNetworks": "InUseSubnetCannotBeDeleted"}.get(kind, "OperationNotAllowed")
            raise Refusal(400, code, "%s is in use by %s" % (path, users[0]))
        if mishap and mishap.kind == "operation":
            return reply(202, None, self._operation(path, error=mishap))
        if kind == "virtualMachines" and self.guests:
            self.guests.destroy(row["name"])
        act = functools.partial(self._is_gone, key)
        return reply(202, None, self._operation(path, act, location=kind != "virtualMachines"))

    def _is_gone(self, key):
        row = self.things.pop(key, None)
        if row and row.get("_disk"):
            self._gone_with(row)

    def _gone_with(self, row):
        """What goes with a VM, by deleteOption."""
        about = row["properties"]
        if about["storageProfile"]["osDisk"].get("deleteOption") == "Delete":
            self.things.pop(row["_disk"], None)
        for nic in about["networkProfile"]["networkInterfaces"]:
            if nic.get("properties", {}).get("deleteOption") != "Delete" or self.reserved:
                continue
            gone = self.things.pop(nic["id"].lower(), None)
            rows = gone["properties"]["ipConfigurations"] if gone else []
            for one in [one["properties"].get("publicIPAddress") or {} for one in rows]:
                if one.get("properties", {}).get("deleteOption") == "Delete":
                    self.things.pop(one["id"].lower(), None)

    def _subnet(self, verb, key, words, body):
        network = self.things.get(key.partition("/subnets/")[0])
        if network is None:
            raise Refusal(404, "ResourceNotFound", "There is no network %s" % words[7])
        rows, name = network["properties"]["subnets"], words[9]
        if verb == "DELETE":
            rows[:] = [row for row in rows if row["name"] != name]
            return reply(202, None, self._operation(key, location=True))
        if verb == "PUT" and name not in [row["name"] for row in rows]:
            rows.append(dict(copy.deepcopy(body), name=name))
            self.made.append(("subnets", name))
        return reply(200, {"name": name, "properties": {"provisioningState": "Succeeded"}})

    def _power(self, verb, key, query, path):
        row = self.things.get(key)
        if row is None:
            raise Refusal(404, "ResourceNotFound", "The Resource '%s' was not found." % key)
        after = {"start": "running", "restart": "running", "powerOff": "stopped", "deallocate": "deallocated"}[verb]
        if self.guests:
            self.guests.power(row, verb, query.get("skipShutdown") != "true")
        if verb != "restart":
            row["_power"] = {"start": "starting", "powerOff": "stopping", "deallocate": "deallocating"}[verb]
        return reply(202, None, self._operation(path, lambda: row.update(_power=after)))


def short_type(path):
    """networkInterfaces, virtualMachines/start, resourceGroups/resources"""
    words = path.strip("/").split("/")
    if "providers" in words:
        words = words[words.index("providers") + 2:]
        return "/".join(words[::2][-2:]) if len(words) > 4 else "/".join(words[::2])
    return "/".join(words[2:][::2]) or "subscriptions"
