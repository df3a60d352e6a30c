"""What the tests share."""

import io
import signal
import tarfile
from pathlib import Path
from typing import Any, Callable, Union

import pytest

import nlxtp
from guest import Guest
from nlxtp import _errors

Target = Union[nlxtp.HostDirectory, nlxtp.DiskImage]
MakeTarget = Callable[[str], Target]


def _no_words_of_the_command(make: "Callable[..., nlxtp.Error]") -> "Callable[..., nlxtp.Error]":
    """No error that any test provokes speaks of flags or commands that a Python program does not have."""

    def checked(*arguments: Any) -> nlxtp.Error:
        error = make(*arguments)
        reasons = [one.reason for one in getattr(error, "refusals", ())]
        for words in [error.hint or "", error.message, *reasons]:
            assert "--" not in words and "nlxtp " not in words, words
        assert error.operation and error.kind and error.message and error.message in str(error)
        assert error.hint is None or error.hint in str(error)
        return error

    return checked


# A shell's background jobs begin with Ctrl-C ignored, and Python then leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The native module looks it up once, when the first error occurs.
_errors.from_native = _no_words_of_the_command(_errors.from_native)


def archive(files: "dict[str, bytes]") -> bytes:
    """A tar.gz of these files, all of them executable."""
    entries = []
    for name, content in files.items():
        entry = tarfile.TarInfo(name)
        entry.mode, entry.size = 0o755, len(content)
        entries.append((entry, content))
    return archive_of(*entries)


def archive_of(*entries: "tuple[tarfile.TarInfo, bytes]", mode: str = "w:gz") -> bytes:
    """A tar of these entries."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


EXAMPLE = archive({"auto_exec.sh": b"#!/bin/sh\necho hello\n"})


def read_archive(packed: bytes) -> "dict[str, bytes]":
    """The files of a tar, of whatever compression Python knows."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name.removeprefix("./"): file.read() for name, file in members.items() if file}


def content_of(node: nlxtp.Node) -> "dict[str, bytes]":
    """All files of a node, by a download."""
    home = io.BytesIO()
    node.download(home, format="tar")
    return read_archive(home.getvalue())


@pytest.fixture(params=["directory", "disk"])
def make_target(request: pytest.FixtureRequest, tmp_path: Path) -> MakeTarget:
    """Makes shared directories of each kind."""

    def make(name: str) -> Target:
        if request.param == "disk":
            return nlxtp.DiskImage.create(tmp_path / f"{name}.img", size=16 << 20)
        (tmp_path / name).mkdir()
        return nlxtp.HostDirectory(tmp_path / name)

    return make


@pytest.fixture
def target(make_target: MakeTarget) -> Target:
    """A shared directory of each kind."""
    return make_target("target")


@pytest.fixture
def guest(target: Target) -> Guest:
    """The guest whose shared directory it is."""
    return Guest(target)
