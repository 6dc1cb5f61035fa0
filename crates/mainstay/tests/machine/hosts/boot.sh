#!/bin/sh
# Becomes a machine of its own below the folder $1: the root of this one with nothing of Mainstay in it, what is written
# kept in memory, no systemd. Runs as process 1 of namespaces of its own; sshd is what it offers.
set -eu
root=$1/root
exec 3>>"$1/log"
mkdir -p "$1/memory" "$root"
mount -t tmpfs memory "$1/memory"
mkdir "$1/memory/upper" "$1/memory/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/memory/upper,workdir=$1/memory/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
# An overlay's changes cannot lie on an overlay.
mount -t tmpfs lib "$root/var/lib"
mount -t tmpfs run "$root/run"
mkdir "$root/run/sshd"
rm -rf "$root"/usr/local/bin/mainstay* "$root/etc/systemd/system/mainstay.service"
cd "$root"
mkdir before
pivot_root . before
umount -l /before
rmdir /before
! getent group mainstay >/dev/null || groupdel mainstay
# With a password that nothing matches: without PAM, sshd keeps out whose account is locked.
useradd --create-home --shell /bin/sh --password '*' visitor
hostname far
ip link set lo up
# The cable is plugged in from outside.
until ip -o -4 addr show dev eth0 2>/dev/null | grep -q inet; do sleep 0.05; done
/usr/sbin/sshd -D -e -f "$1/sshd_config" 2>&3 &
# Orphans are this process's to bury, which waiting does.
wait
