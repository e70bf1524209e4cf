"""Sealed links to media: what is behind one is encrypted inside it, so that any replica can serve it, without state.

A link holds the upstream's place, the license it was made for and when it ends, under AEAD: nobody can read,
change or make one. Whoever has a link may open it until then, as with any shared link.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from protocol.http.context import AS_IT_IS, Look
from protocol.model import Caller, MediaRef
from transports.clock import Clock

if TYPE_CHECKING:  # imported with the first link: it takes 10 ms and 6 MiB
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PATH = "/media/"
_NONCE_BYTES = 12
_CONTEXT = b"gemini-gateway media link 1"
_END = re.compile("[?#]")
LONGEST = 8192
"""Characters of a token."""


class SignedUrl(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a link holds."""

    ref: MediaRef
    license: str
    expires: int
    """Epoch seconds."""
    look: Look


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SignedUrl).decode


class UrlSigner:
    """Makes and opens what links hold."""

    def __init__(self, key: bytes, clock: Clock, seconds: float) -> None:
        """Use a key of 32 bytes; links last `seconds`."""
        self._keys, self._clock, self._seconds = [key], clock, seconds

    def adopt(self, key: bytes) -> None:
        """Make links with another key from now on; those of the earlier one still open here."""
        self._keys.insert(0, key)

    def token(self, ref: MediaRef, license_id: str, look: Look) -> str:
        """Return a link's token, fit for a URL's path."""
        expires = int(self._clock.wall() + self._seconds)
        plain = _encode(SignedUrl(ref=ref, license=license_id, expires=expires, look=look))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        encrypted = nonce + _cipher(self._keys[0]).encrypt(nonce, plain, _CONTEXT)
        return _text(encrypted)

    def open(self, token: str) -> SignedUrl | None:
        """Return what a token holds; None where it is not ours, was changed, or has ended."""
        if len(token) > LONGEST or not token.isascii():
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if _text(raw) != token:  # other letters that stand for the same bytes
                return None
            signed = self._opened(raw)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            return None
        return signed if signed is not None and self._clock.wall() < signed.expires else None

    def _opened(self, raw: bytes) -> SignedUrl | None:
        from cryptography.exceptions import InvalidTag

        for key in self._keys:
            try:
                return _decode(_cipher(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _CONTEXT))
            except InvalidTag:
                continue
        return None


@lru_cache(maxsize=8)
def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _text(encrypted: bytes) -> str:
    return base64.urlsafe_b64encode(encrypted).decode().rstrip("=")


class MediaUrls:
    """Links below one address (`protocol.http.context.Links`)."""

    def __init__(self, seal: UrlSigner, base: Callable[[], str]) -> None:
        """Put links below what `base` returns, as `https://host/prefix`; most requests need no link, nor call it."""
        self._seal, self._base = seal, base

    def sign(self, ref: MediaRef, caller: Caller, look: Look = AS_IT_IS) -> str:
        """Return a link for this caller."""
        return f"{self._base()}{PATH}{self._seal.token(ref, caller.id, look)}"

    def open(self, url: str, caller: Caller) -> MediaRef | None:
        """Return what is behind a link made for this caller; None where it is no such link."""
        _, found, token = url.partition(PATH)
        signed = self._seal.open(_END.split(token, maxsplit=1)[0]) if found else None
        return signed.ref if signed is not None and signed.license == caller.id else None

    def ours(self, url: str) -> bool:
        """Say whether a URL is where such links lead, whether or not it opens."""
        return url.startswith(self._base() + PATH)
