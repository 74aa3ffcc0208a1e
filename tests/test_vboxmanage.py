"""The stand-in for VBoxManage is held to recordings of the real one."""

import io
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import vboxmanage

RECORDED = Path(__file__).parent / "vboxmanage_recorded"
Recorded = namedtuple("Recorded", "words out err rc")
# Here the stand-in says less than the real one, and each line of it is held to a line of the recording.
SHORTER = ("list hostinfo", "list systemproperties", "list hdds", "list --long", "list hostonlynets", "showvminfo",
           "hostonlynet")


def recorded(name):
    """The recorded calls of a file, each a Recorded."""
    for block in re.split(r"^\$ ", (RECORDED / name).read_text(), flags=re.M)[1:]:
        words, *lines = block.rstrip("\n").split("\n")
        out, err = (["%s\n" % line[5:] for line in lines if line.startswith(kind)] for kind in ("out|", "err|"))
        yield Recorded(words.split(), "".join(out), "".join(err), int(lines[-1][3:]))


def normalise(text, **folders):
    """Words that are the same in each run: normalise(text, STORE="/tmp/...", HOME="/tmp/...")."""
    for name, folder in folders.items():
        text = text.replace(str(folder), name)
    for pattern, name in (
            (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"), (r"\b080027[0-9A-F]{6}\b", "MAC"),
            (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "HWADDRESS"), (r"\d{4}-\d\d-\d\dT[\d:.-]+Z?", "DATE"),
            (r"at line \d+ of", "at line N of"), (r"(?i)(localhostReachable)\W+\d", r"\1")):
        text = re.sub(pattern, name, text)
    return text


def call(vbox, words, stdin=b""):
    """A call in this process, since it takes a tenth of the time; see test_it_is_a_program."""
    streams = [io.TextIOWrapper(io.BytesIO(data)) for data in (stdin, b"", b"")]
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdin", "stdout", "stderr"), streams):
            patch.setattr(sys, name, stream)
        rc = vboxmanage.main([str(word) for word in words], str(vbox.folder))
    out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])
    return Recorded(words, out, err, rc)


def lines_not_in(less, more):
    """The lines of a text that another has not, or not in this order."""
    rest = iter(more.splitlines())
    return [line for line in less.splitlines() if line not in rest]


@pytest.fixture
def folders(tmp_path, vbox):
    """STORE and HOME, with the files that the recorded calls read."""
    store, home = tmp_path / "machines", vbox.folder
    (store / "m1").mkdir(parents=True)
    (store / "m1" / "raw.img").write_bytes(bytes(2 << 20))
    for name, size in (("m1/boot2docker.iso", 2048), ("m1/b2d.iso", 2048), ("empty.raw", 0), ("b.iso", 0)):
        (store / name).write_bytes(bytes(size))
    return {"STORE": str(store), "HOME": str(home)}


@pytest.mark.parametrize("name, switches", [
    ("no_kernel_module.txt", {"vboxdrv": False, "hw_virtualization": False}),
    ("host_only.txt", {"allowed": ["192.168.0.0/16"]}),
    ("odd.txt", {"allowed": ["192.168.0.0/16"]}),
])
def test_it_answers_as_the_real_one_did(vbox, folders, name, switches):
    vbox.set(**switches)
    warning = next(recorded("no_kernel_module.txt")).out.rpartition("\n\n")[0] if "vboxdrv" in switches else ""
    for number, expected in enumerate(recorded(name)):
        words = [word.replace("STORE", folders["STORE"]).replace("HOME", folders["HOME"]) for word in expected.words]
        found = call(vbox, words)
        assert found.out.startswith(warning)
        out = found.out if number == 0 else found.out[found.out.index("fixed.\n") + 7:] if warning else found.out
        assert_alike(expected, normalise(out, **folders), normalise(found.err, **folders), found.rc)


def test_it_says_the_same_of_a_vm_whose_settings_are_gone(vbox, folders):
    calls = list(recorded("inaccessible.txt"))
    gone = ""
    for expected in calls:
        words = [word.replace("STORE", folders["STORE"]).replace("UUID", gone) for word in expected.words]
        found = call(vbox, words)
        assert_alike(expected, normalise(found.out, **folders), normalise(found.err, **folders), found.rc)
        if not gone:
            gone = vbox.vm("web")["uuid"]
            Path(vbox.vm("web")["settings"]).unlink()


def assert_alike(expected, out, err, rc):
    where = " ".join(expected.words)
    assert rc == expected.rc, "%s said %s" % (where, err)
    if where.startswith(SHORTER):
        assert lines_not_in(out, normalise(expected.out)) == [], where
        assert lines_not_in(err, normalise(expected.err)) == [], where
        assert bool(out) == bool(expected.out) and bool(err) == bool(expected.err)
    else:
        assert (out, err) == (normalise(expected.out), normalise(expected.err)), where


# --- what no recording shows: running VMs, other versions and systems, mishaps

def said(vbox, *words):
    """What a call that succeeds says."""
    found = call(vbox, words)
    assert found.rc == 0, found.err
    return found.out


def refusal(vbox, *words):
    """What a call that fails says."""
    found = call(vbox, words)
    assert found.rc in (1, 2), found
    return found.err


@pytest.fixture
def web(vbox):
    """A running VM "web" with NAT and a host-only NIC."""
    said(vbox, "hostonlyif", "create")
    said(vbox, "createvm", "--name", "web", "--register")
    said(vbox, "modifyvm", "web", "--nic1", "nat", "--nic2", "hostonly", "--hostonlyadapter2", "vboxnet0")
    said(vbox, "startvm", "web", "--type", "headless")
    return vbox


def property_of(vbox, name="/VirtualBox/GuestInfo/Net/1/V4/IP"):
    return said(vbox, "guestproperty", "get", "web", name)


def lease(vbox):
    mac = vbox.vm("web")["nics"]["2"]["mac"]
    return call(vbox, ["dhcpserver", "findlease", "--interface=vboxnet0", "--mac-address=" + mac])


def test_a_running_guest_has_an_address_of_the_dhcp_servers_range(web):
    assert property_of(web) == "Value: 192.168.56.101\n"
    assert lease(web).out.startswith("IP Address:  192.168.56.101\n")
    said(web, "controlvm", "web", "poweroff")
    assert property_of(web) == "No value set!\n"


@pytest.mark.parametrize("guest, address, leased", [
    ({"additions": False}, "No value set!\n", True),
    ({"lease": False}, "Value: 192.168.56.101\n", False),
    ({"address": "127.0.0.1"}, "Value: 127.0.0.1\n", True),
    ({"address": {"web": "127.0.0.2"}}, "Value: 127.0.0.2\n", True),
])
def test_a_guest_may_be_without_guest_additions_or_dhcp_or_elsewhere(vbox, request, guest, address, leased):
    vbox.set(guest=guest)
    web = request.getfixturevalue("web")
    assert (property_of(web), lease(web).rc == 0) == (address, leased)


def test_a_guest_takes_its_time(vbox, request):
    vbox.set(guest={"ip_after": 2})
    web = request.getfixturevalue("web")
    assert lease(web).rc == 1
    assert [property_of(web) for _ in range(2)] == ["No value set!\n", "Value: 192.168.56.101\n"]


@pytest.mark.parametrize("shutdown, states", [
    ({"after": 2}, ["running", "running", "poweroff"]), ({"seconds": 0}, ["poweroff"] * 3), ({}, ["running"] * 3)])
def test_the_power_button_takes_effect_when_the_test_says(web, shutdown, states):
    web.set(shutdown=shutdown)
    said(web, "controlvm", "web", "acpipowerbutton")
    found = [re.search('VMState="(.*)"', said(web, "showvminfo", "web", "--machinereadable")) for _ in states]
    assert [match and match.group(1) for match in found] == states


def test_a_running_vm_is_locked(web):
    for words in (["modifyvm", "web", "--memory", "512"], ["unregistervm", "web", "--delete"],
                  ["startvm", "web", "--type", "headless"]):
        assert "VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap" in refusal(web, *words)
    assert said(web, "list", "runningvms").startswith('"web" {')


def test_a_vm_goes_through_its_states(web):
    said(web, "controlvm", "web", "pause")
    assert "Invalid machine state: Paused" in refusal(web, "controlvm", "web", "acpipowerbutton")
    said(web, "controlvm", "web", "resume")
    said(web, "controlvm", "web", "savestate")
    assert 'VMState="saved"\n' in said(web, "showvminfo", "web", "--machinereadable")
    said(web, "startvm", "web")
    web.put("web", "aborted")
    assert "State:                       aborted (since" in said(web, "showvminfo", "web")
    web.put("web", "gurumeditation")
    assert said(web, "list", "runningvms")
    said(web, "controlvm", "web", "poweroff")
    said(web, "unregistervm", "web", "--delete")
    assert web.vms() == {}


def test_a_saved_state_can_be_discarded(web):
    web.put("web", "saved")
    said(web, "discardstate", "web")
    assert web.vms() == {"web": "poweroff"}


def test_a_vm_does_not_start_without_its_interface(web):
    said(web, "controlvm", "web", "poweroff")
    said(web, "hostonlyif", "remove", "vboxnet0")
    assert "Nonexistent host networking interface, name 'vboxnet0'" in refusal(web, "startvm", "web")


def test_addresses_of_interfaces_are_limited_since_6_1_28_but_not_on_windows(vbox):
    said(vbox, "hostonlyif", "create")
    words = ["hostonlyif", "ipconfig", "vboxnet0", "--ip", "192.168.99.1", "--netmask", "255.255.255.0"]
    assert "Code E_ACCESSDENIED (0x80070005) - Access denied" in refusal(vbox, *words)
    vbox.set(version="6.1.26r145957")
    said(vbox, *words)
    vbox.set(version="7.0.20r163906", platform="windows")
    said(vbox, *words)


@pytest.mark.parametrize("version, words", [
    ("6.1.50r161033", ["modifyvm", "web", "--nat-pf1", "ssh,tcp,127.0.0.1,2222,,22"]),
    ("6.1.50r161033", ["createvm", "--name", "x", "--platform-architecture", "x86"]),
    ("6.1.50r161033", ["hostonlynet", "add", "--name", "x"]),
    ("7.0.20r163906", ["createvm", "--name", "x", "--platform-architecture", "x86"]),
    ("7.0.20r163906", ["modifyvm", "web", "--hostonlynet2", "x"]),
])
def test_older_versions_do_not_know_newer_options(vbox, version, words):
    vbox.set(version=version)
    said(vbox, "createvm", "--name", "web", "--register")
    assert re.search("Unknown option|Invalid command", refusal(vbox, *words))


def test_older_versions_show_things_in_their_way(vbox):
    vbox.set(version="5.2.44r139111")
    assert "\nlowerIPAddress: 192.168.56.101\n" in said(vbox, "list", "dhcpservers")
    said(vbox, "createvm", "--name", "web", "--register")
    assert "encryption" not in said(vbox, "showvminfo", "web", "--machinereadable")


def test_macos_has_host_only_networks_instead_of_interfaces(vbox):
    vbox.set(platform="darwin")
    assert "/dev/vboxnetctl" in refusal(vbox, "hostonlyif", "create")
    said(vbox, "hostonlynet", "add", "--name", "docker", "--netmask", "255.255.255.0", "--lower-ip", "192.168.99.1",
         "--upper-ip", "192.168.99.254", "--enable")
    said(vbox, "createvm", "--name", "web", "--register")
    said(vbox, "modifyvm", "web", "--nic1", "nat", "--nic2", "hostonlynet", "--host-only-net2", "docker")
    said(vbox, "startvm", "web")
    assert property_of(vbox) == "Value: 192.168.99.2\n"
    assert 'hostonly-network2="docker"\n' in said(vbox, "showvminfo", "web", "--machinereadable")
    assert said(vbox, "list", "hostonlynets").endswith("VBoxNetworkName: hostonly-docker\n\n")
    said(vbox, "controlvm", "web", "poweroff")
    said(vbox, "modifyvm", "web", "--nic2", "hostonly")
    assert "Host-only adapters are no longer supported!" in refusal(vbox, "startvm", "web")


def test_windows_has_its_own_names_codes_and_line_ends(vbox):
    vbox.set(platform="windows")
    assert said(vbox, "hostonlyif", "create").endswith("Ethernet Adapter' was successfully created\r\n")
    assert "Adapter #2'" in said(vbox, "hostonlyif", "create")
    assert refusal(vbox, "hostonlyif", "remove", "x").splitlines()[1] == (
        "VBoxManage.exe: error: Details: code E_INVALIDARG (0x80070057), component HostWrap, interface IHost, "
        "callee IUnknown")


def test_it_is_a_program(vbox, tmp_path):
    disk = tmp_path / "disk.vmdk"
    done = subprocess.run([vbox.program, "convertfromraw", "stdin", str(disk), "5"], input=b"abc",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout, disk.read_bytes()) == (0, b"", b"abc")
    assert subprocess.run([vbox.program, "nosuch"], stderr=subprocess.DEVNULL).returncode == 2


def test_two_that_create_an_interface_at_once_get_two(vbox, background):
    vbox.delay("hostonlyif create", 0.3)
    both = [background(subprocess.Popen([vbox.program, "hostonlyif", "create"], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)) for _ in range(2)]
    assert {process.communicate()[0] for process in both} == {
        b"Interface 'vboxnet%d' was successfully created\n" % index for index in range(2)}


def test_calls_fail_as_often_as_the_test_says(vbox):
    vbox.fail("list vms", "not-ready", times=2, skip=1)
    assert [call(vbox, ["list", "vms"]).rc for _ in range(4)] == [0, 1, 1, 0]
    vbox.fail("list *", "odd\n", rc=7)
    assert call(vbox, ["list", "hdds"])[1:] == ("", "odd\n", 7)
    vbox.mend()
    said(vbox, "list", "hdds")
    assert len(vbox.calls("list vms")) == 4 and vbox.calls()[-1] == ["list", "hdds"]


@pytest.mark.parametrize("when, made", [("before", {}), ("after", {"web": "poweroff"})])
def test_a_call_can_be_held_before_or_after_its_effect(vbox, background, when, made):
    vbox.block("createvm", when)
    process = background(subprocess.Popen([vbox.program, "createvm", "--name", "web", "--register"]))
    vbox.wait_blocked()
    assert (vbox.blocked(), vbox.vms()) == ("createvm --name web --register", made)
    process.kill()
    process.wait()
    assert vbox.vms() == made


def test_what_it_does_not_play_is_told(vbox):
    assert call(vbox, ["import", "box.ova"]).rc == 99
    assert vbox.unknown() == [["import", "box.ova"]]
    vbox.set(unknown=[])
