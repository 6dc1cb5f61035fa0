#!/bin/sh
# Makes the group whose members may give the daemon orders, with this user in it. Prints `changed` when it was not so.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

getent group mainstay >/dev/null || {
  groupadd --system mainstay >&2
  echo changed
}
[ "$1" != root ] || exit 0
case " $(id -Gn -- "$1") " in
  *" mainstay "*) ;;
  *)
    usermod -a -G mainstay -- "$1" >&2
    echo changed
    ;;
esac
