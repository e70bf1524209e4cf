"""Reads the result of an interaction that has ended: its events, its counts, or its error. No I/O.

Source: "Interactions", "Video".
"""

from collections.abc import Iterator

from protocol.model import Citation, Document, Event, Refused, Text, UpstreamFailed, Usage
from transports.api.interaction_wire import Interaction, InteractionContent

RUNNING = frozenset({"queued", "in_progress"})
_REFUSED = ("safety", "content_filter", "prohibited", "blocked", "policy")
_ENDINGS = {
    "cancelled": "The work was cancelled at the upstream.",
    "budget_exceeded": "The upstream stopped the work because it used up its budget.",
    "incomplete": "The upstream stopped the work before it had a result.",
}
_TITLE = "Research report"


def output_of(interaction: Interaction) -> list[InteractionContent]:
    """Return what the model or agent has written or made.

    Raises:
        Refused: the upstream declined.
        UpstreamFailed: there is no result.

    """
    found = [content for step in interaction.steps if step.type == "model_output" for content in step.content]
    if interaction.status == "completed" or (interaction.status == "incomplete" and found):
        if not found:
            raise UpstreamFailed("The upstream completed the work without a result.", code="upstream_rejected")
        return found
    problem = interaction.errors[0] if interaction.errors else None
    words = f"{problem.code} {problem.message}".lower() if problem is not None else ""
    if any(word in words for word in _REFUSED):
        raise Refused("The model declined this request.")
    message = _ENDINGS.get(interaction.status, "The work failed at the upstream.")
    raise UpstreamFailed(message, code="upstream_rejected")


def thoughts_of(interaction: Interaction) -> list[str]:
    """Return the summaries of thoughts so far."""
    steps = [step for step in interaction.steps if step.type == "thought"]
    return [content.text for step in steps for content in step.summary if content.text]


def usage_of(interaction: Interaction) -> Usage:
    """Return the counts. Tokens of the API's own tools belong to the input, thoughts to the output."""
    counts = interaction.usage
    if counts is None:
        return Usage(input_tokens=0, output_tokens=0)
    return Usage(
        input_tokens=counts.total_input_tokens + counts.total_tool_use_tokens,
        output_tokens=counts.total_output_tokens + counts.total_thought_tokens,
        reasoning_tokens=counts.total_thought_tokens,
        cached_tokens=counts.total_cached_tokens,
    )


def has_sources(contents: list[InteractionContent]) -> bool:
    """Return whether a text names its sources: it is a report and no plan."""
    return any(content.annotations for content in contents)


def report_events(contents: list[InteractionContent]) -> Iterator[Event]:
    """Yield a report with its sources."""
    texts = [content for content in contents if content.text]
    lines = [line for content in texts for line in content.text.splitlines()]
    heading = next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")
    yield Document(title=heading or _TITLE, kind="markdown")
    written = 0
    for content in texts:
        yield Text(text=content.text)
        encoded = content.text.encode("utf-8", "replace")
        for note in content.annotations:
            if note.type == "url_citation" and note.url and 0 <= note.start_index <= note.end_index <= len(encoded):
                start, end = (
                    written + len(encoded[:index].decode("utf-8", "ignore"))
                    for index in (note.start_index, note.end_index)
                )
                yield Citation(start=start, end=end, url=note.url, title=note.title)
        written += len(content.text)
