import asyncio

import pytest

from protocol.http.timers import SharedTimer, Timers


class Loop:
    """A loop whose time is set by hand, and that has one timer at most."""

    def __init__(self):
        self.now, self.timers = 0.0, []

    def time(self):
        return self.now

    def call_later(self, seconds, call):
        return self.call_at(self.now + seconds, call)

    def call_at(self, when, call):
        self.timers.append((when, call))
        assert len(self.timers) == 1
        return self.timers[0]

    def run_until(self, end):
        while self.timers and self.timers[0][0] <= end:
            self.now, call = self.timers.pop()
            call()
        self.now = end


class Timeout:
    def __init__(self, loop, due):
        self._loop, self.due, self.expired = loop, due, []

    def expire(self):
        self.expired.append(self._loop.now)
        self.due = None


@pytest.fixture
def loop(monkeypatch):
    made = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
    return made


def test_timeouts_that_share_a_timer_expire_when_due(loop):
    timer = SharedTimer(10.0)
    timeouts = [Timeout(loop, 10.0), Timeout(loop, 14.0), Timeout(loop, None)]
    for timeout in timeouts:
        timer.add(timeout)
    loop.run_until(60.0)
    assert [timeout.expired for timeout in timeouts] == [[10.0], [14.0], []]


def test_a_postponed_or_discarded_timeout_does_not_expire(loop):
    timer, off, gone = SharedTimer(10.0), Timeout(loop, 10.0), Timeout(loop, 10.0)
    timer.add(off)
    timer.add(gone)
    loop.run_until(9.0)
    off.due = 19.0
    timer.discard(gone)
    loop.run_until(18.9)
    assert off.expired == gone.expired == []
    loop.run_until(19.0)
    assert off.expired == [19.0]


def test_many_timeouts_need_few_scans_and_expire_in_time(loop):
    timer, looks, look = SharedTimer(64.0), [], SharedTimer._scan
    timeouts = [Timeout(loop, 64.0 + number / 10) for number in range(640)]

    def counted():
        looks.append(loop.now)
        look(timer)

    timer._scan = counted
    for timeout in timeouts:
        timer.add(timeout)
    loop.run_until(200.0)
    assert len(looks) <= 130
    late = [timeout.expired[0] - (64.0 + number / 10) for number, timeout in enumerate(timeouts)]
    assert min(late) >= 0
    assert max(late) <= 1.0


def test_a_timer_without_timeouts_stops_and_can_restart(loop):
    timer, timeout = SharedTimer(10.0), Timeout(loop, 10.0)
    timer.add(timeout)
    timer.discard(timeout)
    loop.run_until(30.0)
    assert loop.timers == []
    timeout.due = 40.0
    timer.add(timeout)
    loop.run_until(40.0)
    assert timeout.expired == [40.0]


def test_timeouts_of_one_length_share_a_timer():
    timers = Timers()
    assert timers.of(1.0) is timers.of(1.0)
    assert timers.of(1.0) is not timers.of(2.0)
