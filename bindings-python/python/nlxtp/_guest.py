"""The guest's program."""

import os
from pathlib import Path

from ._errors import NotFoundError


def guest_binary() -> Path:
    """The path of ``nlxtp-guest``, the static program with monitor and daemon that belongs into a guest
    (for this processor): put it into your templates, such as by ``nlxtp-guest install --root TEMPLATE``.
    It lies in the package; the environment variable ``NLXTP_GUEST`` names another one to take.

    :raises NotFoundError: the package was built without it, or what ``NLXTP_GUEST`` names is not there.

    >>> import subprocess
    >>> told = subprocess.run([nlxtp.guest_binary(), "--version"], capture_output=True, text=True)
    >>> told.stdout.split()[0]
    'nlxtp-guest'
    """
    named = os.environ.get("NLXTP_GUEST")
    path = Path(named) if named else Path(__file__).parent / "bin" / "nlxtp-guest"
    if path.is_file():
        return path
    hint = (
        "let NLXTP_GUEST name the program"
        if named
        else "install the package again without NLXTP_GUEST=none, or let NLXTP_GUEST name the program"
    )
    error = NotFoundError(f"{path}: the guest's program is not there ({hint})")
    error.operation, error.kind, error.message = "guest_binary", "not-found", "the guest's program is not there"
    error.path = error.filename = str(path)
    error.hint = hint
    raise error
