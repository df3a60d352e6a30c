#!/bin/sh
# shellcheck disable=SC2154 # find_manager sets $manager
# Start script of a probing archive: which system is this, and which package files does it
# miss? The answer is the Custom Status, in the form that docs/packages.md describes.
set -u

archive_dir=${archive_dir:-$(cd "$(dirname "$0")" && pwd)}
parts=$archive_dir/nlxtp-packages
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck source=/dev/null
. "$parts/system.sh"

answer=$work/answer
echo 'nlxtp-packages 1' >"$answer"

# fail WORD TEXT: ends the probing with a reason.
fail() {
    printf 'failed %s %s\n' "$1" "$2" >>"$answer"
    set_status <"$answer"
    echo "error: $2" >&2
    exit 1
}

find_manager || fail no-manager "this system has none of the package managers that are known: $(
    cd "$parts" && echo manager-*.sh | sed 's/manager-//g; s/\.sh//g')"
system=$(system_identifier) || fail no-system 'neither /etc/os-release nor anything else says which system this is'
{
    echo "system $system"
    echo "manager $manager"
    sed 's/^/wanted /' "$parts/wanted"
} >>"$answer"
echo "system: $system, package manager: $manager"

echo 'fetching the package lists' | set_status
"${manager}_refresh" || fail no-lists "the package lists cannot be fetched: $(in_one_line "$work/why")"
echo 'looking for what is missing' | set_status
# One name a line, and none has a space.
# shellcheck disable=SC2046
set -- $(cat "$parts/wanted")
"${manager}_missing" "$@" >"$work/files" || fail not-available "$(in_one_line "$work/why")"

cat "$work/files" >>"$answer"
count=$(grep -c . "$work/files")
echo "end $count" >>"$answer"
if ! set_status <"$answer"; then
    echo 'error: the answer cannot be written' >&2
    exit 1
fi
if [ "$count" = 0 ]; then
    echo "nothing is missing: all of this is installed: $*"
else
    echo "$count package files are missing for: $*"
fi
