"""Candidates as they grow in, events out: what is said and shown, each thing once; no I/O. Source: "Response"."""

import re

import msgspec

from protocol.model import (
    Capability,
    Event,
    Media,
    MediaKind,
    MediaRef,
    Text,
    Thought,
    Usage,
    WebImage,
    estimate_tokens,
)
from transports.web.citing import Prose
from transports.web.delta import Delta, strip_placeholders
from transports.web.errors import drift
from transports.web.opened import Book, Canvas, fenced
from transports.web.rich import Candidate, Opened, Picture

_SHAKY = re.compile(r"\s*(?:`{3,}|\\.?)\s*\Z")
"""What at a text's end may be gone in the next frame, for however many frames it has stood there."""

_WINDOW = 64
"""How near to the end that is."""


class Teller(msgspec.Struct, frozen=True, kw_only=True):
    """Whose answer it is, and what it was asked for."""

    transport: str = ""
    account: str = ""
    capability: Capability = Capability.CHAT


class Narrator:
    """One answer's candidates in, its events out."""

    def __init__(self, teller: Teller) -> None:
        """Start with nothing said."""
        self._teller = teller
        self._prose = Prose()
        self._text, self._thinking = Delta(), Thinking()
        self._last = Candidate(rcid="", text="", thoughts="", complete=False)
        self._opened: Canvas | Book | None = None
        self._paused = self._begun = self._closed = False
        """Whether the text waits for the document, whether that was told of, and whether all of it was."""
        self._seen_before = False
        """A document was seen in an earlier frame."""
        self._came: set[str] = set()
        self._pictures: list[Media] = []
        """All that came; a book shows its own."""
        self._shown = 0

    def tell(self, now: Candidate, address: tuple[str, str] = ("", "")) -> list[Event]:
        """Take the candidate as it is now; return what is new. `address` is the conversation and the turn.

        Raises:
            DriftDetected: it is complete, and not what was said.

        """
        before = self._last
        thoughts = now.thoughts or before.thoughts
        now = self._last = msgspec.structs.replace(
            now,
            text=before.text if now.text is None else now.text,
            thoughts=thoughts,
            document=now.document if self._document(now) else before.document,
        )
        self._prose.learn(now.citations)
        events: list[Event] = [*self._thinking.think(thoughts, last=now.complete), *self._thinking.note(now.progress)]
        settled = now.complete or now.text == before.text
        self._pictures += [self._picture(picture, now, address) for picture in self._fresh(now.pictures)]
        events += self._write(now, settled=settled)
        waiting = self._prose.holding or (not settled and self._text.behind(now.text or ""))
        return events if waiting and not now.complete else [*events, *self._show(now)]

    def note(self, line: str) -> list[Event]:
        """Take a line about what the site is doing meanwhile; return it as a thought the first time."""
        return self._thinking.note((line,))

    def end(self) -> list[Event]:
        """Take it that the answer is whole; return all that was not said yet.

        Raises:
            DriftDetected: the last that came is not what was said.

        """
        return self.tell(msgspec.structs.replace(self._last, complete=True))

    def usage(self, input_tokens: int) -> Usage:
        """Return what the answer counts for."""
        body = self._last.document.body if self._last.document is not None else ""
        reasoning = estimate_tokens(self._last.thoughts)
        said = estimate_tokens(strip_placeholders(self._last.text or "")) + estimate_tokens(body)
        return Usage(input_tokens=input_tokens, output_tokens=said + reasoning, reasoning_tokens=reasoning)

    def _document(self, now: Candidate) -> Opened | None:
        """Return the candidate's document, if it is one to be told: not a card, nor work that is read later."""
        document = now.document
        if document is None or not document.body or self._teller.capability.lasting:
            return None
        asked = self._teller.capability in {Capability.CANVAS, Capability.STORYBOOK}
        return document if asked or document.marked or fenced(document.body) else None

    def _say(self, *, last: bool) -> list[Event]:
        text = self._last.text or ""
        if last and not self._text.extended_by(text):
            raise _changed()
        fresh = self._text.flush(text) if last else self._text.push(text)
        return [*self._prose.say(fresh), *(self._prose.settle() if last else ())]

    def _write(self, now: Candidate, *, settled: bool) -> list[Event]:
        """Say text and document: the text that was there when the document began goes before it, the rest behind."""
        document = self._document(now)
        if document is None:
            return self._say(last=now.complete)
        events: list[Event] = []
        if not self._paused:
            late, self._seen_before = self._seen_before, True
            if not (late or settled):
                return self._say(last=False)
            self._paused = True
            events += self._before_document(now, settled=settled)
        if not self._begun:
            if self._opened is None or self._opened.id != document.id:
                self._opened = self._open(document)
            if not self._opened.ready(document, last=now.complete):
                return events
            self._begun = True
            events += self._prose.verbatim("\n\n" * self._prose.any)
        assert self._opened is not None, "what is begun is open"  # noqa: S101
        events += self._grow(self._opened, document, last=now.complete)
        if now.complete:
            events += self._behind_document(now)
        return events

    def _open(self, document: Opened) -> Canvas | Book:
        if self._teller.capability is Capability.STORYBOOK:
            return Book(document.id, self._pictures)
        return Canvas(document.id)

    def _before_document(self, now: Candidate, *, settled: bool) -> list[Event]:
        text = now.text or ""
        shaky = None if now.complete else _SHAKY.search(text, max(0, len(text) - _WINDOW))
        text = text[: shaky.start()] if shaky else text
        fresh = self._text.flush(text) if settled else self._text.push(text)
        return [*self._prose.say(fresh), *self._prose.settle()]

    def _grow(self, opened: Canvas | Book, document: Opened, *, last: bool) -> list[Event]:
        """Say more of the document; another one that has become the longest is said whole, behind it."""
        if self._closed:
            return []
        self._closed = last
        another = document.id != opened.id
        own = (opened.latest or document) if another else document
        if not opened.agrees(own):
            if last:
                raise _changed()
            return []
        if not another:
            return self._verbatim(opened.grow(own, last=last))
        if not last:
            return []
        events = self._verbatim(opened.grow(own, last=True))
        return [*events, *self._prose.verbatim("\n\n"), *self._verbatim(self._open(document).grow(document, last=True))]

    def _verbatim(self, events: list[Event]) -> list[Event]:
        said: list[Event] = []
        for event in events:
            said += self._prose.verbatim(event.text) if isinstance(event, Text) else [event]
        return said

    def _behind_document(self, now: Candidate) -> list[Event]:
        text = now.text or ""
        if not self._text.extended_by(text):
            raise _changed()
        fresh = self._text.flush(text)
        if not fresh.strip():
            return [*self._prose.settle()]
        return [*self._prose.verbatim("\n\n"), *self._prose.say(fresh.lstrip("\n")), *self._prose.settle()]

    def _show(self, now: Candidate) -> list[Event]:
        """Return what is new to be shown."""
        events: list[Event] = [
            WebImage(url=found.url, alt=found.alt)
            for found in now.web_pictures
            if found.url.startswith(("http://", "https://")) and self._first(found.url)
        ]
        book = self._teller.capability is Capability.STORYBOOK
        if not book or (now.complete and self._opened is None):
            events += self._pictures[self._shown :]
            self._shown = len(self._pictures)
        music, film = now.music, now.film
        if music is not None:
            events += self._media(MediaKind.AUDIO, music.mp3) + self._media(MediaKind.VIDEO, music.mp4)
        if film is not None and not self._teller.capability.lasting:
            events += self._media(MediaKind.VIDEO, film.url)
        return events

    def _fresh(self, pictures: tuple[Picture, ...]) -> list[Picture]:
        return [picture for picture in pictures if self._first(picture.id or picture.url)]

    def _first(self, name: str) -> bool:
        """Say whether this is the first time that something comes, and note that it came."""
        if not name or name in self._came:
            return False
        self._came.add(name)
        return True

    def _media(self, kind: MediaKind, url: str) -> list[Event]:
        if not self._first(url):
            return []
        return [Media(ref=MediaRef(transport=self._teller.transport, account=self._teller.account, kind=kind, url=url))]

    def _picture(self, picture: Picture, now: Candidate, address: tuple[str, str]) -> Media:
        cid, rid = address
        known = cid and rid and now.rcid and picture.id
        ref = MediaRef(
            transport=self._teller.transport,
            account=self._teller.account,
            kind=MediaKind.IMAGE,
            url=picture.url,
            original=msgspec.json.encode([rid, now.rcid, cid, picture.id]).decode() if known else "",
        )
        return Media(ref=ref, alt=picture.alt)


class Thinking:
    """Thoughts as they grow, and what is done meanwhile, a line each."""

    def __init__(self) -> None:
        """Start with nothing thought."""
        self._delta = Delta()
        self._noted: set[str] = set()
        self._open_line = False

    def think(self, thoughts: str, *, last: bool) -> list[Event]:
        """Take the thoughts so far; return what is new of them."""
        text = self._delta.flush(thoughts) if last else self._delta.push(thoughts)
        if not text:
            return []
        self._open_line = not text.endswith("\n")
        return [Thought(text=text)]

    def note(self, lines: tuple[str, ...]) -> list[Event]:
        """Take what is being done; return each line that was not there before."""
        fresh = [line for line in dict.fromkeys(lines) if line not in self._noted]
        if not fresh:
            return []
        self._noted.update(fresh)
        text = "\n" * self._open_line + "".join(f"{line}\n" for line in fresh)
        self._open_line = False
        return [Thought(text=text)]


def _changed() -> Exception:
    return drift("it changed text that it had already given")
