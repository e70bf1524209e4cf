from types import SimpleNamespace

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from aioresponses import aioresponses

from protocol.model import (
    BadRequest,
    Certainty,
    Citation,
    Document,
    Finish,
    Media,
    MediaKind,
    RateLimited,
    SignedOut,
    Text,
    Thought,
    UpstreamFailed,
    UpstreamTimeout,
    WebImage,
)
from service.server.certificate import write_certificate
from tests.transports.conftest import ACCOUNT, asking, connected, deps_for, request_for
from transports import simulator, web
from transports.clock import SystemClock
from transports.http import Timeouts
from transports.web import wire
from transports.web.account_config import ACCOUNTS


class OddAnswer(aiohttp.ClientResponse):
    """A mocked answer; aiohttp asks for a writer that aioresponses does not know of yet."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{"stream_writer": SimpleNamespace(output_size=0), **options})


def account_of(transport, guest=False):
    return next(account for account in transport.accounts if account.guest is guest)


async def ask(transport, text, model="gemini-3-pro", guest=False):
    async with asking(transport, request_for(text, model), account_of(transport, guest)) as answer:
        events = [event async for event in answer]
    return "".join(event.text for event in events if isinstance(event, Text)), events, answer.served


async def test_a_request_matches_the_documented_headers_slots_and_fields(site):
    async with site.connect() as transport:
        text, events, served = await ask(transport, "<echo>hello</echo>")
        assert (text, served.transport, served.account) == ("hello", "web", "one")
        assert isinstance(events[-1], Finish)
    state = await site.state()
    assert state["departures"] == []
    assert state["seen"]["rpc_ESY5D"] == 1


@pytest.mark.parametrize("plan", ["free", "plus", "pro", "advanced"])
@pytest.mark.parametrize(
    "model", ["gemini-3-pro", "gemini-2.5-flash", "gemini-3.5-flash-lite", "gemini-3.6-flash-extended"]
)
async def test_each_plan_uses_the_model_ids_offered_by_the_site(open_site, plan, model):
    known = simulator.SimulatedAccount(psid="p", psidts="t", plan=plan)
    async with open_site(known) as site:
        one = web.WebAccount(id="one", cookies=simulator.export_of(known), per_minute=0)
        async with site.connect(one) as transport:
            text, _, served = await ask(transport, "<echo>x</echo>", model)
        assert text == "x"
        family = "flash-lite" if "lite" in model else "pro" if "pro" in model else "flash"
        column = plan if plan in ("free", "plus") else "advanced"
        assert served.requested.id == wire.MODEL_IDS[family][column]


async def test_a_guest_is_served_without_cookies(site):
    async with site.connect() as transport:
        text, _, served = await ask(transport, "<echo>guest</echo>", "gemini-2.5-flash-free", guest=True)
    assert (text, served.account) == ("guest", "web-guest")
    assert (await site.state())["departures"] == []


async def test_an_expired_session_needs_attention_and_is_not_served_as_a_guest(site):
    old = web.WebAccount(id="old", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=expired")
    async with site.connect(old) as transport:
        with pytest.raises(SignedOut):
            await ask(transport, "<echo>x</echo>")
    assert await site.seen("generate") == 0


@pytest.mark.parametrize(
    ("status", "reason"), [(1021, "rejected"), (1040, "terms"), (1054, "guardian"), (1060, "location")]
)
async def test_an_account_with_a_problem_has_its_reason(open_site, status, reason):
    known = simulator.SimulatedAccount(psid="p", psidts="t", status=status)
    async with open_site(known) as site:
        one = web.WebAccount(id="one", cookies=simulator.export_of(known))
        async with site.connect(one) as transport:
            with pytest.raises(SignedOut) as caught:
                await ask(transport, "<echo>x</echo>")
    assert caught.value.reason == reason


async def test_a_stale_token_is_replaced_by_the_refusals_token(site):
    async with site.connect() as transport:
        await ask(transport, "<echo>x</echo>")
        await site.order(where="token")
        before = await site.state()
        assert (await ask(transport, "<echo>again</echo>"))[0] == "again"
        assert (await ask(transport, "<echo>and again</echo>"))[0] == "and again"
        after = await site.state()
        assert after["seen"]["bootstrap"] == before["seen"]["bootstrap"]
        assert after["seen"]["generate"] == before["seen"]["generate"] + 3


async def test_a_rejected_request_is_not_retried(site):
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await ask(transport, '<sim http="400"/>')
    assert caught.value.code == "upstream_rejected"
    assert caught.value.certainty is Certainty.REFUSED
    assert await site.seen("generate") == 1


async def test_a_model_mismatch_repeats_the_discovery_once(site):
    async with site.connect() as transport:
        text, _, _ = await ask(transport, '<sim error="1052" once="a"/><echo>mended</echo>')
    assert text == "mended"
    assert await site.seen("rpc_otAQ7b") == 2


async def test_a_usage_limit_belongs_to_the_account(open_site):
    known = simulator.SimulatedAccount(psid="p", psidts="t", quota=1)
    async with open_site(known) as site:
        one = web.WebAccount(id="one", cookies=simulator.export_of(known), per_minute=0)
        async with site.connect(one) as transport:
            await ask(transport, "<echo>x</echo>")
            with pytest.raises(RateLimited):
                await ask(transport, "<echo>x</echo>")
            assert (await ask(transport, "<echo>other family</echo>", "gemini-2.5-flash"))[0] == "other family"


async def test_leaving_early_closes_the_upstream_response(site):
    async with site.connect() as transport:
        request = request_for('<sim stall-after="2" frames="6"/><echo>words and words and words</echo>')
        async with asking(transport, request, account_of(transport)) as answer:
            async for event in answer:
                if isinstance(event, Text):
                    break
            assert await site.seen("streams_open") == 1
        with anyio.fail_after(60):
            while await site.seen("streams_left") == 0:
                await anyio.lowlevel.checkpoint()
    assert await site.seen("streams_open") == 0


async def test_silence_after_the_first_frames_is_a_timeout(site):
    async with site.connect(timeouts=Timeouts(between_frames=0.2)) as transport:
        with pytest.raises(UpstreamTimeout) as caught:
            await ask(transport, '<sim stall-after="1" frames="4"/><echo>words and words</echo>')
    assert caught.value.code == "upstream_stalled"


async def test_no_first_frame_in_time_is_a_timeout(site):
    async with site.connect(timeouts=Timeouts(first_frame=0.2)) as transport:
        with pytest.raises(UpstreamTimeout):
            await ask(transport, '<sim delay="30" queue="0"/>')


async def test_an_unreachable_site_certainly_did_not_get_the_request(open_site):
    async with open_site() as site:
        base = site.base
    site.base = base
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await ask(transport, "x")
    assert caught.value.certainty is Certainty.NOT_SENT


async def test_any_chunking_of_the_body_gives_the_same_answer(open_site):
    text = "Grüße 你好 😀 `code` \\* " * 10
    async with open_site(pace=simulator.Pace(first_token_seconds=0, tokens_per_second=0, chunk_bytes=3)) as site:
        async with site.connect() as transport:
            assert (await ask(transport, f"<echo>{text}</echo>"))[0] == text


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ({"status": 302, "headers": {"Location": "https://www.google.com/sorry/index"}}, SignedOut, "challenge"),
        ({"status": 302, "headers": {"Location": "https://consent.google.com/m"}}, SignedOut, "consent"),
        ({"status": 200, "body": "<html>Before you continue</html>"}, SignedOut, "signed_out"),
        ({"status": 403}, SignedOut, "signed_out"),
    ],
)
async def test_unexpected_pages_mark_the_account_with_a_reason(open_site, answer, kind, code):
    async with open_site() as site:
        async with site.connect() as transport:
            with aioresponses() as mocked:
                mocked.get(f"{site.base}/app", response_class=OddAnswer, **answer)
                with pytest.raises(kind) as caught:
                    await ask(transport, "x")
    assert caught.value.reason == code


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


async def test_pictures_are_delivered_with_text_and_without_the_sites_links(site):
    async with site.connect() as transport:
        text, events, _ = await ask(transport, '<sim images="3" alt="a cat"/> a cat', "gemini-3-pro-imagen")
        refused, more, _ = await ask(transport, '<sim refuse="safety"/> a cat', "gemini-3-pro-imagen")
    media = of(Media, events)
    assert [(one.alt, one.ref.kind, one.ref.account) for one in media] == [("", MediaKind.IMAGE, "one")] * 3
    assert len({one.ref.url for one in media}) == 3
    assert "googleusercontent" not in text
    assert refused
    assert not of(Media, more)
    assert isinstance(more[-1], Finish)
    assert (await site.state())["departures"] == []


@pytest.mark.parametrize("frames", [1, 2, 7, 60])
@pytest.mark.parametrize("model", ["gemini-3-pro-canvas", "gemini-2.5-flash-canvas-extended", "gemini-3-pro"])
async def test_a_canvas_is_text_and_a_fenced_document(site, frames, model):
    code = "x = '`'\nif x:\n    print(\"\\\\\")\n"
    document = f'<document lang="python" title="A file">{code}</document>'
    prompt = f'<sim frames="{frames}"/><echo>Here it is: `a.py`</echo>{document}'
    async with site.connect() as transport:
        text, events, _ = await ask(transport, prompt, model)
    (document,) = of(Document, events)
    before = "".join(event.text for event in of(Text, events[: events.index(document)]))
    assert (document.title, document.kind) == ("A file", "python")
    assert before == "Here it is: `a.py`\n\n"
    assert text == f"{before}```python\n{code}```"
    assert (await site.state())["departures"] == []


@pytest.mark.parametrize("frames", [1, 9, 80])
async def test_a_storybook_alternates_pages_and_pictures(site, frames):
    pages = "Once.\n\n---\n\nThen `x`.\n\n---\n\nThe end."
    async with site.connect() as transport:
        prompt = f'<sim frames="{frames}"/><echo>{pages}</echo>'
        text, events, _ = await ask(transport, prompt, "gemini-3-pro-storybook")
    kinds = [type(event).__name__ for event in events if isinstance(event, Media | Document)]
    assert kinds == ["Document", "Media", "Media", "Media"]
    assert text.endswith("Once.\n\nThen `x`.\n\nThe end.")
    first, second, _ = [events.index(one) for one in of(Media, events)]
    assert "".join(one.text for one in of(Text, events[:first])).endswith("Once.")
    assert "".join(one.text for one in of(Text, events[first:second])) == "\n\nThen `x`."
    assert (await site.state())["departures"] == []


async def test_citations_and_web_images_of_a_chat_turn_are_delivered(site):
    async with site.connect() as transport:
        prompt = '<sim citations="2" web-images="2" frames="40"/><echo>Known.</echo>'
        text, events, _ = await ask(transport, prompt)
    page = "https://example.com/simulated"
    assert f"One fact [[1]]({page}/1). One fact [[2]]({page}/2)." in text
    assert f"All of them [[1]]({page}/1) [[2]]({page}/2)." in text
    assert "cite" not in text
    assert "googleusercontent" not in text
    for citation in of(Citation, events):
        number = citation.url.rpartition("/")[2]
        assert text[citation.start : citation.end] == f"[[{number}]]({citation.url})"
        assert citation.title == f"Simulated source {number}"
    assert len(of(Citation, events)) == 4
    assert len(of(WebImage, events)) == 2


async def test_a_running_tool_becomes_a_thought(site):
    async with site.connect() as transport:
        text, events, _ = await ask(transport, '<sim analysis="true" frames="9"/><echo>done</echo>')
    thoughts = "".join(event.text for event in of(Thought, events))
    assert thoughts == "Running data_analysis_tool…\nRunning (simulated) code\n"
    assert text == "done"


async def test_tool_numbers_are_settings(site):
    async with site.connect(tools=web.Tools(image=2)) as transport:
        _, events, _ = await ask(transport, "a cat", "gemini-3-pro-imagen")
    assert of(Document, events)


async def test_a_conversation_that_is_too_long_is_refused_without_a_request(site):
    async with site.connect() as transport:
        with pytest.raises(BadRequest) as caught:
            await ask(transport, "x" * 200_000)
    assert caught.value.code == "context_length_exceeded"
    assert (await site.state())["seen"] == {}


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-2.5-flash-free-imagen", "gemini-3-pro-storybook"])
async def test_without_an_account_only_guest_chat_is_offered(open_site, model):
    async with open_site() as site:
        hosts = web.Hosts(site=site.base, accounts=site.base, upload=site.base)
        async with web.connect(web.WebConfig(hosts=hosts), deps_for()) as guests, site.connect() as transport:
            assert guests.offers(request_for("x", "gemini-2.5-flash-free").selection)
            assert not guests.offers(request_for("x", model).selection)
            assert transport.offers(request_for("x", model).selection)


async def test_no_secret_is_in_an_error_or_a_repr(site):
    secret = ACCOUNT.psid
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await ask(transport, '<sim drop-after="0"/>')
        session = connected(transport).session
        shown = [
            repr(caught.value),
            str(caught.value),
            repr(session.current),
            repr(session.site.session_store.saved),
            repr(transport),
        ]
        shown += [repr(caught.value.__context__) if not caught.value.__suppress_context__ else ""]
        assert not any(secret in text or session.current.page.access_token in text for text in shown)


EXPORT = "__Secure-1PSID={}; __Secure-1PSIDTS=t"


def account(name="one", psid=None, **fields):
    return web.WebAccount(**{"id": name, "cookies": EXPORT.format(psid or f"psid-{name}"), **fields})


async def refused(config):
    """Return why `validate` refuses the settings; `connect` must say the same."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the caller looks at the message
        web.TRANSPORT_TYPE.validate(config)
    with pytest.raises(ValueError) as again:  # noqa: PT011
        async with web.connect(config, deps_for()):
            pass
    assert str(again.value) == str(caught.value)
    assert "psid-" not in str(caught.value)
    return str(caught.value)


async def test_settings_that_connect_pass_the_check(tmp_path):
    export = tmp_path / "cookies.txt"
    export.write_text(EXPORT.format("psid-file"))
    config = web.WebConfig(accounts=(account(), web.WebAccount(id="file", cookies_file=export)), guest=False)
    web.TRANSPORT_TYPE.validate(config)
    async with web.connect(config, deps_for()) as transport:
        assert [known.id for known in transport.accounts] == ["one", "file"]


async def test_the_guests_id_cannot_be_configured():
    assert "'web-guest'" in await refused(web.WebConfig(accounts=(account("web-guest"),)))


async def test_two_accounts_with_one_session_are_refused():
    message = await refused(web.WebConfig(accounts=(account("one", "psid-1"), account("two", "psid-1"))))
    assert "'one'" in message
    assert "'two'" in message


async def test_an_error_of_an_unusable_export_names_the_account(tmp_path):
    odd = tmp_path / "odd.txt"
    odd.write_text("NID=1; A=2")
    for bad in (
        account("bad", cookies="NID=1"),
        account("bad", cookies=""),
        account("bad", cookies_file=odd),
        account("bad", cookies_file=odd, cookies=""),
        account("bad", cookies_file=tmp_path / "missing.txt", cookies=""),
        account("bad", cookies_file=tmp_path, cookies=""),
        account("bad", proxy="http://u:secret@h:99999"),
    ):
        message = await refused(web.WebConfig(accounts=(bad,)))
        assert "'bad'" in message
        assert "secret" not in message


async def test_an_error_of_unusable_certificates_names_the_file(tmp_path):
    for name, content in (("missing.pem", None), ("empty.pem", ""), ("odd.pem", "no certificate\n"), ("dir.pem", ...)):
        path = tmp_path / name
        if content is ...:
            path.mkdir()
        elif content is not None:
            path.write_text(content)
        message = await refused(web.WebConfig(accounts=(account(),), ca_file=path))
        assert message.startswith("ca_file: ")
        assert str(path) in message


async def test_a_valid_certificate_file_is_used(tmp_path):
    certificate, _ = write_certificate(tmp_path, SystemClock().wall())
    web.TRANSPORT_TYPE.validate(web.WebConfig(ca_file=certificate))


def test_the_egress_is_the_proxy_without_its_credentials():
    assert ACCOUNTS.egress(account()) == ""
    one = ACCOUNTS.egress(account(proxy="http://me:secret@Proxy.example:3128"))
    assert one == ACCOUNTS.egress(account(proxy="http://you:other@proxy.example:3128/")) == "http://proxy.example:3128"


async def test_accounts_have_their_egress():
    config = web.WebConfig(accounts=(account("direct"), account("away", proxy="http://u:p@proxy.example:3128")))
    async with web.connect(config, deps_for()) as transport:
        assert [known.egress for known in transport.accounts] == ["", "http://proxy.example:3128", ""]
        assert "u:p" not in repr(transport.accounts)


async def test_an_error_while_connected_is_raised_unchanged():
    with pytest.raises(LookupError):
        async with web.connect(web.WebConfig(accounts=(account(),)), deps_for()):
            raise LookupError
