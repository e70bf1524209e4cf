"""Cookie rotation over the replayed site: the requests, and the state of the account afterwards."""

import json
from dataclasses import replace

import pytest

from tests.replay import frames
from tests.replay.site import Answer, Scene, capture, recorded

GOOD = Answer(frames.answer("A good answer."))
NEVER = capture("rotate-403-body.txt", 403)
REFUSED = Answer(status=401)


def renewed(value, *more, body="rotate-200-body.txt"):
    """Return the answer that sets a new rolling cookie."""
    cookies = [("Set-Cookie", f"{name}; Domain=.google.com; Path=/; Secure") for name in (value, *more)]
    return Answer(recorded(body), headers=(("Content-Type", "application/json; charset=utf-8"), *cookies))


@pytest.fixture(scope="module")
def rotating_stand(gateway_over):
    return gateway_over(rotate_seconds=1)


@pytest.fixture
def stand(rotating_stand):
    yield rotating_stand
    rotating_stand.end()


def test_a_session_is_rotated_in_the_form_of_the_site_and_then_used(stand):
    scene = Scene(rotate=[renewed("__Secure-1PSIDTS=psidts-new", "SIDCC=new")], generate=[GOOD])
    [psid] = stand.begin(scene, cookies="; NID=nid")
    [call] = stand.poll(lambda: stand.site.asked("rotate"))
    assert call.body == b'[000,"-0000000000000000000"]'
    assert call.headers["content-type"] == "application/json"
    assert call.headers["origin"] == "https://accounts.google.com"
    assert set(call.cookies) == {"__Secure-1PSID", "__Secure-1PSIDTS"}
    stand.poll(lambda: stand.lines("session_rotated"))
    assert stand.chat().text == "A good answer."
    assert stand.site.asked("generate")[0].cookies["__Secure-1PSIDTS"] == "psidts-new"
    assert stand.row(psid)["state"] == "ready"


@pytest.mark.parametrize(("said", "kept"), [(600, 600), (59, 60), (86400, 3600)])
def test_the_site_determines_the_time_of_the_next_rotation(stand, said, kept):
    answer = renewed("__Secure-1PSIDTS=psidts-new")
    answer = replace(answer, body=answer.body.replace(b"600", str(said).encode()))
    stand.begin(Scene(rotate=[answer]))
    [line] = stand.poll(lambda: stand.lines("session_rotated"))
    assert json.loads(line)["interval"] == kept


def test_a_session_that_is_never_rotated_still_serves_and_a_warning_is_logged(stand):
    [psid] = stand.begin(Scene(rotate=[NEVER], generate=[GOOD]))
    stand.poll(lambda: stand.site.asked("rotate"))
    assert stand.chat().text == "A good answer."
    assert stand.row(psid)["state"] == "ready"
    stand.poll(lambda: stand.lines("rotation_disabled"))


def test_a_check_says_that_a_session_is_never_rotated(stand):
    [psid] = stand.begin(Scene(rotate=[NEVER]))
    found = stand.check(psid)["rotation"]
    assert found["level"] == "warning"
    assert "never" in found["message"] + found["advice"]


def test_a_refused_rotation_is_retried_without_the_rolling_cookie(stand):
    scene = Scene(rotate=[REFUSED, renewed("__Secure-1PSIDTS=psidts-new")], generate=[GOOD])
    [psid] = stand.begin(scene)
    first, again = stand.poll(lambda: len(calls := stand.site.asked("rotate")) > 1 and calls)
    assert set(first.cookies) == {"__Secure-1PSID", "__Secure-1PSIDTS"}
    assert set(again.cookies) == {"__Secure-1PSID"}
    stand.poll(lambda: stand.lines("session_rotated"))
    assert stand.chat().text == "A good answer."
    assert stand.row(psid)["state"] == "ready"


def test_a_rotation_that_is_refused_twice_needs_attention(stand):
    [psid] = stand.begin(Scene(rotate=[REFUSED], generate=[GOOD]))
    row = stand.poll(lambda: (row := stand.row(psid))["state"] == "needs_attention" and row)
    assert row["message"]
    assert stand.chat().status in (502, 503)
    assert stand.site.asked("generate") == []
