"""Estimated tokens."""

import pytest

from protocol.model import estimate_tokens


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("你好", 2), ("\ud800", 1)])
def test_a_token_is_four_bytes_begun(text, tokens):
    assert estimate_tokens(text) == tokens
