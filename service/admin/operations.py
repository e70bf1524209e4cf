"""The operations of the admin API, from which its routes and its OpenAPI document are built."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from protocol.http.errors import ASGIResponse
from service.accounts.route_view import RouteQuery, RouteView
from service.accounts.views import AccountView
from service.admin.handlers import AdminHandlers, AdminRequest
from service.admin.wire import AccountList, CheckResult, ExportedCredential, NewAccount, PauseRequest, Status

Handle = Callable[[AdminHandlers, AdminRequest], Awaitable[ASGIResponse]]

STREAM = "text/event-stream"

_ANY = {
    400: "The request is malformed.",
    401: "The token is missing or unknown.",
    404: "The path or the account does not exist.",
    405: "The path does not support this method.",
    503: "The store does not answer, or the gateway is shutting down.",
}
_CHANGES = {403: "The token is read-only: it cannot change or export anything."}
_READS = {
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON, or it is compressed.",
    422: "A value is invalid.",
}
_QUERY = {422: "A parameter is unknown, missing or invalid, or the model does not exist."}
_CONFLICT = {
    409: "The account exists already, shares a session with another one, is defined in the settings, or is unusable."
}


class AdminOperation(msgspec.Struct, frozen=True):
    """One operation: method, path, handler and documentation."""

    method: str
    path: str
    name: str
    """`operationId` in the OpenAPI document."""
    handle: Handle
    description: str
    responses: Mapping[int, tuple[Any, str]]
    """Body type and description by status; the type is None if there is no body."""
    changes: bool = True
    """Whether it changes or exports something and needs more than a read-only token."""
    request_type: type[msgspec.Struct] | None = None
    query_type: type[msgspec.Struct] | None = None
    """Type of the query parameters."""
    body_optional: bool = False
    """Whether the body may be omitted."""
    conflicts: bool = False
    """Whether it may fail with 409."""

    @property
    def errors(self) -> Mapping[int, str]:
        """Descriptions of the possible errors by status."""
        found = dict(_ANY)
        for applies, more in (
            (self.changes, _CHANGES),
            (self.request_type, _READS),
            (self.conflicts, _CONFLICT),
            (self.query_type, _QUERY),
        ):
            if applies:
                found |= more
        return found


OPERATIONS = (
    AdminOperation(
        "GET", "/v1/accounts", "listAccounts", AdminHandlers.accounts,
        "List all accounts, as `gemini-gateway accounts list --json` does.",
        {200: (AccountList, "All accounts.")},
        changes=False,
    ),
    AdminOperation(
        "POST", "/v1/accounts", "addAccount", AdminHandlers.add,
        "Add an account, or change one with `replace`; every process uses it within two seconds.",
        {201: (AccountView, "The account was added."), 200: (AccountView, "The account was changed.")},
        request_type=NewAccount, conflicts=True,
    ),
    AdminOperation(
        "GET", "/v1/accounts/{id}", "showAccount", AdminHandlers.account,
        "Show an account.",
        {200: (AccountView, "The account.")},
        changes=False,
    ),
    AdminOperation(
        "DELETE", "/v1/accounts/{id}", "removeAccount", AdminHandlers.remove,
        "Remove an account and its session from the store; open requests continue.",
        {204: (None, "The account was removed.")},
        conflicts=True,
    ),
    AdminOperation(
        "POST", "/v1/accounts/{id}/pause", "pauseAccount", AdminHandlers.pause,
        "Stop sending requests to an account until it is resumed; open requests continue.",
        {200: (AccountView, "The account, paused.")},
        request_type=PauseRequest, body_optional=True,
    ),
    AdminOperation(
        "POST", "/v1/accounts/{id}/resume", "resumeAccount", AdminHandlers.resume,
        "End an account's pause, attention state and cooldowns, if it has any.",
        {200: (AccountView, "The account after the change.")},
    ),
    AdminOperation(
        "POST", "/v1/accounts/{id}/check", "checkAccount", AdminHandlers.check,
        "Check an account step by step and report problems with advice. It sends no prompt, may rotate the "
        "session and takes several seconds.",
        {200: (CheckResult, "The findings, including failures.")},
        conflicts=True,
    ),
    AdminOperation(
        "GET", "/v1/accounts/{id}/export", "exportAccount", AdminHandlers.export,
        "Return an account's current session in a form that can be added again. It is secret.",
        {200: (ExportedCredential, "The session.")},
        conflicts=True,
    ),
    AdminOperation(
        "GET", "/v1/route", "explainRoute", AdminHandlers.route,
        "Explain which route a request would take, its transports in their order, and which of their accounts can "
        "serve it now, as `gemini-gateway route explain --json` does. Nothing is sent.",
        {200: (RouteView, "The route.")},
        changes=False, query_type=RouteQuery,
    ),
    AdminOperation(
        "GET", "/v1/status", "showStatus", AdminHandlers.status,
        "Show the gateway's status, also when its store does not answer.",
        {200: (Status, "The status.")},
        changes=False,
    ),
    AdminOperation(
        "GET", "/v1/events", "followEvents", AdminHandlers.events,
        "Follow account changes as server-sent events: `event` names the change, `data` is an AccountChange. "
        "With `Last-Event-ID` the stream resumes after that event; if later events are no longer available, the "
        "first event is `lost`: read the accounts again. A heartbeat comment is sent after ten seconds without an "
        "event. The stream ends when shutdown begins.",
        {200: (STREAM, "The stream of events.")},
        changes=False,
    ),
    AdminOperation(
        "GET", "/openapi.json", "describe", AdminHandlers.description,
        "Return this document.",
        {200: (dict[str, Any], "The OpenAPI 3.1 document.")},
        changes=False,
    ),
)  # fmt: skip
