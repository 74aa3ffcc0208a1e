"""Machines by the driver "vmwarevcloudair": tests/vcloud.py plays VMware Cloud Director, and its VMs are real hosts
with a real cloud-init (see tests/integration/vcloud.py)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from vcloud import VCloud

import docker_machine as core

from .program import Program, said, until

if TYPE_CHECKING:
    from .instances import Instances

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "vcloud")]

CREATE = ("create", "--driver", "vmwarevcloudair", "--vmwarevcloudair-ip-allocation", "dhcp")
BOOT = "cut -d ' ' -f 22 /proc/1/stat"
LOOK = "sudo -u jane sudo id -un; sudo cat ~jane/.ssh/authorized_keys; sudo stat -c '%U %a' ~jane/.ssh/authorized_keys"


def test_the_whole_life_of_a_vapp(program: Program, cloud: VCloud, instances: Instances[str]) -> None:
    done = program(*CREATE, "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=vmwarevcloudair"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    address = cloud.row()["address"]
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\nroot\n"
    asked = len(cloud.calls)
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running vmwarevcloudair\n"
    assert len(cloud.calls) == asked, "engines that answer need nobody else"
    check_script(program)
    check_network(program)

    boot = program("ssh", "web", BOOT).stdout
    program("restart", "web")
    assert program("ssh", "web", BOOT).stdout != boot
    program("stop", "web")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n"
    program("start", "web")
    assert program("url", "web").stdout == f"tcp://{address}:2376\n"
    assert sorted(program.info()["Labels"]) == labels
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"
    program("rm", "-y", "web")
    assert cloud.is_empty() and until(lambda: not instances.hosts)


def check_script(program: Program) -> None:
    """The script of the guest customization, on a real host."""
    extra = core.load_extra("vmwarevcloudair")
    assert extra
    script = extra.CUSTOMIZATION % {"user": "jane", "key": "ssh-ed25519 AAAA"}
    for when in ("precustomization", "postcustomization", "postcustomization"):
        program("ssh", "web", f"cat >/tmp/script <<'END'\n{script}END\nsh /tmp/script {when}")
    assert program("ssh", "web", LOOK).stdout == "root\nssh-ed25519 AAAA\njane 600\n"


READ = """
import json, sys
from cloudinit.net.network_state import parse_net_config_data
from cloudinit.sources.DataSourceOVF import read_ovf_environment
found, data, _ = read_ovf_environment(sys.stdin.read(), True)
(card,) = parse_net_config_data(found["network-config"]).iter_interfaces()
(subnet,) = card["subnets"]
print(json.dumps([found["instance-id"], found["local-hostname"], data.decode(), card["mac_address"], subnet]))
"""


def check_network(program: Program) -> None:
    """cloud-init reads the OVF properties as they are meant, those of a network with a pool too."""
    extra = core.load_extra("vmwarevcloudair")
    assert extra
    vm = ElementTree.fromstring(
        "<Vm><NetworkConnectionSection><NetworkConnection><IpAddress>10.1.2.3</IpAddress>"
        "<MACAddress>00:50:56:01:02:AB</MACAddress><IpAddressAllocationMode>POOL</IpAddressAllocationMode>"
        "</NetworkConnection></NetworkConnectionSection></Vm>")
    network = extra.network_config(vm, {"netmask": "255.255.252.0", "defaultGateway": "10.1.0.1", "dns1": "10.1.0.2"})
    values = {"instance-id": "one", "hostname": "ship", "user-data": extra.base64("#cloud-config\n"),
              "network-config": extra.base64(json.dumps({"network": network}))}
    space = "http://schemas.dmtf.org/ovf/environment/1"
    rows = "".join(f'<oe:Property oe:key="{key}" oe:value="{value}"/>' for key, value in values.items())
    text = f'<Environment xmlns="{space}" xmlns:oe="{space}"><PropertySection>{rows}</PropertySection></Environment>'
    program("ssh", "web", f"cat >/tmp/read.py <<'END'{READ}END")
    number, name, data, mac, subnet = json.loads(program("ssh", "web", "python3 /tmp/read.py", stdin=text).stdout)
    assert (number, name, data, mac) == ("one", "ship", "#cloud-config\n", "00:50:56:01:02:ab")
    assert subnet["address"].startswith("10.1.2.3") and str(subnet.get("prefix", subnet["address"])).endswith("22")
    assert subnet["dns_nameservers"] == ["10.1.0.2"] and subnet["routes"][0]["gateway"] == "10.1.0.1"


def test_the_client_library_is_content_with_the_stand_in_and_composes_as_we_do(
    program: Program, client: Path
) -> None:
    """Debian's govcd is an heir of the library that Docker Machine used."""
    server = VCloud()
    server.public = server.url
    program.environ.update(VCLOUDAIR_ENDPOINT=server.url, VCLOUDAIR_VDCID="east", VCLOUDAIR_CATALOGITEM="Ubuntu 24.04",
                           VCLOUDAIR_API_TOKEN=server.api_token, VCLOUDAIR_ORG="acme", no_proxy="127.0.0.1")
    for guest in ("cloud-init", "script"):
        server.end("POST vApp/vapp/powerOn")  # it is made, and no more
        failed = program("create", "--driver", "vmwarevcloudair", "--vmwarevcloudair-guest", guest, "ours", code=3)
        assert "It failed as told" in failed.stderr and server.is_empty()

    network, item = server.networks[0], server.items[0]
    words = [network["vdc"], item["template"], network["id"], network["name"]]
    done = subprocess.run([str(client), server.url, server._token(), *words], capture_output=True, text=True,
                          check=False)
    server.close()
    assert done.returncode == 0, done.stderr
    first, *turns = done.stdout.splitlines()
    assert first.startswith("theirs urn:vcloud:vapp:") and first.endswith("POOL") and "POWERED_OFF 127.20." in first
    on, off = "POWERED_ON false", "POWERED_OFF false"
    assert turns == [on, on, on, off, on, off, off, " true"] and server.is_empty()
    assert server.wrong == []
    first_of_ours, ours, theirs = map(comparable, server.composed)
    assert ours == theirs == first_of_ours
    mine, other = bodies(server, "PUT vApp/vm/productSections")
    assert [one.tag for one in mine.iter()][:5] == [one.tag for one in other.iter()]
    assert attributes(mine, "user-data") == attributes(other, "user-data")
    _, mine, other = bodies(server, "PUT vApp/vm/guestCustomizationSection")
    left_out = {"AdminPasswordEnabled", "AdminPasswordAuto", "AdminAutoLogonEnabled", "AdminAutoLogonCount",
                "ChangeSid", "JoinDomainEnabled", "UseOrgSettings", "ResetPasswordRequired"}
    tags = [[one.tag for one in root.iter() if one.tag.rpartition("}")[2] not in left_out] for root in (mine, other)]
    assert tags[0] == tags[1]


def bodies(server: VCloud, name: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(body) for called, body in server.calls if called == name]


def attributes(root: ElementTree.Element, key: str) -> list[str]:
    """What the property of that key has of attributes, its own and its value's."""
    found = [one for one in root.iter() if key in one.attrib.values()]
    return [name for one in found for part in one.iter() for name in sorted(part.attrib)]


def comparable(root: ElementTree.Element) -> list[object]:
    """What an order says, without its words and what the library always sends."""
    words = {"ComposeVAppParams": {"name"}, "NetworkConnectionSection": {"type", "href"}}
    left_out = {"Description", "Info", "AllEULAsAccepted", "IsDeployed", "BackwardCompatibilityMode",
                "RetainNetInfoAcrossDeployments"}
    name = root.tag.rpartition("}")[2]
    attributes = sorted((key, value) for key, value in root.items() if key not in words.get(name, set()) and value)
    children = [comparable(child) for child in root if child.tag.rpartition("}")[2] not in left_out]
    return [name, attributes, "" if children else (root.text or "").strip(), children]
