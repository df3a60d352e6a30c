"""Finds ``libnlxtp`` and declares what this package calls of it, as ``nlxtp.h`` does."""

import ctypes
import os
import threading
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

from . import texts
from .errors import NotFound

#: The version of the ABI that this package was written for; see docs/c-api.md.
SONAME = "libnlxtp.so.0"

#: Names the library where it is not installed in a usual place.
VARIABLE = "NLXTP_LIBRARY"

#: "Not known" among sizes.
UNKNOWN = 2**64 - 1

PowerFunction = ctypes.CFUNCTYPE(c_int, c_void_p)
InvokeFunction = ctypes.CFUNCTYPE(c_int, c_void_p)
ChangeFunction = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)


class Progress(ctypes.Structure):
    """``nlxtp_progress``"""

    _fields_ = [("size", c_size_t), ("phase", c_int32), ("done", c_uint64), ("total", c_uint64)]


ProgressFunction = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(Progress))


class Growable(ctypes.Structure):
    """A structure that begins with its size, which it sets itself."""

    def __init__(self, **fields):
        ctypes.Structure.__init__(self, size=ctypes.sizeof(self), **fields)


class DiskOptions(Growable):
    """``nlxtp_disk_options``"""

    _fields_ = [("size", c_size_t), ("bytes", c_uint64), ("label", c_char_p)]


class NodeOptions(Growable):
    """``nlxtp_node_options``"""

    _fields_ = [
        ("size", c_size_t),
        ("power", c_int32),
        ("follow_links", c_int),
        ("power_state", PowerFunction),
        ("invoke_monitor", InvokeFunction),
        ("user_data", c_void_p),
        ("max_entries", c_uint64),
        ("max_bytes", c_uint64),
        ("grace_ms", c_uint64),
        ("tomato_patience_ms", c_uint64),
        ("memory", c_char_p),
        ("journal", c_void_p),
        ("journal_name", c_char_p),
    ]


class JournalOptions(Growable):
    """``nlxtp_journal_options``"""

    _fields_ = [("size", c_size_t), ("keep_archives", c_int)]


class DownloadOptions(Growable):
    """``nlxtp_download_options``"""

    _fields_ = [
        ("size", c_size_t),
        ("format", c_int32),
        ("level", c_int32),
        ("threads", c_uint32),
        ("attempts", c_uint32),
        ("replace", c_int),
    ]


class WatcherOptions(Growable):
    """``nlxtp_watcher_options``"""

    _fields_ = [("size", c_size_t), ("shortest_ms", c_uint64), ("longest_ms", c_uint64), ("open_files", c_uint64)]


class Control(Growable):
    """``nlxtp_control``"""

    _fields_ = [
        ("size", c_size_t),
        ("has_timeout", c_int),
        ("timeout_ms", c_uint64),
        ("progress", ProgressFunction),
        ("user_data", c_void_p),
        ("cancel", c_void_p),
    ]


_OUT = POINTER(c_void_p)
_RESULT = c_int32

# Handles are plain addresses here; the classes of this package keep their kinds apart.
_SIGNATURES = {
    "nlxtp_version": (c_char_p, []),
    "nlxtp_string_free": (None, [c_void_p]),
    "nlxtp_cancel_new": (_RESULT, [_OUT, _OUT]),
    "nlxtp_cancel_now": (None, [c_void_p]),
    "nlxtp_cancel_free": (None, [c_void_p]),
    "nlxtp_disk_create": (_RESULT, [c_char_p, POINTER(DiskOptions), _OUT]),
    "nlxtp_disk_open": (_RESULT, [c_char_p, POINTER(Control), _OUT, _OUT]),
    "nlxtp_disk_open_fd": (_RESULT, [c_int, POINTER(Control), _OUT, _OUT]),
    "nlxtp_disk_bytes": (c_uint64, [c_void_p]),
    "nlxtp_disk_partition_offset": (c_uint64, [c_void_p]),
    "nlxtp_disk_partition_bytes": (c_uint64, [c_void_p]),
    "nlxtp_disk_unfinished": (c_bool, [c_void_p]),
    "nlxtp_disk_fat_bits": (c_uint32, [c_void_p]),
    "nlxtp_disk_cluster_bytes": (c_uint32, [c_void_p]),
    "nlxtp_disk_label": (c_char_p, [c_void_p]),
    "nlxtp_disk_serial": (c_uint32, [c_void_p]),
    "nlxtp_disk_capacity_bytes": (c_uint64, [c_void_p]),
    "nlxtp_disk_free_bytes": (c_uint64, [c_void_p]),
    "nlxtp_disk_json": (c_char_p, [c_void_p]),
    "nlxtp_disk_free": (None, [c_void_p]),
    "nlxtp_error_code": (_RESULT, [c_void_p]),
    "nlxtp_error_kind": (c_char_p, [c_void_p]),
    "nlxtp_error_operation": (c_char_p, [c_void_p]),
    "nlxtp_error_text": (c_char_p, [c_void_p]),
    "nlxtp_error_message": (c_char_p, [c_void_p]),
    "nlxtp_error_path": (c_char_p, [c_void_p]),
    "nlxtp_error_hint": (c_char_p, [c_void_p]),
    "nlxtp_error_may_retry": (c_bool, [c_void_p]),
    "nlxtp_error_refusal_count": (c_uint64, [c_void_p]),
    "nlxtp_error_refusal_entry": (c_char_p, [c_void_p, c_size_t]),
    "nlxtp_error_refusal_reason": (c_char_p, [c_void_p, c_size_t]),
    "nlxtp_error_upload": (c_void_p, [c_void_p]),
    "nlxtp_error_free": (None, [c_void_p]),
    "nlxtp_journal_open": (_RESULT, [c_char_p, POINTER(JournalOptions), _OUT, _OUT]),
    "nlxtp_journal_free": (None, [c_void_p]),
    "nlxtp_node_open": (_RESULT, [c_char_p, POINTER(NodeOptions), _OUT, _OUT]),
    "nlxtp_node_open_fd": (_RESULT, [c_int, POINTER(NodeOptions), _OUT, _OUT]),
    "nlxtp_node_free": (None, [c_void_p]),
    "nlxtp_node_journal_failure": (_RESULT, [c_void_p, _OUT, _OUT]),
    "nlxtp_node_memory": (_RESULT, [c_void_p, _OUT, _OUT]),
    "nlxtp_node_upload": (_RESULT, [c_void_p, c_char_p, POINTER(Control), _OUT, _OUT]),
    "nlxtp_node_status": (_RESULT, [c_void_p, _OUT, _OUT]),
    "nlxtp_node_wait": (_RESULT, [c_void_p, POINTER(Control), ChangeFunction, c_void_p, _OUT, _OUT]),
    "nlxtp_node_read_output": (
        _RESULT,
        [c_void_p, c_void_p, c_int32, c_uint64, c_void_p, c_size_t, POINTER(c_size_t), _OUT],
    ),
    "nlxtp_node_download": (_RESULT, [c_void_p, c_char_p, POINTER(DownloadOptions), POINTER(Control), _OUT, _OUT]),
    "nlxtp_upload_run_id": (c_char_p, [c_void_p]),
    "nlxtp_upload_entries": (c_uint64, [c_void_p]),
    "nlxtp_upload_bytes": (c_uint64, [c_void_p]),
    "nlxtp_upload_start_script": (c_char_p, [c_void_p]),
    "nlxtp_upload_execution": (c_int32, [c_void_p]),
    "nlxtp_upload_left_out": (c_uint64, [c_void_p]),
    "nlxtp_upload_lost_modes": (c_uint64, [c_void_p]),
    "nlxtp_upload_lost_owners": (c_uint64, [c_void_p]),
    "nlxtp_upload_warning_count": (c_size_t, [c_void_p]),
    "nlxtp_upload_warning": (c_char_p, [c_void_p, c_size_t]),
    "nlxtp_upload_json": (c_char_p, [c_void_p]),
    "nlxtp_upload_free": (None, [c_void_p]),
    "nlxtp_download_files": (c_uint64, [c_void_p]),
    "nlxtp_download_directories": (c_uint64, [c_void_p]),
    "nlxtp_download_symlinks": (c_uint64, [c_void_p]),
    "nlxtp_download_bytes": (c_uint64, [c_void_p]),
    "nlxtp_download_archive_bytes": (c_uint64, [c_void_p]),
    "nlxtp_download_changed": (c_uint64, [c_void_p]),
    "nlxtp_download_left_out": (c_uint64, [c_void_p]),
    "nlxtp_download_attempts": (c_uint32, [c_void_p]),
    "nlxtp_download_settled": (c_bool, [c_void_p]),
    "nlxtp_download_verification": (c_int32, [c_void_p]),
    "nlxtp_download_json": (c_char_p, [c_void_p]),
    "nlxtp_download_free": (None, [c_void_p]),
    "nlxtp_status_state_word": (c_char_p, [c_void_p]),
    "nlxtp_status_done": (c_bool, [c_void_p]),
    "nlxtp_status_running": (c_bool, [c_void_p]),
    "nlxtp_status_reason": (c_char_p, [c_void_p]),
    "nlxtp_status_custom": (c_void_p, [c_void_p, POINTER(c_size_t)]),
    "nlxtp_status_progress_done": (c_uint64, [c_void_p]),
    "nlxtp_status_progress_total": (c_uint64, [c_void_p]),
    "nlxtp_status_exit_code": (c_int, [c_void_p]),
    "nlxtp_status_signal": (c_int, [c_void_p]),
    "nlxtp_status_timed_out": (c_bool, [c_void_p]),
    "nlxtp_status_sequence": (c_uint64, [c_void_p]),
    "nlxtp_status_run_id": (c_char_p, [c_void_p]),
    "nlxtp_status_stdout_bytes": (c_uint64, [c_void_p]),
    "nlxtp_status_stderr_bytes": (c_uint64, [c_void_p]),
    "nlxtp_status_stdout_truncated": (c_bool, [c_void_p]),
    "nlxtp_status_stderr_truncated": (c_bool, [c_void_p]),
    "nlxtp_status_custom_truncated": (c_bool, [c_void_p]),
    "nlxtp_status_dialect": (c_int32, [c_void_p]),
    "nlxtp_status_attempts": (c_uint32, [c_void_p]),
    "nlxtp_status_json": (c_char_p, [c_void_p]),
    "nlxtp_status_free": (None, [c_void_p]),
    "nlxtp_watcher_new": (_RESULT, [POINTER(WatcherOptions), _OUT, _OUT]),
    "nlxtp_watcher_add": (_RESULT, [c_void_p, c_void_p, c_void_p, POINTER(c_uint64), _OUT]),
    "nlxtp_watcher_remove": (_RESULT, [c_void_p, c_uint64, _OUT]),
    "nlxtp_watcher_next": (_RESULT, [c_void_p, POINTER(Control), _OUT, _OUT]),
    "nlxtp_watcher_wake": (None, [c_void_p]),
    "nlxtp_watcher_free": (None, [c_void_p]),
    "nlxtp_change_node": (c_uint64, [c_void_p]),
    "nlxtp_change_status": (c_void_p, [c_void_p]),
    "nlxtp_change_error": (c_void_p, [c_void_p]),
    "nlxtp_change_free": (None, [c_void_p]),
}

_loaded = None
_loading = threading.Lock()


def load(path=None):
    """Loads the library, once; later calls without a path return the same.

    It is looked for, in this order: at ``path``, where the environment variable ``NLXTP_LIBRARY``
    says, in the ``lib`` directory of the prefix that this package was installed into, and by its
    soname where the system's loader looks. ``path`` must be given before anything else of this
    package is used, or not at all.
    """
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = _declare(_open(path))
        elif path is not None and texts.path_to_bytes(path) != _loaded.loaded_from:
            raise ValueError("libnlxtp was already loaded, from %r; load it before anything else" % _loaded.loaded_from)
        return _loaded


def version():
    """The library's version, such as ``"0.1.0"``."""
    return texts.native(load().nlxtp_version())


def _candidates(path):
    if path is not None:
        return [path]
    if os.environ.get(VARIABLE):
        return [os.environ[VARIABLE]]
    # PREFIX/share/nlxtp/python/nlxtp_ctypes/library.py
    here = os.path.abspath(__file__)
    for _ in range(5):
        here = os.path.dirname(here)
    installed = os.path.join(here, "lib", SONAME)
    return [installed] if os.path.exists(installed) else [SONAME]


def _open(path):
    failures = []
    for candidate in _candidates(path):
        candidate = texts.path_to_bytes(candidate, "path of libnlxtp")
        if b"/" in candidate and not os.path.exists(candidate):
            failures.append("%r is not there" % candidate)
            continue
        try:
            # Python 3 takes text only; os.fsdecode is not in Python 2, which takes bytes.
            name = candidate if texts.PYTHON2 else os.fsdecode(candidate)
            library = ctypes.CDLL(name)
        except OSError as error:
            failures.append(str(error))
            continue
        library.loaded_from = candidate
        return library
    text = "libnlxtp cannot be loaded: %s" % "; ".join(failures)
    hint = "install it with `make install`, or let %s name libnlxtp.so" % VARIABLE
    raise NotFound("%s\n%s" % (text, hint), kind="not-found", number=5, operation="load", message=text, hint=hint)


def _declare(library):
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
