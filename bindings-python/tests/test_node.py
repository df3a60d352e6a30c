"""The operations on both kinds of shared directories."""

import io
import os
import pickle
import signal
import threading
from pathlib import Path
from typing import NoReturn, Union

import pytest

import nlxtp
from conftest import EXAMPLE, archive, read_archive

Target = Union[nlxtp.HostDirectory, nlxtp.DiskImage]
VECTORS = Path(__file__).parents[2] / "rextfv-core/tests/vectors"


def put_status(container: Path, vector: str) -> None:
    (container / "exec_status").mkdir(exist_ok=True)
    (container / "exec_status/status.0").write_bytes((VECTORS / vector).read_bytes())


def test_an_upload_comes_home(target: Target) -> None:
    files = {"auto_exec.sh": b"#!/bin/sh\n", "data.bin": bytes(range(256)) * 999}
    node = nlxtp.Node(target, power="off")
    report = node.upload(archive(files))
    assert (report.entries, report.execution, report.start_script) == (2, "at-boot", "auto_exec.sh")
    assert node.status().state is nlxtp.State.NOT_STARTED
    assert node.status().run_id == report.run_id
    home = io.BytesIO()
    assert node.download(home).is_settled
    assert files.items() <= read_archive(home.getvalue()).items()


def test_archives_come_as_paths_files_pipes_and_bytes(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(EXAMPLE)
    node = nlxtp.Node(target)
    assert node.upload(path).entries == 1
    assert node.upload(str(path)).entries == 1
    assert node.upload(bytearray(EXAMPLE)).entries == 1
    with path.open("rb") as file:
        file.seek(7)
        assert node.upload(file).entries == 1
    read, write = os.pipe()
    with open(read, "rb") as pipe, open(write, "wb") as feed:

        def fill() -> None:
            feed.write(EXAMPLE)
            feed.close()

        feeder = threading.Thread(target=fill)
        feeder.start()
        assert node.upload(pipe).entries == 1
        feeder.join()


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    container = os.fsencode(tmp_path) + b"/\xff-container"
    os.mkdir(container)
    node = nlxtp.Node(container)
    assert os.fsencode(node.directory) == container
    node.upload(EXAMPLE)
    home = os.fsencode(tmp_path) + b"/\xfe.tar.gz"
    node.download(home)
    assert os.path.exists(home)


def test_a_bad_archive_leaves_the_old_content(target: Target) -> None:
    node = nlxtp.Node(target)
    run = node.upload(EXAMPLE).run_id
    with pytest.raises(nlxtp.BadArchiveError) as bad:
        node.upload(b"no archive")
    assert isinstance(bad.value, ValueError)
    assert (bad.value.operation, bad.value.kind, bad.value.may_retry) == ("upload", "bad-archive", False)
    with pytest.raises(nlxtp.RefusedError) as refused:
        node.upload(archive({"../outside": b""}))
    assert refused.value.refusal_count == 1 and "outside" in refused.value.refusals[0].entry
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.refusals) == (str(refused.value), refused.value.refusals)
    assert node.status().run_id == run


def test_errors_are_what_python_expects(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        nlxtp.HostDirectory(tmp_path / "missing")
    assert isinstance(missing.value, nlxtp.NotFoundError) and missing.value.errno == 2
    (tmp_path / "junk").write_bytes(b"junk" * 4096)
    with pytest.raises(nlxtp.NotATargetError):
        nlxtp.DiskImage(tmp_path / "junk")
    with pytest.raises(TypeError):
        nlxtp.Node(tmp_path).upload(5)  # type: ignore[arg-type]


def test_a_disk_is_not_written_while_the_guest_is_on(tmp_path: Path) -> None:
    node = nlxtp.Node(nlxtp.DiskImage.create(tmp_path / "disk"), power=lambda: True)
    with pytest.raises(nlxtp.GuestOnError) as on:
        node.upload(EXAMPLE)
    assert on.value.hint is not None


def test_what_callables_raise_is_the_cause(tmp_path: Path) -> None:
    def broken() -> NoReturn:
        raise LookupError("no such guest")

    with pytest.raises(nlxtp.CallableError) as power:
        nlxtp.Node(tmp_path, power=broken).status()
    assert isinstance(power.value.__cause__, LookupError)
    with pytest.raises(nlxtp.InvokeFailedError) as invoke:
        nlxtp.Node(tmp_path, power="on", invoke=broken).upload(EXAMPLE)
    assert isinstance(invoke.value.__cause__, LookupError)
    assert invoke.value.upload is not None and invoke.value.upload.entries == 1

    def broken_progress(_: nlxtp.Progress) -> NoReturn:
        raise LookupError("no such window")

    with pytest.raises(LookupError, match="no such window"):
        nlxtp.Node(tmp_path).upload(EXAMPLE, progress=broken_progress)


def test_status_speaks_the_protocols_words(tmp_path: Path) -> None:
    put_status(tmp_path, "finished.status")
    status = nlxtp.Node(tmp_path).status()
    assert status.done and status.state == "finished" and str(status.state) == "finished"
    assert status.as_dict()["state"] == "finished" and status.dialect == "nlxtp"
    assert status == nlxtp.Node(tmp_path).status()
    with pytest.raises(AttributeError):
        status.state = nlxtp.State.RUNNING  # type: ignore[misc]
    put_status(tmp_path, "binary.status")
    custom = nlxtp.Node(tmp_path).status().custom
    assert custom is not None and str(custom) == bytes(custom).decode("utf-8", "replace")
    put_status(tmp_path, "torn.status")
    assert nlxtp.Node(tmp_path).status().state == "unreadable"


def test_memory_goes_to_another_process(tmp_path: Path) -> None:
    put_status(tmp_path, "running.status")
    node = nlxtp.Node(tmp_path)
    assert node.memory is None
    assert node.status().running
    assert node.memory is not None
    other = nlxtp.Node(tmp_path, memory=node.memory)
    assert other.memory == node.memory and other.status().running
    with pytest.raises(nlxtp.InvalidInputError):
        nlxtp.Node(tmp_path, memory="{}")


def test_waits_end(tmp_path: Path) -> None:
    put_status(tmp_path, "running.status")
    node = nlxtp.Node(tmp_path)
    with pytest.raises(TimeoutError):
        node.wait(timeout=0)
    token = nlxtp.CancelToken()
    threading.Timer(0.1, token.cancel).start()
    with pytest.raises(InterruptedError):
        node.wait(cancel=token, timeout=60)
    # A status can be had, and the run end, while somebody waits.
    seen: "list[nlxtp.Status]" = []

    def changed(status: nlxtp.Status) -> None:
        seen.append(node.status())
        put_status(tmp_path, "finished.status")

    assert node.wait(on_change=changed, timeout=60).done
    assert seen[0].running


def test_ctrl_c_ends_a_wait(tmp_path: Path) -> None:
    put_status(tmp_path, "running.status")
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        nlxtp.Node(tmp_path).wait(timeout=60)


def test_a_forked_process_goes_on(tmp_path: Path) -> None:
    put_status(tmp_path, "finished.status")
    node = nlxtp.Node(tmp_path, keep_open=True)
    assert node.status().done
    child = os.fork()
    if child == 0:
        os._exit(0 if node.status().done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_share_a_node(target: Target) -> None:
    node = nlxtp.Node(target)
    node.upload(EXAMPLE)
    failures: "list[BaseException]" = []

    def work() -> None:
        try:
            for _ in range(50):
                assert node.status().state == "not-started"
                node.download(io.BytesIO(), format="tar")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_ten_thousand_queries_leave_nothing_behind(tmp_path: Path) -> None:
    put_status(tmp_path, "finished.status")
    node = nlxtp.Node(tmp_path, power=lambda: None)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def queries(count: int) -> None:
        for _ in range(count):
            assert node.status().custom != b"never"

    queries(1000)
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    queries(10_000)
    assert len(os.listdir("/proc/self/fd")) == files
    assert resident() - before < 4 << 20
