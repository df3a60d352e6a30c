#!/bin/sh
# Builds nlxtp-guest, linked statically, for guests of another architecture than this machine's:
#
#   scripts/cross-guest.sh i386|arm64    prints the program's path
#
# Needs Debian's cross compiler for it (scripts/setup.sh cross) and Rust's standard library for the
# target: rustup fetches it; without rustup, rustc must have it.
set -eu

say() { printf 'cross-guest: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

case "${1-}" in
    i386) target=i686-unknown-linux-gnu compiler=i686-linux-gnu-gcc ;;
    arm64) target=aarch64-unknown-linux-gnu compiler=aarch64-linux-gnu-gcc ;;
    *) fail 'say for which architecture: scripts/cross-guest.sh i386|arm64' ;;
esac
cd "$(dirname "$0")/.."
command -v "$compiler" >/dev/null 2>&1 || fail "$compiler is missing: run scripts/setup.sh cross"
libraries=$(rustc --print target-libdir --target "$target")
if [ ! -d "$libraries" ]; then
    command -v rustup >/dev/null 2>&1 ||
        fail "there is no $libraries, and no rustup to fetch it: install Rust's standard library for $target"
    rustup target add "$target" >&2
fi

linker=CARGO_TARGET_$(echo "$target" | tr 'a-z-' 'A-Z_')_LINKER
env "$linker=$compiler" RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --profile guest -p nlxtp-guest --target "$target" >&2
echo "$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/$target/guest/nlxtp-guest"
