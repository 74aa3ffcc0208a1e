# SPDX-License-Identifier: Apache-2.0
"""Instances of Exoscale, by its API v2."""

import os

from docker_machine import (
    ERROR,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    CloudDriver,
    Flag,
    Instance,
    MachineError,
    PreCreateError,
    Rest,
    RestError,
    UsageError,
    host_name,
    out,
    plain_words,
    read_text,
    wait_for,
)

HOME = "https://api-ch-gva-2.exoscale.com/v2"  # knows all zones, as each zone's API does
LABEL = "docker-machine"  # the label of an instance that tells its creation
OURS = "made by docker-machine, and removed with its last machine"  # a group's description
ANYWHERE, ANYWHERE_6 = "0.0.0.0/0", "::/0"
UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
PORTAL = "https://portal.exoscale.com/iam/api-keys"
SECONDS = 600  # for which a signature holds

STATES = {"starting": STARTING, "running": RUNNING, "migrating": RUNNING, "stopping": STOPPING,
          "stopped": STOPPED}
GONE = ("destroying", "destroyed", "expunging")
ACTIONS = {"start": "start", "stop": "stop", "kill": "stop", "restart": "reboot"}
USERS = (("ubuntu", "ubuntu"), ("debian", "debian"), ("centos", "centos"), ("fedora", "fedora"),
         ("coreos|flatcar", "core"), ("red ?hat|rhel", "cloud-user"))
NO_CLOUD_INIT = "coreos|flatcar|talos|windows|bsd"  # in a template's name


def flag(name, default, help, field, env="", **more):
    """A flag whose variable has its name in capitals, or is `env`."""
    env = "EXOSCALE_" + (env or name.upper().replace("-", "_"))
    return Flag("exoscale-" + name, default, help, env, field=field, **more)


class ExoscaleDriver(CloudDriver):
    """An instance of Exoscale."""

    name, provider, thing = "exoscale", "Exoscale", "instance"
    creating = "Creating the instance..."
    status_page = "https://www.exoscalestatus.com"
    id_field, key_id_field, key_file_field = "Id", "KeyPair", "SSHKey"
    kinds = ("zone", "type", "template", "quota", "security-group", "anti-affinity-group")
    most_user_data = 24576
    login = "API key"
    scope_hint = ("Its IAM role has to allow the operation %s; docs/drivers/exoscale.md lists all. "
                  "Else key or secret are wrong, or the clock is (sudo timedatectl set-ntp true). "
                  "Keys: " + PORTAL)
    cures = (("protect", "Lift the protection: exo compute instance update --protection=false ID"),
             ("uota", "Remove an instance, or ask for more: https://portal.exoscale.com"),
             ("limit", "Remove an instance, or ask for more: https://portal.exoscale.com"),
             ("capacity", "Try later, another --exoscale-availability-zone, or another "
              "--exoscale-instance-profile."))
    flags = (
        flag("url", "", "URL of the API (default: that of the zone)", "URL", "ENDPOINT",
             form=r"https?://[!-~]+"),
        flag("api-key", "", "API key", "ApiKey", secret=True, form=r"\s*[\w-]+\s*"),
        flag("api-secret-key", "", "Its secret", "ApiSecretKey", "API_SECRET", secret=True,
             form=r"\s*[!-~]+\s*"),
        flag("instance-profile", "small", "Type: a size, FAMILY.SIZE, or an id", "InstanceProfile",
             form=r"([a-zA-Z0-9]+\.)?[a-zA-Z0-9-]+",
             hint="List all: exo compute instance-type list"),
        flag("disk-size", 50, "Size of the disk in GB", "DiskSize", least=10, most=51200),
        flag("image", "Linux Ubuntu 24.04 LTS 64-bit", "Template, by its name, id, or in short: "
             "ubuntu-24.04", "Image"),
        flag("security-group", ["docker-machine"], "Security group (default: docker-machine); made "
             "if it is not there", "SecurityGroups", form=r"[^\x00-\x1f]{0,255}"),
        flag("availability-zone", "ch-dk-2", "Zone", "AvailabilityZone",
             form=r"[A-Za-z]{2}-[A-Za-z]+-\d+", hint="List all: exo zone list"),
        flag("ssh-user", "", "SSH user (default: the template's), who is made at the first boot",
             "SSHUser", form=r"[A-Za-z_][\w.-]*"),
        flag("ssh-key", "", "SSH private key (default: one is made)", "SSHKey", file=True),
        flag("userdata", "", "File of user data for the first boot", "UserDataFile", file=True),
        flag("affinity-group", [], "Anti-affinity group; made if it is not there",
             "AffinityGroups", form=r"[^\x00-\x1f]{0,255}"),
        flag("ipv6", False, "Add a public IPv6 address", "IPv6"),
    )
    fields = (("Id", ""), ("KeyPair", ""))
    operation = ""  # the one that act() or order() began
    tried = False  # whether the groups are to be looked at anew

    def __init__(self, machine):
        from functools import lru_cache
        super().__init__(machine)
        self._adopted = lru_cache(None)(self._adopted)  # type: ignore

    # --- the flags

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        secret = self["ApiSecretKey"] or os.environ.get("EXOSCALE_API_SECRET_KEY", "")
        self["ApiKey"], self["ApiSecretKey"] = self["ApiKey"].strip(), secret.strip()
        if not all(self.credentials()):
            raise UsageError("missing an API key (--exoscale-api-key) or API secret key "
                             "(--exoscale-api-secret-key)", "Make one: %s\nIt is also found in the "
                             "exoscale.toml of exo config, by Python 3.11 and newer." % PORTAL)
        if is_dead(self["URL"]):
            out.warn("--exoscale-url names Exoscale's API v1, which ended in May 2024; it is not "
                     "used.")
            self["URL"] = ""
        for field in ("SecurityGroups", "AffinityGroups"):
            self[field] = [name for name in dict.fromkeys(self[field]) if name]

    def credentials(self):
        """(key, secret): the stored ones, else those of the program exo, which are not stored."""
        if self["ApiKey"] or self["ApiSecretKey"]:
            return self["ApiKey"], self["ApiSecretKey"]
        pair = pair_of_exo()
        out.secrets.update(word for word in pair if len(word) > 5)
        return pair

    def zone(self):
        return self["AvailabilityZone"].lower()

    def group_names(self, kind):
        """Those of security groups or anti-affinity groups that the machine is in."""
        if kind == "anti-affinity-group":
            return self["AffinityGroups"]
        return self["SecurityGroups"] or ["default"]

    # --- before the machine is made

    def pre_create_check(self):
        super().pre_create_check()
        template = self.look_up("template")
        self["SSHUser"] = self["SSHUser"] or template.get("default-user") or guess_user(
            template["name"])
        least = -(-template.get("size", 0) // 2 ** 30)
        if least > self["DiskSize"]:
            raise MachineError('The template "%s" needs a disk of %d GB.' % (
                template["name"], least), "Add --exoscale-disk-size %d." % least)
        if not self.reads_user_data() and not template.get("ssh-key-enabled", True):
            raise MachineError('The template "%s" takes no SSH keys.' % template["name"],
                               "Take another --exoscale-image.")
        self._warn_of_ports()

    def look_up(self, kind):
        if kind.endswith("-group"):
            return self._groups(kind)
        return getattr(self, "_look_up_" + kind)()

    def _look_up_zone(self):
        try:
            rows = self.ask("GET", "/zone", key="zones", scope="list-zones")
        except RestError as error:
            if not (error.unsent and is_exoscales(self.endpoint())):
                raise
            rows = self._rest(HOME).call("GET", "/zone", key="zones")  # a zone that is not there
        known = [row["name"] for row in rows]
        if self.zone() not in known:
            raise self.unknown("availability zone", self.zone(), "exo zone list", known)

    def _look_up_type(self):
        rows = self.ask("GET", "/instance-type", key="instance-types", scope="list-instance-types")
        wanted = self["InstanceProfile"].lower()
        fit = {type_name(row): row for row in rows}
        by_id = {row["id"]: row for row in rows}
        row = by_id.get(wanted) or fit.get(
            wanted[len("standard."):] if wanted.startswith("standard.") else wanted)
        places = row.get("zones") or () if row else ()
        if row is None or places and self.zone() not in places:
            known = sorted(name for name in fit if fit[name].get("authorized", True))
            raise self.unknown("instance type", wanted, "exo compute instance-type list", known,
                               places, self.zone())
        if not row.get("authorized", True):
            raise MachineError('The organization may not use the type "%s".' % wanted,
                               "Ask Exoscale's support for it: https://portal.exoscale.com")
        return row

    def _look_up_template(self):
        known = []  # type: list
        for visibility in ("public", "private"):
            rows = self.ask("GET", "/template", query={"visibility": visibility}, key="templates",
                            scope="list-templates")
            fit = [row for row in rows if self["Image"].lower() in template_names(row)]
            if fit:
                return max(fit, key=lambda row: row.get("created-at", ""))
            known += [row["name"] for row in rows]
        raise self.unknown("template", self["Image"], "exo compute instance-template list",
                           sorted(set(known)))

    def _look_up_quota(self):
        for row in self.ask("GET", "/quota", key="quotas", none=403) or ():
            limit = row.get("limit", -1)
            if row.get("resource") == "instance" and 0 <= limit <= row.get("usage", 0):
                raise MachineError("The organization's limit of %d instances is reached." % limit,
                                   "Remove one, or ask for more: https://portal.exoscale.com")

    def _warn_of_ports(self):
        """Tell what the groups that are not ours to change keep out."""
        groups = self.look_up("security-group")
        if any(row is None or row.get("description") == OURS for row in groups.values()):
            return
        rules = [rule for row in groups.values() for rule in row.get("rules") or ()]
        shut = [port for port in dict.fromkeys(self.ports()) if not lets_in(rules, port)]
        if shut:
            out.warn("The security groups (%s) let in nothing to port %s. Add a rule, or name "
                     "another --exoscale-security-group." % (
                         ", ".join(groups), " and ".join(map(str, shut))))

    # --- the machine

    def order(self, keys):
        try:
            operation = self._ask_for_one(keys)
            self.operation = operation["id"]
            reference = operation.get("reference") or self.settle(operation)["reference"]
        except RestError as error:
            if error.refused:
                self._if_allowed(self.delete_tagged)
            raise
        return Instance(reference["id"], STARTING, (), [self["CreateTag"]])

    def _ask_for_one(self, keys):
        """The operation that makes the instance."""
        try:
            return self.ask("POST", "/instance", self._body(keys), scope="create-instance")
        except RestError as error:
            if error.status != 404 or not error.refused:
                raise
        # The rm of another machine took a group meanwhile.
        return self.ask("POST", "/instance", self._body(keys), scope="create-instance")

    def _body(self, keys):
        """The instance as the API takes it; groups that are not there are made."""
        from base64 import b64encode
        data = b64encode(self.user_data().encode()).decode()
        groups = {kind: self._ready_groups(kind) for kind in (
            "security-group", "anti-affinity-group")}
        self.tried = True
        body = {
            "name": instance_name(self.machine.name), "disk-size": self["DiskSize"],
            "instance-type": {"id": self.look_up("type")["id"]},
            "template": {"id": self.look_up("template")["id"]},
            "security-groups": groups["security-group"],
            "anti-affinity-groups": groups["anti-affinity-group"],
            "labels": {LABEL: self["CreateTag"]}, "user-data": data,
            "ssh-keys": [{"name": key} for key in keys],
            "public-ip-assignment": "dual" if self["IPv6"] else "inet4"}
        return {name: value for name, value in body.items() if value}

    def describe(self):
        row = self.ask("GET", "/instance/" + self.number(), none=404, scope="get-instance")
        return self._instance(row) if row and row.get("state") not in GONE else None

    def instances(self, tag=""):
        return [self._instance(row) for row in self.rows() if row.get("state") not in GONE]

    def rows(self):
        return self.ask("GET", "/instance", key="instances", scope="list-instances")

    def account(self):
        return self.credentials()[0], self.endpoint()

    def number(self):
        """The instance's id."""
        if self["CreateTag"] or not is_dead(self["URL"]):
            return self["Id"]
        return self._adopted(self["Id"], self["IPAddress"])

    def _adopted(self, number, address):
        """The id of what Docker Machine made by the API v1, which may be another one now: name and
        address tell then."""
        if self.ask("GET", "/instance/" + number, none=404, scope="get-instance"):
            return number
        fit = [row["id"] for row in self.rows()
               if (row.get("name"), row.get("public-ip")) == (self.machine.name, address)]
        return fit[0] if address and len(fit) == 1 else number

    @staticmethod
    def _instance(row):
        labels = row.get("labels") or {}
        addresses = [(True, row[key]) for key in ("public-ip", "ipv6-address") if row.get(key)]
        return Instance(row["id"], STATES.get(row.get("state"), ERROR), addresses,
                        [labels.get(LABEL, "")])

    def _state(self, found):
        try:
            return super()._state(found)
        except MachineError as error:
            if is_dead(self["URL"]) and self["Id"] and not isinstance(error, RestError):
                error.message += " The entry is of Exoscale's API v1, which ended in May 2024."
            raise

    def act(self, verb):
        def is_to_wait(error):
            return is_busy(error) and action != "stop" and not (
                action == "start" and self.get_state() in (STARTING, RUNNING))

        action = ACTIONS[verb]
        body = {} if action == "start" else None  # type: ignore
        # Else 409 says that it is so already, or asked for.
        operation = self.ask("PUT", "/instance/%s:%s" % (self.number(), action), body, none=409,
                             wait=is_to_wait, scope=action + "-instance")
        self.operation = (operation or {}).get("id", "")

    def progress(self, verb, instance):
        if not self.operation:
            return True
        operation = self._look_at(self.operation)
        try:
            return self._is_done(operation)
        except RestError as error:
            self.operation = ""
            if verb != "create":
                raise
            self.remove()
            raise PreCreateError(error.message, error.hint)

    # --- the removal

    def delete(self):
        if not self["CreateTag"]:
            self.log("The Anti-Affinity group and Security group were not removed")
        path = "/instance/" + self.number()
        operation = self.ask("DELETE", path, none=404, wait=is_busy, scope="delete-instance")
        if operation:
            try:
                self.settle(operation)
            except RestError as error:
                if error.reason != "not-found":
                    raise

    def delete_tagged(self):
        """Remove those of our groups that no machine is in any more."""
        for kind in ("security-group", "anti-affinity-group"):
            for row in self._listed(kind).values():
                if row.get("description") == OURS and not self._is_used(kind, row["id"]):
                    self._delete_group(kind, row["id"])

    def _is_used(self, kind, number):
        """Whether an instance is in a group."""
        if kind == "anti-affinity-group":
            row = self.ask("GET", "/%s/%s" % (kind, number), none=404, scope="get-" + kind)
            return bool(row and row.get("instances"))
        return any(group["id"] == number for row in self.rows() if row.get("state") not in GONE
                   for group in row.get("security-groups") or ())

    def _delete_group(self, kind, number):
        """Delete a group, unless something is in it after all."""
        path = "/%s/%s" % (kind, number)
        try:
            operation = self.ask("DELETE", path, none=404, scope="delete-" + kind)
            if operation:
                self.settle(operation)
        except RestError as error:
            if error.status == 403 or not error.refused:
                raise
            out.debug(error.message)

    # --- groups

    def _listed(self, kind):
        """{name, or id, as it was given: row} of the groups of that kind that are there."""
        names = self.group_names(kind)
        rows = self.ask("GET", "/" + kind, key=kind + "s", scope="list-%ss" % kind) if names else ()
        return {name: row for name in names for row in rows if name in (row["name"], row["id"])}

    def _groups(self, kind):
        """{name: row, None if it is not there}; the row of a security group has its rules. Raises
        MachineError for an id that is not there."""
        from re import fullmatch
        there = self._listed(kind)
        for name in self.group_names(kind):
            if name not in there and fullmatch(UUID, name):
                raise MachineError("Exoscale has no %s %s." % (kind.replace("-", " "), name),
                                   "List all: exo compute %s list" % kind)
        if kind == "security-group":
            there = {name: self._security_group(row["id"]) for name, row in there.items()}
        return {name: there.get(name) for name in self.group_names(kind)}

    def _security_group(self, number):
        return self.ask("GET", "/security-group/" + number, none=404, scope="get-security-group")

    def _ready_groups(self, kind):
        """The groups as an order names them; what is not there is made."""
        if kind == "security-group" and not self["SecurityGroups"]:
            return []  # Exoscale takes "default" then
        groups = self._groups(kind) if self.tried else self.look_up(kind)
        return [{"id": self._ready_group(kind, name, row)} for name, row in groups.items()]

    def _ready_group(self, kind, name, row):
        """The id of a group, which is made if there is no `row`; one of ours has all our rules."""
        def make():
            operation = self.ask("POST", "/" + kind, {"name": name, "description": OURS},
                                 scope="create-" + kind)
            number = self.settle(operation)["reference"]["id"]
            return {"id": number, "name": name, "description": OURS}

        row = row or self._made_once(make, lambda: self._groups(kind)[name], (400, 409))
        if kind == "security-group" and row.get("description") == OURS:
            for rule in self._rules(row["id"]):  # one after another
                if not has_rule(row, rule):
                    self._add_rule(row["id"], rule)
        return row["id"]

    def _add_rule(self, number, rule):
        def make():
            return self.settle(self.ask("POST", "/security-group/%s/rules" % number, rule,
                                        scope="add-rule-to-security-group"))

        def find():
            group = self._security_group(number)
            return group if group and has_rule(group, rule) else None

        self._made_once(make, find, (400, 409))

    def _rules(self, number):
        """The rules of a group of ours, in Docker Machine's order."""
        networks = [ANYWHERE] + [ANYWHERE_6] * self["IPv6"]
        rules = [tcp("SSH", 22, 22, network) for network in networks]
        rules.append({"description": "Ping", "protocol": "icmp", "icmp": {"type": 8, "code": 0},
                      "network": ANYWHERE})
        for words, first in (("Docker", 2376), ("Legacy Standalone Swarm", 3376)):
            rules += [tcp(words, first, first + 1, network) for network in networks]
        for protocol, port, words in (("tcp", 7946, "Communication among nodes"),
                                      ("udp", 7946, "Communication among nodes"),
                                      ("udp", 4789, "Overlay network traffic")):
            rules.append({"description": words, "protocol": protocol, "start-port": port,
                          "end-port": port, "security-group": {"id": number}})
        for port in dict.fromkeys(self.ports()):
            if not lets_in(rules, port):
                rules += [tcp("docker-machine", port, port, network) for network in networks]
        return [dict(rule, **{"flow-direction": "ingress"}) for rule in rules]

    # --- user data and keys

    def has_cloud_init(self):
        from re import search
        return not search(NO_CLOUD_INIT, self.look_up("template")["name"].lower())

    def keys(self):
        return [(row["name"], row["name"], "") for row in self.ask(
            "GET", "/ssh-key", key="ssh-keys", scope="list-ssh-keys")]

    def add_key(self, name, public):
        self.settle(self.ask("POST", "/ssh-key", {"name": name, "public-key": public},
                             scope="register-ssh-key"))
        return name

    def delete_key(self, key_id):
        operation = self.ask("DELETE", "/ssh-key/" + key_id, none=404, scope="delete-ssh-key")
        if operation:
            self.settle(operation)

    # --- the API

    def settle(self, operation):
        """The operation at its end. Raises RestError if it failed."""
        seen = [operation]

        def is_done():
            if not self._is_done(seen[-1]):
                seen.append(self._look_at(operation["id"]))
            return self._is_done(seen[-1])

        wait_for(is_done, self.patience, "Exoscale did not finish the operation %s within %d s." % (
            operation["id"], self.patience), 5, 0.5)
        return seen[-1]

    def _look_at(self, number):
        return self.ask("GET", "/operation/" + number, scope="get-operation")

    def _is_done(self, operation):
        state = operation.get("state")
        if state in ("failure", "timeout"):
            raise self._failure(operation)
        return state == "success"

    def _failure(self, operation):
        """The RestError for an operation that ended with an error."""
        reason = plain_words(operation.get("reason") or operation["state"])
        words = plain_words(operation.get("message") or "")
        failure = RestError("Exoscale: %s (%s)" % (words or "no word of explanation", reason),
                            status={"forbidden": 403, "not-found": 404}.get(reason, 400),
                            words=words, reason=reason, value=operation, refused=True)
        if reason == "unavailable":
            failure.hint = ("The zone %s has no room for it: try later, another zone, or another "
                            "--exoscale-instance-profile." % self.zone())
        self.explain(failure)
        return failure

    def explain(self, error, request="", scope=""):
        if "deprecated" in error.words:
            error.hint = 'Exoscale\'s API v1 is gone: take "URL" out of ' + self.path("config.json")
        super().explain(error, request, scope)

    def endpoint(self):
        """The URL of the API; a stored one of Exoscale's own may be of v1, or of another zone."""
        url = os.environ.get("EXOSCALE_API_URL") or self["URL"]
        if not url or is_dead(url) or is_exoscales(url):
            return "https://api-%s.exoscale.com/v2" % self.zone()
        return url

    def rest(self):
        return self._rest(self.endpoint())

    def _rest(self, url):
        return Rest(self.provider, url, self._signed, min(self.patience, 30), self.patience)

    def _signed(self, method, url, body):
        from time import time
        key, secret = self.credentials()
        return {"Authorization": signature(key, secret, method, url, body, int(time()) + SECONDS)}


# --- small helpers

def signature(key, secret, method, url, body, expires):
    """The header Authorization by EXO2-HMAC-SHA256; `expires` in seconds since 1970."""
    import hmac
    from base64 import b64encode
    address, _, query = url.partition("?")
    path = "/" + address.partition("://")[2].partition("/")[2]
    values = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    names = sorted(values)
    lines = [("%s %s" % (method, path)).encode(), body,
             "".join(decoded(values[name]) for name in names).encode(), b"", b"%d" % expires]
    digest = hmac.new(secret.encode(), b"\n".join(lines), "sha256").digest()
    signed = ",signed-query-args=" + ";".join(names) if names else ""
    return "EXO2-HMAC-SHA256 credential=%s%s,expires=%d,signature=%s" % (
        key, signed, expires, b64encode(digest).decode())


def decoded(text):
    """A value of a query without its escapes."""
    from re import sub
    raw = sub(b"%(..)", lambda found: bytes.fromhex(found.group(1).decode()),
              text.replace("+", " ").encode())
    return raw.decode()


def pair_of_exo():
    """(key, secret) of the account that the program exo uses by default; "" without one."""
    try:
        from tomllib import loads  # of Python 3.11
    except ImportError:
        return "", ""
    for path in exo_files():
        try:
            settings = loads(read_text(path))
        except (MachineError, ValueError) as error:
            out.debug("%s: %s" % (path, error))
            continue
        name = os.environ.get("EXOSCALE_ACCOUNT") or settings.get("defaultaccount")
        for account in settings.get("accounts") or ():
            if account.get("name") == name:
                return account.get("key", ""), account.get("secret", "")
    return "", ""


def exo_files():
    """Where the program exo may have its exoscale.toml, in its order."""
    named = os.environ.get("EXOSCALE_CONFIG")
    folders = (os.environ.get("APPDATA") or "~/.config", "~/Library/Application Support")
    paths = [named] if named else [os.path.join(folder, "exoscale", "exoscale.toml")
                                   for folder in folders] + ["~/.exoscale/exoscale.toml"]
    return [path for path in map(os.path.expanduser, paths) if os.path.isfile(path)]


def is_busy(error):
    """Whether something else is under way that has to end first."""
    return error.status == 409 and "protect" not in error.words


def is_dead(url):
    """Whether a URL is that of the API v1, which was CloudStack's."""
    from re import search
    return bool(search(r"/(compute|v1)/*$", url))


def is_exoscales(url):
    from re import match
    return bool(match(r"https://[^/]*\.exoscale\.(ch|com)(/|$)", url.lower()))


def instance_name(name):
    """A machine's name in letters, digits and dashes."""
    from re import sub
    return sub("[^a-zA-Z0-9-]", "-", host_name(name))[:63].strip("-")


def type_name(row):
    """small, or cpu.large in other families than standard."""
    family, size = row.get("family", ""), row.get("size", "")
    return size if family == "standard" else "%s.%s" % (family, size)


def template_names(row):
    """How a template may be called, in small letters."""
    from re import match
    name = row["name"].lower()
    short = match(r"linux (\S+) ([\d.]+)", name)
    return [name, row["id"].lower()] + (["%s-%s" % short.groups()] if short else [])


def guess_user(template):
    """Who may log in, by the name of a template that does not tell."""
    from re import search
    for pattern, user in USERS:
        if search(pattern, template.lower()):
            return user
    return "root"


def tcp(words, first, last, network):
    return {"description": words, "protocol": "tcp", "start-port": first, "end-port": last,
            "network": network}


def lets_in(rules, port):
    """Whether rules let in TCP from some network to a port."""
    return any(rule.get("network") and rule.get("protocol") in ("tcp", "all")
               and rule.get("start-port", 1) <= port <= rule.get("end-port", 65535)
               for rule in rules if rule.get("flow-direction", "ingress") == "ingress")


def has_rule(group, rule):
    """Whether a group has that rule, whatever it is described as."""
    def words(row):
        source = (row.get("security-group") or {}).get("id", "")
        icmp = row.get("icmp") or {}
        return (row.get("flow-direction"), row.get("protocol"), row.get("network") or "", source,
                row.get("start-port"), row.get("end-port"), icmp.get("type"), icmp.get("code"))

    return words(rule) in [words(row) for row in group.get("rules") or ()]
