"""Text completions, OpenAI's older API, with the official `openai` SDK over a socket."""

import openai
import pytest

MODEL = "gemini-3-pro"


@pytest.fixture(scope="module")
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def ask(client, prompt, model=MODEL, **fields):
    """Return the whole and the streamed answer, each as a list of texts and one of reasons."""
    whole = client.completions.create(model=model, prompt=prompt, **fields)
    texts, reasons = {}, {}
    for chunk in client.completions.create(model=model, prompt=prompt, stream=True, **fields):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            reasons[choice.index] = choice.finish_reason
    return [
        ([one.text for one in whole.choices], [one.finish_reason for one in whole.choices]),
        ([texts[index] for index in sorted(texts)], [reasons[index] for index in sorted(reasons)]),
    ]


@pytest.mark.parametrize("model", ["gpt-3.5-turbo-instruct", "davinci-002", MODEL])
def test_a_prompt_is_completed(client, model):
    for texts, reasons in ask(client, "<echo>once upon</echo>", model):
        assert (texts, reasons) == (["once upon"], ["stop"])


def test_each_of_several_prompts_has_its_texts_in_order(client):
    for texts, reasons in ask(client, ["<echo>one</echo>", "<echo>two</echo>"], n=2):
        assert (texts, reasons) == (["one", "one", "two", "two"], ["stop"] * 4)


def test_a_prompt_is_echoed_before_its_text(client):
    for texts, _ in ask(client, ["<echo>one</echo>", "<echo>two</echo>"], echo=True):
        assert texts == ["<echo>one</echo>one", "<echo>two</echo>two"]


def test_a_text_ends_at_a_stop_sequence_and_at_a_limit(client):
    for texts, reasons in ask(client, "<echo>one END two</echo>", stop=["END"]):
        assert (texts, reasons) == (["one "], ["stop"])
    for texts, reasons in ask(client, "<echo>one two three four</echo>", max_tokens=2):
        assert (texts, reasons) == (["one two three"], ["length"])


def test_a_suffix_asks_for_the_text_between(client):
    for texts, _ in ask(client, "<echo>be", suffix="tween</echo>"):
        assert texts == ["be\n\nThe end:\ntween"]


def test_usage_is_counted_over_all_texts(client):
    whole = client.completions.create(model=MODEL, prompt=["<echo>one</echo>"] * 2)
    stream = client.completions.create(
        model=MODEL, prompt=["<echo>one</echo>"] * 2, stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage for chunk in stream][-1] == whole.usage
    single = client.completions.create(model=MODEL, prompt="<echo>one</echo>")
    assert whole.usage.total_tokens == 2 * single.usage.total_tokens


def test_fields_without_effect_are_named(client):
    answer = client.completions.with_raw_response.create(
        model=MODEL, prompt="<echo>x</echo>", logprobs=3, best_of=2, temperature=0.1
    )
    assert answer.headers["warning"] == '299 - "These fields have no effect here: logprobs, temperature, best_of."'
    assert answer.parse().choices[0].logprobs is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": ["x"] * 21}, "prompt"),
        ({"prompt": "x", "n": 21}, "n"),
        ({"prompt": "x", "n": 2, "best_of": 1}, "best_of"),
        ({"prompt": "x", "model": "gemini-3-pro-video"}, "model"),
    ],
)
def test_what_has_no_completion_is_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": MODEL} | fields)
    assert caught.value.param == param
