"""A node: a guest that is controlled through its shared directory."""

import ctypes
import threading
from ctypes import byref, c_size_t, c_void_p

from . import arguments, errors, reports, texts
from .calls import FAILED, Call, check, told
from .journal import handle_of
from .library import ChangeFunction, DownloadOptions, InvokeFunction, NodeOptions, PowerFunction, load

_POWER = {"unknown": 0, "on": 1, "off": 2}
_FORMATS = {None: 0, "tar.gz": 1, "tar": 2, "tar.zst": 3}
_OUTPUTS = {"stdout": 1, "stderr": 2}

#: Bytes of an output that are read with one call.
_PIECE = 1 << 20


class Node(object):
    """A virtual machine or container, by its shared directory.

    ``target``: its path. A directory is a container's, a file or block device a virtual machine's disk.
    Or an open descriptor of one of these, or what has a ``fileno()``: it leads to the same wherever its
    name leads meanwhile, stays the caller's, and may be closed.

    ``power``: ``"on"``, ``"off"``, ``"unknown"``, or a function that returns one of these.
    ``invoke_monitor``: a function that starts the monitor in the running guest.
    ``follow_links``: on a disk, which has no links, upload a copy of what a link leads to.
    ``max_entries``, ``max_bytes``: limits for archives and shared directories.
    ``grace``, ``tomato_patience``: seconds that a monitor may be silent.
    ``memory``: what :meth:`memory` gave before, in this process or another.
    ``journal``: a :class:`Journal` in which what is done is recorded, and ``name``, the node's name there: the
    same in every process, and no other node's.

    One thread at a time may use a node. What the two functions raise is raised by the call that has
    called them; an upload whose monitor could not be started stands nevertheless. A node is freed by :meth:`close`, at the end of ``with``, or with the last reference.
    """

    def __init__(self, target, power="unknown", invoke_monitor=None, follow_links=False, max_entries=None,
                 max_bytes=None, grace=None, tomato_patience=None, memory=None, journal=None, name=None):
        self._library = library = load()
        self._handle = None
        self._in_use = threading.Lock()
        self._callbacks = callbacks = _Callbacks(power if callable(power) else None, invoke_monitor)
        power_function = PowerFunction(callbacks.power_state) if callbacks.power else PowerFunction()
        invoke_function = InvokeFunction(callbacks.invoke_monitor) if invoke_monitor else InvokeFunction()
        options = NodeOptions(
            power=0 if callbacks.power else arguments.word(_POWER, power, "power state"),
            follow_links=bool(follow_links),
            power_state=power_function,
            invoke_monitor=invoke_function,
            max_entries=arguments.count(max_entries, "max_entries"),
            max_bytes=arguments.count(max_bytes, "max_bytes"),
            grace_ms=arguments.milliseconds(grace, "grace"),
            tomato_patience_ms=arguments.milliseconds(tomato_patience, "tomato_patience"),
            memory=None if memory is None else texts.text_to_bytes(memory, "memory"),
            journal=handle_of(journal),
            journal_name=None if name is None else texts.text_to_bytes(name, "name"),
        )
        handle, error = c_void_p(), c_void_p()
        descriptor = arguments.descriptor(target)
        if descriptor is not None:
            result = library.nlxtp_node_open_fd(descriptor, byref(options), byref(handle), byref(error))
        else:
            target = texts.path_to_bytes(target, "target")
            result = library.nlxtp_node_open(target, byref(options), byref(handle), byref(error))
        check(result, error)
        self._handle = _NodeHandle(handle)
        # The library calls them in calls of this node, never when it is freed.
        self._functions = (power_function, invoke_function)

    def close(self):
        """Frees the node; harmless if that was done. Not for a callback of the node's own call."""
        if not self._in_use.acquire(False):
            raise _in_use()
        self._handle = None
        self._in_use.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self, call, function, free, read):
        """Makes a call whose last two arguments are its report and its error."""
        callbacks = self._callbacks

        def work():
            report, error = c_void_p(), c_void_p()
            try:
                check(function(handle.value, byref(report), byref(error)), error)
                return read(self._library, report) if read is not None else None
            finally:
                free(report)

        if not self._in_use.acquire(False):
            raise _in_use()
        try:
            handle = self._handle
            if handle is None:
                raise errors.InvalidInput("the node is closed")
            callbacks.call = call
            return call.run(work)
        finally:
            callbacks.call = None
            self._in_use.release()

    def upload(self, archive, timeout=None, progress=None, cancel=None):
        """Replaces the shared directory's content by that of the archive at a path, and has its start
        script executed. Returns an :class:`Upload`.

        On failure the old content stands, but for :class:`InvokeFailed` and :class:`Unfinished`.
        ``timeout``: seconds. ``progress(phase, done, total)`` is called when a phase begins, when it is
        complete, and some 20 times a second at most between. ``cancel``: a :class:`Cancel`.
        """
        library, archive = self._library, texts.path_to_bytes(archive, "archive")
        call = Call(timeout, progress, cancel)

        def upload(handle, report, error):
            return library.nlxtp_node_upload(handle, archive, byref(call.control), report, error)

        return self._run(call, upload, library.nlxtp_upload_free, reports.upload)

    def download(self, archive, format=None, replace=False, timeout=None, progress=None, cancel=None, level=None,
                 threads=None, retries=0):
        """Packs the whole shared directory into an archive at a path, which is there only when it is
        complete. Returns a :class:`Download`.

        ``format``: ``"tar.gz"``, ``"tar"``, ``"tar.zst"``, or ``None``: what the path ends with, else
        tar.gz. An existing file is only replaced if ``replace`` is true. ``level``: how hard to compress, 1 to 9
        for tar.gz, to 22 for tar.zst. ``threads``: how many compress. ``retries``: how often to pack again, at
        most, until nothing changed meanwhile.
        """
        library, archive = self._library, texts.path_to_bytes(archive, "archive")
        if not isinstance(retries, texts.integer_types) or not 0 <= retries < 2**32 - 1:
            raise errors.InvalidInput("retries is %r; it must be a number from 0 on" % (retries,))
        options = DownloadOptions(
            format=arguments.word(_FORMATS, format, "format"),
            level=arguments.count(level, "level", 2**31),
            threads=arguments.count(threads, "threads", 2**32),
            attempts=retries + 1,
            replace=bool(replace),
        )
        call = Call(timeout, progress, cancel)

        def download(handle, report, error):
            return library.nlxtp_node_download(handle, archive, byref(options), byref(call.control), report, error)

        return self._run(call, download, library.nlxtp_download_free, reports.download)

    def status(self):
        """Tells how far the run has come: a :class:`Status`."""
        library = self._library

        def status(handle, report, error):
            return library.nlxtp_node_status(handle, report, error)

        return self._run(self._short_call(), status, library.nlxtp_status_free, reports.status)

    def wait(self, timeout=None, on_change=None, cancel=None):
        """Queries the status until the run has ended one way or another. Returns the last
        :class:`Status`; ``on_change(status)`` is called with each one that differs from the one before.

        Raises :class:`TimedOut` after ``timeout`` seconds, and :class:`Changing` if another upload has
        begun a new run.
        """
        library = self._library
        call = Call(timeout, None, cancel)

        def changed(_, handle):
            if not call.failed():
                call.callback(on_change, reports.status(library, handle))
            return int(call.failed())

        on_change_function = ChangeFunction(changed) if on_change is not None else ChangeFunction()

        def wait(handle, report, error):
            return library.nlxtp_node_wait(handle, byref(call.control), on_change_function, None, report, error)

        return self._run(call, wait, library.nlxtp_status_free, reports.status)

    def read_output(self, output="stdout", offset=0, length=_PIECE):
        """At most ``length`` bytes of one of the start script's outputs, from ``offset`` on, and never
        more than the status says to be on the disk; ``b""`` where there are no more yet. Of ToMaTo's
        guest modules, ``"stdout"`` is both outputs together."""
        library, number = self._library, arguments.word(_OUTPUTS, output, "output")
        for value, what in ((offset, "offset"), (length, "length")):
            if not isinstance(value, texts.integer_types) or not 0 <= value < 2**63:
                raise errors.InvalidInput("the %s is %r; it must be a number from 0 on" % (what, value))
        length = min(length, 64 * _PIECE)
        buffer, length_read = ctypes.create_string_buffer(max(length, 1)), c_size_t()

        def read(handle, report, error):
            # The query says what may be read.
            result = library.nlxtp_node_status(handle, report, error)
            if result != 0:
                return result
            return library.nlxtp_node_read_output(
                handle, _dereference(report), number, offset, buffer, length, byref(length_read), error
            )

        self._run(self._short_call(), read, library.nlxtp_status_free, None)
        return ctypes.string_at(buffer, length_read.value)

    def output(self, output="stdout"):
        """All of one of the start script's outputs, as far as it is on the disk."""
        pieces, offset = [], 0
        while True:
            piece = self.read_output(output, offset)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            offset += len(piece)

    def memory(self):
        """What must be remembered for the next query, should that come from another process: a small
        text, for ``memory`` of a new node; ``None`` where there is nothing to remember."""
        library = self._library

        def memory(handle, report, error):
            return library.nlxtp_node_memory(handle, report, error)

        def read(_, text):
            return None if not text else texts.native(ctypes.string_at(text))

        return self._run(_NoCall(), memory, library.nlxtp_string_free, read)

    def journal_failure(self):
        """Why something that was done since this was asked last is not in the journal: an :class:`Error`, or
        ``None``. What was done stands."""
        library = self._library

        def ask(handle, failure, error):
            return library.nlxtp_node_journal_failure(handle, failure, error)

        def read(library, failure):
            return told(library.nlxtp_error_code(failure), failure) if failure else None

        return self._run(_NoCall(), ask, library.nlxtp_error_free, read)

    def _short_call(self):
        """Only callbacks make a short call one that a signal must be able to end."""
        return Call() if self._callbacks.power is not None else _NoCall()


class _NodeHandle(object):
    """The library's handle, which refers to nothing. A node's callbacks may refer to the node, and
    Python 2 frees no circle with a `__del__` in it."""

    def __init__(self, handle, free=None):
        self._free = free or load().nlxtp_node_free
        self.value = handle.value

    def __del__(self):
        self._free(self.value)


class _Callbacks(object):
    """What the library calls, for whichever call of the node is under way."""

    def __init__(self, power, invoke):
        self.power = power
        self.invoke = invoke
        self.call = None

    def power_state(self, _):
        answer = self.call.callback(self._power_number)
        return FAILED if self.call.failed() else answer

    def _power_number(self):
        return arguments.word(_POWER, self.power(), "power state that the callback has returned")

    def invoke_monitor(self, _):
        self.call.callback(self.invoke)
        return FAILED if self.call.failed() else 0


def _in_use():
    text = "the node is in use, by another thread or by the call that has called back"
    return errors.InUse(text, kind="in-use", number=12, may_retry=True)


class _NoCall(object):
    """Stands for a call that takes no time and calls nothing back."""

    @staticmethod
    def run(work):
        return work()


def _dereference(reference):
    """What is in the variable that ``byref`` was taken of."""
    return reference._obj
