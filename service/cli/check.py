"""Validate everything that `serve` needs, without opening the store or contacting an upstream."""

import os
from pathlib import Path

from service import wiring
from service.admin.token_auth import tokens_of
from service.config.schema import Origin, Settings, SettingsError
from service.config.secrets import read_key
from service.licenses.auth import fixed_licenses
from service.media.fetch import fetch_policy
from service.middleware.forwarded import PublicAddress
from service.storage.factory import cipher_of, location_of
from service.telemetry.tracing import check_tracing

_SQLITE = b"SQLite format 3\0"


def check(settings: Settings, origin: Origin, store_path: Path) -> None:
    """Check the settings together and the files that they name.

    Raises:
        SettingsError: `serve` would not start with these settings.

    """
    wiring.check_transports(settings, origin)
    wiring.build_catalogue(settings, origin)
    fixed_licenses(settings.licenses, origin)
    tokens_of(settings.admin, origin)
    PublicAddress.of(settings.server, origin)
    fetch_policy(settings.fetch, settings.server.public_url, origin)
    if settings.media.key_file is not None:
        read_key(settings.media.key_file, f"{origin.of('media.key_file')}: media.key_file")
    if settings.media.cache_dir is not None:
        _check_folder(settings.media.cache_dir, f"{origin.name}: media.cache_dir")
    cipher_of(settings.store, origin)
    check_tracing(settings.tracing, origin)
    if location_of(settings.store, origin, store_path).path is not None:
        _check_store(store_path, f"{origin.name}: store.path")


def _check_folder(folder: Path, where: str) -> None:
    """Raise SettingsError unless the folder exists or can be created, and is writable."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise SettingsError(f"{where}: {folder}: {existing} is not a folder; choose another path")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SettingsError(
            f"{where}: {folder}: no permission to write to {existing}; allow it, or choose another path"
        )


def _check_store(path: Path, where: str) -> None:
    """Raise SettingsError unless the store is a SQLite file or can be created."""
    _check_folder(path.parent, where)
    if not path.exists():
        return
    try:
        with path.open("r+b") as file:
            begin = file.read(len(_SQLITE))
    except OSError as error:
        raise SettingsError(f"{where}: {path}: {error.strerror}") from None
    if begin and begin != _SQLITE:
        raise SettingsError(f"{where}: {path}: is not a database of this gateway; choose another path")
