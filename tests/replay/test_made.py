"""Results of turns besides text, over the replayed site: canvases, research, music, films, images, and guests."""

import base64

import httpx2 as httpx
import pytest

from tests.replay import frames
from tests.replay.site import MP4, PAGE, PNG, Answer, Scene, html, media

FILM = "https://contribution.usercontent.google.com/download?c="
PLAYS = FILM + base64.b64encode(b"xx response_data yy").decode()
PREVIEW = FILM + base64.b64encode(b"preview only").decode()
SONG, SONG_FILM = "https://contribution.usercontent.google.com/song.mp3", "https://lh3.googleusercontent.com/song.mp4"
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x64" + bytes(413)
MODES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def document(body, *, identity="doc_1", name="A page", task=None, citations=None):
    """Return an item of `[30]`."""
    opened = [identity, None, name, task, body]
    return opened if citations is None else [*opened, *[None] * 12, [body, [{"44": citations}]]]


def turn_of(*candidates, **options):
    return Answer(frames.body(*[[frames.snapshot(one, **options)] for one in candidates], frames.END))


PAGE_BODY = "```html\n<!doctype html>\n<FollowUp label='stays' query='in code'/>\n<p>A page.</p>\n```\n"


@MODES
@pytest.mark.parametrize("model", ["gemini-3-pro-canvas", "gemini-2.5-flash"])
def test_a_canvas_comes_in_its_fence_also_in_an_ordinary_turn(stand, model, stream):
    half = frames.candidate("Here is your page.", done=False, f30=[document(PAGE_BODY[:40])])
    whole = frames.candidate("Here is your page.", f30=[document(PAGE_BODY)])
    stand.begin(Scene(generate=[turn_of(half, whole)]))
    seen = stand.chat(model, stream=stream)
    assert seen.reason == "stop"
    assert seen.text.startswith("Here is your page.")
    assert PAGE_BODY.strip() in seen.text


@MODES
def test_a_canvas_that_is_rewritten_is_not_an_error(stand, stream):
    other = "```html\n<p>Quite another page.</p>\n```\n"
    first = frames.candidate("Here it is.", done=False, f30=[document(PAGE_BODY)])
    stand.begin(Scene(generate=[turn_of(first, frames.candidate("Here it is.", f30=[document(other)]))]))
    seen = stand.chat("gemini-3-pro-canvas", stream=stream)
    assert (seen.status, seen.reason) == (200, "stop")
    assert ("another" in seen.text) or stream


@MODES
def test_a_picture_that_comes_behind_the_whole_text_is_shown(stand, stream):
    url = "https://lh3.googleusercontent.com/gg-dl/late"
    words = frames.candidate("Here it is.")
    drawn = frames.candidate("Here it is.", rich=frames.images(url))
    stand.begin(Scene(generate=[turn_of(words, drawn)], media={url: [media(PNG, "image/png")]}))
    seen = stand.chat("gemini-2.5-flash-imagen", stream=stream)
    [link] = [part.partition(")")[0] for part in seen.text.split("](")[1:]]
    assert httpx.get(link).content == PNG


@MODES
def test_a_card_of_a_web_video_is_not_a_document(stand, stream):
    card = frames.candidate("See this film.", f30=[["yt_1", None, "A film", None, "A film about foxes"]])
    stand.begin(Scene(generate=[turn_of(card)]))
    assert stand.chat(stream=stream).text.strip() == "See this film."


@MODES
def test_images_of_the_web_are_shown(stand, stream):
    found = [[["https://example.org/fox.jpg"], None, None, None, "A fox"]]
    stand.begin(Scene(generate=[turn_of(frames.candidate("A fox:", rich={1: [found]}))]))
    seen = stand.chat(stream=stream)
    assert "![A fox](https://example.org/fox.jpg)" in seen.text


@MODES
def test_music_is_delivered_as_audio_and_as_video(stand, stream):
    song = [
        [None, [None] * 7 + [["https://lh3.googleusercontent.com/thumb", SONG]]],
        [None, [None] * 7 + [["https://lh3.googleusercontent.com/thumb", SONG_FILM]]],
    ]
    answer = turn_of(frames.candidate("A song.\nhttp://googleusercontent.com/music_gen_chip/0\n", rich={86: song}))
    stand.begin(
        Scene(generate=[answer], media={SONG: [media(MP3, "audio/mpeg")], SONG_FILM: [media(MP4, "video/mp4")]})
    )
    seen = stand.chat(stream=stream)
    assert "googleusercontent" not in seen.text
    links = [part.partition(")")[0] for part in seen.text.split("](")[1:]]
    assert sorted(httpx.get(link).content for link in links) == sorted([MP3, MP4])


def test_of_three_urls_of_a_video_the_playable_one_is_used(stand):
    rich = {59: [[[[[*[None] * 7, ["https://lh3.googleusercontent.com/thumb", PREVIEW, PLAYS]]]]]]}
    there = frames.candidate("Here.", rich=rich)
    pending = frames.candidate("Working.\nhttp://googleusercontent.com/video_gen_chip/0\n", done=False)

    def kept(site):
        prompt = site.asked("generate")[-1].slots[0][0]
        return frames.rpc("hNvQHb", [[frames.saved_turn(prompt, there)]])

    scene = Scene(
        generate=[turn_of(pending)],
        rpcs={"hNvQHb": [kept]},
        media={PLAYS: [media(b"", "video/mp4"), media(MP4, "video/mp4")], PREVIEW: [Answer(status=403)]},
    )
    stand.begin(scene)
    seen = stand.chat("gemini-3-pro-video", "a film")
    [link] = [part.partition(")")[0] for part in seen.text.split("](")[1:]]
    assert httpx.get(link).content == MP4


def test_a_video_refused_with_a_text_is_answered_with_that_text(stand):
    refused = frames.candidate("I cannot make that film.")

    def kept(site):
        prompt = site.asked("generate")[-1].slots[0][0]
        return frames.rpc("hNvQHb", [[frames.saved_turn(prompt, refused)]])

    stand.begin(Scene(generate=[turn_of(refused)], rpcs={"hNvQHb": [kept]}))
    assert stand.chat("gemini-3-pro-video", "a film").text.strip() == "I cannot make that film."


REPORT = "# Foxes\n\nFoxes are red. [cite: 1] They live in woods.\n"
PLAN = {55: ["Foxes", [[None, "Search", "Look for foxes"]], "5 min", ["Start research"]]}


@MODES
def test_a_research_is_planned_confirmed_and_reported(stand, stream):
    plan = frames.candidate("I have made a plan.", rich=PLAN)
    begun = frames.candidate("I am at it.", done=False, f30=[document("", task="agency-placeholder-task-id")])
    source = ["https://www.gstatic.com/f.ico", "https://example.org/fox#:~:text=red", "Foxes"]
    cited = [[[" [cite: 1]"], [[None, None, None, [source]]]]]
    report = document(REPORT, name="Foxes", task="task-1", citations=cited)
    done = frames.candidate("Here is the report.", f30=[report])

    def kept(site):
        prompts = [call.slots[0][0] for call in site.asked("generate")]
        now = begun if len(site.asked("hNvQHb")) < 4 else done
        turns = [frames.saved_turn(prompt, now, rid="r_2") for prompt in prompts[1:]]
        return frames.rpc("hNvQHb", [[*turns, frames.saved_turn(prompts[0], plan)]])

    more = {25: "context"}
    generate = [turn_of(plan, more=more), Answer(frames.body([frames.snapshot(begun, rid="r_2")], frames.END))]
    stand.begin(Scene(generate=generate, rpcs={"hNvQHb": [kept]}))
    seen = stand.chat("gemini-3-pro-deepsearch", "tell me of foxes", stream=stream)
    assert (seen.status, seen.reason) == (200, "stop")
    assert "Foxes are red." in seen.text
    assert "https://example.org/fox" in seen.text
    assert ":~:text" not in seen.text
    first, second = [call.slots for call in stand.site.asked("generate")]
    assert (first[49], first[54], first[55]) == (1, [[[[[1]]]]], [[1]])
    assert second[0][0] == "Start research"
    assert second[2][0] == "c_00000000000000a1"


@pytest.fixture(scope="module")
def guests(gateway_over, site):
    """A gateway that serves guests: without an account there is no proxy, so its hosts are the site's address."""
    return gateway_over(f'[transports.web.hosts]\nsite = "{site.address}"', guest="true")


@MODES
def test_a_guest_is_served_without_token_and_cookies(guests, stream):
    page = html(**{name: value for name, value in PAGE.items() if name != "SNlM0e"})
    guests.begin(Scene(page=[page], generate=[Answer(frames.answer("A guest's answer."))]), accounts=0)
    assert guests.chat("gemini-2.5-flash-free", stream=stream).text == "A guest's answer."
    [call] = guests.site.asked("generate")
    assert call.cookies == {}
    assert not call.form.get("at")
    assert "x-goog-ext-525001261-jspb" not in call.headers


def test_the_original_of_a_picture_is_delivered_when_asked_for(stand):
    url, hop, last = (f"https://lh3.googleusercontent.com/gg/{name}" for name in ("original", "hop", "last"))
    drawn = frames.candidate("Here.", rich=frames.images("https://lh3.googleusercontent.com/gg-dl/preview"))
    plain = [media(hop.encode(), "text/plain")]
    ways = {url: plain, hop: [media(last.encode(), "text/plain")], last: [media(PNG, "image/png")]}
    stand.begin(Scene(generate=[turn_of(drawn)], rpcs={"c8o8Fe": [frames.rpc("c8o8Fe", [url])]}, media=ways))
    more = {"return_origin_image": True}
    [image] = stand.client.images.generate(prompt="a fox", response_format="b64_json", extra_body=more).data
    assert base64.b64decode(image.b64_json) == PNG
