"""A TCP proxy that changes or drops bytes, and whose target a test can change."""

from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute


class Proxy:
    """Passes on; `requests` and `replies` are what is made of each piece: a function of bytes, or None: swallow it.

    A function returns what goes on; `CUT` cuts the connection off instead, or behind it.
    """

    def __init__(self, target):
        self.target, self.port = target, None
        self.requests = self.replies = passed
        self.connections = 0

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    async def serve(self, client):
        self.connections += 1
        async with client, await anyio.connect_tcp("127.0.0.1", self.target) as server:
            async with anyio.create_task_group() as group:
                group.start_soon(self._pass, client, server, "requests", group)
                group.start_soon(self._pass, server, client, "replies", group)

    async def _pass(self, source, sink, way, group):
        try:
            async for piece in source:
                for part in getattr(self, way)(piece):
                    if part is None:
                        break
                    if isinstance(part, float):
                        await anyio.sleep(part)
                    else:
                        await sink.send(part)
                else:
                    continue
                break
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        group.cancel_scope.cancel()


def passed(piece):
    return [piece]


def swallowed(piece):
    return []


def twice(piece):
    return [piece * 2]


def cut_at(length):
    """Pass the first `count` bytes of a piece, and cut the connection."""
    return lambda piece: [piece[:length], None]


def late(seconds):
    return lambda piece: [seconds, piece]


@asynccontextmanager
async def proxy_to(target):
    proxy = Proxy(target)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy.port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, proxy.serve)
        yield proxy
        group.cancel_scope.cancel()
