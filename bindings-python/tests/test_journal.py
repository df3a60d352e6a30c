"""Journals of nodes."""

import hashlib
import io
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import nlxtp
from conftest import EXAMPLE, MakeTarget, archive
from guest import Guest, Record
from test_forks import succeeds_in_a_child

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def lines_of(journal: nlxtp.Journal) -> "list[dict[str, Any]]":
    """What a journal holds; its lines must be chained."""
    lines = Path(journal).read_bytes().splitlines(keepends=True)
    records: "list[dict[str, Any]]" = [json.loads(line) for line in lines]
    assert [record["prev"] for record in records] == ["0" * 64, *map(digest, lines)][: len(lines)]
    return records


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def journal(tmp_path: Path) -> nlxtp.Journal:
    return nlxtp.Journal(tmp_path / "experiment.jsonl")


def test_a_cycle_is_recorded(guest: Guest, tmp_path: Path) -> None:
    journal = nlxtp.Journal(tmp_path / "experiment.jsonl", keep_archives=True)
    assert repr(journal) == f"nlxtp.Journal({str(tmp_path / 'experiment.jsonl')!r}, keep_archives=True)"
    node = nlxtp.Node(guest.target, journal=journal, name="cliént")
    assert node.journal is journal
    (tmp_path / "first.tar.gz").write_bytes(EXAMPLE)
    run = node.upload(tmp_path / "first.tar.gz").run_id
    guest.write_record(Record(run=run))
    assert node.status().running and node.status().running
    guest.write_record(Record(run=run, sequence=2, state="finished", done=True, ended="exit 7"), 1)
    assert node.wait(timeout=60).exit_code == 7 and node.status().done
    node.download(tmp_path / "results.tar")
    node.download(io.BytesIO(), format="tar")
    node.upload(EXAMPLE)
    records = lines_of(journal)
    assert [record["event"] for record in records] == ["upload", "start", "end", "download", "download", "upload"]
    assert {(record["node"], record["run"]) for record in records[:-1]} == {("cliént", run)}
    archives = [record["archive"] for record in records if "archive" in record]
    assert [one["name"] for one in archives] == ["first.tar.gz", "results.tar", None, None]
    assert archives[0]["sha256"] == archives[3]["sha256"] == digest(EXAMPLE)
    assert archives[1]["sha256"] == digest((tmp_path / "results.tar").read_bytes())
    assert records[2]["exit_code"] == 7
    kept = tmp_path / "experiment.jsonl.d" / "sha256" / digest(EXAMPLE)
    assert kept.read_bytes() == EXAMPLE
    assert node.journal_failure() is None


def test_what_fails_is_not_recorded(target: "nlxtp.HostDirectory | nlxtp.DiskImage", journal: nlxtp.Journal) -> None:
    node = nlxtp.Node(target, journal=journal, name="n")
    with pytest.raises(nlxtp.BadArchiveError):
        node.upload(b"no archive")
    with pytest.raises(nlxtp.NotFoundError):
        node.download("/nowhere/at/all.tar")
    assert lines_of(journal) == []


def test_a_journal_that_cannot_be_written_to_stops_what_would_be_lost_to_it(
    guest: Guest, journal: nlxtp.Journal, caplog: pytest.LogCaptureFixture
) -> None:
    node = nlxtp.Node(guest.target, journal=journal, name="n")
    run = node.upload(EXAMPLE).run_id
    os.rename(journal, f"{journal.path}.aside")
    os.mkdir(journal)
    for operation in (lambda: node.upload(EXAMPLE), lambda: node.download(io.BytesIO())):
        with pytest.raises(nlxtp.Error, match="experiment.jsonl"):
            operation()
    assert node.journal_failure() is None
    guest.write_record(Record(run=run))
    with caplog.at_level(logging.WARNING, "nlxtp"):
        assert node.status().running
    assert "not in the journal" in caplog.text
    failure = node.journal_failure()
    assert isinstance(failure, nlxtp.Error) and failure.operation == "journal" and journal.path in str(failure)
    assert node.journal_failure() is None
    # What was seen and not written down is when it is seen again.
    os.rmdir(journal)
    os.rename(f"{journal.path}.aside", journal)
    assert node.status().running and node.journal_failure() is None
    assert [record["event"] for record in lines_of(journal)] == ["upload", "start"]


def test_an_upload_that_stands_without_its_monitor_is_recorded(
    target: "nlxtp.HostDirectory | nlxtp.DiskImage", journal: nlxtp.Journal
) -> None:
    def invoke() -> None:
        raise OSError("no such container")

    node = nlxtp.Node(target, journal=journal, name="n", invoke=invoke, power="on")
    if isinstance(target, nlxtp.HostDirectory):
        with pytest.raises(nlxtp.InvokeFailedError):
            node.upload(EXAMPLE)
        assert [record["invoke_failed"] for record in lines_of(journal)] == [True]
    else:
        with pytest.raises(nlxtp.GuestOnError):
            node.upload(EXAMPLE)
        assert lines_of(journal) == []


def test_a_watcher_records_what_it_sees(guest: Guest, journal: nlxtp.Journal) -> None:
    node = nlxtp.Node(guest.target, journal=journal, name="n")
    run = node.upload(EXAMPLE).run_id
    guest.write_record(Record(run=run))
    with nlxtp.Watcher(shortest=0.01) as watcher:
        watcher.add(node)
        change = watcher.next(timeout=60)
        assert change and change.status and change.status.running
        os.rename(journal, f"{journal.path}.aside")
        os.mkdir(journal)
        guest.write_record(Record(run=run, sequence=2, state="finished", done=True, ended="exit 0"), 1)
        while not (change and change.status and change.status.done):
            change = watcher.next(timeout=60)
        watcher.remove(node)
    failure = node.journal_failure()
    assert failure and journal.path in str(failure)
    os.rmdir(journal)
    os.rename(f"{journal.path}.aside", journal)
    assert node.status().done
    assert [record["event"] for record in lines_of(journal)] == ["upload", "start", "end"]


def test_nodes_threads_and_forks_share_a_journal(make_target: MakeTarget, journal: nlxtp.Journal) -> None:
    nodes = [nlxtp.Node(make_target(f"n{index}"), journal=journal, name=f"n{index}") for index in range(4)]

    def upload_often(node: nlxtp.Node) -> None:
        for _ in range(10):
            node.upload(EXAMPLE)
            node.status()

    threads = [threading.Thread(target=upload_often, args=(node,)) for node in nodes[:3]]
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert succeeds_in_a_child(lambda: nodes[3].upload(archive({"child": b""})) and nodes[3].status())
    for thread in threads:
        thread.join()
    names = [record["node"] for record in lines_of(journal)]
    assert sorted(names) == ["n0"] * 10 + ["n1"] * 10 + ["n2"] * 10 + ["n3"] * 5
    assert all(node.journal_failure() is None for node in nodes)


def test_arguments_that_cannot_be_used(make_target: MakeTarget, tmp_path: Path, journal: nlxtp.Journal) -> None:
    target = make_target("target")
    for arguments in ({"journal": journal}, {"name": "n"}, {"journal": journal, "name": ""}):
        with pytest.raises(nlxtp.InvalidInputError):
            nlxtp.Node(target, **arguments)
    with pytest.raises(nlxtp.InvalidInputError, match="shared directory"):
        nlxtp.Node(tmp_path, journal=journal, name="n")
    with pytest.raises(nlxtp.NotFoundError):
        nlxtp.Journal(tmp_path / "nowhere" / "experiment.jsonl")
    (tmp_path / "text").write_text("no journal\n")
    with pytest.raises(nlxtp.InvalidInputError):
        nlxtp.Journal(tmp_path / "text")
    # As it is in the working directory now, wherever the process goes later.
    os.chdir(tmp_path)
    there = nlxtp.Journal(b"relative.jsonl")
    assert there.path == str(tmp_path / "relative.jsonl") and not there.keep_archives
