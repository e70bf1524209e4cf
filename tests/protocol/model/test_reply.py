"""The fold: the only path to a whole answer."""

import pytest

from protocol.model import (
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Reply,
    Rewritten,
    Text,
    Thought,
    UpstreamFailed,
    Usage,
    Waiting,
    WebImage,
    fold,
)

USAGE = Usage(input_tokens=1, output_tokens=2)


async def stream(*events):
    for event in events:
        yield event


async def test_a_reply_is_its_events_joined():
    reply = await fold(stream(Waiting(), Thought("a"), Text("b"), Thought("c"), Text("d"), Finish("stop", USAGE)))
    assert reply == Reply(pieces=(Text("bd"),), thoughts="ac", finish="stop", usage=USAGE)
    assert reply.text == "bd"


async def test_media_keep_their_position_in_the_reply():
    ref = MediaRef(transport="t", account="a", kind=MediaKind.IMAGE, url="https://x")
    picture = Media(ref=ref)
    reply = await fold(stream(Text("a"), Text("b"), picture, Text("c"), Finish("stop", USAGE)))
    assert reply.pieces == (Text("ab"), picture, Text("c"))
    assert (reply.text, reply.media) == ("abc", (picture,))


async def test_events_without_a_finish_are_an_error():
    with pytest.raises(UpstreamFailed) as caught:
        await fold(stream(Text("half")))
    assert caught.value.code == "upstream_truncated"


async def test_a_rewritten_answer_has_its_final_form():
    usage = Usage(input_tokens=1, output_tokens=9)
    picture = WebImage(url="https://x/1.jpg")
    whole = Rewritten(pieces=(Text("b"), Text("c"), picture), thoughts="hm", reason="length", usage=usage)
    reply = await fold(stream(Thought("a"), Text("a"), Finish("stop", USAGE, whole)))
    assert reply == Reply(pieces=(Text("bc"), picture), thoughts="hm", finish="length", usage=usage)
