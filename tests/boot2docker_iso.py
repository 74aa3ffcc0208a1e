"""A live CD that a driver can take for boot2docker's, made on the spot from Debian's packages.

By hand, from the root of the repository, as root: python3 -m tests.boot2docker_iso FOLDER

It keeps to what boot2docker promises: a disk that begins with "boot2docker, please format-me" is a
tar of keys for the user docker, and is formatted; /var/lib/docker and /var/lib/boot2docker are on
it; the engine takes its options from /var/lib/boot2docker/profile, and /etc/init.d/docker restarts
it; bootsync.sh and bootlocal.sh run at each boot. The label tells the version: Boot2Docker-v99.1.0.
Its kernel knows virtio and IDE only; IDE is where the CD has to be.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests import cached as kept
from tests import cloud_image
from tests.cloud_image import QUIET, copy_root, initrd, run

VERSION = "99.1.0"
NAME = "boot2docker.iso"
NEEDS = {"mmdebstrap": "mmdebstrap", "mksquashfs": "squashfs-tools", "xorriso": "xorriso",
         "grub-mkimage": "grub-common"}
GRUB = Path("/usr/lib/grub/i386-pc")
# As in tests/cloud_image.py: GRUB without normal.mod takes plain commands only.
BOOT = """linux (cd)/vmlinuz console=ttyS0 quiet net.ifnames=0 mitigations=off no_timer_check apparmor=0 norandmaps
initrd (cd)/initrd.img
boot
"""
# Not compressed, as emulated processors take long to unpack.
SQUASHFS = """-noI -noD -noF -noX -quiet -no-progress -wildcards -e boot/* dev/* proc/* sys/*
    usr/lib/udev/hwdb* usr/lib/python3* usr/sbin/ovrouter usr/bin/ctr usr/bin/dnet
    usr/bin/containerd-shim-runc-v1""".split()
GRUB_MODULES = "biosdisk iso9660 linux".split()
MODULES = "virtio_pci virtio_blk ata_piix sr_mod isofs loop squashfs overlay"
MOUNT = """
mkdir -p /run/cd /run/files /run/changes
until mount -t iso9660 -o ro /dev/sr0 /run/cd 2>/dev/null; do sleep 0.1; done
mount -t squashfs -o ro,loop /run/cd/files.squashfs /run/files
mount -t tmpfs -o mode=755,size=90% tmpfs /run/changes
mkdir /run/changes/upper /run/changes/work
mount -t overlay -o lowerdir=/run/files,upperdir=/run/changes/upper,workdir=/run/changes/work overlay /root
"""
AFTER = r"""set -e; cd "$1"
rm -f etc/ssh/ssh_host_* usr/lib/systemd/system/cloud-* usr/lib/systemd/system-generators/cloud-*
: >etc/fstab; : >etc/machine-id; echo boot2docker >etc/hostname
echo "127.0.0.1 localhost boot2docker" >etc/hosts
rm -f etc/resolv.conf; echo 'nameserver 10.0.2.3' >etc/resolv.conf
cat >etc/os-release.new <<END
NAME=Boot2Docker
VERSION=VERSION_HERE
ID=boot2docker
ID_LIKE=debian
VERSION_ID=VERSION_HERE
PRETTY_NAME="Boot2Docker VERSION_HERE (a stand-in)"
END
rm etc/os-release; mv etc/os-release.new etc/os-release

chroot . useradd --create-home --shell /bin/bash --gid staff --groups docker --password '*' docker
echo 'docker ALL=(ALL) NOPASSWD: ALL' >etc/sudoers.d/docker; chmod 440 etc/sudoers.d/docker
printf '[Match]\nName=eth*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
  >etc/systemd/network/all.network

cat >usr/bin/sethostname <<'END'
#!/bin/sh
hostname "$1" && echo "$1" >/etc/hostname && echo "127.0.0.1 localhost $1" >/etc/hosts
END

cat >usr/local/sbin/boot2docker <<'END'
#!/bin/sh
# What boot2docker does before sshd and the engine start.
magic='boot2docker, please format-me'
folder=/var/lib/boot2docker
for disk in /dev/vd? /dev/sd?; do
    [ -b "$disk" ] && [ -z "$(blkid -L boot2docker-data)" ] || continue
    if [ "$(head -c ${#magic} "$disk" | tr -d '\0')" = "$magic" ]; then
        head -c 4096 "$disk" >/run/userdata.tar  # as much as boot2docker takes
    elif blkid -p "$disk"; then
        continue
    fi
    mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 -L boot2docker-data "$disk"
done
mkdir -p /mnt/data "$folder" /var/lib/docker
if mount -L boot2docker-data /mnt/data; then
    for name in docker boot2docker; do
        mkdir -p "/mnt/data/var/lib/$name" && mount --bind "/mnt/data/var/lib/$name" "/var/lib/$name"
    done
fi
mkdir -p "$folder/log" "$folder/ssh"
[ ! -e /run/userdata.tar ] || mv /run/userdata.tar "$folder/"
[ ! -e "$folder/userdata.tar" ] || tar -x -f "$folder/userdata.tar" -C /home/docker 2>/dev/null
rm -f "/home/docker/$magic"
chown -R docker:staff /home/docker
for kind in ed25519 ecdsa; do
    key=$folder/ssh/ssh_host_${kind}_key
    [ -s "$key" ] || ssh-keygen -q -t $kind -N '' -f "$key"
    cp -p "$key" "$key.pub" /etc/ssh/
done
[ ! -s "$folder/etc/hostname" ] || sethostname "$(cat "$folder/etc/hostname")"
[ ! -e "$folder/bootsync.sh" ] || sh "$folder/bootsync.sh"
[ ! -e "$folder/bootlocal.sh" ] || setsid sh "$folder/bootlocal.sh" >"$folder/log/bootlocal.log" 2>&1 &
exit 0
END
cat >etc/systemd/system/boot2docker.service <<'END'
[Unit]
DefaultDependencies=no
After=local-fs.target systemd-udev-settle.service
Wants=systemd-udev-settle.service
Before=ssh.service docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
KillMode=process
ExecStart=/usr/local/sbin/boot2docker
[Install]
WantedBy=multi-user.target
END

cat >usr/local/sbin/engine <<'END'
#!/bin/bash
# The engine with the options of the profile. Without certificates it is not on the network.
folder=/var/lib/boot2docker
EXTRA_ARGS= DOCKER_HOST='-H tcp://0.0.0.0:2376' DOCKER_STORAGE=overlay2 DOCKER_TLS=auto
CACERT=$folder/tls/ca.pem SERVERCERT=$folder/tls/server.pem SERVERKEY=$folder/tls/serverkey.pem
[ ! -e $folder/profile ] || . $folder/profile
tls="--tlsverify --tlscacert=$CACERT --tlscert=$SERVERCERT --tlskey=$SERVERKEY"
[ "$DOCKER_TLS" != no ] || tls=
[ -z "$tls" ] || [ -s "$SERVERCERT" ] || tls= DOCKER_HOST=
# No container has a network here, whose setup is half of an emulated engine's start.
# It gives a containerd of its own 15 s to start.
exec /usr/sbin/dockerd --iptables=false --bridge=none --containerd /run/containerd/containerd.sock \
  -H unix:// $DOCKER_HOST -s "$DOCKER_STORAGE" $tls $EXTRA_ARGS
END
echo 'disabled_plugins = ["cri", "btrfs", "zfs", "aufs", "devmapper"]' >etc/containerd/config.toml
cat >etc/systemd/system/docker.service <<'END'
[Unit]
After=network.target boot2docker.service containerd.service
Wants=containerd.service
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=/usr/local/sbin/engine
StandardOutput=append:/var/lib/boot2docker/log/docker.log
StandardError=inherit
TimeoutStartSec=300
Restart=on-failure
Delegate=yes
KillMode=process
LimitNOFILE=infinity
[Install]
WantedBy=multi-user.target
END
chmod 755 usr/bin/sethostname usr/local/sbin/boot2docker usr/local/sbin/engine
printf 'blacklist %s\n' kvm_amd kvm_intel powernow_k8 acpi_cpufreq aesni_intel ghash_clmulni_intel \
  sha512_ssse3 crct10dif_pclmul crc32_pclmul >etc/modprobe.d/test.conf  # slow, and of no use here
chroot . systemctl --quiet enable systemd-networkd.service boot2docker.service docker.service
chroot . systemctl --quiet mask docker.socket systemd-networkd-wait-online.service QUIET_HERE
# Last, as systemctl would enable it as a script of System V.
printf '#!/bin/sh\nexec systemctl "$1" docker.service\n' >etc/init.d/docker
chmod 755 etc/init.d/docker
""".replace("VERSION_HERE", VERSION).replace("QUIET_HERE", " ".join(QUIET.split()))


def missing():
    """The Debian packages that `build` wants and this machine lacks."""
    return sorted(NEEDS[name] for name in NEEDS if not shutil.which(name)) + [
        "grub-pc-bin"] * (not (GRUB / "cdboot.img").exists())


def build(folder):
    """Make FOLDER/NAME."""
    folder = Path(folder)
    image = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(folder)) as scratch:
        root, tree, done = (os.path.join(scratch, name) for name in ("root", "tree", "done"))
        os.mkdir(tree)
        copy_root(root, initrd(MODULES, MOUNT), AFTER)
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(os.path.join(root, name), tree)
        run("mksquashfs", root, os.path.join(tree, "files.squashfs"), *SQUASHFS)
        write_cd(done, tree, scratch)
        shutil.rmtree(root)
        os.replace(done, str(image))
    return image


def cached():
    """The path of such a CD that may have been made before; not to be written to."""
    return kept.cached("iso", build, Path(__file__).read_text(), Path(cloud_image.__file__).read_text()) / NAME


def write_cd(disc, tree, scratch):
    """A CD with the files of `tree` that a BIOS boots by GRUB."""
    config = os.path.join(scratch, "config")
    Path(config).write_text(BOOT)
    run("grub-mkimage", "-O", "i386-pc-eltorito", "-p", "(cd)/", "-c", config,
        "-o", os.path.join(tree, "grub.img"), *GRUB_MODULES)
    run("xorriso", "-as", "mkisofs", "-quiet", "-V", "Boot2Docker-v" + VERSION, "-o", disc, "-b", "grub.img",
        "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", tree)


def write_empty_cd(disc):
    """A CD of a few kilobytes, with the label alone."""
    with tempfile.TemporaryDirectory() as tree:
        run("xorriso", "-as", "mkisofs", "-quiet", "-V", "Boot2Docker-v" + VERSION, "-o", str(disc), tree)


if __name__ == "__main__":
    print(build(sys.argv[1]))
