# shellcheck shell=sh
# shellcheck disable=SC2154 # $parts and $archive_dir are the start script's
# Which system this is, and which package manager it has. Probing archives and installer
# archives both begin with this, so that they come to the same answer.

LC_ALL=C
DEBIAN_FRONTEND=noninteractive
export LC_ALL DEBIAN_FRONTEND

# Finds the package manager by trying each manager-NAME.sh; sets $manager.
find_manager() {
    for file in "$parts"/manager-*.sh; do
        # shellcheck source=/dev/null
        . "$file"
        manager=${file##*/manager-}
        manager=${manager%.sh}
        if "${manager}_is_here"; then
            return 0
        fi
    done
    return 1
}

# os_release NAME: what /etc/os-release says of it.
os_release() {
    (
        # shellcheck source=/dev/null
        . /etc/os-release
        eval "printf %s \"\${$1-}\""
    ) 2>/dev/null
}

# The system's identifier: distribution, version and architecture, such as debian-12-amd64.
# A distribution without versions has its code name, or "rolling", there.
system_identifier() {
    distribution=$(os_release ID)
    version=$(os_release VERSION_ID)
    if [ -z "$version" ]; then
        version=$(os_release VERSION_CODENAME)
    fi
    # Debian before version 7.
    if [ -z "$distribution" ] && [ -r /etc/debian_version ]; then
        distribution=debian
        version=$(cut -d . -f 1 /etc/debian_version)
    fi
    architecture=$("${manager}_architecture")
    [ -n "$distribution" ] && [ -n "$architecture" ] || return 1
    printf '%s-%s-%s' "$distribution" "${version:-rolling}" "$architecture" |
        tr 'A-Z ' 'a-z_' | tr -cd 'a-z0-9._-'
}

# Takes the Custom Status from standard input. Whoever reads it meanwhile reads the old one.
set_status() {
    cat >"$archive_dir/exec_status/custom.new" &&
        mv "$archive_dir/exec_status/custom.new" "$archive_dir/exec_status/custom"
}

# The lines of a file that say what is wrong, as one line that is not too long.
in_one_line() {
    tr '\n\t' '  ' <"$1" | tr -cd ' -~' | cut -c 1-600
}

# lines_of WORD FILE: the rest of the lines that begin with this word.
lines_of() {
    sed -n "s/^$1 //p" "$2"
}
