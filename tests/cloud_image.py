"""A cloud image like the ones that distributions publish, made on the spot from Debian's packages:
a disk with its own boot loader, cloud-init, sshd, sudo and docker.io.

By hand, from the root of the repository, as root: python3 -m tests.cloud_image FOLDER

It lacks what makes a stock image slow to boot under software emulation: most modules of cloud-init,
systemd-resolved, AppArmor, mitigations, sessions of logind, the check of the file system, timers.
Its initrd knows virtio disks and CDs only, and the engine waits until provisioning starts it.
"""

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import cached as kept
from tests.testbed import SLIM, _apt_options, idle

NAME = "debian-12-test-amd64.qcow2"
NEEDS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils"}
GRUB = Path("/usr/lib/grub/i386-pc")
SECTORS, START = 2 << 21, 2048  # 2 GiB in all, and the one partition from 1 MiB on
PACKAGES = ("systemd-sysv,udev,dbus,openssh-server,sudo,python3,"
            "cloud-init,cloud-guest-utils,fdisk,e2fsprogs,iproute2,kmod,ca-certificates,curl,"
            "linux-image-cloud-amd64,busybox-static,cpio,docker.io,iptables")
NO_INITRD = idle("usr/sbin/update-initramfs")
QUIET = """apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
  e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-binfmt.service dev-hugepages.mount
  dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
  modprobe@drm.service modprobe@configfs.service modprobe@fuse.service
  modprobe@dm_mod.service modprobe@loop.service modprobe@efi_pstore.service sys-kernel-config.mount
  sys-fs-fuse-connections.mount systemd-update-utmp.service systemd-update-utmp-runlevel.service
  getty.target cloud-config.service"""
"""Units that nothing here needs and that emulation pays for; cloud-config would start a Python for two modules."""
BOOT = """linux16 /vmlinuz root=LABEL=root rw console=ttyS0 quiet mitigations=off no_timer_check apparmor=0 norandmaps
initrd16 /initrd.img
boot
"""
# Without normal.mod, GRUB takes these lines as they are and knows nothing else. Its linux.mod would move the kernel
# and all the room that it unpacks to, by the byte: 2 s when emulated.
GRUB_MODULES = "biosdisk part_msdos ext2 linux16".split()
# An initrd that loads its modules and mounts the root at /root; those of distributions take ten times as long.
INITRD = r"""set -e; cd "$1"
kernel=$(ls lib/modules) ram=tmp/initrd
mkdir -p $ram/bin $ram/modules $ram/dev $ram/proc $ram/sys $ram/run $ram/root
cp bin/busybox $ram/bin/
cat >$ram/init <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
while read -r module; do insmod "/modules/$module"; done </modules/order
MOUNT_HERE
mount -o move /dev /root/dev
mount -o move /run /root/run
umount /proc /sys
exec switch_root -c /dev/console /root /sbin/init
END
chmod 755 $ram/init
for module in MODULES_HERE; do chroot . modprobe -S "$kernel" --show-depends $module; done |
while read -r verb file rest; do
    [ "$verb" = insmod ] && [ ! -e "$ram/modules/${file##*/}" ] || continue
    cp ".$file" $ram/modules/
    echo "${file##*/}" >>$ram/modules/order
done
chroot . sh -c 'cd /tmp/initrd && find . | cpio --quiet -o -H newc -R 0:0' >"boot/initrd.img-$kernel"
rm -rf $ram
"""
MODULES = "virtio_pci virtio_blk virtio_scsi sr_mod isofs ext4 crc32c_generic button evdev"
# cloud-init looks for its seed once and early: a CD must be there by then.
MOUNT = """
for attempt in $(seq 30); do [ -e /dev/sr0 ] || sleep 0.1; done
until disk=$(findfs LABEL=root); do sleep 0.1; done
mount -t ext4 "$disk" /root
"""
AFTER = r"""set -e; cd "$1"
rm -f etc/ssh/ssh_host_* etc/hostname; : >etc/machine-id
echo 'LABEL=root / ext4 errors=remount-ro 0 0' >etc/fstab
echo 'nameserver 10.0.2.3' >etc/resolv.conf  # QEMU's own
cat >etc/cloud/cloud.cfg.d/99_test.cfg <<'END'
cloud_init_modules: [seed_random, bootcmd, write-files, growpart, resizefs, set_hostname,
  update_hostname, update_etc_hosts, users-groups, ssh, set-passwords, runcmd]
cloud_final_modules: [scripts-user, final-message]
END
printf 'blacklist %s\n' kvm_amd kvm_intel powernow_k8 acpi_cpufreq aesni_intel ghash_clmulni_intel \
  sha512_ssse3 crct10dif_pclmul crc32_pclmul >etc/modprobe.d/test.conf  # slow, and of no use here
# Of the other devices there are two hundred, and nothing here needs them.
mkdir -p etc/systemd/system/systemd-udev-trigger.service.d
cat >etc/systemd/system/systemd-udev-trigger.service.d/test.conf <<'END'
[Service]
ExecStart=
ExecStart=udevadm trigger --action=add --subsystem-match=block --subsystem-match=net --subsystem-match=virtio \
  --subsystem-match=input
END
chroot . systemctl --quiet enable systemd-networkd.service
chroot . systemctl --quiet mask QUIET_HERE
chroot . systemctl --quiet disable docker.service docker.socket containerd.service
""".replace("QUIET_HERE", " ".join(QUIET.split()))


def missing():
    """The Debian packages that `build` wants and this machine lacks."""
    return sorted(NEEDS[name] for name in NEEDS if not shutil.which(name)) + [
        "grub-pc-bin"] * (not (GRUB / "boot.img").exists())


def initrd(modules, mount):
    """A script that makes the initrd. `mount` are lines for busybox that mount the root."""
    return INITRD.replace("MODULES_HERE", modules).replace("MOUNT_HERE", mount.strip())


def build_root(folder):
    """Make FOLDER/root, which this and tests/boot2docker_iso.py begin with."""
    root = os.path.join(str(folder), "root")
    run("mmdebstrap", "--quiet", "--variant=minbase", "--include=" + PACKAGES, "--dpkgopt=force-unsafe-io",
        *["--aptopt=" + option for option in _apt_options()] + [SLIM, NO_INITRD, "bookworm", root])
    shutil.rmtree(os.path.join(root, "var/cache/apt"))
    shutil.rmtree(os.path.join(root, "var/lib/apt/lists"))


def copy_root(root, *scripts):
    """Make `root` from that of `build_root`, which may have been made before; scripts get it as $1."""
    run("cp", "-a", str(kept.cached("guest", build_root, PACKAGES, SLIM, NO_INITRD) / "root"), root)
    for script in scripts:
        run("sh", "-c", script, "sh", root)


def build(folder):
    """Make FOLDER/NAME and FOLDER/SHA512SUMS."""
    folder = Path(folder)
    image = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(folder)) as scratch:
        root, disk, done = (os.path.join(scratch, name) for name in ("root", "disk", "done"))
        copy_root(root, initrd(MODULES, MOUNT), AFTER)
        write_disk(disk, root, scratch)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, done)
        shutil.rmtree(root)
        digest = hashlib.sha512(Path(done).read_bytes()).hexdigest()
        os.replace(done, str(image))
    (folder / "SHA512SUMS").write_text("%s  %s\n" % (digest, NAME))
    return image


def cached():
    """The path of such an image that may have been made before; not to be written to."""
    return kept.cached("cloud", build, Path(__file__).read_text()) / NAME


def write_disk(disk, root, scratch):
    """A raw disk: GRUB's first sector with the partition table, the rest of GRUB right after it
    where the first sector looks for it unless told otherwise, and the files of `root`."""
    config, core = os.path.join(scratch, "config"), os.path.join(scratch, "core")
    Path(config).write_text(BOOT)
    run("grub-mkimage", "-O", "i386-pc", "-p", "(,msdos1)/", "-c", config, "-o", core,
        *GRUB_MODULES)
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, "-E",
        "offset=%d" % (START * 512), disk, "%ds" % (SECTORS - START))
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", START, SECTORS - START)
    first = (GRUB / "boot.img").read_bytes()[:440] + b"test\0\0" + entry.ljust(64, b"\0") + b"\x55\xaa"
    with open(disk, "r+b") as file:
        file.write(first + Path(core).read_bytes())
        file.truncate(SECTORS * 512)


def run(*words):
    """Run a program whose output matters only if it fails."""
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ended.returncode:
        raise RuntimeError("%s failed:\n%s" % (words[0], ended.stdout.decode(errors="replace")[-4000:]))


if __name__ == "__main__":
    print(build(sys.argv[1]))
