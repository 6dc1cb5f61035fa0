#!/bin/sh
# Says what this machine is: a key, a blank and a value on each line. Changes nothing.
set -eu
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH

say() {
  printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr -d '\000-\037\177' | cut -c 1-200)"
}

has() { command -v "$1" >/dev/null 2>&1; }

sudo=no
if [ "$(id -u)" = 0 ]; then
  as_root() { "$@"; }
elif has sudo && sudo -n true 2>/dev/null; then
  sudo=yes
  as_root() { sudo -n "$@"; }
else
  as_root() { "$@"; }
fi

release() {
  [ -r /etc/os-release ] || return 0
  # shellcheck source=/dev/null
  (. /etc/os-release && eval "printf '%s' \"\${$1:-}\"")
}

holder() {
  has ss || {
    echo unknown
    return
  }
  found=$(as_root ss -Hltnp "sport = :$1" 2>/dev/null | head -n 1)
  case $found in
    '') echo free ;;
    *'users:(("'*)
      found=${found#*'users:(("'}
      echo "${found%%\"*}"
      ;;
    *) echo 'another program' ;;
  esac
}

# Whether a table that is not ours sees what comes in.
others_input() {
  awk '$1 == "table" { ours = $3 ~ /^mainstay/ } /hook input/ && !ours { found = 1 } END { exit !found }'
}

firewall() {
  if has ufw && as_root ufw status 2>/dev/null | grep -q '^Status: active'; then
    echo ufw
  elif has firewall-cmd && as_root firewall-cmd --state >/dev/null 2>&1; then
    echo firewalld
  elif has nft && as_root nft list chains 2>/dev/null | others_input; then
    echo nftables
  elif has iptables && as_root iptables -S INPUT 2>/dev/null | grep -qv '^-P INPUT ACCEPT$'; then
    echo iptables
  else
    echo none
  fi
}

say id "$(release ID)"
say release "$(release VERSION_ID)"
say name "$(release PRETTY_NAME)"
say machine "$(uname -m)"
say kernel "$(uname -r)"
say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)"
say disk_kib "$(df -Pk /var/lib | sed -n '2{s/^[^ ]*  *[0-9]*  *[0-9]*  *\([0-9]*\).*/\1/;p;}')"
say user "$(id -un)"
say uid "$(id -u)"
say groups "$(id -Gn)"
say sudo "$sudo"
say systemd "$(if [ -d /run/systemd/system ]; then echo yes; else echo no; fi)"
say apt "$(if has apt-get; then echo yes; else echo no; fi)"
say docker "$(if has docker; then echo yes; else echo no; fi)"
say docker_version "$(if has docker; then as_root timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null || true; fi)"
say tools "$(if has nft && has ip; then echo yes; else echo no; fi)"
say port_80 "$(holder 80)"
say port_443 "$(holder 443)"
say firewall "$(firewall)"
say program "$(if [ -x /usr/local/bin/mainstay ]; then echo yes; else echo no; fi)"
say unit "$(if [ -e /etc/systemd/system/mainstay.service ]; then echo yes; else echo no; fi)"
say group "$(if getent group mainstay >/dev/null; then echo yes; else echo no; fi)"
# Last: what came before took its time.
say time "$(date +%s.%N)"
