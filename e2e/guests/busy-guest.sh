#!/bin/sh
# A guest program that does nothing but write: status records as fast as it can, and other
# files beside them, for a host that reads all the time. No script is run. What a record
# looks like is in docs/protocol.md; slots are written in the simplest way: truncated and
# written anew, then flushed.
#
# On the kernel's command line: busy_slots=1 leaves out the second slot (against the
# protocol, to see what it is good for), busy_slots=2 is the default.
set -u

dir=/mnt/nlXTP
status=$dir/exec_status
slots=${busy_slots-2}
run=$(cat "$dir/nlxtp_run_id")
boot=$(tr -d - </proc/sys/kernel/random/boot_id)

# The Custom Status of a record tells its number, in so many lines that are all alike; the
# test knows how many (e2e/tests/busy_guest.rs).
lines_of() {
    case $(($1 % 8)) in
        0 | 6) lines=1 ;;
        1) lines=3 ;;
        2) lines=40 ;;
        3) lines=700 ;;
        4) lines=5 ;;
        5) lines=2000 ;;
        7) lines=9000 ;;
    esac
}

write_other_files() {
    round=0
    mkdir "$dir/busy"
    while :; do
        round=$((round + 1))
        echo "$round" >>"$dir/busy/growing"
        echo "$round" >"$dir/busy/a file with a long name that is made and removed $((round % 7))"
        mv "$dir/busy/growing" "$dir/busy/renamed"
        rm -f "$dir/busy/a file with a long name that is made and removed $(((round + 3) % 7))"
        mv "$dir/busy/renamed" "$dir/busy/growing"
    done
}

mkdir "$status"
write_other_files &

sequence=0
while :; do
    sequence=$((sequence + 1))
    line="n=$sequence"
    lines_of "$sequence"
    {
        printf 'nlxtp-status 1\nrun: %s\nsequence: %s\nstate: running\ndone: no\n' "$run" "$sequence"
        printf 'running-info: %s\ninterval-ms: 60000\nboot: %s\nended: -\n' "$sequence" "$boot"
        printf 'stdout-bytes: 0\nstderr-bytes: 0\ntruncated: -\ncustom-bytes: %s\n\n' $((lines * (${#line} + 1)))
        if [ "$lines" -lt 10 ]; then
            while [ "$lines" -gt 0 ]; do
                echo "$line"
                lines=$((lines - 1))
            done
        else
            yes "$line" | head -n "$lines"
        fi
        echo
    } >/run/record
    digest=$(sha256sum </run/record)
    printf 'sha256: %s\n' "${digest%% *}" >>/run/record
    cat /run/record >"$status/status.$((sequence % slots))"
    sync "$status/status.$((sequence % slots))"
done
