"""The simulator's words inside a prompt: echoes, documents and tags; in time linear in the prompt. No I/O."""

import re

import msgspec

_ECHO, _ECHO_END = "<echo>", "</echo>"
_DOCUMENT_END = "</document>"
_DOCUMENT = re.compile(r"<document(?=[\s>])([^<>]*)>")
_TAG = re.compile(r"<sim(?=[\s/>])([^<>]*)>")
_ATTRIBUTE = re.compile(r'\s+([a-z][a-z_-]{0,30})="([^"]*)"')
_QUOTED = 40


class PromptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document to answer with, as the prompt gives it."""

    title: str
    lang: str
    body: str


class PromptParts(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt, taken apart."""

    echo: str | None
    """The last echo's content."""
    document: PromptDocument | None
    """The last document outside an echo."""
    attributes: dict[str, str]
    """Those of all tags outside echoes and documents."""
    rest: str
    """What a person would read of it."""


def take_apart(prompt: str) -> PromptParts:
    """Read a prompt.

    Raises:
        ValueError: a tag is not written as tags are; the message is fit to be the answer.

    """
    document, rest = _split_document(prompt)
    echo, rest = _split_echo(rest)
    attributes: dict[str, str] = {}
    for tag in _TAG.finditer(rest):
        inside = tag[1]
        if not inside.endswith("/"):
            raise ValueError(f"a tag ends with '/>': <sim{_shortened(inside)}>")
        attributes |= _attributes(inside[:-1], "sim")
    return PromptParts(echo=echo, document=document, attributes=attributes, rest=_TAG.sub("", rest).strip())


def _split_echo(prompt: str) -> tuple[str | None, str]:
    """Return the last echo's content, and the prompt without any echo: what is echoed is not obeyed."""
    echo: str | None = None
    kept: list[str] = []
    until = len(prompt)
    while (end := prompt.rfind(_ECHO_END, 0, until)) >= 0 and (start := prompt.rfind(_ECHO, 0, end)) >= 0:
        if echo is None:
            echo = prompt[start + len(_ECHO) : end]
        kept.append(prompt[end + len(_ECHO_END) : until])
        until = start
    return echo, prompt[:until] + "".join(reversed(kept))


def _split_document(prompt: str) -> tuple[PromptDocument | None, str]:
    """Return the last document outside an echo, and the prompt without any such."""
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
                raise ValueError(f"<document> knows no attribute {unknown[0]!r}")
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
