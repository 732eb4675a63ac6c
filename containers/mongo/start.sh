#!/bin/bash
# Starts MongoDB with logins: makes the two secrets that nobody else needs, and goes on as the image does.
set -euo pipefail
umask 077

new_secret() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# Members of a replica set know each other by this key, and with a key MongoDB lets in nobody without a login. A set of
# one member may have another key at each start.
new_secret >/tmp/keyfile

# The administrator's password is with the data, because it is of no use without them, nor they without it.
password=/data/db/admin-password
if [[ ! -s $password ]]; then
  new_secret >"$password.new"
  mv "$password.new" "$password"
fi

exec docker-entrypoint.sh "$@"
