#!/bin/sh
# Runs a command on a host of the time of Python 2.7, a root file system of its own:
#
#   python2-host.sh ROOT WORK COMMAND...
#
# WORK, where libnlxtp is installed, is seen there as /media/work. The caller has made a mount namespace; no mount leaves it.
set -eu
root=$1 work=$2
shift 2

mount --bind "$root" "$root"
mount -t tmpfs -o mode=755 tmpfs "$root/media"
mkdir "$root/media/work"
mount --bind "$work" "$root/media/work"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/media/work \
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/media/work/share/nlxtp/python:/media/work/tests \
    NLXTP_HEADER=/media/work/include/nlxtp.h NLXTP_GUEST=/media/work/nlxtp-guest \
    NLXTP_BUSYBOX=/media/work/busybox "$@"
