# SPDX-License-Identifier: Apache-2.0
"""Instances of Google Compute Engine, by its API v1; google-auth finds the login."""

import os

from docker_machine import (
    ERROR,
    RUNNING,
    SAVED,
    STARTING,
    STOPPED,
    STOPPING,
    CloudDriver,
    Finding,
    Flag,
    Instance,
    MachineError,
    Rest,
    RestError,
    UsageError,
    out,
    parse_json,
    plain_words,
    read_text,
    wait_for,
    write_atomic,
)

PACKAGES = "google-auth requests"
SCOPE = "https://www.googleapis.com/auth/compute"
SCOPES = "https://www.googleapis.com/auth/"
TAG = "docker-machine"  # the network tag of our machines, and the key of the label of a creation
RULE = "docker-machines"  # the firewall rule for all machines of a network
OURS = "made by docker-machine, and removed with its last machine"  # a rule's description
WORD = "[a-z]([a-z0-9-]{0,61}[a-z0-9])?"  # what things are called at Google
STATES = {"PENDING": STARTING, "PROVISIONING": STARTING, "STAGING": STARTING, "RUNNING": RUNNING,
          "PENDING_STOP": STOPPING, "STOPPING": STOPPING, "DEPROVISIONING": STOPPING,
          "STOPPED": STOPPED, "TERMINATED": STOPPED, "SUSPENDING": STOPPING, "SUSPENDED": SAVED}

OPERATIONS = {"start": "start", "stop": "stop", "kill": "stop", "restart": "reset"}
UNUSED = "Accepted; does nothing"
PROJECT_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
WITH_CLOUD_INIT = "ubuntu|cos-|sles|suse"  # in an image's name, family or licences
HYPERDISK_ONLY = ("c4-", "c4a-", "c4d-", "n4-", "n4a-", "n4d-", "m4-", "x4-")
SCOPE_NAMES = {  # as gcloud has them, where they are not the end of the scope
    "compute-ro": "compute.readonly", "compute-rw": "compute", "storage-ro": "devstorage.read_only",
    "storage-rw": "devstorage.read_write", "storage-full": "devstorage.full_control",
    "logging-write": "logging.write", "monitoring-write": "monitoring.write"}
NO_ROOM = ("ZONE_RESOURCE_POOL_EXHAUSTED|VM_MIN_COUNT_NOT_REACHED|insufficientCapacity|"
           "RESOURCE_POOL_EXHAUSTED|RESOURCE_AVAILABILITY")
BUSY = ("rateLimitExceeded", "userRateLimitExceeded", "resourceNotReady")
ERRORS = (  # patterns of reason and words, what to say, and what to do about it
    (NO_ROOM, "The zone %(zone)s has no %(type)s just now: %(words)s",
     "Try later, or another --google-zone or --google-machine-type."),
    ("accessNotConfigured|SERVICE_DISABLED",
     "The Compute Engine API is off in the project %(project)s: %(words)s",
     "Turn it on: gcloud services enable compute.googleapis.com --project %(project)s"),
    ("Unknown zone", "Google has no zone %(zone)s: %(words)s",
     "List all: gcloud compute zones list"),
    ("BILLING_DISABLED|[Bb]illing", "The project %(project)s has no billing account: %(words)s",
     "Link one: https://console.cloud.google.com/billing/linkedaccount?project=%(project)s"),
    ("QUOTA_EXCEEDED|quotaExceeded", "A quota of the project %(project)s is used up: %(words)s",
     "Take another zone or type, or ask for more: "
     "https://console.cloud.google.com/iam-admin/quotas?project=%(project)s"),
    ("ACCESS_TOKEN_SCOPE_INSUFFICIENT|insufficientPermissions|authentication scopes",
     "The token of the login lacks the scope " + SCOPE + ": %(words)s",
     "On an instance of Google's: gcloud compute instances set-service-account NAME --scopes "
     "cloud-platform\nElse log in: gcloud auth application-default login"),
    ("[Aa]ctAs|SERVICE_ACCOUNT_ACCESS_DENIED|access to service account",
     'The login may not use the service account "%(account)s": %(words)s',
     "It takes roles/iam.serviceAccountUser; or do without: --google-service-account=''"),
    ("compute.vmExternalIpAccess", "The organization forbids public addresses: %(words)s",
     "Add --google-use-internal-ip-only, and reach it by VPN."),
    ("compute.requireOsLogin",
     "The organization requires OS Login, which takes no key of a machine's own: %(words)s",
     "Ask for an exception from that constraint for the project %(project)s."),
    ("constraints/", "A policy of the organization forbids this: %(words)s",
     "Ask whoever sets the policies of the project %(project)s."),
)


def flag(name, default, help, field, **more):
    """A flag whose variable has its name in capitals."""
    env = "GOOGLE_" + name.upper().replace("-", "_")
    return Flag("google-" + name, default, help, env, field=field, **more)


class GoogleDriver(CloudDriver):
    """An instance of Google Compute Engine."""

    name, provider, thing = "google", "Google", "instance"
    api = "https://compute.googleapis.com/compute/v1"
    creating = "Creating the instance..."
    status_page = "https://status.cloud.google.com"
    id_field, key_file_field, user_data_field = "InstanceName", "SSHKey", "Userdata"
    login, new_login = "Google login", "Log in again: gcloud auth application-default login"
    scope_hint = ("It takes the permission %s, which roles/compute.admin has, for example; "
                  "docs/drivers/google.md lists all.")
    kinds = ("image", "firewall", "address", "accelerator")
    most_user_data = 1 << 18
    # Google's guest agent makes new host keys at the first boot unless it is told not to.
    user_data_keys = {"bootcmd": [["sh", "-c", (
        "printf '\\n[InstanceSetup]\\nset_host_keys = false\\n' >>/etc/default/instance_configs.cfg"
    )]]}
    flags = (
        flag("project", "", "Project (default: the login's)", "Project",
             form=r"([\w.-]+:)?[a-z0-9-]+"),
        flag("auth-encoded-json", "", "Key of a service account, in base64 (default: the login "
             "found)", "Auth", secret=True, form=r"[\w+/=\s-]+"),
        flag("zone", "us-central1-a", "Zone", "Zone", form=r"[a-z]+(-[a-z]+)+\d+-[a-z]",
             hint="List all: gcloud compute zones list"),
        flag("machine-type", "e2-small", "Machine type, also such as e2-custom-2-4096",
             "MachineType", form="[a-z0-9-]+"),
        flag("machine-image", "", "Image: PROJECT/FAMILY, a name, path or URL (default: Ubuntu "
             "24.04 for the type)", "MachineImage", form=r"[\w.:/-]+"),
        flag("username", "docker-user", "SSH user, who is made at the first boot", "SSHUser",
             form=r"(?!root$)[A-Za-z_][\w.-]{0,31}"),
        flag("ssh-keypath", "", "SSH private key (default: one is made)", "SSHKey", file=True),
        flag("userdata", "", "File of user data for the first boot", "Userdata", file=True),
        flag("service-account", "default", "Service account of the instance; empty for none",
             "ServiceAccount", form=r"[\w.@:-]*"),
        flag("scopes", ",".join(SCOPES + end for end in (
            "devstorage.read_only", "logging.write", "monitoring.write")), "Scopes of its tokens, "
             "as URLs or in gcloud's words", "Scopes", form=r"[\w.:/, -]*"),
        flag("disk-size", 20, "Size of the boot disk in GB", "DiskSize", least=10, most=65536),
        flag("disk-type", "", "Its type (default: pd-balanced, or hyperdisk-balanced where only "
             "that fits)", "DiskType", form="[a-z0-9-]+"),
        Flag("google-provisioned-iops", 0, "IOPS of a hyperdisk", field="ProvisionedIops", least=0),
        Flag("google-provisioned-throughput", 0, "Throughput of a hyperdisk in MB/s",
             field="ProvisionedThroughput", least=0),
        flag("network", "default", "Network, by name, path or URL", "Network", form=r"[\w.:/-]+"),
        flag("subnetwork", "", "Subnetwork, in the same way", "Subnetwork", form=r"[\w.:/-]+"),
        flag("address", "", "Reserved address, by name or number", "Address", form="[a-z0-9.-]+"),
        flag("stack-type", "", "IPV4_ONLY, IPV4_IPV6 or IPV6_ONLY", "StackType",
             choices=("IPV4_ONLY", "IPV4_IPV6", "IPV6_ONLY")),
        flag("use-internal-ip", False, "Reach it at its internal address", "UseInternalIP"),
        flag("use-internal-ip-only", False, "Make no external address", "UseInternalIPOnly"),
        Flag("google-open-port", [], "Port to let in to this machine: 80, 8000-8010 or 53/udp",
             field="OpenPorts", form=r"\d{1,5}(-\d{1,5})?(/(tcp|udp|sctp))?"),
        flag("skip-firewall-create", False, "Neither make nor read a rule", "SkipFirewall"),
        flag("external-firewall-rule-prefix", "", "Beginning of the rule's name",
             "ExternalFirewallRulePrefix", form="[a-z][a-z0-9-]{0,40}"),
        flag("tags", "", "Network tags, with commas between", "Tags", form="(%s(,|$))*" % WORD),
        Flag("google-label", [], "Label of instance and disk: key:value",
             form="[a-z][a-z0-9_-]{0,62}:[a-z0-9_-]{0,63}"),
        flag("vm-labels", "", "Labels: key1,value1,key2,value2", "VMLabels",
             form="([a-z][a-z0-9_-]{0,62},[a-z0-9_-]{0,63}(,|$))*"),
        Flag("google-metadata", [], "Metadata: key=value", form=r"[\w-]{1,128}=[\s\S]*"),
        Flag("google-metadata-from-file", [], "Metadata: key=FILE", form=r"[\w-]{1,128}=.+"),
        flag("spot", False, "A spot instance", "Spot"),
        flag("preemptible", False, "The same as --google-spot", "Preemptible"),
        flag("accelerator", "", "count=N,type=GPU", "Accelerator", form=r"count=\d+,type=[\w-]+"),
        Flag("google-maintenance-policy", "", "MIGRATE or TERMINATE, when the host is serviced",
             field="MaintenancePolicy", choices=("MIGRATE", "TERMINATE")),
        Flag("google-min-cpu-platform", "", "Oldest CPU: Intel Haswell", field="MinCPUPlatform"),
        flag("use-existing", False, "Take the instance of that name that is there", "UseExisting"),
        Flag("google-operation-backoff-max-elapsed-time", 300, "Seconds that an operation may take",
             least=1, field="OperationSeconds"),
        Flag("google-cos-docker-network-readiness-gate", False, "Set that metadata of GitLab's",
             field="COSDockerNetworkReadinessGate"),
        Flag("google-bulk-insert", False, "Let Google choose the zone in --google-region",
             field="BulkInsert"),
        Flag("google-region", "", "Region of a bulk insert", field="Region",
             form=r"[a-z]+(-[a-z]+)+\d+"),
        Flag("google-flex-selection", [], "Type of a bulk insert, tried in this order: "
             "machine-type=T[,disk-type=D][,disk-iops=N][,disk-throughput=N]",
             form=r"machine-type=[a-z0-9-]+(,disk-type=[a-z0-9-]+|,disk-(iops|throughput)=\d+)*"),
        Flag("google-location-zone", [], "Zone of a bulk insert: ZONE[:ALLOW] or ZONE:DENY",
             form=r"[a-z]+(-[a-z]+)+\d+-[a-z](:(ALLOW|DENY))?"),
    ) + tuple(Flag("google-" + name, default, UNUSED,
                   least=0 if isinstance(default, int) else None) for name, default in (
        ("internal-firewall-rule-prefix", ""), ("operation-backoff-initial-interval", 1),
        ("operation-backoff-randomization-factor", "0.5"), ("operation-backoff-multipler", "2"),
        ("operation-backoff-max-interval", 30), ("flex-stockout-cooldown", "0s")))
    fields = (("InstanceName", ""), ("RequestId", ""), ("AddedTag", False), ("Labels", []),
              ("Metadata", {}), ("MetadataFromFile", {}), ("ResolvedZone", ""),
              ("ResolvedMachineType", ""), ("ResolvedNetwork", ""))  # type: tuple
    looks = []  # type: list  # when check_boot() asked
    probed_zone = ""  # the one of a region whose types are looked up

    def __init__(self, machine):
        from functools import lru_cache
        from threading import Lock
        super().__init__(machine)
        self.lock = Lock()  # one login for all threads
        for name in ("credentials", "waiter"):
            setattr(self, name, lru_cache(None)(getattr(self, name)))
        if "CreateTag" not in self.config and self.get("Project"):  # an entry of Docker Machine's
            self["InstanceName"] = machine.name

    def checks(self):
        try:
            self.need("requests", PACKAGES)
            words, fix = "google-auth " + self.need("google.auth", PACKAGES).__version__, ""
        except MachineError as error:
            words, fix = "no google-auth here, which only its machines need", error.hint
        return [Finding("ok", "google", words, fix)]

    # --- the flags

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        names = [os.environ.get(name) for name in PROJECT_VARIABLES]
        self["Project"] = self["Project"] or next(filter(None, names), "")
        if options["google-auth-encoded-json"] == os.environ.get("GOOGLE_AUTH_ENCODED_JSON", ""):
            self["Auth"] = ""  # it is found there again
        self["UseInternalIP"] = self["UseInternalIP"] or self["UseInternalIPOnly"]
        self["Labels"] = options["google-label"]
        for key, name in (("FlexSelections", "google-flex-selection"),
                          ("LocationZones", "google-location-zone")):
            if options[name]:
                self[key] = options[name]
        self["Metadata"] = dict(text.split("=", 1) for text in options["google-metadata"])
        files = [text.split("=", 1) for text in options["google-metadata-from-file"]]
        self["MetadataFromFile"] = {key: os.path.abspath(os.path.expanduser(path))
                                    for key, path in files}
        for one in self.flags:
            if one.help == UNUSED and options[one.name] != one.default:
                out.warn("--%s does nothing here." % one.name)
        self._check_values()

    def _check_values(self):
        """Refuse what the form of a value alone does not tell. Raises UsageError."""
        from re import fullmatch
        if not fullmatch(WORD, self.machine.name):
            raise UsageError("Google takes no instance of the name %s." % self.machine.name,
                             "Names are of up to 63 small letters, digits and dashes.")
        self._check_bulk()
        for path in self["MetadataFromFile"].values():
            if not os.path.isfile(path):
                raise UsageError("--google-metadata-from-file: %s is not a file." % path)
        if "user-data" in self.metadata() and self["Userdata"]:
            raise UsageError("--google-userdata and the metadata user-data are the same.")
        for text in self["OpenPorts"]:
            _, first, last = parse_port(text)
            if not 0 < first <= last < 65536:
                raise UsageError("--google-open-port %s is no port or range." % text)

    def _check_bulk(self):
        if not self["BulkInsert"]:
            if self["Region"] or self.get("FlexSelections") or self.get("LocationZones"):
                raise UsageError("--google-region, --google-flex-selection and "
                                 "--google-location-zone belong to --google-bulk-insert.")
            return
        others = [name for key, name in (("UseExisting", "use-existing"), ("Address", "address"))
                  if self[key]]
        others += ["zone"] * (self["Zone"] != self.defaults()["Zone"])
        if others:
            raise UsageError("--google-%s does not go with --google-bulk-insert." % others[0])
        if not self["Region"]:
            raise UsageError("--google-bulk-insert needs a --google-region.")

    def metadata(self):
        """The user's metadata, with the texts of the files. Raises MachineError."""
        texts = {key: read_text(path) for key, path in self["MetadataFromFile"].items()}
        return dict(self["Metadata"], **texts)

    def labels(self):
        words = self["VMLabels"].split(",")
        labels = dict(zip(words[::2], words[1::2]))
        labels.update(row.split(":", 1) for row in self["Labels"])
        return dict(labels, **{TAG: self["CreateTag"]})

    # --- before the machine is made

    def pre_create_check(self):
        _, project = self.credentials()
        if project and not self["Project"]:
            self["Project"] = project
            self.log("The project is %s." % project)
        if not self["Project"]:
            raise MachineError("no Google Cloud Project name specified (--google-project)",
                               "List all: gcloud projects list")
        super().pre_create_check()

    def look_up(self, kind):
        if kind == "firewall":
            return self._rule()
        if self["UseExisting"] and kind != "instance":
            return None
        return getattr(self, "_look_up_" + kind)()

    def _look_up_instance(self):
        """The instance of the user's that is to be used."""
        row = self.row()
        if row is None:
            raise MachineError("unable to find instance %s in zone %s" % (
                self.machine.name, self.zone()), "List all: gcloud compute instances list")
        return row

    def _look_up_type(self):
        if not self["BulkInsert"]:
            return self._named("machineTypes", self["MachineType"], "machine type")
        name = self.selections()[0]["machine-type"]
        for zone in self._zones():
            self.probed_zone = zone
            row = self.ask("GET", "%s/machineTypes/%s" % (self.place(), name), none=404,
                           scope="compute.machineTypes.get")
            if row:
                return row
        raise self.unknown("machine type", name, "gcloud compute machine-types list")

    def selections(self):
        """What a bulk insert is to try, one after the other, by the words of the flag."""
        rows = [dict(part.split("=", 1) for part in text.split(","))
                for text in self.get("FlexSelections", [])]
        return rows or [{"machine-type": self["MachineType"]}]

    def _zones(self):
        """The zones of the region that may be taken."""
        path = "/projects/%s/regions" % self["Project"]
        row = self.ask("GET", path + "/" + self["Region"], scope="compute.regions.get", none=404)
        if row is None:
            known = [row["name"] for row in self.rows(path, "compute.regions.list")]
            raise self.unknown("region", self["Region"], "gcloud compute regions list", known)
        names = [url.rpartition("/")[2] for url in row.get("zones") or ()]
        wishes = self.locations()
        strange = set(wishes) - set(names)
        if strange:
            raise self.unknown("zone", min(strange), "gcloud compute zones list", names)
        only = [name for name in names if wishes.get(name) == "ALLOW"]
        return only or [name for name in names if name not in wishes]

    def locations(self):
        """{zone: ALLOW or DENY} of --google-location-zone."""
        rows = [text.partition(":") for text in self.get("LocationZones", [])]
        return {zone: word or "ALLOW" for zone, _, word in rows}

    def _look_up_accelerator(self):
        kind = self["Accelerator"].partition("type=")[2]
        return self._named("acceleratorTypes", kind, "accelerator type") if kind else None

    def _named(self, kind, name, words):
        """What the zone has under a name. Raises MachineError with the nearest names."""
        path, right = "%s/%s" % (self.place(), kind), "compute.%s." % kind
        row = self.ask("GET", "%s/%s" % (path, name), scope=right + "get", none=404)
        if row is None:
            zones = [row["name"] for row in self.rows(
                "/projects/%s/zones" % self["Project"], "compute.zones.list")]
            if self.zone() not in zones:
                raise self.unknown("zone", self.zone(), "gcloud compute zones list", zones)
            known = [row["name"] for row in self.rows(path, right + "list")]
            raise self.unknown(words, name, "gcloud compute %ss list --zones %s" % (
                words.replace(" ", "-"), self.zone()), known)
        return row

    def _look_up_image(self):
        arm = self.look_up("type").get("architecture") == "ARM64"
        name = self["MachineImage"] or "ubuntu-os-cloud/ubuntu-2404-lts-" + (
            "arm64" if arm else "amd64")
        path = image_path(name, self["Project"])
        row = self.ask("GET", "/" + path, scope="compute.images.get", none=404)
        if row is None and "/family/" not in path:
            path = path.replace("/images/", "/images/family/")
            row = self.ask("GET", "/" + path, scope="compute.images.getFromFamily", none=404)
        if row is None:
            project = path.split("/")[1]
            rows = self.rows("/projects/%s/global/images" % project, "compute.images.list")
            known = {row[key] for row in rows for key in ("family", "name") if row.get(key)}
            raise self.unknown("image", name, "gcloud compute images list --project " + project,
                               sorted(known))
        trouble = image_trouble(row, arm, self["DiskSize"])
        if trouble:
            raise MachineError("The image %s %s" % (row["name"], trouble[0]), trouble[1])
        return row

    def _look_up_subnetwork(self):
        name = self["Subnetwork"]
        path = path_of(name)
        if "/" not in name:
            host = path_of(self["Network"]).partition("/global/")[0]  # with a shared VPC
            if not host.startswith("projects/"):
                host = "projects/" + self["Project"]
            path = "%s/regions/%s/subnetworks/%s" % (host, self.region(), name)
        row = self.ask("GET", "/" + path, scope="compute.subnetworks.get", none=404)
        if row is None:
            known = self.rows("/" + path.rpartition("/")[0], "compute.subnetworks.list")
            raise self.unknown("subnetwork", name, "gcloud compute networks subnets list",
                               [row["name"] for row in known])
        return row

    def _look_up_address(self):
        """The row of a reserved address, or None without one. Raises MachineError."""
        name = self["Address"]
        if not name:
            return None
        rows = self.rows("/projects/%s/regions/%s/addresses" % (self["Project"], self.region()),
                         "compute.addresses.list")
        fit = [row for row in rows if name in (row["name"], row.get("address"))]
        if not fit:
            raise self.unknown("address", name, "gcloud compute addresses list",
                               [row["name"] for row in rows])
        row = fit[0]
        if row.get("status") != "RESERVED":
            users = [url.rpartition("/")[2] for url in row.get("users") or ["something"]]
            raise MachineError("The address %s is in use by %s." % (name, " and ".join(users)),
                               "List all: gcloud compute addresses list")
        if row.get("addressType") != "INTERNAL" and self["UseInternalIPOnly"]:
            raise MachineError("The address %s is an external one." % name,
                               "Leave out --google-use-internal-ip-only.")
        return row

    # --- the machine

    def order(self, keys):
        if self["UseExisting"]:
            return self._adopt()
        try:
            self._open(self.look_up("firewall"))
            self._own_rule()
            if self["BulkInsert"]:
                self._order_anywhere()
            else:
                self._insert(self.place(), "/instances", self._body())
        except RestError as error:
            there = self.instances(self["CreateTag"]) if error.status == 409 else []
            if there and there[0].tag == self["CreateTag"]:
                return there[0]
            if there:
                error.message = "instance %s already exists in zone %s" % (
                    self.machine.name, self.zone())
                error.hint = "Take another name, or that instance: --google-use-existing"
            if error.refused:
                self["RequestId"] = ""
                self._if_allowed(self.delete_tagged)
            raise
        self["RequestId"] = ""
        if not self["BulkInsert"]:
            self["ResolvedZone"], self["ResolvedMachineType"] = self.zone(), self["MachineType"]
        return Instance(self.machine.name, STARTING, (), [self["CreateTag"]])

    def _insert(self, place, path, body):
        self["RequestId"] = self["RequestId"] or new_id()  # the same again makes no second one
        self.machine.save()
        operation = self.ask("POST", place + path, body, repeat=True, scope="compute.instances."
                             "create", query={"requestId": self["RequestId"]})
        self.settle(place, operation)

    def _order_anywhere(self):
        """The instance in any zone of the region: each selection is tried while there is no room
        for the one before. An order whose end we do not know is looked after first."""
        from re import search
        if self["RequestId"]:
            self._await_order()
        selections = self.selections()
        for number, selection in enumerate(selections):
            if self._resolve():
                return
            self["RequestId"] = ""
            try:
                self._insert(self.order_place(), "/instances/bulkInsert", self._bulk(selection))
            except RestError as error:
                if not search(NO_ROOM, error.reason + " " + error.words) or (
                        selection is selections[-1]):
                    raise
                self.log("There is no room for %s in %s; trying %s..." % (
                    selection["machine-type"], self["Region"],
                    selections[number + 1]["machine-type"]))
        if not self._resolve():
            raise MachineError("Google made no instance %s in the region %s." % (
                self.machine.name, self["Region"]), "See " + self.status_page)

    def _resolve(self):
        """Find the zone that Google chose, and the type; whether the instance is there."""
        for row in self._everywhere():
            if row["name"] == self.machine.name and (
                    row.get("labels") or {}).get(TAG) == self["CreateTag"]:
                self["ResolvedZone"] = row["zone"].rpartition("/")[2]
                self["ResolvedMachineType"] = row["machineType"].rpartition("/")[2]
                self.machine.save()
                return True
        return False

    def _bulk(self, selection):
        """One selection as regionInstances.bulkInsert takes it: there is no zone in it."""
        body = self._body(selection)
        name = body.pop("name")
        policy = {"targetShape": "ANY"}  # type: dict
        if self.locations():
            policy["locations"] = {"zones/" + zone: {"preference": word}
                                   for zone, word in self.locations().items()}
        return {"count": "1", "perInstanceProperties": {name: {}}, "locationPolicy": policy,
                "instanceProperties": body}

    def _kind(self, kind, name):
        """A type as it is written where the zone is known, and where it is not."""
        return name if self["BulkInsert"] else "zones/%s/%s/%s" % (self.zone(), kind, name)

    def _body(self, selection=None, disk=None):
        """The instance as instances.insert takes it, with a `disk` that is there already, or with a
        new one. A `selection` of a bulk insert replaces type and disk."""
        choice = selection or {"machine-type": self["MachineType"]}
        tags = [TAG] + [tag for tag in self["Tags"].split(",") if tag]
        body = {
            "name": self.machine.name, "description": "docker host vm",
            "machineType": self._kind("machineTypes", choice["machine-type"]),
            "labels": self.labels(), "minCpuPlatform": self["MinCPUPlatform"],
            "tags": {"items": tags + [self["CreateTag"]] * bool(self["OpenPorts"])},
            "disks": [disk or self._disk(choice)], "networkInterfaces": [self._interface()],
            "scheduling": self._scheduling(),
            "metadata": {"items": self._metadata_items(bool(disk))}}
        if self["ServiceAccount"]:
            scopes = [text if "://" in text else SCOPES + SCOPE_NAMES.get(text, text)
                      for text in self["Scopes"].replace(",", " ").split()]
            body["serviceAccounts"] = [{"email": self["ServiceAccount"], "scopes": scopes}]
        if self["Accelerator"]:
            count, _, kind = self["Accelerator"][len("count="):].partition(",type=")
            body["guestAccelerators"] = [{"acceleratorCount": int(count), "acceleratorType":
                                          self._kind("acceleratorTypes", kind)}]
        return given(body)

    def _disk(self, choice):
        kind = choice.get("disk-type") or self["DiskType"] or "pd-balanced"
        if not (choice.get("disk-type") or self["DiskType"]) and choice["machine-type"].startswith(
                HYPERDISK_ONLY):
            kind = "hyperdisk-balanced"
        name, iops = self.machine.name + "-disk", choice.get("disk-iops", self["ProvisionedIops"])
        speed = choice.get("disk-throughput", self["ProvisionedThroughput"])
        start = given({
            "diskName": name if len(name) < 64 else "", "diskSizeGb": str(self["DiskSize"]),
            "sourceImage": path_of(self.look_up("image")["selfLink"]), "labels": self.labels(),
            "diskType": self._kind("diskTypes", kind),
            "provisionedIops": iops and str(iops), "provisionedThroughput": speed and str(speed)})
        return {"boot": True, "autoDelete": True, "type": "PERSISTENT", "mode": "READ_WRITE",
                "initializeParams": start}

    def _interface(self):
        address, stack = self.look_up("address"), self["StackType"]
        interface = {"network": self.network(), "stackType": stack}
        if self["Subnetwork"]:
            interface["subnetwork"] = path_of(self.look_up("subnetwork")["selfLink"])
        access = {"type": "ONE_TO_ONE_NAT", "name": "External NAT"}
        if address and address.get("addressType") == "INTERNAL":
            interface["networkIP"] = address["address"]
        elif address:
            access["natIP"] = address["address"]
        if not self["UseInternalIPOnly"] and stack != "IPV6_ONLY":
            interface["accessConfigs"] = [access]
        if not self["UseInternalIPOnly"] and "IPV6" in stack:
            interface["ipv6AccessConfigs"] = [{"type": "DIRECT_IPV6", "networkTier": "PREMIUM"}]
        return given(interface)

    def _scheduling(self):
        if self["Spot"] or self["Preemptible"]:
            return {"provisioningModel": "SPOT", "instanceTerminationAction": "STOP",
                    "automaticRestart": False, "onHostMaintenance": "TERMINATE"}
        policy = self["MaintenancePolicy"] or ("TERMINATE" if self["Accelerator"] else "")
        return given({"onHostMaintenance": policy})

    def _metadata_items(self, booted=False):
        """The user's metadata with our login, and OS Login off, since it ignores these keys. Where
        cloud-init does not set the host's key, Google's agent is asked to publish it."""
        items = self.metadata()
        items["ssh-keys"] = (items.get("ssh-keys", "") + "\n" + self.login_line()).strip()
        items.setdefault("enable-oslogin", "FALSE")
        if not booted:
            items.update(given({"user-data": self.user_data()}))
            if not self.reads_user_data():
                items.setdefault("enable-guest-attributes", "TRUE")
        if self["COSDockerNetworkReadinessGate"]:
            items["gitlab-docker-network-readiness-gate"] = "true"
        return [{"key": key, "value": value} for key, value in sorted(items.items())]

    def login_line(self):
        """Our key as the metadata "ssh-keys" has it."""
        return "%s:%s" % (self.get_ssh_username(), self.public_key())

    def user_file(self):
        return super().user_file() or self.metadata().get("user-data", "")

    def has_cloud_init(self):
        from re import search
        image = self.look_up("image")
        if not image:  # the instance of the user's has booted long ago
            return False
        words = [image["name"], image.get("family", "")] + (image.get("licenses") or [])
        return bool(search(WITH_CLOUD_INIT, " ".join(words)))

    def row(self):
        """What Google tells of the instance of the machine's name, or None."""
        return self.ask("GET", "%s/instances/%s" % (self.place(), self.machine.name), none=404,
                        scope="compute.instances.get")

    def describe(self):
        found = [one for one in self.instances("named") if self._is_ours(one)]
        return found[0] if found else None

    def instances(self, tag=""):
        if tag:
            row = self.row()
            return [self._instance(row)] if row else []
        return [self._instance(row) for row in self.rows(
            self.place() + "/instances", "compute.instances.list", maxResults=500)]

    def account(self):
        if self["BulkInsert"] and not self["ResolvedZone"]:  # to be looked for, each by itself
            return self.get("Auth"), self["Project"], self.machine.name
        return self.get("Auth"), self["Project"], self.zone()

    def _is_ours(self, instance):
        """Whether it is the machine, and not another one of that name."""
        return self["UseExisting"] or self["CreateTag"] in ("", instance.tag)

    def _instance(self, row):
        tag = (row.get("labels") or {}).get(TAG, "")
        state = STATES.get(row.get("status"), ERROR)
        return Instance(row["name"], state, self._addresses(row), [tag])

    def _addresses(self, row):
        """(wanted, address); the first of the wanted ones is taken."""
        first = (row.get("networkInterfaces") or [{}])[0]
        found = [one.get("natIP") for one in first.get("accessConfigs") or ()]
        found += [one.get("externalIpv6") for one in first.get("ipv6AccessConfigs") or ()]
        internal = [first.get("networkIP"), first.get("ipv6Address")]
        if self["UseInternalIP"] or self["UseInternalIPOnly"]:
            found = internal
        wanted = [(True, address) for address in found if address]
        return wanted + [(False, address) for address in internal if address]

    def finish(self):
        """See that the rule is there, which went if somebody removed the last machine meanwhile."""
        try:
            wait_for(lambda: self._open(self._rule(), settle=True), 120,
                     "Google does not take the ports of the firewall rule.", 5, 1)
        except RestError as error:
            if not error.refused:
                raise
            self.remove()
            error.advise("The instance was removed again.")
            raise
        if not (self["UseExisting"] or self.reads_user_data()):
            self._pin_host_key()

    def _pin_host_key(self):
        """Pin what Google's agent says of the host's keys, before the first connection."""
        def published():
            try:
                return self.ask("GET", "%s/instances/%s/getGuestAttributes" % (
                    self.place(), self.machine.name), query={"queryPath": "hostkeys/"}, none=404,
                    scope="compute.instances.getGuestAttributes")
            except RestError as error:
                if error.status not in (403, 412):
                    raise
                return {}

        self.log("Waiting for the host key that Google's agent publishes...")
        found = wait_for(lambda: [row for row in [published()] if row is not None], 90, "", 5, 1)
        rows = ((found or [{}])[0].get("queryValue") or {}).get("items") or []
        lines = ["docker-machine.%s %s %s\n" % (self.machine.name, row["key"], row["value"])
                 for row in rows if is_host_key(row.get("key"), row.get("value"))]
        if lines:
            write_atomic(self.path("known_hosts"), "".join(lines))
        else:
            out.warn("Google does not tell the host key of this image; the first one that answers "
                     "is taken.")

    def check_boot(self):
        """Looks twice a minute, lest a fleet that boots is slowed down by Google."""
        from time import monotonic
        now = monotonic()
        self.looks = self.looks or [now]
        if now < self.looks[-1] + 30:
            return
        self.looks.append(now)
        if self.get_state() in (STOPPED, STOPPING):
            raise MachineError("The instance %s is off again." % self.machine.name, "Why: gcloud "
                               "compute operations list --filter=targetLink~/%s$ --project %s" % (
                                   self.machine.name, self["Project"]))
        if len(self.looks) == 5:
            out.warn("SSH does not answer yet. If it never does: a deny rule or a policy of the "
                     "organization may close port %d, and an instance without an external address "
                     "needs Cloud NAT, and you a VPN to it." % self.get_ssh_port())

    def act(self, verb):
        if verb == "restart" and self._reboots():
            return
        there = self.describe() if verb == "start" else None
        word = "resume" if there and there.state == SAVED else OPERATIONS[verb]
        query = {"noGracefulShutdown": "true"} if verb == "kill" else {}  # there is no harder way
        self.change("POST", self.place(), "/instances/%s/%s" % (self["InstanceName"], word),
                    scope="compute.instances." + word, **query)

    def _reboots(self):
        """Whether the guest itself reboots."""
        try:
            return self.ssh().run("sudo -n systemctl reboot", seconds=20).ok
        except MachineError:
            return False

    def _state(self, found):
        if isinstance(found, dict):
            found = {name: one for name, one in found.items() if one and self._is_ours(one)}
            if not found.get(self[self.id_field]) and self[self.id_field] and self._left_disk():
                return STOPPED
        return super()._state(found)

    def _left_disk(self):
        """The machine's disk, which may have outlived its instance; or None."""
        row = self.ask("GET", "%s/disks/%s-disk" % (self.place(), self.machine.name), none=404,
                       scope="compute.disks.get")
        ours = row and (row.get("labels") or {}).get(TAG, "") == self["CreateTag"]
        return row if ours and not self["UseExisting"] else None

    def start(self):
        """Where only the disk is left, the instance is made anew from it."""
        if self.describe() is None and self._left_disk():
            self.log("The instance is gone; making it anew from its disk...")
            source = "projects/%s/zones/%s/disks/%s-disk" % (
                self["Project"], self.zone(), self.machine.name)
            disk = {"boot": True, "autoDelete": True, "source": source}
            self["BulkInsert"], self["Zone"] = False, self.zone()
            self.change("POST", self.place(), "/instances", self._body(disk=disk),
                        scope="compute.instances.create")
            return self._await("create", RUNNING)
        return super().start()

    # --- the removal

    def remove(self):
        if self["RequestId"] and not self["InstanceName"]:
            self._await_order()
        super().remove()

    def _await_order(self):
        """Wait for the end of an order whose answer we never got."""
        place = self.order_place()
        kind = "region" if self["BulkInsert"] else "zone"
        rows = self.rows(place + "/operations", "compute.%sOperations.list" % kind,
                         filter='clientOperationId="%s"' % self["RequestId"])
        try:
            for operation in rows:
                self.settle(place, operation)
        except RestError as error:
            if not error.refused:
                raise

    def delete(self):
        if self.describe() is None:  # it is gone, or another one of that name
            return
        if self["UseExisting"]:
            self._give_back()
        else:
            self.change("DELETE", self.place(), "/instances/" + self["InstanceName"],
                        scope="compute.instances.delete", none=404)
            if not self["CreateTag"]:  # else delete_tagged() does that
                self._delete_disk()

    def _delete_disk(self):
        """Delete our boot disk if it did not go with the instance."""
        row = self._left_disk()
        if row and not row.get("users"):
            self.change("DELETE", self.place(), "/disks/%s-disk" % self.machine.name,
                        scope="compute.disks.delete", none=404)

    def delete_tagged(self):
        if not self["UseExisting"]:
            self._delete_disk()
        if self["SkipFirewall"]:
            return
        place = self.rules_place()
        names = [self["CreateTag"]] if self["OpenPorts"] else []
        if place == "/projects/%s/global" % self["Project"]:  # elsewhere others may use the rule
            name, row = self._rule(check=False) or ("", None)
            if row and row.get("description") == OURS and not self._is_in_use():
                names.append(name)
        for name in names:
            self.change("DELETE", place, "/firewalls/" + name, none=404,
                        scope="compute.firewalls.delete")

    def _is_in_use(self):
        """Whether another machine of ours, or of Docker Machine's, is in the network."""
        for row in self._everywhere():
            wires = row.get("networkInterfaces") or ()
            networks = [path_of(one.get("network", "")) for one in wires]
            if TAG in (row.get("tags") or {}).get("items", ()) and self.network() in networks:
                return True
        return False

    # --- an instance of the user's

    def _adopt(self):
        """Give our key and our tag to the instance, beside what it has."""
        line = self.login_line()
        tags = [TAG] + [self["CreateTag"]] * bool(self["OpenPorts"])
        there = (self.look_up("instance").get("tags") or {}).get("items") or []
        self["AddedTag"] = self["AddedTag"] or TAG not in there
        self.machine.save()
        self._open(self.look_up("firewall"))
        self._own_rule()
        self._set_tags(lambda items: items + [tag for tag in tags if tag not in items])
        self._set_keys(lambda lines: lines if line in lines else lines + [line])
        return self._instance(self.row())

    def _give_back(self):
        """Take our key and our tag away again."""
        key = self.public_key().split()[:2]
        tags = [self["CreateTag"]] + [TAG] * bool(self["AddedTag"])
        self._set_keys(lambda lines: [
            line for line in lines if line.partition(":")[2].split()[:2] != key])
        self._set_tags(lambda items: [tag for tag in items if tag not in tags])

    def _set_tags(self, change):
        def attempt():
            tags = self.row().get("tags") or {}
            items = tags.get("items") or []
            body = {"items": change(items), "fingerprint": tags.get("fingerprint", "")}
            return body["items"] == items or self._replace("setTags", body)

        wait_for(attempt, 60, "The tags of the instance change again and again.", 5, 1)

    def _set_keys(self, change):
        """Change the lines of the metadata "ssh-keys"; all else of the metadata stays."""
        def attempt():
            metadata = self.row().get("metadata") or {}
            items = {item["key"]: item.get("value", "") for item in metadata.get("items") or ()}
            lines = items.pop("ssh-keys", "").splitlines()
            changed = change(lines)
            if changed == lines:
                return True
            if changed:
                items["ssh-keys"] = "\n".join(changed)
            return self._replace("setMetadata", {
                "fingerprint": metadata.get("fingerprint", ""),
                "items": [{"key": key, "value": value} for key, value in items.items()]})

        wait_for(attempt, 60, "The metadata of the instance changes again and again.", 5, 1)

    def _replace(self, verb, body):
        """Whether it could be replaced; not if somebody else was faster (412)."""
        path = "/instances/%s/%s" % (self.machine.name, verb)
        return self.change("POST", self.place(), path, body, none=412,
                           scope="compute.instances." + verb) is not None

    # --- firewall rules

    def network(self):
        """The path of the network: projects/P/global/networks/N."""
        self["ResolvedNetwork"] = self["ResolvedNetwork"] or self._find_network()
        return self["ResolvedNetwork"]

    def _find_network(self):
        if self["UseExisting"]:
            return path_of(self.look_up("instance")["networkInterfaces"][0]["network"])
        named = path_of(self["Network"])
        if not named.startswith("projects/"):
            named = "projects/%s/global/networks/%s" % (
                self["Project"], named.rpartition("/")[2])
        if not self["Subnetwork"]:
            return named
        actual = path_of(self.look_up("subnetwork")["network"])
        if self["Network"] != "default" and actual != named:
            raise MachineError("The subnetwork %s is not one of the network %s." % (
                self["Subnetwork"], self["Network"]), "Leave --google-network out; its network "
                "is %s." % actual)
        return actual

    def rules_place(self):
        """Where the rules of the network are, which is another project with a shared VPC."""
        return "/projects/%s/global" % self.network().split("/")[1]

    def _rule(self, check=True):
        """(name, row or None) of the rule for all our machines in the network; None if we are to
        keep our hands off. Raises MachineError if that rule is for something else."""
        network, place = self.network(), self.rules_place()
        if self["SkipFirewall"]:
            return None
        prefix, short = self.get("ExternalFirewallRulePrefix", RULE), network.rpartition("/")[2]
        names = [prefix] if short == "default" else []
        for name in names + ["%s-%s" % (prefix, short)]:
            name = name[:63].rstrip("-")
            try:
                row = self.ask("GET", "%s/firewalls/%s" % (place, name), none=404,
                               scope="compute.firewalls.get")
            except RestError as error:
                self._leave_closed(error)
                return None
            if row is None or is_for_us(row, network):
                return name, row
        if check:
            raise MachineError("The firewall rule %s is not one for our instances." % name,
                               "Open the ports yourself, and add --google-skip-firewall-create.")
        return None

    def _leave_closed(self, error):
        """Only tell what the rules of another project lack; raise the error of ours."""
        if error.status != 403 or self.rules_place() == "/projects/%s/global" % self["Project"]:
            raise error
        out.warn("The firewall of the shared VPC is closed to you. Ask its admins to let in ports "
                 "%s for the network tag %s." % (" and ".join(map(str, self.ports())), TAG))
        self["SkipFirewall"] = True

    def _open(self, rule, settle=False):
        """Whether a rule of _rule() lets our ports in; else it is changed, or made."""
        if rule is None:
            return True
        name, row = rule
        wanted = [("tcp", port, port) for port in dict.fromkeys(self.ports())] + [
            ("udp", port, port) for port in self.udp_ports()]
        lacking = lacking_ports(row or {}, wanted)
        if not lacking:
            return True
        place = self.rules_place()
        try:
            if row is None:
                operation = self._make_rule(name, TAG, lacking, OURS)
            else:
                operation = self._begin("PATCH", place + "/firewalls/" + name, {
                    "allowed": (row.get("allowed") or []) + allowed(lacking)},
                    scope="compute.firewalls.update", none=404)
        except RestError as error:
            self._leave_closed(error)
            return True
        if settle and operation:
            self.settle(place, operation)
        return False

    def _make_rule(self, name, tag, ports, description):
        """The operation that makes a rule; None if there is one of that name."""
        return self._begin("POST", self.rules_place() + "/firewalls", {
            "name": name, "network": self.network(), "direction": "INGRESS", "priority": 1000,
            "description": description, "sourceRanges": ["0.0.0.0/0"], "targetTags": [tag],
            "allowed": allowed(ports)}, scope="compute.firewalls.create", none=409)

    def _own_rule(self):
        """Open the ports that are for this machine alone."""
        ports = [parse_port(text) for text in self["OpenPorts"]]
        if not ports or self["SkipFirewall"]:
            return
        tag = self["CreateTag"]
        operation = self._make_rule(tag, tag, ports, "ports of " + self.machine.name)
        if operation:
            self.settle(self.rules_place(), operation)

    # --- the API

    def zone(self):
        if self["BulkInsert"] and not (self["ResolvedZone"] or self.probed_zone):
            for row in self._everywhere():  # the creation was killed
                if row["name"] == self.machine.name:
                    self["ResolvedZone"] = row["zone"].rpartition("/")[2]
        return self["ResolvedZone"] or self.probed_zone or self["Zone"]

    def region(self):
        return self["Region"] if self["BulkInsert"] else self.zone()[:-2]

    def order_place(self):
        """Where an instance is ordered."""
        if self["BulkInsert"]:
            return "/projects/%s/regions/%s" % (self["Project"], self["Region"])
        return self.place()

    def _everywhere(self):
        """The rows of all instances of the project."""
        return self.ask("GET", "/projects/%s/aggregated/instances" % self["Project"],
                        query={"maxResults": 500}, scope="compute.instances.list",
                        rows=lambda answer: [row for part in (answer.get("items") or {}).values()
                                             for row in part.get("instances") or ()])

    def place(self):
        return "/projects/%s/zones/%s" % (self["Project"], self.zone())

    def rows(self, path, scope, **query):
        return self.ask("GET", path, query=query, scope=scope,
                        rows=lambda answer: answer.get("items") or [])

    def following(self, answer):
        token = answer.get("nextPageToken")
        return {"pageToken": token} if token else None

    def _begin(self, method, path, body=None, scope="", none=None, **query):
        """The operation that a change is; None for the status `none`. It may be asked again: the
        same requestId gives the same operation."""
        return self.ask(method, path, body, query=dict(query, requestId=new_id()), repeat=True,
                        scope=scope, none=none)

    def change(self, method, place, path, body=None, scope="", none=None, **query):
        """The same to its end."""
        operation = self._begin(method, place + path, body, scope, none, **query)
        return operation and self.settle(place, operation)

    def settle(self, place, operation):
        """The operation at its end. Raises RestError if it failed."""
        path = "%s/operations/%s/wait" % (place, operation["name"])
        seen = [operation]

        def is_done():
            if seen[-1].get("status") == "DONE":
                return True
            seen.append(self.waiter().call("POST", path, repeat=True))
            return seen[-1].get("status") == "DONE"

        seconds = self["OperationSeconds"]
        wait_for(is_done, seconds, "Google did not finish the operation %s within %d s." % (
            operation["name"], seconds), 30, 1)
        errors = (seen[-1].get("error") or {}).get("errors")
        if errors:
            raise self._failure(seen[-1], errors[0])
        return seen[-1]

    def _failure(self, operation, error):
        """The RestError for an operation that ended with an error."""
        words = plain_words(error.get("message") or operation.get("httpErrorMessage") or "")
        failure = RestError(
            "Google: %s (%s)" % (words or "no word of explanation", error.get("code")),
            status=operation.get("httpErrorStatusCode") or 400, words=words, value=operation,
            reason=plain_words(error.get("code")), refused=True)
        self.explain(failure)
        return failure

    def explain(self, error, request="", scope=""):
        from re import search
        facts = dict(words=error.words, project=self["Project"], account=self["ServiceAccount"],
                     type=self["MachineType"], zone=self["ResolvedZone"] or self["Zone"])
        for pattern, sentence, hint in ERRORS:
            if search(pattern, "%s %s" % (error.reason, error.words)):
                error.message, error.hint = sentence % facts, hint % facts
                return
        found = search(r"(compute|iam)\.\w+\.\w+", error.words)
        super().explain(error, request, found.group() if found else scope)

    def rest(self):
        return self._rest(min(self.patience, 30))

    def waiter(self):
        """The Rest for operations, whose end Google lets one wait for up to two minutes."""
        return self._rest(260)

    def _rest(self, seconds):
        def renew():
            self._log_in(lambda credentials, request: credentials.refresh(request))

        return Rest(self.provider, os.environ.get("GOOGLE_API_URL") or self.api, self._signed,
                    seconds, self.patience, renew=renew, wait=is_busy)

    def credentials(self):
        """google-auth's credentials and their project. Raises MachineError."""
        import warnings
        from base64 import b64decode
        text = self["Auth"] or os.environ.get("GOOGLE_AUTH_ENCODED_JSON", "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on quotas of people, and old Pythons
            auth = self.need("google.auth", PACKAGES)
            self.need("google.auth.transport.requests", PACKAGES)
            trouble = self.need("google.auth.exceptions", PACKAGES)
            try:
                if not text:
                    return auth.default(scopes=[SCOPE])
                account = self.need("google.oauth2.service_account", PACKAGES)
                key = parse_json(b64decode("".join(text.split())).decode())
                return account.Credentials.from_service_account_info(
                    key, scopes=[SCOPE]), key.get("project_id", "")
            except (trouble.GoogleAuthError, ValueError, TypeError, AttributeError) as error:
                raise self._login_error(error)

    def _signed(self, method, url, body):
        """The headers of a request, with a token that still holds."""
        headers = {}  # type: dict
        self._log_in(lambda credentials, request: credentials.before_request(
            request, method, url, headers))
        return headers

    def _log_in(self, action):
        """The only place where google-auth asks anybody, and its errors become ours."""
        credentials, _ = self.credentials()
        transport = self.need("google.auth.transport.requests", PACKAGES)
        trouble = self.need("google.auth.exceptions", PACKAGES)
        try:
            with self.lock:
                action(credentials, transport.Request())
        except trouble.GoogleAuthError as error:
            raise self._login_error(error)

    def _login_error(self, error):
        """Our error for one of google-auth's."""
        kind, words = type(error).__name__, plain_words(error)[:300]
        log_in = "Log in: gcloud auth application-default login (gcloud auth login is not enough)"
        if kind == "TransportError" or getattr(error, "retryable", False):
            return RestError("Google's login server cannot be reached: " + words,
                             "Check the network and the proxy variables.", unsent=True, later=True)
        if kind == "DefaultCredentialsError":
            return MachineError(
                "No Google credentials were found: not in --google-auth-encoded-json, "
                "GOOGLE_APPLICATION_CREDENTIALS, gcloud's application default login, or on a "
                "metadata server (%s)" % words.partition(". ")[0].rstrip("."), log_in)
        if " iat " in words or "short-lived" in words:
            return MachineError("Google refuses the time in the login: " + words,
                                "Set the clock: sudo timedatectl set-ntp true")
        sentence = "The Google login cannot be used: "
        if kind == "RefreshError":
            sentence = "The Google login has expired or was revoked: "
        return MachineError(sentence + words, log_in + "\nor take another key.")


# --- small helpers

def is_busy(error):
    """Whether nothing was done, and it is to be asked again. What has no room now, or a quota, is
    not asked for again whatever its status."""
    from re import search
    if search(NO_ROOM, error.reason + " " + error.words) or error.reason == "quotaExceeded":
        error.unsure, error.later, error.refused = False, False, True
        return False
    return error.reason in BUSY


def is_host_key(kind, value):
    """Whether what Google's agent published is a key as known_hosts has it."""
    from re import fullmatch
    return all(isinstance(word, str) for word in (kind, value)) and bool(
        fullmatch(r"(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+", "%s %s" % (kind, value)))


def given(values):
    """The values that are something."""
    return {key: value for key, value in values.items() if value}


def new_id():
    from uuid import uuid4
    return str(uuid4())


def path_of(url):
    """What is behind the version in a URL of the API: projects/..."""
    from re import sub
    return sub("^(https?://[^/]+/(compute/)?[a-z0-9]+/|/)", "", url)


def image_path(text, project):
    """projects/P/global/images/NAME or .../family/NAME of all forms in which people write it."""
    path = path_of(text)
    path = path[9:] if path.startswith("projects/") else path
    if path.startswith("global/images/"):
        path = "%s/%s" % (project, path)
    if "/global/images/" in path:
        return "projects/" + path
    owner, _, name = path.rpartition("/")
    if not owner:
        return "projects/%s/global/images/%s" % (project, name)
    return "projects/%s/global/images/family/%s" % (project if owner == "family" else owner, name)


def image_trouble(image, arm, size):
    """(why an image cannot be used, what to do), or None. `arm`: whether the machine type is."""
    kind, fit = image.get("architecture", ""), "ARM64" if arm else "X86_64"
    least = int(image.get("diskSizeGb") or 0)
    state = (image.get("deprecated") or {}).get("state", "")
    if kind in ("ARM64", "X86_64") and kind != fit:
        return "is for %s, the machine type for %s." % (kind, fit), (
            "Take another type; without --google-machine-image one that fits is found.")
    if state in ("OBSOLETE", "DELETED") or image.get("status", "READY") != "READY":
        return "is %s." % (state or image["status"]).lower(), "Take another --google-machine-image."
    if least > size:
        return "needs a disk of %d GB." % least, "Add --google-disk-size %d." % least
    return None


def parse_port(text):
    """(protocol, first, last) of 80, 8000-8010 or 53/udp."""
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    return protocol or "tcp", int(first), int(last or first)


def allowed(ports):
    """The `allowed` of a rule for ports of parse_port()."""
    rows = {}  # type: dict
    for protocol, first, last in ports:
        text = str(first) if first == last else "%d-%d" % (first, last)
        rows.setdefault(protocol, []).append(text)
    return [{"IPProtocol": protocol, "ports": texts} for protocol, texts in rows.items()]


def lacking_ports(rule, ports):
    """Those of the ports that a rule does not let in."""
    there = []
    for row in rule.get("allowed") or ():
        for text in row.get("ports") or ["0-65535"]:
            there.append((row["IPProtocol"], parse_port(text)))
    return [port for port in ports if not any(
        protocol in (port[0], "all") and first <= port[1] and port[2] <= last
        for protocol, (_, first, last) in there)]


def is_for_us(rule, network):
    """Whether a rule lets in to our machines in a network."""
    return path_of(rule.get("network", "")) == network and TAG in (
        rule.get("targetTags") or ()) and rule.get("direction", "INGRESS") == "INGRESS" and (
            not rule.get("disabled"))
