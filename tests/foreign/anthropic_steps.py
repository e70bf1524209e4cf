"""Runs the official `anthropic` SDK, unmodified, against a gateway; prints one JSON line for each step.

It runs in a venv of its own, where the gateway cannot be imported. Arguments: the gateway's origin and a license key.
Every function `step_<name>` is a step.
"""

import base64
import datetime as dt
import json
import random
import sys
import traceback
import urllib.request
import zlib
from contextlib import contextmanager

import anthropic
from pydantic import BaseModel

MODEL = "gemini-3-pro"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PAPER = base64.b64encode(b"%PDF-1.7\n").decode()
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = [
    {"name": "get_weather", "description": "The weather.", "input_schema": CITY, "eager_input_streaming": True},
    {"name": "ping", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
]
CALL = '<call name="get_weather">{"city": "Zürich \\"ZH\\"", "days": 2}</call>'
PING = '<call name="ping">{}</call>'
THINK = '<sim thoughts="hm, let me see" text="the answer"/>'


class Person(BaseModel):
    name: str
    ages: list[int]


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def user(*content):
    return {"role": "user", "content": content[0] if len(content) == 1 else list(content)}


def text(said):
    return {"type": "text", "text": said}


def ask(client, *messages, **fields):
    """Return the whole and the streamed message, which the SDK puts together."""
    fields = {"model": MODEL, "max_tokens": 1000, "messages": list(messages), **fields}
    whole = client.messages.create(**fields)
    with client.messages.stream(**fields) as stream:
        said = "".join(stream.text_stream)
        streamed = stream.get_final_message()
    equal(said, said_by(streamed))
    return whole, streamed


def said_by(message):
    return "".join(block.text for block in message.content if block.type == "text")


def kinds(message):
    return [block.type for block in message.content]


def calls(message):
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


def step_text(client):
    for message in ask(client, user("<echo>Grüezi\n\n`mitenand` 🎉</echo>")):
        equal(said_by(message), "Grüezi\n\n`mitenand` 🎉")
        equal((message.type, message.role, message.model), ("message", "assistant", MODEL))
        equal((message.stop_reason, message.stop_sequence, message.stop_details), ("end_turn", None, None))
        assert message.id.startswith("msg_")
        assert message.usage.input_tokens > 0 < message.usage.output_tokens
        equal(message.usage.cache_creation_input_tokens, 0)
    assert client.messages.create(model=MODEL, max_tokens=9, messages=[user("hi")])._request_id.startswith("req_")


def step_events(client):
    fields = {"model": MODEL, "max_tokens": 1000, "messages": [user(THINK)], "thinking": {"type": "adaptive"}}
    events = list(client.messages.create(**fields, stream=True))
    equal(events[0].message.content, [])
    equal(events[0].message.stop_reason, None)
    assert events[0].message.usage.input_tokens > 0
    shape = [(event.type, getattr(event, "index", None)) for event in events]
    equal(shape[0], ("message_start", None))
    equal(shape[-2:], [("message_delta", None), ("message_stop", None)])
    opened = [(event.index, event.content_block.type) for event in events if event.type == "content_block_start"]
    equal(opened, [(0, "thinking"), (1, "text")])
    closed = [index for kind, index in shape if kind == "content_block_stop"]
    equal(closed, [0, 1])
    equal([index for _, index in shape if index is not None], sorted(index for _, index in shape if index is not None))
    deltas = [event.delta.type for event in events if event.type == "content_block_delta"]
    equal(list(dict.fromkeys(deltas)), ["thinking_delta", "signature_delta", "text_delta"])
    equal(events[-2].delta.stop_reason, "end_turn")
    assert events[-2].usage.output_tokens > 0


def step_thinking(client):
    for asked in ({"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive", "display": "summarized"}):
        for message in ask(client, user(THINK), thinking=asked):
            equal(kinds(message), ["thinking", "text"])
            equal((message.content[0].thinking, message.content[1].text), ("hm, let me see", "the answer"))
            assert message.content[0].signature
            assert message.usage.output_tokens_details.thinking_tokens > 0
            history = [user("hello"), message.to_param(), user("<echo>still here</echo>")]
            equal(said_by(client.messages.create(model=MODEL, max_tokens=99, messages=history)), "still here")
    for quiet in ({"type": "disabled"}, {"type": "adaptive", "display": "omitted"}, anthropic.omit):
        for message in ask(client, user(THINK), thinking=quiet):
            equal(kinds(message), ["text"])


def step_system(client):
    blocks = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=1a2b3;"},
        {"type": "text", "text": "<echo>the rule</echo>", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    for system in ("<echo>the rule</echo>", blocks):
        for message in ask(client, user("hello"), system=system):
            equal(said_by(message), "the rule")
    middle = {"role": "system", "content": "<echo>in between</echo>"}
    equal(said_by(ask(client, user("hello"), middle)[0]), "in between")


def step_tools(client):
    first, streamed = ask(client, user(CALL + PING), tools=TOOLS)
    for message in (first, streamed):
        equal(kinds(message), ["tool_use", "tool_use"])
        equal(calls(message), [("get_weather", {"city": 'Zürich "ZH"', "days": 2}), ("ping", {})])
        equal(message.stop_reason, "tool_use")
        equal(len({block.id for block in message.content}), 2)
    weather, ping = (block.id for block in streamed.content)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    results = user(
        {"type": "tool_result", "tool_use_id": ping, "is_error": True, "content": "Host unreachable"},
        {"type": "tool_result", "tool_use_id": weather, "content": [text('{"sky": "`blue`"}'), picture]},
    )
    history = [user(CALL + PING), {"role": "assistant", "content": streamed.content}, results]
    for message in ask(client, *history, tools=TOOLS):
        equal(message.stop_reason, "end_turn")
        assert '{"sky": "`blue`"}' in said_by(message), said_by(message)
        assert "The tool failed:\nHost unreachable" in said_by(message), said_by(message)
    results["content"].append(text("<echo>and more words</echo>"))
    for message in ask(client, *history, tools=TOOLS):
        equal(said_by(message), "and more words")


def step_tool_deltas(client):
    fields = {"model": MODEL, "max_tokens": 1000, "messages": [user(CALL + PING)], "tools": TOOLS}
    events = list(client.messages.create(**fields, stream=True))
    opened = [event.content_block for event in events if event.type == "content_block_start"]
    equal([(block.type, block.name, block.input) for block in opened], [
        ("tool_use", "get_weather", {}),
        ("tool_use", "ping", {}),
    ])  # fmt: skip
    pieces = [(event.index, event.delta.partial_json) for event in events if event.type == "content_block_delta"]
    joined = ["".join(piece for index, piece in pieces if index == number) for number in (0, 1)]
    equal(list(map(json.loads, joined)), [{"city": 'Zürich "ZH"', "days": 2}, {}])


def step_tool_choice(client):
    for choice, wanted in (
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "ping"}, ["ping"]),
        ({"type": "none"}, []),
        ({"type": "auto"}, []),
    ):
        for message in ask(client, user("hello"), tools=TOOLS, tool_choice=choice):
            equal([name for name, _ in calls(message)], wanted)
    one = {"type": "auto", "disable_parallel_tool_use": True}
    for message in ask(client, user(CALL + PING), tools=TOOLS, tool_choice=one):
        equal([name for name, _ in calls(message)], ["get_weather"])


def step_server_tools(client):
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    for choice in (anthropic.omit, {"type": "any"}, {"type": "tool", "name": "web_search"}):
        for message in ask(client, user("<echo>found</echo>"), tools=[search], tool_choice=choice):
            equal(said_by(message), "found")
    for message in ask(client, user('<sim citations="2" text="It is so [cite: 1, 2]."/>'), tools=[search]):
        equal(kinds(message), ["text", "server_tool_use", "web_search_tool_result"])
        assert all(citation.url.startswith("http") for citation in message.content[0].citations)
        equal(len({result.url for result in message.content[2].content}), 2)
        assert message.content[1].id == message.content[2].tool_use_id
        history = [user("hello"), message.to_param(), user("<echo>still here</echo>")]
        equal(said_by(client.messages.create(model=MODEL, max_tokens=99, messages=history)), "still here")
    program = {"type": "computer_20250124", "name": "computer", "display_width_px": 9, "display_height_px": 9}
    refused(client, anthropic.BadRequestError, "'tools[1].type'", tools=[search, program])


def step_client_tools(client):
    tools = [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "memory_20250818", "name": "memory"},
    ]
    for name, given in (
        ("bash", {"command": "ls"}),
        ("bash", {"restart": True}),
        ("str_replace_based_edit_tool", {"command": "view", "path": "a.txt", "view_range": [1, -1]}),
        ("str_replace_based_edit_tool", {"command": "str_replace", "path": "a", "old_str": "b", "new_str": ""}),
        ("memory", {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"}),
    ):
        for message in ask(client, user(f'<call name="{name}">{json.dumps(given)}</call>'), tools=tools):
            equal(calls(message), [(name, given)])
    wrong = user('<call name="memory">{"command": "create", "path": "/memories/a"}</call>')
    refused(client, anthropic.InternalServerError, "invalid", messages=[wrong], tools=tools)


def step_tool_runner(client):
    @anthropic.beta_tool
    def get_weather(city: str, days: int = 1) -> str:
        """Return the weather.

        Args:
            city: A city.
            days: How many.
        """
        return f"It rains in {city} for {days} days."

    runner = client.beta.messages.tool_runner(model=MODEL, max_tokens=1000, tools=[get_weather], messages=[user(CALL)])
    said = said_by(runner.until_done())  # the SDK asks for a thread first
    assert 'It rains in Zürich "ZH" for 2 days.' in said, said


def step_structured_output(client):
    wanted = '<json>{"name": "Ada {}", "ages": [3, 4]}</json>'
    fields = {"model": MODEL, "max_tokens": 1000, "messages": [user(wanted)], "output_format": Person}
    equal(client.messages.parse(**fields).parsed_output, Person(name="Ada {}", ages=[3, 4]))
    with client.messages.stream(**fields) as stream:
        equal(stream.get_final_message().parsed_output, Person(name="Ada {}", ages=[3, 4]))
    form = {"type": "json_schema", "schema": Person.model_json_schema()}
    for message in ask(client, user(wanted), output_config={"effort": "high", "format": form}):
        equal(json.loads(said_by(message)), {"name": "Ada {}", "ages": [3, 4]})


def step_bounds(client):
    for message in ask(client, user("<echo>one THE two</echo>"), stop_sequences=["never", "THE"]):
        equal((said_by(message), message.stop_reason, message.stop_sequence), ("one ", "stop_sequence", "THE"))
    for message in ask(client, user("<echo>one two</echo>"), max_tokens=0):
        equal((message.content, message.stop_reason, message.usage.output_tokens), ([], "max_tokens", 0))
    for message in ask(client, user("<echo>one two three four</echo>"), max_tokens=2):
        equal((message.stop_reason, message.stop_sequence, message.usage.output_tokens), ("max_tokens", None, 2))
        assert "one two three fou".startswith(said_by(message)), said_by(message)


def step_files(client):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    shown = {"type": "image", "source": {"type": "url", "url": f"data:image/png;base64,{PIXEL}"}}
    paper = {"type": "base64", "media_type": "application/pdf", "data": PAPER}
    document = {"type": "document", "source": paper, "title": "Report 7", "citations": {"enabled": True}}
    said = said_by(ask(client, user(text("What are these?"), image, document))[1])
    assert "image/png" in said, said
    assert "Report 7.pdf (application/pdf" in said, said
    assert "image/png" in said_by(ask(client, user(shown, text("What?")))[0])
    written = {"type": "text", "media_type": "text/plain", "data": "<echo>read me</echo>"}
    mixed = {"type": "content", "content": [text("<echo>read us</echo>")]}
    for source, wanted in ((written, "read me"), (mixed, "read us")):
        equal(said_by(ask(client, user({"type": "document", "source": source}))[0]), wanted)
    for source, words in (
        ({"type": "base64", "media_type": "image/png", "data": "!"}, "messages[0].content[0].source.data"),
        ({"type": "base64", "media_type": "image/png", "data": PAPER}, "messages[0].content[0].source.data"),
        ({"type": "url", "url": "http://127.0.0.1/x.png"}, "URL"),
    ):
        block = {"type": "image", "source": source}
        refused(client, anthropic.BadRequestError, words, messages=[user(block, text("?"))])


def step_uploaded_files(client):
    for api in (client.files, client.beta.files):
        data = "Größe: 1\n".encode() * 100_000
        file = api.upload(file=("Größen.txt", data, "text/plain"), expires_in_seconds=3600)
        equal((file.type, file.filename, file.mime_type), ("file", "Größen.txt", "text/plain"))
        equal((file.size_bytes, file.downloadable), (len(data), True))
        equal(file.expires_at - file.created_at, dt.timedelta(hours=1))
        equal(api.retrieve_metadata(file.id), file)
        equal(api.download(file.id).read(), data)
        block = {"type": "document", "source": {"type": "file", "file_id": file.id}}
        said = said_by(ask(client, user(text("What is this?"), block))[1])
        assert f"Größen.txt (text/plain, {len(data)} bytes)" in said, said
        image = {"type": "image", "source": block["source"]}
        refused(client, anthropic.BadRequestError, "source.file_id", messages=[user(image)])
        equal((api.delete(file.id).type, [*api.list()]), ("file_deleted", []))
        refused(client, anthropic.NotFoundError, "is not stored", messages=[user(block)])
        picture = api.upload(file=("a.png", base64.b64decode(PIXEL), "image/png"))
        image = {"type": "image", "source": {"type": "file", "file_id": picture.id}}
        assert "a.png (image/png" in said_by(ask(client, user(image))[0])
        more = [api.upload(file=("a.txt", b"x", "text/plain")).id for _ in range(4)]
        equal([one.id for one in api.list(limit=2)], [*reversed(more), picture.id])
        equal([one.id for one in api.list(ids=more[1:3])], [more[2], more[1]])
        for one in api.list(limit=2):  # pages are deleted before the next one is read
            api.delete(one.id)
        equal([*api.list()], [])


def step_large_files(client):
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    rows = b"".join(b"\0" + random.randbytes(1500) for _ in range(500))
    head = (500).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    noise = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    data = base64.b64encode(noise).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    said = said_by(ask(client, user({"type": "image", "source": source}, text("What?")))[1])
    assert f"image/png, {len(noise)} bytes" in said, said
    written = {"type": "text", "media_type": "text/plain", "data": "words and no end " * 20_000}
    refused(client, anthropic.BadRequestError, "too long", messages=[user({"type": "document", "source": written})])


def step_pictures_out(client):
    for message in ask(client, user("a fox"), model="gemini-3-pro-imagen"):
        equal((kinds(message), message.stop_reason), (["text"], "end_turn"))
        assert "![" in said_by(message), said_by(message)


def step_count_tokens(client):
    few = client.messages.count_tokens(model=MODEL, messages=[user("hello")])
    many = client.messages.count_tokens(model=MODEL, messages=[user("hello")], tools=TOOLS, system="Be brief. " * 100)
    assert 0 < few.input_tokens < 10, few
    assert many.input_tokens > 250, many


def step_models(client):
    models = list(client.models.list(limit=2))
    assert MODEL in {model.id for model in models}
    assert all(model.type == "model" and model.display_name and model.created_at.year > 2000 for model in models)
    equal({model.lifecycle for model in models}, {"active", "deprecated"})
    equal(client.models.retrieve(MODEL).display_name, "Gemini 3 Pro")
    equal(client.models.retrieve("models/Gemini-3-Pro").id, MODEL)


def step_beta(client):
    message = client.beta.messages.create(
        model=MODEL, max_tokens=99, betas=["interleaved-thinking-2025-05-14"], messages=[user("<echo>beta</echo>")]
    )
    equal(said_by(message), "beta")


def refused(client, kind, words, **fields):
    """Check that whole and streamed requests raise this error before they begin."""
    fields = {"model": MODEL, "max_tokens": 99, "messages": [user("hello")], **fields}
    for stream in (False, True):
        with failing() as failed:
            client.messages.create(**fields, stream=stream)
        equal(type(failed[0]), kind)
        equal({name: set(value) for name, value in failed[0].body.items()}["error"], {"type", "message"})
        equal(failed[0].body["type"], "error")
        assert words in failed[0].body["error"]["message"], failed[0].body
        assert failed[0].request_id.startswith("req_")
    return failed[0]


@contextmanager
def failing():
    """Yield a list that has the error of the block at its end."""
    failed = []
    try:
        yield failed
    except anthropic.APIStatusError as error:
        failed.append(error)
    assert failed, "no error"


def step_errors(client):
    for kind, type_, words, fields in (
        (anthropic.NotFoundError, "not_found_error", "'gpt-9' does not exist", {"model": "gpt-9"}),
        (anthropic.BadRequestError, "invalid_request_error", "max_tokens", {"max_tokens": -1}),
        (anthropic.BadRequestError, "invalid_request_error", "messages", {"messages": []}),
        (anthropic.BadRequestError, "invalid_request_error", "prompt is too long", {"system": "x" * 400_000}),
        (anthropic.BadRequestError, "invalid_request_error", "tool_choice", {"tool_choice": {"type": "any"}}),
        (anthropic.BadRequestError, "invalid_request_error", "input_schema",
         {"tools": [{"name": "a", "input_schema": {"type": "nothing"}}]}),
        (anthropic.NotFoundError, "not_found_error", "", {"model": "gemini-3-pro-nothing"}),
    ):  # fmt: skip
        equal(refused(client, kind, words, **fields).type, type_)
    wrong = client.with_options(api_key="sk-wrong-0123456789")
    equal(refused(wrong, anthropic.AuthenticationError, "Incorrect API key").type, "authentication_error")


def step_error_in_a_stream(client):
    fields = {"model": MODEL, "max_tokens": 99, "messages": [user('<sim garbage-after="2" length="300"/>')]}
    with failing() as failed, client.messages.stream(**fields) as stream:
        list(stream)
    equal(failed[0].body["error"]["type"], "api_error")


def fetched(client, identity):
    """Return the text of an answer that the gateway has stored, which is OpenAI's."""
    url = f"{client.base_url}/v1/chat/completions/{identity}".replace("official//v1", "official/v1")
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {client.api_key}"})
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def step_a_video_comes_after_pings_and_outlives_its_client(client):
    fields = {"model": "gemini-3-pro-video", "max_tokens": 5, "messages": [user('<sim ready="1"/> a cat on a boat')]}
    with client.messages.stream(**fields) as stream:
        message = stream.get_final_message()
    words, link, _ = said_by(message).partition("](http")
    equal(fetched(client, message.id).partition("](http")[:2], (words, link))
    assert link
    stream = client.messages.create(**fields, stream=True)
    identity = next(iter(stream)).message.id
    stream.close()
    assert "](http" in fetched(client, identity)


def step_the_limit_of_the_account(client):  # the last step, since it uses the account up
    busy = refused(client, anthropic.RateLimitError, "", messages=[user('<sim error="1037"/>')])
    equal(busy.type, "rate_limit_error")
    assert int(busy.response.headers["retry-after"]) > 0


def main(origin, key):
    client = anthropic.Anthropic(base_url=f"{origin}/gemini_official", api_key=key, max_retries=0, timeout=90)
    for name, step in [(name, step) for name, step in globals().items() if name.startswith("step_")]:
        error = None
        try:
            step(client)
        except Exception:  # noqa: BLE001 -- it is reported
            error = traceback.format_exc()
        print(json.dumps({"step": name.removeprefix("step_"), "error": error}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
