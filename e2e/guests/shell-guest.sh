#!/bin/sh
# A guest program in POSIX shell: daemon and monitor of nlXTP, from docs/protocol.md alone.
#
#   shell-guest.sh [SHARED_DIRECTORY]       (default: /mnt/nlXTP)
#
# It needs coreutils (or busybox) and nothing else, and is meant to be read by whoever
# writes a guest program of their own. What it leaves out: limits for the script's
# outputs, and ToMaTo's files.
set -u

dir=${1:-/mnt/nlXTP}
status=$dir/exec_status
interval_ms=5000        # the promise; a record is in fact written about every second
custom_limit=1048576
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# Everything goes to the disk; then the flush of a single file empties the disk's own cache, which
# the first one does not do on FAT.
flush() {
    sync -f "$dir" 2>/dev/null || sync
    sync "$status/status.0" 2>/dev/null || sync
}
size() { echo $(($(wc -c <"$1"))); }

# --- What the host has uploaded -----------------------------------------------------------

# The run id, or "-" if there is none or it is not of its form.
read_run_id() {
    id=$(cat "$dir/nlxtp_run_id" 2>/dev/null)
    case $id in
        *[!0-9a-f]*) id=- ;;
    esac
    if [ ${#id} = 32 ]; then echo "$id"; else echo -; fi
}

# The start script: auto_exec.sh, or the first other one in byte order; fails if none.
find_start_script() {
    for start in "$dir"/auto_exec.sh "$dir"/auto_exec.?*; do
        [ ! -f "$start" ] || return 0
    done
    return 1
}

# Whether there is something to run, and all of it has arrived.
ready_to_run() {
    find_start_script && [ ! -e "$status" ] && [ ! -e "$dir/.nlxtp_upload/commit" ] &&
        [ ! -e "$dir/.nlxtp_upload/ready" ] || return 1
    # With a run id, the start script came last. Without, wait until nothing changes.
    [ "$(read_run_id)" = - ] || return 0
    before=$(ls -lR "$dir")
    sleep 1
    [ "$before" = "$(ls -lR "$dir")" ]
}

# 32 hexadecimal digits that differ after each boot. A container has its host's boot_id,
# so the start time of its first process goes in as well.
this_boot() {
    { cat /proc/sys/kernel/random/boot_id; sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20; } |
        sha256sum | cut -c 1-32
}

# --- Status records -----------------------------------------------------------------------

# write_record STATE DONE ENDED: the next record, into the slot that holds the older one.
# Uses run, boot, sequence, stdout_bytes, stderr_bytes, truncated, custom_bytes, $work/custom.
write_record() {
    sequence=$((sequence + 1))
    {
        printf 'nlxtp-status 1\nrun: %s\nsequence: %s\nstate: %s\ndone: %s\n' \
            "$run" "$sequence" "$1" "$2"
        # Seconds alone would be the same for two records in a row.
        printf 'running-info: %s\ninterval-ms: %s\nboot: %s\nended: %s\n' \
            "$(($(date +%s) * 1000 + sequence % 1000))" "$interval_ms" "$boot" "$3"
        printf 'stdout-bytes: %s\nstderr-bytes: %s\ntruncated: %s\ncustom-bytes: %s\n\n' \
            "$stdout_bytes" "$stderr_bytes" "$truncated" "$custom_bytes"
        cat "$work/custom"
        echo
    } >"$work/record"
    digest=$(sha256sum <"$work/record")
    printf 'sha256: %s\n' "${digest%% *}" >>"$work/record"
    cat "$work/record" >"$status/status.$((sequence % 2))"
    flush
}

# Takes over what the script has written so far. What is to be reported is flushed first.
take_outputs() {
    stdout_bytes=$(size "$status/stdout")
    stderr_bytes=$(size "$status/stderr")
    truncated=-
    custom_bytes=-
    : >"$work/custom"
    if [ -f "$status/custom" ]; then
        head -c "$((custom_limit + 1))" "$status/custom" >"$work/custom"
        if [ "$(size "$work/custom")" -gt "$custom_limit" ]; then
            truncated=custom
            head -c "$custom_limit" "$status/custom" >"$work/custom"
        fi
        custom_bytes=$(size "$work/custom")
    fi
    flush
}

# field NAME FILE: the value of a line in a record's header.
field() { sed -n "/^\$/q; s/^$1: //p" "$2"; }

# Sets newest to the slot with the newest of our own records; fails if there is none.
find_newest_record() {
    newest=
    sequence=0
    for slot in "$status/status.0" "$status/status.1"; do
        if [ ! -f "$slot" ] || [ "$(size "$slot")" -lt 73 ]; then continue; fi
        digest=$(head -c "$(($(size "$slot") - 73))" "$slot" | sha256sum)
        [ "$(tail -n 1 "$slot")" = "sha256: ${digest%% *}" ] || continue
        found=$(field sequence "$slot")
        if [ "$found" -gt "$sequence" ]; then
            newest=$slot
            sequence=$found
        fi
    done
    [ -n "$newest" ]
}

# --- One run ------------------------------------------------------------------------------

# Runs the start script to its end; leaves its exit code in $work/ended.
run_script() {
    cd "$status" || exit
    export nlxtp_dir="$dir" archive_dir="$dir" archive_version=0.3 PATH="$work/bin:$PATH"
    # A process group of its own, where the system has the command for it.
    own_group=$(command -v setsid)
    if [ -x "$start" ]; then
        $own_group "$start" </dev/null >stdout 2>stderr &
    else
        $own_group sh "$start" </dev/null >stdout 2>stderr &
    fi
    echo $! >"$work/pid"
    wait $! 2>/dev/null
    echo $? >"$work/ended.new"
    mv "$work/ended.new" "$work/ended"
}

stop_script() {
    pid=$(cat "$work/pid") && { kill -TERM "-$pid" || kill -TERM "$pid"; } 2>/dev/null
}

# What the shell calls an exit code above 128 is a signal (or an exit code that looks so).
how_it_ended() {
    if [ "$1" -gt 128 ] && [ "$1" -le 192 ]; then
        echo "signal $(($1 - 128))"
    else
        echo "exit $1"
    fi
}

monitor() {
    # Making the directory is the claim: there is only one who can.
    mkdir "$status" 2>/dev/null || return
    find_start_script
    run=$(read_run_id)
    boot=$boot_now
    sequence=0
    rm -f "$work/ended" "$work/pid"
    : >"$status/status.0"
    : >"$status/status.1"
    : >"$status/stdout"
    : >"$status/stderr"
    take_outputs
    write_record running no -

    run_script &
    trap 'stop_script; take_outputs; write_record interrupted no -; exit' TERM
    while [ ! -e "$work/ended" ]; do
        sleep 1
        if [ ! -d "$status" ] || [ "$(read_run_id)" != "$run" ]; then
            # The host has uploaded something new: this run and its status are gone.
            stop_script
            return
        fi
        take_outputs
        write_record running no -
    done
    ended=$(how_it_ended "$(cat "$work/ended")")
    take_outputs
    write_record finished no "$ended"
    # That record was flushed, and with it all that the script wrote. Only now it is Done.
    write_record finished yes "$ended"
}

# A run whose monitor has died, with this guest or without it, will not end any more.
bury_dead_run() {
    [ -d "$status" ] && find_newest_record && [ "$(field state "$newest")" = running ] || return
    run=$(field run "$newest")
    boot=$(field boot "$newest")
    stdout_bytes=$(field stdout-bytes "$newest")
    stderr_bytes=$(field stderr-bytes "$newest")
    truncated=$(field truncated "$newest")
    custom_bytes=$(field custom-bytes "$newest")
    header_bytes=$(sed '/^$/q' "$newest" | wc -c)
    : >"$work/custom"
    [ "$custom_bytes" = - ] ||
        tail -c "+$((header_bytes + 1))" "$newest" | head -c "$custom_bytes" >"$work/custom"
    if [ "$boot" = "$boot_now" ]; then
        write_record interrupted no -
    else
        write_record rebooted no -
    fi
}

# --- The daemon ---------------------------------------------------------------------------

boot_now=$(this_boot)

# What start scripts call to set the Custom Status. Renaming makes it appear whole.
mkdir "$work/bin"
cat >"$work/bin/archive_setstatus" <<'END'
#!/bin/sh
printf '%s' "$*" >"$archive_dir/exec_status/custom.new"
mv "$archive_dir/exec_status/custom.new" "$archive_dir/exec_status/custom"
END
chmod 755 "$work/bin/archive_setstatus"

bury_dead_run
trap 'exit' TERM
while :; do
    if ready_to_run; then
        monitor
        trap 'exit' TERM
    fi
    sleep 1
done
