"""Who may administer: tokens by name, from the settings or from files beside them."""

import hmac
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from service.config.loader import Origin, SettingsError
from service.config.schema import Admin, AdminToken

_MIN_LENGTH = 16
_TOKEN = re.compile(rf"[\x21-\x7e]{{{_MIN_LENGTH},256}}")
_PLACEHOLDER = re.compile(r"change.?me|example|sample|placeholder|your.?token|insert|xxxx|\.\.\.|[<>]", re.IGNORECASE)
_MIN_DISTINCT = 6
"""A token of fewer different characters was not made by chance."""


class AdminIdentity(msgspec.Struct, frozen=True):
    """Whose token a request carries."""

    name: str
    read_only: bool

    @property
    def actor(self) -> str:
        """What logs and feeds say of them."""
        return f"admin:{self.name}"


class AdminTokens:
    """The tokens, as digests: how long a look takes says nothing of them."""

    def __init__(self, tokens: Sequence[tuple[str, AdminIdentity]]) -> None:
        """Know these tokens and whose they are."""
        self.known = [(_digest(token.encode()), who) for token, who in tokens]
        """May be replaced by those of others."""

    def identify(self, authorization: bytes) -> AdminIdentity | None:
        """Return who an `Authorization` header is from; every token is looked at, whichever it is."""
        scheme, _, token = authorization.strip().partition(b" ")
        digest, found = _digest(token.strip()), None
        for known, who in self.known:
            if hmac.compare_digest(known, digest):
                found = who
        return found if scheme.lower() == b"bearer" else None


def tokens_of(admin: Admin, origin: Origin) -> AdminTokens:
    """Return the tokens of the settings.

    Raises:
        SettingsError: one of them is missing, too short, a sample, or another one's too; no message shows it.

    """
    found: list[tuple[str, AdminIdentity]] = []
    where = origin.of("admin.tokens")
    for number, one in enumerate(admin.tokens):
        place = f"{where}: admin.tokens[{number}]"
        token = _token(one, place)
        _check(token, place)
        found.append((token, AdminIdentity(one.name, one.read_only)))
    for kind, words in (("name", [who.name for _, who in found]), ("token", [token for token, _ in found])):
        if any(times > 1 for times in Counter(words).values()):
            raise SettingsError(f"{where}: admin.tokens: two of them have the same {kind}")
    return AdminTokens(found)


def _token(one: AdminToken, place: str) -> str:
    if (one.token_file is None) is not bool(one.token):
        raise SettingsError(f"{place}: expected one of token and token_file")
    return one.token if one.token_file is None else _read(one.token_file, f"{place}.token_file")


def _read(path: Path, place: str) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{place}: {path} is not UTF-8") from None


def _check(token: str, place: str) -> None:
    if not _TOKEN.fullmatch(token):
        raise SettingsError(f"{place}: expected {_MIN_LENGTH} to 256 printable ASCII characters without a space")
    if _PLACEHOLDER.search(token) or len(set(token)) < _MIN_DISTINCT:
        advice = "make one of your own, as by `openssl rand -base64 32`"
        raise SettingsError(f"{place}: is a sample and no secret; {advice}")


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
