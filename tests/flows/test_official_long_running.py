"""Films and research over the official API: the openai SDK, a gateway and the simulated API over sockets."""

import base64
import json
import re
import signal
from io import BytesIO

import httpx2 as httpx
import openai
import pytest
from PIL import Image

from tests.conftest import BASE_SETTINGS, KEY, OFFICIAL, Gateway

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

FILM, RESEARCH = "gemini-3-pro-video", "gemini-3.5-flash-deepsearch"
PICTURE = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"
    b"\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)


@pytest.fixture(scope="module")
def settings(official_api):
    polling = f'base_url = "{official_api.url}"\npoll_seconds = 0.1'
    return BASE_SETTINGS.format(key=KEY) + OFFICIAL.format(url=official_api.url).replace(
        f'base_url = "{official_api.url}"', polling
    )


@pytest.fixture(scope="module")
def gateway(settings, tmp_path_factory):
    process = Gateway(tmp_path_factory.mktemp("films"), settings)
    yield process
    process.stop()


def client_of(gateway):
    return openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0)


@pytest.fixture
def client(gateway):
    with client_of(gateway) as client:
        yield client


def asked(client, model, prompt, **fields):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **fields)


def ended(client, video):
    return client.videos.poll(video.id, poll_interval_ms=100)


def seen(official_api):
    return httpx.get(f"{official_api.url}/simulator/state").json()["seen"]


def test_a_film_is_made_polled_and_fetched(client):
    video = ended(client, client.videos.create(model=FILM, prompt='<sim ready="0.3"/> a cat', size="720x1280"))
    assert video.status == "completed", video.error
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"


def test_a_picture_begins_to_move(client):
    picture = ("a.png", PICTURE, "image/png")
    video = client.videos.create(model=FILM, prompt='<sim ready="0"/> wave', input_reference=picture)
    assert ended(client, video).status == "completed"


def test_a_long_film_is_passed_on(client):
    prompt = '<sim ready="0" image-bytes="20000000"/> a cat'
    video = ended(client, client.videos.create(model=FILM, prompt=prompt))
    assert len(client.videos.download_content(video.id).read()) == 20_000_000


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({"seconds": "8", "size": "720x1280"}, "text_to_video 9:16 720p 8s"),
        ({"seconds": "4", "size": "1792x1024"}, "text_to_video 16:9 1080p 4s"),
    ],
)
def test_the_length_and_size_of_a_film_are_ordered(client, official_api, fields, order):
    before = seen(official_api).get(f"api_film_{order}", 0)
    video = ended(client, client.videos.create(model=FILM, prompt='<sim ready="0"/> a cat', **fields))
    assert video.status == "completed"
    assert seen(official_api)[f"api_film_{order}"] == before + 1


def test_a_remixed_film_is_edited_by_the_interaction_that_made_it(client, official_api):
    video = ended(client, client.videos.create(model=FILM, prompt='<sim ready="0"/> a cat'))
    before = seen(official_api).get("api_film_edit 16:9 720p again", 0)
    other = ended(client, client.videos.remix(video.id, prompt='<sim ready="0"/> make it slower'))
    assert client.videos.download_content(other.id).read()[4:8] == b"ftyp"
    assert seen(official_api)["api_film_edit 16:9 720p again"] == before + 1


def test_a_film_of_an_earlier_answer_is_edited(client, official_api):
    first = {"role": "user", "content": '<sim ready="0"/> a cat'}
    answer = client.chat.completions.create(model=FILM, messages=[first]).choices[0].message.content
    before = seen(official_api)
    history = [first, {"role": "assistant", "content": answer}, {"role": "user", "content": '<sim ready="0"/> slower'}]
    assert "](" in client.chat.completions.create(model=FILM, messages=history).choices[0].message.content
    after = seen(official_api)
    assert after["api_film_edit 16:9 720p again"] == before.get("api_film_edit 16:9 720p again", 0) + 1
    assert after["api_download"] == before["api_download"]


def test_long_pictures_are_uploaded_for_a_film(client, official_api):
    def picture(color):
        made = BytesIO()
        Image.effect_noise((600, 600), color).save(made, "PNG")
        return f"data:image/png;base64,{base64.b64encode(made.getvalue()).decode()}"

    content = [{"type": "image_url", "image_url": {"url": picture(color)}} for color in (90, 91)]
    content.append({"type": "text", "text": '<sim ready="0"/> dance'})
    answer = client.chat.completions.create(model=FILM, messages=[{"role": "user", "content": content}])
    assert "](" in answer.choices[0].message.content
    assert seen(official_api)["api_film_reference_to_video 16:9 720p"] == 1


def test_a_film_in_a_chat_is_a_link(client):
    answer = asked(client, FILM, '<sim ready="0"/> a cat')
    assert answer.usage.completion_tokens > 1000
    address = answer.choices[0].message.content.rpartition("](")[2].rstrip(")\n")
    assert httpx.get(address).content[4:8] == b"ftyp"


@pytest.mark.parametrize("stream", [False, True])
def test_research_has_a_plan_and_a_report_with_sources(client, stream):
    prompt = '<sim ready="0.3"/> cats'
    if stream:
        deltas = [chunk.choices[0].delta for chunk in asked(client, RESEARCH, prompt, stream=True) if chunk.choices]
        text = "".join(delta.content or "" for delta in deltas)
        thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
        notes = [note for delta in deltas for note in getattr(delta, "annotations", None) or ()]
        places = [(note["url_citation"]["start_index"], note["url_citation"]["end_index"]) for note in notes]
    else:
        message = asked(client, RESEARCH, prompt).choices[0].message
        text, thoughts = message.content, message.reasoning_content
        places = [(note.url_citation.start_index, note.url_citation.end_index) for note in message.annotations]
    assert "1. Find out what is known" in thoughts
    assert "Comparing what they say" in thoughts
    assert "## Conclusion" in text
    assert text[slice(*places[0])].startswith("This report is **simulated**")


@pytest.mark.parametrize("tag", ['drop-after="4"', 'eof-after="4"', 'garbage-after="4"'])
def test_a_broken_stream_of_research_is_resumed(client, official_api, tag):
    before = seen(official_api)
    answer = asked(client, RESEARCH, f'<sim ready="0.6" {tag}/> cats', stream=True)
    deltas = [chunk.choices[0].delta for chunk in answer if chunk.choices]
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert [thoughts.count(words) for words in ("Researching websites", "Writing the report")] == [1, 1]
    assert "## Conclusion" in "".join(delta.content or "" for delta in deltas)
    after = seen(official_api)
    assert after["api_interaction"] == before.get("api_interaction", 0) + 2
    resumed = after.get("api_interaction_resumed", 0) - before.get("api_interaction_resumed", 0)
    assert resumed == 2  # the plan's, and the report's


def test_a_response_in_the_background_is_research(client):
    made = client.responses.create(model=RESEARCH, input='<sim ready="0.3"/> cats', background=True)
    while made.status in {"queued", "in_progress"}:
        made = client.responses.retrieve(made.id)
    assert "## Conclusion" in made.output_text


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        ('refuse="video"', openai.InternalServerError),
        ('refuse="safety"', openai.BadRequestError),
        ('ends="budget_exceeded"', openai.InternalServerError),
        ('ends="incomplete"', openai.InternalServerError),
    ],
)
def test_failures_are_errors(client, tags, error):
    with pytest.raises(error):
        asked(client, FILM, f'<sim ready="0" {tags}/> a cat')


def test_failed_polls_are_repeated(client):
    assert asked(client, FILM, '<sim ready="0" poll-errors="2"/> a cat').choices[0].message.content


def test_a_film_that_is_deleted_is_cancelled_at_the_api(client, official_api):
    before = seen(official_api).get("api_interaction_cancelled", 0)
    video = client.videos.create(model=FILM, prompt='<sim ready="60"/> a cat')
    while client.videos.retrieve(video.id).status == "queued":
        pass
    polls = seen(official_api)["api_interaction_read"]
    while seen(official_api)["api_interaction_read"] == polls:
        pass
    client.videos.delete(video.id)
    while seen(official_api).get("api_interaction_cancelled", 0) == before:
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_an_sdk_repeats_makes_no_second_film(gateway, official_api, stream):
    before = seen(official_api).get("api_interaction", 0)
    messages = [{"role": "user", "content": f'<sim ready="1.5"/> a cat, {stream}'}]
    with openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=3, timeout=0.7) as hasty:
        if not stream:
            answer = hasty.chat.completions.create(model=FILM, messages=messages).choices[0].message.content
        else:
            with pytest.raises(openai.APITimeoutError):
                hasty.with_options(max_retries=0).chat.completions.create(model=FILM, messages=messages)
            again = {"x-stainless-retry-count": "1"}
            chunks = hasty.with_options(timeout=30).chat.completions.create(
                model=FILM, messages=messages, stream=True, extra_headers=again
            )
            answer = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "](" in answer
    assert seen(official_api)["api_interaction"] == before + 1
    with client_of(gateway) as patient:  # who asks again gets another one
        patient.chat.completions.create(model=FILM, messages=messages)
    assert seen(official_api)["api_interaction"] == before + 2


@pytest.mark.parametrize(
    ("number", "model", "begun"),
    [
        (signal.SIGTERM, FILM, 1),
        (signal.SIGKILL, FILM, 1),
        (signal.SIGKILL, RESEARCH, 1),  # its plan
        (signal.SIGKILL, RESEARCH, 2),  # its report
    ],
)
def test_work_outlives_the_gateway_and_is_never_begun_again(official_api, settings, tmp_path, number, model, begun):
    before = seen(official_api).get("api_interaction", 0)
    settings += "[jobs]\nlock_ttl_seconds = 1\n"
    gateway = Gateway(tmp_path, settings)
    try:
        with client_of(gateway) as client:
            if model == FILM:
                made = client.videos.create(model=FILM, prompt='<sim ready="2"/> a cat')
            else:
                made = client.responses.create(model=RESEARCH, input='<sim ready="2"/> cats', background=True)
            while seen(official_api)["api_interaction"] < before + begun:
                pass
            polls = seen(official_api).get("api_interaction_read", 0)
            while seen(official_api).get("api_interaction_read", 0) < polls + 2:  # its handle is stored then
                pass
        gateway.signal(number)
        gateway.status()
    finally:
        gateway.stop()
    gateway = Gateway(tmp_path, settings)
    try:
        with client_of(gateway) as client:
            if model == FILM:
                assert ended(client, made).status == "completed"
            else:
                while made.status in {"queued", "in_progress"}:
                    made = client.responses.retrieve(made.id)
                assert "## Conclusion" in made.output_text
    finally:
        gateway.stop()
    assert seen(official_api)["api_interaction"] == before + (1 if model == FILM else 2)


def film_in(client, dialect, gateway):
    """Return the thoughts and the text of a film that is streamed in a dialect."""
    prompt = '<sim ready="0.4" thoughts="Drawing."/> a cat'
    if dialect == "chat":
        deltas = [chunk.choices[0].delta for chunk in asked(client, FILM, prompt, stream=True) if chunk.choices]
        thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
        return thoughts, "".join(delta.content or "" for delta in deltas)
    if dialect == "responses":
        events = list(client.responses.create(model=FILM, input=prompt, stream=True))
        thoughts = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
        return "".join(thoughts), events[-1].response.output_text
    options = {"thinkingConfig": {"includeThoughts": True}}
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": options}
    address = gateway.base_url.removesuffix("/v1") + f"/v1beta/models/{FILM}:streamGenerateContent?alt=sse"
    answer = httpx.post(address, json=body, headers={"x-goog-api-key": KEY}, timeout=30)
    chunks = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    parts = [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", ())]
    thoughts = "".join(part.get("text", "") for part in parts if part.get("thought"))
    files = [part["fileData"]["fileUri"] for part in parts if "fileData" in part]
    return thoughts, "".join(part.get("text", "") for part in parts if not part.get("thought")) + " ".join(files)


@pytest.mark.parametrize("dialect", ["chat", "responses", "gemini"])
def test_a_streamed_film_has_progress_and_ends_with_its_link(client, gateway, dialect):
    thoughts, text = film_in(client, dialect, gateway)
    assert thoughts.count("Drawing.") == 1
    address = re.search(r"https?://[^\s)\"]+", text)
    assert address is not None, text
    assert httpx.get(address[0], headers={"x-goog-api-key": KEY}).content[4:8] == b"ftyp"
