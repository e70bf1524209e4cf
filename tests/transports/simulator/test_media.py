from io import BytesIO

from PIL import Image

from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import visit
from transports.simulator import SimulatedAccount
from transports.simulator.media import enveloped

OTHER = SimulatedAccount(psid="psid-2", psidts="psidts-2")


def opened(content):
    return Image.open(BytesIO(content))


async def picture_of(browser, prompt="a fox", **more):
    answer = await browser.say(prompt, {49: 14}, **more)
    (picture,) = answer.rich(7)[0]
    return answer, picture[0][3][3], picture[1][0]


def original(answer, identity):
    head = [[None, None, None, [None, None, None, None, None, ""]], [identity, 0], None, [19, ""], *[None] * 5, ""]
    cid, rid, rcid = answer.place[:3]
    return [head, [rid, rcid, cid, None, ""], 1, 0, 1]


async def test_each_rendition_has_its_size_and_type(browser):
    _, url, _ = await picture_of(browser, "a fox. Aspect ratio: 16:9")
    for suffix, form, size in (
        ("", "JPEG", (512, 288)),
        ("=s1024-rj", "JPEG", (1024, 576)),
        ("=s2048-rj", "JPEG", (2048, 1152)),
        ("=s0", "PNG", (2048, 1152)),
    ):
        response, content = await browser.get(url + suffix)
        assert response.status == 200
        assert response.content_type == f"image/{form.lower()}"
        image = opened(content)
        assert (image.format, image.size) == (form, size)
        image.load()
    for odd in ("=s9999", "=w3", "=d-I?alr=yes", "=d"):
        assert (await browser.get(url + odd))[0].status == 403


async def test_a_picture_needs_the_current_cookies_of_its_account(open_site):
    async with open_site(ACCOUNT, OTHER) as site, visit(site.base) as browser, visit(site.base, OTHER) as other:
        _, url, _ = await picture_of(browser)
        assert (await browser.get(url))[0].status == 200
        assert (await other.get(url))[0].status == 403
        assert (await browser.get(url, Cookie=""))[0].status == 403
        assert (await browser.get(url, Cookie="__Secure-1PSID=psid-1; __Secure-1PSIDTS=old"))[0].status == 403
        assert (await browser.get(url, Cookie=f"{browser.cookies}; COMPASS=gemini-pd=simulated"))[0].status == 403
        assert "own host" in (await site.state())["departures"][-1]


async def test_the_first_url_leads_to_another_spelling_of_the_host(open_site):
    async with open_site(media_redirect="host") as site, visit(site.base) as browser:
        _, url, _ = await picture_of(browser)
        response, _ = await browser.get(f"{url}=s0", redirects=False)
        assert response.status == 302
        assert response.headers["Location"].startswith(site.base.replace("127.0.0.1", "localhost") + "/gg-dl/")
        assert response.headers["Location"].endswith("=s0")
    async with open_site(media_redirect="none") as site, visit(site.base) as browser:
        _, url, _ = await picture_of(browser)
        assert (await browser.get(url, redirects=False))[0].status == 200


async def test_the_original_takes_three_hops_and_has_a_mark(browser):
    answer, url, identity = await picture_of(browser)
    (found,) = await browser.call("c8o8Fe", original(answer, identity))
    assert (await browser.get(found))[0].status == 403
    _, first = await browser.get(f"{found}=d-I?alr=yes")
    _, second = await browser.get(first.decode())
    response, content = await browser.get(second.decode())
    assert response.content_type == "image/png"
    assert opened(content).size == (2048, 2048)
    _, plain = await browser.get(f"{url}=s0")
    assert opened(content).tobytes() != opened(plain).tobytes()


async def test_only_a_saved_turn_has_an_original(browser):
    answer, _, identity = await picture_of(browser, temporary=True)
    assert await browser.call("c8o8Fe", original(answer, identity)) is None
    kept, _, own = await picture_of(browser)
    assert await browser.call("c8o8Fe", original(kept, identity)) is None
    await browser.call("GzXR5e", [kept.place[0]])
    assert await browser.call("c8o8Fe", original(kept, own)) is None


async def test_an_edit_shows_the_picture_that_was_sent(browser):
    out = BytesIO()
    Image.new("RGB", (40, 40), (255, 0, 0)).save(out, "PNG")
    _, path = await browser.upload(out.getvalue())
    answer, url, _ = await picture_of(browser, "make it blue", files=[[[path], "red.png"]])
    assert f"- red.png (image/png, {len(out.getvalue())} bytes)" in answer.text
    image = opened((await browser.get(f"{url}=s0"))[1]).convert("RGB")
    assert image.getpixel((image.width // 2, image.height // 20 + 10)) == (255, 0, 0)
    again, url, _ = await picture_of(browser, "make it green", place=answer.place)
    earlier = (await browser.get(f"{url}=s0"))[1]
    assert opened(earlier).tobytes() != opened((await browser.get(f"{url}=s0"))[1]).tobytes() or again.complete


async def test_a_url_expires(open_site):
    from tests.clock import ManualClock

    clock = ManualClock()
    async with open_site(clock=clock, media_seconds=60, session_seconds=0) as site, visit(site.base) as browser:
        _, url, _ = await picture_of(browser)
        assert (await browser.get(url))[0].status == 200
        clock.advance(61)
        assert (await browser.get(url))[0].status == 403


def test_a_video_is_inside_nested_messages():
    content = b"\x00" * 300
    wrapped = enveloped(content)
    assert wrapped[:2] == b"\x08\x01"
    assert content in wrapped
    assert wrapped[2] == 2 << 3 | 2
    length = wrapped[3] & 0x7F | wrapped[4] << 7
    assert wrapped[5 + length :] == b"\x2a\x09simulated"
