"""Writes an interaction as a stream of server-sent events, from any event on, with the faults that a prompt orders.

Source: "Interactions".
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from transports.clock import Clock
from transports.simulator.api.answer_stream import CUT
from transports.simulator.api.interaction_record import InteractionRecord
from transports.simulator.api.rpc_errors import invalid
from transports.simulator.prompt_directives import PromptScript

_DONE = b"event: done\ndata: [DONE]\n\n"
_ERROR = {"event_type": "error", "error": {"code": "internal", "message": "The (simulated) stream broke."}}
_FOREVER = 86400.0
_EVENT_ID = "ev-"


def place_after(event_id: str | None) -> int:
    """Return the number of the event that follows the one with this id.

    Raises:
        ApiRefusal: the id is not one that a stream has sent.

    """
    if not event_id:
        return 0
    number = event_id.removeprefix(_EVENT_ID)
    if not (number.isascii() and number.isdecimal()):
        raise invalid("'last_event_id' is not valid.")
    return int(number) + 1


async def event_stream(
    record: InteractionRecord, place: int, script: PromptScript, clock: Clock
) -> AsyncIterator[bytes | None]:
    """Yield the events from a place on, `CUT` where the connection breaks."""
    for number, streamed in list(enumerate(record.events()))[place:]:
        if script.stall_after == number:
            await clock.sleep(_FOREVER)
        broken = broken_end(script, number)
        if broken is not None:
            for piece in broken:
                yield piece
            return
        await clock.sleep(max(0.0, record.begun + streamed.at - clock.wall()))
        if record.cancelled is not None:
            yield _framed(record.status_event("cancelled"), number)
            break
        yield _framed(streamed.event, number)
    yield _DONE


def broken_end(script: PromptScript, number: int) -> list[bytes | None] | None:
    """Return what comes in place of an event and all that follow; None: the event."""
    if script.drop_after == number:
        return [CUT]
    if script.eof_after == number:
        return []
    if script.garbage_after == number:
        return [b"data: {this is not JSON\n\n"]
    if script.error is not None and number >= max(1, script.after):
        return [_framed(_ERROR, number), _DONE]
    return None


def _framed(event: dict[str, Any], number: int) -> bytes:
    data = msgspec.json.encode(event | {"event_id": f"{_EVENT_ID}{number}"})
    return f"event: {event['event_type']}\ndata: ".encode() + data + b"\n\n"
