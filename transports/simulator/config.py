"""The simulator's settings."""

from typing import Annotated, Literal

import msgspec

from transports.simulator.api.api_keys import SimulatedKey
from transports.simulator.api.issued_tokens import SimulatedServiceAccount

Plan = Literal["free", "plus", "pro", "advanced"]
PLANS: tuple[Plan, ...] = ("free", "plus", "pro", "advanced")
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Profile = Literal["strict", "site"]
PROFILES: tuple[Profile, ...] = ("strict", "site")
PageToken = Literal["SNlM0e", "thykhd", "absent", "cycle"]
PAGE_TOKENS: tuple[PageToken, ...] = ("SNlM0e", "thykhd", "absent", "cycle")


class SimulatedAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account that the simulated site knows; its cookies open nothing else."""

    psid: str
    """The cookie `__Secure-1PSID`."""
    psidts: str = ""
    """The cookie `__Secure-1PSIDTS` at the start; empty: the account has none."""
    user: int = 0
    """N of `/u/N`, where several accounts have the cookies of one browser profile."""
    plan: Plan = "advanced"
    quota: int = 0
    """Answers per model family until the limit (1037); 0: no limit."""
    status: int = 1000
    """The status that `otAQ7b` reports; 0: none, which means available."""
    rotates: bool = True
    """Whether its rotation gives a new value; otherwise it answers 200 without one."""
    bound: bool = False
    """Whether its browser bound the session to a device: rotation answers 401 from the start."""
    never_rotated: bool = False
    """Whether its rotation answers 403 and names the interval "never"."""

    def __repr__(self) -> str:
        """Hide the cookies."""
        return f"SimulatedAccount(plan={self.plan!r})"


class Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast and in what pieces the site answers."""

    first_token_seconds: float = 0.2
    tokens_per_second: float = 60.0
    """0: as fast as the client reads."""
    max_seconds: float = 3.0
    """A long answer speeds up to end within this time; 0: it does not."""
    chunk_bytes: int = 0
    """Size of the chunks of a body, in bytes; they may cut frames and characters. 0: one chunk per frame."""
    flicker: bool = True
    """Show a closing fence or a backslash in some frames that the next takes back."""


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the simulator as a transport."""

    profile: Profile = "strict"
    """`strict` refuses what our own client should not send; `site` only what the site is known to refuse."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """The loopback port of the simulated site inside a gateway; 0: a free one, which the log names. Any other needs a
    single worker."""
    accounts: tuple[SimulatedAccount, ...] = ()
    """Empty: the simulator makes one account."""
    api_keys: tuple[SimulatedKey, ...] = ()
    """Keys that the simulated official API accepts."""
    service_accounts: tuple[SimulatedServiceAccount, ...] = ()
    """Service accounts that the simulated Google Cloud accepts."""
    pace: Pace = Pace()
    rotate_seconds: float = 540.0
    """How often the gateway renews the rolling cookie."""
    poll_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """How often the gateway asks for a video or research in progress."""
    grace_seconds: float = 60.0
    """How long an old `__Secure-1PSIDTS` still works after its rotation."""
    min_rotation_interval_seconds: float = 60.0
    """Rotations that follow one another sooner are answered 429."""
    rotation_seconds: Seconds = 0.0
    """How long a rotation takes; the new value is valid from its middle on, also if the client leaves."""
    rotation_interval_seconds: Annotated[int, msgspec.Meta(ge=0)] = 600
    """The seconds until the next rotation that a rotation's body names; 0: the body names none."""
    page_token: PageToken = "SNlM0e"  # noqa: S105 -- a key of the page
    """Key of the access token in `/app`; `cycle`: each page load uses the next one."""
    build_seconds: Seconds = 0.0
    """Seconds after which the site has a new build and answers 405 to the last one's `bl`; 0: never."""
    fork: Literal["survives", "dies"] = "survives"
    """What happens to the session when an old value is rotated within the grace time."""
    cookie_every: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Every n-th answer to an account's turns and calls sets a cookie (`SIDCC`); 0: none does.
    None: every answer does in `site`, and none in `strict`."""
    session_seconds: Seconds = 1500.0
    """A `__Secure-1PSIDTS` that is not rotated expires after this; 0: never."""
    quota_seconds: Seconds = 3600.0
    """Length of a model family's quota window, from its first answer."""
    upload_seconds: Seconds = 86_400.0
    """How long an uploaded file is kept."""
    upload_bytes: int = 2_000_000_000
    """Total size of kept uploads on disk, in bytes; the oldest are dropped first."""
    media_seconds: Seconds = 86_400.0
    """How long the URL of a picture or film works."""
    media_redirect: Literal["host", "path", "none"] = "path"
    """Where a picture's first URL leads: `localhost` for `127.0.0.1` and back, another path here, or nowhere."""
    host_only_cookie: bool = True
    """`/app` sets a cookie of its own host, as the site does; media requests that carry it are refused."""
    video_first_turn_refused: bool = True
    """A video in a conversation's first turn is refused (1053)."""
    video_refused_but_generated: bool = False
    """A video that is refused with 1053 is made and counted nevertheless, and its conversation is kept."""
    temporary_code: Annotated[int, msgspec.Meta(ge=0)] = 1096
    """Error code after answers of temporary chats that are requested as browsers do, in `site`; 0: none."""
    file_seconds: Seconds = 0.2
    """How long the official API processes an uploaded file."""
    video_seconds: Seconds = 4.0
    """How long a video takes."""
    research_seconds: Seconds = 5.0
    """How long a research takes."""


def read_account(text: str) -> SimulatedAccount:
    """Read an account that is written `PSID:PSIDTS:PLAN[:QUOTA[:STATUS]]`.

    Raises:
        ValueError: the text does not have this form; the message says what was expected.

    """
    psid, psidts, plan, quota, status, *more = [*text.split(":"), "", "", "", ""]
    tree = {"psid": psid, "psidts": psidts, "plan": plan or "advanced", "quota": quota or 0, "status": status or 1000}
    try:
        account = msgspec.convert(tree, SimulatedAccount, strict=False)
    except msgspec.ValidationError:
        account = None
    if account is None or not psid or any(more) or account.quota < 0:
        raise ValueError(f"expected PSID:PSIDTS:PLAN[:QUOTA[:STATUS]] with a plan of {', '.join(PLANS)}")
    return account
