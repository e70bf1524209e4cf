from base64 import b64encode, urlsafe_b64encode

import pytest

from transports.simulator.encode import layout
from transports.web.codec.candidate import (
    Cited,
    Film,
    Music,
    Opened,
    ResearchPlan,
    ResearchStep,
    SitePicture,
    SourceLink,
    WebPicture,
    read_candidate,
)

SOURCE = [None, None, None, [["https://icon", "https://page/1", "One"]]]
GROUP = [[" [cite: 1]"], [SOURCE]]
CITED = Cited(marker=" [cite: 1]", sources=(SourceLink(url="https://page/1", title="One"),))


def candidate(rich=None, *, sparse=False, text="said", documents=None, state=1):
    fields = {0: "rc_1", 1: [text], 8: [state], 37: [["thought"]]}
    if rich:
        fields[12] = layout(rich, sparse=sparse)
    if documents:
        fields[30] = documents
    return layout(fields, sparse=sparse)


def picture(number):
    return [[None, None, None, [None, None, f"{number}.png", f"https://pics/{number}"]], [f"id-{number}"]]


@pytest.mark.parametrize("sparse", [False, True])
def test_every_rich_field_is_found_in_both_forms(sparse):
    rich = {
        1: [[[["https://found/1"], None, None, None, "a cat"]]],
        6: [["searching", ["https://not-a-word"]]],
        7: [[picture(1), picture(2)]],
        43: [GROUP],
        55: ["The plan", [[None, "Step", "body"]], "ten minutes", ["Start research"]],
        59: [[[[[None, None, None, None, None, None, None, ["https://thumb", "https://film"]]]]]],
        86: [
            [None, [None, None, None, None, None, None, None, ["https://thumb", "https://mp3"]]],
            [None, [None, None, None, None, None, None, None, ["https://thumb", "https://mp4"]]],
        ],
    }
    read = read_candidate(candidate(rich, sparse=sparse, state=2))
    assert (read.rcid, read.text, read.thoughts, read.complete) == ("rc_1", "said", "thought", True)
    assert read.web_pictures == (WebPicture(url="https://found/1", alt="a cat"),)
    assert read.pictures == tuple(SitePicture(url=f"https://pics/{n}", id=f"id-{n}") for n in (1, 2))
    assert read.citations == (CITED,)
    assert read.plan == ResearchPlan(
        title="The plan",
        steps=(ResearchStep(label="Step", body="body"),),
        estimate="ten minutes",
        confirm="Start research",
    )
    assert read.film == Film(url="https://film")
    assert read.music == Music(mp3="https://mp3", mp4="https://mp4")
    assert read.progress == ("searching",)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "place", [{17: ["body", {"44": [GROUP]}]}, {17: ["body", [None] * 43 + [[GROUP]]]}, {5: {43: [GROUP]}}]
)
def test_a_document_is_read_with_its_citations(sparse, place):
    if 5 in place:
        place = {5: layout(place[5], sparse=sparse)}
    entry = layout({0: "doc", 2: "Title", 3: "task", 4: "body", **place}, sparse=sparse)
    read = read_candidate(candidate(documents=[entry], sparse=sparse))
    wanted = Opened(id="doc", title="Title", body="body", task_id="task", marked=True, citations=(CITED,))
    assert read.document == wanted


def test_the_longest_document_is_used_and_cards_are_ignored():
    card = ["video", None, "A film"]
    short = ["a", None, "A", None, "short"]
    long = ["b", None, "B", "agency-placeholder-task-id", "longer body"]
    assert read_candidate(candidate(documents=[card])).document is None
    document = read_candidate(candidate(documents=[card, short, long])).document
    assert (document.id, document.task_id) == ("b", "")


def test_a_running_research_is_a_document_without_a_body():
    document = read_candidate(candidate(documents=[["d", None, "T", "task-1"]])).document
    assert (document.task_id, document.body) == ("task-1", "")


@pytest.mark.parametrize("odd", [None, [], {}, "x", 3, [None] * 50, [["rc"], 5, {"13": 5}], [1, [2], *[[[[]]]] * 40]])
def test_unknown_content_is_ignored(odd):
    read = read_candidate(odd)
    assert (read.rcid, read.text, read.pictures, read.document) == ("", None, (), None)


def test_known_text_is_put_in_front_and_a_card_has_its_own_text():
    assert read_candidate(candidate(text="more"), "known ").text == "known more"
    card = layout({0: "rc", 1: ["http://googleusercontent.com/card_content/0"], 22: ["the card"]}, sparse=True)
    assert read_candidate(card).text == "the card"


def address(content, host="contribution.usercontent.google.com", path="/download", encode=urlsafe_b64encode):
    return f"https://{host}{path}?c={encode(content).decode()}&filename=video.mp4&opi=103135050"


def unpadded(content):
    return urlsafe_b64encode(content).rstrip(b"=")


SERVED = b"\x0a\x0bbard_storage\x12\x0dresponse_data\x1a\x10\xff\xfe\xfb\xef"


def film_of(*addresses):
    return read_candidate(["rc_1", ["a"], *[None] * 10, [{"60": [[[[[*[None] * 7, list(addresses)]]]]]}]]).film.url


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "encode", [urlsafe_b64encode, b64encode, lambda content: urlsafe_b64encode(content).rstrip(b"=")]
)
def test_the_playable_url_of_a_video_is_used_at_any_position(place, encode):
    previews = [
        "https://lh3.googleusercontent.com/gg/thumbnail",
        address(b"\x0a\x0bbard_storage\x12\x07preview"),
    ]
    previews.insert(place, address(SERVED, encode=encode))
    assert film_of(*previews) == address(SERVED, encode=encode)


@pytest.mark.parametrize(
    "other",
    [
        address(SERVED, host="evil.example"),
        address(SERVED, host="contribution.usercontent.google.com.evil.example"),
        address(SERVED, path="/upload"),
        address(b"\x0a\x07preview"),
        "https://contribution.usercontent.google.com/download",
        "https://contribution.usercontent.google.com/download?c=%00%ff!",
        "https://[",
        None,
    ],
)
def test_without_a_playable_url_the_usual_field_is_used(other):
    assert film_of("https://thumb", "https://film", other) == "https://film"
