#!/bin/sh
# Plays a guest until the run that was uploaded has ended: runs the guest program in shell on a shared
# directory, or on the files of a disk, which mtools carries there and back.
#
#   guest.sh disk|directory TARGET
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
directory=$target
if [ "$1" = disk ]; then
    directory=$work/directory
    mkdir "$directory"
    mcopy -s -n -i "$target@@1M" ::/ "$directory"
fi
TMPDIR=$work sh "$here/../../e2e/guests/shell-guest.sh" "$directory" &
guest=$!
tries=1200
# The last line of a record is its checksum.
while ! grep -qs '^done: yes$' "$directory"/exec_status/status.? ||
    ! tail -n 1 "$(grep -ls '^done: yes$' "$directory"/exec_status/status.?)" | grep -q '^sha256: '; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { kill -9 "$guest"; echo 'guest.sh: the run did not end' >&2; exit 1; }
    sleep 0.1
done
# Not otherwise: asked to end, it would still report an interrupted run.
kill -9 "$guest"
wait "$guest" 2>/dev/null || true
[ "$1" = directory ] || mcopy -s -i "$target@@1M" "$directory/exec_status" ::/
