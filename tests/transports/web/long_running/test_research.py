import pytest

from protocol.model import Citation, Document, Finish, Text, Thought, WorkStarted
from tests.transports.conftest import asking, request_for
from transports.web.long_running.work import Phase, location_of

MODEL = "gemini-3-pro-deepsearch"
FAST = {"poll_seconds": 0.05, "delete_seconds": 0.0}


def account_of(transport):
    return next(account for account in transport.accounts if not account.guest)


async def research(transport, text, **more):
    async with asking(transport, request_for(text, MODEL, **more), account_of(transport)) as answer:
        return [event async for event in answer]


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def text_of(events):
    return "".join(event.text for event in of(Text, events))


async def test_research_is_planned_confirmed_polled_and_reported(open_site):
    async with open_site(research_seconds=0.5) as site:
        async with site.connect(**FAST) as transport:
            events = await research(transport, "the history of tea")
        state = await site.state()
    assert state["departures"] == []
    assert state["seen"]["generate"] == 2
    assert state["seen"]["rpc_GzXR5e"] == 1
    assert [location_of(event.handle).phase for event in of(WorkStarted, events)] == [
        Phase.PLAN,
        Phase.PLAN,
        Phase.CONFIRMING,
        Phase.REPORT,
    ]
    thoughts = "".join(event.text for event in of(Thought, events))
    assert "Research plan: Research: the history of tea" in thoughts
    assert "2. Analyze Results" in thoughts
    assert thoughts.count("Researching websites") == 1
    report = text_of(events)
    assert report.startswith("# the history of tea")
    assert "[cite:" not in report
    assert "confirmation" not in report
    (document,) = of(Document, events)
    assert (document.title, document.kind) == ("Research: the history of tea", "markdown")
    citations = of(Citation, events)
    assert len(citations) == 6
    for citation in citations:
        assert report[citation.start : citation.end].endswith(f"({citation.url})")
    assert isinstance(events[-1], Finish)
    assert events[-1].usage.output_tokens > 0


@pytest.mark.parametrize("steps", [1, 2, 4])
async def test_a_handle_resumes_at_the_plan_or_at_the_report(open_site, steps):
    async with open_site(research_seconds=0.5) as site:
        async with site.connect(**FAST) as transport:
            seen = 0
            async with asking(transport, request_for("tea", MODEL), account_of(transport)) as answer:
                async for event in answer:
                    seen += isinstance(event, WorkStarted)
                    if seen == steps:
                        break
            handle = event.handle
        async with site.connect(**FAST) as transport:
            events = await research(transport, "tea", handle=handle)
        assert await site.seen("generate") == 2
    assert text_of(events).startswith("# tea")


async def test_a_lost_confirmation_is_not_sent_again(open_site):
    async with open_site(research_seconds=0.5) as site:
        async with site.connect(**FAST) as transport:
            seen = 0
            async with asking(transport, request_for("tea", MODEL), account_of(transport)) as answer:
                async for event in answer:
                    seen += isinstance(event, WorkStarted)
                    if seen == 3:
                        break
        assert location_of(event.handle).phase is Phase.CONFIRMING
        async with site.connect(**FAST) as transport:
            with pytest.raises(Exception, match="may have started") as caught:
                await research(transport, "tea", handle=event.handle)
        assert caught.value.code == "upstream_outcome_unknown"
        assert await site.seen("generate") == 1


@pytest.mark.parametrize("kind", ["safety", "research"])
async def test_a_refusal_as_text_is_the_answer(open_site, kind):
    async with open_site(research_seconds=0.2) as site, site.connect(**FAST) as transport:
        events = await research(transport, f'<sim refuse="{kind}"/> tea')
    assert "simulated" in text_of(events)
    assert of(Document, events) == []
    assert isinstance(events[-1], Finish)


async def test_the_report_keeps_the_text_of_the_prompt(open_site):
    body = "# A report\n\nWith *markers* and `code`.\n\n```python\nprint(1)\n```\n"
    async with open_site(research_seconds=0.1) as site, site.connect(**FAST) as transport:
        events = await research(transport, f"<echo>{body}</echo>")
    assert text_of(events) == body
