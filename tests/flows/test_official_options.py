"""Options of requests in all dialects, as they arrive at the official API; Google's own packages judge the bodies."""

import base64
import json
import subprocess

import httpx2 as httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.conftest import BASE_SETTINGS, KEY, OFFICIAL, ROOT, Gateway
from tests.recorder import recording

MODEL, LITE = "gemini-3.6-flash", "gemini-2.5-flash-lite"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
TOOLS = [{"type": "function", "function": {"name": "clock"}}]
OLD = f'\n[transports.api.models]\nflash-lite = "{LITE}"\n'


@pytest.fixture(scope="module")
def api(official_api):
    with recording(official_api.url) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(api, tmp_path_factory):
    settings = BASE_SETTINGS.format(key=KEY) + OFFICIAL.format(url=api.url) + OLD
    process = Gateway(tmp_path_factory.mktemp("gateway"), settings)
    yield process
    process.stop()


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def http(gateway):
    with httpx.Client(base_url=gateway.origin, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


def asked(client, prompt="<echo>one two three four</echo>", **fields):
    fields = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]} | fields
    answer = client.chat.completions.with_raw_response.create(**fields)
    return answer.parse(), answer.headers


def test_options_of_a_chat_arrive(client, api):
    options = {"temperature": 0.3, "top_p": 0.9, "seed": 7, "presence_penalty": 0.5, "frequency_penalty": 2}
    answer, headers = asked(client, **options, max_tokens=500, stop=["never"], extra_body={"top_k": 40})
    assert api.bodies[-1]["generationConfig"] == {
        "temperature": 0.3,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "presencePenalty": 0.5,
        "frequencyPenalty": 1.99,
        "maxOutputTokens": 500,
        "stopSequences": ["never"],
        "thinkingConfig": {"includeThoughts": True},
    }
    assert answer.choices[0].message.content == "one two three four"
    assert "warning" not in headers
    assert (headers["x-gateway-transport"], headers["x-gateway-usage"]) == ("api", "exact")


def test_the_api_ends_the_answer_and_counts_it(client):
    answer, headers = asked(client, "<echo>one two three four five</echo>", max_tokens=3)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two thre", "length")
    assert (answer.usage.completion_tokens, headers["x-gateway-usage"]) == (3, "exact")
    answer, headers = asked(client, stop=" three")
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two", "stop")
    assert headers["x-gateway-usage"] == "exact"


def test_fields_that_the_api_lacks_are_named(client):
    _, headers = asked(client, logit_bias={"1": 5}, temperature=0.5, web_search_options={"search_context_size": "low"})
    assert headers["warning"] == '299 - "These fields have no effect here: logit_bias."'


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 3), ("top_p", "much"), ("seed", 1.5), ("presence_penalty", -5)]
)
def test_a_wrong_value_is_refused_by_name(client, field, value):
    with pytest.raises(openai.BadRequestError) as refused:
        asked(client, extra_body={field: value})
    assert refused.value.param == field


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        (MODEL, "none", {"thinkingLevel": "MINIMAL"}),
        (MODEL, "low", {"thinkingLevel": "LOW"}),
        (MODEL, "high", {"thinkingLevel": "HIGH"}),
        ("gemini-3-pro", "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-3.5-flash-lite", "medium", {"thinkingBudget": 8192}),
        ("gemini-3.5-flash-lite", "none", {"thinkingBudget": 0}),
    ],
)
def test_an_effort_is_the_nearest_that_the_model_has(client, api, model, effort, sent):
    _, headers = asked(client, model=model, reasoning_effort=effort)
    thinking = api.bodies[-1]["generationConfig"]["thinkingConfig"]
    thinking.pop("includeThoughts", None)
    assert thinking == sent
    assert "warning" not in headers


def test_a_search_is_a_tool_of_the_api_in_addition_to_functions(client, api):
    asked(client, web_search_options={}, tools=TOOLS)
    sent = api.bodies[-1]
    assert sent["tools"][1] == {"googleSearch": {}}
    assert sent["toolConfig"]["includeServerSideToolInvocations"] is True
    asked(client, web_search_options={}, tools=TOOLS, model="gemini-3.5-flash-lite")
    assert len(api.bodies[-1]["tools"]) == 1


def test_options_of_a_response_and_of_a_text_completion_arrive(client, api):
    response = client.responses.create(
        model=MODEL, input="<echo>one two three four five</echo>", temperature=0.3, top_p=0.9, max_output_tokens=3,
        reasoning={"effort": "low"}, tools=[{"type": "web_search"}],
    )  # fmt: skip
    assert api.bodies[-1]["generationConfig"] == {
        "temperature": 0.3, "topP": 0.9, "maxOutputTokens": 3,
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
    }  # fmt: skip
    assert api.bodies[-1]["tools"] == [{"googleSearch": {}}]
    assert (response.output_text, response.status, response.usage.output_tokens) == ("one two thre", "incomplete", 3)
    text = client.completions.create(model=MODEL, prompt="<echo>one two three</echo>", seed=5, max_tokens=2, stop="x")
    config = api.bodies[-1]["generationConfig"]
    assert (config["seed"], config["maxOutputTokens"], config["stopSequences"]) == (5, 2, ["x"])
    assert (text.choices[0].text, text.choices[0].finish_reason) == ("one two ", "length")


def test_each_dialect_may_let_the_model_run_code(client, http, api):
    asked_for = '<sim analysis="true" text="It is 42."/> 6 * 7?'
    response = client.responses.create(
        model=MODEL, input=asked_for, tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]
    )
    assert api.bodies[-1]["tools"] == [{"codeExecution": {}}]
    assert "```python\nprint(6 * 7)\n```" in response.output_text
    said = {"role": "user", "content": asked_for}
    tools = [{"type": "code_execution_20250825", "name": "code_execution"}]
    answer = message(http, messages=[said], tools=tools).json()
    assert api.bodies[-1]["tools"] == [{"codeExecution": {}}]
    assert answer["content"][0]["text"].endswith("It is 42.")


def test_a_file_is_read_as_the_client_asks(http, api):
    png = base64.b64encode(PIXEL).decode()
    part = {"inline_data": {"mime_type": "image/png", "data": png}}
    part["media_resolution"] = {"level": "MEDIA_RESOLUTION_HIGH"}
    answer = generated(http, contents=[{"role": "user", "parts": [part, {"text": "<echo>seen</echo>"}]}])
    assert answer.status_code == 200, answer.text
    assert api.bodies[-1]["contents"][0]["parts"][0]["mediaResolution"] == {"level": "MEDIA_RESOLUTION_HIGH"}
    part["media_resolution"] = {"level": "HUGE"}
    refused = generated(http, contents=[{"role": "user", "parts": [part]}])
    assert (refused.status_code, "mediaResolution.level" in refused.text) == (400, True)


def message(http, **fields):
    said = {"role": "user", "content": "<echo>one two three</echo>"}
    return http.post("/v1/messages", json={"model": MODEL, "max_tokens": 50, "messages": [said]} | fields)


def test_options_of_an_anthropic_message_arrive(http, api):
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "web_fetch_20250910", "name": "web_fetch"}]
    answer = message(http, temperature=0.3, top_k=40, tools=tools, stop_sequences=[" three"])
    assert api.bodies[-1]["generationConfig"] == {
        "temperature": 0.3, "topK": 40, "maxOutputTokens": 50, "thinkingConfig": {"includeThoughts": True},
    }  # fmt: skip
    assert api.bodies[-1]["tools"] == [{"googleSearch": {}}, {"urlContext": {}}]
    found = answer.json()
    assert (found["content"][0]["text"], found["stop_reason"], found["stop_sequence"]) == (
        "one two",
        "stop_sequence",
        " three",
    )
    assert "warning" not in answer.headers


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"thinking": {"type": "disabled"}}, {"thinkingLevel": "MINIMAL"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"thinkingBudget": 2048}),
        ({"output_config": {"effort": "low"}}, {"thinkingLevel": "LOW"}),
        ({"output_config": {"effort": "high"}}, {}),
        ({"output_config": {"effort": "max"}}, {"thinkingLevel": "HIGH"}),
    ],
)
def test_thinking_of_an_anthropic_message_arrives(http, api, fields, sent):
    assert message(http, **fields).status_code == 200
    assert api.bodies[-1]["generationConfig"]["thinkingConfig"] == {"includeThoughts": True} | sent


def generated(http, **fields):
    contents = [{"role": "user", "parts": [{"text": "<echo>one two three</echo>"}]}]
    return http.post(f"/v1beta/models/{MODEL}:generateContent", json={"contents": contents} | fields)


def test_options_of_gemini_s_own_api_arrive_as_they_are(http, api):
    config = {
        "temperature": 0.3, "topP": 0.9, "topK": 40, "seed": 3, "presencePenalty": 1, "maxOutputTokens": 500,
        "stopSequences": [" three"], "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
    }  # fmt: skip
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    tools = [{"googleSearch": {}}, {"urlContext": {}}, {"code_execution": {}}]
    answer = generated(http, generationConfig=config, safetySettings=safety, tools=tools)
    sent = api.bodies[-1]
    assert sent["generationConfig"] == config
    assert sent["safetySettings"] == safety
    assert sent["tools"] == [{"googleSearch": {}}, {"urlContext": {}}, {"codeExecution": {}}]
    found = answer.json()
    assert found["candidates"][0]["content"]["parts"][0]["text"] == "one two"
    assert (answer.headers["x-gateway-usage"], "warning" in answer.headers) == ("exact", False)


@pytest.mark.parametrize(
    ("config", "named"),
    [({"topK": -5}, "topK"), ({"mediaResolution": "HUGE"}, "mediaResolution"), ({"temperature": "hot"}, "temperature")],
)
def test_a_wrong_value_of_gemini_s_own_api_is_refused_by_name(http, config, named):
    refused = generated(http, generationConfig=config)
    assert refused.status_code == 400
    assert f"generationConfig.{named}" in refused.text


@pytest.mark.parametrize(
    ("wrong", "named"), [({"category": "HARM_CATEGORY_X"}, "category"), ({"threshold": None}, "threshold")]
)
def test_a_wrong_safety_setting_is_refused_by_name_and_not_sent(http, api, wrong, named):
    sent = len(api.bodies)
    setting = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"} | wrong
    refused = generated(http, safetySettings=[setting])
    assert (refused.status_code, len(api.bodies)) == (400, sent)
    assert f"safetySettings[0].{named}" in refused.json()["error"]["message"]


ASKED = {"role": "user", "content": '<call name="clock">{}</call>'}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_may_carry_the_signature_of_a_call(client, api, stream):
    fields = {"model": MODEL, "tools": TOOLS, "messages": [ASKED]}
    if stream:
        [first] = [
            call
            for chunk in client.chat.completions.create(**fields, stream=True)
            for choice in chunk.choices
            for call in choice.delta.tool_calls or ()
            if call.id
        ]
    else:
        [first] = client.chat.completions.create(**fields).choices[0].message.tool_calls
    signature = first.model_extra["extra_content"]["google"]["thought_signature"]
    for carried, sent in ((signature, signature), ("AAAA", "skip_thought_signature_validator")):
        call = {"id": "call_elsewhere", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        call["extra_content"] = {"google": {"thought_signature": carried}}
        history = [ASKED, {"role": "assistant", "tool_calls": [call]}]
        result = {"role": "tool", "tool_call_id": "call_elsewhere", "content": "noon"}
        answer = client.chat.completions.create(**fields | {"messages": [*history, result]})
        assert "noon" in answer.choices[0].message.content
        assert api.bodies[-1]["contents"][1]["parts"][0]["thoughtSignature"] == sent


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_may_carry_the_signature_of_a_text(client, api, stream):
    said = [{"role": "user", "content": "<echo>one two</echo>"}]
    if stream:
        chunks = client.chat.completions.create(model=MODEL, messages=said, stream=True)
        found = [choice.delta.model_extra for chunk in chunks for choice in chunk.choices]
        [extra] = [one["extra_content"] for one in found if "extra_content" in one]
    else:
        answer = client.chat.completions.create(model=MODEL, messages=said)
        extra = answer.choices[0].message.model_extra["extra_content"]
    signature = extra["google"]["thought_signature"]
    for carried, sent in ((signature, signature), ("AAAA", None)):  # that of another gateway is not sent
        extra = {"google": {"thought_signature": carried}}
        before = {"role": "assistant", "content": "one two", "extra_content": extra}
        asked(client, model=MODEL, messages=[*said, before, *said])
        assert api.bodies[-1]["contents"][1]["parts"][0].get("thoughtSignature") == sent


def test_signatures_of_gemini_s_own_api_go_through(http, api):
    tools = [{"functionDeclarations": [{"name": "clock"}]}]
    contents = [{"role": "user", "parts": [{"text": ASKED["content"]}]}]
    [part] = generated(http, contents=contents, tools=tools).json()["candidates"][0]["content"]["parts"]
    assert len(part["thoughtSignature"]) > 40
    part["functionCall"].pop("id")
    result = {"functionResponse": {"name": "clock", "response": {"result": "noon"}}}
    contents += [{"role": "model", "parts": [part]}, {"role": "user", "parts": [result]}]
    assert generated(http, contents=contents, tools=tools).status_code == 200
    assert api.bodies[-1]["contents"][1]["parts"][0]["thoughtSignature"] == part["thoughtSignature"]


def judged(bodies):
    done = subprocess.run(
        [ROOT / ".venv-foreign" / "bin" / "python", ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps(bodies), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_google_s_own_packages_accept_all_that_arrived(api):
    problems = judged([("request", body) for body in api.bodies])
    assert len(problems) > 10
    assert not any(problems), [pair for pair in zip(problems, api.bodies, strict=True) if pair[0]]


def tokens_of(logprobs):
    return [token.token for token in logprobs.content]


@pytest.mark.parametrize("form", [{}, {"response_format": {"type": "json_object"}}])
def test_probabilities_of_tokens_come_in_openai_s_form_whole_and_streamed(client, api, form):
    prompt = '<echo>{"answer": "one two three four five six seven eight nine ten eleven é"}</echo>'
    answer, headers = asked(client, prompt, logprobs=True, top_logprobs=2, **form)
    config = api.bodies[-1]["generationConfig"]
    assert (config["responseLogprobs"], config["logprobs"], "warning" in headers) == (True, 2, False)
    choice = ChatCompletion.model_validate_json(answer.model_dump_json(), strict=True).choices[0]
    assert "".join(tokens_of(choice.logprobs)) == choice.message.content
    for token in choice.logprobs.content:
        assert bytes(token.bytes).decode() == token.token
        assert len(token.top_logprobs) == 2
        assert (token.top_logprobs[0].token, token.top_logprobs[0].logprob) == (token.token, token.logprob)
    said = [{"role": "user", "content": prompt}]
    with client.chat.completions.stream(model=MODEL, messages=said, logprobs=True, top_logprobs=2, **form) as stream:
        parts = [event.chunk.choices[0] for event in stream if event.type == "chunk" and event.chunk.choices]
        last = stream.get_final_completion().choices[0]
    assert last.logprobs.content == choice.logprobs.content
    texts = [part for part in parts if part.delta.content]
    assert len(texts) > 1
    assert [part.delta.content for part in texts] == ["".join(tokens_of(part.logprobs)) for part in texts]
    answer, _ = asked(client, prompt, logprobs=True, n=2)
    assert [bool(one.logprobs.content) for one in answer.choices] == [True, True]
    assert answer.choices[0].logprobs.content[0].top_logprobs == []


def test_a_model_without_probabilities_of_tokens_says_so(client):
    with pytest.raises(openai.BadRequestError, match=r"Logprobs is not enabled for models/gemini-pro-latest"):
        asked(client, model="gemini-3-pro", logprobs=True)
    with pytest.raises(openai.BadRequestError, match="top_logprobs") as refused:
        asked(client, top_logprobs=2)
    assert refused.value.param == "top_logprobs"
    with pytest.raises(openai.BadRequestError) as refused:
        asked(client, logprobs=True, top_logprobs=21)
    assert refused.value.param == "top_logprobs"
    _, headers = asked(client, logprobs=False, top_logprobs=0)
    assert "warning" not in headers


def test_forms_without_probabilities_of_tokens_name_the_field(client):
    text = client.completions.with_raw_response.create(model=MODEL, prompt="<echo>one</echo>", logprobs=2)
    response = client.responses.with_raw_response.create(model=MODEL, input="<echo>one</echo>", top_logprobs=2)
    assert "logprobs" in text.headers["warning"]
    assert "top_logprobs" in response.headers["warning"]


def test_probabilities_of_tokens_come_in_gemini_s_form_whole_and_streamed(http, api):
    said = [{"text": "<echo>one two three four five six seven eight nine ten eleven</echo>"}]
    config = {"responseLogprobs": True, "logprobs": 3}
    body = {"contents": [{"role": "user", "parts": said}], "generationConfig": config}
    whole = generated(http, **body)
    assert api.bodies[-1]["generationConfig"].items() >= config.items()
    found = whole.json()
    result = found["candidates"][0]["logprobsResult"]
    text = found["candidates"][0]["content"]["parts"][0]["text"]
    assert "".join(one["token"] for one in result["chosenCandidates"]) == text
    assert {len(place["candidates"]) for place in result["topCandidates"]} == {3}
    assert "warning" not in whole.headers
    streamed = http.post(f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", json=body).text
    chunks = [json.loads(line.removeprefix("data: ")) for line in streamed.split("\r\n") if line]
    results = [one["candidates"][0].get("logprobsResult", {}) for one in chunks]
    assert [token for one in results for token in one.get("chosenCandidates", ())] == result["chosenCandidates"]
    assert judged([("response", found), *(("response", chunk) for chunk in chunks)]) == [None] * (len(chunks) + 1)
    refused = generated(http, generationConfig={"logprobs": 3})
    assert (refused.status_code, "generationConfig.logprobs" in refused.text) == (400, True)
