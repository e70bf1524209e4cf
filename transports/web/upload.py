"""Brings files to the site: each content once, several at a time. Source: "Files in"."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from io import BytesIO
from typing import TypeVar

import aiohttp
import anyio
import msgspec

from protocol.model import (
    Certainty,
    FilePart,
    GatewayError,
    MediaPart,
    MediaRef,
    Unsupported,
    UpstreamFailed,
    UpstreamTimeout,
)
from transports.clock import Clock
from transports.http import CLIENT_ERRORS, mapped
from transports.web import wire
from transports.web.prompt import Attached
from transports.web.session import Session

_AT_ONCE = 4
_MOST_KEPT = 256
_LONGEST_PATH = 4096

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

Fetch = Callable[[MediaRef], Awaitable[FilePart]]
"""Fetches what was handed out earlier."""


class _Sent(msgspec.Struct):
    path: str
    until: float
    again: bool = False
    """It was named again instead of being sent again."""


class Uploads:
    """One account's files at the site."""

    def __init__(self, session: Session, clock: Clock) -> None:
        """Begin with none."""
        self._session, self._clock = session, clock
        self._sent: OrderedDict[bytes, _Sent] = OrderedDict()
        self._digests: OrderedDict[MediaRef, bytes] = OrderedDict()
        """What is behind a reference, so that it is not fetched only to find that it was sent already."""

    async def bring(self, attached: Sequence[Attached], fetch: Fetch) -> tuple[tuple[str, str], ...]:
        """Bring files to the site; return path and name of each, one content once.

        Raises:
            Unsupported: a guest has no files.
            GatewayError: a file did not get there; nothing was asked yet.

        """
        if not attached:
            return ()
        if self._session.site.vault is None:
            raise Unsupported("Files need a signed-in account; this model is served without one.", param="messages")
        names: dict[str, Attached] = {one.name: one for one in attached}
        paths: dict[str, str] = {}
        failures: list[GatewayError] = []
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as tasks:

            async def one(file: Attached) -> None:
                try:
                    async with limiter:
                        paths[file.name] = await self._path(file, fetch)
                except GatewayError as error:
                    failures.append(error)
                    tasks.cancel_scope.cancel()

            for file in names.values():
                tasks.start_soon(one, file)
        if failures:
            raise failures[0]
        return tuple((paths[name], name) for name in names)

    def forget(self, files: Sequence[tuple[str, str]]) -> bool:
        """Send files anew when they are wanted next; say whether some of them had been named again."""
        paths = {path for path, _ in files}
        gone = {digest: sent for digest, sent in self._sent.items() if sent.path in paths}
        for digest in gone:
            del self._sent[digest]
        return any(sent.again for sent in gone.values())

    async def _path(self, attached: Attached, fetch: Fetch) -> str:
        part = attached.part
        if isinstance(part, MediaPart):
            path = self._known(self._digests.get(part.ref))
            if path is not None:
                return path
            file = await fetch(part.ref)
        else:
            file = part
        digest = file.digest
        if isinstance(part, MediaPart):
            _keep(self._digests, part.ref, digest)
        path = self._known(digest)
        if path is None:
            path = await self._send(file, attached.name)
            until = self._clock.monotonic() + self._session.site.config.upload_keep_seconds
            _keep(self._sent, digest, _Sent(path, until))
        return path

    def _known(self, digest: bytes | None) -> str | None:
        """Return where a content is that was sent already, and is there still as far as we know."""
        known = self._sent.get(digest) if digest is not None else None
        if digest is None or known is None or self._clock.monotonic() >= known.until:
            return None
        known.again = True
        self._sent.move_to_end(digest)
        return known.path

    async def _send(self, file: FilePart, name: str) -> str:
        site = self._session.site
        hosts = site.config.hosts
        ready = await self._session.ready()
        headers = {
            wire.PUSH_ID_HEADER: ready.page.push_id,
            wire.TENANT_HEADER: wire.TENANT,
            "Origin": hosts.site,
            "Referer": f"{hosts.site}/",
        }
        form = aiohttp.FormData()
        form.add_field(wire.UPLOAD_FIELD, BytesIO(file.data), filename=name, content_type=file.mime)
        try:
            with anyio.fail_after(site.config.upload_seconds):
                request = site.request("POST", hosts.upload + wire.UPLOAD_PATH, headers, only=(), data=form)
                async with request as response:
                    status, body = response.status, await _read(response)
        except TimeoutError:
            raise _not_sent(UpstreamTimeout("A file did not get to the upstream in time.")) from None
        except CLIENT_ERRORS as error:
            raise _not_sent(mapped(error)) from None
        path = body.strip().decode("utf-8", "replace")
        if status != 200 or not path.startswith(wire.UPLOADED):
            raise _not_sent(UpstreamFailed("The upstream did not take a file.", code="upstream_rejected"))
        return path


def _keep(kept: OrderedDict[KeyT, ValueT], key: KeyT, value: ValueT) -> None:
    """Keep one more, and not too many."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LONGEST_PATH:
            break
    return bytes(body[:_LONGEST_PATH])


def _not_sent(error: UpstreamFailed) -> UpstreamFailed:
    """Return the error as one that another account may be asked after: nothing was asked of this one yet."""
    error.certainty = Certainty.NOT_SENT
    return error
