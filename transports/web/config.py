"""The web transport's settings."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.model import Capability
from transports.http import Timeouts
from transports.web import wire

_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"

Origin = Annotated[str, Meta(pattern=rf"^https?://{_HOST}\Z")]
Proxy = Annotated[str, Meta(pattern=rf"^(https?|socks4|socks5h?)://([^\s/?#@]+@)?{_HOST}/?\Z")]
HeaderText = Annotated[str, Meta(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\Z", max_length=1024)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@+-]{1,64}\Z")]
Count = Annotated[int, Meta(ge=1, le=100_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=100_000)]
SecondsOrNever = Annotated[float, Meta(ge=0, le=86400)]
Weight = Annotated[float, Meta(gt=0, le=1000)]
ToolNumber = Annotated[int, Meta(ge=1, le=10_000)]
AuthUser = Annotated[int, Meta(ge=0, le=99)]
Capacity = Annotated[int, Meta(ge=1, le=100)]
SlotValue = Annotated[int, Meta(ge=0, le=10_000)]
SlotValueOrNull = Annotated[int, Meta(ge=-1, le=10_000)]
AttachmentForm = Literal["long", "short"]
UploadProtocol = Literal["resumable", "multipart"]
FrameLength = Annotated[int, Meta(ge=64 * 1024, le=256 * 1024 * 1024)]


class Hosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the site's hosts are, scheme and host and no path; a proxy or the simulator can stand in."""

    site: Origin = wire.SITE
    accounts: Origin = wire.ACCOUNTS
    upload: Origin = wire.UPLOAD


class WebAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signed-in account of the operator's."""

    id: Name
    """A name of your choice, each its own; logs show it. What ends in `-guest` is the gateway's own."""
    cookies_file: Path | None = None
    """The browser's export: a Cookie header, JSON, Netscape format, or the two values on two lines."""
    cookies: str = ""
    """The same as text; a file is better."""
    user_agent: HeaderText | None = None
    """The browser's that the session was exported from; None: the transport's."""
    authuser: AuthUser | None = None
    """Which of the accounts that are signed in to the browser profile this one is: N in `gemini.google.com/u/N/app`,
    from 0. None: the first one."""
    concurrency: Count = 5
    """Requests at once, over all processes that share the store."""
    weight: Weight = 1.0
    """How much of the load it gets, beside others."""
    per_minute: CountOrNone = 30
    """Requests a minute, over all processes as well; 0: no limit."""
    per_day: dict[Capability, Count] = {}
    """Requests a day of each capability, as `{ video = 3 }`; one that is not named has no limit."""
    capabilities: tuple[Capability, ...] = tuple(Capability)
    """What it is asked for."""
    capacity: Capacity | None = None
    """What the account's model header says of its plan; None: as its plan and flags tell."""
    field13: bool | None = None
    """Whether the model header carries the capacity one field later; None: as the account's flags tell."""
    proxy: Proxy | None = None
    """A proxy for this account alone: http, https, socks5, socks5h (it looks up the names of hosts) or socks4."""

    def __repr__(self) -> str:
        """Show no cookie."""
        return f"WebAccount(id={self.id!r})"


class Tools(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the site is told what a turn is for: numbers of its tools, and the name of its storybook gem."""

    research: ToolNumber = wire.TOOL_RESEARCH
    canvas: ToolNumber = wire.TOOL_CANVAS
    video: ToolNumber = wire.TOOL_VIDEO
    image: Annotated[int, Meta(ge=0, le=10_000)] = wire.TOOL_IMAGE
    """0: none, and the words alone ask for an image, as in a browser (two sources). 14 has one source."""
    image_retry: bool = True
    """Ask once more without the tool's number when the site refuses to make an image (code 1003), or answers a first
    turn with no image at all. Nothing was made then, so no image is made twice."""
    storybook: str = wire.GEM_STORYBOOK
    """The id of the gem (a guess: the site has a page `/gem/storybook`)."""


class Slots(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parts of a turn's request that the site's known clients write differently.

    The defaults are those that the protocol page recommends. Change one only when the site refuses requests.
    Source: "StreamGenerate"
    """

    attachments: AttachmentForm = "long"
    """How slot 0 names an attached file. `long`: with its kind and media type, as browsers do (two sources). `short`:
    path and name (one source). When the site refuses the long form (code 1100), the short one is tried once."""
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
    """The Gemini website, with the operator's own accounts."""

    accounts: tuple[WebAccount, ...] = ()
    guest: bool = True
    """Serve the models that need no account without one."""
    guest_concurrency: Count = 2
    """Requests at once; this and the next for each worker process, as an account's."""
    guest_per_minute: CountOrNone = 10
    """0: no limit."""
    hosts: Hosts = Hosts()
    ca_file: Path | None = None
    """Certificates to trust instead of the system's, for a host that stands in."""
    user_agent: HeaderText = "Mozilla/5.0 (X11; Linux x86_64) gemini-gateway"
    rotate_seconds: SecondsOrNever = 540.0
    """How often an account's rolling cookie is renewed, give or take a tenth, unless the site names an interval of its
    own (60 to 3600 seconds are obeyed); 0: never."""
    rotate_cookies: Literal["pair", "all"] = "pair"
    """The cookies of a rotation's call: the pair that signs in, or all of the account's."""
    refresh_seconds: SecondsOrNever = 1200.0
    """How old the session tokens of an account that is used may get before they are fetched anew, ahead of need; they
    are fetched at the start and after each renewal too. 0: only when a request wants them."""
    quota_seconds: SecondsOrNever = 300.0
    """How often the site is asked what is left of a used account's limits; 0: only when one is reached."""
    activity_seconds: SecondsOrNever = 60.0
    """The activity ping goes before a generation, at most so often; 0: never."""
    reuse_seconds: SecondsOrNever = 1800.0
    """How long after its last turn a conversation can be gone on with: a request whose history is exactly that
    conversation sends only what is new. Then the conversation is deleted. 0: every request sends all of it."""
    temporary: bool = True
    """Keep conversations that nobody goes on with out of the account's history."""
    model_mismatch: Literal["count", "refuse"] = "count"
    """When the site answers with a model of another family than it was asked for: count it and pass the answer on, or
    refuse it before the client gets any of it and ask the next account. Videos and research are only counted."""
    poll_seconds: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """How often a video or a research that is being made is looked for."""
    delete_seconds: SecondsOrNever = 60.0
    """A conversation that was kept for that is deleted so long after it was read; with `temporary = false`, never."""
    abandoned_seconds: Annotated[float, Meta(gt=0)] = 2 * 86400.0
    """… and one whose video or research nobody came back for, so long after it began."""
    tools: Tools = Tools()
    video_1053: Literal["look", "refuse"] = "look"
    """What code 1053 means for a video in the first turn of a conversation; sources contradict one another. `look`: it
    may have been accepted all the same, so the conversation is looked for; only when there is none, the video is asked
    for once more, behind a short turn of text. `refuse`: the account cannot make videos."""
    slots: Slots = Slots()
    upload_protocol: UploadProtocol = "resumable"
    """How a file is uploaded first: in two requests, as browsers do, or in one (`multipart`). When the upload host
    refuses that form, the other one is tried; the one that works is then used for as long as the process runs."""
    upload_seconds: Annotated[float, Meta(gt=0, le=600)] = 60.0
    """How long one file may take to get to the site."""
    upload_keep_seconds: SecondsOrNever = 6 * 3600.0
    """How long a file that was sent is named again instead of being sent again; the site keeps it for a day."""
    media_bytes: Annotated[int, Meta(ge=1024 * 1024, le=4 * 1024**3)] = 256 * 1024 * 1024
    """The longest piece of media to pass on."""
    max_frame: FrameLength = 8 * 1024 * 1024
    """The longest frame to accept, in UTF-16 code units."""
    timeouts: Timeouts = Timeouts()
