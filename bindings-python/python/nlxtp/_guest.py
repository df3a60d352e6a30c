"""The guest's program."""

import os
from pathlib import Path

from ._errors import NotFoundError


def guest_binary() -> Path:
    """The path of ``nlxtp-guest``, the static program with monitor and daemon that belongs into a guest
    (for this processor): copy it into your templates. Wheels that ``make wheel`` makes hold it; else the
    environment variable ``NLXTP_GUEST`` names it.

    :raises NotFoundError: this installation has none.
    """
    named = os.environ.get("NLXTP_GUEST")
    path = Path(named) if named else Path(__file__).parent / "bin" / "nlxtp-guest"
    if path.is_file():
        return path
    hint = "install a wheel that `make wheel` has made, or name the program in NLXTP_GUEST"
    error = NotFoundError(f"{path}: the guest's program is not there ({hint})")
    error.operation, error.kind, error.message = "guest_binary", "not-found", "the guest's program is not there"
    error.path = error.filename = str(path)
    error.hint = hint
    raise error
