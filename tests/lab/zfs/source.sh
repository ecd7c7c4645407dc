#!/usr/bin/env bash
# source.sh check VERSION | build TREE KERNEL: OpenZFS that no package has, from the sources LAB_ZFS_SOURCE names.
# They are an unpacked tree or a tarball, of a release or of a tag. `check` says whether they are of that version;
# `build` makes userland and module inside the unpacked machine TREE, for its KERNEL, and takes away what only that needs.
set -euo pipefail

# What the programs are linked with stays; what they are built with goes.
runtime=(libblkid1 libssl3 libtirpc3 libudev1 libuuid1 zlib1g)
building=(autoconf automake build-essential gettext libaio-dev libblkid-dev libelf-dev libssl-dev libtirpc-dev libtool
  libudev-dev pkg-config python3-dev uuid-dev zlib1g-dev)

check() {
  local meta found
  if [ -z "${LAB_ZFS_SOURCE:-}" ]; then
    echo "No Debian suite has OpenZFS $1. Download its newest release from https://github.com/openzfs/zfs/releases" \
      "and name the tarball, or the unpacked tree: LAB_ZFS_SOURCE=/path/to/zfs-$1.x.tar.gz" >&2
    exit 2
  fi
  if [ -d "$LAB_ZFS_SOURCE" ]; then
    meta=$(cat "$LAB_ZFS_SOURCE/META" 2>/dev/null || true)
  elif [ -e "$LAB_ZFS_SOURCE" ]; then
    meta=$(tar -tf "$LAB_ZFS_SOURCE" | grep -E '^(\./)?([^/]+/)?META$' || true)
    [ -z "$meta" ] || meta=$(tar -xOf "$LAB_ZFS_SOURCE" "$meta")
  else
    echo "LAB_ZFS_SOURCE names nothing that is there: $LAB_ZFS_SOURCE" >&2
    exit 2
  fi
  found=$(awk '$1 == "Version:" {print $2}' <<<"$meta")
  if [ -z "$found" ] || [ "${found#"$1".}" = "$found" ]; then
    echo "$LAB_ZFS_SOURCE (LAB_ZFS_SOURCE) has ${found:-no} sources of OpenZFS; $1 is needed." >&2
    exit 2
  fi
}

inside() { chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }

build() {
  tree=$1
  local kernel=$2 source=$1/usr/src/zfs
  mkdir -p "$source"
  if [ -d "$LAB_ZFS_SOURCE" ]; then
    cp -a "$LAB_ZFS_SOURCE/." "$source"
  else
    tar -xf "$LAB_ZFS_SOURCE" -C "$source"
    # A release has everything in one folder, an archive of a tag may not.
    [ -e "$source/META" ] || source=$(dirname "$(echo "$source"/*/META)")
  fi
  inside apt-get install -y -qq --no-install-recommends "${runtime[@]}"
  inside apt-get install -y -qq --no-install-recommends "${building[@]}"
  inside sh -euc '
    cd "$1"
    [ -x configure ] || ./autogen.sh
    ./configure --quiet --prefix=/usr --sysconfdir=/etc --localstatedir=/var --disable-pyzfs CFLAGS=-O2 \
      --with-linux="/lib/modules/$2/source" --with-linux-obj="/lib/modules/$2/build"
    make --silent -j2
    make --silent install INSTALL_MOD_STRIP=1
    ldconfig
    depmod "$2"
    systemctl enable zfs-zed
  ' build "${source#"$tree"}" "$kernel"
  inside apt-get purge -y -qq --autoremove "${building[@]}" linux-headers-cloud-amd64
  # Tests of its own, and hooks that would put all of it into the initrd.
  rm -rf "$tree"/usr/share/zfs/{zfs-tests,test-runner,runfiles} "$tree"/usr/src/zfs*
  find "$tree/usr/share/initramfs-tools" -name '*zfs*' -delete
  # Whether a library went that is needed: it says so. What it then says of the module is of no interest here.
  inside sh -c '! ldd /usr/sbin/zpool /usr/sbin/zfs /usr/sbin/zed | grep "not found" >&2'
}

command=${1-}
case $command in
  check | build) shift; "$command" "$@" ;;
  *) echo "Usage: source.sh check VERSION | build TREE KERNEL" >&2; exit 2 ;;
esac
