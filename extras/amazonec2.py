# SPDX-License-Identifier: Apache-2.0
"""Instances of Amazon EC2, by way of boto3."""

import os

from docker_machine import (
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    CloudDriver,
    Finding,
    Flag,
    Instance,
    MachineError,
    RestError,
    UsageError,
    out,
    plain_words,
    quote,
    wait_for,
)

TAG = "docker-machine"  # the key of the tag that tells what is ours, and of which creation
DEFAULT_GROUP = "docker-machine"
DEFAULT_REGION = "us-east-1"
STATES = {"pending": STARTING, "running": RUNNING, "stopping": STOPPING,
          "shutting-down": STOPPING, "stopped": STOPPED}
OPERATIONS = {"start": "start_instances", "stop": "stop_instances", "kill": "stop_instances",
              "restart": "reboot_instances"}
ENDED = {}  # type: dict  # why instances were terminated, by id

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/%s/hvm/ebs-gp3/ami-id"
UBUNTU_NAME = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-%s-server-*"
CANONICAL = {"us-gov": "513442679011", "cn": "837727238323"}  # its accounts, by kind of region
OTHER_SYSTEMS = ("flatcar", "fedora-coreos", "rhcos", "bottlerocket")  # without cloud-init

MOST_USER_DATA = 16384  # bytes
CAPACITY = ("InsufficientInstanceCapacity", "InsufficientHostCapacity", "SpotMaxPriceTooLow",
            "InsufficientFreeAddressesInSubnet", "MaxSpotInstanceCountExceeded",
            "UnfulfillableCapacity", "Unsupported")
UNSENT = ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError")
BROKEN_OFF = ("ReadTimeoutError", "ConnectionClosedError", "HTTPClientError",
              "IncompleteReadError", "ResponseStreamingError", "ResponseParserError")
CLOCK = ("AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException", "RequestExpired",
         "RequestTimeTooSkewed")
ERRORS = (  # patterns of the codes, what to say, and what to do about it
    ("(Partial|No)Credentials|CredentialRetrieval",
     "No AWS credentials were found: not in --amazonec2-access-key and -secret-key, the AWS_* "
     "variables, the profile %(profile)s, or a role of this computer (%(words)s)",
     "Log in: aws configure sso, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."),
    ("ProfileNotFound", "%(words)s", "List all: aws configure list-profiles"),
    (".*SSO|TokenRetrieval|Login|ExpiredToken|RequestExpired",
     "The AWS login of the profile %(profile)s has expired: %(words)s",
     "Log in again: aws sso login --profile %(profile)s\nor take newer keys."),
    ("RegionNotEnabled", "The region %(region)s is not enabled for this account: AWS refuses a "
     "login there that it accepts elsewhere",
     "Enable it: aws account enable-region --region-name %(region)s"),
    ("AuthFailure|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|InvalidSignature",
     "AWS refuses the key %(key)s: %(words)s",
     "See whether key and secret belong together, and whether the key still exists: "
     "aws sts get-caller-identity"),
    ("UnauthorizedOperation|AccessDenied", "The login may not do %(right)s: %(words)s",
     "docs/drivers/amazonec2.md has a policy with all that it takes."),
    ("OptInRequired|PendingVerification|Blocked", "AWS: %(words)s",
     "It is about the account: https://console.aws.amazon.com/support/home"),
    ("RequestLimit|.*Throttl|ServiceUnavailable|Unavailable",
     "AWS takes no more requests now: %(words)s", "Try again in some minutes."),
    ("VcpuLimit|InstanceLimit|MaxSpotInstanceCount|VolumeLimit|AddressLimit|.*LimitExceeded$",
     "A quota is used up in %(region)s: %(words)s", "Take another type or region, or ask for "
     "more: https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"),
    ("UnsupportedOperation", "AWS: %(words)s",
     "A one-time spot instance cannot be stopped, only restarted or removed."),
    ("OperationNotPermitted", "AWS: %(words)s", "Take its protection away: aws ec2 "
     "modify-instance-attribute --no-disable-api-termination --instance-id ID"),
    ("UnknownRegion|InvalidRegion|EndpointConnection|ConnectTimeout|ProxyConnection|SSLError",
     "AWS cannot be reached in the region %(region)s: %(words)s",
     "See whether there is such a region (aws ec2 describe-regions), the network and the proxy "
     "variables; AWS_CA_BUNDLE names the CA of a proxy."),
    (".*IamInstanceProfile|NoSuchEntity", "AWS: %(words)s",
     "List all: aws iam list-instance-profiles"),
)


class AmazonEC2Driver(CloudDriver):
    """An instance of Amazon EC2."""

    name, provider, thing = "amazonec2", "AWS", "instance"
    creating = "Launching instance..."
    status_page = "https://health.aws.amazon.com/health/status"
    id_field, key_id_field, key_file_field = "InstanceId", "KeyName", "SSHPrivateKeyPath"
    key_list = "aws ec2 describe-key-pairs"
    kinds = ("image", "groups", "zones")
    most_user_data = 1 << 20  # of the user's; what is sent is packed, see _request()
    flags = (
        Flag("amazonec2-access-key", "", "Access key id; without it boto3 finds a login",
             "AWS_ACCESS_KEY_ID", field="AccessKey", secret=True, form=r"\w{16,128}"),
        Flag("amazonec2-secret-key", "", "Secret of the access key", "AWS_SECRET_ACCESS_KEY",
             field="SecretKey", secret=True, form="[!-~]+"),
        Flag("amazonec2-session-token", "", "Token of a temporary access key",
             "AWS_SESSION_TOKEN", field="SessionToken", secret=True, form="[!-~]+"),
        Flag("amazonec2-profile", "", "Profile (default: AWS_PROFILE)", field="Profile"),
        Flag("amazonec2-region", "", "Region (default: AWS_REGION, the profile's, or us-east-1)",
             "AWS_DEFAULT_REGION", field="Region", form=r"[a-z]{2,4}(-[a-z]+)+-\d+",
             hint="List all: aws ec2 describe-regions"),
        Flag("amazonec2-endpoint", "", "Host or URL of the API, if it is not AWS's own",
             "AWS_ENDPOINT", field="Endpoint", form=r"(https?://)?[\w.:\[\]-]+(/\S*)?"),
        Flag("amazonec2-insecure-transport", False, "Ask the endpoint by http",
             "AWS_INSECURE_TRANSPORT", field="DisableSSL"),
        Flag("amazonec2-retries", 5, "Connection retries; -1: none", field="RetryCount", least=-1),
        Flag("amazonec2-instance-type", "t3.micro", "Instance type", "AWS_INSTANCE_TYPE",
             field="InstanceType", form=r"[a-z0-9-]+\.[a-z0-9-]+",
             hint="List all: aws ec2 describe-instance-types"),
        Flag("amazonec2-ami", "", "Id of the image (default: Ubuntu 24.04 for the type)",
             "AWS_AMI", field="AMI", form="ami-[0-9a-f]+"),
        Flag("amazonec2-vpc-id", "", "VPC (default: the subnet's, or the default one)",
             "AWS_VPC_ID", field="VpcId", form="vpc-[0-9a-f]+"),
        Flag("amazonec2-zone", "a", "Zone: b, us-east-1b or use1-az2; a means any, but a first",
             "AWS_ZONE", field="Zone", form="[a-z0-9-]+"),
        Flag("amazonec2-subnet-id", "", "Subnet (default: any of the VPC that has the type)",
             "AWS_SUBNET_ID", field="SubnetId", form="subnet-[0-9a-f]+"),
        Flag("amazonec2-security-group", [DEFAULT_GROUP], "Security group, by name or id",
             "AWS_SECURITY_GROUP", field="SecurityGroupNames", form="[ -~]{1,255}"),
        Flag("amazonec2-security-group-readonly", False, "Add no rule to any security group",
             "AWS_SECURITY_GROUP_READONLY", field="SecurityGroupReadOnly"),
        Flag("amazonec2-open-port", [], "Port to let in: 80, 8000-8010, 53/udp", field="OpenPorts",
             form=r"\d{1,5}(-\d{1,5})?(/(tcp|udp))?", hint="Write 80, 8000-8010 or 53/udp."),
        Flag("amazonec2-private-address-only", False, "No public address", field="PrivateIPOnly"),
        Flag("amazonec2-use-private-address", False, "Reach the machine at its private address",
             field="UsePrivateIP"),
        Flag("amazonec2-ipv6-address-count", 0, "Number of IPv6 addresses",
             field="Ipv6AddressCount", least=0, most=500),
        Flag("amazonec2-ipv6-address-only", False, "Reach it by IPv6", field="Ipv6AddressOnly"),
        Flag("amazonec2-enable-primary-ipv6", False, "Make the first IPv6 address one that stays",
             field="EnablePrimaryIpv6"),
        Flag("amazonec2-root-size", 16, "Size of the root volume in GB", "AWS_ROOT_SIZE",
             field="RootSize", least=1, most=65536),
        Flag("amazonec2-volume-type", "gp3", "Type of the root volume", "AWS_VOLUME_TYPE",
             field="VolumeType", choices=("gp3", "gp2", "io1", "io2", "standard")),
        Flag("amazonec2-device-name", "", "Root device (default: as the image has it)",
             "AWS_DEVICE_NAME", field="DeviceName", form=r"[\w/]+"),
        Flag("amazonec2-encrypt-ebs-volume", False, "Encrypt all volumes of the image",
             "AWS_ENCRYPT_EBS_VOLUME", field="EncryptEbsVolume"),
        Flag("amazonec2-volume-encrypted", False, "Encrypt all volumes", field="VolumeEncrypted"),
        Flag("amazonec2-kms-key", "", "KMS key to encrypt with (default: the account's)",
             "AWS_KMS_KEY", field="KmsKeyId", form=r"[\w:/-]+"),
        Flag("amazonec2-volume-kms-key", "", "The same as --amazonec2-kms-key",
             "AWS_VOLUME_KMS_KEY", field="VolumeKmsKeyId", form=r"[\w:/-]+"),
        Flag("amazonec2-http-endpoint", "enabled", "Metadata service: enabled or disabled",
             "AWS_HTTP_ENDPOINT", field="HttpEndpoint", choices=("enabled", "disabled")),
        Flag("amazonec2-http-tokens", "", "Its tokens: required (the default) or optional",
             "AWS_HTTP_TOKENS", field="HttpTokens", choices=("required", "optional")),
        Flag("amazonec2-metadata-token", "", "The same as --amazonec2-http-tokens",
             field="MetadataTokenSetting", choices=("required", "optional")),
        Flag("amazonec2-metadata-token-response-hop-limit", 2, "Hops that its answer may take; "
             "2 for containers", field="MetadataTokenResponseHopLimit", least=1, most=64),
        Flag("amazonec2-http-protocol-ipv6", "disabled", "The same by IPv6", field=
             "HttpProtocolIpv6", env="AWS_HTTP_PROTOCOL_IPV6", choices=("enabled", "disabled")),
        Flag("amazonec2-iam-instance-profile", "", "Name or ARN of the instance profile",
             "AWS_INSTANCE_PROFILE", field="IamInstanceProfile", form=r"[\w+=,.@:/-]+"),
        Flag("amazonec2-tags", "", "Tags: k1,v1,k2,v2 or k1=v1,k2=v2", "AWS_TAGS", field="Tags"),
        Flag("amazonec2-request-spot-instance", False, "A spot instance, else one on demand",
             field="RequestSpotInstance"),
        Flag("amazonec2-spot-price", "", "The most to pay for it, in dollars an hour (default: as "
             "on demand)", field="SpotPrice", form=r"\d*\.?\d+"),
        Flag("amazonec2-block-duration-minutes", 0, "Accepted; AWS offers it no more",
             field="BlockDurationMinutes", least=0),
        Flag("amazonec2-monitoring", False, "Detailed monitoring", field="Monitoring"),
        Flag("amazonec2-use-ebs-optimized-instance", False, "EBS optimization, on types of old",
             field="UseEbsOptimizedInstance"),
        Flag("amazonec2-ssh-user", "ubuntu", "SSH user, which is made at the first boot",
             "AWS_SSH_USER", field="SSHUser", form=r"[A-Za-z_][\w.-]*"),
        Flag("amazonec2-ssh-port", 22, "SSH port of the image", "AWS_SSH_PORT", field="SSHPort",
             port=True),
        Flag("amazonec2-ssh-keypath", "", "SSH private key; without one a key is made",
             "AWS_SSH_KEYPATH", field="SSHPrivateKeyPath", file=True),
        Flag("amazonec2-keypair-name", "", "Key pair to use", "AWS_KEYPAIR_NAME", field="KeyName"),
        Flag("amazonec2-userdata", "", "File of user data for the first boot", "AWS_USERDATA",
             field="UserDataFile", file=True),
    )
    fields = (("ExistingKey", False), ("SecurityGroupIds", []), ("OwnGroupId", ""))  # type: tuple
    fresh_until = 0.0  # until then, what we made may not be found yet
    looks = []  # type: list  # when check_boot() asked
    warned = False  # that AWS lets us wait

    def __init__(self, machine):
        from functools import lru_cache
        super().__init__(machine)
        for name in ("session", "client"):
            setattr(self, name, lru_cache(None)(getattr(self, name)))

    def checks(self):
        try:
            words, fix = "boto3 " + self.need("boto3").__version__, ""
        except MachineError as error:
            words, fix = "no boto3 here, which only its machines need", error.hint
        return [Finding("ok", "amazonec2", words, fix)]

    def set_config_from_flags(self, options):
        super().set_config_from_flags(options)
        self._settle_login(options)
        if self["DisableSSL"] and not self["Endpoint"]:
            raise UsageError(
                "using --amazonec2-insecure-transport also requires --amazonec2-endpoint")
        if self["Ipv6AddressOnly"] and not self["Ipv6AddressCount"]:
            raise UsageError("--amazonec2-ipv6-address-only needs --amazonec2-ipv6-address-count.",
                             "Add --amazonec2-ipv6-address-count 1.")
        for text in self["OpenPorts"]:
            _, first, last = parse_port(text)
            if not 0 < first <= last < 65536:
                raise UsageError("--amazonec2-open-port %s is no port or range." % text)
        if self["BlockDurationMinutes"]:
            out.warn("AWS ended spot blocks: --amazonec2-block-duration-minutes does nothing.")
        self["ExistingKey"] = bool(self["KeyName"])
        words = self["Tags"].split(",")
        if 2 * len(self.tags()) == len(words) - 1 and words[-1]:
            out.warn("The tag %s has no value; it is left out." % words[-1].strip())
        self._check_size()

    def _settle_login(self, options):
        """Keep a login that was typed; boto3 finds the one in the variables itself."""
        flags = [flag for flag in self.flags if flag.secret]
        if all(options[flag.name] == os.environ.get(flag.env, "") for flag in flags):
            self.config.update({flag.field: "" for flag in flags})
        key, secret, token = [self[flag.field] for flag in flags]
        if bool(key) != bool(secret):
            raise UsageError("--amazonec2-access-key and --amazonec2-secret-key belong together.")
        if key.startswith("ASIA") and not token:
            raise UsageError("A temporary --amazonec2-access-key needs --amazonec2-session-token.")

    def _check_size(self):
        """Refuse user data that will not fit together with ours, which takes up to 4 KB."""
        text = self.user_file()
        if len(text.encode()) > MOST_USER_DATA - 4096 and len(packed(text)) > MOST_USER_DATA - 3072:
            raise UsageError("--amazonec2-userdata %s is too large: AWS takes 16 KiB of user data, "
                             "packed and ours included." % self["UserDataFile"],
                             "Let it fetch the rest: #include and a URL.")

    def tags(self):
        """The user's tags, as a dict. Raises UsageError."""
        words = [word.strip() for word in self["Tags"].split(",")]
        if all("=" in word for word in words):
            pairs = [word.split("=", 1) for word in words]
        else:
            pairs = list(zip(words[::2], words[1::2]))
        for key, value in pairs:
            if not 0 < len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
                raise UsageError('--amazonec2-tags: AWS takes no tag "%s" of that kind.' % key,
                                 "Keys have up to 128 letters and do not begin with aws:, values "
                                 "up to 256.")
        if len(pairs) > 48:
            raise UsageError("--amazonec2-tags: AWS takes 50 tags, two of ours included.")
        return dict(pairs)

    # --- before the machine is made

    def pre_create_check(self):
        region = self["Region"]
        for service in ("ec2", "ssm"):  # now, since boto3 makes only one at a time
            self._try(service)
        if not region:
            self.log("The region is %s." % self["Region"])
        super().pre_create_check()
        self.look_up("subnets")

    def look_up(self, kind):
        return getattr(self, "_look_up_" + kind)()

    def _look_up_type(self):
        name = self["InstanceType"]
        rows = self.rows("describe_instance_types", "InstanceTypes", none="InvalidInstanceType",
                         InstanceTypes=[name])
        if not rows:
            known = self.rows("describe_instance_type_offerings", "InstanceTypeOfferings")
            raise self._unknown("instance-type", name, known, "InstanceType")
        row = rows[0]
        architectures = row["ProcessorInfo"]["SupportedArchitectures"]
        lacks = ""
        if not {"x86_64", "arm64"} & set(architectures):
            lacks = "is for %s, not for Linux." % " or ".join(architectures)
        elif self["RequestSpotInstance"] and "spot" not in row["SupportedUsageClasses"]:
            lacks = "is not available as a spot instance."
        elif self["Ipv6AddressCount"] and not row["NetworkInfo"]["Ipv6Supported"]:
            lacks = "does not know IPv6."
        if lacks:
            raise MachineError("The type %s %s" % (name, lacks),
                               "Take another --amazonec2-instance-type.")
        return row

    def _look_up_zones(self):
        """The names of the zones that have the type."""
        rows = self.rows("describe_instance_type_offerings", "InstanceTypeOfferings",
                         {"instance-type": self["InstanceType"]}, LocationType="availability-zone")
        return {row["Location"] for row in rows}

    def _look_up_image(self):
        architectures = self.look_up("type")["ProcessorInfo"]["SupportedArchitectures"]
        image = self._named_image(self["AMI"]) if self["AMI"] else self._newest(architectures)
        check_image(image, architectures, self["RootSize"])
        return image

    def _named_image(self, name):
        rows = self.rows("describe_images", "Images", none="InvalidAMIID", ImageIds=[name])
        if not rows:
            raise MachineError("AWS has no image %s in the region %s." % (name, self["Region"]),
                               "Images have another id in each region. List yours: "
                               + self._command("describe-images --owners self"))
        return rows[0]

    def _newest(self, architectures):
        """Today's Ubuntu: Canonical tells it by a parameter, else it is looked for."""
        arch = "amd64" if "x86_64" in architectures else "arm64"
        try:
            # An endpoint that is not AWS's own may know nothing of parameters.
            told = self.aws("get_parameter", "ssm", none="ResponseParserError", Name=UBUNTU % arch)
            if told:
                return self._named_image(told["Parameter"]["Value"])
        except RestError as error:
            if error.unsent:
                raise
        kind = self["Region"].rpartition("-")[0].rpartition("-")[0]
        wanted = {"name": UBUNTU_NAME % arch, "state": "available"}
        rows = self.rows("describe_images", "Images", wanted,
                         Owners=[CANONICAL.get(kind, "099720109477")])
        if not rows:
            raise MachineError("There is no image of Ubuntu 24.04 in %s." % self["Region"],
                               "Name an image: --amazonec2-ami")
        return max(rows, key=lambda row: row["CreationDate"])

    def _look_up_network(self):
        """The subnets that the flags leave to choose from, in one VPC."""
        named, vpc = self["SubnetId"], self["VpcId"]
        if not (named or vpc):
            default = self.rows("describe_vpcs", "Vpcs", {"is-default": "true"})
            if not default:
                raise MachineError("The account has no default VPC in %s." % self["Region"],
                                   "Make one: " + self._command("create-default-vpc")
                                   + "\nor name a network of yours: --amazonec2-subnet-id")
            vpc = default[0]["VpcId"]
        wanted = {"subnet-id": named} if named else {"vpc-id": vpc}
        rows = self.rows("describe_subnets", "Subnets", wanted)
        if not rows and named:
            known = self.rows("describe_subnets", "Subnets")
            raise self._unknown("subnet", named, known, "SubnetId")
        if not rows:
            known = self.rows("describe_vpcs", "Vpcs")
            raise self._unknown("vpc", vpc, known, "VpcId", " with a subnet")
        if vpc not in ("", rows[0]["VpcId"]):
            raise MachineError("SubnetId: %s does not belong to VpcId: %s" % (named, vpc),
                               "Leave one of the two out; its VPC is %s." % rows[0]["VpcId"])
        return rows

    def _look_up_subnets(self):
        """Where to launch, the best first."""
        rows, zone = self.look_up("network"), self["Zone"]
        if not self["SubnetId"] and zone != "a":
            rows = [row for row in rows if is_in_zone(row, zone)]
            if not rows:
                raise self._unknown("availability-zone", zone, self.look_up("network"),
                                    "AvailabilityZone", " with a subnet of the VPC")
        zones = self.look_up("zones")
        fit = [row for row in rows if row["AvailabilityZone"] in zones]
        if not fit:
            tried = " or ".join(sorted({row["AvailabilityZone"] for row in rows}))
            others = ", ".join(sorted(zones)) or "no zone of this region"
            raise MachineError("AWS has no %s in %s." % (self["InstanceType"], tried),
                               "It is in: %s. Take one of these by --amazonec2-zone or -subnet-id, "
                               "or another type." % others)
        return sorted(fit, reverse=True, key=lambda row: (
            is_in_zone(row, zone), bool(row.get("MapPublicIpOnLaunch")) != self["PrivateIPOnly"],
            row.get("AvailableIpAddressCount", 0)))

    # --- the machine

    def order(self, keys):
        groups = self.look_up("groups")
        try:
            try:
                return self._launch(self._request(keys, groups))
            except RestError as error:
                if error.reason != "InvalidGroup.NotFound":
                    raise
            # It went with somebody's last machine meanwhile.
            return self._launch(self._request(keys, self._look_up_groups()))
        except RestError as error:
            if error.refused:
                self._if_allowed(self.delete_tagged)
            raise

    def _launch(self, request):
        """The Instance, from the first subnet that has room: spot anywhere, else on demand."""
        markets = [True, False] if self["RequestSpotInstance"] else [False]
        name, tried = self["InstanceType"], []  # type: str, list
        for spot in markets:
            for subnet in self.look_up("subnets"):
                try:
                    return self._launch_in(subnet, spot, request)
                except RestError as error:
                    if error.reason not in CAPACITY:
                        raise
                    kind = "spot instance" if spot else "instance"
                    tried.append("%s in %s" % (kind, subnet["AvailabilityZone"]))
                    self.log("AWS has no %s %s now: %s" % (name, tried[-1], error.words))
        words = "AWS has no %s now: tried %s." % (name, ", ".join(tried))
        hint = "Try again later, or another --amazonec2-instance-type, -zone or -region."
        raise RestError(words, hint, status=400, refused=True)

    def _launch_in(self, subnet, spot, request):
        self["SubnetId"] = subnet["SubnetId"]
        self.machine.save()
        kinds = ["instance", "volume", "network-interface"]
        interface = dict(request["NetworkInterfaces"][0], SubnetId=subnet["SubnetId"])
        # The same words again give the same instance.
        request = dict(request, NetworkInterfaces=[interface],
                       ClientToken="%s-%s" % (self["CreateTag"], subnet["SubnetId"]))
        if spot:
            kinds.append("spot-instances-request")
            request["ClientToken"] += "-spot"
            options = {"SpotInstanceType": "one-time", "MaxPrice": self["SpotPrice"]}
            request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": given(options)}
        request["TagSpecifications"] = [self._tagged(kind) for kind in kinds]
        answer = self.aws("run_instances", **request)
        self._made()
        for row in answer.get("Instances") or ():
            return self._instance(row)
        raise RestError("AWS: the answer to the launch holds no instance", unsure=True)

    def _request(self, keys, groups):
        """What does not depend on subnet and market of the words of run_instances."""
        image = self.look_up("image")
        profile, protocol = self["IamInstanceProfile"], self["HttpProtocolIpv6"]
        data = self.user_data()
        if len(data.encode()) > MOST_USER_DATA and self.reads_user_data():
            data = packed(data)  # which cloud-init unpacks
        return given({
            "MinCount": 1, "MaxCount": 1, "InstanceType": self["InstanceType"], "UserData": data,
            "ImageId": image["ImageId"], "KeyName": keys[0] if keys else "",
            "IamInstanceProfile": given({"Arn" if profile[:4] == "arn:" else "Name": profile}),
            "NetworkInterfaces": [self._interface(self._group_ids(list(groups)))],
            "BlockDeviceMappings": self._disks(image),
            "MetadataOptions": given({
                "HttpTokens": self["HttpTokens"] or self["MetadataTokenSetting"] or "required",
                "HttpEndpoint": self["HttpEndpoint"],
                "HttpPutResponseHopLimit": self["MetadataTokenResponseHopLimit"],
                "HttpProtocolIpv6": protocol if protocol == "enabled" else ""}),
            "Monitoring": given({"Enabled": self["Monitoring"]}),
            "EbsOptimized": self["UseEbsOptimizedInstance"]})

    def _interface(self, groups):
        count = self["Ipv6AddressCount"]
        interface = {"DeviceIndex": 0, "Groups": groups, "DeleteOnTermination": True}
        if not self.look_up("subnets")[0].get("Ipv6Native"):
            private = self["PrivateIPOnly"] or self["Ipv6AddressOnly"]
            interface["AssociatePublicIpAddress"] = not private
        primary = bool(count and self["EnablePrimaryIpv6"])
        return dict(interface, **given({"Ipv6AddressCount": count, "PrimaryIpv6": primary}))

    def _disks(self, image):
        """The root volume as it is to be, and, where they are to be encrypted, the others."""
        root = self["DeviceName"] or image["RootDeviceName"]
        if root != image["RootDeviceName"]:
            out.warn("The root device of the image is %s; %s will be a second volume."
                     % (image["RootDeviceName"], root))
        size, kind = self["RootSize"], self["VolumeType"]
        key = self["KmsKeyId"] or self["VolumeKmsKeyId"]
        encrypted = bool(self["EncryptEbsVolume"] or self["VolumeEncrypted"] or key)
        secret = given({"Encrypted": encrypted, "KmsKeyId": key})
        disk = dict(secret, VolumeSize=size, VolumeType=kind, DeleteOnTermination=True)
        if kind.startswith("io"):
            disk["Iops"] = min(50 * size, 3000)
        others = [row["DeviceName"] for row in image["BlockDeviceMappings"] if row.get("Ebs")]
        return [{"DeviceName": root, "Ebs": disk}] + [
            {"DeviceName": name, "Ebs": secret} for name in others if secret and name != root]

    def describe(self):
        found = self.instances_where({"instance-id": self["InstanceId"]})
        if not found and self._is_fresh() and self["InstanceId"] not in ENDED:
            return Instance(self["InstanceId"], STARTING)  # it is not known everywhere yet
        return found[0] if found else None

    def instances(self, tag=""):
        if tag:
            return self.instances_where({"tag:" + TAG: tag})
        ids = sorted({row["InstanceId"] for row in self.machine.store.drivers()
                      if row.get("InstanceId") and self.account(row) == self.account()})
        parts = [ids[start:start + 200] for start in range(0, len(ids), 200)]  # AWS takes 200
        return [one for part in parts for one in self.instances_where({"instance-id": part})]

    def account(self, settings=None):
        """What instances have in common that one question tells of."""
        keys = ("AccessKey", "Profile", "Region", "Endpoint")
        return tuple((settings or self.config).get(key) or "" for key in keys)

    def instances_where(self, filters):
        """The Instances that fit and are not gone; ENDED has why one that is gone ended."""
        rows = [row for group in self.rows("describe_instances", "Reservations", filters)
                for row in group["Instances"]]
        for row in rows:
            if row["State"]["Name"] == "terminated":
                why = row.get("StateReason") or {}
                words = why.get("Message") or row.get("StateTransitionReason") or why.get("Code")
                ENDED[row["InstanceId"]] = plain_words(words or "AWS does not say why").rstrip(".")
        return [self._instance(row) for row in rows if row["InstanceId"] not in ENDED]

    def _instance(self, row):
        tags = [tag["Value"] for tag in row.get("Tags") or () if tag["Key"] == TAG]
        state = STATES.get(row["State"]["Name"], "")
        return Instance(row["InstanceId"], state, self._addresses(row), tags)

    def _addresses(self, row):
        """(wanted, address); the first of the wanted ones is taken."""
        public, private = row.get("PublicIpAddress"), row.get("PrivateIpAddress")
        ipv6 = [address["Ipv6Address"] for interface in row.get("NetworkInterfaces") or ()
                for address in interface.get("Ipv6Addresses") or ()]
        if self["Ipv6AddressOnly"]:
            found = ipv6
        elif self["PrivateIPOnly"] or self["UsePrivateIP"]:
            found = [private]
        else:
            found = [public] + ipv6
        return [(True, address) for address in found if address] + [(False, private)]

    def progress(self, verb, instance):
        number = self["InstanceId"]
        if verb != "create" or number not in ENDED:
            return True
        self.remove()
        raise MachineError("AWS ended the instance %s while it started: %s." % (
            number, ENDED[number]), "A KMS key that the login may not use, or a quota of volumes, "
            "ends it like this. It was removed.")

    def check_boot(self):
        """Looks twice a minute, lest a fleet that boots is slowed down by AWS."""
        from time import monotonic
        now = monotonic()
        self.looks = self.looks or [now]
        if now < self.looks[-1] + 30:
            return
        self.looks.append(now)
        number = self["InstanceId"]
        if self.get_state() in (STOPPED, STOPPING):
            raise MachineError("The instance %s is off again." % number, "Why: " + self._command(
                "describe-instances --instance-ids " + number))
        if len(self.looks) == 5:
            out.warn("SSH does not answer yet. If it never does: the subnet %s needs a route to "
                     "an internet gateway (or you one to it), and a security group of yours a "
                     "rule for port %d." % (self["SubnetId"], self.get_ssh_port()))

    def _state(self, found):
        number = self["InstanceId"]
        if isinstance(found, dict) and number in ENDED:
            raise MachineError("AWS has no instance %s; it was terminated: %s." % (
                number, ENDED[number]), "Forget it: docker-machine rm " + quote(self.machine.name))
        return super()._state(found)

    def act(self, verb):
        values = {"InstanceIds": [self["InstanceId"]]}  # type: dict
        if verb == "kill":
            values["Force"] = True
            known = self.client("ec2").meta.service_model.operation_model("StopInstances")
            if "SkipOsShutdown" in known.input_shape.members:  # not in older releases of boto3
                values["SkipOsShutdown"] = True

        def asked():
            if self.aws(OPERATIONS[verb], none="IncorrectInstanceState", **values):
                return True
            self.get_state()  # which raises if it is gone
            return verb == "stop"  # which is asked again in any case

        wait_for(asked, 180, "AWS did not take the %s for 180 s, since the instance is in the "
                 "middle of something." % verb, 5, 1)

    def delete(self):
        self.aws("terminate_instances", none="InvalidInstanceID", InstanceIds=[self["InstanceId"]])

    # --- security groups

    def _look_up_groups(self):
        """The security groups that are named, as far as they are there."""
        vpc = self.look_up("network")[0]["VpcId"]
        names = self["SecurityGroupNames"]
        ids = [name for name in names if name.startswith("sg-")]  # which no name does
        rows = []
        for key, part in (("group-name", sorted(set(names) - set(ids))), ("group-id", ids)):
            if part:
                rows += self.groups_where({"vpc-id": vpc, key: part})
        there = {row[key] for row in rows for key in ("GroupId", "GroupName")}
        for name in names:
            if name not in there and name != DEFAULT_GROUP:
                raise self._unknown("security-group", name, self.groups_where({"vpc-id": vpc}),
                                    "GroupName", " in the VPC " + vpc)
        return rows

    def groups_where(self, filters):
        return self.rows("describe_security_groups", "SecurityGroups", filters)

    def _group_ids(self, rows):
        """The ids of the groups, which get their rules; the default one is made if need be."""
        self["VpcId"] = self.look_up("network")[0]["VpcId"]
        if DEFAULT_GROUP in self["SecurityGroupNames"]:
            default = [row for row in rows if row["GroupName"] == DEFAULT_GROUP]
            if not default:
                default = [self._make_group()]
                rows += default
            tags = [tag["Key"] for tag in default[0].get("Tags") or ()]
            self["OwnGroupId"] = default[0]["GroupId"] if TAG in tags else ""
        self["SecurityGroupIds"] = [row["GroupId"] for row in rows]
        self.machine.save()
        if not self["SecurityGroupReadOnly"]:
            for row in rows:
                self._open(row)
        return self["SecurityGroupIds"]

    def _make_group(self):
        """Make the default group, or take the one that somebody made meanwhile."""
        vpc = self["VpcId"]
        made = self.aws("create_security_group", none="InvalidGroup.Duplicate", VpcId=vpc,
                        GroupName=DEFAULT_GROUP, Description="Docker Machine",
                        TagSpecifications=[self._tagged("security-group")])
        self._made()
        if made:
            return dict(made, GroupName=DEFAULT_GROUP, Tags=[{"Key": TAG}])
        wanted = {"vpc-id": vpc, "group-name": DEFAULT_GROUP}
        return wait_for(lambda: self.groups_where(wanted), 60,
                        "AWS has the security group docker-machine, but hides it.", 5, 1)[0]

    def _open(self, group):
        """Add the rules that a group lacks; one of the user's gets none but the ports asked for."""
        ports = [parse_port(text) for text in self["OpenPorts"]]
        if group["GroupName"] == DEFAULT_GROUP:
            ports = [("tcp", port, port) for port in self.ports()] + [
                ("udp", port, port) for port in self.udp_ports()] + ports
        number, seen = group["GroupId"], [group]

        def is_open():
            lacking = lacking_rules(seen[-1], ports, bool(self["Ipv6AddressCount"]))
            if not lacking or self.aws("authorize_security_group_ingress", GroupId=number,
                                       none="InvalidPermission.Duplicate", IpPermissions=lacking):
                return True
            # Another creation was faster with some of them, and then AWS takes none.
            seen.extend(self.groups_where({"group-id": number}))
            return False

        wait_for(is_open, 60, "AWS does not take the rules of the security group %s." % number, 5)

    def delete_tagged(self):
        """Delete the group that we made with its last machine: one in use stays."""
        number = self["OwnGroupId"]
        if not self["SecurityGroupIds"]:  # the creation was killed before it knew the group
            for row in self.groups_where({"tag:" + TAG: self["CreateTag"]}):
                number, self["VpcId"] = row["GroupId"], row["VpcId"]
        if not number:
            return

        def left():
            others = self.instances_where({"tag-key": TAG, "vpc-id": self["VpcId"]})
            if [one for one in others if one.state != STOPPING]:
                return "in use"
            return "" if others else "free"

        if wait_for(left, 180, "", 5, 1) == "free":
            self.aws("delete_security_group", none=("InvalidGroup.NotFound", "DependencyViolation"),
                     GroupId=number)
        self["OwnGroupId"] = ""

    # --- user data and keys

    def has_cloud_init(self):
        name = self.look_up("image").get("Name", "").lower()
        return not any(system in name for system in OTHER_SYSTEMS)

    def named_key(self):
        return self["KeyName"] if self["ExistingKey"] else ""

    def account_key(self):
        found = self.keys(none="InvalidKeyPair", KeyNames=[self["KeyName"]])
        if not found:
            raise self._unknown("key-pair", self["KeyName"], self.keys(), 1)
        return found[0]

    def keys(self, **named):
        rows = self.rows("describe_key_pairs", "KeyPairs", IncludePublicKey=True, **named)
        return [(row["KeyName"], row["KeyName"], row.get("PublicKey", "").strip()) for row in rows]

    def add_key(self, name, public):
        self.aws("import_key_pair", KeyName=name, PublicKeyMaterial=public.encode(),
                 TagSpecifications=[self._tagged("key-pair")])
        self._made()
        return name

    def delete_key(self, key_id):
        self.aws("delete_key_pair", none="InvalidKeyPair.NotFound", KeyName=key_id)

    # --- the API

    def session(self):
        """boto3's session, which is kept. Settles the region if no flag has."""
        login = [self.get(key, None) for key in ("AccessKey", "SecretKey", "SessionToken")]
        made = self.need("boto3").session.Session(*login, profile_name=self.get("Profile", None))
        self["Region"] = self.get("Region") or os.environ.get("AWS_REGION") or (
            made.region_name or DEFAULT_REGION)
        return made

    def client(self, service):
        """boto3's client of a service, which is kept."""
        session = self.session()
        config = self.need("botocore.config", "boto3").Config(
            connect_timeout=min(self.patience, 10), read_timeout=min(self.patience, 60),
            retries={"mode": "standard", "total_max_attempts": 1})
        endpoint = self["Endpoint"]
        if endpoint and "://" not in endpoint:
            endpoint = "%s://%s" % ("http" if self["DisableSSL"] else "https", endpoint)
        region = DEFAULT_REGION if service == "sts" else self["Region"]
        return session.client(service, region, config=config, endpoint_url=endpoint or None)

    def aws(self, operation, service="ec2", none=(), **values):
        """What AWS answers to an operation of boto3's client. None stands for an error whose code
        begins with (one of) `none`. What may pass is waited for. Raises RestError."""
        failed = []  # type: list

        def attempt():
            try:
                return [self._try(service, operation, values)]
            except RestError as error:
                failed.append(error)
                if none and error.reason.startswith(none):
                    return [None]
                error.refused = error.refused and not any(one.unsure for one in failed)
                if not self._may_pass(error, len(failed)):
                    raise
                if len(failed) == 4 and not self.warned:
                    self.warned = True
                    out.warn("%s. It is tried again for a while..." % error.message)
                return None

        from random import uniform
        answer = wait_for(attempt, self.patience, "", 30, uniform(0.5, 1))
        if not answer:
            raise failed[-1]
        return answer[0]

    def _may_pass(self, error, tries):
        """Whether to try again; nothing is made twice: a launch has its token."""
        limit = self["RetryCount"]
        if error.unsent:
            return tries <= limit and error.reason != "SSLError"
        missing = error.reason.endswith("NotFound") and self._is_fresh()
        again = error.unsure and error.reason != "IdempotentParameterMismatch"
        return limit >= 0 and (error.later or again or missing)

    def _try(self, service, operation="", values=None):
        """One try. This is the only place where boto3 is asked and its errors become ours."""
        names = ("boto3", "botocore.exceptions", "botocore.parsers")
        _, trouble, parser = [self.need(name, "boto3") for name in names]
        try:
            client = self.client(service)
            return operation and getattr(client, operation)(**(values or {}))
        except (trouble.BotoCoreError, trouble.ClientError, parser.ResponseParserError) as error:
            failure = rest_error(error)
        self._word(failure, "%s:%s" % (service, operation.title().replace("_", "")))
        raise failure

    def _word(self, error, right):
        """Say what a RestError means, and what to do about it."""
        from re import match
        code = error.reason
        if code == "AuthFailure" and right != "sts:GetCallerIdentity" and self._is_known():
            code = "RegionNotEnabled"
        if code in CLOCK and abs(error.skew) > 240:
            error.message = "The clock of this computer and that of AWS differ by %d min" % (
                abs(error.skew) / 60)
            error.hint = "Set it: sudo timedatectl set-ntp true"
            return
        facts = {"words": error.words, "region": self["Region"], "right": right,
                 "key": self["AccessKey"] or os.environ.get("AWS_ACCESS_KEY_ID", "of the login"),
                 "profile": self["Profile"] or os.environ.get("AWS_PROFILE", "default")}
        for pattern, sentence, hint in ERRORS:
            if match(pattern, code):
                error.message, error.hint = sentence % facts, hint % facts
                break
        if error.encoded:
            why = "aws sts decode-authorization-message --encoded-message "
            error.hint += "\nWhy: " + why + error.encoded

    def _is_known(self):
        """Whether the login is good elsewhere: a region that is not enabled knows none."""
        try:
            return self["Region"] != DEFAULT_REGION and self._try("sts", "get_caller_identity")
        except RestError:
            return False

    def rows(self, operation, key, filters=None, **values):
        """All that aws() lists under a key; the filters are {name: value or values}."""
        if filters:
            values["Filters"] = [{"Name": name, "Values": [text] if isinstance(text, str) else text}
                                 for name, text in filters.items()]
        found = []  # type: list
        for _ in range(100):
            answer = self.aws(operation, **values) or {}
            found += answer.get(key) or []
            if not answer.get("NextToken"):
                break
            values["NextToken"] = answer["NextToken"]
        return found

    def _tagged(self, kind):
        name = DEFAULT_GROUP if kind == "security-group" else self.machine.name
        tags = {"Name": name, **self.tags(), TAG: self["CreateTag"]}
        return {"ResourceType": kind,
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _made(self):
        """Note that something was made, which not all of AWS knows at once."""
        from time import monotonic
        self.fresh_until = monotonic() + 60

    def _is_fresh(self):
        from time import monotonic
        return monotonic() < self.fresh_until

    def _unknown(self, kind, name, rows, key, where=""):
        """The error for what is not there, in AWS's word for that kind; the rows have what is."""
        words, known = kind.replace("-", " ").replace("vpc", "VPC"), {row[key] for row in rows}
        error = self.unknown(words, name, self._command("describe-%ss" % kind), sorted(known))
        error.message = error.message[:-1] + where + "."
        return error

    def _command(self, words):
        return "aws ec2 %s --region %s" % (words, self["Region"])


# --- helpers

def rest_error(error):
    """The RestError of an exception of boto3; for `skew`, see skew(); only AWS reads `encoded`."""
    answer = getattr(error, "response", None) or {}
    about = answer.get("Error") or {}
    meta = answer.get("ResponseMetadata") or {}
    status = meta.get("HTTPStatusCode") or 0
    code = about.get("Code") or type(error).__name__
    text, _, encoded = str(about.get("Message") or error).partition(
        "Encoded authorization failure message:")
    words = plain_words(text).strip(" .")
    if code == "ResponseParserError":
        words = "the answer is not one of AWS"
    later = status in (429, 503) or "Throttl" in code or "RequestLimit" in code
    broken = (status >= 500 or code in BROKEN_OFF) and not later and code not in CAPACITY
    return RestError(
        "AWS: %s (%s)" % (words or "no word of explanation", code), status=status, words=words,
        reason=code, value=answer, unsent=code in UNSENT, later=later, encoded=plain_words(encoded),
        unsure=broken or code == "IdempotentParameterMismatch", skew=skew(meta),
        refused=status >= 400 and not broken and not later)


def skew(meta):
    """How many seconds the clock of an answer is ahead of ours."""
    from email.utils import parsedate_to_datetime
    from time import time
    try:
        return parsedate_to_datetime(meta["HTTPHeaders"]["date"]).timestamp() - time()
    except (KeyError, TypeError, ValueError):
        return 0


def given(values):
    """The values that are something."""
    return {key: value for key, value in values.items() if value}


def packed(text):
    """Text in gzip's format, the same bytes each time."""
    import zlib
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(text.encode()) + packer.flush()


def is_in_zone(subnet, zone):
    """Whether a subnet is in a zone, by its letter, name or id."""
    name = subnet["AvailabilityZone"]
    return zone in (name, subnet.get("AvailabilityZoneId")) or len(zone) == 1 and name[-1] == zone


def parse_port(text):
    """(protocol, first, last) of 80, 8000-8010 or 53/udp."""
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    return protocol or "tcp", int(first), int(last or first)


def lacking_rules(group, ports, ipv6):
    """The IpPermissions that a group lacks to let these ports in from everywhere."""
    lacking = []
    for protocol, first, last in dict.fromkeys(ports):
        there = [rule for rule in group.get("IpPermissions") or () if rule["IpProtocol"] == "-1"
                 or rule["IpProtocol"] == protocol
                 and rule["FromPort"] <= first <= last <= rule["ToPort"]]
        ipv4s = [row["CidrIp"] for rule in there for row in rule.get("IpRanges") or ()]
        ipv6s = [row["CidrIpv6"] for rule in there for row in rule.get("Ipv6Ranges") or ()]
        rule = {}
        if "0.0.0.0/0" not in ipv4s:
            rule["IpRanges"] = [{"CidrIp": "0.0.0.0/0", "Description": TAG}]
        if ipv6 and "::/0" not in ipv6s:
            rule["Ipv6Ranges"] = [{"CidrIpv6": "::/0", "Description": TAG}]
        if rule:
            lacking.append(dict(rule, IpProtocol=protocol, FromPort=first, ToPort=last))
    return lacking


def check_image(image, architectures, size):
    """Raise MachineError if an image cannot be used."""
    words, hint = "", "Take another --amazonec2-ami."
    disks = [row.get("Ebs") or {} for row in image.get("BlockDeviceMappings") or ()
             if row["DeviceName"] == image.get("RootDeviceName")]
    least = max([disk.get("VolumeSize") or 0 for disk in disks] + [0])
    if image.get("State") != "available":
        words = "is %s." % image.get("State")
    elif image["Architecture"] not in architectures:
        kinds = image["Architecture"], " and ".join(architectures)
        words = "is for %s, the instance type for %s." % kinds
        hint = ("Take an image or a type of the other kind; without --amazonec2-ami one that fits "
                "is found.")
    elif image.get("Platform") == "windows":
        words = "is one of Windows."
    elif image.get("RootDeviceType") != "ebs":
        words = "has no root volume of EBS."
    elif least > size:
        words = "needs a root volume of %d GB." % least
        hint = "Add --amazonec2-root-size %d." % least
    if words:
        raise MachineError("The image %s %s" % (image["ImageId"], words), hint)
