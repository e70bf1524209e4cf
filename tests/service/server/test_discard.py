from service.server.discard import Discard

MIB = 1024 * 1024


def test_a_discard_ends_with_its_bytes():
    discard = Discard(100, 0.0, lambda: None)
    assert [discard.take(40) for _ in range(3)] == [True, True, False]


def test_a_client_has_two_seconds_and_one_for_each_256_kib_up_to_thirty():
    discard = Discard(1000 * MIB, 50.0, lambda: None)
    assert discard.due == 52.0
    discard.take(MIB)
    assert discard.due == 56.0
    discard.take(100 * MIB)
    assert discard.due == 80.0


def test_a_client_that_sends_a_byte_now_and_then_gains_no_time():
    discard = Discard(MIB, 0.0, lambda: None, longest=2.0)
    for _ in range(1000):
        discard.take(1)
    assert discard.due == 2.0
