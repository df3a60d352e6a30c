#!/bin/sh
# Fetches what a virtual machine guest boots from: Debian's own kernel, the few of its
# modules that a guest needs to reach a FAT disk, and a static busybox.
#
#   scripts/guest-boot.sh       prints the folder: target/guests/boot
#
# The packages are downloaded and unpacked, not installed; no root is needed. The folder
# holds vmlinuz, busybox, modules/*.ko, and modules.order, which names those modules in
# the order in which they must be loaded. In system/ is what a whole system needs beside
# that: modules/*.ko and modules.order up to its root file system, and tree/VERSION/
# as they lie in /lib/modules, for its own modprobe. It is made once and used again afterwards;
# remove it to fetch a newer kernel. GUEST_KERNEL names another meta package.
set -eu

# The cloud flavour: built for virtual machines, it boots under emulation in half the time.
meta_package=${GUEST_KERNEL:-linux-image-cloud-amd64}

# What a guest needs: the disk (virtio over PCI), vfat, and the character sets that
# vfat's usual mount options ask for (437 and ascii are its defaults).
wanted_modules='virtio_pci virtio_blk vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8'

# What a whole system needs before it can load modules itself: its disk, and ext4; and the port by which
# other agents speak with their host.
system_modules='virtio_pci virtio_blk ext4 virtio_console'

repository=$(cd "$(dirname "$0")/.." && pwd)
guests=${CARGO_TARGET_DIR:-$repository/target}/guests
boot=$guests/boot

say() { printf 'guest-boot: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

finish_if_there() {
    if [ -e "$boot/system/complete" ]; then
        echo "$boot"
        exit 0
    fi
}
finish_if_there

for tool in apt-get apt-cache dpkg dpkg-deb flock xz; do
    command -v "$tool" >/dev/null 2>&1 ||
        fail "$tool is missing: the guest's kernel comes from Debian's packages (run scripts/setup.sh demo; on another system put vmlinuz, busybox, modules/ and modules.order into $boot yourself, then: touch $boot/complete)"
done
architecture=$(dpkg --print-architecture)
[ "$architecture" = amd64 ] ||
    fail "the guest is an x86-64 machine, but this system's packages are for $architecture"

# One at a time; whoever waited finds the work done.
mkdir -p "$guests"
exec 9>"$guests/.lock"
flock -w 600 9 || fail "somebody else has been preparing guests in $guests for ten minutes"
finish_if_there

rm -rf "$guests"/boot.??????
work=$(mktemp -d "$guests/boot.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# download PACKAGE: into $work; refreshes the package lists once if they are too old.
download() {
    (cd "$work" && apt-get -q -o APT::Sandbox::User="$(id -un)" download "$1" >&2)
}
kernel_package() {
    apt-cache depends "$meta_package" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}
update_lists() {
    say 'fetching new package lists'
    if [ "$(id -u)" = 0 ]; then apt-get -q update >&2; else sudo apt-get -q update >&2; fi
}

kernel=$(kernel_package)
if [ -z "$kernel" ] || ! download "$kernel" || ! download busybox-static; then
    update_lists || true
    kernel=$(kernel_package)
    [ -n "$kernel" ] ||
        fail "the package lists know no kernel under the name $meta_package (GUEST_KERNEL names another)"
    download "$kernel" || fail "cannot download $kernel"
    download busybox-static || fail 'cannot download busybox-static'
fi
say "unpacking $kernel"
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
    rm "$package"
done

result=$work/boot
mkdir -p "$result/modules"
cp "$work"/unpacked/boot/vmlinuz-* "$result/vmlinuz"
cp "$work"/unpacked/bin/busybox "$result/busybox" 2>/dev/null ||
    cp "$work"/unpacked/usr/bin/busybox "$result/busybox"

module_tree=$(echo "$work"/unpacked/lib/modules/*)
[ -d "$module_tree" ] || module_tree=$(echo "$work"/unpacked/usr/lib/modules/*)
[ -d "$module_tree" ] || fail "$kernel holds no modules"

# add FOLDER MODULE: copies it, after those that it depends on, and notes the order.
add() {
    grep -q "/$2\.ko" "$module_tree/modules.builtin" && return
    grep -qx "$2.ko" "$1/modules.order" && return
    # File names have either - or _ where module names have _.
    packed=$(find "$module_tree" -name "$(echo "$2" | sed 's/[-_]/[-_]/g').ko*" | head -n 1)
    [ -n "$packed" ] || fail "$kernel has no module $2"
    file=$1/modules/$2.ko
    case $packed in
        *.ko) cp "$packed" "$file" ;;
        *.xz) xz -dc "$packed" >"$file" ;;
        *.zst) zstd -dqc "$packed" >"$file" ;;
        *) fail "cannot unpack $packed" ;;
    esac
    for dependency in $(tr '\0' '\n' <"$file" | sed -n 's/^depends=//p' | tr ',' ' '); do
        add "$1" "$dependency"
    done
    grep -qx "$2.ko" "$1/modules.order" || echo "$2.ko" >>"$1/modules.order"
}
: >"$result/modules.order"
for module in $wanted_modules; do
    add "$result" "$module"
done

mkdir -p "$result/system/modules"
: >"$result/system/modules.order"
for module in $system_modules; do
    add "$result/system" "$module"
done
version=$(basename "$module_tree")
mkdir -p "$result/system/tree/$version/kernel"
cp "$result"/modules/*.ko "$result/system/tree/$version/kernel/"
cp "$result"/system/modules/*.ko "$result/system/tree/$version/kernel/"
cp "$module_tree"/modules.builtin* "$result/system/tree/$version/"
touch "$result/system/tree/$version/modules.order" "$result/system/complete"

echo "$kernel" >"$result/complete"
chmod -R u=rwX,go=rX "$result"
rm -rf "$boot"
mv "$result" "$boot"
say "ready: $boot ($(wc -l <"$boot/modules.order") modules)"
echo "$boot"
