"""The splitter against the writers of other projects, and against another reader of what both can read."""

import base64
import binascii
import re
from email import policy
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from itertools import pairwise

import aiohttp
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser
from urllib3.filepost import encode_multipart_formdata

from protocol.http.multipart import MultipartSplitter, PartEnd, TransferDecoder, codec_of, parameters
from protocol.model import BadRequest

BOUNDARY = b"xx"
near = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"--", b"--xx", b"\r\n--x", b"\r\n--", b"-", b" ", b"\r\n--xxy", b"\n--xx"]
)
contents = st.lists(near | st.binary(max_size=9), max_size=8).map(b"".join)
"""Data with pieces of delimiters."""
cuts = st.lists(st.integers(0, 4000), max_size=12)


def harmless(data):
    """Return whether data has no line that is a delimiter, as RFC 2046 demands."""
    return not re.search(rb"\r\n--xx(--|[ \t]*\r\n)", b"\r\n" + data + b"\r\n--xx")


bodies = st.lists(contents.filter(harmless), min_size=1, max_size=4)


def split(body, at=(), boundary=BOUNDARY):
    """Return headers and data of the parts of a body that comes in pieces."""
    splitter, found = MultipartSplitter(boundary), []
    edges = sorted({0, len(body), *(one % (len(body) + 1) for one in at)})
    for start, end in pairwise(edges):
        for event in splitter.feed(body[start:end]):
            if isinstance(event, bytearray):
                found[-1][1].extend(event)
            elif isinstance(event, PartEnd):
                found[-1][2] = True
            else:
                found.append([event, bytearray(), False])
    splitter.finish()
    assert all(ended for _, _, ended in found)
    return [(headers, bytes(data)) for headers, data, _ in found]


def written(datas, end=b"\r\n"):
    parts = (b"--xx" + end + b"A: b" + end * 2 + data + end for data in datas)
    return b"".join(parts) + b"--xx--" + end


@settings(max_examples=100)
@given(bodies, cuts)
def test_data_is_the_same_wherever_a_body_is_cut(datas, at):
    body = written(datas)
    assert [data for _, data in split(body, at)] == datas
    assert split(body, range(len(body))) == split(body)


@settings(max_examples=100)
@given(bodies, cuts, st.sampled_from([b"", b"preamble", b"\r\n", b"--x\r\nA: b"]), st.binary(max_size=20))
def test_a_preamble_and_an_epilogue_are_ignored(datas, at, before, behind):
    body = (before + b"\r\n" if before else b"") + written(datas) + behind
    assert [data for _, data in split(body, at)] == datas


@settings(max_examples=50)
@given(st.lists(contents.filter(lambda data: b"\n--xx" not in b"\n" + data), min_size=1, max_size=3), cuts)
def test_a_body_may_end_its_lines_with_line_feeds(datas, at):
    assert [data for _, data in split(written(datas, b"\n"), at)] == datas


@settings(max_examples=100)
@given(bodies, cuts)
def test_another_reader_reads_the_same(datas, at):
    assume(not any(re.search(rb"--xx[ \t]", data) for data in datas))  # that one refuses what looks like a boundary
    found = []
    callbacks = {
        "on_part_begin": lambda: found.append(b""),
        "on_part_data": lambda data, start, end: found.append(found.pop() + data[start:end]),
    }
    parser = MultipartParser(BOUNDARY, callbacks)
    parser.write(written(datas))
    assert [data for _, data in split(written(datas), at)] == found


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='"\\%'), min_size=1, max_size=12
)
named = st.lists(st.tuples(names, names, st.binary(max_size=40)), min_size=1, max_size=4)


def read(body, content_type, at):
    """Return name, file name and data of each part, as a client wrote them."""
    found = split(body, at, parameters(content_type)["boundary"].encode())
    options = [(parameters(headers["content-disposition"]), data) for headers, data in found]
    return [(one["name"], one["filename"], data) for one, data in options]


def sent(value):
    """Return a header as it comes from a socket: with its bytes as latin-1."""
    return value.encode().decode("latin-1")


@settings(max_examples=50)
@given(named, cuts)
def test_the_forms_of_urllib3_are_read(parts, at):
    body, content_type = encode_multipart_formdata([(name, (file, data)) for name, file, data in parts])
    assert read(body, content_type, at) == parts


@settings(max_examples=50)
@given(named, cuts)
def test_the_forms_of_the_email_package_are_read(parts, at):
    message = MIMEMultipart("form-data")
    for _, file, data in parts:
        part = MIMEApplication(data)
        part.add_header("Content-Disposition", "form-data", name="n", filename=("utf-8", "", file))
        message.attach(part)
    head, _, body = message.as_bytes(policy=policy.HTTP).partition(b"\r\n\r\n")
    found = split(body, at, message.get_boundary().encode())
    assert b"boundary" in head
    for (headers, data), (_, file, content) in zip(found, parts, strict=True):
        assert parameters(headers["content-disposition"])["filename"] == file
        assert base64.b64decode(data) == content


async def test_the_forms_of_aiohttp_are_read():
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("a", "\u72d0")
    form.add_field("b", b"\r\n--", filename="b.png", content_type="image/png")
    writer = form()
    (first, data), (second, more) = split(await writer.as_bytes(), range(300), writer.boundary.encode())
    assert (parameters(first["content-disposition"])["name"], data.decode()) == ("a", "\u72d0")
    assert (second["content-type"], parameters(second["content-disposition"])["filename"]) == ("image/png", "b.png")
    assert more == b"\r\n--"


@settings(max_examples=100)
@given(
    st.lists(
        near | st.sampled_from([b"--xx\r\n", b"--xx--", b"A: b", b"\r\n\r\n"]) | st.binary(max_size=9), max_size=20
    ),
    cuts,
)
def test_anything_else_is_read_the_same_in_pieces_or_refused(pieces, at):
    body = b"".join(pieces)

    def outcome(cut):
        try:
            return split(body, cut)
        except BadRequest as error:
            return error.message

    assert outcome(at) == outcome(range(len(body))) == outcome(())


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        (b"", {}),
        (b"A: b\r\n", {"a": "b"}),
        (b"A:b\r\nC :\td e \r\n", {"a": "b", "c": "d e"}),
        (b"A: b;\r\n c;\r\n\t d\r\n", {"a": "b; c; d"}),
        (b"A: \xc3\xbc\r\nno colon\r\n", {"a": "\xc3\xbc"}),
    ],
)
def test_headers_are_read(head, headers):
    assert split(b"--xx\r\n" + head + b"\r\ndata\r\n--xx--") == [(headers, b"data")]


def test_a_part_may_be_empty_and_lack_the_line_before_the_boundary():
    assert split(b"--xx\r\nA: b\r\n\r\n--xx\r\n\r\n\r\n--xx--") == [({"a": "b"}, b""), ({}, b"")]
    assert split(b"--xx--") == []


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("form-data; name=a", {"name": "a"}),
        ('form-data;NAME = "a" ; filename=b c.png', {"name": "a", "filename": "b c.png"}),
        (r'x; name="a\"b\\c"; filename="C:\d.png"', {"name": 'a"b\\c', "filename": r"C:\d.png"}),
        ('x; filename="a;name=b"; name=c', {"filename": "a;name=b", "name": "c"}),
        ("x; name=a; name=b", {"name": "a"}),
        ("x; filename*=UTF-8''%E5%9B%BE.png; filename=b", {"filename": "\u56fe.png"}),
        ("x; filename*=iso-8859-1'en'%A3", {"filename": "\xa3"}),
        ("x; filename*=unknown''%E5%9B%BE", {"filename": "\u56fe"}),
        ("x; filename*=utf-8''%ff", {"filename": "\ufffd"}),
        ("x; filename*=a%20b", {"filename": ""}),
        (sent('x; filename="\u56fe.png"'), {"filename": "\u56fe.png"}),
        ('x; filename="\xfc.png"', {"filename": "\xfc.png"}),
        ('x; name="a', {"name": '"a'}),
        ("x", {}),
    ],
)
def test_the_parameters_of_a_header_are_read(header, options):
    assert parameters(header) == options


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("UTF-8", "utf-8"), ("windows-1252", "cp1252"), ("ISO-8859-15", "iso8859-15"), ("Shift_JIS", "shift_jis"),
     ("us-ascii", "ascii"), ("utf8", "utf-8"), ("GB18030", "gb18030"), ("latin1", "iso8859-1"), ("iso-8859-99", None),
     ("base64", None), ("idna", None), ("punycode", None), ("unicode_escape", None), ("utf-7", None), ("", None),
     ("a\0b", None), ("x" * 8000, None)],
)  # fmt: skip
def test_only_charsets_of_texts_are_known(charset, codec):
    assert codec_of(charset) == codec


@settings(max_examples=100)
@given(st.binary(max_size=300), cuts, st.sampled_from(["base64", "Quoted-Printable", "binary", "8BIT", "7bit", ""]))
def test_transfer_encodings_are_decoded_wherever_they_are_cut(data, at, encoding):
    match encoding.lower():
        case "base64":
            body = base64.encodebytes(data).replace(b"\n", b"\r\n").rstrip(b"=\r\n")
        case "quoted-printable":
            body = binascii.b2a_qp(data, istext=False)
        case _:
            body = data
    decoder = TransferDecoder(encoding)
    edges = sorted({0, len(body), *(one % (len(body) + 1) for one in at)})
    pieces = [decoder.decode(body[start:end], last=False) for start, end in pairwise(edges)]
    assert b"".join([*pieces, decoder.decode(b"", last=True)]) == data


@pytest.mark.parametrize("encoding", ["gzip", "x-uuencode", "base64, base64"])
def test_an_unknown_transfer_encoding_is_refused(encoding):
    with pytest.raises(BadRequest, match="Content-Transfer-Encoding"):
        TransferDecoder(encoding)
