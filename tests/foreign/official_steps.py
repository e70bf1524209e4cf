"""Runs google-genai, as its users install it, against the official API; prints one JSON line for each step.

It runs in a venv of its own, where the gateway cannot be imported. Arguments: the address without a version, a key,
and the names of two models, one of them for pictures. Every function `step_<name>` is a step: it takes a `World` and
returns what the SDK has made of the answers, as JSON. `test_official_api.py` runs the same steps against a gateway that
has the same API behind it, and compares what they return.
"""

import asyncio
import enum
import inspect
import json
import sys
import traceback
from dataclasses import dataclass, field

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x04\x00\x00\x00\xb5\x1c\x0c\x02"
    b"\x00\x00\x00\x0bIDATx\xdacd\xf8\x0f\x00\x01\x05\x01\x01'\x18\xe3f\x00\x00\x00\x00IEND\xaeB`\x82"
)
LONG = "words that take several chunks of a stream, Grüße 你好, and a few more until it is long enough for four of them"
ECHO = f"<echo>{LONG}</echo>"
CALL = '<call name="weather">{"city": "Zürich", "days": 2}</call>'
CALLS = CALL + '<call name="weather">{"city": "Bern"}</call>'
OTHER, LIMITED, BUSY = "gemini-3.5-flash", "gemini-3.5-flash-lite", "gemini-2.5-flash"
"""More models that both have; some steps use up their quota."""


class Color(enum.Enum):
    """An enum of texts."""

    RED = "red"
    GREEN = "green"


class Part(BaseModel):
    """An object within another one."""

    n: int


class Town(BaseModel):
    """An object with an optional field, an enum and a list of objects."""

    name: str
    people: int | None = None
    color: Color = Color.RED
    parts: list[Part] = []


def weather(city: str, days: int | None = None) -> str:
    """Tell the weather."""
    return f"sunny in {city} for {days}"


MANUAL = {"tools": [weather], "automatic_function_calling": {"disable": True}}


@dataclass
class World:
    """The client, and the models to ask."""

    address: str
    key: str
    model: str
    drawing: str
    client: genai.Client = field(init=False)

    def __post_init__(self):
        """Make the client."""
        self.client = self.with_key(self.key)

    def with_key(self, key):
        return genai.Client(api_key=key, http_options={"base_url": self.address})

    def ask(self, contents, config=None, model=None):
        return self.client.models.generate_content(model=model or self.model, contents=contents, config=config)

    def stream(self, contents, config=None, model=None):
        asked = {"model": model or self.model, "contents": contents, "config": config}
        return list(self.client.models.generate_content_stream(**asked))

    def both(self, contents, config=None, model=None):
        """Return what a whole answer and a stream say; they must agree."""
        whole = shown([self.ask(contents, config, model)])
        assert whole["finish"], whole
        equal(shown(self.stream(contents, config, model)), whole)
        return whole


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def plain(value):
    """Return a model of the SDK as JSON, without what is not set."""
    return None if value is None else value.model_dump(mode="json", exclude_none=True)


def shown(chunks):
    """Return what the chunks of an answer say together."""
    candidates = [one for chunk in chunks for one in chunk.candidates or ()]
    last = candidates[-1] if candidates else types.Candidate()
    return {
        "parts": list(parts_of(candidates)),
        "finish": last.finish_reason and last.finish_reason.value,
        "feedback": [one.prompt_feedback.block_reason.value for one in chunks if one.prompt_feedback],
        "usage": plain(chunks[-1].usage_metadata),
        "signed": any(
            part.thought_signature and part.text is not None
            for one in candidates
            for part in (one.content.parts if one.content else None) or ()
        ),
        "grounding": plain(last.grounding_metadata),
        "addresses": plain(last.url_context_metadata),
        "model": chunks[-1].model_version,
        "identities": len({chunk.response_id for chunk in chunks if chunk.response_id}),
    }


def parts_of(candidates):
    """Yield the parts, with adjacent texts joined."""
    said, thought = "", False
    for part in [part for one in candidates if one.content for part in one.content.parts or ()]:
        if part.text is not None:
            if said and bool(part.thought) != thought:
                yield {"thought" if thought else "text": said}
                said = ""
            said, thought = said + part.text, bool(part.thought)
            continue
        if said:
            yield {"thought" if thought else "text": said}
            said = ""
        yield part_shown(part)
    if said:
        yield {"thought" if thought else "text": said}


def part_shown(part):
    if part.function_call:
        call = part.function_call
        return {"call": call.name, "args": call.args, "signed": bool(part.thought_signature)}
    if part.inline_data:
        data = part.inline_data.data
        size = [int.from_bytes(data[at : at + 4], "big") for at in (16, 20)] if data[1:4] == b"PNG" else None
        return {"file": part.inline_data.mime_type, "size": size}
    return plain(part)


def refusal(work):
    """Return the error with which the work must fail."""
    try:
        work()
    except errors.APIError as error:
        return error_shown(error)
    raise AssertionError("it was not refused")


def error_shown(error):
    details = error.details["error"].get("details", [])
    return {
        "error": error.code,
        "status": error.status,
        "reasons": [one["reason"] for one in details if "reason" in one],
        "quotas": [one["quotaId"] for detail in details for one in detail.get("violations", ())],
        "waits": [one["retryDelay"] for one in details if "retryDelay" in one],
    }


def outcome(work):
    """Return the answer of the work, or the error with which it fails."""
    try:
        return {"answer": work()}
    except errors.APIError as error:
        return error_shown(error)


def step_text(world):
    whole = world.both(ECHO)
    equal((whole["parts"], whole["finish"]), ([{"text": LONG}], "STOP"))
    return whole


def step_an_answer_that_is_made_up(world):
    return world.both('<sim length="1200"/>')


def step_chunks_come_one_after_another(world):
    chunks = world.stream(ECHO)
    assert len(chunks) > 1  # the gateway joins those that arrive together
    equal([bool(chunk.candidates[0].finish_reason) for chunk in chunks], [False] * (len(chunks) - 1) + [True])


def step_system_instruction(world):
    equal(world.ask("?", {"system_instruction": "Be brief."}).text[:14], "This is a **si")
    return world.both(ECHO, {"system_instruction": ["Be brief.", "Be kind."]})


def step_history(world):
    turns = [("user", "Hello"), ("model", "Hi"), ("user", "<echo>again</echo>")]
    return world.both([types.Content(role=role, parts=[types.Part(text=text)]) for role, text in turns])


def step_options(world):
    config = {
        "temperature": 0.1,
        "top_p": 0.5,
        "top_k": 5,
        "seed": 1,
        "candidate_count": 1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "media_resolution": "MEDIA_RESOLUTION_LOW",
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "thinking_config": {"thinking_level": "HIGH"},
    }
    return world.both(ECHO, config)


def step_the_most_tokens(world):
    return world.both(ECHO, {"max_output_tokens": 4})


def step_stop_sequences(world):
    return world.both(ECHO, {"stop_sequences": ["nothing", "several"]})


def step_thoughts(world):
    asked = '<sim thoughts="I think"/> What is it?'
    return [
        world.both(asked, {"thinking_config": {"include_thoughts": True}}),
        world.both(asked, {"thinking_config": {"thinking_budget": 0}}, LIMITED),
    ]


def step_thoughts_that_are_not_asked_for(world):
    return world.both('<sim thoughts="I think"/> What is it?')


def step_sources(world):
    search = {"tools": [{"google_search": {}}]}
    return world.both('<sim citations="2" text="Größe one. 😀 two. Three"/> Größe?', search)


def step_code(world):
    return world.both('<sim analysis="true" text="It is 42."/> 6 * 7?', {"tools": [{"code_execution": {}}]})


def step_code_and_sources(world):
    tools = {"tools": [{"code_execution": {}}, {"google_search": {}}]}
    return world.both('<sim analysis="true" citations="2" text="Größe one. 世界 two."/> 6 * 7?', tools)


def step_an_answer_that_goes_back(world):
    answer = world.ask(ECHO)
    user = types.Content(role="user", parts=[types.Part(text=ECHO)])
    again = types.Content(role="user", parts=[types.Part(text="<echo>again</echo>")])
    assert answer.candidates[0].content.parts[-1].thought_signature
    return world.both([user, answer.candidates[0].content, again])


def step_several_candidates(world):
    answer = world.ask(ECHO, {"candidate_count": 2})
    equal([one.index for one in answer.candidates], [0, 1])
    return [[part.text for part in one.content.parts] for one in answer.candidates]


def step_addresses(world):
    return world.both('<echo>read</echo> <sim addresses="2"/>', {"tools": [{"url_context": {}}]})


def step_chat(world):
    chat = world.client.chats.create(model=world.model)
    equal(chat.send_message(ECHO).text, LONG)
    equal("".join(chunk.text or "" for chunk in chat.send_message_stream(f"<echo>{LONG} 2</echo>")), LONG + " 2")
    equal(chat.send_message("<echo>third</echo>").text, "third")
    roles = [entry.role for entry in chat.get_history(curated=True)]
    equal(roles.count("user"), 3)
    return shown([chat.send_message("<echo>fourth</echo>")])


def step_automatic_function_calling(world):
    chat = world.client.chats.create(model=world.model, config={"tools": [weather]})
    answer = chat.send_message(CALL)
    assert "sunny in Zürich for 2" in answer.text
    equal([entry.role for entry in chat.get_history()], ["user", "model", "user", "model"])
    streamed = world.client.chats.create(model=world.model, config={"tools": [weather]})
    said = "".join(chunk.text or "" for chunk in streamed.send_message_stream(CALL))
    equal(said, answer.text)
    return shown([answer])


def step_parallel_calls(world):
    asked = types.Content(role="user", parts=[types.Part(text=CALLS)])
    answer = world.ask([asked], MANUAL)
    equal(answer.text, None)
    parts = [
        types.Part(
            function_response=types.FunctionResponse(id=call.id, name=call.name, response={"sky": call.args["city"]})
        )
        for call in answer.function_calls
    ]
    history = [asked, answer.candidates[0].content, types.Content(role="user", parts=parts)]
    return [world.both(CALLS, MANUAL), shown([answer]), world.both(history, MANUAL)]


def step_a_call_without_its_signature(world):
    call = types.Part(function_call=types.FunctionCall(name="weather", args={"city": "Bern"}))
    result = types.Part(function_response=types.FunctionResponse(name="weather", response={"result": "rain"}))
    asked = types.Content(role="user", parts=[types.Part(text="Hello")])
    history = [asked, types.Content(role="model", parts=[call]), types.Content(role="user", parts=[result])]
    return outcome(lambda: world.ask(history, MANUAL).text)


def step_words_before_a_call(world):
    return world.both(CALL + "<prose-then-call/>", MANUAL)


def step_function_calling_modes(world):
    def ask(mode, contents, **more):
        config = {"tool_config": {"function_calling_config": {"mode": mode, **more}}}
        return world.both(contents, MANUAL | config)

    return [
        ask("ANY", "hello"),
        ask("ANY", "hello", allowed_function_names=["weather"]),
        ask("VALIDATED", CALL, allowed_function_names=["weather"]),
        ask("VALIDATED", "<echo>words</echo>"),
        ask("AUTO", "<echo>words</echo>"),
        ask("NONE", "<echo>words</echo>"),
        refusal(lambda: ask("ANY", "hello", allowed_function_names=["other"])),
    ]


def step_declared_functions(world):
    kinds = {"n": types.Schema(type="INTEGER", nullable=True), "c": types.Schema(type="STRING", enum=["x", "y"])}
    schema = types.Schema(type="OBJECT", properties=kinds, required=["c"])
    json_schema = {"type": "object", "properties": {"c": {"type": "string"}}, "required": ["c"]}
    tools = [
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(name="pick", description="Pick one.", parameters=schema),
                types.FunctionDeclaration(name="take", parameters_json_schema=json_schema),
                types.FunctionDeclaration(name="rest"),
            ]
        )
    ]
    calls = (("pick", '{"n": null, "c": "y"}'), ("take", '{"c": "z"}'), ("rest", "{}"))
    asked = "".join(f'<call name="{name}">{arguments}</call>' for name, arguments in calls)
    return world.both(asked, {"tools": tools})


def step_a_call_that_cannot_be_read(world):
    return world.both(CALL + "<malformed-call/>", MANUAL)


def step_structured_output(world):
    contents = '<json>{"name": "Bern", "people": null, "color": "green", "parts": [{"n": 1}]}</json>'
    found = []
    for form in ({"response_schema": Town}, {"response_json_schema": Town.model_json_schema()}):
        config = {"response_mime_type": "application/json", **form}
        found.append(world.both(contents, config))
        whole = world.ask(contents, config)
        equal(Town.model_validate(whole.parsed), Town(name="Bern", color=Color.GREEN, parts=[Part(n=1)]))
    return found


def step_json_in_other_forms(world):
    config = {"response_mime_type": "application/json"}
    several = world.ask('<json>[{"n": 1}, {"n": 2}]</json>', config | {"response_schema": list[Part]})
    equal(several.parsed, [Part(n=1), Part(n=2)])
    member = world.ask('<json>"green"</json>', {"response_mime_type": "text/x.enum", "response_schema": Color})
    equal((member.text, member.parsed), ("green", Color.GREEN))
    return [world.both('<json>{"a":1}</json>', config), shown([several]), shown([member])]


def step_a_picture(world):
    config = {"response_modalities": ["TEXT", "IMAGE"], "image_config": {"aspect_ratio": "16:9"}}
    return world.both("Draw a cat", config, world.drawing)


def step_a_picture_that_is_changed(world):
    given = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    return world.both(["Make it blue", given], {"response_modalities": ["TEXT", "IMAGE"]}, world.drawing)


def step_a_picture_that_is_shown(world):
    given = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    return shown([world.ask(["What is it?", given])])


def step_count_tokens(world):
    counted = world.client.models.count_tokens
    return [counted(model=world.model, contents=text).total_tokens for text in ("Hello", "Hello, hello, hello")]


def step_models(world):
    names = [model.name for model in world.client.models.list()]
    assert f"models/{world.model}" in names
    equal([model.name for model in world.client.models.list(config={"page_size": 5})], names)
    found = world.client.models.get(model=world.model)
    equal((found.name, found.supported_actions), (f"models/{world.model}", ["generateContent", "countTokens"]))
    return refusal(lambda: world.client.models.get(model="gemini-0"))


def step_a_prompt_that_is_refused(world):
    return world.both('<sim refuse="safety"/> Hello')


def step_a_prompt_that_is_blocked(world):
    asked = '<sim refuse="prompt"/> Hello'
    whole = shown([world.ask(asked)])
    equal(shown(world.stream(asked)), whole)
    equal((whole["parts"], whole["finish"]), ([], None))
    return whole


def step_unknown_and_retired_models(world):
    return [
        refusal(lambda: world.ask("x", model="gemini-0")),
        refusal(lambda: world.stream("x", model="gemini-0")),
        outcome(lambda: world.ask(ECHO, model="gemini-2.0-flash").text),
    ]


def step_wrong_requests(world):
    function = {"function_declarations": [{"name": "a"}]}
    return [
        refusal(lambda: world.ask("x", {"response_mime_type": "text/x"})),
        refusal(lambda: world.ask("x", {"candidate_count": 9})),
        refusal(lambda: world.ask("x", {"max_output_tokens": -1})),
        refusal(lambda: world.ask("x", {"tools": [function, function]})),
        refusal(lambda: world.ask("x", {"response_modalities": ["AUDIO"]})),
        refusal(lambda: world.ask("x", {"cached_content": "cachedContents/none"})),
    ]


def step_cached_contents(world):
    caches, document = world.client.caches, "A long document. " * 300

    def create(**config):
        return caches.create(model=world.model, config={"contents": [document], "ttl": "300s"} | config)

    def made():
        first, second = create(display_name="First"), create(system_instruction="Be brief.")
        asked = shown([world.ask(ECHO, {"cached_content": first.name})])
        longer = caches.update(name=first.name, config={"ttl": "900s"})
        assert longer.expire_time > first.expire_time
        assert {first.name, second.name} <= {one.name for one in caches.list(config={"page_size": 1})}
        equal(caches.get(name=first.name).display_name, "First")
        for one in (first, second):
            caches.delete(name=one.name)
        return {
            "usage": asked["usage"],
            "tokens": first.usage_metadata.total_token_count,
            "refused": [
                refusal(lambda: caches.get(name=first.name)),
                refusal(lambda: world.ask("x", {"cached_content": first.name})),
                refusal(lambda: create(contents=["short"])),
                refusal(lambda: create(ttl="-1s")),
            ],
        }

    return outcome(made)


def step_a_wrong_key(world):
    stranger = world.with_key("AIzaNobody-0123456789")
    return refusal(lambda: stranger.models.generate_content(model=world.model, contents="x"))


def step_a_quota_that_is_used_up(world):
    asked = '<sim http="429" retry-after="7"/> Hello'
    return [refusal(lambda: world.ask(asked, model=OTHER)), refusal(lambda: world.stream(asked, model=OTHER))]


def step_a_model_that_is_overloaded(world):
    return refusal(lambda: world.ask('<sim http="503"/> Hello'))


def step_a_stream_that_breaks_off(world):
    found = []
    for fault in ('error="1037" after="2"', 'drop-after="2"', 'eof-after="2"', 'garbage-after="2"'):
        said = []
        try:
            for chunk in world.client.models.generate_content_stream(
                model=world.model, contents=f'<sim {fault} length="900"/>'
            ):
                said.append(chunk.text or "")
            ended = "nothing"
        except errors.APIError as error:
            ended = error.code
        except Exception as error:  # noqa: BLE001 -- of the SDK or its HTTP client
            ended = type(error).__name__
        found.append([fault, len("".join(said)), ended])
    return found


async def step_asynchronous(world):
    models = world.client.aio.models
    whole = shown([await models.generate_content(model=world.model, contents=ECHO)])
    stream = await models.generate_content_stream(model=world.model, contents=ECHO)
    equal(shown([chunk async for chunk in stream]), whole)
    chat = world.client.aio.chats.create(model=world.model, config={"tools": [weather]})
    assert "sunny in Zürich for 2" in (await chat.send_message(CALL)).text
    assert [model.name async for model in await models.list()]
    many = await asyncio.gather(
        *(models.generate_content(model=world.model, contents=f"<echo>{number}</echo>") for number in range(8))
    )
    equal([one.text for one in many], [str(number) for number in range(8)])
    return whole


def main(steps, *arguments):
    """Run the steps of a module's globals; `own_model_steps.py` has more."""
    world = World(*arguments)
    for name, step in list(steps.items()):
        if not name.startswith("step_"):
            continue
        error = data = None
        try:
            data = asyncio.run(step(world)) if inspect.iscoroutinefunction(step) else step(world)
        except Exception:  # noqa: BLE001 -- any error ends this step only
            error = traceback.format_exc()
        print(json.dumps({"step": name.removeprefix("step_"), "error": error, "data": data}), flush=True)


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
