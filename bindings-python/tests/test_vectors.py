"""The golden vectors, which all implementations share."""

import json
from typing import Any

import pytest

import nlxtp
from guest import VECTORS, Guest, Record

CATALOGUE: "list[dict[str, Any]]" = json.loads((VECTORS / "vectors.json").read_text())

#: What the host tells of the states that a record has.
STATES = {
    "running": "running",
    "finished": "finished",
    "timed-out": "finished",
    "interrupted": "monitor-stopped",
    "rebooted": "guest-rebooted",
}


def test_the_catalogue_is_there() -> None:
    assert len(CATALOGUE) >= 15


@pytest.mark.parametrize("vector", CATALOGUE, ids=lambda vector: vector["file"])
def test_each_is_told_as_catalogued(vector: "dict[str, Any]", guest: Guest) -> None:
    guest.write_vector(vector["file"])
    status = nlxtp.Node(guest.target).status()
    if "damage" in vector:
        assert status.state == "unreadable" and status.reason, vector
        assert (status.done, status.running, status.sequence, status.custom) == (False, False, None, None)
        return
    # Ended without its results on the disk is still under way.
    state = STATES[vector["state"]] if vector["done"] or vector["state"] != "finished" else "running"
    assert status.state == state, vector
    assert status.dialect == "nlxtp"
    assert status.sequence == int(vector["sequence"])
    assert status.done == (state == "finished") and status.running == (state == "running")
    ended = (vector["ended"] or "").split()
    assert status.exit_code == (int(ended[1]) if ended[:1] == ["exit"] else None)
    assert status.signal == (int(ended[1]) if ended[:1] == ["signal"] else None)
    assert status.timed_out == (vector["state"] == "timed-out")
    assert status.stdout_bytes == int(vector["stdout_bytes"])
    assert status.stderr_bytes == int(vector["stderr_bytes"])
    assert list(status.truncated) == vector["truncated"]
    custom = None if vector["custom_hex"] is None else bytes.fromhex(vector["custom_hex"])
    assert status.custom == custom
    done_of_total = vector.get("progress")
    assert status.progress == (tuple(map(int, done_of_total.split("/"))) if done_of_total else None)


@pytest.mark.parametrize("vector", [v for v in CATALOGUE if v.get("encodes")], ids=lambda vector: vector["file"])
def test_the_tests_own_guest_writes_the_same(vector: "dict[str, Any]") -> None:
    record = Record(
        run=vector["run"],
        sequence=int(vector["sequence"]),
        state=vector["state"],
        done=vector["done"],
        running_info=int(vector["running_info"]),
        interval_ms=vector["interval_ms"],
        boot=vector["boot"],
        ended=vector["ended"],
        stdout_bytes=int(vector["stdout_bytes"]),
        stderr_bytes=int(vector["stderr_bytes"]),
        truncated=tuple(vector["truncated"]),
        custom=None if vector["custom_hex"] is None else bytes.fromhex(vector["custom_hex"]),
        progress=vector.get("progress"),
    )
    assert record.encode() == (VECTORS / vector["file"]).read_bytes()
