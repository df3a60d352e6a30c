#!/bin/sh
# What busybox's init runs first in a guest: mounts the kernel's file systems and loads the modules that a
# disk with FAT needs, in their order.
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,noexec devtmpfs /dev
mount -t tmpfs -o nosuid,nodev tmpfs /run
while read -r module; do
    insmod "/lib/modules/$module"
done </lib/modules/modules.order
