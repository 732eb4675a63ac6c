#!/bin/sh
# Makes the secrets of docker-compose.yml that do not exist yet. Each folder is a volume of its own, which only those
# services mount that need it.
#
# Everybody who mounts a volume may read what is in it: the services run as different users.
set -eu
umask 022

gateway=${1:?the folder for the secret that the gateway shares with the subgraphs}
database=${2:?the folder for the login of the database}

# 256 random bits.
new_secret() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# Writes standard input to a file that appears with all of it.
write() {
  cat >"$1.new"
  mv "$1.new" "$1"
}

[ -s "$gateway/subgraph-secret" ] || new_secret | write "$gateway/subgraph-secret"
[ -s "$database/password" ] || new_secret | write "$database/password"
# The user is in the database `admin`, because its rights go beyond its own database.
printf 'mongodb://rejoinder:%s@mongo:27017/rejoinder?replicaSet=rejoinder&authSource=admin\n' \
  "$(cat "$database/password")" | write "$database/mongo-uri"
