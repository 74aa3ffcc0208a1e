"""The driver "softlayer" on every Python, against a server that keeps the state of an account (see slcloud.py)."""

import pytest
from machines import take_environment
from slcloud import KEY, USER, SoftLayer

import docker_machine as core


@pytest.fixture
def cloud(dm, tmp_path, pauses, monkeypatch):
    server = SoftLayer()
    env = {"SOFTLAYER_API_URL": server.url, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)}
    take_environment(monkeypatch, env, "SOFTLAYER_", "SL_", "IAAS_")
    dm.env.update(env, SOFTLAYER_USER=USER, SOFTLAYER_API_KEY=KEY, SOFTLAYER_DOMAIN="example.com")
    yield server
    server.close()
    assert server.wrong == []


def test_a_machine_from_the_order_to_the_removal(cloud, call, closed_port, monkeypatch):
    """Only SSH is missing."""
    driver = core.load_driver("softlayer")
    monkeypatch.setattr(driver, "boot_seconds", 0.1)
    monkeypatch.setattr(driver, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(driver, "get_ssh_port", lambda self: closed_port)
    ended = call("create", "-d", "softlayer", "web")
    assert ended.code == 1 and "SSH did not answer" in ended.err
    for verb, word in (("stop", "Stopped"), ("start", "Running")):
        call(verb, "web")
        assert call("status", "web").out == word + "\n"
    assert call("rm", "-y", "web").code == 0 and cloud.is_empty()


MISSING = [
    ({"SOFTLAYER_API_KEY": None, "SOFTLAYER_USER": None, "SOFTLAYER_DOMAIN": None}, [], "--softlayer-api-key"),
    ({"SOFTLAYER_USER": None, "SOFTLAYER_DOMAIN": None}, ["api-endpoint="], "--softlayer-user"),
    ({"SOFTLAYER_DOMAIN": None}, ["api-endpoint=", "region="], "--softlayer-api-endpoint"),
    ({"SOFTLAYER_DOMAIN": None}, ["region=", "cpu=0"], "--softlayer-domain"),
    ({}, ["region=", "cpu=0"], "--softlayer-region"),
    ({}, ["cpu=0", "public-vlan-id=7"], "--softlayer-cpu"),
    ({}, ["public-vlan-id=7"], "--softlayer-private-vlan-id (because --softlayer-public-vlan-id is specified)"),
    ({}, ["private-vlan-id=7"], "--softlayer-public-vlan-id (because --softlayer-private-vlan-id is specified)"),
]  # type: list


@pytest.mark.parametrize("env, flags, words", MISSING, ids=[row[2][12:30] for row in MISSING])
def test_what_is_missing_is_told_in_docker_machines_order(cloud, call, store, env, flags, words):
    ended = call("create", "-d", "softlayer", *(["--softlayer-" + flag for flag in flags] + ["web"]), **env)
    assert ended.code == 2 and "Missing required setting - " + words in ended.err and cloud.calls == [], ended
    assert store.names() == []
