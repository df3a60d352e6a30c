"""Processes that are forked."""

import io
import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Callable

import pytest

import nlxtp
from conftest import EXAMPLE, Target, archive, content_of
from guest import Guest, Record

# Python itself warns of forks beside threads, which is what is tried here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def succeeds_in_a_child(work: "Callable[[], object]") -> bool:
    child = os.fork()
    if child == 0:
        # Whatever happens, the child does not go on with the tests.
        code = 1
        try:
            signal.alarm(60)
            work()
            code = 0
        except BaseException as error:
            print(f"in the child: {error!r}")
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("keep_open", [False, True])
def test_a_forked_process_goes_on(guest: Guest, keep_open: bool) -> None:
    guest.write_record(Record(interval_ms=86_400_000))
    node = nlxtp.Node(guest.target, keep_open=keep_open)
    assert node.status().running

    def work() -> None:
        assert node.status().running and node.memory is not None
        node.upload(EXAMPLE)
        assert node.status().state == "not-started"
        node.download(io.BytesIO())

    assert succeeds_in_a_child(work)
    assert node.status().state == "not-started"
    assert succeeds_in_a_child(lambda: node.upload(archive({"again": b""})))
    assert "again" in content_of(node)


def test_a_fork_while_other_threads_are_inside_calls(target: Target) -> None:
    node = nlxtp.Node(target)
    node.upload(archive({"data": os.urandom(1 << 20)}))
    over = threading.Event()
    failures: "list[BaseException]" = []

    def keep_busy(operation: "Callable[[], object]") -> None:
        try:
            while not over.is_set():
                operation()
        except BaseException as error:
            failures.append(error)

    operations: "list[Callable[[], object]]" = [
        node.status,
        lambda: node.download(io.BytesIO(), format="tar"),
        lambda: nlxtp.Node(target).status(),
    ]
    threads = [threading.Thread(target=keep_busy, args=(operation,)) for operation in operations for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            assert succeeds_in_a_child(lambda: [node.status(), node.download(io.BytesIO(), format="tar")])
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures
    node.upload(EXAMPLE)


def test_a_fork_during_an_upload(target: Target) -> None:
    node = nlxtp.Node(target)
    node.upload(EXAMPLE)
    run = node.status().run_id
    forked: "list[bool]" = []

    def told(step: nlxtp.Progress) -> None:
        if step.phase == "extracting" and not forked:
            # The child sees the old content, and that somebody is writing.
            def work() -> None:
                assert node.status().run_id == run
                with pytest.raises(nlxtp.InUseError):
                    node.upload(EXAMPLE)

            forked.append(succeeds_in_a_child(work))

    report = node.upload(archive({"big": os.urandom(3 << 20)}), progress=told)
    assert forked == [True]
    assert node.status().run_id == report.run_id


def test_a_watcher_belongs_to_its_process(tmp_path: Path) -> None:
    watcher = nlxtp.Watcher()
    node = nlxtp.Node(tmp_path)
    watcher.add(node)

    def work() -> None:
        uses: "list[Callable[[], object]]" = [
            watcher.next,
            lambda: watcher.add(nlxtp.Node(tmp_path)),
            lambda: watcher.remove(node),
        ]
        for use in uses:
            with pytest.raises(nlxtp.InvalidInputError, match="belongs to the process"):
                use()
        own = nlxtp.Watcher()
        own.add(node)
        assert own.next(timeout=60) is not None

    assert succeeds_in_a_child(work)
    assert watcher.next(timeout=60) is not None


def _status_in_a_pool(path: str) -> str:
    return nlxtp.Node(path).status().state.value


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_nodes_in_a_pool_of_processes(method: str, tmp_path: Path) -> None:
    nlxtp.Node(tmp_path).upload(EXAMPLE)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_status_in_a_pool, [str(tmp_path)] * 20) == ["not-started"] * 20
