from io import BytesIO

import anyio
import anyio.lowlevel
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from yarl import URL

from protocol.model import GatewayError, Media, MediaKind, MediaRef, Rendition, Text, UpstreamFailed
from service.server.hypercorn import serve_loopback
from tests.transports.conftest import asking, request_for
from transports import web
from transports.web.config import WebConfig
from transports.web.media.download import allowed, rendered
from transports.web.wire import MEDIA_COOKIES


async def tell(transport, text, model="gemini-3-pro-imagen"):
    async with asking(transport, request_for(text, model, aspect=(16, 9)), transport.accounts[0]) as answer:
        return [event async for event in answer]


async def drawn(transport, text="a lighthouse"):
    return [event for event in await tell(transport, text) if isinstance(event, Media)]


async def content(transport, ref, rendition=Rendition.USUAL):
    async with transport.media(ref, rendition) as media:
        data = b"".join([chunk async for chunk in media])
        assert media.length in (None, len(data))
        return media.mime, data


def size(data):
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image.size


async def test_a_picture_opens_as_preview_and_in_its_original_pixels(site):
    async with site.connect(temporary=False) as transport:
        events = await tell(transport, 'draw <sim images="2"/>')
        pictures = [event for event in events if isinstance(event, Media)]
        assert len(pictures) == 2
        assert "googleusercontent" not in "".join(event.text for event in events if isinstance(event, Text))
        mime, data = await content(transport, pictures[0].ref)
        assert (mime, size(data)) == ("image/jpeg", (1024, 576))
        mime, data = await content(transport, pictures[1].ref, Rendition.ORIGINAL)
        assert (mime, size(data)) == ("image/png", (2048, 1152))
    state = await site.state()
    assert state["departures"] == []
    assert state["seen"]["rpc_c8o8Fe"] == 1


async def test_a_large_rendition_has_2048_pixels_and_needs_no_original(site):
    async with site.connect(temporary=False) as transport:
        (picture,) = await drawn(transport)
        mime, data = await content(transport, picture.ref, Rendition.LARGE)
    assert (mime, size(data)) == ("image/jpeg", (2048, 1152))
    assert await site.seen("rpc_c8o8Fe") == 0


async def test_an_unavailable_original_is_replaced_by_its_full_rendition(site):
    async with site.connect(temporary=True) as transport:
        (picture,) = await drawn(transport)
        mime, data = await content(transport, picture.ref, Rendition.ORIGINAL)
    assert (mime, size(data)) == ("image/png", (2048, 1152))


@pytest.mark.parametrize("redirect", ["path", "none"])
async def test_redirects_are_followed_with_the_cookies(open_site, redirect):
    async with open_site(media_redirect=redirect) as site:
        async with site.connect() as transport:
            (picture,) = await drawn(transport)
            assert size((await content(transport, picture.ref))[1]) == (1024, 576)


async def test_a_redirect_is_followed_only_to_known_hosts(open_site):
    async with open_site(media_redirect="host") as site:
        other = site.base.replace("127.0.0.1", "localhost")
        async with site.connect() as transport:
            (picture,) = await drawn(transport)
            with pytest.raises(UpstreamFailed):
                await content(transport, picture.ref)
        hosts = web.Hosts(site=site.base, accounts=other, upload=site.base)
        async with site.connect(hosts=hosts) as transport:
            assert size((await content(transport, picture.ref))[1]) == (1024, 576)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"status": 404}, "media_gone"),
        ({"status": 410}, "media_gone"),
        ({"status": 403}, "upstream_rejected"),
        ({"status": 500}, "upstream_rejected"),
        ({"status": 429}, "upstream_quota_exhausted"),
        ({"html": True}, "upstream_protocol_error"),
        ({"status": 302, "location": "https://accounts.google.com/ServiceLogin"}, "upstream_protocol_error"),
        ({"status": 302, "location": "http://169.254.169.254/"}, "upstream_protocol_error"),
        ({"status": 302, "location": "/gg/x", "times": 9}, "upstream_protocol_error"),
    ],
)
async def test_another_content_than_a_picture_is_an_error_with_its_reason(site, fault, code):
    async with site.connect() as transport:
        (picture,) = await drawn(transport)
        await site.order(where="media", **fault)
        with pytest.raises(GatewayError) as caught:
            await content(transport, picture.ref)
    assert caught.value.code == code
    assert picture.ref.url not in str(caught.value)


async def test_a_video_that_is_not_ready_has_its_own_error(open_site):
    async with open_site() as site, site.connect() as transport:
        (picture,) = await drawn(transport)
        unready = MediaRef(transport="web", account="one", kind=MediaKind.VIDEO, url=picture.ref.url)
        with pytest.raises(UpstreamFailed):  # a picture where a film is due
            await content(transport, unready)


async def test_media_over_the_limit_is_not_passed_on(site):
    async with site.connect(media_bytes=1024) as transport:
        (picture,) = await drawn(transport)
        with pytest.raises(UpstreamFailed):
            await content(transport, picture.ref)


async def test_media_of_a_removed_account_is_gone(site):
    async with site.connect() as transport:
        ref = MediaRef(
            transport="web", account="other", kind=MediaKind.IMAGE, url="https://lh3.googleusercontent.com/x"
        )
        with pytest.raises(UpstreamFailed) as caught:
            await content(transport, ref)
    assert caught.value.code == "media_gone"


@pytest.mark.parametrize(
    "url",
    ["https://evil.example\\@googleusercontent.com/", "https://[", "not a url", "", "https://x:99999/", "file:///etc"],
)
async def test_urls_to_other_hosts_are_not_followed(site, url):
    async with site.connect() as transport:
        ref = MediaRef(transport="web", account="one", kind=MediaKind.VIDEO, url=url)
        with pytest.raises(UpstreamFailed):
            await content(transport, ref)


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://lh3.googleusercontent.com/gg/x", True),
        ("https://googleusercontent.com/x", True),
        ("https://contribution.usercontent.google.com/download?c=1", True),
        ("https://encrypted-tbn0.gstatic.com/x", True),
        ("https://gemini.google.com/x", True),
        ("http://lh3.googleusercontent.com/x", False),
        ("https://lh3.googleusercontent.com:8443/x", False),
        ("https://user@lh3.googleusercontent.com/x", False),
        ("https://evilgoogleusercontent.com/x", False),
        ("https://googleusercontent.com.evil.example/x", False),
        ("https://evil.example/?googleusercontent.com", False),
        ("https://google.com/x", False),
        ("https://127.0.0.1/x", False),
        ("ftp://lh3.googleusercontent.com/x", False),
        ("//lh3.googleusercontent.com/x", False),
        ("/x", False),
        ("", False),
    ],
)
def test_only_known_hosts_are_allowed(url, fits):
    assert allowed(URL(url, encoded=True), WebConfig()) is fits


def test_a_replaced_host_is_requested_only_at_its_own_port():
    config = WebConfig(hosts=web.Hosts(site="http://127.0.0.1:9000"))
    assert allowed(URL("http://127.0.0.1:9000/x"), config)
    assert not allowed(URL("http://127.0.0.1:9001/x"), config)
    assert not allowed(URL("http://127.0.0.2:9000/x"), config)
    assert not allowed(URL("http://127.0.0.1:9001/x"), WebConfig())


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://h/gg/abc", "https://h/gg/abc=s0"),
        ("https://h/gg/abc=s512", "https://h/gg/abc=s0"),
        ("https://h/gg/abc=w100-h100-rj?authuser=0", "https://h/gg/abc=s0?authuser=0"),
        ("https://h/gg/abc?x=y", "https://h/gg/abc=s0?x=y"),
    ],
)
def test_a_rendition_is_chosen_at_the_end_of_the_path(url, wanted):
    assert rendered(url, "=s0") == wanted


class Host:
    """A host with scripted answers that records its requests."""

    def __init__(self, answer):
        self.answer, self.requests, self.left = answer, [], anyio.Event()

    async def serve(self, stream):
        try:
            async with stream:
                self.requests.append((await stream.receive()).decode("latin-1"))
                await stream.send(self.answer)
                if b"Content-Length: 0" not in self.answer:
                    await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
        self.left.set()


async def test_leaving_closes_the_upstream_response_at_once(site):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 1000000\r\n\r\n"
    host = Host(head + b"\x00\x00\x00\x18ftypisom" + b"\x00" * 1000)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, host.serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        hosts = web.Hosts(site=site.base, accounts=site.base, upload=f"http://127.0.0.1:{port}")
        async with site.connect(hosts=hosts) as transport:
            ref = MediaRef(transport="web", account="one", kind=MediaKind.VIDEO, url=f"http://127.0.0.1:{port}/film")
            async with transport.media(ref, Rendition.USUAL) as media:
                assert (media.mime, media.length) == ("video/mp4", 1_000_000)
                await anext(aiter(media))
            with anyio.fail_after(60):
                await host.left.wait()
        tasks.cancel_scope.cancel()
    assert "__Secure-1PSID=" in host.requests[0]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n", "media_not_ready"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "media_not_ready"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 14\r\n\r\n<html>no</html",
            "upstream_protocol_error",
        ),
    ],
)
async def test_missing_bytes_and_a_missing_video_are_different_errors(site, answer, code):
    host = Host(answer)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, host.serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        hosts = web.Hosts(site=site.base, accounts=site.base, upload=f"http://127.0.0.1:{port}")
        async with site.connect(hosts=hosts) as transport:
            ref = MediaRef(transport="web", account="one", kind=MediaKind.VIDEO, url=f"http://127.0.0.1:{port}/film")
            with pytest.raises(UpstreamFailed) as caught:
                await content(transport, ref)
        tasks.cancel_scope.cancel()
    assert caught.value.code == code


class Hops:
    """Media hosts that answer as a test says, and what they were sent."""

    def __init__(self):
        self.answers, self.asked = {}, []

    async def answer(self, request):
        path = request.url.path
        self.asked.append((path, request.headers.get("cookie", "")))
        status, content_type, body, headers = self.answers[path]
        return Response(body, status, media_type=content_type, headers=headers)

    def says(self, path, body=b"", content_type="text/plain", status=200, **headers):
        self.answers[path] = (status, content_type, body if isinstance(body, bytes) else body.encode(), headers)


@pytest.fixture
async def hops():
    found = Hops()
    app = Starlette(routes=[Route("/{rest:path}", found.answer)])
    async with serve_loopback(app) as found.base:
        yield found


async def opened(site, hops, path, kind=MediaKind.IMAGE):
    ref = MediaRef(transport="web", account="one", kind=kind, url=f"{hops.base}{path}")
    hosts = web.Hosts(site=site.base, accounts=site.base, upload=hops.base)
    async with site.connect(hosts=hosts) as transport:
        return await content(transport, ref)


PIXELS = b"\x89PNG\r\n\x1a\n" + b"pixels" * 40


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-8", "application/octet-stream"])
async def test_a_preview_that_returns_the_next_url_is_followed(site, hops, content_type):
    hops.says("/gg-dl/a=s1024-rj", f" {hops.base}/rd-gg-dl/b\n", content_type)
    hops.says("/rd-gg-dl/b", status=302, Location="/rd-gg-dl/c")
    hops.says("/rd-gg-dl/c", f"{hops.base}/final")
    hops.says("/final", PIXELS, "image/png")
    assert await opened(site, hops, "/gg-dl/a") == ("image/png", PIXELS)
    assert [path for path, _ in hops.asked] == ["/gg-dl/a=s1024-rj", "/rd-gg-dl/b", "/rd-gg-dl/c", "/final"]
    assert all("__Secure-1PSID=" in cookie for _, cookie in hops.asked)


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/x",
        "http://evilgoogleusercontent.com/x",
        "https://user@lh3.googleusercontent.com/x",
        "https://lh3.googleusercontent.com:8443/x",
        "http://[",
        "https://",
        "https://lh3.googleusercontent.com/" + "x" * 20000,
        "https://lh3.googleusercontent.com/a and more words",
    ],
)
async def test_a_next_url_of_another_host_is_not_followed(site, hops, target):
    hops.says("/gg/a=s1024-rj", target)
    with pytest.raises(UpstreamFailed):
        await opened(site, hops, "/gg/a")
    assert len(hops.asked) == 1


@pytest.mark.parametrize("how", ["text", "redirect", "in turn"])
async def test_a_loop_of_urls_is_aborted(site, hops, how):
    address = f"{hops.base}/gg/a=s1024-rj"
    hops.says("/gg/b", status=302, Location=address)
    match how:
        case "text":
            hops.says("/gg/a=s1024-rj", address)
        case "redirect":
            hops.says("/gg/a=s1024-rj", status=302, Location=address)
        case _:
            hops.says("/gg/a=s1024-rj", f"{hops.base}/gg/b")
    with pytest.raises(UpstreamFailed, match="too many hops"):
        await opened(site, hops, "/gg/a")
    assert len(hops.asked) == 6


@pytest.mark.parametrize(("status", "body"), [(206, b""), (206, PIXELS), (200, b"")])
async def test_a_partial_or_empty_response_is_not_ready(site, hops, status, body):
    hops.says("/download", body, "video/mp4", status)
    with pytest.raises(UpstreamFailed) as caught:
        await opened(site, hops, "/download", MediaKind.VIDEO)
    assert caught.value.code == "media_not_ready"


def test_media_requests_carry_the_documented_cookies():
    assert len(MEDIA_COOKIES) == len(set(MEDIA_COOKIES)) == 18
    assert {"GOOGLE_ABUSE_EXEMPTION", "__Secure-1PSIDRTS", "__Secure-3PSIDRTS", "__Secure-3PAPISID"} <= set(
        MEDIA_COOKIES
    )
