"""What every driver promises, whoever wrote it: docs/write-a-driver.md says it in words.

Each function whose name begins with `check_` is one claim; it takes a Subject. test_drivers.py runs all of them
over all drivers. A driver with required flags, or with a check of its own for values, has its row in SAMPLES.
"""

import ast
import copy
import functools
import inspect
import os
import re
import shutil
import sys

import pytest
from conftest import ROOT
from digitalocean import TOKEN

import docker_machine as core

# Flags with which a pre-create check comes to its end without a network, and values that are refused at once.
SAMPLES = {
    "none": {"url": "tcp://127.0.0.1:2376"},
    "generic": {"generic-ip-address": "127.0.0.1", "generic-ssh-port": 9},
    "digitalocean": {"digitalocean-access-token": TOKEN, "digitalocean-image": "gone"},
    "amazonec2": {"amazonec2-endpoint": "http://127.0.0.1:9", "amazonec2-access-key": "AKIAEXAMPLEEXAMPLE00",
                  "amazonec2-secret-key": "nobodys", "amazonec2-region": "us-east-1", "amazonec2-retries": -1},
    "azure": {"azure-subscription-id": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "azure-environment": "AzureChinaCloud",
              "azure-tenant-id": "t", "azure-client-id": "x", "azure-client-secret": "y"},
    "google": {"google-auth-encoded-json": "e30=", "google-project": "demo-1"},
    "exoscale": {"exoscale-url": "http://127.0.0.1:9/v2", "exoscale-api-key": "EXOx", "exoscale-api-secret-key": "x"},
    "softlayer": {"softlayer-api-endpoint": "http://127.0.0.1:9/rest/v3.1", "softlayer-user": "SL1",
                  "softlayer-api-key": "x", "softlayer-domain": "example.com"},
    "vmwarevcloudair": {"vmwarevcloudair-endpoint": "http://127.0.0.1:9", "vmwarevcloudair-org": "acme",
                        "vmwarevcloudair-username": "jane", "vmwarevcloudair-password": "secret-x",
                        "vmwarevcloudair-vdcid": "east"},
    "vmwarevsphere": {"vmwarevsphere-vcenter": "127.0.0.1", "vmwarevsphere-vcenter-port": 9,
                      "vmwarevsphere-username": "root", "vmwarevsphere-password": "secret-x"},
    "openstack": {"openstack-auth-url": "http://127.0.0.1:9/v3", "openstack-username": "demo",
                  "openstack-password": "example", "openstack-flavor-name": "small", "openstack-image-name": "debian"},
    "rackspace": {"rackspace-username": "demo", "rackspace-api-key": "example-key"},
}  # type: dict
PROVIDERS = {"digitalocean"}  # whose fixture of that name stands in for them
BAD = {
    "none": [("url", "")],
    "generic": [("generic-ip-address", "-oProxyCommand=x"), ("generic-ip-address", "a b"),
                ("generic-ssh-user", "-x"), ("generic-ssh-port", 65536), ("generic-engine-port", 0)],
    "qemu": [("qemu-memory", 0), ("qemu-disk-size", 0), ("qemu-cpu-count", 0), ("qemu-accel", "warp"),
             ("qemu-arch", "z80"), ("qemu-network", "eth0"), ("qemu-ssh-user", "a b"), ("qemu-forward", "http")],
    "virtualbox": [("virtualbox-memory", 511), ("virtualbox-disk-size", 999), ("virtualbox-cpu-count", 0),
                   ("virtualbox-cpu-count", 65), ("virtualbox-nat-nictype", "82540"),
                   ("virtualbox-hostonly-nictype", "e1000"), ("virtualbox-hostonly-nicpromisc", "allow"),
                   ("virtualbox-ui-type", "window"), ("virtualbox-share-folder", "/no/such/folder:name"),
                   ("virtualbox-share-folder", "/tmp"), ("virtualbox-hostonly-cidr", "192.168.56.1"),
                   ("virtualbox-hostonly-cidr", "192.168.56.0/24"), ("virtualbox-hostonly-cidr", "fe80::1/64"),
                   ("virtualbox-hostonly-cidr", "10.0.0.1/31")],
    "digitalocean": [("digitalocean-access-token", "a b"), ("digitalocean-ssh-user", "-x"),
                     ("digitalocean-ssh-port", 65536), ("digitalocean-ssh-key-fingerprint", "SHA256:x"),
                     ("digitalocean-ssh-key-path", "/no/such/key"), ("digitalocean-userdata", "/no/such/file"),
                     ("digitalocean-image", "../x"), ("digitalocean-region", "NYC 3"), ("digitalocean-size", "a/b"),
                     ("digitalocean-tags", "a b"), ("digitalocean-vpc-uuid", "x"), ("digitalocean-project-id", "x")],
    "amazonec2": [("amazonec2-access-key", "short"), ("amazonec2-secret-key", "a b"), ("amazonec2-secret-key", ""),
                  ("amazonec2-session-token", "a b"), ("amazonec2-access-key", "ASIAEXAMPLEEXAMPLE00"),
                  ("amazonec2-region", "us-east-1a"), ("amazonec2-region", "Frankfurt"), ("amazonec2-endpoint", "a b"),
                  ("amazonec2-instance-type", "large"), ("amazonec2-ami", "ubuntu"), ("amazonec2-vpc-id", "default"),
                  ("amazonec2-subnet-id", "subnet"), ("amazonec2-zone", "A"), ("amazonec2-open-port", "http"),
                  ("amazonec2-open-port", "0"), ("amazonec2-open-port", "20-10"), ("amazonec2-open-port", "80/icmp"),
                  ("amazonec2-open-port", "70000"), ("amazonec2-security-group", ""), ("amazonec2-tags", "aws:x,y"),
                  ("amazonec2-root-size", 0), ("amazonec2-volume-type", "st1"), ("amazonec2-device-name", "a b"),
                  ("amazonec2-http-tokens", "yes"), ("amazonec2-metadata-token", "yes"), ("amazonec2-ssh-user", "-x"),
                  ("amazonec2-ssh-port", 65536), ("amazonec2-ssh-keypath", "/no/such/key"),
                  ("amazonec2-kms-key", "a b"), ("amazonec2-userdata", "/no/such/file"),
                  ("amazonec2-spot-price", "cheap"), ("amazonec2-iam-instance-profile", "a b"),
                  ("amazonec2-ipv6-address-only", True),
                  ("amazonec2-http-endpoint", "on"), ("amazonec2-metadata-token-response-hop-limit", 65)],
    "azure": [("azure-environment", "Azure"), ("azure-environment", "AzureGermanCloud"), ("azure-tenant-id", "a/b"),
              ("azure-subscription-id", "x"), ("azure-client-id", "a b"), ("azure-resource-group", "a/b"),
              ("azure-resource-group", ""), ("azure-location", "west_us"), ("azure-size", "a b"),
              ("azure-image", "ubuntu"), ("azure-plan", "a:b"), ("azure-ssh-user", "root"), ("azure-ssh-user", "-x"),
              ("azure-ssh-user", "Administrator"), ("azure-ssh-keypath", "/no/such/key"),
              ("azure-docker-port", 65536), ("azure-custom-data", "/no/such/file"), ("azure-vnet", "a b"),
              ("azure-vnet", ""), ("azure-subnet", "a/b"), ("azure-subnet-prefix", "10.0.0.0"), ("azure-nsg", "a b"),
              ("azure-open-port", "http"), ("azure-open-port", "0"), ("azure-open-port", "20-10"),
              ("azure-open-port", "80/icmp"), ("azure-private-ip-address", "x"), ("azure-dns", "A"),
              ("azure-disk-size", 0), ("azure-tags", "a"), ("azure-storage-type", "UltraSSD_LRS"),
              ("azure-disk-encryption-set", "x"), ("azure-availability-set", "a b"), ("azure-fault-domain-count", 4),
              ("azure-update-domain-count", 21), ("azure-availability-zone", "a"), ("azure-spot-max-price", "cheap"),
              ("azure-spot-eviction-policy", "Stop")],
    "google": [("google-project", "My Project"), ("google-auth-encoded-json", "{}"), ("google-zone", "us-central1"),
               ("google-machine-type", "e2 small"), ("google-machine-image", "a b"), ("google-username", "root"),
               ("google-username", "-x"), ("google-ssh-keypath", "/no/such/key"), ("google-disk-size", 9),
               ("google-userdata", "/no/such/file"), ("google-service-account", "a b"), ("google-scopes", "a;b"),
               ("google-disk-type", "SSD"), ("google-network", "a b"),
               ("google-subnetwork", "a b"), ("google-address", "A"), ("google-stack-type", "IPV6"),
               ("google-open-port", "http"), ("google-open-port", "0"), ("google-open-port", "20-10"),
               ("google-open-port", "80/icmp"), ("google-tags", "A"), ("google-label", "a=b"), ("google-label", "A:b"),
               ("google-vm-labels", "a,B"), ("google-metadata", "a"), ("google-metadata-from-file", "a=/no/such/file"),
               ("google-external-firewall-rule-prefix", "1"), ("google-accelerator", "nvidia"),
               ("google-maintenance-policy", "migrate"),
               ("google-operation-backoff-max-elapsed-time", 0), ("google-flex-selection", ["e2-small"])],
    "exoscale": [("exoscale-url", "api.exoscale.com"), ("exoscale-api-key", "a b"), ("exoscale-api-secret-key", "a b"),
                 ("exoscale-api-secret-key", ""), ("exoscale-instance-profile", "a b"), ("exoscale-disk-size", 9),
                 ("exoscale-disk-size", 51201), ("exoscale-security-group", "a\nb"), ("exoscale-ssh-user", "-x"),
                 ("exoscale-availability-zone", "Zurich"), ("exoscale-ssh-key", "/no/such/key"),
                 ("exoscale-userdata", "/no/such/file"), ("exoscale-affinity-group", "a\nb")],
    "hyperv": [("hyperv-disk-size", 2999), ("hyperv-memory", 511), ("hyperv-memory", 1025), ("hyperv-cpu-count", 0),
               ("hyperv-static-macaddress", "00:15"), ("hyperv-vlan-id", 4095), ("hyperv-ssh-user", "-x")],
    "vmwarefusion": [("vmwarefusion-memory-size", 511), ("vmwarefusion-memory-size", 1025),
                     ("vmwarefusion-disk-size", 2999), ("vmwarefusion-cpu-count", 65), ("vmwarefusion-ssh-user", "-x"),
                     ("vmwarefusion-network-type", "x"), ("vmwarefusion-wait-ip", 0)],
    "softlayer": [("softlayer-user", ""), ("softlayer-user", "a:b"), ("softlayer-api-key", ""),
                  ("softlayer-api-key", "a b"), ("softlayer-api-endpoint", ""), ("softlayer-api-endpoint", "a b"),
                  ("softlayer-region", ""), ("softlayer-region", "Dallas"), ("softlayer-image", "a b"),
                  ("softlayer-flavor", "B1-1"), ("softlayer-cpu", 0), ("softlayer-memory", 0),
                  ("softlayer-network-max-speed", 0), ("softlayer-hostname", "a.b"), ("softlayer-domain", "a b"),
                  ("softlayer-domain", ""), ("softlayer-public-vlan-id", 7), ("softlayer-private-vlan-id", 7),
                  ("softlayer-userdata", "/no/such/file")],
    "vmwarevcloudair": [("vmwarevcloudair-endpoint", ""), ("vmwarevcloudair-endpoint", "vcd.example.com"),
                        ("vmwarevcloudair-username", ""), ("vmwarevcloudair-username", "a:b"),
                        ("vmwarevcloudair-password", ""), ("vmwarevcloudair-vdcid", ""), ("vmwarevcloudair-org", ""),
                        ("vmwarevcloudair-api-token", "a b"), ("vmwarevcloudair-ca-cert", "/no/such/file"),
                        ("vmwarevcloudair-ip-allocation", "manual"), ("vmwarevcloudair-publicip", "a b"),
                        ("vmwarevcloudair-cpu-count", 0), ("vmwarevcloudair-memory-size", 100),
                        ("vmwarevcloudair-ssh-user", "-x"), ("vmwarevcloudair-ssh-port", 65536),
                        ("vmwarevcloudair-docker-port", 0), ("vmwarevcloudair-guest", "ignition"),
                        ("vmwarevcloudair-userdata", "/no/such/file")],
    "vmwarevsphere": [("vmwarevsphere-vcenter", ""), ("vmwarevsphere-vcenter-port", 65536),
                      ("vmwarevsphere-username", ""), ("vmwarevsphere-password", ""),
                      ("vmwarevsphere-ca-cert", "/no/such/file"), ("vmwarevsphere-cpu-count", 0),
                      ("vmwarevsphere-memory-size", 511), ("vmwarevsphere-disk-size", 1023),
                      ("vmwarevsphere-creation-type", "vm"), ("vmwarevsphere-creation-type", "x"),
                      ("vmwarevsphere-content-library", "lib"), ("vmwarevsphere-seed", "x"),
                      ("vmwarevsphere-cloud-config", "/no/such/file"), ("vmwarevsphere-custom-attribute", "a"),
                      ("vmwarevsphere-vapp-transport", "x"), ("vmwarevsphere-vapp-property", "a"),
                      ("vmwarevsphere-vapp-ipprotocol", "IPv5"), ("vmwarevsphere-vapp-ipallocationpolicy", "x"),
                      ("vmwarevsphere-ssh-user", "-x"), ("vmwarevsphere-ssh-port", 65536),
                      ("vmwarevsphere-ssh-user-group", "-x"), ("vmwarevsphere-os", "windows"),
                      ("vmwarevsphere-graceful-shutdown-timeout", -1)],
    "openstack": [("openstack-auth-url", "keystone"), ("openstack-auth-url", ""), ("openstack-cacert", "/no/such/file"),
                  ("openstack-password", ""), ("openstack-username", ""), ("openstack-token", "a b"),
                  ("openstack-endpoint-type", "private"), ("openstack-flavor-name", ""), ("openstack-flavor-id", "1"),
                  ("openstack-image-name", ""), ("openstack-image-id", "1"), ("openstack-ip-version", 5),
                  ("openstack-ssh-user", "-x"), ("openstack-ssh-port", 65536), ("openstack-active-timeout", 0),
                  ("openstack-user-data-file", "/no/such/file"), ("openstack-private-key-file", "/no/such/key"),
                  ("openstack-boot-from-volume", True), ("openstack-volume-device-path", "vdb"),
                  ("openstack-keypair-name", "-x")],
    "rackspace": [("rackspace-username", ""), ("rackspace-api-key", ""), ("rackspace-api-key", "a b"),
                  ("rackspace-region", ""), ("rackspace-endpoint-type", "publicUrl"), ("rackspace-ssh-user", "-x"),
                  ("rackspace-ssh-port", 65536), ("rackspace-active-timeout", 0),
                  ("rackspace-user-data-file", "/no/such/file")],
}  # type: dict
METHODS = sorted(name for name in vars(core.Driver) if name[0] != "_" and callable(getattr(core.Driver, name)))
OWN_DOORS = {"qemu": {"subprocess"}}  # a program that outlives the command, which no door of the core starts
NO_SECRETS = {"amazonec2-metadata-token"}  # whether a token is required, under its name of old
FOREIGN = {"none"}  # its flag is older than the rule that names begin with the driver's
SECRET = re.compile(r"(^|-)(password|passphrase|secret|token|api-key|access-key|secret-key)$")
KINDS = bool, int, str, list
BASE = dict(core.BASE_FIELDS)


class Subject:
    """A driver under test, and what is needed to try it."""

    def __init__(self, name, fixture):
        self.name, self.fixture = name, fixture  # fixture(name), since few checks need a store
        self.driver = core.load_driver(name)
        self.extra = self.driver.__module__ != core.__name__
        self.path = inspect.getfile(self.driver)
        self.documented = not self.extra or os.path.dirname(os.path.realpath(self.path)) == str(ROOT / "extras")

    @property
    def source(self):
        return _source(self.driver)[0]

    @property
    def tree(self):
        return _source(self.driver)[1]

    @property
    def store(self):
        return self.fixture("store")

    def call(self, *words, **env):
        if self.name in PROVIDERS:
            self.fixture(self.name)
        env.setdefault("MACHINE_DRIVER_PATH", os.environ.get("MACHINE_DRIVER_PATH"))
        return self.fixture("call")(*words, **env)

    def options(self, **changes):
        """What the parser gives for a command line that is right; `changes` with _ for -."""
        words = ["--%s=%s" % item for item in self.sample().items()]
        options, rest = core.parse_flags(core.create_flags(self.driver), words, {})
        assert rest == []
        options.update((key.replace("_", "-"), value) for key, value in changes.items())
        return options

    def sample(self):
        made_up = {flag.name: "example" for flag in self.driver.flags if flag.required}
        return dict(made_up, **SAMPLES.get(self.name, {}))

    def default(self, name):
        return {flag.name: flag.default for flag in self.driver.flags}[name]

    def bare_path(self):
        """A PATH with what the core itself needs, and nothing else."""
        folder = self.fixture("tmp_path") / "bin"
        folder.mkdir()
        for name in ("openssl", "ssh", "ssh-keygen"):
            (folder / name).symlink_to(shutil.which(name))
        return folder

    def machine(self, name="web"):
        return self.store.new(name, self.driver)

    def added(self, name="web"):
        """A machine that is in the store, and of which nothing was made yet."""
        machine = self.machine(name)
        machine.driver.set_config_from_flags(self.options())
        self.store.add(machine)
        return machine

    def create(self, *words, **env):
        assert self.store  # which has certificates
        flags = ["--%s=%s" % item for item in self.sample().items()]
        return self.call("create", "-d", self.name, *(flags + list(words) + ["web"]), **env)

    def calls(self):
        """The names of all functions that its source calls, with what stands before the dot."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                left = node.func.value
                yield "%s.%s" % (left.id if isinstance(left, ast.Name) else "", node.func.attr)


def _source(driver):
    """Text and syntax tree: of the file of an extra, of the class of a built-in one."""
    return _parsed(inspect.getfile(driver), driver.__name__ if driver.__module__ == core.__name__ else "")


@functools.lru_cache(None)
def _parsed(path, built_in):
    with open(path, encoding="utf-8") as file:
        text = inspect.getsource(getattr(core, built_in)) if built_in else file.read()
    return text, ast.parse(text)


# --- class, flags and fields

def check_it_says_what_it_is(subject):
    driver = subject.driver
    assert driver.name == subject.name and issubclass(driver, core.Driver)
    assert (driver.__doc__ or "") not in ("", core.Driver.__doc__)
    assert re.match(r"[a-z][a-z0-9-]*$", driver.name)
    for attribute in ("default_user", "provisions", "boot_seconds", "patience", "by_hand"):
        value, base = getattr(driver, attribute), getattr(core.Driver, attribute)
        assert isinstance(value, type(base)) and value not in ("", None), attribute


def check_flags_are_rows_with_names_of_their_own(subject):
    flags = subject.driver.flags
    assert type(flags) is tuple and all(type(flag) is core.Flag for flag in flags)
    for flag in flags:
        assert type(flag.default) in KINDS, flag.name
        assert re.match(r"[a-z][a-z0-9]*(-[a-z0-9]+)*$", flag.name), flag.name
        assert flag.name.startswith(subject.name + "-") or subject.name in FOREIGN, flag.name
        assert flag.help.strip() == flag.help != "" and "\n" not in flag.help, flag.name
        assert not flag.short, "short flags are create's own"
        assert not (flag.required and flag.default), "%s is required, so its default is never seen" % flag.name
    names = [flag.name for flag in core.create_flags(subject.driver) + [core.HELP_FLAG, core.GLOBAL_FLAGS[0]]]
    assert len(set(names)) == len(names)


def check_variables_give_the_values_of_their_flags(subject):
    flags = [flag for flag in subject.driver.flags if flag.env]
    variables = [flag.env for flag in core.GLOBAL_FLAGS + core.CREATE_FLAGS + subject.driver.flags if flag.env]
    assert len(set(variables)) == len(variables)
    samples = {bool: ("true", True), int: ("7", 7), str: ("text", "text"), list: ("a,b", ["a", "b"])}
    for flag in flags:
        assert re.match(r"[A-Z][A-Z0-9_]*$", flag.env)
        text, value = samples[type(flag.default)]
        options, _ = core.parse_flags(core.create_flags(subject.driver), [], {flag.env: text})
        assert options[flag.name] == value


def check_each_value_has_a_field_of_its_own(subject):
    driver = subject.driver
    stored = [(flag.field, flag.default) for flag in driver.flags if flag.field] + list(driver.fields)
    keys = [key for key, _ in stored]
    assert len(set(keys)) == len(keys)
    for key, default in stored:
        assert re.match(r"[A-Za-z][A-Za-z0-9]*$", key)
        assert type(default) in KINDS + (dict, float, type(None)), key
        assert key not in BASE or type(default) is type(BASE[key]), key
        assert key not in ("MachineName", "StorePath"), "%s is the program's" % key
    assert core.parse_json(core.go_json(dict(stored))) == dict(stored)


def check_secrets_are_marked_and_never_shown(subject):
    flags = subject.driver.flags
    unmarked = [flag.name for flag in flags if SECRET.search(flag.name) and not flag.secret
                and flag.name not in NO_SECRETS]
    assert unmarked == []
    secrets = [flag for flag in flags if flag.secret]
    assert [flag.name for flag in secrets if not flag.env] == [], "a shell's history would be the only way in"
    machine = subject.machine()
    for flag in secrets:
        assert isinstance(flag.default, str) and not flag.default
        machine.driver[flag.field] = "hunter2-" + flag.name
    subject.store.add(machine)
    shown = subject.call("--debug", "inspect", "web")
    assert shown.code == 0 and "hunter2" not in shown.out + shown.err


def check_a_new_machine_has_all_fields_at_their_defaults(subject):
    config = subject.machine().driver.config
    expected = dict(BASE, MachineName="web", StorePath=subject.store.path)
    expected.update({flag.field: flag.default for flag in subject.driver.flags if flag.field})
    expected.update(subject.driver.fields)
    if issubclass(subject.driver, core.CloudDriver):
        for field in filter(None, ("CreateTag", subject.driver.id_field, subject.driver.key_id_field)):
            expected.setdefault(field, "")
    assert config == expected


def check_the_defaults_of_the_parser_are_those_that_are_stored(subject):
    options, _ = core.parse_flags(core.create_flags(subject.driver), [], {})
    config = subject.machine().driver.config
    for flag in subject.driver.flags:
        assert options[flag.name] == flag.default, flag.name
        assert not flag.field or config[flag.field] == flag.default, flag.name


def check_machines_share_no_lists(subject):
    before = copy.deepcopy([flag.default for flag in subject.driver.flags]), copy.deepcopy(subject.driver.fields)
    config = subject.machine().driver.config
    for value in config.values():
        if isinstance(value, list):
            value.append("changed")
        elif isinstance(value, dict):
            value["changed"] = "changed"
    assert ([flag.default for flag in subject.driver.flags], subject.driver.fields) == before


def check_what_is_stored_comes_back_as_it_was(subject):
    written = subject.added().driver
    read = subject.store.machine("web").driver
    assert type(read) is subject.driver
    assert read.config == written.config
    assert subject.call("inspect", "web").code == 0


# --- verbs

def check_every_verb_has_the_signature_of_the_base(subject):
    for verb in METHODS:
        ours, base = getattr(subject.driver, verb), getattr(core.Driver, verb)
        assert inspect.signature(ours) == inspect.signature(base), verb
    for verb in ("create", "get_state"):
        assert getattr(subject.driver, verb) is not getattr(core.Driver, verb), verb


def check_a_flag_that_is_required_cannot_be_left_out(subject):
    for flag in subject.driver.flags:
        if flag.required:
            with pytest.raises(core.UsageError) as failure:
                subject.machine().driver.set_config_from_flags(
                    subject.options(**{flag.name.replace("-", "_"): flag.default}))
            assert "--" + flag.name in failure.value.message


def check_bad_values_are_refused_by_name_before_anything_is_made(subject):
    path = subject.bare_path()  # where nothing is to be made in any case
    bad = [(flag.name, -2) for flag in subject.driver.flags if type(flag.default) is int]  # -1 can stand for all
    for name, value in bad + BAD.get(subject.name, []):
        given = [value] if isinstance(subject.default(name), list) else value
        machine = subject.machine()
        with pytest.raises(core.MachineError) as failure:
            machine.driver.set_config_from_flags(subject.options(**{name.replace("-", "_"): given}))
        assert "--" + name in failure.value.message, (name, value)
        assert not os.path.exists(machine.folder)
        ended = subject.create("--%s=%s" % (name, value), PATH=path)
        assert ended.code in (1, 2) and "--" + name in ended.err, (name, value, ended)
        assert subject.store.names() == [], (name, value)


def check_without_its_programs_and_packages_create_says_what_to_install(subject):
    """Where it needs none, nothing is lacking, or nothing answers at the sample's address."""
    subject.fixture("pauses")  # it tries several times
    ended = subject.create(PATH=subject.bare_path())
    lines = ended.err.splitlines()
    assert ended.code in (0, 3), ended
    assert ended.code == 0 or 2 <= len(lines) <= 3 and all(lines), ended
    assert subject.store.names() == (["web"] if ended.code == 0 else []), ended
    assert not subject.driver.provisions or ended.code == 3, "nothing can have been made"


def check_what_was_never_made_counts_as_removed(subject):
    for machine in (subject.machine("fresh"), subject.added("stored")):
        there = os.path.isdir(machine.folder)
        for _ in range(2):
            assert machine.driver.remove() is None
        assert os.path.isdir(machine.folder) == there
    ended = subject.call("rm", "-y", "stored")
    assert (ended.code, ended.err) == (0, "")
    assert subject.store.names() == []


def check_an_entry_that_lacks_all_fields_can_be_listed_and_removed(subject):
    """As one of an older release of the driver, or one that was edited."""
    machine = subject.machine("old")
    machine.config["Driver"] = {key: value for key, value in machine.config["Driver"].items() if key in BASE}
    subject.store.add(machine)
    listed = subject.call("ls", "-t", "4")
    assert listed.code == 0 and listed.out.splitlines()[1].split()[0] == "old"
    assert "config.json cannot be used" not in listed.out
    for words in (["status", "old"], ["url", "old"], ["ip", "old"]):
        subject.call(*words)  # which see to it that nothing unexpected happens
    assert subject.call("rm", "-f", "old").code == 0
    assert subject.store.names() == []


def check_what_it_tells_doctor_are_findings(subject):
    for path in (os.environ["PATH"], str(subject.bare_path())):
        subject.fixture("monkeypatch").setenv("PATH", path)
        for found in subject.machine().driver.checks():
            assert isinstance(found, core.Finding) and found.level in ("ok", "note", "bad")
            assert subject.name in found.subject.lower() and found.words and "\n" not in found.words
            assert found.level != "bad" or found.fix, found.words


# --- how users find it

def check_help_and_completion_know_its_flags(subject):
    flags = {"--" + flag.name for flag in subject.driver.flags}
    shown = subject.call("create", "-d", subject.name, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert flags <= set(re.findall(r"^   (--[a-z0-9-]+)", shown.out, re.M))
    offered = subject.call("completion", "bash", "create", "-d", subject.name, "--")
    assert flags <= set(offered.out.split())
    assert subject.name in subject.call("completion", "bash", "create", "-d", "").out.split()


def check_the_reference_has_each_flag(subject):
    if not subject.documented:
        return
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert "`%s`" % subject.name in text
    lacking = [flag.name for flag in subject.driver.flags if not re.search(r"`--%s[` ]" % flag.name, text)]
    assert lacking == []
    assert "`%s`" % subject.name in (ROOT / "README.md").read_text(encoding="utf-8")


# --- the source

def check_it_neither_prints_nor_prompts_nor_exits(subject):
    forbidden = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "os.system", "os.popen", "os.chdir",
                 "stdout.write", "stderr.write", "time.sleep"}
    assert forbidden & set(subject.calls()) == set()
    assert not [node for node in ast.walk(subject.tree) if isinstance(node, ast.Attribute)
                and node.attr in ("stdout", "stderr", "stdin") and isinstance(node.value, ast.Name)
                and node.value.id == "sys"]


def check_it_leaves_the_process_by_the_doors_alone(subject):
    allowed = OWN_DOORS.get(subject.name, set())
    modules = {alias.name.partition(".")[0] for node in ast.walk(subject.tree) if isinstance(node, ast.Import)
               for alias in node.names}
    modules |= {(node.module or "").partition(".")[0] for node in ast.walk(subject.tree)
                if isinstance(node, ast.ImportFrom)}
    assert modules & {"subprocess", "urllib", "http", "requests", "typing", "dataclasses", "asyncio"} <= allowed


def check_it_imports_little_and_only_what_the_core_offers(subject):
    if not subject.extra:
        return
    for node in ast.walk(subject.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "docker_machine":
            assert {alias.name for alias in node.names} - set(core.__all__) == set()
            assert node in subject.tree.body, "within functions it may be another docker_machine"
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "extras/ is no package"
        elif isinstance(node, ast.Import):
            assert "docker_machine" not in [alias.name for alias in node.names]
    at_start = {alias.name for node in subject.tree.body if isinstance(node, ast.Import) for alias in node.names}
    at_start |= {str(node.module) for node in subject.tree.body if isinstance(node, ast.ImportFrom)}
    assert at_start <= {"os", "sys", "docker_machine"}, "every command on its machines waits for these"


def check_it_reads_like_the_rest(subject):
    if not subject.extra:
        return
    lines = subject.source.splitlines()
    assert "# SPDX-License-Identifier: Apache-2.0" in lines[:2] or not subject.documented
    assert ast.get_docstring(subject.tree)
    assert [number for number, line in enumerate(lines, 1)
            if len(line) > 100 or "\t" in line or line != line.rstrip()] == []
    if sys.version_info >= (3, 8):
        ast.parse(subject.source, feature_version=(3, 6))


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
