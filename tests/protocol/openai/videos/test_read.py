import base64

import pytest

from protocol.model import (
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    Feature,
    FilePart,
    Forbidden,
    MediaKind,
    MediaPart,
    MediaRef,
    ModelUnknown,
    TextPart,
    Unsupported,
)
from protocol.openai.videos import read, wire
from tests.bodies import request_of

CATALOGUE = Catalogue.build()
CALLER = Caller(id="me")
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==",
)
DATA_URL = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"


def form(*parts):
    lines = []
    for name, filename, data in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        lines.append(b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n' % (name.encode(), file.encode()))
        lines += [data, b"\r\n"]
    return "multipart/form-data; boundary=x", b"".join([*lines, b"--x--\r\n"])


async def read_body_of(content_type, raw):
    return await read.read_body_of(request_of(content_type, raw))


async def job_of(context, upload=None, model="gemini-3-pro-video", **fields):
    body = wire.VideoRequest(**{"prompt": "a cat", **fields})
    return await read.read(body, upload, read.select(model, CATALOGUE, CALLER), context)


async def test_a_form_and_json_give_the_same_request():
    fields = {"prompt": "a cat", "model": "gemini-3-pro-video", "seconds": "4", "size": "720x1280"}
    json = b'{"prompt": "a cat", "model": "gemini-3-pro-video", "seconds": "4", "size": "720x1280"}'
    kind, raw = form(*((name, None, value.encode()) for name, value in fields.items()))
    assert await read_body_of(kind, raw) == await read_body_of("application/json", json)


async def test_a_forms_file_and_its_nested_reference_are_found():
    _, upload = await read_body_of(
        *form(("prompt", None, b"x"), ("input_reference", "cat.png", PICTURE)),
    )
    assert (upload.name, upload.data) == ("cat.png", PICTURE)
    body, upload = await read_body_of(
        *form(("prompt", None, b"x"), ("input_reference[image_url]", None, DATA_URL.encode())),
    )
    assert (body.input_reference, upload) == (wire.Reference(image_url=DATA_URL), None)


async def test_other_nested_fields_of_a_form_are_ignored_in_the_reference():
    body, _ = await read_body_of(
        *form(("prompt", None, b"x"), ("metadata[image_url]", None, b"https://x.example"), ("a[b", None, b"c")),
    )
    assert body.input_reference is None


@pytest.mark.parametrize("names", [("other",), ("input_reference", "input_reference")])
async def test_a_file_in_an_unknown_field_is_refused(names):
    with pytest.raises(BadRequest) as caught:
        await read_body_of(*form(("prompt", None, b"x"), *((name, "cat.png", PICTURE) for name in names)))
    assert caught.value.param == names[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "gemini-3-pro-video"),
        ("gemini-3-pro", "gemini-3-pro-video"),
        ("gemini-3.1-pro-video", "gemini-3.1-pro-video"),
        ("gemini-2.5-pro", "gemini-3-pro-video"),
    ],
)
def test_a_base_model_selects_its_video_model(name, expected):
    assert read.select(name, CATALOGUE, CALLER).id == expected


def test_without_a_name_the_first_covered_video_model_is_selected():
    caller = Caller(id="me", models=("gemini-3.1-*",))
    assert read.select(None, CATALOGUE, caller).id == "gemini-3.1-pro-video"


def test_a_model_with_extended_thinking_makes_videos():
    for name in ("gemini-3-pro-extended", "gemini-3-pro-video-extended"):
        assert read.select(name, CATALOGUE, CALLER).id == "gemini-3-pro-video-extended"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("film-2", ModelUnknown),
        ("gemini-2.5-flash", ModelUnknown),
        ("gemini-2.5-flash-video", ModelUnknown),
        ("gemini-3-pro-imagen", Unsupported),
    ],
)
def test_a_model_that_makes_no_videos_is_refused(name, error):
    with pytest.raises(error):
        read.select(name, CATALOGUE, CALLER)


@pytest.mark.parametrize("name", [None, "gemini-3-pro-video"])
def test_videos_require_the_feature_of_the_license(name):
    caller = Caller(id="me", features=(Feature.CHAT,))
    with pytest.raises(Forbidden) as caught:
        caller.permit(read.select(name, CATALOGUE, caller))
    assert caught.value.code == "license_required"


async def test_a_job_has_the_aspect_ratio_and_the_length_in_the_prompt(context):
    job = await job_of(context, size="1024x1792", seconds=12)
    assert job.request.aspect == (9, 16)
    assert job.request.turns[0].text == "a cat\n\n(The video must be 12 seconds long.)"
    assert job.details == {"prompt": "a cat", "size": "1024x1792", "seconds": "12"}
    assert job.request.selection.capability is Capability.VIDEO
    plain = await job_of(context)
    assert (plain.request.aspect, plain.request.turns[0].text) == ((16, 9), "a cat")
    assert plain.details == {"prompt": "a cat", "size": "1280x720", "seconds": "8"}
    assert plain.id.startswith("video_")
    assert plain.id != job.id


@pytest.mark.parametrize("given", [DATA_URL, wire.Reference(image_url=DATA_URL)])
async def test_the_first_frame_comes_before_the_prompt(context, given):
    job = await job_of(context, input_reference=given)
    file, text = job.request.turns[0].parts
    assert (file.data, file.mime, text) == (PICTURE, "image/png", TextPart(text="a cat"))
    assert isinstance(file, FilePart)


async def test_a_media_link_of_this_gateway_is_accepted_as_the_first_frame(context):
    ref = MediaRef(transport="web", account="one", kind=MediaKind.IMAGE, url="https://x/y")
    link = context.links.sign(ref, CALLER)
    job = await job_of(context, input_reference=link)
    assert job.request.turns[0].parts[0] == MediaPart(ref=ref)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": " \n"}, "prompt", "invalid_value"),
        ({"input_reference": wire.Reference(file_id="file_1")}, "input_reference.file_id", "file_not_found"),
        ({"input_reference": "data:text/plain;base64,aGk="}, "input_reference", "unsupported_image"),
    ],
)
async def test_an_unsupported_field_is_named(context, fields, param, code):
    with pytest.raises(BadRequest) as caught:
        await job_of(context, **fields)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_pages_are_read_with_their_bounds():
    page = read.page({"limit": "100", "after": "video_1", "order": "asc"})
    assert (page.limit, page.after, page.order) == (100, "video_1", "asc")
    page = read.page({})
    assert (page.limit, page.after, page.order) == (20, None, "desc")
    for query, param in (({"limit": "0"}, "limit"), ({"limit": "101"}, "limit"), ({"limit": "x"}, "limit")):
        with pytest.raises(BadRequest) as caught:
            read.page(query)
        assert caught.value.param == param
    with pytest.raises(BadRequest):
        read.page({"order": "up"})
