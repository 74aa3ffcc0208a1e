"""Certificates are those of storage.md section 5, made by the real openssl and tried in real handshakes."""

import datetime
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HANG, VERSION, auth, bootstrap, engine, listening, openssl, pair, redate

import docker_machine as core
from docker_machine import MachineError


def text_of(cert):
    return openssl("x509", "-in", cert, "-noout", "-text")


def field(text, name):
    """The value that `openssl x509 -text` prints under a name, with " critical" in front where it is."""
    found = re.search(r"%s:( critical)?\s*\n?\s*(.*)" % re.escape(name), text)
    return " ".join(part.strip() for part in found.groups() if part) if found else None


def organization(cert):
    line = openssl("x509", "-in", cert, "-noout", "-subject", "-nameopt", "utf8,sep_multiline,sname").rstrip("\n")
    assert line.count("=") - line.partition("O=")[2].count("=") <= 2  # nothing but O
    return line.partition("O=")[2]


def mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


@pytest.fixture
def folder(certs, tmp_path):
    """A copy of the certificates, to be changed."""
    shutil.copytree(str(certs), str(tmp_path / "certs"))
    return tmp_path / "certs"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.pem")}


# --- what is in them

CA_USAGE = "critical Digital Signature, Key Encipherment, Key Agreement, Certificate Sign"


@pytest.mark.parametrize("name, owner, basic, usage, extended", [
    ("ca", "{0}", "critical CA:TRUE", CA_USAGE, None),
    ("", "{0}.<bootstrap>", "critical CA:FALSE", "critical Digital Signature", "TLS Web Client Authentication"),
    ("server", "{0}.web", "critical CA:FALSE", "critical Digital Signature, Key Encipherment, Key Agreement",
     "TLS Web Server Authentication"),
])
def test_each_kind_has_the_fields_that_docker_machine_gives_it(certs, server, name, owner, basic, usage, extended):
    cert = (server if name == "server" else pair(certs, name)).cert
    text = text_of(cert)
    assert organization(cert) == owner.format(core.certificate_owner())
    assert field(text, "X509v3 Basic Constraints") == basic
    assert field(text, "X509v3 Key Usage") == usage
    assert field(text, "X509v3 Extended Key Usage") == extended
    assert "Version: 3 (0x2)" in text and "Signature Algorithm: sha256WithRSAEncryption" in text
    assert ("Subject Alternative Name" in text) == (name == "server")
    assert "X509v3 Subject Key Identifier" in text if name == "ca" else "X509v3 Authority Key Identifier" in text
    assert openssl("verify", "-CAfile", certs / "ca.pem", cert).endswith(": OK\n")


def test_keys_are_rsa_2048_in_pkcs1_but_the_servers_is_ecdsa_p256(certs, server):
    for name in ("ca-key.pem", "key.pem"):
        assert (certs / name).read_text().startswith("-----BEGIN RSA PRIVATE KEY-----\n")  # what Java clients read
    assert "(2048 bit)" in text_of(certs / "ca.pem") and "(2048 bit)" in text_of(certs / "cert.pem")
    assert "ASN1 OID: prime256v1" in text_of(server.cert)


def test_certificates_are_valid_for_1080_days_from_yesterday(certs, server):
    for cert in (certs / "ca.pem", certs / "cert.pem", server.cert):
        dates = openssl("x509", "-in", cert, "-noout", "-dates").splitlines()
        start, end = [datetime.datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y GMT") for line in dates]
        assert end - start == datetime.timedelta(days=1080)
        age = datetime.datetime(*time.gmtime()[:6]) - start
        assert datetime.timedelta(days=1) <= age < datetime.timedelta(days=1, minutes=10)


def test_serials_are_random_and_long(certs, server):
    serials = [int(openssl("x509", "-in", cert, "-noout", "-serial").partition("=")[2], 16)
               for cert in (certs / "ca.pem", certs / "cert.pem", server.cert)]
    assert len(set(serials)) == 3 and all(2 ** 96 < serial < 2 ** 127 for serial in serials)


def test_keys_are_private_and_certificates_public_even_under_umask_0(certs, server):
    assert {name: mode(certs / name) for name in contents(certs)} == {
        "ca.pem": 0o644, "ca-key.pem": 0o600, "cert.pem": 0o644, "key.pem": 0o600}
    assert (mode(certs), mode(server.cert), mode(server.key)) == (0o700, 0o644, 0o600)
    assert [path.name for path in certs.iterdir() if ".tmp" in path.name] == []


@pytest.fixture
def request_server(folder):
    def make(names=("192.0.2.1", "localhost"), also_client=False, machine="web"):
        made = pair(folder, "server")
        core.issue_server(made, pair(folder, "ca"), machine, list(names), also_client)
        return made
    return make


@pytest.fixture
def server_copy(folder, server):
    """A copy of the server pair, to be changed."""
    made = pair(folder, "server")
    shutil.copy(server.cert, made.cert)
    shutil.copy(server.key, made.key)
    return made


def test_names_and_addresses_of_a_server_come_out_as_what_they_are(request_server):
    names = ["web.example.test", "192.0.2.1", "2001:db8::1", "*.example.test", "under_score", "localhost"]
    text = text_of(request_server(names).cert)
    assert field(text, "X509v3 Subject Alternative Name") == (
        "DNS:web.example.test, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, DNS:*.example.test, "
        "DNS:under_score, DNS:localhost")


def test_a_swarm_managers_certificate_is_a_clients_too(request_server):
    assert field(text_of(request_server(also_client=True).cert), "X509v3 Extended Key Usage") == (
        "TLS Web Server Authentication, TLS Web Client Authentication")


@pytest.mark.parametrize("user, shown", [
    ("é" * 80, "é" * 64), ("x$HOME ${ca} #1 \\n \"q\" 'p' /CN=y,+;<>@{b}%s \\", None), ("", "unknown"),
    (" ", "unknown"), ("two\nlines", "two lines"),
])
def test_any_users_name_arrives_literally_in_at_most_64_characters(certs, tmp_path, monkeypatch, user, shown):
    shutil.copy(str(certs / "ca-key.pem"), str(tmp_path / "ca-key.pem"))  # a key that is there is kept: faster
    monkeypatch.setenv("USER", user)
    made = pair(tmp_path, "ca")
    core.issue_ca(made)
    assert organization(made.cert) == (user if shown is None else shown)
    assert core.pair_problem(made, made.cert) == ""


# --- bootstrap

def test_a_second_bootstrap_changes_nothing(folder, capsys):
    before = contents(folder)
    bootstrap(folder)
    assert contents(folder) == before and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("missing, kept", [
    (["ca.pem"], ["ca-key.pem"]),
    (["cert.pem"], ["ca.pem", "ca-key.pem", "key.pem"]),
    (["key.pem"], ["ca.pem", "ca-key.pem"]),
])
def test_an_interrupted_bootstrap_is_completed(folder, missing, kept):
    before = contents(folder)
    for name in missing:
        (folder / name).unlink()
    bootstrap(folder)
    after = contents(folder)
    assert sorted(after) == ["ca-key.pem", "ca.pem", "cert.pem", "key.pem"]
    assert all(after[name] == before[name] for name in kept)
    assert core.pair_problem(pair(folder), str(folder / "ca.pem")) == ""


def test_a_ca_without_its_key_is_not_replaced_behind_the_users_back(folder):
    (folder / "ca-key.pem").unlink()
    before = contents(folder)
    with pytest.raises(MachineError, match="^Error generating certificates: there is .*ca.pem but no key") as caught:
        bootstrap(folder)
    assert contents(folder) == before and "ca.pem" in caught.value.hint


def test_an_expired_ca_is_replaced_together_with_its_client(folder, capsys):
    redate(pair(folder, "ca"), -1)
    before = contents(folder)
    bootstrap(folder)
    after = contents(folder)
    assert not [name for name in after if after[name] == before[name]]
    assert core.pair_problem(pair(folder), str(folder / "ca.pem")) == ""
    said = capsys.readouterr()
    assert said.out == ("CA certificate is outdated and needs to be regenerated\nCreating CA: %s\n"
                        "Creating client certificate: %s\n" % (folder / "ca.pem", folder / "cert.pem"))
    assert "regenerate-certs" in said.err


def test_an_expired_client_is_replaced_under_the_same_ca(folder, capsys):
    redate(pair(folder), -1, pair(folder, "ca"))
    before = contents(folder)
    bootstrap(folder)
    after = contents(folder)
    assert after["ca.pem"] == before["ca.pem"] and after["cert.pem"] != before["cert.pem"]
    assert core.pair_problem(pair(folder), str(folder / "ca.pem")) == ""
    assert capsys.readouterr().out == (
        "Client certificate is outdated and needs to be regenerated\n"
        "Creating client certificate: %s\n" % (folder / "cert.pem"))


@pytest.fixture
def other_ca(certs, tmp_path):
    """A CA of the same name with another key, outside of any store."""
    (tmp_path / "other").mkdir()
    shutil.copy(str(certs / "key.pem"), str(tmp_path / "other" / "ca-key.pem"))  # any RSA key will do
    made = pair(tmp_path / "other", "ca")
    core.issue_ca(made)
    return made


def test_a_client_of_another_ca_is_replaced(folder, other_ca):
    shutil.copy(other_ca.cert, str(folder / "ca.pem"))
    shutil.copy(other_ca.key, str(folder / "ca-key.pem"))
    assert core.pair_problem(pair(folder), str(folder / "ca.pem")) != ""
    before = contents(folder)
    bootstrap(folder)
    after = contents(folder)
    assert after["ca.pem"] == before["ca.pem"] and after["cert.pem"] != before["cert.pem"]
    assert core.pair_problem(pair(folder), str(folder / "ca.pem")) == ""


def test_a_renewed_ca_keeps_its_name_byte_for_byte_whoever_renews_it(folder, monkeypatch):
    """Go compares the issuer's name bytewise, and Docker Machine writes it in another string type."""
    ca = pair(folder, "ca")
    openssl("req", "-x509", "-new", "-key", ca.key, "-out", ca.cert, "-days", 9, "-subj", "/O=t\u00e4st/CN=x", "-utf8",
            "-addext", "basicConstraints=critical,CA:TRUE")
    before = openssl("x509", "-in", ca.cert, "-noout", "-subject", "-nameopt", "dump_all,show_type,dump_der")
    core.issue_client(pair(folder), ca)
    monkeypatch.setenv("USER", "somebody.else")
    bootstrap(folder, renew=True)
    assert openssl("x509", "-in", ca.cert, "-noout", "-subject", "-nameopt", "dump_all,show_type,dump_der") == before
    assert core.pair_problem(pair(folder), ca.cert) == ""


def test_renewing_keeps_the_key_of_the_ca_so_that_what_it_signed_stays_valid(folder, tmp_path):
    before, old = contents(folder), pair(tmp_path, "server")
    core.issue_server(old, pair(folder, "ca"), "web", ["192.0.2.1"])
    bootstrap(folder, renew=True)
    after = contents(folder)
    assert [name for name in sorted(after) if after[name] == before[name]] == ["ca-key.pem"]
    assert core.pair_problem(old, str(folder / "ca.pem")) == ""
    (tmp_path / "old-ca.pem").write_bytes(before["ca.pem"])
    assert core.pair_problem(pair(folder), str(tmp_path / "old-ca.pem")) == ""


@pytest.mark.parametrize("damage", ["expired", "garbage", "wrong key"])
def test_a_foreign_ca_is_never_replaced(folder, other_ca, damage):
    if damage == "expired":
        redate(other_ca, -1)
    elif damage == "garbage":
        Path(other_ca.cert).write_text("garbage")
    else:
        shutil.copy(str(folder / "ca-key.pem"), other_ca.key)
    outside = Path(other_ca.cert).parent
    before = contents(folder), contents(outside)
    with pytest.raises(MachineError, match="^Error generating certificates: the CA certificate %s cannot be used: "
                       % re.escape(other_ca.cert)):
        core.bootstrap_certificates(str(folder), other_ca, pair(folder))
    assert (contents(folder), contents(outside)) == before


def test_a_foreign_ca_does_not_cost_the_store_the_client_of_its_own_ca(folder, other_ca):
    """`--tls-ca-cert --tls-ca-key` for one machine: the others still need the client pair that they know."""
    before = contents(folder)
    with pytest.raises(MachineError, match="client"):
        core.bootstrap_certificates(str(folder), other_ca, pair(folder))
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
@pytest.mark.parametrize("damage", [
    b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_ca_is_reported_by_its_path_and_kept(folder, name, damage):
    (folder / name).write_bytes(damage)
    before = contents(folder)
    with pytest.raises(MachineError, match="^Error generating certificates: the CA certificate .* cannot be used"):
        bootstrap(folder)
    assert contents(folder) == before


def test_ten_creates_at_once_on_an_empty_store_share_one_ca(dm, background):
    names = ["m%d" % number for number in range(10)]
    processes = [background(dm.start("create", "-d", "none", "--url", "tcp://127.0.0.1:1", name)) for name in names]
    ended = [process.communicate(timeout=HANG) + (process.returncode,) for process in processes]
    assert [code for _, _, code in ended] == [0] * 10, ended
    assert sum(out.count(b"Creating CA: ") for out, _, _ in ended) == 1
    assert sum(out.count(b"Creating client certificate: ") for out, _, _ in ended) == 1
    for own, shared in (("ca.pem", "ca.pem"), ("cert.pem", "cert.pem"), ("key.pem", "key.pem")):
        assert {(dm.store / "machines" / name / own).read_bytes() for name in names} == {
            (dm.store / "certs" / shared).read_bytes()}
    assert core.pair_problem(pair(dm.store / "certs"), str(dm.store / "certs" / "ca.pem")) == ""


# --- whether a server's certificate can stay

NAMES = ["192.0.2.1", "2001:db8::1", "localhost"]


def test_a_server_certificate_stays_if_it_fits_and_only_then(folder, request_server, other_ca):
    made, ca = request_server(NAMES), str(folder / "ca.pem")
    assert core.server_pair_fits(made, ca, NAMES, False)
    assert core.server_pair_fits(made, ca, ["localhost", "2001:0DB8:0::1", "192.0.2.1"], False)
    for why, arguments in {
            "a name more": (made, ca, NAMES + ["new"], False), "a name less": (made, ca, NAMES[1:], False),
            "now a manager": (made, ca, NAMES, True), "another CA": (made, other_ca.cert, NAMES, False),
            "no key": (core.Pair(made.cert, made.key + ".gone"), ca, NAMES, False),
            "no certificate": (core.Pair(made.cert + ".gone", made.key), ca, NAMES, False),
            "another key": (core.Pair(made.cert, str(folder / "key.pem")), ca, NAMES, False)}.items():
        assert not core.server_pair_fits(*arguments), why


@pytest.mark.parametrize("days, fits", [(-1, False), (29, False), (31, True)])
def test_a_server_certificate_near_its_end_is_renewed_in_time(folder, server_copy, days, fits):
    made = server_copy
    redate(made, days, pair(folder, "ca"), NAMES)
    assert core.server_pair_fits(made, str(folder / "ca.pem"), NAMES, False) is fits


def test_a_garbled_server_certificate_does_not_fit(folder, server_copy):
    names = ["127.0.0.1", "localhost"]
    assert core.server_pair_fits(server_copy, str(folder / "ca.pem"), names, False)
    Path(server_copy.cert).write_text("garbage")
    assert not core.server_pair_fits(server_copy, str(folder / "ca.pem"), names, False)


@pytest.mark.parametrize("name", ["", "a b", "a,DNS:b", "a;b", "a\nb", "http://h", "h:1", "ä.test", "x" * 254])
def test_a_name_that_no_certificate_can_carry_is_refused(name):
    with pytest.raises(core.UsageError, match="^--tls-san "):
        core.TLS_FLAGS[0].check([name])


@pytest.mark.parametrize("name", ["h", "a.b.test", "*.b.test", "192.0.2.1", "::1", "2001:db8::1", "x_y", "x" * 63])
def test_a_name_that_a_certificate_can_carry_is_taken(name):
    core.TLS_FLAGS[0].check([name])


# --- the handshake

def ask(port, options, host="127.0.0.1"):
    return core.Engine("tcp://%s:%d" % (host, port), options, "web").version(5)


def failure(port, options, host="127.0.0.1"):
    with pytest.raises(MachineError) as caught:
        ask(port, options, host)
    return caught.value


def test_an_engine_with_our_certificate_answers_by_address_and_by_name(certs, engine_port):
    assert ask(engine_port, auth(certs)) == VERSION
    assert ask(engine_port, auth(certs), "localhost") == VERSION


def test_an_ipv6_engine_answers(certs, tmp_path):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 here")
    made = pair(tmp_path, "server")
    core.issue_server(made, pair(certs, "ca"), "web", ["::1"])
    with listening(engine(made, pair(certs, "ca")), "::1") as port:
        assert ask(port, auth(certs), "[::1]") == VERSION


@pytest.mark.parametrize("case, cause", [
    ("expired", "the engine's certificate, or the CA, has expired"),
    ("wrong name", "the engine's certificate was not made for 127.0.0.1"),
    ("other CA", "the engine's certificate was signed by another CA than this store's"),
    ("self-signed", "the engine's certificate was signed by another CA than this store's"),
])
def test_a_certificate_that_is_no_good_is_told_in_docker_machines_words_with_the_cause(
        folder, server_copy, other_ca, case, cause):
    made = server_copy
    if case in ("expired", "wrong name"):
        redate(made, -1 if case == "expired" else 9, pair(folder, "ca"), ["127.0.0.1" if case == "expired" else "h"])
    elif case == "other CA":
        core.issue_server(made, other_ca, "web", ["127.0.0.1"])
    elif case == "self-signed":
        made = other_ca
    with listening(engine(made, pair(folder, "ca"))) as port:
        error = failure(port, auth(folder))
    if sys.version_info < (3, 7) and case != "wrong name":  # there the ssl module tells no cause
        cause = "the engine's certificate has expired, or it was signed by another CA than this store's"
    assert error.message == 'There was an error validating certificates for host "127.0.0.1:%d": %s' % (port, cause)
    assert error.hint.startswith("You can attempt to regenerate them using 'docker-machine regenerate-certs web'.\n")


@pytest.mark.parametrize("patient", [True, False], ids=["alert arrives", "reset overtakes the alert"])
def test_an_engine_that_refuses_our_client_is_told(folder, server, other_ca, patient):
    with listening(engine(server, other_ca, patient=patient)) as port:
        error = failure(port, auth(folder))
    assert '"127.0.0.1:%d"' % port in error.message and "store's client certificate" in error.message


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_missing_file_of_ours_is_named(folder, engine_port, name):
    (folder / name).unlink()
    error = failure(engine_port, auth(folder))
    assert error.message == "%s is missing." % (folder / name)
    assert error.hint == "Run: docker-machine regenerate-certs web"


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_damaged_file_of_ours_is_not_blamed_on_the_engine(folder, engine_port, name):
    (folder / name).write_text("garbage")
    error = failure(engine_port, auth(folder))
    assert str(folder) in error.message


def test_an_engine_without_tls_is_told(certs):
    def plain(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.")
    with listening(plain) as port:
        error = failure(port, auth(certs))
    assert "127.0.0.1:%d" % port in error.message and "TLS" in error.message and "[SSL:" not in error.message


@pytest.mark.parametrize("hang_up", [lambda connection: None, lambda connection: connection.recv(4096)],
                         ids=["at once", "in the handshake"])
def test_a_server_that_hangs_up_is_unreachable_which_is_no_trouble_with_certificates(certs, hang_up):
    with listening(hang_up) as port:
        error = failure(port, auth(certs))
    assert isinstance(error, core.Unreachable) and error.message.startswith("127.0.0.1 port %d" % port)


def test_a_closed_port_is_unreachable(certs, closed_port):
    error = failure(closed_port, auth(certs))
    assert isinstance(error, core.Unreachable)
    assert error.message == "127.0.0.1 port %d: Connection refused" % closed_port


@pytest.mark.parametrize("answer, words", [
    (b"HTTP/1.0 200 OK\r\n\r\nhello", "is not a Docker Engine"), (b"", "closed the connection"),
    (b"HTTP/1.0 200 OK\r\n\r\n[]", "is not a Docker Engine"), (b"SSH-2.0-x\r\n", "is not a Docker Engine"),
    (b"HTTP/1.0 200 OK\r\n\r\n{}", "is not a Docker Engine"),
    (b"HTTP/1.0 200 OK\r\n\r\n\xff", "is not a Docker Engine"),
    (b"HTTP/1.0 503 Busy\r\n\r\n{}", "answered 503"),
])
def test_a_tls_server_that_is_no_engine_is_told(certs, server, answer, words):
    with listening(engine(server, pair(certs, "ca"), [answer])) as port:
        assert words in failure(port, auth(certs)).message


def test_an_engine_that_never_ends_its_answer_is_given_up_in_time(certs, server):
    """`ls` waits for all of its machines."""
    def trickle():
        for _ in range(20 * HANG):
            time.sleep(0.1)
            yield b"x"

    start = time.monotonic()
    with listening(engine(server, pair(certs, "ca"), trickle())) as port, pytest.raises(MachineError):
        core.Engine("tcp://127.0.0.1:%d" % port, auth(certs), "web").version(0.3)
    assert time.monotonic() - start < HANG


def test_openssl_that_fails_is_reported_with_its_own_words(tmp_path, bin_folder, monkeypatch):
    monkeypatch.setenv("PATH", str(bin_folder(openssl="echo 'the RNG is broken' >&2; exit 1")))
    with pytest.raises(MachineError, match="^Error generating certificates: Making a key failed: .*the RNG is broken"):
        bootstrap(tmp_path / "certs")
    assert [path.name for path in (tmp_path / "certs").iterdir()] == [".lock"]


def test_certificates_come_from_whatever_openssl_configuration_is_around(tmp_path, monkeypatch, certs):
    """A site's OPENSSL_CONF must not get into our certificates, nor keep them from being made."""
    monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "not-there.cnf"))
    shutil.copy(str(certs / "ca-key.pem"), str(tmp_path / "ca-key.pem"))
    core.issue_ca(pair(tmp_path, "ca"))
    assert subprocess.call(["openssl", "x509", "-in", str(tmp_path / "ca.pem"), "-noout"]) == 0
