"""What an upload and a download did."""

import json
from dataclasses import dataclass, field
from typing import Any, Optional

from ._words import Execution


@dataclass(frozen=True)
class Progress:
    """How far an operation is."""

    phase: str
    """``"examining"`` or ``"extracting"`` (bytes of the archive), ``"packing"`` (bytes of content),
    ``"flushing"``. Later versions may add phases."""
    done: int
    """Bytes so far in this phase."""
    total: Optional[int]
    """All of them, where that is known."""


@dataclass(frozen=True)
class UploadReport:
    """What an upload did."""

    run_id: str
    """The run that it began, 32 hexadecimal digits."""
    entries: int
    """Files, directories and links made."""
    bytes: int
    """Bytes of all files together."""
    start_script: Optional[str]
    """The start script's name, escaped for showing."""
    execution: Execution
    """How it comes to be executed."""
    left_out: "tuple[str, ...]"
    """Entries left out because their names belong to the protocol: the first thousand."""
    lost_modes: int
    """Entries whose mode the target cannot hold."""
    lost_owners: int
    """Entries that belong to another user or group than root in the archive."""
    warnings: "tuple[str, ...]"
    """What may keep the start script from running as it was meant, a sentence each."""
    _json: str = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, text: str) -> "UploadReport":
        """The report that ``nlxtp upload --json`` prints, too."""
        report = json.loads(text)
        return cls(
            run_id=report["run_id"],
            entries=report["entries"],
            bytes=report["bytes"],
            start_script=report["start_script"],
            execution=Execution(report["execution"]),
            left_out=tuple(report["left_out"]["listed"]),
            lost_modes=report["lost"]["modes"],
            lost_owners=report["lost"]["owners"],
            warnings=tuple(report["warnings"]),
            _json=text,
        )

    def to_json(self) -> str:
        """As a JSON object on one line, as ``nlxtp --json`` prints it."""
        return self._json

    def as_dict(self) -> "dict[str, Any]":
        """The same as a dictionary."""
        return dict(json.loads(self._json))


@dataclass(frozen=True)
class Problem:
    """An entry whose content in a download is not what the guest wrote, or that is missing there."""

    path: str
    """Its path, escaped for showing."""
    reason: str
    """A word for what is wrong. Of changed files ``"shorter"``, ``"longer"``, ``"rewritten"`` or
    ``"unreadable"``; of what was left out, among others, ``"vanished"``. Later versions may add words."""


@dataclass(frozen=True)
class Verification:
    """What came of comparing a download with the digests that the guest wrote before it was done.

    Digests find damage and late changes, not lies: who can write results can write digests that fit.
    """

    outcome: str
    """``"verified"``: the archive holds exactly the files that the guest wrote down, with the contents that
    they had. ``"differs"``: it does not. ``"no-digests"``: the guest has written none, or its run is not done.
    ``"unusable"``: what is in their place cannot be used. Later versions may add words."""
    files: int
    """How many files were compared and are the same; 0 unless verified."""
    content: "tuple[str, ...]"
    """Files whose content in the archive is another one: the first thousand paths, escaped for showing."""
    missing: "tuple[str, ...]"
    """Files that the guest wrote down and the archive lacks: likewise."""
    unlisted: "tuple[str, ...]"
    """Files in the archive that the guest did not write down: likewise."""
    reason: "Optional[str]"
    """Why the digests cannot be used, if they cannot."""

    @classmethod
    def _of(cls, told: "dict[str, Any]") -> "Verification":
        def paths(kind: str) -> "tuple[str, ...]":
            return tuple(told[kind]["listed"]) if kind in told else ()

        return cls(
            outcome=told["outcome"],
            files=told.get("files", 0),
            content=paths("content"),
            missing=paths("missing"),
            unlisted=paths("unlisted"),
            reason=told.get("reason"),
        )


@dataclass(frozen=True)
class DownloadReport:
    """What a download took home."""

    files: int
    """Files in the archive."""
    directories: int
    """Directories in the archive, the shared directory itself not counted."""
    symlinks: int
    """Symbolic links in the archive."""
    bytes: int
    """Bytes of all files together."""
    archive_bytes: int
    """Bytes of the archive."""
    changed: "tuple[Problem, ...]"
    """Files that changed while they were read, or could not be read whole: the first thousand."""
    left_out: "tuple[Problem, ...]"
    """What the archive lacks: the first thousand."""
    verification: Verification
    """Whether the archive holds what the guest had written when it was done."""
    attempts: int
    """How often it was packed."""
    _json: str = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, text: str, attempts: int) -> "DownloadReport":
        """The report of a download that took so many attempts."""
        report = json.loads(text)
        return cls(
            files=report["files"],
            directories=report["directories"],
            symlinks=report["symlinks"],
            bytes=report["bytes"],
            archive_bytes=report["archive_bytes"],
            changed=tuple(Problem(one["path"], one["problem"]) for one in report["changed"]["listed"]),
            left_out=tuple(Problem(one["path"], one["reason"]) for one in report["left_out"]["listed"]),
            verification=Verification._of(report["verification"]),
            attempts=attempts,
            _json=text,
        )

    @property
    def is_settled(self) -> bool:
        """Whether nothing is known to have changed or vanished while it was packed."""
        return not self.changed and all(one.reason != "vanished" for one in self.left_out)

    def to_json(self) -> str:
        """As a JSON object on one line, as ``nlxtp --json`` prints it."""
        return self._json

    def as_dict(self) -> "dict[str, Any]":
        """The same as a dictionary."""
        return dict(json.loads(self._json))


