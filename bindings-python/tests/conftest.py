"""What the tests share."""

import io
import tarfile
from pathlib import Path
from typing import Callable, Union

import pytest

import nlxtp

MakeTarget = Callable[[], Union[nlxtp.HostDirectory, nlxtp.DiskImage]]


def archive(files: "dict[str, bytes]") -> bytes:
    """A tar.gz of these files, all of them executable."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


EXAMPLE = archive({"auto_exec.sh": b"#!/bin/sh\necho hello\n"})


def read_archive(packed: bytes) -> "dict[str, bytes]":
    """The files of a tar, of whatever compression Python knows."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name.removeprefix("./"): file.read() for name, file in members.items() if file}


@pytest.fixture(params=["directory", "disk"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Union[nlxtp.HostDirectory, nlxtp.DiskImage]:
    """A shared directory of each kind."""
    if request.param == "disk":
        return nlxtp.DiskImage.create(tmp_path / "disk.img", size=16 << 20)
    (tmp_path / "container").mkdir()
    return nlxtp.HostDirectory(tmp_path / "container")
