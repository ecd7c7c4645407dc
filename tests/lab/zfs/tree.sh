#!/usr/bin/env bash
# tree.sh TREE KEY.pub: settings of the lab machine, written into its unpacked tree.
# Two sshds in one machine stand for two devices: each listens on its own port, and on the same port of the loopback
# address that QEMU forwards, so that one device reaches the other under the address it is registered with.
set -euo pipefail
tree=$1
public=$2

echo lab > "$tree/etc/hostname"
echo '127.0.0.1 localhost lab' > "$tree/etc/hosts"
echo 'LABEL=root / ext4 defaults 0 1' > "$tree/etc/fstab"
cat > "$tree/etc/systemd/network/10-lab.network" <<'TEXT'
[Match]
Name=e*
[Network]
Address=10.0.2.15/24
TEXT
ln -sf /lib/systemd/system/systemd-networkd.service "$tree/etc/systemd/system/multi-user.target.wants/"
# Nothing here may delay the start, or wait for a network that leads nowhere.
for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
  e2scrub_reap.service man-db.timer systemd-timesyncd.service smartmontools.service zfs-volume-wait.service; do
  ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done

cat > "$tree/etc/ssh/sshd_config" <<'TEXT'
Port 2222
Port 2223
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM yes
MaxStartups 100
MaxSessions 20
Subsystem sftp internal-sftp
TEXT
# The key of the tests, and root's own, with which one device may log in to the other.
chroot "$tree" useradd -m -s /bin/bash plain
mkdir -p "$tree/root/.ssh" "$tree/home/plain/.ssh"
[ -e "$tree/root/.ssh/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C root@lab -f "$tree/root/.ssh/id_ed25519"
cat "$public" "$tree/root/.ssh/id_ed25519.pub" > "$tree/root/.ssh/authorized_keys"
cp "$public" "$tree/home/plain/.ssh/authorized_keys"
chroot "$tree" chown -R plain:plain /home/plain/.ssh
chmod 700 "$tree/root/.ssh" "$tree/home/plain/.ssh"
# The kernel's memory is small: without this the ARC takes half of it.
echo 'options zfs zfs_arc_max=268435456' > "$tree/etc/modprobe.d/zfs.conf"
echo zfs > "$tree/etc/modules-load.d/zfs.conf"
rm -f "$tree/usr/sbin/policy-rc.d" "$tree/etc/machine-id" "$tree/etc/resolv.conf"
: > "$tree/etc/machine-id"
