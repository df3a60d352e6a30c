"""The Python side of the benchmark `overhead`: does what each line asks, and answers with the time that it
took, in nanoseconds: by the clock, and of the processor."""

import sys
import time
from typing import Callable

import nlxtp


def timed(work: "Callable[[], object]") -> "tuple[int, int]":
    clock, processor = time.perf_counter_ns(), time.process_time_ns()
    work()
    return time.perf_counter_ns() - clock, time.process_time_ns() - processor


def main() -> None:
    nodes: "dict[tuple[str, bool], nlxtp.Node]" = {}
    for line in sys.stdin:
        verb, target, *words = line.rstrip("\n").split("\t")
        if verb == "status":
            keep_open, count = words[0] == "true", int(words[1])
            node = nodes.get((target, keep_open))
            if node is None:
                node = nodes[target, keep_open] = nlxtp.Node(target, power="on", keep_open=keep_open)
            ask = node.status

            def queries(count: int = count, ask: "Callable[[], object]" = ask) -> None:
                for _ in range(count):
                    ask()

            taken = timed(queries)
        elif verb == "upload":
            node = nlxtp.Node(target, power="off")
            taken = timed(lambda node=node, archive=words[0]: node.upload(archive))  # type: ignore[misc]
        elif verb == "download":
            node = nlxtp.Node(target, power="off", threads=1)
            taken = timed(lambda node=node, archive=words[0]: node.download(archive, replace=True))  # type: ignore[misc]
        else:
            raise ValueError(verb)
        print(*taken, flush=True)


main()
