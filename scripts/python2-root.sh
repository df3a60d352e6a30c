#!/bin/sh
# Makes the root file system of a host of the time of Python 2.7: Debian bullseye, the last one that
# has it, with the C library's development files, so that libnlxtp can be linked for it. Its Python 3 is
# 3.9, the oldest that the Python package is made for.
#
#   scripts/python2-root.sh      prints the folder: target/guests/python2
#
# Needs root (or sudo), debootstrap and Debian's mirror. Made once and used again afterwards; remove the
# folder to make it anew.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
guests=${CARGO_TARGET_DIR:-$repository/target}/guests
root=$guests/python2
packages='python2.7 python3 libc6-dev fdisk dosfstools mtools'

say() { printf 'python2-root: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# What it holds, so that another list makes it anew.
is_ready() { [ "$(cat "$root/etc/nlxtp-python2-root" 2>/dev/null)" = "$packages" ]; }

if is_ready; then
    echo "$root"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail 'making a root file system needs root: run this as root'
    exec sudo -- env CARGO_TARGET_DIR="${guests%/guests}" "$0" "$@"
fi

original=$("$repository/scripts/guest-root.sh" bullseye amd64)

# One at a time; whoever waited finds the work done.
exec 9>"$guests/.python2.lock"
flock -w 600 9 || fail "somebody else has been preparing $root for ten minutes"
if is_ready; then
    echo "$root"
    exit 0
fi

rm -rf --one-file-system "$guests"/python2.??????
work=$(mktemp -d "$guests/python2.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM

say "making $root; this takes about half a minute"
cp -a --reflink=auto "$original/." "$work"
cp /etc/resolv.conf "$work/etc/resolv.conf"
# No daemon of the packages is to be started.
printf '#!/bin/sh\nexit 101\n' >"$work/usr/sbin/policy-rc.d"
chmod 755 "$work/usr/sbin/policy-rc.d"
in_root() { chroot "$work" env DEBIAN_FRONTEND=noninteractive "$@" >>"$work/log" 2>&1 9>&-; }
# shellcheck disable=SC2086 # one word per package
if ! { in_root apt-get -q update &&
    in_root apt-get -q --yes --no-install-recommends -o Dpkg::Use-Pty=0 install $packages; }; then
    tail -n 20 "$work/log" >&2
    fail 'the packages could not be installed; is the mirror reachable?'
fi
rm -rf "$work"/var/cache/apt/* "$work"/var/lib/apt/lists/* "$work"/usr/share/doc/* "$work/log"

# A linker that looks into this root from outside follows links as they stand: let them lead within it.
for link in "$work"/usr/lib/x86_64-linux-gnu/*.so "$work"/usr/lib64/*; do
    case $(readlink "$link") in
        /*) ln -sfn "$(realpath -m -s --relative-to="$(dirname "$link")" "$work$(readlink "$link")")" "$link" ;;
    esac
done

echo "$packages" >"$work/etc/nlxtp-python2-root"
chmod 755 "$work"
rm -rf --one-file-system "$root"
mv "$work" "$root"
say "ready: $root"
echo "$root"
