import pytest

from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import VIDEO, visit
from transports.simulator import SimulatedAccount
from transports.web.codec import jspb

FREE = SimulatedAccount(psid="f", psidts="t", plan="free")


@pytest.fixture
async def studio(open_site):
    """A browser in a conversation that has begun, and the clock of its site."""
    clock = ManualClock()
    async with open_site(clock=clock) as site, visit(site.base) as browser:
        yield browser, clock, (await browser.say("hello")).place


def film(candidate):
    return jspb.path(candidate, 12, 59, 0, 0, 0, 0, 7)


async def test_a_video_appears_after_its_delay(studio):
    browser, clock, place = studio
    answer = await browser.say("a wave", VIDEO, place)
    assert not answer.complete
    assert answer.rich(64)[0] == ["http://googleusercontent.com/video_gen_chip/0"]
    assert "http://googleusercontent.com/video_gen_chip/0" in answer.text
    assert film(answer.candidate) is None
    pending = await browser.newest(place)
    assert film(pending)[1] == ""
    assert jspb.path(pending, 12, 6)
    assert jspb.field(pending, 8) == [1]
    clock.advance(2)
    thumbnail, url = film(await browser.newest(place))
    response, content = await browser.get(url)
    assert (response.status, content) == (206, b"")
    clock.advance(2)
    assert jspb.field(await browser.newest(place), 8) == [2]
    response, content = await browser.get(url)
    assert (response.status, response.content_type) == (200, "video/mp4")
    assert content[4:8] == b"ftyp"
    assert (await browser.get(thumbnail))[0].content_type == "image/jpeg"
    assert (await browser.get(url, Cookie=""))[0].status == 403


async def test_a_video_has_its_aspect_its_time_and_its_envelope(studio):
    browser, _, place = studio
    tall = await browser.say('a wave <sim ready="0" envelope="true"/>', {**VIDEO, 55: [[17]]}, place)
    _, enveloped = await browser.get(film(await browser.newest(place))[1])
    wide = await browser.say('a wave <sim ready="0"/>', VIDEO, tall.place)
    response, content = await browser.get(film(await browser.newest(wide.place))[1])
    assert response.content_type == "video/mp4"
    assert b"ftyp" in enveloped
    assert not enveloped.startswith(content[:12])
    assert content not in enveloped  # the tall one is another


async def test_a_refused_video_ends_as_a_text(studio):
    browser, clock, place = studio
    await browser.say('a wave <sim refuse="video"/>', VIDEO, place)
    assert jspb.path(await browser.newest(place), 12, 59)
    clock.advance(4)
    candidate = await browser.newest(place)
    assert "can't make" in candidate[1][0]
    assert jspb.field(candidate, 12) is None


async def test_a_first_turn_a_smaller_model_and_a_guest_get_no_video(open_site):
    async with open_site(ACCOUNT, FREE) as site, visit(site.base) as browser:
        assert (await browser.say("a wave", VIDEO)).code == 1053
        async with visit(site.base, None) as guest:
            assert (await guest.say("a wave", VIDEO, temporary=True)).code == 1053
    async with open_site(video_first_turn_refused=False) as site, visit(site.base) as browser:
        assert (await browser.say("a wave", VIDEO)).code is None


@pytest.mark.parametrize("slots", [{54: None}, {54: [[]]}, {55: None}, {55: [[15]]}, {55: [[16.0]]}, {55: [16]}])
async def test_the_slots_of_a_video_are_checked(studio, slots):
    browser, _, place = studio
    assert (await browser.say("a wave", VIDEO | slots, place)).status == 400


async def test_music_is_delivered_as_audio_and_video(browser):
    answer = await browser.say("a song", {49: 21})
    music = answer.rich(86)
    response, sound = await browser.get(music[0][1][7][1])
    assert response.content_type == "audio/mpeg"
    assert sound[0] == 0xFF
    response, moving = await browser.get(music[1][1][7][1])
    assert response.content_type == "video/mp4"
    assert moving[4:8] == b"ftyp"
