"""Ctrl-C, and signals that somebody handles."""

import io
import os
import signal
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

import pytest

import nlxtp
from conftest import EXAMPLE, archive, content_of

#: An operation that is not interrupted ends by its time, and the test fails.
FOREVER = 120.0


@contextmanager
def ctrl_c(after: float = 0.2) -> Iterator["Callable[[], None]"]:
    """Expects KeyboardInterrupt of what is done; gives what presses the keys, so many seconds later."""
    timers: "list[threading.Timer]" = []

    def press() -> None:
        if not timers:
            timers.append(threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)))
            timers[0].start()

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        yield press
    assert timers and time.monotonic() - begun < FOREVER / 2
    timers[0].join()


def sparse_tar(path: Path, size: int) -> None:
    """A tar with one large file of zeros, which takes no room."""
    entry = tarfile.TarInfo("large")
    entry.size = size
    with path.open("wb") as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        file.truncate(tarfile.BLOCKSIZE + size + tarfile.RECORDSIZE)


def test_a_wait(tmp_path: Path) -> None:
    with ctrl_c() as press:
        press()
        nlxtp.Node(tmp_path).wait(timeout=FOREVER)


def test_following_an_output(tmp_path: Path) -> None:
    with ctrl_c() as press:
        press()
        list(nlxtp.Node(tmp_path).follow(timeout=FOREVER))


def test_an_upload_that_extracts(tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    node = nlxtp.Node(tmp_path / "container")
    node.upload(archive({"old": b"old"}))
    before = content_of(node)
    sparse_tar(tmp_path / "large.tar", 3 << 30)
    with ctrl_c(0.05) as press:
        node.upload(tmp_path / "large.tar", progress=lambda step: press(), timeout=FOREVER)
    assert content_of(node) == before
    assert sorted(os.listdir(tmp_path / "container")) == ["nlxtp_run_id", "old"]


def test_an_upload_whose_archive_does_not_come(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    node = nlxtp.Node(tmp_path)
    # Held open by nobody who writes; and opened in the end, so that the thread that reads it ends.
    with ctrl_c() as press:
        press()
        node.upload(tmp_path / "pipe", timeout=FOREVER)
    os.close(os.open(tmp_path / "pipe", os.O_WRONLY))
    assert node.status().run_id is None


def test_an_upload_while_a_file_object_is_read(tmp_path: Path) -> None:
    class Slow(io.BytesIO):
        def read(self, size: "int | None" = -1, /) -> bytes:
            time.sleep(FOREVER)
            return b""

    with ctrl_c() as press:
        press()
        nlxtp.Node(tmp_path).upload(Slow(EXAMPLE))


def test_a_download(tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    os.truncate(os.open(tmp_path / "container" / "large", os.O_CREAT | os.O_WRONLY), 1 << 40)
    node = nlxtp.Node(tmp_path / "container", max_bytes=1 << 41)
    home = tmp_path / "home"
    home.mkdir()
    with ctrl_c() as press:
        node.download(home / "a.tar.gz", progress=lambda step: press(), timeout=FOREVER)
    assert not os.listdir(home)
    with ctrl_c() as press, open(os.devnull, "wb") as nowhere:
        node.download(nowhere, progress=lambda step: press(), timeout=FOREVER)


def test_a_download_to_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    node = nlxtp.Node(tmp_path / "container")
    node.upload(archive({"large": bytes(1 << 20)}))
    pipe = tmp_path / "pipe.tar"
    os.mkfifo(pipe)
    for flags in [None, os.O_RDWR]:
        # Not even open; then open, and soon full.
        reader = None if flags is None else os.open(pipe, flags)
        with pytest.raises(nlxtp.TimedOutError):
            node.download(pipe, timeout=0.2)
        with ctrl_c() as press:
            press()
            node.download(pipe, timeout=FOREVER)
        if reader is not None:
            os.close(reader)


def test_watching(tmp_path: Path) -> None:
    watcher = nlxtp.Watcher(forever=True)
    watcher.add(nlxtp.Node(tmp_path))
    seen: "list[nlxtp.Change]" = []
    with ctrl_c() as press:
        press()
        for change in watcher:
            seen.append(change)
    assert len(seen) == 1
    # It can be gone on with.
    watcher.remove(seen[0].node)
    watcher.stop()
    assert watcher.next() is None


def test_progress_that_is_interrupted(tmp_path: Path) -> None:
    def exits(_: nlxtp.Progress) -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit) as left:
        nlxtp.Node(tmp_path).upload(EXAMPLE, progress=exits)
    assert left.value.code == 7
    assert nlxtp.Node(tmp_path).status().run_id is None


def test_callables_that_are_interrupted(tmp_path: Path) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nlxtp.Node(tmp_path, power=interrupted).upload(EXAMPLE)
    with pytest.raises(KeyboardInterrupt):
        nlxtp.Node(tmp_path, power=interrupted).wait()
    with pytest.raises(KeyboardInterrupt):
        nlxtp.Node(tmp_path, power="on", invoke=interrupted).upload(EXAMPLE)
    watcher = nlxtp.Watcher()
    watcher.add(nlxtp.Node(tmp_path, power=interrupted))
    with pytest.raises(KeyboardInterrupt):
        watcher.next(timeout=FOREVER)


def test_a_signal_that_is_handled_ends_nothing(tmp_path: Path) -> None:
    seen: "list[int]" = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        begun = time.monotonic()
        with pytest.raises(nlxtp.TimedOutError):
            nlxtp.Node(tmp_path).wait(timeout=0.5)
        assert time.monotonic() - begun >= 0.5
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_another_thread_is_not_interrupted(tmp_path: Path) -> None:
    failures: "list[BaseException]" = []

    def wait() -> None:
        try:
            nlxtp.Node(tmp_path).wait(timeout=1)
        except BaseException as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    with ctrl_c(0.1) as press:
        press()
        nlxtp.Node(tmp_path).wait(timeout=FOREVER)
    waiting.join()
    assert [type(error) for error in failures] == [nlxtp.TimedOutError]


