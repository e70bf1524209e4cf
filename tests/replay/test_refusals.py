"""Reactions to refusals of the site: codes, statuses, redirects and pages, over one account and over two."""

import pytest

from tests.replay import frames
from tests.replay.site import BUILD, PAGE, TOKEN, Answer, Scene, capture, html, redirect

GOOD = Answer(frames.answer("A good answer."))


def code(number, status=13):
    return Answer(frames.body([frames.error(number, status)], frames.BOOKKEEPING, frames.END))


def er(status):
    return Answer(frames.body([frames.failed_with(status)], frames.END))


def asked(stand):
    return [call.account for call in stand.site.asked("generate")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("answer", [code(1013), code(1155), code(1157)], ids=["1013", "1155", "1157"])
def test_a_temporary_refusal_is_retried_with_the_same_account(stand, answer, stream):
    stand.begin(Scene(generate=[answer, GOOD]), accounts=2)
    assert stand.chat(stream=stream).text == "A good answer."
    assert len(asked(stand)) == 2
    assert len(set(asked(stand))) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("number", [1013, 1037, 1096, 1097, 4242])
def test_a_code_after_progress_of_a_tool_is_still_retried(stand, number, stream):
    refused = Answer(frames.body([frames.ids()], [frames.progress()], [frames.error(number)], frames.END))
    stand.begin(Scene(generate=[refused, GOOD]), accounts=2)
    seen = stand.chat(stream=stream)
    assert (seen.status, seen.text, seen.reason) == (200, "A good answer.", "stop")
    assert len(asked(stand)) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_progress_of_a_tool_becomes_thoughts_of_the_answer(stand, stream):
    scene = Scene(
        generate=[Answer(frames.body([frames.progress("Looking")], *frames.text_frames("A text."), frames.END))]
    )
    stand.begin(scene)
    seen = stand.chat(stream=stream)
    assert seen.text == "A text."
    thought = (
        "".join(
            choice.delta.to_dict().get("reasoning_content") or "" for chunk in seen.whole for choice in chunk.choices
        )
        if stream
        else seen.whole.choices[0].message.reasoning_content
    )
    assert thought == "Looking\n"


def test_1157_is_retried_with_the_token_of_a_new_page(stand):
    fresh = PAGE | {"SNlM0e": "AIQ-second:1789723276002"}
    stand.begin(Scene(page=[html(**PAGE), html(**fresh)], generate=[code(1157), GOOD]))
    assert stand.chat().text == "A good answer."
    assert [call.form["at"] for call in stand.site.asked("generate")] == [TOKEN, fresh["SNlM0e"]]


ELSEWHERE = {
    "1037": code(1037),
    "1095": code(1095),
    "er 429": er(429),
    "http 429": Answer(status=429),
    "http 401": Answer(status=401),
    "http 403": Answer(status=403),
    "http 302 sign-in": redirect("https://accounts.google.com/ServiceLogin?continue=https://gemini.google.com/app"),
    "http 302 consent": redirect("https://consent.google.com/ml?continue=https://gemini.google.com/app"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_refusal_of_one_account_is_retried_on_another(stand, name, stream):
    first = ELSEWHERE[name]

    def answers(site):
        """Refuse the account that is asked first, and no other."""
        calls = site.asked("generate")
        return first if calls[-1].account == calls[0].account else GOOD

    stand.begin(Scene(generate=[answers]), accounts=2)
    assert stand.chat(stream=stream).text == "A good answer."
    assert len(set(asked(stand))) == 2


ONE_ACCOUNT = {
    "1003": (code(1003, 3), range(400, 500)),
    "1037": (code(1037), [429]),
    "1053": (code(1053, 8), range(400, 500)),
    "1100": (code(1100), range(400, 500)),
    "1095": (code(1095), [502, 503]),
    "4242": (code(4242), [502, 503]),
    "http 500": (Answer(status=500), [502, 503]),
    "html": (Answer(b"<!doctype html><p>what?", headers=(("Content-Type", "text/html"),)), [502, 503]),
    "bookkeeping": (Answer(frames.body(frames.END)), range(429, 600)),
    "er 400": (er(400), range(400, 600)),
    "er 500": (er(500), [502, 503]),
    "empty": (Answer(b""), [502, 503]),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ONE_ACCOUNT)
def test_a_refusal_is_an_error_of_its_kind(stand, name, stream):
    answer, statuses = ONE_ACCOUNT[name]
    stand.begin(Scene(generate=[answer]))
    assert stand.chat(stream=stream).status in statuses
    assert len(asked(stand)) <= 3


def test_a_stale_build_reloads_the_page_once(stand):
    fresh = PAGE | {"cfb2h": "boq_assistant-bard-web-server_20261201.01_p0"}
    stand.begin(Scene(page=[html(**PAGE), html(**fresh)], generate=[Answer(status=405), GOOD]))
    assert stand.chat().text == "A good answer."
    assert [call.query["bl"] for call in stand.site.asked("generate")] == [BUILD, fresh["cfb2h"]]


def test_a_build_that_stays_stale_is_tried_twice_only(stand):
    stand.begin(Scene(generate=[Answer(status=405)]))
    assert stand.chat().status >= 500
    assert len(asked(stand)) == 2


def without(*names):
    return {name: value for name, value in PAGE.items() if name not in names}


def spaced(**values):
    text = frames.page(**values).decode().replace('":"', '": \n "')
    return Answer(text.encode(), headers=(("Content-Type", "text/html; charset=utf-8"),))


PAGES = {
    "white space": (spaced(**PAGE), {"at": TOKEN, "bl": BUILD}),
    "thykhd": (html(**without("SNlM0e"), thykhd="thy:17"), {"at": "thy:17", "bl": BUILD}),
    "both": (html(**PAGE, thykhd="thy:17"), {"at": TOKEN}),
    "no build": (html(**without("cfb2h")), {"at": TOKEN, "bl": None}),
    "no session id": (html(**without("FdrFJe")), {"at": TOKEN, "f.sid": None, "bl": BUILD}),
    "no language": (html(**without("TuX5cc")), {"at": TOKEN}),
    "no push id": (html(**without("qKIAYe")), {"at": TOKEN}),
    "no token": (html(**without("SNlM0e")), {"at": None, "bl": BUILD}),
    "empty token": (html(**PAGE | {"SNlM0e": ""}), {"at": None}),
    "only a token": (html(SNlM0e=TOKEN), {"at": TOKEN, "bl": None, "f.sid": None}),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_with_missing_keys_is_used(stand, name):
    page, sent = PAGES[name]
    [psid] = stand.begin(Scene(page=[page], generate=[GOOD]))
    assert stand.chat().text == "A good answer."
    [call] = stand.site.asked("generate")
    said = call.form | call.query
    assert {field: said.get(field) or None for field in sent} == sent
    assert stand.row(psid)["state"] == "ready"


NO_PAGES = {
    "sign-in": redirect("https://accounts.google.com/ServiceLogin?continue=https://gemini.google.com/app"),
    "consent": redirect("https://consent.google.com/ml?continue=https://gemini.google.com/app"),
    "sorry": redirect("https://www.google.com/sorry/index?continue=https://gemini.google.com/app"),
    "no key": html(other="value"),
}


@pytest.mark.parametrize("name", NO_PAGES)
def test_a_page_that_is_not_the_app_needs_attention(stand, name):
    [psid] = stand.begin(Scene(page=[NO_PAGES[name]], generate=[GOOD]))
    assert stand.chat().status in (502, 503)
    row = stand.poll(lambda: (row := stand.row(psid))["state"] == "needs_attention" and row, 5)
    assert row["message"]
    assert asked(stand) == []


@pytest.mark.parametrize("location", ["/u/0/app", "/app?hl=en", "https://gemini.google.com/u/2/app?pli=1"])
def test_a_page_that_redirects_to_the_app_is_followed(stand, location):
    stand.begin(Scene(page=[redirect(location), html(**PAGE)], generate=[GOOD]))
    assert stand.chat().text == "A good answer."


def test_a_page_that_redirects_to_itself_causes_no_loop(stand):
    [psid] = stand.begin(Scene(page=[redirect("/app")], generate=[GOOD]))
    assert stand.chat().status == 502
    assert len(stand.site.asked("page")) <= 10
    assert stand.row(psid)["state"] != "needs_attention"


STATUSES = [1014, 1016, 1021, 1040, 1042, 1054, 1057, 1060]


@pytest.mark.parametrize("status", STATUSES)
def test_an_account_with_a_bad_status_gets_no_prompt(stand, status):
    payload = [None] * 14 + [status, [], [], []]
    [psid] = stand.begin(Scene(rpcs={"otAQ7b": [frames.rpc("otAQ7b", payload)]}, generate=[GOOD]))
    assert stand.chat().status in (502, 503)
    row = stand.poll(lambda: (row := stand.row(psid))["state"] == "needs_attention" and row, 5)
    assert row["message"]
    assert asked(stand) == []


@pytest.mark.parametrize("status", [None, 1000, 1033])
def test_an_account_with_a_good_status_gets_the_prompt(stand, status):
    payload = [None] * 14 + [status, [], [], []]
    stand.begin(Scene(rpcs={"otAQ7b": [frames.rpc("otAQ7b", payload)]}, generate=[GOOD]))
    assert stand.chat().text == "A good answer."


@pytest.mark.parametrize("status", [3, 5, 13])
def test_one_failed_account_call_does_not_stop_the_account(stand, status):
    fine = frames.rpc("otAQ7b", [None] * 14 + [1000])
    stand.begin(Scene(rpcs={"otAQ7b": [frames.denied("otAQ7b", status), fine]}, generate=[GOOD]))
    stand.poll(lambda: stand.chat().text == "A good answer.", 2)


def test_a_call_carries_the_values_of_the_page(stand):
    stand.begin(Scene(generate=[GOOD]))
    stand.chat()
    [call] = stand.site.asked("generate")
    assert call.form["at"] == TOKEN
    assert (call.query["bl"], call.query["f.sid"], call.query["hl"]) == (BUILD, PAGE["FdrFJe"], "en")
    assert call.headers["origin"] == "https://gemini.google.com"
    assert call.headers["x-same-domain"] == "1"


def test_a_token_that_is_always_refused_causes_no_loop(stand):
    stand.begin(Scene(generate=[capture("http400-xsrf.txt", 400)]))
    assert stand.chat().status >= 400
    assert len(asked(stand)) <= 3


@pytest.mark.parametrize("rpc", ["otAQ7b", "ESY5D"])
def test_the_token_of_an_http_400_of_a_batch_call_is_used_from_then_on(stand, rpc):
    token = "AIQ-of-a-batch-call:1789723276999"

    def refused_once(site):
        refused = Answer(frames.xsrf(token), 400)
        return refused if len(site.asked(rpc)) == 1 else Answer(frames.body([frames.rpc(rpc, [])], frames.END))

    stand.begin(Scene(rpcs={rpc: [refused_once]}, generate=[GOOD]))
    assert stand.chat().text == "A good answer."
    assert asked(stand)
    assert stand.site.asked("generate")[-1].form["at"] == token


def test_the_token_of_one_account_is_not_used_for_another(stand):
    tokens = {}

    def answers(site):
        call = site.asked("generate")[-1]
        token = tokens.setdefault(call.account, f"AIQ-{call.account}:1789723276000")
        return GOOD if call.form.get("at") == token else Answer(frames.xsrf(token), 400)

    stand.begin(Scene(generate=[answers]), accounts=2)
    for _ in range(6):
        assert stand.chat().text == "A good answer."
    calls = stand.site.asked("generate")
    assert {call.account for call in calls} == tokens.keys()
    assert all(call.form["at"] in (tokens[call.account], TOKEN) for call in calls)
    assert len(calls) == 6 + len(tokens)


def test_an_escaped_token_of_the_page_is_read(stand):
    page = frames.page(**PAGE).replace(b"AIQ-page-token:", b"AIQ\\u002dpage-token\\u003a")
    stand.begin(Scene(page=[Answer(page, headers=(("Content-Type", "text/html"),))], generate=[GOOD]))
    assert stand.chat().text == "A good answer."
    assert stand.site.asked("generate")[0].form["at"] == TOKEN


SIGNED_OUT = {
    "status 1016": Scene(rpcs={"otAQ7b": [frames.rpc("otAQ7b", [None] * 14 + [1016])]}, generate=[GOOD]),
    "redirect of the page": Scene(page=[NO_PAGES["sign-in"]], generate=[GOOD]),
    "denied": Scene(rpcs={"otAQ7b": [frames.denied("otAQ7b", 7)]}, generate=[GOOD]),
}


@pytest.mark.parametrize("name", SIGNED_OUT)
def test_a_dead_account_gets_no_request_and_is_ready_with_good_cookies(stand, name):
    dead = SIGNED_OUT[name]
    [psid] = stand.begin(Scene(dead.generate, list(dead.page), rpcs=dict(dead.rpcs)))
    stand.poll(lambda: stand.row(psid)["state"] == "needs_attention", 5)
    before = len(stand.site.calls)
    assert stand.chat().status == 503
    assert len(stand.site.calls) == before
    stand.site.scene = Scene(generate=[GOOD])
    stand.replace(psid)
    assert stand.chat().text == "A good answer."
    stand.poll(lambda: stand.row(psid)["state"] == "ready", 5)
