"""Refreshes a session's tokens in the background, so that requests rarely wait for them.

An idle account is not refreshed: the next request fetches its tokens. An account that needs attention is checked again
at growing intervals, and at once when its cookies change; requests do not use it meanwhile.
"""

import random

import structlog

from protocol.model import GatewayError, SignedOut
from transports.clock import Clock
from transports.tasks import wait_for
from transports.web.session.session import Session, SessionFailure

_USED_SECONDS = 3 * 3600.0
"""An account without requests for this long is idle."""
_AGAIN_SECONDS = 60.0
"""Delay before a retry."""
_LONGEST_RECHECK_SECONDS = 3600.0
"""Longest delay between checks of an account that needs attention; the first is a minute, then it doubles."""
_JITTER = 0.1

_log = structlog.get_logger()


class TokenRefresh:
    """Refreshes one session's tokens."""

    def __init__(self, session: Session, clock: Clock, spread: float) -> None:
        """Delay the first fetch by a random time up to `spread` seconds."""
        self._session, self._clock, self._spread = session, clock, spread
        self._seconds = session.site.config.refresh_seconds
        self._soon = min(_AGAIN_SECONDS, self._seconds)

    async def run(self) -> None:
        """Fetch the tokens at start, after they were dropped, and before they get old."""
        if not self._seconds:
            return
        await self._clock.sleep(random.uniform(0, self._spread))  # noqa: S311 -- spreads load, hides nothing
        failed = self._session.current is None and not await self._fetched()
        while True:
            wait = self._wait(failed=failed) * random.uniform(1 - _JITTER, 1)  # noqa: S311 -- spreads load, hides nothing
            await wait_for(self._session.wanted, wait, self._clock)
            failed = self._due(failed=failed) and not await self._fetched()

    def _wait(self, *, failed: bool) -> float:
        """Return the seconds until the next fetch, if `wanted` is not set before."""
        refused = self._session.needs_attention
        if refused is not None:
            return max(1.0, refused.at + self._recheck(refused) - self._clock.monotonic())
        if failed:
            return self._soon
        if self._session.current is None or self._session.fetched_at is None:
            return self._seconds
        return max(self._soon, self._seconds - (self._clock.monotonic() - self._session.fetched_at))

    def _recheck(self, refused: SessionFailure) -> float:
        """Return the seconds between two checks of an account that needs attention."""
        return min(_LONGEST_RECHECK_SECONDS, self._soon * 2 ** min(refused.count - 1, 10))

    def _due(self, *, failed: bool) -> bool:
        """Return whether to fetch tokens now."""
        session, now = self._session, self._clock.monotonic()
        used = session.used_at is not None and now - session.used_at < _USED_SECONDS
        fetched_at = session.fetched_at
        old = fetched_at is None or now - fetched_at >= self._seconds * (1 - _JITTER)
        session.clear_wanted()
        refused = session.needs_attention
        if refused is not None:
            waited = now - refused.at >= self._recheck(refused) * (1 - _JITTER)
            return waited or session.credentials_id != refused.credentials_id
        return used and (failed or old or session.current is None)

    async def _fetched(self) -> bool:
        """Fetch the tokens, and the quotas if due; return False if a retry should follow soon."""
        try:
            ready = await self._session.refresh()
        except SignedOut as error:
            _log.info("session_unavailable", account=self._session.name, reason=error.reason)
            return True
        except GatewayError as error:
            _log.info("token_refresh_failed", account=self._session.name, error=type(error).__name__)
            return False
        await self._session.refresh_quotas_if_due()
        return ready.status.known
