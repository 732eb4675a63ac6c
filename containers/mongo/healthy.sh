#!/bin/bash
# Succeeds when MongoDB takes writes and has the login of the services.
#
# mongosh takes a second of processor time, so it runs only until it has succeeded once in the life of the container. Then
# it is enough that MongoDB accepts connections: the only member of a set is always its primary.
set -euo pipefail

if [[ ! -e /tmp/set-up ]]; then
  mongosh --quiet --norc 'mongodb://127.0.0.1:27017/admin?directConnection=true' --file /rejoinder/set-up.js
  touch /tmp/set-up
fi
exec 3<>/dev/tcp/127.0.0.1/27017
