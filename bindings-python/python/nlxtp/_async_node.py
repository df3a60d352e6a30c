"""The operations on a node for programs on asyncio."""

import asyncio
import functools
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from types import TracebackType
from typing import IO, Callable, Optional, TypeVar, Union

from . import _native
from ._aio import in_thread
from ._native import CancelToken, Status
from ._node import Archive, Node, OnProgress
from ._reports import DownloadReport, Progress, UploadReport
from ._targets import StrPath

T = TypeVar("T")


class AsyncNode:
    """The operations of a node, to be awaited. They run in threads and never block the event loop; when
    their task is cancelled, they end soon and leave what :class:`Node` says. Callbacks are called in
    the loop's thread, the node's own callables (power, invoke) in those of the executor.

    :param node: the node, which can be used as before, too.
    :param executor: where the threads come from; the loop's own executor if it is not given, which
        has few: give one with many threads to make many long uploads at once. Waiting for the end of
        a run takes no thread in between.

    >>> import asyncio, tempfile
    >>> container = tempfile.mkdtemp()
    >>> async def main():
    ...     node = nlxtp.AsyncNode(nlxtp.Node(container, power="off"))
    ...     await node.upload(example_archive)
    ...     return await node.status()
    >>> print(asyncio.run(main()).state)
    not-started
    """

    def __init__(self, node: Node, *, executor: Optional[Executor] = None) -> None:
        self._node = node
        self._executor = executor

    @property
    def node(self) -> Node:
        """The node."""
        return self._node

    async def aclose(self) -> None:
        """Closes the node, as :meth:`Node.close`. ``async with`` does so in the end."""
        await in_thread(self._executor, CancelToken(), self._node.close)

    async def __aenter__(self) -> "AsyncNode":
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.aclose()

    async def upload(
        self, archive: Archive, *, progress: Optional[OnProgress] = None, timeout: Optional[float] = None
    ) -> UploadReport:
        """As :meth:`Node.upload`."""
        return await self._operation(
            lambda token, told: self._node.upload(archive, progress=told, timeout=timeout, cancel=token), progress
        )

    async def status(self) -> Status:
        """As :meth:`Node.status`."""
        return await in_thread(self._executor, CancelToken(), self._node.status)

    async def wait(
        self, *, on_change: Optional[Callable[[Status], object]] = None, timeout: Optional[float] = None
    ) -> Status:
        """As :meth:`Node.wait`."""
        async for status in self._looks(timeout, on_change):
            last = status
        return last

    async def _looks(
        self, timeout: Optional[float], on_change: Optional[Callable[[Status], object]] = None
    ) -> AsyncIterator[Status]:
        """Each status until the run is over."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        waiting = _native.Waiting(self._node._native)
        while True:
            status, changed, over, pause = await in_thread(self._executor, CancelToken(), waiting.look)
            if changed and on_change is not None:
                on_change(status)
            yield status
            if over:
                return
            if end is not None:
                left = end - loop.time()
                if left <= 0:
                    # Says so as everything else does.
                    _native.pause(0, 0, None)
                pause = min(pause, left)
            await asyncio.sleep(pause)

    async def download(
        self,
        archive: Union[StrPath, IO[bytes]],
        *,
        format: Optional[str] = None,
        level: Optional[int] = None,
        replace: bool = False,
        retries: int = 0,
        progress: Optional[OnProgress] = None,
        timeout: Optional[float] = None,
    ) -> DownloadReport:
        """As :meth:`Node.download`."""
        return await self._operation(
            lambda token, told: self._node.download(
                archive,
                format=format,
                level=level,
                replace=replace,
                retries=retries,
                progress=told,
                timeout=timeout,
                cancel=token,
            ),
            progress,
        )

    async def output(
        self, stream: str = "stdout", *, offset: int = 0, limit: int = 64 << 20, status: Optional[Status] = None
    ) -> bytes:
        """As :meth:`Node.output`."""
        read = functools.partial(self._node.output, stream, offset=offset, limit=limit, status=status)
        return await in_thread(self._executor, CancelToken(), read)

    async def follow(
        self, stream: str = "stdout", *, offset: int = 0, timeout: Optional[float] = None
    ) -> AsyncIterator[bytes]:
        """As :meth:`Node.follow`."""
        async for status in self._looks(timeout):
            while piece := await in_thread(
                self._executor,
                CancelToken(),
                functools.partial(self._node._piece, stream, offset, status, not status.running),
            ):
                offset += len(piece)
                yield piece

    async def _operation(
        self, operation: Callable[[CancelToken, Optional[OnProgress]], T], progress: Optional[OnProgress]
    ) -> T:
        """Has progress told in the loop's thread, where what it raises ends the operation."""
        token = CancelToken()
        raised: "list[BaseException]" = []
        loop = asyncio.get_running_loop()

        def tell(done: Progress) -> None:
            try:
                if progress is not None and not raised:
                    progress(done)
            except BaseException as error:
                raised.append(error)
                token.cancel()

        def told(done: Progress) -> None:
            loop.call_soon_threadsafe(tell, done)

        try:
            return await in_thread(
                self._executor, token, lambda: operation(token, None if progress is None else told)
            )
        finally:
            if raised:
                raise raised[0]

    def __repr__(self) -> str:
        return f"nlxtp.AsyncNode({self._node!r})"
