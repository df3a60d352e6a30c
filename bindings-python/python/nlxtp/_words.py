"""The protocol's words."""

import enum


class _Word(str, enum.Enum):
    def __str__(self) -> str:
        return str(self.value)


class State(_Word):
    """The state of a run. Each is equal to its word, and its word is its string.

    >>> State.FINISHED == "finished"
    True
    >>> print(State.MONITOR_STOPPED)
    monitor-stopped
    """

    NOT_STARTED = "not-started"
    """No monitor has taken the run up."""
    RUNNING = "running"
    """The start script runs, as far as can be told."""
    FINISHED = "finished"
    """The start script has ended and its results are on the disk."""
    MONITOR_STOPPED = "monitor-stopped"
    """The monitor no longer reports: it was stopped or killed, or the guest was turned off."""
    GUEST_REBOOTED = "guest-rebooted"
    """The guest was booted anew before the start script had ended."""
    UNREADABLE = "unreadable"
    """There is a status, but it cannot be read."""


class Power(_Word):
    """Whether a guest is on."""

    ON = "on"
    """The guest runs, or may be about to."""
    OFF = "off"
    """The guest is shut down, and stays so for the length of the call."""
    UNKNOWN = "unknown"
    """Nobody can say."""


class Execution(_Word):
    """How the start script comes to be executed after an upload."""

    NO_START_SCRIPT = "no-start-script"
    """The archive holds no start script: nothing will be executed."""
    AT_BOOT = "at-boot"
    """The guest is off: when it boots."""
    INVOKED = "invoked"
    """The host has invoked the monitor."""
    BY_DAEMON = "by-daemon"
    """The daemon in the guest will notice it."""


class CustomStatus(bytes):
    """The Custom Status: the bytes that the start script has set, which mostly are text.

    >>> custom = CustomStatus("3 of 7 ✓".encode())
    >>> str(custom)
    '3 of 7 ✓'
    >>> bytes(custom)
    b'3 of 7 \\xe2\\x9c\\x93'
    >>> str(CustomStatus(b"not text: \\xff"))
    'not text: �'
    """

    __slots__ = ()

    def __str__(self) -> str:
        """As text; what is not UTF-8 becomes U+FFFD."""
        return self.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"CustomStatus({bytes(self)!r})"
