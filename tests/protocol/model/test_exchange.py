"""Estimated tokens."""

import pytest

from protocol.model import estimate_tokens


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("你好", 2), ("\ud800", 1)])
def test_a_token_is_estimated_for_each_four_bytes(text, tokens):
    assert estimate_tokens(text) == tokens
