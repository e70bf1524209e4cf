"""Conversations that an upstream keeps and a later request can continue."""

from typing import Protocol

import msgspec


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that an upstream keeps, to be gone on with."""

    account: str
    conversation: bytes
    """The transport's own words for where it is."""


class ConversationStore(Protocol):
    """Remembers by a key, which whoever may go on with it can work out, the conversations that upstreams keep.

    It may forget any of them at any time but for `overdue`, which names what the upstream should forget too.
    Every method may raise OSError when the store is out of order.
    """

    async def keep(self, key: bytes, kept: Kept, *, seconds: float) -> None:
        """Remember a conversation for so long; another one that the key led to is overdue."""
        ...

    async def whose(self, key: bytes) -> str | None:
        """Return the account of the conversation of this key, if there is one to be gone on with."""
        ...

    async def take(self, key: bytes, account: str) -> Kept | None:
        """Return the account's conversation of this key and forget it: nobody else goes on with it from here."""
        ...

    async def overdue(self, account: str, *, most: int) -> list[Kept]:
        """Return conversations of an account whose time is over, and forget them; `most` of them at once."""
        ...
