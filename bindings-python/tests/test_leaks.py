"""What is used again and again takes no more memory and no more descriptors."""

import gc
import io
import os
import weakref
from pathlib import Path
from typing import Callable

import pytest

import nlxtp
from conftest import EXAMPLE, Target
from guest import Guest, Record

#: Allocators keep some; a leak of a page for each of the rarest cycles below exceeds it all the same.
TOLERANCE = 4 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors() -> "list[str]":
    return sorted(os.listdir("/proc/self/fd"))


def leaves_nothing(cycle: "Callable[[], object]", count: int) -> None:
    for _ in range(count // 5):
        cycle()
    gc.collect()
    before, files = resident(), descriptors()
    for _ in range(count):
        cycle()
    gc.collect()
    assert descriptors() == files
    assert resident() - before < TOLERANCE


@pytest.mark.parametrize("keep_open", [False, True])
def test_ten_thousand_queries(guest: Guest, keep_open: bool) -> None:
    guest.write_record(Record(custom=b"x" * 5000, interval_ms=86_400_000))
    node = nlxtp.Node(guest.target, power=lambda: None, keep_open=keep_open)

    def query() -> None:
        status = node.status()
        assert status.running and status.custom is not None and status.state == "running"
        status.as_dict()

    leaves_nothing(query, 10_000)


def test_uploads_and_downloads(target: Target, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(EXAMPLE)

    def cycle() -> None:
        node = nlxtp.Node(target, power=lambda: "off", invoke=lambda: None)
        node.upload(EXAMPLE, progress=lambda _: None)
        node.upload(tmp_path / "archive")
        node.upload(io.BytesIO(EXAMPLE))
        node.download(io.BytesIO(), progress=lambda _: None)
        node.download(tmp_path / "home", replace=True)

    leaves_nothing(cycle, 100)


def test_watchers(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(10)]
    for path in paths:
        path.mkdir()

    def cycle() -> None:
        with nlxtp.Watcher() as watcher:
            nodes = [nlxtp.Node(path, power=lambda: None) for path in paths]
            for node in nodes:
                watcher.add(node)
            assert {id(watcher.next().node) for _ in nodes} == {id(node) for node in nodes}  # type: ignore[union-attr]

    leaves_nothing(cycle, 300)


def test_a_watcher_that_is_dropped_as_it_is(tmp_path: Path) -> None:
    def cycle() -> None:
        watcher = nlxtp.Watcher()
        watcher.add(nlxtp.Node(tmp_path, power=lambda: None))
        watcher.next()

    leaves_nothing(cycle, 500)


def test_failures(target: Target, tmp_path: Path) -> None:
    def broken() -> str:
        raise LookupError("no such guest")

    node, lost = nlxtp.Node(target), nlxtp.Node(target, power=broken)

    def fail() -> None:
        operations: "list[Callable[[], object]]" = [
            lambda: node.upload(b"no archive"),
            lambda: node.upload(tmp_path / "missing"),
            lambda: node.wait(timeout=0),
            lambda: node.download(tmp_path),
            lost.status,
            lambda: nlxtp.HostDirectory(tmp_path / "missing"),
        ]
        for operation in operations:
            with pytest.raises(nlxtp.Error):
                operation()

    leaves_nothing(fail, 500)


def test_a_machine_that_knows_its_node_is_collected(tmp_path: Path) -> None:
    class Machine:
        def __init__(self) -> None:
            self.node = nlxtp.Node(tmp_path, power=self.power, invoke=self.invoke)

        def power(self) -> bool:
            return True

        def invoke(self) -> None:
            pass

    machine = Machine()
    machine.node.upload(EXAMPLE)
    gone = weakref.ref(machine)
    del machine
    gc.collect()
    assert gone() is None
