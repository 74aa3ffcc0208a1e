"""The driver "amazonec2" against moto's server, behind a proxy that does what moto cannot (see awsproxy.py).

Whether a machine boots is not seen here: tests/integration/test_amazonec2.py has that.
"""

import email
import gzip
import json
import os
import random
import re
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from awsproxy import AMAZON, AWS, FLATCAR, KEY, SECRET, UBUNTU, WINDOWS, Moto, groups_of
from conftest import HANG, ROOT
from machines import Kill, ProviderMachines, listed_by_engines

import docker_machine as core

pytestmark = pytest.mark.once  # moto needs a Python of today

IGNITION = json.dumps({"ignition": {"version": "3.3.0"}})
MOST_CALLS = 12


@pytest.fixture
def pauses(monkeypatch):
    """The seconds of each sleep() that is more than a blink; it passes at once, and the clock goes on as if it had
    not."""
    slept, real, sleep = [], time.monotonic, time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds) if seconds < .05 else slept.append(seconds))
    monkeypatch.setattr(time, "monotonic", lambda: real() + sum(slept))
    return slept


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """moto's server, started once."""
    pytest.importorskip("moto")
    server = Moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def aws(moto):
    """An account of its own with the default VPC, and the proxy that the driver asks."""
    moto.reset()
    proxy = AWS(moto)
    proxy.tell_ubuntu()
    yield proxy
    proxy.close()


class Here(ProviderMachines):
    """An account, and a store as this very process finds it."""

    environ = os.environ

    def __init__(self, aws, store, folder):
        super().__init__(store, core.load_driver("amazonec2"), folder, endpoint=aws.url)
        self.aws = aws

    def old(self, name="old", region="us-east-1", **fields):
        """An entry as Docker Machine wrote it, with its instance; `fields` of a fork."""
        client = self.aws.client(region=region)
        made = client.run_instances(ImageId=UBUNTU["x86_64"], MinCount=1, MaxCount=1, InstanceType="t3.micro")
        row = made["Instances"][0]
        key = " ".join(public_half(self.key("key-of-" + name)))
        client.import_key_pair(KeyName=name, PublicKeyMaterial=key.encode())
        machine = self.store.new(name, self.driver_class)
        theirs = dict(OLD, InstanceId=row["InstanceId"], KeyName=name, MachineName=name, Endpoint=self.aws.url,
                      AccessKey=KEY, SecretKey=SECRET, Region=region, StorePath=self.store.path,
                      SSHKeyPath=os.path.join(machine.folder, "id_rsa"), **fields)
        machine.config["Driver"] = theirs
        self.store.add(machine)
        machine.mark("")
        return self.store.machine(name)

    def instance(self):
        """moto's row of the only instance that was ever made."""
        (row,) = self.aws.instances()
        return row

    def order(self):
        """The only request that made an instance."""
        (launch,) = self.aws.launches
        return launch[1]

    def key(self, name="mine", kind="ed25519"):
        """The path of a new private key."""
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True,
                       stdin=subprocess.DEVNULL)
        return path


# config.json of Docker Machine 0.16.2: drivers/amazonec2, in the order of its struct.
OLD = {"IPAddress": "", "SSHUser": "ubuntu", "SSHPort": 22, "SwarmMaster": False, "SwarmHost": "", "SwarmDiscovery": "",
       "Id": "0123456789abcdef0123456789abcdef", "SessionToken": "", "AMI": "ami-c60b90d1", "SSHKeyID": 0,
       "ExistingKey": False, "InstanceType": "t2.micro", "PrivateIPAddress": "172.31.0.9", "SecurityGroupId": "",
       "SecurityGroupIds": ["sg-0123456789abcdef0"], "SecurityGroupName": "", "SecurityGroupNames": ["docker-machine"],
       "SecurityGroupReadOnly": False, "OpenPorts": None, "Tags": "", "ReservationId": "", "DeviceName": "/dev/sda1",
       "RootSize": 16, "VolumeType": "gp2", "IamInstanceProfile": "", "VpcId": "vpc-1", "SubnetId": "subnet-1",
       "Zone": "a", "RequestSpotInstance": False, "SpotPrice": "0.50", "BlockDurationMinutes": 0,
       "PrivateIPOnly": False, "UsePrivateIP": False, "UseEbsOptimizedInstance": False, "Monitoring": False,
       "SSHPrivateKeyPath": "", "RetryCount": 5, "DisableSSL": False, "UserDataFile": ""}
FORKS = {
    "Docker Machine": {},
    "rancher/machine": {"OS": "linux", "IPv6Address": "", "EncryptEbsVolume": True, "HttpEndpoint": "enabled",
                        "HttpTokens": "required", "HttpProtocolIpv6": "disabled", "EnablePrimaryIpv6": False,
                        "Ipv6AddressCount": 0, "Ipv6AddressOnly": False},
    "GitLab": {"VolumeEncrypted": True, "VolumeKmsKeyId": "alias/ci", "MetadataTokenSetting": "optional",
               "MetadataTokenResponseHopLimit": 1},
}


@pytest.fixture(scope="module")
def loader():
    """boto3's descriptions of AWS, read once for all tests."""
    return pytest.importorskip("botocore.loaders").create_loader()


@pytest.fixture
def here(aws, loader, dm, store, tmp_path, pauses, monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true",
           "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
           "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    dm.env.update(env, AWS_ENDPOINT=aws.url)
    monkeypatch.setattr(core.out, "secrets", set())
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr("botocore.session.create_loader", lambda path=None: loader)
    yield Here(aws, store, tmp_path)


@pytest.fixture
def soon(here, closed_port, monkeypatch):
    """Words for whole commands: SSH never answers, and that is soon known."""
    monkeypatch.setattr(here.driver_class, "boot_seconds", 0.1)
    monkeypatch.setattr(here.driver_class, "get_ssh_hostname", lambda self: "127.0.0.1")
    monkeypatch.setattr(here.driver_class, "get_ssh_port", lambda self: closed_port)
    return ["create", "-d", "amazonec2"]


def public_half(path):
    return Path(str(path) + ".pub").read_text().split()[:2]


def ours(user_data):
    """What our part of the user data says; it is the last one."""
    text = (gzip.decompress(user_data) if user_data[:2] == b"\x1f\x8b" else user_data).decode()
    if not text.startswith("#cloud-config"):
        parts = [part for part in email.message_from_string(text).walk() if not part.is_multipart()]
        text = bytes(parts[-1].get_payload(decode=True)).decode()
    return json.loads(text.partition("\n")[2])


def ports_of(group):
    """{(protocol, first, last)} that a security group lets in from everywhere."""
    return {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in group["IpPermissions"]
            if "0.0.0.0/0" in [source["CidrIp"] for source in rule["IpRanges"]]}


BASIC = {("tcp", 22, 22), ("tcp", 2376, 2376)}


# --- a creation

def test_nothing_but_a_login_is_needed_in_the_default_vpc(here):
    driver = here.create().driver
    row, order = here.instance(), here.order()
    assert (row["State"]["Name"], row["ImageId"], row["InstanceType"]) == ("running", UBUNTU["x86_64"], "t3.micro")
    assert driver["IPAddress"] == row["PublicIpAddress"] and driver.get_state() == core.RUNNING
    metadata = {name.split(".")[1]: value for name, value in order.items() if name.startswith("MetadataOptions.")}
    assert metadata == {"HttpTokens": "required", "HttpPutResponseHopLimit": "2", "HttpEndpoint": "enabled"}
    assert row["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in order and "Placement.AvailabilityZone" not in order
    assert ours(here.aws.user_data(row["InstanceId"]))["users"][0]["name"] == "ubuntu"
    assert ports_of(here.aws.groups()["docker-machine"]) == BASIC


def test_a_creation_takes_few_calls_none_of_them_twice(here):
    here.create()
    names = here.aws.names()
    assert len(set(names)) == len(names) <= MOST_CALLS, names
    del here.aws.calls[:]
    here.create("second")
    page = (ROOT / "docs" / "drivers" / "amazonec2.md").read_text(encoding="utf-8")
    told = "A creation is %d calls\nof AWS's API, or %d if the security group is there." % (
        len(names), len(here.aws.names()))
    assert told in page


def test_all_that_is_launched_is_tagged_in_the_launch(here):
    machine = here.create(tags="team,web,cost,42")
    wanted = {"Name": "web", "team": "web", "cost": "42", "docker-machine": machine.driver["CreateTag"]}
    order = here.order()
    kinds = [order["TagSpecification.%d.ResourceType" % number] for number in (1, 2, 3)]
    assert kinds == ["instance", "volume", "network-interface"]
    for number in (1, 2, 3):
        names = ["TagSpecification.%d.Tag.%d." % (number, row) for row in (1, 2, 3, 4)]
        assert {order[name + "Key"]: order[name + "Value"] for name in names} == wanted
    assert {tag["Key"]: tag["Value"] for tag in here.instance()["Tags"]} == wanted
    (volume,) = here.aws.client().describe_volumes()["Volumes"]
    assert {tag["Key"]: tag["Value"] for tag in volume["Tags"]} == wanted
    assert (volume["Size"], volume["VolumeType"]) == (16, "gp3")


def test_a_machine_by_the_commands(here, call, soon):
    """From the check to the removal; only SSH is missing."""
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "SSH did not answer" in ended.err and "docker-machine provision web" in ended.err
    number = here.instance()["InstanceId"]
    assert "(web) Launching instance...\n" in ended.out and "Created instance ID " + number in ended.out
    assert call("status", "web").out == "Running\n"
    for verb, state in (("stop", "stopped"), ("start", "running"), ("kill", "stopped")):
        call(verb, "web")
        assert here.aws.states() == {number: state}
    assert call("status", "web").out == "Stopped\n" and "Stopped" in call("ls", "-t", "60").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.aws.clean() and here.store.names() == []


def test_an_address_that_changed_while_it_was_off_is_the_address_of_now(here):
    driver = here.create().driver
    before = driver["IPAddress"]
    driver.kill()
    driver.start()
    assert driver["IPAddress"] == here.instance()["PublicIpAddress"] != before


@pytest.mark.parametrize("arch, kind", [("x86_64", "t3.small"), ("arm64", "t4g.small"), ("x86_64", "g4dn.xlarge")])
@pytest.mark.parametrize("told", [True, False])
def test_the_image_is_the_newest_ubuntu_for_the_type(here, arch, kind, told):
    """By Canonical's parameter, or, where there is none, by owner and name."""
    if not told:
        here.aws.parameters.clear()
    here.create(instance_type=kind)
    assert here.instance()["ImageId"] == UBUNTU[arch] and len(here.aws.names()) <= MOST_CALLS


def test_the_image_is_found_where_parameters_may_not_be_read(here):
    here.aws.fail("GetParameter", "AccessDeniedException", words="is not authorized to perform: ssm:GetParameter")
    here.create()
    assert here.instance()["ImageId"] == UBUNTU["x86_64"]


def test_an_endpoint_that_knows_no_parameters_is_not_asked_again(here, pauses):
    here.aws.garble("GetParameter", 1000)
    here.create()
    assert here.instance()["ImageId"] == UBUNTU["x86_64"] and here.aws.names().count("GetParameter") == 1


def test_an_endpoint_that_is_not_awss_is_told_in_few_words(here):
    here.aws.garble("DescribeInstanceTypes", 1000)
    with pytest.raises(core.RestError, match="AWS: the answer is not one of AWS"):
        here.add()


def test_the_root_volume_is_the_one_of_the_image(here):
    here.create(ami=AMAZON, root_size=40, volume_type="gp2")
    disks = here.instance()["BlockDeviceMappings"]
    assert [disk["DeviceName"] for disk in disks] == ["/dev/xvda"]
    (volume,) = here.aws.client().describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"]) == (40, "gp2")


def test_a_volume_type_that_needs_iops_gets_some(here):
    machine = here.add(root_size=40, volume_type="io2")
    with pytest.raises(core.PreCreateError, match="Iops"):  # moto forgets that they were named
        machine.driver.create()
    assert here.aws.of("RunInstances")[0]["BlockDeviceMapping.1.Ebs.Iops"] == "2000"


@pytest.mark.parametrize("flags", [{"encrypt_ebs_volume": True, "kms_key": "alias/ci"},
                                   {"volume_encrypted": True, "volume_kms_key": "alias/ci"}, {"kms_key": "alias/ci"}])
def test_volumes_are_encrypted_by_the_names_of_both_forks(here, flags):
    here.create(**flags)
    order = here.order()
    assert order["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
    assert order["BlockDeviceMapping.1.Ebs.KmsKeyId"] == "alias/ci"
    assert "BlockDeviceMapping.2.DeviceName" not in order


@pytest.mark.parametrize("flags, tokens", [({"http_tokens": "optional"}, "optional"), ({}, "required"),
                                           ({"metadata_token": "optional"}, "optional")])
def test_metadata_options_go_by_the_names_of_both_forks(here, flags, tokens):
    here.create(metadata_token_response_hop_limit=5, http_protocol_ipv6="enabled", **flags)
    order = here.order()
    assert order["MetadataOptions.HttpTokens"] == tokens and order["MetadataOptions.HttpPutResponseHopLimit"] == "5"
    assert order["MetadataOptions.HttpProtocolIpv6"] == "enabled"


@pytest.mark.parametrize("arn", [False, True])
def test_an_instance_profile_goes_by_name_or_arn(here, arn):
    made = here.aws.client("iam").create_instance_profile(InstanceProfileName="ci")["InstanceProfile"]["Arn"]
    here.create(iam_instance_profile=made if arn else "ci", monitoring=True, use_ebs_optimized_instance=True)
    order = here.order()
    assert order["IamInstanceProfile." + ("Arn" if arn else "Name")] == (made if arn else "ci")
    assert order["Monitoring.Enabled"] == order["EbsOptimized"] == "true"


def test_tags_may_be_written_either_way_and_ours_stays_ours(here, capsys):
    driver = here.create(tags="Name=boss, team=a b,docker-machine=mine").driver
    tags = {tag["Key"]: tag["Value"] for tag in here.instance()["Tags"]}
    assert tags == {"Name": "boss", "team": "a b", "docker-machine": driver["CreateTag"]}
    assert here.machine("b", tags="k1,v1,k2").driver.tags() == {"k1": "v1"}
    assert "The tag k2 has no value; it is left out." in capsys.readouterr().err


# --- what is refused before anything is made

REFUSALS = [
    ({"instance_type": "t3.mikro"}, 'no instance type "t3.mikro"', "t3.micro"),
    ({"ami": "ami-0123456789abcdef0"}, "no image ami-0123456789abcdef0 in the region us-east-1", "describe-images"),
    ({"ami": UBUNTU["x86_64"], "instance_type": "t4g.small"}, "is for x86_64, the instance type for arm64", "one"),
    ({"ami": WINDOWS}, "is one of Windows", "--amazonec2-ami"),
    ({"root_size": 10}, "needs a root volume of 15 GB", "--amazonec2-root-size 15"),
    ({"subnet_id": "subnet-0123456789abcdef0"}, 'no subnet "subnet-0123456789abcdef0"', "Near it: subnet-"),
    ({"vpc_id": "vpc-0123456789abcdef0"}, 'no VPC "vpc-0123456789abcdef0" with a subnet', "Near it: vpc-"),
    ({"zone": "x"}, 'no availability zone "x" with a subnet of the VPC', "us-east-1a"),
    ({"security_group": "databses"}, 'no security group "databses" in the VPC', "Near it: databases"),
    ({"security_group": "sg-0123456789abcdef0"}, 'no security group "sg-0123', "describe-security-groups"),
    ({"keypair_name": "dask"}, 'no key pair "dask"', "Near it: desk"),
    ({"instance_type": "mac2.metal"}, "is for arm64_mac", "another --amazonec2-instance-type"),
]


@pytest.mark.parametrize("flags, words, hint", REFUSALS, ids=lambda value: str(value)[:40])
def test_what_is_unknown_or_does_not_fit_is_refused_with_the_nearest_names(here, call, soon, flags, words, hint):
    client = here.aws.client()
    vpc = client.describe_vpcs()["Vpcs"][0]["VpcId"]
    client.create_security_group(GroupName="databases", Description="x", VpcId=vpc)
    client.import_key_pair(KeyName="desk", PublicKeyMaterial=" ".join(public_half(here.key())).encode())
    flags = ["--amazonec2-%s=%s" % (name.replace("_", "-"), value) for name, value in flags.items()]
    ended = call(*(soon + flags + ["web"]))
    assert ended.code == 3 and words in ended.err.replace('\\"', '"') and hint in ended.err, ended
    assert here.aws.changes() == [] and here.store.names() == [] and not here.aws.instances()


def test_an_account_without_a_default_vpc_is_told_the_two_ways_out(here, call, soon):
    client = here.aws.client()
    for subnet in client.describe_subnets()["Subnets"]:
        client.delete_subnet(SubnetId=subnet["SubnetId"])
    client.delete_vpc(VpcId=client.describe_vpcs()["Vpcs"][0]["VpcId"])
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "The account has no default VPC in us-east-1." in ended.err
    assert "aws ec2 create-default-vpc" in ended.err and "--amazonec2-subnet-id" in ended.err
    assert here.aws.changes() == [] and here.store.names() == []


# --- networks

@pytest.fixture
def vpc(here):
    """A VPC that is not the default one, with a subnet in the zone b: (VPC, subnet)."""
    client = here.aws.client()
    made = client.create_vpc(CidrBlock="127.20.0.0/16")["Vpc"]["VpcId"]
    subnet = client.create_subnet(VpcId=made, CidrBlock="127.20.5.0/24", AvailabilityZone="us-east-1b")["Subnet"]
    return made, subnet["SubnetId"]


def test_a_subnet_alone_is_enough_wherever_it_is(here, vpc):
    here.create(subnet_id=vpc[1])
    row = here.instance()
    assert (row["VpcId"], row["SubnetId"], row["Placement"]["AvailabilityZone"]) == vpc + ("us-east-1b",)
    assert here.aws.groups()["docker-machine"]["VpcId"] == vpc[0]
    assert "DescribeVpcs" not in here.aws.names()


def test_a_subnet_of_another_vpc_than_the_named_one_is_refused(here, vpc):
    other = here.aws.client().describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    with pytest.raises(core.MachineError, match="%s does not belong to VpcId: %s" % (vpc[1], other)) as failure:
        here.add(subnet_id=vpc[1], vpc_id=other)
    assert vpc[0] in failure.value.hint


def test_the_group_is_that_of_the_machines_vpc(here, vpc):
    """One of the same name in another VPC is another one."""
    here.create("a")
    here.create("b", vpc_id=vpc[0])
    rows = here.aws.client().describe_security_groups()["SecurityGroups"]
    places = {row["VpcId"] for row in rows if row["GroupName"] == "docker-machine"}
    assert len(places) == 2 and vpc[0] in places
    orders = [groups_of(order) for _, order in here.aws.launches]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("zone, found", [("a", "us-east-1a"), ("d", "us-east-1d"), ("us-east-1b", "us-east-1b"),
                                         ("use1-az4", "us-east-1c")])
def test_a_zone_goes_by_letter_name_or_id(here, zone, found):
    rows = here.aws.client().describe_availability_zones()["AvailabilityZones"]
    names = {row["ZoneId"]: row["ZoneName"] for row in rows}
    here.create(zone=zone)
    assert here.instance()["Placement"]["AvailabilityZone"] == names.get(zone, found)


def test_a_type_that_the_zone_a_does_not_have_is_launched_where_it_is(here):
    client = here.aws.client()
    offered = client.describe_instance_type_offerings(LocationType="availability-zone")["InstanceTypeOfferings"]
    zones = {}  # type: dict
    for row in offered:
        zones.setdefault(row["InstanceType"], set()).add(row["Location"])
    kind = sorted(kind for kind, places in zones.items() if "us-east-1a" not in places and kind.startswith("t"))[0]
    here.create(instance_type=kind)
    assert here.instance()["Placement"]["AvailabilityZone"] in zones[kind]
    with pytest.raises(core.MachineError, match="AWS has no %s in us-east-1a" % re.escape(kind)) as failure:
        here.add("second", instance_type=kind, zone="us-east-1a")
    assert sorted(zones[kind])[0] in failure.value.hint


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "Unsupported", "InsufficientFreeAddressesInSubnet"])
def test_the_next_subnet_is_taken_where_a_zone_has_no_capacity(here, code, pauses):
    here.aws.fail("RunInstances", code, 2, 500 if code.endswith("Capacity") else 400)
    here.create()
    tried = [order["NetworkInterface.1.SubnetId"] for order in here.aws.of("RunInstances")]
    assert len(set(tried)) == len(tried) == 3 and here.instance()["SubnetId"] == tried[-1]
    assert here.stored()["SubnetId"] == tried[-1] and sum(pauses) < 5


def test_no_capacity_anywhere_is_told_with_what_was_tried_and_leaves_nothing(here, call, soon):
    here.aws.fail("RunInstances", "InsufficientInstanceCapacity", 100, 500)
    ended = call(*(soon + ["web"]))
    assert ended.code == 3 and "AWS has no t3.micro now" in ended.err and "us-east-1f" in ended.err
    assert here.aws.clean() and here.store.names() == []


def test_a_subnet_that_was_named_is_the_only_one_that_is_tried(here, vpc):
    here.aws.fail("RunInstances", "InsufficientInstanceCapacity", 1, 500)
    machine = here.add(subnet_id=vpc[1])
    with pytest.raises(core.PreCreateError, match="tried instance in us-east-1b"):
        machine.driver.create()
    assert len(here.aws.of("RunInstances")) == 1


@pytest.mark.parametrize("flag", ["private_address_only", "use_private_address"])
def test_a_private_address_is_used_at_once(here, vpc, flag):
    driver = here.create(subnet_id=vpc[1], **{flag: True}).driver
    assert driver["IPAddress"] == "127.20.5.4" and here.aws.names().count("DescribeInstances") == 1
    assert here.order()["NetworkInterface.1.AssociatePublicIpAddress"] == str(flag.startswith("use")).lower()


def test_ipv6_alone_makes_no_public_ipv4_address(here, vpc):
    client = here.aws.client()
    client.associate_vpc_cidr_block(VpcId=vpc[0], AmazonProvidedIpv6CidrBlock=True)
    (row,) = client.describe_vpcs(VpcIds=[vpc[0]])["Vpcs"]
    block = row["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    client.associate_subnet_cidr_block(SubnetId=vpc[1], Ipv6CidrBlock=block)
    here.aws.ipv6 = "2001:db8::7"
    flags = {"ipv6_address_count": 1, "ipv6_address_only": True, "enable_primary_ipv6": True}
    driver = here.create(subnet_id=vpc[1], **flags).driver
    assert driver.get_url() == "tcp://[2001:db8::7]:2376"
    order = here.order()
    assert order["NetworkInterface.1.Ipv6AddressCount"] == "1" and order["NetworkInterface.1.PrimaryIpv6"] == "true"
    assert order["NetworkInterface.1.AssociatePublicIpAddress"] == "false"
    rules = here.aws.groups()["docker-machine"]["IpPermissions"]
    assert [source["CidrIpv6"] for rule in rules for source in rule["Ipv6Ranges"]] == ["::/0"] * 2


def test_a_node_of_swarm_mode_gets_its_ports_opened(here):
    here.add_node().driver.create()
    assert ports_of(here.aws.groups()["docker-machine"]) == BASIC | {
        ("tcp", 2377, 2377), ("tcp", 7946, 7946), ("udp", 4789, 4789), ("udp", 7946, 7946)}


# --- security groups

def test_two_creations_at_once_make_one_group_with_all_rules(here):
    """Each sees none before either makes one."""
    machines = [here.add(name, open_port=port) for name, port in (("a", "80"), ("b", "53/udp"))]
    both, failed = threading.Barrier(2, timeout=HANG), []
    here.aws.look("CreateSecurityGroup", lambda values: both.wait())

    def create(machine):
        try:
            machine.driver.create()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=create, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    (group,) = here.aws.groups().values()
    assert ports_of(group) == BASIC | {("tcp", 80, 80), ("udp", 53, 53)}
    assert [groups_of(order) for _, order in here.aws.launches] == [[group["GroupId"]]] * 2


def test_only_the_rules_that_are_missing_are_added(here):
    here.create("a")
    here.create("b")
    here.create("c", open_port=["8000-8010", "8005", "443/tcp"])
    asked = here.aws.of("AuthorizeSecurityGroupIngress")
    assert len(asked) == 2
    (group,) = here.aws.groups().values()
    assert ports_of(group) == BASIC | {("tcp", 8000, 8010), ("tcp", 8005, 8005), ("tcp", 443, 443)}
    here.create("d", open_port=["8001-8003", "443"])
    assert len(here.aws.of("AuthorizeSecurityGroupIngress")) == 2


def test_rules_that_somebody_added_meanwhile_do_not_hinder_the_others(here):
    here.create("a")
    (group,) = here.aws.groups().values()
    rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    machine = here.add("b", open_port=["80", "81"])
    here.aws.client().authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    machine.driver.create()
    (group,) = here.aws.groups().values()
    assert ports_of(group) == BASIC | {("tcp", 80, 80), ("tcp", 81, 81)}


@pytest.fixture
def own_group(here):
    """A security group of the user's, "databases": its id."""
    client = here.aws.client()
    (vpc,) = client.describe_vpcs()["Vpcs"]
    return client.create_security_group(GroupName="databases", Description="x", VpcId=vpc["VpcId"])["GroupId"]


@pytest.mark.parametrize("by_id", [False, True])
def test_a_group_that_the_user_named_gets_no_rule_and_stays(here, own_group, by_id):
    here.create(security_group=own_group if by_id else "databases").driver.remove()
    assert here.aws.of("AuthorizeSecurityGroupIngress") == here.aws.of("CreateSecurityGroup") == []
    assert groups_of(here.order()) == [own_group] and list(here.aws.groups()) == ["databases"]


def test_ports_that_are_asked_for_are_opened_in_it_and_the_default_group_goes_along(here, own_group):
    here.create(security_group=["databases", "docker-machine"], open_port="80")
    groups = here.aws.groups()
    assert ports_of(groups["databases"]) == {("tcp", 80, 80)}
    assert ports_of(groups["docker-machine"]) == BASIC | {("tcp", 80, 80)}
    assert sorted(groups_of(here.order())) == sorted(group["GroupId"] for group in groups.values())


def test_readonly_adds_no_rule_anywhere(here, own_group):
    here.create(security_group=["databases", "docker-machine"], security_group_readonly=True, open_port="80")
    assert here.aws.of("AuthorizeSecurityGroupIngress") == []


def test_the_group_goes_with_the_last_machine_that_is_in_it(here):
    for name in ("a", "b"):
        here.create(name)
    here.load("a").driver.remove()
    assert list(here.aws.groups()) == ["docker-machine"] and here.aws.of("DeleteSecurityGroup") == []
    here.load("b").driver.remove()
    assert here.aws.clean()


def test_the_group_goes_too_where_the_last_machines_go_at_once(here, call):
    for name in ("a", "b", "c"):
        here.create(name)
    ended = call("rm", "-y", "a", "b", "c")
    assert (ended.code, ended.err) == (0, "") and here.aws.clean()


def test_a_group_that_docker_machine_made_stays(here):
    client = here.aws.client()
    (vpc,) = client.describe_vpcs()["Vpcs"]
    client.create_security_group(GroupName="docker-machine", Description="Docker Machine", VpcId=vpc["VpcId"])
    here.create().driver.remove()
    (group,) = here.aws.groups().values()
    assert ports_of(group) == BASIC


def test_a_group_that_something_else_uses_stays(here):
    machine = here.create()
    here.aws.fail("DeleteSecurityGroup", "DependencyViolation")
    machine.driver.remove()
    assert list(here.aws.groups()) == ["docker-machine"] and not here.aws.alive()


def test_a_group_that_was_removed_while_a_machine_was_made_is_made_again(here):
    here.create("a")
    machine = here.add("b")
    here.load("a").driver.remove()
    assert here.aws.groups() == {}
    here.aws.fail("RunInstances", "InvalidGroup.NotFound")
    machine.driver.create()
    (group,) = here.aws.groups().values()
    assert groups_of(here.aws.launches[-1][1]) == [group["GroupId"]] and ports_of(group) == BASIC


# --- spot

def test_spot_is_tagged_and_one_time(here, pauses):
    driver = here.create(request_spot_instance=True).driver
    order = here.order()
    assert here.instance()["InstanceLifecycle"] == "spot" and order["TagSpecification.4.ResourceType"] == (
        "spot-instances-request")
    assert order["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    assert "InstanceMarketOptions.SpotOptions.MaxPrice" not in order
    for stop in (driver.stop, driver.kill):
        with pytest.raises(core.MachineError, match="one-time Spot Instance") as failure:
            stop()
        assert "cannot be stopped" in failure.value.hint and sum(pauses) < 60
    driver.remove()
    assert here.aws.clean()


def test_a_price_is_sent_only_if_it_is_given(here):
    here.create(request_spot_instance=True, spot_price="0.02")
    assert here.order()["InstanceMarketOptions.SpotOptions.MaxPrice"] == "0.02"


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "SpotMaxPriceTooLow", "MaxSpotInstanceCountExceeded"])
def test_spot_without_capacity_falls_back_to_on_demand(here, code):
    here.aws.fail("RunInstances", code, 100, 500 if code.startswith("Ins") else 400,
                  fits=lambda values: "InstanceMarketOptions.MarketType" in values)
    driver = here.create(request_spot_instance=True).driver
    orders = here.aws.of("RunInstances")
    assert ["InstanceMarketOptions.MarketType" in order for order in orders] == [True] * (len(orders) - 1) + [False]
    subnets = [order["NetworkInterface.1.SubnetId"] for order in orders[:-1]]
    assert len(set(subnets)) == len(subnets) > 3
    assert len({order["ClientToken"] for order in orders}) == len(orders)
    assert "InstanceLifecycle" not in here.instance()
    driver.stop()
    assert driver.get_state() == core.STOPPED


# --- keys and user data

def test_a_key_pair_of_the_account_is_used_and_stays(here):
    path = here.key()
    here.aws.client().import_key_pair(KeyName="desk", PublicKeyMaterial=" ".join(public_half(path)).encode())
    machine = here.create(keypair_name="desk", ssh_keypath=path)
    row = here.instance()
    assert row["KeyName"] == "desk" and machine.driver["ExistingKey"]
    assert public_half(path)[1] in ours(here.aws.user_data(row["InstanceId"]))["users"][0]["ssh_authorized_keys"][0]
    assert len(here.aws.names()) <= MOST_CALLS and here.aws.names().count("DescribeKeyPairs") == 1
    here.load().driver.remove()
    assert [key["KeyName"] for key in here.aws.client().describe_key_pairs()["KeyPairs"]] == ["desk"]


def test_a_key_pair_without_a_file_is_taken_to_be_in_the_agent(here):
    here.aws.client().import_key_pair(KeyName="desk", PublicKeyMaterial=" ".join(public_half(here.key())).encode())
    machine = here.create(keypair_name="desk")
    assert machine.driver.get_ssh_key_path() == "" and here.instance()["KeyName"] == "desk"


def test_a_key_file_needs_no_public_half_beside_it(here):
    path = here.key()
    public = public_half(path)
    Path(str(path) + ".pub").unlink()
    machine = here.create(ssh_keypath=path)
    assert public[1] in ours(here.aws.user_data(here.instance()["InstanceId"]))["users"][0]["ssh_authorized_keys"][0]
    assert here.aws.of("ImportKeyPair") == []
    assert Path(machine.driver.get_ssh_key_path()).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("flags", [{"userdata": IGNITION}, {"ami": FLATCAR}, {"ami": FLATCAR, "userdata": IGNITION}])
@pytest.mark.parametrize("how", ["", "lost"])
def test_what_does_not_read_cloud_init_gets_a_key_pair_for_the_time_of_the_creation(here, flags, how):
    if "userdata" in flags:
        flags = dict(flags, userdata=here.file(IGNITION))
    if how:
        here.aws.lose("ImportKeyPair")
    here.create(**flags)
    row = here.instance()
    assert here.aws.user_data(row["InstanceId"]).decode() == (IGNITION if "userdata" in flags else "")
    assert row["KeyName"] == here.aws.of("ImportKeyPair")[0]["KeyName"] != ""
    assert here.aws.client().describe_key_pairs()["KeyPairs"] == [] and here.stored()["KeyName"] == ""


def hex_lines(size):
    """A script that cannot be packed to less than half its size."""
    source = random.Random(size)
    return "#!/bin/sh\n" + "".join("#%064x\n" % source.getrandbits(256) for _ in range(size // 66))


@pytest.mark.parametrize("size, is_packed", [(100, False), (12288, False), (16000, True), (20000, True)])
def test_user_data_that_is_too_large_together_with_ours_is_packed(here, size, is_packed):
    text = hex_lines(size)
    here.create(userdata=here.file(text))
    data = here.aws.user_data(here.instance()["InstanceId"])
    assert len(data) <= 16384 and (data[:2] == b"\x1f\x8b") == is_packed and ours(data)["ssh_keys"]
    assert text.encode() in (gzip.decompress(data) if is_packed else data)


def test_user_data_of_40_kb_is_refused_with_the_flags(here, call, soon):
    ended = call(*(soon + ["--amazonec2-userdata=%s" % here.file(hex_lines(40960)), "second"]))
    assert ended.code == 2 and "too large: AWS takes 16 KiB" in ended.err and here.aws.names() == []
    assert here.store.names() == []


# --- kills, lost answers, delays

@pytest.fixture
def killed(here, call, monkeypatch):
    """killed(operation, when, words...): that command was killed at that request."""
    def run(operation, when, *words):
        kill = Kill(here, monkeypatch, "_try", when, lambda service, asked="", values=None: asked == operation)
        ended = call(*words)
        kill.bury()
        assert ended.code == 130
    return run


STAGES = ["create_security_group", "authorize_security_group_ingress", "import_key_pair", "run_instances",
          "describe_instances", "delete_key_pair"]


@pytest.mark.parametrize("operation", STAGES)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["provision", "rm"])
def test_a_creation_that_was_killed_is_resumed_or_removed(here, call, soon, killed, operation, when, then):
    """With Ignition, for which a key is uploaded too."""
    killed(operation, when, *(soon + ["--amazonec2-userdata=%s" % here.file(IGNITION), "web"]))
    assert here.store.names() == ["web"]
    if then == "provision":
        ended = call("provision", "web")
        assert ended.code == 1 and "SSH did not answer" in ended.err, ended
        assert here.stored()["InstanceId"] == here.instance()["InstanceId"]
        assert here.aws.client().describe_key_pairs()["KeyPairs"] == []
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.store.names() == []
    assert len(here.aws.instances()) <= 1 and not here.aws.alive()
    assert here.aws.client().describe_key_pairs()["KeyPairs"] == []
    assert here.aws.groups() == {}


@pytest.mark.parametrize("operation", ["terminate_instances", "delete_security_group"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_removal_that_was_killed_is_made_again(here, call, killed, operation, when):
    here.create()
    killed(operation, when, "rm", "-y", "web")
    assert here.store.names() == ["web"]
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.aws.clean() and here.store.names() == []


@pytest.mark.parametrize("known", [(), ("CreateTag",), ("InstanceId",), ("CreateTag", "InstanceId")], ids=str)
def test_whatever_was_stored_is_enough_to_remove_it(here, call, known):
    machine = here.create()
    for field in {"CreateTag", "InstanceId"} - set(known):
        machine.driver[field] = ""
    machine.save()
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err, here.store.names()) == (0, "", []) and bool(here.aws.alive()) == (known == ())


@pytest.mark.parametrize("action", ["CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "RunInstances",
                                    "DescribeInstances", "DescribeImages", "GetParameter"])
@pytest.mark.parametrize("times", [1, 5])
def test_an_answer_that_was_lost_makes_nothing_twice(here, action, times):
    here.aws.lose(action, times)
    here.create()
    assert len(here.aws.instances()) == 1 and list(here.aws.groups()) == ["docker-machine"]
    assert ports_of(here.aws.groups()["docker-machine"]) == BASIC


@pytest.mark.parametrize("action", ["DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "DescribeVpcs",
                                    "DescribeSubnets", "DescribeImages", "DescribeSecurityGroups", "RunInstances",
                                    "DescribeInstances"])
def test_an_answer_that_holds_nothing_is_a_sentence_and_no_crash(here, call, soon, action):
    here.aws.empty(action, 1000)
    here.aws.parameters.clear()
    ended = call(*(soon + ["web"]))
    assert ended.code in (1, 3) and ended.err.startswith("Error ") and len(here.aws.instances()) <= 1
    here.aws.mishaps.clear()
    if here.store.names():
        assert call("rm", "-y", "web").code == 0
    assert not here.aws.alive()


def test_an_answer_that_is_lost_for_ever_leaves_an_entry_that_rm_finds_the_instance_of(here, call, soon):
    here.aws.lose("RunInstances", 1000)
    here.aws.hide(1000)
    ended = call(*(soon + ["web"]))
    assert (ended.code, here.store.names()) == (1, ["web"]) and "docker-machine rm web" in ended.err
    here.aws.mishaps.clear()
    assert len(here.aws.instances()) == 1
    assert call("rm", "-y", "web").code == 0 and here.aws.clean()


def test_a_launch_with_other_words_under_the_same_token_finds_what_the_first_one_made(here, call, soon, killed):
    """The user's file was changed meanwhile, and lists do not show the instance yet."""
    path = here.file("#!/bin/sh\ntrue\n")
    killed("run_instances", "after", *(soon + ["--amazonec2-userdata=%s" % path, "web"]))
    here.file("#!/bin/sh\nfalse\n")
    here.aws.hide(3)
    ended = call("provision", "web")
    assert "SSH did not answer" in ended.err and len(here.aws.instances()) == 1
    assert here.stored()["InstanceId"] == here.instance()["InstanceId"]


def test_what_was_just_made_may_not_be_found_for_a_while(here):
    here.aws.fail("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound", 3)
    here.aws.fail("RunInstances", "InvalidGroup.NotFound", 3)
    here.aws.fail("RunInstances", "RequestLimitExceeded", 5, 503)
    here.aws.hide(9)
    here.create()
    assert len(here.aws.instances()) == 1 and here.aws.names().count("CreateSecurityGroup") == 1


def test_what_is_not_found_long_after_is_not_waited_for(here, pauses):
    machine = here.create()
    time.sleep(61)
    here.aws.hide(1)
    assert machine.driver.describe() is None
    here.aws.fail("StartInstances", "InvalidInstanceID.NotFound")
    before = sum(pauses)
    with pytest.raises(core.RestError):
        machine.driver.act("start")
    assert sum(pauses) == before


def test_twenty_creations_where_a_third_of_all_requests_fails_make_twenty_instances(here):
    here.aws.shake(0.3, seed=11)
    for number in range(20):
        name = "web%d" % number
        here.create(name).driver.remove()
        shutil.rmtree(here.store.folder(name))
    here.aws.shake(0, 0)
    assert len(here.aws.instances()) == len(here.aws.launches) == 20 and here.aws.clean()
    assert len(here.aws.calls) > 20 * MOST_CALLS * 1.2


def test_no_tries_are_made_where_none_are_wanted(here):
    here.aws.fail("DescribeInstanceTypes", "RequestLimitExceeded", 1, 503)
    with pytest.raises(core.RestError, match="no more requests"):
        here.add(retries=-1)
    assert here.aws.names().count("DescribeInstanceTypes") == 1


def test_a_limit_ends_all_tries(here, pauses):
    here.aws.fail("DescribeInstanceTypes", "RequestLimitExceeded", 1000, 503)
    with pytest.raises(core.RestError, match="no more requests"):
        here.add()
    assert 200 < sum(pauses) < 500 and here.aws.names().count("DescribeInstanceTypes") < 40


def test_a_long_wait_is_told(here, capsys):
    here.aws.fail("RunInstances", "RequestLimitExceeded", 6, 503)
    here.create()
    told = capsys.readouterr().err
    assert told.count("AWS takes no more requests now") == 1 and "tried again" in told


def test_a_login_that_may_not_remove_the_group_removes_the_machine(here, call):
    here.create()
    here.aws.fail("DeleteSecurityGroup", "UnauthorizedOperation", 1, 403, "You are not authorized")
    ended = call("rm", "-y", "web")
    assert ended.code == 0 and "may not do ec2:DeleteSecurityGroup: You are not authorized. docs/" in ended.err
    assert here.store.names() == [] and not here.aws.alive()


# --- gone, and why

@pytest.mark.parametrize("why", ["", "Server.SpotInstanceTermination: Spot instance termination"])
def test_an_instance_that_aws_ended_is_told_with_the_reason_and_removed(here, call, monkeypatch, why):
    number = here.create().driver["InstanceId"]
    here.aws.client().terminate_instances(InstanceIds=[number])
    if why:
        here.aws.reason = why
    ended = call("status", "web")
    assert ended.code == 1 and "AWS has no instance %s; it was terminated: %s" % (number, why or "") in ended.err
    assert "docker-machine rm web" in ended.err
    assert number in call("ls", "-t", "60").out
    ended = call("rm", "-y", "web")
    assert (ended.code, ended.err) == (0, "") and here.aws.clean() and here.store.names() == []


def test_an_id_that_nobody_knows_is_told_and_removed(here, call):
    machine = here.create()
    machine.driver.remove()
    machine.driver["InstanceId"], machine.driver["CreateTag"] = "i-0123456789abcdef0", "docker-machine-0123456789abcdef"
    machine.save()
    ended = call("status", "web")
    assert ended.code == 1 and "AWS has no instance i-0123456789abcdef0." in ended.err
    assert call("rm", "-y", "web").code == 0 and here.store.names() == []


def test_an_instance_that_ends_while_it_starts_is_told_and_nothing_is_left(here, call, soon):
    def end(values):
        if here.aws.launches and not done:
            done.append(here.aws.client().terminate_instances(InstanceIds=[here.instance()["InstanceId"]]))

    done = []  # type: list
    here.aws.look("DescribeInstances", end)
    here.aws.reason = "Client.InternalError: Client error on launch"
    ended = call(*(soon + ["web"]))
    assert ended.code == 1 and "Client error on launch" in ended.err and "KMS" in ended.err
    assert here.aws.clean()


def test_a_boot_that_ends_is_found_out_and_is_asked_about_only_now_and_then(here, capsys):
    driver = here.create().driver
    del here.aws.calls[:]
    for _ in range(20):
        driver.check_boot()
    assert here.aws.names() == []
    for _ in range(5):
        time.sleep(31)
        driver.check_boot()
    told = capsys.readouterr().err
    assert told.count("the subnet %s needs a route" % driver["SubnetId"]) == 1
    here.aws.client().stop_instances(InstanceIds=[driver["InstanceId"]])
    time.sleep(31)
    with pytest.raises(core.MachineError, match="is off again"):
        driver.check_boot()
    assert here.aws.names() == ["DescribeInstances"] * 6


def test_a_stop_or_start_in_the_middle_of_something_is_asked_again(here):
    driver = here.create().driver
    here.aws.fail("StopInstances", "IncorrectInstanceState", 2)
    driver.stop()
    here.aws.fail("StartInstances", "IncorrectInstanceState", 2)
    driver.start()
    here.aws.fail("RebootInstances", "IncorrectInstanceState", 2)
    driver.act("restart")
    assert driver.get_state() == core.RUNNING


# --- logins and errors

EXPIRED = """[profile ci]
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = ci
"""
TROUBLES = {
    "no credentials": ({}, "No AWS credentials were found", "aws configure sso"),
    "expired login": ({}, "The AWS login of the profile ci has expired", "aws sso login --profile ci"),
    "expired token": (("RequestExpired", 400, "Request has expired."), "has expired", "aws sso login"),
    "no such profile": ({}, "The config profile (nobody) could not be found", "aws configure list-profiles"),
    "wrong secret": (("AuthFailure", 401, "AWS was not able to validate the provided access credentials"),
                     "AWS refuses the key", "aws sts get-caller-identity"),
    "no permission": (("UnauthorizedOperation", 403, "You are not authorized to perform this operation. Encoded "
                       "authorization failure message: 4Z-secret-words"), "may not do ec2:DescribeInstanceTypes",
                      "--encoded-message 4Z-secret-words"),
    "clock": (("AuthFailure", 401, "AWS was not able to validate the provided access credentials"),
              "The clock of this computer and that of AWS differ by 59 min", "timedatectl"),
    "region": (("AuthFailure", 401, "AWS was not able to validate the provided access credentials"),
               "The region af-south-1 is not enabled for this account", "aws account enable-region"),
    "quota": (("VcpuLimitExceeded", 400, "You have requested more vCPU capacity than your current limit of 32"),
              "A quota is used up in us-east-1", "servicequotas"),
    "no network": ({}, "AWS cannot be reached in the region us-east-1", "aws ec2 describe-regions"),
}  # type: dict


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_each_trouble_has_its_sentence_and_the_next_command(here, call, soon, closed_port, trouble):
    error, words, hint = TROUBLES[trouble]
    env, flags = {}, []  # type: dict, list
    if error:
        here.aws.fail("DescribeInstanceTypes" if error[0] != "VcpuLimitExceeded" else "RunInstances", error[0], 100,
                      *error[1:])
    if trouble == "no credentials":
        env = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    elif trouble in ("expired login", "no such profile"):
        (here.folder / "config").write_text(EXPIRED)
        flags = ["--amazonec2-profile=" + ("ci" if trouble == "expired login" else "nobody")]
        env = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    elif trouble == "wrong secret":
        here.aws.fail("GetCallerIdentity", "InvalidClientTokenId", 100, 403)
        flags = ["--amazonec2-region=eu-west-1"]
    elif trouble == "clock":
        here.aws.server.skew = 3590
    elif trouble == "region":
        flags = ["--amazonec2-region=af-south-1"]
    elif trouble == "no network":
        env = {"AWS_ENDPOINT": "http://127.0.0.1:%d" % closed_port}
    ended = call(*(soon + flags + ["web"]), **env)
    assert ended.code == 3 and words in ended.err and hint in ended.err, ended.err
    assert here.store.names() == [] and here.aws.clean()


def test_nothing_of_a_login_that_boto3_found_is_stored_or_shown(here, call, soon):
    token = "token-of-the-environment-0815"
    ended = call("--debug", *(soon + ["web"]), AWS_SESSION_TOKEN=token)
    assert "Created instance" in ended.out
    stored = here.stored()
    assert (stored["AccessKey"], stored["SecretKey"], stored["SessionToken"]) == ("", "", "")
    texts = [path.read_bytes() for path in here.folder.rglob("*") if path.is_file()]
    for secret in (SECRET, token, KEY):
        assert not [text for text in texts if secret.encode() in text] and secret not in ended.out + ended.err


def test_a_login_that_was_typed_is_stored_for_later_commands(here, call, soon):
    other = "another-secret-of-nobody"
    ended = call(*(soon + ["--amazonec2-access-key=AKIAEXAMPLEEXAMPLE01", "--amazonec2-secret-key=" + other, "web"]))
    assert "Created instance" in ended.out and other not in ended.out + ended.err
    assert (here.stored()["AccessKey"], here.stored()["SecretKey"]) == ("AKIAEXAMPLEEXAMPLE01", other)
    holders = [path for path in here.folder.rglob("*") if path.is_file() and other.encode() in path.read_bytes()]
    assert {path.name for path in holders} == {"config.json"} and stat.S_IMODE(holders[0].stat().st_mode) == 0o600
    bare = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    assert call("status", "web", **bare).out == "Running\n" and other not in call("--debug", "inspect", "web").err
    assert call("rm", "-y", "web", **bare).code == 0 and here.aws.clean()


@pytest.mark.parametrize("env, profile, region", [
    ({}, "", "us-east-1"), ({"AWS_REGION": "eu-west-1"}, "", "eu-west-1"), ({}, "ci", "eu-central-1"),
    ({"AWS_DEFAULT_REGION": "us-west-2", "AWS_REGION": "eu-west-1"}, "ci", "us-west-2"),
    ({"AWS_PROFILE": "ci"}, "", "eu-central-1")], ids=str)
def test_the_region_is_the_flags_the_variables_the_profiles_or_the_usual_one(here, monkeypatch, env, profile, region):
    (here.folder / "config").write_text("[profile ci]\nregion = eu-central-1\n")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    machine = here.machine(**({"profile": profile} if profile else {}))
    machine.driver._try("ec2")
    assert machine.driver["Region"] == region


# --- entries of Docker Machine and of its forks

@pytest.mark.parametrize("fork", sorted(FORKS))
def test_entries_of_docker_machine_and_its_forks_work_and_keep_their_fields(here, call, soon, fork):
    here.old(**FORKS[fork])
    before = here.stored("old")
    assert call("status", "old").out == "Running\n"
    assert "Running" in call("ls", "-t", "60").out
    call("stop", "old")
    assert call("status", "old").out == "Stopped\n"
    call("start", "old")
    stored = here.stored("old")
    assert stored["IPAddress"] == here.instance()["PublicIpAddress"]
    assert {name: stored[name] for name in before if name != "IPAddress"} == {
        name: value for name, value in before.items() if name != "IPAddress"}
    ended = call("rm", "-y", "old")
    assert (ended.code, ended.err) == (0, "") and here.aws.clean()  # the key pair too


def test_a_key_pair_that_was_the_users_stays_with_an_old_entry_too(here, call):
    here.old(ExistingKey=True)
    assert call("rm", "-y", "old").code == 0 and not here.aws.alive()
    assert len(here.aws.client().describe_key_pairs()["KeyPairs"]) == 1


def test_ls_asks_once_for_all_machines_of_a_region(here, call, closed_port, monkeypatch):
    """30 machines in two regions: two calls; one that is gone has no say in those of the others."""
    monkeypatch.setattr(here.driver_class, "engine_url", lambda self: "tcp://127.0.0.1:%d" % closed_port)
    for region in ("us-east-1", "eu-west-1"):
        made = here.aws.client(region=region).run_instances(ImageId=UBUNTU["x86_64"], MinCount=14, MaxCount=14,
                                                            InstanceType="t3.micro")["Instances"]
        for number, row in enumerate([*made, {"InstanceId": "i-0123456789abcdef0"}]):
            machine = here.machine("%s-%d" % (region, number), region=region)
            machine.driver["InstanceId"] = row["InstanceId"]
            here.store.add(machine)
            machine.mark("")
    del here.aws.calls[:]
    listed = call("ls", "-t", "60").out
    assert here.aws.names() == ["DescribeInstances"] * 2, listed
    assert listed.count("Running") == 28 and listed.count("AWS has no instance i-0123456789abcdef0") == 2


def test_ls_of_engines_that_answer_loads_no_boto3_and_asks_nothing(here, dm, engine_port):
    assert listed_by_engines(here, dm, engine_port, "InstanceId", "boto3").count("Running") == 3
    assert here.aws.names() == []


# --- the page on the driver

def test_the_policy_on_the_drivers_page_names_exactly_the_calls_that_are_made(here):
    page = (ROOT / "docs" / "drivers" / "amazonec2.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"<!-- policy -->\n```json\n(.*?)\n```", page, re.S)
    allowed = [action for statement in json.loads(text)["Statement"] for action in statement["Action"]]
    assert len(set(allowed)) == len(allowed)
    source = (ROOT / "extras" / "amazonec2.py").read_text(encoding="utf-8")
    words, asked = set(re.findall(r"\"([a-z_]+)\"", source)), set()
    for service in ("ec2", "ssm", "sts"):
        operations = here.aws.client(service).meta.method_to_api_mapping
        asked |= {"%s:%s" % (service, operations[word]) for word in words & set(operations)}
    # Tags at the launch and an instance profile take a right of their own; who one is may be asked without any.
    assert set(allowed) == asked - {"sts:GetCallerIdentity"} | {"ec2:CreateTags", "iam:PassRole"}
