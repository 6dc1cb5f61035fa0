#!/bin/sh
# Installs these packages of the distribution, and takes nothing away for them. Starts Docker when it is among them.
set -eu
DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export DEBIAN_FRONTEND PATH

apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120 "$@" >&2
for package; do
  [ "$package" = docker.io ] || continue
  if [ -d /run/systemd/system ]; then
    systemctl enable --now docker >&2
  elif [ -x /etc/init.d/docker ]; then
    /etc/init.d/docker start >&2
  fi
done
