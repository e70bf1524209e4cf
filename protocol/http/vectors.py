"""Reads the numbers of `protocol.model.Vector`."""

import math
import struct


def numbers_of(vector: bytes) -> tuple[float, ...]:
    """Return the numbers of a vector."""
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def at_length_one(vector: bytes) -> bytes:
    """Return a vector in its direction with the length 1; upstreams shorten vectors without that."""
    numbers = numbers_of(vector)
    length = math.hypot(*numbers) or 1.0
    return struct.pack(f"<{len(numbers)}f", *(number / length for number in numbers))
