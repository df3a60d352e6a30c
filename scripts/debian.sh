#!/bin/sh
# Builds the Debian package nlxtp-guest from the program that `make guest` has built, and lets
# lintian judge it, whose warnings count as errors.
#
#   scripts/debian.sh PROGRAM        prints the package's path: target/deb/nlxtp-guest_VERSION_ARCH.deb
#
# Needs debhelper and lintian.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
deb=${CARGO_TARGET_DIR:-$repository/target}/deb

say() { printf 'debian: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

program=${1-}
[ -r "$program" ] || fail "there is no program '$program': run make guest (usage: scripts/debian.sh PROGRAM)"
for tool in dh dpkg-buildpackage lintian; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: run scripts/setup.sh test"
done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -n 1)
date=$(git -C "$repository" log -1 --format=%cD 2>/dev/null || date -R)

rm -rf "$deb"
mkdir -p "$deb/build"
cp -r "$repository/nlxtp-guest/debian" "$deb/build/debian"
sed -e "s|@VERSION@|$version|; s|@DATE@|$date|" "$deb/build/debian/changelog.in" >"$deb/build/debian/changelog"
rm "$deb/build/debian/changelog.in"
if ! (cd "$deb/build" && NLXTP_SOURCE=$repository NLXTP_GUEST=$program dpkg-buildpackage --build=binary --no-sign) \
    >"$deb/log" 2>&1; then
    tail -n 20 "$deb/log" >&2
    fail "the package cannot be built; all of it is in $deb/log"
fi
rm -r "$deb/build"
package=$(echo "$deb"/nlxtp-guest_*.deb)
lintian --allow-root --fail-on error,warning "$package" >&2 || fail 'lintian does not accept the package'
echo "$package"
