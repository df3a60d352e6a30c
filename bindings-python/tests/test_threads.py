"""Many threads, on one node and on many."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import nlxtp
from conftest import EXAMPLE, MakeTarget, Target, archive, content_of


def all_at_once(*work: "Callable[[], object]") -> None:
    """Does all of it at the same time; fails as the first of it that does."""
    together = threading.Barrier(len(work))

    def begin(one: "Callable[[], object]") -> None:
        together.wait()
        one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(begin, one) for one in work]:
            done.result(timeout=300)


def test_threads_share_a_node(target: Target) -> None:
    node = nlxtp.Node(target)
    node.upload(EXAMPLE)

    def work() -> None:
        for _ in range(30):
            assert node.status().state == "not-started"
            node.download(io.BytesIO(), format="tar")
            assert node.output() == b""
            assert node.memory is None

    all_at_once(*[work] * 8)


def test_uploads_at_once_happen_one_after_the_other_or_not_at_all(target: Target) -> None:
    node = nlxtp.Node(target)
    runs: "dict[str, str]" = {}
    refused: "list[nlxtp.InUseError]" = []

    def upload(name: str) -> None:
        for _ in range(5):
            try:
                runs[node.upload(archive({name: name.encode() * 1000})).run_id] = name
            except nlxtp.InUseError as error:
                refused.append(error)

    all_at_once(*[lambda name=str(number): upload(name) for number in range(6)])
    assert len(runs) + len(refused) == 30 and runs
    assert all(error.may_retry for error in refused)
    # What is there is what one of them uploaded.
    found = content_of(node)
    name = runs[found.pop("nlxtp_run_id").decode().strip()]
    assert found == {name: name.encode() * 1000}


def test_many_nodes_at_once(make_target: MakeTarget) -> None:
    def cycle(number: int) -> None:
        node = nlxtp.Node(make_target(f"node-{number}"), power="off")
        content = os.urandom(200_000)
        told: "list[nlxtp.Progress]" = []
        node.upload(archive({"auto_exec.sh": b"", "data": content}), progress=told.append)
        assert node.status().state == "not-started"
        assert content_of(node)["data"] == content
        assert told

    all_at_once(*[lambda number=number: cycle(number) for number in range(16)])


def test_others_go_on_while_one_blocks(target: Target) -> None:
    read, write = os.pipe()
    with open(read, "rb") as silent, open(write, "wb") as feed, ThreadPoolExecutor(1) as pool:
        node = nlxtp.Node(target)
        uploading = pool.submit(node.upload, silent)
        for _ in range(20):
            assert node.status().run_id is None
        feed.write(EXAMPLE)
        feed.close()
        assert uploading.result(timeout=60).run_id == node.status().run_id


def test_a_token_ends_all_that_hold_it(make_target: MakeTarget) -> None:
    token = nlxtp.CancelToken()
    cancelled: "list[nlxtp.CancelledError]" = []

    def wait(node: nlxtp.Node) -> None:
        try:
            node.wait(cancel=token, timeout=120)
        except nlxtp.CancelledError as error:
            cancelled.append(error)

    nodes = [nlxtp.Node(make_target(f"node-{number}")) for number in range(8)]
    threading.Timer(0.2, token.cancel).start()
    all_at_once(*[lambda node=node: wait(node) for node in nodes])
    assert len(cancelled) == 8


def test_callables_are_called_in_the_thread_that_asks(target: Target) -> None:
    asked: "set[int]" = set()

    def power() -> str:
        asked.add(threading.get_ident())
        return "off"

    node = nlxtp.Node(target, power=power)
    mine: "list[int]" = []

    def ask() -> None:
        mine.append(threading.get_ident())
        node.upload(EXAMPLE)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert asked == set(mine)
