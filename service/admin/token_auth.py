"""Authenticates admin API requests by named tokens, from the settings or from token files."""

import hmac
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from protocol.http.context import context_of
from protocol.model import Unauthorized
from service.admin.errors import refusal
from service.config.loader import Origin, SettingsError
from service.config.schema import AdminSettings, AdminTokenSettings
from service.config.secret_strength import MIN_LENGTH
from service.config.secrets import check_strength, read_secret

IDENTITY = "gemini_gateway.who"
"""Key of the ASGI scope that has the `AdminIdentity` of a request."""
_TOKEN = re.compile(rf"[\x21-\x7e]{{{MIN_LENGTH},256}}")


class AdminIdentity(msgspec.Struct, frozen=True):
    """Name and permission of the token that a request carries."""

    name: str
    read_only: bool

    @property
    def actor(self) -> str:
        """Name in logs and in the feed."""
        return f"admin:{self.name}"


class AdminTokens:
    """The known tokens, stored as digests and compared in constant time."""

    def __init__(self, tokens: Sequence[tuple[str, AdminIdentity]]) -> None:
        """Store the digests of these tokens with their identities."""
        self.known = [(_digest(token.encode()), who) for token, who in tokens]
        """Digests and identities; a reload replaces them."""

    def identify(self, authorization: bytes) -> AdminIdentity | None:
        """Return the identity for an `Authorization` header; it compares every token, to take constant time."""
        scheme, _, token = authorization.strip().partition(b" ")
        digest, found = _digest(token.strip()), None
        for known, who in self.known:
            if hmac.compare_digest(known, digest):
                found = who
        return found if scheme.lower() == b"bearer" else None


class TokenAuth:
    """Middleware that refuses every request without a valid admin token, before it looks at the path."""

    def __init__(self, app: Any, tokens: AdminTokens) -> None:
        """Let requests with one of `tokens` through to `app`."""
        self._app, self._tokens = app, tokens

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Put the identity into the scope, or answer 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        who = self._tokens.identify(sent[0]) if len(sent) == 1 else None
        if who is not None:
            scope[IDENTITY] = who
            await self._app(scope, receive, send)
            return
        error = Unauthorized("Send an admin token as 'Authorization: Bearer <token>'.", code="unauthorized")
        context_of(scope).record.error = error.code
        await refusal(error)(scope, receive, send)


def tokens_of(admin: AdminSettings, origin: Origin, *, strict: bool = False) -> AdminTokens:
    """Read and check the tokens of the settings; messages never show a token. `strict` refuses all that can be guessed.

    Raises:
        SettingsError: a token is missing, too short, can be guessed, or is used twice.

    """
    found: list[tuple[str, AdminIdentity]] = []
    where = origin.of("admin.tokens")
    for number, one in enumerate(admin.tokens):
        setting = f"{where}: admin.tokens[{number}]"
        found.append((_read_token(one, setting, strict=strict), AdminIdentity(one.name, one.read_only)))
    for kind, values in (("name", [who.name for _, who in found]), ("token", [token for token, _ in found])):
        if any(times > 1 for times in Counter(values).values()):
            raise SettingsError(f"{where}: admin.tokens: two entries have the same {kind}")
    return AdminTokens(found)


def _read_token(one: AdminTokenSettings, setting: str, *, strict: bool) -> str:
    if (one.token_file is None) is not bool(one.token):
        raise SettingsError(f"{setting}: set either token or token_file")
    token = one.token if one.token_file is None else read_secret(one.token_file, f"{setting}.token_file")
    if not _TOKEN.fullmatch(token):
        raise SettingsError(f"{setting}: expected {MIN_LENGTH} to 256 printable ASCII characters without spaces")
    check_strength(token, setting, strict=strict)
    return token


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
