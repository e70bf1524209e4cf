"""The usage of an answer."""

from protocol.model import NO_USAGE, Usage, estimate_tokens, estimated_usage


def test_thoughts_are_a_part_of_the_output():
    words, thoughts = "some words of text", "hm, words"
    usage = estimated_usage(words, thoughts)
    assert usage.reasoning_tokens == estimate_tokens(thoughts)
    assert usage.output_tokens == estimate_tokens(words) + usage.reasoning_tokens


def test_usages_are_added():
    one = Usage(input_tokens=4, output_tokens=3, reasoning_tokens=2, cached_tokens=1)
    assert one + one == Usage(input_tokens=8, output_tokens=6, reasoning_tokens=4, cached_tokens=2)
    assert one + NO_USAGE == one
