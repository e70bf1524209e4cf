"""Conversations that an upstream keeps and a later request can continue."""

from typing import Protocol

import msgspec


class StoredConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that an upstream keeps and that a later request can continue."""

    account: str
    conversation: bytes
    """The transport's own words for where it is."""


class ConversationStore(Protocol):
    """Stores the conversations that upstreams keep, by a key that the request which continues one can compute.

    A conversation may be lost at any time. `overdue` returns those that the upstream should delete too.
    Every method may raise OSError: the store cannot be used.
    """

    async def keep(self, key: bytes, kept: StoredConversation, *, seconds: float) -> None:
        """Store a conversation for `seconds`; an earlier one under the same key becomes overdue."""
        ...

    async def account_of(self, key: bytes) -> str | None:
        """Return the account of the conversation under this key; None if there is none to continue."""
        ...

    async def take(self, key: bytes, account: str) -> StoredConversation | None:
        """Remove and return the account's conversation under this key, so that no other request continues it."""
        ...

    async def overdue(self, account: str, *, most: int) -> list[StoredConversation]:
        """Remove and return up to `most` conversations of an account whose time is over."""
        ...
