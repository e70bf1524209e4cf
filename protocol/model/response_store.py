"""Stores responses with their input, so that a later request can name them instead of sending them back."""

from typing import Protocol


class ResponseStore(Protocol):
    """Stores responses for a while. A license can access only its own, by its `Caller.owner`.

    What a response is, the dialect decides: here it is bytes. Every method raises Saturated if the store failed.
    """

    async def put(self, owner: str, response_id: str, value: bytes) -> None:
        """Store a new or known response."""
        ...

    async def get(self, owner: str, response_id: str) -> bytes | None:
        """Return a response of a license, or None."""
        ...

    async def remove(self, owner: str, response_id: str) -> bool:
        """Delete a response of a license; return whether it existed."""
        ...
