"""Tools and structured output on the site, which has neither: described in the prompt, and read from the answer.

The grammar. A call is a fenced code block whose info string is a marker and the tool's name, and whose content is the
arguments as JSON:

    ```tool_call_7f3a91 get_weather
    {"city": "Paris"}
    ```

Why this form:
- Gemini writes fenced blocks with an info string in nearly every technical answer, so it follows this form reliably,
  and the site neither escapes nor reformats what stands in a code block.
- The name comes before the arguments, so a call is recognised at its first line, and its arguments can be streamed.
- The arguments are the whole content. Their end is found by reading JSON, not by looking for a closing fence, so
  arguments may contain fences.
- The marker contains a nonce, new for each request. A document or a user that quotes the grammar cannot know it, so
  text about calls is never a call. An earlier marker that the model repeats is not one either.

Earlier calls of a conversation that is sent whole stand in the same form, with their id behind the name, because models
imitate what they see. So what stands between the name and the arguments is ignored.

The cost. Each tool is one line with its name and description and one with its schema, as compact JSON without
`$schema` and `title`: 28 tools with 21 KB of JSON take about 5,000 tokens. The list is sent once: a conversation that
continues at the site gets only the new marker, unless the tools have changed (`digest`).

Where it stands. The description comes first, before the conversation, because that is where system instructions stand;
the reminder of a continued conversation comes last, next to the messages that it is about. The instructions for
structured output are last in both cases: what stands nearest to the answer determines its form.

Structured output is asked for in a code block as well. Elsewhere the site treats the text as Markdown: it may escape
underscores and asterisks, and it takes `[cite: 1]`, links and some tags for its own. The fence is removed when the JSON
is read (`protocol.structured.extraction`), and JSON without one is read too.
"""

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec

from protocol.model import (
    CallArguments,
    CallMalformed,
    CallStarted,
    Capability,
    Citation,
    Event,
    Finish,
    GenerationRequest,
    JsonScanner,
    Rewritten,
    Text,
    Thought,
    Tool,
    ToolChoice,
    Waiting,
    WorkStarted,
)

_NONCE_BYTES = 3
_ID_BYTES = 12
_UNNEEDED = frozenset({"$schema", "title"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords whose value has names of its own as keys."""
_VALUES = frozenset({"default", "const", "enum", "examples"})
"""Keywords whose value is not a schema."""
_HEADING = re.compile(r"^(#+ )", re.MULTILINE)
_EXAMPLE = '{"argument": "value"}'
_TOOLS = """\
You can call the tools listed below; the program that reads your answer runs them. To call one, write a code block of \
exactly this form, which names the tool after the marker and contains the arguments as one JSON object:

```{marker} NAME
{example}
```

{rules}

Tools, each with the JSON Schema of its arguments:

{tools}"""
_REMINDER = """\
The tools listed before remain available. From now on the marker of a call is `{marker}`:

```{marker} NAME
{example}
```

{rules}"""
_ALONE = (
    "When you call a tool, write nothing before or after the code block, and stop there: the next message contains the "
    "result. Never guess a result. Use the marker for nothing else."
)
_SEVERAL = "To call several tools at once, write one code block after the other."
_ONE = "Call one tool at most."
_OPTIONAL = "If no tool is needed, answer in plain text as usual."
_REQUIRED = "Your next answer must call {which}."
_JSON = "{start} with one JSON value in a ```json code block, and nothing before or after it.{about}{schema}"
_FITS = " It must fit this JSON Schema:\n{schema}"
_OBJECT = " It must be an object."

_encode = msgspec.json.Encoder().encode


def digest(choice: ToolChoice | None) -> str:
    """Return a digest of the tools of a request; empty if it has none."""
    return blake2b(_encode(choice.tools), digest_size=16).hexdigest() if choice is not None else ""


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a prompt that describe tools and structured output."""

    opening: str = ""
    """Comes before the conversation."""
    closing: str = ""
    """Comes after it."""
    marker: str = ""
    """Stands before the name of a tool in a call; empty: the request has no tools."""


NONE = Instructions()
"""No instructions."""


class CallGrammar:
    """The grammar of one request's tool calls, and the instructions for its structured output."""

    def __init__(self, request: GenerationRequest) -> None:
        """Choose a new marker. Only chat has tools and structured output; other capabilities ignore them."""
        chat = request.selection.capability is Capability.CHAT
        self._streamed = request.streamed
        self._choice = request.tools if chat else None
        self._output = request.output if chat else None
        self._marker = f"tool_call_{secrets.token_hex(_NONCE_BYTES)}" if self._choice is not None else ""
        self.shown = ""
        """The `digest` of the tools that the conversation to be continued has seen; empty for a new conversation."""

    @property
    def seen(self) -> str:
        """The `digest` of the tools that the conversation has seen after this request."""
        return digest(self._choice) or self.shown

    def instructions(self) -> Instructions:
        """Return the instructions for the next turn; tools that the conversation has seen are not listed again."""
        choice, closing = self._choice, list[str]()
        if choice is None and self._output is None:
            return NONE
        opening = ""
        if choice is not None:
            if self.shown == digest(choice):
                closing.append(_REMINDER.format(marker=self._marker, example=_EXAMPLE, rules=self._rules(choice)))
            else:
                tools = "\n\n".join(map(_described, choice.tools))
                opening = _TOOLS.format(marker=self._marker, example=_EXAMPLE, rules=self._rules(choice), tools=tools)
        if self._output is not None:
            about = f" It is: {self._output.name}. {self._output.description}".rstrip() if self._output.name else ""
            schema = _FITS.format(schema=_compact(self._output.schema)) if self._output.schema is not None else _OBJECT
            start = "Answer" if choice is None else "If you call no tool, answer"
            closing.append(_JSON.format(start=start, about=about, schema=schema))
        return Instructions(opening=opening, closing="\n\n".join(closing), marker=self._marker)

    def events(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Return the events of an answer, with its calls as events of their own."""
        if self._choice is None:
            return events
        return _CallParser(self._marker, parallel=self._choice.parallel).read(events, streamed=self._streamed)

    def _rules(self, choice: ToolChoice) -> str:
        rules = [_ALONE, _SEVERAL if choice.parallel else _ONE]
        if choice.mode == "auto":
            rules.append(_OPTIONAL)
        if choice.allowed:
            rules.append(f"Now call only: {', '.join(choice.allowed)}.")
        if choice.mode == "required":
            which = f"the tool {choice.allowed[0]}" if len(choice.allowed) == 1 else "a tool"
            rules.append(_REQUIRED.format(which=which))
        return " ".join(rules)


def _described(tool: Tool) -> str:
    """Return the section of a tool; headings in its description stand below that of the section."""
    about = _HEADING.sub(r"##\1", tool.description.strip())
    return "\n".join(filter(None, (f"## {tool.name}", about, _compact(tool.parameters))))


def _compact(schema: object) -> str:
    return _encode(_without_titles(schema, keywords=True)).decode()


def _without_titles(node: Any, *, keywords: bool) -> Any:
    """Drop what says nothing to the model; `keywords`: the keys of the node are keywords, not names of members."""
    if isinstance(node, list):
        return [_without_titles(one, keywords=True) for one in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    return {
        key: value
        if keywords and key in _VALUES
        else _without_titles(value, keywords=not keywords or key not in _NAMED)
        for key, value in cast("dict[str, Any]", node).items()
        if not (keywords and key in _UNNEEDED and isinstance(value, str))
    }


_MALFORMED = "the code block of a call must name the tool after the marker, and contain one JSON object"
_BLANKS = " \t\r\n"
_CALLS = (CallStarted, CallArguments, CallMalformed)
_MARKS = r"(?:\d{1,2}[.)][ \t]+)?[ \t`~*>#+\"'\\-]{0,40}"
"""What may stand before the marker: the marks of a code block, a list, a quotation or bold text."""
_MARKS_BEGUN = re.compile(rf"(?:\d{{1,2}}[.)]?\Z)?{_MARKS}")
_FENCE = r"[ \t]{0,40}`{3,20}[^\n`]{0,40}"
_FENCE_BEGUN = re.compile(rf"[ \t]{{0,40}}`{{1,2}}|{_FENCE}")
_FENCE_LINE = re.compile(rf"(?:\A|\n)({_FENCE}\n)\Z")
_HEAD = re.compile(
    rf"(?P<fence>^{_FENCE}\n)?^(?P<marks>{_MARKS})(?P<marker>tool\\?_call\\?_[0-9a-f]+)(?!\w)"
    r"[^\w\n{]*(?P<name>[\w.:\\-]*)(?P<end>(?:[ \t]*\(call [^)\n]*\))?[^\w\n{(]*(?=[\n{]|\Z))?",
    re.MULTILINE,
)
"""The first line of a call, with the id of an earlier call, which models imitate."""
_ARGUMENTS = re.compile(r"[^`{]{0,200}(?:`{3,}[^\n`]*\n\s*)?(?=\{)")
_ARGUMENTS_BEGUN = re.compile(r"[^`{]{0,200}(?:`{1,2}|`{3,}[^\n`]*(?:\n\s*)?)?\Z")
_CLOSED = re.compile(r"\s*`{3,}[ \t]*\n")
_NOTHING = re.compile(r"\s*(?:`{3}|\Z)")
_State = Literal["text", "head", "arguments"]


class _CallParser:
    """Reads calls from an answer's text, which arrives in pieces.

    Only the last line of the text is held back, and only while it may become the first line of a call, with the first
    line of a code block before it. Blank lines are held back until text follows them, so that a call leaves no blank
    text before it.

    Models vary the form. These are calls too: a marker in the first line of a code block or in the line before it,
    after the marks of a list, or with escaped underscores; a name in quotes. A marker within a sentence is text.
    """

    def __init__(self, marker: str, *, parallel: bool) -> None:
        """Read the calls of a marker: all, or only the first if not `parallel`."""
        self._marker = marker
        self._parallel = parallel
        self._state: _State = "text"
        self._text = ""
        """Text that is not read yet."""
        self._before = "\n"
        """The character before it."""
        self._name = ""
        self._fenced = False
        """Whether the call stands in a code block."""
        self._scanner = JsonScanner()
        self.called = False
        """Whether a call was read: text after it is dropped."""

    def feed(self, piece: str) -> Iterator[Event]:
        """Read a piece of text."""
        self._text += piece
        yield from self._read(last=False)

    def close(self) -> Iterator[Event]:
        """Read the end of the text."""
        yield from self._read(last=True)

    def _read(self, *, last: bool) -> Iterator[Event]:
        while True:
            before = (self._state, len(self._text))
            match self._state:
                case "text":
                    yield from self._read_text(last=last)
                case "head":
                    yield from self._read_head(last=last)
                case "arguments":
                    yield from self._read_arguments(last=last)
            if before == (self._state, len(self._text)):
                return

    def _read_text(self, *, last: bool) -> Iterator[Event]:
        found = self._found()
        if found is not None and (last or found.end() <= len(self._text)):
            said = self._take(found.start() - 1)
            self._take(found.end() - found.start())
            yield from self._said(said.rstrip())
            if self.called and not self._parallel:
                return
            self._name = re.split(r"[.:]", found["name"].replace("\\", "").rstrip(".:"))[-1]
            self._fenced, self._state = found["fence"] is not None or "```" in found["marks"].replace("\\", ""), "head"
            return
        keep = 0 if last else self._doubtful(found.start() - 1 if found is not None else None)
        yield from self._said(self._take(len(self._text) - keep))

    def _found(self) -> "re.Match[str] | None":
        """Return the first line of the next call, with positions in the text with the character before it."""
        for found in _HEAD.finditer(self._before + self._text, 1):
            alone = found["end"] is not None or "```" in found["marks"].replace("\\", "")
            if alone and found["marker"].replace("\\", "") == self._marker:
                return found
        return None

    def _take(self, size: int) -> str:
        """Remove and return the first characters of the text."""
        taken, self._text = self._text[:size], self._text[size:]
        self._before = taken[-1:] or self._before
        return taken

    def _doubtful(self, start: int | None) -> int:
        """Return how many of the last characters may belong to a call, which begins at `start` if that is not None."""
        text = self._text
        if start is None:
            start = text.rfind("\n") + 1
            line = text[start:]
            rest = _MARKS_BEGUN.sub("", line, count=1).replace("\\", "")
            begun = self._marker.startswith(rest) or _FENCE_BEGUN.fullmatch(line) is not None
            if not begun or (start == 0 and self._before != "\n"):
                return 0
            fence = _FENCE_LINE.search(text[:start])
            if fence is not None and (fence.start(1) or self._before == "\n"):
                start = fence.start(1)
        return len(text) - len(text[:start].rstrip(_BLANKS))

    def _said(self, text: str) -> Iterator[Event]:
        if text and not self.called:
            yield Text(text=text)

    def _read_head(self, *, last: bool) -> Iterator[Event]:
        """Read up to the opening brace of the arguments."""
        text = self._text
        closed = self._fenced and _CLOSED.match(text) is not None
        begun = _ARGUMENTS.match(text)
        if begun is not None and self._name and not closed:
            yield from self._begin()
            self._take(begun.end())
            self._state = "arguments"
        elif not last and not closed and _ARGUMENTS_BEGUN.match(text):
            return
        elif self._name and _NOTHING.match(text):
            yield from self._begin()
            yield CallArguments(text="{}")
            self._state = "text"
        else:
            self._text, self._state, self.called = "", "text", True
            yield CallMalformed(text=f"```{self._marker} {self._name}{text}", problem=_MALFORMED)

    def _begin(self) -> Iterator[Event]:
        self.called = True
        self._scanner = JsonScanner()
        yield CallStarted(id=f"call_{secrets.token_hex(_ID_BYTES)}", name=self._name)

    def _read_arguments(self, *, last: bool) -> Iterator[Event]:
        """Pass on the arguments up to their closing brace."""
        end = self._scanner.end(self._text)
        text = self._take(len(self._text) if end is None else end)
        if end is not None or last:
            self._state = "text"
        if text:
            yield CallArguments(text=text)

    async def read(self, events: AsyncIterator[Event], *, streamed: bool) -> AsyncIterator[Event]:
        """Yield events, with the calls in the text as events of their own.

        If the answer is not streamed, and the site has rewritten it, its final form alone counts.
        """
        shown, held = False, list[Event]()
        async for event in events:
            match event:
                case Finish(rewritten=Rewritten() as whole) if not streamed:
                    for found in _CallParser(self._marker, parallel=self._parallel).final(whole):
                        yield found
                    yield Finish(reason=whole.reason, usage=whole.usage)
                    return
                case Text():
                    read = list(self.feed(event.text))
                case Finish():
                    read = [*held, *self.finish(event, shown=shown)]
                    held.clear()
                case _:
                    read = [] if self.called and isinstance(event, Citation) else [event]
            if not streamed and not isinstance(event, Finish | Waiting | WorkStarted):
                held += read
                continue
            for found in read:
                shown = shown or isinstance(event, Text)
                yield found

    def final(self, whole: Rewritten) -> Iterator[Event]:
        """Yield the events of the final form of an answer."""
        if whole.thoughts:
            yield Thought(text=whole.thoughts)
        for piece in whole.pieces:
            if isinstance(piece, Text):
                yield from self.feed(piece.text)
            elif not self.called:
                yield piece
        yield from self.close()

    def finish(self, finish: Finish, *, shown: bool) -> Iterator[Event]:
        """Yield the end of a streamed answer; if the site has rewritten it, the calls of its final form count.

        `shown`: a part of the text was yielded before.
        """
        whole = finish.rewritten
        if whole is None or self.called:
            yield from self.close()
            yield msgspec.structs.replace(finish, rewritten=None) if self.called else finish
            return
        again = _CallParser(self._marker, parallel=self._parallel)
        final = [event for event in again.final(whole) if not isinstance(event, Thought)]
        if again.called or not shown:
            yield from (event for event in final if isinstance(event, _CALLS) or not shown)
            yield msgspec.structs.replace(finish, rewritten=None, reason=whole.reason, usage=whole.usage)
        else:
            yield from self.close()
            yield finish
