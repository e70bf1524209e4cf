import pytest

from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import visit
from transports.simulator import SimulatedAccount
from transports.web.codec import jspb


async def test_chats_are_ordered_by_the_time_of_their_last_turn(open_site):
    clock = ManualClock(0.0)
    async with open_site(clock=clock) as site, visit(site.base) as browser:
        first = await browser.say("one")
        clock.advance(5)
        second = await browser.say("two")
        clock.advance(5)
        await browser.say("three", place=first.place)
        clock.advance(5)
        chats = (await browser.call("MaZiqc", [13, None, [0, None, 1]]))[2]
    assert [(chat[0], chat[5][0] - 1_700_000_000) for chat in chats] == [(first.place[0], 10), (second.place[0], 5)]


async def test_at_most_ten_turns_are_read_newest_first(browser):
    answer = await browser.say("turn 0")
    place = answer.place
    for number in range(1, 12):
        place = (await browser.say(f"turn {number}", place=place)).place
    turns = (await browser.call("hNvQHb", [place[0], 10, None, 1, [1], [4], None, 1]))[0]
    assert [turn[2][0][0] for turn in turns] == [f"turn {number}" for number in range(11, 1, -1)]


async def test_models_are_listed_in_both_places_and_forms(browser):
    entries = jspb.field(await browser.call("otAQ7b", []), 15)
    assert [jspb.field(entry, 1) or jspb.field(entry, 10) for entry in entries] == [
        "flash",
        "pro",
        "flash-thinking",
        "flash-lite",
    ]
    assert [jspb.field(entry, 17) or jspb.field(entry, 9) for entry in entries] == [1, 3, 5, 6]
    assert [isinstance(entry[-1], dict) for entry in entries] == [False, True, False, True]
    assert [jspb.field(entry, 1) is None for entry in entries] == [False, False, True, True]


async def test_a_status_can_be_absent(open_site):
    silent = SimulatedAccount(psid="s", psidts="t", status=0)
    async with open_site(silent) as site, visit(site.base, silent) as browser:
        status = await browser.call("otAQ7b", [])
        assert jspb.field(status, 14) is None
        assert jspb.field(status, 15)


async def test_gems_are_listed_and_answer(browser):
    own = (await browser.call("CNgdBe", [2, ["en"], 0]))[2]
    premade = (await browser.call("CNgdBe", [3, ["en"], 0]))[2]
    assert "storybook" in [gem[0] for gem in premade]
    assert (await browser.say("<echo>x</echo>", {19: own[0][0]})).text == "x"


@pytest.mark.parametrize(
    ("rpc", "payload"),
    [
        ("CNgdBe", [5, ["en"], 0]),
        ("qpEbW", [[[1, 11]]]),
        ("qpEbW", []),
        ("c8o8Fe", []),
        ("c8o8Fe", [[None, ["img_x", 0]], ["r", "rc", "c", None, ""], 1, 0, 1]),
        ("MaZiqc", [13, None, [True, None, 1]]),
        ("hNvQHb", ["c_1", 10.0, None, 1, [1], [4], None, 1]),
        ("hNvQHb", ["c_1", 11, None, 1, [1], [4], None, 1]),
    ],
)
async def test_other_payloads_are_refused(browser, rpc, payload):
    import json

    assert (await browser.batch((rpc, json.dumps(payload))))[0] == 400


async def test_a_guest_may_only_ask_for_its_status(open_site):
    async with open_site(ACCOUNT) as site, visit(site.base, None) as guest:
        assert await guest.call("CNgdBe", [2, ["en"], 0]) is None
        assert await guest.call("GzXR5e", ["c_1"]) is None
        assert jspb.field(await guest.call("otAQ7b", []), 14) == 1016
