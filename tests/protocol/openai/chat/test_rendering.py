import pytest

from protocol.model import Caller, Citation, Document, Media, MediaKind, MediaRef, Text, WebImage
from protocol.openai.chat.rendering import Rendering
from tests.protocol.openai.conftest import PlainLinks

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


def test_each_piece_of_media_stands_in_a_paragraph_of_its_own():
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


def test_an_answer_may_begin_with_a_picture_and_lines_are_not_piled_up():
    assert rendered(media("a"))[0] == f"![image]({link('a')})"
    assert rendered(Text(text="x\n\n"), media("a"))[0] == f"x\n\n![image]({link('a')})"
    assert rendered(Text(text="x\n"), media("a"))[0] == f"x\n\n![image]({link('a')})"
    assert rendered(media("a"), Text(text="\ny"))[0] == f"![image]({link('a')})\n\ny"


def test_films_and_music_are_links_that_play_with_entries_of_their_own():
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
def test_what_a_picture_shows_cannot_end_its_link(alt, shown):
    assert rendered(media("a", alt=alt))[0] == f"![{shown}]({link('a')})"


def test_pictures_of_the_web_keep_their_own_url_and_nothing_but_the_web_is_linked():
    content, deltas = rendered(
        WebImage(url="https://x.example/a (1).png?b=<c>", alt="x"),
        WebImage(url="javascript:alert(1)", alt="y"),
    )
    assert content == "![x](https://x.example/a%20%281%29.png?b=%3Cc%3E)"
    assert all(delta.images is None for delta in deltas)


def test_citations_index_the_content_as_it_is_with_what_was_put_in_between():
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


def test_a_citation_waits_for_its_text_and_is_dropped_where_that_never_comes():
    content, deltas = rendered(
        Text(text="one "), cite(0, 7, "a"), cite(0, 3, "b"), Text(text="two"), cite(0, 99, "c"), cite(0, 1, "d")
    )
    assert cited(content, deltas) == [
        ("one two", "https://a.example", "a"),
        ("one", "https://b.example", "b"),
        ("o", "https://d.example", "d"),
    ]


def test_a_document_is_named_beside_the_text():
    _, deltas = rendered(Document(title="T", kind="html"), Text(text="```html\n```"))
    assert (deltas[0].content, deltas[0].document.title, deltas[0].document.kind) == (None, "T", "html")
