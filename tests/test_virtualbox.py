"""The VirtualBox driver against the stand-in for VBoxManage: what it asks VirtualBox for, and what it leaves there."""

import http.server
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from conftest import HANG, ROOT
from machines import Machines, take_environment
from vbox import service
from vbox.failures import FAILURES

import docker_machine as core

HAS_ROUTES = hasattr(core, "ROUTES")
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

def an_iso(label="Boot2Docker-v19.03.12", size=65536):
    """Bytes that look like an ISO with that label."""
    data = bytearray(size)
    data[32768:32774] = b"\1CD001"
    data[32808:32840] = label.encode().ljust(32)
    struct.pack_into("<I", data, 32768 + 80, size // 2048)
    return bytes(data)


def a_qcow2(megabytes=2000, backing=0, version=3, features=0):
    head = struct.pack(">4sIQIIQ40xQ", b"QFI\xfb", version, backing, 0, 16, megabytes << 20, features)
    return head.ljust(65536, b"\0")


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
    assert process.stdin and process.stdout
    yield int(process.stdout.readline())
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def vbox(vbox, service_port):
    if service_port:
        Path(vbox.program).write_text(service.CLIENT % (shutil.which("bash"), service_port, vbox.folder))
    return vbox


class VirtualBoxMachines(Machines):
    """Machines of VirtualBox; `box` is the VirtualBox, `iso` the image of each."""

    def __init__(self, box, store, folder):
        self.iso = folder / "images" / "b2d.iso"
        self.iso.parent.mkdir()
        self.iso.write_bytes(an_iso())
        driver_class = core.load_driver("virtualbox")
        super().__init__(store, driver_class, folder, boot2docker_url=self.iso)
        self.box = box

    def vm(self, name="web"):
        return self.box.vm(name)

    def lists(self):
        """What VirtualBox and the store hold, but for certificates, and for the DHCP server that VirtualBox has from
        the beginning: that of an interface of ours goes with it."""
        state = self.box.state()
        held = {key: state[key] for key in ("vms", "media", "hostonlyifs", "hostonlynets", "extradata")}
        servers = [server for server in state["dhcpservers"] if server != SERVER]
        return dict(held, dhcpservers=servers, store=self.store.names())


@pytest.fixture
def here(dm, vbox, store, tmp_path, monkeypatch):
    take_environment(monkeypatch, dm.env, "VIRTUALBOX_", "VBOX_")
    for name in ("NETWORKS_CONF", "ROUTES"):  # files of this computer
        monkeypatch.setattr(core, name, str(tmp_path / name), raising=False)
    return VirtualBoxMachines(vbox, store, tmp_path)


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
    """fast_clock(times): from now on a sleep that is no mere blink passes at once, and so many times its seconds by the
    clock. What takes long because the computer is busy does not take longer."""
    slept, real, sleep = [0], time.monotonic, time.sleep

    def run(times=20):
        monkeypatch.setattr(time, "monotonic", lambda: real() + times * sum(slept))
        monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds) if seconds <= .05 else slept.append(seconds))
    return run


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of a Web, which may be keyed by whole URLs: then it is a proxy."""

    web: "Web"

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
             "boot2docker-url": "https://example.org/b2d.iso",
             "cpu-count": -1}.get(
                 name, {int: 2345, bool: True, str: "example"}[type(default)])
    flags = core.create_flags(core.load_driver("virtualbox"))
    for words, environ in ((["--virtualbox-%s=%s" % (name, given)], {}), ([], {variable: str(given)})):
        machine = here.store.new("web", core.load_driver("virtualbox"))
        machine.driver.set_config_from_flags(core.parse_flags(flags, words, environ)[0])
        assert machine.driver[field] == given != default


@pytest.mark.parametrize("flags, proxy", [
    ({}, True), ({"no_dns_proxy": "true"}, False), ({"dns_proxy": "true"}, True), ({"no_dns_proxy": "false"}, True),
    ({"dns_proxy": "true", "no_dns_proxy": "true"}, False)])
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

def test_set_gives_a_vm_that_is_off_other_memory_and_cpus(here, web, call):
    assert call("set", "--memory", "1500", "web").code == 1, "it runs"
    here.box.put("web", "poweroff")
    assert call("set", "--memory", "1500", "--cpus", "1", "web").code == 0
    options = here.vm()["options"]
    assert (options["memory"], options["cpus"]) == ("1500", "1")


@pytest.fixture
def refused(here, call, monkeypatch):
    """refused(*flags): `create` with them fails and leaves nothing; gives how it ended."""
    monkeypatch.setattr(core.VirtualBoxDriver, "boot_seconds", 0.1)  # for one that is not refused

    def run(*words, **env):
        before = here.lists()
        ended = call("create", "-d", "virtualbox", *(words + ("web",)), **env)
        assert ended.code not in (0, None) and ended.err
        assert here.lists() == before
        assert not any(here.store.machines in str(path) for path in here.box.folder.rglob("*"))
        return ended
    return run


@pytest.mark.parametrize("flag, value, words", [
    ("memory", "511", "--virtualbox-memory 511 is too small: at least 512."),
    ("memory", "much", 'invalid value "much" for flag -virtualbox-memory: parse error'),
    ("disk-size", "999", "--virtualbox-disk-size 999 is too small: at least 1000."),
    ("disk-size", "20G", 'invalid value "20G" for flag -virtualbox-disk-size: parse error'),
    ("cpu-count", "0", "--virtualbox-cpu-count 0 is not a number of CPUs."),
    ("cpu-count", "-2", "--virtualbox-cpu-count -2 is too small: at least -1."),
    ("nat-nictype", "rtl8139", '--virtualbox-nat-nictype "rtl8139" is none of: 82540EM, '),
    ("hostonly-nictype", "e1000", '--virtualbox-hostonly-nictype "e1000" is none of: 82540EM, '),
    ("hostonly-nicpromisc", "all", '--virtualbox-hostonly-nicpromisc "all" is none of: deny, allow-vms, allow-all'),
    ("ui-type", "window", '--virtualbox-ui-type "window" is none of: headless, gui, sdl, separate'),
    ("hostonly-cidr", "192.168.56.1", '--virtualbox-hostonly-cidr "192.168.56.1" is not an address with'),
    ("hostonly-cidr", "192.168.56.0/24", "is not an address with the length of its network."),
    ("hostonly-cidr", "192.168.56.255/24", "is not an address with the length of its network."),
    ("hostonly-cidr", "192.168.256.1/24", "is not an address with the length of its network."),
    ("hostonly-cidr", "fd00::1/64", "is not an address with the length of its network."),
    ("share-folder", "/no/such/folder:data", "--virtualbox-share-folder: there is no folder /no/such/folder."),
    ("share-folder", "/tmp", '--virtualbox-share-folder "/tmp" cannot be used.\nIt is FOLDER:NAME'),
])
def test_a_bad_value_is_refused_before_virtualbox_is_asked(here, refused, flag, value, words):
    ended = refused("--virtualbox-%s=%s" % (flag, value))
    assert ended.code == 2 and words in ended.err
    assert here.box.calls() == []


@pytest.mark.parametrize("content, words, hint", [
    (None, "There is no file %s.", "--virtualbox-boot2docker-url file:///PATH"),
    (b"", "%s is not an ISO, and not a disk image in the format qcow2 or raw.", "Check the address of the image."),
    (b"<html>Not here</html>" * 5000, "%s is not an ISO, and not a disk image", "Check the address of the image."),
    (an_iso()[:38000], "%s is truncated: 38000 of 65536 bytes.", "Fetch it again."),
    (a_qcow2(backing=4096), "%s is an image that refers to another file.", "qemu-img convert -O qcow2 IMAGE NEW"),
    (a_qcow2(features=4), "%s is an image that refers to another file.", "qemu-img convert -O qcow2 IMAGE NEW"),
    (a_qcow2(30000), "--virtualbox-disk-size 20000 is less than the image's own size.", "Give at least 30000."),
], ids=["missing", "empty", "html", "truncated", "backing-file", "data-file", "larger-than-the-disk"])
def test_a_bad_image_is_refused_before_anything_is_made(here, refused, content, words, hint):
    image = here.folder / "images" / "image"
    if content is not None:
        image.write_bytes(content)
    ended = refused("--virtualbox-boot2docker-url=file://%s" % image)
    assert ended.code == 3
    assert words.replace("%s", str(image)) in ended.err
    assert hint in ended.err


def test_an_image_that_is_none_leaves_nothing_in_the_cache(refused, here, web_server):
    web_server.files["/b2d.iso"] = b"<html>Not here</html>" * 5000
    ended = refused("--virtualbox-boot2docker-url=%sb2d.iso" % web_server.url)
    assert ended.code == 3 and "is not an ISO" in ended.err
    assert list((here.folder / "store" / "cache").rglob("*.iso")) == []


def test_without_vboxmanage_it_is_said_where_it_is_had(refused, here, bin_folder, iso_words):
    ended = refused(*iso_words, PATH=bin_folder("openssl", "ssh", "ssh-keygen", apt_get="exit 9"))
    assert ended.code == 3 and "VBoxManage was not found on this computer." in ended.err
    assert "Install VirtualBox: https://www.virtualbox.org/wiki/Downloads" in ended.err


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
    assert ended.code == 3 and "VirtualBox has no VM of the name old, or it has no disk." in ended.err


def test_a_vm_to_import_must_have_a_disk(here, refused, iso_words):
    core.vbox("createvm", "--name", "old", "--register")
    ended = refused("--virtualbox-import-boot2docker-vm=old", *iso_words)
    assert ended.code == 3 and "VirtualBox has no VM of the name old, or it has no disk." in ended.err


@pytest.mark.parametrize("flags, warned", [({}, True), ({"no_vtx_check": "true"}, False)])
def test_missing_hardware_virtualization_is_a_warning(here, capsys, flags, warned):
    here.box.set(hw_virtualization=False)
    here.machine(**flags).driver.pre_create_check()
    assert ("VirtualBox finds no hardware virtualization" in capsys.readouterr().err) is warned


# --- which networks VirtualBox allows

def planned(cidr):
    """(the address that a machine's network would have, the interface that has it already)"""
    own, name = core.HostOnly().plan(cidr)
    return str(own), name


@pytest.mark.parametrize("conf, version, cidr, allowed", [
    (None, "7.2.22r1", "192.168.56.1/24", True), (None, "7.2.22r1", "192.168.63.1/24", True),
    (None, "7.2.22r1", "192.168.64.1/24", False), (None, "7.2.22r1", "192.168.99.1/24", False),
    (None, "7.2.22r1", "10.0.0.1/24", False), (None, "6.1.28r1", "192.168.99.1/24", False),
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
        assert planned(cidr) == (cidr, "")
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
        assert planned(cidr) == (cidr, "")


def test_windows_has_no_networks_conf(here, monkeypatch):
    monkeypatch.setattr(core, "WINDOWS", True)
    assert planned("192.168.99.1/24") == ("192.168.99.1/24", "")


def test_a_line_of_networks_conf_that_is_none_is_passed_over(here):
    Path(core.NETWORKS_CONF).write_text("* 10.0.0.0/33 192.168.56.0/21,172.16.0.0/12 192.168.56.0/21\n")
    assert planned("192.168.56.1/24") == ("192.168.56.1/24", "")


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
    fast_clock()
    assert call("stop", "web").code == 0
    assert len(here.box.calls("controlvm * acpipowerbutton")) >= 3
    assert here.box.vms() == {"web": "poweroff"}


def test_a_guest_that_never_goes_off_is_told_with_the_way_out(here, web, call, fast_clock):
    here.box.set(shutdown={})
    fast_clock()
    ended = call("stop", "web")
    assert ended.code == 1 and "web did not shut down within 180 s." in ended.err
    assert "docker-machine kill web" in ended.err
    assert here.box.vms() == {"web": "running"}
    assert len(here.box.calls("controlvm * acpipowerbutton")) > 2


def test_a_guest_that_goes_off_between_question_and_press_is_stopped(here, web, call):
    here.box.put("web", "poweroff")
    out = "Name: web\nUUID: %s\nState: running (since 2026-01-01T00:00:00.000000000)\n" % web.driver["UUID"]
    here.box.rule("list --long vms", rc=0, times=3, out=out)
    assert call("stop", "web").code == 0
    assert len(here.box.calls("controlvm * acpipowerbutton")) == 1


@pytest.mark.parametrize("verb", ["stop", "kill", "restart", "remove"])
def test_a_vm_that_goes_off_is_not_asked_through_its_session(here, web, verb):
    getattr(web.driver, verb)()
    assert verb == "remove" or web.driver.get_state() == {"restart": "Running"}.get(verb, "Stopped")
    words = [call[0] for call in here.box.calls()]
    after = words[words.index("controlvm"):]
    until = after.index("modifyvm") if verb == "restart" else len(after)  # it waits for the session's end
    assert "showvminfo" not in after[:until]


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
    ("gurumeditation", "Error"), ("livesnapshotting", "Running"),
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


SERVER = {"network": ROW + "vboxnet0", "ip": "192.168.56.100", "lower": "192.168.56.101", "upper": "192.168.56.254",
          "netmask": "255.255.255.0", "enabled": True}  # which VirtualBox has from the beginning
NOTHING = {"vms": [], "media": [], "hostonlyifs": [], "hostonlynets": [], "extradata": {}, "store": [],
           "dhcpservers": []}  # type: dict


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
    fast_clock()
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


# --- host-only networks

INTERFACE = {"name": "vboxnet0", "ip": "192.168.56.1", "netmask": "255.255.255.0", "up": True,
             "guid": "f00001ee-dae8-4abf-8000-0a0027000000", "mac": "0a:00:27:00:00:00"}


def use(here, **flags):
    """The words of modifyvm for the network of a machine with these flags."""
    machine = here.machine(**flags)
    with core.HostOnly() as networks:
        return networks.use(machine.driver), machine.driver["HostOnlyCIDR"]


def network(here):
    """({interface: address, with * where it is up}, {network: its DHCP servers})"""
    state, servers = here.box.state(), {}  # type: dict, dict
    for server in state["dhcpservers"]:
        servers.setdefault(server["network"].replace(ROW, ""), []).append(server)
    return {row["name"]: row["ip"] + "*" * row["up"] for row in state["hostonlyifs"]}, servers


def test_an_interface_that_fits_is_used_as_it_is_and_never_removed(here, call):
    here.box.set(hostonlyifs=[INTERFACE])
    before = here.lists()
    here.create()
    assert here.vm()["nics"]["2"]["adapter"] == "vboxnet0"
    for changing in ("hostonlyif", "dhcpserver", "setextradata global"):
        assert here.box.calls(changing) == []
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == before


@pytest.mark.parametrize("interface, server", [
    ({"up": False}, {}), ({}, None),
    ({}, {"enabled": False}), ({}, {"ip": "192.168.99.6", "lower": "192.168.99.100", "upper": "192.168.99.254"}),
    ({}, {"lower": "192.168.56.1"}), ({"up": False}, None),
], ids=["down", "no-server", "server-off", "server-of-another-network", "server-gives-our-address",
        "down-without-server"])
def test_an_interface_that_is_half_there_is_repaired(here, interface, server):
    servers = [] if server is None else [dict(SERVER, **server)]
    here.box.set(hostonlyifs=[dict(INTERFACE, **interface)], dhcpservers=servers)
    words, cidr = use(here)
    assert (words[-1], cidr) == ("vboxnet0", "192.168.56.1/24")
    interfaces, servers = network(here)
    assert interfaces == {"vboxnet0": "192.168.56.1*"} and here.box.calls("hostonlyif create") == []
    (server,) = servers["vboxnet0"]
    assert server["enabled"] and server["netmask"] == "255.255.255.0"
    assert all(server[key].startswith("192.168.56.") for key in ("ip", "lower", "upper"))
    assert server["lower"] != "192.168.56.1" != server["ip"]


@pytest.mark.parametrize("cidr, server, lower, upper", [
    ("192.168.57.1/24", "192.168.57.100", "192.168.57.101", "192.168.57.254"),
    ("192.168.57.254/24", "192.168.57.1", "192.168.57.2", "192.168.57.253"),
    ("192.168.57.150/24", "192.168.57.1", "192.168.57.2", "192.168.57.149"),
    ("192.168.56.1/21", "192.168.59.39", "192.168.59.40", "192.168.63.254"),
    ("192.168.57.17/28", "192.168.57.21", "192.168.57.22", "192.168.57.30"),
])
def test_the_dhcp_server_gives_neither_our_address_nor_its_own(here, cidr, server, lower, upper):
    here.box.set(dhcpservers=[])
    assert use(here, hostonly_cidr=cidr)[1] == cidr
    (found,) = network(here)[1]["vboxnet0"]
    assert (found["ip"], found["lower"], found["upper"]) == (server, lower, upper)


@pytest.mark.parametrize("changes", [{"enabled": False}, {"lower": "192.168.56.120", "upper": "192.168.56.130"}])
def test_the_dhcp_server_of_an_interface_of_ours_goes_with_it(here, call, changes):
    here.box.set(dhcpservers=[dict(SERVER, **changes)])
    here.create(hostonly_cidr="192.168.62.1/24")
    assert network(here)[1]["vboxnet0"][0]["lower"] == "192.168.62.101"
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == NOTHING and here.box.state()["dhcpservers"] == []


def taken(here, *networks):
    """Let networks of the host have these addresses, as eth0, eth1, ..."""
    here.box.rule("list bridgedifs", rc=0, out="".join(
        "Name:            eth%d\nIPAddress:       %s\nNetworkMask:     %s\nStatus:          Up\n\n"
        % ((index,) + words) for index, words in enumerate(networks)))


def test_the_default_network_gives_way_to_one_of_this_computer(here, capsys):
    taken(here, ("192.168.56.30", "255.255.255.0"), ("192.168.57.7", "255.255.255.128"))
    words, cidr = use(here)
    assert cidr == "192.168.58.1/24" and network(here)[0] == {"vboxnet0": "192.168.58.1*"}
    assert "192.168.56.1/24 cannot be used on this computer; using 192.168.58.1/24." in capsys.readouterr().out


def test_the_network_that_was_chosen_instead_is_stored_and_found_again(here):
    taken(here, ("192.168.56.30", "255.255.255.0"))
    here.create()
    here.create("db")
    assert {here.load(name).driver["HostOnlyCIDR"] for name in ("web", "db")} == {"192.168.57.1/24"}
    assert network(here)[0] == {"vboxnet0": "192.168.57.1*"}


def test_a_network_of_ones_own_choice_does_not_give_way(here, refused, iso_words):
    taken(here, ("192.168.60.30", "255.255.252.0"))
    ended = refused("--virtualbox-hostonly-cidr=192.168.61.1/24", *iso_words)
    assert ended.code == 3 and "The host-only network 192.168.61.1/24 clashes with eth0 (192.168.60.0/22)" in ended.err
    assert "Choose another one, such as --virtualbox-hostonly-cidr" in ended.err


def test_where_all_default_networks_are_taken_one_is_named(refused, here, iso_words):
    taken(here, ("192.168.40.1", "255.255.192.0"), ("192.168.3.2", "255.255.0.0"))
    ended = refused(*iso_words)
    assert ended.code == 3 and "clashes with eth" in ended.err


def test_another_host_only_interface_is_not_overlapped(here, refused, iso_words):
    here.box.set(hostonlyifs=[dict(INTERFACE, name="vboxnet5", ip="192.168.56.7", netmask="255.255.254.0")])
    ended = refused("--virtualbox-hostonly-cidr=192.168.57.1/24", *iso_words)
    assert ended.code == 3 and "192.168.57.1/24 clashes with vboxnet5 (192.168.56.0/23)" in ended.err
    assert use(here)[1] == "192.168.58.1/24"
    assert network(here)[0] == {"vboxnet5": "192.168.56.7*", "vboxnet0": "192.168.58.1*"}


def test_a_route_that_is_no_bridge_counts_too(here, refused, iso_words):
    """As of a VPN."""
    Path(core.ROUTES).write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "tun0\t003AA8C0\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n")
    ended = refused("--virtualbox-hostonly-cidr=192.168.58.1/24", *iso_words)
    assert ended.code == 3 and "clashes with tun0 (192.168.58.0/23)" in ended.err


def test_a_vpn_that_takes_all_traffic_is_not_a_clash(here):
    """It has a route for each half of all addresses."""
    Path(core.NETWORKS_CONF).write_text("* 0.0.0.0/0\n")
    Path(core.ROUTES).write_text("".join(
        "tun0\t%s\t0108000A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n" % half for half in ("00000000", "00000080")))
    for cidr in ("10.9.0.1/24", "192.168.56.1/24"):
        assert planned(cidr) == (cidr, "")


def test_the_network_goes_with_the_last_machine_on_it(here, call):
    here.create()
    here.create("db")
    assert network(here)[0] == {"vboxnet0": "192.168.56.1*"}
    assert call("rm", "-y", "web").code == 0
    assert network(here)[0] == {"vboxnet0": "192.168.56.1*"}
    assert call("rm", "-y", "db").code == 0
    assert here.lists() == NOTHING


def test_the_network_stays_while_somebody_elses_vm_is_on_it(here, web, call):
    core.vbox("createvm", "--name", "mine", "--register")
    core.vbox("modifyvm", "mine", "--nic1", "hostonly", "--hostonlyadapter1", "vboxnet0")
    assert call("rm", "-y", "web").code == 0
    assert network(here)[0] == {"vboxnet0": "192.168.56.1*"}


def test_an_interface_that_somebody_made_meanwhile_is_not_ours(here, call):
    here.box.set(hostonlyifs=[dict(INTERFACE, name="vboxnet0", ip="192.168.70.1")])
    here.create()
    core.vbox("hostonlyif", "create")
    assert call("rm", "-y", "web").code == 0
    assert sorted(network(here)[0]) == ["vboxnet0", "vboxnet2"]


def test_an_interface_whose_name_begins_with_that_of_ours_keeps_nothing(here, call):
    """The list of VMs is searched for 'vboxnet1', not for vboxnet1."""
    rows = [dict(INTERFACE, name=name, ip="192.168.%d.1" % ip) for name, ip in (("vboxnet0", 70), ("vboxnet10", 71))]
    here.box.set(hostonlyifs=rows)
    core.vbox("createvm", "--name", "mine", "--register")
    core.vbox("modifyvm", "mine", "--nic1", "hostonly", "--hostonlyadapter1", "vboxnet10")
    here.create()
    assert here.vm()["nics"]["2"]["adapter"] == "vboxnet1"
    assert call("rm", "-y", "web").code == 0
    assert sorted(network(here)[0]) == ["vboxnet0", "vboxnet10"]


def test_a_network_of_ours_that_somebody_removed_is_forgotten(here, call):
    here.create(hostonly_no_dhcp="true")
    here.box.put("web", "poweroff")
    here.box.set(hostonlyifs=[], dhcpservers=[])
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == NOTHING


def test_no_dhcp_touches_no_server(here, call):
    server = dict(SERVER, enabled=False, ip="192.168.99.6")
    here.box.set(dhcpservers=[server], guest={"address": "192.168.56.77"})
    here.create(hostonly_no_dhcp="true")
    assert here.load().driver["IPAddress"] == "192.168.56.77"
    assert here.box.state()["dhcpservers"] == [server]
    assert here.box.calls("dhcpserver") == []
    assert call("rm", "-y", "web").code == 0
    assert network(here) == ({}, {})


def test_an_interface_that_cannot_get_its_address_is_taken_back_by_the_next_call(here):
    here.box.fail("hostonlyif ipconfig", "VBoxManage: error: Code E_ACCESSDENIED (0x80070005) - Access denied "
                  '(extended info not available)\nVBoxManage: error: Context: "EnableStaticIPConfig()" at line 242\n')
    before = here.lists()
    with pytest.raises(core.MachineError) as failure:
        use(here)
    assert "VBoxManage hostonlyif failed: Code E_ACCESSDENIED (0x80070005) - Access denied" in failure.value.message
    with pytest.raises(core.MachineError):
        use(here)
    assert list(network(here)[0]) == ["vboxnet0"]  # not one more for each try
    here.machine().driver.remove()
    assert here.lists() == before


@pytest.fixture
def macos(here, monkeypatch):
    monkeypatch.setattr(core, "MACOS", True)
    here.box.set(platform="darwin")


def test_macos_has_networks_instead_of_interfaces(here, macos, call):
    before = here.lists()
    here.create()
    here.create("db")
    (made,) = here.box.state()["hostonlynets"]
    assert (made["lower"], made["netmask"], made["enabled"]) == ("192.168.56.1", "255.255.255.0", True)
    assert {here.vm(name)["nics"]["2"]["adapter"] for name in ("web", "db")} == {made["name"]}
    assert here.box.calls("hostonlyif") == []
    assert call("rm", "-y", "web").code == 0
    assert here.box.state()["hostonlynets"] == [made]
    assert call("rm", "-y", "db").code == 0
    assert here.lists() == before


def test_a_network_of_macos_that_somebody_made_is_used_and_stays(here, macos, call):
    here.box.set(hostonlynets=[{
        "name": "HostNetwork", "guid": "1-2", "enabled": True, "netmask": "255.255.255.0", "lower": "192.168.56.1",
        "upper": "192.168.56.199"}])
    before = here.lists()
    here.create()
    assert here.vm()["nics"]["2"]["adapter"] == "HostNetwork"
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == before


def test_macos_before_virtualbox_7_has_interfaces(here, macos, call):
    here.box.set(version="6.1.50r161033")
    here.create()
    assert network(here)[0] == {"vboxnet0": "192.168.56.1*"}
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == NOTHING


def test_names_of_windows_interfaces_have_spaces_and_numbers(here, call):
    first = "VirtualBox Host-Only Ethernet Adapter"
    here.box.set(platform="windows", hostonlyifs=[dict(INTERFACE, name=first, ip="10.1.2.3")], dhcpservers=[])
    before = here.lists()
    here.create()
    assert here.vm()["nics"]["2"]["adapter"] == first + " #2"
    assert [row["network"] for row in here.box.state()["dhcpservers"]] == [ROW + first + " #2"]
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == before


@pytest.mark.parametrize("version", ["6.1.50r161033", "7.0.20r163906"])
def test_the_life_is_the_same_with_older_releases(here, call, version):
    here.box.set(version=version)
    here.create()
    assert call("stop", "web").code == 0
    here.load().driver.start()
    assert call("status", "web").out == "Running\n"
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == NOTHING


def test_four_creates_at_once_share_one_interface_and_one_server(here):
    here.box.set(dhcpservers=[])
    here.box.delay("hostonlyif create", 0.1)
    here.box.delay("dhcpserver add", 0.1)
    machines = [here.machine(name, no_share="true") for name in ("a", "b", "c", "d")]
    for machine in machines:
        here.store.add(machine)
    threads = [threading.Thread(target=machine.driver.create) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert here.box.vms() == dict.fromkeys("abcd", "running")
    interfaces, servers = network(here)
    assert interfaces == {"vboxnet0": "192.168.56.1*"}
    assert {name: len(rows) for name, rows in servers.items()} == {"vboxnet0": 1}
    assert len({machine.driver["IPAddress"] for machine in machines}) == 4
    assert len({machine.driver["SSHPort"] for machine in machines}) == 4
    for machine in machines:
        machine.driver.remove()
    assert dict(here.lists(), store=[]) == dict(NOTHING, dhcpservers=[])


# --- ls

def many(here, web, count, **changes):
    """Copies of the machine "web", named n0, n1, ...; `changes` of their stored settings."""
    text = (Path(web.folder) / "config.json").read_text()
    with here.box.changing() as state:
        vm = state["vms"].pop()
        for index in range(count):
            name, uuid = "n%d" % index, "%08d-0000-4000-8000-000000000000" % index
            config = json.loads(text.replace('"web"', '"%s"' % name).replace("/web", "/" + name))
            address = "" if index % 4 else "127.0.0.1"
            config["Driver"].update(dict({"UUID": uuid, "IPAddress": address}, **changes))
            folder = Path(here.store.folder(name))
            (folder / name).mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps(config))
            settings = folder / name / (name + ".vbox")
            settings.write_text("")
            state["vms"].append(dict(vm, name=name, uuid=uuid, settings=str(settings),
                                     state=("running", "poweroff", "saved", "aborted")[index % 4]))
    shutil.rmtree(web.folder)


@pytest.mark.parametrize("changes", [{"IPAddress": "127.0.0.1"}, {"UUID": ""}, {"IPAddress": ""}], ids=[
    "ours", "docker-machines", "running-without-addresses"])
def test_ls_over_20_machines_asks_virtualbox_three_times_at_most(here, web, call, changes):
    many(here, web, 20, **changes)
    out = call("ls", "--format", "{{.Name}} {{.State}}").out
    assert out.split()[1::2] == ["Running", "Stopped", "Saved", "Stopped"] * 5
    assert 1 <= len(here.box.calls()) <= 3


# --- SSH's port

def rules(here):
    return here.vm()["rules"]


def test_the_port_of_ssh_is_chosen_free_and_kept(here, web, call):
    port = web.driver["SSHPort"]
    assert port in core.PORTS and rules(here) == ["ssh,tcp,127.0.0.1,%d,,22" % port]
    assert call("stop", "web").code == 0
    machine = here.load()
    machine.driver.start()
    assert machine.driver["SSHPort"] == port
    assert rules(here) == ["ssh,tcp,127.0.0.1,%d,,22" % port]


def test_a_port_that_a_program_took_meanwhile_gives_way_to_another(here, web):
    here.box.put("web", "poweroff")
    port = web.driver["SSHPort"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen(1)
        web.driver.start()
    new = here.load().driver["SSHPort"]
    assert new != port and rules(here) == ["ssh,tcp,127.0.0.1,%d,,22" % new]


def test_two_machines_never_share_a_port(here, web, monkeypatch):
    port = web.driver["SSHPort"]
    monkeypatch.setattr(core, "PORTS", range(port, port + 2))
    assert core.free_port([port]) == port + 1
    db = here.machine("db")
    here.store.add(db)
    here.box.put("web", "poweroff")
    db.driver.create()
    assert db.driver["SSHPort"] == port + 1


def test_a_rule_of_the_name_ssh_is_replaced(here, web):
    here.box.put("web", "poweroff")
    core.vbox("modifyvm", "web", "--natpf1", "delete", "ssh")
    core.vbox("modifyvm", "web", "--natpf1", "ssh,tcp,,49153,,22")
    core.vbox("modifyvm", "web", "--natpf1", "http,tcp,,8080,,80")
    web.driver.start()
    assert sorted(rules(here)) == ["http,tcp,,8080,,80", "ssh,tcp,127.0.0.1,%d,,22" % web.driver["SSHPort"]]


# --- the guest's address

@pytest.fixture
def off(here, web):
    """The machine "web", stopped, whose boot is not waited for long."""
    core.vbox("controlvm", "web", "poweroff")
    web.driver.boot_seconds = 0.1
    return web


def test_the_guest_tells_its_address(here, off):
    here.box.set(guest={"lease": False, "ip_after": 2, "address": "192.168.56.200"})
    off.driver.boot_seconds = 10
    off.driver.start()
    assert off.driver["IPAddress"] == "192.168.56.200"


@pytest.mark.parametrize("said", [
    "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0\n"
    "3: eth1    inet 192.168.56.103/24 brd 192.168.56.255 scope global eth1\n",
    "eth1      Link encap:Ethernet  HWaddr 08:00:27:D1:4C:66\n"
    "          inet addr:192.168.56.103  Bcast:192.168.56.255  Mask:255.255.255.0\n"], ids=["ip", "ifconfig"])
def test_a_guest_without_additions_is_asked_by_ssh(here, off, monkeypatch, said):
    here.box.set(guest={"additions": False})
    answers = ["", said]  # the second card has no address yet

    def run(ssh, line, *rest, **options):
        assert line.startswith("ip -4 -o addr show") and ssh.host == "127.0.0.1"
        return core.Result(0, answers.pop(0), "")
    monkeypatch.setattr(core.SSH, "run", run)
    off.driver.boot_seconds = 10
    off.driver.start()
    assert off.driver["IPAddress"] == "192.168.56.103"
    assert ["guestproperty", "enumerate"] == here.box.calls("guestproperty")[0][:2]


def test_a_guest_that_answers_nowhere_has_no_address(here, off):
    here.box.set(guest={"additions": False})
    fails_to_boot(off)


@pytest.mark.parametrize("address", ["10.9.9.9", "192.168.57.5", "192.168.56.1", "192.168.56.255", "169.254.1.1"])
def test_an_address_outside_the_host_only_network_is_none(here, off, address):
    here.box.set(leases={}, guest={"lease": False, "address": address})
    fails_to_boot(off)


def fails_to_boot(machine):
    with pytest.raises(core.MachineError) as failure:
        machine.driver.start()
    assert "The machine got no address on its host-only network within" in failure.value.message
    assert machine.driver["IPAddress"] == ""


def test_an_address_that_changed_is_stored_by_start(here, web, call, fast_clock):
    here.box.put("web", "poweroff")
    here.box.set(leases={}, guest={"address": "192.168.56.150"})
    fast_clock()
    ended = call("start", "web")
    assert ended.code == 1 and "SSH did not answer" in ended.err
    assert here.load().driver["IPAddress"] == "192.168.56.150"
    assert call("ip", "web").out == "192.168.56.150\n"


def test_a_vm_that_goes_off_while_it_boots_is_told_at_once(here, off):
    here.box.fail("startvm", "VBoxManage: error: VT-x is not available (VERR_VMX_NO_VMX)\n", rc=0)  # as 4.x did
    with pytest.raises(core.MachineError) as failure:
        off.driver.start()
    assert "The machine went off while it booted." in failure.value.message and "VBox.log" in failure.value.hint


# --- VBoxManage's failures

@pytest.mark.parametrize("call, words", [("modifyvm", "locked"), ("startvm", "not-ready"), ("list", "not-ready")])
def test_what_passes_is_waited_for(here, off, call, words):
    here.box.fail(call, words, times=1)
    off.driver.start()
    assert here.box.vms() == {"web": "running"}


def test_what_stays_is_told_in_virtualboxs_own_words(here, off, call, monkeypatch):
    here.box.fail("modifyvm", "locked")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    ended = call("start", "web")
    assert ended.code == 1 and (
        "VBoxManage modifyvm failed: The machine 'web' is already locked for a session (or being unlocked) Details: "
        "code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007)") in ended.err
    assert "Context:" not in ended.err and here.box.vms() == {"web": "poweroff"}
    assert len(here.box.calls("modifyvm")) > 3


def test_a_failure_that_does_not_pass_is_not_tried_again(here, off):
    here.box.fail("startvm", "no-vtx")
    with pytest.raises(core.MachineError):
        off.driver.start()
    assert len(here.box.calls("startvm")) == 1


def test_a_service_that_does_not_start_is_told(here, web, call):
    here.box.fail("list --long vms", "no-service")
    ended = call("status", "web")
    assert ended.code == 1 and "Failed to create the VirtualBox object!" in ended.err


def test_a_vboxmanage_that_hangs_does_not_hang_us(here):
    here.box.delay("list vms", 2 * HANG)
    start = time.monotonic()
    with pytest.raises(core.MachineError) as failure:
        core.vbox("list", "vms", seconds=0.2)
    assert time.monotonic() - start < HANG and "did not end within 0.2 s." in failure.value.message


@pytest.mark.parametrize("version, found", [("7.2.22_Debianr175245", (7, 2, 22)), ("6.1.50r161033", (6, 1, 50)),
                                            ("7.1.0_BETA1r163000", (7, 1, 0))])
def test_versions_are_numbers_in_front(here, version, found):
    here.box.set(version=version)
    assert core.vbox_version() == found


CURES = {
    "no-vtx": "Enable VT-x", "vtx-disabled": "Enable VT-x", "kvm": "modprobe -r kvm_intel", "hyper-v": "bcdedit",
    "no-driver": "vboxconfig", "no-interface": "vboxconfig", "no-filter": "vboxconfig",
    "AMD-V is being used by another hypervisor (VERR_SVM_IN_USE)": "modprobe -r kvm_amd",
    "AMD-V is disabled in the BIOS (VERR_SVM_DISABLED)": "Enable AMD-V",
    "Raw-mode is unavailable courtesy of Hyper-V. (VERR_SUPDRV_NO_RAW_MODE_HYPER_V_ROOT)": "bcdedit",
    "The VM cannot run (VERR_SUPDRV_NO_RAW_MODE_HYPER_V_ROOT)": "bcdedit",
    "VirtualBox kernel driver not installed (VERR_VM_DRIVER_NOT_INSTALLED)": "vboxconfig",
    "port-in-use": "VBox.log", "no-adapters": "VBox.log",
}


@pytest.mark.parametrize("words", sorted(CURES))
def test_a_failed_start_says_what_helps(here, off, words):
    text = words if words in FAILURES else "VBoxManage: error: %s\n" % words
    here.box.fail("startvm", text)
    with pytest.raises(core.MachineError) as failure:
        off.driver.start()
    assert CURES[words] in failure.value.hint and "VBoxManage startvm failed: " in failure.value.message


def test_each_cure_is_tried_above():
    said = ["VBoxManage startvm failed: " + FAILURES.get(words, words) for words in CURES]
    for words, cure in core.VBOX_CURES:
        for word in words.split("|"):
            first = [text for text in said if re.search(word, text) and cure == next(
                one for other, one in core.VBOX_CURES if re.search(other, text))]
            assert first, word


def with_disk(vm, path):
    """Give a VM a disk."""
    core.vbox("createmedium", "disk", "--filename", str(path), "--size", "20000", "--format", "VMDK")
    core.vbox("storagectl", vm, "--name", "SATA", "--add", "sata")
    core.vbox("storageattach", vm, "--storagectl", "SATA", "--port", "1", "--device", "0", "--type", "hdd",
              "--medium", str(path))


# --- machines of Docker Machine

@pytest.fixture
def old(here):
    """old(place): an entry as Docker Machine left it, and a VM of its name there, or in the entry's folder."""
    def make(place=None):
        text = (ROOT / "tests/data/stores/v3/machines/v3-virtualbox/config.json").read_text()
        text = text.replace("@STORE@", here.store.path).replace("v3-virtualbox", "old").replace(
            "192.0.2.1/24", "192.168.99.1/24").replace("192.0.2.45", "127.0.0.1").replace("49153", "61153")
        folder = Path(here.store.folder("old"))
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(text)
        here.box.set(hostonlyifs=[dict(INTERFACE, ip="192.168.99.1")], dhcpservers=[dict(
            SERVER, ip="192.168.99.6", lower="192.168.99.100", upper="192.168.99.254")])
        place = Path(place or str(folder))
        core.vbox("createvm", "--name", "old", "--register", "--basefolder", str(place))
        with_disk("old", place / "disk.vmdk")
        core.vbox("modifyvm", "old", "--nic1", "nat", "--natpf1", "ssh,tcp,127.0.0.1,61153,,22", "--nic2", "hostonly",
                  "--hostonlyadapter2", "vboxnet0")
        core.vbox("startvm", "old", "--type", "headless")
        here.box.forget_calls()
    return make


def test_a_machine_of_docker_machine_works_on(here, old, call):
    old()
    assert call("status", "old").out == "Running\n"
    assert call("ls", "--format", "{{.Name}} {{.State}}").out == "old Running\n"
    assert call("stop", "old").code == 0
    machine = here.load("old")
    machine.driver.start()
    assert here.box.vms() == {"old": "running"} and machine.driver["IPAddress"] == "192.168.99.100"
    assert here.vm("old")["rules"] == ["ssh,tcp,127.0.0.1,61153,,22"]  # no connection of another program has it
    assert here.vm("old")["nics"]["2"]["adapter"] == "vboxnet0" and here.box.calls("hostonlyif create") == []
    assert call("kill", "old").code == 0
    assert call("rm", "-y", "old").code == 0
    assert here.box.vms() == {} and here.box.state()["media"] == [] and here.store.names() == []
    assert network(here)[0] == {"vboxnet0": "192.168.99.1*"}  # nobody knows who made it


def test_a_vm_of_the_name_that_lies_elsewhere_is_never_touched(here, old, call):
    old(here.folder / "VirtualBox VMs")
    before = here.box.state()["vms"]
    for command in ("status", "stop", "kill", "start", "pause", "restart"):
        ended = call(command, "old")
        assert (ended.code, "VirtualBox has no VM old." in ended.err) == (1, True), command
    assert call("rm", "-y", "old").code == 0
    assert here.box.state()["vms"] == before and here.store.names() == []


def test_ls_does_not_tell_the_state_of_a_vm_that_lies_elsewhere(here, old, call):
    old(here.folder / "VirtualBox VMs")
    assert call("ls", "--format", "{{.State}}").out == "Error\n"


# --- images

@pytest.fixture
def proxy(web_server, monkeypatch):
    """A web server that plays the whole Web for http."""
    monkeypatch.setenv("http_proxy", web_server.url)
    monkeypatch.setenv("no_proxy", "")
    return web_server


B2D = "boot2docker/boot2docker/releases"


@pytest.mark.parametrize("url, host", [
    ("http://github.com/" + B2D, "github.com"), ("http://github.com/%s/" % B2D, "github.com"),
    ("http://github.com/%s/latest" % B2D, "github.com"),
    ("http://git.example.com/" + B2D, "git.example.com")])
def test_a_page_of_releases_stands_for_its_newest_iso(here, proxy, url, host):
    assert core.release_iso(url) == "http://%s/%s/latest/download/boot2docker.iso" % (host, B2D)
    assert proxy.asked == []


@pytest.mark.parametrize("url", ["http://github.com/%s/download/v1/boot2docker.iso" % B2D, "file:///a/releases", "",
                                 "http://example.com/releases", "/images/releases",
                                 "http://api.github.com/repos/" + B2D,
                                 "http://git.example.com/api/v3/repos/%s/latest" % B2D])
def test_other_addresses_stay_what_they_are(here, proxy, url):
    assert core.release_iso(url) == url and proxy.asked == []


def test_an_iso_from_the_network_is_fetched_once_for_all_machines(here, web_server):
    web_server.files["/b2d.iso"] = an_iso()
    for name in ("web", "db"):
        here.create(name, boot2docker_url=web_server.url + "b2d.iso")
    assert web_server.times("/b2d.iso") == 1
    assert {Path(here.load(name).driver.path("boot2docker.iso")).read_bytes() for name in ("web", "db")} == {an_iso()}


def test_upgrade_fetches_the_iso_anew_and_restarts(here, web_server):
    web_server.files["/b2d.iso"] = an_iso()
    machine = here.create(boot2docker_url=web_server.url + "b2d.iso")
    here.box.forget_calls()
    machine.driver.upgrade()
    assert here.box.calls("startvm") == here.box.calls("controlvm") == []  # it is the newest one
    web_server.files["/b2d.iso"] = an_iso("Boot2Docker-v19.03.13")
    machine.driver.upgrade()
    assert Path(machine.driver.path("boot2docker.iso")).read_bytes() == an_iso("Boot2Docker-v19.03.13")
    assert len(here.box.calls("startvm")) == len(here.box.calls("controlvm * acpipowerbutton")) == 1
    assert here.box.vms() == {"web": "running"}


def test_upgrade_keeps_the_iso_when_the_new_one_is_none(here, web_server):
    web_server.files["/b2d.iso"] = an_iso()
    machine = here.create(boot2docker_url=web_server.url + "b2d.iso")
    for bad in (b"<html>", an_iso()[:38000], a_qcow2()):
        web_server.files["/b2d.iso"] = bad
        with pytest.raises(core.MachineError):
            machine.driver.upgrade()
        assert Path(machine.driver.path("boot2docker.iso")).read_bytes() == an_iso()
    assert here.box.vms() == {"web": "running"} and here.box.calls("controlvm") == []


def test_upgrade_has_nothing_to_do_for_a_cloud_image(here):
    here.iso.write_bytes(a_qcow2())
    machine = here.create()
    here.box.forget_calls()
    machine.driver.upgrade()
    assert here.box.calls() == []


@pytest.mark.parametrize("label, warned", [("Boot2Docker-v19.03.12", True), ("My-boot2docker", False)])
def test_the_end_of_boot2docker_is_told(here, capsys, label, warned):
    here.iso.write_bytes(an_iso(label))
    here.machine().driver.pre_create_check()
    said = capsys.readouterr().err
    assert ("boot2docker ended in 2020, with Docker Engine 19.03; this is " + label in said) is warned
    assert said == "" or warned


@pytest.fixture
def no_network(monkeypatch, closed_port):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:%d" % closed_port)
    return {"https_proxy": "http://127.0.0.1:%d" % closed_port}


def test_without_a_network_the_default_image_is_asked_of_the_user(refused, no_network):
    ended = refused(**no_network)
    assert ended.code == 3 and "cloud.debian.org" in ended.err and "cannot be fetched" in ended.err
    assert "An image of your own: --virtualbox-boot2docker-url file:///PATH" in ended.err


def test_boot2docker_boots_from_its_cd_and_finds_its_key_on_the_disk(here, web):
    assert (here.vm()["options"]["boot1"], here.vm()["options"]["boot2"]) == ("dvd", "none")
    (controller,) = here.vm()["controllers"]
    assert {place: (port["kind"], Path(port["path"]).name) for place, port in controller["ports"].items()} == {
        "0-0": ("dvd", "boot2docker.iso"), "1-0": ("hdd", "disk.vmdk")}
    disk = Path(web.driver.path("disk.vmdk")).read_bytes()  # the stand-in keeps raw bytes
    assert disk.startswith(b"boot2docker, please format-me")
    with tarfile.open(fileobj=io.BytesIO(disk)) as tar:
        texts = {entry.name: disk[entry.offset_data:entry.offset_data + entry.size].decode() for entry in tar}
    key = Path(web.driver.path("id_rsa.pub")).read_text()
    assert texts == {"boot2docker, please format-me": "boot2docker, please format-me\n", ".ssh": "",
                     ".ssh/authorized_keys": key, ".ssh/authorized_keys2": key}
    assert len(disk) <= 40960 and disk.index(key.encode()) + len(key) <= 4096  # as much as boot2docker reads


@pytest.mark.parametrize("image", [a_qcow2(2000), a_raw_disk()], ids=["qcow2", "raw"])
def test_a_cloud_image_becomes_a_disk_of_the_size_asked_for(here, image):
    here.iso.write_bytes(image)
    here.create(disk_size=6000)
    media = {Path(medium["path"]).name: medium for medium in here.box.state()["media"]}
    assert sorted(media) == ["disk.vdi", "seed.iso"]
    assert (media["disk.vdi"]["format"], media["disk.vdi"]["size"]) == ("VDI", 6000)
    assert here.iso.read_bytes() == image and not Path(here.load().driver.path("image.qcow2")).exists()
    assert str(here.iso) not in [word for words in here.box.calls("clonemedium") for word in words]
    assert here.vm()["options"]["boot1"] == "disk"
    (controller,) = here.vm()["controllers"]
    assert {Path(port["path"]).name for port in controller["ports"].values()} == {"disk.vdi", "seed.iso"}


def test_the_seed_carries_keys_name_and_cards(here):
    here.iso.write_bytes(a_qcow2())
    machine = here.create("My.web")
    folder = Path(machine.folder)
    seed = (folder / "seed.iso").read_bytes()
    assert seed[32769:32774] == b"CD001" and seed[32808:32814] == b"cidata"
    public, host = (folder / "id_rsa.pub").read_text().strip(), (folder / core.HOST_KEY)
    for text in (public, Path(str(host) + ".pub").read_text().strip(), host.read_text().splitlines()[1]):
        assert json.dumps(text)[1:-1].encode() in seed
    for nic in here.vm("My.web")["nics"].values():
        mac = ":".join(nic["mac"].lower()[place:place + 2] for place in range(0, 12, 2))
        assert mac.encode() in seed
    assert core.host_name("My.web").encode() in seed and machine.driver["UUID"].encode() in seed
    assert (folder / "id_rsa").read_text().splitlines()[2].encode() not in seed
    assert "docker-machine.My.web " in (folder / "known_hosts").read_text()


def test_shared_folders_are_mounted_by_a_cloud_image(here, tmp_path):
    here.iso.write_bytes(a_qcow2())
    machine = here.create(share_folder="%s:data" % tmp_path)
    assert b'"data","/data","vboxsf"' in Path(machine.driver.path("seed.iso")).read_bytes().replace(b", ", b",")


def test_the_disk_of_a_boot2docker_vm_is_cloned_with_its_key(here, dm):
    disk = here.folder / "old.vmdk"
    core.vbox("createvm", "--name", "old", "--register")
    with_disk("old", disk)
    (dm.home / ".ssh").mkdir()
    for name in ("id_boot2docker", "id_boot2docker.pub"):
        (dm.home / ".ssh" / name).write_text("the key " + name)
    before = here.lists()
    machine = here.create(import_boot2docker_vm="old")
    assert Path(machine.driver.path("disk.vmdk")).read_bytes() == disk.read_bytes()
    assert Path(machine.driver.path("id_rsa")).read_text() == "the key id_boot2docker"
    machine.driver.remove()
    assert dict(here.lists(), store=[]) == before


def test_a_disk_is_imported_for_boot2docker_alone(here, refused):
    """A cloud image is a disk already."""
    here.iso.write_bytes(a_qcow2())
    core.vbox("createvm", "--name", "old", "--register")
    with_disk("old", here.folder / "old.vmdk")
    ended = refused("--virtualbox-import-boot2docker-vm=old", "--virtualbox-boot2docker-url=%s" % here.iso)
    assert ended.code in (2, 3) and "--virtualbox-import-boot2docker-vm" in ended.err


def test_the_path_of_an_image_is_stored_so_that_it_holds_everywhere(here, monkeypatch, tmp_path):
    monkeypatch.chdir(str(here.iso.parent))
    here.store.add(here.machine(boot2docker_url=here.iso.name))
    monkeypatch.chdir(str(tmp_path))
    here.load().driver.create()
    assert here.box.vms() == {"web": "running"}


def test_rm_works_while_the_kernel_module_is_missing(here, web, call):
    here.box.put("web", "poweroff")
    here.box.set(vboxdrv=False)
    assert call("status", "web").out == "Stopped\n"
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == NOTHING


def test_ls_without_virtualbox_says_so_in_the_row(here, web, call, bin_folder):
    at(web, "127.0.0.1")
    ended = call("ls", PATH=bin_folder("openssl", "ssh"))
    assert ended.code == 0 and 'VBoxManage was not found' in ended.out.splitlines()[1]


# --- creations that were killed

@pytest.fixture
def killed(dm, here, background, iso_words, monkeypatch):
    """killed(call, when): `create` is killed with all its children when VBoxManage is called so, before or after the
    effect."""
    monkeypatch.setattr(core.VirtualBoxDriver, "boot_seconds", 0.1)

    def run(call, when, *words):
        here.box.block(call, when)
        process = background(dm.start("create", "-d", "virtualbox", *(iso_words + list(words) + ["web"]),
                                      preexec=os.setsid))
        until = time.monotonic() + HANG
        while not here.box.blocked() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert here.box.blocked(), "%s did not come" % call
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        here.box.mend()
    return run


@pytest.mark.parametrize("stage, when", [("hostonlyif create", "before"), ("startvm", "after")])
def test_rm_after_a_kill_leaves_nothing(here, killed, call, stage, when):
    killed(stage, when, "--virtualbox-hostonly-cidr=192.168.61.1/24")
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "")
    assert here.lists() == NOTHING


def test_an_interface_of_a_killed_creation_goes_with_the_last_machine(here, killed, call):
    killed("hostonlyif create", "after")
    here.create("db")
    assert call("rm", "-y", "web").code == 0
    assert len(network(here)[0]) >= 1 and here.box.vms() == {"db": "running"}
    assert call("rm", "-y", "db").code == 0
    assert here.lists() == NOTHING


@pytest.mark.parametrize("stage", ["convertfromraw", "hostonlyif create", "startvm"])
def test_provision_after_a_kill_makes_the_machine(here, killed, call, stage):
    killed(stage, "after")
    ended = call("provision", "web")
    assert ended.code == 1 and "SSH did not answer" in ended.err
    assert here.box.vms() == {"web": "running"} and here.load().driver["IPAddress"].startswith("192.168.56.1")
    assert network(here)[0] == {"vboxnet0": "192.168.56.1*"} and len(here.box.state()["media"]) == 2
    assert call("rm", "-y", "web").code == 0
    assert here.lists() == NOTHING


def test_provision_goes_past_the_settings_of_a_vm_that_was_never_registered(here, killed, call):
    """VBoxManage writes the file first."""
    killed("createvm", "before")
    settings = Path(here.store.folder("web")) / "web" / "web.vbox"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text("<VirtualBox/>")
    assert "SSH did not answer" in call("provision", "web").err
    assert here.box.vms() == {"web": "running"}


CHANGING = ("createvm", "modifyvm", "storagectl", "storageattach", "convertfromraw", "clonemedium", "closemedium",
            "modifymedium", "sharedfolder", "setextradata", "hostonlyif", "dhcpserver modify", "startvm")


@pytest.mark.parametrize("when, image", [("before", a_qcow2()), ("after", an_iso("Other-1"))], ids=["cloud", "iso"])
def test_rm_leaves_nothing_wherever_a_creation_stopped(here, dm, background, iso_words, call, tmp_path, when, image):
    """What a kill at each call would leave: the store and VirtualBox's state are kept aside while the call blocks."""
    here.iso.write_bytes(image)
    for words in CHANGING:
        here.box.rule(words, block=when)
    process = background(dm.start("create", "-d", "virtualbox", *iso_words + ["web"]))
    kept = []  # type: list
    while process.poll() is None and not (kept and kept[-1][0].startswith("startvm")):
        words = here.box.blocked()
        if words:
            folder = tmp_path / ("kept%d" % len(kept))
            keep(here, folder)
            kept.append((words, folder))
            here.box.release()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    until = time.monotonic() + HANG  # the call that was released last still changes VirtualBox's state
    while here.box.vms() != {"web": "running"} and time.monotonic() < until:
        time.sleep(0.01)
    assert len(kept) > 10
    for words, folder in kept:
        restore(here, folder)
        here.box.mend()
        ended = call("rm", "-y", "web")
        assert (ended.code, ended.err) == (0, ""), words
        assert here.lists() == NOTHING, "killed %s %s" % (when, words)
