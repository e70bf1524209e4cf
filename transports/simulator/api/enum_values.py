"""Reads values of enums as JSON may write them: in upper or lower case, or as the number. No I/O.

LiteLLM sends `object` and `low`, google-generativeai sends numbers, and the API accepts both.

Source: "GenerateContentRequest".
"""

from typing import Any, get_args

from transports.simulator.api import request_schema as schema
from transports.simulator.api.embedding_schema import TaskType

_NUMBERED: dict[str, dict[int, str]] = {
    "type": dict(enumerate(get_args(schema.JsonType))),
    "mode": dict(enumerate(get_args(schema.Mode))),
    "category": dict(enumerate(get_args(schema.Category), start=7)),
    "threshold": dict(enumerate(get_args(schema.Threshold))),
    "responseModalities": dict(enumerate(get_args(schema.Modality), start=1)),
    "taskType": dict(enumerate(get_args(TaskType))),
    "mediaResolution": dict(enumerate(get_args(schema.Resolution)[1:])),
    "thinkingLevel": {},
    "level": {},
    "behavior": {},
    "language": {},
    "outcome": {},
    "scheduling": {},
    "toolType": {},
}
"""The fields with enums, and the names of their numbers as far as clients send these."""


def named(field: str, value: Any) -> Any:
    """Return the name of an enum's value; the values of other fields and unknown ones as they are."""
    numbers = _NUMBERED.get(field)
    if numbers is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.upper()
    return numbers.get(value, value) if isinstance(value, int) else value
