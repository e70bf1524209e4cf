"""Converts the events of one or several turns to a text completion, streamed or whole."""

import msgspec

from protocol.http.body import encode_json
from protocol.http.side_by_side import Numbered, Replies
from protocol.model import Event, Finish, GatewayError, Media, Piece, Text, Usage, WebImage, Withheld
from protocol.openai.chat.write import Head, Rendering, usage_of
from protocol.openai.completions import wire
from protocol.openai.errors import in_stream

_DONE = b"data: [DONE]\n\n"
_WRITTEN = Text | Media | WebImage | Withheld
"""Events that add text; the others have no place in a text completion."""


class TextChoice:
    """Writes one text."""

    def __init__(self, rendering: Rendering, echoed: str) -> None:
        """`echoed` comes before the text."""
        self._rendering, self._echoed = rendering, echoed
        self.usage: Usage | None = None
        """The usage of its turn; None until the text is complete."""

    def next(self, event: Event) -> str:
        """Return the text that an event adds."""
        added = self._rendered(event) if isinstance(event, _WRITTEN) else ""
        if isinstance(event, Finish):
            self.usage = event.usage
        elif not added:
            return ""
        echoed, self._echoed = self._echoed, ""
        return echoed + added

    def whole(self, pieces: tuple[Piece, ...]) -> str:
        """Return the text of a whole answer."""
        return self._echoed + "".join(map(self._rendered, pieces))

    def _rendered(self, piece: Piece) -> str:
        return "".join(delta.content or "" for delta in self._rendering.render(piece))


class TextCompletionWriter:
    """Writes one answer (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, head: Head, choices: list[TextChoice], *, include_usage: bool) -> None:
        """Write an answer of these texts; `include_usage`: a stream ends with its usage."""
        self._head, self._choices, self._include_usage = head, choices, include_usage

    @property
    def finished(self) -> bool:
        """Whether all texts are complete."""
        return all(choice.usage is not None for choice in self._choices)

    def opened(self) -> bytes:
        """Return no bytes: the first event comes with the first text."""
        return b""

    def event(self, event: Numbered) -> bytes:
        """Return the bytes of an event of one text, and the end of the stream after the last one."""
        choice = self._choices[event.index]
        if choice.usage is not None:
            return b""
        text, finish = choice.next(event.event), event.event if isinstance(event.event, Finish) else None
        data = b""
        if text or finish is not None:
            reason = finish.reason if finish is not None else None
            data = self._line([wire.CompletionChoice(text=text, index=event.index, finish_reason=reason)])
        if not self.finished:
            return data
        usages = [one.usage for one in self._choices if one.usage is not None]
        total = self._line([], sum(usages[1:], usages[0])) if self._include_usage else b""
        return data + total + _DONE

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return in_stream(error)

    def whole(self, reply: Replies) -> bytes:
        """Return the body of a whole answer."""
        texts = [
            wire.CompletionChoice(text=choice.whole(one.pieces), index=index, finish_reason=one.finish)
            for index, (choice, one) in enumerate(zip(self._choices, reply.replies, strict=True))
        ]
        return encode_json(self._object(texts, reply.usage))

    def _object(self, choices: list[wire.CompletionChoice], usage: Usage | None = None) -> wire.TextCompletion:
        head, counted = self._head, usage_of(usage) if usage is not None else msgspec.UNSET
        return wire.TextCompletion(id=head.id, created=head.created, model=head.model, choices=choices, usage=counted)

    def _line(self, choices: list[wire.CompletionChoice], usage: Usage | None = None) -> bytes:
        return b"data: " + encode_json(self._object(choices, usage)) + b"\n\n"
