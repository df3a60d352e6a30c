"""Paths and texts on both sides of the boundary, for Python 2.7 and 3 alike."""

import sys

from .errors import InvalidInput

PYTHON2 = sys.version_info[0] == 2

if PYTHON2:
    text_type = unicode  # noqa: F821 (a name of Python 2)
    integer_types = (int, long)  # noqa: F821
else:
    text_type = str
    integer_types = (int,)


def path_to_bytes(path, what="path"):
    """What the system takes for a path that a program gave: bytes, text, or an ``os.PathLike``.

    Names that are not in the system's encoding come through, as ``bytes`` or in the form that
    ``os.listdir`` gives them. A NUL byte would silently end the path, so it is an error.
    """
    if hasattr(path, "__fspath__"):
        path = path.__fspath__()
    elif PYTHON2 and hasattr(path, "__unicode__") and not isinstance(path, (bytes, text_type)):
        path = text_type(path)
    if isinstance(path, text_type):
        path = _encode(path)
    if not isinstance(path, bytes):
        raise TypeError("the %s must be bytes, text or an os.PathLike, not %s" % (what, type(path).__name__))
    if b"\0" in path:
        raise InvalidInput("the %s holds a NUL byte, which no path can" % what)
    return path


def _encode(path):
    encoding = sys.getfilesystemencoding() or "utf-8"
    if not PYTHON2:
        return path.encode(encoding, "surrogateescape")
    try:
        return path.encode(encoding)
    except UnicodeEncodeError:
        # Under the locale C, where Python 2 would take ASCII alone.
        return path.encode("utf-8")


def text_to_bytes(text, what):
    """UTF-8 for the library, without NUL."""
    if isinstance(text, text_type):
        text = text.encode("utf-8")
    if not isinstance(text, bytes):
        raise TypeError("the %s must be text, not %s" % (what, type(text).__name__))
    if b"\0" in text:
        raise InvalidInput("the %s holds a NUL byte" % what)
    return text


def native(text):
    """UTF-8 from the library as this Python's own ``str``; ``None`` stays ``None``."""
    if text is None or PYTHON2:
        return text
    return text.decode("utf-8", "replace")
