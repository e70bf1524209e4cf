"""Maps errors of the Redis client to a fixed set of reasons, safe for logs and metrics: no other part is kept."""

import re
import socket
import ssl

from redis import exceptions

from transports.store.port import StoreDown

OPEN = "open"
"""The circuit breaker is open: the server was not asked."""
TIMEOUT = "timeout"

_CODES = {
    *("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "MOVED"),
    *("NOAUTH", "NOPERM", "NOREPLICAS", "OOM", "READONLY", "WRONGPASS", "WRONGTYPE"),
}
"""Error codes of servers that an operator can act on."""

_CLASSES: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.AuthenticationError, "NOAUTH"),
    (exceptions.TimeoutError, TIMEOUT),
    (TimeoutError, TIMEOUT),
    (exceptions.InvalidResponse, "garbled"),
    (ValueError, "garbled"),
)
_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "refused"),
    (ssl.SSLError, "tls"),
    (socket.gaierror, "name"),
)
"""Causes of redis-py's connection errors."""


class RedisUnavailable(StoreDown):
    """The server did not do a call, or its answer did not arrive."""

    def __init__(self, where: str, reason: str) -> None:
        """Name the server's address and the reason."""
        self.reason = reason
        super().__init__(f"the store at {where} is unavailable: {reason}")


def reason_of(error: BaseException) -> str:
    """Return the reason for an error of the client."""
    cause = error.__cause__ or error.__context__ if isinstance(error, exceptions.ConnectionError) else error
    for found, kinds in ((error, _CLASSES), (cause, _CAUSES)):
        for kind, reason in kinds:
            if isinstance(found, kind):
                return reason
    if not isinstance(error, exceptions.ResponseError):
        return "lost"
    codes = [word for word in re.findall(r"\b[A-Z]{3,}\b", str(error)) if word in _CODES]
    return codes[0] if codes else "refusal"
