"""A small hostmanager, that the end-to-end tests run with real guests:

    hostmanager.py upload TARGET ARCHIVE POWER [COMMAND]    what invokes the monitor is a shell command
    hostmanager.py refused TARGET ARCHIVE POWER             where an upload must be refused
    hostmanager.py collect TARGET MEMORY RESULTS [ARCHIVE POWER [COMMAND]]
    hostmanager.py collect-async TARGET MEMORY RESULTS [ARCHIVE POWER [COMMAND]]
        see a run to its end, and take the results home; after an upload, where one is named
    hostmanager.py status TARGET MEMORY POWER               what is said of the run later

Each is a process of its own; what is remembered of the node's liveness is kept in the file MEMORY, which
is made when the watching begins. What was seen is printed as JSON.
"""

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

import nlxtp

PATIENCE = 180.0


def upload(target: str, archive: str, power: str, command: Optional[str] = None) -> "dict[str, Any]":
    def invoke() -> None:
        subprocess.run(str(command), shell=True, check=True, timeout=PATIENCE)

    told: "list[nlxtp.Progress]" = []
    node = nlxtp.Node(target, power=lambda: power, invoke=invoke if command else None)
    report = node.upload(archive, progress=told.append, timeout=PATIENCE)
    assert [step.phase for step in told] == sorted((step.phase for step in told), key=PHASES.index), told
    return {"report": json.loads(report.to_json()), "status": node.status().as_dict()}


PHASES = ["examining", "extracting", "flushing"]


def refused(target: str, archive: str, power: str) -> "dict[str, Any]":
    try:
        nlxtp.Node(target, power=power).upload(archive)
    except nlxtp.Error as error:
        return {"error": type(error).__name__, "kind": error.kind, "path": error.path, "text": str(error)}
    return {"error": None}


class Seen:
    """What somebody sees who watches a run."""

    def __init__(self) -> None:
        self.states: "list[str]" = []
        self.began: Optional[float] = None
        self.last: Optional[nlxtp.Status] = None
        self.ended = 0.0

    def see(self, status: nlxtp.Status) -> None:
        if self.states[-1:] != [str(status.state)]:
            self.states.append(str(status.state))
        if status.running and self.began is None:
            self.began = time.monotonic()
        if status.done:
            self.ended = time.monotonic()
        self.last = status

    def told(self, output: bytes, watched: "list[str]") -> "dict[str, Any]":
        assert self.last is not None and self.began is not None, self.states
        return {
            "states": self.states,
            "watched": watched,
            "running_for": self.ended - self.began,
            "last": self.last.as_dict(),
            "output": output.decode(),
        }


def collect(target: str, memory: str, results: str, *to_upload: str) -> "dict[str, Any]":
    """Waits, follows the output and watches, by three threads that share the node."""
    uploaded = upload(target, *to_upload) if to_upload else None
    node, seen, output, watched = nlxtp.Node(target, power="on"), Seen(), bytearray(), list[str]()

    def follow() -> None:
        for piece in node.follow(timeout=PATIENCE):
            output.extend(piece)

    def watch() -> None:
        with nlxtp.Watcher(shortest=0.02, longest=0.2) as watcher:
            watcher.add(node)
            while (change := watcher.next(timeout=PATIENCE)) is not None:
                assert change.status is not None, change.error
                watched.append(str(change.status.state))
                if change.status.done:
                    return

    threads = [threading.Thread(target=follow), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    Path(memory).write_text("null")
    assert node.wait(on_change=seen.see, timeout=PATIENCE).done
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert node.download(results).is_settled
    assert node.output() == output and node.output("stderr") == b""
    Path(memory).write_text(node.memory or "null")
    return {"upload": uploaded, **seen.told(bytes(output), watched)}


async def collect_async(target: str, memory: str, results: str, *to_upload: str) -> "dict[str, Any]":
    uploaded = upload(target, *to_upload) if to_upload else None
    node, seen, watched = nlxtp.AsyncNode(nlxtp.Node(target, power="on")), Seen(), list[str]()

    async def follow() -> bytes:
        return b"".join([piece async for piece in node.follow(timeout=PATIENCE)])

    async def watch() -> None:
        with nlxtp.Watcher(shortest=0.02, longest=0.2) as watcher:
            watcher.add(node.node)
            async for change in watcher:
                assert change.status is not None, change.error
                watched.append(str(change.status.state))
                if change.status.done:
                    return

    Path(memory).write_text("null")
    _, output, _ = await asyncio.gather(node.wait(on_change=seen.see, timeout=PATIENCE), follow(), watch())
    assert (await node.download(results)).is_settled
    assert await node.output() == output
    Path(memory).write_text(node.node.memory or "null")
    return {"upload": uploaded, **seen.told(output, watched)}


def status(target: str, memory: str, power: str) -> "dict[str, Any]":
    remembered = Path(memory).read_text()
    return nlxtp.Node(target, power=power, memory=None if remembered == "null" else remembered).status().as_dict()


def main(verb: str, *arguments: str) -> "dict[str, Any]":
    if verb == "collect-async":
        return asyncio.run(collect_async(*arguments))
    verbs: "dict[str, Callable[..., dict[str, Any]]]" = {
        "upload": upload,
        "refused": refused,
        "collect": collect,
        "status": status,
    }
    return verbs[verb](*arguments)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
