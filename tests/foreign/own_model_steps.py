"""More steps, as those of `official_steps.py`: models that compute vectors, speak, or write down speech.

It runs in the same way, and its answers are compared by the same test.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the interpreter runs isolated

import official_steps
from google.genai import types
from official_steps import PIXEL, plain, refusal

VECTORS = "gemini-embedding-2"


def contents_of(*texts):
    """Return each text as a content: the SDK joins bare texts to one."""
    return [types.Content(role="user", parts=[types.Part(text=text)]) for text in texts]


def step_embeddings(world):
    def ask(contents, **config):
        answer = world.client.models.embed_content(model=VECTORS, contents=contents, config=config)
        values = [one.values for one in answer.embeddings]
        return [[len(one) for one in values], [one[:3] + one[-3:] for one in values], plain(answer.usage_metadata)]

    picture = types.Content(parts=[types.Part(text="one"), types.Part.from_bytes(data=PIXEL, mime_type="image/png")])
    found = [
        ask("the sea at night"),
        ask(["one", "content of two texts"]),
        ask(contents_of("the sea at night", "Grüße")),
        ask(contents_of(*(f"text {number}" for number in range(100))), output_dimensionality=256),
        ask("words", task_type="RETRIEVAL_DOCUMENT", title="A title", output_dimensionality=7),
        ask(picture),
    ]
    assert [one[0] for one in found] == [[3072], [3072], [3072] * 2, [256] * 100, [7], [3072]], found
    wrong = ({"task_type": "x"}, {"output_dimensionality": 0}, {"title": "a title without its task"})
    refusals = [refusal(lambda config=config: ask("x", **config)) for config in wrong]
    refusals += [refusal(lambda: ask("")), refusal(lambda: ask(contents_of(*"x" * 101)))]
    refusals.append(refusal(lambda: world.client.models.embed_content(model=world.model, contents="x")))
    listed = world.client.models.get(model=VECTORS).supported_actions
    return found, refusals, listed, [one.name for one in world.client.models.list() if "embedding" in one.name]


if __name__ == "__main__":
    official_steps.main(globals(), *sys.argv[1:])
