"""Rejects requests that are not valid HTTP/1.1."""

from typing import Any

from protocol.http.body import UNREAD
from protocol.http.context import context_of
from protocol.http.errors import HttpError, Refuse


class HttpValidation:
    """Refuses HTTP/2, WebSockets, overlong headers and ambiguous framing."""

    def __init__(self, app: Any, header_bytes: int, refuse: Refuse) -> None:
        """Pass requests with at most `header_bytes` of headers on to `app`; `refuse` writes the error of the others."""
        self._app, self._header_bytes, self._refuse = app, header_bytes, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection's scope."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        fault = self._fault(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        context_of(scope).record.error = fault.code
        scope[UNREAD] = True
        await self._refuse(fault)(scope, receive, send)

    def _fault(self, scope: Any) -> HttpError | None:
        if scope["http_version"] not in {"1.0", "1.1"}:
            return HttpError(505, "http_version", "This server speaks HTTP/1.1; HTTP/2 ends at the ingress.")
        headers = scope["headers"]
        if len(scope["raw_path"]) + sum(len(name) + len(value) + 4 for name, value in headers) > self._header_bytes:
            return HttpError(
                431, "headers_too_large", f"The request's headers are longer than {self._header_bytes} bytes."
            )
        names = [name for name, _ in headers]
        if (b"content-length" in names and b"transfer-encoding" in names) or names.count(b"host") > 1:
            return HttpError(400, "invalid_value", "The request's headers contradict each other.")
        return None
