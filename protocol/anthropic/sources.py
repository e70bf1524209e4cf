"""Collects the sources that the website found, and writes them as citations and as results of a web search.

The website searches before it answers, without a call, and names its sources with the text that they support. So the
search stands behind the text here.
"""

import secrets

from protocol.anthropic import message_wire as out
from protocol.http.markdown import is_web
from protocol.model import Citation, Consulted, Event, Text


class AnswerSources:
    """The sources of one answer."""

    def __init__(self) -> None:
        """Start without sources."""
        self._said: list[str] = []
        self._query = ""
        """The words of the search: the website does not tell them, but clients want a text."""
        self._titles: dict[str, str] = {}
        """The title of each source by its URL."""

    def add(self, event: Event) -> list[out.WebCitation]:
        """Take the next event; return its citation, if it is one with a web address."""
        if isinstance(event, Text):
            self._said.append(event.text)
        if isinstance(event, Consulted) and event.queries:
            self._query = "; ".join(event.queries)
        if not isinstance(event, Citation) or not is_web(event.url):
            return []
        self._titles.setdefault(event.url, event.title)
        cited = "".join(self._said)[event.start : event.end]
        return [out.WebCitation(cited_text=cited, title=event.title, url=event.url)]

    def blocks(self) -> list[out.SaidServerToolUse | out.SaidSearchResults]:
        """Return the blocks of a search and its results, or none without sources."""
        if not self._titles:
            return []
        used = out.SaidServerToolUse(id=f"srvtoolu_{secrets.token_hex(12)}", input={"query": self._query})
        found = [out.WebSearchResult(title=title, url=url) for url, title in self._titles.items()]
        return [used, out.SaidSearchResults(tool_use_id=used.id, content=found)]
