"""The route over a real socket, with a fake upstream."""

from contextlib import asynccontextmanager
from io import BytesIO

import anyio
import httpx2 as httpx
import pytest
from PIL import Image
from starlette.applications import Starlette

from protocol.http.context import ImageFormat, RequestContext, RequestLimits, RequestRecord, attach
from protocol.http.disconnect import CallbackEvent
from protocol.model import Caller, Feature, MediaKind, MediaRef, Rendition, UpstreamFailed
from protocol.openai.errors import error_response
from service.media.cache import MediaCache
from service.media.routes import MediaRoutes, OpenedMedia
from service.media.signed_urls import MediaUrls, UrlSigner
from service.server.hypercorn import serve_loopback
from tests.clock import ManualClock
from tests.licenses import KnownLicenses

ME = Caller(id="me")
REF = MediaRef(transport="web", account="one", kind=MediaKind.IMAGE, url="https://x.googleusercontent.com/secret")


def png(size=(40, 20)):
    out = BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()


class Engine:
    """Has one piece of media."""

    def __init__(self, data=None, mime="image/png"):
        self.data, self.mime, self.asked = data or png(), mime, []

    @asynccontextmanager
    async def media(self, ref, rendition):
        self.asked.append((ref, rendition))
        if ref.url.endswith("gone"):
            raise UpstreamFailed("It is gone.", code="media_gone")
        yield OpenedMedia(self.data, self.mime)


class Server:
    def __init__(self, base, links, engine, clock):
        self.links, self.engine, self.clock = links, engine, clock
        self.http = httpx.AsyncClient(base_url=base)

    async def get(self, link, method="GET", **headers):
        path = link.removeprefix("http://gateway")
        return await self.http.request(method, path, headers=headers)


@pytest.fixture
def serve():
    @asynccontextmanager
    async def open_one(engine=None, shelf=None, known=(ME,), licenses=None):
        clock, engine = ManualClock(), engine or Engine()

        seal = UrlSigner(b"k" * 32, clock, 60.0)
        routes = MediaRoutes(engine, seal, licenses or KnownLicenses(*known), shelf)
        app = Starlette(routes=[routes.route(error_response)])

        async def with_context(scope, receive, send):
            if scope["type"] == "http":
                context = RequestContext(
                    id="req_1",
                    started=0.0,
                    created=0.0,
                    now=lambda: 0.0,
                    closing=CallbackEvent(),
                    record=RequestRecord(),
                    limits=RequestLimits(),
                    links=None,
                    fetch=None,
                    jobs=None,
                    responses=None,
                    files=None,
                )
                attach(scope, context)
            await app(scope, receive, send)

        async with serve_loopback(with_context) as base:
            server = Server(base, MediaUrls(seal, lambda _: "http://gateway", None), engine, clock)
            async with server.http:
                yield server

    return open_one


async def test_a_link_opens_without_a_key_and_forbids_scripts(serve):
    async with serve() as server:
        answer = await server.get(server.links.sign(REF, ME))
        assert (answer.status_code, answer.content) == (200, server.engine.data)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "media-src 'self'", "sandbox allow-same-origin"} <= set(policy)
        assert "script" not in answer.headers["content-security-policy"]
        assert server.engine.asked == [(REF, Rendition.USUAL)]


async def test_head_ranges_and_etags_are_supported(serve):
    async with serve() as server:
        link = server.links.sign(REF, ME)
        head = await server.get(link, "HEAD")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(server.engine.data))
        part = await server.get(link, Range="bytes=1-3")
        assert (part.status_code, part.content) == (206, b"PNG")
        again = await server.get(link, **{"If-None-Match": head.headers["etag"]})
        assert again.status_code == 304


async def test_the_image_format_of_a_link_is_applied(serve):
    async with serve() as server:
        look = ImageFormat(rendition=Rendition.ORIGINAL, size=(30, 30), format="webp")
        answer = await server.get(server.links.sign(REF, ME, look))
        picture = Image.open(BytesIO(answer.content))
        assert (picture.size, picture.format) == ((30, 30), "WEBP")
        assert answer.headers["content-type"] == "image/webp"
        assert server.engine.asked == [(REF, Rendition.ORIGINAL)]


async def test_all_invalid_links_get_the_same_404(serve):
    async with serve() as server:
        good = server.links.sign(REF, ME)
        other = "B" if good[-3] == "A" else "A"  # the last character may hold bits that decoding drops
        bad = [good[:-3] + other + good[-2:], "http://gateway/media/x", server.links.sign(REF, Caller(id="revoked"))]
        answers = [await server.get(link) for link in bad]
        server.clock.advance(61)
        answers.append(await server.get(good))
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
        assert server.engine.asked == []


async def test_missing_or_other_content_is_a_502_without_details(serve):
    gone = MediaRef(transport="web", account="one", kind=MediaKind.IMAGE, url="https://x/gone")
    async with serve(Engine(b"<html>", "text/html")) as server:
        for ref in (REF, gone):
            answer = await server.get(server.links.sign(ref, ME))
            assert answer.status_code == 502
            assert "html" not in answer.text


async def test_cached_media_are_available_after_the_upstream_deleted_them(serve, tmp_path):
    engine = Engine()
    async with serve(engine, MediaCache(tmp_path, 1_000_000)) as server:
        link = server.links.sign(REF, ME)
        first = await server.get(link)
        engine.data = b"something else"
        assert (await server.get(link)).content == first.content
        assert (await server.get(link, Range="bytes=1-3")).content == b"PNG"
        assert len(engine.asked) == 1


async def test_a_link_needs_the_feature_of_its_media(serve):
    async with serve(known=[Caller(id="me", features=(Feature.CHAT,))]) as server:
        answer = await server.get(server.links.sign(REF, ME))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "license_required")
        assert "'images'" in answer.json()["error"]["message"]
        assert server.engine.asked == []


async def test_an_open_download_ends_with_its_license(serve):
    licenses = KnownLicenses(ME)

    class Endless(Engine):
        @asynccontextmanager
        async def media(self, ref, rendition):
            yield EndlessMedia()

    class EndlessMedia:
        mime, length = "image/png", 10**9

        async def __aiter__(self):
            yield png()
            licenses.end("me")
            await anyio.sleep_forever()

    async with serve(Endless(), licenses=licenses) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await server.get(server.links.sign(REF, ME))
        assert (await server.get(server.links.sign(REF, ME))).status_code == 404
