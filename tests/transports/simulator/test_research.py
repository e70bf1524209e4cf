import pytest

from tests.clock import ManualClock
from tests.transports.simulator.conftest import RESEARCH, visit
from transports.web.codec import jspb


@pytest.fixture
async def browser_and_clock(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site, visit(site.base) as browser:
        yield browser, clock


async def test_a_research_has_plan_confirmation_phases_and_report(browser_and_clock):
    browser, clock = browser_and_clock
    plan = await browser.say("the history of tea", RESEARCH)
    title, steps, estimate, (confirm,) = plan.rich(55)
    assert plan.complete
    assert title == "Research: the history of tea"
    assert [label for _, label, _ in steps] == ["Research Websites", "Analyze Results", "Create Report"]
    assert (estimate, confirm) == ("Ready in a few seconds", "Start research")
    started = await browser.say(confirm, RESEARCH, plan.place)
    assert not started.complete
    assert b'["e",4' in started.body
    phases = []
    for _ in range(5):
        candidate = await browser.newest(plan.place)
        assert not jspb.path(candidate, 30, 0, 4)
        assert jspb.path(candidate, 30, 0, 3) == "agency-placeholder-task-id"
        assert jspb.path(candidate, 8, 0) == 1
        phases.append(jspb.path(candidate, 37, 0, 0).count("\n") + 1)
        clock.advance(1)
    assert phases == sorted(phases)
    assert phases[0] < phases[-1]
    for _ in range(2):  # one form, then the other
        candidate = await browser.newest(plan.place)
        document = jspb.field(candidate, 30)[0]
        assert jspb.path(candidate, 8, 0) == 2
        assert jspb.field(document, 4).startswith("# the history of tea\n")
        assert jspb.field(document, 3).startswith("task-")
        groups = jspb.path(document, 17, 1, 43) or jspb.path(document, 5, 43)
        assert [group[0][0] for group in groups] == [" [cite: 1]", " [cite: 2, 3]", " [cite: 1, 2, 3]"]


async def test_an_echo_in_the_first_turn_is_the_report(browser_and_clock):
    browser, clock = browser_and_clock
    plan = await browser.say('<echo># Tea\n\nHot.</echo><sim ready="1"/>', RESEARCH)
    await browser.say("Start research", None, plan.place)
    clock.advance(1)
    assert jspb.path(await browser.newest(plan.place), 30, 0, 4) == "# Tea\n\nHot."


async def test_only_a_confirmation_starts_the_research(browser_and_clock):
    browser, _ = browser_and_clock
    plan = await browser.say("tea", RESEARCH)
    other = await browser.say("start research!", RESEARCH, plan.place)
    assert other.rich(55)[0] == "Research: start research!"
    assert (await browser.say("Start research")).complete


async def test_a_refused_research_ends_as_a_text(browser_and_clock):
    browser, clock = browser_and_clock
    plan = await browser.say('tea <sim refuse="research"/>', RESEARCH)
    await browser.say("Start research", RESEARCH, plan.place)
    clock.advance(5)
    candidate = await browser.newest(plan.place)
    assert "couldn't complete" in candidate[1][0]
    assert jspb.field(candidate, 30) is None


@pytest.mark.parametrize("slots", [{54: None}, {54: [[[[[True]]]]]}, {55: None}, {55: [[16]]}, {49: None}])
async def test_the_slots_of_a_research_are_checked(browser_and_clock, slots):
    assert (await browser_and_clock[0].say("tea", RESEARCH | slots)).status == 400
