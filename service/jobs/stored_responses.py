"""Responses in the store, by license and id; they expire."""

import re

import structlog

from service.jobs.store import saturated_on_failure
from transports.store import Records, Unreadable
from transports.store.port import RESPONSES

_ID = re.compile(r"[\w-]{1,128}")

_log = structlog.get_logger()


class StoredResponses:
    """Implements `protocol.model.ResponseStore` on the records of the store."""

    def __init__(self, records: Records, retention_seconds: float) -> None:
        """Keep each response for this long after it was stored."""
        self._records, self._seconds = records, retention_seconds

    async def put(self, owner: str, response_id: str, value: bytes) -> None:
        """Store a response, as `ResponseStore.put`."""
        with saturated_on_failure():
            await self._records.put(RESPONSES, f"{owner}/{response_id}", value, seconds=self._seconds)

    async def get(self, owner: str, response_id: str) -> bytes | None:
        """Return a response, as `ResponseStore.get`."""
        if not _ID.fullmatch(response_id):
            return None
        with saturated_on_failure():
            try:
                record = await self._records.get(RESPONSES, f"{owner}/{response_id}")
            except Unreadable as error:
                _log.error("response_unreadable", response=response_id, error=type(error).__name__)
                return None
        return record.value if record is not None else None

    async def remove(self, owner: str, response_id: str) -> bool:
        """Delete a response, as `ResponseStore.remove`."""
        if not _ID.fullmatch(response_id):
            return False
        with saturated_on_failure():
            return await self._records.remove(RESPONSES, f"{owner}/{response_id}")
