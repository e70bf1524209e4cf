import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http.stop import Bounds, cut
from protocol.model import (
    Caller,
    Citation,
    Document,
    Finish,
    Handle,
    Media,
    MediaKind,
    MediaRef,
    Text,
    Thought,
    Usage,
    Waiting,
    WebImage,
    WorkStarted,
    fold,
)
from protocol.openai.chat.write import CompletionWriter, Head, Rendering
from tests.protocol.conftest import PlainLinks

USAGE = Usage(input_tokens=1, output_tokens=2)
HEAD = Head(id="chatcmpl-1", created=1, model="gemini-3-pro")
NEVER = Bounds(stops=("\0never",))

WORDS = st.text(st.sampled_from("ab \n[](!)S😀"), max_size=8)
LINES = st.text(st.sampled_from("a\n"), max_size=4)
EVENTS = st.lists(
    st.one_of(
        WORDS.map(lambda text: Text(text=text)),
        LINES.map(lambda text: Text(text=text)),
        WORDS.map(lambda text: Thought(text=text)),
        st.builds(
            lambda kind, url, alt: Media(ref=MediaRef(transport="t", account="a", kind=kind, url=url), alt=alt),
            st.sampled_from(MediaKind),
            st.sampled_from(["x", "y"]),
            WORDS,
        ),
        WORDS.map(lambda alt: WebImage(url="https://x.example/a", alt=alt)),
        st.builds(
            lambda start, size: Citation(start=start, end=start + size, url="https://s.example", title="s"),
            st.integers(0, 20),
            st.integers(0, 9),
        ),
        st.just(Document(title="t", kind="html")),
        st.just(Waiting()),
        st.just(WorkStarted(handle=Handle(transport="t", account="a", token="x"))),
    ),
    max_size=12,
)
STOPS = st.lists(st.text(st.sampled_from("abS"), min_size=1, max_size=3), max_size=2)


async def stream(events):
    for event in events:
        yield event


def rendering():
    return Rendering(PlainLinks(), Caller(id="me"))


def bounds(stops=(), tokens=None):
    return Bounds(stops=tuple(stops), tokens=tokens)


async def streamed(events, ends=NEVER, *, usage=False):
    """Return the chunks of a streamed answer."""
    writer = CompletionWriter(HEAD, rendering(), include_usage=usage)
    data = writer.opened()
    async for event in cut(stream([*events, Finish(reason="stop", usage=USAGE)]), ends):
        data += writer.event(event)
    assert writer.finished
    *chunks, done, end = data.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    return [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks]


async def whole(events, ends=NEVER):
    """Return the message of a whole answer."""
    reply = await fold(cut(stream([*events, Finish(reason="stop", usage=USAGE)]), ends))
    return json.loads(CompletionWriter(HEAD, rendering()).whole(reply))["choices"][0]["message"]


def joined(chunks):
    """Return the message that a client makes of chunks."""
    message = {"content": "", "annotations": [], "refusal": None}
    for delta in (chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]):
        for key, value in delta.items():
            if key in {"role", "document"}:
                message[key] = value
            else:
                message[key] = message.get(key, type(value)()) + value
    return {key: value for key, value in message.items() if key != "reasoning_content" or value}


@given(EVENTS, STOPS, st.none() | st.integers(1, 5))
async def test_streamed_chunks_add_up_to_the_whole_answer(events, stops, tokens):
    ends = bounds(stops, tokens)
    assert joined(await streamed(events, ends)) == await whole(events, ends)


@given(EVENTS, st.data())
async def test_chunks_do_not_depend_on_how_the_text_is_split(events, data):
    pieces = []
    for event in events:
        if not isinstance(event, Text):
            pieces.append(event)
            continue
        cuts = sorted(data.draw(st.lists(st.integers(0, len(event.text)), max_size=3)))
        for start, end in zip([0, *cuts], [*cuts, len(event.text)], strict=True):
            pieces.append(Text(text=event.text[start:end]))
    assert joined(await streamed(pieces)) == joined(await streamed(events))


@given(EVENTS)
async def test_all_text_of_the_model_is_present_in_order(events):
    content = (await whole(events))["content"]
    at = 0
    for event in events:
        if isinstance(event, Text):
            at = content.index(event.text, at) + len(event.text)


async def test_a_stop_sequence_is_found_after_a_picture_but_not_across_it():
    picture = Media(ref=MediaRef(transport="t", account="a", kind=MediaKind.IMAGE, url="x"), alt="p")
    link = PlainLinks().sign(picture.ref, Caller(id="me"))
    events = [Text(text="one S"), picture, Text(text="TOP two S"), Text(text="TOP three"), picture]
    for ends, rest in ((bounds(["STOP"]), "TOP two "), (bounds(tokens=2), "TOP ")):
        message = await whole(events, ends)
        assert message["content"] == f"one S\n\n![p]({link})\n\n{rest}\n\n![p]({link})"
        assert len(message["images"]) == 2


async def test_a_stop_sequence_is_found_across_a_citation():
    events = [Text(text="one S"), Citation(start=0, end=3, url="https://s.example", title="s"), Text(text="TOP two")]
    events.insert(2, Citation(start=0, end=5, url="https://t.example", title="t"))
    for message in (await whole(events, bounds(["STOP"])), joined(await streamed(events, bounds(["STOP"])))):
        assert message["content"] == "one "
        assert [entry["url_citation"]["title"] for entry in message["annotations"]] == ["s"]


async def test_annotations_follow_their_text_and_the_document_has_its_own_field():
    events = [
        Document(title="T", kind="html"),
        Text(text="abc"),
        Citation(start=0, end=3, url="https://s.example", title="s"),
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in await streamed(events)]
    citation = {"start_index": 0, "end_index": 3, "url": "https://s.example", "title": "s"}
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"document": {"title": "T", "kind": "html"}},
        {"content": "abc"},
        {"annotations": [{"type": "url_citation", "url_citation": citation}]},
        {},
    ]


async def test_an_answer_without_anything_to_show_has_no_such_fields():
    message = await whole([Text(text="x")])
    assert message == {"role": "assistant", "content": "x", "refusal": None, "annotations": []}


async def test_each_text_chunk_has_the_same_envelope():
    texts = ["hi", '"quoted"\n', "é😀", "half \ud83d", "\0"]
    for usage in (False, True):
        _, *chunks, last = (await streamed([Text(text=text) for text in texts], usage=usage))[: len(texts) + 2]
        assert [chunk["choices"][0]["delta"] for chunk in chunks] == [{"content": text} for text in texts]
        alike = last | {"choices": [last["choices"][0] | {"delta": None, "finish_reason": None}]}
        assert all(chunk | {"choices": [chunk["choices"][0] | {"delta": None}]} == alike for chunk in chunks)
        assert ("usage" in last) is usage


CALLER = Caller(id="me")


def media(name, kind=MediaKind.IMAGE, alt=""):
    return Media(ref=MediaRef(transport="web", account="one", kind=kind, url=name), alt=alt)


def link(name):
    return f"https://gateway.example/gemini_official/media/{name.encode().hex()}"


def rendered(*pieces):
    rendering = Rendering(PlainLinks(), CALLER)
    deltas = [delta for piece in pieces for delta in rendering.render(piece)] + rendering.finish()
    return "".join(delta.content or "" for delta in deltas), deltas


def cited(content, deltas):
    entries = [entry.url_citation for delta in deltas for entry in delta.annotations or ()]
    return [(content[entry.start_index : entry.end_index], entry.url, entry.title) for entry in entries]


def cite(start, end, name="s"):
    return Citation(start=start, end=end, url=f"https://{name}.example", title=name)


def test_each_media_item_is_a_paragraph():
    content, deltas = rendered(
        Text(text="A cat:"), media("a", alt="cat"), media("b"), Text(text="And more."), media("c")
    )
    assert content == f"A cat:\n\n![cat]({link('a')})\n\n![image]({link('b')})\n\nAnd more.\n\n![image]({link('c')})"
    entries = [entry for delta in deltas for entry in delta.images or ()]
    assert [(entry.type, entry.image_url.url, entry.index) for entry in entries] == [
        ("image_url", link("a"), 0),
        ("image_url", link("b"), 1),
        ("image_url", link("c"), 2),
    ]


def test_an_answer_may_begin_with_a_picture_without_empty_lines():
    assert rendered(media("a"))[0] == f"![image]({link('a')})"
    assert rendered(Text(text="x\n\n"), media("a"))[0] == f"x\n\n![image]({link('a')})"
    assert rendered(Text(text="x\n"), media("a"))[0] == f"x\n\n![image]({link('a')})"
    assert rendered(media("a"), Text(text="\ny"))[0] == f"![image]({link('a')})\n\ny"


def test_videos_and_music_are_links_and_have_their_own_entries():
    content, deltas = rendered(media("v", MediaKind.VIDEO), media("m", MediaKind.AUDIO, "a [song]"), media("i"))
    assert content == f"[video]({link('v')})\n\n[a \\[song\\]]({link('m')})\n\n![image]({link('i')})"
    assert [entry.video_url.url for entry in deltas[0].videos] == [link("v")]
    assert [(entry.audio_url.url, entry.index) for entry in deltas[1].audios] == [(link("m"), 0)]
    assert [entry.index for entry in deltas[2].images] == [0]


@pytest.mark.parametrize(
    ("alt", "shown"),
    [
        ("a ](https://evil.example)", r"a \](https://evil.example)"),
        ("line\nbreak\u2028and\0", "line break and"),
        ("`code` *b* _i_ <b> \\", r"\`code\` \*b\* \_i\_ \<b\> \\"),
    ],
)
def test_a_description_cannot_end_its_link(alt, shown):
    assert rendered(media("a", alt=alt))[0] == f"![{shown}]({link('a')})"


def test_web_images_keep_their_url_if_it_is_http():
    content, deltas = rendered(
        WebImage(url="https://x.example/a (1).png?b=<c>", alt="x"),
        WebImage(url="javascript:alert(1)", alt="y"),
    )
    assert content == "![x](https://x.example/a%20%281%29.png?b=%3Cc%3E)"
    assert all(delta.images is None for delta in deltas)


def test_citation_offsets_include_inserted_markdown():
    content, deltas = rendered(
        media("first"),
        Text(text="Rome is old."),
        cite(0, 12, "a"),
        media("a"),
        cite(0, 12, "again"),
        Text(text=" So is Athens."),
        cite(6, 25, "b"),
        cite(12, 26, "c"),
        cite(0, 4, "d"),
        Citation(start=0, end=4, url="javascript:x", title="e"),
    )
    assert cited(content, deltas) == [
        ("Rome is old.", "https://a.example", "a"),
        ("Rome is old.", "https://again.example", "again"),
        (f"s old.\n\n![image]({link('a')})\n\n So is Athens", "https://b.example", "b"),
        (" So is Athens.", "https://c.example", "c"),
        ("Rome", "https://d.example", "d"),
    ]


def test_a_citation_waits_for_its_text_and_is_dropped_without_it():
    content, deltas = rendered(
        Text(text="one "), cite(0, 7, "a"), cite(0, 3, "b"), Text(text="two"), cite(0, 99, "c"), cite(0, 1, "d")
    )
    assert cited(content, deltas) == [
        ("one two", "https://a.example", "a"),
        ("one", "https://b.example", "b"),
        ("o", "https://d.example", "d"),
    ]


def test_a_document_is_named_next_to_the_text():
    _, deltas = rendered(Document(title="T", kind="html"), Text(text="```html\n```"))
    assert (deltas[0].content, deltas[0].document.title, deltas[0].document.kind) == (None, "T", "html")
