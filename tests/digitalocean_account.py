"""An account at DigitalOcean and what the API does with it, as far as the driver asks for it.

The words of refusals are the API's own, as far as they are known: what it says to a disk too small, to a strange VPC or
tag, and to user data too long, is ours.
"""

import base64
import binascii
import hashlib
import itertools
import re
import threading
import time

import digitalocean_catalogue as catalogue

TOKEN = "dop_v1_" + "0123456789abcdef" * 4
PROJECT = "4e1bfbc3-dc3e-41f2-a18f-1b4d7ba71679"
VPC = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"  # in nyc3
POWER = {"power_on": "active", "reboot": "active", "shutdown": "off", "power_off": "off"}
USER_DATA_LIMIT = 64 * 1024

# The fields of a single create, and what they hold.
DROPLET_FIELDS = {
    "name": str, "region": str, "size": str, "image": (str, int), "ssh_keys": list, "backups": bool,
    "backup_policy": dict, "ipv6": bool, "monitoring": bool, "tags": list, "user_data": str,
    "private_networking": bool, "volumes": list, "vpc_uuid": str, "with_droplet_agent": bool,
    "public_networking": bool,
}


# What a token needs besides droplet:create, by the field that asks for it.
FIELD_SCOPES = {"image": "image:read", "ssh_keys": "ssh_key:read", "tags": "tag:create", "vpc_uuid": "vpc:read",
                "volumes": "block_storage:read"}


class Refused(Exception):
    """An answer that says no."""

    def __init__(self, status, id, message):
        super().__init__(message)
        self.status, self.body = status, {"id": id, "message": message}


class Page:
    """Rows of a list, of which the answer holds one page."""

    def __init__(self, name, rows):
        self.name, self.rows = name, list(rows)


def unprocessable(message):
    return Refused(422, "unprocessable_entity", message)


def not_found():
    return Refused(404, "not_found", "The resource you were accessing could not be found.")


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def fingerprint(public_key):
    """The MD5 fingerprint by which the API knows a key; ValueError if it is none."""
    try:
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        raise ValueError(public_key)
    return ":".join(re.findall("..", hashlib.md5(blob).hexdigest()))


class Account:
    """What an account has; plain attributes, which tests read and set.

    guests: an object that runs real hosts, with create(droplet, user_data, public_keys) -> {"public": address,
    "private": address, "v6": address}, start(id), stop(id, graceful), reboot(id) and destroy(id). Without it nothing
    runs, and an action is in progress until it, or its droplet, was asked for `polls` times.
    """

    def __init__(self, guests=None):
        self.guests = guests
        self.tokens = {TOKEN: None}  # {token: its scopes, or None for all}
        self.sizes = catalogue.sizes()
        self.regions = catalogue.regions(self.sizes)
        self.images = catalogue.images()
        self.vpcs = {VPC: "nyc3"}
        self.projects = {PROJECT: []}  # type: dict  # {id: URNs}
        self.droplets, self.actions, self.keys = {}, {}, {}  # by id
        self.orders = {}  # {droplet id: the body that asked for it}
        self.tags = set()
        self.droplet_limit = 10
        self.polls = 2
        self.busy_droplets_stay = False  # whether an action in progress forbids to delete the droplet
        self.shutdown_works = True  # else the action ends well, and the droplet goes on
        self.mistakes = []  # what went wrong with the hosts
        self.public = self.ipv4 = True  # which networks a droplet gets: else private ones only, IPv6 only
        self.public_ip = ""  # every droplet's, instead of one that leads nowhere
        self.lock = threading.RLock()
        self.threads = []
        self._numbers = itertools.count(412345001)
        self._countdown = {}  # {action id: polls to go}
        self._doomed = set()  # actions that will be "errored"
        self._listed_from = {}  # {droplet id: since when lists show it}
        self._running = set()  # droplets whose hosts are worked at

    # --- reading

    def account(self, request):
        return 200, {"account": {
            "droplet_limit": self.droplet_limit, "floating_ip_limit": 3, "reserved_ip_limit": 3, "volume_limit": 10,
            "email": "tester@example.com", "name": "Tester", "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
            "email_verified": True, "status": "active", "status_message": "",
            "team": {"uuid": "5df3e3004a17e242b7c20ca6c9fc25b701a47ece", "name": "My Team"}}}

    def list_sizes(self, request):
        return 200, Page("sizes", self.sizes.values())

    def list_images(self, request):
        rows = [image for image in self.images.values() if image["type"] != "admin"]
        if request.query.get("type") == "distribution":
            rows = [image for image in rows if image["type"] == "base"]
        elif request.query.get("type") == "application":
            rows = []
        return 200, Page("images", rows)

    def show_image(self, request, which):
        image = self.image(int(which) if which.isdigit() else which)
        if image is None:
            raise not_found()
        return 200, {"image": image}

    def image(self, which):
        """The image of an id or a slug, or None."""
        if isinstance(which, str) and which.isdigit():
            which = int(which)
        return next((image for image in self.images.values() if which in (image["id"], image["slug"])), None)

    def list_droplets(self, request):
        rows = [row for row in self.droplets.values() if time.monotonic() >= self._listed_from.get(row["id"], 0)]
        if "tag_name" in request.query:
            rows = [row for row in rows if request.query["tag_name"] in row["tags"]]
        if "name" in request.query:
            rows = [row for row in rows if row["name"] == request.query["name"]]
        return 200, Page("droplets", rows)

    def show_droplet(self, request, which):
        droplet = self._droplet(which)
        self._tick(droplet["id"])
        return 200, {"droplet": droplet}

    def list_actions(self, request, which):
        droplet = self._droplet(which)
        self._tick(droplet["id"])
        return 200, Page("actions", [row for row in self.actions.values() if row["resource_id"] == droplet["id"]])

    def show_action(self, request, which, number):
        droplet = self._droplet(which)
        action = self.actions.get(int(number))
        if action is None or action["resource_id"] != droplet["id"]:
            raise not_found()
        self._tick(droplet["id"])
        return 200, {"action": action}

    def _droplet(self, which):
        try:
            return self.droplets[int(which)]
        except KeyError:
            raise not_found()

    # --- keys, tags, projects

    def create_key(self, request):
        try:
            printed = fingerprint(request.body["public_key"])
        except ValueError:
            raise unprocessable("Key invalid, key should be of the format `type key [comment]`")
        if any(key["fingerprint"] == printed for key in self.keys.values()):
            raise unprocessable("SSH Key is already in use on your account")
        number = next(self._numbers)
        self.keys[number] = {"id": number, "fingerprint": printed, "public_key": request.body["public_key"],
                             "name": request.body["name"]}
        return 201, {"ssh_key": self.keys[number]}

    def add_key(self, public_key, name="mine"):
        """Put a key into the account, and return it as the API shows it."""
        number = next(self._numbers)
        self.keys[number] = {"id": number, "fingerprint": fingerprint(public_key), "public_key": public_key,
                             "name": name}
        return self.keys[number]

    def key(self, which):
        """The key of an id or a fingerprint, or None."""
        return next((key for key in self.keys.values() if str(which) in (str(key["id"]), key["fingerprint"])), None)

    def list_keys(self, request):
        return 200, Page("ssh_keys", self.keys.values())

    def show_key(self, request, which):
        if not self.key(which):
            raise not_found()
        return 200, {"ssh_key": self.key(which)}

    def delete_key(self, request, which):
        key = self.key(which)
        if not key:
            raise not_found()
        del self.keys[key["id"]]
        return 204, None

    def delete_tag(self, request, name):
        if name not in self.tags:
            raise not_found()
        self.tags.remove(name)
        for droplet in self.droplets.values():
            droplet["tags"] = [tag for tag in droplet["tags"] if tag != name]
        return 204, None

    def show_project(self, request, project):
        if project not in self.projects:
            raise not_found()
        return 200, {"project": {
            "id": project, "owner_uuid": "5df3e3004a17e242b7c20ca6c9fc25b701a47ece", "owner_id": 1, "name": "Tests",
            "description": "", "purpose": "Service or API", "environment": "Development", "is_default": False,
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z"}}

    def assign_resources(self, request, project):
        if project not in self.projects:
            raise not_found()
        return 200, {"resources": [self._assign(project, urn) for urn in request.body["resources"]]}

    def _assign(self, project, urn):
        number = urn.rpartition(":")[2]
        known = number.isdigit() and int(number) in self.droplets
        status = "not_found" if not known else "already_assigned" if urn in self.projects[project] else "ok"
        if status == "ok":
            for urns in self.projects.values():
                urns[:] = [other for other in urns if other != urn]
            self.projects[project].append(urn)
        return {"urn": urn, "assigned_at": now(), "status": status,
                "links": {"self": "https://api.digitalocean.com/v2/droplets/" + number}}

    # --- creating

    def create_droplet(self, request):
        order = request.body
        size, region, image = self._checked(order)
        droplet = catalogue.droplet(next(self._numbers), order, size, region, image, now())
        droplet["vpc_uuid"] = order.get("vpc_uuid") or VPC
        self.droplets[droplet["id"]], self.orders[droplet["id"]] = droplet, order
        self.tags.update(droplet["tags"])
        if request.mishap and request.mishap.how == "late":
            self._listed_from[droplet["id"]] = time.monotonic() + request.mishap.seconds
        action = self._begin(droplet, "create", request)
        href = "https://api.digitalocean.com/v2/actions/%d" % action["id"]
        return 202, {"droplet": droplet, "links": {"actions": [{"id": action["id"], "rel": "create", "href": href}]}}

    def _checked(self, order):
        """The size, region and image of an order; refuses what the API would refuse."""
        size, image = self.sizes.get(order.get("size")), self.image(order.get("image"))
        region = self.regions.get(order.get("region", "nyc3"))
        self._check_name_and_data(order)
        for what, found in (("size", size), ("region", region), ("image", image)):
            if not found or what == "size" and not found["available"]:
                raise unprocessable("You specified an invalid %s for Droplet creation." % what)
        self._check_fit(size, region, image)
        unknown = [str(key) for key in order.get("ssh_keys") or [] if not self.key(key)]
        if unknown:
            raise unprocessable("%s are invalid key identifiers for Droplet creation." % ", ".join(unknown))
        if "vpc_uuid" in order and self.vpcs.get(order["vpc_uuid"]) != region["slug"]:
            raise unprocessable("Failed to resolve VPC")
        if len(self.droplets) >= self.droplet_limit:
            raise unprocessable("creating this/these droplet(s) will exceed your droplet limit")
        return size, region, image

    @staticmethod
    def _check_name_and_data(order):
        if not re.match(r"[a-zA-Z0-9]?[a-z0-9A-Z.-]*[a-z0-9A-Z]$", order.get("name", "")):
            raise unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
        if len(order.get("user_data", "").encode()) > USER_DATA_LIMIT:
            raise unprocessable("User data is too long (maximum is 64 KiB).")
        for tag in order.get("tags") or []:
            if not re.match(r"[a-zA-Z0-9_:-]{1,255}$", tag):
                raise unprocessable("Tag name must be at most 255 characters of letters, digits, :, - and _.")

    @staticmethod
    def _check_fit(size, region, image):
        if not region["available"]:
            raise unprocessable("Region is not available")
        if region["slug"] not in size["regions"]:
            raise unprocessable("Size is not available in this region.")
        if region["slug"] not in image["regions"]:
            raise unprocessable("The image you specified is not available in the selected region, "
                                "you are able to transfer it to this region from the images page.")
        if size["disk"] < image["min_disk_size"]:
            raise unprocessable("Cannot create a droplet with a smaller disk than the image.")

    # --- actions

    def act(self, request, which):
        droplet = self._droplet(which)
        self._refuse_if_pending(droplet)
        if request.body["type"] not in POWER:
            raise unprocessable("You specified an invalid action for Droplet.")
        return 201, {"action": self._begin(droplet, request.body["type"], request)}

    def _refuse_if_pending(self, droplet):
        self._tick(droplet["id"])
        if self.pending(droplet["id"]):
            raise unprocessable("Droplet already has a pending event.")

    def pending(self, droplet_id):
        """The actions in progress."""
        return [action for action in self.actions.values()
                if action["resource_id"] == droplet_id and action["status"] == "in-progress"]

    def _begin(self, droplet, kind, request):
        action = {"id": next(self._numbers), "status": "in-progress", "type": kind, "started_at": now(),
                  "completed_at": None, "resource_id": droplet["id"], "resource_type": "droplet",
                  "region": droplet["region"], "region_slug": droplet["region"]["slug"]}
        self.actions[action["id"]] = action
        self._countdown[action["id"]] = self.polls
        if request.mishap and request.mishap.how == "errored":
            self._doomed.add(action["id"])
        elif self.guests:
            self._run(action, droplet)
        return dict(action)

    def _tick(self, droplet_id):
        """Somebody asked: bring the droplet's actions on, unless hosts do that."""
        for action in self.pending(droplet_id):
            if self._countdown[action["id"]] > 0:
                self._countdown[action["id"]] -= 1
            elif not self.guests or action["id"] in self._doomed:
                self._complete(action, {})

    def _complete(self, action, addresses):
        action["completed_at"] = now()
        if action["id"] in self._doomed:
            action["status"] = "errored"
            return
        action["status"] = "completed"
        droplet = self.droplets.get(action["resource_id"])
        if droplet is None:
            return
        droplet["locked"] = False
        if action["type"] != "shutdown" or self.shutdown_works:
            droplet["status"] = POWER.get(action["type"], "active")
        if action["type"] == "create":
            droplet["networks"] = self._networks(dict(self._addresses(droplet), **addresses))

    def _addresses(self, droplet):
        last = droplet["id"] % 200 + 2
        v6 = "2001:db8::%x" % last if "ipv6" in droplet["features"] or not self.ipv4 else ""
        return {"public": self.public_ip or "203.0.113.%d" % last, "private": "10.132.0.%d" % last, "v6": v6}

    def _networks(self, addresses):
        v4, v6 = [], []
        if addresses.get("public") and self.public and self.ipv4:
            v4.append({"ip_address": addresses["public"], "netmask": "255.255.240.0", "gateway": "203.0.113.1",
                       "type": "public"})
        if addresses.get("private") and self.ipv4:
            v4.append({"ip_address": addresses["private"], "netmask": "255.255.240.0", "gateway": "10.132.0.1",
                       "type": "private"})
        if addresses.get("v6") and self.public:
            v6.append({"ip_address": addresses["v6"], "netmask": 64, "gateway": "2001:db8::1", "type": "public"})
        return {"v4": v4, "v6": v6}

    # --- real hosts

    def _run(self, action, droplet):
        thread = threading.Thread(target=self._work, args=(action, dict(droplet)), daemon=True)
        self.threads.append(thread)
        self._running.add(droplet["id"])
        thread.start()

    def _work(self, action, droplet):
        addresses = {}  # type: dict
        try:
            addresses = self._do(action["type"], droplet) or {}
        except Exception as error:
            self.mistakes.append("%s of droplet %s: %r" % (action["type"], droplet["id"], error))
            self._doomed.add(action["id"])
        with self.lock:
            self._complete(action, addresses)
            self._running.discard(droplet["id"])
            gone = droplet["id"] not in self.droplets
        if gone:  # deleted meanwhile
            self.guests.destroy(droplet["id"])

    def _do(self, kind, droplet):
        if kind == "create":
            order = self.orders[droplet["id"]]
            keys = [self.key(key)["public_key"] for key in order.get("ssh_keys") or [] if self.key(key)]
            return self.guests.create(droplet, order.get("user_data", ""), keys)
        if kind == "power_on":
            return self.guests.start(droplet["id"])
        if kind == "reboot":
            return self.guests.reboot(droplet["id"])
        return self.guests.stop(droplet["id"], kind == "shutdown")

    # --- deleting

    def delete_droplet(self, request, which):
        self._delete(self._droplet(which))
        return 204, None

    def delete_tagged(self, request):
        tag = request.query.get("tag_name")
        if not tag:
            raise unprocessable("tag_name is required")
        if tag not in self.tags:
            raise not_found()
        for droplet in [row for row in self.droplets.values() if tag in row["tags"]]:
            self._delete(droplet)
        return 204, None

    def _delete(self, droplet):
        number = droplet["id"]
        if self.busy_droplets_stay:
            self._refuse_if_pending(droplet)
        del self.droplets[number]
        for urns in self.projects.values():
            urns[:] = [urn for urn in urns if urn != "do:droplet:%d" % number]
        for action in self.pending(number):
            action["status"], action["completed_at"] = "completed", now()
        if self.guests and number not in self._running:
            self.guests.destroy(number)
