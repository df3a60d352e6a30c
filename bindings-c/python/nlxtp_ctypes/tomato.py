"""ToMaTo's ``RexTFVElement`` for its hostmanager on Python 2.7; see docs/tomato.md.

    from nlxtp_ctypes.tomato import RexTFVElement
"""

from . import errors
from ._rextfv_element import RexTFVElementBase
from .disk import create_disk
from .node import Node

__all__ = ["RexTFVElement"]


class _Backend(object):
    """What the element asks for, done by this package."""

    Error = errors.Error
    create_disk = staticmethod(create_disk)

    @staticmethod
    def upload(target, archive, limit):
        with Node(target.path, power=target.power, max_bytes=limit) as node:
            node.upload(archive)

    @staticmethod
    def download(target, archive):
        with Node(target.path, power=target.power) as node:
            node.download(archive, replace=True)

    @staticmethod
    def status(target, memory):
        with Node(target.path, power=target.power, memory=memory) as node:
            status = node.status()
            return status, node.memory()

    @staticmethod
    def not_found(message, path):
        return errors.NotFound(_with(path, message), "not-found", 5, message=message, path=path)

    @staticmethod
    def not_a_target(message, path):
        return errors.NotATarget(_with(path, message), "not-a-target", 6, message=message, path=path)


def _with(path, message):
    return message if path is None else "%s: %s" % (path, message)


class RexTFVElement(RexTFVElementBase):
    """What an element of ToMaTo inherits from to be controlled without its network."""

    _nlxtp_backend = _Backend
