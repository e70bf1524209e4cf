"""What a prompt makes the simulator do: `<echo>` says the answer, `<sim …/>` how it comes. No I/O.

The words are listed in docs/simulator.md.
"""

from itertools import cycle, islice
from typing import Annotated, Literal

import msgspec

from transports.simulator.prompt_directives import PromptDocument, take_apart

_QUOTED = 200
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


class PromptScript(msgspec.Struct, frozen=True, kw_only=True):
    """One answer's course. `after` counts the text frames sent before what goes wrong goes wrong."""

    text: str
    given: bool = True
    """The words of `text` are the prompt's, not the simulator's own."""
    asked: str = ""
    """The prompt without the simulator's words."""
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
    analysis: bool = False
    card: bool = False
    candidates: Few = 1
    ready: Seconds | None = None
    envelope: bool = False
    answered_by: Literal["", "flash", "pro", "flash-thinking", "flash-lite", "unknown"] = ""
    """The family of the model that answers in place of the one that was asked for; unknown: the site does not say."""
    refuse: Literal["", "safety", "video", "research"] = ""

    @property
    def most_before(self) -> int:
        """How many text frames must come before what goes wrong goes wrong."""
        counts = (self.drop_after, self.eof_after, self.stall_after, self.garbage_after, self.switch_after)
        wrong = [count for count in counts if count is not None]
        return max([self.after if self.error is not None else 0, *wrong])


OWN = ("given", "asked", "document")
"""Fields that no attribute sets."""


def parse(prompt: str) -> PromptScript:
    """Read a prompt.

    Raises:
        ValueError: a tag has an unknown or unreadable attribute; the message is fit to be the answer.

    """
    words = take_apart(prompt)
    attributes = {name: value for name, value in words.attributes.items() if name != "length"}
    fields: dict[str, object] = {name.replace("-", "_"): value for name, value in attributes.items()}
    for name in attributes:
        if name.replace("-", "_") not in PromptScript.__struct_fields__ or name in OWN or "_" in name:
            raise ValueError(f"<sim/> knows no attribute {name!r}")
    length, given = words.attributes.get("length"), words.echo
    if length is not None:
        if not (length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= _LONGEST):
            raise ValueError(f"<sim/>: length is a number up to {_LONGEST}")
        given = " ".join(islice(cycle(_WORDS), int(length) // 3 + 1))[: int(length)]
    fields |= {"asked": words.rest, "document": words.document, "given": given is not None or "text" in fields}
    if given is not None:
        fields["text"] = given if length is not None else fields.get("text", given)
    elif "text" not in fields:
        asked = " ".join(words.rest.split())
        quoted = asked[:_QUOTED] + ("…" if len(asked) > _QUOTED else "")
        fields["text"] = _ANSWER.format(quoted=quoted, length=len(prompt))
    try:
        return msgspec.convert(fields, PromptScript, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"<sim/>: {str(error).replace('$.', '').replace('_', '-')}") from None
