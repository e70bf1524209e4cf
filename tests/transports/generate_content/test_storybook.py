"""Pages and pictures of a storybook that a model has written between marks."""

import asyncio
from contextlib import aclosing

import pytest

from protocol.model import Document, Finish, Media, MediaKind, MediaRef, Text, Thought, Usage
from transports.generate_content.storybook import MISSING, DrawnPage, with_pictures

BOOK = """Here it is.

<book title="The Fox">
Once  <b>upon</b> a time.

<picture>A red
fox</picture>

Then a < b.
<picture>Snow</picture>

The end.
<picture>A star</picture>
</book>
"""
ONE = Usage(input_tokens=1, output_tokens=2, exact=True)


def media(name):
    return Media(ref=MediaRef(transport="api", account="a", kind=MediaKind.IMAGE, url=f"blob:{name}"))


async def events_of(pieces, draw):
    async def said():
        yield Thought("Hm.")
        for piece in pieces:
            yield Text(piece)
            await asyncio.sleep(0)
        yield Finish(reason="stop", usage=ONE)

    async with aclosing(with_pictures(said(), draw)) as events:
        return [event async for event in events]


def told(events):
    """Return texts as one, and the names of pictures in their places."""
    found = [""]
    for event in events:
        match event:
            case Text(text):
                found[-1] += text
            case Media(ref=ref):
                found += [ref.url, ""]
            case Document(title=title, kind=kind):
                found += [f"{title}/{kind}", ""]
            case _:
                pass
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_pages_and_pictures_alternate_wherever_the_text_is_split(size):
    async def draw(description):
        await asyncio.sleep(0)
        return DrawnPage(media(description), ONE)

    events = await events_of([BOOK[start : start + size] for start in range(0, len(BOOK), size)], draw)
    assert told(events) == [
        *("Here it is.\n\n", "The Fox/markdown", "Once  <b>upon</b> a time.", "blob:A red fox"),
        *("\n\nThen a < b.", "blob:Snow", "\n\nThe end.", "blob:A star", ""),
    ]
    assert isinstance(events[0], Thought)
    assert events[-1].usage == Usage(input_tokens=4, output_tokens=8, exact=True)


async def test_a_picture_that_fails_costs_the_book_nothing_else_and_few_are_drawn_at_once():
    running = most = 0

    async def draw(description):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return DrawnPage() if description == "2" else DrawnPage(media(description), ONE)

    pages = "".join(f"{page}\n<picture>{page}</picture>\n" for page in range(8))
    found = told(await events_of([f'<book title="x">{pages}</book>'], draw))
    assert found[4:7] == ["\n\n1", "blob:1", f"\n\n2\n\n{MISSING}\n\n3"]
    assert [url for url in found if url.startswith("blob:")] == [f"blob:{page}" for page in range(8) if page != 2]
    assert most == 3


@pytest.mark.parametrize("text", ["No book.", "Half <book title=", '<book title="x">One.\n<picture>never ends'])
async def test_an_answer_without_a_whole_book_is_delivered(text):
    async def draw(_):
        raise AssertionError

    events = await events_of([text], draw)
    assert isinstance(events[-1], Finish)
    assert "".join(event.text for event in events if isinstance(event, Text)) == {"<": "One."}.get(text[0], text)


async def test_pictures_are_given_up_when_the_client_leaves():
    given_up = asyncio.Event()

    async def draw(_):
        try:
            await asyncio.sleep(3600)
        finally:
            given_up.set()

    async def said():
        yield Text('<book title="x">One.<picture>1</picture>')
        await asyncio.sleep(0)
        yield Text("Two.")
        await asyncio.sleep(3600)

    events = with_pictures(said(), draw)
    assert isinstance(await anext(events), Document)
    assert await anext(events) == Text("One.")
    reading = asyncio.create_task(anext(events))
    for _ in range(5):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await events.aclose()
    assert given_up.is_set()
