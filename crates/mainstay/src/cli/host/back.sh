#!/bin/sh
# Puts the program that was there before back.
set -eu
target=/usr/local/bin/mainstay
mv -f -- "$target.previous" "$target"
sync -f "$target"
