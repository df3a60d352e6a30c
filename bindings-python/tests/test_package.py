"""The package as it is built and installed."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nlxtp
from nlxtp import _guest

BACKEND = Path(__file__).parents[1] / "backend"


def test_version_is_the_packages() -> None:
    assert nlxtp.__version__ == metadata.version("nlxtp")


def test_a_guest_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLXTP_GUEST", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="let NLXTP_GUEST name the program"):
        nlxtp.guest_binary()
    # As a package that was built without it.
    monkeypatch.delenv("NLXTP_GUEST")
    monkeypatch.setattr(_guest, "__file__", str(tmp_path / "_guest.py"))
    with pytest.raises(nlxtp.NotFoundError, match="install the package again without NLXTP_GUEST=none") as missing:
        nlxtp.guest_binary()
    assert missing.value.path == str(tmp_path / "bin/nlxtp-guest")


def test_a_build_with_a_program_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import nlxtp_build; nlxtp_build.take_guest()"],
        env={"PYTHONPATH": str(BACKEND), "NLXTP_GUEST": str(tmp_path / "missing"), "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "missing, which is no file (name the guest's program, or unset NLXTP_GUEST)" in done.stderr


def test_a_program_that_asks_for_no_log_sees_none(tmp_path: Path) -> None:
    (tmp_path / "exec_status").mkdir()
    program = "import nlxtp, sys; nlxtp.Node(sys.argv[1]).download(sys.argv[2]); import logging; "
    program += "logging.getLogger('nlxtp').warning('as the package does')"
    told = subprocess.run(
        [sys.executable, "-c", program, tmp_path, tmp_path.with_suffix(".tar")],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert told.stderr == ""
