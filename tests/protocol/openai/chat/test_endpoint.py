from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

from protocol.http import long_running
from protocol.http.long_running import job_of
from protocol.http.stop import Bounds
from protocol.model import (
    Caller,
    Catalogue,
    Exchange,
    Finish,
    GenerationRequest,
    Handle,
    Role,
    Served,
    Text,
    TextPart,
    Turn,
    UpstreamTimeout,
    Usage,
)
from protocol.openai.chat import endpoint
from tests.protocol.conftest import make_context

FINISH = Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=2))


class Jobs:
    """Has one job, which is locked by another request if `mine` is false."""

    def __init__(self, job, *, mine):
        self.job, self.mine = job, mine

    async def find(self, *_):
        return self.job

    async def save(self, job):
        self.job = job

    @asynccontextmanager
    async def hold(self, _):
        yield self.mine


class Engine:
    """Answers after a while."""

    @asynccontextmanager
    async def open(self, _):
        async def events():
            yield Text(text="early")
            await anyio.sleep(0.2)
            yield FINISH

        yield Exchange(lambda: Served(transport="web", account="one"), events())


@pytest.fixture
def job():
    request = GenerationRequest(
        id="req",
        caller=Caller(id="me"),
        selection=Catalogue.build().resolve("gemini-3-pro-deepsearch"),
        turns=(Turn(role=Role.USER, parts=(TextPart(text="tea"),)),),
    )
    stored = job_of("chatcmpl-1", "m", 1.0, request, Bounds())
    return msgspec.structs.replace(stored, handle=Handle(transport="web", account="one", token="1"))


@pytest.fixture(autouse=True)
def short_wait(monkeypatch):
    monkeypatch.setattr(long_running, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(long_running, "_LOOK_SECONDS", 0.01)


async def fetched(job, *, mine):
    context = make_context(jobs=Jobs(job, mine=mine))
    answer = await endpoint.RETRIEVE.answer(Engine(), job, job.request.selection, context)
    async with answer.exchange as exchange:
        return [event async for event in exchange.events]


async def test_a_resumed_completion_may_take_longer_than_the_wait_for_another_request(job):
    assert await fetched(job, mine=True) == [Text(text="early"), FINISH]


async def test_the_wait_for_another_requests_completion_is_limited(job):
    with pytest.raises(UpstreamTimeout, match="fetch it again later"):
        await fetched(job, mine=False)
