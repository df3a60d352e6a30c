"""ToMaTo's ``RexTFVElement``, done by nlXTP.

It calls nothing of the library by itself: a backend of a few verbs does, which the module ``tomato``
brings. This file and ``_rextfv_merge.py`` belong to the package ``nlxtp_ctypes``, too, and run on Python
2.7 and 3.
"""

import collections
import contextlib
import errno
import logging
import os
import threading
import time
import weakref

from . import _rextfv_merge as merge

_log = logging.getLogger("nlxtp")
_log.addHandler(logging.NullHandler())

#: Where ToMaTo's guests have the shared directory, beneath their root.
_IN_GUEST = os.path.join("mnt", "nlXTP")

#: How often a download is tried that meets a guest which is writing, and the pause between.
_DOWNLOAD_TRIES = 3
_DOWNLOAD_PAUSE = 1.0

#: States of an element whose guest is off. One that is only created has no guest at all.
_POWER = {"created": "off", "prepared": "off", "started": "on"}

#: What a guest can do to its own status. None of it may disturb who asks for many elements' information.
_OF_THE_GUEST = frozenset(
    ["not-found", "not-a-target", "damaged", "unfinished", "changing", "in-use", "refused", "too-small"]
)

#: Nodes whose liveness is remembered, at most. Each takes some 200 bytes.
_MOST_REMEMBERED = 10000

_O_CLOEXEC = getattr(os, "O_CLOEXEC", 0o2000000)

#: A shared directory or disk, and whether its guest is ``"on"``, ``"off"`` or ``"unknown"``.
Target = collections.namedtuple("Target", ["path", "power"])


class _Lock(object):
    """A lock that goes when nobody uses it."""

    def __init__(self):
        self._lock = threading.Lock()

    def __enter__(self):
        self._lock.acquire()
        return self

    def __exit__(self, *_):
        self._lock.release()


class _Remembered(object):
    """What one query must tell the next, for elements that are made anew for each request."""

    def __init__(self):
        self._guard = threading.Lock()
        self._locks = weakref.WeakValueDictionary()
        self._memories = collections.OrderedDict()

    def lock(self, key):
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = _Lock()
            return lock

    def memory(self, key):
        with self._guard:
            return self._memories.get(key)

    def remember(self, key, memory):
        with self._guard:
            self._memories.pop(key, None)
            if memory is not None:
                self._memories[key] = memory
            while len(self._memories) > _MOST_REMEMBERED:
                self._memories.popitem(last=False)


_remembered = _Remembered()


class RexTFVElementBase(object):
    """Upload, status and download of an element, under the names that ToMaTo gives them.

    The element says where its shared directory is: ``_nlxtp_path(filename)``. If it also has
    ``_nlxtp_device_filename()``, that disk is used instead, and nothing is mounted.
    """

    #: What does the work: the module ``tomato`` of the package sets it.
    _nlxtp_backend = None

    #: Bytes: the size of a new disk, and the most that an archive may hold, unpacked. ``None``: as usual.
    rextfv_max_size = None

    # What an element overrides

    def _nlxtp_path(self, filename):
        """The path of a name in the shared directory; ``None`` where there is none."""
        raise NotImplementedError("an element must say where its shared directory is: _nlxtp_path")

    def _nlxtp_make_readable(self):
        """Called before the shared directory is read. Nothing has to be done."""

    def _nlxtp_make_writeable(self):
        """Called before it is written. Nothing has to be done."""

    def _nlxtp_close(self):
        """Called after each of the two."""

    def _nlxtp_power(self):
        """Whether the guest is ``"on"``, ``"off"`` or ``"unknown"``: by the element's ``state``."""
        return _POWER.get(getattr(self, "state", None), "unknown")

    def _nlxtp_power_for_writing(self):
        """The same before anything is written: what the hypervisor says, where the element asks it for
        the state of a guest with a disk, which must not be written while the guest is on."""
        if self._nlxtp_has_disk() and hasattr(self, "_getState"):
            return _POWER.get(self._getState(), "unknown")
        return self._nlxtp_power()

    def _nlxtp_guest_root(self):
        """The root of the guest's files: beneath it the guest has made every name, and no link is
        followed. ``None``: the whole path is the host's own."""
        path = self._nlxtp_path("").rstrip("/")
        return path[: -len(_IN_GUEST)] if path.endswith("/" + _IN_GUEST) else None

    def _nlxtp_fault(self, error):
        """The exception that is raised for an error of nlXTP's: the error itself. A hostmanager may make
        its own of it."""
        return error

    def _nlxtp_remembered(self):
        """What was remembered of the last status query: text, or ``None``."""
        return _remembered.memory(self._nlxtp_place())

    def _nlxtp_remember(self, memory):
        """Remembers it, here within this process. Override both to keep it in a database."""
        _remembered.remember(self._nlxtp_place(), memory)

    # What ToMaTo calls

    @property
    def lock(self):
        """A lock of this element's shared directory alone."""
        return _remembered.lock(self._nlxtp_place())

    def _use_rextfv_archive(self, filename, keepOldFiles=False):
        """Replaces the content of the shared directory by the archive's.

        With ``keepOldFiles``, files stay that the archive does not bring; see docs/tomato.md.
        """
        with self._writing() as target:
            backend, limit = self._nlxtp_backend, self.rextfv_max_size
            if keepOldFiles:
                merge.upload_over(backend, target, filename, limit)
            else:
                backend.upload(target, filename, limit)
            self._nlxtp_remember(None)

    def _create_rextfv_archive(self, filename):
        """Packs the shared directory into an archive, which replaces the file of that name."""
        with self._reading(must_be_there=True) as target:
            for left in reversed(range(_DOWNLOAD_TRIES)):
                try:
                    self._nlxtp_backend.download(target, filename)
                    return
                except self._nlxtp_backend.Error as error:
                    if not left or error.kind != "changing":
                        raise
                time.sleep(_DOWNLOAD_PAUSE)

    def _clear_nlxtp_contents(self):
        """Empties the shared directory."""
        with self._writing() as target:
            self._clear(target)

    def _clear_nlxtp_contents__already_mounted(self):
        """The same within ``with self.lock``."""
        power = self._nlxtp_power_for_writing()
        with self._translated(), self._target(power, make=True) as target:
            self._clear(target)

    def _rextfv_run_status(self):
        """``{"readable": False}``, or ``{"readable": True, "done": ..., "isAlive": ..., "custom": ...}``."""
        status = self._nlxtp_status()
        if status is None or status.state in ("not-started", "unreadable"):
            return {"readable": False}
        return {
            "readable": True,
            "done": status.done,
            "isAlive": status.state == "running",
            "custom": _custom_text(status.custom),
        }

    def info(self):
        """What :meth:`Element.info` of the hostmanager is joined with."""
        if self.state == "created":
            return {}
        return {
            "attrs": {
                "rextfv_run_status": self._rextfv_run_status(),
                "rextfv_max_size": self.rextfv_max_size,
                "rextfv_supported": True,
            }
        }

    # Beyond ToMaTo

    def _nlxtp_status(self):
        """All that is known of the run; ``None`` where nothing can be read, which the log explains.

        Its ``state`` is one of the protocol's words; ``done``; ``custom`` is bytes or ``None``.
        """
        try:
            with self._reading(must_be_there=False) as target:
                if target is None:
                    return None
                status, memory = self._nlxtp_backend.status(target, self._nlxtp_remembered())
                self._nlxtp_remember(memory)
                return status
        except self._nlxtp_backend.Error as error:
            if error.kind not in _OF_THE_GUEST:
                raise
            _log.warning("the status cannot be read: %s", error)
            return None

    def _nlxtp_create_disk(self):
        """Makes the element's disk, if it has none yet."""
        disk = self._nlxtp_device_filename()
        if not os.path.exists(disk):
            folder = os.path.dirname(disk)
            if not os.path.isdir(folder):
                os.makedirs(folder)
            self._nlxtp_backend.create_disk(disk, self.rextfv_max_size)

    # How it is done

    def _nlxtp_has_disk(self):
        return hasattr(self, "_nlxtp_device_filename")

    def _nlxtp_place(self):
        """The path of the disk or directory; ``None`` where there is none."""
        return self._nlxtp_device_filename() if self._nlxtp_has_disk() else self._nlxtp_path("")

    def _clear(self, target):
        merge.upload_nothing(self._nlxtp_backend, target)
        self._nlxtp_remember(None)

    @contextlib.contextmanager
    def _writing(self):
        """The target, to be written."""
        with self._translated(), self.lock:
            power = self._nlxtp_power_for_writing()
            if self._nlxtp_has_disk() and power == "on":
                # The library will refuse it. A hook that mounts must not even begin.
                with self._target(power, make=False) as target:
                    yield target
                return
            self._nlxtp_make_writeable()
            try:
                with self._target(power, make=True) as target:
                    yield target
            finally:
                self._nlxtp_close()

    @contextlib.contextmanager
    def _reading(self, must_be_there):
        """The target, to be read; ``None`` if it is not there and need not be."""
        with self._translated(), self.lock:
            if self._nlxtp_place() is None and not must_be_there:
                yield None
                return
            self._nlxtp_make_readable()
            try:
                with self._target(self._nlxtp_power(), make=False) as target:
                    yield target
            finally:
                self._nlxtp_close()

    @contextlib.contextmanager
    def _translated(self):
        """Lets the hostmanager choose the exception."""
        try:
            yield
        except self._nlxtp_backend.Error as error:
            fault = self._nlxtp_fault(error)
            if fault is error:
                raise
            raise fault

    @contextlib.contextmanager
    def _target(self, power, make):
        place = self._nlxtp_place()
        if place is None:
            raise self._nlxtp_backend.not_found("this element has no shared directory yet", None)
        if self._nlxtp_has_disk():
            if make:
                self._nlxtp_create_disk()
            yield Target(place, power)
            return
        root = self._nlxtp_guest_root()
        if root is None:
            if make and not os.path.isdir(place):
                os.makedirs(place)
            yield Target(place, power)
            return
        directory = self._open_beneath(root, os.path.relpath(place, root), make)
        try:
            # This very directory, whatever its path leads to by now.
            yield Target("/proc/self/fd/%d" % directory, power)
        finally:
            os.close(directory)

    def _open_beneath(self, root, path, make):
        """A directory in the guest's files, without following any of its links."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | _O_CLOEXEC
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | _O_CLOEXEC) if os.path.isdir(root) else None
        if directory is None:
            raise self._nlxtp_backend.not_found("there is no directory with the guest's files", root)
        try:
            for name in path.split("/"):
                beneath = "/proc/self/fd/%d/%s" % (directory, name)
                try:
                    found = self._open_or_make(beneath, flags, make)
                except EnvironmentError as error:
                    if error.errno == errno.ENOENT:
                        raise self._nlxtp_backend.not_found("there is no %s in the guest's files" % path, root)
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        message = "%s in the guest's files is no directory; links are not followed" % name
                        raise self._nlxtp_backend.not_a_target(message, os.path.join(root, path))
                    raise
                os.close(directory)
                directory = found
            found, directory = directory, None
            return found
        finally:
            if directory is not None:
                os.close(directory)

    @staticmethod
    def _open_or_make(path, flags, make):
        try:
            return os.open(path, flags)
        except EnvironmentError as error:
            if error.errno != errno.ENOENT or not make:
                raise
        try:
            os.mkdir(path, 0o755)
        except EnvironmentError as error:
            # The guest, or its boot, was faster.
            if error.errno != errno.EEXIST:
                raise
        return os.open(path, flags)


def _custom_text(custom):
    """The Custom Status as ``str``, which ToMaTo's interfaces send on: always good UTF-8."""
    if custom is None:
        return None
    text = bytes(custom).decode("utf-8", "replace")
    return text if isinstance(text, str) else text.encode("utf-8")
