r"""Writes an answer as Markdown: the model's text, with media and notices as paragraphs of their own.

Example: the text "Here:", an image, and the text "Done." are `Here:\n\n![image](URL)\n\nDone.`
"""

import re
from bisect import bisect_left, bisect_right
from urllib.parse import quote

from protocol.http.context import UNCHANGED, ImageFormat, Links
from protocol.model import Caller, Event, Media, MediaKind, Text, WebImage, Withheld, notice_of

_SPECIAL = re.compile(r"([\\`*_\[\]<>])")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_ALT_SHOWN = 500
_ESCAPED = r"\\\1"


class MarkdownText:
    """The content of one answer, piece by piece."""

    def __init__(self, links: Links, caller: Caller, image_format: ImageFormat = UNCHANGED) -> None:
        """Sign media links for this caller; those of images lead to images in this format."""
        self._links, self._caller, self._image_format = links, caller, image_format
        self.said = 0
        """The length of the model's text so far."""
        self._length = 0
        """The length of the content so far."""
        self._tail = ""
        """The last characters of the content."""
        self._parted = True
        """Whether the next text needs no separator."""
        self._places: list[int] = []
        """Offsets in the model's text of insertions; `_shifts` has the number of characters inserted up to each."""
        self._shifts: list[int] = []

    def add(self, event: Event) -> str:
        """Return the content that an event adds; others than text, media and notices add none."""
        match event:
            case Text():
                return self.add_text(event.text)
            case Media():
                return self.add_media(event, self.sign(event))
            case WebImage():
                return self._show(_image(event.alt, event.url)) if is_web(event.url) else ""
            case Withheld():
                return self._show(notice_of(event.feature))
            case _:
                return ""

    def add_text(self, text: str) -> str:
        """Return the content that the model's text adds."""
        if not text:
            return ""
        shown = text
        if not self._parted:
            self._parted = True
            gap = "\n" if text[0] == "\n" else "\n\n"
            self._insert(gap)
            shown = gap + text
        self._append(text)
        self.said += len(text)
        return shown

    def sign(self, media: Media) -> str:
        """Return the signed link to a media file."""
        image_format = self._image_format if media.ref.kind is MediaKind.IMAGE else UNCHANGED
        return self._links.sign(media.ref, self._caller, image_format)

    def add_media(self, media: Media, url: str) -> str:
        """Return the content that a media file at `url` adds: an image is shown, others are linked."""
        alt = media.alt or media.ref.kind.value
        return self._show(_image(alt, url) if media.ref.kind is MediaKind.IMAGE else _link(alt, url))

    def range_of(self, start: int, end: int) -> tuple[int, int]:
        """Convert a range of the model's text to one of the content."""
        first = start + self._shift(bisect_right(self._places, start))
        last = end + self._shift(bisect_left(self._places, end))
        return min(first, last), last

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
            self._places.append(self.said)
            self._shifts.append(self._length - self.said)

    def _append(self, text: str) -> None:
        self._length += len(text)
        self._tail = (self._tail + text[-2:])[-2:]

    def _shift(self, insertions: int) -> int:
        """Return the number of characters that the first `insertions` have added."""
        return self._shifts[insertions - 1] if insertions else 0


def is_web(url: str) -> bool:
    """Return whether a URL begins with http or https."""
    return _WEB.match(url) is not None


def _image(alt: str, url: str) -> str:
    return "!" + _link(alt or "image", url)


def _link(text: str, url: str) -> str:
    """Return a Markdown link whose text and URL cannot end it early."""
    plain = "".join(c if c.isprintable() else " " for c in text[:_ALT_SHOWN]).strip()
    address = "".join(
        c if c.isprintable() and c not in " ()<>\\" else quote(c, safe="", errors="surrogatepass") for c in url
    )
    return f"[{_SPECIAL.sub(_ESCAPED, plain)}]({address})"
