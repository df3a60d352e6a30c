"""Watchers: many nodes at once."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

import nlxtp
from conftest import MakeTarget
from guest import Guest, Record

FINISHED = Record(sequence=2, state="finished", ended="exit 0", done=True)


def test_each_change_of_each_node_is_told(make_target: MakeTarget) -> None:
    guests = {}
    watcher = nlxtp.Watcher(shortest=0.01)
    for number in range(20):
        guest = Guest(make_target(f"node-{number}"))
        node = nlxtp.Node(guest.target)
        guests[node] = guest
        watcher.add(node)
        assert node in watcher
    assert len(watcher) == 20
    told: "dict[nlxtp.Node, list[str]]" = {node: [] for node in guests}
    for change in watcher:
        assert change.status is not None and change.error is None
        told[change.node].append(change.status.state.value)
        if change.status.done:
            watcher.remove(change.node)
        else:
            guests[change.node].write_record(Record() if len(told[change.node]) == 1 else FINISHED)
    assert set(map(tuple, told.values())) == {("not-started", "running", "finished")}
    assert len(watcher) == 0 and watcher.next() is None


def test_hundreds_of_nodes_are_watched_by_one_thread(tmp_path: Path) -> None:
    nodes = []
    for number in range(500):
        (tmp_path / str(number)).mkdir()
        nodes.append(nlxtp.Node(tmp_path / str(number)))
    before = threading.active_count()
    with nlxtp.Watcher(shortest=0.01, longest=0.5) as watcher:
        for node in nodes:
            watcher.add(node)
        seen = {watcher.next(timeout=120).node for _ in nodes}  # type: ignore[union-attr]
        assert seen == set(nodes) and threading.active_count() == before
        for node in nodes:
            Guest(node.directory).write_record(FINISHED)
        done = set()

        def ended(change: nlxtp.Change) -> None:
            done.add(change.node)
            watcher.remove(change.node)

        watcher.run(ended)
        assert done == set(nodes)


def test_a_node_that_fails_is_told_once_and_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / "lost").mkdir()
    (tmp_path / "well").mkdir()

    def broken() -> str:
        raise LookupError("no such guest")

    lost, well, unknown = (
        nlxtp.Node(tmp_path / "lost"),
        nlxtp.Node(tmp_path / "well"),
        nlxtp.Node(tmp_path / "well", power=broken),
    )
    watcher = nlxtp.Watcher(shortest=0.01)
    for node in [lost, well, unknown]:
        watcher.add(node)
    os.rmdir(tmp_path / "lost")
    told = {}
    for _ in range(3):
        change = watcher.next(timeout=60)
        assert change is not None
        told[change.node] = change
    assert isinstance(told[lost].error, nlxtp.NotFoundError) and told[lost].status is None
    failed = told[unknown].error
    assert isinstance(failed, nlxtp.CallableError) and isinstance(failed.__cause__, LookupError)
    assert told[well].status is not None
    with pytest.raises(nlxtp.TimedOutError):
        watcher.next(timeout=0.3)
    (tmp_path / "lost").mkdir()
    change = watcher.next(timeout=60)
    assert change is not None and change.node is lost and change.status is not None


def test_it_is_changed_and_stopped_by_other_threads(tmp_path: Path) -> None:
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
    assert node not in watcher


def test_several_threads_share_what_is_told(tmp_path: Path) -> None:
    nodes = []
    for number in range(100):
        (tmp_path / str(number)).mkdir()
        nodes.append(nlxtp.Node(tmp_path / str(number)))
    watcher = nlxtp.Watcher(shortest=0.01)
    for node in nodes:
        watcher.add(node)
    told: "list[nlxtp.Node]" = []

    def iterate() -> None:
        for change in watcher:
            told.append(change.node)
            watcher.remove(change.node)

    threads = [threading.Thread(target=iterate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert len(told) == 100 and set(told) == set(nodes)


def test_memory_comes_back_from_a_watcher(tmp_path: Path) -> None:
    Guest(nlxtp.HostDirectory(tmp_path)).write_record(Record(interval_ms=86_400_000, boot="11" * 16))
    node = nlxtp.Node(tmp_path)
    with nlxtp.Watcher() as watcher:
        watcher.add(node)
        assert watcher.next(timeout=60) is not None
    assert node.memory is not None and "11" * 16 in node.memory
    Guest(nlxtp.HostDirectory(tmp_path)).write_record(Record(sequence=2, boot="22" * 16))
    assert node.status().state == "guest-rebooted"


def test_what_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    watcher = nlxtp.Watcher()
    node = nlxtp.Node(tmp_path)
    watcher.add(node)
    with pytest.raises(ValueError, match="watched already"):
        watcher.add(node)
    watcher.remove(node)
    with pytest.raises(KeyError):
        watcher.remove(node)
    with pytest.raises(ValueError):
        nlxtp.Watcher(shortest=-1)

    def raising(_: nlxtp.Change) -> None:
        raise LookupError("no such window")

    watcher.add(node)
    with pytest.raises(LookupError):
        watcher.run(raising)
    # It can be gone on with.
    Guest(nlxtp.HostDirectory(tmp_path)).write_record(FINISHED)
    change = watcher.next(timeout=60)
    assert change is not None and change.status is not None and change.status.done


def test_a_watcher_that_is_closed(tmp_path: Path) -> None:
    watcher = nlxtp.Watcher(forever=True)
    node = nlxtp.Node(tmp_path)
    watcher.add(node)
    assert watcher.next(timeout=60) is not None
    waiting = threading.Thread(target=lambda: list(watcher))
    waiting.start()
    watcher.close()
    waiting.join(60)
    assert not waiting.is_alive() and len(watcher) == 0 and watcher.next() is None
    watcher.close()
    with pytest.raises(ValueError, match="this watcher is closed"):
        watcher.add(node)
    assert node not in watcher and node.status().state is nlxtp.State.NOT_STARTED


def test_waiting_for_a_change_is_cancelled(tmp_path: Path) -> None:
    watcher = nlxtp.Watcher(forever=True)
    token = nlxtp.CancelToken()
    threading.Timer(0.1, token.cancel).start()
    with pytest.raises(nlxtp.CancelledError) as cancelled:
        watcher.next(cancel=token, timeout=60)
    assert cancelled.value.operation == "watch"

    async def main() -> None:
        changes = asyncio.ensure_future(watcher.changes().__anext__())
        await asyncio.sleep(0.1)
        changes.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changes

    asyncio.run(main())
    watcher.add(nlxtp.Node(tmp_path))
    assert watcher.next(timeout=60) is not None
