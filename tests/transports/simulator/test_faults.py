import aiohttp
import pytest

from tests.transports.simulator.conftest import visit


@pytest.fixture
async def order(site):
    async with aiohttp.ClientSession() as http:

        async def send(fault, **headers):
            async with http.post(f"{site.base}/simulator/faults", json=fault, headers=headers) as response:
                return response.status, await response.text()

        yield send


async def test_an_endpoint_fails_as_often_as_ordered(browser, site, order):
    await order([{"where": "app", "status": 302, "location": "https://consent.google.com/m", "times": 2}])
    await order({"where": "app", "html": True})
    for _ in range(2):
        response, _ = await browser.get(f"{site.base}/app", redirects=False)
        assert (response.status, response.headers["Location"]) == (302, "https://consent.google.com/m")
    response, page = await browser.get(f"{site.base}/app")
    assert response.status == 200
    assert b"SNlM0e" not in page
    assert b"SNlM0e" in (await browser.get(f"{site.base}/app"))[1]


async def test_calls_turns_uploads_and_rotations_can_fail(browser, site, order):
    await order(
        [
            {"where": "otAQ7b", "status": 503},
            {"where": "generate", "status": 429, "retry_after": "9"},
            {"where": "upload", "status": 500},
            {"where": "rotate", "status": 401},
        ],
    )
    assert (await browser.batch(("MaZiqc", "[13,null,[0,null,1]]")))[0] == 200
    assert (await browser.batch(("otAQ7b", "[]")))[0] == 503
    assert (await browser.batch(("otAQ7b", "[]")))[0] == 200
    assert (await browser.say("x")).status == 429
    assert (await browser.say("x")).status == 200
    assert (await browser.upload(b"x"))[0] == 500
    async with browser.http.post(f"{site.base}/RotateCookies") as response:
        assert response.status == 401


@pytest.mark.parametrize(
    "fault",
    [{"where": "moon", "status": 500}, {"where": "app", "status": 200}, {"where": "app"}, {"more": 1}, 5, [1]],
)
async def test_an_invalid_fault_is_refused_with_the_reason(order, fault):
    status, why = await order(fault)
    assert status == 400
    assert why


async def test_faults_are_ordered_as_json_and_can_be_cleared(browser, site, order):
    assert (await order({"where": "app", "status": 500}, **{"Content-Type": "text/plain"}))[0] == 415
    await order({"where": "app", "status": 500, "times": 9})
    async with browser.http.delete(f"{site.base}/simulator/faults") as response:
        assert await response.json() == {"waiting": 0}
    async with visit(site.base) as again:
        assert again.page.access_token


async def test_an_exception_in_the_simulator_is_logged(site, monkeypatch):
    from structlog.testing import capture_logs

    def broken(*arguments, **options):
        raise LookupError("a mistake")

    monkeypatch.setattr("transports.simulator.request_checks.form", broken)
    with capture_logs() as lines:
        async with visit(site.base) as browser:
            assert (await browser.generate())[0] == 500
    assert [(line["event"], line["path"]) for line in lines if line["event"] == "simulator_failed"] == [
        ("simulator_failed", browser_path()),
    ]


def browser_path():
    from transports.web import wire

    return wire.GENERATE_PATH
