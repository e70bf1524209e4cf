"""Turns of more than one step over the replayed site: who answers, conversations, files in, media out, limits."""

import base64
import json
import time

import httpx2 as httpx
import pytest

from tests.replay import frames
from tests.replay.site import MP4, PAGE, PNG, Answer, Scene, html, media, redirect

FLASH, PRO = ("56fdd199312815e2", "3.7 Flash"), ("e6fa609c3fa255c0", "3.1 Pro")
FREE = ("fbb127bbb056c959", "3.6 Flash")
GOOD = Answer(frames.answer("A good answer."))


def answered_by(model, text="An answer.", **options):
    return Answer(frames.answer(text[:2], text, model=model, **options))


def mismatches(stand):
    text = httpx.get(f"{stand.gateway.origin}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("gateway_upstream_model_mismatches_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "in a dict"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", [FLASH, FREE, ("fbb127bbb056c959", "3.9 Flash Extended"), ("0123", "4 Flash")])
def test_a_client_sees_which_model_answered(stand, model, stream, dense):
    stand.begin(Scene(generate=[answered_by(model, dense=dense)]))
    before = mismatches(stand)
    seen = stand.chat("gemini-2.5-flash", stream=stream)
    assert model[1] in seen.headers["x-gateway-upstream-model"]
    stand.poll(lambda: any(model[1] in line for line in stand.lines("request_finished")))
    assert mismatches(stand) == before


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_silent_downgrade_is_counted(stand, stream):
    stand.begin(Scene(generate=[answered_by(FREE)]))
    before = mismatches(stand)
    seen = stand.chat("gemini-3-pro", stream=stream)
    assert seen.text == "An answer."
    assert "Flash" in seen.headers["x-gateway-upstream-model"]
    assert mismatches(stand) == before + 1


@pytest.fixture(scope="module")
def strict_stand(gateway_over):
    return gateway_over('model_mismatch = "refuse"')


@pytest.fixture
def refusing(strict_stand):
    yield strict_stand
    strict_stand.end()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_silent_downgrade_is_retried_on_another_account_by_a_setting(refusing, stream):
    refusing.begin(Scene(generate=[answered_by(FREE), answered_by(PRO, "The real one.")]), accounts=2)
    seen = refusing.chat("gemini-3-pro", stream=stream)
    assert seen.text == "The real one."
    assert "3.1 Pro" in seen.headers["x-gateway-upstream-model"]


def saved(text):
    """Answer in a conversation that the site keeps."""
    return Answer(frames.answer(text, more={25: "AwAAAAAAAAAQ-context"}))


def history(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]


def test_a_continuation_that_is_refused_is_sent_again_as_a_fresh_conversation(stand):
    refused = Answer(frames.body([frames.error(1097)], frames.END))
    stand.begin(Scene(generate=[saved("First answer."), refused, saved("Second answer.")]))
    assert stand.chat(messages=history("first question")).text == "First answer."
    said = history("first question", "First answer.", "second question")
    assert stand.chat(messages=said).text == "Second answer."
    begun, gone_on, fresh = [call.slots for call in stand.site.asked("generate")]
    assert begun[2] == fresh[2] == ["", "", "", None, None, None, None, None, None, ""]
    assert gone_on[2][:3] == ["c_00000000000000a1", "r_00000000000000a1", "rc_00000000000000aa"]
    assert "first question" not in gone_on[0][0]
    assert "first question" in fresh[0][0]
    assert "second question" in fresh[0][0]


def test_conversations_with_the_same_first_message_are_not_shared(stand):
    stand.begin(Scene(generate=[GOOD]))
    for _ in range(2):
        stand.chat(messages=history("the same question"))
    assert {call.slots[2][0] for call in stand.site.asked("generate")} == {""}


def with_picture(text="what is it?"):
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def test_a_file_is_sent_and_named_as_a_browser_does(stand):
    stand.begin(Scene(generate=[GOOD]))
    assert stand.chat(messages=with_picture()).text == "A good answer."
    start, finish = stand.site.asked("upload")
    assert start.headers["push-id"] == PAGE["qKIAYe"]
    assert start.headers["x-tenant-id"] == "bard-storage"
    assert (start.cookies, finish.cookies) == ({}, {})
    assert finish.body == PNG
    [file] = stand.site.asked("generate")[0].slots[0][3]
    assert file[0] == ["/contrib_service/ttl_1d/replayed", 1, None, "image/png"]
    assert file[2:] == [None] * 6 + [[0]]


def test_a_page_without_a_push_id_has_the_known_one(stand):
    page = {name: value for name, value in PAGE.items() if name != "qKIAYe"}
    stand.begin(Scene(page=[html(**page)], generate=[GOOD]))
    assert stand.chat(messages=with_picture()).text == "A good answer."
    assert stand.site.asked("upload")[0].headers["push-id"] == "feeds/mcudyrk2a4khkz"


def test_an_attachment_that_is_refused_is_named_in_the_short_form(stand):
    refused = Answer(frames.body([frames.error(1100)], frames.END))
    stand.begin(Scene(generate=[refused, GOOD]))
    assert stand.chat(messages=with_picture()).text == "A good answer."
    long, short = [call.slots[0][3][0] for call in stand.site.asked("generate")]
    assert len(long) == 9
    assert len(short) == 2
    assert short[0] == [long[0][0]]


def test_an_attachment_refused_in_both_forms_is_an_error_of_the_caller(stand):
    stand.begin(Scene(generate=[Answer(frames.body([frames.error(1100)], frames.END))]), accounts=2)
    seen = stand.chat(messages=with_picture())
    assert 400 <= seen.status < 500
    assert len({call.account for call in stand.site.asked("generate")}) == 1


def test_a_host_without_resumable_uploads_gets_a_multipart_upload(stand, gateway_over):
    other = gateway_over()  # what has worked is kept for as long as a process runs
    other.begin(Scene(upload=[Answer(status=404), Answer(b"/contrib_service/ttl_1d/form")], generate=[GOOD]))
    assert other.chat(messages=with_picture()).text == "A good answer."
    _, form = other.site.asked("upload")
    assert form.headers["content-type"].startswith("multipart/form-data")
    assert PNG in form.body
    assert other.site.asked("generate")[0].slots[0][3][0][0][0] == "/contrib_service/ttl_1d/form"
    other.end()


PREVIEW = "https://lh3.googleusercontent.com/gg-dl/preview"
HOP = "https://work.fife.usercontent.google.com/rd-gg-dl/hop"
FILE = "https://lh3.googleusercontent.com/rd-gg-dl/file"


def plain(text):
    return media(text.encode(), "text/plain")


WAYS = {
    "redirect": {PREVIEW: [redirect(HOP)], HOP: [media(PNG, "image/png")]},
    "text": {PREVIEW: [plain(HOP)], HOP: [media(PNG, "image/png")]},
    "redirect and text": {PREVIEW: [redirect(HOP)], HOP: [plain(FILE)], FILE: [media(PNG, "image/png")]},
    "text and text": {PREVIEW: [plain(HOP + "\n")], HOP: [plain(FILE)], FILE: [media(PNG, "image/png")]},
}
EXPORT = "; SID=sid; HSID=hsid; SSID=ssid; APISID=apisid; SAPISID=sapisid; NID=nid; SIDCC=sidcc; COMPASS=host-only"


def drawn():
    candidate = frames.candidate(
        "Here:\nhttp://googleusercontent.com/image_generation_content/0\n", rich=frames.images(PREVIEW)
    )
    return Answer(frames.body([frames.snapshot(candidate)], frames.END))


@pytest.mark.parametrize("way", WAYS)
def test_a_preview_that_points_elsewhere_is_followed(stand, way):
    stand.begin(Scene(generate=[drawn()], media={url: list(answers) for url, answers in WAYS[way].items()}))
    [image] = stand.client.images.generate(prompt="a fox", response_format="b64_json").data
    assert base64.b64decode(image.b64_json) == PNG


@pytest.mark.parametrize("answer", [redirect("https://evil.example/x"), plain("https://evil.example/x")])
def test_a_preview_that_points_to_another_host_is_not_followed(stand, answer):
    stand.begin(Scene(generate=[drawn()], media={PREVIEW: [answer], "https://evil": [media(PNG, "image/png")]}))
    with pytest.raises(Exception, match="502"):
        stand.client.images.generate(prompt="a fox", response_format="b64_json")
    assert not [call for call in stand.site.calls if "evil" in call.host]


def test_media_is_fetched_with_the_cookies_of_the_domain_and_no_other(stand):
    scene = Scene(generate=[drawn()], media={PREVIEW: [redirect(HOP)], HOP: [media(PNG, "image/png")]})
    stand.begin(scene, cookies=EXPORT)
    stand.client.images.generate(prompt="a fox", response_format="b64_json")
    for call in stand.site.asked("media"):
        assert call.cookies.keys() >= {"__Secure-1PSID", "SID", "HSID", "SSID", "APISID", "SAPISID", "NID", "SIDCC"}
        assert "COMPASS" not in call.cookies


@pytest.mark.parametrize("before", [[], [[frames.progress()]]], ids=["at once", "behind words about a tool"])
def test_a_missing_picture_is_requested_again_without_the_tool(stand, before):
    refused = Answer(frames.body(*before, [frames.error(1003, 3)], frames.END))
    stand.begin(Scene(generate=[refused, drawn()], media={PREVIEW: [media(PNG, "image/png")]}))
    assert "](" in stand.chat("gemini-2.5-flash-imagen", "draw a fox").text
    assert [call.slots[49] for call in stand.site.asked("generate")] == [14, None]


def limit(pair, total, left, reset=None):
    return [list(pair), None, 0, [reset or int(time.time()) + 3600], total, left]


def test_a_limit_of_0_is_unlimited(stand):
    payload = [[limit((1, 11), 0, 0), limit((2, 11), 0, 0), limit((6, 11), 0, 0)]]
    [psid] = stand.begin(Scene(rpcs={"qpEbW": [frames.rpc("qpEbW", payload)]}, generate=[GOOD]))
    assert stand.check(psid)["quota"]["level"] == "ok"
    assert stand.chat().text == "A good answer."
    assert stand.row(psid)["state"] == "ready"


def test_another_signed_in_account_of_the_browser_is_named_in_the_path(stand):
    stand.begin(Scene(generate=[GOOD]), authuser=2)
    assert stand.chat().text == "A good answer."
    assert {call.path for call in stand.site.asked("page")} == {"/u/2/app"}
    [call] = stand.site.asked("generate")
    assert call.path.startswith("/u/2/_/")
    assert call.headers["x-goog-authuser"] == "2"
    assert stand.site.asked("otAQ7b")[0].query["source-path"] == "/u/2/app"


def test_each_turn_carries_its_index_in_the_conversation(stand):
    stand.begin(Scene(generate=[saved("A good answer.")]))
    stand.chat(messages=history("one"))
    stand.chat(messages=history("one", "A good answer.", "two"))
    assert [call.slots[17] for call in stand.site.asked("generate")] == [[[0]], [[1]]]


def test_a_video_in_an_envelope_is_taken_out(stand):
    url = "https://contribution.usercontent.google.com/download?c=" + base64.b64encode(b"response_data").decode()
    there = frames.candidate("Here.", rich=frames.film(url))
    pending = frames.candidate(
        "Working.\nhttp://googleusercontent.com/video_gen_chip/0\n",
        done=False,
        rich={64: [["http://googleusercontent.com/video_gen_chip/0"], "e3136f2f"]},
    )
    envelope = b"\x0a" + bytes([len(MP4)]) + MP4

    def kept(site):
        prompt = site.asked("generate")[-1].slots[0][0]
        return frames.rpc("hNvQHb", [[frames.saved_turn(prompt, there)]])

    generate = [Answer(frames.body([frames.snapshot(pending)], frames.END))]
    scene = Scene(generate=generate, rpcs={"hNvQHb": [kept]}, media={url: [media(envelope, "application/protobuf")]})
    stand.begin(scene)
    seen = stand.chat("gemini-3-pro-video", "a film of the sea")
    [address] = [part.partition(")")[0] for part in seen.text.split("](")[1:]]
    assert httpx.get(address).content == MP4
    assert json.dumps(seen.text).count("googleusercontent") == 0
