"""The table of the admin API's operations: its routes and its documentation are made of it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from protocol.http.endpoint import ASGIResponse
from service.accounts.views import AccountView
from service.admin.handlers import AdminHandlers, AdminRequest
from service.admin.wire import AccountList, Examined, Exported, NewAccount, Pausing, Status

Handle = Callable[[AdminHandlers, AdminRequest], Awaitable[ASGIResponse]]

STREAM = "text/event-stream"

_ANY = {
    400: "The request cannot be understood.",
    401: "There is no token, or nobody's.",
    404: "There is nothing at this path, or no such account.",
    405: "The path takes another method.",
    503: "The store does not answer, or the gateway is ending.",
}
_CHANGES = {403: "The token may look, but neither change nor export anything."}
_READS = {
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The body is no JSON, or compressed.",
    422: "A value cannot be used.",
}
_CONFLICT = {409: "The account is there already, is another's session, is in the settings, or cannot be used."}


class Operation(msgspec.Struct, frozen=True):
    """One of them."""

    method: str
    path: str
    name: str
    """The operation's own name."""
    handle: Handle
    description: str
    responses: Mapping[int, tuple[Any, str]]
    """By status: the type of the body and what it means; None: there is no body."""
    changes: bool = True
    """Whether it changes or exports anything: not for tokens that may only look."""
    request_type: type[msgspec.Struct] | None = None
    body_optional: bool = False
    """The body may be left out."""
    conflicts: bool = False
    """It may not go with what an account is."""

    @property
    def errors(self) -> Mapping[int, str]:
        """What it may be refused with, by status."""
        found = dict(_ANY)
        for applies, more in ((self.changes, _CHANGES), (self.request_type, _READS), (self.conflicts, _CONFLICT)):
            if applies:
                found |= more
        return found


OPERATIONS = (
    Operation(
        "GET", "/v1/accounts", "listAccounts", AdminHandlers.accounts,
        "List all accounts, as `gemini-gateway accounts list --json` does.",
        {200: (AccountList, "All accounts.")},
        changes=False,
    ),
    Operation(
        "POST", "/v1/accounts", "addAccount", AdminHandlers.add,
        "Add an account, or with `replace` change one; every process takes it up within a second or two.",
        {201: (AccountView, "It was added."), 200: (AccountView, "It was there, and is changed.")},
        request_type=NewAccount, conflicts=True,
    ),
    Operation(
        "GET", "/v1/accounts/{id}", "showAccount", AdminHandlers.account,
        "Show an account.",
        {200: (AccountView, "The account.")},
        changes=False,
    ),
    Operation(
        "DELETE", "/v1/accounts/{id}", "removeAccount", AdminHandlers.remove,
        "Forget an account that was added, and its session; what it is asked already goes on.",
        {204: (None, "It is forgotten.")},
        conflicts=True,
    ),
    Operation(
        "POST", "/v1/accounts/{id}/pause", "pauseAccount", AdminHandlers.pause,
        "Have no process ask an account until it is resumed; what it is asked already goes on.",
        {200: (AccountView, "The account, paused.")},
        request_type=Pausing, body_optional=True,
    ),
    Operation(
        "POST", "/v1/accounts/{id}/resume", "resumeAccount", AdminHandlers.resume,
        "End an account's pause, its park and its rests; where there is none, nothing is changed.",
        {200: (AccountView, "The account as it stands now.")},
    ),
    Operation(
        "POST", "/v1/accounts/{id}/check", "checkAccount", AdminHandlers.check,
        "Walk the whole path with an account, and say what is wrong and what to do. No prompt is sent; its "
        "session may be renewed. It takes some seconds.",
        {200: (Examined, "What was found, whether all is well or not.")},
        conflicts=True,
    ),
    Operation(
        "GET", "/v1/accounts/{id}/export", "exportAccount", AdminHandlers.export,
        "Return an account's session as it is now, in a form that can be added again. It is secret.",
        {200: (Exported, "The session.")},
        conflicts=True,
    ),
    Operation(
        "GET", "/v1/status", "showStatus", AdminHandlers.status,
        "Say how the gateway is, whether its store answers or not.",
        {200: (Status, "How it is.")},
        changes=False,
    ),
    Operation(
        "GET", "/v1/events", "followEvents", AdminHandlers.events,
        "Follow what becomes of accounts, as server-sent events: `event` is what has happened, `data` a Change. "
        "With `Last-Event-ID` it goes on behind that event; where this process does not keep what came after it, the "
        "first event is `lost`, and the accounts are to be read anew. A comment comes each ten seconds. The stream "
        "ends when the process begins to end.",
        {200: (STREAM, "The events, as they come.")},
        changes=False,
    ),
    Operation(
        "GET", "/openapi.json", "describe", AdminHandlers.description,
        "Return this description.",
        {200: (dict[str, Any], "OpenAPI 3.1.")},
        changes=False,
    ),
)  # fmt: skip
