from hypothesis import given
from hypothesis import strategies as st

from protocol.model import Finish, Text, Thought, Usage
from protocol.openai.chat.stop import Cutter, cut

PIECES = st.lists(st.text(st.sampled_from("abS"), max_size=6), max_size=12)
STOPS = st.lists(st.text(st.sampled_from("abS"), min_size=1, max_size=4), min_size=1, max_size=4)


@given(PIECES, STOPS)
def test_the_text_before_the_first_stop_comes_out_however_it_is_cut(pieces, stops):
    cutter = Cutter(tuple(stops))
    said = ""
    for piece in pieces:
        said += cutter.push(piece)
        if cutter.found:
            break
    else:
        said += cutter.rest()
    whole = "".join(pieces)
    places = [whole.find(stop) for stop in stops if stop in whole]
    if not places:
        assert not cutter.found
        assert said == whole
    else:
        assert cutter.found
        assert whole.startswith(said)
        assert any(whole[len(said) :].startswith(stop) for stop in stops)
        assert all(stop not in said for stop in stops)


async def events(*given):
    for event in given:
        yield event


async def test_an_answer_without_the_stop_is_whole():
    usage = Usage(input_tokens=1, output_tokens=1)
    given = [Thought(text="hm"), Text(text="one S"), Finish(reason="stop", usage=usage)]
    got = [event async for event in cut(events(*given), ("STOP",), 1)]
    assert "".join(event.text for event in got if isinstance(event, Text)) == "one S"
    assert got[-1] == given[-1]


async def test_the_stop_finishes_the_answer_with_its_own_usage():
    given = [Text(text="one ST"), Text(text="OP two"), Text(text="never")]
    got = [event async for event in cut(events(*given), ("STOP",), 7)]
    assert "".join(event.text for event in got if isinstance(event, Text)) == "one "
    assert got[-1] == Finish(reason="stop", usage=Usage(input_tokens=7, output_tokens=1))
