# coding: utf-8
"""The module itself: nodes, disks, errors, callbacks, paths."""

import ctypes
import errno
import hashlib
import os
import pickle
import re
import subprocess
import sys
import threading

import nlxtp_ctypes as nlxtp
from nlxtp_ctypes import calls, library, texts
from support import PYTHON2, SCRIPT, TestCase, content, link, make_archive, open_files, run, write

HELD = {"auto_exec__sh": SCRIPT, "data/input": b"\0\xff" * 1000, "data": None}


class Cycle(TestCase):
    def check_cycle(self, target):
        archive = self.archive(**HELD)
        with nlxtp.Node(target, power="off") as node:
            self.assertEqual(node.status().state, "not-started")
            report = node.upload(archive)
            self.assertEqual((report.start_script, report.execution, report.bytes), ("auto_exec.sh", "at-boot", len(SCRIPT) + 2000))
            self.assertEqual(node.status().run_id, report.run_id)
            self.assertEqual(len(report.run_id), 32)
            self.assertEqual((report.left_out, report.lost_owners, report.warnings), (0, 0, []))
            taken = node.download(self.path("results.tar.gz"))
            self.assertEqual((taken.files, taken.symlinks, taken.changed, taken.left_out), (3, 0, 0, 0))
            self.assertTrue(taken.settled)
            self.assertEqual(taken.archive_bytes, os.path.getsize(self.path("results.tar.gz")))
            self.assertEqual(
                content(self.path("results.tar.gz")),
                {"auto_exec.sh": SCRIPT, "data": None, "data/input": HELD["data/input"]},
            )
            self.assertIsNone(node.memory())

    def test_directory(self):
        self.check_cycle(self.make_folder("shared"))

    def test_disk(self):
        nlxtp.create_disk(self.path("disk.img"), size=4 << 20, label="LAB")
        self.assertEqual(os.path.getsize(self.path("disk.img")), 4 << 20)
        self.check_cycle(self.path("disk.img"))

    def test_a_run_by_the_status_files(self):
        shared = self.make_folder("shared")
        node = nlxtp.Node(shared)
        node.upload(self.archive(auto_exec__sh=SCRIPT))
        os.mkdir(os.path.join(shared, "exec_status"))
        write(os.path.join(shared, "exec_status", "running"), "1400000000\n")
        write(os.path.join(shared, "exec_status", "out"), b"half\xff")
        write(os.path.join(shared, "exec_status", "custom"), b"50 %\xff\0")
        status = node.status()
        self.assertEqual((status.state, status.running, status.done, status.dialect), ("running", True, False, "tomato"))
        self.assertEqual(status.custom, b"50 %\xff\0")
        self.assertEqual(node.read_output("stdout", 2, 2), b"lf")
        self.assertEqual(node.output(), b"half\xff")
        self.assertIsNotNone(node.memory())
        # What one node knows, another may go on with.
        with nlxtp.Node(shared, memory=node.memory()) as later:
            self.assertEqual(later.status().state, "running")
        os.unlink(os.path.join(shared, "exec_status", "running"))
        write(os.path.join(shared, "exec_status", "done"), "")
        seen = []
        status = node.wait(on_change=lambda status: seen.append(status.state))
        self.assertEqual((status.state, status.done, seen), ("finished", True, ["finished"]))
        self.assertEqual(status.as_dict()["state"], "finished")
        self.assertRaises(AttributeError, setattr, status, "done", False)
        self.assertEqual(status, node.status())
        self.check_verification(node, shared)

    def check_verification(self, node, shared):
        digests = os.path.join(shared, "exec_status", "digests")

        def verification():
            return node.download(self.path("results.tar"), replace=True).verification

        self.assertEqual(verification(), "no-digests")
        names = ["auto_exec.sh", "exec_status/custom", "exec_status/out", "nlxtp_run_id"]
        lines = []
        for name in names:
            with open(os.path.join(shared, name), "rb") as file:
                lines.append("%s  %s\n" % (hashlib.sha256(file.read()).hexdigest(), name))
        write(digests, "".join(lines))
        self.assertEqual(verification(), "verified")
        write(digests, "".join(lines[1:]))
        self.assertEqual(verification(), "differs")
        write(digests, "?")
        self.assertEqual(verification(), "unusable")

    def test_an_existing_archive_is_replaced_only_if_asked(self):
        node = nlxtp.Node(self.make_folder("shared"))
        write(self.path("old.tar.gz"), "old")
        self.failure(nlxtp.Exists, node.download, self.path("old.tar.gz"))
        with open(self.path("old.tar.gz")) as old:
            self.assertEqual(old.read(), "old")
        node.download(self.path("old.tar.gz"), replace=True)
        self.assertEqual(content(self.path("old.tar.gz")), {})


class Errors(TestCase):
    def test_one_family_with_all_that_is_known(self):
        error = self.failure(nlxtp.NotFound, nlxtp.Node, self.path("nowhere"))
        self.assertTrue(isinstance(error, nlxtp.Error))
        self.assertEqual((error.kind, error.number, error.operation), ("not-found", 5, "node_open"))
        self.assertEqual((error.path, error.may_retry), (self.path("nowhere"), False))
        self.assertIn(error.message, str(error))
        self.assertIn("make a disk", error.hint)

    def test_refusals(self):
        archive = make_archive(self.path("bad.tar"), {"a": link("../a", "x"), "b": link("b", "x", b"3")})
        shared = self.make_folder("shared")
        write(os.path.join(shared, "old"), "stays")
        error = self.failure(nlxtp.Refused, nlxtp.Node(shared).upload, archive)
        self.assertEqual((error.refusal_count, [entry for entry, _ in error.refusals]), (2, ["../a", "b"]))
        self.assertEqual(os.listdir(shared), ["old"])
        again = pickle.loads(pickle.dumps(error, 2))
        self.assertEqual((type(again), again.refusals, str(again)), (nlxtp.Refused, error.refusals, str(error)))

    def test_an_upload_that_stands(self):
        shared = self.make_folder("shared")
        invoke = library.InvokeFunction(lambda _: -errno.ESRCH)
        handle, error = ctypes.c_void_p(), ctypes.c_void_p()
        options = library.NodeOptions(power=1, invoke_monitor=invoke)
        c, archive = library.load(), texts.path_to_bytes(self.archive(auto_exec__sh=SCRIPT))
        references = [ctypes.byref(variable) for variable in (options, handle, error)]
        calls.check(c.nlxtp_node_open(texts.path_to_bytes(shared), *references), error)
        error = ctypes.c_void_p()
        result = c.nlxtp_node_upload(handle, archive, None, None, ctypes.byref(error))
        c.nlxtp_node_free(handle)
        failed = self.failure(nlxtp.InvokeFailed, calls.check, result, error)
        self.assertEqual((failed.upload.run_id, failed.upload.execution), (nlxtp.Node(shared).status().run_id, "by-daemon"))
        again = pickle.loads(pickle.dumps(failed, 2))
        self.assertEqual((type(again), again.upload), (nlxtp.InvokeFailed, failed.upload))
        self.assertIsNone(self.failure(nlxtp.NotFound, nlxtp.Node, self.path("nowhere")).upload)

    def test_kinds(self):
        shared = self.make_folder("shared")
        node = nlxtp.Node(shared, max_bytes=1000)
        write(self.path("garbage"), os.urandom(5000))
        self.failure(nlxtp.BadArchive, node.upload, self.path("garbage"))
        self.failure(nlxtp.NotFound, node.upload, self.path("nowhere"))
        error = self.failure(nlxtp.Error, node.upload, self.archive(big=b"\0" * 100000))
        self.assertIn("1000", str(error).replace(",", ""))
        self.failure(nlxtp.NotATarget, nlxtp.Node, self.path("garbage"))
        nlxtp.create_disk(self.path("disk"))
        self.failure(nlxtp.Error, nlxtp.create_disk, self.path("disk"))
        error = self.failure(nlxtp.GuestOn, nlxtp.Node(self.path("disk"), power="on").upload, self.archive(a=b""))
        self.assertEqual(error.kind, "guest-on")
        self.failure(nlxtp.TooSmall, nlxtp.Node(self.path("disk")).upload, self.archive(big=b"\0" * (70 << 20)))
        error = self.failure(nlxtp.TimedOut, node.wait, timeout=0)
        self.assertTrue(error.kind == "timed-out" and error.operation == "node_wait")

    def test_arguments(self):
        shared = self.make_folder("shared")
        node = nlxtp.Node(shared)
        for wrong in ("a\0b", b"a\0b", u"\0", ""):
            self.failure(nlxtp.InvalidInput, nlxtp.Node, wrong)
            self.failure(nlxtp.InvalidInput, node.upload, wrong)
            self.failure(nlxtp.InvalidInput, node.download, wrong)
            self.failure(nlxtp.InvalidInput, nlxtp.create_disk, wrong)
        for wrong in (-1, 2**31):
            self.failure(nlxtp.InvalidInput, nlxtp.Node, wrong)
        self.failure(nlxtp.SystemFailure, nlxtp.Node, 987654)
        for wrong in (None, 1.5, [], object()):
            self.failure(TypeError, nlxtp.Node, wrong)
        for wrong in (None, 7, [], object()):
            self.failure(TypeError, node.upload, wrong)
            self.failure(TypeError, node.download, wrong)
        for wrong in ("", "ON", None, 1, []):
            self.failure(nlxtp.InvalidInput, nlxtp.Node, shared, power=wrong)
        for wrong in (0, -1, 2**64, 1.5, "1"):
            self.failure(nlxtp.InvalidInput, nlxtp.Node, shared, max_bytes=wrong)
            self.failure(nlxtp.InvalidInput, nlxtp.Node, shared, max_entries=wrong)
            self.failure(nlxtp.InvalidInput, nlxtp.create_disk, self.path("disk"), size=wrong)
        for wrong in (-1, float("nan")):
            self.failure(nlxtp.InvalidInput, node.wait, timeout=wrong)
            self.failure(nlxtp.InvalidInput, nlxtp.Node, shared, grace=wrong)
        self.failure(ValueError, node.wait, timeout="soon")
        self.failure(nlxtp.InvalidInput, nlxtp.Node, shared, memory="{not json")
        self.failure(nlxtp.InvalidInput, node.read_output, "both")
        self.failure(nlxtp.InvalidInput, node.read_output, "stdout", -1)
        self.failure(nlxtp.InvalidInput, node.download, self.path("x"), format="rar")
        for wrong in (dict(level=10), dict(level=0), dict(level=2**31), dict(format="tar", level=1), dict(retries=-1),
                      dict(retries=2**32 - 1), dict(retries=None), dict(threads=0), dict(threads=2**32)):
            self.failure(nlxtp.InvalidInput, node.download, self.path("x"), **wrong)
        self.failure(nlxtp.InvalidInput, nlxtp.Journal, "")
        self.failure(nlxtp.NotFound, nlxtp.Journal, self.path("nowhere", "journal"))
        for wrong in ("a path", 7):
            self.failure(TypeError, nlxtp.Node, shared, journal=wrong, name="n")
        self.failure(nlxtp.InvalidInput, nlxtp.create_disk, self.path("disk"), label="far too long a label")
        self.assertEqual(sorted(os.listdir(self.folder)), ["shared"])

    def test_a_closed_node(self):
        node = nlxtp.Node(self.make_folder("shared"))
        node.close()
        node.close()
        for call in (node.status, node.memory, node.wait, node.output):
            self.failure(nlxtp.InvalidInput, call)


class Callbacks(TestCase):
    def setUp(self):
        TestCase.setUp(self)
        self.shared = self.make_folder("shared")
        self.big = self.archive(auto_exec__sh=SCRIPT, big=b"x" * (8 << 20))

    def test_power_and_invoke(self):
        calls, threads = [], set()

        def power():
            threads.add(threading.current_thread())
            calls.append("power")
            return "on"

        def invoke():
            threads.add(threading.current_thread())
            calls.append("invoke")

        with nlxtp.Node(self.shared, power=power, invoke_monitor=invoke) as node:
            self.assertEqual(node.upload(self.big).execution, "invoked")
            self.assertEqual(calls[-1], "invoke")
            self.assertIn("power", calls)
            self.assertEqual(node.status().state, "not-started")
        self.assertEqual(threads, set([threading.current_thread()]))

    def test_progress(self):
        seen = []
        nlxtp.Node(self.shared).upload(self.big, progress=lambda *told: seen.append(told))
        self.assertTrue(set(phase for phase, _, _ in seen) <= set(["examining", "extracting", "flushing"]))
        for phase, done, total in seen:
            self.assertTrue(total is None or 0 <= done <= total, (phase, done, total))

    def test_what_they_raise_comes_out_and_nothing_changes(self):
        class Odd(BaseException):
            pass

        def fail(*_):
            raise Odd("with its traceback")

        nlxtp.Node(self.shared).upload(self.archive("old.tar", old=b"old"))
        before = sorted(os.listdir(self.shared))
        broken = nlxtp.Node(self.shared, power=fail)
        node = nlxtp.Node(self.shared)
        self.failure(Odd, broken.status)
        self.failure(Odd, broken.wait)
        self.failure(Odd, broken.upload, self.big)
        self.failure(Odd, node.upload, self.big, progress=fail)
        self.failure(Odd, node.download, self.path("out.tar.gz"), progress=fail)
        self.failure(Odd, node.wait, on_change=fail, timeout=60)
        self.failure(nlxtp.InvalidInput, nlxtp.Node(self.shared, power=lambda: "perhaps").status)
        self.assertEqual(sorted(os.listdir(self.shared)), before)
        self.assertFalse(os.path.exists(self.path("out.tar.gz")))
        # In other threads, too, where calls are made directly.
        raised = []

        def in_thread():
            for call in (broken.status, lambda: node.upload(self.big, progress=fail)):
                try:
                    call()
                except Odd as error:
                    raised.append(error)

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        self.assertEqual(len(raised), 2)
        self.assertEqual(sorted(os.listdir(self.shared)), before)
        # An invocation that fails leaves the upload.
        self.failure(Odd, nlxtp.Node(self.shared, power="on", invoke_monitor=fail).upload, self.big)
        self.assertIn("auto_exec.sh", os.listdir(self.shared))

    def test_the_node_is_in_use_meanwhile(self):
        failures = []

        def power():
            for call in (node.status, node.close):
                failures.append(self.failure(nlxtp.InUse, call))
            return "off"

        node = nlxtp.Node(self.shared, power=power)
        self.assertEqual(node.status().state, "not-started")
        self.assertTrue(len(failures) >= 2 and all(error.may_retry for error in failures))

    def test_cancel(self):
        cancel = nlxtp.Cancel()
        node = nlxtp.Node(self.shared)
        timer = threading.Timer(0.2, cancel.now)
        timer.start()
        self.failure(nlxtp.Cancelled, node.wait, cancel=cancel)
        timer.join()
        self.failure(nlxtp.Cancelled, node.upload, self.big, cancel=cancel)
        self.failure(nlxtp.Cancelled, node.download, self.path("out.tar"), cancel=cancel)
        self.assertEqual(os.listdir(self.shared), [])
        node.upload(self.big, cancel=nlxtp.Cancel(), timeout=600)

    def test_many_threads(self):
        failures = []

        def use(number):
            try:
                shared = self.make_folder("many", str(number))
                with nlxtp.Node(shared, power=lambda: "off") as node:
                    for _ in range(20):
                        node.upload(self.path("small.tar"))
                        assert node.status().state == "not-started"
                        node.download(os.path.join(shared, "..", "%d.tar" % number), replace=True)
            except BaseException as error:
                failures.append(error)

        make_archive(self.path("small.tar"), {"auto_exec.sh": SCRIPT})
        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_a_fork_may_go_on(self):
        node = nlxtp.Node(self.shared)
        node.status()
        child = os.fork()
        if child == 0:
            try:
                node.upload(self.big)
                os._exit(0 if node.status().state == "not-started" else 1)
            finally:
                os._exit(2)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(node.status().state, "not-started")


class Paths(TestCase):
    NAMES = [b"plain", b"\xff\xfe", u"z\u00fcrich \u6771".encode("utf-8"), b"new\nline"]

    def test_bytes_of_any_kind(self):
        folder = self.folder.encode("ascii")
        for name in self.NAMES:
            self.use(os.path.join(folder, name))

    def test_text(self):
        for name in self.NAMES:
            # As `os.listdir` gives them.
            text = name if PYTHON2 else os.fsdecode(name)
            self.use(os.path.join(self.folder, text))
        self.use(os.path.join(u"%s" % self.folder, u"z\u00fcrich"))

    def test_path_like(self):
        class PathLike(object):
            def __init__(self, path):
                self.path = path

            def __fspath__(self):
                return self.path

        os.mkdir(self.path("shared"))
        self.assertEqual(nlxtp.Node(PathLike(self.path("shared"))).status().state, "not-started")

    def use(self, target):
        suffix = b".tar" if isinstance(target, bytes) else u".tar"
        archive = self.archive("a.tar", auto_exec__sh=SCRIPT)
        os.mkdir(target.encode("utf-8") if PYTHON2 and not isinstance(target, bytes) else target)
        node = nlxtp.Node(target)
        node.upload(archive)
        node.download(target + suffix)
        back = nlxtp.Node(target)
        back.upload(target + suffix)
        node.download(target + suffix, replace=True)


class Loading(TestCase):
    def python(self, program, **environment):
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), **environment)
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return process.communicate()[0].decode("utf-8"), process.returncode

    def test_a_library_that_is_not_there(self):
        said, code = self.python("import nlxtp_ctypes; nlxtp_ctypes.version()", NLXTP_LIBRARY="/nowhere.so")
        self.assertTrue(code != 0 and "/nowhere.so" in said and "make install" in said and "NLXTP_LIBRARY" in said, said)

    def test_an_explicit_path(self):
        path = library.load().loaded_from
        program = "import nlxtp_ctypes; nlxtp_ctypes.load(%r); print(nlxtp_ctypes.version())" % path
        said, code = self.python(program, NLXTP_LIBRARY="/nowhere.so")
        self.assertEqual((said.strip(), code), (nlxtp.version(), 0))
        self.failure(ValueError, nlxtp.load, "/another.so")

    def test_every_function_that_is_declared_is_in_the_header(self):
        header = os.environ.get("NLXTP_HEADER")
        if header is None:
            raise AssertionError("NLXTP_HEADER must name nlxtp.h")
        with open(header) as text:
            text = " ".join(text.read().split())
        for name, (_, arguments) in library._SIGNATURES.items():
            declared = re.search(r"[ *]%s\(([^()]*)\);" % name, text).group(1)
            count = 0 if declared == "void" else declared.count(",") + 1
            self.assertEqual(count, len(arguments), name)

    def test_structures_are_the_header_s(self):
        header = os.environ["NLXTP_HEADER"]
        program = self.path("sizes")
        names = {
            "nlxtp_disk_options": library.DiskOptions,
            "nlxtp_node_options": library.NodeOptions,
            "nlxtp_download_options": library.DownloadOptions,
            "nlxtp_journal_options": library.JournalOptions,
            "nlxtp_watcher_options": library.WatcherOptions,
            "nlxtp_control": library.Control,
            "nlxtp_progress": library.Progress,
        }
        lines = ["#include <stdio.h>", "#include <stddef.h>", '#include "%s"' % header, "int main(void) {"]
        expected = []
        for name in sorted(names):
            structure = names[name]
            for field in structure._fields_:
                lines.append('printf("%s.%s %%zu\\n", offsetof(%s, %s));' % (name, field[0], name, field[0]))
                expected.append("%s.%s %d" % (name, field[0], getattr(structure, field[0]).offset))
        lines.append("return 0; }")
        compiler = os.environ.get("CC", "cc")
        write(program + ".c", "\n".join(lines) + "\n")
        try:
            run(compiler, "-o", program, program + ".c")
        except OSError:
            # The same offsets hold for all Pythons: once is enough, where there is a compiler.
            self.assertTrue(PYTHON2, "there is no C compiler")
            return
        self.assertEqual(run(program).decode("ascii").splitlines(), expected)


class Leaks(TestCase):
    def test_ten_thousand_cycles(self):
        from support import resident_bytes

        shared = self.make_folder("shared")
        write(self.path("garbage"), "garbage")
        nlxtp.Node(shared).upload(self.archive(auto_exec__sh=SCRIPT))
        os.mkdir(os.path.join(shared, "exec_status"))
        write(os.path.join(shared, "exec_status", "running"), "1")
        write(os.path.join(shared, "exec_status", "custom"), "c" * 1000)

        def cycle():
            with nlxtp.Node(shared, power="on") as node:
                assert node.status().custom is not None
                assert node.memory()
            try:
                nlxtp.Node(self.path("nowhere"))
            except nlxtp.NotFound:
                pass

        def long_cycle():
            # Neither closed, nor without circles that only the collector finds.
            node = nlxtp.Node(shared, power=lambda: "on", invoke_monitor=lambda: None)
            for call in (lambda: node.wait(timeout=0), lambda: node.upload(self.path("garbage"))):
                try:
                    call()
                except (nlxtp.TimedOut, nlxtp.BadArchive):
                    pass
            node.status()

        def grown(function, warm_up, count):
            for _ in range(warm_up):
                function()
            files, memory = open_files(), resident_bytes()
            for _ in range(count):
                function()
            self.assertEqual(open_files(), files)
            return resident_bytes() - memory

        # A handle that leaked each time would take more than a hundred bytes.
        self.assertTrue(grown(cycle, 1000, 10000) < 800000)
        self.assertTrue(grown(long_cycle, 100, 1000) < 1500000)
        if PYTHON2:
            import gc

            gc.collect()
            self.assertEqual(gc.garbage, [])
        self.assertEqual(threading.active_count(), 1)


if __name__ == "__main__":
    import unittest

    unittest.main()
