"""Refuses requests that are not valid HTTP/1.1, and routes the others to their endpoint."""

from collections.abc import Iterable
from typing import Any

from starlette.routing import Match, Route

from protocol.http.body import UNREAD
from protocol.http.context import context_of
from protocol.http.errors import ASGIResponse, HttpError, Refuse
from protocol.http.operation import Dialect
from protocol.model import GatewayError


class HttpValidation:
    """Refuses HTTP/2, WebSockets, overlong headers and ambiguous framing."""

    def __init__(self, app: Any, header_bytes: int, refuse: Refuse) -> None:
        """Pass requests with at most `header_bytes` of headers on to `app`; `refuse` writes the error of the others."""
        self._app, self._header_bytes, self._refuse = app, header_bytes, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        fault = _fault(scope, self._header_bytes) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        context_of(scope).record.error = fault.code
        scope[UNREAD] = True
        await self._refuse(fault)(scope, receive, send)


def _fault(scope: Any, most: int) -> HttpError | None:
    if scope["http_version"] not in {"1.0", "1.1"}:
        return HttpError(505, "http_version", "This server speaks HTTP/1.1; HTTP/2 ends at the ingress.")
    headers = scope["headers"]
    if len(scope["raw_path"]) + sum(len(name) + len(value) + 4 for name, value in headers) > most:
        return HttpError(431, "headers_too_large", f"The request's headers are longer than {most} bytes.")
    names = [name for name, _ in headers]
    if (b"content-length" in names and b"transfer-encoding" in names) or names.count(b"host") > 1:
        return HttpError(400, "invalid_value", "The request's headers contradict each other.")
    return None


class RequestRouter:
    """Routes requests, and writes errors in the form of the dialect whose path was requested.

    The first route that matches answers. Paths without parameters, which most requests have, are found in a dictionary.
    """

    def __init__(self, default: Dialect, routes: Iterable[tuple[Route, Dialect]]) -> None:
        """Take all routes with their dialects; a path that belongs to none gets errors in the form of `default`."""
        self._default, self._routes = default, list(routes)
        self._exact: dict[tuple[str, str], Route] = {}
        for route, _ in self._routes:
            for method in route.methods or ():
                match, first, _ = self._find({"type": "http", "method": method, "path": route.path})
                if match is Match.FULL and first is route and not route.param_convertors:
                    self._exact[method, route.path] = route

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        if scope["type"] != "http":  # the server's start or end
            return
        route = self._exact.get((scope["method"], scope["path"]))
        if route is not None:
            scope["route"], scope["path_params"] = route, {}
            await route.app(scope, receive, send)
            return
        match, route, dialect = self._find(scope)
        if route is None:
            fault = HttpError(404, "not_found", "There is nothing at this path; the API is below /v1.")
        else:
            scope["route"], scope["path_params"] = route, route.matches(scope)[1]["path_params"]
            if match is Match.FULL:
                await route.app(scope, receive, send)
                return
            fault = HttpError(405, "method_not_allowed", f"{scope['method']} is not allowed on this path.")
        context_of(scope).record.error = fault.code
        response = dialect.refuse(fault)
        if route is not None:
            response.headers["allow"] = ", ".join(sorted(route.methods or ()))
        await response(scope, receive, send)

    def refuse(self, error: GatewayError) -> ASGIResponse:
        """Return the response to an error; the path of its scope chooses the dialect."""

        async def respond(scope: Any, receive: Any, send: Any) -> None:
            await self._find(scope)[2].refuse(error)(scope, receive, send)

        return respond

    def _find(self, scope: Any) -> tuple[Match, Route | None, Dialect]:
        """Return the first route of a request's path and method, or else of its path alone, and the dialect."""
        partial: tuple[Match, Route | None, Dialect] = (Match.NONE, None, self._default)
        for route, dialect in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return match, route, dialect
            if match is Match.PARTIAL and partial[0] is Match.NONE:
                partial = match, route, dialect
        return partial
