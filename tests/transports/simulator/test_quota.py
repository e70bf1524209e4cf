from transports.simulator.quota import SimulatedQuota


def test_an_unlimited_family_is_never_reported_as_used_up():
    quota = SimulatedQuota(0, 3600.0)
    for _ in range(2000):
        assert not quota.exhausted("pro", 100.0)
        quota.spend("pro", 100.0)
    assert quota.usage("pro", 100.0).remaining >= 1


def test_each_answer_counts_against_the_limit_until_its_reset():
    quota = SimulatedQuota(2, 3600.0)
    left = []
    for _ in range(2):
        left.append(quota.usage("pro", 100.0).remaining)
        quota.spend("pro", 100.0)
    usage = quota.usage("pro", 100.0)
    assert [*left, usage.remaining] == [2, 1, 0]
    assert quota.exhausted("pro", 100.0)
    assert not quota.exhausted("pro", float(usage.reset))
    assert quota.usage("pro", float(usage.reset)).remaining == 2
