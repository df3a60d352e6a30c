#!/bin/sh
# Builds and runs the fuzz targets. A stable Rust and a C++ compiler (for libFuzzer) are enough.
#
#   scripts/fuzz.sh build
#   scripts/fuzz.sh check [SECONDS]           all seeds, then each target for 30 seconds
#   scripts/fuzz.sh run SECONDS [TARGET...]   each target for so long, one after the other; what is
#                                             found is kept in fuzz/corpus and fuzz/artifacts
#
# FUZZ_SANITIZER=address builds with AddressSanitizer, which watches the unsafe code of
# dependencies, at half the speed.
set -eu

cd "$(dirname "$0")/.."
all='status_file tomato_dialect archive_entries hostile_fat job_cycles guest_config guest_digests c_calls'
host=$(rustc -vV | sed -n 's/^host: //p')
sanitizer=${FUZZ_SANITIZER-}
target_dir=$PWD/fuzz/target${sanitizer:+/$sanitizer}
programs=$target_dir/$host/release

fail() { echo "fuzz: $*" >&2; exit 1; }

build() {
    # What libFuzzer is told of the way that an input takes, as cargo-fuzz has it built in.
    flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
    flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
    if [ -n "$sanitizer" ]; then
        flags="$flags -Zsanitizer=$sanitizer"
        export RUSTC_BOOTSTRAP=1
    fi
    RUSTFLAGS=$flags CARGO_TARGET_DIR=$target_dir \
        cargo build --manifest-path fuzz/Cargo.toml --release --locked --bins --target "$host"
}

# fuzz TARGET SECONDS CORPUS: prints how to repeat what went wrong.
fuzz() {
    longest=20000
    # Steps are two bytes each, and there are at most 24 of them.
    [ "$1" != job_cycles ] || longest=49
    # Calls are three bytes each, and there are at most 32 of them.
    [ "$1" != c_calls ] || longest=96
    mkdir -p "$3" "fuzz/artifacts/$1"
    "$programs/$1" "$3" "fuzz/seeds/$1" -max_total_time="$2" -max_len="$longest" -timeout=30 -rss_limit_mb=1024 \
        -artifact_prefix="fuzz/artifacts/$1/" -print_final_stats=1 -reload=0 && return
    cat >&2 <<EOF
fuzz: $1 has found something; see "artifact_prefix" and "Test unit written to" above. To repeat it:
fuzz:     scripts/fuzz.sh build && $programs/$1 fuzz/artifacts/$1/FILE
EOF
    return 1
}

# A target of its own process for check: says little unless it fails.
check_one() {
    scratch=$(mktemp -d)
    if fuzz "$1" "$2" "$scratch/corpus" >"$scratch/log" 2>&1; then
        sed -n "s/^stat::number_of_executed_units: /fuzz: $1: executions: /p" "$scratch/log"
        rm -rf "$scratch"
    else
        cat "$scratch/log" >&2
        rm -rf "$scratch"
        return 1
    fi
}

case "${1-}" in
    build)
        build
        ;;
    check)
        build
        # Two at a time. xargs fails if one of them does.
        # shellcheck disable=SC2086 # one word per target
        printf '%s\n' $all | xargs -P 2 -I TARGET "$0" check-one TARGET "${2:-30}"
        ;;
    check-one)
        check_one "$2" "$3"
        ;;
    run)
        seconds=${2:?for how many seconds?}
        shift 2
        build
        # shellcheck disable=SC2086 # one word per target
        [ $# -gt 0 ] || set -- $all
        for target; do
            fuzz "$target" "$seconds" "fuzz/corpus/$target"
        done
        ;;
    *)
        fail 'say what: scripts/fuzz.sh build | check [SECONDS] | run SECONDS [TARGET...]'
        ;;
esac
