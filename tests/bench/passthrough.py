"""The measure: a bare pass-through of the gateway's own stack, hypercorn in front and aiohttp behind.

It copies a request's body to one URL of the fake upstream and the answer's chunks back, and does nothing
else: no routes, licenses, limits, retries, deadlines, metrics or logs; it does not even notice that a client has left.
"""

import asyncio
import signal
import socket
import sys

import aiohttp
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

_BACKLOG = 2048


class Pass:
    """The ASGI app."""

    def __init__(self, url):
        self._url = url
        self._http = None

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await self._copy(bytes(body), send)

    async def _copy(self, body, send):
        headers = {"content-type": "application/json"}
        async with self._http.post(self._url, data=body, headers=headers) as response:
            content_type = (b"content-type", response.headers["Content-Type"].encode())
            await send({"type": "http.response.start", "status": response.status, "headers": [content_type]})
            async for chunk, _ in response.content.iter_chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _live(self, receive, send):
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=5, sock_read=90)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as self._http:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _config(listening):
    """Return the same settings as `service.server.hypercorn`'s, which is not imported: its memory would count."""
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.backlog = _BACKLOG
    config.keep_alive_timeout = 10.0
    config.keep_alive_max_requests = 10_000
    config.graceful_timeout = 5.0
    config.h11_max_incomplete_size = 32 * 1024
    config.include_server_header = False
    config.accesslog = config.errorlog = None
    config.alpn_protocols = ["http/1.1"]
    return config


async def main(url):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    port = listening.getsockname()[1]
    print(f"Listening on http://127.0.0.1:{port}", flush=True)
    await serve(Pass(url), _config(listening), shutdown_trigger=stop.wait, mode="asgi")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
