"""ToMaTo's ``RexTFVElement``: a mixin that makes an element of its hostmanager one of nlXTP's.

    from nlxtp.tomato import RexTFVElement

Names, results and hooks are ToMaTo's own, so that its elements work by changing one import; the page on
ToMaTo in the project's documents says which lines may go away. A hostmanager on Python 2.7 imports the same
mixin from ``nlxtp_ctypes.tomato``.

>>> import os, tempfile
>>> folder = tempfile.mkdtemp()
>>> class Container(RexTFVElement):
...     state = "prepared"
...     def _nlxtp_path(self, filename):
...         return os.path.join(folder, "shared", filename)
>>> archive = os.path.join(folder, "archive.tar.gz")
>>> with open(archive, "wb") as file:
...     _ = file.write(example_archive)
>>> element = Container()
>>> element._use_rextfv_archive(archive)
>>> element._rextfv_run_status()
{'readable': False}
>>> sorted(os.listdir(element._nlxtp_path("")))
['auto_exec.sh', 'nlxtp_run_id']
"""

from typing import Optional

from . import _errors
from ._native import Status
from ._node import Node
from ._rextfv_element import RexTFVElementBase, Target
from ._targets import DiskImage, StrPath

__all__ = ["RexTFVElement"]


class _Backend:
    """What the element asks for, done by this package."""

    Error: type[Exception] = _errors.Error

    @staticmethod
    def create_disk(path: StrPath, size: Optional[int]) -> None:
        DiskImage.create(path, size=size)

    @staticmethod
    def upload(target: Target, archive: StrPath, limit: Optional[int]) -> None:
        Node(target.path, power=target.power, max_bytes=limit).upload(archive)

    @staticmethod
    def download(target: Target, archive: StrPath) -> None:
        Node(target.path, power=target.power).download(archive, replace=True)

    @staticmethod
    def status(target: Target, memory: Optional[str]) -> "tuple[Status, Optional[str]]":
        node = Node(target.path, power=target.power, memory=memory)
        status = node.status()
        return status, node.memory

    @staticmethod
    def not_found(message: str, path: Optional[str]) -> _errors.Error:
        return _failure("not-found", message, path)

    @staticmethod
    def not_a_target(message: str, path: Optional[str]) -> _errors.Error:
        return _failure("not-a-target", message, path)


def _failure(kind: str, message: str, path: Optional[str]) -> _errors.Error:
    """The exception of this kind, as if the native module had raised it."""
    text = message if path is None else f"{path}: {message}"
    return _errors.from_native(("open", kind, message, text), (path, None, False, None), ([], 0), None, False)


class RexTFVElement(RexTFVElementBase):
    """What an element of ToMaTo inherits from to be controlled without its network.

    A subclass says where its shared directory is: ``_nlxtp_path(filename)``, and for a virtual machine
    ``_nlxtp_device_filename()``. Exceptions are :class:`nlxtp.Error`, unless ``_nlxtp_fault`` makes the
    hostmanager's own of them.
    """

    _nlxtp_backend = _Backend
