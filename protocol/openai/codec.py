"""Encodes this dialect's wire structs."""

import json

import msgspec

_encode = msgspec.json.Encoder().encode


def encode(value: msgspec.Struct | str) -> bytes:
    """Return a struct or a text as JSON; a lone surrogate, which only an escape can carry, is escaped."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()
