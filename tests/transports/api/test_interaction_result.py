"""How interactions end."""

import pytest

from protocol.model import Refused, UpstreamFailed
from transports.api.interaction_result import output_of
from transports.api.interaction_wire import decode_interaction


def ended(status, text="", errors="[]"):
    content = f'[{{"type": "text", "text": "{text}"}}]' if text else "[]"
    steps = f'[{{"type": "model_output", "content": {content}}}]'
    return decode_interaction(f'{{"id": "v1", "status": "{status}", "steps": {steps}, "errors": {errors}}}'.encode())


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_what_was_made_is_the_result(status):
    assert [content.text for content in output_of(ended(status, "so far"))] == ["so far"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("completed", "without a result"),
        ("incomplete", "before it had a result"),
        ("cancelled", "was cancelled"),
        ("budget_exceeded", "used up its budget"),
        ("failed", "failed at the upstream"),
        ("requires_action", "failed at the upstream"),
        ("idle", "failed at the upstream"),
        ("requires_continuation", "failed at the upstream"),
        ("of_the_future", "failed at the upstream"),
    ],
)
def test_another_end_is_an_error_that_is_not_retried(status, words):
    with pytest.raises(UpstreamFailed, match=words) as failed:
        output_of(ended(status))
    assert failed.value.code == "upstream_rejected"


def test_a_refusal_is_another_error_than_a_failure():
    blocked = '[{"code": "content_filtered", "message": "Blocked for safety reasons."}]'
    with pytest.raises(Refused):
        output_of(ended("failed", errors=blocked))
    with pytest.raises(UpstreamFailed):
        output_of(ended("failed", errors='[{"code": "internal", "message": "Sorry."}]'))
