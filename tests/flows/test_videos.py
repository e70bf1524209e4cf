"""OpenAI's videos, and completions that take minutes: the official SDK, a gateway and the simulator over sockets."""

import signal
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import openai
import pytest

from tests.conftest import BASE_SETTINGS, KEY, SETTINGS, Gateway

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

OTHER_KEY = "sk-test-other-0123456789"
CHAT_KEY = "sk-test-chat-0123456789"
MORE = f"""
[[licenses]]
id = "other"
key = "{OTHER_KEY}"

[[licenses]]
id = "chat-only"
key = "{CHAT_KEY}"
features = ["chat"]

[transports.simulator]
video_seconds = 0.5
research_seconds = 0.5
"""
VIDEO = "gemini-3-pro-video"
RESEARCH = "gemini-3-pro-deepsearch"
PICTURE = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"
    b"\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    settings = SETTINGS.format(key=KEY).replace("[transports.simulator.pace]", f"{MORE}\n[transports.simulator.pace]")
    process = Gateway(tmp_path_factory.mktemp("videos"), settings)
    yield process
    process.stop()


def client_of(gateway, key=KEY):
    return openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0)


@pytest.fixture
def client(gateway):
    with client_of(gateway) as client:
        yield client


@pytest.fixture
def stranger(gateway):
    with client_of(gateway, OTHER_KEY) as client:
        yield client


def finished(client, video):
    return client.videos.poll(video.id, poll_interval_ms=50)


def test_a_video_is_created_polled_and_downloaded(client, tmp_path):
    video = client.videos.create(model=VIDEO, prompt="a cat on a boat", size="720x1280", seconds="4")
    assert (video.object, video.model, video.prompt) == ("video", VIDEO, "a cat on a boat")
    assert (video.size, video.seconds, video.error) == ("720x1280", "4", None)
    assert video.status in ("queued", "in_progress")
    done = finished(client, video)
    assert (done.status, done.progress, done.id) == ("completed", 100, video.id)
    assert done.expires_at > done.completed_at >= done.created_at == video.created_at
    data = client.videos.download_content(video.id).read()
    assert data[4:8] == b"ftyp"
    assert client.videos.retrieve(video.id) == done


def test_create_and_poll_accepts_a_base_model(client):
    done = client.videos.create_and_poll(model="gemini-3-pro", prompt="a dog", poll_interval_ms=50)
    assert (done.status, done.model, done.size) == ("completed", VIDEO, "1280x720")


def test_a_first_frame_is_accepted(client):
    done = client.videos.create_and_poll(
        model=VIDEO, prompt="it moves", input_reference=("cat.png", PICTURE, "image/png"), poll_interval_ms=50
    )
    assert done.status == "completed"


def test_a_video_is_remixed_from_the_description_of_an_earlier_one(client, stranger):
    first = client.videos.create(model=VIDEO, prompt="a cat on a boat", size="720x1280")
    remixed = client.videos.remix(first.id, prompt="at night")
    assert (remixed.remixed_from_video_id, remixed.prompt, remixed.size) == (first.id, "at night", "720x1280")
    assert (remixed.model, first.remixed_from_video_id) == (VIDEO, None)
    done = finished(client, remixed)
    assert (done.status, done.remixed_from_video_id, done.error) == ("completed", first.id, None)
    assert client.videos.download_content(done.id).read()[4:8] == b"ftyp"
    with pytest.raises(openai.NotFoundError):
        stranger.videos.remix(first.id, prompt="at night")
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.videos.remix(first.id, prompt="  ")


def test_a_json_body_is_accepted(gateway, client):
    body = {"prompt": "a fox", "model": VIDEO, "seconds": 8}
    answer = httpx.post(f"{gateway.base_url}/videos", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    assert client.videos.retrieve(answer.json()["id"]).seconds == "8"


def test_a_video_supports_ranges_and_head(gateway, client):
    done = client.videos.create_and_poll(model=VIDEO, prompt="a bird", poll_interval_ms=50)
    url, headers = f"{gateway.base_url}/videos/{done.id}/content", {"Authorization": f"Bearer {KEY}"}
    whole = httpx.get(url, headers=headers)
    head = httpx.head(url, headers=headers)
    part = httpx.get(url, headers={**headers, "Range": "bytes=4-7"})
    assert whole.headers["content-type"] == head.headers["content-type"] == "video/mp4"
    assert head.headers["content-length"] == str(len(whole.content))
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_a_video_that_is_not_ready_is_409_and_a_refused_one_says_why(client):
    slow = client.videos.create(model=VIDEO, prompt='<sim ready="60"/> a whale')
    with pytest.raises(openai.ConflictError) as caught:
        client.videos.download_content(slow.id)
    assert caught.value.code == "video_not_ready"
    client.videos.delete(slow.id)
    refused = finished(client, client.videos.create(model=VIDEO, prompt='<sim refuse="video"/> a whale'))
    assert (refused.status, refused.error.code) == ("failed", "content_filter")
    assert "can't make" in refused.error.message
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(refused.id)
    limited = finished(client, client.videos.create(model=VIDEO, prompt='<sim refuse="safety"/> x'))
    assert limited.status == "failed"


def test_videos_are_listed_page_by_page_and_deleted(gateway, stranger):
    made = [stranger.videos.create(model=VIDEO, prompt=f"number {number}").id for number in range(3)]
    assert [video.id for video in stranger.videos.list(limit=2)] == made[::-1]
    assert [video.id for video in stranger.videos.list(limit=2, order="asc")] == made
    first = stranger.videos.list(limit=2)
    assert (len(first.data), first.has_more) == (2, True)
    deleted = stranger.videos.delete(made[0])
    assert (deleted.id, deleted.deleted, deleted.object) == (made[0], True, "video.deleted")
    with pytest.raises(openai.NotFoundError):
        stranger.videos.retrieve(made[0])
    assert [video.id for video in stranger.videos.list()] == made[:0:-1]


def test_a_video_of_another_license_is_404(client, stranger):
    video = client.videos.create(model=VIDEO, prompt="mine")
    errors = []
    for identity in (video.id, "video_none"):
        for ask in (stranger.videos.retrieve, stranger.videos.delete, stranger.videos.download_content):
            with pytest.raises(openai.NotFoundError) as caught:
                ask(identity)
            errors.append(caught.value.body)
    assert all(error == errors[0] for error in errors)
    assert video.id not in [found.id for found in stranger.videos.list()]
    assert client.videos.retrieve(video.id).id == video.id


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"prompt": " "}, 400, "invalid_value", "prompt"),
        ({"model": "film-2"}, 404, "model_not_found", "model"),
        ({"model": "gemini-2.5-flash"}, 404, "model_not_found", "model"),
        ({"model": "gemini-3-pro-imagen"}, 400, "unsupported_value", "model"),
        ({"size": "1x1"}, 400, "invalid_value", "size"),
        ({"seconds": "60"}, 400, "invalid_value", "seconds"),
        ({"input_reference": ("a.txt", b"words", "text/plain")}, 400, "unsupported_image", "input_reference"),
    ],
)
def test_an_invalid_video_request_is_refused_with_the_field(client, fields, status, code, param):
    with pytest.raises(openai.APIStatusError) as caught:
        client.videos.create(**{"model": VIDEO, "prompt": "a cat", **fields})
    error = caught.value
    assert (error.status_code, error.code, error.param) == (status, code, param)


def test_a_license_without_the_feature_cannot_create_videos(gateway):
    with client_of(gateway, CHAT_KEY) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.videos.create(model=VIDEO, prompt="a cat")
    assert caught.value.code == "license_required"


def chat(client, model, text, **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def test_a_video_may_have_the_prompt_of_an_earlier_picture(client):
    chat(client, "gemini-3-pro-imagen", "a boat that was drawn before")
    video = client.videos.create_and_poll(model=VIDEO, prompt="a boat that was drawn before", poll_interval_ms=50)
    assert (video.status, video.error) == ("completed", None)


def test_a_video_model_answers_in_chat_with_a_link_that_plays(client):
    answer = chat(client, VIDEO, "a cat on a boat")
    content = answer.choices[0].message.content
    link = content[content.index("](") + 2 :].partition(")")[0]
    assert httpx.get(link).content[4:8] == b"ftyp"
    again = client.chat.completions.retrieve(answer.id)
    assert again.choices[0].finish_reason == "stop"
    assert "](http" in again.choices[0].message.content


def test_a_research_streams_its_plan_and_report_and_is_stored(client, stranger):
    chunks = list(chat(client, RESEARCH, "the history of tea", stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    report = "".join(delta.content or "" for delta in deltas)
    assert "Research plan" in thoughts
    assert report.startswith("# the history of tea")
    kept = client.chat.completions.retrieve(chunks[0].id)
    message = kept.choices[0].message
    assert (message.content, message.reasoning_content) == (report, thoughts)
    assert message.annotations
    for annotation in message.annotations:
        cited = annotation.url_citation
        assert report[cited.start_index : cited.end_index].endswith(f"({cited.url})")
    with pytest.raises(openai.NotFoundError):
        stranger.chat.completions.retrieve(chunks[0].id)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve("chatcmpl-none")


def test_a_research_of_a_disconnected_client_is_resumed_by_its_id(client):
    stream = chat(client, RESEARCH, '<sim ready="1"/> tea', stream=True)
    for chunk in stream:
        if getattr(chunk.choices[0].delta, "reasoning_content", None):
            break
    stream.close()
    done = client.chat.completions.retrieve(chunk.id)
    assert done.id == chunk.id
    assert done.choices[0].message.content.startswith("# tea")


def test_a_request_for_an_open_research_waits_until_it_is_finished(client):
    stream = chat(client, RESEARCH, '<sim ready="2"/> tea', stream=True)
    chunk = next(chunk for chunk in stream if getattr(chunk.choices[0].delta, "reasoning_content", None))
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(client.chat.completions.retrieve, chunk.id) for _ in range(3)]
        rest = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        answers = [one.result(60).choices[0].message.content for one in waiting]
    assert answers == [rest] * 3


def test_an_ordinary_completion_is_not_stored(client):
    answer = chat(client, "gemini-3-pro", "<echo>hello</echo>")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(answer.id)


def site_url(site):
    return site.wait_for("Base URL").rpartition(" ")[2].strip()


def site_settings(site):
    cookies = site.wait_for("Account").partition(": ")[2].strip()
    plain = BASE_SETTINGS.format(key=KEY)
    plain = plain.replace("grace_seconds = 10", "grace_seconds = 0.1")
    hosts = "".join(f'{name} = "{site_url(site)}"\n' for name in ("site", "accounts", "upload"))
    return (
        f"{plain}\n[jobs]\nlock_ttl_seconds = 2\n"
        f"[transports.web]\npoll_seconds = 0.2\n[transports.web.hosts]\n{hosts}"
        f'[[transports.web.accounts]]\nid = "one"\nper_minute = 0\ncookies = "{cookies}"\n'
    )


def begin_both(client, site):
    """Begin a video and a research; return their ids when the site works on both."""
    video = client.videos.create(model=VIDEO, prompt='<sim ready="3"/> a cat')
    while not httpx.get(f"{site_url(site)}/simulator/state").json()["seen"].get("rpc_hNvQHb"):
        assert client.videos.retrieve(video.id).status != "failed"
    for chunk in chat(client, RESEARCH, '<sim ready="3"/> tea', stream=True):
        if "Researching" in (getattr(chunk.choices[0].delta, "reasoning_content", None) or ""):
            return video, chunk.id
    raise AssertionError("the research said nothing of its progress")


def seen_at(site, what):
    return httpx.get(f"{site_url(site)}/simulator/state").json()["seen"].get(what, 0)


@pytest.mark.parametrize("answering", [False, True])
def test_a_new_video_job_survives_the_end_of_the_process(start_command, tmp_path, answering):
    site = start_command("simulate", "--port", "0", "--account", "psid:psidts:advanced")
    gateway = Gateway(tmp_path, site_settings(site))
    try:
        with client_of(gateway) as client:
            video = client.videos.create(model=VIDEO, prompt='<sim ready="1" tokens-per-second="8"/> a cat')
            while answering and seen_at(site, "generate") < 2:  # the first was refused, as a first turn
                assert client.videos.retrieve(video.id).status != "failed"
            gateway.signal()
            assert gateway.status() == 0
    finally:
        gateway.stop()
    gateway = Gateway(tmp_path, site_settings(site))
    try:
        with client_of(gateway) as client:
            assert finished(client, video).status == "completed"
    finally:
        gateway.stop()


def test_a_research_whose_client_disconnects_at_the_first_event_is_resumed(start_command, tmp_path):
    site = start_command("simulate", "--port", "0", "--account", "psid:psidts:advanced")
    gateway = Gateway(tmp_path, site_settings(site))
    try:
        with client_of(gateway) as client:
            stream = chat(client, RESEARCH, '<sim ready="1"/> tea', stream=True)
            first = next(stream)
            stream.close()
            done = client.chat.completions.retrieve(first.id)
            assert done.choices[0].message.content.startswith("# tea")
    finally:
        gateway.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_in_the_middle_loses_neither_a_video_nor_a_research(start_command, tmp_path, number):
    site = start_command("simulate", "--port", "0", "--account", "psid:psidts:advanced", "--tokens-per-second", "0")
    gateway = Gateway(tmp_path, site_settings(site))
    try:
        with client_of(gateway) as client:
            video, research = begin_both(client, site)
            gateway.signal(number)
            gateway.status()
    finally:
        gateway.stop()
    asked = httpx.get(f"{site_url(site)}/simulator/state").json()["seen"]["generate"]
    gateway = Gateway(tmp_path, site_settings(site))
    try:
        with client_of(gateway) as client:
            assert finished(client, video).status == "completed"
            assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"
            done = client.chat.completions.retrieve(research)
            assert done.choices[0].message.content.startswith("# tea")
    finally:
        gateway.stop()
    assert httpx.get(f"{site_url(site)}/simulator/state").json()["seen"]["generate"] == asked


def test_a_deprecated_video_model_is_answered_by_its_replacement(client):
    raw = client.videos.with_raw_response.create(model="gemini-2.5-pro-video", prompt="a cat")
    assert raw.parse().model == VIDEO
    assert raw.headers["deprecation"].startswith("@")
    assert "'gemini-3-pro-video' answers" in raw.headers["warning"]
