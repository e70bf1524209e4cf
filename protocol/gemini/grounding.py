"""Collects the sources of an answer's text in Gemini's form, whose places are counted in bytes of UTF-8."""

from protocol.gemini.candidate_wire import (
    EntryPoint,
    GroundingChunk,
    GroundingMetadata,
    GroundingSupport,
    OpenedPage,
    Segment,
    UrlContext,
    WebSource,
)
from protocol.http.markdown import MarkdownText, is_web
from protocol.model import Citation, Consulted


class Sources:
    """The sources of one answer."""

    def __init__(self) -> None:
        """Start without text and sources."""
        self._said: list[str] = []
        self._cited: list[Citation] = []
        self._skipped: list[tuple[int, int]] = []
        """Where the content has code, which Gemini's form does not count as text, and its length."""
        self._consulted: list[Consulted] = []
        """What was searched and opened for the text."""

    def say(self, text: str) -> None:
        """Add a piece of the answer's text."""
        self._said.append(text)

    def skip(self, text: str) -> None:
        """Add a piece that the answer has as code."""
        self._skipped.append((len("".join(self._said)), len(text)))

    def note(self, event: Citation | Consulted) -> None:
        """Add a source of the model's text, or what was searched and opened for it."""
        if isinstance(event, Consulted):
            self._consulted.append(event)
        elif is_web(event.url):
            self._cited.append(event)

    def opened(self) -> UrlContext | None:
        """Return the addresses that were opened; None: there are none."""
        pages = [
            OpenedPage(retrieved_url=url, url_retrieval_status=status)
            for one in self._consulted
            for url, status in one.pages
        ]
        return UrlContext(url_metadata=pages) if pages else None

    def metadata(self, content: MarkdownText) -> GroundingMetadata | None:
        """Return the sources of the whole text, which `content` wrote; None if there are none."""
        queries = tuple(query for one in self._consulted for query in one.queries)
        entry = "".join(one.entry_point for one in self._consulted)
        if not self._cited and not queries:
            return None
        text = "".join(self._said)
        places: dict[str, int] = {}
        chunks: list[GroundingChunk] = []
        supports: list[GroundingSupport] = []
        for citation in self._cited:
            if citation.url not in places:
                places[citation.url] = len(chunks)
                chunks.append(GroundingChunk(web=WebSource(uri=citation.url, title=citation.title)))
            start, end = (self.without_code(at) for at in content.range_of(citation.start, citation.end))
            if end <= len(text):  # else the text was cut off
                segment = Segment(
                    start_index=len(text[:start].encode("utf-8", "surrogatepass")),
                    end_index=len(text[:end].encode("utf-8", "surrogatepass")),
                    text=text[start:end],
                )
                supports.append(GroundingSupport(segment=segment, grounding_chunk_indices=[places[citation.url]]))
        return GroundingMetadata(
            web_search_queries=queries,
            grounding_chunks=chunks,
            grounding_supports=supports,
            search_entry_point=EntryPoint(rendered_content=entry) if entry else None,
        )

    def without_code(self, at: int) -> int:
        """Return a place of the content as one of the text."""
        for start, length in self._skipped:
            at -= min(length, max(0, at - start))
        return at
