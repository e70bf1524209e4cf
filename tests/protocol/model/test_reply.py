"""The fold: the only path to a whole answer."""

import pytest

from protocol.model import Finish, Reply, Text, Thought, UpstreamFailed, Usage, Waiting, fold

USAGE = Usage(input_tokens=1, output_tokens=2)


async def stream(*events):
    for event in events:
        yield event


async def test_a_reply_is_its_events_joined():
    reply = await fold(stream(Waiting(), Thought("a"), Text("b"), Thought("c"), Text("d"), Finish("stop", USAGE)))
    assert reply == Reply(text="bd", thoughts="ac", finish="stop", usage=USAGE)


async def test_events_without_a_finish_are_no_answer():
    with pytest.raises(UpstreamFailed) as caught:
        await fold(stream(Text("half")))
    assert caught.value.code == "upstream_truncated"
