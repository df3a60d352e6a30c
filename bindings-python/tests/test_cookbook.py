"""The programs in the documents, each document's from top to bottom, with guest programs that run."""

import os
import re
import resource
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import nlxtp
from conftest import archive

REPOSITORY = Path(__file__).parents[2]
CONTAINERS = ["web", "mail"]

SCRIPT = b"""#!/bin/sh
"$nlxtp_guest" set-status "half way"
echo "hello from $archive_dir"
echo result > "$archive_dir/result"
"""

# What the documents' hypervisors are: a machine that is off, and a container whose guest is a process here.
VIRSH = """#!/bin/sh
[ "$1" = domstate ] && echo "shut off"
"""
LXC_ATTACH = """#!/bin/sh
[ "$1 $3 $4 $5 $6" = "-n -- nlxtp-guest monitor --background" ] || exit 1
exec "$NLXTP_TEST_GUEST" monitor --background --dir "$PWD/containers/$2"
"""


def programs(page: str) -> "list[tuple[int, str]]":
    """The blocks of Python in a document, and the lines that they begin in."""
    text = (REPOSITORY / page).read_text()
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, block.start(1)), block.group(1)) for block in blocks]


@pytest.fixture
def testbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Path]":
    """A directory with what the documents name: containers with daemons in them, archives, a template."""
    monkeypatch.chdir(tmp_path)
    for folder in ["bin", "containers/db", "templates/debian/etc", *(f"containers/{name}" for name in CONTAINERS)]:
        (tmp_path / folder).mkdir(parents=True)
    for name, script in (("virsh", VIRSH), ("lxc-attach", LXC_ATTACH)):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NLXTP_TEST_GUEST", str(nlxtp.guest_binary()))
    (tmp_path / "experiment.tar.gz").write_bytes(archive({"auto_exec.sh": SCRIPT}))
    daemons: "list[subprocess.Popen[bytes]]" = []
    try:
        for name in CONTAINERS:
            command = [str(nlxtp.guest_binary()), "daemon", "--stay", "--dir", str(tmp_path / "containers" / name)]
            daemons.append(subprocess.Popen([*command, "--set", "nlxtp_daemon_check_interval=0.2"]))
        yield tmp_path
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait()


def run(page: str) -> None:
    names: "dict[str, object]" = {"__name__": "cookbook"}
    found = programs(page)
    assert found
    for line, program in found:
        # So that a traceback names the document and its line.
        exec(compile("\n" * line + program, REPOSITORY / page, "exec"), names)


@pytest.mark.timeout(600)
def test_the_cookbook(testbed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        run("docs/python.md")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    told = capfd.readouterr().out
    assert "auto_exec.sh by-daemon\nfinished 0 half way\nhello from " in told
    assert "3 runs have ended" in told
    assert (testbed / "templates/debian/usr/local/sbin/nlxtp-guest").exists()
    with tarfile.open(testbed / "web.tar.gz") as home:
        assert "result" in [os.path.normpath(name) for name in home.getnames()]


@pytest.mark.parametrize("page", ["README.md", "bindings-python/README.md"])
@pytest.mark.timeout(600)
def test_the_beginning(page: str, testbed: Path) -> None:
    run(page)
    assert (testbed / "results.tar.gz").exists()
