#!/usr/bin/env bash
# The pages, the clients and the client package, from a fresh clone: types, lint, the schema's rules,
# the build, and the tests, in headless Chromium and against the stack of this checkout. Needs npm
# and cargo; installs the packages, and on Debian Chromium where there is none.
#
# `ci.sh prepare` does all but the tests, `ci.sh test` only these, without an argument it does both.
set -euo pipefail
cd "$(dirname "$0")"

step() {
  printf '\n--- %s (%s s)\n' "$1" "$SECONDS"
}

prepare() {
  if [[ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]]; then
    step "chromium"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
  fi

  step "packages"
  local installs=()
  for folder in . ../examples ../client; do
    npm ci --no-audit --no-fund --prefix "$folder" &
    installs+=($!)
  done
  # Each by itself: `wait` gives the status of one.
  for install in "${installs[@]}"; do wait "$install"; done

  # Before the tests run: a stack builds the pages itself when they are stale.
  step "build and checks"
  npm run codegen
  npm run build &
  npm run check
  wait $!

  step "the client package"
  npm run test:package --prefix ../client
}

run_tests() {
  # `PROGRAMS=built`: they are there, as after `.ci/run`'s tests.
  if [[ "${PROGRAMS:-}" != built ]]; then
    step "programs"
    cargo build --quiet --locked --manifest-path ../Cargo.toml -p stack -p rust-client
  fi

  step "the client package through kills"
  npm run test:killed --prefix ../client

  step "tests"
  npm test
}

case "${1:-all}" in
  prepare) prepare ;;
  test) run_tests ;;
  all)
    prepare
    run_tests
    ;;
  *)
    echo "usage: ci.sh [prepare|test]" >&2
    exit 2
    ;;
esac

step "done"
