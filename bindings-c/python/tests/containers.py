"""A real container for an OpenVZ element: namespaces, a root of its own, and a guest program in it.

Needs root, util-linux, a static busybox (``NLXTP_BUSYBOX``) and ``nlxtp-guest`` (``NLXTP_GUEST``).
"""

import os
import shutil
import signal
import subprocess
import time

from elements import OpenVZ
from support import run, write

#: The monitor as ToMaTo's guest modules 0.3 behave, written anew after docs/protocol.md.
OLD_MONITOR = b"""#!/bin/sh
# Stands for nlXTP_mon 0.3: what it writes, and in which order.
shared=/mnt/nlXTP
status=$shared/exec_status
[ -e "$shared/auto_exec.sh" ] || exit 0
[ -e "$status" ] && exit 0
if [ "$1" = --background ]; then
    "$0" </dev/null >/dev/null 2>&1 &
    exit 0
fi
mkdir "$status"
cd "$status" || exit 1
nlxtp_dir=$shared archive_dir=$shared archive_version=0.3 sh ../auto_exec.sh >out 2>&1 &
script=$!
while kill -0 "$script" 2>/dev/null; do
    date +%s >running
    sleep 0.2
done
rm -f running
: >done
"""

#: How a host that knows ToMaTo's modules starts the monitor, in a guest with ours.
OUR_MONITOR = b"""#!/bin/sh
exec /bin/nlxtp-guest monitor "$@"
"""

INIT = b"""#!/bin/sh
/bin/busybox mount -t proc proc /proc
%s
while :; do sleep 3600 & wait $!; done
"""

DEADLINE = 120


class Container(OpenVZ):
    """An element whose guest really runs."""

    #: What the guest starts at boot.
    at_boot = b":"
    monitor = OUR_MONITOR

    _process = None

    def action_prepare(self):
        OpenVZ.action_prepare(self)
        root = self._imagePath()
        for name in ("bin", "proc", "tmp", "etc", "dev"):
            os.mkdir(os.path.join(root, name))
        self._install(os.environ.get("NLXTP_BUSYBOX", "/bin/busybox"), "busybox")
        self._install(os.environ["NLXTP_GUEST"], "nlxtp-guest")
        for applet in ("sh", "sleep", "mkdir", "rm", "date", "cat", "env", "kill"):
            os.symlink("busybox", os.path.join(root, "bin", applet))
        for name, text in (("nlXTP_mon", self.monitor), ("init", INIT % self.at_boot)):
            write(os.path.join(root, "bin", name), text)
            os.chmod(os.path.join(root, "bin", name), 0o755)

    def _install(self, program, name):
        shutil.copy(program, os.path.join(self._imagePath(), "bin", name))

    def action_start(self):
        # Its own /dev/null, which daemons and shells want.
        null = os.path.join(self._imagePath(), "dev", "null")
        if not os.path.exists(null):
            run("mknod", "-m", "666", null, "c", "1", "3")
        with open(os.devnull, "rb") as nothing, open(self.dataPath("console"), "ab") as console:
            # Whatever becomes of this process, its guests end with it.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--net", "--ipc", "--uts", "--fork",
                 "--kill-child=KILL", "chroot", self._imagePath(), "/bin/init"],
                stdin=nothing, stdout=console, stderr=subprocess.STDOUT, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )  # fmt: skip
        OpenVZ.action_start(self)

    def action_stop(self):
        self.pull_the_plug()
        OpenVZ.action_stop(self)

    def pull_the_plug(self):
        if self._process is not None:
            first = self._first_process()
            os.kill(first, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _first_process(self):
        """The guest's first process, as the host sees it."""
        children = "/proc/%d/task/%d/children" % (self._process.pid, self._process.pid)

        def child():
            with open(children) as pids:
                return pids.read().split()

        return int(until(child, "the container has a first process")[0])

    def _execute(self, command):
        target = str(self._first_process())
        enter = ["nsenter", "--target", target, "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd"]
        # The first process may not have changed its root yet.
        until(lambda: os.path.exists("/proc/%s/root/bin/nlXTP_mon" % target), "the container is in its root")
        run(*(enter + ["/bin/sh", "-c", command]), env={"PATH": "/bin:/usr/bin:/usr/sbin:/sbin"})


def until(function, what):
    """What the function returns once that is true."""
    deadline = time.time() + DEADLINE
    while True:
        found = function()
        if found:
            return found
        if time.time() > deadline:
            raise AssertionError("not within %d seconds: %s" % (DEADLINE, what))
        time.sleep(0.05)
