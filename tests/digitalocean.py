"""DigitalOcean as the tests see it: a server on 127.0.0.1 that plays the API, its account, and its mishaps.

Only what the driver may ask for is there. All else is answered with 404 and noted in `unknown`, as are fields and
parameters that the API does not know.

    with DigitalOcean() as ocean:
        ocean.fail(503, "POST", "/v2/droplets$")
        ...
        assert ocean.lines() == ["GET /v2/sizes?per_page=200", ...]
"""

import json
import random
import re
import threading
import time
import traceback
import uuid
from urllib.parse import parse_qsl, unquote, urlsplit

from digitalocean_account import DROPLET_FIELDS, FIELD_SCOPES, TOKEN, Account, Page, Refused, unprocessable
from standin import Server

__all__ = ["DigitalOcean", "TOKEN"]

PAGING = {"page", "per_page"}
HTML = b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>\n"
SHAKEN = (429, 500, 503, "cut", "500 after")
MISHAPS = SHAKEN + (502, "429 reset", "html", "slow", "cut after", "json", "empty", "errored", "late")

# Method, path, what the account does, the scopes it takes, query parameters, fields of the body.
ROUTES = [
    ("GET", r"/v2/account", "account", "account:read", set(), None),
    ("GET", r"/v2/sizes", "list_sizes", "sizes:read regions:read", PAGING, None),
    ("GET", r"/v2/images", "list_images", "image:read", PAGING | {"type"}, None),
    ("GET", r"/v2/images/([\w.-]+)", "show_image", "image:read", set(), None),
    ("GET", r"/v2/account/keys", "list_keys", "ssh_key:read", PAGING, None),
    ("POST", r"/v2/account/keys", "create_key", "ssh_key:create", set(), {"name": str, "public_key": str}),
    ("GET", r"/v2/account/keys/([\w:]+)", "show_key", "ssh_key:read", set(), None),
    ("DELETE", r"/v2/account/keys/([\w:]+)", "delete_key", "ssh_key:delete", set(), None),
    ("GET", r"/v2/droplets", "list_droplets", "droplet:read", PAGING | {"tag_name", "name"}, None),
    ("POST", r"/v2/droplets", "create_droplet", "droplet:create", set(), DROPLET_FIELDS),
    ("DELETE", r"/v2/droplets", "delete_tagged", "droplet:delete", {"tag_name"}, None),
    ("GET", r"/v2/droplets/(\d+)", "show_droplet", "droplet:read", set(), None),
    ("DELETE", r"/v2/droplets/(\d+)", "delete_droplet", "droplet:delete", set(), None),
    ("POST", r"/v2/droplets/(\d+)/actions", "act", "droplet:update", set(), {"type": str}),
    ("GET", r"/v2/droplets/(\d+)/actions", "list_actions", "droplet:read", PAGING, None),
    ("GET", r"/v2/droplets/(\d+)/actions/(\d+)", "show_action", "droplet:read", set(), None),
    ("DELETE", r"/v2/tags/([\w:-]+)", "delete_tag", "tag:delete", set(), None),
    ("GET", r"/v2/projects/([\w-]+)", "show_project", "project:read", set(), None),
    ("POST", r"/v2/projects/([\w-]+)/resources", "assign_resources", "project:assign_resource", set(),
     {"resources": list}),
]


class Request:
    """One request: method, path, query (a dict), body (what the JSON holds), headers (names in small letters), and the
    status of its answer, which is None while it waits and 0 if the connection was cut."""

    def __init__(self, method, target, headers, data):
        split = urlsplit(target)
        self.method, self.target, self.path = method, target, unquote(split.path)
        self.query = dict(parse_qsl(split.query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.data, self.body, self.status, self.mishap = data, None, None, None

    def __str__(self):
        return "%s %s" % (self.method, self.target)

    def __repr__(self):
        return "<%s: %s>" % (self, self.status)

    def begins(self):
        """The kind of action that this request begins, if it does."""
        if self.method == "POST" and re.match(r"/v2/droplets(/\d+/actions)?$", self.path):
            return "power" if self.path.endswith("actions") else "create"
        return ""


class Mishap:
    """What shall go wrong with the next `times` requests of a method whose target matches a pattern."""

    def __init__(self, how, method, path, times, seconds):
        self.how, self.method, self.path, self.times, self.seconds = how, method, path, times, seconds

    def fits(self, request):
        if self.how == "errored" and not request.begins() or self.how == "late" and request.begins() != "create":
            return False
        return self.times > 0 and self.method in ("", request.method) and bool(re.search(self.path, request.target))


class Hold:
    """A request that waits until `release`; as a context, which ends with that."""

    def __init__(self, method, path, when):
        self.method, self.path, self.when = method, path, when
        self.request = None
        self._came, self._go = threading.Event(), threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.release()

    def wait(self, seconds=30):
        """Until the request is there; returns it."""
        assert self._came.wait(seconds), "no %s %s came to where it shall wait" % (self.method, self.path)
        return self.request

    def release(self):
        self._go.set()

    def stop(self, request, when):
        """Called with every request, before and after it has its effect: holds the one that is meant."""
        meant = self.request in (None, request) and self.when == when and not self._go.is_set()
        if meant and self.method == request.method and re.search(self.path, request.target):
            self.request = request
            self._came.set()
            self._go.wait(300)


class DigitalOcean(Account):
    """The server, its account (see Account), and what was asked of it; by HTTPS with an ssl.SSLContext for servers."""

    def __init__(self, guests=None, port=0, tls=None):
        super().__init__(guests)
        self.requests = []
        self.unknown = []
        self.retry_after = 1  # seconds, in an answer 429
        self.links_url = ""  # the address of the next page, if not our own
        self._mishaps, self._holds = [], []
        self._shaken, self._random = 0.0, random.Random()
        self._rate = 5000
        self._server = Server(self.handle, port, tls)
        self.url = self._server.url

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        """End the server, and wait for what its hosts are at."""
        for hold in self._holds:
            hold.release()
        self._server.close()
        for thread in self.threads:
            thread.join(120)

    # --- what was asked

    def asked(self, method="", path=""):
        """The requests of a method ("": any) whose target (path?query) matches a pattern."""
        return [one for one in self.requests if method in ("", one.method) and re.search(path, one.target)]

    def lines(self):
        """["GET /v2/sizes?per_page=200", ...]"""
        return [str(request) for request in self.requests]

    def empty(self):
        """Whether nothing is left of what was created: no droplet, no tag."""
        return not self.droplets and not self.tags

    # --- what shall go wrong

    def fail(self, how, method="", path="", times=1, seconds=1.0):
        """Let requests meet with a mishap; the first rule that fits is used, and used up after `times`.

        429            with retry-after, the attribute of that name         "429 reset"  only with ratelimit-reset
        500, 502, 503  without having acted                                 "html"       503 with a page
        "cut"          the connection is closed before it acts              "slow"       answers after `seconds`
        "cut after", "500 after"  it acts, and the answer is lost
        "json"         200 with broken JSON, without having acted           "empty"      200 without a body, likewise
        "errored"      the action that the request begins ends so
        "late"         lists show the droplet it creates only after `seconds`
        """
        assert how in MISHAPS, "no such mishap: %r" % how
        self._mishaps.append(Mishap(how, method, path, times, seconds))

    def shake(self, share, seed=0):
        """Let this share of all requests fail in some way, from now on; 0 ends it."""
        self._shaken, self._random = share, random.Random(seed)

    def hold(self, method, path, when="before"):
        """Let the next such request wait, before or after it acts, until the Hold is released."""
        assert when in ("before", "after")
        self._holds.append(Hold(method, path, when))
        return self._holds[-1]

    def _mishap_of(self, request):
        with self.lock:
            found = next((mishap for mishap in self._mishaps if mishap.fits(request)), None)
            if found:
                found.times -= 1
            elif self._shaken and self._random.random() < self._shaken:
                found = Mishap(self._random.choice(SHAKEN), "", "", 1, 0)
            return found

    # --- how it answers

    def handle(self, method, target, headers, data):
        answer = self.respond(Request(method, target, headers, data))
        if answer is None:
            return None
        status, headers, body = answer
        if status == 204:
            del headers["content-type"]
        # The next server at this port is another account.
        return status, dict(headers, connection="close"), body

    def respond(self, request):
        """(status, headers, body) for a request; None to cut the connection."""
        with self.lock:
            self.requests.append(request)
        request.mishap = self._mishap_of(request)
        how = request.mishap.how if request.mishap else ""
        self._pass_holds(request, "before")
        instead = self._instead(how)
        if how == "slow":
            time.sleep(request.mishap.seconds)
        answer = instead or self._act(request)
        self._pass_holds(request, "after")
        if how == "500 after":
            answer = self._refusal(500, "server_error", "Unexpected server-side error")
        if how == "cut after" or answer == "cut":
            request.status = 0
            return None
        request.status = answer[0]
        return answer

    def _pass_holds(self, request, when):
        for hold in list(self._holds):
            hold.stop(request, when)

    def _instead(self, how):
        """The answer to a request that shall not act, or None."""
        if how == 429 or how == "429 reset":
            status, headers, body = self._refusal(429, "too_many_requests", "API Rate limit exceeded.")
            headers["ratelimit-remaining"] = "0"
            headers["ratelimit-reset"] = str(int(time.time()) + self.retry_after)
            if how == 429:
                headers["retry-after"] = str(self.retry_after)
            return status, headers, body
        if how in (500, 502, 503):
            return self._refusal(how, "server_error", "Unexpected server-side error")
        if how == "html":
            return 503, {"content-type": "text/html"}, HTML
        if how in ("json", "empty"):
            return 200, self._headers(), b'{"droplet": {"id": 41' if how == "json" else b""
        return "cut" if how == "cut" else None

    def _act(self, request):
        with self.lock:
            try:
                status, body = self._routed(request)
                if isinstance(body, Page):
                    body = self._page(request, body)
            except Refused as refused:
                return self._refusal(refused.status, **refused.body)
            except Exception:
                self.mistakes.append("%s\n%s" % (request, traceback.format_exc()))
                return self._refusal(500, "server_error", "Unexpected server-side error")
            return self._answer(status, body)

    def _routed(self, request):
        self._authenticate(request)
        for method, pattern, name, scope, parameters, fields in ROUTES:
            match = re.match(pattern + "$", request.path)
            if match and method == request.method:
                self._authorize(request, scope)
                self._note(request, "parameter", set(request.query) - parameters)
                self._read_body(request, fields)
                if fields is DROPLET_FIELDS:
                    self._authorize(request, " ".join(FIELD_SCOPES.get(name, "") for name in request.body))
                return getattr(self, name)(request, *match.groups())
        self.unknown.append(str(request))
        raise Refused(404, "not_found", "The resource you were accessing could not be found.")

    def _token(self, request):
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return token if kind == "Bearer" else ""

    def _authenticate(self, request):
        if self._token(request) not in self.tokens:
            raise Refused(401, "Unauthorized", "Unable to authenticate you")

    def _authorize(self, request, scope):
        scopes = self.tokens[self._token(request)]
        if scopes is not None and not scopes.issuperset(scope.split()):
            raise Refused(403, "forbidden", "You do not have access for the attempted action.")

    def _note(self, request, what, names):
        self.unknown.extend("%s: %s %s" % (request, what, name) for name in sorted(names))

    def _read_body(self, request, fields):
        """Take the body apart, and note what the API would not know."""
        if fields is None:
            self._note(request, "body of", {"%d bytes" % len(request.data)} if request.data else set())
            return
        media_type = request.headers.get("content-type", "none")
        self._note(request, "media type", {media_type} - {"application/json", "application/json; charset=utf-8"})
        try:
            request.body = json.loads(request.data.decode())
            self._note(request, "field", set(request.body) - set(fields))
            wrong = {name for name in fields if not self._fits(request.body, name, fields)}
        except (ValueError, TypeError):
            raise Refused(400, "bad_request", "error parsing request body")
        if wrong:
            self._note(request, "value of field", wrong)
            raise unprocessable("The provided %s value is missing or of a wrong type." % min(wrong))

    @staticmethod
    def _fits(body, name, fields):
        if name not in body:
            return fields is DROPLET_FIELDS and name not in ("name", "size", "image")
        value = body[name]
        return isinstance(value, fields[name]) and (fields[name] is bool or not isinstance(value, bool))

    def _page(self, request, page):
        """One page of a list, with links to the others."""
        number, size = int(request.query.get("page", 1)), int(request.query.get("per_page", 20))
        last = max(1, -(-len(page.rows) // size))
        pages = {}  # type: dict
        if number < last:
            pages.update(next=number + 1, last=last)
        if number > 1:
            pages.update(first=1, prev=number - 1)
        kept = "".join("&%s=%s" % pair for pair in request.query.items() if pair[0] != "page")
        url = "%s%s?page=%%d%s" % (self.links_url or self.url, request.path, kept.replace("%", "%%"))
        links = {"pages": {name: url % to for name, to in pages.items()}} if pages else {}
        rows = page.rows[(number - 1) * size:number * size]
        return {page.name: rows, "links": links, "meta": {"total": len(page.rows)}}

    def _headers(self):
        self._rate -= 1
        return {"content-type": "application/json; charset=utf-8", "x-request-id": str(uuid.uuid4()),
                "ratelimit-limit": "5000", "ratelimit-remaining": str(self._rate),
                "ratelimit-reset": str(int(time.time()) + 3600)}

    def _answer(self, status, body):
        return status, self._headers(), b"" if body is None else json.dumps(body).encode()

    def _refusal(self, status, id, message):
        status, headers, _ = self._answer(status, None)
        body = {"id": id, "message": message, "request_id": headers["x-request-id"]}
        return status, headers, json.dumps(body).encode()
