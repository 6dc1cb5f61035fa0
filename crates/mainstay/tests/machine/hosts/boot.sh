#!/bin/sh
# Becomes a machine of its own below the folder $1: the root of this one with nothing of Mainstay in it, what is written
# kept in memory, no systemd. Runs as process 1 of namespaces of its own; sshd is what it offers.
set -eu
root=$1/root
mkdir -p "$1/memory" "$root"
mount -t tmpfs memory "$1/memory"
mkdir "$1/memory/upper" "$1/memory/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/memory/upper,workdir=$1/memory/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs run "$root/run"
mkdir "$root/run/sshd"
rm -rf "$root"/usr/local/bin/mainstay* "$root/var/lib/mainstay" "$root/etc/systemd/system/mainstay.service"
chroot "$root" sh -c '! getent group mainstay >/dev/null || groupdel mainstay'
# With a password that nothing matches: without PAM, sshd keeps out whose account is locked.
chroot "$root" useradd --create-home --shell /bin/sh --password '*' visitor
hostname far
ip link set lo up
chroot "$root" /usr/sbin/sshd -D -e -f "$1/sshd_config" 2>"$1/log" &
# Orphans are this process's to bury, which waiting does.
wait
