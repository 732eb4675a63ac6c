#!/usr/bin/env bash
# Starts docker-compose.yml as a project of its own, uses it as people do, breaks each of its parts under a live
# subscriber, and checks what it sees. It takes about five minutes, and leaves nothing behind.
#
#   containers/try.sh                          # Docker with Docker Compose 2; builds the image
#   ENGINE=podman containers/try.sh            # Podman with podman-compose
#   REJOINDER_IMAGE=NAME containers/try.sh     # an image that is there already
#
# It needs Node.js 20 with npm, and Chromium: CHROMIUM has its path if it is not /usr/bin/chromium. With KEEP=true,
# everything is left running in the end.
set -euo pipefail
cd "$(dirname "$0")/../web"
[[ -d node_modules ]] || npm ci
exec npm run --silent containers
