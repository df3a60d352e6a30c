"""nlXTP for Python 2.7 and 3, over the C library ``libnlxtp``: pure Python, nothing to compile.

    from nlxtp_ctypes import Node

    with Node("disk.img", power="off") as node:
        node.upload("experiment.tar.gz")
        # ... the testbed boots the guest ...
        status = node.wait(timeout=600)
        print(status.state, status.exit_code)

On Python 3.9 and newer the package ``nlxtp`` offers more. docs/tomato.md tells how ToMaTo uses this one.
"""

from .calls import Cancel
from .disk import create_disk, describe_disk
from .errors import (
    BadArchive,
    Cancelled,
    Changing,
    Damaged,
    Error,
    Exists,
    GuestOn,
    InternalError,
    InUse,
    InvalidInput,
    InvokeFailed,
    NoSpace,
    NotATarget,
    NotFound,
    PermissionDenied,
    ReadOnly,
    Refused,
    SystemFailure,
    TimedOut,
    TooSmall,
    Unfinished,
)
from .journal import Journal
from .library import load, version
from .node import Node
from .reports import Disk, Download, Status, Upload
from .watcher import Change, Watcher

__all__ = [
    "BadArchive",
    "Cancel",
    "Cancelled",
    "Change",
    "Changing",
    "Damaged",
    "Disk",
    "Download",
    "Error",
    "Exists",
    "GuestOn",
    "InUse",
    "InternalError",
    "InvalidInput",
    "InvokeFailed",
    "Journal",
    "NoSpace",
    "Node",
    "NotATarget",
    "NotFound",
    "PermissionDenied",
    "ReadOnly",
    "Refused",
    "Status",
    "SystemFailure",
    "TimedOut",
    "TooSmall",
    "Unfinished",
    "Upload",
    "Watcher",
    "create_disk",
    "describe_disk",
    "load",
    "version",
]
