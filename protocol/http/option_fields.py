"""Reads the options of an answer that some upstreams apply, by the names that all dialects share.

A field that no upstream of the model applies may have any value; `protocol.http.ignored` reports it. A field that is
applied must have a value that the upstreams take.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from protocol.http.stop import Bounds
from protocol.model import LOGPROBS, NO_OPTIONS, SAMPLING, AnswerOptions, BadRequest, Effort, Selection

EFFORTS: Final[Mapping[str, Effort]] = {
    "none": "none",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "xhigh",
}
"""The efforts that clients write."""
_DEEP = frozenset({"high", "xhigh"})
"""Efforts that are extended thinking, which a license may not cover."""
HIGH_BUDGET = 24_576
"""The tokens of thoughts from which on thinking is extended, as Google has it."""


class _Range(msgspec.Struct, frozen=True):
    """The numbers that an option may be."""

    least: float
    most: float
    whole: bool = False
    unset: tuple[int, ...] = ()
    """Numbers that leave the choice to the upstream."""

    def read(self, value: Any, param: str) -> Any:
        """Return the value; None: it is not set.

        Raises:
            BadRequest: it is not a number, or out of range.

        """
        if value is None or value == "":
            return None
        if isinstance(value, float) and self.whole and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            raise BadRequest(f"'{param}' must be a {'whole ' if self.whole else ''}number.", param=param)
        if value in self.unset:
            return None
        if not self.least <= value <= self.most:
            raise BadRequest(f"'{param}' must be a number from {self.least:g} to {self.most:g}.", param=param)
        return value


_LARGE = 2**63 - 1
_RANGES = {
    "temperature": _Range(0, 2),
    "top_p": _Range(0, 1),
    "top_k": _Range(1, _LARGE, whole=True, unset=(0, -1)),
    "seed": _Range(-_LARGE, _LARGE, whole=True),
    "presence_penalty": _Range(-2, 2),
    "frequency_penalty": _Range(-2, 2),
}


_ALTERNATIVES = _Range(0, 20, whole=True)
_BUDGET = _Range(-1, _LARGE, whole=True)


def bounded_options(bounds: Bounds) -> AnswerOptions:
    """Return the options of a stop sequence and a limit of tokens: an upstream applies them, or else the gateway."""
    if not bounds.stops and bounds.tokens is None:
        return NO_OPTIONS
    return AnswerOptions(max_tokens=bounds.tokens, stops=bounds.stops)


def with_sampling(
    options: AnswerOptions, body: object, applied: frozenset[str], where: Callable[[str], str] = str
) -> AnswerOptions:
    """Return the options with those fields of a body that change how words are chosen, if they are applied.

    `where` returns the path of a field by its name.

    Raises:
        BadRequest: a field that is applied has a wrong value; `param` is its path.

    """
    wanted = SAMPLING & applied
    if not wanted:
        return options
    found = {
        name: value
        for name in sorted(wanted)
        if (value := _RANGES[name].read(getattr(body, name, None), where(name))) is not None
    }
    return msgspec.structs.replace(options, **found) if found else options


def with_logprobs(
    options: AnswerOptions, fields: tuple[Any, Any], applied: frozenset[str], paths: tuple[str, str]
) -> AnswerOptions:
    """Return the options with the probabilities of tokens, if they are applied.

    `fields` say whether they are wanted, and for how many tokens at each place; `paths` are those of the fields.

    Raises:
        BadRequest: a field has a wrong value, or the second is set without the first.

    """
    wanted, most = fields
    if not applied >= LOGPROBS or (not wanted and not most):
        return options
    if not isinstance(wanted, bool | None):
        raise BadRequest(f"'{paths[0]}' must be true or false.", param=paths[0])
    number = _ALTERNATIVES.read(most, paths[1]) or 0
    if number and not wanted:
        raise BadRequest(f"'{paths[1]}' has an effect only with '{paths[0]}': set it to true.", param=paths[1])
    return msgspec.structs.replace(options, logprobs=bool(wanted), top_logprobs=number)


def effort_of(effort: str | None, selection: Selection, applied: frozenset[str]) -> Effort:
    """Return an effort of thinking that is applied; empty: it is not, as the high ones without extended thinking."""
    known: Effort = EFFORTS.get(effort or "", "") if "effort" in applied else ""
    return "" if known in _DEEP and not selection.extended else known


def thinking_tokens_of(tokens: Any, selection: Selection, applied: frozenset[str], param: str) -> int | None:
    """Return a budget of thoughts that is applied; None: it is not, as a large one without extended thinking.

    Raises:
        BadRequest: it would be applied, and is not a whole number.

    """
    if "thinking_tokens" not in applied:
        return None
    budget: int | None = _BUDGET.read(tokens, param)
    return None if budget is not None and budget >= HIGH_BUDGET and not selection.extended else budget
