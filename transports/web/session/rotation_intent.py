"""What is noted of a rotation before it is begun, so that whoever comes after knows of it; no I/O.

Source: reliability 6.2
"""

import msgspec


class RotationIntent(msgspec.Struct, frozen=True, kw_only=True):
    """A rotation that was begun."""

    fence: int
    owner: str
    started: float
    """Epoch seconds of the store's clock."""
    old_hash: str
    """A fingerprint of the cookies that it was sent with."""
    outcome: str = ""
    """Empty: it is under way, or nobody knows what came of it."""

    @property
    def open(self) -> bool:
        """Whether the site may have given a new value that nobody has: the old one works for its grace only."""
        return self.outcome in {"", "unknown"}


encode_intent = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RotationIntent).decode


def read_intent(value: bytes | None) -> RotationIntent | None:
    """Return what is noted; None where that is nothing, or nothing that can be read."""
    if value is None:
        return None
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return None
