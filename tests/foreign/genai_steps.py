"""Runs google-genai, as its users install it, against a gateway; prints one JSON line for each step.

It runs in a venv of its own, where the gateway cannot be imported. Arguments: the gateway's address with the prefix,
and a license key. Every function `step_<name>` is a step; it takes a client of the default version of the API (v1) and
one of v1beta, or is a coroutine and takes the asynchronous halves of both.
"""

import asyncio
import base64
import datetime as dt
import enum
import hashlib
import inspect
import io
import json
import re
import sys
import traceback
import urllib.request

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

MODEL = "gemini-3-pro"
PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x04\x00\x00\x00\xb5\x1c\x0c\x02"
    b"\x00\x00\x00\x0bIDATx\xdacd\xf8\x0f\x00\x01\x05\x01\x01'\x18\xe3f\x00\x00\x00\x00IEND\xaeB`\x82"
)
LONG = "words that take several chunks of a stream, Grüße 你好"


class Color(enum.Enum):
    """An enum of texts."""

    RED = "red"
    GREEN = "green"


class Town(BaseModel):
    """An object with an optional field, an enum and a list of objects."""

    name: str
    people: int | None = None
    color: Color = Color.RED
    parts: list["Part"] = []


class Part(BaseModel):
    """An object within another one."""

    n: int


def weather(city: str, days: int | None = None) -> str:
    """Tell the weather."""
    return f"sunny in {city} for {days}"


CALL = '<call name="weather">{"city": "Zürich", "days": 2}</call>'
MANUAL = {"tools": [weather], "automatic_function_calling": {"disable": True}}


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def refused(code, status, work):
    """Run work that must fail with this code and status; return its error."""
    try:
        work()
    except errors.APIError as error:
        equal((error.code, error.status), (code, status))
        return error
    raise AssertionError(f"it was not refused with {code}")


def details(error, kind):
    """Return the details of an error that have this type."""
    return [one for one in error.details["error"]["details"] if one["@type"].endswith(f"google.rpc.{kind}")]


def step_text(v1, v1beta):
    for client in (v1, v1beta):
        answer = client.models.generate_content(model=MODEL, contents=f"<echo>{LONG}</echo>")
        equal(answer.text, LONG)
        equal(answer.candidates[0].finish_reason, types.FinishReason.STOP)
        equal(answer.model_version, MODEL)
        assert answer.response_id
        usage = answer.usage_metadata
        equal(usage.total_token_count, usage.prompt_token_count + usage.candidates_token_count)


def step_stream(v1, v1beta):
    for client in (v1, v1beta):
        chunks = list(client.models.generate_content_stream(model=f"models/{MODEL}", contents=f"<echo>{LONG}</echo>"))
        assert len(chunks) > 1
        equal("".join(chunk.text for chunk in chunks), LONG)
        equal([chunk.candidates[0].finish_reason for chunk in chunks], [None] * (len(chunks) - 1) + ["STOP"])
        assert chunks[-1].usage_metadata.total_token_count > 0
        equal(len({chunk.response_id for chunk in chunks}), 1)


def step_options_that_the_site_does_not_have_are_ignored(v1, v1beta):
    config = {
        "temperature": 0.1,
        "top_p": 0.5,
        "top_k": 5,
        "seed": 1,
        "candidate_count": 1,
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "tools": [{"google_search": {}}, {"url_context": {}}, {"code_execution": {}}],
        "thinking_config": {"thinking_budget": 100},
    }
    equal(v1.models.generate_content(model=MODEL, contents="<echo>yes</echo>", config=config).text, "yes")


def step_system_instruction(v1, v1beta):
    config = {"system_instruction": "Say <echo>as instructed</echo>."}
    answer = v1.models.generate_content(model=MODEL, contents=["One", "two"], config=config)
    equal(answer.text, "as instructed")


def step_limits(v1, v1beta):
    for config, wanted, reason in (
        ({"max_output_tokens": 2}, LONG[:13], "MAX_TOKENS"),
        ({"stop_sequences": ["several"]}, "words that take ", "STOP"),
    ):
        ask = {"model": MODEL, "contents": f"<echo>{LONG}</echo>", "config": config}
        whole, chunks = v1.models.generate_content(**ask), list(v1.models.generate_content_stream(**ask))
        equal((whole.text, whole.candidates[0].finish_reason), (wanted, reason))
        equal("".join(chunk.text for chunk in chunks), wanted)
        equal(chunks[-1].candidates[0].finish_reason, reason)


def step_thoughts(v1, v1beta):
    contents = '<sim thoughts="I think"/> What is it?'
    for include in (True, False):
        ask = {"model": MODEL, "contents": contents, "config": {"thinking_config": {"include_thoughts": include}}}
        whole = v1.models.generate_content(**ask)
        chunks = list(v1.models.generate_content_stream(**ask))
        streamed = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        for parts in (whole.candidates[0].content.parts, streamed):
            equal("".join(part.text for part in parts if part.thought), "I think" if include else "")
        assert whole.usage_metadata.thoughts_token_count
        assert "I think" not in whole.text


def step_sources(v1, v1beta):
    ask = {"model": MODEL, "contents": '<sim citations="2"/> Größe?'}
    whole, chunks = v1.models.generate_content(**ask), list(v1.models.generate_content_stream(**ask))
    for text, answer in ((whole.text, whole), ("".join(chunk.text for chunk in chunks), chunks[-1])):
        found = answer.candidates[0].grounding_metadata
        equal(len(found.grounding_chunks), 2)
        assert all(chunk.web.uri.startswith("https://") for chunk in found.grounding_chunks)
        for support in found.grounding_supports:
            place = slice(support.segment.start_index, support.segment.end_index)
            equal(text.encode()[place].decode(), support.segment.text)


def step_candidates(v1, v1beta):
    ask = {"model": MODEL, "contents": f"<echo>{LONG}</echo>", "config": {"candidate_count": 2}}
    whole = v1.models.generate_content(**ask)
    equal([one.content.parts[0].text for one in whole.candidates], [LONG, LONG])
    said = ["", ""]
    for chunk in v1.models.generate_content_stream(**ask):
        for one in chunk.candidates:
            said[one.index] += "".join(part.text for part in one.content.parts)
    equal(said, [LONG, LONG])


def step_chat(v1, v1beta):
    chat = v1.chats.create(model=MODEL)
    equal(chat.send_message(f"<echo>{LONG}</echo>").text, LONG)
    equal("".join(chunk.text for chunk in chat.send_message_stream(f"<echo>{LONG} 2</echo>")), LONG + " 2")
    equal(chat.send_message("<echo>third</echo>").text, "third")
    said = ["".join(part.text for part in entry.parts) for entry in chat.get_history(curated=True)]
    assert "third" in said[-1], said
    assert len([entry for entry in chat.get_history(curated=True) if entry.role == "user"]) == 3


def step_automatic_function_calling(v1, v1beta):
    chat = v1.chats.create(model=MODEL, config={"tools": [weather]})
    assert "sunny in Zürich for 2" in chat.send_message(CALL).text
    equal([entry.role for entry in chat.get_history()], ["user", "model", "user", "model"])
    chat = v1.chats.create(model=MODEL, config={"tools": [weather]})
    assert "sunny in Zürich for 2" in "".join(chunk.text or "" for chunk in chat.send_message_stream(CALL))


def step_manual_function_calling(v1, v1beta):
    asked = types.Content(role="user", parts=[types.Part(text=CALL + '<call name="weather">{"city": "Bern"}</call>')])
    answer = v1.models.generate_content(model=MODEL, contents=[asked], config=MANUAL)
    equal([call.name for call in answer.function_calls], ["weather", "weather"])
    equal([call.args for call in answer.function_calls], [{"city": "Zürich", "days": 2}, {"city": "Bern"}])
    equal(answer.candidates[0].finish_reason, "STOP")
    equal(len({call.id for call in answer.function_calls}), 2)
    equal([bool(part.thought_signature) for part in answer.candidates[0].content.parts], [True, False])
    equal(answer.text, None)
    for keep_ids in (True, False):
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id if keep_ids else None, name=call.name, response={"result": f"R{call.args['city']}"}
                )
            )
            for call in answer.function_calls
        ]
        contents = [asked, answer.candidates[0].content, types.Content(role="user", parts=results)]
        said = v1.models.generate_content(model=MODEL, contents=contents, config=MANUAL).text
        assert "RZürich" in said, said
        assert "RBern" in said, said


def step_streamed_function_calls(v1, v1beta):
    chunks = list(v1.models.generate_content_stream(model=MODEL, contents=CALL, config=MANUAL))
    calls = [call for chunk in chunks for call in chunk.function_calls or ()]
    equal([(call.name, call.args) for call in calls], [("weather", {"city": "Zürich", "days": 2})])


def step_function_calling_modes(v1, v1beta):
    def ask(mode, contents, **more):
        calling = {"function_calling_config": {"mode": mode, **more}}
        config = {**MANUAL, "tool_config": calling}
        return v1beta.models.generate_content(model=MODEL, contents=contents, config=config)

    equal([call.name for call in ask("ANY", "hello").function_calls], ["weather"])
    equal([call.name for call in ask("ANY", "hello", allowed_function_names=["weather"]).function_calls], ["weather"])
    equal(ask("NONE", "<echo>words</echo>").text, "words")
    equal(ask("VALIDATED", "<echo>words</echo>").text, "words")
    refused(400, "INVALID_ARGUMENT", lambda: ask("ANY", "hello", allowed_function_names=["other"]))


def step_declared_functions(v1, v1beta):
    schema = types.Schema(
        type="OBJECT",
        properties={
            "n": types.Schema(type="INTEGER", nullable=True),
            "c": types.Schema(type="STRING", enum=["x", "y"]),
        },
        required=["c"],
    )
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="pick", parameters=schema)])
    config = {"tools": [tool]}
    good = v1.models.generate_content(
        model=MODEL, contents='<call name="pick">{"n": null, "c": "y"}</call>', config=config
    )
    equal(good.function_calls[0].args, {"n": None, "c": "y"})
    wrong = '<call name="pick">{"c": "z"}</call>'
    error = refused(500, "INTERNAL", lambda: v1.models.generate_content(model=MODEL, contents=wrong, config=config))
    equal([one["reason"] for one in details(error, "ErrorInfo")], ["MODEL_OUTPUT_INVALID"])


def step_structured_output(v1, v1beta):
    contents = '<json>{"name": "Bern", "people": null, "color": "green", "parts": [{"n": 1}]}</json>'
    town = Town(name="Bern", color=Color.GREEN, parts=[Part(n=1)])
    shown = json.dumps(Town.model_json_schema())
    upper = json.loads(re.sub(r'"type": "(\w+)"', lambda kind: f'"type": "{kind[1].upper()}"', shown))
    for config in ({"response_schema": Town}, *({"response_json_schema": one} for one in (json.loads(shown), upper))):
        config["response_mime_type"] = "application/json"
        whole = v1.models.generate_content(model=MODEL, contents=contents, config=config)
        equal(Town.model_validate_json(whole.text), town)
        equal(Town.model_validate(whole.parsed), town)
        chunks = v1.models.generate_content_stream(model=MODEL, contents=contents, config=config)
        equal(Town.model_validate_json("".join(chunk.text for chunk in chunks)), town)
    free = v1.models.generate_content(
        model=MODEL, contents='<json>{"a": 1}</json>', config={"response_mime_type": "application/json"}
    )
    equal(json.loads(free.text), {"a": 1})
    several = v1.models.generate_content(
        model=MODEL,
        contents='<json>[{"n": 1}, {"n": 2}]</json>',
        config={"response_mime_type": "application/json", "response_schema": list[Part]},
    )
    equal(several.parsed, [Part(n=1), Part(n=2)])


def step_enum(v1, v1beta):
    config = {"response_mime_type": "text/x.enum", "response_schema": Color}
    ask = {"model": MODEL, "contents": '<json>"green"</json>', "config": config}
    whole = v1.models.generate_content(**ask)
    equal((whole.text, whole.parsed), ("green", Color.GREEN))
    equal("".join(chunk.text for chunk in v1.models.generate_content_stream(**ask)), "green")


def step_pictures_out(v1, v1beta):
    config = {"response_modalities": ["TEXT", "IMAGE"], "image_config": {"aspect_ratio": "16:9", "image_size": "1K"}}
    ask = {"model": MODEL, "contents": "Draw a cat", "config": config}
    whole = v1.models.generate_content(**ask)
    chunks = list(v1.models.generate_content_stream(**ask))
    streamed = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    for parts in (whole.candidates[0].content.parts, streamed):
        (blob,) = [part.inline_data for part in parts if part.inline_data]
        equal(blob.mime_type, "image/jpeg")
        equal((blob.data[:3], blob.data[-2:]), (b"\xff\xd8\xff", b"\xff\xd9"))
        assert any(part.text for part in parts)


def step_pictures_in(v1, v1beta):
    given = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    assert "image/png" in v1.models.generate_content(model=MODEL, contents=["What is it?", given]).text
    drawn = v1.models.generate_content(model=MODEL, contents="Draw a cat", config={"response_modalities": ["IMAGE"]})
    history = [
        types.Content(role="user", parts=[types.Part(text="Draw a cat")]),
        drawn.candidates[0].content,
        types.Content(role="user", parts=[types.Part(text="What is on it?")]),
    ]
    assert "image/jpeg" in v1.models.generate_content(model=MODEL, contents=history).text
    text = types.Part.from_bytes(data=b"a,b\n1,2\n", mime_type="text/csv")
    assert "text/" in v1.models.generate_content(model=MODEL, contents=["What is it?", text]).text


def step_files_elsewhere(v1, v1beta):
    stored = types.Part.from_uri(file_uri="https://generativelanguage.googleapis.com/v1/files/x", mime_type="image/png")
    error = refused(400, "INVALID_ARGUMENT", lambda: v1.models.generate_content(model=MODEL, contents=[stored]))
    equal(details(error, "BadRequest")[0]["fieldViolations"][0]["field"], "contents[0].parts[0].fileData.fileUri")


def uploaded(client, data, **config):
    return client.files.upload(file=io.BytesIO(data), config={"mime_type": "text/plain", **config})


def step_files(v1, v1beta):
    for client in (v1, v1beta):
        file = uploaded(client, LONG.encode(), display_name="Größe.txt")
        equal((file.display_name, file.mime_type, file.size_bytes), ("Größe.txt", "text/plain", len(LONG.encode())))
        equal((file.state.name, file.source.name, file.error), ("ACTIVE", "UPLOADED", None))
        equal(file.expiration_time - file.create_time, dt.timedelta(days=7))
        equal(base64.b64decode(file.sha256_hash), hashlib.sha256(LONG.encode()).digest())
        equal(client.files.get(name=file.name), file)
        equal(client.files.download(file=file.name), LONG.encode())
        answer = client.models.generate_content(model=MODEL, contents=["What is it?", file])
        assert f"Größe.txt (text/plain, {file.size_bytes} bytes)" in answer.text
        equal([one.name for one in client.files.list()], [file.name])
        client.files.delete(name=file.name)
        equal(list(client.files.list()), [])
        refused(404, "NOT_FOUND", lambda client=client, file=file: client.files.get(name=file.name))
        error = refused(
            404,
            "NOT_FOUND",
            lambda client=client, file=file: client.models.generate_content(model=MODEL, contents=file),
        )
        equal(details(error, "BadRequest")[0]["fieldViolations"][0]["field"], "contents[0].parts[0].fileData.fileUri")


def step_long_files(v1, v1beta):
    data = b"0123456789abcde\n" * 2**16 * 9
    file = uploaded(v1beta, data)
    equal(v1beta.files.download(file=file.name), data)
    v1beta.files.delete(name=file.name)
    refused(413, "INVALID_ARGUMENT", lambda: uploaded(v1beta, bytes(21 * 2**20)))


def step_names_of_files(v1, v1beta):
    file = uploaded(v1, b"one", name="my-notes-1")
    equal(file.name, "files/my-notes-1")
    refused(409, "ALREADY_EXISTS", lambda: uploaded(v1, b"two", name="my-notes-1"))
    refused(400, "INVALID_ARGUMENT", lambda: uploaded(v1, b"two", name="My_Notes"))
    equal([uploaded(v1, b"more", display_name=str(n)).display_name for n in range(12)], [str(n) for n in range(12)])
    listed = [*v1.files.list(config={"page_size": 5})]
    equal([one.display_name for one in listed], [*(str(n) for n in range(11, -1, -1)), "file.txt"])
    for one in v1.files.list(config={"page_size": 5}):  # pages are deleted before the next one is read
        v1.files.delete(name=one.name)
    equal([*v1.files.list()], [])


def step_files_that_are_refused(v1, v1beta):
    refused(400, "INVALID_ARGUMENT", lambda: uploaded(v1, b"\x7fELF" + bytes(100), mime_type="image/png"))
    equal(list(v1.files.list()), [])


def step_count_tokens(v1, v1beta):
    few, many = (
        v1.models.count_tokens(model=MODEL, contents=text).total_tokens for text in ("Hello", "Hello, hello, hello")
    )
    assert 0 < few < many


def step_models(v1, v1beta):
    for client in (v1, v1beta):
        listed = [model.name for model in client.models.list()]
        assert f"models/{MODEL}" in listed
        equal([model.name for model in client.models.list(config={"page_size": 7})], listed)
        found = client.models.get(model=MODEL)
        equal((found.name, found.supported_actions), (f"models/{MODEL}", ["generateContent", "countTokens"]))
        refused(404, "NOT_FOUND", lambda client=client: client.models.get(model="gemini-0"))


def step_refusals(v1, v1beta):
    ask = v1.models.generate_content
    refused(404, "NOT_FOUND", lambda: ask(model="gemini-0", contents="x"))
    refused(404, "NOT_FOUND", lambda: list(v1.models.generate_content_stream(model="gemini-0", contents="x")))
    error = refused(404, "NOT_FOUND", lambda: v1.models.embed_content(model=MODEL, contents="x"))
    assert "embeddings" in error.message
    refused(404, "NOT_FOUND", lambda: v1beta.caches.list().page)
    for config in ({"candidate_count": 9}, {"response_modalities": ["AUDIO"]}, {"response_mime_type": "text/x"}):
        refused(400, "INVALID_ARGUMENT", lambda config=config: ask(model=MODEL, contents="x", config=config))
    address = v1._api_client._http_options.base_url
    for key in ("wrong-key-0123456789", "sk-other-key-0123456789"):
        stranger = genai.Client(api_key=key, http_options={"base_url": address})
        error = refused(401, "UNAUTHENTICATED", lambda stranger=stranger: stranger.models.list())
        equal([one["reason"] for one in details(error, "ErrorInfo")], ["API_KEY_INVALID"])


def step_slow_answers(v1, v1beta):
    """The gateway sends heartbeats, which the SDK must not take for broken JSON."""
    for client in (v1, v1beta):
        chat = client.chats.create(model=MODEL)
        chunks = list(chat.send_message_stream('<sim delay="1"/><echo>late</echo>'))
        assert len(chunks) > 3, chunks
        equal("".join(chunk.text for chunk in chunks), "late")
        equal(chat.send_message("<echo>next</echo>").text, "next")
        equal(len([entry for entry in chat.get_history(curated=True) if entry.role == "user"]), 2)
    late = '<sim delay="1" http="500"/> Hello'
    refused(500, "INTERNAL", lambda: list(v1.models.generate_content_stream(model=MODEL, contents=late)))


def step_errors_of_the_upstream(v1, v1beta):
    def stream(contents):
        return v1.models.generate_content_stream(model=MODEL, contents=contents)

    def ask(contents):
        return v1.models.generate_content(model="gemini-2.5-flash-free", contents=contents)

    error = refused(500, "INTERNAL", lambda: list(stream('<sim error="1033" after="3"/> Hello')))
    assert error.message
    error = refused(429, "RESOURCE_EXHAUSTED", lambda: ask('<sim error="1037"/> Hello'))
    (retry,) = details(error, "RetryInfo")
    assert int(retry["retryDelay"].removesuffix("s")) > 0


def step_a_refused_prompt_has_feedback(v1, v1beta):
    ask = {"model": MODEL, "contents": '<sim error="1003"/> Draw a cat'}
    whole = v1.models.generate_content(**ask)
    chunks = list(v1.models.generate_content_stream(**ask))
    for answer in (whole, chunks[-1]):
        assert answer.candidates is None
        equal(answer.prompt_feedback.block_reason, "SAFETY")


def step_a_video_comes_after_heartbeats_and_outlives_its_client(v1, v1beta):
    fields = {"model": "gemini-3-pro-video", "contents": '<sim ready="1"/> a cat on a boat'}
    (film,) = [
        part.file_data
        for chunk in v1.models.generate_content_stream(**fields)
        for part in chunk.candidates[0].content.parts or ()
        if part.file_data
    ]
    equal(film.mime_type, "video/mp4")
    stream = v1beta.models.generate_content_stream(**fields)
    identity = next(chunk.response_id for chunk in stream if chunk.response_id)
    stream.close()
    options = v1beta._api_client._http_options
    request = urllib.request.Request(
        f"{options.base_url.rstrip('/')}/v1/chat/completions/{identity}",
        headers={"authorization": f"Bearer {v1beta._api_client.api_key}"},
    )
    with urllib.request.urlopen(request, timeout=90) as answer:
        assert "](http" in json.load(answer)["choices"][0]["message"]["content"]


async def step_asynchronous(v1, v1beta):
    answer = await v1.models.generate_content(model=MODEL, contents=f"<echo>{LONG}</echo>")
    equal(answer.text, LONG)
    stream = await v1beta.models.generate_content_stream(model=MODEL, contents=f"<echo>{LONG}</echo>")
    equal("".join([chunk.text async for chunk in stream]), LONG)
    chat = v1.chats.create(model=MODEL, config={"tools": [weather]})
    assert "sunny in Zürich for 2" in (await chat.send_message(CALL)).text
    assert (await v1.models.count_tokens(model=MODEL, contents="Hello")).total_tokens > 0
    assert [model.name async for model in await v1.models.list()]
    file = await v1.files.upload(file=io.BytesIO(b"text"), config={"mime_type": "text/plain"})
    assert "text/plain" in (await v1beta.models.generate_content(model=MODEL, contents=[file])).text
    await v1.files.delete(name=file.name)
    try:
        await v1.models.generate_content(model="gemini-0", contents="x")
    except errors.ClientError as error:
        equal(error.code, 404)
    else:
        raise AssertionError("it was not refused")


def main(address, key):
    def client(**options):
        return genai.Client(api_key=key, http_options={"base_url": address, **options})

    both = client(), client(api_version="v1beta")
    for name, step in list(globals().items()):
        if not name.startswith("step_"):
            continue
        error = None
        try:
            if inspect.iscoroutinefunction(step):
                asyncio.run(step(*(one.aio for one in both)))
            else:
                step(*both)
        except Exception:  # noqa: BLE001 -- any error ends this step only
            error = traceback.format_exc()
        print(json.dumps({"step": name.removeprefix("step_"), "error": error}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
