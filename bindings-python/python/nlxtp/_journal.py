"""The journal of what was done to which node."""

import os

from . import _native
from ._targets import StrPath, encoded


class Journal:
    """A journal on this host: what was uploaded to which node, when each run was seen to start and to end, and
    what was downloaded. Give it to nodes; any number of them, of threads and of processes may have it. After a
    :func:`os.fork` the child can go on with it. ``nlxtp journal`` shows, verifies and replays what it holds.

    :param path: the file, which is made where there is none. It is open only while a line is written.
    :param keep_archives: keep a copy of each uploaded archive for a replay, in the folder of the journal's name
        with ``.d``.
    :raises NotFoundError: there is no such folder.
    :raises InvalidInputError: the file holds anything but a journal.

    >>> import json, os, tempfile
    >>> container, folder = tempfile.mkdtemp(), tempfile.mkdtemp()
    >>> journal = nlxtp.Journal(os.path.join(folder, "experiment.jsonl"))
    >>> node = nlxtp.Node(container, journal=journal, name="client")
    >>> report = node.upload(example_archive)
    >>> with open(journal) as lines:
    ...     [(line["node"], line["event"]) for line in map(json.loads, lines)]
    [('client', 'upload')]
    """

    def __init__(self, path: StrPath, *, keep_archives: bool = False) -> None:
        self._native = _native.Journal(encoded(path), keep_archives)
        self._keep_archives = keep_archives

    @property
    def path(self) -> str:
        """Where it is, from ``/`` on."""
        return os.fsdecode(self._native.path)

    @property
    def keep_archives(self) -> bool:
        """Whether it keeps archives."""
        return self._keep_archives

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        keeping = ", keep_archives=True" if self._keep_archives else ""
        return f"nlxtp.Journal({self.path!r}{keeping})"
