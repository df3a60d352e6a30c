#!/bin/sh
# Writes the golden vectors into a directory, with nothing but a POSIX shell, dd and sha256sum.
# Usage: write-vectors.sh DIRECTORY
set -eu
LC_ALL=C
export LC_ALL
cd "$1"

# Appends the checksum line to a record that is complete but for it.
seal() {
    digest=$(sha256sum < "$1")
    printf 'sha256: %s\n' "${digest%% *}" >> "$1"
}

# header FILE SEQUENCE STATE DONE ENDED STDOUT-BYTES TRUNCATED CUSTOM-BYTES
header() {
    {
        printf 'nlxtp-status 1\nrun: 00112233445566778899aabbccddeeff\n'
        printf 'sequence: %s\nstate: %s\ndone: %s\n' "$2" "$3" "$4"
        printf 'running-info: %s\ninterval-ms: 2000\n' 170000000000"${2%"${2#?}"}"
        printf 'boot: fedcba98765432100123456789abcdef\nended: %s\n' "$5"
        printf 'stdout-bytes: %s\nstderr-bytes: 0\ntruncated: %s\ncustom-bytes: %s\n\n' "$6" "$7" "$8"
    } > "$1"
}

header running.status 1 running no - 0 - -
printf '\n' >> running.status
seal running.status

header finished.status 7 finished yes 'exit 0' 120 - 11
printf 'hello world\n' >> finished.status
seal finished.status

header signal.status 8 finished no 'signal 9' 67108864 'stdout custom' 0
printf '\n' >> signal.status
seal signal.status

header timed-out.status 5 timed-out yes 'exit 3' 0 - -
printf '\n' >> timed-out.status
seal timed-out.status

header interrupted.status 18446744073709551615 interrupted yes - 3 - 4
printf 'a\n\nb\n' >> interrupted.status
seal interrupted.status

# Bytes that are no text, and among them what looks like the end of a record.
header binary.status 2 running no - 0 - 15
printf '\000\377\nsha256: 00\n\001\n' >> binary.status
seal binary.status

# A guest that was given no run id and knows no boot id.
{
    printf 'nlxtp-status 1\nrun: -\nsequence: 3\nstate: rebooted\ndone: no\nrunning-info: 0\n'
    printf 'interval-ms: 86400000\nboot: -\nended: -\nstdout-bytes: 0\nstderr-bytes: 5\n'
    printf 'truncated: stderr\ncustom-bytes: -\nprogress: 3/10\n\n\n'
} > minimal.status
seal minimal.status

# A line of a later version, and a progress that is none: a reader passes over both.
{
    printf 'nlxtp-status 1\nrun: -\nsequence: 4\nstate: running\ndone: no\nrunning-info: 1\n'
    printf 'interval-ms: 1\nboot: -\nended: -\nstdout-bytes: 0\nstderr-bytes: 0\n'
    printf 'truncated: -\ncustom-bytes: 4\nfrom-later: 7 words\nprogress: 11/10\n\nhalf\n'
} > later.status
seal later.status

# In a slot: what is left of a longer record follows.
{ cat finished.status; printf 'left over from a longer record\n\000\000'; } > in-slot.status

# Damaged ones.
dd if=/dev/zero of=blank.status bs=512 count=1 2> /dev/null
head -c 200 finished.status > header-cut.status
head -c 260 finished.status > custom-cut.status
head -c 300 finished.status > checksum-cut.status
sed 's/stdout-bytes: 120/stdout-bytes: 121/' finished.status > changed.status
sed 's/^nlxtp-status 1$/nlxtp-status 2/' finished.status > version-2.status
# The first sector is a new record's, the rest an older one's.
header torn.status 9 running no - 0 - 600
printf '%0600d\n' 1 >> torn.status
seal torn.status
header older 7 running no - 0 - 600
printf '%0600d\n' 0 >> older
seal older
{ head -c 512 torn.status; tail -c +513 older; } > torn.new
mv torn.new torn.status
rm older
header done-while-running.status 4 running yes - 0 - -
printf '\n' >> done-while-running.status
seal done-while-running.status
