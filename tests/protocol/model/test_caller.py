"""What a license covers."""

from protocol.model import Caller


def test_a_caller_may_use_what_a_pattern_of_the_license_covers():
    caller = Caller(id="l1", models=("gemini-2.5-*", "gemini-3-pro"))
    assert caller.may_use("gemini-2.5-flash-canvas")
    assert caller.may_use("gemini-3-pro")
    assert not caller.may_use("gemini-3-pro-video")


def test_a_license_covers_everything_unless_it_says_otherwise():
    assert Caller(id="l1").may_use("gemini-3-pro-video")
