import pytest

from protocol.model import BadRequest, Caller, Catalogue
from protocol.openai.images import inputs as images
from protocol.openai.images.read import read_options, select
from tests.bodies import request_of

TYPE = "multipart/form-data; boundary=xx"


def form(*parts):
    body = b""
    for name, value, *file in parts:
        filename = f'; filename="{file[0]}"' if file else ""
        body += f'--xx\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + value + b"\r\n"
    return body + b"--xx--\r\n"


async def read_generation(content_type, raw):
    return await images.read_generation(request_of(content_type, raw))


async def read_edit(content_type, raw):
    return await images.read_edit(request_of(content_type, raw))


async def test_a_form_and_json_give_the_same_request():
    words = form(
        ("prompt", "Füchse".encode()),
        ("n", b"3"),
        ("stream", b"true"),
        ("return_origin_image", b"false"),
        ("output_compression", b"40"),
        ("output_format", b"webp"),
        ("user", b""),
    )
    json = (
        '{"prompt": "Füchse", "n": 3, "stream": true, "return_origin_image": false,'
        ' "output_compression": 40, "output_format": "webp", "user": ""}'
    )
    bodies = [await read_generation(TYPE, words), await read_generation("application/json", json.encode())]
    selection = select(None, Catalogue.build(), Caller(id="me"))
    one, other = (read_options(body, selection) for body in bodies)
    assert one == other
    assert (one.n, one.stream, one.image_format.quality) == (3, True, 40)


@pytest.mark.parametrize("content_type", ["", "application/json", "application/x-www-form-urlencoded", "text/plain"])
async def test_a_body_that_is_not_a_form_is_read_as_json(content_type):
    assert (await read_generation(content_type, b'{"prompt": "x"}')).prompt == "x"


@pytest.mark.parametrize(("name", "value"), [("n", b"many"), ("n", b"11"), ("stream", b"perhaps"), ("size", b"\xff")])
async def test_an_invalid_field_of_a_form_is_named(name, value):
    with pytest.raises(BadRequest) as caught:
        await read_generation(TYPE, form(("prompt", b"x"), (name, value)))
    assert caught.value.param == name


async def test_a_missing_prompt_is_named():
    with pytest.raises(BadRequest) as caught:
        await read_generation(TYPE, form(("n", b"1")))
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("field", ["image", "images", "mask"])
async def test_a_generation_refuses_pictures(field):
    with pytest.raises(BadRequest) as caught:
        await read_generation("", f'{{"prompt": "x", "{field}": ["data:,"]}}'.encode())
    assert caught.value.param == field
    with pytest.raises(BadRequest):
        await read_generation(TYPE, form(("prompt", b"x"), (field, b"x", "x.png")))


async def test_pictures_of_a_form_are_found_by_each_known_field_name():
    body, files = await read_edit(
        TYPE,
        form(
            ("prompt", b"x"),
            ("image", b"1", "1.png"),
            ("image[]", b"2", "2.png"),
            ("image[0]", b"3", "3.png"),
            ("images[]", b"4", "4.png"),
            ("mask", b"5", "5.png"),
            ("image", b"", ""),
        ),
    )
    assert body.prompt == "x"
    assert [upload.data for upload in files.pictures] == [b"1", b"2", b"3", b"4"]
    assert files.mask.data == b"5"


@pytest.mark.parametrize("fields", [["other"], ["mask", "mask"], ["image[x]"], ["image[99999]"]])
async def test_a_file_in_an_unknown_field_is_refused(fields):
    with pytest.raises(BadRequest):
        await read_edit(TYPE, form(("prompt", b"x"), *((field, b"x", "x.png") for field in fields)))


async def test_json_names_pictures_in_every_form():
    body, files = await read_edit(
        "", b'{"prompt": "x", "image": "a", "images": [{"image_url": "b"}, "c"], "mask": "d"}'
    )
    assert (body.image, body.images[0].image_url, body.images[1], body.mask) == ("a", "b", "c", "d")
    assert files.pictures == ()


@pytest.mark.parametrize("names", [("image[0]", "image[1]"), ("image", "image[]"), ("images[0]", "images[]")])
async def test_a_form_may_name_several_pictures_by_their_urls(names):
    body, _ = await read_edit(TYPE, form(("prompt", b"x"), *((name, b"data:,") for name in names)))
    assert (body.image or body.images) == ["data:,", "data:,"]


async def test_a_form_may_name_one_picture_by_its_url():
    body, _ = await read_edit(TYPE, form(("prompt", b"x"), ("image[]", b"data:,"), ("metadata[a]", b"1")))
    assert body.image == ["data:,"]
