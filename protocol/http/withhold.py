"""Leaves out of an answer what its license does not include, although the upstream made it.

A request is checked before it is sent, by the model that it names. The site may still draw a picture or play music in
a plain chat, and a stored answer may be older than a change of its license. So the events of each answer pass here.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from protocol.http.side_by_side import Numbered
from protocol.http.stream import Steps
from protocol.model import Caller, Feature, Finish, Media, Served, Withheld

StepT = TypeVar("StepT")

_log = structlog.get_logger()


@asynccontextmanager
async def withholding(
    exchange: AbstractAsyncContextManager[Steps[StepT]], caller: Caller
) -> AsyncGenerator["_LicensedSteps[StepT]"]:
    """Open an exchange in which `Withheld` replaces the media that the caller's license does not include."""
    async with exchange as steps:
        yield _LicensedSteps(steps, caller)


class _LicensedSteps(Generic[StepT]):
    """The steps of an answer, without the media that a license does not include."""

    def __init__(self, steps: Steps[StepT], caller: Caller) -> None:
        self._steps, self._caller = steps, caller

    @property
    def served(self) -> Served:
        return self._steps.served

    async def __aiter__(self) -> AsyncIterator[StepT]:
        left_out = _Withholder(self._caller)
        async for step in self._steps:
            for kept in left_out.take(step):
                yield kept


class _Withholder:
    """Replaces media by `Withheld`, once for each feature."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._features: set[Feature] = set()
        self._turns: dict[int, _Withholder] = {}
        """Of turns that run side by side, each by its number."""

    def take(self, step: Any) -> tuple[Any, ...]:
        """Return what the license gets of a step."""
        if isinstance(step, Numbered):
            turn = self._turns.setdefault(step.index, _Withholder(self._caller))
            return tuple(Numbered(step.index, kept) for kept in turn.take(step.event))
        if isinstance(step, Media) and not self._caller.includes(step.ref.feature):
            return self._noted(Withheld(feature=step.ref.feature))
        if isinstance(step, Withheld):
            return self._noted(step)
        if isinstance(step, Finish) and step.rewritten is not None:
            whole = _Withholder(self._caller)
            pieces = tuple(kept for piece in step.rewritten.pieces for kept in whole.take(piece))
            return (msgspec.structs.replace(step, rewritten=msgspec.structs.replace(step.rewritten, pieces=pieces)),)
        return (step,)

    def _noted(self, withheld: Withheld) -> tuple[Withheld, ...]:
        if withheld.feature in self._features:
            return ()
        self._features.add(withheld.feature)
        _log.info("output_withheld", license=self._caller.id, feature=str(withheld.feature))
        return (withheld,)
