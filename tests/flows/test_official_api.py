"""A gateway over the official API, with the unmodified openai SDK."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import httpx2 as httpx
import openai
import pytest
from PIL import Image

MODEL = "gemini-3.6-flash"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": CITY}}]
CALLS = '<call name="get_weather">{"city": "Rome"}</call><call name="get_weather">{"city": "Oslo"}</call>'


@pytest.fixture
def client(official_gateway):
    base_url, key = official_gateway.base_url, official_gateway.key
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


def user(content):
    return {"role": "user", "content": content}


def asked(client, *messages, **fields):
    return client.chat.completions.create(**{"model": MODEL, "messages": list(messages)} | fields)


def test_a_chat_is_answered_with_exact_counts(client):
    answer = asked(client, user("<echo>hello</echo>"))
    assert answer.choices[0].message.content == "hello"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 2)


def test_a_stream_has_thoughts_text_and_counts(client):
    prompt = user('<sim length="300" thoughts="Hm." tokens-per-second="300"/>')
    chunks = list(asked(client, prompt, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."
    assert len("".join(delta.content or "" for delta in deltas)) == 300
    assert len([delta for delta in deltas if delta.content]) > 3
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 1


@pytest.mark.parametrize("stream", [False, True])
def test_calls_go_out_and_their_results_come_back(client, stream):
    messages = [user(CALLS)]
    if stream:
        with client.chat.completions.stream(model=MODEL, messages=messages, tools=TOOLS) as streamed:
            choice = streamed.get_final_completion().choices[0]
    else:
        choice = asked(client, *messages, tools=TOOLS).choices[0]
    calls = choice.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert (choice.finish_reason, choice.message.content or None) == ("tool_calls", None)
    results = ['{"sky": "blue"}', "rain"]  # not compact JSON, so it must stay a text
    messages.append(choice.message.model_dump(exclude_none=True, exclude={"parsed"}))
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": result}
        for call, result in reversed(list(zip(calls, results, strict=True)))
    ]
    answer = asked(client, *messages, tools=TOOLS).choices[0].message.content
    assert all(result in answer for result in results)


def test_the_history_of_another_gateway_needs_no_signature(client):
    call = {"id": "call_foreign", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history = [user("?"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    result = {"role": "tool", "tool_call_id": "call_foreign", "content": "sunny"}
    assert "sunny" in asked(client, *history, result, tools=TOOLS).choices[0].message.content


def test_json_fits_the_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    assert json.loads(asked(client, user("?"), response_format=form).choices[0].message.content) == {
        "city": "simulated"
    }


@pytest.mark.parametrize("tag", ["<badjson/>", "<malformed-call/>"])
def test_the_model_repairs_what_cannot_be_used(client, tag):
    if tag == "<badjson/>":
        answer = asked(client, user(f'<json>{{"city": "x"}}</json>{tag}'), response_format={"type": "json_object"})
        assert json.loads(answer.choices[0].message.content) == {"city": "x"}
    else:
        answer = asked(client, user(CALLS + tag), tools=TOOLS)
        assert len(answer.choices[0].message.tool_calls) == 2


def test_sources_are_annotations_in_characters(client):
    message = asked(client, user('<sim citations="2" text="Größe one. 😀 two. Three"/>')).choices[0].message
    found = [message.content[one.url_citation.start_index : one.url_citation.end_index] for one in message.annotations]
    assert found == ["Größe one", "😀 two"]


def test_a_picture_is_drawn_edited_and_shown_to_the_model(client):
    made = client.images.generate(model="gemini-3-pro-imagen", prompt="a cat", size="1536x1024").data[0]
    picture = base64.b64decode(made.b64_json)
    assert Image.open(BytesIO(picture)).size == (1536, 1024)
    edited = client.images.edit(model="gemini-3-pro-imagen", image=("a.png", picture), prompt="blue", n=2)
    assert len(edited.data) == 2
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{made.b64_json}"}}
    assert "image/png" in asked(client, user([{"type": "text", "text": "?"}, shown])).choices[0].message.content


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (1024, 1024)),
        ({"quality": "hd"}, (2048, 2048)),
        ({"size": "2048x1152"}, (2048, 1152)),
        ({"extra_body": {"image_size": "4K", "aspect_ratio": "21:9"}}, (4096, 1755)),
        ({"extra_body": {"aspect_ratio": "1:8"}}, (128, 1024)),
        ({"extra_body": {"return_origin_image": True}}, (2048, 2048)),
        ({"size": "500x300"}, (500, 300)),
    ],
)
def test_a_picture_has_the_size_that_is_asked_for(client, fields, size):
    made = client.images.generate(model="gemini-3-flash-imagen", prompt="a cat", response_format="b64_json", **fields)
    assert Image.open(BytesIO(base64.b64decode(made.data[0].b64_json))).size == size


def test_pictures_are_counted_and_drafts_are_left_out(client):
    picture = base64.b64decode(client.images.generate(model="gemini-3-pro-imagen", prompt="a cat").data[0].b64_json)
    mask = BytesIO()
    Image.new("RGBA", Image.open(BytesIO(picture)).size).save(mask, "PNG")
    files = [("a.png", picture), ("b.png", picture)]
    edited = client.images.edit(model="gemini-3-pro-imagen", image=files, mask=mask.getvalue(), prompt="a hat")
    usage = edited.usage
    assert [one.revised_prompt.partition("\n")[0] for one in edited.data] == ["a hat"]
    assert (usage.input_tokens_details.image_tokens, usage.output_tokens_details.image_tokens) == (3 * 258, 1290)
    assert usage.input_tokens_details.text_tokens == usage.input_tokens - 3 * 258


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ('<sim refuse="image"/>', "NO_IMAGE"),
        ('<sim refuse="safety"/>', "IMAGE_SAFETY"),
        ('<sim refuse="image" text="I draw no cats."/>', "I draw no cats."),
    ],
)
def test_a_refused_picture_says_why(client, tag, said):
    with pytest.raises(
        openai.BadRequestError, match=said.replace("_", " ").lower() if "_" in said else said
    ) as refused:
        client.images.generate(model="gemini-3-flash-imagen", prompt=tag)
    assert refused.value.code == "content_filter"


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_are_drawn_in_chat(client, stream):
    asks = user('<sim images="2"/> a cat')
    answer = asked(client, asks, model="gemini-3-pro-imagen", stream=stream)
    if stream:
        images = [one for chunk in answer for choice in chunk.choices for one in getattr(choice.delta, "images", [])]
    else:
        images = answer.choices[0].message.images
    assert len(images) == 2


def test_the_image_tool_of_responses_draws(client):
    made = client.responses.create(model="gemini-3-pro-imagen", input="a cat", tools=[{"type": "image_generation"}])
    (drawn,) = (one for one in made.output if one.type == "image_generation_call")
    assert Image.open(BytesIO(base64.b64decode(drawn.result))).size == (1024, 1024)


def attached(text):
    data = base64.b64encode(text.encode()).decode()
    return {"type": "file", "file": {"filename": "a.txt", "file_data": f"data:text/plain;base64,{data}"}}


def test_long_files_are_uploaded_once(client, official_api):
    long = attached("words " * 50_000)
    for _ in range(2):
        answer = asked(client, user([{"type": "text", "text": "?"}, long, attached("short")]))
        assert "text/plain, 300000 bytes" in answer.choices[0].message.content
        assert "text/plain, 5 bytes" in answer.choices[0].message.content
    headers = {"x-goog-api-key": "AIzaSimulatedFree-0"}
    files = httpx.get(f"{official_api.url}/v1beta/files", headers=headers).json()["files"]
    assert [file["sizeBytes"] for file in files] == ["300000"]


def files_of_key(official_api, key="AIzaSimulatedFree-0"):
    headers = {"x-goog-api-key": key}
    return httpx.get(f"{official_api.url}/v1beta/files?pageSize=100", headers=headers).json().get("files", [])


def test_requests_at_once_upload_a_file_once(client, official_api):
    before = len(files_of_key(official_api))
    content = [{"type": "text", "text": "?"}, attached("at once " * 50_000)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: asked(client, user(content)), range(8)))
    assert all("text/plain, 400000 bytes" in answer.choices[0].message.content for answer in answers)
    assert len(files_of_key(official_api)) == before + 1


def test_a_file_that_the_api_has_deleted_is_uploaded_again(client, official_api):
    content = [{"type": "text", "text": "?"}, attached("deleted " * 50_000)]
    asked(client, user(content))
    newest = files_of_key(official_api)[0]["name"]
    headers = {"x-goog-api-key": "AIzaSimulatedFree-0"}
    httpx.delete(f"{official_api.url}/v1beta/{newest}", headers=headers)
    assert "400000 bytes" in asked(client, user(content)).choices[0].message.content
    assert files_of_key(official_api)[0]["name"] != newest


def test_a_file_that_cannot_be_processed_is_refused(client):
    with pytest.raises(openai.BadRequestError) as refused:
        asked(client, user([{"type": "text", "text": "?"}, attached("<file-fails/>" + "words " * 50_000)]))
    assert refused.value.code == "unsupported_file"


def test_a_picture_of_an_earlier_answer_is_sent_again(client):
    fields = {"model": "gemini-3-flash-imagen", "prompt": "a cat", "response_format": "url"}
    link = {"type": "image_url", "image_url": {"url": client.images.generate(**fields).data[0].url}}
    assert "image/png" in asked(client, user([{"type": "text", "text": "?"}, link])).choices[0].message.content
    drawn = asked(client, user("a cat"), model="gemini-3-flash-imagen").choices[0].message
    again = asked(client, user("a cat"), {"role": "assistant", "content": drawn.content}, user("?"))
    assert again.usage.prompt_tokens > 258


@pytest.mark.parametrize("stream", [False, True])
def test_a_document_comes_as_from_the_website(client, stream):
    answer = asked(client, user("A page that shows a fox"), model="gemini-3-pro-canvas", stream=stream)
    if stream:
        deltas = [choice.delta for chunk in answer for choice in chunk.choices]
        content = "".join(delta.content or "" for delta in deltas)
        (document,) = (one for delta in deltas if (one := getattr(delta, "document", None)))
    else:
        content, document = answer.choices[0].message.content, answer.choices[0].message.document
    assert document == {"title": "Simulated document", "kind": "html"}
    assert "```html\n<p>Simulated</p>\n```" in content
    assert "<document" not in content


def test_a_model_that_free_keys_lack_is_served_by_a_paid_one(client, official_gateway):
    client.images.generate(model="gemini-3-pro-imagen", prompt="a cat")
    lines = [json.loads(line) for line in official_gateway.text().splitlines() if "request_finished" in line]
    drawn = [line for line in lines if line["model"] == "gemini-3-pro-imagen"]
    assert {line["account"] for line in drawn} == {"paid"}


def test_a_refusal_is_a_refusal(client):
    with pytest.raises(openai.BadRequestError) as refused:
        asked(client, user('<sim refuse="safety"/>'))
    assert refused.value.code == "content_filter"


@pytest.mark.parametrize("fault", ["drop-after", "eof-after", "garbage-after"])
def test_a_broken_stream_ends_with_an_error(client, fault):
    with pytest.raises(openai.APIError):
        list(asked(client, user(f'<sim length="900" {fault}="2"/>'), stream=True))


def test_no_key_is_ever_logged(official_gateway):
    assert "AIzaSimulated" not in official_gateway.text()
