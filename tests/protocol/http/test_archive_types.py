import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http.archive_types import SUFFIXES, archive_type, is_archive

MAIN = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}


def archive(*names, comment=b"", mimetype=None, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        if mimetype is not None:
            file.writestr("mimetype", mimetype, zipfile.ZIP_STORED)
        for name in names:
            file.writestr(name, "<x/>" * 100)
        file.comment = comment
    return out.getvalue()


@pytest.mark.parametrize("suffix", MAIN)
@pytest.mark.parametrize("comment", [b"", b"PK\5\6 is no end", b"x" * 65_535])
def test_an_office_document_is_known_by_its_main_part(suffix, comment):
    data = archive("[Content_Types].xml", *(f"media/{n}.png" for n in range(500)), MAIN[suffix], comment=comment)
    assert SUFFIXES.get(archive_type(data)) == suffix
    assert is_archive(data)


def test_a_numbered_main_part_is_known():
    assert SUFFIXES.get(archive_type(archive("[Content_Types].xml", "word/document22.xml"))) == "docx"


@pytest.mark.parametrize("mime", [mime for mime in SUFFIXES if "opendocument" in mime or "epub" in mime])
def test_an_open_document_is_known_by_its_first_entry(mime):
    assert archive_type(archive("content.xml", mimetype=mime)) == mime
    assert archive_type(archive("content.xml", mimetype="application/java-archive")) is None


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"PK\3\4", archive("a.txt"), archive("word/document.xml.bak"), b"x" + archive(MAIN["docx"])]
)
def test_other_files_have_no_type(data):
    assert archive_type(data) is None


def test_a_directory_of_a_million_entries_is_not_read_to_its_end():
    class Counted(bytes):
        reads = 0

        def __getitem__(self, key):
            Counted.reads += 1
            return super().__getitem__(key)

    entry = b"PK\1\2" + bytes(42)
    end = b"PK\5\6" + bytes(4) + b"\xff\xff\xff\xff" + bytes(4) + (4).to_bytes(4, "little") + bytes(2)
    assert archive_type(Counted(b"PK\3\4" + entry * 100_000 + end)) is None
    assert Counted.reads < 25_000


@given(st.integers(0, 400), st.binary(max_size=40))
def test_a_damaged_archive_never_breaks_the_reader(cut, junk):
    data = archive(*MAIN.values())
    archive_type(data[:cut] + junk + data[cut + len(junk) :])
    archive_type(data[:cut] + junk)
