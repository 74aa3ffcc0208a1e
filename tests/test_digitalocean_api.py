"""The server that plays DigitalOcean keeps its promises: what it refuses, how its droplets come alive, its mishaps."""

import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.request

import pytest
from digitalocean import TOKEN, DigitalOcean
from digitalocean_catalogue import CUSTOM, FEW_REGIONS, IMAGE_60GB

ORDER = {"name": "web", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "tags": ["a", "b"]}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBl3OvBlDBtrjm8hbSsX9Pb5ekHbY0z6/6Q0Q2o5JbUu web"


class Client:
    """Asks as a driver would, and gives (status, what the JSON holds); `headers` are those of the last answer."""

    def __init__(self, url, token=TOKEN):
        self.url, self.token, self.headers = url, token, {}
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __call__(self, method, target, body=None):
        data = None if body is None else json.dumps(body).encode()
        url = target if target.startswith("http") else self.url + target
        request = urllib.request.Request(url, data, {"Authorization": "Bearer " + self.token}, method=method)
        if data:
            request.add_header("Content-Type", "application/json")
        try:
            answer = self.opener.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text, self.headers = answer.read().decode(), answer.headers
            return answer.getcode(), json.loads(text) if text else None


@pytest.fixture
def ocean():
    with DigitalOcean() as server:
        yield server
    assert server.mistakes == []


@pytest.fixture
def ask(ocean):
    return Client(ocean.url)


def test_a_droplet_comes_alive_and_goes(ocean, ask):
    status, made = ask("POST", "/v2/droplets", ORDER)
    number, action = made["droplet"]["id"], made["links"]["actions"][0]["id"]
    path = "/v2/droplets/%d" % number
    assert status == 202 and made["droplet"]["networks"] == {"v4": [], "v6": []}
    assert [ask("GET", path)[1]["droplet"]["status"] for _ in range(3)] == ["new", "new", "active"]
    assert ask("GET", "%s/actions/%d" % (path, action))[1]["action"]["status"] == "completed"
    assert {net["type"] for net in ocean.droplets[number]["networks"]["v4"]} == {"public", "private"}
    assert ask("GET", "/v2/droplets?tag_name=b")[1]["meta"] == {"total": 1}
    assert ask("DELETE", path)[0] == 204 and ask("DELETE", path)[0] == ask("GET", path)[0] == 404
    assert not ocean.empty() and [ask("DELETE", "/v2/tags/" + tag)[0] for tag in "aab"] == [204, 404, 204]
    assert ocean.empty() and ocean.unknown == [] and ocean.lines()[0] == "POST /v2/droplets"


def test_an_action_in_progress_keeps_others_off(ocean, ask):
    path = "/v2/droplets/%d/actions" % ask("POST", "/v2/droplets", ORDER)[1]["droplet"]["id"]
    answers = [ask("POST", path, {"type": "power_off"}) for _ in range(3)]
    assert [status for status, _ in answers] == [422, 422, 201]
    assert answers[0][1]["message"] == "Droplet already has a pending event."
    ocean.polls = 0
    assert ask("GET", path[:-8])[1]["droplet"]["status"] == "active"
    ocean.busy_droplets_stay = True
    assert [ask("DELETE", path[:-8])[0] for _ in range(2)] == [422, 204]


@pytest.mark.parametrize("change, words", [
    ({"size": "s-1vcpu-1tb"}, "You specified an invalid size for Droplet creation."),
    ({"size": "s-12vcpu-48gb"}, "Size is not available in this region."),
    ({"image": "ubuntu-14-04-x64"}, "You specified an invalid image for Droplet creation."),
    ({"image": FEW_REGIONS, "region": "ams3"}, "The image you specified is not available in the selected region"),
    ({"image": IMAGE_60GB}, "Cannot create a droplet with a smaller disk than the image."),
    ({"region": "nyc2"}, "Region is not available"),
    ({"ssh_keys": ["aa:bb", 7]}, "aa:bb, 7 are invalid key identifiers for Droplet creation."),
    ({"name": "a_b"}, "Only valid hostname characters are allowed."),
    ({"vpc_uuid": "nothing"}, "Failed to resolve VPC"),
    ({"user_data": "x" * 65537}, "User data is too long"),
    ({"ipv6": "yes"}, "The provided ipv6 value is missing or of a wrong type."),
])
def test_what_cannot_be_created_is_refused(ocean, ask, change, words):
    status, body = ask("POST", "/v2/droplets", dict(ORDER, **change))
    assert status == 422 and body["message"].startswith(words) and ocean.empty()


def test_the_account_has_limits(ocean, ask):
    ocean.droplet_limit = 0
    ocean.tokens["reader"] = {"sizes:read", "regions:read"}
    assert ask("POST", "/v2/droplets", ORDER)[1]["message"].endswith("will exceed your droplet limit")
    assert Client(ocean.url, "wrong")("GET", "/v2/sizes")[0] == 401
    assert [Client(ocean.url, "reader")("GET", path)[0] for path in ("/v2/sizes", "/v2/account")] == [200, 403]


def test_what_the_api_does_not_know_is_noted(ocean, ask):
    assert ask("POST", "/v2/droplets", dict(ORDER, colour="red"))[0] == 202
    assert ask("GET", "/v2/sizes?colour=red")[0] == 200
    assert ask("GET", "/v2/colours")[0] == ask("PATCH", "/v2/sizes")[0] == 404
    assert ocean.unknown == ["POST /v2/droplets: field colour", "GET /v2/sizes?colour=red: parameter colour",
                             "GET /v2/colours", "PATCH /v2/sizes"]


def test_lists_come_in_pages(ocean, ask):
    slugs, target = [], "/v2/images?type=distribution&per_page=3"
    while target:
        page = ask("GET", target)[1]
        slugs += [image["slug"] for image in page["images"]]
        target = page["links"].get("pages", {}).get("next")
    assert len(slugs) == len(set(slugs)) == page["meta"]["total"] == 7
    assert ask("GET", "/v2/images/debian-13-x64")[1]["image"]["distribution"] == "Debian"
    assert ask("GET", "/v2/images/%d" % CUSTOM)[1]["image"]["slug"] is None


def test_it_speaks_https_too(certs, server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    trusting = ssl.create_default_context(cafile=str(certs / "ca.pem"))
    with DigitalOcean(tls=context) as ocean:
        ask = Client(ocean.url)
        ask.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
        assert ocean.url.startswith("https://") and ask("GET", "/v2/account")[0] == 200


def test_keys_and_projects(ocean, ask):
    status, made = ask("POST", "/v2/account/keys", {"name": "web", "public_key": KEY})
    key = made["ssh_key"]
    assert status == 201 and ask("POST", "/v2/account/keys", {"name": "b", "public_key": KEY})[0] == 422
    assert ask("GET", "/v2/account/keys/" + key["fingerprint"]) == (200, made)
    number = ask("POST", "/v2/droplets", dict(ORDER, ssh_keys=[key["id"]]))[1]["droplet"]["id"]
    project = next(iter(ocean.projects))
    body = {"resources": ["do:droplet:%d" % number, "do:droplet:1"]}
    assigned = ask("POST", "/v2/projects/%s/resources" % project, body)[1]["resources"]
    assert [row["status"] for row in assigned] == ["ok", "not_found"] and len(ocean.projects[project]) == 1
    assert ask("DELETE", "/v2/account/keys/%d" % key["id"])[0] == 204 and ocean.keys == {}


@pytest.mark.parametrize("how, status, made", [
    (429, 429, 0), ("429 reset", 429, 0), (500, 500, 0), (502, 502, 0), ("html", 503, 0), ("500 after", 500, 1),
    ("cut", 0, 0), ("cut after", 0, 1), ("json", 200, 0), ("empty", 200, 0), ("slow", 202, 1)])
def test_mishaps_strike_before_or_after_the_act(ocean, ask, how, status, made):
    ocean.fail(how, "POST", "/v2/droplets$", seconds=0.05)
    try:
        got = ask("POST", "/v2/droplets", ORDER)[0]
    except ValueError:  # no JSON
        got = 503 if how == "html" else 200
    except (OSError, http.client.HTTPException):
        got = 0
    assert (got, len(ocean.droplets)) == (status, made) and ocean.requests[0].status == status
    assert ("retry-after" in ask.headers) == (how == 429)
    assert ask("POST", "/v2/droplets", ORDER)[0] == 202


def test_a_create_can_end_in_an_error_or_be_listed_late(ocean, ask):
    ocean.polls = 0
    ocean.fail("errored")
    ocean.fail("late", seconds=3)
    made = ask("POST", "/v2/droplets", ORDER)[1]
    shown = ask("GET", "/v2/droplets/%d" % made["droplet"]["id"])[1]["droplet"]
    assert shown["status"] == "new" and list(ocean.actions.values())[0]["status"] == "errored"
    ask("POST", "/v2/droplets", dict(ORDER, tags=["late"]))
    assert ask("GET", "/v2/droplets?tag_name=late")[1]["droplets"] == []
    time.sleep(3)
    assert len(ask("GET", "/v2/droplets?tag_name=late")[1]["droplets"]) == 1


def test_a_shaken_server_fails_a_share_of_requests(ocean, ask):
    ocean.shake(0.3, seed=1)
    for _ in range(100):
        try:
            ask("GET", "/v2/account")
        except (OSError, http.client.HTTPException):
            pass
    failed = [request.status for request in ocean.requests if request.status != 200]
    assert 15 < len(failed) < 45 and {0, 429, 500, 503} == set(failed)


@pytest.mark.parametrize("when, made", [("before", 0), ("after", 1)])
def test_a_held_request_waits(ocean, ask, when, made):
    with ocean.hold("POST", "/v2/droplets", when) as hold:
        thread = threading.Thread(target=ask, args=("POST", "/v2/droplets", ORDER))
        thread.start()
        assert hold.wait().status is None and len(ocean.droplets) == made
    thread.join(10)
    assert hold.request.status == 202 and len(ocean.droplets) == 1


def test_guests_work_while_the_action_is_in_progress():
    class Guests:
        def __init__(self):
            self.calls, self.go = [], threading.Event()

        def create(self, droplet, user_data, public_keys):
            self.go.wait(10)
            self.calls.append((droplet["name"], user_data, public_keys))
            return {"public": "192.0.2.7"}

        def stop(self, number, graceful):
            raise OSError("no power")

        def destroy(self, number):
            self.calls.append("destroy")

    guests = Guests()
    with DigitalOcean(guests) as ocean:
        ask, key = Client(ocean.url), ocean.add_key(KEY)
        order = dict(ORDER, user_data="#!/bin/sh", ssh_keys=[key["fingerprint"]])
        path = "/v2/droplets/%d" % ask("POST", "/v2/droplets", order)[1]["droplet"]["id"]
        assert [ask("GET", path)[1]["droplet"]["status"] for _ in range(4)] == ["new"] * 4
        guests.go.set()
        ocean.threads.pop().join(10)
        assert ask("GET", path)[1]["droplet"]["networks"]["v4"][0]["ip_address"] == "192.0.2.7"
        action = ask("POST", path + "/actions", {"type": "power_off"})[1]["action"]
        ocean.threads.pop().join(10)
        assert ocean.actions[action["id"]]["status"] == "errored" and "no power" in ocean.mistakes[0]
        ask("DELETE", path)
    assert guests.calls == [("web", "#!/bin/sh", [KEY]), "destroy"]
