import msgspec

from protocol.model import FilePart

FILE = FilePart(data=b"content", mime="text/plain", name="a.txt")


def test_a_files_digest_is_its_contents_alone_and_worked_out_once():
    other = FilePart(data=b"content", mime="image/png", name="b")
    assert FILE.digest == other.digest != msgspec.structs.replace(FILE, data=b"other").digest
    assert FILE.digest is FILE.digest


def test_a_digest_that_is_known_changes_neither_equality_nor_what_is_stored():
    fresh = FilePart(data=b"content", mime="text/plain", name="a.txt")
    assert FILE.digest
    assert fresh == FILE
    assert msgspec.json.encode(fresh) == msgspec.json.encode(FILE)


def test_a_files_content_is_in_no_repr():
    assert "content" not in repr(FILE)
