"""Programs on asyncio, and watchers."""

import asyncio
import threading
from pathlib import Path

import pytest

import nlxtp
from conftest import EXAMPLE
from test_node import put_status


def test_the_cycle_can_be_awaited(tmp_path: Path) -> None:
    async def main() -> None:
        node = nlxtp.AsyncNode(nlxtp.Node(tmp_path))
        told: "list[nlxtp.Progress]" = []
        assert (await node.upload(EXAMPLE, progress=told.append)).entries == 1
        assert (await node.status()).state == "not-started"
        (tmp_path / "ended").mkdir()
        put_status(tmp_path / "ended", "finished.status")
        assert (await nlxtp.AsyncNode(nlxtp.Node(tmp_path / "ended")).wait(timeout=60)).done
        assert (await node.download(tmp_path.with_suffix(".tar"))).files >= 1
        assert told

    asyncio.run(main())


def test_a_cancelled_task_ends_its_wait(tmp_path: Path) -> None:
    put_status(tmp_path, "running.status")

    async def main() -> None:
        task = asyncio.ensure_future(nlxtp.AsyncNode(nlxtp.Node(tmp_path)).wait())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(nlxtp.TimedOutError):
            await nlxtp.AsyncNode(nlxtp.Node(tmp_path)).wait(timeout=0)

    asyncio.run(main())


def test_a_watcher_tells_of_each_node(tmp_path: Path) -> None:
    nodes = []
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        nodes.append(nlxtp.Node(tmp_path / str(number)))
    watcher = nlxtp.Watcher(shortest=0.01)
    for node in nodes:
        watcher.add(node)
    assert len(watcher) == 20
    left = set(nodes)
    for change in watcher:
        assert change.status is not None
        if change.status.done:
            left.discard(change.node)
            watcher.remove(change.node)
        else:
            put_status(Path(change.node.directory.path), "finished.status")
    assert not left and watcher.next() is None


def test_a_watcher_is_changed_and_stopped_by_other_threads(tmp_path: Path) -> None:
    watcher = nlxtp.Watcher(forever=True)
    node = nlxtp.Node(tmp_path)
    with pytest.raises(nlxtp.TimedOutError):
        watcher.next(timeout=0.05)
    threading.Timer(0.1, watcher.add, (node,)).start()
    change = watcher.next(timeout=60)
    assert change is not None and change.node is node
    threading.Timer(0.1, watcher.remove, (node,)).start()
    threading.Timer(0.3, watcher.stop).start()

    async def main() -> None:
        async for _ in watcher:
            pass

    asyncio.run(main())
