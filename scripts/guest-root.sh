#!/bin/sh
# Makes the root file system that container guests are copied from: a minimal Debian.
#
#   scripts/guest-root.sh [SUITE [ARCH]]     prints the folder: target/guests/root-SUITE-ARCH
#
# Needs root (or sudo) and debootstrap. Made once per suite and used again afterwards;
# remove the folder to make it anew. Without arguments, GUEST_SUITE chooses the suite
# (default: that of this system if it is a Debian, else bookworm), and target/guests/root
# points to it. ARCH is amd64, if not given, or i386.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
guests=${CARGO_TARGET_DIR:-$repository/target}/guests

say() { printf 'guest-root: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# shellcheck source=/dev/null
default_suite=$([ -r /etc/os-release ] && . /etc/os-release && [ "${ID-}" = debian ] &&
    echo "${VERSION_CODENAME-}") || true
suite=${1:-${GUEST_SUITE:-${default_suite:-bookworm}}}
architecture=${2:-amd64}
root=$guests/root-$suite-$architecture

finish() {
    [ $# -gt 0 ] || ln -sfn "${root##*/}" "$guests/root"
    echo "$root"
    exit 0
}
if [ -e "$root/etc/nlxtp-guest-root" ]; then
    finish "$@"
fi

for tool in debootstrap flock; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: run scripts/setup.sh test"
done
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail 'making a root file system needs root: run this as root'
    exec sudo -- env CARGO_TARGET_DIR="${guests%/guests}" GUEST_SUITE="$suite" "$0" "$@"
fi

# One at a time; whoever waited finds the work done.
mkdir -p "$guests"
exec 9>"$guests/.lock"
flock -w 600 9 || fail "somebody else has been preparing guests in $guests for ten minutes"
if [ -e "$root/etc/nlxtp-guest-root" ]; then
    finish "$@"
fi

# The mirror that this system's own packages come from, if it is a Debian; else debootstrap's.
# shellcheck disable=SC2016 # the format's fields are for apt-get
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n "s/^${default_suite:-none} \(http.*\)/\1/p" | head -n 1) || true

rm -rf --one-file-system "$guests"/root.??????
work=$(mktemp -d "$guests/root.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

say "making $root with debootstrap; this takes about half a minute"
if ! debootstrap --variant=minbase --arch="$architecture" "$suite" "$work/root" ${mirror:+"$mirror"} >"$work/log" 2>&1 9>&-; then
    tail -n 20 "$work/log" "$work/root/debootstrap/debootstrap.log" >&2 || true
    fail "debootstrap could not make a $suite root file system${mirror:+ from $mirror}; is the mirror reachable?"
fi

# Copies are made for every test: leave out what no test reads.
rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* \
    "$work"/root/usr/share/doc/* "$work"/root/usr/share/locale/* "$work"/root/usr/share/man/*
mkdir -p "$work/root/mnt/nlXTP"
echo "$suite" >"$work/root/etc/nlxtp-guest-root"

rm -rf --one-file-system "$root"
mv "$work/root" "$root"
say "ready: $root"
finish "$@"
