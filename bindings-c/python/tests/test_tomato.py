# coding: utf-8
"""The mixin, in elements like ToMaTo's, over directories and disks; guests are played by their files."""

import os
import shutil
import stat
import subprocess
import threading

import elements
from elements import KVMQM, OpenVZ, TranslatingOpenVZ, UnchangedKVMQM, UnchangedOpenVZ, UserError
from support import PYTHON2, SCRIPT, TestCase, content, link, make_archive, open_files, run, unpacked, write

Error = elements.RexTFVElement._nlxtp_backend.Error
UNREADABLE = {"readable": False}


def running(custom=None):
    return {"readable": True, "done": False, "isAlive": True, "custom": custom}


def stopped(custom=None):
    return {"readable": True, "done": False, "isAlive": False, "custom": custom}


def done(custom=None):
    return {"readable": True, "done": True, "isAlive": False, "custom": custom}


class Elements(TestCase):
    def setUp(self):
        TestCase.setUp(self)
        self.data = self.make_folder("data")
        self.count = 0

    def element(self, family):
        self.count += 1
        element = family(self.data, self.count)
        element.action_prepare()
        return element

    def give(self, element, name="rextfv_up.tar.gz", **entries):
        """What the user has uploaded to the hostmanager."""
        held = dict((key.replace("__", "."), value) for key, value in entries.items())
        return make_archive(element.dataPath(name), held)

    def taken(self, element):
        return content(element.action_rextfv_download_grant())


class Everywhere(Elements):
    """What holds for containers and virtual machines."""

    FAMILIES = (KVMQM, UnchangedKVMQM, OpenVZ, UnchangedOpenVZ)

    def each(self):
        return [self.element(family) for family in self.FAMILIES]

    def test_the_cycle_with_the_guest_off(self):
        for element in self.each():
            self.assertEqual(element._rextfv_run_status(), UNREADABLE)
            self.give(element, auto_exec__sh=SCRIPT, data=None)
            write(os.path.join(element.dataPath(), "rextfv.tar.gz"), "an older one")
            element.action_rextfv_upload_use()
            self.assertEqual(element._rextfv_run_status(), UNREADABLE)
            self.assertEqual(self.taken(element), {"auto_exec.sh": SCRIPT, "data": None})
            # All that the library holds may go back in.
            shutil.copy(element.dataPath("rextfv.tar.gz"), element.dataPath("rextfv_up.tar.gz"))
            element.action_rextfv_upload_use()
            self.give(element, other=b"new")
            element.action_rextfv_upload_use()
            self.assertEqual(self.taken(element), {"other": b"new"})

    def test_info(self):
        for family in self.FAMILIES:
            element = family(self.data, "new")
            self.assertEqual(elements.RexTFVElement.info(element), {})
            self.assertEqual(element.info()["attrs"], {"rextfv_supported": False})
            shutil.rmtree(element.dataPath())
        for element in self.each():
            self.assertEqual(
                element.info()["attrs"],
                {
                    "rextfv_supported": True,
                    "rextfv_max_size": element.rextfv_max_size,
                    "rextfv_run_status": UNREADABLE,
                },
            )

    def test_clearing(self):
        for element in self.each():
            self.give(element, auto_exec__sh=SCRIPT, data=None)
            element.action_rextfv_upload_use()
            element._clear_nlxtp_contents()
            self.assertEqual(self.taken(element), {})
            element.action_rextfv_upload_use()
            with element.lock:
                element._clear_nlxtp_contents__already_mounted()
            self.assertEqual(self.taken(element), {})
            self.assertEqual(element._rextfv_run_status(), UNREADABLE)

    def test_what_cannot_be_uploaded_leaves_all_as_it_was(self):
        for element in self.each():
            self.assertEqual(self.failure(Error, element.action_rextfv_upload_use).kind, "not-found")
            self.give(element, old=b"stays")
            element.action_rextfv_upload_use()
            with open(self.give(element, big=os.urandom(100000)), "rb") as whole:
                cut_off = whole.read(50000)
            archives = {"garbage": b"\x1f\x8b" + os.urandom(1000), "empty": b"", "cut off": cut_off}
            for name in archives:
                write(element.dataPath("rextfv_up.tar.gz"), archives[name])
                for keep in (False, True):
                    error = self.failure(Error, element._use_rextfv_archive, element.dataPath("rextfv_up.tar.gz"), keep)
                    self.assertEqual(error.kind, "bad-archive", name)
            hostile = {"a": link("../../out", "x"), "b": link("/etc/x", "x"), "c": link("fifo", "", b"6")}
            make_archive(element.dataPath("rextfv_up.tar.gz"), hostile)
            for keep in (False, True):
                error = self.failure(Error, element._use_rextfv_archive, element.dataPath("rextfv_up.tar.gz"), keep)
                self.assertEqual((error.kind, len(error.refusals)), ("refused", 3))
            self.assertEqual(self.taken(element), {"old": b"stays"})
            # Nothing is left of the attempts.
            names = [name for name in os.listdir(element.dataPath()) if name.startswith(".")]
            self.assertEqual(names, [])

    def test_too_large_unpacked(self):
        for element in self.each():
            element.rextfv_max_size = 62 << 20
            self.give(element, old=b"stays")
            element.action_rextfv_upload_use()
            archive = self.give(element, big=b"\0" * (63 << 20))
            # The archive itself is smaller by far: what ToMaTo compares with its limit.
            self.assertTrue(os.path.getsize(archive) < element.rextfv_max_size / 100)
            for keep in (False, True):
                error = self.failure(Error, element._use_rextfv_archive, archive, keep)
                self.assertIn(error.kind, ("too-small", "refused", "bad-archive"))
            self.assertEqual(self.taken(element), {"old": b"stays"})

    def test_keeping_old_files(self):
        for element in self.each():
            self.give(element, auto_exec__sh=SCRIPT, data=None, **{"data/kept": b"kept", "data/changed": b"old", "was": b"a file"})
            element.action_rextfv_upload_use()
            archive = self.give(element, "more.tar.gz", data=None, **{"data/changed": b"new", "was": None, "was/one": b"1"})
            element._use_rextfv_archive(archive, keepOldFiles=True)
            # The old start script was executed for the old upload; there is no new one.
            expected = {"data": None, "data/kept": b"kept", "data/changed": b"new", "was": None, "was/one": b"1"}
            self.assertEqual(self.taken(element), expected)
            archive = self.give(element, "more.tar.gz", auto_exec__py=b"#!/usr/bin/python\n", was=b"a file again")
            element._use_rextfv_archive(archive, True)
            expected = {"auto_exec.py": b"#!/usr/bin/python\n", "data": None, "data/kept": b"kept", "data/changed": b"new"}
            self.assertEqual(self.taken(element), dict(expected, was=b"a file again"))
            self.assertEqual(element._rextfv_run_status(), UNREADABLE)

    def test_many_elements_leave_nothing_open(self):
        for element in self.each():
            self.give(element, auto_exec__sh=SCRIPT)
            element.action_rextfv_upload_use()
            element.info()
            files = open_files()
            for _ in range(300):
                element.info()
            for _ in range(20):
                element.action_rextfv_upload_use()
                element.action_rextfv_download_grant()
                element._use_rextfv_archive(element.dataPath("rextfv_up.tar.gz"), True)
            self.assertEqual(open_files(), files)

    def test_one_element_does_not_wait_for_another(self):
        first, second = self.element(OpenVZ), self.element(KVMQM)
        with first.lock:
            asked = threading.Thread(target=second.info)
            asked.start()
            asked.join(60)
            self.assertFalse(asked.is_alive())
        # One that is made anew for each request has the same lock.
        again = OpenVZ(self.data, first.id)
        again.state = first.state
        with first.lock:
            waiting = threading.Thread(target=again.info)
            waiting.start()
            waiting.join(0.2)
            self.assertTrue(waiting.is_alive())
        waiting.join()


class Containers(Elements):
    def started(self, family=OpenVZ):
        element = self.element(family)
        element._execute = lambda command: None
        self.give(element, auto_exec__sh=SCRIPT)
        element.action_start()
        element.action_rextfv_upload_use()
        return element

    def guest(self, element, *names):
        return os.path.join(element._imagePath(), "mnt", "nlXTP", *names)

    def test_the_states_of_a_run_of_tomato_s_modules(self):
        element = self.started()
        self.assertEqual(element._rextfv_run_status(), UNREADABLE)
        os.mkdir(self.guest(element, "exec_status"))
        # Where ToMaTo says that nothing is readable: the run has just begun, and later just ended.
        self.assertEqual(element._rextfv_run_status(), running())
        write(self.guest(element, "exec_status", "out"), "hello\n")
        # A guest whose clock is years behind, or ahead: clocks are not compared.
        for clock in ("1", "4000000000", "not even a number"):
            write(self.guest(element, "exec_status", "running"), clock)
            self.assertEqual(element._rextfv_run_status(), running())
        for text in (b"half way", u"z\u00fcrich".encode("utf-8"), b""):
            write(self.guest(element, "exec_status", "custom"), text)
            custom = element._rextfv_run_status()["custom"]
            self.assertTrue(isinstance(custom, str))
            self.assertEqual(custom, text if PYTHON2 else text.decode("utf-8"))
        self.assertEqual(element.info()["attrs"]["rextfv_run_status"], running(""))
        os.unlink(self.guest(element, "exec_status", "running"))
        self.assertEqual(element._rextfv_run_status(), running(""))
        write(self.guest(element, "exec_status", "done"), "")
        self.assertEqual(element._rextfv_run_status(), done(""))
        element.action_stop()
        self.assertEqual(element._rextfv_run_status(), done(""))
        self.assertEqual(unpacked(element.action_rextfv_download_grant())["exec_status/out"], b"hello\n")
        # An upload is a new run.
        element.action_rextfv_upload_use()
        self.assertEqual(element._rextfv_run_status(), UNREADABLE)

    def test_a_guest_that_was_turned_off_is_not_alive(self):
        element = self.started()
        os.mkdir(self.guest(element, "exec_status"))
        write(self.guest(element, "exec_status", "running"), "1")
        self.assertEqual(element._rextfv_run_status(), running())
        element.action_stop()
        # ToMaTo would say for ten minutes that it is.
        self.assertEqual(element._rextfv_run_status(), stopped())

    def test_silence_is_remembered_from_one_element_object_to_the_next(self):
        element = self.started()
        os.mkdir(self.guest(element, "exec_status"))
        write(self.guest(element, "exec_status", "running"), "1")
        element._rextfv_run_status()
        memory = element._nlxtp_remembered()
        self.assertIn("running", memory)
        again = OpenVZ(self.data, element.id)
        again.state = element.state
        self.assertEqual(again._nlxtp_remembered(), memory)

    def test_a_custom_status_that_is_no_text(self):
        element = self.started()
        os.mkdir(self.guest(element, "exec_status"))
        write(self.guest(element, "exec_status", "custom"), b"\xff bytes")
        custom = element._rextfv_run_status()["custom"]
        self.assertEqual(custom if not PYTHON2 else custom.decode("utf-8"), u"\ufffd bytes")
        self.assertEqual(element._nlxtp_status().custom, b"\xff bytes")

    def test_links_of_the_guest_are_not_followed(self):
        secret = self.path("secret")
        write(secret, "secret")
        outside = self.make_folder("outside")
        write(os.path.join(outside, "custom"), "secret")
        write(os.path.join(outside, "done"), "")
        element = self.started()
        status = self.guest(element, "exec_status")
        os.symlink(outside, status)
        self.assertNotIn("secret", repr(element._rextfv_run_status()))
        os.unlink(status)
        os.mkdir(status)
        os.symlink(secret, os.path.join(status, "custom"))
        os.mkfifo(os.path.join(status, "running"))
        self.assertNotIn("secret", repr(element._rextfv_run_status()))
        os.symlink(outside, self.guest(element, "data"))
        os.symlink("/", self.guest(element, "root"))
        archive = element.action_rextfv_download_grant()
        found = unpacked(archive)
        self.assertEqual((found["data"], found["root"], found["exec_status/custom"]), ("-> " + outside, "-> /", "-> " + secret))
        self.assertNotIn("exec_status/running", found)
        # Old links are replaced, not gone through.
        archive = self.give(element, "more.tar.gz", data=None, **{"data/done": b"replaced", "data/new": b"new"})
        element._use_rextfv_archive(archive, keepOldFiles=True)
        self.assertEqual(self.taken(element), {"data": None, "data/done": b"replaced", "data/new": b"new", "root": "-> /"})
        self.assertEqual(sorted(os.listdir(outside)), ["custom", "done"])
        element._clear_nlxtp_contents()
        self.assertEqual(sorted(os.listdir(outside)), ["custom", "done"])
        with open(os.path.join(outside, "done")) as untouched:
            self.assertEqual(untouched.read(), "")

    def test_nor_are_they_on_the_way_to_the_shared_directory(self):
        outside = self.make_folder("outside")
        os.mkdir(os.path.join(outside, "nlXTP"))
        write(os.path.join(outside, "nlXTP", "mine"), "stays")
        for name in ("mnt", os.path.join("mnt", "nlXTP")):
            element = self.started()
            path = os.path.join(element._imagePath(), name)
            shutil.rmtree(path)
            os.symlink(outside if name == "mnt" else os.path.join(outside, "nlXTP"), path)
            self.assertEqual(element._rextfv_run_status(), UNREADABLE)
            for operation in (
                element.action_rextfv_upload_use,
                element.action_rextfv_download_grant,
                element._clear_nlxtp_contents,
                lambda: element._use_rextfv_archive(element.dataPath("rextfv_up.tar.gz"), True),
            ):
                error = self.failure(Error, operation)
                self.assertEqual(error.kind, "not-a-target")
                self.assertIn("links are not followed", str(error))
            self.assertEqual(os.listdir(os.path.join(outside, "nlXTP")), ["mine"])

    def test_the_directory_is_made_where_it_is_missing(self):
        element = self.started()
        for missing in ("mnt/nlXTP", "mnt"):
            shutil.rmtree(os.path.join(element._imagePath(), missing))
            self.assertEqual(element._rextfv_run_status(), UNREADABLE)
            self.assertFalse(os.path.exists(self.guest(element)))
            element.action_rextfv_upload_use()
            self.assertEqual(stat.S_IMODE(os.stat(self.guest(element)).st_mode), 0o755)
        shutil.rmtree(element._imagePath())
        self.assertEqual(self.failure(Error, element.action_rextfv_upload_use).kind, "not-found")
        self.assertFalse(os.path.exists(element._imagePath()))

    def test_before_the_container_is_prepared(self):
        element = OpenVZ(self.data, "new")
        self.assertEqual(element._rextfv_run_status(), UNREADABLE)
        self.give(element, a=b"")
        for operation in (element.action_rextfv_upload_use, element.action_rextfv_download_grant, element._clear_nlxtp_contents):
            self.assertEqual(self.failure(Error, operation).kind, "not-found")

    def test_the_hostmanager_s_own_exceptions(self):
        element = self.element(TranslatingOpenVZ)
        error = self.failure(UserError, element.action_rextfv_upload_use)
        self.assertTrue(str(error).startswith("not-found: "))
        self.assertEqual(element._rextfv_run_status(), UNREADABLE)


class VirtualMachines(Elements):
    def test_an_upload_to_a_running_machine_is_refused_and_mounts_nothing(self):
        element = self.element(UnchangedKVMQM)
        self.give(element, old=b"stays")
        element.action_rextfv_upload_use()
        self.give(element, new=b"new")
        element.action_start()
        del element.mounts[:]
        for operation in (element.action_rextfv_upload_use, element._clear_nlxtp_contents):
            self.assertEqual(self.failure(Error, operation).kind, "guest-on")
        self.assertEqual(element.mounts, [])
        # What the hypervisor says counts, and not what was saved.
        element.state = "prepared"
        self.assertEqual(self.failure(Error, element.action_rextfv_upload_use).kind, "guest-on")
        element.state = "started"
        self.assertEqual(self.taken(element), {"old": b"stays"})
        element._rextfv_run_status()
        self.assertEqual(element.mounts, ["mount read-only", "unmount"] * 2)
        element.action_stop()
        element.action_rextfv_upload_use()
        self.assertEqual(self.taken(element), {"new": b"new"})
        self.assertEqual(element.mounts[4:6], ["mount", "unmount"])

    def test_a_disk_that_the_guest_has_destroyed_disturbs_no_other(self):
        element = self.element(KVMQM)
        self.give(element, old=b"old")
        element.action_rextfv_upload_use()
        for garbage in (b"", b"\0" * (1 << 20), os.urandom(1 << 20)):
            write(element._nlxtp_device_filename(), garbage)
            self.assertEqual(element.info()["attrs"]["rextfv_run_status"], UNREADABLE)
            self.assertIn(self.failure(Error, element.action_rextfv_download_grant).kind, ("not-a-target", "damaged"))
        os.unlink(element._nlxtp_device_filename())
        self.assertEqual(element._rextfv_run_status(), UNREADABLE)
        element.action_rextfv_upload_use()
        self.assertEqual(self.taken(element), {"old": b"old"})
        self.assertEqual(os.path.getsize(element._nlxtp_device_filename()), KVMQM.rextfv_max_size)

    def test_the_states_of_a_run_on_a_disk(self):
        element = self.element(KVMQM)
        self.give(element, auto_exec__sh=SCRIPT)
        element.action_rextfv_upload_use()
        element.action_start()
        self.assertEqual(element._rextfv_run_status(), UNREADABLE)
        # The guest writes with a FAT driver that is not ours.
        partition = "%s@@1M" % element._nlxtp_device_filename()
        written = self.path("written")

        def guest_writes(name, text):
            write(written, text)
            run("mcopy", "-o", "-i", partition, written, "::exec_status/" + name)

        run("mmd", "-i", partition, "::exec_status")
        self.assertEqual(element._rextfv_run_status(), running())
        guest_writes("out", "hello\n")
        guest_writes("running", "1")
        guest_writes("custom", "on a disk")
        self.assertEqual(element._rextfv_run_status(), running("on a disk"))
        run("mdel", "-i", partition, "::exec_status/running")
        guest_writes("done", "")
        self.assertEqual(element._rextfv_run_status(), done("on a disk"))
        element.action_stop()
        found = unpacked(element.action_rextfv_download_grant())
        self.assertEqual((found["exec_status/out"], found["auto_exec.sh"]), (b"hello\n", SCRIPT))

    def test_disks_that_tomato_has_made(self):
        class WithDiskOfToMaTo(UnchangedKVMQM):
            def make_disk(self, path, kilobytes):
                with open(path, "wb") as disk:
                    disk.truncate(kilobytes * 1024)
                fdisk = subprocess.Popen(["sfdisk", "--quiet", path], stdin=subprocess.PIPE)
                fdisk.communicate(b"2048,,b\n")
                assert fdisk.returncode == 0
                run("mkfs.vfat", "--offset", "2048", path, str(kilobytes - 1024))

        element = self.element(WithDiskOfToMaTo)
        self.give(element, auto_exec__sh=SCRIPT, **{"a long name, as people give them.txt": b"x" * 100000})
        element.action_rextfv_upload_use()
        self.assertEqual(self.taken(element), {"auto_exec.sh": SCRIPT, "a long name, as people give them.txt": b"x" * 100000})
        listed = run("mdir", "-b", "-i", "%s@@1M" % element._nlxtp_device_filename(), "::")
        self.assertIn(b"a long name, as people give them.txt", listed)
