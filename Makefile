# `make demo` shows the whole cycle; `make test` proves that everything works.
# Both install what they need on a Debian (see scripts/setup.sh).

HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
export NLXTP = $(abspath $(TARGET_DIR))/release/nlxtp
export NLXTP_GUEST = $(abspath $(TARGET_DIR))/$(HOST)/guest/nlxtp-guest

# The end-to-end tests that take longest, by a part of their names.
LONGEST = on_each_suite_and_architecture system_v_init_starts openrc_starts runit_starts programs_are_compiled_with_the_packages \
	the_guest_program_runs_on

.PHONY: help demo test test-long python-source e2e-long build guest deb check unit fuzz-check python-package python-test python-docs e2e fuzz seeds bench bench-python bench-guest header install wheel \
	deb-c abi abi-baseline

help:
	@echo 'make demo    see an archive go into guests, run there, and its results come back'
	@echo 'make test    run every check and every test there is'
	@echo 'make test-long   that, and the tests that take longest'
	@echo 'make build   build the command nlxtp and the static guest program'
	@echo 'make bench   print how fast the operations are, beside what people use'
	@echo 'make fuzz    fuzz for SECONDS=60 each target, or TARGET=one; make seeds writes its seeds'
	@echo 'Parts of make test: check (lints, documents), unit, fuzz-check,'
	@echo '                      python-test, python-docs, e2e (real guests)'

demo:
	@scripts/setup.sh demo
	@$(MAKE) --no-print-directory build
	@scripts/demo.sh

# What is only tested and not given away needs no slow linking.
test test-long: export CARGO_PROFILE_RELEASE_LTO = off
# And what is only a matter of patience is repeated more often when there is more of it.
test-long: export NLXTP_TEST_MINUTES = 1
test-long: export NLXTP_TEST_ROUNDS = 102
test: check unit fuzz-check python-test python-docs e2e
	@echo 'All checks and tests have passed, but for those that take longest: `make test-long` runs them, too.'

test-long: test python-source e2e-long
	@echo 'All of the longest tests have passed, too.'

build: guest
	cargo build --release -p nlxtp-host

# One file that runs in any Linux guest: linked statically.
guest:
	RUSTFLAGS='-C target-feature=+crt-static' \
		cargo build --profile guest -p nlxtp-guest --target $(HOST)

# The guest program as a Debian package, which lintian accepts.
deb: guest
	scripts/setup.sh test
	scripts/debian.sh $(NLXTP_GUEST)

check:
	scripts/setup.sh test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy -p rextfv-core --no-default-features -- -D warnings
	cargo clippy -p nlxtp-host --no-default-features -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items
	cargo build --profile guest -p rextfv-core --no-default-features --example no_std
	scripts/check-documents.sh
	shellcheck scripts/*.sh e2e/guests/*.sh e2e/benches/*.sh nlxtp-host/benches/measurements/poll.bash nlxtp-host/src/packages/scripts/*.sh nlxtp-host/src/archive/scripts/*.sh rextfv-core/tests/vectors/*.sh bindings-c/tests/*.sh .ci/run

# Those that need tools from Debian's packages are left out of a plain `cargo test`, which
# says so; here they run.
unit:
	scripts/setup.sh test
	cargo test --workspace --exclude nlxtp-e2e --exclude nlxtp-python --all-features -- --include-ignored

# All seeds, and each target for ten seconds.
fuzz-check:
	scripts/setup.sh test
	scripts/fuzz.sh check 10

# The Python package, built and installed as users do it, in an environment of its own; and its tests.
python-package: guest
	scripts/setup.sh test
	scripts/python.sh install
python-test: python-package
	scripts/python.sh test

# The source distribution, installed in a bare environment.
python-source: python-package
	scripts/python.sh source
python-docs: python-package
	scripts/python.sh docs

e2e: build python-package
	scripts/setup.sh test
	scripts/debian.sh $(NLXTP_GUEST)
	scripts/guest-boot.sh
	scripts/guest-root.sh
	scripts/guest-root.sh bookworm amd64
	scripts/guest-root.sh bullseye amd64
	scripts/guest-root.sh trixie i386
	scripts/guest-system.sh systemd
	scripts/python2-root.sh
	scripts/e2e.sh --include-ignored $(LONGEST:%=--skip %)

# Whole systems with the other init systems, the packages of the C library, guests of other machines, and packages
# for all releases of Debian.
e2e-long: e2e
	$(MAKE) --no-print-directory deb-c
	for init in sysvinit openrc runit; do scripts/guest-system.sh $$init || exit; done
	scripts/guest-root.sh bookworm i386
	scripts/guest-root.sh bullseye i386
	scripts/guest-root.sh trixie amd64
	scripts/setup.sh cross
	scripts/cross-guest.sh i386
	scripts/cross-guest.sh arm64
	scripts/e2e.sh --include-ignored $(LONGEST)

SECONDS := 60
fuzz:
	scripts/setup.sh test
	scripts/fuzz.sh run $(SECONDS) $(TARGET)

# The unit tests that have seeds for the fuzz targets write them, instead of comparing them.
seeds: export NLXTP_WRITE_SEEDS = 1
seeds:
	cargo test -p rextfv-core --lib --test golden_vectors
	cargo test -p nlxtp-guest --lib
	cargo test -p nlxtp-host --test archive_formats --test archive_hostile --test fat_hostile --test node
	cargo test -p nlxtp-c --test call_sequences

# The C header is made of the source of the C library, and committed.
header: export NLXTP_WRITE_HEADER = 1
header:
	cargo test -p nlxtp-c --test header

# The C library; takes PREFIX and DESTDIR.
install:
	$(MAKE) --no-print-directory -C bindings-c install

# A wheel for any Linux of this processor with glibc 2.28 or newer, and CPython from 3.9 on; the guest's
# program is in it. And a source distribution.
wheel: guest
	scripts/setup.sh wheel
	scripts/python.sh wheel

# Its Debian packages (takes MAINTAINER); its ABI, compared with the last release's or kept for the next.
deb-c:
	$(MAKE) --no-print-directory -C bindings-c deb
abi:
	$(MAKE) --no-print-directory -C bindings-c abi
abi-baseline:
	$(MAKE) --no-print-directory -C bindings-c abi-baseline

# Some 25 minutes. What was measured goes into the document, which git shows then.
bench: build
	scripts/setup.sh bench
	cargo bench -p nlxtp-host --bench operations -- --into $(abspath docs/performance.md)
	@$(MAKE) --no-print-directory bench-python
	@$(MAKE) --no-print-directory bench-guest

# What the Python package costs beyond the library: some five minutes.
bench-python: python-package
	cargo bench -p nlxtp-python --bench overhead

# What the guest program costs in a whole Debian, beside others: some three minutes.
bench-guest: build
	scripts/setup.sh test
	scripts/guest-boot.sh
	scripts/guest-root.sh
	scripts/guest-system.sh agents
	cargo --config "target.$(HOST).runner='$(if $(filter 0,$(shell id -u)),env,sudo -E)'" \
		bench -p nlxtp-e2e --bench guest_at_rest
