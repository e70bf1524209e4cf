"""Lays out a conversation as one prompt and its attached files, for a new turn at the site. No I/O.

A single user message is sent unchanged. Several messages become fenced blocks headed by their role, with every
character kept. The fence is longer than any run of backticks inside. If the prompt is too long, the oldest blocks move
to an attached text file.
"""

import re
from collections.abc import Iterator

import msgspec

from protocol.model import Capability, FilePart, GenerationRequest, MediaPart, Role, Turn
from transports.web.errors import too_long
from transports.web.turns.tool_calls import NONE, Instructions

MAX_PROMPT_BYTES = 130_000
"""Longer text is silently cut by the site. Source: "Field notes"."""
MAX_FILES = 10
"""The most files that the site takes with one turn."""
MAX_HISTORY_BYTES = 160_000
"""The site reads this much of an attached text file. Source: "Field notes"."""

_OPENING = (
    "The following is a conversation. Each message stands in its own block, headed by its role. "
    "Follow the system and developer messages, and "
)
_ANSWER = "answer the last message as the assistant."
_ANSWER_OTHER = "answer the last of the other messages as the assistant."
_CONTINUE = "continue the last message, which is the beginning of the assistant's answer: write only what follows it."
_INSTRUCTING = frozenset({Role.SYSTEM, Role.DEVELOPER})
_HISTORY = "conversation-so-far.txt"
_EARLIER = f"The conversation begins in the attached file {_HISTORY}, in the same form; read it first."
_SHORTEST_FENCE = 4
_LONG_RUN = "`" * _SHORTEST_FENCE
_LONG_RUNS = re.compile(_LONG_RUN + "+")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\"\[\]/\\]+")
_LONGEST_NAME = 80
_EXTENSIONS = {"image": "png", "video": "mp4", "audio": "mp3"}


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """An attached file, and the name that the prompt uses for it."""

    name: str
    part: FilePart | MediaPart


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt and the attached files of one turn."""

    prompt: str
    attached: tuple[Attached, ...] = ()


def lay_out(request: GenerationRequest, instructions: Instructions = NONE, *, files: bool = True) -> Layout:
    """Return a request's conversation as one turn, with the instructions for tools and structured output.

    `files`: whether files can be attached.

    Raises:
        BadRequest: the conversation is longer than the site reads (`context_length_exceeded`).

    """
    turns = request.turns
    most = MAX_PROMPT_BYTES + (MAX_HISTORY_BYTES if files else 0)
    length = sum(len(text) for turn in turns for text in _texts(turn))
    if length > most:
        raise too_long(length, most)
    attached = _attached(turns)
    wish = f"\n\n{instructions.closing}" if instructions.closing else ""
    if request.aspect is not None and request.selection.capability is Capability.IMAGEN:
        width, height = request.aspect
        wish += f"\n\nAspect ratio: {width}:{height}."
    last = turns[-1]
    opening = _opening(turns)
    if instructions.opening:
        opening = f"{instructions.opening}\n\n{opening}"
    if len(turns) == 1 and last.role is Role.USER and last.name is None and not instructions.opening:
        if (size := _size(last.text) + _size(wish)) > MAX_PROMPT_BYTES:
            raise too_long(size, MAX_PROMPT_BYTES)
        return Layout(prompt=last.text + wish, attached=tuple(one for _, one in attached))
    names = dict.fromkeys(one.name for _, one in reversed(attached))
    kept = frozenset(list(names)[:MAX_FILES])  # the newest
    carried = tuple(one for _, one in attached if one.name in kept)
    runs = [run for turn in turns for text in _texts(turn) if _LONG_RUN in text for run in _LONG_RUNS.findall(text)]
    fence = "`" * (1 + max([_SHORTEST_FENCE - 1, *map(len, runs)]))
    marks = [
        [
            f"[attached: {one.name}]" if one.name in kept else f"[attached earlier, and not sent again: {one.name}]"
            for owner, one in attached
            if owner == index
        ]
        for index in range(len(turns))
    ]
    calling = instructions.marker or "assistant calls"
    blocks = [_block(turn, fence, marks[index], calling) for index, turn in enumerate(turns)]
    prompt = "\n\n".join([opening, *blocks]) + wish
    if (size := _size(prompt)) <= MAX_PROMPT_BYTES:
        return Layout(prompt=prompt, attached=carried)
    if not files:
        raise too_long(size, MAX_PROMPT_BYTES)
    prompt, history = _split(turns, blocks, opening, wish)
    part = FilePart(data=history.encode("utf-8", "replace"), mime="text/plain", name=_HISTORY)
    return Layout(prompt=prompt, attached=(Attached(name=_HISTORY, part=part), *carried))


def _opening(turns: tuple[Turn, ...]) -> str:
    """Return the words before a conversation, which say what to do with its last message."""
    last = turns[-1]
    if last.role is Role.ASSISTANT and not last.tool_calls:
        return _OPENING + _CONTINUE
    others = last.role in _INSTRUCTING and any(turn.role not in _INSTRUCTING for turn in turns)
    return _OPENING + (_ANSWER_OTHER if others else _ANSWER)


def _split(turns: tuple[Turn, ...], blocks: list[str], opening: str, wish: str) -> tuple[str, str]:
    """Return the prompt with the newest blocks that fit, and the older blocks as text.

    Leading system messages stay in the prompt if they leave room for the rest.
    """
    sizes = [_size(block) + 2 for block in blocks]
    leading = next((i for i, turn in enumerate(turns) if turn.role not in _INSTRUCTING), 0)
    pinned = leading if sum(sizes[:leading]) <= MAX_PROMPT_BYTES // 2 else 0
    room = MAX_PROMPT_BYTES - _size(opening) - _size(_EARLIER) - _size(wish) - 4 - sum(sizes[:pinned])
    first = len(blocks)
    while first > pinned and sizes[first - 1] <= room:
        first -= 1
        room -= sizes[first]
    if first == len(blocks):  # the last message alone is too long
        raise too_long(MAX_PROMPT_BYTES - room + sizes[-1], MAX_PROMPT_BYTES)
    history = "\n\n".join(blocks[pinned:first])
    if (size := _size(history)) > MAX_HISTORY_BYTES:
        raise too_long(MAX_PROMPT_BYTES + size, MAX_PROMPT_BYTES + MAX_HISTORY_BYTES)
    prompt = "\n\n".join([opening, *blocks[:pinned], _EARLIER, *blocks[first:]])
    return prompt + wish, history


def _attached(turns: tuple[Turn, ...]) -> list[tuple[int, Attached]]:
    """Return the files with the index of their turn; each distinct content gets a unique name."""
    named: dict[object, str] = {}
    taken = {_HISTORY}
    found: list[tuple[int, Attached]] = []
    for index, turn in enumerate(turns):
        for part in turn.parts:
            if not isinstance(part, FilePart | MediaPart):
                continue
            content = part.digest if isinstance(part, FilePart) else part.ref
            if content not in named:
                name = f"{part.ref.kind}.{_EXTENSIONS[part.ref.kind]}" if isinstance(part, MediaPart) else ""
                if isinstance(part, FilePart):
                    name = _UNFIT.sub("_", part.name).strip(" .")[-_LONGEST_NAME:] or "file"
                stem, dot, extension = name.rpartition(".")
                if not dot:
                    stem, extension = name, ""
                number, free = 1, name
                while free in taken:
                    number += 1
                    free = f"{stem}-{number}{dot}{extension}"
                named[content] = free
                taken.add(named[content])
            found.append((index, Attached(name=named[content], part=part)))
    return found


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _texts(turn: Turn) -> Iterator[str]:
    """Yield every text of a turn that its block contains."""
    yield turn.text
    yield from (turn.name or "", turn.tool_call_id or "")
    for call in turn.tool_calls:
        yield from (call.arguments, call.name, call.id)


def _line(text: str) -> str:
    """Return a name on one line, for a heading."""
    if "\n" not in text and "\r" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _block(turn: Turn, fence: str, marks: list[str], calling: str) -> str:
    """Return a turn as a block; `calling` stands before the name of each tool that it calls."""
    heading = turn.role.value
    if turn.name:
        heading += f" (name: {_line(turn.name)})"
    if turn.tool_call_id:
        heading += f" (result of call {_line(turn.tool_call_id)})"
    calls = "".join(
        f"\n{fence}{calling} {_line(call.name)} (call {_line(call.id)})\n{call.arguments}\n{fence}"
        for call in turn.tool_calls
    )
    files = list(dict.fromkeys(marks))
    body = "\n".join([*files, turn.text] if turn.text else files)
    if not body and calls:
        return calls.removeprefix("\n")
    return f"{fence}{heading}\n{body}\n{fence}{calls}"
