"""Contexts of docker and Hosts of ssh: what is written for other programs."""

import json
import os
import re
import stat
import subprocess
import threading
from pathlib import Path

import pytest

import docker_machine as core

POSIX = pytest.mark.skipif(os.name == "nt", reason="modes and ssh's own reading of files")


@pytest.fixture
def home(dm, monkeypatch):
    """The user's home folder, for what the program does in this very process too."""
    monkeypatch.setenv("HOME", str(dm.home))
    monkeypatch.setenv("USERPROFILE", str(dm.home))
    return dm.home


@pytest.fixture
def docker(dm, home, monkeypatch):
    """The folder of docker's command line, which is not there yet."""
    dm.env["DOCKER_CONFIG"] = str(home / "docker cli")
    monkeypatch.setenv("DOCKER_CONFIG", dm.env["DOCKER_CONFIG"])
    return home / "docker cli"


def contexts(folder):
    """{name: (endpoint, names of its TLS files)} of all contexts in docker's folder."""
    found = {}
    for path in (folder / "contexts" / "meta").glob("*/meta.json"):
        meta = json.loads(path.read_text())
        files = (folder / "contexts" / "tls" / path.parent.name / "docker").glob("*")
        found[meta["Name"]] = meta["Endpoints"]["docker"]["Host"], sorted(file.name for file in files)
    return found


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


TLS = ["ca.pem", "cert.pem", "key.pem"]


# --- contexts

@POSIX
def test_a_context_is_what_docker_itself_writes(docker, add, call, store):
    add("web", "tcp://192.0.2.7:2376")
    assert call("context", "web").out == 'The docker context "web" is up to date.\n'

    (meta,) = docker.glob("contexts/meta/*/meta.json")
    assert len(meta.parent.name) == 64
    assert meta.read_text() == (
        '{"Name":"web","Metadata":{"Description":"Machine web","docker-machine":%s},'
        '"Endpoints":{"docker":{"Host":"tcp://192.0.2.7:2376","SkipTLSVerify":false}}}'
        % json.dumps(store.folder("web")))
    files = docker / "contexts" / "tls" / meta.parent.name / "docker"
    assert [(file, mode(files / file)) for file in TLS] == [(file, 0o600) for file in TLS]
    for file in TLS:
        assert (files / file).read_bytes() == Path(store.folder("web"), file).read_bytes()
    assert (mode(meta), mode(files), mode(files.parent)) == (0o644, 0o700, 0o700)
    assert not (docker / "config.json").exists(), "nothing is switched unasked"


def test_names_that_docker_does_not_take_get_another_one(docker, add, call):
    for name in ("default", "a", "Default"):
        add(name)
    assert call("context").code == 0
    assert sorted(contexts(docker)) == ["Default", "docker-machine-a", "docker-machine-default"]


def test_a_context_of_somebody_else_is_not_touched(docker, add, call, store):
    machine = add("web")
    context = machine.context()
    strangers = ({}, {"docker-machine": "/other/machines/web"}, {"docker-machine": 7}, None, [])  # type: tuple
    for metadata in strangers:
        Path(context.meta).mkdir(parents=True, exist_ok=True)
        meta = Path(context.meta, "meta.json")
        meta.write_text(json.dumps({"Name": "web", "Metadata": metadata, "Endpoints": {}}))
        before = meta.read_bytes()
        ended = call("context", "web")
        assert ended.code == 1 and ended.err == (
            'The docker context "web" exists, and is not of this machine.\n'
            "Remove it: docker context rm web\n"), metadata
        assert call("create", "-d", "none", "--url", "tcp://h:1", "--context", "web").code == 1
        assert call("context", "--rm", "web").code == 0
        assert meta.read_bytes() == before
    assert call("rm", "-f", "web").code == 0
    assert meta.read_bytes() == before


def test_create_refuses_a_context_that_is_taken_before_anything_is_made(docker, call, store):
    folder = Path(core.DockerContext("", "web").meta)
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{}")
    ended = call("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "--context", "web")
    assert ended.code == 1 and "is not of this machine" in ended.err
    assert store.names() == []


def test_create_with_a_context_and_rm(docker, call):
    assert call("create", "-d", "none", "--url", "tcp://192.0.2.7:2376", "--context", "web").code == 0
    assert contexts(docker) == {"web": ("tcp://192.0.2.7:2376", TLS)}
    assert call("context", "--use", "web").code == 0
    assert call("rm", "-f", "web").code == 0
    assert contexts(docker) == {} and list(docker.glob("contexts/*/*")) == []
    assert json.loads((docker / "config.json").read_text()) == {}


def test_renewed_certificates_and_another_address_arrive(docker, add, call, store):
    machine = add("web", "tcp://192.0.2.7:2376")
    add("other", "tcp://192.0.2.9:2376")
    assert call("context", "web").code == 0
    (key,) = docker.glob("contexts/tls/*/docker/key.pem")
    before = key.read_bytes()
    machine.bootstrap_certificates(renew=True)
    machine.driver["URL"] = "tcp://192.0.2.8:2376"
    machine.save()
    assert key.read_bytes() == before
    assert call("provision", "web", "other").code == 0
    assert contexts(docker) == {"web": ("tcp://192.0.2.8:2376", TLS)}, "and no other machine gets one"
    assert key.read_bytes() == Path(store.folder("web"), "key.pem").read_bytes() != before


def test_no_certificates_for_an_engine_that_is_not_asked_over_tls(docker, add, call):
    add("web", "tcp://192.0.2.7:2376")
    assert call("context", "web").code == 0
    machine = add("pipe", "unix:///var/run/docker.sock")
    machine.write_context()
    assert contexts(docker)["pipe"] == ("unix:///var/run/docker.sock", [])


@POSIX
def test_use_keeps_all_that_is_in_docker_s_settings(docker, add, call, tmp_path):
    add("web")
    docker.mkdir()
    there = tmp_path / "dotfiles.json"
    there.write_text('{"auths":{"r<e>g":{}},"x-unknown":[1],"currentContext":"old","HttpHeaders":{}}')
    there.chmod(0o640)
    (docker / "config.json").symlink_to(there)
    assert call("context", "web", "--use").code == 0
    assert there.read_text() == (
        '{\n\t"auths": {\n\t\t"r\\u003ce\\u003eg": {}\n\t},\n\t"x-unknown": [\n\t\t1\n\t],\n'
        '\t"currentContext": "web",\n\t"HttpHeaders": {}\n}')
    assert mode(there) == 0o640 and (docker / "config.json").is_symlink()
    assert call("context", "--rm").code == 0
    assert list(json.loads(there.read_text())) == ["auths", "x-unknown", "HttpHeaders"]


@pytest.mark.parametrize("text", ["", "[]", "{", "7", "\0"])
def test_damaged_settings_of_docker_are_refused_and_kept(docker, add, call, text):
    add("web")
    docker.mkdir()
    (docker / "config.json").write_text(text)
    ended = call("context", "web", "--use")
    assert ended.code == 1 and "config.json cannot be used" in ended.err
    assert (docker / "config.json").read_text() == text


def test_what_counts_before_a_context_is_told(docker, add, call):
    add("web")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        ended = call("context", "--use", "web", **{name: "other"})
        assert ended.code == 0
        assert ended.err == "Warning: %s is set in this shell and counts before it; type: unset %s\n" % (name, name)
    assert call("context", "--use", "web", DOCKER_CONTEXT="web").err == ""


def test_use_is_for_one_machine(docker, add, call):
    add("web")
    add("b2")
    for words in (("web", "b2"), ("web", "--rm")):
        ended = call("context", "--use", *words)
        assert ended.code == 2 and "--use is for one machine" in ended.err, words
    assert not docker.exists()


def test_an_unfinished_machine_gets_none(docker, add, call):
    add("web").mark("create")
    ended = call("context", "web")
    assert ended.code == 1 and "was not finished" in ended.err and "provision web" in ended.err
    assert not docker.exists()


def test_a_kill_between_two_files_leaves_what_docker_can_read(docker, add, monkeypatch):
    """meta.json is written last and removed first; a folder without it is passed over."""
    context = add("web").context()
    written = []  # type: list
    write = core.write_atomic

    def note(path, *more):
        written.append((path, sorted(os.path.basename(one) for one in os.listdir(
            os.path.join(context.tls, "docker")))))
        write(path, *more)

    monkeypatch.setattr(core, "write_atomic", note)
    files = [os.path.join(context.mark, name) for name in TLS]
    context.write("tcp://192.0.2.7:2376", files)
    assert written == [(os.path.join(context.meta, "meta.json"), TLS)]
    removed = []  # type: list
    remove = core.shutil.rmtree

    def note_removal(path, **more):
        removed.append(path)
        remove(path, **more)

    monkeypatch.setattr(core.shutil, "rmtree", note_removal)
    assert context.remove()
    assert removed == [context.meta, context.tls]


def test_twenty_at_once(docker, add, dm):
    names = ["m%d" % number for number in range(20)]
    for name in names:
        add(name)
    codes = []

    def one(name):
        codes.append(dm("context", name, "--use").code)

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 20
    assert set(contexts(docker)) == set(names)
    assert json.loads((docker / "config.json").read_text())["currentContext"] in names


# --- ssh_config

@pytest.fixture
def host(store):
    """host(name, key=value): an entry of a host that answers SSH somewhere."""
    def make(name, **settings):
        machine = store.new(name, core.GenericDriver)
        machine.driver.config.update(dict({"IPAddress": "192.0.2.1", "SSHUser": "al"}, **settings))
        store.add(machine)
        machine.mark("")
        return machine
    return make


def test_ssh_config_prints_a_block_for_each_machine(host, add, call, home):
    host("web", SSHPort=2222)
    host("db", SSHUser="root")
    add("url")
    blocks = call("ssh-config").out.split("\n\n")
    assert [block.splitlines()[:3] for block in blocks] == [
        ["Host db", "HostName 192.0.2.1", "User root"], ["Host web", "HostName 192.0.2.1", "User al"]]
    assert "Port 2222" in blocks[1].splitlines() and "Port" not in blocks[0]
    assert call("ssh-config", "web").out == blocks[1]
    ended = call("ssh-config", "url")
    assert ended.code == 1 and "cannot be reached by SSH" in ended.err
    assert list(home.iterdir()) == []


@POSIX
def test_install_is_the_first_line_once_and_uninstall_takes_it_out(host, call, home, store):
    host("web")
    config = home / ".ssh" / "config"
    before = "Host *\n  User bob\n\tInclude other\n"
    real = home / "dotfiles"
    real.write_text(before)
    real.chmod(0o640)
    config.parent.mkdir(mode=0o700)
    config.symlink_to(real)
    for _ in range(2):
        assert call("ssh-config", "--install").code == 0
        line, rest = config.read_text().split("\n", 1)
        assert rest == before and re.match(r"Include docker-machine-[0-9a-f]{8}\.conf\Z", line)
    ours = config.parent / line.split()[1]
    assert ours.read_text().startswith("Host web\n") and mode(ours) == 0o600
    assert mode(config) == 0o640 and config.is_symlink()
    assert call("ssh-config", "--uninstall").code == 0
    assert config.read_text() == before and not ours.exists()
    assert call("ssh-config", "--uninstall").code == 0
    assert call("ssh-config", "--install", "web").code == 2


@POSIX
def test_install_for_the_first_time_makes_private_files(host, call, home):
    host("web")
    assert call("ssh-config", "--install").code == 0
    assert (mode(home / ".ssh"), mode(home / ".ssh" / "config")) == (0o700, 0o600)


def test_the_file_follows_what_becomes_of_machines(host, call, home, store):
    host("web")
    assert call("ssh-config", "--install").code == 0
    ours = Path(store.ssh_config)
    machine = host("db")
    store.tell_others("db")
    assert re.findall("^Host (.*)", ours.read_text(), re.M) == ["db", "web"]
    machine.driver["IPAddress"] = "192.0.2.77"
    machine.save()
    store.tell_others("db")
    assert "HostName 192.0.2.77" in ours.read_text()
    assert call("rm", "-f", "db").code == 0
    assert re.findall("^Host (.*)", ours.read_text(), re.M) == ["web"]


@POSIX
@pytest.mark.once
def test_ssh_reads_paths_with_blanks_and_percent_signs(tmp_path, monkeypatch):
    store = core.Store(str(tmp_path / 'st ore%d"'))
    machine = store.new("web", core.GenericDriver)
    machine.driver.config.update(IPAddress="192.0.2.1", SSHUser="al", SSHPort=2222,
                                 SSHKeyPath=machine.driver.path("id_rsa"))
    store.add(machine)
    (tmp_path / "config").write_text(machine.driver.ssh().config_block("web"))
    said = subprocess.check_output(["ssh", "-G", "-F", str(tmp_path / "config"), "web"], universal_newlines=True)
    found = dict(line.split(" ", 1) for line in said.splitlines())
    assert (found["hostname"], found["user"], found["port"]) == ("192.0.2.1", "al", "2222")
    assert found["identityfile"].replace("%%", "%") == machine.driver.path("id_rsa")
    assert found["userknownhostsfile"].replace("%%", "%") == machine.driver.path("known_hosts")
