"""Programs on asyncio."""

import asyncio
import contextvars
import io
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import nlxtp
from conftest import EXAMPLE, MakeTarget, Target, archive, content_of
from guest import Guest, Record


def test_the_cycle_can_be_awaited(guest: Guest, tmp_path: Path) -> None:
    async def main() -> None:
        node = nlxtp.AsyncNode(nlxtp.Node(guest.target))
        told: "list[nlxtp.Progress]" = []
        report = await node.upload(EXAMPLE, progress=told.append)
        assert (report.entries, (await node.status()).state) == (1, "not-started")
        assert told
        guest.write("exec_status/stdout", b"hello\n")
        guest.write_record(Record(run=report.run_id, stdout_bytes=6))
        seen: "list[nlxtp.Status]" = []

        def changed(status: nlxtp.Status) -> None:
            seen.append(status)
            if status.running:
                guest.write_record(
                    Record(run=report.run_id, sequence=2, state="finished", ended="exit 0", done=True, stdout_bytes=6)
                )

        assert (await node.wait(on_change=changed, timeout=60)).done
        assert [status.state for status in seen] == ["running", "finished"]
        assert await node.output() == b"hello\n"
        assert [piece async for piece in node.follow()] == [b"hello\n"]
        async with nlxtp.AsyncNode(nlxtp.Node(guest.target)) as other:
            await other.status()
        with pytest.raises(nlxtp.InvalidInputError, match="closed"):
            await other.status()
        assert (await node.download(tmp_path / "a.tar")).files == 4

    asyncio.run(main())


def test_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        read, write = os.pipe()
        with open(read, "rb") as silent, open(write, "wb") as feed:
            node = nlxtp.AsyncNode(nlxtp.Node(tmp_path))
            uploading = asyncio.ensure_future(node.upload(silent))
            waiting = asyncio.ensure_future(node.wait(timeout=60))
            for _ in range(20):
                await asyncio.sleep(0.005)
                assert not uploading.done() and not waiting.done()
            feed.write(EXAMPLE)
            feed.close()
            run = (await uploading).run_id
            Guest(nlxtp.HostDirectory(tmp_path)).write_record(
                Record(run=run, state="finished", ended="exit 0", done=True)
            )
            assert (await waiting).done

    asyncio.run(main())


def test_many_nodes_are_gathered(make_target: MakeTarget) -> None:
    async def cycle(number: int, executor: ThreadPoolExecutor) -> bytes:
        node = nlxtp.AsyncNode(nlxtp.Node(make_target(f"node-{number}")), executor=executor)
        await node.upload(archive({"auto_exec.sh": b"", "data": b"%d" % number * 10_000}))
        assert (await node.status()).state == "not-started"
        home = io.BytesIO()
        await node.download(home)
        return home.getvalue()

    async def main() -> None:
        with ThreadPoolExecutor(8) as executor:
            packed = await asyncio.gather(*[cycle(number, executor) for number in range(40)])
        assert len(set(packed)) == 40

    asyncio.run(main())


def test_a_cancelled_upload_leaves_the_old_content(target: Target) -> None:
    old = archive({"old": b"old"})
    big = archive({"auto_exec.sh": b"", "big": os.urandom(6 << 20)})

    async def main() -> None:
        node = nlxtp.AsyncNode(nlxtp.Node(target))
        await node.upload(old)
        before = content_of(node.node)
        begun = asyncio.Event()
        uploading = asyncio.ensure_future(node.upload(big, progress=lambda _: begun.set()))
        await begun.wait()
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        # It has ended: nothing goes on behind the task's back.
        assert content_of(node.node) == before
        assert (await node.upload(big)).entries == 2

    asyncio.run(main())


def test_an_upload_that_was_cancelled_before_it_began_never_begins(tmp_path: Path) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            held = threading.Event()
            executor.submit(held.wait)
            node = nlxtp.AsyncNode(nlxtp.Node(tmp_path), executor=executor)
            uploading = asyncio.ensure_future(node.upload(EXAMPLE))
            await asyncio.sleep(0.05)
            uploading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await uploading
            held.set()

    asyncio.run(main())
    assert nlxtp.Node(tmp_path).status().run_id is None


def test_times_and_failures_are_as_without_asyncio(target: Target) -> None:
    async def main() -> None:
        node = nlxtp.AsyncNode(nlxtp.Node(target))
        for late in [
            node.wait(timeout=0.05),
            node.upload(EXAMPLE, timeout=0),
            node.download(io.BytesIO(), timeout=0),
            first(node.follow(timeout=0.05)),
        ]:
            with pytest.raises(nlxtp.TimedOutError):
                await late
        with pytest.raises(nlxtp.BadArchiveError):
            await node.upload(b"")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(node.wait(), 0.05)

        def broken(_: object) -> None:
            raise LookupError("no such window")

        with pytest.raises(LookupError):
            await node.upload(archive({"big": os.urandom(3 << 20)}), progress=broken)
        with pytest.raises(LookupError):
            await node.wait(on_change=broken)
        assert (await node.status()).run_id is None

    async def first(pieces: "AsyncIterator[bytes]") -> bytes:
        return await pieces.__anext__()

    asyncio.run(main())


def test_a_cancelled_task_ends_its_wait(tmp_path: Path) -> None:
    Guest(nlxtp.HostDirectory(tmp_path)).write_record(Record(interval_ms=86_400_000))

    async def main() -> None:
        node = nlxtp.AsyncNode(nlxtp.Node(tmp_path))

        async def follow() -> None:
            async for _ in node.follow():
                pass

        for task in [asyncio.ensure_future(node.wait()), asyncio.ensure_future(follow())]:
            await asyncio.sleep(0.1)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_callbacks_are_called_in_the_loop_s_thread_and_callables_with_the_task_s_context(target: Target) -> None:
    testbed: "contextvars.ContextVar[str]" = contextvars.ContextVar("testbed")
    seen: "list[object]" = []

    def power() -> str:
        seen.append(testbed.get())
        return "off"

    async def main() -> None:
        testbed.set("ours")
        threads: "set[int]" = set()
        node = nlxtp.AsyncNode(nlxtp.Node(target, power=power))
        await node.upload(EXAMPLE, progress=lambda _: threads.add(threading.get_ident()))
        assert threads == {threading.get_ident()}

    asyncio.run(main())
    assert set(seen) == {"ours"}


def test_thousands_wait_at_once(tmp_path: Path) -> None:
    guest = Guest(nlxtp.HostDirectory(tmp_path))
    guest.write_record(Record())

    async def main() -> None:
        waits = [nlxtp.AsyncNode(nlxtp.Node(tmp_path)).wait(timeout=120) for _ in range(1000)]
        gathered = asyncio.gather(*waits)
        await asyncio.sleep(0.2)
        assert threading.active_count() < 100
        guest.write_record(Record(sequence=2, state="finished", ended="exit 0", done=True))
        assert {status.state.value for status in await gathered} == {"finished"}

    asyncio.run(main())
