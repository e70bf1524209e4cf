"""The simulated site's accounts: cookies that expire, plans, quotas and conversations."""

import hmac
import secrets
from hashlib import sha256

from transports.clock import Clock
from transports.simulator.account_audit import AccountAudit
from transports.simulator.config import SimulatedAccount, SimulatorConfig
from transports.simulator.gems import Gems
from transports.simulator.history import History
from transports.simulator.quota import SimulatedQuota

_PSID, _PSIDTS = "__Secure-1PSID", "__Secure-1PSIDTS"


class Cookies:
    """The cookies of one browser profile, which all accounts that are signed in there share."""

    def __init__(self, account: SimulatedAccount | None) -> None:
        """Start with the account's first cookies."""
        self.account = account
        """The profile's first account, for which rotations are counted; None for a guest."""
        self.psidts = account.psidts if account else ""
        self.generation = 0
        self.rotated_at: float | None = None
        self.old: dict[str, float] = {}
        self.since: float | None = None
        """When the rolling cookie was last renewed, or first seen."""
        self.killed = False
        """Whether the session has ended because an old value was rotated again (`fork`)."""


class SimulatedSession:
    """One account at the site, or a guest (`account` is None)."""

    def __init__(
        self, account: SimulatedAccount | None, config: SimulatorConfig | None = None, cookies: Cookies | None = None
    ) -> None:
        """Start with the account's first cookies, or with those of another account in the same browser profile."""
        self.account = account
        self.cookies = cookies or Cookies(account)
        self.tokens = 0
        """Number of its access tokens that have ended."""
        config = config or SimulatorConfig()
        self.quota = SimulatedQuota(account.quota if account else 0, config.quota_seconds)
        self.history = History()
        self.unlisted = History()
        """Conversations that can be continued and are not listed: temporary ones, and a guest's."""
        self.gems = Gems()
        self.record = AccountAudit()
        self._rotates_token = config.profile == "strict"

    @property
    def plan(self) -> str:
        """The account's plan; a guest's is free."""
        return self.account.plan if self.account else "free"

    @property
    def access_token(self) -> str | None:
        """The session's `at`; None for a guest. In `strict` it ends with a rotation."""
        if self.account is None:
            return None
        rotated = f"{self.cookies.psidts}:{self.cookies.generation}" if self._rotates_token else ""
        secret = f"{self.account.psid}:{self.account.user}:{rotated}:{self.tokens}"
        return "AK" + sha256(secret.encode()).hexdigest()[:32] + ":1700000000000"

    @property
    def number(self) -> str:
        """The account's number at the site; empty for a guest."""
        if self.account is None:
            return ""
        name = f"{self.account.psid}:{self.account.user}".encode()
        return f"1{int(sha256(name).hexdigest(), 16) % 10**20:020d}"


class SimulatedAccounts:
    """All sessions by their cookies."""

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        """Create the sessions of the accounts in the settings."""
        self._clock, self._config = clock, config
        profiles: dict[str, Cookies] = {}
        for account in config.accounts:
            profiles.setdefault(account.psid, Cookies(account)).since = clock.monotonic()
        self._sessions = [SimulatedSession(account, config, profiles[account.psid]) for account in config.accounts]
        self.guest = SimulatedSession(None, config)

    def named(self, cookies: dict[str, str], user: int = 0) -> SimulatedSession:
        """Return the session that the cookies name, valid or not; a guest's if they name none."""
        psid = cookies.get(_PSID, "").encode()
        found: list[SimulatedSession] = []
        for session in self._sessions:
            if session.account and hmac.compare_digest(session.account.psid.encode(), psid):
                found.append(session)  # noqa: PERF401 -- each is compared in the same time
        chosen = (one for one in found if one.account and one.account.user == user)
        return next(chosen, found[0] if found else self.guest)

    def find(self, cookies: dict[str, str], user: int = 0) -> SimulatedSession:
        """Return the session that the cookies open; unknown or expired cookies are a guest's, as at the site.

        `user` is N of a path `/u/N/…`, for one of several accounts of a browser profile; an unknown N is the first one.
        """
        session = self.named(cookies, user)
        if self._opens(session, cookies):
            session.record.signed_in += 1
            return session
        session.record.as_guest += 1
        return self.guest

    def rotate(self, cookies: dict[str, str]) -> tuple[int, str | None]:
        """Rotate: `(200, new value or None)`, or `(401, 403 or 429, None)`."""
        session, now = self.named(cookies), self._clock.monotonic()
        record, kept = session.record, session.cookies
        if session.account is None or session.account.bound or not self._opens(session, cookies):
            record.refused += 1
            return 401, None
        if session.account.never_rotated:
            record.refused += 1
            return 403, None
        if kept.rotated_at is not None and now - kept.rotated_at < self._config.min_rotation_interval_seconds:
            record.hasty += 1
            return 429, None
        if cookies.get(_PSIDTS, "") in kept.old:
            record.forks += 1
            kept.killed = self._config.fork == "dies"
        if kept.killed:
            record.refused += 1
            return 401, None
        record.rotations += 1
        kept.rotated_at = kept.since = now
        if not kept.psidts or not session.account.rotates:
            return 200, None
        kept.old[kept.psidts] = now + self._config.grace_seconds
        kept.psidts = "sidts-" + secrets.token_urlsafe(24)
        kept.generation += 1
        record.unseen = True
        return 200, kept.psidts

    def end_tokens(self) -> None:
        """Invalidate all access tokens that were given out so far."""
        for session in self._sessions:
            session.tokens += 1

    def shown(self) -> list[dict[str, int | bool]]:
        """Return the counts of each account, in the order of the settings."""
        return [
            {**session.record.shown(), "dead": session.cookies.killed or self._died(session.cookies)}
            for session in self._sessions
        ]

    def _opens(self, session: SimulatedSession, cookies: dict[str, str]) -> bool:
        """Return whether the cookies open the session that they name."""
        kept = session.cookies
        if session.account is None or kept.killed or self._died(kept):
            return False
        psidts = cookies.get(_PSIDTS, "")
        if psidts == kept.psidts:
            self.named(cookies).record.unseen = False
        if not psidts or psidts == kept.psidts:
            # an export without the rolling cookie is an allowed form, see "Field notes"
            return bool(psidts) or kept.generation == 0
        now = self._clock.monotonic()
        kept.old = {value: until for value, until in kept.old.items() if until > now}
        return psidts in kept.old

    def _died(self, kept: Cookies) -> bool:
        """Return whether the rolling cookie was not renewed in time."""
        longest = self._config.session_seconds
        if not kept.psidts or not longest or kept.since is None:
            return False
        return self._clock.monotonic() - kept.since >= longest
