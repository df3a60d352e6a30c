"""What holds wherever the package is installed. Needs nothing but Python itself:

    python -m unittest test_installed
"""

import asyncio
import io
import os
import subprocess
import tarfile
import tempfile
import unittest
from importlib import metadata
from pathlib import Path

import nlxtp

SCRIPT = b"""#!/bin/sh
"$nlxtp_guest" set-status "from the script"
echo hello
exit 3
"""


def packed(script: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo("auto_exec.sh")
        entry.mode, entry.size = 0o755, len(script)
        tar.addfile(entry, io.BytesIO(script))
    return out.getvalue()


class Installed(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def container(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path

    def test_the_guests_program_runs_what_is_uploaded(self) -> None:
        guest = nlxtp.guest_binary()
        told = subprocess.run([guest, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertIn(nlxtp.__version__, told)
        container = self.container("guest")
        node = nlxtp.Node(container)
        self.assertEqual(node.upload(packed(SCRIPT)).start_script, "auto_exec.sh")
        subprocess.run([guest, "monitor", "--dir", container], check=True)
        status = node.wait(timeout=60)
        self.assertEqual((status.state, status.exit_code), (nlxtp.State.FINISHED, 3))
        self.assertEqual(str(status.custom), "from the script")
        self.assertEqual(node.output(), b"hello\n")
        self.assertGreater(node.download(self.folder / "home.tar.gz").files, 2)

    def test_disks(self) -> None:
        disk = nlxtp.DiskImage.create(self.folder / "disk.img", size=8 << 20)
        nlxtp.Node(disk, power="off").upload(packed(SCRIPT))
        with self.assertRaises(nlxtp.GuestOnError):
            nlxtp.Node(disk, power=lambda: True).upload(packed(SCRIPT))
        home = io.BytesIO()
        nlxtp.Node(disk).download(home, format="tar")
        with tarfile.open(fileobj=io.BytesIO(home.getvalue())) as tar:
            self.assertIn("auto_exec.sh", [os.path.normpath(name) for name in tar.getnames()])

    def test_asyncio_and_watchers(self) -> None:
        nodes = [nlxtp.Node(self.container(name)) for name in ("a", "b", "c")]

        async def upload() -> None:
            uploads = (nlxtp.AsyncNode(node).upload(packed(SCRIPT)) for node in nodes)
            self.assertEqual(len({report.run_id for report in await asyncio.gather(*uploads)}), 3)

        asyncio.run(upload())
        with nlxtp.Watcher() as watcher:
            for node in nodes:
                watcher.add(node)
            for change in watcher:
                self.assertIsNone(change.error)
                watcher.remove(change.node)

    def test_errors(self) -> None:
        with self.assertRaises(FileNotFoundError) as missing:
            nlxtp.Node(self.folder / "missing")
        self.assertIsInstance(missing.exception, nlxtp.Error)
        with self.assertRaises(nlxtp.BadArchiveError):
            nlxtp.Node(self.container("c")).upload(b"no archive")

    def test_what_lies_beside_the_modules(self) -> None:
        self.assertEqual(metadata.version("nlxtp"), nlxtp.__version__)
        files = metadata.files("nlxtp") or []
        names = {file.name for file in files}
        self.assertLessEqual({"py.typed", "_native.pyi", "tomato.py", "LICENSE-MIT", "LICENSE-APACHE"}, names)


if __name__ == "__main__":
    unittest.main()
