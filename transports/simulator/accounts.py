"""The simulated site's accounts: cookies that really expire, plans, quotas, conversations."""

import hmac
import secrets
from hashlib import sha256

from transports.clock import Clock
from transports.simulator.config import SimulatedAccount, SimulatorConfig
from transports.simulator.history import History
from transports.simulator.judge import Record
from transports.simulator.quota import Quota

_PSID, _PSIDTS = "__Secure-1PSID", "__Secure-1PSIDTS"


class Session:
    """One account at the site, or a guest (`account` is None)."""

    def __init__(self, account: SimulatedAccount | None, *, quota_seconds: float = 3600.0) -> None:
        """Start with the account's first cookies."""
        self.account = account
        self.psidts = account.psidts if account else ""
        self.generation = 0
        self.tokens = 0
        """How many access tokens of these cookies have ended."""
        self.rotated_at: float | None = None
        self.old: dict[str, float] = {}
        self.since: float | None = None
        """When the rolling cookie was last renewed, or first seen."""
        self.quota = Quota(account.quota if account else 0, quota_seconds)
        self.history = History()
        self.record = Record()
        self.killed = False
        """A value that had been rotated already was rotated again, and the settings say that this ends it."""

    @property
    def plan(self) -> str:
        """The account's plan; a guest's is free."""
        return self.account.plan if self.account else "free"

    @property
    def access_token(self) -> str | None:
        """The `at` of the current cookies; None for a guest."""
        if self.account is None:
            return None
        secret = f"{self.account.psid}:{self.psidts}:{self.generation}:{self.tokens}"
        return "AK" + sha256(secret.encode()).hexdigest()[:32] + ":1700000000000"

    @property
    def number(self) -> str:
        """The account's number at the site; empty for a guest."""
        if self.account is None:
            return ""
        return f"1{int(sha256(self.account.psid.encode()).hexdigest(), 16) % 10**20:020d}"


class Accounts:
    """All sessions by their cookies."""

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        """Know the settings' accounts and nobody else."""
        self._clock, self._config = clock, config
        self._sessions = [Session(account, quota_seconds=config.quota_seconds) for account in config.accounts]
        for session in self._sessions:
            session.since = clock.monotonic()
        self.guest = Session(None)

    def named(self, cookies: dict[str, str]) -> Session:
        """Return the session that the cookies name, good or not; a guest's where they name none."""
        return self._by_psid(cookies.get(_PSID, "")) or self.guest

    def find(self, cookies: dict[str, str]) -> Session:
        """Return whose cookies these are; anyone unknown or expired is a guest, as at the site."""
        session = self.named(cookies)
        if self._opens(session, cookies):
            session.record.signed_in += 1
            return session
        session.record.as_guest += 1
        return self.guest

    def rotate(self, cookies: dict[str, str]) -> tuple[int, str | None]:
        """Rotate: `(200, new value or None)`, or `(401, 403 or 429, None)`."""
        session, now = self.named(cookies), self._clock.monotonic()
        record = session.record
        if session.account is None or session.account.bound or not self._opens(session, cookies):
            record.refused += 1
            return 401, None
        if session.account.never_rotated:
            record.refused += 1
            return 403, None
        if session.rotated_at is not None and now - session.rotated_at < self._config.rotation_gap_seconds:
            record.hasty += 1
            return 429, None
        if not self._forked(session, cookies.get(_PSIDTS, "")):
            record.refused += 1
            return 401, None
        record.rotations += 1
        session.rotated_at = session.since = now
        if not session.psidts or not session.account.rotates:
            return 200, None
        session.old[session.psidts] = now + self._config.grace_seconds
        session.psidts = "sidts-" + secrets.token_urlsafe(24)
        session.generation += 1
        record.unseen = True
        return 200, session.psidts

    def end_tokens(self) -> None:
        """Let no access token that was given so far be good any more."""
        for session in self._sessions:
            session.tokens += 1

    def shown(self) -> list[dict[str, int | bool]]:
        """Return what was noticed of each account, in the settings' order."""
        return [{**session.record.shown(), "dead": session.killed or self._died(session)} for session in self._sessions]

    def _forked(self, session: Session, psidts: str) -> bool:
        """Say whether a session goes on, which a value that has been rotated already may end."""
        if psidts in session.old:
            session.record.forks += 1
            session.killed = self._config.fork == "dies"
        return not session.killed

    def _opens(self, session: Session, cookies: dict[str, str]) -> bool:
        """Say whether the cookies that name a session open it."""
        if session.account is None or session.killed or self._died(session):
            return False
        psidts = cookies.get(_PSIDTS, "")
        if psidts == session.psidts:
            session.record.unseen = False
        return self._fresh(session, psidts)

    def _died(self, session: Session) -> bool:
        """Say whether the rolling cookie was not renewed in time."""
        longest = self._config.session_seconds
        if not session.psidts or not longest or session.since is None:
            return False
        return self._clock.monotonic() - session.since >= longest

    def _by_psid(self, psid: str) -> Session | None:
        found = None
        for session in self._sessions:
            if session.account and hmac.compare_digest(session.account.psid.encode(), psid.encode()):
                found = session
        return found

    def _fresh(self, session: Session, psidts: str) -> bool:
        if not psidts or psidts == session.psidts:
            # an export without the rolling cookie is an allowed form, see "Field notes"
            return bool(psidts) or session.generation == 0
        now = self._clock.monotonic()
        session.old = {value: until for value, until in session.old.items() if until > now}
        return psidts in session.old
