#!/bin/sh
# The first process of a guest that is a whole system: loads what its root file system needs,
# mounts that (the first disk), and becomes its init.
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/lib/modules/$module"
done </lib/modules/modules.order
tries=600
while [ ! -b /dev/vda ] && [ "$tries" -gt 0 ]; do
    sleep 0.05
    tries=$((tries - 1))
done
mkdir /system
mount -t ext4 -o rw /dev/vda /system
umount /proc
mount --move /dev /system/dev
exec switch_root /system /sbin/init
