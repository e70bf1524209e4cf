"""The settings schema: one TOML file, overridden by environment variables, with secrets in separate files.

An environment variable `GEMINI_GATEWAY__SECTION__KEY` overrides `key` under `[section]`; `service.config.environment`
says how values are written. Each transport defines the schema of its own section: see `service.wiring`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.http.context import ApiSettings, Count, RequestLimits, Seconds
from protocol.model import Feature, Model
from service.config.environment import ENVIRONMENT_PREFIX, keys_of, misspelt, nearest, settings_in
from service.config.expected import shape_of
from service.config.loader import Origin, SettingsError, convert, origin_of, read, with_value
from transports.accounts import PoolConfig
from transports.retry_policy import FailoverPolicy
from transports.router import Deadlines
from transports.routes import RouteSettings

Port = Annotated[int, Meta(ge=0, le=65535)]
_PUBLIC_URL = r"^(https?://[^/\s?#@\\]+(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~-]+)*/?)?\Z"
_UNDECODED = re.compile("[\ud800-\udfff]")
"""What stands in a variable for each byte that is not UTF-8."""
Ratio = Annotated[float, Meta(gt=0)]
WebOrigin = Annotated[
    str,
    Meta(
        pattern=r"^(\*|https?://[^/\s*?#@\\]+)\Z",
        description="`*`, or an origin: scheme and host, without a path or a wildcard",
        examples=["https://app.example"],
    ),
]
PathPrefix = Annotated[
    str,
    Meta(
        pattern=r"^(/[A-Za-z0-9._~-]+)*\Z",
        description="a path that begins with a slash and does not end with one, or nothing",
        examples=["/gemini_official"],
    ),
]
PublicUrl = Annotated[
    str,
    Meta(
        pattern=_PUBLIC_URL,
        description="https://HOST or https://HOST/PATH, without a user name or a query",
        examples=["https://gateway.example"],
    ),
]
FetchHost = Annotated[
    str,
    Meta(
        pattern=r"^(\*\.)?([^\s/:*?#@\[\]]+|[0-9A-Fa-f:.]+)\Z",
        description="a host, or `*.` and a domain, without a scheme, port or path; an empty list allows any",
        examples=["*.cdn.example"],
    ),
]
HttpUrl = Annotated[str, Meta(pattern=r"^https?://[^\s@]+\Z", description="an http or https URL without a user name")]
StorePrefix = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z", description="1 to 32 ASCII letters, digits, `_` and `-`")
]
TokenName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._@-]{1,64}\Z",
        description="1 to 64 ASCII letters, digits, `.`, `_`, `@` and `-`",
        examples=["ops"],
    ),
]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the settings sections."""


class ServerSettings(Section, frozen=True):
    """The API listener."""

    host: str = "127.0.0.1"
    port: Port = 8000
    """0: any free port."""
    workers: Count = 1
    prefix: PathPrefix = "/gemini_official"
    """Path prefix of the API; the paths also work without it."""
    public_url: PublicUrl = ""
    """Base of links in responses, such as `https://gateway.example` or, if a proxy removes a path prefix,
    `https://host.example/ai`; empty: the address the request was sent to."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose `Forwarded` and `X-Forwarded-*` headers are trusted."""
    cors_origins: tuple[WebOrigin, ...] = ()
    """Origins of web pages that may call the gateway from a browser; `*`: any origin."""
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    backlog: Count = 2048
    keep_alive_seconds: Seconds = 10.0
    """Timeout of idle connections and of request headers. Set it above the ingress's own timeout."""


class LimitSettings(RequestLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits on a single request and on all requests together."""

    memory_bytes: Count | None = None
    """Memory for long bodies, per worker. None: 256 MiB, or a quarter of the container's memory divided by the
    number of workers if that is less."""
    memory_wait_seconds: Seconds = 5.0
    """How long a long body waits for memory before the request fails with 503."""
    spool_dir: Path | None = None
    """Folder for large files of open requests; None: the system's temporary folder. It should not be a tmpfs."""
    spool_bytes: Count = 1536 * 1024 * 1024
    """Disk space for these files, per worker; requests that exceed it fail with 503."""
    header_bytes: Count = 32 * 1024
    concurrency: Count = 2000
    """Concurrency limit per worker; requests above it fail with 503."""
    concurrency_per_license: Count | None = None
    """Concurrency limit per license and worker; requests above it fail with 429. None: three quarters of the slots
    that other licenses leave free."""


class OverloadSettings(Section, frozen=True):
    """Load shedding, in three steps, when memory runs low or the event loop falls behind."""

    refuse_long_bodies_at: Ratio = 0.85
    """Refuse long bodies above this share of the container's memory limit, or of `lag_seconds`."""
    close_connections_at: Ratio = 0.92
    """Close connections after each response above this share."""
    refuse_all_at: Ratio = 0.95
    """Refuse all requests except probes above this share."""
    long_body_bytes: Count = 1024 * 1024
    """Size from which a body counts as long."""
    lag_seconds: Seconds = 2.0
    """Event loop lag that counts as a load of 1, like full memory."""
    ready_lag_seconds: Seconds = 0.25
    """Event loop lag from which `/readyz` reports not ready."""


class OperationsSettings(Section, frozen=True):
    """A separate listener for probes and metrics."""

    host: str = "127.0.0.1"
    port: Port = 0
    """0: serve them on the API listener."""


class ReloadSettings(Section, frozen=True):
    """Reloading of changed secret files while the process runs."""

    poll_seconds: Seconds = 10.0
    """Interval between checks for changed files."""


class FetchSettings(Section, frozen=True):
    """Fetching of files from URLs in requests."""

    enabled: bool = False
    allow: tuple[FetchHost, ...] = ()
    """Allowed host names; `*.domain` includes all subdomains. Empty: any public host."""
    deny: tuple[str, ...] = ()
    """Refused host names, addresses or networks, such as the gateway's own public addresses."""
    connect_seconds: Seconds = 3.0
    total_seconds: Seconds = 10.0
    concurrency: Count = 16
    """Concurrency limit of fetches, per worker; one of several licenses has at most three for each free one."""


class DrainSettings(Section, frozen=True):
    """Graceful shutdown of the process."""

    notice_seconds: Annotated[float, Meta(ge=0)] = 0.0
    """How long `/readyz` answers 503 before new requests are refused, so that a load balancer notices in time."""
    grace_seconds: Seconds = 30.0
    """How long open requests may take to finish before they are ended with an error."""


class JobSettings(Section, frozen=True):
    """Jobs that outlive their request: videos, research, and responses in the background."""

    concurrency: Count = 8
    """Jobs in the background at once, per worker; more jobs wait, and one license leaves some for the others."""
    unfinished_per_license: Count = 20
    """Unfinished jobs per license; requests above it fail with 429."""
    retention_seconds: Seconds = 86400.0
    """How long the result of a job is kept."""
    lock_ttl_seconds: Seconds = 60.0
    """Time after which another worker takes over the jobs of a worker that died."""


class ResponseSettings(Section, frozen=True):
    """Responses that clients name by their id, in `previous_response_id` for example."""

    retention_seconds: Seconds = 604800.0
    """How long a response is kept with its input, unless the client sends `store: false`."""
    bytes_per_license: Count = 256 * 1024 * 1024
    """Bytes of all responses of a license; above it the oldest are deleted."""


class FileSettings(Section, frozen=True):
    """Files that clients upload and then name by id."""

    retention_seconds: Seconds = 604800.0
    """How long a file is kept, unless its client wants less."""
    files_per_license: Count = 500
    """Files per license; uploads above it fail with 429."""
    bytes_per_license: Count = 256 * 1024 * 1024
    """Bytes of all files of a license; uploads above it fail with 429."""
    total_bytes: Count = 1024 * 1024 * 1024
    """Bytes of all files in the store; uploads above it fail with 429."""


class MediaSettings(Section, frozen=True):
    """Links to generated images, videos and music."""

    link_ttl_seconds: Seconds = 86400.0
    """How long a link is valid."""
    key_file: Path | None = None
    """A file with a secret of at least 32 bytes that all processes share; None: use a key kept in the store."""
    cache_dir: Path | None = None
    """Folder to cache opened media in, so that links outlive those of the upstream; None: cache nothing."""
    cache_bytes: Count = 1024 * 1024 * 1024
    """Size limit of that cache; the least recently used files are deleted first."""


class LogSettings(Section, frozen=True):
    """Logging to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, otherwise json."""
    prompts: bool = False
    """Log the prompts of requests."""


class TracingSettings(Section, frozen=True):
    """Export of OpenTelemetry spans of requests, leases and upstream calls."""

    enabled: bool = False
    """Requires the extra `otel`."""
    endpoint: HttpUrl = "http://127.0.0.1:4318/v1/traces"
    """URL of the collector's traces endpoint (OTLP over HTTP)."""
    headers_file: Path | None = None
    """A secret file of headers to send to the collector, one per line, such as `Authorization: Bearer …`."""
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Ratio of requests to trace; a caller that sends `traceparent` decides for its own requests."""
    service_name: Annotated[str, Meta(min_length=1, description="a name")] = "gemini-gateway"


class StoreSettings(Section, frozen=True):
    """The store for state that survives a restart and that the processes of a gateway share."""

    path: Path = Path("gateway.sqlite3")
    """SQLite file, relative to the settings file, or to the state folder if there is no settings file."""
    url: str = ""
    """URL of a shared Redis or Valkey, as `redis://host:6379/0` or `rediss://…`; empty: SQLite at `path`."""
    url_file: Path | None = None
    """A file that contains the URL, which may include a password."""
    prefix: StorePrefix = "gw"
    """Prefix of every key in Redis."""
    timeout_seconds: Seconds = 0.25
    """Timeout of one store call."""
    poll_seconds: Seconds = 1.0
    """Interval between checks for changes of other processes, such as added accounts and revoked licenses."""
    min_processes: Count = 1
    """Minimum number of processes that share the store; if it is unreachable, each uses its share of every limit."""
    local_replica_path: Path = Path("gateway-replica.sqlite3")
    """Local replica of sessions, accounts and licenses, used while the shared store is unreachable."""
    key_file: Path | None = None
    """A file with a secret of at least 32 bytes that encrypts secrets in the store; None: no encryption."""
    old_key_files: tuple[Path, ...] = ()
    """Earlier key files, used only to decrypt."""

    @property
    def remote(self) -> bool:
        """Whether the store is a server that other processes can share."""
        return bool(self.url) or self.url_file is not None

    def __repr__(self) -> str:
        """Hide the URL, which may include a password."""
        return f"StoreSettings(path={str(self.path)!r})"


class UsageSettings(Section, frozen=True):
    """The usage ledger: who used what, without prompts and answers."""

    enabled: bool = True
    path: Path = Path("usage.sqlite3")
    """SQLite file, in the store's folder, that the workers of one machine share; each machine has its own. Records that
    wait for it are files in a folder of this name with `.journal`."""
    keep_days: Count = 90
    """How many days are kept, today among them."""
    timezone: str = "UTC"
    """Time zone of days, such as `Europe/Berlin`."""


class AdminTokenSettings(Section, frozen=True):
    """A token of the admin API."""

    name: TokenName
    """Name that logs show with every change."""
    token: str = ""
    """The token, at least 16 characters; prefer `token_file`."""
    token_file: Path | None = None
    read_only: bool = False
    """Allow reading only: no changes and no export."""

    def __repr__(self) -> str:
        """Hide the token."""
        return f"AdminTokenSettings(name={self.name!r})"


class AdminSettings(Section, frozen=True):
    """The admin API on its own listener; it is off unless a token is set."""

    host: str = "127.0.0.1"
    port: Port = 8001
    tokens: tuple[AdminTokenSettings, ...] = ()


class LicenseSettings(Section, frozen=True):
    """A license in the settings, in addition to those of `gemini-gateway licenses`."""

    id: str
    key: str = ""
    key_file: Path | None = None
    models: tuple[str, ...] = ("*",)
    features: tuple[Feature, ...] = tuple(Feature)
    aliases: dict[str, str] = {}
    """Aliases of this license, which come before those of `models.aliases`."""
    fallbacks: dict[str, tuple[str, ...]] = {}
    """Fallbacks of this license, in place of those of `models.fallbacks` for the same model."""

    def __repr__(self) -> str:
        """Hide the key."""
        return f"LicenseSettings(id={self.id!r})"


class ModelSettings(Section, frozen=True):
    """Changes to the model catalogue."""

    add: tuple[Model, ...] = ()
    aliases: dict[str, str] = {}
    """Aliases: new name, or shell-style pattern, to the name of a model, which may have suffixes."""
    default_aliases: bool = True
    """Whether names that clients hard-code, such as `gpt-4o`, stand for the models that are most like theirs."""
    fallbacks: dict[str, tuple[str, ...]] = {}
    """Models that answer, in their order, when no account can serve a model: model to models."""
    list_suffixes: bool = True
    """Whether `/v1/models` lists names with suffixes, such as `gemini-3-pro-imagen`; they work in any case."""
    upstream: dict[str, dict[str, str]] = {}
    """Upstream model ids: base model to transport to id."""


class Settings(Section, frozen=True):
    """All settings."""

    server: ServerSettings = ServerSettings()
    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    overload: OverloadSettings = OverloadSettings()
    operations: OperationsSettings = OperationsSettings()
    reload: ReloadSettings = ReloadSettings()
    fetch: FetchSettings = FetchSettings()
    deadlines: Deadlines = Deadlines()
    failover: FailoverPolicy = FailoverPolicy()
    pool: PoolConfig = PoolConfig()
    drain: DrainSettings = DrainSettings()
    jobs: JobSettings = JobSettings()
    responses: ResponseSettings = ResponseSettings()
    files: FileSettings = FileSettings()
    media: MediaSettings = MediaSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    store: StoreSettings = StoreSettings()
    usage: UsageSettings = UsageSettings()
    admin: AdminSettings = AdminSettings()
    licenses: tuple[LicenseSettings, ...] = ()
    models: ModelSettings = ModelSettings()
    transports: dict[str, dict[str, Any]] = {}
    """Settings of each transport."""
    routes: tuple[RouteSettings, ...] = ()
    """Which transports are asked for which requests; the first one that fits counts. Without a fitting one: free keys,
    then the website, then paid keys."""

    @property
    def alone(self) -> bool:
        """Whether a single process uses the store."""
        return self.server.workers == 1 and self.store.min_processes == 1 and not self.store.remote

    def __repr__(self) -> str:
        """Hide the transports' settings, which may include secrets."""
        names = (name for name in self.__struct_fields__ if name != "transports")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"Settings({shown}, transports={list(self.transports)!r})"


def load(
    path: Path | None, environment: Mapping[str, str], defaults: Mapping[str, Any] = MappingProxyType({})
) -> Settings:
    """Read the settings file, or else take `defaults`; override them from the environment, and validate the result.

    Raises:
        SettingsError: a setting is invalid.

    """
    origin: Origin = origin_of(path, environment)
    tree = read(path) if path is not None else dict(defaults)
    settings = convert(tree, Settings, origin_of(path))
    wrong = misspelt(environment, shape_of(Settings))
    if wrong is not None:
        raise SettingsError(f"{wrong[0]}: sets nothing; did you mean {wrong[1]}?")
    variables = settings_in(environment)
    if not variables:
        return settings
    for name, text in variables.items():
        keys = keys_of(name)
        if not text.isprintable() and _UNDECODED.search(text):
            raise SettingsError(f"the environment ({name}): is not UTF-8 text")
        if not all(keys):
            raise SettingsError(f"{name}: expected the form {ENVIRONMENT_PREFIX}SECTION__KEY")
        if keys[0] not in Settings.__struct_fields__:
            close = nearest(name, shape_of(Settings))
            hint = f"did you mean {close}?" if close else f"sections: {', '.join(Settings.__struct_fields__)}"
            raise SettingsError(f"the environment ({name}): {keys[0]}: unknown key; {hint}")
        tree = with_value(tree, keys, text)
    return convert(tree, Settings, origin)
