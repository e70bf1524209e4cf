"""A whole answer: the fold of its events. There is no second path to one."""

from collections.abc import AsyncIterable

import msgspec

from protocol.model.errors import UpstreamFailed
from protocol.model.event import Event, Finish, FinishReason, Text, Thought, Usage


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange, folded."""

    text: str
    thoughts: str
    finish: FinishReason
    usage: Usage


async def fold(events: AsyncIterable[Event]) -> Reply:
    """Fold events into the whole answer.

    Raises:
        UpstreamFailed: the events ended without `Finish`.

    """
    text: list[str] = []
    thoughts: list[str] = []
    async for event in events:
        match event:
            case Text():
                text.append(event.text)
            case Thought():
                thoughts.append(event.text)
            case Finish():
                return Reply(
                    text="".join(text),
                    thoughts="".join(thoughts),
                    finish=event.reason,
                    usage=event.usage,
                )
            case _:
                pass
    raise UpstreamFailed("The upstream ended its answer before it was complete.", code="upstream_truncated")
