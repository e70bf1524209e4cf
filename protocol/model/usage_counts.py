"""The tokens of a request and its answer."""

import msgspec

Modalities = tuple[tuple[str, int], ...]
"""The tokens of each modality, in Google's names: `TEXT`, `IMAGE`, `AUDIO`, `VIDEO`, `DOCUMENT`."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts."""

    input_tokens: int
    output_tokens: int
    """Including thoughts."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that is thoughts."""
    cached_tokens: int = 0
    """The part of `input_tokens` that the upstream already holds: the turns of a continued conversation."""
    tool_tokens: int = 0
    """The part of `input_tokens` that the upstream's own tools have read."""
    input_modalities: Modalities = ()
    """The input without `tool_tokens` by modality, if the upstream counts it."""
    output_modalities: Modalities = ()
    """The output without thoughts by modality, if the upstream counts it."""
    exact: bool = False
    """Whether the upstream has counted; otherwise the counts are estimates."""

    def __add__(self, other: "Usage") -> "Usage":
        """Return the sum."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            tool_tokens=self.tool_tokens + other.tool_tokens,
            input_modalities=_summed(self.input_modalities, other.input_modalities),
            output_modalities=_summed(self.output_modalities, other.output_modalities),
            exact=self.exact and other.exact,
        )


def _summed(one: Modalities, other: Modalities) -> Modalities:
    counts = dict(one)
    for modality, tokens in other:
        counts[modality] = counts.get(modality, 0) + tokens
    return tuple(counts.items())


NO_USAGE = Usage(input_tokens=0, output_tokens=0, exact=True)
