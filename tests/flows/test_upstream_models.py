"""The model that really answered is in a header, the log and metrics; a downgrade is counted or refused."""

import json

import httpx2 as httpx
import openai
import pytest

from tests.conftest import BASE_SETTINGS, KEY

HEADER = "x-gateway-upstream-model"
AUTH = {"Authorization": f"Bearer {KEY}"}
LITE = '<sim answered-by="flash-lite"/>'
MISMATCH = 'gateway_upstream_model_mismatches_total{answered="flash-lite",requested="pro",transport="web"}'


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture
def start_web(start_command, start_gateway):
    """Start a gateway with a web transport and two accounts at a simulated site."""

    def start(settings=""):
        accounts = ("--account", "psid-1:psidts-1:advanced", "--account", "psid-2:psidts-2:advanced")
        pace = ("--tokens-per-second", "0", "--first-token-seconds", "0")
        site = start_command("simulate", "--port", "0", *accounts, *pace)
        url = site.wait_for("Base URL").rpartition(" ")[2].strip()
        hosts = "".join(f'{name} = "{url}"\n' for name in ("site", "accounts", "upload"))
        known = "".join(
            f'[[transports.web.accounts]]\nid = "web-{number}"\nper_minute = 0\n'
            f'cookies = "__Secure-1PSID=psid-{number}; __Secure-1PSIDTS=psidts-{number}"\n'
            for number in (1, 2)
        )
        plain = BASE_SETTINGS.format(key=KEY)
        return start_gateway(f"{plain}[transports.web]\n{settings}\n[transports.web.hosts]\n{hosts}{known}")

    return start


def says(text):
    return [{"role": "user", "content": text}]


def client_of(gateway):
    return openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=60)


def metric(gateway, name):
    lines = httpx.get(f"{gateway.origin}/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)


def logged(gateway, answer):
    return json.loads(gateway.wait_for(f'"{answer.headers["x-request-id"]}", "method"'))


@pytest.mark.parametrize(("model", "name"), [("gemini-3-pro", "3.1 Pro"), ("gemini-2.5-flash", "3.6 Flash")])
def test_a_whole_answer_and_a_stream_name_the_model_that_answers(client, model, name):
    raw = client.chat.completions.with_raw_response
    assert raw.create(model=model, messages=says("<echo>hi</echo>")).headers[HEADER] == name
    streamed = raw.create(model=model, messages=says("<echo>hi</echo>"), stream=True)
    assert streamed.headers[HEADER] == name
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed.parse()) == "hi"


def test_no_model_is_named_if_the_site_does_not_name_one(client):
    answer = client.chat.completions.with_raw_response.create(
        model="gemini-3-pro", messages=says('<sim answered-by="unknown"/><echo>hi</echo>')
    )
    assert HEADER not in answer.headers


def test_pictures_name_the_model_that_drew_them(client):
    answer = client.images.with_raw_response.generate(model="gemini-3-pro", prompt="a cat")
    assert answer.headers[HEADER] == "Nano Banana 2"
    with client.images.with_streaming_response.generate(model="gemini-3-pro", prompt="a cat", stream=True) as streamed:
        assert streamed.headers[HEADER] == "Nano Banana 2"
        streamed.read()


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_a_video_and_a_research_name_their_model(client):
    begun = client.videos.create(model="gemini-3-pro-video", prompt='<sim ready="0"/> a cat')
    while client.videos.retrieve(begun.id).status not in {"completed", "failed"}:
        pass
    assert client.videos.with_raw_response.retrieve(begun.id).headers[HEADER] == "3.1 Pro"
    research = client.chat.completions.with_raw_response.create(
        model="gemini-3-pro-deepsearch", messages=says('<sim ready="0"/> tea'), timeout=60
    )
    assert research.headers[HEADER] == "3.1 Pro"
    kept = client.chat.completions.with_raw_response.retrieve(research.parse().id)
    assert kept.headers[HEADER] == "3.1 Pro"


def test_a_downgrade_is_passed_on_and_counted(start_web):
    gateway = start_web()
    with client_of(gateway) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="gemini-3-pro", messages=says(f"{LITE}<echo>less</echo>")
        )
        client.images.generate(model="gemini-3-pro", prompt="a cat")
    assert answer.parse().choices[0].message.content == "less"
    assert answer.headers[HEADER] == "3.5 Flash-Lite"
    line = logged(gateway, answer)
    assert (line["upstream_model"], line["upstream_model_id"]) == ("3.5 Flash-Lite", "8c46e95b1a07cecc")
    assert line["upstream_model_requested"] == "e6fa609c3fa255c0"
    assert metric(gateway, MISMATCH) == 1
    answers = 'gateway_upstream_model_answers_total{{family="{}",model="{}",transport="web"}}'
    assert metric(gateway, answers.format("flash-lite", "3.5 Flash-Lite")) == 1
    assert metric(gateway, answers.format("unknown", "Nano Banana 2")) == 1
    shown = httpx.get(f"{gateway.origin}/metrics").text
    assert shown.count("gateway_upstream_model_mismatches_total{") == 1  # a picture model is not a downgrade


@pytest.mark.parametrize("stream", [False, True])
def test_a_downgrade_is_refused_and_retried_if_the_settings_require_it(start_web, stream):
    gateway = start_web('model_mismatch = "refuse"')
    with client_of(gateway) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="gemini-3-pro",
            messages=says('<sim answered-by="flash-lite" once="first"/><echo>the real one</echo>'),
            stream=stream,
        )
        parsed = answer.parse()
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in parsed)
        else:
            text = parsed.choices[0].message.content
    assert text == "the real one"
    assert answer.headers[HEADER] == "3.1 Pro"
    assert metric(gateway, MISMATCH) == 1
    assert metric(gateway, 'gateway_retries_total{transport="web"}') == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_gets_an_error_if_every_account_downgrades(start_web, stream):
    gateway = start_web('model_mismatch = "refuse"')
    with client_of(gateway) as client:
        for _ in range(7):  # no account cools down for it: the next request fails alike
            with pytest.raises(openai.InternalServerError) as caught:
                client.chat.completions.create(
                    model="gemini-3-pro", messages=says(f"{LITE}<echo>less</echo>"), stream=stream
                )
        assert (caught.value.status_code, caught.value.code) == (502, "upstream_model_mismatch")
        assert "flash-lite" in caught.value.message
        assert HEADER not in caught.value.response.headers
        assert caught.value.response.headers["x-should-retry"] == "false"
        answer = client.chat.completions.create(model="gemini-3.5-flash-lite", messages=says(f"{LITE}<echo>x</echo>"))
    assert answer.choices[0].message.content == "x"
    assert metric(gateway, MISMATCH) == 14


def test_the_model_list_names_the_site_model_of_each_name(start_web):
    gateway = start_web()
    with client_of(gateway) as client:
        client.chat.completions.create(model="gemini-3-pro", messages=says("<echo>hi</echo>"))
        models = {model.id: model for model in client.models.list()}
    flash = [{"id": "56fdd199312815e2", "name": "3.6 Flash"}]
    assert [models[f"gemini-{version}-flash"].served_by for version in ("2.5", "3.5", "3.6")] == [flash] * 3
    assert [models[f"gemini-{version}-flash"].alias_of for version in ("2.5", "3.6", "3.8")] == [
        "gemini-3.8-flash",
        "gemini-3.8-flash",
        None,
    ]
    assert models["gemini-3-pro-canvas-extended"].served_by == [{"id": "e6fa609c3fa255c0", "name": "3.1 Pro"}]
    assert models["gemini-3-pro-canvas-extended"].alias_of == "gemini-3.1-pro-canvas-extended"
    assert (models["gemini-2.5-pro"].replaced_by, models["gemini-2.5-pro"].served_by) == (
        "gemini-3-pro",
        models["gemini-3-pro"].served_by,
    )
