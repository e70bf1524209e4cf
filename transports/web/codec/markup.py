"""Remove the markup that the site writes for its own page from a text; no I/O. Source: "Response".

Tags (`<FollowUp …/>` and others), placeholder links and the queries of fences are removed. The same characters inside
a fenced block, an indented code block or an inline code span belong to the answer and stay. The text arrives in pieces:

    push("See <Foll")            -> "See "    the end may be the start of a tag, so it is held back
    push('owUp label="x"/>ya.')  -> "ya."

`Cleaner` reads each piece once, in one of these modes; the result does not depend on where the text was split:

    TEXT        ordinary Markdown; a short end that may become markup is held back
    FENCE_LINE  a line that may open a fenced block; held back until that is known
    FENCE       inside a fenced block; everything is kept
    TAG         between `<Name` and `>`; everything is removed
    ELEMENT     between `<Name>` and `</Name>`; everything is removed
    DOUBT       markup after an unclosed backtick: ``a ` b <FollowUp …``. The text that follows decides: the same
                number of backticks (it is code and kept) or the end of the paragraph (it is removed)
"""

import re
from bisect import bisect_left, bisect_right
from enum import Enum
from typing import ClassVar

from transports.web import wire

_LONGEST_LINK = 256
_LONGEST_INFO = 500
_LONGEST_LINE = 200
"""Number of characters of a line to keep for deciding whether it opens or closes a fence."""

_NAMES = "|".join(wire.MARKUP_TAGS)
_PLACEHOLDER = rf"https?://{re.escape(wire.PLACEHOLDER_HOST)}(?:/\w+)+?/\d+(?![\d/_])(?!\w*/)"
_LINK = re.compile(_PLACEHOLDER, re.ASCII)
_FENCES = r"\n|(?P<ticks>`+)|(?P<tildes>~{3,})"
_TOKENS = rf"{_FENCES}|(?P<slashes>\\+)|(?P<tag></?(?P<name>{_NAMES})(?=[\s/>]))|(?P<link>{_PLACEHOLDER})"
_TOKEN = re.compile(rf"(?=[\n`~\\<h])(?:{_TOKENS})", re.ASCII)
"""The lookahead makes the search fast: without it, every alternative is tried at every character."""
_FENCE_TOKEN = re.compile(rf"(?=[\n`~])(?:{_FENCES})")
_RUN = re.compile(r"(?P<slashes>\\*)(?P<ticks>`+)")
_TAG_TOKEN = re.compile(r"(?P<quote>(?:(?<==)'|\"))|/?>")
_TAG_TAIL = re.compile(r"</?[A-Za-z]*\Z")
_LINK_TAIL = re.compile(rf"https?://{re.escape(wire.PLACEHOLDER_HOST)}(?:/\w*)*\Z", re.ASCII)
_LINK_STARTS = tuple(f"{scheme}://{wire.PLACEHOLDER_HOST}" for scheme in ("http", "https"))
_LONGEST_START = max(map(len, _LINK_STARTS))
_LINK_BEGUN = re.compile(
    rf"h(?:{'|'.join(re.escape(start[1:size]) for start in _LINK_STARTS for size in range(len(start), 0, -1))})\Z"
)
_LINE_OPENING = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*")
"""What may precede a fence on its line: indentation, quotes and list markers."""
_BLANK = re.compile(r"[ \t>\r]*")
_QUERY = re.compile(r"\?code_(?:reference|stdout|stderr)[^\s`]*")
_INDENTED = re.compile(r" {0,3}\t| {4}")
_LIST_ITEM = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_CLOSING_INDENT = 3
_RUNNING = "`~\\"


class _Mode(Enum):
    TEXT = "text"
    FENCE_LINE = "fence line"
    FENCE = "fence"
    TAG = "tag"
    ELEMENT = "element"
    DOUBT = "doubt"


class Cleaner:
    """Remove the site's markup from a text that arrives in pieces."""

    def __init__(self, *, markup: bool = True) -> None:
        """Start an empty text; if `markup` is false, remove only the queries of fences."""
        self._token = _TOKEN if markup else _FENCE_TOKEN
        self._markup = markup
        self._mode = _Mode.TEXT
        self._parting = False
        self._unread = ""
        self._more: list[str] = []
        """Pieces after `unread` that only repeat its last character."""
        self._at = 0
        """Index in the text where `unread` starts."""
        self._out: list[str] = []
        self._line = ""  # the first characters of the current line
        self._may_indent, self._in_list = True, False
        """Whether the current line may be indented code, and whether its indentation belongs to a list item."""
        self._open = 0
        """Length of the run of backticks that may have opened a code span; 0: none."""
        self._runs: list[int] = []
        """Lengths of the runs of backticks after that one."""
        self._fence = ("`", 3, 0)
        """Character, length and indentation of the open fence."""
        self._name, self._depth = "", 0
        self._closing, self._quote = False, ""
        self._doubtful: list[str] = []  # the text since DOUBT mode started
        self._doubt_line = ""
        self._spans: dict[int, int] = {}
        """Start and end of each code span in a paragraph that is read again; no other span opens there."""
        self._spans_until = 0
        self._cut_starts: list[int] = []
        self._cut_ends: list[int] = []
        self._cut_before: list[int] = []  # number of characters removed up to the end of each

    @property
    def removed(self) -> bool:
        """Whether something was removed that belongs to the answer."""
        return False

    @property
    def holding(self) -> bool:
        """Whether part of the text is held back."""
        return bool(self._unread or self._doubtful)

    def push(self, piece: str) -> str:
        """Take the next piece; return the text that can no longer become markup."""
        last = self._unread[-1:]
        if last and last in _RUNNING and not piece.strip(last):
            self._more.append(piece)  # a longer run of the same character decides nothing
            return ""
        self._catch_up()
        self._unread += piece
        return self._read(final=False)

    def flush(self) -> str:
        """Return the rest of the text, at its end."""
        self._catch_up()
        return self._read(final=True)

    def part(self) -> str:
        """Return text held back only because its last character may repeat; call this before other content."""
        self._catch_up()
        self._parting = True
        text = self._read(final=False)
        self._parting = False
        return text

    def _catch_up(self) -> None:
        self._unread += "".join(self._more)
        self._more.clear()

    def map_index(self, index: int) -> int:
        """Map an index of the text to the returned text; a removed character maps to the next character kept."""
        before = bisect_right(self._cut_ends, index)
        shift = self._cut_before[before - 1] if before else 0
        inside = before < len(self._cut_starts) and self._cut_starts[before] <= index
        return (self._cut_starts[before] if inside else index) - shift

    def _read(self, *, final: bool) -> str:
        while (self._unread or (final and self._doubtful)) and self._READERS[self._mode](self, final):
            pass
        text, self._out = "".join(self._out), []
        return text

    def _keep(self, length: int) -> None:
        """Move the first `length` unread characters to the output."""
        self._out.append(self._unread[:length])
        self._unread = self._unread[length:]
        self._at += length

    def _cut(self, length: int) -> None:
        """Remove the first `length` unread characters."""
        self._unread = self._unread[length:]
        if not length:
            return
        if self._cut_ends and self._cut_ends[-1] == self._at:
            self._cut_ends[-1] += length
            self._cut_before[-1] += length
        else:
            self._cut_starts.append(self._at)
            self._cut_ends.append(self._at + length)
            self._cut_before.append((self._cut_before[-1] if self._cut_before else 0) + length)
        self._at += length

    def _read_text(self, final: bool) -> bool:
        """Read ordinary text up to its end or a change of mode; return whether there is more to read."""
        text = self._unread
        limit = len(text) if final else _settled(text, markup=self._markup, runs=not self._parting)
        position = 0
        while (found := self._token.search(text, position, limit)) is not None:
            self._extend(text[position : found.start()])
            position = found.end()
            run = found["ticks"] or found["tildes"] or ""
            if len(run) >= 3 and _opens_line(self._line) and not self._in_spans(found.start()):
                self._mode = _Mode.FENCE_LINE
            elif found["ticks"] is not None:
                end = found.end()
                if self._in_spans(found.start()):
                    end = self._spans.get(self._at + found.start(), self._at + end) - self._at
                else:
                    self._count(len(run))
                self._pass(found.string[found.start() : end])
                position = end
                continue
            elif (
                self._markup
                and (found["tag"] or found["link"])
                and len(found.group()) <= _LONGEST_LINK
                and not self._is_indented_code()
            ):
                self._keep(found.start())
                if self._open:  # a code span may be open, which would make this plain text
                    self._mode, self._doubt_line = _Mode.DOUBT, self._line
                    return True
                self._cut(len(found.group()))
                if found["tag"]:
                    self._mode, self._depth = _Mode.TAG, 0
                    self._name, self._closing = found["name"], found.group().startswith("</")
                return True
            else:
                position = self._read_other(found, text)
                continue
            self._keep(found.start())
            return True
        self._extend(text[position:limit])
        self._keep(limit)
        return False

    def _is_indented_code(self) -> bool:
        return self._may_indent and not self._in_list and _INDENTED.match(self._line) is not None

    def _extend(self, text: str) -> None:
        """Add plain text to the current line."""
        self._line = _lengthened(self._line, text)

    def _in_spans(self, position: int) -> bool:
        return self._at + position < self._spans_until

    def _count(self, run: int) -> None:
        """Process a run of backticks outside of fences: it opens a code span, closes it, or is part of it."""
        if not self._open:
            self._open = run
            self._runs.clear()
        elif self._open == run:
            self._open = 0
        else:
            self._runs.append(run)

    def _pass(self, code: str) -> None:
        """Add code of one or more lines to the current line."""
        if "\n" in code:
            self._line, self._may_indent = "", False
        self._extend(code[code.rfind("\n") + 1 :])

    def _read_other(self, found: re.Match[str], text: str) -> int:
        """Process a newline, backslashes or other text to keep; return where to continue reading."""
        end = found.end()
        if found.group() == "\n":
            if _is_blank(self._line):
                self._open = 0
                self._may_indent = True
            else:
                self._may_indent = self._is_indented_code()
                continued = self._in_list and self._line[:1] in " \t"
                self._in_list = not self._may_indent and (continued or _LIST_ITEM.match(self._line) is not None)
            self._line = ""
            return end
        slashes = found["slashes"] if self._markup else None
        if slashes and len(slashes) % 2 and not self._open and text.startswith("`", end):
            end += 1  # an escaped backtick does not open a code span
        self._extend(text[found.start() : end])
        return end

    def _read_tag(self, final: bool) -> bool:
        """Remove text up to the end of the tag."""
        if self._quote:
            end = self._unread.find(self._quote)
            self._cut(end + 1 if end >= 0 else len(self._unread))
            self._quote = "" if end >= 0 else self._quote
            return end >= 0
        found = _TAG_TOKEN.search(self._unread)
        if found is None:
            tail = 0 if final else len(self._unread) - len(self._unread.rstrip("/="))
            self._cut(len(self._unread) - tail)
            return False
        self._cut(found.end())
        self._quote = found["quote"] or ""
        if not self._quote:
            if self._closing:
                self._depth -= 1
            elif found.group() != "/>":
                self._depth += 1
            self._mode = _Mode.ELEMENT if self._depth > 0 else _Mode.TEXT
        return True

    def _read_element(self, final: bool) -> bool:
        """Remove text up to the next tag with the element's name."""
        tag = re.compile(rf"</?{self._name}(?=[\s/>])").search(self._unread)
        line_end = self._unread.find("\n") if self._name in wire.MARKUP_LINES else -1
        if line_end >= 0 and (tag is None or line_end < tag.start()):
            self._cut(line_end)
            self._mode = _Mode.TEXT
            return True
        if tag is None:
            tail = None if final else _TAG_TAIL.search(self._unread)
            self._cut(tail.start() if tail else len(self._unread))
            return False
        self._cut(tag.end())
        self._mode, self._closing = _Mode.TAG, tag.group().startswith("</")
        return True

    def _read_fence_line(self, final: bool) -> bool:
        """Read a line that starts like a fence."""
        text = self._unread
        character = text[0]
        run = len(text) - len(text.lstrip(character))
        end = text.find("\n", run, run + _LONGEST_INFO + 1)
        info = text[run : run + _LONGEST_INFO + 1 if end < 0 else end]
        inline = (character == "`" and "`" in info) or len(info) > _LONGEST_INFO
        if inline:
            self._mode = _Mode.TEXT
            if character == "`":
                self._count(run)
            self._extend(text[:run])
            self._keep(run)
            return True
        if end < 0 and not final:
            return False
        self._open, self._mode, self._fence = 0, _Mode.FENCE, (character, run, len(self._line))
        if (query := _QUERY.search(info)) is not None:
            self._keep(run + query.start())
            self._cut(query.end() - query.start())
            info = info[query.end() :]
            run = 0
        self._keep(run + len(info) + (end >= 0))
        self._line = "" if end >= 0 else "x" * (_LONGEST_LINE + 1)
        return True

    def _read_fence(self, _final: bool) -> bool:
        """Read the lines of a fenced block up to its end."""
        position = 0
        while (newline := self._unread.find("\n", position)) >= 0:
            self._extend(self._unread[position:newline])
            position = newline + 1
            character, length, indent = self._fence
            line = self._line.rstrip(" \t\r")
            opening = line.lstrip(" \t>")
            fits = len(line) - len(opening) <= indent + _CLOSING_INDENT and len(line) <= _LONGEST_LINE
            closes = fits and len(opening) >= length and opening == character * len(opening)
            self._line = ""
            if closes:
                self._mode = _Mode.TEXT
                self._keep(position)
                return True
        self._extend(self._unread[position:])
        self._keep(len(self._unread))
        return False

    def _read_doubt(self, final: bool) -> bool:
        """Search the end of the code span or paragraph, which decides whether the markup is code."""
        text = self._unread
        limit = len(text) if final else len(text.rstrip("`").rstrip("~"))
        position = 0
        while (found := _FENCE_TOKEN.search(text, position, limit)) is not None:
            self._doubt(text[position : found.start()])
            if len(found.group()) >= 3 and _opens_line(self._doubt_line):
                self._settle_doubt(text[: found.start()], text[found.start() :])
                return True
            position = found.end()
            if found["ticks"] is not None and len(found["ticks"]) == self._open:
                self._doubt(found.group())
                # the run closes the span, so everything up to it is code
                code = "".join(self._doubtful) + self._unread[:position]
                self._unread = code + self._unread[position:]
                self._doubtful.clear()
                self._open, self._line, self._mode = 0, self._doubt_line, _Mode.TEXT
                self._keep(len(code))
                return True
            if found.group() == "\n":
                if _is_blank(self._doubt_line):
                    self._settle_doubt(text[:position], text[position:])
                    return True
                self._doubt_line = ""
            else:
                self._doubt(found.group())
        self._doubt(text[position:limit])
        self._doubtful.append(text[:limit])
        self._unread = text[limit:]
        if final:
            self._settle_doubt("", self._unread)
        return final

    def _doubt(self, text: str) -> None:
        self._doubt_line = _lengthened(self._doubt_line, text)

    def _settle_doubt(self, last: str, rest: str) -> None:
        """Read a paragraph again: its open backticks opened no span, and now all its backticks are known."""
        paragraph = "".join(self._doubtful) + last
        self._doubtful.clear()
        self._unread = paragraph + rest
        self._mode, self._open = _Mode.TEXT, 0
        base, self._spans_until = self._at, self._at + len(paragraph)
        runs = [(-1, length, False) for length in self._runs]
        runs += [
            (found.start("ticks"), len(found["ticks"]), len(found["slashes"]) % 2 == 1)
            for found in _RUN.finditer(paragraph)
        ]
        pairs = _pairs(runs)
        self._spans = {base + start: base + end for start, end in pairs if start >= 0}
        begun = next((end for start, end in pairs if start < 0 <= end), 0)  # a span that started before DOUBT mode
        self._pass(paragraph[:begun])
        self._keep(begun)

    _READERS: ClassVar = {
        _Mode.TEXT: _read_text,
        _Mode.FENCE_LINE: _read_fence_line,
        _Mode.FENCE: _read_fence,
        _Mode.TAG: _read_tag,
        _Mode.ELEMENT: _read_element,
        _Mode.DOUBT: _read_doubt,
    }


def _lengthened(line: str, text: str) -> str:
    """Append text to the kept start of a line; one character too many marks a line longer than `_LONGEST_LINE`."""
    return (line + text[: _LONGEST_LINE + 1])[: _LONGEST_LINE + 1]


def _opens_line(line: str) -> bool:
    """Return whether a fence may follow on this line."""
    return len(line) <= _LONGEST_LINE and _LINE_OPENING.fullmatch(line) is not None


def _is_blank(line: str) -> bool:
    return len(line) <= _LONGEST_LINE and _BLANK.fullmatch(line) is not None


def _pairs(runs: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """Return start and end of each code span, from runs of backticks given as (position, length, is escaped).

    An escaped run opens a span with one backtick less, and closes one with all its backticks.
    """
    later: dict[int, list[int]] = {}
    for index, (_, length, _) in enumerate(runs):
        later.setdefault(length, []).append(index)
    pairs: list[tuple[int, int]] = []
    index = 0
    while index < len(runs):
        start, length, escaped = runs[index]
        indexes = later.get(length - escaped, [])
        following = bisect_left(indexes, index + 1)
        if following < len(indexes):
            index = indexes[following]
            position, length, _ = runs[index]
            pairs.append((start + escaped if start >= 0 else start, position + length if position >= 0 else -1))
        index += 1
    return pairs


def _settled(text: str, *, markup: bool, runs: bool) -> int:
    """Return the length of the text that no later text can change.

    The rest may be the start of markup or, with `runs`, a run of one character that may get longer.
    """
    end = len(text)
    if runs and text[-1:] in _RUNNING:
        ticks = len(text.rstrip("`"))
        end = min(len(text[:ticks].rstrip("\\")) if markup else ticks, len(text.rstrip("~")))
    if end < len(text) or not markup:
        return end
    # an incomplete tag or placeholder link at the end of the text is held back
    floor = max(0, end - _LONGEST_LINK)
    if text.find("<", floor) >= 0:
        tag = _TAG_TAIL.search(text, floor)
        if tag is not None and any(name.startswith(tag.group().lstrip("</")) for name in wire.MARKUP_TAGS):
            return tag.start()
    link = _LINK_TAIL.search(text, floor) if text.find("://", floor) >= 0 else None
    link = link or _LINK_BEGUN.search(text, max(0, end - _LONGEST_START))
    return end if link is None else link.start()


def clean(text: str, *, markup: bool = True) -> str:
    """Remove the site's markup from a complete text."""
    cleaner = Cleaner(markup=markup)
    return cleaner.push(text) + cleaner.flush()


def has_placeholder(text: str) -> bool:
    """Return whether a text contains a placeholder link, which marks the position of an attachment."""
    return _LINK.search(text) is not None
