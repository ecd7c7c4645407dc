#!/usr/bin/env bash
# image.sh SUITE FOLDER: make the disk image of a Debian machine with OpenZFS built for its kernel, as root.
# SUITE is bookworm (OpenZFS 2.1.11), bookworm-backports (2.3.2), trixie (2.3.9), trixie-backports (2.4.4), or
# bookworm-2.2, which no package has: it is built from the sources that LAB_ZFS_SOURCE names. FOLDER gets disk.qcow2,
# vmlinuz, initrd, key and key.pub (what the machine lets in). Takes 15 to 40 minutes; nothing is left half made under
# those names.
set -euo pipefail
suite=$1
folder=$2
here=$(dirname "${BASH_SOURCE[0]}")
release=${suite%%-*}
case $suite in
  bookworm | bookworm-backports | trixie | trixie-backports) ;;
  bookworm-2.2) bash "$here/source.sh" check "${suite#*-}" ;;
  *)
    echo "No such suite: $suite. Known: bookworm, bookworm-backports, bookworm-2.2, trixie, trixie-backports" >&2
    exit 2
    ;;
esac

# The mirror this machine itself takes its packages from: it is reachable, and nobody's name stands here.
mirror=$(apt-get indextargets --format '$(SITE) $(COMPONENT) $(ORIGIN)' | awk '$2 == "main" && $3 == "Debian" {print $1; exit}')
[ -n "$mirror" ] || { echo "apt knows no Debian mirror here: the lab is made on Debian. Run apt-get update" >&2; exit 1; }

mkdir -p "$folder"
tree=$(mktemp -d "$folder/tree.XXXXXX")
chmod 755 "$tree"  # apt fetches as a user of its own
leave() {
  # Lazily where what was interrupted inside still uses it; what is mounted is never removed.
  for mounted in dev/pts dev proc sys; do umount -q "$tree/$mounted" || umount -q -l "$tree/$mounted" || true; done
  rm -rf --one-file-system "$tree"
}
trap leave EXIT

inside() { chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }

echo "Unpacking $release from $mirror" >&2
debootstrap --variant=minbase --include=ca-certificates,systemd-sysv,dbus,udev,kmod,openssh-server,openssh-client,sudo,iproute2,procps,python3-minimal,initramfs-tools,busybox \
  "$release" "$tree" "$mirror"
mount -t proc proc "$tree/proc"
mount -t sysfs -o ro sys "$tree/sys"
mount --bind /dev "$tree/dev"
mount --bind /dev/pts "$tree/dev/pts"

# A mirror may serve a dated state, which apt calls expired.
echo 'Acquire::Check-Valid-Until "false";' > "$tree/etc/apt/apt.conf.d/90lab"
{
  echo "deb $mirror $release main contrib"
  echo "deb $mirror $release-backports main contrib"
} > "$tree/etc/apt/sources.list"
printf '#!/bin/sh\nexit 101\n' > "$tree/usr/sbin/policy-rc.d"  # no service starts in the tree
chmod 755 "$tree/usr/sbin/policy-rc.d"
# What the first disk needs, and nothing else: an initrd of few modules starts quickly under emulation.
echo 'MODULES=list' > "$tree/etc/initramfs-tools/conf.d/lab"
printf 'virtio_pci\nvirtio_blk\next4\n' >> "$tree/etc/initramfs-tools/modules"

inside apt-get update -qq
# The kernel is the release's own, whichever ZFS is built for it; recommended packages would bring a whole desktop's worth.
inside apt-get install -y -qq --no-install-recommends linux-image-cloud-amd64 linux-headers-cloud-amd64 smartmontools mbuffer pv
kernel=$(basename "$(ls -d "$tree"/lib/modules/*cloud*)")
if [ "$suite" = bookworm-2.2 ]; then
  bash "$here/source.sh" build "$tree" "$kernel"
else
  inside apt-get install -y -qq --no-install-recommends dkms
  inside apt-get install -y -qq --no-install-recommends -t "$suite" zfs-dkms zfsutils-linux zfs-zed
  inside dkms autoinstall -k "$kernel"
fi
inside modinfo -k "$kernel" -F version zfs > "$folder/version.new"  # ends the script where the module was not built
inside update-initramfs -u -k "$kernel"

[ -e "$folder/key" ] || ssh-keygen -q -t ed25519 -N '' -C lab -f "$folder/key"
bash "$here/tree.sh" "$tree" "$folder/key.pub"

# The cloud kernel of Debian 12 knows no SATA, that of Debian 13 does: machine.sh has to know.
if compgen -G "$tree/lib/modules/$kernel/kernel/drivers/ata/ahci.ko*" >/dev/null; then touch "$folder/sata"; fi
cp -L "$tree/boot/vmlinuz-$kernel" "$folder/vmlinuz"
cp -L "$tree/boot/initrd.img-$kernel" "$folder/initrd"
for mounted in dev/pts dev proc sys; do umount "$tree/$mounted"; done
# What was needed to build, and only then.
rm -rf "$tree"/usr/src/* "$tree"/var/lib/dkms/* "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/doc/*
truncate -s 6G "$folder/disk.raw"
mkfs.ext4 -q -F -L root -d "$tree" "$folder/disk.raw"
qemu-img convert -O qcow2 "$folder/disk.raw" "$folder/disk.new"
rm "$folder/disk.raw"
mv "$folder/version.new" "$folder/version"
mv "$folder/disk.new" "$folder/disk.qcow2"
echo "Made $folder/disk.qcow2 with OpenZFS $(cat "$folder/version")" >&2
