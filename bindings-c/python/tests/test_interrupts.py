"""Signals: Ctrl-C ends a long call, whatever it is doing, and leaves nothing half done."""

import os
import signal
import threading
import time

import nlxtp_ctypes as nlxtp
from support import SCRIPT, TestCase, content, open_files


class Alarm(BaseException):
    """What this program's handler of SIGALRM raises."""


def ring(*_):
    raise Alarm()


class Interrupts(TestCase):
    def setUp(self):
        TestCase.setUp(self)
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGALRM, ring)):
            self.addCleanup(signal.signal, number, signal.signal(number, handler))
        self.shared = self.make_folder("shared")
        self.node = nlxtp.Node(self.shared, power=lambda: "off")
        self.node.upload(self.archive("old.tar", old=b"old"))
        self.big = self.archive(auto_exec__sh=SCRIPT, big=b"x" * (32 << 20))

    def interrupt_after(self, seconds, number):
        threading.Timer(seconds, os.kill, (os.getpid(), number)).start()

    def interrupted(self, kind, seconds, number, function, *arguments):
        """The function must end with the exception that the signal's handler raises."""

        def call():
            # Within what catches it: on a busy machine it may come before the function is called.
            self.interrupt_after(seconds, number)
            function(*arguments)

        self.failure(kind, call)

    def check_nothing_is_left(self):
        # The node can be used, and no other thread is in it.
        self.assertEqual(self.node.status().state, "not-started")
        # What an interrupted upload has still to remove is removed by the next one.
        names = set(os.listdir(self.shared)) - set(["nlxtp_run_id", ".nlxtp_upload"])
        self.assertTrue(names in (set(["old"]), set(["auto_exec.sh", "big"])), names)

    def test_a_wait(self):
        files = open_files()
        self.interrupted(KeyboardInterrupt, 0.3, signal.SIGINT, self.node.wait)
        self.check_nothing_is_left()
        self.assertTrue(open_files() <= files + 2)

    def test_any_signal_whose_handler_raises(self):
        self.interrupted(Alarm, 0.3, signal.SIGALRM, self.node.wait)
        self.check_nothing_is_left()

    def test_a_signal_whose_handler_returns_disturbs_nothing(self):
        seen = []
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, lambda *_: seen.append(1)))
        for pause in (0.1, 0.2, 0.3):
            self.interrupt_after(pause, signal.SIGUSR1)
        self.failure(nlxtp.TimedOut, self.node.wait, timeout=2)
        self.assertTrue(seen)

    def test_a_handler_may_cancel(self):
        cancel = nlxtp.Cancel()
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, lambda *_: cancel.now()))
        self.interrupt_after(0.2, signal.SIGUSR1)
        self.failure(nlxtp.Cancelled, self.node.wait, cancel=cancel)

    def test_uploads_and_downloads_at_any_moment(self):
        files = open_files()
        for moment in range(11):

            def use():
                # Until it comes: how long an upload takes is not known.
                while True:
                    self.node.upload(self.big)
                    self.node.download(self.path("out.tar"), replace=True)

            self.interrupted(KeyboardInterrupt, 0.001 * 2**moment, signal.SIGINT, use)
            self.check_nothing_is_left()
            if os.path.exists(self.path("out.tar")):
                self.assertEqual(sorted(content(self.path("out.tar"))), ["auto_exec.sh", "big"])
        leftovers = [name for name in os.listdir(self.folder) if name not in ("shared", "old.tar", "archive.tar.gz", "out.tar")]
        self.assertEqual(leftovers, [])
        # Python itself may be interrupted between making a descriptor and keeping it.
        self.assertTrue(open_files() <= files + 4)

    def test_within_callbacks(self):
        def interrupt(*_):
            os.kill(os.getpid(), signal.SIGINT)
            # Its handler runs here at the latest.
            for _ in range(1000):
                time.sleep(0.001)

        self.failure(KeyboardInterrupt, self.node.upload, self.big, progress=interrupt)
        self.failure(KeyboardInterrupt, nlxtp.Node(self.shared, power=interrupt).status)
        self.failure(KeyboardInterrupt, self.node.wait, on_change=interrupt)
        self.check_nothing_is_left()

    def test_a_second_thread_is_not_the_one_that_is_interrupted(self):
        results = []

        def wait():
            try:
                self.node.wait(timeout=1)
            except nlxtp.TimedOut:
                results.append("timed out")

        thread = threading.Thread(target=wait)
        thread.start()
        self.interrupted(KeyboardInterrupt, 0.2, signal.SIGINT, time.sleep, 600)
        thread.join()
        self.assertEqual(results, ["timed out"])
