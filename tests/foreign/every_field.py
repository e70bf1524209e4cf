"""Sets each field of google-genai's types alone, sends it to the simulated API, and prints those that it does not know.

Values that a field cannot have are refused for other reasons, which do not count.
"""

import enum
import json
import sys
import types as python_types
import typing
from collections.abc import Mapping

import pydantic
from google import genai
from google.genai import errors, types

ADDRESS, KEY, MODEL = sys.argv[1:]
DEEPEST = 7
PLAIN = {bool: True, int: 1, float: 1.0, bytes: b"abc", str: "abc", typing.Any: {"a": 1}}
OWN = frozenset({"http_options", "should_return_http_response", "automatic_function_calling"})
"""Options of the client itself."""
REFUSED = (".ref", ".additional_properties")
"""Fields of the SDK's schemas that the API's schemas do not have."""


def values(annotation, seen=frozenset()):
    """Yield values of a type, each with the path of what is set in it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in PLAIN:
        yield "", PLAIN[annotation]
    elif origin in (typing.Union, python_types.UnionType):
        for one in inner:
            yield from values(one, seen)
    elif origin is list:
        yield from ((path, [value]) for path, value in values(inner[0], seen))
    elif origin in (dict, Mapping):
        yield from ((path, {"key": value}) for path, value in values(inner[1], seen))
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        yield from ((f"={one.value}", one) for one in annotation)
    elif isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield from objects(annotation, seen)


def objects(model, seen):
    """Yield objects with one field each."""
    if model in seen or len(seen) > DEEPEST:
        return
    for name, field in model.model_fields.items():
        for path, value in values(field.annotation, seen | {model}):
            try:
                yield f".{name}{path}", model(**{name: value})
            except pydantic.ValidationError:
                continue


def unknown_fields(client):
    """Yield the fields that the API does not know, and at last how many it was asked for."""
    asked = 0
    parts = [(f"part{path}", part, None) for path, part in objects(types.Part, frozenset())]
    configs = [
        (path.removeprefix("."), None, config)
        for path, config in objects(types.GenerateContentConfig, frozenset())
        if path.split(".")[1] not in OWN and not path.startswith((".system_instruction", ".response_schema.items"))
    ]
    tools = [(f"tool{path}", None, {"tools": [tool]}) for path, tool in objects(types.Tool, frozenset())]
    for path, part, config in (*parts, *configs, *tools):
        contents = [types.Content(role="user", parts=[types.Part(text="<echo>a</echo>"), *([part] if part else [])])]
        try:
            client.models.generate_content(model=MODEL, contents=contents, config=config)
        except errors.APIError as error:
            if "Unknown name" in (error.message or "") and not path.endswith(REFUSED):
                yield f"{path}: {error.message}"
        except (ValueError, TypeError, AttributeError, KeyError):  # the SDK refuses the field for this API
            continue
        asked += 1
    yield asked


for found in unknown_fields(genai.Client(api_key=KEY, http_options={"base_url": ADDRESS})):
    print(json.dumps(found), flush=True)
