"""Long calls of the library that a signal can end, and callbacks that may raise.

Python runs signal handlers in its main thread only, and not while that is inside the library: Ctrl-C
would have to wait for the end of an upload. A long call of the main thread is therefore made by a
thread of its own, while the main thread waits for it as Python code, and runs the callbacks for it.
Whatever is raised there, by a callback or by a signal's handler, cancels the call, and goes on when
the call has ended. Calls of other threads, which no signal interrupts, are made directly.
"""

import ctypes
import errno
import os
import sys
import threading

from . import errors, reports, texts
from .library import UNKNOWN, Control, ProgressFunction, load

#: What a callback returns to the library when it has raised.
FAILED = -errno.EINTR

#: Refused entries that the library can name.
_MOST_REFUSALS = 1000

#: What an operation is doing, for progress callbacks.
PHASES = {0: "other", 1: "examining", 2: "extracting", 3: "packing", 4: "flushing"}

if sys.version_info[0] == 2:
    exec("def _raise_again(kept):\n    raise kept[0], kept[1], kept[2]\n")

    def _in_main_thread():
        # Its class is the only thing that Python 2 tells of it.
        return threading.current_thread().__class__.__name__ == "_MainThread"

else:

    def _raise_again(kept):
        try:
            raise kept[1].with_traceback(kept[2])
        finally:
            # The traceback holds this frame: no circle of references.
            kept = None

    def _in_main_thread():
        return threading.current_thread() is threading.main_thread()


def check(result, error):
    """Raises what a call's error object says, which is freed, unless it succeeded."""
    if result != 0:
        try:
            raise told(result, error)
        finally:
            load().nlxtp_error_free(error)


def told(number, handle):
    """The exception for a failure, from the library's error object, which stays the caller's."""
    library = load()
    # Those that a later library adds are told from others by their kind.
    family = errors.BY_NUMBER.get(number, errors.SystemFailure)
    if not handle:
        return family("the call failed with the number %d" % number, number=number)

    def text(function):
        return texts.native(function(handle))

    upload = library.nlxtp_error_upload(handle)
    count = library.nlxtp_error_refusal_count(handle)
    refusals = [
        (
            texts.native(library.nlxtp_error_refusal_entry(handle, index)),
            texts.native(library.nlxtp_error_refusal_reason(handle, index)),
        )
        for index in range(min(count, _MOST_REFUSALS))
    ]
    return family(
        text(library.nlxtp_error_text),
        kind=text(library.nlxtp_error_kind),
        number=number,
        operation=text(library.nlxtp_error_operation),
        message=text(library.nlxtp_error_message),
        path=text(library.nlxtp_error_path),
        hint=text(library.nlxtp_error_hint),
        may_retry=library.nlxtp_error_may_retry(handle),
        refusals=refusals,
        refusal_count=count,
        upload=reports.upload(library, upload) if upload else None,
    )


class Cancel(object):
    """Ends the operations that were given it, from any thread or signal handler: ``cancel.now()``."""

    def __init__(self):
        self._cancelled = False
        self._calls = set()

    def now(self):
        """Lets all operations that were given this end soon, and all later ones at once.

        They raise :class:`Cancelled`.
        """
        self._cancelled = True
        for call in list(self._calls):
            call.stop()

    # No lock: a signal's handler may call `now` at any moment. Whichever of the two comes second
    # sees what the other has done.
    def _add(self, call):
        self._calls.add(call)
        if self._cancelled:
            call.stop()

    def _remove(self, call):
        self._calls.discard(call)


class Call(object):
    """One long call: its control, its callbacks, and the thread that it is made in."""

    def __init__(self, timeout=None, progress=None, cancel=None):
        self._progress = progress
        self._asked_cancel = cancel
        self._raised = None
        self._left = False
        self._desk = None
        self._cancel = _CancelHandle()
        # Kept, since the library calls it.
        self._reporter = ProgressFunction(self._report if progress is not None else _nothing)
        self.control = Control(cancel=self._cancel.handle, progress=self._reporter)
        if timeout is not None:
            timeout = float(timeout)
            if not timeout >= 0:
                raise errors.InvalidInput("the timeout is negative; None means: as long as it takes")
            self.control.has_timeout = 1
            self.control.timeout_ms = min(int(min(timeout, 1e15) * 1000), UNKNOWN)

    def stop(self):
        """Lets the call end soon."""
        self._cancel.now()

    def failed(self):
        """Whether a callback has raised, or the call was left."""
        return self._left or self._raised is not None

    def callback(self, function, *arguments):
        """Runs a callback for the library, in the thread that made the call.

        Returns what it returns; ``None`` if it raised, which is kept and cancels the call.
        """
        if self.failed():
            return None
        if self._desk is not None:
            return self._desk.ask(function, arguments)
        return self._guard(function, arguments)

    def run(self, work):
        """What ``work`` returns, which makes the call and frees what it was given."""
        if self._asked_cancel is not None:
            self._asked_cancel._add(self)
        try:
            if _in_main_thread():
                outcome = self._run_apart(work)
            else:
                outcome = _outcome(work)
        finally:
            if self._asked_cancel is not None:
                self._asked_cancel._remove(self)
            # They refer to this object: cut the circle.
            self._reporter = self.control = None
        value, failure = outcome
        # What a callback has raised, rather than what the library says of it: that it was cancelled.
        failure, self._raised = self._raised or failure, None
        try:
            if failure is not None:
                _raise_again(failure)
            return value
        finally:
            failure = outcome = None

    def _run_apart(self, work):
        self._desk = desk = _Desk(self._guard)
        try:
            worker = threading.Thread(target=desk.work, args=(work,))
            worker.daemon = True
            try:
                worker.start()
                desk.serve()
            finally:
                if not desk.finished.is_set():
                    self._left = True
                    self.stop()
                # The call uses what belongs to this object: whatever signals come, it must end first.
                _insist(desk.wait_for_end)
        finally:
            _insist(desk.close)
            self._desk = None
        return desk.outcome

    def _guard(self, function, arguments):
        try:
            return function(*arguments)
        except BaseException:
            self._raised = sys.exc_info()
            self.stop()
            return None

    def _report(self, _, progress):
        now = progress.contents
        phase, done, total = PHASES.get(now.phase, "other"), now.done, now.total
        self.callback(self._progress, phase, done, None if total == UNKNOWN else total)
        return 0


class _CancelHandle(object):
    """The library's handle, apart from what refers to itself: Python 2 frees no circle with `__del__`."""

    def __init__(self):
        self._free = load().nlxtp_cancel_free
        self.handle = None
        handle, error = ctypes.c_void_p(), ctypes.c_void_p()
        check(load().nlxtp_cancel_new(ctypes.byref(handle), ctypes.byref(error)), error)
        self.handle = handle.value

    def now(self):
        load().nlxtp_cancel_now(self.handle)

    def __del__(self):
        if self.handle:
            self._free(self.handle)


def _nothing(_user_data, _progress):
    return 0


def _outcome(work):
    try:
        return work(), None
    except BaseException:
        return None, sys.exc_info()


def _insist(function):
    """Calls a function until it gets to its end; then raises what has interrupted it."""
    interrupted = None
    while True:
        try:
            function()
            break
        except BaseException:
            interrupted = sys.exc_info()
    if interrupted is not None:
        _raise_again(interrupted)


class _Desk(object):
    """Where the thread that is in the library asks the main thread to run callbacks."""

    def __init__(self, answer):
        self.outcome = (None, None)
        self.finished = threading.Event()
        self._answer = answer
        # A pipe, since waiting at one is what signals interrupt in Python 2, too.
        # As files, which may be closed again by whoever was interrupted.
        self._bell, self._button = [os.fdopen(end, mode, 0) for end, mode in zip(os.pipe(), ("rb", "wb"))]
        self._state = threading.Lock()
        self._begun = False
        self._left = False
        self._question = None

    # In the thread of the call:

    def work(self, work):
        with self._state:
            if self._left:
                return
            self._begun = True
        self.outcome = _outcome(work)
        os.write(self._button.fileno(), b"e")
        self.finished.set()

    def ask(self, function, arguments):
        question = _Question(function, arguments)
        with self._state:
            if self._left:
                return None
            self._question = question
            os.write(self._button.fileno(), b"q")
        question.answered.wait()
        return question.answer

    # In the main thread:

    def serve(self):
        """Runs callbacks until the call has ended."""
        while True:
            try:
                ring = os.read(self._bell.fileno(), 1)
            except OSError as error:
                # A signal whose handler has raised nothing.
                if error.errno != errno.EINTR:
                    raise
                continue
            if ring == b"e":
                return
            question = self._question
            question.answer = self._answer(question.function, question.arguments)
            question.answered.set()

    def wait_for_end(self):
        """Answers nothing any more, and waits for the end of the call if it was begun."""
        with self._state:
            self._left = True
            begun, question = self._begun, self._question
        if question is not None:
            question.answered.set()
        while begun and not self.finished.is_set():
            # With a limit: only so does Python 2 see signals meanwhile.
            self.finished.wait(60)

    def close(self):
        self._bell.close()
        self._button.close()


class _Question(object):
    def __init__(self, function, arguments):
        self.function = function
        self.arguments = arguments
        self.answer = None
        self.answered = threading.Event()
