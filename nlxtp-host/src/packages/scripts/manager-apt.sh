# shellcheck shell=sh
# shellcheck disable=SC2154 # $work is the start script's
# APT and dpkg: Debian, Ubuntu, and what comes of them.
#
# A manager is a file of this kind, manager-NAME.sh, with these functions:
#
#   NAME_is_here                       is this the system's package manager?
#   NAME_architecture                  writes the architecture as the manager calls it
#   NAME_refresh                       fetches the package lists
#   NAME_missing PACKAGE...            writes "file SHA256 SIZE NAME URL" for each package file
#                                      that is missing, those of dependencies too
#   NAME_has PACKAGE                   is it installed, whole, or something that provides it?
#   NAME_install FILE...               installs these package files, with nothing from a network;
#                                      the names of those that were not there go to $work/installed
#
# $work is a directory for them. What is wrong goes to $work/why.

apt_is_here() {
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1
}

apt_architecture() {
    dpkg --print-architecture
}

apt_call() {
    if apt-get -q --yes -o DPkg::Lock::Timeout=300 -o APT::Sandbox::User=root \
        -o Dpkg::Use-Pty=0 "$@" </dev/null 2>"$work/complaints"; then
        cat "$work/complaints" >&2
        return 0
    fi
    cat "$work/complaints" >&2
    # dpkg explains itself in indented lines. W: is of interest where nothing else is said.
    awk '/^(E:|dpkg: (error|dependency))/ { told = 1; print; next } !/^ / { told = 0 } told' \
        "$work/complaints" >"$work/why"
    [ -s "$work/why" ] || cp "$work/complaints" "$work/why"
    return 1
}

apt_refresh() {
    apt_call -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update
}

apt_missing() {
    # Files that are in the cache are not listed; so the cache is an empty one.
    mkdir -p "$work/archives/partial"
    apt_call --print-uris --no-remove --no-upgrade --no-install-recommends \
        -o Acquire::ForceHash=SHA256 -o Dir::Cache::Archives="$work/archives" \
        install "$@" >"$work/uris" || return 1
    # 'URL' NAME SIZE SHA256:DIGEST
    while read -r url name size digest _; do
        case $url in "'"*"'") ;; *) continue ;; esac
        url=${url#"'"}
        url=${url%"'"}
        case $digest in
            SHA256:*) ;;
            *)
                echo "the package lists have no SHA-256 digest of $name" >"$work/why"
                return 1
                ;;
        esac
        printf 'file %s %s %s %s\n' "${digest#SHA256:}" "$size" "$name" "$url"
    done <"$work/uris"
}

apt_has() {
    # shellcheck disable=SC2016 # the format's fields are for dpkg-query
    dpkg-query --show --showformat '${Status} ${Package} ${Package}:${Architecture} ${Provides}\n' |
        awk -v wanted="$1" '$3 == "installed" {
            for (i = 4; i <= NF; i++) { sub(/,$/, "", $i); if ($i == wanted) found = 1 }
        } END { exit !found }'
}

# apt_is_there NAME VERSION ARCHITECTURE: is this version installed, whole, or a later one?
apt_is_there() {
    # shellcheck disable=SC2016
    dpkg-query --show --showformat '${Status} ${Architecture} ${Version}\n' "$1" 2>/dev/null |
        while read -r _ _ state architecture version; do
            if [ "$state" = installed ] && [ "$architecture" = "$3" ] &&
                dpkg --compare-versions "$version" ge "$2"; then
                echo there
            fi
        done | grep -q there
}

# apt_wants FILE: sets $package, $version and $architecture to those of a package file.
apt_wants() {
    if package=$(dpkg-deb --field "$1" Package) && version=$(dpkg-deb --field "$1" Version) &&
        architecture=$(dpkg-deb --field "$1" Architecture); then
        return 0
    fi
    echo "$1 is no package of dpkg's" >"$work/why"
    return 1
}

apt_install() {
    for file in "$@"; do
        apt_wants "$file" || return 1
        apt_is_there "$package" "$version" "$architecture" || echo "$package" >>"$work/installed"
    done
    # What an earlier attempt has left unfinished, apt-get would not go on without.
    dpkg --configure --pending </dev/null || true
    for file in "$@"; do
        shift
        apt_wants "$file" || return 1
        apt_is_there "$package" "$version" "$architecture" || set -- "$@" "$file"
    done
    [ $# -gt 0 ] || return 0
    # The order, and that all dependencies are there before anything is touched, is apt-get's
    # business. The system's own sources and package lists are left aside: they may offer what is
    # not here, and so nothing can come from a network. (--no-download would also keep apt-get
    # from taking files that are here.) It takes a package that was cut off when its files were written
    # for installed, so it is told to install again.
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    apt_call --no-remove --no-install-recommends --reinstall \
        -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::Archives="$work/archives" \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        install "$@" || return 1
    for file in "$@"; do
        apt_wants "$file" || return 1
        if ! apt_is_there "$package" "$version" "$architecture"; then
            echo "apt-get was content, but $package $version is not installed" >"$work/why"
            return 1
        fi
    done
}
