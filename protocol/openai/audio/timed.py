"""Writes a transcript with the times of its words: as verbose JSON, or as the subtitles of a film.

The models give the times of words alone. A segment ends with its sentence, at a pause, or when a subtitle of it would
be too long to read.
"""

from collections.abc import Collection, Iterator, Sequence

from protocol.http.body import encode_json
from protocol.model import Heard, HeardWord, Reply, UpstreamFailed
from protocol.openai.audio import wire

_ENDS = (".", "!", "?", "…", "。", "\uff01", "\uff1f", "؟", "।")
_CLOSING = "\"')]}»”\u2019」』 \t\r\n"
"""What may follow the end of a sentence."""
_PAUSE_SECONDS = 1.5
_MOST_SECONDS = 7.0
_MOST_CHARACTERS = 84
"""Two lines of a subtitle."""


def timed_body(reply: Reply, form: str, granularities: Collection[str]) -> bytes:
    """Return a transcript in one of the forms `verbose_json`, `srt` and `vtt`.

    Raises:
        UpstreamFailed: the model has given no times.

    """
    heard = [one for one in reply.about if isinstance(one, Heard)]
    words = [word for one in heard for word in one.words]
    text = reply.text.strip()
    if text and not words:
        message = "The model gave no times of the words. Ask again, or for the 'response_format' json or text."
        raise UpstreamFailed(message, code="upstream_without_times")
    segments = list(segments_of(text, words))
    if form == "srt":
        return _subtitles(segments)
    if form == "vtt":
        return b"WEBVTT\n\n" + _cues(segments)
    last = max((word.end for word in words), default=0.0)
    whole = wire.VerboseTranscript(
        task="transcribe",
        language=next((one.language for one in heard if one.language), ""),
        duration=last,
        text=text,
        words=[wire.TranscribedWord(word=one.text, start=one.start, end=one.end) for one in words]
        if "word" in granularities
        else None,
        segments=segments if "segment" in granularities or not granularities else None,
        usage=wire.TranscribedDuration(seconds=last),
    )
    return encode_json(whole)


def segments_of(text: str, words: Sequence[HeardWord]) -> Iterator[wire.TranscribedSegment]:
    """Yield the segments of a transcript; each text reaches from its first word to that of the next segment."""
    first = number = 0
    spoken = list(_with_what_follows(text, words))
    for at, word in enumerate(words):
        said = "".join(spoken[first : at + 1]).strip()
        if at + 1 < len(words) and not _ends(said, words[first].start, word, words[at + 1], spoken[at + 1]):
            continue
        end = max(one.end for one in words[first : at + 1])
        yield wire.TranscribedSegment(id=number, start=words[first].start, end=end, text=said)
        first, number = at + 1, number + 1


def _ends(said: str, start: float, last: HeardWord, following: HeardWord, added: str) -> bool:
    too_long = following.end - start > _MOST_SECONDS or len(said) + len(added) > _MOST_CHARACTERS
    return too_long or said.rstrip(_CLOSING).endswith(_ENDS) or following.start - last.end >= _PAUSE_SECONDS


def _with_what_follows(text: str, words: Sequence[HeardWord]) -> Iterator[str]:
    """Yield each word with the signs and spaces up to the next one; words that are not all in the text have a space."""
    starts: list[int] = []
    at = 0
    for word in words:
        starts.append(text.find(word.text, at))
        at = starts[-1] + len(word.text)
        if starts[-1] < 0:
            yield from (f"{one.text} " for one in words)
            return
    for start, end in zip([0, *starts[1:]], [*starts[1:], len(text)], strict=False):
        yield text[start:end]


def _subtitles(segments: Sequence[wire.TranscribedSegment]) -> bytes:
    blocks = (
        f"{one.id + 1}\n{_clock(one.start, ',')} --> {_clock(one.end, ',')}\n{_line(one.text)}\n\n" for one in segments
    )
    return "".join(blocks).encode("utf-8", "replace")


def _cues(segments: Sequence[wire.TranscribedSegment]) -> bytes:
    """Return the cues of WebVTT, in which `&` and `<` begin something else than text."""
    blocks: list[str] = []
    for one in segments:
        text = _line(one.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(one.start, '.')} --> {_clock(one.end, '.')}\n{text}\n\n")
    return "".join(blocks).encode("utf-8", "replace")


def _line(text: str) -> str:
    """Return a text in one line: an empty one ends a subtitle."""
    return " ".join(text.split())


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"
