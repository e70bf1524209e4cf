"""A session as it is kept, and which of two is the newer; no I/O. Source: reliability 6.1."""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from transports.web import wire

_MAX_EARLIER = 32


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An account's session, as the store holds it."""

    seed: str
    """SHA-256 of the export that it began with."""
    cookies: dict[str, str]
    rotated_at: float = 0.0
    """When the call that renewed it was sent, in epoch seconds of the store's clock; 0: never, as far as is known."""
    gen: int = 1
    """Grows with each other export; 0: it is an export that nothing has become of yet."""
    turn: int = 0
    """Grows with each rotation, and with each other rolling cookie: a request is of the turn that it was sent in."""
    ver: int = 0
    """Grows with every change."""
    by: str = ""
    """Which process rotated it last."""
    interval: float = 0.0
    """Seconds from one rotation to the next, as the site last said; 0: it did not say."""
    never: bool = False
    """The site has said that it never rotates this session."""
    earlier: tuple[str, ...] = ()
    """The digests of the exports before this one: who still has one of them has an old one."""

    @property
    def order(self) -> tuple[int, int, float, int]:
        """What grows from one to the next; a rotated value is newer than any merge of what was there before."""
        return (self.gen, self.turn, self.rotated_at, self.ver)

    def __repr__(self) -> str:
        """Show no cookie."""
        return f"Saved(gen={self.gen!r}, turn={self.turn!r}, ver={self.ver!r}, rotated_at={self.rotated_at!r})"


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(SessionRecord).decode


def from_export(cookies: dict[str, str]) -> SessionRecord:
    """Return the session that an export begins."""
    digest = sha256(msgspec.json.encode(sorted(cookies.items()))).hexdigest()
    return SessionRecord(seed=digest, cookies=cookies, gen=0)


def restart_from_export(seed: SessionRecord, there: SessionRecord) -> SessionRecord:
    """Return the session of another export than the one that is there: it goes on from its numbers."""
    return msgspec.structs.replace(
        seed,
        gen=there.gen + 1,
        turn=there.turn + 1,
        ver=there.ver + 1,
        earlier=tuple(dict.fromkeys((*seed.earlier, *there.earlier, there.seed)))[-_MAX_EARLIER:],
    )


def resolve(mine: SessionRecord, seed: SessionRecord, stored: SessionRecord) -> SessionRecord | None:
    """Return what is to be put in the place of what is stored; None: that holds. `seed` is what is mounted here."""
    if includes_export(stored, seed) or mine.gen > stored.gen:
        if mine.order <= stored.order or mine.gen == 0:
            return None
        return msgspec.structs.replace(mine, ver=max(mine.ver, stored.ver + 1))
    return restart_from_export(mine if mine.seed == seed.seed else seed, stored)


def includes_export(saved: SessionRecord, seed: SessionRecord) -> bool:
    """Say whether a session began with this export, or with one after it."""
    return seed.seed == saved.seed or seed.seed in saved.earlier


def newer(one: SessionRecord, other: SessionRecord) -> SessionRecord:
    """Return the newer of two."""
    return one if one.order > other.order else other


def same_credentials(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Say whether the cookies that sign in are the same."""
    return all(one.get(name) == other.get(name) for name in (wire.PSID, wire.PSIDTS))


def fingerprint(cookies: Mapping[str, str]) -> str:
    """Return a digest of the cookies that sign in."""
    signing = "\n".join(cookies.get(name, "") for name in (wire.PSID, wire.PSIDTS))
    return sha256(signing.encode()).hexdigest()
