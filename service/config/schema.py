"""The settings: one TOML file, the environment over it, secrets in files beside it.

An environment variable `GEMINI_GATEWAY__SECTION__KEY` sets what `key` under `[section]` would; lists and tables
are given as JSON. What a transport's section may hold is the transport's business: see `service.wiring`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.model import Feature, Model
from service.config.loader import (
    ENVIRONMENT_PREFIX,
    Origin,
    SettingsError,
    convert,
    keys_of,
    origin_of,
    read,
    value_of,
    with_value,
)
from service.config.process import Count, Operations, Overload, Port, Reload, Seconds
from service.telemetry.tracing import Tracing

WebOrigin = Annotated[str, Meta(pattern=r"^(\*|https?://[^/\s]+)\Z")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections."""


class Server(Section, frozen=True):
    """Where and how to listen."""

    host: str = "127.0.0.1"
    port: Port = 8000
    """0: any free one."""
    workers: Count = 1
    prefix: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*\Z")] = "/gemini_official"
    """Goes before the API's paths, which answer without it too."""
    public_url: Annotated[str, Meta(pattern=r"^(https?://[^/\s]+)?\Z")] = ""
    """What links in answers begin with, as `https://gateway.example`; empty: the address that a request came to."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose `Forwarded` and `X-Forwarded-*` are believed."""
    cors_origins: tuple[WebOrigin, ...] = ()
    """Whose web pages may call the gateway from a browser; `*`: everybody's."""
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    backlog: Count = 2048
    keep_alive_seconds: Seconds = 10.0
    """For an idle connection, and for a request's headers. Behind an ingress: more than its own."""


class LimitSettings(Section, frozen=True):
    """What one request, and all together, may take."""

    body_bytes: Count = 30 * 1024 * 1024
    body_seconds: Seconds = 30.0
    heartbeat_seconds: Seconds = 10.0
    write_stall_seconds: Seconds = 60.0
    file_bytes: Count = 20 * 1024 * 1024
    pictures: Count = 10
    """Files in one request."""
    pixels: Count = 50_000_000
    """Of one picture, by its header."""
    memory_bytes: Count | None = None
    """What long bodies hold in memory at once, per worker, in bytes. None: 256 MiB, or a quarter of the container's
    memory divided by the workers where that is less."""
    memory_wait_seconds: Seconds = 5.0
    """How long a long body waits for memory; then it is answered 503."""
    spool_dir: Path | None = None
    """Folder for the long files of open requests; None: the system's for temporary files. It should not be a tmpfs."""
    spool_bytes: Count = 1536 * 1024 * 1024
    """What they hold at once, per worker; requests whose files have no space are answered 503."""
    header_bytes: Count = 32 * 1024
    in_flight: Count = 2000
    """Requests at once, per worker; more are answered 503."""
    in_flight_per_license: Count | None = None
    """Of one license, per worker; more are answered 429. None: three quarters of what other licenses leave of them."""


class Fetch(Section, frozen=True):
    """Fetching what callers' URLs name."""

    enabled: bool = False
    hosts: tuple[str, ...] = ()
    """Only from these names; `*.domain` means all below one. Empty: from any public host."""
    refuse: tuple[str, ...] = ()
    """Never from these names, addresses or networks: this gateway's own, where they are public."""
    connect_seconds: Seconds = 3.0
    total_seconds: Seconds = 10.0
    at_once: Count = 16
    """Fetches at once, per worker."""


class Deadlines(Section, frozen=True):
    """How long upstreams may take, in seconds, and how often a request is tried."""

    chat_seconds: Seconds = 300.0
    image_seconds: Seconds = 300.0
    video_seconds: Seconds = 900.0
    research_seconds: Seconds = 1800.0
    lease_seconds: Seconds = 5.0
    """For an account to be free."""
    lease_owed_seconds: Seconds = 60.0
    """The same, while the license has less than its share of the accounts' slots and another license more."""
    attempts: Count = 3


class Pool(Section, frozen=True):
    """How the accounts are treated, and those who wait for one."""

    waiting_per_seat: Annotated[float, Meta(ge=0)] = 2.0
    """Requests that wait, for each that the accounts can carry; more are answered 503 at once."""
    failures: Count = 5
    """So many of an account in a row, none of them a refusal, and it rests, unless it is the last."""
    eject_seconds: Seconds = 30.0
    """For so long, and longer each time that it happens again."""
    eject_longest_seconds: Seconds = 300.0
    throttle_ratio: Annotated[float, Meta(ge=0)] = 2.0
    """Requests sent for each that is taken, while an upstream fails; 0: as many as come."""
    seat_seconds: Annotated[float, Meta(ge=5)] = 60.0
    """After so long, the others have what a process that died had of the accounts."""
    probe_seconds: Seconds = 60.0
    """An account that waits for a person is tried again so often, where no other is left."""


class Drain(Section, frozen=True):
    """The end of the process."""

    notice_seconds: Annotated[float, Meta(ge=0)] = 0.0
    """`/readyz` says 503 for so long before new requests are refused: a balancer is to see it in time."""
    grace_seconds: Seconds = 30.0
    """Open requests may finish within it; then they are told."""


class Jobs(Section, frozen=True):
    """Work that outlives the request that asked for it: videos, and research that is picked up later."""

    at_once: Count = 8
    """Videos that one worker has made for it at the same time; more wait."""
    unfinished: Count = 20
    """Of one license; more are answered 429."""
    keep_seconds: Seconds = 86400.0
    """How long an outcome can be had."""
    hold_seconds: Seconds = 60.0
    """After so long, another worker goes on with the jobs of one that has died."""


class Media(Section, frozen=True):
    """Links to what was drawn, filmed or composed."""

    link_seconds: Seconds = 86400.0
    """How long a link opens."""
    key_file: Path | None = None
    """A secret of at least 32 bytes that replicas share; without it the store keeps one."""
    keep_dir: Path | None = None
    """Keep what was opened on disk here, so that links outlive the upstream's; none: keep nothing."""
    keep_bytes: Count = 1024 * 1024 * 1024
    """What may be kept; the longest unused goes first."""


class Log(Section, frozen=True):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else json."""
    prompts: bool = False
    """Log what callers ask."""


class Store(Section, frozen=True):
    """What must survive a restart, and what the processes of a gateway share."""

    path: Path = Path("gateway.sqlite3")
    """Relative to the settings file's folder, or to the state folder where there is none."""
    url: str = ""
    """A Redis or Valkey that replicas share, as `redis://host:6379/0` or `rediss://…`; empty: SQLite at `path`."""
    url_file: Path | None = None
    """A file that holds it, since it may hold a password."""
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z")] = "gw"
    """Begins every key there."""
    timeout_seconds: Seconds = 0.25
    """For one call."""
    replicas: Count = 1
    """How many processes share it, at least: while it is out of reach each takes its part of every limit."""
    copy_path: Path = Path("gateway-copy.sqlite3")
    """Where this machine's own copy of sessions, accounts and licenses is kept beside a shared store."""
    key_file: Path | None = None
    """A secret of at least 32 bytes that what is secret in the store is encrypted with; none: it is not encrypted."""
    old_key_files: tuple[Path, ...] = ()
    """Those of earlier: what they have encrypted is still read."""

    @property
    def remote(self) -> bool:
        """Whether it is a server's, which others share."""
        return bool(self.url) or self.url_file is not None

    def __repr__(self) -> str:
        """Show no URL: it may hold a password."""
        return f"Store(path={str(self.path)!r})"


class AdminToken(Section, frozen=True):
    """Who may administer."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@-]{1,64}\Z")]
    """Logs show it with every change."""
    token: str = ""
    """16 characters or more; a file is better."""
    token_file: Path | None = None
    read_only: bool = False
    """It may look, but neither change nor export anything."""

    def __repr__(self) -> str:
        """Show no token."""
        return f"AdminToken(name={self.name!r})"


class Admin(Section, frozen=True):
    """The admin API, on a listener of its own; without a token there is none."""

    host: str = "127.0.0.1"
    port: Port = 8001
    tokens: tuple[AdminToken, ...] = ()


class LicenseSetting(Section, frozen=True):
    """A license that the settings hold, beside those of `gemini-gateway licenses`."""

    id: str
    key: str = ""
    key_file: Path | None = None
    models: tuple[str, ...] = ("*",)
    features: tuple[Feature, ...] = tuple(Feature)

    def __repr__(self) -> str:
        """Show no key."""
        return f"LicenseSetting(id={self.id!r})"


class Models(Section, frozen=True):
    """Changes to the catalogue."""

    add: tuple[Model, ...] = ()
    aliases: dict[str, str] = {}
    """New name to base."""
    upstream: dict[str, dict[str, str]] = {}
    """Base to upstream model id by transport."""


class Settings(Section, frozen=True):
    """All settings."""

    server: Server = Server()
    limits: LimitSettings = LimitSettings()
    overload: Overload = Overload()
    operations: Operations = Operations()
    reload: Reload = Reload()
    fetch: Fetch = Fetch()
    deadlines: Deadlines = Deadlines()
    pool: Pool = Pool()
    drain: Drain = Drain()
    jobs: Jobs = Jobs()
    media: Media = Media()
    log: Log = Log()
    tracing: Tracing = Tracing()
    store: Store = Store()
    admin: Admin = Admin()
    licenses: tuple[LicenseSetting, ...] = ()
    models: Models = Models()
    transports: dict[str, dict[str, Any]] = {}
    """In the order in which they are asked."""

    @property
    def alone(self) -> bool:
        """Whether one process has the store to itself."""
        return self.server.workers == 1 and self.store.replicas == 1 and not self.store.remote

    def __repr__(self) -> str:
        """Show no transport's settings: which of them are secret is the transport's business."""
        names = (name for name in self.__struct_fields__ if name != "transports")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"Settings({shown}, transports={list(self.transports)!r})"


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the file, lay the environment over it, and check it all.

    Raises:
        SettingsError: something is wrong; says where and what was expected.

    """
    origin: Origin = origin_of(path, environment)
    tree = read(path) if path is not None else {}
    settings = convert(tree, Settings, origin_of(path))
    if not origin.variables:
        return settings
    for name in origin.variables:
        keys = keys_of(name)
        if not all(keys):
            raise SettingsError(f"{name}: is not of the form {ENVIRONMENT_PREFIX}SECTION__KEY")
        tree = with_value(tree, keys, value_of(environment[name]))
    return convert(tree, Settings, origin, strict=False)
