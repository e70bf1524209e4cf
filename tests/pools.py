"""Pools for tests, without background work."""

from contextlib import asynccontextmanager

from tests.clock import ManualClock
from tests.observer import NullObserver
from transports.accounts import AccountTracker, ConcurrencyLimits, Pool, PoolConfig, PoolDeps, SharedState
from transports.store import ChangeFeed, MemoryStore, Store


class RecordingObserver(NullObserver):
    """An observer that records events of accounts and the number of waiting requests."""

    def __init__(self):
        self.changes, self.wait_seconds, self.throttled_requests, self.stats, self.decisions, self.retries = (
            [],
            [],
            0,
            [],
            [],
            0,
        )
        self.now_waiting = 0
        self.models, self.mismatches, self.reroutes = [], [], []

    def changed(self, change):
        self.changes.append(change)

    def retry_decided(self, transport, decision):
        self.decisions.append(decision)

    def retried(self, transport):
        self.retries += 1

    def rerouted(self, transport, tier, kind):
        self.reroutes.append((transport, tier, kind))

    def waiting(self, transport, change):
        self.now_waiting += change

    def waited(self, transport, seconds):
        self.wait_seconds.append(seconds)

    def throttled(self, transport):
        self.throttled_requests += 1

    def account_stats(self, stats):
        self.stats.append(stats)

    def answered(self, served):
        self.models.append(served.model)

    def model_mismatched(self, transport, asked, answered):
        self.mismatches.append((transport, asked, answered))

    def pop_events(self):
        """Return the events so far with their accounts, and forget them."""
        events = [(change.event, change.account) for change in self.changes]
        self.changes.clear()
        return events


class GatewayProcess:
    """One process of a gateway as the store sees it: its shared state, its limits, its pools."""

    def __init__(self, clock=None, store=None, *, name="one", shared=False, processes=1, slot_ttl_seconds=60.0):
        self.clock = clock or ManualClock()
        self.store = store or MemoryStore(self.clock)
        self.change_feed = ChangeFeed(self.store, self.clock)
        self.shared_state = SharedState(Store.of(self.store), self.change_feed, self.clock)
        self.limits = ConcurrencyLimits(
            self.clock,
            name,
            shared=self.store if shared else None,
            processes=lambda: processes,
            seconds=slot_ttl_seconds,
        )
        self.observer = RecordingObserver()

    def pool(self, source, *, rng=lambda: 0.0, transport="t", licenses=lambda: 1, **config):
        deps = PoolDeps(
            clock=self.clock, shared_state=self.shared_state, observer=self.observer, rng=rng, licenses=licenses
        )
        found = PoolConfig(**config)
        return Pool(AccountTracker(transport, source, deps, found), self.limits, found)


def pool_of(accounts, clock=None, **config):
    """Return a pool of one process alone."""
    return GatewayProcess(clock).pool(lambda: accounts, **config)


@asynccontextmanager
async def leasing(pool, ask):
    """Yield a lease and release it."""
    lease = await pool.lease(ask)
    try:
        yield lease
    finally:
        lease.release()
