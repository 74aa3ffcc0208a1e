"""DigitalOcean's description is held against requests and answers: a wrong one of either does not get through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from digitalocean import DigitalOcean
from digitalocean_account import PROJECT, VPC
from digitalocean_catalogue import CUSTOM
from test_digitalocean_api import KEY, ORDER, Client

if TYPE_CHECKING:
    from .prism import Prism

pytest_plugins = (f"{__package__}.prism",)


@pytest.fixture
def ocean(prism: Prism) -> Iterator[DigitalOcean]:
    prism.violations()
    with DigitalOcean(port=prism.upstream) as server:
        server.links_url = prism.url
        server.images[CUSTOM]["distribution"] = "Unknown"  # the description's word for "Unknown OS"
        yield server
    assert (server.unknown, server.mistakes) == ([], [])


@pytest.fixture
def ask(prism: Prism) -> Client:
    return Client(prism.url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": None}, "size"),
        ({"ipv6": "yes"}, "body.ipv6: Request body property ipv6 must be boolean"),
        ({"colour": "red"}, "field colour"),
        ({"backup_policy": {"plan": "daily", "colour": "red"}}, "field backup_policy.colour"),
    ],
)
def test_a_wrong_order_is_caught(prism: Prism, ocean: DigitalOcean, ask: Any, change: dict, words: str) -> None:
    assert ask("POST", "/v2/droplets", {**ORDER, **change})[0] == 422
    (violation,) = prism.violations()
    assert violation.startswith("POST /v2/droplets: ") and words in violation
    assert ocean.requests == []


@pytest.mark.parametrize(
    ("method", "target", "body", "words"),
    [
        ("GET", "/v2/sizes?per_page=999", None, "query.per_page: Request query parameter per_page must be <= 200"),
        ("GET", "/v2/sizes?colour=red", None, "parameter colour"),
        ("GET", "/v2/colours", None, "no operation GET /v2/colours"),
        ("POST", "/v2/droplets/1/actions", {"type": "explode"}, "body"),
        ("POST", "/v2/droplets/1/actions", {"type": "reboot", "colour": "red"}, "field colour"),
        ("POST", "/v2/account/keys", {"name": "web", "public_key": KEY, "id": 7}, "field id"),
        ("POST", f"/v2/projects/{PROJECT}/resources", {"resources": ["droplet:1"]}, "body.resources.0"),
    ],
)
def test_other_wrong_requests_are_caught(
    prism: Prism, ocean: DigitalOcean, ask: Any, method: str, target: str, body: object, words: str
) -> None:
    assert ask(method, target, body)[0] in (404, 422)
    (violation,) = prism.violations()
    assert violation.startswith(f"{method} {target}: ") and words in violation
    assert ocean.requests == []


def test_a_wrong_answer_is_caught(prism: Prism, ocean: DigitalOcean, ask: Any) -> None:
    ocean.images[CUSTOM]["distribution"] = "Something"
    ocean.regions["nyc3"].pop("features")
    assert ask("GET", f"/v2/images/{CUSTOM}")[0] == ask("POST", "/v2/droplets", ORDER)[0] == 500
    image, droplet = prism.violations()
    assert "response.body.image.distribution: " in image and "features" in droplet


def test_all_that_the_server_says_is_as_the_description_has_it(checked: Prism, ocean: DigitalOcean, ask: Any) -> None:
    key = ask("POST", "/v2/account/keys", {"name": "web", "public_key": KEY})[1]["ssh_key"]
    for target in ("/v2/account", "/v2/sizes?per_page=5", "/v2/images?type=distribution&page=2&per_page=3"):
        assert ask("GET", target)[0] == 200
    for image in ocean.images:
        assert ask("GET", f"/v2/images/{image}")[0] == 200
    assert ask("GET", "/v2/account/keys/" + key["fingerprint"])[0] == 200
    order = {**ORDER, "ssh_keys": [key["id"]], "ipv6": True, "backups": True, "vpc_uuid": VPC, "user_data": "#!/bin/sh"}
    made = ask("POST", "/v2/droplets", order)[1]
    path = f"/v2/droplets/{made['droplet']['id']}"
    assert ask("POST", path + "/actions", {"type": "reboot"})[0] == 422
    while ask("GET", path)[1]["droplet"]["status"] == "new":
        pass
    action = ask("POST", path + "/actions", {"type": "reboot"})[1]["action"]["id"]
    assert ask("GET", f"{path}/actions/{action}")[0] == ask("GET", "/v2/droplets?tag_name=a")[0] == 200
    resources = {"resources": [f"do:droplet:{made['droplet']['id']}", "do:droplet:1"]}
    assert ask("POST", f"/v2/projects/{PROJECT}/resources", resources)[0] == 200
    assert ask("DELETE", "/v2/droplets?tag_name=a")[0] == ask("DELETE", "/v2/tags/a")[0] == 204
    assert ask("DELETE", path)[0] == 404 and ask("DELETE", f"/v2/account/keys/{key['id']}")[0] == 204
    assert Client(checked.url, "wrong")("GET", "/v2/account")[0] == 401


def test_mishaps_come_through(checked: Prism, ocean: DigitalOcean, ask: Any) -> None:
    for how in (429, 500, 502, 503, "500 after"):
        ocean.fail(how)
        assert ask("GET", "/v2/account")[0] == (500 if how == "500 after" else how)
        assert ("retry-after" in ask.headers) == (how == 429)
    for how in ("cut", "cut after"):
        ocean.fail(how)
        with pytest.raises(OSError):
            ask("GET", "/v2/account")


def test_fields_are_looked_up_through_references_and_alternatives(tmp_path: Path) -> None:
    from .prism import Description

    rows = {"properties": {"c": {"items": {"$ref": "#/a"}}}}
    thing = {"oneOf": [{"$ref": "#/a"}, {"allOf": [{"$ref": "#/b"}, rows]}]}
    operation = {"requestBody": {"content": {"application/json": {"schema": thing}}}}
    schemas = {"a": {"properties": {"a": {}}}, "b": {"properties": {"b": {"readOnly": True}}}}
    path = tmp_path / "api.json"
    path.write_text(json.dumps({"paths": {"/things/{id}": {"post": operation}}, **schemas}), encoding="utf-8")
    body = b'{"a": 1, "b": 2, "c": [{"a": 1}, {"d": 1}], "e": 3}'
    found = Description(path).unknown("POST", "/things/7?x=1", body)
    assert found == ["parameter x", "field b", "field c.d", "field e"]
