#!/bin/sh
# Builds the Python package and runs its tests, in virtual environments of its own.
#
#   scripts/python.sh install  install the package as users do, into target/python-tools
#   scripts/python.sh test     run all that tests the package that is installed there
#   scripts/python.sh wheel    make a wheel and a source distribution in bindings-python/dist
#
# NLXTP_GUEST names the guest's program, which goes into the wheel. PYTHON is the interpreter to use,
# python3 if it is not set.
set -eu

cd "$(dirname "$0")/../bindings-python"
python=${PYTHON:-python3}
target=${CARGO_TARGET_DIR:-$PWD/../target}
tools=$target/python-tools

fail() { echo "python: error: $*" >&2; exit 1; }

# Makes the environment with what builds and tests the package, unless it is there.
make_tools() {
    stamp=$tools/requirements.txt
    if cmp -s requirements.txt "$stamp" && "$tools/bin/python" -c '' 2>/dev/null; then
        return
    fi
    echo "python: making an environment with the tools, in $tools" >&2
    rm -rf "$tools"
    "$python" -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
    cp requirements.txt "$stamp"
}

# Puts the guest's program where the wheel takes it from.
take_guest() {
    [ -x "${NLXTP_GUEST-}" ] || fail "NLXTP_GUEST names no program; run this by make"
    mkdir -p python/nlxtp/bin
    cmp -s "$NLXTP_GUEST" python/nlxtp/bin/nlxtp-guest || cp "$NLXTP_GUEST" python/nlxtp/bin/nlxtp-guest
}

install_package() {
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --force-reinstall .
}

case "${1-}" in
    install)
        make_tools
        take_guest
        PATH=$tools/bin:$PATH install_package
        ;;
    test)
        "$tools/bin/mypy" --strict python tests
        "$tools/bin/stubtest" --allowlist stubtest-allowlist.txt nlxtp
        "$tools/bin/python" -m pytest
        # Elements like ToMaTo's: the tests of the other package with the same mixin.
        NLXTP_TOMATO=nlxtp.tomato PYTHONPATH=../bindings-c/python/tests PATH=$PATH:/usr/sbin:/sbin \
            "$tools/bin/python" -W error -m unittest test_tomato
        ;;
    wheel)
        make_tools
        take_guest
        PATH=$tools/bin:$PATH maturin build --release --sdist --out dist
        ;;
    *)
        fail 'say what for: scripts/python.sh install|test|wheel'
        ;;
esac
