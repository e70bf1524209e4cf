"""Why a server cannot be used, in one word of a closed set; the word is all that is kept of an error."""

import re
import socket
import ssl

from redis import exceptions

from transports.store.port import StoreDown

OPEN = "open"
"""It was not asked: it did not answer a moment ago."""
TIMEOUT = "timeout"

_CODES = {
    *("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "MOVED"),
    *("NOAUTH", "NOPERM", "NOREPLICAS", "OOM", "READONLY", "WRONGPASS", "WRONGTYPE"),
}
"""What servers begin an error with, where an operator can do something about it."""

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
"""What redis-py makes a connection's error of."""


class OutageReason(StoreDown):
    """The server did not do it, or did not say so."""

    def __init__(self, where: str, reason: str) -> None:
        """Tell where the server is, and the reason why it cannot be used."""
        self.reason = reason
        super().__init__(f"the store at {where} is out of reach or out of order: {reason}")


def reason_of(error: BaseException) -> str:
    """Return the word for an error of the client's."""
    cause = error.__cause__ or error.__context__ if isinstance(error, exceptions.ConnectionError) else error
    for found, kinds in ((error, _CLASSES), (cause, _CAUSES)):
        for kind, reason in kinds:
            if isinstance(found, kind):
                return reason
    if not isinstance(error, exceptions.ResponseError):
        return "lost"
    codes = [word for word in re.findall(r"\b[A-Z]{3,}\b", str(error)) if word in _CODES]
    return codes[0] if codes else "refusal"
