"""The simulated site's accounts: cookies that really expire, plans, quotas, conversations."""

import hmac
import secrets
from collections import OrderedDict, defaultdict
from hashlib import sha256

import msgspec

from transports.clock import Clock
from transports.simulator.config import SimulatedAccount

_KEPT_CONVERSATIONS = 1000


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A saved turn."""

    rid: str
    rcid: str
    prompt: str
    text: str
    thoughts: str
    seconds: float


class Conversation(msgspec.Struct, kw_only=True):
    """A saved conversation."""

    cid: str
    title: str
    turns: list[Turn] = []


class Session:
    """One account at the site, or a guest (`account` is None)."""

    def __init__(self, account: SimulatedAccount | None) -> None:
        """Start with the account's first cookies."""
        self.account = account
        self.psidts = account.psidts if account else ""
        self.generation = 0
        self.rotated_at: float | None = None
        self.old: dict[str, float] = {}
        self.dead = False
        self.used: defaultdict[str, int] = defaultdict(int)
        self.conversations: OrderedDict[str, Conversation] = OrderedDict()

    @property
    def plan(self) -> str:
        """The account's plan; a guest's is free."""
        return self.account.plan if self.account else "free"

    @property
    def access_token(self) -> str | None:
        """The `at` of the current cookies; None for a guest."""
        if self.account is None:
            return None
        secret = f"{self.account.psid}:{self.psidts}:{self.generation}"
        return "AK" + sha256(secret.encode()).hexdigest()[:32] + ":1700000000000"

    def keep(self, conversation_id: str, turn: Turn) -> None:
        """Save a turn."""
        conversation = self.conversations.setdefault(
            conversation_id,
            Conversation(cid=conversation_id, title=turn.prompt[:40]),
        )
        conversation.turns.append(turn)
        while len(self.conversations) > _KEPT_CONVERSATIONS:
            self.conversations.popitem(last=False)


class Accounts:
    """All sessions by their cookies."""

    def __init__(self, accounts: tuple[SimulatedAccount, ...], clock: Clock, *, grace: float, gap: float) -> None:
        """Let old cookies work for `grace` seconds; allow a rotation every `gap` seconds."""
        self._clock, self._grace, self._gap = clock, grace, gap
        self._sessions = [Session(account) for account in accounts]
        self.guest = Session(None)

    def find(self, cookies: dict[str, str]) -> Session:
        """Return whose cookies these are; anyone unknown or expired is a guest, as at the site."""
        session = self._by_psid(cookies.get("__Secure-1PSID", ""))
        if session is None or session.dead:
            return self.guest
        return session if self._fresh(session, cookies.get("__Secure-1PSIDTS", "")) else self.guest

    def rotate(self, cookies: dict[str, str]) -> tuple[int, str | None]:
        """Rotate: `(200, new value or None)`, `(401, None)` or `(429, None)`."""
        session = self.find(cookies)
        if session.account is None:
            return 401, None
        now = self._clock.monotonic()
        if session.rotated_at is not None and now - session.rotated_at < self._gap:
            return 429, None
        session.rotated_at = now
        if not session.psidts:
            return 200, None
        session.old[session.psidts] = now + self._grace
        session.psidts = "sidts-" + secrets.token_urlsafe(24)
        session.generation += 1
        return 200, session.psidts

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
