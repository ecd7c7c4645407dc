#!/usr/bin/env bash
# ./dev.sh lab zfs [SUITE] [pytest args]: make and boot a machine with real ZFS, and run the live tests against it.
# SUITE is bookworm-backports (OpenZFS 2.3.2, the default), bookworm (2.1.11), bookworm-2.2 (built from the sources
# that LAB_ZFS_SOURCE names), trixie (2.3.9) or trixie-backports (2.4.4). The image is made once, in 15 to 40 minutes,
# and kept in INFRASTRUCTOR_LAB_DIR (default ~/.cache/infrastructor-lab, 1 GB for each).
# LAB_KEEP=1 leaves the machine running afterwards; `bash tests/lab/zfs/machine.sh stop FOLDER` ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
suite=bookworm-backports
case ${1-} in
  bookworm* | trixie*) suite=$1; shift ;;
esac
folder=${INFRASTRUCTOR_LAB_DIR:-$HOME/.cache/infrastructor-lab}/$suite
here=tests/lab/zfs

missing=
for pair in qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils debootstrap:debootstrap mkfs.ext4:e2fsprogs ssh:openssh-client; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "The lab needs:$missing. Install them: sudo apt-get install$missing" >&2
    exit 1
  fi
  echo "Installing what the lab needs:$missing" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of packages
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if [ ! -e "$folder/disk.qcow2" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "Making the image needs root: sudo bash $here/image.sh $suite $folder" >&2
    exit 1
  fi
  bash "$here/image.sh" "$suite" "$folder" >&2
fi

bash "$here/machine.sh" start "$folder"
[ "${LAB_KEEP:-}" = 1 ] || trap 'bash "$here/machine.sh" stop "$folder"' EXIT
# Not collected by ./dev.sh test: their files are named otherwise, and have to be named here.
[ $# -gt 0 ] || set -- "$here"/live_*.py
INFRASTRUCTOR_LAB_FOLDER=$folder .venv/bin/pytest -p no:cacheprovider --durations=10 -rA "$@"
