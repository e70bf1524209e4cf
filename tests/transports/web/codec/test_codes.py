"""The table of codes: each row's error, and what really happens when the simulated site answers with it."""

import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.http.errors import status_of
from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    GatewayError,
    RateLimited,
    Refused,
    Role,
    SignedOut,
    Text,
    TextPart,
    Turn,
    Unsupported,
    UpstreamFailed,
)
from protocol.openai.errors import error_body
from tests.pools import GatewayProcess
from tests.transports.conftest import asking, opened, request_for
from transports import simulator, web
from transports.failover import Failover
from transports.retry_policy import FailoverPolicy
from transports.web.codec.codes import CODES, Action, AttachmentRefused, ContinuationRefused, ImageRefused, TokenRefused
from transports.web.codec.codes import error_for_code as error_of
from transports.web.errors import ModelMismatch, Temporary

ROWS = [
    (1003, ImageRefused, Refused, Action.RETURN_ERROR, 400, "content_filter"),
    (1013, Temporary, UpstreamFailed, Action.SAME_AGAIN, 502, "upstream_rejected"),
    (1037, RateLimited, RateLimited, Action.COOL_DOWN, 429, "upstream_quota_exhausted"),
    (1050, ModelMismatch, UpstreamFailed, Action.NEW_MODELS, 502, "upstream_rejected"),
    (1052, ModelMismatch, UpstreamFailed, Action.NEW_MODELS, 502, "upstream_rejected"),
    (1053, Unsupported, BadRequest, Action.ANOTHER_TRANSPORT, 400, "unsupported_value"),
    (1060, Blocked, Blocked, Action.COOL_DOWN_ADDRESS, 503, "no_account_available"),
    (1095, SignedOut, SignedOut, Action.NEEDS_ATTENTION, 503, "no_account_available"),
    (1096, TokenRefused, UpstreamFailed, Action.NEW_TOKEN, 502, "upstream_rejected"),
    (1097, ContinuationRefused, UpstreamFailed, Action.FRESH_CONVERSATION, 502, "upstream_rejected"),
    (1100, AttachmentRefused, BadRequest, Action.RETURN_ERROR, 400, "attachment_not_accepted"),
    (1155, Temporary, UpstreamFailed, Action.SAME_AGAIN, 502, "upstream_rejected"),
    (1157, TokenRefused, UpstreamFailed, Action.NEW_TOKEN, 502, "upstream_rejected"),
]
NUMBERS = [row[0] for row in ROWS]
ONE_MORE = {Action.SAME_AGAIN, Action.NEW_TOKEN, Action.NEW_MODELS}
"""Actions that send the call once more to the same account."""
ANOTHER = {
    *ONE_MORE,
    Action.FRESH_CONVERSATION,
    Action.COOL_DOWN,
    Action.COOL_DOWN_ADDRESS,
    Action.NEEDS_ATTENTION,
}
"""Actions that end with another account."""

FIRST, SECOND = (simulator.SimulatedAccount(psid=f"p{number}", psidts=f"t{number}") for number in (1, 2))
ACCOUNTS = tuple(
    web.WebAccount(id=name, cookies=simulator.export_of(known), per_minute=0)
    for name, known in (("one", FIRST), ("two", SECOND))
)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("transports.web.turns.turn._TEMPORARY_PAUSE", 0.0)


def test_each_code_of_the_page_has_one_row_in_the_table():
    assert [code.number for code in CODES] == NUMBERS


@pytest.mark.parametrize(("number", "kind", "base", "action", "status", "code"), ROWS, ids=map(str, NUMBERS))
def test_each_code_maps_to_its_error_and_status(number, kind, base, action, status, code):
    error = error_of(number)
    assert type(error) is kind
    assert isinstance(error, base)
    assert next(one.action for one in CODES if one.number == number) is action
    assert status_of(error) == status
    assert error.code == code
    assert error.message.encode() in error_body(error)
    assert error.certainty is Certainty.REFUSED


def test_an_unknown_code_allows_failover_to_another_account():
    error = error_of(9999)
    assert type(error) is UpstreamFailed
    assert error.certainty is Certainty.REFUSED
    assert "9999" in error.message
    assert "?" in error_of(10**30).message


async def texts(answer):
    return "".join([event.text async for event in answer if isinstance(event, Text)])


async def say(transport, request):
    async with asking(transport, request, transport.accounts[0]) as answer:
        return await texts(answer)


@pytest.mark.parametrize(("number", "action"), [(row[0], row[3]) for row in ROWS])
async def test_a_single_code_is_retried_as_the_table_says(site, number, action):
    request = request_for(f'<sim error="{number}" once="a"/><echo>mended</echo>')
    async with site.connect() as transport:
        await say(transport, request_for("<echo>warm</echo>"))
        pages = await site.seen("bootstrap")
        if action in ONE_MORE:
            assert await say(transport, request) == "mended"
        else:
            with pytest.raises(type(error_of(number))):
                await say(transport, request)
        assert await site.seen("generate") == (3 if action in ONE_MORE else 2)
        renewed = action in {Action.NEW_TOKEN, Action.NEW_MODELS}
        assert await site.seen("bootstrap") == pages + renewed


@pytest.fixture
async def two(open_site):
    """Yield a site, a transport with two accounts, and the failover over them."""
    async with open_site(FIRST, SECOND) as site, site.connect(*ACCOUNTS, reuse_seconds=600) as transport:
        pool = GatewayProcess().pool(lambda: list(transport.accounts)[:2], transport="web", queue_timeout_seconds=0.01)
        yield site, transport, Failover(transport, pool, FailoverPolicy())


async def ask(failover, request):
    async with opened(failover, request, 30) as exchange:
        return exchange.served.account, await texts(exchange)


@pytest.mark.parametrize(("number", "action"), [(row[0], row[3]) for row in ROWS])
async def test_a_repeated_code_ends_the_request_as_the_table_says(two, number, action):
    site, _, failover = two
    with pytest.raises(GatewayError) as caught:
        await ask(failover, request_for(f'<sim error="{number}"/>'))
    blocked = action is Action.COOL_DOWN_ADDRESS  # both accounts share the address
    accounts = 2 if action in ANOTHER and not blocked else 1
    assert await site.seen("generate") == accounts * (2 if action in ONE_MORE else 1)
    needing = [state.attention is not None for state in failover.pool.states]
    assert needing == [action is Action.NEEDS_ATTENTION] * 2
    if action is not Action.NEEDS_ATTENTION:
        assert isinstance(caught.value, type(error_of(number)))


async def test_a_refused_session_fails_over_to_another_account(two):
    site, transport, failover = two
    asked = []
    original = transport.open

    def counting(stack, request, account):
        asked.append(account.id)
        prompt = '<sim error="1096"/>' if len(asked) == 1 else "<echo>answered</echo>"
        return original(stack, request_for(prompt), account)

    transport.open = counting
    account, text = await ask(failover, request_for("x"))
    assert (account, text) == (asked[1], "answered")
    assert len(set(asked)) == 2
    assert await site.seen("generate") == 3


def turn(role, text):
    return Turn(role=Role(role), parts=(TextPart(text=text),))


async def test_a_refused_continuation_is_sent_again_as_a_new_conversation(two):
    site, transport, failover = two
    first = request_for("<echo>one</echo>")
    account, text = await ask(failover, first)
    assert text == "one"
    again = '<sim error="1097" once="b"/><echo>two</echo>'
    request = msgspec.structs.replace(first, turns=(*first.turns, turn("assistant", "one"), turn("user", again)))
    assert await transport.home(request) == account
    assert await ask(failover, request) == (account, "two")
    assert await site.seen("generate") == 3
    followed = msgspec.structs.replace(request, turns=(*request.turns, turn("assistant", "two"), turn("user", "x")))
    assert await transport.home(followed) == account


async def test_codes_are_logged_by_their_effect(site):
    async with site.connect() as transport:
        with capture_logs() as logs:
            for number in (9999, 1053):
                with pytest.raises(GatewayError):
                    await say(transport, request_for(f'<sim error="{number}"/>'))
    noted = [(entry["event"], entry["code"], entry["account"]) for entry in logs if "answer_code" in entry["event"]]
    assert noted == [("answer_code_unknown", 9999, "one"), ("answer_code_received", 1053, "one")]
