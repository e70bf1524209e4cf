"""The admin API's ASGI app: token authentication, and a route for each operation in `operations`."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from protocol.http.body import decode_body, read_body
from protocol.http.context import context_of
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.operation import Endpoint
from protocol.http.response import WholeResponse
from protocol.model import BadRequest, GatewayError
from service.admin.errors import refusal
from service.admin.handlers import AdminDeps, AdminHandlers, AdminRequest
from service.admin.operations import OPERATIONS, STREAM, AdminOperation
from service.admin.token_auth import IDENTITY, AdminIdentity, AdminTokens, TokenAuth
from service.server.shutdown import Shutdown

BODY_BYTES = 1024 * 1024


def admin_app(deps: AdminDeps, tokens: AdminTokens) -> Any:
    """Create the app; `RequestContextMiddleware` must wrap it."""
    handlers: dict[Any, Any] = {HTTPException: _http_error, Exception: _internal_error}
    app = Starlette(routes=routes(AdminHandlers(deps), deps.drain), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return TokenAuth(app, tokens)


def streams(operation: AdminOperation) -> bool:
    """Return whether an operation answers with a stream of events."""
    return any(kind is STREAM for kind, _ in operation.responses.values())


def routes(handlers: AdminHandlers, drain: Shutdown) -> list[Route]:
    """Return one route per path of the operations."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for operation in OPERATIONS:
        endpoint = Endpoint(_OperationEndpoint(operation, handlers, drain), refusal)
        endpoints = by_path.setdefault(operation.path, {})
        endpoints[operation.method] = endpoint
        if operation.method == "GET" and not streams(operation):  # RFC 9110 section 9.3.2
            endpoints["HEAD"] = endpoint
    found: list[Route] = []
    for path, endpoints in by_path.items():
        route = Route(path, _MethodRouter(endpoints), methods=list(endpoints), name=f"admin {path}")
        route.methods = set(endpoints)  # Starlette would add HEAD to the stream's, too
        found.append(route)
    return found


class _MethodRouter:
    """Dispatches the requests of one path by HTTP method."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._endpoints[scope["method"]](scope, receive, send)


class _OperationEndpoint:
    """Endpoint of one operation: checks permission, decodes the body and calls the handler."""

    def __init__(self, operation: AdminOperation, handlers: AdminHandlers, drain: Shutdown) -> None:
        self._operation, self._handlers, self._drain = operation, handlers, drain
        self._decode = (
            msgspec.json.Decoder(operation.request_type).decode if operation.request_type is not None else None
        )
        self._streams = streams(operation)

    async def __call__(self, request: Request) -> ASGIResponse:
        who: AdminIdentity = request.scope[IDENTITY]
        if self._operation.changes and who.read_only:
            raise HttpError(403, "forbidden", "This token is read-only: it cannot change or export anything.")
        call = AdminRequest(
            identity=who,
            account=request.path_params.get("id", ""),
            body=await self._body(request),
            query=self._query(request),
            last_event_id=request.headers.get("last-event-id"),
        )
        if self._streams:
            return await self._operation.handle(self._handlers, call)

        async def answer() -> ASGIResponse:
            self._drain.count_in()  # shutdown waits for it
            try:
                return await self._operation.handle(self._handlers, call)
            finally:
                self._drain.count_out()

        return WholeResponse(answer, refusal)

    def _query(self, request: Request) -> Any:
        kind = self._operation.query_type
        if kind is None:
            return None
        try:
            return msgspec.convert(dict(request.query_params), kind, strict=False)
        except msgspec.ValidationError as error:
            raise BadRequest(f"Invalid query parameter: {error}.") from None

    async def _body(self, request: Request) -> Any:
        if self._decode is None:
            return None
        body = await read_body(request.scope, request.receive, context_of(request.scope))
        if self._operation.body_optional and not body:
            return None
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(415, "unsupported_media_type", "Send a JSON body with Content-Type: application/json.")
        return await decode_body(body, self._decode)


async def _internal_error(request: Request, _: Exception) -> ASGIResponse:
    """Respond to an unexpected exception; Starlette raises it on to `RequestContextMiddleware`, which logs it."""
    error = GatewayError("The gateway failed unexpectedly; see its log.")
    context_of(request.scope).record.error = error.code
    return refusal(error)


async def _http_error(request: Request, error: Exception) -> ASGIResponse:
    """Respond to an unknown path or a method that the path does not support."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for HTTPException only
    if error.status_code == 405:
        fault = HttpError(405, "method_not_allowed", f"{request.method} is not allowed on this path.")
    else:
        fault = HttpError(404, "not_found", "This path does not exist; see /openapi.json.")
    context_of(request.scope).record.error = fault.code
    return refusal(fault, dict(error.headers or {}))
