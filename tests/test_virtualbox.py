"""The VirtualBox driver against the stand-in for VBoxManage: what it asks VirtualBox for, and what it leaves there."""

import http.server
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from vbox import service

import docker_machine as core

ROW = "HostInterfaceNetworking-"
FLAGS = {  # flag: (environment variable, default, stored field), as Docker Machine has them but for the CIDR
    "memory": ("VIRTUALBOX_MEMORY_SIZE", 1024, "Memory"), "cpu-count": ("VIRTUALBOX_CPU_COUNT", 1, "CPU"),
    "disk-size": ("VIRTUALBOX_DISK_SIZE", 20000, "DiskSize"),
    "boot2docker-url": ("VIRTUALBOX_BOOT2DOCKER_URL", "", "Boot2DockerURL"),
    "import-boot2docker-vm": ("VIRTUALBOX_BOOT2DOCKER_IMPORT_VM", "", "Boot2DockerImportVM"),
    "host-dns-resolver": ("VIRTUALBOX_HOST_DNS_RESOLVER", False, "HostDNSResolver"),
    "nat-nictype": ("VIRTUALBOX_NAT_NICTYPE", "82540EM", "NatNicType"),
    "hostonly-cidr": ("VIRTUALBOX_HOSTONLY_CIDR", "192.168.56.1/24", "HostOnlyCIDR"),
    "hostonly-nictype": ("VIRTUALBOX_HOSTONLY_NIC_TYPE", "82540EM", "HostOnlyNicType"),
    "hostonly-nicpromisc": ("VIRTUALBOX_HOSTONLY_NIC_PROMISC", "deny", "HostOnlyPromiscMode"),
    "ui-type": ("VIRTUALBOX_UI_TYPE", "headless", "UIType"),
    "hostonly-no-dhcp": ("VIRTUALBOX_HOSTONLY_NO_DHCP", False, "HostOnlyNoDHCP"),
    "no-share": ("VIRTUALBOX_NO_SHARE", False, "NoShare"),
    "no-dns-proxy": ("VIRTUALBOX_NO_DNS_PROXY", False, ""),
    "no-vtx-check": ("VIRTUALBOX_NO_VTX_CHECK", False, "NoVTXCheck"),
    "share-folder": ("VIRTUALBOX_SHARE_FOLDER", "", "ShareFolder"),
}
STORED = dict({field: default for _, default, field in FLAGS.values() if field},
              VBoxManager={}, HostInterfaces={}, DNSProxy=True)


# --- images

def an_iso(label="Boot2Docker-v19.03.12", size=40960):
    """Bytes that look like an ISO with that label."""
    data = bytearray(size)
    data[32768:32774] = b"\1CD001"
    data[32808:32840] = label.encode().ljust(32)
    struct.pack_into("<I", data, 32768 + 80, size // 2048)
    return bytes(data)


def a_qcow2(megabytes=2000, backing=0):
    return struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 0, 16, megabytes << 20).ljust(65536, b"\0")


def a_raw_disk(megabytes=2):
    return bytes(510) + b"\x55\xaa" + bytes((megabytes << 20) - 512)


# --- one VirtualBox and one store

@pytest.fixture(scope="session")
def service_port():
    """The port of a process that runs the calls of the stand-in, or None where it cannot be had."""
    if not (shutil.which("bash") and os.path.isdir("/proc/self/fd")):
        yield None
        return
    process = subprocess.Popen([sys.executable, "-IS", service.__file__], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    yield int(process.stdout.readline())
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def vbox(vbox, service_port):
    if service_port:
        Path(vbox.program).write_text(service.CLIENT % (shutil.which("bash"), service_port, vbox.folder))
    return vbox


class Here:
    """A VirtualBox and a store as this very process finds them; `box` is the VirtualBox."""

    def __init__(self, box, store, folder):
        self.box, self.store, self.folder = box, store, folder
        self.iso = folder / "images" / "b2d.iso"
        self.iso.parent.mkdir()
        self.iso.write_bytes(an_iso())

    def machine(self, name="web", **flags):
        """A machine of these flags (hostonly_cidr="10.0.0.1/8") that is not in the store yet."""
        machine = self.store.new(name, core.load_driver("virtualbox"))
        given = {"boot2docker_url": str(self.iso)}
        words = ["--virtualbox-%s=%s" % (flag.replace("_", "-"), value)
                 for flag, value in dict(given, **flags).items()]
        machine.driver.set_config_from_flags(core.parse_flags(core.create_flags(type(machine.driver)), words, {})[0])
        return machine

    def create(self, name="web", **flags):
        """A machine whose VM runs and that was never provisioned."""
        machine = self.machine(name, **flags)
        machine.driver.pre_create_check()
        self.store.add(machine)
        machine.driver.create()
        return self.finish(machine)

    @staticmethod
    def finish(machine):
        machine.save()
        machine.mark("")
        return machine

    def load(self, name="web"):
        return self.store.load(name)

    def vm(self, name="web"):
        return self.box.vm(name)

    def lists(self):
        """What VirtualBox and the store hold, but for certificates."""
        state = self.box.state()
        held = {key: state[key] for key in ("vms", "media", "hostonlyifs", "hostonlynets", "dhcpservers", "extradata")}
        return dict(held, store=self.store.names())


@pytest.fixture
def here(dm, vbox, store, tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("VIRTUALBOX_", "VBOX_", "MACHINE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in dm.env.items():
        monkeypatch.setenv(name, value)
    for name in ("NETWORKS_CONF", "ROUTES"):  # files of this computer
        monkeypatch.setattr(core, name, str(tmp_path / name), raising=False)
    core.GLANCE.clear()
    return Here(vbox, store, tmp_path)


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    return tmp_path_factory.mktemp("templates")


@pytest.fixture
def web(here, templates):
    """The machine "web" whose VM runs, at 192.168.56.101; made once, and copied for each test."""
    folder = templates / "web"
    if not folder.exists():
        here.create("web", no_share="true")
        keep(here, folder)
    restore(here, folder)
    return here.load()


def keep(here, folder):
    """Copy the store and VirtualBox's state."""
    shutil.copytree(str(here.store.machines), str(folder / "machines"))
    shutil.copy(str(here.box.folder / "state.json"), str(folder))
    (folder / "place").write_text(str(here.folder))


def restore(here, folder):
    """Put back what keep() copied, at another place maybe."""
    place = (folder / "place").read_text()
    shutil.rmtree(here.store.machines, ignore_errors=True)
    shutil.copytree(str(folder / "machines"), here.store.machines)
    for path in Path(here.store.machines).glob("*/config.json"):
        path.write_text(path.read_text().replace(place, str(here.folder)))
    (here.box.folder / "state.json").write_text((folder / "state.json").read_text().replace(place, str(here.folder)))
    here.box.forget_calls()


@pytest.fixture
def iso_words(here):
    return ["--virtualbox-boot2docker-url=%s" % here.iso]


@pytest.fixture
def fast_clock(monkeypatch):
    """Every second of a deadline passes a hundred times as fast."""
    start, real = time.monotonic(), time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: start + 100 * (real() - start))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of a Web, which may be keyed by whole URLs: then it is a proxy."""

    web = None  # type: Web

    def do_GET(self):
        self.web.asked.append((self.path, self.headers.get("Authorization")))
        data = self.web.files.get(self.path)
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *words):
        pass


class Web:
    """A web server on 127.0.0.1; `asked` is what was asked of it, with the Authorization that came along."""

    def __init__(self):
        self.files, self.asked = {}, []  # type: dict, list
        self.server = http.server.HTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"web": self}))
        self.url = "http://127.0.0.1:%d/" % self.server.server_port

    def times(self, path):
        return [asked for asked, _ in self.asked].count(path)


@pytest.fixture
def web_server():
    web = Web()
    threading.Thread(target=web.server.serve_forever, args=(0.02,), daemon=True).start()
    yield web
    web.server.shutdown()
    web.server.server_close()


# --- flags

def test_the_flags_are_docker_machines_with_one_more():
    flags = {flag.name[len("virtualbox-"):]: (flag.env, flag.default, flag.field)
             for flag in core.load_driver("virtualbox").flags}
    assert flags.pop("dns-proxy") == ("VIRTUALBOX_DNS_PROXY", False, "")
    assert flags == FLAGS
    assert not any(flag.required or flag.secret for flag in core.load_driver("virtualbox").flags)


def test_a_machine_stores_docker_machines_fields_with_their_types(here):
    machine = here.machine("web", boot2docker_url="")
    here.store.add(machine)
    stored = json.loads((Path(machine.folder) / "config.json").read_text())
    assert stored["DriverName"] == "virtualbox"
    assert {key: stored["Driver"].get(key) for key in STORED} == STORED
    assert {key: type(stored["Driver"][key]) for key in STORED} == {key: type(STORED[key]) for key in STORED}
    assert stored["Driver"]["SSHUser"] == "docker"
    assert stored["Driver"]["SSHKeyPath"] == os.path.join(machine.folder, "id_rsa")


@pytest.mark.parametrize("name", [name for name in sorted(FLAGS) if FLAGS[name][2]])
def test_a_flag_and_its_environment_variable_end_up_in_the_field(here, tmp_path, name):
    variable, default, field = FLAGS[name]
    given = {"ui-type": "gui", "nat-nictype": "virtio", "hostonly-nictype": "Am79C973",
             "hostonly-nicpromisc": "allow-vms", "hostonly-cidr": "10.3.0.1/16", "share-folder": "%s:x" % tmp_path,
             "cpu-count": -1}.get(name, {int: 2345, bool: True, str: "example"}[type(default)])
    flags = core.create_flags(core.load_driver("virtualbox"))
    for words, environ in ((["--virtualbox-%s=%s" % (name, given)], {}), ([], {variable: str(given)})):
        machine = here.store.new("web", core.load_driver("virtualbox"))
        machine.driver.set_config_from_flags(core.parse_flags(flags, words, environ)[0])
        assert machine.driver[field] == given != default


@pytest.mark.parametrize("flags, proxy", [
    ({}, True), ({"no_dns_proxy": "true"}, False), ({"dns_proxy": "true"}, True), ({"no_dns_proxy": "false"}, True)])
def test_the_dns_proxy_is_on_unless_it_is_refused(here, flags, proxy):
    assert here.machine(**flags).driver["DNSProxy"] is proxy


def test_each_flag_reaches_virtualbox(here, tmp_path):
    shared = tmp_path / "my files"
    shared.mkdir()
    here.create(memory=2048, cpu_count=3, disk_size=30000, nat_nictype="virtio", hostonly_nictype="Am79C973",
                hostonly_nicpromisc="allow-all", host_dns_resolver="true", no_dns_proxy="true", ui_type="gui",
                share_folder="%s:data" % shared)
    vm, options = here.vm(), here.vm()["options"]
    assert (options["memory"], options["cpus"]) == ("2048", "3")
    assert (options["natdnshostresolver1"], options["natdnsproxy1"]) == ("on", "off")
    assert (vm["nics"]["1"]["kind"], vm["nics"]["1"]["type"]) == ("nat", "virtio")
    assert (vm["nics"]["2"]["kind"], vm["nics"]["2"]["type"], vm["nics"]["2"]["promisc"]) == (
        "hostonly", "Am79C973", "allow-all")
    assert vm["session"] == "gui"
    assert vm["folders"] == [["data", str(shared), True]]
    assert vm["extradata"] == {"VBoxInternal2/SharedFoldersEnableSymlinksCreate/data": "1"}
    assert [medium["size"] for medium in here.box.state()["media"] if medium["kind"] == "hdd"] == [30000]


def test_without_flags_virtualbox_gets_the_defaults(here):
    here.create()
    vm, options = here.vm(), here.vm()["options"]
    assert (options["memory"], options["cpus"], options["natdnshostresolver1"], options["natdnsproxy1"]) == (
        "1024", "1", "off", "on")
    assert {(nic["type"], nic["promisc"], nic["cable"]) for nic in vm["nics"].values()} == {("82540EM", "deny", "on")}
    assert vm["session"] == "headless"
    assert [folder[:2] for folder in vm["folders"]] == ([["hosthome", "/home"]] if os.path.isdir("/home") else [])
    assert [medium["size"] for medium in here.box.state()["media"] if medium["kind"] == "hdd"] == [20000]


def test_minus_one_cpu_means_all_of_this_computer(here, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    here.create(cpu_count=-1, no_share="true")
    assert here.vm()["options"]["cpus"] == "6"
    assert here.load().driver["CPU"] == -1
    assert here.vm()["folders"] == []


# --- bad input

@pytest.fixture
def refused(here, call):
    """refused(*flags): `create` with them fails and leaves nothing; gives how it ended."""
    def run(*words, **env):
        before = here.lists()
        ended = call("create", "-d", "virtualbox", *(words + ("web",)), **env)
        assert ended.code not in (0, None) and ended.err
        assert here.lists() == before
        assert not any(here.store.machines in str(path) for path in here.box.folder.rglob("*"))
        return ended
    return run


@pytest.mark.parametrize("flag, value, words", [
    ("memory", "511", "--virtualbox-memory 511 is too little: at least 512 MB are needed."),
    ("memory", "much", 'invalid value "much" for flag -virtualbox-memory: parse error'),
    ("disk-size", "999", "--virtualbox-disk-size 999 is too little: at least 1000 MB are needed."),
    ("disk-size", "20G", 'invalid value "20G" for flag -virtualbox-disk-size: parse error'),
    ("cpu-count", "0", "--virtualbox-cpu-count 0 is no number of CPUs."),
    ("cpu-count", "-2", "--virtualbox-cpu-count -2 is no number of CPUs."),
    ("nat-nictype", "rtl8139", '--virtualbox-nat-nictype "rtl8139" is none of: 82540EM, '),
    ("hostonly-nictype", "e1000", '--virtualbox-hostonly-nictype "e1000" is none of: 82540EM, '),
    ("hostonly-nicpromisc", "all", '--virtualbox-hostonly-nicpromisc "all" is none of: deny, allow-vms, allow-all'),
    ("ui-type", "window", '--virtualbox-ui-type "window" is none of: headless, gui, sdl, separate'),
    ("hostonly-cidr", "192.168.56.1", '--virtualbox-hostonly-cidr "192.168.56.1" is not an address with'),
    ("hostonly-cidr", "192.168.56.0/24", "is not an address with the length of its network."),
    ("hostonly-cidr", "192.168.56.255/24", "is not an address with the length of its network."),
    ("hostonly-cidr", "192.168.256.1/24", "is not an address with the length of its network."),
    ("hostonly-cidr", "fd00::1/64", "is not an address with the length of its network."),
    ("share-folder", "/no/such/folder:data", '--virtualbox-share-folder "/no/such/folder:data" is not FOLDER:NAME'),
    ("share-folder", "/tmp", '--virtualbox-share-folder "/tmp" is not FOLDER:NAME of a folder here.'),
])
def test_a_bad_value_is_refused_before_virtualbox_is_asked(here, refused, flag, value, words):
    ended = refused("--virtualbox-%s=%s" % (flag, value))
    assert ended.code == 2 and words in ended.err
    assert here.box.calls() == []


def test_dns_proxy_and_no_dns_proxy_contradict(refused):
    ended = refused("--virtualbox-dns-proxy", "--virtualbox-no-dns-proxy")
    assert ended.code == 2 and "--virtualbox-dns-proxy and --virtualbox-no-dns-proxy contradict." in ended.err


@pytest.mark.parametrize("content, words, hint", [
    (None, "There is no file %s.", "--virtualbox-boot2docker-url file:///PATH"),
    (b"", "%s is no ISO, and no disk image in the format qcow2 or raw.", "Check the address of the image."),
    (b"<html>Not here</html>" * 5000, "%s is no ISO, and no disk image", "Check the address of the image."),
    (an_iso(size=40960)[:38000], "%s is truncated: 38000 of 40960 bytes.", "Fetch it again."),
    (a_qcow2(backing=4096), "%s is an image that refers to another file.", "qemu-img convert -O qcow2 IMAGE NEW"),
    (a_qcow2(30000), "--virtualbox-disk-size 20000 is less than the image's own size.", "Give at least 30000."),
], ids=["missing", "empty", "html", "truncated", "backing-file", "larger-than-the-disk"])
def test_a_bad_image_is_refused_before_anything_is_made(here, refused, content, words, hint):
    image = here.folder / "images" / "image"
    if content is not None:
        image.write_bytes(content)
    ended = refused("--virtualbox-boot2docker-url=file://%s" % image)
    assert ended.code == 3
    assert (words % image if "%s" in words else words) in json.loads('"%s"' % ended.err.split('"')[1]) or words in ended.err
    assert hint in ended.err


def test_an_image_that_is_none_leaves_nothing_in_the_cache(refused, here, web_server):
    web_server.files["/b2d.iso"] = b"<html>Not here</html>" * 5000
    ended = refused("--virtualbox-boot2docker-url=%sb2d.iso" % web_server.url)
    assert ended.code == 3 and "is no ISO" in ended.err
    assert list((here.folder / "store" / "cache").rglob("*.iso")) == []


def test_without_vboxmanage_its_package_is_named(refused, here, bin_folder, iso_words):
    ended = refused(*iso_words, PATH=bin_folder("openssl", "ssh", "ssh-keygen", apt_get="exit 9"))
    assert ended.code == 3 and 'The program \\"VBoxManage\\" was not found on this computer.' in ended.err
    assert "Install it: sudo apt-get install virtualbox" in ended.err


@pytest.mark.parametrize("switches, words, hint", [
    ({"version": "5.2.44r139111"}, "VirtualBox 5.2.44 is too old; 6.1 is the least.",
     "https://www.virtualbox.org/wiki/Downloads"),
    ({"version": "6.0.24r139119"}, "VirtualBox 6.0.24 is too old; 6.1 is the least.", "wiki/Downloads"),
    ({"vboxdrv": False}, "VirtualBox's kernel module is not loaded.", "sudo /sbin/vboxconfig"),
], ids=["5.2", "6.0", "no-module"])
def test_a_virtualbox_that_cannot_work_is_refused(here, refused, iso_words, switches, words, hint):
    here.box.set(**switches)
    ended = refused(*iso_words)
    assert ended.code == 3 and words in ended.err and hint in ended.err


def test_too_little_disk_space_is_refused(here, refused, iso_words, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=900 << 20))
    ended = refused(*iso_words)
    assert ended.code == 3 and "has 900 MB left on its disk" in ended.err and "Make room" in ended.err


def test_a_vm_of_that_name_stays_what_it_is(here, refused, iso_words):
    core.vbox("createvm", "--name", "web", "--register")
    ended = refused(*iso_words)
    assert ended.code == 3 and "VirtualBox has a VM of the name web already." in ended.err
    assert "VBoxManage list vms" in ended.err


def test_a_vm_to_import_must_be_there(refused, iso_words):
    ended = refused("--virtualbox-import-boot2docker-vm=old", *iso_words)
    assert ended.code == 3 and "VirtualBox has no VM of the name old." in ended.err


def test_a_vm_to_import_must_have_a_disk(here, refused, iso_words):
    core.vbox("createvm", "--name", "old", "--register")
    ended = refused("--virtualbox-import-boot2docker-vm=old", *iso_words)
    assert ended.code == 3 and "The VM old has no disk." in ended.err


@pytest.mark.parametrize("flags, warned", [({}, True), ({"no_vtx_check": "true"}, False)])
def test_missing_hardware_virtualization_is_a_warning(here, capsys, flags, warned):
    here.box.set(hw_virtualization=False)
    here.machine(**flags).driver.pre_create_check()
    assert ("VirtualBox finds no hardware virtualization" in capsys.readouterr().err) is warned


# --- which networks VirtualBox allows

@pytest.mark.parametrize("conf, version, cidr, allowed", [
    (None, "7.2.22r1", "192.168.56.1/24", True), (None, "7.2.22r1", "192.168.63.1/24", True),
    (None, "7.2.22r1", "192.168.64.1/24", False), (None, "7.2.22r1", "192.168.99.1/24", False),
    (None, "7.2.22r1", "10.0.0.1/24", False), (None, "6.1.28r1", "192.168.99.1/24", False),
    (None, "6.1.26r1", "192.168.99.1/24", True),
    ("* 10.0.0.0/8 192.168.0.0/16\n* fd00::/8\n", "7.2.22r1", "10.9.0.1/24", True),
    ("* 10.0.0.0/8 192.168.0.0/16\n* fd00::/8\n", "7.2.22r1", "192.168.99.1/24", True),
    ("* 10.0.0.0/8 192.168.0.0/16\n* fd00::/8\n", "7.2.22r1", "172.16.0.1/24", False),
    ("* 0.0.0.0/0 ::/0\n", "7.2.22r1", "172.16.0.1/24", True),
    ("# * 10.0.0.0/8\n\n* 192.168.99.0/24\n", "7.2.22r1", "10.0.0.1/24", False),
    ("# * 10.0.0.0/8\n\n* 192.168.99.0/24\n", "7.2.22r1", "192.168.56.9/24", False),
    ("", "7.2.22r1", "192.168.56.9/24", False),
])
def test_a_network_that_virtualbox_would_refuse_is_refused_at_once(here, refused, iso_words, conf, version, cidr,
                                                                   allowed):
    here.box.set(version=version)
    if conf is not None:
        Path(core.NETWORKS_CONF).write_text(conf)
    if allowed:
        assert core.HostOnly.plan(cidr) == (cidr, None, False)
        return
    ended = refused("--virtualbox-hostonly-cidr=" + cidr, *iso_words)
    network = cidr.replace(".1/", ".0/").replace(".9/", ".0/")
    assert ended.code == 3 and "VirtualBox does not allow the host-only network %s, only: " % network in ended.err
    assert "--virtualbox-hostonly-cidr" in ended.err and "sudo tee -a " + core.NETWORKS_CONF in ended.err


def test_the_advice_to_allow_a_network_keeps_the_default_ones(here, refused, iso_words):
    """A networks.conf that is there replaces the default ranges."""
    ended = refused("--virtualbox-hostonly-cidr=192.168.99.1/24", *iso_words)
    (line,) = [line for line in ended.err.splitlines() if "echo '" in line]
    Path(core.NETWORKS_CONF).write_text(line.partition("echo '")[2].partition("'")[0] + "\n")
    for cidr in ("192.168.99.1/24", "192.168.57.1/24"):
        assert core.HostOnly.plan(cidr)[0] == cidr


def test_windows_has_no_networks_conf(here, monkeypatch):
    import ipaddress
    monkeypatch.setattr(core, "WINDOWS", True)
    core.check_allowed(ipaddress.ip_interface("192.168.99.1/24"))


def test_a_line_of_networks_conf_that_is_none_is_passed_over(here):
    Path(core.NETWORKS_CONF).write_text("* 10.0.0.0/33 192.168.56.0/21,172.16.0.0/12 192.168.56.0/21\n")
    assert core.HostOnly.plan("192.168.56.1/24")[0] == "192.168.56.1/24"


# --- the life of a machine

def test_a_created_machine_runs_and_its_address_is_stored(here, call):
    machine = here.create()
    assert here.box.vms() == {"web": "running"}
    assert machine.driver["IPAddress"] == "192.168.56.101"
    assert call("status", "web").out == "Running\n"
    assert call("ip", "web").out == "192.168.56.101\n"
    assert call("url", "web").out == "tcp://192.168.56.101:2376\n"
    assert (machine.driver.get_ssh_hostname(), machine.driver.get_ssh_username()) == ("127.0.0.1", "docker")


def test_stop_presses_the_power_button(here, web, call):
    ended = call("stop", "web")
    assert (ended.code, ended.err) == (0, "") and 'Machine "web" was stopped.' in ended.out
    assert here.box.vms() == {"web": "poweroff"}
    assert len(here.box.calls("controlvm * acpipowerbutton")) == 1 and not here.box.calls("controlvm * poweroff")


def test_stop_presses_again_while_the_guest_does_not_hear(here, web, call, fast_clock):
    here.box.fail("controlvm * acpipowerbutton", "", rc=0, times=2)
    assert call("stop", "web").code == 0
    assert len(here.box.calls("controlvm * acpipowerbutton")) >= 3
    assert here.box.vms() == {"web": "poweroff"}


def test_a_guest_that_never_goes_off_is_told_with_the_way_out(here, web, call, fast_clock):
    here.box.set(shutdown={})
    ended = call("stop", "web")
    assert ended.code == 1 and "web did not shut down within 180 s." in ended.err
    assert "docker-machine kill web" in ended.err
    assert here.box.vms() == {"web": "running"}
    assert len(here.box.calls("controlvm * acpipowerbutton")) > 5


def test_a_guest_that_goes_off_between_question_and_press_is_stopped(here, web, call):
    here.box.put("web", "poweroff")
    here.box.rule("showvminfo", rc=0, times=2, out='UUID="x"\nVMState="running"\n')
    assert call("stop", "web").code == 0


def test_kill_pulls_the_plug(here, web, call):
    assert call("kill", "web").code == 0
    assert here.box.vms() == {"web": "poweroff"} and len(here.box.calls("controlvm * poweroff")) == 1


def test_stop_and_kill_of_a_stopped_machine_say_so(here, web, call):
    here.box.put("web", "poweroff")
    for command in ("stop", "kill"):
        ended = call(command, "web")
        assert ended.code == 1 and 'Machine "web" is already stopped.' in ended.err


def test_restart_goes_through_off(here, web):
    web.driver.restart()
    assert here.box.vms() == {"web": "running"}
    verbs = [words for words in here.box.calls() if words[0] in ("controlvm", "startvm")]
    assert [words[0] for words in verbs] == ["controlvm", "startvm"] and verbs[0][2] == "acpipowerbutton"


def test_pause_holds_and_start_resumes(here, web, call):
    assert call("pause", "web").code == 0
    assert here.box.vms() == {"web": "paused"} and call("status", "web").out == "Paused\n"
    here.load().driver.start()
    assert here.box.vms() == {"web": "running"} and here.box.calls("startvm") == []
    assert here.load().driver["IPAddress"] == "192.168.56.101"


def test_a_paused_machine_is_resumed_to_be_stopped(here, web, call):
    here.box.put("web", "paused")
    assert call("stop", "web").code == 0
    assert here.box.vms() == {"web": "poweroff"}


def test_start_goes_on_from_a_saved_state_without_a_change_to_the_vm(here, web):
    here.box.put("web", "saved")
    here.load().driver.start()
    assert here.box.vms() == {"web": "running"} and here.box.calls("modifyvm") == []


def test_a_saved_machine_is_not_stopped_but_its_state_can_be_discarded(here, web, call):
    here.box.put("web", "saved")
    ended = call("stop", "web")
    assert ended.code == 1 and "docker-machine kill web" in ended.err and here.box.vms() == {"web": "saved"}
    assert call("kill", "web").code == 0
    assert here.box.vms() == {"web": "poweroff"}


@pytest.mark.parametrize("state", ["poweroff", "aborted"])
def test_start_of_a_machine_that_is_off(here, web, state):
    here.box.put("web", state)
    here.load().driver.start()
    assert here.box.vms() == {"web": "running"}


@pytest.mark.parametrize("state, word", [
    ("running", "Running"), ("paused", "Paused"), ("saved", "Saved"), ("aborted-saved", "Saved"),
    ("poweroff", "Stopped"), ("aborted", "Stopped"), ("starting", "Starting"), ("stopping", "Stopping"),
    ("gurumeditation", "Error"),
])
def test_status_and_ls_tell_the_state(here, web, call, state, word):
    at(web, "127.0.0.1")
    here.box.put("web", state)
    assert call("status", "web").out == word + "\n"
    assert call("ls", "--format", "{{.Name}} {{.State}}").out == "web %s\n" % word


def at(machine, address):
    machine.driver["IPAddress"] = address
    machine.save()


# --- rm

@pytest.mark.parametrize("state", ["poweroff", "running", "paused", "saved", "aborted", "aborted-saved",
                                   "gurumeditation"])
def test_rm_takes_a_machine_in_any_state(here, web, call, state):
    here.box.put("web", state)
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "")
    assert here.lists() == NOTHING


NOTHING = {"vms": [], "media": [], "hostonlyifs": [], "hostonlynets": [], "extradata": {}, "store": [],
           "dhcpservers": [{"network": ROW + "vboxnet0", "ip": "192.168.56.100", "lower": "192.168.56.101",
                            "upper": "192.168.56.254", "netmask": "255.255.255.0", "enabled": True}]}


def test_an_inaccessible_vm_is_an_error_and_can_be_removed(here, web, call):
    at(web, "127.0.0.1")
    here.box.put("web", "inaccessible")
    assert call("status", "web").out in ("Error\n", "")
    assert call("ls", "--format", "{{.State}}").out == "Error\n"
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "")
    assert here.lists() == NOTHING


def test_a_machine_is_removed_twice_without_harm(here, web):
    web.driver.remove()
    web.driver.remove()
    assert dict(here.lists(), store=[]) == NOTHING


def test_a_vm_that_was_deleted_by_hand_is_told_and_forgotten(here, web, call):
    at(web, "127.0.0.1")
    core.vbox("controlvm", "web", "poweroff")
    core.vbox("unregistervm", "web", "--delete")
    for command in ("status", "stop", "start", "kill"):
        ended = call(command, "web")
        assert (ended.code, "VirtualBox has no VM web." in ended.err) == (1, True), command
        assert "docker-machine rm web" in ended.err
    assert "VirtualBox has no VM web." in call("ls").out
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == NOTHING


def test_a_vm_whose_guest_will_not_go_off_stays_with_its_entry(here, web, call, fast_clock):
    here.box.fail("controlvm * poweroff", "no-service")
    ended = call("rm", "-y", "web")
    assert ended.code == 1 and "The VM does not go off." in ended.err and "docker-machine rm -f web" in ended.err
    assert here.store.names() == ["web"] and here.box.vms() == {"web": "running"}


def test_rm_without_virtualbox_forgets_only_what_was_never_made(here, web, call, bin_folder):
    path = bin_folder("openssl", "ssh", "ssh-keygen")
    ended = call("rm", "-y", "web", PATH=path)
    assert ended.code == 1 and "VBoxManage" in ended.err and here.store.names() == ["web"]
    here.store.add(here.machine("new"))
    assert call("rm", "-y", "new", PATH=path).code == 0


@pytest.mark.parametrize("image", [an_iso("Other-1"), a_qcow2(), a_raw_disk()], ids=["iso", "qcow2", "raw"])
def test_after_rm_virtualbox_holds_what_it_held_before(here, call, image):
    before = here.lists()
    here.iso.write_bytes(image)
    here.create(hostonly_cidr="192.168.60.1/24")
    assert here.lists()["hostonlyifs"] != before["hostonlyifs"]
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == before == NOTHING
    assert here.iso.read_bytes() == image
