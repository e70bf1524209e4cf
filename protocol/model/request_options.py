"""The options of an answer, as the client sets them; each transport says which of them it applies."""

from typing import Literal

import msgspec

Effort = Literal["", "none", "minimal", "low", "medium", "high", "xhigh"]
"""How much the model thinks; empty: as it usually does."""


class AnswerOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of an answer; a value that is None or empty leaves the choice to the upstream."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    """Stop sequences; none is empty."""
    effort: Effort = ""
    thinking_tokens: int | None = None
    """The tokens that thoughts may take; 0: no thoughts, -1: the model decides. It counts more than `effort`."""
    search: bool = False
    """Whether the model may search the web."""
    open_urls: bool = False
    """Whether the model may open the addresses in the prompt."""
    run_code: bool = False
    """Whether the model may run code of its own."""
    safety: tuple[tuple[str, str], ...] = ()
    """Categories of harm, each with the probability from which it is blocked, in Google's names."""
    logprobs: bool = False
    """Whether the answer has the probabilities of its tokens."""
    top_logprobs: int = 0
    """The number of the most probable tokens that each place of the answer has."""
    media_resolution: str = ""
    """How closely files are read, in Google's name."""


NO_OPTIONS = AnswerOptions()
SAMPLING = frozenset({"temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"})
"""The options that change how words are chosen."""
LOGPROBS = frozenset({"logprobs", "top_logprobs"})
"""The options that ask for the probabilities of tokens."""
EVERY_OPTION = frozenset(AnswerOptions.__struct_fields__)
