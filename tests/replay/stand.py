"""A gateway process between the replayed site and the real `openai` client."""

import itertools
import json
import time
from contextlib import suppress
from dataclasses import dataclass

import httpx2 as httpx
import openai

from tests.conftest import KEY

ADMIN_TOKEN = "replay-admin-token-4711"
SETTINGS = """
[server]
port = 0

[drain]
grace_seconds = 1

[admin]
port = 0

[[admin.tokens]]
name = "ops"
token = "{token}"

[[licenses]]
id = "tester"
key = "{key}"

[pool]
throttle_ratio = 0

[transports.web]
guest = {guest}
ca_file = "{ca_file}"
rotate_seconds = {rotate_seconds}
poll_seconds = 0.1
{more}
"""


@dataclass(frozen=True)
class Seen:
    """The parts of a chat completion that a client sees."""

    text: str = ""
    reason: str | None = None
    status: int = 200
    code: str | None = None
    headers: dict | None = None
    whole: object = None
    """The SDK's own answer, if the call succeeded."""


class Stand:
    """Asks the gateway; each test has accounts of its own, so no session outlives it."""

    def __init__(self, site, gateway):
        self.site, self.gateway = site, gateway
        self.client = openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=60)
        url = gateway.wait_for("Admin API on").rpartition(" ")[2].strip()
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        self.admin = httpx.Client(base_url=url, headers=headers, timeout=60)
        self._numbers = itertools.count(1)
        self._accounts, self._read, self._proxy = [], 0, ""

    def close(self):
        self.client.close()
        self.admin.close()

    def begin(self, scene, accounts=1, **more):
        """Set the scene and add that many accounts; return the PSID of each."""
        self._proxy = self.site.play(scene)
        self._read = len(self.gateway.text())
        return [self.add(**more) for _ in range(accounts)]

    def add(self, cookies="", **options):
        name = f"replay-{next(self._numbers)}"
        session = f"__Secure-1PSID=psid-{name}; __Secure-1PSIDTS=psidts-{name}{cookies}"
        asked = {"id": name, "secret": session, "options": {"proxy": self._proxy, **options}}
        answer = self.admin.post("/v1/accounts", json=asked)
        assert answer.status_code == 201, answer.text
        self._accounts.append(name)
        return f"psid-{name}"

    def replace(self, psid):
        """Give an account another session."""
        name = psid.removeprefix("psid-")
        session = f"__Secure-1PSID=psid-{name}-again; __Secure-1PSIDTS=psidts-{name}-again"
        asked = {"id": name, "secret": session, "options": {"proxy": self._proxy}, "replace": True}
        answer = self.admin.post("/v1/accounts", json=asked)
        assert answer.status_code == 200, answer.text

    def end(self):
        """Remove the accounts of the test."""
        while self._accounts:
            answer = self.admin.delete(f"/v1/accounts/{self._accounts.pop()}")
            assert answer.status_code == 204, answer.text

    def row(self, psid):
        """Return an account as the admin API shows it."""
        return self.admin.get(f"/v1/accounts/{psid.removeprefix('psid-')}").json()

    def check(self, psid):
        """Return the findings of `accounts check`, by step."""
        answer = self.admin.post(f"/v1/accounts/{psid.removeprefix('psid-')}/check").json()
        return {finding["step"]: finding for finding in answer["findings"]}

    def lines(self, event):
        """Return the gateway's log lines of one event since the scene began."""
        read = self.gateway.text()[self._read :].splitlines()
        return [line for line in read if line.startswith("{") and json.loads(line).get("event") == event]

    def poll(self, look, seconds=60):
        """Look until there is something; return it."""
        until = time.monotonic() + seconds
        while not (found := look()) and time.monotonic() < until:
            time.sleep(0.02)
        lines = self.gateway.text()[self._read :].splitlines()
        assert found, "\n".join(line for line in lines if '"admin /v1/' not in line)
        return found

    def chat(self, model="gemini-2.5-flash", content="a question", *, stream=False, **options):
        """Ask, and return what is seen."""
        asked = {"model": model, "messages": [{"role": "user", "content": content}], **options}
        try:
            return self._streamed(asked) if stream else self._whole(asked)
        except openai.APIStatusError as error:
            return Seen(status=error.status_code, code=error.code, headers=error.response.headers)

    def _whole(self, asked):
        raw = self.client.chat.completions.with_raw_response.create(**asked)
        answer = raw.parse()
        [choice] = answer.choices
        return Seen(choice.message.content, choice.finish_reason, headers=raw.headers, whole=answer)

    def _streamed(self, asked):
        raw = self.client.chat.completions.with_raw_response.create(**asked, stream=True)
        text, reason, chunks = "", None, []
        with suppress(openai.APIError), raw.parse() as stream:
            for chunk in stream:
                chunks.append(chunk)
                for choice in chunk.choices:
                    assert reason is None, "something behind the end"
                    text += choice.delta.content or ""
                    reason = choice.finish_reason
        return Seen(text, reason, headers=raw.headers, whole=chunks)
