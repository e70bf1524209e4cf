"""An upstream that answers as the official API, byte by byte as a test says: broken, slow, or hostile.

The simulator never sends what is not valid HTTP, and counts no connections; this one does.
"""

import asyncio
import json
import re
import threading
import time
from collections import Counter

import httpx2

from tests.conftest import KEY

HOLD = object()
"""A step: send nothing more until the client leaves."""
CUT = object()
"""A step: close the connection."""
UNREAD = b"gemini-3.8-flash"
"""The body of a request for this model is left unread until the test lets it go on."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NAME = re.compile(rb"@([A-Za-z0-9 _.-]+)@")
_MODELS = {
    "models": [
        {"name": f"models/gemini-{name}"}
        for name in ("3.5-flash", "3.5-flash-lite", "3.6-flash", "3.7-flash", "3.8-flash", "3.1-pro-preview")
    ]
}


def head(status=200, kind="text/event-stream", *lines):
    """Return the head of a response in HTTP chunks."""
    fields = [f"HTTP/1.1 {status} Scripted", f"Content-Type: {kind}", "Transfer-Encoding: chunked", *lines]
    return ("\r\n".join(fields) + "\r\n\r\n").encode()


def piece(data):
    """Return an HTTP chunk; no bytes make none."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


END = b"0\r\n\r\n"


def whole(body, status=200, kind="application/json"):
    """Return a whole response."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, kind) + piece(body) + END


def chunk(text="", reason="", **fields):
    """Return a chunk of an answer as JSON."""
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}} if text else {}
    return {"candidates": [candidate | ({"finishReason": reason} if reason else {})]} | fields


def event(*chunks, end="\r\n"):
    """Return chunks as server-sent events."""
    return b"".join(f"data: {json.dumps(one, ensure_ascii=False)}{end}{end}".encode() for one in chunks)


class ScriptedUpstream:
    """Serves scripts, which are lists of bytes and steps, by the name `@name@` in a request's body."""

    def __init__(self):
        self.scripts = {}
        self.seen = Counter()
        """Connections, and requests, held and left streams, by the name of the script too."""
        self.reading = False
        """Whether bodies for `UNREAD` are read now; only then it is seen that their client has left."""
        self.sent = 0
        """Bytes of answers that were given to the system."""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def until(self, name, count):
        """Wait until something was seen as often; return how often it was."""
        end = time.monotonic() + 60
        while self.seen[name] < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.seen[name]

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connected(self, reader, writer):
        self.seen["connections"] += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader, writer):
        """Answer a request; return whether the connection can be used again."""
        request = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(request)
        if request.startswith(b"GET"):
            await self._write(writer, whole(_MODELS))
            return True
        if UNREAD in request:
            self.seen["unread held"] += 1
            while not self.reading:
                await asyncio.sleep(0.01)
            await self._until_left(reader, "unread")
            return False
        body = await reader.readexactly(int(length[1]))
        name = _NAME.search(body)[1].decode()
        self.seen["requests"] += 1
        self.seen[f"{name} asked"] += 1
        for step in self.scripts[name]:
            if step is CUT:
                return False
            if step is HOLD:
                self.seen[f"{name} held"] += 1
                await self._until_left(reader, name)
                return False
            if not await self._play(writer, reader, name, step):
                return False
        return True

    async def _play(self, writer, reader, name, step):
        if isinstance(step, bytes):
            await self._write(writer, step)
            return True
        try:
            for data in step():  # as long as the client takes it
                await self._write(writer, data)
                if reader.at_eof():
                    raise ConnectionResetError
        except ConnectionError:
            self.seen[f"{name} left"] += 1
            return False
        return True

    async def _until_left(self, reader, name):
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.seen[f"{name} left"] += 1

    async def _write(self, writer, data):
        writer.write(data)
        await writer.drain()
        self.sent += len(data)
        await asyncio.sleep(0)


HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "x-goog-api-key": KEY,
    "Content-Type": "application/json",
}
MODEL = "gemini-3.6-flash"


def request_of(dialect, prompt, *, stream, model=MODEL):
    """Return the path and the body of a request."""
    messages = [{"role": "user", "content": prompt}]
    match dialect:
        case "chat":
            return "/v1/chat/completions", {"model": model, "messages": messages, "stream": stream}
        case "responses":
            return "/v1/responses", {"model": model, "input": prompt, "stream": stream}
        case "anthropic":
            return "/v1/messages", {"model": model, "messages": messages, "stream": stream, "max_tokens": 999}
        case _:
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/{model}:{verb}", {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}


def outcome(gateway, name, *, stream):
    """Return the text of a chat's answer and the code of its error."""
    path, body = request_of("chat", f"@{name}@", stream=stream)
    answer = httpx2.post(gateway.origin + path, json=body, headers=HEADERS)
    if not stream or answer.status_code != 200:
        found = answer.json()
        error = found.get("error")
        return ("", error["code"]) if error else (found["choices"][0]["message"]["content"], "")
    text, code = "", ""
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            found = json.loads(line[6:])
            text += "".join(one["delta"].get("content") or "" for one in found.get("choices", ()))
            code = found.get("error", {}).get("code") or code
    return text, code
