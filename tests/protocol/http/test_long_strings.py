import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http import long_strings
from protocol.http.long_strings import LongStrings
from protocol.http.spool import Spool

KIB = 1024
SPOOL = Spool()
PICTURE = bytes(range(256)) * 2 * KIB
CODED = base64.b64encode(PICTURE).decode()


def taken(body, block=64 * KIB, most=10**9):
    strings = LongStrings(SPOOL, most)
    for at in range(0, len(body), block):
        strings.feed(body[at : at + block])
    return json.loads(strings.finish()), strings.found


def content(body, at, **more):
    decoded, found = taken(body, **more)
    for key in at:
        decoded = decoded[key]
    return found[decoded]


CHAT = ["messages", 0, "content", 0, "image_url", "url"]


def chat(url):
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": 'a "b" \\ ü'}]}], "model": "m"}


ESCAPED = {
    "plain": lambda text: text,
    "slashes": lambda text: text.replace("/", "\\/"),
    "plus": lambda text: text.replace("+", "\\u002B").replace("=", "\\u003d"),
    "lines": lambda text: text.replace("AAECAw", "AAEC\\r\\nAw"),
}


@pytest.mark.parametrize("block", [KIB + 1, 64 * KIB, 10**7])
@pytest.mark.parametrize("escape", ESCAPED)
@pytest.mark.parametrize("pretty", [None, 2])
def test_a_long_string_is_found_in_every_json_spelling(block, escape, pretty):
    body = json.dumps(chat("URL"), indent=pretty).replace("URL", ESCAPED[escape]("data:image/png;base64," + CODED))
    if block == 10**7:  # it is whole in one block: nothing is taken out
        assert taken(body.encode(), block) == (json.loads(body), {})
        return
    string = content(body.encode(), CHAT, block=block)
    assert string.head == "data:image/png;base64,"
    assert string.file.whole() == PICTURE


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"input_audio": {"format": "wav", "data": CODED}}, ["input_audio", "data"]),
        ({"file": {"file_data": CODED}}, ["file", "file_data"]),
        ({"file": {"file_data": "data:a/b;base64," + CODED}}, ["file", "file_data"]),
        ({"image": "data:a/b;base64," + CODED}, ["image"]),
        ({"image": ["data:a/b;base64," + CODED] * 3}, ["image", 0]),
        ({"image": ["data:a/b;base64," + CODED] * 3}, ["image", 2]),
        ({"image": ["https://a.example/x.png", "data:a/b;base64," + CODED]}, ["image", 1]),
        ({"images": [{"image_url": "data:a/b;base64," + CODED}]}, ["images", 0, "image_url"]),
        ({"image_url": {"url": CODED}}, ["image_url", "url"]),
        ({"mask": "data:a/b;base64," + CODED}, ["mask"]),
        ({"input_reference": "data:a/b;base64," + CODED}, ["input_reference"]),
    ],
)
def test_every_field_that_holds_files_is_known(body, at):
    assert content(json.dumps(body).encode(), at).file.whole() == PICTURE


@pytest.mark.parametrize(
    "body",
    [
        {"content": "data:image/png;base64," + CODED},
        {"text": CODED},
        {"url": "https://a.example/" + CODED},
        {"content": 'say "url": "data:image/png;base64,' + CODED},
        {"content": '\\"url\\": \\"data:image/png;base64,' + CODED},
        {"content": ["data:image/png;base64," + CODED]},
    ],
)
def test_a_long_text_stays_in_the_body(body):
    assert taken(json.dumps(body).encode()) == (body, {})


UNUSUAL = {
    "no padding": CODED.rstrip("="),
    "the other alphabet": CODED.replace("+", "-").replace("/", "_"),
    "blanks": CODED.replace("AAEC", "A\\t AE\\n\\fC"),
}
IN_URLS = {
    "percent-encoded": CODED.replace("/", "%2F").replace("+", "%2b").replace("=", "%3D"),
    "a fragment": CODED + "#page=1",
}


@pytest.mark.parametrize("block", [KIB + 1, 64 * KIB])
@pytest.mark.parametrize("name", UNUSUAL | IN_URLS)
@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", " \\nDATA:;a=b; Base64 ,", "\\u0064ata:text\\/plain;charset=x;base64,", ""]
)
def test_base64_is_read_in_every_spelling(block, name, head):
    if not head and name in IN_URLS:
        return
    body = '{"file_data": "TEXT", "a": "b"}'.replace("TEXT", head + (UNUSUAL | IN_URLS)[name])
    string = content(body.encode(), ["file_data"], block=block)
    assert (string.head, string.file.whole()) == (json.loads(f'"{head}"'), PICTURE)


@pytest.mark.parametrize("head", ["data:text/plain,", "data:", "data:base64,", "x:", "data:;base64\\u002c", "%41"])
def test_other_urls_stay_in_the_body(head):
    body = '{"file_data": "TEXT"}'.replace("TEXT", head + CODED)
    assert taken(body.encode()) == (json.loads(body), {})


@pytest.mark.parametrize(
    "coded",
    [
        CODED[:-3],
        CODED + "A",
        CODED + "=",
        CODED[:400_000] + "=" + CODED[400_001:],
        CODED[:400_000] + "ü" + CODED,
        CODED + "!",
    ],
    ids=["short", "long", "padded", "padded inside", "no ASCII", "no base64"],
)
def test_a_string_with_invalid_base64_has_no_file(coded):
    body = json.dumps(chat("data:image/png;base64," + coded), ensure_ascii=False).encode()
    string = content(body, CHAT)
    assert string.file is None
    assert string.head == "data:image/png;base64,"


def test_invalid_escapes_and_raw_line_breaks_give_no_file():
    for wrong in ("\\x", "\n", "\\ud800", "\\\\"):
        body = json.dumps(chat("URL")).replace("URL", "data:a/b;base64," + CODED[:400_000] + wrong + CODED[400_000:])
        assert content(body.encode(), CHAT).file is None


def test_the_length_of_a_too_large_file_is_known():
    string = content(json.dumps(chat("data:a/b;base64," + CODED)).encode(), CHAT, most=1000)
    assert string.file.size == len(PICTURE)


def test_a_body_that_ends_within_a_string_is_invalid_json():
    with pytest.raises(json.JSONDecodeError):
        taken(json.dumps(chat("data:a/b;base64," + CODED)).encode()[:500_000])


def test_escaped_quotes_do_not_end_a_string():
    body = json.dumps(chat("data:a/b;base64," + CODED[:300_000] + '\\"' * 1000 + "\\" + CODED)).encode()
    for block in (KIB, KIB + 1, KIB + 2, KIB + 3):
        assert content(body, CHAT, block=block).file is None


@given(data=st.binary(min_size=40, max_size=400), cuts=st.lists(st.integers(1, 50), min_size=1), lines=st.booleans())
def test_the_content_does_not_depend_on_how_the_body_is_split(data, cuts, lines):
    coded = base64.b64encode(data).decode()
    text = coded.replace("A", "\\n A") if lines else coded.replace("/", "\\/").replace("+", "\\u002b")
    body = json.dumps({"a": "x", "url": "URL", "b": ['"']}).replace("URL", "data:a/b;base64," + text).encode()
    strings, at, turn, long_strings._LONG = LongStrings(SPOOL, 10**9), 0, 0, 20
    try:
        while at < len(body):
            size = cuts[turn % len(cuts)]
            strings.feed(body[at : at + size])
            at, turn = at + size, turn + 1
    finally:
        long_strings._LONG = 256 * KIB
    decoded = json.loads(strings.finish())
    assert (decoded["a"], decoded["b"]) == ("x", ['"'])
    url = decoded["url"]
    assert (
        strings.found[url].file.whole() == data
        if url in strings.found
        else url == json.loads(f'"data:a/b;base64,{text}"')
    )
