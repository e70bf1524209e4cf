import json

from protocol.openai.chat.response_wire import Delta
from protocol.openai.codec import encode


def test_a_lone_surrogate_is_escaped_and_the_rest_is_as_ever():
    assert encode(Delta(content="é😀")) == '{"content":"é😀"}'.encode()
    assert json.loads(encode(Delta(content="a\ud83db"))) == {"content": "a\ud83db"}
    assert b"\\ud83d" in encode(Delta(content="a\ud83db"))
