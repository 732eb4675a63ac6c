#!/usr/bin/env bash
# The pages and the clients, from a fresh clone: types, lint, the schema's rules, the build, and the
# tests in headless Chromium against the stack of this checkout. Needs npm and cargo; installs the
# packages, and on Debian Chromium where there is none.
set -euo pipefail
cd "$(dirname "$0")"

if [[ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]]; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi

# Before the tests run: a stack builds the pages itself when they are stale.
npm ci
npm ci --prefix ../examples
npm run build
npm run check

cargo build --quiet --locked --manifest-path ../Cargo.toml -p stack -p rust-client
npm test
