#!/bin/sh
# Builds an initramfs for a virtual machine guest, from what scripts/guest-boot.sh fetched.
#
#   scripts/initramfs.sh KIND OUTPUT [PROGRAM]
#
# KIND says what runs in the guest:
#   busybox   busybox alone: boots, mounts the disk's file system, takes commands
#   daemon    busybox, and PROGRAM (nlxtp-guest) as the daemon
#   shell     busybox, and PROGRAM (a POSIX shell script) as the guest program
#   installed busybox with its own init, and PROGRAM (nlxtp-guest) as it installs itself there
#   bare      nothing but PROGRAM (nlxtp-guest) as the first process
#   system    busybox, which goes on to the whole system on the first disk
#
# The first three start e2e/guests/vm-init.sh, which says how the guest is controlled.
# GUEST_CONFIG holds further lines for the guest's /etc/nlxtp.conf (not where it is installed).
# OUTPUT is written uncompressed: emulated guests unpack that faster than gzip.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
boot=${CARGO_TARGET_DIR:-$repository/target}/guests/boot

fail() { printf 'initramfs: error: %s\n' "$*" >&2; exit 1; }

usage='scripts/initramfs.sh busybox|daemon|shell|installed|bare|system OUTPUT [PROGRAM]'
[ $# -ge 2 ] || fail "usage: $usage"
kind=$1 output=$2 program=${3-}

[ -e "$boot/complete" ] || fail "no kernel in $boot: run scripts/guest-boot.sh"
command -v cpio >/dev/null 2>&1 || fail 'cpio is missing: run scripts/setup.sh demo'
case $kind in
    busybox | system) ;;
    daemon | shell | installed | bare)
        [ -n "$program" ] || fail "$kind needs a PROGRAM ($usage)"
        [ -r "$program" ] || fail "there is no $program: build it first"
        ;;
    *) fail "unknown kind '$kind' ($usage)" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
root=$work/root
mkdir -p "$root/dev" "$root/proc" "$root/sys" "$root/etc" "$root/run" "$root/mnt/nlXTP" \
    "$root/lib/modules"
mkdir -m 1777 "$root/tmp"
cp "$boot"/modules/*.ko "$root/lib/modules/"

modules=
while read -r module; do
    modules="$modules${modules:+ }/lib/modules/$module"
done <"$boot/modules.order"
cat >"$root/etc/nlxtp.conf" <<END
nlxtp_dir="/mnt/nlXTP"
nlxtp_modules="$modules"
${GUEST_CONFIG-}
END

busybox_alone() {
    mkdir "$root/bin"
    cp "$boot/busybox" "$root/bin/busybox"
    "$boot/busybox" --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
}
with_busybox() {
    busybox_alone
    install -m 755 "$repository/e2e/guests/vm-init.sh" "$root/init"
}

case $kind in
    busybox)
        with_busybox
        ;;
    daemon)
        with_busybox
        install -m 755 "$program" "$root/bin/nlxtp-guest"
        echo 'exec /bin/nlxtp-guest daemon' >"$root/etc/guest-program"
        ;;
    shell)
        with_busybox
        install -m 755 "$program" "$root/bin/shell-guest.sh"
        echo 'exec /bin/sh /bin/shell-guest.sh' >"$root/etc/guest-program"
        ;;
    installed)
        busybox_alone
        rm -r "$root/etc/nlxtp.conf" "$root/mnt/nlXTP"
        cp "$boot/modules.order" "$root/lib/modules/"
        mkdir "$root/sbin" "$root/etc/init.d"
        ln -s ../bin/busybox "$root/sbin/init"
        ln -s bin/busybox "$root/init"
        install -m 755 "$repository/e2e/guests/busybox-rcS.sh" "$root/etc/init.d/rcS"
        "$program" install --root "$root" >&2
        ;;
    bare)
        install -m 755 "$program" "$root/init"
        ;;
    system)
        with_busybox
        rm "$root"/lib/modules/*.ko
        cp "$boot"/system/modules/*.ko "$boot/system/modules.order" "$root/lib/modules/"
        install -m 755 "$repository/e2e/guests/system-init.sh" "$root/init"
        ;;
esac

(cd "$root" && find . | LC_ALL=C sort | cpio --quiet --create --format=newc --owner=0:0) >"$work/cpio"
mv "$work/cpio" "$output"
