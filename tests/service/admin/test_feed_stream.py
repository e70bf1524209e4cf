"""The feed of real gateways, followed over HTTP."""

import getpass

import httpx2 as httpx

from tests.service.admin.conftest import EYE_TOKEN, OTHER_TOKEN, poll


def test_the_feed_reports_account_changes_and_their_author(start, start_command):
    gateway = start()
    with gateway.events(token=EYE_TOKEN) as feed:
        gateway.add("one")
        assert feed.of("one", "added")["by"] == "admin:ops"
        gateway("POST", "/v1/accounts/one/pause", {"reason": "why"}, token=OTHER_TOKEN)
        paused = feed.of("one", "paused")
        assert (paused["by"], paused["reason"], paused["transport"]) == ("admin:boss", "why", "web")
        command = start_command("accounts", "resume", "one", cwd=gateway.gateway.log.parent)
        assert command.status() == 0
        assert feed.of("one", "resumed")["by"].startswith(f"cli:{getpass.getuser()}@")
        gateway("DELETE", "/v1/accounts/one")
        assert feed.of("one", "removed")["by"] == "admin:ops"
        gateway("POST", "/v1/accounts", {"id": "dead", "secret": "__Secure-1PSID=nobodys; __Secure-1PSIDTS=nobodys"})
        assert gateway("POST", "/v1/accounts/dead/check").json()["healthy"] is False
        chat(gateway)
        changed = feed.of("dead", "needs_attention")
        assert (changed["by"], bool(changed["message"])) == ("", True)


def test_a_feed_is_resumed_and_ends_at_shutdown(start):
    gateway = start()
    with gateway.events() as feed:
        gateway.add("one")
        feed.of("one", "added")
        last = feed.last
    gateway("POST", "/v1/accounts/one/pause")
    gateway("POST", "/v1/accounts/one/resume")
    with gateway.events(last) as feed:
        feed.of("one", "resumed")
        assert [name for _, name, _ in feed.events] == ["paused", "resumed"]
    with gateway.events("of-another-process-7") as feed:
        assert feed.wait(lambda: feed.events)[0][1] == "lost"
        gateway.gateway.signal()
        feed.wait(lambda: feed.ended)
    assert gateway.gateway.status() == 0


def test_a_feed_has_a_bounded_number_of_followers(start):
    gateway = start()
    headers = {"Authorization": f"Bearer {OTHER_TOKEN}"}
    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=64)) as client:
        followers = [
            client.send(client.build_request("GET", f"{gateway.url}/v1/events", headers=headers), stream=True)
            for _ in range(33)
        ]
        assert [follower.status_code for follower in followers] == [200] * 32 + [503]
        for follower in followers:
            follower.close()


def test_changes_of_one_gateway_are_in_the_feed_of_another(start, redis):
    more = f'[store]\nurl = "{redis.url}"\nmin_processes = 2\n'
    one, other = start(more=more), start(more=more)
    with other.events() as feed:
        one.add("one")
        assert feed.of("one", "added")["by"] == "admin:ops"
        one("POST", "/v1/accounts/one/pause")
        assert feed.of("one", "paused")["by"] == "admin:ops"
        one("POST", "/v1/accounts/one/resume", token=OTHER_TOKEN)
        assert feed.of("one", "resumed")["by"] == "admin:boss"
        one("DELETE", "/v1/accounts/one", token=OTHER_TOKEN)
        assert feed.of("one", "removed")["by"] == "admin:boss"
    assert one("GET", "/v1/status").json()["store"]["kind"] == "redis"
    assert len(one("GET", "/v1/status").json()["processes"]) == 2


def test_every_worker_serves_the_admin_api_and_the_feed(start):
    gateway = start(server="workers = 2")
    assert gateway.add("one").status_code == 201
    assert gateway.add("two").status_code == 201
    all_serve = [200] * 20  # enough to reach both workers
    assert poll(lambda: [chat(gateway).status_code for _ in range(20)], lambda found: found == all_serve) == all_serve
    for _ in range(4):
        with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {OTHER_TOKEN}"}) as client:
            accounts = client.get("/v1/accounts").json()["accounts"]
            assert [row["id"] for row in accounts] == ["one", "two"]
    with gateway.events() as feed, gateway.events() as second:
        gateway("POST", "/v1/accounts/one/pause")
        assert feed.of("one", "paused")["by"] == second.of("one", "paused")["by"] == "admin:ops"
        the_other = ["two"] * 4
        assert poll(lambda: [gateway.chat() for _ in range(4)], lambda found: found == the_other) == the_other
        gateway.gateway.signal()
        feed.wait(lambda: feed.ended)
        second.wait(lambda: second.ended)
    assert gateway.gateway.status() == 0


def chat(gateway):
    """Send a chat request and ignore the outcome."""
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {gateway.gateway.key}"}
    return httpx.post(f"{gateway.gateway.base_url}/chat/completions", json=body, headers=headers, timeout=90)
