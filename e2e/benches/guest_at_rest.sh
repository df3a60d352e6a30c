#!/bin/sh
# The start script of the benchmark: tells on the console what each program costs at rest, once this run
# has ended. A line is: figure, name, what, value.
read -r began _ </proc/uptime

exec >/dev/console 2>&1
figure() { printf 'figure\t%s\t%s\t%s\n' "$@"; }

size() {
    for program; do
        echo "$program"
        ldd "$program" | grep -o '/[^ ]*'
    done | xargs readlink -f | sort -u | xargs stat -c %s | awk '{ sum += $1 } END { print int((sum + 1023) / 1024) }'
}

# sum WORD FILE…: of that word's numbers in these files of the kind of /proc/PID/status.
sum() {
    word=$1:
    shift
    cat "$@" 2>/dev/null | awk -v word="$word" '$1 == word { sum += $2 } END { print sum + 0 }'
}
wakeups() { sum voluntary_ctxt_switches /proc/"$1"/task/*/status; }
resident() {
    read -r children <"/proc/$1/task/$1/children"
    # shellcheck disable=SC2046,SC2086 # a process per word
    sum VmRSS $(printf '/proc/%s/status ' "$1" $children)
}

pid() { systemctl show --property MainPID --value "$1"; }

measure() {
    while [ -e /proc/"$1" ] || ! [ -e /srv/bash/exec_status/done ] || [ "$(pid qemu-guest-agent)" = 0 ]; do
        sleep 1
    done
    sleep 10
    for unit in nlxtp-guest qemu-guest-agent bash-modules; do
        wakeups "$(pid $unit)" >"/run/before-$unit"
    done
    sleep 60
    # Below the prompt to log in.
    echo
    for unit in nlxtp-guest qemu-guest-agent bash-modules; do
        now=$(wakeups "$(pid $unit)")
        figure $unit wakeups $((now - $(cat "/run/before-$unit")))
        figure $unit resident "$(resident "$(pid $unit)")"
    done
    figure nlxtp-guest size "$(size /usr/local/sbin/nlxtp-guest)"
    figure qemu-guest-agent size "$(size /usr/sbin/qemu-ga)"
    figure bash-modules size "$(size /bin/bash /bin/sleep /bin/mkdir /bin/date /bin/rm)"
    figure nlxtp-guest began "$began"
    figure bash-modules began "$(cat /srv/bash/began)"
    since=$(systemctl show --property ActiveEnterTimestampMonotonic --value qemu-guest-agent)
    figure qemu-guest-agent began "$((since / 1000000)).$((since / 10000 % 100))"
    echo 'end of the figures'
}
measure $$ &
