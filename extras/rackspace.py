# SPDX-License-Identifier: Apache-2.0
"""Servers of Rackspace's OpenStack Public Cloud, by the driver openstack beside this file."""

import os

from docker_machine import (
    Flag,
    MachineError,
    RestError,
    UsageError,
    load_extra,
    out,
    wait_for,
)

OPENSTACK = load_extra("openstack")
if OPENSTACK is None:
    raise ImportError("openstack.py is not beside it")
IDENTITY = "https://identity.api.rackspacecloud.com"
ENDPOINTS = ("publicURL", "adminURL", "internalURL")
NETWORKS = {"public": "00000000-0000-0000-0000-000000000000",
            "private": "11111111-1111-1111-1111-111111111111"}
MARKS = (  # of the automation that may change a server's address: key, done, failed
    ("rackconnect_automation_status", "DEPLOYED", "FAILED"),
    ("rax_service_level_automation", "Complete", "Build Error"))


def flag(name, default, help, field, env="", **more):
    """A flag whose variable has its name in capitals, after OS_."""
    env = env or "OS_" + name.upper().replace("-", "_")
    return Flag("rackspace-" + name, default, help, env, field=field, **more)


FLAGS = (
    flag("username", "", "User of the control panel", "Username"),
    flag("api-key", "", "API key of that user", "APIKey", secret=True, form=r"\s*[!-~]+\s*"),
    flag("region", "IAD", "Region: DFW, HKG, IAD, ORD, SYD or LON", "Region", "OS_REGION_NAME",
         form=r"[\w-]*"),
    flag("endpoint-type", "publicURL", "publicURL, adminURL or internalURL", "EndpointType",
         choices=ENDPOINTS),
    flag("image-id", "", "Image, by id or name (default: the newest Ubuntu LTS)", "ImageId"),
    flag("flavor-id", "general1-1", "Flavor, by id or name", "FlavorId"),
    flag("ssh-user", "root", "SSH user; another than root is made at the first boot", "SSHUser",
         form=r"[A-Za-z_][\w.-]*"),
    flag("ssh-port", 22, "SSH port that the image listens on", "SSHPort", port=True),
    Flag("rackspace-docker-install", "true", "Accepted; does nothing"),
    flag("active-timeout", 300, "Seconds that the server may take to become active",
         "ActiveTimeout", least=1),
    Flag("rackspace-net-id", "", "Networks by id, public or private, with commas between",
         field="NetworkId", form=r"[\w, -]+"),
    Flag("rackspace-user-data-file", "", "File of user data for the first boot",
         field="UserDataFile", file=True),
)


class RackspaceDriver(OPENSTACK.OpenStackDriver):  # type: ignore
    """A server of Rackspace's OpenStack Public Cloud."""

    name, provider = "rackspace", "Rackspace"
    status_page = "https://status.rackspace.com"
    login, new_login = "Rackspace login", (
        "Take user name and API key, not the password, of the control panel's account page.")
    scope_hint = "The user lacks a role: https://account.rackspace.com/users"
    kinds = ("flavor", "image", "limits")
    flags = FLAGS
    # What the driver openstack stores has its place here too, as in Docker Machine.
    fields = OPENSTACK.OpenStackDriver.fields + tuple(
        (one.field, 0 if one.field == "IpVersion" else one.default)
        for one in OPENSTACK.OpenStackDriver.flags
        if one.field not in [own.field for own in FLAGS])

    def checks(self):
        return ()

    # --- the flags

    def set_config_from_flags(self, options):
        super(OPENSTACK.OpenStackDriver, self).set_config_from_flags(options)
        for field, value, variables in (
                ("Username", "", ("RAX_USERNAME",)), ("APIKey", "", ("RAX_API_KEY",)),
                ("Region", "IAD", ("RAX_REGION",))):
            if self[field] == value:
                self[field] = next(filter(None, map(os.environ.get, variables)), value)
        self["APIKey"] = self["APIKey"].strip()
        self._refuse_lacking()
        if self["Region"][-1:].isdigit():
            out.warn("%s is a region of OpenStack Flex, which the driver openstack reaches: see "
                     "docs/drivers/rackspace.md" % self["Region"])
        self["ConfigDrive"] = True  # the only way that user data takes

    def _refuse_lacking(self):
        for field, word, variable, name in (
                ("Region", "Region", "OS_REGION_NAME", "region"),
                ("Username", "Username", "OS_USERNAME", "username"),
                ("APIKey", "API key", "OS_API_KEY", "api-key")):
            if not self[field]:
                raise UsageError(
                    "%s must be specified either using the environment variable %s or the CLI "
                    "option --rackspace-%s" % (word, variable, name))

    # --- the login

    def api_key(self):
        return self["APIKey"] or os.environ.get("OS_API_KEY") or os.environ.get("RAX_API_KEY", "")

    def identity_url(self):
        return (os.environ.get("RACKSPACE_API_URL") or IDENTITY).rstrip("/"), 2

    def v2_login(self):
        return {"RAX-KSKEY:apiKeyCredentials": {
            "username": self["Username"] or os.environ.get("OS_USERNAME", ""),
            "apiKey": self.api_key()}}

    def _refused(self, url, words):
        return "Rackspace refuses the login of %s: %s" % (self["Username"] or "nobody", words)

    def endpoint(self, kind):
        """The first generation's service has the same type, and no region."""
        self["Region"] = self["Region"].upper()
        return super().endpoint(kind)

    # --- the machine

    def _look_up_image(self):
        name = self["ImageId"]
        row = name and self.ask("GET", "/images/" + name, none=404)
        if row:
            return plain_image(row["image"])
        rows = self.ask("GET", "/images/detail", rows="images",
                        query={"type": "" if name else "BASE", "status": "ACTIVE"})
        if name:
            return plain_image(self._named("image", name, rows))
        fit = [row for row in rows if lts(row)]
        if not fit:
            raise MachineError("Rackspace has no image of an Ubuntu LTS here.",
                               "Name one: --rackspace-image-id")
        newest = max(fit, key=lambda row: (lts(row), row.get("created") or ""))
        self.log("The image is %s" % newest["name"])
        return plain_image(newest)

    def _look_up_networks(self):
        names = OPENSTACK.words_of(self["NetworkId"])
        return [{"id": NETWORKS.get(name, name), "name": name} for name in names]

    def needs_key(self):
        return True  # whether today's images all read user data is not known

    def _group_ids(self):
        return ()  # there are no groups of Nova's here

    def _addresses(self, row):
        """accessIPv4 is the one that RackConnect may change."""
        addresses = row.get("addresses") or {}
        public = [one["addr"] for one in addresses.get("public") or () if one.get("version") == 4]
        found = [row["accessIPv4"]] if row.get("accessIPv4") else public
        private = [one["addr"] for one in addresses.get("private") or ()]
        return [(True, address) for address in found] + [(False, one) for one in private]

    def finish(self):
        """Wait for the automation of accounts that have it, and take the address of then."""
        def row():
            return self.ask("GET", "/servers/" + self["MachineId"], key="server")

        for key, done, failed in MARKS:
            if key not in (row().get("metadata") or {}):
                continue
            self.log("Waiting for Rackspace's automation (%s)..." % key)
            wait_for(lambda key=key, ends=(done, failed): (
                row().get("metadata") or {}).get(key) in ends, self["ActiveTimeout"],
                "Rackspace's automation did not end (%s)." % key, 10, 1)
            if (row().get("metadata") or {}).get(key) == failed:
                out.warn("Rackspace's automation failed (%s)." % key)
        best = [address for _, address in self._addresses(row())]
        self["IPAddress"] = best[0] if best else self["IPAddress"]

    def act(self, verb):
        try:
            super().act(verb)
        except RestError as error:
            if verb in ("start", "stop", "kill") and error.status in (400, 404, 405, 501):
                raise MachineError("Rackspace does not currently support the %s operation" % (
                    verb.replace("kill", "stop")), error.words)
            raise

    def delete_tagged(self):
        """There is nothing else that carries the tag."""

    def explain(self, error, request="", scope=""):
        for pattern, hint in (
                ("image_backed", "This flavor has no disk: take general1-N."),
                ("isolated network", "Name the network of the account: --rackspace-net-id ID"),
                ("Can not find requested image", "It was retired: leave out --rackspace-image-id "
                 "for the newest.")):
            if OPENSTACK.has(pattern, error.words):
                error.hint = hint
        super().explain(error, request, scope)


def lts(row):
    """(year, month) of an image of an Ubuntu LTS; () of others."""
    from re import search
    found = search(r"Ubuntu (\d\d)\.(04) LTS.*\(PVHVM\)", row.get("name") or "")
    return tuple(map(int, found.groups())) if found else ()


def plain_image(row):
    """An image of Nova's list with the keys of Glance's."""
    return dict(row, min_disk=row.get("minDisk"), min_ram=row.get("minRam"))
