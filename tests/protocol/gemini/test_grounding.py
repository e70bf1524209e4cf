from protocol.gemini.grounding import Sources
from protocol.http.markdown import MarkdownText
from protocol.model import Citation, Text


def cite(start, end, url="https://example.com/a", title="A"):
    return Citation(start=start, end=end, url=url, title=title)


def collect(text, *citations):
    sources, content = Sources(), MarkdownText(None, None)
    sources.say(content.add(Text(text)))
    for citation in citations:
        sources.note(citation)
    return sources.metadata(content)


def test_places_are_counted_in_bytes_and_sources_are_listed_once():
    found = collect("Grüße. Schön.", cite(0, 6), cite(7, 13), cite(7, 13, "https://example.com/b", "B"))
    assert [chunk.web.title for chunk in found.grounding_chunks] == ["A", "B"]
    segments = [(one.segment.start_index, one.segment.end_index, one.segment.text) for one in found.grounding_supports]
    assert segments == [(0, 8, "Grüße."), (9, 16, "Schön."), (9, 16, "Schön.")]
    assert [one.grounding_chunk_indices for one in found.grounding_supports] == [[0], [0], [1]]


def test_sources_of_text_that_was_cut_off_and_other_addresses():
    assert collect("short", cite(0, 50)).grounding_supports == []
    assert collect("short", cite(0, 5, "javascript:x")) is None
    assert collect("short") is None
