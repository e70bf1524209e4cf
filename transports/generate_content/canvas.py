r"""Documents by a prompt: the API has no canvas, so the model marks its document, and the mark becomes an event.

The events have the form that documents of the website have: `Document` with title and kind, then the body as text. The
mark and the first line of the body are held back until they are complete:

    'A page. <docum'                          -> Text("A page. ")
    'ent title="Fox">\n```html\n<p>'          -> Document(title="Fox", kind="html"), Text("```html\n<p>")
    'Hi</p>\n```\n</document>'                -> Text("Hi</p>\n```\n")
"""

import re
from collections.abc import AsyncGenerator, Iterator

from protocol.model import Citation, Document, Event, Finish, Text

INSTRUCTIONS = (
    "Answer with one short sentence and one document that does what the user asks for. Write the document between the "
    'line <document title="TITLE"> with its title and the line </document>. Code is a single fenced block with its '
    "language; a web page is one complete HTML file with its styles and scripts. Prose is Markdown without a fence. "
    "Write the document as a whole, also when the user asks to change an earlier one."
)
"""Instructions for the model."""
_BEGIN = re.compile(r'<document title="([^"\n]{0,300})">\s*')
_END = "</document>"
_MARK_BEGUN = re.compile(r"<(?:d(?:o(?:c(?:u(?:m(?:e(?:n(?:t(?: [^>\n]{0,310})?)?)?)?)?)?)?)?)?\Z")
_FENCE = re.compile(r"`{3,}([^`\n]*)\n")
_FENCE_BEGUN = re.compile(r"`{0,2}\Z|`{3,}[^`\n]*\Z")


class DocumentReader:
    """Reads the text of one answer."""

    def __init__(self) -> None:
        """Start before the document."""
        self._held = ""
        self._title: str | None = None
        """The title of a document whose kind is not known yet."""
        self._inside = self._done = False

    def read(self, text: str, *, last: bool = False) -> Iterator[Document | Text]:
        """Yield the events of the next part of the text; `last`: nothing follows."""
        self._held += text
        if not self._done and not self._inside and self._title is None:
            begin = _BEGIN.search(self._held)
            if begin is not None and (begin.end() < len(self._held) or last):
                yield from self.said(begin.start())
                self._title, self._held = begin[1], self._held[begin.end() - begin.start() :]
            else:
                begun = begin or (None if last else _MARK_BEGUN.search(self._held))
                yield from self.said(begun.start() if begun is not None else len(self._held))
        if self._title is not None and (last or _FENCE_BEGUN.match(self._held) is None):
            fence = _FENCE.match(self._held)
            yield Document(title=self._title, kind=(fence[1].strip() or "text") if fence else "markdown")
            self._title, self._inside = None, True
        if self._inside:
            end = self._held.find(_END)
            if end >= 0:
                yield from self.said(end)
                self._held = self._held.removeprefix(_END)
                self._inside, self._done = False, True
            else:
                yield from self.said(len(self._held) - (0 if last else _overlap(self._held)))
        if self._done:
            yield from self.said(len(self._held))

    def said(self, length: int) -> Iterator[Text]:
        """Yield the first characters of what is held."""
        if length:
            yield Text(self._held[:length])
            self._held = self._held[length:]


def _overlap(text: str) -> int:
    """Return how many characters at the end of a text may begin the last mark."""
    return next((size for size in range(len(_END) - 1, 0, -1) if text.endswith(_END[:size])), 0)


async def with_documents(events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    """Yield the events of an answer with its document; citations are left out, since the marks move their places."""
    reader = DocumentReader()
    async for event in events:
        match event:
            case Text(text):
                for made in reader.read(text):
                    yield made
            case Finish():
                for made in reader.read("", last=True):
                    yield made
                yield event
            case Citation():
                pass
            case _:
                yield event
