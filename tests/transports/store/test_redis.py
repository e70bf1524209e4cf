"""Real servers that are killed, hang, lose data, fail over and refuse calls: what callers see, and the recovery."""

import random
from contextlib import asynccontextmanager

import anyio
import pytest
from structlog.testing import capture_logs

from tests.clock import ManualClock
from tests.proxy import cut_at, late, proxy_to, swallowed, twice
from tests.servers import RecordingStoreObserver, free_port, programs, servers_of
from transports.store import Bucket, Change, StoreDown
from transports.store.port import CONVERSATIONS, COOLDOWNS, SESSIONS
from transports.store.redis import RedisOptions, open_redis

LONG = 3600.0
PASSWORD = "a-secret-word"
FAILURES = 5


@pytest.fixture(params=programs())
def start(request):
    """Start servers with options of the test's own; all are ended."""
    with servers_of(programs()[request.param]) as begin:
        yield begin


class Opened:
    def __init__(self, store, clock, observer):
        self.store, self.clock, self.observer = store, clock, observer

    async def fails(self, call=None):
        """Return the reason for which a call fails."""
        with pytest.raises(StoreDown) as caught:
            await (call or self.store.now())
        assert PASSWORD not in f"{caught.value!r} {caught.value}"
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        return caught.value.reason

    async def opens(self):
        """Call until the breaker opens; return the reasons."""
        reasons = []
        while self.observer.breaker[-1:] != [True]:
            reasons.append(await self.fails())
        assert await self.fails() == "open"
        return reasons

    async def recovers(self):
        """Let the breaker probe until it has closed."""
        while self.observer.breaker[-1:] == [True]:
            self.clock.advance(3.0)
            await anyio.sleep(0.01)


SHORT = 0.25
"""The timeout of tests that let it pass; for all others even a busy machine is fast enough."""


@asynccontextmanager
async def opened(url, *, timeout_seconds=60.0, **options):
    clock, observer = ManualClock(), RecordingStoreObserver()
    async with open_redis(RedisOptions(url=url, timeout_seconds=timeout_seconds, **options), clock, observer) as store:
        yield Opened(store, clock, observer)


async def test_a_killed_server_gets_no_calls_until_a_probe_succeeds(start):
    server = start()
    async with opened(server.url) as seen:
        await seen.store.put(SESSIONS, "a", b"1")
        server.kill()
        reasons = await seen.opens()
        assert len(reasons) == FAILURES
        assert set(reasons[1:]) == {"refused"}
        server.start()
        assert await seen.fails() == "open"
        await seen.recovers()
        assert await seen.store.put(SESSIONS, "a", b"2", expected=0)
        assert seen.observer.breaker == [True, False]


async def test_a_hanging_server_causes_one_timeout(start):
    server = start()
    async with proxy_to(server.port) as proxy, opened(proxy.url, timeout_seconds=SHORT) as seen:
        version = await seen.store.put(SESSIONS, "a", b"1")
        server.pause()
        assert await seen.opens() == ["timeout"]
        await seen.clock.until_asleep()  # the probe that followed at once has failed too
        connections = proxy.connections
        for _ in range(100):
            assert await seen.fails() == "open"
        assert proxy.connections == connections
        server.go_on()
        await seen.recovers()
        assert (await seen.store.get(SESSIONS, "a")).version == version


async def test_a_server_that_was_slow_once_is_used_again_at_once(start):
    server = start()
    async with opened(server.url, timeout_seconds=SHORT) as seen:
        assert server.ask("CLIENT", "PAUSE", "400", "ALL").startswith(b"+OK")
        assert await seen.opens() == ["timeout"]
        await seen.observer.until_breaker(is_open=False)  # without any time of ours passing, but for the server's
        assert await seen.store.now()


async def test_a_persistent_server_killed_under_load_loses_no_acknowledged_record(start):
    server, acknowledged = start("--appendonly", "yes", "--appendfsync", "always"), []
    async with opened(server.url) as seen:

        async def work(number):
            for count in range(1000):
                try:
                    await seen.store.put(SESSIONS, f"{number}-{count}", b"%d" % count)
                except StoreDown:
                    return
                acknowledged.append((f"{number}-{count}", b"%d" % count))
                if len(acknowledged) == 500:
                    server.kill()

        await seen.store.acquire("lock", "me", LONG)
        epoch = await seen.store.epoch()
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(work, number)
        await seen.opens()
        server.start()
        await seen.recovers()
        kept = {record.key: record.value for record in await seen.store.scan(SESSIONS)}
        assert len(acknowledged) >= 500
        assert set(acknowledged) <= set(kept.items())
        assert await seen.store.acquire("lock", "another", LONG) is None
        assert await seen.store.epoch() != epoch


async def test_an_emptied_server_has_another_epoch_and_repeats_no_version(start):
    server = start()
    async with opened(server.url) as seen:
        version, fence = await seen.store.put(SESSIONS, "a", b"1"), await seen.store.acquire("lock", "me", LONG)
        revision, epoch = (await seen.store.revisions())["session"], await seen.store.epoch()
        server.kill()
        server.start()
        await let_connections_end()
        assert await seen.store.get(SESSIONS, "a") is None
        assert await seen.store.revisions() == {}
        assert await seen.store.acquire("lock", "another", LONG, epoch) is None
        assert await seen.store.acquire("lock", "another", LONG, await seen.store.epoch()) > fence
        assert await seen.store.put(SESSIONS, "a", b"2", expected=version) is None
        assert await seen.store.put(SESSIONS, "a", b"2", expected=0) > version
        assert (await seen.store.revisions())["session"] > revision
        assert seen.observer.breaker == []


async def let_connections_end():
    """Let the event loop notice closed connections."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()


async def test_a_promoted_replica_is_another_server_and_grants_no_lock_for_the_old_one(start):
    first, second = start(), start()
    second.ask("REPLICAOF", "127.0.0.1", first.port)
    async with proxy_to(first.port) as proxy, opened(proxy.url) as seen:
        await replicated(first, seen)
        await seen.store.put(SESSIONS, "a", b"1")
        assert await seen.store.settle()
        epoch = await seen.store.epoch()
        second.ask("REPLICAOF", "NO", "ONE")
        assert await seen.store.acquire("lock", "me", LONG, epoch)
        first.kill()
        proxy.target = second.port
        await let_connections_end()
        assert await seen.store.acquire("lock", "another", LONG, epoch) is None
        assert await seen.store.epoch() != epoch
        assert (await seen.store.get(SESSIONS, "a")).value == b"1"


async def replicated(server, seen):
    """Wait until a replica of a server has what was written."""
    await until(server, "state=online")
    while not await seen.store.settle():
        pass


async def until(server, replication):
    """Wait until a server says this of its replicas."""
    while replication.encode() not in server.ask("INFO", "replication"):
        await anyio.sleep(0.01)


async def test_settle_confirms_writes_only_if_a_replica_has_them(start):
    first, second = start(), start()
    async with opened(first.url) as seen:
        assert await seen.store.settle()
        second.ask("REPLICAOF", "127.0.0.1", first.port)
        await replicated(first, seen)
        assert await seen.store.settle()
        second.pause()
        assert not await seen.store.settle()
        second.kill()
        await until(first, "connected_slaves:0")
        assert not await seen.store.settle()
        assert seen.observer.breaker == []


async def test_a_read_only_replica_is_not_used_after_a_refused_write(start):
    first, second = start(), start()
    async with opened(second.url) as seen:
        second.ask("REPLICAOF", "127.0.0.1", first.port)
        assert await seen.store.get(SESSIONS, "a") is None
        for _ in range(FAILURES):
            assert await seen.fails(seen.store.put(SESSIONS, "a", b"1")) == "READONLY"
        assert await seen.fails() == "open"
        await seen.clock.until_asleep()
        seen.clock.advance(3.0)  # a probe finds it to be a replica still
        await seen.clock.until_asleep()
        assert await seen.fails() == "open"
        second.ask("REPLICAOF", "NO", "ONE")
        await seen.recovers()
        assert await seen.store.put(SESSIONS, "a", b"1", expected=0)


async def test_connections_closed_by_the_server_are_replaced(start):
    server = start()
    async with opened(server.url) as seen:
        await many(20, lambda number: seen.store.put(SESSIONS, f"{number}", b""))
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await anyio.sleep(0.05)  # until this side has let_connections_end of it
        await many(20, lambda number: seen.store.get(SESSIONS, f"{number}"))
        assert seen.observer.breaker == []


async def many(tasks, call):
    async with anyio.create_task_group() as group:
        for number in range(tasks):
            group.start_soon(call, number)


async def test_a_full_server_refuses_writes_and_answers_reads(start):
    server = start("--maxmemory-policy", "noeviction")
    async with opened(server.url) as seen:
        version = await seen.store.put(COOLDOWNS, "a", b"1", seconds=LONG)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        bucket = Bucket(name="b", capacity=1.0, per_second=1e-6)
        for call in (
            seen.store.put(COOLDOWNS, "b", b"1", seconds=LONG),
            seen.store.acquire("lock", "me", LONG),
            seen.store.take_slot("room", "me", slots=1, seconds=LONG, buckets=[bucket]),
        ):
            assert await seen.fails(call) == "OOM"
        assert (await seen.store.get(COOLDOWNS, "a")).version == version
        assert await seen.store.count_slots("room") == 0
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert await seen.store.keys(COOLDOWNS) == ["a"]
        assert await seen.store.acquire("lock", "another", LONG)
        assert await seen.store.take_slot("room", "me", slots=1, seconds=LONG, buckets=[bucket]) == 0.0


async def test_a_server_that_evicts_records_is_logged(start):
    server = start("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with capture_logs() as logs:
        async with opened(server.url) as seen:
            assert seen.observer.evicts is True
    assert [(log["log_level"], log["policy"]) for log in logs if log["event"] == "store_eviction_enabled"] == [
        ("error", "allkeys-lru")
    ]


@pytest.mark.parametrize("secret", ["", ":{}-not@", "user:{}@"])
async def test_a_failed_authentication_is_logged_without_secrets(start, secret):
    server = start("--requirepass", PASSWORD)
    url = server.url.replace("127", secret.format(PASSWORD) + "127")
    with capture_logs() as logs:
        async with opened(url) as seen:
            assert await seen.fails() == "open"
    assert [log["reason"] for log in logs if log["event"] == "store_failed"] == ["NOAUTH"]
    assert PASSWORD not in str(logs)


async def test_the_store_authenticates(start):
    server = start("--requirepass", PASSWORD)
    options = RedisOptions(url=server.url.replace("127", f"default:{PASSWORD}@127"))
    assert PASSWORD not in repr(options)
    async with opened(options.url) as seen:
        assert await seen.store.put(SESSIONS, "a", b"1", expected=0)


async def test_a_cluster_node_is_refused(start):
    server = start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    async with opened(server.url) as seen:
        assert await seen.fails(seen.store.get(SESSIONS, "a")) == "CLUSTERDOWN"


async def test_the_store_opens_before_its_server_is_available(start):
    server = start()
    server.kill()
    async with opened(server.url) as seen:
        assert await seen.fails() == "open"
        await seen.clock.until_asleep()  # the probe that followed at once has failed too
        server.start()
        await seen.recovers()
        assert await seen.store.put(SESSIONS, "a", b"1", expected=0)


# Replies that are lost, late, cut or doubled


@pytest.mark.parametrize("replies", [swallowed, cut_at(0), cut_at(3)], ids=["swallowed", "cut", "cut inside"])
async def test_a_write_with_a_lost_reply_is_found_by_reading_again(start, replies):
    server = start()
    async with proxy_to(server.port) as proxy, opened(proxy.url, timeout_seconds=SHORT) as seen:
        first = await seen.store.put(SESSIONS, "a", b"old")
        await seen.store.get(SESSIONS, "a")
        passed, proxy.replies = proxy.replies, replies
        assert await seen.fails(seen.store.put(SESSIONS, "a", b"mine", expected=first)) in {"timeout", "lost"}
        proxy.replies = passed
        await seen.recovers()
        again = await seen.store.get(SESSIONS, "a")
        assert again.value == b"mine"
        assert again.version > first
        assert await seen.store.put(SESSIONS, "a", b"mine", expected=first) is None


async def test_a_late_reply_is_dropped(start):
    server = start()
    async with proxy_to(server.port) as proxy, opened(proxy.url, timeout_seconds=SHORT) as seen:
        await many(4, lambda number: seen.store.put(SESSIONS, f"{number}", b"%d" % number))
        passed, proxy.replies = proxy.replies, late(0.3)
        await many(4, lambda number: seen.fails(seen.store.get(SESSIONS, f"{number}")))
        proxy.replies = passed
        await seen.recovers()
        for number in range(4):
            assert (await seen.store.get(SESSIONS, f"{number}")).value == b"%d" % number


async def test_a_repeated_reply_is_read_once(start):
    server = start()
    async with proxy_to(server.port) as proxy, opened(proxy.url) as seen:
        await many(4, lambda number: seen.store.put(SESSIONS, f"{number}", b"%d" % number))
        await seen.store.get(SESSIONS, "0")  # the server knows the script from now on
        proxy.replies = twice
        for number in range(4):
            assert (await seen.store.get(SESSIONS, f"{number}")).value == b"%d" % number


async def test_changes_keep_their_order_if_the_server_knows_one_script_only(start):
    server = start()
    async with opened(server.url) as seen:
        version = await seen.store.put(SESSIONS, "a", b"old")
        removed = Change(collection=SESSIONS, key="a", value=None, expected=version)
        done = await seen.store.write([removed, Change(collection=SESSIONS, key="a", value=b"new", expected=0)])
        assert done[0] == 0
        assert (await seen.store.get(SESSIONS, "a")).value == b"new"


async def test_many_changes_take_one_round_trip(start):
    server = start()
    async with opened(server.url) as seen:
        await seen.store.put(SESSIONS, "there", b"1")
        puts = [Change(collection=SESSIONS, key=f"{number}", value=b"%d" % number, expected=0) for number in range(50)]
        refused = Change(collection=SESSIONS, key="there", value=b"2", expected=0)
        removed = Change(collection=SESSIONS, key="never", value=None)
        done = await seen.store.write([*puts, refused, removed, Change(collection=SESSIONS, key="there", value=None)])
        assert done[50:] == [None, None, 0]
        assert all(done[:50])
        assert len(await seen.store.keys(SESSIONS)) == 50


async def test_cancelled_calls_do_not_mix_up_answers(start):
    server, rng, wrong = start(), random.Random(1), []
    async with opened(server.url) as seen:
        for number in range(50):
            await seen.store.put(SESSIONS, f"{number}", b"%d" % number)

        async def look(number, steps):
            async with anyio.create_task_group() as group:
                group.start_soon(read, number)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

        async def read(number):
            record = await seen.store.get(SESSIONS, f"{number}")
            if record.value != b"%d" % number:
                wrong.append((number, record))

        for _ in range(100):
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(look, number, rng.randrange(12))
        await many(50, read)
        assert wrong == []
        assert seen.observer.breaker == []


# What is large, and what is many


async def test_a_value_of_32_megabytes_can_be_stored(start):
    server, value = start(), random.Random(1).randbytes(32_000_000)
    async with opened(server.url) as seen:
        assert await seen.store.put(SESSIONS, "large", value)
        await seen.store.put(SESSIONS, "small", b"1")
        assert (await seen.store.get(SESSIONS, "large")).value == value
        assert [len(record.value) for record in await seen.store.scan(SESSIONS)] == [32_000_000, 1]


async def test_many_calls_share_a_few_connections(start):
    server = start()
    async with proxy_to(server.port) as proxy, opened(proxy.url) as seen:
        await many(500, lambda number: seen.store.put(SESSIONS, f"{number}", b""))
        assert proxy.connections <= 64
        assert len(await seen.store.keys(SESSIONS)) == 500


async def test_expired_records_leave_no_keys(start):
    server = start()
    async with opened(server.url) as seen:
        for number in range(50):
            await seen.store.put(CONVERSATIONS, f"{number}", b"", seconds=0.05)
        await anyio.sleep(0.1)
        await seen.store.put(CONVERSATIONS, "last", b"", seconds=LONG)
        assert server.ask("ZCARD", "gw:index:conversation") == b":1\r\n"
        assert server.ask("ZCARD", "gw:due:conversation") == b":1\r\n"
        await seen.store.remove(CONVERSATIONS, "last")
        with anyio.fail_after(60):
            while server.ask("DBSIZE") != b":1\r\n":  # the server takes its time with what has expired
                await anyio.sleep(0.02)
        assert server.ask("EXISTS", "gw:revision") == b":1\r\n"


async def test_unused_slots_and_buckets_expire(start):
    server, bucket = start(), Bucket(name="b", capacity=1.0, per_second=10.0)
    async with opened(server.url) as seen:
        await seen.store.take_slot("room", "one", slots=3, seconds=60.0, buckets=[bucket])
        await seen.store.take_slot("room", "two", slots=3, seconds=1.0)
        assert 50_000 < int(server.ask("PTTL", "gw:slots:room")[1:]) <= 60_001
        assert 0 < int(server.ask("PTTL", "gw:bucket:b")[1:]) <= 1200


async def test_gateways_with_different_prefixes_share_nothing(start):
    server = start()
    async with opened(server.url) as one, opened(server.url, prefix="other") as other:
        await one.store.put(SESSIONS, "a", b"1")
        assert await other.store.get(SESSIONS, "a") is None
        assert await other.store.keys(SESSIONS) == []
        assert await other.store.revisions() == {}
