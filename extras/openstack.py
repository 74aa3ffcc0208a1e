# SPDX-License-Identifier: Apache-2.0
"""Servers of OpenStack, by the APIs of Keystone, Nova, Glance, Neutron and Cinder."""

import os

from docker_machine import (
    ERROR,
    PAUSED,
    RUNNING,
    SAVED,
    STARTING,
    STOPPED,
    CloudDriver,
    Finding,
    Flag,
    Instance,
    MachineError,
    PreCreateError,
    Rest,
    RestError,
    UsageError,
    out,
    parse_json,
    plain_words,
    read_text,
    wait_for,
)

MARK = "docker-machine"  # the key of the metadata that holds the tag of a creation
GROUP = "docker-machines"  # the security group for all machines of a project
OURS = "made by docker-machine, and removed with its last machine"  # that group's description
STATES = {
    "ACTIVE": RUNNING, "PASSWORD": RUNNING, "MIGRATING": RUNNING, "RESIZE": RUNNING,
    "VERIFY_RESIZE": RUNNING, "REVERT_RESIZE": RUNNING, "RESCUE": RUNNING, "BUILD": STARTING,
    "REBUILD": STARTING, "REBOOT": STARTING, "HARD_REBOOT": STARTING, "PAUSED": PAUSED,
    "SUSPENDED": SAVED, "SHELVED": SAVED, "SHELVED_OFFLOADED": SAVED, "SHUTOFF": STOPPED,
    "ERROR": ERROR, "UNKNOWN": ""}
GONE = ("DELETED", "SOFT_DELETED")
STARTS = {"PAUSED": "unpause", "SUSPENDED": "resume", "SHELVED": "unshelve",
          "SHELVED_OFFLOADED": "unshelve"}
SERVICES = {  # names of a service's type in the catalog, and the version that its URL ends in
    "compute": (("compute",), ""), "network": (("network",), "/v2.0"),
    "image": (("image",), "/v2"),
    "volume": (("block-storage", "volumev3", "block-store", "volumev2", "volume"), "")}
INTERFACES = ("publicURL", "adminURL", "internalURL", "public", "admin", "internal")
NO_CLOUD_INIT = "cirros|coreos|flatcar|ignition|talos"  # in an image's name or os_distro
ALIASES = (  # fields that further variables fill, as the files openrc.sh of today set them
    ("TenantId", "OS_PROJECT_ID"), ("TenantName", "OS_PROJECT_NAME"),
    ("TenantDomainId", "OS_PROJECT_DOMAIN_ID"), ("TenantDomainName", "OS_PROJECT_DOMAIN_NAME"),
    ("EndpointType", "OS_INTERFACE"), ("Token", "OS_AUTH_TOKEN"),
    ("DomainID", "OS_DEFAULT_DOMAIN"))
CLOUD_KEYS = (  # keys of clouds.yaml, and the fields that they stand for
    ("auth_url", "AuthUrl"), ("username", "Username"), ("user_id", "UserId"),
    ("password", "Password"), ("project_id", "TenantId"), ("project_name", "TenantName"),
    ("tenant_id", "TenantId"), ("tenant_name", "TenantName"), ("domain_id", "DomainID"),
    ("domain_name", "DomainName"), ("user_domain_id", "UserDomainId"),
    ("user_domain_name", "UserDomainName"), ("project_domain_id", "TenantDomainId"),
    ("project_domain_name", "TenantDomainName"), ("token", "Token"),
    ("application_credential_id", "ApplicationCredentialId"),
    ("application_credential_name", "ApplicationCredentialName"),
    ("application_credential_secret", "ApplicationCredentialSecret"),
    ("region_name", "Region"), ("interface", "EndpointType"), ("endpoint_type", "EndpointType"),
    ("cacert", "CaCert"), ("cert", "Cert"), ("key", "Key"))
SECRETS = ("Password", "Token", "ApplicationCredentialSecret")
LOGIN_FIELDS = frozenset(field for _, field in CLOUD_KEYS) | {"Insecure"}
CURES = (  # what a refusal says, and what to do about it
    ("Quota exceeded|exceeds allowed|Maximum number of ports|OverQuota",
     "A quota of the project is used up: take less, remove something, or ask the operator. "
     "See: openstack limits show --absolute"),
    ("zero disk", "Add --openstack-boot-from-volume --openstack-volume-size 20"),
    ("interface on external network",
     "Name an inner network by --openstack-net-name, and the outer one by "
     "--openstack-floatingip-pool."),
    ("Multiple possible networks", "Name one: --openstack-net-name\n"
     "List all: openstack network list"),
    ("requires a subnet", "Take another network: openstack network list"),
    ("not reachable from subnet", "No router joins the network and the pool. "
     "List all: openstack router list"),
    ("too small for requested image", "Take a larger flavor, or --openstack-boot-from-volume."),
    ("availability zone", "List all: openstack availability zone list"),
    ("No valid host|Exceeded maximum number of retries",
     "There is no room for this flavor or zone just now. Try later, or another one."),
    ("IpAddressGenerationFailure|No more IP|Unable to find any IP",
     "The pool has no free address; release one, or ask the operator."),
)


def flag(name, default, help, field, env="", **more):
    """A flag whose variable has its name in capitals, after OS_."""
    env = env or "OS_" + name.upper().replace("-", "_")
    return Flag("openstack-" + name, default, help, env, field=field, **more)


class OpenStackDriver(CloudDriver):
    """A server of any OpenStack."""

    name, provider, thing = "openstack", "OpenStack", "server"
    creating = "Creating machine..."
    id_field, key_id_field, key_file_field = "MachineId", "KeyPairName", "PrivateKeyFile"
    user_data_field, key_list = "UserDataFile", "openstack keypair list"
    login, new_login = "OpenStack login", "Check user, password, domain and project."
    scope_hint = ("Ask for the role member in the project; docs/drivers/openstack.md lists the "
                  "calls.")
    kinds = ("flavor", "image", "networks", "pool", "server_group", "groups", "volume", "limits")
    most_user_data = 65535 // 4 * 3  # Nova counts base64
    flags = (
        flag("cloud", "", "Cloud of clouds.yaml to log in to; its values beat variables", "Cloud"),
        flag("auth-url", "", "URL of the identity service", "AuthUrl", form=r"https?://\S+"),
        flag("insecure", False, "Do not verify certificates", "Insecure"),
        flag("cacert", "", "File of CAs to trust too", "CaCert", file=True),
        flag("cert", "", "Client certificate", "Cert", file=True),
        flag("key", "", "Its private key", "Key", file=True),
        flag("domain-id", "", "Domain of user and project, by id", "DomainID"),
        flag("domain-name", "", "The same by name", "DomainName"),
        flag("user-id", "", "User, by id", "UserId"),
        flag("username", "", "User, by name", "Username"),
        flag("password", "", "Password", "Password", secret=True),
        flag("token", "", "Token to log in with", "Token", secret=True, form=r"[!-~]+"),
        flag("user-domain-id", "", "Domain of the user alone, by id", "UserDomainId"),
        flag("user-domain-name", "", "The same by name", "UserDomainName"),
        flag("tenant-name", "", "Project, by name", "TenantName"),
        flag("tenant-id", "", "Project, by id", "TenantId"),
        flag("tenant-domain-id", "", "Domain of the project alone, by id", "TenantDomainId"),
        flag("tenant-domain-name", "", "The same by name", "TenantDomainName"),
        flag("application-credential-id", "", "Application credential, by id",
             "ApplicationCredentialId"),
        flag("application-credential-name", "", "The same by name, with the user",
             "ApplicationCredentialName"),
        flag("application-credential-secret", "", "Its secret", "ApplicationCredentialSecret",
             secret=True),
        flag("region", "", "Region", "Region", "OS_REGION_NAME"),
        flag("availability-zone", "", "Availability zone, also zone:host", "AvailabilityZone"),
        flag("endpoint-type", "", "publicURL, adminURL or internalURL", "EndpointType",
             choices=INTERFACES),
        flag("flavor-id", "", "Flavor, by id", "FlavorId"),
        flag("flavor-name", "", "Flavor, by name", "FlavorName"),
        flag("image-id", "", "Image, by id", "ImageId"),
        flag("image-name", "", "Image, by name (the newest one)", "ImageName"),
        flag("keypair-name", "", "Key pair of yours to log in with", "KeyPairName",
             form=r"(?!-)[^\x00-\x1f/]+"),
        flag("private-key-file", "", "SSH private key (default: one is made)", "PrivateKeyFile",
             file=True),
        flag("net-id", "", "Networks by id, with commas between; the first has the address",
             "NetworkId", "OS_NETWORK_ID", form=r"[\w, -]+"),
        flag("net-name", "", "The same by name", "NetworkName", "OS_NETWORK_NAME"),
        flag("user-data-file", "", "File of user data for the first boot", "UserDataFile",
             file=True),
        flag("sec-groups", "", "Security groups, with commas between (default: the project's "
             "default, and ours if that is closed)", "SecGroups", "OS_SECURITY_GROUPS"),
        flag("nova-network", False, "Accepted; Neutron is asked all the same", "ComputeNetwork"),
        flag("floatingip-pool", "", "Outer network to take a floating IP from", "FloatingIpPool"),
        flag("ip-version", 4, "Version of the address: 4 or 6", "IpVersion", least=4, most=6),
        flag("ssh-user", "root", "SSH user; another than root is made at the first boot",
             "SSHUser", form=r"[A-Za-z_][\w.-]*"),
        flag("ssh-port", 22, "SSH port that the image listens on", "SSHPort", port=True),
        flag("active-timeout", 200, "Seconds that the server may take to become active",
             "ActiveTimeout", least=1),
        flag("config-drive", False, "Give it a config drive", "ConfigDrive"),
        flag("metadata", "", "Metadata: key1,value1,key2,value2", "Metadata"),
        flag("server-group-id", "", "Server group, by id", "ServerGroupId"),
        flag("server-group-name", "", "Server group, by name", "ServerGroupName"),
        Flag("openstack-boot-from-volume", False, "Boot from a new volume made from the image, or "
             "from the volume that is named", field="BootFromVolume"),
        Flag("openstack-volume-size", 0, "Size in GB of the new volume: to boot from, or for data",
             field="VolumeSize", least=0),
        Flag("openstack-volume-type", "", "Its type", field="VolumeType"),
        Flag("openstack-volume-id", "", "Volume of yours, by id", field="VolumeId"),
        Flag("openstack-volume-name", "", "Volume of yours, by name, or name of the new one",
             field="VolumeName"),
        Flag("openstack-volume-device-path", "", "Device of the data volume, such as /dev/vdb",
             field="VolumeDevicePath", form="/dev/[a-z]+"),
    )
    fields = (("MachineId", ""), ("ExistingKey", False), ("SecurityGroups", []),
              ("FloatingIpPoolId", ""), ("FloatingIpId", ""), ("FloatingIpMade", False),
              ("OwnVolumeId", ""))  # type: tuple
    token, project, rows, fault, since = "", "", None, "", 0.0

    def __init__(self, machine):
        from functools import lru_cache
        from threading import RLock
        super().__init__(machine)
        self.lock = RLock()  # one login for all threads
        self.told = set()  # type: set  # servers that are asked by plain http
        self.revisions = {}  # type: dict  # of floating IPs, which must be as we saw them
        for name in ("service", "cloud"):
            setattr(self, name, lru_cache(None)(getattr(self, name)))

    def checks(self):
        try:
            self.need("yaml", "PyYAML")
            words = "PyYAML is here, so clouds.yaml can be read"
        except MachineError:
            words = "no PyYAML here, which only clouds.yaml needs"
        return [Finding("ok", self.name, words)]

    # --- the flags

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        if self["Cloud"]:
            self._prefer_cloud()
        else:
            self._take_aliases()
        self["ExistingKey"] = bool(self["KeyPairName"])
        self["SecurityGroups"] = words_of(self["SecGroups"])
        self._check_login()
        self._check_values()
        if self["ComputeNetwork"]:
            out.warn("--openstack-nova-network does nothing here: Neutron is asked.")

    def _take_aliases(self):
        for field, variable in ALIASES:
            if field == "DomainID" and (self["DomainName"] or self["UserDomainName"]):
                continue
            self[field] = self[field] or os.environ.get(variable, "")
        if self["EndpointType"] not in ("",) + INTERFACES:
            raise UsageError("OS_INTERFACE is none of: %s." % ", ".join(INTERFACES))

    def _prefer_cloud(self):
        """Leave out what variables say about the login, since a cloud is named. Those are often
        left over from another one."""
        left = []
        for one in self.flags:
            value = self.config.get(one.field)
            if one.field in LOGIN_FIELDS and value and str(value) == os.environ.get(one.env):
                self[one.field] = one.default
                left.append(one.env)
        if left:
            out.warn("The cloud %s is named, so these variables are not used: %s." % (
                self["Cloud"], ", ".join(left)))

    def _check_login(self):
        """Refuse flags with which nobody can log in. Raises UsageError."""
        if self["Cloud"]:
            return
        if not self["AuthUrl"]:
            raise lacking("Authentication URL", "OS_AUTH_URL", "--openstack-auth-url")
        if self["Token"] or self.application_credential():
            return
        if not (self["Username"] or self["UserId"]):
            raise lacking("Username", "OS_USERNAME", "--openstack-username")
        if not self["Password"]:
            raise lacking("Password", "OS_PASSWORD", "--openstack-password")

    def application_credential(self):
        return self["ApplicationCredentialId"] or self["ApplicationCredentialName"]

    def _check_values(self):
        """Refuse what the form of a value alone does not tell. Raises UsageError."""
        booted = self["BootFromVolume"] and (self["VolumeId"] or not self["VolumeSize"])
        for kind, needed in (("Flavor", True), ("Image", not booted), ("Network", False)):
            name, number = self[kind + "Name"], self[kind + "Id"]
            word = kind.lower().replace("network", "net")
            if name and number:
                raise UsageError("Either --openstack-%s-name or --openstack-%s-id must be "
                                 "specified, not both" % (word, word))
            if needed and not (name or number):
                raise UsageError(
                    "%s name or %s id must be specified using the CLI option "
                    "--openstack-%s-name or --openstack-%s-id" % (kind, kind, word, word),
                    "List all: openstack %s list" % word)
        if self["IpVersion"] == 5:
            raise UsageError("--openstack-ip-version 5 is neither 4 nor 6.")
        if booted and not (self["VolumeId"] or self["VolumeName"]):
            raise UsageError("--openstack-boot-from-volume takes a --openstack-volume-size, or a "
                             "volume of yours by --openstack-volume-id.")
        if len(self["Metadata"].split(",")) % 2 and self["Metadata"]:
            out.warn("Metadata are not key value in pairs. %d elements found" % len(
                self["Metadata"].split(",")))

    def metadata(self):
        """The user's metadata, and ours."""
        words = self["Metadata"].split(",")
        return dict(zip(words[::2], words[1::2]), **{MARK: self["CreateTag"]})

    # --- before the machine is made

    def pre_create_check(self):
        self.catalog()
        super().pre_create_check()
        self._check_fit()
        self._check_limits()

    def _check_fit(self):
        """Refuse an image that is too large for the flavor. Raises MachineError."""
        image, flavor = self.look_up("image"), self.look_up("flavor")
        if not image:
            return
        disk = self["VolumeSize"] if self["BootFromVolume"] else flavor.get("disk") or 0
        short = disk and (image.get("min_disk") or 0) > disk
        if short or (image.get("min_ram") or 0) > (flavor.get("ram") or 0):
            raise MachineError('The image "%s" needs %d MB of memory and a disk of %d GB; the '
                               'flavor "%s" has %d MB and %d GB.' % (
                                   image.get("name"), image.get("min_ram") or 0,
                                   image.get("min_disk") or 0, flavor.get("name"),
                                   flavor.get("ram") or 0, disk), "Take a larger flavor.")

    def _check_limits(self):
        """Refuse what the quota of the project has no room for. Raises MachineError."""
        limits, flavor = self.look_up("limits") or {}, self.look_up("flavor")
        for most, used, more, what in (
                ("maxTotalInstances", "totalInstancesUsed", 1, "servers"),
                ("maxTotalCores", "totalCoresUsed", flavor.get("vcpus") or 0, "cores"),
                ("maxTotalRAMSize", "totalRAMUsed", flavor.get("ram") or 0, "MB of memory")):
            limit, taken = limits.get(most, -1), limits.get(used, 0)
            if 0 <= limit < taken + more:
                raise MachineError("The project may have %d %s, and has %d already; this machine "
                                   "takes %d." % (limit, what, taken, more), CURES[0][1])

    def look_up(self, kind):
        return getattr(self, "_look_up_" + kind)()

    def _look_up_flavor(self):
        if self["FlavorId"]:
            row = self.ask("GET", "/flavors/" + self["FlavorId"], none=404)
            if row:
                return row["flavor"]
        return self._named("flavor", self["FlavorId"] or self["FlavorName"],
                           self.ask("GET", "/flavors/detail", rows="flavors"))

    def _look_up_image(self):
        if self["ImageId"]:
            row = self.ask("GET", "/images/" + self["ImageId"], service="image", none=404)
            if row:
                return row
        if not (self["ImageId"] or self["ImageName"]):
            return None  # it boots from a volume of the user's
        if self["ImageName"]:
            rows = self.ask("GET", "/images", service="image", rows="images", query={
                "name": self["ImageName"], "status": "active", "sort": "created_at:desc"})
            if rows:
                return rows[0]
        rows = self.ask("GET", "/images", service="image", rows="images")
        return self._named("image", self["ImageId"] or self["ImageName"], rows)

    def _look_up_networks(self):
        """The rows of the networks that the flags name, in their order."""
        names = words_of(self["NetworkId"] or self["NetworkName"])
        if not names:
            return []
        rows = self.ask("GET", "/networks", service="network", rows="networks")
        return [self._named("network", name, rows) for name in names]

    def _look_up_pool(self):
        name = self["FloatingIpPool"]
        if not name:
            return None
        rows = self.ask("GET", "/networks", service="network", rows="networks",
                        query={"router:external": "true"})
        return self._named("network", name, rows)

    def _look_up_server_group(self):
        name = self["ServerGroupId"] or self["ServerGroupName"]
        if not name:
            return None
        rows = self.ask("GET", "/os-server-groups", key="server_groups")
        return self._named("server group", name, rows)

    def _look_up_groups(self):
        """The rows of the security groups: the user's, or the project's default."""
        rows = self.groups()
        if not self["SecurityGroups"]:
            return [row for row in rows if row["name"] == "default"]
        found = [self._named("security group", name, rows) for name in self["SecurityGroups"]]
        closed = self._closed(found)
        if closed:
            out.warn("No rule of the security groups %s lets port %s in." % (
                ", ".join(self["SecurityGroups"]),
                " or ".join(str(port) for _, port in closed)))
        return found

    def _look_up_volume(self):
        name = self["VolumeId"] or (not self["VolumeSize"] and self["VolumeName"])
        if not name:
            return None
        rows = self.ask("GET", "/volumes/detail", service="volume", rows="volumes")
        row = self._named("volume", name, rows)
        if row.get("status") not in ("available", "in-use"):
            raise MachineError("The volume %s is %s." % (name, plain_words(row.get("status"))),
                               "List all: openstack volume list")
        return row

    def _look_up_limits(self):
        answer = self.ask("GET", "/limits", none=404) or {}
        return (answer.get("limits") or {}).get("absolute")

    def _named(self, kind, name, rows):
        """The row of that id or name. Raises MachineError with the nearest names."""
        for key in ("id", "name"):
            found = [row for row in rows if row.get(key) == name]
            if len(found) > 1 and kind != "image":
                raise MachineError('There are %d %ss named "%s".' % (len(found), kind, name),
                                   "Give the id of one: openstack %s list" % kind)
            if found:
                return found[0]
        error = self.unknown(kind, name, "openstack %s list" % kind,
                             sorted(row.get("name") or "" for row in rows))
        error.message = "Unable to find %s named %s" % (kind, name)
        raise error

    # --- the machine

    def order(self, keys):
        from time import monotonic
        self.since = monotonic()
        body = {"server": self._server(keys)}
        group = self.look_up("server_group")
        if group:
            body["os:scheduler_hints"] = {"group": group["id"]}
        try:
            answer = self.ask("POST", "/servers", body, key="server")
        except RestError as error:
            if self["SecurityGroups"] or not has("security group .* not found", error.words):
                raise
            body["server"] = self._server(keys)  # ours went with another machine meanwhile
            answer = self.ask("POST", "/servers", body, key="server")
        return Instance(answer["id"], STARTING, (), [self["CreateTag"]])

    def _server(self, keys):
        """The server as Nova takes it."""
        from base64 import b64encode
        image, user_data = self.look_up("image"), self.user_data()
        networks = [{"uuid": row["id"]} for row in self.look_up("networks")]
        server = given({
            "flavorRef": self.look_up("flavor")["id"], "metadata": self.metadata(),
            "user_data": b64encode(user_data.encode()).decode(), "networks": networks,
            "security_groups": [{"name": number} for number in self._group_ids()],
            "availability_zone": self["AvailabilityZone"], "config_drive": self["ConfigDrive"],
            "key_name": keys[0] if keys else "", "block_device_mapping_v2": self._boot_volume()})
        server["name"] = self.machine.name
        server["imageRef"] = "" if self["BootFromVolume"] else image["id"]
        if self.takes_volume_type():
            server.setdefault("networks", "auto")  # required from 2.37 on
        return server

    def takes_volume_type(self):
        """Whether the order needs the microversion that knows types of volumes."""
        return self["BootFromVolume"] and self["VolumeType"] and not self.look_up("volume")

    def _boot_volume(self):
        if not self["BootFromVolume"]:
            return []
        theirs = self.look_up("volume")
        if theirs:
            return [{"boot_index": 0, "uuid": theirs["id"], "source_type": "volume",
                     "destination_type": "volume", "delete_on_termination": False}]
        return [given({"boot_index": "0", "uuid": self.look_up("image")["id"],
                       "source_type": "image", "destination_type": "volume",
                       "volume_size": self["VolumeSize"], "volume_type": self["VolumeType"],
                       "delete_on_termination": True})]

    def describe(self):
        row = self.ask("GET", "/servers/" + self["MachineId"], none=404)
        if row is None or row["server"].get("status") in GONE:
            return None
        return self._instance(row["server"])

    def instances(self, tag=""):
        query = {"name": "^%s$" % self.machine.name.replace(".", r"\.")} if tag else {}
        rows = self.ask("GET", "/servers/detail", rows="servers", query=query)
        return [self._instance(row) for row in rows if row.get("status") not in GONE]

    def account(self):
        return tuple(self.get(field) for field in sorted(LOGIN_FIELDS | {"Cloud"}))

    def _instance(self, row):
        self.fault = plain_words((row.get("fault") or {}).get("message") or "")
        tags = [str((row.get("metadata") or {}).get(MARK, ""))]
        return Instance(row["id"], STATES.get(row.get("status"), STARTING), self._addresses(row),
                        tags)

    def _addresses(self, row):
        """(wanted, address) of the address that we use, of the first network first."""
        old = not self["CreateTag"]  # an entry of Docker Machine
        floating = bool(self["FloatingIpPool"] and (self["FloatingIpId"] or old))
        networks, first = row.get("addresses") or {}, words_of(self["NetworkName"])
        names = [name for name in first if name in networks]
        names += sorted(set(networks) - set(names))
        found = []
        for one in [one for name in names for one in networks[name]]:
            kind = one.get("OS-EXT-IPS:type") or "fixed"
            if (one.get("version") or 4) == (self["IpVersion"] or 4):
                found.append(((kind == "floating") == floating, one["addr"]))
        return found

    def progress(self, verb, instance):
        from time import monotonic
        if verb == "create" and instance.state == ERROR:
            return self._give_up("The server failed at OpenStack: %s" % (
                self.fault or "no word of explanation"))
        if verb == "create" and monotonic() > (self.since or monotonic()) + self["ActiveTimeout"]:
            raise MachineError("The server did not become active within %d s." % (
                self["ActiveTimeout"]), "Wait longer: docker-machine provision %s\nor end it: "
                "docker-machine rm %s" % (self.machine.name, self.machine.name))
        if verb != "restart":
            self.log("The server is not there yet (%s)..." % (instance.state or "unknown"))
        return True

    def _give_up(self, words):
        """Remove all that was made. Raises PreCreateError."""
        self.remove()
        hints = [cure for pattern, cure in CURES if has(pattern, words)]
        raise PreCreateError(words + " (it was removed)", "\n".join(hints[:1]))

    def finish(self):
        try:
            self._attach_volume()
            if self["FloatingIpPool"]:
                self["IPAddress"] = self._floating_ip()
                self.log("The floating IP is %s" % self["IPAddress"])
        except RestError as error:
            if not error.refused:
                raise
            self.remove()
            raise PreCreateError(error.message, error.hint)

    def act(self, verb):
        path = "/servers/%s/action" % self["MachineId"]
        if verb == "stop":  # 409: it is off, or being stopped
            self.ask("POST", path, {"os-stop": None}, none=409, repeat=True)
            return
        row = (self.ask("GET", "/servers/" + self["MachineId"], none=404) or {}).get("server") or {}
        word, value = {"kill": "os-stop", "start": STARTS.get(row.get("status") or "", "os-start"),
                       "restart": "reboot"}[verb], None
        if verb == "restart":
            value = {"type": "SOFT" if row.get("status") == "ACTIVE" else "HARD"}
        self.ask("POST", path, {word: value}, repeat=verb != "restart")

    # --- the removal

    def delete(self):
        self._release()
        self.ask("DELETE", "/servers/" + self["MachineId"], none=404)
        wait_for(lambda: self.describe() is None, 300, "The server %s is not gone within 300 s." % (
            self["MachineId"]), 5, 0.5)

    def delete_tagged(self):
        self._release()
        self._delete_volume()
        if not self["SecurityGroups"]:
            self._delete_group()

    # --- floating IPs

    def _ports(self):
        """The rows of the server's ports that have an IPv4 address."""
        rows = self.ask("GET", "/ports", service="network", rows="ports",
                        query={"device_id": self["MachineId"]})
        return [row for row in rows if any(
            ":" not in one.get("ip_address", ":") for one in row.get("fixed_ips") or ())]

    def _port(self):
        """The id of the server's port that has the address, of the first network first."""
        fit = wait_for(self._ports, 60, "", 5, 0.5)
        if not fit:
            raise MachineError("The server has no port with an IPv4 address for a floating IP.",
                               "See: openstack port list --server " + self["MachineId"])
        order = [row["id"] for row in self.look_up("networks")]
        return min(fit, key=lambda port: (
            order.index(port["network_id"]) if port["network_id"] in order else len(order),
            port["id"]))["id"]

    def _floating_ips(self, **query):
        return self.ask("GET", "/floatingips", service="network", rows="floatingips", query=query)

    def _floating_ip(self):
        """The address of the floating IP of our port: one of our own, or a free one of the project
        where the pool or the quota gives no other."""
        pool, port = self.look_up("pool"), self._port()
        self["FloatingIpPoolId"] = pool["id"]
        there = self._floating_ips(port_id=port)
        if there:
            return self._keep_floating_ip(there[0])
        body = {"floatingip": {"floating_network_id": pool["id"], "port_id": port,
                               "description": self["CreateTag"]}}
        try:
            row = self._made_once(
                lambda: self.ask("POST", "/floatingips", body, service="network",
                                 key="floatingip"),
                lambda: next(iter(self._floating_ips(port_id=port)), None))
        except RestError as error:
            row = error.status in (400, 409) and self._take_free(pool, port)
            if not row:
                raise
        return self._keep_floating_ip(row)

    def _keep_floating_ip(self, row):
        self["FloatingIpId"] = row["id"]
        self["FloatingIpMade"] = row.get("description") == self["CreateTag"]
        self.machine.save()
        return row["floating_ip_address"]

    def _take_free(self, pool, port):
        """A floating IP of the project that nobody uses; None without. Neutron moves an address
        without a complaint, so each is taken only at the revision that we saw. An administrator
        sees those of other projects too."""
        for row in self._floating_ips(floating_network_id=pool["id"], project_id=self.project):
            if row.get("port_id") or str(row.get("description") or "").startswith(MARK + "-"):
                continue
            self.revisions[row["id"]] = row.get("revision_number")
            body = {"floatingip": {"port_id": port}}
            self.ask("PUT", "/floatingips/" + row["id"], body, service="network", none=412)
            after = self._floating_ips(port_id=port)  # 412 is also what a lost answer leads to
            if after:
                return after[0]
        return None

    def _release(self):
        """Give back the floating IP that we made; one of the user's stays."""
        made = [self["FloatingIpId"]] if self["FloatingIpMade"] else []
        if not made and self["CreateTag"] and self["FloatingIpPool"]:
            made = [row["id"] for row in self._floating_ips(description=self["CreateTag"])
                    if row.get("description") == self["CreateTag"]]
        for number in made:
            self.ask("DELETE", "/floatingips/" + number, service="network", none=404)
        self["FloatingIpId"], self["FloatingIpMade"] = "", False

    # --- volumes

    def _attach_volume(self):
        """Attach the data volume: the user's, or a new one of ours."""
        theirs = self.look_up("volume")
        if self["BootFromVolume"] or not (theirs or self["VolumeSize"]):
            return
        number = theirs["id"] if theirs else self._new_volume()
        path = "/servers/%s/os-volume_attachments" % self["MachineId"]

        def there():
            rows = self.ask("GET", path, key="volumeAttachments")
            return next((row for row in rows if row.get("volumeId") == number), None)

        body = {"volumeAttachment": given({"volumeId": number,
                                           "device": self["VolumeDevicePath"]})}
        if not there():
            self._made_once(lambda: self.ask("POST", path, body, key="volumeAttachment"), there)

    def _own_volumes(self):
        rows = self.ask("GET", "/volumes/detail", service="volume", rows="volumes")
        return [row for row in rows
                if (row.get("metadata") or {}).get(MARK) == self["CreateTag"]]

    def _new_volume(self):
        """The id of our new data volume, when it is ready."""
        body = {"volume": given({
            "name": self["VolumeName"] or self.machine.name + "-data", "size": self["VolumeSize"],
            "volume_type": self["VolumeType"], "metadata": {MARK: self["CreateTag"]},
            "availability_zone": self["AvailabilityZone"].partition(":")[0]})}
        row = next(iter(self._own_volumes()), None) or self._made_once(
            lambda: self.ask("POST", "/volumes", body, service="volume", key="volume"),
            lambda: next(iter(self._own_volumes()), None))
        self["OwnVolumeId"] = row["id"]
        self.machine.save()

        def is_ready():
            path = "/volumes/" + row["id"]
            status = self.ask("GET", path, service="volume", key="volume")["status"]
            if status.startswith("error"):
                self._give_up("The volume failed at OpenStack.")
            return status in ("available", "in-use")

        wait_for(is_ready, 300, "The volume %s is not ready within 300 s." % row["id"], 5, 0.5)
        return row["id"]

    def _delete_volume(self):
        """Delete our data volume, which is free a moment after the server went."""
        if self["BootFromVolume"] or not (self["VolumeSize"] and not self["VolumeId"]):
            return
        for row in self._own_volumes():
            self.ask("DELETE", "/volumes/" + row["id"], service="volume", none=404,
                     wait=lambda error: error.status == 400 and "status" in error.words)
        self["OwnVolumeId"] = ""

    # --- security groups

    def groups(self):
        """The rows of the project's security groups."""
        return self.ask("GET", "/security-groups", service="network", rows="security_groups",
                        query={"project_id": self.project})

    def _group_ids(self):
        """The ids of the groups for the order; none is the project's default."""
        groups = self.look_up("groups")
        if self["SecurityGroups"]:
            return [row["id"] for row in groups]
        if not self._closed(groups):
            return []
        ours = self._our_group()
        return [row["id"] for row in groups] + [ours["id"]]

    def _our_groups(self):
        """The rows of our group, oldest first; two creations at once may make two."""
        rows = [row for row in self.groups() if row["name"] == GROUP]
        return sorted(rows, key=lambda row: (row.get("created_at") or "", row["id"]))

    def _our_group(self):
        """The group of all our machines, with our ports open."""
        there = self._our_groups()
        if not there:
            body = {"security_group": {"name": GROUP, "description": OURS}}
            made = self._made_once(
                lambda: self.ask("POST", "/security-groups", body, service="network",
                                 key="security_group"),
                lambda: next(iter(self._our_groups()), None))
            there = self._our_groups() or [made]
            if made["id"] != there[0]["id"]:
                self._delete_one_group(made)
        for protocol, port in self._closed(there[:1]):
            if there[0].get("description") != OURS:
                out.warn("The security group %s is yours, and does not let port %d in." % (
                    GROUP, port))
                continue
            for family in ("IPv4", "IPv6"):
                self._let_in(there[0]["id"], protocol, port, family)
        return there[0]

    def _closed(self, groups):
        """(protocol, port) of ours that no rule of the groups lets in."""
        return [(protocol, port) for protocol, ports in (
            ("tcp", self.ports()), ("udp", self.udp_ports()))
            for port in lacking_ports(groups, protocol, ports)]

    def _let_in(self, group, protocol, port, family):
        self.ask("POST", "/security-group-rules", {"security_group_rule": {
            "security_group_id": group, "direction": "ingress", "ethertype": family,
            "protocol": protocol, "port_range_min": port, "port_range_max": port}},
            service="network", none=409, repeat=True)  # 409: it is there

    def _delete_group(self):
        """Delete our group unless a machine uses it, which Neutron knows best."""
        for row in self._our_groups():
            if row.get("description") == OURS:
                self._delete_one_group(row)

    def _delete_one_group(self, row):
        try:
            self.ask("DELETE", "/security-groups/" + row["id"], service="network",
                     wait=lambda error: False)
        except RestError as error:
            if error.status not in (404, 409):  # another removal was first; it is in use
                raise

    # --- keys

    def named_key(self):
        return self["KeyPairName"] if self["ExistingKey"] else ""

    def keys(self):
        rows = [row["keypair"] for row in self.ask("GET", "/os-keypairs", key="keypairs")]
        return [(row["name"], row["name"], row.get("public_key") or "") for row in rows]

    def add_key(self, name, public):
        body = {"keypair": {"name": name, "public_key": public}}
        return self.ask("POST", "/os-keypairs", body, key="keypair")["name"]

    def delete_key(self, key_id):
        self.ask("DELETE", "/os-keypairs/" + key_id, none=404)

    def has_cloud_init(self):
        image = self.look_up("image") or {}
        return not has(NO_CLOUD_INIT, "%s %s" % (
            image.get("name") or "", image.get("os_distro") or ""))

    # --- the login

    def setting(self, field):
        """What the flags gave, or the cloud of clouds.yaml, or a variable where a secret was not
        stored."""
        value = self.get(field)
        if not value and self.get("Cloud"):
            return self.cloud().get(field, "")
        if not value and field in SECRETS:
            names = {one.field: one.env for one in self.flags}
            return os.environ.get(names.get(field, ""), "")
        return value

    def cloud(self):
        """{field: value} of the cloud in clouds.yaml. Raises MachineError."""
        name = self["Cloud"]
        clouds, path = self._cloud_file("clouds", os.environ.get("OS_CLIENT_CONFIG_FILE"))
        secure, _ = self._cloud_file("secure", os.environ.get("OS_CLIENT_SECURE_FILE"))
        if name not in clouds:
            raise self.unknown("cloud", name, "openstack config show", sorted(clouds)) if (
                clouds) else MachineError(
                    "There is no clouds.yaml here, in ~/.config/openstack or in /etc/openstack.",
                    "Name its path: export OS_CLIENT_CONFIG_FILE=/path/to/clouds.yaml")
        if (clouds[name] or {}).get("profile"):
            out.warn("%s names a profile, which is not read; write out its values." % path)
        values = merged(clouds[name] or {}, secure.get(name) or {})
        flat = merged(values, values.get("auth") or {})
        if flat.get("regions") and not flat.get("region_name"):
            first = flat["regions"][0]
            flat["region_name"] = first.get("name") if isinstance(first, dict) else first
        found = {field: str(flat[key])
                 for key, field in CLOUD_KEYS if flat.get(key)}  # type: dict
        secret = [found.get(field, "") for field in SECRETS]
        out.secrets.update(value for value in secret if len(value) > 5)
        region = self["Region"] or found.get("Region", "")
        found["AuthUrl"] = found.get("AuthUrl", "").replace("{region_name}", region)
        found["Insecure"] = bool(flat.get("insecure") or flat.get("verify") is False)
        return found

    def _cloud_file(self, name, path):
        """({name: values}, path) of the first file of clouds that is there."""
        places = [path] if path else [
            os.path.join(folder, name + end)
            for folder in ("", os.path.expanduser("~/.config/openstack"), "/etc/openstack")
            for end in (".yaml", ".yml", ".json")]
        for place in places:
            if os.path.isfile(place):
                return self._read_clouds(os.path.abspath(place)), place
        return {}, ""

    def _read_clouds(self, path):
        text = read_text(path)
        try:
            value = parse_json(text)
        except ValueError:
            yaml = self.need("yaml", "PyYAML")
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise MachineError("%s is not YAML: %s" % (path, plain_words(error)[:200]))
        clouds = value.get("clouds") if isinstance(value, dict) else None
        return clouds if isinstance(clouds, dict) else {}

    def identity_url(self):
        """(URL without a version, version) of the identity service."""
        url = self.setting("AuthUrl").rstrip("/")
        for end, version in (("/v3", 3), ("/v2.0", 2)):
            if url.endswith(end):
                return url[:-len(end)], version
        return url, 3

    def log_in(self):
        """Get a token and the catalog. Raises MachineError."""
        url, version = self.identity_url()
        door = self._door(url)
        try:
            if version == 3:
                self._log_in_v3(door)
            else:
                self._log_in_v2(door)
        except RestError as error:
            if version == 3 and error.status in (300, 404) and not self.rows:
                self._log_in_v2(door)
                return
            if error.status == 401:
                error.message, error.hint = self._refused(url, error.words), self.new_login
            raise

    def _refused(self, url, words):
        who = self.setting("Username") or self.setting("UserId") or self.application_credential()
        return "%s at %s refuses the login of %s in the project %s, domain %s: %s" % (
            self.provider, url, who or "the token's user",
            self.setting("TenantName") or self.setting("TenantId") or "(none named)",
            ", ".join(self.domain("User").values()), words)

    def _log_in_v3(self, door):
        scope = self._scope()
        token = self._take_token(door, self._who(), scope)
        if not token.get("catalog") and not scope and not self.application_credential():
            token = self._take_token(door, self._who(), {
                "project": {"id": self._only_project(door)}})
        self.project = (token.get("project") or {}).get("id", "")
        self.rows = [(service.get("type"), service.get("name") or "", one.get("interface"),
                      one.get("region_id") or one.get("region") or "", one.get("url") or "")
                     for service in token.get("catalog") or ()
                     for one in service.get("endpoints") or ()]

    def _take_token(self, door, who, scope):
        auth = given({"identity": who, "scope": scope})
        answer = door.call("POST", "/v3/auth/tokens", {"auth": auth}, key=None, repeat=True)
        try:
            self.token = answer.headers["X-Subject-Token"] or ""
            return parse_json(answer.body.decode())["token"]
        except (ValueError, LookupError, TypeError):
            raise MachineError("What answers at %s is not a Keystone." % door.url,
                               "Check --openstack-auth-url.")

    def _only_project(self, door):
        """The id of the only project that the user has. Raises MachineError."""
        door = self._door(door.url, signed=True)
        door.renew = None  # or a refusal would lead here again
        rows = door.call("GET", "/v3/auth/projects", key="projects")
        if len(rows) != 1:
            names = ", ".join(plain_words(row.get("name")) for row in rows[:20])
            raise MachineError(
                "Tenant id or name must be provided either using one of the environment variables "
                "OS_TENANT_ID and OS_TENANT_NAME or one of the CLI options --openstack-tenant-id "
                "and --openstack-tenant-name", "Projects of this user: " + (names or "none"))
        return rows[0]["id"]

    def domain(self, whose):
        """{"id" or "name": ...} of the domain of the "User" or the "Tenant"."""
        for prefix, end in ((whose, "DomainId"), (whose, "DomainName"), ("", "DomainID"),
                            ("", "DomainId"), ("", "DomainName")):
            value = self.setting(prefix + end)
            if value:
                return {"name" if end.endswith("Name") else "id": value}
        return {"id": "default"}

    def _user(self):
        number, name = self.setting("UserId"), self.setting("Username")
        return {"id": number} if number else {"name": name, "domain": self.domain("User")}

    def _who(self):
        """The identity part of a login."""
        secret = self.setting("ApplicationCredentialSecret")
        number = self.setting("ApplicationCredentialId")
        name = self.setting("ApplicationCredentialName")
        if number or name:
            one = {"id": number} if number else {"name": name, "user": self._user()}
            return {"methods": ["application_credential"],
                    "application_credential": dict(one, secret=secret)}
        if self.setting("Token"):
            return {"methods": ["token"], "token": {"id": self.setting("Token")}}
        user = dict(self._user(), password=self.setting("Password"))
        return {"methods": ["password"], "password": {"user": user}}

    def _scope(self):
        """The project of a login; {} for the default one, or that of an application credential."""
        if self.setting("ApplicationCredentialId") or self.setting("ApplicationCredentialName"):
            return {}
        if self.setting("TenantId"):
            return {"project": {"id": self.setting("TenantId")}}
        if self.setting("TenantName"):
            return {"project": {"name": self.setting("TenantName"),
                                "domain": self.domain("Tenant")}}
        return {}

    def v2_login(self):
        """The "auth" of a login by the identity API v2."""
        if self.setting("Token"):
            who = {"token": {"id": self.setting("Token")}}
        else:
            who = {"passwordCredentials": {"username": self.setting("Username"),
                                           "password": self.setting("Password")}}
        return dict(who, **given({"tenantId": self.setting("TenantId"),
                                  "tenantName": self.setting("TenantName")}))

    def _log_in_v2(self, door):
        access = door.call("POST", "/v2.0/tokens", {"auth": self.v2_login()}, key="access",
                           repeat=True)
        token = access.get("token") or {}
        self.token, self.project = token.get("id", ""), (token.get("tenant") or {}).get("id", "")
        self.rows = [(service.get("type"), service.get("name") or "", kind[:-3],
                      one.get("region") or "", one[kind])
                     for service in access.get("serviceCatalog") or ()
                     for one in service.get("endpoints") or ()
                     for kind in ("publicURL", "internalURL", "adminURL") if one.get(kind)]

    # --- the APIs

    def catalog(self):
        """Rows of (type, name, interface, region, URL) of all services. Raises MachineError."""
        with self.lock:
            if self.rows is None:
                self.log_in()
            return self.rows

    def renew(self):
        with self.lock:
            self.log_in()

    def endpoint(self, kind):
        """The URL of a service. Raises MachineError with the regions on offer."""
        names, end = SERVICES[kind]
        interface = (self.setting("EndpointType") or "public").replace("URL", "")
        region = self.setting("Region")
        rows = [row for name in names for row in self.catalog() if row[0] == name and row[4]]
        fit = [row for row in rows if row[2] == interface]
        fit = [row for row in fit if row[3]] or fit  # Rackspace lists an older service too
        here = [row for row in fit if row[3] == region or not region]
        regions = sorted({row[3] for row in fit if row[3]})
        if not here:
            raise MachineError(
                'No suitable endpoint could be found in the service catalog: %s, %s, region "%s".'
                % (kind, interface, region), self._offer(rows, regions))
        if len({row[3] for row in here if row[0] == here[0][0]}) > 1:
            raise MachineError("The cloud has several regions.",
                               "Name one by --%s-region: %s" % (self.name, ", ".join(regions)))
        url = here[0][4].rstrip("/")
        return url if not end or url.endswith(end) else url + end

    def _offer(self, rows, regions):
        if not rows:
            return "There is no such service in this cloud."
        return "Regions: %s. Endpoint types: %s." % (
            ", ".join(regions) or "none", ", ".join(sorted({"%sURL" % row[2] for row in rows})))

    def service(self, kind):
        """The Rest of a service. Made once."""
        return self._door(self.endpoint(kind), signed=True)

    def rest(self):
        return self.service("compute")

    def _door(self, url, signed=False):
        self._warn_of_http(url)
        door = Rest(self.provider, url, self._headers if signed else {}, min(self.patience, 30),
                    self.patience, ca=self.setting("CaCert"), insecure=self.setting("Insecure"),
                    plain=True, renew=self.renew if signed else None, wait=is_busy)
        if self.setting("Cert") and door.context:
            try:
                door.context.load_cert_chain(self.setting("Cert"), self.setting("Key") or None)
            except OSError as error:
                raise MachineError("The client certificate %s cannot be used: %s" % (
                    self.setting("Cert"), plain_words(error)))
        return door

    def _warn_of_http(self, url):
        """Tell once of each server to which the login goes in the clear."""
        server = url.split("/")[2]
        if not has(r"^(https:|http://(localhost|127\.|\[::1\]))", url) and server not in self.told:
            self.told.add(server)
            out.warn("%s is http: the login goes there in the clear." % url)

    def _headers(self, method, url, body):
        headers = {"X-Auth-Token": self.token}
        number = url.rpartition("/")[2]
        if method == "PUT" and self.revisions.get(number) is not None:
            headers["If-Match"] = "revision_number=%s" % self.revisions[number]
        if method == "POST" and url.endswith("/servers") and self.takes_volume_type():
            headers["OpenStack-API-Version"] = "compute 2.67"
        return headers

    def following(self, answer):
        for key, links in answer.items():
            for link in links if key.endswith("_links") else ():
                if link.get("rel") == "next":
                    return link.get("href")
        return answer.get("next")

    def ask(self, method, path, body=None, query=None, rows="", scope="", none=None,
            service="compute", **more):
        """As in the base class, of one of SERVICES."""
        query = given(query or {})
        try:
            door = self.service(service)
            if rows:
                return door.pages(path, rows, query, self.following)
            return door.call(method, path, body, query, **more)
        except RestError as error:
            if error.status == none:
                return None
            self.explain(error, "%s %s" % (method, path), scope)
            raise

    def explain(self, error, request="", scope=""):
        for pattern, cure in CURES:
            if has(pattern, "%s %s" % (error.reason, error.words)):
                error.hint = error.hint or cure.replace("--openstack-", "--%s-" % self.name)
        super().explain(error, request, scope)


# --- small helpers

def is_busy(error):
    """Whether nothing was done, and it is to be asked again: old Novas say 413 for 429, and a
    server takes one task after the other."""
    if error.status == 413:
        return bool(error.pause and error.pause > 0)
    return error.status == 409 and "task_state" in error.words


def lacking(what, variable, option):
    """The error for a value of the login that nobody gave, as Docker Machine words it."""
    return UsageError("%s must be specified either using the environment variable %s or the CLI "
                      "option %s" % (what, variable, option),
                      "Or name a cloud of clouds.yaml: --openstack-cloud NAME")


def has(pattern, text):
    from re import search
    return bool(search("(?i)" + pattern, text))


def given(values):
    """The values that are something."""
    return {key: value for key, value in values.items() if value}


def words_of(text):
    """The words of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def merged(below, above):
    """One object laid over another, deep."""
    both = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(both.get(key), dict):
            value = merged(both[key], value)
        both[key] = value
    return both


PROTOCOLS = {"tcp": "6", "udp": "17"}


def lacking_ports(groups, protocol, ports):
    """Those of the ports that no rule of the groups lets in from everywhere."""
    rules = [rule for group in groups for rule in group.get("security_group_rules") or ()
             if rule.get("direction") == "ingress" and not rule.get("remote_group_id")
             and rule.get("protocol") in (None, protocol, PROTOCOLS[protocol], "any")
             and rule.get("remote_ip_prefix") in (None, "", "0.0.0.0/0", "::/0")]
    return [port for port in dict.fromkeys(ports) if not any(
        (rule.get("port_range_min") or 0) <= port <= (rule.get("port_range_max") or 65535)
        for rule in rules)]
