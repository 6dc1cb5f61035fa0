#!/bin/sh
# Ends the daemon $1 and the edge $2 (0: there is none), and removes unit, program and group; with $3 = state the state too.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
unit=/etc/systemd/system/mainstay.service

# A number may belong to somebody else by now.
is_ours() {
  [ "$1" != 0 ] && tr '\000' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -Eq '(mainstay|/proc/self/exe) (serve|edge) '
}

finish() {
  is_ours "$1" || return 0
  kill -TERM "$1"
  tries=0
  while is_ours "$1"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || {
      echo "process $1 does not end" >&2
      exit 1
    }
    sleep 0.1
  done
}

if [ -e "$unit" ]; then
  systemctl disable --now mainstay.service >&2
  rm -f -- "$unit"
  systemctl daemon-reload >&2
fi
finish "$1"
finish "$2"
rm -f -- /usr/local/bin/mainstay /usr/local/bin/mainstay.previous /usr/local/bin/.mainstay.??????
rm -rf -- /run/mainstay
if getent group mainstay >/dev/null; then
  groupdel mainstay >&2
fi
if [ "$3" = state ]; then
  rm -rf --one-file-system -- /var/lib/mainstay
fi
