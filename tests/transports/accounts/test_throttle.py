import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.accounts.throttle import Throttle


class Upstream:
    """Gets what a throttle lets through of a steady stream of requests."""

    def __init__(self, per_second, ratio=2.0):
        self.throttle, self.luck = Throttle(ratio), random.Random(1).random
        self.per_second, self.now = per_second, 0.0

    def run(self, seconds, takes):
        """Return how many were sent, and how many of them taken, when each is with this likelihood."""
        sent = taken = 0
        for _ in range(int(seconds * self.per_second)):
            self.now += 1 / self.per_second
            if self.throttle.admit(self.now, self.luck()):
                sent += 1
                if self.luck() < takes:
                    taken += 1
                    self.throttle.accept(self.now)
                else:
                    self.throttle.fail(self.now)
        return sent, taken


def test_an_upstream_that_takes_all_gets_all():
    assert Upstream(20).run(300, 1.0) == (6000, 6000)


def test_one_that_takes_nothing_gets_little_more_than_a_request_a_second_to_find_out():
    upstream = Upstream(50)
    upstream.run(120, 1.0)
    upstream.run(120, 0.0)
    sent, _ = upstream.run(180, 0.0)
    assert 60 < sent < 2.5 * 180


@pytest.mark.parametrize("takes", [0.1, 0.3])
def test_one_that_takes_some_gets_no_more_than_twice_that_and_a_few(takes):
    upstream = Upstream(50)
    upstream.run(120, takes)
    sent, taken = upstream.run(180, takes)
    assert sent <= 2.0 * taken + 2.5 * 180


def test_when_it_recovers_it_has_almost_all_within_half_a_minute():
    upstream = Upstream(50)
    upstream.run(300, 0.0)
    upstream.run(30, 1.0)
    sent, _ = upstream.run(10, 1.0)
    assert sent >= 0.9 * 500


def test_a_few_failures_hold_nobody_back():
    throttle = Throttle(2.0)
    for _ in range(5):
        assert throttle.admit(0.0, 0.0)
        throttle.fail(0.0)
    assert throttle.admit(0.0, 0.0)


def test_many_that_wait_for_a_slow_upstream_hold_nobody_back():
    throttle = Throttle(2.0)
    assert all(throttle.admit(float(second), 0.0) for second in range(20) for _ in range(50))


def test_while_an_upstream_fails_what_hangs_there_counts_too():
    throttle = Throttle(2.0)
    for _ in range(6):
        throttle.admit(0.0, 1.0)
        throttle.fail(0.0)
    sent = [throttle.admit(30.0, 0.99) for _ in range(1000)]
    assert sent.count(True) < 800
    assert sent[-1] is False


def test_one_that_is_asked_seldom_is_never_held_back():
    sent, _ = Upstream(0.5).run(600, 0.0)
    assert sent == 300


def test_a_hiccup_after_a_good_while_is_none():
    upstream = Upstream(20)
    upstream.run(120, 1.0)
    sent, _ = upstream.run(10, 0.0)
    assert sent == 200


def test_what_told_nothing_is_forgotten():
    throttle = Throttle(2.0)
    for _ in range(6):
        throttle.admit(0.0, 1.0)
        throttle.fail(0.0)
    for _ in range(100):
        throttle.admit(10.0, 1.0)
        throttle.withdraw(10.0)
    assert throttle.admit(10.0, 0.0)


def test_without_a_ratio_nobody_is_held_back():
    throttle = Throttle(0.0)
    assert all(throttle.admit(0.0, 0.0) for _ in range(1000))


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["admit", "accept", "withdraw"])), max_size=60))
def test_its_counts_are_those_of_the_last_seconds_whatever_comes(steps):
    throttle, now, log = Throttle(2.0), 0.0, []
    for wait, step in steps:
        now += wait
        throttle.admit(now, 1.0) if step == "admit" else getattr(throttle, step)(now)
        log.append((int(now / 0.5), {"admit": 1, "accept": 0, "withdraw": -1}[step]))
    if log:
        assert throttle._short.requests == sum(count for slot, count in log if slot > log[-1][0] - 10)
