"""Whether a guest is on, how its monitor is invoked, and what comes of the callables that a node asks for both."""

import functools
import io
from pathlib import Path
from typing import Callable

import pytest

import nlxtp
from conftest import EXAMPLE, Target, archive
from guest import Guest, Record

SCRIPT = {"auto_exec.sh": b"#!/bin/sh\n"}


def test_a_disk_is_not_touched_while_its_guest_is_on(target: Target) -> None:
    class Forbidden(io.BytesIO):
        def read(self, size: "int | None" = -1, /) -> bytes:
            raise AssertionError("not even the archive is looked at")

    node = nlxtp.Node(target, power=lambda: True)
    if isinstance(target, nlxtp.HostDirectory):
        assert node.upload(EXAMPLE).execution == "by-daemon"
        return
    with pytest.raises(nlxtp.GuestOnError) as on:
        node.upload(Forbidden(EXAMPLE))
    assert "shut the guest down" in (on.value.hint or "") and on.value.operation == "upload"
    assert on.value.path == target.path
    assert node.status().state == "not-started"


def test_a_guest_that_was_turned_on_meanwhile_is_noticed(tmp_path: Path) -> None:
    answers = [nlxtp.Power.OFF]
    node = nlxtp.Node(
        nlxtp.DiskImage.create(tmp_path / "disk"), power=lambda: answers.pop() if answers else nlxtp.Power.ON
    )
    with pytest.raises(nlxtp.GuestOnError):
        node.upload(EXAMPLE)


@pytest.mark.parametrize("answer", [True, False, None, "on", "off", "unknown", nlxtp.Power.ON])
def test_every_answer_on_power_is_understood(answer: "bool | str | None", tmp_path: Path) -> None:
    (tmp_path / "status").mkdir()
    guest = Guest(nlxtp.HostDirectory(tmp_path / "status"))
    guest.write_record(Record(interval_ms=86_400_000))
    status = nlxtp.Node(guest.target, power=lambda: answer).status()
    assert status.state == ("monitor-stopped" if answer in (False, "off") else "running")
    if answer is not None and not isinstance(answer, bool):
        assert nlxtp.Node(guest.target, power=answer).status() == status


def test_what_is_no_answer_on_power_is_said(tmp_path: Path) -> None:
    with pytest.raises(nlxtp.InvalidInputError, match="sleeping"):
        nlxtp.Node(tmp_path, power=lambda: "sleeping").upload(EXAMPLE)
    with pytest.raises(nlxtp.InvalidInputError, match="sleeping"):
        nlxtp.Node(tmp_path, power="sleeping")


def test_the_monitor_is_invoked_only_in_a_guest_that_is_on(tmp_path: Path) -> None:
    invoked: "list[str]" = []
    for power, execution in [("off", "at-boot"), ("on", "invoked"), ("unknown", "invoked")]:
        node = nlxtp.Node(tmp_path, power=power, invoke=functools.partial(invoked.append, power))
        assert node.upload(EXAMPLE).execution == execution
    assert invoked == ["on", "unknown"]


def test_what_callables_raise_is_the_cause(target: Target, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise LookupError("no such guest")

    node = nlxtp.Node(target, power=broken)
    operations: "list[Callable[[], object]]" = [node.status, node.wait, lambda: node.upload(EXAMPLE), node.output]
    for operation in operations:
        if operation == operations[2] and isinstance(target, nlxtp.HostDirectory):
            continue
        with pytest.raises(nlxtp.CallableError) as power:
            operation()
        assert isinstance(power.value.__cause__, LookupError) and power.value.kind == "callable-failed"
        assert "no such guest" in str(power.value)
    with pytest.raises(LookupError, match="no such guest"):
        nlxtp.Node(target).upload(EXAMPLE, progress=broken)
    with pytest.raises(LookupError, match="no such guest"):
        nlxtp.Node(target).download(tmp_path / "never", progress=broken)
    assert not (tmp_path / "never").exists()
    with pytest.raises(LookupError, match="no such guest"):
        nlxtp.Node(target).wait(on_change=broken)


def test_an_upload_stands_though_the_monitor_cannot_be_invoked(tmp_path: Path) -> None:
    def broken() -> None:
        raise LookupError("no such guest")

    node = nlxtp.Node(tmp_path, power="on", invoke=broken)
    with pytest.raises(nlxtp.InvokeFailedError) as failed:
        node.upload(archive({**SCRIPT, "new": b""}))
    assert isinstance(failed.value.__cause__, LookupError)
    report = failed.value.upload
    assert report is not None and (report.entries, report.execution) == (2, "by-daemon")
    assert nlxtp.Node(tmp_path).status().run_id == report.run_id
    assert (tmp_path / "new").exists()


def test_a_node_may_not_be_asked_by_its_own_callable(tmp_path: Path) -> None:
    guest = Guest(nlxtp.HostDirectory(tmp_path))
    guest.write_record(Record())
    nodes: "list[nlxtp.Node]" = []
    nodes.append(nlxtp.Node(tmp_path, power=lambda: nodes[0].status().running))
    with pytest.raises(nlxtp.CallableError) as again:
        nodes[0].status()
    assert isinstance(again.value.__cause__, nlxtp.InUseError)
