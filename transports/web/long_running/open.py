"""Opens work that takes minutes as one exchange: asked for anew, or picked up where a handle says that it is."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing

import msgspec

from protocol.model import (
    Begun,
    Capability,
    Event,
    Exchange,
    Finish,
    GenerationRequest,
    MediaRef,
    MediaStream,
    PutBack,
    Served,
    Unsupported,
    UpstreamFailed,
    peek,
)
from transports.clock import Clock
from transports.web.long_running import research, video
from transports.web.long_running.work import LongRunningWork, Prompt, WorkLocation, WorkSettings, location_of
from transports.web.session.background import BackgroundWork
from transports.web.session.session import Session
from transports.web.turns.continuation import ConversationReuse
from transports.web.turns.saved import Chats
from transports.web.turns.turn import TurnSender

OpenMedia = Callable[[MediaRef], AbstractAsyncContextManager[MediaStream]]


class LongRunningDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What work is done with."""

    session: Session
    sender: TurnSender
    background: BackgroundWork
    reuse: ConversationReuse
    clock: Clock
    open_media: OpenMedia
    """Opens what was made, to see whether it is ready."""


async def open_work(
    stack: AsyncExitStack, desk: LongRunningDeps, request: GenerationRequest, prompt: Prompt
) -> Exchange:
    """Ask for what the request wants, or pick it up by its handle; the first event tells where it is.

    Raises:
        GatewayError: the site refused, or the outcome is not known.

    """
    if desk.session.site.session_store is None:
        raise Unsupported("This needs a signed-in account; the model is served without one.", param="model")
    asked = await desk.sender.served()
    work = _work(desk, asked)
    if request.handle is not None:
        told = _pick_up(desk, work, request, location_of(request.handle))
    else:
        told = _ask(desk, work, request, prompt)
    watched = _delete_if_abandoned(desk, asked.account, told)
    stack.push_async_callback(watched.aclose)
    events = PutBack(watched)
    if await peek(events) is None:
        raise UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
    return Exchange(lambda: msgspec.structs.replace(asked, answered=desk.sender.answered), events)


async def _delete_if_abandoned(
    desk: LongRunningDeps, account: str, events: AsyncGenerator[Event]
) -> AsyncGenerator[Event]:
    """Yield events; a conversation whose work nobody sees to its end is deleted all the same, in time."""
    config = desk.session.site.config
    place: WorkLocation | None = None
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Begun) and config.temporary:
                place = location_of(event.handle)
                await desk.reuse.delete_later(account, place.cid, config.abandoned_seconds)
            elif isinstance(event, Finish) and place is not None:
                await desk.reuse.cancel_deletion(account, place.cid)
            yield event


def _work(desk: LongRunningDeps, served: Served) -> LongRunningWork:
    config = desk.session.site.config
    settings = WorkSettings(
        transport=served.transport,
        account=served.account,
        poll_seconds=config.poll_seconds,
        delete=config.temporary,
        delete_seconds=config.delete_seconds,
        tools=config.tools,
        retry_video=config.video_1053 == "look",
    )
    return LongRunningWork(desk.sender, Chats(desk.session), desk.background, desk.clock, settings)


async def _ask(
    desk: LongRunningDeps, work: LongRunningWork, request: GenerationRequest, prompt: Prompt
) -> AsyncGenerator[Event]:
    if request.selection.capability is Capability.VIDEO:
        begun = video.begin(work, prompt, request.aspect)
    else:
        begun = research.begin(work, prompt)
    async with aclosing(begun):
        async for event in begun:
            yield event
    watched = _watch(desk, work, request)
    async with aclosing(watched):
        async for event in watched:
            yield event


async def _pick_up(
    desk: LongRunningDeps, work: LongRunningWork, request: GenerationRequest, place: WorkLocation
) -> AsyncGenerator[Event]:
    begun = work.move_to(place)
    await work.read_turns()
    yield begun
    watched = _watch(desk, work, request)
    async with aclosing(watched):
        async for event in watched:
            yield event


def _watch(desk: LongRunningDeps, work: LongRunningWork, request: GenerationRequest) -> AsyncGenerator[Event]:
    if request.selection.capability is Capability.VIDEO:
        return video.watch(work, _plays(desk.open_media))
    return research.watch(work)


def _plays(open_media: OpenMedia) -> Callable[[MediaRef], Awaitable[bool]]:
    async def plays(ref: MediaRef) -> bool:
        try:
            async with open_media(ref):
                return True
        except UpstreamFailed as error:
            if error.code != "media_not_ready":
                raise
            return False

    return plays
