"""Finds the beginnings of a request that may come again, and cuts its body there. No I/O.

Theory of operation. A request is cut only before a message of the user, or between the parts of one: what follows must
be a request of its own. Each beginning has a digest of all before it: model, tools, instructions and messages. A
beginning counts only if it is longer by a quarter than the one before, so a long conversation has few; which ones
depends on nothing that follows, so all requests that begin alike have the same.

Example: instructions of 5,000 tokens and a message of a document (20,000 tokens) and a question have two beginnings:
the instructions, and the instructions with the document.

Source: "Context caching".
"""

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from protocol.model import FilePart, GenerationRequest, MediaPart, Role, TextPart, Turn, prompt_tokens
from transports.generate_content import wire
from transports.generate_content.request_contents import SYSTEM_ROLES, Inserts, contents_of

_GROWTH = 1.25
_DOCUMENT_BYTES = 400
"""Bytes of a document, sound or film that have a token at least, about."""


class Prefix(msgspec.Struct, frozen=True):
    """A beginning of a request."""

    digest: str
    tokens: int
    """About how many it has."""
    turns: int
    """How many turns it contains."""
    parts: int
    """How many parts of the next turn it contains."""


def prefixes_of(request: GenerationRequest, head: bytes, least: int) -> tuple[Prefix, ...]:
    """Return the beginnings of at least `least` tokens, the shortest first.

    `head` is the model with all that precedes the messages, encoded.
    """
    system = tuple(turn for turn in request.turns if turn.role in SYSTEM_ROLES)
    seen = blake2b(head, digest_size=20)
    tokens, found = _tokens(request, system, offered=True), list[Prefix]()
    for number, turn in enumerate(request.turns):
        if turn.role in SYSTEM_ROLES:
            continue
        calls = [(call.id, call.name, call.arguments) for call in turn.tool_calls]
        for place, part in enumerate(turn.parts):
            if turn.role is Role.USER and tokens >= max(least, _GROWTH * found[-1].tokens if found else 0):
                found.append(Prefix(seen.hexdigest(), tokens, number, place))
            for piece in () if place else (msgspec.json.encode((turn.role, turn.name, turn.tool_call_id, calls)),):
                seen.update(piece)
            for piece in _content(part):
                seen.update(piece)
            tokens += _tokens(request, (msgspec.structs.replace(turn, parts=(part,), tool_calls=()),))
        if not turn.parts:
            seen.update(msgspec.json.encode((turn.role, turn.name, turn.tool_call_id, calls)))
        tokens += _tokens(request, (msgspec.structs.replace(turn, parts=()),)) if calls else 0
    return tuple(found)


class MessageCut(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request, which can be cut behind a beginning."""

    request: GenerationRequest
    message: wire.GenerateContentRequest
    inserts: Inserts
    signed: bool
    """Whether the model wants signatures of its calls."""

    def beginning(self, prefix: Prefix) -> wire.GenerateContentRequest | None:
        """Return the beginning as a request of its own; None: it does not end within this body."""
        place = self._place(prefix)
        if place is None:
            return None
        return msgspec.structs.replace(self.message, contents=divided(self.message.contents, place)[0])

    def rest(self, prefix: Prefix) -> wire.GenerateContentRequest | None:
        """Return what follows the beginning as a request without tools and instructions; None: as `beginning`."""
        place = self._place(prefix)
        if place is None:
            return None
        contents = divided(self.message.contents, place)[1]
        return msgspec.structs.replace(
            self.message, contents=contents, system_instruction=None, tools=(), tool_config=None
        )

    def _place(self, prefix: Prefix) -> tuple[int, int] | None:
        """Return how many messages belong to the beginning, and how many parts of the next one."""
        turns, contents = self.request.turns, self.message.contents
        before = contents_of(turns[: prefix.turns], self.inserts, signed=self.signed)
        number = len(before)
        if number >= len(contents) or contents[:number] != before:
            return None
        own = turns[prefix.turns].parts[: prefix.parts]
        parts = sum(not isinstance(part, TextPart) or part.text != "" for part in own)
        return (number, parts) if parts < len(contents[number].parts) else None


def divided(
    contents: tuple[wire.Content, ...], place: tuple[int, int]
) -> tuple[tuple[wire.Content, ...], tuple[wire.Content, ...]]:
    """Return the messages before and after a place."""
    number, parts = place
    before, after = contents[:number], contents[number:]
    if not parts:
        return before, after
    first, rest = after[0], after[1:]
    begun, left = (msgspec.structs.replace(first, parts=some) for some in (first.parts[:parts], first.parts[parts:]))
    return (*before, begun), (left, *rest)


def _tokens(request: GenerationRequest, turns: tuple[Turn, ...], *, offered: bool = False) -> int:
    """Estimate the tokens of turns, with the tools of the request if they are `offered`."""
    tools = request.tools if offered else None
    alone = msgspec.structs.replace(request, turns=turns, tools=tools, output=None, counted=False)
    files = [part for turn in turns for part in turn.parts if isinstance(part, FilePart)]
    documents = [file.size for file in files if not file.mime.startswith(("text/", "image/"))]
    return prompt_tokens(alone) + sum(documents) // _DOCUMENT_BYTES


def _content(part: TextPart | FilePart | MediaPart) -> Iterator[bytes]:
    """Yield bytes that tell a part from others."""
    match part:
        case TextPart(text):
            data = text.encode("utf-8", "surrogatepass")
            yield f"text {len(data)}\n".encode()
            yield data
        case FilePart():
            yield msgspec.json.encode(("file", part.mime, part.digest.hex()))
        case _:
            yield msgspec.json.encode(part)
