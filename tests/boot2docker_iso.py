"""A live CD that a driver can take for boot2docker's, made on the spot from Debian's packages.

By hand, from the root of the repository, as root: python3 -m tests.boot2docker_iso FOLDER

It keeps to what boot2docker promises: a disk that begins with "boot2docker, please format-me" is a
tar of keys for the user docker, and is formatted; /var/lib/docker and /var/lib/boot2docker are on
it; the engine takes its options from /var/lib/boot2docker/profile, and /etc/init.d/docker restarts
it; bootsync.sh and bootlocal.sh run at each boot. The label tells the version: Boot2Docker-v99.1.0.
Like boot2docker it has busybox's init. Its kernel knows virtio only; a CD belongs to virtio-scsi.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests import cached as kept
from tests import cloud_image
from tests.cloud_image import copy_root, initrd, run

VERSION = "99.1.0"
NAME = "boot2docker.iso"
NEEDS = {"mmdebstrap": "mmdebstrap", "mksquashfs": "squashfs-tools", "xorriso": "xorriso",
         "grub-mkimage": "grub-common"}
GRUB = Path("/usr/lib/grub/i386-pc")
# As in tests/cloud_image.py: GRUB without normal.mod takes plain commands only.
BOOT = """linux16 (cd)/vmlinuz console=ttyS0 quiet net.ifnames=0 mitigations=off no_timer_check apparmor=0 norandmaps
initrd16 (cd)/initrd.img
boot
"""
# Not compressed, as emulated processors take long to unpack.
SQUASHFS = """-noI -noD -noF -noX -quiet -no-progress -wildcards -e boot/* dev/* proc/* sys/*
    usr/lib/udev/hwdb* usr/lib/python3* usr/sbin/ovrouter usr/bin/ctr usr/bin/dnet
    usr/bin/containerd-shim-runc-v1""".split()
GRUB_MODULES = "biosdisk iso9660 linux16".split()
MODULES = "virtio_pci virtio_blk virtio_scsi virtio_net virtio_rng sr_mod isofs loop squashfs overlay button evdev"
MOUNT = """
mkdir -p /run/cd /run/files /run/changes
until mount -t iso9660 -o ro /dev/sr0 /run/cd 2>/dev/null; do sleep 0.1; done
mount -t squashfs -o ro,loop /run/cd/files.squashfs /run/files
mount -t tmpfs -o mode=755,size=90% tmpfs /run/changes
mkdir /run/changes/upper /run/changes/work
mount -t overlay -o lowerdir=/run/files,upperdir=/run/changes/upper,workdir=/run/changes/work overlay /root
"""
AFTER = r"""set -e; cd "$1"
rm -f etc/ssh/ssh_host_*
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

cat >etc/init.d/docker <<'END'
#!/bin/sh
log=/var/lib/boot2docker/log/docker.log pid=/run/docker.pid
stop() {
    number=$(cat $pid 2>/dev/null) && kill "$number" 2>/dev/null || return 0
    while kill -0 "$number" 2>/dev/null; do sleep 0.1; done
}
case $1 in
    stop) stop ;;
    start | restart) stop; setsid /usr/local/sbin/engine >>$log 2>&1 </dev/null & ;;
    *) echo "Usage: $0 start|stop|restart" >&2; exit 1 ;;
esac
END
cat >etc/inittab <<'END'
::sysinit:/etc/init.d/rcS
::shutdown:/etc/init.d/rcK
::ctrlaltdel:/sbin/reboot
END
cat >etc/init.d/rcS <<'END'
#!/bin/sh
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /run/lock /run/sshd
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
hostname boot2docker
ip link set lo up
for path in /sys/class/net/eth*; do
    busybox udhcpc -i "${path##*/}" -f -s /etc/udhcpc.sh >/dev/null 2>&1 &
done
containerd >/run/containerd.log 2>&1 &
busybox acpid
boot2docker
/usr/sbin/sshd
/etc/init.d/docker start
END
cat >etc/init.d/rcK <<'END'
#!/bin/sh
/etc/init.d/docker stop
umount /var/lib/docker /var/lib/boot2docker /mnt/data
END
cat >etc/udhcpc.sh <<'END'
#!/bin/sh
case $1 in
    deconfig) ip link set "$interface" up ;;
    bound | renew)
        ip address replace "$ip/$mask" dev "$interface"
        [ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface" ;;
esac
END
mkdir -p etc/acpi/PWRF
printf '#!/bin/sh\nexec poweroff\n' >etc/acpi/PWRF/00000080
chmod 755 usr/bin/sethostname usr/local/sbin/boot2docker usr/local/sbin/engine etc/init.d/docker etc/init.d/rcS \
  etc/init.d/rcK etc/udhcpc.sh etc/acpi/PWRF/00000080
for name in init reboot poweroff halt; do ln -sf /bin/busybox "usr/sbin/$name"; done
""".replace("VERSION_HERE", VERSION)


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
