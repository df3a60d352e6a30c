#!/bin/sh
# Runs the end-to-end tests: two test programs at a time, as they wait for guests most of the time, each with
# one test after the other. What a program prints is shown when it has ended.
#
#   scripts/e2e.sh [ARGUMENT...]    what each of them is given: --include-ignored, --skip NAME, NAME
#
# NLXTP_E2E_JOBS is how many programs run at a time. Those that make namespaces and devices need root (or sudo).
set -eu

cd "$(dirname "$0")/.."
jobs=${NLXTP_E2E_JOBS:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export work

cargo test -p nlxtp-e2e --no-run --message-format=json-render-diagnostics >"$work/built"
jq -r 'select(.reason == "compiler-artifact" and .profile.test) | .executable // empty' "$work/built" |
    sort >"$work/programs"

as_root='env'
[ "$(id -u)" = 0 ] || as_root='sudo -E'
export as_root
# shellcheck disable=SC2016 # expanded by the shell that runs one program
one='
    program=$1
    shift
    name=$(basename "${program%-*}")
    begun=$(date +%s)
    verdict="has passed"
    (cd e2e && $as_root "$program" --test-threads=1 "$@") >"$work/$name" 2>&1 || verdict="HAS FAILED"
    printf "e2e: %s %s, after %s s\n" "$name" "$verdict" $(($(date +%s) - begun)) >>"$work/$name"
    flock "$work/programs" cat "$work/$name"
    [ "$verdict" = "has passed" ]
'
if ! xargs -P "$jobs" -I PROGRAM sh -c "$one" sh PROGRAM "$@" <"$work/programs"; then
    grep -h '^e2e: .* HAS FAILED' "$work"/* >&2
    exit 1
fi
