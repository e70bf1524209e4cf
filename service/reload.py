"""Reloads changed secret files (keys and cookies) while requests are answered, and the settings on SIGHUP.

On SIGHUP, settings that `serve` would not start with change nothing at all. So do settings without any license or
account where there were some, since a file that was cut or emptied looks like that; a restart accepts them.

Files are checked through symbolic links, because Kubernetes swaps the folder behind them. A changed file is reloaded
once it has been unchanged for a moment and is valid; if it is incomplete, empty or missing, the previous content stays
active.
"""

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter

from service import wiring
from service.config.schema import LicenseSettings, Origin, Settings, SettingsError, load
from service.licenses.auth import Licenses, fixed_licenses
from service.licenses.store import License
from transports.base import Transport
from transports.clock import Clock
from transports.router import Router
from transports.tasks import background_tasks, every

_SETTLE_SECONDS = 1.0
"""A file that changed more recently than this may be incomplete."""
_LIVE = frozenset({"licenses", "transports", "routes"})
"""The sections that can be reloaded."""

_log = structlog.get_logger()

Mark = tuple[int, int, int, int]


class ReloadPart(msgspec.Struct, frozen=True):
    """A set of files that can be reloaded."""

    files: Sequence[Path]
    reload: Callable[[], Sequence[str]]
    """Reloads the files; returns the invalid ones, whose previous content stays active."""


class Reload:
    """Watches and reloads licenses, transports and other parts."""

    def __init__(
        self,
        settings: Settings,
        origin: Origin,
        licenses: Licenses,
        registry: CollectorRegistry,
        check: Callable[[Settings], None],
    ) -> None:
        """Start from settings that have just been read; `check` raises SettingsError for those `serve` refuses."""
        self._check = check
        self._settings, self._origin, self._licenses = settings, origin, licenses
        self._configs = wiring.transport_settings(settings, origin)
        self._transports: dict[str, Transport] = {}
        self._router: Router | None = None
        self._parts: list[ReloadPart] = []
        self._marks = self._marks_now()
        self._lock = anyio.Lock()
        self._done = Counter("gateway_config_reloads", "Reloads of changed files.", registry=registry)
        self._failed = Counter(
            "gateway_config_reload_failures",
            "Changed files that were invalid; their previous content stays active.",
            registry=registry,
        )

    def follow(self, transport: Transport) -> None:
        """Reload the accounts of a transport too."""
        self._transports[transport.name] = transport

    def follow_routes(self, router: Router) -> None:
        """Reload the routes of the settings too."""
        self._router = router

    def add(self, part: ReloadPart) -> None:
        """Reload another part too."""
        self._parts.append(part)
        self._marks |= {path: _mark(path) for path in part.files}

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncGenerator[None]:
        """Watch the files until the context exits."""
        async with background_tasks() as tasks:
            check = partial(self.check_files, clock)
            tasks.start_soon(partial(every, self._settings.reload.poll_seconds, check, clock, wait=True))
            yield

    async def reload(self) -> None:
        """Reload the settings and all files."""
        async with self._lock:
            if self._origin.path is not None:
                settings = await self._read(self._origin.path)
                if settings is None:
                    return
                self._settings = settings
            self._marks = self._marks_now()
            await self._reload_all()

    async def check_files(self, clock: Clock) -> None:
        """Reload files that have changed and are stable; an invalid file is logged once."""
        async with self._lock:
            seen = self._marks_now()
            if seen == self._marks:
                return
            await clock.sleep(_SETTLE_SECONDS)
            if self._marks_now() == seen:
                self._marks = seen
                await self._reload_all()

    def _marks_now(self) -> dict[Path, Mark | None]:
        """Return a fingerprint of each file."""
        files = [setting.key_file for setting in self._settings.licenses if setting.key_file is not None]
        for name, config in self._configs.items():
            files += wiring.TRANSPORTS[name].account_files(config)
        for part in self._parts:
            files += part.files
        return {path: _mark(path) for path in files}

    async def _reload_all(self) -> None:
        strict = not wiring.is_simulated(self._settings, self._origin)
        fixed, invalid = reload_licenses(self._settings.licenses, self._origin, self._licenses.fixed, strict=strict)
        self._licenses.fixed = fixed
        for name, transport in self._transports.items():
            invalid += await wiring.TRANSPORTS[name].reload(transport, self._configs[name])
        for part in self._parts:
            invalid += part.reload()
        for path in invalid:
            self._failed.inc()
            _log.error("config_reload_failed", path=path)
        if not invalid:
            self._done.inc()
            _log.info("config_reloaded")

    async def _read(self, path: Path) -> Settings | None:
        """Return the settings as their file is now, with the sections that cannot be reloaded as before.

        None: the file is invalid, or leaves out too much.
        """
        try:
            _refuse_pipe(path)
            settings = load(path, os.environ)
            configs = wiring.transport_settings(settings, self._origin)
            self._check(settings)
            self._refuse_loss(settings, configs)
            with suppress(OSError):  # without the store, the licenses of the settings count
                await self._licenses.check(fixed_licenses(settings.licenses, self._origin), self._origin)
        except SettingsError as error:
            self._failed.inc()
            advice = "nothing was changed; run gemini-gateway config check"
            _log.error("config_reload_failed", path=str(path), reason=str(error), advice=advice)
            return None
        at_start = _at_start(self._settings, settings, self._configs, configs)
        if at_start:
            _log.warning("config_restart_required", settings=at_start)
        self._configs = configs
        if self._router is not None:
            self._router.routes = wiring.routes_of(settings, self._origin)
        return msgspec.structs.replace(self._settings, licenses=settings.licenses, routes=settings.routes)

    def _refuse_loss(self, settings: Settings, configs: dict[str, msgspec.Struct]) -> None:
        """Raise SettingsError if these settings have other transports, or lost all licenses or accounts."""
        if configs.keys() != self._configs.keys():
            raise SettingsError(f"{self._origin.name}: transports: other ones than before; restart to change them")
        lost = ["licenses"] if self._settings.licenses and not settings.licenses else []
        for name, config in configs.items():
            kind = wiring.TRANSPORTS[name]
            if kind.account_settings(self._configs[name]) and not kind.account_settings(config):
                lost.append(f"transports.{name}.accounts")
        if lost:
            raise SettingsError(f"{self._origin.name}: {' and '.join(lost)}: all are gone; restart to remove them")


def _refuse_pipe(path: Path) -> None:
    """Raise SettingsError if the path is a pipe: opening it waits for a writer, and all requests with it."""
    if path.is_fifo():
        raise SettingsError(f"{path}: is a pipe, which is read only at the start")


def _mark(path: Path) -> Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _at_start(
    before: Settings, after: Settings, configs: dict[str, msgspec.Struct], now: dict[str, msgspec.Struct]
) -> list[str]:
    """Return the changed settings that need a restart."""
    names = [name for name in before.__struct_fields__ if name not in _LIVE]
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    others = [name for name in sorted({*configs, *now}) if _rest(configs.get(name)) != _rest(now.get(name))]
    return changed + [f"transports.{name}" for name in others]


def _rest(config: Any) -> msgspec.Struct | None:
    """Return a transport's settings without its accounts."""
    return msgspec.structs.replace(config, accounts=()) if hasattr(config, "accounts") else config


def reload_licenses(
    settings: Sequence[LicenseSettings], origin: Origin, before: Sequence[tuple[str, License]], *, strict: bool = False
) -> tuple[list[tuple[str, License]], list[str]]:
    """Return the licenses of the settings with the current keys of their files, and the invalid files or licenses.

    An invalid license keeps its previous key. Of several with one key, that which had it before keeps it; a license may
    take the key of one that is gone, or of one that has another key now.
    """
    known = {granted.id: (key, granted) for key, granted in before}
    found: dict[str, tuple[str, License]] = {}
    files: dict[str, str] = {}
    invalid: list[str] = []
    for setting in settings:
        name = str(setting.key_file or setting.id)
        try:
            [fresh] = fixed_licenses([setting], origin, strict=strict)
        except SettingsError:
            invalid.append(name)
            if setting.id not in known:
                continue
            fresh = known[setting.id]
        if setting.id in found:
            invalid.append(name)
            continue
        found[setting.id], files[setting.id] = fresh, name
    owners: dict[str, str] = {}
    for name, (key, _) in sorted(found.items(), key=lambda item: item[1][0] != known.get(item[0], ("",))[0]):
        if key in owners:
            invalid.append(files[name])
            found[name] = known.get(name, found[name])
        owners.setdefault(found[name][0], name)
    return [one for name, one in found.items() if owners[one[0]] == name], invalid
