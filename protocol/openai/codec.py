"""Encodes the wire structs of this dialect as JSON."""

import json

import msgspec

_encode = msgspec.json.Encoder().encode


def encode(value: msgspec.Struct | str) -> bytes:
    """Return a struct or a text as JSON; lone surrogates are escaped, since UTF-8 cannot encode them."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()
