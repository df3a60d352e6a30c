"""A node, and the operations on it."""

import logging
import os
import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, Callable, Optional, Union

from . import _native
from ._errors import ChangingError, Error
from ._journal import Journal
from ._native import CancelToken, Status
from ._reports import DownloadReport, Progress, UploadReport
from ._targets import DiskImage, HostDirectory, StrPath, encoded, open_target
from ._words import Power

Archive = Union[str, "os.PathLike[str]", "os.PathLike[bytes]", bytes, bytearray, memoryview, IO[bytes]]
"""What an upload takes: a path, a binary file object, or the archive's own bytes."""

OnProgress = Callable[[Progress], object]
"""Is told how far an operation is, at most some 20 times a second. What it raises ends the operation."""

PowerSource = Union[Power, str, bool, None, Callable[[], Union[Power, str, bool, None]]]
"""Whether the guest is on: a word, or a callable that is asked at each operation. ``True`` stands for
``"on"``, ``False`` for ``"off"``, ``None`` for ``"unknown"``."""

_log = logging.getLogger("nlxtp")


class Node:
    """A virtual machine or container that is controlled through its shared directory.

    Threads may share a node: each operation holds back others only where the storage demands it, and
    a status can be had while an archive is on its way. After a :func:`os.fork` the child can go on
    with it, too. It can be the context of a ``with``, which closes it in the end; see :meth:`close`.

    :param directory: the shared directory, or its path.
    :param power: whether the guest is on: ``"on"`` or ``True``, ``"off"`` or ``False``, ``"unknown"`` or
        ``None``, or a callable that returns one of these whenever it matters. A disk can be written only
        while the guest is off.
    :param invoke: starts the monitor inside the running guest, such as by ``lxc-attach``; it need not
        wait for the run to end. Without it, the daemon in the guest has to notice an upload.
    :param memory: what :attr:`memory` gave for this node in another process.
    :param follow_links: on a disk, which has no links, upload a copy of what a link in the archive
        leads to.
    :param max_entries: most files, directories and links in an archive or the shared directory; a
        million if it is not given.
    :param max_bytes: most bytes of all files together, unpacked; 64 GiB if it is not given.
    :param grace: seconds that the monitor may be silent beyond three of the intervals that it
        promised; 5 if it is not given.
    :param tomato_patience: the same for ToMaTo's guest modules, which promise nothing; 600 if it is
        not given.
    :param threads: how many threads compress a download; as many as there are processors if it is not
        given.
    :param keep_open: keep files open from one status query to the next, which makes them cheaper. A
        directory's file system cannot be unmounted meanwhile.
    :param journal: where each upload, start, end and download is recorded. Where it cannot be written to, an
        upload or download fails before anything is touched.
    :param name: the node's name in the journal, by which a replay finds it: the same in every process, and no
        other node's.
    :raises NotFoundError: there is nothing at this path.
    :raises NotATargetError: it is neither a directory nor a disk with a FAT file system.
    :raises InvalidInputError: a word, a time, the memory or the name cannot be used, or the journal lies in the
        shared directory.

    >>> import tempfile
    >>> container = tempfile.mkdtemp()
    >>> node = nlxtp.Node(container, power=False)
    >>> report = node.upload(example_archive)
    >>> print(report.start_script, report.execution)
    auto_exec.sh at-boot
    >>> print(node.status().state)
    not-started
    """

    def __init__(
        self,
        directory: Union[HostDirectory, DiskImage, StrPath],
        *,
        power: PowerSource = Power.UNKNOWN,
        invoke: Optional[Callable[[], object]] = None,
        memory: Optional[str] = None,
        follow_links: bool = False,
        max_entries: Optional[int] = None,
        max_bytes: Optional[int] = None,
        grace: Optional[float] = None,
        tomato_patience: Optional[float] = None,
        threads: Optional[int] = None,
        keep_open: bool = False,
        journal: Optional[Journal] = None,
        name: Union[str, bytes, None] = None,
    ) -> None:
        if not isinstance(directory, (HostDirectory, DiskImage)):
            directory = open_target(directory)
        self._directory = directory
        self._power = power
        self._invoker = invoke
        self._journal = journal
        self._journal_failure: Optional[Error] = None
        self._native = _native.Node(
            os.fsencode(directory),
            isinstance(directory, DiskImage),
            weakref.ref(self),
            power=None if callable(power) else _power_word(power),
            invokes=invoke is not None,
            follow_links=follow_links,
            max_entries=max_entries,
            max_bytes=max_bytes,
            grace=grace,
            tomato_patience=tomato_patience,
            threads=threads,
            keep_open=keep_open,
            memory=memory,
            journal=None if journal is None else journal._native,
            name=None if name is None else os.fsencode(name),
        )

    @property
    def directory(self) -> Union[HostDirectory, DiskImage]:
        """The shared directory."""
        return self._directory

    @property
    def memory(self) -> Optional[str]:
        """What must be remembered for the next query, should that come from another process: a small
        JSON value for ``Node(memory=…)``. ``None`` where there is nothing to remember."""
        return self._native.memory

    @property
    def journal(self) -> Optional[Journal]:
        """The journal that it was given."""
        return self._journal

    def journal_failure(self) -> Optional[Error]:
        """Why something that was done or seen since this was called last is not in the journal; ``None`` where
        all of it is, or there is no journal. It was logged as a warning, too. Of what a :class:`Watcher` sees,
        this tells once the node is not watched any more."""
        self._look_at_journal()
        failure, self._journal_failure = self._journal_failure, None
        return failure

    def _look_at_journal(self) -> None:
        failure = None if self._journal is None else self._native.take_journal_failure()
        if failure is not None:
            _log.warning("%s: not in the journal: %s", self._directory.path, failure)
            self._journal_failure = self._journal_failure or failure

    def close(self) -> None:
        """Closes the files that ``keep_open`` keeps open, and ends the use of the node: every operation then
        raises :exc:`InvalidInputError`. Those under way go on to their end, and a watcher goes on to watch
        it. :attr:`memory` can still be had. To close it again does nothing.

        >>> import tempfile
        >>> with nlxtp.Node(tempfile.mkdtemp(), keep_open=True) as node:
        ...     print(node.status().state)
        not-started
        >>> node.closed
        True
        """
        self._native.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._native.closed

    def __enter__(self) -> "Node":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def upload(
        self,
        archive: Archive,
        *,
        progress: Optional[OnProgress] = None,
        timeout: Optional[float] = None,
        cancel: Optional[CancelToken] = None,
    ) -> UploadReport:
        """Replaces the shared directory's content by the archive's (tar, tar.gz, tar.zst or zip), and has
        the start script executed. It happens whole or not at all: after a failure the old content is
        as it was, but for :exc:`InvokeFailedError` (the new content stands) and :exc:`UnfinishedError`.

        :param archive: its path, a binary file object, or its bytes. A file object is read from its
            beginning; one that cannot be sought in is first copied to a temporary file, by another
            thread.
        :param progress: is called with a :class:`Progress`; what it raises ends the upload.
        :param timeout: seconds; as long as it takes if it is not given.
        :param cancel: lets another thread end it.
        :raises GuestOnError: the guest is on, and the storage is a disk.
        :raises BadArchiveError: it is no archive, or a damaged one.
        :raises RefusedError: it holds entries that are not taken.
        :raises TooSmallError: it does not fit.
        :raises InUseError: somebody else is writing. Trying again later may help.
        :raises NoSpaceError: the storage is full.
        :raises InvokeFailedError: the monitor could not be invoked.
        :raises TimedOutError: the time is over.
        :raises CancelledError: the token has cancelled it.
        """
        source: "tuple[str, Any]"
        if isinstance(archive, (bytes, bytearray, memoryview)):
            source = ("bytes", bytes(archive))
        elif isinstance(archive, (str, os.PathLike)):
            source = ("path", encoded(archive))
        elif callable(getattr(archive, "read", None)):
            source = ("file", archive)
        else:
            raise TypeError(f"archive must be a path, bytes or a binary file object, not {type(archive).__name__}")
        try:
            report = UploadReport.from_json(self._native.upload(source, _told(progress), timeout, cancel))
        finally:
            # It may stand although its monitor could not be invoked.
            self._look_at_journal()
        _log.info("%s: uploaded run %s, %s", self._directory.path, report.run_id, report.execution)
        if report.left_out:
            _log.warning("%s: left out what belongs to the protocol: %s", self._directory.path, report.left_out)
        for warning in report.warnings:
            _log.warning("%s: %s", self._directory.path, warning)
        return report

    def status(self) -> Status:
        """Tells how far the run has come. A status that is just being written is read again, for at most a
        second; one that cannot be read is no error but :attr:`State.UNREADABLE`.

        :raises NotFoundError: the shared directory is gone.
        :raises CallableError: the callable that tells whether the guest is on has raised.
        """
        status = self._native.status()
        self._look_at_journal()
        return status

    def wait(
        self,
        *,
        on_change: Optional[Callable[[Status], object]] = None,
        timeout: Optional[float] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Status:
        """Waits until the run has ended one way or another: finished, monitor stopped, guest rebooted.

        :param on_change: is shown each status that differs from the one before. What it raises ends
            the wait.
        :param timeout: seconds; as long as it takes if it is not given. 0 looks once.
        :param cancel: lets another thread end it.
        :raises TimedOutError: the time is over.
        :raises CancelledError: the token has cancelled it.
        :raises ChangingError: another upload has begun a new run.
        """
        try:
            status = self._native.wait(on_change, timeout, cancel)
        finally:
            self._look_at_journal()
        _log.info("%s: %s", self._directory.path, status)
        return status

    def download(
        self,
        archive: Union[StrPath, IO[bytes]],
        *,
        format: Optional[str] = None,
        level: Optional[int] = None,
        replace: bool = False,
        retries: int = 0,
        progress: Optional[OnProgress] = None,
        timeout: Optional[float] = None,
        cancel: Optional[CancelToken] = None,
    ) -> DownloadReport:
        """Packs the whole shared directory into an archive. At a path it stands only when it is complete;
        what was written to a file object is of no use after a failure.

        Where the guest has written digests of its files, those in the archive are compared with them. That they
        differ raises nothing: :attr:`DownloadReport.verification` says so.

        :param archive: a path, or a binary file object, which is written to from its position on. Where a
            named pipe is at the path, the download waits for somebody to read it.
        :param format: ``"tar.gz"``, ``"tar"`` or ``"tar.zst"``; what the path ends with, or else
            tar.gz, if it is not given.
        :param level: of the compression: 0 to 9 for tar.gz, 1 to 22 for tar.zst.
        :param replace: replace an existing file.
        :param retries: how often to begin anew, at most, where something changed while it was packed;
            only for paths.
        :param progress: is called with a :class:`Progress`; what it raises ends the download.
        :param timeout: seconds; as long as it takes if it is not given.
        :param cancel: lets another thread end it.
        :raises ExistsError: there is a file at this path, and it is not to be replaced.
        :raises ChangingError: the guest changed a disk meanwhile. Trying again may help.
        :raises NoSpaceError: the storage that it goes to is full.
        :raises TimedOutError: the time is over.
        :raises CancelledError: the token has cancelled it.
        """
        is_file = callable(getattr(archive, "write", None))
        if is_file and retries:
            raise ValueError("retries need a path: what was written to a file object cannot be taken back")
        sink: Any = archive if is_file else encoded(archive)  # type: ignore[arg-type]
        packed = self._native.download(sink, format, level, replace, retries, _told(progress), timeout, cancel)
        report = DownloadReport.from_json(*packed)
        self._look_at_journal()
        _log.info("%s: downloaded %d files", self._directory.path, report.files)
        if not report.is_settled:
            _log.warning("%s: changed while it was downloaded", self._directory.path)
        if report.verification.outcome not in ("verified", "no-digests"):
            _log.warning("%s: the download is not what the guest's digests say", self._directory.path)
        return report

    def output(
        self,
        stream: str = "stdout",
        *,
        offset: int = 0,
        limit: int = 64 << 20,
        status: Optional[Status] = None,
    ) -> bytes:
        """One of the start script's outputs, from an offset on, and never more than the guest says to be
        on the disk. Empty where there is no more yet.

        :param stream: ``"stdout"`` or ``"stderr"``. ToMaTo's guest modules have both in ``"stdout"``.
        :param offset: bytes to leave out at the beginning, such as what was read before.
        :param limit: most bytes to return, since a guest may have written very many; 64 MiB if it is
            not given. Read on at an offset, or :meth:`follow`, for more.
        :param status: what a query has just found; without it, the status is queried first.
        :raises InvalidInputError: there is no such stream.
        :raises NotFoundError: the shared directory is gone.

        >>> import tempfile
        >>> nlxtp.Node(tempfile.mkdtemp()).output("stderr")
        b''
        """
        return self._native.output(stream, offset, limit, status)

    def follow(
        self,
        stream: str = "stdout",
        *,
        offset: int = 0,
        timeout: Optional[float] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Iterator[bytes]:
        """Yields what the start script writes to one of its outputs, as it comes, until the run has ended.
        Arguments are as for :meth:`output` and :meth:`wait`, and so are the exceptions.

        >>> import tempfile
        >>> next(nlxtp.Node(tempfile.mkdtemp()).follow(timeout=0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nlxtp.TimedOutError: ...
        """
        waiting = _native.Waiting(self._native)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            status, _, over, pause = waiting.look()
            while piece := self._piece(stream, offset, status, over):
                offset += len(piece)
                yield piece
            if over:
                return
            _native.pause(pause, None if end is None else end - time.monotonic(), cancel)

    def _piece(self, stream: str, offset: int, status: Status, over: bool) -> bytes:
        """The next piece of an output. A disk that the guest is just writing to has one at the next look."""
        try:
            return self._native.output(stream, offset, 1 << 20, status)
        except ChangingError:
            if over:
                raise
            return b""

    def _ask_power(self) -> str:
        power: Any = self._power
        return _power_word(power() if callable(power) else power)

    def _invoke(self) -> None:
        if self._invoker is not None:
            self._invoker()

    def __repr__(self) -> str:
        return f"nlxtp.Node({self._directory!r})"


def _power_word(answer: object) -> str:
    if answer is None:
        return str(Power.UNKNOWN)
    if isinstance(answer, bool):
        return str(Power.ON if answer else Power.OFF)
    return str(answer)


def _told(progress: Optional[OnProgress]) -> Optional[Callable[[str, int, Optional[int]], object]]:
    if progress is None:
        return None
    callback = progress
    return lambda phase, done, total: callback(Progress(phase, done, total))
