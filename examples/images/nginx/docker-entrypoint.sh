#!/bin/sh
# As in the official image: what is put into /docker-entrypoint.d runs, templates get the environment's values.
set -eu

case ${1:-} in
  nginx | nginx-debug)
    for file in /docker-entrypoint.d/*.sh; do
      [ ! -x "$file" ] || "$file"
    done
    names=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')
    for file in /etc/nginx/templates/*.template; do
      [ -e "$file" ] || continue
      name=${file##*/}
      envsubst "$names" <"$file" >"/etc/nginx/conf.d/${name%.template}"
    done
    ;;
esac
exec "$@"
