"""A slope is distinguished from noise, and only a certain one is a leak."""

import random

import pytest

from tests.soak.__main__ import growth, slope

POINTS = 600


def measured(an_hour, noise=1.0):
    """Return values of half an hour, one every three seconds, with waves and noise about a line."""
    dice = random.Random(7)
    return [(3.0 * n, 100 + an_hour * 3.0 * n / 3600 + noise * (dice.random() + (n // 20) % 2)) for n in range(POINTS)]


def test_a_slope_is_found_within_its_error():
    found = slope(measured(50.0))
    assert abs(found.an_hour - 50.0) <= found.error < 10
    assert found.leaks(20)


def test_noise_alone_is_not_a_leak():
    found = slope(measured(0.0, noise=30.0))
    assert not found.leaks(0)


@pytest.mark.parametrize("points", [[], [(0.0, 1.0)], [(0.0, 1.0), (1.0, 2.0)]])
def test_too_few_values_are_inconclusive(points):
    assert not slope(points).leaks(0)


def test_only_gateways_that_lived_long_enough_are_judged():
    leak = measured(50.0)
    samples = {
        ("site", 1, "memory MB"): leak,
        ("gateway-0", 2, "memory MB"): leak,
        ("gateway-1", 3, "memory MB"): leak[:100],
    }
    _, leaking = growth(samples)
    assert [line.partition(":")[0] for line in leaking] == ["memory MB of gateway-0"]
