"""A client that sends what the web transport sends, and shows what the site answered."""

import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlencode

import aiohttp
import pytest

from tests.transports.conftest import ACCOUNT
from transports.simulator import export_of
from transports.web import wire
from transports.web.codec import encode, jspb
from transports.web.codec.frames import FrameParser
from transports.web.session.page import read_page

UUID = "0F8FAD5B-D9CB-469F-A165-70867728950E"
MODEL = encode.ModelHeader(id=wire.MODEL_IDS["pro"]["advanced"], number=3, capacity=2)
CALL = encode.GenerateCall(
    prompt="<echo>ok</echo>",
    language="en",
    request_uuid=UUID,
    client_uuid=UUID.lower(),
    model=MODEL,
)
VIDEO = {49: 11, 54: [], 55: [[16]]}
RESEARCH = {49: 1, 54: [[[[[1]]]]], 55: [[1]]}


class Answer:
    """What one turn was answered."""

    def __init__(self, status, body):
        self.status, self.body = status, body
        frames = [json.loads(frame) for frame in FrameParser(1 << 22).feed(body)] if status == 200 else []
        self.parts = [part for frame in frames for part in frame if part[0] == "wrb.fr"]
        self.inner = [json.loads(part[2]) for part in self.parts if part[2]]

    @property
    def code(self):
        return next((part[5][2][0][1][0] for part in self.parts if len(part) > 5 and len(part[5]) > 2), None)

    @property
    def candidate(self):
        return jspb.field(self.snapshot, 4)[0]

    @property
    def snapshot(self):
        """The last one; a title may follow it."""
        return next(inner for inner in reversed(self.inner) if jspb.field(inner, 4))

    @property
    def text(self):
        return self.candidate[1][0]

    @property
    def complete(self):
        return jspb.field(self.candidate, 8) == [2]

    @property
    def place(self):
        """What slot 2 says to go on."""
        ids, context = jspb.field(self.snapshot, 1), jspb.field(self.snapshot, 25)
        return [*ids, self.candidate[0], *[None] * 6, context]

    def rich(self, field):
        return jspb.field(jspb.field(self.candidate, 12), field)

    @property
    def document(self):
        return jspb.field(self.candidate, 30)[0]


class Browser:
    """Sends requests that are right, unless the test spoils them."""

    def __init__(self, http, base, page, cookies):
        self.http, self.base, self.page, self.cookies = http, base, page, cookies

    def query(self, **more):
        return {
            "bl": self.page.build_label,
            "f.sid": self.page.session_id,
            "hl": "en",
            "_reqid": "12345",
            "rt": "c",
            **more,
        }

    async def post(self, path, headers, query, form):
        headers = {**headers, "Cookie": self.cookies}
        async with self.http.post(self.base + path, headers=headers, params=query, data=form) as response:
            return response.status, await response.read()

    async def get(self, url, redirects=True, **headers):
        headers = {"Cookie": self.cookies, **headers}
        async with self.http.get(url, headers=headers, allow_redirects=redirects) as response:
            return response, await response.read()

    async def generate(self, call=CALL, spoil=lambda headers, query, form: None):
        headers = encode.generate_headers(call, self.base)
        query = self.query()
        form = {
            name: values[0]
            for name, values in parse_qs(encode.generate_form(call, self.page.access_token).decode()).items()
        }
        spoil(headers, query, form)
        return await self.post(wire.GENERATE_PATH, headers, query, urlencode(form).encode())

    async def say(self, prompt, slots=None, place=None, files=None, temporary=False):
        """Say a turn; slots as given, by number."""

        def spoil(headers, query, form):
            inner = json.loads(json.loads(form["f.req"])[1])
            inner[0][0], inner[0][3] = prompt, files
            inner[2] = place or inner[2]
            inner[45] = 1 if temporary else None
            for number, value in (slots or {}).items():
                inner[number] = value
            form["f.req"] = json.dumps([None, json.dumps(inner)])

        return Answer(*await self.generate(spoil=spoil))

    async def batch(self, *calls, spoil=lambda headers, query, form: None):
        headers = encode.batch_headers(self.base, UUID)
        query = self.query(**{"rpcids": ",".join(rpc for rpc, _ in calls), "source-path": "/app"})
        form = {
            name: values[0]
            for name, values in parse_qs(encode.batch_form(calls, self.page.access_token).decode()).items()
        }
        spoil(headers, query, form)
        return await self.post(wire.BATCH_PATH, headers, query, urlencode(form).encode())

    async def call(self, rpc, payload):
        """Make one batch call; return its answer, or None if it is rejected."""
        status, body = await self.batch((rpc, json.dumps(payload)))
        assert status == 200
        (part,) = Answer(status, body).parts
        return json.loads(part[2]) if part[2] else None

    async def newest(self, place):
        """Read a conversation back; return its newest turn's candidate."""
        turns = (await self.call("hNvQHb", [place[0], 10, None, 1, [1], [4], None, 1]))[0]
        return turns[0][3][0][0]

    async def upload(self, content, name="a.bin", **headers):
        form = aiohttp.FormData()
        form.add_field("file", content, filename=name)
        sent = {
            "Push-ID": self.page.push_id,
            "X-Tenant-Id": "bard-storage",
            "Origin": self.base,
            "Referer": f"{self.base}/",
            **headers,
        }
        async with self.http.post(f"{self.base}/upload", data=form, headers=sent) as response:
            return response.status, await response.text()


@asynccontextmanager
async def visit(base, account=ACCOUNT):
    """Open a site's page as an account's browser does; None: as a guest."""
    cookies = export_of(account) if account else ""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        async with http.get(f"{base}/app", headers={"Cookie": cookies}) as response:
            page = read_page(await response.text())
        yield Browser(http, base, page, cookies)


@pytest.fixture
async def browser(site):
    async with visit(site.base) as opened:
        yield opened
