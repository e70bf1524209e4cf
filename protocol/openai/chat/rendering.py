r"""Renders an answer in OpenAI's form: one text with Markdown for media, and separate entries for media and citations.

Streamed and whole answers use the same rendering, piece by piece. The inserted text depends only on the characters
around it, never on the boundaries between pieces, so both give the same result. Example: `Text("Here:")`, an image and
`Text("Done")` become `Here:\n\n![image](URL)\n\nDone`. Offsets of citations are shifted by the inserted characters.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from protocol.http.context import Links
from protocol.model import Caller, Citation, Document, Media, MediaKind, Piece, Text, WebImage
from protocol.openai.chat import response_wire

_SPECIAL = re.compile(r"([\\`*_\[\]<>])")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_ALT_SHOWN = 500
_ESCAPED = r"\\\1"


class Rendering:
    """Renders one answer, piece by piece."""

    def __init__(self, links: Links, caller: Caller) -> None:
        """Sign media links for this caller."""
        self._links, self._caller = links, caller
        self._counts = dict.fromkeys(MediaKind, 0)
        self._said = self._length = 0
        """The lengths of the model's text and of the rendered content."""
        self._tail = ""
        """The last characters of the content."""
        self._parted = True
        """Whether the next text needs no separator."""
        self._places: list[int] = []
        """Offsets in the model's text of insertions; `_shifts` has the number of characters inserted up to each."""
        self._shifts: list[int] = []
        self._cited: list[Citation] = []
        """Citations that are not rendered yet, because their text may be incomplete."""

    def render(self, piece: Piece) -> list[response_wire.Delta]:
        """Return the deltas of a piece, in order."""
        match piece:
            case Text():
                text, more = self.add_text(piece.text)
                return [response_wire.Delta(content=text), *more] if text else more
            case Media():
                return [self._media(piece)]
            case WebImage():
                return (
                    [response_wire.Delta(content=self._show(_image(piece.alt, piece.url)))]
                    if _is_web(piece.url)
                    else []
                )
            case Citation():
                self._cited.append(piece)
                return self._cite()
            case Document():
                return [response_wire.Delta(document=response_wire.DocumentEntry(title=piece.title, kind=piece.kind))]

    def add_text(self, text: str) -> tuple[str, list[response_wire.Delta]]:
        """Return the content that a text adds, and the deltas that follow it."""
        if not text:
            return "", []
        if not self._parted:
            self._parted = True
            gap = "\n" if text[0] == "\n" else "\n\n"
            self._insert(gap)
            shown = gap + text
        else:
            shown = text
        self._append(text)
        self._said += len(text)
        return shown, self._cite() if self._cited else []

    def finish(self) -> list[response_wire.Delta]:
        """Return the remaining citations at the end of the answer, without those whose text was cut off."""
        rest = [citation for citation in self._cited if citation.end <= self._said]
        self._cited.clear()
        return self._annotations(rest)

    def _media(self, media: Media) -> response_wire.Delta:
        kind = media.ref.kind
        url = self._links.sign(media.ref, self._caller)
        index, self._counts[kind] = self._counts[kind], self._counts[kind] + 1
        alt = media.alt or kind.value
        match kind:
            case MediaKind.IMAGE:
                entry = response_wire.ImageEntry(image_url=response_wire.Link(url), index=index)
                return response_wire.Delta(content=self._show(_image(alt, url)), images=[entry])
            case MediaKind.VIDEO:
                video = response_wire.VideoEntry(video_url=response_wire.Link(url), index=index)
                return response_wire.Delta(content=self._show(_link(alt, url)), videos=[video])
            case MediaKind.AUDIO:
                audio = response_wire.AudioEntry(audio_url=response_wire.Link(url), index=index)
                return response_wire.Delta(content=self._show(_link(alt, url)), audios=[audio])

    def _show(self, markdown: str) -> str:
        """Return Markdown as a separate paragraph."""
        ends = len(self._tail) - len(self._tail.rstrip("\n"))
        shown = "\n" * (2 - ends if self._length else 0) + markdown
        self._insert(shown)
        self._parted = False
        return shown

    def _insert(self, text: str) -> None:
        """Record text in the content that is not from the model."""
        if text:
            self._append(text)
            self._places.append(self._said)
            self._shifts.append(self._length - self._said)

    def _append(self, text: str) -> None:
        self._length += len(text)
        self._tail = (self._tail + text[-2:])[-2:]

    def _cite(self) -> list[response_wire.Delta]:
        """Return the next citations whose text is complete."""
        due: list[Citation] = []
        while self._cited and self._cited[0].end <= self._said:
            due.append(self._cited.pop(0))
        return self._annotations(due)

    def _annotations(self, due: Iterable[Citation]) -> list[response_wire.Delta]:
        found = [self._annotation(citation) for citation in due if _is_web(citation.url)]
        return [response_wire.Delta(annotations=found)] if found else []

    def _annotation(self, citation: Citation) -> response_wire.Annotation:
        start = citation.start + self._shift(bisect_right(self._places, citation.start))
        end = citation.end + self._shift(bisect_left(self._places, citation.end))
        return response_wire.Annotation(
            url_citation=response_wire.UrlCitation(
                start_index=min(start, end),
                end_index=end,
                url=citation.url,
                title=citation.title,
            ),
        )

    def _shift(self, insertions: int) -> int:
        """Return the number of characters that the first `insertions` have added."""
        return self._shifts[insertions - 1] if insertions else 0


def _is_web(url: str) -> bool:
    return _WEB.match(url) is not None


def _image(alt: str, url: str) -> str:
    return "!" + _link(alt or "image", url)


def _link(text: str, url: str) -> str:
    """Return a Markdown link whose text and URL cannot end it early."""
    plain = "".join(c if c.isprintable() else " " for c in text[:_ALT_SHOWN]).strip()
    address = "".join(c if c.isprintable() and c not in " ()<>\\" else _quoted(c) for c in url)
    return f"[{_SPECIAL.sub(_ESCAPED, plain)}]({address})"


def _quoted(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
