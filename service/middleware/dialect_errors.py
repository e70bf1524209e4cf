"""Writes the errors of middleware and routing in the form of the dialect whose path was requested."""

import re
from collections.abc import Iterable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol.http.context import context_of
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.operation import Dialect
from protocol.model import GatewayError


class DialectErrors:
    """Knows the dialect of each path; a path that belongs to none gets errors in the form of the default dialect."""

    def __init__(self, default: Dialect, routes: Iterable[tuple[Route, Dialect]]) -> None:
        """Take the routes of all dialects, in the order in which they are matched."""
        self._default = default
        self._fixed: dict[str, Dialect] = {}
        self._patterns: list[tuple[re.Pattern[str], Dialect]] = []
        for route, dialect in routes:
            if route.param_convertors:
                self._patterns.append((route.path_regex, dialect))
            else:
                self._fixed.setdefault(route.path, dialect)

    def refuse(self, error: GatewayError) -> ASGIResponse:
        """Return the response to an error; the path of its scope chooses the dialect."""

        async def respond(scope: Any, receive: Any, send: Any) -> None:
            await self._dialect(scope["path"]).refuse(error)(scope, receive, send)

        return respond

    async def internal_error(self, request: Request, _: Exception) -> Response:
        """Answer 500 to an unexpected exception (a handler of Starlette's); `RequestContextMiddleware` logs it."""
        return self._response(request, GatewayError("The gateway failed."))

    async def http_error(self, request: Request, error: Exception) -> Response:
        """Answer 404 or 405 to a request that matches no route (a handler of Starlette's)."""
        assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this type
        if error.status_code == 405:
            fault = HttpError(405, "method_not_allowed", f"{request.method} is not allowed on this path.")
        else:
            fault = HttpError(404, "not_found", "There is nothing at this path; the API is below /v1.")
        response = self._response(request, fault)
        response.headers.update(error.headers or {})
        return response

    def _response(self, request: Request, error: GatewayError) -> Response:
        context_of(request.scope).record.error = error.code
        return self._dialect(request.scope["path"]).refuse(error)

    def _dialect(self, path: str) -> Dialect:
        found = self._fixed.get(path)
        return found or next((one for pattern, one in self._patterns if pattern.match(path)), self._default)
