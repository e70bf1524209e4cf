r"""Storybooks by a prompt: a model writes the pages and describes their pictures, and an image model draws them.

The events have the form that storybooks of the website have: `Document` with the title, then each page's text and its
picture. Pictures are drawn while the next pages are written, and delivered in the order of the pages:

    '<book title="Fox">\nOnce.\n<pict'               -> Document(title="Fox", kind="markdown"), Text("Once.")
    'ure>A fox</picture>\nThe end.\n</book>'         -> Media(...), Text("\n\n"), Text("The end.")
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

import msgspec

from protocol.model import NO_USAGE, Citation, Document, Event, Finish, Media, Text, Usage

INSTRUCTIONS = (
    "Answer with one short sentence and an illustrated storybook of four to ten pages about what the user asks for. "
    'Write the book between the line <book title="TITLE"> with its title and the line </book>. A page is one or two '
    "short paragraphs of Markdown, and after them a line <picture>DESCRIPTION</picture>, by which an illustrator who "
    "reads nothing else draws the page: name the style, the place and what everybody looks like each time again, and "
    "always alike. Write the book as a whole, also when the user asks to change an earlier one."
)
"""Instructions for the model."""
MISSING = "*(This picture could not be drawn.)*"
"""What a page has in place of a picture that failed."""
_CONCURRENT, _MOST_PICTURES = 3, 24
_BEGIN = re.compile(r'<book title="([^"\n]{0,300})">\s*')
_BEGUN = re.compile(r"<[^<>\n]{0,330}\Z")
_PICTURE, _END = "<picture>", "</book>"
_MARK = re.compile(r"<picture>(.{0,8000}?)</picture>|</book>", re.DOTALL)
_LAST = re.compile(r"\s*(?:<[a-z/]{0,8})?\Z")
"""White space and what may begin a mark, at the end of a text."""


class PagePicture(msgspec.Struct, frozen=True):
    """A picture that belongs to the page so far."""

    description: str


class DrawnPage(msgspec.Struct, frozen=True):
    """What a picture became."""

    media: Media | None = None
    """None: it could not be drawn."""
    usage: Usage = NO_USAGE


Draw = Callable[[str], Awaitable[DrawnPage]]
"""Draws a picture by its description."""


class BookReader:
    """Reads the text of one answer."""

    def __init__(self) -> None:
        """Start before the book."""
        self._held = ""
        self._inside = self._done = self._said = False
        self._parted = False
        """Whether a picture came after the last text of the book."""

    def read(self, text: str, *, last: bool = False) -> Iterator[Document | Text | PagePicture]:
        """Yield the events of the next part of the text; `last`: nothing follows."""
        self._held += text
        if not self._inside and not self._done:
            begin = _BEGIN.search(self._held)
            if begin is None:
                begun = None if last else _BEGUN.search(self._held)
                yield from self._text(begun.start() if begun is not None else len(self._held))
                return
            yield from self._text(begin.start())
            self._held = self._held[begin.end() - begin.start() :]
            self._inside = True
            yield Document(title=begin[1], kind="markdown")
        while self._inside and (mark := _MARK.search(self._held)) is not None:
            yield from self._page(self._held[: mark.start()].rstrip())
            self._held = self._held[mark.end() :]
            if mark[1] is None:
                self._inside, self._done = False, True
            else:
                yield PagePicture(" ".join(mark[1].split()))
                self._parted = True
        if self._inside:
            waiting = self._held.find(_PICTURE)
            shown = self._held[:waiting] if waiting >= 0 else self._held
            end = _LAST.search(shown)
            shown = shown.rstrip() if last or end is None else shown[: end.start()]
            yield from self._page(shown)
            self._held = self._held[len(shown) :] if shown.strip() else self._held
        elif self._done and last and self._held.strip():
            yield Text(f"\n\n{self._held.strip()}")

    def _text(self, length: int) -> Iterator[Text]:
        if length:
            yield Text(self._held[:length])
            self._held = self._held[length:]

    def _page(self, text: str) -> Iterator[Text]:
        """Yield text of a page; white space at its beginning is dropped."""
        if self._parted or not self._said:
            text = text.lstrip()
        if not text:
            return
        if self._parted:
            yield Text("\n\n")
        self._parted, self._said = False, True
        yield Text(text)


class _Book:
    """The events of a book in their order, some of which wait for pictures."""

    def __init__(self, draw: Draw) -> None:
        self._draw, self._slots = draw, asyncio.Semaphore(_CONCURRENT)
        self._waiting: deque[Event | asyncio.Task[DrawnPage]] = deque()
        self.tasks: list[asyncio.Task[DrawnPage]] = []

    def add(self, event: Event | PagePicture) -> None:
        if not isinstance(event, PagePicture):
            self._waiting.append(event)
        elif len(self.tasks) < _MOST_PICTURES:
            # `close` ends it: the generator that yields the events cannot keep a task group open over its yields
            task = asyncio.get_running_loop().create_task(self._drawn(event.description))
            self.tasks.append(task)
            self._waiting.append(task)

    async def _drawn(self, description: str) -> DrawnPage:
        async with self._slots:
            return await self._draw(description)

    async def ready(self, *, last: bool = False) -> AsyncGenerator[Event]:
        """Yield the events up to the first picture that is not drawn yet; `last`: wait for it."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, asyncio.Task):
                if not last and not first.done():
                    return
                drawn = await first
                yield drawn.media if drawn.media is not None else Text(f"\n\n{MISSING}")
            else:
                yield first
            self._waiting.popleft()

    def whole(self, usage: Usage) -> Usage:
        """Return the usage of the text and all pictures."""
        return sum((task.result().usage for task in self.tasks), usage)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def with_pictures(events: AsyncGenerator[Event], draw: Draw) -> AsyncGenerator[Event]:
    """Yield the events of an answer with the pictures of its pages; citations are left out, since marks move them."""
    reader, book = BookReader(), _Book(draw)
    try:
        async for event in events:
            if isinstance(event, Citation):
                continue
            if not isinstance(event, Text | Finish):
                yield event
                continue
            for one in reader.read(event.text if isinstance(event, Text) else "", last=isinstance(event, Finish)):
                book.add(one)
            async for one in book.ready(last=isinstance(event, Finish)):
                yield one
            if isinstance(event, Finish):
                yield msgspec.structs.replace(event, usage=book.whole(event.usage))
    finally:
        await book.close()
