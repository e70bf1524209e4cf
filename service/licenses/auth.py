"""License check of every matched route: identifies the caller, and what it may use, by its license key."""

import secrets
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

import structlog

from protocol.http.context import context_of
from protocol.http.disconnect import CallbackEvent
from protocol.http.errors import ASGIResponse
from protocol.http.operation import Dialect
from protocol.model import Caller, GatewayError, Saturated, released
from service.config.schema import LicenseSettings, Origin, SettingsError
from service.config.secrets import check_strength, read_secret
from service.licenses.store import KEY, License, LicenseError, LicenseStore, check_license

KEY_PREFIX = "sk-gg-"
_RETRY_SECONDS = 5.0

_log = structlog.get_logger()


def new_key() -> str:
    """Generate a license key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def fixed_licenses(
    settings: Sequence[LicenseSettings], origin: Origin, *, strict: bool = False
) -> list[tuple[str, License]]:
    """Return the licenses of the settings, each with its key; `strict` refuses keys that can be guessed.

    Raises:
        SettingsError: a key cannot be read or is invalid, or an id or a key occurs twice.

    """
    found: dict[str, License] = {}
    ids: set[str] = set()
    for number, setting in enumerate(settings):
        where = f"{origin.of('licenses')}: licenses[{number}]"
        key = setting.key if setting.key_file is None else read_secret(setting.key_file, f"{where}.key_file")
        try:
            check_license(setting.id, key)
        except LicenseError as error:
            raise SettingsError(f"{where}: {error}") from None
        if strict:
            check_strength(key, f"{where}: the key")
        if setting.id in ids:
            raise SettingsError(f"{where}.id: {setting.id!r} occurs twice")
        ids.add(setting.id)
        if key in found:
            raise SettingsError(f"{where}: has the key of the license {found[key].id!r}")
        found[key] = License(
            id=setting.id,
            models=setting.models,
            features=setting.features,
            aliases=setting.aliases,
            fallbacks=setting.fallbacks,
        )
    return list(found.items())


async def check_against_store(fixed: Iterable[tuple[str, License]], store: LicenseStore, origin: Origin) -> None:
    """Check that the licenses of the settings share no id and no key with those of the store.

    Raises:
        SettingsError: a license does; the message names both.
        OSError: the store failed.

    """
    ids, digests = await store.valid()
    for key, granted in fixed:
        where = f"{origin.name}: licenses: {granted.id!r}"
        if granted.id in ids:
            advice = f"revoke that one with `gemini-gateway licenses revoke {granted.id}`, or choose another id"
            raise SettingsError(f"{where} is in the store, too; {advice}")
        other = digests.get(sha256(key.encode()).digest())
        if other is not None:
            raise SettingsError(f"{where} has the key of the license {other!r} in the store; give it a key of its own")


class Licenses:
    """All licenses: those of the settings, and those of the store."""

    def __init__(self, fixed: Iterable[tuple[str, License]], store: LicenseStore) -> None:
        """Use `fixed`, the checked `(key, license)` pairs of the settings, and the store's licenses."""
        self._store = store
        self._shadowed: set[str] = set()
        """Ids of licenses of the store that were refused, because the settings use their id."""
        self._ends: WeakValueDictionary[str, CallbackEvent] = WeakValueDictionary()
        """The events of the licenses with open requests and jobs, which hold them."""
        self.fixed = list(fixed)

    @property
    def fixed(self) -> Sequence[tuple[str, License]]:
        """Licenses of the settings, each with its key; setting them takes effect at once."""
        return self._fixed

    @fixed.setter
    def fixed(self, fixed: Sequence[tuple[str, License]]) -> None:
        self._fixed = fixed
        self._by_digest = {sha256(key.encode()).digest(): granted for key, granted in fixed}
        self._fixed_by_id = {granted.id: granted for _, granted in fixed}
        for owner, event in tuple(self._ends.items()):
            identity, stored, _ = owner.partition("+")
            if (identity in self._fixed_by_id) == bool(stored):
                self._end(owner, event)

    @property
    def count(self) -> int:
        """The number of valid licenses; those of the store as of the last `refresh` or look-up."""
        return len(self._fixed_by_id) + self._store.count

    async def check(self, fixed: Iterable[tuple[str, License]], origin: Origin) -> None:
        """Check licenses of the settings against those of the store, as `check_against_store`."""
        await check_against_store(fixed, self._store, origin)

    async def caller(self, key: bytes) -> Caller | None:
        """Return the caller that a license key identifies, or None if the key is not valid.

        Raises:
            Saturated: the store failed.

        """
        if not KEY.fullmatch(key):
            return None
        digest = sha256(key).digest()  # looking keys up by digest leaks no part of a key through timing
        found = self._by_digest.get(digest)
        if found is None:
            with _store_errors():
                found = await self._store.find(digest)
            if found is not None and found.id in self._fixed_by_id:
                if found.id not in self._shadowed:
                    self._shadowed.add(found.id)
                    _log.warning("license_refused", license=found.id, reason="the settings have one with this id")
                found = None
        return found.caller if found else None

    async def current(self, owner: str) -> Caller | None:
        """Return the caller with this `Caller.owner` and its current license; None if the license has ended.

        Raises:
            Saturated: the store failed.

        """
        identity, stored, serial = owner.partition("+")
        if not stored:
            fixed = self._fixed_by_id.get(identity)
            return fixed.caller if fixed is not None else None
        if identity in self._fixed_by_id:
            return None
        with _store_errors():
            found = await self._store.current(identity, serial)
        return found.caller if found is not None else None

    def end_of(self, owner: str) -> CallbackEvent:
        """Return the event that is set when the license of this `Caller.owner` ends; keep a reference to it."""
        event = self._ends.get(owner)
        if event is None:
            event = self._ends[owner] = CallbackEvent()
        return event

    async def refresh(self) -> None:
        """Read the store's licenses again if they have changed, and end the open requests and jobs of revoked ones.

        Raises:
            OSError: the store failed.

        """
        await self._store.refresh()
        for owner, event in tuple(self._ends.items()):
            identity, stored, serial = owner.partition("+")
            if stored and await self._store.current(identity, serial) is None:
                self._end(owner, event)

    def _end(self, owner: str, event: CallbackEvent) -> None:
        del self._ends[owner]
        _log.info("license_ended", license=owner.partition("+")[0])
        event.set()


@contextmanager
def _store_errors() -> Generator[None]:
    """Turn an error of the store into the error for the client."""
    try:
        yield
    except OSError as error:
        _log.warning("licenses_unavailable", reason=error.strerror or str(error))
        message = "The gateway cannot check licenses at the moment. Try again later."
        raise Saturated(message, retry_after=_RETRY_SECONDS, code="state_unavailable") from None


class Licensed:
    """Middleware of one route that passes requests with a valid license key on, and refuses others in its dialect."""

    def __init__(self, endpoint: ASGIResponse, licenses: Licenses, dialect: Dialect) -> None:
        """Guard `endpoint`; the license key is where `dialect` has it."""
        self._endpoint, self._licenses, self._dialect = endpoint, licenses, dialect

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        context = context_of(scope)
        refusal: GatewayError | None = None
        try:
            for key in self._dialect.license_keys(scope):
                context.caller = await self._licenses.caller(key)
                if context.caller is not None:
                    break
            secret = self._dialect.ticket(scope) if context.caller is None else ""
            ticket = await context.files.ticket(secret) if secret else None
            if ticket is not None:
                context.caller = await self._licenses.current(ticket.owner)
        except Saturated as error:
            refusal = released(error)
        if context.caller is not None:
            context.spool = context.spool.of(context.caller.id)
            context.license_end = self._licenses.end_of(context.caller.owner)
            await self._endpoint(scope, receive, send)
            return
        refusal = refusal or self._dialect.unauthorized()
        context.record.error = refusal.code
        await self._dialect.refuse(refusal)(scope, receive, send)
