"""A conversation as the one text that a fresh turn of the site takes; no I/O.

A single user message goes as it is. Anything longer is laid out as blocks with their role, every character
kept, so that the model can tell who said what. A fence longer than any run of backticks inside keeps blocks apart.
"""

import re

from protocol.model import Role, Turn
from transports.web.errors import too_long

MAX_PROMPT_BYTES = 130_000
"""Longer text is silently cut by the site. Source: "Field notes"."""

_OPENING = (
    "The following is a conversation. Each message stands in its own block, headed by its role. "
    "Follow the system and developer messages, and answer the last message as the assistant."
)
_SHORTEST_FENCE = 4
_BACKTICKS = re.compile("`+")


def flatten(turns: tuple[Turn, ...]) -> str:
    """Return the prompt of a conversation.

    Raises:
        BadRequest: it is longer than the site reads (`context_length_exceeded`).

    """
    last = turns[-1]
    if len(turns) == 1 and last.role is Role.USER and last.name is None:
        prompt = last.text
    else:
        fence = "`" * max(_SHORTEST_FENCE, 1 + max(map(_longest_run, turns)))
        prompt = "\n\n".join([_OPENING, *(_block(turn, fence) for turn in turns)])
    if len(prompt.encode("utf-8", "surrogatepass")) > MAX_PROMPT_BYTES:
        raise too_long(MAX_PROMPT_BYTES)
    return prompt


def _longest_run(turn: Turn) -> int:
    texts = [turn.text, *(call.arguments for call in turn.tool_calls)]
    return max((len(run) for text in texts for run in _BACKTICKS.findall(text)), default=0)


def _block(turn: Turn, fence: str) -> str:
    heading = turn.role.value
    if turn.name:
        heading += f" (name: {turn.name})"
    if turn.tool_call_id:
        heading += f" (result of call {turn.tool_call_id})"
    calls = "".join(
        f"\n{fence}assistant calls {call.name} (call {call.id})\n{call.arguments}\n{fence}" for call in turn.tool_calls
    )
    body = turn.text
    if not body and calls:
        return calls.removeprefix("\n")
    return f"{fence}{heading}\n{body}\n{fence}{calls}"
