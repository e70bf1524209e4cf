"""The stored form of a session, and the order of two records. No I/O. Source: reliability 2.1."""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from transports.web import wire

_MAX_EARLIER = 32


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An account's session as stored."""

    seed: str
    """SHA-256 of the cookie export that the session started from."""
    cookies: dict[str, str]
    rotated_at: float = 0.0
    """Epoch second, by the store's clock, when the last rotation call was sent; 0: no known rotation."""
    gen: int = 1
    """Incremented by each new export; 0: an export that was not stored yet."""
    turn: int = 0
    """Incremented by each rotation and each new rolling cookie; a request belongs to the turn it was sent in."""
    ver: int = 0
    """Incremented by every change."""
    by: str = ""
    """The process that rotated it last."""
    interval: float = 0.0
    """Seconds between rotations, as the site last asked; 0: it named none."""
    never: bool = False
    """Whether the site refuses to rotate this session."""
    earlier: tuple[str, ...] = ()
    """Digests of earlier exports; a process that still has one of these has an outdated file."""

    @property
    def order(self) -> tuple[int, int, float, int]:
        """Sort key, oldest first; a rotated value is newer than any merge of the value before it."""
        return (self.gen, self.turn, self.rotated_at, self.ver)

    def __repr__(self) -> str:
        """Leave the cookies out."""
        return f"SessionRecord(gen={self.gen!r}, turn={self.turn!r}, ver={self.ver!r}, rotated_at={self.rotated_at!r})"


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(SessionRecord).decode


def from_export(cookies: dict[str, str]) -> SessionRecord:
    """Return the record of a new export."""
    digest = sha256(msgspec.json.encode(sorted(cookies.items()))).hexdigest()
    return SessionRecord(seed=digest, cookies=cookies, gen=0)


def restart_from_export(seed: SessionRecord, stored: SessionRecord) -> SessionRecord:
    """Return the record of a new export that replaces `stored`; its numbers continue from there."""
    return msgspec.structs.replace(
        seed,
        gen=stored.gen + 1,
        turn=stored.turn + 1,
        ver=stored.ver + 1,
        earlier=tuple(dict.fromkeys((*seed.earlier, *stored.earlier, stored.seed)))[-_MAX_EARLIER:],
    )


def resolve(mine: SessionRecord, seed: SessionRecord, stored: SessionRecord) -> SessionRecord | None:
    """Return the record that replaces `stored`, or None to keep it; `seed` is this process's export."""
    if includes_export(stored, seed) or mine.gen > stored.gen:
        if mine.order <= stored.order or mine.gen == 0:
            return None
        return msgspec.structs.replace(mine, ver=max(mine.ver, stored.ver + 1))
    return restart_from_export(mine if mine.seed == seed.seed else seed, stored)


def includes_export(saved: SessionRecord, seed: SessionRecord) -> bool:
    """Return whether the session started from this export or from a later one."""
    return seed.seed == saved.seed or seed.seed in saved.earlier


def newer(one: SessionRecord, other: SessionRecord) -> SessionRecord:
    """Return the newer of two records."""
    return one if one.order > other.order else other


def same_credentials(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether two cookie sets have the same sign-in cookies."""
    return all(one.get(name) == other.get(name) for name in (wire.PSID, wire.PSIDTS))


def fingerprint(cookies: Mapping[str, str]) -> str:
    """Return a digest of the sign-in cookies."""
    credentials = "\n".join(cookies.get(name, "") for name in (wire.PSID, wire.PSIDTS))
    return sha256(credentials.encode()).hexdigest()
