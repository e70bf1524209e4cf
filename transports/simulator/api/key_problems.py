"""Keys that stop working, as `POST /simulator/keys` orders it, and what the API then answers. Source: "Errors"."""

from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from transports.simulator.api.rpc_errors import ApiRefusal

_TYPE = "type.googleapis.com/google.rpc."
_STUDIO = "Please go to AI Studio at https://ai.studio/projects"
Problem = Literal[
    "deleted", "expired", "leaked", "referrer", "address", "service", "android", "disabled", "no-project", "suspended",
    "billing-disabled", "denied", "no-free-tier", "region", "depleted", "spending-cap",
]  # fmt: skip
_AT_WORK = frozenset({"denied", "no-free-tier", "region", "depleted", "spending-cap"})
"""Problems with which the API still lists its models."""

_ERRORS: dict[str, tuple[int, str, str, str]] = {
    "deleted": (400, "", "API Key not found. Please pass a valid API key.", "API_KEY_INVALID"),
    "expired": (400, "", "API key expired. Please renew the API key.", "API_KEY_INVALID"),
    "leaked": (403, "", "Your API key was reported as leaked. Please use another API key.", ""),
    "referrer": (403, "", "Requests from referer <empty> are blocked.", "API_KEY_HTTP_REFERRER_BLOCKED"),
    "address": (403, "", "The provided API key has an IP address restriction.", "API_KEY_IP_ADDRESS_BLOCKED"),
    "service": (403, "", "Requests to this API method are blocked.", "API_KEY_SERVICE_BLOCKED"),
    "android": (403, "", "Requests from this Android client are blocked.", "API_KEY_ANDROID_APP_BLOCKED"),
    "disabled": (403, "", "Gemini API has not been used in this project, or it is disabled.", "SERVICE_DISABLED"),
    "no-project": (403, "", "The project of this key was not found or deleted.", "CONSUMER_INVALID"),
    "suspended": (403, "", "Permission denied: Consumer 'api_key:{key}' has been suspended.", "CONSUMER_SUSPENDED"),
    "billing-disabled": (403, "", "This API method requires billing to be enabled.", "BILLING_DISABLED"),
    "denied": (403, "", "Your project has been denied access. Please contact support.", ""),
    "no-free-tier": (
        400,
        "FAILED_PRECONDITION",
        "Gemini API free tier is not available in your country. Please enable billing on your project.",
        "",
    ),
    "region": (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", ""),
    "depleted": (429, "", f"Your prepayment credits are depleted. {_STUDIO} to manage your project and billing.", ""),
    "spending-cap": (429, "", f"Your project has exceeded its monthly spending cap. {_STUDIO} to manage it.", ""),
}
"""Status, name of the status if it is not the usual one, message, and reason of the ErrorInfo; empty: it has none."""


class _Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    problem: Problem | None
    """None: the key works again."""


_decode: Callable[[bytes], _Order] = msgspec.json.Decoder(_Order).decode


class KeyProblems:
    """The problems of keys, by key."""

    def __init__(self) -> None:
        """Let all keys work."""
        self._problems: dict[str, str] = {}

    def check(self, key: str, *, at_work: bool) -> None:
        """Raise the ApiRefusal of a key's problem; `at_work` in requests that ask a model."""
        problem = self._problems.get(key)
        if problem is None or (problem in _AT_WORK and not at_work):
            return
        code, status, message, reason = _ERRORS[problem]
        info = {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"}
        raise ApiRefusal(code, message.format(key=key), *([info] if reason else []), status=status)

    async def order(self, request: Request) -> Response:
        """Answer `POST /simulator/keys`."""
        try:
            ordered = _decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        if ordered.problem is None:
            self._problems.pop(ordered.key, None)
        else:
            self._problems[ordered.key] = ordered.problem
        return JSONResponse({"keys_with_problems": len(self._problems)})
