"""For programs on asyncio: operations in threads, that end with their task."""

import asyncio
import contextvars
import threading
from concurrent.futures import Executor
from typing import Callable, Optional, TypeVar

from ._native import CancelToken

T = TypeVar("T")


async def in_thread(executor: Optional[Executor], token: CancelToken, call: Callable[[], T]) -> T:
    """Does what may block in a thread of the executor. If the task is cancelled, so is the token, and the
    cancellation is told when the operation has ended: nothing goes on behind the task's back."""
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    lock = threading.Lock()
    begun = given_up = False

    def work() -> T:
        nonlocal begun
        with lock:
            if given_up:
                # Nobody listens any more.
                raise asyncio.CancelledError
            begun = True
        return context.run(call)

    future = loop.run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        token.cancel()
        with lock:
            given_up = not begun
        # What still waits for a thread will do nothing when it gets one.
        while begun and not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                continue
        # However it ends, nobody else will ask.
        future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise
