"""Reads requests for both profiles, and names why one is refused.

The site gives no reasons: here they go to the judge's log (`/simulator/state`), the client sees only the status.
What this module and `slots` need of a request is what the site is known to need; `strict` asks for more.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl

import msgspec

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Departure(Exception):
    """The request is refused; says why."""


class AccessTokenMissing(Exception):
    """A signed-in call has no access token, or a stale one."""


class BuildOutdated(Exception):
    """The call names a build that the site has left."""


class UnfitPayload(Exception):
    """A batch call's payload does not fit its RPC."""


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the bootstrap page told the client, and where."""

    site: str
    prefix: str
    """`/u/N`, or nothing."""
    build: str
    outdated: frozenset[str]
    """Builds that pages named before."""
    sid: str
    language: str


class BatchCall(msgspec.Struct, frozen=True, kw_only=True):
    """One RPC of a batch."""

    rpc: str
    text: str
    """The payload, as it was sent."""
    name: Any
    """The fourth field, which the answer repeats."""

    @property
    def payload(self) -> Any:
        """The payload, decoded; some clients quote strings as Python does.

        Raises:
            UnfitPayload: it cannot be decoded.

        """
        for text in (self.text, self.text.replace("'", '"')):
            try:
                return decoded(text, "payload")
            except Departure:
                continue
        raise UnfitPayload


def require(condition: object, what: str) -> None:
    """Raise Departure unless the condition holds."""
    if not condition:
        raise Departure(what)


def same(value: Any, wanted: Any) -> bool:
    """Say whether two JSON values are written alike: `true` and `1.0` are not `1`."""
    return json.dumps(value, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def form(body: bytes, access_token: str | None) -> tuple[list[tuple[str, str]], Any]:
    """Return the form's fields, and the JSON in `f.req`.

    Raises:
        AccessTokenMissing: a signed-in call has no good access token.
        Departure: it is no form, or has no readable `f.req`.

    """
    try:
        text = body.decode("ascii").removesuffix("&")  # browsers end a form so
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=10)
    except ValueError:
        raise Departure("form") from None
    fields = dict(pairs)
    if access_token is not None and fields.get("at") != access_token:
        raise AccessTokenMissing
    require("f.req" in fields, "form fields")
    return pairs, decoded(fields["f.req"], "form f.req")


def batch(request: Any) -> list[BatchCall]:
    """Return a batch's calls."""
    match request:
        case [[_, *_] as calls, *_]:
            pass
        case _:
            raise Departure("f.req")
    found: list[BatchCall] = []
    for call in cast("list[Any]", calls):
        match call:
            case [str(rpc), str(text), _, name]:
                found.append(BatchCall(rpc=rpc, text=text, name=name))
            case [str(rpc), str(text), *_]:
                found.append(BatchCall(rpc=rpc, text=text, name="generic"))
            case _:
                raise Departure("f.req: a call")
    return found


def decoded(text: str, what: str) -> Any:
    """Decode JSON, or raise Departure."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Departure(what) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def header_list(headers: Mapping[str, str], name: str) -> list[Any] | None:
    """Return the JSON list of a header; None where there is no such header, or no list in it."""
    try:
        value = decoded(headers.get(name, ""), name)
    except Departure:
        return None
    return cast("list[Any]", value) if isinstance(value, list) else None


def at(value: Any, *path: int) -> Any:
    """Return the element of nested lists at a path; None if there is none."""
    for index in path:
        if not isinstance(value, list) or index >= len(cast("list[Any]", value)):
            return None
        value = cast("list[Any]", value)[index]
    return value


def is_list(value: Any, length: int) -> bool:
    """Say whether it is a list of this length."""
    return isinstance(value, list) and len(cast("list[Any]", value)) == length


def is_number(value: Any) -> bool:
    """Say whether it is a whole number, and no boolean."""
    return type(value) is int


def is_uuid(value: Any) -> bool:
    """Say whether it is a UUID's text."""
    return isinstance(value, str) and UUID.fullmatch(value) is not None
