"""The server under the app, on a socket."""

import httpx2 as httpx
import pytest

from service.config.schema import ServerSettings
from service.server.hypercorn import listen, serving, url_of
from service.server.request_head import HeadLimits


async def measure(scope, receive, send):
    """Answer how long the header `x` is."""
    if scope["type"] != "http":
        raise NotImplementedError  # no lifespan
    body = str(len(dict(scope["headers"])[b"x"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(("allowed", "length", "status"), [(200_000, 150_000, 200), (32 * 1024, 150_000, 431)])
async def test_headers_may_be_as_long_as_the_settings_allow(allowed, length, status):
    listening = listen("127.0.0.1", 0, 8)
    url, limits = url_of(listening), HeadLimits(header_bytes=allowed)
    async with serving(measure, listening, ServerSettings(), limits=limits), httpx.AsyncClient() as client:
        answer = await client.get(url, headers={"x": "a" * length})
    assert answer.status_code == status
    assert status != 200 or answer.text == str(length)
