"""Responses in the background: each is a job, whose answer becomes the stored response when a client asks for it.

A stream of such a response replays the stored one when it has ended, so its events have the same numbers each time.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
from msgspec import UNSET

from protocol.http.context import RequestContext, caller_of
from protocol.http.errors import HttpError
from protocol.http.stop import Bounds, cut
from protocol.model import Engine, Event, Exchange, GatewayError, Job, JobError, JobKind, Served, UpstreamFailed
from protocol.openai.responses.items import replayed
from protocol.openai.responses.maker import ResponseMaker, with_pictures
from protocol.openai.responses.output_wire import StreamEvent
from protocol.openai.responses.state import ConversationState, StoredResponse
from protocol.openai.responses.write import ResponseStep, ResponseWriter, last_step

_LOOK_SECONDS = 0.5


def state_of(engine: Engine, context: RequestContext) -> ConversationState:
    """Return the stored responses of the license of a request."""

    async def settle(stored: StoredResponse) -> StoredResponse:
        """Return a response in the background in its current state; store it if it has ended."""
        job = await _job(context, stored.response.id)
        if job is not None and job.model != stored.response.model:  # another model stands in
            stored = msgspec.structs.replace(stored, response=msgspec.structs.replace(stored.response, model=job.model))
        if job is not None and not job.over:
            running = msgspec.structs.replace(stored.response, status=job.state.value)
            return msgspec.structs.replace(stored, response=running)
        maker = ResponseMaker(engine, context, stored)
        try:
            async with maker.opened(_answer(job, stored.response.max_output_tokens), streamed=False) as steps:
                context.record.note_usage((await last_step(steps)).usage)
        except GatewayError as error:
            maker.builder.fail(error)
            await maker.save()
        return maker.stored

    return ConversationState(context, settle)


@asynccontextmanager
async def _answer(job: Job | None, tokens: int | None) -> AsyncGenerator[Exchange]:
    """Yield the answer of a job that is over as an exchange; None: its result has expired."""
    handle = job.handle if job is not None else None
    served = Served(transport=handle.transport if handle is not None else "", account=handle.account if handle else "")

    async def events() -> AsyncGenerator[Event]:
        if job is None:
            raise UpstreamFailed("The result of this response in the background has expired.", code="result_expired")
        if job.reply is None:
            error = job.error or JobError(code=UpstreamFailed.code, message="The upstream failed.")
            raise UpstreamFailed(error.message, code=error.code)
        # an upstream that counts has ended the text itself
        async for event in cut(job.reply.each(), Bounds(tokens=None if job.reply.usage.exact else tokens)):
            yield event

    yield Exchange(lambda: served, events())


async def _job(context: RequestContext, response_id: str) -> Job | None:
    return await context.jobs.find(caller_of(context).owner, JobKind.RESPONSE, response_id)


class BackgroundSteps:
    """The steps of a response in the background: it begins at once, and the rest comes when it has ended."""

    served = Served(transport="", account="")

    def __init__(self, engine: Engine, context: RequestContext, stored: StoredResponse, after: int = -1) -> None:
        """Stream a stored response, finished or not; the events up to the number `after` are not written."""
        self._engine, self._context, self._id = engine, context, stored.response.id
        begun = msgspec.structs.replace(
            stored.response,
            status="queued",
            output=[],
            error=None,
            incomplete_details=None,
            completed_at=None,
            usage=UNSET,
        )
        self._builder = ResponseMaker(engine, context, msgspec.structs.replace(stored, response=begun)).builder
        self.writer = ResponseWriter(self._builder, after)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator["BackgroundSteps"]:
        """Yield the steps, as an exchange does."""
        yield self

    async def __aiter__(self) -> AsyncIterator[ResponseStep]:
        """Yield the steps.

        Raises:
            HttpError: the response was deleted.

        """
        yield ResponseStep(events=self._builder.begin())
        while (job := await _job(self._context, self._id)) is not None and not job.over:  # noqa: ASYNC110 -- any process
            await anyio.sleep(_LOOK_SECONDS)
        stored = await state_of(self._engine, self._context).find(self._id)
        if stored is None:
            raise HttpError(404, "not_found", "This response in the background was deleted.")
        response = await with_pictures(self._engine, self._context, stored)
        for index, item in enumerate(response.output):
            yield ResponseStep(events=list(replayed(index, item)))
        last = {"cancelled": "failed"}.get(response.status, response.status)
        yield ResponseStep(events=[StreamEvent(type=f"response.{last}", response=response)], response=response)
