"""Request a health URL and report the result as exit status, for a container's health check.

It runs every few seconds while a container lives, so it imports only the standard library.
"""

import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import urlsplit

SECONDS = 2.0


class _ProbeThread(threading.Thread):
    """Sends the request in a thread, so that the caller can stop waiting at its deadline."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.outcome = f"no answer within {SECONDS:g} seconds"
        self.status = 0

    def run(self) -> None:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        try:
            parts = urlsplit(self._url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("expected an http:// or https:// URL")  # noqa: TRY301 -- reported like other failures
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            with closing(kind(parts.hostname, parts.port, timeout=2 * SECONDS)) as connection:
                connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
                self.status = connection.getresponse().status
            self.outcome = f"answered {self.status}"
        except (OSError, ValueError, HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            self.outcome = reason or str(error) or type(error).__name__


def probe(url: str) -> int:
    """Return 0 if the URL answers 200 in time; otherwise write the reason and return 1."""
    thread = _ProbeThread(url)
    thread.start()
    thread.join(SECONDS)
    if thread.status == 200:
        return 0
    sys.stderr.write(f"gemini-gateway: {url}: {thread.outcome}\n")
    return 1


def is_probe(arguments: Sequence[str]) -> bool:
    """Return whether the arguments are `probe URL` and not a request for help."""
    return len(arguments) == 2 and arguments[0] == "probe" and not arguments[1].startswith("-")
