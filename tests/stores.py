"""Views of one store in memory: as it is, and with encryption."""

from transports.store.records import BaseRecords


class EncryptedView(BaseRecords):
    """The records of `below`, encrypted with a cipher."""

    def __init__(self, below, cipher):
        super().__init__(cipher)
        self._below = below

    async def _get(self, collection, key):
        return await self._below.get(collection, key)

    async def _get_many(self, collection, keys):
        return await self._below.get_many(collection, keys)

    async def _write(self, changes):
        return await self._below.write(changes)

    async def _scan(self, key_range):
        return await self._below.scan(key_range.collection, key_range.prefix)

    async def _keys(self, key_range):
        return await self._below.keys(key_range.collection, key_range.prefix)
