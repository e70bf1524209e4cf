"""The admin API over real gateways and the simulated site."""

import httpx2 as httpx
import pytest

from tests.service.admin.conftest import EYE_TOKEN, OTHER_TOKEN, PSID, poll, session_of

STUCK = '<sim stall-after="2" frames="6"/><echo>some words and then nothing more for a long time</echo>'
STREAM = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": STUCK}], "stream": True}


def code(answer):
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return answer.status_code, error["code"]


def test_accounts_are_added_paused_resumed_exported_and_removed_while_the_gateway_serves(start):
    gateway = start()
    added = gateway.add("one")
    assert (added.status_code, added.json()["state"], added.json()["added_by"]) == (201, "ready", "admin:ops")
    assert gateway.chat() == "one"
    assert code(gateway.add("one")) == (409, "exists")
    assert gateway.add("one", replace=True, options={"concurrency": 3}).status_code == 200
    assert gateway("GET", "/v1/accounts/one").json()["concurrency"] == 3
    assert gateway.add("two").status_code == 201
    paused = gateway("POST", "/v1/accounts/one/pause", {"reason": "on holiday"}, token=OTHER_TOKEN)
    assert paused.json()["state"] == "paused"
    assert (paused.json()["message"], paused.json()["paused_by"]) == ("on holiday", "admin:boss")
    assert [gateway.chat() for _ in range(3)] == ["two"] * 3
    assert gateway("POST", "/v1/accounts/two/pause").json()["state"] == "paused"
    assert gateway("POST", "/v1/accounts/one/resume").json()["state"] == "ready"
    assert gateway.chat() == "one"
    exported = gateway("GET", "/v1/accounts/one/export")
    assert (PSID["one"] in exported.json()["secret"], exported.headers["cache-control"]) == (True, "no-store")
    assert gateway("DELETE", "/v1/accounts/one").status_code == 204
    for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/export"), *(("POST", f"/{do}") for do in DOING)):
        assert code(gateway(method, f"/v1/accounts/one{path}")) == (404, "not_found")
    for what, by in (("added", "ops"), ("paused", "boss"), ("resumed", "ops"), ("exported", "ops"), ("removed", "ops")):
        assert f'"by": "admin:{by}"' in gateway.gateway.wait_for(f'"event": "account_{what}"').replace("'", '"')


DOING = ("pause", "resume", "check")


def test_a_route_is_explained_to_any_token(start):
    gateway = start()
    gateway.add("one")
    answer = gateway("GET", "/v1/route?model=gemini-3-pro&tools=true", token=EYE_TOKEN)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["model"], found["route"]) == ("gemini-3-pro", None)
    assert [(hop["hop"], [one["state"] for one in hop["accounts"]]) for hop in found["hops"]] == [("web", ["ready"])]
    for query in ("", "?model=none-such", "?model=gemini-3-pro&tools=perhaps", "?model=gemini-3-pro&other=1"):
        assert gateway("GET", f"/v1/route{query}").status_code == 422


def test_an_account_of_the_settings_is_not_removed_but_paused(start):
    more = f'[[transports.web.accounts]]\nid = "one"\ncookies = "{session_of("one")}"'
    gateway = start(more=more)
    assert code(gateway("DELETE", "/v1/accounts/one")) == (409, "defined_in_settings")
    assert code(gateway.add("one")) == (409, "defined_in_settings")
    assert gateway("POST", "/v1/accounts/one/pause").json()["state"] == "paused"


@pytest.mark.parametrize("token", [None, "wrong-token-of-nobody", "canary-token-ops-471"])
def test_requests_without_a_valid_token_get_401_on_every_path(shared, token):
    for method, path in (("GET", "/v1/accounts"), ("POST", "/v1/accounts"), ("GET", "/nothing"), ("GET", "/v1/events")):
        answer = shared(method, path, token=token)
        assert (code(answer), answer.headers["www-authenticate"]) == ((401, "unauthorized"), "Bearer")


def test_two_authorization_headers_are_refused(shared):
    headers = [("Authorization", f"Bearer {OTHER_TOKEN}"), ("Authorization", f"Bearer {OTHER_TOKEN}")]
    assert httpx.get(f"{shared.url}/v1/status", headers=headers).status_code == 401
    assert httpx.get(f"{shared.url}/v1/status", headers=headers[:1]).status_code == 200
    assert httpx.get(f"{shared.url}/v1/status?token={OTHER_TOKEN}").status_code == 401


def test_a_read_only_token_cannot_change_or_export_accounts(shared):
    for path in ("/v1/accounts", "/v1/status", "/openapi.json"):
        assert shared("GET", path, token=EYE_TOKEN).status_code == 200
    for method, path in (
        ("POST", "/v1/accounts"),
        ("DELETE", "/v1/accounts/one"),
        ("GET", "/v1/accounts/one/export"),
        *(("POST", f"/v1/accounts/one/{do}") for do in DOING),
    ):
        assert code(shared(method, path, token=EYE_TOKEN)) == (403, "forbidden")
    assert shared.state("one") == "ready"


def test_invalid_requests_get_a_status_and_an_error_code(shared):
    assert code(shared("PUT", "/v1/accounts")) == (405, "method_not_allowed")
    assert code(shared("GET", "/v1/accounts/one/pause")) == (405, "method_not_allowed")
    assert shared("HEAD", "/v1/accounts").status_code == 200
    assert code(shared("GET", "/v1/accounts/")) == (404, "not_found")
    json = {"headers": {"Content-Type": "application/json"}}
    assert code(shared("POST", "/v1/accounts", content=b"{", **json)) == (400, "invalid_json")
    assert code(shared("POST", "/v1/accounts", content=b'{"id": "\xff"}', **json)) == (400, "invalid_utf8")
    assert code(shared("POST", "/v1/accounts", content=b"{}", headers={"Content-Type": "text/plain"})) == (
        415,
        "unsupported_media_type",
    )
    assert code(shared("POST", "/v1/accounts", content=b"x" * (1024 * 1024 + 1), **json)) == (413, "request_too_large")
    for wrong in (
        {},
        {"id": "a b", "secret": "x"},
        {"id": "x", "secret": "x", "more": 1},
        {"id": "x", "secret": "Cookie: NID=1"},
        {"id": "x", "secret": session_of("two"), "transport": "nothing"},
        {"id": "x", "secret": session_of("two"), "options": {"concurrency": 0}},
        {"id": "x", "secret": session_of("two"), "options": {"proxy": "gopher://user:canary@x"}},
    ):
        answer = shared("POST", "/v1/accounts", wrong)
        assert code(answer) == (422, "invalid_value")
        assert "canary" not in answer.text
    assert code(shared("POST", "/v1/accounts/one/pause", {"reason": 1})) == (422, "invalid_value")


def test_each_listener_serves_only_its_own_routes(shared):
    gateway = shared.gateway
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/chat/completions", "/gemini_official/v1/models"):
        assert shared("GET", path).status_code == 404
    license_headers = {"Authorization": f"Bearer {gateway.key}"}
    for headers in (license_headers, {"Authorization": f"Bearer {OTHER_TOKEN}"}):
        for path in ("/v1/accounts", "/v1/status", "/v1/events", "/openapi.json", "/admin"):
            assert httpx.get(f"{gateway.origin}{path}", headers=headers).status_code == 404
    assert httpx.get(f"{shared.url}/v1/status", headers=license_headers).status_code == 401


def test_the_status_describes_the_gateway(shared):
    status = shared("GET", "/v1/status").json()
    assert status["store"] == {
        "kind": "sqlite",
        "encrypted": False,
        "available": True,
        "breaker_open": False,
        "reason": "",
    }
    assert (status["draining"], len(status["processes"]), status["accounts"]) == (False, 1, {"ready": 1})


def test_open_requests_of_an_account_are_listed(start, start_command):
    gateway = start()
    gateway.add("one")
    headers = {"Authorization": f"Bearer {gateway.gateway.key}"}
    url = f"{gateway.gateway.base_url}/chat/completions"
    with httpx.Client(timeout=60) as client, client.stream("POST", url, json=STREAM, headers=headers) as response:
        lines = response.iter_lines()
        next(lines)
        rows = poll(lambda: gateway("GET", "/v1/accounts").json()["accounts"], lambda rows: rows[0]["in_flight"])
        assert rows[0]["in_flight"] == 1
        folder = gateway.gateway.log.parent
        listed = start_command("accounts", "list", "--json", cwd=folder)
        assert listed.status() == 0
        assert '"in_flight": 1' in listed.text()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One gateway with one account for the tests that change nothing."""
    from tests.conftest import Gateway
    from tests.service.admin.conftest import SETTINGS, Administered

    settings = SETTINGS.format(url="http://127.0.0.1:9", server="", more="")
    gateway = Gateway(tmp_path_factory.mktemp("shared"), settings)
    administered = Administered(gateway)
    assert administered.add("one").status_code == 201
    yield administered
    administered.close()
    gateway.stop()
