"""Elements like ToMaTo's OpenVZ, with real containers: off and on, with our guest program and with files
as ToMaTo's own guest modules write them."""

import os

from containers import OLD_MONITOR, Container, until
from elements import UserError
from support import TestCase, make_archive, unpacked

#: Goes on when the file `go` appears in the shared directory.
SCRIPT = b"""#!/bin/sh
echo "from $archive_version"
echo 'half way' >"$archive_dir/exec_status/custom.new"
mv "$archive_dir/exec_status/custom.new" "$archive_dir/exec_status/custom" 2>/dev/null ||
    /bin/busybox mv "$archive_dir/exec_status/custom.new" "$archive_dir/exec_status/custom"
until [ -e "$archive_dir/go" ]; do sleep 0.1; done
echo result >"$archive_dir/result"
echo to the end
"""


class WithDaemon(Container):
    """Ours, with its daemon."""

    at_boot = b"/bin/nlxtp-guest daemon --set nlxtp_mon_check_interval=0.2 --set nlxtp_daemon_check_interval=0.2 &"


class WithMonitorAlone(Container):
    """Ours, whose monitor is started at boot and by the host, as ToMaTo's modules are."""

    at_boot = b"nlXTP_mon --background"


class WithOldModules(WithMonitorAlone):
    """A guest that was prepared for ToMaTo."""

    monitor = OLD_MONITOR


class Daemon(WithDaemon):
    """One that is not told: the daemon notices."""

    def _execute(self, command):
        pass


class Guests(TestCase):
    FAMILIES = (WithDaemon, Daemon, WithMonitorAlone, WithOldModules)

    def each(self):
        for number, family in enumerate(self.FAMILIES):
            element = family(self.folder, number)
            element.action_prepare()
            self.addCleanup(element.pull_the_plug)
            yield element
            element.pull_the_plug()

    def give(self, element):
        make_archive(element.dataPath("rextfv_up.tar.gz"), {"auto_exec.sh": SCRIPT})

    def see_it_run(self, element):
        expected = {"readable": True, "done": False, "isAlive": True, "custom": "half way\n"}
        until(lambda: element.info()["attrs"]["rextfv_run_status"] == expected, "%r: %r" % (element, expected))

    def see_it_end(self, element):
        with open(os.path.join(element._imagePath(), "mnt", "nlXTP", "go"), "w"):
            pass
        expected = {"readable": True, "done": True, "isAlive": False, "custom": "half way\n"}
        until(lambda: element._rextfv_run_status() == expected, "%r: %r" % (element, expected))
        found = unpacked(element.action_rextfv_download_grant())
        output = found.get("exec_status/stdout", found["exec_status/out"])
        self.assertEqual((found["result"], output), (b"result\n", b"from 0.3\nto the end\n"))

    def test_an_upload_to_a_stopped_container_runs_at_its_boot(self):
        for element in self.each():
            self.give(element)
            element.action_rextfv_upload_use()
            self.assertEqual(element._rextfv_run_status(), {"readable": False})
            element.action_start()
            self.see_it_run(element)
            self.see_it_end(element)
            # What is done stays so, whether the guest is on or off.
            element.action_stop()
            self.assertTrue(element._rextfv_run_status()["done"])

    def test_an_upload_to_a_running_container_runs_at_once(self):
        for element in self.each():
            element.action_start()
            element._first_process()
            self.give(element)
            for _ in range(2):
                element.action_rextfv_upload_use()
                self.see_it_run(element)
                self.see_it_end(element)

    def test_a_container_that_is_stopped_while_it_runs(self):
        for element in self.each():
            self.give(element)
            element.action_rextfv_upload_use()
            element.action_start()
            self.see_it_run(element)
            element.action_stop()
            status = element._rextfv_run_status()
            self.assertEqual(status, {"readable": True, "done": False, "isAlive": False, "custom": "half way\n"})

    def test_what_the_monitor_s_start_raises_is_the_hostmanager_s(self):
        element = WithMonitorAlone(self.folder, "raising")
        element.action_prepare()
        self.addCleanup(element.pull_the_plug)
        element.action_start()
        self.give(element)

        def fail(command):
            raise UserError(command)

        element._execute = fail
        error = self.failure(UserError, element.action_rextfv_upload_use)
        self.assertEqual(str(error), "nlXTP_mon --background")
        # The upload stands.
        self.assertIn("auto_exec.sh", os.listdir(os.path.join(element._imagePath(), "mnt", "nlXTP")))
