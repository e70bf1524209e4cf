"""Which names clients can use because the API lists them."""

import pytest

from protocol.model import Capability, Catalogue
from transports.generate_content.listed_models import ListedModel, discovered_models
from transports.generate_content.models import DEFAULTS, choose, traits_of

CHAT, DRAW, CANVAS, BOOK = Capability.CHAT, Capability.IMAGEN, Capability.CANVAS, Capability.STORYBOOK
TEXT = (CHAT, DRAW, CANVAS, BOOK)


def found(name, **fields):
    models = discovered_models({name: ListedModel(name=f"models/{name}", **fields)}, "api", DEFAULTS)
    return [(one.family, one.capabilities, one.only_upstream) for one in models]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemini-4-argon", ("flash", TEXT, True)),
        ("gemini-3.1-flash-lite", ("flash-lite", TEXT, True)),
        ("gemini-3.1-pro-preview-customtools", ("pro", TEXT, True)),
        ("gemini-flash-latest", ("flash", TEXT, False)),
        ("gemini-flash-lite-latest", ("flash-lite", TEXT, False)),
        ("gemma-4-31b-it", ("gemma-4-31b-it", (CHAT, CANVAS), True)),
        ("gemini-3-pro-image", ("pro", (DRAW,), False)),
        ("gemini-3.1-flash-lite-image", ("flash-lite", (DRAW,), False)),
        ("nano-banana-pro-preview", ("pro", (DRAW,), True)),
        ("gemini-nano-banana-2.1", ("flash", (DRAW,), True)),
        ("gemini-omni-1.1-flash", ("flash", (Capability.VIDEO,), True)),
        ("gemini-embedding-3", ("embedding", (Capability.EMBEDDING,), True)),
        ("gemini-4-flash-lite-tts", ("tts-lite", (Capability.SPEECH,), True)),
        ("gemini-4-transcribe", ("transcribe", (Capability.TRANSCRIPTION,), True)),
        ("lyria-3.5", None),
        ("gemini-3.8-live", None),
        ("veo-4", None),
        ("chat-bison", None),
    ],
)
def test_the_id_says_what_a_model_does(name, expected):
    assert found(name) == ([expected] if expected else [])


def test_the_methods_decide_about_names_of_unknown_kinds():
    assert found("quark-1", supported_generation_methods=("generateContent",)) == [("quark-1", (CHAT, CANVAS), True)]
    assert found("gemini-9-judge", supported_generation_methods=("generateAnswer",)) == []


def test_a_listed_model_answers_under_its_name_and_another_of_its_family_draws():
    lists = {name: ListedModel(name=name) for name in ("gemini-4-argon", "nano-banana-9")}
    catalogue = Catalogue.build().with_listed(discovered_models(lists, "api", DEFAULTS))

    def asked(name, transport="api"):
        return choose(catalogue.resolve(name), transport, {}, lists)

    assert [asked(name) for name in ("gemini-4-argon-canvas", "nano-banana-9")] == ["gemini-4-argon", "nano-banana-9"]
    assert asked("gemini-4-argon-imagen") == DEFAULTS["flash-imagen"]
    assert asked("gemini-4-argon", "vertex") is None


def test_the_list_says_whether_an_unknown_model_thinks():
    assert not traits_of("quark-1", ListedModel(name="quark-1", thinking=False)).thinking
    assert traits_of("gemma-5", ListedModel(name="gemma-5", thinking=True)).thinking
    assert not traits_of("gemma-4-31b-it").thinking
