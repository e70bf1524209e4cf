"""The base of writers whose answers are always sent piece by piece, in a form without heartbeats.

An answer of this kind may be too long to be in memory as a whole. If it breaks off, so does the connection: clients
would take what they have for all of it.
"""

from abc import ABC, abstractmethod

from protocol.http.embed import Pieces
from protocol.http.stream import StreamFraming
from protocol.model import Event, GatewayError, Reply


def unframed(media_type: bytes) -> StreamFraming:
    """Return the framing of a body of this type, which has no place for heartbeats and errors."""
    return StreamFraming(media_type=media_type, heartbeat=b"", breaks=True)


class PiecewiseWriter(ABC):
    """Writes an answer in pieces (an `AnswerWriter` of `protocol.http.operation`); it is never whole."""

    finished = False

    def opened(self) -> bytes:
        """Return the bytes before the first event."""
        return b""

    @abstractmethod
    def event(self, event: Event) -> bytes:
        """Return the bytes of an event."""

    def error(self, error: GatewayError) -> bytes:
        """Return no bytes: the connection breaks."""
        del error
        return b""

    def whole(self, reply: Reply) -> bytes | Pieces:
        """Refuse: such an answer is streamed."""
        raise NotImplementedError(f"an answer of {type(self).__name__} is streamed, not {type(reply).__name__}")
