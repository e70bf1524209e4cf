"""The transport for the official Gemini API: sends requests with the operator's keys.

`TRANSPORT_TYPE` registers it; `connect` opens its keys.

Source: "Base", "GenerateContentRequest".
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import msgspec
import structlog
from aiohttp import ClientResponse

from protocol.model import (
    Capability,
    DriftDetected,
    Event,
    Exchange,
    FilePart,
    GatewayError,
    GenerationRequest,
    Media,
    MediaPart,
    MediaRef,
    MediaStream,
    PutBack,
    Rendition,
    Selection,
    Served,
    ToolCall,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
    peek,
)
from transports.account import Account, Finding, failed, ok
from transports.api import models
from transports.api.accounts import KeyAccount, KeyAccounts, open_accounts
from transports.api.config import ApiConfig
from transports.api.keys import ACCOUNTS
from transports.base import Deps, TransportType
from transports.generate_content import wire
from transports.generate_content.encode import Inserts, generate_request
from transports.generate_content.errors import ModelMissing, ModelNeverAllowed, SignatureRefused
from transports.generate_content.events import AnswerReader, new_call_ids
from transports.generate_content.signatures import Signatures
from transports.generate_content.sse import SseReader, SseTooLong
from transports.http import trusted

_LONGEST_EVENT = 64 * 1024 * 1024
_HIGH_BUDGET = 24_576

_log = structlog.get_logger()


class ApiTransport:
    """Serve requests through the official API."""

    def __init__(self, config: ApiConfig, accounts: KeyAccounts, deps: Deps) -> None:
        """Use the given connected keys."""
        self.name, self.site = deps.name, config.base_url
        self.connected, self._config, self._deps = accounts, config, deps
        self._signatures = Signatures(deps.store.records)

    @property
    def accounts(self) -> Sequence[Account]:
        """See `transports.base.Transport.accounts`."""
        return self.connected.sequence

    def offers(self, selection: Selection) -> bool:
        """Return whether a key can serve the selection."""
        model = self._model(selection)
        if model is None or selection.capability is not Capability.CHAT:
            return False
        return any(model not in key.lacking for key in self.connected.all)

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """See `transports.base.Transport.served_by`."""
        key = self.connected.get(account.id)
        model = self._model(selection)
        return _upstream(model, selection, key) if model is not None and key is not None else None

    def quota_of(self, selection: Selection) -> str:
        """Return the model, since each has its own quotas."""
        return self._model(selection) or selection.model.family

    async def home(self, request: GenerationRequest) -> str | None:
        """Return None: the API keeps no conversations."""
        del request
        return None

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request with a key; see `transports.base.Transport.open`."""
        key = self.connected.of(account.id)
        model = self._model(request.selection)
        if model is None:
            raise Unsupported(f"The upstream has no model for '{request.selection.id}'.", param="model")
        key.use()
        stack.callback(key.unuse)
        requested = _upstream(model, request.selection, key)
        own = await self._signatures.of(request.caller.owner, _calls(request))
        try:
            answer = await self._send(stack, request, key, model, own)
        except SignatureRefused:
            if not own:
                raise
            answer = await self._send(stack, request, key, model, {})  # with the literal, once
        except (ModelMissing, ModelNeverAllowed):
            key.lacking.add(model)
            raise

        def served() -> Served:
            answered = UpstreamModel(id=answer.reader.model) if answer.reader.model else None
            return Served(transport=self.name, account=account.id, requested=requested, answered=answered)

        return Exchange(served, answer.events)

    async def _send(
        self,
        stack: AsyncExitStack,
        request: GenerationRequest,
        key: KeyAccount,
        model: str,
        signatures: dict[str, str],
    ) -> "_Answer":
        body = wire.encode_request(self._body(request, model, signatures))
        verb = "streamGenerateContent?alt=sse" if request.streamed else "generateContent"
        response = await stack.enter_async_context(key.api.post(f"models/{model}:{verb}", body))
        answer = _Answer(key, request, self._signatures)
        read = answer.streamed(response) if request.streamed else answer.whole(response)
        events = PutBack(await stack.enter_async_context(aclosing(read)))
        if await peek(events) is None:
            raise UpstreamFailed("The upstream sent no answer.")
        answer.events = events
        return answer

    def _body(self, request: GenerationRequest, model: str, signatures: dict[str, str]) -> wire.GenerateContentRequest:
        traits = models.traits_of(model)
        thinking: wire.ThinkingConfig | None = None
        if traits.thinking:
            extended = request.selection.extended
            thinking = wire.ThinkingConfig(
                include_thoughts=True,
                thinking_level="HIGH" if extended and traits.levels else "",
                thinking_budget=_HIGH_BUDGET if extended and not traits.levels else None,
            )

        def signature(call: ToolCall) -> str:
            return signatures.get(call.id, "")

        inserts = Inserts(files=_inline(request), signature=signature)
        body = generate_request(request, traits, wire.GenerationConfig(thinking_config=thinking), inserts)
        return msgspec.structs.replace(body, safety_settings=_safety(self._config.safety))

    def _model(self, selection: Selection) -> str | None:
        return models.choose(selection, self.name, self._config.models, self.connected.listed)

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition) -> AsyncGenerator[MediaStream]:
        """Open a media file; see `protocol.model.Engine.media`."""
        del ref, rendition
        raise UpstreamFailed("This media file no longer exists.", code="media_gone")
        yield

    async def examine(self, account: str) -> AsyncGenerator[Finding]:
        """Check that the API accepts a key; see `transports.base.Transport.examine`."""
        key = self.connected.get(account)
        if key is None:
            yield self.connected.missing(account)
            return
        with key.used():
            try:
                await key.read_models()
            except GatewayError as error:
                advice = getattr(error, "advice", "") or "The failure may be temporary; check again in a minute."
                yield failed("key", error.message, advice)
                return
        yield ok("key", f"The API accepts the key and lists {len(key.models)} models.")

    async def export(self, account: str) -> str:
        """Return the key; see `transports.base.Transport.export`."""
        configured = self.connected.of(account).configured
        return configured.credential if configured is not None else ""

    async def reload(self, config: ApiConfig) -> Sequence[str]:
        """Apply the keys of the settings; see `transports.base.TransportType.reload`."""
        return await self.connected.reload(config.accounts)


class _Answer:
    """The answer to one request."""

    events: PutBack

    def __init__(self, key: KeyAccount, request: GenerationRequest, signatures: Signatures) -> None:
        """Read what `key` gets for a request, and keep the signatures of its calls."""
        self._api, self._owner, self._store = key.api, request.caller.owner, signatures
        self._signatures: dict[str, str] = {}
        prefix = f"call_{uuid.uuid4().hex[:20]}_"
        self.reader = AnswerReader(_no_picture, new_call_ids(prefix), self._signatures.__setitem__)

    async def streamed(self, response: ClientResponse) -> AsyncGenerator[Event]:
        """Yield the events of a stream."""
        sse = SseReader(_LONGEST_EVENT)
        async for piece in self._api.pieces(response):
            for data in _fed(sse, piece):
                for event in self._read(data):
                    yield event
        async for event in self._end(sse.end()):
            yield event

    async def whole(self, response: ClientResponse) -> AsyncGenerator[Event]:
        """Yield the events of an answer in one piece."""
        async for event in self._end([await self._api.whole(response)]):
            yield event

    async def _end(self, last: list[bytes]) -> AsyncIterator[Event]:
        for data in last:
            for event in self._read(data):
                yield event
        await self._store.keep(self._owner, self._signatures)
        for event in self.reader.end():
            yield event

    def _read(self, data: bytes) -> list[Event]:
        try:
            chunk = wire.decode_response(data)
        except msgspec.MsgspecError:
            raise DriftDetected("The upstream's answer has an unknown form.") from None
        return list(self.reader.read(chunk))


def _fed(sse: SseReader, piece: bytes) -> list[bytes]:
    try:
        return sse.feed(piece)
    except SseTooLong:
        raise UpstreamFailed("The upstream's answer is too long.") from None


def _no_picture(_blob: wire.Blob) -> Media | None:
    return None


def _upstream(model: str, selection: Selection, key: KeyAccount) -> UpstreamModel:
    return UpstreamModel(id=model, name=key.models.get(model, ""), family=selection.model.family)


def _calls(request: GenerationRequest) -> list[ToolCall]:
    return [call for turn in request.turns for call in turn.tool_calls]


def _inline(request: GenerationRequest) -> dict[int, wire.ContentPart]:
    """Return the files of a request, each within the request.

    Raises:
        Unsupported: a picture of an earlier turn was made by another upstream.

    """
    found: dict[int, wire.ContentPart] = {}
    for part in (part for turn in request.turns for part in turn.parts):
        if isinstance(part, MediaPart):
            message = "A picture of an earlier turn was generated by another upstream. Send it as a file instead."
            raise Unsupported(message, param="messages")
        if isinstance(part, FilePart):
            found[id(part)] = wire.ContentPart(inline_data=wire.Blob(part.mime, part.loaded().data))
    return found


def _safety(threshold: str) -> tuple[wire.SafetySetting, ...]:
    categories = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
    return tuple(wire.SafetySetting(f"HARM_CATEGORY_{one}", threshold) for one in categories) if threshold else ()


def check(config: ApiConfig) -> None:
    """Check the settings other than the keys.

    Raises:
        ValueError: the certificates cannot be used; the message names their file.

    """
    trusted(config.ca_file)


@asynccontextmanager
async def connect(config: ApiConfig, deps: Deps) -> AsyncGenerator[ApiTransport]:
    """Connect the keys of the settings and the store.

    Raises:
        ValueError: a key is invalid, or as `check`.

    """
    check(config)
    async with open_accounts(config, deps) as accounts:
        yield ApiTransport(config, accounts, deps)


TRANSPORT_TYPE = TransportType(
    ApiConfig,
    connect,
    check,
    secrets=frozenset({"key", "proxy"}),
    accounts=ACCOUNTS,
    tiers=frozenset({"free", "paid"}),
    families=frozenset({"pro", "flash", "flash-lite"}),
    is_simulated=lambda config: config.on_this_machine,
    reload=ApiTransport.reload,
)
