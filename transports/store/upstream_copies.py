"""Notes what the upstream keeps for the accounts of a gateway: copies of files, and paths that are due to be deleted.

The transport of an account writes the notes and deletes what is due. Copies of a file become due when the gateway's own
file is removed. All processes share the notes.
"""

import msgspec

from transports.store.port import DELETIONS, UPLOADED_FILES, Records

_GRACE_SECONDS = 7 * 86400.0
"""How long after its time a deletion is tried."""


class UpstreamCopy(msgspec.Struct, frozen=True, rename="camel"):
    """A file as the upstream describes it."""

    name: str
    uri: str
    mime_type: str = ""
    state: str = "ACTIVE"


_decode_copy = msgspec.json.Decoder(UpstreamCopy, strict=False).decode


class UpstreamCopies:
    """The notes of all accounts. Every method may raise StoreDown."""

    def __init__(self, records: Records) -> None:
        """Keep notes in `records`."""
        self._records = records

    async def find(self, project: str, digest: str) -> UpstreamCopy | None:
        """Return the copy of a file that an account's project has; `digest` is that of the `FilePart`."""
        record = await self._records.get(UPLOADED_FILES, f"{project}/{digest}")
        return _decode_copy(record.value) if record is not None else None

    async def note(self, project: str, digest: str, copy: UpstreamCopy, seconds: float) -> None:
        """Note that a project has a copy of a file for some seconds."""
        await self._records.put(UPLOADED_FILES, f"{project}/{digest}", msgspec.json.encode(copy), seconds=seconds)

    async def forget(self, digest: str) -> None:
        """Make all copies of a file due to be deleted at once."""
        for key in await self._records.keys(UPLOADED_FILES):
            project, _, found = key.partition("/")
            copy = await self.find(project, digest) if found == digest else None
            if copy is not None:
                await self.delete_at(project, copy.name, 0.0, 0.0)
                await self._records.remove(UPLOADED_FILES, key)

    async def delete_at(self, project: str, path: str, now: float, seconds: float) -> None:
        """Note that something of a project is due to be deleted in some seconds, in place of an earlier note."""
        due = msgspec.json.encode(now + seconds)
        await self._records.put(DELETIONS, f"{project}/{path}", due, seconds=seconds + _GRACE_SECONDS)

    async def due(self, project: str, now: float) -> list[str]:
        """Return the paths of what is due to be deleted."""
        records = await self._records.scan(DELETIONS, f"{project}/")
        return [
            record.key.partition("/")[2] for record in records if msgspec.json.decode(record.value, type=float) <= now
        ]

    async def deleted(self, project: str, path: str) -> None:
        """Note that something has been deleted."""
        await self._records.remove(DELETIONS, f"{project}/{path}")
