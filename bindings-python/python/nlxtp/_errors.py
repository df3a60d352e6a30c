"""The exceptions: all are :class:`Error`, and what a Python programmer would expect besides."""

import errno as _errno
from typing import NamedTuple, Optional

from ._reports import UploadReport


class Refusal(NamedTuple):
    """An entry of an archive that is not taken."""

    entry: str
    """Its path as the archive spells it, escaped for showing."""
    reason: str
    """Why it is not taken."""


class Error(Exception):
    """Why an operation has failed. Its string says what was done, to which object, and the way out.

    >>> import nlxtp
    >>> try:
    ...     nlxtp.HostDirectory("/no/such/container")
    ... except nlxtp.Error as error:
    ...     error.kind, error.path, error.may_retry
    ('not-found', '/no/such/container', False)

    Every subclass stands for one kind; kinds of later versions that have no class yet are plain
    ``Error``. Where a callable of yours has raised, that is the ``__cause__``.
    """

    operation: str = ""
    """What was being done: ``"open"``, ``"create"``, ``"upload"``, ``"status"``, ``"wait"``,
    ``"download"``, ``"output"``, ``"watch"``."""
    kind: str = ""
    """A stable word for the kind of failure, such as ``"bad-archive"``."""
    message: str = ""
    """What is wrong, in one line, without the object and the way out."""
    path: Optional[str] = None
    """The file, directory or archive entry that it is about, escaped for showing."""
    hint: Optional[str] = None
    """The way out, where there is one."""
    may_retry: bool = False
    """Whether the same operation may succeed if it is tried again."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        if isinstance(self, OSError):
            _set_errno(self, self._usual_errno)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> "tuple[object, ...]":
        state = dict(self.__dict__)
        if isinstance(self, OSError):
            # The interpreter keeps these elsewhere.
            state.update(errno=self.errno, filename=self.filename)
        return type(self), self.args, state

    _usual_errno: int = _errno.EIO


def _set_errno(error: OSError, number: int) -> None:
    error.errno = number


class InvalidInputError(Error, ValueError):
    """An argument cannot be used."""


class BadArchiveError(Error, ValueError):
    """The archive is of no known format, truncated or corrupt."""


class RefusedError(Error, ValueError):
    """The archive holds entries that are not taken."""

    refusals: "tuple[Refusal, ...]" = ()
    """The entries: the first thousand of them."""
    refusal_count: int = 0
    """How many there are."""


class TooSmallError(Error, OSError):
    """The content does not fit into the target."""

    _usual_errno = _errno.ENOSPC


class NotFoundError(Error, FileNotFoundError):
    """The file, directory or entry is not there."""

    _usual_errno = _errno.ENOENT


class ExistsError(Error, FileExistsError):
    """There is something at a path where something new is to be made."""

    _usual_errno = _errno.EEXIST


class NotATargetError(Error, ValueError):
    """The target is neither a directory nor a usable disk."""


class DamagedError(Error, OSError):
    """The target's file system is damaged."""


class UnfinishedError(Error, OSError):
    """An upload was cut off when there was no way back any more. On a block device it must be repeated;
    in a directory the next operation goes on with it."""


class ChangingError(Error, BlockingIOError):
    """The target was changing while it was read. Trying again may help."""

    _usual_errno = _errno.EAGAIN


class ReadOnlyError(Error, OSError):
    """The file system is mounted read-only."""

    _usual_errno = _errno.EROFS


class PermissionDeniedError(Error, PermissionError):
    """The caller may not do this."""

    _usual_errno = _errno.EACCES


class InUseError(Error, BlockingIOError):
    """Another process, or another upload of this one, holds the target. Trying again later may help."""

    _usual_errno = _errno.EAGAIN


class GuestOnError(Error):
    """The guest is on, and a disk can only be written while it is off."""


class NoSpaceError(Error, OSError):
    """The storage is full."""

    _usual_errno = _errno.ENOSPC


class TimedOutError(Error, TimeoutError):
    """The time that was given is over."""

    _usual_errno = _errno.ETIMEDOUT


class CancelledError(Error, InterruptedError):
    """The token that was given has cancelled the operation."""

    _usual_errno = _errno.EINTR


class InvokeFailedError(Error):
    """The upload stands, but the monitor could not be invoked."""

    upload: Optional[UploadReport] = None
    """What the upload did."""


class CallableError(Error):
    """A callable or file object of yours has raised; what it raised is the ``__cause__``."""


class SystemFailureError(Error, OSError):
    """Any other failure of the operating system."""


_CLASSES: "dict[str, type[Error]]" = {
    "invalid-input": InvalidInputError,
    "bad-archive": BadArchiveError,
    "refused": RefusedError,
    "too-small": TooSmallError,
    "not-found": NotFoundError,
    "exists": ExistsError,
    "not-a-target": NotATargetError,
    "damaged": DamagedError,
    "unfinished": UnfinishedError,
    "changing": ChangingError,
    "read-only": ReadOnlyError,
    "permission-denied": PermissionDeniedError,
    "in-use": InUseError,
    "guest-on": GuestOnError,
    "no-space": NoSpaceError,
    "timed-out": TimedOutError,
    "cancelled": CancelledError,
    "invoke-failed": InvokeFailedError,
    "io": SystemFailureError,
}


def from_native(
    about: "tuple[str, str, str, str]",
    details: "tuple[Optional[str], Optional[str], bool, Optional[int]]",
    refused: "tuple[list[tuple[str, str]], int]",
    upload: Optional[str],
    from_callable: bool,
) -> Error:
    """The exception for an error of the native module, which calls this."""
    operation, kind, message, text = about
    path, hint, may_retry, errno = details
    known = _CLASSES.get(kind, Error)
    if from_callable and known is SystemFailureError:
        kind, known = "callable-failed", CallableError
    error = known(text)
    error.operation, error.kind, error.message = operation, kind, message
    error.path, error.hint, error.may_retry = path, hint, may_retry
    if isinstance(error, OSError):
        error.filename = path
        if errno is not None:
            error.errno = errno
    if isinstance(error, RefusedError):
        refusals, error.refusal_count = refused
        error.refusals = tuple(Refusal(*one) for one in refusals)
    if isinstance(error, InvokeFailedError) and upload is not None:
        error.upload = UploadReport.from_json(upload)
    return error


# As programs name them, and as tracebacks show them then.
for _class in (Error, CallableError, *_CLASSES.values()):
    _class.__module__ = "nlxtp"
