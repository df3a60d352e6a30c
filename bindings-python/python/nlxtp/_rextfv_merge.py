"""Uploads that are not the archive as it is: the old files with the archive's over them, and nothing.

The guest has made the old files, and the user the archive. Both are unpacked by the library, which
follows no link and refuses what leads out, into directories that are the host's alone; here, names are
moved within these, and the result goes the usual way: it replaces the old content as a whole.
"""

import collections
import os
import shutil
import stat
import tarfile
import tempfile

Folder = collections.namedtuple("Folder", ["path", "power"])

#: What belongs to a run, and not to the content.
_OF_A_RUN = (b"exec_status", b"nlxtp_run_id", b".nlxtp_upload")


def upload_nothing(backend, target):
    """Empties the target."""
    work = tempfile.mkdtemp(prefix="nlxtp-")
    try:
        empty = os.path.join(work, "empty.tar")
        tar = tarfile.open(empty, "w")
        # An archive without any entry could be of any format.
        itself = tarfile.TarInfo("./")
        itself.type, itself.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(itself)
        tar.close()
        backend.upload(target, empty, None)
    finally:
        shutil.rmtree(work)


def upload_over(backend, target, archive, limit):
    """Replaces the content by the old files with those of the archive over them."""
    # Beside the archive, where there was room for it.
    work = tempfile.mkdtemp(prefix=".nlxtp-", dir=os.path.dirname(os.path.abspath(archive)))
    try:
        new = _unpacked(backend, archive, os.path.join(work, "new"), limit)
        old_archive = os.path.join(work, "old.tar")
        backend.download(target, old_archive)
        old = _unpacked(backend, old_archive, os.path.join(work, "old"), None)
        os.unlink(old_archive)
        _remove_start_scripts(old)
        _move_over(_bytes(new), _bytes(old), _OF_A_RUN)
        merged = os.path.join(work, "merged.tar")
        backend.download(Folder(old, "off"), merged)
        backend.upload(target, merged, limit)
    finally:
        shutil.rmtree(work)


def _unpacked(backend, archive, folder, limit):
    os.mkdir(folder, 0o700)
    backend.upload(Folder(folder, "off"), archive, limit)
    return folder


def _bytes(path):
    """A path as bytes: its names may be of no encoding."""
    return path if isinstance(path, bytes) else os.fsencode(path)


def _remove_start_scripts(folder):
    """What was executed stays executed: only what the archive brings is a new run."""
    for name in os.listdir(_bytes(folder)):
        path = os.path.join(_bytes(folder), name)
        if name.startswith(b"auto_exec.") and not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)


def _move_over(source, target, left_out=()):
    """Moves the content of a directory over another's: directories join, anything else replaces."""
    for name in os.listdir(source):
        if name in left_out:
            continue
        new, old = os.path.join(source, name), os.path.join(target, name)
        is_directory = stat.S_ISDIR(os.lstat(new).st_mode)
        if not os.path.lexists(old):
            os.rename(new, old)
        elif is_directory and stat.S_ISDIR(os.lstat(old).st_mode):
            _move_over(new, old)
            shutil.copystat(new, old)
        else:
            _remove(old)
            os.rename(new, old)


def _remove(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)
