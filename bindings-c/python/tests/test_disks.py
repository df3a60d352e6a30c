# coding: utf-8
"""Disks, how downloads are packed, and journals."""

import json
import os

import nlxtp_ctypes as nlxtp
from support import SCRIPT, TestCase, write


class Disks(TestCase):
    def test_what_a_disk_is_like(self):
        path = self.path("disk.img")
        nlxtp.create_disk(path, size=4 << 20, label="LAB")
        empty = nlxtp.describe_disk(path)
        self.assertEqual((empty.bytes, empty.partition_offset, empty.partition_bytes), (4 << 20, 1 << 20, 3 << 20))
        self.assertEqual((empty.fat_bits, empty.label, empty.unfinished), (12, "LAB", False))
        self.assertEqual(empty.free_bytes, empty.capacity_bytes)
        self.assertEqual(empty.as_dict()["file_system"]["serial"], empty.serial)
        self.assertRaises(AttributeError, setattr, empty, "label", "x")
        nlxtp.Node(path, power="off").upload(self.archive(auto_exec__sh=SCRIPT, **{"data/input": b"x" * 2000, "data": None}))
        with open(path, "rb") as disk:
            held = nlxtp.describe_disk(disk, timeout=60, cancel=nlxtp.Cancel())
            self.assertEqual(held, nlxtp.describe_disk(disk.fileno()))
        self.assertTrue(empty.free_bytes - held.free_bytes >= 3 * held.cluster_bytes)
        self.assertEqual(held.free_bytes % held.cluster_bytes, 0)
        # One that has no partition, and one to which an upload was cut off.
        with open(path, "r+b") as disk:
            disk.seek(1 << 20)
            volume = disk.read()
            write(self.path("bare.img"), volume)

            def cut_off(phase, done, total):
                if phase == "flushing":
                    raise ZeroDivisionError

            self.failure(ZeroDivisionError, nlxtp.Node(disk).upload, self.archive(a=b"a"), progress=cut_off)
            cut = nlxtp.describe_disk(disk)
        bare = nlxtp.describe_disk(self.path("bare.img"))
        self.assertEqual((bare.partition_offset, bare.partition_bytes, bare.bytes), (None, None, 3 << 20))
        self.assertEqual((bare.free_bytes, bare.serial), (held.free_bytes, held.serial))
        self.assertEqual((cut.unfinished, cut.fat_bits, cut.label, cut.free_bytes), (True, None, None, None))

    def test_what_cannot_be_described(self):
        error = self.failure(nlxtp.NotFound, nlxtp.describe_disk, self.path("nowhere"))
        self.assertEqual((error.operation, error.path), ("disk_open", self.path("nowhere")))
        self.failure(nlxtp.NotATarget, nlxtp.describe_disk, self.make_folder("shared"))
        self.failure(nlxtp.InvalidInput, nlxtp.describe_disk, "")
        self.failure(nlxtp.InvalidInput, nlxtp.describe_disk, -1)
        self.failure(TypeError, nlxtp.describe_disk, None)
        nlxtp.create_disk(self.path("disk.img"))
        self.failure(nlxtp.TimedOut, nlxtp.describe_disk, self.path("disk.img"), timeout=0)
        cancel = nlxtp.Cancel()
        cancel.now()
        self.failure(nlxtp.Cancelled, nlxtp.describe_disk, self.path("disk.img"), cancel=cancel)


class Downloads(TestCase):
    def test_packing(self):
        node = nlxtp.Node(self.make_folder("shared"))
        node.upload(self.archive(text=b"".join(b"%d\n" % number for number in range(50000))))
        sizes = [
            node.download(self.path("%d.tar.zst" % level), level=level, threads=2, retries=3).archive_bytes
            for level in (1, 19)
        ]
        self.assertTrue(sizes[0] > sizes[1], sizes)
        self.assertEqual(node.download(self.path("settled.tar"), retries=3).attempts, 1)


class Journals(TestCase):
    def test_a_journal(self):
        path = self.path("experiment.jsonl")
        journal = nlxtp.Journal(path, keep_archives=True)
        shared = self.make_folder("shared")
        self.failure(nlxtp.InvalidInput, nlxtp.Node, shared, journal=journal)
        self.failure(nlxtp.InvalidInput, nlxtp.Node, shared, journal=journal, name="")
        self.failure(nlxtp.InvalidInput, nlxtp.Node, self.folder, journal=journal, name="client")
        node = nlxtp.Node(shared, journal=journal, name=u"cli\u00e9nt")
        del journal
        run = node.upload(self.archive("first.tar", auto_exec__sh=SCRIPT)).run_id
        node.download(self.path("results.tar"))
        self.assertIsNone(node.journal_failure())
        with open(path, "rb") as lines:
            records = [json.loads(line.decode("utf-8")) for line in lines]
        self.assertEqual([record["event"] for record in records], ["upload", "download"])
        self.assertEqual([record["archive"]["name"] for record in records], ["first.tar", "results.tar"])
        self.assertEqual(set((record["node"], record["run"]) for record in records), set([(u"cli\u00e9nt", run)]))
        self.assertEqual(len(os.listdir(os.path.join(path + ".d", "sha256"))), 1)
        # What is seen, and cannot be written down.
        os.rename(path, path + ".aside")
        os.mkdir(path)
        os.mkdir(os.path.join(shared, "exec_status"))
        write(os.path.join(shared, "exec_status", "done"), "")
        self.assertTrue(node.status().done)
        failure = node.journal_failure()
        self.assertTrue(isinstance(failure, nlxtp.Error) and path in str(failure), failure)
        self.assertIsNone(node.journal_failure())


if __name__ == "__main__":
    import unittest

    unittest.main()
