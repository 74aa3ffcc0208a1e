# SPDX-License-Identifier: Apache-2.0
"""The commands `export`, `import` and `csr`: a machine moves to another home, user or computer, or
somebody gets access to its engine.

An export is a tar archive: machine.json says what it is, config.json has "{store}", "{certs}",
"{machine}" and "{home}" where paths were, the other members are the files of the machine's folder.
One for CI is what `docker context export` writes. machine-share's archives are read too."""

import base64
import binascii
import getpass
import hashlib
import hmac
import io
import json
import os
import re
import shutil
import sys
import tarfile
import zipfile

import docker_machine as dm

FORMAT, VERSION = "docker-machine-export", 1
SEALED = b"docker-machine-export, encrypted\n"
MOST_BYTES, MOST_FILES, MOST_ARCHIVE = 10 << 20, 200, 64 << 20
CLIENT = ("ca.pem", "cert.pem", "key.pem")
AUTH_FILES = {"CaCertPath": "ca.pem", "CaPrivateKeyPath": "ca-key.pem", "ClientCertPath": "cert.pem",
              "ClientKeyPath": "key.pem", "ServerCertPath": "server.pem",
              "ServerKeyPath": "server-key.pem"}
ACCESS_DAYS = 365  # of a certificate for a colleague


# --- export

def command_export(context, options, words):
    if len(words) != 1:
        raise dm.UsageError("Error: Expected one machine name as an argument",
                            "See: docker-machine export --help")
    with context.store.machine(words[0]) as machine:
        if options["for-csr"]:
            files, ending = access_files(machine, options["for-csr"]), ".access"
        elif options["for"]:
            files, ending = context_files(machine), ".dockercontext"
        else:
            files, ending = machine_files(machine), ".machine"
    data = tar_of(files)
    if options["encrypt"] or options["passphrase-file"]:
        data = seal(data, passphrase(options, twice=True))
    path = options["output"] or words[0] + ending
    if path == "-":
        return write_stdout(data)
    if os.path.exists(path):
        raise dm.MachineError("%s exists already." % path, "Name another file: --output FILE")
    dm.write_atomic(path, data)
    dm.out.say("%s is written. %s" % (path, CAUTIONS[ending]))


CAUTIONS = {
    ".machine": "It has the keys of the machine, and of your CA: keep it as you keep them.",
    ".access": "It is of use only with the key that the request was made with.",
    ".dockercontext": "Whoever has it is root on the host.",
}


def write_stdout(data):
    if sys.stdout.isatty():
        raise dm.MachineError("An archive is nothing for a terminal.",
                              "Send it to a program or a file: --output FILE")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def machine_files(machine):
    """All that the machine is: {name: bytes}. Raises MachineError for one that cannot move."""
    if isinstance(machine.driver, dm.LocalVM):
        raise dm.MachineError(
            '"%s" is a virtual machine of this computer: its disk would have to move too.'
            % machine.name, "For another user here: docker-machine export --for ci "
            + dm.quote(machine.name))
    if machine.unfinished():
        raise dm.MachineError('Machine "%s" was not finished.' % machine.name,
                              dm.resume_hint(machine.name))
    files = {name: dm.read_bytes(os.path.join(machine.folder, name))
             for name in sorted(os.listdir(machine.folder)) if is_kept(machine, name)}
    for name, path in outer_files(machine):
        if os.path.isfile(path):
            files[name] = dm.read_bytes(path)
    config = json.loads(json.dumps(machine.config))
    config["HostOptions"]["AuthOptions"].update(
        {key: "{machine}/" + name for key, name in AUTH_FILES.items()})
    key = machine.driver.get("SSHKeyPath")
    if key:
        config["Driver"]["SSHKeyPath"] = "{machine}/" + os.path.basename(key)
    roles = roles_of(machine)
    config["Driver"] = placed(config["Driver"], roles)
    config["HostOptions"]["AuthOptions"] = placed(config["HostOptions"]["AuthOptions"], roles)
    files["config.json"] = dm.go_json(config).encode()
    files["machine.json"] = manifest(machine, "machine")
    return files


def is_kept(machine, name):
    path = os.path.join(machine.folder, name)
    return name not in ("config.json", "machine.json", "incomplete") and os.path.isfile(path) \
        and not name.endswith(".bak") and os.path.getsize(path) < MOST_BYTES


def outer_files(machine):
    """(name in the archive, path) of files that lie elsewhere: the store's certificates, a key."""
    auth = machine.auth
    for key, name in AUTH_FILES.items():
        yield name, auth[key]
    key = machine.driver.get("SSHKeyPath")
    if key:
        yield os.path.basename(key), key


def manifest(machine, kind):
    return dm.go_json({"Format": FORMAT, "Version": VERSION, "Kind": kind, "Name": machine.name,
                       "DriverName": machine.driver_name}).encode()


def roles_of(machine):
    """[(folder, placeholder)], inner folders first, since they are parts of outer ones."""
    store = machine.store
    return [(machine.folder, "{machine}"), (store.certs, "{certs}"), (store.path, "{store}"),
            (os.path.expanduser("~"), "{home}")]


def placed(value, roles):
    """A JSON value whose paths begin with placeholders."""
    if isinstance(value, dict):
        return {key: placed(one, roles) for key, one in value.items()}
    if isinstance(value, list):
        return [placed(one, roles) for one in value]
    if isinstance(value, str):
        for folder, role in roles:
            if value == folder or value.startswith(folder + os.sep):
                return role + value[len(folder):].replace(os.sep, "/")
    return value


def context_files(machine):
    """What `docker context export` would write of the machine: {name: bytes}."""
    if machine.driver.engine():
        raise dm.MachineError('"%s" is reached through ssh, by your own key.' % machine.name,
                              "Give CI a login of its own on the host.")
    meta = {"Name": machine.context().name,
            "Metadata": {"Description": "Machine " + machine.name},
            "Endpoints": {"docker": {"Host": machine.driver.engine_url(), "SkipTLSVerify": False}}}
    files = {"meta.json": dm.go_json(meta, None).encode()}
    for path, name in zip(machine.client_files(), CLIENT):
        files["tls/docker/" + name] = dm.read_bytes(path)
    return files


def access_files(machine, request):
    """What lets the holder of the key of a certificate request use the engine: {name: bytes}."""
    text = read_request(request)
    if not os.path.exists(machine.ca.key):
        raise dm.MachineError("Only who has the CA's key can sign a request, and %s is not here."
                              % machine.ca.key, "Ask whoever made the machine.")
    return {"machine.json": manifest(machine, "access"), "ca.pem": dm.read_bytes(machine.ca.cert),
            "cert.pem": sign(text, machine.ca),
            "url": machine.driver.engine_url().encode()}


def read_request(path):
    """A certificate request as PEM, whose own signature holds. Raises MachineError."""
    try:
        text = dm.read_text(path)
    except OSError as error:
        raise dm.MachineError("%s cannot be read: %s." % (path, dm.reason(error)))
    with dm.Scratch() as folder:
        file = os.path.join(folder, "request.pem")
        dm.write_atomic(file, text)
        result = dm.openssl("req", "-in", file, "-noout", "-verify")
    if not result.ok or "CERTIFICATE REQUEST-----" not in text:
        raise dm.MachineError("%s is not a certificate request." % path,
                              "Whoever is to get access makes it: docker-machine csr")
    return text


def sign(request, ca):
    """The certificate, as PEM bytes, that a request gets of a CA: for a client, for a year."""
    with dm.Scratch() as folder:
        files = {name: os.path.join(folder, name) for name in ("request", "extensions", "cert")}
        dm.write_atomic(files["request"], request)
        dm.write_atomic(files["extensions"], "extendedKeyUsage=clientAuth\n"
                        "keyUsage=critical,digitalSignature\n")
        serial = "0x" + binascii.hexlify(os.urandom(15)).decode()
        dm.openssl("x509", "-req", "-sha256", "-in", files["request"], "-CA", ca.cert, "-CAkey",
                   ca.key, "-set_serial", serial, "-days", str(ACCESS_DAYS), "-extfile",
                   files["extensions"], "-out", files["cert"], task="Signing the request")
        return dm.read_bytes(files["cert"])


def tar_of(files):
    """A tar archive of {name: bytes}, the same for the same files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in ("tls", "tls/docker") if "meta.json" in files else ():
            row = tarfile.TarInfo(folder)
            row.type, row.mode = tarfile.DIRTYPE, 0o700
            archive.addfile(row)
        for name, data in files.items():
            row = tarfile.TarInfo(name)
            row.size, row.mode = len(data), 0o600
            archive.addfile(row, io.BytesIO(data))
    return stream.getvalue()


# --- encryption: AES by openssl under a key of scrypt's, and a MAC over all of it

def derived(words, salt, kdf):
    """64 bytes from a passphrase: half for openssl, half for the MAC. Raises MachineError."""
    try:
        if kdf == "scrypt":
            return hashlib.scrypt(words, salt=salt, n=1 << 15, r=8, p=1, maxmem=64 << 20, dklen=64)
        if kdf == "pbkdf2":
            return hashlib.pbkdf2_hmac("sha512", words, salt, 600000, 64)
    except AttributeError:
        pass
    raise dm.MachineError("This Python has no %s, with which the file was encrypted." % kdf,
                          "Take a Python with OpenSSL 1.1 or newer.")


def crypt(data, key, *words):
    """Data through `openssl enc`. The key is no passphrase that needs stretching any more."""
    result = []
    with dm.Scratch() as folder:
        source, target = os.path.join(folder, "in"), os.path.join(folder, "out")
        dm.write_atomic(source, data)
        done = dm.run(["openssl", "enc", "-aes-256-cbc", "-md", "sha256", *words, "-pass",
                       "env:DOCKER_MACHINE_KEY", "-in", source, "-out", target],
                      environ={"DOCKER_MACHINE_KEY": binascii.hexlify(key).decode()})
        if done.ok:
            result.append(dm.read_bytes(target))
    if not result:
        raise dm.MachineError("openssl cannot do it: " + done.last_words(1))
    return result[0]


def seal(data, words):
    kdf = "scrypt" if hasattr(hashlib, "scrypt") else "pbkdf2"
    salt = os.urandom(16)
    keys = derived(words, salt, kdf)
    head = SEALED + ("%s %s\n" % (kdf, binascii.hexlify(salt).decode())).encode()
    body = head + crypt(data, keys[:32], "-e")
    return body + hmac.new(keys[32:], body, "sha256").digest()


def unseal(data, words):
    """What was sealed. Raises MachineError, the same for a wrong passphrase and a changed file."""
    line = data[len(SEALED):len(SEALED) + 100].partition(b"\n")[0]
    found = re.match(rb"(scrypt|pbkdf2) ([0-9a-f]{32})\Z", line)
    body, mac = data[:-32], data[-32:]
    if found:
        keys = derived(words, binascii.unhexlify(found.group(2)), found.group(1).decode())
        if hmac.compare_digest(hmac.new(keys[32:], body, "sha256").digest(), mac):
            return crypt(body[len(SEALED) + len(line) + 1:], keys[:32], "-d")
    raise dm.MachineError("The passphrase is wrong, or the file was changed or cut.")


def passphrase(options, twice=False):
    """From --passphrase-file, MACHINE_PASSPHRASE or the terminal, as bytes. Raises MachineError."""
    path = options["passphrase-file"]
    if path:
        try:
            words = dm.read_text(path).rstrip("\r\n")
        except OSError as error:
            raise dm.MachineError("%s cannot be read: %s." % (path, dm.reason(error)))
    else:
        words = os.environ.get("MACHINE_PASSPHRASE", "") or asked(twice)
    if not words:
        raise dm.MachineError("The passphrase is empty.")
    if len(words) > 5:  # a short one would hide too much
        dm.out.secrets.add(words)
    return words.encode("utf-8", "surrogateescape")


def asked(twice):
    if not (sys.stdin and sys.stdin.isatty()):
        raise dm.MachineError("There is no terminal to ask for the passphrase on.",
                              "Give it by --passphrase-file or MACHINE_PASSPHRASE.")
    with dm.Asking():
        words = getpass.getpass("Passphrase: ")
        if twice and getpass.getpass("Once more: ") != words:
            raise dm.MachineError("These are two passphrases.")
    return words


# --- import

def command_import(context, options, words):
    if len(words) != 1:
        raise dm.UsageError("Error: Expected one file as an argument",
                            "See: docker-machine import --help")
    files = unpacked(read_archive(words[0], options))
    store = context.store
    if "meta.json" in files:
        name, config, kept = from_context(store, files)
    elif "machine.json" in files and kind_of(files) == "access":
        name, config, kept = from_access(store, files)
    elif "config.json" in files:
        name, config, kept = from_machine(files, words[0])
    else:
        raise dm.MachineError("%s is not an export of docker-machine, machine-share or docker."
                              % words[0], "It has: " + ", ".join(sorted(files)[:5]))
    name = options["name"] or name
    dm.check_new_name(name)
    dm.refuse_existing(store, name)
    with store.lock(name):
        dm.refuse_existing(store, name)
        put(store, name, config, kept)
    store.tell_others(name)
    dm.out.say('Machine "%s" is here. To connect your Docker Client to it, run: docker-machine env '
               "%s" % (name, dm.quote(name)))


def read_archive(path, options):
    """The bytes of an archive, decrypted. Raises MachineError."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MOST_ARCHIVE + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MOST_ARCHIVE + 1)
    except OSError as error:
        raise dm.MachineError("%s cannot be read: %s." % (path, dm.reason(error)))
    if len(data) > MOST_ARCHIVE:
        raise dm.MachineError("%s is larger than any export." % path)
    return unseal(data, passphrase(options)) if data.startswith(SEALED) else data


def unpacked(data):
    """{name: bytes} of a tar or zip archive that has nothing but plain files. Raises MachineError.
    docker's own exports lack the padding at their end."""
    try:
        if data[:2] == b"PK":
            rows = list(zip_rows(data))
        else:
            rows = list(tar_rows(data + bytes(-len(data) % 512 + 1024)))
    except (tarfile.TarError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError,
            RuntimeError) as error:
        raise dm.MachineError("The file is not an archive that can be read: %s." % error)
    files = {}  # type: dict
    for name, data in rows:
        if name in files:
            raise dm.MachineError("The archive has %s twice." % dm.json_text(name))
        files[name] = data
    return files


def check_member(name, size, total, count):
    """Refuse what could be written anywhere else, and what is too much. Raises MachineError."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in name or not dm.is_line(name) or any(
            part in ("", ".", "..") for part in parts):
        raise dm.MachineError("The archive has a member with the name %s." % dm.json_text(name))
    if size + total > MOST_BYTES or count > MOST_FILES:
        raise dm.MachineError("There is more in the archive than in any export.")


def zip_rows(data):
    total = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for count, row in enumerate(archive.infolist()):
            if row.filename.endswith("/"):
                continue
            if row.external_attr >> 28 == 0xa:
                raise dm.MachineError("The archive has a link in it: %s" % dm.json_text(row.filename))
            check_member(row.filename, row.file_size, total, count)
            with archive.open(row) as file:
                text = file.read(MOST_BYTES + 1)  # whatever its header says
            total += len(text)
            check_member(row.filename, 0, total, count)
            yield row.filename, text


def tar_rows(data):
    total = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for count, row in enumerate(archive):
            if row.isdir():
                continue
            if not row.isreg():
                raise dm.MachineError("The archive has something else than files in it: %s"
                                      % dm.json_text(row.name))
            check_member(row.name, row.size, total, count)
            total += row.size
            yield row.name, archive.extractfile(row).read()  # type: ignore[union-attr]


def parsed(files, name):
    """A JSON object of the archive. Raises MachineError."""
    try:
        found = json.loads(files[name].decode("utf-8-sig"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise dm.MachineError("%s in the archive is not a JSON object." % name)
    return found


def kind_of(files):
    found = parsed(files, "machine.json")
    if found.get("Format") != FORMAT or found.get("Version") != VERSION:
        raise dm.MachineError("This export is of another release of docker-machine.",
                              "Take the release that made it.")
    return found.get("Kind")


def from_machine(files, path):
    """(name, config, files) of a whole machine, of ours or of machine-share."""
    config = parsed(files, "config.json")
    if "machine.json" in files:
        kind_of(files)
    raw = config.get("RawDriver")
    if raw and not config.get("Driver"):  # of the oldest releases
        try:
            config["Driver"] = json.loads(base64.b64decode(str(raw)).decode())
        except ValueError:
            raise dm.MachineError('"RawDriver" of the archive cannot be read.')
    kept = {}  # type: dict
    for member, data in files.items():
        folder, _, name = member.rpartition("/")
        if member not in ("config.json", "machine.json") and folder in ("", "certs"):
            kept.setdefault(name, data)
    name = config.get("Name")
    if "machine.json" not in files:  # its name is that of the file
        name = os.path.basename(path).rpartition(".")[0] or name
    return str(name or ""), config, kept


def from_context(store, files):
    """(name, config, files) of what docker exported: the URL of an engine and a client's pair."""
    meta = parsed(files, "meta.json")
    try:
        url = str(meta["Endpoints"]["docker"]["Host"])
    except (KeyError, TypeError):
        raise dm.MachineError("The context has no docker endpoint.")
    kept = {name: files["tls/docker/" + name] for name in CLIENT if "tls/docker/" + name in files}
    return str(meta.get("Name") or ""), url_config(store, url), kept


def from_access(store, files):
    """(name, config, files) of an answer to a certificate request of this store."""
    key = request_key(store)
    if not os.path.exists(key):
        raise dm.MachineError("The key of the request is not in this store: " + key,
                              "Import it where docker-machine csr was run.")
    missing = {"url", "ca.pem", "cert.pem"} - set(files)
    if missing:
        raise dm.MachineError("The archive lacks " + ", ".join(sorted(missing)))
    kept = {"ca.pem": files["ca.pem"], "cert.pem": files["cert.pem"], "key.pem": dm.read_bytes(key)}
    name = str(parsed(files, "machine.json").get("Name") or "")
    return name, url_config(store, files["url"].decode("utf-8", "replace")), kept


def url_config(store, url):
    """The config.json of a machine of the driver "none"."""
    machine = store.new("new", dm.load_driver("none"))
    if not re.match(r"tcp://[^\s/@]+\Z", url):
        raise dm.MachineError("The engine's URL %s cannot be used." % dm.json_text(url),
                              "Such machines are reached over TLS: tcp://HOST:PORT")
    machine.driver["URL"] = url
    machine.driver["IPAddress"] = dm.split_url(url)[0]
    return machine.config


def put(store, name, config, kept):
    """Write the machine's folder beside, check it, and put it in its place. Raises MachineError;
    then nothing is left of it."""
    config = found_here(config, store, name)
    folder = os.path.join(store.machines, ".new-" + name)
    dm.make_folder(store.machines)
    dm.clear_leftovers(store.machines, ".new-")
    try:
        dm.make_folder(folder)
        for file, data in kept.items():
            if not dm.is_plain_name(file):
                raise dm.MachineError("The archive has a member with the name "
                                      + dm.json_text(file))
            dm.write_atomic(os.path.join(folder, file), data)
        check_pair(folder)
        dm.write_atomic(os.path.join(folder, "config.json"), dm.go_json(config))
        os.rename(folder, store.folder(name))
        settle(store, name)
    except BaseException:
        shutil.rmtree(store.folder(name), ignore_errors=True)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(store, name):
    """Load the new entry as any command would, which brings an old one to this version."""
    with store.machine(name) as machine:
        machine.config["Driver"]["MachineName"] = name
        machine.config["Driver"]["StorePath"] = store.path
        machine.save()
        try:
            machine.driver.get("IPAddress")
        except dm.MachineError as error:
            dm.out.warn("%s %s" % (error.message, error.hint))


def check_pair(folder):
    """Refuse a client's pair that does not fit; tell of one that has expired or will soon."""
    ca, cert, key = (os.path.join(folder, name) for name in CLIENT)
    if not os.path.exists(cert):
        return
    try:
        dm.load_pair(cert, key)
        days = dm.days_left(cert)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise dm.MachineError("The client's certificate and key do not fit each other: %s"
                              % dm.reason(error))
    problem = dm.certificate_problem(cert, ca) if os.path.exists(ca) else "its CA is missing"
    if problem and "expired" not in problem:
        raise dm.MachineError("The client's certificate is not of the CA that came with it: %s"
                              % problem)
    if days < 30:
        dm.out.warn("The client's certificate %s." % (
            "has expired" if days < 0 else "ends in %d days" % days))


def found_here(config, store, name):
    """A config.json whose paths are where the machine's files will be. Where another home folder
    was cut off wrongly, or a path is of another system, its end tells what it was."""
    folder = store.folder(name)
    roles = {"{machine}": folder, "{certs}": store.certs, "{store}": store.path,
             "{home}": os.path.expanduser("~"), "{{HOME}}": os.path.expanduser("~")}

    def place(value):
        if isinstance(value, dict):
            return {key: place(one) for key, one in value.items()}
        if isinstance(value, list):
            return [place(one) for one in value]
        if not isinstance(value, str):
            return value
        tail = re.search(r"[/\\](?:machines[/\\][^/\\]+|certs(?:[/\\][^/\\]+)?)[/\\]([^/\\]+)\Z", value)
        if tail:
            return os.path.join(folder, tail.group(1))
        role = re.match(r"(\{\{HOME\}\}|\{[a-z]+\})(?:/(.*))?\Z", value, re.S)
        if role and role.group(1) in roles:
            parts = [part for part in (role.group(2) or "").split("/") if part]
            if ".." not in parts:
                return os.path.join(roles[role.group(1)], *parts)
        return value

    config["Driver"] = place(config.get("Driver"))
    options = config.setdefault("HostOptions", {})
    if isinstance(options, dict):
        auth = dict(options.get("AuthOptions") or {}, StorePath=folder, CertDir=store.certs)
        auth.update((key, os.path.join(folder, file)) for key, file in AUTH_FILES.items())
        options["AuthOptions"] = auth
    config["Name"] = name
    return config


# --- csr

def request_key(store):
    return os.path.join(store.certs, "access-key.pem")


def command_csr(context, options, words):
    key, path = request_key(context.store), options["output"]
    if path and path != "-" and os.path.exists(path):
        raise dm.MachineError("%s exists already." % path, "Name another file: --output FILE")
    dm.make_folder(context.store.certs)
    if not os.path.exists(key):
        with dm.Scratch() as folder:
            made = os.path.join(folder, "key.pem")
            dm.new_key(made)
            dm.copy_file(made, key)
    text = request_text(key)
    if path in ("", "-"):
        return dm.out.answer(text.rstrip("\n"))
    dm.write_atomic(path, text, 0o644)
    dm.out.say("%s is written. Send it to whoever has the machine, who answers with: "
               "docker-machine export --for-csr FILE NAME" % path)


def request_text(key):
    owner = re.sub(r"[^\w .@-]", "_", dm.certificate_owner())[:64]
    with dm.Scratch() as folder:
        config, request = os.path.join(folder, "config"), os.path.join(folder, "request.pem")
        dm.write_atomic(config, "[req]\ndistinguished_name=dn\nprompt=no\nutf8=yes\n[dn]\nO=%s\n" % owner)
        dm.openssl("req", "-new", "-sha256", "-config", config, "-key", key, "-out", request,
                   task="Making a certificate request")
        return dm.read_text(request)


OUTPUT = dm.Flag("output", "", "File to write; - is stdout", short="o")
PASSPHRASE = dm.Flag("passphrase-file", "", "File with the passphrase (or set MACHINE_PASSPHRASE)")
COMMANDS = {
    "csr": dm.Command(
        "csr", command_csr, "", "Ask for access to somebody else's machine: a certificate request",
        OUTPUT),
    "export": dm.Command(
        "export", command_export, "NAME", "Write a machine, or the access to it, into a file",
        OUTPUT,
        dm.Flag("encrypt", False, "Encrypt the file with a passphrase"),
        PASSPHRASE,
        dm.Flag("for", "", "What the file is for: ci (the engine's URL, and a client's "
                "certificate and key, as a docker context)", choices=("ci",)),
        dm.Flag("for-csr", "", "Certificate request of a colleague, who gets access to the engine")),
    "import": dm.Command(
        "import", command_import, "FILE", "Add a machine from a file of export, of machine-share "
        "or of docker context export", dm.Flag("name", "", "Another name for it"), PASSPHRASE),
}
