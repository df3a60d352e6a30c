#!/bin/sh
# Start script of a merged archive: runs each of its archives in turn, each in its own folder and
# with its own exec_status. Needs nothing of the monitor but a shared directory.
set -u

archive_dir=${archive_dir:-$(cd "$(dirname "$0")" && pwd)}
status=$archive_dir/exec_status
plan=$archive_dir/nlxtp-merge/plan
after_failure=$(sed -n 's/^after-failure //p' "$plan")
parts=$(sed -n 's/^part //p' "$plan")    # no name has a space
current=    # the archive that runs
how=running
rest=waiting
pid=
watcher=

# The start script of a folder: auto_exec.sh, or the first other one in byte order.
start_script() (
    LC_ALL=C
    for start in "$1"/auto_exec.sh "$1"/auto_exec.?*; do
        if [ -f "$start" ]; then
            echo "$start"
            exit
        fi
    done
    exit 1
)

# One line on an archive: how far it has come, its progress and the first line of its Custom Status.
tell() {
    own=$archive_dir/$1/exec_status
    progress=
    if [ -f "$own/exit_code" ]; then
        told="exit $(cat "$own/exit_code")"
    elif [ "$1" = "$current" ]; then
        told=$how
        progress=$(sed q "$own/progress" 2>/dev/null)
    else
        told=$rest
    fi
    custom=$(sed -e 's/^\(.\{200\}\).*/\1/' -e q "$own/custom" 2>/dev/null)
    echo "$1: $told${progress:+, $progress}${custom:+: $custom}"
}

# Sets the Custom Status of the whole, if it has changed.
show() {
    for each in $parts; do
        tell "$each"
    done >"$status/custom.merged"
    if cmp -s "$status/custom.merged" "$status/custom"; then
        rm "$status/custom.merged"
    else
        mv "$status/custom.merged" "$status/custom"
    fi
}

# Shows every second what the running archive tells, and every ten seconds that it runs. A signal that
# comes just when a shell is forked may be lost, so it also looks whether it is still needed.
watch() {
    seconds=0
    while sleep 1 && [ ! -e "$status_of_part/exit_code" ] && kill -0 $$; do
        seconds=$((seconds + 1))
        [ $((seconds % 10)) != 0 ] || date +%s >"$status_of_part/running"
        show
    done
}

# Runs one archive; tells by its exit code how that ended.
run_part() {
    folder=$archive_dir/$1
    status_of_part=$folder/exec_status
    mkdir "$status_of_part" || return
    show
    # Only files: that is success.
    if ! start=$(start_script "$folder"); then
        echo 0 >"$status_of_part/exit_code"
        return
    fi
    date +%s >"$status_of_part/running"
    (
        cd "$status_of_part" || exit
        exec env nlxtp_dir="$folder" archive_dir="$folder" archive_version="${archive_version:-0.3}" \
            nlxtp_run= PATH="$archive_dir/nlxtp-merge/bin:$PATH" \
            'BASH_FUNC_archive_setstatus%%=() { command archive_setstatus "$@"; }' \
            "$start" </dev/null >out 2>&1
    ) &
    pid=$!
    watch </dev/null >/dev/null 2>&1 &
    watcher=$!
    wait "$pid"
    code=$?
    pid=
    echo "$code" >"$status_of_part/exit_code"
    # Until it has gone, it may still write.
    kill "$watcher"
    wait "$watcher" 2>/dev/null
    watcher=
    return "$code"
}

# The monitor ends the run.
# shellcheck disable=SC2317 # the trap calls it
stop() {
    trap '' HUP INT TERM
    # shellcheck disable=SC2086 # the one or the other may be missing
    kill $pid $watcher 2>/dev/null
    how=interrupted
    rest='not run'
    show
    exit 143
}
trap stop HUP INT TERM

mkdir -p "$status"
total=0
for part in $parts; do
    total=$((total + 1))
    # Of an earlier run, whose results were uploaded again.
    rm -rf "${archive_dir:?}/$part/exec_status"
done

ended=0
result=0
for part in $parts; do
    current=$part
    run_part "$part"
    code=$?
    current=
    rm -f "$archive_dir/$part/exec_status/running"
    : >"$archive_dir/$part/exec_status/done"
    echo "--- $part: exit $code"
    [ ! -f "$archive_dir/$part/exec_status/out" ] || cat "$archive_dir/$part/exec_status/out"
    ended=$((ended + 1))
    echo "$ended/$total" >"$status/progress"
    if [ "$code" != 0 ]; then
        [ "$result" != 0 ] || result=$code
        [ "$after_failure" = go-on ] || break
    fi
done
rest='not run'
show
exit "$result"
