# SPDX-License-Identifier: Apache-2.0
"""VMs of Microsoft Azure, by the Azure Resource Manager (ARM); azure-identity finds the login."""

import os

from docker_machine import (
    ERROR,
    RUNNING,
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
    each,
    out,
    parse_json,
    plain_words,
    quote,
    read_text,
    wait_for,
)

PACKAGES = "azure-identity"
TAG = "docker-machine"  # the key of the tag on all that we make
SHARED = "shared"  # its value on what several machines use; else it is that of the creation
THEIRS = "rancher-managed"  # the tag of the same meaning that Rancher's driver gives
CLOUDS = {  # name: host of the logins, ARM, name in the files of az
    "AzurePublicCloud": ("login.microsoftonline.com", "https://management.azure.com", "AzureCloud"),
    "AzureUSGovernmentCloud": ("login.microsoftonline.us", "https://management.usgovcloudapi.net",
                               "AzureUSGovernment"),
    "AzureChinaCloud": ("login.chinacloudapi.cn", "https://management.chinacloudapi.cn",
                        "AzureChinaCloud")}
VERSIONS = {  # of ARM's API, by the beginning of a type; such as all clouds have
    "Microsoft.Compute/skus": "2021-07-01", "Microsoft.Compute/disks": "2024-03-02",
    "Microsoft.Compute/galleries": "2024-03-03", "Microsoft.Compute/locations/co": "2024-03-03",
    "Microsoft.Compute/locations/sh": "2024-03-03", "Microsoft.Compute": "2024-07-01",
    "Microsoft.Network": "2024-05-01", "Microsoft.Resources": "2021-04-01"}
SET, DISK = "Microsoft.Compute/availabilitySets", "Microsoft.Compute/disks"
VM, NIC = "Microsoft.Compute/virtualMachines", "Microsoft.Network/networkInterfaces"
IP, NSG = "Microsoft.Network/publicIPAddresses", "Microsoft.Network/networkSecurityGroups"
VNET = "Microsoft.Network/virtualNetworks"
PARTS = ((DISK, "-os-disk"), (NIC, "-nic"), (IP, "-ip"), (IP, "-ip6"), (NSG, "-firewall"))
IPV6 = "fd64:6f63:6b65::/48", "fd64:6f63:6b65::/64"  # private, of a new network and its subnet
SIZES = ("Standard_B2s", "Standard_B2s_v2", "Standard_B2as_v2", "Standard_D2s_v5",
         "Standard_D2as_v5", "Standard_D2s_v6", "Standard_D2s_v4", "Standard_D2s_v3")
DISKS = "Standard_LRS", "StandardSSD_LRS", "Premium_LRS", "StandardSSD_ZRS", "Premium_ZRS"
UNUSED = "Accepted; "
UBUNTU = "Canonical:ubuntu-24_04-lts:%s:latest"
STATES = {"starting": STARTING, "running": RUNNING, "stopping": STOPPING, "stopped": STOPPED,
          "deallocating": STOPPING, "deallocated": STOPPED}  # of PowerState/...
UNFINISHED = {"creating": STARTING, "failed": ERROR, "deleting": STOPPING}  # ProvisioningState/...
VERBS = {"start": "start", "stop": "powerOff", "kill": "powerOff", "restart": "restart"}
RESERVED = ("root|admin(istrator|[123])?|user[1-5]?|test[123]?|guest|owner|server|sql|support(_.*)?"
            "|sys|backup|console|adm|actuser|aspnet|david|john|video|a|1|123")
BUSY = ("AnotherOperationInProgress", "RetryableError", "ReferencedResourceNotProvisioned",
        "CanceledAndSupersededDueToAnotherOperation", "ConflictingConcurrentWriteNotAllowed",
        "NicReservedForAnotherVm", "NicInUse", "PublicIPAddressCannotBeDeleted", "TooManyRequests",
        "InUseNetworkSecurityGroupCannotBeDeleted", "InUseSubnetCannotBeDeleted",
        "ResourceGroupBeingDeleted")
NO_ROOM = "(Zonal)?AllocationFailed|Overconstrained(Zonal)?AllocationRequest|SkuNotAvailable"
UNREGISTERED = "MissingSubscriptionRegistration"
ERRORS = (  # patterns of code and words, what to say, and what to do about it
    ("(Zonal)?AllocationFailed|Overconstrained", "Azure has no room for a %(size)s in %(place)s",
     "Try later, or another --azure-size, --azure-availability-zone or --azure-location."),
    ("SkuNotAvailable", "%(size)s cannot be had in %(place)s", "List what can: az vm list-skus "
     "--location %(region)s --resource-type virtualMachines --output table"),
    ("QuotaExceeded|[Ee]xceeding approved|CountLimitReached", "A quota of the subscription is used "
     "up", "Take another size or region, or ask for more: "
     "https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade"),
    ("DisallowedByPolicy", "A policy forbids this", "If it asks for tags: --azure-tags KEY,VALUE. "
     "If it forbids public addresses: --azure-no-public-ip, and reach it by VPN."),
    ("InvalidAuthenticationTokenTenant", "The login is of another tenant than the subscription "
     "%(subscription)s", "Name that one's: --azure-tenant-id"),
    ("SubscriptionNotFound|InvalidSubscriptionId", "The login sees no subscription "
     "%(subscription)s", "List all: az account list --output table"),
    ("ReadOnlyDisabledSubscription", "The subscription %(subscription)s is switched off",
     "See https://portal.azure.com/#view/Microsoft_Azure_Billing"),
    (UNREGISTERED, "The subscription does not have %(namespace)s yet",
     "Register it: az provider register --wait --namespace %(namespace)s"),
    ("LocationNotAvailable|InvalidLocation|NoRegisteredProviderFound", "That cannot be had in "
     "%(region)s", "List all: az account list-locations --output table"),
    ("(VM)?Marketplace|ResourcePurchaseValidationFailed", "The terms of the image have not been "
     "accepted", "Accept them: az vm image terms accept --urn %(image)s"),
    ("ImageNotFound|[Hh]ypervisor [Gg]eneration|Cpu Architecture", "The image %(image)s does not "
     "go with the size %(size)s", "Leave out --azure-image; one that fits is taken."),
    ("keyData", "Azure does not take the SSH key", "Give it an RSA key: ssh-keygen -t rsa -b 4096 "
     "-m PEM -f KEY, then --azure-ssh-keypath KEY"),
    ("DnsRecordInUse", "The DNS label is taken in %(region)s", "Take another --azure-dns."),
    ("ResourceGroupBeingDeleted", "The resource group is being deleted", "Wait for it: az group "
     "wait --deleted --name %(group)s; or take another --azure-resource-group."),
    ("ScopeLocked", "A lock forbids this", "List them: az lock list -g %(group)s"),
    ("InUse|CannotBeDeleted|ReservedForAnother", "Something that is to go is still in use",
     "Try again in some minutes: docker-machine rm %(name)s"),
    ("ConflictingUserInput|already exists", "Something of that name is there already",
     "Take another name, or delete it: az resource list -g %(group)s --output table"),
)
LOGINS = (  # patterns of what Entra says, what to say, and what to do about it
    ("AADSTS7000222", "The client secret has expired",
     "Make another one: az ad app credential reset --id CLIENT-ID"),
    ("AADSTS7000215", "The client secret is wrong", "It takes the secret's value, not its id."),
    ("AADSTS700016", "The tenant has no application of that client id",
     "See --azure-tenant-id and --azure-client-id."),
    ("AADSTS(90002|900023)", "There is no such tenant",
     "See yours: az account show --query tenantId"),
    ("AADSTS(700024|50013)", "The time in the login is refused",
     "Set the clock: sudo timedatectl set-ntp true"),
    ("AADSTS53003", "Conditional access forbids the login", "Log in from a place that it allows."),
    ("AADSTS|expired|invalid_grant", "The Azure login has expired or was revoked",
     "Log in again: az login"),
)


def flag(name, default, help, field="", env="", **more):
    """A flag whose variable has its name in capitals; `env` is another one, None for none."""
    if env == "":
        env = "AZURE_" + name.upper().replace("-", "_")
    return Flag("azure-" + name, default, help, env or "", field=field, **more)


class AzureDriver(CloudDriver):
    """A VM of Microsoft Azure."""

    name, provider, thing = "azure", "Azure", "VM"
    creating = "Creating the virtual machine..."
    status_page = "https://azure.status.microsoft"
    id_field, key_file_field, user_data_field = "InstanceID", "SSHKey", "CustomDataFile"
    login, new_login = "Azure login", "Log in again: az login"
    scope_hint = ("It takes a role with the action %s, such as Contributor on the resource group; "
                  "docs/drivers/azure.md lists all.")
    kinds = ("image", "network", "nsg", "set", "group", "taken")
    most_user_data = 65535
    prompts = True  # whether a login by device code may ask
    flags = (
        flag("environment", "", "Cloud: %s (default: az's)" % ", ".join(CLOUDS), "Environment"),
        flag("subscription-id", "", "Subscription (default: az's, or the only one)",
             "SubscriptionID", form="[0-9a-fA-F-]{36}", hint="List all: az account list"),
        flag("tenant-id", "", "Tenant of the login (default: the subscription's)", "TenantID",
             form="[0-9A-Za-z.-]+"),
        flag("client-id", "", "Service principal, or without a secret a managed identity",
             "ClientID", form="[0-9a-zA-Z-]+"),
        flag("client-secret", "", "Its secret", "ClientSecret", secret=True),
        flag("resource-group", "docker-machine", "Resource group, made if there is none",
             "ResourceGroup", form=r"[\w().-]{0,89}[\w()-]"),
        flag("location", "westus", "Region", "Location", form="[A-Za-z0-9 ]+"),
        flag("size", "", "Size (default: Standard_B2s, or the first of some others that the "
             "subscription may use)", "Size", form=r"[\w-]+"),
        flag("image", "", "Image: publisher:offer:sku:version, or an id, of a gallery's too "
             "(default: Ubuntu 24.04 for the size)", "Image",
             form=r"[\w.-]+(:[\w.-]+){3}|/[\w./ ()-]+",
             hint="image provided must be an image URN or an ARM resource identifier"),
        flag("plan", "", "Marketplace plan, publisher:product:plan (default: the image's)", "Plan",
             form=r"[\w.-]+(:[\w.-]+){2}"),
        flag("ssh-user", "docker-user", "SSH user, who is made at the first boot", "SSHUser",
             form=r"(?!(?i:%s)$)[A-Za-z_][\w.-]{0,63}" % RESERVED),
        flag("ssh-keypath", "", "SSH private key (default: one is made)", "SSHKey", file=True),
        flag("docker-port", 2376, "Port of the engine", "DockerPort", port=True),
        flag("custom-data", "", "File of user data for the first boot", "CustomDataFile",
             "AZURE_CUSTOM_DATA_FILE", file=True),
        flag("vnet", "docker-machine-vnet", "Virtual network, as [group:]name or id; made if there "
             "is none", "VirtualNetwork", form=r"([\w().-]+:)?[\w.-]+|/[\w./()-]+"),
        flag("subnet", "docker-machine", "Subnet, made if there is none", "SubnetName",
             form=r"[\w.-]+"),
        flag("subnet-prefix", "192.168.0.0/16", "Its addresses if it is made", "SubnetPrefix",
             form=r"\d+(\.\d+){3}/\d+"),
        flag("nsg", "", "Network security group for several machines, by name or id (default: "
             "NAME-firewall)", "NSG", form=r"[\w.-]+|/[\w./()-]+"),
        flag("open-port", [], "Port to let in: 80, 8000-8010 or 53/udp", "OpenPorts", None,
             form=r"\d{1,5}(-\d{1,5})?(/(tcp|udp|\*))?"),
        flag("private-ip-address", "", "Private address (default: a free one)", "PrivateIPAddr",
             None, form=r"\d+(\.\d+){3}"),
        flag("use-private-ip", False, "Reach it at its private address", "UsePrivateIP", None),
        flag("no-public-ip", False, "Make no public address", "NoPublicIP", None),
        flag("static-public-ip", False, UNUSED + "every address is static", "StaticPublicIP", None),
        flag("enable-public-ip-standard-sku", False, UNUSED + "every address is Standard",
             "EnablePublicIPStandardSKU", "AZURE_STANDARD_PUBLIC_IP_SKU"),
        flag("ipv6", False, "A public IPv6 address too", "IPv6"),
        flag("dns", "", "DNS label of the public address", "DNSLabel", "AZURE_DNS_LABEL",
             form="[a-z][a-z0-9-]{1,61}[a-z0-9]"),
        flag("accelerated-networking", False, "Accelerated networking", "AcceleratedNetworking"),
        flag("disk-size", 30, "Size of the OS disk in GB", "DiskSize", least=1, most=4095),
        flag("storage-type", "Standard_LRS", "Its type: " + ", ".join(DISKS), "StorageType",
             choices=DISKS),
        flag("disk-encryption-set", "", "Id of a disk encryption set", "DiskEncryptionSet",
             form=r"/[\w./()-]+"),
        flag("managed-disks", False, UNUSED + "every disk is managed", "ManagedDisks"),
        flag("availability-set", "", "Availability set, made if there is none (default: none)",
             "AvailabilitySet", form=r"[\w.-]+"),
        flag("fault-domain-count", 3, "Fault domains of a new set", "FaultCount", least=1, most=3),
        flag("update-domain-count", 5, "Its update domains", "UpdateCount", least=1, most=20),
        flag("availability-zone", "", "Zone of the region: 1, 2 or 3", "AvailabilityZone",
             form="[1-9]"),
        flag("tags", "", "Tags on all that is made: key1,value1,key2,value2", form="%s(,%s)*" % (
            (r"[^,<>%&\?/]{1,512},[^,]{0,256}",) * 2)),
        flag("spot", False, "A spot VM, else a regular one", "Spot"),
        flag("spot-max-price", "", "The most to pay for it, in dollars an hour (default: as for a "
             "regular one)", "SpotMaxPrice", form=r"\d*\.?\d{1,5}"),
        flag("spot-eviction-policy", "Deallocate", "What becomes of it when Azure wants it back: "
             "Deallocate or Delete", "SpotEviction", choices=("Deallocate", "Delete")),
        flag("trusted-launch", False, "Secure boot and a TPM", "TrustedLaunch"),
        flag("encryption-at-host", False, "Encrypt on the host too", "EncryptionAtHost"),
        flag("deallocate", False, "Let stop deallocate: compute is not billed then", "Deallocate"),
    )
    fields = (("InstanceID", ""), ("Tags", {}), ("Ordered", False), ("MadeSubnet", False),
              ("Deallocated", False))  # type: tuple
    looks = []  # type: list  # when check_boot() asked

    def __init__(self, machine):
        from functools import lru_cache
        from threading import Lock
        super().__init__(machine)
        self.lock, self.token = Lock(), None  # one login for all threads
        self.credentials = lru_cache(None)(self.credentials)  # type: ignore
        if "CreateTag" not in self.config and self.get("SubscriptionID"):  # Docker Machine's
            self["InstanceID"] = self._key()

    def checks(self):
        try:
            words = "azure-identity " + self.need("azure.identity", PACKAGES).__version__
            return [Finding("ok", "azure", words)]
        except MachineError as error:
            return [Finding("ok", "azure", "no azure-identity here, which only its machines need",
                            error.hint)]

    # --- the flags

    def set_config_from_flags(self, options):
        for one in self.flags:
            if one.default not in ("", None) and options[one.name] == "":
                raise UsageError('azure driver requires the "--%s" option.' % one.name)
            if one.help.startswith(UNUSED) and options[one.name]:
                out.warn("--%s does nothing: %s." % (one.name, one.help[len(UNUSED):]))
        super().set_config_from_flags(options)
        for field in ("ClientID", "ClientSecret"):  # what a variable gave is found there again
            variable = "AZURE_CLIENT_" + field[6:].upper()
            if self[field] == os.environ.get(variable, ""):
                self[field] = ""
        words = options["azure-tags"].split(",")
        self["Tags"] = dict(zip(words[::2], words[1::2])) if options["azure-tags"] else {}
        self["Location"] = self["Location"].lower().replace(" ", "")
        self["UsePrivateIP"] = self["UsePrivateIP"] or self["NoPublicIP"]
        self._set_account()
        self._check_values()

    def _set_account(self):
        """Take cloud and subscription from where az keeps them, if no flag says them."""
        known = self.profile()
        given_id = self["SubscriptionID"] or os.environ.get("ARM_SUBSCRIPTION_ID", "")
        rows = [row for row in known if row.get("id") == given_id
                or not given_id and row.get("isDefault")]
        row = rows[0] if rows else {}
        names = {az: name for name, (_, _, az) in CLOUDS.items()}
        self["SubscriptionID"] = given_id or row.get("id", "")
        self["Environment"] = self["Environment"] or names.get(
            row.get("environmentName", ""), "AzurePublicCloud")

    @staticmethod
    def profile():
        """What az knows of subscriptions: dicts with id, tenantId, isDefault, environmentName."""
        folder = os.environ.get("AZURE_CONFIG_DIR") or os.path.expanduser("~/.azure")
        path = os.path.join(folder, "azureProfile.json")
        try:
            return parse_json(read_text(path).lstrip("\ufeff"))["subscriptions"]
        except (MachineError, OSError, ValueError, LookupError, TypeError):
            return []

    def _check_values(self):
        """Refuse what the form of a value alone does not tell. Raises UsageError."""
        from re import fullmatch
        self._cloud()
        if not fullmatch("[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?", self.machine.name):
            raise UsageError("Azure takes no VM of the name %s." % self.machine.name,
                             "Names are of up to 64 letters, digits, dots and dashes.")
        for text in self["OpenPorts"]:
            first, _, last = text.partition("/")[0].partition("-")
            if not 0 < int(first) <= int(last or first) < 65536:
                raise UsageError("--azure-open-port %s is not a port or range." % text)
        names = [rule_name(text) for text in self["OpenPorts"]]
        if len(set(names)) < len(names):
            raise UsageError("--azure-open-port names a port twice.")
        if self["AvailabilitySet"] and (self["AvailabilityZone"] or self["Spot"]):
            raise UsageError("--azure-availability-set takes neither zones nor spot VMs.")
        if self["NoPublicIP"] and (self["DNSLabel"] or self["IPv6"]):
            raise UsageError("--azure-dns and --azure-ipv6 are for a public address.",
                             "Leave out --azure-no-public-ip.")
        if self["Plan"] and not self["Image"]:
            raise UsageError("--azure-plan belongs to an --azure-image.")

    def _cloud(self):
        """(host of the logins, URL of ARM, name at az). Raises UsageError."""
        name = self.get("Environment", "AzurePublicCloud")
        if name == "AzureGermanCloud":
            raise UsageError("--azure-environment: AzureGermanCloud was closed in 2021.",
                             "The regions of today are germanywestcentral and germanynorth.")
        for cloud, row in CLOUDS.items():
            if name.lower() in (cloud.lower(), row[2].lower()):
                return row
        raise UsageError('--azure-environment: Invalid Azure environment: "%s", supported values: '
                         "%s" % (name, ", ".join(CLOUDS)))

    # --- before the machine is made

    def pre_create_check(self):
        if not self["SubscriptionID"]:
            self["SubscriptionID"] = self._only_subscription()
        super().pre_create_check()
        self["Size"] = self.look_up("size")["name"]
        self["Image"] = self.look_up("image")["name"]
        if self["NoPublicIP"]:
            self.log("Without a public address a new network has no way out: it takes a NAT "
                     "gateway, a firewall or a proxy.")

    def _only_subscription(self):
        rows = self.arm("GET", "/subscriptions", rows="value")
        known = ["%s (%s)" % (row["subscriptionId"], row.get("displayName")) for row in rows]
        if len(rows) != 1:
            raise MachineError("The login has %d subscriptions." % len(rows),
                               "Name one by --azure-subscription-id: " + ", ".join(known[:9]))
        self.log("The subscription is %s." % known[0])
        return rows[0]["subscriptionId"]

    def look_up(self, kind):
        return getattr(self, "_look_up_" + kind)()

    def _look_up_group(self):
        """The resource group, or None."""
        return self.arm("GET", self.group(), none=404)

    def _look_up_taken(self):
        """Refuse names that are taken in the resource group. Raises MachineError."""
        mine = ["%s/%s%s" % (kind, self.machine.name, end)
                for kind, end in [(VM, "")] + self._parts()]
        rows = self.arm("GET", self.group() + "/resources", none=404, rows="value") or []
        for row in rows:
            name = "%s/%s" % (row["type"], row["name"])
            if name.lower() == mine[0].lower():
                raise MachineError('Virtual Machine with name %s already exists in resource group '
                                   '"%s"' % (self.machine.name, self["ResourceGroup"]),
                                   "Take another name, or another --azure-resource-group.")
            if name.lower() in map(str.lower, mine):
                raise MachineError("The resource group %s has a %s already." % (
                    self["ResourceGroup"], name), "Take another name, or delete it: "
                    "az resource delete --ids " + quote(row["id"]))

    def _look_up_skus(self):
        """What Azure sells to the subscription in the region; [] if we may not know."""
        path = "/subscriptions/%s/providers/Microsoft.Compute/skus" % self["SubscriptionID"]
        where = "location eq '%s'" % self["Location"]
        rows = self.arm("GET", path, none=403, rows="value", **{"$filter": where})
        if rows is None:
            return []
        if not rows:
            places = self.arm("GET", "/subscriptions/%s/locations" % self["SubscriptionID"],
                              rows="value")
            raise self.unknown("region", self["Location"], "az account list-locations --output "
                               "table", [row["name"] for row in places])
        return rows

    def _look_up_size(self):
        """The row of the size that is typed, or of the first of SIZES that can be had."""
        rows = {row["name"].lower(): row for row in self.look_up("skus")
                if row["resourceType"] == "virtualMachines"}
        typed = self["Size"]
        if not rows:
            return guessed_size(typed or SIZES[0])
        for name in [typed] if typed else SIZES:
            row = rows.get(name.lower())
            if row and not self._lacks(row):
                if not typed and name != SIZES[0]:
                    self.log("%s cannot be had here; %s is taken." % (SIZES[0], name))
                return row
        raise self._no_size(typed, rows)

    def _no_size(self, typed, rows):
        """The error for a size that cannot be had, or for SIZES, with those that can."""
        fit = [row for row in rows.values() if not self._lacks(row)]
        command = ("az vm list-skus --location %s --resource-type virtualMachines --output table" %
                   self["Location"])
        if typed and typed.lower() not in rows:
            return self.unknown("size", typed, command, [row["name"] for row in fit])
        wanted = rows.get(typed.lower(), {})
        words = "%s %s" % (wanted["name"], self._lacks(wanted)) if wanted else (
            "Azure has none of the usual small sizes for this subscription in the region %s." %
            self["Location"])
        near = sorted(fit, key=lambda row: nearness(row, wanted))[:6]
        return MachineError(words, "Allowed: %s. List all: %s" % (
            ", ".join(row["name"] for row in near) or "none", command))

    def _lacks(self, row):
        """What a size lacks of what is wanted here, as words behind its name, or ""."""
        region, zone, can = self["Location"], self["AvailabilityZone"], abilities(row)
        for one in row.get("restrictions") or ():
            zones = (one.get("restrictionInfo") or {}).get("zones") or ()
            if one.get("type") == "Location" or zone in zones:
                return "cannot be had by this subscription in the region %s%s (%s)." % (
                    region, " and zone " + zone if zone else "", plain_words(one.get("reasonCode")))
        places = (row.get("locationInfo") or [{}])[0].get("zones") or []
        if zone and zone not in places:
            return "is not in the zone %s of %s, only in: %s." % (
                zone, region, ", ".join(sorted(places)) or "none")
        lacks = [words for wanted, key, words in (
            (self["Spot"], "LowPriorityCapable", "spot VMs"),
            (self["AcceleratedNetworking"], "AcceleratedNetworkingEnabled",
             "accelerated networking"),
            (self["EncryptionAtHost"], "EncryptionAtHostSupported", "encryption at host"),
            (self["StorageType"].startswith("Premium"), "PremiumIO", "premium disks"))
            if wanted and can.get(key) != "True"]
        if self["TrustedLaunch"] and (can.get("TrustedLaunchDisabled") == "True" or "V2" not in
                                      can.get("HyperVGenerations", "V2")):
            lacks.append("trusted launch")
        return "has no %s." % " and no ".join(lacks) if lacks else ""

    def _look_up_image(self):
        """What is to be known of the image: its name and `properties`."""
        can = abilities(self.look_up("size"))
        name = self["Image"]
        if not name:
            sku = "server" if "V2" in can.get("HyperVGenerations", "V2") else "server-gen1"
            sku = "server-arm64" if can.get("CpuArchitectureType") == "Arm64" else sku
            return {"name": UBUNTU % sku, "properties": {}}
        try:
            about = self._named_image(name)
        except RestError as error:
            if error.status != 403:
                raise
            about = {}  # ARM will tell
        trouble = image_trouble(about, can, self["DiskSize"])
        if trouble:
            raise MachineError("The image %s %s" % (name, trouble[0]), trouble[1])
        return {"name": name, "properties": about}

    def _named_image(self, name):
        """The properties of an image by URN or id. Raises MachineError if there is none."""
        if not name.startswith("/"):
            return self._market_image(*name.split(":"))
        from re import split
        path = split("(?i)/versions/", name)[0]
        if not path.startswith("/subscriptions/"):
            path = path.replace("/CommunityGalleries/", "/communityGalleries/").replace(
                "/SharedGalleries/", "/sharedGalleries/").replace("/Images/", "/images/")
            path = self._place() + path
        row = self.arm("GET", path, none=404)
        if row is None:
            raise self.unknown("image", name, "az image list; az sig image-definition list")
        return row.get("properties") or {}

    def _market_image(self, publisher, offer, sku, version):
        skus = "%s/publishers/%s/artifacttypes/vmimage/offers/%s/skus" % (
            self._place(), publisher, offer)
        path = "%s/%s/versions" % (skus, sku)
        if version.lower() == "latest":
            rows = self.arm("GET", path, none=404, **{"$top": 1, "$orderby": "name desc"})
            version = rows[0]["name"] if rows else ""
        row = version and self.arm("GET", "%s/%s" % (path, version), none=404)
        if not row:
            known = [one["name"] for one in self.arm("GET", skus, none=404) or ()]
            raise self.unknown("image", ":".join((publisher, offer, sku, version or "latest")),
                               "az vm image list --all --publisher %s --offer %s" % (
                                   publisher, offer), known)
        return row.get("properties") or {}

    def _look_up_network(self):
        """The virtual network, or None if it is to be made. Raises MachineError."""
        path = self.network_path()
        row = self.arm("GET", path, none=404)
        foreign = not self._is_here(path)
        if row is None and foreign:
            raise self.unknown("virtual network", self["VirtualNetwork"], "az network vnet list")
        if row is None:
            return None
        if row["location"] != self["Location"]:
            raise MachineError("Virtual Network must exist in the same region, provided name %s "
                               "exists in region %s, expected %s" % (
                                   row["name"], row["location"], self["Location"]),
                               "Add --azure-location " + row["location"])
        if foreign and self["SubnetName"] not in subnets(row):
            raise self.unknown("subnet", self["SubnetName"], "az network vnet subnet list --ids " +
                               path, sorted(subnets(row)))
        prefixes = subnets(row).get(self["SubnetName"], {}).get("addressPrefixes") or []
        if self["IPv6"] and ":" not in "".join(prefixes):
            raise MachineError("The subnet %s has no IPv6." % self["SubnetName"],
                               "Name another --azure-subnet, or a new --azure-vnet.")
        return row

    def _look_up_nsg(self):
        """The network security group that the user named, or None. Raises MachineError."""
        if not self["NSG"]:
            return None
        row = self.arm("GET", self.nsg_path(), none=404)
        if row is None and not self._is_here(self.nsg_path()):
            raise self.unknown("network security group", self["NSG"], "az network nsg list")
        return row

    def _look_up_set(self):
        """The availability set that the user named, or None. Raises MachineError."""
        if not self["AvailabilitySet"]:
            return None
        row = self.arm("GET", self.set_path(), none=404)
        if row and (row.get("sku") or {}).get("name") != "Aligned":
            raise MachineError("cannot convert non-managed availability set %s to managed "
                               "availability set" % self["AvailabilitySet"],
                               "Take another --azure-availability-set.")
        return row

    # --- the machine

    def order(self, keys):
        try:
            if self.look_up("group") is None:
                self.change("PUT", self.group(), {"location": self["Location"],
                                                  "tags": self._tags(SHARED)})
            makers = [self._make_network, self._make_nsg, self._make_ip, self._make_set]
            for answer in each(lambda make: make(), makers):
                if isinstance(answer, Exception):
                    raise answer
            self._make_nic()
            self["Ordered"] = True
            self.machine.save()
            self._make_vm()
        except RestError as error:
            if error.refused:
                self._give_up(error)
            raise
        return Instance(self._key(), STARTING, (), [self["CreateTag"]])

    def _make_vm(self):
        """Order the VM: a spot one, else a regular one. Raises RestError."""
        from re import search
        try:
            self.change("PUT", self.at(VM), self._body())
        except RestError as error:
            if not (error.refused and self["Spot"] and search(
                    NO_ROOM + "|LowPriority|[Ss]pot", error.reason + " " + error.words)):
                raise
            out.warn("There is no spot VM: %s. A regular one is made." % error.words)
            self["Spot"] = False
            self.machine.save()
            self.change("DELETE", self.at(VM), none=404)  # which takes interface and address along
            self._make_ip()
            self._make_nic()
            self.change("PUT", self.at(VM), self._body())

    def _give_up(self, error):
        """Remove all that a refused creation has made; what cannot be removed keeps the entry."""
        try:
            if self["Ordered"] and self.describe():
                self.change("DELETE", self.at(VM), none=404)
            self.delete_tagged()
            self["Ordered"] = False
        except RestError as trouble:
            error.refused = False
            error.advise("Some of it is left: %s" % trouble.message)

    def _tags(self, value):
        return dict(self["Tags"], **{TAG: value})

    def _resource(self, properties, value="", **more):
        """The body of a resource that carries our tag."""
        return dict(more, location=self["Location"], properties=properties,
                    tags=self._tags(value or self["CreateTag"]))

    def _make_network(self):
        there, prefix = self.look_up("network"), self["SubnetPrefix"]
        subnet = {"addressPrefixes": [prefix, IPV6[1]]} if self["IPv6"] else {
            "addressPrefix": prefix}  # type: dict
        if there is None:
            self.change("PUT", self.network_path(), self._resource({
                "addressSpace": {"addressPrefixes": [prefix] + [IPV6[0]] * self["IPv6"]},
                "subnets": [{"name": self["SubnetName"], "properties": subnet}]}, SHARED))
        elif self["SubnetName"] not in subnets(there):
            self["MadeSubnet"] = True
            self.machine.save()
            self.change("PUT", self.subnet_path(), {"properties": subnet})

    def _make_nsg(self):
        if self.look_up("nsg") is None:
            value = SHARED if self["NSG"] else ""
            self.change("PUT", self.nsg_path(), self._resource(
                {"securityRules": self._rules()}, value))

    def _rules(self):
        """The rules by which our ports are let in, with names and words of Docker Machine's."""
        ssh, engine, *swarm = self.ports()
        rows = [(100, "SSHAllowAny", "Allow ssh from public Internet", "Tcp", str(ssh)),
                (300, "DockerAllowAny", "Allow docker engine access (TLS-protected)", "Tcp",
                 str(engine))]
        for number, (protocol, port) in enumerate([("Tcp", port) for port in swarm] + [
                ("Udp", port) for port in self.udp_ports()]):
            rows.append((500 + number, "DockerSwarmAllowAny" + str(number or ""),
                         "Allow swarm manager access (TLS-protected)", protocol, str(port)))
        for number, text in enumerate(self["OpenPorts"]):
            ports, _, protocol = text.partition("/")
            rows.append((1000 + number, rule_name(text), "User requested port to be accessible "
                         "from Internet via docker-machine", (protocol or "tcp").title(), ports))
        return [{"name": name, "properties": {
            "priority": priority, "description": words, "direction": "Inbound", "access": "Allow",
            "protocol": protocol, "sourceAddressPrefix": "*", "sourcePortRange": "*",
            "destinationAddressPrefix": "*", "destinationPortRange": ports}}
            for priority, name, words, protocol, ports in rows]

    def _make_ip(self):
        if self["NoPublicIP"]:
            return
        label = {"domainNameLabel": self["DNSLabel"]} if self["DNSLabel"] else {}
        self.change("PUT", self.at(IP, "-ip"), self._resource(given({
            "publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4",
            "dnsSettings": label}), sku={"name": "Standard"}))
        if self["IPv6"]:
            self.change("PUT", self.at(IP, "-ip6"), self._resource({
                "publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv6"},
                sku={"name": "Standard"}))

    def _make_set(self):
        if not self["AvailabilitySet"] or self.look_up("set"):
            return
        most = [int(abilities(row).get("MaximumPlatformFaultDomainCount", 3))
                for row in self.look_up("skus")
                if (row["resourceType"], row["name"]) == ("availabilitySets", "Aligned")]
        self.change("PUT", self.set_path(), self._resource({
            "platformFaultDomainCount": min([self["FaultCount"]] + most),
            "platformUpdateDomainCount": self["UpdateCount"]}, SHARED, sku={"name": "Aligned"}))

    def _make_nic(self):
        ip = {"primary": True, "subnet": {"id": self.subnet_path()},
              "privateIPAllocationMethod": "Static" if self["PrivateIPAddr"] else "Dynamic"}
        if self["PrivateIPAddr"]:
            ip["privateIPAddress"] = self["PrivateIPAddr"]
        if not self["NoPublicIP"]:
            ip["publicIPAddress"] = {"id": self.at(IP, "-ip"),
                                     "properties": {"deleteOption": "Delete"}}
        rows = [{"name": "ip", "properties": ip}]
        if self["IPv6"]:
            rows.append({"name": "ip6", "properties": {
                "privateIPAddressVersion": "IPv6", "privateIPAllocationMethod": "Dynamic",
                "subnet": {"id": self.subnet_path()}, "publicIPAddress": {
                    "id": self.at(IP, "-ip6"), "properties": {"deleteOption": "Delete"}}}})
        self.change("PUT", self.at(NIC, "-nic"), self._resource(given({
            "enableAcceleratedNetworking": self["AcceleratedNetworking"],
            "networkSecurityGroup": {"id": self.nsg_path()},
            "ipConfigurations": rows})))

    def _body(self):
        """The VM as ARM takes it."""
        nic = {"id": self.at(NIC, "-nic"), "properties": {"primary": True,
                                                          "deleteOption": "Delete"}}
        properties = {
            "hardwareProfile": {"vmSize": self.look_up("size")["name"]},
            "storageProfile": self._storage(), "osProfile": self._os(),
            "networkProfile": {"networkInterfaces": [nic]},
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
            "securityProfile": self._security()}
        if self["AvailabilitySet"]:
            properties["availabilitySet"] = {"id": self.set_path()}
        if self["Spot"]:
            price = float(self["SpotMaxPrice"] or -1)  # -1: up to that of a regular one
            properties.update(priority="Spot", evictionPolicy=self["SpotEviction"],
                              billingProfile={"maxPrice": price})
        more = given({"zones": [self["AvailabilityZone"]] * bool(self["AvailabilityZone"]),
                      "plan": self._plan()})
        return self._resource(given(properties), **more)

    def _storage(self):
        disk = {"storageAccountType": self["StorageType"]}  # type: dict
        if self["DiskEncryptionSet"]:
            disk["diskEncryptionSet"] = {"id": self["DiskEncryptionSet"]}
        kinds = abilities(self.look_up("size")).get("DiskControllerTypes", "")
        return given({
            "imageReference": image_reference(self["Image"] or self.look_up("image")["name"]),
            "diskControllerType": "NVMe" if kinds == "NVMe" else "",
            "osDisk": {"name": self.machine.name + "-os-disk", "createOption": "FromImage",
                       "caching": "ReadWrite", "diskSizeGB": self["DiskSize"],
                       "deleteOption": "Delete", "managedDisk": disk}})

    def _os(self):
        from base64 import b64encode
        user = self.get_ssh_username()
        key = {"path": "/home/%s/.ssh/authorized_keys" % user, "keyData": self.public_key()}
        return {"computerName": self.machine.name, "adminUsername": user,
                "customData": b64encode(self.user_data().encode()).decode(),
                "linuxConfiguration": {"disablePasswordAuthentication": True,
                                       "ssh": {"publicKeys": [key]}}}

    def _security(self):
        profile = given({"encryptionAtHost": self["EncryptionAtHost"]})
        if self["TrustedLaunch"]:
            profile.update(securityType="TrustedLaunch",
                           uefiSettings={"secureBootEnabled": True, "vTpmEnabled": True})
        return profile

    def _plan(self):
        """The Marketplace plan: the typed one, or the image's."""
        if self["Plan"]:
            publisher, product, name = self["Plan"].split(":")
            return {"publisher": publisher, "product": product, "name": name}
        about = self.look_up("image")["properties"]
        plan = about.get("plan") or about.get("purchasePlan") or {}
        return given({key: plan.get(key) for key in ("publisher", "product", "name")})

    # --- what it is

    def row(self):
        """What ARM tells of the VM of the machine's name, or None."""
        return self.arm("GET", self.at(VM), none=404, **{"$expand": "instanceView"})

    def describe(self):
        found = [one for one in self.instances("named") if self._is_ours(one)]
        return found[0] if found else None

    def instances(self, tag=""):
        if tag:
            row = self.row()
            return [self._instance(row, self._addresses)] if row else []
        path = "/subscriptions/%s/providers/%s" % (self["SubscriptionID"], VM)
        rows = self.arm("GET", path, rows="value", statusOnly="true")
        return [self._instance(row) for row in rows]

    def account(self):
        return self._cloud(), self["SubscriptionID"], self.get("TenantID"), self._client()

    def _is_ours(self, instance):
        """Whether it is the machine, and not another one of that name."""
        return self["CreateTag"] in ("", instance.tag)

    def _instance(self, row, addresses=lambda: ()):
        view = (row.get("properties") or {}).get("instanceView") or {}
        codes = [status.get("code", "") for status in view.get("statuses") or ()]
        power, made = (next((code.partition("/")[2] for code in codes if code.startswith(kind)), "")
                       for kind in ("PowerState/", "ProvisioningState/"))
        state = STATES.get(power) or UNFINISHED.get(made.partition("/")[0], STARTING)
        if made.startswith("failed") and state != RUNNING:
            state = ERROR if not power else state
        key = "/".join(row["id"].lower().split("/")[4::4])  # of the group, and of the VM
        one = Instance(key, state, addresses() if state == RUNNING else (),
                       [(row.get("tags") or {}).get(TAG, "")])
        one.power = power  # type: ignore
        return one

    def _addresses(self):
        """(wanted, address), with the DNS name before the number."""
        if self["UsePrivateIP"] or self["NoPublicIP"]:
            nic = self.arm("GET", self.at(NIC, "-nic"), none=404) or {}
            rows = (nic.get("properties") or {}).get("ipConfigurations") or ()
            found = [(row.get("properties") or {}).get("privateIPAddress") for row in rows]
        else:
            about = (self.arm("GET", self.at(IP, "-ip"), none=404) or {}).get("properties") or {}
            found = [(about.get("dnsSettings") or {}).get("fqdn"), about.get("ipAddress")]
        return [(True, address) for address in found if address]

    def engine_port(self):
        return self.get("DockerPort", 2376)

    @classmethod
    def states(cls, drivers, seconds):
        for driver in drivers:
            driver.prompts = False
        return super().states(drivers, seconds)

    def _state(self, found):
        there = found.get(self["InstanceID"]) if isinstance(found, dict) else None
        if self["Spot"] and there and there.power == "deallocated" and not self["Deallocated"]:
            out.warn("The spot VM %s was evicted by Azure, or deallocated by somebody. Start it "
                     "again: docker-machine start %s" % (self.machine.name, self.machine.name))
        return super()._state(found)

    def check_boot(self):
        """Looks twice a minute, lest a fleet that boots is slowed down by Azure."""
        from time import monotonic
        now = monotonic()
        self.looks = self.looks or [now]
        if now < self.looks[-1] + 30:
            return
        self.looks.append(now)
        if self.get_state() in (STOPPED, STOPPING):
            raise MachineError("The VM %s is off again." % self.machine.name,
                               "Why: az monitor activity-log list -g " + self["ResourceGroup"])
        if len(self.looks) == 5:
            out.warn("SSH does not answer yet. If it never does: a network security group of the "
                     "subnet has to let in port %d too, and without a public address it takes a "
                     "VPN. The console: az vm boot-diagnostics get-boot-log -g %s -n %s" % (
                         self.get_ssh_port(), self["ResourceGroup"], self.machine.name))

    # --- on and off

    def act(self, verb):
        word = VERBS[verb]
        if verb == "stop" and self["Deallocate"]:
            word = "deallocate"
        self["Deallocated"] = word == "deallocate"
        self.machine.save()
        query = {"skipShutdown": "true"} if verb == "kill" else {}
        self.change("POST", "%s/%s" % (self.at(VM), word), **query)

    def stop(self):
        self._turn("stop", STOPPED)
        if not self["Deallocate"]:
            self.log("Its compute is still billed. Stop that too: az vm deallocate -g %s -n %s "
                     "(or create with --azure-deallocate)" % (
                         self["ResourceGroup"], self.machine.name))

    # --- the removal

    def delete(self):
        row = self.row()
        if row and self._is_ours(self._instance(row)):
            self.change("DELETE", self.at(VM), none=404)
            self["Ordered"] = True
            disk = ((row.get("properties") or {}).get("storageProfile") or {}).get("osDisk") or {}
            blob = (disk.get("vhd") or {}).get("uri")
            if blob:
                out.warn("Its unmanaged disk is left, and billed: az storage blob delete "
                         "--blob-url " + quote(plain_words(blob)))
        if not self["CreateTag"]:  # else delete_tagged() does that
            self.delete_tagged()

    def delete_tagged(self):
        """Delete what was made for this machine, then what several share if it is the last."""
        for kind, end in self._parts():
            self._delete_part(kind, end)
        others = self._others()
        if self["NSG"] and not [one for one in others if one.nsg_path() == self.nsg_path()]:
            self._delete_shared(self.nsg_path(), ("networkInterfaces", "subnets"))
        if self["AvailabilitySet"] and not [
                one for one in others if one.set_path() == self.set_path()]:
            self._delete_shared(self.set_path(), ("virtualMachines",))
        if not [one for one in others if one.network_path() == self.network_path()]:
            self._delete_network()
        if not others:
            self._delete_group()

    def _delete_part(self, kind, end):
        """Delete one thing that is named after the machine, if it is its own."""
        path = self.at(kind, end)
        row = self.arm("GET", path, none=404)
        if row is None:
            return
        ours = (row.get("tags") or {}).get(TAG) == self["CreateTag"] or not self["CreateTag"]
        if kind == DISK:  # which takes no tag of the VM's order
            ours = self["Ordered"] and not row.get("managedBy")
        if ours:
            self.change("DELETE", path, none=404)

    def _others(self):
        """The other machines of the store that are in this resource group, made or to be made."""
        store, found = self.machine.store, []
        for name in store.names():
            try:
                one = store.machine(name).driver
                if name != self.machine.name and one.name == self.name and (
                        one.group().lower() == self.group().lower()):
                    found.append(one)
            except MachineError:
                pass  # whatever it is, it is not one of ours
        return found

    def _delete_shared(self, path, users):
        """Delete what we made for several machines, if it is in the group and none uses it."""
        row = self.arm("GET", path, none=404) if self._is_here(path) else None
        about = (row or {}).get("properties") or {}
        if row and self._is_shared(row) and not any(about.get(user) for user in users):
            self.change("DELETE", path, none=404)

    def _is_shared(self, row):
        """Whether we made it, or Docker Machine or Rancher's fork under the name of its default."""
        tags = row.get("tags") or {}
        by_default = row["name"] in ("docker-machine", "docker-machine-vnet")
        return tags.get(TAG) == SHARED or tags.get(THEIRS) == "true" or (
            by_default and not self["CreateTag"])

    def _delete_network(self):
        path = self.network_path()
        row = self.arm("GET", path, none=404) if self._is_here(path) else None
        if row is None:
            return
        there = subnets(row)
        used = [name for name, about in there.items() if about.get("ipConfigurations")]
        if self._is_shared(row) and not used and set(there) <= {self["SubnetName"]}:
            self.change("DELETE", path, none=404)
        elif self["MadeSubnet"] and self["SubnetName"] not in used:
            self.change("DELETE", self.subnet_path(), none=404)

    def _delete_group(self):
        row = self.arm("GET", self.group(), none=404)
        if row and (row.get("tags") or {}).get(TAG) == SHARED:
            there = self.arm("GET", self.group() + "/resources", none=404, **{"$top": 1})
            if there and not there.get("value"):
                self.change("DELETE", self.group(), none=404)

    # --- where things are

    def group(self):
        """The path of the resource group."""
        if not self["ResourceGroup"]:
            raise MachineError("new azure driver cannot manage old VMs, downgrade to v0.6.0")
        return "/subscriptions/%s/resourceGroups/%s" % (
            self["SubscriptionID"], self["ResourceGroup"])

    def at(self, kind, end=""):
        """The path of the thing of a type that is named after the machine."""
        return "%s/providers/%s/%s%s" % (self.group(), kind, self.machine.name, end)

    def _parts(self):
        """(type, end of its name) of all that is the machine's own, in the order of its removal."""
        lacking = [NSG] * bool(self["NSG"]) + ["-ip6"] * (not self["IPv6"])
        return [part for part in PARTS if not set(part) & set(lacking)]

    def _key(self):
        return ("%s/%s" % (self.get("ResourceGroup"), self.machine.name)).lower()

    def _place(self):
        return "/subscriptions/%s/providers/Microsoft.Compute/locations/%s" % (
            self["SubscriptionID"], self["Location"])

    def _is_here(self, path):
        """Whether a path is in the resource group of the machine."""
        return path.lower().startswith(self.group().lower() + "/")

    def network_path(self):
        name = self["VirtualNetwork"]
        if name.startswith("/"):
            return name
        group, _, name = name.rpartition(":")
        return "/subscriptions/%s/resourceGroups/%s/providers/%s/%s" % (
            self["SubscriptionID"], group or self["ResourceGroup"], VNET, name)

    def subnet_path(self):
        return "%s/subnets/%s" % (self.network_path(), self["SubnetName"])

    def nsg_path(self):
        name = self["NSG"] or self.machine.name + "-firewall"
        return name if name.startswith("/") else "%s/providers/%s/%s" % (self.group(), NSG, name)

    def set_path(self):
        return "%s/providers/%s/%s" % (self.group(), SET, self["AvailabilitySet"])

    # --- the API

    def arm(self, method, path, body=None, none=None, key="", rows="", **query):
        """What ARM answers, see ask(); None for the status `none`. A provider that the subscription
        lacks is registered. All may be asked again, since what is made is named by us.
        """
        query["api-version"] = version_of(path)
        scope = action_of(method, path)
        more = dict(query=query, scope=scope, key=key, repeat=True, rows=rows)
        try:
            return self.ask(method, path, body, **more)
        except RestError as error:
            unregistered = error.reason == UNREGISTERED
            if none and (error.status == none and not error.reason.startswith("Subscription")
                         or unregistered and method != "PUT"):
                return None
            if not unregistered:
                raise
            self._register(namespace_in(error.words), error)
        return self.ask(method, path, body, **more)

    def following(self, answer):
        return answer.get("nextLink")

    def _register(self, namespace, error):
        """Register a provider with the subscription. Raises `error` if we may not."""
        path = "/subscriptions/%s/providers/%s" % (self["SubscriptionID"], namespace)
        query = {"api-version": VERSIONS["Microsoft.Resources"]}
        self.log("Registering %s with the subscription..." % namespace)
        try:
            self.ask("POST", path + "/register", query=query, repeat=True)
        except RestError:
            raise error
        wait_for(lambda: self.ask("GET", path, query=query).get("registrationState") ==
                 "Registered", 600, "%s was not registered within 600 s." % namespace, 10, 2)

    def change(self, method, path, body=None, none=None, **query):
        """Change something, to the end of the operation that this is. Raises RestError."""
        answer = self.arm(method, path, body, none, None, **query)
        if answer is None:
            return
        from time import monotonic
        seen, due, where = [answer], [monotonic() + pause_of(answer)], [path]

        def is_done():
            if not self._is_going_on(seen[-1], path):
                return True
            headers = seen[-1].headers
            where[0] = headers.get("Azure-AsyncOperation") or headers.get("Location") or where[0]
            if monotonic() >= due[0]:
                again = {} if "api-version" in where[0] else {"api-version": version_of(path)}
                seen.append(self.ask("GET", where[0], query=again, key=None, none=404))
                due[0] = monotonic() + pause_of(seen[-1])
            return not self._is_going_on(seen[-1], path)

        wait_for(is_done, 1800, "Azure did not finish %s %s within 1800 s." % (method, path), 5, 1)

    def _is_going_on(self, answer, path):
        """Whether an operation goes on, by its last answer. Raises RestError if it failed."""
        if answer is None:  # what is deleted is gone
            return False
        try:
            value = parse_json(answer.body.decode())
        except ValueError:  # empty
            value = {}
        about = value.get("properties") or {}
        state = value.get("status") or about.get("provisioningState")
        if state in ("Failed", "Canceled"):
            raise self._failure(value, path)
        return state != "Succeeded" if isinstance(state, str) else answer.status == 202

    def _failure(self, value, path):
        """The RestError for an operation that ended with an error."""
        error = value.get("error") or {}
        inner = (error.get("details") or [{}])[0]
        code = plain_words(inner.get("code") or error.get("code") or "Failed")
        words = plain_words(error.get("message") or inner.get("message") or "no explanation")
        failure = RestError("Azure: %s (%s)" % (words, code), status=400, words=words, reason=code,
                            value=value, refused=True)
        self.explain(failure, "change " + path)
        return failure

    def explain(self, error, request="", scope=""):
        from re import search
        place = self["Location"]
        if self["AvailabilityZone"]:
            place += " (zone %s)" % self["AvailabilityZone"]
        facts = dict(size=self["Size"] or "VM", place=place,
                     region=self["Location"], subscription=self["SubscriptionID"],
                     group=self["ResourceGroup"], image=self["Image"], name=self.machine.name,
                     namespace=namespace_in(error.words))
        for pattern, sentence, hint in ERRORS:
            if search(pattern, "%s %s" % (error.reason, error.words)):
                error.message = "%s: %s" % (sentence % facts, error.words)
                error.hint = hint % facts
                return
        found = search(r"action '([\w./]+)'(.* over scope '([^']+)')?", error.words)
        if found and error.status == 403:
            error.message = "The Azure login may not do %s: %s" % (found.group(1), error.words)
            error.hint = self.scope_hint % found.group(1) + (
                "\naz role assignment create --role Contributor --assignee WHO --scope %s" %
                quote(found.group(3) or self.group()))
            return
        super().explain(error, request, scope)

    # --- the login

    def rest(self):
        def renew():
            self.token = None

        url = os.environ.get("AZURE_API_URL") or self._cloud()[1]
        return Rest(self.provider, url, self._signed, min(self.patience, 60), self.patience,
                    renew=renew, wait=is_busy)

    def _client(self):
        """(client id, secret) of flags and variables."""
        for name in ("AZURE", "ARM"):
            pair = tuple(self.get("Client" + field) or os.environ.get("%s_CLIENT_%s" % (
                name, field.upper()), "") for field in ("ID", "Secret"))
            if pair[0]:
                return pair
        return "", ""

    def credentials(self):
        """azure-identity's credentials, of which the first that can gives the token, and what their
        get_token() is to be told."""
        identity = self.need("azure.identity", PACKAGES)
        host = self._cloud()[0]
        authority = os.environ.get("AZURE_AUTHORITY_HOST") or host
        more = {"authority": authority}
        if authority.replace("https://", "").rstrip("/") not in [row[0] for row in CLOUDS.values()]:
            more["disable_instance_discovery"] = True
        client, secret = self._client()
        tenant = next(filter(None, [self["TenantID"]] + [
            os.environ.get(name, "") for name in ("AZURE_TENANT_ID", "ARM_TENANT_ID")]), "")
        if client and secret:
            return [identity.ClientSecretCredential(tenant or self._tenant(), client, secret,
                                                    **more)], {}
        chain = [identity.DefaultAzureCredential(
            managed_identity_client_id=client or None, additionally_allowed_tenants=["*"], **more)]
        if self.prompts and os.isatty(0) and os.isatty(2):
            chain.append(identity.DeviceCodeCredential(
                tenant_id=tenant or self._tenant(), prompt_callback=self._show_code, **more))
        return chain, {"tenant_id": tenant} if tenant else {}

    def _show_code(self, url, code, _):
        self.log("To log in, open %s and enter the code %s" % (plain_words(url), plain_words(code)))

    def _tenant(self):
        """The subscription's tenant: as az knows it, or as ARM tells everybody."""
        from re import search
        for row in self.profile():
            if row.get("id") == self["SubscriptionID"] and row.get("tenantId"):
                return row["tenantId"]
        http = self.need("azure.core.pipeline.transport", PACKAGES)
        trouble = self.need("azure.core.exceptions", PACKAGES)
        url = os.environ.get("AZURE_API_URL") or self._cloud()[1]
        request = http.HttpRequest("GET", "%s/subscriptions/%s?api-version=2022-12-01" % (
            url, self["SubscriptionID"]))
        try:
            with http.RequestsTransport() as transport:
                answer = transport.send(request, connection_timeout=20, read_timeout=20)
        except trouble.AzureError as error:
            raise self._login_error(error)
        found = search("://[^/]+/([0-9a-f-]{36})", answer.headers.get("WWW-Authenticate", ""))
        if not found:
            raise MachineError("The tenant of the subscription %s is unknown." %
                               self["SubscriptionID"], "Name it: --azure-tenant-id")
        return found.group(1)

    def _signed(self, method, url, body):
        """The headers of a request, with a token that still holds."""
        from time import time
        with self.lock:
            if self.token is None or self.token.expires_on < time() + 300:
                self.token = self._new_token()
            return {"Authorization": "Bearer " + self.token.token}

    def _new_token(self):
        """The only place where azure-identity asks anybody, and its errors become ours."""
        import logging
        logging.getLogger("azure").setLevel(logging.CRITICAL)  # it logs what it then raises
        trouble = self.need("azure.core.exceptions", PACKAGES)
        scope = self._cloud()[1] + "/.default"
        failures = []
        try:
            chain, more = self.credentials()
            for credential in chain:
                try:
                    return credential.get_token(scope, **more)
                except trouble.AzureError as error:
                    failures.append(error)
            raise self._login_error(failures[0])
        except ValueError as error:  # of what was given to it
            raise self._login_error(error)

    def _login_error(self, error):
        """Our error for one of azure-identity's."""
        from re import search
        kind, words = type(error).__name__, plain_words(error)
        if kind.startswith("Service") or search("Max retries|new connection|aborted", words):
            return RestError("Azure's login server cannot be reached: " + words[:300],
                             "Check the network and the proxy variables.", unsent=True, later=True)
        for pattern, sentence, hint in LOGINS:
            found = search("(%s).{0,300}" % pattern, words)
            if found:
                return MachineError("%s: %s" % (sentence, found.group()), hint)
        if kind == "ClientAuthenticationError" and "Attempted credentials" not in words:
            return MachineError("The Azure login cannot be used: " + words[:300],
                                "Log in: az login")
        return MachineError(
            "No Azure login was found: not in --azure-client-id and --azure-client-secret, the "
            "variables AZURE_CLIENT_ID and the like, a managed identity, or az.",
            "Log in: az login" if not self["TenantID"] else "Log in: az login --tenant " +
            self["TenantID"])


# --- small helpers

def is_busy(error):
    """Whether nothing was done, and it is to be asked again."""
    return error.reason in BUSY


def given(values):
    """The values that are something."""
    return {key: value for key, value in values.items() if value}


def type_of(path):
    """Microsoft.Compute/virtualMachines, or what else a path of ARM's names, in full."""
    before, _, text = path.rpartition("/providers/")
    if not before:
        return "Microsoft.Resources/subscriptions/resourceGroups" + (
            "/resources" if path.endswith("/resources") else "")
    words = text.split("/")
    return "/".join(words[:1] + words[1::2])


def version_of(path):
    """The version of ARM's API that has what a path names."""
    kind = path.rpartition("/providers/")[2] if "/providers/" in path else "Microsoft.Resources"
    if path == "/subscriptions" or path.endswith("/locations"):
        return "2022-12-01"
    return next(version for name, version in VERSIONS.items() if kind.startswith(name))


def action_of(method, path):
    """The action, as roles have it, that a request takes."""
    words = {"GET": "read", "PUT": "write", "DELETE": "delete"}
    kind = type_of(path)
    if method == "POST":
        return "%s/action" % kind if kind.count("/") > 1 else kind
    return "%s/%s" % (kind, words[method])


def namespace_in(words):
    """The provider that an error names, Microsoft.Compute."""
    from re import search
    found = search(r"namespace '([\w.]+)'", words)
    return found.group(1) if found else "Microsoft.Compute"


def pause_of(answer):
    """The seconds that an answer wants us to wait."""
    text = answer.headers.get("Retry-After", "") if answer else ""
    return int(text) if text.isdigit() else 0


def rule_name(text):
    """The name that Docker Machine gives to the rule of an open port."""
    ports, _, protocol = text.partition("/")
    return "Port%s-%sAllowAny" % (ports, (protocol or "tcp").title().replace("*", "Asterisk"))


def abilities(sku):
    """{name: value} of the capabilities of a SKU, all texts."""
    return {one["name"]: one.get("value", "") for one in sku.get("capabilities") or ()}


def guessed_size(name):
    """The row of a size that cannot be looked up."""
    from re import match
    arm = match(r"Standard_[A-Za-z]+\d+(-\d+)?[a-z]*p", name)
    return {"name": name, "capabilities": [
        {"name": "CpuArchitectureType", "value": "Arm64" if arm else "x64"}]}


def nearness(sku, wanted):
    """What sorts sizes by how much they are like another one, or else by how small they are."""
    can, like = abilities(sku), abilities(wanted)
    return (can.get("CpuArchitectureType") != like.get("CpuArchitectureType", "x64"),
            abs(float(can.get("vCPUs") or 0) - float(like.get("vCPUs") or 2)),
            abs(float(can.get("MemoryGB") or 0) - float(like.get("MemoryGB") or 4)), sku["name"])


def image_trouble(about, can, size):
    """(why an image cannot be used, what to do), or None. `about`: its properties; `can`: the
    abilities of the VM's size; `size`: that of the disk in GB."""
    kind, generation = about.get("architecture", ""), about.get("hyperVGeneration", "")
    fit, generations = can.get("CpuArchitectureType", kind), can.get("HyperVGenerations", "")
    disk = about.get("osDiskImage") or (about.get("storageProfile") or {}).get("osDisk") or {}
    least = int(disk.get("sizeInGb") or disk.get("diskSizeGB") or 0)
    state = (about.get("imageDeprecationStatus") or {}).get("imageState", "")
    other = "Take another --azure-size; without --azure-image one that fits is taken."
    if kind and kind != fit:
        return "is for %s, the size for %s." % (kind, fit), other
    if generation and generations and generation not in generations.split(","):
        return "is of generation %s, the size takes %s." % (generation, generations), other
    if (disk.get("operatingSystem") or about.get("osType") or "Linux") != "Linux":
        return "is not a Linux.", "Take another --azure-image."
    if state == "Deprecated":
        return "is deprecated.", "Take another --azure-image."
    if least > size:
        return "needs a disk of %d GB." % least, "Add --azure-disk-size %d." % least
    return None


def image_reference(name):
    """The imageReference of an image by URN or id."""
    if name.startswith("/subscriptions/"):
        return {"id": name}
    if name.startswith("/"):
        kind = name.split("/")[1].lower()
        return {"sharedGalleryImageId" if kind == "sharedgalleries" else
                "communityGalleryImageId": name}
    return dict(zip(("publisher", "offer", "sku", "version"), name.split(":")))


def subnets(network):
    """{name: properties} of the subnets of a virtual network."""
    rows = (network.get("properties") or {}).get("subnets") or ()
    return {row["name"]: row.get("properties") or {} for row in rows}
