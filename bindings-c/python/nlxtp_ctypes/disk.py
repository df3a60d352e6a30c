"""Disks for virtual machines: made, and described."""

from ctypes import byref, c_void_p

from . import arguments, reports, texts
from .calls import Call, check
from .library import DiskOptions, load


def create_disk(path, size=None, label=None):
    """Makes an empty disk for a virtual machine: attach it to the guest as a raw disk.

    ``size``: bytes of the whole disk; 62 MiB if not said. ``label``: 1 to 11 characters of ASCII.
    An existing file is never overwritten.
    """
    library = load()
    options = DiskOptions(
        bytes=arguments.count(size, "the size"), label=None if label is None else texts.text_to_bytes(label, "label")
    )
    error = c_void_p()
    check(library.nlxtp_disk_create(texts.path_to_bytes(path, "disk"), byref(options), byref(error)), error)


def describe_disk(target, timeout=None, cancel=None):
    """Tells what a virtual machine's disk is like: a :class:`Disk`. Nothing is written.

    ``target``: the path of the image file or block device, an open descriptor of it, or what has a
    ``fileno()``. The allocation table is read once, which takes a moment where the disk is very large:
    ``timeout`` seconds, and ``cancel``, a :class:`Cancel`, can end that.
    """
    library, call = load(), Call(timeout, None, cancel)
    descriptor = arguments.descriptor(target)
    if descriptor is not None:
        open_disk, place = library.nlxtp_disk_open_fd, descriptor
    else:
        open_disk, place = library.nlxtp_disk_open, texts.path_to_bytes(target, "target")

    def describe():
        disk, error = c_void_p(), c_void_p()
        try:
            check(open_disk(place, byref(call.control), byref(disk), byref(error)), error)
            return reports.disk(library, disk)
        finally:
            library.nlxtp_disk_free(disk)

    return call.run(describe)
