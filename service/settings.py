"""The settings: one TOML file, the environment over it, secrets in files beside it.

An environment variable `GEMINI_GATEWAY__SECTION__KEY` sets what `key` under `[section]` would; lists and tables
are given as JSON. What a transport's section may hold is the transport's business: see `service.wiring`.
"""

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_type_hints

import msgspec
from msgspec import Meta

from protocol.model import Model

ENVIRONMENT_PREFIX = "GEMINI_GATEWAY__"

SectionT = TypeVar("SectionT", bound=msgspec.Struct)

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class SettingsError(Exception):
    """A setting that is wrong; the message says where it is, its key and what was expected, never its value."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections."""


class Server(Section, frozen=True):
    """Where and how to listen."""

    host: str = "127.0.0.1"
    port: Port = 8000
    """0: any free one."""
    workers: Count = 1
    prefix: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = "/gemini_official"
    """Goes before the API's paths, which answer without it too."""
    public_url: Annotated[str, Meta(pattern=r"^(https?://[^/\s]+)?$")] = ""
    """What links in answers begin with, as `https://gateway.example`; empty: the address that a request came to."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose `Forwarded` and `X-Forwarded-*` are believed."""
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
    header_bytes: Count = 32 * 1024
    in_flight: Count = 2000
    """Requests at once, per worker; more are answered 503."""


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
    lease_seconds: Seconds = 5.0
    """For an account to be free."""
    attempts: Count = 3


class Drain(Section, frozen=True):
    """The end of the process."""

    grace_seconds: Seconds = 30.0
    """Open requests may finish within it; then they are told."""


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
    """What must survive a restart: rotated sessions, licenses."""

    path: Path = Path("gateway.sqlite3")
    """Relative to the settings file's folder, or to the state folder where there is none."""


class LicenseSetting(Section, frozen=True):
    """A license that the settings hold, beside those of `gemini-gateway licenses`."""

    id: str
    key: str = ""
    key_file: Path | None = None
    models: tuple[str, ...] = ("*",)

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
    fetch: Fetch = Fetch()
    deadlines: Deadlines = Deadlines()
    drain: Drain = Drain()
    media: Media = Media()
    log: Log = Log()
    store: Store = Store()
    licenses: tuple[LicenseSetting, ...] = ()
    models: Models = Models()
    transports: dict[str, dict[str, Any]] = {}
    """In the order in which they are asked."""


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the file, lay the environment over it, and check it all.

    Raises:
        SettingsError: something is wrong; says where and what was expected.

    """
    tree = _read(path) if path is not None else {}
    settings = convert(tree, Settings, origin_of(path))
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not all(keys):
            raise SettingsError(f"{name}: is not of the form {ENVIRONMENT_PREFIX}SECTION__KEY")
        tree = _with(tree, keys, _value(environment[name]))
        # one after the other, so that an error names the variable that is wrong
        origin = msgspec.structs.replace(origin_of(path), name=f"the environment ({name})")
        settings = convert(tree, Settings, origin, strict=False)
    return settings


def origin_of(path: Path | None) -> "Origin":
    """Return where the settings of a file, or of the environment alone, come from."""
    return Origin(name=str(path), folder=path.absolute().parent) if path is not None else Origin(name="the environment")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where settings come from."""

    name: str
    """For messages."""
    folder: Path = Path()
    """What relative paths are relative to."""


def convert(tree: Any, section: type[SectionT], origin: Origin, *, at: str = "", strict: bool = True) -> SectionT:
    """Convert a tree of plain values; `at` is its own key in the whole.

    Raises:
        SettingsError: it does not fit.

    """
    try:
        return msgspec.convert(tree, section, strict=strict, dec_hook=partial(_decode, origin.folder))
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `")
        path = ".".join(filter(None, (at, place.rstrip("`").removeprefix("$").lstrip("."))))
        raise SettingsError(f"{origin.name}: {_explain(reason, path, section, at)}") from None


def _decode(folder: Path, kind: type, value: Any) -> Any:
    """Decode what msgspec does not know: paths."""
    if kind is Path and isinstance(value, str) and value:
        return folder / Path(value).expanduser()
    raise msgspec.ValidationError(f"Expected `{'str' if kind is Path else kind.__name__}`")


def _explain(reason: str, path: str, section: type[msgspec.Struct], at: str) -> str:
    if reason.startswith("Object contains unknown field "):
        field = reason.partition("`")[2].rstrip("`")
        known = _fields(section, path.removeprefix(at).lstrip("."))
        expected = f"; expected one of: {', '.join(known)}" if known else ""
        return f"{f'{path}.' if path else ''}{field}: unknown key{expected}"
    return f"{path or 'the file'}: {reason}"


def _fields(section: type[msgspec.Struct], path: str) -> list[str]:
    """Return the keys that the section at `path` knows, or nothing where it is no section."""
    found: Any = section
    for name in filter(None, path.split(".")):
        plain = name.partition("[")[0]
        hints = get_type_hints(found) if isinstance(found, type) and issubclass(found, msgspec.Struct) else {}
        found = hints.get(plain)
        if "[" in name:
            found = next(iter(get_args(found)), None)
    if isinstance(found, type) and issubclass(found, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(found)]
    return []


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from None


def _with(tree: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    head, *rest = keys
    below = tree.get(head)
    inner = cast("dict[str, Any]", below) if isinstance(below, dict) else {}
    return {**tree, head: _with(inner, rest, value) if rest else value}


def _value(text: str) -> Any:
    if text.startswith(("[", "{")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text
