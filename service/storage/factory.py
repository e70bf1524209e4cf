"""Builds the store that the settings describe: its location, cipher, local replica and instrumentation."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from service.config.schema import Origin, SettingsError, StoreSettings
from service.config.secrets import read_key, read_secret
from transports.clock import Clock
from transports.store import Cipher, Records, ReplicatedRecords, SqliteStore, Store, StoreDown
from transports.store.instrumented import StoreObserver, instrumented

_FILE = "sqlite:"

_log = structlog.get_logger()


class StoreUnreachable(SettingsError):
    """The store does not work at the moment; the settings may be valid."""


class StoreLocation(msgspec.Struct, frozen=True):
    """Location of a store: a file, or the URL of a server."""

    path: Path | None
    url: str = ""

    def __repr__(self) -> str:
        """Leave out the password."""
        return f"StoreLocation({str(self)!r})"

    def __str__(self) -> str:
        """Return the location without the password."""
        return f"SQLite at {self.path}" if self.path is not None else f"the server at {shown_url(self.url)}"


def location_of(settings: StoreSettings, origin: Origin, path: Path) -> StoreLocation:
    """Return the store's location by the settings: a server, or else the file at `path`.

    Raises:
        SettingsError: the URL is invalid, given twice, or in a file that cannot be read.

    """
    url, where = settings.url, origin.of("store.url")
    if settings.url_file is not None:
        if url:
            raise SettingsError(f"{where}: store.url: set together with store.url_file; set only one")
        where = origin.of("store.url_file")
        url = read_secret(settings.url_file, f"{where}: store.url_file")
        if not url:
            raise SettingsError(f"{where}: store.url_file: {settings.url_file} is empty")
    if not url:
        return StoreLocation(path)
    try:
        _check_url(url)
    except ValueError as error:
        name = "store.url" if settings.url else "store.url_file"
        raise SettingsError(f"{where}: {name}: {error}") from None
    return StoreLocation(None, url)


def location_at(text: str) -> StoreLocation:
    """Parse a location: `sqlite:PATH`, `redis://…` or `rediss://…`.

    Raises:
        ValueError: it is invalid; the message shows no part of it.

    """
    if text.startswith(_FILE):
        path = text.removeprefix(_FILE)
        if not path:
            raise ValueError("is not of the form sqlite:PATH")
        return StoreLocation(Path(path).expanduser())
    if not text.startswith(("redis://", "rediss://")):
        raise ValueError("is not of the form sqlite:PATH, redis://host:6379/0 or rediss://host:6379/0")
    _check_url(text)
    return StoreLocation(None, text)


def cipher_of(settings: StoreSettings, origin: Origin) -> Cipher:
    """Return the cipher with the keys of the settings.

    Raises:
        SettingsError: a key file cannot be read, or is too short.

    """
    where = origin.of("store.old_key_files")
    earlier = [read_key(path, f"{where}: store.old_key_files") for path in settings.old_key_files]
    if settings.key_file is None:
        return Cipher(None, earlier)
    return Cipher(read_key(settings.key_file, f"{origin.of('store.key_file')}: store.key_file"), earlier)


@asynccontextmanager
async def open_store(
    settings: StoreSettings,
    origin: Origin,
    path: Path,
    clock: Clock,
    observer: StoreObserver | None = None,
) -> AsyncGenerator[Store]:
    """Open the store of the settings, with encryption, and close it afterwards; `observer` is notified of its calls.

    Raises:
        SettingsError: the store or a key cannot be opened.

    """
    location, cipher = location_of(settings, origin, path), cipher_of(settings, origin)
    async with AsyncExitStack() as stack:
        with store_errors(location, origin):
            store = await stack.enter_async_context(open_location(location, settings, clock, observer, cipher))
        yield store


@asynccontextmanager
async def open_stores(
    settings: StoreSettings,
    origin: Origin,
    path: Path,
    clock: Clock,
    observer: StoreObserver,
) -> AsyncGenerator[tuple[Store, Records | None]]:
    """Open the gateway's store, and for a shared store also the local replica from which lost records are restored.

    Raises:
        SettingsError: a store or a key cannot be opened.

    """
    async with (
        open_store(settings, origin, path, clock, observer) as store,
        open_local_replica(settings, origin, path, clock) as copy,
    ):
        if settings.key_file is None:
            _log.warning("store_unencrypted", setting="store.key_file", plain_text="cookies, keys and prompts")
        if copy is not None:
            yield Store(ReplicatedRecords(store.records, copy, clock), store.locks, store.limits), copy
        else:
            yield store, None


@asynccontextmanager
async def open_local_replica(
    settings: StoreSettings,
    origin: Origin,
    path: Path,
    clock: Clock,
) -> AsyncGenerator[Records | None]:
    """Open this machine's local replica, encrypted like the store; yields None if the store is a local file.

    Raises:
        SettingsError: it cannot be opened.

    """
    if location_of(settings, origin, path).path is not None:
        yield None
        return
    copy = path.parent / settings.local_replica_path
    try:
        store = SqliteStore(copy, clock, cipher_of(settings, origin))
    except OSError as error:
        kind = StoreUnreachable if isinstance(error, StoreDown) else SettingsError
        raise kind(
            f"{origin.of('store.local_replica_path')}: store.local_replica_path: {error.strerror or error}"
        ) from None
    with closing(store):
        yield store


@asynccontextmanager
async def open_location(
    location: StoreLocation,
    settings: StoreSettings,
    clock: Clock,
    observer: StoreObserver | None = None,
    cipher: Cipher | None = None,
) -> AsyncGenerator[Store]:
    """Open the store at a location, and close it afterwards; without `cipher`, values are read and written as stored.

    Raises:
        OSError: it cannot be opened.

    """
    observer = observer or _NullObserver()
    if location.path is not None:
        with closing(SqliteStore(location.path, clock, cipher, observer)) as backend:
            yield Store.of(instrumented(backend, clock, observer))
        return
    from transports.store.redis import RedisOptions, open_redis

    options = RedisOptions(url=location.url, prefix=settings.prefix, timeout_seconds=settings.timeout_seconds)
    async with open_redis(options, clock, observer, cipher) as backend:
        with suppress(StoreDown):  # its users find out themselves
            await backend.check_keys()
        yield Store.of(instrumented(backend, clock, observer))


class _NullObserver:
    """Ignores the calls of a store."""

    def store_call(self, operation: str, seconds: float, outcome: str) -> None:
        """Ignore a call."""

    def store_breaker(self, *, is_open: bool) -> None:
        """Ignore the breaker."""

    def store_evicts(self, *, evicts: bool) -> None:
        """Ignore the server's policy."""

    def store_file(self, problem: str) -> None:
        """Ignore the file: a command opens it for a moment only."""

    def store_restored(self) -> None:
        """Ignore the file."""


@contextmanager
def store_errors(location: StoreLocation, origin: Origin) -> Generator[None]:
    """Turn an error of the store into a SettingsError that names the setting; StoreUnreachable if it may pass."""
    try:
        yield
    except OSError as error:
        kind = StoreUnreachable if isinstance(error, StoreDown) else SettingsError
        reason = error.strerror or error
        if location.path is None:
            raise kind(f"{origin.of('store.url')}: store.url: {reason}") from None
        where = "" if kind is StoreUnreachable else f"{location.path}: "  # its own messages name the file
        raise kind(f"{origin.of('store.path')}: store.path: {where}{reason}") from None


def shown_url(url: str) -> str:
    """Return a server's URL without password and query."""
    scheme, mark, rest = url.partition("://")
    rest, query, _ = rest.partition("?")
    credentials, at, host = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}{mark}{f'{user}:***@' if at else ''}{host}{'?***' if query else ''}"


def _check_url(url: str) -> None:
    """Raise ValueError unless this is a valid server URL."""
    from transports.store.redis_server import RedisAddress

    RedisAddress.of(url)
