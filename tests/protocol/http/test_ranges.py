import pytest

from protocol.http.ranges import ByteRange, Unsatisfiable, span_of


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=2-5", ByteRange(2, 6)),
        ("bytes=2-", ByteRange(2, 10)),
        ("bytes=2-99", ByteRange(2, 10)),
        ("bytes=-3", ByteRange(7, 10)),
        ("bytes=-99", ByteRange(0, 10)),
        (" bytes=1-2 ", ByteRange(1, 3)),
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 1000 + "-", None),
    ],
)
def test_a_range_is_read_or_let_be(header, span):
    assert span_of(header, 10) == span


def test_of_an_unknown_length_all_is_sent():
    assert span_of("bytes=2-5", None) is None


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_what_lies_outside_cannot_be_satisfied(header):
    with pytest.raises(Unsatisfiable):
        span_of(header, 10)
