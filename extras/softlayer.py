# SPDX-License-Identifier: Apache-2.0
"""Virtual guests of SoftLayer, which IBM calls Cloud Classic, by its API over REST."""

import os

from docker_machine import (
    ERROR,
    PAUSED,
    RUNNING,
    STARTING,
    STOPPED,
    CloudDriver,
    Flag,
    Instance,
    MachineError,
    Rest,
    RestError,
    UsageError,
    host_name,
    json_text,
    out,
    wait_for,
)

GUEST, KEY = "/SoftLayer_Virtual_Guest", "/SoftLayer_Security_Ssh_Key"
ENDPOINT = "https://api.softlayer.com/rest/v3.1"
MASK = ("mask[id,hostname,domain,provisionDate,powerState[keyName],status[keyName],"
        "lastOperatingSystemReload[id],activeTransaction[id,transactionStatus[friendlyName]],"
        "primaryIpAddress,primaryBackendIpAddress,sshKeys[label],tagReferences[tag[name]]]")
GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
ACTIONS = {"start": "powerOn", "stop": "powerOffSoft", "kill": "powerOff", "restart": "rebootSoft"}
LOGINS = (("SL_USERNAME", "SL_API_KEY"), ("IAAS_CLASSIC_USERNAME", "IAAS_CLASSIC_API_KEY"))
FILES = ("~/.softlayer", "/etc/softlayer.conf")  # of IBM's slcli
LIST = "slcli vs create-options"
BUSY = "active transaction|outstanding transaction|RateLimit|rate limit"


def flag(name, default, help, field, env="", **more):
    """A flag whose variable has its name in capitals, or is `env`."""
    env = "SOFTLAYER_" + (env or name.upper().replace("-", "_"))
    return Flag("softlayer-" + name, default, help, env, field=field, **more)


class SoftLayerDriver(CloudDriver):
    """A virtual guest of SoftLayer."""

    name, provider, thing = "softlayer", "SoftLayer", "guest"
    creating = "Ordering the guest..."
    status_page = "https://cloud.ibm.com/status"
    id_field, key_id_field, user_data_field = "Id", "SSHKeyID", "UserDataFile"
    kinds = ("options",)
    login, login_field = "user and API key", "ApiKey"
    new_login = ("With an API key of IBM Cloud the user is the word apikey; one of SoftLayer's own "
                 "has the name of its user. The key may also be limited to other addresses. "
                 "Keys: https://cloud.ibm.com/iam/apikeys")
    scope_hint = "An administrator gives permissions: https://cloud.ibm.com/iam/users"
    cures = (("VLAN", "--softlayer-public-vlan-id and -private-vlan-id take ids, as slcli vlan "
              "list has them, not the numbers; both have to be in one pod."),
             ("vlan", "--softlayer-public-vlan-id and -private-vlan-id take ids, as slcli vlan "
              "list has them, not the numbers; both have to be in one pod."),
             ("for price", "That is not sold in this data center. List all: " + LIST))
    flags = (
        flag("user", "", "User, or apikey for a key of IBM Cloud", "", form=r"[^\s:]+"),
        flag("api-key", "", "API key", "ApiKey", secret=True, form=r"\s*[!-~]+\s*"),
        flag("api-endpoint", ENDPOINT, "URL of the API", "", form=r"(https?://[!-~]+)?"),
        flag("region", "dal10", "Data center", "Region", form="[a-z]{3}[0-9]{2}|",
             hint="List all: " + LIST),
        flag("image", "UBUNTU_24_64", "Code of the system, or GUID of an image of your own",
             "Image", form=r"\w+|" + GUID, hint="List all: " + LIST),
        flag("flavor", "", "Preset of CPUs, memory and disk, such as B1_1X2X25", "Flavor",
             form=r"\w+", hint="List all: " + LIST),
        flag("cpu", 1, "CPUs", "CPU"),
        flag("memory", 1024, "Memory in MB", "Memory", least=1),
        flag("disk-size", 0, "Size of the first disk in GB (default: the smallest)", "DiskSize",
             least=0),
        flag("local-disk", False, "A disk of the host itself instead of the SAN", "LocalDisk"),
        flag("network-max-speed", 100, "Speed of the network in Mbit/s", "NetworkMaxSpeed",
             least=1),
        flag("hostname", "", "Host name (default: the machine's)", "HostName",
             form="[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"),
        flag("domain", "", "Domain of the host", "Domain", form="([A-Za-z0-9-]+[.])*[A-Za-z0-9-]+"),
        flag("hourly-billing", True, "Bill by the hour; =false by the month", "HourlyBilling"),
        flag("private-net-only", False, "No public network", "PrivateNetOnly", "PRIVATE_NET"),
        flag("public-vlan-id", 0, "Id, not number, of the public VLAN", "PublicVLAN", least=0),
        flag("private-vlan-id", 0, "Id, not number, of the private VLAN", "PrivateVLAN", least=0),
        flag("userdata", "", "File of user data for the first boot", "UserDataFile", file=True),
    )
    fields = (("Id", 0), ("SSHKeyID", 0), ("Client", {}), ("PrivateIP", False))  # type: tuple
    boot_seconds, patience, provision_seconds = 600, 600, 2700

    def __init__(self, machine):
        super().__init__(machine)
        client = self.client()
        if client.get("ApiKey"):  # an entry of Docker Machine's, where nobody would mask it
            self["ApiKey"], client["ApiKey"] = client["ApiKey"], ""

    def client(self):
        """The stored object of Docker Machine's: User and Endpoint."""
        client = self["Client"]
        return client if isinstance(client, dict) else {}

    # --- the flags

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        self["ApiKey"] = self["ApiKey"].strip()
        self["Client"] = {"User": options["softlayer-user"], "ApiKey": "",
                          "Endpoint": options["softlayer-api-endpoint"].rstrip("/")}
        self["PrivateIP"] = self["PrivateNetOnly"] or wants_private()
        user, key = self.credentials()
        lacking = (("api-key", key), ("user", user), ("api-endpoint", self.client()["Endpoint"]),
                   ("domain", self["Domain"]), ("region", self["Region"]), ("cpu", self["CPU"] > 0))
        for name, value in lacking:
            if not value:
                raise UsageError("Missing required setting - --softlayer-" + name,
                                 "See: docker-machine create --driver softlayer --help")
        self._check_networks()

    def _check_networks(self):
        """Refuse VLANs that do not go together. Raises UsageError."""
        public, private = self["PublicVLAN"], self["PrivateVLAN"]
        if public and self["PrivateNetOnly"]:
            raise UsageError("Can not specify both --softlayer-private-net-only and "
                             "--softlayer-public-vlan-id")
        words = ("Missing required setting - --softlayer-%s-vlan-id (because "
                 "--softlayer-%s-vlan-id is specified)")
        if public and not private:
            raise UsageError(words % ("private", "public"))
        if private and not public and not self["PrivateNetOnly"]:
            raise UsageError(words % ("public", "private"))

    def credentials(self):
        """(user, key): the stored ones, or where IBM's own programs find theirs, which are not
        stored; "" for what is nowhere."""
        found = [(self.client().get("User") or "", self["ApiKey"])]
        found += [(os.environ.get(user, ""), os.environ.get(key, "")) for user, key in LOGINS]
        found += [pair for pair in [pair_of_files()] if not all(found[0])]
        pair = next(filter(all, found), found[0])
        out.secrets.update(key for _, key in [pair] if len(key) > 5)
        return pair

    # --- before the machine is made

    def look_up(self, kind):
        return self.ask("GET", GUEST + "/getCreateObjectOptions.json")

    def pre_create_check(self):
        super().pre_create_check()
        options = self.look_up("options")
        self._check("data center", self["Region"], choices(
            options, "datacenters", lambda row: row["datacenter"]["name"]))
        self._check_image(choices(options, "operatingSystems", lambda row: row[
            "operatingSystemReferenceCode"]))
        self._check_shape(options)
        self._check("network speed", self["NetworkMaxSpeed"], choices(
            options, "networkComponents", lambda row: row["networkComponents"][0]["maxSpeed"]))
        # The API's own check of all of it, which orders nothing.
        self.ask("POST", GUEST + "/generateOrderTemplate.json", parameters(self.guest([])),
                 repeat=True)

    def _check_image(self, codes):
        """See that the system is one of today's; UBUNTU_LATEST stands for UBUNTU_LATEST_64."""
        from re import fullmatch
        if fullmatch(GUID, self["Image"]):
            return
        if self["Image"] not in codes and self["Image"] + "_64" in codes:
            self["Image"] += "_64"
        self._check("system", self["Image"], codes)

    def _check_shape(self, options):
        if self["Flavor"]:
            self._check("flavor", self["Flavor"], choices(options, "flavors", lambda row: row[
                "supplementalCreateObjectOptions"]["flavorKeyName"]))
            return
        self._check("number of CPUs", self["CPU"], choices(options, "processors", lambda row: (
            None if "dedicatedAccountHostOnlyFlag" in row or "dedicatedHost" in row
            else row["startCpus"])))
        self._check("memory size", self["Memory"], choices(
            options, "memory", lambda row: row["maxMemory"]))
        if self["DiskSize"]:
            self._check("disk size", self["DiskSize"], choices(options, "blockDevices", self._disk))

    def _disk(self, row):
        """The size of a first disk of the kind that is wanted, or None."""
        first = row["blockDevices"][0]
        fits = first["device"] == "0" and bool(row.get("localDiskFlag")) == self["LocalDisk"]
        return first["diskImage"]["capacity"] if fits else None

    def _check(self, kind, value, known):
        """Refuse what is not on sale, with the nearest that is. Raises MachineError."""
        if value in known or not known:
            return
        if isinstance(value, int):
            near = sorted(known, key=lambda one: abs(one - value))[:3]
            raise MachineError("SoftLayer has no %s %d." % (kind, value), "Near it: %s. "
                               "List all: %s" % (", ".join(map(str, sorted(near))), LIST))
        raise self.unknown(kind, value, LIST, sorted(known))

    # --- the machine

    def order(self, keys):
        row = self.ask("POST", GUEST + "/createObject.json", parameters(self.guest(keys)))
        return Instance(row["id"], STARTING, (), [self["CreateTag"]])

    def guest(self, keys):
        """The guest as createObject takes it, with these ids of keys."""
        from re import fullmatch
        spec = {"hostname": self.hostname(), "domain": self["Domain"],
                "datacenter": {"name": self["Region"]},
                "hourlyBillingFlag": self["HourlyBilling"],
                "networkComponents": [{"maxSpeed": self["NetworkMaxSpeed"]}]}  # type: dict
        if self["Flavor"]:
            spec["supplementalCreateObjectOptions"] = {"flavorKeyName": self["Flavor"]}
        else:
            spec.update(startCpus=self["CPU"], maxMemory=self["Memory"],
                        localDiskFlag=self["LocalDisk"])
        if self["DiskSize"] and not self["Flavor"]:
            spec["blockDevices"] = [{"device": "0", "diskImage": {"capacity": self["DiskSize"]}}]
        if fullmatch(GUID, self["Image"]):
            spec["blockDeviceTemplateGroup"] = {"globalIdentifier": self["Image"]}
        else:
            spec["operatingSystemReferenceCode"] = self["Image"]
        if self["PrivateNetOnly"]:
            spec["privateNetworkOnlyFlag"] = True
        for wire, vlan in (("primaryNetworkComponent", self["PublicVLAN"]),
                           ("primaryBackendNetworkComponent", self["PrivateVLAN"])):
            if vlan:
                spec[wire] = {"networkVlan": {"id": vlan}}
        if keys:
            spec["sshKeys"] = [{"id": key} for key in keys]
            text = self.user_data()
            if text:
                spec["userData"] = [{"value": text}]
        return spec

    def hostname(self):
        from re import sub
        name = sub("[^A-Za-z0-9-]", "-", host_name(self.machine.name))[:63].strip("-")
        return self["HostName"] or name

    def row(self):
        """What SoftLayer tells of the guest, or None."""
        return self.ask("GET", self._path("getObject"), query={"objectMask": MASK}, none=404)

    def describe(self):
        row = self.row()
        return row and self._instance(row)

    def instances(self, tag=""):
        by_name = {"virtualGuests": {"hostname": {"operation": "_= " + self.hostname()}}}
        rows = self.ask("GET", "/SoftLayer_Account/getVirtualGuests.json", query={
            "objectMask": MASK, "objectFilter": json_text(by_name) if tag else ""})
        return [self._instance(row) for row in rows]

    def account(self):
        return self.credentials()[0], self.endpoint()

    def _instance(self, row):
        public = row.get("primaryIpAddress")
        private = row.get("primaryBackendIpAddress")
        if self["PrivateNetOnly"] or self["PrivateIP"] or wants_private():
            public, private = private, None
        addresses = [(True, public)] * bool(public) + [(False, private)] * bool(private)
        labels = [key.get("label") or "" for key in row.get("sshKeys") or ()]
        labels += [one["tag"]["name"] for one in row.get("tagReferences") or () if one.get("tag")]
        return Instance(row["id"], state_of(row), addresses, labels)

    def _await(self, verb, goal):
        if verb == "create":
            self._await_provisioning()
        super()._await(verb, goal)

    def _await_provisioning(self):
        """Wait until the guest has its system, telling of the steps. Raises MachineError."""
        steps = [""]
        gone = []  # type: list

        def is_there():
            row = self.row()
            if row is None:
                gone.append(1)
                return len(gone) > 5
            transaction = (row.get("activeTransaction") or {}).get("transactionStatus") or {}
            step = transaction.get("friendlyName") or ""
            if step and step != steps[-1]:
                steps.append(step)
                self.log("SoftLayer is at: %s..." % step)
            return state_of(row) != STARTING

        wait_for(is_there, self.provision_seconds, "SoftLayer did not provision the guest %d "
                 "within %d s." % (self["Id"], self.provision_seconds), 15, 1)

    def finish(self):
        """Mark the guest; its key, which carries the mark until now, goes."""
        tags = parameters("docker-machine, " + self["CreateTag"])
        self._if_allowed(lambda: self.ask("POST", self._path("setTags"), tags, repeat=True))

    def act(self, verb):
        action = ACTIONS[verb]
        try:
            self.ask("GET", self._path(action), repeat=verb != "restart")
        except RestError as error:
            if verb == "restart" and error.status == 400:
                self.ask("GET", self._path("rebootHard"), repeat=False)
            # A stop is asked for again; whether a reboot began is seen by the boot's id.
            elif verb not in ("stop", "restart") or not (error.status == 400 or error.unsure):
                raise

    def stop(self):
        try:
            super().stop()
        except RestError:
            raise
        except MachineError as error:
            out.warn("%s Its power is cut." % error.message)
            self.kill()

    # --- the removal

    def delete(self):
        if self.describe() is None:
            return
        self.ask("GET", self._path("deleteObject"), none=404)
        if wait_for(lambda: self.describe() is None, self.patience, "", 15, 1):
            return
        out.warn("SoftLayer took the cancellation of the guest %d, and still has it. One that is "
                 "billed by the month may stay until its end; see "
                 "https://cloud.ibm.com/gen1/infrastructure/devices" % self["Id"])

    # --- user data and keys

    def has_cloud_init(self):
        return self["Image"].startswith(("UBUNTU", "DEBIAN"))

    def needs_key(self):
        return True  # the order is found again by it, and other systems know no other way

    def keys(self):
        rows = self.ask("GET", "/SoftLayer_Account/getSshKeys.json",
                        query={"objectMask": "mask[id,label,key]"})
        return [(row["id"], row.get("label") or "", row.get("key") or "") for row in rows]

    def add_key(self, name, public):
        return self.ask("POST", KEY + "/createObject.json", parameters(
            {"key": public, "label": name}))["id"]

    def delete_key(self, key_id):
        self.ask("GET", "%s/%d/deleteObject.json" % (KEY, key_id), none=404)

    # --- the API

    def _path(self, method):
        return "%s/%d/%s.json" % (GUEST, self["Id"], method)

    def endpoint(self):
        return os.environ.get("SOFTLAYER_API_URL") or self.client().get("Endpoint") or ENDPOINT

    def headers(self):
        from base64 import b64encode
        pair = ":".join(self.credentials())
        return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}

    def rest(self):
        return Rest(self.provider, self.endpoint(), self.headers(), min(self.patience, 60),
                    self.patience, wait=is_busy)

    def explain(self, error, request="", scope=""):
        if "Insufficient" in error.reason:
            error.hint = ("The data center %s has no room for that just now: try later, another "
                          "--softlayer-region, or another --softlayer-flavor." % self["Region"])
        super().explain(error, request, scope)


# --- small helpers

def is_busy(error):
    """Whether nothing was done, and it is to be asked again. The API answers its refusals with a
    status of 500, too; they have a code."""
    from re import IGNORECASE, search
    refusal = error.reason.startswith("SoftLayer_Exception") and "internal" not in (
        error.reason + error.words).lower()
    if refusal and error.status >= 500:
        error.status, error.unsure, error.refused = 400, False, True
    if error.reason.endswith("ObjectNotFound"):
        error.status = 404
    return refusal and bool(search(BUSY, error.reason + " " + error.words, IGNORECASE))


def parameters(value):
    """The body of a call with one argument."""
    return {"parameters": [value]}


def choices(options, kind, value):
    """What value(template) gives for the rows of getCreateObjectOptions, without None."""
    found = [value(row["template"]) for row in options.get(kind) or () if row.get("template")]
    return [one for one in dict.fromkeys(found) if one is not None]


def state_of(row):
    """The state of a guest; one that was never provisioned, or gets its system, is starting."""
    transaction = (row.get("activeTransaction") or {}).get("id")
    reload_ = (row.get("lastOperatingSystemReload") or {}).get("id")
    power = (row.get("powerState") or {}).get("keyName")
    if not row.get("provisionDate") or transaction and transaction == reload_:
        return STARTING
    if (row.get("status") or {}).get("keyName") == "DISCONNECTED":
        return ERROR
    return {"RUNNING": RUNNING, "HALTED": STOPPED, "PAUSED": PAUSED}.get(power or "", ERROR)


def wants_private():
    """Docker Machine's own switch for private addresses."""
    return os.environ.get("SOFTLAYER_DOCKER_ON_PRIVATE_IP", "").lower() in ("true", "1")


def pair_of_files():
    """(user, key) of the configuration of IBM's slcli; "" for what is not there."""
    from configparser import Error, RawConfigParser
    parser = RawConfigParser()
    try:
        parser.read([os.path.expanduser(path) for path in reversed(FILES)])
    except (Error, UnicodeError) as error:
        out.debug(str(error))
        return "", ""
    section = parser["softlayer"] if parser.has_section("softlayer") else {}
    return section.get("username", ""), section.get("api_key", "")
