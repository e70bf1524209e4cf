"""Rotates the cookies of one account's session. Source: "Session", step 2. Source: reliability 2.2.

Theory of operation. The site replaces the rolling cookie on request and accepts the old value only for a short grace
period, so a new value that is lost costs the account. Several processes share an account; three records keep them safe:

- The lock (`RotationLock`, 45 s) lets one process rotate at a time. It is checked again just before the call, and the
  call must end well before the lock does.
- The intent (`RotationIntent`) is written to the store before the call: owner, start time and a fingerprint of the old
  cookies. A process that finds an intent without an outcome knows that the site may have issued a new value.
- The outcome replaces the empty one of the intent after the call. `unknown` keeps the intent open.

A new value is always kept, even if the lock was lost during the call: `SessionRecord.order` decides which of two values
is newer, not the order of writes.

Example: process A writes intent(old=ts-1), calls the site and is killed before it saves ts-2. Process B gets the lock
after it expires and finds the open intent for ts-1. B loads the page with ts-1, which is still in its grace period, and
rotates again. If the site answers 401, B reloads the store, then tries once without the rolling cookies, and only then
reports that the account needs attention.
"""

import math
import random
from contextlib import suppress

import anyio
import structlog
from msgspec.structs import replace

from protocol.model import GatewayError, SignedOut, Throttled, UpstreamTimeout
from transports.base import Deps
from transports.store.barrier import Barrier
from transports.store.port import INTENTS, Record
from transports.tasks import wait_for
from transports.web import wire
from transports.web.attention_reasons import NEVER_ROTATED, AttentionReason
from transports.web.codec.batch import answer_error
from transports.web.errors import signed_out
from transports.web.session.record import SessionRecord, fingerprint, same_credentials
from transports.web.session.rotation_lock import (
    CALL_SECONDS,
    LOCK_SECONDS,
    RotationIntent,
    RotationLock,
    encode_intent,
    read_intent,
)
from transports.web.session.rotation_outcome import Outcome, RotationReporter, outcome_of, read_interval
from transports.web.session.session import Session
from transports.web.session.store import SessionStore

_JITTER = 0.1
_MIN_GAP_SECONDS = 60.0
"""Minimum time between two calls of any processes; also the delay before rotating a value of unknown age."""
_OTHER_PROCESS_SECONDS = (30.0, 60.0)
"""Extra delay of a process that did not rotate last."""
_POLL_SECONDS = 5.0
"""Delay before checking again while another process rotates."""
_FRESH = 0.5
"""A value younger than this part of the interval is not rotated again."""
_FLUSH_SECONDS = 20.0
"""How long shutdown waits for an unsaved value."""

_log = structlog.get_logger()


class SessionRotation:
    """Rotates one session on schedule."""

    def __init__(self, session: Session, session_store: SessionStore, deps: Deps) -> None:
        """Create the rotation; `run` starts it."""
        self._session, self._session_store, self._deps = session, session_store, deps
        self._records, self._clock = deps.store.records, deps.clock
        self._reporter = RotationReporter(deps, session.name)
        self._seconds = session.site.config.rotate_seconds
        self._soon = min(_MIN_GAP_SECONDS, self._seconds)
        self._barrier = Barrier(deps.store.locks, deps.clock, LOCK_SECONDS)
        self._clock_offset: float | None = None
        """The store's clock minus this process's monotonic clock."""
        self._retry_wait = 0.0
        """Seconds until the next attempt is allowed, as the last attempt found."""
        self._other_intent: RotationIntent | None = None
        """The open intent of another process, if known."""
        self._wake = anyio.Event()
        self._owner = ""
        """Owner id of the intents written while it rotates."""
        self._signed_out = False

    @property
    def _interval(self) -> float:
        """Seconds between rotations: the site's value, else the setting."""
        return self._session_store.saved.interval or self._seconds

    async def run(self) -> None:
        """Rotate whenever a rotation is due, until cancelled; then save what is unsaved."""
        if not self._seconds:
            return
        try:
            await self.prepare()
            delay = self.seconds_until_due()
            while True:
                await wait_for(self._wake, delay, self._clock)
                woken, self._wake = self._wake.is_set(), anyio.Event()
                delay = self.seconds_until_due() if woken and self._other_intent is None else await self.run_once()
        finally:
            with anyio.move_on_after(_FLUSH_SECONDS, shield=True):
                await self._session_store.save(_FLUSH_SECONDS)
            if self._session_store.unsaved:
                _log.error("rotated_session_save_failed", account=self._session.name)

    async def prepare(self) -> None:
        """Start the barrier's waiting time, and look for a rotation that began before this process started."""
        with suppress(OSError):
            await self._barrier.passed()
            await self._read_store_time()
            found = await self._records.get(INTENTS, self._session.name)
            if found is not None:
                await self.note_intent(found)

    async def note_intent(self, record: Record) -> None:
        """Take note of a stored intent: an open one of another process is checked again soon."""
        intent = read_intent(record.value)
        current = intent is not None and intent.old_hash == fingerprint(self._session_store.cookies)
        if intent is not None and current and intent.open and intent.owner != self._owner and not self._other_intent:
            self._other_intent = intent
            self._wake.set()
        elif not current or (intent is not None and not intent.open):
            self._other_intent = None

    async def rotate_now(self) -> bool:
        """Rotate now unless the value is fresh; return False if another process is or may be rotating.

        Raises:
            SignedOut: the session has ended; the operator must export its cookies again.
            GatewayError: the rotation failed this time.
            OSError: the store is unavailable.

        """
        outcome = await self._attempt()
        self._reporter.report_outcome(outcome)
        return outcome != "busy"

    async def run_once(self) -> float:
        """Rotate and report errors; return the seconds to the next attempt."""
        name = self._session.name
        self._other_intent, self._retry_wait = None, 0.0
        if self._session_store.saved.never:
            return self.seconds_until_due()
        if self._deps.shutting_down():
            return min(_POLL_SECONDS, self._seconds)  # shutting down: another process takes over
        try:
            done = await self.rotate_now()
        except SignedOut as error:
            self._reporter.report_outcome(outcome_of(error))
            if not self._signed_out:
                _log.error("account_attention_required", account=self._session.name, reason=error.reason)
                self._reporter.report_change("rotation_failed", error.reason, error.advice)
            self._signed_out = True
            await self._session.report_signed_out(error)
            return self._spread_interval()
        except (GatewayError, OSError) as error:
            outcome = outcome_of(error)
            self._reporter.report_outcome(outcome)
            _log.warning("rotation_failed", account=name, outcome=outcome, error=type(error).__name__)
            wait = error.retry_after if isinstance(error, Throttled) and error.retry_after else 0.0
            return max(wait, self._soon * random.uniform(1, 1 + _JITTER))  # noqa: S311 -- spreads load, hides nothing
        if not done:
            return max(self._retry_wait, min(_POLL_SECONDS, self._seconds))
        if self._signed_out:
            _log.info("account_recovered", account=name)
        self._signed_out = False
        self._session.report_rotated()
        return self.seconds_until_due()

    def seconds_until_due(self) -> float:
        """Return the seconds until the next rotation; the process that rotated last goes first."""
        if self._other_intent is not None:
            return min(_POLL_SECONDS, self._seconds)
        saved, due = self._session_store.saved, self._spread_interval()
        if saved.never:
            return due  # the operator may have imported another export by then
        if saved.by and saved.by != self._deps.process_id:
            due += random.uniform(*_OTHER_PROCESS_SECONDS)  # noqa: S311 -- spreads load, hides nothing
        age = (
            self._clock.wall() if self._clock_offset is None else self._clock.monotonic() + self._clock_offset
        ) - saved.rotated_at
        soonest = _spread(self._soon if not saved.rotated_at else min(_POLL_SECONDS, self._soon))
        return min(due, max(soonest, due - age))

    def _spread_interval(self) -> float:
        """Return the interval with jitter; never less than the site's own interval."""
        if self._session_store.saved.interval:
            return self._interval * random.uniform(1, 1 + _JITTER)  # noqa: S311 -- spreads load, hides nothing
        return _spread(self._seconds)

    async def _read_store_time(self) -> float:
        now = await self._records.now()
        self._clock_offset = now - self._clock.monotonic()
        return now

    async def _attempt(self) -> Outcome:
        lock = RotationLock(f"rotate/{self._session.name}", self._deps.store.locks, self._clock)
        if not await lock.acquire(self._barrier):
            return "busy"
        self._owner = lock.owner
        try:
            await self._reload()
            now = await self._read_store_time()
            if self._session_store.saved.never:
                return "never"
            if self._fresh(now):
                return "already_rotated"
            found = await self._records.get(INTENTS, self._session.name)
            before = read_intent(found.value) if found is not None else None
            unsure = before is not None and before.open and before.old_hash == fingerprint(self._session_store.cookies)
            if before is not None and unsure and now - before.started >= CALL_SECONDS:
                _log.warning("rotation_taken_over", account=self._session.name)
                await self._session.signed_in()  # shows the site that the value is in use; it may set another one
            if before is not None and 0 <= now - before.started < _MIN_GAP_SECONDS:
                self._retry_wait = _MIN_GAP_SECONDS - (now - before.started)
                return "busy"
            outcome: Outcome = "busy"
            with anyio.CancelScope(shield=True):  # the site may answer with a new value, which must not be lost
                outcome = await self._renew(lock, found.version if found is not None else 0, unsure=unsure)
            return outcome  # noqa: RET504 -- pyright assumes that the scope may swallow exceptions
        finally:
            self._owner = ""
            with anyio.CancelScope(shield=True):
                await lock.release()

    def _fresh(self, now: float) -> bool:
        return 0 <= now - self._session_store.saved.rotated_at < _FRESH * self._interval

    async def _reload(self) -> bool:
        changed = await self._session_store.load()
        if changed:
            await self._session.forget()
        return changed

    async def _renew(self, lock: RotationLock, version: int, *, unsure: bool) -> Outcome:
        """Rotate; after a refusal retry with cookies that another process renewed, then without the rolling cookies.

        `unsure`: the outcome of an earlier call is unknown, and stays so if this call does not happen or fails.
        """
        renewed = without_rolling = False
        while await lock.renew_if_needed():
            sent = self._session_store.saved
            try:
                return await self._call_with_intent(lock, sent, version, unsure=unsure, without_rolling=without_rolling)
            except SignedOut as error:
                refusal = error
            await self._reload()
            if not renewed and not same_credentials(self._session_store.cookies, sent.cookies):
                if self._fresh(await self._read_store_time()):
                    return "already_rotated"
                renewed, without_rolling = True, False
            elif not without_rolling and wire.PSIDTS in sent.cookies:
                without_rolling = True
            elif not sent.rotated_at and await self._session.signed_in():
                raise signed_out(AttentionReason.BOUND)
            else:
                raise refusal
            found = await self._records.get(INTENTS, self._session.name)
            version, unsure = found.version if found is not None else 0, False
        return "busy"

    async def _call_with_intent(
        self, lock: RotationLock, sent: SessionRecord, version: int, *, unsure: bool, without_rolling: bool
    ) -> Outcome:
        """Write the intent, call the site, write the outcome. `without_rolling`: send no rolling cookies."""
        started = await self._read_store_time()
        intent = RotationIntent(fence=lock.fence, owner=lock.owner, started=started, old_hash=fingerprint(sent.cookies))
        noted = await self._records.put(INTENTS, self._session.name, encode_intent(intent), expected=version)
        if noted is None:
            return "busy"
        if not await self._records.settle():
            self._reporter.report_outcome("unconfirmed")
        if not lock.has_time_for_call():
            await self._write_outcome("unknown" if unsure else "busy", intent, noted)
            return "busy"
        try:
            outcome = await self._call(sent, started, without_rolling=without_rolling)
        except (GatewayError, OSError) as error:
            still_unsure = unsure and not isinstance(error, SignedOut)
            await self._write_outcome("unknown" if still_unsure else outcome_of(error), intent, noted)
            raise
        return await self._write_outcome(outcome, intent, noted)

    async def _call(self, sent: SessionRecord, started: float, *, without_rolling: bool) -> Outcome:
        """Ask the site for a new value and save it; nothing is awaited before the request is sent."""
        site = self._session.site
        answer = None
        _log.debug("rotation_sent", account=self._session.name, without_rolling=without_rolling)
        with anyio.move_on_after(CALL_SECONDS):
            every = self._session.site.config.rotate_cookies == "all"
            names = list(sent.cookies) if every else [wire.PSID, wire.PSIDTS]
            answer = await site.call(
                "POST",
                site.config.hosts.accounts + wire.ROTATE_PATH,
                {"Content-Type": wire.ROTATE_CONTENT_TYPE, "Origin": site.config.hosts.accounts},
                data=wire.ROTATE_BODY,
                only=[name for name in names if not without_rolling or name not in wire.ROLLING_COOKIES],
            )
        if answer is None:
            raise UpstreamTimeout("The upstream did not answer in time.")
        status, headers, body = answer
        _log.debug("rotation_response_received", account=self._session.name, status=status)
        interval = read_interval(body)
        if status == 403 and interval == math.inf:
            await self._session_store.mark_never_rotated(sent)
            self._report_never_rotated()
            return "never"
        if status != 200:
            raise answer_error(status, headers)
        set_cookies = headers.getall("Set-Cookie", [])
        saved = await self._session_store.renew(
            sent, set_cookies, at=started, by=self._deps.process_id, interval=interval
        )
        _log.debug("rotation_saved", account=self._session.name, saved=saved)
        if not saved or self._session_store.weak:
            self._reporter.report_outcome("unconfirmed" if saved else "not_saved")
        new = sent.cookies.get(wire.PSIDTS) != self._session_store.cookies.get(wire.PSIDTS)
        _log.info("session_rotated", account=self._session.name, new_value=new, interval=self._interval)
        self._reporter.report_change("rotated")
        if interval == math.inf:
            self._report_never_rotated()
        await self._session.forget()
        return "rotated" if new else "unchanged"

    def _report_never_rotated(self) -> None:
        _log.warning("rotation_disabled", account=self._session.name)
        self._reporter.report_change("rotation_failed", "never", NEVER_ROTATED)

    async def _write_outcome(self, outcome: Outcome, intent: RotationIntent, version: int) -> Outcome:
        """Write the outcome into the intent, unless the intent was changed since."""
        with suppress(OSError):
            done = encode_intent(replace(intent, outcome=outcome))
            await self._records.put(INTENTS, self._session.name, done, expected=version)
        return outcome


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- spreads load, hides nothing
