"""License check of every matched route: identifies the caller, and what it may use, by its license key."""

import secrets
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from protocol.http.body import discard_body
from protocol.http.context import RequestContext, context_of
from protocol.model import Caller, GatewayError, Saturated, Unauthorized
from service.config.schema import LicenseSettings, Origin, SettingsError
from service.config.secrets import read_secret
from service.licenses.store import KEY, License, LicenseError, LicenseStore, check, digest_of
from service.middleware.concurrency import DialectApp

KEY_PREFIX = "sk-gg-"
_RETRY_SECONDS = 5.0

_log = structlog.get_logger()


def new_key() -> str:
    """Generate a license key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def fixed_licenses(settings: Sequence[LicenseSettings], origin: Origin) -> list[tuple[str, License]]:
    """Return the licenses of the settings, each with its key.

    Raises:
        SettingsError: a key cannot be read or is invalid, or an id or a key occurs twice.

    """
    found: dict[str, License] = {}
    ids: set[str] = set()
    for number, setting in enumerate(settings):
        where = f"{origin.name}: licenses[{number}]"
        key = setting.key if setting.key_file is None else read_secret(setting.key_file, f"{where}.key_file")
        try:
            check(setting.id, key)
        except LicenseError as error:
            raise SettingsError(f"{where}: {error}") from None
        if setting.id in ids:
            raise SettingsError(f"{where}.id: {setting.id!r} occurs twice")
        ids.add(setting.id)
        if key in found:
            raise SettingsError(f"{where}: has the key of the license {found[key].id!r}")
        found[key] = License(id=setting.id, models=setting.models, features=setting.features)
    return list(found.items())


class Licenses:
    """All licenses: those of the settings, and those of the store."""

    def __init__(self, fixed: Iterable[tuple[str, License]], store: LicenseStore) -> None:
        """Use `fixed`, the checked `(key, license)` pairs of the settings, and the store's licenses."""
        self._store = store
        self.fixed = list(fixed)

    @property
    def fixed(self) -> Sequence[tuple[str, License]]:
        """Licenses of the settings, each with its key; setting them takes effect at once."""
        return self._fixed

    @fixed.setter
    def fixed(self, fixed: Sequence[tuple[str, License]]) -> None:
        self._fixed = fixed
        self._by_digest = {digest_of(key.encode()): granted for key, granted in fixed}
        self._fixed_ids = {granted.id for _, granted in fixed}

    async def caller(self, authorization: bytes) -> Caller | None:
        """Return the caller that an `Authorization` header identifies, or None if its key is not valid.

        Raises:
            Saturated: the store failed.

        """
        scheme, _, key = authorization.strip().partition(b" ")
        key = key.strip()
        if scheme.lower() != b"bearer" or not KEY.fullmatch(key):
            return None
        digest = digest_of(key)  # looking keys up by digest leaks no part of a key through timing
        found = self._by_digest.get(digest)
        if found is None:
            with _store_errors():
                found = await self._store.find(digest)
        return Caller(id=found.id, models=found.models, features=found.features) if found else None

    async def valid(self, identity: str) -> bool:
        """Return whether there is a license with this id that is not revoked.

        Raises:
            Saturated: the store failed.

        """
        if identity in self._fixed_ids:
            return True
        with _store_errors():
            return await self._store.valid(identity)


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
    """Middleware that passes a request with a valid license key on, and refuses others in the route's dialect."""

    def __init__(self, endpoint: DialectApp, licenses: Licenses) -> None:
        """Guard `endpoint`."""
        self._endpoint, self._licenses = endpoint, licenses

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        context = context_of(scope)
        refusal = await self._identify(scope, context)
        if refusal is None:
            await self._endpoint(scope, receive, send)
            return
        context.record.error = refusal.code
        await discard_body(scope, receive)
        await self._endpoint.refuse(refusal)(scope, receive, send)

    async def _identify(self, scope: Any, context: RequestContext) -> GatewayError | None:
        """Set the request's caller; return the error for a request without a valid license."""
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        try:
            context.caller = await self._licenses.caller(sent[0]) if len(sent) == 1 else None
        except Saturated as error:
            return error
        if context.caller is not None:
            return None
        return Unauthorized(
            "Incorrect API key provided. Send a license key of this gateway as 'Authorization: Bearer <license key>'.",
        )
