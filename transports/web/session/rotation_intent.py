"""The record of a rotation that is stored before its call, for a replica that takes over. No I/O.

Source: reliability 6.2
"""

import msgspec


class RotationIntent(msgspec.Struct, frozen=True, kw_only=True):
    """A rotation that was started, and its outcome."""

    fence: int
    owner: str
    started: float
    """Epoch seconds of the store's clock."""
    old_hash: str
    """Fingerprint of the cookies sent with the call."""
    outcome: str = ""
    """Empty while the call runs, or if its process ended before it wrote the outcome."""

    @property
    def open(self) -> bool:
        """Whether the site may have issued a new value that was not saved; the old one works for its grace period."""
        return self.outcome in {"", "unknown"}


encode_intent = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RotationIntent).decode


def read_intent(value: bytes | None) -> RotationIntent | None:
    """Decode a stored intent; return None if it is missing or unreadable."""
    if value is None:
        return None
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return None
