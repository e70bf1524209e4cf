"""Errors as the API writes them. Source: "Errors"."""

from typing import Any

from starlette.responses import JSONResponse

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."


class ApiRefusal(Exception):
    """A request that the API refuses."""

    def __init__(self, code: int, message: str, *details: dict[str, Any], status: str = "") -> None:
        """Set the HTTP status, the message and the details; `status` replaces the usual name of the code."""
        super().__init__(message)
        self.code, self.message, self.details = code, message, details
        self.status = status or _STATUSES.get(code, "UNKNOWN")

    def body(self) -> dict[str, Any]:
        """Return the JSON of the error."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        return {"error": error | ({"details": list(self.details)} if self.details else {})}

    def response(self) -> JSONResponse:
        """Return the error as an answer."""
        return JSONResponse(self.body(), self.code)


_SHORT_CODES = {400: "invalid_request", 403: "permission_denied", 404: "not_found", 429: "too_many_requests"}


def interaction_response(error: ApiRefusal) -> JSONResponse:
    """Return an error as interactions answer it: its code is a word. A key is checked before, in the usual form."""
    if error.code == 403 or any(detail["@type"] == f"{_TYPE}ErrorInfo" for detail in error.details):
        return error.response()
    code = _SHORT_CODES.get(error.code, "api_error")
    return JSONResponse({"error": {"message": error.message, "code": code}}, error.code)


def invalid(message: str) -> ApiRefusal:
    """Return the error of a wrong request."""
    return ApiRefusal(400, message)


def no_method(path: str) -> ApiRefusal:
    """Return the error of a path, or a method of one, that the API does not have."""
    return ApiRefusal(404, f"Method not found: {path[:200]}")


def bad_key() -> ApiRefusal:
    """Return the error of a key that does not exist: a 400, not a 401."""
    info = {
        "@type": f"{_TYPE}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    return ApiRefusal(400, "API key not valid. Please pass a valid API key.", info)


def missing_key() -> ApiRefusal:
    """Return the error of a request without a key."""
    message = "Method doesn't allow unregistered callers (callers without established identity)."
    return ApiRefusal(403, message)


def overloaded() -> ApiRefusal:
    """Return the error of a model that has too much to do."""
    return ApiRefusal(503, "The model is overloaded. Please try again later.")


def quota_exceeded(model: str, *, per: str, tier: str, value: int, delay: float) -> ApiRefusal:
    """Return the error of a quota; `per` is `Day` or `Minute`, `delay` the seconds that it names."""
    free = "-FreeTier" if tier == "free" else ""
    violation = {
        "quotaMetric": f"generativelanguage.googleapis.com/generate_content_{tier}_tier_requests",
        "quotaId": f"GenerateRequestsPer{per}PerProjectPerModel{free}",
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": str(value),
    }
    details = (
        {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]},
        {"@type": f"{_TYPE}Help", "links": [{"description": "Learn more", "url": "https://ai.google.dev/"}]},
        {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{delay:.0f}s"},
    )
    return ApiRefusal(429, "You exceeded your current quota, please check your plan and billing details.", *details)


def no_free_cache(model: str, tokens: int) -> ApiRefusal:
    """Return the error of contents that a free key wants to cache."""
    limit = f"TotalCachedContentStorageTokensPerModelFreeTier limit exceeded for model {model}"
    return ApiRefusal(429, f"{limit}: limit=0, requested={tokens}")


def missing_token() -> ApiRefusal:
    """Return the error of a request to Vertex AI without a token."""
    message = "Request is missing required authentication credential. Expected OAuth 2 access token."
    return ApiRefusal(401, message, _token_info("CREDENTIALS_MISSING"))


def bad_token() -> ApiRefusal:
    """Return the error of a token that is not valid, or no longer."""
    message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
    return ApiRefusal(401, message, _token_info("ACCESS_TOKEN_TYPE_UNSUPPORTED"))


def _token_info(reason: str) -> dict[str, Any]:
    return {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"}
