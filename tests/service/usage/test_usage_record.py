"""Lines of the journal are read back, also behind one that a crash of the machine cut short."""

from service.usage.usage_record import LINE, decode_lines
from tests.service.usage.records import record


def test_lines_are_read_back_and_a_damaged_one_is_counted():
    first, last = record(user="ann", first_token=0.25), record(status=500, error="upstream_error")
    lines = [LINE.encode(first), LINE.encode(record())[:20], LINE.encode(last)]
    assert decode_lines(b"\n".join(lines)) == ([first, last], 1)


def test_a_line_has_the_fields_of_the_record_alone():
    assert len(LINE.encode(record())) < 200
