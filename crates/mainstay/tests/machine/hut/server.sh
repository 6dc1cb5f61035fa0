#!/bin/sh
# The least web server of a container: PORT VERSION [SECONDS BEFORE IT LISTENS].
mkdir -p /var/www
echo "version $2" >/var/www/index.html
sleep "${3:-0}"
echo "listening on $1"
# Whoever is process 1 has to hear of its end.
trap 'kill $!; exit 0' TERM
httpd -f -p "$1" -h /var/www &
wait
