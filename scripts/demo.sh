#!/bin/sh
# Shows the whole cycle with what `make build` built: upload, execute, status, download. First in a
# guest process on a shared directory, then with a disk image, then (where QEMU is) in a virtual
# machine without a network. Leaves nothing behind but target/.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
nlxtp=${NLXTP:-$target/release/nlxtp}
guest=${NLXTP_GUEST:?run this through: make demo}

work=$(mktemp -d)
daemon=
vm=
cleanup() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$vm" ] || kill -9 "$vm" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
title() { printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
# run COMMAND...: shows the command as a person would type it, then runs it.
run() {
    printf '%s$ nlxtp' "$bold"
    for word; do
        case $word in *[!A-Za-z0-9_./:=-]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '%s\n' "$plain"
    "$nlxtp" "$@"
}

cd "$work"
# Liveness is remembered here, and goes with the rest.
XDG_STATE_HOME=$work/state
export XDG_STATE_HOME

title 'An executable archive'
mkdir experiment
cat > experiment/auto_exec.sh <<'SCRIPT'
#!/bin/sh
# Works with nothing but a shell: sleeps, sets a status, writes a result.
cd "$archive_dir"
echo "hello from $(uname -n), process $$"
sleep 1
"$nlxtp_guest" set-status "half way"
sleep 1
tr a-z A-Z < greeting.txt > result.txt
"$nlxtp_guest" set-status "all done"
SCRIPT
chmod +x experiment/auto_exec.sh
echo 'no network was needed' > experiment/greeting.txt
tar --numeric-owner -czf experiment.tar.gz -C experiment .
say 'experiment.tar.gz holds:'
sed 's/^/    /' experiment/auto_exec.sh

results() {
    mkdir "$2"
    tar -xzf "$1" -C "$2"
    say "result.txt: $(cat "$2/result.txt")"
    say "standard output: $(cat "$2/exec_status/stdout")"
    [ "$(cat "$2/result.txt")" = 'NO NETWORK WAS NEEDED' ]
}

title '1. A guest process on a shared directory, as in a container'
mkdir share
"$guest" daemon --dir "$work/share" 2> daemon.log &
daemon=$!
run upload share experiment.tar.gz
run wait share --timeout 1m
run download share container.tar.gz
results container.tar.gz container
kill "$daemon"
wait "$daemon" 2>/dev/null || true
daemon=

title '2. A disk image, written without mount and without root'
run disk create disk.img
run upload disk.img experiment.tar.gz --guest-power off
run ls disk.img
run status disk.img --guest-power off

title '3. A virtual machine without a network boots with that disk'
if ! command -v qemu-system-x86_64 >/dev/null 2>&1; then
    say 'LEFT OUT: QEMU is not here. To see it: apt-get install qemu-system-x86, then make demo'
    exit 0
fi
if ! "$repository/scripts/guest-boot.sh" > boot.path 2> boot.log; then
    sed 's/^/    /' boot.log
    say 'LEFT OUT: no kernel for the guest could be had; see above'
    exit 0
fi
"$repository/scripts/initramfs.sh" daemon initramfs.cpio "$guest"
say 'QEMU boots (emulated: a few seconds) with -nic none ...'
qemu-system-x86_64 -nic none -display none -serial file:console.log -monitor none -no-reboot \
    -accel tcg -m 256 -kernel "$(cat boot.path)/vmlinuz" -initrd initramfs.cpio \
    -append 'console=ttyS0 quiet' -drive file=disk.img,format=raw,if=virtio > qemu.log 2>&1 &
vm=$!
if ! run wait disk.img --guest-power on --timeout 3m; then
    say 'The virtual machine did not finish. Its console said:'
    tail -n 30 console.log qemu.log
    exit 1
fi
say 'Done means that everything is on the disk: the plug is pulled now.'
kill -9 "$vm"
wait "$vm" 2>/dev/null || true
vm=
run download disk.img machine.tar.gz
results machine.tar.gz machine

title 'The whole cycle, in a process and in a machine, and no network'
say "The command is $nlxtp"
say "The guest's program is $guest"
