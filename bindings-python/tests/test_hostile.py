"""Guests and archives that mean harm: nothing is followed, nothing hangs, and errors are clear."""

import gzip
import io
import os
import random
import socket
import struct
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Union

import pytest

import nlxtp
from conftest import EXAMPLE, Target, archive, archive_of, content_of
from guest import Guest, Record

SECRET = b"what only the host may read"


@pytest.fixture
def container(tmp_path: Path) -> Path:
    (tmp_path / "container").mkdir()
    return tmp_path / "container"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's, that stays as it is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (outside / "status.0").write_bytes(Record(custom=SECRET).encode())
    (outside / "stdout").write_bytes(SECRET)
    yield outside
    assert sorted(os.listdir(outside)) == ["secret", "status.0", "stdout"]
    assert (outside / "secret").read_bytes() == (outside / "stdout").read_bytes() == SECRET


def in_vain(node: nlxtp.Node) -> "list[nlxtp.Status]":
    """All that only reads; each ends soon, with an answer or with one of our errors."""
    answers = []
    begun = time.monotonic()
    operations: "list[Callable[[], Union[nlxtp.Status, bytes]]]" = [
        node.status,
        lambda: node.wait(timeout=0),
        node.output,
        lambda: node.output("stderr"),
    ]
    for operation in operations:
        try:
            answer = operation()
        except nlxtp.Error as error:
            assert str(error)
            continue
        if isinstance(answer, nlxtp.Status):
            answers.append(answer)
        else:
            assert SECRET not in answer
    try:
        home = io.BytesIO()
        node.download(home, format="tar")
        assert SECRET not in home.getvalue()
    except nlxtp.Error as error:
        assert str(error)
    assert time.monotonic() - begun < 60
    for status in answers:
        assert status.custom != SECRET
    return answers


def put_link(at: Path, to: Path) -> None:
    at.parent.mkdir(exist_ok=True)
    at.symlink_to(to)


@pytest.mark.parametrize(
    ("at", "to"),
    [
        ("exec_status", "."),
        ("exec_status/status.0", "status.0"),
        ("exec_status/custom", "secret"),
        ("exec_status/out", "secret"),
        ("nlxtp_run_id", "secret"),
        (".nlxtp_upload", "."),
        ("auto_exec.sh", "secret"),
        ("data", "secret"),
        ("deep/folder", "."),
    ],
)
def test_no_link_is_followed(at: str, to: str, container: Path, outside: Path) -> None:
    put_link(container / at, outside / to)
    node = nlxtp.Node(container)
    in_vain(node)
    # An upload replaces the link, and not what it leads to.
    node.upload(archive({"auto_exec.sh": b"new", "data": b"new", "deep/folder/secret": b"new"}))
    assert content_of(node)["data"] == b"new"
    assert not (container / "deep/folder").is_symlink()


def test_an_output_that_is_a_link_is_not_read(container: Path, outside: Path) -> None:
    guest = Guest(nlxtp.HostDirectory(container))
    guest.write_record(Record(stdout_bytes=len(SECRET)))
    put_link(container / "exec_status/stdout", outside / "stdout")
    node = nlxtp.Node(container)
    try:
        assert node.output() == b""
    except nlxtp.Error as error:
        assert "stdout" in str(error)


def put_socket(path: Path) -> None:
    here = os.getcwd()
    # A socket's path is short.
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


def put_device(path: Path) -> None:
    if os.geteuid() == 0:
        os.mknod(path, 0o020666, os.makedev(1, 5))
    else:
        # Only root can make one; and there it is a device all the same.
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [os.mkfifo, put_socket, put_device, os.mkdir], ids=lambda put: put.__name__)
@pytest.mark.parametrize("name", ["exec_status/status.0", "exec_status/stdout", "nlxtp_run_id", "auto_exec.sh"])
def test_what_is_no_file_blocks_nobody(put: "Callable[[Path], None]", name: str, container: Path) -> None:
    (container / "exec_status").mkdir()
    if "status.0" not in name:
        Guest(nlxtp.HostDirectory(container)).write_record(Record(stdout_bytes=100))
    put(container / name)
    node = nlxtp.Node(container)
    in_vain(node)
    home = io.BytesIO()
    report = node.download(home, format="tar")
    if put is not os.mkdir:
        assert name in [one.path.removeprefix("./") for one in report.left_out] or os.path.islink(container / name)
    node.upload(EXAMPLE)
    assert sorted(content_of(node)) == ["auto_exec.sh", "nlxtp_run_id"]


def test_absurd_sizes_are_not_believed(container: Path) -> None:
    (container / "exec_status").mkdir()
    for name in ["status.0", "status.1", "custom", "out", "running"]:
        with open(container / "exec_status" / name, "wb") as file:
            file.truncate(1 << 42)
    node = nlxtp.Node(container)
    status = node.status()
    assert status.state == "unreadable" and status.custom is None
    Guest(nlxtp.HostDirectory(container)).write_record(Record(sequence=9, stdout_bytes=1 << 50))
    with open(container / "exec_status" / "stdout", "wb") as file:
        file.truncate(1 << 42)
    assert len(node.output(limit=1 << 20)) == 1 << 20
    with pytest.raises(nlxtp.Error) as large:
        node.download(io.BytesIO(), format="tar")
    assert "limit" in str(large.value)


def test_torn_and_forged_statuses(guest: Guest) -> None:
    whole = Record(sequence=3, custom=b"custom", state="finished", ended="exit 0", done=True).encode()
    node = nlxtp.Node(guest.target)
    noise = random.Random(7)
    forged = [whole[:cut] for cut in range(0, len(whole) - 1, 41)]
    forged += [whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :] for at in range(0, len(whole) - 66, 53)]
    forged += [noise.randbytes(4096), b"\0" * 512, b"nlxtp-status 1\n" * 5000, b"nlxtp-status 99\n\n\n"]
    for content in forged:
        guest.write("exec_status/status.0", content)
        status = node.status()
        assert status.state == "unreadable" and status.reason, content
        assert not status.done and status.custom is None
    guest.write("exec_status/status.0", whole)
    assert node.status().done


def test_names_that_no_text_holds(container: Path, tmp_path: Path) -> None:
    names = [b"\xff\xfe", b"new\nline", b"\x1b[31m", b"a" * 255, "grüße".encode(), b" ", b"-rf"]
    for name in names:
        with open(os.path.join(os.fsencode(container), name), "wb") as file:
            file.write(name)
    node = nlxtp.Node(container)
    home = io.BytesIO()
    node.download(home, format="tar")
    with tarfile.open(fileobj=io.BytesIO(home.getvalue())) as tar:
        found = {os.fsencode(member.name.removeprefix("./")) for member in tar if member.isfile()}
    assert found == set(names)
    (tmp_path / "second").mkdir()
    nlxtp.Node(tmp_path / "second").upload(home.getvalue())
    assert set(names) <= set(os.listdir(os.fsencode(tmp_path / "second")))


def test_directories_in_each_other(container: Path) -> None:
    path = os.open(container, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=path)
        deeper = os.open("d", os.O_RDONLY, dir_fd=path)
        os.close(path)
        path = deeper
    os.close(path)
    node = nlxtp.Node(container)
    try:
        node.download(io.BytesIO(), format="tar")
    except nlxtp.Error as error:
        assert str(error)
    node.upload(EXAMPLE)
    assert content_of(node).keys() == {"auto_exec.sh", "nlxtp_run_id"}


@pytest.mark.parametrize(
    "name",
    ["../outside/secret", "/../outside/secret", "a/../../outside/secret", "..", "./..", "a/..", "x/" * 3000 + "x"],
)
def test_names_that_lead_out_are_refused(name: str, target: Target, outside: Path) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = 3
    with pytest.raises(nlxtp.RefusedError) as refused:
        nlxtp.Node(target).upload(archive_of((entry, b"bad")))
    assert refused.value.refusals[0].reason
    assert refused.value.refusals[0].entry in str(refused.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["../outside", "{outside}", "../outside/secret", "{outside}/secret"])
def test_links_that_lead_out_are_refused(kind: bytes, to: str, target: Target, outside: Path) -> None:
    link, through = tarfile.TarInfo("link"), tarfile.TarInfo("link/secret")
    link.type, link.linkname = kind, to.format(outside=outside)
    through.size = 3
    for follow_links in [False, True]:
        with pytest.raises(nlxtp.RefusedError) as refused:
            nlxtp.Node(target, follow_links=follow_links).upload(archive_of((link, b""), (through, b"bad")))
        assert {one.entry for one in refused.value.refusals} & {"link", "link/secret"}


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.CONTTYPE, b"Z"])
def test_entries_that_are_no_files_are_refused(kind: bytes, target: Target) -> None:
    entry = tarfile.TarInfo("entry")
    entry.type = kind
    node = nlxtp.Node(target)
    if kind == tarfile.CONTTYPE:
        # A file, by another name.
        node.upload(archive_of((entry, b"")))
        return
    with pytest.raises(nlxtp.RefusedError):
        node.upload(archive_of((entry, b"")))


def test_a_bomb_ends_soon(target: Target) -> None:
    entry = tarfile.TarInfo("zeros")
    entry.size = 8 << 30
    # 64 GiB of zeros in a few MiB, by one compressed member again and again.
    member = gzip.compress(bytes(16 << 20), 9)
    bomb = gzip.compress(entry.tobuf(tarfile.GNU_FORMAT)) + member * 4096
    begun = time.monotonic()
    with pytest.raises((nlxtp.RefusedError, nlxtp.TooSmallError)) as refused:
        nlxtp.Node(target, max_bytes=1 << 20).upload(bomb)
    assert time.monotonic() - begun < 60
    assert refused.value.operation == "upload"
    assert nlxtp.Node(target).status().run_id is None


def test_thousands_of_refusals_are_counted_and_the_first_are_listed(target: Target) -> None:
    entries = [(tarfile.TarInfo(f"../{number}"), b"") for number in range(3000)]
    with pytest.raises(nlxtp.RefusedError) as refused:
        nlxtp.Node(target).upload(archive_of(*entries))
    assert (refused.value.refusal_count, len(refused.value.refusals)) == (3000, 1000)


class Fat16:
    """A disk that `DiskImage.create` has made, as bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.begin = struct.unpack_from("<I", file.read(512), 446 + 8)[0] * 512
            file.seek(self.begin)
            boot = file.read(512)
        per_sector, per_cluster, reserved, fats, roots = struct.unpack_from("<HBHBH", boot, 11)
        fat_sectors = struct.unpack_from("<H", boot, 22)[0]
        assert boot[54:62] == b"FAT16   " and per_sector == 512
        self.fat = self.begin + reserved * 512
        self.root = self.fat + fats * fat_sectors * 512
        self.data = self.root + roots * 32
        self.fats, self.fat_bytes, self.cluster_bytes = fats, fat_sectors * 512, per_cluster * 512

    def patch(self, at: int, content: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(content)

    def link(self, cluster: int, to: int) -> None:
        for copy in range(self.fats):
            self.patch(self.fat + copy * self.fat_bytes + cluster * 2, struct.pack("<H", to))

    def entries(self, begin: int, count: int = 16) -> "dict[bytes, int]":
        """Where short entries lie, by their names."""
        with self.path.open("rb") as file:
            file.seek(begin)
            raw = file.read(count * 32)
        records = [(raw[at : at + 32], begin + at) for at in range(0, len(raw), 32)]
        return {record[:11]: at for record, at in records if record[0] not in (0, 0xE5) and record[11] != 0x0F}

    def first_cluster(self, entry: int) -> int:
        with self.path.open("rb") as file:
            file.seek(entry + 26)
            return int.from_bytes(file.read(2), "little")

    def set_first_cluster(self, entry: int, cluster: int) -> None:
        self.patch(entry + 26, struct.pack("<H", cluster))


@pytest.fixture
def disk(tmp_path: Path) -> "tuple[nlxtp.Node, Fat16]":
    path = tmp_path / "disk.img"
    node = nlxtp.Node(nlxtp.DiskImage.create(path, size=32 << 20))
    node.upload(archive({"FILE": os.urandom(60_000), "DIR/INNER": b"inner", "auto_exec.sh": b"#!/bin/sh\n"}))
    return node, Fat16(path)


def damaged(node: nlxtp.Node) -> None:
    """What is damaged is told, and an upload makes all new."""
    in_vain(node)
    try:
        report = node.download(io.BytesIO(), format="tar")
        assert report.changed or report.left_out
    except (nlxtp.DamagedError, nlxtp.ChangingError, nlxtp.NotATargetError) as error:
        assert error.path or error.message
    node.upload(EXAMPLE)
    assert content_of(node).keys() == {"auto_exec.sh", "nlxtp_run_id"}


@pytest.mark.parametrize("to", ["itself", "free", "reserved", "beyond", "bad"])
def test_chains_of_a_file_that_contradict_it(to: str, disk: "tuple[nlxtp.Node, Fat16]") -> None:
    node, fat = disk
    cluster = fat.first_cluster(fat.entries(fat.root)[b"FILE       "])
    fat.link(cluster, {"itself": cluster, "free": 0, "reserved": 1, "beyond": 0xFFE0, "bad": 0xFFF7}[to])
    damaged(node)


@pytest.mark.parametrize("to", [1, 0xFFE0])
def test_files_that_begin_where_nothing_is(to: int, disk: "tuple[nlxtp.Node, Fat16]") -> None:
    node, fat = disk
    fat.set_first_cluster(fat.entries(fat.root)[b"FILE       "], to)
    damaged(node)


def test_a_directory_in_itself(disk: "tuple[nlxtp.Node, Fat16]") -> None:
    node, fat = disk
    directory = fat.first_cluster(fat.entries(fat.root)[b"DIR        "])
    inner = fat.entries(fat.data + (directory - 2) * fat.cluster_bytes)[b"INNER      "]
    fat.set_first_cluster(inner, directory)
    fat.patch(inner + 11, b"\x10")
    damaged(node)


def test_a_directory_without_end(disk: "tuple[nlxtp.Node, Fat16]") -> None:
    node, fat = disk
    # More of them than one cluster holds.
    node.upload(archive({f"DIR/{number:04}": b"inner" for number in range(300)}))
    directory = fat.first_cluster(fat.entries(fat.root)[b"DIR        "])
    fat.link(directory, directory)
    damaged(node)


def test_two_files_on_the_same_clusters(disk: "tuple[nlxtp.Node, Fat16]") -> None:
    node, fat = disk
    entries = fat.entries(fat.root)
    directory = fat.first_cluster(entries[b"DIR        "])
    fat.set_first_cluster(entries[b"FILE       "], directory)
    damaged(node)


@pytest.mark.parametrize("length", [0, 511, 512, 1 << 20, (1 << 20) + 512, 20 << 20])
def test_a_disk_that_was_cut(length: int, disk: "tuple[nlxtp.Node, Fat16]") -> None:
    node, fat = disk
    os.truncate(fat.path, length)
    in_vain(node)
    with pytest.raises(nlxtp.Error) as cut:
        nlxtp.Node(nlxtp.DiskImage(fat.path)).upload(EXAMPLE)
    assert str(fat.path) in str(cut.value)
    assert os.path.getsize(fat.path) == length


def test_random_damage_does_no_harm(disk: "tuple[nlxtp.Node, Fat16]") -> None:
    node, fat = disk
    whole = fat.path.read_bytes()[: fat.data + (1 << 20)]
    noise = random.Random(20)
    places = [(0, 512), (fat.begin, fat.begin + 512), (fat.fat, fat.fat + 256), (fat.root, fat.root + 512)]
    for _ in range(150):
        for _ in range(noise.choice([1, 3, 20])):
            begin, end = noise.choice(places)
            fat.patch(noise.randrange(begin, end), noise.randbytes(noise.choice([1, 2, 4])))
        try:
            in_vain(nlxtp.Node(node.directory))
        except nlxtp.NotATargetError as error:
            assert error.path == str(fat.path)
        fat.patch(0, whole)
    assert content_of(node).keys() >= {"FILE", "DIR/INNER"}
