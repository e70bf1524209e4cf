"""Routes requests to their endpoint."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Match, Route

from protocol.http.context import context_of
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.operation import Dialect
from protocol.model import GatewayError

_VERSION = "v1"
"""The first segment of the API's paths."""
_COMPATIBLE = "/v1beta/openai"
"""Where Google has OpenAI's API, next to its own."""
_AZURE = "/openai/deployments/"
_ANY_VERSION = re.compile(r"\A/v\d+(?:(?:alpha|beta)\d*)?(?=/)", re.IGNORECASE)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The route that a request's path leads to, as far as there is one."""

    dialect: Dialect
    path: str
    """The path in its normal form."""
    route: Route | None = None
    """The route of the path and the method."""
    params: Mapping[str, Any] = {}
    methods: frozenset[str] = frozenset()
    """The methods of the path's routes; empty: nothing is at this path."""


class RequestRouter:
    """Routes requests, and writes errors in the form of the dialect whose path was requested.

    Several dialects may have routes for one path, such as `/v1/models`. Then the routes of the dialect that recognizes
    the request (`Dialect.recognizes`) come first. It also writes the errors of paths that no dialect has.

    Clients join a base URL and a path in many ways: `//v1/chat/completions`, `/v1/v1/models`, `/models/`. Each gets its
    normal form (`normal_path`) before it is compared with the API's routes, so that nothing behind the router sees
    another spelling. Probes and metrics have one spelling only: a path that an ingress blocks has no second one.

    The first route that matches answers. Paths without parameters, which most requests have, are found in a dictionary.
    """

    def __init__(
        self,
        default: Dialect,
        routes: Iterable[tuple[Route, Dialect]],
        *,
        fixed: Iterable[Route] = (),
        prefix: str = "",
        base_url: Callable[[Any], str] = lambda _: "",
    ) -> None:
        """Take the API's routes, whose paths work with and without `prefix`, and `fixed` ones, whose paths do not vary.

        `default` stands for the dialect of a request that none recognizes. `base_url` returns the public address of a
        request's gateway, with the prefix.
        """
        self._default, self._routes, self._fixed = default, list(routes), list(fixed)
        self._dialects = [default]
        self._dialects += [one for _, one in self._routes if one not in self._dialects]
        self._prefix, self._base_url = prefix, base_url
        self._exact: dict[tuple[str, str], Route] = {}
        for route, _ in self._routes:
            route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
        for route in (*self._fixed, *(route for route, _ in self._routes)):
            paths = {route.path} if route in self._fixed else {route.path, prefix + route.path}
            for method in () if route.param_convertors else route.methods or ():
                if all(self._find(method, route.path, one).route is route for one in self._dialects):
                    self._exact.update({(method, path): route for path in paths})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        if scope["type"] != "http":  # the server's start or end
            return
        route = self._exact.get((scope["method"], scope["path"]))
        if route is not None:
            scope["route"], scope["path_params"] = route, {}
            await route.app(scope, receive, send)
            return
        found = self._found(scope)
        if found.route is not None:
            scope["route"], scope["path"], scope["path_params"] = found.route, found.path, found.params
            await found.route.app(scope, receive, send)
            return
        await self._unrouted(scope, found)(scope, receive, send)

    def refuse(self, error: GatewayError) -> ASGIResponse:
        """Return the response to an error, in the form of the dialect of its scope."""

        async def respond(scope: Any, receive: Any, send: Any) -> None:
            await self._found(scope).dialect.refuse(error)(scope, receive, send)

        return respond

    def error_body(self, error: HttpError, scope: Any) -> bytes:
        """Return the body of an error of the server itself, as `refuse`; the scope may lack what is unknown."""
        return bytes(self._found(scope).dialect.refuse(error).body)

    def _unrouted(self, scope: Any, found: Found) -> Response:
        """Return the response to a request without a route."""
        allowed = {"allow": ", ".join(sorted(found.methods | {"OPTIONS"}))}
        preflight = any(name == b"access-control-request-method" for name, _ in scope["headers"])  # CORS is off
        if scope["method"] == "OPTIONS" and found.methods and not preflight:
            return Response(status_code=204, headers=allowed)
        refusal = found.dialect.refusal_of(_ANY_VERSION.sub("", found.path))
        wrong_method = found.methods and not refusal
        status, code = (405, "method_not_allowed") if wrong_method else (404, "not_found")
        fault = HttpError(status, code, refusal or self._advice(scope, found, allowed["allow"]))
        context_of(scope).record.error = fault.code
        response = found.dialect.refuse(fault)
        response.headers.update(allowed if wrong_method else {})
        return response

    def _advice(self, scope: Any, found: Found, allowed: str) -> str:
        """Return the message for a path that does not exist, or for a wrong method."""
        base = f"{self._base_url(scope)}/{_VERSION}"
        if found.path.lower().startswith(_AZURE):
            return f"There are no deployments here: use OpenAI's client, not Azure's, with the base URL '{base}'."
        below = dict.fromkeys(
            route.path.removeprefix(f"/{_VERSION}")
            for route, _ in self._routes
            if route.path.startswith(f"/{_VERSION}/") and not route.param_convertors
        )
        what = (
            f"{scope['method']} is not allowed on this path: use {allowed}"
            if found.methods
            else "There is nothing at this path"
        )
        guide = found.dialect.guide or f"The base URL is '{base}'; below it are {', '.join(below)}."
        return f"{what}. {guide}"

    def _found(self, scope: Any) -> Found:
        """Return the route of a request, or else what is known of its path."""
        speaker = next((one for one in self._dialects if one.recognizes(scope)), self._default)
        return self._find(scope["method"], scope["path"], speaker)

    def _find(self, method: str, path: str, speaker: Dialect) -> Found:
        """Return the route of a method and a path, the first one of `speaker` or else of another dialect."""
        routes = sorted(self._routes, key=lambda one: one[1] is not speaker)
        fixed = [(route, self._default) for route in self._fixed if route.path == path]
        normal = normal_path(path, self._prefix)
        methods: set[str] = set()
        dialect, matched = speaker, normal
        for written, some in ((path, fixed), (f"/{_VERSION}{normal}", routes), (normal, routes)):
            for route, owner in some:
                match, child = route.matches({"type": "http", "method": method, "path": written})
                if match is Match.FULL:
                    return Found(dialect=owner, path=written, route=route, params=child["path_params"])
                if match is Match.PARTIAL:
                    dialect, matched = (dialect, matched) if methods else (owner, written)
                    methods |= route.methods or set()
        return Found(dialect=dialect, path=matched, methods=frozenset(methods))


def normal_path(path: str, prefix: str) -> str:
    """Return a decoded path without what clients add to it.

    Empty segments, dot segments (RFC 3986, 5.2.4), blanks, parameters of segments (`;v=1`) and a slash at the end are
    removed, as are `prefix` and the version at the beginning, however often they are repeated. OpenAI's API is also
    below `/v1beta/openai`, where Google has it.
    """
    segments: list[str] = []
    for written in path.split("/"):
        segment = written.partition(";")[0].strip()
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    starts = "|".join(re.escape(start) for start in (prefix, f"/{_VERSION}", _COMPATIBLE) if start)
    return re.sub(rf"^(?:(?:{starts})(?=/|$))+", "", "/" + "/".join(segments), flags=re.IGNORECASE) or "/"
