"""Runs the operations of every dialect in the same steps, so that no dialect can forget one.

    read the body -> resolve the model -> check the license's permission -> record -> answer, streamed or whole,
    without the media that the license does not include -> usage

A dialect describes an operation by three functions (`Operation`): one reads the body, one names the model, and one
returns the `Answer`: an exchange that is not open yet, and the writer of its steps. Everything else happens here and in
`protocol.http.stream`: permission, deprecation headers, access record, errors, disconnects, heartbeats, token counts.

Example:
    CHAT = Operation(read=read_body, select=select, answer=answer)
    Route("/v1/chat", CHAT.endpoint(engine, error_response), methods=["POST"])
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import parse_qs

import anyio
import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.disconnect import EndingWatcher
from protocol.http.embed import Pieces, PiecesResponse
from protocol.http.errors import CLIENT_GONE, ASGIResponse, ClientGone, Refuse
from protocol.http.fallback import FallbackAnswer, stand_ins
from protocol.http.ignored import NO_NOTICES, Notices, warning
from protocol.http.own_models import check_own_model
from protocol.http.response import Payload, WholeResponse
from protocol.http.stream import SSE, EventStream, EventWriter, Steps, StreamFraming, usage_header
from protocol.http.unfinished import prompt_usage
from protocol.http.withhold import withholding
from protocol.model import (
    Caller,
    Capability,
    Catalogue,
    Engine,
    GatewayError,
    GenerationRequest,
    Selection,
    Unauthorized,
    Usage,
    released,
)


class Credential(Protocol):
    """A place in a request where clients of a dialect send the license key."""

    @property
    def usage(self) -> str:
        """How a client sends the key there, for error messages."""
        ...

    def read(self, scope: Any) -> bytes | None:
        """Return the key; None: there is none, or more than one."""
        ...


class HeaderKey:
    """A license key in a header, perhaps after the name of a scheme such as `Bearer`."""

    def __init__(self, name: str, scheme: str = "") -> None:
        """Read the header `name`, in any case; the scheme is compared in any case, too."""
        self._name, self._scheme = name.lower().encode(), scheme.lower().encode()
        self.usage = f"'{name}: {f'{scheme} ' if scheme else ''}<license key>'"

    def read(self, scope: Any) -> bytes | None:
        """Return the key, as `Credential.read`."""
        sent = [value for name, value in scope["headers"] if name == self._name]
        if len(sent) != 1:
            return None
        if not self._scheme:
            return sent[0].strip()
        scheme, _, key = sent[0].strip().partition(b" ")
        return key.strip() if scheme.lower() == self._scheme else None


class QueryKey:
    """A license key in a parameter of the URL's query."""

    def __init__(self, name: str) -> None:
        """Read the parameter `name`."""
        self._name = name
        self.usage = f"'?{name}=<license key>'"

    def read(self, scope: Any) -> bytes | None:
        """Return the key, as `Credential.read`."""
        sent = parse_qs(scope["query_string"].decode("latin-1")).get(self._name, ())
        return sent[0].encode() if len(sent) == 1 else None


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """An API that clients speak."""

    name: str
    routes: Callable[[Engine], Sequence[Route]]
    """Returns the routes of the API; their endpoints are `protocol.http.operation.Endpoint`s."""
    refuse: Callable[[GatewayError], Response]
    """Writes an error in the form of this API; used for errors of middleware, too."""
    credentials: tuple[Credential, ...]
    """Where clients send the license key. The first valid key counts: another one may be meant for a proxy."""
    recognizes: Callable[[Any], bool] = lambda _: False
    """Returns whether a request's scope shows that its client speaks this API, in a header for example.

    It decides between the dialects that have the requested path, and who writes the error if none has it.
    """

    ticket: Callable[[Any], str] = lambda _: ""
    """Returns the secret of an `UploadTicket` in a request's URL: some uploads have it in place of a license key."""
    not_offered: Mapping[str, str] = {}
    """The paths of the API, without its version, that have no route, each with what to use in its place.

    A segment such as `{id}` stands for any; a path is that of everything below it, too.
    """

    guide: str = ""
    """What there is, for clients that ask for an unknown path; empty: the paths below `/v1`, and its address."""

    def license_keys(self, scope: Any) -> Iterator[bytes]:
        """Yield the license keys of a request, which may be invalid, in the order of `credentials`."""
        for credential in self.credentials:
            key = credential.read(scope)
            if key is not None:
                yield key

    def refusal_of(self, path: str) -> str:
        """Return that a path, without the version, is not offered, and what to use; empty: it is not of this API."""
        segments = path.lower().split("/")
        best, depth = "", 0
        for template, advice in self.not_offered.items():
            parts = template.split("/")
            fits = len(parts) <= len(segments) and all(
                part.lower() == segment or part.startswith("{") for part, segment in zip(parts, segments, strict=False)
            )
            if fits and len(parts) > depth:
                best, depth = f"This gateway does not offer '{template}': {advice}.", len(parts)
        return best

    def unauthorized(self) -> Unauthorized:
        """Return the error for a request without a valid license key."""
        usage = " or ".join(credential.usage for credential in self.credentials)
        return Unauthorized(f"Incorrect API key provided. Send a license key of this gateway as {usage}.")


BodyT = TypeVar("BodyT")
StepT = TypeVar("StepT")
StepT_contra = TypeVar("StepT_contra", contravariant=True)
ReplyT = TypeVar("ReplyT", bound="Folded")
ReplyT_contra = TypeVar("ReplyT_contra", bound="Folded", contravariant=True)

Headers = list[tuple[bytes, bytes]]

_ATTEMPTS = b"x-stainless-retry-count"
"""The header in which the SDKs of several vendors count their retries."""
_log = structlog.get_logger()


class Endpoint:
    """The ASGI app of one route: sends the response of a handler, or the error that it raises."""

    def __init__(self, handle: Callable[[Request], Awaitable[ASGIResponse]], refuse: Refuse) -> None:
        """Send the response that `handle` returns; `refuse` writes an error in the dialect's form."""
        self._handle, self._refuse = handle, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        context = context_of(scope)
        try:
            response = await self._response(Request(scope, receive), context)
            if response is not None:
                await response(scope, receive, send)
        finally:
            context.release()

    async def _response(self, request: Request, context: RequestContext) -> ASGIResponse | None:
        """Return the response of the handler, or of its error; None: the client disconnected."""
        response: ASGIResponse | None = None
        watcher = EndingWatcher(context.endings)
        try:
            with watcher:
                response = await self._handle(request)
            error = watcher.ended
        except GatewayError as raised:
            error = released(raised)
        except ClientGone:
            context.record.error = CLIENT_GONE
            return None
        if response is None and error is not None:
            context.record.note_error(error)
            response = self._refuse(error)
        return response


class Folded(Protocol):
    """A whole answer."""

    @property
    def usage(self) -> Usage:
        """The token counts of the answer."""
        ...

    @property
    def media(self) -> Sequence[Any]:
        """The media of the answer, each with its `ref`."""
        ...


class AnswerWriter(EventWriter[StepT_contra], Protocol[StepT_contra, ReplyT_contra]):
    """Encodes one answer in a dialect, streamed or whole."""

    def whole(self, reply: ReplyT_contra, /) -> bytes | Pieces:
        """Return the body of a whole answer."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer(Generic[StepT, ReplyT]):
    """The answer to a request, which is made while it is sent."""

    request: GenerationRequest
    exchange: AbstractAsyncContextManager[Steps[StepT]]
    """Not open yet."""
    writer: AnswerWriter[StepT, ReplyT]
    fold: Callable[[Steps[StepT]], Awaitable[ReplyT]]
    """Reads all steps; the same as `protocol.model.fold` if they are events."""
    streamed: bool
    framing: StreamFraming = SSE
    """The form of a stream."""
    media_type: bytes = b"application/json"
    """The form of a whole answer."""
    notices: Notices = NO_NOTICES
    """What the answer does not do that the request asks for, for `Warning` headers."""

    def noted(self, headers: Headers) -> "Answer[StepT, ReplyT]":
        """Return this answer, which adds its `Warning` headers when it is opened."""
        return replace(self, exchange=_noted(self, headers)) if self.notices is not NO_NOTICES else self


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The answer to a request whose work continues in the background: a job."""

    request: GenerationRequest
    response: Response


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation(Generic[BodyT]):
    """The dialect's part of an operation that sends a prompt to a model."""

    read: Callable[[Request], Awaitable[BodyT]]
    """Reads and decodes the request's body."""
    select: Callable[[BodyT, Catalogue, Caller], Selection]
    """Returns the requested model."""
    answer: Callable[[Engine, BodyT, Selection, RequestContext], Awaitable[Answer[Any, Any] | Accepted]]
    """Reads the rest of the request, such as its files, and returns its answer."""
    own: Collection[Capability] = ()
    """What the operation's models do alone, if it is for such models (`Capability.has_own_models`)."""

    def endpoint(self, engine: Engine, refuse: Refuse) -> Endpoint:
        """Return the ASGI app that runs this operation with an engine."""
        return Endpoint(partial(self._run, engine, refuse, Deprecations()), refuse)

    async def _run(
        self, engine: Engine, refuse: Refuse, deprecations: "Deprecations", request: Request
    ) -> ASGIResponse:
        context = context_of(request.scope)
        record, caller = context.record, caller_of(context)
        record.metered = request.method == "POST"
        sent = [value for name, value in request.scope["headers"] if name == _ATTEMPTS]
        context.attempts_before = int(sent[0]) if sent and sent[0].isdigit() and len(sent[0]) < 4 else 0
        body = await self.read(request)
        selection = self.select(body, engine.catalogue.with_aliases(caller.aliases), caller)
        check_own_model(engine, selection, self.own)
        record.capability = selection.capability.value
        caller.permit(selection)
        record.model = selection.id
        others = stand_ins(engine, selection, caller)
        context.fetched = {} if others else None
        answer = await self.answer(engine, body, selection, context)
        context.request = answer.request
        if context.keep_prompt:
            record.prompt = "\n".join(turn.text for turn in answer.request.turns)
        headers = deprecations.headers(selection)
        if isinstance(answer, Accepted):
            record.metered = False  # the work is counted when it has ended
            answer.response.raw_headers += headers
            return answer.response
        answer = answer.noted(headers)
        record.stream = answer.streamed
        if others:

            async def answer_with(other: Selection) -> Any:
                found = await self.answer(engine, body, other, context)
                return found.noted(headers) if isinstance(found, Answer) else found

            answering = FallbackAnswer(
                answer=answer, others=others, answer_with=answer_with, headers=headers, context=context
            )
            answer = replace(answer, exchange=answering.exchange(), writer=answering, fold=answering.fold)
        if not caller.includes_all:
            answer = replace(answer, exchange=withholding(answer.exchange, caller))
        if answer.streamed:
            return EventStream(answer.exchange, answer.writer, refuse, headers, answer.framing)
        return WholeResponse(partial(_whole, answer, context, headers), refuse)


@asynccontextmanager
async def _noted(answer: Answer[StepT, Any], headers: Headers) -> AsyncGenerator[Steps[StepT]]:
    async with answer.exchange as exchange:
        headers += map(warning, answer.notices.sentences(exchange.served, answer.request.options))
        yield exchange


async def _whole(answer: Answer[StepT, ReplyT], context: RequestContext, headers: Headers) -> ASGIResponse:
    """Make the whole answer, count its tokens, and return the response."""
    async with answer.exchange as exchange:
        try:
            reply = await answer.fold(exchange)
        except anyio.get_cancelled_exc_class():
            context.record.note_usage(prompt_usage(answer.request))
            raise
        finally:
            context.record.note_served(exchange.served)
    context.record.note_usage(reply.usage)
    context.record.note_media(reply.media)
    headers = [*headers, usage_header(exact=reply.usage.exact)]
    body = answer.writer.whole(reply)
    headers = [(b"content-type", answer.media_type), *headers]
    return Payload(body, headers) if isinstance(body, bytes) else PiecesResponse(body, headers)


class Deprecations:
    """Reports deprecated models: to each client in headers, to the log once."""

    def __init__(self) -> None:
        """Start with no model logged."""
        self._logged: set[str] = set()

    def headers(self, selection: Selection) -> Headers:
        """Return the headers for an answer of this selection.

        A model is deprecated from the day its replacement was published; that day may be unknown.
        """
        if selection.deprecated is None:
            return []
        if selection.deprecated not in self._logged:
            self._logged.add(selection.deprecated)
            _log.warning("deprecated_model_requested", model=selection.deprecated, replaced_by=selection.id)
        text = f"The model '{selection.deprecated}' is deprecated: '{selection.id}' answers; use that name."
        since = f"@{selection.model.created}" if selection.model.created > 0 else "true"
        return [(b"deprecation", since.encode()), warning(text)]
