r"""Convert documents of an answer into text: a canvas in its fence, a book's pages with their pictures; no I/O.

Theory of operation. The site sends cumulative snapshots of a document's body; the events returned here are append-only.
The kind of a canvas is the language of its fence, so the body's start is held back until the fence line is complete:

    grow("```ht")                         -> nothing
    grow("```html\n<p>Hi")                -> Document(kind="html"), Text("```html\n<p>Hi")
    grow("```html\n<p>Hi</p>", last=True) -> Text("</p>\n```")   the missing fence is added
"""

import re

from protocol.model import Document, Event, Media, Text
from transports.web import wire
from transports.web.codec.candidate import Opened
from transports.web.codec.markup import Cleaner
from transports.web.codec.text import TextDelta

_FENCE = re.compile(r"(?P<fence>`{3,})(?P<language>[^`\n]*)\n")
_FENCE_BEGUN = re.compile(r"`{0,2}\Z|`{3,}[^`\n]*\Z")
_MARKDOWN = "markdown"
_PAGE_BREAK = re.compile(wire.PAGE_BREAK)
_LONGEST_BREAK = 64


def fenced(body: str) -> bool:
    """Return whether a body is a file inside a fence."""
    return _FENCE.match(body) is not None


class Canvas:
    """Convert one document into events: first its title and kind, then its body as it grows."""

    def __init__(self, identifier: str) -> None:
        """Start the document with this id."""
        self.id = identifier
        self.latest: Opened | None = None
        """The last snapshot that events were returned for."""
        self._delta, self._cleaner = TextDelta(), Cleaner(markup=False)
        self._fence = ""
        self._held = ""
        """The start of the body, until it is clear whether it is a fence."""

    def ready(self, document: Opened, *, last: bool) -> bool:
        """Return whether enough of the body has settled to determine the document's kind."""
        if self.agrees(document):
            self._held += self._fresh(document.body, last=last)
        return last or (bool(self._held) and _FENCE_BEGUN.match(self._held) is None)

    def grow(self, document: Opened, *, last: bool) -> list[Event]:
        """Take a snapshot of the document; return the new events.

        `last` marks the complete document: nothing is held back and the fence is closed.
        """
        text = self._held + self._fresh(document.body, last=last)
        self._held = ""
        events: list[Event] = []
        if self.latest is None:
            opening = _FENCE.match(text)
            self._fence = opening["fence"] if opening else ""
            kind = opening["language"].strip() if opening else _MARKDOWN
            events.append(Document(title=document.title, kind=kind or "text"))
        self.latest = document
        if last and self._fence:
            lines = document.body.rstrip().splitlines()
            if len(lines) < 2 or lines[-1].strip() != self._fence:
                text += self._fence if document.body.endswith("\n") else f"\n{self._fence}"
        return [*events, Text(text=text)] if text else events

    def agrees(self, document: Opened) -> bool:
        """Return whether a snapshot starts with all text returned so far."""
        return self._delta.extended_by(document.body)

    def _fresh(self, body: str, *, last: bool) -> str:
        if not last:
            return self._cleaner.push(self._delta.push(body))
        return self._cleaner.push(self._delta.flush(body)) + self._cleaner.flush()


class Book:
    """Convert a storybook into events: each page's text, then its picture.

    The next page is held back until the picture has arrived or the book is complete.
    """

    def __init__(self, identifier: str, pictures: list[Media]) -> None:
        """Start the book with this id; the caller appends to `pictures` as they arrive."""
        self.id = identifier
        self.latest: Opened | None = None
        self._pictures = pictures
        self._delta, self._cleaner = TextDelta(), Cleaner()
        self._held = ""
        """Text after a page that waits for its picture, or text that may be a page break."""
        self._shown = 0
        self._turned = True
        """A page has just started."""

    def ready(self, document: Opened, *, last: bool) -> bool:
        """Return whether the book has any text."""
        return bool(document.body) or last

    def agrees(self, document: Opened) -> bool:
        """Return whether a snapshot starts with all text returned so far."""
        return self._delta.extended_by(document.body)

    def grow(self, document: Opened, *, last: bool) -> list[Event]:
        """Take a snapshot of the book; return the new events in page order."""
        events: list[Event] = []
        if self.latest is None:
            events.append(Document(title=document.title, kind=_MARKDOWN))
        self.latest = document
        added = self._delta.flush(document.body) if last else self._delta.push(document.body)
        self._held += self._cleaner.push(added) + (self._cleaner.flush() if last else "")
        while end := _PAGE_BREAK.search(self._held):
            events += self._page_text(self._held[: end.start()].rstrip())
            self._held = self._held[end.start() :]
            if self._shown >= len(self._pictures) and not last:
                return events  # the page waits for its picture
            events += self._pictures[self._shown : self._shown + 1]
            self._shown = min(self._shown + 1, len(self._pictures))
            self._held = self._held.removeprefix(end.group())
            events.append(Text(text="\n\n"))
            self._turned = True
        settled = max(0, len(self._held) - _LONGEST_BREAK)
        events += self._page_text(self._held[:settled])
        self._held = self._held[settled:]
        if last:
            events += self._page_text(self._held.rstrip())
            self._held = ""
            events += self._pictures[self._shown :]
            self._shown = len(self._pictures)
        return events

    def _page_text(self, text: str) -> list[Event]:
        """Return text of a page; white space at the start of a page is dropped."""
        text = text.lstrip() if self._turned else text
        self._turned = self._turned and not text
        return [Text(text=text)] if text else []
