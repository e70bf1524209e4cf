"""Cuts lists into pages, as `pageSize` and `pageToken` order. Source: "Base"."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from transports.simulator.api.rpc_errors import invalid


def page_of(request: Request, name: str, entries: Sequence[Any], usual: int = 50) -> dict[str, Any]:
    """Return a page of a list as JSON, under a name; without `pageSize` it has the usual length.

    Raises:
        ApiRefusal: the size or the token is not a number.

    """
    size, start = _number(request, "pageSize") or usual, _number(request, "pageToken")
    page: dict[str, Any] = {name: entries[start : start + size]} if entries else {}
    return page | ({"nextPageToken": str(start + size)} if start + size < len(entries) else {})


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid(f"Invalid value at '{name}' (TYPE_INT32), \"{text[:40]}\"")
    return int(text)
