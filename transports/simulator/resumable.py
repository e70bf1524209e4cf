"""Uploads in two requests, as browsers send them. Source: "Files in"."""

import secrets
from collections import OrderedDict
from collections.abc import Mapping

_NAME = "File name: "
_MOST_OPEN = 64


class RefusedError(ValueError):
    """The request does not fit; says what."""


class Resumable:
    """Uploads that have been started and not finished."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: OrderedDict[str, int] = OrderedDict()

    def start(self, headers: Mapping[str, str], body: bytes) -> str:
        """Start an upload; return its token.

        Raises:
            RefusedError: a header or the body does not fit.

        """
        if headers.get("x-goog-upload-command") != "start" or headers.get("x-goog-upload-protocol") != "resumable":
            raise RefusedError("X-Goog-Upload-Command or X-Goog-Upload-Protocol")
        length = headers.get("x-goog-upload-header-content-length", "")
        if not length.isdecimal():
            raise RefusedError("X-Goog-Upload-Header-Content-Length")
        if body and not body.decode("utf-8", "replace").startswith(_NAME):
            raise RefusedError("the body of the first request")
        token = secrets.token_urlsafe(16)
        self._open[token] = int(length)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return token

    def finish(self, token: str, headers: Mapping[str, str], content: bytes) -> bytes:
        """Finish an upload; return its content.

        Raises:
            RefusedError: there is no such upload, or a header or the length does not fit.

        """
        command = headers.get("x-goog-upload-command", "").replace(" ", "")
        if command != "upload,finalize" or headers.get("x-goog-upload-offset") != "0":
            raise RefusedError("X-Goog-Upload-Command or X-Goog-Upload-Offset")
        length = self._open.pop(token, None)
        if length is None:
            raise RefusedError("no such upload")
        if length != len(content):
            raise RefusedError("not of the length that was announced")
        return content
