"""Cycles of objects are looked for while no request is open, and after ten minutes in any case."""

import gc
import weakref

import pytest

from service.server.garbage_collection import GarbageCollector


class Node:
    """An object that may refer to itself."""


class Requests:
    """A number of open requests."""

    def __init__(self):
        self.open = 0

    def __call__(self):
        return self.open


@pytest.fixture
def requests():
    return Requests()


@pytest.fixture
def collector(requests, clock):
    """Yield a collector that has begun; the process's own settings are put back afterwards."""
    before = gc.get_threshold()
    one = GarbageCollector(requests, clock)
    one.configure()
    try:
        yield one
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def aged_cycle():
    """Return a reference to an object of a cycle that has become unreachable after it had grown old."""
    node = Node()
    node.itself = node
    gc.collect(0)
    return weakref.ref(node)


def test_an_old_cycle_is_collected_only_without_open_requests(collector, requests):
    requests.open = 1
    cycle = aged_cycle()
    collector.collect_if_idle()
    assert cycle() is not None
    requests.open = 0
    collector.collect_if_idle()
    assert cycle() is None


def test_endless_requests_delay_the_collection_by_at_most_ten_minutes(collector, requests, clock):
    requests.open = 1
    cycle = aged_cycle()
    clock.advance(599)
    collector.collect_if_idle()
    assert cycle() is not None
    clock.advance(1)
    collector.collect_if_idle()
    assert cycle() is None


def test_no_collection_runs_without_old_objects(collector):
    looks = []
    gc.disable()
    gc.callbacks.append(lambda phase, info: looks.append((phase, info["generation"])))
    try:
        collector.collect_if_idle()
    finally:
        gc.callbacks.pop()
        gc.enable()
    assert not looks


def test_new_objects_cause_no_collection_of_old_ones(collector):
    looked = set()
    gc.callbacks.append(lambda _, info: looked.add(info["generation"]))
    try:
        kept = [[] for _ in range(200_000)]
    finally:
        gc.callbacks.pop()
    assert looked == {0}
    assert len(kept) == 200_000
