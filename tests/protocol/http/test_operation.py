import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from starlette.responses import Response

from protocol.http.operation import Accepted, Answer, Deprecations, Dialect, Endpoint, HeaderKey, Operation, QueryKey
from protocol.model import (
    BadRequest,
    Caller,
    Catalogue,
    Exchange,
    Finish,
    GenerationRequest,
    Model,
    Role,
    Served,
    Text,
    TextPart,
    Turn,
    UpstreamFailed,
    Usage,
    fold,
)

CATALOGUE = Catalogue.build()
FINISH = Finish(reason="stop", usage=Usage(input_tokens=3, output_tokens=5))


class Engine:
    """Opens one exchange with the events of a test."""

    catalogue = CATALOGUE

    def __init__(self, *events):
        self._events = events

    @asynccontextmanager
    async def open(self, request):
        async def events():
            for event in self._events:
                if isinstance(event, Exception):
                    raise event
                yield event

        yield Exchange(lambda: Served(transport="t", account="a"), events())


class Writer:
    finished = False

    def opened(self):
        return b"open;"

    def event(self, event):
        self.finished = isinstance(event, Finish)
        return b"end;" if self.finished else event.text.encode()

    def error(self, error):
        return error.code.encode()

    def whole(self, reply):
        return reply.text.encode()


def refuse(error):
    return Response(error.code, 418)


def request_of(context, selection):
    return GenerationRequest(
        id=context.id,
        caller=context.caller,
        selection=selection,
        turns=(Turn(role=Role.USER, parts=(TextPart(text="a prompt"),)),),
        attempts_before=context.attempts_before,
    )


def operation(*, model="gemini-3-pro", streamed=False, seen=None):
    async def read(request):
        return model

    async def answer(engine, body, selection, context):
        request = request_of(context, selection)
        if seen is not None:
            seen.append(request)
        return Answer(request=request, exchange=engine.open(request), writer=Writer(), fold=fold, streamed=streamed)

    return Operation(read=read, select=lambda name, catalogue, _: catalogue.resolve(name), answer=answer)


async def ask(connection, engine, asked, caller=None):
    connection.context.caller = caller or Caller(id="me")
    await asked.endpoint(engine, refuse)(connection.scope, connection.receive, connection.send)
    return connection.context.record


@pytest.mark.parametrize(("streamed", "body"), [(False, b"hi"), (True, b"open;hiend;")])
async def test_streamed_and_whole_answers_are_recorded_and_counted(connect, streamed, body):
    connection = connect()
    record = await ask(connection, Engine(Text(text="hi"), FINISH), operation(streamed=streamed))
    assert (connection.status, connection.body) == (200, body)
    assert (record.model, record.stream, record.transport, record.account) == ("gemini-3-pro", streamed, "t", "a")
    assert (record.input_tokens, record.output_tokens, record.error) == (3, 5, None)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_before_the_first_event_is_written_by_the_dialect(connect, streamed):
    connection = connect()
    error = UpstreamFailed("x", code="upstream_reset")
    record = await ask(connection, Engine(error), operation(streamed=streamed))
    assert (connection.status, connection.body) == (418, b"upstream_reset")
    assert (record.error, record.input_tokens) == ("upstream_reset", 0)


@pytest.mark.parametrize(
    ("caller", "code"),
    [(Caller(id="me", models=("other",)), "model_not_allowed"), (Caller(id="me", features=()), "license_required")],
)
async def test_a_license_that_does_not_cover_the_model_is_refused_before_the_answer(connect, caller, code):
    connection, seen = connect(), []
    record = await ask(connection, Engine(), operation(seen=seen), caller)
    assert (connection.body, record.error) == (code.encode(), code)
    assert not seen


async def test_a_license_may_name_an_alias(connect):
    connection = connect()
    caller = Caller(id="me", models=("gemini-2.5-pro",))
    await ask(connection, Engine(Text(text="hi"), FINISH), operation(model="gemini-2.5-pro"), caller)
    assert connection.status == 200
    headers = dict(connection.sent[0]["headers"])
    assert "'gemini-3-pro' answers" in headers[b"warning"].decode()


@pytest.mark.parametrize("keep", [True, False])
async def test_the_prompt_is_recorded_only_if_it_is_logged(connect, keep):
    connection = connect()
    connection.context.keep_prompt = keep
    record = await ask(connection, Engine(Text(text="hi"), FINISH), operation())
    assert record.prompt == ("a prompt" if keep else None)


async def test_a_background_request_gets_its_response_at_once(connect):
    async def read(request):
        raise BadRequest("no body", code="empty")

    async def accept(engine, body, selection, context):
        return Accepted(request=request_of(context, selection), response=Response(json.dumps(body)))

    whole = operation(model="gemini-2.5-pro")
    connection = connect()
    record = await ask(connection, Engine(), Operation(read=whole.read, select=whole.select, answer=accept))
    assert (connection.body, record.model) == (b'"gemini-2.5-pro"', "gemini-3-pro")
    assert b"deprecation" in dict(connection.sent[0]["headers"])
    refused = connect()
    await ask(refused, Engine(), Operation(read=read, select=whole.select, answer=accept))
    assert (refused.status, refused.body) == (418, b"empty")


@pytest.mark.parametrize(
    ("sent", "count"), [("0", 0), ("2", 2), ("999", 999), ("1000", 0), ("-1", 0), ("x", 0), (None, 0)]
)
async def test_the_attempts_that_an_sdk_counts_reach_the_request(connect, sent, count):
    seen = []
    connection = connect(headers=[(b"x-stainless-retry-count", sent.encode())] if sent is not None else [])
    await ask(connection, Engine(Text(text="hi"), FINISH), operation(seen=seen))
    assert seen[0].attempts_before == count


async def test_an_endpoint_releases_the_reservations_of_its_request(connect):
    connection = connect()
    connection.context.long_strings = {"x": SimpleNamespace()}

    async def handle(request):
        return Response("done")

    await Endpoint(handle, refuse)(connection.scope, connection.receive, connection.send)
    assert connection.context.long_strings == {}


def test_a_deprecated_name_is_reported_in_headers():
    deprecations = Deprecations()
    assert deprecations.headers(CATALOGUE.resolve("gemini-3-pro")) == []
    for _ in range(2):
        headers = dict(deprecations.headers(CATALOGUE.resolve("gemini-2.5-pro")))
        assert headers[b"deprecation"].startswith(b"@")
        assert b"'gemini-3-pro' answers" in headers[b"warning"]


def test_a_replacement_of_unknown_age_has_no_date():
    own = (
        Model(id="house-pro", family="pro", created=0),
        Model(id="old-pro", family="pro", created=0, replaced_by="house-pro"),
    )
    headers = dict(Deprecations().headers(Catalogue.build(own).resolve("old-pro")))
    assert headers[b"deprecation"] == b"true"


BEARER, KEY, QUERY = HeaderKey("Authorization", scheme="Bearer"), HeaderKey("X-Goog-Api-Key"), QueryKey("key")


def scope(*headers, query=b""):
    return {"headers": list(headers), "query_string": query}


@pytest.mark.parametrize("sent", [b"Bearer abc", b"bearer abc", b"  BEARER   abc "])
def test_a_license_key_follows_the_scheme_of_its_header(sent):
    assert BEARER.read(scope((b"authorization", sent))) == b"abc"


@pytest.mark.parametrize(("query", "key"), [(b"key=%C2%B2", b"\xc2\xb2"), (b"alt=%C2%B2&x=%FF&key=abc", b"abc")])
def test_a_query_may_have_any_characters(query, key):
    assert QUERY.read(scope(query=query)) == key


@pytest.mark.parametrize("sent", [b"", b"abc", b"Basic abc", b"Bearerabc"])
def test_a_header_without_the_scheme_has_no_key(sent):
    assert BEARER.read(scope((b"authorization", sent))) is None


def test_a_header_that_is_sent_twice_has_no_key():
    assert KEY.read(scope((b"x-goog-api-key", b"abc"), (b"x-goog-api-key", b"abd"))) is None


def test_a_repeated_query_parameter_has_no_key():
    assert QUERY.read(scope(query=b"alt=sse&key=a%2Bc")) == b"a+c"
    assert QUERY.read(scope(query=b"key=a&key=b")) is None
    assert QUERY.read(scope()) is None


def test_the_keys_of_all_places_are_found_in_their_order():
    dialect = Dialect(name="d", routes=lambda _: (), refuse=lambda _: Response(), credentials=(KEY, QUERY))
    assert [*dialect.license_keys(scope((b"x-goog-api-key", b" one "), query=b"key=two"))] == [b"one", b"two"]
    assert [*dialect.license_keys(scope(query=b"key=two"))] == [b"two"]
    assert [*dialect.license_keys(scope())] == []
    assert not dialect.recognizes(scope())
    assert dialect.unauthorized().message.endswith("as 'X-Goog-Api-Key: <license key>' or '?key=<license key>'.")
