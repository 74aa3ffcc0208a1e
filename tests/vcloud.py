"""VMware Cloud Director for the tests: a server with the state of one organization, after its published API.

Each body is held to the order of elements that the schema wants, each request to its content type, version and token.
What is asked for takes a task that is under way for some looks, and its vApp is busy meanwhile. It fails on command:
busy, refused, tasks that fail, answers that get lost after the act. Its addresses have another name than the one that
it is asked by, as behind a provider's proxy.
"""

import base64
import collections
import json
import re
import urllib.parse
import uuid
from html import escape
from xml.etree import ElementTree

from standin import Mishap, StandIn, serving

USER, ORG, PASSWORD, API_TOKEN = "jane", "acme", "hunter2-of-jane", "a-token-of-the-portal"
PUBLIC = "https://cloud.example.com"
VCLOUD, OVF = "http://www.vmware.com/vcloud/v1.5", "http://schemas.dmtf.org/ovf/envelope/1"
VERSIONS = ["36.3", "37.0", "38.1", "39.1", "39.2.0-alpha", "40.0"]
NO_TOOLS = "null - Cannot complete operation because VMware Tools is not running in this virtual machine."
PRODUCT = '<ovf:ProductSection><ovf:Info>Of the template</ovf:Info><ovf:Property ovf:key="user-data" ' \
    'ovf:type="string" ovf:userConfigurable="true" ovf:value=""/></ovf:ProductSection>'
NUMBERS = {"-1": "FAILED_CREATION", "0": "UNRESOLVED", "1": "RESOLVED", "3": "SUSPENDED", "4": "POWERED_ON",
           "5": "WAITING_FOR_INPUT", "8": "POWERED_OFF", "9": "INCONSISTENT_STATE", "10": "MIXED"}
ORDER = {  # the children that an element may have, in the schema's order
    "ComposeVAppParams": ["Description", "VAppParent", "InstantiationParams", "SourcedItem", "AllEULAsAccepted"],
    "SourcedItem": ["Source", "VmGeneralParams", "VAppScopedLocalId", "InstantiationParams", "NetworkAssignment",
                    "StorageProfile"],
    "InstantiationParams": ["NetworkConfigSection", "NetworkConnectionSection"],
    "NetworkConfigSection": ["Info", "NetworkConfig"],
    "NetworkConfig": ["Description", "Configuration", "IsDeployed"],
    "Configuration": ["BackwardCompatibilityMode", "IpScopes", "ParentNetwork", "FenceMode",
                      "RetainNetInfoAcrossDeployments"],
    "NetworkConnectionSection": ["Info", "PrimaryNetworkConnectionIndex", "NetworkConnection"],
    "NetworkConnection": ["NetworkConnectionIndex", "IpAddress", "ExternalIpAddress", "IsConnected", "MACAddress",
                          "IpAddressAllocationMode"],
    "Vm": ["Description", "VmSpecSection"],
    "VmSpecSection": ["Info", "OsType", "NumCpus", "NumCoresPerSocket", "CpuResourceMhz", "MemoryResourceMb"],
    "MemoryResourceMb": ["Configured"],
    "GuestCustomizationSection": ["Info", "Enabled", "ChangeSid", "AdminPasswordEnabled", "AdminPasswordAuto",
                                  "AdminPassword", "CustomizationScript", "ComputerName"],
    "ProductSectionList": ["ProductSection"], "ProductSection": ["Info", "Property"], "Property": ["Value"],
    "UndeployVAppParams": ["UndeployPowerAction"]}
OVF_NAMES = {"Info", "ProductSection", "Property", "Value"}


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status, code, words):
        super().__init__(words)
        self.status, self.code, self.words = status, code, words


class Task:
    """Something under way: finish() when it was looked at often enough, unless it has an error."""

    def __init__(self, operation, left, finish, error=()):
        self.id, self.operation, self.left, self.finish, self.error = str(uuid.uuid4()), operation, left, finish, error
        self.status = "running"

    def look(self):
        self.left -= 1
        if self.left < 0 and self.status == "running":
            self.status = "error" if self.error else "success"
            self.finish(bool(self.error))

    def text(self, public):
        found = ""
        if self.status == "error":
            found = '<Error message="%s" majorErrorCode="400" minorErrorCode="%s"/>' % (
                escape("[ %s ] %s" % (uuid.uuid4(), self.error[1])), self.error[0])
        return '<Task xmlns="%s" href="%s/api/task/%s" operation="%s" status="%s">%s</Task>' % (
            VCLOUD, public, self.id, self.operation, self.status, found)


class VCloud(StandIn):
    """An organization. Requests have the names of method and path without ids: POST vApp/reboot."""

    shaken = [("fail", 429, "TOO_MANY", ""), ("fail", 503, "", ""), ("drop",), ("lose",),
              ("fail", 400, "BUSY_ENTITY", "The entity is busy completing an operation.")]

    def __init__(self, certificate=None):
        """`certificate` is a file with a key and a certificate, for TLS."""
        super().__init__(serving(certificate) if certificate else None)

    def clear(self):
        """An organization in which nothing was ever done."""
        super().clear()
        self.composed = []  # type: list
        self.vapps, self.tasks, self.rules, self.tokens, self.public = {}, {}, {}, set(), PUBLIC
        self.password, self.api_token, self.logins, self.slow, self.tools = PASSWORD, API_TOKEN, 0, 0, True
        self.versions, self.forbidden, self.page = VERSIONS, set(), 128
        self.numbers = iter(range(10, 10 ** 6))
        number = self.new_id
        self.vdcs = [{"name": "east", "id": number()}, {"name": "west", "id": number()}]
        east = self.vdcs[0]["id"]
        self.networks = [
            {"name": name, "id": number(), "vdc": vdc, "netmask": "255.255.255.0", "defaultGateway": "127.20.0.1",
             "dns1": "127.20.0.2"}
            for name, vdc in (("east-default-routed", east), ("inner", east), ("west-lan", self.vdcs[1]["id"]))]
        self.items = [{"name": name, "id": number(), "catalogName": catalog, "template": number(), "user-data": data}
                      for name, catalog, data in (
                          ("Ubuntu 24.04", "Public Catalog", True), ("Ubuntu 22.04", "Public Catalog", True),
                          ("Plain 9", "Public Catalog", False), ("Ubuntu 24.04", "own", True))]
        self.gateways = [{"name": "east", "id": "urn:vcloud:gateway:" + number()},
                         {"name": "edge-2", "id": "urn:vcloud:gateway:" + number()}]

    def new_id(self):
        return str(uuid.UUID(int=next(self.numbers)))

    # --- what a test sets

    def fail(self, name, status=400, code="BAD_REQUEST", words="It failed as told", times=1):
        self.mishaps.append(Mishap("fail", name, times, status, code, words))

    def end(self, name, code="INTERNAL", words="It failed as told", times=1):
        """Let the task of a request end with an error."""
        self.mishaps.append(Mishap("end", name, times, code, words))

    def add_vapp(self, name="old", status="4", address="127.20.0.9", **more):
        """A vApp that we did not make."""
        number = self.new_id()
        self.vapps[number] = dict({
            "id": number, "vm": self.new_id(), "name": name, "status": status, "description": "", "address": address,
            "mode": "POOL", "deployed": status == "4", "tasks": [], "properties": {}, "launched": True}, **more)
        return self.vapps[number]

    # --- what a test sees

    def changes(self):
        return [name for name in self.names() if not name.startswith("GET ") and "session" not in name
                and "token" not in name]

    def count(self):
        return collections.Counter(self.names())

    def body(self, name):
        """The body of the only request of that name."""
        (text,) = [body for called, body in self.calls if called == name]
        return text

    def row(self):
        (row,) = self.vapps.values()
        return row

    def is_empty(self):
        return not (self.vapps or self.rules)

    # --- requests

    def handle(self, method, target, headers, data):
        parts = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(parts.query))
        with self.lock:
            name = self._name(method, parts.path, query)
            mishap, _ = self.take(name, data.decode())
            try:
                if mishap and mishap.kind == "fail":
                    raise Refusal(*mishap.error)
                if mishap and mishap.kind == "drop":
                    return None
                error = mishap.error if mishap and mishap.kind == "end" else ()
                answer = self._answer(method, parts.path, query, headers, data.decode(), error)
            except Refusal as refusal:
                answer = self._refused(refusal, parts.path)
        status, more, text = answer
        return None if mishap and mishap.kind == "lose" else (status, more, text.encode())

    @staticmethod
    def _name(method, path, query):
        short = re.sub("/(api|cloudapi/1.0.0|oauth)/|[/-]?(urn:[a-z:]+)?[0-9a-f]{8}-[0-9a-f-]{27}", "/", path)
        words = [word for word in short.split("/") if word not in ("", "action", "power")]
        return "%s %s" % (method, "/".join(words + [query[key] for key in query if key == "type"]))

    @staticmethod
    def _refused(refusal, path):
        words = "[ %s ] %s" % (uuid.uuid4(), refusal.words)
        if path.startswith("/api/"):
            text = '<?xml version="1.0"?><Error xmlns="%s" message="%s" majorErrorCode="%d" minorErrorCode="%s"/>' % (
                VCLOUD, escape(words), refusal.status, refusal.code)
        else:
            text = json.dumps({"minorErrorCode": refusal.code, "message": words, "stackTrace": None})
        return refusal.status, {}, text

    def _answer(self, method, path, query, headers, text, error):
        if (method, path) == ("GET", "/api/versions"):
            rows = "".join('<VersionInfo deprecated="%s"><Version>%s</Version><LoginUrl>%s/cloudapi/1.0.0/sessions'
                           "</LoginUrl></VersionInfo>" % (str(one < "37").lower(), one, self.public)
                           for one in self.versions)
            return 200, {}, '<SupportedVersions xmlns="http://www.vmware.com/vcloud/versions">%s</SupportedVersions>' \
                % rows
        self._check_version(path, headers)
        if path.startswith("/oauth/"):
            return self._by_token(path, headers, text)
        if path.startswith("/cloudapi/1.0.0/sessions"):
            return self._by_password(path, headers)
        if headers.get("Authorization", "")[7:] not in self.tokens:
            raise Refusal(401, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "This operation is denied.")
        if path.startswith("/cloudapi/"):
            return self._json(method, path, query, text, error)
        if path == "/api/query":
            return 200, {}, self._records(query)
        found = re.fullmatch("/api/(task|vAppTemplate|vdc|vApp)/(.*?)([0-9a-f-]{36})(/.*)?", path)
        if not found:
            raise Refusal(404, "NOT_FOUND", "not found: " + path)
        kind, lead, number, rest = found.groups()
        return self._of_kind(method, kind, lead, number, rest or "", headers, text, error)

    def _check_version(self, path, headers):
        kind = "application/json" if not path.startswith("/api/") else r"application/\*\+xml"
        found = re.fullmatch(kind + r";version=(\d+\.\d+)", headers.get("Accept", ""))
        if not found or found.group(1) not in self.versions:
            self.wrong.append("%s with %s" % (path, headers.get("Accept")))
            raise Refusal(406, "NOT_ACCEPTABLE", "The request has no acceptable version.")

    def _token(self):
        self.logins += 1
        token = "token-%d-%s" % (self.logins, uuid.uuid4())
        self.tokens.add(token)
        return token

    def _by_password(self, path, headers):
        org = "System" if path.endswith("/provider") else ORG
        login = base64.b64encode(("%s@%s:%s" % (USER, org, self.password)).encode()).decode()
        if headers.get("Authorization") != "Basic " + login:
            raise Refusal(401, "AUTHENTICATION_FAILED", "Invalid user credentials")
        return 200, {"X-VMWARE-VCLOUD-ACCESS-TOKEN": self._token()}, json.dumps({"id": "urn:vcloud:session:1"})

    def _by_token(self, path, headers, text):
        if headers.get("Content-Type") != "application/x-www-form-urlencoded":
            self.wrong.append("a token asked for as " + headers.get("Content-Type", ""))
        form = dict(urllib.parse.parse_qsl(text))
        if path not in ("/oauth/tenant/%s/token" % ORG, "/oauth/provider/token") or form != {
                "grant_type": "refresh_token", "refresh_token": self.api_token}:
            return 400, {}, json.dumps({"error": "invalid_grant", "error_description": "Invalid refresh token"})
        return 200, {}, json.dumps({"access_token": self._token(), "expires_in": 2592000, "token_type": "Bearer",
                                    "refresh_token": None})

    # --- what there is

    def _records(self, query):
        """A page of the query service."""
        if query.get("format") != "records":
            self.wrong.append("a query of the format %s" % query.get("format"))
        element, rows = getattr(self, "_rows_" + query["type"])()
        for term in filter(None, query.get("filter", "").split(";")):
            name, _, value = term.partition("==")
            rows = [row for row in rows if row.get(name) == value]
        size, page = min(int(query.get("pageSize", 25)), self.page), int(query.get("page", 1))
        shown = "".join("<%s %s/>" % (element, " ".join('%s="%s"' % (key, escape(str(value)))
                                                         for key, value in row.items()))
                        for row in rows[(page - 1) * size:page * size])
        return '<QueryResultRecords xmlns="%s" total="%d" page="%d" pageSize="%d"><Link rel="x" href="y"/>%s' \
            "</QueryResultRecords>" % (VCLOUD, len(rows), page, size, shown)

    def _rows_orgVdc(self):
        return "OrgVdcRecord", [{"name": row["name"], "orgName": ORG,
                                 "href": "%s/api/vdc/%s" % (self.public, row["id"])} for row in self.vdcs]

    def _rows_orgVdcNetwork(self):
        return "OrgVdcNetworkRecord", [dict(
            {key: value for key, value in row.items() if key != "id"}, vdc="%s/api/vdc/%s" % (self.public, row["vdc"]),
            href="%s/api/admin/network/%s" % (self.public, row["id"]), isShared="false") for row in self.networks]

    def _rows_catalogItem(self):
        return "CatalogItemRecord", [
            {"name": row["name"], "catalogName": row["catalogName"], "entityType": row.get("kind", "vapptemplate"),
             "entity": "%s/api/vAppTemplate/vappTemplate-%s" % (self.public, row["template"]),
             "href": "%s/api/catalogItem/%s" % (self.public, row["id"])} for row in self.items]

    def _rows_vApp(self):
        return "VAppRecord", [{"name": row["name"], "href": "%s/api/vApp/vapp-%s" % (self.public, row["id"]),
                               "status": NUMBERS.get(row["status"], "UNKNOWN")} for row in self.vapps.values()]

    def _template(self, number):
        (row,) = [row for row in self.items if row["template"] == number]
        section = ""
        if row["user-data"]:
            section = PRODUCT
        section += '<NetworkConnectionSection><ovf:Info/><PrimaryNetworkConnectionIndex>0' \
            '</PrimaryNetworkConnectionIndex><NetworkConnection network="none"><NetworkConnectionIndex>0' \
            "</NetworkConnectionIndex></NetworkConnection></NetworkConnectionSection>"
        return '<VAppTemplate xmlns="%s" xmlns:ovf="%s" name="%s" status="%s"><Children><Vm name="vm-of-it" ' \
            'href="%s/api/vAppTemplate/vm-%s">%s</Vm></Children></VAppTemplate>' % (
                VCLOUD, OVF, escape(row["name"]), row.get("status", "8"), self.public, row["id"], section)

    def _vapp_text(self, row):
        card = "<NetworkConnectionIndex>0</NetworkConnectionIndex>"
        if row["address"]:
            card += "<IpAddress>%s</IpAddress>" % row["address"]
        card += "<IsConnected>true</IsConnected><MACAddress>00:50:56:01:02:03</MACAddress><IpAddressAllocationMode>%s" \
            "</IpAddressAllocationMode>" % row["mode"]
        vm = '<Children><Vm name="vm-of-it" href="%s/api/vApp/vm-%s" status="%s"><NetworkConnectionSection>' \
            '<NetworkConnection network="lan">%s</NetworkConnection></NetworkConnectionSection>%s</Vm></Children>' % (
                self.public, row["vm"], row.get("vm_status", row["status"]), card, PRODUCT)
        tasks = "".join(task.text(self.public) for task in row["tasks"])
        return ('<?xml version="1.0" encoding="UTF-8"?><VApp xmlns="%s" xmlns:ovf="%s" href="%s/api/vApp/vapp-%s" '
                'id="urn:vcloud:vapp:%s" name="%s" status="%s" deployed="%s"><Description>%s</Description>'
                "<Tasks>%s</Tasks>%s</VApp>" % (
                    VCLOUD, OVF, self.public, row["id"], row["id"], row["name"], row["status"],
                    str(row["deployed"]).lower(), escape(row["description"]), tasks,
                    "" if row["status"] in ("0", "-1") else vm))

    # --- the older API

    def _of_kind(self, method, kind, lead, number, rest, headers, text, error):
        if kind == "task":
            task = self.tasks[number]
            task.look()
            return 200, {}, task.text(self.public)
        if kind == "vAppTemplate":
            return 200, {}, self._template(number)
        if kind == "vdc":
            return self._compose(number, self._xml(text, headers, "composeVAppParams"), error)
        row = self.vapps.get(number) if lead == "vapp-" else None
        for one in self.vapps.values():
            row = one if lead == "vm-" and one["vm"] == number else row
        if row is None or number in self.forbidden:
            raise Refusal(403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", 'No access to entity '
                          '"com.vmware.vcloud.entity.vapp:%s".' % number)
        busy = [task for task in row["tasks"] if task.status == "running"]
        for task in busy:
            task.look()
        if (method, rest) == ("GET", ""):
            return 200, {}, self._vapp_text(row)
        if busy:
            raise Refusal(400, "BUSY_ENTITY", "The entity %s is busy completing an operation %s." % (
                number, busy[0].operation))
        return self._begin(method, rest.rpartition("/")[2] or rest.strip("/"), row, headers, text, error)

    def _xml(self, text, headers, kind):
        """The root of a body, of the right kind and in order."""
        if headers.get("Content-Type") != "application/vnd.vmware.vcloud.%s+xml" % kind:
            self.wrong.append("%s sent as %s" % (kind, headers.get("Content-Type")))
        root = ElementTree.fromstring(text)
        for element in root.iter():
            space, _, name = element.tag[1:].partition("}")
            if space != (OVF if name in OVF_NAMES else VCLOUD):
                self.wrong.append("%s of %s" % (name, space))
            children = [child.tag.rpartition("}")[2] for child in element]
            known = ORDER.get(name, [])
            if set(children) - set(known) or children != sorted(children, key=known.index):
                self.wrong.append("%s has %s" % (name, children))
            element.tag = name
        return root

    def _task(self, row, operation, finish, error=()):
        def end(failed):
            if not failed:
                finish()

        task = Task(operation, self.slow, end, error)
        self.tasks[task.id] = task
        if row is not None:
            row["tasks"] = [task]
        return 202, {}, task.text(self.public)

    def _compose(self, vdc, root, error):
        if vdc not in [row["id"] for row in self.vdcs]:
            raise Refusal(403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "No access to entity")
        self.composed.append(root)
        source = root.find("SourcedItem/Source").get("href")
        assert source.startswith(self.public + "/api/vAppTemplate/vm-")
        mode = root.findtext("SourcedItem/InstantiationParams/NetworkConnectionSection/NetworkConnection/"
                             "IpAddressAllocationMode")
        row = self.add_vapp(root.get("name"), "0", "", description=root.findtext("Description"), mode=mode,
                            launched=False, deployed=False)

        def finish():
            row["status"] = "8"
            if mode == "POOL":
                row["address"] = "127.20.%d.%d" % divmod(int(row["id"][-6:], 16), 250)

        self._task(row, "vdcComposeVapp", finish, error)
        if error:
            row["tasks"][0].finish = lambda failed: row.update(status="-1")
        return 201, {}, self._vapp_text(row)

    def _begin(self, method, action, row, headers, text, error):
        act = getattr(self, "_do_%s_%s" % (method, action or "vapp"), None)
        if act is None:
            raise Refusal(405, "METHOD_NOT_ALLOWED", "%s %s" % (method, action))
        return act(row, headers, text, error)

    def _do_POST_reconfigureVm(self, row, headers, text, error):
        root = self._xml(text, headers, "vm")
        row["cpus"] = int(root.findtext("VmSpecSection/NumCpus"))
        row["memory"] = int(root.findtext("VmSpecSection/MemoryResourceMb/Configured"))
        return self._task(row, "vappUpdateVm", lambda: None, error)

    def _do_PUT_productSections(self, row, headers, text, error):
        root = self._xml(text, headers, "productSections")
        row["properties"] = {one.get("{%s}key" % OVF): one.find("Value").get("{%s}value" % OVF)
                             for one in root.iter("Property")}
        return self._task(row, "vappUpdateVm", lambda: None, error)

    def _do_PUT_guestCustomizationSection(self, row, headers, text, error):
        root = self._xml(text, headers, "guestCustomizationSection")
        row["customized"] = root.findtext("Enabled") == "true"
        row["script"] = root.findtext("CustomizationScript") or ""
        row["computer"] = root.findtext("ComputerName")
        return self._task(row, "vappUpdateVm", lambda: None, error)

    def _need(self, row, *statuses):
        if row["status"] not in statuses:
            raise Refusal(400, "OPERATION_NOT_PERMITTED", 'The requested operation could not be executed on vApp "%s". '
                          "It is %s." % (row["name"], NUMBERS[row["status"]]))

    def _turn(self, row, operation, status, error, act=None, **more):
        def finish():
            row.update(more, status=status)
            if self.guests and act:
                act()

        return self._task(row, operation, finish, error)

    def _do_POST_powerOn(self, row, headers, text, error):
        self._need(row, "8", "3", "1")

        def act():
            if row["launched"]:
                return self.guests.start(row["id"])
            data = base64.b64decode(row["properties"].get("user-data", "")).decode()
            keys = re.findall("echo '(ssh-[^']*)'", row.get("script", ""))
            launch = self.guests.launch if data else self.guests.launch_plain
            found = launch(row["id"], row["name"], data) if data else launch(row["id"], keys)
            row.update(launched=True, address=found.public)

        done = self._turn(row, "vappDeploy", "4", error, act, deployed=True)
        if not self.guests and row["mode"] == "DHCP" and not row["address"]:
            row["address"] = "127.21.%d.%d" % divmod(int(row["id"][-6:], 16), 250)
        return done

    def _do_POST_powerOff(self, row, headers, text, error):
        self._need(row, "4", "3")
        return self._turn(row, "vappPowerOff", "8", error, lambda: self.guests.stop(row["id"], graceful=False))

    def _asked(self, row, operation, status, act):
        """What the guest is asked by VMware Tools."""
        self._need(row, "4")
        error = () if self.tools else ("INTERNAL", NO_TOOLS)
        return self._turn(row, operation, status, error, act)

    def _do_POST_shutdown(self, row, headers, text, error):
        return self._asked(row, "vappShutdownGuest", "8", lambda: self.guests.stop(row["id"]))

    def _do_POST_reboot(self, row, headers, text, error):
        return self._asked(row, "vappRebootGuest", "4", lambda: self.guests.reboot(row["id"]))

    def _do_POST_reset(self, row, headers, text, error):
        self._need(row, "4")
        return self._turn(row, "vappReset", "4", error, lambda: self.guests.reboot(row["id"]))

    def _do_POST_discardSuspendedState(self, row, headers, text, error):
        self._need(row, "3")
        return self._turn(row, "vappDiscardSuspendedState", "8", error)

    def _do_POST_undeploy(self, row, headers, text, error):
        self._xml(text, headers, "undeployVAppParams")
        if not row["deployed"]:
            raise Refusal(400, "BAD_REQUEST", "The vApp is not deployed.")
        return self._turn(row, "vappUndeployPowerOff", "8", error, deployed=False)

    def _do_DELETE_vapp(self, row, headers, text, error):
        if row["deployed"]:
            raise Refusal(400, "BAD_REQUEST", "Stop the vApp and try again.")

        def finish():
            del self.vapps[row["id"]]
            if self.guests:
                self.guests.destroy(row["id"])

        return self._task(row, "vdcDeleteVapp", finish, error)

    # --- the newer API

    def _json(self, method, path, query, text, error):
        found = re.fullmatch("/cloudapi/1.0.0/edgeGateways(?:/([^/]+)(?:/(nat)/rules(?:/([^/]+))?)?)?", path)
        if not found:
            raise Refusal(404, "NOT_FOUND", "not found: " + path)
        gateway, kind, rule = found.groups()
        if not gateway:
            return self._page(self.gateways, path, query)
        if gateway not in [row["id"] for row in self.gateways]:
            raise Refusal(404, "NOT_FOUND", "No such gateway")
        if kind in self.forbidden:
            raise Refusal(403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "Access to the operation is denied.")
        if method == "GET":
            rows = [dict(row, id=number) for number, row in self.rules.items()]
            return self._page(rows, path, query)
        if method == "POST":
            body = json.loads(text)
            lacking = {"name", "enabled", "type", "externalAddresses", "internalAddresses"} - set(body)
            self.wrong += ["a rule lacks " + name for name in lacking]
            done = self._task(None, "edgeGatewayNatRuleCreate", lambda: self.rules.update({self.new_id(): body}), error)
        else:
            if rule not in self.rules:
                raise Refusal(404, "NOT_FOUND", "No such rule")
            done = self._task(None, "edgeGatewayNatRuleDelete", lambda: self.rules.pop(rule, None), error)
        (number,) = re.findall('href="[^"]*/([^"/]*)"', done[2])
        return 202, {"Location": "%s/api/task/%s" % (self.public, number)}, ""

    def _page(self, rows, path, query):
        """A page by a cursor, whose next one a header names."""
        size, start = min(int(query.get("pageSize", 25)), self.page), int(query.get("cursor", 0))
        headers = {}
        if start + size < len(rows):
            headers["Link"] = '<%s%s?pageSize=%d&cursor=%d>;rel="nextPage";type="x"' % (
                self.public, path, size, start + size)
        return 200, headers, json.dumps({"resultTotal": len(rows), "values": rows[start:start + size]})
