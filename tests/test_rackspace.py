"""The driver "rackspace" against the server of openstack_cloud.py, with Rackspace's login."""

import base64
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from machines import ProviderMachines, ours, take_environment
from openstack_cloud import OpenStackCloud
from test_openstack import OLD

import docker_machine as core


@pytest.fixture(scope="module")
def services():
    cloud = OpenStackCloud()
    yield cloud
    cloud.close()


@pytest.fixture
def cloud(services):
    services.clear()
    services.regions, services.versions = ["DFW", "IAD"], ["v2.0"]
    yield services
    assert services.wrong == []


class Here(ProviderMachines):
    """An account, and a store as this very process finds it."""

    cloud = None  # type: OpenStackCloud


@pytest.fixture
def here(cloud, dm, store, tmp_path, pauses, monkeypatch):
    env = {"OS_USERNAME": "rax", "OS_API_KEY": "key-4711", "RACKSPACE_API_URL": cloud.url, "HOME": str(tmp_path)}
    take_environment(monkeypatch, env, "OS_", "RACKSPACE_", "RAX_")
    dm.env.update(env)
    monkeypatch.setattr(core.out, "secrets", set())
    found = Here(store, core.load_driver("rackspace"), tmp_path)
    found.environ, found.cloud = dict(env), cloud
    return found


def only(rows):
    (row,) = rows.values()
    return row


def test_a_login_is_enough_for_the_newest_ubuntu_lts(here):
    driver = here.create().driver
    ((body, _),) = here.cloud.orders
    server = body["server"]
    assert (server["imageRef"], server["flavorRef"], server["config_drive"]) == ("i-6", "general1-1", True)
    assert server["key_name"] == driver["CreateTag"] and here.cloud.pairs == {}
    assert ours(base64.b64decode(server["user_data"]).decode())["ssh_keys"]
    assert "security_groups" not in server and "networks" not in server
    assert driver["IPAddress"] == only(here.cloud.servers)["accessIPv4"]
    assert here.cloud.logins == [{"RAX-KSKEY:apiKeyCredentials": {"username": "rax", "apiKey": "key-4711"}}]
    driver.remove()
    driver.remove()
    assert here.cloud.is_empty()


@pytest.mark.parametrize("flags, words, hint", [
    ({"api_key": "wrong-key"}, "Rackspace refuses the login of rax", "API key, not the password"),
    ({"region": "SYD"}, "No suitable endpoint", "Regions: DFW, IAD"),
    ({"endpoint_type": "internalURL"}, "No suitable endpoint", "Endpoint types: publicURL"),
    ({"image_id": "ubuntu"}, "Unable to find image named ubuntu", "image list"),
])
def test_what_is_wrong_is_one_sentence(here, flags, words, hint):
    with pytest.raises(core.MachineError) as failure:
        here.create(**flags)
    assert words in failure.value.message and hint in failure.value.hint and here.cloud.is_empty()
    assert "wrong-key" not in failure.value.message


@pytest.mark.parametrize("words, hint", [
    ("Policy doesn't allow compute_flavor:create:image_backed to be performed.", "general1-N"),
    ("Exactly 1 isolated network(s) must be attached", "--rackspace-net-id"),
    ("Quota exceeded for ram: Requested 1024", "quota")])
def test_refusals_of_an_order_have_their_hints(here, words, hint):
    here.cloud.fail(403, "POST /compute/servers$", {"forbidden": {"code": 403, "message": words}})
    with pytest.raises(core.MachineError) as failure:
        here.create()
    assert hint in failure.value.hint and here.cloud.is_empty()


def test_the_address_is_that_of_the_end_of_the_automation(here):
    here.cloud.look = look = Automation(here.cloud)
    driver = here.create().driver
    here.cloud.look = None
    assert look.looks > 2 and driver["IPAddress"] == "127.22.0.7"


class Automation:
    """RackConnect, which changes the address a while after the server is active."""

    def __init__(self, cloud):
        self.cloud, self.looks = cloud, 0

    def __call__(self, line):
        if not line.startswith("GET /compute/servers/s-"):
            return
        self.looks += 1
        row = only(self.cloud.servers)
        row["metadata"]["rackconnect_automation_status"] = "DEPLOYED" if self.looks > 4 else "DEPLOYING"
        if self.looks > 4:
            row["accessIPv4"] = "127.22.0.7"


def test_it_finds_the_driver_openstack_beside_itself_wherever_the_two_are(here, dm, tmp_path):
    """Also where a package of that name is there, as openstacksdk's is."""
    vendored = tmp_path / "vendored"
    vendored.mkdir()
    for name in ("rackspace", "openstack"):
        shutil.copy(str(ROOT / "extras" / (name + ".py")), str(vendored))
    (tmp_path / "openstack.py").write_text("1 / 0\n", encoding="ascii")
    dm.env.update(PYTHONPATH="%s:%s" % (tmp_path, dm.env["PYTHONPATH"]), MACHINE_DRIVER_PATH=str(vendored))
    ended = dm("create", "-d", "rackspace", "--help")
    assert (ended.code, ended.err) == (0, "") and "--rackspace-api-key" in ended.out


def test_without_the_driver_openstack_it_says_so(dm, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("docker_machine.py", "extras/rackspace.py"):
        (alone / name).parent.mkdir(exist_ok=True)
        shutil.copy(str(ROOT / name), str(alone / name))
    python = [sys.executable, "-S"]  # without the drivers that are installed
    ended = subprocess.run([*python, str(alone / "docker_machine.py"), "create", "-d", "rackspace", "x"],
                           env=dict(dm.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert "openstack.py is not beside it" in ended.stderr and "Traceback" not in ended.stderr


def test_stop_and_start_are_sent_and_a_refusal_is_told(here):
    driver = here.create().driver
    driver.stop()
    driver.start()
    driver.restart()
    assert driver.get_state() == core.RUNNING
    here.cloud.stops = False
    with pytest.raises(core.MachineError) as failure:
        driver.stop()
    assert failure.value.message == "Rackspace does not currently support the stop operation"


def test_a_server_whose_order_seemed_to_fail_is_found_again(here):
    here.cloud.lose("POST /compute/servers$")
    here.create().driver.remove()
    assert len(here.cloud.orders) == 1 and here.cloud.is_empty()


def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_servers(here):
    here.cloud.shake(0.3, seed=5)
    for number in range(20):
        name = "web%d" % number
        here.create(name).driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.cloud.shake(0)
    assert len(here.cloud.orders) == 20 and here.cloud.is_empty()


def test_a_login_that_expires_is_renewed(here):
    driver = here.create().driver
    here.cloud.tokens.clear()
    assert driver.get_state() == core.RUNNING and len(here.cloud.logins) == 2


def test_an_entry_of_docker_machine_works_and_keeps_its_fields(here, call):
    row = here.cloud.add_server("old", accessIPv4="127.20.0.9")
    machine = here.store.new("old", here.driver_class)
    machine.config["Driver"] = dict(
        OLD, MachineName="old", StorePath=here.store.path, MachineId=row["id"], AuthUrl="", Username="rax",
        APIKey="key-4711", Password="", TenantName="", TenantId="", DomainID="", Region="IAD", IpVersion=0,
        EndpointType="publicURL", KeyPairName="old-4711", FlavorId="general1-1", ImageId="gone")
    here.store.add(machine)
    machine.mark("")
    assert call("status", "old").out == "Running\n" and here.stored("old")["IpVersion"] == 0
    assert call("rm", "-y", "old").code == 0 and here.cloud.is_empty() and here.store.names() == []
