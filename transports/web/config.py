"""The web transport's settings."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from transports.accounts.configured import AccountSettings, Count, CountOrNone
from transports.http import Timeouts
from transports.web import wire

_LOOPBACK = re.compile(r"127(\.[0-9]{1,3}){3}|::1")
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"

Origin = Annotated[
    str, Meta(pattern=rf"^https?://{_HOST}\Z", description="https://HOST or http://HOST:PORT, without a path")
]
Proxy = Annotated[
    str,
    Meta(
        pattern=rf"^(https?|socks4|socks5h?)://([^\s/?#@]+@)?{_HOST}/?\Z",
        description="SCHEME://USER:PASSWORD@HOST:PORT; the scheme is one of: http, https, socks4, socks5, socks5h",
        examples=["http://proxy.example:3128"],
    ),
]
HeaderText = Annotated[
    str,
    Meta(
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\Z",
        max_length=1024,
        description="1 to 1024 printable ASCII characters",
        examples=["Mozilla/5.0 (X11; Linux x86_64)"],
    ),
]
SecondsOrNever = Annotated[float, Meta(ge=0, le=86400)]
ToolNumber = Annotated[int, Meta(ge=1, le=10_000)]
AuthUser = Annotated[int, Meta(ge=0, le=99)]
Capacity = Annotated[int, Meta(ge=1, le=100)]
SlotValue = Annotated[int, Meta(ge=0, le=10_000)]
SlotValueOrNull = Annotated[int, Meta(ge=-1, le=10_000)]
AttachmentForm = Literal["long", "short"]
UploadProtocol = Literal["resumable", "multipart"]
FrameLength = Annotated[int, Meta(ge=64 * 1024, le=256 * 1024 * 1024)]


class Hosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Origins of the site's hosts (scheme and host, no path); a proxy or the simulator can replace them."""

    site: Origin = wire.SITE
    accounts: Origin = wire.ACCOUNTS
    upload: Origin = wire.UPLOAD

    @property
    def on_this_machine(self) -> bool:
        """Whether they all are loopback addresses, as those of a simulator."""
        names = {urlsplit(origin).hostname or "" for origin in (self.site, self.accounts, self.upload)}
        return all(name == "localhost" or _LOOPBACK.fullmatch(name) for name in names)


class WebAccount(AccountSettings, frozen=True):
    """A signed-in account of the operator."""

    per_minute: CountOrNone = 30
    """Limit of requests per minute, over all processes that share the store; 0: no limit."""
    cookies_file: Path | None = None
    """The browser's export: a Cookie header, JSON, Netscape format, or the two values on two lines."""
    cookies: str = ""
    """The export as text; `cookies_file` is safer."""
    user_agent: HeaderText | None = None
    """User agent of the browser that the session was exported from; None: the transport's."""
    authuser: AuthUser | None = None
    """Index of the account among those signed in to the browser profile: N in `gemini.google.com/u/N/app`, from 0.
    None: the first one."""
    capacity: Capacity | None = None
    """Capacity in the account's model header; None: by its plan and flags."""
    field13: bool | None = None
    """Whether the capacity is the 13th value of the model header instead of the 12th; None: by the account's flags."""
    proxy: Proxy | None = None
    """Proxy for this account only: http, https, socks5, socks5h (the proxy resolves host names) or socks4."""


class Tools(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ids that select a capability at the site: numbers of its tools, and the name of its storybook gem."""

    research: ToolNumber = wire.TOOL_RESEARCH
    canvas: ToolNumber = wire.TOOL_CANVAS
    video: ToolNumber = wire.TOOL_VIDEO
    image: Annotated[int, Meta(ge=0, le=10_000)] = wire.TOOL_IMAGE
    """0: no tool; only the prompt asks for an image, as in a browser (two sources). 14 has one source."""
    image_retry: bool = True
    """Retry once without the tool's number if the site refuses to generate an image (code 1003) or answers a first turn
    without an image. No image exists then, so none is generated twice."""
    storybook: str = wire.GEM_STORYBOOK
    """The id of the gem (a guess: the site has a page `/gem/storybook`)."""


class Slots(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of a turn's request that the site's known clients write differently.

    The defaults are those recommended by the protocol page. Change one only if the site refuses requests.
    Source: "StreamGenerate"
    """

    attachments: AttachmentForm = "long"
    """Form of an attached file in slot 0. `long`: with kind and media type, as browsers do (two sources). `short`: path
    and name (one source). If the site refuses the long form (code 1100), the short form is tried once."""
    slot_6: SlotValue = 1
    """Slot 6 of a conversation that the site keeps, `[n]`: 1 (three sources), or 0 (three sources)."""
    slot_6_temporary: SlotValue = 1
    """Slot 6 of a temporary chat: 1 (three sources), or 0 (two sources)."""
    turn_index: bool = True
    """Slot 17 holds the index of the turn in its conversation (two sources). False: always 0 (two sources)."""
    slot_41: SlotValue = 1
    """Slot 41, `[n]`: 1 (most sources), or 2 (two sources)."""
    slot_67_temporary: SlotValueOrNull = 0
    """Slot 67 of a temporary chat; -1: null. A conversation that the site keeps has null there."""
    slot_68: SlotValue = 1
    """Slot 68 of a conversation that the site keeps: 1 (most sources), or 2 (two sources)."""
    slot_68_temporary: SlotValue = 2
    """Slot 68 of a temporary chat: 2 (browsers), or 1 (two sources)."""


class WebConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the web transport: the Gemini website with the operator's own accounts."""

    accounts: tuple[WebAccount, ...] = ()
    guest: bool = True
    """Serve models that need no account as a guest."""
    guest_concurrency: Count = 2
    """Limit of the guest's concurrent requests, per worker process."""
    guest_per_minute: CountOrNone = 10
    """Limit of the guest's requests per minute, per worker process; 0: no limit."""
    hosts: Hosts = Hosts()
    ca_file: Path | None = None
    """Certificates to trust instead of the system's, for a proxy or a replaced host."""
    user_agent: HeaderText = "Mozilla/5.0 (X11; Linux x86_64) gemini-gateway"
    rotate_seconds: SecondsOrNever = 540.0
    """Interval of the cookie rotation, varied by up to a tenth, unless the site names its own interval (60 to 3600
    seconds are accepted); 0: never."""
    rotate_cookies: Literal["pair", "all"] = "pair"
    """Cookies sent with a rotation: the pair that signs in, or all cookies of the account."""
    refresh_seconds: SecondsOrNever = 1200.0
    """Age at which the session tokens of a used account are fetched again in advance; they are also fetched at startup
    and after each cookie rotation. 0: only when a request needs them."""
    quota_seconds: SecondsOrNever = 300.0
    """How often the quotas of a used account are read from the site; 0: only when one is exhausted."""
    activity_seconds: SecondsOrNever = 60.0
    """Minimum time between activity pings, which are sent before a generation; 0: never."""
    reuse_seconds: SecondsOrNever = 1800.0
    """How long after its last turn a conversation can be continued: a request whose history is exactly that
    conversation sends only the new messages. Afterwards the conversation is deleted. 0: every request sends its whole
    history."""
    temporary: bool = True
    """Keep conversations that are not continued out of the account's history."""
    model_mismatch: Literal["count", "refuse"] = "count"
    """What to do if the site answers with a model of another family than requested: `count` it and pass the answer on,
    or `refuse` it before the client gets any of it and try the next account. Videos and research are only counted."""
    poll_seconds: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """Interval of polling for a video or research result."""
    delete_seconds: SecondsOrNever = 60.0
    """The conversation of a video or research is deleted this long after its result was read; never if `temporary` is
    false."""
    abandoned_seconds: Annotated[float, Meta(gt=0)] = 2 * 86400.0
    """Age at which the conversation of a result that was never read is deleted."""
    tools: Tools = Tools()
    video_1053: Literal["search", "refuse"] = "search"
    """What code 1053 means for a video in the first turn of a conversation; sources contradict one another.
    `search`: the video may have been accepted, so search its conversation; if there is none, ask once more after a
    short text turn. `refuse`: the account cannot generate videos."""
    slots: Slots = Slots()
    upload_protocol: UploadProtocol = "resumable"
    """Upload protocol to try first: two requests, as browsers do, or one (`multipart`). If the upload host refuses it,
    the other one is tried; the one that works is used until the process ends."""
    upload_seconds: Annotated[float, Meta(gt=0, le=600)] = 60.0
    """Timeout for the upload of one file."""
    upload_reuse_seconds: SecondsOrNever = 6 * 3600.0
    """How long an uploaded file is used again instead of being uploaded again; the site keeps it for a day."""
    media_bytes: Annotated[int, Meta(ge=1024 * 1024, le=4 * 1024**3)] = 256 * 1024 * 1024
    """Maximum size of a media file."""
    max_frame: FrameLength = 8 * 1024 * 1024
    """Maximum length of a frame, in UTF-16 code units."""
    timeouts: Timeouts = Timeouts()
