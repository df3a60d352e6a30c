"""Many nodes watched at once, in one thread."""

import threading
from ctypes import byref, c_uint64, c_void_p

from . import arguments, errors, reports
from .calls import Call, check, told
from .library import WatcherOptions, load
from .node import _in_use, _NodeHandle


class Change(object):
    """What has changed about one node: its ``id`` and ``node``, and either its ``status``, a
    :class:`Status`, or the ``error`` for which it cannot be asked."""

    def __init__(self, id, node, status, error):
        self.id = id
        self.node = node
        self.status = status
        self.error = error

    def __repr__(self):
        return "Change(id=%r, node=%r, status=%r, error=%r)" % (self.id, self.node, self.status, self.error)


class Watcher(object):
    """Watches any number of nodes, and tells one change after the other:

        with Watcher() as watcher:
            for target in targets:
                watcher.add(Node(target))
            for change in watcher:
                if change.status is not None and change.status.done:
                    watcher.remove(change.id)

    ``shortest``, ``longest``: seconds after which a node is asked again, while it changes and while it is
    quiet. ``open_files``: most files of nodes that are kept open.

    One thread at a time may use a watcher, but for :meth:`wake`. A node that is watched can be used as
    before whenever no call of the watcher is under way.
    """

    def __init__(self, shortest=None, longest=None, open_files=None):
        self._library = library = load()
        self._in_use = threading.Lock()
        # The library calls the functions of these for as long as it watches them.
        self._nodes = {}
        options = WatcherOptions(
            shortest_ms=arguments.milliseconds(shortest, "shortest"),
            longest_ms=arguments.milliseconds(longest, "longest"),
            open_files=arguments.count(open_files, "open_files"),
        )
        handle, error = c_void_p(), c_void_p()
        check(library.nlxtp_watcher_new(byref(options), byref(handle), byref(error)), error)
        self._handle = _NodeHandle(handle, library.nlxtp_watcher_free)

    def add(self, node):
        """Begins to watch a :class:`Node`, and returns its number here. Its first change comes soon."""
        library, number = self._library, c_uint64()

        def add(watcher):
            if node._handle is None:
                raise errors.InvalidInput("the node is closed")
            error = c_void_p()
            result = library.nlxtp_watcher_add(watcher, node._handle.value, None, byref(number), byref(error))
            check(result, error)
            self._nodes[int(number.value)] = node

        self._use(add)
        return int(number.value)

    def remove(self, id):
        """Watches the node of this number no longer. Raises :class:`NotFound` where there is none."""

        def remove(watcher):
            if id not in self._nodes:
                raise errors.NotFound("no node of number %r is watched" % (id,), kind="not-found", number=5)
            error = c_void_p()
            check(self._library.nlxtp_watcher_remove(watcher, id, byref(error)), error)
            del self._nodes[id]

        self._use(remove)

    def __len__(self):
        return len(self._nodes)

    def next(self, timeout=None, cancel=None):
        """The next :class:`Change` of any node; ``None`` where nobody is watched, or :meth:`wake` was
        called. What a node's function raises is raised here.

        Raises :class:`TimedOut` after ``timeout`` seconds, and :class:`Cancelled` by ``cancel``; the
        watching can go on after both."""
        return self._use(lambda watcher: self._next(watcher, Call(timeout, None, cancel)))

    def __iter__(self):
        """One change after the other, until :meth:`next` gives none."""
        return iter(self.next, None)

    def wake(self):
        """Lets the :meth:`next` that is under way in another thread return soon; or else the next one."""
        handle = self._handle
        if handle is not None:
            self._library.nlxtp_watcher_wake(handle.value)

    def close(self):
        """Ends the watching; harmless if that was done. The nodes are as before."""

        def close(_):
            self._handle = None
            self._nodes.clear()

        if self._handle is not None:
            self._use(close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _use(self, act):
        if not self._in_use.acquire(False):
            raise errors.InUse("the watcher is in use, by another thread", kind="in-use", number=12, may_retry=True)
        try:
            if self._handle is None:
                raise errors.InvalidInput("the watcher is closed")
            return act(self._handle.value)
        finally:
            self._in_use.release()

    def _next(self, watcher, call):
        library, nodes = self._library, self._nodes

        def work():
            change, error = c_void_p(), c_void_p()
            try:
                control = byref(call.control)
                check(library.nlxtp_watcher_next(watcher, control, byref(change), byref(error)), error)
                if not change:
                    return None
                status, failure = library.nlxtp_change_status(change), library.nlxtp_change_error(change)
                id = int(library.nlxtp_change_node(change))
                return Change(
                    id,
                    nodes[id],
                    reports.status(library, status) if status else None,
                    told(library.nlxtp_error_code(failure), failure) if failure else None,
                )
            finally:
                library.nlxtp_change_free(change)

        # The functions of nodes are called for this call meanwhile, so nobody else may use these.
        calling = []
        try:
            for node in nodes.values():
                if node._callbacks.power is not None:
                    if not node._in_use.acquire(False):
                        raise _in_use()
                    calling.append(node)
                    node._callbacks.call = call
            return call.run(work)
        finally:
            for node in calling:
                node._callbacks.call = None
                node._in_use.release()
