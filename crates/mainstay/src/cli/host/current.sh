#!/bin/sh
# Says whether the process $1 runs the program that is installed: `yes` or `no`.
set -eu
of() { stat -L -c '%d:%i' -- "$1" 2>/dev/null; }
if [ "$(of "/proc/$1/exe")" = "$(of /usr/local/bin/mainstay)" ]; then echo yes; else echo no; fi
