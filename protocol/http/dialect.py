"""Defines a dialect: an API that clients speak, as one value that the service serves.

A dialect is a folder below `protocol/` that exports `DIALECT`; one line in `service/wiring.py` registers it. Example:

    DIALECT = Dialect(name="toy", routes=routes, refuse=error_response, credentials=(HeaderKey("x-api-key"),))
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from protocol.model import Engine, GatewayError, Unauthorized


class Credential(Protocol):
    """A place in a request where clients of a dialect send the license key."""

    @property
    def usage(self) -> str:
        """How a client sends the key there, for error messages."""
        ...

    def read(self, scope: Any) -> bytes | None:
        """Return the key; None: there is none, or more than one."""
        ...


class HeaderKey:
    """A license key in a header, perhaps after the name of a scheme such as `Bearer`."""

    def __init__(self, name: str, scheme: str = "") -> None:
        """Read the header `name`, in any case; the scheme is compared in any case, too."""
        self._name, self._scheme = name.lower().encode(), scheme.lower().encode()
        self.usage = f"'{name}: {f'{scheme} ' if scheme else ''}<license key>'"

    def read(self, scope: Any) -> bytes | None:
        """Return the key, as `Credential.read`."""
        sent = [value for name, value in scope["headers"] if name == self._name]
        if len(sent) != 1:
            return None
        if not self._scheme:
            return sent[0].strip()
        scheme, _, key = sent[0].strip().partition(b" ")
        return key.strip() if scheme.lower() == self._scheme else None


class QueryKey:
    """A license key in a parameter of the URL's query."""

    def __init__(self, name: str) -> None:
        """Read the parameter `name`."""
        self._name = name.encode()
        self.usage = f"'?{name}=<license key>'"

    def read(self, scope: Any) -> bytes | None:
        """Return the key, as `Credential.read`."""
        sent = parse_qs(scope["query_string"]).get(self._name, ())
        return sent[0] if len(sent) == 1 else None


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """An API that clients speak."""

    name: str
    routes: Callable[[Engine], Sequence[Route]]
    """Returns the routes of the API; their endpoints are `protocol.http.operation.Endpoint`s."""
    refuse: Callable[[GatewayError], Response]
    """Writes an error in the form of this API; used for errors of middleware, too."""
    credentials: tuple[Credential, ...]
    """Where clients send the license key. The first place that has a key counts."""

    def license_key(self, scope: Any) -> bytes | None:
        """Return the license key of a request, which may be invalid; None: it has none."""
        for credential in self.credentials:
            key = credential.read(scope)
            if key is not None:
                return key
        return None

    def unauthorized(self) -> Unauthorized:
        """Return the error for a request without a valid license key."""
        usage = " or ".join(credential.usage for credential in self.credentials)
        return Unauthorized(f"Incorrect API key provided. Send a license key of this gateway as {usage}.")
