"""Makes a response of the events of an answer, and writes it whole or as server-sent events.

`ResponseBuilder` turns each event of the answer into events of the API, and collects the items of the output. At the
end it has the whole response, which is the same whether it was streamed or not. Thoughts that come after the first
words get an item of their own at the end, so that they do not split the text.
"""

from collections.abc import AsyncIterable, Callable, Sequence
from typing import Literal

import msgspec

from protocol.http.body import encode_json
from protocol.model import (
    CallArguments,
    CallStarted,
    Citation,
    Declined,
    Document,
    Event,
    Finish,
    GatewayError,
    Media,
    MediaRef,
    Piece,
    Text,
    Thought,
    UpstreamFailed,
    Usage,
    WebImage,
    Withheld,
)
from protocol.openai.chat.response_wire import Delta
from protocol.openai.chat.write import Rendering
from protocol.openai.responses.function_names import FunctionNames
from protocol.openai.responses.items import OpenCall, OpenItem, OpenMessage, OpenReasoning, picture_events
from protocol.openai.responses.output_wire import (
    IncompleteDetails,
    ItemStatus,
    ModelResponse,
    OutputItem,
    OutputPicture,
    OutputReasoning,
    ResponseFault,
    ResponseUsage,
    StreamEvent,
)

_INCOMPLETE: dict[str, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


def item_id(prefix: str, response_id: str, place: str) -> str:
    """Return the id of an item of a response: it contains the id of the response, so that the item can be found."""
    return f"{prefix}_{response_id.partition('_')[2]}{place}"


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of the answer, for a client that asked for pictures as items."""

    media: Media
    url: str
    base64: str | None
    """None: it cannot be fetched now."""


class ResponseBuilder:
    """Turns the events of one answer into items and events of the API."""

    def __init__(self, response: ModelResponse, rendering: Rendering, now: Callable[[], float]) -> None:
        """Fill a response that has no output yet; `now` returns epoch seconds."""
        self.response = response
        self._rendering, self._now = rendering, now
        self._names = FunctionNames.shown(response.tools)
        self.begun = False
        """Whether the first events were returned."""
        self._events: list[StreamEvent] = []
        """The events that are not returned yet."""
        self._output: list[OutputItem] = []
        self._open: OpenItem | None = None
        self._length = 0
        """The length of the text of all messages so far."""
        self._late: list[str] = []
        """Thoughts that came after the first words."""
        self.media: dict[str, MediaRef] = {}
        """The pictures of the output, by the ids of their items."""

    def begin(self) -> list[StreamEvent]:
        """Return the events before all others, once."""
        if self.begun:
            return []
        self.begun = True
        running = msgspec.structs.replace(self.response, status="in_progress")
        last = StreamEvent(type="response.in_progress", response=running)
        if not self.response.background:
            return [StreamEvent(type="response.created", response=running), last]
        queued = msgspec.structs.replace(self.response, status="queued")
        kinds = ("response.created", "response.queued")
        return [*(StreamEvent(type=kind, response=queued) for kind in kinds), last]

    def add(self, event: Event | Picture) -> list[StreamEvent]:
        """Return the events of a part of the answer; others than content add none."""
        match event:
            case Text() | Media() | WebImage() | Withheld() | Citation() | Document():
                self._render(event)
            case Thought() if event.text:
                self._think(event.text)
            case CallStarted():
                self._close("completed")
                self._start(OpenCall(self._id("fc"), len(self._output), event.id, *self._names.own(event.name)))
            case CallArguments() if isinstance(self._open, OpenCall):
                self._events += self._open.add(event.text)
            case Declined():
                self._events += self._message().say(event.text, refuses=True)
            case Picture():
                self._close("completed")
                picture = OutputPicture(
                    id=self._id("ig"),
                    status="completed" if event.base64 is not None else "failed",
                    result=event.base64,
                    revised_prompt=event.media.revised_prompt or msgspec.UNSET,
                    url=event.url,
                )
                self.media[picture.id] = event.media.ref
                self._events += picture_events(len(self._output), picture)
                self._output.append(picture)
            case _:
                pass
        return self._taken()

    def finish(self, finish: Finish) -> list[StreamEvent]:
        """Complete the response; return the last events."""
        reason = _INCOMPLETE.get(finish.reason)
        status = "completed" if reason is None else "incomplete"
        for delta in self._rendering.finish():
            self._cite(delta)
        if all(isinstance(item, OutputReasoning) for item in self._output) and not isinstance(
            self._open, OpenMessage | OpenCall
        ):
            self._events += self._message().say("")  # a client expects a message
        self._close(status)
        if self._late:
            self._start(OpenReasoning(self._id("rs"), len(self._output)))
            self._think("".join(self._late))
            self._close("completed")
        self.response = msgspec.structs.replace(
            self.response,
            status=status,
            completed_at=int(self._now()) if reason is None else None,
            incomplete_details=IncompleteDetails(reason=reason) if reason is not None else None,
            output=self._output,
            usage=ResponseUsage.of(finish.usage),
        )
        self._events.append(StreamEvent(type=f"response.{status}", response=self.response))
        return self._taken()

    def fail(self, error: GatewayError) -> list[StreamEvent]:
        """End the response with an error; return the last events."""
        fault = ResponseFault.of(error)
        self.response = msgspec.structs.replace(self.response, status="failed", output=self._output, error=fault)
        return [*self.begin(), StreamEvent(type="response.failed", response=self.response)]

    def _taken(self) -> list[StreamEvent]:
        taken, self._events = self._events, []
        return taken

    def _id(self, prefix: str) -> str:
        return item_id(prefix, self.response.id, f"{len(self._output):04x}")

    def _message(self) -> OpenMessage:
        """Return the open message; begin one if another item is open."""
        if isinstance(self._open, OpenMessage):
            return self._open
        self._close("completed")
        message = OpenMessage(self._id("msg"), len(self._output), self._length)
        self._start(message)
        return message

    def _start(self, item: OpenItem) -> None:
        """Begin an item; the one before it is closed, so that the length of the output is the item's index."""
        self._open = item
        self._events += item.opened()

    def _close(self, status: ItemStatus) -> None:
        if self._open is not None:
            self._events += self._open.closed(status)
            self._open = None
            item = self._events[-1].item
            assert item is not msgspec.UNSET, "the last event of an item has it"  # noqa: S101
            self._output.append(item)

    def _render(self, piece: Piece) -> None:
        for delta in self._rendering.render(piece):
            if delta.content:
                self._events += self._message().say(delta.content)
                self._length += len(delta.content)
            self._cite(delta)

    def _think(self, text: str) -> None:
        if isinstance(self._open, OpenReasoning):
            self._events += self._open.think(text)
        elif self._open is None and not self._output:
            self._start(OpenReasoning(self._id("rs"), 0))
            self._think(text)
        else:
            self._late.append(text)

    def _cite(self, delta: Delta) -> None:
        for entry in delta.annotations or ():
            if isinstance(self._open, OpenMessage):
                cited = entry.url_citation
                self._events += self._open.cite(cited.start_index, cited.end_index, cited.url, cited.title)


class ResponseStep(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one part of the answer; the last step has the whole response."""

    events: list[StreamEvent]
    event: Event | None = None
    """The event of the answer that the step comes from."""
    usage: Usage | None = None
    """The token counts of the answer, in the last step."""
    response: ModelResponse | None = None


async def last_step(steps: AsyncIterable[ResponseStep]) -> "WholeResponseReply":
    """Return the whole response.

    Raises:
        UpstreamFailed: the steps ended without it.

    """
    whole: WholeResponseReply | None = None
    media: list[Media] = []
    async for step in steps:
        if isinstance(step.event, Media):
            media.append(step.event)
        if step.response is not None and step.usage is not None:
            whole = WholeResponseReply(response=step.response, usage=step.usage, media=media)
    if whole is None:
        raise UpstreamFailed("The upstream ended its answer before it was complete.", code="upstream_truncated")
    return whole


class WholeResponseReply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole response and its token counts."""

    response: ModelResponse
    usage: Usage
    media: list[Media] = []


class ResponseWriter:
    """Writes one response, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, builder: ResponseBuilder, after: int = -1) -> None:
        """Write the events of `builder` whose number is above `after`; it also makes the events of an error."""
        self._builder, self._after = builder, after
        self._next = 0
        """The number of the next event."""
        self.finished = False

    def opened(self) -> bytes:
        """Return no bytes: the first event comes with the first step."""
        return b""

    def event(self, event: ResponseStep) -> bytes:
        """Return the events of a step."""
        self.finished = event.response is not None
        return self._encoded(event.events)

    def error(self, error: GatewayError) -> bytes:
        """Return the event that ends a stream with an error."""
        return self._encoded(self._builder.fail(error))

    def whole(self, reply: WholeResponseReply) -> bytes:
        """Return the body of a whole response."""
        return encode_json(reply.response)

    def _encoded(self, events: Sequence[StreamEvent]) -> bytes:
        data: list[bytes] = []
        for event in events:
            event.sequence_number = self._next
            self._next += 1
            if event.sequence_number > self._after:
                data.append(b"event: " + event.type.encode() + b"\ndata: " + encode_json(event) + b"\n\n")
        return b"".join(data)
