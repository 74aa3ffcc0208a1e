"""AWS for the tests: moto's server, and in front of it a proxy that does what moto cannot.

moto keeps the state of an account. The proxy counts the requests and does, on command or always, what moto does not:
client tokens, throttling, no capacity, quotas, things that are not found for the first requests, answers that get lost
after the act, spot instances that cannot be stopped, security groups that cannot be deleted while they are in use.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

from standin import Mishap, StandIn

KEY, SECRET = "AKIAEXAMPLEEXAMPLE00", "not-a-secret-of-anybody"
UBUNTU = {"x86_64": "ami-00000000000000064", "arm64": "ami-000000000000000a4"}
OLD_UBUNTU, AMAZON, WINDOWS, FLATCAR = ["ami-0000000000000000%d" % number for number in (1, 2, 3, 4)]
PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/%s/hvm/ebs-gp3/ami-id"
UBUNTU_NAME = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-%s-server-%s"
CHECKS = ("MOTO_ENABLE_AMI_VALIDATION", "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "MOTO_ENABLE_KEYPAIR_VALIDATION")
BUSY = 120  # seconds that moto's start takes at most, on the busiest computer
ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>0</RequestID></Response>"""
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"  # as moto has it
EMPTY = """<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>0</requestId>
<reservationSet/></DescribeInstancesResponse>"""


def image(number, name, arch="x86_64", owner="099720109477", root="/dev/sda1", platform=None, date="2026-10-01"):
    return {"ami_id": number, "name": name, "description": name, "owner_id": owner, "public": True,
            "virtualization_type": "hvm", "architecture": arch, "state": "available", "platform": platform,
            "image_type": "machine", "hypervisor": "xen", "root_device_name": root, "root_device_type": "ebs",
            "sriov": "simple", "creation_date": date + "T00:00:00.000Z"}


IMAGES = [
    image(UBUNTU["x86_64"], UBUNTU_NAME % ("amd64", "20261001")),
    image(UBUNTU["arm64"], UBUNTU_NAME % ("arm64", "20261001"), "arm64"),
    image(OLD_UBUNTU, UBUNTU_NAME % ("amd64", "20240423"), date="2024-04-23"),
    image(AMAZON, "al2023-ami-2023.9", owner="137112412989", root="/dev/xvda"),
    image(WINDOWS, "Windows_Server-2025", owner="801119661308", platform="windows"),
    image(FLATCAR, "Flatcar-stable-4152.2.0-hvm", owner="075585003325", root="/dev/xvda"),
]


# moto gives public addresses of somebody's; ours are of this computer, where nobody listens.
SERVER = """import itertools, sys
from moto.ec2.models import elastic_network_interfaces
from moto.server import main
numbers = itertools.count(10)
elastic_network_interfaces.random_public_ip = lambda: "127.10.%d.%d" % divmod(next(numbers), 250)
main(sys.argv[1:])"""


class Moto:
    """moto's server as a process, with its checks on and IMAGES alone, which makes a reset fast."""

    def __init__(self, folder):
        self.lock = threading.Lock()
        (folder / "images.json").write_text(json.dumps(IMAGES), encoding="utf-8")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
        env.update({name: "1" for name in CHECKS}, MOTO_AMIS_PATH=str(folder / "images.json"))
        log = folder / "moto.log"
        with open(str(log), "w") as file:
            self.process = subprocess.Popen([sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", "0"], stdout=file,
                                            stderr=file, env=env)
        deadline = time.monotonic() + BUSY
        while time.monotonic() < deadline:
            told = re.search(r"Running on http://127\.0\.0\.1:(\d+)", log.read_text())
            if told:
                self.port = int(told.group(1))
                return
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError("moto's server did not start within %d s: %s" % (BUSY, log.read_text()))

    def reset(self):
        self.ask(b"", path="/moto-api/reset")

    def ask(self, body, headers=(), path="/"):
        """(status, headers, body) of its answer. One request after the other: AWS never makes two groups of one name,
        moto's threads do."""
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.port, path), body, dict(headers),
                                         method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with self.lock, opener.open(request, timeout=BUSY) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def stop(self):
        self.process.terminate()
        self.process.wait()


class AWS(StandIn):
    """The proxy, which is the whole of AWS for the driver. Requests have the names of their actions: RunInstances.

    `guests`, if there are any (tests/integration/ec2.py): launch(), stop(), start(), reboot() and destroy() follow what
    was done with the instances, addresses() tells where they are.
    """

    shaken = [("fail", 503, "RequestLimitExceeded", "Request limit exceeded."),
              ("fail", 500, "InternalError", "An internal error has occurred"), ("drop",), ("lose",)]

    def __init__(self, moto):
        self.moto, self.token_lock = moto, threading.Lock()
        self.parameters = {}
        super().__init__()

    def clear(self):
        """An account in which nothing was ever done."""
        super().clear()
        self.tokens, self.launches, self.ipv6, self.reason = {}, [], "", ""

    # --- what a test sets

    def fail(self, action, code, times=1, status=400, words="It failed as told", fits=None):
        self.mishaps.append(Mishap("fail", action, times, status, code, words, fits=fits))

    def hide(self, times):
        """Let DescribeInstances see nothing."""
        self.mishaps.append(Mishap("hide", "DescribeInstances", times))

    def empty(self, action, times=1):
        """Answer with nothing."""
        self.mishaps.append(Mishap("empty", action, times))

    def garble(self, action, times=1):
        """Answer as something that is not AWS."""
        self.mishaps.append(Mishap("garbage", action, times))

    # --- what a test sees

    def of(self, action):
        """The parameters of all requests of an action."""
        return [values for name, values in self.calls if name == action]

    def changes(self):
        return [name for name in self.names() if not name.startswith(("Describe", "Get"))]

    # --- requests

    def handle(self, method, path, headers, body):
        target = headers.get("X-Amz-Target", "")
        if target:
            action, values = target.split(".")[1], json.loads(body.decode() or "{}")
        else:
            values = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
            action = values.get("Action", "")
        with self.lock:
            mishap, looks = self.take(action, values)
        for function in looks:
            function(values)
        if mishap and mishap.kind == "fail":
            return error_of(*mishap.error, is_json=bool(target))
        if mishap and mishap.kind == "hide":
            return 200, {"Content-Type": "text/xml"}, EMPTY.encode()
        if mishap and mishap.kind == "empty":
            return 200, {"Content-Type": "text/xml"}, ("<%sResponse/>" % action).encode()
        if mishap and mishap.kind == "garbage":
            return 404, {"Content-Type": "text/html"}, b"<!doctype html><p>Not found"
        if mishap and mishap.kind == "drop":
            return None
        answer = self._carry_out(action, values, headers, body)
        if self.guests and answer[0] == 200 and action.endswith("Instances"):
            self._tell_guests(action, values)
            answer = answer[0], answer[1], self._addressed(answer[2])
        return None if mishap and mishap.kind == "lose" else answer

    def _carry_out(self, action, values, headers, body):
        special = getattr(self, "_before_" + action, None)
        refused = special and special(values)
        if refused:
            return refused
        kept = {name: value for name, value in headers.items() if name.lower() in (
            "content-type", "x-amz-target", "authorization", "x-amz-date")}
        if "ClientToken" in values:
            return self._launch(values, kept, body)
        return self._answer(kept, body)

    def _answer(self, headers, body):
        status, answered, text = self.moto.ask(body, headers)
        if self.reason:
            told = "<stateReason><message>%s</message></stateReason>" % self.reason
            text = re.sub(rb"<stateReason>.*?</stateReason>", told.encode(), text, flags=re.S)
        if self.ipv6:  # which moto gives to no instance
            text = text.replace(b"<ipv6AddressesSet/>", b"<ipv6AddressesSet><item><ipv6Address>%s</ipv6Address></item>"
                                b"</ipv6AddressesSet>" % self.ipv6.encode())
        return status, {"Content-Type": answered.get("Content-Type", "text/xml")}, text

    def _launch(self, values, headers, body):
        """The same token gives the same instance; with other parameters it is refused."""
        token = values["ClientToken"]
        with self.token_lock:
            if token in self.tokens:
                there, answer = self.tokens[token]
                return answer if there == values else error_of(
                    400, "IdempotentParameterMismatch", "The same token, but other parameters")
            answer = self._answer(headers, body)
            if answer[0] == 200:
                self.tokens[token] = values, answer
                self.launches.append((re.findall(rb"<instanceId>(.*?)<", answer[2])[0].decode(), values))
        return answer

    def _before_StopInstances(self, values):
        spot = {number for number, order in self.launches if order.get("InstanceMarketOptions.MarketType") == "spot"}
        if values["InstanceId.1"] in spot:
            return error_of(400, "UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is "
                            "associated with a one-time Spot Instance request." % values["InstanceId.1"])
        return None

    def _before_TerminateInstances(self, values):
        """What is terminated may be terminated again, while it is still listed."""
        if self.states().get(values["InstanceId.1"]) == "terminated":
            return 200, {"Content-Type": "text/xml"}, EMPTY.replace("Describe", "Terminate").encode()
        return None

    def _before_DeleteSecurityGroup(self, values):
        """AWS keeps a group that a network interface is in."""
        gone = {number for number, state in self.states().items() if state == "terminated"}
        for number, order in self.launches:
            if number not in gone and values["GroupId"] in groups_of(order):
                return error_of(400, "DependencyViolation", "resource %s has a dependent object" % values["GroupId"])
        return None

    # --- the hosts

    def _tell_guests(self, action, values):
        number = values.get("InstanceId.1", "")
        if action == "RunInstances":
            number, order = self.launches[-1]
            names = {order[key]: order[key[:-3] + "Value"] for key in order if re.match("TagSpec.*Key$", key)}
            keys = self.client().describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
            lines = [key["PublicKey"].strip() for key in keys if key["KeyName"] == order.get("KeyName")]
            self.guests.launched(number, order["ImageId"], names["Name"], self.user_data(number), lines)
        elif action == "StopInstances":
            self.guests.stop(number, "Force" not in values)
        elif action == "StartInstances":
            self.guests.start(number)
        elif action == "RebootInstances":
            self.guests.reboot(number)
        elif action == "TerminateInstances":
            self.guests.destroy(number)

    def _addressed(self, text):
        """An answer with the addresses of the hosts in place of those that moto made up."""
        ElementTree.register_namespace("", NAMESPACE)
        root = ElementTree.fromstring(text.decode())
        for row in root.iter("{%s}item" % NAMESPACE):
            number = row.findtext("{%s}instanceId" % NAMESPACE)
            addresses = self.guests.addresses(number) if number else {}
            for node in row:
                if node.tag.rpartition("}")[2] in addresses and node.text:
                    node.text = addresses[node.tag.rpartition("}")[2]]
        return ElementTree.tostring(root)

    # --- the account, asked of moto itself

    def client(self, service="ec2", region="us-east-1"):
        import boto3
        return boto3.session.Session(KEY, SECRET).client(
            service, region, endpoint_url="http://127.0.0.1:%d" % self.moto.port)

    def instances(self, region="us-east-1"):
        groups = self.client(region=region).describe_instances()["Reservations"]
        return [one for group in groups for one in group["Instances"]]

    def states(self, region="us-east-1"):
        return {one["InstanceId"]: one["State"]["Name"] for one in self.instances(region)}

    def alive(self):
        return [one for one in self.instances() if one["State"]["Name"] not in ("terminated", "shutting-down")]

    def user_data(self, number):
        import base64
        answer = self.client().describe_instance_attribute(InstanceId=number, Attribute="userData")
        return base64.b64decode(answer["UserData"].get("Value", ""))

    def groups(self):
        """{name: row} of the security groups that are not there by nature."""
        rows = self.client().describe_security_groups()["SecurityGroups"]
        return {row["GroupName"]: row for row in rows if row["GroupName"] != "default"}

    def clean(self):
        """Whether the account holds nothing that the driver makes."""
        keys = self.client().describe_key_pairs()["KeyPairs"]
        return not self.alive() and not self.groups() and not keys

    def tell_ubuntu(self):
        """Have Canonical's parameters: moto lacks them, and lets nobody set one below /aws."""
        for arch, name in (("x86_64", "amd64"), ("arm64", "arm64")):
            self.parameters[PARAMETER % name] = UBUNTU[arch]

    def _before_GetParameter(self, values):
        value = self.parameters.get(values["Name"])
        if value is None:
            return None
        found = {"Parameter": {"Name": values["Name"], "Type": "String", "Value": value, "Version": 1}}
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(found).encode()


def groups_of(order):
    return [value for name, value in order.items() if re.match(r"NetworkInterface\.1\.SecurityGroupId\.", name)]


def error_of(status, code, words, *, is_json=False):
    if is_json:
        text = json.dumps({"__type": code, "message": words})
        return status, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": code}, text.encode()
    return status, {"Content-Type": "text/xml"}, (ERROR % (code, words)).encode()
