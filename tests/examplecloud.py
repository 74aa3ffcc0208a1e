"""Example Cloud, the made-up provider of docs/write-a-driver.md, as a server with state on 127.0.0.1.

    with ExampleCloud() as cloud:
        cloud.fail(503, "POST", "/servers")
        ...
        assert cloud.lines() == ["GET /v1/sizes", ...]

What the page's driver must not ask for is answered with 400 and noted in `mistakes`.
"""

import json
import re
import threading
import traceback
from urllib.parse import parse_qsl, urlsplit

from standin import Server, reply

TOKEN = "example-token-4711"
SERVER_FIELDS = {"name", "size", "image", "keys", "user_data", "tags"}


class Refused(Exception):
    """An answer that is an error: status and words."""


class Account:
    """What belongs to one token. `rights` is None for all of them."""

    def __init__(self):
        self.servers, self.keys, self.orders = {}, {}, []
        self.rights, self.quota = None, 100


class Request:
    """One request: method, target (path?query), query and body. `answered` is the status, 0 if the answer was lost."""

    def __init__(self, method, target, token, data):
        self.method, self.target, self.token, self.answered = method, target, token, None
        split = urlsplit(target)
        self.path, self.query = split.path, dict(parse_qsl(split.query))
        self.body = json.loads(data.decode()) if data else None

    def __str__(self):
        return "%s %s" % (self.method, self.target)


class Mishap:
    """What happens to the next `times` requests that fit, instead of their answer or after they were carried out."""

    def __init__(self, method, pattern, times, status=0, words="", look=None):
        self.method, self.pattern, self.times = method, pattern, times
        self.status, self.words, self.look = status, words, look

    def takes(self, request):
        fits = self.times > 0 and self.method == request.method and re.search(self.pattern, request.target)
        self.times -= bool(fits)
        return fits


class ExampleCloud:
    """The server, its accounts ({token: Account}), what was asked, and what is to go wrong."""

    def __init__(self):
        self.accounts = {TOKEN: Account()}
        self.sizes, self.images = ["small", "medium", "large"], ["debian-12", "debian-13", "alpine-3"]
        self.page = 50  # rows of a list
        self.polls = 0  # how often a new server is looked at before it is on
        self.addresses = [[(True, "127.0.0.1")]]  # of a server from its first look on; the last ones stay
        self.deaf = False  # whether guests hear that they are to shut down
        self.hidden = 0  # how many lists do not show a new server yet
        self.requests, self.mistakes, self.mishaps, self.looks = [], [], [], []
        self._numbers, self._lock = iter(range(1, 10 ** 6)), threading.RLock()
        self._server = Server(self.handle)
        self.url = self._server.url + "/v1"

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._server.close()

    # --- what tests ask and set

    def lines(self, since=0):
        return [str(request) for request in self.requests[since:]]

    def changes(self):
        return [line for line in self.lines() if not line.startswith("GET ")]

    def fail(self, status, method, pattern, times=1, words="It is not to be."):
        """Answer so, without acting."""
        self.mishaps.append(Mishap(method, pattern, times, status, words))

    def lose(self, method, pattern, times=1):
        """Act, and close the connection without an answer."""
        self.mishaps.append(Mishap(method, pattern, times))

    def look(self, method, pattern, look):
        """Call look(request) before each request that fits is carried out."""
        self.looks.append(Mishap(method, pattern, 10 ** 6, look=look))

    def add_server(self, name="web", status="on", tag="", token=TOKEN, addresses=((True, "127.0.0.1"),)):
        """A server that is there already: its row."""
        row = {"id": "s-%d" % next(self._numbers), "name": name, "status": status, "tags": [tag] if tag else [],
               "addresses": [{"public": public, "ip": address} for public, address in addresses], "seen": 0,
               "hidden": 0}
        self.accounts[token].servers[row["id"]] = row
        return row

    def add_key(self, name, public, token=TOKEN):
        key = {"id": "k-%d" % next(self._numbers), "name": name, "public_key": public}
        self.accounts[token].keys[key["id"]] = key
        return key

    # --- how it answers

    def handle(self, method, target, headers, data):
        token = (headers.get("Authorization") or "").partition("Bearer ")[2]
        answer = self.respond(Request(method, target, token, data))
        return answer and reply(*answer)

    def respond(self, request):
        """(status, value) for a request; None to close the connection."""
        with self._lock:
            self.requests.append(request)
            for one in self.looks:
                if one.takes(request):
                    one.look(request)
            mishap = next((mishap for mishap in self.mishaps if mishap.takes(request)), None)
            if mishap and mishap.status:
                request.answered = mishap.status
                return mishap.status, {"message": mishap.words}
            try:
                status, value = self._act(request)
            except Refused as refused:
                status, value = refused.args[0], {"message": refused.args[1]}
            except Exception:
                self.mistakes.append("%s\n%s" % (request, traceback.format_exc()))
                status, value = 400, {"message": "a mistake of the test"}
            request.answered = 0 if mishap else status
            return None if mishap else (status, value)

    def _act(self, request):
        account = self.accounts.get(request.token)
        if account is None:
            raise Refused(401, "The token is not known.")
        kind, _, rest = request.path[len("/v1/"):].partition("/")
        right = "%s:%s" % (kind, "read" if request.method == "GET" else "write")
        if account.rights is not None and right not in account.rights:
            raise Refused(403, "The token lacks a right.")
        number, _, action = rest.partition("/")
        name = "_%s_%s" % (request.method.lower(), (kind + " " + action).strip().replace(" ", "_"))
        return getattr(self, name)(account, request, number)

    def _page(self, request, kind, rows):
        first = int(request.query.get("from", 0))
        last = first + self.page
        following = "%s?from=%d" % (request.path, last) if last < len(rows) else None
        return 200, {kind: rows[first:last], "next": following}

    def _get_sizes(self, account, request, number):
        return self._page(request, "sizes", [{"name": name} for name in self.sizes])

    def _get_images(self, account, request, number):
        return self._page(request, "images", [{"name": name} for name in self.images])

    # --- servers

    def _get_servers(self, account, request, number):
        if number:
            return 200, {"server": self._shown(self._of(account.servers, number))}
        rows, wanted = [], request.query.get("tag")
        for row in list(account.servers.values()):
            row["hidden"] -= 1
            if row["hidden"] < 0 and (not wanted or wanted in row["tags"]):
                rows.append(self._shown(row))
        return self._page(request, "servers", rows)

    def _post_servers(self, account, request, number):
        assert set(request.body) == SERVER_FIELDS, request.body
        assert request.body["size"] in self.sizes and request.body["image"] in self.images
        assert len(request.body["user_data"].encode()) <= 16384
        assert all(key in account.keys for key in request.body["keys"])
        if len(account.servers) >= account.quota:
            raise Refused(403, "The quota of %d servers is used up" % account.quota)
        account.orders.append(request.body)
        row = self.add_server(request.body["name"], "building", request.body["tags"][0], request.token, ())
        row["hidden"] = self.hidden
        return 202, {"server": row}

    def _post_servers_power(self, account, request, number):
        row, action = self._of(account.servers, number), request.body["action"]
        after = {"start": "on", "kill": "off", "restart": "on", "stop": row["status"] if self.deaf else "off"}
        row["status"] = after[action]
        row["seen"] = 0
        return 202, {}

    def _delete_servers(self, account, request, number):
        del account.servers[self._of(account.servers, number)["id"]]
        return 204, None

    def _shown(self, row):
        """A row as it is at this look, which is one more."""
        if row["status"] == "building" and row["seen"] >= self.polls:
            row["status"] = "on"
        addresses = self.addresses[min(row["seen"], len(self.addresses) - 1)]
        row["addresses"] = [{"public": public, "ip": address} for public, address in addresses]
        row["seen"] += 1
        return row

    @staticmethod
    def _of(rows, number):
        if number not in rows:
            raise Refused(404, "There is nothing of that id.")
        return rows[number]

    # --- keys

    def _get_keys(self, account, request, number):
        return self._page(request, "keys", list(account.keys.values()))

    def _post_keys(self, account, request, number):
        assert set(request.body) == {"name", "public_key"}
        halves = [key["public_key"].split()[:2] for key in account.keys.values()]
        if request.body["public_key"].split()[:2] in halves:
            raise Refused(409, "That key is there already.")
        return 201, {"key": self.add_key(request.body["name"], request.body["public_key"], request.token)}

    def _delete_keys(self, account, request, number):
        del account.keys[self._of(account.keys, number)["id"]]
        return 204, None
