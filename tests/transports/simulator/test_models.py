import pytest

from transports.simulator import models
from transports.web import wire


@pytest.mark.parametrize(
    ("plan", "model_id", "family"),
    [
        ("advanced", None, "flash"),
        ("advanced", wire.MODEL_IDS["pro"]["advanced"], "pro"),
        ("free", wire.MODEL_IDS["pro"]["free"], "pro"),
        ("free", wire.MODEL_IDS["pro"]["advanced"], "flash-lite"),
        ("free", "a74ec8485b3b5ce4", "flash"),
        ("advanced", "unknown", None),
    ],
    ids=["none chosen", "of the plan", "of the free plan", "beyond the plan", "an old id", "unknown"],
)
def test_the_smallest_model_answers_for_one_that_the_plan_does_not_include(plan, model_id, family):
    assert models.serving(plan, model_id) == family


def test_the_account_status_lists_the_models_with_their_ids_and_numbers():
    rows = models.entries("advanced")
    assert [row[1] for row in rows] == ["Flash-Lite", "Flash", "Pro"]
    for row in rows:
        assert len(row) == 20
        assert models.family_of(row[0]) is not None
    assert [row[7] for row in rows] == [False, True, False]


def test_an_answer_names_the_model_that_gave_it():
    assert models.answering("pro", "advanced", extended=True).name == "3.1 Pro Extended"
    assert models.answering("pro", "advanced", name=models.PICTURES).name == "Nano Banana 2"
