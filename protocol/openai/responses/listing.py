"""Lists the input of a stored response, in the form in which OpenAI shows items."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from protocol.model import BadRequest
from protocol.openai.responses import wire
from protocol.openai.responses.output_wire import InputItems

_USUAL, _MOST = 20, 100
_DETAILS = ("low", "high", "auto", "original")
_SHOWN = frozenset(
    {
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "image_generation_call",
        "message",
        "reasoning",
    }
)
"""The types of items that are shown."""


def input_page(items: Sequence[wire.InputItem], query: Mapping[str, str]) -> InputItems:
    """Return the requested page of items, by the parameters `order`, `after` and `limit` of the query.

    Raises:
        BadRequest: a parameter is invalid.

    """
    order, limit = query.get("order") or "desc", query.get("limit") or str(_USUAL)
    if order not in {"asc", "desc"}:
        raise BadRequest("'order' must be 'asc' or 'desc'.", param="order")
    if not limit.isdecimal() or not 1 <= int(limit[:6]) <= _MOST:
        raise BadRequest(f"'limit' must be a number from 1 to {_MOST}.", param="limit")
    shown = [_shown(item) for item in items if item.type in _SHOWN]
    if order == "desc":
        shown.reverse()
    ids = [item["id"] for item in shown]
    after = query.get("after")
    if after and after not in ids:
        raise BadRequest("'after' must be the id of an item of this list.", param="after")
    start = ids.index(after) + 1 if after else 0
    page = shown[start : start + int(limit)]
    return InputItems(
        data=page,
        first_id=page[0]["id"] if page else "",
        last_id=page[-1]["id"] if page else "",
        has_more=start + int(limit) < len(shown),
    )


def _shown(item: wire.InputItem) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": item.id, "type": item.type, "status": "completed"}
    match item.type:
        case "message":
            content = _parts(item.content or [], answered=item.role == "assistant")
            return {**shown, "role": item.role or "user", "content": content}
        case "reasoning":
            return {**shown, "summary": [{"type": "summary_text", "text": text} for text in _thoughts(item.summary)]}
        case "function_call":
            if item.namespace is not None:
                shown["namespace"] = item.namespace
            return {
                **shown,
                "call_id": item.call_id or "",
                "name": item.name or "",
                "arguments": item.json_arguments,
            }
        case "custom_tool_call":
            return {**shown, "call_id": item.call_id or "", "name": item.name or "", "input": item.input or ""}
        case "function_call_output" | "custom_tool_call_output":
            output = _parts(item.output, answered=False) if isinstance(item.output, list) else item.output or ""
            return {**shown, "call_id": item.call_id or "", "output": output}
        case _:
            return {**shown, "result": item.result}


def _parts(content: wire.InputContent, *, answered: bool) -> list[dict[str, Any]]:
    parts = [wire.InputPart(type="input_text", text=content)] if isinstance(content, str) else content
    return [_part(part, answered=answered) for part in parts]


def _thoughts(summary: Any) -> list[str]:
    parts = cast("list[Any]", summary) if isinstance(summary, list) else [summary]
    texts = [cast("dict[str, Any]", part).get("text") if isinstance(part, dict) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def _part(part: wire.InputPart, *, answered: bool) -> dict[str, Any]:
    match part.type:
        case "refusal":
            return {"type": "refusal", "refusal": part.refusal or ""}
        case "input_image" | "image_url":
            url = part.image_url if isinstance(part.image_url, str | None) else part.image_url.url
            source = {"image_url": url} if url else {"file_id": part.file_id}
            return {"type": "input_image", **source, "detail": part.detail if part.detail in _DETAILS else "auto"}
        case "input_file" | "input_audio":
            return msgspec.to_builtins(part)
        case _ if answered:
            return {"type": "output_text", "text": part.text or "", "annotations": [], "logprobs": []}
        case _:
            return {"type": "input_text", "text": part.text or ""}
