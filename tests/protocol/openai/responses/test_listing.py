import pytest

from protocol.model import BadRequest
from protocol.openai.responses import wire
from protocol.openai.responses.listing import input_page

ITEMS = [wire.InputItem(id=f"msg_{n}", role="user", content=str(n)) for n in range(5)]


def ids(**query):
    page = input_page([*ITEMS, wire.InputItem(type="compaction", id="cmp")], query)
    assert (page.first_id, page.last_id) == ((page.data[0]["id"], page.data[-1]["id"]) if page.data else ("", ""))
    return [int(item["id"].removeprefix("msg_")) for item in page.data], page.has_more


def test_a_page_is_in_the_requested_order():
    assert ids() == ([4, 3, 2, 1, 0], False)
    assert ids(order="asc", limit="2") == ([0, 1], True)
    assert ids(order="asc", limit="3", after="msg_1") == ([2, 3, 4], False)
    assert ids(after="msg_0") == ([], False)


@pytest.mark.parametrize(
    ("summary", "texts"),
    [
        ([{"type": "summary_text", "text": "hm"}, {"text": 5}, None, "a"], ["hm", "a"]),
        ("b", ["b"]),
        (None, []),
        (5, []),
    ],
)
def test_thoughts_are_shown_in_any_form(summary, texts):
    [shown] = input_page([wire.InputItem(type="reasoning", id="rs_1", summary=summary)], {}).data
    assert shown["summary"] == [{"type": "summary_text", "text": text} for text in texts]


@pytest.mark.parametrize("query", [{"order": "up"}, {"limit": "0"}, {"limit": "101"}, {"limit": "²"}, {"after": "x"}])
def test_an_invalid_parameter_is_named(query):
    with pytest.raises(BadRequest) as failed:
        input_page(ITEMS, query)
    assert [failed.value.param] == list(query)
