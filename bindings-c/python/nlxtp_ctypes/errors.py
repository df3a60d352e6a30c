"""What can go wrong: one family of exceptions, rooted in :class:`Error`."""

class Error(Exception):
    """A call of the library failed.

    ``kind``       a stable word, such as ``"bad-archive"``
    ``number``     the library's number for it (``NLXTP_ERROR_...``)
    ``operation``  what was called, such as ``"node_upload"``
    ``message``    what is wrong, in one line
    ``path``       the file, directory or entry that it is about, or ``None``
    ``hint``       the way out, or ``None``
    ``may_retry``  whether the same call may succeed if it is made again
    ``refusals``   for refused archives: a list of (entry, reason); the first 1000
    ``refusal_count``  how many there are
    ``upload``     after an upload that stands all the same: an :class:`Upload`, else ``None``
    """

    def __init__(self, text, kind="invalid-input", number=1, operation=None, message=None, path=None,
                 hint=None, may_retry=False, refusals=(), refusal_count=None, upload=None):
        Exception.__init__(self, text)
        self.kind = kind
        self.number = number
        self.operation = operation
        self.message = text if message is None else message
        self.path = path
        self.hint = hint
        self.may_retry = may_retry
        self.refusals = list(refusals)
        self.refusal_count = len(self.refusals) if refusal_count is None else refusal_count
        self.upload = upload

    def __reduce__(self):
        return _again, (type(self), self.args, self.__dict__)


def _again(family, arguments, attributes):
    error = family(*arguments)
    error.__dict__.update(attributes)
    return error


class InvalidInput(Error, ValueError):
    """An argument cannot be used."""


class BadArchive(Error, ValueError):
    """The archive is of no known format, truncated or corrupt."""


class Refused(Error, ValueError):
    """The archive holds entries that are not taken: see ``refusals``."""


class TooSmall(Error):
    """The content does not fit into the target."""


class NotFound(Error, EnvironmentError):
    """The file, directory or entry is not there."""


class Exists(Error, EnvironmentError):
    """There is something at a path where something new is to be made."""


class NotATarget(Error):
    """The target is neither a directory nor a usable disk."""


class Damaged(Error):
    """The target's file system is damaged."""


class Unfinished(Error):
    """An upload was cut off: on a disk that is written in place it must be repeated; in a directory the next
    operation goes on with it."""


class Changing(Error):
    """The target was changing while it was read."""


class ReadOnly(Error, EnvironmentError):
    """The file system is mounted read-only."""


class PermissionDenied(Error, EnvironmentError):
    """The caller may not do this."""


class InUse(Error):
    """Another process, or another thread with the same node, holds the target."""


class GuestOn(Error):
    """The guest is on, and the target can only be written while it is off."""


class NoSpace(Error, EnvironmentError):
    """The storage is full."""


class TimedOut(Error):
    """The time that was given is over."""


class Cancelled(Error):
    """The caller has cancelled the operation."""


class InvokeFailed(Error):
    """The upload stands, but the monitor could not be invoked: see ``upload``."""


class SystemFailure(Error, EnvironmentError):
    """Any other failure of the operating system."""


class InternalError(Error):
    """A fault in the library. Please report it."""


#: By the library's numbers, which are stable.
BY_NUMBER = {
    1: InvalidInput,
    2: BadArchive,
    3: Refused,
    4: TooSmall,
    5: NotFound,
    6: NotATarget,
    7: Damaged,
    8: Unfinished,
    9: Changing,
    10: ReadOnly,
    11: PermissionDenied,
    12: InUse,
    13: GuestOn,
    14: NoSpace,
    15: TimedOut,
    16: Cancelled,
    17: InvokeFailed,
    18: SystemFailure,
    19: InternalError,
    20: Exists,
}
