#!/bin/bash
# Makes a cluster in an empty PGDATA as the official image does, then becomes the server, as user postgres.
set -euo pipefail

# The value of variable $1, or what is in the file that $1_FILE names, or $2.
setting() {
  local file=$1_FILE
  if [[ -n ${!1:-} && -n ${!file:-} ]]; then
    printf 'error: both %s and %s are set\n' "$1" "$file" >&2
    return 1
  elif [[ -n ${!file:-} ]]; then
    printf '%s' "$(<"${!file}")"
  else
    printf '%s' "${!1:-${2:-}}"
  fi
}

make_cluster() {
  local user password database method
  user=$(setting POSTGRES_USER postgres)
  password=$(setting POSTGRES_PASSWORD)
  database=$(setting POSTGRES_DB "$user")
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [[ -z $password && $method != trust ]]; then
    printf '%s\n' 'error: the database is not initialised and POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE is not set' >&2
    return 1
  fi
  local words=()
  read -ra words <<<"${POSTGRES_INITDB_ARGS:-}"
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") "${words[@]}"
  printf 'host all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
  # Nobody from outside sees the server that is only half made.
  PGUSER=$user pg_ctl --wait --options="-c listen_addresses=''" start
  export PGHOST=/var/run/postgresql PGUSER=$user PGPASSWORD=$password
  if [[ $database != postgres ]]; then
    psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname=postgres --set=name="$database" <<<'CREATE DATABASE :"name";'
  fi
  PGDATABASE=$database first_start
  pg_ctl --wait --mode=fast stop
  unset PGHOST PGUSER PGPASSWORD
}

# Programs and statements that a user put there.
first_start() {
  local file
  export PGDATABASE
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh)
        # shellcheck source=/dev/null
        if [[ -x $file ]]; then "$file"; else . "$file"; fi
        ;;
      *.sql) psql --no-psqlrc --set=ON_ERROR_STOP=1 --file="$file" ;;
      *.sql.gz) gunzip --stdout "$file" | psql --no-psqlrc --set=ON_ERROR_STOP=1 ;;
    esac
  done
}

[[ ${1:-} != -* ]] || set -- postgres "$@"
if [[ ${1:-} == postgres ]]; then
  if [[ $(id -u) == 0 ]]; then
    mkdir -p "$PGDATA"
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres {} +
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
  fi
  if [[ ! -s $PGDATA/PG_VERSION ]]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA" || true
    make_cluster
  fi
fi
exec "$@"
