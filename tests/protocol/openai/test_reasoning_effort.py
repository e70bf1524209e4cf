import pytest

from protocol.model import Caller, Catalogue
from protocol.openai.reasoning_effort import has_effect, with_effort

CATALOGUE = Catalogue.build()


@pytest.mark.parametrize(
    ("model", "effort", "models", "extended"),
    [
        ("gemini-3-pro", "high", ("*",), True),
        ("gemini-3-pro-canvas", "max", ("*",), True),
        ("gemini-3-pro", "low", ("*",), False),
        ("gemini-3-pro", None, ("*",), False),
        ("gemini-3-pro-imagen", "high", ("*",), False),
        ("gemini-2.5-flash-free", "high", ("*",), False),
        ("gemini-3-pro", "high", ("gemini-3-pro",), False),
    ],
)
def test_a_high_effort_is_extended_thinking_if_the_model_has_it(model, effort, models, extended):
    selection = with_effort(CATALOGUE.resolve(model), effort, Caller(id="me", models=models))
    assert selection.extended is extended
    assert has_effect(selection, effort) is (extended or effort is None)
