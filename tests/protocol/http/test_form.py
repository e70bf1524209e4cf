import base64
import contextlib
import gc
import json
import os

import pytest

from protocol.http import form as forms
from protocol.http.context import context_of
from protocol.model import BadRequest, StoredFile
from tests.bodies import request_of

TYPE = "multipart/form-data; boundary=xx"


async def read_form(content_type, body, **more):
    return await forms.read_form(request_of(content_type, body, **more), ("image", "mask"))


def part(content, name="a", *, file=None, headers=()):
    filename = f'; filename="{file}"' if file is not None else ""
    lines = [f'Content-Disposition: form-data; name="{name}"{filename}', *headers]
    content = content if isinstance(content, bytes) else content.encode()
    return b"--xx\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts):
    return b"".join(parts) + b"--xx--\r\n"


async def test_fields_and_files_are_read_unchanged():
    blob = bytes(range(256)) * 20 + b"\r\n--x\r\n--xy"
    read = await read_form(
        TYPE,
        form(
            part("Grüße 你好\r\n", "prompt"),
            part("", "user"),
            part(blob, "image[]", file="Bild ü.png", headers=["Content-Type: image/png"]),
            part(b"", "image[]", file=""),
        ),
    )
    assert read.fields == {"prompt": "Grüße 你好\r\n", "user": ""}
    assert [(file.field, file.name, file.mime, file.data) for file in read.files] == [
        ("image[]", "Bild ü.png", "image/png", blob),
    ]
    assert repr(blob[:8]) not in repr(read)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form(part("x"))),
        ("multipart/form-data; boundary=", form(part("x"))),
        (f"multipart/form-data; boundary={'b' * 300}", form(part("x"))),
        (TYPE, part("x")),
        (TYPE, part("x") + b"--xx\r\n"),
        (TYPE, part("x")[:-5]),
        (TYPE, b""),
        (TYPE, b"\0" * 1000),
        (TYPE, b"no form at all"),
        (TYPE, form(part("x").replace(b'; name="a"', b""))),
        (TYPE, form(part("x").replace(b"form-data", b"attachment"))),
        (TYPE, form(b"--xx\r\n\r\nx\r\n")),
        (TYPE, form(part("x", headers=[f"X-{number}: y" for number in range(10_000)]))),
        (TYPE, form(part("x", headers=["X-Long: " + "y" * 1_000_000]))),
        (TYPE, form(part("x", file="n" * 10_000))),
        (TYPE, form(part("x", file="a\0b.png"))),
        (TYPE, form(part("x", "a\0b"))),
        (TYPE, form(part("x"), part("y"))),
        (TYPE, form(part(b"\xff\xfe"))),
        (TYPE, form(part("x" * 300_000))),
        (TYPE, form(*(part("x", str(number)) for number in range(129)))),
        (TYPE, form(*(part("x", "image", file="x") for number in range(129)))),
        (TYPE, b"preamble" * 1_000_000 + form(part("x"))),
    ],
    ids=range(23),
)
async def test_an_invalid_form_is_a_bad_request(content_type, body):
    with pytest.raises(BadRequest) as caught:
        await read_form(content_type, body)
    assert caught.value.code in {"invalid_value", "invalid_utf8"}


async def test_the_field_at_fault_is_named():
    with pytest.raises(BadRequest) as caught:
        await read_form(TYPE, form(part(b"\xff", "prompt")))
    assert (caught.value.param, caught.value.code) == ("prompt", "invalid_utf8")
    with pytest.raises(BadRequest) as caught:
        await read_form(TYPE, form(part("1", "n"), part("2", "n")))
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    "blob",
    [b"\r\n" * 2_000_000, b"\r\n--x" * 1_000_000, b"\r" * 4_000_000, os.urandom(4_000_000)],
    ids=["lines", "near boundaries", "returns", "noise"],
)
@pytest.mark.parametrize("pieces", [65536, 999_983])
async def test_a_file_that_looks_like_boundaries_is_read_whole(blob, pieces):
    read = await read_form(TYPE, form(part(blob, "image", file="x")), pieces=pieces)
    assert isinstance(read.files[0].data, StoredFile)
    assert read.files[0].data.whole() == blob


async def test_an_epilogue_is_ignored():
    assert (await read_form(TYPE, form(part("x")) + b"what comes after")).fields == {"a": "x"}


@pytest.mark.parametrize("end", [b"", b"--xx"])
async def test_a_form_and_its_files_are_freed_without_the_garbage_collector(end):
    gc.disable()
    try:
        request = request_of(TYPE, form(part(b"x" * 2_000_000, "image", file="x"))[: -len(end) or None])
        spool = context_of(request.scope).spool
        with contextlib.suppress(BadRequest):
            read = await forms.read_form(request)
            assert spool.used == 2_000_000
            del read
        assert spool.used == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("pairs", "fields"),
    [
        ([("a", "1"), ("b", "")], {"a": "1", "b": ""}),
        ([("a[b]", "1"), ("a[c][d]", "2")], {"a": {"b": "1", "c": {"d": "2"}}}),
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a[1]", "1"), ("a[0]", "2"), ("a[10]", "3")], {"a": ["2", "1", "3"]}),
        ([("a[0][b]", "1"), ("a[1][b]", "2")], {"a": [{"b": "1"}, {"b": "2"}]}),
        ([("image", "1"), ("image", "2")], {"image": ["1", "2"]}),
        ([("image", "1"), ("image[]", "2")], {"image": ["1", "2"]}),
        ([("image", "1")], {"image": "1"}),
        ([("a", ""), ("a", "1"), ("a", "")], {"a": "1"}),
        ([("a", ""), ("a[b]", "1")], {"a": {"b": "1"}}),
        ([("a[]", ""), ("a[]", "1")], {"a": ["1"]}),
        ([("a[]", "")], {"a": []}),
        ([("a[", "1"), ("]a", "2"), ("[a]", "3"), ("a]b[", "4")], {"a[": "1", "]a": "2", "[a]": "3", "a]b[": "4"}),
        ([("a" + "[b]" * 5000, "1")], {"a" + "[b]" * 5000: "1"}),
        ([("a[99999]", "1")], {"a": {"99999": "1"}}),
    ],
)
def test_names_with_brackets_are_fields_and_items(pairs, fields):
    assert forms.nested(pairs, frozenset({"image"})) == fields


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a[b]"), ("a[b]", "a[b]"), ("a[b]", "a[b][c]"), ("a[0]", "a[0]")])
def test_a_field_with_two_values_is_refused(names):
    with pytest.raises(BadRequest, match="'a'") as caught:
        forms.nested([(name, str(number)) for number, name in enumerate(names)])
    assert caught.value.param == "a"


async def test_file_names_are_labels_of_one_line():
    body = form(
        part("x", "image", file=""), part("x", "image").replace(b'"image"', b"image; filename*=UTF-8''a%0D%0Ab")
    )
    read = await read_form(TYPE, body)
    assert [(file.key, file.name, file.data) for file in read.files] == [("image", "", b"x"), ("image", "a b", b"x")]


@pytest.mark.parametrize("size", [1, 250_000, 2_000_000])
async def test_a_file_in_base64_is_decoded_to_memory_or_to_disk(size):
    blob = os.urandom(size)
    encoded = part(base64.encodebytes(blob), "image", file="x", headers=["Content-Transfer-Encoding: base64"])
    read = await read_form(TYPE, form(encoded), pieces=65_521)
    data = read.files[0].data
    assert isinstance(data, StoredFile) is (size > 256 * 1024)
    assert (data if isinstance(data, bytes) else data.whole()) == blob


@pytest.mark.parametrize("value", [{}, {"0": {"1": "x"}}, [{}], {"a": {"b": {"c": {"d": {"e": {"f": {"0": 1}}}}}}}])
async def test_an_object_in_json_is_a_value(value):
    read = await read_form(TYPE, form(part(json.dumps(value), "a", headers=["Content-Type: application/json"])))
    assert read.fields["a"] == value


async def test_what_a_file_field_holds_decides_whether_it_is_a_file():
    read = await read_form(TYPE, form(part("text", "image"), part(b"\xff\xfe", "mask")))
    assert read.fields == {"image": "text"}
    assert [(file.field, file.mime, file.data) for file in read.files] == [("mask", None, b"\xff\xfe")]
