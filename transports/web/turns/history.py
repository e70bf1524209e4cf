"""Computes the key that matches a request's history with a conversation stored by the site. No I/O.

A conversation is identified by its caller, its model and all turns in it. A request whose history, up to the last
answer, has the same key continues that conversation and sends only its new turns; any other request sends all turns.
Empty lines, trailing white space and the Markdown with which this gateway shows generated media do not matter; the
media themselves do.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec

from protocol.model import FilePart, GenerationRequest, MediaPart, MediaRef, Role, TextPart, Turn

_SHOWN = re.compile(
    r"""
    !\[(?:\\.|[^\[\]\\])*\]\([^\s()]*\)  # an image at any address
    | \[(?:\\.|[^\[\]\\])*\]\(https?://[^\s()]*/media/[\w-]+\)  # a video or audio link of this gateway
    """,
    re.VERBOSE,
)
"""Media in an answer, as this gateway writes them: brackets and parentheses are escaped."""

_encode = msgspec.msgpack.Encoder().encode


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A request's turns, split into the known history and the new turns."""

    known: tuple[Turn, ...]
    fresh: tuple[Turn, ...]


def split(turns: tuple[Turn, ...]) -> Split | None:
    """Split turns after the last answer; None if there is no answer or no turn after it."""
    last = max((index for index, turn in enumerate(turns) if turn.role is Role.ASSISTANT), default=-1)
    if last < 0 or last == len(turns) - 1:
        return None
    return Split(known=turns[: last + 1], fresh=turns[last + 1 :])


def key_of(request: GenerationRequest, turns: tuple[Turn, ...]) -> bytes:
    """Return the key of the conversation that holds `turns`, for this request's caller and model alone."""
    digest = blake2b(digest_size=32)
    digest.update(_encode([request.caller.id, request.selection.id]))
    for turn in turns:
        found = turn.digests.get(__name__)
        if found is None:
            said = _encode([turn.role.value, turn.name, turn.tool_call_id, *_calls(turn), *_content(turn)])
            found = turn.digests[__name__] = blake2b(said, digest_size=32).digest()
        digest.update(found)
    return digest.digest()


def answered(request: GenerationRequest, text: str, shown: Iterable[MediaRef] = ()) -> tuple[Turn, ...]:
    """Return the turns of a conversation in which the request was answered with `text`, and media."""
    parts = (TextPart(text=text), *(MediaPart(ref=ref) for ref in shown))
    return (*request.turns, Turn(role=Role.ASSISTANT, parts=parts))


def _calls(turn: Turn) -> Iterator[list[str]]:
    for call in turn.tool_calls:
        yield [call.id, call.name, call.arguments]


def _content(turn: Turn) -> Iterator[str | bytes]:
    """Yield a turn's text, and digests or references of its files and media."""
    text = turn.text
    if turn.role is Role.ASSISTANT and "](" in text:
        text = _SHOWN.sub("\n", text)
    said = "\n".join(line.rstrip() for line in text.splitlines() if line.strip()).strip()
    yield (
        said if said.isascii() else said.encode("utf-8", "replace").decode()
    )  # half of a surrogate pair cannot be encoded
    for part in turn.parts:
        if isinstance(part, FilePart):
            yield part.digest
        elif isinstance(part, MediaPart):
            yield _encode(part.ref)
