"""Files and scripts into virtual machines and containers, and results out, without their network.

A :class:`Node` is a virtual machine or container that shares a directory or a disk with this host.

>>> import tempfile
>>> container = tempfile.mkdtemp()
>>> node = nlxtp.Node(nlxtp.HostDirectory(container))
>>> report = node.upload(example_archive)
>>> node.status().running
False

:class:`AsyncNode` has the same operations for asyncio; a :class:`Watcher` watches thousands of nodes. All
exceptions are :class:`Error`. What happens is logged to ``logging.getLogger("nlxtp")``.
"""

import logging as _logging

from ._async_node import AsyncNode
from ._errors import (
    BadArchiveError,
    CallableError,
    CancelledError,
    ChangingError,
    DamagedError,
    Error,
    ExistsError,
    GuestOnError,
    InUseError,
    InvalidInputError,
    InvokeFailedError,
    NoSpaceError,
    NotATargetError,
    NotFoundError,
    PermissionDeniedError,
    ReadOnlyError,
    Refusal,
    RefusedError,
    SystemFailureError,
    TimedOutError,
    TooSmallError,
    UnfinishedError,
)
from ._guest import guest_binary
from ._journal import Journal
from ._native import CancelToken, Status, __version__
from ._node import Node
from ._reports import DownloadReport, Problem, Progress, UploadReport, Verification
from ._targets import DiskImage, HostDirectory, open_target
from ._watcher import Change, Watcher
from ._words import CustomStatus, Execution, Power, State

# What a library does, so that only programs that ask for it see its log.
_logging.getLogger("nlxtp").addHandler(_logging.NullHandler())

__all__ = [
    "AsyncNode",
    "BadArchiveError",
    "CallableError",
    "CancelToken",
    "CancelledError",
    "Change",
    "ChangingError",
    "CustomStatus",
    "DamagedError",
    "DiskImage",
    "DownloadReport",
    "Error",
    "Execution",
    "ExistsError",
    "GuestOnError",
    "HostDirectory",
    "InUseError",
    "InvalidInputError",
    "InvokeFailedError",
    "Journal",
    "NoSpaceError",
    "Node",
    "NotATargetError",
    "NotFoundError",
    "PermissionDeniedError",
    "Power",
    "Problem",
    "Progress",
    "ReadOnlyError",
    "Refusal",
    "RefusedError",
    "State",
    "Status",
    "SystemFailureError",
    "TimedOutError",
    "TooSmallError",
    "UnfinishedError",
    "UploadReport",
    "Verification",
    "Watcher",
    "__version__",
    "guest_binary",
    "open_target",
]
