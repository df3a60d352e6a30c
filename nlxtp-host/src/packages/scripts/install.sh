#!/bin/sh
# shellcheck disable=SC2154 # find_manager sets $manager
# Start script of an installer archive: recognises the system, and installs what it misses
# from the package files in the archive, without a network.
set -u

archive_dir=${archive_dir:-$(cd "$(dirname "$0")" && pwd)}
parts=$archive_dir/nlxtp-packages
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck source=/dev/null
. "$parts/system.sh"

# The packages are of no use in a download.
succeed() {
    rm -rf "$archive_dir/packages"
    echo "$1"
    echo "$1" | set_status
    exit 0
}

fail() {
    printf 'failed: %s\n' "$1" | set_status
    echo "error: $1" >&2
    exit 1
}

find_manager || fail 'this system has no package manager that is known'
system=$(system_identifier) || fail 'neither /etc/os-release nor anything else says which system this is'
list=$parts/systems/$system
[ -f "$list" ] || fail "this system, $system, was not probed; there are packages for: $(
    cd "$parts/systems" && echo *)"

# One name a line, and none has a space.
# shellcheck disable=SC2046
set -- $(lines_of wanted "$list")
wanted=$*

# The wanted packages that are not there.
missing() {
    for package in $wanted; do
        "${manager}_has" "$package" || echo "$package"
    done | tr '\n' ' '
}

lines_of file "$list" >"$work/files"
if [ -z "$(missing)" ]; then
    succeed "nothing to do on $system: $wanted: installed already"
fi
if ! grep -q . "$work/files"; then
    fail "the list for $system is empty, because nothing was missing where it was probed, but here is missing: $(
        missing)(probe a system like this one)"
fi

# Every file is checked before the first one is used.
set --
while read -r digest entry _; do
    file=$archive_dir/packages/$entry
    [ -f "$file" ] || fail "the archive's packages/$entry is not there"
    found=$(sha256sum <"$file")
    [ "${found%% *}" = "$digest" ] || fail "packages/$entry is damaged: its SHA-256 digest is not $digest"
    set -- "$@" "$file"
done <"$work/files"

echo "installing on $system: $wanted" | set_status
"${manager}_install" "$@" || fail "$wanted: not installed on $system: $(in_one_line "$work/why")"
still=$(missing)
[ -z "$still" ] || fail "all packages of the list for $system are installed, and still is missing: $still"
succeed "installed on $system: $(tr '\n' ' ' <"$work/installed" | sed 's/ $//')"
