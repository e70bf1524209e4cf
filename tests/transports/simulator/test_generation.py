import msgspec
import pytest

from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import visit
from transports.simulator import SimulatedAccount
from transports.simulator.generation import shortened

OTHER = SimulatedAccount(psid="psid-2", psidts="psidts-2")
QUOTAS = [[[1, 4], [6, 6], [1, 15]]]


async def test_a_conversation_is_continued_from_its_last_turn_only(browser):
    first = await browser.say("<echo>one</echo>")
    second = await browser.say("<echo>two</echo>", place=first.place)
    assert second.place[0] == first.place[0]
    assert second.place[9] not in ("", first.place[9])
    assert (await browser.say("x", place=first.place)).status == 400
    for index, value in ((0, "c_nobody"), (1, "r_0"), (2, "rc_0"), (9, "wrong"), (9, 5), (3, "x")):
        place = [*second.place]
        place[index] = value
        assert (await browser.say("x", place=place)).status == 400
    assert (await browser.say("x", place=second.place[:9])).status == 400
    assert (await browser.say("x", place=[*second.place[:9], ""])).status == 200


async def test_only_the_own_saved_conversations_can_be_continued(open_site):
    async with open_site(ACCOUNT, OTHER) as site, visit(site.base) as browser, visit(site.base, OTHER) as other:
        kept = await browser.say("one")
        assert (await other.say("x", place=kept.place)).status == 400
        assert (await browser.say("x", place=kept.place, temporary=True)).status == 400
        temporary = await browser.say("one", temporary=True)
        assert temporary.place[9] is None
        assert (await browser.say("x", place=temporary.place)).status == 400
        await browser.call("GzXR5e", [kept.place[0]])
        assert (await browser.say("x", place=kept.place)).status == 400
        async with visit(site.base, None) as guest:
            alone = await guest.say("one")
            assert alone.status == 200
            assert (await guest.say("x", place=alone.place)).status == 400


async def test_a_limit_from_a_prompt_is_reported_and_ends_soon(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site, visit(site.base) as browser:
        assert (await browser.say('<sim error="1037"/>')).code == 1037
        (items,) = await browser.call("qpEbW", QUOTAS)
        now = int(clock.wall())
        assert items == [[pair, None, 100, [now + 10], 1000, 0] for pair in QUOTAS[0]]
        clock.advance(10)
        (items,) = await browser.call("qpEbW", QUOTAS)
        assert items[0][2:] == [0, items[0][3], 1000, 1000]
        await browser.say('<sim error="1037" retry-after="60"/>')
        assert (await browser.call("qpEbW", QUOTAS))[0][0][3] == [int(clock.wall()) + 60]


async def test_a_real_limit_holds_until_its_reset(open_site):
    clock = ManualClock()
    account = msgspec.structs.replace(ACCOUNT, quota=2)
    async with open_site(account, clock=clock, quota_seconds=100) as site, visit(site.base, account) as browser:
        codes = [(await browser.say("x")).code for _ in range(3)]
        assert codes == [None, None, 1037]
        for _ in range(3):
            await browser.say('x <sim error="1013"/>')
        (items,) = await browser.call("qpEbW", QUOTAS)
        assert items[0][2:] == [100, [int(clock.wall()) + 100], 2, 0]
        clock.advance(100)
        assert (await browser.say("x")).code is None


async def test_a_lone_surrogate_is_not_lost(browser):
    answer = await browser.say("<echo>a\ud800b</echo>")
    assert answer.text == "a\ud800b"
    assert (await browser.newest(answer.place))[1][0] == "a\ud800b"


@pytest.mark.parametrize("character", ["a", "é", "€", "😀", "\ud800"])
def test_a_long_prompt_is_truncated_at_a_whole_character(character):
    size = len(character.encode("utf-8", "surrogatepass"))
    assert shortened(character * (130_000 // size)) == character * (130_000 // size)
    assert shortened("." + character * 130_000) == "." + character * (129_999 // size)


async def test_an_unknown_directive_is_answered_with_the_reason(browser):
    for tag, reason in (
        ("<sim error=1037/>", 'name="value"'),
        ('<sim drop_after="3"/>', "drop_after"),
        ('<sim http="99"/>', "300"),
        ('<sim delay="-1"/>', "0"),
        ('<sim error="1037">', "/>"),
        ('<sim asked="x"/>', "asked"),
        ('<sim images="99"/>', "12"),
        ('<sim refuse="me"/>', "refuse"),
    ):
        answer = await browser.say(tag)
        assert answer.text.startswith("The simulator does not understand: ")
        assert reason in answer.text


async def test_malformed_cookies_are_ignored(browser, site):
    from tests.transports.simulator.conftest import read_page

    odd = f'OTZ=a b; x={{"a":"b,c"}}; =; lone; {browser.cookies}; y="quo;ted"'
    _, page = await browser.get(f"{site.base}/app", Cookie=odd)
    assert read_page(page.decode()).access_token is not None
