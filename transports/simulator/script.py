"""What a prompt makes the simulator do: `<echo>` says the answer, `<sim …/>` how it comes. No I/O.

The words are listed in docs/simulator.md.
"""

import re
from itertools import cycle, islice

import msgspec

_ECHO, _ECHO_END = "<echo>", "</echo>"
_TAG = re.compile(r"<sim\b([^<>]*)/>")
_ATTRIBUTE = re.compile(r'([a-z][a-z-]*)\s*=\s*"([^"]*)"')
_QUOTED = 200
_LONGEST = 8_000_000
_WORDS = (
    "This", "text", "is", "simulated;", "it", "goes", "on", "as", "long", "as", "it", "was", "asked", "to.",
)  # fmt: skip


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One answer's course. `after` counts the text frames sent before what goes wrong goes wrong."""

    text: str
    thoughts: str = ""
    error: int | None = None
    http: int | None = None
    location: str = ""
    retry_after: str = ""
    html: bool = False
    delay: float | None = None
    queue: int = 0
    queue_seconds: float = 0.0
    after: int = 0
    drop_after: int | None = None
    eof_after: int | None = None
    stall_after: int | None = None
    garbage_after: int | None = None
    tokens_per_second: float | None = None
    frames: int = 0
    chunk: int = 0
    flicker: bool = True
    sparse: bool | None = None
    switch_after: int | None = None
    once: str = ""


def parse(prompt: str) -> Script:
    """Read a prompt.

    Raises:
        ValueError: a tag has an unknown or unreadable attribute; the message is fit to be the answer.

    """
    echo, rest = _split_echo(prompt)
    attributes = {name: value for tag in _TAG.findall(rest) for name, value in _ATTRIBUTE.findall(tag)}
    length = attributes.pop("length", None)
    text = _long(_number(length, "length")) if length is not None else echo
    fields = {"text": _answer(rest) if text is None else text}
    fields |= {name.replace("-", "_"): value for name, value in attributes.items()}
    unknown = sorted(fields.keys() - set(Script.__struct_fields__))
    if unknown:
        raise ValueError(f"<sim/> knows no attribute {unknown[0]!r}")
    try:
        return msgspec.convert(fields, Script, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"<sim/>: {error}") from None


def _split_echo(prompt: str) -> tuple[str | None, str]:
    """Return the last echo's content, and the prompt without any echo: what is echoed is not obeyed."""
    echo: str | None = None
    rest = prompt
    while (end := rest.rfind(_ECHO_END)) >= 0 and (start := rest.rfind(_ECHO, 0, end)) >= 0:
        if echo is None:
            echo = rest[start + len(_ECHO) : end]
        rest = rest[:start] + rest[end + len(_ECHO_END) :]
    return echo, rest


def _answer(prompt: str) -> str:
    quoted = " ".join(_TAG.sub("", prompt).split())
    cut = quoted[:_QUOTED] + ("…" if len(quoted) > _QUOTED else "")
    return (
        "This is a **simulated** answer: the gateway's own simulator wrote it, and no model has read the prompt.\n\n"
        f"> {cut}\n\n"
        f"The prompt has {len(prompt)} characters. Put `<echo>words</echo>` into it to have those words answered."
    )


def _long(length: int) -> str:
    words = islice(cycle(_WORDS), length // 3 + 1)
    return " ".join(words)[:length]


def _number(value: str, name: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= _LONGEST):
        raise ValueError(f"<sim/>: {name} is a number up to {_LONGEST}")
    return int(value)
