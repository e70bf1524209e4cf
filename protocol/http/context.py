"""Defines the context of a request: its id, caller, limits, and the record that is logged and counted."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Annotated, Any, Literal, Protocol, cast

import msgspec
from msgspec import Meta

from protocol.http.budget import ByteBudget, Reservation
from protocol.http.disconnect import CallbackEvent, Ending
from protocol.http.errors import license_revoked, shutting_down
from protocol.http.long_strings import LongString
from protocol.http.pixels import PixelPool
from protocol.http.spool import Spool
from protocol.http.timers import Timers
from protocol.model import (
    Caller,
    Content,
    FileStore,
    GatewayError,
    GenerationRequest,
    Jobs,
    MediaKind,
    MediaRef,
    Rendition,
    ResponseStore,
    Served,
    Usage,
)

_KEY = "gemini_gateway.context"


Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one request."""

    body_bytes: Count = 30 * 1024 * 1024
    body_timeout_seconds: Seconds = 30.0
    """Time for the whole body, plus one second per 256 KiB received, at most four times as long."""
    heartbeat_seconds: Seconds = 10.0
    """Silence after which a stream gets an SSE comment."""
    write_timeout_seconds: Seconds = 60.0
    """Time after which a client that reads nothing is disconnected."""
    file_bytes: Count = 20 * 1024 * 1024
    """Maximum size of one file."""
    files: Count = 10
    """Maximum number of files in one request."""
    pixels: Count = 50_000_000
    """Maximum number of pixels of one picture, read from its header."""


ImageForm = Literal["both", "url", "b64_json"]


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests are understood and answered, in every dialect."""

    strict: bool = False
    """Refuse fields that have no effect but would change the answer; otherwise a `Warning` header names them."""
    image_form: ImageForm = "both"
    """What an answer of `/images` has of each image if the request does not choose: a link, the data, or both."""


class RequestRecord(msgspec.Struct, kw_only=True):
    """Fields of a request's access line and metrics; protocols fill them in."""

    model: str | None = None
    stream: bool = False
    transport: str | None = None
    account: str | None = None
    upstream_model: str | None = None
    """The name, or else the id, of the model that answered, in visible ASCII; None: the upstream did not report it."""
    upstream_model_id: str | None = None
    """The id of that model."""
    upstream_model_requested: str | None = None
    """The id of the model that was requested from the upstream."""
    first_token: float | None = None
    """Seconds from the request's arrival to the first text or thought."""
    input_tokens: int = 0
    output_tokens: int = 0
    """Including thoughts."""
    reasoning_tokens: int = 0
    metered: bool = False
    """Whether the request is one of a model's, which the usage ledger counts."""
    user: str | None = None
    """The end user, as the client names it."""
    capability: str | None = None
    """The requested capability."""
    images: int = 0
    videos: int = 0
    research: int = 0
    """The number of pictures, videos and research reports that were made."""
    exact_tokens: bool = True
    """Whether the upstream has counted all tokens; otherwise some are estimated."""
    error: str | None = None
    """The public code of the error that ended the request, also if the response had begun."""
    prompt: str | None = None
    """The prompt, if the settings allow it in the log."""
    trace: str | None = None
    """The trace id, in hexadecimal; None: tracing is off."""
    sampled: bool = False
    """Whether the trace is kept."""

    def note_served(self, served: Served) -> None:
        """Record the transport, account and model; call it again when more of the response is known."""
        self.transport, self.account = served.transport, served.account
        self.upstream_model_requested = served.requested.id or None
        if served.answered is not None:
            self.upstream_model = served.model or None
            self.upstream_model_id = served.answered.id or None

    def note_error(self, error: GatewayError) -> None:
        """Record the error that ends the request, and the transport that gave it."""
        self.error, self.transport = error.code, self.transport or error.transport or None

    def note_media(self, media: Iterable[Any]) -> None:
        """Count the pictures and videos among media that were delivered."""
        for one in media:
            self.images += one.ref.kind is MediaKind.IMAGE
            self.videos += one.ref.kind is MediaKind.VIDEO

    def note_usage(self, usage: Usage) -> None:
        """Count tokens, on top of those that were counted already."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.exact_tokens = self.exact_tokens and usage.exact


ORIGINAL_PIXELS = 2048 * 2048
"""About how many pixels an image has for which the best quality is requested, and no size."""


class ImageFormat(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The requested form of a piece of media: rendition, size, format, quality."""

    rendition: Rendition = Rendition.USUAL
    size: tuple[int, int] | None = None
    """A picture of exactly this width and height, in pixels."""
    format: str | None = None
    """A picture as `png`, `jpeg` or `webp`."""
    quality: int | None = None
    """From 0 to 100, for lossy formats; None: the default of the format."""
    aspect: tuple[int, int] | None = None
    """A picture cropped to this aspect ratio, such as (16, 9); its longer side keeps its length."""
    longest: int | None = None
    """A picture whose longer side has this many pixels."""

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that a picture of this width and height gets."""
        if self.size is not None:
            return self.size
        across, down = self.aspect or (width, height)
        scale = (self.longest or max(width, height)) / max(across, down)
        return max(1, round(across * scale)), max(1, round(down * scale))

    @property
    def pixels(self) -> int | None:
        """About how many pixels the upstream's picture should have for this form; None: what is usual."""
        if self.size is not None:
            return self.size[0] * self.size[1]
        if self.longest is not None:
            return self.longest**2
        return ORIGINAL_PIXELS if self.rendition is Rendition.ORIGINAL else None

    @property
    def keeps_pictures(self) -> bool:
        """Whether a picture stays as the upstream sends it."""
        return self.size is None and self.format is None and self.aspect is None and self.longest is None


UNCHANGED = ImageFormat()


class Links(Protocol):
    """Makes and opens links to media, which need no license key; they begin with the public address of the request."""

    def sign(self, ref: MediaRef, caller: Caller, image_format: ImageFormat = UNCHANGED) -> str:
        """Return a signed URL for this caller; it is opaque and expires."""
        ...

    def open(self, url: str, caller: Caller) -> MediaRef | None:
        """Return the media of a URL that `sign` made for this caller and that its license includes; else None."""
        ...

    def absolute(self, path: str) -> str:
        """Return the public URL of a path of the API."""
        ...

    def ours(self, url: str) -> bool:
        """Return whether a URL points to this gateway's media, valid or not."""
        ...


Collect = Callable[[AsyncIterable[bytes]], Awaitable[Content]]
"""Collects a file that arrives in pieces."""


class CurrentLicenses(Protocol):
    """The licenses as they are after the latest reload and revocation."""

    @property
    def count(self) -> int:
        """The number of valid licenses."""
        ...

    async def current(self, owner: str) -> Caller | None:
        """Return the caller with this `Caller.owner` and its current license; None if the license has ended.

        Raises:
            Saturated: the store failed.

        """
        ...

    def end_of(self, owner: str) -> CallbackEvent:
        """Return the event that is set when the license of this `Caller.owner` ends; keep a reference to it."""
        ...


class Fetch(Protocol):
    """Fetches the file that a caller names by URL."""

    async def __call__(self, url: str, collect: Collect, *, most: int, license_id: str) -> Content:
        """Fetch at most `most` bytes from a public http(s) URL for a license; return the result of `collect`.

        Raises:
            BadRequest: fetching is off (`image_url_not_allowed`), or `image_url_unreachable` for any other reason.
            Saturated: as `collect`, which raises TooLong if the file is larger.

        """
        ...


class RequestContext(msgspec.Struct, kw_only=True):
    """The context of one request; the service creates it, dialects read it."""

    id: str
    started: float
    """Monotonic seconds of the request's arrival."""
    created: float
    """Epoch seconds of the request's arrival."""
    now: Callable[[], float]
    """The monotonic clock."""
    closing: CallbackEvent
    """Set when shutdown closes open requests."""
    license_end: CallbackEvent | None = None
    """Set when the license of this request is revoked."""
    record: RequestRecord
    limits: RequestLimits
    links: Links
    fetch: Fetch
    jobs: Jobs
    responses: ResponseStore
    files: FileStore
    api: ApiSettings = ApiSettings()
    memory: ByteBudget = msgspec.field(default_factory=ByteBudget)
    """The memory budget that all requests of the process share."""
    spool: Spool = msgspec.field(default_factory=Spool)
    """Creates the files for long parts of bodies."""
    timers: Timers = msgspec.field(default_factory=Timers)
    """The timers that the process's requests share."""
    pixels: PixelPool = msgspec.field(default_factory=PixelPool)
    """Threads that process pictures."""
    hold: Reservation | None = None
    """The bytes of `memory` that this request has reserved; None: it has reserved none yet."""
    long_strings: dict[str, LongString] = {}
    """The long strings of the body, which are on disk, by their placeholders in the decoded body."""
    fetched: dict[str, Content] | None = None
    """The files at public URLs, while the request may have to be read again for another model; else None."""
    caller: Caller | None = None
    request: GenerationRequest | None = None
    """The request to the model that this request asks for, once it is read."""
    attempts_before: int = 0
    """The number of earlier attempts, as the client's SDK reports it."""
    keep_prompt: bool = False
    """Whether the operator wants prompts in the log."""
    query: bytes = b""
    """The query of the request's URL."""

    @property
    def endings(self) -> tuple[Ending, ...]:
        """What cuts this request short."""
        closing = Ending(self.closing, shutting_down)
        return (closing,) if self.license_end is None else (closing, Ending(self.license_end, license_revoked))

    def reserved(self) -> Reservation:
        """Return the reservation of this request in `memory`; it is empty at first."""
        if self.hold is None:
            self.hold = Reservation(self.memory, self.caller.id if self.caller is not None else "")
        return self.hold

    def release(self) -> None:
        """Give back the reserved memory, and drop the files, which are deleted unless something else uses them."""
        self.long_strings, self.fetched, self.request = {}, None, None
        if self.hold is not None:
            self.hold.release()

    def mark_first_token(self) -> None:
        """Note the time of the first text or thought; later calls change nothing."""
        if self.record.first_token is None:
            self.record.first_token = self.now() - self.started


def attach(scope: Any, context: RequestContext) -> None:
    """Put the context into an ASGI scope."""
    scope[_KEY] = context


def detach(scope: Any) -> None:
    """Remove the context from the ASGI scope of a finished request: only the garbage collector would free the cycle."""
    scope.pop(_KEY, None)


def context_of(scope: Any) -> RequestContext:
    """Return the context of an ASGI scope."""
    return cast("RequestContext", scope[_KEY])


def caller_of(context: RequestContext) -> Caller:
    """Return the caller; the license is checked before any endpoint."""
    assert context.caller is not None, "the license is checked before the endpoint"  # noqa: S101
    return context.caller
