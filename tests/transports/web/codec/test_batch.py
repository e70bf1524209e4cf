import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import (
    UpstreamFailed,
)
from tests.transports.web.codec.test_answer import CAPTURES, MAX_FRAME
from transports.simulator import encode
from transports.web.codec.batch import LONGEST_REFUSAL, answer_error, decode_batch, token_in, token_of
from transports.web.errors import RequestRejected, StaleToken


def test_a_batch_answer_is_read_by_id():
    body = encode.batch([encode.batch_part("otAQ7b", [1]), encode.batch_part("hNvQHb", None, 7)])
    answers = decode_batch(body, MAX_FRAME)
    assert answers.payloads == {"otAQ7b": [1], "hNvQHb": None}
    assert [answers.denied(rpc) for rpc in ("otAQ7b", "hNvQHb")] == [False, True]
    with pytest.raises(UpstreamFailed):
        decode_batch(body[:-20], MAX_FRAME)


@pytest.mark.parametrize("reason", [3, 5, 13])
def test_a_call_rejected_for_another_reason_is_not_denied(reason):
    part = ["wrb.fr", "otAQ7b", None, None, None, [reason], "generic"]
    answers = decode_batch(encode.PREFIX + encode.frame(part), MAX_FRAME)
    assert (answers.get("otAQ7b"), answers.denied("otAQ7b")) == (None, False)
    assert answers.rejections == {"otAQ7b": reason}


@pytest.mark.parametrize("rejected", [0, 1, 2])
def test_one_rejected_call_rejects_all_calls_of_its_rpc(rejected):
    parts = [["wrb.fr", "GzXR5e", None if number == rejected else "[]"] for number in range(3)]
    assert decode_batch(encode.PREFIX + encode.frame(*parts), MAX_FRAME).payloads == {"GzXR5e": None}


TOKEN = "AIQ-XXXXXXXXXXXXXXXXXXXXXXXX:1789723276401"


def test_a_recorded_token_refusal_carries_a_new_token():
    error = answer_error(400, {}, (CAPTURES / "http400-xsrf.txt").read_bytes())
    assert type(error) is StaleToken
    assert error.token == TOKEN


def test_a_recorded_request_refusal_carries_no_token():
    assert type(answer_error(400, {}, (CAPTURES / "http400-plain.txt").read_bytes())) is RequestRejected


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_token_is_read_only_from_http_400(status):
    assert getattr(answer_error(status, {}, encode.refused("AK:1", "1")), "token", None) is None


@given(st.integers(0, 10**9), st.lists(st.text(), max_size=3), st.integers(0, 3))
def test_the_token_is_found_by_its_marker_at_any_position(number, more, nulls):
    part = ["er", *[None] * 4, 400, *[None] * 3, 3, [*[None] * nulls, {"1": 2, str(number): ["xsrf", TOKEN, more]}]]
    assert token_in(encode.PREFIX + encode.frame(["di", 1], part) + encode.frame(["e", 4])) == TOKEN


@pytest.mark.parametrize("more", [5, {"48448350": ["xsrf", TOKEN]}, [{"48448350": ["xsrf", TOKEN]}]])
@pytest.mark.parametrize(
    "frame", [encode.frame, lambda part: b"\n" + json.dumps([part]).encode()], ids=["frame", "line"]
)
def test_the_body_may_end_without_its_last_newline(frame, more):
    body = (encode.PREFIX + frame(["er", *[None] * 4, 400, *[None] * 3, 3, more])).rstrip(b"\n")
    assert token_in(body) == (None if more == 5 else TOKEN)


@given(st.binary(max_size=300))
def test_an_unknown_body_carries_no_token(body):
    assert token_in(body) is None


@given(st.integers(0, 300))
def test_a_truncated_body_carries_a_complete_token_or_none(length):
    assert token_in(encode.refused(TOKEN, "1")[:length]) in {None, TOKEN}


@pytest.mark.parametrize("token", ["", "line\nbreak", "\u00e9", 5, None, ["x"]])
def test_a_token_that_cannot_be_sent_is_ignored(token):
    assert token_of(["er", *[None] * 4, 400, *[None] * 3, 3, [{"48448350": ["xsrf", token]}]]) is None


def test_a_body_is_read_up_to_a_limit():
    assert token_in(encode.PREFIX + encode.frame(["x" * LONGEST_REFUSAL]) + encode.refused(TOKEN)) is None
