"""Small proxies on loopback: SOCKS5 and HTTP (CONNECT, and plain requests)."""

import asyncio
import socket
import struct
from base64 import b64encode
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

USER, PASSWORD = "me", "p@ss-secret"


class Proxy:
    """A proxy's port, and where it has connected to; with `to`, a CONNECT to any host leads to that port."""

    def __init__(self, to=None):
        self.port, self.to = 0, to
        self.seen = []

    def address(self, scheme, user="me", password="p%40ss-secret"):
        return f"{scheme}://{user}:{password}@127.0.0.1:{self.port}"


async def pump(reader, writer):
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def join(reader, writer, host, port, first=b""):
    upstream_reader, upstream_writer = await asyncio.open_connection(host, port)
    try:
        upstream_writer.write(first)
        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))
    finally:
        upstream_writer.close()


async def socks5(proxy, reader, writer):
    _, methods = await reader.readexactly(2)
    assert 2 in await reader.readexactly(methods)
    writer.write(b"\x05\x02")
    _, length = await reader.readexactly(2)
    user = await reader.readexactly(length)
    password = await reader.readexactly((await reader.readexactly(1))[0])
    known = (user.decode(), password.decode()) == (USER, PASSWORD)
    writer.write(b"\x01\x00" if known else b"\x01\x01")
    if not known:
        return
    _, _, _, kind = await reader.readexactly(4)
    if kind == 1:
        host = socket.inet_ntoa(await reader.readexactly(4))
    else:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    (port,) = struct.unpack("!H", await reader.readexactly(2))
    proxy.seen.append(host)
    writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    await join(reader, writer, "127.0.0.1", port)


async def http(proxy, reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    request, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    method, target, _ = request.split(" ")
    if headers.get("proxy-authorization") != "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode():
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        proxy.seen.append(host)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await join(reader, writer, "127.0.0.1", proxy.to or int(port))
        return
    parts = urlsplit(target)
    proxy.seen.append(parts.hostname)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection"))]
    first = "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")
    await join(reader, writer, "127.0.0.1", parts.port, first)


@asynccontextmanager
async def open_proxy(speak, to=None):
    """Serve a proxy (`socks5` or `http`) for as long as the context lasts."""
    proxy, tasks = Proxy(to), set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await speak(proxy, reader, writer)
        finally:
            tasks.discard(asyncio.current_task())
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)
