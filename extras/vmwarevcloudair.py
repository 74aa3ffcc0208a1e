# SPDX-License-Identifier: Apache-2.0
"""vApps of VMware Cloud Director, by its API. The service vCloud Air, for which Docker Machine had
this driver, ended; Cloud Director at other providers is its successor."""

import os

from docker_machine import (
    ERROR,
    RUNNING,
    SAVED,
    STARTING,
    STOPPED,
    CloudDriver,
    Flag,
    Instance,
    MachineError,
    PreCreateError,
    Rest,
    RestError,
    UsageError,
    host_name,
    json_text,
    out,
    parse_json,
    plain_words,
    quote,
    wait_for,
)

ENDED = "VMware's service vCloud Air ended."
HOW = ("The driver speaks to VMware Cloud Director: --vmwarevcloudair-endpoint https://HOST, or "
       "VCLOUDAIR_ENDPOINT.")
OLDEST, NEWEST = 37, 39  # of the API: Cloud Director 10.4 to 10.6
CLOUD_INIT, SCRIPT = "cloud-init", "script"
NAT = "Organization vDC Gateway: Configure NAT"  # a right
MOST_SCRIPT = 1500  # characters
STATES = {"0": STARTING, "1": STOPPED, "3": SAVED, "4": RUNNING, "5": RUNNING, "8": STOPPED,
          "10": RUNNING, "20": RUNNING, "21": SAVED,  # of a vApp; by words in queries:
          "UNRESOLVED": STARTING, "RESOLVED": STOPPED, "SUSPENDED": SAVED, "POWERED_ON": RUNNING,
          "WAITING_FOR_INPUT": RUNNING, "POWERED_OFF": STOPPED, "MIXED": RUNNING,
          "PARTIALLY_POWERED_OFF": RUNNING, "PARTIALLY_SUSPENDED": SAVED}
ACTIONS = {"start": "powerOn", "stop": "shutdown", "kill": "powerOff", "restart": "reboot"}
FORK = (("UserName", "VcdUser"), ("UserPassword", "VcdPassword"), ("Org", "VcdOrg"),
        ("VDCID", "VcdVdc"), ("OrgVDCNet", "VcdOrgVDCNetwork"), ("Insecure", "VcdInsecure"),
        ("CatalogItem", "Template"), ("CPUCount", "NumCpus"), ("MemorySize", "MemorySizeMb"))
KIND = "application/vnd.vmware.vcloud.%s+xml"
SPACES = ('xmlns="http://www.vmware.com/vcloud/v1.5" '
          'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"')
COMPOSITION = """<ComposeVAppParams %(spaces)s name="%(name)s" deploy="false" powerOn="false">
<Description>%(tag)s</Description>
<InstantiationParams><NetworkConfigSection><ovf:Info>Network of the machine</ovf:Info>
<NetworkConfig networkName="%(network)s"><Configuration>
<ParentNetwork href="%(network_href)s" name="%(network)s"/><FenceMode>bridged</FenceMode>
</Configuration></NetworkConfig></NetworkConfigSection></InstantiationParams>
<SourcedItem><Source href="%(source_href)s" name="%(source)s"/>
<InstantiationParams><NetworkConnectionSection><ovf:Info>Network of the machine</ovf:Info>
<PrimaryNetworkConnectionIndex>0</PrimaryNetworkConnectionIndex>
<NetworkConnection network="%(network)s"><NetworkConnectionIndex>0</NetworkConnectionIndex>
<IsConnected>true</IsConnected><IpAddressAllocationMode>%(mode)s</IpAddressAllocationMode>
</NetworkConnection></NetworkConnectionSection></InstantiationParams>
<NetworkAssignment innerNetwork="%(network)s" containerNetwork="%(network)s"/></SourcedItem>
<AllEULAsAccepted>true</AllEULAsAccepted></ComposeVAppParams>"""
SIZE = """<Vm %(spaces)s name="%(name)s">
<VmSpecSection Modified="true"><ovf:Info>Size</ovf:Info><NumCpus>%(cpus)d</NumCpus>
<NumCoresPerSocket>1</NumCoresPerSocket>
<MemoryResourceMb><Configured>%(memory)d</Configured></MemoryResourceMb></VmSpecSection></Vm>"""
PROPERTIES = """<ProductSectionList %(spaces)s>
<ovf:ProductSection><ovf:Info>For cloud-init</ovf:Info>%(properties)s</ovf:ProductSection>
</ProductSectionList>"""
PROPERTY = """
<ovf:Property ovf:key="%(key)s" ovf:type="string" ovf:userConfigurable="true" ovf:value="">\
<ovf:Value ovf:value="%(value)s"/></ovf:Property>"""
NO_CUSTOMIZATION = """<GuestCustomizationSection %(spaces)s>
<ovf:Info>cloud-init does it all</ovf:Info><Enabled>false</Enabled>
<ComputerName>%(name)s</ComputerName></GuestCustomizationSection>"""
BY_SCRIPT = """<GuestCustomizationSection %(spaces)s>
<ovf:Info>Lets the key in</ovf:Info><Enabled>true</Enabled>
<AdminPasswordEnabled>false</AdminPasswordEnabled>
<CustomizationScript>%(script)s</CustomizationScript><ComputerName>%(name)s</ComputerName>
</GuestCustomizationSection>"""
UNDEPLOYMENT = """<UndeployVAppParams %(spaces)s>
<UndeployPowerAction>powerOff</UndeployPowerAction></UndeployVAppParams>"""
# Guest customization runs it twice, with the word for when as its argument.
CUSTOMIZATION = """#!/bin/sh
[ "$1" = precustomization ] && exit 0
u=%(user)s
id $u >/dev/null 2>&1 || useradd -m -s /bin/bash $u
h=$(getent passwd $u | cut -d: -f6)
mkdir -p $h/.ssh
grep -qsF '%(key)s' $h/.ssh/authorized_keys || echo '%(key)s' >>$h/.ssh/authorized_keys
chmod 700 $h/.ssh
chmod 600 $h/.ssh/authorized_keys
chown -R $u: $h/.ssh
[ $u = root ] || echo "$u ALL=(ALL) NOPASSWD:ALL" >/etc/sudoers.d/90-docker-machine
"""


def flag(name, default, help, field, **more):
    """A flag whose variable has its name in capitals."""
    env = "VCLOUDAIR_" + name.upper().replace("-", "_")
    return Flag("vmwarevcloudair-" + name, default, help, env, field=field, **more)


class VCloudDriver(CloudDriver):
    """A vApp with one VM in VMware Cloud Director."""

    name, provider, thing = "vmwarevcloudair", "Cloud Director", "vApp"
    creating = "Creating the vApp..."
    id_field = "VAppID"
    kinds = ("network", "template", "gateway")
    login, login_field = "login", "UserPassword"
    new_login = ("See that user, organization and password are right, or make an API token in the "
                 "portal, under User preferences.")
    scope_hint = "An administrator of the organization gives rights: %s"
    cures = (("quota", "Remove a vApp, or ask the provider for more."),
             ("storage", "Make room in the virtual data center, or ask the provider for more."),
             ("limit", "Remove a vApp, or ask the provider for more."))
    flags = (
        flag("endpoint", "", "URL of the Cloud Director: https://HOST", "Endpoint",
             form=r"https?://[!-~]+"),
        flag("org", "", "Organization (default: what follows the @ of the user)", "Org"),
        flag("username", "", "User", "UserName", form=r"[^:\x00-\x1f]+"),
        flag("password", "", "Password", "UserPassword", secret=True),
        flag("api-token", "", "API token, instead of user and password", "ApiToken", secret=True,
             form=r"\s*[\w.~-]+\s*"),
        flag("ca-cert", "", "CA that signed its certificate", "CACert", file=True),
        flag("insecure", False, "Do not verify its certificate", "Insecure"),
        flag("computeid", "", "Accepted; vCloud Air alone had it", "ComputeID"),
        flag("vdcid", "", "Virtual data center, by name or id", "VDCID"),
        flag("orgvdcnetwork", "", "Network, by name or id (default: VDC-default-routed, or the "
             "only one)", "OrgVDCNet"),
        flag("ip-allocation", "pool", "Where the address comes from: the network's pool, or DHCP",
             "IPAllocation", choices=("pool", "dhcp")),
        flag("edgegateway", "", "Edge gateway that has the public address (default: the virtual "
             "data center's name)", "EdgeGateway"),
        flag("publicip", "", "Public address to forward to the machine (default: none, its own is "
             "used)", "PublicIP", form=r"[0-9a-fA-F.:]+"),
        flag("catalog", "Public Catalog", "Catalog", "Catalog"),
        flag("catalogitem", "", "Template in the catalog, by name or id", "CatalogItem"),
        flag("cpu-count", 1, "CPUs", "CPUCount", least=1),
        flag("memory-size", 2048, "Memory in MB", "MemorySize", least=256),
        flag("ssh-user", "root", "SSH user; another than root is made at the first boot",
             "SSHUser", form=r"[A-Za-z_][\w.-]*"),
        flag("ssh-port", 22, "SSH port that the template listens on", "SSHPort", port=True),
        flag("docker-port", 2376, "Port of the engine", "DockerPort", port=True),
        flag("guest", "", "How the guest gets its keys: cloud-init, or a script of the guest "
             "customization (default: cloud-init where the template has the property user-data)",
             "Guest", choices=(CLOUD_INIT, SCRIPT)),
        flag("userdata", "", "File of user data for the first boot", "UserDataFile", file=True),
    )  # type: tuple
    fields = (("VAppHREF", ""), ("VAppName", ""), ("EdgeGatewayID", ""),
              ("NATRules", []))  # type: tuple
    boot_seconds, most_user_data = 600, 49152  # in base64 a property of 64 KiB
    task_seconds = 3600
    version = token = ""
    task = ""  # the path of the one that makes the vApp

    def __init__(self, machine):
        super().__init__(machine)
        self._adopt_fork()
        self.login_field = "ApiToken" if self["ApiToken"] else self.login_field

    def _adopt_fork(self):
        """Read what docker-machine-driver-vcd stored, and see that its password is masked too."""
        for ours, theirs in FORK:
            if theirs in self.config and not self.config.get(ours):
                self[ours] = self.config[theirs]
        url = self.config.get("VcdURL")
        if isinstance(url, dict) and url.get("Host") and not self.config.get("Endpoint"):
            self["Endpoint"] = "%s://%s" % (url.get("Scheme") or "https", url["Host"])
        if self.config.get("VAppHREF") and not self.config.get("VAppID"):
            self["VAppID"] = urn(self["VAppHREF"])
        if self.config.get("VcdPassword"):
            self.flags += (flag("vcd-password", "", "The fork's", "VcdPassword", secret=True),)

    # --- the flags

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        if not self.endpoint():
            raise UsageError("%s Without --vmwarevcloudair-endpoint nothing can be made." % ENDED,
                             HOW)
        self["ApiToken"] = self["ApiToken"].strip()
        self._refuse_lacking()
        if self["ComputeID"]:
            out.warn("--vmwarevcloudair-computeid names a part of vCloud Air; it is not used.")
        self["ComputeID"] = self["ComputeID"] or self["VDCID"]

    def _refuse_lacking(self):
        user, org = self.user_and_org()
        values = [("vdcid", self["VDCID"]), ("org", org)]
        if not self["ApiToken"]:
            values += [("username", user), ("password", self.password())]
        lacking = ["--vmwarevcloudair-" + name for name, value in values if not value]
        if lacking:
            raise UsageError("Please specify vcloudair mandatory params using options: "
                             + ", ".join(lacking), "Instead of user and password there may be "
                             "--vmwarevcloudair-api-token.")

    def endpoint(self):
        """The URL of the Cloud Director without the /api that Docker Machine wanted; "" for that
        of vCloud Air, which ended."""
        from re import search, sub
        url = (os.environ.get("VMWAREVCLOUDAIR_API_URL") or self["Endpoint"]
               or os.environ.get("VCLOUDAIR_ENDPOINT", ""))
        return "" if search(r"//vchs\.vmware\.com(:|/|$)", url) else sub(
            r"(/api|/tenant/.*)?/*$", "", url)

    def user_and_org(self):
        user = self["UserName"] or os.environ.get("VCLOUDAIR_USERNAME", "")
        org = self["Org"] or os.environ.get("VCLOUDAIR_ORG", "")
        if org:
            return user[:-len(org) - 1] if user.endswith("@" + org) else user, org
        name, _, org = user.rpartition("@")
        return name or org, org if name else ""

    def password(self):
        return self["UserPassword"] or os.environ.get("VCLOUDAIR_PASSWORD", "")

    def account(self):
        return self.endpoint(), self.user_and_org(), self["ApiToken"]

    def engine_port(self):
        return self.get("DockerPort", 2376)

    # --- before the machine is made

    def pre_create_check(self):
        self.look_up("vdc")  # first, since it logs in
        super().pre_create_check()
        if self["UserDataFile"] and self["Guest"] == SCRIPT:
            raise MachineError("The template gets its keys by a script, which brings no user data.",
                               "Leave out --vmwarevcloudair-userdata, or take a template whose "
                               "cloud-init reads the OVF property user-data.")

    def look_up(self, kind):
        return getattr(self, "_look_up_" + kind)()

    def _look_up_vdc(self):
        return self._named("virtual data center", self["VDCID"], self.query("orgVdc"))

    def _look_up_network(self):
        vdc = self.look_up("vdc")
        number = uuid_of(vdc["href"])
        rows = [row for row in self.query("orgVdcNetwork") if row.get("isShared") == "true"
                or uuid_of(row.get("vdc") or number) == number]
        usual = vdc["name"] + "-default-routed"
        name = self["OrgVDCNet"]
        if not name and (len(rows) != 1 or rows[0]["name"] == usual):
            name = usual
        row = self._named("network", name, rows) if name else rows[0]
        self["OrgVDCNet"] = row["name"]
        return row

    def _look_up_template(self):
        """The vAppTemplate of the catalog's item, as an element."""
        rows = [row for row in self.query("catalogItem")
                if (row.get("entityType") or "vapptemplate").lower().endswith("vapptemplate")]
        fit = [row for row in rows if row.get("catalogName") == self["Catalog"]]
        if not fit:
            raise self.unknown("catalog with templates", self["Catalog"], self.portal(),
                               sorted({row.get("catalogName") or "" for row in rows}))
        row = self._named("template", self["CatalogItem"], fit)
        template = self.get_xml(path_of(row.get("entity")))
        if template.get("status") != "8" or template.find("Children/Vm") is None:
            raise MachineError('The template "%s" is not ready.' % row["name"],
                               "See what it waits for: " + self.portal())
        has_property = any(one.get("key") == "user-data" for one in template.iter("Property"))
        self["Guest"] = self["Guest"] or (CLOUD_INIT if has_property else SCRIPT)
        return template

    def _look_up_gateway(self):
        """The edge gateway's row; None where no public address is to be forwarded."""
        if not self["PublicIP"]:
            return None
        rows = self.listed("/cloudapi/1.0.0/edgeGateways")
        name = self["EdgeGateway"] or self.look_up("vdc")["name"]
        row = rows[0] if len(rows) == 1 and not self["EdgeGateway"] else self._named(
            "edge gateway", name, rows)
        for rule in self.rules(row["id"]):
            if rule.get("externalAddresses") == self["PublicIP"] and kind_of(rule) == "DNAT" and (
                    not self.is_ours(rule)):
                raise MachineError('The rule "%s" forwards %s already.' % (
                    plain_words(rule["name"]), self["PublicIP"]),
                    "Name another --vmwarevcloudair-publicip.")
        self["EdgeGateway"], self["EdgeGatewayID"] = row["name"], row["id"]
        return row

    def _named(self, kind, wanted, rows):
        """The only row of a name or id. Raises MachineError with what there is."""
        fit = [row for row in rows if wanted and wanted.lower() in (
            row["name"].lower(), row_id(row), row.get("id"))]
        if len(fit) > 1:
            raise MachineError('Cloud Director has %d of the %s "%s".' % (len(fit), kind, wanted),
                               "Name one by its id: " + ", ".join(map(row_id, fit)))
        if not fit:
            raise self.unknown(kind, wanted, self.portal(), sorted(row["name"] for row in rows))
        return fit[0]

    def portal(self):
        return "%s/tenant/%s" % (self.endpoint(), self.user_and_org()[1])

    # --- the machine

    def order(self, keys):
        vdc = path_of(self.look_up("vdc")["href"])
        answer = self.send("POST", vdc + "/action/composeVApp", self.composition(),
                           "composeVAppParams", repeat=False, scope="vApp: Create / Reconfigure")
        number = urn(path_of(answer.get("href")))
        self["VAppHREF"], self["VAppName"] = answer.get("href"), answer.get("name")
        task = answer.find("Tasks/Task")
        self.task = "" if task is None else path_of(task.get("href"))
        return Instance(number, STARTING, (), [self["CreateTag"]])

    def composition(self):
        """The body of composeVApp: the template's first VM on the one network, off."""
        network, source = self.look_up("network"), self.look_up("template").find("Children/Vm")
        return filled(COMPOSITION, name=self.machine.name, tag=self["CreateTag"],
                      network=network["name"], network_href=network["href"],
                      source=source.get("name"), source_href=source.get("href"),
                      mode=self["IPAllocation"].upper())

    def _await(self, verb, goal):
        if verb == "create":
            self._or_remove(self._equip)
        super()._await(verb, goal)

    def _or_remove(self, action):
        """Do a step of the creation; what is refused leaves nothing."""
        try:
            action()
        except RestError as error:
            if not error.refused:
                raise
            self.remove()
            raise PreCreateError(error.message, error.hint)

    def _equip(self):
        """Wait until the vApp is made, give a VM that is off its size and keys, and start it."""
        if self.task:
            self.settle(self.task)
        vapp = self._idle_vapp()
        if vapp.get("status") == "-1":
            raise self._failure(vapp.find("Tasks/Task"))
        if STATES.get(vapp.get("status")) != STOPPED:
            return  # an earlier try came that far
        vm = vapp.find("Children/Vm")
        if vm is None:
            raise MachineError("The vApp %s has no VM." % self["VAppID"], "See " + self.portal())
        self.log("Setting size and keys...")
        self.do(vm, "POST", "/action/reconfigureVm", self._size(vm), "vm")
        if self["Guest"] == CLOUD_INIT:
            self.do(vm, "PUT", "/productSections", self._properties(vm), "productSections")
        self.do(vm, "PUT", "/guestCustomizationSection/", self._customization(),
                "guestCustomizationSection")
        self._tolerate(lambda: self.act("start"), lambda: self.get_state() == RUNNING)

    def _idle_vapp(self):
        """The vApp, once nothing is under way in it. Raises MachineError, RestError."""
        for _ in range(8):
            # A new one may not be seen yet; one without children would be false.
            (vapp,) = wait_for(lambda: [one for one in [self.vapp()] if one is not None], 10,
                               "", 5, 0.5) or [None]
            if vapp is None:
                break
            busy = tasks_of(vapp)
            if not busy:
                self["VAppHREF"], self["VAppName"] = vapp.get("href"), vapp.get("name")
                return vapp
            self.settle(busy[0])
        raise MachineError("The vApp %s vanished, or is always busy." % self["VAppID"],
                           "See " + self.portal())

    def _size(self, vm):
        return filled(SIZE, name=vm.get("name"), cpus=self["CPUCount"], memory=self["MemorySize"])

    def _properties(self, vm):
        """The OVF properties that cloud-init reads: user data, name, and how to reach a network
        that gives the address itself."""
        values = {"instance-id": self["CreateTag"], "hostname": host_name(self.machine.name),
                  "user-data": base64(self.user_data())}
        network = network_config(vm, self.look_up("network"))
        if network:
            values["network-config"] = base64(json_text({"network": network}))
        properties = "".join(filled(PROPERTY, key=key, value=value)
                             for key, value in values.items())
        return PROPERTIES % {"spaces": SPACES, "properties": properties}

    def _customization(self):
        """The guest customization: off where cloud-init does it all, lest both do."""
        name = "".join(one if one.isalnum() else "-" for one in host_name(self.machine.name))
        if self.reads_user_data():
            return filled(NO_CUSTOMIZATION, name=name)
        return filled(BY_SCRIPT, name=name, script=self.script())

    def script(self):
        """The script that lets the key in. Raises MachineError if it is too long."""
        key = " ".join(self.public_key().split()[:2])
        text = CUSTOMIZATION % {"user": self.get_ssh_username(), "key": key}
        if len(text) > MOST_SCRIPT:
            raise MachineError("The script with the key is too long for Cloud Director.",
                               "Take an ed25519 key.")
        return text

    def has_cloud_init(self):
        return self["Guest"] == CLOUD_INIT

    # --- power

    def act(self, verb):
        action = "/power/action/" + ACTIONS[verb]
        if verb == "kill" and self.get_state() == SAVED:
            action = "/action/discardSuspendedState"
        try:
            self.do(self.vapp_path(), "POST", action, repeat=verb != "restart")
        except RestError as error:
            self._without_tools(verb, error)

    def _without_tools(self, verb, error):
        """What follows where the guest could not be asked. Raises the error, or a plainer one."""
        if verb == "restart" and error.unsure:
            return  # whether it began is seen by the boot's id
        if verb == "stop" and self.get_state() == STOPPED:
            return
        if "Tools" not in error.words or verb not in ("stop", "restart"):
            raise error
        if verb == "stop":
            raise MachineError("VMware Tools do not run in %s, so it cannot be asked to shut down."
                               % self.machine.name, "Shut it down from within, or cut its power: "
                               "docker-machine kill " + quote(self.machine.name))
        out.warn("VMware Tools do not run there; it is reset.")
        self.do(self.vapp_path(), "POST", "/power/action/reset")

    def start(self):
        super().start()
        self._ready_rules()

    # --- what it is

    def vapp(self):
        """The vApp as an element; None if it is gone, which the API answers with 403 too."""
        try:
            return self.get_xml(self.vapp_path())
        except RestError as error:
            if error.status not in (403, 404):
                raise
            if error.status == 403 and self["VAppID"] in self._rows_by_id():
                raise
            return None

    def _rows_by_id(self, **query):
        return {urn(row["href"]): row for row in self.query("vApp", **query)}

    def describe(self):
        vapp = self.vapp()
        return None if vapp is None else self._instance(vapp)

    def _instance(self, vapp):
        status, vm = vapp.get("status"), vapp.find("Children/Vm")
        if vm is not None and status in ("10", "20", "21"):
            status = vm.get("status")  # others were added to the vApp
        own = addresses_of(vapp)
        public = [self["PublicIP"]] if own and self["PublicIP"] else []
        return Instance(urn(vapp.get("href")), STATES.get(status, ERROR),
                        [(True, address) for address in public + own],
                        [vapp.findtext("Description") or ""])

    def instances(self, tag=""):
        if tag:
            found = []
            for number in self._rows_by_id(filter="name==" + self.machine.name):
                vapp = self.get_xml(path_of_urn(number), none=403)
                found += [] if vapp is None else [self._instance(vapp)]
            return found
        return [Instance(number, STATES.get(row.get("status"), ERROR))
                for number, row in self._rows_by_id().items()]

    def get_state(self):
        self._refuse_ended()
        return super().get_state()

    @classmethod
    def states(cls, drivers, seconds):
        """An entry of vCloud Air fails without a question."""
        there = [driver for driver in drivers if not driver.is_ended()]
        known = dict(zip(there, super().states(there, seconds)))
        return [known.get(driver) or driver.ended() for driver in drivers]

    def is_ended(self):
        """Whether the machine was one of vCloud Air."""
        return bool(self["VAppID"]) and not self.endpoint()

    def ended(self):
        return MachineError(ENDED, "Forget it: docker-machine rm " + quote(self.machine.name))

    def _refuse_ended(self):
        if self.is_ended():
            raise self.ended()

    # --- the removal

    def remove(self):
        if self.is_ended():
            self.log(ENDED + " There is nothing left to remove.")
            return
        if self["PublicIP"] and self["VAppID"] and not self["CreateTag"]:
            self.log("Docker Machine's rules for %s on the gateway stay." % self["PublicIP"])
        super().remove()
        self["VAppHREF"] = self["VAppName"] = ""

    def delete(self):
        """Power off, undeploy, delete; a task that is under way is waited for."""
        vapp = self.vapp()
        for task in () if vapp is None else tasks_of(vapp):
            self._tolerate(lambda task=task: self.settle(task), lambda: True)
        body = filled(UNDEPLOYMENT)
        if self._is_deployed():
            self._tolerate(lambda: self.do(self.vapp_path(), "POST", "/action/undeploy", body,
                                           "undeployVAppParams"),
                           lambda: not self._is_deployed())
        if self.vapp() is not None:
            self._tolerate(lambda: self.do(self.vapp_path(), "DELETE", "", scope="vApp: Delete"),
                           lambda: self.vapp() is None)

    def _is_deployed(self):
        vapp = self.vapp()
        return vapp is not None and vapp.get("deployed") == "true"

    def _tolerate(self, action, is_so):
        """Do something; a refusal is none where is_so() then."""
        try:
            action()
        except RestError as error:
            if not is_so():
                raise
            out.debug(error.message)

    def delete_tagged(self):
        """Delete our rules; those of others stay."""
        if not self["EdgeGatewayID"]:
            return
        for rule in self.rules(self["EdgeGatewayID"]):
            if self.is_ours(rule):
                self._delete_rule(rule)
        self["NATRules"] = []

    # --- the public address

    def finish(self):
        self._or_remove(self._ready_rules)
        if self["PublicIP"]:
            ports = " and ".join(map(str, dict.fromkeys(self.ports())))
            self.log("The firewall of the gateway %s has to let in TCP to port %s of the machine."
                     % (self["EdgeGateway"], ports))

    def _ready_rules(self):
        """Forward the public address to the machine's own, and let it out by it."""
        if not (self["PublicIP"] and self["CreateTag"]):
            return
        self["EdgeGatewayID"] = self["EdgeGatewayID"] or self.look_up("gateway")["id"]
        vapp = self.vapp()
        own = [] if vapp is None else addresses_of(vapp)
        if not own:
            raise MachineError("The machine has no address to forward %s to." % self["PublicIP"])
        for kind in ("DNAT", "SNAT"):
            rule = self._ready_rule(kind, own[0])
            self["NATRules"] = sorted({rule["id"], *self["NATRules"]})
            self.machine.save()

    def _ready_rule(self, kind, own):
        """Our rule of that kind, made if it is not there; a spare or outdated one goes."""
        def find():
            found = [rule for rule in self.rules(self["EdgeGatewayID"])
                     if self.is_ours(rule) and kind_of(rule) == kind]
            for rule in found:
                if rule != found[0] or rule.get("internalAddresses") != own:
                    self._delete_rule(rule)
            return found[0] if found and found[0].get("internalAddresses") == own else None

        def make():
            body = {"name": "%s-%s" % (self["CreateTag"], kind.lower()), "enabled": True,
                    "description": "made by docker-machine for " + self.machine.name,
                    "type": kind, "externalAddresses": self["PublicIP"], "internalAddresses": own,
                    "logging": False}
            self.settle_answer(self.ask("POST", self._rules_path(), body, key=None, scope=NAT))
            return wait_for(find, 30, "The rule that was made is not in the gateway's list.", 5, 1)

        return find() or self._made_once(make, find)

    def _rules_path(self, rule=""):
        return "/cloudapi/1.0.0/edgeGateways/%s/nat/rules%s" % (self["EdgeGatewayID"], rule)

    def rules(self, gateway):
        """The NAT rules of a gateway, which may be gone."""
        return self.listed("/cloudapi/1.0.0/edgeGateways/%s/nat/rules" % gateway, none=404)

    def is_ours(self, rule):
        mark = self["CreateTag"]
        return rule["id"] in self["NATRules"] or bool(mark) and rule["name"].startswith(mark + "-")

    def _delete_rule(self, rule):
        answer = self.ask("DELETE", self._rules_path("/" + rule["id"]), key=None, none=404,
                          scope=NAT)
        self["NATRules"] = [number for number in self["NATRules"] if number != rule["id"]]
        if answer:
            self.settle_answer(answer)

    # --- the API

    def vapp_path(self):
        """The path of the vApp."""
        self._refuse_ended()
        return path_of_urn(self["VAppID"])

    def rest(self):
        if not self.endpoint():
            raise MachineError(ENDED, HOW)
        rest = Rest(self.provider, self.endpoint(), self._headers, min(self.patience, 30),
                    self.patience, ca=self["CACert"], insecure=self["Insecure"], wait=is_busy)
        self._log_in(rest)
        rest.renew = lambda: self._log_in(rest)
        return rest

    def _headers(self, method, url, body):
        kind = "application/json" if "/cloudapi/" in url else "application/*+xml"
        return {"Accept": "%s;version=%s" % (kind, self.version),
                "Authorization": "Bearer " + self.token}

    def _log_in(self, rest):
        """Get a token, for about an hour at most. Raises RestError, MachineError."""
        from copy import copy
        door = copy(rest)  # one that does not renew itself
        door.renew, door.headers = None, {}
        self.version = self.version or newest_version(door)
        user, org = self.user_and_org()
        realm = "provider" if org.lower() == "system" else ""
        accept = {"Accept": "application/json;version=" + self.version}
        if self["ApiToken"]:
            door.headers = accept
            value = door.call(
                "POST", "/oauth/%s/token" % (realm or "tenant/" + org),
                "grant_type=refresh_token&refresh_token=" + self["ApiToken"], repeat=True,
                kind="application/x-www-form-urlencoded")
            self.token = value.get("access_token", "")
        else:
            login = base64("%s@%s:%s" % (user, org, self.password()))
            door.headers = dict(accept, Authorization="Basic " + login)
            answer = door.call("POST", "/cloudapi/1.0.0/sessions" + "/" * bool(realm) + realm,
                               key=None, repeat=True)
            self.token = answer.headers.get("X-VMWARE-VCLOUD-ACCESS-TOKEN", "")
        words = (self.token, self.password(), self["ApiToken"])
        out.secrets.update(word for word in words if len(word) > 5)

    def explain(self, error, request="", scope=""):
        error.words = without_number(error.words)
        error.message = without_number(error.message)
        if error.reason == "invalid_grant":
            error.hint = 'Make a new API token in the portal; "ApiToken" of %s has it.' % (
                self.path("config.json"))
        super().explain(error, request, scope)

    def query(self, kind, **query):
        """The records of that type, as dicts of their attributes. Raises RestError."""
        rows = []  # type: list
        for page in range(1, 101):
            root = self.get_xml("/api/query", query=dict(
                query, type=kind, format="records", pageSize=128, page=page))
            found = [dict(one.attrib) for one in root if one.tag.endswith("Record")]
            rows += found
            if not found or str(len(rows)) == root.get("total"):
                break
        return [row for row in rows if row.get("href") and row.get("name")]

    def listed(self, path, none=None):
        """All values of a list of JSON in pages. Raises RestError."""
        from re import search
        rows, query = [], {"pageSize": 128}  # type: list, dict
        for _ in range(100):
            answer = self.ask("GET", path, query=query, none=none, key=None)
            if answer is None:
                return rows
            try:
                values = parse_json(answer.body.decode())["values"]
                rows += [row for row in values if row["id"] and row.get("name")]
            except (ValueError, LookupError, TypeError):
                raise RestError("Cloud Director: the answer is not the list that was expected (GET "
                                "%s)" % path)
            more = search(r'<([^>]*)>;\s*rel="nextPage"', ", ".join(
                answer.headers.get_all("Link") or []))
            if not more:
                break
            path, query = self.endpoint() + path_of(more.group(1)), {}
        return rows

    def get_xml(self, path, **more):
        return xml_of(self.ask("GET", path, key=None, **more))

    def send(self, method, path, body, kind, **more):
        """What a request with a body of XML gives, as an element."""
        return xml_of(self.ask(method, path, body, key=None, kind=KIND % kind, **more))

    def do(self, thing, method, action, body=None, kind="", repeat=True, **more):
        """Ask for something, of an element or a path, and wait for the end of its task."""
        path = thing if isinstance(thing, str) else path_of(thing.get("href"))
        task = self.send(method, path + action, body, kind, repeat=repeat, **more)
        self.settle(path_of(task.get("href")))

    def settle_answer(self, answer):
        """Wait for the task that an answer of the newer API leads to."""
        if answer.headers.get("Location"):
            self.settle(path_of(answer.headers["Location"]))

    def settle(self, path):
        """Wait for the end of a task. Raises RestError if it failed."""
        tasks = []  # type: list

        def ended():
            tasks.append(self.get_xml(path))
            return is_over(tasks[-1])

        wait_for(ended, self.task_seconds, "Cloud Director did not finish the task %s within %d s."
                 % (path, self.task_seconds), 5, 0.5)
        if tasks[-1].get("status") != "success":
            raise self._failure(tasks[-1])

    def _failure(self, task):
        """The RestError for a task that failed, or None for a failure without one."""
        found = None if task is None else task.find("Error")
        facts = {} if found is None else found.attrib
        words = without_number(plain_words(facts.get("message") or "no word of explanation"))
        name = "" if task is None else plain_words(task.get("operation") or "")
        failure = RestError("Cloud Director: %s (%s)" % (words, name or "failed"), status=400,
                            words=words, reason=facts.get("minorErrorCode", ""), refused=True)
        self.explain(failure)
        return failure


# --- small helpers

def newest_version(rest):
    """The newest version of the API that both sides know. Raises MachineError."""
    from re import fullmatch
    rest.headers = {"Accept": "application/*+xml"}
    root = xml_of(rest.call("GET", "/api/versions", key=None))
    known = [found.text or "" for found in root.findall("VersionInfo/Version")]
    plain = [tuple(map(int, text.split("."))) for text in known if fullmatch(r"\d+\.\d+", text)]
    fit = [pair for pair in plain if OLDEST <= pair[0] <= NEWEST]
    if not fit:
        raise MachineError("This Cloud Director speaks the API's versions %s; the driver needs one "
                           "of %d.0 to %d.x." % (plain_words(", ".join(known)), OLDEST, NEWEST),
                           "Cloud Director 10.4 to 10.6 have them.")
    return "%d.%d" % max(fit)


def is_busy(error):
    """Whether nothing was done since something else is under way."""
    return error.reason == "BUSY_ENTITY"


def xml_of(answer):
    """The root of an answer's XML, its names without namespaces; None for none. Raises RestError.
    A document type could name entities without end."""
    from xml.etree import ElementTree
    if answer is None:
        return None
    try:
        text = answer.body.decode()
        if "<!DOCTYPE" in text.upper():
            raise ValueError("a document type")
        root = ElementTree.fromstring(text)
    except (ValueError, ElementTree.ParseError) as error:
        raise RestError("Cloud Director: the answer is not the XML that was expected (%s)" % error)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in list(element.attrib):
            element.attrib[name.rpartition("}")[2]] = element.attrib.pop(name)
    return root


def filled(template, **values):
    """A template of XML with its values, texts of which may hold anything."""
    from html import escape
    texts = {name: escape(value) if isinstance(value, str) else value
             for name, value in values.items()}
    return template % dict(texts, spaces=SPACES)


def base64(text):
    from base64 import b64encode
    return b64encode(text.encode()).decode()


def path_of(href):
    """The path of an address, whatever name of the server it has. Raises RestError."""
    from re import fullmatch
    found = fullmatch(r"(?:https?://[^/?#]+)?(/[!-~]*)", href or "")
    if not found:
        raise RestError("Cloud Director: the answer has no address where one was expected")
    return found.group(1)


def uuid_of(text):
    """The last UUID in it, or ""."""
    from re import findall
    return (findall("[0-9a-f]{8}-[0-9a-f-]{27}", text.lower()) or [""])[-1]


def row_id(row):
    return uuid_of(row.get("href") or row.get("id") or "")


def urn(href):
    return "urn:vcloud:vapp:" + uuid_of(href)


def path_of_urn(number):
    return "/api/vApp/vapp-" + uuid_of(number)


def is_over(task):
    return task.get("status") not in ("queued", "preRunning", "running")


def without_number(words):
    """What an error says, without the number of the request that begins it."""
    from re import sub
    return sub(r"\[ ?[0-9a-f-]{36} ?\] ", "", words)


def kind_of(rule):
    return rule.get("type") or rule.get("ruleType")


def tasks_of(vapp):
    """The paths of the tasks that are under way in it."""
    return [path_of(task.get("href")) for task in vapp.findall("Tasks/Task") if not is_over(task)]


def addresses_of(vapp):
    """Those of its first VM, the outer ones first."""
    card = "Children/Vm[1]/NetworkConnectionSection/NetworkConnection/"
    found = vapp.findall(card + "ExternalIpAddress") + vapp.findall(card + "IpAddress")
    return [one.text for one in found if one.text]


def network_config(vm, network):
    """The network as cloud-init takes it, version 2; None where DHCP gives the address."""
    from re import fullmatch
    card = vm.find("NetworkConnectionSection/NetworkConnection")
    facts = {} if card is None else {one.tag: one.text or "" for one in card}
    mask = network.get("netmask") or ""
    if not (facts.get("IpAddressAllocationMode") == "POOL" and facts.get("IpAddress")
            and facts.get("MACAddress") and fullmatch(r"\d+(\.\d+){3}", mask)):
        return None
    bits = sum(bin(int(part)).count("1") for part in mask.split("."))
    config = {"match": {"macaddress": facts["MACAddress"].lower()},
              "addresses": ["%s/%d" % (facts["IpAddress"], bits)]}  # type: dict
    servers = [network[key] for key in ("dns1", "dns2") if network.get(key)]
    if servers:
        config["nameservers"] = {"addresses": servers}
    if network.get("defaultGateway"):
        config["routes"] = [{"to": "0.0.0.0/0", "via": network["defaultGateway"]}]
    return {"version": 2, "ethernets": {"nic0": config}}
