"""Gives every request a context and an id, logs one access line, and answers unexpected errors with 500.

This is the outermost middleware. It also drops a client that stops reading its response.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import structlog

from protocol.http.budget import ByteBudget
from protocol.http.context import (
    ApiSettings,
    Fetch,
    Links,
    RequestContext,
    RequestLimits,
    RequestRecord,
    attach,
    detach,
)
from protocol.http.errors import CLIENT_GONE, Refuse
from protocol.http.pixels import PixelPool
from protocol.http.spool import Spool
from protocol.http.timers import Timers
from protocol.model import FileStore, GatewayError, Jobs, ResponseStore
from service.server.shutdown import Shutdown
from service.telemetry.metrics import CLIENT_GONE_STATUS, Metrics
from service.telemetry.tracing import RequestSpan, RequestTracer
from service.usage.recorder import UsageRecorder
from transports.clock import Clock

UPSTREAM_MODEL = b"x-gateway-upstream-model"
"""Response header with the model that answered, as reported by the upstream; omitted while it is unknown."""
TRANSPORT = b"x-gateway-transport"
"""Response header with the transport that answered."""

_QUIET = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})

_log = structlog.get_logger()


class RequestDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of every request's context."""

    clock: Clock
    shutdown: Shutdown
    api: ApiSettings = ApiSettings()
    limits: RequestLimits
    links: Callable[[Any], Links]
    """Makes media URLs below the public address of a scope's request."""
    fetch: Fetch
    jobs: Jobs
    responses: ResponseStore
    files: FileStore
    memory: ByteBudget
    spool: Spool
    pixels: PixelPool
    log_prompts: bool
    usage: UsageRecorder | None = None
    """Records the usage of requests; None: it is off."""
    traces: RequestTracer | None = None
    """Records a span of each request; None: tracing is off."""


class RequestContextMiddleware:
    """Middleware of the whole app."""

    def __init__(self, app: Any, metrics: Metrics, deps: RequestDeps, refuse: Refuse) -> None:
        """Give every request a context with `deps`; `refuse` writes the error of an unexpected exception."""
        self._app, self._metrics, self._deps, self._refuse = app, metrics, deps, refuse
        self._timers = Timers()
        self._stalls = self._timers.of(deps.limits.write_timeout_seconds)
        self._log = _log.bind()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._observe(scope, receive, send)
        except Exception:
            _log.exception("request_failed", path=scope["path"])  # the server's own log is off
            raise

    async def _observe(self, scope: Any, receive: Any, send: Any) -> None:
        context = self._context(scope)
        attach(scope, context)
        traces = self._deps.traces
        span = traces.begin(scope, context) if traces is not None and scope["path"] not in _QUIET else None
        answer = _ResponseSender(context, send, self._deps)
        self._stalls.add(answer)
        self._metrics.in_flight.inc()
        try:
            with answer.send_timeout:
                await self._app(scope, receive, answer.send)
            if answer.send_timeout.cancelled_caught:
                context.record.error = CLIENT_GONE
        except Exception:  # noqa: BLE001 -- the last resort: hypercorn would print the error's text
            context.record.error = "internal_error"
            _log.exception("request_failed", request=context.id)
            if answer.status is None:
                await self._refuse(GatewayError("The gateway failed."))(scope, receive, answer.send)
        finally:
            self._stalls.discard(answer)
            self._metrics.in_flight.dec()
            self._finish(scope, context, answer, span)
            detach(scope)

    def _context(self, scope: Any) -> RequestContext:
        deps = self._deps
        now = deps.clock.monotonic
        return RequestContext(
            id=f"req_{secrets.token_hex(12)}",
            started=now(),
            created=deps.clock.wall(),
            now=now,
            closing=deps.shutdown.closing,
            record=RequestRecord(),
            api=deps.api,
            limits=deps.limits,
            links=deps.links(scope),
            fetch=deps.fetch,
            jobs=deps.jobs,
            responses=deps.responses,
            files=deps.files,
            memory=deps.memory,
            spool=deps.spool,
            timers=self._timers,
            pixels=deps.pixels,
            keep_prompt=deps.log_prompts,
            query=scope["query_string"],
        )

    def _finish(self, scope: Any, context: RequestContext, answer: "_ResponseSender", span: RequestSpan | None) -> None:
        record, status = context.record, answer.status
        matched = scope.get("route")
        route = getattr(matched, "name", None) or "none"
        if record.error == CLIENT_GONE or status is None:
            status = CLIENT_GONE_STATUS if record.error != "internal_error" else 500
        answer.note_usage(status)
        seconds = context.now() - context.started
        self._metrics.observe(route, status, context, seconds)
        if span is not None:
            span.end(route if matched is not None else None, status, context)
        log = self._log.debug if route in _QUIET else self._log.info
        log(
            "request_finished",
            request=context.id,
            method=scope["method"],
            route=route,
            status=status,
            license=context.caller.id if context.caller else None,
            model=record.model,
            stream=record.stream,
            transport=record.transport,
            account=record.account,
            upstream_model=record.upstream_model,
            upstream_model_id=record.upstream_model_id,
            upstream_model_requested=record.upstream_model_requested,
            first_token=_milliseconds(record.first_token),
            duration=_milliseconds(seconds),
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            reasoning_tokens=record.reasoning_tokens,
            error=record.error,
            **({"prompt": record.prompt} if record.prompt is not None else {}),
            **({"trace": record.trace} if record.trace is not None else {}),
        )


def _milliseconds(seconds: float | None) -> float | None:
    """Return seconds, rounded to the millisecond."""
    return None if seconds is None else round(seconds, 3)


class _ResponseSender:
    """Sends a response: records its status, adds common headers, and cancels the work if the client stops reading."""

    def __init__(self, context: RequestContext, send: Any, deps: RequestDeps) -> None:
        self._context, self._send, self._shutdown = context, send, deps.shutdown
        self._usage = deps.usage
        """Where the usage is recorded; None: it is off, or the usage has been recorded."""
        self._time = asyncio.get_running_loop().time
        self._stall = context.limits.write_timeout_seconds
        self._since: float | None = None
        """Event loop time at which sending the current message began; None: no message is being sent."""
        self.status: int | None = None
        self.send_timeout = anyio.CancelScope()
        """Scope of the work on the response; cancelled when the client stops reading."""

    @property
    def due(self) -> float | None:
        """When the send timeout expires (`protocol.http.timers.Timeout`)."""
        return None if self._since is None else self._since + self._stall

    def expire(self) -> None:
        """Cancel the response: the client stopped reading."""
        self.send_timeout.cancel()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._complete(message)
            last = not self._context.record.stream  # the record of a whole answer is complete before its first byte
        else:
            last = not message.get("more_body", False)
        if last and self._usage is not None:
            self.note_usage(self.status or 200)
        self._since = self._time()
        try:
            await self._send(message)
        except OSError:  # the connection is gone
            self.send_timeout.cancel()
            await anyio.lowlevel.checkpoint()
        self._since = None

    def note_usage(self, status: int) -> None:
        """Record the usage, once: before the client gets the last byte, it is in the journal."""
        usage, self._usage = self._usage, None
        if usage is not None:
            usage.request(self._context, status)

    def _complete(self, message: Any) -> None:
        """Add the headers that every response carries."""
        self.status = status = message["status"]
        request_id = self._context.id.encode()
        headers = [*message["headers"], (b"x-request-id", request_id), (b"request-id", request_id)]  # Anthropic's name
        record = self._context.record
        if record.upstream_model and status < 400:
            headers.append((UPSTREAM_MODEL, record.upstream_model.encode()))
        if record.transport:
            headers.append((TRANSPORT, record.transport.encode()))
        if self._shutdown.leaving and b"connection" not in {name for name, _ in headers}:
            headers.append((b"connection", b"close"))
        message["headers"] = headers
