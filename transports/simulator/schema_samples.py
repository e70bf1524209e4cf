"""Makes values that fit a JSON Schema, for a simulated model to which no value is given. No I/O."""

from typing import Any, cast

_DEEPEST = 6


def sample(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """Return a value that fits an ordinary JSON Schema: what is required, in its simplest form.

    `root` is the schema that references lead into; None: `schema`.
    """
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return {}
    node = cast("dict[str, Any]", schema)
    if isinstance(node.get("$ref"), str) and depth < _DEEPEST:
        return sample(resolve(root, node["$ref"]), root, depth + 1)
    choices = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
    if choices:
        return sample(choices[0], root, depth + 1)
    given = [node[key] for key in ("const", "default") if key in node] + node.get("enum", [])
    return given[0] if given else of_type(node, root, depth)


def resolve(root: Any, reference: str) -> Any:
    """Return the subschema that a reference such as `#/$defs/Name` names; an empty one if there is none."""
    found: Any = root
    for step in reference.split("/")[1:]:
        found = cast("Any", found).get(step, {}) if isinstance(found, dict) else {}
    return found


def of_type(node: dict[str, Any], root: Any, depth: int) -> Any:
    """Return a value of the type that a schema names; an object if it names none."""
    kind = node.get("type", "object")
    kind = cast("list[str]", kind)[0] if isinstance(kind, list) else kind
    match kind:
        case "string":
            return "simulated".ljust(node.get("minLength", 0), ".")[: node.get("maxLength", 1000)]
        case "integer" | "number":
            return node.get("minimum", node.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            item = node.get("items", {"type": "string"})
            return [sample(item, root, depth + 1) for _ in range(node.get("minItems", 1))] if depth < _DEEPEST else []
        case _:
            members = cast("dict[str, Any]", node.get("properties", {}))
            return {name: sample(members.get(name, {}), root, depth + 1) for name in node.get("required", members)}
