"""Requests with a body, as an endpoint gets them."""

import time

from starlette.requests import Request

from protocol.http.context import RequestContext, RequestLimits, RequestRecord, attach
from protocol.http.disconnect import CallbackEvent


def request_of(content_type, body, *, context=None, pieces=64 * 1024, headers=()):
    """Return a request whose body comes in pieces."""
    context = context or RequestContext(
        id="req_1",
        started=0.0,
        created=0.0,
        now=time.monotonic,
        closing=CallbackEvent(),
        record=RequestRecord(),
        limits=RequestLimits(),
        links=None,
        fetch=None,
        jobs=None,
        responses=None,
        files=None,
    )
    starts = list(range(0, len(body), pieces)) or [0]
    messages = [
        {"type": "http.request", "body": body[at : at + pieces], "more_body": at != starts[-1]} for at in starts
    ]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    raw = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode()), *headers]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}
    attach(scope, context)
    return Request(scope, receive)
