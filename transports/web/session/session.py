"""One account's session at the site: bootstrap, status, activity. Source: "Session", "Batch calls".

Callers get the session from `ready`. The first caller that finds it missing or stale fetches it; the others wait and
share the result, even if it is a failure. Before the fetch the store is read: another process may have renewed the
cookies.
"""

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import anyio
import msgspec
import structlog

from protocol.model import (
    Blocked,
    Certainty,
    DriftDetected,
    GatewayError,
    RateLimited,
    SignedOut,
    UpstreamFailed,
    UpstreamModel,
)
from transports.account import Quota
from transports.clock import Clock
from transports.web import wire
from transports.web.attention_reasons import AttentionReason
from transports.web.codec import jspb
from transports.web.codec.batch import BatchAnswers, answer_error
from transports.web.codec.models import Family, SiteStatus, decode_status
from transports.web.errors import (
    SessionRefused,
    StaleBuild,
    error_for_account,
    html_instead_of_frames,
    session_refused,
    signed_out,
)
from transports.web.session.claims import ConversationClaims
from transports.web.session.client import SiteClient
from transports.web.session.page import AppPage, read_page, redirected
from transports.web.session.quota import decode_plan, decode_quotas, decode_reset, decode_windows, payload_of

_GUEST = SiteStatus(problem=None, plan="free", models=())
_UNKNOWN = SiteStatus(problem=None, plan="free", models=(), known=False)
"""Status of an account if the site does not name it: the built-in model table is used."""

_USAGE_SECONDS = 5.0
"""Timeout of the usage call; the session is served without its answer."""

_LONGEST_RESET_SECONDS = 86400.0
"""Longest cooldown from a reset time, in case a clock is wrong."""

_MOST_REDIRECTS = 4

_log = structlog.get_logger()


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A session ready for calls: the page and the account status."""

    page: AppPage
    status: SiteStatus
    attempt: int = 0
    """Number of the fetch attempt that produced this session."""


ReportCheck = Callable[[str, SignedOut | None], None]
"""Receives the name of a check and its error; None: the account works."""
CHECK_SESSION, CHECK_ROTATION = "session", "rotation"


class SessionFailure(msgspec.Struct, frozen=True):
    """Fetch attempts in a row that found that the account needs attention."""

    count: int
    """Number of these attempts."""
    at: float
    """When the last of these ended, by the monotonic clock."""
    credentials_id: tuple[int, str] | None
    """`Session.credentials_id` at that time."""


class Session:
    """One account's session, or a guest's."""

    def __init__(
        self,
        name: str,
        site: SiteClient,
        clock: Clock,
        *,
        capacity: int | None = None,
        field13: bool | None = None,
    ) -> None:
        """Start without data; the first `ready` fetches it.

        `capacity` and `field13` override the account's plan and flags; see `SiteStatus`.
        """
        self.report: ReportCheck = lambda _check, _error: None
        """Receives the results of the session's checks."""
        self.needs_attention: SessionFailure | None = None
        """Set while the account needs attention, as the last attempt found."""
        self.name = name
        self.site = site
        self.request_forms = site.config.slots
        """The forms of request slots; updated when the site has accepted another form."""
        self._capacity, self._field13 = capacity, field13
        self._tier: str | None = None
        """The plan from the last usage call."""
        self.plan = ""
        """The plan from the last account status."""
        self.last_model: UpstreamModel | None = None
        """The model that answered last, as the site named it."""
        self.claims = ConversationClaims()
        """The saved conversations of this process's turns."""
        self.quotas: tuple[Quota, ...] = ()
        """The last known quotas, by model family and by time window."""
        self.asked_quotas_at: float | None = None
        self.used_at: float | None = None
        """When a request last used the session, by the monotonic clock, as the other times."""
        self.fetched_at: float | None = None
        self.wanted = anyio.Event()
        """Set when the session has been dropped; the background task then fetches it again."""
        self._clock = clock
        self._ready: Ready | None = None
        self._attempts = 0
        self._failure: GatewayError | None = None
        """The error of the last attempt."""
        self._lock = anyio.Lock()
        self._pinged_at: float | None = None
        self._status: SiteStatus | None = None
        """The last known status of the account."""
        self._set_by_page: tuple[list[str], int] | None = None
        """Cookies that the page set, and the cookie version then; kept until the page proves to be signed in."""
        self._not_allowed: set[str] = set()
        """RPCs that the site denied to the account while it was signed in."""

    async def ready(self, stale: Ready | None = None) -> Ready:
        """Return the session, fetching it if needed; `stale` is one that the site no longer accepts.

        If another caller's attempt failed meanwhile, its error is raised instead of trying again.

        Raises:
            SignedOut: the account needs attention.
            GatewayError: the site did not answer as expected.

        """
        self.used_at = self._clock.monotonic()
        if self.site.session_store is not None and await self.site.session_store.load_if_old():
            await self.forget()
        if self._ready is not None and self._ready is not stale:
            return self._ready
        known = stale.attempt if stale is not None else self._attempts
        async with self._lock:
            if self._ready is not None and self._ready is not stale:
                return self._ready
            if self._failure is not None and self._attempts > known:
                raise copy(self._failure)
            self._ready = None
            self._ready = await self._attempt()
            return self._ready

    async def forget(self, stale: Ready | None = None) -> None:
        """Make the next `ready` fetch again; with `stale`, only if it is still the current session."""
        async with self._lock:
            if stale is None or self._ready is stale:
                self._ready = self._failure = None
                self.wanted.set()

    async def credentials_changed(self, since: object) -> bool:
        """Reload from the store; return whether `credentials_id` differs from `since`."""
        await self._reload()
        return self.credentials_id != since

    async def report_signed_out(self, error: SignedOut) -> None:
        """Drop the session and report that its rotation found it signed out."""
        await self.forget()
        self.report(CHECK_ROTATION, error)

    def report_rotated(self) -> None:
        """Report that the last rotation worked."""
        self.report(CHECK_ROTATION, None)

    def clear_wanted(self) -> None:
        """Reset `wanted`."""
        if self.wanted.is_set():
            self.wanted = anyio.Event()

    @property
    def current(self) -> Ready | None:
        """The session if it is fetched, else None."""
        return self._ready

    async def refresh(self) -> Ready:
        """Fetch the session again while the current one keeps serving; drop that one if the site signed it out.

        Raises:
            SignedOut: the account needs attention.
            GatewayError: the site did not answer as expected.

        """
        known = self._attempts
        async with self._lock:
            if self._ready is not None and self._attempts > known:
                return self._ready
            try:
                self._ready = await self._attempt()
            except SignedOut:
                self._ready = None
                raise
            return self._ready

    async def forget_token(self, ready: Ready) -> None:
        """Drop the access token and the page of `ready`: the next `ready` loads the page again.

        A page without a token leaves the next call without one; the site's refusal then brings a good one.
        """
        self.site.access_token = None
        await self.forget(ready)

    async def ask(self, *calls: tuple[str, str]) -> BatchAnswers:
        """Make batch calls; retry once with a new page if the page was stale.

        Raises:
            SignedOut: the account needs attention.
            GatewayError: the site did not answer as expected.

        """
        ready = await self.ready()
        try:
            return await self.site.batch(ready.page, *calls)
        except StaleBuild:
            ready = await self.ready(ready)
        return await self.site.batch(ready.page, *calls)

    async def ping(self, ready: Ready) -> None:
        """Send the activity ping if it is due; ignore errors other than a stale session.

        Raises:
            SessionRefused: the site denies the ping, as it does to guests.
            StaleBuild: the page is stale.

        """
        now, seconds = self._clock.monotonic(), self.site.config.activity_seconds
        due = self._pinged_at is None or now - self._pinged_at >= seconds
        if self.site.session_store is None or not seconds or not due:
            return
        self._pinged_at = now
        try:
            answers = await self.site.batch(ready.page, (wire.RPC_ACTIVITY, wire.ACTIVITY_PAYLOAD))
        except (SessionRefused, StaleBuild):
            self._pinged_at = None
            raise
        except GatewayError as error:
            _log.info("activity_ping_failed", account=self.name, error=type(error).__name__)
        else:
            # The first denial may mean signed out, so the session is checked;
            # a second one means this account may not ping.
            if not answers.denied(wire.RPC_ACTIVITY):
                self._not_allowed.discard(wire.RPC_ACTIVITY)
            elif wire.RPC_ACTIVITY not in self._not_allowed:
                self._not_allowed.add(wire.RPC_ACTIVITY)
                raise session_refused()

    async def _attempt(self) -> Ready:
        try:
            ready = await self._bootstrap()
        except GatewayError as error:
            if error.certainty is Certainty.MAYBE_ACCEPTED:
                # certainty refers to the request that needs the session, not to the call that failed
                error.certainty = Certainty.NOT_SENT
            self._attempts, self._failure = self._attempts + 1, copy(error)
            if isinstance(error, SignedOut):
                count = self.needs_attention.count + 1 if self.needs_attention is not None else 1
                self.needs_attention = SessionFailure(count, self._clock.monotonic(), self.credentials_id)
                self.wanted.set()
                self._check(error)
            raise
        self._attempts, self._failure = self._attempts + 1, None
        self.fetched_at = self._clock.monotonic()
        if ready.status.known:
            self.plan = ready.status.plan
            self.needs_attention = None
            self._check(None)
        return msgspec.structs.replace(ready, attempt=self._attempts)

    def _check(self, error: SignedOut | None) -> None:
        """Report the result of a fetch, only with background refreshes, since nothing else would report a recovery."""
        if self.site.config.refresh_seconds:
            self.report(CHECK_SESSION, error)

    async def _bootstrap(self) -> Ready:
        await self._reload()
        before = self.credentials_id
        try:
            return await self._fetch()
        except SignedOut:
            await self._reload()
            if self.credentials_id == before:
                raise
        return await self._fetch()  # the cookies were renewed meanwhile, here or by another process

    async def _reload(self) -> None:
        """Load what another process has stored."""
        try:
            if self.site.session_store is not None:
                await self.site.session_store.load()
        except OSError:
            _log.warning("session_load_failed", account=self.name)

    @property
    def credentials_id(self) -> tuple[int, str] | None:
        """Identifies the current sign-in cookies; changes when any process renews them."""
        session_store = self.site.session_store
        return (session_store.renewals, session_store.saved.seed) if session_store is not None else None

    async def _fetch(self) -> Ready:
        page = await self.page()
        if self.site.session_store is None:
            return Ready(page=page, status=_GUEST)
        try:
            status = await self.status(page)
        except (SignedOut, RateLimited, Blocked):
            raise
        except GatewayError as error:
            _log.warning("account_status_unknown", account=self.name, error=type(error).__name__)
            status = self._status or _UNKNOWN
        if status.problem is not None:
            raise status.problem
        status = msgspec.structs.replace(
            status,
            capacity=status.capacity if self._capacity is None else self._capacity,
            field13=status.field13 if self._field13 is None else self._field13,
        )
        return Ready(page=page, status=status)

    async def page(self) -> AppPage:
        """Fetch the page; from then on use its access token, if it has one.

        Raises:
            GatewayError: the site sent another page or none.

        """
        version = self.site.cookies_version
        url = self.site.url(wire.APP_PATH)
        for _ in range(_MOST_REDIRECTS):  # a redirect may lead to the app again, under another path or query
            status, headers, body = await self.site.call("GET", url, {})
            target = redirected(url, headers.get("Location", "")) if 300 <= status < 400 else None
            if target is None:
                break
            url = target
        else:
            raise UpstreamFailed("The upstream redirected too often.", code="upstream_protocol_error")
        if status != 200:
            raise answer_error(status, headers, body)
        page = read_page(body.decode("utf-8", "replace"))
        if page is None:
            raise html_instead_of_frames()
        if self.site.session_store is not None:
            self.site.access_token = page.access_token or self.site.access_token
            self._set_by_page = (headers.getall("Set-Cookie", []), version)
            if page.access_token is not None:
                await self._take_cookies()
        return page

    async def status(self, page: AppPage) -> SiteStatus:
        """Fetch the account's status; a status with a problem is returned, not raised.

        Raises:
            SignedOut: the site denies the call: the session is signed out.
            GatewayError: the site did not answer as expected.

        """
        answers = await self.site.batch(page, (wire.RPC_STATUS, wire.STATUS_PAYLOAD))
        if answers.denied(wire.RPC_STATUS):
            raise signed_out(AttentionReason.SIGNED_OUT)
        payload = answers.get(wire.RPC_STATUS)
        if payload is None:
            raise DriftDetected("The upstream's answer lacks the account status.")
        code = jspb.integer(payload, wire.ACCOUNT_STATUS) or wire.STATUS_AVAILABLE
        if code != wire.STATUS_SIGNED_OUT:
            await self.ask_usage(page)
        found = decode_status(payload, error_for_account(code), self._tier)
        if code != wire.STATUS_SIGNED_OUT:
            self._status = msgspec.structs.replace(found, problem=None)
            await self._take_cookies()
        return msgspec.structs.replace(found, trusted=code != wire.STATUS_UNTRUSTED)

    async def ask_usage(self, page: AppPage) -> None:
        """Fetch the plan and the quotas of the time windows; errors leave the known values in place."""
        call = (wire.RPC_USAGE, wire.USAGE_PAYLOAD)
        answer: Any = None
        try:
            with anyio.move_on_after(_USAGE_SECONDS):
                answer = (await self.site.batch(page, call, source_path=wire.USAGE_PATH)).get(wire.RPC_USAGE)
        except GatewayError as error:
            _log.info("usage_unknown", account=self.name, error=type(error).__name__)
        self._tier = decode_plan(answer) or self._tier
        self.note_quotas(decode_windows(answer, self.quotas))

    def note_quotas(self, found: Iterable[Quota]) -> None:
        """Replace the quotas of the same names."""
        self.quotas = tuple({quota.name: quota for quota in (*self.quotas, *found)}.values())

    def _quotas_due(self) -> bool:
        seconds, asked_at = self.site.config.quota_seconds, self.asked_quotas_at
        known = self._ready is not None and self.site.session_store is not None
        return known and bool(seconds) and (asked_at is None or self._clock.monotonic() - asked_at >= seconds)

    def refresh_quotas_later(self) -> None:
        """Refresh all quotas in the background if due."""
        if self._quotas_due():
            self.site.background.later(0.0, "refresh_quotas", self.refresh_quotas_if_due)

    async def refresh_quotas_if_due(self) -> None:
        """Refresh all quotas if due."""
        if self._ready is not None and self._quotas_due():
            await self.refresh_quotas(self._ready.page)

    async def refresh_quotas(self, page: AppPage) -> None:
        """Fetch and note all quotas."""
        self.asked_quotas_at = self._clock.monotonic()
        await self.ask_usage(page)
        for family in (Family.FLASH, Family.PRO):
            await self._ask_quotas(page, family)

    async def seconds_to_reset(self, ready: Ready, family: str) -> float | None:
        """Return the seconds until a family's limits reset, or None if the site names no time; note the quotas."""
        reset = decode_reset(await self._ask_quotas(ready.page, family))
        return None if reset is None else min(_LONGEST_RESET_SECONDS, max(1.0, reset - self._clock.wall()))

    async def _ask_quotas(self, page: AppPage, family: str) -> Any:
        """Fetch and note a family's quotas; return the payload, or None if the call failed."""
        try:
            answers = await self.site.batch(page, (wire.RPC_QUOTA, payload_of(family)))
        except GatewayError as error:
            _log.info("quota_fetch_failed", account=self.name, error=type(error).__name__)
            return None
        payload = answers.get(wire.RPC_QUOTA)
        self.note_quotas(decode_quotas(payload, family))
        return payload

    async def signed_in(self) -> bool:
        """Return whether the site accepts the session as signed in; False on errors."""
        try:
            problem = (await self.status(await self.page())).problem
        except GatewayError:
            return False
        return not (isinstance(problem, SignedOut) and problem.reason == AttentionReason.SIGNED_OUT)

    async def _take_cookies(self) -> None:
        """Save the cookies that the page set: it proved to be a signed-in page."""
        session_store, page_cookies = self.site.session_store, self._set_by_page
        self._set_by_page = None
        if session_store is not None and page_cookies is not None:
            set_cookies, since = page_cookies
            await session_store.merge_cookies(set_cookies, since=since)
