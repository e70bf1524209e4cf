"""Where the store of the settings is, and what its secret values are encrypted with."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import msgspec
import structlog

from service.config.schema import Origin, SettingsError
from service.config.schema import Store as StoreSettings
from service.earlier import bring_over
from transports.clock import Clock
from transports.store import Cipher, EncryptedStore, ReplicatedStore, SqliteStore, Store, StoreDown
from transports.store.instrumented import StoreObserver, instrumented

KEY_BYTES = 32
_FILE = "sqlite:"

_log = structlog.get_logger()


class StoreUnreachable(SettingsError):
    """The server that the settings name does not answer: nothing else is known to be wrong with them."""


class StoreLocation(msgspec.Struct, frozen=True):
    """Where a store is: in a file, or at the URL of a server."""

    path: Path | None
    url: str = ""

    def __repr__(self) -> str:
        """Show no password."""
        return f"Location({str(self)!r})"

    def __str__(self) -> str:
        """Say where it is, without what signs in there."""
        return f"SQLite at {self.path}" if self.path is not None else f"the server at {shown_url(self.url)}"


def location_of(settings: StoreSettings, origin: Origin, path: Path) -> StoreLocation:
    """Return where the settings want the store, whose file would be at `path`.

    Raises:
        SettingsError: they say it twice, in a file that cannot be read, or not as a URL.

    """
    url, where = settings.url, origin.of("store.url")
    if settings.url_file is not None:
        if url:
            raise SettingsError(f"{where}: store.url: stands beside store.url_file; one of them is enough")
        where = origin.of("store.url_file")
        url = _read(settings.url_file, f"{where}: store.url_file").decode("utf-8", "replace")
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
    """Return the location that `sqlite:PATH`, `redis://…` or `rediss://…` names.

    Raises:
        ValueError: it names none; the message shows nothing of it.

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
    """Return what seals with the keys of the settings.

    Raises:
        SettingsError: the file of a key cannot be read, or holds too little.

    """
    where = origin.of("store.old_key_files")
    earlier = [secret_in(path, f"{where}: store.old_key_files") for path in settings.old_key_files]
    if settings.key_file is None:
        return Cipher(None, earlier)
    return Cipher(secret_in(settings.key_file, f"{origin.of('store.key_file')}: store.key_file"), earlier)


def secret_in(path: Path, where: str) -> bytes:
    """Return the secret that a file holds; `where` names the setting.

    Raises:
        SettingsError: it cannot be read, or holds too little.

    """
    secret = _read(path, where)
    if len(secret) < KEY_BYTES:
        raise SettingsError(f"{where}: {path}: expected {KEY_BYTES} bytes or more")
    return secret


@asynccontextmanager
async def open_store(
    settings: StoreSettings,
    origin: Origin,
    path: Path,
    clock: Clock,
    observer: StoreObserver | None = None,
) -> AsyncGenerator[Store]:
    """Open the store of the settings; leaving closes it. `observer` hears of its calls.

    Raises:
        SettingsError: it, or a key of it, cannot be opened.

    """
    location, sealer = location_of(settings, origin, path), cipher_of(settings, origin)
    async with AsyncExitStack() as stack:
        with naming(location, origin):
            store = await stack.enter_async_context(open_plain(location, settings, clock, observer))
            sealed = EncryptedStore(store, sealer)
            if location.path is not None:
                await bring_over(location.path, sealed, clock)
        yield sealed


@asynccontextmanager
async def open_stores(
    settings: StoreSettings,
    origin: Origin,
    path: Path,
    clock: Clock,
    observer: StoreObserver,
) -> AsyncGenerator[tuple[Store, Store | None]]:
    """Open a gateway's store, and this machine's own copy beside one that is shared: what is lost is put back.

    Raises:
        SettingsError: one of them, or a key, cannot be opened.

    """
    async with (
        open_store(settings, origin, path, clock, observer) as store,
        open_copy(settings, origin, path, clock) as copy,
    ):
        if settings.key_file is None:
            held = "cookies, keys and prompts, as plain text"
            _log.warning("store_not_encrypted", setting="store.key_file", held=held)
        yield (ReplicatedStore(store, copy, clock) if copy is not None else store), copy


@asynccontextmanager
async def open_copy(
    settings: StoreSettings,
    origin: Origin,
    path: Path,
    clock: Clock,
) -> AsyncGenerator[Store | None]:
    """Open this machine's own copy of what must last, sealed as the store is; None where the store is its own already.

    Raises:
        SettingsError: it cannot be opened.

    """
    if location_of(settings, origin, path).path is not None:
        yield None
        return
    copy = path.parent / settings.copy_path
    try:
        store = SqliteStore(copy, clock)
    except OSError as error:
        raise SettingsError(f"{origin.of('store.copy_path')}: store.copy_path: {error.strerror or error}") from None
    with closing(store):
        yield EncryptedStore(store, cipher_of(settings, origin))


@asynccontextmanager
async def open_plain(
    location: StoreLocation,
    settings: StoreSettings,
    clock: Clock,
    observer: StoreObserver | None = None,
) -> AsyncGenerator[Store]:
    """Open a store as it is, sealed values and all; leaving closes it.

    Raises:
        OSError: it cannot be opened.

    """
    observer = observer or _Deaf()
    if location.path is not None:
        with closing(SqliteStore(location.path, clock)) as store:
            yield instrumented(store, clock, observer)
        return
    from transports.store.redis import RedisOptions, open_redis

    options = RedisOptions(url=location.url, prefix=settings.prefix, timeout_seconds=settings.timeout_seconds)
    async with open_redis(options, clock, observer) as store:
        yield instrumented(store, clock, observer)


class _Deaf:
    """Hears of a store's calls where nobody asks for their numbers."""

    def store_call(self, operation: str, seconds: float, outcome: str) -> None:
        """Hear of a call."""

    def store_breaker(self, *, is_open: bool) -> None:
        """Hear of the breaker."""

    def store_evicts(self, *, evicts: bool) -> None:
        """Hear of the server's policy."""


@contextmanager
def naming(location: StoreLocation, origin: Origin) -> Generator[None]:
    """Name the setting that an error of the store comes from."""
    try:
        yield
    except OSError as error:
        if location.path is None:
            kind = StoreUnreachable if isinstance(error, StoreDown) else SettingsError
            raise kind(f"{origin.of('store.url')}: store.url: {error.strerror or error}") from None
        raise SettingsError(f"store.path: {location.path}: {error.strerror or error}") from None


def shown_url(url: str) -> str:
    """Return a server's URL without what signs in there."""
    scheme, mark, rest = url.partition("://")
    rest, asked, _ = rest.partition("?")
    signing, at, host = rest.rpartition("@")
    user = signing.partition(":")[0]
    return f"{scheme}{mark}{f'{user}:***@' if at else ''}{host}{'?***' if asked else ''}"


def _check_url(url: str) -> None:
    """Raise ValueError for what is no server's URL."""
    from transports.store.redis_server import RedisAddress

    RedisAddress.of(url)


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"{where}: {path} cannot be read: {error.strerror}") from None
