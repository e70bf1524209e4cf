"""Check everything that `serve` needs, without opening the store or contacting an upstream.

`serve`, `config check`, a reload and `init` all call `check`, so they refuse the same settings.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from service import wiring
from service.accounts.route_view import unserved_hops
from service.admin.token_auth import tokens_of
from service.config.schema import Origin, Settings, SettingsError
from service.config.secrets import read_key, readable_by_others
from service.licenses.auth import fixed_licenses
from service.media.fetch import fetch_policy
from service.middleware.forwarded import PublicAddress
from service.server.hypercorn import listen
from service.server.listeners import SECTIONS, addresses
from service.storage.factory import cipher_of, location_of
from service.telemetry.tracing import check_tracing
from service.usage.usage_opening import days_of
from transports.accounts.registry import AccountRecord

PATTERN_ADVICE = "write it as GET /v1/models lists the names, such as gemini-3-pro or gemini-3-*"
_HOST_AND_PORT = re.compile(r"([^:]*|\[.*\]):[0-9]+")
_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 -- the addresses that stand for all
_SQLITE = b"SQLite format 3\0"


def check(settings: Settings, origin: Origin, store_path: Path | None) -> None:
    """Check the settings together and the files that they name.

    Without `store_path`, the store's file is left alone. A process that has it open must do so: closing any other
    descriptor of the file drops the process's locks (POSIX), and a command that closes the store then deletes the
    write-ahead log with the latest writes. See https://sqlite.org/howtocorrupt.html, 2.2.

    Raises:
        SettingsError: `serve` would not start with these settings.

    """
    wiring.check_transports(settings, origin)
    wiring.build_catalogue(settings, origin)
    check_secrets(settings, origin)
    PublicAddress.of(settings.server, origin)
    fetch_policy(settings.fetch, settings.server.public_url, origin)
    if settings.media.cache_dir is not None:
        _check_folder(settings.media.cache_dir, f"{origin.of('media.cache_dir')}: media.cache_dir")
    days_of(settings.usage, origin)
    check_addresses(settings, origin)
    check_tracing(settings.tracing, origin)
    if store_path is not None and location_of(settings.store, origin, store_path).path is not None:
        _check_store(store_path, f"{origin.of('store.path')}: store.path")


def check_secrets(settings: Settings, origin: Origin) -> None:
    """Check the keys of clients and operators, and those that encrypt.

    With an upstream other than the simulator, a secret that can be guessed is refused.

    Raises:
        SettingsError: a secret cannot be read, is invalid, or can be guessed.

    """
    strict = not wiring.is_simulated(settings, origin)
    fixed_licenses(settings.licenses, origin, strict=strict)
    tokens_of(settings.admin, origin, strict=strict)
    cipher_of(settings.store, origin)
    for name, file in (("media.key_file", settings.media.key_file), ("store.key_file", settings.store.key_file)):
        if file is not None:
            read_key(file, f"{origin.of(name)}: {name}", strict=strict)


def exposed_files(settings: Settings, origin: Origin) -> list[str]:
    """Return the settings and secret files that every user of the machine may read, as `setting: path`."""
    named = [(f"licenses[{number}].key_file", one.key_file) for number, one in enumerate(settings.licenses)]
    named += [(f"admin.tokens[{place}].token_file", one.token_file) for place, one in enumerate(settings.admin.tokens)]
    named += [("store.key_file", settings.store.key_file), ("store.url_file", settings.store.url_file)]
    named += [("store.old_key_files", file) for file in settings.store.old_key_files]
    named += [("media.key_file", settings.media.key_file), ("tracing.headers_file", settings.tracing.headers_file)]
    configs = wiring.transport_settings(settings, origin)
    for name, config in configs.items():
        named += [(f"transports.{name}.accounts", file) for file in wiring.TRANSPORTS[name].account_files(config)]
    if holds_secrets(settings, configs):
        named.append(("the settings file", origin.path))
    return [f"{name}: {file}" for name, file in named if file is not None and readable_by_others(file)]


def unmatched_models(settings: Settings, origin: Origin) -> list[str]:
    """Return the patterns of licenses that match no model, as `setting: pattern`."""
    catalogue = wiring.build_catalogue(settings, origin)
    return [
        f"licenses[{number}].models: {pattern!r}"
        for number, one in enumerate(settings.licenses)
        for pattern in catalogue.unmatched(one.models)
    ]


def hops_without_accounts(settings: Settings, origin: Origin, stored: Iterable[AccountRecord]) -> list[str]:
    """Return the hops of routes that have no account of the settings or of those `stored`, as `setting: hop`."""
    serving: set[tuple[str, str]] = set()
    for name, config in wiring.transport_settings(settings, origin).items():
        kind = wiring.TRANSPORTS[name]
        if kind.accounts is None:
            serving.add((name, ""))
            continue
        serving |= {(name, kind.accounts.tier(account)) for account in kind.account_settings(config)}
        for record in (record for record in stored if record.transport == name):
            with suppress(ValueError):  # doctor reports it
                serving.add((name, kind.accounts.tier(kind.accounts.from_record(record).settings)))
    return [f"{place}: {str(hop)!r}" for place, hop in unserved_hops(settings.routes, serving)]


def holds_secrets(settings: Settings, configs: Mapping[str, msgspec.Struct]) -> bool:
    """Return whether a secret stands in the settings themselves, rather than in a file of its own."""
    accounts = [
        getattr(account, secret, None)
        for name, config in configs.items()
        for account in wiring.TRANSPORTS[name].account_settings(config)
        for secret in wiring.TRANSPORTS[name].secrets
    ]
    secrets = [one.key for one in settings.licenses] + [one.token for one in settings.admin.tokens]
    return any([*accounts, *secrets, "@" in settings.store.url])


def check_addresses(settings: Settings, origin: Origin) -> None:
    """Raise SettingsError unless each listener has an address of this machine to itself; a port in use may be freed."""
    taken: dict[int, tuple[str, str]] = {}
    for name, (host, port) in addresses(settings).items():
        section = SECTIONS[name]
        where = f"{origin.of(f'{section}.host')}: {section}"
        if _HOST_AND_PORT.fullmatch(host):
            raise SettingsError(f"{where}.host: expected an address without a port; set {section}.port to the port")
        other, owner = taken.get(port, ("", ""))
        if port and owner and (other == host or not _WILDCARDS.isdisjoint((other, host))):
            raise SettingsError(f"{where}.port: {port} is the port of {owner} already; choose another port")
        taken[port] = host, section
        try:
            listen(host, port, 1).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                advice = "write an address of this machine, such as 127.0.0.1 or ::1, or 0.0.0.0 or :: for all"
                reason = error.strerror or str(error)
                raise SettingsError(f"{where}: cannot listen on {host}:{port}: {reason}; {advice}") from None


def _check_folder(folder: Path, where: str) -> None:
    """Raise SettingsError unless the folder exists or can be created, and is writable."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise SettingsError(f"{where}: {folder}: {existing} is not a folder; choose another path")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SettingsError(
            f"{where}: {folder}: no permission to write to {existing}; allow it, or choose another path"
        )
    try:
        TemporaryDirectory(dir=existing).cleanup()  # a read-only mount, or a folder of the kernel's
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:  # a full disk passes
            reason = f"{existing} takes no files: {error.strerror}"
            raise SettingsError(f"{where}: {folder}: {reason}; choose another path") from None


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
