"""Sends a request as one call of `generateContent`, and reads the answer's events.

Source: "GenerateContentRequest", "GenerateContentResponse", "Thinking".
"""

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Protocol

import anyio.to_thread
import msgspec
from aiohttp import ClientResponse

from protocol.model import (
    AnswerOptions,
    Capability,
    CodeText,
    DriftDetected,
    Event,
    Exchange,
    GatewayError,
    GenerationRequest,
    Media,
    PutBack,
    Served,
    Text,
    Thought,
    ToolCall,
    UpstreamFailed,
    UpstreamModel,
    peek,
)
from transports.generate_content import canvas, storybook, wire
from transports.generate_content.accounts import ModelAccount
from transports.generate_content.answer_events import ChunkReader, new_call_ids
from transports.generate_content.answer_options import config_of, effective_options, fixed_inserts
from transports.generate_content.config import ModelsConfig
from transports.generate_content.context_cache import ContextCaches, KnownPrefixes
from transports.generate_content.context_prefix import MessageCut
from transports.generate_content.context_repeats import Repeats
from transports.generate_content.errors import CacheRefused, FileMissing, SignatureRefused
from transports.generate_content.models import traits_of
from transports.generate_content.request_body import ModelTraits, generate_request
from transports.generate_content.request_contents import Inserts
from transports.generate_content.request_files import RequestFiles, is_long
from transports.generate_content.signatures import Signatures
from transports.generate_content.sound_options import with_sound, with_styles
from transports.generate_content.sse import SseReader
from transports.http import CLIENT_ERRORS, mapped

_LONGEST_EVENT = 64 * 1024 * 1024

_IMAGE_SIZES = (("512", 512), ("1K", 1024), ("2K", 2048), ("4K", 4096))
_MOST_SIGNED = 4
"""Only the last texts of a conversation go back with their signatures: the API recommends them, and checks none."""
_ALMOST = 1.1
"""Images with up to this many times the pixels of a size are enlarged from it."""


class MediaKeeper(Protocol):
    """Keeps the files of an answer."""

    def note(self, blob: wire.Blob) -> Media | None:
        """Take a file and return its event; None: it is left out."""
        ...

    async def save(self) -> None:
        """Store the files that were taken since the last call."""
        ...


class CallDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of a call."""

    signatures: Signatures
    media: MediaKeeper
    files: RequestFiles
    repeats: Repeats
    draw: storybook.Draw | None = None
    """Draws the pictures of a storybook."""


class ModelCall:
    """One request to one model with one account."""

    def __init__(
        self,
        config: ModelsConfig,
        account: ModelAccount,
        model: UpstreamModel,
        deps: CallDeps,
    ) -> None:
        """Ask `model` with `account`."""
        self._config, self._account, self._model = config, account, model
        self._signatures, self._media, self._files = deps.signatures, deps.media, deps.files
        self._repeats = deps.repeats
        self._draw = deps.draw
        self._traits = traits_of(model.id, account.models.get(model.id))

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, transport: str) -> Exchange:
        """Send the request and wait for the first event; as `transports.base.Transport.open`."""
        calls = [call for turn in request.turns for call in turn.tool_calls]
        known = await self._signatures.of(request.caller.owner, calls)
        known |= {call.id: call.signature for call in calls if call.signature not in {"", wire.SKIP_SIGNATURE}}
        carried = [turn.signature for turn in request.turns if turn.signature][-_MOST_SIGNED:]
        texts: Collection[str] = ()
        if carried:
            texts = self._signatures.texts_of(request.caller.owner, self._account.account.id, carried)

        def signature(call: ToolCall) -> str:
            return known.get(call.id, "")

        options, applied = effective_options(request, self._traits)
        plain, prefixes = fixed_inserts(request.selection.capability, options), None
        if self._account.caches is not None:
            prefixes = await self._repeats.known(request, self._model.id)
        signed = msgspec.structs.replace(plain, signature=signature, signed_texts=texts)
        try:
            answer = await self._send(stack, request, signed, prefixes)
        except SignatureRefused:
            if not known and not texts:
                raise
            answer = await self._send(stack, request, plain)  # without them, once
        except FileMissing:  # its files are looked for, and uploaded again, once
            answer = await self._send(stack, request, signed, prefixes)

        def served() -> Served:
            return Served(
                transport=transport,
                account=self._account.account.id,
                requested=self._model,
                answered=UpstreamModel(id=answer.reader.model) if answer.reader.model else None,
                applied=applied,
                counts=True,
            )

        return Exchange(served, answer.events)

    async def _send(
        self,
        stack: AsyncExitStack,
        request: GenerationRequest,
        signed: Inserts,
        known: KnownPrefixes | None = None,
    ) -> "_Answer":
        """Send the request with signatures; its beginning by a cache, if `known` has one."""
        verb = "streamGenerateContent?alt=sse" if request.streamed else "generateContent"
        api, caches = self._account.api, self._account.caches
        async with self._files.taken(request, self._account.uploader) as files:
            inserts = msgspec.structs.replace(signed, files=files)
            message = self._body(request, inserts)

            async def post(sent: wire.GenerateContentRequest) -> ClientResponse:
                encode = partial(wire.encode_request, self._account.adapted(sent))
                body = await anyio.to_thread.run_sync(encode) if is_long(files) else encode()
                posted = api.post(f"models/{self._model.id}:{verb}", body, patient=not request.streamed)
                return await stack.enter_async_context(posted)

            until = api.first_deadline()
            if known is None or caches is None:
                response = await post(message)
            else:
                cut = MessageCut(request=request, message=message, inserts=inserts, signed=self._traits.signatures)
                response = await self._shortened(caches, known, cut, post)
                due = caches.sent(known)
                begun = cut.beginning(due) if due is not None else None
                if due is not None and begun is not None:
                    caches.create(due, self._model.id, self._account.adapted(begun), request.caller.owner)
        answer = _Answer(self._account, request, self._signatures, self._media)
        read = answer.streamed(response, until) if request.streamed else answer.whole(response)
        await stack.enter_async_context(aclosing(read))
        if request.selection.capability is Capability.CANVAS:
            read = await stack.enter_async_context(aclosing(canvas.with_documents(read)))
        if self._draw is not None and request.selection.capability is Capability.STORYBOOK:
            read = await stack.enter_async_context(aclosing(storybook.with_pictures(read, self._draw)))
        answer.events = PutBack(read)
        if await peek(answer.events) is None:
            raise UpstreamFailed("The upstream sent no answer.")
        return answer

    async def _shortened(
        self,
        caches: ContextCaches,
        known: KnownPrefixes,
        cut: MessageCut,
        post: Callable[[wire.GenerateContentRequest], Awaitable[ClientResponse]],
    ) -> ClientResponse:
        """Send what follows the longest cached beginning; the whole request if none is cached, or no longer."""
        prefix = known.cached(caches.project)
        rest = cut.rest(prefix) if prefix is not None else None
        if prefix is None or rest is None:
            return await post(cut.message)
        try:
            return await post(msgspec.structs.replace(rest, cached_content=caches.used(known, prefix)))
        except CacheRefused:
            await caches.lost(prefix)
            return await post(cut.message)

    def _body(self, request: GenerationRequest, inserts: Inserts) -> wire.GenerateContentRequest:
        options, _ = effective_options(request, self._traits)
        body = generate_request(request, self._traits, options_of(request, options, self._traits), inserts)
        safety = tuple(wire.SafetySetting(category, threshold) for category, threshold in options.safety)
        body = msgspec.structs.replace(body, safety_settings=self._config.safety_settings or safety)
        if request.speech is None:
            return body
        styled = with_styles(body.contents, request.speech, in_field=self._traits.speech_styles)
        return msgspec.structs.replace(body, contents=styled)


class _Answer:
    """The answer to one request."""

    events: PutBack

    def __init__(
        self, account: ModelAccount, request: GenerationRequest, signatures: Signatures, media: MediaKeeper
    ) -> None:
        """Read what `account` gets for a request; keep the signatures of its calls, and its files."""
        self._api, self._account, self._owner = account.api, account.account.id, request.caller.owner
        self._signatures, self._media = signatures, media
        self._signed: dict[str, str] = {}
        prefix = f"call_{uuid.uuid4().hex[:20]}_"
        self.reader = ChunkReader(
            media.note, new_call_ids(prefix), self._signed.__setitem__, request.tools, self._api.meaning
        )
        self._problem: GatewayError | None = None
        """What went wrong after the last events that were read."""

    async def streamed(self, response: ClientResponse, until: float) -> AsyncGenerator[Event]:
        """Yield the events of a stream, whose first chunk must come before `until`."""
        sse, reader, piece = SseReader(_LONGEST_EVENT), self.reader, b"begin"
        chunks = self._api.timed(response, until)
        try:
            while piece:
                try:
                    piece = await chunks.next()
                except CLIENT_ERRORS as error:
                    if not reader.complete:
                        raise mapped(error, started=bool(reader.chunks)) from None
                    piece = b""  # what breaks behind a complete answer does it no harm
                for event in await self._read(sse.feed(piece) if piece else sse.end()):
                    yield event
                if self._problem is not None:
                    raise self._problem
                chunks.note(reader.chunks)
        finally:
            chunks.close()
        if sse.other and not reader.complete:
            raise self._api.instead_of_events(bytes(sse.other))
        for event in await self._end():
            yield event

    async def whole(self, response: ClientResponse) -> AsyncGenerator[Event]:
        """Yield the events of an answer in one piece."""
        for event in await self._read([await self._api.whole(response)]):
            yield event
        if self._problem is not None:
            raise self._problem
        for event in await self._end():
            yield event

    async def _read(self, chunks: list[bytes]) -> list[Event]:
        """Return the events of chunks that came together, up to the first problem; adjacent texts become one event."""
        events: list[Event] = []
        try:
            for data in chunks:
                for event in self.reader.read(wire.decode_response(data)):
                    match events[-1:], event:
                        case [CodeText()], _:
                            events.append(event)
                        case [Text(before)], Text(text) if type(event) is Text:
                            events[-1] = Text(before + text)
                        case [Thought(before)], Thought(text):
                            events[-1] = Thought(before + text)
                        case _:
                            events.append(event)
        except msgspec.MsgspecError:
            self._problem = DriftDetected("The upstream's answer has an unknown form.")
        except GatewayError as error:
            self._problem = error
        await self._media.save()
        return events

    async def _end(self) -> Iterator[Event]:
        await self._signatures.keep(self._owner, self._account, self._signed)
        if self.reader.text_signature:
            self._signatures.keep_text(self._owner, self._account, self.reader.text_signature)
        return self.reader.end()


def options_of(request: GenerationRequest, options: AnswerOptions, traits: ModelTraits) -> wire.GenerationConfig:
    """Return the options of an answer; those of pictures depend on the request."""
    config = config_of(options, traits, extended=request.selection.extended)
    if request.selection.capability is not Capability.IMAGEN:
        return with_sound(config, request)
    width, height = request.aspect or (0, 0)
    form = wire.ImageConfig(f"{width}:{height}" if width else "", image_size(request.pixels, traits))
    image = form if form != wire.ImageConfig() else None
    return msgspec.structs.replace(config, response_modalities=("TEXT", "IMAGE"), image_config=image)


def image_size(pixels: int | None, traits: ModelTraits) -> str:
    """Return the smallest size of the API's images that has about this number of pixels; empty: the default.

    A size names the side of a square; other shapes have about as many pixels. Source: "Images".
    """
    if pixels is None:
        return ""
    sizes = _IMAGE_SIZES if traits.small_images else _IMAGE_SIZES[1:]
    return next((name for name, side in sizes if pixels <= _ALMOST * side**2), sizes[-1][0])
