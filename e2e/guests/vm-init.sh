#!/bin/sh
# The first process of a test guest with busybox: loads the kernel modules, mounts the
# shared directory, starts the guest program, and then takes commands from the host on
# the second serial port. The first serial port is the console, for people to read.
#
# A command is one line, "ID COMMAND"; the answer is "ID STATUS LENGTH", a newline, and
# LENGTH bytes, which are all that the command wrote.

say() { echo "guest: $*" >/dev/console; }

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,noexec devtmpfs /dev
mount -t tmpfs -o nosuid,nodev tmpfs /run
hostname nlxtp-guest

# shellcheck source=/dev/null
. /etc/nlxtp.conf
# shellcheck disable=SC2154,SC2086 # set in /etc/nlxtp.conf, one word per module
for module in $nlxtp_modules; do
    insmod "$module" || say "cannot load $module"
done

# The disk appears a moment after its driver. Partition 1 if there is one, else the disk.
tries=100
while [ ! -b /dev/vda ] && [ "$tries" -gt 0 ]; do
    sleep 0.05
    tries=$((tries - 1))
done
device=/dev/vda
[ ! -b /dev/vda1 ] || device=/dev/vda1
# flush: what a program has closed goes to the disk at once, for the host to read. It makes
# each closing wait; guest_mount_options=async on the kernel's command line leaves it out.
# shellcheck disable=SC2154 # set in /etc/nlxtp.conf
if [ "${guest_mount-yes}" = no ]; then
    # On the kernel's command line: the host mounts later, and starts the program then.
    say 'mounted nothing'
elif mount -t vfat -o nosuid,nodev,noatime,utf8,"${guest_mount_options-flush}",errors=remount-ro "$device" "$nlxtp_dir"; then
    say "mounted $device"
else
    say "could not mount $device"
fi

program=
if [ -f /etc/guest-program ] && [ "${guest_mount-yes}" != no ]; then
    sh /etc/guest-program </dev/null >/dev/console 2>&1 &
    program=$!
fi

# Ends the guest program as a shutdown would, then everything else.
power_off() {
    if [ -n "$program" ]; then
        kill -TERM "$program" 2>/dev/null
        wait "$program"
    fi
    umount "$nlxtp_dir" || say "could not unmount $nlxtp_dir"
    sync
    say 'powering off'
    poweroff -f
}

exec 3<>/dev/ttyS1
stty raw -echo <&3
say 'ready'
while read -r id command; do
    [ "$command" != power_off ] || power_off
    (eval "$command") >/run/answer 2>&1 </dev/null 3>&-
    status=$?
    echo "$id $status $(stat -c %s /run/answer)"
    cat /run/answer
done <&3 >&3
say 'lost the control port'
exec sleep 1000000000
