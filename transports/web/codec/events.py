"""Convert the growing snapshots of a candidate into events, each piece of content once; no I/O. Source: "Response".

Every frame carries the whole candidate so far: text, thoughts, pictures, perhaps a document. `EventBuilder` compares
it with what it already returned and returns only what is new:

    update(text="It is", thoughts="Hm.")                       -> Thought("Hm."), Text("It is")
    update(text="It is a cat.", thoughts="Hm.")                -> Text(" a cat.")
    update(text="It is a cat.", pictures=[p], complete=True)   -> Media(p)
    end()                                                      -> nothing: the candidate was complete

The text passes through three filters in this order: `TextDelta` (what is new and no longer flickers), `Cleaner` (site
markup removed), `Prose` (citation markers replaced by links). Each may hold back the end of the text, so pictures are
returned once no filter holds text back: they must follow the text that they belong to. A document (canvas, book) is
inserted where the text stopped when the document appeared; the rest of the text follows after the document.

The site may rewrite text that was already returned. Then nothing more is returned until the text matches again; if the
complete answer still differs, `rewritten` returns the whole answer for clients that can replace it.
"""

import re

import msgspec

from protocol.model import (
    Capability,
    Citation,
    Event,
    Feature,
    Media,
    MediaKind,
    MediaRef,
    Piece,
    Rewritten,
    Text,
    Thought,
    Usage,
    WebImage,
    Withheld,
    estimated_usage,
)
from transports.web.codec.candidate import Candidate, Opened
from transports.web.codec.documents import Book, Canvas, fenced
from transports.web.codec.markup import Cleaner, clean
from transports.web.codec.media_links import LinkRemover
from transports.web.codec.text import Prose, ScriptText, TextDelta

_SHAKY = re.compile(r"\s*(?:`{3,}|\\.?)\s*\Z")
"""The end of a text that may disappear in the next frame, even if it was in several frames before."""

_MEDIA = (Feature.IMAGES, Feature.VIDEO, Feature.MUSIC)

_WINDOW = 64
"""Number of characters at the end of a text that `_SHAKY` is searched in."""


class MediaRefs(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of media references that are the same for a whole answer."""

    transport: str = ""
    account: str = ""
    capability: Capability = Capability.CHAT
    features: tuple[Feature, ...] = tuple(Feature)
    """The features that the caller's license includes."""


class EventBuilder:
    """Convert the candidate snapshots of one answer into events."""

    def __init__(self, refs: MediaRefs) -> None:
        """Start an empty answer."""
        self._refs = refs
        self._asked = refs.capability in {Capability.CANVAS, Capability.STORYBOOK}
        """The caller asked for a document."""
        self._book = Feature.STORYBOOK if refs.capability is Capability.STORYBOOK else None
        self._prose = Prose()
        self._unlinked = next((feature for feature in _MEDIA if feature not in refs.features), None)
        """A feature that the license lacks, for which links to media are removed."""
        cleaner = Cleaner if self._unlinked is None else LinkRemover
        self._text, self._cleaner, self._thinking = TextDelta(), cleaner(), Thinking(cleaner())
        self._last = Candidate(rcid="", text="", thoughts="", complete=False)
        self._opened: Canvas | Book | None = None
        self._paused = self._begun = False
        """Whether the text waits for the document, and whether the document has started."""
        self._withheld = False
        """The site made a document that the caller does not get."""
        self._seen_before = False
        """An earlier frame had a document."""
        self._seen_media: set[str] = set()
        self._pictures: list[Media] = []
        """All pictures received; a book shows its own."""
        self._shown = 0
        self._closed_with: Opened | None = None
        """The document, once it was returned completely."""
        self._cited: set[tuple[int, int, str]] = set()
        self._final: list[Event] | None = None
        """The events of the whole answer, if the site rewrote it."""
        self._sent_text: list[str] = []
        self._sent_thoughts: list[str] = []
        """All text and all thoughts returned so far."""
        self._text_alone = False
        """Text is the only part of the candidate that `grow` has to process."""
        self.begun = False
        """Part of the answer was returned; progress lines do not count."""

    def update(self, now: Candidate, address: tuple[str, str] = ("", "")) -> list[Event]:
        """Take a snapshot of the candidate; return the new events. `address` is the conversation id and the turn id.

        If the snapshot contradicts what was returned, return nothing more until a later snapshot agrees again.
        """
        before = self._last
        self._withheld = self._withheld or (self._found(now) is not None and self._document(now) is None)
        now = self._last = msgspec.structs.replace(
            now,
            text=before.text if now.text is None else now.text,
            thoughts=now.thoughts or before.thoughts,
            document=now.document if self._document(now) else before.document,
            citations=now.citations or before.citations,
            claims=now.claims or before.claims,
            web_pictures=now.web_pictures or before.web_pictures,
            music=now.music or before.music,
            film=now.film or before.film,
        )
        self._prose.learn(now.citations)
        events = self._thinking.update(now.thoughts, last=now.complete)
        self.begun = self.begun or bool(events)
        events += self._thinking.add_progress(now.progress)
        settled = now.complete or now.text == before.text
        cid, rid = address
        for picture in now.pictures:
            if self._first(picture.id or picture.url):
                known = cid and rid and now.rcid and picture.id
                original = msgspec.json.encode([rid, now.rcid, cid, picture.id]).decode() if known else ""
                self._pictures.append(Media(ref=self._ref(MediaKind.IMAGE, picture.url, original, self._book)))
        if not self._contradicts(now):
            events += self._write(now, settled=settled)
        if now.complete:
            events += self._cite(now)
        waiting = self._prose.holding or self._cleaner.holding or (not settled and self._text.behind(now.text or ""))
        if now.complete or not waiting:
            events += self._show(now)
        self._count(events)
        self.begun = self.begun or not all(isinstance(event, Thought) for event in events)
        shown = not (now.web_pictures or now.music or now.film) and self._shown == len(self._pictures)
        self._text_alone = shown and now.document is None and not now.complete
        return events

    def grow(self, text: str, address: tuple[str, str]) -> list[Event]:
        """Take a snapshot in which only the candidate's text has changed; return the new events."""
        now = msgspec.structs.replace(self._last, text=text)
        if not self._text_alone:
            return self.update(now, address)
        self._last = now
        added = self._cleaner.push(self._text.push(text))
        if not added:
            return []
        events: list[Event] = [*self._prose.push(added)]
        self._count(events)
        self.begun = self.begun or bool(events)
        return events

    def add_progress(self, line: str) -> list[Event]:
        """Take a progress line of the site; return it as a thought the first time."""
        events = self._thinking.add_progress((line,))
        self._count(events)
        return events

    def end(self) -> list[Event]:
        """Complete the answer; return everything that was held back."""
        last = self._last
        events = [] if last.complete else self.update(msgspec.structs.replace(last, complete=True))
        if self._contradicts(self._last) or self._thinking.contradicted_by(self._last.thoughts):
            # the events of the whole answer, as if it had arrived in one frame
            again = EventBuilder(self._refs)
            again._pictures = list(self._pictures)
            again._seen_media = {picture.id or picture.url for picture in self._last.pictures}
            self._final = again.update(self._last)
            sent, whole = "".join(self._sent_text), _text(self._final)
            if self._document(last) is None and len(whole) > len(sent) and whole.startswith(sent):
                # only text that was held back differs, so what follows it can still be sent
                cited = [event for event in self._final if isinstance(event, Citation) and event.start >= len(sent)]
                rest: list[Event] = [Text(text=whole[len(sent) :]), *cited]
                self._count(rest)
                events += rest
        return events

    def rewritten(self, prompt: Usage) -> Rewritten | None:
        """Return the whole answer if it differs from what was returned, else None. Call this after `end`."""
        if self._final is None:
            return None
        thoughts = "".join(self._sent_thoughts)
        if self._thinking.contradicted_by(self._last.thoughts):
            thoughts = "".join(f"{line}\n" for line in self._thinking.lines) + clean(self._last.thoughts)
        pieces = tuple(event for event in self._final if isinstance(event, Piece))
        sent = ("".join(self._sent_text), "".join(self._sent_thoughts))
        if (_text(self._final), thoughts) == sent and all(isinstance(piece, Text) for piece in pieces):
            return None  # only text that was held back has changed
        return Rewritten(
            pieces=pieces,
            thoughts=thoughts,
            usage=estimated_usage(_text(self._final), thoughts, prompt),
        )

    def usage(self, prompt: Usage) -> Usage:
        """Return the token usage of the answer returned so far; `prompt` is that of its prompt."""
        return estimated_usage("".join(self._sent_text), "".join(self._sent_thoughts), prompt)

    def _count(self, events: list[Event]) -> None:
        self._sent_text += [event.text for event in events if isinstance(event, Text)]
        self._sent_thoughts += [event.text for event in events if isinstance(event, Thought)]

    def _contradicts(self, now: Candidate) -> bool:
        """Return whether text or document contradict what was returned before."""
        if not self._text.extended_by(now.text or ""):
            return True
        document = self._document(now)
        if document is None or self._opened is None:
            return False
        if self._closed_with is not None:
            return (document.id, document.body) != (self._closed_with.id, self._closed_with.body)
        return self._begun and document.id == self._opened.id and not self._opened.agrees(document)

    def _cite(self, now: Candidate) -> list[Event]:
        """Return a citation for each claim whose text was returned."""
        if not now.claims:
            return []
        text, agreed = now.text or "", self._text.common(now.text or "")
        script = ScriptText(text)
        found: set[tuple[int, int, str, str]] = set()
        for claim in now.claims:
            for start, end in script.find(claim):
                kept = self._cleaner.map_index(start), self._cleaner.map_index(end)
                bounds = self._prose.range_of(*kept) if end <= agreed else None
                if bounds is not None:
                    found |= {(*bounds, source.url, source.title) for source in claim.sources}
        events: list[Event] = []
        for start, end, url, title in sorted(found):
            if (start, end, url) not in self._cited and url.startswith(("http://", "https://")):
                self._cited.add((start, end, url))
                events.append(Citation(start=start, end=end, url=url, title=title))
        return events

    def _found(self, now: Candidate) -> Opened | None:
        """Return the candidate's document if it is a part of the answer; not cards or long-running work read later."""
        document = now.document
        if document is None or not document.body or self._refs.capability.long_running:
            return None
        return document if self._asked or document.marked or fenced(document.body) else None

    def _document(self, now: Candidate) -> Opened | None:
        """Return the candidate's document if the caller gets it."""
        return self._found(now) if self._asked or Feature.CANVAS in self._refs.features else None

    def _write_text(self, *, last: bool) -> list[Event]:
        text = self._last.text or ""
        added = self._text.flush(text) if last else self._text.push(text)
        return [*self._prose.push(self._clean(added, last=last)), *(self._prose.flush() if last else ())]

    def _clean(self, added: str, *, last: bool) -> str:
        return self._cleaner.push(added) + (self._cleaner.flush() if last else "")

    def _write(self, now: Candidate, *, settled: bool) -> list[Event]:
        """Return text and document: the text received before the document started, the document, then the rest."""
        document = self._document(now)
        if document is None:
            return self._write_text(last=now.complete)
        events: list[Event] = []
        if not self._paused:
            late, self._seen_before = self._seen_before, True
            if not (late or settled):
                return self._write_text(last=False)
            self._paused = True
            # the text before the document
            text = now.text or ""
            shaky = None if now.complete else _SHAKY.search(text, max(0, len(text) - _WINDOW))
            text = text[: shaky.start()] if shaky else text
            added = self._text.flush(text) if settled else self._text.push(text)
            events += [*self._prose.push(self._clean(added, last=False) + self._cleaner.part()), *self._prose.flush()]
        if not self._begun:
            if self._opened is None or self._opened.id != document.id or not self._opened.agrees(document):
                self._opened = self._open(document)
            if not self._opened.ready(document, last=now.complete):
                return events
            self._begun = True
            events += self._prose.verbatim("\n\n" * self._prose.any)
        assert self._opened is not None, "a document is open"  # noqa: S101
        events += self._grow(self._opened, document, last=now.complete)
        if now.complete:
            events += self._behind_document(now)
        return events

    def _open(self, document: Opened) -> Canvas | Book:
        if self._book is not None:
            return Book(document.id, self._pictures)
        return Canvas(document.id)

    def _grow(self, opened: Canvas | Book, document: Opened, *, last: bool) -> list[Event]:
        """Return what is new in the document; if another document became the longest, append that one whole."""
        if self._closed_with is not None:
            return []
        self._closed_with = document if last else None
        another = document.id != opened.id
        own = (opened.latest or document) if another else document
        if not another:
            return self._verbatim(opened.grow(own, last=last))
        if not last:
            return []
        events = self._verbatim(opened.grow(own, last=True))
        return [*events, *self._prose.verbatim("\n\n"), *self._verbatim(self._open(document).grow(document, last=True))]

    def _verbatim(self, events: list[Event]) -> list[Event]:
        sent: list[Event] = []
        for event in events:
            sent += self._prose.verbatim(event.text) if isinstance(event, Text) else [event]
        return sent

    def _behind_document(self, now: Candidate) -> list[Event]:
        added = self._clean(self._text.flush(now.text or ""), last=True)
        if not added.strip():
            self._prose.skip(len(added))
            return []
        spoken = added.lstrip("\n")
        events = self._prose.verbatim("\n\n")
        self._prose.skip(len(added) - len(spoken))
        return [*events, *self._prose.push(spoken), *self._prose.flush()]

    def _show(self, now: Candidate) -> list[Event]:
        """Return new pictures, music and videos."""
        events: list[Event] = [
            WebImage(url=found.url, alt=found.alt)
            for found in now.web_pictures
            if found.url.startswith(("http://", "https://")) and self._first(found.url)
        ]
        if self._book is None or (now.complete and self._opened is None):
            events += self._pictures[self._shown :]
            self._shown = len(self._pictures)
        media: list[MediaRef] = []
        if now.music is not None:
            found = (MediaKind.AUDIO, now.music.mp3), (MediaKind.VIDEO, now.music.mp4)
            media += [self._ref(kind, url, part_of=Feature.MUSIC) for kind, url in found]
        if now.film is not None and not self._refs.capability.long_running:
            media.append(self._ref(MediaKind.VIDEO, now.film.url))
        events += [Media(ref=ref) for ref in media if self._first(ref.url)]
        if now.complete and self._withheld:
            events.append(Withheld(feature=Feature.CANVAS))
        if now.complete and self._unlinked is not None and self._cleaner.removed:
            events.append(Withheld(feature=self._unlinked))
        return events

    def _first(self, name: str) -> bool:
        """Record a media id or URL; return whether it is new."""
        if not name or name in self._seen_media:
            return False
        self._seen_media.add(name)
        return True

    def _ref(self, kind: MediaKind, url: str, original: str = "", part_of: Feature | None = None) -> MediaRef:
        refs = self._refs
        return MediaRef(
            transport=refs.transport, account=refs.account, kind=kind, url=url, original=original, part_of=part_of
        )


def _text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


class Thinking:
    """Convert snapshots of thoughts and progress lines into thought events."""

    def __init__(self, cleaner: Cleaner) -> None:
        """Start without thoughts; `cleaner` removes what is not for people."""
        self._delta, self._cleaner = TextDelta(), cleaner
        self.lines: dict[str, None] = {}
        """The progress lines, in order."""
        self._open_line = False

    def update(self, thoughts: str, *, last: bool) -> list[Event]:
        """Take a snapshot of the thoughts; return what is new."""
        text = self._cleaner.push(self._delta.flush(thoughts) if last else self._delta.push(thoughts))
        text += self._cleaner.flush() if last else ""
        if not text:
            return []
        self._open_line = not text.endswith("\n")
        return [Thought(text=text)]

    def add_progress(self, lines: tuple[str, ...]) -> list[Event]:
        """Take progress lines; return those that are new."""
        added = [line for line in dict.fromkeys(lines) if line not in self.lines]
        if not added:
            return []
        self.lines |= dict.fromkeys(added)
        text = "\n" * self._open_line + "".join(f"{line}\n" for line in added)
        self._open_line = False
        return [Thought(text=text)]

    def contradicted_by(self, thoughts: str) -> bool:
        """Return whether a snapshot of the thoughts contradicts what was returned."""
        return not self._delta.extended_by(thoughts)
