"""What may be given: archives and paths in all their forms; and the exceptions."""

import copy
import io
import os
import pickle
import threading
from pathlib import Path
from typing import Callable, Union

import pytest

import nlxtp
from conftest import EXAMPLE, Target, archive, content_of, read_archive
from guest import Guest, Record
from nlxtp import _errors
from nlxtp._node import Archive
from nlxtp._targets import StrPath

BASES = {
    nlxtp.InvalidInputError: ValueError,
    nlxtp.BadArchiveError: ValueError,
    nlxtp.RefusedError: ValueError,
    nlxtp.TooSmallError: OSError,
    nlxtp.NotFoundError: FileNotFoundError,
    nlxtp.ExistsError: FileExistsError,
    nlxtp.NotATargetError: ValueError,
    nlxtp.DamagedError: OSError,
    nlxtp.UnfinishedError: OSError,
    nlxtp.ChangingError: BlockingIOError,
    nlxtp.ReadOnlyError: OSError,
    nlxtp.PermissionDeniedError: PermissionError,
    nlxtp.InUseError: BlockingIOError,
    nlxtp.GuestOnError: Exception,
    nlxtp.NoSpaceError: OSError,
    nlxtp.TimedOutError: TimeoutError,
    nlxtp.CancelledError: InterruptedError,
    nlxtp.InvokeFailedError: Exception,
    nlxtp.SystemFailureError: OSError,
    nlxtp.CallableError: Exception,
}


class OwnPath(os.PathLike[bytes]):
    """A path like those of other libraries."""

    def __init__(self, path: bytes) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return self.path


def test_archives_come_as_paths_files_pipes_and_bytes(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(EXAMPLE)
    node = nlxtp.Node(target)
    archives: "list[Archive]" = [
        path,
        str(path),
        OwnPath(os.fsencode(path)),
        EXAMPLE,
        bytearray(EXAMPLE),
        memoryview(EXAMPLE),
        io.BytesIO(EXAMPLE),
    ]
    for given in archives:
        assert node.upload(given).entries == 1
    with path.open("rb") as file:
        file.seek(7)
        assert node.upload(file).entries == 1
        assert not file.closed
    read, write = os.pipe()
    with open(read, "rb") as pipe, open(write, "wb") as feed:

        def fill() -> None:
            feed.write(EXAMPLE)
            feed.close()

        feeder = threading.Thread(target=fill)
        feeder.start()
        assert node.upload(pipe).entries == 1
        feeder.join()
    for wrong in [5, None, object(), ["archive"]]:
        with pytest.raises(TypeError, match="archive must be"):
            node.upload(wrong)  # type: ignore[arg-type]


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    container = os.fsencode(tmp_path) + b"/\xff-container"
    home = os.fsencode(tmp_path) + b"/\xfe.tar.gz"
    disk = os.fsencode(tmp_path) + b"/\xfd.img"
    os.mkdir(container)
    nlxtp.DiskImage.create(disk)
    paths: "list[StrPath]" = [container, os.fsdecode(container), OwnPath(container), disk, OwnPath(disk)]
    for given in paths:
        node = nlxtp.Node(given)
        assert os.fsencode(node.directory) in (container, disk)
        node.upload(EXAMPLE)
        node.download(OwnPath(home), replace=True)
        node.upload(OwnPath(home))
        assert node.directory == nlxtp.open_target(given) and hash(node.directory) == hash(nlxtp.open_target(given))
    assert os.path.exists(home)
    with pytest.raises(nlxtp.ExistsError) as exists:
        node.download(home)
    assert "\\xfe" in str(exists.value), "escaped for showing"


def test_paths_with_a_null_byte_are_refused(tmp_path: Path) -> None:
    node = nlxtp.Node(tmp_path)
    for use in [nlxtp.HostDirectory, nlxtp.DiskImage.create, nlxtp.open_target, node.upload, node.download]:
        with pytest.raises(ValueError, match="null byte"):
            use("a\0b")  # type: ignore[operator]


def test_files_that_fail_are_the_cause(target: Target) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def writable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            raise LookupError("no such disk")

        def write(self, data: object) -> int:
            raise LookupError("no such disk")

    node = nlxtp.Node(target)
    with pytest.raises(nlxtp.CallableError) as read:
        node.upload(Broken())  # type: ignore[arg-type]
    assert isinstance(read.value.__cause__, LookupError)
    node.upload(EXAMPLE)
    with pytest.raises(nlxtp.CallableError) as written:
        node.download(Broken())  # type: ignore[arg-type]
    assert isinstance(written.value.__cause__, LookupError)
    # A text file is no archive.
    with pytest.raises(nlxtp.CallableError):
        node.upload(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(nlxtp.CallableError):
        node.download(io.StringIO())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="retries"):
        node.download(io.BytesIO(), retries=1)


def test_a_file_that_takes_little_at_once(target: Target) -> None:
    class Little(io.RawIOBase):
        def __init__(self) -> None:
            self.taken = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: "Union[bytes, memoryview]") -> int:  # type: ignore[override]
            self.taken += bytes(data)[:1000]
            return min(len(data), 1000)

    node = nlxtp.Node(target)
    node.upload(archive({"data": bytes(range(256)) * 100}))
    little = Little()
    node.download(little, format="tar")  # type: ignore[arg-type]
    assert read_archive(bytes(little.taken)) == content_of(node)


def test_a_disk_is_made_once(tmp_path: Path) -> None:
    disk = nlxtp.DiskImage.create(tmp_path / "disk", size=8 << 20, label="EXPERIMENT")
    assert os.path.getsize(disk) == 8 << 20 and b"EXPERIMENT" in (tmp_path / "disk").read_bytes()
    with pytest.raises(nlxtp.ExistsError):
        nlxtp.DiskImage.create(tmp_path / "disk")
    for wrong in [{"size": 1000}, {"size": 3 << 41}, {"label": "longer than eleven"}, {"label": "ü"}]:
        with pytest.raises(nlxtp.InvalidInputError):
            nlxtp.DiskImage.create(tmp_path / "other", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["grace", "tomato_patience"])
def test_times_that_cannot_be_used_are_said(name: str, tmp_path: Path) -> None:
    for wrong in [-1.0, float("nan"), float("inf")]:
        with pytest.raises(nlxtp.InvalidInputError, match="cannot be used"):
            nlxtp.Node(tmp_path, **{name: wrong})  # type: ignore[arg-type]


def test_every_kind_of_failure_has_its_class_and_its_built_in_base() -> None:
    named = {getattr(nlxtp, name) for name in nlxtp.__all__ if name.endswith("Error") and name != "Error"}
    assert named == BASES.keys()
    assert set(_errors._CLASSES.values()) == named - {nlxtp.CallableError}
    for family, base in BASES.items():
        assert issubclass(family, nlxtp.Error) and issubclass(family, base)


@pytest.mark.parametrize("kind", [*_errors._CLASSES, "of-a-later-version"])
def test_every_failure_can_be_pickled_and_copied(kind: str) -> None:
    error = _errors.from_native(
        ("upload", kind, "it is wrong", "/a: it is wrong (mend it)"),
        ("/a", "mend it", True, None),
        ([("entry", "reason")], 1),
        None,
        False,
    )
    for again in [pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)]:
        assert type(again) is type(error) and str(again) == str(error) == "/a: it is wrong (mend it)"
        for name in ["operation", "kind", "message", "path", "hint", "may_retry"]:
            assert getattr(again, name) == getattr(error, name), name
        if isinstance(error, OSError) and isinstance(again, OSError):
            assert (again.errno, again.filename) == (error.errno, "/a") and error.errno
        if isinstance(error, nlxtp.RefusedError) and isinstance(again, nlxtp.RefusedError):
            assert again.refusals == error.refusals == (nlxtp.Refusal("entry", "reason"),)


def test_failures_of_real_operations_are_pickled(target: Target, tmp_path: Path) -> None:
    with pytest.raises(nlxtp.RefusedError) as refused:
        nlxtp.Node(target).upload(archive({"../outside": b""}))
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.refusals) == (str(refused.value), refused.value.refusals)
    with pytest.raises(FileNotFoundError) as missing:
        nlxtp.HostDirectory(tmp_path / "missing")
    assert missing.value.errno == 2 and missing.value.filename == str(tmp_path / "missing")
    assert pickle.loads(pickle.dumps(missing.value)).filename == missing.value.filename


def test_what_holds_a_guest_is_not_pickled(target: Target) -> None:
    node = nlxtp.Node(target)
    for thing in [node, nlxtp.Watcher(), nlxtp.CancelToken(), nlxtp.AsyncNode(node)]:
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(thing)
    # What says only where it is can be, and so can reports.
    assert pickle.loads(pickle.dumps(target)) == target
    report = node.upload(EXAMPLE)
    assert pickle.loads(pickle.dumps(report)) == report
    assert pickle.loads(pickle.dumps(nlxtp.CustomStatus(b"\xff"))) == b"\xff"
    assert pickle.loads(pickle.dumps(nlxtp.State.RUNNING)) is nlxtp.State.RUNNING


def test_a_status_is_pickled_and_copied(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    statuses = [node.status()]
    run = node.upload(EXAMPLE).run_id
    statuses.append(node.status())
    for record in [
        Record(run, custom=b"\xff, which is no text", progress="3/7", truncated=("stderr", "custom")),
        Record(run, sequence=2, state="finished", ended="exit 3", done=True),
    ]:
        guest.write_record(record)
        statuses.append(node.status())
    assert len(set(statuses)) == len(statuses)
    for status in statuses:
        for again in [pickle.loads(pickle.dumps(status)), copy.copy(status), copy.deepcopy(status)]:
            assert type(again) is nlxtp.Status and again == status and hash(again) == hash(status)
            assert (again.to_json(), again.custom) == (status.to_json(), status.custom)


def test_a_node_that_is_closed(target: Target, tmp_path: Path) -> None:
    def open_files() -> "list[str]":
        links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return [os.readlink(link) for link in links if os.path.lexists(link)]

    with nlxtp.Node(target, keep_open=True) as node:
        node.upload(EXAMPLE)
        memory = (node.status(), node.memory)[1]
        assert not node.closed and any(name.startswith(target.path) for name in open_files())
        watcher = nlxtp.Watcher()
        watcher.add(node)
    assert node.closed and node.memory == memory
    with watcher:
        # The watcher asks the shared directory by itself.
        assert watcher.next(timeout=60) is not None
    assert node.closed and not any(name.startswith(target.path) for name in open_files())
    node.close()
    operations: "list[Callable[[], object]]" = [
        node.status,
        node.wait,
        node.output,
        lambda: next(node.follow()),
        lambda: node.upload(EXAMPLE),
        lambda: node.download(tmp_path / "home"),
        lambda: nlxtp.Watcher().add(node),
    ]
    for operation in operations:
        with pytest.raises(nlxtp.InvalidInputError, match="this node is closed") as closed:
            operation()
        assert isinstance(closed.value, ValueError) and not closed.value.may_retry
    assert not (tmp_path / "home").exists()


def test_targets_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk" * 4096)
    junks: "list[StrPath]" = [tmp_path / "junk", "/dev/null"]
    for junk in junks:
        with pytest.raises(nlxtp.NotATargetError) as none:
            nlxtp.DiskImage(junk)
        assert none.value.path == str(junk)
    with pytest.raises(nlxtp.Error) as file:
        nlxtp.HostDirectory(tmp_path / "junk")
    assert file.value.path == str(tmp_path / "junk")
    with pytest.raises(nlxtp.Error):
        nlxtp.DiskImage(tmp_path)
    with pytest.raises(nlxtp.NotFoundError):
        nlxtp.open_target(tmp_path / "missing")
    assert nlxtp.HostDirectory(tmp_path) != nlxtp.HostDirectory("/") and nlxtp.HostDirectory("/") != "/"


def test_a_shared_directory_that_goes_away(target: Target) -> None:
    node = nlxtp.Node(target)
    os.rename(target, target.path + ".gone")
    operations: "list[Callable[[], object]]" = [
        node.status,
        node.wait,
        lambda: node.upload(EXAMPLE),
        lambda: node.download(io.BytesIO()),
    ]
    for operation in operations:
        with pytest.raises((nlxtp.NotFoundError, nlxtp.NotATargetError)) as gone:
            operation()
        assert target.path in str(gone.value)
