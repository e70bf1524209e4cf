import anyio
import anyio.lowlevel
import pytest

from protocol.model import (
    Finish,
    ModelDowngraded,
    PutBack,
    Served,
    Text,
    Thought,
    UpstreamFailed,
    UpstreamModel,
    Usage,
    Waiting,
)
from service.server.hypercorn import serve_loopback
from tests.transports.conftest import ACCOUNT, FAST, Site, asking, connected, request_for
from transports import simulator
from transports.clock import SystemClock
from transports.simulator import encode
from transports.web import wire
from transports.web.errors import StaleToken
from transports.web.turns.turn import TurnAnswer


class LateSite:
    """The simulated site; the last bytes of its answers come when the test says so."""

    def __init__(self):
        self._app = simulator.create_site(simulator.SimulatorConfig(accounts=(ACCOUNT,), pace=FAST), SystemClock())
        self.connections = set()
        self.let_end, self.gone = anyio.Event(), anyio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            self.connections.add(tuple(scope["client"]))
        generates = scope.get("path") == wire.GENERATE_PATH

        async def late(message):
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if generates and last:
                try:
                    await self.let_end.wait()
                except anyio.get_cancelled_exc_class():  # the simulated site sees its reader leave
                    self.gone.set()
                    raise
            await send(message)

        await self._app(scope, receive, late)


@pytest.fixture
async def late():
    """Yield the late site and a transport that is connected to it."""
    site = LateSite()
    async with serve_loopback(site) as base, Site(base).connect() as transport:
        yield site, transport


async def ask(transport):
    """Ask, and leave as soon as the answer is whole."""
    async with asking(transport, request_for("<echo>x</echo>"), transport.accounts[0]) as answer:
        async for event in answer:
            if isinstance(event, Finish):
                return


async def nothing_left_to_do(transport):
    while connected(transport).session.site.background.unfinished:
        await anyio.lowlevel.checkpoint()


async def test_the_last_bytes_are_read_in_the_background_and_the_connection_is_reused(late, monkeypatch):
    monkeypatch.setattr("transports.web.session.client._LAST_BYTES_SECONDS", 60.0)
    site, transport = late
    with anyio.fail_after(60):
        for _ in range(5):
            site.let_end = anyio.Event()
            await ask(transport)
            site.let_end.set()
            await nothing_left_to_do(transport)
    assert len(site.connections) == 1
    assert not site.gone.is_set()


async def test_an_answer_that_does_not_end_closes_its_connection(late, monkeypatch):
    monkeypatch.setattr("transports.web.session.client._LAST_BYTES_SECONDS", 0.0)
    site, transport = late
    with anyio.fail_after(60):
        await ask(transport)
        await nothing_left_to_do(transport)
        await site.gone.wait()


class Talkative:
    """The simulated site, whose answers stay open and silent after their content until the client disconnects."""

    def __init__(self):
        self._app = simulator.create_site(simulator.SimulatorConfig(accounts=(ACCOUNT,), pace=FAST), SystemClock())

    async def __call__(self, scope, receive, send):
        if scope.get("path") != wire.GENERATE_PATH:
            await self._app(scope, receive, send)
            return
        messages = []

        async def collect(message):
            messages.append(message)

        await self._app(scope, receive, collect)
        start, *pieces = messages
        whole = b"".join(piece["body"] for piece in pieces)
        said = whole[: whole.rindex(b"\n", 0, whole.rindex(b"\n", 0, whole.rindex(b'[["e",')))] + b"\n"
        async with anyio.create_task_group() as tasks:

            async def until_gone():
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_gone)
            await send(start)
            await send({"type": "http.response.body", "body": said, "more_body": True})
            while True:
                await send({"type": "http.response.body", "body": encode.bookkeeping(1), "more_body": True})
                await anyio.lowlevel.checkpoint()


async def test_a_complete_answer_ends_while_the_stream_stays_open(monkeypatch):
    monkeypatch.setattr("transports.timed_bytes._AFTER_COMPLETE", 0.1)
    async with serve_loopback(Talkative()) as base, Site(base).connect() as transport:
        with anyio.fail_after(60):
            async with asking(transport, request_for("<echo>x</echo>"), transport.accounts[0]) as answer:
                events = [event async for event in answer]
    assert "".join(event.text for event in events if isinstance(event, Text)) == "x"
    assert isinstance(events[-1], Finish)


PAGES = ["SNlM0e", "thykhd", "absent", "cycle"]


async def read_text(transport, text="<echo>ok</echo>", model="gemini-3-pro"):
    async with asking(transport, request_for(text, model), transport.accounts[0]) as answer:
        return "".join([event.text async for event in answer if isinstance(event, Text)])


@pytest.mark.parametrize("page", PAGES)
async def test_an_account_serves_with_the_token_in_any_form_of_the_page(open_site, page):
    async with open_site(page_token=page) as site, site.connect() as transport:
        assert [await read_text(transport) for _ in range(3)] == ["ok"] * 3
        session = connected(transport).session
        await session.forget()
        assert await read_text(transport) == "ok"
        assert (await site.state())["departures"] == []


async def test_a_token_from_a_refusal_is_used_for_all_later_calls(open_site):
    async with open_site(page_token="absent") as site, site.connect(activity_seconds=0) as transport:
        session = connected(transport).session
        refusals = []
        keep = session.site.use_token
        session.site.use_token = lambda error: (refusals.append(error), keep(error))
        for _ in range(3):
            assert await read_text(transport) == "ok"
        await session.forget()  # the next page has no token either
        assert await read_text(transport) == "ok"
        assert len(refusals) == 1


@pytest.mark.parametrize("page", PAGES)
async def test_a_turn_with_an_expired_token_is_retried_once(open_site, page):
    async with open_site(page_token=page) as site, site.connect(activity_seconds=0) as transport:
        await read_text(transport)
        await site.order(where="token")
        before = await site.state()
        results = []

        async def one():
            results.append(await read_text(transport))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        assert results == ["ok"] * 5
        after = await site.state()
        assert after["seen"]["bootstrap"] == before["seen"]["bootstrap"]
        assert after["departures"] == []


async def test_a_token_refused_twice_ends_the_attempt(site):
    async with site.connect(activity_seconds=0) as transport:
        await read_text(transport)
        session = connected(transport).session
        sent = await site.seen("generate")
        session.site.use_token = lambda error: order_again(error, session)

        def order_again(error, session):
            session.site.access_token = "not this one either"

        session.site.access_token = "old"
        with pytest.raises(StaleToken) as caught:
            await read_text(transport)
        assert caught.value.code == "upstream_rejected"
        assert await site.seen("generate") == sent + 2


async def test_a_stale_build_label_is_reloaded_once_for_all_requests(site):
    async with site.connect(activity_seconds=0) as transport:
        await read_text(transport)
        await site.order(where="build")
        before = await site.seen("bootstrap")
        results = []

        async def one():
            results.append(await read_text(transport))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        assert results == ["ok"] * 5
        assert await site.seen("bootstrap") == before + 1


async def test_a_build_label_refused_twice_ends_the_attempt(site):
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await read_text(transport, '<sim http="405"/>')
        assert caught.value.code == "upstream_rejected"
        assert await site.seen("generate") == 2
        assert await site.seen("bootstrap") == 2


async def test_a_token_that_the_stream_calls_stale_is_dropped_with_its_page(open_site):
    async with open_site(page_token="absent") as site, site.connect() as transport:
        await read_text(transport)
        session = connected(transport).session
        assert session.site.access_token
        await session.forget_token(session.current)
        assert session.site.access_token is None
        assert session.current is None
        assert await read_text(transport) == "ok"


async def test_a_refusal_with_an_endless_body_is_read_up_to_a_limit(site, monkeypatch):
    body = encode.refused("AK:good", "1")
    monkeypatch.setattr("transports.web.turns.turn.LONGEST_REFUSAL", len(body))
    async with site.connect(activity_seconds=0) as transport:
        session = connected(transport).session
        await read_text(transport)
        session.site.access_token = "old"
        assert await read_text(transport) == "ok"


PRO = UpstreamModel(id="p", name="3.1 Pro", family="pro")
LITE = UpstreamModel(id="l", name="3.5 Flash-Lite", family="flash-lite")
FINISH = Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))


class ScriptedReader:
    """Events of an answer; from the event `known` on, the site has named `model`.

    Events before `begun` are progress lines.
    """

    def __init__(self, *events, known=0, model=LITE, begun=0):
        self.events, self.known, self.model, self.read, self._begun = events, known, model, 0, begun

    @property
    def begun(self):
        return self.read > self._begun

    async def __aiter__(self):
        for event in self.events:
            self.read += 1
            yield event

    def answer(self):
        return TurnAnswer(self.served, PutBack(aiter(self)), self)

    def served(self):
        answered = self.model if self.read > self.known else None
        return Served(transport="web", account="one", requested=PRO, answered=answered)


@pytest.mark.parametrize("known", [0, 1, 2, 3])
async def test_a_refused_downgrade_is_detected_before_any_text(known):
    reader = ScriptedReader(Waiting(), Thought(text="a"), Thought(text="b"), Text(text="c"), FINISH, known=known)
    with pytest.raises(ModelDowngraded) as caught:
        await reader.answer().first(refuse_mismatch=True)
    assert (caught.value.requested, caught.value.answered) == ("pro", "flash-lite")


@pytest.mark.parametrize("known", [4, 9])
async def test_a_model_named_after_the_first_text_is_not_refused(known):
    events = [Thought(text="a"), Text(text="b"), Text(text="c"), Text(text="d"), FINISH]
    reader = ScriptedReader(Waiting(), *events, known=known)
    answer = reader.answer()
    await answer.first(refuse_mismatch=True)
    assert [event async for event in answer] == events
    assert answer.served.mismatch == (("pro", "flash-lite") if known == 4 else None)


async def test_the_first_event_does_not_wait_for_the_model_if_none_is_refused():
    reader = ScriptedReader(Waiting(), Thought(text="a"), Text(text="b"), FINISH, known=9)
    await reader.answer().first()
    assert reader.read == 2


async def test_progress_lines_are_skipped_while_waiting_for_the_answer():
    events = (Waiting(), Thought(text="line"), Waiting(), Thought(text="a"), Text(text="b"), FINISH)
    reader = ScriptedReader(*events, begun=3)
    answer = reader.answer()
    await answer.first(past_progress=True)
    assert reader.read == 4
    assert [event async for event in answer] == [Thought(text="line"), *reader.events[3:]]


async def test_the_setting_refuses_a_downgrade_and_closes_the_response(site):
    async with site.connect(model_mismatch="refuse") as transport:
        with pytest.raises(ModelDowngraded):
            await read_text(transport, '<sim answered-by="flash"/><echo>less</echo>')
        assert await read_text(transport, '<sim answered-by="unknown"/><echo>ok</echo>') == "ok"
        assert await site.seen("generate") == 2  # the same account is not asked again


async def test_a_downgrade_of_long_running_work_is_counted_and_not_refused(site):
    async with site.connect(model_mismatch="refuse", poll_seconds=0.1) as transport:
        request = request_for('<sim answered-by="flash" ready="0"/> a cat', "gemini-3-pro-video")
        async with asking(transport, request, transport.accounts[0]) as answer:
            events = [event async for event in answer]
        assert isinstance(events[-1], Finish)
        assert answer.served.mismatch == ("pro", "flash")


async def test_a_guest_is_described_by_the_model_of_its_last_answer(site):
    request = request_for("<echo>hi</echo>", "gemini-2.5-flash-free")
    async with site.connect() as transport:
        guest = next(account for account in transport.accounts if account.guest)
        assert transport.served_by(request.selection, guest) is None
        async with asking(transport, request, guest) as answer:
            assert isinstance([event async for event in answer][-1], Finish)
        model = transport.served_by(request.selection, guest)
    assert (model.id, model.name, model.family) == ("fbb127bbb056c959", "3.6 Flash", "flash")
