"""Captures through the whole gateway: the site's bytes, a real process, a real client. A new capture needs one row."""

import base64
import time
from dataclasses import dataclass

import httpx2 as httpx
import pytest

from tests.replay import frames
from tests.replay.site import CAPTURES, MP4, PAGE, PNG, Answer, Scene, capture, html, media, recorded
from transports.web.codec.batch import decode_batch

SYDNEY = (
    "The capital of Australia is Sydney, a city of five million people on the east coast of the continent, known for "
    "its opera house."
)
CANBERRA = (
    "The capital of Australia is Canberra, in the Australian Capital Territory, known for its parliament house and "
    "lake."
)
FRESH_TOKEN = "AIQ-XXXXXXXXXXXXXXXXXXXXXXXX:1789723276401"
PICTURE = "https://lh3.googleusercontent.com/gg-dl/ABS2GS-token"
FILM = "https://contribution.usercontent.google.com/download?c=" + base64.b64encode(b"response_data-1").decode()
GOOD = frames.answer("A good answer.")


@dataclass(frozen=True)
class Chat:
    """A capture that answers a chat, and the text that a client sees."""

    name: str
    text: str
    streamed: str = ""
    """The text that a stream may begin with, if a later frame replaces it."""


CHATS = [
    Chat("sg-answer-then-1096.txt", "probe ok"),
    Chat("sg-answer-tail37-no-e.txt", "probe ok"),
    Chat("sg-queued.txt", "probe ok"),
    Chat("sg-rewrite.txt", CANBERRA, streamed=SYDNEY),
]


# A capture that refuses, its HTTP status, the model, what the client gets, and how often the site is asked.
REFUSALS = [
    ("sg-rejected-1003.txt", 200, "gemini-2.5-flash-imagen", range(400, 500), 2),
    ("sg-rejected-1003.txt", 200, "gemini-2.5-flash", range(400, 500), 1),
    ("sg-rejected-1096.txt", 200, "gemini-2.5-flash", (502, 503), 2),
    ("http400-plain.txt", 400, "gemini-2.5-flash", range(400, 600), 1),
]


def turn(*candidates, **ids):
    """Answer with the conversation that the last turn began, as it is saved."""

    def made(site):
        prompt = site.asked("generate")[-1].slots[0][0]
        return frames.rpc("hNvQHb", [[frames.saved_turn(prompt, *candidates, **ids)]])

    return made


def listed(**ids):
    """Answer with a list of conversations in which the newest has just begun."""
    return lambda site: frames.rpc("MaZiqc", [None, "token", [frames.saved_chat(int(time.time()), **ids)]])


@pytest.mark.parametrize("cut", frames.CUTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("row", CHATS, ids=lambda row: row.name)
def test_a_captured_chat_is_decoded_to_its_text(stand, row, stream, cut):
    stand.begin(Scene(generate=[Answer(recorded(row.name), cut=cut)]))
    seen = stand.chat(stream=stream)
    assert (seen.status, seen.reason) == (200, "stop")
    if stream and row.streamed:
        assert seen.text == row.text or (row.streamed.startswith(seen.text) and len(seen.text) > 20)
    else:
        assert seen.text == row.text
    assert len(stand.site.asked("generate")) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("name", "status", "model", "statuses", "times"), REFUSALS)
def test_a_captured_refusal_is_an_error(stand, name, status, model, statuses, times, stream):
    stand.begin(Scene(generate=[capture(name, status)]))
    assert stand.chat(model, stream=stream).status in statuses
    assert len(stand.site.asked("generate")) == times


@pytest.mark.parametrize("cut", frames.CUTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_image_turn_shows_its_picture_and_no_placeholder(stand, stream, cut):
    stand.begin(Scene(generate=[Answer(recorded("sg-image.txt"), cut=cut)], media={PICTURE: [media(PNG, "image/png")]}))
    seen = stand.chat("gemini-2.5-flash-imagen", "draw a fox", stream=stream)
    assert seen.reason == "stop"
    assert seen.text.startswith("Here you are.")
    assert "googleusercontent" not in seen.text
    [address] = [part.partition(")")[0] for part in seen.text.split("](")[1:]]
    assert httpx.get(address).content == PNG
    assert seen.headers["x-gateway-upstream-model"] == "Nano Banana 2"
    stand.poll(lambda: any('"Nano Banana 2"' in line for line in stand.lines("request_finished")))


def test_the_images_endpoint_gives_the_bytes_of_the_picture(stand):
    stand.begin(Scene(generate=[capture("sg-image.txt")], media={PICTURE: [media(PNG, "image/png")]}))
    [image] = stand.client.images.generate(prompt="a fox", response_format="b64_json").data
    assert base64.b64decode(image.b64_json) == PNG


def test_a_refused_image_request_is_an_error_of_the_caller(stand):
    stand.begin(Scene(generate=[capture("sg-rejected-1003.txt")]), accounts=2)
    seen = stand.chat("gemini-2.5-flash-imagen", "draw a fox")
    assert 400 <= seen.status < 500
    assert len({call.account for call in stand.site.asked("generate")}) == 1


def test_1096_alone_is_retried_with_a_new_session_and_then_on_another_account(stand):
    refused = capture("sg-rejected-1096.txt")
    stand.begin(Scene(generate=[refused, refused, Answer(GOOD)]), accounts=2)
    assert stand.chat().text == "A good answer."
    first, again, other = [call.account for call in stand.site.asked("generate")]
    assert first == again != other
    assert [call.account for call in stand.site.asked("page")].count(first) >= 2


def test_a_video_is_polled_until_it_is_ready(stand):
    ids = {"cid": "c_98256aabc450ff93", "rid": "r_931fae4dfff02e00"}
    pending = frames.candidate(
        "正在生成视频\nhttp://googleusercontent.com/video_gen_chip/0\n",
        done=False,
        rich={64: [["http://googleusercontent.com/video_gen_chip/0"], "e3136f2f-29f4-4f33-9223-271d4697c60a"]},
    )
    there = frames.candidate("Here it is.\nhttp://googleusercontent.com/video_gen_chip/0\n", rich=frames.film(FILM))
    scene = Scene(
        generate=[capture("sg-video-pending.txt")],
        rpcs={"hNvQHb": [turn(pending, **ids), turn(pending, **ids), turn(there, **ids)]},
        media={FILM: [media(MP4, "video/mp4")]},
    )
    stand.begin(scene)
    seen = stand.chat("gemini-3-pro-video", "a film of the sea")
    assert (seen.status, seen.reason) == (200, "stop")
    assert "googleusercontent" not in seen.text
    [address] = [part.partition(")")[0] for part in seen.text.split("](")[1:]]
    assert httpx.get(address).content == MP4
    polled = stand.site.asked("hNvQHb")
    assert len(polled) == 3
    assert {call.rpcs[0][1][0] for call in polled} == {ids["cid"]}


def test_a_video_accepted_despite_1053_is_not_asked_for_again(stand):
    there = frames.candidate("Here it is.\nhttp://googleusercontent.com/video_gen_chip/0\n", rich=frames.film(FILM))
    scene = Scene(
        generate=[capture("sg-video-1053.txt")],
        rpcs={"MaZiqc": [listed()], "hNvQHb": [turn(there, rid="r_7013976975ffa957")]},
        media={FILM: [media(MP4, "video/mp4")]},
    )
    stand.begin(scene)
    seen = stand.chat("gemini-3-pro-video", "a film of the sea")
    assert (seen.status, seen.reason) == (200, "stop")
    assert "](" in seen.text
    assert len(stand.site.asked("generate")) == 1


VIDEO_TURN = "r_7013976975ffa957"


def broken_off(number):
    return Answer(frames.body([frames.ids(VIDEO_TURN)], [frames.error(number)], frames.END))


@pytest.mark.parametrize("number", [1013, 1096, 1097, 1155, 1157, 4242])
def test_after_any_code_a_video_whose_turn_was_named_is_not_requested_twice(stand, number):
    there = frames.candidate("Here it is.", rich=frames.film(FILM))
    scene = Scene(
        generate=[broken_off(number)],
        rpcs={"MaZiqc": [listed()], "hNvQHb": [turn(there, rid=VIDEO_TURN)]},
        media={FILM: [media(MP4, "video/mp4")]},
    )
    stand.begin(scene, accounts=2)
    seen = stand.chat("gemini-3-pro-video", "a film of the sea")
    assert (seen.status, seen.reason) == (200, "stop")
    assert "](" in seen.text
    assert len(stand.site.asked("generate")) == 1


def test_a_video_without_a_conversation_is_requested_once_per_account(stand):
    stand.begin(Scene(generate=[broken_off(1155)]), accounts=2)
    assert stand.chat("gemini-3-pro-video", "a film of the sea").status == 502
    asked = [call.account for call in stand.site.asked("generate")]
    assert len(asked) == len(set(asked)) == 2


def test_after_1053_the_conversation_is_looked_for_before_a_second_request(stand):
    stand.begin(Scene(generate=[capture("sg-video-1053.txt")], rpcs={"MaZiqc": [capture("batch-MaZiqc.txt")]}))
    stand.chat("gemini-3-pro-video", "a film of the sea")
    kinds = [
        "generate" if stand.site.kind(call) == "generate" else dict(call.rpcs)
        for call in stand.site.calls
        if stand.site.kind(call) in ("generate", "batch")
    ]
    first = kinds.index("generate")
    looked = [at for at, one in enumerate(kinds) if at > first and "MaZiqc" in one]
    assert looked
    assert "generate" not in kinds[first + 1 : looked[0]]


def test_a_video_whose_answer_was_lost_is_found_in_the_list_of_conversations(stand):
    there = frames.candidate("Here it is.", rich=frames.film(FILM))
    scene = Scene(
        generate=[Answer(frames.body(frames.BOOKKEEPING), broken=True)],
        rpcs={"MaZiqc": [capture("batch-MaZiqc.txt"), listed()], "hNvQHb": [turn(there)]},
        media={FILM: [media(MP4, "video/mp4")]},
    )
    stand.begin(scene)
    seen = stand.chat("gemini-3-pro-video", "a film of the sea")
    assert (seen.status, seen.reason) == (200, "stop")
    assert len(stand.site.asked("MaZiqc")) == 2
    assert len(stand.site.asked("generate")) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_token_of_an_http_400_is_used_to_send_the_same_call_again(stand, stream):
    stand.begin(Scene(generate=[capture("http400-xsrf.txt", 400), Answer(GOOD)]))
    assert stand.chat(stream=stream).text == "A good answer."
    stale, fresh = stand.site.asked("generate")
    assert stale.form["at"] == PAGE["SNlM0e"]
    assert fresh.form["at"] == FRESH_TOKEN
    assert fresh.slots[:59] == stale.slots[:59]
    assert stand.chat().text == "A good answer."
    assert stand.site.asked("generate")[-1].form["at"] == FRESH_TOKEN


def test_a_page_without_a_token_gets_one_from_an_http_400(stand):
    page = html(**{name: value for name, value in PAGE.items() if name != "SNlM0e"})
    status = [capture("http400-xsrf.txt", 400)]
    [psid] = stand.begin(Scene(page=[page], batch=status, generate=[Answer(GOOD)]))
    assert stand.chat().text == "A good answer."
    assert "at" not in stand.site.asked("otAQ7b")[0].form
    assert {call.form["at"] for call in stand.site.asked("generate")} == {FRESH_TOKEN}
    assert stand.row(psid)["state"] == "ready"


# A capture of a batch answer, the RPC that it answers, and what `accounts check` says of it, by step.
BATCHES = [
    ("batch-otAQ7b-2026-08-24.txt", "otAQ7b", {"models": ("3.5 Flash-Lite", "3.7 Flash", "3.1 Pro")}),
    ("batch-jSf9Qc-paid.txt", "jSf9Qc", {"account": ("pro",), "quota": ("5h: ", "week: ", "1992 of")}),
    ("batch-jSf9Qc-paid-2.txt", "jSf9Qc", {"account": ("pro",), "quota": ("5h: ", "week: ", "48106 of")}),
]


@pytest.mark.parametrize(("name", "rpc", "says"), BATCHES, ids=[row[0] for row in BATCHES])
def test_a_check_reports_the_values_of_a_batch_capture(stand, name, rpc, says):
    [psid] = stand.begin(Scene(rpcs={rpc: [capture(name)]}))
    found = stand.check(psid)
    for step, words in says.items():
        assert all(word in found[step]["message"] for word in words), found[step]["message"]


def test_the_models_of_an_account_are_listed(stand):
    stand.begin(Scene(rpcs={"otAQ7b": [capture("batch-otAQ7b-2026-08-24.txt")]}, generate=[Answer(GOOD)]))
    stand.chat()
    listed = {model.id: model for model in stand.client.models.list() if model.available}
    assert listed.keys() >= {"gemini-2.5-flash", "gemini-3-pro"}
    assert "3.7 Flash" in str(listed["gemini-2.5-flash"].served_by)
    assert "3.1 Pro" in str(listed["gemini-3-pro"].served_by)


def test_a_denied_account_call_means_signed_out(stand):
    denied = recorded("batch-rejected-CNgdBe.txt").replace(b"CNgdBe", b"otAQ7b")
    [psid] = stand.begin(Scene(rpcs={"otAQ7b": [Answer(denied)]}))
    assert stand.chat().status in (502, 503)
    stand.poll(lambda: stand.row(psid)["state"] == "needs_attention", 5)
    assert stand.site.asked("generate") == []


def test_denied_calls_of_one_rpc_are_read_as_denied():
    answers = decode_batch(recorded("batch-rejected-CNgdBe.txt"), 1 << 20)
    assert answers.denied("CNgdBe")
    assert answers.get("CNgdBe") is None


def test_every_capture_is_replayed():
    code = "".join(path.read_text() for path in (CAPTURES.parent / "replay").glob("*.py"))
    assert [path.name for path in CAPTURES.glob("*.txt") if path.name not in code] == []
