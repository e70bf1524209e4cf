"""Uploads in two requests, as browsers send them. Source: "Files in"."""

import secrets
from collections import OrderedDict
from collections.abc import Mapping

_MOST_OPEN = 1000


class RefusedError(ValueError):
    """The request does not fit; says what."""


class Resumable:
    """Uploads that have been started and not finished."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: OrderedDict[str, int | None] = OrderedDict()

    def start(self, headers: Mapping[str, str]) -> str:
        """Start an upload; return its token.

        Raises:
            RefusedError: it is no start.

        """
        if headers.get("x-goog-upload-command") != "start":
            raise RefusedError("X-Goog-Upload-Command")
        length = headers.get("x-goog-upload-header-content-length", "")
        token = secrets.token_urlsafe(16)
        self._open[token] = int(length) if length.isdecimal() else None
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return token

    def finish(self, token: str, headers: Mapping[str, str], content: bytes) -> bytes:
        """Finish an upload; return its content.

        Raises:
            RefusedError: there is no such upload, or a header or the length does not fit.

        """
        if headers.get("x-goog-upload-command", "").replace(" ", "") != "upload,finalize":
            raise RefusedError("X-Goog-Upload-Command")
        if token not in self._open:
            raise RefusedError("no such upload")
        length = self._open.pop(token)
        if length not in {None, len(content)}:
            raise RefusedError("not of the length that was announced")
        return content
