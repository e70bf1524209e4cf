from protocol.http.side_by_side import Numbered
from protocol.http.unfinished import StreamUsage, prompt_usage
from protocol.model import NO_USAGE, Finish, Text, Thought, Usage
from protocol.openai.responses.write import ResponseStep
from tests.protocol.http.test_stream import REQUEST

FINISH = Finish(reason="stop", usage=Usage(input_tokens=7, output_tokens=9))


def total(*steps, request=REQUEST):
    usage = StreamUsage()
    for step in steps:
        usage.add(step)
    return usage.total(request)


def test_an_answer_that_ended_has_its_own_usage():
    assert total(Text(text="words"), FINISH) == FINISH.usage


def test_an_answer_that_did_not_end_counts_its_prompt_and_what_was_delivered():
    assert total(Thought(text="hm"), Text(text="four"), Text(text="teen words")) == Usage(
        input_tokens=prompt_usage(REQUEST).input_tokens, output_tokens=4, reasoning_tokens=1
    )
    assert total(Text(text="words"), request=None) == NO_USAGE


def test_an_answer_of_which_nothing_was_delivered_counts_its_prompt():
    assert total() == prompt_usage(REQUEST)
    assert total(Finish(reason="content_filter", usage=NO_USAGE)) == NO_USAGE


def test_the_event_of_a_step_is_counted():
    step = ResponseStep(events=[], event=Thought(text="hm"))
    assert total(step).reasoning_tokens == 1
    assert total(step, ResponseStep(events=[], event=FINISH, usage=FINISH.usage)) == FINISH.usage


def test_of_several_turns_those_that_did_not_end_are_counted_and_the_prompt_once():
    steps = [Numbered(0, Text(text="a")), Numbered(1, Text(text="some words of text")), Numbered(0, FINISH)]
    assert total(*steps) == FINISH.usage + Usage(input_tokens=0, output_tokens=4)
    again = Numbered(0, Finish(reason="stop", usage=Usage(input_tokens=0, output_tokens=9)))
    assert total(*steps[:2], again) == prompt_usage(REQUEST) + Usage(input_tokens=0, output_tokens=13)
