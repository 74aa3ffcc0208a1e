"""The machines of a cloud's stand-in: test hosts with a real cloud-init.

A machine reads at its first boot what a provider hands to it: the user data of the order, the keys that the order
names, and data of the provider's own. It is reached at an address that it keeps, as a public one, and at the address
that Docker gave it, which may change with a start, as a private one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from tests.testbed import File, Host, Testbed, machine_id, take_address

SEED = "/var/lib/cloud/seed/nocloud"

Id = TypeVar("Id")
"""What a provider's API calls a machine by: a number or a text."""


class Addresses(NamedTuple):
    public: str
    private: str


class Instances(Generic[Id]):
    """Hosts by the provider's id.

    `image` is the test bed's image of machines with cloud-init, "cloud" or "cloud-bare" (no engine); `plain` is that of
    machines without.
    """

    def __init__(self, bed: Testbed, image: str = "cloud", plain: str = "engine") -> None:
        self.bed, self.image, self.plain = bed, image, plain
        self.hosts: dict[Id, Host] = {}
        for each in (image, plain):
            bed.image(each)  # now, lest the first creation wait for that

    def launch(
        self,
        id: Id,
        name: str,
        user_data: bytes | str = "",
        public_keys: Sequence[str] = (),
        *,
        vendor_data: str = "",
        user: str = "root",
        files: Sequence[File] = (),
    ) -> Addresses:
        """Start a machine, and do not wait for its boot.

        The keys let `user` in: root, or an ordinary one with sudo that cloud-init makes, as most providers have it.
        """
        about = {"instance-id": str(id), "local-hostname": name, "public-keys": list(public_keys)}
        data = {"meta-data": json.dumps(about), "user-data": user_data, "vendor-data": vendor_data}
        files = [*files, *(File(f"{SEED}/{key}", _bytes(value), 0o600) for key, value in data.items())]
        if user != "root":
            files.append(_default_user(user))
        return self._start(id, self.image, files)

    def launch_plain(self, id: Id, public_keys: Sequence[str] = ()) -> Addresses:
        """The same without cloud-init: root's keys are on the disk."""
        return self._start(id, self.plain, [*self.bed.host_keys(), *_authorized(public_keys)])

    def _start(self, id: Id, image: str, files: Sequence[File]) -> Addresses:
        address = self.bed.address()
        name = f"instance-{id}-{secrets.token_hex(2)}"
        host = self.bed.launch(image, name, [machine_id(), _second_address(address), *files])
        self.hosts[id] = host
        return Addresses(address, host.ip)

    def start(self, id: Id) -> None:
        self.bed.docker("start", self.hosts[id].name)

    def stop(self, id: Id, graceful: bool = True) -> None:
        if graceful:
            self.hosts[id].stop()
        else:
            self.bed.docker("kill", self.hosts[id].name)

    def reboot(self, id: Id) -> None:
        self.hosts[id].reboot()

    def destroy(self, id: Id) -> None:
        host = self.hosts.pop(id, None)
        if host:
            host.remove()

    def close(self) -> None:
        for id in list(self.hosts):
            self.destroy(id)


class MovingInstances(Instances[str]):
    """Hosts whose start gives a public address that is another one than before. `known` has both, that of now first."""

    def __init__(self, bed: Testbed, image: str = "cloud") -> None:
        super().__init__(bed, image)
        self.known: dict[str, list[Addresses]] = {}

    def launch_moving(self, id: str, name: str, user_data: bytes | str, public_keys: Sequence[str]) -> None:
        later = self.bed.address()
        setting = f"[Service]\nExecStartPre={take_address(later)}\n"
        files = [File("/etc/systemd/system/ssh.service.d/later.conf", setting.encode())]
        first = self.launch(id, name, user_data, public_keys, user="ubuntu", files=files)
        self.known[id] = [first, Addresses(later, first.private)]

    def start(self, id: str) -> None:
        super().start(id)
        self.known[id].reverse()


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _second_address(address: str) -> File:
    """An address that stays when the host is started again, which Docker's own may not."""
    setting = f"[Service]\nExecStartPre={take_address(address)}\n"
    return File("/etc/systemd/system/ssh.service.d/address.conf", setting.encode())


def _default_user(name: str) -> File:
    rights = {"name": name, "shell": "/bin/bash", "lock_passwd": True, "sudo": ["ALL=(ALL) NOPASSWD:ALL"]}
    config = {"disable_root": True, "system_info": {"default_user": rights}}
    return File("/etc/cloud/cloud.cfg.d/96_user.cfg", json.dumps(config).encode())


def _authorized(public_keys: Sequence[str]) -> list[File]:
    lines = "".join(f"{key}\n" for key in public_keys).encode()
    return [File("/root/.ssh", None, 0o700), File("/root/.ssh/authorized_keys", lines, 0o600)]
