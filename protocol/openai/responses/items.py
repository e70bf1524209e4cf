"""The items of an answer while they are written: each yields the events that open, extend and close it.

Example: a message that says "Hi" yields `output_item.added`, `content_part.added`, `output_text.delta`,
`output_text.done`, `content_part.done` and `output_item.done`.
"""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from protocol.openai.responses.output_wire import (
    CitedUrl,
    ItemStatus,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputPicture,
    OutputReasoning,
    OutputRefusal,
    OutputText,
    StreamEvent,
    SummaryText,
)

Events = Iterator[StreamEvent]


class OpenItem(Protocol):
    """An item that is being written."""

    def opened(self) -> Events:
        """Yield the events that open it."""
        ...

    def closed(self, status: ItemStatus) -> Events:
        """Yield the events that close it; the last one has the whole item."""
        ...


def _added(index: int, item: OutputItem) -> StreamEvent:
    return StreamEvent(type="response.output_item.added", output_index=index, item=item)


def _done(index: int, item: OutputItem) -> StreamEvent:
    return StreamEvent(type="response.output_item.done", output_index=index, item=item)


class OpenMessage:
    """A message, whose parts are texts and refusals."""

    def __init__(self, identity: str, index: int, before: int) -> None:
        """Begin a message at this index of the output; `before`: the length of the text of earlier messages."""
        self._id, self._index, self._before = identity, index, before
        self._parts: list[OutputText | OutputRefusal] = []
        self._texts: list[str] | None = None
        """The text of the open part; None: no part is open."""
        self._refuses = False
        self._cited: list[CitedUrl] = []

    def opened(self) -> Events:
        """Yield the events that open it."""
        yield _added(self._index, OutputMessage(id=self._id, status="in_progress"))

    def say(self, text: str, *, refuses: bool = False) -> Events:
        """Add a text, or words with which the model declines."""
        if self._texts is not None and refuses is not self._refuses:
            yield from self._close_part()
        if self._texts is None:
            self._texts, self._refuses = [], refuses
            part = OutputRefusal(refusal="") if refuses else OutputText(text="")
            yield self._event("content_part.added", part=part)
        self._texts.append(text)
        if refuses:
            yield self._event("refusal.delta", delta=text)
        elif text:
            yield self._event("output_text.delta", delta=text, logprobs=[])

    def cite(self, start: int, end: int, url: str, title: str) -> Events:
        """Add a source of the text, whose range counts from the beginning of the answer."""
        start, end = max(0, start - self._before), max(0, end - self._before)
        cited = CitedUrl(start_index=start, end_index=end, url=url, title=title)
        yield self._event("output_text.annotation.added", annotation_index=len(self._cited), annotation=cited)
        self._cited.append(cited)

    def closed(self, status: ItemStatus) -> Events:
        """Yield the events that close it."""
        yield from self._close_part()
        yield _done(self._index, OutputMessage(id=self._id, status=status, content=self._parts))

    def _close_part(self) -> Events:
        if self._texts is None:
            return
        text = "".join(self._texts)
        part = OutputRefusal(refusal=text) if self._refuses else OutputText(text=text, annotations=self._cited)
        if self._refuses:
            yield self._event("refusal.done", refusal=text)
        else:
            yield self._event("output_text.done", text=text, logprobs=[])
        yield self._event("content_part.done", part=part)
        self._parts.append(part)
        self._texts, self._cited = None, []

    def _event(self, kind: str, **fields: object) -> StreamEvent:
        place = {"item_id": self._id, "output_index": self._index, "content_index": len(self._parts)}
        return StreamEvent(type=f"response.{kind}", **place, **fields)  # pyright: ignore[reportArgumentType]


class OpenReasoning:
    """The thoughts of the model, as one summary."""

    def __init__(self, identity: str, index: int) -> None:
        """Begin the thoughts at this index of the output."""
        self._id, self._index = identity, index
        self._texts: list[str] = []

    def opened(self) -> Events:
        """Yield the events that open it."""
        yield _added(self._index, OutputReasoning(id=self._id, status="in_progress"))
        yield self._event("part.added", part=SummaryText(text=""))

    def think(self, text: str) -> Events:
        """Add thoughts."""
        self._texts.append(text)
        yield self._event("text.delta", delta=text)

    def closed(self, status: ItemStatus) -> Events:
        """Yield the events that close it."""
        text = "".join(self._texts)
        yield self._event("text.done", text=text)
        yield self._event("part.done", part=SummaryText(text=text))
        yield _done(self._index, OutputReasoning(id=self._id, status=status, summary=[SummaryText(text=text)]))

    def _event(self, kind: str, **fields: object) -> StreamEvent:
        place = {"item_id": self._id, "output_index": self._index, "summary_index": 0}
        return StreamEvent(type=f"response.reasoning_summary_{kind}", **place, **fields)  # pyright: ignore[reportArgumentType]


class OpenCall:
    """A call of a function."""

    def __init__(self, identity: str, index: int, call_id: str, name: str, namespace: str | None) -> None:
        """Begin a call at this index of the output; its result comes back under `call_id`."""
        self._id, self._index, self._call_id, self._name = identity, index, call_id, name
        self._namespace = msgspec.UNSET if namespace is None else namespace
        self._texts: list[str] = []

    def opened(self) -> Events:
        """Yield the events that open it."""
        yield _added(self._index, self._item("in_progress"))

    def add(self, arguments: str) -> Events:
        """Add a part of the arguments."""
        self._texts.append(arguments)
        yield self._event("delta", delta=arguments)

    def closed(self, status: ItemStatus) -> Events:
        """Yield the events that close it."""
        yield self._event("done", name=self._name, arguments="".join(self._texts))
        yield _done(self._index, self._item(status))

    def _item(self, status: ItemStatus) -> OutputCall:
        return OutputCall(
            id=self._id,
            status=status,
            call_id=self._call_id,
            namespace=self._namespace,
            name=self._name,
            arguments="".join(self._texts),
        )

    def _event(self, kind: str, **fields: object) -> StreamEvent:
        place = {"item_id": self._id, "output_index": self._index}
        return StreamEvent(type=f"response.function_call_arguments.{kind}", **place, **fields)  # pyright: ignore[reportArgumentType]


def picture_events(index: int, picture: OutputPicture) -> Events:
    """Yield the events of a picture, which is complete when it arrives."""
    yield _added(index, OutputPicture(id=picture.id, status="in_progress"))
    for kind in ("in_progress", "generating", "completed"):
        yield StreamEvent(type=f"response.image_generation_call.{kind}", output_index=index, item_id=picture.id)
    yield _done(index, picture)


def replayed(index: int, item: OutputItem) -> Events:
    """Yield the events of a whole item, with each of its texts as one part."""
    match item:
        case OutputMessage():
            message = OpenMessage(item.id, index, 0)
            yield from message.opened()
            for part in item.content:
                if isinstance(part, OutputRefusal):
                    yield from message.say(part.refusal, refuses=True)
                    continue
                yield from message.say(part.text)
                for cited in part.annotations:
                    yield from message.cite(cited.start_index, cited.end_index, cited.url, cited.title)
            yield from message.closed(item.status)
        case OutputReasoning():
            thoughts = OpenReasoning(item.id, index)
            yield from thoughts.opened()
            yield from thoughts.think("".join(part.text for part in item.summary))
            yield from thoughts.closed(item.status)
        case OutputCall():
            namespace = None if item.namespace is msgspec.UNSET else item.namespace
            call = OpenCall(item.id, index, item.call_id, item.name, namespace)
            yield from call.opened()
            yield from call.add(item.arguments)
            yield from call.closed(item.status)
        case OutputPicture():
            yield from picture_events(index, item)
