"""Shared directories, by where they are."""

import os
from typing import Optional, Union

from . import _native

StrPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
"""A path: what :func:`os.fsencode` takes."""


def encoded(path: StrPath) -> bytes:
    """The bytes of a path."""
    there = os.fsencode(path)
    if b"\0" in there:
        # As `open` does.
        raise ValueError("embedded null byte")
    return there


class _Target:
    _is_disk = False

    def __init__(self, path: StrPath) -> None:
        self._path = encoded(path)
        _native.open_target(self._path, self._is_disk)

    @property
    def path(self) -> str:
        """Where it is, as :func:`os.fsdecode` has it."""
        return os.fsdecode(self._path)

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"nlxtp.{type(self).__name__}({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, _Target) and self._path == other._path

    def __hash__(self) -> int:
        return hash((type(self), self._path))


class HostDirectory(_Target):
    """A container's shared directory: a directory of this host.

    :raises NotFoundError: there is none at this path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as container:
    ...     nlxtp.Node(nlxtp.HostDirectory(container)).status().state.value
    'not-started'
    """


class DiskImage(_Target):
    """A virtual machine's disk: a raw file or block device, with a FAT file system in partition 1 or as
    a whole. It is read and written in user space, without a mount and without root.

    :raises NotFoundError: there is nothing at this path.
    :raises NotATargetError: it holds no usable FAT file system.
    :raises DamagedError: its file system is damaged.
    """

    _is_disk = True

    @classmethod
    def create(cls, path: StrPath, *, size: Optional[int] = None, label: Optional[str] = None) -> "DiskImage":
        """Makes an empty disk: a sparse file with an MBR, whose partition 1 begins at 1 MiB and holds an
        empty FAT file system. An existing file is never overwritten.

        :param size: bytes of the whole disk, up to 2 TiB; 62 MiB if it is not given.
        :param label: the volume label, up to 11 characters of ASCII, none if it is empty; ``NLXTP`` if it
            is not given.
        :raises ExistsError: there is something at this path.

        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     disk = nlxtp.DiskImage.create(os.path.join(directory, "disk.img"), size=8 << 20)
        ...     os.path.getsize(disk)
        8388608
        """
        there = encoded(path)
        _native.create_disk(there, size, label)
        return cls(there)


def open_target(path: StrPath) -> "Union[HostDirectory, DiskImage]":
    """The shared directory at this path: a container's if it is a directory, else a virtual machine's
    disk.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as container:
    ...     type(nlxtp.open_target(container)).__name__
    'HostDirectory'
    """
    return HostDirectory(path) if os.path.isdir(os.fsencode(path)) else DiskImage(path)
