"""What the tests share. They run on Python 2.7 and 3."""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

PYTHON2 = sys.version_info[0] == 2

#: A start script that nothing runs here, but for the tests with guests.
SCRIPT = b"#!/bin/sh\necho hello\n"


class TestCase(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="nlxtp-python-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def make_folder(self, *names):
        path = self.path(*names)
        os.makedirs(path)
        return path

    def archive(self, name="archive.tar.gz", **entries):
        """An archive of files: `auto_exec__sh=b"..."`, since a keyword has no dot; `None` is a folder."""
        content = dict((key.replace("__", "."), value) for key, value in entries.items())
        return make_archive(self.path(name), content)

    def failure(self, kind, function, *arguments, **keywords):
        """The exception of this kind that the call must raise."""
        try:
            function(*arguments, **keywords)
        except kind as error:
            return error
        raise AssertionError("%r was not raised" % kind)


def make_archive(path, content):
    """Packs a dictionary from names to bytes, to `None` for directories, or to `TarInfo`s."""
    with open(path, "wb") as out:
        stream = gzip.GzipFile(fileobj=out, mode="wb", mtime=0) if path.endswith("gz") else out
        tar = tarfile.open(fileobj=stream, mode="w")
        for name in sorted(content):
            value = content[name]
            if isinstance(value, tarfile.TarInfo):
                tar.addfile(value)
                continue
            info = tarfile.TarInfo("./" + name)
            info.mode = 0o755
            if value is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
        tar.close()
        if stream is not out:
            stream.close()
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpacked(archive):
    """What is in an archive: a dictionary from names to bytes, `None` for directories, or link targets."""
    found = {}
    tar = tarfile.open(archive)
    for member in tar:
        name = os.path.normpath(member.name)
        if member.isdir():
            found[name] = None
        elif member.issym():
            found[name] = "-> " + member.linkname
        else:
            found[name] = tar.extractfile(member).read()
    tar.close()
    found.pop(".", None)
    return found


def content(archive):
    """The same without what belongs to a run."""
    return dict(
        (name, value) for name, value in unpacked(archive).items() if name.split("/")[0] not in ("exec_status", "nlxtp_run_id")
    )


def run(*command, **options):
    """Runs a command that must succeed; returns what it writes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    output = process.communicate()[0]
    if process.returncode != 0:
        raise AssertionError("%r failed with %d:\n%s" % (command, process.returncode, output.decode("utf-8", "replace")))
    return output


def open_files():
    return len(os.listdir("/proc/self/fd"))


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write(path, text):
    """Writes a file as a shell's `echo -n` does."""
    with open(path, "wb") as out:
        out.write(text if isinstance(text, bytes) else text.encode("utf-8"))
