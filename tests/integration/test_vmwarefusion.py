"""Machines by the driver "vmwarefusion": tests/fusion.py plays vmrun, and its VMs are real hosts with a real cloud-init
(see tests/integration/fusion.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fusion import Fusion
from test_seed import CD

from .program import HANG, Program, said, until

if TYPE_CHECKING:
    from .fusion import Hosts

pytest_plugins = [f"{__package__}.{name}" for name in ("fixtures", "fusion")]


def test_the_whole_life_of_a_vm(program: Program, fusion: Fusion, instances: Hosts) -> None:
    """Without VMware's Tools at first, so that the address is of the lease and `stop` by ssh; then with them."""
    fusion.tools, fusion.leases = False, True
    done = program("--debug", "create", "--driver", "vmwarefusion", "--engine-label", "a=b", "web")
    labels = ["a=b", "provider=vmwarefusion"]
    assert "host key" not in done.stderr and sorted(program.info()["Labels"]) == labels, said(done)
    (vmx,) = fusion.running
    first = instances.known["web"][0].public
    assert program("url", "web").stdout == f"tcp://{first}:2376\n"
    assert program("ssh", "web", "hostname; whoami").stdout == "web\ndocker\n"
    assert program.ls("-f", "{{.Name}} {{.State}} {{.DriverName}}").stdout == "web Running vmwarefusion\n"
    told = program.outside("qemu-img", "info", "-U", "--output=json", str(Path(vmx).parent / "disk.vmdk"))
    assert json.loads(told.stdout)["virtual-size"] == 3000 << 20

    program("stop", "web")
    assert program.ls("-f", "{{.State}}{{.Error}}").stdout == "Stopped\n" and fusion.running == []
    fusion.tools, fusion.leases = True, False
    program("start", "web")
    after = instances.known["web"][0].public
    assert program("ip", "web").stdout == f"{after}\n" and after != first
    assert sorted(program.info()["Labels"]) == labels
    program("restart", "web")
    assert program("ip", "web").stdout == f"{first}\n" and program.info()["Name"] == "web"
    program("provision", "web")
    assert until(lambda: program.docker("info", code=None).returncode == 0)
    program("kill", "web")
    assert program("status", "web").stdout == "Stopped\n"

    secret = program.environ["FUSION_SSH_PASSWORD"]
    assert secret not in done.stdout + done.stderr and secret not in json.dumps(fusion.calls)
    holders = {path.name for path in program.store.rglob("*")
               if path.is_file() and path.stat().st_size < 1 << 25 and secret.encode() in path.read_bytes()}
    assert "config.json" in holders and holders <= {"config.json", "config.json.bak"}
    program("rm", "-y", "web")
    assert program.names() == [] and not program.folder().exists() and until(lambda: not instances.hosts)


def test_shared_folders_are_what_the_real_cloud_init_takes(
    program: Program, fusion: Fusion, instances: Hosts
) -> None:
    """Its module for mounts is run with them; there is nothing to be mounted."""
    del program.environ["FUSION_NO_SHARE"]
    fusion.order("start", "Not now")
    done = program("create", "--driver", "vmwarefusion", "web", code=None)
    assert "vmrun start failed: Not now" in done.stderr, said(done)
    files = CD((program.folder() / "seed.iso").read_bytes()).files()
    instances.launch("web", "web", files["USER-DATA"], user="ubuntu")
    host = instances.hosts["web"]
    line = ".host:/hosthome\t/hosthome\tfuse.vmhgfs-fuse\tdefaults,allow_other,nofail"
    assert until(lambda: line in host.run("cat /etc/fstab", check=False), HANG), host.run("cat /etc/fstab")
    assert "Valid" in host.run("cloud-init schema --system 2>&1", check=False)
    program("rm", "-y", "web")
