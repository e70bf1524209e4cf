"""Opens long-running work as one exchange: starts it, or resumes it from a handle."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from functools import partial

import msgspec

from protocol.model import (
    Capability,
    Event,
    Exchange,
    Finish,
    GenerationRequest,
    MediaRef,
    MediaStream,
    PutBack,
    Unsupported,
    UpstreamFailed,
    WorkStarted,
    peek,
    prompt_tokens,
)
from transports.clock import Clock
from transports.web.long_running import research, video
from transports.web.long_running.search import TurnSearch
from transports.web.long_running.work import LongRunningWork, Prompt, WorkLocation, WorkSettings, location_of
from transports.web.session.session import Session
from transports.web.turns.continuation import ConversationReuse
from transports.web.turns.saved import Chats
from transports.web.turns.turn import TurnSender

OpenMedia = Callable[[MediaRef], AbstractAsyncContextManager[MediaStream]]


class LongRunningDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of long-running work."""

    session: Session
    sender: TurnSender
    reuse: ConversationReuse
    clock: Clock
    open_media: OpenMedia
    """Opens a generated medium, to check whether it is ready."""


async def open_work(
    stack: AsyncExitStack, deps: LongRunningDeps, request: GenerationRequest, prompt: Prompt
) -> Exchange:
    """Start the work of a request, or resume it from its handle; the first event announces its location.

    Raises:
        GatewayError: the site refused, or the outcome is not known.

    """
    if deps.session.site.session_store is None:
        raise Unsupported(
            "This model needs a signed-in account, but only guests serve it here. Add an account.", param="model"
        )
    requested = await deps.sender.served()
    site = deps.session.site
    config = site.config
    settings = WorkSettings(
        transport=requested.transport,
        account=requested.account,
        poll_seconds=config.poll_seconds,
        delete=config.temporary,
        delete_seconds=config.delete_seconds,
        tools=config.tools,
        input_tokens=prompt_tokens(request),
        retry_video=config.video_1053 == "search",
    )
    search = TurnSearch(
        deps.sender,
        Chats(deps.session),
        deps.session.claims,
        partial(deps.reuse.is_watched, requested.account),
        partial(deps.clock.sleep, config.poll_seconds),
    )
    work = LongRunningWork(deps.sender, search, site.background, deps.clock, settings)
    work_events = _start_or_resume(deps, work, request, prompt)
    watched = _delete_if_abandoned(deps, requested.account, work_events)
    stack.push_async_callback(watched.aclose)
    events = PutBack(watched)
    if await peek(events) is None:
        raise UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
    return Exchange(lambda: msgspec.structs.replace(requested, answered=deps.sender.answered), events)


async def _delete_if_abandoned(
    deps: LongRunningDeps, account: str, events: AsyncGenerator[Event]
) -> AsyncGenerator[Event]:
    """Yield events; schedule the deletion of a conversation that is not read to its end."""
    config = deps.session.site.config
    location: WorkLocation | None = None
    async with aclosing(events):
        async for event in events:
            if isinstance(event, WorkStarted) and config.temporary:
                location = location_of(event.handle)
                await deps.reuse.delete_later(account, location.cid, config.abandoned_seconds)
            elif isinstance(event, Finish) and location is not None:
                await deps.reuse.cancel_deletion(account, location.cid)
            yield event


async def _start_or_resume(
    deps: LongRunningDeps, work: LongRunningWork, request: GenerationRequest, prompt: Prompt
) -> AsyncGenerator[Event]:
    """Start the work, or continue at the location of the request's handle; then yield events up to the result."""

    async def is_ready(ref: MediaRef) -> bool:
        try:
            async with deps.open_media(ref):
                return True
        except UpstreamFailed as error:
            if error.code != "media_not_ready":
                raise
            return False

    if request.selection.capability is Capability.VIDEO:
        steps = [video.begin(work, prompt, request.aspect), video.watch(work, is_ready)]
    else:
        steps = [research.begin(work, prompt), research.confirm_plan(work), research.read_report(work)]
    if request.handle is not None:
        del steps[0]
        begun = work.move_to(location_of(request.handle))
        await work.read_turns()
        yield begun
    for step in steps:
        async with aclosing(step) as events:
            async for event in events:
                yield event
