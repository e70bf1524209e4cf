"""Makes and opens signed media URLs. The token in the URL is encrypted, so that any process can serve it, statelessly.

A token holds the upstream's URL, the license it was made for and its expiry, encrypted and authenticated with AES-GCM:
it cannot be read, changed or forged without the key. Until it expires, anyone who has the URL can open it.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from protocol.http.context import UNCHANGED, ImageFormat
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
    """The content of a token."""

    ref: MediaRef
    owner: str
    """The `Caller.owner` of the license that it was made for."""
    expires: int
    """Epoch seconds."""
    image_format: ImageFormat


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SignedUrl).decode


class UrlSigner:
    """Encrypts and decrypts tokens."""

    def __init__(self, key: bytes, clock: Clock, seconds: float) -> None:
        """Use a key of 32 bytes; tokens are valid for `seconds`."""
        self._keys, self._clock, self._seconds = [key], clock, seconds

    def adopt(self, key: bytes) -> None:
        """Use another key for new tokens; tokens of earlier keys can still be opened here."""
        self._keys.insert(0, key)

    def token(self, ref: MediaRef, owner: str, image_format: ImageFormat) -> str:
        """Return a token, safe in a URL's path."""
        expires = int(self._clock.wall() + self._seconds)
        plain = _encode(SignedUrl(ref=ref, owner=owner, expires=expires, image_format=image_format))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        encrypted = nonce + _cipher(self._keys[0]).encrypt(nonce, plain, _CONTEXT)
        return _text(encrypted)

    def open(self, token: str) -> SignedUrl | None:
        """Return the content of a token; None if it is invalid or has expired."""
        from cryptography.exceptions import InvalidTag

        if len(token) > LONGEST or not token.isascii():
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if _text(raw) != token:  # a different encoding of the same bytes
            return None
        for key in self._keys:
            try:
                signed = _decode(_cipher(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _CONTEXT))
            except InvalidTag:
                continue
            except (ValueError, msgspec.MsgspecError):
                return None
            return signed if self._clock.wall() < signed.expires else None
        return None


@lru_cache(maxsize=8)
def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _text(encrypted: bytes) -> str:
    return base64.urlsafe_b64encode(encrypted).decode().rstrip("=")


class MediaUrls(msgspec.Struct, frozen=True):
    """Signed media URLs below the public address of a request (`protocol.http.context.Links`)."""

    signer: UrlSigner
    base: Callable[[Any], str]
    """Returns the base URL for an ASGI scope, such as `https://host/prefix`."""
    scope: Any

    def sign(self, ref: MediaRef, caller: Caller, image_format: ImageFormat = UNCHANGED) -> str:
        """Return a signed URL for this caller."""
        return f"{self.base(self.scope)}{PATH}{self.signer.token(ref, caller.owner, image_format)}"

    def open(self, url: str, caller: Caller) -> MediaRef | None:
        """Return the media of a URL that was signed for this caller and that it may use; else None."""
        _, found, token = _END.split(url, maxsplit=1)[0].rpartition(PATH)
        signed = self.signer.open(token) if found else None
        if signed is None or signed.owner != caller.owner or not caller.includes(signed.ref.feature):
            return None
        return signed.ref

    def absolute(self, path: str) -> str:
        """Return the public URL of a path of the API."""
        return self.base(self.scope) + path

    def ours(self, url: str) -> bool:
        """Return whether a URL points to this gateway's media, valid or not."""
        return url.startswith(self.base(self.scope) + PATH)
