"""Delivers an answer in the form that Gemini clients need: with the bytes of its pictures, and refusals as answers.

Gemini's API has no links to pictures: they are parts of the answer in base64. And the refusal of a prompt
is an answer, with the reason in `promptFeedback`.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from protocol.http.context import ImageFormat, RequestContext
from protocol.http.parallel import gather
from protocol.http.side_by_side import Numbered, Replies, fold_each
from protocol.http.stream import Steps
from protocol.model import (
    NO_USAGE,
    Content,
    Declined,
    Engine,
    Event,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Refused,
    Reply,
    Served,
    Usage,
)


class FetchedPicture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of the answer, with its bytes."""

    content: Content
    mime: str
    ref: MediaRef

    def __repr__(self) -> str:
        """Return a text without the content."""
        return f"FetchedPicture(mime={self.mime!r})"


AnyStep = Event | Numbered
"""An event, perhaps with the number of its candidate."""
Fetcher = Callable[[Media], Awaitable[FetchedPicture]]


async def fetch_picture(
    engine: Engine, image_format: ImageFormat, context: RequestContext, media: Media
) -> FetchedPicture:
    """Fetch a picture in the requested form.

    Raises:
        GatewayError: it cannot be fetched, or is not a picture.

    """
    from protocol.http.picture import fitted, whole_picture

    async with engine.media(media.ref, image_format.rendition) as stream:
        data = await whole_picture(stream, context)
    data, mime = await fitted(data, image_format, context)
    return FetchedPicture(content=data, mime=mime, ref=media.ref)


@asynccontextmanager
async def delivered(
    exchange: AbstractAsyncContextManager[Steps[AnyStep]],
    context: RequestContext,
    fetch: Fetcher | None = None,
) -> AsyncGenerator["DeliveredSteps"]:
    """Open an exchange; with `fetch`, a `FetchedPicture` replaces each picture in it."""
    async with AsyncExitStack() as stack:
        try:
            opened: Steps[AnyStep] | Refused = await stack.enter_async_context(exchange)
        except Refused as error:
            opened = error
        yield DeliveredSteps(opened, context, fetch)


class DeliveredSteps:
    """The steps of an answer; a refusal ends them as content that was declined."""

    def __init__(self, opened: Steps[AnyStep] | Refused, context: RequestContext, fetch: Fetcher | None) -> None:
        """Take an open exchange, or the refusal of the prompt."""
        self._opened, self._context, self._fetch = opened, context, fetch

    @property
    def served(self) -> Served:
        """The transport, account and model that serve the request."""
        return Served(transport="", account="") if isinstance(self._opened, Refused) else self._opened.served

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield events and pictures, some with the number of their candidate."""
        try:
            if isinstance(self._opened, Refused):
                raise self._opened
            async for step in self._opened:
                event = step.event if isinstance(step, Numbered) else step
                if self._fetch is not None and isinstance(event, Media) and event.ref.kind is MediaKind.IMAGE:
                    picture: Any = await self._fetch(event)
                    yield Numbered(step.index, picture) if isinstance(step, Numbered) else picture
                else:
                    yield step
        except Refused as error:
            self._context.record.error = error.code
            yield Declined(text=error.message, reason=error.reason, withheld=error.withheld)
            yield Finish(reason="content_filter", usage=error.usage or NO_USAGE)


class WholeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, with the bytes of its pictures."""

    replies: tuple[Reply, ...]
    """The candidates."""
    pictures: dict[MediaRef, FetchedPicture]
    declined: tuple[Declined, ...] = ()
    """What the model says of its refusals."""

    @property
    def usage(self) -> Usage:
        """The token counts of all candidates together."""
        return Replies(self.replies).usage

    @property
    def media(self) -> list[Media]:
        """The media of all candidates."""
        return Replies(self.replies).media


async def numbered(steps: AsyncIterable[Any], declined: list[Declined]) -> AsyncIterator[Numbered]:
    """Yield events with the number of their candidate; those without are of the first. Refusals are noted as well."""
    async for step in steps:
        if isinstance(step, Declined):
            declined.append(step)
        yield step if isinstance(step, Numbered) else Numbered(0, step)


async def collect_answer(fetch: Fetcher, steps: AsyncIterable[Any]) -> WholeAnswer:
    """Fold the events of an answer, and fetch its pictures.

    Raises:
        GatewayError: the answer breaks off, or a picture cannot be fetched.

    """
    declined: list[Declined] = []
    replies = (await fold_each(numbered(steps, declined))).replies
    shown = [media for reply in replies for media in reply.media]
    found = {media.ref: media for media in shown if media.ref.kind is MediaKind.IMAGE}
    pictures = await gather([partial(fetch, media) for media in found.values()])
    fetched = dict(zip(found, pictures, strict=True))
    return WholeAnswer(replies=replies, pictures=fetched, declined=tuple(declined))
