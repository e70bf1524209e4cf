"""Changes a request from the form of the Developer API to that of Vertex AI. No I/O.

Vertex AI refused the ids of calls and results until mid-2026, and needs none: results are matched by their order. They
are therefore put in the order of the calls, and sent without ids. It has no mode in which functions and tools of the
API are offered together.

Source: "Vertex AI".
"""

from collections.abc import Mapping

from msgspec.structs import replace

from protocol.model import Unsupported
from transports.generate_content import wire
from transports.generate_content.embedding_wire import (
    EmbedContentConfig,
    EmbedContentRequest,
    VertexEmbedContentRequest,
)


def to_vertex(body: wire.GenerateContentRequest, labels: Mapping[str, str]) -> wire.GenerateContentRequest:
    """Return a request for Vertex AI, with labels for the bill.

    Raises:
        Unsupported: the request needs what only the Developer API has.

    """
    if body.tool_config is not None and body.tool_config.include_server_side_tool_invocations:
        message = "Vertex AI does not offer functions together with its own tools. Leave one of both out."
        raise Unsupported(message, param="tools")
    contents: list[wire.Content] = []
    order: dict[str, int] = {}
    for content in body.contents:
        contents.append(replace(content, parts=tuple(map(without_id, in_order(content.parts, order)))))
        order = {part.function_call.id: at for at, part in enumerate(content.parts) if part.function_call is not None}
    return replace(body, contents=tuple(contents), labels=dict(labels))


def embedding_to_vertex(asked: EmbedContentRequest) -> VertexEmbedContentRequest:
    """Return a request for an embedding in the form of Vertex AI."""
    options = EmbedContentConfig(
        task_type=asked.task_type, title=asked.title, output_dimensionality=asked.output_dimensionality
    )
    return VertexEmbedContentRequest(content=asked.content, embed_content_config=options)


def in_order(parts: tuple[wire.ContentPart, ...], order: Mapping[str, int]) -> list[wire.ContentPart]:
    """Return parts with the results in the order of their calls, each followed by its files."""
    at, groups = len(order), list[tuple[int, wire.ContentPart]]()
    for part in parts:
        if part.function_response is not None:
            at = order.get(part.function_response.id, len(order))
        groups.append((at, part))
    if not any(part.function_response for part in parts):
        return list(parts)
    return [part for _, part in sorted(groups, key=lambda group: group[0])]


def without_id(part: wire.ContentPart) -> wire.ContentPart:
    """Return a part without the id of its call or result."""
    if part.function_call is not None:
        return replace(part, function_call=replace(part.function_call, id=""))
    if part.function_response is not None:
        return replace(part, function_response=replace(part.function_response, id=""))
    return part
