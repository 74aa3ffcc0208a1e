"""The driver "exoscale" where its provider's package is not installed: what works all the same, on every Python."""

import sys

import pytest

import docker_machine as core

DRIVER = core.load_driver("exoscale")
OURS = sys.modules[DRIVER.__module__]
HOST = "https://api-ch-gva-2.exoscale.com"
INSTANCE = "/v2/instance/00000000-0000-0000-0000-000000000001"

# Computed by Exoscale's own client (exoscale 0.16.4): method, path and query, body, signed arguments, signature.
VECTORS = [
    ("GET", "/v2/zone", b"", "", "4+rS4SFumvqFnw7BfT0TPCAWse7PG4TGdp9/MlqDBdQ="),
    ("GET", "/v2/template?visibility=public&family=ubuntu", b"", "family;visibility",
     "SETS+x+MLEZ2pVMgAZD6zizY1wDrz1xlI00Pl8af0WU="),
    ("GET", "/v2/instance?labels=a+b%26c", b"", "labels", "deJOjjIENXMa8bwht7LmxZe/7An3Riqqik4nIHixSpo="),
    ("POST", "/v2/instance", b'{"name": "dm1", "disk-size": 50}', "", "OjjwSyA4LM52Qpq51wNy5BH1fycw+WxYFfaH+50gRow="),
    ("PUT", INSTANCE + ":start", b"{}", "", "hs9BX3Hu3/6rwIUx6JnWer+/JTqHOjwnpvuw2EfBOTo="),
    ("PUT", INSTANCE + ":stop", b"", "", "8f3Y/x4CzVNB0tDvdoqzhs2Oh8c+Yk8e0CwLDlu+W0s="),
]


@pytest.mark.parametrize("method, target, body, names, wanted", VECTORS)
def test_a_request_is_signed_as_exoscales_own_client_does(method, target, body, names, wanted):
    made = OURS.signature("EXOtestkey", "testsecret", method, HOST + target, body, 1700000600)
    signed = ",signed-query-args=" + names if names else ""
    assert made == "EXO2-HMAC-SHA256 credential=EXOtestkey%s,expires=1700000600,signature=%s" % (signed, wanted)


@pytest.mark.parametrize("url, dead", [
    ("https://api.exoscale.ch/compute", True), ("https://api.exoscale.com/v1/", True),
    ("https://api-ch-dk-2.exoscale.com/v2", False), ("", False)])
def test_a_url_of_the_api_that_ended_is_known(url, dead):
    assert OURS.is_dead(url) == dead


@pytest.mark.parametrize("flags, field", [({}, "--exoscale-api-key"), ({"exoscale-api-key": "EXOx"}, "secret-key")])
def test_create_without_a_key_says_which_it_is(call, store, monkeypatch, flags, field):
    for name in ("EXOSCALE_API_KEY", "EXOSCALE_API_SECRET", "EXOSCALE_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    ended = call("create", "-d", "exoscale", *(["--%s=%s" % item for item in flags.items()] + ["web"]))
    assert ended.code == 2 and "missing an API key" in ended.err and field in ended.err, ended
    assert "https://portal.exoscale.com/iam/api-keys" in ended.err and store.names() == []
