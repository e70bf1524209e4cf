"""Asks a probe's URL and says by the exit status whether it answered well: a container's health check.

It is started every few seconds for as long as a container lives, so it takes nothing but the standard library.
"""

import sys
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

SECONDS = 2.0


class _ProbeThread(threading.Thread):
    """Asks, beside who waits no longer than it wants to."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.said = f"no answer within {SECONDS:g} seconds"
        self.status = 0

    def run(self) -> None:
        from http.client import HTTPException

        try:
            self.status = _status(self._url)
            self.said = f"answered {self.status}"
        except (OSError, ValueError, HTTPException) as error:
            self.said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _status(url: str) -> int:
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is not an http:// or https:// URL")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=2 * SECONDS)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        return connection.getresponse().status
    finally:
        connection.close()


def probe(url: str) -> int:
    """Return the exit status: 0 where the URL answers 200 in time; else 1, and one line says why."""
    asking = _ProbeThread(url)
    asking.start()
    asking.join(SECONDS)
    if asking.status == 200:
        return 0
    sys.stderr.write(f"gemini-gateway: {url}: {asking.said}\n")
    return 1


def is_probe(arguments: Sequence[str]) -> bool:
    """Say whether a command line is `probe URL`, and not a question for its help."""
    return len(arguments) == 2 and arguments[0] == "probe" and not arguments[1].startswith("-")
