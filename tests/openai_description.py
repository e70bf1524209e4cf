"""Judges answers by OpenAI's SDK, strictly, and by OpenAI's published description if there is a copy of it.

`OPENAI_DESCRIPTION` is the path of the description as JSON, perhaps compressed by gzip.
"""

import gzip
import json
import os
from functools import cache
from pathlib import Path

import jsonschema_rs
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import TypeAdapter

RESPONSE, EVENT, ITEMS = TypeAdapter(Response), TypeAdapter(ResponseStreamEvent), TypeAdapter(ResponseItemList)


def judge_response(text):
    """Check a response; return it."""
    return _judged(RESPONSE, "Response", text)


def judge_items(text):
    """Check a list of input items; return it."""
    return _judged(ITEMS, "ResponseItemList", text)


def judge_event(text):
    """Check an event of a stream; return it."""
    kind = json.loads(text)["type"]
    return _judged(EVENT, _event_schemas().get(kind, ""), text)


def _judged(adapter, schema, text):
    adapter.validate_json(text, strict=True)
    value = json.loads(text)
    if _description() is not None:
        problems = [f"{error.instance_path}: {error.message[:300]}" for error in _validator(schema).iter_errors(value)]
        assert not problems, (schema, problems)
    return value


@cache
def _description():
    path = os.environ.get("OPENAI_DESCRIPTION")
    if not path:
        return None
    body = Path(path).read_bytes()
    return _with_nulls(json.loads(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body))


def _with_nulls(schema):
    """Return a schema in which `nullable` is a type, as JSON Schema requires."""
    if isinstance(schema, list):
        return [_with_nulls(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    done = {key: _with_nulls(value) for key, value in schema.items()}
    return {"anyOf": [done, {"type": "null"}]} if done.pop("nullable", None) is True else done


@cache
def _validator(name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": _description()["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


@cache
def _event_schemas():
    """Return the name of the schema of each kind of event."""
    if _description() is None:
        return {}
    schemas = _description()["components"]["schemas"]
    union = schemas["ResponseStreamEvent"]
    names = [one["$ref"].rpartition("/")[2] for one in union.get("anyOf") or union["oneOf"]]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}
