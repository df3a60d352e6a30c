"""Watchers, and nodes by descriptors."""

import os
import threading

import nlxtp_ctypes as nlxtp
from support import PYTHON2, SCRIPT, TestCase, open_files, write

#: Long enough for any machine; who waits in vain fails.
PATIENCE = 300


class Watching(TestCase):
    def setUp(self):
        TestCase.setUp(self)
        self.targets = [self.make_folder("shared%d" % number) for number in range(5)]

    def tell(self, target, name, text=""):
        """Writes one of the files of ToMaTo's guest modules."""
        folder = os.path.join(target, "exec_status")
        if not os.path.isdir(folder):
            os.mkdir(folder)
        write(os.path.join(folder, name), text)

    def watcher(self):
        watcher = nlxtp.Watcher(shortest=0.01, longest=0.1)
        self.addCleanup(watcher.close)
        return watcher

    def test_all_runs_to_their_end(self):
        watcher, seen = self.watcher(), {}
        nodes = [nlxtp.Node(target) for target in self.targets]
        ids = [watcher.add(node) for node in nodes]
        self.assertEqual((len(watcher), len(set(ids))), (5, 5))
        for change in watcher:
            self.assertTrue(change.node is nodes[ids.index(change.id)] and change.error is None)
            seen.setdefault(change.id, []).append(change.status.state)
            target = self.targets[ids.index(change.id)]
            if change.status.done:
                self.assertEqual(change.status.custom, b"half\0")
                # The node can be used meanwhile.
                self.assertTrue(change.node.status().done)
                watcher.remove(change.id)
            elif change.status.state == "not-started":
                self.tell(target, "custom", b"half\0")
                self.tell(target, "running", "1")
            else:
                self.tell(target, "done")
        self.assertEqual(len(watcher), 0)
        for states in seen.values():
            self.assertEqual((states[0], states[-1]), ("not-started", "finished"))
        self.assertEqual(sorted(seen), sorted(ids))
        self.assertIsNone(watcher.next())

    def test_what_fails_about_a_node_is_its_change(self):
        watcher, moved = self.watcher(), self.path("moved")
        # Nobody else refers to it.
        id = watcher.add(nlxtp.Node(self.targets[0]))
        self.assertEqual(watcher.next(PATIENCE).status.state, "not-started")
        os.rename(self.targets[0], moved)
        change = watcher.next(PATIENCE)
        self.assertTrue(change.id == id and change.status is None and isinstance(change.error, nlxtp.NotFound))
        self.assertEqual((change.error.kind, change.error.number), ("not-found", 5))
        self.assertIn("shared0", str(change.error))
        os.rename(moved, self.targets[0])
        self.assertEqual(watcher.next(PATIENCE).status.state, "not-started")

    def test_times_and_cancelling(self):
        watcher = self.watcher()
        watcher.add(nlxtp.Node(self.targets[0]))
        self.assertIsNotNone(watcher.next(timeout=0))
        self.failure(nlxtp.TimedOut, watcher.next, timeout=0)
        self.failure(nlxtp.TimedOut, watcher.next, timeout=0.05)
        self.failure(nlxtp.InvalidInput, watcher.next, timeout=-1)
        cancel = nlxtp.Cancel()
        timer = threading.Timer(0.1, cancel.now)
        timer.start()
        self.failure(nlxtp.Cancelled, watcher.next, PATIENCE, cancel)
        timer.join()
        watcher.wake()
        self.assertIsNone(watcher.next(PATIENCE))
        timer = threading.Timer(0.1, watcher.wake)
        timer.start()
        self.assertIsNone(watcher.next(PATIENCE))
        timer.join()

    def test_functions_of_nodes(self):
        watcher, states, threads = self.watcher(), ["off"], set()

        def power():
            threads.add(threading.current_thread())
            if isinstance(states[-1], Exception):
                raise states[-1]
            return states[-1]

        node = nlxtp.Node(self.targets[0], power=power)
        self.tell(self.targets[0], "running", "1")
        watcher.add(node)
        # A guest that is off runs nothing.
        self.assertEqual(watcher.next(PATIENCE).status.state, "monitor-stopped")
        states.append("on")
        self.assertEqual(watcher.next(PATIENCE).status.state, "guest-rebooted")
        states.append(ArithmeticError("of the test's"))
        self.failure(ArithmeticError, watcher.next, PATIENCE)
        states.append("on")
        self.assertEqual(node.status().state, "guest-rebooted")
        self.assertEqual(threads, set([threading.current_thread()]))
        # Who is in the middle of one call cannot begin another.
        refused = []
        states.append("off")

        def busy():
            for call in (node.status, watcher.next, watcher.close, lambda: watcher.remove(1)):
                refused.append(self.failure(nlxtp.InUse, call))
            return "off"

        other = nlxtp.Node(self.targets[1], power=busy)
        watcher.add(other)
        watcher.next(PATIENCE)
        while not refused:
            watcher.next(PATIENCE)
        self.assertTrue(all(error.may_retry for error in refused))

    def test_arguments(self):
        watcher, node = self.watcher(), nlxtp.Node(self.targets[0])
        for wrong in (-1, float("nan")):
            self.failure(nlxtp.InvalidInput, nlxtp.Watcher, shortest=wrong)
            self.failure(nlxtp.InvalidInput, nlxtp.Watcher, longest=wrong)
        for wrong in (0, -1, 2**64, "1"):
            self.failure(nlxtp.InvalidInput, nlxtp.Watcher, open_files=wrong)
        id = watcher.add(node)
        self.failure(nlxtp.InvalidInput, watcher.add, node)
        self.failure(nlxtp.InvalidInput, self.watcher().add, node)
        for wrong in (id + 1, -1, None, "1"):
            self.assertEqual(self.failure(nlxtp.NotFound, watcher.remove, wrong).kind, "not-found")
        # A closed node is watched on, and can be watched by nobody else.
        node.close()
        self.assertEqual(watcher.next(PATIENCE).id, id)
        self.failure(nlxtp.InvalidInput, watcher.add, node)
        watcher.close()
        watcher.close()
        watcher.wake()
        for call in (watcher.next, lambda: watcher.add(nlxtp.Node(self.targets[1])), lambda: watcher.remove(id)):
            self.failure(nlxtp.InvalidInput, call)

    def test_nothing_is_left(self):
        def cycle():
            with nlxtp.Watcher(open_files=2) as watcher:
                nodes = [nlxtp.Node(target, power=lambda: "on") for target in self.targets]
                for node in nodes:
                    watcher.add(node)
                for _ in nodes:
                    assert watcher.next(PATIENCE) is not None
                watcher.remove(1)
                nodes[0].status()
            nodes[1].status()

        cycle()
        files, threads = open_files(), threading.active_count()
        for _ in range(50):
            cycle()
        self.assertEqual((open_files(), threading.active_count()), (files, threads))
        if PYTHON2:
            import gc

            gc.collect()
            self.assertEqual(gc.garbage, [])


class Descriptors(TestCase):
    def test_a_directory_whose_name_leads_elsewhere(self):
        shared = self.make_folder("shared")
        descriptor = os.open(shared, os.O_RDONLY)
        os.rename(shared, self.path("renamed"))
        self.make_folder("shared")
        node = nlxtp.Node(descriptor)
        os.close(descriptor)
        node.upload(self.archive(auto_exec__sh=SCRIPT))
        self.assertEqual(node.status().state, "not-started")
        self.assertEqual(os.listdir(shared), [])
        self.assertIn("auto_exec.sh", os.listdir(self.path("renamed")))

    def test_a_disk_as_a_file_object(self):
        nlxtp.create_disk(self.path("disk"), size=4 << 20)
        with open(self.path("disk"), "rb") as disk:
            os.rename(self.path("disk"), self.path("renamed"))
            node = nlxtp.Node(disk, power="off")
        node.upload(self.archive(auto_exec__sh=SCRIPT))
        with nlxtp.Node(self.path("renamed")) as same:
            self.assertEqual(same.status().run_id, node.status().run_id)
        with nlxtp.Watcher() as watcher:
            watcher.add(node)
            self.assertEqual(watcher.next(PATIENCE).status.state, "not-started")


if __name__ == "__main__":
    import unittest

    unittest.main()
