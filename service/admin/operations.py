"""The table of the admin API's operations: its routes and its documentation are made of it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from protocol.http.endpoint import ASGIResponse
from service.accounts.rows import Row
from service.admin.desk import Asked, Desk
from service.admin.wire import AccountList, Examined, Exported, NewAccount, Pausing, Status

Handle = Callable[[Desk, Asked], Awaitable[ASGIResponse]]

STREAM = "text/event-stream"

ANY = {
    400: "The request cannot be understood.",
    401: "There is no token, or nobody's.",
    404: "There is nothing at this path, or no such account.",
    405: "The path takes another method.",
    503: "The store does not answer, or the gateway is ending.",
}
"""What everything may be answered with."""
_CHANGES = {403: "The token may look, but neither change nor export anything."}
_READS = {
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The body is no JSON, or compressed.",
    422: "A value cannot be used.",
}
_CONFLICT = {409: "The account is there already, is another's session, is in the settings, or cannot be used."}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    method: str
    path: str
    name: str
    """The operation's own name."""
    words: str
    handle: Handle
    changes: bool = True
    """Whether it changes or exports anything: not for tokens that may only look."""
    takes: type[msgspec.Struct] | None = None
    optional: bool = False
    """The body may be left out."""
    answers: Mapping[int, tuple[Any, str]]
    """By status: the type of the body and what it means; None: there is no body."""
    errors: Mapping[int, str] = {}
    """By status, beside what everything may be answered with."""


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/accounts",
        name="listAccounts",
        words="List all accounts, as `gemini-gateway accounts list --json` does.",
        handle=Desk.accounts,
        changes=False,
        answers={200: (AccountList, "All accounts.")},
    ),
    Operation(
        method="POST",
        path="/v1/accounts",
        name="addAccount",
        words="Add an account, or with `replace` change one; every process takes it up within a second or two.",
        handle=Desk.add,
        takes=NewAccount,
        answers={201: (Row, "It was added."), 200: (Row, "It was there, and is changed.")},
        errors=_CHANGES | _READS | _CONFLICT,
    ),
    Operation(
        method="GET",
        path="/v1/accounts/{id}",
        name="showAccount",
        words="Show an account.",
        handle=Desk.account,
        changes=False,
        answers={200: (Row, "The account.")},
    ),
    Operation(
        method="DELETE",
        path="/v1/accounts/{id}",
        name="removeAccount",
        words="Forget an account that was added, and its session; what it is asked already goes on.",
        handle=Desk.remove,
        answers={204: (None, "It is forgotten.")},
        errors=_CHANGES | _CONFLICT,
    ),
    Operation(
        method="POST",
        path="/v1/accounts/{id}/pause",
        name="pauseAccount",
        words="Have no process ask an account until it is resumed; what it is asked already goes on.",
        handle=Desk.pause,
        takes=Pausing,
        optional=True,
        answers={200: (Row, "The account, paused.")},
        errors=_CHANGES | _READS,
    ),
    Operation(
        method="POST",
        path="/v1/accounts/{id}/resume",
        name="resumeAccount",
        words="End an account's pause, its park and its rests; where there is none, nothing is changed.",
        handle=Desk.resume,
        answers={200: (Row, "The account as it stands now.")},
        errors=_CHANGES,
    ),
    Operation(
        method="POST",
        path="/v1/accounts/{id}/check",
        name="checkAccount",
        words="Walk the whole path with an account, and say what is wrong and what to do. No prompt is sent; its "
        "session may be renewed. It takes some seconds.",
        handle=Desk.check,
        answers={200: (Examined, "What was found, whether all is well or not.")},
        errors=_CHANGES | _CONFLICT,
    ),
    Operation(
        method="GET",
        path="/v1/accounts/{id}/export",
        name="exportAccount",
        words="Return an account's session as it is now, in a form that can be added again. It is secret.",
        handle=Desk.export,
        answers={200: (Exported, "The session.")},
        errors=_CHANGES | _CONFLICT,
    ),
    Operation(
        method="GET",
        path="/v1/status",
        name="showStatus",
        words="Say how the gateway is, whether its store answers or not.",
        handle=Desk.status,
        changes=False,
        answers={200: (Status, "How it is.")},
    ),
    Operation(
        method="GET",
        path="/v1/events",
        name="followEvents",
        words="Follow what becomes of accounts, as server-sent events: `event` is what has happened, `data` a Change. "
        "With `Last-Event-ID` it goes on behind that event; where this process does not keep what came after it, the "
        "first event is `lost`, and the accounts are to be read anew. A comment comes each ten seconds. The stream "
        "ends when the process begins to end.",
        handle=Desk.events,
        changes=False,
        answers={200: (STREAM, "The events, as they come.")},
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        name="describe",
        words="Return this description.",
        handle=Desk.description,
        changes=False,
        answers={200: (dict[str, Any], "OpenAPI 3.1.")},
    ),
)
