"""Checked answers over a scripted engine, which plays the model: each list of events is one turn."""

import json
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import (
    CallArguments,
    CallMalformed,
    CallStarted,
    Exchange,
    Finish,
    JsonOutput,
    Rewritten,
    Role,
    Served,
    Text,
    Thought,
    Tool,
    ToolChoice,
    Usage,
    Waiting,
    fold,
)
from protocol.structured.checked_engine import CheckedEngine, OutputInvalid
from tests.transports.conftest import request_for

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = (Tool(name="weather", parameters=CITY), Tool(name="ping"))
USAGE = Usage(input_tokens=10, output_tokens=3, reasoning_tokens=1)
FINISH = Finish(reason="stop", usage=USAGE)


class Model:
    """An engine that answers each request with the next list of events."""

    def __init__(self, *answers):
        self._answers, self.requests, self.open_now, self.most_open = list(answers), [], 0, 0

    @asynccontextmanager
    async def open(self, request):
        self.requests.append(request)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        number = len(self.requests)

        async def events():
            for event in self._answers[number - 1]:
                yield event

        yield Exchange(lambda: Served(transport="t", account=f"a{number}"), events())
        self.open_now -= 1


def call(name, *parts, identity="call_1"):
    return [CallStarted(id=identity, name=name), *map(CallArguments, parts)]


def asked(streamed=False, output=None, tools=TOOLS, **choice):
    choice = ToolChoice(tools=tools, **choice) if tools else None
    return msgspec.structs.replace(request_for("x"), tools=choice, output=output, streamed=streamed)


async def answer(model, request):
    async with CheckedEngine(model).open(request) as exchange:
        events = [event async for event in exchange.events]
    assert model.open_now == 0
    return await fold(each(events)), events


async def each(events):
    for event in events:
        yield event


def calls_of(reply):
    return [(one.name, json.loads(one.arguments)) for one in reply.calls]


BOTH = pytest.mark.parametrize("streamed", [False, True])


async def test_a_request_without_tools_goes_straight_to_the_engine():
    model = Model([Text("hi"), FINISH])
    request = request_for("x")
    async with CheckedEngine(model).open(request) as exchange:
        assert [event async for event in exchange.events] == [Text("hi"), FINISH]
    assert model.requests == [request]


@BOTH
async def test_valid_calls_come_with_their_finish_reason(streamed):
    events = [*call("weather", '{"city": "Pa', 'ris", ', '"days": 2}'), *call("ping", "{}", identity="call_2"), FINISH]
    reply, _ = await answer(Model(events), asked(streamed))
    assert calls_of(reply) == [("weather", {"city": "Paris", "days": 2}), ("ping", {})]
    assert [one.id for one in reply.calls] == ["call_1", "call_2"]
    assert (reply.finish, reply.text) == ("tool_calls", "")


async def test_a_sign_of_life_does_not_end_a_call():
    started, first, last = call("weather", '{"city": "Pa', 'ris"}')
    reply, _ = await answer(Model([started, first, Waiting(), Thought("hm"), last, FINISH]), asked())
    assert calls_of(reply) == [("weather", {"city": "Paris"})]


async def test_arguments_stream_while_they_arrive():
    _, events = await answer(Model([*call("weather", '{"city": "Pa', 'ris"}'), FINISH]), asked(streamed=True))
    assert events[:-1] == [*call("weather", '{"city": "Pa', 'ris"}')]


WRONG = {
    "unknown tool": [*call("wether", "{}"), FINISH],
    "wrong type": [*call("weather", '{"city": 5}'), FINISH],
    "missing": [*call("weather", '{"days": 5}'), FINISH],
    "extra": [*call("weather", '{"town": "Paris"}'), FINISH],
    "not JSON": [*call("weather", "{city: Paris}"), FINISH],
    "cut off": [*call("weather", '{"city": "Pa'), FINISH],
    "malformed": [CallMalformed(text="```weather Paris```", problem="write JSON"), FINISH],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_wrong_call_is_repaired_in_one_more_turn(wrong):
    model = Model(wrong, [*call("weather", '{"city": "Paris"}'), FINISH])
    reply, _ = await answer(model, asked())
    assert calls_of(reply) == [("weather", {"city": "Paris"})]
    first, second = model.requests
    assert (second.turns[: len(first.turns)], second.unseen) == (first.turns, 2)
    assert [turn.role for turn in second.turns[-2:]] == [Role.ASSISTANT, Role.USER]
    assert model.most_open == 1
    assert reply.usage == Usage(input_tokens=20, output_tokens=6, reasoning_tokens=2)


@BOTH
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_call_that_stays_wrong_is_an_error_after_one_repair(wrong, streamed):
    model = Model(wrong, wrong)
    with pytest.raises(OutputInvalid):
        await answer(model, asked(streamed))
    assert len(model.requests) == 2


async def test_a_streamed_call_is_repaired_where_the_sent_part_agrees():
    model = Model(
        [*call("weather", '{"city": "Paris", ', '"days": "two"}'), FINISH],
        [*call("weather", '{"city": "Paris", "days": 2}', identity="other"), FINISH],
    )
    reply, events = await answer(model, asked(streamed=True))
    assert calls_of(reply) == [("weather", {"city": "Paris", "days": 2})]
    assert [event.id for event in events if isinstance(event, CallStarted)] == ["call_1"]


async def test_a_streamed_call_whose_repair_differs_from_what_was_sent_is_an_error():
    model = Model(
        [*call("weather", '{"city": "Paris", ', '"days": "two"}'), FINISH],
        [*call("weather", '{"city": "Rome", "days": 2}'), FINISH],
    )
    with pytest.raises(OutputInvalid, match="does not begin with"):
        await answer(model, asked(streamed=True))


async def test_a_valid_call_before_a_wrong_one_is_sent_once():
    good = call("weather", '{"city": "Paris"}')
    model = Model([*good, *call("ping", "[", identity="2"), FINISH], [*good, *call("ping", "{}", identity="3"), FINISH])
    reply, _ = await answer(model, asked(streamed=True))
    assert calls_of(reply) == [("weather", {"city": "Paris"}), ("ping", {})]


@BOTH
async def test_words_before_a_call_stay_and_words_after_it_go(streamed):
    events = [Text("Let me look."), *call("ping", "{}"), Text("The result is 5."), FINISH]
    reply, _ = await answer(Model(events), asked(streamed))
    assert (reply.text, calls_of(reply)) == ("Let me look.", [("ping", {})])


@BOTH
async def test_an_answer_in_words_streams_unchanged(streamed):
    reply, events = await answer(Model([Text("a"), Text("b"), FINISH]), asked(streamed))
    assert (reply.text, reply.finish, len(events)) == ("ab", "stop", 3)


@BOTH
async def test_a_required_call_that_is_missing_is_asked_for_once(streamed):
    model = Model([Text("No."), FINISH], [Text("Well: "), *call("ping", "{}"), FINISH])
    reply, _ = await answer(model, asked(streamed, mode="required"))
    assert (reply.text, calls_of(reply)) == ("", [("ping", {})])


@BOTH
async def test_a_required_call_that_stays_missing_is_an_error(streamed):
    with pytest.raises(OutputInvalid, match="must call a tool"):
        await answer(Model([Text("No."), FINISH], [Text("No."), FINISH]), asked(streamed, mode="required"))


async def test_only_allowed_tools_may_be_called():
    model = Model([*call("weather", '{"city": "a"}'), FINISH], [*call("ping", "{}"), FINISH])
    reply, _ = await answer(model, asked(mode="required", allowed=("ping",)))
    assert calls_of(reply) == [("ping", {})]


OUTPUT = JsonOutput(schema=CITY)


@BOTH
async def test_structured_output_is_bare_json(streamed):
    events = [Text('Here:\n```json\n{"city": "Pa'), Text('ris", "days": 1}'), Text("\n```\nBye."), FINISH]
    reply, _ = await answer(Model(events), asked(streamed, OUTPUT, tools=()))
    assert (reply.text, reply.finish) == ('{"city": "Paris", "days": 1}', "stop")


BAD = {
    "type": '{"city": "Paris", "days": "two"}',
    "cut": '{"city": "Paris", "days": ',
    "missing": "{}",
    "no JSON": "It is Paris.",
    "comma": '{"city": "Paris" "days": 1}',
}


@BOTH
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_wrong_json_is_repaired_in_one_more_turn(bad, streamed):
    model = Model([Text(bad), FINISH], [Text('Sorry: {"city": "Paris", "days": 2}'), FINISH])
    reply, _ = await answer(model, asked(streamed, OUTPUT, tools=()))
    assert json.loads(reply.text) == {"city": "Paris", "days": 2}
    assert "problem" not in reply.text


@BOTH
async def test_json_that_stays_wrong_is_an_error_and_not_an_answer(streamed):
    with pytest.raises(OutputInvalid, match="'days' does not fit"):
        await answer(Model([Text(BAD["type"]), FINISH], [Text(BAD["type"]), FINISH]), asked(streamed, OUTPUT, tools=()))


@BOTH
async def test_a_model_that_answers_in_words_twice_declines(streamed):
    model = Model([Text("I cannot do that."), FINISH], [Text("I cannot do that."), FINISH])
    reply, _ = await answer(model, asked(streamed, OUTPUT, tools=()))
    assert (reply.text, reply.declined) == ("", "I cannot do that.")


@BOTH
async def test_with_tools_and_structured_output_the_model_may_do_either(streamed):
    reply, _ = await answer(Model([*call("ping", "{}"), FINISH]), asked(streamed, OUTPUT))
    assert (calls_of(reply), reply.text) == ([("ping", {})], "")
    reply, _ = await answer(Model([Text('{"city": "x"}'), FINISH]), asked(streamed, OUTPUT))
    assert (reply.calls, reply.text) == ((), '{"city": "x"}')


async def test_an_answer_that_the_upstream_rewrote_stays_rewritten_without_calls():
    rewritten = Rewritten(pieces=(Text("new"),), thoughts="", usage=USAGE)
    finish = Finish(reason="stop", usage=USAGE, rewritten=rewritten)
    reply, _ = await answer(Model([Text("old"), finish]), asked())
    assert reply.text == "new"


@given(
    st.text(max_size=30),
    st.integers(),
    st.lists(st.integers(0, 200), max_size=8),
    st.sampled_from(["", "Sure {x}: ", "```json\n"]),
)
@settings(max_examples=80)
async def test_any_json_in_any_pieces_arrives_as_its_value(city, days, cuts, before):
    value = {"city": city, "days": days}
    text = before + json.dumps(value) + "\n``` {}"
    ends = [0, *sorted({cut % len(text) for cut in cuts}), len(text)]
    parts = [Text(text[ends[at] : ends[at + 1]]) for at in range(len(ends) - 1)]
    reply, _ = await answer(Model([*parts, FINISH]), asked(streamed=True, output=OUTPUT, tools=()))
    assert json.loads(reply.text) == value
