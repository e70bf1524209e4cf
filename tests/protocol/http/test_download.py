from contextlib import asynccontextmanager

import pytest
from starlette.responses import Response

from protocol.http.download import ByteRange, Content, Download, Unsatisfiable, span_of
from protocol.http.errors import headers_of, status_of
from protocol.model import UpstreamFailed

CONTENT = Content(etag="e1", headers={"x-more": "1"})


class Stream:
    mime = "image/png"

    def __init__(self, pieces, length=True):
        self.length = sum(map(len, pieces)) if length is True else length
        self._pieces = pieces

    async def __aiter__(self):
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Media:
    """Opens once; tells whether it is open."""

    def __init__(self, *pieces, length=True, error=None):
        self._pieces, self._length, self._error = pieces, length, error
        self.open = self.opened = False

    @asynccontextmanager
    async def __call__(self):
        if self._error:
            raise self._error
        self.open = self.opened = True
        try:
            yield Stream(self._pieces, self._length)
        finally:
            self.open = False


def refuse(error):
    return Response(error.code, status_of(error), headers_of(error))


async def get(connect, media, headers=(), method="GET"):
    connection = connect(headers=[(name.encode(), value.encode()) for name, value in headers])
    connection.scope["method"] = method
    await Download(media(), CONTENT, refuse)(connection.scope, connection.receive, connection.send)
    return connection


def header(connection, name):
    return dict(connection.sent[0]["headers"]).get(name.encode(), b"").decode()


async def test_the_whole_content_is_sent_with_its_type_and_length(connect):
    answer = await get(connect, Media(b"abc", b"defgh"))
    assert (answer.status, answer.body) == (200, b"abcdefgh")
    assert header(answer, "content-type") == "image/png"
    assert header(answer, "content-length") == "8"
    assert header(answer, "accept-ranges") == "bytes"
    assert header(answer, "etag") == '"e1"'
    assert header(answer, "x-more") == "1"
    assert answer.sent[-1]["more_body"] is False


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", b"a"),
        ("bytes=1-4", b"bcde"),
        ("bytes=4-", b"efgh"),
        ("bytes=-2", b"gh"),
        ("bytes=2-99", b"cdefgh"),
        ("Bytes = 0-1", b"ab"),
    ],
)
async def test_a_requested_range_is_sent(connect, asked, part):
    media = Media(b"abc", b"def", b"gh")
    answer = await get(connect, media, [("range", asked)])
    assert (answer.status, answer.body) == (206, part)
    assert header(answer, "content-length") == str(len(part))
    start = b"abcdefgh".index(part)
    assert header(answer, "content-range") == f"bytes {start}-{start + len(part) - 1}/8"
    assert not media.open


async def test_a_range_of_changed_content_returns_the_whole_content(connect):
    answer = await get(connect, Media(b"abc"), [("range", "bytes=0-0"), ("if-range", '"other"')])
    assert (answer.status, answer.body) == (200, b"abc")
    answer = await get(connect, Media(b"abc"), [("range", "bytes=0-0"), ("if-range", '"e1"')])
    assert (answer.status, answer.body) == (206, b"a")


async def test_a_range_outside_the_content_is_416(connect):
    answer = await get(connect, Media(b"abc"), [("range", "bytes=3-")])
    assert (answer.status, answer.body) == (416, b"range_not_satisfiable")
    assert header(answer, "content-range") == "bytes */3"


async def test_content_of_unknown_length_is_sent_whole(connect):
    answer = await get(connect, Media(b"abc", length=None), [("range", "bytes=0-0")])
    assert (answer.status, answer.body) == (200, b"abc")
    assert header(answer, "content-length") == ""


async def test_head_has_the_headers_and_no_body(connect):
    answer = await get(connect, Media(b"abc"), method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert header(answer, "content-length") == "3"
    answer = await get(connect, Media(b"abc"), [("range", "bytes=0-0")], method="HEAD")
    assert (answer.status, header(answer, "content-length")) == (200, "3")


@pytest.mark.parametrize("known", ['"e1"', 'W/"e1"', '"e0", "e1"', "*"])
async def test_content_that_the_client_has_cached_is_not_opened(connect, known):
    media = Media(b"abc")
    answer = await get(connect, media, [("if-none-match", known)])
    assert (answer.status, answer.body, media.opened) == (304, b"", False)
    assert (header(answer, "etag"), header(answer, "x-more")) == ('"e1"', "1")


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (['"e1"'], 200), (["*"], 200), (['"e0"', '"e1", "e2"'], 200),
        (['"e0"'], 412), (['W/"e1"'], 412), ([""], 412),
    ],
)  # fmt: skip
async def test_only_the_content_that_the_client_wants_is_sent(connect, wanted, status):
    media = Media(b"abc")
    answer = await get(connect, media, [("if-match", tags) for tags in wanted])
    assert (answer.status, media.opened) == (status, status == 200)


@pytest.mark.parametrize("known", ['"e11"', 'x"e1"y', "e1", ""])
async def test_content_that_the_client_has_not_cached_is_sent(connect, known):
    assert (await get(connect, Media(b"abc"), [("if-none-match", known)])).status == 200


async def test_unavailable_media_is_an_error_in_the_dialects_form(connect):
    answer = await get(connect, Media(error=UpstreamFailed("no", code="media_gone")))
    assert (answer.status, answer.body) == (502, b"media_gone")
    assert answer.context.record.error == "media_gone"


async def test_an_interrupted_download_does_not_end_the_response(connect):
    answer = await get(connect, Media(b"abc", UpstreamFailed("x", code="upstream_reset"), length=9))
    assert answer.status == 200
    assert all(message.get("more_body", True) for message in answer.sent)
    assert answer.context.record.error == "upstream_reset"


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=2-5", ByteRange(2, 6)),
        ("bytes=2-", ByteRange(2, 10)),
        ("bytes=2-99", ByteRange(2, 10)),
        ("bytes=-3", ByteRange(7, 10)),
        ("bytes=-99", ByteRange(0, 10)),
        (" bytes=1-2 ", ByteRange(1, 3)),
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 1000 + "-", None),
    ],
)
def test_a_range_header_is_parsed_or_ignored(header, span):
    assert span_of(header, 10) == span


def test_a_range_of_content_of_unknown_length_is_ignored():
    assert span_of("bytes=2-5", None) is None


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_outside_the_content_is_unsatisfiable(header):
    with pytest.raises(Unsatisfiable):
        span_of(header, 10)
