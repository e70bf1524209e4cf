"""Keeps a session's tokens fresh ahead of need: no request waits for them where another could have fetched them.

An account that is not used is left alone: its tokens are fetched when a request wants them. One that needs a person is
looked at again at growing intervals, and at once when its cookies have changed: no request is tried with it meanwhile.
"""

import random

import structlog

from protocol.model import GatewayError, SignedOut
from transports.clock import Clock
from transports.tasks import wait_for
from transports.web.session import quota
from transports.web.session.session import Session, SessionFailure

_USED_SECONDS = 3 * 3600.0
"""An account that was used within so long is used."""
_AGAIN_SECONDS = 60.0
"""The wait before another try."""
_LONGEST_RECHECK_SECONDS = 3600.0
"""An account that needs a person is looked at after a minute, then after twice as long each time, up to this."""
_JITTER = 0.1

_log = structlog.get_logger()


class TokenRefresh:
    """Looks after one session's tokens."""

    def __init__(self, session: Session, clock: Clock, spread: float) -> None:
        """Fetch them within `spread` seconds at first."""
        self._session, self._clock, self._spread = session, clock, spread
        self._seconds = session.site.config.refresh_seconds
        self._soon = min(_AGAIN_SECONDS, self._seconds)

    async def run(self) -> None:
        """Fetch the tokens at first, whenever they have been dropped, and before they are old."""
        if not self._seconds:
            return
        await self._clock.sleep(random.uniform(0, self._spread))  # noqa: S311 -- spreads load, hides nothing
        failed = self._session.current is None and not await self._fetched()
        while True:
            wait = self._wait(failed=failed)
            await wait_for(self._session.wanted, _jittered(wait), self._clock)
            failed = self._due(failed=failed) and not await self._fetched()

    def _wait(self, *, failed: bool) -> float:
        """Return the seconds until the next fetch, unless something happens before."""
        refused = self._session.needs_attention
        if refused is not None:
            return max(1.0, refused.at + self._recheck(refused) - self._clock.monotonic())
        return self._soon if failed else self._until_old()

    def _recheck(self, refused: SessionFailure) -> float:
        """Return the seconds between two looks at an account that needs a person."""
        return min(_LONGEST_RECHECK_SECONDS, self._soon * 2 ** min(refused.count - 1, 10))

    def _until_old(self) -> float:
        """Return the seconds until the tokens are as old as they may get."""
        if self._session.current is None or self._session.fetched_at is None:
            return self._seconds
        return max(self._soon, self._seconds - (self._clock.monotonic() - self._session.fetched_at))

    def _due(self, *, failed: bool) -> bool:
        """Say whether tokens are to be fetched, for an account that is used or that needs a person."""
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
        """Fetch the tokens, and what is left of the limits if that is due; False: it is worth another try soon."""
        try:
            ready = await self._session.refresh()
        except SignedOut as error:
            _log.info("tokens_not_given", account=self._session.name, reason=error.reason)
            return True
        except GatewayError as error:
            _log.info("tokens_not_fetched", account=self._session.name, error=type(error).__name__)
            return False
        await quota.refresh_if_due(self._session, self._clock)
        return ready.status.known


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1)  # noqa: S311 -- spreads load, hides nothing
