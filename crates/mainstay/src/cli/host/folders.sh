#!/bin/sh
# Makes the state folder, for root alone. Prints `changed` when it was not so.
set -eu
[ "$(stat -c '%u %a' /var/lib/mainstay 2>/dev/null)" != '0 700' ] || exit 0
install -d -m 0700 -o root -g root /var/lib/mainstay >&2
echo changed
