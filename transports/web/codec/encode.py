"""Encode requests to the site as bodies and headers; no I/O.

Source: "Common request parts", "StreamGenerate", "Batch calls".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

import msgspec
from yarl import URL

from transports.web import wire
from transports.web.codec.answer import SiteConversation
from transports.web.config import Slots

_encode = msgspec.json.Encoder().encode

_LEFT = {plain: quote_plus(plain) for plain in "!$'()*,?/:@"}
"""Characters that are allowed unquoted in a query, but not in a form."""

_ATTACHMENT_KINDS = {"image": wire.ATTACHMENT_IMAGE, "video": wire.ATTACHMENT_VIDEO}


class ModelHeader(msgspec.Struct, frozen=True, kw_only=True):
    """A model as named in the model header of one account's requests."""

    id: str
    number: int
    capacity: int
    field13: bool = False
    """Whether the capacity is the 13th value of the header (index 12) instead of the 12th."""


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was uploaded."""

    path: str
    """The path that the upload host assigned to it."""
    name: str
    mime: str


class GenerateCall(msgspec.Struct, frozen=True, kw_only=True):
    """The content of one StreamGenerate request."""

    prompt: str
    language: str
    request_uuid: str
    """Upper case."""
    client_uuid: str
    """The session's."""
    model: ModelHeader | None
    """None: the site's default."""
    extended: bool = False
    temporary: bool = True
    files: tuple[Uploaded, ...] = ()
    slots: Mapping[int, object] = {}
    """Additional slots that the capability needs."""
    forms: Slots = Slots()
    conversation: SiteConversation | None = None
    """The conversation to continue; None: a new one."""


def _compact(value: Any) -> str:
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate, which must be escaped
        return json.dumps(value, separators=(",", ":"))


def generate_form(call: GenerateCall, access_token: str | None) -> bytes:
    """Return the body of a StreamGenerate request; a guest has no access token."""
    forms, conversation = call.forms, call.conversation
    chosen: dict[int, Any] = {
        **wire.FIXED_SLOTS,
        wire.SLOT_TURN_INDEX: [[conversation.turn + 1 if conversation is not None and forms.turn_index else 0]],
        wire.SLOT_INPUT: [forms.slot_41],
    }
    if call.temporary:
        chosen[wire.SLOT_MODE] = [forms.slot_6_temporary]
        chosen[wire.SLOT_TEMPORARY] = wire.TEMPORARY
        chosen[wire.SLOT_CHAT_STATE] = forms.slot_67_temporary if forms.slot_67_temporary >= 0 else None
        chosen[wire.SLOT_CHAT_KIND] = forms.slot_68_temporary
    else:
        chosen[wire.SLOT_MODE], chosen[wire.SLOT_CHAT_KIND] = [forms.slot_6], forms.slot_68
    slots: list[Any] = [None] * wire.SLOTS
    files: list[Any] = []
    for file in call.files:
        if forms.attachments == "short":
            files.append([[file.path], file.name])
            continue
        kind = _ATTACHMENT_KINDS.get(file.mime.partition("/")[0].lower(), wire.ATTACHMENT_OTHER)
        files.append([[file.path, kind, None, file.mime], file.name, *wire.ATTACHMENT_TAIL])
    slots[wire.SLOT_PROMPT] = [call.prompt, 0, None, files or None, None, None, 0]
    slots[wire.SLOT_LANGUAGE] = [call.language]
    slots[wire.SLOT_CONVERSATION] = (
        wire.FRESH_CONVERSATION
        if conversation is None
        else [conversation.cid, conversation.rid, conversation.rcid, *[None] * 6, conversation.context]
    )
    for slot, value in {**chosen, **call.slots}.items():
        slots[slot] = value
    slots[wire.SLOT_REQUEST_UUID] = call.request_uuid
    slots[wire.SLOT_MODEL_NUMBER] = call.model.number if call.model else None
    slots[wire.SLOT_THINKING] = _thinking(call)
    return _form(_compact([None, _compact(slots)]), access_token)


def generate_headers(call: GenerateCall, site: str) -> dict[str, str]:
    """Return the headers of a StreamGenerate request."""
    headers = common_headers(site) | {
        wire.TIER_HEADER: wire.TIER,
        wire.TIER_LIST_HEADER: wire.TIER_LIST,
        wire.REQUEST_UUID_HEADER: _compact([call.request_uuid, 1]),
    }
    if call.model is not None:
        capacity = [None, call.model.capacity] if call.model.field13 else [call.model.capacity]
        head = [1, None, None, None, call.model.id, None, None, 0, wire.MODEL_HEADER_FLAGS, None, None]
        headers[wire.MODEL_HEADER] = _compact(
            [*head, *capacity, None, None, call.model.number, _thinking(call), call.client_uuid]
        )
    return headers


def batch_form(calls: Sequence[tuple[str, str]], access_token: str | None) -> bytes:
    """Return the body of a batch request for `(rpc id, payload JSON)` pairs."""
    request = [[[rpc, payload, None, wire.BATCH_GENERIC] for rpc, payload in calls]]
    return _form(_compact(request), access_token)


def batch_headers(site: str, client_uuid: str) -> dict[str, str]:
    """Return the headers of a batch request."""
    flags = [1, *[None] * 7, wire.MODEL_HEADER_FLAGS, *[None] * 7, client_uuid]
    return common_headers(site) | {wire.MODEL_HEADER: _compact(flags)}


def common_headers(site: str) -> dict[str, str]:
    """Return the headers that both endpoints need."""
    return {
        "Content-Type": wire.FORM_CONTENT_TYPE,
        "Origin": site,
        "Referer": f"{site}/",
        wire.SAME_DOMAIN_HEADER: wire.SAME_DOMAIN,
    }


def original_payload(rid: str, rcid: str, cid: str, image: str) -> str:
    """Return the payload of `c8o8Fe`: the picture's id and the turn that generated it."""
    picture = [
        [None, None, None, [None, None, None, None, None, ""]],
        [image, 0],
        None,
        [19, ""],
        *[None] * 5,
        "",
    ]
    return _compact([picture, [rid, rcid, cid, None, ""], 1, 0, 1])


def _thinking(call: GenerateCall) -> int:
    return wire.THINKING_EXTENDED if call.extended else wire.THINKING_STANDARD


def _form(request: str, access_token: str | None) -> bytes:
    """Return a request's body. Quoting a long prompt on the event loop is fast enough: yarl quotes queries in C."""
    fields = {} if access_token is None else {wire.FORM_ACCESS_TOKEN: access_token}
    form = URL.build(query={**fields, wire.FORM_REQUEST: request}).raw_query_string
    for plain, quoted in _LEFT.items():
        if plain in form:  # searching is cheaper than replacing
            form = form.replace(plain, quoted)
    return form.encode()
