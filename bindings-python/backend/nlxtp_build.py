"""Builds the package: maturin does, after the guest's program was put where the wheel takes it from.

``pip`` calls the functions here (PEP 517). The environment variable ``NLXTP_GUEST`` names a program that
was built before; ``NLXTP_GUEST=none`` leaves it out.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Optional

import maturin  # type: ignore[import-untyped]
from maturin import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Optional[Mapping[str, Any]]

HERE = Path(__file__).resolve().parent.parent


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None) -> str:
    take_guest()
    name: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    return name


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None
) -> str:
    take_guest()
    name: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    return name


def take_guest() -> None:
    """Puts the guest's program into the package, or removes it where it is not wanted."""
    named = os.environ.get("NLXTP_GUEST", "")
    program = None if named == "none" else Path(named) if named else build_guest()
    if program is not None and not program.is_file():
        fail(f"NLXTP_GUEST names {program}, which is no file", "name the guest's program, or unset NLXTP_GUEST")
    place = HERE / "python" / "nlxtp" / "bin" / "nlxtp-guest"
    place.unlink(missing_ok=True)
    if program is not None:
        place.parent.mkdir(exist_ok=True)
        shutil.copy2(program, place)


def build_guest() -> Path:
    """Builds the program as `make guest` does: linked statically, for this processor."""
    manifest = next((path / "Cargo.toml" for path in (HERE, HERE.parent) if (path / "nlxtp-guest").is_dir()), None)
    if manifest is None:
        fail("the source of nlxtp-guest is not beside that of the package", "take the whole repository or the sdist")
    if shutil.which("cargo") is None:
        fail("cargo is not there", "install Rust, the version that Cargo.toml names as rust-version or newer")
    target = os.environ.get("CARGO_BUILD_TARGET") or host()
    flags = f"{os.environ.get('RUSTFLAGS', '')} -C target-feature=+crt-static".strip()
    cargo = ["cargo", "build", "--profile", "guest", "--package", "nlxtp-guest", "--bin", "nlxtp-guest"]
    cargo += ["--target", target, "--manifest-path", str(manifest)]
    print("Running", *cargo, flush=True)
    if subprocess.run(cargo, env={**os.environ, "RUSTFLAGS": flags}, check=False).returncode != 0:
        fail(
            "nlxtp-guest, the program for the guests, could not be built; cargo says above why",
            "install the static files of the C library (Debian: libc6-dev, Fedora: glibc-static), "
            "or set NLXTP_GUEST=none to do without the program",
        )
    built = os.environ.get("CARGO_TARGET_DIR") or manifest.parent / "target"
    return Path(built) / target / "guest" / "nlxtp-guest"


def host() -> str:
    """The target that rustc compiles for if nobody says otherwise."""
    told = subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return next(line.removeprefix("host: ") for line in told.splitlines() if line.startswith("host: "))


def fail(what: str, way_out: str) -> NoReturn:
    print(f"nlxtp: error: {what} ({way_out})", file=sys.stderr, flush=True)
    sys.exit(1)
