"""Runs the interactions of google-genai, as its users install it, against the simulated API; one JSON line per step.

It runs in a venv of its own, where the gateway cannot be imported. Arguments: the API's address, a free and a paid key.
Every function `step_<name>` is a step; it takes the interactions of a client with the paid key, and the client.
"""

import asyncio
import base64
import json
import sys
import time
import traceback

from google import genai

FILM, AGENT = "gemini-omni-1.1-flash", "deep-research-preview-04-2026"
TEXT = "gemini-3.6-flash"
PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x04\x00\x00\x00\xb5\x1c\x0c\x02"
    b"\x00\x00\x00\x0bIDATx\xdacd\xf8\x0f\x00\x01\x05\x01\x01'\x18\xe3f\x00\x00\x00\x00IEND\xaeB`\x82"
)
RUNNING = {"queued", "in_progress"}
PLAN = {"type": "deep-research", "collaborative_planning": True}
RESEARCH = {"type": "deep-research", "thinking_summaries": "auto"}


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def refused(code, work):
    """Run work that must be refused with an HTTP status; return the words of the error."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 -- the SDK has no public base class for these
        equal(getattr(error, "status_code", None), code)
        return str(error)
    raise AssertionError(f"it was not refused with {code}")


def film(api, prompt="a cat", key="uri", **fields):
    options = {"type": "video", "delivery": key} | fields.pop("response_format", {})
    return api.create(**{"model": FILM, "input": prompt, "background": True, "response_format": options} | fields)


def ended(api, interaction):
    """Poll until an interaction has ended; return it and the states that were seen."""
    states = [interaction.status]
    while interaction.status in RUNNING:
        time.sleep(0.02)
        interaction = api.get(interaction.id)
        if interaction.status != states[-1]:
            states.append(interaction.status)
    return interaction, states


def step_a_text(api, client):
    answer = api.create(model=TEXT, input="<echo>hello</echo>", system_instruction="Be kind.")
    equal((answer.output_text, answer.status), ("hello", "completed"))
    equal(answer.usage.total_tokens, answer.usage.total_input_tokens + answer.usage.total_output_tokens)
    again = api.create(model=TEXT, input="<echo>more</echo>", previous_interaction_id=answer.id)
    equal((again.output_text, again.previous_interaction_id), ("more", answer.id))


def step_a_stream(api, client):
    prompt = '<sim length="200" thoughts="Hm."/>'
    options = {"thinking_summaries": "auto"}
    events = list(api.create(model=TEXT, input=prompt, generation_config=options, stream=True))
    kinds = [event.event_type for event in events]
    equal((kinds[0], kinds[-1]), ("interaction.created", "interaction.completed"))
    assert "UNKNOWN" not in kinds
    assert len({event.event_id for event in events}) == len(events)
    deltas = [event.delta for event in events if event.event_type == "step.delta"]
    equal([delta.content.text for delta in deltas if delta.type == "thought_summary"], ["Hm."])
    equal(len("".join(delta.text for delta in deltas if delta.type == "text")), 200)


def step_a_call_and_its_result(api, client):
    city = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "name": "weather", "parameters": city}]
    answer = api.create(model=TEXT, input='<call name="weather">{"city": "Rome"}</call>', tools=tools)
    call = answer.steps[-1]
    equal((answer.status, call.type, call.arguments), ("requires_action", "function_call", {"city": "Rome"}))
    result = {"type": "function_result", "call_id": call.id, "result": "sunny"}
    told = api.create(model=TEXT, input=[result], tools=tools, previous_interaction_id=answer.id)
    assert "sunny" in told.output_text, told.output_text


def step_json_in_a_schema(api, client):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "text", "mime_type": "application/json", "schema": schema}
    answer = api.create(model=TEXT, input="?", response_format=form)
    assert isinstance(json.loads(answer.output_text)["n"], int)


def step_a_film_by_address(api, client):
    made, states = ended(api, film(api, '<sim ready="0.5"/> a cat', response_format={"aspect_ratio": "9:16"}))
    equal(states, ["queued", "in_progress", "completed"])
    equal((made.output_video.mime_type, made.output_video.data), ("video/mp4", None))
    name = made.output_video.uri.partition("/v1beta/")[2].partition(":")[0]
    assert client.files.download(file=name)[4:8] == b"ftyp"
    assert made.usage.total_output_tokens > 0


def step_a_film_within_the_answer(api, client):
    picture = {"type": "image", "data": base64.b64encode(PIXEL).decode(), "mime_type": "image/png"}
    content = [{"type": "text", "text": '<sim ready="0"/> move'}, picture]
    task = {"video_config": {"task": "image_to_video"}}
    made, _ = ended(api, film(api, content, key="inline", generation_config=task))
    assert base64.b64decode(made.output_video.data)[4:8] == b"ftyp"
    events = list(film(api, '<sim ready="0"/> a cat', key="inline", stream=True))
    (delta,) = [event.delta for event in events if event.event_type == "step.delta"]
    equal((delta.type, bool(delta.data)), ("video", True))


def step_research_with_a_plan(api, client):
    plan, _ = ended(api, api.create(agent=AGENT, input='<sim ready="0.5"/> cats', background=True, agent_config=PLAN))
    assert "1. " in plan.output_text
    more = {"background": True, "agent_config": RESEARCH, "previous_interaction_id": plan.id}
    report, states = ended(api, api.create(agent=AGENT, input="Go on.", **more))
    equal(states, ["queued", "in_progress", "completed"])
    thoughts = [step.summary[0].text for step in report.steps if step.type == "thought"]
    assert len(thoughts) > 2
    (content,) = report.steps[-1].content
    for note in content.annotations:
        assert content.text.encode()[note.start_index : note.end_index].decode() in content.text
        assert note.url.startswith("https://")


def step_a_stream_is_resumed(api, client):
    prompt = '<sim ready="0.2" drop-after="5"/> cats'
    stream = api.create(agent=AGENT, input=prompt, background=True, agent_config=RESEARCH, stream=True)
    seen, broken = [], ""
    try:
        seen.extend(stream)
    except Exception as error:  # noqa: BLE001 -- a broken connection: an error of the SDK's HTTP client
        broken = str(error)
    assert "incomplete" in broken, broken
    equal(len(seen), 5)
    rest = list(api.get(seen[0].interaction.id, stream=True, last_event_id=seen[-1].event_id))
    whole = list(api.get(seen[0].interaction.id, stream=True))
    equal([event.event_id for event in [*seen, *rest]], [event.event_id for event in whole])
    equal(rest[-1].interaction.status, "completed")


def step_the_asynchronous_client(api, client):
    async def work():
        interactions = client.aio.interactions
        form = {"type": "video", "delivery": "uri"}
        made = await interactions.create(
            model=FILM, input='<sim ready="0.1"/> a cat', background=True, response_format=form
        )
        while made.status in RUNNING:
            await asyncio.sleep(0.02)
            made = await interactions.get(made.id)
        name = made.output_video.uri.partition("/v1beta/")[2].partition(":")[0]
        content = await client.aio.files.download(file=name)
        edit = {"video_config": {"task": "edit"}}
        options = {"previous_interaction_id": made.id, "generation_config": edit, "background": True}
        edited = await interactions.create(model=FILM, input='<sim ready="0"/> slower', response_format=form, **options)
        stream = await interactions.create(model=TEXT, input="<echo>hello</echo>", stream=True)
        kinds = [event.event_type async for event in stream]
        await interactions.delete(made.id)
        return content[4:8], edited.previous_interaction_id == made.id, kinds[-1]

    equal(asyncio.run(work()), (b"ftyp", True, "interaction.completed"))


def step_work_is_cancelled_and_deleted(api, client):
    begun = film(api, '<sim ready="60"/> a cat')
    equal(api.cancel(begun.id).status, "cancelled")
    equal(api.get(begun.id).status, "cancelled")
    refused(400, lambda: api.cancel(begun.id))
    api.delete(begun.id)
    refused(404, lambda: api.get(begun.id))


def step_work_fails_as_ordered(api, client):
    for tag, status in (
        ('refuse="video"', "failed"),
        ('ends="incomplete"', "incomplete"),
        ('ends="budget_exceeded"', "budget_exceeded"),
    ):
        made, _ = ended(api, film(api, f'<sim ready="0" {tag}/> a cat'))
        equal(made.status, status)
    made, _ = ended(api, film(api, '<sim ready="0" refuse="safety"/> a cat'))
    equal(made.errors[0].code, "content_filtered")
    refused(503, lambda: film(api, '<sim http="503"/> a cat'))
    begun = film(api, '<sim ready="60" poll-errors="1"/> a cat')
    refused(503, lambda: api.get(begun.id))
    assert api.get(begun.id).status in RUNNING


def step_wrong_requests_are_refused(api, client):
    for word, fields in (
        ("store", {"model": TEXT, "input": "x", "background": True, "store": False}),
        ("background", {"agent": AGENT, "input": "x"}),
        ("video", {"model": TEXT, "input": "x", "response_format": {"type": "video"}}),
        ("duration", {"model": FILM, "input": "x", "response_format": {"type": "video", "duration": "60s"}}),
        ("resolution", {"model": FILM, "input": "x", "response_format": {"type": "video", "resolution": "8k"}}),
        ("image", {"model": FILM, "input": "x", "generation_config": {"video_config": {"task": "image_to_video"}}}),
        ("topK", {"model": TEXT, "input": "x", "generation_config": {"topK": 3}}),
    ):
        assert word in refused(400, lambda fields=fields: api.create(**fields)), word
    refused(404, lambda: api.create(model=TEXT, input="x", previous_interaction_id="v1_none"))
    refused(404, lambda: api.create(agent="deep-research-0", input="x", background=True))


def step_films_need_a_paid_key(api, client, free):
    refused(429, lambda: film(free.interactions))
    begun = film(api, '<sim ready="60"/> a cat')
    refused(404, lambda: free.interactions.get(begun.id))


def main(address, free, paid):
    options = {"base_url": address, "api_version": "v1beta", "retry_options": {"attempts": 1}}

    def client(key):
        return genai.Client(api_key=key, http_options=options)

    both = client(paid), client(free)
    for name, step in list(globals().items()):
        if not name.startswith("step_"):
            continue
        error = None
        try:
            step(both[0].interactions, *both[: step.__code__.co_argcount - 1])
        except Exception:  # noqa: BLE001 -- any error ends this step only
            error = traceback.format_exc()
        print(json.dumps({"step": name.removeprefix("step_"), "error": error}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
