"""Thousands of nodes watched at once."""

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Callable, Optional

from . import _native
from ._aio import in_thread
from ._errors import Error
from ._native import CancelToken, Status
from ._node import Node

_log = logging.getLogger("nlxtp")


@dataclass(frozen=True)
class Change:
    """What has changed about one node."""

    node: Node
    """The node."""
    status: Optional[Status]
    """Its status now; ``None`` where it cannot be asked."""
    error: Optional[Error]
    """Why it cannot be asked. It is asked again like any other, and the failure is told once."""


class Watcher:
    """Watches any number of nodes, and tells what changes. Each node is asked by itself in turn, often
    while it changes and seldom while it is quiet; there is no thread but the caller's.

    Iterate over it, with ``for`` or ``async for``; nodes may be added and removed meanwhile, by any
    thread. The iteration ends when nobody is watched any more (unless ``forever``), or with
    :meth:`stop`. It belongs to the process that has made it.

    :param shortest: seconds before which no node is asked again; at least 0.01.
    :param longest: each query that finds nothing new doubles the pause before the next one, up to so
        many seconds.
    :param open_files: most files to keep open; half of what the process may open if it is not given.
        For thousands of nodes raise that limit before: 5 files for each directory, 1 for each disk.
    :param forever: go on waiting where nobody is watched.
    :raises ValueError: a time is negative or not a number.

    >>> import tempfile
    >>> container = tempfile.mkdtemp()
    >>> with nlxtp.Watcher() as watcher:
    ...     watcher.add(nlxtp.Node(container))
    ...     for change in watcher:
    ...         print(change.status)
    ...         watcher.remove(change.node)
    not-started (nothing was uploaded here)
    """

    def __init__(
        self,
        *,
        shortest: float = 0.1,
        longest: float = 5.0,
        open_files: Optional[int] = None,
        forever: bool = False,
    ) -> None:
        self._native = _native.Watcher(shortest, longest, open_files)
        self._forever = forever
        self._stopped = CancelToken()
        self._lock = threading.Lock()
        self._closed = False
        self._nodes: "dict[int, Node]" = {}
        self._keys: "dict[int, int]" = {}
        self._next_key = 1

    def add(self, node: Node) -> None:
        """Begins to watch a node. Its first status is a change, and is told next. The watcher asks the
        shared directory by itself; the node can be used as before.

        :raises ValueError: it is watched already, or the watcher is closed.
        :raises NotFoundError: its shared directory is gone.
        :raises InvalidInputError: this process is a fork of the one that made the watcher.
        """
        with self._lock:
            if self._closed:
                raise ValueError("this watcher is closed; make another one")
            if id(node) in self._keys:
                raise ValueError(f"{node!r} is watched already")
            key = self._next_key
            self._next_key += 1
            self._nodes[key] = node
            self._keys[id(node)] = key
        try:
            self._native.add(key, node._native)
        except BaseException:
            self._forget(node)
            raise

    def remove(self, node: Node) -> None:
        """Watches a node no longer; nothing of it is kept open when this returns. The node's
        :attr:`~Node.memory` then is what the watcher remembered.

        :raises KeyError: it is not watched.
        """
        self._native.remove(self._forget(node), node._native)

    def _forget(self, node: Node) -> int:
        with self._lock:
            key = self._keys.pop(id(node), None)
            if key is None:
                raise KeyError(f"{node!r} is not watched")
            del self._nodes[key]
            return key

    def __contains__(self, node: object) -> bool:
        return id(node) in self._keys

    def __len__(self) -> int:
        return len(self._nodes)

    def next(self, *, timeout: Optional[float] = None, cancel: Optional[CancelToken] = None) -> Optional[Change]:
        """Waits for the next change of any node. ``None`` where the iteration would end. Of several
        threads that wait, each change is told to one.

        :param timeout: seconds; as long as it takes if it is not given.
        :raises TimedOutError: the time is over; go on by calling again.
        :raises CancelledError: the token has cancelled it.
        """
        while (told := self._native.next(self._forever, self._stopped, timeout, cancel)) is not None:
            key, status, error = told
            node = self._nodes.get(key)
            # Else it was removed just now.
            if node is not None:
                _log.debug("%s: %s", node.directory.path, status or error)
                return Change(node, status, error)
        return None

    def run(self, on_change: Callable[[Change], object]) -> None:
        """Calls back at each change, until the iteration would end. What the callback raises ends it,
        and it can be called again."""
        for change in self:
            on_change(change)

    def stop(self) -> None:
        """Ends all iterations, from any thread."""
        self._stopped.cancel()

    def close(self) -> None:
        """Stops, and watches nobody any longer: nothing is kept open when this returns, and no node can be
        added. To close it again does nothing. ``with`` does so in the end."""
        self.stop()
        with self._lock:
            self._closed = True
        for node in list(self._nodes.values()):
            # Another thread may have removed it by now.
            with suppress(KeyError):
                self.remove(node)

    def __iter__(self) -> Iterator[Change]:
        while (change := self.next()) is not None:
            yield change

    def __aiter__(self) -> AsyncIterator[Change]:
        return self.changes()

    async def changes(self, executor: Optional[Executor] = None) -> AsyncIterator[Change]:
        """What ``async for`` iterates over, waiting in a thread of this executor; of the loop's, if none is
        given."""
        while True:
            token = CancelToken()
            change = await in_thread(executor, token, lambda: self.next(cancel=token))
            if change is None:
                return
            yield change

    def __repr__(self) -> str:
        return f"<nlxtp.Watcher of {len(self)} nodes>"

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
