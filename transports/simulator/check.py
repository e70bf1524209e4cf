"""Holds requests against the wire protocol page, slot by slot: what departs from it is refused, with the reason.

The site gives no reasons; here they go to the judge's log (`/simulator/state`), the client sees only the status.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl

import msgspec

from transports.web import wire

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_QUERY = frozenset({"bl", "f.sid", "hl", "_reqid", "rt"})
_BATCH_QUERY = _QUERY | {"rpcids", "source-path"}


class Departure(Exception):
    """The request departs from the page; says where."""


class AccessTokenMissing(Exception):
    """A signed-in call has no access token, or a stale one."""


class BuildOutdated(Exception):
    """The call names a build that the site has left."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What the bootstrap page told the client, and where."""

    site: str
    build: str
    outdated: frozenset[str]
    """Builds that pages named before."""
    sid: str
    language: str


def require(condition: object, what: str) -> None:
    """Raise Departure unless the condition holds."""
    if not condition:
        raise Departure(what)


def same(value: Any, wanted: Any) -> bool:
    """Say whether two JSON values are written alike: `true` and `1.0` are not `1`."""
    return json.dumps(value, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def common(headers: Mapping[str, str], query: list[tuple[str, str]], page: Page, *, batch: bool) -> None:
    """Check what both endpoints want: headers and query. Source: "Common request parts"."""
    content_type = headers.get("content-type")
    require(content_type == "application/x-www-form-urlencoded;charset=utf-8", "header Content-Type")
    require(headers.get("origin") == page.site, "header Origin")
    require(headers.get("referer") == f"{page.site}/", "header Referer")
    require(headers.get("x-same-domain") == "1", "header X-Same-Domain")
    values = dict(query)
    require(len(values) == len(query), "query: a key twice")
    require(values.keys() == (_BATCH_QUERY if batch else _QUERY), "query: its keys")
    if values["bl"] in page.outdated:
        raise BuildOutdated
    require(values["bl"] == page.build, "query bl")
    require(values["f.sid"] == page.sid, "query f.sid")
    require(values["hl"] == page.language, "query hl")
    require(values["rt"] == "c", "query rt")
    require(re.fullmatch(r"[0-9]{5,12}", values["_reqid"]), "query _reqid")


def form(body: bytes, access_token: str | None, *, lost: bool = False) -> Any:
    """Check the form's fields; return what `f.req` says.

    A guest sends no token, unless it is an account whose session is `lost`: it may not know that yet.

    Raises:
        AccessTokenMissing: a signed-in call has no good access token.
        Departure: the form departs from the page otherwise.

    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=10)
    except ValueError:
        raise Departure("form") from None
    fields = dict(pairs)
    require(len(fields) == len(pairs), "form: a field twice")
    if access_token is not None and fields.pop("at", "") != access_token:
        raise AccessTokenMissing
    if lost:
        fields.pop("at", None)
    require(set(fields) == {"f.req"}, "form fields")
    return decoded(fields["f.req"], "form f.req")


def batch(request: Any, headers: Mapping[str, str], query: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Check a batch call; return its `(rpc id, payload)`."""
    require(is_list(request, 1) and isinstance(request[0], list) and request[0], "f.req")
    calls: list[tuple[str, Any]] = []
    for call in request[0]:
        require(is_list(call, 4) and same(call[2:], [None, "generic"]), "f.req: a call")
        require(isinstance(call[0], str) and isinstance(call[1], str), "f.req: a call")
        calls.append((call[0], decoded(call[1], f"payload of {call[0][:16]}")))
    require(query.get("rpcids") == ",".join(rpc for rpc, _ in calls), "query rpcids")
    require(query.get("source-path") == "/app", "query source-path")
    flags = decoded(headers.get(wire.MODEL_HEADER, ""), f"header {wire.MODEL_HEADER}")
    require(is_list(flags, 17), f"header {wire.MODEL_HEADER}")
    require(same(flags[:16], [1, *[None] * 7, [4, 5, 6, 8], *[None] * 7]), f"header {wire.MODEL_HEADER}")
    require(is_uuid(flags[16]), f"header {wire.MODEL_HEADER}: uuid")
    return calls


def decoded(text: str, what: str) -> Any:
    """Decode JSON, or raise Departure."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Departure(what) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def is_list(value: Any, length: int) -> bool:
    """Say whether it is a list of this length."""
    return isinstance(value, list) and len(cast("list[Any]", value)) == length


def is_number(value: Any) -> bool:
    """Say whether it is a whole number, and no boolean."""
    return type(value) is int


def is_uuid(value: Any) -> bool:
    """Say whether it is a UUID's text."""
    return isinstance(value, str) and UUID.fullmatch(value) is not None
