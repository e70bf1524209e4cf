"""Requests a video in one turn and polls its saved conversation for it. Source: "Capabilities as turns"."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from protocol.model import (
    Event,
    Media,
    MediaRef,
    RateLimited,
    Text,
    Thought,
    Unsupported,
    UpstreamFailed,
    Waiting,
    WorkStarted,
)
from transports.web import wire
from transports.web.codec.candidate import Candidate, read_candidate
from transports.web.codec.markup import clean, has_placeholder
from transports.web.config import Tools
from transports.web.long_running.search import Slots
from transports.web.long_running.work import FRESH, LongRunningWork, Phase, Prompt, shows_work

_PRIMER = "Hello! Please answer with one short word."
"""Some accounts refuse a video in the first turn; this turn is then sent before it."""
_REPORT_SECONDS = 20.0
"""Seconds between two progress messages."""


IsReady = Callable[[MediaRef], Awaitable[bool]]
"""Returns whether a video is ready to play."""


def slots_for(tools: Tools, aspect: tuple[int, int] | None) -> Slots:
    """Return the request slots of a turn that asks for a video."""
    slots: dict[int, object] = {wire.SLOT_TOOL: tools.video, wire.SLOT_RESEARCH: wire.VIDEO_SLOT_54}
    tall = aspect is not None and aspect[0] < aspect[1]
    return slots | {wire.SLOT_ASPECT: wire.VIDEO_ASPECTS[(9, 16) if tall else (16, 9)]}


async def begin(work: LongRunningWork, prompt: Prompt, aspect: tuple[int, int] | None) -> AsyncGenerator[Event]:
    """Request a video; yield `WorkStarted` and `Waiting`.

    Sources differ on a refusal (1053) in the first turn: the site may still make the video, or want the request in a
    later turn. So the conversation is searched for first. Only if there is none is the video requested again, after a
    short text turn; two videos are never billed. Source: "Capabilities as turns"

    Raises:
        Unsupported: the site refused.
        GatewayError: the site did not answer as it should, or the outcome is not known.

    """
    slots, sent_at = slots_for(work.tools, aspect), work.clock.wall()
    may_retry = work.retry_video
    while True:
        try:
            async with aclosing(work.begin(prompt, slots, Phase.VIDEO)) as events:
                async for event in events:  # the saved conversation has the answer's text in a better form
                    yield event if isinstance(event, WorkStarted | Thought) else Waiting()
            break
        except Unsupported:
            shows = shows_work(Phase.VIDEO)
            taken = await work.search.refused(prompt.text, sent_at, shows) if work.retry_video else None
            if taken is not None:  # the site still makes the video
                yield work.resume_at(taken, Phase.VIDEO)
                break
            if work.location is not None or not may_retry:
                work.discard()
                raise
            async for _ in work.sender.send(_PRIMER, FRESH):
                yield Waiting()
            if work.sender.conversation is None:
                raise
            may_retry = False


async def watch(work: LongRunningWork, is_ready: IsReady) -> AsyncGenerator[Event]:
    """Poll the conversation until it has the video or a refusal; yield it.

    Raises:
        GatewayError: the account cannot read the conversation any more.

    """
    started = work.clock.monotonic()
    reported = -_REPORT_SECONDS
    while True:
        turns, candidate = await work.read_turns(), None
        if turns and turns[0].prompt == _PRIMER:  # the turn that asked for the video is missing
            work.note_miss()
        elif turns and turns[0].candidates:
            work.reset_misses()
            candidate = read_candidate(turns[0].candidates[0])
        if candidate is not None and await _over(work, candidate, is_ready):
            break
        waited = work.clock.monotonic() - started
        if waited - reported >= _REPORT_SECONDS:
            reported = waited
            yield Thought(text=f"The video is being made… {waited:.0f} s\n")
        else:
            yield Waiting()
        await work.wait_to_poll()
    text = clean(candidate.text or "").strip()
    if text:
        yield Text(text=text)
    if candidate.film is not None and candidate.film.url:
        yield Media(ref=work.ref(candidate.film.url))
    yield work.finish(text)


async def _over(work: LongRunningWork, candidate: Candidate, is_ready: IsReady) -> bool:
    """Return whether the answer is complete: a playable video, or text or pictures instead of one."""
    if candidate.film is not None and candidate.film.url:
        try:
            return await is_ready(work.ref(candidate.film.url))
        except (UpstreamFailed, RateLimited) as error:
            work.note_miss(error)
            return False
    text = candidate.text or ""
    has_text = bool(text.strip()) and not has_placeholder(text)
    other = has_text or bool(candidate.pictures)
    return candidate.film is None and not candidate.pending and candidate.complete and other
