# Common tasks: https://just.systems. Each is one line, so that it can be run without just, too.

# Lists the tasks.
default:
    @just --list --unsorted

# Starts MongoDB, the services and the pages. Options: `just run --port 5000`.
run *options:
    cargo run -- {{options}}

# Runs all tests on a real MongoDB. Filters: `just test -p gateway`.
test *options="--workspace":
    cargo test {{options}}

# Runs every check that CI runs.
check:
    .ci/run

# Runs a benchmark: `just bench api`, `just bench gateway --only heavy`.
bench *options="--help":
    cargo run --release -p bench -- {{options}}

# Kills and pauses services and primaries at random, and checks that nothing is lost.
chaos seconds="120" seed="1":
    cargo run --release -p bench -- chaos --seconds {{seconds}} --seed {{seed}}

# Takes the README's pictures again, in headless Chromium.
screenshots:
    cargo build -p stack
    npm --prefix web ci
    npm --prefix web run build
    npm --prefix web run screenshots

# Checks the links and anchors of all Markdown files.
links:
    python3 .ci/check_links.py
