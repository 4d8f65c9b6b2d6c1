#!/usr/bin/env bash
# Installs what the tests need on a Debian machine that has the Rust toolchain, and runs them all.
# Arguments are handed to `cargo test`, such as the name of a test.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the tests use, and the package that brings it.
needs() {
    python3 -c 'import ensurepip' 2>/dev/null || echo python3 python3-venv
    command -v systemd-analyze >/dev/null || echo systemd
    command -v cc >/dev/null || echo gcc libc6-dev
    command -v chromium >/dev/null || echo chromium
    command -v chromedriver >/dev/null || echo chromium-driver
    command -v npm >/dev/null || echo npm
    command -v zsh >/dev/null || echo zsh
    command -v fish >/dev/null || echo fish
    command -v ip >/dev/null || echo iproute2
    command -v nft >/dev/null || echo nftables
    command -v nsenter >/dev/null || echo util-linux
    command -v prometheus >/dev/null || echo prometheus
}
missing=$(needs)
if [ -n "$missing" ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    echo "installing:" $missing
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # one word a package
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
fi

# What the tests of the pages check accessibility with.
./tests/axe.sh >/dev/null

# Supervisor's own client and the listeners of superlance.
./tests/python.sh >/dev/null

# Tests of processes look for the binaries of the whole workspace beside their own.
cargo build --workspace --all-targets --locked
cargo test --workspace --locked "$@"
