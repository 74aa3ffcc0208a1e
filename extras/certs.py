# SPDX-License-Identifier: Apache-2.0
"""The command `certs`: which certificates machines have, whose they are, until when, and whether
they fit one another and what the host presents.

A row is for one certificate: the CA and the client's pair, which machines mostly share, then each
machine's server certificate, and what its engine presents where that is another one."""

import hashlib
import os
import socket
import time
import typing  # noqa: F401

import docker_machine as dm

COLUMNS = ("Machine", "Certificate", "Expires", "Left", "Authority", "Note")
ASK_SECONDS = 5  # for what an engine presents


class Row:
    """What is known of one certificate of `machines` (names): `days` until it ends (None where it
    cannot be read), and what is wrong with it, in words."""

    days = None  # type: typing.Any

    def __init__(self, machines, kind, path="", der=b""):
        self.machines, self.kind, self.path, self.der = machines, kind, path, der
        self.begins = self.ends = 0.0
        self.authority = ""
        self.notes = []  # type: list
        try:
            self.der = der or dm.read_certificate(path)
            self.begins, self.ends = dm.validity(self.der)
            self.days = (self.ends - time.time()) / 86400
        except FileNotFoundError:
            self.notes.append("missing")
        except (OSError, ValueError) as error:
            self.notes.append("cannot be read: %s" % dm.reason(error))
        self.judge_dates()

    def judge_dates(self):
        if self.days is None:
            return
        if self.days < 0:
            self.notes.append("has expired")
        if self.begins > time.time() + 60:
            self.notes.append("is not valid yet: is the clock of this computer right?")

    def fails(self, limit):
        """Whether it is wrong, or ends within so many days."""
        return bool(self.notes) or self.days < limit

    def cells(self):
        """{column: value} for --format; Left is a number of whole days."""
        expires, left = "", None
        if self.days is not None:
            expires = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.ends))
            left = int(self.days // 1)
        return dict(zip(COLUMNS, (", ".join(self.machines), self.kind, expires, left,
                                  self.authority, "; ".join(self.notes))))

    def words(self, total):
        """The cells as texts; a certificate of all `total` machines has one word for them."""
        cells = self.cells()
        if len(self.machines) == total > 1:
            cells["Machine"] = "(all)"
        elif len(self.machines) > 3:
            cells["Machine"] = "%s and %d more" % (self.machines[0], len(self.machines) - 1)
        cells["Left"] = "" if cells["Left"] is None else "%dd" % cells["Left"]
        return [dm.shown(str(cells[column])) for column in COLUMNS]


def command_certs(context, options, words):
    limit = check_limit(options["check"])
    names = list(dict.fromkeys(words)) or context.store.names()
    if options["renew"]:
        return renew(context, names)
    loaded = dm.each(lambda name: with_driver(context.store.machine(name)), names)
    machines = [machine for machine in loaded  # those by ssh have no certificates
                if isinstance(machine, dm.Machine) and not machine.driver.engine()]
    rows = rows_of(machines, not options["local"])
    code = dm.report_each(names, loaded)
    if options["check"]:
        rows = [row for row in rows if row.fails(limit)]
        code = max(code, int(bool(rows)))
    show(options, rows, len(machines))
    return code


def with_driver(machine):
    """The machine. Raises MachineError if its driver does not load."""
    machine.driver.get("IPAddress")
    return machine


def check_limit(text):
    """Days, from 30d or 30. Raises UsageError."""
    digits = text[:-1] if text.endswith("d") else text
    if text and not digits.isdigit():
        raise dm.UsageError('--check "%s" is not a number of days.' % text,
                            "Write it as 30d: certs fails if one ends within 30 days.")
    return int(digits or 0)


def show(options, rows, total):
    if options["format"]:
        return dm.answer_each(options, [row.cells() for row in rows], "")
    if rows or not options["check"]:
        heads = [column.upper() for column in COLUMNS]
        dm.show_lines(dm.table([heads, *(row.words(total) for row in rows)]))


def rows_of(machines, ask):
    """The rows of machines; with `ask` also what their engines present."""
    rows = [row for kind in ("ca", "client") for row in shared_rows(machines, kind)]
    found = dm.each(presented, machines, seconds=ASK_SECONDS) if ask else [b""] * len(machines)
    problems = chain_problems(machines)
    for machine, der in zip(machines, found):
        rows += server_rows(machine, der, problems)
    return rows


def shared_rows(machines, kind):
    """A row for each file that is the CA, or the client's certificate, of some machines."""
    holders = {}  # type: dict
    for machine in machines:
        pair = machine.ca if kind == "ca" else machine.client
        holders.setdefault((pair.cert, pair.key), []).append(machine)
    for (cert, key), some in holders.items():
        row = Row([machine.name for machine in some], kind, cert)
        row.authority = fingerprint(some[0].ca.cert)
        judge_shared(row, some[0], key)
        if kind == "client":
            row.notes += stale_copies(some)
        yield row


def stale_copies(machines):
    """A note on the machines whose copies of shared files are not the same as those."""
    try:
        stale = [machine.name for machine in machines
                 if machine.client_files() == list(machine.tls_files())]
    except OSError:  # the source is missing, which has a note already
        stale = []
    return ["copies differ, of " + ", ".join(stale)] if stale else []


def judge_shared(row, machine, key):
    if row.days is None:
        return
    if os.path.exists(key):
        judge_pair(row, key)
    elif row.kind == "client":
        row.notes.append("its key is missing")
    if row.kind == "client":
        problem = dm.certificate_problem(row.path, machine.ca.cert)
        if problem and "expired" not in problem:
            row.notes.append("is not of this CA: " + problem)


def judge_pair(row, key):
    try:
        dm.load_pair(row.path, key)
    except OSError as error:  # ssl.SSLError is one
        row.notes.append("the key is another one's: %s" % dm.reason(error))


def server_rows(machine, der, problems):
    """The row of a machine's server certificate, and one for what the engine presents instead.
    `der` is that, or an exception; b"" where it was not asked."""
    pair = machine.server_pair
    presented_other = isinstance(der, bytes) and der
    if machine.driver_name == "none" and not os.path.exists(pair.cert):
        rows = []
    else:
        row = Row([machine.name], "server", pair.cert)
        row.authority = fingerprint(machine.ca.cert)
        judge_server(row, machine, problems)
        rows = [row]
        presented_other = presented_other and der != row.der
    if presented_other:
        other = Row([machine.name], "engine", machine.name, der)
        if rows:
            other.notes.append("the host presents another certificate than server.pem: "
                               "docker-machine provision %s brings it there" % machine.name)
        rows.append(other)
    return rows


def judge_server(row, machine, problems):
    if row.days is None:
        return
    if os.path.exists(machine.server_pair.key):
        judge_pair(row, machine.server_pair.key)
    else:
        row.notes.append("its key is missing")
    problem = problems.get(row.path, "")
    if problem and "expired" not in problem:
        row.notes.append("is not of this CA: " + problem)
    address = machine.driver.get("IPAddress") and dm.split_url(machine.driver.engine_url())[0]
    if address and not names_host(row.der, address):
        row.notes.append("is not for the address " + address)


def names_host(der, host):
    """Whether a certificate has an address or name among its alternative names: RFC 5280, 4.2.1.6
    (7 is an address, 2 a name)."""
    number = dm.ip_address(host)
    if number:
        family = socket.AF_INET6 if ":" in str(number) else socket.AF_INET
        value, tag = socket.inet_pton(family, str(number)), b"\x87"
    else:
        value, tag = host.encode(), b"\x82"
    return tag + bytes([len(value) & 127]) + value in der


def chain_problems(machines):
    """{path: why its CA does not vouch for a server certificate}, by one openssl for each CA."""
    problems, groups = {}, {}  # type: dict, dict
    for machine in machines:
        if os.path.exists(machine.server_pair.cert):
            groups.setdefault(machine.ca.cert, []).append(machine.server_pair.cert)
    for ca, certs in groups.items():
        for start in range(0, len(certs), 200):
            some = certs[start:start + 200]
            result = dm.openssl("verify", "-CAfile", ca, *some)
            lines = (result.stdout + result.stderr).splitlines()
            good = {line[:-len(": OK")] for line in lines if line.endswith(": OK")}
            problems.update((path, dm.certificate_problem(path, ca))
                            for path in some if path not in good)
    return problems


def fingerprint(path):
    """The start of a certificate's SHA-256, by which people tell CAs apart; "" without one."""
    try:
        return hashlib.sha256(dm.read_certificate(path)).hexdigest()[:8]
    except (OSError, ValueError):
        return ""


def presented(machine):
    """The certificate, as DER, that the machine's engine presents; b"" if it is not asked by TLS.
    Whether it is trusted does not matter here. Raises OSError or MachineError."""
    host, port = dm.split_url(machine.driver.engine_url())
    if machine.driver.engine() or not host:
        return b""
    with dm.dial_tls(host, port, dm.trusting_context(insecure=True), ASK_SECONDS) as connection:
        return connection.getpeercert(True)


def renew(context, names):
    """Renew the CA's and the client's certificates that these machines share, then one host after
    the other; the first one that fails ends it, so that what is wrong there does not hit all."""
    failed = dm.renew_shared(context.store, names)
    for number, name in enumerate(names):
        try:
            if name in failed:
                raise failed[name]
            dm.out.say('Renewing the certificates of "%s"...' % name)
            dm.on_each(context, [name], lambda machine: machine.provision(renew_server=True))
        except dm.MachineError as error:
            if names[number + 1:]:
                error.advise("Not renewed any more: " + ", ".join(names[number + 1:]))
            raise
    return 0


COMMANDS = {"certs": dm.Command(
    "certs", command_certs, "[NAME...]", "Show certificates: whose, until when, and whether they "
    "fit; renew them",
    dm.Flag("check", "", "Show only what is wrong or ends within so many days (30d), and exit with "
            "1 if there is any"),
    dm.Flag("local", False, "Do not ask engines which certificate they present"),
    dm.Flag("renew", False, "Renew all of them, one host after the other, up to the first failure"),
    dm.FORMAT_FLAG)}
