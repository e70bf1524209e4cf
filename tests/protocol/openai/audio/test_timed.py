"""Segments, subtitles and verbose JSON of transcripts, from the times of their words."""

import json

import pytest

from protocol.model import Heard, HeardWord, Reply, Text, UpstreamFailed, Usage
from protocol.openai.audio.timed import segments_of, timed_body


def said(*words):
    """Return words, each with its start and a length of 0.3 seconds."""
    return [HeardWord(text=text, start=start, end=start + 0.3) for text, start in words]


def reply(text, words=()):
    about = (Heard(tuple(words), "en"),) if words else ()
    return Reply(
        pieces=(Text(text),), thoughts="", finish="stop", usage=Usage(input_tokens=1, output_tokens=1), about=about
    )


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Hi there. Bye!", said(("Hi", 0), ("there", 1), ("Bye", 2)), ["Hi there.", "Bye!"]),
        ('He said: "No." Then', said(("He", 0), ("said", 1), ("No", 2), ("Then", 3)), ['He said: "No."', "Then"]),
        ("你好。再见", said(("你", 0), ("好", 1), ("再", 2), ("见", 3)), ["你好。", "再见"]),
        ("one two", said(("one", 0), ("two", 5)), ["one", "two"]),
        ("Other words", said(("one", 0), ("two", 1)), ["one two"]),
        ("a b c", said(("a", 0), ("b", 1), ("c", 2), ("d", 3)), ["a b c d"]),
        ("", [], []),
    ],
)
def test_a_segment_ends_with_its_sentence_or_at_a_pause(text, words, expected):
    found = list(segments_of(text, words))
    assert [one.text for one in found] == expected
    assert [one.id for one in found] == list(range(len(expected)))


def test_a_segment_is_short_enough_to_read():
    words = said(*((f"word{at}", at * 0.3) for at in range(200)))
    found = list(segments_of(" ".join(one.text for one in words), words))
    assert max(len(one.text) for one in found) <= 84
    assert max(one.end - one.start for one in found) <= 7.001
    assert " ".join(one.text for one in found).split() == [one.text for one in words]


def test_times_of_hours_and_lines_in_a_text():
    body = reply("a\n\nb", [HeardWord(text="a\n\nb", start=3661.0005, end=3725.9996)])
    assert timed_body(body, "srt", ()) == b"1\n01:01:01,000 --> 01:02:06,000\na b\n\n"
    assert timed_body(body, "vtt", ()) == b"WEBVTT\n\n01:01:01.000 --> 01:02:06.000\na b\n\n"


@pytest.mark.parametrize("form", ["verbose_json", "srt", "vtt"])
def test_times_that_the_model_has_not_given_are_not_made_up(form):
    with pytest.raises(UpstreamFailed, match="no times"):
        timed_body(reply("Words"), form, ())


def test_a_silent_recording_has_no_words():
    assert timed_body(reply(" "), "srt", ()) == b""
    assert timed_body(reply(""), "vtt", ()) == b"WEBVTT\n\n"
    assert json.loads(timed_body(reply(""), "verbose_json", ("segment",)))["segments"] == []
