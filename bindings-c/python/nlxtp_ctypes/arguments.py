"""What programs pass, checked before the library sees it."""

from . import errors, texts


def word(words, given, what):
    try:
        return words[given]
    except (KeyError, TypeError):
        usable = ", ".join(sorted(repr(usable) for usable in words))
        raise errors.InvalidInput("the %s is %r; it must be one of %s" % (what, given, usable))


def count(number, what, end=2**64):
    """0 stands for "as usual" in the library, so it cannot be asked for."""
    if number is None:
        return 0
    if not isinstance(number, texts.integer_types) or not 0 < number < end:
        raise errors.InvalidInput("%s is %r; it must be a number above 0, or None for the usual" % (what, number))
    return number


def milliseconds(seconds, what):
    if seconds is None:
        return 0
    if not float(seconds) >= 0:
        raise errors.InvalidInput("%s is %r; it must be a number of seconds from 0 on" % (what, seconds))
    return max(1, int(min(float(seconds), 1e15) * 1000))


def descriptor(target):
    """The descriptor that a target is, or has; `None` for a path."""
    if hasattr(target, "fileno"):
        target = target.fileno()
    if isinstance(target, bool) or not isinstance(target, texts.integer_types):
        return None
    if not 0 <= target < 2**31:
        raise errors.InvalidInput("%r is no file descriptor" % target)
    return target
