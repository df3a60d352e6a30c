"""A guest as the tests play it: it writes what the guest's programs would write, in `docs/protocol.md`'s
words alone."""

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import nlxtp

VECTORS = Path(__file__).parents[2] / "rextfv-core/tests/vectors"


@dataclass(frozen=True)
class Record:
    """A status record."""

    run: Optional[str] = None
    sequence: int = 1
    state: str = "running"
    done: bool = False
    running_info: Optional[int] = None
    interval_ms: int = 1000
    boot: Optional[str] = None
    ended: Optional[str] = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    truncated: "tuple[str, ...]" = ()
    custom: Optional[bytes] = None
    progress: Optional[str] = None

    def encode(self) -> bytes:
        lines = [
            "nlxtp-status 1",
            f"run: {self.run or '-'}",
            f"sequence: {self.sequence}",
            f"state: {self.state}",
            f"done: {'yes' if self.done else 'no'}",
            f"running-info: {self.sequence if self.running_info is None else self.running_info}",
            f"interval-ms: {self.interval_ms}",
            f"boot: {self.boot or '-'}",
            f"ended: {self.ended or '-'}",
            f"stdout-bytes: {self.stdout_bytes}",
            f"stderr-bytes: {self.stderr_bytes}",
            f"truncated: {' '.join(self.truncated) or '-'}",
            f"custom-bytes: {'-' if self.custom is None else len(self.custom)}",
        ]
        if self.progress is not None:
            lines.append(f"progress: {self.progress}")
        body = "\n".join(lines).encode() + b"\n\n" + (self.custom or b"") + b"\n"
        return body + b"sha256: " + hashlib.sha256(body).hexdigest().encode() + b"\n"


class Guest:
    """The other side of a shared directory. On a disk it writes by mtools."""

    def __init__(self, target: Union[nlxtp.HostDirectory, nlxtp.DiskImage]) -> None:
        self.target = target
        self.is_disk = isinstance(target, nlxtp.DiskImage)

    def write(self, name: str, content: bytes) -> None:
        if not self.is_disk:
            path = Path(self.target.path, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return
        folder, _, _ = name.rpartition("/")
        if folder:
            # Is there already, mostly.
            self._mtools("mmd", "-D", "s", f"::{folder}", may_fail=True)
        self._mtools("mcopy", "-o", "-", f"::{name}", content=content)

    def write_record(self, record: Record, slot: int = 0) -> None:
        self.write(f"exec_status/status.{slot}", record.encode())

    def write_vector(self, name: str) -> None:
        self.write("exec_status/status.0", (VECTORS / name).read_bytes())

    def remove(self, name: str) -> None:
        if self.is_disk:
            self._mtools("mdel", f"::{name}")
        else:
            os.remove(os.path.join(self.target.path, name))

    def _mtools(self, verb: str, *words: str, content: bytes = b"", may_fail: bool = False) -> None:
        command = [verb, "-i", f"{self.target.path}@@1M", *words]
        environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
        done = subprocess.run(command, input=content, env=environment, capture_output=True, check=False)
        assert may_fail or done.returncode == 0, done.stderr
