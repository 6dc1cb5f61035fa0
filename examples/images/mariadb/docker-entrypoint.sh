#!/bin/bash
# Makes the system tables in an empty data folder as the official image does, then becomes the server, as user mysql.
set -euo pipefail

# The value of MARIADB_$1 or MYSQL_$1, or what is in the file that the variable with _FILE behind it names.
setting() {
  local name file
  for name in "MARIADB_$1" "MYSQL_$1"; do
    file=${name}_FILE
    if [[ -n ${!file:-} ]]; then
      printf '%s' "$(<"${!file}")"
      return
    elif [[ -n ${!name:-} ]]; then
      printf '%s' "${!name}"
      return
    fi
  done
}

# A text as SQL writes it.
quoted() {
  local text=${1//\\/\\\\}
  printf "'%s'" "${text//\'/\'\'}"
}

first_statements() {
  local root database user password anywhere="@'%'"
  root=$(setting ROOT_PASSWORD)
  database=$(setting DATABASE)
  user=$(setting USER)
  password=$(setting PASSWORD)
  if [[ -z $root && -z $(setting ALLOW_EMPTY_ROOT_PASSWORD) && -z $(setting ALLOW_EMPTY_PASSWORD) ]]; then
    printf '%s\n' 'error: the database is not initialised and MARIADB_ROOT_PASSWORD is not set' >&2
    return 1
  fi
  printf '%s\n' 'FLUSH PRIVILEGES;' "ALTER USER root@localhost IDENTIFIED BY $(quoted "$root");" \
    "CREATE OR REPLACE USER root$anywhere IDENTIFIED BY $(quoted "$root");" \
    "GRANT ALL ON *.* TO root$anywhere WITH GRANT OPTION;"
  [[ -z $user ]] || printf '%s\n' "CREATE USER $(quoted "$user")$anywhere IDENTIFIED BY $(quoted "$password");"
  if [[ -n $database ]]; then
    database="\`$database\`"
    printf '%s\n' "CREATE DATABASE IF NOT EXISTS $database;"
    [[ -z $user ]] || printf '%s\n' "GRANT ALL ON $database.* TO $(quoted "$user")$anywhere;"
    printf '%s\n' "USE $database;"
  fi
  for file in /docker-entrypoint-initdb.d/*.sql; do
    [[ ! -e $file ]] || cat "$file"
  done
}

[[ ${1:-} != -* ]] || set -- mariadbd "$@"
if [[ ${1:-} == mariadbd || ${1:-} == mysqld ]]; then
  if [[ $(id -u) == 0 ]]; then
    find /var/lib/mysql /run/mysqld \! -user mysql -exec chown mysql: {} +
    exec setpriv --reuid=mysql --regid=mysql --init-groups -- "$0" "$@"
  fi
  if [[ ! -d /var/lib/mysql/mysql ]]; then
    statements=$(first_statements)
    mariadb-install-db --datadir=/var/lib/mysql --skip-test-db --auth-root-authentication-method=normal >/dev/null
    # A server without a network that ends when it has read them.
    mariadbd --bootstrap <<<"$statements"
  fi
fi
exec "$@"
