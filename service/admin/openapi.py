"""Generates the admin API's OpenAPI document from the operations and their request and response types."""

import json
import sys
from typing import Any

import msgspec

from service.admin.operations import OPERATIONS, STREAM, AdminOperation
from service.admin.wire import AdminErrorBody, LostEvents
from transports.observer import AccountChange

_TEMPLATE = "#/components/schemas/{name}"
_EVENTS = (AccountChange, LostEvents)
"""Types of the feed's `data`."""


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    requests = [operation.request_type for operation in OPERATIONS if operation.request_type is not None]
    responses = [kind for operation in OPERATIONS for kind, _ in operation.responses.values()]
    bodies = dict.fromkeys([*requests, *(kind for kind in responses if kind not in {None, STREAM})])
    kinds = [*bodies, AdminErrorBody, *_EVENTS]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    schema_of = dict(zip(map(str, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gemini-gateway admin API",
            "version": "1",
            "description": "Manage the accounts of a gateway. The admin API has its own listener and is on if the "
            "settings have a token in [admin].",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(components.items())),
        },
    }


def text() -> str:
    """Return the document as formatted JSON."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _operation(operation: AdminOperation, schema_of: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation.name, "description": operation.description}
    parameters: list[dict[str, Any]] = []
    if "{id}" in operation.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if operation.query_type is not None:
        parameters += _query_parameters(operation.query_type)
    if any(kind == STREAM for kind, _ in operation.responses.values()):
        parameters.append({"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}})
    if parameters:
        described["parameters"] = parameters
    if operation.request_type is not None:
        content = {"application/json": {"schema": schema_of[str(operation.request_type)]}}
        described["requestBody"] = {"required": not operation.body_optional, "content": content}
    answers = {
        status: _response(kind, description, schema_of) for status, (kind, description) in operation.responses.items()
    }
    errors = {
        status: _response(AdminErrorBody, description, schema_of) for status, description in operation.errors.items()
    }
    described["responses"] = {str(status): answer for status, answer in sorted((answers | errors).items())}
    return described


def _query_parameters(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """Return the fields of a query type as parameters."""
    found = msgspec.json.schema(kind)
    fields = found["$defs"][kind.__name__]
    return [
        {"name": name, "in": "query", "required": name in fields["required"], "schema": schema}
        for name, schema in fields["properties"].items()
    ]


def _response(kind: Any, description: str, schema_of: dict[str, Any]) -> dict[str, Any]:
    if kind is None:
        return {"description": description}
    if kind == STREAM:
        data = " or ".join(event.__name__ for event in _EVENTS)
        schema = {"type": "string", "description": f"Events, whose data is a {data}."}
        return {"description": description, "content": {STREAM: {"schema": schema}}}
    return {"description": description, "content": {"application/json": {"schema": schema_of[str(kind)]}}}


if __name__ == "__main__":
    sys.stdout.write(text())
