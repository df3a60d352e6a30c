#!/bin/sh
# Turns namespaces that `unshare` has just made into a container, then becomes its first
# process. Runs as that first process, still with the host's files:
#
#   container-start.sh ROOT HOSTNAME BUSYBOX PID_FILE
#
# ROOT is the guest's root file system, which holds run/container-init.sh. PID_FILE gets
# the process id of the first process as the host sees it. No mount leaves the namespace.
set -eu
root=$1 hostname=$2 busybox=$3 pid_file=$4

# /proc is still the host's, and so are the ids in it.
read -r pid _ </proc/self/stat
echo "$pid" >"$pid_file"

"$busybox" hostname "$hostname"
"$busybox" ip link set lo up

mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o nosuid,noexec,mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir -p dev/pts dev/shm run/host
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

pivot_root . run/host
cd /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    /bin/sh /run/container-init.sh
