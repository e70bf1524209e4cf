import gc
from hashlib import blake2b
from pathlib import Path

import pytest

from protocol.http.spool import Spool, is_memory
from protocol.model import FilePart, Saturated


def descriptors():
    return len([*Path("/proc/self/fd").iterdir()])


def test_a_file_reads_as_it_was_written_and_has_no_name(tmp_path):
    spool = Spool(tmp_path)
    file = spool.file(10**9)
    file.write(b"abc" * 1_000_000)
    file.write(b"!")
    stored = file.finish()
    data = b"abc" * 1_000_000 + b"!"
    assert list(tmp_path.iterdir()) == []
    assert (len(stored), stored.whole(), stored.read(3, 4)) == (len(data), data, b"abca")
    assert b"".join(stored.pieces()) == data
    assert stored.digest == blake2b(data, digest_size=32).digest()
    with stored.view() as view:
        assert (view[-1], view[:3]) == (ord("!"), b"abc")


def test_a_file_is_gone_with_the_last_reference(tmp_path):
    spool = Spool(tmp_path)
    gc.disable()
    try:
        before = descriptors()
        file = spool.file(10)
        file.write(b"12345")
        part = FilePart(stored=file.finish(), mime="image/png", name="x")
        assert (spool.used, descriptors()) == (5, before + 1)
        del file, part
        assert (spool.used, descriptors()) == (0, before)
    finally:
        gc.enable()


def test_what_is_longer_than_a_file_may_be_is_counted_and_not_kept(tmp_path):
    spool = Spool(tmp_path)
    file = spool.file(4)
    file.write(b"1234")
    file.write(b"56")
    assert (file.finish().size, spool.used) == (6, 4)


def test_too_many_bytes_are_refused(tmp_path):
    spool = Spool(tmp_path, total=4)
    file = spool.file(10)
    with pytest.raises(Saturated):
        file.write(b"12345")
    assert spool.used == 0


def test_a_folder_that_is_not_there_is_no_room(tmp_path):
    with pytest.raises(Saturated):
        Spool(tmp_path / "none").file(1)


def test_a_file_in_memory_and_one_on_disk_are_the_same_content(tmp_path):
    file = Spool(tmp_path).file(10)
    file.write(b"12345")
    stored, inline = (FilePart(mime="m", name="n", **of) for of in ({"stored": file.finish()}, {"data": b"12345"}))
    assert stored.digest == inline.digest
    assert stored.size == inline.size == 5
    assert stored.loaded() == inline == inline.loaded()
    assert "12345" not in repr(stored)


@pytest.mark.parametrize(
    ("folder", "expected"), [("/tmp", True), ("/tmp/a", True), ("/tmp/a b", False), ("/var", False)]
)
def test_a_folder_in_memory_is_known_by_its_mount(tmp_path, folder, expected):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "20 1 0:1 / / rw - ext4 /dev/vda rw\n"
        "21 20 0:2 / /tmp rw shared:1 - tmpfs tmpfs rw,size=1g\n"
        "22 21 0:3 / /tmp/a\\040b rw - ext4 /dev/vdb rw\n"
    )
    assert is_memory(type(tmp_path)(folder), mounts) is expected


def test_without_a_list_of_mounts_no_folder_is_in_memory(tmp_path):
    assert not is_memory(tmp_path, tmp_path / "none")
