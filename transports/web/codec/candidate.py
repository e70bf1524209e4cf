"""What one candidate of an answer holds, whichever form its fields stand in; no I/O. Source: "Response".

`hNvQHb` gives candidates of the same form, so this reads those too.
"""

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from transports.web import wire
from transports.web.codec import jspb

_DEEPEST = 12
_PLAIN_BASE64 = str.maketrans("+ /", "--_")
"""Makes the URL form of base64 of the other one, also where a query's `+` was read as a space."""


class SitePicture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that the site drew; `url` gives a preview."""

    url: str
    id: str = ""
    """What the site knows the original by."""


class WebPicture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that the site found."""

    url: str
    alt: str = ""


class SourceLink(msgspec.Struct, frozen=True, kw_only=True):
    """A page that a text refers to."""

    url: str
    title: str = ""


class Cited(msgspec.Struct, frozen=True, kw_only=True):
    """A marker in a text, and what it stands for, in the marker's order."""

    marker: str
    sources: tuple[SourceLink, ...]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A statement in a text, and the pages that it rests on. Source: "Citations"."""

    text: str
    """As the site repeats it; empty where it does not."""
    ranges: tuple[tuple[int, int], ...]
    """Where it stands: start and end, offsets in the candidate's text that count UTF-16 code units."""
    sources: tuple[SourceLink, ...]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The document beside the answer: a canvas, a report, a book."""

    id: str
    title: str
    body: str
    task_id: str = ""
    """A research's; empty for the placeholder."""
    marked: bool = False
    """A task is named, if only by the placeholder: it is a document, whatever it looks like."""
    citations: tuple[Cited, ...] = ()


class ResearchStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a plan."""

    label: str
    body: str = ""


class ResearchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a research is going to do, once it is confirmed."""

    title: str
    steps: tuple[ResearchStep, ...] = ()
    estimate: str = ""
    confirm: str = ""
    """The sentence that confirms it."""


class Film(msgspec.Struct, frozen=True, kw_only=True):
    """A video; `url` is empty while it is not ready."""

    url: str


class Music(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of music, as sound and as film; what is not ready is empty."""

    mp3: str
    mp4: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate, read."""

    rcid: str
    text: str | None
    """None: the candidate has no text at all, not even an empty one."""
    thoughts: str
    complete: bool
    running: bool = False
    """The site says that it goes on."""
    pending: bool = False
    """A video or music is being made, which comes after the end of the stream."""
    card: bool = False
    """The text stands where a card's does."""
    pictures: tuple[SitePicture, ...] = ()
    web_pictures: tuple[WebPicture, ...] = ()
    citations: tuple[Cited, ...] = ()
    claims: tuple[Claim, ...] = ()
    document: Opened | None = None
    """Of several, the one with the longest body."""
    plan: ResearchPlan | None = None
    film: Film | None = None
    music: Music | None = None
    progress: tuple[str, ...] = ()


def read_candidate(candidate: Any, known: str = "") -> Candidate:
    """Read a candidate; `known` goes before its text."""
    text, card = _text(candidate, known)
    state = jspb.integer(candidate, *wire.CANDIDATE_STATE)
    plain = Candidate(
        rcid=jspb.identifier(candidate, wire.CANDIDATE_ID),
        text=text,
        thoughts=jspb.text(candidate, *wire.CANDIDATE_THOUGHTS) or "",
        complete=state == wire.STATE_COMPLETE,
        running=state == wire.STATE_RUNNING,
        claims=tuple(_claims(candidate)),
        card=card,
    )
    rich = jspb.field(candidate, wire.CANDIDATE_RICH)
    documents = jspb.array(candidate, wire.CANDIDATE_DOCUMENTS)
    if rich is None and not documents:
        return plain
    return msgspec.structs.replace(
        plain,
        pending=any(jspb.field(rich, place) for place in wire.RICH_PENDING),
        pictures=tuple(_pictures(rich)),
        web_pictures=tuple(_web_pictures(rich)),
        citations=_citations(rich),
        document=_document(documents),
        plan=_plan(rich),
        film=_film(rich),
        music=_music(rich),
        progress=tuple(_lines(jspb.field(rich, wire.RICH_PROGRESS))),
    )


def _text(candidate: Any, known: str) -> tuple[str | None, bool]:
    """Return the text, with `known` before it, and whether it stands where a card's does."""
    text = jspb.text(candidate, *wire.CANDIDATE_TEXT)
    if text is None:
        return None, False
    text = known + text
    if text.startswith(wire.CARD_TEXT_PREFIXES):
        return jspb.text(candidate, *wire.CANDIDATE_CARD_TEXT) or "", True
    return text, False


def _pictures(rich: Any) -> Iterator[SitePicture]:
    for entry in jspb.array(rich, wire.RICH_PICTURES, 0):
        url = jspb.encodable(entry, *wire.PICTURE_URL)
        if url:
            yield SitePicture(
                url=url,
                id=jspb.identifier(entry, *wire.PICTURE_ID),
            )


def _web_pictures(rich: Any) -> Iterator[WebPicture]:
    for entry in jspb.array(rich, wire.RICH_WEB_PICTURES):
        url = jspb.encodable(entry, *wire.WEB_PICTURE_URL)
        if url:
            yield WebPicture(url=url, alt=jspb.text(entry, *wire.WEB_PICTURE_ALT) or "")


def _citations(rich: Any) -> tuple[Cited, ...]:
    groups = (
        Cited(marker=marker, sources=tuple(_sources(group)))
        for group in jspb.array(rich, wire.RICH_CITATIONS)
        if (marker := jspb.text(group, *wire.CITED_MARKER))
    )
    return tuple(group for group in groups if group.sources)


def _sources(group: Any) -> Iterator[SourceLink]:
    for entry in jspb.array(group, wire.CITED_SOURCES):
        url = jspb.encodable(entry, *wire.SOURCE, wire.SOURCE_URL)
        if url:
            yield SourceLink(url=_page_of(url), title=jspb.text(entry, *wire.SOURCE, wire.SOURCE_TITLE) or "")


def _claims(candidate: Any) -> Iterator[Claim]:
    for group in jspb.array(candidate, *wire.CANDIDATE_SOURCES):
        sources = tuple(_claim_sources(group))
        ranges = ((jspb.integer(entry, 0), jspb.integer(entry, 1)) for entry in jspb.array(group, *wire.CLAIM_RANGES))
        places = tuple((start, end) for start, end in ranges if start is not None and end is not None)
        if sources and places:
            yield Claim(text=jspb.text(group, *wire.CLAIM_TEXT) or "", ranges=places, sources=sources)


def _claim_sources(group: Any) -> Iterator[SourceLink]:
    for entry in jspb.array(group, wire.CLAIM_SOURCES):
        url = jspb.encodable(entry, wire.CLAIM_URL)
        if url:
            title = jspb.text(entry, wire.CLAIM_TITLE) or jspb.text(entry, wire.CLAIM_PUBLISHER) or ""
            yield SourceLink(url=_page_of(url), title=title)


def _page_of(url: str) -> str:
    """Return an address without the words that a browser shall highlight there."""
    return url.partition(wire.TEXT_FRAGMENT)[0].removesuffix("#") if wire.TEXT_FRAGMENT in url else url


def _document(entries: list[Any]) -> Opened | None:
    found = [document for document in map(_opened, entries) if document is not None]
    return max(found, key=lambda document: (len(document.body), bool(document.task_id)), default=None)


def _opened(entry: Any) -> Opened | None:
    task = jspb.text(entry, wire.DOCUMENT_TASK) or ""
    body = jspb.text(entry, wire.DOCUMENT_BODY) or jspb.text(entry, *wire.DOCUMENT_MIRROR) or ""
    if not task and not body:  # a card (of a video, say) stands in the same place
        return None
    places = (jspb.path(entry, *place) for place in wire.DOCUMENT_RICH)
    return Opened(
        id=jspb.text(entry, wire.DOCUMENT_ID) or "",
        title=jspb.text(entry, wire.DOCUMENT_TITLE) or "",
        body=body,
        task_id="" if task == wire.TASK_PLACEHOLDER else task,
        marked=bool(task),
        citations=next((cited for place in places if (cited := _citations(place))), ()),
    )


def _plan(rich: Any) -> ResearchPlan | None:
    plan = next((found for place in wire.RICH_PLAN if (found := jspb.array(rich, place))), None)
    title = jspb.text(plan, wire.PLAN_TITLE)
    if title is None:
        return None
    steps = (
        ResearchStep(
            label=jspb.text(step, wire.STEP_LABEL) or "",
            body=jspb.text(step, wire.STEP_BODY) or "",
        )
        for step in jspb.array(plan, wire.PLAN_STEPS)
    )
    return ResearchPlan(
        title=title,
        steps=tuple(step for step in steps if step.label or step.body),
        estimate=jspb.text(plan, wire.PLAN_ESTIMATE) or "",
        confirm=jspb.text(plan, *wire.PLAN_CONFIRM) or "",
    )


def _film(rich: Any) -> Film | None:
    pair = jspb.array(rich, wire.RICH_FILM, *wire.FILM)
    if not pair:
        return None
    return Film(url=_playable(pair))


def _music(rich: Any) -> Music | None:
    sound, film = (jspb.array(rich, wire.RICH_MUSIC, *place) for place in (wire.MUSIC_MP3, wire.MUSIC_MP4))
    if not (sound or film):
        return None
    return Music(
        mp3=_playable(sound),
        mp4=_playable(film),
    )


def _playable(addresses: list[Any]) -> str:
    """Return the address that serves a film or a sound; the others beside it are previews, which are refused.

    Source: "Media out"
    """
    urls = [jspb.encodable(addresses, index) for index in range(len(addresses))]
    return next(filter(_serves, urls), "") or jspb.encodable(addresses, wire.PAIR_URL)


def _serves(address: str) -> bool:
    try:
        parts = urlsplit(address)
        if parts.hostname != wire.PLAYABLE_HOST or parts.path.rstrip("/") != wire.PLAYABLE_PATH:
            return False
        (token, *_) = parse_qs(parts.query).get(wire.PLAYABLE_QUERY, [""])
        plain = token.translate(_PLAIN_BASE64).rstrip("=")
        return wire.PLAYABLE_WORD in urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except ValueError:
        return False


def _lines(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the words in a value whose form is not known: all its texts but addresses."""
    if isinstance(value, str):
        line = value.strip()
        if line and "://" not in line:
            yield line
    elif depth < _DEEPEST and isinstance(value, list | dict):
        items = cast("dict[str, Any]", value).values() if isinstance(value, dict) else cast("list[Any]", value)
        for item in items:
            yield from _lines(item, depth + 1)
