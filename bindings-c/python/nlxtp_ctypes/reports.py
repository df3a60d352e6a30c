"""What operations tell: values that hold no handle of the library's."""

import ctypes
import json

from . import texts
from .library import UNKNOWN

_EXECUTIONS = {0: "no-start-script", 1: "at-boot", 2: "invoked", 3: "by-daemon"}
_VERIFICATIONS = {0: "no-digests", 1: "verified", 2: "differs", 3: "unusable"}
_DIALECTS = {0: None, 1: "nlxtp", 2: "tomato"}


class _Report(object):
    """Attributes that do not change, and the library's JSON form of them."""

    _fields = ()

    def __init__(self, text, **fields):
        object.__setattr__(self, "_json", text)
        for name in self._fields:
            object.__setattr__(self, name, fields[name])

    def __setattr__(self, name, value):
        raise AttributeError("a %s does not change" % type(self).__name__)

    __delattr__ = __setattr__

    def json(self):
        """The whole report as one line of JSON, as the command ``nlxtp`` prints it."""
        return self._json

    def as_dict(self):
        """The same as a dictionary."""
        return json.loads(self._json)

    def __eq__(self, other):
        return type(self) is type(other) and self._json == other._json

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(self._json)

    def __repr__(self):
        fields = ", ".join("%s=%r" % (name, getattr(self, name)) for name in self._fields)
        return "%s(%s)" % (type(self).__name__, fields)


class Status(_Report):
    """What a status query found.

    ``state``: ``"not-started"``, ``"running"``, ``"finished"``, ``"monitor-stopped"``,
    ``"guest-rebooted"`` or ``"unreadable"``. ``done``: the Done Flag. ``running``: whether the run is
    under way. ``custom``: the Custom Status, ``bytes``, or ``None``. ``progress``: steps done and steps in
    all, where the start script tells them, or ``None``. ``dialect``: ``"nlxtp"``, ``"tomato"``, or ``None``
    where nobody has written yet.
    """

    _fields = (
        "state", "done", "running", "reason", "custom", "progress", "exit_code", "signal", "timed_out", "sequence", "run_id",
        "stdout_bytes", "stderr_bytes", "stdout_truncated", "stderr_truncated", "custom_truncated", "dialect",
        "attempts",
    )  # fmt: skip


class Upload(_Report):
    """What an upload did. ``execution``: ``"no-start-script"``, ``"at-boot"``, ``"invoked"`` or
    ``"by-daemon"``. ``left_out``: how many entries were left out because their names belong to the protocol;
    ``lost_modes``, ``lost_owners``: how many lose these. ``warnings``: what may keep the start script from
    running as it was meant."""

    _fields = (
        "run_id", "entries", "bytes", "start_script", "execution", "left_out", "lost_modes", "lost_owners", "warnings",
    )  # fmt: skip


class Download(_Report):
    """What a download took home. ``changed``: files that changed while they were read; ``left_out``:
    entries that the archive lacks; the JSON form names both. ``attempts``: how often it was packed.
    ``settled``: whether nothing is known to have changed or vanished in the last of them. ``verification``: what
    came of comparing it with the guest's digests, ``"no-digests"``, ``"verified"``, ``"differs"`` or
    ``"unusable"``; the JSON form has the particulars."""

    _fields = (
        "files", "directories", "symlinks", "bytes", "archive_bytes", "changed", "left_out", "attempts", "settled",
        "verification",
    )  # fmt: skip


class Disk(_Report):
    """What a disk was like. ``partition_offset``, ``partition_bytes``: where partition 1 lies; ``None`` where the
    file system is the whole disk. ``unfinished``: whether an upload was cut off, or was under way; there was no
    file system then, and what follows is ``None``. ``fat_bits``: 12, 16 or 32. ``label``: escaped for showing;
    ``None`` where there is none. ``free_bytes``: what of ``capacity_bytes`` was free; an upload, which replaces
    everything, can take all of it."""

    _fields = (
        "bytes", "partition_offset", "partition_bytes", "unfinished", "fat_bits", "cluster_bytes", "label", "serial",
        "capacity_bytes", "free_bytes",
    )  # fmt: skip


# Python 2 makes a `long` of 64 bits from C, which some of its own protocols cannot take: hence `int`.


def _size(number):
    return None if number == UNKNOWN else int(number)


def status(library, handle):
    """A status, read from its handle, which stays the caller's."""

    def text(name):
        return texts.native(getattr(library, "nlxtp_status_" + name)(handle))

    def value(name):
        return getattr(library, "nlxtp_status_" + name)(handle)

    length = ctypes.c_size_t()
    custom = library.nlxtp_status_custom(handle, ctypes.byref(length))
    exit_code, steps = value("exit_code"), int(value("progress_total"))
    return Status(
        text("json"),
        state=text("state_word"),
        done=value("done"),
        running=value("running"),
        reason=text("reason"),
        custom=None if custom is None else ctypes.string_at(custom, length.value),
        progress=(int(value("progress_done")), steps) if steps else None,
        exit_code=None if exit_code < 0 else exit_code,
        signal=value("signal") or None,
        timed_out=value("timed_out"),
        sequence=int(value("sequence")) or None,
        run_id=text("run_id"),
        stdout_bytes=_size(value("stdout_bytes")),
        stderr_bytes=_size(value("stderr_bytes")),
        stdout_truncated=value("stdout_truncated"),
        stderr_truncated=value("stderr_truncated"),
        custom_truncated=value("custom_truncated"),
        dialect=_DIALECTS.get(value("dialect")),
        attempts=int(value("attempts")),
    )


def upload(library, handle):
    """An upload's report, read from its handle."""
    return Upload(
        texts.native(library.nlxtp_upload_json(handle)),
        run_id=texts.native(library.nlxtp_upload_run_id(handle)),
        entries=int(library.nlxtp_upload_entries(handle)),
        bytes=int(library.nlxtp_upload_bytes(handle)),
        start_script=texts.native(library.nlxtp_upload_start_script(handle)),
        execution=_EXECUTIONS.get(library.nlxtp_upload_execution(handle), "other"),
        left_out=int(library.nlxtp_upload_left_out(handle)),
        lost_modes=int(library.nlxtp_upload_lost_modes(handle)),
        lost_owners=int(library.nlxtp_upload_lost_owners(handle)),
        warnings=[
            texts.native(library.nlxtp_upload_warning(handle, index))
            for index in range(library.nlxtp_upload_warning_count(handle))
        ],
    )


def download(library, handle):
    """A download's report, read from its handle."""
    return Download(
        texts.native(library.nlxtp_download_json(handle)),
        files=int(library.nlxtp_download_files(handle)),
        directories=int(library.nlxtp_download_directories(handle)),
        symlinks=int(library.nlxtp_download_symlinks(handle)),
        bytes=int(library.nlxtp_download_bytes(handle)),
        archive_bytes=int(library.nlxtp_download_archive_bytes(handle)),
        changed=int(library.nlxtp_download_changed(handle)),
        left_out=int(library.nlxtp_download_left_out(handle)),
        attempts=int(library.nlxtp_download_attempts(handle)),
        settled=library.nlxtp_download_settled(handle),
        verification=_VERIFICATIONS.get(library.nlxtp_download_verification(handle), "other"),
    )


def disk(library, handle):
    """What a disk was like, read from its handle."""

    def number(name):
        return int(getattr(library, "nlxtp_disk_" + name)(handle))

    offset, unfinished = number("partition_offset"), library.nlxtp_disk_unfinished(handle)
    fat = ("fat_bits", "cluster_bytes", "serial", "capacity_bytes", "free_bytes")
    return Disk(
        texts.native(library.nlxtp_disk_json(handle)),
        bytes=number("bytes"),
        partition_offset=offset or None,
        partition_bytes=number("partition_bytes") if offset else None,
        unfinished=unfinished,
        label=texts.native(library.nlxtp_disk_label(handle)),
        **dict((name, None if unfinished else number(name)) for name in fat)
    )
