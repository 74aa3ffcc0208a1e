"""SoftLayer for the tests: a server with the state of one account.

What it takes is what IBM's own client sends (tests/test_softlayer.py compares both here). It fails on command:
throttled, refused with a status of 500, busy with a transaction, answers that get lost after the act.
"""

import base64
import copy
import itertools
import json
import re
import urllib.parse

from standin import Mishap, StandIn, as_json

USER, KEY = "SL1234567", "a-key-of-nobody"
CENTERS = ["ams03", "dal10", "dal13", "fra02"]
CODES = ["CENTOS_7_64", "DEBIAN_12_64", "UBUNTU_22_64", "UBUNTU_24_64", "UBUNTU_LATEST_64"]
STEPS = ["Assign Host", "Cloud Provision Setup", "Service Setup"]
BUSY = "There is currently an active transaction for this guest."
GUEST_FIELDS = {
    "hostname", "domain", "datacenter", "startCpus", "maxMemory", "hourlyBillingFlag", "localDiskFlag",
    "networkComponents", "supplementalCreateObjectOptions", "blockDevices", "blockDeviceTemplateGroup", "userData",
    "operatingSystemReferenceCode", "privateNetworkOnlyFlag", "sshKeys", "primaryNetworkComponent",
    "primaryBackendNetworkComponent"}


def options():
    """What is on sale, as IBM's client has it in its fixtures."""
    price = {"item": {"description": "x"}, "hourlyRecurringFee": ".07", "recurringFee": "29"}

    def rows(templates):
        return [{"itemPrice": price, "template": template} for template in templates]

    return {
        "datacenters": [{"template": {"datacenter": {"name": name}}} for name in CENTERS],
        "operatingSystems": rows([{"operatingSystemReferenceCode": code} for code in CODES]),
        "processors": rows([{"startCpus": 1}, {"startCpus": 2}, {"startCpus": 4},
                            {"startCpus": 56, "dedicatedHost": {"id": None}}]),
        "memory": rows([{"maxMemory": size} for size in (1024, 2048, 4096, 8192)]),
        "networkComponents": rows([{"networkComponents": [{"maxSpeed": speed}]} for speed in (10, 100, 1000)]),
        "blockDevices": rows([{"blockDevices": [{"device": "0", "diskImage": {"capacity": size}}],
                               "localDiskFlag": local} for size in (25, 100) for local in (True, False)] + [
            {"blockDevices": [{"device": "2", "diskImage": {"capacity": 10}}], "localDiskFlag": False}]),
        "flavors": [{"flavor": {"keyName": name}, "template": {
            "supplementalCreateObjectOptions": {"flavorKeyName": name}}} for name in ("B1_1X2X25", "B1_2X4X25")]}


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status, code, words):
        super().__init__(words)
        self.status, self.body = status, {"error": words, "code": code} if code else None


class SoftLayer(StandIn):
    """An account. Requests have the names of their methods: Virtual_Guest/getObject."""

    shaken = [("fail", 429, "", ""), ("fail", 503, "", ""), ("drop",), ("lose",),
              ("fail", 500, "SoftLayer_Exception_WebService_RateLimitExceeded", "API rate limit exceeded"),
              ("fail", 500, "SoftLayer_Exception", "Internal Error")]

    def __init__(self):
        self.numbers = itertools.count(1000)
        super().__init__()
        self.url += "/rest/v3.1"

    def clear(self):
        """An account in which nothing was ever done."""
        super().clear()
        self.orders, self.asked = [], []  # type: list, list
        self.rows, self.keys, self.hard = {}, {}, []
        self.slow, self.lasting, self.deaf, self.options = 1, 2, False, options()
        self.user, self.key = USER, KEY

    # --- what a test sets

    def fail(self, name, status=500, code="SoftLayer_Exception_Public", words="It failed as told", times=1):
        self.mishaps.append(Mishap("fail", name, times, status, code, words))

    def add_guest(self, name="web", power="RUNNING", address="127.10.9.9", **more):
        """A guest that we did not make."""
        number = next(self.numbers)
        self.rows[number] = dict({
            "id": number, "hostname": name, "domain": "example.com", "provisionDate": "2020-01-01T00:00:00-06:00",
            "power": power, "looks": 0, "keys": [], "tags": [], "public": address, "private": "10.1.2.3"}, **more)
        return self.rows[number]

    # --- what a test sees

    def changes(self):
        return [name for name in self.names() if not re.search("/(get|generate)", name)]

    def row(self):
        """The only guest."""
        (row,) = self.rows.values()
        return row

    def is_empty(self):
        return not (self.rows or self.keys)

    # --- requests

    def handle(self, method, target, headers, data):
        parts = urllib.parse.urlsplit(target)
        self.asked.append((method, parts.path))
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        found = re.match(r"/rest/v3(?:\.1)?/SoftLayer_(\w+)(?:/(\d+))?/(\w+)\.json$", parts.path)
        try:
            if not found:
                raise Refusal(404, "SoftLayer_Exception_Public", "Service does not exist")
            service, number, name = found.groups()
            body = json.loads(data.decode()) if data else None
            return self._answer(method, service, int(number or 0), name, query, body, headers)
        except Refusal as refusal:
            return as_json(refusal.status, refusal.body)

    def _answer(self, method, service, number, name, query, body, headers):
        full = "%s/%s" % (service, name)
        with self.lock:
            mishap, _ = self.take(full, body)
            if (method, set(body or {})) not in (("GET", set()), ("POST", {"parameters"})):
                self.wrong.append("%s %s with %s" % (method, full, body))
            login = base64.b64encode(("%s:%s" % (self.user, self.key)).encode()).decode()
            if headers.get("Authorization") != "Basic " + login:
                raise Refusal(401, "SoftLayer_Exception_Public", "Invalid API token.")
            if mishap and mishap.kind == "fail":
                raise Refusal(*mishap.error)
            if mishap and mishap.kind == "drop":
                return None
            value = getattr(self, "_%s_%s" % (service, name))(number, query, *(body or {}).get("parameters", ()))
            answer = copy.deepcopy(value)
        return None if mishap and mishap.kind == "lose" else as_json(200, answer)

    @staticmethod
    def _of(rows, number):
        if number not in rows:
            raise Refusal(404, "SoftLayer_Exception_ObjectNotFound",
                          "Unable to find object with id of '%d'." % number)
        return rows[number]

    # --- orders

    def _Virtual_Guest_getCreateObjectOptions(self, number, query):
        return self.options

    def _Virtual_Guest_generateOrderTemplate(self, number, query, spec):
        self._check(spec)
        return {"virtualGuests": [spec], "useHourlyPricing": spec["hourlyBillingFlag"]}

    def _check(self, spec):
        """As the API checks an order."""
        self.wrong += ["createObject knows no " + name for name in set(spec) - GUEST_FIELDS]
        self.wrong += ["%s is null" % name for name, value in spec.items() if value is None]
        for key in spec.get("sshKeys", ()):
            if key["id"] not in self.keys:
                raise Refusal(500, "SoftLayer_Exception_InvalidValue", "Invalid value provided for 'sshKeys'.")
        if spec["domain"] == "invalid":
            raise Refusal(500, "SoftLayer_Exception_InvalidValue", "Invalid value provided for 'domain'.")

    def _Virtual_Guest_createObject(self, number, query, spec):
        self._check(spec)
        self.orders.append(spec)
        number, guest = next(self.numbers), 0
        row = self.add_guest(spec["hostname"], provisionDate="", domain=spec["domain"], power="HALTED",
                             keys=[key["id"] for key in spec["sshKeys"]], steps=self.slow, transaction=number,
                             private_only=spec.get("privateNetworkOnlyFlag"))
        guest = row["id"]
        row.update(public="127.10.%d.%d" % divmod(guest, 250), private="127.11.%d.%d" % divmod(guest, 250))
        if self.guests:
            lines = [self.keys[key]["key"] for key in row["keys"]]
            text = spec.get("userData", [{"value": ""}])[0]["value"]
            row["public"], row["private"] = self.guests.launch(guest, row["hostname"], text, lines)
        return {"id": guest, "hostname": row["hostname"], "provisionDate": "", "primaryIpAddress": ""}

    # --- guests

    def _shown(self, row):
        """A row as it is at this look, which is one more."""
        steps = row.get("steps", 0)
        answer = {"id": row["id"], "hostname": row["hostname"], "domain": row["domain"],
                  "status": {"keyName": row.get("status", "ACTIVE")}, "powerState": {"keyName": row["power"]},
                  "provisionDate": row["provisionDate"],
                  "sshKeys": [{"label": self.keys[key]["label"]} for key in row["keys"] if key in self.keys],
                  "tagReferences": [{"tag": {"name": name}} for name in row["tags"]]}
        if steps:
            row["steps"] -= 1
            step = STEPS[-steps] if steps <= len(STEPS) else STEPS[0]
            answer["activeTransaction"] = {"id": row["transaction"], "transactionStatus": {"friendlyName": step}}
            answer["lastOperatingSystemReload"] = {"id": row["transaction"]}
            if not row["steps"]:
                row.update(provisionDate="2026-11-28T00:00:00-06:00", power="RUNNING")
            return answer
        answer["primaryBackendIpAddress"] = row["private"]
        if not row.get("private_only"):
            answer["primaryIpAddress"] = row["public"]
        return answer

    def _look(self, number):
        row = self._of(self.rows, number)
        if "ending" in row:
            row["ending"] -= 1
            if row["ending"] < 0:
                del self.rows[number]
        return self._of(self.rows, number)

    def _Virtual_Guest_getObject(self, number, query):
        return self._shown(self._look(number))

    def _Account_getVirtualGuests(self, number, query):
        name = ""
        if query.get("objectFilter"):
            wanted = json.loads(query["objectFilter"])["virtualGuests"]["hostname"]["operation"]
            (name,) = re.findall("^_= (.*)$", wanted)
        return [self._shown(row) for row in self.rows.values() if name in ("", row["hostname"])]

    def _Virtual_Guest_setTags(self, number, query, text):
        self._of(self.rows, number)["tags"] = [name.strip() for name in text.split(",")]
        return True

    def _Virtual_Guest_deleteObject(self, number, query):
        row = self._idle(number)
        row["ending"] = self.lasting
        if self.guests:
            self.guests.destroy(number)
        return True

    def _idle(self, number):
        row = self._look(number)
        if row.get("steps") or "ending" in row:
            raise Refusal(500, "SoftLayer_Exception_Public", BUSY)
        return row

    def _turn(self, number, power, act):
        row = self._idle(number)
        if row["power"] == power:
            raise Refusal(500, "SoftLayer_Exception_Public", "The guest is %s already." % power.lower())
        row["power"] = power
        if self.guests:
            getattr(self.guests, act)(number)
        return True

    def _Virtual_Guest_powerOn(self, number, query):
        return self._turn(number, "RUNNING", "start")

    def _Virtual_Guest_powerOff(self, number, query):
        self.hard.append("powerOff")
        return self._turn(number, "HALTED", "stop")

    def _Virtual_Guest_powerOffSoft(self, number, query):
        return True if self.deaf else self._turn(number, "HALTED", "stop")

    def _Virtual_Guest_rebootSoft(self, number, query):
        self._idle(number)
        if self.deaf:
            raise Refusal(500, "SoftLayer_Exception_Public", "Unable to reboot the guest softly.")
        if self.guests:
            self.guests.reboot(number)
        return True

    def _Virtual_Guest_rebootHard(self, number, query):
        self._idle(number)
        self.hard.append("rebootHard")
        return True

    # --- keys

    def _Account_getSshKeys(self, number, query):
        return list(self.keys.values())

    def _Security_Ssh_Key_createObject(self, number, query, spec):
        if spec["key"].split()[:2] in [row["key"].split()[:2] for row in self.keys.values()]:
            raise Refusal(500, "SoftLayer_Exception_Public", "SSH Key already exists.")
        row = dict(spec, id=next(self.numbers))
        self.keys[row["id"]] = row
        return row

    def _Security_Ssh_Key_deleteObject(self, number, query):
        self._of(self.keys, number)
        del self.keys[number]
        return True
