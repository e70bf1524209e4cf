"""Requests as public clients and browsers send them, against the profile `site`.

Each shape is written here from the protocol page's table "What known clients send", without any code of the product.
"""

import json
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import aiohttp
import pytest

from tests.transports.conftest import ACCOUNT
from transports.simulator import SimulatedAccount, export_of

GENERATE = "/_/BardChatUi/data/assistant.lamda.BardFrontendService/StreamGenerate"
BATCH = "/_/BardChatUi/data/batchexecute"
FORM = "application/x-www-form-urlencoded"
UUID = "1c2d3e4f-0000-4000-8000-00805f9b34fb"
MODEL_HEADER, REQUEST_HEADER = "x-goog-ext-525001261-jspb", "x-goog-ext-525005358-jspb"
FRESH = ["", "", "", *[None] * 6, ""]
FREE = SimulatedAccount(psid="psid-free", psidts="psidts-free", plan="free")
FLASH, LITE_FREE, PRO_PAID = "56fdd199312815e2", "cf41b0e0dd7d53e5", "e6fa609c3fa255c0"


class Answer:
    """An answer, read by line as most clients do."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        lines = [line for line in body.decode().split("\n") if line.startswith("[")]
        self.parts = [part for line in lines for part in json.loads(line)]
        self.content = [part for part in self.parts if part[0] == "wrb.fr"]
        self.inner = [json.loads(part[2]) for part in self.content if part[2]]

    @property
    def snapshots(self):
        return [inner for inner in self.inner if len(inner) > 4 and inner[4]]

    @property
    def text(self):
        return self.snapshots[-1][4][0][1][0]

    @property
    def codes(self):
        return [part[5][2][0][1][0] for part in self.content if len(part) > 5 and part[5] and len(part[5]) > 2]

    @property
    def place(self):
        """The conversation, as a browser names it: ids and token."""
        context = next((inner[25] for inner in self.inner if len(inner) > 25 and inner[25]), "")
        last = self.snapshots[-1]
        return [*last[1][:2], last[4][0][0], *[None] * 6, context]


def laid_out(length, slots):
    return [slots.get(slot) for slot in range(length)]


def common(prompt, files, place, **slots):
    always = {0: [prompt, 0, None, files, None, None, 0], 1: ["en"], 2: place or FRESH, 7: 1, 10: 1, 11: 0, 18: 0}
    return always | {27: 1, 30: [4], 53: 0, 61: []} | {int(slot[1:]): value for slot, value in slots.items()}


class S:
    """Sophomoresty/gemini-web2api, 08-14: it names no model in a header, and is always a fresh conversation."""

    form, referer, keys = FORM, "/app", ("hl", "_reqid", "rt")
    length, auth, flags = 102, True, ([4], [2])
    model_header = False
    form_end = b""

    def slots(self, prompt, files=None, place=None, *, temporary=False):
        del place
        turn, device = self.flags
        more = {45: 1, 41: [1]} if temporary else {41: device}
        return common(prompt, files, None, _6=[0], _17=[turn], _31=2, _59=UUID, _68=1, _79=3, _80=3) | more

    def file(self, path, name, mime):
        del name, mime
        return [None, None, path]


class SOneFile(S):
    """The same in one file: 80 slots, no signature, slot 80 unset."""

    length, auth, flags = 80, False, ([0], [2])

    def slots(self, prompt, files=None, place=None, *, temporary=False):
        return {
            slot: value
            for slot, value in super().slots(prompt, files, place, temporary=temporary).items()
            if slot != 80
        }


class Browser:
    """A browser, by the notes of four sources; slots 3 and 4 are what it attests, and any text here."""

    form, referer, keys = f"{FORM};charset=UTF-8", "/", ("bl", "f.sid", "hl", "_reqid", "rt")
    length, auth, model_header = 97, False, True
    kept, device = [1], [1]
    form_end = b"&"
    """Scripts of browsers write `&` behind each field, the last one too."""

    def slots(self, prompt, files=None, place=None, *, temporary=False):
        attested = {3: "!" + "attested" * 300, 4: "0123456789abcdef" * 2, 91: 0, 96: 1}
        more = {45: 1, 67: 0, 68: 2} if temporary else {68: 2}
        slots = common(prompt, files, place, _6=self.kept, _17=[[1 if place else 0]], _41=self.device, _59=UUID.upper())
        return slots | attested | {79: 1, 80: 1} | more

    def file(self, path, name, mime):
        return [[path, 1 if mime.startswith("image/") else 3, None, mime], name, *[None] * 6, [0]]


class BrowserOfT(Browser):
    """The same by the notes of T and G: 99 slots, other flags, `""` where a token of the conversation may stand."""

    length, kept, device = 99, [0], [2]

    def slots(self, prompt, files=None, place=None, *, temporary=False):
        return super().slots(prompt, files, place and [*place[:9], ""], temporary=temporary) | {61: [1], 91: None}


class Z(Browser):
    """zexadev/gemini-web2api-go 4.6: a browser's slots with nothing attested, and a signature from the cookies."""

    form, referer, keys, auth = f"{FORM};charset=utf-8", "/app", ("bl", "hl", "_reqid", "rt"), True
    kept, model_header = [0], True

    def slots(self, prompt, files=None, place=None, *, temporary=False):
        return super().slots(prompt, files, place, temporary=temporary) | {3: None, 4: None, 91: 0, 96: 0}


class Visitor:
    """Sends one client's requests to a site."""

    def __init__(self, http, base, client, account):
        self.http, self.base, self.client, self.account = http, base, client, account
        self.page = ""

    def key(self, name):
        return self.page.partition(f'"{name}":"')[2].partition('"')[0]

    async def open(self):
        async with self.http.get(f"{self.base}/app", headers=self.cookies()) as response:
            self.page = await response.text()

    def cookies(self):
        return {"Cookie": f"{export_of(self.account)}; NID=511=x; SAPISID=abc/def" if self.account else "NID=511=x"}

    def headers(self, **more):
        site = "https://gemini.google.com"
        headers = {"Content-Type": self.client.form, "Origin": site, "Referer": site + self.client.referer}
        if self.client.auth:
            headers |= {"Authorization": f"SAPISIDHASH 1787000000_{'ab' * 20}", "X-Goog-AuthUser": "0"}
        return {**headers, "X-Same-Domain": "1", **self.cookies(), **more}

    def query(self, **more):
        known = {"bl": self.key("cfb2h"), "f.sid": self.key("FdrFJe"), "hl": "en", "_reqid": "345678", "rt": "c"}
        return {name: known[name] for name in self.client.keys} | more

    async def post(self, path, query, form, headers):
        data = urlencode(form).encode() + self.client.form_end
        async with self.http.post(self.base + path, params=query, data=data, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def say(self, prompt, *, slots=None, model=FLASH, token=None, query=None, headers=None, **more):
        """Say a turn; `slots` and `query` change what the client sends, `headers` replaces the model's headers."""
        inner = laid_out(self.client.length, self.client.slots(prompt, **more) | (slots or {}))
        form = {"at": self.key("SNlM0e") if token is None else token, "f.req": json.dumps([None, json.dumps(inner)])}
        headers, own = self.headers(**(headers or {})), headers is None
        if self.client.model_header and own:
            header = [1, None, None, None, model, None, None, 1, [4, 5, 6, 8, 4, 5, 6, 8], None, None, 2]
            headers |= {MODEL_HEADER: json.dumps([*header, None, None, 1, 1, UUID])}
            headers |= {"x-goog-ext-73010989-jspb": "[]", REQUEST_HEADER: json.dumps([UUID.upper(), 1])}
        return await self.post(GENERATE, self.query() | (query or {}), form, headers)

    async def batch(self, *calls, **headers):
        """Make batch calls, each given as `(rpc, payload as text, fourth field)`."""
        wanted = [[rpc, payload, None, name] for rpc, payload, name in calls]
        form = {"f.req": json.dumps([wanted]), "at": self.key("SNlM0e")}
        query = self.query(rpcids=",".join(rpc for rpc, *_ in calls))
        return await self.post(BATCH, query, form, self.headers(**headers))

    async def send_resumable(self, content, body, **headers):
        """Upload in two requests; return the path."""
        start = {
            "x-goog-upload-command": "start",
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-header-content-length": str(len(content)),
            "push-id": self.key("qKIAYe"),
            "x-tenant-id": "bard-storage",
            "Content-Type": f"{FORM};charset=utf-8",
            **headers,
        }
        async with self.http.post(f"{self.base}/upload/", data=body, headers=start) as response:
            assert response.status == 200
            where = response.headers["x-goog-upload-url"]
        finish = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0", "Content-Type": "image/png"}
        async with self.http.post(where, data=content, headers=finish) as response:
            assert response.status == 200
            return await response.text()


CLIENTS = (S, SOneFile, Browser, BrowserOfT, Z)
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)


@asynccontextmanager
async def visit(site, client, account=ACCOUNT):
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        visitor = Visitor(http, site.base, client(), account)
        await visitor.open()
        yield visitor


@pytest.fixture
async def site(open_site):
    async with open_site(ACCOUNT, FREE, profile="site") as opened:
        yield opened


@every_client
async def test_a_turn_is_answered(site, client):
    async with visit(site, client) as visitor:
        answer = await visitor.say("<echo>hello 你好</echo>")
    assert (answer.status, answer.text, answer.codes) == (200, "hello 你好", [])
    assert (await site.state())["departures"] == []


@pytest.mark.parametrize("length", [69, 80, 81, 97, 98, 99, 100, 101, 102])
async def test_a_turn_of_any_length_is_answered(site, length):
    async with visit(site, Browser) as visitor:
        visitor.client.length = length
        assert (await visitor.say("<echo>hello</echo>")).text == "hello"


@pytest.mark.parametrize(
    "header",
    [
        [],
        [None, None, 0],
        [None, None, 0, [4]],
        [None, None, 1, [4, 5, 6, 8], None, None, 1],
        [None, None, 0, [4, 5, 6, 8], None, None, None, 2, None, None, 3, 1, UUID],
        [None, None, 0, [4, 5, 6, 8], None, None, 3, None, None, 3, 2, UUID.upper()],
    ],
    ids=["five fields", "field 7", "field 8 short", "no number", "field 13", "all"],
)
@pytest.mark.parametrize("more", [{}, {"x-goog-ext-73010989-jspb": "[0]", "x-goog-ext-73010990-jspb": "[0]"}])
async def test_a_model_header_of_any_length_chooses_the_model(site, header, more):
    async with visit(site, Z) as visitor:
        headers = {MODEL_HEADER: json.dumps([1, None, None, None, PRO_PAID, *header])} | more
        answer = await visitor.say("<echo>hello</echo>", headers=headers)
    assert (answer.text, answer.snapshots[-1][39]) == ("hello", PRO_PAID)
    assert "Pro" in answer.snapshots[-1][42]


async def test_the_slots_alone_choose_no_model(site):
    async with visit(site, Z) as visitor:
        answer = await visitor.say("<echo>hello</echo>", headers={}, slots={79: 3, 80: 2})
    assert "Flash" in answer.snapshots[-1][42]


async def test_a_guest_continues_a_conversation_without_naming_a_candidate(site):
    async with visit(site, Z, account=None) as visitor:
        first = await visitor.say("<echo>one</echo>", token="")
        place = [*first.place[:2], "", *[None] * 6, ""]
        second = await visitor.say("<echo>two</echo>", token="", place=place)
    assert (second.text, second.place[0]) == ("two", first.place[0])


@every_client
async def test_a_guest_is_answered_without_a_token(site, client):
    async with visit(site, client, account=None) as visitor:
        answer = await visitor.say("<echo>hello</echo>", token="")
    assert (answer.status, answer.text) == (200, "hello")


@every_client
async def test_a_temporary_chat_is_answered_and_not_saved(site, client):
    async with visit(site, client) as visitor:
        answer = await visitor.say("<echo>hush</echo>", temporary=True)
        listed = await visitor.batch(("MaZiqc", "[13,null,[0,null,1]]", "generic"))
    assert answer.text == "hush"
    assert answer.place[0] not in listed.body.decode()


@pytest.mark.parametrize("client", [Browser, BrowserOfT, Z], ids=lambda client: client.__name__)
@pytest.mark.parametrize("temporary", [False, True])
async def test_a_conversation_can_be_continued(site, client, temporary):
    async with visit(site, client) as visitor:
        first = await visitor.say("<echo>one</echo>", temporary=temporary)
        second = await visitor.say("<echo>two</echo>", place=first.place, temporary=temporary)
    assert (second.status, second.text, second.place[0]) == (200, "two", first.place[0])


@pytest.mark.parametrize("temporary", [False, True])
async def test_a_temporary_turn_after_a_saved_one_starts_a_fresh_conversation(site, temporary):
    async with visit(site, Browser) as visitor:
        first = await visitor.say("<echo>one</echo>", temporary=temporary)
        second = await visitor.say("<echo>two</echo>", place=first.place, temporary=not temporary)
        again = await visitor.say("<echo>three</echo>", place=first.place, temporary=temporary)
    assert (second.status, second.text) == (200, "two")
    assert second.place[0] != first.place[0]
    assert (again.text, again.place[0]) == ("three", first.place[0])


async def test_a_conversation_is_continued_by_its_id_alone(site):
    async with visit(site, Browser) as visitor:
        first = await visitor.say("<echo>one</echo>")
        second = await visitor.say("<echo>two</echo>", place=[first.place[0], "", "", *[None] * 6, ""])
    assert (second.text, second.place[0]) == ("two", first.place[0])


@pytest.mark.parametrize(("host", "domain"), [("accounts.google.com", ["Domain=.google.com"]), ("127.0.0.1:1", [])])
async def test_cookies_are_set_for_a_domain_that_the_host_may_set_them_for(site, host, domain):
    headers = {"Content-Type": "application/json", "Host": host}
    body = '[000,"-0000000000000000000"]'
    async with visit(site, Browser) as visitor:
        sent = headers | visitor.cookies()
        async with visitor.http.post(f"{site.base}/RotateCookies", data=body, headers=sent) as response:
            found = [[word.strip() for word in line.split(";")] for line in response.headers.getall("Set-Cookie")]
    assert [words[0].partition("=")[0] for words in found] == ["__Secure-1PSIDTS", "__Secure-1PSIDCC"]
    assert [[word for word in words if word.startswith("Domain=")] for words in found] == [domain, domain]


@every_client
async def test_attachments_of_its_form_are_seen(site, client):
    content = b"\x89PNG\r\n\x1a\n" + bytes(100)
    body = "" if client in (S, SOneFile) else "File name: a.png"
    more = {"X-Client-Pctx": "CgcSBXb"} if client in (S, SOneFile) else {}
    async with visit(site, client) as visitor:
        path = await visitor.send_resumable(content, body, **more)
        assert path.startswith("/contrib_service/ttl_1d/")
        answer = await visitor.say("what is it?", files=[visitor.client.file(path, "a.png", "image/png")])
    assert "(image/png, 108 bytes)" in answer.text


@pytest.mark.parametrize("form", [lambda path: [[path], "a.txt"], lambda path: [[path, 1], "a.txt"]])
async def test_short_forms_of_attachments_are_seen_too(site, form):
    async with visit(site, Browser) as visitor:
        path = await visitor.send_resumable(b"words", "File name: a.txt")
        answer = await visitor.say("what is it?", files=[form(path)])
    assert "- a.txt (text/plain, 5 bytes)" in answer.text


async def test_a_plain_prompt_of_a_browser_makes_a_picture(site):
    async with visit(site, Browser) as visitor:
        answer = await visitor.say("Generate an image of a fox")
    rich = answer.snapshots[-1][4][0][12]
    item = rich[-1]["8"] if isinstance(rich[-1], dict) else rich[7]
    assert item[0][0][0][3][3].startswith("http")
    assert item[0][0][0][3][2].endswith((".png", ".jpg", ".jpeg", ".webp"))


@every_client
async def test_the_answer_names_its_model(site, client):
    async with visit(site, client) as visitor:
        answer = await visitor.say("<echo>hello</echo>")
    who = [(inner[39], inner[42]) for inner in answer.snapshots if len(inner) > 42]
    assert who
    assert all(isinstance(model, str) and len(model) == 16 and isinstance(name, str) and name for model, name in who)


@every_client
async def test_a_signed_in_call_without_a_valid_token_gets_one(site, client):
    async with visit(site, client) as visitor:
        for token in ("", "stale:1700000000000"):
            refused = await visitor.say("<echo>hello</echo>", token=token)
            assert refused.status == 400
            ((part, *_),) = ([part for part in refused.parts if part[0] == "er"],)
            kind, found, _ = part[10][0]["48448350"]
            assert (part[5], kind, found) == (400, "xsrf", visitor.key("SNlM0e"))
        assert (await visitor.say("<echo>hello</echo>", token=found)).text == "hello"


@pytest.mark.parametrize(
    "slots",
    [
        {2: [""] * 10},
        {2: ["c_0123456789abcdef", "r_0123456789abcdef", "rc_0123456789abcdef", *[None] * 6, ""]},
    ],
    ids=["empty texts for nulls", "foreign ids"],
)
async def test_an_unknown_conversation_is_a_plain_400(site, slots):
    async with visit(site, Browser) as visitor:
        refused = await visitor.say("<echo>hello</echo>", slots=slots)
    assert refused.status == 400
    (part,) = [part for part in refused.parts if part[0] == "er"]
    assert part == ["er", None, None, None, None, 400, None, None, None, 3]


async def test_an_unknown_build_is_accepted_and_an_outdated_one_is_405(site):
    async with visit(site, Browser) as visitor:
        assert (await visitor.say("<echo>a</echo>", query={"bl": "boq_bard_of_the_clients_own"})).text == "a"
        assert (await visitor.say("<echo>a</echo>", query={"pageId": "none"})).text == "a"
        async with visitor.http.post(f"{site.base}/simulator/faults", json={"where": "build"}) as response:
            assert response.status == 200
        assert (await visitor.say("<echo>a</echo>")).status == 405


@pytest.mark.parametrize("path", ["/app/98256aabc450ff93", "/u/0/app", "/u/0/app/98256aabc450ff93"])
async def test_the_page_of_a_conversation_is_the_page_of_the_app(site, path):
    async with visit(site, Browser) as visitor:
        async with visitor.http.get(site.base + path, headers=visitor.cookies()) as response:
            assert response.status == 200
            visitor.page = await response.text()
        assert (await visitor.say("<echo>a</echo>")).text == "a"


async def test_a_model_that_does_not_exist_is_1052(site):
    async with visit(site, Browser) as visitor:
        assert (await visitor.say("<echo>a</echo>", model="0123456789abcdef")).codes == [1052]


async def test_a_model_beyond_the_plan_is_answered_by_flash_lite(site):
    async with visit(site, Browser, FREE) as visitor:
        answer = await visitor.say("<echo>a</echo>", model=PRO_PAID)
    last = answer.snapshots[-1]
    assert (answer.text, last[39]) == ("a", LITE_FREE)
    assert "Lite" in last[42]


async def test_an_answer_that_breaks_off_names_the_requested_model(site):
    async with visit(site, Browser) as visitor:
        answer = await visitor.say('<echo>abcd</echo><sim error="1037" after="2"/>', model=PRO_PAID)
    assert (answer.codes, answer.snapshots[-1][39]) == ([1037], PRO_PAID)


@pytest.mark.parametrize("client", [S, Browser], ids=lambda client: client.__name__)
async def test_a_guests_attachment_is_1100(site, client):
    async with visit(site, client, account=None) as visitor:
        path = await visitor.send_resumable(b"words", "")
        answer = await visitor.say("read it", files=[visitor.client.file(path, "a.txt", "text/plain")], token="")
    assert answer.codes == [1100]


async def test_a_browsers_batch_is_answered_call_by_call(site):
    async with visit(site, Browser) as visitor:
        answer = await visitor.batch(
            ("otAQ7b", "[]", "1"),
            ("sJBwce", "[null,[[1]]]", "2"),
            ("ESY5D", "[null,[5]]", "3"),
            ("cYRIkd", "[]", "generic"),
            ("Te6DCf", '["en"]', "5"),
            ("ESY5D", '[[["bard_activity_enabled"]]]', "6"),
            **{MODEL_HEADER: json.dumps([1, *[None] * 7, [4], *[None] * 7, UUID]), "x-goog-ext-73010989-jspb": "[]"},
        )
    answered = {part[6]: json.loads(part[2]) for part in answer.content if part[2] is not None}
    assert [part[1] for part in answer.content] == ["otAQ7b", "sJBwce", "ESY5D", "cYRIkd", "Te6DCf", "ESY5D"]
    assert answered.keys() == {"1", "2", "3", "generic", "5", "6"}
    assert [len(entry) for entry in answered["1"][15]] == [20] * len(answered["1"][15])
    assert (answered["2"], answered["generic"], answered["5"]) == ([], [], [])


async def test_invalid_calls_are_rejected_and_the_others_answered(site):
    async with visit(site, Z) as visitor:
        answer = await visitor.batch(("hNvQHb", "{}", "a"), ("XyZ123", "[]", "b"), ("otAQ7b", "[]", "c"))
    rejected = {part[6]: part[5][0] for part in answer.content if part[2] is None}
    assert (answer.status, rejected) == (200, {"a": 3, "b": 3})
    async with visit(site, Z, account=None) as guest:
        answer = await guest.batch(("MaZiqc", "[13,null,[0,null,1]]", "generic"), ("otAQ7b", "[]", "generic"))
    assert [part[2] and json.loads(part[2])[14] for part in answer.content] == [None, 1016]
    assert answer.content[0][5] == [7]


@pytest.mark.parametrize(
    ("body", "status"),
    [('[000,"-0000000000000000000"]', 200), ('[658,"4717203823154782641"]', 200), ('[0,"-0000000000000000000"]', 400)],
    ids=["program", "browser's page", "zero written once"],
)
async def test_a_rotation_with_the_whole_jar(site, body, status):
    headers = {"Content-Type": "application/json", "Origin": "https://accounts.google.com"}
    async with visit(site, Browser) as visitor:
        cookies = visitor.cookies()
        async with visitor.http.post(f"{site.base}/RotateCookies", data=body, headers=headers | cookies) as response:
            assert response.status == status
            renewed = response.headers.getall("Set-Cookie", [])
    rolling = [one for one in renewed if one.startswith("__Secure-1PSIDTS=")]
    assert bool(rolling) == body.startswith("[000")
    assert any("SIDCC=" in one for one in renewed) == (status == 200)


async def test_another_account_of_the_profile_is_reached_by_its_path(site):
    async with visit(site, S) as visitor:
        visitor.client.referer = "/u/0/app"
        headers = visitor.headers(**{"X-Goog-AuthUser": "0"})
        inner = laid_out(102, visitor.client.slots("<echo>here</echo>"))
        form = {"at": visitor.key("SNlM0e"), "f.req": json.dumps([None, json.dumps(inner)])}
        assert (await visitor.post(f"/u/0{GENERATE}", visitor.query(), form, headers)).text == "here"
