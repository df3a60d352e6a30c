"""Outputs, reports in their forms, and what is logged."""

import dataclasses
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Union

import pytest

import nlxtp
from conftest import EXAMPLE, archive
from guest import Guest, Record


def test_an_output_is_read_from_an_offset_and_in_pieces(guest: Guest) -> None:
    content = os.urandom(700_000)
    guest.write("exec_status/stdout", content)
    guest.write("exec_status/stderr", b"error")
    guest.write_record(Record(stdout_bytes=len(content) - 10, stderr_bytes=5))
    node = nlxtp.Node(guest.target)
    assert node.output() == node.output("stdout") == content[:-10]
    assert node.output(offset=600_000) == content[600_000:-10]
    assert node.output(offset=600_000, limit=7) == content[600_000:600_007]
    assert node.output(offset=len(content)) == node.output(offset=1 << 63) == b""
    assert node.output(limit=0) == b""
    assert node.output("stderr") == b"error"
    with pytest.raises(nlxtp.InvalidInputError, match="neither"):
        node.output("neither")
    for wrong in [{"offset": -1}, {"limit": -1}]:
        with pytest.raises(OverflowError):
            node.output(**wrong)  # type: ignore[arg-type]


def test_a_status_that_was_seen_says_how_much_there_is(guest: Guest) -> None:
    guest.write("exec_status/stdout", b"first second")
    guest.write_record(Record(stdout_bytes=5))
    node = nlxtp.Node(guest.target)
    seen = node.status()
    guest.write_record(Record(sequence=2, stdout_bytes=12))
    assert node.output(status=seen) == b"first"
    assert node.output() == b"first second"


def test_an_output_is_followed_to_the_end_of_the_run(guest: Guest) -> None:
    guest.write("exec_status/stdout", b"")
    guest.write_record(Record())
    node = nlxtp.Node(guest.target)
    whole = b""

    def run() -> None:
        nonlocal whole
        for number in range(2, 8):
            time.sleep(0.02)
            whole += b"%d" % number * 100_000
            guest.write("exec_status/stdout", whole)
            done = number == 7
            state, ended = ("finished", "exit 0") if done else ("running", None)
            record = Record(sequence=number, state=state, ended=ended, done=done, stdout_bytes=len(whole))
            guest.write_record(record, slot=number % 2)

    thread = threading.Thread(target=run)
    thread.start()
    followed = b"".join(node.follow(timeout=120))
    thread.join()
    assert followed == whole and len(whole) == 600_000


def test_following_is_left_in_the_middle(guest: Guest) -> None:
    guest.write("exec_status/stdout", b"x" * (3 << 20))
    guest.write_record(Record(stdout_bytes=3 << 20))
    node = nlxtp.Node(guest.target)
    for piece in node.follow():
        assert len(piece) == 1 << 20
        break
    token = nlxtp.CancelToken()
    pieces = node.follow(cancel=token)
    assert sum(len(next(pieces)) for _ in range(3)) == 3 << 20
    token.cancel()
    with pytest.raises(nlxtp.CancelledError):
        next(pieces)


def test_a_status_never_changes_and_has_json_and_dict_forms(guest: Guest) -> None:
    guest.write_vector("finished.status")
    status = nlxtp.Node(guest.target).status()
    same = nlxtp.Node(guest.target).status()
    assert status == same and hash(status) == hash(same) and len({status, same}) == 1
    assert json.loads(status.to_json()) == status.as_dict()
    assert status.as_dict() == {
        "state": "finished",
        "done": True,
        "running": False,
        "custom": "hello world",
        "custom_lossy": False,
        "progress": None,
        "exit_code": 0,
        "signal": None,
        "timed_out": False,
        "sequence": 7,
        "run_id": "00112233445566778899aabbccddeeff",
        "stdout_bytes": 120,
        "stderr_bytes": 0,
        "truncated": [],
        "dialect": "nlxtp",
        "reason": None,
        "attempts": 1,
    }
    for name in status.as_dict().keys() - {"custom_lossy"}:
        with pytest.raises(AttributeError):
            setattr(status, name, None)
    with pytest.raises(TypeError):
        type(status)()
    assert str(status) == "finished, exit code 0" and repr(status).startswith("<nlxtp.Status {")
    guest.write_vector("running.status")
    assert nlxtp.Node(guest.target).status() != status
    # Words are texts and equal to them, as keys as well.
    assert {nlxtp.State.FINISHED: 1}["finished"] == 1  # type: ignore[index]
    assert json.dumps(status.state) == '"finished"' and f"{status.state}" == "finished"


def test_reports_have_json_forms_and_never_change(tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    node = nlxtp.Node(tmp_path / "container")
    report = node.upload(EXAMPLE)
    told = json.loads(report.to_json())
    assert report.warnings == ()
    assert (told["run_id"], told["entries"], told["execution"]) == (report.run_id, 1, report.execution)
    assert nlxtp.UploadReport.from_json(report.to_json()) == report
    taken = node.download(tmp_path / "a.tar")
    assert json.loads(taken.to_json())["files"] == taken.files == 2
    assert nlxtp.DownloadReport.from_json(taken.to_json(), taken.attempts) == taken
    things: "list[Union[nlxtp.UploadReport, nlxtp.DownloadReport, nlxtp.Progress]]" = [report, taken]
    for frozen in [*things, nlxtp.Progress("packing", 1, None)]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, dataclasses.fields(frozen)[0].name, 7)


def test_what_happens_is_logged(guest: Guest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="nlxtp")
    node = nlxtp.Node(guest.target)
    report = node.upload(archive({"auto_exec.sh": b"", "exec_status/old": b""}))
    guest.write_record(Record(run=report.run_id, state="finished", ended="exit 0", done=True))
    node.wait()
    node.download(tmp_path / "a.tar")
    with nlxtp.Watcher() as watcher:
        watcher.add(node)
        watcher.next()
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "nlxtp"]
    path = node.directory.path
    assert told[0] == ("INFO", f"{path}: uploaded run {report.run_id}, {report.execution}")
    assert told[1][0] == "WARNING" and "exec_status/old" in told[1][1]
    assert told[2] == ("WARNING", f"{path}: {report.warnings[0]}") and len(report.warnings) == 1
    assert "auto_exec.sh: it is empty" in report.warnings[0]
    assert told[3] == ("INFO", f"{path}: finished, exit code 0")
    assert told[4][0] == "INFO" and "downloaded 3 files" in told[4][1]
    assert told[5] == ("DEBUG", f"{path}: finished, exit code 0")
    assert all(path in message for _, message in told)


def test_nothing_is_printed_by_itself(tmp_path: Path, capfd: "pytest.CaptureFixture[str]") -> None:
    nlxtp.Node(tmp_path).upload(EXAMPLE)
    with pytest.raises(nlxtp.Error):
        nlxtp.Node(tmp_path).upload(b"")
    assert capfd.readouterr() == ("", "")


def test_the_guest_s_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NLXTP_GUEST", raising=False)
    program = nlxtp.guest_binary()
    assert program.read_bytes()[:4] == b"\x7fELF" and os.access(program, os.X_OK)
    monkeypatch.setenv("NLXTP_GUEST", str(tmp_path / "own"))
    with pytest.raises(nlxtp.NotFoundError) as missing:
        nlxtp.guest_binary()
    assert missing.value.filename == str(tmp_path / "own") and missing.value.errno == 2
    (tmp_path / "own").write_bytes(b"")
    assert nlxtp.guest_binary() == tmp_path / "own"
