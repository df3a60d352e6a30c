#!/bin/sh
# Installs what building, the demonstration or the tests need, where it is missing.
#
#   scripts/setup.sh build   a C compiler and linker for cargo
#   scripts/setup.sh demo    build, and QEMU if it can be had (goes on without it)
#   scripts/setup.sh wheel   build, and Python
#   scripts/setup.sh bench   what the operations are compared with (goes on without it)
#   scripts/setup.sh cross   build, and compilers and emulators for i386 and arm64
#   scripts/setup.sh test    everything that `make test` uses; fails if any is missing
#
# Quick and silent when all is there: it looks for the commands themselves and asks
# apt-get only for the packages of those that are missing. As a normal user it calls
# sudo. On a system without apt-get it installs nothing and says what is missing.
set -eu

# Each line: command (or file), Debian package that holds it.
build_tools='
cc gcc
make make
'
# The last is the module venv.
python_tools='
python3 python3
/usr/share/doc/python3-venv/copyright python3-venv
'
demo_tools='
cpio cpio
gzip gzip
xz xz-utils
qemu-system-x86_64 qemu-system-x86
'
test_tools='
c++ g++
busybox busybox-static
dash dash
debootstrap debootstrap
mkfs.vfat dosfstools
fsck.vfat dosfstools
mcopy mtools
pigz pigz
sfdisk fdisk
unshare util-linux
fallocate util-linux
jq jq
losetup mount
mkfs.ext4 e2fsprogs
depmod kmod
dh debhelper
dpkg-buildpackage dpkg-dev
lintian lintian
qemu-storage-daemon qemu-system-common
nsenter util-linux
pgrep procps
setpriv util-linux
script bsdutils
python3 python3
perl perl
setfattr attr
zip zip
unzip unzip
zstd zstd
xz xz-utils
shellcheck shellcheck
valgrind valgrind
nm binutils
pkg-config pkg-config
cmake cmake
dh debhelper
dpkg-buildpackage dpkg-dev
abidw abigail-tools
'

cross_tools='
i686-linux-gnu-gcc gcc-i686-linux-gnu
/usr/i686-linux-gnu/lib/libc.a libc6-dev-i386-cross
aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
/usr/aarch64-linux-gnu/lib/libc.a libc6-dev-arm64-cross
qemu-aarch64-static qemu-user-static
file file
'

# The kernel is what libguestfs starts.
bench_tools='
mcopy mtools
pigz pigz
bash bash
guestfish libguestfs-tools
qemu-ga qemu-guest-agent
/vmlinuz linux-image-amd64
'

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# Debian keeps some of these where a normal user's PATH does not look.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# missing TABLE: the packages whose commands are not there, each once, on one line.
missing() {
    printf '%s' "$1" | while read -r command package; do
        [ -z "$command" ] || [ -f "$command" ] || command -v "$command" >/dev/null 2>&1 || echo "$package"
    done | sort -u | tr '\n' ' '
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null 2>&1; then
        say "not root, and there is no sudo"
        return 1
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" >&2
}

# install PACKAGES...: tries the package lists that are there before fetching new ones.
install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say "this system has no apt-get, so nothing can be installed for you"
        return 1
    fi
    say "installing: $*"
    apt install --yes --no-install-recommends "$@" && return
    say "fetching new package lists, then trying again"
    apt update && apt install --yes --no-install-recommends "$@"
}

# need TABLE WHAT: installs what is missing, or ends the script saying what to do.
need() {
    packages=$(missing "$1")
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086 # one word per package
    install $packages || true
    packages=$(missing "$1")
    [ -z "$packages" ] || fail "$2 needs these Debian packages (or what they hold): $packages
setup: install them, for example as root: apt-get update && apt-get install $packages"
}

# want TABLE WHAT: like need, but goes on without.
want() {
    packages=$(missing "$1")
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086 # one word per package
    install $packages || true
    packages=$(missing "$1")
    [ -n "$packages" ] || return 0
    say '*********************************************************************'
    say "* NOT INSTALLED: $packages"
    say "* $2"
    say '* To have it, as root: apt-get update && apt-get install' "$packages"
    say '*********************************************************************'
}

need_cargo() {
    command -v cargo >/dev/null 2>&1 ||
        fail 'cargo is not there: install Rust (the version that Cargo.toml names as rust-version, or newer)'
}

case "${1-}" in
    build)
        need_cargo
        need "$build_tools" 'building'
        ;;
    demo)
        need_cargo
        need "$build_tools" 'building'
        want "$demo_tools" 'The demonstration goes on WITHOUT a virtual machine.'
        ;;
    wheel)
        need_cargo
        need "$build_tools$python_tools" 'making the wheel'
        ;;
    bench)
        need_cargo
        need "$build_tools" 'building'
        want "$demo_tools$bench_tools" 'The measurements go on WITHOUT it; the table says so.'
        ;;
    cross)
        need_cargo
        need "$build_tools$cross_tools" 'building for other machines'
        ;;
    test)
        need_cargo
        need "$build_tools$demo_tools$python_tools$test_tools" 'testing'
        ;;
    *)
        fail 'say what for: scripts/setup.sh build|demo|wheel|bench|cross|test'
        ;;
esac
