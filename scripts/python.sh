#!/bin/sh
# Builds the Python package, installs it into a virtual environment, tests and documents it there.
#
#   scripts/python.sh wheel     make a wheel and a source distribution in bindings-python/dist
#   scripts/python.sh install   the same, and install the wheel into target/python-tools
#   scripts/python.sh test      run all that tests the package that is installed there
#   scripts/python.sh source    install the source distribution into a bare environment, and try it
#   scripts/python.sh docs      build reference and cookbook in target/python-docs; warnings are errors
#
# NLXTP_GUEST names the guest's program, which goes into the wheel. PYTHON is the interpreter to use,
# python3 if it is not set.
set -eu

cd "$(dirname "$0")/../bindings-python"
python=${PYTHON:-python3}
target=${CARGO_TARGET_DIR:-$PWD/../target}
target=$(realpath "$target")
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

# As users make them, by the backend that pyproject.toml names, but with Zig's linker, which links for
# older C libraries than this system's. Its compiler makes slower code of libdeflate than this system's does
# (5 % more time for a download), which therefore compiles what is C. Maturin fails if the wheel is not what
# its tag says.
make_wheel() {
    [ -x "${NLXTP_GUEST-}" ] || fail "NLXTP_GUEST names no program; run this by make"
    rm -rf dist
    host=$(rustc -vV | sed -n 's/^host: //p' | tr - _)
    env "CC_$host=${CC:-cc}" "PATH=$tools/bin:$PATH" MATURIN_PEP517_ARGS='--zig --compatibility manylinux_2_28 --locked' \
        "$tools/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --wheel-dir dist .
    log=$target/python-sdist.log
    PATH=$tools/bin:$PATH PYTHONPATH=backend "$tools/bin/python" -c \
        'import nlxtp_build; nlxtp_build.build_sdist("dist")' >"$log" 2>&1 ||
        { cat "$log" >&2; fail 'there is no source distribution'; }
    ls dist/*
}

case "${1-}" in
    wheel)
        make_tools
        make_wheel
        ;;
    install)
        make_tools
        make_wheel
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
        ;;
    test)
        "$tools/bin/python" -m mypy --strict python tests backend
        "$tools/bin/python" -m mypy.stubtest --allowlist stubtest-allowlist.txt nlxtp
        "$tools/bin/python" -m pytest
        # Elements like ToMaTo's: the tests of the other package with the same mixin.
        NLXTP_TOMATO=nlxtp.tomato PYTHONPATH=../bindings-c/python/tests PATH=$PATH:/usr/sbin:/sbin \
            "$tools/bin/python" -W error -m unittest test_tomato
        ;;
    source)
        # As `pip install dist/nlxtp-….tar.gz` does, but always in the same folder, which Cargo then knows.
        # What it builds must not be taken for what is built of the repository, and need not be fast.
        bare=$target/python-bare
        rm -rf "$bare/source" "$bare/environment"
        mkdir -p "$bare/source"
        tar --extract --touch --file dist/nlxtp-*.tar.gz --directory "$bare/source"
        "$python" -m venv "$bare/environment"
        env -u NLXTP_GUEST CARGO_TARGET_DIR="$bare/target" \
            CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
            CARGO_PROFILE_GUEST_OPT_LEVEL=0 CARGO_PROFILE_GUEST_LTO=off CARGO_PROFILE_GUEST_CODEGEN_UNITS=16 \
            "$bare/environment/bin/python" -m pip install --quiet --disable-pip-version-check "$bare"/source/nlxtp-*
        env -u NLXTP_GUEST PYTHONPATH=tests "$bare/environment/bin/python" -W error -m unittest test_installed
        ;;
    docs)
        "$tools/bin/python" -m sphinx --quiet --fail-on-warning --keep-going --builder html \
            --doctree-dir "$target/python-docs/.doctrees" docs "$target/python-docs"
        ;;
    *)
        fail 'say what for: scripts/python.sh wheel|install|test|source|docs'
        ;;
esac
