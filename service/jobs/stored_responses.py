"""Responses in the store, by license and id; they expire, and the oldest of a license make room for new ones.

Each response has an index entry with its size in the key, so that the keys alone say how much a license has stored. Ids
begin with the time, so that the keys are sorted by age.

Example: `resp_1` of the license `me` has 2,000 bytes. Its record has the key `me/resp_1`, its index entry
`me/resp_1/2000`.
"""

import re
from collections import Counter

import structlog

from service.config.schema import ResponseSettings
from service.jobs.store import saturated_on_failure
from transports.store import Change, Records, Unreadable
from transports.store.port import RESPONSE_INDEX, RESPONSES

_ID = re.compile(r"[\w-]{1,128}", re.ASCII)
_CHECKS = 16
"""A license is checked whenever it has stored this part of its bytes."""

_log = structlog.get_logger()


class StoredResponses:
    """Implements `protocol.model.ResponseStore` on the records of the store."""

    def __init__(self, records: Records, settings: ResponseSettings) -> None:
        """Keep responses within the limits of `settings`."""
        self._records, self._settings = records, settings
        self._unchecked: Counter[str] = Counter()
        """The bytes that each license has stored since it was checked."""

    async def put(self, owner: str, response_id: str, value: bytes) -> None:
        """Store a response, as `ResponseStore.put`."""
        key, size, seconds = f"{owner}/{response_id}", len(value), self._settings.retention_seconds
        with saturated_on_failure():
            await self._records.write(
                [
                    Change(collection=RESPONSES, key=key, value=value, seconds=seconds),
                    Change(collection=RESPONSE_INDEX, key=f"{key}/{size}", value=b"", seconds=seconds),
                ]
            )
            self._unchecked[owner] += size
            if self._unchecked[owner] * _CHECKS > self._settings.bytes_per_license:
                del self._unchecked[owner]
                await self._remove_oldest(owner)

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
        key = f"{owner}/{response_id}"
        with saturated_on_failure():
            found = await self._records.remove(RESPONSES, key)
            await self._remove_entries(await self._records.keys(RESPONSE_INDEX, f"{key}/"))
        return found

    async def _remove_oldest(self, owner: str) -> None:
        """Remove the oldest responses of a license that has stored more than it may."""
        left, old = self._settings.bytes_per_license, list[str]()
        for entry in await self._records.keys(RESPONSE_INDEX, f"{owner}/", reverse=True):
            left -= int(entry.rpartition("/")[2])
            if left < 0:
                old.append(entry)
        if old:
            responses = {entry.rpartition("/")[0] for entry in old}
            await self._records.write([Change(collection=RESPONSES, key=key, value=None) for key in responses])
            await self._remove_entries(old)
            _log.info("responses_removed", license=owner, count=len(responses))

    async def _remove_entries(self, entries: list[str]) -> None:
        await self._records.write([Change(collection=RESPONSE_INDEX, key=key, value=None) for key in entries])
