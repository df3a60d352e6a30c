#!/bin/sh
# Compares the C library's ABI with that of the last release (abidiff, of Debian's abigail-tools).
#
#   scripts/check-abi.sh LIBRARY [HEADER [BASELINE]]
#       fails if LIBRARY, a libnlxtp.so, and HEADER have other functions, or if programs that were
#       compiled with the release would no longer work
#   scripts/check-abi.sh --write [BASELINE]
#       writes the baseline: a step of each release
#
# abidiff does not read what Rust's compiler says of types. But the header is made of the same source, so
# the ABI is described by a library of empty functions that a C compiler makes of the header.
#
# The baseline is bindings-c/abi/MACHINE.abi; before the first release there is none, which is said and no
# failure.
set -eu

here=$PWD
cd "$(dirname "$0")/../bindings-c"
machine=$(uname -m)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { echo "check-abi: $*" >&2; exit 1; }

# describe HEADER: makes $scratch/libnlxtp.so, with the ABI of the header.
describe() {
    cp "$1" "$scratch/nlxtp.h"
    {
        echo '#include "nlxtp.h"'
        # A declaration begins at the left edge and may go on over several lines.
        awk '/^(typedef|struct|enum)/ { next }
             /^[a-z].*nlxtp_[a-z_]*\(/ { inside = 1 }
             inside { text = text " " $0 }
             inside && /\);$/ { sub(/;$/, " { __builtin_trap(); }", text); print text; text = ""; inside = 0 }' "$1"
    } >"$scratch/empty.c"
    cc -std=c11 -g -O0 -fPIC -shared -o "$scratch/libnlxtp.so" "$scratch/empty.c" -I "$scratch" \
        -Wl,-soname,libnlxtp.so.0 -Wl,--version-script=install/nlxtp.map
}

# Names of the functions that a library exports.
functions() {
    nm -D --defined-only "$1" | sed -n 's/^[0-9a-f]* T \([^@]*\).*/\1/p' | sort
}

if [ "${1-}" = --write ]; then
    baseline=${2:-abi/$machine.abi}
    describe include/nlxtp.h
    mkdir -p "$(dirname "$baseline")"
    abidw --no-corpus-path --no-comp-dir-path --short-locs "$scratch/libnlxtp.so" >"$scratch/new.abi"
    cp "$scratch/new.abi" "$baseline"
    echo "check-abi: wrote $baseline; commit it with the release"
    exit
fi

library=${1:?which library?}
case $library in /*) ;; *) library=$here/$library ;; esac
header=${2:-include/nlxtp.h}
baseline=${3:-abi/$machine.abi}
describe "$header"
functions "$library" >"$scratch/of-library"
functions "$scratch/libnlxtp.so" >"$scratch/of-header"
[ -s "$scratch/of-library" ] || fail "$library exports no functions"
diff "$scratch/of-header" "$scratch/of-library" >&2 || fail "the header declares what is marked <, the library has what is marked >"
if [ ! -f "$baseline" ]; then
    [ $# -lt 3 ] || fail "there is no $baseline"
    echo "check-abi: no release has an ABI for $machine yet: nothing to compare with"
    exit
fi
# abidiff's result is a sum of bits: 1 error, 2 wrong usage, 4 a change, 8 an incompatible one.
result=0
report=$(abidiff --no-added-syms --suppressions abi/growing.suppr "$baseline" "$scratch/libnlxtp.so") || result=$?
case $result in
    0) echo "check-abi: programs that were compiled with the last release work on" ;;
    *)
        printf '%s\n' "$report" >&2
        fail "the ABI differs from that of the last release (abidiff: $result). Keep what programs rely on, or
check-abi: raise SOVERSION in bindings-c/Makefile and write a new baseline: make abi-baseline"
        ;;
esac
