"""Parses the directives by which a prompt scripts the simulator's answer. No I/O.

`<echo>` gives the answer, `<document>` its document, and `<sim …/>` how it is delivered; docs/simulator.md
lists the attributes. In the profile `site` the words of a plain prompt count too: "draw a cat" makes a picture. Reading
takes time linear in the prompt.

Source: "Capabilities as turns"
"""

import re
from itertools import cycle, islice
from typing import Annotated, Literal

import msgspec

from transports.simulator.request_checks import IMAGE, MUSIC, VIDEO

_ECHO, _ECHO_END = "<echo>", "</echo>"
_DOCUMENT_END = "</document>"
_DOCUMENT = re.compile(r"<document(?=[\s>])([^<>]*)>")
_TAG = re.compile(r"<sim(?=[\s/>])([^<>]*)>")
_ATTRIBUTE = re.compile(r'\s+([a-z][a-z_-]{0,30})="([^"]*)"')
_QUOTED = 40
_QUOTED_PROMPT = 200
_LONGEST = 8_000_000
_ANSWER = """\
This is a **simulated** answer: the gateway's own simulator wrote it, and no model has read the prompt.

> {quoted}

The prompt has {length} characters. Put `<echo>words</echo>` into it to have those words answered."""
_WORDS = (
    "This", "text", "is", "simulated;", "it", "goes", "on", "as", "long", "as", "it", "was", "asked", "to.",
)  # fmt: skip

Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Size = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
Few = Annotated[int, msgspec.Meta(ge=1, le=12)]
Code = Annotated[int, msgspec.Meta(ge=1000, le=9999)]
Status = Annotated[int, msgspec.Meta(ge=300, le=599)]
Retry = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,64}\Z")]
Location = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{0,2000}\Z")]

_NEAR = r"\b[^.!?\n]{0,80}?\b"
_MAKE = r"\b(?:generate|create|draw|make|paint|render|produce|compose|design)"
_CHANGE = r"\b(?:edit|modify|retouch|restyle|recolou?r)"
_PICTURES = r"(?:images?|pictures?|photos?|illustrations?|drawings?)\b"
_FIND = re.compile(rf"\b(?:send|show|find)\s+me\b{_NEAR}{_PICTURES}", re.IGNORECASE)
_WISHES = (
    (VIDEO, re.compile(rf"{_MAKE}{_NEAR}(?:videos?|films?|clips?|movies?)\b", re.IGNORECASE)),
    (MUSIC, re.compile(rf"{_MAKE}{_NEAR}(?:songs?|music|tunes?|melod(?:y|ies))\b", re.IGNORECASE)),
    (IMAGE, re.compile(rf"(?:{_MAKE}|{_CHANGE}){_NEAR}{_PICTURES}", re.IGNORECASE)),
    (IMAGE, re.compile(r"\bimage (?:generation|editing|generator)\b", re.IGNORECASE)),
    (VIDEO, re.compile(r"(?:生成|制作|做|创建)[^。\n]{0,40}(?:视频|影片)")),
    (IMAGE, re.compile(r"(?:生成|画|绘制|创建)[^。\n]{0,40}(?:图|画|照片|插画)")),
)


class PromptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document that the prompt gives as its answer."""

    title: str
    lang: str
    body: str


class PromptParts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a prompt."""

    echo: str | None
    """The last echo's content."""
    document: PromptDocument | None
    """The last document outside an echo."""
    attributes: dict[str, str]
    """The attributes of all tags outside echoes and documents."""
    rest: str
    """The prompt without echoes, documents and tags."""


class PromptScript(msgspec.Struct, frozen=True, kw_only=True):
    """How one answer is sent. `after` counts the text frames that are sent before a fault."""

    text: str
    given: bool = True
    """Whether `text` comes from the prompt and not from the simulator."""
    description: str = ""
    """The prompt without echoes, documents and tags."""
    document: PromptDocument | None = None
    thoughts: str = ""
    error: Code | None = None
    late_error: Code | None = None
    rewrite: str = ""
    markup: Literal["", "follow-up", "elicitations", "widget", "all"] = ""
    http: Status | None = None
    location: Location = ""
    retry_after: Retry = ""
    html: bool = False
    delay: Seconds | None = None
    queue: Count = 0
    queue_seconds: Seconds = 0.0
    after: Count = 0
    drop_after: Count | None = None
    eof_after: Count | None = None
    stall_after: Count | None = None
    garbage_after: Count | None = None
    tokens_per_second: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    frames: Count = 0
    chunk: Count = 0
    flicker: bool = True
    sparse: bool | None = None
    switch_after: Count | None = None
    once: str = ""
    images: Few | None = None
    image_bytes: Size | None = None
    image_cut: Size | None = None
    alt: str = ""
    web_images: Few | None = None
    citations: Few | None = None
    sources: Few | None = None
    addresses: Few | None = None
    analysis: bool = False
    card: bool = False
    candidates: Few = 1
    ready: Seconds | None = None
    envelope: bool = False
    answered_by: Literal["", "flash", "pro", "flash-thinking", "flash-lite", "unknown"] = ""
    """Family of the model that answers in place of the requested one; unknown: the site does not name it."""
    refuse: Literal["", "safety", "prompt", "image", "video", "research"] = ""
    ends: Literal["", "failed", "incomplete", "budget_exceeded"] = ""
    poll_errors: Count = 0

    @property
    def most_before(self) -> int:
        """Number of text frames that must come before the fault."""
        counts = (self.drop_after, self.eof_after, self.stall_after, self.garbage_after, self.switch_after)
        wrong = [count for count in counts if count is not None]
        return max([self.after if self.error is not None else 0, *wrong])


OWN = ("given", "description", "document")
"""Fields that attributes cannot set."""


def parse(prompt: str) -> PromptScript:
    """Read a prompt.

    Raises:
        ValueError: a tag has an unknown or unreadable attribute; the message can be sent as the answer.

    """
    words = split_prompt(prompt)
    attributes = {name: value for name, value in words.attributes.items() if name != "length"}
    fields: dict[str, object] = {name.replace("-", "_"): value for name, value in attributes.items()}
    for name in attributes:
        if name.replace("-", "_") not in PromptScript.__struct_fields__ or name in OWN or "_" in name:
            raise ValueError(f"<sim/> has an unknown attribute {name!r}")
    length, given = words.attributes.get("length"), words.echo
    if length is not None:
        if not (length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= _LONGEST):
            raise ValueError(f"<sim/>: length is a number up to {_LONGEST}")
        given = " ".join(islice(cycle(_WORDS), int(length) // 3 + 1))[: int(length)]
    fields |= {"description": words.rest, "document": words.document, "given": given is not None or "text" in fields}
    if given is not None:
        fields["text"] = given if length is not None else fields.get("text", given)
    elif "text" not in fields:
        asked = " ".join(words.rest.split())
        quoted = asked[:_QUOTED_PROMPT] + ("…" if len(asked) > _QUOTED_PROMPT else "")
        fields["text"] = _ANSWER.format(quoted=quoted, length=len(prompt))
    try:
        return msgspec.convert(fields, PromptScript, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"<sim/>: {str(error).replace('$.', '').replace('_', '-')}") from None


def split_prompt(prompt: str) -> PromptParts:
    """Read a prompt.

    Raises:
        ValueError: a tag is malformed; the message can be sent as the answer.

    """
    document, rest = _split_document(prompt)
    echo: str | None = None
    kept: list[str] = []
    until = len(rest)
    # the last echo counts, and tags inside an echo have no effect
    while (end := rest.rfind(_ECHO_END, 0, until)) >= 0 and (start := rest.rfind(_ECHO, 0, end)) >= 0:
        if echo is None:
            echo = rest[start + len(_ECHO) : end]
        kept.append(rest[end + len(_ECHO_END) : until])
        until = start
    rest = rest[:until] + "".join(reversed(kept))
    attributes: dict[str, str] = {}
    for tag in _TAG.finditer(rest):
        inside = tag[1]
        if not inside.endswith("/"):
            raise ValueError(f"a tag ends with '/>': <sim{_shortened(inside)}>")
        attributes |= _attributes(inside[:-1], "sim")
    return PromptParts(echo=echo, document=document, attributes=attributes, rest=_TAG.sub("", rest).strip())


def _split_document(prompt: str) -> tuple[PromptDocument | None, str]:
    """Return the last document outside an echo, and the prompt without such documents."""
    document: PromptDocument | None = None
    kept: list[str] = []
    position, echoing = 0, False
    for opening in _DOCUMENT.finditer(prompt):
        if opening.start() < position:
            continue
        opened = prompt.rfind(_ECHO, position, opening.start())
        closed = prompt.rfind(_ECHO_END, position, opening.start())
        echoing = echoing if opened == closed else opened > closed
        end = -1 if echoing else prompt.find(_DOCUMENT_END, opening.end())
        if end >= 0:
            given = _attributes(opening[1], "document")
            if unknown := sorted(given.keys() - {"lang", "title"}):
                raise ValueError(f"<document> has an unknown attribute {unknown[0]!r}")
            title, lang = given.get("title", "Untitled"), given.get("lang", "html")
            document = PromptDocument(title=title, lang=lang, body=prompt[opening.end() : end])
        elif not echoing:
            break
        kept.append(prompt[position : opening.start() if end >= 0 else opening.end()])
        position = end + len(_DOCUMENT_END) if end >= 0 else opening.end()
    return document, "".join(kept) + prompt[position:]


def _attributes(text: str, element: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while attribute := _ATTRIBUTE.match(text, position):
        found[attribute[1]] = attribute[2]
        position = attribute.end()
    if text[position:].strip():
        raise ValueError(f'<{element}/> takes name="value", not {_shortened(text[position:].strip())}')
    return found


def _shortened(text: str) -> str:
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"


def tool_for(words: str) -> int | None:
    """Return the tool for the first kind of media that the words ask for; None: they ask for text."""
    return next((tool for tool, wish in _WISHES if wish.search(words)), None)


def wants_web_images(words: str) -> bool:
    """Return whether the words ask for existing pictures and not for new ones."""
    return _FIND.search(words) is not None
