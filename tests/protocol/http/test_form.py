import contextlib
import gc
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
