"""Collects the sources of an answer's text in Gemini's form, whose places are counted in bytes of UTF-8."""

from protocol.gemini.candidate_wire import (
    GroundingChunk,
    GroundingMetadata,
    GroundingSupport,
    Segment,
    WebSource,
)
from protocol.http.markdown import MarkdownText, is_web
from protocol.model import Citation


class Sources:
    """The sources of one answer."""

    def __init__(self) -> None:
        """Start without text and sources."""
        self._said: list[str] = []
        self._cited: list[Citation] = []

    def say(self, text: str) -> None:
        """Add a piece of the answer's text."""
        self._said.append(text)

    def cite(self, citation: Citation) -> None:
        """Add a source of the model's text."""
        if is_web(citation.url):
            self._cited.append(citation)

    def metadata(self, content: MarkdownText) -> GroundingMetadata | None:
        """Return the sources of the whole text, which `content` wrote; None if there are none."""
        if not self._cited:
            return None
        text = "".join(self._said)
        places: dict[str, int] = {}
        chunks: list[GroundingChunk] = []
        supports: list[GroundingSupport] = []
        for citation in self._cited:
            if citation.url not in places:
                places[citation.url] = len(chunks)
                chunks.append(GroundingChunk(web=WebSource(uri=citation.url, title=citation.title)))
            start, end = content.range_of(citation.start, citation.end)
            if end <= len(text):  # else the text was cut off
                segment = Segment(
                    start_index=len(text[:start].encode("utf-8", "surrogatepass")),
                    end_index=len(text[:end].encode("utf-8", "surrogatepass")),
                    text=text[start:end],
                )
                supports.append(GroundingSupport(segment=segment, grounding_chunk_indices=[places[citation.url]]))
        return GroundingMetadata(grounding_chunks=chunks, grounding_supports=supports)
