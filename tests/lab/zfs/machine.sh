#!/usr/bin/env bash
# machine.sh start FOLDER | stop FOLDER: boot the machine whose image is in FOLDER, in the background, and end it.
# Emulated wholly (no KVM): the start takes one to four minutes. Every start begins with the disk as it was made.
# It is reached at 127.0.0.1, ports 2222 and 2223, with FOLDER/key; it reaches nothing outside of itself.
set -euo pipefail
command=$1
folder=$2
run=$folder/run

running() { [ -e "$run/pid" ] && kill -0 "$(cat "$run/pid")" 2>/dev/null; }

start() {
  if running; then
    echo "It runs already: $folder/run/pid" >&2
    return
  fi
  rm -rf "$run"
  mkdir -p "$run"
  qemu-img create -q -f qcow2 -F qcow2 -b "$folder/disk.qcow2" "$run/disk.qcow2"
  # Disks that turn and have no SMART, and two that answer smartctl: one of NVMe, one of SATA where the kernel knows that.
  disks=()
  kinds=(virtio-blk-pci virtio-blk-pci nvme nvme virtio-blk-pci virtio-blk-pci)
  [ ! -e "$folder/sata" ] || kinds[2]=ide-hd,bus=ide.0
  for n in 1 2 3 4 5 6; do
    qemu-img create -q -f qcow2 "$run/vdev$n.qcow2" 2G
    disks+=(-drive "file=$run/vdev$n.qcow2,if=none,id=vdev$n,cache=unsafe" -device "${kinds[n - 1]},id=disk$n,drive=vdev$n,serial=lab-vdev$n")
  done
  qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq \
    -smp 2 -m "${LAB_MEMORY:-2048}" -display none -serial "file:$run/console" -monitor none \
    -qmp "unix:$run/qmp,server=on,wait=off" \
    -kernel "$folder/vmlinuz" -initrd "$folder/initrd" -append 'root=LABEL=root ro console=ttyS0 mitigations=off quiet' \
    -drive "file=$run/disk.qcow2,if=none,id=root,cache=unsafe" -device virtio-blk-pci,drive=root,serial=lab-root \
    "${disks[@]}" \
    -netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2222-:2222,hostfwd=tcp:127.0.0.1:2223-:2223 \
    -device virtio-net-pci,netdev=net -object rng-random,id=random,filename=/dev/urandom -device virtio-rng-pci,rng=random \
    -pidfile "$run/pid" -daemonize
  printf 'Booting %s' "$folder" >&2
  for _ in $(seq 300); do
    if inside true 2>/dev/null; then
      echo >&2
      echo "Up: OpenZFS $(inside zfs version | tr '\n' ' ')" >&2
      return
    fi
    running || break
    printf . >&2
    sleep 2
  done
  echo " it did not come up; its console:" >&2
  tail -n 30 "$run/console" >&2
  stop
  exit 1
}

inside() {
  ssh -q -p 2222 -i "$folder/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o ConnectTimeout=5 root@127.0.0.1 "$@" </dev/null
}

stop() {
  if running; then
    kill "$(cat "$run/pid")"
    for _ in $(seq 100); do running || break; sleep 0.1; done
  fi
  rm -rf "$run"
}

case $command in
  start | stop) "$command" ;;
  *) echo "Usage: machine.sh start|stop FOLDER" >&2; exit 2 ;;
esac
