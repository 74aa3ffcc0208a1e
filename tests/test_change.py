"""The command `set`, as far as no host has to be asked."""

import pytest
from test_localvm import here, sleeper  # noqa: F401 (fixtures)

import docker_machine as core

change = core.load_extra("change")


@pytest.mark.parametrize("words, said", [
    ([], "There is nothing to change."), (["--unset"], "There is nothing to change."),
    (["--engine-label", "x"], '--engine-label "x" cannot be used'),
    (["--engine-env", "x"], '--engine-env "x" cannot be used'),
    (["--engine-opt", "tlsverify=false"], "docker-machine sets the tls options"), (["--memory", "-1"], "too small"),
    (["--engine-registry-mirror", "ftp://x"], "cannot be used"), (["--tls-san", "a b"], "cannot be used"),
    (["--engine-registry-ca", "x"], "HOST[:PORT]=FILE"), (["--unset", "--engine-label", "=x"], "cannot be used"),
])
def test_wrong_values_are_refused_before_anything_is_changed(call, add, words, said, dm):
    add("web")
    before = (dm.store / "machines" / "web" / "config.json").read_bytes()
    ended = call("set", *(words + ["web"]))
    assert ended.code == 2 and said in ended.err and ended.out == ""
    assert (dm.store / "machines" / "web" / "config.json").read_bytes() == before
    assert call("set", "--engine-label", "a=b").code == 2


@pytest.mark.parametrize("there, values, unset, left", [
    (["a=1", "b=2"], ["a=3"], False, ["b=2", "a=3"]), (["a=1"], ["a=1"], False, ["a=1"]),
    (["a=1", "b=2"], ["a"], True, ["b=2"]), (["a=1", "b=2"], ["b=2"], True, ["a=1"]),
    (["a=1"], ["a=2"], True, ["a=1"]), (["a=1"], ["c"], True, ["a=1"]), (None, ["a=1"], False, ["a=1"]),
    ([], ["a=1", "b=2", "a=1"], False, ["a=1", "b=2"]),
    (["dns=1", "x=1"], ["dns=2", "dns=3"], False, ["x=1", "dns=2", "dns=3"]),
])
def test_a_list_is_edited_by_its_keys(there, values, unset, left):
    settings = {"Labels": there}
    change.edit(settings, "Labels", values, unset, change.key_of("engine-label"))
    assert settings["Labels"] == left


def test_registries_are_edited_as_a_whole():
    settings = {"RegistryMirror": ["https://a=1", "https://b"]}
    change.edit(settings, "RegistryMirror", ["https://a=2"], False, change.key_of("engine-registry-mirror"))
    assert settings["RegistryMirror"] == ["https://a=1", "https://b", "https://a=2"]


def test_an_engine_that_somebody_else_runs_is_refused_and_its_entry_kept(call, add, dm):
    add("web")
    ended = call("set", "--engine-label", "a=b", "web")
    assert ended.code == 1 and "is not set up by docker-machine" in ended.err
    assert call("inspect", "-f", "{{.HostOptions.EngineOptions.Labels}}", "web").out == "[]\n"
    ended = call("set", "--memory", "512", "web")
    assert ended.code == 1 and "does not support set --memory" in ended.err


def test_the_variable_for_new_machines_changes_none_that_is_there(call, add):
    add("web")
    ended = call("set", "--tls-san", "x", "--unset", "web", ENGINE_REGISTRY_MIRROR="https://m.example")
    assert 'Machine "web" is like that already.' in ended.out


def test_memory_and_cpus_of_a_machine_that_is_off(here, call):  # noqa: F811
    here.create("web")
    ended = call("set", "--memory", "512", "web")
    assert ended.code == 1 and "is not off, but Running" in ended.err and "docker-machine stop web" in ended.err
    assert call("kill", "web").code == 0
    for words, said in ((["--memory", "999999999"], "of this computer"), (["--cpus", "9999"], "too large")):
        ended = call("set", *(words + ["web"]))
        assert ended.code != 0 and said in ended.err
    stored = here.stored("web")
    assert (stored["Memory"], stored["CPU"]) != (512, 3)
    assert call("set", "--memory", "512", "--cpus", "3", "web").code == 0
    stored = here.stored("web")
    assert (stored["Memory"], stored["CPU"]) == (512, 3)
