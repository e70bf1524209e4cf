"""Check the path of one account's requests step by step and report findings. No prompt is sent.

Source: "Session", "Codes", "Field notes".
"""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from protocol.model import Certainty, Disconnected, GatewayError, SignedOut
from transports.account import Finding, failed, ok, warning
from transports.clock import Clock
from transports.proxy import LOGIN_REFUSED
from transports.web import wire
from transports.web.accounts import SiteAccount
from transports.web.attention_reasons import AttentionReason
from transports.web.codec.models import SiteStatus
from transports.web.session.page import AppPage
from transports.web.session.rotation import SessionRotation
from transports.web.session.store import SessionStore

_JUST_SECONDS = 60.0
"""The site refuses a second rotation within this time."""
_MINUTE = 60.0
_LATER = "The failure may be temporary; check again in a minute."
_BOUND = (
    "The site accepts the session but has refused to rotate it from the start: its browser has bound it to the device "
    "(DBSC)."
)
_ROTATED_ELSEWHERE = (
    "The site still accepts the session but no longer rotates it: something else may have rotated it, such as the "
    "browser that it was exported from."
)
_CHECK_STORE = "Check that the store runs, and check its address in the settings."


def examine(connected: SiteAccount, clock: Clock) -> AsyncGenerator[Finding]:
    """Run the checks and yield a finding after each; a failure skips the checks that depend on it."""
    return _Examination(connected, clock).run()


class _Examination:
    """The checks and the state that they share."""

    def __init__(self, connected: SiteAccount, clock: Clock) -> None:
        self._connected, self._session, self._clock = connected, connected.session, clock
        self._session_store = connected.session.site.session_store
        self._signed_out = False

    async def run(self) -> AsyncGenerator[Finding]:
        """Run all checks."""
        if self._session_store is not None:
            cookies = self._session_store.cookies
            without = "" if wire.PSIDTS in cookies else f", without {wire.PSIDTS}. Some accounts have none"
            yield ok("credential", f"The export is readable; the session has {len(cookies)} cookies{without}.")
            yield await self._stored(self._session_store)
        page: AppPage | None = None
        failure: GatewayError | None = None
        try:
            page = await self._session.page()
        except GatewayError as error:
            failure = error
        egress = self._connected.account.egress
        way = f"the proxy {egress}" if egress else "this machine"
        if failure is not None and failure.certainty is Certainty.NOT_SENT:
            yield self._no_way_out(way, failure)
            return
        yield ok("way out", f"The site is reachable from {way}.")
        yield self._page(page, failure)
        if page is None:
            return
        if self._session_store is not None:
            async for finding in self._account(page):
                yield finding
            if self._signed_out:
                return
        yield await self._upload()

    def _no_way_out(self, way: str, failure: GatewayError) -> Finding:
        site = self._session.site.config.hosts.site
        problem = failure.problem if isinstance(failure, Disconnected) else ""
        advice = f"Check that {way} runs and may connect to {site}."
        if problem == LOGIN_REFUSED:
            advice = "Correct them in the account's setting `proxy`."
        return failed("way out", f"{site} is not reachable from {way}. {problem or failure.message}", advice)

    async def _account(self, page: AppPage) -> AsyncGenerator[Finding]:
        """Run the checks that need a signed-in account."""
        try:
            status = await self._session.status(page)
        except SignedOut as error:
            self._signed_out = True
            message = f"The site refuses the account's status call ({error.reason})."
            yield failed("account", message, error.advice)
            return
        except GatewayError as error:
            message = f"The site did not report the account's status; requests are still served. {error.message}"
            yield warning("account", message, _LATER)
        else:
            yield self._status(status)
            if isinstance(status.problem, SignedOut) and status.problem.reason == AttentionReason.SIGNED_OUT:
                self._signed_out = True
                return
            if status.problem is None:
                if status.models:
                    names = ", ".join(model.name or model.id for model in status.models)
                    yield ok("models", f"Available: {names}.")
                else:
                    listed = "The site lists no models for the account; the built-in table of models is used."
                    yield warning("models", listed, "If requests are refused, set the models' ids (models.upstream).")
                yield await self._quota(page)
        yield await self._rotation()

    async def _stored(self, session_store: SessionStore) -> Finding:
        try:
            await session_store.load()
        except OSError:
            message = "The store is unavailable; this process uses its own copy of the session."
            return warning("stored session", message, _CHECK_STORE)
        if not session_store.version:
            return ok("stored session", "No session is stored yet; the exported one is used.")
        if not session_store.saved.rotated_at:
            return ok("stored session", "A session is stored and has not been rotated yet.")
        age = self._clock.wall() - session_store.saved.rotated_at
        if age < wire.UNREFRESHED_SECONDS:
            return ok("stored session", f"The session was rotated {_span(age)} ago.")
        message = f"It was last rotated {_span(age)} ago: sessions that are not rotated end after 20 to 30 minutes."
        return warning("stored session", message, "If the page check fails, give the account a new export.")

    def _page(self, page: AppPage | None, failure: GatewayError | None) -> Finding:
        if isinstance(failure, SignedOut):
            return failed("page", f"The site returns another page ({failure.reason}).", failure.advice)
        if failure is not None:
            return failed("page", f"The site does not return its page. {failure.message}", _LATER)
        if self._session_store is None:
            return ok("page", "The site serves guests.")
        if page is not None and page.access_token is not None:
            return ok("page", "The site returns its page, with an access token.")
        return ok("page", "The site returns its page without an access token. This is normal: the first call gets one.")

    def _status(self, status: SiteStatus) -> Finding:
        if isinstance(status.problem, SignedOut):
            message = f"The site reports that the account cannot be served ({status.problem.reason})."
            return failed("account", message, status.problem.advice)
        if not status.trusted:
            message = f"The account is available on the plan {status.plan}, except for some features."
            return warning("account", message, "Open gemini.google.com with it: the site may ask for a confirmation.")
        return ok("account", f"The account is available on the plan {status.plan}.")

    async def _quota(self, page: AppPage) -> Finding:
        await self._session.refresh_quotas(page)
        if not self._session.quotas:
            return warning("quota", "The site does not report the account's quotas.", "No action is needed.")
        lines: list[str] = []
        for one in self._session.quotas:
            left = "unlimited" if one.unlimited else f"{one.remaining} of {one.total} left"
            if not one.unlimited and one.resets_at is not None:
                left += f" until {datetime.fromtimestamp(one.resets_at, UTC):%Y-%m-%d %H:%M} UTC"
            lines.append(f"{one.name}: {left}")
        message = f"{'; '.join(lines)}."
        if not any(one.used_up for one in self._session.quotas):
            return ok("quota", message)
        return warning("quota", message, "Wait for the reset, or add an account: other accounts serve until then.")

    async def _rotation(self) -> Finding:
        rotation, session_store = self._connected.rotation, self._session_store
        if rotation is None or session_store is None or not self._session.site.config.rotate_seconds:
            return warning("rotation", "The cookie rotation is off in the settings.", "Set rotate_seconds.")
        age = self._clock.wall() - session_store.saved.rotated_at
        if 0 <= age < _JUST_SECONDS and not session_store.saved.never:
            message = f"Not tried: the session was rotated {_span(age)} ago, and the site allows one rotation a minute."
            return ok("rotation", message)
        try:
            return await _rotated(rotation, session_store, self._clock)
        except SignedOut as error:
            # the site accepts the session but refuses to rotate it, even without its rolling cookie
            bound = error.reason == AttentionReason.BOUND
            return failed("rotation", _BOUND if bound else _ROTATED_ELSEWHERE, error.advice)
        except GatewayError as error:
            return warning("rotation", f"The session was not rotated. {error.message}", _LATER)
        except OSError:
            return warning("rotation", "The store is unavailable, so the session was not rotated.", _CHECK_STORE)

    async def _upload(self) -> Finding:
        host = self._session.site.config.hosts.upload
        try:
            await self._session.site.call("GET", host + "/", {}, only=())
        except GatewayError as error:
            advice = "Files cannot be sent. Check that a firewall or the proxy does not block connections to this host."
            return failed("upload host", f"{host} is not reachable. {error.message}", advice)
        return ok("upload host", f"{host} is reachable.")


async def _rotated(rotation: SessionRotation, session_store: SessionStore, clock: Clock) -> Finding:
    """Rotate the session, unless another process is doing so or just did."""
    before = session_store.saved
    if not await rotation.rotate_now():
        return ok("rotation", "Not tried: another process is rotating it.")
    if session_store.saved.never:
        message = "The site never rotates this session: it works until the site ends it, after hours or days."
        return warning(
            "rotation", message, "Watch the account, and give it a new export when it ends. See docs/accounts.md."
        )
    if session_store.saved.rotated_at == before.rotated_at:
        return ok("rotation", f"Not tried: the session was rotated {_span(clock.wall() - before.rotated_at)} ago.")
    if session_store.cookies.get(wire.PSIDTS) == before.cookies.get(wire.PSIDTS):
        return ok("rotation", "The session was rotated; the site sent no new value, which is normal.")
    return ok("rotation", "The session was rotated.")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} minutes"
