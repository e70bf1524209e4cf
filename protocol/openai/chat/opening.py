"""Opens the exchange of a completion, with its stop sequences and, if it is long-running, its job."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from protocol.model import Engine, Exchange, GenerationRequest, Job, Jobs, estimate_tokens
from protocol.openai.chat.background import bounds_of, keeping
from protocol.openai.chat.stop import Bounds, cut


def opened(engine: Engine, request: GenerationRequest, bounds: Bounds) -> AbstractAsyncContextManager[Exchange]:
    """Open an exchange that ends at its bounds; as `Engine.open`."""
    exchange = engine.open(request)
    return exchange if bounds == Bounds() else _cut_short(exchange, request, bounds)


@asynccontextmanager
async def _cut_short(
    opening: AbstractAsyncContextManager[Exchange], request: GenerationRequest, bounds: Bounds
) -> AsyncGenerator[Exchange]:
    async with opening as exchange:
        yield exchange.over(cut(exchange.events, bounds, _input_tokens(request)))


@asynccontextmanager
async def opened_and_kept(engine: Engine, jobs: Jobs, job: Job, *, held: bool = False) -> AsyncGenerator[Exchange]:
    """Open the exchange of a job and store its progress; `held`: the caller has locked the job already."""
    async with (
        opened(engine, job.request, bounds_of(job)) as exchange,
        keeping(exchange, jobs, job, held=held) as kept,
    ):
        yield kept


def _input_tokens(request: GenerationRequest) -> int:
    return sum(estimate_tokens(turn.text) for turn in request.turns)
