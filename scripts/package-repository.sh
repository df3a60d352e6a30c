#!/bin/sh
# Makes a small package repository of what a Debian root file system misses for packages:
#
#   scripts/package-repository.sh ROOT FOLDER PACKAGE...
#
# FOLDER gets the package files and a list of them, `Packages`. APT of this system fetches them,
# from the sources of ROOT, which stays as it is.
set -eu

root=$1 folder=$2
shift 2

say() { printf 'package-repository: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

for tool in apt-get dpkg-deb sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: this needs a Debian"
done
root=$(cd "$root" && pwd)
[ -r "$root/var/lib/dpkg/status" ] || fail "$root is no root file system of a Debian: see scripts/guest-root.sh"
architecture=$(cat "$root/var/lib/dpkg/arch" 2>/dev/null) || architecture=$(
    sed -n '/^Package: dpkg$/,/^$/s/^Architecture: //p' "$root/var/lib/dpkg/status")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$folder"

call_apt() {
    apt-get -q --yes -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Acquire::Retries=3 -o Acquire::Languages=none \
        -o Dir::State="$work/state" -o Dir::State::status="$root/var/lib/dpkg/status" \
        -o Dir::Cache="$work/cache" -o Dir::Etc::SourceList="$root/etc/apt/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Trusted=/dev/null \
        -o Dir::Etc::TrustedParts="$root/etc/apt/trusted.gpg.d" "$@" </dev/null >>"$work/log" 2>&1 && return
    cat "$work/log" >&2
    fail "apt-get could not fetch $architecture packages; is the mirror reachable?"
}
call_apt -o APT::Update::Error-Mode=any update
call_apt --download-only --no-install-recommends install "$@"

for file in "$work"/cache/archives/*.deb; do
    [ -e "$file" ] || fail "$root misses nothing for: $*"
    dpkg-deb --field "$file"
    sum=$(sha256sum <"$file")
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${file##*/}" "$(stat -c %s "$file")" "${sum%% *}"
done >"$work/Packages"
mv "$work"/cache/archives/*.deb "$work/Packages" "$folder/"
