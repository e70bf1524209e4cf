"""Checks tool calls and structured output, and asks the model once to repair them.

Theory of operation. `CheckedEngine` wraps an engine. A request without tools and structured output goes straight to the
engine. For the others `_Attempt` reads the events of one answer and passes on what is checked: text as it is, calls
whose name was offered and whose arguments fit, and of structured output the JSON alone. If something is wrong, the rest
of the answer is read and dropped, and one more turn follows: the conversation so far, the wrong answer, and what is
wrong with it.

Streamed answers pass on what is checked at once (`JsonReader`), so a mistake may be found after a part was sent. The
repaired answer must then begin with that part; only what follows is sent. If it does not, the answer ends with an
error. Whole answers are sent after all is checked, so a mistake in them can always be repaired.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import msgspec

from protocol.model import (
    CallArguments,
    CallCollector,
    CallMalformed,
    CallStarted,
    Catalogue,
    Citation,
    CodeText,
    Declined,
    Document,
    Engine,
    Event,
    Exchange,
    Finish,
    GenerationRequest,
    Handle,
    Media,
    MediaRef,
    MediaStream,
    Rendition,
    Role,
    Selection,
    Served,
    Text,
    TextPart,
    Thought,
    ToolCall,
    Turn,
    UpstreamFailed,
    UpstreamModel,
    Usage,
    Waiting,
    WebImage,
    WorkStarted,
)
from protocol.structured.extraction import Extractor
from protocol.structured.json_reader import InvalidJson, JsonReader
from protocol.structured.json_schema import CompiledSchema, compiled

_REPAIR = (
    "Your last answer cannot be used by the program that reads it: {problem}. "
    "Answer the request again, correctly and completely, in the required form, without a comment on this."
)
_SHOWN = (Text, Media, WebImage, Citation, Document)
"""Content other than calls and JSON."""
_WITHIN_CALL = (CallArguments, Waiting, Thought, WorkStarted)
"""Events that do not end a call."""
_NO_CALL = "it must call a tool, and calls none"
_DIFFERENT = "the repaired answer does not begin with the part that was sent already"


class OutputInvalid(UpstreamFailed):
    """The model's tool call or structured output is invalid, also after it was asked to repair it."""

    code = "model_output_invalid"


class CheckedEngine:
    """Implements `protocol.model.Engine` over another engine, with checked tool calls and structured output."""

    def __init__(self, engine: Engine) -> None:
        """Send requests to `engine`."""
        self._engine = engine

    @property
    def catalogue(self) -> Catalogue:
        """As `Engine.catalogue`."""
        return self._engine.catalogue

    def offers(self, selection: Selection) -> bool:
        """As `Engine.offers`."""
        return self._engine.offers(selection)

    def available(self, selection: Selection) -> bool:
        """As `Engine.available`."""
        return self._engine.available(selection)

    def served_by(self, selection: Selection) -> Sequence[UpstreamModel]:
        """As `Engine.served_by`."""
        return self._engine.served_by(selection)

    def asked_for(self, selection: Selection) -> frozenset[tuple[str, str]]:
        """As `Engine.asked_for`."""
        return self._engine.asked_for(selection)

    def applies(self, selection: Selection) -> frozenset[str]:
        """As `Engine.applies`."""
        return self._engine.applies(selection)

    async def cancel(self, handle: Handle) -> None:
        """As `Engine.cancel`."""
        await self._engine.cancel(handle)

    def media(self, ref: MediaRef, rendition: Rendition = Rendition.USUAL) -> AbstractAsyncContextManager[MediaStream]:
        """As `Engine.media`."""
        return self._engine.media(ref, rendition)

    def open(self, request: GenerationRequest) -> AbstractAsyncContextManager[Exchange]:
        """As `Engine.open`; reading the events raises OutputInvalid if a repair did not help."""
        if request.tools is None and request.output is None:
            return self._engine.open(request)
        return open_checked(self._engine, request)


@asynccontextmanager
async def open_checked(engine: Engine, request: GenerationRequest) -> AsyncGenerator[Exchange]:
    """Open a request with tools or structured output; as `CheckedEngine.open`."""
    async with AsyncExitStack() as stack:
        answer = _CheckedAnswer(engine, request, stack)
        await answer.open(request)
        yield Exchange(answer.served, answer.events())


class _CheckedAnswer:
    """The answer to one request, in one or two attempts."""

    def __init__(self, engine: Engine, request: GenerationRequest, stack: AsyncExitStack) -> None:
        self._engine, self._request, self._stack = engine, request, stack

    async def open(self, request: GenerationRequest) -> None:
        """Open the exchange of an attempt; the one before it is closed first, so that it holds no slot."""
        await self._stack.aclose()
        self._exchange = await self._stack.enter_async_context(self._engine.open(request))

    def served(self) -> Served:
        return self._exchange.served

    async def events(self) -> AsyncGenerator[Event]:
        """Yield the checked events.

        Raises:
            OutputInvalid: the answer is invalid, also after a repair.
            GatewayError: as `Exchange.events`.

        """
        attempt = _Attempt(self._request, Output())
        async for event in attempt.events(self._exchange):
            yield event
        if not attempt.problem:
            return
        repair = attempt.repair()
        turns = (*self._request.turns, *repair)
        await self.open(msgspec.structs.replace(self._request, turns=turns, unseen=len(repair), counted=True))
        attempt = _Attempt(self._request, attempt.sent, earlier=attempt.usage)
        async for event in attempt.events(self._exchange):
            yield event
        if attempt.problem:
            raise OutputInvalid(f"The model's answer is invalid, also after one repair: {attempt.problem}.")


class Output:
    """The text and the tool calls of an answer, collected from its events."""

    def __init__(self) -> None:
        """Start empty."""
        self._text: list[str] = []
        self._calls = CallCollector()

    def add(self, event: Event) -> None:
        """Add an event; others than text and calls change nothing."""
        match event:
            case Text() | CallMalformed():
                self._text.append(event.text)
            case CallStarted() | CallArguments():
                self._calls.add(event)
            case _:
                pass

    @property
    def text(self) -> str:
        """All text, with calls that could not be read."""
        return "".join(self._text)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls so far; the last one may lack the end of its arguments."""
        return self._calls.calls


class _Continued:
    """Drops from a text that arrives in pieces the beginning that was sent before."""

    def __init__(self, sent: str) -> None:
        self._sent = sent

    def rest(self, piece: str) -> str:
        """Return what follows the beginning.

        Raises:
            InvalidJson: the text does not begin as the one that was sent.

        """
        size = min(len(piece), len(self._sent))
        if piece[:size] != self._sent[:size]:
            raise InvalidJson(_DIFFERENT)
        self._sent = self._sent[size:]
        return piece[size:]


class _CheckedCall:
    """The tool call that the model writes now."""

    def __init__(self, started: CallStarted, schema: CompiledSchema, sent: ToolCall | None) -> None:
        """`sent`: this call as an earlier attempt has sent it; None: it has not."""
        self._started: CallStarted | None = started if sent is None else None
        self._reader, self._continued = JsonReader(schema), _Continued(sent.arguments if sent is not None else "")

    def release(self, arguments: str | None) -> Iterator[Event]:
        """Yield the checked part of the next arguments; None: they are complete."""
        released = self._reader.feed(arguments) if arguments is not None else self._reader.close()
        text = self._continued.rest(released)
        if text and self._started is not None:
            yield self._started
            self._started = None
        if text:
            yield CallArguments(text=text)


class _Attempt:
    """Checks the events of one answer."""

    def __init__(self, request: GenerationRequest, sent: Output, earlier: Usage | None = None) -> None:
        """`sent`: what an earlier attempt has sent; its usage is `earlier`."""
        self._request, self.sent, self._earlier = request, sent, earlier
        self._sent_text, self._sent_calls = sent.text, sent.calls
        choice, output = request.tools, request.output
        self._tools = {tool.name: tool for tool in choice.callable} if choice is not None else {}
        self._must_call = choice is not None and choice.mode == "required"
        self._extractor = (
            Extractor(compiled(output.schema) if output.schema is not None else None) if output is not None else None
        )
        self._json = _Continued(self._sent_text)
        self._call: _CheckedCall | None = None
        self._complete = 0
        """The number of complete, valid calls."""
        self._written = Output()
        self.problem = ""
        """What is wrong with the answer, in words for the model; empty: nothing."""
        self.usage: Usage | None = None
        """The usage of this attempt and the one before it."""

    async def events(self, exchange: Exchange) -> AsyncGenerator[Event]:
        """Read all events, and yield those that are checked; after a problem, none."""
        held: list[Event] = []
        async for event in exchange.events:
            self._written.add(event)
            if isinstance(event, Finish):
                usage = event.rewritten.usage if event.rewritten is not None else event.usage
                self.usage = usage if self._earlier is None else self._earlier + usage
            try:
                checked = list(self._check(event)) if not self.problem else []
            except InvalidJson as error:
                self.problem = str(error)
                continue
            if not self._request.streamed:
                held += checked
                continue
            for one in checked:
                self.sent.add(one)
                yield one
        if not self.problem:
            for one in held:
                yield one

    def repair(self) -> tuple[Turn, ...]:
        """Return the turns that ask the model to repair this answer: the client does not see them."""
        written = (TextPart(text=self._written.text),)
        words = _REPAIR.format(problem=self.problem)
        return (
            Turn(role=Role.ASSISTANT, parts=written, tool_calls=self._written.calls),
            Turn(role=Role.USER, parts=(TextPart(text=words),)),
        )

    def _check(self, event: Event) -> Iterator[Event]:
        """Yield the checked part of an event.

        Raises:
            InvalidJson: the answer is invalid.

        """
        if self._call is not None and not isinstance(event, _WITHIN_CALL):
            yield from self._call.release(None)
            self._call = None
            self._complete += 1
        match event:
            case CallStarted():
                self._call = self._started(event)
            case CallArguments() if self._call is not None:
                yield from self._call.release(event.text)
            case CallMalformed():
                raise InvalidJson(event.problem)
            case CodeText() if self._extractor is not None:
                pass  # code that the upstream has run does not belong to the JSON
            case Text() if self._extractor is not None:
                yield from _texts(self._json.rest(self._extractor.feed(event.text)))
            case Finish():
                yield from self._finish(event)
            case _:
                # calls and JSON come alone, and a repair does not repeat the words that were sent
                bare = self._extractor is not None or self._must_call or self._complete > 0 or self._sent_text != ""
                yield from () if bare and isinstance(event, _SHOWN) else (event,)

    def _started(self, started: CallStarted) -> _CheckedCall:
        tool = self._tools.get(started.name)
        if tool is None:
            names = ", ".join(self._tools)
            raise InvalidJson(f"it calls the tool '{started.name}', which is not among those it may call now: {names}")
        sent = self._sent_calls[self._complete] if self._complete < len(self._sent_calls) else None
        if sent is not None and sent.name != started.name:
            raise InvalidJson(_DIFFERENT)
        return _CheckedCall(started, compiled(tool.parameters), sent)

    def _finish(self, finish: Finish) -> Iterator[Event]:
        if self._must_call and not self._complete:
            raise InvalidJson(_NO_CALL)
        if self._extractor is not None and not self._complete:
            try:
                yield from _texts(self._json.rest(self._extractor.close()))
            except InvalidJson:
                text = self._written.text.strip()
                if self._earlier is None or self._sent_text or not self._extractor.declined(text):
                    raise
                yield Declined(text=text)  # the model prefers to answer in words, twice
        bare = self._complete or self._extractor is not None
        yield Finish(
            reason="tool_calls" if self._complete and finish.reason == "stop" else finish.reason,
            usage=self.usage or finish.usage,
            rewritten=None if bare else finish.rewritten,
            upstream=finish.upstream,
        )


def _texts(text: str) -> Iterator[Event]:
    if text:
        yield Text(text=text)
