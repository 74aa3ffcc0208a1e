"""export, import and csr, on entries whose hosts are not asked."""

import base64
import io
import json
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import bootstrap, cases, pair

import docker_machine as core

POSIX = pytest.mark.skipif(os.name == "nt", reason="modes of files")
CLIENT = ["ca.pem", "cert.pem", "key.pem"]


@pytest.fixture
def web(store):
    """A generic machine with all its files."""
    machine = store.new("web", core.GenericDriver)
    machine.driver.config.update(IPAddress="192.0.2.7", SSHUser="ops", SSHKeyPath=machine.driver.path("id_ed25519"),
                                 SSHKey=os.path.join(store.path, "elsewhere", "id_ed25519"))
    machine.engine["Labels"] = ["back\\slash=" + store.path, "home={home}x"]
    store.add(machine)
    machine.copy_client_certificates()
    core.issue_server(machine.server_pair, machine.ca, "web", ["192.0.2.7", "localhost", "web"])
    for name, text in (("id_ed25519", "a private key"), ("id_ed25519.pub", "a public key"), ("known_hosts", "pinned")):
        core.write_atomic(machine.driver.path(name), text)
    machine.mark("")
    return machine


@pytest.fixture
def other(dm, tmp_path):
    """Words that aim a command at the store of another user: `call(*other, ...)`."""
    return ["--storage-path", str(tmp_path / "an other's" / "store")]


def other_store(other):
    return core.Store(other[1])


def files_of(path):
    with tarfile.open(str(path)) as archive:
        return {row.name: archive.extractfile(row).read() for row in archive if row.isfile()}  # type: ignore


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path(folder).iterdir()}


# --- a whole machine

@POSIX
def test_a_machine_arrives_in_another_home_under_another_name(web, call, dm, other, store):
    file = dm.home / "web.machine"
    ended = call("export", "web")
    assert (ended.code, ended.err) == (0, "") and "keep it as you keep them" in ended.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = files_of(file)["config.json"].decode()
    assert store.path not in json.dumps(json.loads(text)["Driver"]) + json.dumps(
        json.loads(text)["HostOptions"]["AuthOptions"])
    before = os.umask(0)
    try:
        ended = call(*(other + ["import", str(file), "--name", "db"]))
    finally:
        os.umask(before)
    assert (ended.code, ended.err) == (0, "")
    there = other_store(other)
    assert set(modes(there.folder("db")).values()) == {0o600}
    assert stat.S_IMODE(os.stat(there.folder("db")).st_mode) == 0o700
    machine = there.machine("db")
    assert machine.driver["SSHKeyPath"] == os.path.join(there.folder("db"), "id_ed25519")
    assert machine.driver["MachineName"] == machine.name == "db"
    for name in ("ca.pem", "ca-key.pem", "cert.pem", "key.pem", "server.pem", "server-key.pem", "id_ed25519",
                 "id_ed25519.pub", "known_hosts"):
        source = Path(web.folder, name) if Path(web.folder, name).exists() else Path(store.certs, name)
        assert Path(there.folder("db"), name).read_bytes() == source.read_bytes(), name
    assert [os.path.dirname(path) for path in machine.tls_files()] == [there.folder("db")] * 3
    core.tls_context(*machine.tls_files())
    assert machine.engine["Labels"][1] == "home={home}x", "text that is not a path stays"
    assert call(*(other + ["ls", "-q"])).out == "db\n"
    assert "already exists" in call(*(other + ["import", str(file), "--name", "db"])).err


def test_what_is_there_is_not_overwritten_and_stdout_can_be_used(web, call, dm):
    (dm.home / "web.machine").write_text("mine")
    assert call("export", "web").code == 1 and (dm.home / "web.machine").read_text() == "mine"
    done = dm("export", "web", "-o", "-", stdout=-1)
    assert done.code == 0 and "config.json" in done.out


def test_local_machines_and_unfinished_ones_stay(call, store, web, drivers):
    machine = store.new("vm", core.VirtualBoxDriver)
    store.add(machine)
    machine.mark("")
    ended = call("export", "vm")
    assert ended.code == 1 and "its disk would have to move too" in ended.err
    web.mark("provision")
    assert "was not finished" in call("export", "web").err


# --- encryption

@pytest.fixture
def sealed(web, call, dm):
    (dm.home / "pass").write_text("correct horse\n")
    assert call("export", "web", "--passphrase-file", "pass", "-o", "sealed").code == 0
    return dm.home / "sealed"


def test_with_the_passphrase_it_is_all_there(sealed, call, other):
    assert b"PRIVATE" not in sealed.read_bytes()
    ended = call(*(other + ["import", str(sealed)]), MACHINE_PASSPHRASE="correct horse")
    assert (ended.code, ended.err) == (0, "") and other_store(other).names() == ["web"]


def damage(how, data):
    if how == "cut":
        return data[:-40]
    if how == "longer":
        return data + b"x"
    place = {"header": 40, "salt": 60, "body": len(data) // 2, "mac": len(data) - 3}[how]
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]


@cases("how", ["wrong", "cut", "longer", "header", "salt", "body", "mac"])
def test_a_wrong_passphrase_and_a_changed_file_are_one_sentence(sealed, call, other, how):
    file, words = sealed.with_name("file"), "battery staple" if how == "wrong" else "correct horse"
    file.write_bytes(sealed.read_bytes() if how == "wrong" else damage(how, sealed.read_bytes()))
    ended = call(*(other + ["import", str(file)]), MACHINE_PASSPHRASE=words)
    assert ended.code == 1 and ended.err == "The passphrase is wrong, or the file was changed or cut.\n"
    assert other_store(other).names() == []


def test_without_a_terminal_the_passphrase_has_to_be_given(sealed, call, web):
    for words in (["import", str(sealed)], ["export", "web", "--encrypt", "-o", "new"]):
        ended = call(*words)
        assert ended.code == 1 and "--passphrase-file or MACHINE_PASSPHRASE" in ended.err


# --- CI

def test_for_ci_it_is_a_context_with_three_files(web, call, dm, other):
    assert call("export", "--for", "ci", "web").code == 0
    files = files_of(dm.home / "web.dockercontext")
    assert sorted(files) == ["meta.json"] + ["tls/docker/" + name for name in CLIENT]
    assert files["meta.json"] == (b'{"Name":"web","Metadata":{"Description":"Machine web"},"Endpoints":{"docker":'
                                  b'{"Host":"tcp://192.0.2.7:2376","SkipTLSVerify":false}}}')
    # docker's own lacks the padding of the last member and the two blocks at the end
    data = (dm.home / "web.dockercontext").read_bytes().rstrip(b"\0")
    (dm.home / "cut.dockercontext").write_bytes(data)
    for file, name in (("web.dockercontext", "web"), ("cut.dockercontext", "cut")):
        assert call(*(other + ["import", str(dm.home / file), "--name", name])).code == 0
        machine = other_store(other).machine(name)
        assert (machine.driver_name, machine.driver["URL"]) == ("none", "tcp://192.0.2.7:2376")
        assert [os.path.dirname(path) for path in machine.tls_files()] == [machine.folder] * 3
        assert Path(machine.folder, "key.pem").read_bytes() == files["tls/docker/key.pem"]
        assert sorted(modes(machine.folder)) == sorted(CLIENT + ["config.json"])


@pytest.mark.parametrize("host", ["unix:///var/run/docker.sock", "ssh://web", "", "tcp://a b:1", 7])
def test_other_endpoints_are_refused(call, tmp_path, store, host):
    file = tmp_path / "x.dockercontext"
    meta = {"Name": "x1", "Endpoints": {"docker": {"Host": host}}}
    file.write_bytes(archive({"meta.json": json.dumps(meta).encode()}))
    ended = call("import", str(file))
    assert ended.code == 1 and "cannot be used" in ended.err and store.names() == []


# --- a colleague

def test_a_colleague_s_request_is_signed(web, call, dm, other):
    request = dm.home / "request.pem"
    assert call(*(other + ["csr", "-o", str(request)])).code == 0
    assert call(*(other + ["csr"])).out.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert call("export", "--for-csr", str(request), "web").code == 0
    files = files_of(dm.home / "web.access")
    assert sorted(files) == ["ca.pem", "cert.pem", "machine.json", "url"] and b"PRIVATE" not in b"".join(files.values())
    assert call(*(other + ["import", str(dm.home / "web.access")])).code == 0
    machine = other_store(other).machine("web")
    core.tls_context(*machine.tls_files())
    assert not core.certificate_problem(machine.client.cert, machine.ca.cert)
    said = core.openssl("x509", "-noout", "-text", "-in", machine.client.cert).stdout
    assert "TLS Web Client Authentication" in said and "CA:TRUE" not in said
    # of no use in a store that has not the key
    ended = call("import", str(dm.home / "web.access"), "--name", "mine")
    assert ended.code == 1 and "The key of the request is not in this store" in ended.err


@pytest.mark.parametrize("text", [
    "", "garbage", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"])
def test_what_is_not_a_request_is_refused(web, call, dm, text):
    (dm.home / "request.pem").write_text(text)
    ended = call("export", "--for-csr", "request.pem", "web")
    assert ended.code == 1 and "is not a certificate request" in ended.err and "docker-machine csr" in ended.err


# --- machine-share's archives

def share(web, old=False, home="/home/al", raw=False):
    """{name: bytes} as machine-share writes it of a machine below `home`; `old`: by its shell version."""
    folder = home + "/.docker/machine"
    text = json.dumps(web.config).replace(web.store.path, folder)
    config = json.loads(text)
    auth = config["HostOptions"]["AuthOptions"]
    if raw:
        config["RawDriver"] = base64.b64encode(json.dumps(config.pop("Driver")).encode()).decode()
    if not old:
        for key, name in (("CaCertPath", "ca.pem"), ("CaPrivateKeyPath", "ca-key.pem"), ("ClientCertPath", "cert.pem"),
                          ("ClientKeyPath", "key.pem")):
            auth[key] = "{{HOME}}/.docker/machine/certs/web/" + name
        config = json.loads(json.dumps(config).replace("/home/al", "{{HOME}}"))
    files = {"config.json": json.dumps(config).encode()}
    for path in Path(web.folder).iterdir():
        if path.name != "config.json":
            files[path.name] = path.read_bytes()
    if not old:
        files.update(("certs/" + name, Path(web.store.certs, name).read_bytes()) for name in CLIENT + ["ca-key.pem"])
    return files


def zipped(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return stream.getvalue()


def archive(files, **more):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, data in files.items():
            row = tarfile.TarInfo(name)
            row.size = len(data)
            for key, value in more.items():
                setattr(row, key, value)
            made.addfile(row, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize("more", [
    {}, {"old": True}, {"raw": True}, {"home": "/home/alice"}, {"old": True, "home": "/x y"}],
                         ids=["new", "flat", "RawDriver", "a home cut off wrongly", "blanks"])
def test_machine_share_s_archives_are_read(web, call, other, tmp_path, more):
    (tmp_path / "lab.zip").write_bytes(zipped(share(web, **more)))
    ended = call(*(other + ["import", str(tmp_path / "lab.zip")]))
    assert (ended.code, ended.err) == (0, "")
    machine = other_store(other).machine("lab")
    assert machine.driver.get_ip() == "192.0.2.7" and machine.driver["StorePath"] == other[1]
    assert machine.driver["SSHKeyPath"] == os.path.join(machine.folder, "id_ed25519")
    core.tls_context(*machine.tls_files())
    assert all(path.startswith(machine.folder + os.sep) for path in machine.tls_files())
    if os.name != "nt":
        assert set(modes(machine.folder).values()) == {0o600}


def test_paths_of_windows_are_read(web, call, other, tmp_path):
    files = share(web, old=True, home="C:\\\\Users\\\\al")
    files["config.json"] = files["config.json"].replace(
        b"/.docker/machine/machines/web/", b"\\\\.docker\\\\machine\\\\machines\\\\web\\\\")
    (tmp_path / "web.zip").write_bytes(zipped(files))
    assert call(*(other + ["import", str(tmp_path / "web.zip")])).code == 0
    machine = other_store(other).machine("web")
    assert machine.driver["SSHKeyPath"] == os.path.join(machine.folder, "id_ed25519")


# --- what must not come in

def bomb():
    return zipped({"config.json": b"{}", "big": bytes(11 << 20)})


BAD = {
    "not an archive": b"hello", "empty": b"", "an empty zip": zipped({}), "cut": zipped({"config.json": b"{}"})[:-9],
    "not JSON": zipped({"config.json": b"{"}), "a list": zipped({"config.json": b"[]"}),
    "up": zipped({"config.json": b"{}", "../../x": b""}), "absolute": zipped({"config.json": b"{}", "/x": b""}),
    "backslash": archive({"config.json": b"{}", "..\\x": b""}), "drive": zipped({"config.json": b"{}", "C:x": b""}),
    "up in tar": archive({"config.json": b"{}", "a/../../x": b""}), "bomb": bomb(),
    "link": archive({"x": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": archive({"x": b""}, type=tarfile.LNKTYPE, linkname="config.json"),
    "device": archive({"x": b""}, type=tarfile.CHRTYPE), "many": zipped({"f%d" % number: b"" for number in range(300)}),
    "another release": archive({
        "machine.json": b'{"Format": "docker-machine-export", "Version": 2}', "config.json": b"{}"}),
    "newline": archive({"config.json": b"{}", "a\nb": b""}),
}


@pytest.mark.parametrize("what", sorted(BAD))
def test_what_is_not_an_export_is_refused_and_leaves_nothing(call, store, tmp_path, what):
    (tmp_path / "web.zip").write_bytes(BAD[what])
    before = sorted(path.name for path in Path(store.path).rglob("*") if path.parent.name != "locks")
    ended = call("import", str(tmp_path / "web.zip"))
    assert ended.code == 1 and ended.err and len(ended.err) < 500
    left = sorted(path.name for path in Path(store.path).rglob("*") if path.parent.name != "locks")
    assert [name for name in left if name not in before + ["machines", "locks"]] == []


def test_a_pair_that_does_not_fit_is_refused(web, call, other, dm, tmp_path):
    bootstrap(tmp_path / "stranger")
    for name, source in (("key.pem", tmp_path / "stranger" / "key.pem"), ("ca.pem", tmp_path / "stranger" / "ca.pem")):
        files = dict(share(web, old=True))
        files[name] = source.read_bytes()
        (tmp_path / "web.zip").write_bytes(zipped(files))
        ended = call(*(other + ["import", str(tmp_path / "web.zip")]))
        assert ended.code == 1 and ("do not fit" in ended.err or "not of the CA" in ended.err)
        assert other_store(other).names() == []
    # a bundle of two CAs is a CA
    files = dict(share(web, old=True))
    files["ca.pem"] = (tmp_path / "stranger" / "ca.pem").read_bytes() + files["ca.pem"]
    (tmp_path / "web.zip").write_bytes(zipped(files))
    assert call(*(other + ["import", str(tmp_path / "web.zip")])).code == 0
    assert pair


def test_a_kill_leaves_what_the_next_import_clears(web, call, other, dm):
    assert call("export", "web").code == 0
    left = Path(other_store(other).machines, ".new-old")
    left.mkdir(parents=True)
    os.utime(str(left), (1, 1))
    assert call(*(other + ["import", str(dm.home / "web.machine")])).code == 0
    assert os.listdir(other_store(other).machines) == ["web"]
