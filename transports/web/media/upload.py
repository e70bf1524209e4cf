"""Upload a request's files to the site: equal content once, several files concurrently. Source: "Files in".

There are two upload protocols: `resumable` (two requests, as browsers send them) and `multipart` (one request). Hosts
differ in which one they accept. The settings name the protocol to try first. If the host refuses it, the other one is
tried; if that works, all accounts of the process use it from then on.

Example: two messages attach the same picture. It is uploaded once, and both turns name its upload path. Hours later the
site has deleted the file and rejects the turn: `forget` drops the path, and the next `bring` uploads the picture again.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from io import BytesIO
from typing import Any, TypeVar

import aiohttp
import anyio
import msgspec
import structlog
from yarl import URL

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
from transports.web.codec.encode import Uploaded
from transports.web.config import UploadProtocol, WebConfig
from transports.web.session.session import Session
from transports.web.turns.prompt import Attached

_AT_ONCE = 4
_MOST_KEPT = 256
_LONGEST_PATH = 4096
_NOT_THE_FORM = frozenset({401, 403, 413, 429})
"""Statuses that do not depend on the upload protocol."""

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

Fetch = Callable[[MediaRef], AbstractAsyncContextManager[FilePart]]
"""Fetches media that an earlier answer returned."""

_log = structlog.get_logger()


class UploadForms:
    """The order of the upload protocols, shared by the accounts of a process."""

    def __init__(self, first: UploadProtocol) -> None:
        """Start with the protocol of the settings."""
        self.first: UploadProtocol = first

    @property
    def order(self) -> tuple[UploadProtocol, UploadProtocol]:
        """The protocols in the order to try them."""
        return ("resumable", "multipart") if self.first == "resumable" else ("multipart", "resumable")


class _FormRefusedError(UpstreamFailed):
    """The upload host refused this upload protocol."""

    code = "upstream_rejected"
    certainty = Certainty.NOT_SENT


class _Sent(msgspec.Struct):
    path: str
    mime: str
    until: float
    again: bool = False
    """The upload was used again for a later request."""


class AccountUploads:
    """The files that one account has uploaded to the site."""

    def __init__(self, session: Session, clock: Clock, forms: UploadForms | None = None) -> None:
        """Start without files."""
        self._session, self._clock = session, clock
        self._forms = forms or UploadForms(session.site.config.upload_protocol)
        self._sent: OrderedDict[bytes, _Sent] = OrderedDict()
        self._digests: OrderedDict[MediaRef, bytes] = OrderedDict()
        """Digests of media fetched for upload, to avoid fetching it again."""

    async def bring(self, attached: Sequence[Attached], fetch: Fetch) -> tuple[Uploaded, ...]:
        """Upload files that the site does not have yet; return all of them.

        Raises:
            Unsupported: a guest cannot send files.
            GatewayError: an upload failed; no turn has been sent.

        """
        if not attached:
            return ()
        if self._session.site.session_store is None:
            message = "This model is served without an account and takes no files. Use another model or send no files."
            raise Unsupported(message, param="messages")
        names: dict[str, Attached] = {one.name: one for one in attached}
        found: dict[str, _Sent] = {}
        failures: list[GatewayError] = []
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as tasks:

            async def one(file: Attached) -> None:
                try:
                    async with limiter:
                        found[file.name] = await self._upload(file, fetch)
                except GatewayError as error:
                    failures.append(error)
                    tasks.cancel_scope.cancel()

            for file in names.values():
                tasks.start_soon(one, file)
        if failures:
            raise failures[0]
        return tuple(Uploaded(path=found[name].path, name=name, mime=found[name].mime) for name in names)

    def forget(self, files: Sequence[Uploaded]) -> bool:
        """Drop uploads, so that their files are uploaded again; return whether one was used by an earlier request."""
        paths = {file.path for file in files}
        gone = {digest: sent for digest, sent in self._sent.items() if sent.path in paths}
        for digest in gone:
            del self._sent[digest]
        return any(sent.again for sent in gone.values())

    async def _upload(self, attached: Attached, fetch: Fetch) -> _Sent:
        part = attached.part
        if isinstance(part, MediaPart):
            sent = self._known(self._digests.get(part.ref))
            if sent is not None:
                return sent
            async with fetch(part.ref) as file:
                _keep(self._digests, part.ref, file.digest)
                return await self._upload_file(file, attached.name)
        return await self._upload_file(part, attached.name)

    async def _upload_file(self, file: FilePart, name: str) -> _Sent:
        """Upload a file, unless its content was uploaded before."""
        sent = self._known(file.digest)
        if sent is not None:
            return sent
        ready = await self._session.ready()
        headers = {wire.PUSH_ID_HEADER: ready.page.push_id, wire.TENANT_HEADER: wire.TENANT}
        first, other = self._forms.order
        try:
            with anyio.fail_after(self._session.site.config.upload_seconds):
                try:
                    path = await self._send_as(first, file, name, headers)
                except _FormRefusedError as error:
                    _log.info("upload_form_refused", account=self._session.name, form=first, reason=error.message)
                    path = await self._send_as(other, file, name, headers)
                    self._forms.first = other  # not before: the host could have refused the file, not the protocol
        except TimeoutError:
            raise _not_sent(UpstreamTimeout("The upload of a file to the upstream timed out. Try again.")) from None
        except CLIENT_ERRORS as error:
            raise _not_sent(mapped(error)) from None
        until = self._clock.monotonic() + self._session.site.config.upload_reuse_seconds
        sent = _Sent(path, file.mime, until)
        _keep(self._sent, file.digest, sent)
        return sent

    def _known(self, digest: bytes | None) -> _Sent | None:
        """Return an earlier upload of the same content, unless the site may have deleted it."""
        known = self._sent.get(digest) if digest is not None else None
        if digest is None or known is None or self._clock.monotonic() >= known.until:
            return None
        known.again = True
        self._sent.move_to_end(digest)
        return known

    async def _send_as(self, form: UploadProtocol, file: FilePart, name: str, headers: dict[str, str]) -> str:
        """Send a file in one multipart request, or in the two requests of the resumable protocol."""
        config = self._session.site.config
        if form == "multipart":
            data = aiohttp.FormData()
            data.add_field(
                wire.UPLOAD_FIELD,
                BytesIO(file.data) if file.stored is None else file.stored,
                filename=name,
                content_type=file.mime,
            )
            async with self._post(config.hosts.upload + wire.UPLOAD_PATH, headers, data) as response:
                return await _path_of(response)
        start = {
            **headers,
            **wire.RESUMABLE_START,
            wire.RESUMABLE_LENGTH_HEADER: str(file.size),
            "Content-Type": wire.FORM_CONTENT_TYPE,
        }
        body = f"{wire.RESUMABLE_NAME}{name}".encode("utf-8", "replace")
        url: URL | None = None
        async with self._post(config.hosts.upload + wire.RESUMABLE_PATH, start, body) as response:
            _check(response)
            with suppress(ValueError):
                url = URL(response.headers.get(wire.RESUMABLE_URL_HEADER, ""), encoded=True)
        if url is None or not upload_allowed(url, config):
            raise _FormRefusedError("The upstream returned no usable upload URL for a file.")
        finish = {**wire.RESUMABLE_FINISH, "Content-Type": file.mime}
        async with self._post(url, finish, file.content) as response:
            return await _path_of(response)

    def _post(self, url: str | URL, headers: dict[str, str], data: Any) -> Any:
        site = self._session.site
        origin = site.config.hosts.site
        own = {**headers, "Origin": origin, "Referer": f"{origin}/"}
        return site.request("POST", url, own, only=(), data=data)


def upload_allowed(url: URL, config: WebConfig) -> bool:
    """Return whether files may be sent to a URL: to the upload host of the settings or a known host of the site."""
    if not url.absolute or not url.scheme or url.host is None or url.user is not None or url.password is not None:
        return False
    if url.origin() == URL(config.hosts.upload).origin():
        return True
    return url.scheme == "https" and url.host in wire.UPLOAD_HOSTS and url.is_default_port()


def _check(response: aiohttp.ClientResponse) -> None:
    """Raise the error for a response other than 200."""
    status = response.status
    if 400 <= status < 500 and status not in _NOT_THE_FORM:
        raise _FormRefusedError(f"The upstream refused a file (HTTP {status}).")
    if status != 200:
        raise _not_sent(UpstreamFailed(f"The upstream refused a file (HTTP {status}).", code="upstream_rejected"))


async def _path_of(response: aiohttp.ClientResponse) -> str:
    """Return the path that the host assigned to a file."""
    _check(response)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LONGEST_PATH:
            break
    path = bytes(body[:_LONGEST_PATH]).strip().decode("utf-8", "replace")
    if not path.startswith(wire.UPLOADED):
        raise _FormRefusedError("The upstream returned no path for a file.")
    return path


def _keep(kept: OrderedDict[KeyT, ValueT], key: KeyT, value: ValueT) -> None:
    """Add an entry; drop the oldest entries beyond the maximum."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


def _not_sent(error: UpstreamFailed) -> UpstreamFailed:
    """Mark an error as safe for failover to another account: no turn has been sent."""
    error.certainty = Certainty.NOT_SENT
    return error
