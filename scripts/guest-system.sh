#!/bin/sh
# Makes a whole Debian that boots in a virtual machine, with the init system named; "agents" is
# systemd with qemu-guest-agent, to compare with.
#
#   scripts/guest-system.sh systemd|sysvinit|openrc|runit|agents
#
# prints the folder: target/guests/system-INIT, a root file system with that init system,
# and the modules of the kernel of scripts/guest-boot.sh, which its own programs load.
#
# Needs root (or sudo), the root file system of scripts/guest-root.sh, and Debian's mirror.
# Made once and used again afterwards; remove the folder to make it anew.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
guests=${CARGO_TARGET_DIR:-$repository/target}/guests

say() { printf 'guest-system: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

init=${1-}
case $init in
    systemd) packages='systemd-sysv udev kmod' ;;
    # Without udev: /dev is the kernel's own devtmpfs.
    sysvinit) packages='sysvinit-core kmod' ;;
    openrc) packages='openrc sysvinit-core kmod' ;;
    runit) packages='runit-init runit kmod' ;;
    agents) packages='systemd-sysv udev kmod qemu-guest-agent' ;;
    *) fail 'say which: scripts/guest-system.sh systemd|sysvinit|openrc|runit|agents' ;;
esac
system=$guests/system-$init

finish_if_there() {
    if [ -e "$system/etc/nlxtp-guest-system" ]; then
        echo "$system"
        exit 0
    fi
}
finish_if_there

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
for tool in flock depmod; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: run scripts/setup.sh test"
done
[ -e "$guests/boot/system/complete" ] || fail "no kernel for a whole system in $guests/boot: run scripts/guest-boot.sh"
[ -e "$guests/root/etc/nlxtp-guest-root" ] || fail "no root file system in $guests: run scripts/guest-root.sh"
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail 'making a root file system needs root: run this as root'
    exec sudo -- env CARGO_TARGET_DIR="${guests%/guests}" "$0" "$@"
fi

# One at a time; whoever waited finds the work done.
exec 9>"$guests/.lock"
flock -w 600 9 || fail "somebody else has been preparing guests in $guests for ten minutes"
finish_if_there

rm -rf --one-file-system "$guests"/system.??????
work=$(mktemp -d "$guests/system.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

say "making $system; this takes about half a minute"
cp -a --reflink=auto "$guests/root/." "$work/root"
printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
chmod 755 "$work/root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$work/root/etc/resolv.conf"
in_root() {
    env -i PATH="$PATH" DEBIAN_FRONTEND=noninteractive chroot "$work/root" "$@" >>"$work/log" 2>&1 9>&-
}
# shellcheck disable=SC2086 # one word per package
if ! in_root apt-get -q update ||
    ! in_root apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 install $packages; then
    tail -n 20 "$work/log" >&2
    fail "cannot install $packages; is the mirror reachable?"
fi
rm "$work/root/usr/sbin/policy-rc.d" "$work/root/etc/resolv.conf"
rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* \
    "$work"/root/usr/share/doc/* "$work"/root/usr/share/locale/* "$work"/root/usr/share/man/*

modules=$work/root/lib/modules
mkdir -p "$modules"
cp -a "$guests/boot/system/tree/." "$modules"
depmod -b "$work/root" "$(basename "$modules"/*)"
echo "nlxtp-$init" >"$work/root/etc/hostname"
echo '/dev/vda / ext4 defaults 0 0' >"$work/root/etc/fstab"
echo "$init" >"$work/root/etc/nlxtp-guest-system"

rm -rf --one-file-system "$system"
mv "$work/root" "$system"
say "ready: $system"
echo "$system"
