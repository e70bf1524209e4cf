"""Deletes what a key's project keeps at the API and is due: interactions whose result was read, and removed files.

Source: "Interactions", "Files, caching, embeddings, speech".
"""

from contextlib import suppress

import structlog

from protocol.model import GatewayError
from transports.clock import Clock
from transports.generate_content.api_client import ApiClient
from transports.generate_content.errors import FileMissing, ModelMissing
from transports.store.upstream_copies import UpstreamCopies
from transports.tasks import every

_SWEEP_SECONDS = 60.0
_ABANDONED_SECONDS = 2 * 86400.0
"""Age at which an interaction is deleted whose result was never read."""

_log = structlog.get_logger()


class KeyCleanup:
    """Deletes with one key."""

    def __init__(self, api: ApiClient, project: str, copies: UpstreamCopies, clock: Clock, seconds: float) -> None:
        """Delete interactions `seconds` after their result was read."""
        self._api, self._project, self._copies = api, project, copies
        self._clock, self._seconds = clock, seconds

    async def begun(self, identity: str) -> None:
        """Note an interaction that has begun."""
        await self._note(identity, max(self._seconds, _ABANDONED_SECONDS))

    async def ended(self, identity: str) -> None:
        """Note that the result of an interaction is read."""
        await self._note(identity, self._seconds)

    async def run(self) -> None:
        """Delete what is due, once a minute, until cancelled."""
        await every(_SWEEP_SECONDS, self.sweep, self._clock)

    async def sweep(self) -> None:
        """Delete what is due."""
        try:
            for path in await self._copies.due(self._project, self._clock.wall()):
                await self.delete(path)
                await self._copies.deleted(self._project, path)
        except OSError:
            _log.warning("deletions_unreadable")
        except GatewayError as error:
            _log.info("deletion_failed", code=error.code)

    async def delete(self, path: str) -> None:
        """Delete something at the API, unless it is gone.

        Raises:
            GatewayError: the API did not delete it.

        """
        with suppress(FileMissing, ModelMissing):
            await self._api.delete(path)

    async def _note(self, identity: str, seconds: float) -> None:
        with suppress(OSError):  # the API deletes it automatically some day
            await self._copies.delete_at(self._project, f"interactions/{identity}", self._clock.wall(), seconds)
