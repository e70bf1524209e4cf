"""Runs work that takes minutes, films and research, as interactions in the background that are followed or polled.

A handle holds the interaction and the phase of the work, so any process with the key can resume it. An interaction
whose handle was not taken is cancelled. Nothing is begun twice: if the confirmation of a plan may have been sent, and
its interaction is not known, the outcome is unknown.

Source: "Interactions", "Video".
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from enum import StrEnum

import anyio
import anyio.to_thread
import msgspec
import structlog

from protocol.model import (
    BadRequest,
    Capability,
    DriftDetected,
    Event,
    Exchange,
    Finish,
    GatewayError,
    GenerationRequest,
    Handle,
    Media,
    MediaKind,
    MediaRef,
    MediaUnavailable,
    PutBack,
    RateLimited,
    Served,
    Text,
    Thought,
    Unsupported,
    UpstreamFailed,
    Usage,
    WorkStarted,
    peek,
)
from transports.api.accounts import KeyAccount
from transports.api.generated_file import interaction_of, ref_of_file
from transports.api.interaction_follower import InteractionFollower, Polling, Progress
from transports.api.interaction_request import (
    SYSTEM_ROLES,
    FilmToEdit,
    confirmation,
    film_to_edit,
    first_interaction,
)
from transports.api.interaction_result import (
    RUNNING,
    has_sources,
    output_of,
    report_events,
    thoughts_of,
    usage_of,
)
from transports.api.interaction_wire import (
    Interaction,
    InteractionContent,
    decode_interaction,
    encode_interaction,
)
from transports.earlier_media import EarlierMediaGone
from transports.generate_content import wire
from transports.generate_content.errors import FileMissing, ModelMissing
from transports.generate_content.kept_media import KeptMedia
from transports.generate_content.request_files import RequestFiles, is_long

_MAX_MISSES = 30
"""Most polls in a row that may fail."""
_REPORT_SECONDS = {Capability.VIDEO: 20.0, Capability.DEEPSEARCH: 60.0}
"""Seconds between two progress messages while the API reports none."""
_CANCEL_SECONDS = 5.0
_NO_USAGE = Usage(input_tokens=0, output_tokens=0)

_log = structlog.get_logger()


class WorkPhase(StrEnum):
    """The result that the work waits for."""

    FILM = "film"
    PLAN = "plan"
    CONFIRMING = "confirming"
    """The confirmation of the plan is being sent."""
    REPORT = "report"


class InteractionPlace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the work is: the content of a handle's token."""

    id: str
    phase: WorkPhase
    spent: Usage = _NO_USAGE
    """The usage of the interactions before this one."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(InteractionPlace).decode


def place_of(handle: Handle) -> InteractionPlace:
    """Read a handle of this transport.

    Raises:
        BadRequest: the handle is invalid.

    """
    try:
        return _decode(handle.token)
    except msgspec.MsgspecError:
        raise BadRequest("The handle of this answer is invalid. Send the request again.") from None


class InteractionDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of the work of a request."""

    media: KeptMedia
    """Keeps films that come within an answer."""
    files: RequestFiles
    polling: Polling


class InteractionRun:
    """The work of one request with one key."""

    def __init__(self, account: KeyAccount, served: Served, request: GenerationRequest, deps: InteractionDeps) -> None:
        """Serve a request with `account`."""
        self._api, self._uploader, self._served, self._request = account.api, account.uploader, served, request
        self._account, self._cleanup = account, account.cleanup
        self._media, self._files = deps.media, deps.files
        self._polling = deps.polling
        self._ended: Interaction | None = None

    async def open(self, stack: AsyncExitStack) -> Exchange:
        """Begin or resume the work; as `transports.base.Transport.open`."""
        events = PutBack(await stack.enter_async_context(aclosing(self._events())))
        if await peek(events) is None:
            raise UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
        return Exchange(lambda: self._served, events)

    async def _events(self) -> AsyncGenerator[Event]:
        if self._request.handle is not None:
            place = place_of(self._request.handle)
            yield self._started(place)
        else:
            film = self._request.selection.capability is Capability.VIDEO
            begun = await self._begin_first()
            place = InteractionPlace(id=begun.id, phase=WorkPhase.FILM if film else WorkPhase.PLAN)
            taken = False
            try:
                yield self._started(place)
                taken = True
            finally:
                if not taken:
                    await cancel_interaction(self._account, begun.id)
        steps = self._film(place) if place.phase is WorkPhase.FILM else self._research(place)
        async with aclosing(steps) as events:
            async for event in events:
                yield event

    async def _film(self, place: InteractionPlace) -> AsyncGenerator[Event]:
        async with aclosing(self._watch(place.id)) as events:
            async for event in events:
                yield event
        ended = self._result()
        for content in output_of(ended):
            event = self._output(content, place.id)
            if event is not None:
                yield event
        await self._media.save()
        yield self._finish(place, ended)

    def _output(self, content: InteractionContent, interaction: str) -> Event | None:
        if content.type == "text" and content.text:
            return Text(text=content.text)
        if content.data:
            return self._media.note(wire.Blob(content.mime_type, content.data))
        if content.type == "video" and content.uri:
            served = self._served
            url = ref_of_file(content.uri, interaction)
            ref = MediaRef(transport=served.transport, account=served.account, kind=MediaKind.VIDEO, url=url)
            return Media(ref=ref)
        return None

    async def _research(self, place: InteractionPlace) -> AsyncGenerator[Event]:
        if place.phase is WorkPhase.CONFIRMING:
            raise UpstreamFailed(
                "The upstream may have started the research, but its result cannot be found. It was not sent again.",
                code="upstream_outcome_unknown",
            )
        async with aclosing(self._watch(place.id)) as events:
            async for event in events:
                yield event
        ended = self._result()
        contents = output_of(ended)
        if place.phase is WorkPhase.PLAN and not has_sources(contents):
            plan = "\n".join(content.text for content in contents if content.text).strip()
            yield Thought(text=f"Research plan:\n{plan}\n\n")
            place = msgspec.structs.replace(place, phase=WorkPhase.CONFIRMING, spent=usage_of(ended))
            yield self._started(place, settled=False)
            begun = await self._begin_plan(place.id)
            place = msgspec.structs.replace(place, id=begun.id, phase=WorkPhase.REPORT)
            yield self._started(place)
            async with aclosing(self._research(place)) as events:
                async for event in events:
                    yield event
            return
        for event in report_events(contents):
            yield event
        yield self._finish(place, ended)

    async def _watch(self, identity: str) -> AsyncGenerator[Event]:
        """Follow or poll the interaction until it has ended; yield its thoughts, and signs of life between them.

        Raises:
            GatewayError: too many polls failed, or the interaction is gone.

        """
        progress = Progress(self._polling.clock, _REPORT_SECONDS[self._request.selection.capability])
        if self._request.streamed:
            follower = InteractionFollower(self._api, identity, progress, self._polling)
            async with aclosing(follower.events()) as events:
                async for event in events:
                    yield event
        async with aclosing(self._polled(identity, progress)) as events:
            async for event in events:
                yield event

    async def _polled(self, identity: str, progress: Progress) -> AsyncGenerator[Event]:
        misses = 0
        while True:
            try:
                found = await self._read(identity)
                misses = 0
            except (UpstreamFailed, RateLimited) as error:
                misses += 1
                if misses >= _MAX_MISSES or error.code == "upstream_outcome_unknown":
                    raise
            else:
                for thought in progress.thoughts(thoughts_of(found)):
                    yield thought
                if found.status not in RUNNING:
                    await self._cleanup.ended(identity)
                    self._ended = found
                    return
            yield progress.sign()
            await self._polling.clock.sleep(self._polling.seconds)

    async def _read(self, identity: str) -> Interaction:
        try:
            return _decoded(await self._api.get(f"interactions/{identity}"))
        except ModelMissing:
            message = "The upstream no longer has this work. Send the request again."
            raise UpstreamFailed(message, code="upstream_outcome_unknown") from None

    async def _begin_first(self) -> Interaction:
        """Begin the work of the request; a film of an earlier answer is edited, if there is one."""
        request, edited = self._request, film_to_edit(self._request)
        if edited is None:
            return await self._begin_with(request)
        told = tuple(turn for turn in request.turns if turn.role in SYSTEM_ROLES)
        made_by = (edited.ref.transport, edited.ref.account)
        if made_by == (self._served.transport, self._served.account) and interaction_of(edited.ref):
            try:
                return await self._begin_with(msgspec.structs.replace(request, turns=told + edited.turns), edited)
            except ModelMissing:
                _log.info("interaction_gone", request=request.id)
        try:
            return await self._begin_with(msgspec.structs.replace(request, turns=told + edited.within()))
        except (EarlierMediaGone, MediaUnavailable):
            if request.video is None or request.video.edits is None:
                raise
            return await self._begin_with(request)

    async def _begin_with(self, request: GenerationRequest, edited: FilmToEdit | None = None) -> Interaction:
        """Begin an interaction; files that the API has lost meanwhile are uploaded again, once."""
        try:
            return await self._begin_once(request, edited)
        except FileMissing:
            return await self._begin_once(request, edited)

    async def _begin_once(self, request: GenerationRequest, edited: FilmToEdit | None) -> Interaction:
        async with self._files.taken(request, self._uploader) as files:
            body = first_interaction(request, self._served.requested.id, files, edited)
            if is_long(files):
                return await self._begin(await anyio.to_thread.run_sync(encode_interaction, body))
            return await self._begin(encode_interaction(body))

    async def _begin_plan(self, plan: str) -> Interaction:
        """Begin the research of a plan."""
        try:
            return await self._begin(encode_interaction(confirmation(self._served.requested.id, plan)))
        except ModelMissing:
            message = "The upstream no longer has the plan of this research. Send the request again."
            raise UpstreamFailed(message, code="upstream_rejected") from None

    async def _begin(self, body: bytes) -> Interaction:
        """Begin an interaction; a client that leaves meanwhile does not interrupt it, because its id would be lost."""
        answer = b""
        with anyio.CancelScope(shield=True):
            async with self._api.post("interactions", body) as response:
                answer = await self._api.whole(response)
            await self._cleanup.begun(_decoded(answer).id)
        return _decoded(answer)

    def _result(self) -> Interaction:
        assert self._ended is not None, "the work has not ended"  # noqa: S101
        return self._ended

    def _started(self, place: InteractionPlace, *, settled: bool = True) -> WorkStarted:
        served = self._served
        handle = Handle(transport=served.transport, account=served.account, token=_encode(place).decode())
        return WorkStarted(handle=handle, settled=settled)

    def _finish(self, place: InteractionPlace, ended: Interaction) -> Finish:
        reason = "length" if ended.status == "incomplete" else "stop"
        return Finish(reason=reason, usage=place.spent + usage_of(ended))


def _decoded(answer: bytes) -> Interaction:
    try:
        return decode_interaction(answer)
    except msgspec.MsgspecError:
        raise DriftDetected("The upstream's answer has an unknown form.") from None


async def cancel_interaction(account: KeyAccount, identity: str) -> None:
    """Cancel and delete an interaction that is not wanted, even if the task is cancelled; errors are logged."""
    with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
        try:
            with suppress(Unsupported):  # it has ended
                async with account.api.post(f"interactions/{identity}/cancel", b"{}"):
                    pass
            await account.cleanup.delete(f"interactions/{identity}")
        except GatewayError as error:
            _log.info("interaction_cancel_failed", code=error.code)
