"""Handlers of the admin API's operations."""

from collections import Counter
from typing import Any

import msgspec
from starlette.responses import Response

from protocol.http.errors import ASGIResponse, shutting_down
from service import VERSION
from service.accounts.route_view import RouteExplainer
from service.accounts.service import AccountError, AccountService, NewAccountRequest
from service.accounts.trial import OpenTrial, Trial
from service.accounts.views import AccountView
from service.admin.errors import map_errors
from service.admin.feed import Feed
from service.admin.feed_stream import FeedStream
from service.admin.token_auth import AdminIdentity
from service.admin.wire import (
    AccountList,
    CheckResult,
    ExportedCredential,
    NewAccount,
    PauseRequest,
    Process,
    Status,
    StoreStatus,
)
from service.server.shutdown import Shutdown
from transports.account import Finding, Level
from transports.accounts.records import read_processes
from transports.accounts.registry import AddResult
from transports.store import ChangeFeed, Records, StoreDown

_BREAKER_OPEN = "open"
"""Failure reason of the store while its circuit breaker is open."""

_encode = msgspec.json.Encoder().encode


class AdminRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated and decoded request."""

    identity: AdminIdentity
    account: str = ""
    """Account id from the path."""
    body: Any = None
    """Decoded body, of the operation's request type."""
    query: Any = None
    """Decoded query parameters, of the operation's query type."""
    last_event_id: str | None = None
    """`Last-Event-ID` of the client."""


class AdminDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of the handlers."""

    accounts: AccountService
    open_trial: OpenTrial | None = None
    """Opens a transport to check an account before it is added; None: none is checked."""
    records: Records
    routes: RouteExplainer
    change_feed: ChangeFeed
    """Polled after each change, so that this process applies it at once."""
    kind: str
    """Kind of the store: sqlite or redis."""
    encrypted: bool
    feed: Feed
    drain: Shutdown
    description: bytes
    """OpenAPI document."""


class AdminHandlers:
    """One handler per operation."""

    def __init__(self, deps: AdminDeps) -> None:
        """Use these dependencies."""
        self._deps, self._accounts = deps, deps.accounts

    async def accounts(self, _: AdminRequest) -> ASGIResponse:
        """Return all accounts."""
        with map_errors():
            return _json(AccountList(accounts=tuple(await self._accounts.list_accounts())))

    async def account(self, request: AdminRequest) -> ASGIResponse:
        """Return one account."""
        with map_errors():
            return _json(await self._accounts.get_account(request.account))

    async def add(self, request: AdminRequest) -> ASGIResponse:
        """Add an account, or replace one."""
        new: NewAccount = request.body
        adding = NewAccountRequest(
            id=new.id,
            secret=new.secret,
            transport=new.transport,
            options=new.options,
            replace=new.replace,
        )
        with map_errors():
            findings: list[Finding] = []
            opener = self._deps.open_trial if new.check else None
            trial = None if opener is None else Trial(open=opener, report=findings.append)
            try:
                added = await self._accounts.add(adding, by=request.identity.actor, trial=trial)
            except AccountError as error:
                failed = [f"{one.step}: {one.message} {one.advice}" for one in findings if one.level is Level.FAILED]
                raise AccountError(error.code, " ".join([f"{str(error).split(' (command')[0]}.", *failed])) from None
            row = await self._refreshed(new.id)
        return _json(row, 200 if added is AddResult.CHANGED else 201)

    async def remove(self, request: AdminRequest) -> ASGIResponse:
        """Remove an account."""
        with map_errors():
            await self._accounts.remove(request.account, by=request.identity.actor)
            await self._deps.change_feed.poll()
        return Response(status_code=204)

    async def pause(self, request: AdminRequest) -> ASGIResponse:
        """Pause an account."""
        pausing: PauseRequest = request.body or PauseRequest()
        with map_errors():
            await self._accounts.pause(request.account, by=request.identity.actor, reason=pausing.reason)
            return _json(await self._refreshed(request.account))

    async def resume(self, request: AdminRequest) -> ASGIResponse:
        """End an account's pause, attention state and cooldowns."""
        with map_errors():
            await self._accounts.resume(request.account, by=request.identity.actor)
            return _json(await self._refreshed(request.account))

    async def check(self, request: AdminRequest) -> ASGIResponse:
        """Check an account step by step."""
        with map_errors():
            findings = tuple([finding async for finding in self._accounts.check(request.account)])
        healthy = not any(finding.level is Level.FAILED for finding in findings)
        return _json(CheckResult(account=request.account, healthy=healthy, findings=findings))

    async def export(self, request: AdminRequest) -> ASGIResponse:
        """Return an account's credential."""
        with map_errors():
            secret = await self._accounts.export(request.account, by=request.identity.actor)
        return _json(ExportedCredential(account=request.account, secret=secret))

    async def route(self, request: AdminRequest) -> ASGIResponse:
        """Return the route that a request would take."""
        with map_errors():
            return _json(self._deps.routes.explain(request.query, await self._accounts.list_accounts()))

    async def status(self, _: AdminRequest) -> ASGIResponse:
        """Return the gateway's status, also when the store does not answer."""
        reason, processes, accounts = "", None, None
        try:
            records = sorted(await read_processes(self._deps.records), key=lambda one: one.started)
            processes = tuple(
                Process(id=one.id, started=one.started, in_flight=sum(c.in_flight for c in one.accounts.values()))
                for one in records
            )
            accounts = dict(Counter(row.state for row in await self._accounts.list_accounts()))
        except OSError as error:
            reason = error.reason if isinstance(error, StoreDown) else "broken"
        store = StoreStatus(
            kind=self._deps.kind,
            encrypted=self._deps.encrypted,
            available=not reason,
            breaker_open=reason == _BREAKER_OPEN,
            reason=reason,
        )
        status = Status(
            version=VERSION,
            draining=self._deps.drain.draining,
            store=store,
            processes=processes,
            accounts=accounts,
        )
        return _json(status)

    async def events(self, request: AdminRequest) -> ASGIResponse:
        """Stream the feed."""
        if self._deps.drain.draining:
            raise shutting_down()
        return FeedStream(self._deps.feed, request.last_event_id, self._deps.drain.ending)

    async def description(self, _: AdminRequest) -> ASGIResponse:
        """Return the OpenAPI document."""
        return Response(self._deps.description, media_type="application/json")

    async def _refreshed(self, account: str) -> AccountView:
        """Apply a change in this process at once and return the account."""
        await self._deps.change_feed.poll()
        return await self._accounts.get_account(account)


def _json(value: msgspec.Struct, status: int = 200) -> Response:
    return Response(_encode(value), status, {"Cache-Control": "no-store"}, media_type="application/json")
