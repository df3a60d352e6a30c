#!/bin/sh
# The first process of a container guest: lets go of the host's files, starts the guest
# program if there is one, reaps orphans, and ends everything when asked to (SIGTERM).
umount -l /run/host
rmdir /run/host

shut_down() {
    trap '' TERM
    kill -TERM -1 2>/dev/null
    tries=100
    # Only this process left? Then there is nobody to signal.
    while kill -0 -1 2>/dev/null && [ "$tries" -gt 0 ]; do
        sleep 0.05
        tries=$((tries - 1))
    done
    echo 'guest: stopped'
    exit 0
}
trap shut_down TERM

if [ -f /etc/guest-program ]; then
    sh /etc/guest-program </dev/null &
fi
echo 'guest: ready'

# While it waits, the shell reaps every child, orphans included.
while :; do
    sleep 3600 &
    wait $!
done
