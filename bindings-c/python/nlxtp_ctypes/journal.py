"""A journal on the host: what was done to which node, when, with which archive, and what came of it."""

from ctypes import byref, c_void_p

from . import texts
from .calls import check
from .library import JournalOptions, load


class Journal(object):
    """The journal in a file, which is made where there is none, and is open only while a line is written.

    ``keep_archives``: keep a copy of each uploaded archive in the folder of the journal's name with ``.d``, for a
    replay. Give it to nodes: ``Node(..., journal=journal, name="client")``; any number of them may have it, and
    keep what they need of it.
    """

    def __init__(self, path, keep_archives=False):
        library = load()
        self._free = library.nlxtp_journal_free
        self._handle = None
        options = JournalOptions(keep_archives=bool(keep_archives))
        handle, error = c_void_p(), c_void_p()
        path = texts.path_to_bytes(path, "journal")
        check(library.nlxtp_journal_open(path, byref(options), byref(handle), byref(error)), error)
        self._handle = handle.value

    def __del__(self):
        # It may have failed before there was one.
        if getattr(self, "_handle", None):
            self._free(self._handle)


def handle_of(journal):
    """The library's handle of a journal, or of none."""
    if journal is None:
        return None
    if not isinstance(journal, Journal):
        raise TypeError("the journal must be a Journal, not %s" % type(journal).__name__)
    return journal._handle
