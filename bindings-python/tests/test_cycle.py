"""What the library's own tests do with a node, through Python, on both kinds of shared directories."""

import dataclasses
import hashlib
import io
import os
import stat
import tarfile
import threading
import time
from pathlib import Path

import pytest

import nlxtp
from conftest import EXAMPLE, MakeTarget, Target, archive, archive_of, content_of, read_archive
from guest import Guest, Record

SCRIPT = {"auto_exec.sh": b"#!/bin/sh\n"}


def test_the_whole_cycle(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    assert (node.status().state, node.status().reason) == ("not-started", "nothing was uploaded here")
    report = node.upload(archive({**SCRIPT, "d/data": b"data"}))
    assert (report.entries, report.bytes, report.start_script) == (3, 14, "auto_exec.sh")
    assert report.execution == ("at-boot" if guest.is_disk else "by-daemon")
    assert node.status().state is nlxtp.State.NOT_STARTED and node.status().run_id == report.run_id

    guest.write("exec_status/stdout", b"one and what is not flushed yet")
    guest.write_record(Record(run=report.run_id, custom=b"half", stdout_bytes=3, progress="1/2"), slot=1)
    status = node.status()
    assert (status.state, status.dialect, status.run_id) == ("running", "nlxtp", report.run_id)
    assert (str(status.custom), status.progress, status.sequence) == ("half", (1, 2), 1)
    assert node.output() == node.output(status=status) == b"one"
    assert (node.output(offset=3), node.output("stderr")) == (b"", b"")

    guest.write("result", b"result")
    guest.write_record(Record(run=report.run_id, sequence=2, state="finished", ended="exit 3", done=True))
    seen: "list[nlxtp.Status]" = []
    status = node.wait(on_change=seen.append)
    assert (status.state, status.exit_code, status.done) == ("finished", 3, True)
    assert seen == [status]

    home = io.BytesIO()
    taken = node.download(home, format="tar")
    assert taken.is_settled and not taken.changed and not taken.left_out
    found = read_archive(home.getvalue())
    assert sorted(found) == [
        "auto_exec.sh",
        "d/data",
        "exec_status/status.0",
        "exec_status/status.1",
        "exec_status/stdout",
        "nlxtp_run_id",
        "result",
    ]
    assert (found["result"], found["d/data"]) == (b"result", b"data")
    assert (taken.files, taken.archive_bytes, taken.attempts) == (7, len(home.getvalue()), 1)
    assert taken.verification.outcome == "no-digests"

    # What was downloaded can be uploaded again, and is then a new run.
    again = node.upload(home.getvalue())
    assert len(again.left_out) == 5 and again.run_id != report.run_id
    assert node.status().state == "not-started"


def test_a_download_is_compared_with_the_digests_of_the_guest(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    run = node.upload(archive({"a": b"a", "b": b"b"})).run_id

    def write_digests(files: "dict[str, bytes]") -> None:
        lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
        guest.write("exec_status/digests", "".join(lines).encode())

    written = content_of(node)
    write_digests(written)
    assert node.download(io.BytesIO()).verification.outcome == "no-digests", "it is not done"
    guest.write_record(Record(run=run, state="finished", ended="exit 0", done=True))
    found = node.download(io.BytesIO()).verification
    assert (found.outcome, found.files, found.reason) == ("verified", 3, None)
    assert found.content == found.missing == found.unlisted == ()

    guest.write("a", b"A")
    guest.write("late", b"")
    write_digests({**written, "gone": b""})
    found = node.download(io.BytesIO()).verification
    assert (found.outcome, found.files, found.reason) == ("differs", 0, None)
    assert (found.content, found.missing, found.unlisted) == (("a",), ("gone",), ("late",))

    guest.write("exec_status/digests", b"?")
    found = node.download(io.BytesIO()).verification
    assert (found.outcome, found.reason) == ("unusable", "line 1: the line is cut off")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.outcome = "verified"  # type: ignore[misc]


def test_an_upload_replaces_all_old_files(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    node.upload(archive({"old/deep/file": b"old", "both": b"old"}))
    guest.write("of the guest", b"x")
    node.upload(archive({"both": b"new"}))
    assert content_of(node).keys() == {"both", "nlxtp_run_id"}
    assert content_of(node)["both"] == b"new"


def test_an_archive_without_a_start_script_is_taken_and_not_started(target: Target) -> None:
    def invoke() -> None:
        raise AssertionError("there is nothing to execute")

    node = nlxtp.Node(target, invoke=invoke)
    report = node.upload(archive({"data": b""}))
    assert (report.start_script, report.execution) == (None, "no-start-script")
    assert "no start script" in (node.status().reason or "")


def test_tomatos_guests_are_understood(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    node.upload(EXAMPLE)
    guest.write("exec_status/out", b"hello\n")
    assert node.status().running
    guest.write("exec_status/running", b"1425000000")
    guest.write("exec_status/custom", b"50%")
    status = node.status()
    assert (status.state, status.dialect, status.custom) == ("running", "tomato", b"50%")
    assert node.output() == b"hello\n"
    guest.write("exec_status/done", b"")
    assert node.status().done


def test_a_status_of_another_run_is_not_taken_for_this_ones(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    node.upload(EXAMPLE)
    guest.write_record(Record(run="07" * 16, state="finished", ended="exit 0", done=True))
    status = node.status()
    assert (status.state, status.done, status.exit_code) == ("unreadable", False, None)
    assert "run" in (status.reason or "")


def test_the_newest_of_two_slots_counts_and_a_torn_one_hides_itself_alone(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    guest.write_record(Record(sequence=3, custom=b"three"), slot=0)
    guest.write_record(Record(sequence=4, custom=b"four"), slot=1)
    assert node.status().custom == b"four"
    guest.write("exec_status/status.0", Record(sequence=5, custom=b"five").encode()[:-10])
    assert node.status().custom == b"four"


def test_a_status_that_is_just_being_written_is_read_again(tmp_path: Path) -> None:
    guest = Guest(nlxtp.HostDirectory(tmp_path))
    node = nlxtp.Node(tmp_path)
    guest.write("exec_status/status.0", b"half a rec")
    status = node.status()
    assert (status.state, status.attempts) == ("unreadable", 5)
    assert "does not begin" in (status.reason or "")
    # The same is no error to who waits, and what is not torn any more is told.
    threading.Timer(0.2, guest.write_record, (Record(state="finished", ended="exit 0", done=True),)).start()
    assert node.wait(timeout=60).done


def test_a_bad_archive_leaves_everything_as_it_was(target: Target) -> None:
    node = nlxtp.Node(target)
    run = node.upload(archive({**SCRIPT, "old": b"old"})).run_id
    before = content_of(node)
    double = tarfile.TarInfo("auto_exec.sh")
    for bad, failure in [
        (b"no archive", nlxtp.BadArchiveError),
        (b"", nlxtp.BadArchiveError),
        (archive({**SCRIPT, "new": os.urandom(50_000)})[:30_000], nlxtp.BadArchiveError),
        (archive_of((double, b""), (double, b"")), nlxtp.RefusedError),
        (archive({"../outside": b""}), nlxtp.RefusedError),
        (archive({"/absolute/../..": b""}), nlxtp.RefusedError),
    ]:
        with pytest.raises(failure) as refused:
            node.upload(bad)
        assert isinstance(refused.value, ValueError) and not refused.value.may_retry
        assert refused.value.operation == "upload"
        if isinstance(refused.value, nlxtp.RefusedError):
            assert refused.value.refusal_count == len(refused.value.refusals) >= 1
    assert content_of(node) == before and node.status().run_id == run


def test_links_are_refused_or_copied_where_there_are_none(target: Target) -> None:
    script, link = tarfile.TarInfo("auto_exec.sh"), tarfile.TarInfo("link")
    script.mode, script.size = 0o755, 10
    link.type, link.linkname = tarfile.SYMTYPE, "auto_exec.sh"
    packed = archive_of((script, b"#!/bin/sh\n"), (link, b""))
    node = nlxtp.Node(target)
    if isinstance(target, nlxtp.HostDirectory):
        node.upload(packed)
        assert os.readlink(os.path.join(target, "link")) == "auto_exec.sh"
        return
    with pytest.raises(nlxtp.RefusedError) as refused:
        node.upload(packed)
    assert refused.value.refusals == (nlxtp.Refusal("link", "FAT has no symbolic links"),)
    assert "follow_links=True" in (refused.value.hint or "")
    node = nlxtp.Node(target, follow_links=True)
    node.upload(packed)
    assert content_of(node)["link"] == b"#!/bin/sh\n"


def test_limits_are_kept(target: Target) -> None:
    packed = archive({**SCRIPT, "a": bytes(5000), "b": bytes(5000)})
    for limits in [{"max_entries": 2}, {"max_bytes": 9000}]:
        with pytest.raises(nlxtp.RefusedError):
            nlxtp.Node(target, **limits).upload(packed)  # type: ignore[arg-type]
        assert nlxtp.Node(target).status().run_id is None
    nlxtp.Node(target, max_entries=3, max_bytes=10_010).upload(packed)
    # What a guest makes of it counts, too.
    with pytest.raises(nlxtp.Error) as more:
        nlxtp.Node(target, max_entries=2).download(io.BytesIO())
    assert more.value.operation == "download" and more.value.hint


def test_what_does_not_fit_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    node = nlxtp.Node(nlxtp.DiskImage.create(tmp_path / "disk", size=4 << 20))
    run = node.upload(EXAMPLE).run_id
    with pytest.raises(nlxtp.TooSmallError) as small:
        node.upload(archive({"big": os.urandom(5 << 20)}))
    assert isinstance(small.value, OSError) and small.value.errno == 28
    assert "DiskImage.create(size=" in (small.value.hint or "")
    assert small.value.path == small.value.filename == str(tmp_path / "disk")
    assert node.status().run_id == run


def test_a_custom_status_is_told_as_it_is(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    for number, custom in enumerate([b"", "grüße ✓".encode(), b"\0\xff\nsha256: 00\n", b"x" * (64 << 10)]):
        guest.write_record(Record(sequence=number + 1, custom=custom))
        told = node.status().custom
        assert told is not None and isinstance(told, nlxtp.CustomStatus)
        assert bytes(told) == told == custom and str(told) == custom.decode("utf-8", "replace")


def test_memory_goes_to_another_process_and_comes_back(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    assert node.memory is None
    guest.write_record(Record(interval_ms=50, boot="11" * 16))
    assert node.status().running and node.memory is not None
    # The other one need not begin to wait anew, and knows the boot in which the run began.
    time.sleep(0.4)
    assert nlxtp.Node(guest.target, grace=0.0).status().running
    silent = nlxtp.Node(guest.target, grace=0.0, memory=node.memory).status()
    assert silent.state == "monitor-stopped" and "nothing new" in (silent.reason or "")
    guest.write_record(Record(sequence=2, boot="22" * 16))
    other = nlxtp.Node(guest.target, memory=node.memory)
    assert other.memory == node.memory
    assert other.status().state == "guest-rebooted"
    assert nlxtp.Node(guest.target).status().running
    for wrong in ["{}", "no JSON", "7", ""]:
        with pytest.raises(nlxtp.InvalidInputError):
            nlxtp.Node(guest.target, memory=wrong)


def test_a_guest_that_was_off_is_remembered(guest: Guest) -> None:
    power = ["off"]
    guest.write_record(Record(interval_ms=86_400_000))
    node = nlxtp.Node(guest.target, power=lambda: power[0])
    assert node.status().state == "monitor-stopped"
    power[0] = "on"
    assert node.status().state == "guest-rebooted"
    assert nlxtp.Node(guest.target, power="on", memory=node.memory).status().state == "guest-rebooted"


def test_progress_is_told_in_order_and_to_the_end(target: Target) -> None:
    told: "list[nlxtp.Progress]" = []
    node = nlxtp.Node(target)
    node.upload(archive({**SCRIPT, "big": os.urandom(5 << 20)}), progress=told.append)
    phases = [step.phase for step in told]
    assert phases == sorted(phases, key=["examining", "extracting", "flushing"].index)
    assert told[-1].phase == "flushing"
    last = [step for step in told if step.phase == "extracting"][-1]
    assert last.done == last.total
    del told[:]
    node.download(io.BytesIO(), progress=told.append)
    packed = [step.done for step in told if step.phase == "packing"]
    assert packed == sorted(packed) and packed[-1] >= 5 << 20


@pytest.mark.parametrize("phase", ["extracting", "flushing"])
def test_a_cancelled_upload_changes_nothing(target: Target, phase: str) -> None:
    node = nlxtp.Node(target)
    node.upload(archive({"old": b"old"}))
    before = content_of(node)
    token = nlxtp.CancelToken()

    def told(step: nlxtp.Progress) -> None:
        if step.phase == phase:
            token.cancel()

    with pytest.raises(nlxtp.CancelledError) as cancelled:
        node.upload(archive({**SCRIPT, "a": os.urandom(3 << 20), "b": bytes(3 << 20)}), progress=told, cancel=token)
    assert isinstance(cancelled.value, InterruptedError) and token.cancelled
    assert content_of(node) == before
    if isinstance(target, nlxtp.HostDirectory):
        assert sorted(os.listdir(target)) == ["nlxtp_run_id", "old"]


def test_times_are_kept(guest: Guest, tmp_path: Path) -> None:
    node = nlxtp.Node(guest.target)
    node.upload(archive({"old": b"old"}))
    before = content_of(node)
    for late in [0, -1.0]:
        with pytest.raises(nlxtp.TimedOutError) as timed_out:
            node.upload(EXAMPLE, timeout=late)
        assert isinstance(timed_out.value, TimeoutError) and timed_out.value.operation == "upload"
        with pytest.raises(TimeoutError):
            node.download(tmp_path / "never", timeout=late)
        with pytest.raises(TimeoutError):
            list(node.follow(timeout=late))
        with pytest.raises(TimeoutError):
            node.wait(timeout=late)
    # A source that says nothing does not hold it up.
    read, write = os.pipe()
    with open(read, "rb") as silent, open(write, "wb"):
        begun = time.monotonic()
        with pytest.raises(nlxtp.TimedOutError):
            node.upload(silent, timeout=0.2)
        assert time.monotonic() - begun < 30
    assert content_of(node) == before
    assert not (tmp_path / "never").exists()
    # No time is too long.
    guest.write_record(Record(run=node.status().run_id, state="finished", ended="exit 0", done=True))
    assert node.wait(timeout=1e300).done and node.wait(timeout=float("inf")).done


def test_a_wait_is_cancelled_from_another_thread(target: Target) -> None:
    token = nlxtp.CancelToken()
    threading.Timer(0.1, token.cancel).start()
    with pytest.raises(nlxtp.CancelledError):
        nlxtp.Node(target).wait(cancel=token, timeout=60)
    # It stays cancelled.
    with pytest.raises(nlxtp.CancelledError):
        nlxtp.Node(target).upload(EXAMPLE, cancel=token)


def test_waiting_for_one_run_does_not_take_another_ones_end(guest: Guest) -> None:
    node = nlxtp.Node(guest.target)
    node.upload(EXAMPLE)

    def replaced(_: nlxtp.Status) -> None:
        guest.write("nlxtp_run_id", b"07" * 16 + b"\n")
        guest.write_record(Record(run="07" * 16, state="finished", ended="exit 0", done=True))

    with pytest.raises(nlxtp.ChangingError) as other:
        node.wait(on_change=replaced, timeout=60)
    assert other.value.may_retry and isinstance(other.value, BlockingIOError)


def test_the_node_can_be_used_while_somebody_waits(guest: Guest) -> None:
    guest.write_record(Record())
    node = nlxtp.Node(guest.target)
    seen: "list[nlxtp.Status]" = []

    def changed(status: nlxtp.Status) -> None:
        seen.extend([status, node.status()])
        guest.write_record(Record(sequence=2, state="finished", ended="exit 0", done=True))

    assert node.wait(on_change=changed, timeout=60).done
    assert [status.state for status in seen[:2]] == ["running", "running"]


def test_who_writes_holds_back_other_uploads_alone(make_target: MakeTarget) -> None:
    target = make_target("held")
    node = nlxtp.Node(target)
    node.upload(archive({"old": b"old"}))
    seen: "list[object]" = []

    def told(step: nlxtp.Progress) -> None:
        if step.phase == "extracting" and not seen:
            seen.append(node.status().state)
            with pytest.raises(nlxtp.InUseError) as held:
                nlxtp.Node(target).upload(EXAMPLE)
            seen.append(held.value.may_retry and held.value.path == target.path)

    node.upload(archive({**SCRIPT, "big": os.urandom(3 << 20)}), progress=told)
    assert seen == ["not-started", True]
    assert node.upload(EXAMPLE).entries == 1


def test_what_an_upload_lost_is_told(target: Target) -> None:
    odd, own = tarfile.TarInfo("odd"), tarfile.TarInfo("exec_status/out")
    odd.mode, odd.uid = 0o4601, 1234
    report = nlxtp.Node(target).upload(archive_of((odd, b""), (own, b"")))
    assert report.left_out == ("exec_status/out",)
    assert report.lost_owners == 1
    if isinstance(target, nlxtp.HostDirectory):
        assert stat.S_IMODE(os.stat(os.path.join(target, "odd")).st_mode) & 0o777 == 0o601
    else:
        assert report.lost_modes == 1


def test_a_download_never_leaves_half_an_archive(target: Target, tmp_path: Path) -> None:
    node = nlxtp.Node(target)
    node.upload(archive({**SCRIPT, "big": os.urandom(3 << 20)}))
    home = tmp_path / "home"
    home.mkdir()
    kept = home / "kept.tar.gz"
    kept.write_bytes(b"old")
    with pytest.raises(nlxtp.ExistsError) as exists:
        node.download(kept)
    assert isinstance(exists.value, FileExistsError) and exists.value.errno == 17
    assert exists.value.filename == exists.value.path == str(kept)
    assert "replace=True" in (exists.value.hint or "")
    token = nlxtp.CancelToken()
    with pytest.raises(nlxtp.CancelledError):
        node.download(kept, replace=True, cancel=token, progress=lambda _: token.cancel())
    assert kept.read_bytes() == b"old" and os.listdir(home) == ["kept.tar.gz"]
    assert node.download(kept, replace=True, retries=3).attempts == 1
    assert read_archive(kept.read_bytes())["auto_exec.sh"] == SCRIPT["auto_exec.sh"]
    with pytest.raises(nlxtp.NotFoundError):
        node.download(home / "nowhere" / "a.tar")
    assert os.listdir(home) == ["kept.tar.gz"]


def test_each_format_and_level_can_be_had(target: Target, tmp_path: Path) -> None:
    node = nlxtp.Node(target)
    node.upload(archive({**SCRIPT, "zeros": bytes(1 << 20)}))
    for name, format, level, begins in [
        ("a.tar", None, None, b"./\0"),
        ("a.tar.gz", None, 0, b"\x1f\x8b"),
        ("a.tgz", None, 9, b"\x1f\x8b"),
        ("a.tar.zst", None, 22, b"\x28\xb5\x2f\xfd"),
        ("b", "tar.zst", None, b"\x28\xb5\x2f\xfd"),
        ("c", None, None, b"\x1f\x8b"),
    ]:
        node.download(tmp_path / name, format=format, level=level)
        packed = (tmp_path / name).read_bytes()
        assert packed[: len(begins)] == begins, name
        # Each can be uploaded.
        assert nlxtp.Node(target).upload(packed).entries == 2
    for format, level in [("tar", 1), ("tar.gz", 10), ("tar.zst", 0), ("zip", None)]:
        with pytest.raises(nlxtp.InvalidInputError):
            node.download(io.BytesIO(), format=format, level=level)
