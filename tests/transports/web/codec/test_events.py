import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import (
    NO_USAGE,
    Capability,
    Citation,
    Document,
    Feature,
    Media,
    MediaKind,
    Text,
    Thought,
    WebImage,
    Withheld,
    estimated_usage,
)
from transports.web.codec.candidate import (
    Candidate,
    Cited,
    Claim,
    Film,
    Music,
    Opened,
    SitePicture,
    SourceLink,
    WebPicture,
)
from transports.web.codec.events import EventBuilder, MediaRefs

FLICKERS = st.sampled_from(["", "```", "\n```", "\\", "\\*"])
PAGE = "https://page/1"


def narrator(capability=Capability.CHAT, **refs):
    return EventBuilder(MediaRefs(transport="web", account="one", capability=capability, **refs))


def now(text="", **fields):
    return Candidate(**{"rcid": "rc", "text": text, "thoughts": "", "complete": False, **fields})


def paper(body, **fields):
    return Opened(**{"id": "doc", "title": "A page", "body": body, **fields})


def picture(number):
    return SitePicture(url=f"https://lh3.googleusercontent.com/{number}", id=f"id{number}")


def said(events, kind=Text):
    return "".join(event.text for event in events if isinstance(event, kind))


def short(events):
    """Return the events with what their media are instead of where, text joined."""
    found = []
    for event in events:
        if isinstance(event, Text) and found and isinstance(found[-1], str):
            found[-1] += event.text
        elif isinstance(event, Text):
            found.append(event.text)
        elif isinstance(event, Media):
            found.append(("media", event.ref.url.rpartition("/")[2]))
        elif isinstance(event, Document):
            found.append(("document", event.title, event.kind))
    return found


def test_a_picture_is_delivered_once_with_the_ids_of_its_original():
    one = narrator(Capability.IMAGEN)
    events = one.update(now("Here"), ("c", "r"))
    for _ in range(3):
        events += one.update(now("Here you are", pictures=(picture(1), picture(2))), ("c", "r"))
    events += one.update(now("Here you are", pictures=(picture(1), picture(2)), complete=True), ("c", "r"))
    events += one.end()
    assert short(events) == ["Here you are", ("media", "1"), ("media", "2")]
    ref = next(event.ref for event in events if isinstance(event, Media))
    assert (ref.transport, ref.account, ref.kind, ref.url) == ("web", "one", MediaKind.IMAGE, picture(1).url)
    assert json.loads(ref.original) == ["r", "rc", "c", "id1"]


def test_a_picture_waits_for_text_that_is_held_back():
    one = narrator()
    events = one.update(now("see `code`", pictures=(picture(1),)))
    assert short(events) == ["see"]
    events += one.update(now("see `code` there", complete=True, pictures=(picture(1),)))
    assert short(events) == ["see `code` there", ("media", "1")]


def test_placeholder_links_are_removed_from_the_text():
    one = narrator(Capability.IMAGEN)
    text = "Here:\n\nhttp://googleusercontent.com/image_generation_content/0\n"
    events = one.update(now(text, pictures=(picture(1),), complete=True))
    assert short(events) == ["Here:\n\n\n", ("media", "1")]


def test_a_picture_turn_answered_with_text_delivers_the_text():
    one = narrator(Capability.IMAGEN)
    assert short(one.update(now("I can't draw that.", complete=True))) == ["I can't draw that."]


@pytest.mark.parametrize("frames", [1, 2, 5, 40])
def test_a_canvas_is_delivered_between_the_texts_around_it(frames):
    one = narrator(Capability.CANVAS)
    body = "```html\n<h1>`Hi`</h1>\n\\n\n```"
    events = one.update(now("Here is `page.html`"))
    for number in range(1, frames + 1):
        part = body[: len(body) * number // frames] + ("\n```" if number < frames else "")
        events += one.update(now("Here is `page.html`", document=paper(part)))
    events += one.update(now("Here is `page.html`", document=paper(body)))
    events += one.update(now("Here is `page.html`\nEnjoy.", document=paper(body), complete=True))
    assert short([*events, *one.end()]) == [
        "Here is `page.html`\n\n",
        ("document", "A page", "html"),
        body + "\n\nEnjoy.",
    ]


def test_a_canvas_streams_as_it_grows():
    one = narrator(Capability.CANVAS)
    events = one.update(now("Here."))
    body = "```python\nprint('the first line of it')\n"
    events += one.update(now("Here.", document=paper(body)))
    assert said(events) == f"Here.\n\n{body}"
    events += one.update(now("Here.", document=paper(f"{body}print(2)")))
    assert said(events) == f"Here.\n\n{body}print(2)"


def test_an_open_fence_is_closed():
    one = narrator(Capability.CANVAS)
    assert said(one.update(now(document=paper("```\nx = 1"), complete=True))) == "```\nx = 1\n```"


def test_a_prose_document_has_no_fence():
    one = narrator(Capability.CANVAS)
    events = one.update(now(document=paper("# Title\n\nWords"), complete=True))
    assert short(events) == [("document", "A page", "markdown"), "# Title\n\nWords"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (paper("```css\na{}\n```"), True),
        (paper("words", marked=True), True),
        (paper("the text of a card"), False),
        (None, False),
    ],
)
def test_a_chat_turn_delivers_only_real_documents(document, expected):
    events = narrator().update(now("text", document=document, complete=True))
    assert any(isinstance(event, Document) for event in events) is expected
    assert said(events).startswith("text")


def test_two_documents_are_both_delivered_whole():
    one = narrator(Capability.CANVAS)
    first = "```a\nas long as it has to be to be settled\n"
    second = f"```b\n{'longer than the first ' * 4}\n```"
    events = one.update(now(document=paper(first, id="a")))
    events += one.update(now(document=paper(f"{first}2", id="a")))
    events += one.update(now(document=paper(second, id="b"), complete=True))
    assert short(events) == [
        ("document", "A page", "a"),
        f"{first}2\n```\n\n",
        ("document", "A page", "b"),
        second,
    ]


def test_a_changed_document_stops_the_stream_and_is_whole_at_the_end():
    one = narrator(Capability.CANVAS)
    events = one.update(now(document=paper("```a\nwhat was said here, and that is so\n")))
    events += one.update(now(document=paper("```a\nwhat was said here, and that is so\n")))
    events += one.update(now("Text.", document=paper("```a\nother\n```"), complete=True))
    events += one.end()
    assert short(events) == [("document", "A page", "a"), "```a\nwhat was said here, and that is so\n"]
    assert short(one.rewritten(NO_USAGE).pieces) == ["Text.\n\n", ("document", "A page", "a"), "```a\nother\n```"]


TEXTS = st.text(st.sampled_from("ab `\\*_\n#😀"), max_size=60)


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS, TEXTS, st.data())
def test_flicker_loses_no_text_of_answer_and_canvas(before, body, after, data):
    body = f"```js\n{body}\n```"
    one = narrator(Capability.CANVAS)
    events = []
    for end in sorted(data.draw(st.lists(st.integers(0, len(before)), max_size=4))):
        events += one.update(now(before[:end] + data.draw(FLICKERS)))
    events += one.update(now(before))
    for end in sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6))):
        events += one.update(now(before, document=paper(body[:end] + data.draw(FLICKERS))))
    for end in sorted(data.draw(st.lists(st.integers(0, len(after)), max_size=4))):
        events += one.update(now(before + after[:end] + data.draw(FLICKERS), document=paper(body)))
    events += one.update(now(before + after, document=paper(body), complete=True))
    expected = short([*events, *one.end()])
    document = expected.index(("document", "A page", "js"))
    rest = "".join(expected[document + 1 :])
    assert rest.startswith(body)
    joined = "".join(expected[:document]) + rest.removeprefix(body)
    assert "".join(joined.split()) == "".join((before + after).split())


BOOK = "http://googleusercontent.com/a/0\n\nOne `x`\n\n---\n\nhttp://googleusercontent.com/a/1\n\nTwo\n\n---\n\nThree"


@pytest.mark.parametrize(
    ("pictures", "wanted"),
    [
        (0, ["One `x`\n\nTwo\n\nThree"]),
        (2, ["One `x`", ("media", "1"), "\n\nTwo", ("media", "2"), "\n\nThree"]),
        (3, ["One `x`", ("media", "1"), "\n\nTwo", ("media", "2"), "\n\nThree", ("media", "3")]),
        (
            4,
            [
                "One `x`",
                ("media", "1"),
                "\n\nTwo",
                ("media", "2"),
                "\n\nThree",
                ("media", "3"),
                ("media", "4"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("early", [False, True])
def test_a_book_alternates_any_number_of_pages_and_pictures(pictures, wanted, step, early):
    one = narrator(Capability.STORYBOOK)
    drawn = tuple(picture(number) for number in range(1, pictures + 1))
    events = one.update(now("A story."))
    for end in range(step, len(BOOK), step):
        events += one.update(now("A story.", document=paper(BOOK[:end]), pictures=drawn if early else ()))
    events += one.update(now("A story.", document=paper(BOOK), pictures=drawn, complete=True))
    assert short([*events, *one.end()]) == ["A story.\n\n", ("document", "A page", "markdown"), *wanted]


def test_a_refused_book_delivers_its_text_and_pictures():
    one = narrator(Capability.STORYBOOK)
    assert short(one.update(now("No.", pictures=(picture(1),), complete=True))) == ["No.", ("media", "1")]


def test_citations_index_all_text_so_far():
    one = narrator()
    cited = (Cited(marker=" [cite: 1]", sources=(SourceLink(url=PAGE, title="One"),)),)
    text = "A fact [cite: 1]. Another [cite: 1]."
    events = []
    for end in range(0, len(text), 5):
        events += one.update(now(text[:end]))
    events += one.update(now(text, citations=cited, complete=True))
    whole = said(events)
    assert whole == f"A fact [[1]]({PAGE}). Another [[1]]({PAGE})."
    places = [(event.start, event.end) for event in events if isinstance(event, Citation)]
    assert [whole[start:end] for start, end in places] == [f"[[1]]({PAGE})"] * 2


def test_code_in_a_canvas_keeps_text_that_resembles_a_marker():
    one = narrator(Capability.CANVAS)
    cited = (Cited(marker="[cite: 1]", sources=(SourceLink(url=PAGE),)),)
    body = "```js\nx = y[cite: 1]\n```"
    assert said(one.update(now("T [cite: 1]", citations=cited, document=paper(body), complete=True))).endswith(body)


def test_web_images_music_and_videos_are_delivered_when_ready():
    one = narrator()
    found = (WebPicture(url="https://x/1.jpg", alt="x"), WebPicture(url="javascript:1"))
    events = one.update(now("t", web_pictures=found, music=Music(mp3="", mp4=""), film=Film(url="")))
    events += one.update(now("t", web_pictures=found, music=Music(mp3="https://a/1", mp4="https://a/2"), complete=True))
    assert [event for event in events if isinstance(event, WebImage)] == [WebImage(url="https://x/1.jpg", alt="x")]
    kinds = [event.ref.kind for event in events if isinstance(event, Media)]
    assert kinds == [MediaKind.AUDIO, MediaKind.VIDEO]


def test_each_progress_line_becomes_one_thought():
    one = narrator()
    events = one.update(now("", thoughts="Hm"))
    events += [*one.add_progress("Running data_analysis_tool…"), *one.add_progress("Running data_analysis_tool…")]
    for _ in range(2):
        events += one.update(now("", thoughts="Hm", progress=("Reading", "Reading")))
    assert said(events, Thought) == "Hm\nRunning data_analysis_tool…\nReading\n"


def test_thoughts_that_flicker_next_to_text_are_correct_at_the_end():
    one = narrator()
    events = one.update(now("text", thoughts="so `x\n```"))
    events += one.update(now("text more", thoughts="so `x` it is"))
    events += one.update(now("text more", thoughts="so `x` it is", complete=True))
    assert said(events, Thought) == "so `x` it is"


def test_a_frame_without_text_keeps_the_earlier_text():
    one = narrator()
    events = [
        *one.update(now("what was said")),
        *one.update(now(None)),
        *one.update(now(None, complete=True)),
        *one.end(),
    ]
    assert said(events) == "what was said"
    assert one.usage(NO_USAGE) == estimated_usage("what was said", "")


def test_a_document_that_was_not_requested_is_withheld_from_a_license_without_it():
    document = paper("```html\n<p>Hi</p>\n```")
    for capability, documents in ((Capability.CHAT, False), (Capability.CHAT, True), (Capability.CANVAS, False)):
        features = tuple(feature for feature in Feature if documents or feature is not Feature.CANVAS)
        one = narrator(capability, features=features)
        events = one.update(now("Look", document=document))
        events += one.update(now("Look here.", document=document))
        events += one.update(now("Look here.", document=document, complete=True))
        events += one.end()
        withheld = [event for event in events if isinstance(event, Withheld)]
        if capability is Capability.CHAT and not documents:
            assert said(events) == "Look here."
            assert withheld == [Withheld(feature=Feature.CANVAS)]
        else:
            assert "<p>Hi</p>" in said(events)
            assert withheld == []


def test_media_belong_to_the_feature_of_what_they_are_a_part_of():
    one = narrator()
    events = one.update(
        now("t", pictures=(picture(1),), music=Music(mp3="https://a/1", mp4="https://a/2"), complete=True)
    )
    assert [(event.ref.kind, event.ref.feature) for event in events if isinstance(event, Media)] == [
        (MediaKind.IMAGE, Feature.IMAGES),
        (MediaKind.AUDIO, Feature.MUSIC),
        (MediaKind.VIDEO, Feature.MUSIC),
    ]
    book = narrator(Capability.STORYBOOK)
    events = book.update(now("t", pictures=(picture(1),), document=paper("One"), complete=True))
    assert [event.ref.feature for event in events if isinstance(event, Media)] == [Feature.STORYBOOK]


def test_a_link_to_media_in_the_text_is_removed_for_a_license_without_them():
    link = "https://lh3.googleusercontent.com/gg-dl/abc=s1024"
    text = f"See ![a cat]({link}) and `{link}`, from the page."
    place = text.index("from the page")
    claim = Claim(text="", ranges=((place, place + 13),), sources=(SourceLink(url=PAGE, title="P"),))
    for feature in (Feature.IMAGES, None):
        features = tuple(one for one in Feature if one is not feature)
        one = narrator(features=features)
        events = [event for end in range(0, len(text), 7) for event in one.update(now(text[:end]))]
        events += [*one.update(now(text, complete=True, claims=(claim,))), *one.end()]
        withheld = [event for event in events if isinstance(event, Withheld)]
        whole = said(events)
        if feature is None:
            assert (whole, withheld) == (text, [])
        else:
            assert whole == "See ![a cat]() and ``, from the page."
            assert withheld == [Withheld(feature=Feature.IMAGES)]
        (cited,) = [event for event in events if isinstance(event, Citation)]
        assert whole[cited.start : cited.end] == "from the page"
