"""Pools for tests, without background work."""

from contextlib import asynccontextmanager

from tests.clock import ManualClock
from tests.observer import NullObserver
from transports.accounts import AccountTracker, ConcurrencyLimits, Pool, PoolConfig, PoolDeps, SharedState
from transports.store import ChangeFeed, MemoryStore, Store


class Heard(NullObserver):
    """An observer that records events of accounts and the number of waiting requests."""

    def __init__(self):
        self.changes, self.waits, self.held_back, self.seen, self.verdicts, self.retries = [], [], 0, [], [], 0
        self.now_waiting = 0
        self.models, self.mismatches = [], []

    def changed(self, change):
        self.changes.append(change)

    def retry_decided(self, transport, decision):
        self.verdicts.append(decision)

    def retried(self, transport):
        self.retries += 1

    def waiting(self, transport, change):
        self.now_waiting += change

    def waited(self, transport, seconds):
        self.waits.append(seconds)

    def throttled(self, transport):
        self.held_back += 1

    def account_stats(self, stats):
        self.seen.append(stats)

    def answered(self, served):
        self.models.append(served.model)

    def model_mismatched(self, transport, asked, answered):
        self.mismatches.append((transport, asked, answered))

    def said(self):
        """Return what was said of whom, and forget it."""
        said = [(change.event, change.account) for change in self.changes]
        self.changes.clear()
        return said


class Replica:
    """One process of a gateway as the store sees it: its board, its limits, its pools."""

    def __init__(self, clock=None, store=None, *, name="one", shared=False, replicas=1, slot_ttl_seconds=60.0):
        self.clock = clock or ManualClock()
        self.store = store or MemoryStore(self.clock)
        self.change_feed = ChangeFeed(self.store, self.clock)
        self.board = SharedState(Store.of(self.store), self.change_feed, self.clock)
        self.limits = ConcurrencyLimits(
            self.clock,
            name,
            shared=self.store if shared else None,
            replicas=lambda: replicas,
            seconds=slot_ttl_seconds,
        )
        self.heard = Heard()

    def pool(self, source, *, luck=lambda: 0.0, transport="t", **terms):
        deps = PoolDeps(clock=self.clock, shared_state=self.board, observer=self.heard, rng=luck)
        found = PoolConfig(**terms)
        return Pool(AccountTracker(transport, source, deps, found), self.limits, found)


def pool_of(accounts, clock=None, **terms):
    """Return a pool of one process alone."""
    return Replica(clock).pool(lambda: accounts, **terms)


@asynccontextmanager
async def leasing(pool, ask):
    """Yield a lease and release it."""
    lease = await pool.lease(ask)
    try:
        yield lease
    finally:
        lease.release()
